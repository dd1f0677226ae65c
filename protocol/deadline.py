"""The one lazy timer: a deadline that moves with every request, at the price of an assignment.

A connection moves its deadline several times a request, and nearly never lets one pass. A timer of the event loop
that was cancelled and set again each time would cost two allocations and two moves in the loop's heap, about 2 µs
(CPython 3.11), and leave the heap full of cancelled timers. So the timer stays where it was set, and the deadline is a
number beside it:

    none        `when` is 0.0; a timer may still be set, and finds nothing to do when it rings
    ahead       `when` is a time, and the timer rings then or earlier
    passed      the timer rang at `when` or later: `when` is 0.0 again, and `on_passed` is called

When the timer rings early, because the deadline has moved on meanwhile, it is set again for where the deadline is now:
for an exchange of any length that is one ring for each span of the limit. Only a deadline that moves to *before* the
timer needs the timer moved at once, which `expire_at` sees to; later, or to none, is what assigning `when` is for.
"""

from __future__ import annotations

import asyncio
import math
import time
import typing


def clock_of(loop: asyncio.AbstractEventLoop) -> typing.Callable[[], float]:
    """Return what tells the loop's time: asyncio's own loops go by time.monotonic, which costs half without them."""
    return time.monotonic if type(loop).time is asyncio.BaseEventLoop.time else loop.time


class Deadline:
    """Calls `on_passed()` once the time `when` is over, unless that has moved on; times are the loop's, in seconds.

    `when` is 0.0 while there is no deadline, and may be set to 0.0 or to any later time by mere assignment.
    `on_passed` may set the next deadline. It is usually a method of the deadline's owner, so the two refer to one
    another: an owner that ends calls `close`, or it waits for the collector.
    """

    __slots__ = ("_loop", "_on_passed", "_rings_at", "_timer", "when")

    def __init__(self, loop: asyncio.AbstractEventLoop, on_passed: typing.Callable[[], object]) -> None:
        self.when = 0.0
        self._loop = loop
        self._on_passed: typing.Callable[[], object] | None = on_passed
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = math.inf  # when the timer rings, infinite without one

    def expire_at(self, when: float) -> None:
        """Move the deadline to `when`, whether that is earlier or later than before."""
        self.when = when
        if when < self._rings_at:
            if self._timer is not None:
                self._timer.cancel()
            self._set_timer(when)

    def expire_in(self, seconds: float) -> None:
        """Move the deadline to so many seconds from now; infinitely many are no limit."""
        self.expire_at(self._loop.time() + seconds)

    def close(self) -> None:
        """Have no deadline any more, and let go of the owner."""
        self.when = 0.0
        self._on_passed = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self, when: float) -> None:
        self._rings_at = when
        self._timer = self._loop.call_at(when, self._look)

    def _look(self) -> None:
        """See whether the deadline has passed, when the timer rings."""
        self._timer = None
        self._rings_at = math.inf
        when = self.when
        if not when:
            return
        if self._loop.time() < when:
            self._set_timer(when)
            return
        self.when = 0.0
        if self._on_passed is not None:
            self._on_passed()
