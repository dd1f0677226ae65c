"""What one request may cost: hostile schemas, prompts, texts and figures are answered, or refused, in bounded work.

Work is counted in steps (tests/steps.py). Where one call into C could grow, a test takes so much input that work with
the square of it would not end within the time limit of every test.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re

import pytest

from protocol.budget import Budget, BudgetSpent
from protocol.errors import ApiError
from protocol.mock.answer.cost import MOST_ANSWER_BYTES, answer_budget, first_match, matches
from protocol.mock.answer.hints import read_hints
from protocol.mock.answer.instance import instance
from protocol.mock.answer.reply import OfferedTool, Question, reply
from protocol.mock.json_schema.document import SchemaDocument, SchemaError, schema_evidence
from protocol.mock.json_schema.format import format_holds
from protocol.mock.realtime.audio import InputSound, TurnDetection, decode_sound
from protocol.mock.text.ranking import rank, terms_of
from protocol.mock.training.graders import filled
from protocol.openai.answers import count_words, split_words
from protocol.openai.long_json import encode_long_json
from protocol.turns import begun_at_once
from protocol.wire.json_text import encode_json
from tests.mocks import ask, make_mock, make_request, respond
from tests.steps import assert_grows_in_proportion, steps_of

CHAT = "/v1/chat/completions"


def json_chat(schema, prompt="Hello", **members):
    """Return the body of a chat that wants a value of a schema."""
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    return {"model": "m", "messages": [{"role": "user", "content": prompt}], "response_format": form, **members}


def many(item, count):
    return {"type": "array", "items": item, "minItems": count}


# ---- schemas: whatever one says, others are answered while its value is made ------------------------------------------

NAMES = [f"p{number}" for number in range(900)]
SCHEMAS = {
    "arrays in arrays": many(many(many({"type": "string"}, 30), 30), 30),
    "a long list of required names": many({"type": "object", "properties": {"a": {}}, "required": ["a"] * 30_000}, 900),
    "a long enum": many({"enum": [f"word{number}" for number in range(20_000)]}, 900),
    "a constant of many values": many({"const": list(range(10_000))}, 900),
    "references after references": {
        "$ref": "#/$defs/d0",
        "$defs": {**{f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(3_000)}, "d3000": {"type": "string"}},
    },
    "a long pointer": {**many({"$ref": "#/$defs/" + "a" * 300_000}, 900), "$defs": {"a" * 300_000: {"type": "integer"}}},
    "many patterns": {
        "type": "object", "required": NAMES,
        "properties": {name: {"type": "string", "pattern": f"^(a|b|c)*d(a|b){{{len(name)}}}$"} for name in NAMES},
    },
    "a class of many ranges": {"type": "string", "pattern": "[" + "".join(chr(0x4E00 + 2 * n) for n in range(4_000)) + "]"},
    "names by patterns": {
        "type": "object", "minProperties": 300,
        "patternProperties": {f"^a{number}[a-z]+$": {"type": "string"} for number in range(2_000)},
    },
    "items that must differ": {**many({"type": "object", "properties": {n: {"type": "integer"} for n in NAMES[:100]},
                                       "required": NAMES[:100]}, 900), "uniqueItems": True},
    "no list like this": {"not": {"type": "array", "prefixItems": [{}] * 30_000}},
    "a maze of choices": {"allOf": [
        *({"anyOf": [{"properties": {f"a{n}": {"const": m}}, "required": [f"a{n}"]} for m in range(8)]} for n in range(12)),
        {"not": {"required": [f"a{n}" for n in range(12)]}},
    ]},
    "names that require names": {
        "type": "object", "properties": {name: {"type": "integer"} for name in NAMES},
        "dependentRequired": dict.fromkeys(NAMES[:40], NAMES),
    },
    "formats of long texts": many({"type": "string", "format": "json-string", "default": "[" + "[]," * 100_000 + "1]"}, 900),
    "flags": {"type": "object", "properties": {f"is_{n}": {"type": "boolean"} for n in NAMES}, "required": [f"is_{n}" for n in NAMES]},
    "what may be null": {"type": "object", "properties": {n: {"type": ["string", "null"]} for n in NAMES}, "required": NAMES},
}  # fmt: skip


PROMPT = "word1 word2 and Oslo, Rome: p1 is 3, p2 = 4 " * 20
BUDGET = 20_000
# A step of a budget is about a microsecond. A call takes as long, or much less where it is a generator's next turn.
MOST_CALLS = 15 * BUDGET


@pytest.mark.parametrize("name", SCHEMAS)
def test_each_loop_over_a_schema_charges_the_budget(name):
    hints = read_hints(PROMPT)

    def work():
        with contextlib.suppress(SchemaError, BudgetSpent):
            instance(SCHEMAS[name], hints=hints, budget=Budget(BUDGET, "The test"))

    assert steps_of(work) < MOST_CALLS


def test_required_names_that_come_again_are_looked_at_once():
    assert_grows_in_proportion(
        lambda size: instance(many({"type": "object", "properties": {"a": {}}, "required": ["a"] * size}, 50)), 2_000
    )


def test_a_schema_that_costs_too_much_is_refused_in_one_line():
    with pytest.raises(BudgetSpent) as caught:
        instance(many({"enum": list(range(5_000))}, 900), budget=Budget(BUDGET, "The answer"))
    assert caught.value.as_dict()["error"]["code"] == "too_much_work"
    assert caught.value.message.startswith("The answer asks for more work than one request may cost, which is 20000 ")


def test_others_have_their_turns_while_a_long_value_is_made():
    mock, turns = make_mock(validate="off"), 0

    async def main():
        nonlocal turns
        request = make_request("POST", CHAT, json_chat(many(many({"type": "string"}, 40), 40)))
        answer = asyncio.ensure_future(mock.endpoint(request).answer(request))
        while not answer.done():
            await asyncio.sleep(0)
            turns += 1
        return await answer

    said = json.loads(json.loads(asyncio.run(main()).body)["choices"][0]["message"]["content"])
    assert [len(row) for row in said] == [40] * 40
    assert turns > 20


def test_what_is_decided_at_once_and_in_turns_is_the_same():
    body = json_chat(many({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}, 60))
    answer = ask(make_mock(validate="off"), "POST", CHAT, body)
    assert answer["choices"][0]["message"]["content"] == json.dumps(instance(
        body["response_format"]["json_schema"]["schema"], hints=read_hints("Hello")
    ))  # fmt: skip
    assert answer["id"] == ask(make_mock(validate="off"), "POST", CHAT, body)["id"]


# ---- evidence in messages ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    ids=("texts", "objects", "arrays", "short", "empty"),
    argvalues=[
        ["a" * 1_000_000] * 20,
        {"a": {"b": ["c" * 1_000_000, 2]}},
        [[["x"] * 1_000_000]],
        ["ab", 1, None, [True]],
        {},
    ],
)
def test_evidence_of_a_long_value_is_its_beginning(value):
    text = repr(value)
    assert schema_evidence(value) == (text if len(text) <= 80 else text[:77] + "...")
    assert steps_of(lambda: schema_evidence(value)) < 2_000


def test_the_path_of_a_schema_error_is_shown_cut():
    with pytest.raises(SchemaError) as caught:
        SchemaDocument({"properties": {"n" * 1_000_000: {"type": "nothing"}}})
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    ids=("template", "pointer", "byte", "uri"),
    argvalues=[
        ("uri-template", ["", "/a{b}/{c}", "{" + "a" * 500_000 + "}"], ["{", "{{a}}", "{ }", "a b", "{a" * 300_000]),
        ("json-pointer", ["", "/", "/a~0/~1", "/" * 900_000], ["a", "/~", "/~2", "/a" * 400_000 + "~"]),
        ("byte", ["", "QQ==", "QUI=", "QUJD", "QUJD" * 200_000], ["Q", "Q===", "====", "QQ=Q", "QUJD" * 200_000 + "="]),
        ("uri", ["a:" + "b" * 900_000], ["a:" + "b" * 1_000_000]),
    ],
)
def test_formats_are_checked_in_linear_time(name, good, bad):
    assert [format_holds(name, text) for text in good] == [True] * len(good)
    assert [format_holds(name, text) for text in bad] == [False] * len(bad)


# ---- prompts -------------------------------------------------------------------------------------------------------

PROMPTS = (
    "在市",
    "和",
    "\u201c",
    "translate a ",
    "remind me to ",
    "a",
    " ",
    "then",
    "然后",
    "A-",
    "1+",
    '"`',
    "{[",
    "_",
)
TOOLS = [OfferedTool(f"get_thing_{number}", f"Get the thing of {number}") for number in range(128)]


@pytest.mark.parametrize("piece", PROMPTS)
def test_each_loop_over_a_prompt_charges_the_budget(piece):
    prompt = piece * (10_000 // len(piece))
    schema = {"type": "object", "properties": {n: {"type": "string"} for n in ("message", "command", "query", "city")}}
    questions = [
        Question(prompt, TOOLS),
        Question(prompt, format="json_object"),
        Question(prompt, format="json_schema", schema={**schema, "required": list(schema["properties"])}),
    ]
    for question in questions:

        def work(question=question):
            with contextlib.suppress(BudgetSpent):
                reply(question, "text", Budget(10 * BUDGET, "The test"))

        assert steps_of(work) < 5 * MOST_CALLS


@pytest.mark.parametrize("text", ["", "a1 b22", "x" * 990 + " 12 " + "y" * 990 + "7", "12" * 1500], ids=len)
def test_a_search_from_place_to_place_finds_the_same(text):
    rule = r"(?<!\w)[0-9]{1,3}|(?=y7)"
    found = [match.span() for match in matches(rule, text, answer_budget())]
    assert found == [match.span() for match in re.finditer(rule, text)]
    first = first_match(rule, text, answer_budget())
    assert (first.span() if first else None) == (found[0] if found else None)


# ---- work that is tried at once --------------------------------------------------------------------------------------


def test_small_work_is_done_at_once_and_other_work_begins_anew():
    begun = []

    def work(budget):
        begun.append(budget.left)
        budget.spend(4_000)
        return "done"

    assert begun_at_once(work, 100_000, "The work") == "done"
    assert begun == [5_000]

    def twice(budget):
        return begun_at_once(work, 9_000, "Work within") + begun_at_once(work, 9_000, "Work within")

    assert asyncio.run(begun_at_once(twice, 100_000, "The work")) == "donedone"
    assert begun[1:] == [5_000, 1_000, 9_000, 9_000]  # the inner work is charged to the outer, and begins anew with it


def test_work_that_begins_anew_has_an_end():
    def work(budget):
        while True:
            budget.spend(1_000)

    with pytest.raises(BudgetSpent, match="The work asks for more work"):
        asyncio.run(begun_at_once(work, 20_000, "The work"))


# ---- the size of answers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("text", ["word " * 16_384, "word"], ids=len)
def test_answers_are_bounded_before_they_are_made(text, stream):
    mock = make_mock(text=text.strip())
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": stream}
    few = {**body, "logprobs": True, "top_logprobs": 2, "max_tokens": 100}
    assert respond(mock, "POST", CHAT, few).status == 200
    many_choices = {**body, "n": 128, "logprobs": True, "top_logprobs": 20}
    if text == "word":
        assert respond(mock, "POST", CHAT, many_choices).status == 200
        return

    def work():
        with pytest.raises(ApiError, match=f"more than {MOST_ANSWER_BYTES} bytes") as caught:
            respond(mock, "POST", CHAT, many_choices)
        assert caught.value.status == 400 and caught.value.code == "answer_too_large"

    assert steps_of(work) < 100_000


def test_completions_and_responses_are_bounded_before_they_are_made():
    mock = make_mock(text="word " * 5_000)
    with pytest.raises(ApiError, match="more than"):
        respond(mock, "POST", "/v1/completions", {"model": "m", "prompt": ["a"] * 100, "n": 128, "stream": True})
    body = {"model": "m", "input": "Hi", "include": ["message.output_text.logprobs"], "top_logprobs": 20}
    assert respond(mock, "POST", "/v1/responses", {**body, "max_output_tokens": 50}).status == 200
    with pytest.raises(ApiError, match="more than"):
        respond(make_mock(text="word " * 40_000), "POST", "/v1/responses", body)


def test_choices_repeat_where_the_budget_for_new_ones_is_spent():
    names = [f"p{number}" for number in range(30)]
    schema = {"type": "object", "properties": {name: {"type": "string"} for name in names}, "required": names}
    choices = ask(make_mock(validate="off"), "POST", CHAT, json_chat(many(schema, 15), n=8))["choices"]
    assert [choice["index"] for choice in choices] == list(range(8))
    assert all(len(json.loads(choice["message"]["content"])) == 15 for choice in choices)


@pytest.mark.parametrize(
    "value", ids=len, argvalues=[[], {}, "x" * 300_000, [1, "é\ud800", None] * 3_000, {"a": [{"b": "c" * 99}] * 5_000}]
)
def test_json_in_pieces_is_the_same_json(value):
    assert encode_long_json(value) == encode_json(value)


# ---- texts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ids=len, argvalues=[" " * 1_000_000 + "x", "x" + " " * 1_000_000, " " * 1_000_000, "\u2003" * 500_000 + "é"]
)
def test_words_are_split_in_linear_time(text):
    assert split_words(text) == [text]


@pytest.mark.parametrize(
    "text", ids=len, argvalues=["", " ", "a", "ab " * 50_000, " " * 70_000 + "a" * 140_000 + " b", "a" * 65_536 + " b"]
)
def test_words_of_a_long_text_are_counted_as_those_of_a_short_one(text):
    assert count_words(text) == len(text.split())


def test_marks_in_a_row_are_normalised_in_linear_time():
    assert terms_of("Cafe\u0301 " + "e" + "\u0323\u0301" * 60_000).counts["cafe"] == 1


def test_a_search_for_many_words_in_many_texts_is_refused():
    texts = [terms_of(f"word{number} and more") for number in range(200)]
    query = " ".join(f"word{number}" for number in range(2_000))
    assert rank("word7", texts)[0][1] == 7

    def work():
        with pytest.raises(BudgetSpent):
            rank(query, texts, Budget(BUDGET, "The search"))

    assert steps_of(work) < MOST_CALLS


# ---- what is remembered ----------------------------------------------------------------------------------------------


def test_references_to_items_are_looked_up_in_one_go():
    mock = make_mock()
    given = [{"role": "user", "content": "Hi", "id": f"msg_{number}", "type": "message"} for number in range(400)]
    ask(mock, "POST", "/v1/responses", {"model": "m", "input": given})

    def work(size):
        references = [{"type": "item_reference", "id": f"msg_{number}"} for number in range(size)]
        ask(mock, "POST", "/v1/responses", {"model": "m", "input": references, "store": False})

    assert_grows_in_proportion(work, 100, slack=5_000)


def test_templates_and_results_of_evals_are_bounded():
    item = {"item": {"x": "y" * 100_000}}
    assert len(filled("{{item.x}} " * 1_000, item)) == 1_000_000 + 1_000
    assert filled("{{item.z}}-{{ item.x }}", {"item": {"x": "1"}}) == "-1"
    mock = make_mock()
    criterion = {"type": "string_check", "name": "c", "input": "a", "reference": "a", "operation": "eq"}
    made = ask(mock, "POST", "/v1/evals", {
        "data_source_config": {"type": "custom", "item_schema": {"type": "object"}},
        "testing_criteria": [criterion] * 300,
    })  # fmt: skip
    content = [{"item": {}}] * 700
    source = {"type": "jsonl", "source": {"type": "file_content", "content": content}}
    with pytest.raises(ApiError, match="at most 200000 results, but 700 rows and 300 testing criteria"):
        respond(mock, "POST", f"/v1/evals/{made['id']}/runs", {"data_source": source})


# ---- sound ---------------------------------------------------------------------------------------------------------


def test_speech_that_begins_and_ends_too_often_in_one_event_is_refused():
    loud, silent = b"\x00\x40" * 480, b"\0\0" * 480  # 20 ms each
    buffer = InputSound("audio/pcm", TurnDetection(0.5, 0, 20))
    assert [mark.kind for mark in buffer.append((loud * 3 + silent) * 400)] == ["started", "stopped"] * 400
    with pytest.raises(ApiError, match="more than 1000 times"):
        buffer.append((loud * 3 + silent) * 600)
    assert len(buffer.append((loud * 3 + silent) * 2)) == 4


def test_sound_that_no_buffer_holds_is_not_decoded():
    with pytest.raises(ApiError, match="at most 15728640 bytes of sound"):
        decode_sound("!" * 32 * 1024 * 1024)
