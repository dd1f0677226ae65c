"""Scripts: what is one, what is none and why, which rule speaks, and what it says. No server is needed for that."""

from __future__ import annotations

import json

import pytest

from protocol.budget import Budget, BudgetSpent, work_with_pauses
from protocol.errors import ApiError
from protocol.instrument.script.asked import Asked, Line, talk_of
from protocol.instrument.script.places import PLACES, SAYABLE
from protocol.instrument.script.reading import ScriptError
from protocol.instrument.script.said import RoutedAnswer, SaidCall, WholeAnswer
from protocol.instrument.script.script import MOST_RULES, Missed, ScriptReader, ScriptState, no_rule_fits
from protocol.instrument.script.texts import MOST_SEARCHED, Glob
from protocol.openai.scripted_usage import ScriptedUsage

READER = ScriptReader(len, ["real"])
TEXT_ENDPOINTS = [name for name in PLACES if "text" in PLACES[name]]


class Talker:
    """Holds requests against a script, one after the other."""

    def __init__(self, *rules, **members):
        self.script = READER.script({"rules": list(rules), **members})
        self.state = ScriptState()

    def choose(self, *lines, endpoint="chat", steps=10**6, **facts):
        """Return the Chosen for a talk of (role, text, tool's name)."""
        told = [Line(*line) if isinstance(line, tuple) else Line("user", line) for line in lines]
        return self.script.choose(Asked(endpoint, talk=talk_of(told), **facts), self.state, Budget(steps, "The answer"))

    def rule(self, *lines, **facts):
        """Return the name of the rule that speaks, "" for none."""
        chosen = self.choose(*lines, **facts)
        return "" if isinstance(chosen, Missed) else chosen.rule.name

    def text(self, *lines, **facts):
        """Return the text that is said."""
        return "".join(self.choose(*lines, **facts).said.parts)


def fields(**values):
    """Return a look-up of header fields."""
    return lambda name: values.get(name.replace("-", "_"), "")


# ---- what is no script ----------------------------------------------------------------------------------------------

REFUSED = {
    "no JSON": ("{", "a script is JSON"),
    "a list": ([], "expected a script, which is an object"),
    "unknown member": ({"rulez": []}, 'there is no "rulez" in a script; did you mean "rules"?'),
    "rules no list": ({"rules": {}}, "rules: expected a list of rules, got {}"),
    "strict no switch": ({"strict": 1}, "strict: expected true or false, got 1"),
    "no limits": ({"limits": 3}, "limits: expected a list, e.g."),
    "too many": ({"rules": [{"answer": "x"}] * (MOST_RULES + 1)}, f"expected at most {MOST_RULES} rules"),
}  # fmt: skip
REFUSED_RULES = {
    "nothing to say": ({}, "rule 1: expected an answer, turns, a fault or a pace"),
    "unknown condition": (
        {"when": {"usr": "x"}, "answer": "y"}, 'rule 1.when: there is no "usr" in `when`; did you mean "user"?',
    ),
    "where the name helps": ({"name": "hi", "when": {"user": 1}, "answer": "y"}, 'rule 1 ("hi").when.user: expected'),
    "unknown endpoint": (
        {"when": {"endpoint": "chats"}, "answer": "y"}, 'when.endpoint: there is no "chats"; did you mean "chat"?',
    ),
    "two tests of a text": ({"when": {"user": {"is": "a", "re": "b"}}, "answer": "y"}, "expected one of is, re and not"),
    "broken expression": ({"when": {"user": {"re": "(a"}}, "answer": "y"}, "when.user.re: '(a': missing ')'"),
    "back-reference": ({"when": {"any": {"re": r"(a)\1"}}, "answer": "y"}, "back-references are not supported"),
    "nth from 0": ({"when": {"nth": 0}, "answer": "y"}, "when.nth: expected a whole number from 1, got 0"),
    "no path": ({"when": {"json": {"a..b": 1}}, "answer": "y"}, "expected a path such as messages.0.role"),
    "unknown look-up": ({"answer": "{{usr}}"}, "rule 1.answer: '{{usr}}' is no look-up; did you mean \"user\"?"),
    "group without expression": ({"answer": "{{match.1}}"}, "the rule has no condition with 're'"),
    "group too many": (
        {"when": {"user": {"re": "(a)"}}, "answer": "{{match.2}}"}, "has 1 groups, which are counted from 1",
    ),
    "field without a name": ({"answer": "{{header}}"}, "expected {{header.NAME}}"),
    "what a tool has not": ({"answer": "{{tool.x}}"}, "expected {{tool.name}}, {{tool.result}}"),
    "answer and turns": ({"answer": "x", "turns": ["y"]}, "expected an answer or turns, not both"),
    "no turns": ({"turns": []}, "rule 1.turns: expected a list of answers, got []"),
    "call without a name": (
        {"answer": {"tools": [{"nam": "x"}]}}, 'rule 1.answer.tools.0: there is no "nam" in a call; did you mean "name"?',
    ),
    "error and text": ({"answer": {"error": "x", "text": "y"}}, '"error" is all that there is to say'),
    "refusal and text": ({"answer": {"refusal": "x", "text": "y"}}, "who refuses says nothing else"),
    "text beside parts": ({"answer": {"parts": ["x"], "text": "y"}}, "expected no text, json or tools beside it"),
    "unknown end": ({"answer": {"finish": "stopp"}}, 'answer.finish: there is no "stopp"; did you mean "stop"?'),
    "unknown tokens": ({"answer": {"usage": {"tokens": 1}}}, 'there is no "tokens" in usage'),
    "status of no error": ({"answer": {"error": 200}}, "expected a whole number from 400, got 200"),
    "field that frames": ({"answer": {"raw": {"headers": {"Content-Length": "1"}}}}, "is no field that can be set"),
    "field that splits": ({"answer": {"raw": {"headers": {"x": "a\r\nb: c"}}}}, "is no field that can be set"),
    "no base64": ({"answer": {"raw": {"b64": "x"}}}, "expected base64"),
    "unknown fault": ({"answer": "x", "fault": "stal"}, "rule 1.fault: "),
    "text for vectors": (
        {"when": {"endpoint": "embeddings"}, "answer": "x"}, '"text" cannot be said at embeddings, which can say error',
    ),
    "in the second answer": ({"answer": ["x", {"finish": 1}]}, "rule 1.answer.1.finish: expected a string"),
}  # fmt: skip


@pytest.mark.parametrize(("value", "reason"), REFUSED.values(), ids=REFUSED)
def test_says_in_one_line_why_it_is_no_script(value, reason):
    with pytest.raises(ScriptError) as caught:
        READER.script(value)
    assert reason in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.status == 400


@pytest.mark.parametrize(("rule", "reason"), REFUSED_RULES.values(), ids=REFUSED_RULES)
def test_says_where_a_rule_is_wrong_and_what_was_expected(rule, reason):
    with pytest.raises(ScriptError) as caught:
        READER.script({"rules": [rule]})
    assert reason in caught.value.message


def test_a_name_is_that_of_one_rule():
    with pytest.raises(ScriptError, match='rule 2: there is a rule of the name "a" already'):
        Talker({"name": "a", "answer": "x"}, {"name": "a", "answer": "y"})


def test_does_not_repeat_what_may_be_a_key():
    with pytest.raises(ScriptError) as caught:
        READER.script({"rules": [{"answer": ["sk-proj-1234567890abcdef"], "sk-proj-1234567890abcdef": 1}]})
    assert "1234567890" not in caught.value.message


def test_is_read_from_text_and_bytes_and_what_they_mean():
    value = {"rules": [{"answer": "ä"}], "seed": 7, "limits": [{"by": "key", "requests": "3/min"}]}
    for form in (value, json.dumps(value), json.dumps(value, ensure_ascii=False).encode()):
        script = READER.script(form)
        assert (script.seed, script.limits[0].by, len(script.rules)) == ("7", "key", 1)


# ---- rules that are never heard -------------------------------------------------------------------------------------

SHADOWS = {
    "a part of a text": ([{"when": {"user": "a"}}, {"when": {"user": "car"}}], 1),
    "another part": ([{"when": {"user": "x"}}, {"when": {"user": "car"}}], None),
    "everything": ([{}, {"when": {"user": "a"}}], 1),
    "more conditions": ([{"when": {"user": "a"}}, {"when": {"user": "a", "stream": True}}], 1),
    "fewer conditions": ([{"when": {"user": "a", "stream": True}}, {"when": {"user": "a"}}], None),
    "all of a text": ([{"when": {"user": "a"}}, {"when": {"user": {"is": "abc"}}}], 1),
    "the same expression": ([{"when": {"user": {"re": "a"}}}, {"when": {"user": {"re": "a"}}}], 1),
    "turned round": ([{"when": {"user": {"not": "a"}}}, {"when": {"user": "a"}}], None),
    "pattern": ([{"when": {"model": "gpt-*"}}, {"when": {"model": "gpt-4o"}}], 1),
    "narrower pattern": ([{"when": {"model": "gpt-*"}}, {"when": {"model": "gpt-4*"}}], 1),
    "other pattern": ([{"when": {"model": "gpt-4*"}}, {"when": {"model": "gpt-*"}}], None),
    "speaks twice": ([{"times": 2}, {}], None),
    "speaks once": ([{"when": {"nth": 1}}, {}], None),
    "another endpoint": ([{"when": {"endpoint": "chat"}}, {"when": {"endpoint": "responses"}}], None),
    "the same value": ([{"when": {"json": {"a": 1}}}, {"when": {"json": {"a": 1, "b": 2}}}], 1),
    "another value": ([{"when": {"json": {"a": 1}}}, {"when": {"json": {"a": True}}}], None),
    "a field": ([{"when": {"header": {"X-A": "b"}}}, {"when": {"header": {"x-a": "abc"}}}], 1),
}  # fmt: skip


@pytest.mark.parametrize(("rules", "taken"), SHADOWS.values(), ids=SHADOWS)
def test_tells_of_a_rule_that_can_never_match(rules, taken):
    warnings = Talker(*({"answer": "x", **rule} for rule in rules)).script.warnings
    assert warnings == ((f"rule 2 can never match: rule {taken} takes it",) if taken else ())


def test_tells_of_a_rule_that_a_chat_never_hears():
    (warning,) = Talker({"turns": [{"tools": [{"name": "f"}]}]}, {"name": "echo", "answer": "x"}).script.warnings
    assert warning == 'rule 2 ("echo") can match at completions, transcriptions alone: rule 1 takes it elsewhere'


# ---- conditions -----------------------------------------------------------------------------------------------------

WEATHER = [("system", "Be brief."), ("user", "weather in Oslo"), ("assistant", ""), ("tool", "7", "get_weather")]
FITS = {
    "endpoint": ({"endpoint": "chat"}, {}, {"endpoint": "responses"}),
    "model": ({"model": "gpt-*-mini"}, {"model": "gpt-4o-mini"}, {"model": "gpt-4o"}),
    "user": ({"user": "Oslo"}, {}, {"lines": ["Rome"]}),
    "user is": ({"user": {"is": "weather in Oslo"}}, {}, {"lines": ["weather in Oslo!"]}),
    "user re": ({"user": {"re": "in (Oslo|Rome)$"}}, {}, {"lines": ["weather in Oslo!"]}),
    "user re in any case": ({"user": {"re": "(?i)oslo"}}, {}, {"lines": ["Rome"]}),
    "user not": ({"user": {"not": "Rome"}}, {}, {"lines": ["Rome"]}),
    "not an expression": ({"user": {"not": {"re": "^Rome"}}}, {}, {"lines": ["Rome!"]}),
    "not not": ({"user": {"not": {"not": "Oslo"}}}, {}, {"lines": ["Rome"]}),
    "the last text of the user": ({"user": "b"}, {"lines": ["a", "b"]}, {"lines": ["b", "a"]}),
    "system": ({"system": "brief"}, {}, {"lines": ["brief"]}),
    "any": ({"any": "brief"}, {}, {"lines": ["x"]}),
    "none": ({"any": {"not": "Rome"}}, {}, {"lines": ["Rome", "Oslo"]}),
    "tool": ({"tool": "get_*"}, {"tools": ["f", "get_weather"]}, {"tools": ["f"]}),
    "after_tool": ({"after_tool": "get_weather"}, {}, {"lines": ["weather"]}),
    "an old result": ({"after_tool": "get_weather"}, {}, {"lines": [*WEATHER, ("assistant", "7"), "thanks"]}),
    "a text behind the result": (
        {"after_tool": "get_weather"}, {"lines": [*WEATHER, "environment"]}, {"lines": ["environment"]},
    ),
    "header": ({"header": {"X-Team": "red"}}, {"header": fields(x_team="dark red")}, {"header": fields(x_team="blue")}),
    "key": ({"key": "broke"}, {"key": "sk-broke"}, {"key": "sk-rich"}),
    "stream": ({"stream": True}, {"stream": True}, {"stream": False}),
    "json": ({"json": {"a.0.b": 1}}, {"body": {"a": [{"b": 1.0}]}}, {"body": {"a": [{"b": True}]}}),
    "json of any kind": ({"json": {"a": {"b": [None]}}}, {"body": {"a": {"b": [None]}}}, {"body": {"a": {"b": []}}}),
    "json as a text": ({"json": {"a": {"re": "^x"}}}, {"body": {"a": "xy"}}, {"body": {"a": 1}}),
    "json from the end": ({"json": {"a[-1]": 2}}, {"body": {"a": [1, 2]}}, {"body": {"a": [2, 1]}}),
    "all of them": ({"user": "Oslo", "stream": True}, {"stream": True}, {"stream": True, "lines": ["Rome"]}),
}  # fmt: skip


@pytest.mark.parametrize(("when", "fitting", "other"), FITS.values(), ids=FITS)
def test_a_rule_fits_where_all_conditions_hold(when, fitting, other):
    talker = Talker({"when": when, "answer": "x"})
    assert talker.rule(*fitting.pop("lines", WEATHER), **fitting) == "rule 1"
    assert talker.rule(*other.pop("lines", WEATHER), **other) == ""


def test_the_first_rule_that_fits_speaks():
    talker = Talker({"when": {"user": "b"}, "answer": "1"}, {"when": {"user": "a"}, "answer": "2"}, {"answer": "3"})
    assert [talker.text(text) for text in ("ab", "a", "c")] == ["1", "2", "3"]


def test_nth_counts_what_the_other_conditions_let_through():
    talker = Talker({"when": {"user": "a", "nth": [2, 3]}, "answer": "x"})
    assert [talker.rule(text) != "" for text in ("a", "b", "a", "b", "a", "a")] == [
        False, False, True, False, True, False,
    ]  # fmt: skip


def test_a_rule_is_passed_over_after_so_many_times():
    talker = Talker({"times": 2, "answer": "x"}, {"answer": "y"})
    assert [talker.text("a") for _ in range(4)] == ["x", "x", "y", "y"]


def test_a_list_of_answers_is_gone_through_and_the_last_one_stays():
    talker = Talker({"answer": ["x", "y", "z"]})
    assert [talker.text("a") for _ in range(4)] == ["x", "y", "z", "z"]


def test_turns_follow_the_talk_and_not_the_number_of_requests():
    talker = Talker({"turns": ["x", "y", "z"]})
    first, second = ["a"], ["a", ("assistant", "x"), "b"]
    assert [talker.text(*lines) for lines in (first, first, second, first, second)] == ["x", "x", "y", "x", "y"]
    assert talker.text(*second, ("assistant", "y"), "c", ("assistant", "z"), "d", ("assistant", "z"), "e") == "z"


def test_items_of_one_response_are_one_turn():
    items = [Line("assistant", ""), Line("assistant", ""), Line("tool", "1", "f"), Line("assistant", "x")]
    assert talk_of(items, joins_turns=True).turn == 2
    assert talk_of(items).turn == 3


def test_rules_that_are_added_speak_first_and_the_others_keep_their_counts():
    talker = Talker({"times": 2, "answer": "old"})
    assert talker.text("a") == "old"
    talker.script = READER.with_first(talker.script, {"when": {"user": "b"}, "answer": "new"})
    assert [rule.name for rule in talker.script.rules] == ["rule 2", "rule 1"]
    assert [talker.text("ab"), talker.text("a"), talker.rule("a")] == ["new", "old", ""]


def test_what_a_place_cannot_say_is_passed_over_there():
    talker = Talker({"answer": {"tools": [{"name": "f"}]}}, {"answer": "x"}, {"answer": {"raw": "{}"}})
    assert [talker.rule("a", endpoint=name) for name in ("chat", "completions", "embeddings")] == [
        "rule 1", "rule 2", "rule 3",
    ]  # fmt: skip
    assert talker.rule("a", endpoint="realtime", is_socket=True) == "rule 1"


def test_no_whole_answer_is_told_over_a_websocket():
    assert Talker({"answer": {"raw": "{}"}}).rule("a", endpoint="responses", is_socket=True) == ""


def test_places_say_what_there_is_to_say():
    assert {what for says in PLACES.values() for what in says} == set(SAYABLE)


# ---- what is said ---------------------------------------------------------------------------------------------------

FACTS = {
    "model": "gpt-4o", "key": "sk-1", "header": fields(x_team="red"), "body": {"a": {"b": [7, None]}},
}  # fmt: skip
FILLED = {
    "texts": ("{{user}}|{{system}}|{{model}}|{{key}}", "weather in Oslo|Be brief.|gpt-4o|sk-1"),
    "counts": ("{{turn}} {{n}}", "1 1"),
    "field": ("{{ header.X-Team }}", "red"),
    "values": ("{{json.a.b.0}} {{json.a}}", '7 {"b":[7,null]}'),
    "group": ("{{match.1}}, {{match.city}}, {{match.0}}", "in, Oslo, in Oslo"),
    "tool": ("{{tool.name}}: {{tool.result.celsius}}, {{tool.result.days.1}}", "get_weather: 7, Tue"),
    "nothing there": ("<{{json.x}}{{tool.result.x}}{{header.x}}>", "<>"),
    "braces": (r"\{{user}} {user} { {", "{{user}} {user} { {"),
}


@pytest.mark.parametrize(("answer", "text"), FILLED.values(), ids=FILLED)
def test_templates_look_up(answer, text):
    lines = [*WEATHER[:-1], ("tool", '{"celsius": 7, "days": ["Mon", "Tue"]}', "get_weather"), ("tool", "x", "other")]
    rule = {"when": {"user": {"re": "(in) (?P<city>[A-Z]\\w+)"}, "after_tool": "get_*"}, "answer": answer}
    chosen = Talker(rule).choose(*lines, **FACTS)
    assert "".join(chosen.said.parts) == text


def test_what_leads_nowhere_is_noted():
    assert Talker({"answer": "{{tool.result.x}}!"}).choose("a").notes == ["{{tool.result.x}} leads nowhere"]


def test_a_look_up_alone_is_the_value_itself_in_a_call():
    answer = {
        "tools": [{"name": "f_{{user}}", "arguments": {"id": "{{json.a.b.0}}", "t": "n{{json.a.b.0}}"}, "id": "call_1"}]
    }
    (call,) = Talker({"answer": answer}).choose("a", **FACTS).said.parts
    assert call == SaidCall("f_a", '{"id": 7, "t": "n7"}', "call_1")


def test_arguments_may_be_no_json():
    (call,) = Talker({"answer": {"tools": [{"name": "f", "arguments": '{"a": '}]}}).choose("a").said.parts
    assert call.arguments == '{"a": '


def test_parts_are_in_order():
    answer = {"parts": ["Look: ", {"name": "f"}, {"json": {"a": 1}}, {"tool": {"name": "g"}}, {"text": "Bye."}]}
    said = Talker({"answer": answer}).choose("a").said
    assert said.parts == ["Look: ", SaidCall("f", "{}"), '{"a": 1}', SaidCall("g", "{}"), "Bye."]


def test_text_is_said_before_calls_whatever_comes_first():
    said = Talker({"answer": {"tools": [{"name": "f"}], "text": "x"}}).choose("a").said
    assert said.parts == ["x", SaidCall("f", "{}")]


def test_says_all_that_it_may():
    answer = {
        "json": {"a": "{{user}}"}, "reasoning": "Hm, {{user}}.", "finish": "length",
        "usage": {"prompt_tokens": 3, "output_tokens": 4, "cached_tokens": 1, "reasoning_tokens": 2},
    }  # fmt: skip
    said = Talker({"answer": answer}).choose("b").said
    assert (said.parts, said.reasoning, said.finish) == (['{"a": "b"}'], "Hm, b.", "length")
    assert said.usage == ScriptedUsage(input=3, output=4, cached=1, reasoning=2)


def test_an_error_is_openais_by_its_code():
    error = Talker({"answer": {"error": "insufficient_quota"}}).choose("a").error
    assert (error.status, error.code, error.type) == (429, "insufficient_quota", "insufficient_quota")
    assert "quota" in error.message


def test_an_error_says_what_it_is_told_to():
    told = {
        "status": 418,
        "code": "c",
        "type": "t",
        "message": "No {{user}}.",
        "param": "p",
        "headers": {"retry-after": 2},
    }
    error = Talker({"answer": {"error": told}}).choose("a").error
    assert (error.status, error.fields) == (418, (("retry-after", "2"),))
    assert error.as_dict() == {"error": {"message": "No a.", "type": "t", "param": "p", "code": "c"}}


def test_a_whole_answer_is_sent_as_it_is():
    raw = {"status": 201, "headers": {"x-a": "b"}, "body": {"said": "{{user}}"}}
    error = Talker({"answer": {"raw": raw}}).choose("a").error
    assert isinstance(error, WholeAnswer)
    assert (error.response.status, error.response.body) == (201, b'{"said": "a"}')
    assert error.response.fields == (("content-type", "application/json"), ("x-a", "b"))


def test_bytes_are_sent_as_they_are():
    error = Talker({"answer": {"raw": {"b64": "AP8=", "headers": {"content-type": "audio/mpeg"}}}}).choose("a").error
    assert (error.response.body, error.response.fields) == (b"\x00\xff", [("content-type", "audio/mpeg")])


def test_another_backend_may_answer():
    error = Talker({"answer": {"route": "real"}}).choose("a").error
    assert isinstance(error, RoutedAnswer)
    assert error.backend == "real"


def test_a_fault_alone_leaves_the_answer_as_it_is():
    chosen = Talker({"fault": "stall for=1s"}).choose("a")
    assert (chosen.said, chosen.error, chosen.rule.fault.text) == (None, None, "stall for=1s")


# ---- where nothing fits ---------------------------------------------------------------------------------------------


def test_the_nearest_rule_is_named_and_its_first_failing_condition():
    talker = Talker(
        {"name": "far", "when": {"user": "x", "model": "o*", "stream": True}, "answer": "y"},
        {"name": "near", "when": {"user": "weather", "model": "gpt-*"}, "answer": "y"},
    )
    missed = talker.choose("hello", model="gpt-4o")
    assert missed == Missed("The nearest is 'near', but for user: expected a text with 'weather', came 'hello'.")
    error = no_rule_fits(missed)
    assert (error.status, error.fields) == (404, (("x-should-retry", "false"),))
    assert error.message == f"No rule of the script fits this request. {missed.nearest}"


def test_a_key_is_not_told():
    missed = Talker({"when": {"key": "rich"}, "answer": "y"}).choose("hello", key="secret-of-mine")
    assert "key: expected" in missed.nearest and "secret" not in missed.nearest


def test_a_rule_that_has_spoken_often_enough_is_near():
    talker = Talker({"times": 1, "answer": "y"})
    talker.choose("a")
    assert talker.choose("a").nearest == "The nearest is 'rule 1', but for times: 1 are over."


# ---- what it may cost -----------------------------------------------------------------------------------------------


def test_nothing_is_counted_before_all_is_charged():
    talker = Talker({"when": {"nth": 1}, "times": 1, "answer": "{{user}}"})
    with pytest.raises(BudgetSpent):
        talker.choose("x" * 100_000, steps=1000)
    assert talker.text("x" * 100_000) == "x" * 100_000
    assert talker.rule("x") == ""


def test_every_rule_and_text_is_charged():
    talker = Talker(*({"when": {"any": f"number {number}"}, "answer": "x"} for number in range(1000)))
    with pytest.raises(BudgetSpent):
        talker.choose(*(["x" * 100_000] * 10), steps=500_000)


def test_an_expression_is_not_tried_on_a_text_without_end():
    with pytest.raises(ApiError) as caught:
        Talker({"when": {"user": {"re": "a$"}}, "answer": "x"}).choose("a" * (MOST_SEARCHED + 1))
    assert (caught.value.status, caught.value.code) == (400, "too_much_work")


@pytest.mark.parametrize("expression", ["^(a+)+$", "(a|aa)+$", "(.*)(.*)(.*)(.*)b"])
def test_an_expression_that_would_backtrack_is_over_soon(expression):
    talker = Talker({"when": {"user": {"re": expression}}, "answer": "x"})
    budget = Budget(400_000, "The answer")
    assert talker.script.choose(
        Asked("chat", talk=talk_of([Line("user", "a" * 300 + "!")])), talker.state, budget
    ).nearest
    assert budget.left > 200_000


def test_an_answer_does_not_grow_beyond_all_bounds():
    chosen = Talker({"answer": "{{json.a}}" * 5000}).choose("a", body={"a": "x" * 100_000})
    assert (chosen.error.status, chosen.error.code) == (400, "answer_too_large")


def test_patterns_are_tried_once_from_left_to_right():
    assert Glob("*a*" * 50 + "b").fits("a" * 5000) is False
    assert [Glob("a*b").fits(name) for name in ("ab", "axb", "b", "a", "aba")] == [True, True, False, False, False]
    assert Glob("ab*ba").fits("aba") is False


def test_others_have_turns_while_rules_are_held_against_one_another():
    turns = []
    rules = [{"when": {"user": f"number {number}"}, "answer": "x"} for number in range(600)]
    work_with_pauses(lambda: turns.append(1), lambda: READER.script({"rules": rules}))
    assert len(turns) > 20
