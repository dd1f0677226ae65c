"""The pacer: timers that thousands of bodies share.

A timer of the loop costs 2 µs to set and to let ring, and ten thousand streams at twenty frames a second would set two
hundred thousand of them a second. Nobody sees the difference of a millisecond, so the Pacer gathers what is due within
one tick of a millisecond under a single timer. It serves so many bodies a turn and no more: otherwise a burst of
streams that began together would keep everybody else waiting at each of their frames.

Its time is the loop's, and what it was advanced by.
"""

from __future__ import annotations

import asyncio
import heapq
import typing

_TICK_SECONDS = 0.001
# Bodies served in one go, before the loop's other work has its turn.
_BODIES_A_TURN = 512


class Timed(typing.Protocol):
    """What is served at its times."""

    def send_due(self, now: float) -> None:
        """Do what is due, in the pacer's time; called once for each time that was added."""


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

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass at once."""
        self._ahead += seconds
        if not self._now:
            self._arm()

    def add(self, when: float, timed: Timed) -> None:
        """Let `timed.send_due` be called at `when`, or up to a tick later."""
        tick = int(when / _TICK_SECONDS) + 1
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
        now = self.time()
        while self._order and self._order[0] * _TICK_SECONDS <= now and len(self._now) < _BODIES_A_TURN:
            self._now += self._ticks.pop(heapq.heappop(self._order))
        turn, rest = self._now[:_BODIES_A_TURN], self._now[_BODIES_A_TURN:]
        self._now = turn  # so that add() leaves the arming to us
        try:
            for timed in turn:
                timed.send_due(now)
        finally:
            self._now = rest
            if rest:
                self._loop.call_soon(self._run)
            else:
                self._arm()
