"""The responses that one connection remembers, so that a further one may follow them though they are not stored."""

from __future__ import annotations

from protocol.mock.engine.store import memory_size
from protocol.mock.responses.items import ItemChain


class RecentResponses:
    """The contexts of a connection's newest responses, by their ids; at most so many."""

    def __init__(self, most: int) -> None:
        self.chains: dict[str, ItemChain] = {}
        #: How many bytes of memory all of them take; what they share counts once.
        self.held_bytes = 0
        self._most = most
        # By id(), what each link's own items take.
        self._sizes: dict[int, int] = {}

    def note_new(self) -> None:
        """Count what has been added to `chains`, and forget the oldest where there are too many."""
        while len(self.chains) > self._most:
            del self.chains[next(iter(self.chains))]
        known, self._sizes = self._sizes, {}
        for chain in self.chains.values():
            link: ItemChain | None = chain
            while link is not None and id(link) not in self._sizes:
                size = known.get(id(link))
                self._sizes[id(link)] = memory_size(link.items) if size is None else size
                link = link.before
        self.held_bytes = sum(self._sizes.values())
