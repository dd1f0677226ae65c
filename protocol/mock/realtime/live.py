"""A Live session over a WebSocket: it listens all the time, and says the mock's text after each stretch of speech.

What a client appends for the model to know is acknowledged and not used. The model never delegates anything by itself;
responses and decisions are made when the client asks for them, decisions also where its triggers do.

Source: OpenAI API reference, "Live" (client events, server events).
"""

from __future__ import annotations

import array
import typing

from protocol.budget import spend_turn
from protocol.errors import ApiError
from protocol.mock.answer.spoken import Caller
from protocol.mock.engine.store import memory_size
from protocol.mock.engine.world import World
from protocol.mock.media.sound import WORD_SECONDS, SpokenSound, encode_g711
from protocol.mock.realtime.audio import InputSound, TurnDetection, decode_sound, encode_sound
from protocol.mock.realtime.delegates import DecisionsDelegate, ResponsesDelegate
from protocol.mock.realtime.wire import Events, Turn, TurnFrames, TurnTalk, event_type
from protocol.mock.unchecked import object_of, objects_of
from protocol.openai.answers import split_words
from protocol.wire.json_text import JsonObject

LIVE_SESSIONS = "/live/sessions"
_SPEECH = TurnDetection(0.5, 300, 200)
_SECONDS = 3600
_FORMAT: JsonObject = {"type": "audio/pcm", "rate": 24000}
_SECOND = 48_000  # bytes of PCM16 at 24 kHz
_FIXTURE_SECONDS = 30
_MOST_TURNS = 32
# How many ids of decision.create a session remembers, since none may come twice.
_MOST_DECISIONS = 1000
_DECISION_STEPS = 50  # protocol/budget.py


class _Speech(Turn):
    """What the model says, which a fixture interrupts."""


class LiveTalk(TurnTalk):
    """A Live session. It begins with the client's `session.start`."""

    longest_seconds = _SECONDS

    def __init__(
        self,
        world: World,
        *,
        check: typing.Callable[[JsonObject], JsonObject],
        caller: Caller | None = None,
        forked: JsonObject | None = None,
    ) -> None:
        """Begin; a session that is `forked` from another has its settings, where `session.start` has no others."""
        super().__init__(world)
        self._forked = forked or {}
        self._check = check
        self._responses = ResponsesDelegate(world, caller)
        self._decisions = DecisionsDelegate(world)
        self._decided: set[str] = set()
        self._fixture: Turn | None = None
        self._said = ""
        self._session: JsonObject = {}
        self._input = InputSound("audio/pcm", _SPEECH)
        self._format: JsonObject = _FORMAT
        self._is_muted = False
        self._said_ms = 0
        self._session_bytes = 0

    @property
    def held_bytes(self) -> int:
        delegated = self._responses.held_bytes + self._decisions.held_bytes
        return super().held_bytes + self._session_bytes + self._input.held_bytes + delegated

    def shown_bytes(self, message: JsonObject) -> int:
        return self._session_bytes if message.get("type") == "session.update" else 0

    def receive(self, message: JsonObject) -> Events:
        kind = event_type(message, _HANDLERS)
        if (kind == "session.start") is bool(self._session):
            state = "has begun already" if self._session else "has not begun: send 'session.start' first"
            raise ApiError(400, f"The session {state}.", param="type", code="invalid_session_state")
        return _HANDLERS[kind](self, self._check(message))

    def error(self, error: ApiError, message: JsonObject | None) -> JsonObject:
        told = error.as_dict()["error"]
        return self._event("error", error={**told, "code": told["code"] or "invalid_request"}, **_client_event(message))

    def expired(self) -> Events:
        return [self._closed("expired", None)]

    def end(self) -> None:
        super().end()
        self._fixture = None

    def start(self, message: JsonObject) -> Events:
        """Answer session.start."""
        given = {name: value for name, value in message["session"].items() if value is not None}
        asked: JsonObject = {**self._forked, **given}
        audio: JsonObject = {**object_of(self._forked.get("audio")), **object_of(asked.get("audio"))}
        self._format = audio.get("format") or _FORMAT
        self._input = InputSound(self._format["type"], _SPEECH)
        self._session = {
            **asked, "id": self._world.new_id("live_"), "status": "active", "audio": {**audio, "format": self._format},
            "expires_at": self._world.now() + _SECONDS,
        }  # fmt: skip
        self._session_bytes = memory_size(self._session)
        return [self._event("session.started", session=self._session, **_client_event(message))]

    def update(self, message: JsonObject) -> Events:
        """Answer session.update: what it leaves out of the session's delegation stays as it was."""
        asked = {name: value for name, value in message["session"].items() if value is not None}
        known, wanted = object_of(self._session.get("delegation")), object_of(asked.get("delegation"))
        kind = known.get("type", "client")
        if wanted.get("type", kind) != kind:
            raise ApiError(
                400, f"The session's delegation keeps its type '{kind}'.", param="session.delegation.type",
                code="invalid_value",
            )  # fmt: skip
        if wanted:
            asked["delegation"] = {**known, **wanted}
            if kind in known:
                asked["delegation"][kind] = {**known[kind], **object_of(wanted.get(kind))}
        self._session = {**self._session, **asked}
        self._session_bytes = memory_size(self._session)
        return [self._event("session.updated", session=self._session, **_client_event(message))]

    def append(self, message: JsonObject) -> Events:
        """Take sound, unless the input is muted. Speech that ends in it is answered."""
        sound = decode_sound(message["audio"])
        if self._is_muted or self._fixture in self._turns:
            return []
        events: Events = []
        for mark in self._input.append(_at_24_khz(sound) if self._is_slow else sound):
            if mark.kind == "stopped":
                events += self._add_turn(_Speech(self._frames(mark.at_ms)))
        return events

    def play(self, message: JsonObject) -> Events:
        """Answer session.output_audio.fixture.play: the model falls silent, and hears nothing while the sound plays."""
        if self._fixture in self._turns:
            raise ApiError(400, "An audio fixture is playing already.", param="type", code="fixture_in_progress")
        sound = decode_sound(message["audio"])
        if not sound or len(sound) % 2 or len(sound) > _FIXTURE_SECONDS * _SECOND:
            raise ApiError(
                400, f"Invalid 'audio': expected mono PCM16 at 24 kHz, at most {_FIXTURE_SECONDS} seconds of it.",
                param="audio", code="invalid_value",
            )  # fmt: skip
        self._turns = [turn for turn in self._turns if not isinstance(turn, _Speech)]
        self._fixture = Turn(self._fixture_frames(sound, message), asked_bytes=len(sound))
        return self._add_turn(self._fixture, is_next=True)

    def _fixture_frames(self, sound: bytes, message: JsonObject) -> TurnFrames:
        self._said_ms = max(self._said_ms, self._input.end_ms)
        events = [self._event("session.output_audio.fixture.playing", **_client_event(message))]
        step = round(WORD_SECONDS * _SECOND)
        for at in range(0, len(sound), step):
            yield events
            piece = sound[at : at + step]
            when = {"start_ms": self._said_ms, "end_ms": self._said_ms + len(piece) * 1000 // _SECOND}
            self._said_ms = when["end_ms"]
            events = [self._event("session.output_audio.delta", delta=encode_sound(self._in_format(piece)), **when)]
        return [*events, self._event("session.output_audio.fixture.played", **_client_event(message))]

    def _in_format(self, sound: bytes) -> bytes:
        """Return samples of 24 kHz in the session's format."""
        if self._is_slow:
            return _at_16_khz(sound)
        if self._format["type"] == "audio/pcm":
            return sound
        every_third = array.array("H", sound)[::3].tobytes()  # 8 kHz
        return encode_g711(every_third, "ulaw" if self._format["type"] == "audio/pcmu" else "alaw")

    def refuse_key(self, message: JsonObject) -> Events:
        """Refuse transport.dtmf.send: nobody calls by SIP here."""
        raise ApiError(400, "'transport.dtmf.send' is for SIP calls.", param="type", code="invalid_value")

    @property
    def _is_slow(self) -> bool:
        return self._format == {"type": "audio/pcm", "rate": 16000}

    def mute(self, message: JsonObject) -> Events:
        """Answer session.input_audio.mute and unmute."""
        self._is_muted = message["type"].endswith(".mute")
        return [self._event(f"{message['type']}d", **_client_event(message))]

    def add_context(self, message: JsonObject) -> Events:
        """Acknowledge what is appended for the model to know."""
        when = {"start_ms": self._input.end_ms, "end_ms": self._input.end_ms}
        return [self._event(f"{message['type']}ed", **when, **_client_event(message))]

    # ---- what is delegated --------------------------------------------------------------------------------------

    def _delegation(self, kind: str, message: JsonObject) -> JsonObject:
        """Return the settings of a delegation; ApiError 400 where the session's is another."""
        delegation = object_of(self._session.get("delegation"))
        if delegation.get("type") != kind:
            raise ApiError(
                400, f"'{message['type']}' needs a session whose delegation has the type '{kind}'.",
                param="type", code="invalid_session_state",
            )  # fmt: skip
        return object_of(delegation.get(kind))

    def add_response_item(self, message: JsonObject) -> Events:
        """Take response.item.create, of which nothing is told."""
        self._delegation("responses", message)
        self._responses.add(message["item"])
        return []

    def create_response(self, message: JsonObject) -> Events:
        """Answer response.create."""
        settings = self._delegation("responses", message)
        if len(self._turns) >= _MOST_TURNS:
            raise ApiError(400, f"At most {_MOST_TURNS} responses can wait.", code="too_many_responses")
        told = self._responses.events(settings)
        frames = self._response_frames(told, _client_event(message))
        return self._add_turn(Turn(frames, asked_bytes=memory_size(told)))

    def _response_frames(self, told: Events, client_event: JsonObject) -> TurnFrames:
        """Tell the events of a response a word at a time."""
        said: Events = []
        has_word = False
        for event in told:
            if event["type"].endswith(".delta"):
                if has_word:
                    yield said
                    said = []
                has_word = True
            said.append(self._event("response.event", event=event, delegation_id=None, **client_event))
        return said

    def add_decision_item(self, message: JsonObject) -> Events:
        """Answer decision.item.create."""
        item = self._decisions.add(message["item"])
        return [self._event("decision.item.created", item=item, **_client_event(message))]

    def delete_decision_item(self, message: JsonObject) -> Events:
        """Answer decision.item.delete."""
        self._decisions.remove(message["item_id"])
        return [self._event("decision.item.deleted", item_id=message["item_id"], **_client_event(message))]

    def decide(self, message: JsonObject) -> Events:
        """Answer decision.create."""
        settings, id = self._delegation("decisions", message), str(message["event_id"])
        if id in self._decided or len(self._decided) >= _MOST_DECISIONS:
            known = f"The event_id '{id:.100}' was used before."
            told = known if id in self._decided else f"A session makes at most {_MOST_DECISIONS} decisions."
            raise ApiError(400, told, param="event_id", code="invalid_value")
        self._decided.add(id)
        return [self._decision(settings.get("questions"), delegation_id=self._world.new_id("deleg_"))]

    def _decision(self, questions: object, **members: typing.Any) -> JsonObject:
        spend_turn(_DECISION_STEPS)
        decided = self._decisions.decision(self._session, self._said, questions)
        event = {"type": "decision.completed", "decision": decided}
        nothing = dict.fromkeys(("delegation_id", "source_event_id", "source_event_type", "trigger_id"))
        return self._event("decision.event", event=event, **{**nothing, **members})

    def _triggered(self, source: JsonObject) -> Events:
        """Return an event, and the decisions that the session wants on such events."""
        events = [source]
        for trigger in objects_of(self._session.get("triggers")):
            if trigger.get("event_type") == source["type"]:
                where = {"source_event_id": source["event_id"], "source_event_type": source["type"]}
                questions = object_of(trigger.get("decisions")).get("questions")
                events.append(self._decision(questions, **where, trigger_id=self._world.new_id("trig_")))
        return events

    def close(self, message: JsonObject) -> Events:
        """Answer session.close."""
        self._turns.clear()
        self.is_over = True
        return [self._closed("close_requested", message)]

    def _closed(self, reason: str, message: JsonObject | None) -> JsonObject:
        if self._session.get("store"):
            self._world.store.add(LIVE_SESSIONS, self._session["id"], {"session": self._session})
        told = {"reason": reason, "session": self._session, "usage": self._usage()}
        return self._event("session.closed", **told, **_client_event(message))

    def _usage(self) -> JsonObject:
        return {"seconds": max(self._input.end_ms, self._said_ms) / 1000}

    def _frames(self, heard_ms: int) -> TurnFrames:
        """Say what was heard and then the answer, a word at a time."""
        words = split_words(self._world.settings.text)
        heard = {"start_ms": max(0, heard_ms - 1), "end_ms": heard_ms}
        self._said = self._world.settings.text
        events: Events = []
        for word in words:
            events += self._triggered(self._event("session.input_transcript.delta", delta=word, **heard))
        self._said_ms = max(self._said_ms, heard_ms)
        word_ms = round(WORD_SECONDS * 1000)
        for word, sound in zip(words, SpokenSound(len(words), self._format["type"]).pieces()):
            yield events
            when = {"start_ms": self._said_ms, "end_ms": self._said_ms + word_ms}
            self._said_ms = when["end_ms"]
            sound = _at_16_khz(sound) if self._is_slow else sound
            events = self._triggered(self._event("session.output_transcript.delta", delta=word, **when))
            events.append(self._event("session.output_audio.delta", delta=encode_sound(sound), **when))
        return [*events, self._event("session.usage.updated", usage=self._usage())]


def _client_event(message: JsonObject | None) -> JsonObject:
    id = (message or {}).get("event_id")
    return {"client_event_id": id} if type(id) is str else {}


def _at_24_khz(sound: bytes) -> bytes:
    """Return samples of 16 kHz as samples of 24 kHz: every second one comes twice."""
    samples = array.array("H", sound[: len(sound) // 4 * 4])
    out = array.array("H", bytes(len(samples) * 3))
    out[0::3], out[1::3], out[2::3] = samples[0::2], samples[1::2], samples[1::2]
    return out.tobytes()


def _at_16_khz(sound: bytes) -> bytes:
    """Return samples of 24 kHz as samples of 16 kHz: of each three the first two."""
    samples = array.array("H", sound[: len(sound) // 6 * 6])
    out = array.array("H", bytes(len(samples) // 3 * 4))
    out[0::2], out[1::2] = samples[0::3], samples[1::3]
    return out.tobytes()


_HANDLERS: dict[str, typing.Callable[[LiveTalk, JsonObject], Events]] = {
    "session.start": LiveTalk.start,
    "session.update": LiveTalk.update,
    "session.input_audio.append": LiveTalk.append,
    "session.input_audio.mute": LiveTalk.mute,
    "session.input_audio.unmute": LiveTalk.mute,
    "session.instructions.append": LiveTalk.add_context,
    "session.thinking.append": LiveTalk.add_context,
    "session.commentary.append": LiveTalk.add_context,
    "session.output_audio.fixture.play": LiveTalk.play,
    "response.create": LiveTalk.create_response,
    "response.item.create": LiveTalk.add_response_item,
    "decision.create": LiveTalk.decide,
    "decision.item.create": LiveTalk.add_decision_item,
    "decision.item.delete": LiveTalk.delete_decision_item,
    "transport.dtmf.send": LiveTalk.refuse_key,
    "session.close": LiveTalk.close,
}
