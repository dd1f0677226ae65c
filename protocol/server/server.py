"""The asyncio shell around the HTTP/1.1 reader and writer: connections in, requests to their endpoints, answers out.

Life of a connection
--------------------
`data_received` feeds the reader and then runs what the connection is at, its phase, a method held in `_receive`:

    _read_requests   between requests or within a head: reads as many requests as there are and can be answered
    _hold_body       the endpoint wants the body in one piece, and it is on its way
    _wake_stream     the answer is being made or sent; the endpoint may be reading the body
    _discard         the last answer is out; what the client still sends is dropped until it closes (staged close)

Requests of one connection are answered one after the other. A pipelined request waits, unread, in the reader, and when
too many bytes wait there the socket is no longer read: order, bound and back-pressure come from that alone.

An answer that is ready is parsed, routed, rendered and written within `data_received`: no task, no queue, no await.
A request that comes whole, with a head that is known, leaves out even the reader's events and the gathering of answers
(`_answer_whole`). What has to wait is a producer, which tells us when it goes on (a Pending answer, a Pushed body; a
paced body is an entry among the pacer's timers), or a task.

Time limits are deadlines, and each connection has one lazy timer: moving the deadline is an assignment, the timer looks
at it when it rings.
"""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import heapq
import itertools
import math
import os
import re
import socket
import ssl
import struct
import time
import typing

from protocol.config import option, parse_choice, parse_integer, parse_list, parse_seconds, parse_size, parse_text
from protocol.errors import ApiError
from protocol.exchange import (
    Answer,
    BackendFailed,
    Endpoint,
    Paced,
    Pending,
    Producer,
    Pushed,
    Request,
    Response,
    Rest,
    cancel_body,
)
from protocol.openai.answers import error_event, error_response
from protocol.service.cors import CorsPolicy
from protocol.service.forwarded_for import TrustedProxies, parse_networks
from protocol.service.log import Log
from protocol.service.metrics import Metrics
from protocol.wire.http1.memo import RequestMemo
from protocol.wire.http1.messages import CLOSED, NEED_DATA, BadMessage, BodyPart, RequestHead
from protocol.wire.http1.readers import RequestReader
from protocol.wire.http1.writers import (
    CONTINUE,
    ResponseWriter,
    chunked_answer,
    encode_fields,
    sized_answer,
    takes_ready_answer,
)

# A caller's request id is passed on and logged, so it must be short and plain.
_SANE_ID = re.compile(r"[A-Za-z0-9._:\-]{1,128}")

# Pipelined requests answered in one go, before other connections have their turn; their answers leave in one write.
_REQUESTS_A_TURN = 16
# Bytes read from a socket at once.
_READ_BYTES = 65536
# Bytes of later requests or of an unread body that may wait inside before the socket is no longer read.
_UNREAD_BYTES = 65536
# Bytes of an answer that may wait for the client before its producer is stopped.
_UNSENT_BYTES = 65536
# RFC 9112 §9.6: after the last answer the client's words are read on, so that no reset eats the answer: as long as
# there are some, but not for ever.
_LINGER_SECONDS = 2.0
_LINGER_SECONDS_IN_ALL = 30.0
# When a client has said that it sends no more, how long to wait each time to look whether it has gone altogether.
_PROBE_SECONDS = (0.005, 0.015, 0.06, 0.24, 0.96)
# How often to look whether a client has gone whose socket is not read.
_LOOK_OUT_SECONDS = 1.0
_TICK_SECONDS = 0.001
_PACED_A_TURN = 512
_CLIENT_LEFT = 499
# With SO_LINGER on and no time to linger, a close is a reset (POSIX, setsockopt).
_LINGER_NOT = struct.pack("ii", 1, 0)
# Turns of the loop in which connections learn of their end, and log it: one, two under TLS, where a client that does
# not agree to the end is cut off in the first.
_CLOSING_TURNS = 4


@dataclasses.dataclass(frozen=True)
class ServerSettings:
    """Section [server]."""

    host: str = option("127.0.0.1", parse_text, "address to listen on; 0.0.0.0 is every IPv4 one, :: every one")
    port: int = option("8080", parse_integer(0, 65535), "TCP port; 0 takes any free one, the banner says which")
    workers: int = option("1", parse_integer(0, 256), "processes that share the port; 0 is one a core")
    cors_origins: tuple[str, ...] = option(
        "*", parse_list, "origins whose pages may call: * or a list; empty sends no CORS fields"
    )
    certfile: str = option("", parse_text, "certificate chain (PEM); when it is given the server speaks TLS")
    keyfile: str = option("", parse_text, "its private key (PEM), if that is not in certfile")
    max_head: int = option("64k", parse_size, "bytes of a request's line and fields; more is 431")
    max_body: int = option("65M", parse_size, "bytes of a body that has to be held; more is 413")
    head_timeout: float = option(
        "30", parse_seconds, "seconds for a whole head, and for a new connection to begin one; 0 is no limit"
    )
    body_timeout: float = option(
        "300", parse_seconds, "seconds to wait, in all, for the bytes of one body; 0 is no limit"
    )
    idle_timeout: float = option(
        "75", parse_seconds, "seconds a kept connection, or a client that reads nothing, may rest; 0 is no limit"
    )
    drain_timeout: float = option("30", parse_seconds, "seconds that running requests may take when the server stops")
    max_connections: int = option("20000", parse_integer(1, 10**6), "connections at once, a worker; more are told 503")
    trusted_proxies: tuple[str, ...] = option(
        "", parse_networks, "proxies (addresses, networks) whose X-Forwarded-For names the client, for the log"
    )
    log: str = option("text", parse_choice("text", "json", "off"), "text, json or off")
    log_file: str = option("", parse_text, "file to append the log to; empty is standard error")


class Application(typing.Protocol):
    """What the server asks who answers a request."""

    def route(self, request: Request) -> Endpoint:
        """Choose the endpoint from the head; ApiError 404 or 405 where there is none."""


class Server:
    """Listens, holds the connections, and ends them in good order.

    `on_request` is called with each request once its body is held or its endpoint begins (for embedding).
    """

    def __init__(
        self,
        application: Application,
        settings: ServerSettings,
        log: Log,
        metrics: Metrics,
        *,
        on_request: typing.Callable[[Request], None] | None = None,
    ) -> None:
        self.settings = settings
        self.log = log
        self.metrics = metrics
        self.cors = CorsPolicy(settings.cors_origins)
        self.proxies = TrustedProxies(settings.trusted_proxies)
        self.draining = False
        self.port = 0
        self.connections: set[_Connection] = set()
        self.route = application.route
        self.on_request = on_request
        self.loop = asyncio.get_running_loop()
        self.pacer = Pacer(self.loop)
        # What is read is taken out before anything else is read, so one buffer serves all connections. asyncio's own
        # reads get 256 kB of fresh memory each, which may be mapped and unmapped every time: up to 12 µs a request.
        self.receive_buffer = memoryview(bytearray(_READ_BYTES))
        # Limits in seconds; a limit of 0 is none.
        self.head_seconds = settings.head_timeout or math.inf
        self.body_seconds = settings.body_timeout or math.inf
        self.idle_seconds = settings.idle_timeout or math.inf
        self.heads = RequestMemo()
        self._listener: asyncio.AbstractServer | None = None
        self._cancelled: set[asyncio.Task[None]] = set()
        self._id_prefix = f"req_{os.urandom(8).hex()}"
        self._id_counter = itertools.count(1)
        self._second = -1
        self._dated = b""

    async def listen(self, sock: socket.socket | None = None) -> None:
        """Begin to accept, on `sock` if it is given; OSError when the address cannot be had."""
        settings = self.settings
        tls = _tls_context(settings)
        where: dict[str, typing.Any] = {"sock": sock} if sock else {"host": settings.host, "port": settings.port}
        self._listener = await self.loop.create_server(
            lambda: _Connection(self), backlog=4096, ssl=tls,
            ssl_handshake_timeout=(settings.head_timeout or None) if tls else None, **where,
        )  # fmt: skip
        self.port = self._listener.sockets[0].getsockname()[1]

    async def drain(self) -> None:
        """Stop accepting, let running requests end within drain_timeout, then close what is left."""
        self.draining = True
        if self._listener is not None:
            self._listener.close()
        give_up = self.loop.time() + self.settings.drain_timeout
        while any(connection.is_answering for connection in self.connections) and self.loop.time() < give_up:
            await asyncio.sleep(0.02)
        await self.close()

    async def close(self) -> None:
        """Close every connection now, and end what answers them."""
        if self._listener is not None:
            self._listener.close()
        for connection in list(self.connections):
            connection.abandon()
        await asyncio.gather(*self._cancelled, return_exceptions=True)
        for _ in range(_CLOSING_TURNS):
            await asyncio.sleep(0)
            for connection in list(self.connections):
                connection.abandon()
        self.log.flush()

    def cancel(self, task: asyncio.Task[None]) -> None:
        """Cancel what answers a request, once, so that it can clean up; `close` waits for its end."""
        if task not in self._cancelled:
            self._cancelled.add(task)
            task.add_done_callback(self._cancelled.discard)
            task.cancel()

    def new_id(self) -> str:
        """Return a request id that no other request has."""
        return f"{self._id_prefix}{next(self._id_counter):08x}"

    def common_fields(self, request_id: str, head: RequestHead | None) -> bytes:
        """Return the field lines of every answer: Date (RFC 9110 §6.6.1), CORS and the request id."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(second))
            self._dated = b"date: %b\r\nx-request-id: " % date.encode()
        cors = head.notes.get("cors") if head is not None else self.cors.block("")
        if cors is None:
            cors = head.notes["cors"] = self.cors.block(head.fields.get("origin"))
        return b"%b%b\r\n%b" % (self._dated, request_id.encode(), cors)


class _Connection(asyncio.BufferedProtocol):
    """One client's connection; see the module's text for its phases."""

    # What is read so often is read faster so, and a connection is 0.7 kB smaller.
    __slots__ = (
        "_behind_proxy", "_body_seconds_left", "_client", "_client_ended", "_continue_due", "_deadline", "_endpoint",
        "_filler", "_head_begun", "_held", "_linger_until", "_loop", "_looks_out", "_peer", "_producer", "_reader",
        "_reading",
        "_receive", "_request", "_response", "_server", "_started_at", "_status", "_stream", "_task", "_timer",
        "_transport", "_unsent", "_unsent_bytes", "_writable", "_writer",
    )  # fmt: skip

    def __init__(self, server: Server) -> None:
        settings = server.settings
        # Per connection.
        self._server = server
        self._loop = server.loop
        self._transport: asyncio.Transport
        self._peer = "-"
        self._behind_proxy = False  # one whose word for the client's address is taken
        self._client: tuple[RequestHead | None, str] = (None, "")  # whom it speaks for, by the last head
        self._reader = RequestReader(max_head=settings.max_head, max_body=settings.max_body, memo=server.heads)
        # A function and not a bound method: that would be a cycle, left to the collector.
        self._receive: typing.Callable[[_Connection], typing.Any] = _Connection._read_requests
        self._unsent: list[bytes] | None = None  # answers of this turn, while there may be more
        self._reading = True
        self._looks_out = False  # there is a timer for that
        self._writable: asyncio.Future[None] | None = None  # set while the client reads too slowly
        self._unsent_bytes = 0  # when that was last looked at
        self._deadline = 0.0  # 0: none
        self._timer: asyncio.TimerHandle | None = None
        self._client_ended = False
        # Per request.
        self._request: Request | None = None
        self._endpoint: Endpoint | None = None
        self._writer = ResponseWriter(None)
        self._held: bytes | bytearray = b""
        self._stream: _BodyStream | None = None
        self._task: asyncio.Task[None] | None = None
        self._producer: Producer | None = None
        self._response: Response | None = None  # whose body is pushed
        self._status = 0  # of the answer, once its head is out
        self._filler = b""  # what means nothing in the middle of its body
        self._started_at = 0.0
        self._head_begun = False
        self._continue_due = False
        self._body_seconds_left = 0.0
        self._linger_until = 0.0

    # ---- what asyncio calls -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = typing.cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_UNSENT_BYTES)
        peer = transport.get_extra_info("peername")
        self._peer = peer[0] if isinstance(peer, tuple) else "-"
        server = self._server
        self._behind_proxy = bool(server.settings.trusted_proxies) and server.proxies.trusts(self._peer)
        server.connections.add(self)
        self._expect_within(server.head_seconds)
        if len(server.connections) > server.settings.max_connections:
            limit = server.settings.max_connections
            self._refuse(
                ApiError(503, f"All {limit} connections are in use; try again soon.", fields=[("retry-after", "1")])
            )

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._server.receive_buffer

    def buffer_updated(self, size: int) -> None:
        self.data_received(bytes(self._server.receive_buffer[:size]))

    def data_received(self, data: bytes) -> None:
        receive = self._receive
        if receive is _Connection._discard:
            self._linger()
        elif receive is not _Connection._read_requests or not self._answer_whole(data):
            self._reader.feed(data)
            receive(self)

    def eof_received(self) -> bool:
        self._client_ended = True
        if self._receive is _Connection._discard:
            return False
        self._reader.feed(b"")
        self._receive(self)
        # The client may only have closed its own direction: its answer is still owed (RFC 9112 §9.6). TLS closes both.
        stays = self._transport.can_write_eof() and not self._transport.is_closing()
        if stays and (self._task is not None or self._producer is not None):
            self._probe()
        return stays

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        self._transport.close()  # CPython before 3.11 warns of a TLS transport that nobody but its client closed
        self._deadline = 0.0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.cancel()
        task, self._task = self._task, None  # a task that was cancelled refers back here
        if task is not None:
            self._server.cancel(task)
            if self._writable is None:
                self._writable = self._loop.create_future()
            self._writable.cancel()  # an endpoint that will not be cancelled stops where it next sends
        if self._request is not None:
            self._note_completed(_CLIENT_LEFT)
        self._receive = _Connection._discard
        self._stream = self._unsent = self._response = None  # what refers back here need not wait for the collector

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()
        if self._producer is not None:
            self._producer.pause()
        self._await_reader()

    def resume_writing(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)
        self._deadline = 0.0
        if self._producer is not None:
            self._producer.resume()
        elif self._receive is _Connection._discard:
            self._linger_until = self._loop.time() + _LINGER_SECONDS_IN_ALL
            self._linger()
        elif self._receive is _Connection._hold_body:
            self._await_body()
        elif self._stream is not None:
            self._stream.limit_wait()
        elif self._request is None and self._receive is _Connection._read_requests:
            self._await_idle()
            self._loop.call_soon(self._go_on)

    # ---- requests -----------------------------------------------------------------------------------------------

    def _read_requests(self) -> None:
        """Read and answer what has come, up to a bound; the answers leave in one write."""
        self._unsent = []
        again = False
        try:
            for _ in range(_REQUESTS_A_TURN):
                if self._writable is not None:
                    # A client that sends requests and reads no answers is not read either.
                    self._pause_reading()
                    break
                event = self._reader.next_event()
                if event is NEED_DATA:
                    self._resume_reading()
                    self._await_head()
                    break
                if event is CLOSED:
                    self._close()
                    break
                self._take_request(self._begin(event))
                if self._request is not None or self._receive is not _Connection._read_requests:
                    break
            else:
                again = True
        except BadMessage as exc:
            self._refuse(ApiError(exc.status, exc.message))
        finally:
            self._flush()
        if again:
            self._pause_reading_if_much_waits()
            self._loop.call_soon(self._go_on)

    def _answer_whole(self, data: bytes) -> bool:
        """Answer a request that is all there, with a known head, if it is one; what it takes is what others take.

        It leaves out what there is for waiting and for pipelining: 6 µs a request (CPython 3.11).
        """
        reader, server = self._reader, self._server
        head = reader.known_head(data)
        endpoint = head.notes.get("plain endpoint") if head is not None else None
        if endpoint is None or self._writable is not None or server.draining:
            return False
        body = reader.read_whole(data)
        if body is None:
            return False
        request = self._begin(head)
        request.body = body
        self._endpoint = endpoint
        self._receive = _Connection._wake_stream
        answer = self._ask(endpoint, request)
        data = self._rendered(answer, request) if type(answer) is Response and answer.status == 200 else b""
        if not data:
            self._writer = ResponseWriter(head)
            self._take_answer(answer)
            return True
        self._transport.write(data)
        now = self._note_completed(200)
        reader.next_message()
        self._receive = _Connection._read_requests
        self._expect_by(now + server.idle_seconds)
        return True

    def _rendered(self, response: Response, request: Request) -> bytes:
        """Return all of an answer that is ready, b"" for any other."""
        body, fields = response.body, response.fields
        if type(fields) is not bytes:
            return b""
        if type(body) is bytes:
            return sized_answer(self._server.common_fields(request.id, request.head), fields, body)
        if type(body) is not Paced or body.first_delay or body.delay or not body.frames:
            return b""
        return chunked_answer(self._server.common_fields(request.id, request.head), fields, b"".join(body.frames))

    def _go_on(self) -> None:
        if self._receive is _Connection._read_requests and self._request is None and not self._transport.is_closing():
            self._read_requests()

    def _begin(self, head: RequestHead) -> Request:
        server = self._server
        notes = head.notes
        request_id = notes["id"] if "id" in notes else self._callers_id(head)
        if not request_id:
            request_id = server.new_id()
        peer = self._client_address(head) if self._behind_proxy else self._peer
        request = self._request = Request(head, request_id, peer)
        self._status = 0
        self._head_begun = False
        self._deadline = 0.0
        self._started_at = self._loop.time()
        server.metrics.in_flight += 1
        if server.log.records_requests:
            server.log.started(request)
        return request

    def _callers_id(self, head: RequestHead) -> str:
        """Return the request id that the caller chose, "" for none; worked out once for a head that is repeated."""
        request_id = head.fields.get("x-request-id")
        head.notes["id"] = request_id if _SANE_ID.fullmatch(request_id) else ""
        return head.notes["id"]

    def _take_request(self, request: Request) -> None:
        """Route a request that has begun, and take its body as the endpoint wants it."""
        server, head = self._server, request.head
        self._writer = ResponseWriter(head)
        try:
            # What a head is routed to depends on nothing else, so a repeated head need not be routed again.
            endpoint = head.notes.get("endpoint")
            if endpoint is None:
                endpoint = head.notes["endpoint"] = server.route(request)
                if not endpoint.streams_body and takes_ready_answer(head):
                    head.notes["plain endpoint"] = endpoint
            self._endpoint = endpoint
        except Exception as exc:
            self._respond(self._failed(exc))
            return
        self._continue_due = head.expects_continue
        self._body_seconds_left = server.body_seconds
        if endpoint.streams_body:
            self._reader.max_body = None
            self._receive = _Connection._wake_stream
            request.stream = self._stream = _BodyStream(self)
            self._answer(endpoint, request)
        else:
            self._held = b""
            self._receive = _Connection._hold_body
            self._hold_body()

    def _client_address(self, head: RequestHead) -> str:
        """Return whom the trusted proxy says that it speaks for; worked out once for a head that is repeated."""
        if self._client[0] is not head:
            forwarded_for = head.fields.get("x-forwarded-for")
            self._client = head, self._server.proxies.client(self._peer, forwarded_for)
        return self._client[1]

    def _hold_body(self) -> None:
        reader = self._reader
        try:
            while True:
                event = reader.next_event()
                if type(event) is BodyPart:
                    self._hold(event.data)
                elif event is NEED_DATA:
                    self._resume_reading()
                    self._await_body()
                    return
                else:
                    break
        except BadMessage as exc:
            self._refuse(ApiError(exc.status, exc.message))
            return
        self._end_wait_for_body()
        request, endpoint = self._request, self._endpoint
        held = self._held
        request.body = held if type(held) is bytes else bytes(held)
        self._held = b""
        self._receive = _Connection._wake_stream
        self._answer(endpoint, request)

    def _hold(self, data: bytes) -> None:
        if not self._held:
            self._held = data
        else:
            if type(self._held) is bytes:
                self._held = bytearray(self._held)
            self._held += data

    def _wake_stream(self) -> None:
        """Take bytes that came while an answer is on its way: for the endpoint that reads them, or for later."""
        if self._stream is not None:
            self._stream.wake()
        self._pause_reading_if_much_waits()

    # ---- answers ------------------------------------------------------------------------------------------------

    def _answer(self, endpoint: Endpoint, request: Request) -> None:
        self._take_answer(self._ask(endpoint, request))

    def _ask(self, endpoint: Endpoint, request: Request) -> Answer:
        on_request = self._server.on_request
        if on_request is not None:
            on_request(request)
        try:
            return endpoint.answer(request)
        except Exception as exc:
            return self._failed(exc)

    def _take_answer(self, answer: Answer) -> None:
        """Send an answer that is ready; wait for any other."""
        if type(answer) is Response:
            self._respond(answer)
        elif isinstance(answer, Pending):
            answer.deliver = self._deliver
            self._producer = answer
        else:
            self._task = self._loop.create_task(self._await_answer(answer))

    def _deliver(self, answer: Response | Rest) -> None:
        """Take what a Pending answer has become."""
        if type(answer) is Response:
            self._producer = None
            request = self._request
            is_plain = answer.status == 200 and "plain endpoint" in request.head.notes and not self._server.draining
            data = self._rendered(answer, request) if is_plain else b""
            if data:
                # The short way for nearly every answer: 1 µs less (CPython 3.11).
                self._status = 200
                self._transport.write(data)
                self._finish()
            else:
                self._respond(answer)
        else:
            self._task = self._loop.create_task(self._await_answer(answer))

    async def _await_answer(self, answer: typing.Awaitable[Response]) -> None:
        self._producer = None  # a Pending one, whose rest is awaited from here on
        try:
            response = await answer
            if type(response) is not Response:
                raise TypeError("an endpoint must answer with a Response")
        except Exception as exc:
            if self._request is None:
                return
            response = self._failed(exc)
        if isinstance(response.body, (bytes, Paced, Pushed)):
            self._task = None
            # Where the client has gone, the endpoint did not let itself be cancelled.
            if self._request is not None:
                self._respond(response)
            else:
                cancel_body(response)
        else:
            await self._send_stream(response)

    def _failed(self, exc: Exception) -> Response:
        """Turn what an endpoint raised into its answer; the only place where any exception is caught."""
        if isinstance(exc, BackendFailed):
            return exc.response
        if not isinstance(exc, ApiError):
            self._server.log.failure(self._request, exc)
            exc = _internal_error("while processing your request")
        return self._as_response(exc)

    def _as_response(self, error: ApiError) -> Response:
        if self._endpoint is not None and self._endpoint.error_response is not None:
            return self._endpoint.error_response(error)
        return error_response(error)

    def _respond(self, response: Response) -> None:
        """Send an answer whose body is ready or paced; hand any other to a task."""
        body = response.body
        waits = False
        try:
            if type(body) is bytes:
                if not self._reader.is_over:
                    self._give_up_unread_body()
                data = self._writer.whole(response.status, self._fields_of(response), body)
            elif type(body) is Paced:
                if not self._reader.is_over:
                    self._give_up_unread_body()
                writer, fields = self._writer, self._fields_of(response)
                waits = bool(body.first_delay or body.delay)
                if waits:
                    data = writer.start(response.status, fields, None)
                else:
                    data = writer.whole_stream(response.status, fields, b"".join(body.frames))
            elif isinstance(body, Pushed):
                self._respond_pushed(response, body)
                return
            else:
                self._task = self._loop.create_task(self._send_stream(response))
                return
        except Exception as exc:
            self._server.log.failure(self._request, exc)
            self._respond_instead(error_response(_internal_error("while processing your request")))
            return
        self._status = response.status
        self._write(data)
        if not waits:
            self._finish()
            return
        self._filler = self._filler_of(writer)
        self._producer = _PacedAnswer(self, body)
        if self._writable is None:
            self._producer.resume()

    def _filler_of(self, writer: ResponseWriter) -> bytes:
        return b"0" if writer.is_chunked and self._request.method != "HEAD" else b""

    def _respond_instead(self, response: Response) -> None:
        """Send an answer in the place of one that cannot be sent and of which nothing has left."""
        self._writer = ResponseWriter(self._request.head)
        self._respond(response)

    async def _send_stream(self, response: Response) -> None:
        """Send a body as its iterator brings it, no faster than the client reads."""
        body = response.body
        request, writer = self._request, self._writer
        encode: typing.Callable[[bytes], bytes] = writer.part
        try:
            if request is None:
                return
            if response.status == 101:
                # What follows is no body but another protocol's (RFC 9110 §15.2.2), and nothing follows that.
                encode = bytes
                writer.keep_alive = False
            self._start_stream(response)
            # The head waits one turn for the first bytes, to leave with them in one segment.
            self._loop.call_soon(self._flush)
            async for data in body:
                self._write(encode(data))
                self._flush()
                if self._writable is not None:
                    await self._writable
            self._filler = b""
            self._write(writer.finish())
            self._flush()
        except Exception as exc:
            self._break_off(response, exc)
            return
        finally:
            await self._close_body(body, request)
        self._task = None
        if self._request is not None:
            self._finish()

    def _start_stream(self, response: Response) -> None:
        """Write the head, which waits for the first bytes."""
        if self._stream is None:
            self._give_up_unread_body()
        head = self._writer.start(response.status, self._fields_of(response), response.length)
        self._flush()  # the answers before this one
        self._status = response.status
        self._continue_due = False
        self._unsent = [head]
        self._filler = self._filler_of(self._writer)

    def _respond_pushed(self, response: Response, body: Pushed) -> None:
        """Let a body send itself to `push`, `end` and `fail`."""
        try:
            self._start_stream(response)
        except Exception:
            body.cancel()
            raise
        self._response = response
        self._producer = body
        body.begin(self)
        if self._unsent is not None:
            self._loop.call_soon(self._flush)
        if self._writable is not None and self._producer is not None:
            self._producer.pause()

    def push(self, data: bytes) -> None:
        """Send a piece of a pushed body (Sink)."""
        self._push(data, False)

    def end(self, data: bytes) -> None:
        """Send the last piece of a pushed body (Sink)."""
        self._push(data, True)

    def _push(self, data: bytes, is_last: bool) -> None:
        writer = self._writer
        try:
            data = writer.part(data)
            if is_last:
                data += writer.finish()
        except Exception as exc:
            self._producer.cancel()
            self.fail(exc)
            return
        self._write(data)
        if self._unsent is not None:
            self._flush()
        if is_last:
            self._producer = self._response = None
            self._finish()

    def fail(self, error: Exception) -> None:
        """Break a pushed body off (Sink)."""
        response, self._response, self._producer = self._response, None, None
        self._break_off(response, error)

    async def _close_body(self, body: typing.Any, request: Request | None) -> None:
        close = getattr(body, "aclose", None)
        if close is None:
            return
        try:
            await close()
        except Exception as exc:
            if request is not None:
                self._server.log.failure(request, exc)

    def _break_off(self, response: Response, exc: Exception) -> None:
        """End a stream that failed midway, so that nobody can take it for whole: no last chunk, no [DONE]."""
        if self._request is None:
            return
        if not self._status or self._unsent is not None:
            # Not even the head has left.
            self._unsent = None
            self._task = None
            self._respond_instead(self._failed(exc))
            return
        error = exc if isinstance(exc, ApiError) else None
        if error is None:
            self._server.log.failure(self._request, exc)
            error = _internal_error("in the middle of this answer")
        fields = response.fields if isinstance(response.fields, bytes) else encode_fields(response.fields)
        is_told = b"text/event-stream" in fields and b"content-encoding:" not in fields and response.length is None
        if is_told:
            self._write(self._writer.part(error_event(error)))
        self._flush()
        self._task = None
        self._writer.keep_alive = False
        self._note_completed(error.status)
        if is_told or self._writer.is_chunked or response.length is not None:
            self._close()
        else:
            self._reset()

    def _reset(self) -> None:
        """Close so that a body which the connection's end was to end does not look whole (RFC 9112 §8)."""
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        self._transport.abort()

    def _fields_of(self, response: Response) -> bytes:
        if self._server.draining:
            self._writer.keep_alive = False
        request = self._request
        common = self._server.common_fields(request.id, request.head)
        fields = response.fields
        return common + (fields if type(fields) is bytes else encode_fields(fields))

    def _give_up_unread_body(self) -> None:
        """Let the connection end with this answer if the request's body is still on its way and nobody reads it."""
        if not self._skip_body():
            self._writer.keep_alive = False

    def _skip_body(self) -> bool:
        """Pass over what has come of a body; whether its end is reached, so that the next request begins there."""
        try:
            while not self._reader.is_over:
                if self._reader.next_event() is NEED_DATA:
                    return False
            return True
        except BadMessage:
            return False

    def _finish(self) -> None:
        """Go on to the next request after an answer, or close."""
        reader = self._reader
        now = self._note_completed(self._status)
        self._producer = None
        if self._stream is not None:
            self._stream = None
            reader.max_body = self._server.settings.max_body
        if not self._writer.keep_alive or not (reader.is_over or self._skip_body()):
            self._close()
            return
        reader.next_message()
        self._receive = _Connection._read_requests
        if self._unsent is None:
            # Not called from _read_requests, which goes on by itself.
            self._expect_by(now + self._server.idle_seconds)
            if reader.buffered or self._client_ended:
                self._loop.call_soon(self._go_on)
            elif not self._reading:
                self._resume_reading()

    def _note_completed(self, status: int) -> float:
        """Count and log the request, which is none of ours any more; return the time."""
        request, endpoint, server = self._request, self._endpoint, self._server
        self._request = self._endpoint = None
        now = self._loop.time()
        seconds = now - self._started_at
        server.metrics.in_flight -= 1
        server.metrics.completed(endpoint.label if endpoint is not None else "none", status, seconds)
        if server.log.records_requests:
            server.log.completed(request, status, seconds)
        return now

    def _refuse(self, error: ApiError) -> None:
        """Answer what could not be read, and end the connection so that the client can still read the answer."""
        writer = self._writer if self._request is not None else ResponseWriter(None)
        request_id = self._request.id if self._request is not None else self._server.new_id()
        head = self._request.head if self._request is not None else None
        writer.keep_alive = False
        response = self._as_response(error)
        fields = response.fields if isinstance(response.fields, bytes) else encode_fields(response.fields)
        common = self._server.common_fields(request_id, head)
        self._write(writer.whole(error.status, common + fields, response.body))
        if self._request is not None:
            self._note_completed(error.status)
        else:
            self._server.metrics.completed("none", error.status, 0.0)
        self._close()

    # ---- the wire -----------------------------------------------------------------------------------------------

    def _write(self, data: bytes) -> None:
        if self._unsent is not None:
            self._unsent.append(data)
        elif data:
            self._transport.write(data)

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, None
        if unsent:
            self._transport.write(unsent[0] if len(unsent) == 1 else b"".join(unsent))

    def _pause_reading(self) -> None:
        if self._reading and not self._client_ended:
            self._reading = False
            self._transport.pause_reading()
            if not self._looks_out:
                self._looks_out = True
                self._loop.call_later(_LOOK_OUT_SECONDS, self._look_out)

    def _look_out(self) -> None:
        """Notice a client that has gone while its socket is not read, which the loop does not tell."""
        self._looks_out = False
        if self._reading or self._transport.is_closing():
            return
        if self._has_reset():
            self._transport.abort()
        else:
            self._looks_out = True
            self._loop.call_later(_LOOK_OUT_SECONDS, self._look_out)

    def _has_reset(self) -> bool:
        sock = self._transport.get_extra_info("socket")
        return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def _resume_reading(self) -> None:
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()

    def _pause_reading_if_much_waits(self) -> None:
        if self._reader.buffered > _UNREAD_BYTES:
            self._pause_reading()

    def _close(self) -> None:
        """Close after what is written; in stages while the client may still be sending (RFC 9112 §9.6)."""
        self._flush()
        transport = self._transport
        self._receive = _Connection._discard
        self._linger_until = self._loop.time() + _LINGER_SECONDS_IN_ALL
        self._linger()
        if transport.is_closing():
            return
        # The lingering begins when all is sent: `pause_writing` now holds until then, with the time limit it sets.
        transport.set_write_buffer_limits(high=1, low=0)
        if self._client_ended or not transport.can_write_eof():
            transport.close()
            return
        self._resume_reading()
        try:
            transport.write_eof()
        except OSError:  # the client has reset the connection, which the loop has not told yet
            transport.abort()

    def _discard(self) -> None:
        """Drop what comes: the phase after the last answer."""

    def _linger(self) -> None:
        if self._writable is None:
            # Under TLS bytes may wait where they cannot be seen from here, and the client is asked to agree to the end.
            most = _LINGER_SECONDS if self._transport.can_write_eof() else _LINGER_SECONDS_IN_ALL
            self._expect_within(min(most, self._linger_until - self._loop.time()))

    def _send_continue(self) -> None:
        """Ask for the body of a client that waits to be asked (RFC 9110 §10.1.1)."""
        if self._continue_due:
            self._continue_due = False
            self._write(CONTINUE)
            self._flush()

    # ---- time ---------------------------------------------------------------------------------------------------

    def _expect_within(self, seconds: float) -> None:
        self._expect_by(self._loop.time() + seconds)

    def _expect_by(self, when: float) -> None:
        self._deadline = when
        timer = self._timer
        if timer is None or timer.when() > when:
            if timer is not None:
                timer.cancel()
            self._timer = self._loop.call_at(when, self._check_deadline)

    def _await_idle(self) -> None:
        self._expect_within(self._server.idle_seconds)

    def _await_head(self) -> None:
        if not self._reader.buffered:
            if not self._deadline:
                self._await_idle()
        elif not self._head_begun:
            # A head that drips has its time as a whole.
            self._head_begun = True
            self._expect_within(self._server.head_seconds)

    def _await_body(self) -> None:
        self._send_continue()
        if not self._deadline:
            self._expect_within(self._body_seconds_left)

    def _end_wait_for_body(self) -> None:
        self._deadline = 0.0
        if self._writable is not None:
            self._await_reader()

    def _await_reader(self) -> None:
        self._unsent_bytes = self._transport.get_write_buffer_size()
        self._expect_within(self._server.idle_seconds)

    def _check_deadline(self) -> None:
        self._timer = None
        if not self._deadline:
            return
        now = self._loop.time()
        if now < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._check_deadline)
            return
        self._deadline = 0.0
        self._time_out()

    def _time_out(self) -> None:
        settings = self._server.settings
        if self._writable is not None and self._transport.get_write_buffer_size() < self._unsent_bytes:
            # It reads slowly, but it reads.
            self._await_reader()
        elif self._writable is not None or self._receive is _Connection._discard:
            self._transport.abort()
        elif self._receive is _Connection._hold_body:
            self._refuse(ApiError(408, f"The body did not come within {settings.body_timeout:g} seconds."))
        elif self._receive is _Connection._wake_stream:
            if self._stream is not None:
                self._stream.fail(ApiError(408, f"The body did not come within {settings.body_timeout:g} seconds."))
        elif self._reader.buffered:
            self._refuse(ApiError(408, f"The request's head did not come within {settings.head_timeout:g} seconds."))
        else:
            self._close()

    # ---- clients that leave -------------------------------------------------------------------------------------

    def _probe(self) -> None:
        """Find out whether a client that ended its side still listens, by bytes that no client takes for an answer.

        A closed socket looks like a half-closed one until something is sent to it; then its host resets the
        connection. An interim 100 (RFC 9110 §15.2: clients take any number) or, within a chunked body, a leading zero
        of the next chunk's size (RFC 9112 §7.1: 1*HEXDIG) mean nothing to a client that is there.
        """
        if not self._status:
            if not self._request.head.minor_version:
                return
            self._write(CONTINUE)
        else:
            self._write(self._filler)
        self._flush()
        self._loop.call_later(_PROBE_SECONDS[0], self._look_for_reset, 1)

    def _look_for_reset(self, looks: int) -> None:
        if (self._task is None and self._producer is None) or self._transport.is_closing():
            return
        if self._has_reset():
            self._transport.abort()
        elif looks < len(_PROBE_SECONDS):
            self._loop.call_later(_PROBE_SECONDS[looks], self._look_for_reset, looks + 1)

    @property
    def is_answering(self) -> bool:
        """Whether a request has begun and its answer has not left altogether."""
        transport = self._transport
        return self._request is not None or transport.is_closing() or transport.get_write_buffer_size() > 0

    def abandon(self) -> None:
        """Close at once."""
        if self._task is not None:
            self._server.cancel(self._task)
        if self.is_answering:
            self._transport.abort()
        else:
            self._transport.close()


def _internal_error(when: str) -> ApiError:
    return ApiError(500, f"The server had an error {when}.", code="internal_error")


class _BodyStream:
    """A request's body as its endpoint reads it: straight from the reader, the socket paused while nobody does."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self._waiter: asyncio.Future[None] | None = None
        self._error: ApiError | None = None
        self._done = False

    def __aiter__(self) -> _BodyStream:
        return self

    async def __anext__(self) -> bytes:
        connection = self._connection
        while not self._done:
            if self._error is not None:
                raise self._error
            try:
                event = connection._reader.next_event()
            except BadMessage as exc:
                self._error = ApiError(exc.status, exc.message)
                connection._writer.keep_alive = False
                continue
            if type(event) is BodyPart:
                return event.data
            if event is NEED_DATA:
                await self._more()
            elif connection._status == 101:
                rest = connection._reader.take_rest()
                if rest:
                    return rest
                if connection._client_ended:
                    break
                await self._more()
            else:
                break
        self._done = True
        raise StopAsyncIteration

    async def _more(self) -> None:
        """Wait for bytes; only this waiting counts against body_timeout, not what the endpoint does meanwhile."""
        connection = self._connection
        connection._resume_reading()
        connection._send_continue()
        began = connection._loop.time()
        self._waiter = connection._loop.create_future()
        self.limit_wait()
        try:
            await self._waiter
        finally:
            self._waiter = None
            connection._body_seconds_left -= connection._loop.time() - began
            connection._end_wait_for_body()

    def limit_wait(self) -> None:
        """Set the time limit for what is waited for, if anything is; none holds in a tunnel."""
        connection = self._connection
        if self._waiter is not None and connection._status != 101:
            connection._expect_within(connection._body_seconds_left)

    def wake(self) -> None:
        """Say that there may be bytes."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def fail(self, error: ApiError) -> None:
        """Let the endpoint's reading raise."""
        self._error = error
        self.wake()


class _PacedAnswer(Producer):
    """A paced body on its way. Frames that are late leave together, so that a busy server falls behind no further."""

    __slots__ = ("_at", "_body", "_connection", "_due", "_has_timer", "_running")

    def __init__(self, connection: _Connection, body: Paced) -> None:
        self._connection = connection
        self._body = body
        self._at = 0
        self._due = connection._loop.time() + body.first_delay
        self._running = False
        self._has_timer = False

    def resume(self) -> None:
        self._running = True
        self._set_timer()

    def pause(self) -> None:
        self._running = False

    cancel = pause

    def _set_timer(self) -> None:
        if not self._has_timer:
            self._has_timer = True
            self._connection._server.pacer.add(self._due, self)

    def send_due(self, now: float) -> None:
        """Send the frames that are due; called by the pacer."""
        self._has_timer = False
        if not self._running:
            return
        connection, body = self._connection, self._body
        frames, writer = body.frames, connection._writer
        output = b""
        while self._due <= now and self._at < len(frames):
            output += writer.part(frames[self._at])
            self._at += 1
            self._due += body.delay
        if self._at == len(frames):
            self._running = False
            connection._transport.write(output + writer.finish())
            connection._finish()
            return
        self._set_timer()
        connection._transport.write(output)


class Pacer:
    """Timers for paced bodies: all that are due within one tick of a millisecond share a single timer of the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ticks: dict[int, list[_PacedAnswer]] = {}
        self._order: list[int] = []
        self._timer: asyncio.TimerHandle | None = None
        self._now: list[_PacedAnswer] = []

    def add(self, when: float, answer: _PacedAnswer) -> None:
        """Let `answer.send_due` be called at `when`, in the loop's time, or up to a tick later."""
        tick = int(when / _TICK_SECONDS) + 1
        due = self._ticks.get(tick)
        if due is not None:
            due.append(answer)
            return
        self._ticks[tick] = [answer]
        heapq.heappush(self._order, tick)
        if not self._now and (self._timer is None or self._timer.when() > tick * _TICK_SECONDS):
            self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._order[0] * _TICK_SECONDS, self._run) if self._order else None

    def _run(self) -> None:
        """Serve what is due, so many at a time that the loop's other work is not kept waiting."""
        self._timer = None
        now = self._loop.time()
        while self._order and self._order[0] * _TICK_SECONDS <= now and len(self._now) < _PACED_A_TURN:
            self._now += self._ticks.pop(heapq.heappop(self._order))
        turn, rest = self._now[:_PACED_A_TURN], self._now[_PACED_A_TURN:]
        self._now = turn  # so that add() leaves the arming to us
        try:
            for answer in turn:
                answer.send_due(now)
        finally:
            self._now = rest
            if rest:
                self._loop.call_soon(self._run)
            else:
                self._arm()


def _tls_context(settings: ServerSettings) -> ssl.SSLContext | None:
    if not settings.certfile:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(settings.certfile, settings.keyfile or None)
    return context


def listen_failure(exc: OSError, settings: ServerSettings) -> str:
    """Return a sentence for an address that cannot be listened on: why, and what to do."""
    where = f"{settings.host}:{settings.port}"
    if isinstance(exc, (ssl.SSLError, FileNotFoundError)):
        return f"[server] certfile = {settings.certfile!r}, keyfile = {settings.keyfile!r}: cannot be used: {exc}"
    if isinstance(exc, socket.gaierror) or exc.errno == errno.EADDRNOTAVAIL:
        return f"{where}: this machine has no such address; set [server] host or --host, e.g. 127.0.0.1 or 0.0.0.0"
    if exc.errno == errno.EADDRINUSE:
        return f"{where}: the port is in use; choose another with --port N (0 takes any free one), or stop its user"
    if exc.errno == errno.EACCES:
        return f"{where}: not permitted; ports below 1024 need privileges, choose another with --port N"
    return f"{where}: cannot listen: {exc.strerror or exc}"
