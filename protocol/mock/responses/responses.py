"""Responses: what the API of that name answers, and what it remembers of it.

Theory of operation. A response has a context: the items of the response before it, or of its conversation, and its own
input. protocol/mock/responses/making.py makes the response to a context at once. A background response is made at once
too, but its record only comes to that in the course of its life cycle, and its stream tells each event when it is due.

A record's notes hold `context` (input included), `output` (the items whole, without regard to `include`),
and, of a background response, `final` (what it comes to), `begun` (the clock's seconds) and `stages`; `ended` is when
it was cancelled.
"""

from __future__ import annotations

import typing

from protocol.errors import ApiError
from protocol.exchange import Response
from protocol.mock.engine.resources import Handler, deleted_answer, page_of
from protocol.mock.engine.store import Record
from protocol.mock.engine.world import Call, World
from protocol.mock.responses.events import Frames, response_frames, started_response
from protocol.mock.responses.items import (
    ItemChain,
    check_calls_answered,
    context_window,
    input_items,
    item_type,
    items_tokens,
    shown_item,
    written_words,
)
from protocol.mock.responses.making import MadeResponse, ResponseMaker, usage_of
from protocol.openai.answers import EVENT_STREAM_FIELDS, event_bytes
from protocol.openai.api.operations import Stage
from protocol.wire.json_text import JsonObject

RESPONSES = "/responses"
CONVERSATIONS = "/conversations"
_CREATE_RESPONSE = "POST /responses"

# How long a background response waits and works when the description does not say so.
_BACKGROUND_STAGES = (Stage("queued", 1), Stage("in_progress", 2))
_LONGEST_NAP_SECONDS = 0.5
_OBFUSCATED_LENGTH = 16
_OBFUSCATION_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789ab"


class Responses:
    """The behaviour of /responses. It keeps nothing itself: any two for one world are the same."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._maker = ResponseMaker(world)
        # Clients that try out every call say things that OpenAI would refuse: made-up ids allow it.
        self._is_strict = world.settings.validate == "strict" and world.settings.unknown_ids != "invent"

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by operation."""
        return {
            _CREATE_RESPONSE: self.create,
            "POST /responses/compact": self.compact,
            "POST /responses/input_tokens": self.input_tokens,
            "GET /responses/{response_id}": self.give,
            "DELETE /responses/{response_id}": self.delete,
            "POST /responses/{response_id}/cancel": self.cancel,
            "GET /responses/{response_id}/input_items": self.input_items,
        }

    # ---- creating -----------------------------------------------------------------------------------------------

    def create(self, call: Call) -> typing.Any:
        """Answer a response, or the stream of its events; one in the background is answered before it is made."""
        body = self._world.conforming(call.operation.key, call.body)
        made = self._make(body)
        if made.object["background"]:
            record = self._remember_background(made)
            if body.get("stream"):
                return self._live_stream(record, -1, self._obfuscation(body.get("stream_options")))
            return record.object
        self._remember(made)
        frames = self._frames(made, body) if body.get("stream") else []
        if frames:
            return self._world.stream([event_bytes(events) for events in frames])
        return self._world.after_words(made.object, sum(written_words(item) for item in made.output))

    def events(self, body: JsonObject, recent: dict[str, ItemChain] | None = None) -> list[JsonObject]:
        """Return all events of the response to a checked body, and remember the response: for other transports.

        `recent` holds the contexts of one connection by the responses' ids, and gets the new one: there a response may
        follow one that is not stored. With `generate` false nothing is said. ApiError as over HTTP.
        """
        is_silent = body.get("generate") is False
        body = self._world.conforming(_CREATE_RESPONSE, body)
        made = self._make({**body, "background": None}, recent or {}, is_silent=is_silent)
        self._remember(made)
        if recent is not None:
            recent[made.object["id"]] = ItemChain(made.context, made.output)
        return [event for events in self._frames(made, body) for event in events]

    def _frames(self, made: MadeResponse, body: JsonObject) -> Frames:
        return response_frames(made.object, self._obfuscation(body.get("stream_options")))

    def _make(
        self, body: JsonObject, recent: typing.Mapping[str, ItemChain] | None = None, *, is_silent: bool = False
    ) -> MadeResponse:
        self._check_names(body)
        conversation = self._conversation_of(body)
        before = (recent or {}).get(body.get("previous_response_id") or "") or self._context(body, conversation)
        context = ItemChain(before, self.resolved(input_items(body.get("input"), self._world.new_id)))
        if self._is_strict:
            check_calls_answered(context.all())
        return self._maker.made(body, _fitting(context, body), conversation, is_silent=is_silent)

    def _check_names(self, body: JsonObject) -> None:
        """Check what a body must name, and what it must not name together."""
        if not self._is_strict:
            return
        if not body.get("model") and not body.get("prompt"):
            raise _missing_parameter("model")
        if all(body.get(name) is None for name in ("input", "previous_response_id", "prompt", "conversation")):
            raise _missing_parameter("input")
        if body.get("previous_response_id") and body.get("conversation"):
            raise ApiError(
                400, "Mutually exclusive parameters: 'previous_response_id' and 'conversation'. Ensure you are only"
                " providing one of: 'previous_response_id' or 'conversation'.",
                param="previous_response_id", code="mutually_exclusive_parameters",
            )  # fmt: skip
        if body.get("background") and body.get("store") is False:
            raise ApiError(
                400, "Background mode requires 'store' to be true.", param="background", code="invalid_value"
            )

    # ---- the context --------------------------------------------------------------------------------------------

    def _conversation_of(self, body: JsonObject) -> str:
        conversation = body.get("conversation")
        id = conversation.get("id") if isinstance(conversation, dict) else conversation
        if not id:
            return ""
        return self._world.find(CONVERSATIONS, id, param="conversation").id

    def _context(self, body: JsonObject, conversation: str) -> ItemChain | None:
        """Return the items that go before a request's own input."""
        if conversation:
            records = self._world.store.all(f"{CONVERSATIONS}/{conversation}/items")
            return ItemChain(None, [record.object for record in records])
        previous = body.get("previous_response_id")
        if not previous:
            return None
        record = self._world.store.get(RESPONSES, previous)
        if record is not None:
            return ItemChain(record.notes["context"], record.notes["output"])
        if self._world.settings.unknown_ids == "invent":
            return None
        raise ApiError(
            400, f"Previous response with id '{previous[:100]}' not found.", param="previous_response_id",
            code="previous_response_not_found",
        )  # fmt: skip

    def resolved(self, items: list[JsonObject]) -> list[JsonObject]:
        """Put items in the place of references to them; ApiError 404 for one that nobody knows."""
        resolved = []
        for item in items:
            if item_type(item) != "item_reference":
                resolved.append(item)
                continue
            referred = self._item(str(item.get("id")))
            if referred is not None:
                resolved.append(referred)
            elif self._is_strict:
                raise ApiError(
                    404, f"Item with id '{str(item.get('id'))[:100]}' not found. Items are not persisted when `store`"
                    " is set to false. Try again with `store` set to true, or remove this item from your input.",
                    param="input",
                )  # fmt: skip
        return resolved

    def _item(self, id: str) -> JsonObject | None:
        """Find an item of any response, the newest first, or of any conversation."""
        for record in reversed(self._world.store.all(RESPONSES)):
            for item in (*record.notes["output"], *record.notes["context"].items):
                if item.get("id") == id:
                    return item
        for conversation in self._world.store.all(CONVERSATIONS):
            record = self._world.store.get(f"{conversation.path}/items", id)
            if record is not None:
                return record.object
        return None

    # ---- memory -------------------------------------------------------------------------------------------------

    def _remember(self, made: MadeResponse) -> None:
        if made.object["store"]:
            record = self._world.store.add(RESPONSES, made.object["id"], made.object)
            record.notes.update(context=made.context, output=made.output)
        self._append_to_conversation(made)

    def _append_to_conversation(self, made: MadeResponse) -> None:
        """Add what is new to the conversation: the input, and the output as it can be an input again."""
        if not made.conversation or self._world.store.get(CONVERSATIONS, made.conversation) is None:
            return
        collection = f"{CONVERSATIONS}/{made.conversation}/items"
        for item in (*made.context.items, *made.output):
            if self._world.store.get(collection, item["id"]) is None:
                self._world.store.add(collection, item["id"], item)

    # ---- in the background --------------------------------------------------------------------------------------

    def _remember_background(self, made: MadeResponse) -> Record:
        """Remember a response that is queued, and plan what becomes of it."""
        stages = self._world.reference.operation(_CREATE_RESPONSE).stages[:2] or _BACKGROUND_STAGES
        begun = self._world.clock()
        record = self._world.store.add(RESPONSES, made.object["id"], started_response(made.object, "queued"))
        record.notes.update(context=made.context, output=made.output, final=made.object, begun=begun, stages=stages)

        def work(record: Record) -> None:
            record.object["status"] = "in_progress"

        def finish(record: Record) -> None:
            completed_at = self._world.now() if made.object["completed_at"] else None
            made.object["completed_at"] = completed_at
            record.object.update(made.object)
            self._append_to_conversation(made)

        record.plan.append((begun + stages[0].seconds, work))
        for due, event in self._schedule(record, None):
            if event["type"] == "response.output_item.done":
                record.plan.append((due, _appending_item(event["item"])))
        record.plan.append((begun + stages[0].seconds + stages[1].seconds, finish))
        return record

    def _schedule(
        self, record: Record, obfuscate: typing.Any, include: typing.Collection[str] = ()
    ) -> list[tuple[float, JsonObject]]:
        """Return a background response's events, each with the clock's seconds when it is due."""
        queued, working = (stage.seconds for stage in record.notes["stages"])
        begun = record.notes["begun"]
        final = _shown_response(record.notes["final"], record, include)
        events = [event for events in response_frames(final, obfuscate) for event in events]
        schedule = []
        for at, event in enumerate(events):
            waited = 0.0 if at < 2 else queued + working * (at - 2) / (len(events) - 3)
            schedule.append((begun + waited, event))
        return schedule

    def _live_stream(
        self, record: Record, after: int, obfuscate: typing.Any, include: typing.Collection[str] = ()
    ) -> Response:
        return Response(200, EVENT_STREAM_FIELDS, self._told(record, after, obfuscate, include))

    async def _told(
        self, record: Record, after: int, obfuscate: typing.Any, include: typing.Collection[str]
    ) -> typing.AsyncIterator[bytes]:
        """Tell the events behind a sequence number, each when it is due; those of one that is cancelled end there."""
        world = self._world
        for due, event in self._schedule(record, obfuscate, include):
            if event["sequence_number"] <= after:
                continue
            while world.clock() < due:
                left = (due - world.clock()) / (world.settings.speed or 1)
                await world.sleep(min(left, _LONGEST_NAP_SECONDS))
                if world.store.get(RESPONSES, record.id) is not record or record.object["status"] == "cancelled":
                    return
            if record.object["status"] == "cancelled" and due > record.notes["ended"]:
                return
            yield event_bytes([event])

    def cancel(self, call: Call) -> JsonObject:
        """Cancel a background response; one that is over stays as it is. ApiError 400 for one that was awaited."""
        record = self._record(call)
        if not record.object.get("background"):
            if self._world.settings.unknown_ids == "invent":
                return {**record.object, "status": "cancelled"}
            raise ApiError(400, "Cannot cancel a synchronous response.")
        if record.object["status"] in ("queued", "in_progress"):
            record.plan.clear()
            record.notes["ended"] = self._world.clock()
            record.notes["output"] = list(record.object["output"])
            record.object["status"] = "cancelled"
        return record.object

    # ---- what is remembered -------------------------------------------------------------------------------------

    def _record(self, call: Call) -> Record:
        """Return the record of the response that the path names; ApiError 404, or one that is made up."""
        id = call.names["response_id"]
        record = self._world.store.get(RESPONSES, id)
        if record is None and self._world.settings.unknown_ids == "invent":
            made = self._maker.made({}, ItemChain(None, []), "")
            made.object["id"] = id
            self._remember(made)
            record = self._world.store.get(RESPONSES, id)
        return record or self._world.find(RESPONSES, id)

    def give(self, call: Call) -> typing.Any:
        """Answer a response as it is now, or the stream of its events behind `starting_after`."""
        record = self._record(call)
        include = call.query.get("include") or ()
        if call.query.get("stream") is True:
            return self._streamed_again(record, call.query)
        return _shown_response(record.object, record, include)

    def _streamed_again(self, record: Record, query: JsonObject) -> Response:
        after = query.get("starting_after")
        after = after if type(after) is int else -1
        obfuscate = self._obfuscation({"include_obfuscation": query.get("include_obfuscation")})
        if "begun" in record.notes:
            return self._live_stream(record, after, obfuscate, query.get("include") or ())
        shown = _shown_response(record.object, record, query.get("include") or ())
        frames = response_frames(shown, obfuscate)
        told = [[event for event in events if event["sequence_number"] > after] for events in frames]
        return self._world.stream([event_bytes(events) for events in told if events])

    def delete(self, call: Call) -> JsonObject:
        """Forget a response."""
        record = self._record(call)
        self._world.store.remove(RESPONSES, record.id)
        return deleted_answer(call, record.id)

    def input_items(self, call: Call) -> JsonObject:
        """Answer a page of what a response was made from, the newest first unless the order is asked for."""
        return page_of(self._record(call).notes["context"].all(), call.query)

    # ---- counting and compacting --------------------------------------------------------------------------------

    def input_tokens(self, call: Call) -> JsonObject:
        """Answer how many tokens a response would read."""
        body = self._world.conforming(call.operation.key, call.body)
        return {
            "object": "response.input_tokens",
            "input_tokens": items_tokens(self._read(body), body.get("instructions")),
        }

    def compact(self, call: Call) -> JsonObject:
        """Answer a context made shorter: one item that stands for all of it."""
        body = self._world.conforming(call.operation.key, call.body)
        if self._is_strict and body.get("input") is None and body.get("previous_response_id") is None:
            raise _missing_parameter("input")
        tokens = items_tokens(self._read(body), body.get("instructions"))
        return {
            "id": self._world.new_id("resp_"), "object": "response.compaction", "created_at": self._world.now(),
            "output": [self._maker.compaction()], "usage": usage_of(tokens, 1, 0),
        }  # fmt: skip

    def _read(self, body: JsonObject) -> list[JsonObject]:
        before = self._context(body, self._conversation_of(body))
        return ItemChain(before, self.resolved(input_items(body.get("input"), self._world.new_id))).all()

    def _obfuscation(self, options: typing.Any) -> typing.Callable[[str], str] | None:
        """Return what pads deltas to one length, which OpenAI does unless it is told not to."""
        if isinstance(options, dict) and options.get("include_obfuscation") is False:
            return None
        return self._padding

    def _padding(self, word: str) -> str:
        length = _OBFUSCATED_LENGTH - len(word) % _OBFUSCATED_LENGTH
        bits = self._world.random_bits(6 * length)
        return "".join(_OBFUSCATION_ALPHABET[bits >> 6 * at & 63] for at in range(length))


def _missing_parameter(name: str) -> ApiError:
    return ApiError(400, f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")


def _fitting(context: ItemChain, body: JsonObject) -> ItemChain:
    """Return what a model can read of a context: all, or, with `truncation = auto`, its end; else ApiError 400."""
    items = context.all()
    room = context_window(body.get("model") or "") - items_tokens(items, body.get("instructions"))
    if room >= 0:
        return context
    if body.get("truncation") != "auto":
        message = "Your input exceeds the context window of this model. Please adjust your input and try again."
        raise ApiError(400, message, param="input", code="context_length_exceeded")
    dropped = 0
    while room < 0 and dropped < len(items) - 1:
        room += items_tokens(items[dropped : dropped + 1])
        dropped += 1
    return ItemChain(None, items[dropped:])


def _shown_response(response: JsonObject, record: Record, include: typing.Collection[str]) -> JsonObject:
    """Return a response with what `include` asks for; without one as it was made."""
    if not include:
        return response
    shown = {item["id"]: shown_item(item, include, response["top_logprobs"]) for item in record.notes["output"]}
    return {**response, "output": [shown.get(item["id"], item) for item in response["output"]]}


def _appending_item(item: JsonObject) -> typing.Callable[[Record], None]:
    """Return the change by which an item of a background response is there."""

    def append(record: Record) -> None:
        record.object["output"] = [*record.object["output"], item]

    return append
