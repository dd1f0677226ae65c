"""Responses as a script has them: what a context says to the script, and the items of what that says."""

from __future__ import annotations

import typing

from protocol.budget import spend_turn
from protocol.instrument.script.asked import Line
from protocol.mock.answer.reply import OfferedTool, Told, ToolCall
from protocol.mock.engine.world import World
from protocol.mock.responses.items import (
    is_answer_to_call,
    is_call,
    item_text,
    item_type,
    message_item,
    reasoning_item,
    refusal_item,
    tool_of,
)
from protocol.mock.responses.tool_calls import ToolCaller
from protocol.mock.responses.toolbox import Offer, Toolbox
from protocol.wire.json_text import JsonObject

#: By the finish reason of chats: why a response is incomplete (API reference, `incomplete_details`).
INCOMPLETE_REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}


def item_lines(items: typing.Sequence[JsonObject], instructions: typing.Any) -> typing.Iterator[Line]:
    """Yield what a context says. All items of one response, one after the other, are one turn of the model's."""
    if isinstance(instructions, str):
        yield Line("system", instructions)
    tools: dict[typing.Any, str] = {}
    for item in items:
        spend_turn(1)
        kind, role = item_type(item), item.get("role")
        if kind == "message":
            yield Line(role if role in ("user", "assistant") else "system", item_text(item))
        elif is_answer_to_call(item):
            yield Line("tool", item_text(item), tools.get(item.get("call_id"), ""))
        elif kind == "reasoning" or is_call(item):
            tools[item.get("call_id")] = tool_of(item)
            yield Line("assistant", "")


def scripted_items(world: World, caller: ToolCaller, toolbox: Toolbox, told: Told) -> list[JsonObject]:
    """Return the items of what a script says, in its order; neighbouring texts are one message."""
    items: list[JsonObject] = []
    if told.reasoning:
        items.append(reasoning_item(world.new_id("rs_"), told.reasoning))
    if told.refusal:
        items.append(refusal_item(world.new_id("msg_"), told.refusal))
    texts: list[str] = []
    for part in told.parts:
        if isinstance(part, str):
            texts.append(part)
            continue
        if texts:
            items.append(message_item(world.new_id("msg_"), "".join(texts)))
            texts = []
        items.append(_call_item(caller, toolbox, part))
    if texts:
        items.append(message_item(world.new_id("msg_"), "".join(texts)))
    return items


def _call_item(caller: ToolCaller, toolbox: Toolbox, call: ToolCall) -> JsonObject:
    # A script may call what is not offered: models do so, too.
    offer = toolbox.find(call.name) or Offer(OfferedTool(call.name), "function", {})
    item = caller.item(offer, call)
    if call.id and "call_id" in item:
        item["call_id"] = call.id
    return item
