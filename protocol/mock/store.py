"""What the mock remembers: records in collections, within bounds on their number and on their bytes.

A collection is the path that lists it, such as "/threads/thread_1/messages"; its records are in the order in which
they came. When there are too many in all, or their contents are too large, the oldest go first. A record that goes
takes what lies below it along.
"""

from __future__ import annotations

import collections
import typing

from protocol.openai import JsonObject

Change = typing.Callable[["Record"], None]


class Record:
    """One thing that is remembered.

    `object` is what answers show, `content` the bytes of a file. `plan` holds what will become of it: pairs of the
    clock's seconds and a change, which is made when the record is next looked at from then on. `notes` is for what the
    mock must know and does not show.
    """

    __slots__ = ("collection", "content", "id", "notes", "object", "plan")

    def __init__(self, collection: str, id: str, object: JsonObject, content: bytes) -> None:
        self.collection = collection
        self.id = id
        self.object = object
        self.content = content
        self.plan: list[tuple[float, Change]] = []
        self.notes: dict[str, typing.Any] = {}

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
        self._bytes = 0

    def add(self, collection: str, id: str, object: JsonObject, content: bytes = b"") -> Record:
        """Remember an object; one of the same id in the collection is replaced."""
        self.remove(collection, id)
        record = Record(collection, id, object, content)
        self._collections.setdefault(collection, {})[id] = record
        self._by_age[collection, id] = record
        self._bytes += len(content)
        while len(self._by_age) > self._most_records or (self._bytes > self._most_bytes and len(self._by_age) > 1):
            self.remove(*next(iter(self._by_age)))
        return record

    def set_content(self, record: Record, content: bytes) -> None:
        """Give a record other content."""
        if self._by_age.get((record.collection, record.id)) is record:
            self._bytes += len(content) - len(record.content)
        record.content = content

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
        self._bytes -= len(record.content)
        if not records:
            del self._collections[collection]
        below = f"{record.path}/"
        for path in [path for path in self._collections if path.startswith(below)]:
            for inner in list(self._collections.get(path, {})):
                self.remove(path, inner)
        return True

    def _advance(self, record: Record) -> None:
        now = self._clock()
        while record.plan and record.plan[0][0] <= now:
            _, change = record.plan.pop(0)
            change(record)
