"""JSON Schema: read a schema once, say what is malformed in it, and find its parts.

The keywords are those of draft 2020-12 (core and validation), and older ones that are still in use: draft-07's lists as
`items` with `additionalItems`, `definitions` and `dependencies`, draft-04's boolean `exclusiveMinimum`, OpenAPI's
`nullable`. Keywords beside a `$ref` count, unless `$schema` names a draft in which they do not (draft-07 and before).
References stay within the document. What depends on more than a schema and its value is refused: `$dynamicRef`,
`$recursiveRef`, `unevaluated...` that forbids anything, and a `$schema` that is none of json-schema.org.

Schemas come from strangers, so the constants below bound what one may cost, and each loop charges a Budget.
"""

from __future__ import annotations

import re
import typing

from protocol.budget import Budget
from protocol.patterns.nodes import PatternBudget, PatternError
from protocol.patterns.pattern import Pattern

MAX_SCHEMA_VALUES = 40_000  # JSON values in a schema; OpenAI admits 5,000 properties
MAX_SCHEMA_NESTING = 120  # JSON values within one another
_SCHEMA_STEPS = 3_000_000  # of a budget (protocol/budget.py) for all that is done with one schema
_SCHEMA_STEPS_A_PART = 5  # to read a schema within the schema

JsonSchema = typing.Union[typing.Dict[str, typing.Any], bool]
SchemaPath = typing.Tuple[str, ...]

SCHEMA_TYPES = ("string", "number", "integer", "object", "array", "boolean", "null")
_EVIDENCE = 80  # characters of a value that a message shows
SCHEMA_KINDS = {
    "string": "a string",
    "number": "a number",
    "integer": "an integer",
    "object": "an object",
    "array": "an array",
    "boolean": "a boolean",
    "null": "null",
}


class SchemaError(ValueError):
    """A schema that is malformed, cannot be satisfied, or is too costly.

    `path` has the keys that lead to the schema at fault; `reason` says what is wrong there. The text is as OpenAI's API
    words it after "Invalid schema for response_format 'name': ".
    """

    def __init__(self, path: typing.Sequence[str], reason: str) -> None:
        self.path = tuple(path)
        self.reason = reason
        # A name may be as long as a request.
        shown = tuple(key if len(key) <= _EVIDENCE else f"{key[: _EVIDENCE - 3]}..." for key in self.path)
        super().__init__(f"In context={shown!r}, {reason}.")


def json_kind(value: object) -> str:
    """Return the narrowest JSON Schema type of a JSON value: 1.0 is an integer. TypeError for what is no JSON value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "integer" if value.is_integer() else "number"
    if isinstance(value, list):
        return "array"
    if isinstance(value, dict):
        return "object"
    raise TypeError(f"expected a JSON value, got {type(value).__name__}")


def json_key(value: object) -> object:
    """Return something hashable that is equal for equal JSON values: 1 and 1.0 are equal, 1 and true are not."""
    if isinstance(value, list):
        return ("array", tuple([json_key(item) for item in value]))
    if isinstance(value, dict):
        return ("object", frozenset([(name, json_key(item)) for name, item in value.items()]))
    return (isinstance(value, bool), value)


def schema_evidence(value: object) -> str:
    """Return a value as a message shows it: its repr, cut to 80 characters."""
    # What may be huge never comes to repr, which raises for integers of more than 4,300 digits.
    if isinstance(value, int) and value.bit_length() > 1000:
        return "a number of more than 300 digits"
    if isinstance(value, (list, dict)) and len(value) > 20:
        return f"{SCHEMA_KINDS[json_kind(value)]} of {len(value)} members"
    text = repr(_beginning(value, 2 * _EVIDENCE))
    return text if len(text) <= _EVIDENCE else text[: _EVIDENCE - 3] + "..."


def _beginning(value: object, room: int) -> object:
    """Return a JSON value of which the repr begins in the same way for `room` characters, and is not much longer."""
    if isinstance(value, str):
        return value[:room]
    if isinstance(value, list):
        return [part for _, part in _beginning_of(enumerate(value), room)]
    if isinstance(value, dict):
        return dict(_beginning_of(value.items(), room))
    return value


def _beginning_of(
    members: typing.Iterable[tuple[typing.Any, object]], room: int
) -> typing.Iterator[tuple[typing.Any, object]]:
    for name, part in members:
        if room <= 0:
            return
        begun = _beginning(name, room), _beginning(part, room - 1)
        room -= len(repr(begun)) // 2  # at the least: of a list's members there is no name
        yield begun


def decimal_parts(number: float) -> tuple[int, int]:
    """Return (m, e) with number = m * 10**e exactly as it is written in decimal: 0.1 is (1, -1)."""
    if isinstance(number, int):
        return number, 0
    mantissa, _, exponent = repr(number).partition("e")
    whole, _, fraction = mantissa.partition(".")
    return int(whole + fraction), int(exponent or 0) - len(fraction)


def is_multiple(number: float, step: float) -> bool:
    """Say whether a number is a multiple of `step` in decimal arithmetic: 0.3 is one of 0.1."""
    (number_digits, number_exponent), (step_digits, step_exponent) = decimal_parts(number), decimal_parts(step)
    lowest = min(number_exponent, step_exponent)
    scaled = number_digits * 10 ** (number_exponent - lowest)
    return scaled % (step_digits * 10 ** (step_exponent - lowest)) == 0


# ---- the schema itself

# Keywords that hold one schema, a list of schemas, schemas by name.
_ONE = (
    *("not", "if", "then", "else", "contains", "propertyNames", "additionalProperties", "additionalItems"),
    *("unevaluatedProperties", "unevaluatedItems", "items"),
)
# Draft 2020-12, core §8.2.3.2 and §11; draft 2019-09 has $recursiveRef. An `unevaluated...` of true forbids nothing.
_UNSUPPORTED = ("$dynamicRef", "$recursiveRef", "unevaluatedProperties", "unevaluatedItems")
# The meta-schemas whose keywords are known; OpenAPI 3.1 adds none that matter.
_DIALECT = re.compile(r"https?://(?:json-schema\.org/|spec\.openapis\.org/oas/)")
_OLD_DIALECT = re.compile(r"https?://json-schema\.org/draft-0[3-7]/")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies")


def _is_number(value: object) -> bool:
    finite = float("-inf") < value < float("inf") if isinstance(value, (int, float)) else False
    return finite and not isinstance(value, bool)


def _is_count(value: object) -> bool:
    return isinstance(value, (int, float)) and _is_number(value) and json_kind(value) == "integer" and value >= 0


def _is_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_type(value: object) -> bool:
    names = value if isinstance(value, list) and value else [value]
    return all(isinstance(name, str) and name in SCHEMA_TYPES for name in names)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_dialect(value: object) -> bool:
    return isinstance(value, str) and _DIALECT.match(value) is not None


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_bound(value: object) -> bool:
    return _is_flag(value) or _is_number(value)


def _is_step(value: object) -> bool:
    return isinstance(value, (int, float)) and _is_number(value) and value > 0


def _is_choice(value: object) -> bool:
    return isinstance(value, list) and bool(value)


def _is_name_map(value: object) -> bool:
    return isinstance(value, dict) and all(_is_names(names) for names in value.values())


# By keyword: what its value must be, as a check and in words. Schemas in it are checked when the walk comes to them.
_SHAPES: dict[str, tuple[typing.Callable[[object], bool], str]] = {
    "type": (_is_type, f"one or a list of {', '.join(repr(name) for name in SCHEMA_TYPES)}"),
    "enum": (_is_choice, "a list of at least one value"),
    "required": (_is_names, "a list of property names"),
    "dependentRequired": (_is_name_map, "an object of lists of property names"),
    "$schema": (_is_dialect, "one of json-schema.org's, such as 'https://json-schema.org/draft/2020-12/schema'"),
    "pattern": (_is_text, "a regular expression"),
    "format": (_is_text, "a string"),
    "$ref": (_is_text, "a reference such as '#/$defs/Name'"),
    "uniqueItems": (_is_flag, "a boolean"),
    "nullable": (_is_flag, "a boolean"),
    "minimum": (_is_number, "a number"),
    "maximum": (_is_number, "a number"),
    "exclusiveMinimum": (_is_bound, "a number"),
    "exclusiveMaximum": (_is_bound, "a number"),
    "multipleOf": (_is_step, "a number above 0"),
    "allOf": (_is_choice, "a list of at least one schema"),
    "anyOf": (_is_choice, "a list of at least one schema"),
    "oneOf": (_is_choice, "a list of at least one schema"),
}
_SHAPES.update(
    (f"{bound}{what}", (_is_count, "an integer of 0 or more"))
    for bound in ("min", "max")
    for what in ("Length", "Items", "Properties", "Contains")
)
# What says nothing beside a `$ref` in draft-07 (core §8.3) and before. Places that references lead to stay.
_NOT_BESIDE = frozenset(("const", *_SHAPES, *_ONE, *_LISTS, *_MAPS)) - {"$ref", "$schema", "$defs", "definitions"}


class SchemaDocument:
    """A schema that is well formed: its parts, references and patterns.

    `root` is the schema as its dialect reads it. `parts` has each schema within it, with its path, by id(); `root`
    keeps them alive. `budget` pays for all that is done with the schema, here and elsewhere.
    """

    __slots__ = (
        "root", "parts", "budget", "_pattern_budget", "_names", "_patterns", "_enum_keys", "_required", "_targets",
    )  # fmt: skip

    def __init__(self, root: JsonSchema, budget: Budget | None = None) -> None:
        """Walk through `root`; SchemaError where it is malformed or too large, or a reference leads nowhere.

        Raises BudgetSpent, here and later, when the budget is used up.
        """
        self.budget = budget = budget or Budget(_SCHEMA_STEPS, "The JSON Schema", pauses=True)
        _check_extent(root, budget)
        if isinstance(root, dict) and _is_dialect(root.get("$schema")) and _OLD_DIALECT.match(root["$schema"]):
            root = _references_alone(root)
        self.root: JsonSchema = root
        self._pattern_budget = PatternBudget(work=budget)
        self.parts: dict[int, tuple[dict[str, typing.Any], SchemaPath]] = {}
        self._names: dict[str, JsonSchema] = {}  # given by $id, $anchor, and draft-04's id
        self._patterns: dict[str, Pattern] = {}
        self._enum_keys: dict[int, frozenset[object]] = {}
        self._required: dict[int, tuple[object, tuple[str, ...]]] = {}  # with the schema, which must not be collected
        self._targets: dict[str, JsonSchema] = {}
        references: list[tuple[str, SchemaPath]] = []
        self._walk(root, (), references)
        while references:
            reference, path = references.pop()
            self._walk(self.target(reference, path), path, references)

    def target(self, reference: str, path: SchemaPath = ()) -> JsonSchema:
        """Return the schema that a `$ref` names; `path` is for the SchemaError when there is none."""
        known = self._targets.get(reference)
        if known is None:
            known = self._targets[reference] = self._find_target(reference, path)
        return known

    def _find_target(self, reference: str, path: SchemaPath) -> JsonSchema:
        self.budget.spend(1 + len(reference) // 20)
        base = self.root.get("$id") if isinstance(self.root, dict) else None
        local = reference[len(base) :] if isinstance(base, str) and reference.startswith(base) else reference
        if local in ("", "#"):
            return self.root
        if reference in self._names or local in self._names:
            return self._names[reference if reference in self._names else local]
        found = _resolve_json_pointer(self.root, local[1:]) if local.startswith("#/") else None
        if found is None:
            reason = f"$ref {schema_evidence(reference)} leads nowhere: expected a place such as '#/$defs/Name'"
            raise SchemaError(path, reason)
        return typing.cast(JsonSchema, found)

    def pattern(self, source: str, path: SchemaPath = ()) -> Pattern:
        """Return a pattern of the schema, which is read once; SchemaError, at `path`, when it is malformed."""
        if source not in self._patterns:
            try:
                self._pattern_budget.spend(2 * len(source))
                self._patterns[source] = Pattern(source)
            except PatternError as exc:
                raise SchemaError(path, f"pattern {schema_evidence(source)}: {exc}") from exc
        return self._patterns[source]

    def matches(self, source: str, text: str) -> bool:
        """Say whether a pattern of the schema is found in `text`; SchemaError when that costs too much."""
        try:
            return self.pattern(source).matches(text, self._pattern_budget)
        except PatternError as exc:
            raise SchemaError((), f"pattern {schema_evidence(source)}: {exc}") from exc

    def texts(self, source: str, low: int, high: int, turn: int) -> typing.Iterator[str]:
        """Yield texts that match a pattern of the schema, as Pattern.examples does."""
        self.budget.spend(200)  # for its tries, which cost as much even where no text can be so long
        try:
            yield from self.pattern(source).examples(low, high, turn, self._pattern_budget)
        except PatternError as exc:
            raise SchemaError((), f"pattern {schema_evidence(source)}: {exc}") from exc

    def enum_keys(self, schema: dict[str, typing.Any]) -> frozenset[object]:
        """Return the json_key of each value of the schema's enum."""
        keys = self._enum_keys.get(id(schema))
        if keys is None:
            keys = self._enum_keys[id(schema)] = frozenset([self._key(value) for value in schema["enum"]])
        return keys

    def _key(self, value: object) -> object:
        self.budget.spend(json_extent(value))
        return json_key(value)

    def required_names(self, schema: dict[str, typing.Any]) -> tuple[str, ...]:
        """Return the names that a schema requires, each once."""
        known = self._required.get(id(schema))
        if known is None:
            self.budget.spend(1 + len(schema["required"]) // 10)
            known = self._required[id(schema)] = (schema, tuple(dict.fromkeys(schema["required"])))
        return known[1]

    def property_schemas(self, schema: JsonSchema, name: str) -> list[JsonSchema]:
        """Return the schemas that one schema has for the property `name`."""
        if isinstance(schema, bool):
            return []
        found = [schema["properties"][name]] if name in schema.get("properties", ()) else []
        for source, part in schema.get("patternProperties", {}).items():
            if self.matches(source, name):
                found.append(part)
        if not found and "additionalProperties" in schema:
            found.append(schema["additionalProperties"])
        return found

    def _walk(self, root: JsonSchema, start: SchemaPath, references: list[tuple[str, SchemaPath]]) -> None:
        queue: list[tuple[object, SchemaPath]] = [(root, start)]
        while queue:
            schema, path = queue.pop()
            if isinstance(schema, bool) or id(schema) in self.parts:
                continue
            if not isinstance(schema, dict):
                raise SchemaError(path, f"expected a schema (an object or a boolean), got {schema_evidence(schema)}")
            self.parts[id(schema)] = (schema, path)
            self.budget.spend(_SCHEMA_STEPS_A_PART)
            self._check_shapes(schema, path)
            parts = list(_parts(schema, path))
            for source in schema.get("patternProperties", ()):
                self.pattern(source, path)
            self._remember(schema, path)
            if "$ref" in schema:
                references.append((schema["$ref"], path))
            queue.extend((part, path + steps) for steps, part in reversed(parts))

    def _refuse_unsupported(self, schema: dict[str, typing.Any], path: SchemaPath) -> None:
        for keyword in _UNSUPPORTED:
            if keyword in schema and schema[keyword] is not True and schema[keyword] != {}:
                raise SchemaError(path, f"{keyword!r} is not supported here")

    def _check_shapes(self, schema: dict[str, typing.Any], path: SchemaPath) -> None:
        self._refuse_unsupported(schema, path)
        for keyword, value in schema.items():
            if keyword not in _SHAPES:
                continue
            holds, expected = _SHAPES[keyword]
            if not holds(value):
                raise SchemaError(path, f"{keyword!r} must be {expected}, got {schema_evidence(value)}")
        if "pattern" in schema:
            self.pattern(schema["pattern"], path)

    def _remember(self, schema: dict[str, typing.Any], path: SchemaPath) -> None:
        for keyword, prefix in (("$id", ""), ("id", ""), ("$anchor", "#"), ("$dynamicAnchor", "#")):
            name = schema.get(keyword)
            if isinstance(name, str) and (path or prefix):
                self._names.setdefault(prefix + name, schema)


def _references_alone(schema: typing.Any) -> typing.Any:
    """Return a schema in which nothing that would count stands beside a `$ref`."""
    if not isinstance(schema, dict):
        return schema
    ruled = "$ref" in schema
    alone = {}
    for keyword, value in schema.items():
        if ruled and keyword in _NOT_BESIDE:
            continue
        if isinstance(value, list) and (keyword in _LISTS or keyword == "items"):
            value = [_references_alone(part) for part in value]
        elif isinstance(value, dict) and keyword in _MAPS:
            value = {name: _references_alone(part) for name, part in value.items()}
        elif keyword in _ONE:
            value = _references_alone(value)
        alone[keyword] = value
    return alone


def _parts(schema: dict[str, typing.Any], path: SchemaPath) -> typing.Iterator[tuple[SchemaPath, object]]:
    """Yield the schemas right within a schema, with the keys that lead to them."""
    for keyword, value in schema.items():
        if keyword in _LISTS or (keyword == "items" and isinstance(value, list)):
            if not isinstance(value, list):
                raise SchemaError(path, f"{keyword!r} must be a list of schemas, got {schema_evidence(value)}")
            yield from (((keyword, str(place)), part) for place, part in enumerate(value))
        elif keyword in _ONE:
            yield (keyword,), value
        elif keyword in _MAPS:
            if not isinstance(value, dict):
                raise SchemaError(path, f"{keyword!r} must be an object of schemas, got {schema_evidence(value)}")
            for name, part in value.items():
                # Draft-07's `dependencies` may have lists of names in the place of schemas.
                if keyword != "dependencies" or not _is_names(part):
                    yield (keyword, name), part


def _check_extent(root: object, budget: Budget) -> None:
    """Raise SchemaError for a schema that is too large, or nests so deeply that recursion (repr's, too) would fail."""
    queue = [(root, 0)]
    count = 0
    while queue:
        value, depth = queue.pop()
        count += 1
        budget.spend()
        if count > MAX_SCHEMA_VALUES:
            raise SchemaError((), f"the schema has more than {MAX_SCHEMA_VALUES} values in it")
        if depth > MAX_SCHEMA_NESTING:
            raise SchemaError((), f"the schema nests more than {MAX_SCHEMA_NESTING} levels deep")
        if isinstance(value, (dict, list)):
            queue.extend((part, depth + 1) for part in (value.values() if isinstance(value, dict) else value))


def json_extent(value: object) -> int:
    """Return how many JSON values a value is made of."""
    if isinstance(value, (dict, list)):
        return 1 + sum(json_extent(part) for part in (value.values() if isinstance(value, dict) else value))
    return 1


def _resolve_json_pointer(root: object, pointer: str) -> object:
    """Return what a JSON pointer leads to (RFC 6901 §4, and §6 for percent-encoding), None when it leads nowhere."""
    found = root
    for token in _decode_percent(pointer).split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict) and key in found:
            found = found[key]
        elif isinstance(found, list) and re.fullmatch(r"0|[1-9][0-9]{0,5}", key) and int(key) < len(found):
            found = found[int(key)]
        else:
            return None
    return found


def _decode_percent(text: str) -> str:
    raw = re.sub(rb"%([0-9A-Fa-f]{2})", lambda found: bytes.fromhex(found[1].decode()), text.encode("utf-8", "replace"))
    return raw.decode("utf-8", "replace")


def tuple_items(schema: dict[str, typing.Any]) -> tuple[list[JsonSchema], JsonSchema]:
    """Return the schemas of the first items, one each, and the schema of all others; by new or old keywords."""
    items = schema.get("items", True)
    if isinstance(items, list):
        return items, schema.get("additionalItems", True)
    return schema.get("prefixItems", []), items


def number_bounds(schema: dict[str, typing.Any]) -> list[tuple[str, float, bool]]:
    """Return each bound of a schema: its keyword, the limit, and whether the limit itself is excluded.

    Draft-04's boolean `exclusiveMinimum` is no bound; it excludes the limit of `minimum`.
    """
    bounds: list[tuple[str, float, bool]] = []
    for keyword in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
        limit = schema.get(keyword)
        if limit is not None and not isinstance(limit, bool):
            strict = keyword.startswith("exclusive") or schema.get(f"exclusive{keyword.capitalize()}") is True
            bounds.append((keyword, limit, strict))
    return bounds
