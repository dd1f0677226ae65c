"""The mock backend: exact shapes, and what requests may ask of them."""

from __future__ import annotations

import asyncio
import json
import random
import re
import tracemalloc

import pytest
from json_schemas import violations
from mocks import make_mock, make_request

from protocol.errors import ApiError
from protocol.exchange import Paced, Response
from protocol.mock.inference.chat import prompt_words
from protocol.mock.inference.simple_chat import usual_words
from protocol.openai.answers import split_words
from protocol.openai.completions import Choice, CompletionHead, FixedChat, chat_completion, chat_frames, text_frames
from protocol.wire.json_text import encode_json
from protocol.wire.sse import DONE_EVENT, SseReader, encode_event

HELLO = [{"role": "user", "content": "Hello there"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 7}},
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}
OTHER_TOOL = {"type": "function", "function": {"name": "clock"}}
SLEPT = []


async def note_sleep(seconds):
    SLEPT.append(seconds)


def mock(**settings):
    return make_mock(sleep=note_sleep, **settings)


def respond(body, path="/v1/chat/completions", **settings):
    asked = make_request("POST", path, body)
    answer = mock(**settings).endpoint(asked).answer(asked)
    return answer if isinstance(answer, Response) else asyncio.run(answer)


def chat(_settings=None, **parameters):
    body = {"model": "gpt-4o", "messages": HELLO, **parameters}
    return json.loads(respond(body, **(_settings or {})).body)


def stream_text(body, path="/v1/chat/completions", **settings):
    paced = respond(body, path, **settings).body
    assert isinstance(paced, Paced)
    return b"".join(paced.frames).decode()


def events(text):
    """Read a stream of the strictest form: `data: …` and an empty line, again and again, [DONE] at the end."""
    *parts, nothing = text.split("\n\n")
    assert nothing == "" and all(part.startswith("data: ") and "\n" not in part for part in parts)
    assert parts.pop() == "data: [DONE]"
    return [json.loads(part[len("data: ") :]) for part in parts]


def stream(_settings=None, **parameters):
    return events(
        stream_text({"model": "gpt-4o", "messages": HELLO, "stream": True, **parameters}, **(_settings or {}))
    )


def refused(body, path="/v1/chat/completions"):
    with pytest.raises(ApiError) as caught:
        respond(body, path)
    return caught.value


# ---- plain answers


def test_chat_completion_has_openai_s_shape():
    answer = chat()
    assert answer == {
        "id": answer["id"],
        "object": "chat.completion",
        "created": 1700000000,
        "model": "gpt-4o",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "powered by openai", "refusal": None, "annotations": []},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 2,
            "completion_tokens": 3,
            "total_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        "service_tier": "default",
        "system_fingerprint": answer["system_fingerprint"],
    }
    assert answer["id"].startswith("chatcmpl-")


def test_ids_differ():
    backend = mock()
    asked = [make_request("POST", "/v1/chat/completions", {"model": "m", "messages": HELLO}) for _ in range(50)]
    ids = {json.loads(backend.endpoint(one).answer(one).body)["id"] for one in asked}
    assert len(ids) == 50


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/chat/completions"])
def test_v1_may_be_left_out(path):
    assert respond({"model": "m", "messages": HELLO}, path).status == 200


@pytest.mark.parametrize("include_usage", [False, True])
@pytest.mark.parametrize("make", [chat_frames, text_frames])
def test_spliced_frames_are_the_events_of_whole_chunks(make, include_usage):
    head = CompletionHead("chatcmpl-1", 1700000000, 'a "model" of 模', 12)
    choices = [Choice(split_words("powered by\nopenai"), "stop"), Choice(["你 "], "length")]
    stream = b"".join(make(head, choices, include_usage=include_usage))
    reader = SseReader()
    *chunks, done = [event.data for event in reader.feed(stream)]
    assert not reader.close()
    assert done == "[DONE]"
    assert b"".join(encode_event(encode_json(json.loads(chunk))) for chunk in chunks) + DONE_EVENT == stream


@pytest.mark.parametrize("model", ["gpt-4o", "多模型/x", 'quo"te\\', "\ud800", "id", "-1", "%d %b"])
@pytest.mark.parametrize(
    "text", ["powered by openai", "", '你好 \U0001f600 "quoted" \\ \n line', "%b %d \0id -1 \0model"]
)
def test_prepared_answers_are_the_bytes_of_the_long_way(model, text):
    head = CompletionHead("chatcmpl-1", 1700000000, model, 12)
    choice = Choice(split_words(text), "stop")
    fixed = FixedChat(choice)
    assert fixed.completion(*head[:4]) == encode_json(chat_completion(head, [choice]))
    for include_usage in (False, True):
        long_way = chat_frames(head, [choice], include_usage=include_usage)
        frames = fixed.frames(*head[:4], include_usage=include_usage)
        assert list(frames) == long_way and frames[-1:] == long_way[-1:] and frames[-1] == long_way[-1]
        if not include_usage:
            assert fixed.stream(*head[:3]) == b"".join(long_way)


def test_prepared_answers_of_other_models_and_later_seconds_are_the_long_ways():
    choice = Choice(split_words("powered by openai"), "stop")
    fixed = FixedChat(choice)
    for number in (0, 1, 100, 2):
        for model in ("a", "b", *(f"model-{number}" for number in range(100)), "a"):
            head = CompletionHead(f"chatcmpl-{number}", 1700000000 + number, model, 12 + number)
            assert fixed.completion(*head[:4]) == encode_json(chat_completion(head, [choice]))
            frames = fixed.frames(*head[:4], include_usage=True)
            assert list(frames) == chat_frames(head, [choice], include_usage=True)


def test_a_long_stream_takes_the_room_of_a_word_until_its_words_are_due():
    """Ten thousand paced streams of a thousand words would take two gigabytes."""
    fixed = FixedChat(Choice(split_words("word " * 1000), "stop"))
    fixed.make_known(1700000000, "gpt-4o")
    tracemalloc.start()
    try:
        begun = [fixed.frames(f"chatcmpl-{n}", 1700000000, "gpt-4o", 12, include_usage=True) for n in range(100)]
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 100 * 2000 and len(b"".join(begun[0])) > 100_000


TOKENS = 3  # of the text that the mock says
USUAL = [
    {},
    {"stream": True},
    {"stream": False},
    {"messages": [{"role": "system", "content": "Be brief."}, {"content": "", "role": "user"}]},
    {"messages": [{"role": "developer", "content": " a  b\nc "}, {"role": "assistant", "content": "d"}] * 3},
    {"temperature": 0.5},
    {"temperature": 2, "top_p": 0, "presence_penalty": -2, "frequency_penalty": 2.0},
    {"seed": -5, "user": "somebody", "n": 1},
    {"max_tokens": TOKENS},
    {"max_completion_tokens": 10**30, "stream": True},
    {"model": "gpt-5"},
    {"model": "o3-mini", "stream": True},
]
NOT_USUAL = [
    {"stream": None},
    {"stream": 1},
    {"temperature": None},
    {"temperature": True},
    {"temperature": "1"},
    {"temperature": 2.1},
    {"temperature": -1},
    {"top_p": 1.1},
    {"presence_penalty": 3},
    {"frequency_penalty": -2.5},
    {"seed": 1.0},
    {"seed": True},
    {"user": 5},
    {"n": 2},
    {"n": True},
    {"n": 1.0},
    {"max_tokens": TOKENS - 1},
    {"max_tokens": 10.0},
    {"max_tokens": True},
    {"max_tokens": 10, "max_completion_tokens": 10},
    {"stop": "x"},
    {"tools": []},
    {"store": False},
    {"whatever": 1},
    {"model": "gpt-5", "temperature": 0.5},
    {"model": "o3-mini", "max_tokens": 10},
    {"model": ""},
    {"model": 4},
    {"model": None},
    {"messages": None},
    {"messages": []},
    {"messages": {"role": "user", "content": "x"}},
    {"messages": ["x"]},
    {"messages": [{"role": "user"}]},
    {"messages": [{"role": "user", "content": None}]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]},
    {"messages": [{"role": ["user"], "content": "x"}]},
    {"messages": [{"role": "nobody", "content": "x"}]},
    {"messages": [{"role": "tool", "content": "x"}]},
    {"messages": [{"role": "user", "content": "x", "name": "y"}]},
    {"messages": [{"role": "user", "name": "y"}]},
]


@pytest.mark.parametrize("parameters", USUAL, ids=repr)
def test_usual_chat_is_one_that_the_ordinary_way_answers_the_same(parameters):
    body = {"model": "gpt-4o", "messages": HELLO, **parameters}
    assert usual_words(body, TOKENS) == prompt_words(body["messages"])
    # A null is as good as absent, but not usual.
    long_way = {**body, "logit_bias": None}
    assert not usual_words(long_way, TOKENS)
    one, other = respond(body), respond(long_way)
    assert one.fields == other.fields
    assert getattr(one.body, "frames", one.body) == getattr(other.body, "frames", other.body)


@pytest.mark.parametrize("parameters", NOT_USUAL, ids=repr)
def test_what_must_be_looked_at_is_not_usual_chat(parameters):
    assert usual_words({"model": "gpt-4o", "messages": HELLO, **parameters}, TOKENS) == 0


def test_words_of_a_long_usual_chat_are_the_same():
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "two words " * 20_000}, *HELLO]}
    assert usual_words(body, TOKENS, is_long=True) == usual_words(body, TOKENS) == prompt_words(body["messages"])


def test_a_usual_chat_is_good_by_the_description_whatever_its_members_hold():
    """Random members and values, near and on the bounds: whatever goes the short way, the long way accepts."""
    chance = random.Random(17)
    values = [None, True, False, 0, 1, 2, 3, -2, -2.1, 0.5, 2.0, 2.1, 1e300, 10**30, "", "x", [], {}, ["x"]]
    names = ["stream", "user", "seed", "n", "temperature", "top_p", "presence_penalty", "frequency_penalty"]
    names += ["max_tokens", "max_completion_tokens", "stop", "store", "logprobs", "tools"]
    house, usual = mock(), 0
    for _ in range(5000):
        body = {name: chance.choice(values) for name in chance.sample(names, chance.randrange(4))}
        body = {**body, "model": chance.choice(("gpt-4o", "gpt-5", "o1", "gpt-5.2-chat")), "messages": HELLO}
        if usual_words(body, TOKENS):
            usual += 1
            answers = []
            for asked in (body, {**body, "logit_bias": None}):
                request = make_request("POST", "/v1/chat/completions", asked)
                said = house.endpoint(request).answer(request).body
                answers.append(re.sub(b"chatcmpl-[0-9a-f]{24}", b"", b"".join(getattr(said, "frames", [said]))))
            assert answers[0] == answers[1]
    assert usual > 500


@pytest.mark.parametrize(
    "parameters",
    [
        {"max_tokens": 3}, {"max_tokens": 1000}, {"max_completion_tokens": 3}, {"n": 1}, {"stop": None},
        {"store": False, "logprobs": False}, {"max_tokens": 1000, "stream": True},
        {"max_tokens": 1000, "stream": True, "stream_options": {"include_usage": True}},
    ],
    ids=repr,
)  # fmt: skip
def test_parameters_that_shape_nothing_change_nothing(parameters):
    body = {"model": "gpt-4o", "messages": HELLO, **parameters}
    # A stop sequence that does not occur has the answer made the long way.
    one, other = respond(body), respond({**body, "stop": "zzz"})
    assert getattr(one.body, "frames", one.body) == getattr(other.body, "frames", other.body)


@pytest.mark.parametrize("text", ["a", "a b", " a  b\n", "a\tb \x1c c", "a\x0b\x0cb.c"])
def test_plain_text_is_cut_as_all_other_text_is(text):
    assert split_words(text) == split_words(f"{text}\u4e00")[:-1]


# ---- streams


def test_stream_is_role_words_finish_done():
    chunks = stream()
    assert [chunk["choices"][0]["delta"] for chunk in chunks] == [
        {"role": "assistant", "content": "", "refusal": None},
        {"content": "powered "},
        {"content": "by "},
        {"content": "openai"},
        {},
    ]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, None, None, "stop"]
    assert {(chunk["id"], chunk["object"], chunk["created"], chunk["model"]) for chunk in chunks} == {
        (chunks[0]["id"], "chat.completion.chunk", 1700000000, "gpt-4o")
    }
    assert all("usage" not in chunk for chunk in chunks)


def test_usage_chunk_comes_last_when_asked_for():
    chunks = stream(stream_options={"include_usage": True})
    assert [chunk["usage"] for chunk in chunks[:-1]] == [None] * 5
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 3 and chunks[-1]["usage"]["total_tokens"] == 5


def test_stream_and_plain_answer_say_the_same():
    for parameters in ({}, {"n": 3}, {"max_tokens": 2}, {"stop": "by"}, {"tools": [TOOL], "tool_choice": "required"}):
        plain, chunks = chat(**parameters), stream(**parameters)
        for choice in plain["choices"]:
            deltas = [c for chunk in chunks for c in chunk["choices"] if c["index"] == choice["index"]]
            said = "".join(
                d["delta"].get("content")
                or "".join(t["function"]["arguments"] for t in d["delta"].get("tool_calls", []))
                for d in deltas
            )
            message = choice["message"]
            assert said == (message["content"] or message["tool_calls"][0]["function"]["arguments"])
            assert deltas[-1]["finish_reason"] == choice["finish_reason"]


def test_delays_are_left_to_the_pacer():
    paced = respond({"model": "m", "messages": HELLO, "stream": True}, delay=0.5, first_delay=2.0).body
    assert (paced.first_delay, paced.delay, len(paced.frames)) == (2.0, 0.5, 3)
    assert b'"role":"assistant"' in paced.frames[0] and b'"powered "' in paced.frames[0]
    assert paced.frames[2].endswith(b"data: [DONE]\n\n")
    assert events(b"".join(paced.frames).decode())[-1]["choices"][0]["finish_reason"] == "stop"


def test_plain_answer_takes_as_long_as_its_words():
    SLEPT.clear()
    chat({"delay": 0.5, "first_delay": 2.0})
    assert SLEPT == [3.0]


# ---- what shapes an answer


@pytest.mark.parametrize(
    ("parameters", "content", "reason", "tokens"),
    [
        ({"max_tokens": 2}, "powered by ", "length", 2),
        ({"max_tokens": 3}, "powered by openai", "stop", 3),
        ({"max_completion_tokens": 1}, "powered ", "length", 1),
        ({"max_tokens": 0}, "", "length", 0),
        ({"max_tokens": None}, "powered by openai", "stop", 3),
        ({"stop": "by"}, "powered ", "stop", 1),
        ({"stop": ["xyz", "d by"]}, "powere", "stop", 1),
        ({"stop": ["openai", "by"]}, "powered ", "stop", 1),
        ({"stop": "powered"}, "", "stop", 0),
        ({"stop": ""}, "powered by openai", "stop", 3),
        ({"stop": []}, "powered by openai", "stop", 3),
        ({"stop": " by", "max_tokens": 0}, "", "length", 0),
        ({"n": 1}, "powered by openai", "stop", 3),
    ],
)
def test_length_and_stop_cut_the_answer(parameters, content, reason, tokens):
    answer = chat(**parameters)
    assert [choice["message"]["content"] for choice in answer["choices"]] == [content]
    assert answer["choices"][0]["finish_reason"] == reason
    assert answer["usage"]["completion_tokens"] == tokens
    said = "".join(c["delta"].get("content", "") for k in stream(**parameters) for c in k["choices"] if c["index"] == 0)
    assert said == content


def test_n_choices_differ_and_are_streamed_side_by_side():
    said = [choice["message"]["content"] for choice in chat(n=3)["choices"]]
    assert said[0] == "powered by openai"
    assert len(set(said)) == 3
    streamed = ["", "", ""]
    indexes = []
    for chunk in stream(n=3):
        choice = chunk["choices"][0]
        indexes.append(choice["index"])
        streamed[choice["index"]] += choice["delta"].get("content") or ""
    assert streamed == said
    assert indexes[:6] == [0, 0, 1, 1, 2, 2] or indexes[:3] == [0, 1, 2]


def test_logprobs_tell_of_each_word_in_answer_and_stream():
    choice = chat(logprobs=True, top_logprobs=3)["choices"][0]
    entries = choice["logprobs"]["content"]
    assert "".join(entry["token"] for entry in entries) == choice["message"]["content"]
    assert all(
        bytes(entry["bytes"]).decode() == entry["token"] and len(entry["top_logprobs"]) == 3 for entry in entries
    )
    streamed = [chunk["choices"][0]["logprobs"] for chunk in stream(logprobs=True, top_logprobs=3)]
    assert [part["content"][0] for part in streamed if part] == entries
    assert chat()["choices"][0]["logprobs"] is None


TWO_TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
    for name in ("get_weather", "get_time")
]


def test_tools_that_the_prompt_asks_for_are_called_and_streamed_alike():
    asked = [{"role": "user", "content": "Call get_weather and get_time for Paris."}]
    choice = chat(messages=asked, tools=TWO_TOOLS)["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    calls = choice["message"]["tool_calls"]
    assert [call["function"]["name"] for call in calls] == ["get_weather", "get_time"]
    assert json.loads(calls[0]["function"]["arguments"]) == {"city": "Paris"}
    streamed = {}
    for chunk in stream(messages=asked, tools=TWO_TOOLS):
        for call in chunk["choices"][0]["delta"].get("tool_calls") or []:
            at = streamed.setdefault(call["index"], {"name": "", "arguments": ""})
            for key, value in call["function"].items():
                at[key] += value
    assert list(streamed.values()) == [call["function"] for call in calls]


def test_an_agent_s_loop_ends_once_its_tools_have_answered():
    asked = [{"role": "user", "content": "Call get_weather and get_time for Paris."}]
    message = chat(messages=asked, tools=TWO_TOOLS)["choices"][0]["message"]
    asked.append(message)
    asked += [{"role": "tool", "tool_call_id": call["id"], "content": "fine"} for call in message["tool_calls"]]
    choice = chat(messages=asked, tools=TWO_TOOLS)["choices"][0]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("stop", "powered by openai")


def test_small_talk_calls_no_tool():
    choice = chat(messages=[{"role": "user", "content": "thank you"}], tools=TWO_TOOLS)["choices"][0]
    assert choice["message"]["content"] == "powered by openai"


def test_a_stored_chat_is_listed_given_changed_and_deleted():
    backend = mock()

    def ask(method, path, body=None):
        asked = make_request(method, path, body if body is not None else b"")
        answer = backend.endpoint(asked).answer(asked)
        return json.loads(answer.body)

    made = ask("POST", "/v1/chat/completions", {"model": "m", "messages": HELLO, "store": True, "metadata": {"a": "b"}})
    path = f"/v1/chat/completions/{made['id']}"
    assert [one["id"] for one in ask("GET", "/v1/chat/completions?metadata[a]=b")["data"]] == [made["id"]]
    assert ask("GET", "/v1/chat/completions?metadata[a]=c")["data"] == []
    assert ask("GET", path)["choices"] == made["choices"]
    assert ask("GET", f"{path}/messages")["data"][0]["content"] == "Hello there"
    assert ask("POST", path, {"metadata": {"a": "c"}})["metadata"] == {"a": "c"}
    assert ask("DELETE", path)["deleted"] is True
    with pytest.raises(ApiError) as caught:
        ask("GET", path)
    assert (caught.value.status, caught.value.code) == (404, "not_found")


def test_a_chat_that_is_not_stored_is_not_found():
    backend = mock()
    asked = make_request("POST", "/v1/chat/completions", {"model": "m", "messages": HELLO})
    made = json.loads(backend.endpoint(asked).answer(asked).body)
    asked = make_request("GET", f"/v1/chat/completions/{made['id']}")
    with pytest.raises(ApiError):
        backend.endpoint(asked).answer(asked)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("powered by openai", ["powered ", "by ", "openai"]),
        ("  two\n\nwords  ", ["  two\n\n", "words  "]),
        ("你好 world", ["你", "好 ", "world"]),
        ("", []),
        (" \n ", [" \n "]),
        ("one", ["one"]),
    ],
)
def test_words_joined_are_the_text(text, words):
    assert split_words(text) == words
    assert "".join(words) == text


# ---- tools and formats


@pytest.mark.parametrize(
    ("choice", "reason"),
    [("required", "tool_calls"), ({"type": "function", "function": {"name": "weather"}}, "stop")],
)
def test_forced_tool_is_called_with_arguments_that_fit(choice, reason):
    answer = chat(tools=[TOOL, OTHER_TOOL], tool_choice=choice)
    message = answer["choices"][0]["message"]
    call = message["tool_calls"][0]
    assert (message["content"], answer["choices"][0]["finish_reason"]) == (None, reason)
    assert (call["type"], call["function"]["name"], call["id"][:5]) == ("function", "weather", "call_")
    assert violations(json.loads(call["function"]["arguments"]), TOOL["function"]["parameters"]) == []
    assert answer["usage"]["completion_tokens"] == len(split_words(call["function"]["arguments"]))


def test_forced_tool_is_streamed_in_openai_s_order():
    chunks = stream(tools=[TOOL], tool_choice="required")
    opening = chunks[0]["choices"][0]["delta"]
    assert (opening["role"], opening["content"]) == ("assistant", None)
    first = opening["tool_calls"][0]
    assert (first["index"], first["type"], first["function"]) == (0, "function", {"name": "weather", "arguments": ""})
    later = [chunk["choices"][0]["delta"]["tool_calls"][0] for chunk in chunks[1:-1]]
    assert all(set(call) == {"index", "function"} for call in later)
    arguments = json.loads("".join(call["function"]["arguments"] for call in later))
    assert violations(arguments, TOOL["function"]["parameters"]) == []
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_tool_without_parameters_is_called_with_none():
    call = chat(tools=[OTHER_TOOL], tool_choice="required")["choices"][0]["message"]["tool_calls"][0]
    assert call["function"] == {"name": "clock", "arguments": "{}"}


@pytest.mark.parametrize("choice", [None, "auto", "none"])
def test_tools_that_are_not_forced_are_not_called(choice):
    assert chat(tools=[TOOL], tool_choice=choice)["choices"][0]["message"]["content"] == "powered by openai"


def test_allowed_tools_can_force_one_of_them():
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "clock"}}]}
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    calls = chat(tools=[TOOL, OTHER_TOOL], tool_choice=choice)["choices"][0]["message"]["tool_calls"]
    assert calls[0]["function"]["name"] == "clock"


def test_legacy_function_call_is_answered():
    answer = chat(functions=[TOOL["function"]], function_call={"name": "weather"})
    call = answer["choices"][0]["message"]["function_call"]
    assert call["name"] == "weather"
    assert violations(json.loads(call["arguments"]), TOOL["function"]["parameters"]) == []
    pieces = [k["choices"][0]["delta"] for k in stream(functions=[TOOL["function"]], function_call={"name": "weather"})]
    assert json.loads("".join(piece.get("function_call", {}).get("arguments", "") for piece in pieces)) == json.loads(
        call["arguments"]
    )


def test_json_object_is_an_object():
    messages = [{"role": "system", "content": "Answer in JSON."}, *HELLO]
    answer = chat(messages=messages, response_format={"type": "json_object"})
    assert json.loads(answer["choices"][0]["message"]["content"]) == {"text": "powered by openai"}


def test_json_schema_is_met():
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 2},
        },
        "required": ["name", "tags"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "thing", "strict": True, "schema": schema}}
    content = chat(response_format=form)["choices"][0]["message"]["content"]
    assert violations(json.loads(content), schema) == []
    streamed = "".join(k["choices"][0]["delta"].get("content", "") for k in stream(response_format=form))
    assert streamed == content


# ---- legacy completions


def test_text_completion_has_openai_s_shape():
    answer = json.loads(respond({"model": "gpt-3.5-turbo-instruct", "prompt": "Say it"}, "/v1/completions").body)
    assert (answer["object"], answer["model"]) == ("text_completion", "gpt-3.5-turbo-instruct")
    assert answer["choices"] == [{"text": "powered by openai", "index": 0, "logprobs": None, "finish_reason": "stop"}]
    assert answer["usage"]["total_tokens"] == 5


@pytest.mark.parametrize(
    ("parameters", "texts"),
    [
        ({"prompt": ["a", "b"], "n": 2}, ["powered by openai", "powered by openai (2)"] * 2),
        ({"prompt": [1, 2, 3]}, ["powered by openai"]),
        ({"prompt": [[1], [2]]}, ["powered by openai"] * 2),
        ({"prompt": "Say: ", "echo": True}, ["Say: powered by openai"]),
        ({"prompt": "x", "max_tokens": 1}, ["powered "]),
        ({"prompt": "x", "stop": [" openai"]}, ["powered by"]),
    ],
)
def test_text_completion_parameters(parameters, texts):
    body = {"model": "m", **parameters}
    plain = json.loads(respond(body, "/v1/completions").body)
    assert [choice["text"] for choice in plain["choices"]] == texts
    chunks = events(stream_text({**body, "stream": True, "stream_options": {"include_usage": True}}, "/v1/completions"))
    for index, text in enumerate(texts):
        said = [c for chunk in chunks for c in chunk["choices"] if c["index"] == index]
        assert "".join(choice["text"] for choice in said) == text
        assert [choice["finish_reason"] for choice in said][-1] == plain["choices"][index]["finish_reason"]
    assert chunks[-1]["usage"] == plain["usage"]


# ---- errors


@pytest.mark.parametrize(
    ("body", "param", "code", "words"),
    [
        (b"", None, "invalid_json", "it is empty"),
        (b"{", None, "invalid_json", "line 1 column 2"),
        (b"\xff{}", None, "invalid_json", "not UTF-8 at byte 0"),
        (b'{"a": NaN}', None, "invalid_json", "NaN is not a JSON number"),
        (b"[" * 100000, None, "invalid_json", "nested more than 100 deep"),
        (b"[]", None, None, "must be a JSON object, but it is an array"),
        ({}, "model", "missing_required_parameter", "you must provide a model parameter"),
        ({"model": "m"}, "messages", "missing_required_parameter", "Missing required parameter: 'messages'."),
        ({"model": 5, "messages": HELLO}, "model", "invalid_type", "expected a string"),
        ({"model": "m", "messages": "x"}, "messages", "invalid_type", "expected an array of objects, but got a string instead"),
        ({"model": "m", "messages": []}, "messages", "empty_array", "minimum length 1, but got an empty array instead"),
        ({"model": "m", "messages": ["x"]}, "messages[0]", "invalid_type", "expected an object, but got a string"),
        ({"model": "m", "messages": [{}]}, "messages[0].role", "missing_required_parameter", "'messages[0].role'"),
        ({"model": "m", "messages": [{"role": "user"}]}, "messages[0].content", "missing_required_parameter", "content"),
        ({"model": "m", "messages": [{"role": "x", "content": ""}]}, "messages[0].role", "invalid_value", "Supported values are: 'system', 'assistant'"),
        ({"model": "m", "messages": [{"role": "user", "content": 5}]}, "messages[0].content", "invalid_type", "expected one of a string or array of objects, but got an integer instead"),
        ({"model": "m", "messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text", "missing_required_parameter", "text"),
        ({"model": "m", "messages": HELLO, "temperature": "hot"}, "temperature", "invalid_type", "expected a decimal, but got a string instead"),
        ({"model": "m", "messages": HELLO, "temperature": 2.5}, "temperature", "decimal_above_max_value", "Expected a value <= 2, but got 2.5 instead"),
        ({"model": "m", "messages": HELLO, "n": 0}, "n", "integer_below_min_value", "Expected a value >= 1, but got 0 instead"),
        ({"model": "m", "messages": HELLO, "n": True}, "n", "invalid_type", "expected an integer, but got a boolean"),
        ({"model": "m", "messages": HELLO, "stream": "yes"}, "stream", "invalid_type", "expected a boolean"),
        ({"model": "m", "messages": HELLO, "stop": list("abcde")}, "stop", "array_above_max_length", "maximum length 4"),
        ({"model": "m", "messages": HELLO, "stop": [1]}, "stop[0]", "invalid_type", "expected a string"),
        ({"model": "m", "messages": HELLO, "tool_choice": "required"}, "tool_choice", None, "only allowed when 'tools'"),
        ({"model": "m", "messages": HELLO, "tools": [TOOL], "tool_choice": "maybe"}, "tool_choice", "invalid_value", "'none', 'auto', and 'required'"),
        ({"model": "m", "messages": HELLO, "tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "nope"}}}, "tool_choice", "invalid_value", "'nope' not found"),
        ({"model": "m", "messages": HELLO, "response_format": {"type": "xml"}}, "response_format.type", "invalid_value", "'text', 'json_object', and 'json_schema'"),
        ({"model": "m", "messages": HELLO, "response_format": {"type": "json_schema"}}, "response_format.json_schema", "missing_required_parameter", "json_schema"),
        ({"model": "m", "messages": HELLO, "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object", "required": ["a"], "properties": {"a": False}}}}}, "response_format", "invalid_json_schema", "Invalid schema for response_format 's'"),
    ],
)  # fmt: skip
def test_bad_chat_request_is_openai_s_400(body, param, code, words):
    error = refused(body)
    assert (error.status, error.type) == (400, "invalid_request_error")
    assert (error.param, error.code) == (param, code)
    assert words in error.message


def test_parameters_of_other_vendors_pass():
    assert chat(enable_thinking=True, top_k=5, extra={"a": 1})["object"] == "chat.completion"


def test_null_is_as_good_as_absent():
    names = (
        "temperature",
        "stop",
        "n",
        "tools",
        "tool_choice",
        "response_format",
        "stream",
        "stream_options",
        "max_tokens",
    )
    assert chat(**dict.fromkeys(names))["choices"][0]["message"]["content"] == "powered by openai"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", "/v1/completions", 405),
        ("DELETE", "/v1/completions", 405),
        ("POST", "/v1/nope", 404),
        ("GET", "/v1/chat", 404),
    ],
)
def test_unknown_path_is_404_and_other_methods_405(method, path, status):
    with pytest.raises(ApiError) as caught:
        mock().endpoint(make_request(method, path))
    assert caught.value.status == status
    assert caught.value.fields == ((("allow", "POST, OPTIONS"),) if status == 405 else ())


def test_models_are_listed_in_openai_s_shape():
    models = mock().models(make_request("GET", "/v1/models"))
    assert {"gpt-4o", "gpt-3.5-turbo"} <= {model["id"] for model in models}
    assert all(set(model) == {"id", "object", "created", "owned_by"} and model["object"] == "model" for model in models)
