"""Connections to one upstream: opened, kept, bounded in number, and closed the moment that nobody wants them.

Theory of operation
-------------------
A connection of the pool is in one of four places, and `max_connections` counts all of them:

    being opened      by the Dialer; `_opening` counts these
    busy              one exchange uses it, from `begin` or `send` until the answer has been read to its end
    at rest           in `idle`, the one that rested last at the end; taken from there, so that what is not needed ages
    draining          busy for nobody: the client has left, and the answer is read on within the limits (`let_go`)

`send` takes a connection at rest or opens one, writes the request, and returns an UpstreamAnswer as soon as the
answer's head is there. When the body has been read to its end, the connection comes back (`_give_back`). In every other
case (an error, a cancelled task, `aclose` half-way) it is closed at once, because nobody could say where the next
answer on it would begin.

Whoever finds `max_connections` in use waits in a queue, and is called whenever a connection comes to rest or is gone.

Nearly every request finds a connection at rest and needs no coroutine. `begin` only writes such a request; its caller
learns of the answer from the connection, and may at any point go on with `send`, which takes over what has begun.

What goes wrong is raised as UpstreamFailed, which is an ApiError ready for the client.
"""

from __future__ import annotations

import asyncio
import math
import ssl
import typing

from protocol.deadline import clock_of
from protocol.upstream.answer import UpstreamAnswer, UpstreamTunnel, is_coded
from protocol.upstream.connection import NO_ANSWER, UpstreamConnection
from protocol.upstream.destination import Destination, Proxy, address
from protocol.upstream.dialer import Dialer
from protocol.upstream.failures import (
    UpstreamBroke,
    UpstreamFailed,
    UpstreamName,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from protocol.upstream.request import PIECE_BYTES, UpstreamRequest, send_request
from protocol.wire.http1.messages import ResponseHead
from protocol.wire.http1.writers import whole_request
from protocol.wire.masking import Mask

_TURNS_TO_CLOSE = 10

# RFC 9110 §9.2.1: what is sent twice with these has not been carried out twice.
_SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))


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


class Phases(typing.Protocol):
    """Who wants to know what a request has waited for."""

    def queued(self, seconds: float) -> None:
        """Learn for how long there could be no connection."""

    def connected(self, seconds: float) -> None:
        """Learn for how long one was opened."""


class UpstreamPool:
    """The connections to one destination.

    `name` is the backend's, for messages. `tls` returns the TLS context; it is asked for each connection. `mask` hides
    the owner's secrets in what the upstream says.
    """

    def __init__(
        self,
        name: str,
        destination: Destination,
        limits: UpstreamLimits,
        *,
        tls: typing.Callable[[], ssl.SSLContext],
        proxy: Proxy | None = None,
        mask: Mask | None = None,
    ) -> None:
        self.destination = destination
        self.addressing = address(destination, proxy)
        self.limits = limits
        self.mask = mask
        self._name = name = UpstreamName.at(name, destination.place + (f" by way of {proxy.place}" if proxy else ""))
        self._dialer = Dialer(name, destination, tls=tls, proxy=proxy, handshake_seconds=limits.connect_timeout)
        self._connections: set[UpstreamConnection] = set()
        #: The connections at rest, the one that rested last at the end.
        self.idle: list[UpstreamConnection] = []
        self._opening = 0
        self._queue = _Queue()
        self._sweep: asyncio.TimerHandle | None = None
        self._draining: set[asyncio.Task[None]] = set()
        self._time: typing.Callable[[], float] | None = None

    def now(self) -> float:
        """Return the loop's time; the loop is the one that asks first.

        To look for the running loop asks the system for the process's id each time (CPython before 3.12).
        """
        if self._time is None:
            self._time = clock_of(asyncio.get_running_loop())
        return self._time()

    @property
    def open_connections(self) -> int:
        """How many connections there are, idle ones included."""
        return len(self._connections) + self._opening

    @property
    def opening(self) -> int:
        """How many connections are being opened."""
        return self._opening

    @property
    def waiting(self) -> int:
        """How many requests wait for a connection."""
        return len(self._queue)

    # -- one exchange

    def begin(self, method: str, lines: bytes, body: bytes, end_by: float, now: float) -> UpstreamConnection | None:
        """Send a request on an idle connection and return that, without waiting; None where only `send` can.

        `lines` are those of `request_lines`, `now` is the loop's time. `listen` to the connection to learn of the
        answer.
        """
        connection = self._take_idle(now) if len(body) <= PIECE_BYTES else None
        if connection is not None:
            connection.begin(method, end_by)
            connection.send(whole_request(method, lines, body))
            connection.wait_at_most(self.limits.first_byte_timeout, NO_ANSWER, now)
        return connection

    async def send(
        self,
        request: UpstreamRequest,
        end_by: float = 0.0,
        begun: UpstreamConnection | None = None,
        on_replaced: typing.Callable[[UpstreamBroke], object] | None = None,
        phases: Phases | None = None,
    ) -> UpstreamAnswer:
        """Send a request and return its answer once the head is here; raise UpstreamFailed.

        `begun` is the connection on which `begin` has sent it already. All must be over at `end_by` (loop time, 0 for
        never). That the upstream has closed an idle connection may be found out only by using it. Where it proves dead
        before the upstream can have read the request (`UpstreamConnection.is_unread`), or the method is safe, the
        request is sent again on a new one, once, and `on_replaced` learns of it. Nothing else is ever sent twice here.
        A stream cannot be sent again, so it goes out on a new connection at once.
        """
        connection, head = await self._send(
            request, end_by, begun, on_replaced, phases, may_reuse=request.stream is None
        )
        if head.status == 101:
            connection.dismiss()
            raise UpstreamBroke(self._name, "it changed the protocol without being asked to")
        return self.answer_on(connection, head, is_coded=is_coded(head))

    async def open_tunnel(
        self,
        request: UpstreamRequest,
        outgoing: typing.AsyncIterator[bytes],
        end_by: float = 0.0,
        phases: Phases | None = None,
    ) -> UpstreamTunnel | UpstreamAnswer:
        """Send a request to change the protocol; return the tunnel, or the answer of an upstream that will not.

        `outgoing` is what goes into the tunnel. The request is addressed to the upstream itself: an HTTP proxy connects
        us to it, as browsers have it for WebSockets, since few pass on a change of the protocol. For the rest see
        `send`.
        """
        connection, head = await self._send(request, end_by, None, None, phases, is_tunnelled=True)
        if head.status == 101:
            masked = None if self.mask is None else self.mask.stream(has_end=False)
            return UpstreamTunnel(connection, head, outgoing, self.limits.timeout, masked)
        # Behind an HTTP proxy, the next request could not go out on it.
        give_back = UpstreamConnection.dismiss if self.addressing.origin else self._give_back
        mask = None if is_coded(head) else self.mask
        return UpstreamAnswer(connection, head, self.limits.timeout, give_back, self.let_go, mask)

    async def _send(
        self,
        request: UpstreamRequest,
        end_by: float,
        begun: UpstreamConnection | None,
        on_replaced: typing.Callable[[UpstreamBroke], object] | None,
        phases: Phases | None,
        *,
        may_reuse: bool = False,
        is_tunnelled: bool = False,
    ) -> tuple[UpstreamConnection, ResponseHead]:
        """Return the connection on which the request is out, and the head of the answer."""
        connection = begun or (self._take_idle(self.now()) if may_reuse else None)
        if connection is None and self._is_full:
            connection = await self._wait_for_room(self._connect_by(end_by), may_reuse, phases)
        if connection is not None:
            try:
                return connection, await self._exchange(connection, request, end_by, is_begun=begun is not None)
            except UpstreamBroke as exc:
                if connection.has_answered or not (exc.unsent or request.method in _SAFE_METHODS):
                    raise
                if on_replaced is not None:
                    on_replaced(exc)
        connection = await self._open(self._connect_by(end_by), is_tunnelled, phases)
        return connection, await self._exchange(connection, request, end_by)

    async def _exchange(
        self, connection: UpstreamConnection, request: UpstreamRequest, end_by: float, *, is_begun: bool = False
    ) -> ResponseHead:
        limits = self.limits
        try:
            if not is_begun:
                connection.begin(request.method, end_by)
                send_request(connection, request, timeout=limits.timeout, first_byte_timeout=limits.first_byte_timeout)
            head = await connection.read_head(limits.first_byte_timeout)
            if head.status == 407 and self.addressing.origin:
                raise UpstreamUnreachable(self._name, "its proxy answered 407: expected another user and password")
            return head
        except asyncio.CancelledError:
            self.let_go(connection)
            raise
        except BaseException:
            connection.dismiss()
            raise

    def answer_on(self, connection: UpstreamConnection, head: ResponseHead, *, is_coded: bool) -> UpstreamAnswer:
        """Return the answer of which a connection has read the head; `is_coded`: under a Content-Encoding."""
        mask = None if is_coded else self.mask
        return UpstreamAnswer(connection, head, self.limits.timeout, self._give_back, self.let_go, mask)

    def take_whole(self, connection: UpstreamConnection, head: ResponseHead, body: bytes) -> bytes:
        """Return the body of an answer without a Content-Encoding that has come whole (UpstreamConnection.poll_whole).

        It is what an UpstreamAnswer would give.
        """
        connection.take_whole(head)
        self._give_back(connection)
        return body if self.mask is None else self.mask.hide(body)

    def _give_back(self, connection: UpstreamConnection) -> None:
        """Take back a connection whose answer has been read to its end."""
        limits = self.limits
        now = self.now()
        is_wanted = now - connection.born <= limits.max_age and len(self.idle) < limits.max_idle
        if not is_wanted or not connection.rest(now):
            connection.dismiss()
            return
        self.idle.append(connection)
        if self._queue:
            self._queue.call_next()
        if self._sweep is None:
            self._set_sweep(now + limits.idle_timeout)

    def let_go(self, connection: UpstreamConnection) -> None:
        """Take leave of an exchange that nobody waits for any more: close, or read on to its end within the limits."""
        seconds = self.limits.drain_seconds
        if not seconds or not connection.is_drainable:
            connection.dismiss()
            return
        loop = asyncio.get_running_loop()
        connection.deafen()
        connection.drain_until(loop.time() + seconds)
        task = loop.create_task(self._drain(connection))
        self._draining.add(task)
        task.add_done_callback(self._draining.discard)

    async def _drain(self, connection: UpstreamConnection) -> None:
        try:
            head = await connection.read_head(self.limits.first_byte_timeout)
            if head.status != 101:
                size = 0
                async for data in self.answer_on(connection, head, is_coded=is_coded(head)):
                    size += len(data)
                    if size > self.limits.drain_bytes:
                        break
                else:
                    return  # at its end the answer has given the connection back
        except UpstreamFailed:
            pass  # nobody is left who could be told
        connection.dismiss()

    # -- connections

    def _take_idle(self, now: float) -> UpstreamConnection | None:
        idle = self.idle
        if idle:
            # What has rested for long may be about to be closed by its upstream.
            earliest = now - self.limits.idle_timeout
            while idle:
                connection = idle.pop()
                if connection.is_open and connection.rests_since > earliest:
                    return connection
                connection.abort()
        return None

    @property
    def _is_full(self) -> bool:
        return self.open_connections >= self.limits.max_connections

    def _connect_by(self, end_by: float) -> float:
        """Return when a connection must be there, for an exchange that must be over at `end_by`."""
        connect_by = self.now() + (self.limits.connect_timeout or math.inf)
        return min(connect_by, end_by) if end_by else connect_by

    async def _open(self, until: float, is_tunnelled: bool, phases: Phases | None) -> UpstreamConnection:
        """Return a new connection, once there may be one more; UpstreamUnreachable, UpstreamTimeout."""
        if self._is_full:
            await self._wait_for_room(until, False, phases)
        self._opening += 1
        began = self.now()
        try:
            connection = await self._dialer.dial(until, self._note_lost, is_tunnelled=is_tunnelled)
        finally:
            self._opening -= 1
            if phases is not None:
                phases.connected(self.now() - began)
        if not connection.is_lost:  # else `_note_lost` has come already, and would never take it out
            self._connections.add(connection)
        return connection

    async def _wait_for_room(self, until: float, may_reuse: bool, phases: Phases | None) -> UpstreamConnection | None:
        """Wait until there may be one more connection, or one is idle that may be used: return that one."""
        began = self.now()
        try:
            return await self._find_room(until, may_reuse)
        finally:
            if phases is not None:
                phases.queued(self.now() - began)

    async def _find_room(self, until: float, may_reuse: bool) -> UpstreamConnection | None:
        while self._is_full:
            connection = self._take_idle(self.now())
            if connection is not None:
                if may_reuse:
                    return connection
                # What waits for nothing makes room for what is wanted.
                self._connections.discard(connection)
                connection.abort()
                break
            if not await self._queue.wait(until):
                count = self.limits.max_connections
                raise UpstreamTimeout(self._name, f"all {count} connections to it are in use", unsent=True)
        return None

    def _note_lost(self, connection: UpstreamConnection) -> None:
        self._connections.discard(connection)
        if connection.is_at_rest and connection in self.idle:
            self.idle.remove(connection)
        if self._queue:
            self._queue.call_next()

    def _set_sweep(self, when: float) -> None:
        self._sweep = asyncio.get_running_loop().call_at(when, self._close_rested)

    def _close_rested(self) -> None:
        """Close what has rested long enough; the longest-rested stand first."""
        self._sweep = None
        earliest = self.now() - self.limits.idle_timeout
        while self.idle and self.idle[0].rests_since <= earliest:
            self.idle.pop(0).abort()
        if self.idle:
            self._set_sweep(self.idle[0].rests_since + self.limits.idle_timeout)

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


class _Queue(typing.Deque["asyncio.Future[bool]"]):
    """Those who wait for a connection: first come, first called."""

    async def wait(self, until: float) -> bool:
        """Wait to be called; False when that has not happened until then (loop time)."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self.append(waiter)
        alarm = loop.call_at(until, _settle, waiter, False)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.call_next()
            raise
        finally:
            alarm.cancel()
            if waiter in self:
                self.remove(waiter)

    def call_next(self) -> None:
        """Call whoever has waited longest, if anybody waits."""
        while self:
            waiter = self.popleft()
            if not waiter.done():
                waiter.set_result(True)
                return


def _settle(waiter: asyncio.Future[bool], called: bool) -> None:
    if not waiter.done():
        waiter.set_result(called)
