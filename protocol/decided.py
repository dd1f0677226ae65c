"""What is decided for one request, and holds for all that is done to answer it: what it draws, its pace, its beginning.

Its ids and choices come from a seed and the request, not from the order of arrival: so equal requests get equal answers
however many others are under way. Its pace is the one of the rule that took it. Its time begins when it is written
down: whoever reads that it is there, and moves the clock on, has moved its answer on, although its code may still have
to be loaded, or its body to be read in turns. All this is kept in the context of the task that answers, which work in
turns (protocol/turns.py) takes along.
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

#: Tells by how many seconds the clock was moved on since the request under way was written down. None where nobody has
#: written it down, and when its answer has begun: from there on the clock moves the answer's words.
count_of_moves: contextvars.ContextVar[typing.Callable[[], float] | None] = contextvars.ContextVar(
    "count_of_moves", default=None
)


def seconds_moved_on() -> float:
    """Return by how many seconds the clock was moved on after the request under way came: its answer is as far on."""
    count = count_of_moves.get()
    return 0.0 if count is None else count()


def draw_for(seed: str, key: str, number: int) -> None:
    """Let all that is drawn for the request under way come from a seed; it is the `number`-th with its key."""
    digest = hashlib.sha256(f"{number}:{key}:{seed}".encode("utf-8", "surrogatepass")).digest()
    drawn_bits.set(random.Random(digest).getrandbits)


def by_request(otherwise: Bits) -> Bits:
    """Return what gives bits drawn for the request under way, else those of `otherwise`."""

    def bits(count: int) -> int:
        return (drawn_bits.get() or otherwise)(count)

    return bits
