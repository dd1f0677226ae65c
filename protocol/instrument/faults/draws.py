"""When a fault happens: counters, times, and chance that repeats.

A draw is a hash of the seed, the session, the fault, the request's canonical key, and how many equal requests came
before. So the same requests meet the same faults, whoever sends them in which order: a request that is asked in between
changes nothing for the others. A shared generator would give each request what the one before it has left.
"""

from __future__ import annotations

import hashlib
import typing

from protocol.instrument.counts import Counts
from protocol.instrument.faults.language import Fault

_UNIT = 1 << 53  # what a float can tell apart between 0 and 1


class Draw:
    """The chance of one request and one fault: as many numbers as are asked for, always the same ones."""

    __slots__ = ("_seed", "_taken")

    def __init__(self, *known: typing.Union[str, int]) -> None:
        # Lengths keep two lists apart that are the same when joined.
        text = "".join(f"{len(str(part))}:{part}" for part in known)
        self._seed = text.encode("utf-8", "surrogatepass")
        self._taken = 0

    def next(self) -> float:
        """Return the next number, from 0 to below 1."""
        digest = hashlib.sha256(b"%d:%b" % (self._taken, self._seed)).digest()
        self._taken += 1
        return (int.from_bytes(digest[:8], "big") >> 11) / _UNIT


class Occasions:
    """Counts what rules are met with in one session, and tells when their faults happen.

    The name of the `session` is part of every draw. A `rule` is whatever its owner calls it: a script's rule, a pattern
    of [faults], the header. `counts` are those of all sessions.
    """

    def __init__(self, session: str, counts: Counts) -> None:
        self._session = session
        self._counts = counts
        self._mark = object()

    def reset(self) -> None:
        """Forget all that was counted."""
        self._mark = object()

    def happens(self, rule: str, fault: Fault, key: str, elapsed: float, seed: str) -> Draw | None:
        """Count a request that a fault's rule fits; return its draw if the fault happens now, else None.

        `key` is the request's canonical key, `elapsed` the seconds since the session began.
        """
        word, numbers, is_each = fault.when
        met = self._counts.count(self._mark, rule, fault.text)
        equal = self._counts.count(self._mark, rule, fault.text, key)
        count = equal if is_each else met
        draw = Draw(seed, self._session, fault.text, key, equal)
        if word == "p":
            happens = draw.next() < numbers[0]
        elif word == "between":
            happens = numbers[0] <= elapsed < numbers[1]
        elif word == "first":
            happens = count <= numbers[0]
        elif word == "every":
            happens = count % int(numbers[0]) == 0
        else:
            happens = word == "" or count in numbers
        return draw if happens else None
