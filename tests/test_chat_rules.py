"""What OpenAI refuses in a chat whose members are each as they should be. Words and params are those of its answers."""

from __future__ import annotations

import pytest
from mocks import ask, make_mock, respond

from protocol.errors import ApiError

PATH = "/v1/chat/completions"
HELLO = {"role": "user", "content": "Hello"}
OPEN = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
STRICT = {**OPEN, "additionalProperties": False}
FUNCTION = {"name": "f", "parameters": STRICT}
TOOL = {"type": "function", "function": FUNCTION}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "x"}
JSON_MODE = {"type": "json_object"}


def tool(**members):
    return {"type": "function", "function": {**FUNCTION, **members}}


def form(schema, strict=True, name="n"):
    return {"type": "json_schema", "json_schema": {"name": name, "strict": strict, "schema": schema}}


def nested(below):
    return {**STRICT, "properties": {"a": below}}


ONLY_TOOLS = "is only allowed when 'tools' are specified."
CONTEXT = "'additionalProperties' is required to be supplied and to be false."

# What is added to a chat, the param, a part of the message, and what is added to the nearest chat that is taken.
RULES = [
    ("both-limits", {"max_tokens": 1, "max_completion_tokens": 1}, "max_tokens", "at the same time is not supported",
     {"max_completion_tokens": 1}),
    ("both-limits-and-none", {"max_tokens": 9, "max_completion_tokens": 9}, "max_tokens", "at the same time",
     {"max_tokens": 0, "max_completion_tokens": 0}),
    ("old-limit-o3", {"model": "o3", "max_tokens": 9}, "max_tokens", "Use 'max_completion_tokens' instead.",
     {"model": "o3", "max_completion_tokens": 9}),
    ("old-limit-o4-mini", {"model": "o4-mini-2025-04-16", "max_tokens": 9}, "max_tokens", "Unsupported parameter",
     {"model": "gpt-4o", "max_tokens": 9}),
    ("old-limit-gpt-5", {"model": "gpt-5-mini", "max_tokens": 9}, "max_tokens", "Unsupported parameter",
     {"model": "gpt-5-chat-latest", "max_tokens": 9}),
    ("old-limit-gpt-5.1", {"model": "gpt-5.1", "max_tokens": 9}, "max_tokens", "Unsupported parameter",
     {"model": "gpt-50", "max_tokens": 9}),
    ("old-limit-of-nothing", {"model": "gpt-5.4", "max_tokens": 1}, "max_tokens", "Unsupported parameter",
     {"model": "gpt-5.4", "max_tokens": 0, "max_completion_tokens": 0}),
    ("temperature-o3", {"model": "o3-mini", "temperature": 0.2}, "temperature",
     "'temperature' does not support 0.2 with this model. Only the default (1) value is supported.",
     {"model": "o3-mini", "temperature": 1}),
    ("temperature-gpt-5", {"model": "gpt-5", "temperature": 0}, "temperature", "does not support 0 with this model",
     {"model": "gpt-4.1", "temperature": 0}),
    ("temperature-gpt-5.2", {"model": "gpt-5.2", "temperature": 0, "reasoning_effort": "low"}, "temperature",
     "does not support 0", {"model": "gpt-5.2", "temperature": 0, "reasoning_effort": "none"}),
    ("top-logprobs", {"top_logprobs": 2}, "top_logprobs", "'logprobs' must be set to true",
     {"top_logprobs": 2, "logprobs": True}),
    ("bias-high", {"logit_bias": {"50256": 101}}, "logit_bias.50256", "Expected a value <= 100, but got 101 instead.",
     {"logit_bias": {"50256": 100}}),
    ("bias-low", {"logit_bias": {"50256": -101}}, "logit_bias.50256", "Expected a value >= -100, but got -101 instead.",
     {"logit_bias": {"50256": -100}}),
    ("stream-options", {"stream_options": {"include_usage": True}}, "stream_options",
     "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
     {"stream_options": {"include_usage": True}, "stream": True}),
    ("stream-options-of-no-stream", {"stream_options": {"include_usage": True}, "stream": False}, "stream_options",
     "only allowed when 'stream' is enabled.",
     {"stream_options": {"include_usage": True, "include_obfuscation": True}, "stream": False}),
    ("no-tools", {"tools": []}, "tools", "Invalid 'tools': empty array.", {"tools": [TOOL]}),
    ("no-functions", {"functions": []}, "functions", "empty array", {"functions": [FUNCTION]}),
    ("choice-without-tools", {"tool_choice": "auto"}, "tool_choice", ONLY_TOOLS, {"tool_choice": "auto", "tools": [TOOL]}),
    ("parallel-without-tools", {"parallel_tool_calls": False}, "parallel_tool_calls",
     "Invalid value for 'parallel_tool_calls': 'parallel_tool_calls' " + ONLY_TOOLS,
     {"parallel_tool_calls": False, "tools": [TOOL]}),
    ("call-without-functions", {"function_call": "auto"}, "function_call", "when 'functions' are specified",
     {"function_call": "auto", "functions": [FUNCTION]}),
    ("name-with-a-space", {"tools": [TOOL, tool(name="a b")]}, "tools[1].function.name",
     "Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.", {"tools": [TOOL, tool(name="a_b-9")]}),
    ("name-with-a-dot", {"functions": [{**FUNCTION, "name": "a.b"}]}, "functions[0].name", "does not match pattern",
     {"functions": [FUNCTION]}),
    ("name-too-long", {"tools": [tool(name="a" * 65)]}, "tools[0].function.name",
     "Expected a string with maximum length 64, but got a string with length 65 instead.",
     {"tools": [tool(name="a" * 64)]}),
    ("name-empty", {"tools": [tool(name="")]}, "tools[0].function.name", "empty string", {"tools": [TOOL]}),
    ("name-of-a-schema", {"response_format": form(STRICT, name="a b")}, "response_format.json_schema.name",
     "does not match pattern", {"response_format": form(STRICT)}),
    ("array-at-the-root", {"response_format": form({"type": "array", "items": STRICT}, strict=False)}, "response_format",
     "schema must be a JSON Schema of 'type: \"object\"', got 'type: \"array\"'.", {"response_format": form(STRICT)}),
    ("parameters-no-object", {"tools": [tool(parameters={"type": "string"})]}, "tools[0].function.parameters",
     "Invalid schema for function 'f': schema must be", {"tools": [TOOL]}),
    ("open-schema", {"response_format": form(OPEN)}, "response_format",
     f"Invalid schema for response_format 'n': In context=(), {CONTEXT}", {"response_format": form(OPEN, strict=False)}),
    ("open-below", {"response_format": form(nested(OPEN))}, "response_format",
     f"In context=('properties', 'a'), {CONTEXT}", {"response_format": form(nested(STRICT))}),
    ("open-item", {"response_format": form(nested({"type": "array", "items": OPEN}))}, "response_format",
     f"In context=('properties', 'a', 'items'), {CONTEXT}",
     {"response_format": form(nested({"type": "array", "items": STRICT}))}),
    ("open-variant", {"response_format": form(nested({"anyOf": [{"type": "null"}, OPEN]}))}, "response_format",
     f"In context=('properties', 'a', 'anyOf', '1'), {CONTEXT}",
     {"response_format": form(nested({"anyOf": [{"type": "null"}, STRICT]}))}),
    ("optional-member", {"response_format": form({**STRICT, "required": []})}, "response_format",
     "an array including every key in properties. Missing 'a'.", {"response_format": form(STRICT)}),
    ("open-parameters", {"tools": [tool(parameters=OPEN, strict=True)]}, "tools[0].function.parameters",
     f"Invalid schema for function 'f': In context=(), {CONTEXT}", {"tools": [tool(parameters=OPEN)]}),
    ("result-without-call", {"messages": [HELLO, RESULT]}, "messages[1].role",
     "must be a response to a preceeding message with 'tool_calls'.", {"messages": [HELLO, CALLING, RESULT]}),
    ("result-of-another-call", {"messages": [HELLO, CALLING, {**RESULT, "tool_call_id": "call_2"}]}, "messages[2].role",
     "must be a response to a preceeding message", {"messages": [HELLO, CALLING, RESULT, HELLO]}),
    ("result-twice", {"messages": [HELLO, CALLING, RESULT, RESULT]}, "messages[3].role", "must be a response",
     {"messages": [HELLO, CALLING, RESULT, CALLING, RESULT]}),
    ("call-without-result", {"messages": [HELLO, CALLING]}, "messages[2].role",
     "The following tool_call_ids did not have response messages: call_1", {"messages": [HELLO, CALLING, RESULT]}),
    ("call-passed-over", {"messages": [HELLO, CALLING, HELLO]}, "messages[2].role", "did not have response messages: call_1",
     {"messages": [HELLO, CALLING, RESULT, HELLO]}),
    ("no-calls", {"messages": [HELLO, {"role": "assistant", "content": "x", "tool_calls": []}]}, "messages[1].tool_calls",
     "empty array", {"messages": [HELLO, {"role": "assistant", "content": "x"}]}),
    ("nothing-said", {"messages": [HELLO, {"role": "assistant"}]}, "messages[1].content", "expected a string, got null",
     {"messages": [HELLO, {"role": "assistant", "refusal": "No."}]}),
    ("author", {"messages": [{**HELLO, "name": "a b"}]}, "messages[0].name", "does not match pattern",
     {"messages": [{**HELLO, "name": "Zoë-9"}]}),
    ("no-word-json", {"response_format": JSON_MODE}, "messages",
     "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
     {"response_format": JSON_MODE, "messages": [{"role": "system", "content": [{"type": "text", "text": "As JSON"}]}]}),
]  # fmt: skip


def chat(added):
    return {"model": "gpt-4o", "messages": [HELLO], **added}


@pytest.mark.parametrize(
    ("refused", "param", "words", "taken"), [row[1:] for row in RULES], ids=[row[0] for row in RULES]
)
def test_what_openai_refuses_is_refused(refused, param, words, taken):
    with pytest.raises(ApiError) as caught:
        respond(make_mock(), "POST", PATH, chat(refused))
    error = caught.value
    assert (error.status, error.type, error.param) == (400, "invalid_request_error", param)
    assert words in error.message
    assert respond(make_mock(), "POST", PATH, chat(taken)).status == 200


@pytest.mark.parametrize("refused", [row[1] for row in RULES], ids=[row[0] for row in RULES])
def test_a_lenient_mock_lets_it_pass_and_says_so(refused):
    answer = respond(make_mock(validate="warn"), "POST", PATH, chat(refused))
    assert answer.status == 200
    fields = answer.fields if isinstance(answer.fields, bytes) else repr(answer.fields).encode()
    assert b"x-oaiserve-warning" in fields
    assert respond(make_mock(validate="off"), "POST", PATH, chat(refused)).status == 200


def test_legacy_completions_have_the_rule_for_streams():
    body = {"model": "m", "prompt": "x", "stream_options": {"include_usage": True}}
    with pytest.raises(ApiError) as caught:
        ask(make_mock(), "POST", "/v1/completions", body)
    assert caught.value.param == "stream_options"
    assert ask(make_mock(validate="warn"), "POST", "/v1/completions", body)["object"] == "text_completion"


def test_a_long_history_of_calls_is_gone_through_once():
    calls = [{**CALL, "id": f"call_{number}"} for number in range(20_000)]
    results = [{**RESULT, "tool_call_id": call["id"]} for call in reversed(calls)]
    messages = [HELLO, {**CALLING, "tool_calls": calls}, *results]
    assert respond(make_mock(), "POST", PATH, chat({"messages": messages})).status == 200
