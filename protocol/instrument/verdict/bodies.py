"""What the bodies of calls say: the text and the calls of an answer, and what of these a later request repeats.

Chat completions and the Responses API are read, plain and streamed; of any other body nothing is known.
"""

from __future__ import annotations

import json
import typing

from protocol.budget import spend_turn
from protocol.wire.json_text import JsonObject

# What a body costs to read (protocol/budget.py): by itself, so many bytes a step, and each event and message of it.
_BODY_STEPS = 20
_BYTES_A_STEP = 50
_ITEM_STEPS = 10


class Answered(typing.NamedTuple):
    """What an answer says. `reason` is why it ended, "" where that is not told; `calls` are (id, name, arguments)."""

    text: str = ""
    reason: str = ""
    calls: tuple[tuple[str, str, str], ...] = ()


class Repeated(typing.NamedTuple):
    """What a request repeats of earlier answers: what the assistant has said, and (call's id, result) of tools."""

    said: tuple[str, ...] = ()
    results: tuple[tuple[str, str], ...] = ()


def answered(body: bytes) -> Answered:
    """Return what an answer's body says, as far as it has come."""
    spend_turn(_BODY_STEPS + len(body) // _BYTES_A_STEP)
    text = body.decode("utf-8", "replace")
    if text.lstrip()[:1] == "{":
        value = _read(text)
        return _of_whole(value) if value is not None else Answered()
    return _of_events(value for value in map(_read, _data_of_events(text)) if value is not None)


def repeated(body: bytes) -> Repeated:
    """Return what a request's body repeats."""
    spend_turn(_BODY_STEPS + len(body) // _BYTES_A_STEP)
    value = _read(body.decode("utf-8", "replace"))
    items = [] if value is None else _objects(value.get("messages")) or _objects(value.get("input"))
    said, results = [], []
    for item in items:
        spend_turn(_ITEM_STEPS)
        if item.get("role") == "assistant":
            said.append(_text_of(item.get("content")))
        elif item.get("role") == "tool":
            results.append((str(item.get("tool_call_id")), _text_of(item.get("content"))))
        elif str(item.get("type")).endswith("_call_output"):
            results.append((str(item.get("call_id")), _text_of(item.get("output"))))
    return Repeated(tuple(text for text in said if text), tuple(results))


def error_code(body: bytes) -> str:
    """Return the code of an error's answer, "" for none."""
    spend_turn(_BODY_STEPS + len(body) // _BYTES_A_STEP)
    value = _read(body.decode("utf-8", "replace")) or {}
    error = value.get("error")
    return str(error.get("code") or "") if isinstance(error, dict) else ""


# ---- answers --------------------------------------------------------------------------------------------------------


def _of_whole(value: JsonObject) -> Answered:
    choice = next(iter(_objects(value.get("choices"))), None)
    if choice is not None:
        message = choice.get("message")
        message = message if isinstance(message, dict) else {"content": choice.get("text")}
        calls = [_call(one.get("id"), one.get("function")) for one in _objects(message.get("tool_calls"))]
        return Answered(_text_of(message.get("content")), str(choice.get("finish_reason") or ""), tuple(calls))
    return _of_response(value)


def _of_response(value: JsonObject) -> Answered:
    output = _objects(value.get("output"))
    text = "".join(_text_of(item.get("content")) for item in output if item.get("type") == "message")
    calls = [_call(item.get("call_id"), item) for item in output if item.get("type") == "function_call"]
    details = value.get("incomplete_details")
    reason = str(details.get("reason")) if isinstance(details, dict) else str(value.get("status") or "")
    return Answered(text, {"max_output_tokens": "length"}.get(reason, reason), tuple(calls))


def _call(id: object, function: object) -> tuple[str, str, str]:
    described = function if isinstance(function, dict) else {}
    return str(id), str(described.get("name") or ""), str(described.get("arguments") or "")


def _of_events(events: typing.Iterable[JsonObject]) -> Answered:
    text, reason = "", ""
    calls: dict[object, list[str]] = {}
    for event in events:
        spend_turn(_ITEM_STEPS)
        kind = str(event.get("type") or "")
        if kind == "response.output_text.delta":
            text += _text_of(event.get("delta"))
        elif kind.startswith("response.") and isinstance(event.get("response"), dict):
            whole = _of_response(event["response"])
            if kind in ("response.completed", "response.incomplete"):
                return whole
        for choice in _objects(event.get("choices"))[:1]:
            delta = choice.get("delta")
            delta = delta if isinstance(delta, dict) else {"content": choice.get("text")}
            text += _text_of(delta.get("content"))
            reason = str(choice.get("finish_reason") or reason)
            for one in _objects(delta.get("tool_calls")):
                id, name, arguments = _call(one.get("id") or "", one.get("function"))
                call = calls.setdefault(one.get("index"), ["", "", ""])
                call[0] += id
                call[1] += name
                call[2] += arguments
    return Answered(text, reason, tuple((id, name, arguments) for id, name, arguments in calls.values()))


def _data_of_events(text: str) -> list[str]:
    return [line[5:].strip() for line in text.splitlines() if line.startswith("data:")]


def _read(text: str) -> JsonObject | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _objects(value: object) -> list[JsonObject]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _text_of(content: object) -> str:
    """Return the text of a message's content: a string, or parts of which some are text."""
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in _objects(content))
    return content if isinstance(content, str) else ""
