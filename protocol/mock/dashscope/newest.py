"""What is remembered of tasks and files: the newest ones of all sessions, so that together they take bounded memory."""

from __future__ import annotations

import collections
import typing


class Newest:
    """Lets dictionaries keep what came last: at most so many members in all."""

    def __init__(self, most: int = 1000) -> None:
        self._most = most
        self._all: collections.OrderedDict[tuple[int, str], dict[str, typing.Any]] = collections.OrderedDict()

    def add(self, kept: dict[str, typing.Any], name: str, value: object) -> None:
        """Put a member into a dictionary; the oldest of all make room."""
        kept[name] = value
        self._all[id(kept), name] = kept
        while len(self._all) > self._most:
            (_, oldest), holder = self._all.popitem(last=False)
            del holder[oldest]

    def remove(self, kept: dict[str, typing.Any], name: str) -> None:
        """Take a member out of a dictionary."""
        del self._all[id(kept), name]
        del kept[name]
