"""The store of a server that is one process: what has been taken is forgotten with it."""

from __future__ import annotations

import typing

from protocol.limiter import Claim, Limiter, LimiterRoom, row_of
from protocol.team.stores.store import REQUESTS, Crowded, Drawn, Place, Quota, Taken


class MemoryStore:
    """Keeps at most `most` windows of subjects; `clock` gives the time in seconds since 1970."""

    def __init__(self, clock: typing.Callable[[], float], most: int = 100_000) -> None:
        self._limiter = Limiter(clock, LimiterRoom(most))
        self._occupied: dict[str, int] = {}

    def account(self, quotas: typing.Sequence[Quota], places: typing.Sequence[Place]) -> _Account:
        """Bind quotas and places to what their states are kept as."""
        return _Account(self, self._limiter, quotas, places)

    def take(self, claims: typing.Sequence[Claim], places: typing.Sequence[Place] = ()) -> Taken:
        """Take all that is claimed, and occupy the places; Crowded and limiter.Full as Store has it."""
        self.look_for_room(places)
        is_in, standings = self._limiter.take(claims)
        if is_in:
            self.occupy(places)
        return is_in, standings, self._limiter.now

    def settle(
        self,
        claims: typing.Sequence[Claim],
        units: typing.Sequence[int],
        at: int,
        places: typing.Sequence[Place] = (),
    ) -> None:
        """Let so many units have been taken, and free the places."""
        if claims:
            self._limiter.settle_each(claims, units, at)
        self.free(places)

    def look_for_room(self, places: typing.Iterable[Place]) -> None:
        """Raise Crowded for the first place that there is no room at."""
        occupied = self._occupied
        for place in places:
            if occupied.get(place.subject, 0) >= place.most:
                raise Crowded(place)

    def occupy(self, places: typing.Iterable[Place]) -> None:
        """Occupy places that there is room at."""
        occupied = self._occupied
        for subject, _ in places:
            occupied[subject] = occupied.get(subject, 0) + 1

    def free(self, places: typing.Iterable[Place]) -> None:
        """Free places."""
        occupied = self._occupied
        for subject, _ in places:
            left = occupied.get(subject, 0) - 1
            if left > 0:
                occupied[subject] = left
            else:
                occupied.pop(subject, None)

    async def close(self) -> None:
        """Nothing is held outside of this process."""


class _Account:
    """Quotas and places of a MemoryStore."""

    __slots__ = ("_limiter", "_places", "_rows", "_settled", "_store")

    def __init__(
        self, store: MemoryStore, limiter: Limiter, quotas: typing.Sequence[Quota], places: typing.Sequence[Place]
    ) -> None:
        self._store = store
        self._limiter = limiter
        self._rows = [row_of(*quota) for quota in quotas]
        self._settled = [row_of(*quota) for quota in quotas if quota.kind != REQUESTS]
        self._places = places

    def take(self, amounts: typing.Sequence[int]) -> Drawn:
        """Take of each quota its part of the amounts, and occupy the places; Crowded and Full as Store has it."""
        if self._places:
            self._store.look_for_room(self._places)
        is_in, told = self._limiter.draw(self._rows, amounts)
        if is_in and self._places:
            self._store.occupy(self._places)
        return is_in, told, self._limiter.now

    def settle(self, reserved: typing.Sequence[int], used: typing.Sequence[int], at: int) -> None:
        """Let `used` have been taken instead of `reserved`, and free the places."""
        if self._settled:
            self._limiter.settle_rows(self._settled, reserved, used, at)
        if self._places:
            self._store.free(self._places)

    def leave(self) -> None:
        """Free the places."""
        self._store.free(self._places)
