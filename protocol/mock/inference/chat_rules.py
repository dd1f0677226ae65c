"""What OpenAI refuses in a chat although each member by itself is as it should be: rules between the members.

Each rule names its source: the API reference ("Create chat completion"), a guide, or a public report of the answer.
"""

from __future__ import annotations

import re
import typing

from protocol.budget import spend_turn
from protocol.errors import ApiError
from protocol.mock.answer.refusals import (
    Fault,
    may_reason,
    name_fault,
    pattern_fault,
    reasons,
    refusal,
    schema_budget,
    schema_fault,
)
from protocol.wire.json_text import JsonObject

_AUTHOR = re.compile(r"[^\s<|\\/>]+")

_BIAS = 100

# What no rule speaks of where the model does not reason, and what the usual message has.
_UNRULED_MEMBERS = frozenset(
    "messages model stream max_tokens temperature top_p n seed stop presence_penalty frequency_penalty user".split()
)
_TEXT_MEMBERS = frozenset(("role", "content"))
_FEW_MESSAGES = 20


def chat_fault(body: JsonObject) -> ApiError | None:
    """Return why OpenAI refuses a chat whose shape is right, None where it does not."""
    if _has_no_ruled_member(body):
        return None
    for rule in _RULES:
        fault = rule(body)
        if fault is not None:
            return fault
    return None


def _has_no_ruled_member(body: JsonObject) -> bool:
    """Tell at a glance of most chats that no rule speaks of them; it saves 4 µs of 5 (CPython 3.11)."""
    model, messages = body["model"], body["messages"]
    if not body.keys() <= _UNRULED_MEMBERS or model[:1] == "o" or "gpt-5" in model or len(messages) > _FEW_MESSAGES:
        return False
    return all(message.keys() == _TEXT_MEMBERS and message["content"] is not None for message in messages)


def stream_options_fault(body: JsonObject) -> ApiError | None:
    """Return the error for `stream_options` without a stream. Source: BerriAI/litellm#5803.

    All reports are of `include_usage` alone; with `include_obfuscation` the official SDK's suite sends no stream.
    """
    options = body.get("stream_options")
    if options is None or body.get("stream") or options.get("include_obfuscation") is not None:
        return None
    return refusal("The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options")


# ---- parameters beside one another ------------------------------------------------------------------------------


def _both_limits(body: JsonObject) -> Fault:
    """Two names for one limit. Source: langchain-ai/langgraph#5943.

    All reports are of real limits; a 0 beside another is what the official SDK's suite sends.
    """
    if not body.get("max_tokens") or not body.get("max_completion_tokens"):
        return None
    return refusal(
        "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.", "max_tokens",
        "invalid_parameter_combination",
    )  # fmt: skip


def _old_limit(body: JsonObject) -> Fault:
    """Source: API reference, max_tokens is not for o-series models; for gpt-5 microsoft/clarity-agent#59.

    A 0, as the official SDK's suite sends it, limits nothing here either.
    """
    if not body.get("max_tokens") or not may_reason(body["model"]):
        return None
    return refusal(
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        "max_tokens", "unsupported_parameter",
    )  # fmt: skip


def _temperature(body: JsonObject) -> Fault:
    """Source: guide "Reasoning"; guide "Using GPT-5.2", by which later models take it where they do not reason."""
    value = body.get("temperature")
    if value is None or value == 1:
        return None
    if not reasons(body["model"], body.get("reasoning_effort")):
        return None
    return refusal(
        f"Unsupported value: 'temperature' does not support {value} with this model. Only the default (1) value is"
        " supported.", "temperature", "unsupported_value",
    )  # fmt: skip


def _top_logprobs(body: JsonObject) -> Fault:
    """Source: API reference, top_logprobs: logprobs must be set to true if this parameter is used."""
    if body.get("top_logprobs") is None or body.get("logprobs"):
        return None
    message = "Invalid value for 'top_logprobs': 'logprobs' must be set to true if this parameter is used."
    return refusal(message, "top_logprobs")


def _logit_bias(body: JsonObject) -> Fault:
    """Source: API reference, logit_bias: a value from -100 to 100."""
    for token, bias in (body.get("logit_bias") or {}).items():
        spend_turn(1)
        if not -_BIAS <= bias <= _BIAS:
            side, sign, bound = ("above maximum", "<=", _BIAS) if bias > 0 else ("below minimum", ">=", -_BIAS)
            path = f"logit_bias.{token[:100]}"
            return refusal(
                f"Invalid '{path}': integer {side} value. Expected a value {sign} {bound}, but got {bias} instead.",
                path, f"integer_{side.split(' ')[0]}_{side[6:9]}_value",
            )  # fmt: skip
    return None


# ---- tools ------------------------------------------------------------------------------------------------------


def _empty_tools(body: JsonObject) -> Fault:
    """Source: openai/openai-node#1341 has the words, for tool_calls; vllm-project/vllm#39741 says it of `tools`."""
    for name in ("tools", "functions"):
        if body.get(name) == []:
            return _empty_array(name)
    return None


def _empty_array(path: str) -> ApiError:
    return refusal(
        f"Invalid '{path}': empty array. Expected an array with minimum length 1, but got an empty array instead.",
        path, "empty_array",
    )  # fmt: skip


def _without_tools(body: JsonObject) -> Fault:
    """Source: openai/swarm#30."""
    for name, needed in (("tool_choice", "tools"), ("parallel_tool_calls", "tools"), ("function_call", "functions")):
        if body.get(name) is not None and not body.get(needed):
            return refusal(f"Invalid value for '{name}': '{name}' is only allowed when '{needed}' are specified.", name)
    return None


def _names(body: JsonObject) -> Fault:
    """Source: API reference, a function's and a schema's name: a-z, A-Z, 0-9, underscores and dashes, at most 64."""
    named = [(f"tools[{at}].{kind}.name", tool[kind]) for at, tool in enumerate(body.get("tools") or [])
             for kind in ("function", "custom") if type(tool.get(kind)) is dict]  # fmt: skip
    named += [(f"functions[{at}].name", function) for at, function in enumerate(body.get("functions") or [])]
    described = (body.get("response_format") or {}).get("json_schema")
    if type(described) is dict:
        named.append(("response_format.json_schema.name", described))
    for path, owner in named:
        fault = name_fault(path, owner["name"])
        if fault is not None:
            return fault
    return None


# ---- schemas ----------------------------------------------------------------------------------------------------


def _schemas(body: JsonObject) -> Fault:
    """Source: guide "Structured outputs", supported schemas; moeru-ai/xsai#202."""
    budget = schema_budget()
    described = (body.get("response_format") or {}).get("json_schema")
    if type(described) is dict:
        fault = schema_fault(described.get("schema"), is_strict=bool(described.get("strict")), budget=budget)
        if fault:
            return refusal(f"Invalid schema for response_format '{described['name']}': {fault}", "response_format")
    for at, tool in enumerate(body.get("tools") or []):
        function = tool.get("function")
        if type(function) is not dict:
            continue
        fault = schema_fault(function.get("parameters"), is_strict=bool(function.get("strict")), budget=budget)
        if fault:
            return refusal(
                f"Invalid schema for function '{function['name']}': {fault}", f"tools[{at}].function.parameters",
                "invalid_function_parameters",
            )  # fmt: skip
    return None


# ---- messages ---------------------------------------------------------------------------------------------------


def _messages(body: JsonObject) -> Fault:
    """Each message by itself, and calls with their answers.

    Source: API reference, content of an assistant message is required unless tool_calls or function_call is specified;
    FoundationAgents/OpenManus#744; BloomLabsInc/genkit-plugins#225.
    """
    open_calls: dict[str, None] = {}
    for at, message in enumerate(body["messages"]):
        spend_turn(1)
        role = message["role"]
        if role == "tool":
            if message["tool_call_id"] not in open_calls:
                return refusal(
                    "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with"
                    " 'tool_calls'.", f"messages[{at}].role",
                )  # fmt: skip
            del open_calls[message["tool_call_id"]]
            continue
        if open_calls:
            return _unanswered(open_calls, at)
        name = message.get("name")
        if name is not None and not _AUTHOR.fullmatch(name):
            return pattern_fault(f"messages[{at}].name", f"^{_AUTHOR.pattern}$")
        if role == "assistant":
            fault = _assistant_fault(message, f"messages[{at}]")
            if fault is not None:
                return fault
            open_calls = {call["id"]: None for call in message.get("tool_calls") or []}
    return _unanswered(open_calls, len(body["messages"])) if open_calls else None


def _unanswered(ids: typing.Iterable[str], at: int) -> ApiError:
    return refusal(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'."
        f" The following tool_call_ids did not have response messages: {', '.join(ids)[:1000]}", f"messages[{at}].role",
    )  # fmt: skip


def _assistant_fault(message: JsonObject, path: str) -> Fault:
    calls = message.get("tool_calls")
    if calls == []:
        return _empty_array(f"{path}.tool_calls")
    for at, call in enumerate(calls or []):
        if type(call.get("function")) is dict:
            fault = name_fault(f"{path}.tool_calls[{at}].function.name", call["function"]["name"])
            if fault is not None:
                return fault
    said = ("content", "tool_calls", "function_call", "refusal", "audio")
    if all(message.get(name) is None for name in said):
        return refusal("Invalid value for 'content': expected a string, got null.", f"{path}.content")
    return None


def _json_word(body: JsonObject) -> Fault:
    """Source: guide "JSON mode"; mem0ai/mem0#3008."""
    if (body.get("response_format") or {}).get("type") != "json_object":
        return None
    for message in body["messages"]:
        content = message.get("content")
        parts = [part.get("text") for part in content] if type(content) is list else [content]
        for text in parts:
            if type(text) is str:
                spend_turn(1 + len(text) // 500)
                if "json" in text.lower():
                    return None
    return refusal(
        "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
        "messages",
    )  # fmt: skip


_RULES: tuple[typing.Callable[[JsonObject], Fault], ...] = (
    _both_limits,
    _old_limit,
    _temperature,
    _top_logprobs,
    _logit_bias,
    stream_options_fault,
    _empty_tools,
    _without_tools,
    _names,
    _schemas,
    _messages,
    _json_word,
)
