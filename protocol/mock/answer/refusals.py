"""What OpenAI refuses of names and strict schemas, in chats and in responses alike; and which models reason."""

from __future__ import annotations

import re
import typing

from protocol.budget import Budget
from protocol.errors import ApiError
from protocol.wire.json_text import JsonObject

#: A fault of a request, None for none.
Fault = typing.Optional[ApiError]

_NAME = re.compile(r"[a-zA-Z0-9_-]+")
_LONGEST_NAME = 64

# Models that always reason, and those that reason when they are asked to. Chat models are none of them.
_ALWAYS_REASONS = re.compile(r"(?:o[1-9]|gpt-5)(?:-(?!chat).*)?", re.DOTALL)
_MAY_REASON = re.compile(r"gpt-5\.[0-9]+(?:-(?!chat).*)?", re.DOTALL)

_SCHEMA_STEPS = 20_000
_OBJECTS_OF_SCHEMAS = ("properties", "$defs", "definitions")
_ARRAYS_OF_SCHEMAS = ("anyOf", "allOf", "oneOf", "prefixItems")


def refusal(message: str, param: str, code: str | None = None) -> ApiError:
    """Return the error 400 about a parameter."""
    return ApiError(400, message, param=param, code=code)


def may_reason(model: str) -> bool:
    """Whether a model reasons, always or when it is asked to."""
    return (_ALWAYS_REASONS.fullmatch(model) or _MAY_REASON.fullmatch(model)) is not None


def reasons(model: str, effort: typing.Any) -> bool:
    """Whether a model reasons at an effort; later models of gpt-5 do where they are asked to (guide "Reasoning")."""
    if _MAY_REASON.fullmatch(model):
        return effort not in (None, "none")
    return _ALWAYS_REASONS.fullmatch(model) is not None


def schema_budget() -> Budget:
    """Return what it may cost to look through the schemas of one request."""
    return Budget(_SCHEMA_STEPS, "The strict schemas", pauses=True)


def name_fault(path: str, name: str) -> Fault:
    """Return what is wrong with the name of a function or a schema (API reference)."""
    if not name:
        return refusal(
            f"Invalid '{path}': empty string. Expected a string with minimum length 1, but got an empty string"
            " instead.",
            path, "empty_string",
        )  # fmt: skip
    if len(name) > _LONGEST_NAME:
        return refusal(
            f"Invalid '{path}': string too long. Expected a string with maximum length {_LONGEST_NAME}, but got a"
            f" string with length {len(name)} instead.", path, "string_above_max_length",
        )  # fmt: skip
    return None if _NAME.fullmatch(name) else pattern_fault(path, f"^{_NAME.pattern}$")


def pattern_fault(path: str, pattern: str) -> ApiError:
    """Return the error for a string that does not match a pattern."""
    return refusal(
        f"Invalid '{path}': string does not match pattern. Expected a string that matches the pattern '{pattern}'.",
        path, "invalid_value",
    )  # fmt: skip


def schema_fault(schema: typing.Any, *, is_strict: bool, budget: Budget) -> str:
    """Return what is wrong with a schema, "" for nothing (guide "Structured outputs", supported schemas)."""
    if type(schema) is not dict:
        return ""
    kind = schema.get("type")
    if kind not in (None, "object") and not (type(kind) is list and "object" in kind):
        told = kind if type(kind) is str else str(kind)
        return f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{told[:100]}\"'."
    return _strict_fault(schema, budget) if is_strict else ""


def _strict_fault(schema: JsonObject, budget: Budget) -> str:
    """Return where a strict schema leaves something open, "" for nowhere."""
    waiting: list[tuple[tuple[str, ...], typing.Any]] = [((), schema)]
    while waiting:
        budget.spend()
        context, part = waiting.pop()
        if type(part) is not dict:
            continue
        kind = part.get("type")
        if kind == "object" or (type(kind) is list and "object" in kind):
            if part.get("additionalProperties") is not False:
                return f"In context={context}, 'additionalProperties' is required to be supplied and to be false."
            properties, required = part.get("properties"), part.get("required")
            for name in properties if type(properties) is dict else ():
                budget.spend()
                if type(required) is not list or name not in required:
                    return (
                        f"In context={context}, 'required' is required to be supplied and to be an array including"
                        f" every key in properties. Missing '{name[:100]}'."
                    )
        below: list[tuple[tuple[str, ...], typing.Any]] = [((*context, "items"), part.get("items"))]
        for word in _OBJECTS_OF_SCHEMAS:
            members = part.get(word)
            if type(members) is dict:
                below += [((*context, word, name), member) for name, member in members.items()]
        for word in _ARRAYS_OF_SCHEMAS:
            members = part.get(word)
            if type(members) is list:
                below += [((*context, word, str(at)), member) for at, member in enumerate(members)]
        budget.spend(len(below))
        waiting += reversed(below)
    return ""
