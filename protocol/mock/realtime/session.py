"""A realtime session as a state machine: the client's events in, the server's events out; no socket and no clock.

Theory of operation. An event of the client is answered at once by what its handler returns. A response or a transcript
takes time and is a turn: its first events go out at once, and the rest is a generator that says one word at each step.
Turns go one after the other, in the order in which they were asked for. So whatever a client asks for, little is made
before the client has read what came before. A response that is stopped says no further word and ends (response.py).

The session has the form of the API's general availability; beta.py translates the older one.

Source: OpenAI API reference, "Realtime", "Client events" and "Server events"; the messages of errors as users report
them.
"""

from __future__ import annotations

import functools
import typing

from protocol.budget import is_in_turns, spend_turn
from protocol.errors import ApiError
from protocol.instrument.script.asked import talk_of
from protocol.mock.answer.cost import answer_budget, budget_at_once
from protocol.mock.answer.logprobs import token_logprobs
from protocol.mock.answer.reply import Reply, count_tokens, reply
from protocol.mock.answer.spoken import Caller, speaker_for
from protocol.mock.engine.store import memory_size
from protocol.mock.engine.world import World
from protocol.mock.realtime.audio import SpeechMark, decode_sound
from protocol.mock.realtime.configuration import changed_session, input_sound
from protocol.mock.realtime.items import (
    MOST_REALTIME_ITEMS,
    RealtimeItems,
    realtime_lines,
    realtime_question,
    take_item,
)
from protocol.mock.realtime.response import ResponseInProgress, ResponseTeller
from protocol.mock.realtime.wire import Events, Turn, TurnFrames, TurnTalk, event_type, new_event
from protocol.openai.answers import split_words
from protocol.openai.long_json import is_long_json
from protocol.wire.json_text import JsonObject

# How many turns may wait. A client that wants more must first read what it has asked for.
_MOST_TURNS = 32

_LOGPROBS = "item.input_audio_transcription.logprobs"


class _ResponseTurn(Turn):
    """The turn in which a response is told."""

    __slots__ = ("response",)

    def __init__(self, frames: TurnFrames, response: ResponseInProgress, asked_bytes: int) -> None:
        super().__init__(frames, asked_bytes=asked_bytes)
        self.response = response


class RealtimeSession(TurnTalk):
    """A session; `session` is its configuration as new_session gives it. `check` checks the client's events.

    `caller` is who asks a script for answers, None where there is none.
    """

    longest_seconds = 3600

    def __init__(
        self,
        world: World,
        session: JsonObject,
        *,
        check: typing.Callable[[JsonObject], JsonObject],
        caller: Caller | None = None,
    ) -> None:
        super().__init__(world)
        self._caller = caller
        self.session = session
        self._check = check
        self._conversation_id = world.new_id("conv_")
        self._items = RealtimeItems()
        self._teller = ResponseTeller(world, self._items, functools.partial(new_event, world))
        # The id of the item that the speech under way will be.
        self._speech_item_id = ""
        self._input = input_sound(session)
        self._session_bytes = 0  # of what the client has changed in it

    # ---- the talk -------------------------------------------------------------------------------------------------

    @property
    def opens_long(self) -> bool:
        return is_long_json(self.session)  # as a client secret has it

    @property
    def held_bytes(self) -> int:
        return super().held_bytes + self._session_bytes + self._items.held_bytes + self._input.held_bytes

    def shown_bytes(self, message: JsonObject) -> int:
        shown = self._session_bytes if message.get("type") == "session.update" else 0
        if message.get("type") == "conversation.item.retrieve":
            shown = self._items.size(str(message.get("item_id")))
        return shown

    def open(self) -> Events:
        return [self._event("session.created", session=self.session)]

    def receive(self, message: JsonObject) -> Events:
        handler = _HANDLERS[event_type(message, _HANDLERS)]
        if self.session["type"] == "transcription" and message["type"] in _ANSWERING:
            raise ApiError(
                400, f"A transcription session makes no responses, so it takes no '{message['type']}'.",
                param="type", code="invalid_value",
            )  # fmt: skip
        return handler(self, self._check(message))

    # ---- the session --------------------------------------------------------------------------------------------

    def update(self, message: JsonObject) -> Events:
        """Answer session.update."""
        change = message["session"]
        if change.get("type", self.session["type"]) != self.session["type"]:
            raise ApiError(
                400,
                f"Passing a {change['type']} session update event to a {self.session['type']} session is not allowed.",
                param="session.type", code="invalid_value",
            )  # fmt: skip
        changed = changed_session(self.session, change)
        if self._teller.has_spoken and changed["audio"]["output"]["voice"] != self.session["audio"]["output"]["voice"]:
            raise ApiError(
                400, "Cannot update a conversation's voice if assistant audio is present.",
                param="session.audio.output.voice", code="cannot_update_voice",
            )  # fmt: skip
        before, self.session = self.session["audio"]["input"], changed
        self._session_bytes = memory_size(changed)
        now = changed["audio"]["input"]
        if (before["format"], before["turn_detection"]) != (now["format"], now["turn_detection"]):
            self._input = input_sound(changed)
        return [self._event("session.updated", session=self.session)]

    # ---- the client's sound -------------------------------------------------------------------------------------

    def append(self, message: JsonObject) -> Events:
        """Answer input_audio_buffer.append: with events only where speech begins or ends in the sound."""
        events: Events = []
        for mark in self._input.append(decode_sound(message["audio"])):
            spend_turn(200)
            events += self._speech_began(mark) if mark.kind == "started" else self._speech_ended(mark)
        return events

    def _speech_began(self, mark: SpeechMark) -> Events:
        self._speech_item_id = self._world.new_id("item_")
        began = self._event(
            "input_audio_buffer.speech_started", audio_start_ms=mark.at_ms, item_id=self._speech_item_id
        )
        turn = self._default_turn()
        if turn is None or not self.session["audio"]["input"]["turn_detection"]["interrupt_response"]:
            return [began]
        return [began, *self._stop(turn, "turn_detected")]

    def _speech_ended(self, mark: SpeechMark) -> Events:
        id, self._speech_item_id = self._speech_item_id, ""
        events = [self._event("input_audio_buffer.speech_stopped", audio_end_ms=mark.at_ms, item_id=id)]
        events += self._committed(mark.sound, id)
        answers = self.session["audio"]["input"]["turn_detection"]["create_response"]
        if answers and self.session["type"] == "realtime" and self._default_turn() is None:
            events += self._respond({})
        return events

    def commit(self, message: JsonObject) -> Events:
        """Answer input_audio_buffer.commit."""
        id, self._speech_item_id = self._speech_item_id or self._world.new_id("item_"), ""
        return self._committed(self._input.commit(), id)

    def clear(self, message: JsonObject) -> Events:
        """Answer input_audio_buffer.clear."""
        self._input.clear()
        self._speech_item_id = ""
        return [self._event("input_audio_buffer.cleared")]

    def clear_output(self, message: JsonObject) -> Events:
        """Refuse output_audio_buffer.clear: over a WebSocket there is no such buffer."""
        raise ApiError(
            400, "'output_audio_buffer.clear' is for WebRTC and SIP; over a WebSocket, cancel the response and "
            "truncate its item.", param="type", code="invalid_value",
        )  # fmt: skip

    def _committed(self, sound: bytes, id: str) -> Events:
        part = {"type": "input_audio", "transcript": None}
        item: JsonObject = {
            "id": id, "object": "realtime.item", "type": "message", "status": "completed", "role": "user",
            "content": [part],
        }  # fmt: skip
        previous_id = self._items.add(item)
        self._items.add_sound(item, 0, sound, self._input.format)
        events = [
            self._event("input_audio_buffer.committed", previous_item_id=previous_id, item_id=id),
            *self._item_events(dict(item), previous_id),
        ]
        transcription = self.session["audio"]["input"]["transcription"]
        if transcription is not None:
            # A response must know the words, though the client is only told them one by one.
            item["content"] = [{**part, "transcript": self._world.settings.text}]
            events += self._add_turn(Turn(self._transcript_frames(item, transcription, self._items.sound_ms(item, 0))))
        return events

    def _transcript_frames(self, item: JsonObject, transcription: JsonObject, sound_ms: int) -> TurnFrames:
        """Say what was heard. The mock does not understand sound, so that is its own text."""
        text = item["content"][0]["transcript"]
        # whisper-1 tells the whole transcript at once (reference, "input_audio_transcription.delta").
        is_whole = transcription.get("model") == "whisper-1"
        pieces = [text] if is_whole else split_words(text)
        logprobs: list[JsonObject | None] = [None] * len(pieces)
        if _LOGPROBS in (self.session["include"] or []):
            entries = token_logprobs(pieces, 0, 0)
            logprobs = [{name: entry[name] for name in ("token", "logprob", "bytes")} for entry in entries]
        where = {"item_id": item["id"], "content_index": 0}
        kind = "conversation.item.input_audio_transcription"
        said: Events = []
        for piece, logprob in zip(pieces, logprobs):
            yield said
            told = {} if logprob is None else {"logprobs": [logprob]}
            said = [self._event(f"{kind}.delta", **where, delta=piece, **told)]
        usage: JsonObject = {"type": "duration", "seconds": sound_ms / 1000}
        if not is_whole:
            audio, words = -(-sound_ms // 100), len(pieces)
            usage = {
                "type": "tokens", "total_tokens": audio + words, "input_tokens": audio, "output_tokens": words,
                "input_token_details": {"text_tokens": 0, "audio_tokens": audio},
            }  # fmt: skip
        completed = self._event(f"{kind}.completed", **where, transcript=text, usage=usage)
        if logprobs and logprobs[0] is not None:
            completed["logprobs"] = logprobs
        return [*said, completed]

    # ---- the conversation ---------------------------------------------------------------------------------------

    def create_item(self, message: JsonObject) -> Events:
        """Answer conversation.item.create."""
        item, sounds = take_item(message["item"], self._world.new_id("item_"), self._input.format)
        if item["type"] == "function_call_output" and not self._was_called(item["call_id"]):
            raise ApiError(
                400, f"Tool call ID '{item['call_id']:.100}' not found in conversation.", param="item.call_id",
                code="invalid_tool_call_id",
            )  # fmt: skip
        previous_id = self._items.add(item, message.get("previous_item_id"))
        for part, sound in sounds.items():
            self._items.add_sound(item, part, sound, self._input.format)
        return self._item_events(item, previous_id)

    def _was_called(self, call_id: str) -> bool:
        return any(item["type"] == "function_call" and item.get("call_id") == call_id for item in self._items)

    def _item_events(self, item: JsonObject, previous_id: str | None) -> Events:
        return [
            self._event(f"conversation.item.{step}", previous_item_id=previous_id, item=item)
            for step in ("added", "done")
        ]

    def retrieve_item(self, message: JsonObject) -> Events:
        """Answer conversation.item.retrieve: the item with its sound."""
        item = self._item(message["item_id"], "retriev")
        return [self._event("conversation.item.retrieved", item=self._items.with_sound(item))]

    def delete_item(self, message: JsonObject) -> Events:
        """Answer conversation.item.delete."""
        item = self._item(message["item_id"], "delet")
        self._items.remove(item["id"])
        return [self._event("conversation.item.deleted", item_id=item["id"])]

    def truncate_item(self, message: JsonObject) -> Events:
        """Answer conversation.item.truncate."""
        item = self._item(message["item_id"], "truncat")
        part, end_ms = message["content_index"], message["audio_end_ms"]
        sound_ms = self._items.sound_ms(item, part) if item.get("role") == "assistant" else 0
        if not sound_ms:
            raise ApiError(
                400, "Only audio that the model has said can be truncated.", param="content_index", code="invalid_value"
            )
        if end_ms > sound_ms:
            raise ApiError(
                400, f"Audio content of {sound_ms}ms is already shorter than {end_ms}ms", param="audio_end_ms",
                code="invalid_value",
            )  # fmt: skip
        self._items.truncate(item, part, end_ms)
        return [self._event("conversation.item.truncated", item_id=item["id"], content_index=part, audio_end_ms=end_ms)]

    def _item(self, id: str, stem: str) -> JsonObject:
        item = self._items.find(id)
        if item is None:
            raise ApiError(
                400, f"Error {stem}ing item: the item with id '{id:.100}' does not exist.", param="item_id",
                code=f"item_{stem}e_invalid_item_id",
            )  # fmt: skip
        return item

    # ---- responses ----------------------------------------------------------------------------------------------

    def create_response(self, message: JsonObject) -> Events:
        """Answer response.create."""
        return self._respond(message.get("response") or {})

    def cancel_response(self, message: JsonObject) -> Events:
        """Answer response.cancel."""
        id = message.get("response_id")
        for turn in self._response_turns():
            if turn.response.id == id if id is not None else turn.response.is_default:
                return self._stop(turn, "client_cancelled")
        raise ApiError(400, "Cancellation failed: no active response found", code="response_cancel_not_active")

    def _response_turns(self) -> list[_ResponseTurn]:
        return [turn for turn in self._turns if isinstance(turn, _ResponseTurn)]

    def _default_turn(self) -> _ResponseTurn | None:
        """Return the turn of the conversation's response, None where there is none in progress."""
        return next((turn for turn in self._response_turns() if turn.response.is_default), None)

    def _stop(self, turn: _ResponseTurn, reason: str) -> Events:
        """Let a response end now. Return what is left to say."""
        turn.response.reason = reason
        return self.rest_of(turn)

    def _respond(self, asked: JsonObject) -> Events:
        """Begin a response; `asked` has what is to be different from the session."""
        is_default = asked.get("conversation") != "none"
        active = self._default_turn()
        if is_default and active is not None:
            raise ApiError(
                400,
                f"Conversation already has an active response in progress: {active.response.id}. Wait until the "
                "response is finished before creating a new one.", code="conversation_already_has_active_response",
            )  # fmt: skip
        if len(self._turns) >= _MOST_TURNS:
            raise ApiError(
                400, f"At most {_MOST_TURNS} responses can be in progress at once.", code="too_many_responses"
            )
        given = {name: value for name, value in asked.items() if value is not None and name not in ("audio", "input")}
        used = changed_session(self.session, {**given, "audio": asked.get("audio")})
        items = self._asked_items(asked.get("input"))
        said = self._reply(items, used)
        usage = self._items.tokens(items)
        usage = usage._replace(text=usage.text + count_tokens(used["instructions"] or ""))
        response = ResponseInProgress(self._new_response(used, asked, is_default), is_default=is_default)
        frames = self._teller.frames(response, used, said, usage)
        return self._add_turn(_ResponseTurn(frames, response, memory_size(asked)))

    def _reply(self, items: list[JsonObject], used: JsonObject) -> Reply:
        """Return what is said to items, `used` being the session's configuration for it."""
        question = realtime_question(items, used, self._seed())
        budget = answer_budget() if is_in_turns() else budget_at_once()
        body = {**used, "stream": True}
        speaker = speaker_for(self._caller, "realtime", body, model=self.session.get("model") or "", is_socket=True)
        if speaker is not None:
            lines = realtime_lines(items, question.instructions)
            scripted = speaker.reply(lambda: talk_of(lines, joins_turns=True), question.tools, budget)
            if scripted is not None:
                return scripted
        return reply(question, self._world.settings.text, budget)

    def _seed(self) -> int:
        return sum(map(ord, self._world.settings.seed))

    def _asked_items(self, given: typing.Any) -> list[JsonObject]:
        """Return the items that a response is made from: the conversation, or those that the request gives."""
        if given is None:
            return list(self._items)
        if len(given) > MOST_REALTIME_ITEMS:
            raise ApiError(
                400, f"A response is made from at most {MOST_REALTIME_ITEMS} items, but {len(given)} came.",
                param="response.input", code="array_above_max_length",
            )  # fmt: skip
        items = []
        for item in given:
            if item.get("type") == "item_reference":
                items.append(self._item(item["id"], "referenc"))
            else:
                items.append(take_item(item, self._world.new_id("item_"), self._input.format)[0])
        return items

    def _new_response(self, used: JsonObject, asked: JsonObject, is_default: bool) -> JsonObject:
        output = used["audio"]["output"]
        return {
            "object": "realtime.response", "id": self._world.new_id("resp_"), "status": "in_progress",
            "status_details": None, "output": [], "conversation_id": self._conversation_id if is_default else None,
            "output_modalities": used["output_modalities"], "max_output_tokens": used["max_output_tokens"],
            "audio": {"output": {"format": output["format"], "voice": output["voice"]}}, "usage": None,
            "metadata": asked.get("metadata"),
        }  # fmt: skip


_HANDLERS: dict[str, typing.Callable[[RealtimeSession, JsonObject], Events]] = {
    "session.update": RealtimeSession.update,
    "input_audio_buffer.append": RealtimeSession.append,
    "input_audio_buffer.commit": RealtimeSession.commit,
    "input_audio_buffer.clear": RealtimeSession.clear,
    "output_audio_buffer.clear": RealtimeSession.clear_output,
    "conversation.item.create": RealtimeSession.create_item,
    "conversation.item.retrieve": RealtimeSession.retrieve_item,
    "conversation.item.truncate": RealtimeSession.truncate_item,
    "conversation.item.delete": RealtimeSession.delete_item,
    "response.create": RealtimeSession.create_response,
    "response.cancel": RealtimeSession.cancel_response,
}
_ANSWERING = frozenset(["response.create", "response.cancel", "output_audio_buffer.clear"])
