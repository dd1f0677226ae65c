"""Candidates for the arrays of a made-up value.

Theory of operation. `contains` makes arrays hard: some items must satisfy one more schema, and `maxContains` may forbid
it to the others. So there is a plan before there are items. It says, for each of the first items, which `contains` it
must satisfy. Several plans are tried: an item may satisfy two of them, or be unable to satisfy one.
"""

from __future__ import annotations

import itertools
import typing

from protocol.mock.answer.assignment import hint_rows, hint_target, number_hints, owned_row, text_hints
from protocol.mock.answer.hints import Hint
from protocol.mock.answer.place import Place, ValueMaker, WantedSchemas, description_of
from protocol.mock.answer.plain import plain_schema
from protocol.mock.answer.reading import MAX_INSTANCE_ITEMS, item_schemas
from protocol.mock.answer.scalar import Schemas, Unsatisfiable, singular, size_limits
from protocol.mock.json_schema.document import JsonSchema, json_extent, json_key, tuple_items

_MAX_ORDERS = 6  # orders tried to place what an array must contain
_NAMED_ITEMS = 20  # items of an array that a prompt may name

_ItemPlan = typing.List[typing.List[JsonSchema]]


class ArrayMaker:
    """Makes arrays; `values` makes their items."""

    __slots__ = ("_values",)

    def __init__(self, values: ValueMaker) -> None:
        self._values = values

    def candidates(self, reading: Schemas, place: Place) -> typing.Iterator[list[typing.Any]]:
        """Yield arrays that a reading may be satisfied by; Unsatisfiable, with a reason, when there are none left."""
        low, most = size_limits(reading, "Items")
        high = MAX_INSTANCE_ITEMS if most is None else min(most, MAX_INSTANCE_ITEMS)
        if low > high:
            raise Unsatisfiable(f"minItems {low} is above the {MAX_INSTANCE_ITEMS} items that this server makes up")
        first = max((len(tuple_items(schema)[0]) for schema in reading), default=0)
        usual = max(low, min(high, max(first, self._named_items(reading, place)))) if place.rich else low
        sizes = list(dict.fromkeys(size for size in (usual, low, usual + 1) if low <= size <= high))
        unique = any(schema.get("uniqueItems") for schema in reading)
        # Arrays of equal items come last: a `not` may ask for them.
        turns = [(0, 1), (1, 1), (2, 1)] if unique else [(0, 1), (0, 0)]
        scarce = [schema["contains"] for schema in reading if "contains" in schema and "maxContains" in schema]
        reasons: list[Unsatisfiable] = []
        for plan in self._plans(reading, place, high):
            for (turn, spread), others, size in itertools.product(turns, [scarce, []] if scarce else [[]], sizes):
                try:
                    turned = place._replace(turn=place.turn + turn)
                    yield self._array(reading, turned, max(size, len(plan)), plan, others, spread)
                except Unsatisfiable as exc:
                    if not (plan or unique or others):
                        raise  # another turn would fail at the same item
                    reasons.append(exc.with_traceback(None))  # which has this frame, and that the reasons
        if reasons:
            raise reasons.pop(0)

    def _named_items(self, reading: Schemas, place: Place) -> int:
        """Count the items that the prompt names: 1 when it names none, and at most _NAMED_ITEMS."""
        found = self._items(reading)
        rows = self._rows(reading, place)
        if rows:
            return min(_NAMED_ITEMS, len(rows))
        if not self._values.prompt.text or not found or ("enum" not in found[0] and "type" not in found[0]):
            return 1
        name, item = singular(place.name), found[0]
        if "enum" in item:
            return max(1, len(self._values.prompt.mentioned(item["enum"], hint_target(name, {}))))
        self._values.budget.spend(10 + len(self._values.hints) // 2)
        owned: typing.Sequence[object] = ()
        free: typing.Sequence[object] = ()
        kinds = item["type"] if isinstance(item["type"], list) else [item["type"]]
        if "string" in kinds:
            description = description_of([item])
            owned, free = text_hints(self._values.hints, place.name, description, None, only_sure=place.only_told)
        elif "number" in kinds or "integer" in kinds:
            owned, free = number_hints(self._values.hints, place.name, "number" not in kinds)
            free = [] if place.only_told else free
        return min(_NAMED_ITEMS, max(1, len(owned or free)))

    def _rows(self, reading: Schemas, place: Place) -> list[tuple[Hint, ...]]:
        """Return the hints for each item of an array of objects that the prompt names, [] when it names none."""
        items = self._items(reading) if self._values.hints else []
        properties = items[0]["properties"] if items else None
        return hint_rows(self._values.hints, place.name, properties, self._values.budget) if properties else []

    def _items(self, reading: Schemas) -> list[dict[str, typing.Any]]:
        """Return what schemas say of all items, in plain terms."""
        root, budget = self._values.document.root, self._values.budget
        return [plain_schema(schema["items"], root, budget) for schema in reading if schema.get("items")]

    def _plans(self, reading: Schemas, place: Place, high: int) -> typing.Iterator[_ItemPlan]:
        """Yield plans: which `contains` each of the first items must satisfy."""
        contained = [schema for schema in reading if "contains" in schema and schema.get("minContains", 1) >= 1]
        found = False
        for order in itertools.islice(itertools.permutations(contained), _MAX_ORDERS):
            for shared in (False, True) if len(order) > 1 else (False,):
                plan: _ItemPlan = []
                if all(self._plan_one(plan, schema, shared, reading, place, high) for schema in order):
                    found = True
                    yield plan
        if not found:
            raise Unsatisfiable("the items leave no room for what the array must contain")

    def _plan_one(
        self,
        plan: _ItemPlan,
        schema: dict[str, typing.Any],
        shared: bool,
        reading: Schemas,
        place: Place,
        high: int,
    ) -> bool:
        """Plan for one `contains`; False when too few items can satisfy it.

        With `shared`, it prefers items that are planned for another `contains` already; without, other items.
        """
        missing = int(schema.get("minContains", 1))
        if missing > high:
            raise Unsatisfiable(f"minContains {missing} is above the {high} items that are possible")
        first = max(len(tuple_items(part)[0]) for part in reading)
        self._values.budget.spend(len(plan) + missing)
        plan.extend([] for _ in range(min(high, max(first, len(plan)) + missing) - len(plan)))
        for index in sorted(range(len(plan)), key=lambda index: bool(plan[index]) != shared):
            wanted = [*item_schemas(reading, index), *plan[index], schema["contains"]]
            if missing and self._can_make(wanted, place.member(("items",), singular(place.name), place.turn)):
                plan[index].append(schema["contains"])
                missing -= 1
        while plan and not plan[-1]:
            plan.pop()
        return not missing

    def _can_make(self, wanted: WantedSchemas, place: Place) -> bool:
        key = frozenset(id(schema) for schema in wanted)
        if key not in self._values.possible:
            hints, told = self._values.hints, self._values.told
            try:
                self._values.make(wanted, place)
            except Unsatisfiable:
                return False
            finally:
                self._values.hints, self._values.told = hints, told
            self._values.possible.add(key)
        return True

    def _array(
        self,
        reading: Schemas,
        place: Place,
        size: int,
        plan: _ItemPlan,
        others: list[JsonSchema],
        spread: int,
    ) -> list[typing.Any]:
        """Return an array of about `size` items. Only items that are planned for a schema of `others` satisfy it."""
        self._values.checker.spend(place.path, 2 * len(reading))
        fewest = max(len(plan), size_limits(reading, "Items")[0])
        unique = any(schema.get("uniqueItems") for schema in reading)
        items: list[typing.Any] = []
        seen: set[object] = set()
        rows = self._rows(reading, place)
        for index in range(size):
            self._keep_row(rows, index, reading)
            planned = plan[index] if index < len(plan) else []
            wanted = [*item_schemas(reading, index), *planned]
            wanted += [
                self._values.choices.negation(part) for part in others if all(part is not other for other in planned)
            ]
            inner = place.member(("items",), singular(place.name), place.turn + spread * index)
            try:
                items.append(self._values.make(wanted, inner, seen))
            except Unsatisfiable as exc:
                if index >= fewest:
                    break
                if seen and self._can_make(wanted, inner):
                    reason = f"uniqueItems: no item was found that differs from the {len(seen)} before it"
                    raise Unsatisfiable(reason, inner.path) from exc
                raise
            if unique:
                self._values.budget.spend(json_extent(items[-1]))
                seen.add(json_key(items[-1]))
        return items

    def _keep_row(self, rows: typing.Sequence[tuple[Hint, ...]], index: int, reading: Schemas) -> None:
        """Put the hints of an item in the place of those of the item before it."""
        if not rows:
            return
        self._values.budget.spend(len(self._values.hints) // 5)
        told = [id(hint) for row in rows for hint in row]
        others = tuple(hint for hint in self._values.hints if id(hint) not in told)
        row: tuple[Hint, ...] = ()
        if index < len(rows):
            row = owned_row(rows[index], self._items(reading)[0]["properties"], self._values.budget)
        self._values.hints = others + row
