"""Values under a schema: what is valid, and the place and words of what is not."""

from __future__ import annotations

import pytest
from json_schemas import violations

from protocol.mock.json_schema.check import json_path
from protocol.mock.json_schema.document import SchemaError, decimal_parts, is_multiple, json_key, json_kind

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "tags": {"type": "array", "items": {"type": "string"}}},
    "required": ["name"],
    "additionalProperties": False,
}
TREE = {
    "$ref": "#/$defs/Node",
    "$defs": {"Node": {"type": "object", "properties": {"left": {"$ref": "#/$defs/Node"}}, "required": ["value"]}},
}

# (id, schema, valid values)
VALID = [
    ("true", True, [1, None, {}]),
    ("empty", {}, [1, None, []]),
    ("whole_float_is_an_integer", {"type": "integer"}, [1, 1.0, -0.0, 10**30]),
    ("integer_is_a_number", {"type": "number"}, [1, 1.5]),
    ("list_of_types", {"type": ["string", "null"]}, ["", None]),
    ("enum_compares_json", {"enum": [1, [1, {"a": 2}]]}, [1.0, [1.0, {"a": 2.0}]]),
    ("const_null", {"const": None}, [None]),
    ("lengths_are_code_points", {"minLength": 2, "maxLength": 2}, ["\U0001f600\U0001f600", 5]),
    ("bounds_are_inclusive", {"minimum": 1, "maximum": 2}, [1, 2, 1.5, "x"]),
    ("draft_04_exclusive_bound", {"minimum": 1, "exclusiveMinimum": True}, [1.1, 2]),
    ("draft_04_inclusive_bound", {"maximum": 1, "exclusiveMaximum": False}, [1]),
    ("decimal_multiples", {"multipleOf": 0.01}, [0.07, 1.1, 19.99, 3]),
    ("unique_items_of_two_types", {"uniqueItems": True}, [[1, True, "1", [1], {"a": 1}, 0, False]]),
    ("tuple_of_2020", {"prefixItems": [{"type": "string"}], "items": False}, [["a"], []]),
    ("tuple_of_draft_07", {"items": [{"type": "string"}], "additionalItems": False}, [["a"], []]),
    ("contains_some", {"contains": {"type": "null"}, "minContains": 2, "maxContains": 2}, [[None, 1, None]]),
    ("contains_none_is_enough", {"contains": {"type": "null"}, "minContains": 0}, [[], [1]]),
    ("pattern_names", {"patternProperties": {"^x": {"type": "null"}}, "additionalProperties": False}, [{"x1": None}]),
    ("additional_schema", {"properties": {"a": {}}, "additionalProperties": {"type": "null"}}, [{"a": 1, "b": None}]),
    ("dependent_required", {"dependentRequired": {"a": ["b"]}}, [{}, {"b": 1}, {"a": 1, "b": 2}]),
    ("draft_07_dependencies", {"dependencies": {"a": ["b"], "c": {"required": ["d"]}}}, [{"a": 1, "b": 2}, {}]),
    ("one_of", {"oneOf": [{"type": "string"}, {"minimum": 5}]}, [5, 6]),
    ("not", {"not": {"type": "string"}}, [1, None]),
    ("if_then_else", {"if": {"type": "string"}, "then": {"minLength": 1}, "else": {"type": "null"}}, ["a", None]),
    ("nullable", {"type": "string", "nullable": True}, ["a", None]),
    ("reference_with_neighbour", {"$ref": "#/definitions/A", "maximum": 5, "definitions": {"A": {"minimum": 3}}}, [4]),
    (
        "reference_alone",
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "definitions": {"A": {"type": "string"}},
            "items": {"$ref": "#/definitions/A", "maxLength": 2, "enum": ["a"]},
        },
        [["long"]],
    ),
    ("anchor", {"$ref": "#here", "$defs": {"A": {"$anchor": "here", "type": "null"}}}, [None]),
    ("own_id", {"$id": "https://x/s", "items": {"$ref": "https://x/s#/$defs/A"}, "$defs": {"A": {"const": 1}}}, [[1]]),
    ("inner_id", {"$ref": "https://x/a", "$defs": {"A": {"$id": "https://x/a", "type": "null"}}}, [None]),
    ("escaped_pointer", {"$ref": "#/$defs/a~1b%20c", "$defs": {"a/b c": {"type": "null"}}}, [None]),
    ("pointer_outside_the_keywords", {"$ref": "#/components/schemas/A", "components": {"schemas": {"A": {}}}}, [1]),
    ("recursive", TREE, [{"value": 1, "left": {"value": 2}}]),
    ("name_like_a_keyword", {"properties": {"$ref": {"type": "string"}, "enum": {"type": "null"}}}, [{"$ref": "x"}]),
    ("unknown_format", {"format": "int64"}, [1, "x"]),
    ("unknown_keyword", {"x-order": ["a"]}, [1]),
]


@pytest.mark.parametrize(("schema", "values"), [row[1:] for row in VALID], ids=[row[0] for row in VALID])
def test_admits_valid_values(schema, values):
    assert [(value, violations(value, schema)) for value in values if violations(value, schema)] == []


# (id, schema, value, path, a part of the message)
INVALID = [
    ("false", False, 1, "", "no value is allowed"),
    ("wrong_type", {"type": "string"}, 5, "", "expected a string, got 5"),
    ("true_is_no_integer", {"type": "integer"}, True, "", "expected an integer, got True"),
    ("fraction_is_no_integer", {"type": "integer"}, 1.5, "", "expected an integer, got 1.5"),
    ("neither_type", {"type": ["string", "null"]}, 1, "", "expected a string or null, got 1"),
    ("not_in_enum", {"enum": ["a", "b"]}, "c", "", "expected one of ['a', 'b'], got 'c'"),
    ("true_is_not_1", {"enum": [1]}, True, "", "expected one of [1], got True"),
    ("not_const", {"const": 1}, 2, "", "expected 1, got 2"),
    ("false_is_not_0", {"const": 0}, False, "", "expected 0, got False"),
    ("too_short", {"minLength": 3}, "ab", "", "expected at least 3 characters, got 2"),
    ("too_long", {"maxLength": 3}, "abcd", "", "expected at most 3 characters, got 4"),
    ("no_match", {"pattern": "^a"}, "b", "", "expected a match of '^a', got 'b'"),
    ("wrong_format", {"format": "date"}, "today", "", "expected a string of format 'date', got 'today'"),
    ("below", {"minimum": 3}, 2, "", "expected at least 3, got 2"),
    ("above", {"maximum": 3}, 4, "", "expected at most 3, got 4"),
    ("at_exclusive_minimum", {"exclusiveMinimum": 3}, 3, "", "expected more than 3, got 3"),
    ("at_exclusive_maximum", {"exclusiveMaximum": 3}, 3.0, "", "expected less than 3, got 3.0"),
    ("at_draft_04_bound", {"maximum": 3, "exclusiveMaximum": True}, 3, "", "expected less than 3, got 3"),
    ("no_multiple", {"multipleOf": 0.1}, 0.25, "", "expected a multiple of 0.1, got 0.25"),
    ("too_few_items", {"minItems": 1}, [], "", "expected at least 1 items, got 0"),
    ("too_many_items", {"maxItems": 1}, [1, 2], "", "expected at most 1 items, got 2"),
    ("equal_items", {"uniqueItems": True}, [1, 2, 1.0], "[2]", "this equals item 0"),
    ("wrong_item", {"items": {"type": "null"}}, [None, 1], "[1]", "expected null, got 1"),
    ("wrong_first_item", {"prefixItems": [{"type": "null"}]}, [1, 1], "[0]", "expected null, got 1"),
    ("item_behind_the_tuple", {"prefixItems": [{}], "items": False}, [1, 2], "[1]", "no value is allowed"),
    ("behind_draft_07_tuple", {"items": [{}], "additionalItems": {"type": "null"}}, [1, 2], "[1]", "expected null"),
    ("contains_nothing", {"contains": {"type": "null"}}, [1], "", "at least 1 items that fit 'contains', got 0"),
    ("contains_too_many", {"contains": {}, "maxContains": 1}, [1, 2], "", "expected at most 1 items that fit"),
    ("missing_property", PERSON, {}, "", "the property 'name' is missing"),
    ("unexpected_property", PERSON, {"name": "a", "x": 1}, "x", "unexpected property; known are ['name', 'tags']"),
    ("deep_path", {"properties": {"people": {"items": PERSON}}}, {"people": [{"name": "a", "tags": [1]}]},
     "people[0].tags[0]", "expected a string, got 1"),
    ("pattern_property", {"patternProperties": {"^x": {"type": "null"}}}, {"x1": 1}, "x1", "expected null"),
    ("additional_property", {"additionalProperties": {"type": "null"}}, {"a b": 1}, '["a b"]', "expected null"),
    ("property_name", {"propertyNames": {"maxLength": 2}}, {"abc": 1}, "abc", "property name: expected at most 2"),
    ("too_few_properties", {"minProperties": 1}, {}, "", "expected at least 1 properties, got 0"),
    ("too_many_properties", {"maxProperties": 0}, {"a": 1}, "", "expected at most 0 properties, got 1"),
    ("dependent_missing", {"dependentRequired": {"a": ["b"]}}, {"a": 1}, "", "'b' is missing, required by 'a'"),
    ("dependent_schema", {"dependentSchemas": {"a": {"maxProperties": 1}}}, {"a": 1, "b": 1}, "", "at most 1 prop"),
    ("draft_07_dependency", {"dependencies": {"a": ["b"]}}, {"a": 1}, "", "'b' is missing, required by 'a'"),
    ("all_of", {"allOf": [{"type": "string"}, {"minLength": 2}]}, "a", "", "expected at least 2 characters"),
    ("any_of", {"anyOf": [{"type": "string"}, {"type": "null"}]}, 1, "", "none of the 2 schemas of anyOf admits 1"),
    ("any_of_one", {"anyOf": [{"type": "string"}]}, 1, "", "expected a string, got 1"),
    ("one_of_none", {"oneOf": [{"type": "string"}, {"type": "null"}]}, 1, "", "must admit the value, but 0 do"),
    ("one_of_both", {"oneOf": [{}, {"type": "integer"}]}, 1, "", "must admit the value, but 2 do"),
    ("not", {"not": {"type": "string"}}, "a", "", "the schema of 'not' must not admit 'a'"),
    ("then", {"if": {"type": "string"}, "then": {"minLength": 2}}, "a", "", "expected at least 2 characters"),
    ("else", {"if": {"type": "string"}, "else": {"type": "null"}}, 1, "", "expected null, got 1"),
    ("recursive", TREE, {"value": 1, "left": {"value": 1, "left": {}}}, "left.left", "the property 'value' is missing"),
    ("reference_alone", {"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"A": {"type": "string"}},
                         "items": {"$ref": "#/definitions/A", "type": "null"}}, [None], "[0]", "expected a string"),
    ("neighbour_of_reference", {"$ref": "#/$defs/A", "maximum": 5, "$defs": {"A": {}}}, 6, "", "expected at most 5"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("schema", "value", "path", "message"), [row[1:] for row in INVALID], ids=[row[0] for row in INVALID]
)
def test_says_where_and_what_is_wrong(schema, value, path, message):
    (found,) = violations(value, schema)
    assert found.path == path
    assert message in found.message


def test_reports_everything_that_is_wrong():
    schema = {"type": "object", "properties": {"a": {"type": "null"}, "b": {"minimum": 1, "maximum": 0}}}
    assert [found.path for found in violations({"a": 1, "b": 0.5}, schema)] == ["a", "b", "b"]


def test_cuts_long_values_in_its_messages():
    (found,) = violations("x" * 10_000, {"type": "null"})
    assert len(found.message) < 200


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"not": {"$ref": "#"}},
        {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/B"}, "B": {"anyOf": [{"$ref": "#/$defs/A"}]}}},
    ],
    ids=["itself", "own_opposite", "each_other"],
)
def test_refuses_references_in_a_circle(schema):
    with pytest.raises(SchemaError, match="a \\$ref may lead back to itself"):
        violations(1, schema)


def test_refuses_a_maze_of_schemas():
    parts = {f"L{at}": {"allOf": [{"$ref": f"#/$defs/L{at - 1}"}] * 2} for at in range(1, 40)}
    schema = {"$ref": "#/$defs/L39", "$defs": {"L0": {"type": "null"}, **parts}}
    with pytest.raises(SchemaError, match="gave up after"):
        violations(None, schema)


def test_json_values_have_the_narrowest_type():
    values = [None, True, "", 1, 1.0, 1.5, [], {}]
    assert [json_kind(value) for value in values] == [
        "null", "boolean", "string", "integer", "integer", "number", "array", "object",
    ]  # fmt: skip
    with pytest.raises(TypeError, match="expected a JSON value, got tuple"):
        json_kind(())


def test_equal_json_values_have_equal_keys():
    assert json_key([1, {"a": 2.0, "b": None}]) == json_key([1.0, {"b": None, "a": 2}])
    assert len({json_key(value) for value in (1, True, "1", [1], {"1": 1}, None)}) == 6


@pytest.mark.parametrize(
    ("number", "parts"),
    [(0.1, (1, -1)), (12.5, (125, -1)), (7, (7, 0)), (1e300, (10, 299)), (-2.5e-07, (-25, -8))],
)
def test_reads_numbers_as_they_are_written(number, parts):
    digits, power = decimal_parts(number)
    assert digits * 10.0**power == pytest.approx(number)
    assert digits * 10 ** (power + 400) == parts[0] * 10 ** (parts[1] + 400)


def test_multiples_are_exact_in_decimal():
    assert all(is_multiple(number, 0.1) for number in (0.3, 0.7, 1.1, 1e15))
    assert not is_multiple(0.35, 0.1)
    assert is_multiple(10**400, 0.5)


def test_paths_quote_what_is_no_word():
    assert json_path(("messages", 0, "content", "x y", "k-1")) == 'messages[0].content["x y"].k-1'
