"""Say what is wrong with a JSON value under a JSON Schema; document.py tells which keywords are known.

`format` is checked where it is known. Unknown keywords allow everything; what would be read wrongly is
refused by document.py. Values are compared as JSON: 1 and 1.0 are equal, 1 and true are not.
"""

from __future__ import annotations

import re
import typing

from protocol.mock.json_schema.document import (
    SCHEMA_KINDS,
    JsonSchema,
    SchemaDocument,
    SchemaError,
    SchemaPath,
    is_multiple,
    json_extent,
    json_key,
    json_kind,
    number_bounds,
    schema_evidence,
    tuple_items,
)
from protocol.mock.json_schema.format import format_holds

MAX_SCHEMA_STEPS = 50_000  # schemas applied to a value, or tried for one; about 0.2 s
_BUDGET_STEPS = 8  # of protocol/budget.py for one of these, on the average
MAX_CHECK_DEPTH = 150  # schemas applied within one another; two Python frames each

ValuePath = typing.Tuple[typing.Union[str, int], ...]
_Part = typing.Dict[str, typing.Any]

_SIZES = {"Length": "characters", "Items": "items", "Properties": "properties"}


class Violation(typing.NamedTuple):
    """What is wrong with a value: where (`messages[0].content`; empty for the value itself) and a sentence."""

    path: str
    message: str


_Violations = typing.Iterator[Violation]


def json_path(parts: ValuePath) -> str:
    """Write a path as `messages[0].content`; a name that is no word is quoted: `headers["x y"]`."""
    text = ""
    for part in parts:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[\w-]+", part):
            text += f".{part}" if text else part
        else:
            text += f'["{part}"]'
    return text


class CheckPlace(typing.NamedTuple):
    """Where a check is: the path of the value, and how many schemas apply to it within one another."""

    path: ValuePath
    depth: int

    def member(self, name: str | int) -> CheckPlace:
        """Return the place of a member of the value."""
        return CheckPlace((*self.path, name), self.depth)

    def violation(self, message: str) -> Violation:
        """Return what is wrong here."""
        return Violation(json_path(self.path), message)


_TOP = CheckPlace((), 0)


class SchemaChecker:
    """Checks values against the schemas of one document, within one number of steps for all of them.

    The steps tell when a search for a value is hopeless. They and the loops in between charge the document's budget,
    which is about time.

    Each keyword has a check, a method that the tables below name; it also reads the keywords that belong to its own.
    """

    __slots__ = ("document", "steps")

    def __init__(self, document: SchemaDocument) -> None:
        self.document = document
        self.steps = 0

    def spend(self, path: SchemaPath = (), cost: int = 1) -> None:
        """Count steps; SchemaError when there were too many, since a schema can be a maze."""
        self.steps += cost
        self.document.budget.spend(_BUDGET_STEPS * cost)
        if self.steps > MAX_SCHEMA_STEPS:
            reason = f"gave up after {MAX_SCHEMA_STEPS} steps: the schema is too large or contradicts itself"
            raise SchemaError(path, reason)

    def fits(self, value: object, schema: JsonSchema) -> bool:
        """Say whether the value is valid under the schema."""
        return next(self.problems(value, schema), None) is None

    def problems(self, value: object, schema: JsonSchema, at: CheckPlace = _TOP) -> _Violations:
        """Yield what is wrong with a value at a place, under a schema; SchemaError as `spend` has it."""
        self.spend()
        if at.depth > MAX_CHECK_DEPTH:
            reason = f"more than {MAX_CHECK_DEPTH} schemas apply within one another; a $ref may lead back to itself"
            raise SchemaError((), reason)
        if isinstance(schema, bool):
            if not schema:
                yield at.violation("no value is allowed here")
            return
        kind = json_kind(value)
        checks = _KIND_CHECKS["number" if kind == "integer" else kind]
        within = CheckPlace(at.path, at.depth + 1)
        for keyword in schema:
            check = checks.get(keyword) or _CHECKS.get(keyword)
            if check is not None:
                yield from check(self, value, schema, keyword, within)

    # any value

    def _check_ref(self, value: object, schema: _Part, keyword: str, at: CheckPlace) -> _Violations:
        yield from self.problems(value, self.document.target(schema[keyword]), at)

    def _check_type(self, value: object, schema: _Part, keyword: str, at: CheckPlace) -> _Violations:
        names = schema[keyword] if isinstance(schema[keyword], list) else [schema[keyword]]
        kind = json_kind(value)
        if kind in names or (kind == "integer" and "number" in names):
            return
        if kind == "null" and schema.get("nullable"):
            return
        expected = " or ".join(SCHEMA_KINDS[name] for name in names)
        yield at.violation(f"expected {expected}, got {schema_evidence(value)}")

    def _check_enum(self, value: object, schema: _Part, keyword: str, at: CheckPlace) -> _Violations:
        self.spend(cost=json_extent(value))
        if json_key(value) not in self.document.enum_keys(schema):
            allowed = schema_evidence(schema[keyword])
            yield at.violation(f"expected one of {allowed}, got {schema_evidence(value)}")

    def _check_const(self, value: object, schema: _Part, keyword: str, at: CheckPlace) -> _Violations:
        self.spend(cost=json_extent(schema[keyword]))
        if json_key(value) != json_key(schema[keyword]):
            expected = schema_evidence(schema[keyword])
            yield at.violation(f"expected {expected}, got {schema_evidence(value)}")

    def _check_all_of(self, value: object, schema: _Part, keyword: str, at: CheckPlace) -> _Violations:
        for part in schema[keyword]:
            yield from self.problems(value, part, at)

    def _check_any_of(self, value: object, schema: _Part, keyword: str, at: CheckPlace) -> _Violations:
        parts = schema[keyword]
        problem: Violation | None = None
        for part in parts:
            problem = next(self.problems(value, part, at), None)
            if problem is None:
                return
        if problem is not None and len(parts) == 1:
            yield problem
        else:
            message = f"none of the {len(parts)} schemas of anyOf admits {schema_evidence(value)}"
            yield at.violation(message)

    def _check_one_of(self, value: object, schema: _Part, keyword: str, at: CheckPlace) -> _Violations:
        count = sum(self._holds(value, part, at) for part in schema[keyword])
        if count != 1:
            message = f"exactly one of the {len(schema[keyword])} schemas of oneOf must admit the value, but {count} do"
            yield at.violation(message)

    def _check_not(self, value: object, schema: _Part, keyword: str, at: CheckPlace) -> _Violations:
        if self._holds(value, schema[keyword], at):
            yield at.violation(f"the schema of 'not' must not admit {schema_evidence(value)}")

    def _check_if(self, value: object, schema: _Part, keyword: str, at: CheckPlace) -> _Violations:
        branch = "then" if self._holds(value, schema[keyword], at) else "else"
        yield from self.problems(value, schema.get(branch, True), at)

    def _holds(self, value: object, schema: JsonSchema, at: CheckPlace) -> bool:
        return next(self.problems(value, schema, at), None) is None

    # sizes, strings, numbers

    def _check_size(self, value: typing.Sized, schema: _Part, keyword: str, at: CheckPlace) -> _Violations:
        limit, unit = schema[keyword], _SIZES[keyword[3:]]
        if len(value) < limit if keyword.startswith("min") else len(value) > limit:
            word = "at least" if keyword.startswith("min") else "at most"
            yield at.violation(f"expected {word} {limit} {unit}, got {len(value)}")

    def _check_pattern(self, value: str, schema: _Part, keyword: str, at: CheckPlace) -> _Violations:
        if not self.document.matches(schema[keyword], value):
            expected = schema_evidence(schema[keyword])
            yield at.violation(f"expected a match of {expected}, got {schema_evidence(value)}")

    def _check_format(self, value: str, schema: _Part, keyword: str, at: CheckPlace) -> _Violations:
        self.document.budget.spend(len(value) // 50)
        if not format_holds(schema[keyword], value):
            expected = schema_evidence(schema[keyword])
            yield at.violation(f"expected a string of format {expected}, got {schema_evidence(value)}")

    def _check_bound(self, value: float, schema: _Part, keyword: str, at: CheckPlace) -> _Violations:
        for bound, limit, strict in number_bounds(schema):
            if bound != keyword:
                continue
            lower = keyword.endswith("inimum")
            if (value == limit and strict) or (value < limit if lower else value > limit):
                word = ("more than" if strict else "at least") if lower else ("less than" if strict else "at most")
                yield at.violation(f"expected {word} {limit}, got {schema_evidence(value)}")

    def _check_multiple(self, value: float, schema: _Part, keyword: str, at: CheckPlace) -> _Violations:
        if not is_multiple(value, schema[keyword]):
            message = f"expected a multiple of {schema[keyword]}, got {schema_evidence(value)}"
            yield at.violation(message)

    # arrays

    def _check_unique(self, value: list[typing.Any], schema: _Part, keyword: str, at: CheckPlace) -> _Violations:
        seen: dict[object, int] = {}
        for place, item in enumerate(value if schema[keyword] else ()):
            self.document.budget.spend(json_extent(item))
            first = seen.setdefault(json_key(item), place)
            if first != place:
                yield at.member(place).violation(f"expected items that differ, but this equals item {first}")

    def _check_items(self, value: list[typing.Any], schema: _Part, keyword: str, at: CheckPlace) -> _Violations:
        if keyword == "items" and "prefixItems" in schema:
            return  # `prefixItems` has its turn, and checks both
        first, rest = tuple_items(schema)
        for place, item in enumerate(value):
            yield from self.problems(item, first[place] if place < len(first) else rest, at.member(place))

    def _check_contains(self, value: list[typing.Any], schema: _Part, keyword: str, at: CheckPlace) -> _Violations:
        count = sum(self._holds(item, schema[keyword], at) for item in value)
        fewest, most = schema.get("minContains", 1), schema.get("maxContains", len(value))
        if not fewest <= count <= most:
            wanted = f"at least {fewest}" if count < fewest else f"at most {most}"
            yield at.violation(f"expected {wanted} items that fit 'contains', got {count}")

    # objects

    def _check_required(self, value: _Part, schema: _Part, keyword: str, at: CheckPlace) -> _Violations:
        names = self.document.required_names(schema)
        self.document.budget.spend(min(len(names), len(value)) // 20)  # a valid value has them all
        for name in names:
            if name not in value:
                yield at.violation(f"the property {schema_evidence(name)} is missing")

    def _check_properties(self, value: _Part, schema: _Part, keyword: str, at: CheckPlace) -> _Violations:
        self.document.budget.spend(len(schema[keyword]) // 20)
        for name, part in schema[keyword].items():
            if name in value:
                yield from self.problems(value[name], part, at.member(name))

    def _check_patterns(self, value: _Part, schema: _Part, keyword: str, at: CheckPlace) -> _Violations:
        for source, part in schema[keyword].items():
            for name, item in value.items():
                if self.document.matches(source, name):
                    yield from self.problems(item, part, at.member(name))

    def _check_other_names(self, value: _Part, schema: _Part, keyword: str, at: CheckPlace) -> _Violations:
        named, patterns, part = schema.get("properties", {}), schema.get("patternProperties", {}), schema[keyword]
        self.document.budget.spend(len(value) // 10)
        for name, item in value.items():
            if name in named or any(self.document.matches(source, name) for source in patterns):
                continue
            if part is False:
                self.document.budget.spend(len(named) // 50)
                known = schema_evidence(list(named))
                yield at.member(name).violation(f"unexpected property; known are {known}")
            else:
                yield from self.problems(item, part, at.member(name))

    def _check_names(self, value: _Part, schema: _Part, keyword: str, at: CheckPlace) -> _Violations:
        for name in value:
            for problem in self.problems(name, schema[keyword], at.member(name)):
                yield Violation(problem.path, f"property name: {problem.message}")

    def _check_dependents(self, value: _Part, schema: _Part, keyword: str, at: CheckPlace) -> _Violations:
        self.document.budget.spend(len(schema[keyword]) // 20)
        for name, wanted in schema[keyword].items():
            if name not in value:
                continue
            if not isinstance(wanted, list):
                yield from self.problems(value, wanted, at)
                continue
            self.document.budget.spend(len(wanted) // 20)
            for other in wanted:
                if other not in value:
                    message = f"the property {schema_evidence(other)} is missing, required by {schema_evidence(name)}"
                    yield at.violation(message)


_Check = typing.Callable[..., _Violations]
_CHECKS: dict[str, _Check] = {
    "$ref": SchemaChecker._check_ref,
    "type": SchemaChecker._check_type,
    "enum": SchemaChecker._check_enum,
    "const": SchemaChecker._check_const,
    "allOf": SchemaChecker._check_all_of,
    "anyOf": SchemaChecker._check_any_of,
    "oneOf": SchemaChecker._check_one_of,
    "not": SchemaChecker._check_not,
    "if": SchemaChecker._check_if,
}
_KIND_CHECKS: dict[str, dict[str, _Check]] = {
    "string": {
        "minLength": SchemaChecker._check_size,
        "maxLength": SchemaChecker._check_size,
        "pattern": SchemaChecker._check_pattern,
        "format": SchemaChecker._check_format,
    },
    "number": {
        "minimum": SchemaChecker._check_bound,
        "maximum": SchemaChecker._check_bound,
        "exclusiveMinimum": SchemaChecker._check_bound,
        "exclusiveMaximum": SchemaChecker._check_bound,
        "multipleOf": SchemaChecker._check_multiple,
    },
    "array": {
        "minItems": SchemaChecker._check_size,
        "maxItems": SchemaChecker._check_size,
        "uniqueItems": SchemaChecker._check_unique,
        "prefixItems": SchemaChecker._check_items,
        "items": SchemaChecker._check_items,
        "contains": SchemaChecker._check_contains,
    },
    "object": {
        "minProperties": SchemaChecker._check_size,
        "maxProperties": SchemaChecker._check_size,
        "required": SchemaChecker._check_required,
        "properties": SchemaChecker._check_properties,
        "patternProperties": SchemaChecker._check_patterns,
        "additionalProperties": SchemaChecker._check_other_names,
        "propertyNames": SchemaChecker._check_names,
        "dependentRequired": SchemaChecker._check_dependents,
        "dependentSchemas": SchemaChecker._check_dependents,
        "dependencies": SchemaChecker._check_dependents,
    },
    "boolean": {},
    "null": {},
}

_ASSERTIONS = frozenset(_CHECKS).union(*_KIND_CHECKS.values())


def admits_everything(schema: JsonSchema) -> bool:
    """Say whether a schema is true, or has no keyword that could fail."""
    return schema if isinstance(schema, bool) else _ASSERTIONS.isdisjoint(schema)
