"""Values made up for a schema: valid, plausible, always the same, in bounded time."""

from __future__ import annotations

import copy
import json
import random

import pytest
from json_schemas import violations
from steps import steps_of

from protocol.mock.answer.hints import Hints, read_hints
from protocol.mock.answer.instance import instance
from protocol.mock.json_schema.document import SchemaError

STRING, INTEGER, NUMBER, NULL = {"type": "string"}, {"type": "integer"}, {"type": "number"}, {"type": "null"}


def record(required, **properties):
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def string(pattern, **others):
    return {"type": "string", "pattern": pattern, **others}


# Libraries' output, as it comes: Pydantic's references and titles, Zod's patterns beside formats.
DOG = record(["kind", "bark", "friends"], kind={"const": "dog", "type": "string"}, bark=STRING,
             friends={"items": {"discriminator": {"propertyName": "kind"}, "oneOf": [{"$ref": "#/$defs/Cat"},
                      {"$ref": "#/$defs/Dog"}]}, "type": "array"})  # fmt: skip
PETS = {
    "$defs": {"Cat": record(["kind", "lives"], kind={"const": "cat", "type": "string"}, lives=INTEGER), "Dog": DOG},
    "discriminator": {"mapping": {"cat": "#/$defs/Cat", "dog": "#/$defs/Dog"}, "propertyName": "kind"},
    "oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}],
}
LINKED = {
    "$ref": "#/$defs/Node",
    "$defs": {"Node": record(["value", "next"], value=INTEGER, next={"anyOf": [{"$ref": "#/$defs/Node"}, NULL]})},
}
EXPRESSION = {
    "$defs": {
        "Op": record(["op", "left", "right"], op={"enum": ["+", "-"]}, left={"$ref": "#/$defs/Expr"},
                     right={"$ref": "#/$defs/Expr"}),
        "Expr": {"anyOf": [{"$ref": "#/$defs/Op"}, INTEGER]},
    },
    "$ref": "#/$defs/Expr",
}  # fmt: skip
ZOD_EMAIL = r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$"
ZOD_TIME = r"^(?:(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d+)?)?)$"
ALTERNATING = {"allOf": [{"contains": {"type": "boolean"}}, {"contains": STRING, "minContains": 2}]}

SATISFIABLE = [
    ("true", True),
    ("empty", {}),
    ("string", STRING),
    ("string_of_length", {"type": "string", "minLength": 40, "maxLength": 44}),
    ("one_character", {"type": "string", "minLength": 1, "maxLength": 1}),
    ("empty_string", {"type": "string", "maxLength": 0}),
    ("integer_in_range", {"type": "integer", "minimum": 18, "exclusiveMaximum": 120}),
    ("negative_integer", {"type": "integer", "maximum": -3}),
    ("narrow_integer", {"type": "integer", "minimum": 1.5, "maximum": 2.5}),
    ("multiple", {"type": "integer", "multipleOf": 7, "minimum": 50}),
    ("decimal_multiple", {"type": "number", "multipleOf": 0.01, "exclusiveMinimum": 0, "maximum": 0.03}),
    ("two_multiples", {"multipleOf": 4, "allOf": [{"multipleOf": 6}], "minimum": 1}),
    ("open_interval", {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.001}),
    ("next_float", {"type": "number", "exclusiveMinimum": 1, "maximum": 1.0000000000000002}),
    ("draft_04_bounds", {"type": "integer", "minimum": 3, "exclusiveMinimum": True, "maximum": 4}),
    ("number_beyond_floats", {"type": "integer", "minimum": 10**400}),
    ("enum", {"enum": ["a", "b"]}),
    ("enum_cut_down", {"enum": [1, "a", None], "type": "string"}),
    ("const_object", {"const": {"a": [1]}}),
    ("boolean", {"type": "boolean"}),
    ("types", {"type": ["null", "string"]}),
    ("nullable", {"type": "string", "nullable": True}),
    *((f"format_{name}", {"type": "string", "format": name}) for name in ("date-time", "uuid", "ipv6", "uri", "x")),
    ("long_uri", {"type": "string", "format": "uri", "minLength": 200, "maxLength": 2083}),
    ("short_email", {"type": "string", "format": "email", "maxLength": 9}),
    ("zod_email", string(ZOD_EMAIL, format="email")),
    ("zod_time", string(ZOD_TIME, format="time")),
    ("zod_starts_and_ends", {"type": "string", "allOf": [string("^https://.*"), string(r".*\.png$")]}),
    ("pattern_with_length", string("^[a-z]+$", minLength=12, maxLength=12)),
    ("password", string(r"^(?=.*[A-Z])(?=.*\d)(?=.*[!?]).{8,}$", maxLength=12)),
    ("not_the_first_guess", {"type": "string", "not": {"pattern": "^text"}}),
    ("array", {"type": "array", "items": INTEGER, "minItems": 3}),
    ("unique_booleans", {"type": "array", "items": {"type": "boolean"}, "uniqueItems": True, "minItems": 2}),
    ("unique_characters", {"items": {"maxLength": 1, **STRING}, "uniqueItems": True, "minItems": 20}),
    ("unique_after_a_turn", {"prefixItems": [{"enum": [None, 1]}, NULL], "minItems": 2, "uniqueItems": True}),
    ("tuple", {"type": "array", "prefixItems": [STRING, NUMBER], "items": False, "minItems": 2}),
    ("tuple_of_draft_07", {"type": "array", "items": [STRING, NUMBER], "additionalItems": NULL, "minItems": 3}),
    ("contains", {"type": "array", "items": NUMBER, "contains": {"minimum": 100}, "minContains": 2, "maxContains": 2}),
    ("contains_behind_the_tuple", {"prefixItems": [STRING, STRING], "items": NUMBER, "contains": NUMBER}),
    ("contains_two_kinds", {"type": "array", "prefixItems": [{}, {}], "items": {"type": "boolean"}, **ALTERNATING}),
    ("contains_few", {"type": "array", "contains": STRING, "maxContains": 1, "minItems": 4}),
    ("equal_items", {"not": {"uniqueItems": True}, "type": "array"}),
    ("object", record(["a"], a=STRING, b=NUMBER, c=NULL)),
    ("map", {"type": "object", "additionalProperties": INTEGER}),
    ("map_with_size", {"type": "object", "additionalProperties": INTEGER, "minProperties": 3, "maxProperties": 3}),
    ("names_from_an_enum", {"type": "object", "propertyNames": {"enum": ["x", "y"]}, "minProperties": 2}),
    ("names_from_a_pattern", {"patternProperties": {r"^id-\d+$": INTEGER}, "additionalProperties": False,
                              "minProperties": 2}),
    ("few_properties", {"type": "object", "properties": {"a": {}, "b": {}, "c": {}}, "maxProperties": 1}),
    ("impossible_options", record([], a=False, b={"minimum": 5, "maximum": 4, **INTEGER}, c=STRING)),
    ("required_without_schema", {"type": "object", "required": ["x"]}),
    ("dependent_required", {"properties": {"a": STRING}, "dependentRequired": {"a": ["b"], "b": ["c"]}}),
    ("dependent_impossible", {"properties": {"a": STRING, "b": False}, "dependentRequired": {"a": ["b"]}}),
    ("dependent_schemas", {"properties": {"a": {}}, "dependentSchemas": {"a": {"required": ["b"]}}}),
    ("draft_07_dependencies", {"properties": {"a": {}}, "dependencies": {"a": ["b"], "b": {"required": ["c"]}}}),
    ("all_of", {"allOf": [record(["a"], a=STRING, b=NUMBER), {"required": ["b"]}]}),
    ("any_of_meets_base", {"type": "integer", "anyOf": [STRING, {"minimum": 10}]}),
    ("one_of_by_required", {"type": "object", "properties": {"a": {}, "b": {}},
                            "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}),
    ("one_of_by_exclusion", {"oneOf": [STRING, {"type": "string", "minLength": 3}]}),
    ("not_type", {"not": {"type": ["string", "number", "object"]}}),
    ("not_required", {"type": "object", "properties": {"a": {}, "b": {}}, "not": {"required": ["a"]}}),
    ("not_any_of", {"type": "integer", "not": {"anyOf": [{"maximum": 10}, {"multipleOf": 2}]}}),
    ("not_items", {"type": "array", "not": {"items": STRING}}),
    ("not_contains", {"type": "array", "minItems": 1, "not": {"contains": STRING}}),
    ("not_not", {"not": {"not": {"const": 7}}}),
    ("not_reference", {"type": "integer", "not": {"$ref": "#/$defs/Low"}, "$defs": {"Low": {"maximum": 1000}}}),
    ("then", {"properties": {"a": {"enum": ["x", "y"]}}, "required": ["a"],
              "if": {"properties": {"a": {"const": "x"}}}, "then": {"required": ["b"]}, "else": {"required": ["c"]}}),
    ("else", {"type": "integer", "if": {"maximum": 100}, "then": False, "else": {"multipleOf": 10}}),
    ("linked_list", LINKED),
    ("discriminated_union", PETS),
    ("expression", EXPRESSION),
    ("recursive_by_root", record(["children"], children={"type": "array", "items": {"$ref": "#"}})),
    ("two_ways_out", {"$ref": "#/$defs/A", "$defs": {"A": record(["b"], b={"$ref": "#/$defs/B"}),
                                                       "B": {"anyOf": [{"$ref": "#/$defs/A"}, {"type": "array"}]}}}),
    ("default_and_examples", record(["a"], a={"default": 7, **INTEGER}, b={"examples": [5, "seven"], **STRING})),
    ("example_that_does_not_fit", {"type": "integer", "examples": ["x"], "default": "y", "minimum": 3}),
]  # fmt: skip


@pytest.mark.parametrize("schema", [row[1] for row in SATISFIABLE], ids=[row[0] for row in SATISFIABLE])
def test_makes_valid_values_for_every_seed(schema):
    untouched = copy.deepcopy(schema)
    for seed in range(8):
        value = instance(schema, seed)
        assert violations(value, schema) == []
        assert json.loads(json.dumps(value)) == value
        assert json.dumps(instance(copy.deepcopy(schema), seed)) == json.dumps(value)
    assert schema == untouched


READABLE = [
    ("weather_tool", record(["location"], location=STRING, unit={"enum": ["celsius", "kelvin"]}, days=INTEGER),
     {"location": "Paris", "unit": "celsius", "days": 1}),
    ("reasoning", record(["steps", "finalAnswer"], steps={"type": "array", "items": STRING}, finalAnswer=STRING),
     {"steps": ["step"], "finalAnswer": "final answer"}),
    ("known_names", record([], first_name=STRING, email=STRING, website_url=STRING),
     {"first_name": "Ada", "email": "user@example.com", "website_url": "https://example.com/page"}),
    ("numbers", record([], score={"minimum": 0, "maximum": 1, **NUMBER}, price=NUMBER, count=INTEGER),
     {"score": 0.7, "price": 1.5, "count": 1}),
    ("first_of_the_union", record([], a={"anyOf": [INTEGER, NULL], "default": None}), {"a": 1}),
    ("items_that_differ", {"type": "array", "items": STRING, "minItems": 3}, ["text", "text 2", "text 3"]),
    ("map", {"type": "object", "additionalProperties": INTEGER}, {"key": 1}),
    ("own_examples", {"type": "string", "default": "b", "examples": ["a"]}, "a"),
    ("default_that_says_something", {"type": "integer", "default": 42}, 42),
    ("order_of_properties", {"required": ["b"], "properties": {"b": NULL, "a": NULL}}, {"b": None, "a": None}),
    ("recursion_ends_soon", LINKED, {"value": 1, "next": {"value": 1, "next": None}}),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "value"), [row[1:] for row in READABLE], ids=[row[0] for row in READABLE])
def test_seed_0_gives_plausible_values(schema, value):
    assert json.dumps(instance(schema)) == json.dumps(value)


def test_seeds_give_different_values():
    schema = record(["a", "b"], a=STRING, b={"enum": [1, 2, 3]})
    assert len({json.dumps(instance(schema, seed)) for seed in range(10)}) >= 8


def test_turns_give_successive_values():
    schema = record(["a", "b"], a=STRING, b=INTEGER)
    values = [instance(schema, turn=turn) for turn in range(50)]
    assert values[0] == instance(schema)
    assert len({json.dumps(value) for value in values}) == 50
    assert [violations(value, schema) for value in values] == [[]] * 50


def test_the_answer_is_no_part_of_the_schema():
    schema = {"type": "object", "default": {"tags": ["a"]}}
    instance(schema)["tags"].append("b")
    assert schema["default"] == {"tags": ["a"]}


HINTED = [
    ("quoted_string", record(["city"], city=STRING), 'Weather in "Oslo"?', {"city": "Oslo"}),
    ("number", record(["days"], days=INTEGER), "the next 5 days", {"days": 5}),
    ("number_out_of_range", record(["days"], days={"maximum": 3, **INTEGER}), "the next 5 days", {"days": 1}),
    ("fraction", record(["x"], x=NUMBER, n=INTEGER), "take 2.5", {"x": 2.5, "n": 1}),
    ("word_of_an_enum", {"enum": ["celsius", "fahrenheit"]}, "in Fahrenheit, please", "fahrenheit"),
    ("words_of_an_enum", {"enum": ["low", "very_high"]}, "it is very high", "very_high"),
    ("format_is_kept", record([], day={"format": "date", **STRING}), "'soon' or '2030-05-01'", {"day": "2030-05-01"}),
    ("used_once_each", {"type": "array", "items": STRING, "minItems": 3}, '"a" "b"', ["a", "b", "text 3"]),
    ("apostrophes", record([], a=STRING), "don't say that it's so", {"a": "a"}),
    ("not_for_objects", {"properties": {"a": INTEGER}}, '"x"', {"a": 1}),
    ("numbers_beside_their_units", record(["guests", "nights"], guests=INTEGER, nights=INTEGER), "3 nights, 2 guests",
     {"guests": 2, "nights": 3}),
    ("number_after_its_name", record(["a", "age"], a=INTEGER, age=INTEGER), "7 at age 36", {"a": 7, "age": 36}),
    ("prepositions", record(["origin", "destination"], origin=STRING, destination=STRING), "to Rome from Oslo",
     {"origin": "Oslo", "destination": "Rome"}),
    ("labels", record([], title=STRING, note=STRING), "note: buy milk, title=Tea",
     {"title": "Tea", "note": "buy milk"}),
    ("addresses", record([], city=STRING, email=STRING, url=STRING), "a@b.co, https://x.org/y. In Bonn",
     {"city": "Bonn", "email": "a@b.co", "url": "https://x.org/y"}),
    ("date_in_words", record([], day={"format": "date", **STRING}), "on May 5, 2031", {"day": "2031-05-05"}),
    ("before_the_default", {"properties": {"city": {"default": "Rome", **STRING}}}, "hot in Oslo?", {"city": "Oslo"}),
    ("free_number_after_the_default", {"properties": {"limit": {"default": 9, **INTEGER}}}, "5", {"limit": 9}),
    ("flag_denied", record([], alerts={"type": "boolean"}), "without alerts", {"alerts": False}),
    ("flag_off", record([], on={"type": "boolean"}), "switch it off", {"on": False}),
    ("members_in_order", record([], a={"enum": ["km", "mi"]}, b={"enum": ["km", "mi"]}), "mi to km",
     {"a": "mi", "b": "km"}),
    ("members_by_preposition", record([], from_unit={"enum": ["km", "mi"]}, to_unit={"enum": ["km", "mi"]}),
     "to km from mi", {"from_unit": "mi", "to_unit": "km"}),
    ("items_by_the_list", record([], people={"type": "array", "items": STRING}), "Meet with Ann, Bob and Joe",
     {"people": ["Ann", "Bob", "Joe"]}),
    ("sums", record([], expression=STRING, a=INTEGER), "so 2 + 3 * 4", {"expression": "2 + 3 * 4", "a": 2}),
    ("chinese", record([], city=STRING, days=INTEGER), "我在北京住3天", {"city": "北京", "days": 3}),
    ("not_lost_in_a_wrong_branch", {"oneOf": [record(["a", "b"], a=INTEGER, b=False), record(["c"], c=INTEGER)]}, "9",
     {"c": 9}),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "prompt", "value"), [row[1:] for row in HINTED], ids=[row[0] for row in HINTED])
def test_uses_what_the_prompt_mentions_where_it_fits(schema, prompt, value):
    assert instance(schema, hints=read_hints(prompt)) == value


def test_hints_are_found_in_a_prompt():
    found = read_hints("Give 'two words', \u201cx\u201d and \"y\": -3, 2.50 or v7; not 1.2.3, isn't it?")
    assert found.values == ("two words", "x", "y", -3, 2.5)
    assert {"give", "two", "isn"} <= set(found.words)
    assert read_hints("") == Hints()


IMPOSSIBLE = [
    ("false", False, (), "the schema false admits no value"),
    ("crossed_bounds", record(["age"], age={"minimum": 5, "maximum": 3, **INTEGER}), ("properties", "age"),
     "minimum 5 is above maximum 3"),
    ("no_integer_between", {"minimum": 1.2, "maximum": 1.8, **INTEGER}, (), "no integer lies from 1.2 up to 1.8"),
    ("no_multiple_between", {"multipleOf": 5, "minimum": 6, "maximum": 9, **NUMBER}, (), "no multiple of 5 lies from"),
    ("crossed_lengths", {"minLength": 5, "maxLength": 3, **STRING}, (), "minLength 5 is above maxLength 3"),
    ("crossed_sizes", {"type": "array", "minItems": 2, "maxItems": 1}, (), "minItems 2 is above maxItems 1"),
    ("types_exclude_each_other", {"allOf": [STRING, INTEGER]}, (), "no value was found"),
    ("enum_of_another_type", {"enum": [1, 2], "type": "string"}, (), "none of [1, 2] satisfies"),
    ("pattern_against_length", string("^a{5}$", maxLength=3), (), "no string of 0 to 3 characters was found"),
    ("patterns_against_each_other", {"type": "string", "allOf": [string("^a"), string("^b")]}, (), "'^a' and '^b'"),
    ("not_enough_different_items", {"type": "array", "items": {"type": "boolean"}, "uniqueItems": True, "minItems": 3},
     ("items",), "no item was found that differs from the 2 before it"),
    ("too_many_required", {"type": "object", "required": ["a", "b"], "maxProperties": 1}, (), "2 properties are"),
    ("required_but_not_allowed", {"type": "object", "required": ["a"], "additionalProperties": False},
     ("properties", "a"), "the schema false admits no value"),
    ("required_name_not_allowed", {"type": "object", "required": ["ab"], "propertyNames": {"maxLength": 1}}, (),
     "'ab' is not allowed by propertyNames"),
    ("no_more_names", {"type": "object", "propertyNames": {"enum": ["a"]}, "minProperties": 2}, (), "only 1 prop"),
    ("no_room_to_contain", {"type": "array", "items": STRING, "contains": INTEGER}, (), "no room for what"),
    ("without_an_end", record(["next"], next={"$ref": "#"}), (), "would have to contain another one"),
    ("each_within_the_other", {"$ref": "#/$defs/A", "$defs": {
        "A": record(["b"], b={"$ref": "#/$defs/B"}),
        "B": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/A"}},
    }}, (), "would have to contain another one"),
    ("itself", {"$ref": "#"}, (), "would have to contain another one"),
    ("contradiction", {"type": "string", "not": {"type": "string"}}, (), "no value was found"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("schema", "path", "reason"), [row[1:] for row in IMPOSSIBLE], ids=[row[0] for row in IMPOSSIBLE]
)
def test_says_why_nothing_satisfies_a_schema(schema, path, reason):
    with pytest.raises(SchemaError) as caught:
        instance(schema)
    assert caught.value.path == path
    assert reason in caught.value.reason


def doubled(keyword, depth, leaf):
    parts = {f"L{at}": {keyword: [{"$ref": f"#/$defs/L{at - 1}"}] * 2} for at in range(1, depth)}
    return {"$ref": f"#/$defs/L{depth - 1}", "$defs": {"L0": leaf, **parts}}


def chained(length, last):
    parts = {f"C{at}": record(["x"], x={"$ref": f"#/$defs/C{at + 1}"}) for at in range(length)}
    return {"$ref": "#/$defs/C0", "$defs": {**parts, f"C{length}": last}}


def many(items):
    return {"type": "array", "minItems": 1000, "items": items}


def wide(count, make):
    return [make(at) for at in range(count)]


UNSATISFIED = string("^(?=b)a")
HOSTILE = [
    ("billion_items", {"type": "array", "minItems": 10**9}, "minItems 1000000000 is above"),
    ("billion_characters", {"type": "string", "minLength": 10**9}, "minLength 1000000000 is above"),
    ("billion_properties", {"type": "object", "minProperties": 10**9}, "minProperties 1000000000 is above"),
    ("billion_contained", {"type": "array", "contains": {}, "minContains": 10**9}, "minContains 1000000000 is above"),
    ("arrays_of_arrays", many(many(many({}))), "gave up after"),
    ("great_literals", many({"const": list(range(5000))}), "gave up after"),
    ("long_strings", many({"type": "string", "minLength": 10_000}), "more than 1000000 characters"),
    ("long_names", many({"required": ["n" * 10_000], "type": "object"}), "more than 1000000 characters"),
    ("doubled_all_of", doubled("allOf", 50, STRING), "gave up after"),
    ("doubled_any_of", doubled("anyOf", 50, {"minLength": 5, "maxLength": 3, **STRING}), "gave up after"),
    ("doubled_one_of", doubled("oneOf", 50, STRING), "gave up after"),
    ("deep", chained(100, STRING), "more than 32 levels deep"),
    ("many_choices", {"allOf": wide(2000, lambda at: {"anyOf": [STRING, NULL]})}, "more than 64 choices"),
    ("many_impossible_branches", {"anyOf": wide(2000, lambda at: string(f"^(?=b)a{at}"))}, "too many steps"),
    ("many_equal_branches", {"oneOf": wide(2000, lambda at: STRING)}, "gave up after"),
    ("pattern_bomb", many(string("^(a+)+$", minLength=5000)), "too many steps"),
    ("pattern_too_wide", string("^((a{1000}){1000}){1000}$"), "no string of"),
    ("own_opposite", {"not": {"$ref": "#"}}, "may lead back to itself"),
    ("own_condition", {"if": {"$ref": "#"}, "then": {"$ref": "#"}, "else": {"$ref": "#"}}, "may lead back to itself"),
    ("wide_and_deep", {"$ref": "#/$defs/D20", "$defs": {"D0": UNSATISFIED, **{
        f"D{at}": {"anyOf": [record(["a"], a={"$ref": f"#/$defs/D{at - 1}"}),
                             {"type": "array", "minItems": 1, "items": {"$ref": f"#/$defs/D{at - 1}"}}]}
        for at in range(1, 21)}}}, "satisfies '^(?=b)a'"),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "reason"), [row[1:] for row in HOSTILE], ids=[row[0] for row in HOSTILE])
def test_hostile_schemas_are_refused_in_a_bounded_number_of_steps(schema, reason):
    def refused():
        with pytest.raises(SchemaError) as caught:
            instance(schema)
        return caught

    refusals = []
    assert steps_of(lambda: refusals.append(refused())) < 5_000_000
    (caught,) = refusals
    assert reason in caught.value.reason
    assert len(str(caught.value)) < 2500


LARGE = [
    ("thousand_items", many(record(["a"], a=STRING))),
    ("thousand_different", {"uniqueItems": True, **many(INTEGER)}),
    ("thousand_properties", {"type": "object", "properties": {f"p{at}": STRING for at in range(1000)}}),
    ("all_refer_to_all", {"$ref": "#/$defs/M0", "$defs": {f"M{at}": record([], **{
        f"r{to}": {"$ref": f"#/$defs/M{to}"} for to in range(20)}) for at in range(20)}}),
    ("tree", {"$ref": "#/$defs/T", "$defs": {"T": {"anyOf": [
        record(["l", "r"], l={"$ref": "#/$defs/T"}, r={"$ref": "#/$defs/T"}), NULL]}}}),
    ("chain", chained(25, STRING)),
    ("dependents", {"type": "object", "properties": {f"k{at}": {} for at in range(500)},
                    "dependentRequired": {f"k{at}": [f"k{at + 1}"] for at in range(499)}}),
]  # fmt: skip


@pytest.mark.parametrize("schema", [row[1] for row in LARGE], ids=[row[0] for row in LARGE])
def test_large_schemas_are_satisfied(schema):
    assert violations(instance(schema), schema) == []


# ---- random schemas that a known value satisfies


class SchemaAround:
    """Builds schemas around a value which satisfies them by construction."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def value(self, depth: int) -> object:
        kind = self.rng.randrange(5 if depth <= 0 else 7)
        if kind == 5:
            return [self.value(depth - 1) for _ in range(self.rng.randrange(4))]
        if kind == 6:
            return {self.rng.choice("abcdef"): self.value(depth - 1) for _ in range(self.rng.randrange(4))}
        numbers = (self.rng.randint(-20, 200), round(self.rng.uniform(-5, 5), 2))
        return (None, self.chance(0.5), *numbers, self.rng.choice(["foo", "bar12", "", "hello world"]))[kind]

    def schema(self, value: object, depth: int) -> dict:
        if self.chance(0.1):
            return {"enum": [value, 1, "q", None]}
        schema = self.own_keywords(value, depth)
        if depth > 0:
            if self.chance(0.2):
                branches = [self.schema(value, depth - 1), self.schema(self.value(1), depth - 1)]
                schema["anyOf"] = self.rng.sample(branches, 2)
            if self.chance(0.2):
                schema["allOf"] = [self.schema(value, depth - 1)]
            other = self.schema(self.value(1), depth - 1)
            if self.chance(0.3) and violations(value, other):
                schema["not" if self.chance(0.5) else "if"] = other
                schema["else"] = self.schema(value, depth - 1)
        return schema

    def own_keywords(self, value: object, depth: int) -> dict:
        if value is None or isinstance(value, bool):
            return {"type": ["null", "boolean"]}
        if isinstance(value, (int, float)):
            return {"type": "number", "minimum": value - self.rng.choice([0, 0.5, 9]), "maximum": value + 1}
        if isinstance(value, str):
            return {"type": "string", "maxLength": len(value) + self.rng.randrange(3), "pattern": r"^[a-z0-9 ]*$"}
        if isinstance(value, list):
            first = self.rng.randrange(len(value) + 1)
            rest = [self.schema(item, depth - 1) for item in value[first:]] or [{}]
            schema = {"type": "array", "minItems": len(value), "items": {"anyOf": rest}}
            if first:
                schema["prefixItems"] = [self.schema(item, depth - 1) for item in value[:first]]
            if value and self.chance(0.5):
                schema["contains"] = self.schema(self.rng.choice(value), depth - 1)
            return schema
        properties = {name: self.schema(item, depth - 1) for name, item in value.items()}
        schema = {"type": "object", "properties": properties, "minProperties": len(value)}
        schema["required"] = [name for name in value if self.chance(0.6)]
        return schema


def test_satisfies_random_schemas_that_some_value_satisfies():
    around = SchemaAround(random.Random(7))
    for round_number in range(400):
        value = around.value(3)
        schema = around.schema(value, 3)
        assert violations(value, schema) == []
        assert violations(instance(schema, round_number % 3), schema) == [], schema
