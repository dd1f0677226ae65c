"""Calls added up: integers alone, so that no sum is rounded."""

from __future__ import annotations

import functools
import time
import typing

from protocol.team.ledger.entry import Entry

_DAY_MILLISECONDS = 86_400_000

#: What calls can be added up by, as the columns of `daily` are called.
GROUPS = ("day", "key", "team", "model", "backend")


class Sums(typing.NamedTuple):
    """What calls used. Cost is nano-dollars.

    `unknown` counts those whose answer told no usage, `unpriced` those whose usage is known and whose model has no
    price. Neither is part of the cost.
    """

    requests: int = 0
    tok_in: int = 0
    tok_cached: int = 0
    tok_out: int = 0
    tok_reasoning: int = 0
    cost_nano: int = 0
    unknown: int = 0
    unpriced: int = 0

    def plus(self, other: typing.Iterable[int]) -> Sums:
        """Return both together."""
        return Sums(*(one + another for one, another in zip(self, other)))


Group = typing.Tuple[str, ...]  # the values of GROUPS, or of some of them


def add_entry(sums: dict[Group, Sums], entry: Entry) -> None:
    """Add a call that has ended to the sums of its day, key, team, model and backend."""
    unknown = entry.tok_in is None or entry.tok_out is None
    used = (entry.tok_in, entry.tok_cached, entry.tok_out, entry.tok_reasoning, entry.cost_nano)
    unpriced = entry.cost_nano is None and not unknown
    group = day_of(entry.at), entry.key, entry.team, entry.sent or entry.asked, entry.backend
    sums[group] = sums.get(group, Sums()).plus((1, *(count or 0 for count in used), unknown, unpriced))


def day_of(at: int) -> str:
    """Return the day of a time in milliseconds since the epoch, UTC: "2026-11-30"."""
    return _day(at // _DAY_MILLISECONDS)


@functools.lru_cache(maxsize=64)
def _day(number: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(number * (_DAY_MILLISECONDS // 1000)))
