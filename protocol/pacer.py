"""The pacer: timers that thousands of bodies share.

A timer of the loop costs 2 µs to set and to let ring, and ten thousand streams at twenty frames a second would set two
hundred thousand of them a second. Nobody sees the difference of a quarter of a millisecond, so the Pacer gathers what
is due within one tick under a single timer. It serves so many bodies a turn and no more: otherwise a burst of streams
that began together would keep everybody else waiting at each of their frames.

Whoever is due within the next half of a millisecond is served at once: what was served later than it was due, since
others were before it, is made up for by some that are a little early, and what is due alone is never early. The loop
need not be one that rings on time (protocol/event_loop.py), as it is where somebody else's serves.

Its time is the loop's, and what it was advanced by.
"""

from __future__ import annotations

import asyncio
import heapq
import typing

_TICKS_A_SECOND = 4096
_TICK_SECONDS = 1 / _TICKS_A_SECOND
# Who is due so much later is served now.
_LEAD_SECONDS = 0.0005
# Bodies served in one go, before the loop's other work has its turn: half a millisecond's. A request that is read later
# than it came is late with each of its words.
_BODIES_A_TURN = 32


class Timed(typing.Protocol):
    """What is served at its times."""

    def send_due(self, by: float) -> float | None:
        """Do what is due by a time of the pacer's, and return when there is more to do, None for never.

        Called once for each time that was added or returned.
        """


class Pacer:
    """All that are due within one tick share a single timer of the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ahead = 0.0
        self._ticks: dict[int, list[Timed]] = {}
        self._order: list[int] = []
        self._timer: asyncio.TimerHandle | None = None
        self._now: list[Timed] = []

    def time(self) -> float:
        """Return the time in seconds."""
        return self._loop.time() + self._ahead

    def at(self, when: float) -> float:
        """Return what this time is when the loop's is `when`, if it is advanced no more."""
        return when + self._ahead

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass at once."""
        self._ahead += seconds
        if not self._now:
            self._arm()

    def add(self, when: float, timed: Timed) -> None:
        """Let `timed.send_due` be called at `when`, at most a tick later or half a millisecond before."""
        tick = int(when * _TICKS_A_SECOND) + 1
        due = self._ticks.get(tick)
        if due is not None:
            due.append(timed)
            return
        self._ticks[tick] = [timed]
        heapq.heappush(self._order, tick)
        if not self._now and (self._timer is None or self._timer.when() > tick * _TICK_SECONDS - self._ahead):
            self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if self._order:
            self._timer = self._loop.call_at(self._order[0] * _TICK_SECONDS - self._ahead, self._run)

    def _run(self) -> None:
        """Serve what is due, so many at a time that the loop's other work is not kept waiting."""
        self._timer = None
        by = self.time() + _LEAD_SECONDS
        ticks, order, last = self._ticks, self._order, int(by * _TICKS_A_SECOND)
        while order and order[0] <= last and len(self._now) < _BODIES_A_TURN:
            self._now += ticks.pop(heapq.heappop(order))
        turn, rest = iter(self._now[:_BODIES_A_TURN]), self._now[_BODIES_A_TURN:]
        try:  # self._now is not empty meanwhile, so that add() leaves the arming to us
            for timed in turn:
                when = timed.send_due(by)
                # What add() does, here for each frame: a call less is a tenth of what a frame takes.
                if when is not None:
                    tick = int(when * _TICKS_A_SECOND) + 1
                    due = ticks.get(tick)
                    if due is None:
                        ticks[tick] = [timed]
                        heapq.heappush(order, tick)
                    else:
                        due.append(timed)
        finally:
            self._now = [*turn, *rest]  # those behind one that failed have their turn, too
            if self._now:
                self._loop.call_soon(self._run)
            else:
                self._arm()
