"""Requests with long bodies: their endpoints are asked in turns with everybody else."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading

import pytest
from test_mock_realtime import talk

from protocol.budget import let_others_go_first
from protocol.config import options_of
from protocol.errors import ApiError
from protocol.exchange import Endpoint, Pending, Pushed, Response
from protocol.openai.answers import ERROR_SHAPES
from protocol.server.server import Server
from protocol.server.settings import ServerSettings
from protocol.service.cors import CorsPolicy
from protocol.service.log import Log
from protocol.service.metrics import Metrics
from protocol.service.origins import Origins
from protocol.wire.websocket import encode_text

LONG = b"x" * 65537
TEXT = [("content-type", "text/plain")]


class Application:
    """Answers by what a test put below a path; `events` is what happened, in order."""

    def __init__(self):
        self.events = []
        self.endpoints = {"/plain": Endpoint(self.answer_plain, "plain")}

    def route(self, request):
        return self.endpoints[request.path]

    def answer_plain(self, request):
        self.events.append("plain")
        return Response(200, TEXT, b"plain")


def post(path, body):
    return b"POST %b HTTP/1.1\r\nhost: test\r\ncontent-length: %d\r\n\r\n%b" % (path.encode(), len(body), body)


async def status_and_body(reader):
    """Read an answer that says how long it is, or is chunked in one piece."""
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head.split()[1])
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return status, await reader.readexactly(int(line.partition(b":")[2]))
    body = await reader.readuntil(b"0\r\n\r\n")
    return status, body.partition(b"\r\n")[2].partition(b"\r\n")[0]


@contextlib.asynccontextmanager
async def served(application):
    """Give what opens a connection to a server of the application."""
    options = options_of(ServerSettings)
    settings = ServerSettings(
        **{**{key: option.parse(str(option.default)) for key, option in options.items()}, "port": 0}
    )
    lines = []
    server = Server(
        application, ERROR_SHAPES, CorsPolicy(Origins(("*",))), settings, Log("text", lines.append), Metrics()
    )
    await server.listen()
    writers = []

    async def connect():
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writers.append(writer)
        return reader, writer

    try:
        yield connect
    finally:
        for writer in writers:
            writer.close()
        await server.close()
        assert not server.connections
        assert server.metrics.in_flight == 0
        assert "Traceback" not in "".join(lines)


async def ask_plain(connect, times):
    """Ask for /plain, one time after the other."""
    reader, writer = await connect()
    for _ in range(times):
        writer.write(post("/plain", b""))
        assert await status_and_body(reader) == (200, b"plain")


class Pushing(Pushed):
    """Sends all of its body as soon as it may."""

    def begin(self, sink):
        sink.end(b"pushed")

    def cancel(self):
        raise AssertionError("somebody wants it")


class Arriving(Pending):
    """Is there in the next round."""

    def __init__(self):
        asyncio.get_running_loop().call_soon(lambda: self.deliver(Response(200, TEXT, b"arrived")))


async def iterated():
    yield b"iterated"


async def waited_for():
    await asyncio.sleep(0)
    return Response(200, TEXT, b"waited for")


def refused():
    raise ApiError(422, "no")


KINDS = {
    "bytes": (lambda: Response(200, TEXT, b"bytes"), (200, b"bytes")),
    "pushed": (lambda: Response(200, TEXT, Pushing()), (200, b"pushed")),
    "iterated": (lambda: Response(200, TEXT, iterated()), (200, b"iterated")),
    "pending": (Arriving, (200, b"arrived")),
    "awaitable": (waited_for, (200, b"waited for")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_others_are_answered_while_a_long_body_is_read(kind):
    make_answer, expected = KINDS[kind]
    application = Application()

    def answer(request):
        assert request.body == LONG
        application.events.append("begun")
        while application.events.count("plain") < 20:
            let_others_go_first()
        application.events.append("done")
        return make_answer()

    application.endpoints["/long"] = Endpoint(answer, "long")

    async def main():
        async with served(application) as connect:
            reader, writer = await connect()
            writer.write(post("/long", LONG))
            await ask_plain(connect, 20)
            first = await status_and_body(reader)
            writer.write(post("/plain", b""))  # the connection goes on
            return first, await status_and_body(reader)

    assert asyncio.run(main()) == (expected, (200, b"plain"))
    begun, done = application.events.index("begun"), application.events.index("done")
    assert application.events[begun:done].count("plain") >= 10


def test_an_error_of_long_work_is_answered():
    application = Application()
    application.endpoints["/long"] = Endpoint(lambda request: refused(), "long")

    async def main():
        async with served(application) as connect:
            reader, writer = await connect()
            writer.write(post("/long", LONG))
            return await status_and_body(reader)

    status, body = asyncio.run(main())
    assert status == 422
    assert json.loads(body)["error"]["message"] == "no"


@pytest.mark.parametrize(("size", "is_in_turns"), [(0, False), (65536, False), (65537, True)])
def test_a_body_is_long_from_64_kilobytes_on(size, is_in_turns):
    application = Application()
    threads = []

    def answer(request):
        threads.append(threading.current_thread())
        return Response(200, TEXT, b"bytes")

    application.endpoints["/long"] = Endpoint(answer, "long")

    async def main():
        async with served(application) as connect:
            reader, writer = await connect()
            writer.write(post("/long", b"x" * size))
            await status_and_body(reader)

    asyncio.run(main())
    assert [thread is not threading.main_thread() for thread in threads] == [is_in_turns]


class Unwanted(Pending):
    """Must be cancelled."""

    def __init__(self, events):
        self.events = events

    def cancel(self):
        self.events.append("cancelled")


@pytest.mark.parametrize("pauses_at_the_end", [False, True])
def test_a_client_that_leaves_ends_the_work_on_its_body(pauses_at_the_end):
    application = Application()
    events = application.events

    def answer(request):
        events.append("begun")
        try:
            while pauses_at_the_end or events.count("plain") < 5:
                let_others_go_first()
        finally:
            events.append("ended")
        return Unwanted(events)

    application.endpoints["/long"] = Endpoint(answer, "long")

    async def main():
        async with served(application) as connect:
            _, writer = await connect()
            writer.write(post("/long", LONG))
            while "begun" not in events:
                await asyncio.sleep(0)
            writer.transport.abort()
            await ask_plain(connect, 20)

    asyncio.run(main())
    assert "ended" in events


def test_a_long_piece_of_a_streamed_body_is_sent_in_stretches():
    long = bytes(range(256)) * 12_345  # three megabytes

    async def iterated():
        yield long
        yield b""
        yield b"end"

    async def main():
        application = Application()
        application.endpoints["/iterated"] = Endpoint(lambda request: Response(200, TEXT, iterated()), "iterated")
        async with served(application) as connect:
            reader, writer = await connect()
            writer.write(post("/iterated", b""))
            await reader.readuntil(b"\r\n\r\n")
            chunks = []
            while not chunks or chunks[-1]:
                size = int(await reader.readuntil(b"\r\n"), 16)
                chunks.append((await reader.readexactly(size + 2))[:-2])
        assert b"".join(chunks) == long + b"end"
        assert max(map(len, chunks)) <= 512 * 1024

    asyncio.run(main())


def test_others_have_their_turns_while_a_long_event_is_read():
    async def rounds_of(socket, event):
        socket.put(encode_text(event, b"mask"))
        count = 0
        work = asyncio.ensure_future(socket.event())
        while not work.done():
            count += 1
            await asyncio.sleep(0)
        return count, work.result()

    async def story(socket):
        short = await rounds_of(socket, '{"type": "nonsense"}')
        return short, await rounds_of(socket, '{"type": "nonsense", "a": [' + "[[[[]]]]," * 10_000 + "0]}")

    (short, told), (long, told_of_long) = talk(story)
    assert told["error"]["message"] == told_of_long["error"]["message"]
    assert long >= short + 20
