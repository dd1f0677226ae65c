"""One connection to an upstream, and the exchange that it is busy with.

Theory of operation
-------------------
A connection is a protocol around a ResponseReader and not a StreamReader: what the socket brings goes into the reader
at once, and whoever wants it pulls. So the only buffer is the reader's, and the socket is paused by what waits there.

    at rest ── begin, send ──► head awaited ── poll_head ──► body read, out of `reader` ── rest ──► at rest

In every state the connection may end, and `is_open` is False from then on:

    the peer ends it    eof_received, connection_lost. What came before may still be taken; then UpstreamBroke.
    something fails     `fail` notes what: a time limit, or the request's own body. That is what is raised then.
    we end it           `abort`, or `dismiss` where nobody will ask about it any more.

What arrives at rest answers nothing, so the connection is closed: the next request must not get it (RFC 9112 §9.2).

An upstream may close a kept connection while the next request is on its way there. Whether it has read that request
is what decides if it may be sent again, and `is_unread` says so only where it is proven:

    the first write failed      nothing has left this machine.
    the end came, and the       The end of a connection acknowledges whatever its sender's system had received before
    whole request is not        (RFC 9293 §3.6). Linux tells how many bytes are not acknowledged; where the system does
    acknowledged                not tell, there is no proof.

A reset proves nothing: it may come after the request was read, and carries no acknowledgement that counts. Nor do a few
milliseconds prove anything: an upstream on the same machine reads a request in less.

Nothing here needs a task. Whoever waits is called through `listen` as soon as there is something to take or to raise;
`read_head` and `more` offer the same to coroutines. Only a request's body that comes bit by bit is sent by a task
(`upload`), because its answer is awaited, and may even be read, meanwhile.

A wait has one time limit (`wait_at_most`), which any byte of the answer ends; where the answer sends itself on, the
next wait begins with that byte (`limit_silence`). The exchange may have another limit, which no wait outlasts. One
Deadline keeps them all.
"""

from __future__ import annotations

import asyncio
import functools
import math
import ssl
import sys
import typing

from protocol.deadline import Deadline, clock_of
from protocol.on_demand import load
from protocol.upstream.failures import UpstreamBroke, UpstreamTimeout, tls_reason
from protocol.wire.http1.memo import ResponseMemo
from protocol.wire.http1.messages import NEED_DATA, BadMessage, ResponseHead
from protocol.wire.http1.readers import ResponseReader

# Bytes of an answer that may wait inside before the socket is no longer read, of a request before its producer stops.
_WAITING_BYTES = 65536

# RFC 9110 §15.2 lets any number of interim answers come; without an end they would keep a client waiting for nothing.
# But some upstreams send one a second while they work.
_MAX_INTERIM_HEADS = 10_000

# What is waited for, in words.
NO_ANSWER = "no answer began"
SILENCE = "nothing came for too long"


class _Stream(asyncio.BufferedProtocol):
    """The bytes in and out of one socket, with or without TLS, and what holds them back in either direction.

    `buffer` is where the event loop puts what it reads; connections may share one, because each takes its bytes out at
    once (`buffer_updated`).
    """

    __slots__ = ("_buffer", "_is_paused", "_loop", "_sent", "_time", "_transport", "_writable", "is_unread")

    _transport: asyncio.Transport

    def __init__(self, buffer: memoryview) -> None:
        self._buffer = buffer
        self._loop = asyncio.get_running_loop()
        self._time = clock_of(self._loop)
        self._is_paused = False  # the socket is not read
        self._writable: asyncio.Future[None] | None = None  # set while the upstream reads too slowly
        self._sent = 0  # bytes of the request, as far as it has been written
        self.is_unread = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._use(typing.cast(asyncio.Transport, transport))

    async def start_tls(self, tls: ssl.SSLContext, host: str, seconds: float) -> None:
        """Go on under TLS, with `seconds` for the handshake (0: asyncio's limit of 60); OSError when it fails."""
        transport = await self._loop.start_tls(
            self._transport, self, tls, server_hostname=host, ssl_handshake_timeout=seconds or None
        )
        if transport is None:
            raise ConnectionResetError("closed during the handshake")
        self._use(transport)

    def _use(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        transport.set_write_buffer_limits(high=_WAITING_BYTES)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def _pause_reading(self) -> None:
        self._is_paused = True
        self._transport.pause_reading()

    def _resume_reading(self) -> None:
        self._is_paused = False
        self._transport.resume_reading()

    def send(self, data: bytes) -> None:
        """Send a request, or a part of one."""
        transport = self._transport
        transport.write(data)
        if not self._sent:
            self.is_unread = transport.is_closing()
        self._sent += len(data)

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)


class UpstreamConnection(_Stream):
    """One connection and the exchange that it is busy with, if any.

    `name` is the backend's, for messages. `on_lost` is called when the connection is gone, whoever ended it.
    `is_unread` says that the connection was dead before the upstream can have read the request.
    """

    __slots__ = (
        "_deadline", "_end_by", "_error", "_head", "_interim_heads", "_limit", "_memo", "_name", "_notify", "_on_lost",
        "_silence", "_take_chunk", "_upload", "born", "has_answered", "is_at_rest", "is_lost", "is_open", "reader",
        "rests_since",
    )  # fmt: skip

    def __init__(
        self, name: str, memo: ResponseMemo, buffer: memoryview, on_lost: typing.Callable[[UpstreamConnection], None]
    ) -> None:
        super().__init__(buffer)
        self._name = name
        self._memo = memo
        self._on_lost = on_lost
        self._notify: typing.Callable[[], object] | None = None
        self._take_chunk: typing.Callable[[bytes], object] | None = None
        self._deadline = Deadline(self._loop, self._time_out)
        self._limit = ""  # what the wait under way is for, in words
        self._silence = 0.0  # seconds that may pass between two arrivals, perhaps infinitely many; 0: not limited here
        self.reader = ResponseReader("GET", memo=memo)
        self.born = self.rests_since = self._time()
        self.is_open = True
        self.is_lost = False  # there is not even a socket any more
        self.is_at_rest = True
        # Per exchange.
        self.has_answered = False  # with at least one byte
        self._end_by = math.inf  # loop time
        self._head: ResponseHead | None = None
        self._interim_heads = 0
        self._error: BaseException | None = None
        self._upload: asyncio.Task[None] | None = None

    # -- what asyncio calls

    def buffer_updated(self, size: int) -> None:
        if self.is_at_rest:
            self.abort()
            return
        self.has_answered = True
        if self._silence:
            # By mere assignment: it only ever moves to later.
            when = self._time() + self._silence
            self._deadline.when = when if when < self._end_by else self._end_by
        else:
            self._deadline.when = 0.0
        reader = self.reader
        data = self._buffer[:size].tobytes()
        take_chunk = self._take_chunk
        if take_chunk is not None:
            chunk = reader.lone_chunk(data)
            if chunk:
                take_chunk(chunk)
                return
        reader.feed(data)
        if self._notify is not None:
            self._notify()
        elif reader.buffered > _WAITING_BYTES and not self._is_paused:
            self._pause_reading()

    def eof_received(self) -> bool:
        self.is_open = False
        if not self.has_answered and not self.is_at_rest:
            self._look_whether_unread()
        self.reader.feed(b"")
        self._wake()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        self.is_lost = True
        self._deadline.close()
        if self._error is None:
            # A reset must not pass for the end of a body that ends with its connection (RFC 9112 §9.5).
            if exc is None:
                self.reader.feed(b"")
            elif isinstance(exc, ssl.SSLError):
                # TLS 1.3 refuses a client's certificate, or its lack, only after the handshake.
                self._error = UpstreamBroke(self._name, tls_reason(exc), unsent=self.is_unread)
            else:
                self._error = broke = self._broke("the connection was reset")
                broke.by_reset = True
        self._wake()
        self.resume_writing()
        self._on_lost(self)

    # -- the request

    def begin(self, method: str, end_by: float) -> None:
        """Get ready for an exchange that must be over at `end_by` (loop time, 0 for never)."""
        self.is_at_rest = False
        self.has_answered = False
        self._sent = 0
        self._end_by = end_by or math.inf
        self._head = None
        self._interim_heads = 0
        if self.is_open:
            self.reader.expect(method)

    def upload(self, sending: typing.Coroutine[typing.Any, typing.Any, None]) -> None:
        """Run `sending`, which sends the request and then calls `end_upload`; what it raises ends the exchange."""
        self._upload = self._loop.create_task(sending)
        self._upload.add_done_callback(self._note_sent)

    def end_upload(self, seconds: float) -> None:
        """Note that the request is out; the answer has `seconds` to begin, unless it has."""
        self._upload = None
        if self._head is None:
            self.wait_at_most(seconds, NO_ANSWER)

    def _note_sent(self, upload: asyncio.Task[None]) -> None:
        # The client's body broke off or is not HTTP: that is the answer, unless the upstream's own has begun.
        error = None if upload.cancelled() else upload.exception()
        if error is not None and self._upload is upload:
            self.fail(error)

    async def drained(self, seconds: float) -> None:
        """Wait until nearly all that was written is out.

        Until the answer begins, that may take `seconds` (0: any time).
        """
        if self._writable is None:
            return
        if self._head is None:
            self.wait_at_most(seconds, "it does not take the request's body")
        await self._writable
        if self._head is None:
            self.wait_at_most(0.0, "")

    async def taken(self, seconds: float) -> None:
        """Wait until nearly all that was written is out; fail when for `seconds` nothing is taken (0: no limit).

        It is no wait for an answer, so it may be under way beside one.
        """
        while self._writable is not None and self.is_open:
            left = self._transport.get_write_buffer_size()
            await asyncio.wait([self._writable], timeout=seconds or None)
            if self._writable is not None and self._transport.get_write_buffer_size() >= left:
                self.fail(UpstreamTimeout(self._name, "it takes nothing of what is sent"))

    async def close_when_taken(self, seconds: float) -> None:
        """Close once all that was written is out, for which the same holds."""
        self._transport.set_write_buffer_limits(high=0)
        await self.taken(seconds)
        self._transport.close()

    # -- the answer's head

    async def read_head(self, seconds: float) -> ResponseHead:
        """Return the final answer's head, which has `seconds` to come once the request is out; UpstreamFailed."""
        head = self.poll_head()
        while head is None:
            await self.more(0.0 if self._upload is not None else seconds, NO_ANSWER)
            head = self.poll_head()
        return head

    def poll_head(self) -> ResponseHead | None:
        """Return the final answer's head, None while it has not come; UpstreamFailed."""
        while self._head is None:
            try:
                event = self.reader.next_event()
            except BadMessage as exc:
                raise self.failure() from exc
            if type(event) is ResponseHead:
                if 200 <= event.status <= 599 or event.status == 101:
                    self._head = event
                else:
                    self._pass_over(event)
            elif event is NEED_DATA and self.is_open:
                return None
            else:
                raise self.failure()
        return self._head

    def poll_whole(self) -> tuple[ResponseHead, bytes] | None:
        """Return head and body of an answer of status 200 that has come all at once, None for any other.

        Nothing is taken yet; `take_whole` does that, and the exchange is over then.
        """
        return self.reader.whole_answer() if self._head is None and self.is_open else None

    def take_whole(self, head: ResponseHead) -> None:
        """Take the answer that `poll_whole` has returned."""
        self._head = head
        self.reader.take_whole()

    def _pass_over(self, head: ResponseHead) -> None:
        # RFC 9110 §15: no other codes are valid.
        if head.status > 599:
            raise UpstreamBroke(self._name, f"its answer has the status {head.status}, which HTTP does not have")
        self._interim_heads += 1
        if self._interim_heads > _MAX_INTERIM_HEADS:
            raise UpstreamBroke(self._name, f"more than {_MAX_INTERIM_HEADS} interim answers came")

    # -- waiting

    def listen(
        self, notify: typing.Callable[[], object], take_chunk: typing.Callable[[bytes], object] | None = None
    ) -> None:
        """Have `notify` called whenever something has come or gone wrong.

        `take_chunk` is called instead with what is in a chunk of a body that has come by itself, as the events of a
        stream do; the reader never has it then.
        """
        self._notify = notify
        self._take_chunk = take_chunk
        if self._is_paused:
            self._resume_reading()

    def deafen(self) -> None:
        """Have nobody called, and no time limit."""
        self._notify = self._take_chunk = None
        self._silence = self._deadline.when = 0.0

    def _wake(self) -> None:
        if self._notify is not None:
            self._notify()

    async def more(self, seconds: float, limit: str, quiet: float = 0.0) -> bool:
        """Wait for bytes or the end, for `seconds` at most (0: without limit); raise what went wrong.

        `limit` says in words what is waited for. With `quiet`, return False when nothing has come for that long.
        """
        self.check()
        waiter: asyncio.Future[bool] = self._loop.create_future()
        self.listen(functools.partial(_settle, waiter, True))
        if not quiet or not self._deadline.when:  # else nothing has come since the last wait, and the silence goes on
            self.wait_at_most(seconds, limit)
        alarm = self._loop.call_later(quiet, _settle, waiter, False) if quiet else None
        try:
            came = await waiter
        finally:
            self._notify = None
            if alarm is not None:
                alarm.cancel()
            else:
                self._deadline.when = 0.0
        if self._error is not None and not self.reader.buffered:
            raise self._error
        return came

    def wait_at_most(self, seconds: float, limit: str, now: float = 0.0) -> None:
        """Fail unless something comes within `seconds` (0: without limit) and before the exchange must be over.

        `limit` says in words what is waited for; `now` is the loop's time, 0 where the caller does not know.
        """
        self._limit = limit
        when = (now or self._time()) + seconds if seconds else math.inf
        if when > self._end_by:
            when = self._end_by
        if when < math.inf:
            self._deadline.expire_at(when)
        else:
            self._deadline.when = 0.0

    def limit_silence(self, seconds: float) -> None:
        """Do so for each wait from now on, until `deafen` or the answer's end."""
        self._silence = seconds or (math.inf if self._end_by < math.inf else 0.0)
        self.wait_at_most(seconds, SILENCE)

    def _time_out(self) -> None:
        is_over = self._time() >= self._end_by
        self.fail(UpstreamTimeout(self._name, "the time for all attempts is over" if is_over else self._limit))

    # -- the end of an exchange

    def check(self) -> None:
        """Raise what has gone wrong, if nothing more will come."""
        if not self.is_open:
            raise self.failure()

    def failure(self) -> BaseException:
        """Return what has gone wrong, in words that repeat nothing of the answer: it may hold our key."""
        if self._error is not None:
            return self._error
        if self.is_open:
            return UpstreamBroke(self._name, "what it sent is not a valid HTTP/1.1 answer")
        what = "in the middle of its answer" if self.has_answered else "without an answer"
        return self._broke(f"it closed the connection {what}")

    def _broke(self, reason: str) -> UpstreamBroke:
        if self.is_unread:
            reason = "the connection was closed before it can have read the request"
        return UpstreamBroke(self._name, reason, unsent=self.is_unread)

    def _look_whether_unread(self) -> None:
        """See, at the connection's end, whether all of the request is still on its way."""
        if sys.platform == "linux" and self._sent:
            (unacknowledged_bytes,) = load("an upstream that closes a connection")
            waiting = self._transport.get_write_buffer_size()
            sock = self._transport.get_extra_info("socket")
            self.is_unread = unacknowledged_bytes(sock) + waiting >= self._sent

    def fail(self, error: BaseException) -> None:
        """End the exchange with `error` and close."""
        if self._error is None:
            self._error = error
        self.abort()
        self._wake()

    def abort(self) -> None:
        """Close now: nothing more is sent, nothing more is read."""
        self.is_open = False
        upload, self._upload = self._upload, None
        if upload is not None:
            upload.cancel()
        self._transport.abort()

    def dismiss(self) -> None:
        """Close now and forget what nobody will ask for: it refers back to us, and would wait for the collector."""
        self._notify = self._take_chunk = None
        self.abort()
        self._error = None

    @property
    def is_drainable(self) -> bool:
        """Whether nothing but the rest of the answer keeps the connection from being used again."""
        return self.is_open and self._upload is None

    def drain_until(self, when: float) -> None:
        """Let the exchange be over at `when` (loop time), whatever it was begun with."""
        self._end_by = when

    def rest(self, now: float) -> bool:
        """Wait for the next exchange, at loop time `now`; False where none may follow (RFC 9112 §9.3)."""
        head = self._head
        if head is None or not head.keep_alive or not self.is_open or self._upload is not None or self.reader.buffered:
            return False
        self.deafen()
        if self._is_paused:
            self._resume_reading()
        self.is_at_rest = True
        self.rests_since = now
        return True

    def enter_tunnel(self) -> None:
        """Have a proxy behind us: what comes before the next `begin` is the upstream's, and answers nothing."""
        self.is_at_rest = True


def _settle(waiter: asyncio.Future[bool], came: bool) -> None:
    if not waiter.done():
        waiter.set_result(came)
