"""What clients put into the messages of a chat, as DashScope wants it: broken arguments, documents, the cache's marks."""

from __future__ import annotations

import asyncio
import json

import pytest
from native import MULTIMODAL, TEXT, Native, answer, events, translator
from test_mock_native import House

from protocol.dashscope.mapping.answer import openai_usage, sum_usages
from protocol.dashscope.mapping.chat import plan_chat
from protocol.dashscope.mapping.messages import native_messages
from protocol.dashscope.mapping.tools import tool_parameters
from protocol.errors import ApiError

USER = {"role": "user", "content": "hi"}
MARK = {"cache_control": {"type": "ephemeral"}}
MARKED_TEXT = {"type": "text", "text": "long", **MARK}
BROKEN = '{"city": "Par'


def history(arguments: object) -> list[dict]:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    answered = {"role": "tool", "tool_call_id": "c1", "content": "21 C"}
    return [USER, {"role": "assistant", "content": None, "tool_calls": [call]}, answered]


def legacy(arguments: object) -> list[dict]:
    calling = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": arguments}}
    return [USER, calling, {"role": "function", "name": "f", "content": "21 C"}]


def sent_arguments(messages: list[dict]) -> str:
    calls = native_messages(messages, multimodal=False)[1]["tool_calls"]
    arguments = calls[0]["function"]["arguments"]
    assert isinstance(arguments, str)
    return arguments


# ---- arguments


@pytest.mark.parametrize("make", [history, legacy])
@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ("", "{}"),
        (" \n", "{}"),
        (None, "{}"),
        ("null", "{}"),
        ({}, "{}"),
        ("{}", "{}"),
        ({"city": "Paris"}, '{"city": "Paris"}'),
        ('{"city": "巴黎"}', '{"city": "巴黎"}'),
        (' {"city":"Paris"} ', ' {"city":"Paris"} '),
    ],
)
def test_arguments_in_history_are_json(make: object, arguments: object, sent: str) -> None:
    assert callable(make)
    assert sent_arguments(make(arguments)) == sent


@pytest.mark.parametrize("arguments", [BROKEN, "city=Paris", "{'city': 'Paris'}", '{"a": NaN}', "{}{}", 7, True, ["x"]])
def test_broken_arguments_are_refused_by_the_name_of_their_message(arguments: object) -> None:
    for messages, where in ((history(arguments), "tool_calls[0].function"), (legacy(arguments), "function_call")):
        with pytest.raises(ApiError) as caught:
            native_messages(messages, multimodal=False)
        assert (caught.value.status, caught.value.type) == (400, "invalid_request_error")
        assert caught.value.param == f"messages[1].{where}.arguments"
        assert "expected a JSON object as text" in caught.value.message


def test_the_mock_refuses_such_arguments_as_dashscope_does() -> None:
    # https://github.com/HKUDS/nanobot/issues/1487
    for arguments in ("", BROKEN):
        call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}}
        messages = [*history("{}")[:1], {"role": "assistant", "content": "", "tool_calls": [call]}, history("{}")[2]]
        body = {"model": "qwen-plus", "input": {"messages": messages}, "parameters": {}}
        status, code, said = House().refused("/api/v1" + TEXT, body)
        assert (status, code) == (400, "InvalidParameter")
        assert said == 'The "function.arguments" parameter of the code model must be in JSON format.'


def streamed(*deltas: dict, reason: str = "tool_calls") -> bytes:
    lines = []
    for number, delta in enumerate((*deltas, {"content": ""})):
        end = reason if number == len(deltas) else "null"
        choice = {"message": {"role": "assistant", "content": "", **delta}, "finish_reason": end}
        lines.append(b"data:" + json.dumps({"output": {"choices": [choice]}, "request_id": "r"}).encode() + b"\n\n")
    return b"".join(lines)


def fragment(index: int, id: str = "", name: str = "", arguments: object = None) -> dict:
    function = {**({"name": name} if name else {}), **({} if arguments is None else {"arguments": arguments})}
    return {"tool_calls": [{"index": index, "id": id, "type": "function", "function": function}]}


WITHOUT = [
    ("missing", [fragment(0, "c1", "now")], {0: "{}"}),
    ("empty", [fragment(0, "c1", "now", ""), fragment(0, "", "", "")], {0: "{}"}),
    ("the first of two", [fragment(0, "c1", "now"), fragment(1, "c2", "at", '{"a":1}')], {0: "{}", 1: '{"a":1}'}),
    ("none", [fragment(0, "c1", "at", '{"a"'), fragment(0, "", "", ":1}")], {0: '{"a":1}'}),
]


@pytest.mark.parametrize("model", ["qwen-plus", "qwen-mt-plus"])
@pytest.mark.parametrize(("deltas", "expected"), [row[1:] for row in WITHOUT[:3]], ids=[row[0] for row in WITHOUT[:3]])
def test_a_call_without_arguments_streams_an_empty_object(model: str, deltas: list[dict], expected: dict) -> None:
    async def ask() -> list:
        async with Native({TEXT: events(streamed(*deltas))}) as native, translator(native) as house:
            return (await house.chat(model, stream=True)).events()

    *chunks, last = asyncio.run(ask())
    assert last == "[DONE]"
    said: dict[int, str] = {}
    for chunk in chunks:
        for call in chunk["choices"][0]["delta"].get("tool_calls", ()):
            said[call["index"]] = said.get(call["index"], "") + call["function"]["arguments"]
    assert said == expected
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_a_call_with_arguments_streams_them_alone_and_a_cut_one_gets_none() -> None:
    async def ask(data: bytes) -> str:
        async with Native({TEXT: events(data)}) as native, translator(native) as house:
            chunks = (await house.chat("qwen-plus", stream=True)).events()[:-1]
        calls = [call for chunk in chunks for call in chunk["choices"][0]["delta"].get("tool_calls", ())]
        return "".join(call["function"]["arguments"] for call in calls)

    assert asyncio.run(ask(streamed(*WITHOUT[3][1]))) == '{"a":1}'
    assert asyncio.run(ask(streamed(fragment(0, "c1", "at"), reason="length"))) == ""


def test_a_plain_answers_call_without_arguments_has_an_empty_object() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "now", "arguments": ""}}
    choice = {"message": {"role": "assistant", "content": "", "tool_calls": [call]}, "finish_reason": "tool_calls"}

    async def ask() -> dict:
        body = answer({"output": {"choices": [choice]}, "request_id": "r"})
        async with Native({TEXT: body}) as native, translator(native) as house:
            return (await house.chat("qwen-plus")).json()["choices"][0]["message"]["tool_calls"][0]["function"]

    assert asyncio.run(ask()) == {"name": "now", "arguments": "{}"}


# ---- documents


def sent(model: str, messages: list[dict], **request: object) -> list[dict]:
    (call,) = plan_chat({"model": model, "messages": messages, **request}).calls
    native = call.body["input"]["messages"]
    assert isinstance(native, list)
    return native


ROLE = {"role": "system", "content": "You are a helpful assistant."}
FILE = {"role": "system", "content": "fileid://file-fe-1"}
FILES = {"role": "system", "content": "fileid://file-fe-2,fileid://file-fe-3"}
ANSWERED = {"role": "assistant", "content": "A phone."}


@pytest.mark.parametrize("model", ["qwen-long", "qwen-long-latest", "qwen-long-2025-01-25", "qwen-doc-turbo"])
def test_references_to_files_stay_messages_of_their_own(model: str) -> None:
    # The samples of the page "Long context (Qwen-Long)": one document, several, and one that comes later.
    assert sent(model, [ROLE, FILE, USER]) == [ROLE, FILE, USER]
    assert sent(model, [ROLE, FILES, USER]) == [ROLE, FILES, USER]
    assert sent(model, [ROLE, FILE, USER, ANSWERED, FILES, USER]) == [ROLE, FILE, USER, ANSWERED, FILES, USER]
    parts = {"role": "developer", "content": [{"type": "text", "text": FILE["content"]}]}
    assert sent(model, [ROLE, parts, USER]) == [ROLE, FILE, USER]


def test_a_document_as_text_is_a_system_message_of_its_own_too() -> None:
    document = {"role": "system", "content": "Model X: 6.7 inches."}
    assert sent("qwen-long", [ROLE, document, USER]) == [ROLE, document, USER]


def test_a_note_goes_to_the_role_and_to_no_document() -> None:
    noted = {"response_format": {"type": "json_object"}}
    assert sent("qwen-long", [ROLE, FILE, USER], **noted) == [
        {"role": "system", "content": ROLE["content"] + "\n\nRespond in JSON."}, FILE, USER,
    ]  # fmt: skip
    assert sent("qwen-long", [FILE, USER], **noted)[:2] == [{"role": "system", "content": "Respond in JSON."}, FILE]


@pytest.mark.parametrize("model", ["qwen-plus", "deepseek-v3.2", "farui-plus", "never-heard-of"])
def test_other_families_get_one_system_message(model: str) -> None:
    both = {"role": "system", "content": ROLE["content"] + "\n\n" + FILE["content"]}
    assert sent(model, [ROLE, USER, FILE]) == [both, USER]


# ---- the explicit cache

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
LISTED_CALL = {**CALL, "index": 0}
TOOL = {"role": "tool", "tool_call_id": "c1"}

# the message; on the text endpoint; on the multimodal one
MARKED = {
    "a part of an assistant": (
        {"role": "assistant", "content": [MARKED_TEXT]},
        {"role": "assistant", "content": [MARKED_TEXT]},
        {"role": "assistant", "content": [{"text": "long", **MARK}]},
    ),
    "a part among others": (
        {"role": "assistant", "content": [{"type": "text", "text": "a"}, MARKED_TEXT]},
        {"role": "assistant", "content": [{"type": "text", "text": "a"}, MARKED_TEXT]},
        {"role": "assistant", "content": [{"text": "a"}, {"text": "long", **MARK}]},
    ),
    "a part of a tool": (
        {**TOOL, "content": [MARKED_TEXT]},
        {**TOOL, "content": [MARKED_TEXT]},
        {**TOOL, "content": [{"text": "long", **MARK}]},
    ),
    "a user's message": (
        {"role": "user", "content": "long", **MARK},
        {"role": "user", "content": [MARKED_TEXT]},
        {"role": "user", "content": [{"text": "long", **MARK}]},
    ),
    "a system message": (
        {"role": "system", "content": "long", **MARK},
        {"role": "system", "content": [MARKED_TEXT]},
        {"role": "system", "content": [{"text": "long", **MARK}]},
    ),
    "an assistant's message": (
        {"role": "assistant", "content": "long", **MARK},
        {"role": "assistant", "content": [MARKED_TEXT]},
        {"role": "assistant", "content": [{"text": "long", **MARK}]},
    ),
    "a tool's message": (
        {**TOOL, "content": "long", **MARK},
        {**TOOL, "content": [MARKED_TEXT]},
        {**TOOL, "content": [{"text": "long", **MARK}]},
    ),
    "a message of calls alone": (
        {"role": "assistant", "content": None, "tool_calls": [CALL], **MARK},
        {"role": "assistant", "content": "", "tool_calls": [LISTED_CALL], **MARK},
        {"role": "assistant", "content": [], "tool_calls": [LISTED_CALL], **MARK},
    ),
}


@pytest.mark.parametrize("multimodal", [False, True], ids=["text", "multimodal"])
@pytest.mark.parametrize("name", MARKED)
def test_a_mark_of_the_cache_is_passed_on(name: str, multimodal: bool) -> None:
    message, text, parts = MARKED[name]
    assert native_messages([message], multimodal) == [parts if multimodal else text]


def test_the_last_part_takes_the_mark_of_its_message() -> None:
    seen = {"type": "image_url", "image_url": {"url": "https://p.invalid/a.png"}}
    message = {"role": "user", "content": [{"type": "text", "text": "?"}, seen], **MARK}
    content = native_messages([message], multimodal=True)[0]["content"]
    assert content == [{"text": "?"}, {"image": "https://p.invalid/a.png", **MARK}]


def test_a_sound_keeps_its_mark() -> None:
    heard = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}, **MARK}
    content = native_messages([{"role": "user", "content": [heard]}], multimodal=True)[0]["content"]
    assert content == [{"audio": "data:audio/wav;base64,UklGRg==", **MARK}]


@pytest.mark.parametrize("inside", [False, True])
def test_a_mark_on_a_tool_is_passed_on(inside: bool) -> None:
    function = {"name": "f", "parameters": {"type": "object"}}
    tool = {"type": "function", "function": {**function, **(MARK if inside else {})}, **({} if inside else MARK)}
    native = tool_parameters({"tools": [{"type": "function", "function": function}, tool]})["tools"]
    assert native == [{"type": "function", "function": function}, {"type": "function", "function": function, **MARK}]


CREATED = {
    "cached_tokens": 0,
    "cache_creation_input_tokens": 1605,
    "cache_creation": {"ephemeral_5m_input_tokens": 1605},
    "cache_type": "ephemeral",
}


def test_what_the_cache_tells_comes_back() -> None:
    native = {"input_tokens": 1620, "output_tokens": 5, "prompt_tokens_details": CREATED}
    usage = openai_usage(native)
    assert usage["prompt_tokens_details"] == CREATED
    twice = sum_usages([usage, usage])["prompt_tokens_details"]
    assert (twice["cache_creation_input_tokens"], twice["cache_type"]) == (3210, "ephemeral")
    assert twice["cache_creation"] == {"ephemeral_5m_input_tokens": 3210}


@pytest.mark.parametrize(
    ("native", "details"),
    [
        ({}, {"cached_tokens": 0}),
        ({"prompt_tokens_details": {}}, {"cached_tokens": 0}),
        ({"prompt_tokens_details": {"cached_tokens": 2048, "cache_type": "implicit"}},
         {"cached_tokens": 2048, "cache_type": "implicit"}),
        ({"cached_tokens": 7}, {"cached_tokens": 7}),
    ],
)  # fmt: skip
def test_without_the_cache_nothing_is_made_up(native: dict, details: dict) -> None:
    assert openai_usage(native)["prompt_tokens_details"] == details


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("words", "created"), [(1100, 1100), (900, None)])
def test_the_mock_caches_from_1024_tokens_on(stream: bool, words: int, created: int | None) -> None:
    system = {"role": "system", "content": [{"type": "text", "text": "word " * words, **MARK}]}
    body = {"model": "qwen-plus", "input": {"messages": [system, USER]}, "parameters": {"result_format": "message"}}
    path = "/api/v1" + TEXT
    told = House().events(path, body)[-1] if stream else House().post(path, body)
    details = told["usage"]["prompt_tokens_details"]
    assert details.get("cache_creation_input_tokens") == created
    assert details.get("cache_type") == ("ephemeral" if created else None)


# ---- reasoning


@pytest.mark.parametrize("endpoint", [TEXT, MULTIMODAL])
@pytest.mark.parametrize(
    ("reasoning", "expected"), [("", {"reasoning_content": ""}), (None, {}), ("r", {"reasoning_content": "r"})]
)
def test_reasoning_is_passed_on_even_where_it_is_empty(endpoint: str, reasoning: str | None, expected: dict) -> None:
    turn = {"role": "assistant", "content": "x", "reasoning_content": reasoning}
    native = native_messages([USER, turn, USER], endpoint == MULTIMODAL)[1]
    native.pop("content")
    assert native == {"role": "assistant", **expected}


def thinking(model: str = "qwen-plus", **request: object) -> dict:
    (call,) = plan_chat({"model": model, "messages": [USER], "stream": True, **request}).calls
    names = ("enable_thinking", "thinking_budget", "reasoning_effort")
    return {name: value for name, value in call.body["parameters"].items() if name in names}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"type": "enabled", "budget_tokens": 2000}, {"enable_thinking": True, "thinking_budget": 2000}),
        ({"type": "enabled"}, {"enable_thinking": True}),
        ({"type": "disabled", "budget_tokens": 2000}, {"enable_thinking": False}),
        ({"type": "auto", "budget_tokens": 2000}, {"thinking_budget": 2000}),
        ({"type": "adaptive"}, {}),
        ({"type": "enabled", "budget_tokens": None}, {"enable_thinking": True}),
    ],
)
def test_anthropics_thinking_is_mapped(given: dict, expected: dict) -> None:
    assert thinking(thinking=given) == expected


def test_a_budget_outranks_an_effort_and_dashscopes_own_word_both() -> None:
    given = {"type": "enabled", "budget_tokens": 2000}
    assert thinking("deepseek-v4-pro", thinking=given, reasoning_effort="high") == {
        "enable_thinking": True, "thinking_budget": 2000,
    }  # fmt: skip
    assert thinking(thinking=given, thinking_budget=7) == {"enable_thinking": True, "thinking_budget": 7}
    assert thinking(thinking=given, enable_thinking=False) == {"enable_thinking": False}


@pytest.mark.parametrize("budget", [0, -1, 1.5, "many", True])
def test_a_wrong_budget_is_named(budget: object) -> None:
    with pytest.raises(ApiError) as caught:
        thinking(thinking={"type": "enabled", "budget_tokens": budget})
    assert (caught.value.status, caught.value.param) == (400, "thinking.budget_tokens")
