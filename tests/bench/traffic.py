"""Requests as users send them: with the fields of the official SDK, texts of every length, traces of their own.

wrk and the bench's own generator are given the same template; each draws the words, keys and traces from a seed.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import NamedTuple

_WORDS = "the weather in Oslo tomorrow please compare three options and explain why".split()
_SHORTEST, _LONGEST = 4, 40  # words
_SDK_FIELDS = (
    "Accept: application/json\r\nUser-Agent: OpenAI/Python 3.52.0\r\nX-Stainless-Lang: python\r\n"
    "X-Stainless-Package-Version: 3.52.0\r\nX-Stainless-OS: Linux\r\nX-Stainless-Arch: x64\r\n"
    "X-Stainless-Runtime: CPython\r\nX-Stainless-Runtime-Version: 3.11.7\r\nX-Stainless-Async: false\r\n"
    "x-stainless-retry-count: 0\r\nx-stainless-read-timeout: 600\r\nAccept-Encoding: gzip, deflate\r\n"
)
KEY = "sk-bench-%d"

# request() gives wrk whole requests: it has no head of its own to add.
_WRK_SCRIPT = """\
local words = {%(words)s}
local head, before, after = %(head)s, %(before)s, %(after)s
math.randomseed(%(seed)d)
local function part() return math.random(0, 0xffffffff) end
function request()
    local said = {}
    for i = 1, math.random(%(shortest)d, %(longest)d) do said[i] = words[math.random(#words)] end
    local body = before .. table.concat(said, " ") .. after
    local key = string.format("Authorization: Bearer %(key)s\\r\\n", math.random(%(keys)d))
    local trace = ""
    if %(has_traces)s then
        trace = string.format("traceparent: 00-%%08x%%08x%%08x%%08x-%%08x%%08x-01\\r\\n",
            part(), part(), part(), part(), part(), part())
    end
    return head .. key .. trace .. "Content-Length: " .. #body .. "\\r\\n\\r\\n" .. body
end
function done(summary)
    local e = summary.errors
    local failures = e.connect + e.read + e.write + e.status + e.timeout
    io.write(string.format('{"answers":%%d,"seconds":%%f,"failures":%%d}\\n',
        summary.requests, summary.duration / 1e6, failures))
end
"""


class Traffic(NamedTuple):
    """A kind of traffic, in a word and in a sentence.

    Heads and bodies are the SDK's or the plainest that do; each head may have a trace of its own.
    """

    name: str
    meaning: str
    is_sdk: bool
    has_traces: bool


USUAL = Traffic("usual", "the SDK's fields, bodies that vary, a new traceparent each", is_sdk=True, has_traces=True)
TRAFFIC = {
    traffic.name: traffic
    for traffic in (
        USUAL,
        Traffic("untraced", "the same without a traceparent", is_sdk=True, has_traces=False),
        Traffic("repeated", "one head of few fields, and the plainest body", is_sdk=False, has_traces=False),
    )
}


class Template(NamedTuple):
    """What the requests of one kind have in common.

    Each is `head`, a key, perhaps a trace, the length of its body, and that body: `before`, words, `after`.
    """

    head: str
    before: str
    after: str
    has_traces: bool
    keys: int


def template(traffic: Traffic, port: int, path: str, stream: bool, keys: int = 1) -> Template:
    """Return what all chat requests of this traffic to one server have in common; each has one of so many keys."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    said = {"role": "user", "content": "WORDS"}
    chat: dict[str, object] = {"model": "gpt-4o", "stream": stream, "messages": [said]}
    if traffic.is_sdk:
        head += _SDK_FIELDS
        instruction = {"role": "system", "content": "You are a helpful assistant."}
        chat = {"messages": [instruction, said], "model": "gpt-4o", "max_tokens": 256, "stream": stream}
        chat["temperature"] = 0.7
    before, _, after = json.dumps(chat).partition("WORDS")
    return Template(head, before, after, traffic.has_traces, keys)


def requests(common: Template, seed: int = 7) -> Iterator[bytes]:
    """Give one request after the other, without end; the same ones for the same seed."""
    chance = random.Random(seed)
    while True:
        said = " ".join(chance.choices(_WORDS, k=chance.randint(_SHORTEST, _LONGEST)))
        body = f"{common.before}{said}{common.after}"
        key = f"Authorization: Bearer {KEY % chance.randint(1, common.keys)}\r\n"
        trace = ""
        if common.has_traces:
            trace = f"traceparent: 00-{chance.getrandbits(128):032x}-{chance.getrandbits(64):016x}-01\r\n"
        yield f"{common.head}{key}{trace}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def wrk_script(common: Template, seed: int) -> str:
    """Return the same requests as a script for wrk, which draws its own words and traces."""
    # JSON's strings are Lua's, too, as long as they are ASCII.
    head, before, after = (json.dumps(part) for part in (common.head, common.before, common.after))
    return _WRK_SCRIPT % {
        "words": ", ".join(json.dumps(word) for word in _WORDS),
        "head": head,
        "before": before,
        "after": after,
        "seed": seed,
        "shortest": _SHORTEST,
        "longest": _LONGEST,
        "key": KEY,
        "keys": common.keys,
        "has_traces": "true" if common.has_traces else "false",
    }
