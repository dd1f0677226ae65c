"""Slots: so many answers are made at once, others wait in line, and past the end of the line they are refused."""

from __future__ import annotations

import collections
import math
import typing

from protocol.errors import ApiError


class Waiting(typing.Protocol):
    """Who wants a slot."""

    #: When it will leave its slot, as far as that is known, in the time of `start`.
    ends_at: float

    def start(self, when: float) -> None:
        """Have a slot from `when` on; it may be a little before now."""


class Slots:
    """`slots` at once, 0 for any number; `queue` may wait.

    Times are handed in. Who comes next starts at the time at which the one before was to end, and not at the one at
    which that was noticed: in a long line errors do not add up.
    """

    def __init__(self, slots: int, queue: int) -> None:
        self._slots = slots
        self._most_waiting = queue
        self._in: set[Waiting] = set()
        # Those that wait, in order, and when they came.
        self._line: collections.OrderedDict[Waiting, float] = collections.OrderedDict()

    def enter(self, waiting: Waiting, now: float) -> None:
        """Have a slot now or later; ApiError 429 where too many wait already."""
        if not self._slots:
            waiting.start(now)
        elif len(self._in) < self._slots:
            self._in.add(waiting)
            waiting.start(now)
        elif len(self._line) < self._most_waiting:
            self._line[waiting] = now
        else:
            raise self._refusal(now)

    def leave(self, waiting: Waiting, when: float) -> None:
        """Give back a slot at `when`, or a place in the line; a second time nothing happens."""
        if self._line.pop(waiting, None) is not None or waiting not in self._in:
            return
        self._in.discard(waiting)
        if self._line:
            following, came = self._line.popitem(last=False)
            self._in.add(following)
            following.start(max(when, came))

    def _refusal(self, now: float) -> ApiError:
        """Return the error for one too many; it says when the next one ends, in whole seconds."""
        seconds = max(1, math.ceil(min(one.ends_at for one in self._in) - now))
        message = f"The engine is currently overloaded: {self._slots} answers are being made, {len(self._line)} wait."
        message += " Please try again later."
        return ApiError(429, message, code="engine_overloaded", fields=[("retry-after", str(seconds))])
