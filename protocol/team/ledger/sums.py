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


def add_entries(sums: dict[Group, Sums], entries: typing.Iterable[Entry]) -> None:
    """Add calls that have ended to the sums of their days, keys, teams, models and backends."""
    added: dict[tuple[int, str, str, str, str], list[int]] = {}
    for _, at, key, team, asked, sent, backend, *_, read, cached, said, reasoning, cost in entries:
        same = at // _DAY_MILLISECONDS, key, team, sent or asked, backend
        one = added.get(same)
        if one is None:
            one = added[same] = [0] * len(Sums._fields)
        one[0] += 1
        one[1] += read or 0
        one[2] += cached or 0
        one[3] += said or 0
        one[4] += reasoning or 0
        one[5] += cost or 0
        if read is None or said is None:
            one[6] += 1
        elif cost is None:
            one[7] += 1
    for (day, *names), more in added.items():
        group = (day_of(day), *names)
        sums[group] = sums.get(group, Sums()).plus(more)


@functools.lru_cache(maxsize=64)
def day_of(number: int) -> str:
    """Return the day that is so many days after the beginning of 1970, UTC: "2026-11-30"."""
    return time.strftime("%Y-%m-%d", time.gmtime(number * (_DAY_MILLISECONDS // 1000)))
