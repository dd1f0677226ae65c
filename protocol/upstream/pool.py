"""Connections to one upstream: opened, kept, bounded in number, and closed the moment that nobody wants them.

How a request travels
---------------------
`UpstreamPool.send` takes an idle connection or opens one, writes the request, and returns an UpstreamAnswer as soon as
the answer's head is there. The answer is an asynchronous iterator over its body. When the body has been read to its
end the connection goes back to the pool; in every other case (an error, a cancelled task, `aclose()` half-way) it is
closed at once, because nobody could say where the next answer on it would begin.

All that waits can be had without a coroutine as well: `UpstreamPool.begin` only writes the request, and a connection's
`notify` is called whenever something has come or gone wrong. Whoever has begun so looks with `poll_head` and `take`,
and may at any point go on with `send` instead, which finds everything as it was. A coroutine is woken by the same
`notify`.

Each connection is a protocol around a ResponseReader and not a StreamReader: what the socket brings goes straight into
the reader, and whoever wants it pulls parts out of it. So the socket is paused by what the reader itself holds (at most
_WAITING_BYTES wait, plus what one read of the event loop brings), an idle connection notices at once when its upstream
closes it or says something unasked, and a time limit needs no task.

Times are kept by one lazy timer a connection: a wait sets a deadline, the timer looks at it when it rings.

What goes wrong is raised as UpstreamFailed, which is an ApiError ready for the client: it names the backend by its
name in the configuration, and neither addresses nor keys nor anything that the upstream said.
"""

from __future__ import annotations

import asyncio
import collections
import errno
import functools
import math
import os
import socket
import ssl
import typing

from protocol.upstream.destination import Destination, Proxy, parse_ip_address
from protocol.upstream.failures import UpstreamBroke, UpstreamFailed, UpstreamTimeout, UpstreamUnreachable
from protocol.wire.http1.memo import ResponseMemo
from protocol.wire.http1.messages import NEED_DATA, BadMessage, ResponseHead
from protocol.wire.http1.readers import ResponseReader
from protocol.wire.http1.writers import RequestWriter, encode_fields, request_lines, whole_request

# Bytes of an answer that may wait inside before the socket is no longer read, of a request before its producer stops.
_WAITING_BYTES = 65536

# A body up to this size goes out in one write with its head, a larger one in pieces of it as the socket takes them.
_PIECE_BYTES = 65536

# RFC 8305 §5: how long one address family is given before the other one is tried beside it.
_ATTEMPT_DELAY_SECONDS = 0.25

# RFC 9110 §15.2 lets any number of interim answers come; without an end they would keep a client waiting for nothing.
_MAX_INTERIM_HEADS = 32
_SILENCE = "nothing came for too long"

# Bytes read from a socket at once.
_ANSWER_BYTES = 65536
_TURNS_TO_CLOSE = 10


# ---- one connection ---------------------------------------------------------------------------------------------


class UpstreamConnection(asyncio.BufferedProtocol):
    """One connection and the exchange that it is busy with, if any.

    `notify` is called when something has come or gone wrong; None where nobody waits for that.
    """

    __slots__ = (
        "_buffer", "_deadline", "_error", "_interim", "_limit", "_loop", "_memo", "_paused", "_reader", "_timer",
        "_writable", "answered", "born", "closed", "complete", "deadline", "head", "idle", "idle_since", "keep", "name",
        "notify", "on_lost", "sender", "transport",
    )  # fmt: skip

    def __init__(
        self, name: str, memo: ResponseMemo, buffer: memoryview, on_lost: typing.Callable[[UpstreamConnection], None]
    ) -> None:
        self.name = name
        self._memo = memo
        self._buffer = buffer
        self.on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self.born = self._loop.time()
        self.transport: typing.Any = None
        self.closed = False
        self.idle = False
        self.idle_since = 0.0
        self._reader: typing.Any = None
        self._paused = False
        self.notify: typing.Callable[[], typing.Any] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0  # of the wait under way; 0: none
        self._limit = ""  # what that wait is for, in words
        # Per exchange.
        self.sender: asyncio.Task[None] | None = None
        self.begin("GET", 0.0)

    # -- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, size: int) -> None:
        if self.idle:
            # An answer to nothing: whatever it is, the next request must not get it (RFC 9112 §9.2).
            self.abort()
            return
        self.answered = True
        self._deadline = 0.0
        reader = self._reader
        reader.feed(bytes(self._buffer[:size]))
        if self.notify is not None:
            self.notify()
        elif reader.buffered > _WAITING_BYTES and not self._paused:
            self._paused = True
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        self.keep = False
        if self._reader is not None:
            self._reader.feed(b"")
        self._wake()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.keep = False
        self._deadline = 0.0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._error is None:
            # A reset must not pass for the end of a body that ends with its connection (RFC 9112 §9.5).
            if exc is None and self._reader is not None:
                self._reader.feed(b"")
            else:
                self._error = UpstreamBroke(self.name, "the connection was reset")
        self._wake()
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)
        self.on_lost(self)

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    # -- one exchange

    def begin(self, method: str, deadline: float) -> None:
        """Get ready for an exchange that must be over at `deadline` (loop time, 0 for never)."""
        self.idle = False
        self.keep = True
        self.complete = False
        self.answered = False
        self.head: ResponseHead | None = None
        self.deadline = deadline
        self._error: BaseException | None = None
        self._interim = 0
        if self.transport is None:
            return
        if self._reader is None:
            self._reader = ResponseReader(method, memo=self._memo)
        else:
            self._reader.expect(method)

    def begin_connect(self) -> None:
        """Get ready for the proxy's answer to CONNECT."""
        self._reader = ResponseReader("CONNECT")

    def forget_reader(self) -> None:
        """Read what comes next as a new connection: a tunnel has begun."""
        self._reader = None

    def send_whole(self, data: bytes) -> None:
        """Send a complete request."""
        self.transport.write(data)

    def send_stream(
        self, head: bytes, writer: RequestWriter, body: typing.AsyncIterator[bytes], seconds: float, first: float
    ) -> None:
        """Send a request whose body comes bit by bit, while the answer is awaited or even read.

        A write may take up to `seconds`; from its end on the answer may take up to `first` seconds to begin.
        """
        self.sender = self._loop.create_task(self._send_stream(head, writer, body, seconds, first))
        self.sender.add_done_callback(self._note_sent)

    async def _send_stream(
        self, head: bytes, writer: RequestWriter, body: typing.AsyncIterator[bytes], seconds: float, first: float
    ) -> None:
        unsent = head
        try:
            async for data in body:
                if self.closed:
                    return
                self.transport.write(unsent + writer.part(data))
                unsent = b""
                if self._writable is not None:
                    await self._drained(seconds)
        finally:
            close = getattr(body, "aclose", None)
            if close is not None:
                await close()
        self.transport.write(unsent + writer.finish())
        self.sender = None
        if self.head is None:
            self.wait_at_most(first, "no answer began")

    def _note_sent(self, sender: asyncio.Task[None]) -> None:
        # The client's body broke off or is not HTTP: that is the answer, unless the upstream's own has begun.
        error = None if sender.cancelled() else sender.exception()
        if error is not None and self.sender is sender:
            self.fail(error)

    async def _drained(self, seconds: float) -> None:
        if self.head is None:
            self.wait_at_most(seconds, "it does not take the request's body")
        await self._writable
        if self.head is None:
            self._deadline = self.deadline

    async def read_head(self, seconds: float) -> ResponseHead:
        """Return the final answer's head, which has `seconds` to come once the request is out; UpstreamFailed."""
        head = self.poll_head()
        while head is None:
            await self.more(0.0 if self.sender is not None else seconds, "no answer began")
            head = self.poll_head()
        return head

    def poll_head(self) -> ResponseHead | None:
        """Return the final answer's head, None while it has not come; UpstreamFailed."""
        while self.head is None:
            try:
                event = self._reader.next_event()
            except BadMessage as exc:
                raise self._broken() from exc
            if type(event) is ResponseHead:
                self._take_head(event)
            elif event is NEED_DATA and self._error is None and not self.closed:
                return None
            else:
                raise self._error or self._broken()
        return self.head

    def _take_head(self, head: ResponseHead) -> None:
        # RFC 9110 §15: no other codes are valid.
        if head.status > 599:
            raise UpstreamBroke(self.name, f"its answer has the status {head.status}, which HTTP does not have")
        if head.status >= 200 or head.status == 101:
            self.head = head
            return
        self._interim += 1
        if self._interim > _MAX_INTERIM_HEADS:
            raise UpstreamBroke(self.name, f"more than {_MAX_INTERIM_HEADS} interim answers came")

    def take(self) -> bytes:
        """Return what has come of the body, b"" for nothing; `complete` says whether it is all. UpstreamFailed.

        What came before a fault is returned first.
        """
        reader = self._reader
        try:
            data = reader.take_body()
        except BadMessage as exc:
            raise self._error or self._broken() from exc
        self.complete = reader.is_over
        return data

    def take_raw(self) -> bytes:
        """Return what has come since the tunnel began."""
        return self._reader.take_rest()

    async def more(self, seconds: float, limit: str, quiet: float = 0.0) -> bool:
        """Wait for bytes or the end, for `seconds` at most (0: without limit); raise what went wrong.

        With `quiet`, return False when nothing has come for that long.
        """
        self.check()
        waiter: asyncio.Future[bool] = self._loop.create_future()
        self.notify = functools.partial(_settle_wait, waiter, True)
        self.resume_reading()
        if not quiet or not self._deadline:  # else nothing has come since the last wait, and the silence goes on
            self.wait_at_most(seconds, limit)
        alarm = self._loop.call_later(quiet, _settle_wait, waiter, False) if quiet else None
        try:
            came = await waiter
        finally:
            self.notify = None
            if alarm is not None:
                alarm.cancel()
            else:
                self._deadline = 0.0
        if self._error is not None and not self._reader.buffered:
            raise self._error
        return came

    def check(self) -> None:
        """Raise what has gone wrong, if nothing more is to be had."""
        if self._error is not None:
            raise self._error
        if self.closed:
            raise self._broken()

    @property
    def has_more(self) -> bool:
        """Whether there are bytes that nobody has taken, or an end."""
        return self._reader.buffered > 0 or self.closed or self._error is not None

    def stop_waiting(self) -> None:
        """Forget whom to notify, and any time limit."""
        self.notify = None
        self._deadline = 0.0

    def resume_reading(self) -> None:
        """Read the socket again, if too much waited here."""
        if self._paused:
            self._paused = False
            self.transport.resume_reading()

    async def drained(self) -> None:
        """Wait until what was written is nearly out."""
        if self._writable is not None:
            await self._writable

    def fail(self, error: BaseException) -> None:
        """End the exchange with `error` and close."""
        if self._error is None:
            self._error = error
        self.abort()
        self._wake()

    def rest(self, now: float) -> bool:
        """Become idle; False when bytes wait that belong to no answer."""
        if self._reader.buffered or self.closed:
            return False
        self.notify = None
        self.resume_reading()
        self.idle = True
        self.idle_since = now
        return True

    def is_fresh(self, idle_timeout: float) -> bool:
        """Tell whether an idle connection has rested for less than `idle_timeout` seconds."""
        return self._loop.time() - self.idle_since < idle_timeout

    def abort(self) -> None:
        """Close now: nothing more is sent, nothing more is read."""
        self.keep = False
        sender, self.sender = self.sender, None
        if sender is not None:
            sender.cancel()
        if self.transport is not None:
            self.transport.abort()

    def dismiss(self) -> None:
        """Close now, and forget what nobody will ask for any more; else that waits in cycles for the collector."""
        self.notify = None
        self.abort()
        self._reader = self._error = None

    def _broken(self) -> UpstreamFailed:
        """Say how the answer is broken, in words that repeat nothing of it: it may hold our key."""
        if isinstance(self._error, UpstreamFailed):
            return self._error
        if not self.keep:
            what = "in the middle of its answer" if self.answered else "without an answer"
            return UpstreamBroke(self.name, f"it closed the connection {what}")
        return UpstreamBroke(self.name, "what it sent is not a valid HTTP/1.1 answer")

    def _wake(self) -> None:
        if self.notify is not None:
            self.notify()

    # -- time

    def wait_at_most(self, seconds: float, limit: str) -> None:
        """Fail unless something comes within `seconds` (0: without limit) and before the exchange must be over."""
        when = self._loop.time() + seconds if seconds else 0.0
        if self.deadline and (not when or when > self.deadline):
            when, limit = self.deadline, "the time for all attempts is over"
        self._deadline = when
        self._limit = limit
        timer = self._timer
        if when and (timer is None or timer.when() > when):
            if timer is not None:
                timer.cancel()
            self._timer = self._loop.call_at(when, self._check_deadline)

    def _check_deadline(self) -> None:
        self._timer = None
        if not self._deadline:
            return
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._check_deadline)
            return
        self._deadline = 0.0
        self.fail(UpstreamTimeout(self.name, self._limit))


def _settle_wait(waiter: asyncio.Future[bool], came: bool) -> None:
    if not waiter.done():
        waiter.set_result(came)


# ---- answers ----------------------------------------------------------------------------------------------------


class UpstreamAnswer:
    """An answer whose head is here; iterate over it for its body.

    `aclose` before its end says that nobody wants the rest: the connection is closed, or drained if the limits say so.

    Raises UpstreamFailed where the body breaks off.
    """

    __slots__ = ("_connection", "_pool", "head")

    def __init__(self, pool: UpstreamPool, connection: UpstreamConnection) -> None:
        self.head = connection.head
        self._pool = pool
        self._connection: UpstreamConnection | None = connection

    @property
    def complete(self) -> bool:
        """Whether all of the body has been taken."""
        return self._connection is None

    def __aiter__(self) -> UpstreamAnswer:
        return self

    async def __anext__(self) -> bytes:
        while self._connection is not None:
            data = self.take()
            if data:
                return data
            if self._connection is not None:
                await self._connection.more(self._pool.limits.timeout, _SILENCE)
        raise StopAsyncIteration

    def take(self) -> bytes:
        """Return what of the body is here already, b"" for nothing. At the end the connection is given back."""
        connection = self._connection
        data = connection.take()
        if connection.complete:
            self._connection = None
            self._pool.give_back(connection)
        return data

    def listen(self, notify: typing.Callable[[], typing.Any]) -> None:
        """Have `notify` called when there may be something to take, or something is wrong."""
        self._connection.notify = notify
        self._connection.resume_reading()

    def deafen(self) -> None:
        """Have nothing called; when much waits, the upstream is no longer read."""
        self._connection.stop_waiting()

    def take_or_wait(self) -> bytes:
        """Do what `take` does; while more is to come, its time limit begins. UpstreamFailed where no more can come."""
        data = self.take()
        connection = self._connection
        if connection is not None:
            if not data:
                connection.check()
            connection.wait_at_most(self._pool.limits.timeout, _SILENCE)
        return data

    @property
    def has_more(self) -> bool:
        """Whether another `take_or_wait` may have something to give, or to raise, at once."""
        return self._connection.has_more

    async def hold(self, most: int, seconds: float) -> bytes:
        """Return the body as far as it comes within `seconds` and `most` bytes, or a read more."""
        pieces: list[bytes] = []
        size = 0
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while self._connection is not None and size <= most and loop.time() < until:
            data = self.take()
            pieces.append(data)
            size += len(data)
            if not data and self._connection is not None:
                await self._connection.more(self._pool.limits.timeout, _SILENCE, max(0.001, until - loop.time()))
        return b"".join(pieces)

    async def aclose(self) -> None:
        """Close the connection unless the body was read to its end."""
        self.let_go()

    def let_go(self) -> None:
        """Do what `aclose` does."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.let_go(connection)

    def discard(self) -> None:
        """Close the connection unless the body was read to its end, whatever the limits say of draining."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.dismiss()


class UpstreamTunnel:
    """What follows a 101: bytes of another protocol, in both directions until either side ends it.

    Iterate over it for what the upstream says; `outgoing` is what is said to it, read once the iteration begins.
    """

    __slots__ = ("_connection", "_outgoing", "_pump", "head")

    def __init__(self, connection: UpstreamConnection, outgoing: typing.AsyncIterator[bytes]) -> None:
        self.head = connection.head
        self._connection = connection
        self._outgoing = outgoing
        self._pump: asyncio.Task[None] | None = None

    def __aiter__(self) -> UpstreamTunnel:
        return self

    async def __anext__(self) -> bytes:
        connection = self._connection
        if self._pump is None:
            self._pump = asyncio.get_running_loop().create_task(self._send())
        while True:
            data = connection.take_raw()
            if data:
                return data
            if not connection.keep:
                raise StopAsyncIteration
            await connection.more(0.0, "")

    async def _send(self) -> None:
        connection = self._connection
        async for data in self._outgoing:
            connection.send_whole(data)
            await connection.drained()
        # The client has said its last word; what is on its way to the upstream still goes out.
        connection.transport.close()

    async def aclose(self) -> None:
        """Close the connection, whatever is still under way."""
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
        self._connection.dismiss()


# ---- the pool ---------------------------------------------------------------------------------------------------


class UpstreamLimits(typing.NamedTuple):
    """Times in seconds and counts of connections; 0 for one of the first three times is no limit."""

    connect_timeout: float = 30.0  # until a connection is there: waiting for a free one, name, TCP, proxy and TLS
    first_byte_timeout: float = 120.0  # from the request's last byte to the answer's first
    timeout: float = 120.0  # between bytes
    max_connections: int = 5000
    max_idle: int = 100
    idle_timeout: float = 30.0  # how long a connection may rest
    drain_seconds: float = 0.0  # how long an answer that nobody wants any more is still read; 0: it is closed at once
    drain_bytes: int = 0  # and how many bytes of it
    max_age: float = 600.0  # how old one may be when it is used again, so that changes of the name's addresses are seen


class UpstreamRequest(typing.NamedTuple):
    """A request to send. `fields` is a block that holds Host; `stream` takes the place of `body` where it is given.

    `length` is the stream's in bytes, None for a chunked one. `tunnel` says that an answer 101 is welcome, after which
    `stream` is the tunnel's outgoing direction.
    """

    method: str
    target: str
    fields: bytes
    body: bytes = b""
    stream: typing.Optional[typing.AsyncIterator[bytes]] = None
    length: typing.Optional[int] = None
    tunnel: bool = False


class UpstreamPool:
    """The connections to one destination: used again, latest first; bounded in number, rest and age.

    `name` is the backend's, for messages. `tls` makes the TLS context once the first connection needs it.
    """

    def __init__(
        self,
        name: str,
        destination: Destination,
        limits: UpstreamLimits,
        *,
        tls: typing.Callable[[], ssl.SSLContext],
        proxy: Proxy | None = None,
    ) -> None:
        self.name = name
        self.destination = destination
        self.limits = limits
        self._make_tls = tls
        self._tls: ssl.SSLContext | None = None
        self._proxy = proxy
        self._memo = ResponseMemo()
        # What is read is taken out before anything else is read, so one buffer serves all connections.
        self._buffer = memoryview(bytearray(_ANSWER_BYTES))
        self._connections: set[UpstreamConnection] = set()
        self._idle: list[UpstreamConnection] = []
        self._opening = 0
        self._waiters: typing.Deque[asyncio.Future[None]] = collections.deque()
        self._sweep: asyncio.TimerHandle | None = None
        self._draining: set[asyncio.Task[None]] = set()

    @property
    def open_connections(self) -> int:
        """How many connections there are, idle ones included."""
        return len(self._connections) + self._opening

    @property
    def idle_connections(self) -> int:
        """How many connections wait to be used."""
        return len(self._idle)

    def begin(self, method: str, lines: bytes, body: bytes, deadline: float) -> UpstreamConnection | None:
        """Send a request on an idle connection and return that, without waiting; None where only `send` can.

        `lines` are those of `request_lines`. Set `notify` to learn of the answer.
        """
        connection = self._take_idle() if len(body) <= _PIECE_BYTES else None
        if connection is not None:
            connection.begin(method, deadline)
            connection.send_whole(whole_request(method, lines, body))
            connection.wait_at_most(self.limits.first_byte_timeout, "no answer began")
        return connection

    async def send(
        self, request: UpstreamRequest, deadline: float = 0.0, begun: UpstreamConnection | None = None
    ) -> UpstreamAnswer | UpstreamTunnel:
        """Send a request and return its answer once the head is here; raise UpstreamFailed.

        `begun` is the connection on which `begin` has sent it already. All must be over at `deadline` (loop time, 0 for
        never). An idle connection that the upstream has closed meanwhile is found out only by using it: what has not
        been answered by a single byte is sent again on a new one, once. A stream cannot be sent again, so it goes out
        on a new connection at once.
        """
        may_reuse = request.stream is None
        connection = begun or (self._take_idle() if may_reuse else None)
        if connection is None and self.open_connections >= self.limits.max_connections:
            connection = await self._wait_for_room(self._until(deadline), may_reuse)
        if connection is not None:
            try:
                return await self._exchange(connection, request, deadline, is_begun=begun is not None)
            except UpstreamBroke:
                if connection.answered:
                    raise
        connection = await self._open_one(self._until(deadline))
        return await self._exchange(connection, request, deadline)

    def give_back(self, connection: UpstreamConnection) -> None:
        """Take back a connection whose answer has been read to its end."""
        now = asyncio.get_running_loop().time()
        if (
            not connection.keep
            or not connection.head.keep_alive
            or connection.sender is not None
            or not connection.rest(now)
            or now - connection.born > self.limits.max_age
            or len(self._idle) >= self.limits.max_idle
        ):
            connection.dismiss()
            return
        self._idle.append(connection)
        if self._waiters:
            self._wake_waiter()
        if self._sweep is None:
            self._set_sweep(connection.idle_since + self.limits.idle_timeout)

    def let_go(self, connection: UpstreamConnection) -> None:
        """Take leave of an exchange that nobody waits for any more: close, or read on to its end within the limits."""
        limits = self.limits
        if not limits.drain_seconds or connection.sender is not None or not connection.keep:
            connection.dismiss()
            return
        connection.deadline = asyncio.get_running_loop().time() + limits.drain_seconds
        task = asyncio.get_running_loop().create_task(self._drain(connection))
        self._draining.add(task)
        task.add_done_callback(self._draining.discard)

    async def _drain(self, connection: UpstreamConnection) -> None:
        size = 0
        try:
            if connection.head is None:
                await connection.read_head(self.limits.first_byte_timeout)
            while connection.head.status != 101 and size <= self.limits.drain_bytes:
                size += len(connection.take())
                if connection.complete:
                    self.give_back(connection)
                    return
                await connection.more(self.limits.timeout, _SILENCE)
        except UpstreamFailed:
            pass  # nobody is left who could be told
        connection.dismiss()

    async def close(self) -> None:
        """Close every connection, busy ones too."""
        for task in self._draining:
            task.cancel()
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for connection in list(self._connections):
            connection.abort()
        # A transport tells its protocol in the loop's next turn, a TLS one in the turn after that.
        for _ in range(_TURNS_TO_CLOSE):
            if self._connections:
                await asyncio.sleep(0)

    # -- one exchange

    async def _exchange(
        self, connection: UpstreamConnection, request: UpstreamRequest, deadline: float, *, is_begun: bool = False
    ) -> UpstreamAnswer | UpstreamTunnel:
        limits = self.limits
        if not is_begun:
            connection.begin(request.method, deadline)
        try:
            if not is_begun:
                self._write(connection, request)
            head = await connection.read_head(limits.first_byte_timeout)
            if head.status == 101:
                if not request.tunnel:
                    raise UpstreamBroke(self.name, "it changed the protocol without being asked to")
                return UpstreamTunnel(connection, request.stream)
        except asyncio.CancelledError:
            self.let_go(connection)
            raise
        except BaseException:
            connection.dismiss()
            raise
        return UpstreamAnswer(self, connection)

    def _write(self, connection: UpstreamConnection, request: UpstreamRequest) -> None:
        writer = RequestWriter()
        body, stream, limits = request.body, request.stream, self.limits
        if request.tunnel:
            connection.send_whole(writer.start(request.method, request.target, request.fields, 0))
            return
        if stream is None and len(body) <= _PIECE_BYTES:
            lines = request_lines(request.method, request.target, request.fields)
            connection.send_whole(whole_request(request.method, lines, body))
            return
        length = len(body) if stream is None else request.length
        head = writer.start(request.method, request.target, request.fields, length)
        pieces = _pieces(body) if stream is None else stream
        connection.send_stream(head, writer, pieces, limits.timeout, limits.first_byte_timeout)

    # -- connections

    def _take_idle(self) -> UpstreamConnection | None:
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.keep and connection.is_fresh(self.limits.idle_timeout):
                return connection
            connection.abort()
        return None

    def _until(self, deadline: float) -> float:
        until = asyncio.get_running_loop().time() + (self.limits.connect_timeout or math.inf)
        return min(until, deadline) if deadline else until

    async def _open_one(self, until: float) -> UpstreamConnection:
        """Return a new connection, once there may be one more; UpstreamUnreachable, UpstreamTimeout."""
        if self.open_connections >= self.limits.max_connections:
            await self._wait_for_room(until, False)
        self._opening += 1
        try:
            connection = await self._within(self._connect(), until)
            self._connections.add(connection)
            return connection
        finally:
            self._opening -= 1

    async def _wait_for_room(self, until: float, may_reuse: bool) -> UpstreamConnection | None:
        """Wait until there may be one more connection, or one is idle that may be used: return that one."""
        loop = asyncio.get_running_loop()
        while self.open_connections >= self.limits.max_connections:
            connection = self._take_idle()
            if connection is not None:
                if may_reuse:
                    return connection
                # What waits for nothing makes room for what is wanted.
                self._connections.discard(connection)
                connection.abort()
                break
            waiter = loop.create_future()
            self._waiters.append(waiter)
            alarm = loop.call_at(until, _settle, waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._wake_waiter()
                raise
            finally:
                alarm.cancel()
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
            if loop.time() >= until:
                count = self.limits.max_connections
                raise UpstreamTimeout(self.name, f"all {count} connections to it are in use", unsent=True)
        return None

    async def _within(
        self, opening: typing.Coroutine[typing.Any, typing.Any, UpstreamConnection], until: float
    ) -> UpstreamConnection:
        """Await a new connection until then; what comes later, or for a task that was cancelled, is closed.

        asyncio.wait_for may swallow a cancellation (CPython issue 37658), and the client's leaving must never be lost.
        """
        loop = asyncio.get_running_loop()
        task = loop.create_task(opening)
        try:
            await asyncio.wait([task], timeout=max(0.0, until - loop.time()))
            if task.done():
                return task.result()
            raise UpstreamTimeout(self.name, "no connection came about", unsent=True)
        finally:
            if not task.done():
                task.cancel()
            task.add_done_callback(self._close_unwanted)

    def _close_unwanted(self, task: asyncio.Task[UpstreamConnection]) -> None:
        if not task.cancelled() and task.exception() is None and task.result() not in self._connections:
            task.result().abort()

    async def _connect(self) -> UpstreamConnection:
        connection = UpstreamConnection(self.name, self._memo, self._buffer, self._lost)
        try:
            await self._connect_socket(connection)
            if self._proxy is not None:
                await self._pass_proxy(connection, self._proxy)
            if self.destination.tls:
                await self._start_tls(connection)
        except BaseException as exc:
            connection.abort()
            if isinstance(exc, OSError):
                raise UpstreamUnreachable(self.name, _why_unreachable(exc)) from exc
            raise
        connection.transport.set_write_buffer_limits(high=_WAITING_BYTES)
        return connection

    async def _connect_socket(self, connection: UpstreamConnection) -> None:
        loop = asyncio.get_running_loop()
        destination, proxy = self.destination, self._proxy
        if destination.socket_path:
            await loop.create_unix_connection(lambda: connection, destination.socket_path)
            return
        host, port = (proxy.host, proxy.port) if proxy is not None else (destination.host, destination.port)
        # A race of one is no use, and CPython's leaves a socket open when it is cancelled at the wrong moment.
        delay = None if parse_ip_address(host) else _ATTEMPT_DELAY_SECONDS
        await loop.create_connection(lambda: connection, host, port, happy_eyeballs_delay=delay)

    async def _pass_proxy(self, connection: UpstreamConnection, proxy: Proxy) -> None:
        """Have the proxy connect us to the destination (RFC 9110 §9.3.6)."""
        host = self.destination.host
        target = f"[{host}]:{self.destination.port}" if ":" in host else f"{host}:{self.destination.port}"
        fields = [("host", target)] + ([("proxy-authorization", proxy.authorization)] if proxy.authorization else [])
        connection.begin_connect()
        connection.send_whole(RequestWriter().start("CONNECT", target, encode_fields(fields), 0))
        try:
            head = await connection.read_head(0.0)
        except UpstreamBroke as exc:
            raise UpstreamUnreachable(self.name, "its proxy closed the connection or does not speak HTTP") from exc
        if not 200 <= head.status < 300:
            raise UpstreamUnreachable(self.name, f"its proxy answered {head.status} to CONNECT")
        if connection.take_raw():
            raise UpstreamUnreachable(self.name, "its proxy sent more than its answer to CONNECT")
        connection.forget_reader()

    async def _start_tls(self, connection: UpstreamConnection) -> None:
        if self._tls is None:
            self._tls = self._make_tls()
        loop = asyncio.get_running_loop()
        connection.transport = await loop.start_tls(
            connection.transport, connection, self._tls, server_hostname=self.destination.host,
            ssl_handshake_timeout=self.limits.connect_timeout or None,
        )  # fmt: skip

    def _lost(self, connection: UpstreamConnection) -> None:
        self._connections.discard(connection)
        if connection.idle and connection in self._idle:
            self._idle.remove(connection)
        self._wake_waiter()

    def _wake_waiter(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _set_sweep(self, when: float) -> None:
        self._sweep = asyncio.get_running_loop().call_at(when, self._close_rested)

    def _close_rested(self) -> None:
        """Close what has rested long enough; the longest-rested stand first."""
        self._sweep = None
        idle_timeout = self.limits.idle_timeout
        while self._idle and not self._idle[0].is_fresh(idle_timeout):
            self._idle.pop(0).abort()
        if self._idle:
            self._set_sweep(self._idle[0].idle_since + idle_timeout)


async def _pieces(body: bytes) -> typing.AsyncIterator[bytes]:
    for at in range(0, len(body), _PIECE_BYTES):
        yield body[at : at + _PIECE_BYTES]


def _settle(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _why_unreachable(exc: OSError) -> str:
    """Say why in words without addresses; the configuration tells its owner where it goes."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted ({exc.verify_message}); ca_file names the authority to trust"
    if isinstance(exc, ssl.SSLError):
        return f"TLS failed ({(exc.reason or 'no reason given').replace('_', ' ').lower()})"
    if isinstance(exc, socket.gaierror):
        return "its name has no address"
    if isinstance(exc, ConnectionRefusedError) or "Connect call failed" in str(exc):
        return "the connection was refused" if _all_refused(exc) else "no address of it answers"
    if isinstance(exc, ConnectionError):
        return "the connection was closed before it was ready"
    return os.strerror(exc.errno).lower() if exc.errno else "no address of it answers"


def _all_refused(exc: OSError) -> bool:
    return exc.errno == errno.ECONNREFUSED or f"[Errno {errno.ECONNREFUSED}]" in str(exc)
