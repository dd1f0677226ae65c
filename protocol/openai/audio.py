"""Sound and captions as OpenAI's audio endpoints send them (API reference, "Audio")."""

from __future__ import annotations

import binascii
import struct
import typing

#: Of all sound that the audio endpoints make, a second.
SPEECH_SAMPLE_RATE = 24_000
#: The media types of captions, by format.
CAPTION_TYPES = {"srt": "application/x-subrip; charset=utf-8", "vtt": "text/vtt; charset=utf-8"}

_SAMPLE_BYTES = 2
_WAV_UNKNOWN_SIZE = 0xFFFFFFFF


def wav_header(data_bytes: int | None = None) -> bytes:
    """Return the 44 bytes before the samples of a WAV file: PCM, 24 kHz, mono, 16 bit.

    Without `data_bytes` both sizes are 0xFFFFFFFF: players take that for a length that is not known yet.
    """
    data_size = _WAV_UNKNOWN_SIZE if data_bytes is None else data_bytes
    file_size = _WAV_UNKNOWN_SIZE if data_bytes is None else 36 + data_bytes
    byte_rate = SPEECH_SAMPLE_RATE * _SAMPLE_BYTES
    bits = 8 * _SAMPLE_BYTES
    layout = struct.pack("<IHHIIHH", 16, 1, 1, SPEECH_SAMPLE_RATE, byte_rate, _SAMPLE_BYTES, bits)
    return b"RIFF" + struct.pack("<I", file_size) + b"WAVEfmt " + layout + b"data" + struct.pack("<I", data_size)


def speech_delta_event(sound: bytes) -> dict[str, typing.Any]:
    """Return the event with a piece of the sound, for clients that asked for `stream_format: "sse"`."""
    return {"type": "speech.audio.delta", "audio": binascii.b2a_base64(sound, newline=False).decode("ascii")}


def caption_time(seconds: float, mark: str) -> str:
    """Return a time as captions have it. Before the milliseconds stands `mark`: a comma in SRT, a point in VTT."""
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{mark}{rest % 1000:03}"
