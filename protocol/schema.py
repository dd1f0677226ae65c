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

from protocol.schema_check import SchemaChecker
from protocol.schema_document import (
    SCHEMA_TYPES,
    JsonSchema,
    SchemaDocument,
    SchemaError,
    SchemaPath,
    json_key,
    json_kind,
    schema_evidence,
    tuple_items,
)
from protocol.schema_scalar import (
    Schemas,
    Unsatisfiable,
    number_candidates,
    number_range_is_open,
    singular,
    size_limits,
    text_candidates,
)

MAX_INSTANCE_DEPTH = 32  # containers within one another
MAX_INSTANCE_ITEMS = 1000  # items of a made-up array, properties of a made-up object
MAX_INSTANCE_CHARACTERS = 1_000_000  # of all strings of a made-up value
MAX_HINT_TEXT = 10_000  # characters of a prompt that are looked at for hints
_RICH_DEPTH = 6  # containers within one another
_RICH_VALUES = 200  # values made before the rest turns lean
_MAX_CHOICES = 64  # anyOf and the like that hold for one value at once
_MAX_CONTAINED_STARTS = 8  # places tried for what an array must contain
_MAX_EXCLUSIONS = 24  # branches of a oneOf that are told apart by force
_MAX_HEIGHT_WORK = 100_000  # schemas looked at to learn the heights
_SEED_TURNS = 97  # how many ways a seed may turn a choice: few, as a turn may end up in a string as a number

Wanted = typing.Sequence[JsonSchema]
_Branches = typing.List[typing.List[JsonSchema]]


class Hints(typing.NamedTuple):
    """What a prompt suggests: values to use where they fit, once each, and words that pick a member of an enum."""

    values: tuple[object, ...] = ()
    words: frozenset[str] = frozenset()


def read_hints(text: str) -> Hints:
    """Find hints in a prompt: quoted strings and numbers are values, all words are words."""
    text = text[:MAX_HINT_TEXT]
    values: list[object] = []
    for found in re.finditer(_HINT, text):
        quoted = found[1] or found[2] or found[3]
        if quoted is None:
            values.append(float(found[0]) if "." in found[0] else int(found[0]))
        else:
            values.append(quoted)
    return Hints(tuple(values), frozenset(_hint_words(text)))


# A quotation mark within a word is an apostrophe. 18 digits: what a double holds, about.
_HINT = r'"([^"\n]{1,200})"|(?<!\w)\'([^\'\n]{1,200})\'(?!\w)|[\u201c\u00ab]([^\u201d\u00bb\n]{1,200})[\u201d\u00bb]'
_HINT += r"|(?<![\w.])-?[0-9]{1,18}(?:\.[0-9]{1,18})?(?![\w]|\.[0-9])"


def _hint_words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.casefold())


def instance(schema: JsonSchema, seed: int = 0, hints: Hints | None = None) -> typing.Any:
    """Return a JSON value that satisfies the schema: small, readable, and always the same for the same arguments.

    Seed 0 takes first choices: the first member of an enum, the first branch of anyOf; other seeds turn every choice.
    Raises SchemaError when the schema is malformed, when nothing satisfies it, or when no value was found within the
    bounds of this module.
    """
    document = SchemaDocument(schema)
    maker = _InstanceMaker(document, seed, hints or Hints())
    try:
        return maker.make([schema], _InstancePlace((), "", 0, True, 0, frozenset()))
    except Unsatisfiable as exc:
        raise SchemaError(exc.path, exc.reason) from exc


class _InstancePlace(typing.NamedTuple):
    """Where a value is made: the way through the schema, the property's name, and how it is to look."""

    path: SchemaPath
    name: str
    depth: int
    rich: bool
    turn: int  # moves every choice on, so that the items of an array differ
    within: frozenset[int]  # ids of the $ref targets that the value is part of

    def member(self, path: SchemaPath, name: str, turn: int) -> _InstancePlace:
        return _InstancePlace((*self.path, *path), name, self.depth + 1, self.rich, turn, self.within)


class _InstanceMaker:
    """One run of `instance`: its budgets, the hints that are left, and what was found out about the document."""

    __slots__ = ("document", "checker", "seed", "words", "hints", "characters", "made", "heights", "targets", "choices")

    def __init__(self, document: SchemaDocument, seed: int, hints: Hints) -> None:
        self.document = document
        self.checker = SchemaChecker(document)
        self.seed = seed
        self.words = hints.words
        self.hints = hints.values
        self.characters = 0
        self.made = 0
        self.heights = _SchemaHeights(document)
        schemas = [schema for schema, _ in document.parts.values()]
        self.targets = {id(document.target(schema["$ref"])) for schema in schemas if "$ref" in schema}
        self.choices = _SchemaChoices(document)

    def make(
        self, wanted: Wanted, place: _InstancePlace, avoided: typing.AbstractSet[object] = frozenset()
    ) -> typing.Any:
        """Return a value that satisfies all the wanted schemas and whose json_key is not to be avoided.

        Raises Unsatisfiable.
        """
        self.checker.spend(place.path)
        if place.depth > MAX_INSTANCE_DEPTH or any(self.heights.of(schema) == math.inf for schema in wanted):
            raise Unsatisfiable("every value would have to contain another one, without an end", place.path)
        self.made += 1
        hints, reason = self.hints, None
        for reading in self._readings(wanted, place):
            for literal, candidates in self._sources(reading, self._within(reading, place)):
                try:
                    for value in candidates:
                        if self._holds(value, wanted, place) and not (avoided and json_key(value) in avoided):
                            return self._accept(value, literal)
                        self.hints = hints
                except Unsatisfiable as exc:
                    reason = reason or Unsatisfiable(exc.reason, exc.path or place.path)
                    self.hints = hints
        raise reason or Unsatisfiable(self._explain(wanted), place.path)

    def _explain(self, wanted: Wanted) -> str:
        if any(schema is False for schema in wanted):
            return "the schema false admits no value"
        return "no value was found that satisfies all the keywords that apply here together"

    def _holds(self, value: object, wanted: Wanted, place: _InstancePlace) -> bool:
        self.checker.spend(place.path)
        return all(self.checker.fits(value, schema) for schema in wanted)

    def _accept(self, value: typing.Any, literal: bool) -> typing.Any:
        if literal:
            return self._copy(value)
        if isinstance(value, str):
            self._write(value)
        if self.hints and not isinstance(value, (list, dict)):
            keys = [json_key(hint) for hint in self.hints]
            if json_key(value) in keys:
                place = keys.index(json_key(value))
                self.hints = self.hints[:place] + self.hints[place + 1 :]
        return value

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

    def _turn(self, place: _InstancePlace) -> int:
        if not self.seed:
            return place.turn
        mixed = binascii.crc32(f"{self.seed}{place.path}".encode("utf-8", "replace"))
        return place.turn + mixed % _SEED_TURNS

    # readings

    def _readings(
        self, todo: Wanted, place: _InstancePlace, taken: Schemas = (), choices: typing.Sequence[_Branches] = ()
    ) -> typing.Iterator[Schemas]:
        """Yield each list of schemas without open choices that is one way to satisfy `todo` and `taken`."""
        found = {id(schema): schema for schema in taken}
        queue, choices = list(todo), list(choices)
        for schema in queue:  # it grows meanwhile
            if schema is False:
                return
            if isinstance(schema, bool) or id(schema) in found:
                continue
            self.checker.spend(place.path)
            found[id(schema)] = schema
            queue.extend(self._followed(schema))
            choices.extend(self.choices.of(schema))
        reading = list(found.values())
        if not _is_possible(reading):
            return
        if _is_fixed(reading):
            # A handful of values can be tried as they are, whatever the branches.
            yield reading
            return
        if len(choices) > _MAX_CHOICES:
            raise SchemaError(place.path, f"more than {_MAX_CHOICES} choices apply to one value")
        if not choices:
            yield reading
            return
        for branch in self._ordered(choices[0], place):
            yield from self._readings(branch, place, reading, choices[1:])

    def _followed(self, schema: dict[str, typing.Any]) -> list[JsonSchema]:
        target = [self.document.target(schema["$ref"])] if "$ref" in schema else []
        return target + schema.get("allOf", [])

    def _ordered(self, branches: _Branches, place: _InstancePlace) -> _Branches:
        if not place.rich:
            return sorted(branches, key=lambda branch: max((self.heights.of(schema) for schema in branch), default=0))
        turn = self._turn(place) % len(branches)
        return branches[turn:] + branches[:turn]

    def _within(self, reading: Schemas, place: _InstancePlace) -> _InstancePlace:
        here = frozenset(id(schema) for schema in reading if id(schema) in self.targets)
        rich = place.rich and not here & place.within and place.depth < _RICH_DEPTH and self.made < _RICH_VALUES
        return place._replace(rich=rich, within=place.within | here)

    # candidates

    def _sources(
        self, reading: Schemas, place: _InstancePlace
    ) -> typing.Iterator[tuple[bool, typing.Iterator[typing.Any]]]:
        """Yield iterators of candidates, and whether they are literals out of the schema; best guesses first."""
        fixed = [
            [schema["const"]] if "const" in schema else schema["enum"]
            for schema in reading
            if "const" in schema or "enum" in schema
        ]
        if fixed:
            yield True, self._fixed_candidates(min(fixed, key=len), place)
            return
        yield True, iter(self._suggested(reading, place))
        kinds = _kinds(reading)
        if place.rich:
            turn = self._turn(place) % len(kinds) if any("type" in schema for schema in reading) else 0
            kinds = kinds[turn:] + kinds[:turn]
        else:
            kinds.sort(key=lambda kind: max((self.heights.of_kind(schema, kind) for schema in reading), default=0))
        for kind in kinds:
            yield False, self._of_kind(kind, reading, place)

    def _fixed_candidates(self, values: list[object], place: _InstancePlace) -> typing.Iterator[object]:
        if self.words:
            yield from (value for value in values if self._is_mentioned(value))
        turn = self._turn(place) % len(values)
        yield from values[turn:] + values[:turn]
        raise Unsatisfiable(f"none of {schema_evidence(values)} satisfies the other keywords that apply")

    def _is_mentioned(self, value: object) -> bool:
        words = _hint_words(value) if isinstance(value, str) else []
        return bool(words) and all(word in self.words for word in words)

    def _suggested(self, reading: Schemas, place: _InstancePlace) -> list[object]:
        """What the schema itself proposes; a default that says nothing (null, empty) is no proposal."""
        values: list[object] = []
        for schema in reading:
            examples = schema.get("examples")
            values.extend(examples[:8] if isinstance(examples, list) else ())
            values.extend(schema[keyword] for keyword in ("example", "default") if keyword in schema)
        values = [value for value in values if value not in (None, [], {})]
        if place.turn >= len(values):
            return []
        turn = self._turn(place) % len(values)
        return values[turn:] + values[:turn]

    def _of_kind(self, kind: str, reading: Schemas, place: _InstancePlace) -> typing.Iterator[typing.Any]:
        turn = self._turn(place)
        if kind == "object":
            return self._objects(reading, place)
        if kind == "array":
            return self._arrays(reading, place)
        if kind == "string":
            hints = [hint for hint in self.hints if isinstance(hint, str)]
            return itertools.chain(hints, text_candidates(self.document, reading, place.name, turn))
        if kind in ("number", "integer"):
            hints = [hint for hint in self.hints if json_kind(hint) in ("integer", kind)]
            return itertools.chain(hints, number_candidates(reading, kind == "integer", turn))
        return iter([None] if kind == "null" else [turn % 2 == 0, turn % 2 == 1])

    # arrays

    def _arrays(self, reading: Schemas, place: _InstancePlace) -> typing.Iterator[list[typing.Any]]:
        low, most = size_limits(reading, "Items")
        high = MAX_INSTANCE_ITEMS if most is None else min(most, MAX_INSTANCE_ITEMS)
        if low > high:
            raise Unsatisfiable(f"minItems {low} is above the {MAX_INSTANCE_ITEMS} items that this server makes up")
        first = max((len(tuple_items(schema)[0]) for schema in reading), default=0)
        usual = max(low, min(high, max(first, 1))) if place.rich else low
        sizes = list(dict.fromkeys(size for size in (usual, low, usual + 1) if low <= size <= high))
        contained = [schema for schema in reading if "contains" in schema]
        if not contained:
            yield from (self._array(reading, place, size, [], []) for size in sizes)
            return
        reason = None
        for plan, others, size in self._contained_plans(contained, first, sizes):
            try:
                if len(plan) <= high:
                    yield self._array(reading, place, max(size, len(plan)), plan, others)
            except Unsatisfiable as exc:
                reason = reason or exc
        if reason:
            raise reason

    def _contained_plans(
        self, contained: Schemas, first: int, sizes: list[int]
    ) -> typing.Iterator[tuple[list[list[JsonSchema]], list[JsonSchema], int]]:
        """Yield ways to place what is contained, what the other items must then satisfy, and a size."""
        scarce: list[JsonSchema] = [
            self.choices.negation(schema["contains"]) for schema in contained if "maxContains" in schema
        ]
        starts = range(min(first, _MAX_CONTAINED_STARTS) + 1)
        for others, apart, start in itertools.product([scarce, []] if scarce else [[]], (True, False), starts):
            plan = _plan_contained(contained, start, apart)
            if apart or len(contained) > 1:
                yield from ((plan, others, size) for size in sizes)

    def _array(
        self,
        reading: Schemas,
        place: _InstancePlace,
        size: int,
        plan: list[list[JsonSchema]],
        others: list[JsonSchema],
    ) -> list[typing.Any]:
        fewest = max(len(plan), size_limits(reading, "Items")[0])
        unique = any(schema.get("uniqueItems") for schema in reading)
        items: list[typing.Any] = []
        seen: set[object] = set()
        for index in range(size):
            wanted = [part for schema in reading for part in _item_schemas(schema, index)]
            wanted += plan[index] if index < len(plan) and plan[index] else others
            inner = place.member(("items",), singular(place.name), place.turn + index)
            try:
                items.append(self.make(wanted, inner, seen))
            except Unsatisfiable as exc:
                if index < fewest:
                    raise Unsatisfiable(_explain_shortage(seen), inner.path) if seen else exc from exc
                break
            if unique:
                seen.add(json_key(items[-1]))
        return items

    # objects

    def _objects(self, reading: Schemas, place: _InstancePlace) -> typing.Iterator[dict[str, typing.Any]]:
        low, most = size_limits(reading, "Properties")
        high = MAX_INSTANCE_ITEMS if most is None else most
        listed = [name for schema in reading for name in schema.get("required", ())]
        required = _closed_under_dependence(reading, listed)
        if low > MAX_INSTANCE_ITEMS:
            raise Unsatisfiable(f"minProperties {low} is above the {MAX_INSTANCE_ITEMS} that this server makes up")
        if len(required) > high:
            raise Unsatisfiable(f"{len(required)} properties are required, but maxProperties is {high}")
        for name in required:
            if not self._may_be_named(reading, name):
                raise Unsatisfiable(f"the required property {schema_evidence(name)} is not allowed by propertyNames")
        for step in range(4):
            rich = place.rich and step != 1
            turned = place._replace(turn=place.turn + step // 2)
            value = self._object(reading, turned, required, rich, (low, high))
            if value is not None:
                yield value

    def _object(
        self, reading: Schemas, place: _InstancePlace, required: dict[str, None], rich: bool, limits: tuple[int, int]
    ) -> dict[str, typing.Any] | None:
        """Return an object, or None when what an optional property asked for could not be made."""
        low, high = limits
        declared = dict.fromkeys(name for schema in reading for name in schema.get("properties", ()))
        value: dict[str, typing.Any] = {}
        needed = dict(required)
        for name in [*declared, *(name for name in required if name not in declared)]:
            missing = sum(other not in value for other in needed)
            if name not in needed and not (rich and len(value) + missing < high and self._may_be_named(reading, name)):
                continue
            self._add_property(value, reading, name, place, name in required)
            if name in value:
                needed.update(_closed_under_dependence(reading, [name]))
        for name in needed:
            if name not in value:
                self._add_property(value, reading, name, place, name in required)
        if any(name not in value for name in needed):
            return None
        for name in declared if len(value) < low else ():
            if name not in value and len(value) < low and self._may_be_named(reading, name):
                self._add_property(value, reading, name, place, False)
        wants_sample = rich and not declared and high > 0 and _says_what_names_hold(reading)
        if len(value) < max(low, wants_sample):
            self._add_new_properties(value, reading, place, max(low, wants_sample))
        if len(value) < low:
            raise Unsatisfiable(f"minProperties is {low}, but only {len(value)} properties were found", place.path)
        return value

    def _add_property(
        self, value: dict[str, typing.Any], reading: Schemas, name: str, place: _InstancePlace, needed: bool
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
        self, value: dict[str, typing.Any], reading: Schemas, place: _InstancePlace, size: int
    ) -> None:
        for name in self._new_names(reading, place, size):
            if len(value) >= size:
                return
            if name not in value and self._may_be_named(reading, name):
                self._add_property(value, reading, name, place._replace(turn=place.turn + len(value)), False)

    def _new_names(self, reading: Schemas, place: _InstancePlace, size: int) -> typing.Iterator[str]:
        """Yield names that no schema declares: what propertyNames and patternProperties ask for, then any."""
        rules: list[JsonSchema] = [schema["propertyNames"] for schema in reading if "propertyNames" in schema]
        if rules:
            for turn in range(place.turn, place.turn + size + 8):
                yield self.make([{"type": "string"}, *rules], place.member(("propertyNames",), "key", turn))
        for schema in reading:
            for source in schema.get("patternProperties", ()):
                yield from itertools.islice(self.document.texts(source, 0, 40, place.turn), 4 * size)
        for turn in range(place.turn, place.turn + size + 8):
            yield f"key{turn + 1}" if turn else "key"

    def _may_be_named(self, reading: Schemas, name: str) -> bool:
        return all(self.checker.fits(name, schema["propertyNames"]) for schema in reading if "propertyNames" in schema)


# ---- what a list of schemas says


def _explain_shortage(seen: set[object]) -> str:
    return f"uniqueItems: no item was found that differs from the {len(seen)} before it"


def _kinds(reading: Schemas) -> list[str]:
    """The types that are possible; without a word about it, those first that the keywords are about."""
    kinds: list[str] | None = None
    for schema in reading:
        if "type" not in schema:
            continue
        names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        names = [*names, *(["integer"] if "number" in names else []), *(["null"] if schema.get("nullable") else [])]
        kinds = list(dict.fromkeys(names)) if kinds is None else [kind for kind in kinds if kind in names]
    if kinds is None:
        keywords = {keyword for schema in reading for keyword in schema}
        kinds = sorted(SCHEMA_TYPES, key=lambda kind: not _KIND_KEYWORDS[kind] & keywords)
    return [kind for kind in kinds if kind != "integer" or "number" not in kinds]


def _is_possible(reading: Schemas) -> bool:
    """Say whether the types leave one, and the numeric bounds a number where it must be one: most branches end here."""
    kinds = _kinds(reading)
    if set(kinds) <= {"number", "integer"}:
        return bool(kinds) and number_range_is_open(reading)
    return True


def _is_fixed(reading: Schemas) -> bool:
    return any("const" in schema or "enum" in schema for schema in reading) or set(_kinds(reading)) <= {"boolean", "null"}


_KIND_KEYWORDS = {
    "string": {"minLength", "maxLength", "pattern", "format"},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
    "integer": set(),
    "object": {"properties", "required", "additionalProperties", "patternProperties", "propertyNames"}
    | {"minProperties", "maxProperties", "dependentRequired", "dependentSchemas", "dependencies"},
    "array": {"items", "prefixItems", "contains", "minItems", "maxItems", "uniqueItems"},
    "boolean": set(),
    "null": set(),
}


def _item_schemas(schema: dict[str, typing.Any], index: int) -> list[JsonSchema]:
    first, rest = tuple_items(schema)
    return [first[index] if index < len(first) else rest]


def _plan_contained(contained: Schemas, start: int, apart: bool) -> list[list[JsonSchema]]:
    """Say for each item what it must satisfy for the sake of `contains`; one after the other, or all at once."""
    plan: list[list[JsonSchema]] = []
    for schema in contained:
        count = int(schema.get("minContains", 1))
        if count > MAX_INSTANCE_ITEMS:
            raise Unsatisfiable(f"minContains {count} is above the {MAX_INSTANCE_ITEMS} that this server makes up")
        begin = max(start, len(plan)) if apart and count else start
        for index in range(begin, begin + count):
            plan.extend([] for _ in range(index + 1 - len(plan)))
            plan[index].append(schema["contains"])
    return plan


def _closed_under_dependence(reading: Schemas, names: list[str]) -> dict[str, None]:
    """The names and all that dependentRequired (draft-07: dependencies) asks for with them, in order."""
    closed = dict.fromkeys(names)
    queue = list(names)
    rules = [schema[word] for schema in reading for word in ("dependentRequired", "dependencies") if word in schema]
    for name in queue:  # it grows meanwhile
        for rule in rules:
            others = rule.get(name)
            fresh = [other for other in others if other not in closed] if isinstance(others, list) else []
            closed.update(dict.fromkeys(fresh))
            queue.extend(fresh)
    return closed


def _says_what_names_hold(reading: Schemas) -> bool:
    others = [schema.get("additionalProperties") for schema in reading]
    return any(isinstance(part, dict) for part in others) or any("patternProperties" in schema for schema in reading)


class _SchemaChoices:
    """The choices that a schema leaves open, each a list of branches; a branch is a list of schemas.

    Branches may be narrower than the schema (see `_refutations`): they are guesses, the checker decides.
    """

    __slots__ = ("document", "_known", "_negations")

    def __init__(self, document: SchemaDocument) -> None:
        self.document = document
        # By id, with the schema itself: made-up ones must not be collected and their ids used again.
        self._known: dict[int, tuple[JsonSchema, list[_Branches]]] = {}
        self._negations: dict[int, tuple[JsonSchema, dict[str, typing.Any]]] = {}

    def of(self, schema: dict[str, typing.Any]) -> list[_Branches]:
        if id(schema) not in self._known:
            self._known[id(schema)] = (schema, self._find(schema))
        return self._known[id(schema)][1]

    def negation(self, schema: JsonSchema) -> dict[str, typing.Any]:
        """{"not": schema}, the same object each time."""
        if id(schema) not in self._negations:
            self._negations[id(schema)] = (schema, {"not": schema})
        return self._negations[id(schema)][1]

    def _find(self, schema: dict[str, typing.Any]) -> list[_Branches]:
        choices: list[_Branches] = []
        if "anyOf" in schema:
            choices.append([[part] for part in schema["anyOf"]])
        if "oneOf" in schema:
            choices.append(self._one_of(schema["oneOf"]))
        if "not" in schema:
            choices.append(self._refutations(schema["not"]))
        if "if" in schema and ("then" in schema or "else" in schema):
            met = [schema["if"], schema.get("then", True)]
            choices.append([met, [self.negation(schema["if"]), schema.get("else", True)]])
        for name, part in [*schema.get("dependentSchemas", {}).items(), *schema.get("dependencies", {}).items()]:
            if not isinstance(part, list):
                branches: _Branches = [[{"required": [name]}, part], [{"properties": {name: False}}]]
                choices.append(branches if name in schema.get("properties", ()) else branches[::-1])
        return choices

    def _one_of(self, parts: list[JsonSchema]) -> _Branches:
        branches = [[part] for part in parts]
        if 1 < len(parts) <= _MAX_EXCLUSIONS:
            negations = [self.negation(part) for part in parts]
            branches += [[part, *negations[:at], *negations[at + 1 :]] for at, part in enumerate(parts)]
        return branches

    def _refutations(self, schema: JsonSchema) -> _Branches:
        """Branches each of which makes one keyword of `schema` fail; last the empty one, which leaves it to luck."""
        if isinstance(schema, bool):
            return [[]] if not schema else [[False]]
        branches: _Branches = []
        for keyword, limit in schema.items():
            branches.extend([part] for part in self._refute(keyword, limit))
        if "if" in schema:
            branches.append([schema["if"], self.negation(schema.get("then", True))])
            branches.append([self.negation(schema["if"]), self.negation(schema.get("else", True))])
        return [*branches, []]

    def _refute(self, keyword: str, limit: typing.Any) -> list[JsonSchema]:
        if keyword == "type":
            names = limit if isinstance(limit, list) else [limit]
            banned = {*names, *(["integer"] if "number" in names else [])}
            return [{"type": [name for name in SCHEMA_TYPES if name not in banned]}] if len(banned) < 7 else []
        if keyword == "required":
            return [{"type": "object", "properties": {name: False}} for name in limit]
        if keyword == "properties":
            return [
                {"type": "object", "required": [name], "properties": {name: self.negation(part)}}
                for name, part in limit.items()
            ]
        if keyword in ("anyOf", "oneOf"):
            pairs = itertools.islice(itertools.combinations(limit, 2), _MAX_EXCLUSIONS if keyword == "oneOf" else 0)
            return [{"allOf": [self.negation(part) for part in limit]}, *({"allOf": list(pair)} for pair in pairs)]
        if keyword == "dependentRequired":
            pairs = ((name, other) for name, others in limit.items() for other in others)
            return [{"type": "object", "required": [name], "properties": {other: False}} for name, other in pairs]
        if keyword == "allOf":
            return [self.negation(part) for part in limit]
        if keyword == "$ref":
            return [self.negation(self.document.target(limit))]
        if keyword == "not":
            return [limit]
        if keyword in ("items", "contains") and not isinstance(limit, list):
            return [{"type": "array", "contains" if keyword == "items" else "items": self.negation(limit)}]
        return _refute_limit(keyword, limit)


def _refute_limit(keyword: str, limit: typing.Any) -> list[JsonSchema]:
    if keyword in _OPPOSITE_BOUNDS and not isinstance(limit, bool):
        return [{"type": "number", _OPPOSITE_BOUNDS[keyword]: limit}]
    kind = {"Length": "string", "Items": "array", "Properties": "object"}.get(keyword[3:])
    if kind and keyword.startswith("max"):
        return [{"type": kind, "min" + keyword[3:]: int(limit) + 1}]
    if kind and keyword.startswith("min") and limit >= 1:
        return [{"type": kind, "max" + keyword[3:]: int(limit) - 1}]
    return []


_OPPOSITE_BOUNDS = {
    "minimum": "exclusiveMaximum",
    "maximum": "exclusiveMinimum",
    "exclusiveMinimum": "maximum",
    "exclusiveMaximum": "minimum",
}


class _SchemaHeights:
    """How many containers a value must at least nest to satisfy each schema; infinite when it can never end.

    The numbers are lower bounds (a `not` is not looked into). They are the least fixed point of `_find`, reached from
    infinity by going over all schemas until nothing changes.
    """

    __slots__ = ("document", "_known")

    def __init__(self, document: SchemaDocument) -> None:
        self.document = document
        schemas = [schema for schema, _ in document.parts.values()]
        self._known = {id(schema): math.inf for schema in schemas}
        work = 0
        changed = True
        while changed and work < _MAX_HEIGHT_WORK:
            changed = False
            work += len(schemas)
            for schema in reversed(schemas):  # what is within was found later
                height = self._find(schema)
                if height < self._known[id(schema)]:
                    self._known[id(schema)] = height
                    changed = True
        if changed:  # too much work to know: nothing is called infinite
            self._known = {key: min(height, 1e9) for key, height in self._known.items()}

    def of(self, schema: JsonSchema) -> float:
        return self._known.get(id(schema), 0)

    def _find(self, schema: dict[str, typing.Any]) -> float:
        parts = [0.0]
        if "const" not in schema and "enum" not in schema:
            names = schema.get("type", SCHEMA_TYPES)
            kinds = [names] if isinstance(names, str) else names
            parts.append(0 if schema.get("nullable") else min(self.of_kind(schema, kind) for kind in kinds))
        if "$ref" in schema:
            parts.append(self.of(self.document.target(schema["$ref"])))
        parts.extend(self.of(part) for part in schema.get("allOf", ()))
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                parts.append(min(self.of(part) for part in schema[keyword]))
        return max(parts)

    def of_kind(self, schema: dict[str, typing.Any], kind: str) -> float:
        """The height of a value of one type under the keywords of `schema` itself."""
        members: list[JsonSchema] = []
        if kind == "object":
            for name in schema.get("required", ()):
                members.extend(self.document.property_schemas(schema, name))
        elif kind == "array":
            for index in range(min(int(schema.get("minItems", 0)), MAX_INSTANCE_ITEMS)):
                members.extend(_item_schemas(schema, index))
            if "contains" in schema and schema.get("minContains", 1) >= 1:
                members.append(schema["contains"])
        return max((1 + self.of(member) for member in members), default=0)
