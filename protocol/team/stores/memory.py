"""The store of a server that is one process: what has been taken is forgotten with it."""

from __future__ import annotations

import typing

from protocol.limiter import Claim, Limiter, LimiterRoom
from protocol.team.stores.store import Crowded, Place, Taken


class MemoryStore:
    """Keeps at most `most` windows of subjects; `clock` gives the time in seconds since 1970."""

    def __init__(self, clock: typing.Callable[[], float], most: int = 100_000) -> None:
        self._limiter = Limiter(clock, LimiterRoom(most))
        self._occupied: dict[str, int] = {}

    def take(self, claims: typing.Sequence[Claim], places: typing.Sequence[Place] = ()) -> Taken:
        """Take all that is claimed, and occupy the places; Crowded and limiter.Full as Store has it."""
        occupied = self._occupied
        for place in places:
            if occupied.get(place.subject, 0) >= place.most:
                raise Crowded(place)
        is_in, standings = self._limiter.take(claims)
        if is_in:
            for subject, _ in places:
                occupied[subject] = occupied.get(subject, 0) + 1
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
        occupied = self._occupied
        for subject, _ in places:
            left = occupied.get(subject, 0) - 1
            if left > 0:
                occupied[subject] = left
            else:
                occupied.pop(subject, None)

    async def close(self) -> None:
        """Nothing is held outside of this process."""
