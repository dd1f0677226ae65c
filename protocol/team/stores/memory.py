"""The store of a server that is one process: what has been taken is forgotten with it."""

from __future__ import annotations

import typing

from protocol.limiter import Claim, Limiter, LimiterRoom
from protocol.team.stores.store import Place, Taken


class MemoryStore:
    """Keeps at most `most` windows of subjects; `clock` gives the time in seconds since 1970."""

    def __init__(self, clock: typing.Callable[[], float], most: int = 100_000) -> None:
        self._limiter = Limiter(clock, LimiterRoom(most))
        self._occupied: dict[str, int] = {}

    def take(self, claims: typing.Sequence[Claim]) -> Taken:
        """Take all that is claimed; limiter.Full where no further subject can be remembered."""
        is_in, standings = self._limiter.take(claims)
        return is_in, standings, self._limiter.now

    def settle(self, claims: typing.Sequence[Claim], units: typing.Sequence[int], at: int) -> None:
        """Let so many units have been taken."""
        self._limiter.settle_each(claims, units, at)

    def enter(self, places: typing.Sequence[Place]) -> Place | None:
        """Occupy all of these places, or return the first that there is no room for."""
        occupied = self._occupied
        for place in places:
            if occupied.get(place.subject, 0) >= place.most:
                return place
        for subject, _ in places:
            occupied[subject] = occupied.get(subject, 0) + 1
        return None

    def leave(self, places: typing.Sequence[Place]) -> None:
        """Free what `enter` occupied."""
        occupied = self._occupied
        for subject, _ in places:
            left = occupied.get(subject, 0) - 1
            if left > 0:
                occupied[subject] = left
            else:
                occupied.pop(subject, None)

    async def close(self) -> None:
        """Nothing is held outside of this process."""
