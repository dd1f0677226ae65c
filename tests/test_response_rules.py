"""What OpenAI refuses in a response between its members; each rule of protocol/mock/responses/rules.py names its source."""

from __future__ import annotations

import pytest
from mocks import ask, make_mock

from protocol.errors import ApiError

OPEN = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CLOSED = {**OPEN, "additionalProperties": False}
SUPPLIED = "In context=(), 'additionalProperties' is required to be supplied and to be false."


def function(**more):
    return {"type": "function", "name": "get_weather", "parameters": CLOSED, "strict": True, **more}


def formatted(**more):
    return {"format": {"type": "json_schema", "name": "weather", "schema": CLOSED, "strict": True, **more}}


JSON = {"format": {"type": "json_object"}}


def create(body, **settings):
    return ask(make_mock(**settings), "POST", "/v1/responses", {"model": "gpt-4o", "input": "Hello", **body})


REFUSED = [
    ({"model": "gpt-5", "temperature": 0.2}, "temperature", None,
     "Unsupported parameter: 'temperature' is not supported with this model."),
    ({"model": "o4-mini", "temperature": 0}, "temperature", None,
     "Unsupported parameter: 'temperature' is not supported with this model."),
    ({"model": "gpt-5.1", "temperature": 0.2, "reasoning": {"effort": "low"}}, "temperature", None,
     "Unsupported parameter: 'temperature' is not supported with this model."),
    ({"text": JSON}, "input", None,
     "Response input messages must contain the word 'json' in some form to use 'text.format' of type 'json_object'."),
    ({"tools": [function(name="get weather")]}, "tools[0].name", "invalid_value",
     "Invalid 'tools[0].name': string does not match pattern. Expected a string that matches the pattern"
     " '^[a-zA-Z0-9_-]+$'."),
    ({"tools": [function(), {"type": "custom", "name": ""}]}, "tools[1].name", "empty_string",
     "Invalid 'tools[1].name': empty string. Expected a string with minimum length 1, but got an empty string instead."),
    ({"tools": [function(parameters=OPEN)]}, "tools[0].parameters", "invalid_function_parameters",
     f"Invalid schema for function 'get_weather': {SUPPLIED}"),
    ({"tools": [function(strict=False, parameters={"type": "array"})]}, "tools[0].parameters",
     "invalid_function_parameters", "Invalid schema for function 'get_weather': schema must be a JSON Schema of 'type:"
     " \"object\"', got 'type: \"array\"'."),
    ({"text": formatted(schema=OPEN)}, "text.format.schema", "invalid_json_schema",
     f"Invalid schema for response_format 'weather': {SUPPLIED}"),
    ({"text": formatted(name="the weather")}, "text.format.name", "invalid_value",
     "Invalid 'text.format.name': string does not match pattern. Expected a string that matches the pattern"
     " '^[a-zA-Z0-9_-]+$'."),
]  # fmt: skip

TAKEN = [
    {"model": "gpt-5", "temperature": 1},
    {"model": "gpt-5.1", "temperature": 0.2},
    {"model": "gpt-5-chat-latest", "temperature": 0.2},
    {"temperature": 0.2},
    {"text": JSON, "instructions": "Answer in JSON."},
    {"text": JSON, "input": [{"role": "user", "content": [{"type": "input_text", "text": "some json, please"}]}]},
    {"tools": []},
    {"tools": [function(strict=False, parameters=OPEN)]},
    {"tools": [function(strict=None, parameters=OPEN)]},
    {"tools": [function()], "text": formatted()},
    {"text": formatted(strict=False, schema=OPEN)},
]


@pytest.mark.parametrize(("body", "param", "code", "message"), REFUSED)
def test_a_response_is_refused(body, param, code, message):
    with pytest.raises(ApiError) as caught:
        create(body)
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, param, code)
    assert caught.value.message == message


@pytest.mark.parametrize("body", TAKEN)
def test_a_response_is_made(body):
    assert create(body)["status"] == "completed"


@pytest.mark.parametrize("validate", ["warn", "off"])
@pytest.mark.parametrize("body", [refused[0] for refused in REFUSED])
def test_a_lenient_mock_refuses_none(body, validate):
    assert create(body, validate=validate)["status"] == "completed"


def test_the_word_may_be_in_a_response_before():
    mock = make_mock()
    first = ask(mock, "POST", "/v1/responses", {"model": "gpt-4o", "input": "I like JSON."})
    body = {"model": "gpt-4o", "input": "More", "text": JSON, "previous_response_id": first["id"]}
    assert ask(mock, "POST", "/v1/responses", body)["status"] == "completed"
