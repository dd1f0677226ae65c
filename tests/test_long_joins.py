"""Long bodies on their way to an upstream: joined, written as JSON and sent in pieces, others having turns between."""

from __future__ import annotations

import asyncio
import gzip
import json
import tracemalloc
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from protocol.budget import work_with_pauses
from protocol.dashscope.calls import read_whole
from protocol.dashscope.mapping.native import NativeCall
from protocol.exchange import Endpoint, LateEndpoint, Request, Response, found_endpoint
from protocol.mock.dashscope.kept_files import KeptFiles
from protocol.mock.dashscope.newest import Newest
from protocol.openai.asked_model import asked_model
from protocol.openai.azure import endpoint_of_deployment
from protocol.openai.model_in_json import find_model, replace_model
from protocol.service.makers import makes_id
from protocol.upstream.request import PIECE_BYTES, pieces_of
from protocol.wire.content_coding import decode_content
from protocol.wire.gathering import joined
from protocol.wire.http1.messages import Fields, RequestHead
from protocol.wire.multipart import parse_form

MEGABYTE = 1 << 20
# What a turn of 5 ms may copy, write or search at most.
MOST_A_TURN = 24 * MEGABYTE

CODED = gzip.compress(bytes(16 * MEGABYTE), 1)


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


def test_the_model_of_a_long_form_is_found_without_another_form() -> None:
    edge = b'--edge\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
    body = edge % (b"file", b"\r\n--edg" * (2 * MEGABYTE)) + edge % (b"model", b"whisper-1") + b"--edge--\r\n"
    fields = Fields([("host", "x"), ("content-type", "multipart/form-data; boundary=edge")])
    request = Request(RequestHead("POST", "/v1/audio/transcriptions", 1, fields), "req_1", "127.0.0.1")
    request.body = body
    tracemalloc.start()
    try:
        assert asked_model(request, MEGABYTE) == "whisper-1"
        assert tracemalloc.get_traced_memory()[1] < 4 * MEGABYTE
    finally:
        tracemalloc.stop()


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


class Arriving:
    """A body that comes in pieces, each made when it is asked for; the upstream's answer, as far as it is read whole."""

    def __init__(self) -> None:
        self._pieces = iter(range(64))

    def __aiter__(self) -> Arriving:
        return self

    async def __anext__(self) -> bytes:
        for number in self._pieces:
            return bytes([number]) * (256 * 1024)
        raise StopAsyncIteration

    def discard(self) -> None:
        """Nobody wants the rest."""


def request_with_nothing() -> Request:
    return Request(RequestHead("POST", "/v1/chat/completions", 1, Fields([("host", "x")])), "req_1", "127.0.0.1")


async def held_for_an_endpoint() -> int:
    request = request_with_nothing()
    request.stream = Arriving()

    async def find(request: Request) -> Endpoint:
        return Endpoint(lambda request: Response(200, b"", b""), "any")

    await found_endpoint(LateEndpoint(find, streams_body=True), request)
    return len(request.body)


async def held_for_a_translator() -> int:
    return len(await read_whole(Arriving(), 100 * MEGABYTE, request_with_nothing()))  # type: ignore[arg-type]  # as far as it is read


async def decoded() -> int:
    return len(decode_content("gzip", CODED, 100 * MEGABYTE))


@pytest.mark.parametrize("held", [held_for_an_endpoint, held_for_a_translator, decoded])
def test_a_body_that_comes_in_pieces_is_never_there_twice(held: Callable[[], Coroutine[Any, Any, int]]) -> None:
    asyncio.run(held())  # what is loaded when it is first needed
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        size = asyncio.run(held())
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert size == 16 * MEGABYTE
    assert peak < 1.5 * size  # a buffer that grows has an eighth to spare


def test_the_files_of_a_form_that_is_held_are_not_copied_before_they_are_asked_for() -> None:
    head = b'--e\r\ncontent-disposition: form-data; name="%b"; filename="f"\r\n\r\n'
    files = {name: bytes([name[0]]) * (8 * MEGABYTE) for name in (b"a", b"b")}
    body = b"".join(head % name + data + b"\r\n" for name, data in files.items()) + b"--e--\r\n"
    held: list[int] = []
    tracemalloc.start()
    try:
        form = parse_form("multipart/form-data; boundary=e", body, held.append)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MEGABYTE and not held
    assert [file.size for file in form.files] == [8 * MEGABYTE] * 2
    assert pauses_of(lambda: form.files[0].data) >= 1
    assert [file.data for file in form.files] == list(files.values()) and held == [8 * MEGABYTE] * 2


def test_others_have_turns_while_the_files_of_a_form_are_hashed() -> None:
    file = b'--e\r\ncontent-disposition: form-data; name="files"; filename="f"\r\n\r\n' + bytes(32 * MEGABYTE)
    fields = Fields([("content-type", "multipart/form-data; boundary=e")])
    request = Request(RequestHead("POST", "/api/v1/files", 1, fields), "req_1", "127.0.0.1")
    request.body = file + b"\r\n--e--\r\n"
    kept = KeptFiles(Newest(), lambda: 1e9, lambda: "1")
    read_only = pauses_of(lambda: [file.data for file in parse_form(fields.get("content-type"), request.body).files])
    assert pauses_of(lambda: kept.upload(request)) >= read_only + 12


@pytest.mark.parametrize("off", range(-8, 2))
def test_whether_a_long_chat_is_to_be_kept_is_seen_wherever_it_says_so(off: int) -> None:
    request = Request(RequestHead("POST", "/v1/chat/completions", 1, Fields([("host", "x")])), "req_1", "127.0.0.1")
    request.body = b"A" * (MEGABYTE + off) + b'"store":true' + b"A" * MEGABYTE
    assert makes_id(request, "/chat/completions")
    request.body = b"A" * (16 * MEGABYTE)
    assert pauses_of(lambda: makes_id(request, "/chat/completions")) == 16 * 600 // 5000
    assert not makes_id(request, "/chat/completions")


def test_others_have_turns_while_the_model_of_azures_path_is_put_into_a_long_body() -> None:
    request = request_with_nothing()
    request.body = json.dumps({"messages": ["x" * (16 * MEGABYTE), *range(50_000)]}).encode()
    named: list[Any] = []

    def take(request: Request) -> Response:
        named.append((request.json()["model"], json.loads(request.body)["model"]))
        return Response(200, b"", b"")

    endpoint = endpoint_of_deployment(Endpoint(take, "any"), "gpt-4o")
    request.json()
    assert pauses_of(lambda: endpoint.answer(request)) >= 20
    assert named == [("gpt-4o", "gpt-4o")]
