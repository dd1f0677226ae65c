"""The limiter: how much of something whoever may take in a span of time, whatever it is and whoever asks.

Theory of operation
-------------------
A window such as 200 a minute is a bucket that leaks: what is taken raises its level, which falls all the time at the
rate of the window, down to 0. There is room for something as long as the level does not go above the whole amount.
That is the generic cell rate algorithm in its form as a leaky bucket (ITU-T I.371, Annex A), with the whole amount
allowed at once. OpenAI counts in the same way: 8,554 of 10,000 tokens a minute used and 3,082 asked for is "try again
in 9.816s", which is the time in which the 1,636 too many leak.

All is whole numbers. Levels are counted in parts of a unit, so many that as many leak in each millisecond: a unit of
200 a minute has 300 parts, of which 1 leaks in a millisecond. So nothing is ever rounded, and whoever keeps the states
elsewhere gets the same from the same two functions, `taken` and `standing`: of a window, a state, the time and an
amount, and of nothing else. An untouched window's state is FRESH, and a level of 0 is the same as that.

What something costs may be known at its end alone. Then an estimate is taken when it begins, and `settle` takes or
gives back the difference. It never refuses: a level above the amount is a debt, which has to leak like anything else.
What is given back when the estimate has leaked already is lost. So over any span that begins while nothing is under
way, the amount of the window, what leaks in the span and that debt are the most that is taken in all. A settlement
that never comes (its process died) costs no more than the estimate, and that leaks, too.
"""

from __future__ import annotations

import heapq
import math
import re
import typing

#: A window's time of the last change, in milliseconds, and its level then, in parts of a unit.
State = typing.Tuple[int, int]

FRESH: State = (0, 0)

_PERIODS = {
    word: milliseconds
    for milliseconds, words in (
        (1_000, "s sec second"), (60_000, "min minute"), (3_600_000, "h hour"), (86_400_000, "d day"),
    )
    for word in words.split()
}  # fmt: skip
_WINDOW = re.compile(r"([0-9]{1,12})(k|M|)\s*/\s*([a-z]+)")
_FACTORS = {"": 1, "k": 1_000, "M": 1_000_000}
# So that a level and what is added to it are exact in a double, too, which is what Lua in Redis counts with.
_MOST_PARTS = 2**52

# An idle subject is forgotten when others come: so many are looked at for each that comes.
_LOOKED_AT = 2


class Window(typing.NamedTuple):
    """So many units in so many milliseconds: `amount`, `period`."""

    amount: int
    period: int

    @property
    def parts(self) -> int:
        """How many parts a unit has."""
        return self.period // math.gcd(self.amount, self.period)

    @property
    def leak(self) -> int:
        """How many parts leak in a millisecond."""
        return self.amount // math.gcd(self.amount, self.period)


class Standing(typing.NamedTuple):
    """How a window stands for an amount that is asked of it.

    `remaining` units can be taken at once. In `reset` milliseconds all of them can, if nobody takes any. In `wait`
    milliseconds the amount can be taken, 0 for now, None for never: it is more than the window's whole amount.
    """

    remaining: int
    reset: int
    wait: int | None


class Claim(typing.NamedTuple):
    """What somebody wants to take: so many units out of the window of a subject, which is anything that can be a key.

    A subject has a state for each of its windows. Among claims that are made together no two are of the same state.
    """

    subject: typing.Hashable
    window: Window
    units: int


class Full(Exception):
    """There is no room for a further subject: all that are known have something taken. `wait` is in milliseconds."""

    def __init__(self, wait: int) -> None:
        super().__init__(f"no room for {wait} ms")
        self.wait = wait


# ---- the arithmetic -------------------------------------------------------------------------------------------------


def taken(window: Window, state: State, now: int, units: int) -> State:
    """Return the state after so many units were taken at `now` (milliseconds), or given back if that is negative.

    A clock that goes backwards stands still for the window until it is where it was.
    """
    at, level = state
    if now > at:
        level = max(0, level - (now - at) * window.leak)
        at = now
    return at, max(0, level + units * window.parts)


def standing(window: Window, state: State, now: int, units: int) -> Standing:
    """Return how a window stands at `now` (milliseconds) for so many units."""
    at, level = taken(window, state, now, 0)
    parts, leak = window.parts, window.leak
    delay = max(0, at - now)  # until a clock that went backwards is where it was
    free = window.amount * parts - level
    missing = units * parts - free
    wait = None if units > window.amount else 0 if missing <= 0 else delay - (-missing // leak)
    return Standing(max(0, free // parts), delay - (-level // leak) if level else 0, wait)


def read_windows(text: str) -> list[Window]:
    """Return the windows that a text names: "3/min, 100/day", "200k/min"; of s, min, h and day.

    ValueError for any other text, for an amount of 0, and for two windows of the same period.
    """
    windows: dict[int, Window] = {}
    for part in text.split(","):
        match = _WINDOW.fullmatch(part.strip())
        if match is None or match[3] not in _PERIODS or not int(match[1]):
            raise ValueError("expected amounts in a time, of s, min, h and day, e.g. 3/min, 100/day or 200k/min")
        window = Window(int(match[1]) * _FACTORS[match[2]], _PERIODS[match[3]])
        if window.period in windows:
            raise ValueError(f"expected one amount a {match[3]}")
        if window.amount * window.parts > _MOST_PARTS:
            raise ValueError("expected a smaller or a rounder amount: this one cannot be counted exactly")
        windows[window.period] = window
    return list(windows.values())


# ---- the states, in the memory of one process -----------------------------------------------------------------------


class Limiter:
    """Keeps the states of at most `most` windows of subjects; `clock` gives the time in seconds.

    What has leaked away is forgotten for who comes next: it is as if it had never been. All that is claimed at once is
    taken, or nothing of it.
    """

    def __init__(self, clock: typing.Callable[[], float], most: int = 100_000) -> None:
        self._clock = clock
        self._most = most
        self._states: dict[tuple[typing.Hashable, Window], State] = {}
        # Each known window once, with a time at or before which it has not leaked away.
        self._clear: list[tuple[int, int, tuple[typing.Hashable, Window]]] = []
        self._count = 0  # so that subjects need no order

    def take(self, claims: typing.Sequence[Claim]) -> tuple[bool, list[Standing]]:
        """Take all that is claimed, if there is room for each of it; Full where there is none for another subject.

        Returns whether it was taken, and how each claim's window stands: afterwards where it was, else as it was.
        """
        now = self._now()
        before = [standing(claim.window, self._state(claim), now, claim.units) for claim in claims]
        if any(one.wait != 0 for one in before):
            return False, before
        self._make_room([claim for claim in claims if claim[:2] not in self._states], now)
        for claim in claims:
            self._change(claim, now, claim.units)
        return True, [standing(claim.window, self._state(claim), now, 0) for claim in claims]

    def settle(self, claims: typing.Sequence[Claim], units: int) -> None:
        """Let so many units have been taken of each claim's window instead of those that were."""
        now = self._now()
        for claim in claims:
            self._change(claim, now, units - claim.units)

    def reset(self) -> None:
        """Forget all that was taken."""
        self._states.clear()
        self._clear.clear()

    def _now(self) -> int:
        return int(self._clock() * 1000)

    def _state(self, claim: Claim) -> State:
        return self._states.get(claim[:2], FRESH)

    def _change(self, claim: Claim, now: int, units: int) -> None:
        key, window = claim[:2], claim.window
        known = self._states.get(key)
        state = taken(window, known or FRESH, now, units)
        if known is None:
            if not state[1]:
                return
            self._count += 1
            heapq.heappush(self._clear, (_clear_at(window, state), self._count, key))
        self._states[key] = state

    def _make_room(self, new: typing.Sequence[Claim], now: int) -> None:
        """Forget what has leaked away; Full where what is left does not let these in."""
        most, looked_at = self._most - len(new), 0
        while self._clear and (looked_at < _LOOKED_AT * len(new) or len(self._states) > most):
            due, number, key = self._clear[0]
            if due > now:
                break
            looked_at += 1
            clear_at = _clear_at(key[1], self._states[key])
            if clear_at > now:
                heapq.heapreplace(self._clear, (clear_at, number, key))
            else:
                heapq.heappop(self._clear)
                del self._states[key]
        if len(self._states) > most:
            raise Full(self._clear[0][0] - now if self._clear else 0)


def _clear_at(window: Window, state: State) -> int:
    """Return the time from which on a state is the same as FRESH."""
    at, level = state
    return at - (-level // window.leak)
