"""What a store is: it keeps what everybody has taken of his windows and budgets, and how many places are occupied.

A request takes what it needs when it comes, its places too: all or nothing. When it is over it settles what it has
really used, and leaves its places. A request that never comes back (its process was killed) has used its estimate, and
its places are free again after a while.

A store answers at once, or says when: what it returns is awaitable where it has to ask over a network.

    answer = store.take(claims, places)
    is_in, standings, at = answer if type(answer) is tuple else await answer
"""

from __future__ import annotations

import typing

from protocol.limiter import Claim, Standing

#: Whether all was taken; how each claim's window stands, afterwards where it was taken and else as it was; and what
#: `settle` wants to know: when it was taken, 0 where it was let in without.
Taken = typing.Tuple[bool, typing.List[Standing], int]


class Place(typing.NamedTuple):
    """One of at most so many requests of a subject that are under way at once."""

    subject: str
    most: int


class Crowded(Exception):
    """No more requests of a subject may be under way: there is no room at `place`."""

    def __init__(self, place: Place) -> None:
        super().__init__(f"no room at {place}")
        self.place = place


class Store(typing.Protocol):
    """Keeps what was taken. Subjects are short texts; amounts are below 2**53."""

    def take(
        self, claims: typing.Sequence[Claim], places: typing.Sequence[Place] = ()
    ) -> Taken | typing.Awaitable[Taken]:
        """Take all that is claimed and occupy all of these places, if there is room for each of them.

        Crowded names the first place that there was no room at; claims are not looked at then. limiter.Full where no
        further subject can be remembered; ApiError 503 where the store cannot be reached and nobody may pass without
        it.
        """

    def settle(
        self,
        claims: typing.Sequence[Claim],
        units: typing.Sequence[int],
        at: int,
        places: typing.Sequence[Place] = (),
    ) -> None:
        """Let so many units have been taken by each claim instead of those that it names, and free these places.

        `at` is what `take` gave; with 0 nothing had been taken, and all of the units are. It never refuses: what is
        above the amount is a debt, and leaks. What was taken of a budget whose day or month is over stays as it was.
        """

    async def close(self) -> None:
        """Let go of all that is held; the places too."""
