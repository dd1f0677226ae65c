"""A response of a realtime session, told word by word.

Theory of operation. A response is told by a generator, which yields what goes out before the next word is due. A
response that is to stop gets a reason: the generator then says no further word, and ends the parts, the items and the
response that it has begun. So a client never sees something begin that does not end.

Source: OpenAI API reference, "Realtime", "Server events".
"""

from __future__ import annotations

import math
import typing

from protocol.mock.answer.reply import Reply, ToolCall
from protocol.mock.engine.world import World
from protocol.mock.media.sound import SpokenSound
from protocol.mock.realtime.audio import encode_sound
from protocol.mock.realtime.items import RealtimeItems, RealtimeUsage
from protocol.mock.realtime.wire import Events, TurnFrames
from protocol.openai.answers import split_words
from protocol.openai.scripted_usage import with_scripted
from protocol.wire.json_text import JsonObject

# A token is 50 ms of the mock's sound (guide "Managing realtime costs").
_SPOKEN_TOKENS_A_SECOND = 20

# By the name of the member that holds the words: the events that tell them.
_WORD_EVENTS = {"text": "response.output_text", "transcript": "response.output_audio_transcript"}
# How a response ends, by the reason for which it was stopped (server events, "response.done").
_ENDS = {
    "max_output_tokens": "incomplete",
    "content_filter": "incomplete",
    "turn_detected": "cancelled",
    "client_cancelled": "cancelled",
}

# By the finish reason of chats, which scripts have.
_REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}

#: Makes an event of a type and its members.
MakeEvent = typing.Callable[..., JsonObject]


class ResponseInProgress:
    """A response that is being told: what answers show of it, and how far it has come.

    `is_default` is whether it belongs to the conversation, which has one at a time. `reason` is why it is to stop, ""
    as long as it goes on.
    """

    __slots__ = ("_most_tokens", "audio_tokens", "is_default", "object", "reason", "text_tokens")

    def __init__(self, object: JsonObject, *, is_default: bool) -> None:
        self.object = object
        self.is_default = is_default
        self.reason = ""
        self.text_tokens = 0
        self.audio_tokens = 0
        limit = object["max_output_tokens"]
        self._most_tokens: int | None = limit if type(limit) is int else None

    @property
    def id(self) -> str:
        """The id of the response."""
        return str(self.object["id"])

    def take_word(self) -> bool:
        """Count a word, and return whether it may be said. A response that may say no more gets a reason to stop."""
        if self.reason:
            return False
        if self._most_tokens is not None and self.text_tokens >= self._most_tokens:
            self.reason = "max_output_tokens"
            return False
        self.text_tokens += 1
        return True


class ResponseTeller:
    """Tells the responses of one session, and adds their items to its conversation."""

    def __init__(self, world: World, items: RealtimeItems, event: MakeEvent) -> None:
        self._world = world
        self._items = items
        self._event = event
        #: Whether a response has had sound, after which the session keeps its voice.
        self.has_spoken = False

    def frames(
        self, response: ResponseInProgress, session: JsonObject, said: Reply, heard: RealtimeUsage
    ) -> TurnFrames:
        """Tell a response that says `said` in a session, having read the tokens of `heard`."""
        events = [self._event("response.created", response={**response.object, "output": []})]
        told = said.told
        parts = said.calls or (said.text,) if told is None else told.parts or (said.text,)
        for index, part in enumerate(parts):
            if response.reason:
                break
            if isinstance(part, str):
                events = yield from self._message_frames(response, session, index, part, events)
            else:
                events = yield from self._call_frames(response, index, part, events)
        if told is not None and not response.reason:
            response.reason = _REASONS.get(told.finish, "")
        response.object["status"], response.object["status_details"] = _outcome(response.reason)
        response.object["usage"] = with_scripted(_usage(heard, response), None if told is None else told.usage)
        return [*events, self._event("response.done", response=response.object), self._rate_limits()]

    def _message_frames(
        self, response: ResponseInProgress, session: JsonObject, index: int, text: str, events: Events
    ) -> TurnFrames:
        """Say a message of text, or of sound and its transcript. Return the last events."""
        speaks = session["output_modalities"] == ["audio"]
        member = "transcript" if speaks else "text"
        part: JsonObject = {"type": "audio" if speaks else "text", member: ""}
        item = self._new_item("message", role="assistant", content=[])
        where = {"response_id": response.id, "item_id": item["id"], "output_index": index, "content_index": 0}
        yield events
        events = [
            *self._added(response, item, index),
            self._event("response.content_part.added", **where, part=dict(part)),
        ]
        kept = {"type": f"output_{part['type']}", member: ""}
        item["content"] = [kept]
        words = split_words(text)
        voice = _Voice(session["audio"]["output"], len(words)) if speaks else None
        for number, word in enumerate(words):
            if number:
                yield events
                events = []
            if not response.take_word():
                break
            kept[member] += word
            events.append(self._event(_WORD_EVENTS[member] + ".delta", **where, delta=word))
            if voice is not None:
                sound = encode_sound(voice.say(number))
                events.append(self._event("response.output_audio.delta", **where, delta=sound))
        if voice is not None:
            self.has_spoken = True
            response.audio_tokens += voice.tokens
            self._items.add_sound(item, 0, bytes(voice.said), voice.format)
            events.append(self._event("response.output_audio.done", **where))
        part[member] = kept[member]
        events.append(self._event(_WORD_EVENTS[member] + ".done", **where, **{member: kept[member]}))
        events.append(self._event("response.content_part.done", **where, part=part))
        return events + self._done(response, item, index)

    def _call_frames(self, response: ResponseInProgress, index: int, call: ToolCall, events: Events) -> TurnFrames:
        """Say a call of a function. Return the last events."""
        id = call.id or self._world.new_id("call_")
        item = self._new_item("function_call", name=call.name, call_id=id, arguments="")
        where = {"response_id": response.id, "item_id": item["id"], "output_index": index, "call_id": id}
        kind = "response.function_call_arguments"
        yield events
        events = self._added(response, item, index)
        for number, word in enumerate(split_words(call.arguments)):
            if number:
                yield events
                events = []
            if not response.take_word():
                break
            item["arguments"] += word
            events.append(self._event(f"{kind}.delta", **where, delta=word))
        events.append(self._event(f"{kind}.done", **where, name=call.name, arguments=item["arguments"]))
        return events + self._done(response, item, index)

    def _new_item(self, type: str, **members: typing.Any) -> JsonObject:
        id = self._world.new_id("item_")
        return {"id": id, "object": "realtime.item", "type": type, "status": "in_progress", **members}

    def _added(self, response: ResponseInProgress, item: JsonObject, index: int) -> Events:
        """Return the events with which an item begins; one of the conversation is added to that."""
        shown = {**item, "content": []} if "content" in item else dict(item)
        where = {"response_id": response.id, "output_index": index}
        events = [self._event("response.output_item.added", **where, item=shown)]
        if response.is_default:
            previous_id = self._items.add(item)
            events.append(self._event("conversation.item.added", previous_item_id=previous_id, item=shown))
        return events

    def _done(self, response: ResponseInProgress, item: JsonObject, index: int) -> Events:
        """Return the events with which an item ends."""
        item["status"] = "incomplete" if response.reason else "completed"
        response.object["output"].append(item)
        where = {"response_id": response.id, "output_index": index}
        events = [self._event("response.output_item.done", **where, item=item)]
        if response.is_default:
            previous_id = self._items.previous_id(item["id"])
            events.append(self._event("conversation.item.done", previous_item_id=previous_id, item=item))
        return events

    def _rate_limits(self) -> JsonObject:
        limits = [
            {"name": name, "limit": limit, "remaining": limit, "reset_seconds": 0.0}
            for name, limit in (("requests", 10_000), ("tokens", 10_000_000))
        ]
        return self._event("rate_limits.updated", rate_limits=limits)


class _Voice:
    """The sound of an answer, word by word. A voice is a choice of tones."""

    def __init__(self, output: JsonObject, words: int) -> None:
        self.format = output["format"]["type"]
        self.said = bytearray()
        self.tokens = 0
        name = output["voice"] if type(output["voice"]) is str else str(output["voice"])
        sound = SpokenSound(words, self.format, seed=sum(map(ord, name)), speed=output["speed"] or 1.0)
        self._word_seconds = sound.seconds / max(1, words)
        self._pieces = sound.pieces()

    def say(self, number: int) -> bytes:
        """Return the sound of a word."""
        self.said += self._pieces[number]
        self.tokens = math.ceil(round((number + 1) * self._word_seconds * _SPOKEN_TOKENS_A_SECOND, 6))
        return self._pieces[number]


def _outcome(reason: str) -> tuple[str, JsonObject | None]:
    status = _ENDS.get(reason, "completed")
    return status, ({"type": status, "reason": reason} if reason else None)


def _usage(heard: RealtimeUsage, said: ResponseInProgress) -> JsonObject:
    used, made = heard.text + heard.audio, said.text_tokens + said.audio_tokens
    cached = {"text_tokens": 0, "audio_tokens": 0, "image_tokens": 0}
    return {
        "total_tokens": used + made, "input_tokens": used, "output_tokens": made,
        "input_token_details": {
            "text_tokens": heard.text, "audio_tokens": heard.audio, "image_tokens": 0, "cached_tokens": 0,
            "cached_tokens_details": cached,
        },
        "output_token_details": {"text_tokens": said.text_tokens, "audio_tokens": said.audio_tokens},
    }  # fmt: skip
