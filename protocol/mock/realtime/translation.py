"""A translation session: sound comes in, and after each stretch of speech in it the mock's text goes out, said aloud.

Source: OpenAI API reference, "Realtime translations" (client events, server events).
"""

from __future__ import annotations

import typing

from protocol.mock.engine.store import memory_size
from protocol.mock.engine.world import World
from protocol.mock.media.sound import SpokenSound
from protocol.mock.realtime.audio import InputSound, TurnDetection, decode_sound, encode_sound
from protocol.mock.realtime.wire import Events, Turn, TurnFrames, TurnTalk, event_type
from protocol.openai.answers import split_words
from protocol.wire.json_text import JsonObject

# A client cannot set how speech is found.
_TRANSLATED_SPEECH = TurnDetection(0.5, 300, 200)
_TRANSLATION_RATE = 24000


def new_translation(id: str, model: str, audio: JsonObject, expires_at: int) -> JsonObject:
    """Return a translation session as it is at first; `audio` has what the client wants otherwise."""
    sides = {side: {**members, **(audio.get(side) or {})} for side, members in _TRANSLATION_AUDIO.items()}
    return {"id": id, "type": "translation", "model": model, "expires_at": expires_at, "audio": sides}


_TRANSLATION_AUDIO: dict[str, JsonObject] = {
    "input": {"transcription": None, "noise_reduction": None},
    "output": {"language": "en"},
}


class TranslationSession(TurnTalk):
    """A translation session; `session` is its configuration as new_translation gives it."""

    def __init__(self, world: World, session: JsonObject, *, check: typing.Callable[[JsonObject], JsonObject]) -> None:
        super().__init__(world)
        self.session = session
        self._check = check
        self._input = InputSound("audio/pcm", _TRANSLATED_SPEECH)
        self._said_ms = 0
        self._session_bytes = 0  # of what the client has changed in it

    @property
    def held_bytes(self) -> int:
        return super().held_bytes + self._session_bytes + self._input.held_bytes

    def open(self) -> Events:
        return [self._event("session.created", session=self.session)]

    def receive(self, message: JsonObject) -> Events:
        handler = _TRANSLATION_HANDLERS[event_type(message, _TRANSLATION_HANDLERS)]
        return handler(self, self._check(message))

    def update(self, message: JsonObject) -> Events:
        """Answer session.update."""
        audio = message["session"].get("audio") or {}
        kept = self.session["audio"]
        sides = {side: {**kept[side], **(audio.get(side) or {})} for side in kept}
        self.session = {**self.session, "audio": sides}
        self._session_bytes = memory_size(self.session)
        return [self._event("session.updated", session=self.session)]

    def append(self, message: JsonObject) -> Events:
        """Take sound. Speech that ends in it is translated."""
        events: Events = []
        for mark in self._input.append(decode_sound(message["audio"])):
            if mark.kind == "stopped":
                events += self._add_turn(Turn(self._frames(mark.at_ms)))
        return events

    def close(self, message: JsonObject) -> Events:
        """Answer session.close. What has begun is said to its end first."""
        events: Events = []
        while self._turns:
            events += self.step()
        self.is_over = True
        return [*events, self._event("session.closed")]

    def _frames(self, heard_ms: int) -> TurnFrames:
        """Say one stretch of speech in the other language, a word at a time."""
        words = split_words(self._world.settings.text)
        pieces = SpokenSound(len(words), "audio/pcm").pieces()
        form = {"format": "pcm16", "sample_rate": _TRANSLATION_RATE, "channels": 1}
        events: Events = []
        # Nothing can be said before it was heard.
        self._said_ms = max(self._said_ms, heard_ms)
        for word, sound in zip(words, pieces):
            yield events
            when = {"elapsed_ms": self._said_ms}
            events = []
            if self.session["audio"]["input"]["transcription"] is not None:
                events.append(self._event("session.input_transcript.delta", delta=word, **when))
            events.append(self._event("session.output_transcript.delta", delta=word, **when))
            events.append(self._event("session.output_audio.delta", delta=encode_sound(sound), **form, **when))
            self._said_ms += len(sound) * 1000 // (2 * _TRANSLATION_RATE)
        return events


_TRANSLATION_HANDLERS: dict[str, typing.Callable[[TranslationSession, JsonObject], Events]] = {
    "session.update": TranslationSession.update,
    "session.input_audio_buffer.append": TranslationSession.append,
    "session.close": TranslationSession.close,
}
