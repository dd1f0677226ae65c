"""The server: connections from their first byte to their last, on a fake transport and on real sockets.

In the first ring a connection runs on FakeLoop and FakeTransport: time passes when a test says so, and a client reads
as much as it says. In the second, at the end, are real sockets on port 0. Answers are read back by h11.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import inspect
import json
import logging
import re
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import time
import typing
from random import Random

import h11
import pytest
import skipping
from fake_loop import FakeLoop

from protocol.config import options_of
from protocol.errors import ApiError
from protocol.exchange import BackendFailed, Endpoint, Paced, Pending, Pushed, Response, Rest
from protocol.openai.answers import ERROR_SHAPES
from protocol.server.server import Server
from protocol.server.settings import ServerSettings
from protocol.service.cors import CorsPolicy
from protocol.service.log import Log
from protocol.service.metrics import Metrics
from protocol.service.origins import Origins

TEXT = [("content-type", "text/plain")]
EVENTS = [("content-type", "text/event-stream")]
SECRET = "sk-very-secret"
ANY_PAGE = CorsPolicy(Origins(("*",)))


# ---- requests and answers as bytes ----------------------------------------------------------------------------------


def request(path="/plain", *fields, method="GET", version="1.1", body=None):
    lines = [f"{method} {path} HTTP/{version}", "host: test", *fields]
    if body is not None:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


def post(path, body=b"", *fields):
    return request(path, *fields, method="POST", body=body)


def chunks(*parts):
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)


class Reply(typing.NamedTuple):
    """An answer as a client reads it; `whole` says that its end came."""

    status: int
    fields: dict[str, str]
    body: bytes
    whole: bool
    interim: list[int]


def replies(received, *methods, ended=False, rest=b""):
    """Read what a client received as the answers to requests of these methods, by another implementation."""
    connection = h11.Connection(h11.CLIENT)
    connection.receive_data(received)
    if ended:
        connection.receive_data(b"")
    found = []
    for method in methods:
        connection.send(h11.Request(method=method, target="/", headers=[("host", "test")]))
        connection.send(h11.EndOfMessage())
        reply = read_reply(connection)
        if reply is not None:
            found.append(reply)
        if connection.their_state is not h11.DONE or connection.our_state is not h11.DONE:
            break
        connection.start_next_cycle()
    if found and found[-1].whole:
        assert connection.trailing_data[0] == rest
    return found


def read_reply(connection):
    status, fields, body, interim = 0, {}, b"", []
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as exc:
            assert "closed connection" in str(exc) or "ConnectionClosed" in str(exc), exc
            event = h11.NEED_DATA
        if isinstance(event, h11.InformationalResponse):
            interim.append(event.status_code)
        elif isinstance(event, h11.Response):
            status = event.status_code
            pairs = [(name.decode(), value.decode()) for name, value in event.headers]
            fields = dict(pairs)
            assert len(fields) == len(pairs), f"a field came twice: {pairs}"
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return Reply(status, fields, body, True, interim)
        else:
            return Reply(status, fields, body, False, interim) if status or interim else None


def check_openai_error(reply, status):
    """Assert that an answer is an error as every client expects it; return its message."""
    assert reply.status == status and reply.whole
    assert reply.fields["content-type"] == "application/json"
    assert reply.fields["content-length"] == str(len(reply.body))
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", reply.fields["date"])
    assert reply.fields["x-request-id"]
    assert reply.fields["access-control-allow-origin"] == "*"
    error = json.loads(reply.body)["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["message"] and error["type"]
    return error["message"]


# ---- a loop whose time stands still, and a client on a transport without a network ----------------------------------


class FakeSocket:
    def __init__(self):
        self.error = 0
        self.resets = False
        self.client_ended = False

    def getsockopt(self, level, name, size=None):
        if (level, name, size) == (socket.IPPROTO_TCP, socket.TCP_INFO, 1):
            return b"\x08" if self.client_ended else b"\x01"
        assert (level, name, size) == (socket.SOL_SOCKET, socket.SO_ERROR, None)
        return self.error

    def setsockopt(self, level, name, value):
        assert (level, name, value) == (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.resets = True


class FakeTransport(asyncio.Transport):
    """Behaves as a selector transport does, towards a client that reads `window` bytes (None: all)."""

    def __init__(self, loop, protocol, window):
        super().__init__()
        self.loop = loop
        self.protocol = protocol
        self.window = window
        self.high, self.low = 65536, 16384
        self.incoming = b""
        self.client_ended = self.eof_given = False
        self.client_gone = False
        self.reading = True
        self.unsent = bytearray()
        self.received = bytearray()
        self.writes = []
        self.write_paused = False
        self.eof_written = self.closing = self.lost = False
        self.socket = FakeSocket()

    # -- what a protocol calls

    def get_extra_info(self, name, default=None):
        return {"peername": ("192.168.1.100", 50000), "socket": self.socket}.get(name, default)

    def set_write_buffer_limits(self, high=None, low=None):
        self.high, self.low = high, high // 4 if low is None else low
        self._check_high()

    def get_write_buffer_size(self):
        return len(self.unsent)

    def is_closing(self):
        return self.closing

    def can_write_eof(self):
        return True

    def write(self, data):
        assert isinstance(data, bytes)
        assert not self.eof_written, "written after the end"
        if self.lost or not data:
            return
        if self.client_gone:
            self.socket.error = errno.ECONNRESET
        self.writes.append(data)
        self.unsent += data
        self._send()
        self._check_high()

    def write_eof(self):
        self.eof_written = True

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        if not self.closing and not self.reading:
            self.reading = True
            self.loop.call_soon(self.deliver)

    def close(self):
        if not self.closing:
            self.closing = True
            if not self.unsent:
                self._lose(None)

    def abort(self):
        self.closing = True
        self.unsent.clear()
        self._lose(None)

    # -- what happens on the other side

    def deliver(self):
        if not self.reading or self.closing:
            return
        if self.incoming:
            data, self.incoming = self.incoming[:65536], self.incoming[65536:]
            self.protocol.data_received(data)
            self.loop.call_soon(self.deliver)
        elif self.client_ended and not self.eof_given:
            self.eof_given = True
            if not self.protocol.eof_received():
                self.close()

    def read(self, size):
        """Let the client read so many bytes more, None for all."""
        self.window = None if size is None else self.window + size
        self._send()
        if self.write_paused and len(self.unsent) <= self.low and not self.lost:
            self.write_paused = False
            self.protocol.resume_writing()
        if self.closing and not self.unsent:
            self._lose(None)

    def break_off(self):
        self.closing = True
        self._lose(ConnectionResetError("reset"))

    def _send(self):
        size = len(self.unsent) if self.window is None else min(self.window, len(self.unsent))
        self.received += self.unsent[:size]
        del self.unsent[:size]
        if self.window is not None:
            self.window -= size

    def _check_high(self):
        if len(self.unsent) > self.high and not self.write_paused:
            self.write_paused = True
            self.protocol.pause_writing()

    def _lose(self, exc):
        if not self.lost:
            self.lost = True
            self.loop.call_soon(self.protocol.connection_lost, exc)


class Client:
    """A client of the house: what it sends arrives at once, what it has received is in `received`."""

    def __init__(self, house, window=None):
        self.loop = house.loop
        self.transport = FakeTransport(house.loop, house.server.new_connection(), window)
        self._run(self.transport.protocol.connection_made, self.transport)

    def _run(self, call, *args):
        self.loop.call_soon(call, *args)
        self.loop.settle()

    def send(self, data):
        self.transport.incoming += data
        self._run(self.transport.deliver)

    def end(self):
        """Close the sending side."""
        self.transport.client_ended = self.transport.socket.client_ended = True
        self._run(self.transport.deliver)

    def go(self):
        """Close altogether: looks like the end of the sending side, until something is written."""
        self.transport.client_gone = True
        self.end()

    def reset(self):
        self._run(self.transport.break_off)

    def read(self, size=None):
        self._run(self.transport.read, size)

    @property
    def received(self):
        return bytes(self.transport.received)

    @property
    def ended(self):
        """Whether the server has closed the connection, or its side of it."""
        return self.transport.lost or (self.transport.eof_written and not self.transport.unsent)

    def replies(self, *methods, **options):
        return replies(self.received, *methods, ended=self.ended, **options)

    def reply(self, method="GET"):
        (reply,) = self.replies(method)
        return reply


class House:
    """A server on a FakeLoop with the endpoints that a test gives it; it is the application, too."""

    def __init__(self, log_form="text", **settings):
        self.loop = FakeLoop()
        self.errors = []
        self.loop.set_exception_handler(lambda loop, context: self.errors.append(context))
        self.lines = []
        self.metrics = Metrics()
        self.endpoints = {"/plain": Endpoint(lambda request: text(request.head.query or "plain"), "plain")}
        self.seen = []
        self.server = self.loop.run_until_complete(self._make(log_form, settings))

    async def _make(self, log_form, settings):
        server = Server(
            self,
            ERROR_SHAPES,
            ANY_PAGE,
            server_settings(**settings),
            Log(log_form, self.lines.append),
            self.metrics,
            on_request=self.seen.append,
        )
        return server

    def route(self, request):
        if request.path not in self.endpoints:
            raise ApiError(404, f"Unknown request URL: {request.path}.", code="unknown_url")
        return self.endpoints[request.path]

    def add(self, path, answer, **options):
        self.endpoints[path] = Endpoint(answer, path.strip("/"), **options)

    def client(self, *sent, window=None):
        client = Client(self, window)
        for data in sent:
            client.send(data)
        return client

    def start(self, coroutine):
        """Run a coroutine until it is done or waits for time to pass."""
        task = self.loop.create_task(coroutine)
        self.loop.settle()
        return task

    def statuses(self):
        """What the log says of requests that are over."""
        return [int(status) for status in re.findall(r"Request completed - .*?Status: (\d+)", "".join(self.lines))]

    def check(self):
        """Close, and assert that nothing went wrong unseen and nothing is left."""
        self.start(self.server.close())
        self.loop.advance(1)
        gc.collect()
        assert self.errors == []
        assert self.server.connections == set()
        assert self.metrics.in_flight == 0
        assert self.server.held.held == 0
        assert asyncio.all_tasks(self.loop) == set()
        lines = "".join(self.lines)
        assert lines.count("Request started") == lines.count("Request completed")
        assert SECRET not in lines


@pytest.fixture
def open_house():
    """Give a maker of houses; all are checked at the end."""
    houses = []

    def make(**settings):
        houses.append(House(**settings))
        return houses[-1]

    yield make
    for house in houses:
        try:
            house.check()
        finally:
            house.loop.close()


@pytest.fixture
def house(open_house):
    return open_house()


@pytest.fixture(autouse=True)
def asyncio_has_nothing_to_say(caplog):
    """Fail when asyncio had to log something: an exception that nobody took, a write to a closed socket."""
    yield
    records = [*caplog.get_records("setup"), *caplog.get_records("call")]
    assert [r.getMessage() for r in records if r.name == "asyncio" and r.levelno >= logging.WARNING] == []


def server_settings(**settings):
    texts = {"port": 0, **settings}
    return ServerSettings(
        **{key: option.parse(str(texts.pop(key, option.default))) for key, option in options_of(ServerSettings).items()}
    )


def shapes(response):
    return ERROR_SHAPES._replace(response=response)


def text(body, status=200):
    return Response(status, TEXT, body if isinstance(body, bytes) else body.encode())


class Producer:
    """A streamed body of `parts`, each `pause` seconds after the one before; knows how far it was pulled."""

    def __init__(self, parts, pause=0.0, fails=None):
        self._parts = parts
        self._pause = pause
        self._fails = fails
        self.pulled = 0
        self.closed = False

    async def run(self):
        try:
            for part in self._parts:
                if self._pause:
                    await asyncio.sleep(self._pause)
                self.pulled += 1
                yield part
            if self._fails is not None:
                raise self._fails
        finally:
            self.closed = True


def streamed(parts, pause=0.0, fields=TEXT, fails=None, length=None, made=None):
    """Return an endpoint's function that answers with a stream; `made` gathers the producers."""

    def answer(request):
        producer = Producer(parts, pause, fails)
        if made is not None:
            made.append(producer)
        return Response(200, fields, producer.run(), length)

    return answer


def paced(*frames, first_delay=0.0, delay=0.0):
    return lambda request: Response(200, EVENTS, Paced(frames, first_delay=first_delay, delay=delay))


def later(seconds, response=None):
    """Return an endpoint's function that answers after a while, with its request's query if not told otherwise."""

    async def answer(request):
        await asyncio.sleep(seconds)
        return response or text(request.head.query)

    return answer


class Delivered(Pending):
    """An answer that comes when its test says so."""

    def __init__(self):
        self.cancelled = 0

    def cancel(self):
        self.cancelled += 1


class Pushing(Pushed):
    """A body that its test pushes; knows whether it may."""

    def __init__(self, first=b""):
        self.first = first
        self.sink = None
        self.paused = False
        self.cancelled = 0

    def begin(self, sink):
        self.sink = sink
        if self.first:
            sink.push(self.first)

    def pause(self):
        self.paused = True

    def resume(self):
        self.paused = False

    def cancel(self):
        self.cancelled += 1


def pushed(body, fields=TEXT, length=None):
    return lambda request: Response(200, fields, body, length)


async def never(request):
    await asyncio.sleep(10_000)


async def read_all(stream):
    return b"".join([part async for part in stream])


def reads_its_body(request):
    """Answer with what was read from the body, once all of it has come."""

    async def answer():
        return text(await read_all(request.stream))

    return answer()


# ---- requests and answers -------------------------------------------------------------------------------------------

REPEATED = {
    "GET": request("/echo"),
    "HEAD": request("/echo", method="HEAD"),
    "POST": post("/echo", b"body"),
    "1.0": request("/echo", method="POST", version="1.0", body=b"body"),
    "1.0 keep-alive": request("/echo", "connection: keep-alive", method="POST", version="1.0", body=b"body"),
    "close": post("/echo", b"body", "connection: close"),
    "an id of its own": post("/echo", b"body", "x-request-id: mine"),
    "a page": post("/echo", b"body", "origin: https://page.test"),
    "expects 100": post("/echo", b"body", "expect: 100-continue"),
    "fails": post("/fails", b"body"),
    "unknown": request("/unknown"),
    "stream": post("/stream", b"body"),
    "reads its body": post("/reads", b"body"),
    "task": post("/task", b"body"),
    "delivered": post("/delivered", b"body"),
}


@pytest.mark.parametrize("sent", REPEATED.values(), ids=REPEATED)
def test_a_request_is_answered_alike_whole_and_repeated_and_in_pieces(open_house, sent):
    """What comes whole with a known head takes a shorter way."""

    def fails(request):
        raise ApiError(418, "Not here.")

    def delivered(request):
        pending = Delivered()
        house.loop.call_soon(lambda: pending.deliver(text(request.body)))
        return pending

    received = []
    for pieces in ([sent], [sent[:-1], sent[-1:]], [sent[:20], sent[20:]]):
        house = open_house()
        house.add("/echo", lambda request: text(request.body or b"nothing"))
        house.add("/fails", fails)
        house.add("/stream", paced(b"one", b"two"))
        house.add("/reads", reads_its_body, streams_body=True)
        house.add("/task", later(0, text("later")))
        house.add("/delivered", delivered)
        client = house.client(*pieces)
        for _ in range(2):
            if not client.ended:
                for piece in pieces:
                    client.send(piece)
        ids = re.sub(rb"req_[0-9a-f]+", b"req_", client.received)
        received.append(re.sub(rb"date: [^\r]*", b"date", ids.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")))
        assert len(house.statuses()) == (1 if client.ended else 3)
        assert len(house.seen) == (0 if b"/unknown" in sent else len(house.statuses()))
    assert received[0].count(b"HTTP/1.1") == (1 if client.ended else 3)
    assert received[1:] == received[:1] * 2


def test_a_client_that_leaves_while_it_is_not_read_is_noticed(house):
    house.add("/never", never)
    client = house.client(request("/never") + request() * 4000)
    assert not client.transport.reading
    house.loop.advance(5)
    assert not client.transport.lost
    client.transport.socket.error = errno.ECONNRESET  # all that can be seen of it
    house.loop.advance(1)
    assert client.transport.lost
    assert house.statuses() == [499]


def test_a_client_that_has_reset_its_connection_before_the_last_answer_is_let_go(house):
    client = house.client()

    def write_eof():
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    client.transport.write_eof = write_eof  # as a socket's does whose end the loop has not told yet
    client.send(request("/plain", "connection: close"))
    house.loop.settle()
    assert client.transport.lost
    assert house.statuses() == [200]


def test_the_limit_of_a_held_body_holds_again_after_one_that_was_streamed(open_house):
    house = open_house(max_body=10)
    house.add("/reads", reads_its_body, streams_body=True)
    house.add("/echo", lambda request: text(request.body))
    client = house.client(post("/reads", b"x" * 20), post("/echo", b"x" * 20))
    streamed_reply, held = client.replies("POST", "POST")
    assert streamed_reply.body == b"x" * 20
    check_openai_error(held, 413)


def test_connections_share_what_they_know_of_a_head_but_not_whom_it_comes_from(open_house):
    house = open_house(trusted_proxies="192.168.1.100")
    for _ in range(2):
        house.client(*[request("/plain", "x-forwarded-for: 10.0.0.7")] * 2)
    house.server.settings = server_settings()
    house.client(request("/plain", "x-forwarded-for: 10.0.0.7"))
    assert [asked.peer for asked in house.seen] == ["10.0.0.7"] * 4 + ["192.168.1.100"]


def test_an_answer_is_delivered_later(house):
    made = [Delivered(), Delivered()]
    waiting = iter(made)
    house.add("/delivered", lambda request: next(waiting))
    client = house.client(request("/delivered"), request("/delivered"))
    assert client.received == b""
    made[0].deliver(text("one"))
    house.loop.settle()
    made[1].deliver(text("two"))
    assert [reply.body for reply in client.replies("GET", "GET")] == [b"one", b"two"]
    assert [pending.cancelled for pending in made] == [0, 0]


@pytest.mark.parametrize(
    ("exc", "status"), [(ApiError(418, "No."), 418), (ValueError(SECRET), 500)], ids=["told", "defect"]
)
def test_the_way_to_an_answer_may_turn_out_longer(house, exc, status):
    made = [Delivered(), Delivered()]
    waiting = iter(made)
    house.add("/delivered", lambda request: next(waiting))

    async def longer():
        await asyncio.sleep(1)
        return text("late")

    async def fails():
        await asyncio.sleep(1)
        raise exc

    client = house.client(request("/delivered") * 2)
    made[0].deliver(Rest(longer))
    house.loop.advance(1)
    made[1].deliver(Rest(fails))
    house.loop.advance(1)
    assert [reply.status for reply in client.replies("GET", "GET")] == [200, status]
    assert [pending.cancelled for pending in made] == [0, 0]


def test_a_client_that_leaves_cancels_what_is_to_be_delivered(house):
    pending, begun = Delivered(), []
    house.add("/delivered", lambda request: pending)

    async def longer():
        begun.append(1)

    house.client(request("/delivered")).reset()
    assert pending.cancelled == 1
    client = house.client(request("/delivered"))
    client.transport.break_off()
    pending.deliver(Rest(longer))  # which nobody comes to await
    house.loop.settle()
    assert (pending.cancelled, begun) == (2, [])
    assert house.statuses() == [499, 499]


def test_a_client_that_leaves_while_the_endpoint_is_asked_leaves_no_answer_unawaited(house):
    made = []

    def answer(request):
        client.transport.break_off()  # its news comes before the task that would await the answer begins
        made.append(never(request))
        return made[-1]

    house.add("/never", answer)
    client = house.client()
    client.send(request("/never"))
    assert inspect.getcoroutinestate(made[0]) == inspect.CORO_CLOSED
    assert house.statuses() == [499]


def test_a_body_is_pushed(house):
    body = Pushing(b"one")
    house.add("/pushed", pushed(body))
    client = house.client(request("/pushed") + request())
    assert client.transport.writes == [client.received]
    assert client.replies("GET")[0].body == b"one"
    body.sink.push(b"two")
    body.sink.end(b"three")
    house.loop.settle()
    assert [reply.body for reply in client.replies("GET", "GET")] == [b"onetwothree", b"plain"]
    assert (body.cancelled, house.statuses()) == (0, [200, 200])


def test_the_head_of_a_pushed_body_does_not_wait_for_it(house):
    body = Pushing()
    house.add("/pushed", pushed(body, length=3))
    client = house.client(request("/pushed"))
    assert client.reply().status == 200
    body.sink.end(b"all")
    assert client.reply().whole


def test_a_pushed_body_is_paused_while_the_client_reads_nothing(house):
    body = Pushing()
    house.add("/pushed", pushed(body))
    client = house.client(request("/pushed"), window=100)
    body.sink.push(b"x" * 100_000)
    assert body.paused
    client.read()
    assert not body.paused
    body.sink.end(b"")
    assert client.reply().whole


def test_a_client_that_leaves_cancels_a_pushed_body(house):
    body = Pushing(b"one")
    house.add("/pushed", pushed(body))
    for leave in (Client.reset, Client.go):
        leave(house.client(request("/pushed")))
        house.loop.advance(1)
    assert (body.cancelled, house.statuses()) == (2, [499, 499])


@pytest.mark.parametrize("length", [None, 10], ids=["chunked", "sized"])
def test_a_pushed_body_that_fails_is_broken_off(house, length):
    body = Pushing(b"one")
    house.add("/pushed", pushed(body, length=length))
    client = house.client(request("/pushed"))
    body.sink.fail(ApiError(502, "Gone."))
    house.loop.settle()
    reply = client.reply()
    assert (reply.body, reply.whole, client.ended) == (b"one", False, True)
    assert house.statuses() == [502]


def test_a_pushed_stream_of_events_that_fails_tells_so(house):
    body = Pushing(b"data: one\n\n")
    house.add("/pushed", pushed(body, EVENTS))
    client = house.client(request("/pushed"))
    body.sink.fail(ApiError(502, "Gone."))
    house.loop.settle()
    assert b'data: {"error":{"message":"Gone."' in client.reply().body and not client.reply().whole


def test_a_pushed_body_that_fails_before_its_head_has_left_is_an_error(house):
    class Failing(Pushing):
        def begin(self, sink):
            sink.fail(ApiError(502, "Gone."))

    house.add("/pushed", pushed(Failing()))
    plain, failed = house.client(request() + request("/pushed")).replies("GET", "GET")
    assert plain.body == b"plain"
    assert check_openai_error(failed, 502) == "Gone."


@pytest.mark.parametrize(("sent", "cancelled"), [(b"too much", 1), (b"", 1)], ids=["long", "short"])
def test_a_pushed_body_that_is_not_of_its_length_is_broken_off(house, sent, cancelled):
    body = Pushing(b"on")
    house.add("/pushed", pushed(body, length=3))
    client = house.client(request("/pushed"))
    body.sink.end(sent)
    house.loop.settle()
    assert not client.reply().whole and client.ended
    assert (body.cancelled, house.statuses()) == (cancelled, [500])


@pytest.mark.parametrize("fields", [TEXT, EVENTS], ids=["text", "events"])
def test_a_body_that_the_connections_end_would_end_is_broken_off_by_a_reset(house, fields):
    """Else it would look whole (RFC 9112 §8); an event stream tells of the error instead."""
    house.add("/stream", streamed([b"one"], fails=ApiError(502, "Gone."), fields=fields))
    client = house.client(request("/stream", version="1.0"))
    assert client.transport.socket.resets is (fields is TEXT)
    assert (b"Gone." in client.received) is (fields is EVENTS)
    assert client.ended


@pytest.mark.parametrize("limit", ["head_timeout", "idle_timeout", "body_timeout"])
def test_a_limit_of_0_seconds_is_none(open_house, limit):
    house = open_house(**{"head_timeout": 5, "idle_timeout": 5, "body_timeout": 5, limit: 0})
    house.add("/echo", lambda request: text(request.body))
    idle = house.client(request())
    begun = house.client(request()[:-1])
    half_held = house.client(post("/echo", b"body")[:-1])
    house.loop.advance(10_000)
    lost = {"idle_timeout": idle.ended, "head_timeout": begun.ended, "body_timeout": half_held.ended}
    assert lost.pop(limit) is False
    assert list(lost.values()) == [True, True]


def test_answers_and_keeps_the_connection(house):
    client = house.client(request("/plain?one"), request("/plain?two"))
    first, second = client.replies("GET", "GET")
    assert (first.status, first.body, second.body) == (200, b"one", b"two")
    assert "connection" not in first.fields
    assert not client.ended
    assert [seen.head.query for seen in house.seen] == ["one", "two"]


def test_head_and_body_leave_in_one_write(house):
    client = house.client(request())
    assert len(client.transport.writes) == 1


@pytest.mark.parametrize(
    ("sent", "connection"),
    [
        (request("/plain", "connection: close"), "close"),
        (request(version="1.0"), "close"),
        (request("/plain", "connection: keep-alive", version="1.0"), "keep-alive"),
    ],
    ids=["1.1 close", "1.0", "1.0 keep-alive"],
)
def test_says_whether_it_keeps_the_connection(house, sent, connection):
    client = house.client(sent)
    assert client.reply().fields["connection"] == connection
    assert client.ended is (connection == "close")


def test_a_body_is_held_for_an_endpoint_that_wants_it_whole(house):
    house.add("/echo", lambda request: text(request.body))
    for body in (b"", b"x", b"abc" * 50_000):
        assert house.client(post("/echo", body)).reply("POST").body == body
    sent = request("/echo", "transfer-encoding: chunked", method="POST") + chunks(b"one", b"two", b"")
    whole = house.client(sent)
    bytewise = house.client(*(sent[at : at + 1] for at in range(len(sent))))
    assert whole.reply("POST").body == bytewise.reply("POST").body == b"onetwo"


@pytest.mark.parametrize("path", ["/plain", "/paced", "/at-once", "/stream", "/sized", "/task", "/nowhere"])
def test_head_gets_the_fields_and_no_body(house, path):
    house.add("/paced", paced(b"one", b"two", delay=0.1))
    house.add("/at-once", paced(b"one", b"two"))
    house.add("/stream", streamed([b"one", b"two"]))
    house.add("/sized", streamed([b"one", b"two"], length=6))
    house.add("/task", later(0.1))
    client = house.client(request(path, method="HEAD"), request("/plain?after"))
    house.loop.advance(1)
    head, after = client.replies("HEAD", "GET")
    assert (head.status, head.body, after.body) == (404 if path == "/nowhere" else 200, b"", b"after")


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_body_has_none_and_the_next_answer_follows(house, status):
    house.add("/empty", lambda request: Response(status, TEXT, b"ignored"))
    first, second = house.client(request("/empty") + request()).replies("GET", "GET")
    assert (first.status, first.body, second.body) == (status, b"", b"plain")


def test_two_thousand_pipelined_requests_come_back_in_order(house):
    client = house.client(b"".join(request(f"/plain?{number}") for number in range(2000)))
    found = client.replies(*["GET"] * 2000)
    assert [reply.body for reply in found] == [b"%d" % number for number in range(2000)]


def test_pipelined_requests_of_every_kind_come_back_in_order(house):
    house.add("/task", later(0.01))
    house.add("/paced", lambda request: paced(request.head.query.encode(), b"!", delay=0.01)(request))
    house.add("/stream", lambda request: streamed([request.head.query.encode(), b"?"], 0.01)(request))
    house.add("/upload", reads_its_body, streams_body=True)
    house.add("/echo", lambda request: text(request.body))
    kinds = ["/plain", "/task", "/paced", "/stream", "/upload", "/echo", "/nowhere"]
    sent, expected = b"", []
    for number in range(210):
        path = kinds[(number * number + number // 7) % len(kinds)]
        word = b"%d" % number
        sent += post(path, word) if path in ("/upload", "/echo") else request(f"{path}?{number}")
        expected.append({"/paced": word + b"!", "/stream": word + b"?", "/nowhere": None}.get(path, word))
    client = house.client(*(sent[at : at + 1000] for at in range(0, len(sent), 1000)))
    house.loop.advance(30)
    found = client.replies(*["GET"] * 210)
    assert [None if reply.status == 404 else reply.body for reply in found] == expected


def test_pipelined_requests_give_other_connections_their_turn(house):
    greedy = Client(house)
    greedy.transport.incoming = request() * 1000
    modest = Client(house)
    modest.transport.incoming = request()
    order = []
    house.endpoints["/plain"] = Endpoint(lambda request: order.append(len(order)) or text(""), "plain")
    modest_at = []
    house.add("/modest", lambda request: modest_at.append(len(order)) or text(""))
    modest.transport.incoming = request("/modest")
    house.loop.call_soon(greedy.transport.deliver)
    house.loop.call_soon(modest.transport.deliver)
    house.loop.settle()
    assert len(order) == 1000 and modest_at[0] < 100


def test_many_small_answers_leave_in_few_writes(house):
    client = house.client(request() * 160)
    assert len(client.replies(*["GET"] * 160)) == 160
    assert len(client.transport.writes) <= 12


# ---- requests that are broken ---------------------------------------------------------------------------------------


BROKEN = {
    "no request": (b"\x00\x01\x02", 400),
    "space before the colon": (b"GET / HTTP/1.1\r\nhost : x\r\n\r\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two lengths": (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", 400),
    "long target": (b"GET /%s HTTP/1.1\r\n" % (b"x" * 9000), 414),
    "long head": (b"GET / HTTP/1.1\r\nhost: x\r\nx: %s\r\n\r\n" % (b"x" * 70000), 431),
    "expectation": (b"POST / HTTP/1.1\r\nhost: x\r\nexpect: magic\r\ncontent-length: 1\r\n\r\n", 417),
    "coding": (b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip, chunked\r\n\r\n", 501),
    "version": (b"GET / HTTP/2.0\r\nhost: x\r\n\r\n", 505),
}


@pytest.mark.parametrize(("sent", "status"), BROKEN.values(), ids=BROKEN)
def test_a_broken_request_is_told_why_and_the_connection_ends(house, sent, status):
    client = house.client(sent)
    reply = client.reply()
    check_openai_error(reply, status)
    assert reply.fields["connection"] == "close"
    assert client.ended


@pytest.mark.parametrize(("sent", "status"), BROKEN.values(), ids=BROKEN)
def test_requests_before_a_broken_one_are_answered_first(house, sent, status):
    client = house.client(b"".join(request(f"/plain?{number}") for number in range(40)) + sent + request("/plain?no"))
    found = client.replies(*["GET"] * 42)
    assert [reply.body for reply in found[:-1]] == [b"%d" % number for number in range(40)]
    check_openai_error(found[-1], status)


def test_a_request_before_a_broken_one_is_answered_first_even_if_it_takes_its_time(house):
    house.add("/task", later(1.0))
    client = house.client(request("/task?slow") + b"broken\r\n\r\n")
    assert client.received == b""
    house.loop.advance(1)
    slow, broken = client.replies("GET", "GET")
    assert slow.body == b"slow"
    check_openai_error(broken, 400)


def test_a_broken_chunk_is_told_why(house):
    house.add("/echo", lambda request: text(request.body))
    house.add("/upload", reads_its_body, streams_body=True)
    for path in ("/echo", "/upload"):
        client = house.client(request(path, "transfer-encoding: chunked", method="POST") + b"3\r\nabcd\r\n")
        assert "chunk" in check_openai_error(client.reply("POST"), 400)
        assert client.ended
    assert house.statuses() == [400, 400]


def test_the_error_of_a_broken_request_has_not_the_shape_of_another_ones_endpoint(house):
    house.add("/door", lambda request: text("in"), errors=shapes(lambda error: text("door's own", error.status)))
    client = house.client(request("/door") + b"broken\r\n\r\n")
    check_openai_error(client.replies("GET", "GET")[1], 400)


def test_a_body_that_is_too_large_is_refused_before_it_comes(open_house):
    house = open_house(max_body="1k")
    house.add("/echo", lambda request: text(request.body))
    head = b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 1025\r\n\r\n"
    client = house.client(head)
    assert "1024" in check_openai_error(client.reply("POST"), 413)
    assert client.ended and house.statuses() == [413]
    assert house.client(post("/echo", b"x" * 1024)).reply("POST").status == 200
    late = house.client(request("/echo", "transfer-encoding: chunked", method="POST") + chunks(b"x" * 1000, b"x" * 25))
    check_openai_error(late.reply("POST"), 413)


def test_a_streamed_body_has_no_such_limit(open_house):
    house = open_house(max_body="1k")
    house.add("/upload", reads_its_body, streams_body=True)
    assert house.client(post("/upload", b"x" * 5000)).reply("POST").body == b"x" * 5000


# ---- time limits ----------------------------------------------------------------------------------------------------


def test_a_new_connection_has_to_begin_a_head(open_house):
    client = open_house(head_timeout=5).client()
    client.loop.advance(4.9)
    assert not client.transport.lost
    client.loop.advance(0.2)
    assert client.ended and client.received == b""
    client.loop.advance(2)
    assert client.transport.lost


def test_a_head_that_drips_is_timed_out_as_a_whole(open_house):
    client = open_house(head_timeout=5).client()
    for byte in request("/plain?long-enough-a-target")[:60]:
        client.send(bytes([byte]))
        client.loop.advance(0.1)
        if client.ended:
            break
    assert "head" in check_openai_error(client.reply(), 408)
    assert client.loop.now < 1005.5


def test_a_head_that_comes_in_time_is_answered(open_house):
    client = open_house(head_timeout=5).client()
    for byte in request():
        client.send(bytes([byte]))
        client.loop.advance(0.05)
    assert client.reply().status == 200


def test_a_kept_connection_is_closed_when_it_idles(open_house):
    client = open_house(idle_timeout=10, head_timeout=5).client(request())
    client.loop.advance(9.9)
    client.send(request())
    client.loop.advance(9.9)
    assert not client.ended
    client.loop.advance(0.2)
    assert client.ended and len(client.replies("GET", "GET")) == 2
    client.end()
    assert client.transport.lost


@pytest.mark.parametrize("path", ["/task", "/paced", "/stream"])
def test_idling_begins_after_the_answer(open_house, path):
    house = open_house(idle_timeout=10, head_timeout=5, body_timeout=5)
    house.add("/task", later(60))
    house.add("/paced", paced(b"one", b"two", first_delay=30, delay=30))
    house.add("/stream", streamed([b"one", b"two"], 30))
    client = house.client(request(path))
    house.loop.advance(69)
    assert client.reply().whole and not client.ended
    house.loop.advance(3)
    assert client.ended


def test_a_kept_connection_that_idles_with_an_answer_unread_is_closed(open_house):
    house = open_house(idle_timeout=10)
    client = house.client(request(), window=0)
    house.loop.advance(21)
    assert client.transport.lost


@pytest.mark.parametrize(("path", "streams"), [("/echo", False), ("/upload", True)], ids=["held", "streamed"])
def test_a_body_may_take_its_time_and_must_not_be_silent(open_house, path, streams):
    house = open_house(body_timeout=5)
    house.add("/echo", lambda request: text(request.body))
    house.add("/upload", reads_its_body, streams_body=True)
    sent = post(path, b"x" * 100)
    long = house.client(sent[:-100])
    for _ in range(100):
        house.loop.advance(4.5)
        long.send(b"x")
    assert long.reply("POST").status == 200
    silent = house.client(sent[:-100])
    house.loop.advance(4.5)
    silent.send(b"x")
    house.loop.advance(4.9)
    assert not silent.ended
    house.loop.advance(0.2)
    assert check_openai_error(silent.reply("POST"), 408) == "Nothing more of the body came for 5 seconds."
    assert house.statuses() == [200, 408]


def test_the_time_for_a_body_begins_anew_with_each_request(open_house):
    house = open_house(body_timeout=5)
    house.add("/echo", lambda request: text(request.body))
    client = house.client()
    for _ in range(3):
        sent = post("/echo", b"body")
        client.send(sent[:-1])
        house.loop.advance(4)
        client.send(sent[-1:])
    assert [reply.body for reply in client.replies("POST", "POST", "POST")] == [b"body"] * 3


def test_the_time_for_a_body_does_not_run_while_the_endpoint_does_not_read(open_house):
    house = open_house(body_timeout=5)

    async def answer(request):
        got = []
        async for part in request.stream:
            got.append(part)
            await asyncio.sleep(20)
        return text(b"".join(got))

    house.add("/upload", answer, streams_body=True)
    sent = post("/upload", b"abc")
    client = house.client(sent[:-2])
    house.loop.advance(24)  # four seconds of waiting for a byte
    client.send(sent[-2:-1])
    house.loop.advance(24)
    client.send(sent[-1:])
    house.loop.advance(21)
    assert client.reply("POST").body == b"abc"
    slow = house.client(sent[:-2])
    house.loop.advance(24)
    slow.send(sent[-2:-1])
    house.loop.advance(26)
    check_openai_error(slow.reply("POST"), 408)


def test_an_endpoint_may_answer_in_its_own_way_when_the_body_does_not_come(open_house):
    house = open_house(body_timeout=5)

    async def answer(request):
        try:
            return text(await read_all(request.stream))
        except ApiError as exc:
            return text(f"took too long: {exc.status}")

    house.add("/upload", answer, streams_body=True)
    client = house.client(post("/upload", b"abc")[:-1])
    house.loop.advance(6)
    reply = client.reply("POST")
    assert (reply.body, reply.fields["connection"]) == (b"took too long: 408", "close")


def test_the_time_for_a_body_runs_on_after_a_client_has_read_an_earlier_answer(open_house):
    house = open_house(body_timeout=5, idle_timeout=100)
    house.add("/large", lambda request: text(b"x" * 200_000))
    house.add("/echo", lambda request: text(request.body))
    client = house.client(request("/large") + post("/echo", b"body")[:-1], window=0)
    client.read()
    house.loop.advance(6)
    check_openai_error(client.replies("GET", "POST")[1], 408)


def test_a_client_that_reads_nothing_is_cut_off(open_house):
    house = open_house(idle_timeout=10)
    house.add("/large", lambda request: text(b"x" * 200_000))
    house.add("/stream", streamed([b"x" * 20_000] * 20))
    house.add("/paced", paced(*[b"x" * 20_000] * 20, delay=0.01))
    for path in ("/large", "/stream", "/paced"):
        client = house.client(request(path), window=100)
        house.loop.advance(9)
        assert not client.transport.lost
        house.loop.advance(2)
        assert client.transport.lost, path
    assert house.statuses() == [499, 499, 499]


@pytest.mark.parametrize("connection", ["keep-alive", "close"])
def test_a_client_that_reads_slowly_is_not_cut_off(open_house, connection):
    house = open_house(idle_timeout=10)
    house.add("/large", lambda request: text(b"x" * 300_000))
    client = house.client(request("/large", f"connection: {connection}"), window=0)
    for _ in range(62):
        client.read(5000)
        house.loop.advance(5)
    assert client.reply().whole


def test_a_client_that_sends_a_body_and_reads_nothing_is_cut_off(open_house):
    house = open_house(idle_timeout=10, body_timeout=3600)

    async def echo(request):
        async for part in request.stream:
            yield part * 1000

    house.add("/echo", lambda request: Response(200, TEXT, echo(request)), streams_body=True)
    body = b"x" * 100
    client = house.client(post("/echo", body)[:-100], window=100)
    for _ in range(100):
        client.send(b"x")
    house.loop.advance(11)
    assert client.transport.lost


def test_one_timer_serves_the_limits_of_many_requests(house):
    client = house.client(request())
    before = house.loop.timers
    for _ in range(200):
        client.send(request())
    assert house.loop.timers - before < 5


# ---- back-pressure --------------------------------------------------------------------------------------------------


def test_a_client_that_stops_reading_stops_its_producer_and_gets_all_when_it_reads_on(house):
    made = []
    house.add("/stream", streamed([b"%05d" % number * 200 for number in range(1000)], made=made))
    client = house.client(request("/stream"), window=10_000)
    house.loop.advance(5)
    pulled = made[0].pulled
    assert pulled < 100 and len(client.transport.unsent) < 80_000
    house.loop.advance(5)
    assert made[0].pulled == pulled
    client.read(30_000)
    assert made[0].pulled == pulled, "above the low-water mark nothing is pulled"
    client.read(60_000)
    assert pulled < made[0].pulled < pulled + 150
    client.read()
    reply = client.reply()
    assert reply.whole and reply.body == b"".join(b"%05d" % number * 200 for number in range(1000))
    assert made[0].closed


def test_a_client_that_stops_reading_stops_a_paced_answer_and_gets_each_frame_once(house):
    frames = [b"%05d" % number * 400 for number in range(100)]
    house.add("/paced", paced(*frames, delay=0.1))
    client = house.client(request("/paced"), window=0)
    house.loop.advance(60)
    assert 65_536 < len(client.transport.unsent) < 70_000
    client.read(1000)
    house.loop.advance(1)
    assert len(client.transport.unsent) < 70_000
    client.read()
    house.loop.advance(10)
    reply = client.reply()
    assert reply.whole and reply.body == b"".join(frames)


def test_a_client_that_reads_no_answers_is_not_read_either(house):
    house.add("/large", lambda request: text(b"x" * 10_000))
    sent = b"".join(request("/large" if number % 2 else f"/plain?{number}") for number in range(20_000))
    client = house.client(sent, window=0)
    house.loop.advance(1)
    assert len(house.seen) < 100
    assert len(client.transport.unsent) < 300_000
    assert len(client.transport.incoming) > 500_000 and not client.transport.reading
    client.read()
    house.loop.advance(1)
    assert len(house.seen) == 20_000
    assert client.transport.reading


def test_an_answer_that_takes_its_time_stops_the_reading_of_further_requests(house):
    house.add("/task", later(1))
    client = house.client(request("/task") + b"".join(request(f"/plain?{number}") for number in range(10_000)))
    house.loop.advance(0.9)
    assert len(client.transport.incoming) > 200_000
    house.loop.advance(0.2)
    found = client.replies(*["GET"] * 10_001)
    assert [reply.body for reply in found[1:]] == [b"%d" % number for number in range(10_000)]


def test_an_endpoint_that_does_not_read_its_body_pauses_the_socket(house):
    async def answer(request):
        await asyncio.sleep(10)
        return text(b"%d" % len(await read_all(request.stream)))

    house.add("/upload", answer, streams_body=True)
    client = house.client(post("/upload", b"x" * 5_000_000))
    house.loop.advance(9)
    assert not client.transport.reading
    assert len(client.transport.incoming) > 4_700_000
    house.loop.advance(2)
    assert client.reply("POST").body == b"5000000"


def test_a_large_body_is_handed_on_as_it_comes(house):
    sizes = []

    async def answer(request):
        async for part in request.stream:
            sizes.append(len(part))
        return text(b"done")

    house.add("/upload", answer, streams_body=True)
    client = house.client(post("/upload", b"x" * 1_000_000)[:-500_000])
    assert sum(sizes) > 450_000
    client.send(b"x" * 500_000)
    assert sum(sizes) == 1_000_000 and max(sizes) <= 65_536 * 2
    assert client.reply("POST").body == b"done"


# ---- Expect: 100-continue -------------------------------------------------------------------------------------------

EXPECT = "expect: 100-continue"


@pytest.mark.parametrize(("path", "streams"), [("/echo", False), ("/upload", True)], ids=["held", "streamed"])
def test_a_body_that_is_wanted_is_asked_for(house, path, streams):
    house.add("/echo", lambda request: text(request.body))
    house.add("/upload", reads_its_body, streams_body=True)
    sent = post(path, b"body", EXPECT)
    client = house.client(sent[:-4])
    assert client.received == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(sent[-4:])
    reply = client.reply("POST")
    assert (reply.interim, reply.body) == ([100], b"body")
    # Who sends the body with the head need not be asked for it.
    hasty = house.client(sent).reply("POST")
    assert (hasty.interim, hasty.body) == ([], b"body")


def test_a_streamed_body_is_asked_for_only_when_it_is_read(house):
    async def answer(request):
        await asyncio.sleep(1)
        return text(await read_all(request.stream))

    house.add("/upload", answer, streams_body=True)
    sent = post("/upload", b"body", EXPECT)
    client = house.client(sent[:-4])
    house.loop.advance(0.9)
    assert client.received == b""
    house.loop.advance(0.2)
    assert client.received == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(sent[-4:])
    assert client.reply("POST").body == b"body"


@pytest.mark.parametrize("path", ["/nowhere", "/early", "/early-task", "/large"])
def test_a_body_that_is_not_wanted_is_not_asked_for(open_house, path):
    house = open_house(max_body="1k")
    house.add("/early", lambda request: text("no, thanks"), streams_body=True)
    house.add("/early-task", later(0.1, text("no, thanks")), streams_body=True)
    house.add("/large", lambda request: text(request.body))
    client = house.client(post(path, b"x" * 2000, EXPECT)[:-2000])
    house.loop.advance(1)
    reply = client.reply("POST")
    assert reply.interim == [] and reply.whole and reply.fields["connection"] == "close"


def test_nothing_is_asked_for_in_the_middle_of_an_answer(house):
    async def echo(request):
        yield b"first "
        async for part in request.stream:
            yield part

    house.add("/echo", lambda request: Response(200, TEXT, echo(request)), streams_body=True)
    sent = post("/echo", b"body", EXPECT)
    client = house.client(sent[:-4])
    house.loop.advance(1)
    client.send(sent[-4:])
    reply = client.reply("POST")
    assert (reply.body, reply.whole) == (b"first body", True)


def test_http_1_0_and_requests_without_body_are_not_asked(house):
    assert b" 100 " not in house.client(request("/plain", EXPECT)).received
    house.add("/echo", lambda request: text(request.body))
    sent = request("/echo", EXPECT, method="POST", version="1.0", body=b"body")
    client = house.client(sent[:-4])
    assert client.received == b""
    client.send(sent[-4:])
    assert client.reply("POST").body == b"body"


# ---- clients that end their side, and clients that leave ------------------------------------------------------------


def add_kinds(house):
    house.add("/task", later(1.0))
    house.add("/paced", paced(b"paced", b"!", first_delay=1.0, delay=1.0))
    house.add("/stream", streamed([b"stream", b"!"], 1.0))
    house.add("/sized", streamed([b"sized", b"!"], 1.0, length=6))
    house.add("/upload", reads_its_body, streams_body=True)


HALF_CLOSE = {
    "plain": (request("/plain?plain"), b"plain"),
    "task": (request("/task?task"), b"task"),
    "paced": (request("/paced"), b"paced!"),
    "stream": (request("/stream"), b"stream!"),
    "upload": (post("/upload", b"upload"), b"upload"),
    "1.0 plain": (request("/plain?plain", version="1.0"), b"plain"),
}


@pytest.mark.parametrize(("sent", "body"), HALF_CLOSE.values(), ids=HALF_CLOSE)
def test_a_client_that_ends_its_side_still_gets_its_answer(house, sent, body):
    add_kinds(house)
    client = house.client(sent)
    client.end()
    house.loop.advance(5)
    reply = client.reply()
    assert (reply.status, reply.body, reply.whole) == (200, body, True)
    assert client.transport.lost
    assert house.statuses() == [200]


@pytest.mark.parametrize(("sent", "body"), HALF_CLOSE.values(), ids=HALF_CLOSE)
def test_a_client_that_ends_its_side_with_its_last_bytes_still_gets_its_answer(house, sent, body):
    add_kinds(house)
    client = Client(house)
    client.transport.incoming = request("/plain?first") + sent
    client.end()
    house.loop.advance(5)
    first, reply = client.replies("GET", "GET")
    assert (first.body, reply.body, reply.whole) == (b"first", body, True)
    assert client.transport.lost


def test_all_pipelined_requests_of_a_client_that_ended_its_side_are_answered(house):
    add_kinds(house)
    client = Client(house)
    client.transport.incoming = b"".join(request(f"/{kind}?{kind}") for kind in ("task", "plain", "stream") * 20)
    client.end()
    house.loop.advance(70)
    assert [reply.body for reply in client.replies(*["GET"] * 60)] == [b"task", b"plain", b"stream!"] * 20
    assert client.transport.lost


def test_the_end_within_a_head_is_told(house):
    client = house.client(b"GET / HTTP")
    client.end()
    check_openai_error(client.reply(), 400)


def test_the_end_within_a_held_body_is_told(house):
    house.add("/echo", lambda request: text(request.body))
    client = house.client(post("/echo", b"body")[:-1])
    client.end()
    check_openai_error(client.reply("POST"), 400)


def test_the_end_within_a_streamed_body_is_told(house):
    house.add("/upload", reads_its_body, streams_body=True)
    client = house.client(post("/upload", b"body")[:-1])
    client.end()
    house.loop.advance(1)
    check_openai_error(client.reply("POST"), 400)


def test_the_end_between_requests_closes(house):
    client = house.client(request())
    client.end()
    assert client.transport.lost and client.reply().whole


LEAVING = [
    (phase, how, version)
    for phase in ("before the head", "before the first part", "within the stream", "sized", "upload")
    for how in ("go", "reset", "end")
    for version in ("1.1", "1.0")
    # What broke off is answered with 400. An end is taken for leaving only where nothing fits in that means nothing.
    if not (phase == "upload" and how != "reset")
    if not (how == "end" and version == "1.1" and phase != "sized")
]


@pytest.mark.parametrize(("phase", "how", "version"), LEAVING, ids=[", ".join(case) for case in LEAVING])
def test_a_client_that_leaves_cancels_its_request_at_once(house, phase, how, version):
    ended = []

    async def answer(request):
        try:
            if phase == "upload":
                await read_all(request.stream)
            if phase == "before the head":
                await asyncio.sleep(1000)
        except asyncio.CancelledError:
            ended.append("task")
            raise
        return Response(200, TEXT, body(), length=1000 if phase == "sized" else None)

    async def body():
        try:
            if phase in ("within the stream", "sized"):
                yield b"something"
            await asyncio.sleep(1000)
        finally:
            ended.append("body")

    house.add("/slow", answer, streams_body=phase == "upload")
    client = house.client(post("/slow", b"body")[:-1] if phase == "upload" else request("/slow", version=version))
    house.loop.advance(1)
    getattr(client, how)()
    house.loop.advance(0.05)
    assert ended == (["task"] if phase in ("before the head", "upload") else ["body"])
    assert house.statuses() == [499]
    assert house.server.connections == set()


def test_a_client_that_leaves_a_paced_answer_ends_it(house):
    house.add("/paced", paced(*[b"frame"] * 100, delay=0.1))
    client = house.client(request("/paced"))
    house.loop.advance(1)
    client.reset()
    house.loop.advance(0.2)
    assert house.statuses() == [499]
    before = len(client.transport.writes)
    house.loop.advance(5)
    assert len(client.transport.writes) == before


def test_the_probe_of_a_client_that_ended_its_side_does_not_show_in_what_it_reads(house):
    house.add("/stream", streamed([b"one", b"two"], 1.0, fields=EVENTS))
    client = house.client(request("/stream"))
    house.loop.advance(1.5)
    client.end()
    house.loop.advance(1)
    reply = client.reply()
    assert (reply.body, reply.whole) == (b"onetwo", True)
    before_the_head = house.client(request("/stream"))
    before_the_head.end()
    house.loop.advance(3)
    assert before_the_head.reply().body == b"onetwo"
    no_body = house.client(request("/stream", method="HEAD") + request())
    house.loop.advance(0.5)
    no_body.end()
    house.loop.advance(3)
    assert [reply.body for reply in no_body.replies("HEAD", "GET")] == [b"", b"plain"]


def test_a_body_whose_end_is_out_is_not_probed(house):
    async def body():
        try:
            yield b"one"
        finally:
            await asyncio.sleep(1)

    house.add("/stream", lambda request: Response(200, TEXT, body()))
    client = house.client(request("/stream") + request())
    house.loop.advance(0.5)
    client.end()
    house.loop.advance(1)
    assert [reply.body for reply in client.replies("GET", "GET")] == [b"one", b"plain"]


def test_an_endpoint_that_will_not_be_cancelled_is_let_go_of(house):
    async def stubborn(request):
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            await asyncio.sleep(1)
        return text("for nobody")

    async def stubborn_stream():
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            pass
        yield b"for nobody"

    async def translates(request):
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError as exc:
            raise ApiError(502, "went wrong") from exc

    async def answers_with_stream(request):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(1)
        return Response(200, TEXT, stubborn_stream())

    house.add("/task", stubborn)
    house.add("/stream", lambda request: Response(200, TEXT, stubborn_stream()))
    house.add("/translates", translates)
    house.add("/both", answers_with_stream)
    for path in ("/task", "/stream", "/translates", "/both"):
        client = house.client(request(path))
        house.loop.advance(0.5)
        client.reset()
        house.loop.advance(3)
        assert b"nobody" not in client.received
    assert house.statuses() == [499] * 4


# ---- endpoints that fail --------------------------------------------------------------------------------------------


def raising(exc):
    def answer(request):
        raise exc

    return answer


def raising_later(exc):
    async def answer(request):
        await asyncio.sleep(0)
        raise exc

    return answer


FAILURES = {
    "ApiError": (ApiError(429, "too fast", fields=[("retry-after", "7")]), 429),
    "BackendFailed": (BackendFailed(Response(502, [("content-type", "application/json")], b'{"error":{}}')), 502),
    "a defect": (ValueError(f"the key was {SECRET}"), 500),
}


@pytest.mark.parametrize("make", [raising, raising_later])
@pytest.mark.parametrize(("exc", "status"), FAILURES.values(), ids=FAILURES)
def test_what_an_endpoint_raises_becomes_its_answer(house, exc, status, make):
    house.add("/fails", make(exc))
    failed, after = house.client(request("/fails") + request()).replies("GET", "GET")
    assert (failed.status, after.body) == (status, b"plain")
    if status != 502:
        check_openai_error(failed, status)
    if status == 429:
        assert failed.fields["retry-after"] == "7"
    assert SECRET.encode() not in failed.body
    assert house.statuses() == [status, 200]


def test_an_error_of_an_endpoint_takes_its_shape(house):
    def door(error):
        return text(f"door: {error.message}", error.status)

    house.add("/fails", raising(ApiError(400, "no")), errors=shapes(door))
    house.add("/defect", raising_later(KeyError("x")), errors=shapes(door))
    assert house.client(request("/fails")).reply().body == b"door: no"
    assert house.client(request("/defect")).reply().body.startswith(b"door: The server had an error")


def test_a_route_may_refuse_and_the_connection_goes_on(house):
    missing, after = house.client(request("/nowhere") + request()).replies("GET", "GET")
    assert "/nowhere" in check_openai_error(missing, 404)
    assert after.body == b"plain"


def test_a_defect_in_routing_is_a_500(house):
    house.endpoints = None
    check_openai_error(house.client(request()).reply(), 500)


UNUSABLE = {
    "field that breaks out": lambda: Response(200, [("x", "a\r\nb")], b"body"),
    "unknown status": lambda: Response(999, TEXT, b"body"),
    "no bytes": lambda: Response(200, TEXT, "text"),
    "no response": lambda: None,
    "number": lambda: 7,
    "frames of text": lambda: Response(200, TEXT, Paced(["text"], first_delay=0, delay=0)),
}


@pytest.mark.parametrize("as_task", [False, True], ids=["at once", "as a task"])
@pytest.mark.parametrize("make", UNUSABLE.values(), ids=UNUSABLE)
def test_an_answer_that_cannot_be_sent_is_a_500(house, make, as_task):
    async def answer(request):
        return make()

    house.add("/bad", answer if as_task else lambda request: make())
    client = house.client(request("/bad"))
    house.loop.advance(1)
    check_openai_error(client.reply(), 500)
    assert house.statuses() == [500]


@pytest.mark.parametrize(("exc", "status"), FAILURES.values(), ids=FAILURES)
def test_a_stream_that_fails_before_its_first_part_is_an_error_answer(house, exc, status):
    house.add("/stream", streamed([], fails=exc, fields=EVENTS))
    failed, after = house.client(request("/stream") + request()).replies("GET", "GET")
    assert (failed.status, failed.whole, after.body) == (status, True, b"plain")
    assert house.statuses() == [status, 200]


@pytest.mark.parametrize("pause", [0.0, 1.0], ids=["at once", "later"])
@pytest.mark.parametrize(("exc", "status"), [FAILURES["ApiError"], FAILURES["a defect"]], ids=["ApiError", "a defect"])
def test_a_stream_of_events_that_fails_tells_so_and_breaks_off(house, exc, status, pause):
    house.add("/stream", streamed([b"data: one\n\n"], pause, fails=exc, fields=EVENTS))
    client = house.client(request("/stream"))
    house.loop.advance(3)
    reply = client.reply()
    assert reply.status == 200 and not reply.whole and client.ended
    first, event, rest = reply.body.split(b"\n\n")
    assert (first, rest) == (b"data: one", b"")
    assert set(json.loads(event[len(b"data: ") :])["error"]) == {"message", "type", "param", "code"}
    assert b"[DONE]" not in reply.body and SECRET.encode() not in reply.body
    assert house.statuses() == [status]


@pytest.mark.parametrize("length", [None, 100], ids=["chunked", "sized"])
def test_a_body_that_fails_midway_is_broken_off(house, length):
    made = []
    house.add("/stream", streamed([b"one"], fails=ValueError(SECRET), length=length, made=made))
    client = house.client(request("/stream"))
    reply = client.reply()
    assert (reply.status, reply.body, reply.whole) == (200, b"one", False)
    assert client.ended and made[0].closed


@pytest.mark.parametrize("parts", [[b"12345", b"67890!"], [b"1234"]], ids=["long", "short"])
def test_a_body_that_is_not_of_its_length_is_broken_off(house, parts):
    house.add("/sized", streamed(parts, 0.1, length=10))
    client = house.client(request("/sized") + request())
    house.loop.advance(1)
    reply = client.replies("GET", "GET")[0]
    assert not reply.whole and client.ended
    assert house.statuses() == [500]


def test_a_body_of_its_length_is_whole(house):
    house.add("/sized", streamed([b"12345", b"", b"67890"], length=10))
    sized, after = house.client(request("/sized") + request()).replies("GET", "GET")
    assert (sized.body, sized.fields["content-length"], after.body) == (b"1234567890", "10", b"plain")


@pytest.mark.parametrize("window", [None, 0], ids=["while it waits", "while it is stopped"])
def test_the_cleaning_up_of_a_body_that_fails_does_no_harm(house, window):
    async def body():
        try:
            yield b"x" * 100_000
            await asyncio.sleep(1000)
        finally:
            raise ValueError(SECRET)

    house.add("/stream", lambda request: Response(200, TEXT, body()))
    client = house.client(request("/stream"), window=window)
    client.reset()
    house.loop.advance(1)
    assert house.statuses() == [499]


def test_a_stream_for_http_1_0_ends_with_the_connection(house):
    house.add("/stream", streamed([b"one", b"two"]))
    client = house.client(request("/stream", "connection: keep-alive", version="1.0"))
    reply = client.reply()
    assert reply.body == b"onetwo" and client.ended
    assert "transfer-encoding" not in reply.fields and reply.fields["connection"] == "close"


def test_the_head_leaves_with_the_first_part(house):
    house.add("/stream", streamed([b"one"]))
    client = house.client(request("/stream"))
    assert b"one" in client.transport.writes[0]


def test_the_head_does_not_wait_for_a_part_that_takes_its_time(house):
    house.add("/stream", streamed([b"one"], 10))
    client = house.client(request("/stream"))
    assert client.received.startswith(b"HTTP/1.1 200 OK\r\n")


# ---- early answers --------------------------------------------------------------------------------------------------


EARLY = {"unknown path": ("/nowhere", 404), "stream unread": ("/early", 200), "stream, task": ("/early-task", 200)}


@pytest.mark.parametrize(("path", "status"), EARLY.values(), ids=EARLY)
def test_an_answer_before_the_body_ends_the_connection_in_stages(house, path, status):
    house.add("/early", lambda request: text("early"), streams_body=True)
    house.add("/early-task", later(0.01, text("early")), streams_body=True)
    client = house.client(post(path, b"x" * 100_000)[:-50_000])
    house.loop.advance(0.1)
    reply = client.reply("POST")
    assert (reply.status, reply.fields["connection"]) == (status, "close")
    assert client.transport.eof_written and not client.transport.lost
    client.send(b"x" * 50_000 + request())
    assert not client.transport.lost and client.replies("POST", "GET") == [reply]
    client.end()
    assert client.transport.lost


@pytest.mark.parametrize(("path", "status"), EARLY.values(), ids=EARLY)
def test_an_answer_before_a_body_that_has_come_keeps_the_connection(house, path, status):
    house.add("/early", lambda request: text("early"), streams_body=True)
    house.add("/early-task", later(0.01, text("early")), streams_body=True)
    client = house.client(post(path, b"x" * 1000) + request())
    house.loop.advance(0.1)
    early, after = client.replies("POST", "GET")
    assert (early.status, after.body) == (status, b"plain")


def test_a_staged_close_ends_though_the_client_does_not(house):
    client = house.client(request("/plain", "connection: close"))
    assert client.transport.eof_written and not client.transport.lost
    house.loop.advance(60)
    assert client.transport.lost


def test_a_staged_close_ends_though_the_client_sends_on_and_on(house):
    client = house.client(post("/nowhere", b"x" * 10**6)[:100])
    for _ in range(1000):
        client.send(b"x" * 1000)
        house.loop.advance(0.1)
    assert client.transport.lost


@pytest.mark.parametrize("path", ["/large", "/stream", "/paced"])
def test_a_last_answer_is_not_cut_off_while_the_client_reads_it(house, path):
    house.add("/large", lambda request: text(b"x" * 500_000))
    house.add("/stream", streamed([b"x" * 50_000] * 10))
    house.add("/paced", paced(*[b"x" * 50_000] * 10, delay=0.01))
    client = house.client(request(path, "connection: close"), window=0)
    for _ in range(60):
        house.loop.advance(1)
        client.read(10_000)
    reply = client.reply()
    assert reply.whole and len(reply.body) == 500_000


def test_a_last_answer_that_nobody_reads_is_given_up(open_house):
    house = open_house(idle_timeout=10)
    house.add("/large", lambda request: text(b"x" * 500_000))
    client = house.client(request("/large", "connection: close"), window=0)
    small = house.client(request("/plain", "connection: close"), window=0)
    gone = house.client(request("/plain"), window=0)
    gone.end()
    house.loop.advance(11)
    assert client.transport.lost and small.transport.lost and gone.transport.lost


# ---- changing the protocol ------------------------------------------------------------------------------------------

UPGRADE = ("connection: upgrade", "upgrade: echo")


def add_tunnel(house):
    async def shout(request):
        yield b"hello "
        async for part in request.stream:
            yield part.upper()
        yield b"bye"

    fields = [("connection", "upgrade"), ("upgrade", "echo")]
    house.add("/tunnel", lambda request: Response(101, fields, shout(request)), streams_body=True)


def test_a_tunnel_carries_bytes_both_ways(house):
    add_tunnel(house)
    client = house.client(request("/tunnel", *UPGRADE) + b"early ")
    head, _, rest = client.received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert b"content-length" not in head and b"transfer-encoding" not in head and b"close" not in head
    assert rest == b"hello EARLY "
    client.send(b"GET / HTTP/1.1\r\n\r\n")
    house.loop.advance(1000)  # no limit of HTTP's holds within
    client.send(b"x" * 200_000)
    client.end()
    rest = client.received.partition(b"\r\n\r\n")[2]
    assert rest == b"hello EARLY GET / HTTP/1.1\r\n\r\n" + b"X" * 200_000 + b"bye"
    assert client.transport.lost
    assert house.statuses() == [101]


def test_a_tunnel_that_the_endpoint_ends_ends_the_connection(house):
    async def one():
        yield b"one"

    house.add("/tunnel", lambda request: Response(101, [], one()), streams_body=True)
    client = house.client(request("/tunnel", *UPGRADE) + request())
    assert client.received.endswith(b"\r\n\r\none") and client.ended
    assert house.statuses() == [101]


def test_a_tunnel_is_bounded_both_ways(house):
    async def mirror(request):
        async for part in request.stream:
            yield part

    house.add("/tunnel", lambda request: Response(101, [], mirror(request)), streams_body=True)
    client = house.client(request("/tunnel", *UPGRADE), window=1000)
    client.send(b"~" * 2_000_000)
    assert len(client.transport.unsent) < 150_000 and len(client.transport.incoming) > 1_500_000
    client.read()
    assert client.received.count(b"~") == 2_000_000


def test_a_client_that_leaves_a_tunnel_ends_it(house):
    ended = []

    async def silent(request):
        try:
            await read_all(request.stream)
            yield b""
        finally:
            ended.append(True)

    house.add("/tunnel", lambda request: Response(101, [], silent(request)), streams_body=True)
    client = house.client(request("/tunnel", *UPGRADE))
    client.reset()
    house.loop.advance(0.05)
    assert ended == [True] and house.statuses() == [499]


def add_stuck_tunnel(house):
    """Add a tunnel to where nothing is taken, but for the first bytes; return a list that tells of its end."""
    ended = []

    async def stuck(request):
        try:
            yield await request.stream.__anext__()
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append(True)

    house.add("/tunnel", lambda request: Response(101, [], stuck(request)), streams_body=True)
    return ended


def test_a_tunnel_that_is_stuck_does_not_outlive_its_client(house):
    ended = add_stuck_tunnel(house)
    client = house.client(request("/tunnel", *UPGRADE) + b"~")
    house.loop.advance(1000)
    client.end()
    house.loop.advance(1.9)  # what was said may still be on its way
    assert ended == []
    house.loop.advance(0.2)
    assert ended == [True] and client.transport.lost and house.statuses() == [499]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of an end behind bytes that are not read")
def test_a_tunnel_that_is_stuck_does_not_outlive_a_client_whose_end_is_not_read(house):
    ended = add_stuck_tunnel(house)
    client = house.client(request("/tunnel", *UPGRADE) + b"~")
    client.send(b"~" * 500_000)
    house.loop.advance(1000)  # a client that stays may wait
    assert client.transport.incoming and not ended
    client.end()
    house.loop.advance(1.9)
    assert ended == []
    house.loop.advance(1.2)  # it is seen within a second
    assert ended == [True] and client.transport.lost and house.statuses() == [499]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of an end behind bytes that are not read")
def test_an_end_behind_a_body_that_is_not_read_yet_is_no_leaving(house):
    async def late(request):
        await asyncio.sleep(60)
        return text(await read_all(request.stream))

    house.add("/late", late, streams_body=True)
    client = house.client(post("/late", b"x" * 500_000))
    client.end()
    house.loop.advance(61)
    assert len(client.reply("POST").body) == 500_000


# ---- everything at once ---------------------------------------------------------------------------------------------


def add_every_kind(house):
    async def echo_as_it_comes(request):
        async for part in request.stream:
            yield part

    house.add("/large", lambda request: text(b"x" * 200_000))
    house.add("/task", later(0.5))
    house.add("/paced", paced(*[b"x" * 5000] * 20, first_delay=0.1, delay=0.05))
    house.add("/stream", streamed([b"x" * 20_000] * 10, 0.1))
    house.add("/quick", streamed([b"x" * 20_000] * 10, length=200_000))
    house.add("/echo", lambda request: text(request.body))
    house.add("/upload", reads_its_body, streams_body=True)
    house.add("/both", lambda request: Response(200, TEXT, echo_as_it_comes(request)), streams_body=True)
    house.add("/fails", streamed([b"x"], 0.1, fails=ValueError(SECRET), fields=EVENTS))
    house.add("/never", never)
    add_tunnel(house)


def any_requests(random, methods_of_reading):
    """Return the bytes of some requests, their methods, and how they end."""
    sent, methods = b"", []
    end = random.choice(["good"] * 7 + ["never", "tunnel", "broken"])
    for _ in range(random.randrange(1, 8)):
        path = random.choice(["/plain?7", "/large", "/task?8", "/paced", "/stream", "/quick", "/fails", "/nowhere"])
        fields = random.choice([(), (), (), ("connection: close",), ("connection: keep-alive",)])
        method, version = random.choice(methods_of_reading), random.choice(["1.1", "1.1", "1.0"])
        if random.random() < 0.4:
            path = random.choice(["/echo", "/upload", "/both", "/nowhere", "/stream"])
            body = bytes(random.randrange(97, 123) for _ in range(random.choice([0, 1, 50, 3000])))
            expect = random.choice([(), (), (EXPECT,)])
            if random.random() < 0.5:
                sent += post(path, body, *fields, *expect)
            else:
                sent += request(path, "transfer-encoding: chunked", *fields, *expect, method="POST")
                sent += chunks(body[:10], body[10:], b"") if len(body) > 10 else chunks(b"")
            methods.append("POST")
        else:
            sent += request(path, *fields, method=method, version=version)
            methods.append(method)
    if end == "never":
        sent += request("/never")
    elif end == "tunnel":
        sent += request("/tunnel", *UPGRADE)
    elif end == "broken":
        sent += b"\0" + sent
    return sent, methods, end


@pytest.mark.parametrize("seed", range(60))
def test_whatever_clients_do_answers_are_well_formed_and_nothing_is_left(open_house, seed):
    random = Random(seed)
    house = open_house(idle_timeout=5, head_timeout=3, body_timeout=4)
    add_every_kind(house)
    clients = []
    for _ in range(4):
        # Who may be told of an error in the place of an answer to HEAD could not know that it has a body.
        is_steady = random.random() < 0.5
        sent, methods, end = any_requests(random, ["GET", "HEAD"] if is_steady else ["GET"])
        client = house.client(window=random.choice([None, None, 0, 5000]))
        clients.append((client, methods, end in ("never", "tunnel")))
        while sent:
            size = random.choice([1, 7, 100, 1000, 100_000])
            client.send(sent[:size])
            sent = sent[size:]
            act = random.random() + is_steady
            if act < 0.3:
                house.loop.advance(random.choice([0.0, 0.01, 0.3, 2.0]))
            elif act < 0.35:
                client.read(random.choice([10, 10_000, 300_000]) if client.transport.window is not None else None)
            elif act < 0.36:
                random.choice([client.end, client.go, client.reset])()
                break
    for client, _, _ in clients:
        if random.random() < 0.5:
            client.end()
        if random.random() < 0.7:
            client.read()
    if random.random() < 0.2:
        house.start(house.server.drain())
    house.loop.advance(200)
    for client, methods, may_last in clients:
        assert client.transport.lost or may_last
        if b" 101 " not in client.received:
            # Reading asserts the form of all that was received.
            client.replies(*methods, *["GET"] * 3)


# ---- how many, and the end ------------------------------------------------------------------------------------------


def test_a_connection_too_many_is_told_503(open_house):
    house = open_house(max_connections=2)
    first, second = house.client(), house.client()
    third = house.client()
    reply = third.reply()
    assert "2" in check_openai_error(reply, 503)
    assert reply.fields["retry-after"] == "1" and reply.fields["connection"] == "close"
    first.send(request())
    assert first.reply().status == 200
    third.end()
    second.end()
    assert house.client(request()).reply().status == 200


def test_draining_lets_running_requests_end_and_says_close(house):
    add_kinds(house)
    clients = [house.client(sent) for sent in (request("/task?x"), request("/paced"), request("/stream"))]
    idle = house.client(request())
    draining = house.start(house.server.drain())
    assert house.server.draining
    idle.send(request())
    assert [reply.fields.get("connection") for reply in idle.replies("GET", "GET")] == [None, "close"]
    assert idle.ended
    house.loop.advance(1.5)
    assert not draining.done()
    house.loop.advance(2)
    assert draining.done()
    assert [client.reply().whole for client in clients] == [True] * 3
    assert clients[0].reply().fields["connection"] == "close"
    assert house.statuses() == [200] * 5


def test_draining_cuts_off_what_takes_too_long(open_house):
    house = open_house(drain_timeout=5)
    house.add("/never", never)
    house.add("/stream", streamed([b"part"] * 1000, 0.1))
    clients = [house.client(request("/never")), house.client(request("/stream"))]
    draining = house.start(house.server.drain())
    house.loop.advance(4.9)
    assert not draining.done() and not any(client.transport.lost for client in clients)
    house.loop.advance(0.5)
    assert draining.done() and all(client.transport.lost for client in clients)
    assert house.statuses() == [499, 499]


def test_draining_waits_until_answers_have_left(house):
    house.add("/large", lambda request: text(b"x" * 500_000))
    client = house.client(request("/large"), window=0)
    draining = house.start(house.server.drain())
    house.loop.advance(1)
    assert not draining.done()
    client.read()
    house.loop.advance(1)
    assert draining.done() and client.reply().whole


def test_draining_waits_a_moment_for_requests_on_kept_connections(house):
    clients = [house.client(), house.client(request())]
    draining = house.start(house.server.drain())
    house.loop.advance(0.4)
    assert not draining.done() and not any(client.transport.lost for client in clients)
    clients[1].send(request())
    assert clients[1].replies("GET", "GET")[1].fields["connection"] == "close" and clients[1].ended
    house.loop.advance(0.2)
    assert draining.done() and all(client.transport.lost for client in clients)


def test_closing_ends_everything_at_once(house):
    add_kinds(house)
    house.add("/never", never)
    made = []
    house.add("/silent", streamed([b"x"], 1000, made=made))
    paths = ("/plain", "/task", "/paced", "/never", "/silent")
    clients = [house.client(request(path)) for path in paths]
    house.add("/large", lambda request: text(b"x" * 500_000))
    clients.append(house.client(request("/large"), window=0))
    clients.append(house.client(post("/nowhere", b"body")[:-1]))
    closing = house.start(house.server.close())
    house.loop.advance(0.01)
    assert closing.done() and house.server.connections == set()
    assert all(client.transport.lost for client in clients)
    assert made[0].closed
    assert house.statuses() == [200, 404, 499, 499, 499, 499, 499]


def test_closing_waits_for_endpoints_that_clean_up(house):
    cleaned = []

    async def careful(request):
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(0.1)
            cleaned.append(True)

    house.add("/careful", careful)
    house.client(request("/careful"))
    left = house.client(request("/careful"))
    left.reset()
    closing = house.start(house.server.close())
    assert not closing.done()
    house.loop.advance(0.2)
    assert closing.done() and cleaned == [True, True]


# ---- pacing ---------------------------------------------------------------------------------------------------------


def arrivals(house, client, until, step=0.001):
    """Advance and return [(seconds since now, bytes received so far)] for each change."""
    began, seen, found = house.loop.now, len(client.received), []
    while house.loop.now < began + until:
        house.loop.advance(step)
        if len(client.received) != seen:
            seen = len(client.received)
            found.append(round(house.loop.now - began, 3))
    return found


def test_frames_leave_on_time(house):
    house.add("/paced", paced(b"one ", b"two ", b"three", first_delay=0.5, delay=0.1))
    client = house.client(request("/paced"))
    assert client.received.endswith(b"\r\n\r\n"), "the head does not wait"
    for due, at in zip((0.5, 0.6, 0.7), arrivals(house, client, 1.0)):
        assert due <= at <= due + 0.003
    assert client.reply().body == b"one two three"


def test_frames_that_do_not_wait_leave_with_the_head(house):
    house.add("/paced", paced(b"one ", b"two "))
    client = house.client(request("/paced"))
    assert len(client.transport.writes) == 1 and client.reply().body == b"one two "


def test_a_paced_body_without_frames_is_empty(house):
    house.add("/paced", paced(delay=0.1))
    client = house.client(request("/paced") + request())
    house.loop.advance(1)
    assert [reply.body for reply in client.replies("GET", "GET")] == [b"", b"plain"]


def test_delays_do_not_add_up(house):
    house.add("/paced", paced(*[b"frame"] * 1001, delay=0.0105))
    client = house.client(request("/paced"))
    house.loop.advance(10.4)
    assert not client.reply().whole
    house.loop.advance(0.11)
    assert client.reply().whole


def test_late_frames_leave_together(house):
    house.add("/paced", paced(*[b"frame"] * 10, delay=0.1))
    client = house.client(request("/paced"))
    house.loop.advance(0.05)
    before = len(client.transport.writes)
    house.loop.now += 0.5  # a busy loop that comes to nothing else
    house.loop.settle()
    assert len(client.transport.writes) == before + 1
    assert client.reply().body == b"frame" * 6
    house.loop.advance(0.5)
    assert client.reply().whole


def test_many_streams_share_their_timers(house):
    house.add("/paced", paced(*[b"frame"] * 20, delay=0.05))
    clients = [house.client(request("/paced")) for _ in range(100)]
    before = house.loop.timers
    house.loop.advance(2)
    assert all(client.reply().body == b"frame" * 20 for client in clients)
    # Twenty wake-ups and, at the end, the idle limit of a hundred connections.
    assert house.loop.timers - before <= 20 + 100 + 5


def test_other_work_has_its_turn_among_many_streams(house):
    house.add("/paced", paced(b"frame", first_delay=0.1))
    clients = [Client(house) for _ in range(2000)]
    for client in clients:
        house.loop.call_soon(client.transport.protocol.data_received, request("/paced"))
    house.loop.settle()
    done_when_other_ran = []

    def other(turns):
        done_when_other_ran.append(sum(b"frame" in client.received for client in clients))
        if turns:
            house.loop.call_soon(other, turns - 1)

    house.loop.now += 0.2
    house.loop.call_soon(other, 10)
    house.loop.settle()
    assert len([count for count in done_when_other_ran if 0 < count < 2000]) >= 2
    assert all(client.reply().whole for client in clients)


def test_streams_of_different_speeds_do_not_disturb_each_other(house):
    speeds = [0.003, 0.01, 0.05]
    for number, delay in enumerate(speeds):
        house.add(f"/{number}", paced(*[b"f"] * 31, delay=delay))
    clients = [house.client(request(f"/{number}")) for number in range(len(speeds))]
    began = house.loop.now
    ended = {}
    while len(ended) < len(speeds):
        house.loop.advance(0.001)
        for number, client in enumerate(clients):
            if client.received.endswith(b"\r\n0\r\n\r\n"):
                ended.setdefault(number, house.loop.now - began)
    for number, delay in enumerate(speeds):
        assert 30 * delay <= ended[number] <= 30 * delay + 0.004


# ---- fields of every answer, and what is logged ---------------------------------------------------------------------


@pytest.mark.parametrize("sane", ["abc", "A-z_0.9:", "x" * 128])
def test_a_sane_request_id_is_taken_over(house, sane):
    assert house.client(request("/plain", f"x-request-id: {sane}")).reply().fields["x-request-id"] == sane


@pytest.mark.parametrize("fields", [[], [""], ["x" * 129], ["a b"], ["a\xe9"], ["<script>"], ["one", "two"]])
def test_any_other_request_id_is_replaced(house, fields):
    head = "\r\n".join(["GET /plain HTTP/1.1", "host: x", *(f"x-request-id: {value}" for value in fields), "", ""])
    assert re.fullmatch(r"req_[0-9a-f]{24}", house.client(head.encode("latin-1")).reply().fields["x-request-id"])


def test_request_ids_are_unique(open_house):
    ids = []
    for _ in range(2):
        client = open_house().client(request() * 500 + b"broken\r\n\r\n")
        ids += [reply.fields["x-request-id"] for reply in client.replies(*["GET"] * 501)]
    assert len(ids) == len(set(ids)) == 1002


def test_the_date_is_of_this_second(house):
    before = int(time.time())
    date = house.client(request()).reply().fields["date"]
    made = time.mktime(time.strptime(date, "%a, %d %b %Y %H:%M:%S GMT")) - time.mktime(time.gmtime(0))
    assert before - 1 <= made <= time.time() + 1


def test_the_log_has_a_line_at_the_start_and_one_at_the_end(house):
    house.add("/task", later(2.34))
    client = house.client(request(f"/task?key={SECRET}", f"authorization: Bearer {SECRET}"))
    stamp = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d - "
    label = "API Key Hash: [0-9a-f]{8}\n"
    assert re.fullmatch(
        rf"{stamp}Request started - IP: 192\.168\.1\.100, Method: GET, Path: /task, {label}", house.lines[0]
    )
    house.loop.advance(3)
    assert re.fullmatch(
        rf"{stamp}Request completed - IP: 192\.168\.1\.100, Status: 200, Time: 2\.34s, {label}", house.lines[1]
    )
    assert client.reply().whole and len(house.lines) == 2


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_secret_is_logged_whatever_happens(open_house, form):
    house = open_house(log_form=form)
    house.add("/fails", raising(ValueError(SECRET)))
    house.add("/later", raising_later(KeyError(SECRET)))
    house.add("/stream", streamed([b"x"], 0.1, fails=RuntimeError(SECRET)))
    house.add("/never", never)
    key = f"authorization: Bearer {SECRET}"
    for path in ("/fails", "/later", "/stream", "/plain", "/nowhere", "/never"):
        house.client(post(f"{path}?api_key={SECRET}", SECRET.encode(), key, f"api-key: {SECRET}"))
    house.client(f"GET /plain?{SECRET} HTTP/1.1\r\nhost: x\r\n{SECRET} : x\r\n\r\n".encode())
    house.client(f"GET http://{SECRET}@x/ HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    house.loop.advance(1)
    assert "failed inside with ValueError at " in "".join(house.lines)
    assert SECRET not in "".join(house.lines)


def test_what_fails_is_told_behind_the_beginning_of_its_request_however_that_came(house):
    house.add("/fails", raising(ValueError("x")))
    client = house.client(request("/fails"))  # whose head is new
    client.send(request("/fails"))  # and known
    told = [re.search("started|failed inside|completed", line)[0] for line in house.lines]
    assert told == ["started", "failed inside", "completed"] * 2


def test_a_key_is_remembered_for_a_time_only(house):
    async def listen():
        await house.server.listen([socket.create_server(("127.0.0.1", 0))])

    house.start(listen())
    house.client(request("/plain", "authorization: Bearer k"))
    data = request("/plain", "authorization: Bearer k")
    assert house.server.heads.find(data, 0)
    house.loop.advance(599)
    assert house.server.heads.find(data, 0)
    house.loop.advance(2)
    assert not house.server.heads.find(data, 0)


def test_the_metrics_count_each_request_once(open_house):
    house = open_house(max_connections=20)
    house.add("/task", later(1))
    house.add("/never", never)
    for sent in (request() * 3, request("/task"), request("/nowhere"), b"broken\r\n\r\n"):
        house.client(sent)
    house.client(request("/never")).reset()
    assert house.metrics.in_flight == 1
    house.loop.advance(2)
    told = house.metrics.exposition()
    assert re.findall(r"oaiserve_requests_total\{(.*)\} (\d+)", told) == [
        ('endpoint="never",status="499"', "1"),
        ('endpoint="none",status="400"', "1"),
        ('endpoint="none",status="404"', "1"),
        ('endpoint="plain",status="200"', "3"),
        ('endpoint="task",status="200"', "1"),
    ]


# ---- real sockets ---------------------------------------------------------------------------------------------------


class RealHouse:
    """A server on a free port of this machine, in the running loop."""

    def __init__(self):
        self.endpoints = {"/plain": Endpoint(lambda request: text(request.head.query or "plain"), "plain")}
        self.lines = []
        self.made = []

    async def open(self, settings):
        loop = asyncio.get_running_loop()
        loop.slow_callback_duration = 20  # the machine may be busy with something else
        self.server = Server(
            self, ERROR_SHAPES, ANY_PAGE, settings, Log("text", self.lines.append, call_soon=loop.call_soon), Metrics()
        )
        await self.server.listen()
        return self

    route, add, statuses = House.route, House.add, House.statuses

    async def connect(self, *sent, **options):
        """Return a new connection's (reader, writer); it is closed at the end."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port, **options)
        self.made.append(writer)
        for data in sent:
            writer.write(data)
        return reader, writer

    async def ask(self, data, **options):
        """Send a request that ends the connection, and return what comes back."""
        reader, _ = await self.connect(data, **options)
        return await reader.read()

    async def is_left_alone(self, seconds=5.0):
        """Wait until no connection is left, and tell whether that came."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while self.server.connections and loop.time() < end:
            await asyncio.sleep(0.002)
        await asyncio.sleep(0)  # the log is written a turn later
        return not self.server.connections


def live(test, debug=True, **settings):
    """Run `test(house)` with a server on a real socket, in asyncio's debug mode; time that nobody uses is skipped."""

    async def main():
        house = await RealHouse().open(server_settings(**settings))
        try:
            await test(house)
        finally:
            await house.server.close()
            assert house.server.metrics.in_flight == 0
            for writer in house.made:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    skipping.run(main, debug=debug)


def test_live_two_thousand_pipelined_requests_come_back_in_order():
    async def test(house):
        house.add("/task", later(0))
        house.add("/paced", lambda request: paced(request.head.query.encode(), b"", delay=0.001)(request))
        kinds = ["/plain"] * 18 + ["/task", "/paced"]
        sent = [request(f"{kinds[number % 20]}?{number}") for number in range(2000)]
        received = await house.ask(b"".join(sent) + request("/plain", "connection: close"))
        found = replies(received, *["GET"] * 2001, ended=True)
        assert [reply.body for reply in found[:-1]] == [b"%d" % number for number in range(2000)]

    live(test, debug=False)


UNWANTED_BODIES = {
    "413": (b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 8000000\r\n\r\n", 413),
    "413 chunked": (b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n7A1200\r\n", 413),
    "404": (b"POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 8000000\r\n\r\n", 404),
    "unread": (b"POST /early HTTP/1.1\r\nhost: x\r\ncontent-length: 8000000\r\n\r\n", 200),
    "400": (b"POST /echo HTTP/1.1\r\nhost : x\r\ncontent-length: 8000000\r\n\r\n", 400),
}


@pytest.mark.parametrize(("head", "status"), UNWANTED_BODIES.values(), ids=UNWANTED_BODIES)
def test_live_an_early_answer_can_be_read_by_a_client_that_first_sends_all_of_its_body(head, status):
    def send_then_read(port):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
            sock.sendall(head)
            for _ in range(80):
                sock.sendall(b"x" * 100_000)
            time.sleep(0.1)
            received = b""
            while True:
                data = sock.recv(65536)
                if not data:
                    return received
                received += data

    async def test(house):
        house.add("/echo", lambda request: text(request.body))
        house.add("/early", later(0, text("early")), streams_body=True)
        received = await asyncio.get_running_loop().run_in_executor(None, send_then_read, house.server.port)
        (reply,) = replies(received, "POST", ended=True)
        assert reply.status == status and reply.whole
        assert await house.is_left_alone()

    live(test, max_body="1M")


@pytest.mark.parametrize(("sent", "body"), HALF_CLOSE.values(), ids=HALF_CLOSE)
def test_live_a_client_that_ends_its_side_still_gets_its_answer(sent, body):
    async def test(house):
        house.add("/task", later(0.05))
        house.add("/paced", paced(b"paced", b"!", first_delay=0.05, delay=0.05))
        house.add("/stream", streamed([b"stream", b"!"], 0.05))
        house.add("/sized", streamed([b"sized", b"!"], 0.05, length=6))
        house.add("/upload", reads_its_body, streams_body=True)
        reader, writer = await house.connect(sent)
        writer.write_eof()
        (reply,) = replies(await reader.read(), "GET", ended=True)
        assert (reply.body, reply.whole) == (body, True)
        assert await house.is_left_alone() and house.statuses() == [200]

    live(test)


def leave(writer, how):
    sock = writer.get_extra_info("socket")
    if how == "reset":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("phase", ["before the head", "before the first part", "within the stream"])
def test_live_a_client_that_leaves_cancels_its_request_at_once(phase, how):
    async def test(house):
        times = []

        async def answer(request):
            if phase == "before the head":
                try:
                    await asyncio.sleep(1000)
                finally:
                    times.append(asyncio.get_running_loop().time())
            return Response(200, TEXT, body())

        async def body():
            try:
                if phase == "within the stream":
                    yield b"something"
                await asyncio.sleep(1000)
            finally:
                times.append(asyncio.get_running_loop().time())

        house.add("/slow", answer)
        waits = []
        for _ in range(5):
            reader, writer = await house.connect(request("/slow"))
            if phase == "within the stream":
                await reader.readuntil(b"something\r\n")
            else:
                await asyncio.sleep(0.02)
            began = asyncio.get_running_loop().time()
            leave(writer, how)
            assert await house.is_left_alone()
            waits.append(times[-1] - began)
        assert max(waits) < 0.05
        assert len(times) == 5 and house.statuses() == [499] * 5

    live(test, debug=False)


def test_live_a_client_that_leaves_a_paced_answer_is_noticed_between_its_frames():
    async def test(house):
        house.add("/paced", paced(b"frame", b"frame", first_delay=0, delay=1000))
        reader, writer = await house.connect(request("/paced"))
        await reader.readuntil(b"frame")
        leave(writer, "close")
        assert await house.is_left_alone()
        assert house.statuses() == [499]

    live(test)


def test_live_a_client_that_leaves_a_paced_answer_is_noticed():
    async def test(house):
        house.add("/paced", paced(*[b"frame"] * 1000, delay=0.005))
        reader, writer = await house.connect(request("/paced"))
        await reader.readuntil(b"frame")
        leave(writer, "close")
        assert await house.is_left_alone() and house.statuses() == [499]

    live(test)


def test_live_a_client_that_stops_reading_stops_its_producer():
    async def test(house):
        made = []
        house.add("/stream", streamed([b"x" * 65536] * 2000, made=made))
        sock = socket.create_connection(("127.0.0.1", house.server.port))
        sock.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=sock, limit=65536)
        house.made.append(writer)
        writer.write(request("/stream", "connection: close"))
        pulled = -1
        while not made or pulled != made[0].pulled:
            pulled = made[0].pulled if made else -1
            await asyncio.sleep(0.05)
        assert pulled < 1000  # the rest of 130 MB waits for the client; what was pulled is in the system's buffers
        received = 0
        while True:
            data = await reader.read(1 << 20)
            if not data:
                break
            received += len(data)
        assert received > 2000 * 65536 and made[0].closed and house.statuses() == [200]

    live(test, debug=False)


def test_live_a_large_body_both_ways():
    async def test(house):
        house.add("/echo", lambda request: text(request.body))
        body = bytes(range(256)) * 8000
        received = await house.ask(post("/echo", body, "connection: close"))
        assert replies(received, "POST", ended=True)[0].body == body

    live(test)


def test_live_draining_accepts_for_a_moment_and_ends_running_answers():
    async def test(house):
        house.add("/task", later(0.2))
        house.add("/stream", streamed([b"one", b"two"], 0.1))
        task, _ = await house.connect(request("/task?slow"))
        stream, _ = await house.connect(request("/stream"))
        idle, _ = await house.connect()
        await asyncio.sleep(0.05)
        draining = asyncio.ensure_future(house.server.drain())
        await asyncio.sleep(0.02)
        late, _ = await house.connect(request())
        assert replies(await late.read(), "GET", ended=True)[0].fields["connection"] == "close"
        assert replies(await task.read(), "GET", ended=True)[0].body == b"slow"
        assert replies(await stream.read(), "GET", ended=True)[0].body == b"onetwo"
        await asyncio.sleep(0.6)
        with pytest.raises(OSError):
            await house.connect()
        assert await idle.read() == b""
        await draining
        assert house.server.connections == set()

    live(test)


def test_live_an_address_in_use_is_an_error():
    async def test(house):
        with pytest.raises(OSError) as failure:
            await RealHouse().open(server_settings(port=house.server.port))
        assert failure.value.errno == errno.EADDRINUSE

    live(test)


def test_live_a_listening_socket_may_be_given():
    async def main():
        house = RealHouse()
        settings = server_settings()
        server = Server(house, ERROR_SHAPES, ANY_PAGE, settings, Log("off", house.lines.append), Metrics())
        with socket.create_server(("127.0.0.1", 0)) as sock:
            await server.listen([sock])
            assert server.port == sock.getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(request("/plain", "connection: close"))
            assert replies(await reader.read(), "GET", ended=True)[0].body == b"plain"
            writer.close()
            await server.close()

    asyncio.run(main(), debug=True)


# ---- TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Make a certificate for 127.0.0.1 and return (path of the chain, path of the key)."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl program to make a certificate with")
    folder = tmp_path_factory.mktemp("certificate")
    chain, key = str(folder / "chain.pem"), str(folder / "key.pem")
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-out", chain, "-keyout", key],
        check=True, capture_output=True,
    )  # fmt: skip
    return chain, key


def live_tls(certificate, test, debug=True, **settings):
    chain, key = certificate
    context = ssl.create_default_context(cafile=chain)

    async def with_context(house):
        await test(house, context)

    live(with_context, debug, certfile=chain, keyfile=key, **settings)


def test_tls_answers_and_keeps_the_connection(certificate):
    async def test(house, context):
        house.add("/stream", streamed([b"x" * 100_000] * 5, 0.001))
        house.add("/echo", lambda request: text(request.body))
        body = b"y" * 300_000
        sent = request("/plain?one") + request("/stream") + post("/echo", body) + request("/plain", "connection: close")
        received = await house.ask(sent, ssl=context)
        one, stream, echo, last = replies(received, "GET", "GET", "POST", "GET", ended=True)
        assert (one.body, stream.body, echo.body, last.body) == (b"one", b"x" * 500_000, body, b"plain")
        assert await house.is_left_alone()

    live_tls(certificate, test)


def test_tls_speaks_nothing_older_than_1_2_and_offers_http_1_1(certificate):
    async def test(house, context):
        context.set_alpn_protocols(["h2", "http/1.1"])
        _, writer = await house.connect(ssl=context)
        tls = writer.get_extra_info("ssl_object")
        assert tls.selected_alpn_protocol() == "http/1.1" and tls.version() in ("TLSv1.2", "TLSv1.3")

    live_tls(certificate, test)


@pytest.mark.parametrize("how", ["close", "abort"])
@pytest.mark.parametrize("path", ["/never", "/stream", "/paced", None])
def test_tls_a_client_that_leaves_cancels_its_request(certificate, path, how):
    async def test(house, context):
        house.add("/never", never)
        made = []
        house.add("/stream", streamed([b"x"], 1000, made=made))
        house.add("/paced", paced(*[b"frame"] * 1000, delay=0.005))
        _, writer = await house.connect(*([request(path)] if path else []), ssl=context)
        await asyncio.sleep(0.05)
        if how == "close":
            writer.close()
        else:
            writer.transport.abort()
        assert await house.is_left_alone()
        assert house.statuses() == ([499] if path else [])
        assert all(producer.closed for producer in made)

    live_tls(certificate, test)


def test_tls_a_client_that_reads_nothing_is_not_sent_more_than_is_bounded(certificate):
    async def test(house, context):
        made = []
        house.add("/stream", streamed([b"x" * 65536] * 2000, made=made))
        _, writer = await house.connect(request("/stream"), ssl=context)
        pulled = -1
        while not made or pulled != made[0].pulled:
            pulled = made[0].pulled if made else -1
            await asyncio.sleep(0.05)
        assert pulled < 1000
        writer.transport.abort()
        assert await house.is_left_alone() and made[0].closed

    live_tls(certificate, test)


def test_tls_closing_ends_what_runs(certificate):
    async def test(house, context):
        house.add("/never", never)
        readers = [(await house.connect(request(path), ssl=context))[0] for path in ("/plain", "/never")]
        await asyncio.sleep(0.05)
        await house.server.close()
        for reader in readers:
            with contextlib.suppress(OSError):
                await reader.read()

    live_tls(certificate, test)


def test_tls_draining_lets_running_requests_end(certificate):
    async def test(house, context):
        house.add("/task", later(0.1))
        reader, _ = await house.connect(request("/task?slow"), ssl=context)
        await asyncio.sleep(0.05)
        draining = asyncio.ensure_future(house.server.drain())
        assert replies(await reader.read(), "GET", ended=True)[0].body == b"slow"
        await draining

    live_tls(certificate, test)


def test_tls_draining_waits_until_answers_have_left(certificate):
    async def test(house, context):
        house.add("/large", later(0.05, text(b"x" * 20_000_000)))
        reader, _ = await house.connect(request("/large"), ssl=context)
        await asyncio.sleep(0.02)
        draining = asyncio.ensure_future(house.server.drain())
        await asyncio.sleep(0.3)
        assert not draining.done()
        assert len(await reader.read()) > 20_000_000
        await draining

    live_tls(certificate, test)


def test_tls_plain_http_on_the_port_is_refused(certificate):
    async def test(house, context):
        with contextlib.suppress(ConnectionResetError):
            assert b"HTTP/1.1 200" not in await house.ask(request())

    live_tls(certificate, test, debug=False)  # in debug mode each failed handshake is reported


def test_plain_port_tells_a_tls_client_what_is_wrong():
    async def test(house):
        received = await house.ask(b"\x16\x03\x01\x02\x00\x01\x00")
        assert "TLS" in check_openai_error(replies(received, "GET", ended=True)[0], 400)

    live(test)
