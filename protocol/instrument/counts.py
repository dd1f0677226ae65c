"""How often something has come: counted for all sessions in one place, so that together they take bounded memory."""

from __future__ import annotations

import collections
import typing


class Counts:
    """Counts of at most so many different things; the one that has not come for the longest time is forgotten.

    Whoever counts hands in a mark of his own, any object. With another mark he begins anew.
    """

    def __init__(self, most: int = 50_000) -> None:
        self._most = most
        self._counts: collections.OrderedDict[tuple[typing.Hashable, ...], int] = collections.OrderedDict()

    def count(self, mark: object, *known: str) -> int:
        """Count something, and return how often it has come."""
        key = (mark, *known)
        count = self._counts.pop(key, 0) + 1
        self._counts[key] = count
        if len(self._counts) > self._most:
            self._counts.popitem(last=False)
        return count
