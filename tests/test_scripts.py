"""Scripts on a running server: what each family of endpoints says of them, plain and streamed, and how one is loaded."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest
from environment import ROOT
from scripted import ALL, CHAT, Client, client_of, deltas

import oaiserve


@pytest.fixture(scope="module")
def server():
    with oaiserve.start("mock", set={"server.max_body": "1M"}) as server:
        yield server


@pytest.fixture
def client(server, request):
    client = client_of(server, request)
    yield client
    client.ask("DELETE", "/_oaiserve/session")


# ---- chat -----------------------------------------------------------------------------------------------------------


def test_a_chat_says_the_text_of_the_rule_that_fits(client):
    client.script({"when": {"user": {"re": "^say (.+)$"}}, "answer": "{{model}} heard: {{match.1}}"})
    answer = client.chat("say hello world")
    assert answer.headers["x-oaiserve-rule"] == "rule 1"
    assert answer.json()["choices"][0]["message"]["content"] == "gpt-4o heard: hello world"
    assert answer.json()["usage"]["completion_tokens"] == 4
    streamed = client.chat("say hello world", stream=True)
    assert (deltas(streamed), streamed.headers["x-oaiserve-rule"]) == ("gpt-4o heard: hello world", "rule 1")
    assert client.chat("hello").json()["choices"][0]["message"]["content"] == "powered by openai"


def test_a_chat_says_thoughts_texts_and_calls_in_order(client):
    client.script({"answer": ALL})
    body = client.chat("x").json()
    choice = body["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "Look now: Done."
    assert choice["message"]["reasoning_content"] == "Let me think."
    call = {"id": "call_7", "type": "function", "function": {"name": "f", "arguments": '{"a": "b c"}'}}
    assert choice["message"]["tool_calls"] == [call]
    usage = body["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (50, 9, 59)
    assert usage["prompt_tokens_details"]["cached_tokens"] == 20
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 3
    streamed = client.chat("x", stream=True, stream_options={"include_usage": True})
    told = [event["choices"][0]["delta"] for event in streamed.events[:-1]]
    assert [next(iter(delta.keys() - {"role"}), "") for delta in told[1:-1]] == (
        ["reasoning_content"] * 3 + ["content"] * 2 + ["tool_calls"] * 4 + ["content"]
    )
    assert "".join(
        call["function"].get("arguments") or "" for delta in told for call in delta.get("tool_calls", ())
    ) == ('{"a": "b c"}')
    assert streamed.events[-1]["usage"] == usage


def test_a_chat_refuses(client):
    client.script({"answer": {"refusal": "I will not do it."}})
    message = client.chat("x").json()["choices"][0]["message"]
    assert (message["refusal"], message["content"]) == ("I will not do it.", None)
    streamed = client.chat("x", stream=True)
    assert (deltas(streamed, "refusal"), deltas(streamed)) == ("I will not do it.", "")


def test_all_choices_of_a_chat_say_it(client):
    client.script({"answer": ["one two", "three"]})
    choices = client.chat("x", n=3).json()["choices"]
    assert [choice["message"]["content"] for choice in choices] == ["one two"] * 3
    assert client.chat("x").json()["choices"][0]["message"]["content"] == "three"


def test_limits_cut_what_is_said(client):
    client.script({"answer": {"parts": ["one two three", {"name": "f", "arguments": {"a": 1}}]}})
    choice = client.chat("x", max_tokens=2).json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("one two ", "length")


def test_a_chat_ends_as_it_is_told(client):
    client.script({"answer": {"text": "x", "finish": "content_filter"}})
    assert client.chat("x").json()["choices"][0]["finish_reason"] == "content_filter"
    assert client.chat("x", stream=True).events[-1]["choices"][0]["finish_reason"] == "content_filter"


def test_functions_of_old_are_called(client):
    client.script({"answer": {"tools": [{"name": "f", "arguments": {"a": 1}}]}})
    choice = client.chat("x", functions=[{"name": "f"}]).json()["choices"][0]
    assert choice["message"]["function_call"] == {"name": "f", "arguments": '{"a": 1}'}
    assert choice["finish_reason"] == "function_call"


def test_a_custom_tool_gets_its_input(client):
    client.script({"answer": {"tools": [{"name": "run", "arguments": "print(1)"}]}})
    choice = client.chat("x", tools=[{"type": "custom", "custom": {"name": "run"}}]).json()["choices"][0]
    (call,) = choice["message"]["tool_calls"]
    assert (call["type"], call["custom"]) == ("custom", {"name": "run", "input": "print(1)"})


def test_a_chat_goes_on_from_the_result_of_a_tool(client):
    client.script(
        {"when": {"after_tool": "get_weather"}, "answer": "It is {{tool.result.celsius}} degrees."},
        {
            "when": {"tool": "get_weather"},
            "answer": {"tools": [{"name": "get_weather", "arguments": {"city": "Oslo"}}]},
        },
    )
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
    message = client.chat("weather", tools=tools).json()["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": '{"celsius": 7}'}
    answer = client.chat("weather", message, result, tools=tools).json()
    assert answer["choices"][0]["message"]["content"] == "It is 7 degrees."


def test_an_error_looks_as_openais(client):
    client.script({"answer": {"error": {"code": "rate_limit_exceeded", "headers": {"retry-after": "1"}}}})
    answer = client.chat("x", stream=True)
    assert (answer.status, answer.headers["retry-after"]) == (429, "1")
    assert answer.json()["error"]["code"] == "rate_limit_exceeded"


def test_a_whole_answer_goes_out_as_it_is(client):
    client.script({"answer": {"raw": {"status": 203, "headers": {"x-a": "b"}, "body": "data: {{user}}\n\n"}}})
    answer = client.chat("x", stream=True)
    assert (answer.status, answer.text, answer.headers["x-a"]) == (203, "data: x\n\n", "b")
    assert answer.headers["content-type"] == "text/event-stream"


def test_the_fault_of_a_rule_stands_in_its_answers_place(client):
    client.script({"when": {"user": "weather"}, "fault": "status 503 retry-after=1 first 2", "answer": "Sunny."})
    answers = [client.chat("weather", stream=number % 2 == 1) for number in range(3)]
    assert [answer.status for answer in answers] == [503, 503, 200]
    assert [answer.headers["x-oaiserve-rule"] for answer in answers] == ["rule 1"] * 3
    assert answers[0].headers["retry-after"] == "1" and answers[0].headers["x-oaiserve-fault"]
    assert answers[2].json()["choices"][0]["message"]["content"] == "Sunny."


def test_the_fault_of_a_rule_is_done_to_its_answer(client):
    client.script({"answer": "one two three four five", "fault": "cut after=3tok"})
    answer = client.chat("x", stream=True)
    assert deltas(answer) == "one two three " and "[DONE]" not in answer.text
    (call,) = client.ask("GET", "/_oaiserve/calls").json()["calls"]
    assert (call["rule"], call["fault"]) == ("rule 1", "cut after=3tok")


def test_the_header_beats_the_rule_and_the_rule_the_session(client):
    client.ask("PUT", "/_oaiserve/faults", {"gpt-4o": "status 500"})
    client.script({"when": {"user": "weather"}, "fault": "status 503", "answer": "Sunny."}, {"answer": "x"})
    assert client.chat("weather").status == 503
    assert client.ask("POST", CHAT, {"model": "gpt-4o", "messages": [{"role": "user", "content": "weather"}]},
                      x_oaiserve_fault="status 502").status == 502  # fmt: skip
    assert client.chat("hello").status == 500
    assert client.ask("POST", "/v1/files", {}).status == 400


def test_a_script_has_limits(client):
    client.script({"answer": "x"}, limits=[{"by": "key", "requests": "2/min"}])
    assert [
        client.chat(
            "x",
        ).status
        for _ in range(3)
    ] == [200, 200, 429]


# ---- loading --------------------------------------------------------------------------------------------------------


def test_strictness_is_a_404_that_is_not_tried_again(client):
    client.script({"name": "call", "when": {"user": "weather"}, "answer": "x"}, strict=True)
    answer = client.chat("hello")
    assert (answer.status, answer.headers["x-should-retry"]) == (404, "false")
    assert "'call', but for user: expected a text with 'weather', came 'hello'" in answer.json()["error"]["message"]


def test_scripts_are_put_added_to_shown_and_cleared(client):
    assert client.script({"answer": "old"}, {"answer": "never"})["warnings"] == [
        "rule 2 can never match: rule 1 takes it"
    ]
    client.chat("x")
    client.ask("POST", "/_oaiserve/script", {"name": "new", "when": {"user": "b"}, "answer": "new"})
    assert client.chat("b").json()["choices"][0]["message"]["content"] == "new"
    rules = client.ask("GET", "/_oaiserve/script").json()["rules"]
    assert [(rule["name"], rule["used"]) for rule in rules] == [("new", 1), ("rule 1", 1), ("rule 2", 0)]
    client.ask("DELETE", "/_oaiserve/script")
    assert client.chat("b").json()["choices"][0]["message"]["content"] == "powered by openai"


def test_what_is_no_script_changes_nothing(client):
    client.script({"answer": "old"})
    answer = client.ask("PUT", "/_oaiserve/script", {"rules": [{"when": {"usr": "x"}, "answer": "new"}]})
    assert (answer.status, answer.json()["error"]["code"]) == (400, "invalid_script")
    assert client.chat("x").json()["choices"][0]["message"]["content"] == "old"


def test_the_journal_names_the_rule_and_what_led_nowhere(client):
    client.script({"name": "hello", "answer": "{{json.x}}!"})
    client.chat("x")
    (call,) = client.ask("GET", "/_oaiserve/calls").json()["calls"]
    assert (call["rule"], call["notes"]) == ("hello", ["{{json.x}} leads nowhere"])


def write(tmp_path, value):
    path = tmp_path / "script.json"
    path.write_text(json.dumps(value))
    return path


def test_every_session_begins_with_the_script_of_the_file(tmp_path):
    path = write(tmp_path, {"rules": [{"times": 1, "answer": "from the file"}]})
    with oaiserve.start("mock", set={"mock.script": str(path)}) as server:
        for session in ("", "/s/a", "/s/b"):
            client = Client(server, session)
            assert client.chat("x").json()["choices"][0]["message"]["content"] == "from the file"
            assert client.chat("x").json()["choices"][0]["message"]["content"] == "powered by openai"
        client.ask("POST", "/_oaiserve/reset?what=script")
        assert client.chat("x").json()["choices"][0]["message"]["content"] == "from the file"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"rules": [{"when": {"usr": "x"}, "answer": "y"}]}, 'rule 1.when: there is no "usr" in `when`; did you mean'),
        (None, "No such file"),
    ],
)
def test_a_start_says_what_is_wrong_with_the_script(tmp_path, value, reason):
    path = write(tmp_path, value) if value else tmp_path / "none.json"
    with pytest.raises(oaiserve.UsageError) as caught:
        oaiserve.start("mock", set={"mock.script": str(path)})
    assert str(caught.value).startswith(f"[mock] script = {path}: ") and reason in str(caught.value)


def check(path):
    command = [sys.executable, "oaiserve.py", "mock", "--check", "--set", f"mock.script={path}"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_check_reads_the_script(tmp_path):
    good = check(write(tmp_path, {"rules": [{"answer": "x"}, {"answer": "y"}]}))
    assert (good.returncode, good.stderr) == (0, "oaiserve: rule 2 can never match: rule 1 takes it\n")
    bad = check(write(tmp_path, []))
    assert bad.returncode == 2 and "expected a script" in bad.stderr


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ({"rules": [{"pace": "typical"}]}, "rule 1.pace: there is no section [pace NAME] in the configuration"),
        ({"limits": [{"by": "key"}]}, "limits[0]: it limits nothing; expected requests and tokens"),
    ],
)
def test_what_nobody_would_do_is_no_script(client, script, reason):
    answer = client.ask("PUT", "/_oaiserve/script", script)
    assert (answer.status, answer.json()["error"]["message"]) == (400, reason)


# ---- what calls are held against afterwards ------------------------------------------------------------------------


def verify(client, **conditions):
    return client.ask("POST", "/_oaiserve/verify", conditions).json()


def test_calls_are_sought_by_the_conditions_of_rules(client):
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    told = {"role": "tool", "tool_call_id": "call_1", "content": "7"}
    client.chat({"role": "system", "content": "Be brief."}, "weather in Oslo", tools=tools)
    client.chat("weather", {"role": "assistant", "tool_calls": [call]}, told, tools=tools, seed=7)
    client.ask("POST", "/v1/responses", {"model": "gpt-4o", "input": "weather", "instructions": "Be brief."})
    output = {"type": "function_call_output", "call_id": "call_1", "output": "7"}
    items = [{**call, "type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": "{}"}, output]
    client.ask("POST", "/v1/responses", {"model": "gpt-4o", "input": [{"role": "user", "content": "hi"}, *items]})
    for conditions, count in (
        ({"user": "weather"}, 3), ({"user": {"is": "weather"}}, 2), ({"system": "brief"}, 2), ({"tool": "get_*"}, 2),
        ({"after_tool": "get_weather"}, 2), ({"json": {"seed": 7}}, 1), ({"any": {"re": "^7$"}}, 2),
        ({"header": {"host": "127"}}, 4),
    ):  # fmt: skip
        assert verify(client, times=count, **conditions)["ok"], conditions
    assert client.ask("GET", "/_oaiserve/calls?user=Oslo").json()["found"] == 1
    wrong = verify(client, user="Rome", times=1)
    assert wrong["nearest"][0] == {"call": 4, "failed": "user: expected a text with 'Rome', came 'hi'"}


def test_calls_that_no_rule_fits_and_rules_that_never_spoke_are_told(client):
    client.script(
        {"name": "a", "when": {"user": "a"}, "answer": "x"}, {"name": "b", "when": {"user": "b"}, "answer": "x"}
    )
    client.chat("a")
    assert verify(client, no_unmatched=True) == {"ok": True, "found": 1, "nearest": []}
    client.chat("c")
    told = verify(client, no_unmatched=True, all_rules_used=True)
    missed = "rule: The nearest is 'a', but for user: expected a text with 'a', came 'c'."
    assert told == {
        "ok": False, "found": 2, "nearest": [{"call": 2, "failed": missed}, {"failed": "rule 'b' has never spoken"}],
    }  # fmt: skip


def test_the_readmes_script_is_one(client):
    readme = (pathlib.Path(ROOT) / "README.md").read_text(encoding="utf-8")
    block = readme.partition("### Scripts")[2].partition("```json\n")[2].partition("```")[0]
    script = json.loads(block)
    assert client.script(*script.pop("rules"), **script)["warnings"] == []
    assert client.chat("say hello").json()["choices"][0]["message"]["content"] == "gpt-4o heard: hello"
