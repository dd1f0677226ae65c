"""A realtime session as a state machine: the client's events in, the server's events out; no socket and no clock.

Theory of operation. An event of the client is answered at once by what its handler returns. What takes time, a response
or a transcript, is a turn: its first events go out at once, and the rest is a generator that says one word at each
step, and with the last word all that follows from it. Turns go one after the other, in the order in which they were
asked for. A turn that is stopped says what is left of it without words: its parts, its items and itself are over. So
whatever a client asks for, little is made before it is read, and everything that began ends.

The session is kept in the form of the API's general availability. The older form is another module's business.

Source: OpenAI API reference, "Realtime" (client events, server events); the errors' words as its users meet them.
"""

from __future__ import annotations

import math
import typing

from protocol.errors import ApiError
from protocol.mock.answer.logprobs import token_logprobs
from protocol.mock.answer.reply import Reply, ToolCall, count_tokens, reply
from protocol.mock.engine.world import World
from protocol.mock.media.sound import SpokenSound
from protocol.mock.realtime.audio import InputSound, SpeechMark, TurnDetection, decode_sound, encode_sound
from protocol.mock.realtime.items import RealtimeItems, RealtimeUsage, realtime_question, take_item
from protocol.mock.realtime.wire import Events, Turn, TurnFrames, TurnTalk, event_type
from protocol.openai.answers import split_words
from protocol.wire.json_text import JsonObject

# Turns that may wait for their time; a client that wants more must first read what it asked for.
_MOST_TURNS = 32

# The mock's sound has so many tokens a second (guide "Managing realtime costs": one is 50 ms).
_SPOKEN_TOKENS_A_SECOND = 20

# What semantic detection waits for at the longest, by eagerness; with no idea of what was said, the mock always does.
_EAGER_SILENCE_MS = {"low": 8000, "medium": 4000, "auto": 4000, "high": 2000}

_SERVER_VAD: JsonObject = {
    "type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 200,
    "idle_timeout_ms": None, "create_response": True, "interrupt_response": True,
}  # fmt: skip
_SEMANTIC_VAD: JsonObject = {
    "type": "semantic_vad",
    "eagerness": "auto",
    "create_response": True,
    "interrupt_response": True,
}
_INSTRUCTIONS = "You are a helpful assistant."

_LOGPROBS = "item.input_audio_transcription.logprobs"

# What a client cannot change, and what it may set to null, which elsewhere is as good as absent.
_FIXED_MEMBERS = frozenset(["id", "object", "type", "model", "expires_at", "audio"])
_NULLABLE_MEMBERS = frozenset(["tracing", "prompt", "include", "transcription", "noise_reduction", "turn_detection"])

#: What a session's kind is called by `type`.
SessionKind = typing.Literal["realtime", "transcription"]


def new_session(kind: SessionKind, id: str, model: str, expires_at: int) -> JsonObject:
    """Return a session as it is before anybody changes it."""
    sound: JsonObject = {
        "format": {"type": "audio/pcm", "rate": 24000}, "transcription": None, "noise_reduction": None,
        "turn_detection": dict(_SERVER_VAD),
    }  # fmt: skip
    session: JsonObject = {"type": kind, "object": f"realtime.{_kind_word(kind)}", "id": id, "expires_at": expires_at}
    if kind == "transcription":
        return {**session, "audio": {"input": sound}, "include": None}
    voice = {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "alloy", "speed": 1.0}
    return {
        **session, "model": model, "output_modalities": ["audio"], "instructions": _INSTRUCTIONS, "tools": [],
        "tool_choice": "auto", "parallel_tool_calls": True, "max_output_tokens": "inf", "tracing": None,
        "truncation": "auto", "prompt": None, "include": None, "audio": {"input": sound, "output": voice},
    }  # fmt: skip


def _kind_word(kind: str) -> str:
    return "session" if kind == "realtime" else "transcription_session"


def changed_session(session: JsonObject, change: JsonObject) -> JsonObject:
    """Return a session with what a client changes. ApiError 400 for what does not go together."""
    changed = {**session, **_given(change, session.keys() - _FIXED_MEMBERS)}
    modalities = change.get("output_modalities")
    if modalities is not None and modalities not in (["text"], ["audio"]):
        raise ApiError(
            400, f"Invalid modalities: {modalities!r:.100}. Supported combinations are: ['text'] and ['audio'].",
            param="session.output_modalities", code="invalid_value",
        )  # fmt: skip
    changed["audio"] = dict(session["audio"])
    for side, members in (change.get("audio") or {}).items():
        if side in changed["audio"] and members is not None:
            changed["audio"][side] = _changed_side(changed["audio"][side], members)
    return changed


def _changed_side(side: JsonObject, change: JsonObject) -> JsonObject:
    changed = {**side, **_given(change, side.keys())}
    changed["format"] = _full_format(changed["format"])
    detection = changed.get("turn_detection")
    if detection is not None:
        full = _SEMANTIC_VAD if detection.get("type") == "semantic_vad" else _SERVER_VAD
        given = {name: value for name, value in detection.items() if value is not None}
        changed["turn_detection"] = {**full, **given}
    return changed


def _given(change: JsonObject, names: typing.AbstractSet[str]) -> JsonObject:
    return {
        name: value
        for name, value in change.items()
        if name in names and (value is not None or name in _NULLABLE_MEMBERS)
    }


def _full_format(asked: JsonObject) -> JsonObject:
    kind = asked.get("type") or "audio/pcm"
    return {"type": kind, "rate": 24000} if kind == "audio/pcm" else {"type": kind}


class RealtimeSession(TurnTalk):
    """A session: `session` is its configuration, as new_session gives it."""

    longest_seconds = 3600

    def __init__(self, world: World, session: JsonObject, *, check: typing.Callable[[JsonObject], JsonObject]) -> None:
        self.session = session
        super().__init__(world)
        self._check = check
        self._conversation_id = world.new_id("conv_")
        self._items = RealtimeItems()
        self._has_spoken = False
        self._speech_item_id = ""  # of the speech that is under way
        self._input = self._new_input()

    # ---- the talk -------------------------------------------------------------------------------------------------

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
        if self._has_spoken and changed["audio"]["output"]["voice"] != self.session["audio"]["output"]["voice"]:
            raise ApiError(
                400, "Cannot update a conversation's voice if assistant audio is present.",
                param="session.audio.output.voice", code="cannot_update_voice",
            )  # fmt: skip
        before, self.session = self.session["audio"]["input"], changed
        now = changed["audio"]["input"]
        if (before["format"], before["turn_detection"]) != (now["format"], now["turn_detection"]):
            self._input = self._new_input()
        return [self._event("session.updated", session=self.session)]

    def _new_input(self) -> InputSound:
        sound = self.session["audio"]["input"]
        detection, found = sound["turn_detection"], None
        if detection is not None and detection["type"] == "semantic_vad":
            found = TurnDetection(0.5, _SERVER_VAD["prefix_padding_ms"], _EAGER_SILENCE_MS[detection["eagerness"]])
        elif detection is not None:
            found = TurnDetection(
                detection["threshold"], detection["prefix_padding_ms"], detection["silence_duration_ms"]
            )
        return InputSound(sound["format"]["type"], found)

    # ---- the client's sound -------------------------------------------------------------------------------------

    def append(self, message: JsonObject) -> Events:
        """Answer input_audio_buffer.append: nothing, but where speech begins and ends in the sound."""
        events: Events = []
        for mark in self._input.append(decode_sound(message["audio"])):
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
        """Answer output_audio_buffer.clear: over a WebSocket there is no such buffer."""
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
            # The answer to it must know the words, though they are only told one by one.
            item["content"] = [{**part, "transcript": self._world.settings.text}]
            events += self._add_turn(Turn(self._transcript_frames(item, transcription, self._items.sound_ms(item, 0))))
        return events

    def _transcript_frames(self, item: JsonObject, transcription: JsonObject, sound_ms: int) -> TurnFrames:
        """Say what was heard; as there is nobody who listens, that is the mock's text."""
        text = item["content"][0]["transcript"]
        # whisper-1 tells it all at once (reference, "input_audio_transcription.delta").
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
        for turn in self._turns:
            if turn.response and (turn.response["id"] == id if id is not None else turn.is_default):
                return self._stop(turn, "client_cancelled")
        raise ApiError(400, "Cancellation failed: no active response found", code="response_cancel_not_active")

    def _default_turn(self) -> Turn | None:
        return next((turn for turn in self._turns if turn.is_default), None)

    def _respond(self, asked: JsonObject) -> Events:
        """Begin a response; `asked` says what is to be otherwise than in the session."""
        is_default = asked.get("conversation") != "none"
        active = self._default_turn()
        if is_default and active is not None:
            raise ApiError(
                400,
                f"Conversation already has an active response in progress: {active.response['id']}. Wait until the "
                "response is finished before creating a new one.", code="conversation_already_has_active_response",
            )  # fmt: skip
        if len(self._turns) >= _MOST_TURNS:
            raise ApiError(
                400, f"At most {_MOST_TURNS} responses can be in progress at once.", code="too_many_responses"
            )
        given = {name: value for name, value in asked.items() if value is not None and name not in ("audio", "input")}
        used = changed_session(self.session, {**given, "audio": asked.get("audio")})
        items = self._asked_items(asked.get("input"))
        said = reply(realtime_question(items, used, self._seed()), self._world.settings.text)
        usage = self._items.tokens(items)
        usage = usage._replace(text=usage.text + count_tokens(used["instructions"] or ""))
        turn = Turn()
        turn.is_default = is_default
        turn.response = self._new_response(used, asked, is_default)
        turn.frames = self._response_frames(turn, used, said, usage)
        return self._add_turn(turn)

    def _seed(self) -> int:
        return sum(map(ord, self._world.settings.seed))

    def _asked_items(self, given: typing.Any) -> list[JsonObject]:
        """Return the items that a response is made from: the conversation, or those that were given for it."""
        if given is None:
            return list(self._items)
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

    def _response_frames(self, turn: Turn, used: JsonObject, said: Reply, heard: RealtimeUsage) -> TurnFrames:
        """Say a response: what is yielded goes out before the next word is due."""
        response = turn.response
        said_so_far = [self._event("response.created", response={**response, "output": []})]
        limit = used["max_output_tokens"]
        budget = _Budget(limit if type(limit) is int else None)
        for index, call in enumerate(said.calls):
            if not turn.reason:
                said_so_far = yield from self._call_frames(turn, index, call, budget, said_so_far)
        if not said.calls:
            said_so_far = yield from self._message_frames(turn, used, said.text, budget, said_so_far)
        response["status"], response["status_details"] = _outcome(turn.reason)
        response["usage"] = _usage(heard, budget)
        return [*said_so_far, self._event("response.done", response=response), self._rate_limits()]

    def _message_frames(self, turn: Turn, used: JsonObject, text: str, budget: _Budget, events: Events) -> TurnFrames:
        """Say a message of text, or of sound and its transcript; return the last events."""
        speaks = used["output_modalities"] == ["audio"]
        member = "transcript" if speaks else "text"
        part: JsonObject = {"type": "audio" if speaks else "text", member: ""}
        item = self._output_item("message", role="assistant", content=[])
        where = {"response_id": turn.response["id"], "item_id": item["id"], "output_index": 0, "content_index": 0}
        yield events
        events = [*self._added(turn, item, 0), self._event("response.content_part.added", **where, part=dict(part))]
        kept = {"type": f"output_{part['type']}", member: ""}
        item["content"] = [kept]
        words = split_words(text)
        voice = _Voice(used["audio"]["output"], len(words)) if speaks else None
        for number, word in enumerate(words):
            if number:
                yield events
                events = []
            if turn.reason or not budget.take(turn):
                break
            kept[member] += word
            events.append(self._event(_WORDS[member] + ".delta", **where, delta=word))
            if voice is not None:
                sound = encode_sound(voice.say(number))
                events.append(self._event("response.output_audio.delta", **where, delta=sound))
        if voice is not None:
            self._has_spoken = True
            budget.audio_tokens += voice.tokens
            self._items.add_sound(item, 0, bytes(voice.said), voice.format)
            events.append(self._event("response.output_audio.done", **where))
        part[member] = kept[member]
        events.append(self._event(_WORDS[member] + ".done", **where, **{member: kept[member]}))
        events.append(self._event("response.content_part.done", **where, part=part))
        return events + self._done(turn, item, 0)

    def _call_frames(self, turn: Turn, index: int, call: ToolCall, budget: _Budget, events: Events) -> TurnFrames:
        """Say a call of a function; return the last events."""
        id = self._world.new_id("call_")
        item = self._output_item("function_call", name=call.name, call_id=id, arguments="")
        where = {"response_id": turn.response["id"], "item_id": item["id"], "output_index": index, "call_id": id}
        kind = "response.function_call_arguments"
        yield events
        events = self._added(turn, item, index)
        for number, word in enumerate(split_words(call.arguments)):
            if number:
                yield events
                events = []
            if turn.reason or not budget.take(turn):
                break
            item["arguments"] += word
            events.append(self._event(f"{kind}.delta", **where, delta=word))
        events.append(self._event(f"{kind}.done", **where, name=call.name, arguments=item["arguments"]))
        return events + self._done(turn, item, index)

    def _output_item(self, type: str, **members: typing.Any) -> JsonObject:
        id = self._world.new_id("item_")
        return {"id": id, "object": "realtime.item", "type": type, "status": "in_progress", **members}

    def _added(self, turn: Turn, item: JsonObject, index: int) -> Events:
        shown = {**item, "content": []} if "content" in item else dict(item)
        where = {"response_id": turn.response["id"], "output_index": index}
        events = [self._event("response.output_item.added", **where, item=shown)]
        if turn.is_default:
            previous_id = self._items.add(item)
            events.append(self._event("conversation.item.added", previous_item_id=previous_id, item=shown))
        return events

    def _done(self, turn: Turn, item: JsonObject, index: int) -> Events:
        item["status"] = "incomplete" if turn.reason else "completed"
        turn.response["output"].append(item)
        where = {"response_id": turn.response["id"], "output_index": index}
        events = [self._event("response.output_item.done", **where, item=item)]
        if turn.is_default:
            previous_id = self._items.previous_id(item["id"])
            events.append(self._event("conversation.item.done", previous_item_id=previous_id, item=item))
        return events

    def _rate_limits(self) -> JsonObject:
        limits = [
            {"name": name, "limit": limit, "remaining": limit, "reset_seconds": 0.0}
            for name, limit in (("requests", 10_000), ("tokens", 10_000_000))
        ]
        return self._event("rate_limits.updated", rate_limits=limits)


class _Budget:
    """What a response has said so far, and how much it may."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self.text_tokens = 0
        self.audio_tokens = 0

    def take(self, turn: Turn) -> bool:
        """Count a word; a turn that may say no more is stopped."""
        if self._limit is not None and self.text_tokens >= self._limit:
            turn.reason = "max_output_tokens"
            return False
        self.text_tokens += 1
        return True


class _Voice:
    """The sound of an answer, word by word: a voice is a choice of tones."""

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


_WORDS = {"text": "response.output_text", "transcript": "response.output_audio_transcript"}

# How a response ends, by the reason for which it was stopped (server events, "response.done").
_ENDS = {"max_output_tokens": "incomplete", "turn_detected": "cancelled", "client_cancelled": "cancelled"}


def _outcome(reason: str) -> tuple[str, JsonObject | None]:
    status = _ENDS.get(reason, "completed")
    return status, ({"type": status, "reason": reason} if reason else None)


def _usage(heard: RealtimeUsage, said: _Budget) -> JsonObject:
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
