"""What is decided for one request, and holds for all that is done to answer it: what it draws, and its pace.

Its ids and choices come from a seed and the request, not from the order of arrival: so equal requests get equal answers
however many others are under way. Its pace is the one of the rule that took it. Both are kept in the context of the
task that answers, which work in turns (protocol/turns.py) takes along.
"""

from __future__ import annotations

import contextvars
import hashlib
import random
import typing

Bits = typing.Callable[[int], int]

#: Gives random bits to the request that is being answered, None where nothing is drawn for it alone.
drawn_bits: contextvars.ContextVar[Bits | None] = contextvars.ContextVar("drawn_bits", default=None)

#: The name of the pace at which the request under way is answered, "" for the usual one.
decided_pace: contextvars.ContextVar[str] = contextvars.ContextVar("decided_pace", default="")


def draw_for(seed: str, key: str, number: int) -> None:
    """Let all that is drawn for the request under way come from a seed; it is the `number`-th with its key."""
    digest = hashlib.sha256(f"{number}:{key}:{seed}".encode("utf-8", "surrogatepass")).digest()
    drawn_bits.set(random.Random(digest).getrandbits)


def by_request(otherwise: Bits) -> Bits:
    """Return what gives bits drawn for the request under way, else those of `otherwise`."""

    def bits(count: int) -> int:
        return (drawn_bits.get() or otherwise)(count)

    return bits
