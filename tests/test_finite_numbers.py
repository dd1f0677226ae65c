"""Numbers too large for a double: refused where clients say them, so that no `Infinity` leaves, which is no JSON."""

from __future__ import annotations

import json

import pytest
from mocks import ask, make_mock, respond

from protocol.dashscope.mapping.errors import DashScopeError, native_error, read_answer
from protocol.dashscope.mapping.events import NativeEventReader
from protocol.errors import ApiError
from protocol.mock.training.formula import FormulaError, evaluate
from protocol.mock.training.graders import sample_of
from protocol.wire.json_text import parse_json
from protocol.wire.long_json import parse_long_json

KEY = [("authorization", "Bearer sk-any")]
TOO_LARGE = ["1e400", "-1e309", "1E+99999", "9" * 400 + ".5", "1.7976931348623159e308"]
FINITE = [("1e308", 1e308), ("-1.5e-400", -0.0), ("1.7976931348623157e308", 1.7976931348623157e308), ("0e999", 0.0)]


@pytest.mark.parametrize("number", TOO_LARGE)
@pytest.mark.parametrize("place", ["%s", "[1, %s]", '{"a": {"b": [[%s]]}}', '{"a": [[[[[%s]]]]]}'])
@pytest.mark.parametrize("padding", [0, 2 << 20])
def test_a_number_that_is_not_finite_is_refused_with_words_of_ours(number, place, padding):
    with pytest.raises(ApiError) as refused:
        parse_json((place % number).encode() + b" " * padding)
    assert (refused.value.status, refused.value.code) == (400, "invalid_json")
    shown = number if len(number) <= 20 else number[:20] + "..."
    assert f"the number {shown} is larger than any that is read" in refused.value.message


@pytest.mark.parametrize("number, value", FINITE)
def test_the_largest_and_the_smallest_are_read(number, value):
    assert parse_json(number.encode()) == parse_long_json(number.encode()) == value


@pytest.mark.parametrize("path, body", [
    ("/v1/chat/completions", '{"model": "m", "messages": [{"role": "user", "content": "Hi"}], "temperature": 1e400}'),
    ("/v1/responses", '{"model": "m", "input": "Hi", "metadata": {"a": -1e400}}'),
    ("/v1/assistants", '{"model": "m", "temperature": 1e400}'),
])  # fmt: skip
def test_every_family_refuses_it(path, body):
    with pytest.raises(ApiError) as refused:
        ask(make_mock(unknown_ids="invent", validate="off"), "POST", path, body.encode())
    assert refused.value.status == 400 and "1e400" in refused.value.message


def test_the_native_api_refuses_it_in_its_own_shape():
    body = b'{"model": "m", "input": {"prompt": "Hi"}, "parameters": {"top_p": 1e400}}'
    answer = respond(make_mock(), "POST", "/api/v1/services/aigc/text-generation/generation", body, KEY)
    assert (answer.status, json.loads(answer.body)["code"]) == (400, "InvalidParameter")


def test_a_text_that_stands_for_one_is_no_value_of_an_answer():
    schema = {
        "type": "object",
        "properties": {"a": {"type": "number"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    messages = [
        {"role": "user", "content": 'Call f. Answer in JSON like {"a": 1e400}, a = 1e400, or as ' + "9" * 400 + ".0"},
        {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c", "content": '{"a": 1e400, "b": Infinity}'},
    ]  # fmt: skip
    for more in (
        {"response_format": {"type": "json_object"}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}},
        {"tools": [tool], "tool_choice": "required"},
    ):
        for said in (messages, messages[:1]):
            body = {"model": "m", "messages": said, **more}
            answer = respond(make_mock(), "POST", "/v1/chat/completions", body).body
            message = json.loads(answer)["choices"][0]["message"]
            text = message["content"] or message["tool_calls"][0]["function"]["arguments"]
            json.loads(text, parse_constant=pytest.fail)


def test_what_graders_read_and_reckon_is_finite():
    assert sample_of('{"a": 1e400}') == {"output_text": '{"a": 1e400}', "output_json": None}
    assert evaluate("2 * a", {"a": 0.25}) == 0.5
    for formula in ("9" * 400, "a * " + "9" * 300 + " * " + "9" * 300):
        with pytest.raises(FormulaError):
            evaluate(formula, {"a": 1.0})


def test_an_upstreams_is_a_bad_answer_and_goes_no_further():
    reader = NativeEventReader()
    (event,) = [*reader.feed(b'data: {"output": {"score": 1e400}}\n\n'), *reader.close()]
    assert isinstance(event, DashScopeError) and event.status == 502
    with pytest.raises(ApiError):
        read_answer(b'{"output": {"score": 1e400}}')
    assert native_error(500, b'{"code": "x", "message": "y", "n": 1e400}').status >= 500
