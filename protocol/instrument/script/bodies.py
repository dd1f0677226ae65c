"""What a request's body says, whatever the API, as far as its JSON alone tells: for calls that are sought in a journal.

Chats have `messages`, Responses `input`, completions `prompt`. What a chain of Responses or a thread has said before is
not in the body, and not told here.
"""

from __future__ import annotations

import typing

from protocol.instrument.script.asked import Line, Talk, talk_of
from protocol.wire.json_text import JsonObject


def talk_in(body: JsonObject) -> Talk:
    """Return what a body says."""
    messages, given = body.get("messages"), body.get("input")
    if isinstance(given, dict):  # DashScope's
        messages, given = given.get("messages"), given.get("prompt") or given.get("text")
    if isinstance(messages, list):
        return talk_of(_message_lines(messages))
    instructions = body.get("instructions")
    lines = [Line("system", instructions)] if isinstance(instructions, str) else []
    if isinstance(given, list) and any(isinstance(item, dict) for item in given):
        return talk_of([*lines, *_item_lines(given)], joins_turns=True)
    said = given if given is not None else body.get("prompt")
    texts = said if isinstance(said, list) else [said]
    return talk_of([*lines, Line("user", "\n".join(text for text in texts if isinstance(text, str)))])


def tools_in(body: JsonObject) -> list[str]:
    """Return the names of the tools that a body offers."""
    parameters = body.get("parameters")
    tools = body.get("tools") or (parameters.get("tools") if isinstance(parameters, dict) else None)
    named = [
        tool.get("function") or tool.get("custom") or tool for tool in _objects(tools or body.get("functions") or [])
    ]
    return [str(tool.get("name") or tool.get("type") or "") for tool in _objects(named)]


def _message_lines(messages: list[typing.Any]) -> typing.Iterator[Line]:
    names: dict[str, str] = {}
    for message in _objects(messages):
        role, text = message.get("role"), _text(message.get("content"))
        for call in _objects(message.get("tool_calls") or []):
            called = call.get("function") or call.get("custom")
            names[str(call.get("id"))] = str(called.get("name")) if isinstance(called, dict) else ""
        if role in ("tool", "function"):
            yield Line("tool", text, names.get(str(message.get("tool_call_id"))) or str(message.get("name") or ""))
        else:
            yield Line(role if role in ("user", "assistant") else "system", text)


def _item_lines(items: list[typing.Any]) -> typing.Iterator[Line]:
    names: dict[str, str] = {}
    for item in _objects(items):
        kind, role = str(item.get("type") or "message"), item.get("role")
        if kind.endswith("_call_output"):
            yield Line("tool", _text(item.get("output")), names.get(str(item.get("call_id")), ""))
        elif kind.endswith("_call") or kind == "reasoning":
            names[str(item.get("call_id"))] = str(item.get("name") or "")
            yield Line("assistant", "")
        elif kind == "message":
            yield Line(role if role in ("user", "assistant") else "system", _text(item.get("content")))


def _text(content: typing.Any) -> str:
    if isinstance(content, str):
        return content
    parts = _objects(content if isinstance(content, list) else [])
    return " ".join(part["text"] for part in parts if isinstance(part.get("text"), str))


def _objects(values: typing.Any) -> list[JsonObject]:
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []
