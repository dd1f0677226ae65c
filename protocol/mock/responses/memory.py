"""What is remembered of responses: the contexts that later ones go on from, and the items that they may refer to.

A response has a context: the items of the response before it, or of its conversation, and then its own input. Contexts
share their beginnings (`ItemChain`), so that a long talk is remembered once and not once for each response.
"""

from __future__ import annotations

import typing

from protocol.budget import Budget, spend_turn
from protocol.errors import ApiError
from protocol.mock.engine.store import Record, State
from protocol.mock.engine.world import World
from protocol.mock.responses.items import (
    COMPLETION_STEPS,
    ItemChain,
    completed_item,
    input_items,
    is_reference,
    missing_content,
    shown_item,
)
from protocol.mock.responses.making import MadeResponse
from protocol.wire.json_text import JsonObject

RESPONSES = "/responses"
CONVERSATIONS = "/conversations"


class ResponseState(State):
    """What a response knows besides what it shows: its context, and its output whole, whatever `include` left out."""

    __slots__ = ("context", "output")

    def __init__(self, context: ItemChain, output: list[JsonObject]) -> None:
        self.context = context
        self.output = output


def response_state(record: Record) -> ResponseState:
    """Return the state of a response."""
    return record.state_of(ResponseState) or ResponseState(ItemChain(None, []), [])


class ResponseMemory:
    """Remembers responses and the items of conversations, all in the world: any two for one world are the same."""

    def __init__(self, world: World) -> None:
        self._world = world
        #: Whether to refuse what OpenAI refuses; not with made-up ids, on which clients try out every call as it is.
        self.is_strict = world.settings.validate == "strict" and world.settings.unknown_ids != "invent"

    # ---- what a response is made from ---------------------------------------------------------------------------

    def context(
        self,
        body: JsonObject,
        conversation: str,
        budget: Budget,
        recent: typing.Mapping[str, ItemChain] | None = None,
    ) -> ItemChain:
        """Return the context of a response, its own input included. ApiError 400 or 404 for an id that is not known.

        `conversation` is what conversation_of gives. `recent` has the contexts of one connection, by the ids of its
        responses.
        """
        before = (recent or {}).get(body.get("previous_response_id") or "") or self._before(body, conversation)
        asked = body.get("input")
        if isinstance(asked, list):
            # Before the first one: work that is tried at once ends here, and begins anew in turns.
            budget.spend(COMPLETION_STEPS * len(asked))
        return ItemChain(before, self.resolved(input_items(asked, self._world.new_id), budget))

    def conversation_of(self, body: JsonObject) -> str:
        """Return the id of the conversation that a request is in, "" where it is in none; ApiError 404."""
        conversation = body.get("conversation")
        id = conversation.get("id") if isinstance(conversation, dict) else conversation
        if not id:
            return ""
        return self._world.find(CONVERSATIONS, id, param="conversation").id

    def _before(self, body: JsonObject, conversation: str) -> ItemChain | None:
        """Return the context that a request's own input is added to."""
        if conversation:
            records = self._world.store.all(f"{CONVERSATIONS}/{conversation}/items")
            return ItemChain(None, [record.object for record in records])
        previous = body.get("previous_response_id")
        if not previous:
            return None
        record = self._world.store.get(RESPONSES, previous)
        if record is not None:
            state = response_state(record)
            return ItemChain(state.context, state.output)
        if self._world.settings.unknown_ids == "invent":
            return None
        raise ApiError(
            400, f"Previous response with id '{previous[:100]}' not found.", param="previous_response_id",
            code="previous_response_not_found",
        )  # fmt: skip

    def resolved(self, items: list[JsonObject], budget: Budget, param: str = "input") -> list[JsonObject]:
        """Put items in the place of references to them.

        ApiError 404 for an item that is not known, and 400 for one that neither has an id nor says what it is; `param`
        is what the request calls the list.
        """
        wanted = set()
        for item in items:
            spend_turn(1)
            if is_reference(item):
                wanted.add(str(item.get("id")))
        if not wanted:
            return items
        known = self._items(wanted, budget)
        resolved = []
        for number, item in enumerate(items):
            spend_turn(2)
            if not is_reference(item):
                resolved.append(item)
                continue
            referred = known.get(str(item.get("id")))
            if referred is not None:
                given = {name: value for name, value in item.items() if value is not None and name != "type"}
                resolved.append({**referred, **given})
            elif self.is_strict:
                raise _unresolved(item, f"{param}[{number}]", param)
            elif "type" in item and item["type"] != "item_reference":
                resolved.append(completed_item(item, self._world.new_id))
        return resolved

    def _items(self, wanted: typing.Collection[str], budget: Budget) -> dict[str, JsonObject]:
        """Find items of any response, the newest first, or of any conversation: all of them in one go through these."""
        found: dict[str, JsonObject] = {}
        for record in reversed(self._world.store.all(RESPONSES)):
            state = response_state(record)
            budget.spend(1 + (len(state.output) + len(state.context.items)) // 5)
            for item in (*state.output, *state.context.items):
                id = item.get("id")
                if isinstance(id, str) and id in wanted:
                    found.setdefault(id, item)
            if len(found) == len(wanted):
                return found
        for conversation in self._world.store.all(CONVERSATIONS):
            records = self._world.store.all(f"{conversation.path}/items")
            budget.spend(1 + len(records) // 5)
            for record in records:
                if record.id in wanted:
                    found.setdefault(record.id, record.object)
        return found

    # ---- what is left of a response -----------------------------------------------------------------------------

    def remember(self, made: MadeResponse) -> None:
        """Remember a response that is finished, if it is to be stored, and add to its conversation."""
        if made.object["store"]:
            record = self._world.store.add(RESPONSES, made.object["id"], made.object)
            record.state = ResponseState(made.context, made.output)
            self._world.store.keep_chain(record, made.context)
        self.append_to_conversation(made)

    def append_to_conversation(self, made: MadeResponse) -> None:
        """Add the input and the output of a response to its conversation, if it has one."""
        if not made.conversation or self._world.store.get(CONVERSATIONS, made.conversation) is None:
            return
        collection = f"{CONVERSATIONS}/{made.conversation}/items"
        for item in (*made.context.items, *made.output):
            if self._world.store.get(collection, item["id"]) is None:
                self._world.store.add(collection, item["id"], item)


def _unresolved(item: JsonObject, path: str, param: str) -> ApiError:
    """Return the error for an item that stands for one that is not stored."""
    missing = missing_content(item)
    if missing:
        path = f"{path}.{missing}"
        return ApiError(400, f"Missing required parameter: '{path}'.", param=path, code="missing_required_parameter")
    return ApiError(
        404, f"Item with id '{str(item['id'])[:100]}' not found. Items are not persisted when `store` is set to false."
        " Try again with `store` set to true, or remove this item from your input.",
        param=param,
    )  # fmt: skip


def shown_response(response: JsonObject, output: list[JsonObject], include: typing.Collection[str]) -> JsonObject:
    """Return a response with what `include` asks for, or as it was made; `output` has its items whole."""
    if not include:
        return response
    shown = {item["id"]: shown_item(item, include, response["top_logprobs"]) for item in output}
    return {**response, "output": [shown.get(item["id"], item) for item in response["output"]]}
