"""Schemas that are malformed or too large: each is refused with its place and a reason."""

from __future__ import annotations

import pytest

from protocol.mock.json_schema.document import MAX_SCHEMA_VALUES, SchemaDocument, SchemaError


def nested(depth):
    schema = {}
    for _ in range(depth):
        schema = {"items": schema}
    return schema


# (id, schema, path, a part of the reason)
MALFORMED = [
    ("no_schema", 5, (), "expected a schema (an object or a boolean), got 5"),
    ("null_for_a_schema", {"items": None}, ("items",), "expected a schema"),
    ("unknown_type", {"properties": {"a": {"type": "strin"}}}, ("properties", "a"), "'type' must be one or a list of"),
    ("no_types", {"type": []}, (), "got []"),
    ("type_as_object", {"type": {}}, (), "'type' must be"),
    ("empty_enum", {"enum": []}, (), "'enum' must be a list of at least one value"),
    ("enum_as_object", {"enum": {"a": 1}}, (), "'enum' must be a list"),
    ("required_of_draft_03", {"properties": {"a": {"required": True}}}, ("properties", "a"), "'required' must be a"),
    ("required_numbers", {"required": [1]}, (), "'required' must be a list of property names, got [1]"),
    ("properties_as_list", {"properties": []}, (), "'properties' must be an object of schemas, got []"),
    ("property_as_text", {"properties": {"a": "string"}}, ("properties", "a"), "expected a schema"),
    ("any_of_as_object", {"anyOf": {}}, (), "'anyOf' must be a list of at least one schema"),
    ("empty_any_of", {"anyOf": []}, (), "'anyOf' must be a list of at least one schema, got []"),
    ("prefix_items_as_object", {"prefixItems": {}}, (), "'prefixItems' must be a list of schemas"),
    ("deep_in_all_of", {"allOf": [{}, {"minLength": -1}]}, ("allOf", "1"), "'minLength' must be an integer"),
    ("fraction_as_length", {"maxLength": 1.5}, (), "'maxLength' must be an integer"),
    ("true_as_minimum", {"minimum": True}, (), "'minimum' must be a number, got True"),
    ("infinite_maximum", {"maximum": float("inf")}, (), "'maximum' must be a number, got inf"),
    ("multiple_of_zero", {"multipleOf": 0}, (), "'multipleOf' must be a number above 0, got 0"),
    ("text_as_flag", {"uniqueItems": "yes"}, (), "'uniqueItems' must be a boolean"),
    ("dependent_as_text", {"dependentRequired": {"a": "b"}}, (), "'dependentRequired' must be an object of lists"),
    ("dialect_of_somebody", {"$schema": "https://example.com/no-validation"}, (), "'$schema' must be one of json-schema.org's"),
    ("bad_pattern", {"items": {"pattern": "("}}, ("items",), "pattern '(': missing ')' at character 1"),
    ("bad_pattern_property", {"patternProperties": {"[": {}}}, (), "pattern '[': the pattern ends too early"),
    ("reference_to_nowhere", {"properties": {"a": {"$ref": "#/$defs/A"}}}, ("properties", "a"), "leads nowhere"),
    ("reference_elsewhere", {"$ref": "https://example.com/schema.json"}, (), "expected a place such as '#/$defs/Name'"),
    ("reference_to_no_schema", {"$ref": "#/x", "x": 5}, (), "expected a schema"),
    ("reference_into_a_list", {"$ref": "#/allOf/2", "allOf": [{}]}, (), "leads nowhere"),
    ("reference_as_number", {"$ref": 5}, (), "'$ref' must be a reference"),
    ("behind_a_reference", {"$ref": "#/x", "x": {"type": "strin"}}, (), "'type' must be"),
    ("nested_too_deep", nested(500), (), "levels deep"),
    ("too_many_values", {"enum": list(range(MAX_SCHEMA_VALUES + 1))}, (), f"more than {MAX_SCHEMA_VALUES} values"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("schema", "path", "reason"), [row[1:] for row in MALFORMED], ids=[row[0] for row in MALFORMED]
)
def test_refuses_a_malformed_schema_with_place_and_reason(schema, path, reason):
    with pytest.raises(SchemaError) as caught:
        SchemaDocument(schema)
    assert caught.value.path == path
    assert reason in caught.value.reason


def test_refuses_patterns_that_are_too_much_together():
    SchemaDocument({"pattern": "a?" * 2000})
    with pytest.raises(SchemaError, match="too many steps"):
        SchemaDocument({"allOf": [{"pattern": "a?" * 2000 + str(number)} for number in range(99)]})


def test_the_error_reads_on_after_openai_s_words():
    error = SchemaError(("properties", "a"), "minimum 5 is above maximum 3")
    assert str(error) == "In context=('properties', 'a'), minimum 5 is above maximum 3."
    assert isinstance(error, ValueError)


def test_does_not_look_for_schemas_in_plain_values():
    SchemaDocument({"const": {"type": "strin"}, "enum": [{"$ref": "nowhere"}], "default": {"minLength": -1}})


def test_a_name_may_be_a_keyword():
    SchemaDocument({"properties": {"type": {"type": "string"}, "required": {"type": "boolean"}, "$ref": {}}})
