"""Responses: what the API of that name answers.

A response to a context is made at once (making.py), and remembered where that is asked for (memory.py). One in the
background is made at once too, but told over time (background.py).
"""

from __future__ import annotations

import typing

from protocol.budget import Budget, spend_turn
from protocol.errors import ApiError
from protocol.exchange import Response
from protocol.mock.answer.cost import MOST_ANSWER_BYTES, answered, budget_at_once
from protocol.mock.answer.spoken import Caller, Speaker, caller_of, speaker_for
from protocol.mock.engine.resources import Handler, deleted_answer, page_of
from protocol.mock.engine.store import Record
from protocol.mock.engine.time_and_chance import arrival_of
from protocol.mock.engine.world import Call, World
from protocol.mock.responses.background import BackgroundResponses, BackgroundState
from protocol.mock.responses.events import Frames, Obfuscate, padding, response_frames
from protocol.mock.responses.items import (
    ItemChain,
    check_calls_answered,
    context_window,
    item_text,
    items_tokens,
    written_words,
)
from protocol.mock.responses.making import MadeResponse, ResponseMaker, usage_of
from protocol.mock.responses.memory import RESPONSES, ResponseMemory, response_state, shown_response
from protocol.mock.responses.rules import json_word_fault, response_fault
from protocol.openai.answers import COUNTED_AT_ONCE, EVENT_STREAM_FIELDS, event_bytes
from protocol.openai.long_json import is_long_json, json_size
from protocol.openai.scripted_usage import with_scripted
from protocol.turns import in_turns
from protocol.wire.json_text import JsonObject, encode_json

_CREATE = "POST /responses"
_CHARACTERS_A_STEP = 20  # of a budget, for a context whose words are counted some times
_ITEM_STEPS = 3
# Of a stream, how many tell the whole response: created, queued, in progress and its end.
_WHOLE_EVENTS = 4


class Responses:
    """The family of /responses. It keeps nothing itself: any two for one world are the same."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._maker = ResponseMaker(world)
        self._memory = ResponseMemory(world)
        self._background = BackgroundResponses(world, self._memory)

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by operation."""
        return {
            _CREATE: self._create_in_time,
            "POST /responses/compact": self.compact,
            "POST /responses/input_tokens": self.input_tokens,
            "GET /responses/{response_id}": self.retrieve,
            "DELETE /responses/{response_id}": self.delete,
            "POST /responses/{response_id}/cancel": self.cancel,
            "GET /responses/{response_id}/input_items": self.input_items,
        }

    def _create_in_time(self, call: Call) -> JsonObject | Response | typing.Awaitable[JsonObject | Response]:
        """Answer a response; one that may paint a picture is made in turns with others."""
        return self._create_in_turns(call) if may_paint(call.body) else self.create(call)

    async def _create_in_turns(self, call: Call) -> JsonObject | Response:
        answer = await in_turns(lambda: self.create(call))
        return answer if isinstance(answer, (dict, Response)) else await answer

    # ---- creating -----------------------------------------------------------------------------------------------

    def create(self, call: Call) -> JsonObject | Response | typing.Awaitable[JsonObject | Response]:
        """Answer a response or the stream of its events. One in the background is answered before its time."""
        body = self._world.conforming(call.operation.key, call.body)
        key = b"" if self._world.time.is_plain else self._world.key_of(encode_json(call.body))
        speaker = speaker_for(caller_of(call.request), "responses", body)
        return answered(lambda budget: self._created(body, key, speaker, arrival_of(call.request), budget))

    def _created(
        self, body: JsonObject, key: bytes, speaker: Speaker | None, came_at: float, budget: Budget
    ) -> JsonObject | Response | typing.Awaitable[JsonObject]:
        made = self._make(body, key, budget, speaker)
        if body.get("stream"):
            _refuse_long_stream(made.object)
        usage = made.object["usage"]
        moment = self._world.moment(key, lambda: _read_words(made.context.all(), body), usage["input_tokens"], came_at)
        if moment is not None:
            usage["input_tokens_details"]["cached_tokens"] = moment.cached_tokens
            made.object["usage"] = with_scripted(usage, made.told_usage)
        obfuscate = self._obfuscation(body.get("stream_options")) if body.get("stream") else None
        if made.object["background"]:
            record = self._background.add(made, self._world.reference.operation(_CREATE).stages)
            return self._live_stream(record, -1, obfuscate) if body.get("stream") else record.object
        self._memory.remember(made)
        if body.get("stream"):
            frames = response_frames(made.object, obfuscate)
            return self._world.stream([event_bytes(events) for events in frames], moment)
        words = sum(written_words(item) for item in made.output)
        return self._world.after_words(made.object, words, moment)

    def events(self, body: JsonObject, recent: dict[str, ItemChain], caller: Caller | None = None) -> list[JsonObject]:
        """Return all events of the response to a checked body, and remember the response: for a WebSocket.

        `recent` has the contexts of one connection by the ids of its responses, and gets the new one. So a response may
        follow one that is not stored. With `generate` false nothing is said. ApiError as over HTTP.
        """
        is_silent = body.get("generate") is False
        body = self._world.conforming(_CREATE, body)
        key = b"" if self._world.time.is_plain else self._world.key_of(encode_json(body))
        speaker = speaker_for(caller, "responses", {**body, "stream": True}, is_socket=True)
        made = self._make({**body, "background": None}, key, budget_at_once(), speaker, recent, is_silent=is_silent)
        _refuse_long_stream(made.object)
        self._memory.remember(made)
        recent[made.object["id"]] = ItemChain(made.context, made.output)
        frames: Frames = response_frames(made.object, self._obfuscation(body.get("stream_options")))
        return [event for events in frames for event in events]

    def _make(
        self,
        body: JsonObject,
        key: bytes,
        budget: Budget,
        speaker: Speaker | None = None,
        recent: typing.Mapping[str, ItemChain] | None = None,
        *,
        is_silent: bool = False,
    ) -> MadeResponse:
        if self._memory.is_strict:
            _check_names(body)
            _raise(response_fault(body))
        conversation = self._memory.conversation_of(body)
        context = self._memory.context(body, conversation, budget, recent)
        if self._memory.is_strict:
            check_calls_answered(context.all())
            _raise(json_word_fault(body, context.all()))
        text = self._world.time.text(body, key)
        return self._maker.make(
            body, _fitting(context, body, budget), conversation, budget, text=text, speaker=speaker, is_silent=is_silent
        )

    def _live_stream(
        self, record: Record, after: int, obfuscate: Obfuscate | None, include: typing.Collection[str] = ()
    ) -> Response:
        state = typing.cast(BackgroundState, record.state)
        told = self._background.stream(record, state, after, obfuscate, include)
        return Response(200, EVENT_STREAM_FIELDS, told)

    def _obfuscation(self, options: typing.Any) -> Obfuscate | None:
        """Return what pads deltas, as OpenAI does unless the request says otherwise."""
        if isinstance(options, dict) and options.get("include_obfuscation") is False:
            return None
        return padding(self._world.random_bits)

    # ---- what is remembered -------------------------------------------------------------------------------------

    def _record(self, call: Call) -> Record:
        """Return the record of the response that the path names; ApiError 404, or one that is made up."""
        id = call.names["response_id"]
        if self._world.store.get(RESPONSES, id) is None and self._world.settings.unknown_ids == "invent":
            made = self._maker.make({}, ItemChain(None, []), "", budget_at_once(), text=self._world.settings.text)
            made.object["id"] = id
            self._memory.remember(made)
        return self._world.find(RESPONSES, id)

    def retrieve(self, call: Call) -> JsonObject | Response | typing.Awaitable[Response]:
        """Answer a response as it is now, or the stream of its events after number `starting_after`."""
        record = self._record(call)
        include = call.query.get("include") or ()
        if call.query.get("stream") is True:
            if is_long_json(record.object):
                return in_turns(lambda: self._streamed_again(record, call.query))
            return self._streamed_again(record, call.query)
        return shown_response(record.object, response_state(record).output, include)

    def _streamed_again(self, record: Record, query: JsonObject) -> Response:
        _refuse_long_stream(record.object)
        after = query.get("starting_after")
        after = after if type(after) is int else -1
        obfuscate = self._obfuscation({"include_obfuscation": query.get("include_obfuscation")})
        if record.state_of(BackgroundState) is not None:
            return self._live_stream(record, after, obfuscate, query.get("include") or ())
        shown = shown_response(record.object, response_state(record).output, query.get("include") or ())
        frames = response_frames(shown, obfuscate)
        told = [[event for event in events if event["sequence_number"] > after] for events in frames]
        return self._world.stream([event_bytes(events) for events in told if events])

    def cancel(self, call: Call) -> JsonObject:
        """Cancel a background response; one that is over stays as it is. ApiError 400 for one that was awaited."""
        record = self._record(call)
        if not record.object.get("background"):
            if self._world.settings.unknown_ids == "invent":
                return {**record.object, "status": "cancelled"}
            raise ApiError(400, "Cannot cancel a synchronous response.")
        state = record.state_of(BackgroundState)
        if state is not None and record.object["status"] in ("queued", "in_progress"):
            self._background.cancel(record, state)
        return record.object

    def delete(self, call: Call) -> JsonObject:
        """Forget a response."""
        record = self._record(call)
        self._world.store.remove(RESPONSES, record.id)
        return deleted_answer(call, record.id)

    def input_items(self, call: Call) -> JsonObject:
        """Answer a page of a response's context, the newest item first unless the request says otherwise."""
        return page_of(response_state(self._record(call)).context.all(), call.query)

    # ---- counting and compacting --------------------------------------------------------------------------------

    def input_tokens(self, call: Call) -> JsonObject | typing.Awaitable[JsonObject]:
        """Answer how many tokens a response would read."""
        body = self._world.conforming(call.operation.key, call.body)

        def work(budget: Budget) -> JsonObject:
            return {"object": "response.input_tokens", "input_tokens": self._tokens(body, budget)}

        return answered(work)

    def compact(self, call: Call) -> JsonObject | typing.Awaitable[JsonObject]:
        """Answer a context made shorter: one item that stands for all of it."""
        body = self._world.conforming(call.operation.key, call.body)
        if self._memory.is_strict and body.get("input") is None and body.get("previous_response_id") is None:
            raise _missing_parameter("input")

        def work(budget: Budget) -> JsonObject:
            tokens = self._tokens(body, budget)
            return {
                "id": self._world.new_id("resp_"), "object": "response.compaction", "created_at": self._world.now(),
                "output": [self._maker.compaction()], "usage": usage_of(tokens, 1, 0),
            }  # fmt: skip

        return answered(work)

    def _tokens(self, body: JsonObject, budget: Budget) -> int:
        context = self._memory.context(body, self._memory.conversation_of(body), budget)
        return _charged_tokens(context.all(), body, budget)


def _charged_tokens(items: list[JsonObject], body: JsonObject, budget: Budget) -> int:
    """Count the tokens that a response reads, and charge for it: a few bytes may refer to a context of megabytes."""
    for item in items:
        budget.spend(_ITEM_STEPS + len(item_text(item)) // _CHARACTERS_A_STEP)
    return items_tokens(items, body.get("instructions"))


def _raise(fault: ApiError | None) -> None:
    if fault is not None:
        raise fault


def _check_names(body: JsonObject) -> None:
    """Check what a body must name, and what it must not name together; ApiError 400."""
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
        raise ApiError(400, "Background mode requires 'store' to be true.", param="background", code="invalid_value")


def _refuse_long_stream(object: JsonObject) -> None:
    """Raise ApiError 400 for a response that is too long for a stream, whose events tell all of it again and again."""
    most = MOST_ANSWER_BYTES // _WHOLE_EVENTS
    if json_size(object) > most:
        raise ApiError(
            400, f"A stream tells its response {_WHOLE_EVENTS} times, and with its instructions and tools this one has"
            f" more than {most} bytes: ask for it without a stream.", code="answer_too_large",
        )  # fmt: skip


def _missing_parameter(name: str) -> ApiError:
    return ApiError(400, f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")


def _fitting(context: ItemChain, body: JsonObject, budget: Budget) -> ItemChain:
    """Return what a model can read of a context: all of it or, with `truncation = auto`, its end; else ApiError 400."""
    items = context.all()
    room = context_window(body.get("model") or "") - _charged_tokens(items, body, budget)
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


def may_paint(body: JsonObject) -> bool:
    """Tell whether a response may have a picture, which takes seconds to make."""
    tools = body.get("tools")
    return isinstance(tools, list) and any(
        isinstance(tool, dict) and tool.get("type") == "image_generation" for tool in tools
    )


def _read_words(items: typing.Sequence[JsonObject], body: JsonObject) -> list[str]:
    """Return the words that a model reads for a response, in order."""
    instructions = body.get("instructions")
    words = instructions.split() if isinstance(instructions, str) else []
    for item in items:
        text = item_text(item)
        spend_turn(1 + len(text) // COUNTED_AT_ONCE)
        words += text.split()
    return words
