"""Chains: calls that are attempts at the same thing.

Two calls are attempts at the same thing when they are equal (request_key.py), when the second came after the first was
over, and when the first had failed. Equal calls that overlap are different callers', and one after a success is new.
"""

from __future__ import annotations

import heapq
import typing

from protocol.budget import spend_turn
from protocol.instrument.journal import Entry
from protocol.instrument.verdict.bodies import error_code

# What SDKs try again: OpenAI's do so for 408, 409, 429 and all from 500 on (openai-python README, "Retries").
_WORTH_A_RETRY = frozenset((408, 409, 429))
# 429 that no later attempt changes (API reference, "Error codes").
_FINAL_CODES = frozenset(("insufficient_quota", "billing_hard_limit_reached"))

Chain = typing.Sequence[Entry]

# What it costs to find the chain of an entry (protocol/budget.py).
_ENTRY_STEPS = 10


def chains(entries: typing.Iterable[Entry]) -> typing.Sequence[Chain]:
    """Return the chains of a journal's entries, which come in the order of time."""
    made: list[list[Entry]] = []
    open_chains: dict[str, _OpenChains] = {}
    for entry in entries:
        spend_turn(_ENTRY_STEPS)
        equal = open_chains.setdefault(entry.key, _OpenChains())
        number = equal.before(entry.came)
        if number is None:
            number = len(made)
            made.append([])
        made[number].append(entry)
        if has_failed(entry) and entry.ended_at is not None:
            equal.add(number, entry.ended_at)
    return made


class _OpenChains:
    """The chains of equal calls, by number, whose last attempt has failed: another one may follow it.

    A program may make thousands of equal calls at once, so they are not all looked at for each.
    """

    def __init__(self) -> None:
        self._by_end: list[tuple[float, int]] = []  # a heap, of those that may not have ended yet
        self._ended: list[int] = []  # a heap, in which the latest number is the first

    def add(self, number: int, ended_at: float) -> None:
        """Have another one, whose last attempt ended then."""
        heapq.heappush(self._by_end, (ended_at, number))

    def before(self, came: float) -> int | None:
        """Take out the latest chain that an attempt follows which came then, None for none."""
        while self._by_end and self._by_end[0][0] <= came:
            heapq.heappush(self._ended, -heapq.heappop(self._by_end)[1])
        return -heapq.heappop(self._ended) if self._ended else None


def has_failed(entry: Entry) -> bool:
    """Tell whether a caller has reason to see a failure: an error, or an answer that does not come to its end."""
    return entry.status >= 400 or entry.ended in ("cut", "left") or is_partial(entry)


def is_partial(entry: Entry) -> bool:
    """Tell whether a good answer has been spoilt on its way, so that what came of it is not the whole."""
    return entry.status == 200 and entry.fault.partition(" ")[0] in _SPOILING


# Kinds of faults after which an answer is not whole.
_SPOILING = frozenset("cut no-finish reset close stall json length chunk".split())


def may_be_retried(entry: Entry) -> bool | None:
    """Tell whether a failed call is worth another attempt; None where that is a matter of taste."""
    told = dict(entry.answer_fields).get("x-should-retry", "")
    if told in ("true", "false"):
        return told == "true"
    if entry.status == 429 and error_code(bytes(entry.answer_body)) in _FINAL_CODES:
        return False
    if entry.status >= 500 or entry.status in _WORTH_A_RETRY:
        return True
    return False if entry.status >= 400 else None
