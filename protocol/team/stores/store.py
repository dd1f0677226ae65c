"""What a store is: it keeps what everybody has taken of his windows and budgets, and how many places are occupied.

A request takes what it needs when it comes, its places too: all or nothing. When it is over it settles what it has
really used, and leaves its places. A request that never comes back (its process was killed) has used its estimate, and
its places are free again after a while.

A store answers at once, or says when: what it returns is awaitable where it has to ask over a network.

    answer = store.take(claims, places)
    is_in, standings, at = answer if type(answer) is tuple else await answer

Requests that are alike take of the same windows and occupy the same places, so that these are bound to a store once:
an Account is asked with amounts alone.
"""

from __future__ import annotations

import typing

from protocol.limiter import Calendar, Claim, Standing, Stood, Window

#: Whether all was taken; how each claim's window stands, afterwards where it was taken and else as it was; and what
#: `settle` wants to know: when it was taken, 0 where it was let in without.
Taken = typing.Tuple[bool, typing.List[Standing], int]


class Place(typing.NamedTuple):
    """One of at most so many requests of a subject that are under way at once."""

    subject: str
    most: int


#: What a request takes: 1 (itself), tokens, and nano-dollars; and where each of them stands.
Amounts = typing.Tuple[int, int, int]
REQUESTS, TOKENS, MONEY = range(3)


class Quota(typing.NamedTuple):
    """A window of a subject, and which of the amounts of a request is taken of it."""

    subject: typing.Hashable
    window: Window | Calendar
    kind: int


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


#: The same, of an account.
Drawn = typing.Tuple[bool, typing.Sequence[Stood], int]


class Account(typing.Protocol):
    """Quotas and places that are asked for together, by each request of a kind."""

    def take(self, amounts: Amounts) -> Drawn | typing.Awaitable[Drawn]:
        """Take of each quota its part of the amounts, and occupy the places, as Store.take has it."""

    def settle(self, reserved: Amounts, used: Amounts, at: int) -> None:
        """Let `used` have been taken of tokens and money instead of `reserved`, and free the places (Store.settle)."""

    def leave(self) -> None:
        """Free the places; what was taken stays so."""


@typing.runtime_checkable
class KeepsAccounts(typing.Protocol):
    """A store that finds what it has been asked for before in less time."""

    def account(self, quotas: typing.Sequence[Quota], places: typing.Sequence[Place]) -> Account:
        """Bind quotas and places."""


def open_account(store: Store, quotas: typing.Sequence[Quota], places: typing.Sequence[Place]) -> Account:
    """Bind quotas and places to a store."""
    return store.account(quotas, places) if isinstance(store, KeepsAccounts) else _Claiming(store, quotas, places)


class _Claiming:
    """An account of a store that is told the claims of each request."""

    __slots__ = ("_places", "_quotas", "_settled", "_store")

    def __init__(self, store: Store, quotas: typing.Sequence[Quota], places: typing.Sequence[Place]) -> None:
        self._store = store
        self._quotas = quotas
        self._settled = [quota for quota in quotas if quota.kind != REQUESTS]
        self._places = places

    def take(self, amounts: Amounts) -> Drawn | typing.Awaitable[Drawn]:
        """Take what is claimed, and occupy the places."""
        return self._store.take(claims_of(self._quotas, amounts), self._places)

    def settle(self, reserved: Amounts, used: Amounts, at: int) -> None:
        """Settle tokens and money, and free the places."""
        units = [used[quota.kind] for quota in self._settled]
        self._store.settle(claims_of(self._settled, reserved), units, at, self._places)

    def leave(self) -> None:
        """Free the places."""
        if self._places:
            self._store.settle((), (), 0, self._places)


def claims_of(quotas: typing.Iterable[Quota], amounts: typing.Sequence[int]) -> list[Claim]:
    """Return what a request claims that takes such amounts."""
    return [_new_claim(Claim, (subject, window, amounts[kind])) for subject, window, kind in quotas]


# A named tuple's own constructor is a Python function, and takes twice as long.
_new_claim: typing.Callable[[typing.Type[Claim], typing.Tuple[typing.Any, ...]], Claim] = tuple.__new__
