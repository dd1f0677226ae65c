"""Make up a JSON value that satisfies a JSON Schema: what the mock answers when a caller prescribes the form.

Theory of operation. All schemas that hold for one value are kept in a list, the *wanted* schemas. They are not merged,
because every limit can be read off the list: the greatest minimum, all the patterns. A *reading* of the list is one way
to satisfy it: `$ref` and `allOf` are followed, one branch is taken of each choice (anyOf, oneOf, if, not,
dependentSchemas), and only keywords about the value itself are left. Each reading gives candidates; those for a
container are made from the wanted lists of its members. Each candidate is checked against the wanted schemas, and the
first that holds is the answer. So the checker has the last word, and the maker need only guess well.

An answer may be made *terse*, as the arguments of a call are: nobody asked for a value that only shows what a schema
admits, and a made-up `force` does harm. A terse value has an optional property only where the prompt or a `default`
gives it. What it has to make up is harmless: no flag is raised, numbers are whole, and nothing is deleted.

A value is *rich* as long as it is small: it has optional properties, and an item in each array. It turns lean where it
grows, and within a schema that it is already within. Lean values come to an end, because their choices are taken by
height: how many containers a value must at least nest to satisfy a schema.

There is no clock and no chance here: equal schemas, seeds and hints give equal values.
"""

from __future__ import annotations

import binascii
import itertools
import math
import typing

from protocol.budget import Budget
from protocol.mock.answer.arrays import ArrayMaker
from protocol.mock.answer.assignment import (
    MAX_TARGETS,
    HintTarget,
    ReadPrompt,
    assign_hints,
    hint_class,
    hint_target,
    hint_targets,
    number_hints,
    text_hints,
)
from protocol.mock.answer.closing import is_closing_tool, is_ending
from protocol.mock.answer.cost import answer_budget
from protocol.mock.answer.hints import MAX_HINT_TEXT, Hint, Hints
from protocol.mock.answer.modest import harm, quantity_candidates, usual_texts
from protocol.mock.answer.objects import ObjectMaker
from protocol.mock.answer.place import Place, WantedSchemas, description_of
from protocol.mock.answer.plain import plain_schema
from protocol.mock.answer.reading import (
    SchemaBranches,
    SchemaChoices,
    SchemaHeights,
    is_fixed,
    is_nullable,
    possible_kinds,
)
from protocol.mock.answer.scalar import Schemas, Unsatisfiable, number_candidates, number_range_is_open, text_candidates
from protocol.mock.json_schema.check import SchemaChecker, admits_everything
from protocol.mock.json_schema.document import (
    JsonSchema,
    SchemaDocument,
    SchemaError,
    json_extent,
    json_key,
    schema_evidence,
)

MAX_INSTANCE_DEPTH = 32  # containers within one another
MAX_INSTANCE_CHARACTERS = 1_000_000  # of all strings of a made-up value
_RICH_DEPTH = 6  # containers within one another
_RICH_VALUES = 200  # values made before the rest turns lean
_FIRST_TRIES = 4  # candidates of each kind in the first round
_MAX_CHOICES = 64  # anyOf and the like that hold for one value at once
_SEED_TURNS = 97  # how many ways a seed may turn a choice: few, because strings may end in the turn's number
_USED = "\0used"  # owner of the hints for members of enums that are taken already


def instance(
    schema: JsonSchema, seed: int = 0, hints: Hints | None = None, *, turn: int = 0, budget: Budget | None = None
) -> typing.Any:
    """Return a JSON value that satisfies the schema: small, readable, and always the same for the same arguments.

    Seed 0 takes first choices: the first member of an enum, the first branch of anyOf. Other seeds turn every choice.
    `turn`, from 0, moves all choices on by so many places, so that successive turns give different values where there
    are any. What the hints suggest comes before any choice, wherever it is valid.

    Raises SchemaError when the schema is malformed, when nothing satisfies it, or when no value was found within the
    bounds of this module; BudgetSpent when that costs more than is left of the budget.
    """
    return _made_value(_Maker(SchemaDocument(schema, budget or answer_budget()), seed, hints or Hints()), turn)


class TerseValue(typing.NamedTuple):
    """A value that says no more than the prompt does, and how many of its parts the prompt gave."""

    value: typing.Any
    told: int
    is_invented: bool  # a text of its own that has to be there was made up


def terse_instance(schema: JsonSchema, seed: int, hints: Hints, *, turn: int, budget: Budget) -> TerseValue:
    """Return a value as `instance` does, for the arguments of a call: with what was told, and what must be there."""
    maker = _Maker(SchemaDocument(schema, budget), seed, hints, is_terse=True)
    value = _made_value(maker, turn)
    return TerseValue(value, maker.told, _has_invented_text(value, schema, maker))


def _has_invented_text(value: typing.Any, schema: JsonSchema, maker: _Maker) -> bool:
    """Say whether a text that an object needs is neither the prompt's nor the schema's."""
    plain = plain_schema(schema, maker.document.root, maker.budget)
    needed = schema.get("required") if isinstance(schema, dict) else None
    if not isinstance(value, dict) or not isinstance(needed, list):
        return False
    for name in needed[:MAX_TARGETS]:
        maker.budget.spend()
        text, part = value.get(name), plain["properties"].get(name)
        if not isinstance(text, str) or text in maker.said or (isinstance(part, dict) and part.get("default") == text):
            continue
        if "enum" not in plain_schema(part, maker.document.root, maker.budget):
            return True
    return False


def _made_value(maker: _Maker, turn: int) -> typing.Any:
    try:
        return maker.make([maker.document.root], Place((), "", 0, True, turn, frozenset()))
    except Unsatisfiable as exc:
        raise SchemaError(exc.path, exc.reason) from exc


def _hinted_properties(document: SchemaDocument) -> list[HintTarget]:
    properties: dict[str, JsonSchema] = {}
    for schema, _ in document.parts.values():
        for name, part in schema.get("properties", {}).items():
            if name not in properties and len(properties) < MAX_TARGETS:
                properties[name] = plain_schema(part, document.root, document.budget)
    return hint_targets(properties, document.budget)


def _fixed_texts(document: SchemaDocument) -> set[str]:
    """Return the strings that enums list: a prompt that says one of them means the member, not a free text."""
    document.budget.spend(len(document.parts))
    literals = [
        value for schema, _ in document.parts.values() for value in (*schema.get("enum", ()), schema.get("const"))
    ]
    document.budget.spend(len(literals) // 5)
    return {value.casefold() for value in literals if isinstance(value, str) and len(value) <= MAX_HINT_TEXT}


def _suggested_values(schemas: Schemas, *, only_defaults: bool = False) -> list[object]:
    """Return the examples and defaults of schemas, except those that say nothing: null, [] and {}."""
    values: list[object] = []
    for schema in schemas:
        if only_defaults:
            values.extend(schema[keyword] for keyword in ("default",) if keyword in schema)
            continue
        examples = schema.get("examples")
        values.extend(examples[:8] if isinstance(examples, list) else ())
        values.extend(schema[keyword] for keyword in ("example", "default") if keyword in schema)
    return [value for value in values if value not in (None, [], {})]


class _Source(typing.NamedTuple):
    """Where candidates for a value come from.

    `told` are those of them that the prompt gives: the same objects. Literals are parts of the schema; of these, a
    proposed one is an example or a `default`.
    """

    candidates: typing.Iterator[typing.Any]
    told: typing.Sequence[typing.Any] = ()
    is_literal: bool = False
    is_proposed: bool = False


class _Maker:
    """One run of `instance`: its budgets, the hints that are left, and what is known of the document by now."""

    __slots__ = (
        "budget", "characters", "checker", "choices", "document", "failed", "fitness", "heights", "hints", "is_terse",
        "made", "possible", "prompt", "said", "seed", "targets", "told",
    )  # fmt: skip

    def __init__(self, document: SchemaDocument, seed: int, hints: Hints, *, is_terse: bool = False) -> None:
        self.document = document
        self.checker = SchemaChecker(document)
        self.seed = seed
        self.budget = document.budget
        self.prompt = ReadPrompt(hints, document.budget)
        self.hints: tuple[Hint, ...] = ()
        if hints.text:
            targets = _hinted_properties(document)
            self.hints = assign_hints(hints, targets, _fixed_texts(document), document.budget)
        self.is_terse = is_terse
        self.told = 0
        self.said: set[str] = set()  # strings that the prompt has given
        self.characters = 0
        self.made = 0
        self.heights = SchemaHeights(document)
        schemas = [schema for schema, _ in document.parts.values()]
        self.targets = {id(document.target(schema["$ref"])) for schema in schemas if "$ref" in schema}
        self.choices = SchemaChoices(document)
        self.fitness: dict[int, int] = {}  # of branches, by id
        # Lists of schemas, by the ids of their members: those that no value was found for, and those that have one.
        self.failed: dict[frozenset[int], Unsatisfiable] = {}
        self.possible: set[frozenset[int]] = set()

    def make(
        self, wanted: WantedSchemas, place: Place, avoided: typing.AbstractSet[object] = frozenset()
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
            found = self.make_if_told(wanted, place)
            return found[0] if found else None
        return self._made(wanted, place, avoided)[0]

    def _may_be_left_out(self, wanted: WantedSchemas, place: Place) -> bool:
        """Whether there is a prompt, and the value is a property that may be null as well as something else."""
        if not (self.prompt.text or self.is_terse) or place.path[-2:-1] != ("properties",):
            return False
        if not any(is_nullable(schema) for schema in wanted):
            return False
        return all(self.checker.fits(None, schema) for schema in wanted)

    def make_if_told(self, wanted: WantedSchemas, place: Place) -> list[typing.Any]:
        """Return a value alone in a list where the prompt or a `default` gives it; [] for none."""
        hints, told = self.hints, self.told
        value, is_default = self._made(wanted, place, frozenset())
        if is_default or self.told > told:
            return [value]
        self.hints = hints
        return []

    def _made(
        self, wanted: WantedSchemas, place: Place, avoided: typing.AbstractSet[object]
    ) -> tuple[typing.Any, bool]:
        """Return a value, and whether it is one that the schema itself proposes."""
        # First a few candidates of each reading, so that the right reading is reached in time where many lead nowhere.
        reasons: list[Unsatisfiable] = []
        for tries in (_FIRST_TRIES, None):
            for reading in self._readings(wanted, place):
                for source in self._sources(reading, self._within(reading, place)):
                    candidates = itertools.islice(source.candidates, tries)
                    found = self._first_valid(candidates, wanted, place, avoided, reasons)
                    if found:
                        return self._accept(found[0], source), source.is_proposed
        reason = reasons[0] if reasons else Unsatisfiable(self._explain(wanted), place.path)
        if not avoided:
            self.failed[frozenset(id(schema) for schema in wanted)] = reason
        raise reason

    def _first_valid(
        self,
        candidates: typing.Iterator[typing.Any],
        wanted: WantedSchemas,
        place: Place,
        avoided: typing.AbstractSet[object],
        reasons: list[Unsatisfiable],
    ) -> list[typing.Any]:
        """Return the first candidate that is valid, alone in a list; [] for none. A reason goes to `reasons`."""
        hints, told = self.hints, self.told
        try:
            for value in candidates:
                self.checker.spend(place.path)
                is_valid = all(self.checker.fits(value, schema) for schema in wanted)
                if avoided:
                    self.budget.spend(json_extent(value))
                if is_valid and (not avoided or json_key(value) not in avoided):
                    return [value]
                self.hints, self.told = hints, told  # the members of the failed candidate had used some up
        except Unsatisfiable as exc:
            self.hints, self.told = hints, told
            reasons.append(Unsatisfiable(exc.reason, exc.path or place.path))
        return []

    def _explain(self, wanted: WantedSchemas) -> str:
        if any(schema is False for schema in wanted):
            return "the schema false admits no value"
        return "no value was found that satisfies all the keywords that apply here together"

    def _accept(self, value: typing.Any, source: _Source) -> typing.Any:
        if any(value is told for told in source.told):
            self.told += 1
            if isinstance(value, str):
                self.said.add(value)
        if source.is_literal:
            if self.prompt.text and isinstance(value, (str, int)):
                self.hints += (Hint(value, "fixed", owner=_USED),)
            return self._copy(value)
        if isinstance(value, str):
            self.write(value)
        if self.hints and not isinstance(value, (list, dict)):
            self.budget.spend(1 + len(self.hints) // 5)
            self._use_up(value)
        return value

    def _use_up(self, value: typing.Any) -> None:
        keys = [json_key(hint.value) for hint in self.hints]
        if json_key(value) in keys:
            place = keys.index(json_key(value))
            self.hints = self.hints[:place] + self.hints[place + 1 :]

    def _copy(self, value: typing.Any) -> typing.Any:
        """Copy a value of the schema: what the caller does to the answer must not change the schema."""
        self.checker.spend()
        if isinstance(value, dict):
            return {self.write(name): self._copy(part) for name, part in value.items()}
        if isinstance(value, list):
            return [self._copy(part) for part in value]
        return self.write(value) if isinstance(value, str) else value

    def write(self, text: str) -> str:
        self.characters += len(text)
        if self.characters > MAX_INSTANCE_CHARACTERS:
            raise SchemaError((), f"a value would have more than {MAX_INSTANCE_CHARACTERS} characters")
        return text

    def _turn(self, place: Place) -> int:
        if not self.seed:
            return place.turn
        mixed = binascii.crc32(f"{self.seed}{place.path}".encode("utf-8", "replace"))
        return place.turn + mixed % _SEED_TURNS

    # readings

    def _readings(
        self,
        todo: WantedSchemas,
        place: Place,
        taken: Schemas = (),
        choices: typing.Sequence[SchemaBranches] = (),
        depth: int = 0,
    ) -> typing.Iterator[Schemas]:
        """Yield each reading of the schemas `todo`, with those that are `taken` and one branch of each of `choices`."""
        found = {id(schema): schema for schema in taken}
        queue, choices = list(todo), list(choices)
        for schema in queue:  # it grows meanwhile
            if isinstance(schema, bool):
                if not schema:
                    return
                continue
            if id(schema) in found or admits_everything(schema):
                continue
            self.checker.spend(place.path)
            found[id(schema)] = schema
            self.budget.spend(len(schema.get("allOf", ())) // 10)
            queue.extend(self._followed(schema))
            choices.extend(self.choices.of(schema))
        reading = list(found.values())
        self.checker.spend(place.path, 1 + len(reading) // 4)
        kinds = possible_kinds(reading)
        if not kinds or (choices and set(kinds) <= {"number", "integer"} and not number_range_is_open(reading)):
            return  # most branches end here
        if is_fixed(reading):
            # There are so few values that each can be tried, whatever the branches say.
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

    def _ordered(self, branches: SchemaBranches, place: Place) -> SchemaBranches:
        self.budget.spend(len(branches) // 5)
        if not place.rich:
            return sorted(branches, key=lambda branch: max((self.heights.of(schema) for schema in branch), default=0))
        equal = sum(len(branch) == 1 for branch in branches)  # longer branches are for when these have failed
        turn = self._turn(place) % max(1, equal)
        turned = branches[turn:equal] + branches[:turn]
        if self.is_terse:
            turned.sort(key=lambda branch: branch[0] == {"type": "null"})  # nobody says null
        if equal > 1 and self.prompt.text:
            turned.sort(key=lambda branch: -self._fitness(branch[0]))
        return turned + branches[equal:]

    def _fitness(self, schema: JsonSchema) -> int:
        """Say how well a branch fits the prompt: 2 for one that it names, 1 for one that ends an agent's loop.

        The name of a branch is a fixed string of its properties, such as its `type`, or else its only property's.
        """
        known = self.fitness.get(id(schema))
        if known is None:
            properties = plain_schema(schema, self.document.root, self.budget)["properties"]
            parts = {name: plain_schema(part, self.document.root, self.budget) for name, part in properties.items()}
            members = [part["enum"][0] for part in parts.values() if len(part.get("enum", ())) == 1]
            names = [member for member in members if isinstance(member, str)] or list(parts)[: len(parts) == 1]
            is_named = bool(names) and bool(self.prompt.mentioned(names, hint_target("", {})))
            known = 2 if is_named else int(any(is_closing_tool(name) for name in names))
            self.fitness[id(schema)] = known
        return known

    def _within(self, reading: Schemas, place: Place) -> Place:
        here = frozenset(id(schema) for schema in reading if id(schema) in self.targets)
        small = place.depth < _RICH_DEPTH and self.made < _RICH_VALUES
        rich = place.rich and small and not here & place.within
        return place._replace(rich=rich, within=place.within | here)

    # candidates

    def _sources(self, reading: Schemas, place: Place) -> typing.Iterator[_Source]:
        """Yield sources of candidates, the best guesses first."""
        fixed = [
            [schema["const"]] if "const" in schema else schema["enum"]
            for schema in reading
            if "const" in schema or "enum" in schema
        ]
        if fixed:
            values = min(fixed, key=len)
            mentioned = self.prompt.mentioned(values, hint_target(place.name, {})) if self.prompt.text else []
            yield _Source(self._fixed_candidates(values, mentioned, place), mentioned, is_literal=True)
            return
        kinds = possible_kinds(reading)
        if self.prompt.text:
            owned = self._owned(kinds, reading, place)
            yield _Source(iter(owned), owned)
        yield _Source(iter(self._suggested(reading, place)), is_literal=True, is_proposed=True)
        if place.rich:
            turn = self._turn(place) % len(kinds) if any("type" in schema for schema in reading) else 0
            kinds = kinds[turn:] + kinds[:turn]
            if self.is_terse:
                kinds.sort(key=lambda kind: kind == "null")
        else:
            kinds.sort(key=lambda kind: max((self.heights.of_kind(schema, kind) for schema in reading), default=0))
        for kind in kinds:
            yield self._of_kind(kind, reading, place)

    def _fixed_candidates(self, values: list[object], mentioned: list[object], place: Place) -> typing.Iterator[object]:
        self.budget.spend(len(values) // 50)
        used = [hint.value for hint in self.hints if hint.owner == _USED] if mentioned else []
        yield from (value for value in mentioned if value not in used)
        yield from mentioned
        turn = self._turn(place) % len(values)
        turned = values[turn:] + values[:turn]
        if self.prompt.text or self.is_terse:
            yield from [value for value in values if is_ending(value)]  # else an agent's loop has no end
        yield from sorted(turned, key=harm) if self.is_terse else turned
        raise Unsatisfiable(f"none of {schema_evidence(values)} satisfies the other keywords that apply")

    def _owned(self, kinds: list[str], reading: Schemas, place: Place) -> list[typing.Any]:
        """Return what the prompt says of this very property."""
        found: list[typing.Any] = []
        self.budget.spend(10 + len(self.hints) // 2)
        if "string" in kinds:
            found += text_hints(self.hints, place.name, description_of(reading), self.prompt)[0]
        if "number" in kinds or "integer" in kinds:
            found += number_hints(self.hints, place.name, "number" not in kinds, description_of(reading))[0]
        if "boolean" in kinds and "string" not in kinds:
            found += [hint.value for hint in self.hints if isinstance(hint.value, bool) and hint.owner == place.name]
            found += self.prompt.flags(place.name)
        return found

    def _suggested(self, reading: Schemas, place: Place) -> list[object]:
        """Return what the schema itself proposes."""
        values = _suggested_values(reading, only_defaults=place.only_told)
        if place.turn >= len(values):
            return []
        turn = self._turn(place) % len(values)
        return values[turn:] + values[:turn]

    def _of_kind(self, kind: str, reading: Schemas, place: Place) -> _Source:
        turn = self._turn(place)
        free: list[typing.Any] = []
        if kind == "object":
            return _Source(ObjectMaker(self).candidates(reading, place))
        if kind == "array":
            command = self._command(reading, place)
            return _Source(itertools.chain(command, ArrayMaker(self).candidates(reading, place)), command)
        if kind == "string":
            self.budget.spend(10 + len(self.hints) // 2)
            description = description_of(reading)
            free += text_hints(self.hints, place.name, description, self.prompt, only_sure=place.only_told)[1]
            if place.only_told:
                free = [text for text in free if not any(said in text for said in self.said)]
            made = text_candidates(self.document, reading, place.name, turn)
            if self.is_terse:
                made = itertools.chain(usual_texts(place.name, description), made)
            return _Source(itertools.chain(free, made), free)
        if kind in ("number", "integer"):
            self.budget.spend(len(self.hints) // 5)
            if not place.only_told:
                free += number_hints(self.hints, place.name, kind == "integer", description_of(reading))[1]
            return _Source(itertools.chain(free, self._numbers(reading, place, kind == "integer")), free)
        flags = [turn % 2 == 0, turn % 2 == 1]
        return _Source(iter([None] if kind == "null" else flags[::-1] if self.is_terse else flags))

    def _command(self, reading: Schemas, place: Place) -> list[list[str]]:
        """Return the command that the prompt gives, as the arguments of execvp(): what an array of them is for."""
        if not self.is_terse or hint_class(place.name) != "command" or not self.prompt.text:
            return []
        self.budget.spend(10 + len(self.hints) // 2)
        owned, free = text_hints(self.hints, place.name, description_of(reading), self.prompt)
        return [["bash", "-lc", said] for said in (owned + free)[:1]]

    def _numbers(self, reading: Schemas, place: Place, whole: bool) -> typing.Iterator[float]:
        turn = self._turn(place)
        if not self.is_terse:
            return number_candidates(reading, whole, turn)
        return quantity_candidates(reading, place.name, description_of(reading), whole, turn)
