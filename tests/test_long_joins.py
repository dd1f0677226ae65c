"""Long bodies on their way to an upstream: joined, written as JSON and sent in pieces, others having turns between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

from protocol.budget import work_with_pauses
from protocol.dashscope.mapping.native import NativeCall
from protocol.exchange import Request
from protocol.openai.model_in_json import find_model, replace_model
from protocol.service.makers import makes_id
from protocol.upstream.request import PIECE_BYTES, pieces_of
from protocol.wire.gathering import joined
from protocol.wire.http1.messages import Fields, RequestHead

MEGABYTE = 1 << 20
# What a turn of 5 ms may copy, write or search at most.
MOST_A_TURN = 24 * MEGABYTE


def pauses_of(work: Callable[[], object]) -> int:
    """Do the work in turns, and return how often others had theirs in between."""
    pauses = 0

    def pause() -> None:
        nonlocal pauses
        pauses += 1

    work_with_pauses(pause, lambda: void(work()))
    return pauses


def void(_: object) -> None:
    """Drop a result."""


@pytest.mark.parametrize(
    "pieces",
    [[], [b""], [b"a", memoryview(b"bc")], [b"x" * MEGABYTE, b"", memoryview(b"y" * 700_001)], [b"", b"z" * 524_289]],
    ids=["none", "an empty one", "short", "long", "one byte more than a stretch"],
)
def test_pieces_are_joined_whole(pieces: list[bytes | memoryview]) -> None:
    assert joined(pieces) == b"".join(pieces)


def test_others_have_turns_while_long_pieces_are_joined() -> None:
    pieces = [b"x" * (16 * MEGABYTE), b"y"]
    assert pauses_of(lambda: joined(pieces)) >= 2
    assert pauses_of(lambda: joined([b"x" * 1000] * 100)) == 0


@pytest.mark.parametrize("before", [b'{"model":"a",', b"{"], ids=["a model", "no model"])
@pytest.mark.parametrize("more", [b"", rb"\"", b"\\u4e2d" * 1000], ids=["plain", "an escaped quote", "escapes"])
def test_the_model_of_a_long_body_is_replaced_between_turns(before: bytes, more: bytes) -> None:
    rest = b'"text":"' + b"A" * (32 * MEGABYTE) + more + b'","n":1}'
    body = before + rest
    sent: list[bytes] = []
    assert pauses_of(lambda: sent.append(replace_model(body, "b"))) >= len(body) // MOST_A_TURN
    assert sent[0] == b'{"model":"b",' + rest


@pytest.mark.parametrize("off", [-1, 0, 1])
@pytest.mark.parametrize("stretches", [1, 2])
def test_the_end_of_a_long_string_is_found_wherever_it_is(stretches: int, off: int) -> None:
    text = b"A" * (stretches * MEGABYTE + off)
    body = b'{"text":"%b","model":"a"}' % text
    assert find_model(body) == ("a", len(body) - 4, len(body) - 1)
    assert find_model(b'{"text":"%b' % text) is None


def test_others_have_turns_while_the_end_of_a_string_is_looked_for() -> None:
    body = b'{"text":"%b"}' % (b"A" * (64 * MEGABYTE))
    assert pauses_of(lambda: find_model(body)) >= 2


@pytest.mark.parametrize("text", ["A" * 300_000, "é\ud800" * 100_000, '"\\\n' * 70_000, "short"], ids=len)
def test_a_long_native_call_is_written_as_a_short_one(text: str) -> None:
    call = NativeCall("/x", {"model": "m", "input": {"messages": [{"content": [{"image": text}, {"n": 1.5}]}]}})
    written = call.encode(is_long=True)
    assert written == call.encode()
    assert json.loads(written)["input"]["messages"][0]["content"][0]["image"] == text.replace("\ud800", "?")


def test_others_have_turns_while_a_long_native_call_is_written() -> None:
    call = NativeCall("/x", {"input": "A" * (8 * MEGABYTE)})
    assert pauses_of(lambda: call.encode(is_long=True)) >= 8


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES, PIECE_BYTES + 1, 16 * PIECE_BYTES, 64 * PIECE_BYTES + 5])
def test_a_body_is_sent_in_pieces_between_which_others_have_turns(size: int) -> None:
    body = bytes(index % 251 for index in range(1000)) * (size // 1000 + 1)
    body = body[:size]
    pieces: list[bytes] = []
    rounds = 0

    async def others() -> None:
        nonlocal rounds
        while True:
            await asyncio.sleep(0)
            rounds += 1

    async def main() -> None:
        beside = asyncio.create_task(others())
        await asyncio.sleep(0)
        async for piece in pieces_of(body):
            pieces.append(piece)
        beside.cancel()

    asyncio.run(main())
    assert b"".join(pieces) == body
    assert max(map(len, pieces), default=0) <= PIECE_BYTES
    assert rounds >= size // (16 * PIECE_BYTES)


@pytest.mark.parametrize("off", range(-8, 2))
def test_whether_a_long_chat_is_to_be_kept_is_seen_wherever_it_says_so(off: int) -> None:
    request = Request(RequestHead("POST", "/v1/chat/completions", 1, Fields([("host", "x")])), "req_1", "127.0.0.1")
    request.body = b"A" * (MEGABYTE + off) + b'"store":true' + b"A" * MEGABYTE
    assert makes_id(request, "/chat/completions")
    request.body = b"A" * (16 * MEGABYTE)
    assert pauses_of(lambda: makes_id(request, "/chat/completions")) == 16 * 600 // 5000
    assert not makes_id(request, "/chat/completions")
