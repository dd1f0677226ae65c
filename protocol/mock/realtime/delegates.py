"""Whom a Live session hands work to: a model of the Responses API, and decisions about what was said.

Source: OpenAI API reference, "Live" (client events, server events).
"""

from __future__ import annotations

from protocol.errors import ApiError
from protocol.mock.answer.decided import decision
from protocol.mock.answer.spoken import Caller
from protocol.mock.engine.store import memory_size
from protocol.mock.engine.world import World
from protocol.mock.realtime.recent import RecentResponses
from protocol.mock.realtime.wire import Events
from protocol.mock.responses.responses import Responses
from protocol.mock.unchecked import object_of, objects_of
from protocol.wire.json_text import JsonObject

_MOST_ITEMS = 128


class ResponsesDelegate:
    """A session's conversation with the Responses API: items are gathered until a response is asked for."""

    def __init__(self, world: World, caller: Caller | None) -> None:
        self._world = world
        self._caller = caller
        self._responses = Responses(world)
        self._items: list[JsonObject] = []
        self._items_bytes = 0
        self._last = RecentResponses(1)

    @property
    def held_bytes(self) -> int:
        """How many bytes of memory the items take, and those of the last response."""
        return self._items_bytes + self._last.held_bytes

    def add(self, item: JsonObject) -> None:
        """Let the next response have an item; ApiError 400 where too many wait."""
        if len(self._items) >= _MOST_ITEMS:
            raise _too_many_items()
        self._items.append(item)
        self._items_bytes += memory_size(item)

    def events(self, settings: JsonObject) -> Events:
        """Return the events of a response to all items since the last one; ApiError as over HTTP.

        The response in them has no input, and neither instructions, tools nor output.
        """
        items, self._items, self._items_bytes = self._items, [], 0
        asked = {name: value for name, value in settings.items() if value is not None}
        body = {**asked, "input": items, "store": False, "previous_response_id": next(iter(self._last.chains), None)}
        self._world.check(self._world.reference.operation("POST /responses").body, body)
        events = self._responses.events(body, self._last.chains, self._caller)
        self._last.note_new()
        return [_lean(event) for event in events]


def _lean(event: JsonObject) -> JsonObject:
    if "response" not in event:
        return event
    lean = {name: value for name, value in event["response"].items() if name != "input"}
    return {**event, "response": {**lean, "instructions": None, "tools": [], "output": []}}


class DecisionsDelegate:
    """What a session's decisions know besides what was said: the client's items."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._items: dict[str, JsonObject] = {}
        #: How many bytes of memory the items take.
        self.held_bytes = 0

    def add(self, item: JsonObject) -> JsonObject:
        """Keep an item. Return it with its id; ApiError 400 where the id is taken, or too many are kept."""
        id = item.get("id") or self._world.new_id("item_")
        if id in self._items:
            raise ApiError(400, f"Item with ID '{id:.100}' already exists.", param="item.id", code="invalid_value")
        if len(self._items) >= _MOST_ITEMS:
            raise _too_many_items()
        self._items[id] = {**item, "id": id}
        self.held_bytes += memory_size(self._items[id])
        return self._items[id]

    def remove(self, id: str) -> None:
        """Forget an item; ApiError 400 where it is not there."""
        item = self._items.pop(id, None)
        if item is None:
            raise ApiError(400, f"Item with ID '{id:.100}' not found.", param="item_id", code="item_not_found")
        self.held_bytes -= memory_size(item)

    def decision(self, session: JsonObject, said: str, questions: object) -> JsonObject:
        """Return the decision on questions about a session's first items, what was said since, and the items here."""
        asked = object_of(object_of(session.get("delegation")).get("decisions"))
        given = [*objects_of(session.get("input")), {"content": said}, *self._items.values()]
        known = decision(asked.get("model") or session["model"], given, objects_of(questions))
        decided: JsonObject = self._world.complete(self._world.reference.operation("POST /decisions").result, known)
        return decided


def _too_many_items() -> ApiError:
    return ApiError(400, f"At most {_MOST_ITEMS} items can wait.", param="item", code="too_many_items")
