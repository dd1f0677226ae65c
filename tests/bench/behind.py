"""What stands behind relays and translators: upstreams that say one text, as OpenAI's API has it and as DashScope's."""

from __future__ import annotations

import contextlib
import json
import pathlib
from collections.abc import Sequence

from peers import Peer, upstream

TEXT = "each word of this text comes by itself"
CHUNKS = len(TEXT.split()) + 2  # a role first, a finish reason last
KINDS = {"plain answer": False, f"streamed answer of {CHUNKS} chunks": True}  # and whether it is a stream
_DEFAULT_MAX_IDLE = 100


def openai_upstream(
    core: int | None, folder: pathlib.Path, delay: float = 0
) -> contextlib.AbstractContextManager[Peer]:
    """Run an upstream that speaks OpenAI's API; `delay` seconds pass between two chunks of a stream."""
    return upstream(_plain(completion(TEXT)), _streamed(events(TEXT)), delay, core, folder)


def completion(text: str) -> dict[str, object]:
    """Return a chat completion as OpenAI's API has it."""
    message: dict[str, object] = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
    return {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "gpt-3.5-turbo",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 13, "completion_tokens": 8, "total_tokens": 21},
    }


def events(text: str) -> list[bytes]:
    """Return the same as events of a stream, one a word; the last one has the end of the stream, too."""
    words = [_chunk({"content": word}, None) for word in _words(text)]
    return [_chunk({"role": "assistant", "content": ""}, None), *words, _chunk({}, "stop") + b"data: [DONE]\n\n"]


def dashscope_upstream(core: int | None, folder: pathlib.Path) -> contextlib.AbstractContextManager[Peer]:
    """Run an upstream that speaks DashScope's native API, with a number before each event and the usage in it."""
    native = [_native_event(number, word, "null") for number, word in enumerate(["", *_words(TEXT)], 1)]
    native.append(_native_event(CHUNKS, "", "stop"))
    return upstream(_plain(_native(TEXT, "stop")), _streamed(native), 0, core, folder)


def settings_for(behind: Peer, connections: int, section: str = "relay") -> tuple[str, ...]:
    """Return the settings that lead to an upstream. Connections beyond those that are kept would be opened anew."""
    idle = max(_DEFAULT_MAX_IDLE, connections)
    given = (f"base_url=http://127.0.0.1:{behind.port}", "api_key=sk-of-the-owner", f"max_idle={idle}")
    return tuple(f"{section}.{setting}" for setting in given)


def _words(text: str) -> list[str]:
    words = text.split(" ")
    return [f"{word} " for word in words[:-1]] + words[-1:]


def _plain(answer: dict[str, object]) -> bytes:
    body = json.dumps(answer).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def _streamed(said: Sequence[bytes]) -> list[bytes]:
    """Return the streamed answer as an upstream writes it: one HTTP chunk an event."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    first, *between, last = [b"%x\r\n%b\r\n" % (len(event), event) for event in said]
    return [head + first, *between, last + b"0\r\n\r\n"]


def _chunk(delta: dict[str, str], finish_reason: str | None) -> bytes:
    chunk = {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "gpt-3.5-turbo",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}],
    }
    return b"data: %b\n\n" % json.dumps(chunk).encode()


def _native(text: str, finish_reason: str) -> dict[str, object]:
    message = {"role": "assistant", "content": text}
    return {
        "output": {"choices": [{"finish_reason": finish_reason, "message": message}]},
        "usage": {"total_tokens": 21, "output_tokens": 8, "input_tokens": 13},
        "request_id": "0f5e1c9a-0001-9c11-8e01-aa0000000001",
    }


def _native_event(number: int, text: str, finish_reason: str) -> bytes:
    data = json.dumps(_native(text, finish_reason)).encode()
    return b"id:%d\nevent:result\n:HTTP_STATUS/200\ndata:%b\n\n" % (number, data)
