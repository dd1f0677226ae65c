"""What the mock remembers: records in collections, within bounds on their number and on their bytes.

A collection is the path that lists it, such as "/threads/thread_1/messages"; its records are in the order in which
they came. When there are too many in all, or they are too large, the oldest go first; what something is added below is
as new as that. A record that goes takes what lies below it along.
"""

from __future__ import annotations

import collections
import typing

from protocol.wire.json_text import JsonObject, encode_json

Change = typing.Callable[["Record"], None]


class Record:
    """One thing that is remembered.

    `object` is what answers show, `content` the bytes of a file. `plan` holds what will become of it: pairs of the
    clock's seconds and a change, which is made when the record is next looked at from then on. `notes` is for what the
    mock must know and does not show. `size` is what it counts for, in bytes, besides its content.
    """

    __slots__ = ("collection", "content", "id", "notes", "object", "plan", "size")

    def __init__(self, collection: str, id: str, object: JsonObject, content: bytes) -> None:
        self.collection = collection
        self.id = id
        self.object = object
        self.content = content
        self.plan: list[tuple[float, Change]] = []
        self.notes: dict[str, typing.Any] = {}
        self.size = len(encode_json(object))

    @property
    def path(self) -> str:
        """The record's own path, below which are its collections."""
        return f"{self.collection}/{self.id}"


class Store:
    """Records by collection and id. `clock` gives the seconds by which plans go."""

    def __init__(self, clock: typing.Callable[[], float], *, most_records: int, most_bytes: int) -> None:
        self._clock = clock
        self._most_records = most_records
        self._most_bytes = most_bytes
        self._collections: dict[str, dict[str, Record]] = {}
        self._by_age: collections.OrderedDict[tuple[str, str], Record] = collections.OrderedDict()
        # The collections that lie somewhere below a path, by that path: so that what goes need not search them all.
        self._below: dict[str, dict[str, None]] = {}
        self._bytes = 0
        #: When the change was due that is being made, in the clock's seconds; None between changes.
        self.moment: float | None = None

    def add(self, collection: str, id: str, object: JsonObject, content: bytes = b"") -> Record:
        """Remember an object; one of the same id in the collection is replaced."""
        self.remove(collection, id)
        record = Record(collection, id, object, content)
        if collection not in self._collections:
            self._collections[collection] = {}
            for path in _paths_above(collection):
                self._below.setdefault(path, {})[collection] = None
        self._collections[collection][id] = record
        self._renew_above(collection)
        self._by_age[collection, id] = record
        self._bytes += record.size + len(content)
        self._forget_oldest()
        return record

    def set_content(self, record: Record, content: bytes) -> None:
        """Give a record other content."""
        if self.has(record):
            self._bytes += len(content) - len(record.content)
        record.content = content
        self._forget_oldest()

    def set_size(self, record: Record, size: int) -> None:
        """Let a record count for so many bytes besides its content: for notes that are large."""
        if self.has(record):
            self._bytes += size - record.size
        record.size = size
        self._forget_oldest()

    def has(self, record: Record) -> bool:
        """Whether a record is still remembered."""
        return self._by_age.get((record.collection, record.id)) is record

    def _renew_above(self, collection: str) -> None:
        """Let what a collection lies in be as new as what is added to it: else it would go, and take that along."""
        for path in _paths_above(f"{collection}/"):
            above = tuple(path.rsplit("/", 1))
            if above in self._by_age:
                self._by_age.move_to_end(above)

    def _forget_oldest(self) -> None:
        while len(self._by_age) > self._most_records or (self._bytes > self._most_bytes and len(self._by_age) > 1):
            self.remove(*next(iter(self._by_age)))

    def get(self, collection: str, id: str) -> Record | None:
        """Return a record as it is now, None when it is not known."""
        record = self._collections.get(collection, {}).get(id)
        if record is None or not record.plan:
            return record
        self._advance(record)
        return self._collections.get(collection, {}).get(id)

    def all(self, collection: str) -> list[Record]:
        """Return a collection's records as they are now, the oldest first."""
        records = list(self._collections.get(collection, {}).values())
        planned = [record for record in records if record.plan]
        for record in planned:
            self._advance(record)
        return list(self._collections.get(collection, {}).values()) if planned else records

    def remove(self, collection: str, id: str) -> bool:
        """Forget a record and all that lies below it; False when it was not known."""
        records = self._collections.get(collection, {})
        record = records.pop(id, None)
        if record is None:
            return False
        del self._by_age[collection, id]
        self._bytes -= record.size + len(record.content)
        if not records:
            self._drop(collection)
        # What there is one of at a path is in a collection that is called as the record is.
        for path in [record.path, *self._below.get(record.path, ())]:
            for inner in list(self._collections.get(path, {})):
                self.remove(path, inner)
        return True

    def _drop(self, collection: str) -> None:
        del self._collections[collection]
        for path in _paths_above(collection):
            below = self._below[path]
            del below[collection]
            if not below:
                del self._below[path]

    def _advance(self, record: Record) -> None:
        """Make the changes that are due. To them it is the time at which they were, whenever somebody looks."""
        now, before = self._clock(), self.moment
        try:
            while record.plan and record.plan[0][0] <= now:
                self.moment, change = record.plan.pop(0)
                change(record)
        finally:
            self.moment = before


def _paths_above(path: str) -> list[str]:
    """Return the paths that one lies below: "/a" and "/a/b" for "/a/b/c"."""
    steps = path.split("/")
    return ["/".join(steps[:count]) for count in range(2, len(steps))]
