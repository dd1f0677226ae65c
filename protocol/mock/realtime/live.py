"""A Live session over a WebSocket: it listens all the time, and says the mock's text after each stretch of speech.

What a client appends for the model to know is acknowledged and not used. No work is ever delegated to the client.

Source: OpenAI API reference, "Live" (client events, server events).
"""

from __future__ import annotations

import array
import typing

from protocol.errors import ApiError
from protocol.mock.engine.world import World
from protocol.mock.media.sound import WORD_SECONDS, SpokenSound
from protocol.mock.realtime.audio import InputSound, TurnDetection, decode_sound, encode_sound
from protocol.mock.realtime.wire import Events, Turn, TurnFrames, TurnTalk, event_type
from protocol.openai.answers import split_words
from protocol.wire.json_text import JsonObject

_SPEECH = TurnDetection(0.5, 300, 200)
_SECONDS = 3600
_FORMAT: JsonObject = {"type": "audio/pcm", "rate": 24000}


class LiveTalk(TurnTalk):
    """A Live session. It begins with the client's `session.start`."""

    longest_seconds = _SECONDS

    def __init__(self, world: World, *, check: typing.Callable[[JsonObject], JsonObject]) -> None:
        super().__init__(world)
        self._check = check
        self._session: JsonObject = {}
        self._input = InputSound("audio/pcm", _SPEECH)
        self._format: JsonObject = _FORMAT
        self._is_muted = False
        self._said_ms = 0

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

    def start(self, message: JsonObject) -> Events:
        """Answer session.start."""
        asked = {name: value for name, value in message["session"].items() if value is not None}
        audio: JsonObject = asked.get("audio") or {}
        self._format = audio.get("format") or _FORMAT
        self._input = InputSound(self._format["type"], _SPEECH)
        self._session = {
            **asked, "id": self._world.new_id("live_"), "status": "active", "audio": {**audio, "format": self._format},
            "expires_at": self._world.now() + _SECONDS,
        }  # fmt: skip
        return [self._event("session.started", session=self._session, **_client_event(message))]

    def update(self, message: JsonObject) -> Events:
        """Answer session.update."""
        self._session = {**self._session, **message["session"]}
        return [self._event("session.updated", session=self._session, **_client_event(message))]

    def append(self, message: JsonObject) -> Events:
        """Take sound, unless the input is muted. Speech that ends in it is answered."""
        sound = decode_sound(message["audio"])
        if self._is_muted:
            return []
        events: Events = []
        for mark in self._input.append(_at_24_khz(sound) if self._is_slow else sound):
            if mark.kind == "stopped":
                events += self._add_turn(Turn(self._frames(mark.at_ms)))
        return events

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

    def close(self, message: JsonObject) -> Events:
        """Answer session.close."""
        self._turns.clear()
        self.is_over = True
        return [self._closed("close_requested", message)]

    def _closed(self, reason: str, message: JsonObject | None) -> JsonObject:
        told = {"reason": reason, "session": self._session, "usage": self._usage()}
        return self._event("session.closed", **told, **_client_event(message))

    def _usage(self) -> JsonObject:
        return {"seconds": max(self._input.end_ms, self._said_ms) / 1000}

    def _frames(self, heard_ms: int) -> TurnFrames:
        """Say what was heard and then the answer, a word at a time."""
        words = split_words(self._world.settings.text)
        heard = {"start_ms": max(0, heard_ms - 1), "end_ms": heard_ms}
        events = [self._event("session.input_transcript.delta", delta=word, **heard) for word in words]
        self._said_ms = max(self._said_ms, heard_ms)
        word_ms = round(WORD_SECONDS * 1000)
        for word, sound in zip(words, SpokenSound(len(words), self._format["type"]).pieces()):
            yield events
            when = {"start_ms": self._said_ms, "end_ms": self._said_ms + word_ms}
            self._said_ms = when["end_ms"]
            sound = _at_16_khz(sound) if self._is_slow else sound
            events = [
                self._event("session.output_transcript.delta", delta=word, **when),
                self._event("session.output_audio.delta", delta=encode_sound(sound), **when),
            ]
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
    "session.close": LiveTalk.close,
}
