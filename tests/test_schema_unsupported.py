"""Keywords of JSON Schema that would be read wrongly are refused, wherever they stand."""

from __future__ import annotations

import pytest
from mocks import ask, make_mock

from protocol.errors import ApiError

BODY = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


def answered(schema):
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    return ask(make_mock(), "POST", "/v1/chat/completions", {**BODY, "response_format": form})


def below(part):
    return {"type": "object", "properties": {"a": part}, "required": ["a"]}


UNSUPPORTED = [
    ("$dynamicRef", "#node"),
    ("$recursiveRef", "#"),
    ("unevaluatedProperties", False),
    ("unevaluatedProperties", {"type": "string"}),
    ("unevaluatedItems", False),
    ("unevaluatedItems", {"type": "integer"}),
]


@pytest.mark.parametrize(("keyword", "value"), UNSUPPORTED)
@pytest.mark.parametrize("place", [dict, below, lambda part: below({"anyOf": [part, {"type": "null"}]})])
def test_what_would_be_read_wrongly_is_refused(keyword, value, place):
    with pytest.raises(ApiError) as caught:
        answered(place({"type": "object", keyword: value}))
    assert caught.value.status == 400
    assert f"'{keyword}' is not supported here" in caught.value.message


@pytest.mark.parametrize("keyword", ["unevaluatedProperties", "unevaluatedItems"])
@pytest.mark.parametrize("value", [True, {}])
def test_what_forbids_nothing_is_taken(keyword, value):
    assert answered({"type": "object", keyword: value})["choices"]


@pytest.mark.parametrize("dialect", ["http://json-schema.org/draft-07/schema#", "https://json-schema.org/draft/2020-12/schema",
                                     "https://spec.openapis.org/oas/3.1/dialect/base"])  # fmt: skip
def test_dialects_that_are_known_are_taken(dialect):
    assert answered({"$schema": dialect, "type": "object"})["choices"]


def test_a_member_of_that_name_is_no_keyword():
    assert answered(below({"type": "object", "properties": {"$dynamicRef": {"type": "string"}}}))["choices"]
