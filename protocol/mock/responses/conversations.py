"""Conversations: items that responses go on from and add to."""

from __future__ import annotations

import typing

from protocol.errors import ApiError
from protocol.mock.answer.cost import budget_at_once
from protocol.mock.engine.resources import Handler, create_record, page_of
from protocol.mock.engine.store import Record
from protocol.mock.engine.world import Call, World
from protocol.mock.responses.items import input_items, shown_item
from protocol.mock.responses.memory import CONVERSATIONS, ResponseMemory
from protocol.wire.json_text import JsonObject

# How many items one request may add (API reference, "Create items").
_MOST_GIVEN = 20


class Conversations:
    """The family of /conversations. The engine answers changes and deletions of a conversation."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._memory = ResponseMemory(world)

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by operation."""
        items = "/conversations/{conversation_id}/items"
        return {
            "POST /conversations": self.create,
            f"POST {items}": self.add_items,
            f"GET {items}": self.list_items,
            f"GET {items}/{{item_id}}": self.retrieve_item,
            f"DELETE {items}/{{item_id}}": self.delete_item,
        }

    def create(self, call: Call) -> JsonObject:
        """Begin a conversation, with the items of the request."""
        given = self._items(call)
        record = create_record(call, {"metadata": call.body.get("metadata") or {}})
        self._add(record, given)
        return record.object

    def add_items(self, call: Call) -> JsonObject:
        """Add items, and answer them."""
        conversation = self._conversation(call)
        added = [self._shown(record, call) for record in self._add(conversation, self._items(call))]
        return page_of(added, {"order": "asc", "limit": len(added) or 1})

    def list_items(self, call: Call) -> JsonObject:
        """Answer a page of the items, the newest first unless the request says otherwise."""
        records = self._world.store.all(f"{self._conversation(call).path}/items")
        return page_of([self._shown(record, call) for record in records], call.query)

    def retrieve_item(self, call: Call) -> JsonObject:
        """Answer one item."""
        return self._shown(self._item(call), call)

    def delete_item(self, call: Call) -> JsonObject:
        """Remove an item, and answer its conversation."""
        conversation, item = self._conversation(call), self._item(call)
        self._world.store.remove(item.collection, item.id)
        return conversation.object

    def _conversation(self, call: Call) -> Record:
        return self._world.find(CONVERSATIONS, call.names["conversation_id"])

    def _item(self, call: Call) -> Record:
        conversation, id = self._conversation(call), call.names["item_id"]
        collection = f"{conversation.path}/items"
        record = self._world.store.get(collection, id)
        if record is not None:
            return record
        if self._world.settings.unknown_ids != "invent":
            raise ApiError(404, f"Item with id '{id[:100]}' not found.", code="not_found")
        made = input_items(self._world.settings.text, lambda prefix: id)
        return self._world.store.add(collection, id, made[0])

    def _items(self, call: Call) -> list[JsonObject]:
        given = self._world.conforming(call.operation.key, call.body).get("items") or []
        if len(given) > _MOST_GIVEN and self._world.settings.validate == "strict":
            raise ApiError(
                400, f"Invalid 'items': array too long. Expected an array with maximum length {_MOST_GIVEN}, but got"
                f" an array with length {len(given)} instead.", param="items", code="array_above_max_length",
            )  # fmt: skip
        return self._memory.resolved(input_items(given, self._world.new_id), budget_at_once(), "items")

    def _add(self, conversation: Record, items: typing.Sequence[JsonObject]) -> list[Record]:
        collection = f"{conversation.path}/items"
        return [self._world.store.add(collection, str(item["id"]), item) for item in items]

    def _shown(self, record: Record, call: Call) -> JsonObject:
        include = call.query.get("include")
        return shown_item(record.object, include if isinstance(include, list) else ())
