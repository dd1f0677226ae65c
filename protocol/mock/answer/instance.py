"""Make up a JSON value that satisfies a JSON Schema: what the mock answers when a caller prescribes the form.

Theory of operation. All schemas that hold for one value at once are kept as a plain list, the *wanted* ones; nothing
is merged, since every limit can be read off a list (the greatest minimum, all the patterns). A reading of that list is
the same list with `$ref` and `allOf` followed and one branch taken of each choice (anyOf, oneOf, if, not,
dependentSchemas), so that only keywords about the value itself are left. For each reading, candidates are made, a
container's from the wanted lists of its members; each is checked against what was wanted, and the first that holds is
the answer. So the checker has the last word, and the maker only has to be a good guesser.

A value is *rich* (optional properties, an item in each array) as long as it is small and not within a schema that it
is already within; from there on it is lean. Lean values end, because choices are then taken by height: the least
number of containers within one another that a schema can be satisfied with.

The module knows no clock and no randomness: one schema, seed and hints give one value.
"""

from __future__ import annotations

import binascii
import itertools
import math
import re
import typing

from protocol.mock.answer.assignment import (
    HintTarget,
    assign_hints,
    flag_hints,
    hint_rows,
    hint_target,
    mentioned_values,
    number_hints,
    text_hints,
)
from protocol.mock.answer.hints import Hint, Hints
from protocol.mock.answer.reading import (
    MAX_INSTANCE_ITEMS,
    PropertyNames,
    SchemaBranches,
    SchemaChoices,
    SchemaHeights,
    is_fixed,
    item_schemas,
    possible_kinds,
    says_what_names_hold,
)
from protocol.mock.answer.scalar import (
    Schemas,
    Unsatisfiable,
    number_candidates,
    number_range_is_open,
    singular,
    size_limits,
    text_candidates,
)
from protocol.mock.json_schema.check import SchemaChecker, admits_everything
from protocol.mock.json_schema.document import (
    JsonSchema,
    SchemaDocument,
    SchemaError,
    SchemaPath,
    json_key,
    schema_evidence,
    tuple_items,
)

MAX_INSTANCE_DEPTH = 32  # containers within one another
MAX_INSTANCE_CHARACTERS = 1_000_000  # of all strings of a made-up value
_ANY_STRING = {"type": "string"}
_RICH_DEPTH = 6  # containers within one another
_RICH_VALUES = 200  # values made before the rest turns lean
_FIRST_TRIES = 4  # candidates of each kind in the first round
_MAX_CHOICES = 64  # anyOf and the like that hold for one value at once
_MAX_ORDERS = 6  # orders tried to place what an array must contain
_SEED_TURNS = 97  # how many ways a seed may turn a choice: few, as a turn may end up in a string as a number
_NAMED_ITEMS = 20  # items of an array that a prompt may name
_USED = "\0used"  # owner of the hints that stand for enum members already taken

WantedSchemas = typing.Sequence[JsonSchema]
_ItemPlan = typing.List[typing.List[JsonSchema]]


def instance(schema: JsonSchema, seed: int = 0, hints: Hints | None = None, *, turn: int = 0) -> typing.Any:
    """Return a JSON value that satisfies the schema: small, readable, and always the same for the same arguments.

    Seed 0 takes first choices: the first member of an enum, the first branch of anyOf; other seeds turn every choice.
    `turn`, from 0, moves all choices on by so many places: successive turns give different values where that is
    possible. What the hints suggest goes before any choice, wherever it is valid.
    Raises SchemaError when the schema is malformed, when nothing satisfies it, or when no value was found within the
    bounds of this module.
    """
    document = SchemaDocument(schema)
    maker = _Maker(document, seed, hints or Hints())
    try:
        return maker.make([schema], _Place((), "", 0, True, turn, frozenset()))
    except Unsatisfiable as exc:
        raise SchemaError(exc.path, exc.reason) from exc


def _hinted_properties(document: SchemaDocument) -> list[HintTarget]:
    properties: dict[str, JsonSchema] = {}
    for schema, _ in document.parts.values():
        for name, part in schema.get("properties", {}).items():
            properties.setdefault(name, part)
    return [hint_target(name, part) for name, part in properties.items()]


def _fixed_texts(document: SchemaDocument) -> set[str]:
    """Return the strings that enums list: a prompt that says one of them means no free text."""
    literals = [
        value for schema, _ in document.parts.values() for value in (*schema.get("enum", ()), schema.get("const"))
    ]
    return {value.casefold() for value in literals if isinstance(value, str)}


def _description(reading: Schemas) -> object:
    return next((schema["description"] for schema in reading if schema.get("description")), "")


def _is_nullable(schema: JsonSchema) -> bool:
    """Whether a schema says in so many words that null will do: by its types or by a branch of that type alone."""
    if not isinstance(schema, dict):
        return False
    branches = [*schema.get("anyOf", []), *schema.get("oneOf", [])]
    return isinstance(schema.get("type"), list) or any(
        isinstance(branch, dict) and branch.get("type") == "null" for branch in branches
    )


def _is_said(value: str, text: str) -> bool:
    """Whether a text has a value as words of its own; Chinese has no bounds between words."""
    return bool(value) and re.search(rf"(?<![a-zA-Z0-9_]){re.escape(value)}(?![a-zA-Z0-9_])", text) is not None


def _suggested_values(schemas: Schemas) -> list[object]:
    """Return the examples and defaults of schemas; one that says nothing (null, empty) is no proposal."""
    values: list[object] = []
    for schema in schemas:
        examples = schema.get("examples")
        values.extend(examples[:8] if isinstance(examples, list) else ())
        values.extend(schema[keyword] for keyword in ("example", "default") if keyword in schema)
    return [value for value in values if value not in (None, [], {})]


class _Place(typing.NamedTuple):
    """Where a value is made: the way through the schema, the property's name, and how it is to look."""

    path: SchemaPath
    name: str
    depth: int
    rich: bool
    turn: int  # moves every choice on, so that the items of an array differ
    within: frozenset[int]  # ids of the $ref targets that the value is part of

    def member(self, path: SchemaPath, name: str, turn: int) -> _Place:
        return _Place((*self.path, *path), name, self.depth + 1, self.rich, turn, self.within)


class _Maker:
    """One run of `instance`: its budgets, the hints that are left, and what was found out about the document."""

    __slots__ = ("document", "checker", "seed", "prompt", "hints", "characters", "made", "heights", "targets")
    __slots__ += ("choices", "failed", "possible")

    def __init__(self, document: SchemaDocument, seed: int, hints: Hints) -> None:
        self.document = document
        self.checker = SchemaChecker(document)
        self.seed = seed
        self.prompt = hints
        self.hints = assign_hints(hints, _hinted_properties(document), _fixed_texts(document)) if hints.text else ()
        self.characters = 0
        self.made = 0
        self.heights = SchemaHeights(document)
        schemas = [schema for schema, _ in document.parts.values()]
        self.targets = {id(document.target(schema["$ref"])) for schema in schemas if "$ref" in schema}
        self.choices = SchemaChoices(document)
        self.failed: dict[frozenset[int], Unsatisfiable] = {}
        self.possible: set[frozenset[int]] = set()

    def make(
        self, wanted: WantedSchemas, place: _Place, avoided: typing.AbstractSet[object] = frozenset()
    ) -> typing.Any:
        """Return a value that satisfies all the wanted schemas and whose json_key is not to be avoided.

        Raises Unsatisfiable.
        """
        self.checker.spend(place.path, 1 + len(wanted))
        if any(self.heights.of(schema) == math.inf for schema in wanted):
            raise Unsatisfiable("every value would have to contain another one, without an end", place.path)
        if place.depth > MAX_INSTANCE_DEPTH:
            raise Unsatisfiable(f"a value would nest more than {MAX_INSTANCE_DEPTH} levels deep", place.path)
        key = frozenset(id(schema) for schema in wanted)  # all of them live as long as the run
        if key in self.failed:
            raise Unsatisfiable(self.failed[key].reason, self.failed[key].path)
        self.made += 1
        if not avoided and self._may_be_left_out(wanted, place):
            return self._told_or_null(wanted, place)
        return self._made(wanted, place, avoided)

    def _may_be_left_out(self, wanted: WantedSchemas, place: _Place) -> bool:
        """Whether there is a prompt to go by, and null is one of several things that a value may be."""
        if not self.prompt.text or place.path[-2:-1] != ("properties",):
            return False
        if not any(_is_nullable(schema) for schema in wanted):
            return False
        return all(self.checker.fits(None, schema) for schema in wanted)

    def _told_or_null(self, wanted: WantedSchemas, place: _Place) -> typing.Any:
        """Return a value that the prompt or the schema suggests, or else null: nothing was said of it."""
        hints = self.hints
        value = self._made(wanted, place, frozenset())
        return value if self._is_told(value, place, wanted, hints) else None

    def _is_told(self, value: typing.Any, place: _Place, wanted: WantedSchemas, hints: tuple[Hint, ...]) -> bool:
        if value in _suggested_values([schema for schema in wanted if isinstance(schema, dict)]):
            return True
        if isinstance(value, bool):
            return bool(flag_hints(self.prompt, place.name))
        if isinstance(value, (dict, list)):
            return self._free_hints(self.hints) < self._free_hints(hints)
        if isinstance(value, str) and _is_said(value, self.prompt.text):
            return True
        if json_key(value) in [json_key(hint.value) for hint in hints if hint.owner != _USED]:
            return True
        return bool(mentioned_values(self.prompt, [value], hint_target(place.name, {})))

    @staticmethod
    def _free_hints(hints: tuple[Hint, ...]) -> int:
        return sum(hint.owner != _USED for hint in hints)

    def _made(self, wanted: WantedSchemas, place: _Place, avoided: typing.AbstractSet[object]) -> typing.Any:
        # A few candidates of each reading first: where many readings lead nowhere, the right one is reached in time.
        reasons: list[Unsatisfiable] = []
        for tries in (_FIRST_TRIES, None):
            for reading in self._readings(wanted, place):
                for literal, candidates in self._sources(reading, self._within(reading, place)):
                    found = self._first_valid(itertools.islice(candidates, tries), wanted, place, avoided, reasons)
                    if found:
                        return self._accept(found[0], literal)
        reason = reasons[0] if reasons else Unsatisfiable(self._explain(wanted), place.path)
        if not avoided:
            self.failed[frozenset(id(schema) for schema in wanted)] = reason
        raise reason

    def _first_valid(
        self,
        candidates: typing.Iterator[typing.Any],
        wanted: WantedSchemas,
        place: _Place,
        avoided: typing.AbstractSet[object],
        reasons: list[Unsatisfiable],
    ) -> list[typing.Any]:
        """Return the first candidate that is valid, or nothing, with the reason if the candidates end with one."""
        hints = self.hints
        try:
            for value in candidates:
                self.checker.spend(place.path)
                if all(self.checker.fits(value, schema) for schema in wanted):
                    if not avoided or json_key(value) not in avoided:
                        return [value]
                self.hints = hints  # what the members of a failed candidate had used up
        except Unsatisfiable as exc:
            self.hints = hints
            reasons.append(Unsatisfiable(exc.reason, exc.path or place.path))
        return []

    def _explain(self, wanted: WantedSchemas) -> str:
        if any(schema is False for schema in wanted):
            return "the schema false admits no value"
        return "no value was found that satisfies all the keywords that apply here together"

    def _accept(self, value: typing.Any, literal: bool) -> typing.Any:
        if literal:
            if self.prompt.text and isinstance(value, (str, int)):
                self.hints += (Hint(value, "fixed", owner=_USED),)
            return self._copy(value)
        if isinstance(value, str):
            self._write(value)
        if self.hints and not isinstance(value, (list, dict)):
            self._use_up(value)
        return value

    def _use_up(self, value: typing.Any) -> None:
        keys = [json_key(hint.value) for hint in self.hints]
        if json_key(value) in keys:
            place = keys.index(json_key(value))
            self.hints = self.hints[:place] + self.hints[place + 1 :]

    def _copy(self, value: typing.Any) -> typing.Any:
        """Copy a value out of the schema: what the caller does to the answer must not change the schema."""
        self.checker.spend()
        if isinstance(value, dict):
            return {self._write(name): self._copy(part) for name, part in value.items()}
        if isinstance(value, list):
            return [self._copy(part) for part in value]
        return self._write(value) if isinstance(value, str) else value

    def _write(self, text: str) -> str:
        self.characters += len(text)
        if self.characters > MAX_INSTANCE_CHARACTERS:
            raise SchemaError((), f"a value would have more than {MAX_INSTANCE_CHARACTERS} characters")
        return text

    def _turn(self, place: _Place) -> int:
        if not self.seed:
            return place.turn
        mixed = binascii.crc32(f"{self.seed}{place.path}".encode("utf-8", "replace"))
        return place.turn + mixed % _SEED_TURNS

    # readings

    def _readings(
        self,
        todo: WantedSchemas,
        place: _Place,
        taken: Schemas = (),
        choices: typing.Sequence[SchemaBranches] = (),
        depth: int = 0,
    ) -> typing.Iterator[Schemas]:
        """Yield each list of schemas without open choices that is one way to satisfy `todo` and `taken`."""
        found = {id(schema): schema for schema in taken}
        queue, choices = list(todo), list(choices)
        for schema in queue:  # it grows meanwhile
            if schema is False:
                return
            if id(schema) in found or admits_everything(schema):
                continue
            self.checker.spend(place.path)
            found[id(schema)] = schema
            queue.extend(self._followed(schema))
            choices.extend(self.choices.of(schema))
        reading = list(found.values())
        self.checker.spend(place.path, 1 + len(reading) // 4)
        kinds = possible_kinds(reading)
        if not kinds or (choices and set(kinds) <= {"number", "integer"} and not number_range_is_open(reading)):
            return  # most branches end here
        if is_fixed(reading):
            # A handful of values can be tried as they are, whatever the branches.
            yield reading
            return
        if len(choices) + depth > _MAX_CHOICES:
            raise SchemaError(place.path, f"more than {_MAX_CHOICES} choices apply to one value")
        if not choices:
            yield reading
            return
        choices.sort(key=len)  # the fewer the branches, the sooner a contradiction shows
        for branch in self._ordered(choices[0], place):
            yield from self._readings(branch, place, reading, choices[1:], depth + 1)

    def _followed(self, schema: dict[str, typing.Any]) -> list[JsonSchema]:
        target = [self.document.target(schema["$ref"])] if "$ref" in schema else []
        return target + schema.get("allOf", [])

    def _ordered(self, branches: SchemaBranches, place: _Place) -> SchemaBranches:
        if not place.rich:
            return sorted(branches, key=lambda branch: max((self.heights.of(schema) for schema in branch), default=0))
        equal = sum(len(branch) == 1 for branch in branches)  # the longer ones are for when these have failed
        turn = self._turn(place) % max(1, equal)
        return branches[turn:equal] + branches[:turn] + branches[equal:]

    def _within(self, reading: Schemas, place: _Place) -> _Place:
        here = frozenset(id(schema) for schema in reading if id(schema) in self.targets)
        small = place.depth < _RICH_DEPTH and self.made < _RICH_VALUES
        rich = place.rich and small and not here & place.within
        return place._replace(rich=rich, within=place.within | here)

    # candidates

    def _sources(self, reading: Schemas, place: _Place) -> typing.Iterator[tuple[bool, typing.Iterator[typing.Any]]]:
        """Yield iterators of candidates, and whether they are literals out of the schema; best guesses first."""
        fixed = [
            [schema["const"]] if "const" in schema else schema["enum"]
            for schema in reading
            if "const" in schema or "enum" in schema
        ]
        if fixed:
            yield True, self._fixed_candidates(min(fixed, key=len), place)
            return
        kinds = possible_kinds(reading)
        if self.prompt.text:
            yield False, iter(self._owned(kinds, reading, place))
        yield True, iter(self._suggested(reading, place))
        if place.rich:
            turn = self._turn(place) % len(kinds) if any("type" in schema for schema in reading) else 0
            kinds = kinds[turn:] + kinds[:turn]
        else:
            kinds.sort(key=lambda kind: max((self.heights.of_kind(schema, kind) for schema in reading), default=0))
        for kind in kinds:
            yield False, self._of_kind(kind, reading, place)

    def _fixed_candidates(self, values: list[object], place: _Place) -> typing.Iterator[object]:
        if self.prompt.text:
            used = [hint.value for hint in self.hints if hint.owner == _USED]
            mentioned = mentioned_values(self.prompt, values, hint_target(place.name, {}))
            yield from (value for value in mentioned if value not in used)
            yield from mentioned
        turn = self._turn(place) % len(values)
        yield from values[turn:] + values[:turn]
        raise Unsatisfiable(f"none of {schema_evidence(values)} satisfies the other keywords that apply")

    def _owned(self, kinds: list[str], reading: Schemas, place: _Place) -> list[typing.Any]:
        """What the prompt says of this very property."""
        found: list[typing.Any] = []
        if "string" in kinds:
            found += text_hints(self.hints, place.name, _description(reading), self.prompt.text)[0]
        if "number" in kinds or "integer" in kinds:
            found += number_hints(self.hints, place.name, "number" not in kinds)[0]
        if "boolean" in kinds and "string" not in kinds:
            found += flag_hints(self.prompt, place.name)
        return found

    def _suggested(self, reading: Schemas, place: _Place) -> list[object]:
        """What the schema itself proposes; a default that says nothing (null, empty) is no proposal."""
        values = _suggested_values(reading)
        if place.turn >= len(values):
            return []
        turn = self._turn(place) % len(values)
        return values[turn:] + values[:turn]

    def _of_kind(self, kind: str, reading: Schemas, place: _Place) -> typing.Iterator[typing.Any]:
        turn = self._turn(place)
        if kind == "object":
            return self._objects(reading, place)
        if kind == "array":
            return self._arrays(reading, place)
        if kind == "string":
            free = text_hints(self.hints, place.name, _description(reading), self.prompt.text)[1]
            return itertools.chain(free, text_candidates(self.document, reading, place.name, turn))
        if kind in ("number", "integer"):
            numbers = number_hints(self.hints, place.name, kind == "integer")[1]
            return itertools.chain(numbers, number_candidates(reading, kind == "integer", turn))
        return iter([None] if kind == "null" else [turn % 2 == 0, turn % 2 == 1])

    # arrays

    def _arrays(self, reading: Schemas, place: _Place) -> typing.Iterator[list[typing.Any]]:
        low, most = size_limits(reading, "Items")
        high = MAX_INSTANCE_ITEMS if most is None else min(most, MAX_INSTANCE_ITEMS)
        if low > high:
            raise Unsatisfiable(f"minItems {low} is above the {MAX_INSTANCE_ITEMS} items that this server makes up")
        first = max((len(tuple_items(schema)[0]) for schema in reading), default=0)
        usual = max(low, min(high, max(first, self._named_items(reading, place)))) if place.rich else low
        sizes = list(dict.fromkeys(size for size in (usual, low, usual + 1) if low <= size <= high))
        unique = any(schema.get("uniqueItems") for schema in reading)
        # Equal items last: a `not` may ask for them.
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
                        raise  # the same item would be met again
                    reasons.append(exc)
        if reasons:
            raise reasons[0]

    def _named_items(self, reading: Schemas, place: _Place) -> int:
        """Count the items that the prompt names, one at least and a few at most."""
        found = [schema["items"] for schema in reading if isinstance(schema.get("items"), dict)]
        rows = self._rows(reading, place)
        if rows:
            return min(_NAMED_ITEMS, len(rows))
        if not self.prompt.text or not found or "enum" not in found[0] and "type" not in found[0]:
            return 1
        name, item = singular(place.name), found[0]
        if "enum" in item:
            return max(1, len(mentioned_values(self.prompt, item["enum"], hint_target(name, {}))))
        owned: typing.Sequence[object] = ()
        free: typing.Sequence[object] = ()
        if item["type"] == "string":
            owned, free = text_hints(self.hints, place.name, _description([item]), "")
        elif item["type"] in ("number", "integer"):
            owned, free = number_hints(self.hints, place.name, item["type"] == "integer")
        return min(_NAMED_ITEMS, max(1, len(owned or free)))

    def _rows(self, reading: Schemas, place: _Place) -> list[tuple[Hint, ...]]:
        """Return the hints for each item of an array of objects that the prompt names, nothing where it names none."""
        items = [schema["items"] for schema in reading if isinstance(schema.get("items"), dict)]
        if not self.hints or not items:
            return []
        item = self.document.target(items[0]["$ref"]) if "$ref" in items[0] else items[0]
        properties = item.get("properties") if isinstance(item, dict) else None
        return hint_rows(self.hints, place.name, properties) if properties else []

    def _plans(self, reading: Schemas, place: _Place, high: int) -> typing.Iterator[_ItemPlan]:
        """Yield plans: what each of the first items must satisfy so that the array contains what it must."""
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
        place: _Place,
        high: int,
    ) -> bool:
        """Plan for one `contains`, in items that have another purpose already or rather in fresh ones."""
        missing = int(schema.get("minContains", 1))
        if missing > high:
            raise Unsatisfiable(f"minContains {missing} is above the {high} items that are possible")
        first = max(len(tuple_items(part)[0]) for part in reading)
        plan.extend([] for _ in range(min(high, max(first, len(plan)) + missing) - len(plan)))
        for index in sorted(range(len(plan)), key=lambda index: bool(plan[index]) != shared):
            wanted = [*item_schemas(reading, index), *plan[index], schema["contains"]]
            if missing and self._can_make(wanted, place.member(("items",), singular(place.name), place.turn)):
                plan[index].append(schema["contains"])
                missing -= 1
        while plan and not plan[-1]:
            plan.pop()
        return not missing

    def _can_make(self, wanted: WantedSchemas, place: _Place) -> bool:
        key = frozenset(id(schema) for schema in wanted)
        if key not in self.possible:
            hints = self.hints
            try:
                self.make(wanted, place)
            except Unsatisfiable:
                return False
            finally:
                self.hints = hints
            self.possible.add(key)
        return True

    def _array(
        self,
        reading: Schemas,
        place: _Place,
        size: int,
        plan: _ItemPlan,
        others: list[JsonSchema],
        spread: int,
    ) -> list[typing.Any]:
        """Return an array of about `size` items, of which only those planned for satisfy any of the `others`."""
        self.checker.spend(place.path, 2 * len(reading))
        fewest = max(len(plan), size_limits(reading, "Items")[0])
        unique = any(schema.get("uniqueItems") for schema in reading)
        items: list[typing.Any] = []
        seen: set[object] = set()
        rows = self._rows(reading, place)
        for index in range(size):
            self._keep_row(rows, index)
            planned = plan[index] if index < len(plan) else []
            wanted = [*item_schemas(reading, index), *planned]
            wanted += [self.choices.negation(part) for part in others if all(part is not other for other in planned)]
            inner = place.member(("items",), singular(place.name), place.turn + spread * index)
            try:
                items.append(self.make(wanted, inner, seen))
            except Unsatisfiable as exc:
                if index >= fewest:
                    break
                if seen and self._can_make(wanted, inner):
                    reason = f"uniqueItems: no item was found that differs from the {len(seen)} before it"
                    raise Unsatisfiable(reason, inner.path) from exc
                raise
            if unique:
                seen.add(json_key(items[-1]))
        return items

    def _keep_row(self, rows: typing.Sequence[tuple[Hint, ...]], index: int) -> None:
        """Put the hints of one item in the place of those of the item before it."""
        if not rows:
            return
        told = [id(hint) for row in rows for hint in row]
        others = tuple(hint for hint in self.hints if id(hint) not in told)
        self.hints = others + (rows[index] if index < len(rows) else ())

    # objects

    def _objects(self, reading: Schemas, place: _Place) -> typing.Iterator[dict[str, typing.Any]]:
        names = PropertyNames(reading)
        for name in names.required:
            if not self._may_be_named(reading, name):
                raise Unsatisfiable(f"the required property {schema_evidence(name)} is not allowed by propertyNames")
        for turn, rich in ((0, place.rich), (0, False), (1, place.rich)):
            value = self._object(reading, names, place._replace(turn=place.turn + turn, rich=rich))
            if value is None:
                continue
            yield value
            if turn and len(value) < names.high:  # one more property, in case that it has to differ
                yield self._add_new_properties(dict(value), reading, place, len(value) + 1)

    def _object(self, reading: Schemas, names: PropertyNames, place: _Place) -> dict[str, typing.Any] | None:
        """Return an object, or None when what an optional property asked for could not be made."""
        self.checker.spend(place.path, 2 * len(reading))
        value: dict[str, typing.Any] = {}
        missing = dict(names.required)
        for name in names.declared:
            optional = name not in missing
            full = len(value) + len(missing) >= names.high
            if optional and (full or not place.rich or not self._may_be_named(reading, name)):
                continue
            self._add_property(value, reading, name, place, name in names.required)
            if name in value:
                missing.pop(name, None)
                missing.update(names.dependents([name], value, missing))
        for name in list(missing):
            self._add_property(value, reading, name, place, name in names.required)
        if not missing.keys() <= value.keys():
            return None
        self._add_more_properties(value, reading, names, place)
        return value

    def _add_more_properties(
        self, value: dict[str, typing.Any], reading: Schemas, names: PropertyNames, place: _Place
    ) -> None:
        """Fill up to minProperties; a map without a word about its names gets a sample."""
        for name in names.declared:
            if name not in value and len(value) < names.low and self._may_be_named(reading, name):
                self._add_property(value, reading, name, place, False)
        is_map = not names.declared and says_what_names_hold(reading)
        sample = min(names.high, 1) if place.rich and is_map else 0
        self._add_new_properties(value, reading, place, max(names.low, sample))
        if len(value) < names.low:
            reason = f"minProperties is {names.low}, but only {len(value)} properties were found"
            raise Unsatisfiable(reason, place.path)

    def _add_property(
        self, value: dict[str, typing.Any], reading: Schemas, name: str, place: _Place, needed: bool
    ) -> None:
        wanted = [part for schema in reading for part in self.document.property_schemas(schema, name)]
        if not needed and any(self.heights.of(schema) == math.inf or schema is False for schema in wanted):
            return
        try:
            value[name] = self.make(wanted, place.member(("properties", name), name, place.turn))
            self._write(name)
        except Unsatisfiable:
            if needed:
                raise

    def _add_new_properties(
        self, value: dict[str, typing.Any], reading: Schemas, place: _Place, size: int
    ) -> dict[str, typing.Any]:
        """Add properties that no schema names, until there are `size` ones if so many are allowed."""
        for name in self._new_names(reading, place, size) if len(value) < size else ():
            if name not in value and self._may_be_named(reading, name):
                inner = place._replace(turn=place.turn + len(value))
                self._add_property(value, reading, name, inner, False)
            if len(value) >= size:
                break
        return value

    def _new_names(self, reading: Schemas, place: _Place, size: int) -> typing.Iterator[str]:
        """Yield names that no schema declares: what propertyNames and patternProperties ask for, then any."""
        rules: list[JsonSchema] = [schema["propertyNames"] for schema in reading if "propertyNames" in schema]
        if rules:
            for turn in range(place.turn, place.turn + size + 8):
                yield self.make([_ANY_STRING, *rules], place.member(("propertyNames",), "key", turn))
        for schema in reading:
            for source in schema.get("patternProperties", ()):
                yield from itertools.islice(self.document.texts(source, 0, 40, place.turn), 4 * size)
        for turn in range(place.turn, place.turn + size + 8):
            yield f"key{turn + 1}" if turn else "key"

    def _may_be_named(self, reading: Schemas, name: str) -> bool:
        return all(self.checker.fits(name, schema["propertyNames"]) for schema in reading if "propertyNames" in schema)
