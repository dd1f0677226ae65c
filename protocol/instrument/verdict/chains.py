"""Chains: calls that are attempts at the same thing.

Two calls are attempts at the same thing when they are equal (request_key.py), when the second came after the first was
over, and when the first had failed. Equal calls that overlap are different callers', and one after a success is new.
"""

from __future__ import annotations

import typing

from protocol.instrument.journal import Entry
from protocol.instrument.verdict.bodies import error_code

# What SDKs try again: OpenAI's do so for 408, 409, 429 and all from 500 on (openai-python README, "Retries").
_WORTH_A_RETRY = frozenset((408, 409, 429))
# 429 that no later attempt changes (API reference, "Error codes").
_FINAL_CODES = frozenset(("insufficient_quota", "billing_hard_limit_reached"))

Chain = typing.Sequence[Entry]


def chains(entries: typing.Iterable[Entry]) -> typing.Sequence[Chain]:
    """Return the chains of a journal's entries, which come in the order of time."""
    made: list[list[Entry]] = []
    open_chains: dict[str, list[list[Entry]]] = {}
    for entry in entries:
        before = open_chains.setdefault(entry.key, [])
        chain = next((one for one in reversed(before) if _follows(one[-1], entry)), None)
        if chain is None:
            chain = []
            made.append(chain)
            before.append(chain)
        chain.append(entry)
        if not has_failed(entry):
            before[:] = [one for one in before if one is not chain or not entry.ended]
    return made


def _follows(before: Entry, entry: Entry) -> bool:
    return before.ended_at is not None and before.ended_at <= entry.came and has_failed(before)


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
