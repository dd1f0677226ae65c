"""Models whose streams repeat all that was said: the page "Machine translation (Qwen-MT)" names plus and turbo."""

from __future__ import annotations

import asyncio
import http.client
import json

import pytest
from native import TEXT, Native, events, translator

import oaiserve

REPEATED = ("I", "I did", "I did not laugh", "I did not laugh")
EACH_ONCE = ("I", " did", " not laugh", "")


def native_stream(texts: tuple[str, ...]) -> bytes:
    lines = []
    for number, text in enumerate(texts, 1):
        reason = "stop" if number == len(texts) else "null"
        choice = {"message": {"role": "assistant", "content": text}, "finish_reason": reason}
        body = {"output": {"choices": [choice]}, "usage": {"input_tokens": 3, "output_tokens": number}}
        lines.append(b"data:" + json.dumps({**body, "request_id": "r"}).encode() + b"\n\n")
    return b"".join(lines)


def text_of(chunks: list, index: int = 0) -> str:
    choices = [choice for chunk in chunks for choice in chunk["choices"] if choice["index"] == index]
    return "".join(choice["delta"].get("content", "") for choice in choices)


# model; what its stream says; whether it is asked for increments
MODELS = [
    ("qwen-mt-plus", REPEATED, None),
    ("qwen-mt-turbo", REPEATED, None),
    ("qwen-mt-turbo-latest", REPEATED, None),
    ("qwen-mt-flash", EACH_ONCE, True),
    ("qwen-mt-lite", EACH_ONCE, True),
    ("qwen-plus", EACH_ONCE, True),
]


@pytest.mark.parametrize(("model", "texts", "asked"), MODELS)
def test_a_client_is_told_each_word_once(model: str, texts: tuple[str, ...], asked: bool | None) -> None:
    async def ask() -> None:
        async with Native({TEXT: events(native_stream(texts))}) as native, translator(native) as house:
            *chunks, last = (await house.chat(model, stream=True, stream_options={"include_usage": True})).events()
            assert (text_of(chunks), last) == ("I did not laugh", "[DONE]")
            assert chunks[-1]["usage"]["completion_tokens"] == 4
            assert native.calls[0]["parameters"].get("incremental_output") is asked
            assert native.received[0].get("x-dashscope-sse") == "enable"

    asyncio.run(ask())


def test_so_is_one_who_wants_several_choices() -> None:
    async def ask() -> None:
        async with Native({TEXT: events(native_stream(REPEATED))}) as native, translator(native) as house:
            for options in ({}, {"stream_options": {"include_usage": True}}):
                chunks = (await house.chat("qwen-mt-plus", stream=True, n=2, **options)).events()[:-1]
                assert [text_of(chunks, 0), text_of(chunks, 1)] == ["I did not laugh"] * 2

    asyncio.run(ask())


def test_and_one_whose_plain_call_had_to_be_a_stream() -> None:
    async def ask() -> None:
        async with Native({TEXT: events(native_stream(REPEATED))}) as native, translator(native) as house:
            answered = await house.chat("qwen-mt-plus", enable_code_interpreter=True)
            assert answered.json()["choices"][0]["message"]["content"] == "I did not laugh"
            assert len(native.calls) == 1

    asyncio.run(ask())


def test_a_word_that_is_said_twice_is_not_lost_elsewhere() -> None:
    async def ask() -> None:
        async with Native({TEXT: events(native_stream(("ha", "ha", "ha", "")))}) as native, translator(native) as house:
            assert text_of((await house.chat("qwen-mt-flash", stream=True)).events()[:-1]) == "hahaha"

    asyncio.run(ask())


@pytest.mark.parametrize("model", ["qwen-mt-plus", "qwen-mt-turbo", "qwen-mt-flash"])
def test_the_mock_repeats_as_they_do(model: str) -> None:
    with oaiserve.start("mock") as mock:
        body = {"model": model, "input": {"messages": [{"role": "user", "content": "hi"}]}}
        given = {"parameters": {"incremental_output": True, "result_format": "message"}}
        fields = {"authorization": "Bearer sk-any", "x-dashscope-sse": "enable", "content-type": "application/json"}
        connection = http.client.HTTPConnection(mock.url[len("http://") :], timeout=100)
        connection.request("POST", "/api/v1" + TEXT, json.dumps({**body, **given}), fields)
        lines = connection.getresponse().read().decode().split("\n")
        connection.close()
    texts = [json.loads(line[len("data:") :]) for line in lines if line.startswith("data:")]
    said = [event["output"]["choices"][0]["message"]["content"] for event in texts]
    each_once, repeated = ["powered ", "by ", "openai", ""], ["powered ", "powered by ", *["powered by openai"] * 2]
    assert said == (each_once if model == "qwen-mt-flash" else repeated)
