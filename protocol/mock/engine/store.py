"""What the mock remembers: records in collections, within bounds on their number and on their bytes.

A collection is named by the path that lists it, such as "/threads/thread_1/messages". Its records are in the order in
which they came. When there are too many records in all, or too many bytes, the oldest records go first. A record counts
as new again when something is added below it: a thread in use must not go before its own messages. A record that goes
takes along what lies below it.

Each session of the instrument has a store of its own, and all stores of a mock stand on one shelf, which has the
bounds: however many sessions there are, together they hold what one may. The fullest store makes room, so that a
session that keeps little does not lose it to one that keeps much.

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
# So many stores are looked at in a step, where one must make room.
_STORES_A_STEP = 5
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


class Shelf:
    """The room that all stores of a mock share: so many records and bytes."""

    def __init__(self, *, most_records: int, most_bytes: int) -> None:
        self._most_records = most_records
        self._most_bytes = most_bytes
        self._stores: dict[Store, None] = {}
        self._records = 0
        self._bytes = 0

    def put(self, store: Store) -> None:
        """Let a store, which is empty, have its part of the room."""
        self._stores[store] = None

    def take_off(self, store: Store) -> None:
        """Give back what a store has of the room; it is not filled any more."""
        del self._stores[store]
        self.count(-store.count, -store.held)

    def count(self, records: int, size: int) -> None:
        """Count so many records and bytes more, or, below 0, less."""
        self._records += records
        self._bytes += size

    def make_room(self, newest: Store) -> None:
        """Let the fullest stores forget their oldest records, until all of them together are within the bounds.

        What `newest` was given last stays, also where it alone is too large: it came with one request.
        """
        while self._records > self._most_records:
            max(self._stores, key=_count_of).forget_oldest()
        while self._bytes > self._most_bytes:
            forgetful = [store for store in self._stores if (store.may_forget if store is newest else store.count)]
            if not forgetful:
                break
            max(forgetful, key=_held_by).forget_oldest()

    def make_room_for(self, size: int) -> None:
        """Let the fullest stores forget their oldest records, until there is room for so many bytes more."""
        while self._records and self._bytes + size > self._most_bytes:
            max(self._stores, key=_held_by).forget_oldest()

    @property
    def steps(self) -> int:
        """What it costs to find the fullest store (protocol/budget.py)."""
        return len(self._stores) // _STORES_A_STEP


class Store:
    """Records by collection and id, in the room that `shelf` has; their plans go by the clock of `time`."""

    def __init__(self, time: TimeAndChance, shelf: Shelf) -> None:
        self._time = time
        self._shelf = shelf
        self._collections: dict[str, dict[str, Record]] = {}
        self._by_age: collections.OrderedDict[tuple[str, str], Record] = collections.OrderedDict()
        # By path, the collections that lie somewhere below it: a record that goes need not search all collections.
        self._below: dict[str, dict[str, None]] = {}
        self._bytes = 0
        # By id(), the links of chains that records or other links hold: how many do.
        self._links: dict[int, int] = {}
        # By id(), the objects in these links: their bytes, and in how many more links those are that are in several.
        # One request may bring a hundred thousand: an object for each of them would take longer than all others wait.
        self._kept: dict[int, int] = {}
        self._also_in: dict[int, int] = {}
        self._is_open = True
        shelf.put(self)

    @property
    def count(self) -> int:
        """How many records there are."""
        return len(self._by_age)

    @property
    def held(self) -> int:
        """How many bytes all records count for."""
        return self._bytes

    @property
    def may_forget(self) -> bool:
        """Whether there is more than what came with one request: several records, or a chain, which came with many."""
        records = self._by_age.values()
        return len(records) > 1 or any(record.chain and record.chain.before for record in records)

    def forget_oldest(self) -> None:
        """Forget the record that is the oldest, and what lies below it."""
        self.remove(*next(iter(self._by_age)))

    def close(self) -> None:
        """Forget all, and give back the room: who still adds something here takes none from the others.

        The collector would come to what is here late, or never.
        """
        if self._is_open:
            self._is_open = False
            self._shelf.take_off(self)
            self._bytes = 0
            for kept in (self._collections, self._by_age, self._below, self._links, self._kept, self._also_in):
                kept.clear()

    def _count(self, records: int, size: int) -> None:
        self._bytes += size
        if self._is_open:
            self._shelf.count(records, size)

    def _make_room(self) -> None:
        if self._is_open:
            self._shelf.make_room(self)

    def add(self, collection: str, id: str, object: JsonObject, content: bytes = b"") -> Record:
        """Remember an object, in the place of a record of the same id in the collection."""
        spend_turn(_RECORD_STEPS + self._shelf.steps)
        record = Record(collection, id, object, content)  # others may have their turns while it is counted
        self.remove(collection, id)
        if collection not in self._collections:
            self._collections[collection] = {}
            for path in _paths_above(collection):
                self._below.setdefault(path, {})[collection] = None
        self._collections[collection][id] = record
        self._renew_above(collection)
        self._by_age[collection, id] = record
        self._count(1, record.size + len(content))
        self._make_room()
        return record

    def make_room_for(self, collection: str, size: int) -> None:
        """Make room for so many bytes that will be added to a collection.

        Whoever is about to copy them out of a request says so, else they were there beside all that must go for them.
        """
        if self._is_open:
            self._renew_above(collection)
            self._shelf.make_room_for(size)

    def set_content(self, record: Record, content: bytes) -> None:
        """Put other content in the place of a record's."""
        if self.has(record):
            self._count(0, len(content) - len(record.content))
        record.content = content
        self._make_room()

    def set_size(self, record: Record, size: int) -> None:
        """Let a record count for so many bytes besides its content, because its state is large."""
        if self.has(record):
            self._count(0, size - record.size)
        record.size = size
        self._make_room()

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
        links: list[Chain] = []
        link: Chain | None = chain
        while link is not None:
            holders = self._links.get(id(link), 0)
            self._links[id(link)] = holders + 1
            if holders:
                break
            links.append(link)
            link = link.before
        self._hold(links, sizes)
        spend_turn(len(sizes))  # what goes for it may be as much again
        self._make_room()

    def _new_sizes(self, chain: Chain) -> dict[int, int]:
        """Return the sizes of what a chain holds that is not kept yet, by id()."""
        sizes: dict[int, int] = {}
        link: Chain | None = chain
        while link is not None and id(link) not in self._links:
            for item in link.items:
                spend_turn(_SIZE_STEPS)
                if id(item) not in self._kept:
                    sizes[id(item)] = _kept_size(item)
            link = link.before
        return sizes

    def _hold(self, links: typing.Sequence[Chain], sizes: typing.Mapping[int, int]) -> None:
        """Count what is in links that were not held, of which `sizes` were not kept when others had their turns.

        A hundred thousand objects are counted in one turn: so those that are in no other link, nearly always all of
        them, are not looked at one by one.
        """
        known, also_in = self._kept, self._also_in
        first = {key: size for key, size in sizes.items() if key not in known}
        known.update(first)
        added = sum(first.values())
        if sum(len(link.items) for link in links) > len(first):
            for link in links:
                for item in link.items:
                    key = id(item)
                    if first.pop(key, 0):
                        continue
                    if key in known:
                        also_in[key] = also_in.get(key, 0) + 1
                    else:
                        known[key] = size = _kept_size(item, pauses=False)
                        added += size
        self._count(0, added)

    def _let_go(self, chain: Chain | None) -> None:
        while chain is not None:
            holders = self._links.pop(id(chain)) - 1
            if holders:
                self._links[id(chain)] = holders
                return
            keys = [*map(id, chain.items)]
            known, also_in = self._kept, self._also_in
            if also_in.keys().isdisjoint(keys):
                freed = sum(map(known.pop, keys))
            else:
                freed = 0
                for key in keys:
                    more = also_in.pop(key, 0)
                    if not more:
                        freed += known.pop(key)
                    elif more > 1:
                        also_in[key] = more - 1
            self._count(0, -freed)
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
        self._count(-1, -record.size - len(record.content))
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


def _count_of(store: Store) -> int:
    return store.count


def _held_by(store: Store) -> int:
    return store.held


def _kept_size(item: JsonObject, *, pauses: bool = True) -> int:
    """Return how many bytes an object of a chain counts for."""
    return _KEPT_BYTES + memory_size(item, pauses=pauses)


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
