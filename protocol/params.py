"""The parameters of the completion endpoints: names, types, enums and ranges (OpenAI API reference, "Chat", "Completions").

What is not described passes, and nothing is stricter than what the official SDK sends in its own tests.
"""

from __future__ import annotations

from protocol.validate import (
    a_boolean,
    a_number,
    a_string,
    an_array,
    an_integer,
    an_object,
    anything,
    by_tag,
    one_of,
)

_PARAMETER_STRING = a_string()
_AN_OBJECT = an_object({})

_CONTENT_PART = by_tag(
    "type",
    {
        "text": an_object({"text": _PARAMETER_STRING}, "text"),
        "image_url": an_object(
            {"image_url": an_object({"url": _PARAMETER_STRING, "detail": _PARAMETER_STRING}, "url")}, "image_url"
        ),
        "input_audio": an_object(
            {"input_audio": an_object({"data": _PARAMETER_STRING, "format": _PARAMETER_STRING}, "data")}, "input_audio"
        ),
        "file": an_object({"file": _AN_OBJECT}, "file"),
        "refusal": an_object({"refusal": _PARAMETER_STRING}, "refusal"),
        "video_url": an_object({"video_url": _AN_OBJECT}, "video_url"),
    },
)
_CONTENT = one_of("a string or array of objects", {str: _PARAMETER_STRING, list: an_array(_CONTENT_PART, 1)})

_TOOL_CALL = an_object(
    {
        "id": _PARAMETER_STRING,
        "type": a_string("function", "custom"),
        "function": an_object({"name": _PARAMETER_STRING, "arguments": _PARAMETER_STRING}, "name", "arguments"),
    },
    "id",
    "type",
)
_MESSAGE_MEMBERS = {"content": _CONTENT, "name": _PARAMETER_STRING}
_MESSAGE = by_tag(
    "role",
    {
        "system": an_object(_MESSAGE_MEMBERS, "content"),
        "assistant": an_object({**_MESSAGE_MEMBERS, "tool_calls": an_array(_TOOL_CALL), "function_call": _AN_OBJECT}),
        "user": an_object(_MESSAGE_MEMBERS, "content"),
        "function": an_object(_MESSAGE_MEMBERS, "name"),
        "tool": an_object({**_MESSAGE_MEMBERS, "tool_call_id": _PARAMETER_STRING}, "content", "tool_call_id"),
        "developer": an_object(_MESSAGE_MEMBERS, "content"),
    },
)

_FUNCTION = an_object({"name": _PARAMETER_STRING, "description": _PARAMETER_STRING, "parameters": _AN_OBJECT}, "name")
_TOOL = by_tag(
    "type",
    {
        "function": an_object({"function": _FUNCTION}, "function"),
        "custom": an_object({"custom": an_object({"name": _PARAMETER_STRING}, "name")}, "custom"),
    },
)
_NAMED = an_object({"name": _PARAMETER_STRING}, "name")
_TOOL_CHOICE = one_of(
    "a string or object",
    {
        str: a_string("none", "auto", "required"),
        dict: by_tag(
            "type",
            {
                "function": an_object({"function": _NAMED}, "function"),
                "custom": an_object({"custom": _NAMED}, "custom"),
                "allowed_tools": an_object({"allowed_tools": _AN_OBJECT}, "allowed_tools"),
            },
        ),
    },
)
_RESPONSE_FORMAT = by_tag(
    "type",
    {
        "text": anything,
        "json_object": anything,
        "json_schema": an_object(
            {"json_schema": an_object({"name": _PARAMETER_STRING, "schema": _AN_OBJECT, "strict": a_boolean}, "name")},
            "json_schema",
        ),
    },
)
_STOP = one_of("a string or array of strings", {str: _PARAMETER_STRING, list: an_array(_PARAMETER_STRING, 0, 4)})

_SAMPLING = {
    "model": _PARAMETER_STRING,
    "stream": a_boolean,
    "stream_options": an_object({"include_usage": a_boolean, "include_obfuscation": a_boolean}),
    "temperature": a_number(0, 2),
    "top_p": a_number(0, 1),
    "n": an_integer(1, 128),
    "stop": _STOP,
    "max_tokens": an_integer(0),
    "presence_penalty": a_number(-2, 2),
    "frequency_penalty": a_number(-2, 2),
    "logit_bias": _AN_OBJECT,
    "seed": an_integer(),
    "user": _PARAMETER_STRING,
}

CHAT_PARAMETERS = an_object(
    {
        **_SAMPLING,
        "messages": an_array(_MESSAGE, 1, kind="an array of objects"),
        "max_completion_tokens": an_integer(0),
        "logprobs": a_boolean,
        "top_logprobs": an_integer(0, 20),
        "tools": an_array(_TOOL, 0, 128, kind="an array of objects"),
        "tool_choice": _TOOL_CHOICE,
        "parallel_tool_calls": a_boolean,
        "functions": an_array(_FUNCTION, 0, 128, kind="an array of objects"),
        "function_call": one_of("a string or object", {str: a_string("none", "auto"), dict: _NAMED}),
        "response_format": _RESPONSE_FORMAT,
        "metadata": _AN_OBJECT,
        "modalities": an_array(_PARAMETER_STRING),
        "store": a_boolean,
        "service_tier": _PARAMETER_STRING,
        "reasoning_effort": _PARAMETER_STRING,
    },
    "messages",
)

_PROMPT_MEMBER = one_of(
    "a string, integer or array of integers", {str: anything, int: anything, list: an_array(an_integer())}
)
COMPLETION_PARAMETERS = an_object(
    {
        **_SAMPLING,
        "prompt": one_of("a string or array", {str: anything, list: an_array(_PROMPT_MEMBER, 1)}),
        "best_of": an_integer(0, 20),
        "echo": a_boolean,
        "logprobs": an_integer(0, 5),
        "suffix": _PARAMETER_STRING,
    },
    "prompt",
)
