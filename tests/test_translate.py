"""protocol/dashscope: chat, keys, errors, models, embeddings and rerank, through the real server to a native fake."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import struct
from typing import Any

import native as native_side
import pytest
from dashscope_samples import (
    FIRST_FRAME_ERROR,
    LOGPROBS_ANSWER,
    MESSAGE_ANSWER,
    MIDWAY_ERROR,
    MULTIMODAL_FRAMES,
    SEARCH_FRAMES,
    STREAMS,
    TEXT_ANSWER,
    TEXT_FRAMES,
    THINKING_ANSWER,
    THINKING_FRAMES,
    TOOL_FRAMES,
    TOOLS_ANSWER,
    TWO_CHOICES_ANSWER,
    VISION_ANSWER,
    choices,
    sse,
)
from dashscope_samples import (
    translator as stream_translator,
)
from native import (
    CREATED,
    EMBEDDINGS,
    KEY,
    MULTIMODAL,
    RERANK,
    TEXT,
    URL_ERROR,
    Native,
    answer,
    begun,
    by_byte,
    events,
    refusal,
    translator,
    until,
)
from skipping import run
from upstreams import Peer, Received, Upstream, closed_port, resetting, silent, sized

from protocol.config import Configuration
from protocol.dashscope.backend import DashScope
from protocol.dashscope.settings import DashScopeSettings
from protocol.errors import UsageError
from protocol.server.settings import ServerSettings
from protocol.service.log import Log

CHAT = "/v1/chat/completions"


@pytest.fixture(params=["new", "at_rest"], autouse=True)
def connections(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each test find no connection to DashScope, and one: then its first call is made without a task."""
    monkeypatch.setattr(native_side, "has_connection_at_rest", request.param == "at_rest")


PICTURE = {"type": "image_url", "image_url": {"url": "https://pictures.invalid/a.png"}}


# ---- chat, plain ------------------------------------------------------------------------------------------------


def test_a_plain_chat_is_one_native_call_with_the_callers_key() -> None:
    async def main() -> None:
        async with Native({TEXT: answer(MESSAGE_ANSWER)}) as native, translator(native) as house:
            answered = await house.chat(temperature=2, top_p=1, max_tokens=9999, stop=["END"], frequency_penalty=1)
            assert answered.json() == {
                "id": "chatcmpl-0f5e1c9a-0001-9c11-8e01-aa0000000001",
                "object": "chat.completion",
                "created": CREATED,
                "model": "farui-plus",
                "system_fingerprint": None,
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": "A lease is a contract.", "refusal": None},
                        "logprobs": None,
                        "finish_reason": "stop",
                    }
                ],
                "usage": {
                    "prompt_tokens": 25,
                    "completion_tokens": 6,
                    "total_tokens": 31,
                    "prompt_tokens_details": {"cached_tokens": 0},
                    "completion_tokens_details": {"reasoning_tokens": 0},
                },
            }
            assert answered.get("x-request-id") == "0f5e1c9a-0001-9c11-8e01-aa0000000001"
            assert native.calls == [
                {
                    "model": "farui-plus",
                    "input": {"messages": [{"role": "user", "content": "What is a lease?"}]},
                    "parameters": {
                        "result_format": "message", "temperature": 1.99, "top_p": 0.9999, "max_tokens": 2000,
                        "stop": ["END"],
                    },
                }
            ]  # fmt: skip
            received = native.received[0]
            assert (received.method, received.target) == ("POST", "/api/v1" + TEXT)
            assert received.get("authorization") == f"Bearer {KEY}"
            assert received.get("accept") == "application/json"
            assert received.get("x-dashscope-sse") == ""

    run(main)


def test_only_dashscopes_own_switches_of_the_clients_fields_go_on() -> None:
    async def main() -> None:
        async with Native({TEXT: answer(MESSAGE_ANSWER)}) as native, translator(native) as house:
            body = {"model": "qwen-max", "messages": [{"role": "user", "content": "hi"}]}
            await house.post(CHAT, body, x_dashscope_workspace="ws-1", cookie="session=1", openai_organization="org")
            names = {name for name, _ in native.received[0].fields}
            assert native.received[0].get("x-dashscope-workspace") == "ws-1"
            assert names == {
                "host", "user-agent", "authorization", "accept", "accept-encoding", "content-type", "content-length",
                "x-dashscope-workspace",
            }  # fmt: skip

    run(main)


PLAIN = [
    ("the older form", "qwen-max", TEXT, TEXT_ANSWER, {"content": "A lease is a contract."}, "stop"),
    ("tool calls", "qwen-max", TEXT, TOOLS_ANSWER, {"content": None}, "tool_calls"),
    ("log probabilities", "qwen-max", TEXT, LOGPROBS_ANSWER, {"content": "4"}, "stop"),
    ("thinking", "qwen-plus", TEXT, THINKING_ANSWER, {"content": "4", "reasoning_content": "2+2 is 4."}, "stop"),
    ("a picture", "qwen-vl-max", MULTIMODAL, VISION_ANSWER, {"content": "A beach."}, "stop"),
]


@pytest.mark.parametrize("case", PLAIN, ids=lambda case: case[0])
def test_plain_answers(case: tuple[str, str, str, bytes, dict[str, Any], str]) -> None:
    _, model, path, native_answer, said, reason = case

    async def main() -> None:
        async with Native({path: answer(native_answer)}) as native, translator(native) as house:
            choice = (await house.chat(model)).json()["choices"][0]
            assert {**choice["message"], **said} == choice["message"]
            assert choice["finish_reason"] == reason

    run(main)


def test_a_request_without_a_model_asks_the_default_one() -> None:
    async def main() -> None:
        async with (
            Native({TEXT: answer(MESSAGE_ANSWER)}) as native,
            translator(native, default_model="qwen-max") as house,
        ):
            answered = await house.post(CHAT, {"messages": [{"role": "user", "content": "hi"}]})
            assert answered.json()["model"] == native.calls[0]["model"] == "qwen-max"

    run(main)


HI = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
REFUSED = [
    ("no JSON", b"{", None, "invalid_json"),
    ("no object", b"[]", None, None),
    ("no messages", {"model": "m"}, "messages", None),
    ("a model that is no text", {**HI, "model": 1}, "model", None),
    ("a temperature", {**HI, "temperature": 3}, "temperature", None),
    ("five choices", {**HI, "n": 5}, "n", None),
    ("spoken output", {**HI, "modalities": ["audio"]}, "modalities", None),
    ("an omni model", {**HI, "model": "qwen-omni-turbo"}, "model", "model_not_supported"),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case[0])
def test_what_cannot_be_asked_is_refused_before_any_call(case: tuple[str, Any, str | None, str | None]) -> None:
    _, body, param, code = case

    async def main() -> None:
        async with Native({}) as native, translator(native) as house:
            answered = await house.post(CHAT, body)
            error = answered.json()["error"]
            assert (answered.status, error["type"]) == (400, "invalid_request_error")
            assert (error["param"], error["code"]) == (param, code)
            assert native.received == []

    run(main)


# ---- chat, streamed ---------------------------------------------------------------------------------------------


def native_stream(name: str) -> list[Any]:
    """Return what a translator by itself makes of a sample."""
    translated = stream_translator(include_usage=True)
    return choices(translated.feed(STREAMS[name]) + translated.close())


CLEAN_STREAMS = [
    name for name in STREAMS if not any(word in name for word in ("error", "no JSON", "cut in the middle", "Chinese"))
]


@pytest.mark.parametrize("way", ["whole", "by byte"])
@pytest.mark.parametrize("name", [*CLEAN_STREAMS, "Chinese"])
def test_streams_give_the_same_chunks_however_they_are_split(name: str, way: str) -> None:
    data = events(STREAMS[name])

    async def main() -> None:
        async with Native({TEXT: data if way == "whole" else by_byte(data)}) as native, translator(native) as house:
            answered = await house.chat(stream=True, stream_options={"include_usage": True})
            assert answered.get("content-type") == "text/event-stream; charset=utf-8"
            *chunks, done = answered.events()
            assert done == "[DONE]"
            assert choices(chunks) == native_stream(name)
            assert chunks[-1]["choices"] == []
            assert chunks[-1]["usage"]["total_tokens"] >= 0
            assert all(chunk["usage"] is None for chunk in chunks[:-1])
            received = native.received[0]
            assert (received.get("x-dashscope-sse"), received.get("accept")) == ("enable", "text/event-stream")
            assert native.calls[0]["parameters"] == {"result_format": "message", "incremental_output": True}
            assert "stream" not in native.calls[0]

    run(main)


def test_a_stream_passes_on_each_frame_as_it_comes() -> None:
    async def main() -> None:
        go_on = asyncio.Event()

        async def slowly(peer: Peer, received: Received) -> None:
            whole = events(sse(TEXT_FRAMES[:1]), end=b"")
            await peer.send(whole)
            await go_on.wait()
            rest = sse(TEXT_FRAMES[1:])
            await peer.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(rest), rest))

        async with Native({TEXT: slowly}) as native, translator(native) as house, house.client() as client:
            await house.begin(client, CHAT, {"messages": [{"role": "user", "content": "hi"}], "stream": True})
            head = await client.event()
            assert head.status_code == 200
            first = bytes((await client.event()).data)
            assert b'"role":"assistant"' in first
            assert b"A lease" in first
            assert b"contract" not in first
            go_on.set()
            assert b"contract" in bytes((await client.event()).data)

    run(main)


def by_piece(pieces: list[bytes]) -> Any:
    """Answer with a stream of which each piece is a chunk that comes by itself."""

    async def send(peer: Peer, received: Received) -> None:
        await peer.send(events(pieces[0], end=b""))
        for piece in pieces[1:]:
            await asyncio.sleep(0.005)
            await peer.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        await asyncio.sleep(0.005)
        await peer.send(b"0\r\n\r\n")

    return send


@pytest.mark.parametrize("name", ["text", "Chinese", "thinking", "tools", "an error midway", "no JSON midway"])
@pytest.mark.parametrize("size", [0, 200, 61])
def test_chunks_that_come_by_themselves_are_translated_like_a_stream_in_one(name: str, size: int) -> None:
    data = STREAMS[name]
    pieces = [event + b"\n\n" for event in data.split(b"\n\n") if event]
    pieces = [data[at : at + size] for at in range(0, len(data), size)] if size else pieces

    def without_made_up_ids(answered: native_side.Answer) -> tuple[bytes, bool]:
        return re.sub(rb"[0-9a-f]{24}", b"", answered.body), answered.broken

    async def main() -> None:
        async with Native({TEXT: [events(data)]}) as native, translator(native) as house:
            expected = without_made_up_ids(await house.chat(stream=True, model="qwen-plus"))
            native.answer(TEXT, by_piece(pieces))
            for _ in range(2):
                answered = await house.chat(stream=True, model="qwen-plus")
                assert without_made_up_ids(answered) == expected

    run(main)


def test_an_error_in_a_chunk_that_comes_by_itself_ends_the_stream_at_once() -> None:
    async def fail_and_wait(peer: Peer, received: Received) -> None:
        await peer.send(events(sse(TEXT_FRAMES[:1]), end=b""))
        await asyncio.sleep(0.01)
        await peer.send(b"%x\r\n%b\r\n" % (len(MIDWAY_ERROR), MIDWAY_ERROR))
        await peer.until_gone()

    async def main() -> None:
        async with Native({TEXT: fail_and_wait}) as native, translator(native) as house:
            answered = await asyncio.wait_for(house.chat(stream=True), 5)
            assert answered.broken and "error" in answered.events()[-1]
            await until(lambda: native.open_connections == 0)

    run(main)


@pytest.mark.parametrize("at", [3, 12, 20])
def test_the_owners_key_is_hidden_also_where_chunks_cut_it(at: int) -> None:
    key = "sk-owner-0123456789abcdef"
    frame = TEXT_FRAMES[1].replace("is a contract.", key)
    first, second = sse([TEXT_FRAMES[0]]), sse([frame])
    cut = second.index(key.encode()) + at

    async def main() -> None:
        pieces = [first, second[:cut], second[cut:], sse([TEXT_FRAMES[2]])]
        async with Native({TEXT: by_piece(pieces)}) as native, translator(native, api_key=key) as house:
            answered = await house.chat(stream=True, model="qwen-plus")
            assert b"*" * len(key) in answered.body and b"sk-owner" not in answered.body
            assert answered.events()[-1] == "[DONE]"

    run(main)


@pytest.mark.parametrize(
    "body",
    [FIRST_FRAME_ERROR, FIRST_FRAME_ERROR.partition(b"data:")[2].strip()],
    ids=["as an event", "as JSON"],
)
def test_an_error_before_the_first_frame_has_its_own_status(body: bytes) -> None:
    async def main() -> None:
        native_answer = events(body) if body.startswith(b"id:") else answer(body)
        async with Native({TEXT: native_answer}) as native, translator(native) as house:
            answered = await house.chat(stream=True)
            assert answered.status == 400
            assert answered.get("content-type") == "application/json"
            assert answered.json()["error"] == {
                "message": "DashScope API error: Range of top_p should be (0.0, 1.0]",
                "type": "dashscope_error",
                "param": None,
                "code": "InvalidParameter",
                "request_id": "r-14",
            }
            assert answered.get("x-request-id") == "r-14"

    run(main)


BROKEN_STREAMS = [
    ("an error event", events(sse(TEXT_FRAMES[:2]) + MIDWAY_ERROR), "InternalError.Algo"),
    ("no JSON", events(STREAMS["no JSON midway"]), "upstream_bad_response"),
    ("the connection closes", events(sse(TEXT_FRAMES[:2]), end=b""), "upstream_unreachable"),
]


@pytest.mark.parametrize("case", BROKEN_STREAMS, ids=lambda case: case[0])
def test_what_breaks_a_stream_midway_ends_it_with_an_error_event(case: tuple[str, bytes, str]) -> None:
    _, data, code = case

    async def main() -> None:
        async def send_and_close(peer: Peer, received: Received) -> None:
            await peer.send(data)
            if code == "upstream_unreachable":
                peer.writer.close()

        async with Native({TEXT: send_and_close}) as native, translator(native) as house:
            answered = await house.chat(stream=True)
            *chunks, error = answered.events()
            assert answered.status == 200
            assert [delta for _, delta, _ in choices(chunks)][:2] == [
                {"role": "assistant", "content": ""},
                {"content": "A lease"},
            ]
            assert (error["error"]["type"], error["error"]["code"]) == ("dashscope_error", code)

    run(main)


def test_silence_in_a_stream_gives_comments_once_it_has_begun() -> None:
    async def main() -> None:
        first = begun(events(sse(TEXT_FRAMES[:1]), end=b""))
        async with Native({TEXT: first}) as native, translator(native, keepalive="0.02") as house:
            async with house.client() as client:
                await house.begin(client, CHAT, {"messages": [{"role": "user", "content": "hi"}], "stream": True})
                await client.event()
                assert b"A lease" in bytes((await client.event()).data)
                assert bytes((await client.event()).data) == b": keep-alive\n\n"
                assert bytes((await client.event()).data) == b": keep-alive\n\n"

    run(main)


# ---- the choice of endpoint, and of plain call or stream --------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_a_wrong_endpoint_is_tried_once_on_the_other_and_remembered(stream: bool) -> None:
    good = events(sse(MULTIMODAL_FRAMES)) if stream else answer(VISION_ANSWER)

    async def main() -> None:
        async with Native({TEXT: URL_ERROR, MULTIMODAL: good}) as native, translator(native) as house:
            for _ in range(2):
                answered = await house.chat("qwen4-wonder", stream=stream)
                assert answered.status == 200
                assert b"A beach." in answered.body
            assert native.paths == [TEXT, MULTIMODAL, MULTIMODAL]
            assert native.calls[1]["input"]["messages"][0]["content"] == [{"text": "What is a lease?"}]

    run(main)


def test_an_endpoint_refused_in_the_first_frame_of_a_stream_is_retried_too() -> None:
    refused = events(URL_ERROR.partition(b"\r\n\r\n")[2].join([b"event:error\n:HTTP_STATUS/400\ndata:", b"\n\n"]))

    async def main() -> None:
        async with Native({TEXT: refused, MULTIMODAL: events(sse(MULTIMODAL_FRAMES))}) as native:
            async with translator(native) as house:
                assert b"A beach." in (await house.chat("qwen4-wonder", stream=True)).body
                assert native.paths == [TEXT, MULTIMODAL]

    run(main)


def test_a_model_that_both_endpoints_refuse_is_not_found() -> None:
    async def main() -> None:
        async with Native({TEXT: URL_ERROR, MULTIMODAL: URL_ERROR}) as native, translator(native) as house:
            answered = await house.chat("qwen4-wonder")
            assert answered.status == 404
            assert answered.json()["error"]["code"] == "model_not_found"
            assert "url error" in answered.json()["error"]["message"]
            assert len(native.paths) == 2

    run(main)


def test_media_parts_leave_no_other_endpoint_to_try() -> None:
    async def main() -> None:
        async with Native({MULTIMODAL: URL_ERROR}) as native, translator(native) as house:
            content = [{"type": "text", "text": "Where is it?"}, PICTURE]
            answered = await house.chat("qwen-max", messages=[{"role": "user", "content": content}])
            assert answered.status == 400
            assert native.paths == [MULTIMODAL]

    run(main)


def test_the_operator_may_say_which_endpoint_takes_a_model() -> None:
    async def main() -> None:
        async with Native({MULTIMODAL: answer(VISION_ANSWER)}) as native:
            async with translator(native, endpoints="qwen4-* = multimodal\nother = text") as house:
                assert (await house.chat("qwen4-wonder")).status == 200
                assert native.paths == [MULTIMODAL]

    run(main)


def test_a_plain_call_of_a_model_that_thinks_is_put_together_from_a_stream() -> None:
    async def main() -> None:
        async with Native({TEXT: events(sse(THINKING_FRAMES))}) as native, translator(native) as house:
            answered = await house.chat("qwq-plus")
            assert answered.get("content-type") == "application/json"
            message = answered.json()["choices"][0]["message"]
            assert (message["reasoning_content"], message["content"]) == ("2+2 is 4.", "4")
            assert answered.json()["usage"]["completion_tokens_details"] == {"reasoning_tokens": 7}
            assert native.received[0].get("x-dashscope-sse") == "enable"

    run(main)


@pytest.mark.parametrize(
    "message",
    [
        "This model only support stream mode, please enable the stream parameter to access the model.",
        "current user api does not support http call.",
        "parameter.enable_thinking must be set to false for non-streaming calls",
    ],
)
def test_a_plain_call_that_is_refused_for_being_plain_is_made_as_a_stream(message: str) -> None:
    async def main() -> None:
        refused = refusal("InvalidParameter", message)
        async with Native({TEXT: [refused, events(sse(THINKING_FRAMES))]}) as native, translator(native) as house:
            answered = await house.chat("qwen-plus")
            assert answered.json()["choices"][0]["message"]["content"] == "4"
            assert [received.get("x-dashscope-sse") for received in native.received] == ["", "enable"]

    run(main)


def test_each_retry_is_made_once() -> None:
    async def main() -> None:
        only_streams = refusal("InvalidParameter", "This model only support stream mode")
        async with Native({TEXT: URL_ERROR, MULTIMODAL: only_streams}) as native, translator(native) as house:
            answered = await house.chat("qwen4-wonder")
            assert (answered.status, answered.json()["error"]["code"]) == (400, "InvalidParameter")
            assert native.paths == [TEXT, MULTIMODAL, MULTIMODAL]

    run(main)


def test_an_error_in_a_stream_that_is_put_together_has_its_own_status() -> None:
    async def main() -> None:
        async with Native({TEXT: events(sse(TEXT_FRAMES[:2]) + MIDWAY_ERROR)}) as native, translator(native) as house:
            answered = await house.chat("qwq-plus")
            assert (answered.status, answered.json()["error"]["code"]) == (500, "InternalError.Algo")

    run(main)


# ---- several choices --------------------------------------------------------------------------------------------


def test_several_choices_of_a_model_that_gives_one_are_asked_for_at_once() -> None:
    async def main() -> None:
        asked = asyncio.Event()

        async def together(peer: Peer, received: Received) -> None:
            if len(native.received) == 3:
                asked.set()
            await asked.wait()
            await peer.send(answer(MESSAGE_ANSWER))

        async with Native({TEXT: together}) as native, translator(native) as house:
            answered = (await house.chat("qwen-max", n=3, seed=5)).json()
            assert [choice["index"] for choice in answered["choices"]] == [0, 1, 2]
            assert answered["usage"]["total_tokens"] == 93
            assert sorted(call["parameters"]["seed"] for call in native.calls) == [5, 6, 7]

    run(main)


def test_several_choices_of_a_model_that_gives_them_are_one_call() -> None:
    async def main() -> None:
        async with Native({TEXT: answer(TWO_CHOICES_ANSWER)}) as native, translator(native) as house:
            answered = (await house.chat("qwen-plus", n=2)).json()
            assert [choice["message"]["content"] for choice in answered["choices"]] == ["Hi", "Hello the"]
            assert native.calls[0]["parameters"]["n"] == 2

    run(main)


def test_several_choices_in_a_stream_come_as_they_are_made() -> None:
    async def main() -> None:
        async with Native({TEXT: by_byte(events(sse(TEXT_FRAMES)))}) as native, translator(native) as house:
            answered = await house.chat("qwen-max", n=2, stream=True, stream_options={"include_usage": True})
            *chunks, usage, done = answered.events()
            assert done == "[DONE]"
            assert usage["usage"]["total_tokens"] == 62
            texts = {0: "", 1: ""}
            for index, delta, _ in choices(chunks):
                texts[index] += delta.get("content", "")
            assert texts == {0: "A lease is a contract.", 1: "A lease is a contract."}
            order = [index for index, delta, _ in choices(chunks) if delta.get("content")]
            assert order != sorted(order)
            assert len(native.received) == 2

    run(main)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_one_choice_that_fails_ends_the_others(stream: bool) -> None:
    async def main() -> None:
        async def first_hangs(peer: Peer, received: Received) -> None:
            if peer.number == 0:
                await peer.until_gone()
            while not native.received:
                await asyncio.sleep(0)
            await peer.send(refusal("Throttling", "Requests rate limit exceeded", "429 Too Many Requests"))

        async with Native({TEXT: first_hangs}) as native, translator(native) as house:
            answered = await house.chat("qwen-max", n=2, stream=stream)
            assert answered.status == 429
            await until(native.connections[0].done)

    run(main)


def test_a_stream_of_several_choices_that_breaks_closes_all_connections() -> None:
    async def main() -> None:
        async def second_breaks(peer: Peer, received: Received) -> None:
            if peer.number == 1:
                await peer.send(events(sse(TEXT_FRAMES[:1]) + MIDWAY_ERROR))
            else:
                await peer.send(events(sse(TEXT_FRAMES[:1]), end=b""))
            await peer.until_gone()

        async with Native({TEXT: second_breaks}) as native, translator(native) as house:
            answered = await house.chat("qwen-max", n=2, stream=True)
            assert answered.events()[-1]["error"]["code"] == "InternalError.Algo"
            await until(native.connections[0].done)

    run(main)


# ---- tools, pictures, search ------------------------------------------------------------------------------------

WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}


def test_tools_go_out_and_parallel_calls_come_back_in_a_stream() -> None:
    async def main() -> None:
        async with Native({TEXT: by_byte(events(sse(TOOL_FRAMES)))}) as native, translator(native) as house:
            answered = await house.chat("qwen-max", stream=True, tools=[WEATHER], tool_choice="auto")
            calls: dict[int, dict[str, str]] = {}
            for _, delta, _ in choices(answered.events()[:-1]):
                for fragment in delta.get("tool_calls", ()):
                    call = calls.setdefault(fragment["index"], {"id": fragment.get("id", ""), "arguments": ""})
                    call["arguments"] += fragment["function"]["arguments"]
            assert calls == {
                0: {"id": "call_a1", "arguments": '{"city": "Paris"}'},
                1: {"id": "call_b2", "arguments": '{"city": "Rome"}'},
            }
            parameters = native.calls[0]["parameters"]
            assert parameters["tools"] == [WEATHER]
            assert (parameters["tool_choice"], parameters["parallel_tool_calls"]) == ("auto", True)

    run(main)


def test_a_tool_round_trip_keeps_calls_and_answers() -> None:
    call = {"id": "call_a1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
    messages = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_a1", "content": "sunny"},
    ]

    async def main() -> None:
        async with Native({TEXT: answer(MESSAGE_ANSWER)}) as native, translator(native) as house:
            assert (await house.chat("qwen-max", messages=messages, tools=[WEATHER])).status == 200
            assert native.calls[0]["input"]["messages"][1:] == [
                {"role": "assistant", "content": "", "tool_calls": [{**call, "index": 0}]},
                {"role": "tool", "content": "sunny", "tool_call_id": "call_a1"},
            ]

    run(main)


def test_a_picture_goes_to_the_multimodal_endpoint() -> None:
    async def main() -> None:
        async with Native({MULTIMODAL: answer(VISION_ANSWER)}) as native, translator(native) as house:
            content = [{"type": "text", "text": "Where is it?"}, PICTURE]
            answered = await house.chat("qwen-vl-max", messages=[{"role": "user", "content": content}])
            assert answered.json()["choices"][0]["message"]["content"] == "A beach."
            assert answered.json()["usage"]["prompt_tokens_details"]["image_tokens"] == 1247
            assert native.calls[0]["input"]["messages"] == [
                {"role": "user", "content": [{"text": "Where is it?"}, {"image": "https://pictures.invalid/a.png"}]}
            ]

    run(main)


def test_what_a_search_found_comes_with_the_answer() -> None:
    async def main() -> None:
        async with Native({TEXT: events(sse(SEARCH_FRAMES))}) as native, translator(native) as house:
            answered = await house.chat("qwen-max", stream=True, enable_search=True)
            found = [chunk["search_info"] for chunk in answered.events()[:-1] if "search_info" in chunk]
            assert found[0]["search_results"][0]["url"] == "https://example.invalid/w"
            assert native.calls[0]["parameters"]["enable_search"] is True

    run(main)


# ---- legacy completions -----------------------------------------------------------------------------------------


def test_a_legacy_completion_goes_by_way_of_chat() -> None:
    async def main() -> None:
        async with Native({TEXT: answer(MESSAGE_ANSWER)}) as native, translator(native) as house:
            answered = await house.post("/v1/completions", {"model": "qwen-max", "prompt": "A lease", "max_tokens": 5})
            completion = answered.json()
            assert completion["object"] == "text_completion"
            assert completion["id"] == "cmpl-0f5e1c9a-0001-9c11-8e01-aa0000000001"
            assert completion["choices"] == [
                {"index": 0, "text": "A lease is a contract.", "logprobs": None, "finish_reason": "stop"}
            ]
            assert completion["usage"]["total_tokens"] == 31
            assert native.calls[0]["input"] == {"messages": [{"role": "user", "content": "A lease"}]}

    run(main)


def test_a_legacy_completion_can_be_streamed() -> None:
    async def main() -> None:
        async with Native({TEXT: events(sse(TEXT_FRAMES))}) as native, translator(native) as house:
            body = {"prompt": ["A lease"], "stream": True, "stream_options": {"include_usage": True}}
            *chunks, usage, done = (await house.post("/v1/completions", body)).events()
            assert done == "[DONE]"
            assert {chunk["object"] for chunk in chunks} == {"text_completion"}
            assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == "A lease is a contract."
            assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
            assert (usage["choices"], usage["usage"]["total_tokens"]) == ([], 31)

    run(main)


@pytest.mark.parametrize(
    "more",
    [{"echo": True}, {"suffix": "x"}, {"best_of": 2}, {"logprobs": 1}, {"prompt": [1, 2]}, {"prompt": ["a", "b"]}],
)
def test_what_a_legacy_completion_cannot_be_is_refused(more: dict[str, Any]) -> None:
    async def main() -> None:
        async with Native({}) as native, translator(native) as house:
            answered = await house.post("/v1/completions", {"model": "qwen-max", "prompt": "hi", **more})
            assert (answered.status, answered.json()["error"]["param"]) == (400, next(iter(more)))

    run(main)


# ---- keys -------------------------------------------------------------------------------------------------------

KEYS = [
    ("no field", {}, "missing_authorization"),
    ("another scheme", {"authorization": "Basic abcdefghijklmnop"}, "invalid_authorization_format"),
    ("no scheme", {"authorization": KEY}, "invalid_authorization_format"),
    ("empty", {"authorization": "Bearer"}, "invalid_api_key"),
    ("too short", {"authorization": "Bearer sk-123"}, "invalid_api_key"),
]
DOORS = ["POST /v1/chat/completions", "POST /v1/embeddings", "POST /v1/audio/transcriptions", "GET /v1/models"]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("case", KEYS, ids=lambda case: case[0])
def test_a_caller_without_a_good_key_is_refused_before_any_call(
    case: tuple[str, dict[str, str], str], door: str
) -> None:
    _, fields, code = case

    async def main() -> None:
        async with Native({}) as native, translator(native) as house:
            answered = await house.ask(*door.split(), fields, b"{}" if door.startswith("POST") else b"")
            error = answered.json()["error"]
            assert (answered.status, error["type"], error["code"]) == (401, "authentication_error", code)
            assert native.received == []

    run(main)


def test_the_operators_key_serves_every_caller() -> None:
    async def main() -> None:
        async with Native({TEXT: answer(MESSAGE_ANSWER)}) as native:
            async with translator(native, api_key="sk-operator-0123") as house:
                body = json.dumps({"messages": [{"role": "user", "content": "hi"}]}).encode()
                assert (await house.ask("POST", CHAT, {}, body)).status == 200
                assert (await house.chat()).status == 200
                keys = {received.get("authorization") for received in native.received}
                assert keys == {"Bearer sk-operator-0123"}

    run(main)


def test_the_key_may_stand_where_azures_clients_put_it() -> None:
    async def main() -> None:
        async with Native({TEXT: answer(MESSAGE_ANSWER)}) as native, translator(native) as house:
            body = json.dumps({"messages": [{"role": "user", "content": "hi"}]}).encode()
            assert (await house.ask("POST", CHAT, {"api-key": KEY}, body)).status == 200
            assert native.received[0].get("authorization") == f"Bearer {KEY}"

    run(main)


@pytest.mark.parametrize("stream", [False, True], ids=["before", "midway"])
def test_a_key_that_a_gateway_repeats_reaches_neither_the_client_nor_the_log(stream: bool) -> None:
    message = f"Bad request: Authorization: Bearer {KEY}"
    error = json.dumps({"code": "InternalError", "message": message, "request_id": "r"}).encode()
    midway = events(sse(TEXT_FRAMES[:1]) + b"event:error\ndata:" + error + b"\n\n")

    async def main() -> None:
        html = sized(f"<html>{KEY}".encode(), "502 Bad Gateway")
        async with Native({TEXT: midway if stream else html}) as native, translator(native) as house:
            answered = await house.chat(stream=stream)
            assert b"***" in answered.body
            assert KEY.encode() not in answered.body
            assert not any(KEY in line for line in house.lines)

    run(main)


# ---- errors -----------------------------------------------------------------------------------------------------

ERRORS = [
    ("401 Unauthorized", "InvalidApiKey", "Invalid API-key provided.", 401, "invalid_api_key", False),
    ("403 Forbidden", "Model.AccessDenied", "Model access denied.", 403, "Model.AccessDenied", False),
    ("403 Forbidden", "AllocationQuota.FreeTierOnly", "exhausted", 403, "insufficient_quota", True),
    ("400 Bad Request", "Arrearage", "Access denied, good standing.", 403, "Arrearage", True),
    ("400 Bad Request", "InvalidParameter", "Model not exist.", 404, "model_not_found", False),
    ("404 Not Found", "ModelNotFound", "Model can not be found.", 404, "model_not_found", False),
    ("404 Not Found", "WorkSpaceNotFound", "", 404, "WorkSpaceNotFound", False),
    ("400 Bad Request", "DataInspectionFailed", "inappropriate content", 400, "content_filter", False),
    ("400 Bad Request", "InvalidParameter", "Range of n should be [1, 4]", 400, "InvalidParameter", False),
    ("400 Bad Request", "InvalidParameter", "Range of input length should be", 400, "context_length_exceeded", False),
    ("400 Bad Request", "BadRequest.TooLarge", "payload too large", 413, "BadRequest.TooLarge", False),
    ("429 Too Many Requests", "Throttling.RateQuota", "rate limit exceeded", 429, "rate_limit_exceeded", False),
    ("429 Too Many Requests", "Throttling.AllocationQuota", "quota exceeded", 429, "rate_limit_exceeded", False),
    ("408 Request Timeout", "RequestTimeOut", "Request timed out", 504, "timeout", False),
    ("500 Internal Server Error", "InternalError.Algo", "internal error", 500, "InternalError.Algo", False),
    ("503 Service Unavailable", "ModelUnavailable", "Model is unavailable", 503, "ModelUnavailable", False),
    ("200 OK", "Throttling", "an error although it says 200", 429, "rate_limit_exceeded", False),
]  # fmt: skip


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("row", ERRORS, ids=lambda row: f"{row[0]} {row[1]} {row[2]}")
def test_each_row_of_the_error_table_end_to_end(row: tuple[str, str, str, int, str, bool], stream: bool) -> None:
    upstream_status, native_code, message, status, code, useless_retry = row

    async def main() -> None:
        refused = refusal(native_code, message, upstream_status, "retry-after: 7", "x-request-id: r-refused")
        async with Native({TEXT: refused}) as native, translator(native) as house:
            answered = await house.chat("qwen-max", stream=stream)
            assert answered.status == status
            assert answered.json() == {
                "error": {
                    "message": f"DashScope API error: {message or native_code}",
                    "type": "authentication_error" if status == 401 else "dashscope_error",
                    "param": None,
                    "code": code,
                    "request_id": "r-refused",
                }
            }
            assert answered.get("x-request-id") == "r-refused"
            assert answered.get("x-should-retry") == ("false" if useless_retry else "")
            # The head of a stream that only then says so is no more than a head.
            told = not useless_retry and not (stream and upstream_status == "200 OK")
            assert answered.get("retry-after") == ("7" if told else "")

    run(main)


@pytest.mark.parametrize(
    ("status", "code", "short"),
    [
        ("401 Unauthorized", "InvalidApiKey", "Unauthorized"),
        ("429 Too Many Requests", "Throttling", "Too many requests"),
    ],
)
def test_an_error_has_the_shape_of_its_door(status: str, code: str, short: str) -> None:
    async def main() -> None:
        async with Native({TEXT: refusal(code, "no", status)}) as native, translator(native) as house:
            answered = await house.post("/", {"messages": [{"role": "user", "content": "hi"}]})
            assert str(answered.status) == status[:3]
            assert answered.json() == {"error": short, "message": "DashScope API error: no"}

    run(main)


FAILURES = [
    ("busy", refusal("Throttling", "", "429 Too Many Requests"), True),
    ("broken", refusal("InternalError", "", "500 Internal Server Error"), True),
    ("a bad gateway", sized(b"<html>", "502 Bad Gateway"), True),
    ("a wrong key", refusal("InvalidApiKey", "", "401 Unauthorized"), True),
    ("no such model", refusal("ModelNotFound", "", "404 Not Found"), True),
    ("a bad request", refusal("InvalidParameter", "", "400 Bad Request"), False),
]


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("case", FAILURES, ids=lambda case: case[0])
def test_the_routes_next_backend_is_asked_where_that_may_help(case: tuple[str, bytes, bool], stream: bool) -> None:
    _, failure, helps = case
    good = events(sse(TEXT_FRAMES)) if stream else answer(MESSAGE_ANSWER)

    async def main() -> None:
        async with Native({TEXT: failure}) as native, Native({TEXT: good}) as spare:
            async with translator(native, spare=spare) as house:
                assert ((await house.chat(stream=stream)).status == 200) is helps
                assert len(spare.received) == helps

    run(main)


@pytest.mark.parametrize(
    ("native_answer", "status", "code"),
    [
        (sized(b"<html>Bad Gateway", "502 Bad Gateway"), 502, "upstream_bad_response"),
        (sized(b"", "503 Service Unavailable"), 503, "ServiceUnavailable"),
        (sized(b"<html>login", "200 OK"), 502, "upstream_bad_response"),
        (sized(b'{"output":{"choices":[', "200 OK"), 502, "upstream_bad_response"),
        (sized(b'{"output":null}', "200 OK"), 502, "upstream_bad_response"),
        (sized(b"", "302 Found", "location: http://127.0.0.1/"), 502, "upstream_bad_response"),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", 502, "upstream_unreachable"),
    ],
    ids=["a gateway's page", "an empty body", "a page under 200", "cut JSON", "no output", "a redirect", "no HTTP"],
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_answers_that_are_none_are_bad_gateways(native_answer: bytes, status: int, code: str, stream: bool) -> None:
    async def main() -> None:
        async with Native({TEXT: native_answer}) as native, translator(native) as house:
            answered = await house.chat(stream=stream)
            assert (answered.status, answered.json()["error"]["code"]) == (status, code)
            assert answered.json()["error"]["type"] == "dashscope_error"

    run(main)


def test_an_upstream_that_is_not_there_is_a_bad_gateway_and_logged_without_its_address() -> None:
    async def main() -> None:
        port = closed_port()
        async with translator(f"http://127.0.0.1:{port}") as house:
            answered = await house.chat()
            error = answered.json()["error"]
            assert (answered.status, error["code"], error["type"]) == (502, "upstream_unreachable", "dashscope_error")
            assert str(port) not in answered.body.decode()
            assert any("cannot be reached" in line for line in house.lines)

    run(main)


def test_a_reset_is_a_bad_gateway() -> None:
    async def main() -> None:
        async with Upstream(resetting(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{")) as native:
            async with translator(native) as house:
                answered = await house.chat()
                assert (answered.status, answered.json()["error"]["code"]) == (502, "upstream_unreachable")

    run(main)


@pytest.mark.parametrize(
    ("answering", "options"),
    [
        (None, {"first_byte_timeout": "0.05"}),
        (None, {"timeout": "0.05"}),
        (None, {"total_timeout": "0.05"}),
        (begun(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{"), {"timeout": "0.05"}),
        (begun(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 99\r\n\r\n{"), {"total_timeout": "0.05"}),
    ],
    ids=["no first byte", "no byte", "not done in all", "stuck in the body", "stuck in an error"],
)
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_time_limits_end_each_phase(answering: Any, options: dict[str, str], stream: bool) -> None:
    async def main() -> None:
        async with Native({TEXT: answering}) if answering else Upstream(silent) as native:
            async with translator(native, **options) as house:
                answered = await house.chat(stream=stream)
                stuck_in_error = "total_timeout" in options and answering is not None
                expected = (502, "upstream_bad_response") if stuck_in_error else (504, "timeout")
                assert (answered.status, answered.json()["error"]["code"]) == expected
                await until(lambda: native.open_connections == 0)

    run(main)


def test_a_stream_that_falls_silent_ends_with_an_error_event() -> None:
    async def main() -> None:
        first = begun(events(sse(TEXT_FRAMES[:1]), end=b""))
        async with Native({TEXT: first}) as native, translator(native, timeout="0.05") as house:
            answered = await house.chat(stream=True)
            assert answered.events()[-1]["error"]["code"] == "timeout"

    run(main)


# ---- the client leaves ------------------------------------------------------------------------------------------

PHASES = [
    ("waiting for the head", "farui-plus", {}, None),
    ("within a plain answer", "farui-plus", {}, b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{"),
    ("within an error", "farui-plus", {}, b"HTTP/1.1 400 Bad Request\r\ncontent-length: 99\r\n\r\n{"),
    ("waiting for the first frame", "farui-plus", {"stream": True}, events(b"id:1\n", end=b"")),
    ("within a stream", "farui-plus", {"stream": True}, events(sse(TEXT_FRAMES[:1]), end=b"")),
    ("within a stream put together", "qwq-plus", {}, events(sse(THINKING_FRAMES[:1]), end=b"")),
    ("within several plain answers", "qwen-max", {"n": 3}, b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{"),
    ("within several streams", "qwen-max", {"n": 3, "stream": True}, events(sse(TEXT_FRAMES[:1]), end=b"")),
]


@pytest.mark.parametrize("case", PHASES, ids=lambda case: case[0])
def test_a_client_that_leaves_closes_the_native_connection_at_once(
    case: tuple[str, str, dict[str, Any], bytes | None],
) -> None:
    _, model, more, data = case

    async def main() -> None:
        sent = asyncio.Event()

        async def hang(peer: Peer, received: Received) -> None:
            if data is not None:
                await peer.send(data)
            if len(native.received) == more.get("n", 1):
                sent.set()
            await peer.until_gone()

        async with Native({TEXT: hang}) as native, translator(native) as house, house.client() as client:
            body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **more}
            await house.begin(client, CHAT, body)
            await sent.wait()
            await asyncio.sleep(0.01)
            client.leave()
            await until(lambda: native.open_connections == 0, 0.5)
            assert house.backend.open_connections == 0

    run(main)


def test_a_client_that_does_not_read_stops_the_native_stream() -> None:
    async def main() -> None:
        sent = 0

        async def pour(peer: Peer, received: Received) -> None:
            nonlocal sent
            frame = sse(TEXT_FRAMES[:1]) * 200
            await peer.send(events(sse(TEXT_FRAMES[:1]), end=b""))
            while sent < 200_000_000:
                await peer.send(b"%x\r\n%b\r\n" % (len(frame), frame))
                sent += len(frame)

        async with Native({TEXT: pour}) as native, translator(native) as house, house.client() as client:
            await house.begin(client, CHAT, {"messages": [{"role": "user", "content": "hi"}], "stream": True})
            before = -1
            while sent != before:
                before = sent
                await asyncio.sleep(0.2)
            assert 0 < sent < 50_000_000
            client.leave()
            await until(lambda: native.open_connections == 0)

    run(main)


# ---- embeddings and rerank --------------------------------------------------------------------------------------


async def embed_lengths(peer: Peer, received: Received) -> None:
    """Answer each text with a vector of its length, in reverse order."""
    texts = json.loads(received.body)["input"]["texts"]
    vectors = [{"text_index": index, "embedding": [len(text), 0.5]} for index, text in enumerate(texts)]
    await peer.send(answer({"output": {"embeddings": vectors[::-1]}, "usage": {"total_tokens": len(texts)}}))


def test_embeddings_are_split_into_batches_and_put_together_in_order() -> None:
    async def main() -> None:
        async with Native({EMBEDDINGS: embed_lengths}) as native, translator(native) as house:
            inputs = ["x" * length for length in range(1, 76)]
            body = {"model": "text-embedding-v4", "input": inputs, "dimensions": 64}
            answered = (await house.post("/v1/embeddings", body)).json()
            assert [item["embedding"][0] for item in answered["data"]] == list(range(1, 76))
            assert [item["index"] for item in answered["data"]] == list(range(75))
            assert answered["usage"] == {"prompt_tokens": 75, "total_tokens": 75}
            assert sorted(len(call["input"]["texts"]) for call in native.calls) == [5] + [10] * 7
            assert {call["parameters"]["dimension"] for call in native.calls} == {64}

    run(main)


def test_at_most_four_batches_are_under_way_at_once() -> None:
    async def main() -> None:
        running = most = 0

        async def slowly(peer: Peer, received: Received) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.01)
            running -= 1
            await embed_lengths(peer, received)

        async with Native({EMBEDDINGS: slowly}) as native, translator(native) as house:
            body = {"model": "text-embedding-v4", "input": ["x"] * 100}
            assert (await house.post("/v1/embeddings", body)).status == 200
            assert most == 4
            assert len(native.received) == 10

    run(main)


def test_a_batch_that_fails_fails_the_request_and_starts_no_further_one() -> None:
    async def main() -> None:
        async with Native({EMBEDDINGS: refusal("Throttling", "slow down", "429 Too Many Requests")}) as native:
            async with translator(native) as house:
                answered = await house.post("/v1/embeddings", {"model": "text-embedding-v4", "input": ["x"] * 1000})
                assert answered.status == 429
                assert len(native.received) <= 4

    run(main)


def test_embeddings_in_base64_are_little_endian_floats() -> None:
    async def main() -> None:
        async with Native({EMBEDDINGS: embed_lengths}) as native, translator(native) as house:
            body = {"model": "text-embedding-v4", "input": "abc", "encoding_format": "base64"}
            data = (await house.post("/v1/embeddings", body)).json()["data"][0]["embedding"]
            assert struct.unpack("<2f", base64.b64decode(data)) == (3.0, 0.5)

    run(main)


def test_rerank_answers_with_the_best_first() -> None:
    native_answer = {
        "output": {"results": [{"index": 1, "relevance_score": 0.91, "document": {"text": "b"}}]},
        "usage": {"total_tokens": 9},
        "request_id": "r-21",
    }

    async def main() -> None:
        async with Native({RERANK: answer(native_answer)}) as native, translator(native) as house:
            body = {
                "model": "qwen3-rerank",
                "query": "q",
                "documents": ["a", "b"],
                "top_n": 1,
                "return_documents": True,
            }
            answered = await house.post("/v1/rerank", body)
            assert answered.json() == {
                "id": "r-21",
                "model": "qwen3-rerank",
                "results": native_answer["output"]["results"],
                "usage": {"total_tokens": 9},
            }
            assert native.calls == [
                {
                    "model": "qwen3-rerank",
                    "input": {"query": "q", "documents": ["a", "b"]},
                    "parameters": {"top_n": 1, "return_documents": True},
                }
            ]

    run(main)


# ---- models, paths, methods -------------------------------------------------------------------------------------


def test_the_models_that_are_known_are_listed_farui_first() -> None:
    async def main() -> None:
        async with Native({}) as native, translator(native) as house:
            answered = await house.ask("GET", "/v1/models", {"authorization": f"Bearer {KEY}"})
            models = answered.json()["data"]
            assert models[0]["id"] == "farui-plus"
            assert {"qwen-plus", "text-embedding-v4", "qwen3-asr-flash"} < {model["id"] for model in models}
            one = await house.ask("GET", "/v1/models/qwen-plus", {"authorization": f"Bearer {KEY}"})
            assert one.json()["owned_by"] == "alibaba"
            none = await house.ask("GET", "/v1/models/gpt-9", {"authorization": f"Bearer {KEY}"})
            assert (none.status, none.json()["error"]["code"]) == (404, "model_not_found")
            assert native.received == []

    run(main)


@pytest.mark.parametrize(
    ("method", "target", "status", "code"),
    [
        ("POST", "/v1/responses", 404, "unknown_url"),
        ("GET", "/v1/files", 404, "unknown_url"),
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("DELETE", "/v1/models/qwen-plus", 405, "method_not_allowed"),
        ("POST", "/v1/models", 405, "method_not_allowed"),
    ],
)
def test_unknown_paths_and_methods_are_refused_in_openais_shape(
    method: str, target: str, status: int, code: str
) -> None:
    async def main() -> None:
        async with Native({}) as native, translator(native) as house:
            body = b"{}" if method == "POST" else b""
            answered = await house.ask(method, target, {"authorization": f"Bearer {KEY}"}, body)
            assert (answered.status, answered.json()["error"]["code"]) == (status, code)
            assert bool(answered.get("allow")) is (status == 405)

    run(main)


def test_the_version_in_the_path_may_be_left_out() -> None:
    async def main() -> None:
        async with Native({TEXT: answer(MESSAGE_ANSWER)}) as native, translator(native) as house:
            body = {"messages": [{"role": "user", "content": "hi"}]}
            assert (await house.post("/chat/completions", body)).status == 200

    run(main)


# ---- settings ---------------------------------------------------------------------------------------------------


def settings(**options: str) -> DashScopeSettings:
    configuration = Configuration(ServerSettings, {"dashscope": DashScopeSettings})
    for key, value in options.items():
        configuration.set("dashscope", key, value, "test")
    return configuration.settings("dashscope", {}).backends[0].options


@pytest.mark.parametrize(
    "text",
    [
        "https://dashscope-intl.aliyuncs.com",
        "https://dashscope-intl.aliyuncs.com/",
        "https://dashscope-intl.aliyuncs.com/api/v1",
        "https://dashscope-intl.aliyuncs.com/api/v1/",
        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
    ],
)
def test_every_spelling_of_the_base_url_leads_to_the_native_api(text: str) -> None:
    assert settings(base_url=text).base_url == "https://dashscope-intl.aliyuncs.com/api/v1"


def test_without_a_word_it_is_dashscope_in_mainland_china_and_farui() -> None:
    default = settings()
    assert default.base_url == "https://dashscope.aliyuncs.com/api/v1"
    assert (default.api_key, default.default_model) == ("", "farui-plus")


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("base_url", "ftp://dashscope.aliyuncs.com"),
        ("base_url", "http://127.0.0.1:99999"),
        ("endpoints", "qwen4-* = picture"),
        ("endpoints", "qwen4-*"),
        ("api_key", "two words"),
    ],
)
def test_settings_that_cannot_be_are_refused(key: str, text: str) -> None:
    with pytest.raises(UsageError, match="expected") as caught:
        settings(**{key: text})
    assert key != "api_key" or text not in str(caught.value)


def test_authorities_that_cannot_be_read_are_refused_at_the_start() -> None:
    async def main() -> None:
        with pytest.raises(UsageError, match=r"\[dashscope\] of the backend 'd': ca_file = /nowhere"):
            DashScope(
                "d", settings(ca_file="/nowhere"), {}, Log("off", print),
                clock=lambda: 0.0, random_bits=lambda bits: 0, sleep=asyncio.sleep,
            )  # fmt: skip

    run(main)


def test_a_proxy_of_the_environment_that_is_none_is_refused_at_the_start() -> None:
    async def main() -> None:
        with pytest.raises(UsageError, match="HTTPS_PROXY"):
            DashScope(
                "d", settings(), {"HTTPS_PROXY": "socks4://x"}, Log("off", print),
                clock=lambda: 0.0, random_bits=lambda bits: 0, sleep=asyncio.sleep,
            )  # fmt: skip

    run(main)
