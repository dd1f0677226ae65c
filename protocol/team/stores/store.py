"""What a store is: it keeps what everybody has taken of his windows and budgets, and how many places are occupied.

A request takes what it needs when it comes, all or nothing; its places too. When it is over it settles what it has
really used, and leaves its places. A request that never comes back (its process was killed) has used its estimate, and
its places are free again after a while.

A store answers at once, or says when: what it returns is awaitable where it has to ask over a network.

    answer = store.take(claims)
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


class Store(typing.Protocol):
    """Keeps what was taken. Subjects are short texts; amounts are below 2**53."""

    def take(self, claims: typing.Sequence[Claim]) -> Taken | typing.Awaitable[Taken]:
        """Take all that is claimed, if there is room for each of it.

        limiter.Full where no further subject can be remembered; ApiError 503 where the store cannot be reached and
        nobody may pass without it.
        """

    def settle(self, claims: typing.Sequence[Claim], units: typing.Sequence[int], at: int) -> None:
        """Let so many units have been taken by each claim instead of those that it names; `at` is what `take` gave.

        It never refuses: what is above the amount is a debt, and leaks. What was taken of a budget whose day or month
        is over stays as it was. With an `at` of 0 nothing had been taken, and all of the units are.
        """

    def enter(self, places: typing.Sequence[Place]) -> Place | None | typing.Awaitable[Place | None]:
        """Occupy all of these places, or none, and then return the first that there was no room for. Errors as take."""

    def leave(self, places: typing.Sequence[Place]) -> None:
        """Free what `enter` occupied."""

    async def close(self) -> None:
        """Let go of all that is held; the places too."""
