"""One client's connection: the asyncio shell around the reader of requests.

Life of a connection
--------------------
`data_received` feeds the reader and then runs what the connection is at, its phase, a method held in `_receive`:

    _read_requests   between requests or within a head: reads as many requests as there are and can be answered
    _hold_body       the endpoint wants the body in one piece, and it is on its way
    _wake_stream     the answer is being made or sent; the endpoint may be reading the body
    _discard         the last answer is out; what the client still sends is dropped until it closes (leaving.py)

Requests of one connection are answered one after the other. A pipelined request waits, unread, in the reader, and when
too many bytes wait there the socket is no longer read: order, bound and back-pressure come from that alone.

An answer that is ready is parsed, routed, rendered and written within `data_received`: no task, no queue, no await.
A request that comes whole, with a head that is known, leaves out even the reader's events, the gathering of answers
and the Exchange that others are (`_answer_whole`). What has to wait is an Exchange; sending.py has its life.

Memory
------
What a connection holds is counted in the server's HeldBytes (`_count`): the body that is held or still to come, what
waits in the reader, and what the client does not take of its answer. A body is refused with 503 before it is read
where there is no room for it and for what is read of it, and so is any request while there is none at all. It is
counted wherever something has to be waited for, and given back where a request or the connection ends; what comes and
goes within one turn of the loop is not.

Time limits
-----------
There is one Deadline a connection, since it waits for one thing at a time:

    from the connection to its first head's end     head_timeout, then 408, or closed in stages if nothing came
    between requests, nothing has come              idle_timeout, then it is closed in stages
    within a head                                   head_timeout for the whole of it, then 408
    within a body that is held                      body_timeout since its last bytes, then 408
    within a body that is read as it comes          body_timeout for each wait in it, then the reading raises 408
    the client does not take what was written       idle_timeout since it last took something, then it is aborted
    the staged close                                what StagedClose says, then it is aborted

A tunnel that its client has left has a limit of its own, in SocketIntake.
"""

from __future__ import annotations

import asyncio
import typing

from protocol.deadline import Deadline
from protocol.errors import ApiError
from protocol.exchange import LONG_BODY, Endpoint, HeadFacts, LateEndpoint, Request, Response
from protocol.server.answering import (
    UNROUTED,
    answer_to,
    new_request,
    note_answered,
    note_begun,
    refusal,
    rendered,
)
from protocol.server.leaving import Probe, SocketIntake, StagedClose, reset
from protocol.server.output import Output
from protocol.server.receiving import BodyStream, HeldBody, skip_body
from protocol.server.sending import Exchange, ServerForExchanges
from protocol.server.settings import ServerSettings
from protocol.service.forwarded_for import TrustedProxies
from protocol.wire.http1.memo import RequestMemo
from protocol.wire.http1.messages import CLOSED, NEED_DATA, BadMessage, RequestHead
from protocol.wire.http1.readers import RequestReader
from protocol.wire.http1.writers import takes_ready_answer
from protocol.wire.long_json import value_bytes

#: Bytes read from a socket at once.
READ_BYTES = 65536
# Pipelined requests answered in one go, before other connections have their turn; their answers leave in one write.
_REQUESTS_A_TURN = 16
# Bytes of later requests or of an unread body that may wait inside before the socket is no longer read.
_UNREAD_BYTES = 65536
# Bytes of a head, or of a body that came with it, that are not counted: nearly all have fewer, and counting takes time.
_UNCOUNTED_BYTES = 4096
# Bytes of an answer that may wait for the client before its producer is stopped.
_UNSENT_BYTES = 65536


class ServerForConnections(ServerForExchanges, typing.Protocol):
    """What a connection needs of the server; limits are in seconds, infinite where there is none."""

    settings: ServerSettings
    proxies: TrustedProxies
    heads: RequestMemo
    connections: set[Connection]
    greeting: set[Connection]
    receive_buffer: memoryview
    most_body_bytes: int
    head_seconds: float
    body_seconds: float
    idle_seconds: float

    def route(self, request: Request) -> Endpoint:
        """Choose the endpoint from the head; ApiError where there is none."""

    def surplus_refusal(self) -> ApiError:
        """Return what a connection is told that is one too many."""

    def note_end(self, connection: Connection) -> None:
        """Learn that a connection is over."""


class ProxiedClient:
    """Whom a trusted proxy speaks for on one connection, worked out once for a head that is repeated there."""

    __slots__ = ("_address", "_head", "_peer", "_proxies")

    def __init__(self, proxies: TrustedProxies, peer: str) -> None:
        self._proxies = proxies
        self._peer = peer
        self._head: RequestHead | None = None
        self._address = ""

    def client(self, head: RequestHead) -> str:
        """Return the address of the client that sent a request with this head."""
        if self._head is not head:
            self._head = head
            self._address = self._proxies.client(self._peer, head.fields.get("x-forwarded-for"))
        return self._address


class Connection(asyncio.BufferedProtocol):
    """One client's connection; see the module's text for its phases."""

    # What is read so often is read faster so, and a connection is 0.7 kB smaller.
    __slots__ = (
        "_body_bytes", "_closing", "_counted", "_exchange", "_head_begun", "_held", "_is_surplus", "_peer", "_proxied",
        "_receive", "_server", "_stream", "_transport", "deadline", "intake", "is_spoilt", "loop", "output", "reader",
    )  # fmt: skip

    _transport: asyncio.Transport
    deadline: Deadline
    output: Output
    intake: SocketIntake

    def __init__(self, server: ServerForConnections, *, is_surplus: bool) -> None:
        settings = server.settings
        self._server = server
        self._is_surplus = is_surplus  # it is one too many, and told so
        self.loop = server.loop
        self.reader = RequestReader(max_head=settings.max_head, max_body=server.most_body_bytes, memo=server.heads)
        self.is_spoilt = False
        self._peer = "-"
        self._proxied: ProxiedClient | None = None  # where `_peer` is a trusted proxy
        # A function and not a bound method: that would be a cycle, left to the collector.
        self._receive: typing.Callable[[Connection], typing.Any] = Connection._read_requests
        self._exchange: Exchange | None = None  # the request that has begun and is not over
        self._held: HeldBody | None = None  # its body, on its way
        self._stream: BodyStream | None = None  # or this
        self._closing: StagedClose | None = None
        self._head_begun = False  # a head has its time limit
        self._body_bytes = 0  # of the request's body, which is held or is to come
        self._counted = 0  # bytes, in the server's account of what is held

    # ---- what asyncio calls -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = typing.cast(asyncio.Transport, transport)
        self._transport = transport
        # Not before: it refers back here, and a connection whose handshake fails never learns that it is over.
        self.deadline = Deadline(self.loop, self._time_out)
        self.output = Output(transport)
        self.intake = SocketIntake(transport, self.loop)
        transport.set_write_buffer_limits(high=_UNSENT_BYTES)
        peer = transport.get_extra_info("peername")
        self._peer = peer[0] if isinstance(peer, tuple) else "-"
        server = self._server
        if server.settings.trusted_proxies and server.proxies.trusts(self._peer):
            self._proxied = ProxiedClient(server.proxies, self._peer)
        server.greeting.discard(self)
        server.connections.add(self)
        self.deadline.expire_in(server.head_seconds)
        if self._is_surplus:
            self._refuse(server.surplus_refusal())

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._server.receive_buffer

    def buffer_updated(self, size: int) -> None:
        receive = self._receive
        if receive is Connection._read_requests:
            data = bytes(self._server.receive_buffer[:size])
            if not self._answer_whole(data):
                self.reader.feed(data)
                self._read_requests()
        elif receive is Connection._discard:
            self._linger()
        else:
            self.reader.feed(bytes(self._server.receive_buffer[:size]))
            receive(self)

    def data_received(self, data: bytes) -> None:
        """Take what the client sent, as asyncio hands it over through the buffer; for tests."""
        for start in range(0, len(data), READ_BYTES):
            part = data[start : start + READ_BYTES]
            self.get_buffer(-1)[: len(part)] = part
            self.buffer_updated(len(part))

    def eof_received(self) -> bool:
        self.intake.has_ended = True
        if self._closing is not None:
            return False
        self.reader.feed(b"")
        self._receive(self)
        # The client may only have closed its own direction: its answer is still owed (RFC 9112 §9.6). TLS closes both.
        stays = self._transport.can_write_eof() and not self._transport.is_closing()
        exchange = self._exchange
        if stays and self.intake.is_tunnel:
            self.intake.leave_tunnel()
        elif stays and exchange is not None and exchange.is_awaited:
            if exchange.provoke():
                Probe(self._transport, self.loop, self._is_awaited)
            else:
                stays = False
                self._transport.abort()
        return stays

    def _is_awaited(self) -> bool:
        return self._exchange is not None and self._exchange.is_awaited

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.note_end(self)
        self._transport.close()  # CPython before 3.11 warns of a TLS transport that nobody but its client closed
        self.deadline.close()
        # What refers back here, or to itself, is let go of, so that it need not wait for the collector. CPython before
        # 3.12 leaves a transport its own method.
        getattr(self._transport, "__dict__", {}).pop("_read_ready_cb", None)
        exchange, self._exchange, self._stream, self._held = self._exchange, None, None, None
        if exchange is not None:
            exchange.abandon()
            self.output.break_off(self.loop)  # an endpoint that will not be cancelled stops where it next sends
        self._receive = Connection._discard
        self._server.held.add(-self._counted)
        self._counted = 0

    def pause_writing(self) -> None:
        self.output.writable = self.loop.create_future()
        if self._exchange is not None:
            self._exchange.pause()
        self._await_reader()

    def resume_writing(self) -> None:
        self.output.resume()
        self._count()
        self.deadline.when = 0.0
        exchange = self._exchange
        if exchange is not None and exchange.resume():
            return
        if self._closing is not None:
            self._closing.restart()
        elif self._receive is Connection._hold_body:
            self._await_body()
        elif self._stream is not None:
            self._stream.limit_wait()
        elif exchange is None and self._receive is Connection._read_requests:
            self.deadline.expire_in(self._server.idle_seconds)
            self.loop.call_soon(self._read_on)

    # ---- requests -----------------------------------------------------------------------------------------------

    def _read_requests(self) -> None:
        """Read and answer what has come, up to a bound; the answers leave in one write."""
        output = self.output
        output.gathered = []
        again = False
        try:
            for _ in range(_REQUESTS_A_TURN):
                if output.writable is not None:
                    # A client that sends requests and reads no answers is not read either.
                    self.intake.pause()
                    break
                event = self.reader.next_event()
                if type(event) is RequestHead:
                    self._take_request(event)
                    if self._exchange is not None or self._receive is not Connection._read_requests:
                        break
                elif event is NEED_DATA:
                    if not self.intake.is_open:
                        self.intake.resume()
                    self._await_head()
                    break
                elif event is CLOSED:
                    self.close()
                    break
            else:
                again = True
        except BadMessage as exc:
            self._refuse(ApiError(exc.status, exc.message))
        finally:
            output.flush()
        if again:
            self._pause_reading_if_much_waits()
            self.loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        if self._receive is Connection._read_requests and self._exchange is None and not self._transport.is_closing():
            self._read_requests()

    def _answer_whole(self, data: bytes) -> bool:
        """Answer `data` if it is one request, all of it, with a head of a known kind; return whether it was.

        The answer is the one that the ordinary way would give. This way leaves out what serves waiting and pipelining,
        which saves 9 µs a request (CPython 3.11).
        """
        reader, server = self.reader, self._server
        whole = reader.whole_request(data)
        if whole is None:
            return False
        head, body = whole
        facts: HeadFacts = head.facts
        endpoint = facts.direct_endpoint
        if endpoint is None or self.output.writable is not None or server.draining or server.held.is_full:
            return False
        started_at = server.time()
        peer = self._peer if self._proxied is None else self._proxied.client(head)
        request = new_request(server, head, facts, peer)
        request.body = body
        request.came_at = started_at
        if server.on_request is not None:
            server.on_request(request)
        data, answer_id = b"", ""
        try:
            answer = endpoint.answer(request)
            if type(answer) is Response and answer.status == 200:
                data, answer_id = rendered(answer, request, server), answer.request_id
        except Exception as exc:
            note_begun(server, request)
            answer = answer_to(exc, server, endpoint, request)
        else:
            if data:
                self._transport.write(data)
                now = note_answered(server, request, endpoint, started_at, answer_id)
                when, deadline = now + server.idle_seconds, self.deadline
                if 0.0 < deadline.when <= when:
                    deadline.when = when
                else:
                    deadline.expire_at(when)
                return True
            note_begun(server, request)
        reader.take_whole()
        self.deadline.when = 0.0
        self._receive = Connection._wake_stream
        exchange = self._exchange = Exchange(self, server, request, endpoint, started_at)
        exchange.take(answer)
        self._count_body(exchange, body)
        return True

    def _take_request(self, head: RequestHead) -> None:
        """Route a request that has begun, and take its body as the endpoint wants it."""
        server = self._server
        started_at = server.time()
        self._head_begun = False
        self.deadline.when = 0.0
        facts: HeadFacts = head.facts
        peer = self._peer if self._proxied is None else self._proxied.client(head)
        request = new_request(server, head, facts, peer)
        note_begun(server, request)
        try:
            # What a head is routed to depends on nothing else, so a repeated head need not be routed again.
            endpoint = facts.endpoint
            if endpoint is None:
                endpoint = server.route(request)
                if not isinstance(endpoint, LateEndpoint):
                    facts.endpoint = endpoint
                    is_direct = not endpoint.streams_body and takes_ready_answer(head)
                    if is_direct and "content-encoding" not in head.fields:
                        facts.direct_endpoint = endpoint
        except Exception as exc:
            exchange = self._exchange = Exchange(self, server, request, UNROUTED, started_at)
            exchange.fail_with(exc)
            return
        exchange = self._exchange = Exchange(self, server, request, endpoint, started_at)
        if server.held.is_full and not endpoint.is_vital:
            exchange.fail_with(server.held.refusal())
            return
        self.output.continue_due = head.expects_continue
        if endpoint.streams_body:
            if not isinstance(endpoint, LateEndpoint):  # which may lead to one that holds the body
                self.reader.max_body = None
            self._receive = Connection._wake_stream
            request.stream = self._stream = BodyStream(self, server.body_seconds)
            exchange.answer()
        else:
            self._held = HeldBody(self.reader, head)
            self._receive = Connection._hold_body
            self._hold_body()

    # ---- bodies -------------------------------------------------------------------------------------------------

    def _hold_body(self) -> None:
        exchange, held = self._exchange, self._held
        assert exchange is not None and held is not None
        try:
            body = held.read()
        except BadMessage as exc:
            exchange.refuse(ApiError(exc.status, exc.message))
            return
        if body is None:
            if not self._makes_room(held.size):
                exchange.refuse(self._server.held.refusal(held.size))
                return
            if not self.intake.is_open:
                self.intake.resume()
            self._await_body()
            return
        self._held = None
        self.end_wait_for_body()
        self._receive = Connection._wake_stream
        made_room = held.made_room(body)
        exchange.answer(body, made_room)
        self._count_body(exchange, body, made_room)

    def _wake_stream(self) -> None:
        """Take bytes that came while an answer is on its way: for the endpoint that reads them, or for later."""
        if self._stream is not None:
            self._stream.wake()
        self._pause_reading_if_much_waits()

    def _pause_reading_if_much_waits(self) -> None:
        if self.reader.buffered > _UNREAD_BYTES:
            self.intake.pause()
            self._count()

    def _makes_room(self, size: int) -> bool:
        """Count a body of so many bytes as held, if there is room for it; return whether there is."""
        if not self._server.held.has_room(size - self._body_bytes):
            return False
        self._body_bytes = size
        self._count()
        return True

    def _count_body(self, exchange: Exchange, body: bytes, made_room: int = 0) -> None:
        """Count a body that has been taken, while its answer is awaited.

        What a short one says has been read by now, and is held as long. For a long one there is `made_room`.
        """
        if len(body) > _UNCOUNTED_BYTES and self._exchange is exchange:
            self._body_bytes = len(body) + (value_bytes(body) if len(body) <= LONG_BODY else made_room)
            self._count()

    def _count(self) -> None:
        """Count what is held here as it is now."""
        now = self._body_bytes + self.reader.buffered
        if self.output.writable is not None:
            now += self._transport.get_write_buffer_size()
        self._server.held.add(now - self._counted)
        self._counted = now

    def spoil(self) -> None:
        """Note that nobody can say where the next request begins."""
        self.is_spoilt = True

    def enter_tunnel(self) -> None:
        """Note that the connection changes to another protocol (RFC 9110 §15.2.2)."""
        self.intake.is_tunnel = True

    # ---- the end of a request, and of the connection ------------------------------------------------------------

    def go_on(self, keep_alive: bool, now: float) -> None:
        """Go on to the next request after an answer, or close."""
        reader = self.reader
        self._exchange = None
        if self._counted or self._stream is not None:
            self._end_request()
        if not keep_alive or not (reader.is_over or skip_body(reader)):
            self.close()
            return
        reader.next_message()
        self._receive = Connection._read_requests
        if self.output.gathered is None:
            # Not called from _read_requests, which goes on by itself.
            self.deadline.expire_at(now + self._server.idle_seconds)
            if reader.buffered or self.intake.has_ended:
                self.loop.call_soon(self._read_on)
            elif not self.intake.is_open:
                self.intake.resume()

    def _end_request(self) -> None:
        self._exchange = self._held = None
        if self._stream is not None:
            self._stream = None
            self.reader.max_body = self._server.most_body_bytes
        self._body_bytes = 0
        if self._counted:
            self._count()

    def _refuse(self, error: ApiError) -> None:
        """Answer what is no request, and end the connection so that the client can still read the answer."""
        self.output.write(refusal(error, self._server))
        self._server.metrics.refused(error.status)
        self.close()

    def close(self) -> None:
        """Close after what is written; in stages while the client may still be sending (RFC 9112 §9.6)."""
        self.output.flush()
        self.reader.take_rest()
        self._end_request()
        self._receive = Connection._discard
        self._closing = StagedClose(self._transport, self.loop, self.deadline)
        self._linger()
        self._closing.begin(self.intake)

    def _discard(self) -> None:
        """Drop what comes: the phase after the last answer."""

    def _linger(self) -> None:
        if self._closing is not None and self.output.writable is None:
            self._closing.wait()

    def reset(self) -> None:
        """End the connection so that the client sees an error, and no clean end of a body."""
        self._end_request()
        reset(self._transport)

    @property
    def exchange(self) -> Exchange | None:
        """The request that has begun and is not over, None between requests."""
        return self._exchange

    @property
    def is_answering(self) -> bool:
        """Whether a request has begun and its answer has not left altogether."""
        transport = self._transport
        return self._exchange is not None or transport.is_closing() or transport.get_write_buffer_size() > 0

    def abandon(self) -> None:
        """Close at once."""
        if self._exchange is not None:
            self._exchange.cancel()
        if self.is_answering:
            self._transport.abort()
        else:
            self._transport.close()

    # ---- time ---------------------------------------------------------------------------------------------------

    def _await_head(self) -> None:
        if not self.reader.buffered:
            if not self.deadline.when:
                self.deadline.expire_in(self._server.idle_seconds)
        elif not self._head_begun:
            # A head that drips has its time as a whole.
            self._head_begun = True
            self.deadline.expire_in(self._server.head_seconds)
        if self.reader.buffered > _UNCOUNTED_BYTES:
            if self._server.held.is_full:
                self._refuse(self._server.held.refusal())
            else:
                self._count()

    def _await_body(self) -> None:
        if self.output.continue_due:
            self.output.ask_for_body()
        self.deadline.expire_in(self._server.body_seconds)

    def end_wait_for_body(self) -> None:
        """Let the time limit for the body hold no more, but the one for a client that takes nothing."""
        self.deadline.when = 0.0
        if self.output.writable is not None:
            self._await_reader()

    def _await_reader(self) -> None:
        self._count()
        self.output.note_untaken()
        self.deadline.expire_in(self._server.idle_seconds)

    def _time_out(self) -> None:
        settings = self._server.settings
        if self.output.writable is not None and self.output.has_moved():
            # It reads slowly, but it reads.
            self._await_reader()
        elif self.output.writable is not None or self._closing is not None:
            self._transport.abort()
        elif self._exchange is not None:
            error = ApiError(408, f"Nothing more of the body came for {settings.body_timeout:g} seconds.")
            if self._receive is Connection._hold_body:
                self._exchange.refuse(error)
            elif self._stream is not None:
                self._stream.fail(error)
        elif self.reader.buffered:
            self._refuse(ApiError(408, f"The request's head did not come within {settings.head_timeout:g} seconds."))
        else:
            self.close()
