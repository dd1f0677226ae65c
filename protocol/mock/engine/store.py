"""What the mock remembers: records in collections, within bounds on their number and on their bytes.

A collection is named by the path that lists it, such as "/threads/thread_1/messages". Its records are in the order in
which they came. When there are too many records in all, or too many bytes, the oldest records go first. A record counts
as new again when something is added below it: a thread in use must not go before its own messages. A record that goes
takes along what lies below it.

A record counts for what its object, its content and what its state holds take in memory. Changes that a plan makes in
its own record are counted by themselves; whoever lets another object grow calls `note_change`. What several records
keep (`keep_chain`) counts once, and until the last of them goes: a response keeps the items of all those before it.
"""

from __future__ import annotations

import collections
import sys
import typing

from protocol.budget import spend_turn
from protocol.mock.engine.time_and_chance import TimeAndChance
from protocol.wire.json_text import JsonObject

Change = typing.Callable[["Record"], object]

# What a record takes besides its object, and what a chain has for each of its own.
_RECORD_BYTES = 500
_KEPT_BYTES = 200

# What it costs to remember an object: one request may bring thousands.
_RECORD_STEPS = 10
# What it costs to count an object of a chain, and so many of a value's parts (protocol/budget.py).
_SIZE_STEPS = 3
_PARTS_A_CHARGE = 1_000
_CHARGE_STEPS = 250


class State:
    """What a family knows of a record and does not show. Each kind of record has a class of its own."""

    __slots__ = ()


_State = typing.TypeVar("_State", bound=State)


class Chain(typing.Protocol):
    """Objects that records keep, and the chain before them, which they share with others."""

    before: typing.Any  # a Chain or None
    items: list[JsonObject]


class _Kept:
    """An object that chains hold: how many links do, and how many bytes it has."""

    __slots__ = ("holders", "size")

    def __init__(self, size: int) -> None:
        self.holders = 0
        self.size = size


class Record:
    """One thing that is remembered.

    `object` is what answers show, `content` the bytes of a file. `plan` holds what will become of the record: pairs of
    the seconds of `TimeAndChance.clock` and a change. A change is made when somebody looks at the record after its time
    has come. `size` is how many bytes the record counts for, besides its content; `object_size` are its object's.

    `state` is what the record's family knows besides, None where there is nothing to know. `chain` is what it keeps
    with others. `is_invented` marks a record that nobody created: it was made up for an unknown id.
    """

    __slots__ = (
        "chain",
        "collection",
        "content",
        "id",
        "is_invented",
        "object",
        "object_size",
        "plan",
        "size",
        "state",
    )

    def __init__(self, collection: str, id: str, object: JsonObject, content: bytes) -> None:
        self.collection = collection
        self.id = id
        self.object = object
        self.content = content
        self.plan: list[tuple[float, Change]] = []
        self.state: State | None = None
        self.chain: Chain | None = None
        self.is_invented = False
        self.object_size = memory_size(object)
        self.size = _RECORD_BYTES + self.object_size

    @property
    def path(self) -> str:
        """The record's own path; its collections are below it."""
        return f"{self.collection}/{self.id}"

    def state_of(self, kind: type[_State]) -> _State | None:
        """Return the state if it is of this class, else None."""
        return self.state if isinstance(self.state, kind) else None


class Store:
    """Records by collection and id; their plans go by the clock of `time`."""

    def __init__(self, time: TimeAndChance, *, most_records: int, most_bytes: int) -> None:
        self._time = time
        self._most_records = most_records
        self._most_bytes = most_bytes
        self._collections: dict[str, dict[str, Record]] = {}
        self._by_age: collections.OrderedDict[tuple[str, str], Record] = collections.OrderedDict()
        # By path, the collections that lie somewhere below it: a record that goes need not search all collections.
        self._below: dict[str, dict[str, None]] = {}
        self._bytes = 0
        # By id(), the links of chains that records or other links hold: how many do; and the objects in these links.
        self._links: dict[int, int] = {}
        self._kept: dict[int, _Kept] = {}

    @property
    def held(self) -> int:
        """How many bytes all records count for."""
        return self._bytes

    def add(self, collection: str, id: str, object: JsonObject, content: bytes = b"") -> Record:
        """Remember an object, in the place of a record of the same id in the collection."""
        spend_turn(_RECORD_STEPS)
        record = Record(collection, id, object, content)  # others may have their turns while it is counted
        self.remove(collection, id)
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
        """Put other content in the place of a record's."""
        if self.has(record):
            self._bytes += len(content) - len(record.content)
        record.content = content
        self._forget_oldest()

    def set_size(self, record: Record, size: int) -> None:
        """Let a record count for so many bytes besides its content, because its state is large."""
        if self.has(record):
            self._bytes += size - record.size
        record.size = size
        self._forget_oldest()

    def set_state(self, record: Record, state: State, held: object) -> None:
        """Let a record know a state; it counts for as many bytes as `held`, what it holds, takes."""
        size = memory_size(held)
        record.state = state
        self.set_size(record, record.size + size)

    def note_change(self, record: Record) -> None:
        """Count a record's object as it is now."""
        size = memory_size(record.object)
        grown, record.object_size = size - record.object_size, size
        self.set_size(record, record.size + grown)

    def keep_chain(self, record: Record, chain: Chain) -> None:
        """Let a record keep a chain, once; what is in it counts until no record keeps it any more."""
        if record.chain is not None or not self.has(record):
            return
        # Others may have their turns before anything is changed, and not in the middle of it.
        sizes = self._new_sizes(chain)
        if record.chain is not None or not self.has(record):
            return
        record.chain = chain
        link: Chain | None = chain
        while link is not None:
            holders = self._links.get(id(link), 0)
            self._links[id(link)] = holders + 1
            if holders:
                break
            for item in link.items:
                kept = self._kept.get(id(item))
                if kept is None:
                    size = sizes[id(item)] if id(item) in sizes else memory_size(item, pauses=False)
                    kept = self._kept[id(item)] = _Kept(_KEPT_BYTES + size)
                    self._bytes += kept.size
                kept.holders += 1
            link = link.before
        self._forget_oldest()

    def _new_sizes(self, chain: Chain) -> dict[int, int]:
        """Return the sizes of what a chain holds that is not kept yet, by id()."""
        sizes: dict[int, int] = {}
        link: Chain | None = chain
        while link is not None and id(link) not in self._links:
            for item in link.items:
                spend_turn(_SIZE_STEPS)
                if id(item) not in self._kept:
                    sizes[id(item)] = memory_size(item)
            link = link.before
        return sizes

    def _let_go(self, chain: Chain | None) -> None:
        while chain is not None:
            holders = self._links.pop(id(chain)) - 1
            if holders:
                self._links[id(chain)] = holders
                return
            for item in chain.items:
                kept = self._kept[id(item)]
                kept.holders -= 1
                if not kept.holders:
                    self._bytes -= kept.size
                    del self._kept[id(item)]
            chain = chain.before

    def has(self, record: Record) -> bool:
        """Whether a record is still remembered."""
        return self._by_age.get((record.collection, record.id)) is record

    def _renew_above(self, collection: str) -> None:
        """Let the records above a collection count as new: else they would go first, and take along what was added."""
        for path in _paths_above(f"{collection}/"):
            above, _, id = path.rpartition("/")
            if (above, id) in self._by_age:
                self._by_age.move_to_end((above, id))

    def _forget_oldest(self) -> None:
        # A record that alone is too large stays, as it came with one request; a chain has come with many.
        while len(self._by_age) > self._most_records or (
            self._bytes > self._most_bytes
            and (len(self._by_age) > 1 or any(record.chain and record.chain.before for record in self._by_age.values()))
        ):
            self.remove(*next(iter(self._by_age)))

    def get(self, collection: str, id: str) -> Record | None:
        """Return a record as it is now, None when it is not known."""
        record = self._collections.get(collection, {}).get(id)
        if record is None or not record.plan:
            return record
        self._make_due_changes(record)
        return self._collections.get(collection, {}).get(id)

    def all(self, collection: str) -> list[Record]:
        """Return a collection's records as they are now, the oldest first."""
        records = list(self._collections.get(collection, {}).values())
        planned = [record for record in records if record.plan]
        for record in planned:
            self._make_due_changes(record)
        return list(self._collections.get(collection, {}).values()) if planned else records

    def _make_due_changes(self, record: Record) -> None:
        left = len(record.plan)
        self._time.make_due_changes(record.plan, record)
        if len(record.plan) != left:
            self.note_change(record)

    def remove(self, collection: str, id: str) -> bool:
        """Forget a record and all that lies below it; False when it was not known."""
        records = self._collections.get(collection, {})
        record = records.pop(id, None)
        if record is None:
            return False
        del self._by_age[collection, id]
        self._bytes -= record.size + len(record.content)
        self._let_go(record.chain)
        if not records:
            self._drop(collection)
        # An object that exists once below a record is stored in a collection named by the record's own path.
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


def _paths_above(path: str) -> list[str]:
    """Return the paths above a path: "/a" and "/a/b" for "/a/b/c"."""
    steps = path.split("/")
    return ["/".join(steps[:count]) for count in range(2, len(steps))]


def memory_size(value: object, *, pauses: bool = True) -> int:
    """Return how many bytes a JSON value takes in memory: ten times those of its text, where it has many small parts.

    Others have their turns while a large one is counted, unless it `pauses` not. What a value has twice counts twice.
    """
    size_of = sys.getsizeof
    size, values = 0, [value]
    while values:
        for _ in range(_PARTS_A_CHARGE):
            one = values.pop()
            size += size_of(one)
            if type(one) is dict:
                size += sum(map(size_of, one))
                values.extend(one.values())
            elif type(one) is list:
                values.extend(one)
            if not values:
                return size
        if pauses:
            spend_turn(_CHARGE_STEPS)
    return size
