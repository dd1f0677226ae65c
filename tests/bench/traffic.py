"""Requests as users send them: with the fields of the official SDK, texts of every length, traces of their own."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import NamedTuple

_WORDS = "the weather in Oslo tomorrow please compare three options and explain why".split()
_SDK_FIELDS = (
    "Accept: application/json\r\nUser-Agent: OpenAI/Python 3.52.0\r\nX-Stainless-Lang: python\r\n"
    "X-Stainless-Package-Version: 3.52.0\r\nX-Stainless-OS: Linux\r\nX-Stainless-Arch: x64\r\n"
    "X-Stainless-Runtime: CPython\r\nX-Stainless-Runtime-Version: 3.11.7\r\nX-Stainless-Async: false\r\n"
    "x-stainless-retry-count: 0\r\nx-stainless-read-timeout: 600\r\nAccept-Encoding: gzip, deflate\r\n"
)


class Traffic(NamedTuple):
    """A kind of traffic: whether heads and bodies are the SDK's, and whether each head has a trace of its own."""

    name: str
    is_sdk: bool
    has_traces: bool


TRAFFIC = (
    Traffic("one head, plainest body", is_sdk=False, has_traces=False),
    Traffic("the SDK's fields, bodies that vary", is_sdk=True, has_traces=False),
    Traffic("the same, a new traceparent each", is_sdk=True, has_traces=True),
)


def requests(traffic: Traffic, port: int, path: str, stream: bool) -> Iterator[bytes]:
    """Give one request after the other, without end; always the same ones."""
    chance = random.Random(7)
    while True:
        said = {"role": "user", "content": " ".join(chance.choices(_WORDS, k=chance.randint(4, 40)))}
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer sk-bench\r\n"
        )
        chat: dict[str, object] = {"model": "gpt-4o", "stream": stream, "messages": [said]}
        if traffic.is_sdk:
            head += _SDK_FIELDS
            instruction = {"role": "system", "content": "You are a helpful assistant."}
            chat = {"messages": [instruction, said], "model": "gpt-4o", "max_tokens": 256, "stream": stream}
            chat["temperature"] = 0.7
        if traffic.has_traces:
            head += f"traceparent: 00-{chance.getrandbits(128):032x}-{chance.getrandbits(64):016x}-01\r\n"
        body = json.dumps(chat).encode()
        yield f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
