"""An upstream's body on its way to the client.

What arrives goes on in the same turn of the event loop, without a task and without waiting for more. When the client
reads too slowly, the server pauses the passage; the upstream's bytes then wait in its connection, which stops reading.
"""

from __future__ import annotations

import asyncio

from protocol.errors import ApiError
from protocol.exchange import Pushed, Sink
from protocol.upstream.answer import UpstreamAnswer
from protocol.wire.masking import MaskedStream
from protocol.wire.sse import EVENT_END, KEEP_ALIVE, missing_end


class Passage(Pushed):
    """Any body; `first` is what of it has come already."""

    __slots__ = ("_answer", "_first", "_masked", "_paused", "_sink")

    _sink: Sink  # since `begin`

    def __init__(self, answer: UpstreamAnswer, first: bytes) -> None:
        self._answer = answer
        self._first = first
        self._masked: MaskedStream | None = None  # since `resume`
        self._paused = False

    def begin(self, sink: Sink) -> None:
        self._sink = sink
        first, self._first = self._first, b""
        if first:
            self._pass_on(first)
        if not self._paused:
            self.resume()

    def pause(self) -> None:
        self._paused = True
        self._answer.deafen()

    def resume(self) -> None:
        self._paused = False
        if not self._answer.complete:
            self._masked = self._answer.masked()
        self._answer.listen(self._look, self._take_chunk)
        if self._answer.waits:
            self._look()

    def cancel(self) -> None:
        self._answer.let_go()

    def _look(self) -> None:
        """Pass on what has come."""
        answer = self._answer
        try:
            data = answer.take()
            while data and not answer.complete:
                self._pass_on(data)
                if self._paused or not answer.has_more:
                    return
                data = answer.take()
            if answer.complete:
                self._end(data)
            else:
                answer.check()
        except ApiError as exc:  # the upstream's end, or that of the request's body while it is still being sent
            self._fail(exc)

    def _take_chunk(self, data: bytes) -> None:
        """Pass on a chunk that has come by itself."""
        if self._masked is not None:
            data = self._masked.feed(data)
            if not data:  # it may be the beginning of a secret
                return
        try:
            self._pass_on(data)
        except ApiError as exc:
            self._fail(exc)

    def _fail(self, error: ApiError) -> None:
        self.cancel()
        self._break_off(error)

    def _pass_on(self, data: bytes) -> None:
        self._sink.push(data)

    def _end(self, data: bytes) -> None:
        self._sink.end(data)

    def _break_off(self, error: ApiError) -> None:
        self._sink.fail(error)


class EventPassage(Passage):
    """An event stream; it knows whether what has gone out ends with an event.

    After `keepalive` seconds of silence (0: never) a comment goes out, between events only: within one it would end a
    line that is not complete. When the stream breaks off within an event, that event is ended, so that the error which
    follows is read as one of its own.
    """

    __slots__ = ("_alarm", "_keepalive", "_loop", "_quiet_since", "_tail")

    def __init__(self, answer: UpstreamAnswer, first: bytes, keepalive: float) -> None:
        super().__init__(answer, first)
        self._tail = EVENT_END
        self._keepalive = keepalive
        self._alarm: asyncio.TimerHandle | None = None

    def begin(self, sink: Sink) -> None:
        if self._keepalive:
            self._loop = asyncio.get_running_loop()
            self._quiet_since = self._loop.time()
            self._alarm = self._loop.call_later(self._keepalive, self._say_something)
        super().begin(sink)

    def _say_something(self) -> None:
        """Send a comment if it has been quiet for long enough, and look again."""
        now = self._loop.time()
        is_due = now - self._quiet_since >= self._keepalive
        if is_due:
            self._quiet_since = now
        self._alarm = self._loop.call_at(self._quiet_since + self._keepalive, self._say_something)
        if is_due and not missing_end(self._tail) and not self._paused:
            self._sink.push(KEEP_ALIVE)

    def cancel(self) -> None:
        self._stop_alarm()
        super().cancel()

    def _stop_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _pass_on(self, data: bytes) -> None:
        self._tail = data if len(data) > 2 else self._tail[-3:] + data
        if self._alarm is not None:
            self._quiet_since = self._loop.time()
        self._sink.push(data)

    def _end(self, data: bytes) -> None:
        self._stop_alarm()
        super()._end(data)

    def _break_off(self, error: ApiError) -> None:
        end = missing_end(self._tail)
        if end:
            self._sink.push(end)
        super()._break_off(error)


class NoBody:
    """The body of an answer to HEAD, whose head speaks of one."""

    def __aiter__(self) -> NoBody:
        return self

    async def __anext__(self) -> bytes:
        raise StopAsyncIteration
