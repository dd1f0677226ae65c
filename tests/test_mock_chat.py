"""Chat completions at the edges: bodies that nobody refuses, and as much work as one request may ask for."""

from __future__ import annotations

import pytest
from mocks import ask, make_mock
from steps import assert_grows_in_proportion

TEXT = "powered by openai"

ODD_CHATS = {
    "tools": [True, [None], [{"type": "function"}], [{"type": "function", "function": {"name": [None]}}]],
    "messages": [[["x"]], [{"role": "assistant", "tool_calls": True}], [{"role": "tool", "tool_call_id": []}], {}],
    "tool_choice": [True, {"type": "function", "function": 3}, {"type": "allowed_tools", "allowed_tools": 1}],
    "response_format": [5, {"type": ["x"]}, {"type": "json_schema", "json_schema": {"name": [], "schema": 1}}],
    "top_logprobs": ["many"], "stop": [{"a": 1}], "metadata": [3], "audio": ["x"], "functions": [7],
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in ODD_CHATS.items() for value in values])
@pytest.mark.parametrize("validate", ["warn", "off"])
def test_what_is_not_refused_is_left_out(validate, name, value):
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "logprobs": True, "store": True, name: value}
    mock = make_mock(validate=validate)
    assert ask(mock, "POST", "/v1/chat/completions", body)["choices"][0]["message"]["content"] == TEXT


@pytest.mark.parametrize("validate", ["warn", "off"])
@pytest.mark.parametrize("body", [{}, {"model": 3, "messages": 7}, {"model": "", "stream": False, "max_tokens": -3}])
@pytest.mark.parametrize(
    ("path", "object"), [("chat/completions", "chat.completion"), ("completions", "text_completion")]
)
def test_unchecked_a_model_is_made_up(path, object, body, validate):
    answer = ask(make_mock(validate=validate), "POST", f"/v1/{path}", body)
    assert (answer["object"], answer["model"]) == (object, "gpt-4o")


def many_choices(count, properties):
    choice = {"anyOf": [{"type": "string"}, {"type": "null"}, {"type": "array", "items": {"type": "object"}}]}
    schema = {"type": "object", "properties": {f"p{number}": choice for number in range(properties)}}
    body = {
        "model": "m", "messages": [{"role": "user", "content": "Ana is 3"}], "n": count,
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}},
    }  # fmt: skip
    return ask(make_mock(), "POST", "/v1/chat/completions", body)["choices"]


def test_many_choices_of_a_large_schema_cost_in_proportion():
    assert_grows_in_proportion(lambda count: many_choices(count, 15), 16)
    assert_grows_in_proportion(lambda properties: many_choices(8, properties), 15)
    assert [choice["index"] for choice in many_choices(128, 300)] == list(range(128))
