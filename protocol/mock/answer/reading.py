"""What the schemas that hold for one value say together: types, items, property names, open choices, and heights.

A *reading* is a list of schemas without open choices that all hold for one value; instance.py has the theory.
"""

from __future__ import annotations

import itertools
import math
import typing

from protocol.mock.answer.scalar import Schemas, Unsatisfiable, size_limits
from protocol.mock.json_schema.check import admits_everything
from protocol.mock.json_schema.document import SCHEMA_TYPES, JsonSchema, SchemaDocument, tuple_items

MAX_INSTANCE_ITEMS = 1000  # items of a made-up array, properties of a made-up object
_MAX_EXCLUSIONS = 24  # branches of a oneOf that are told apart by force
_MAX_HEIGHT_WORK = 30_000  # schemas looked at to learn the heights

SchemaBranches = typing.List[typing.List[JsonSchema]]

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
_OPPOSITE_BOUNDS = {
    "minimum": "exclusiveMaximum",
    "maximum": "exclusiveMinimum",
    "exclusiveMinimum": "maximum",
    "exclusiveMaximum": "minimum",
}


def possible_kinds(reading: Schemas) -> list[str]:
    """Return the types that are possible. When no schema states one, those that the keywords are about come first."""
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


def is_nullable(schema: JsonSchema) -> bool:
    """Say whether a schema names null: by a list of types, or by a branch of that type alone."""
    if not isinstance(schema, dict):
        return False
    branches = [*schema.get("anyOf", []), *schema.get("oneOf", [])]
    return isinstance(schema.get("type"), list) or any(
        isinstance(branch, dict) and branch.get("type") == "null" for branch in branches
    )


def is_fixed(reading: Schemas) -> bool:
    """Say whether only a few values are possible."""
    listed = any("const" in schema or "enum" in schema for schema in reading)
    return listed or set(possible_kinds(reading)) <= {"boolean", "null"}


def item_schemas(reading: Schemas, index: int) -> list[JsonSchema]:
    """Return what each schema says about the item at `index`."""
    tuples = [tuple_items(schema) for schema in reading]
    return [first[index] if index < len(first) else rest for first, rest in tuples]


def says_what_names_hold(reading: Schemas) -> bool:
    """Say whether there is a schema for properties of any name, as for a map from names to values."""
    others = [schema.get("additionalProperties") for schema in reading]
    return any(isinstance(part, dict) for part in others) or any("patternProperties" in schema for schema in reading)


class PropertyNames:
    """What a reading says about an object's property names: which there are, how many, and which require others."""

    __slots__ = ("declared", "required", "low", "high", "_budget", "_rules")

    def __init__(self, reading: Schemas, document: SchemaDocument) -> None:
        """Raise Unsatisfiable when more properties are required than allowed, or than this server makes up."""
        self.low, most = size_limits(reading, "Properties")
        self.high = MAX_INSTANCE_ITEMS if most is None else min(most, MAX_INSTANCE_ITEMS)
        # Draft-07 `dependencies` may hold lists of names, too.
        words = ("dependentRequired", "dependencies")
        self._rules = [schema[word] for schema in reading for word in words if schema.get(word)]
        self._budget = document.budget
        self._budget.spend(sum(len(schema.get("properties", ())) for schema in reading) // 10)
        self.declared = dict.fromkeys(name for schema in reading for name in schema.get("properties", ()))
        required = [document.required_names(schema) for schema in reading if "required" in schema]
        self._budget.spend(sum(map(len, required)) // 10)
        self.required = dict.fromkeys(name for names in required for name in names)
        self.required.update(self.dependents(list(self.required), self.required, {}))
        if self.low > self.high:
            raise Unsatisfiable(f"minProperties {self.low} is above the {self.high} that this server makes up")
        if len(self.required) > self.high:
            raise Unsatisfiable(f"{len(self.required)} properties are required, but only {self.high} are possible")

    def dependents(
        self, names: list[str], known: typing.Container[str], expected: typing.Container[str]
    ) -> dict[str, None]:
        """Return all names that these names require, directly or not, without those known or expected; in order."""
        found: dict[str, None] = {}
        queue = list(names) if self._rules else []
        for name in queue:  # which grows meanwhile
            for others in [rule.get(name) for rule in self._rules]:
                self._budget.spend(1 + (len(others) // 10 if isinstance(others, list) else 0))
                for other in others if isinstance(others, list) else ():
                    if other not in found and other not in known and other not in expected:
                        found[other] = None
                        queue.append(other)
        return found


class SchemaChoices:
    """The choices that a schema leaves open, each a list of branches; a branch is a list of schemas.

    A branch may be narrower than the schema (see `_refutations`). That is no harm: branches are guesses, and each value
    is checked.
    """

    __slots__ = ("document", "_known", "_negations")

    def __init__(self, document: SchemaDocument) -> None:
        self.document = document
        # By id(). The schema is kept, because a made-up one that is collected would leave its id() to another.
        self._known: dict[int, tuple[JsonSchema, list[SchemaBranches]]] = {}
        self._negations: dict[int, tuple[JsonSchema, dict[str, typing.Any]]] = {}

    def of(self, schema: dict[str, typing.Any]) -> list[SchemaBranches]:
        """Return the choices of one schema, the same objects each time."""
        if id(schema) not in self._known:
            choices = self._find(schema)
            self.document.budget.spend(1 + sum(map(len, choices)))
            self._known[id(schema)] = (schema, choices)
        return self._known[id(schema)][1]

    def negation(self, schema: JsonSchema) -> dict[str, typing.Any]:
        """Return {"not": schema}, the same object each time."""
        if id(schema) not in self._negations:
            self._negations[id(schema)] = (schema, {"not": schema})
        return self._negations[id(schema)][1]

    def _find(self, schema: dict[str, typing.Any]) -> list[SchemaBranches]:
        choices: list[SchemaBranches] = []
        if "anyOf" in schema:
            # No branch after one that admits everything is ever needed.
            everything = [admits_everything(part) for part in schema["anyOf"]]
            choices.append([[part] for part in schema["anyOf"][: (everything + [True]).index(True) + 1]])
        if "oneOf" in schema:
            choices.append(self._one_of(schema["oneOf"]))
        if "not" in schema:
            choices.append(self._refutations(schema["not"]))
        if "if" in schema and ("then" in schema or "else" in schema):
            met = [schema["if"], schema.get("then", True)]
            choices.append([met, [self.negation(schema["if"]), schema.get("else", True)]])
        for name, part in [*schema.get("dependentSchemas", {}).items(), *schema.get("dependencies", {}).items()]:
            if not isinstance(part, list):
                branches: SchemaBranches = [[{"required": [name]}, part], [{"properties": {name: False}}]]
                choices.append(branches if name in schema.get("properties", ()) else branches[::-1])
        return choices

    def _one_of(self, parts: list[JsonSchema]) -> SchemaBranches:
        branches = [[part] for part in parts]
        if 1 < len(parts) <= _MAX_EXCLUSIONS:
            negations = [self.negation(part) for part in parts]
            branches += [[part, *negations[:at], *negations[at + 1 :]] for at, part in enumerate(parts)]
        return branches

    def _refutations(self, schema: JsonSchema) -> SchemaBranches:
        """Return branches for all values that `schema` does not admit: one for each keyword that may be broken."""
        if isinstance(schema, bool):
            return [[not schema]]
        branches: SchemaBranches = []
        for keyword, limit in schema.items():
            branches.extend([part] for part in self._refute(keyword, limit, schema))
        if "if" in schema:
            branches.append([schema["if"], self.negation(schema.get("then", True))])
            branches.append([self.negation(schema["if"]), self.negation(schema.get("else", True))])
        return branches or [[False]]

    def _refute(self, keyword: str, limit: typing.Any, schema: dict[str, typing.Any]) -> list[JsonSchema]:
        if keyword == "type":
            names = limit if isinstance(limit, list) else [limit]
            banned = {*names, *(["integer"] if "number" in names else [])}
            others = [name for name in SCHEMA_TYPES if name not in banned]
            return [{"type": others}] if others else []
        if keyword == "anyOf":
            return [{"allOf": [self.negation(part) for part in limit]}]
        if keyword == "oneOf":
            pairs = itertools.islice(itertools.combinations(limit, 2), _MAX_EXCLUSIONS)
            return [{"allOf": [self.negation(part) for part in limit]}, *({"allOf": list(pair)} for pair in pairs)]
        if keyword == "allOf":
            return [self.negation(part) for part in limit]
        if keyword == "$ref":
            return [self.negation(self.document.target(limit))]
        if keyword == "not":
            return [limit]
        if keyword in _OPPOSITE_BOUNDS and not isinstance(limit, bool):
            return [{"type": "number", _OPPOSITE_BOUNDS[keyword]: limit}]
        return self._refute_member(keyword, limit, schema)

    def _refute_member(self, keyword: str, limit: typing.Any, schema: dict[str, typing.Any]) -> list[JsonSchema]:
        if keyword == "required":
            return [{"type": "object", "properties": {name: False}} for name in limit]
        if keyword == "dependentRequired":
            pairs = [(name, other) for name, others in limit.items() for other in others]
            return [{"type": "object", "required": [name], "properties": {other: False}} for name, other in pairs]
        if keyword == "properties":
            return [
                {"type": "object", "required": [name], "properties": {name: self.negation(part)}}
                for name, part in limit.items()
            ]
        if keyword == "items" and not isinstance(limit, list):
            return [{"type": "array", "contains": self.negation(limit)}]
        if keyword in ("items", "prefixItems"):
            # No longer arrays are made, and these lists are as long as the squares of their number.
            self.document.budget.spend(min(len(limit), MAX_INSTANCE_ITEMS) ** 2 // 10)
            return [
                {"type": "array", "minItems": at + 1, "prefixItems": [*[True] * at, self.negation(part)]}
                for at, part in enumerate(limit[:MAX_INSTANCE_ITEMS])
            ]
        if keyword == "contains":
            fewest, array = int(schema.get("minContains", 1)), {"type": "array", "contains": limit}
            few = {**array, "minContains": 0, "maxContains": fewest - 1} if fewest > 1 else None
            none = {"type": "array", "items": self.negation(limit)} if fewest == 1 else few
            many = {**array, "minContains": int(schema["maxContains"]) + 1} if "maxContains" in schema else None
            return [part for part in (none, many) if part]
        return _refute_simple_keyword(keyword, limit)


def _refute_simple_keyword(keyword: str, limit: typing.Any) -> list[JsonSchema]:
    kind = {"Length": "string", "Items": "array", "Properties": "object"}.get(keyword[3:])
    if kind and keyword.startswith("max"):
        return [{"type": kind, "min" + keyword[3:]: int(limit) + 1}]
    if kind and keyword.startswith("min"):
        return [{"type": kind, "max" + keyword[3:]: int(limit) - 1}] if limit >= 1 else []
    if keyword == "uniqueItems":
        return [{"type": "array", "minItems": 2}] if limit else []
    # No schema says the opposite of the other keywords: the check has to find a value among those of their type.
    if keyword in ("enum", "const"):
        return [True]
    kinds = [kind for kind, keywords in _KIND_KEYWORDS.items() if keyword in keywords]
    return [{"type": kind} for kind in kinds]


class SchemaHeights:
    """How many containers a value must at least nest to satisfy each schema; infinite when none can be finite.

    The numbers are lower bounds, because a `not` is not looked into. They begin at infinity; `_find` goes over all
    schemas until no number falls any more.
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
            for schema in reversed(schemas):  # inner schemas come later in the document
                document.budget.spend(4)
                height = self._find(schema)
                if height < self._known[id(schema)]:
                    self._known[id(schema)] = height
                    changed = True
        if changed:  # it was too much work to find out: no schema is called infinite
            self._known = {key: min(height, 1e9) for key, height in self._known.items()}

    def of(self, schema: JsonSchema) -> float:
        """Return the height of a schema; 0 for one that was made up later."""
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
        """Return the height of a value of one type under the keywords of `schema` itself."""
        members: list[JsonSchema] = []
        if kind == "object":
            names = self.document.required_names(schema) if "required" in schema else ()
            for name in names:
                self.document.budget.spend()
                members.extend(self.document.property_schemas(schema, name))
        elif kind == "array":
            # Behind the items that have schemas of their own, one is like the other.
            different = len(tuple_items(schema)[0]) + 1
            for index in range(min(int(schema.get("minItems", 0)), MAX_INSTANCE_ITEMS, different)):
                self.document.budget.spend()
                members.extend(item_schemas([schema], index))
            if "contains" in schema and schema.get("minContains", 1) >= 1:
                members.append(schema["contains"])
        return max((1 + self.of(member) for member in members), default=0)
