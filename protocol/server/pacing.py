"""Paced bodies: frames that leave at their times, thousands of bodies on one timer of the loop.

A timer of the loop costs 2 µs to set and to let ring, and ten thousand streams at twenty frames a second would set two
hundred thousand of them a second. Nobody sees the difference of a millisecond, so the Pacer gathers what is due within
one tick of a millisecond under a single timer. It serves so many bodies a turn and no more: otherwise a burst of
streams that began together would keep everybody else waiting at each of their frames.
"""

from __future__ import annotations

import asyncio
import heapq
import typing

from protocol.exchange import Paced, Producer

_TICK_SECONDS = 0.001
# Bodies served in one go, before the loop's other work has its turn.
_BODIES_A_TURN = 512


class ByteSink(typing.Protocol):
    """Where what is ready to be sent goes."""

    def write(self, data: bytes) -> object:
        """Send it."""


class Pacer:
    """Timers for paced bodies: all that are due within one tick share a single timer of the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ticks: dict[int, list[PacedAnswer]] = {}
        self._order: list[int] = []
        self._timer: asyncio.TimerHandle | None = None
        self._now: list[PacedAnswer] = []

    def time(self) -> float:
        """Return the loop's time in seconds."""
        return self._loop.time()

    def add(self, when: float, answer: PacedAnswer) -> None:
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
        while self._order and self._order[0] * _TICK_SECONDS <= now and len(self._now) < _BODIES_A_TURN:
            self._now += self._ticks.pop(heapq.heappop(self._order))
        turn, rest = self._now[:_BODIES_A_TURN], self._now[_BODIES_A_TURN:]
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


_NOTHING = Paced((), first_delay=0.0, delay=0.0)


def _end_nothing(data: bytes) -> None:
    """Stand for the end of an answer that was cancelled."""


class PacedAnswer(Producer):
    """A paced body on its way. Frames that are late leave together, so that a busy server falls behind no further.

    `encode` frames a piece of the body for the wire, `sink` takes the bytes, and `end` gets the last of them.
    """

    __slots__ = ("_at", "_body", "_due", "_encode", "_end", "_has_timer", "_pacer", "_running", "_sink")

    def __init__(
        self,
        body: Paced,
        pacer: Pacer,
        encode: typing.Callable[[bytes], bytes],
        sink: ByteSink,
        end: typing.Callable[[bytes], object],
    ) -> None:
        self._body = body
        self._pacer = pacer
        self._encode = encode
        self._sink = sink
        self._end = end
        self._at = 0
        self._due = pacer.time() + body.first_delay
        self._running = False
        self._has_timer = False

    def resume(self) -> None:
        self._running = True
        if not self._has_timer:
            self._has_timer = True
            self._pacer.add(self._due, self)

    def pause(self) -> None:
        self._running = False

    def cancel(self) -> None:
        self._running = False
        # The pacer keeps us until our next frame is due; what the request held goes now.
        self._body, self._end = _NOTHING, _end_nothing

    def send_due(self, now: float) -> None:
        """Send the frames that are due; called by the pacer."""
        if not self._running:
            self._has_timer = False
            return
        body, encode, at, due = self._body, self._encode, self._at, self._due
        frames = body.frames
        data = b""
        while due <= now and at < len(frames):
            data += encode(frames[at])
            at += 1
            due += body.delay
        self._at, self._due = at, due
        if at == len(frames):
            self._has_timer = self._running = False
            self._end(data)
            return
        # Before the bytes go: if they are too many for the client, `pause` comes from there.
        self._pacer.add(due, self)
        self._sink.write(data)
