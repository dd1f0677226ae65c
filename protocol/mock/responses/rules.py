"""What OpenAI refuses in a response although each member by itself is as it should be: rules between the members.

Each rule names its source: the API reference ("Create a model response"), a guide, or a public report of the answer.
"""

from __future__ import annotations

import typing

from protocol.budget import spend_turn
from protocol.errors import ApiError
from protocol.mock.answer.refusals import Fault, name_fault, reasons, refusal, schema_budget, schema_fault
from protocol.mock.responses.items import item_text
from protocol.mock.unchecked import object_of, objects_of
from protocol.wire.json_text import JsonObject


def response_fault(body: JsonObject) -> ApiError | None:
    """Return why OpenAI refuses a body whose shape is right, None where it does not."""
    for rule in (_temperature, _functions, _format):
        fault = rule(body)
        if fault is not None:
            return fault
    return None


def json_word_fault(body: JsonObject, items: typing.Sequence[JsonObject]) -> ApiError | None:
    """Return the error for JSON mode without the word; `items` are all of the context. Source: guide "JSON mode"."""
    if _asked_format(body).get("type") != "json_object":
        return None
    instructions = body.get("instructions")
    for text in (instructions if isinstance(instructions, str) else "", *map(item_text, items)):
        spend_turn(1 + len(text) // 500)
        if "json" in text.lower():
            return None
    return refusal(
        "Response input messages must contain the word 'json' in some form to use 'text.format' of type 'json_object'.",
        "input",
    )


def _asked_format(body: JsonObject) -> JsonObject:
    return object_of(object_of(body.get("text")).get("format"))


def _temperature(body: JsonObject) -> Fault:
    """Source: guide "Reasoning"; OpenHands/software-agent-sdk#1837."""
    value, model = body.get("temperature"), body.get("model")
    if value in (None, 1) or not isinstance(model, str):
        return None
    if not reasons(model, object_of(body.get("reasoning")).get("effort")):
        return None
    return refusal("Unsupported parameter: 'temperature' is not supported with this model.", "temperature")


def _functions(body: JsonObject) -> Fault:
    """Source: API reference, a name is of a-z, A-Z, 0-9, underscores and dashes; SamSaffron/term-llm#180."""
    budget = schema_budget()
    for at, tool in enumerate(objects_of(body.get("tools"))):
        spend_turn(1)
        if tool.get("type") not in ("function", "custom") or not isinstance(tool.get("name"), str):
            continue
        fault = name_fault(f"tools[{at}].name", tool["name"])
        if fault is not None:
            return fault
        wrong = schema_fault(tool.get("parameters"), is_strict=tool.get("strict") is True, budget=budget)
        if wrong:
            return refusal(
                f"Invalid schema for function '{tool['name']}': {wrong}", f"tools[{at}].parameters",
                "invalid_function_parameters",
            )  # fmt: skip
    return None


def _format(body: JsonObject) -> Fault:
    """Source: guide "Structured outputs", supported schemas; API reference, the name of `text.format`."""
    asked = _asked_format(body)
    if asked.get("type") != "json_schema" or not isinstance(asked.get("name"), str):
        return None
    fault = name_fault("text.format.name", asked["name"])
    if fault is not None:
        return fault
    wrong = schema_fault(asked.get("schema"), is_strict=asked.get("strict") is True, budget=schema_budget())
    if not wrong:
        return None
    return refusal(
        f"Invalid schema for response_format '{asked['name']}': {wrong}", "text.format.schema", "invalid_json_schema"
    )
