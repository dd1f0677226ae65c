"""The sound that a client of a realtime session sends: the buffer that it goes into, and the speech found in it.

Sound counts as speech while it is loud: the level of each 20 ms is compared with one that follows from the session's
`threshold`. All times are those of the sound, counted from the beginning of the session. So the same sound gives the
same turns however fast it comes.

Source: OpenAI API reference, "Realtime", "Voice activity detection"; ITU-T G.711.
"""

from __future__ import annotations

import array
import base64
import sys
import typing

from protocol.budget import spend_turn
from protocol.errors import ApiError
from protocol.wire.gathering import Gathering

#: The formats of realtime sound, and how many bytes of each are a millisecond.
REALTIME_BYTES_A_MS = {"audio/pcm": 48, "audio/pcmu": 8, "audio/pcma": 8}

#: The most sound that waits to be committed, in bytes.
MOST_BUFFERED_SOUND = 15 * 1024 * 1024

_WINDOW_MS = 20
# Every fourth sample of a window is looked at, so that a second of sound takes half a millisecond (CPython 3.11).
_WINDOW_STEP = 4
# The root of the mean square that counts as loud at a threshold of 1, where full scale is 32767. At a threshold of 0.5
# that is 30 dB below full scale.
_FULL_THRESHOLD_LEVEL = 2000
# How many loud windows in a row are speech. Fewer are a click.
_SPEECH_WINDOWS = 3
# How often speech may begin or end in the sound of one event: each time there are several events to tell.
_MOST_MARKS = 1_000

# Of base64: how much is read before others have their turns, in whole groups, what is written, and what it costs.
_PIECE_CHARACTERS = 4 * 65536
_PIECE_BYTES = 3 * 65536
_PIECE_STEPS = 1_000

# The least sound that may be committed.
_LEAST_COMMITTED_MS = 100


class TurnDetection(typing.NamedTuple):
    """How speech is found: `threshold` is 0 to 1, `padding_ms` is kept before speech, and `silence_ms` end it."""

    threshold: float
    padding_ms: int
    silence_ms: int


class SpeechMark(typing.NamedTuple):
    """Speech has started at `at_ms`, or has stopped there and is `sound`."""

    kind: typing.Literal["started", "stopped"]
    at_ms: int
    sound: bytes


class InputSound:
    """The input buffer of a session. `audio_format` is one of REALTIME_BYTES_A_MS.

    With `detection` None the client says where speech ends.
    """

    def __init__(self, audio_format: str, detection: TurnDetection | None) -> None:
        self.format = audio_format
        self.detection = detection
        self._bytes_a_ms = REALTIME_BYTES_A_MS[audio_format]
        self._sound = bytearray()
        # How many bytes came before those in the buffer, and how many of those in it have been looked at.
        self._begin = 0
        self._looked = 0
        self._loud_windows = 0
        self._silent_windows = 0
        self._is_speech = False

    @property
    def held_bytes(self) -> int:
        """How many bytes wait in the buffer."""
        return len(self._sound)

    @property
    def end_ms(self) -> int:
        """How much sound has come in all, in milliseconds."""
        return (self._begin + len(self._sound)) // self._bytes_a_ms

    def append(self, sound: bytes) -> list[SpeechMark]:
        """Add sound. Return where speech begins and ends in it; ApiError 400 when too much waits."""
        if len(self._sound) + len(sound) > MOST_BUFFERED_SOUND:
            raise ApiError(
                400,
                f"The input audio buffer holds at most {MOST_BUFFERED_SOUND} bytes, but {len(self._sound)} wait in it "
                f"and {len(sound)} came. Commit or clear it first.",
                param="audio", code="input_audio_buffer_full",
            )  # fmt: skip
        self._sound += sound
        return [] if self.detection is None else self._look(self.detection)

    def commit(self) -> bytes:
        """Take the sound that waits; ApiError 400 when that is less than 100 ms."""
        waiting_ms = len(self._sound) / self._bytes_a_ms
        if waiting_ms < _LEAST_COMMITTED_MS:
            raise ApiError(
                400,
                "Error committing input audio buffer: buffer too small. Expected at least "
                f"{_LEAST_COMMITTED_MS}ms of audio, but buffer only has {waiting_ms:.2f}ms of audio.",
                code="input_audio_buffer_commit_empty",
            )
        return self._take(len(self._sound))

    def clear(self) -> None:
        """Drop the sound that waits."""
        self._drop(len(self._sound))
        self._end_speech()

    def _take(self, size: int) -> bytes:
        """Take so many bytes from the beginning. Speech that was under way is over then."""
        with memoryview(self._sound) as sound:
            taken = bytes(sound[:size])
        self._drop(size)
        self._end_speech()
        return taken

    def _end_speech(self) -> None:
        self._is_speech = False
        self._loud_windows = 0

    def _drop(self, size: int) -> None:
        del self._sound[:size]
        self._begin += size
        self._looked = max(0, self._looked - size)

    def _look(self, detection: TurnDetection) -> list[SpeechMark]:
        marks: list[SpeechMark] = []
        window = _WINDOW_MS * self._bytes_a_ms
        least = (detection.threshold * _FULL_THRESHOLD_LEVEL) ** 2
        while len(self._sound) - self._looked >= window:
            spend_turn(10)
            if len(marks) == _MOST_MARKS:
                self.clear()
                raise ApiError(
                    400, f"Speech begins or ends more than {_MOST_MARKS} times in the sound of one event, which was"
                    " dropped: send it in several.", param="audio", code="invalid_value",
                )  # fmt: skip
            is_loud = self._level(bytes(self._sound[self._looked : self._looked + window])) > least
            self._looked += window
            mark = self._after_window(detection, is_loud, window)
            if mark is not None:
                marks.append(mark)
        if not self._is_speech:
            # What may still be the beginning of speech is kept, with the padding before it.
            kept = detection.padding_ms * self._bytes_a_ms + _SPEECH_WINDOWS * window
            self._drop(max(0, self._looked - kept))
        return marks

    def _after_window(self, detection: TurnDetection, is_loud: bool, window: int) -> SpeechMark | None:
        if not self._is_speech:
            self._loud_windows = self._loud_windows + 1 if is_loud else 0
            if self._loud_windows < _SPEECH_WINDOWS:
                return None
            padding = detection.padding_ms * self._bytes_a_ms
            self._drop(max(0, self._looked - _SPEECH_WINDOWS * window - padding))
            self._is_speech = True
            self._silent_windows = 0
            return SpeechMark("started", self._begin // self._bytes_a_ms, b"")
        self._silent_windows = 0 if is_loud else self._silent_windows + 1
        if self._silent_windows * _WINDOW_MS < max(_WINDOW_MS, detection.silence_ms):
            return None
        end_ms = (self._begin + self._looked) // self._bytes_a_ms
        return SpeechMark("stopped", end_ms, self._take(self._looked))

    def _level(self, window: bytes) -> float:
        """Return the mean square of the samples."""
        if self.format == "audio/pcm":
            samples = array.array("h", window)
            if sys.byteorder == "big":
                samples.byteswap()
            squares = [sample * sample for sample in samples[::_WINDOW_STEP]]
        else:
            table = _ULAW_SQUARES if self.format == "audio/pcmu" else _ALAW_SQUARES
            squares = [table[code] for code in window]
        return sum(squares) / len(squares)


def decode_sound(audio: str) -> bytes:
    """Return the bytes of base64; ApiError 400 in OpenAI's words for any other text."""
    if len(audio) > 2 * MOST_BUFFERED_SOUND:
        raise ApiError(
            400, f"An event has at most {MOST_BUFFERED_SOUND} bytes of sound.", param="audio",
            code="input_audio_buffer_full",
        )  # fmt: skip
    try:
        return _decoded(audio)
    except ValueError as exc:  # binascii.Error is one
        raise ApiError(
            400,
            "Invalid 'audio'. Expected base64-encoded audio bytes (mono PCM16 at 24kHz, or G.711 at 8kHz) but got an "
            f"invalid value: {exc}.",
            param="audio", code="invalid_value",
        ) from exc  # fmt: skip


def _decoded(audio: str) -> bytes:
    """Return the bytes of base64, decoded piece by piece; ValueError."""
    if len(audio) <= _PIECE_CHARACTERS:
        return base64.b64decode(audio, validate=True)
    pieces = Gathering()
    for at in range(0, len(audio), _PIECE_CHARACTERS):
        piece = audio[at : at + _PIECE_CHARACTERS]
        if "=" in piece and at + len(piece) < len(audio):
            raise ValueError("padding before its end")
        pieces.add(base64.b64decode(piece, validate=True))
        spend_turn(_PIECE_STEPS)
    return pieces.take()


def encode_sound(sound: bytes) -> str:
    """Return bytes as base64."""
    if len(sound) <= _PIECE_CHARACTERS:
        return base64.b64encode(sound).decode("ascii")
    pieces = Gathering()
    for at in range(0, len(sound), _PIECE_BYTES):
        pieces.add(base64.b64encode(sound[at : at + _PIECE_BYTES]))
        spend_turn(_PIECE_STEPS)
    return pieces.take().decode("ascii")


def _ulaw_sample(code: int) -> int:
    code ^= 0xFF
    magnitude = (((code & 15) << 3) + 132 << (code >> 4 & 7)) - 132
    return -magnitude if code & 0x80 else magnitude


def _alaw_sample(code: int) -> int:
    code ^= 0x55
    segment = code >> 4 & 7
    magnitude = ((code & 15) << 4) + 8
    magnitude = magnitude + 256 << segment - 1 if segment else magnitude
    return magnitude if code & 0x80 else -magnitude


_ULAW_SQUARES = tuple(_ulaw_sample(code) ** 2 for code in range(256))
_ALAW_SQUARES = tuple(_alaw_sample(code) ** 2 for code in range(256))
