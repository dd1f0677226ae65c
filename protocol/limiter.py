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

A budget of a calendar month or day is the same bucket, which leaks in another way: nothing until the period's last
millisecond, and then all of it in one.

What something costs may be known at its end alone. Then an estimate is taken when it begins, and `settle` takes or
gives back the difference. It never refuses: a level above the amount is a debt, which has to leak like anything else.
What is given back when the estimate has leaked already is lost. So over any span that begins while nothing is under
way, the amount of the window, what leaks in the span and that debt are the most that is taken in all. A settlement
that never comes (its process died) costs no more than the estimate, and that leaks, too.
"""

from __future__ import annotations

import datetime
import heapq
import math
import re
import typing

#: The time from which on a window leaks, in milliseconds, and its level then, in parts of a unit. That is the time of
#: the last change; for a budget, the last millisecond of the day or month.
State = typing.Tuple[int, int]

FRESH: State = (0, 0)

_DAY = 86_400_000
_PERIODS = {
    word: milliseconds
    for milliseconds, words in (
        (1_000, "s sec second"), (60_000, "min minute"), (3_600_000, "h hour"), (_DAY, "d day"),
    )
    for word in words.split()
}  # fmt: skip
_WINDOW = re.compile(r"([0-9]{1,12})(k|M|)\s*/\s*([a-z]+)")
_FACTORS = {"": 1, "k": 1_000, "M": 1_000_000}
# So that a level and what is added to it are exact in a double, too, which is what Lua in Redis counts with.
_MOST_PARTS = 2**52

#: No level is higher, and every lower one is exact in a double. A budget is below it.
MOST_LEVEL = 2**53

# An idle subject is forgotten when others come: so many are looked at for each that comes.
_LOOKED_AT = 2

# When to come again where others have all the room, in milliseconds.
_FULL_OF_OTHERS = 1_000

# The day 0 of the clock, as datetime.date counts days.
_EPOCH = datetime.date(1970, 1, 1).toordinal()


class _Amount(typing.NamedTuple):
    """An amount in a period, and what is worked out of the two once, so that nobody has to do it for each request.

    `parts` is how many parts a unit has, `leak` how many of them leak in a millisecond, `whole` how many the amount
    has. `kept_as` tells the states of one subject's windows apart.
    """

    amount: int
    period: typing.Any
    parts: int
    leak: int
    whole: int
    kept_as: str


class Window(_Amount):
    """So many units in so many milliseconds: `amount`, `period`."""

    __slots__ = ()

    def __new__(cls, amount: int, period: int) -> Window:
        common = math.gcd(amount, period)
        parts = period // common
        return super().__new__(cls, amount, period, parts, amount // common, amount * parts, f"{amount}/{period}")

    def __getnewargs__(self) -> tuple[int, int]:  # as `copy` and `pickle` make it again
        return self.amount, self.period


class Calendar(_Amount):
    """So many units, fewer than MOST_LEVEL, in a day or month of UTC: all can be taken again when the next one begins.

    Its state does not depend on the amount: what has been taken remains so when the amount is changed.
    """

    __slots__ = ()

    def __new__(cls, amount: int, period: typing.Literal["day", "month"]) -> Calendar:
        return super().__new__(cls, amount, period, 1, MOST_LEVEL, amount, period)

    def __getnewargs__(self) -> tuple[int, str]:
        return self.amount, self.period


class Standing(typing.NamedTuple):
    """How a window stands for an amount that is asked of it.

    `remaining` units can be taken at once. In `reset` milliseconds all of them can, if nobody takes any. In `wait`
    milliseconds the amount can be taken, 0 for now, None for never: it is more than the window's whole amount.
    """

    remaining: int
    reset: int
    wait: int | None


#: What a Standing says: `remaining`, `reset`, `wait`.
Stood = typing.Tuple[int, int, typing.Optional[int]]


class Claim(typing.NamedTuple):
    """What somebody wants to take: so many units out of the window of a subject, which is anything that can be a key.

    A subject has a state for each of its windows. Among claims that are made together no two are of the same state.
    """

    subject: typing.Hashable
    window: Window | Calendar
    units: int


#: A window of a subject as it is looked for: what its state is kept as, and the number of the amount taken of it.
Row = typing.Tuple[typing.Tuple[typing.Hashable, str], int, typing.Union[Window, Calendar]]


def row_of(subject: typing.Hashable, window: Window | Calendar, number: int) -> Row:
    """Return the row of a subject's window, of which the amount of this number is taken."""
    return (subject, window.kept_as), number, window


class Full(Exception):
    """There is no room for a further subject: all that are known have something taken. `wait` is in milliseconds."""

    def __init__(self, wait: int) -> None:
        super().__init__(f"no room for {wait} ms")
        self.wait = wait


# ---- the arithmetic -------------------------------------------------------------------------------------------------


def taken(window: Window | Calendar, state: State, now: int, units: int) -> State:
    """Return the state after so many units were taken at `now` (milliseconds), or given back if that is negative.

    A clock that goes backwards stands still for the window until it is where it was.
    """
    at, level = state
    if now > at:
        level = max(0, level - (now - at) * window.leak)
        at = now if window.leak < MOST_LEVEL else last_millisecond(window.period, now)
    return at, min(max(0, level + units * window.parts), MOST_LEVEL)


def standing(window: Window | Calendar, state: State, now: int, units: int) -> Standing:
    """Return how a window stands at `now` (milliseconds) for so many units."""
    at, level = taken(window, state, now, 0)
    parts, leak = window.parts, window.leak
    delay = max(0, at - now)  # until it leaks: a budget's period is over, a clock that went backwards is where it was
    free = window.whole - level
    missing = units * parts - free
    wait = None if units > window.amount else 0 if missing <= 0 else delay - (-missing // leak)
    return Standing(max(0, free // parts), delay - (-level // leak) if level else 0, wait)


def last_millisecond(period: int | str, now: int) -> int:
    """Return the last millisecond of the day or month, of UTC, in which `now` is (milliseconds since 1970)."""
    day = now // _DAY
    if period == "day":
        return (day + 1) * _DAY - 1
    today = datetime.date.fromordinal(_EPOCH + day)
    following = datetime.date(today.year + today.month // 12, today.month % 12 + 1, 1)
    return (following.toordinal() - _EPOCH) * _DAY - 1


def is_over(window: Window | Calendar, at: int, now: int) -> bool:
    """Tell whether a budget's period in which `at` was is over at `now`; a window has none."""
    return window.leak == MOST_LEVEL and last_millisecond(window.period, at) < now


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
        if window.whole > _MOST_PARTS:
            raise ValueError("expected a smaller or a rounder amount: this one cannot be counted exactly")
        windows[window.period] = window
    return list(windows.values())


# ---- the states, in the memory of one process -----------------------------------------------------------------------


class LimiterRoom:
    """How many states may be kept, and are, by all limiters that share it."""

    __slots__ = ("count", "most")

    def __init__(self, most: int = 100_000) -> None:
        self.most = most
        self.count = 0


class Limiter:
    """Keeps the states of as many windows of subjects as `room` has place for; `clock` gives the time in seconds.

    What has leaked away is forgotten for who comes next: it is as if it had never been. All that is claimed at once is
    taken, or nothing of it.
    """

    def __init__(self, clock: typing.Callable[[], float], room: LimiterRoom | None = None) -> None:
        self._clock = clock
        self._room = room or LimiterRoom()
        # Of a subject and what its window is kept as: a State that is changed in its place.
        self._states: dict[tuple[typing.Hashable, str], list[int]] = {}
        # Each known window once, with a time at or before which it has not leaked away, and how fast it leaks.
        self._clear: list[tuple[int, int, tuple[typing.Hashable, str], int]] = []
        self._count = 0  # so that subjects need no order
        #: When something was last asked of it: milliseconds since 1970, by its clock.
        self.now = 0

    def take(self, claims: typing.Sequence[Claim]) -> tuple[bool, list[Standing]]:
        """Take all that is claimed, if there is room for each of it; Full where there is none for another subject.

        Returns whether it was taken, and how each claim's window stands: afterwards where it was, else as it was.
        """
        is_in, told = self.draw(_rows_of(claims), [claim.units for claim in claims])
        return is_in, [Standing(*stood) for stood in told]

    def draw(self, rows: typing.Sequence[Row], amounts: typing.Sequence[int]) -> tuple[bool, list[Stood]]:
        """Take as `take` does, of rows that are asked again and again: of each the amount of its number."""
        # `taken` and `standing` are written out here and in `settle_rows`: that takes a quarter of the time.
        now = self.now = int(self._clock() * 1000)
        known = self._states.get
        told: list[Stood] = []
        for key, number, (_, period, parts, leak, whole, _) in rows:
            state = known(key)
            if state is None:
                break
            at, level = state
            if now > at:
                level -= (now - at) * leak
                if level < 0:
                    level = 0
                at = now if leak < MOST_LEVEL else last_millisecond(period, now)
            level += amounts[number] * parts
            if level > whole:
                break
            state[0] = at
            state[1] = level
            told.append(((whole - level) // parts, at - now - (-level // leak) if level else 0, 0))
        else:
            return True, told
        for (key, number, window), _ in zip(rows, told):
            self._states[key][1] -= amounts[number] * window.parts
        is_in, standings = self._take_or_refuse([Claim(key[0], window, amounts[n]) for key, n, window in rows], now)
        return is_in, [*standings]

    def settle(self, claims: typing.Sequence[Claim], units: int) -> None:
        """Let so many units have been taken of each claim's window instead of those that were."""
        self.settle_each(claims, [units] * len(claims), int(self._clock() * 1000))

    def settle_each(self, claims: typing.Sequence[Claim], units: typing.Sequence[int], at: int) -> None:
        """Let so many units have been taken of each claim's window, at `at`, instead of those that were.

        What was taken of a budget that is over by now stays as it is. An `at` of 0 says that nothing was taken.
        """
        self.settle_rows(_rows_of(claims), [claim.units for claim in claims], units, at)

    def settle_rows(
        self, rows: typing.Sequence[Row], reserved: typing.Sequence[int], used: typing.Sequence[int], at: int
    ) -> None:
        """Settle as `settle_each` does what `draw` took, of each row the amount of its number."""
        now = self.now = int(self._clock() * 1000)
        known = self._states.get
        is_another_day = at and at // _DAY != now // _DAY
        for key, number, window in rows:
            more = used[number] - reserved[number] if at else used[number]
            if not more or (is_another_day and is_over(window, at, now)):
                continue
            _, period, parts, leak, _, _ = window
            state = known(key)
            if state is None:
                self._remember(key, leak, list(taken(window, FRESH, now, more)))
                continue
            since, level = state
            if now > since:
                level -= (now - since) * leak
                if level < 0:
                    level = 0
                state[0] = now if leak < MOST_LEVEL else last_millisecond(period, now)
            level += more * parts
            state[1] = 0 if level < 0 else level if level < MOST_LEVEL else MOST_LEVEL

    def reset(self) -> None:
        """Forget all that was taken, and give back the room for it."""
        self._room.count -= len(self._states)
        self._states.clear()
        self._clear.clear()

    def _take_or_refuse(self, claims: typing.Sequence[Claim], now: int) -> tuple[bool, list[Standing]]:
        """Take what is claimed in part by those who are not known yet; or nothing."""
        states = self._states
        before: list[State] = []
        for subject, window, _ in claims:
            at, level = states.get((subject, window.kept_as), FRESH)
            before.append((at, level))
        told = [standing(claim.window, state, now, claim.units) for claim, state in zip(claims, before)]
        if any(one.wait != 0 for one in told):
            return False, told
        self._make_room(sum((claim.subject, claim.window.kept_as) not in states for claim in claims), now)
        after = [taken(claim.window, state, now, claim.units) for claim, state in zip(claims, before)]
        for (subject, window, _), (at, level) in zip(claims, after):
            key = (subject, window.kept_as)
            if key in states:
                states[key][:] = at, level
            else:
                self._remember(key, window.leak, [at, level])
        return True, [standing(claim.window, state, now, 0) for claim, state in zip(claims, after)]

    def _remember(self, key: tuple[typing.Hashable, str], leak: int, state: list[int]) -> None:
        if state[1]:
            self._count += 1
            heapq.heappush(self._clear, (_clear_at(leak, state), self._count, key, leak))
            self._states[key] = state
            self._room.count += 1

    def _make_room(self, new: int, now: int) -> None:
        """Forget what has leaked away; Full where what is left does not let so many in."""
        room = self._room
        most, looked_at = room.most - new, 0
        while self._clear and (looked_at < _LOOKED_AT * new or room.count > most):
            due, number, key, leak = self._clear[0]
            if due > now:
                break
            looked_at += 1
            clear_at = _clear_at(leak, self._states[key])
            if clear_at > now:
                heapq.heapreplace(self._clear, (clear_at, number, key, leak))
            else:
                heapq.heappop(self._clear)
                del self._states[key]
                room.count -= 1
        if room.count > most:
            raise Full(self._clear[0][0] - now if self._clear else _FULL_OF_OTHERS)


def _rows_of(claims: typing.Iterable[Claim]) -> list[Row]:
    return [row_of(claim.subject, claim.window, number) for number, claim in enumerate(claims)]


def _clear_at(leak: int, state: typing.Sequence[int]) -> int:
    """Return the time from which on a state is the same as FRESH."""
    at, level = state
    return at - (-level // leak)
