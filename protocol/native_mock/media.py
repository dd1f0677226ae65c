"""Pictures and sound that the mock makes up: small, real files, always the same for the same numbers.

Sources: W3C "Portable Network Graphics (PNG)"; ISO/IEC 13818-3 (MPEG-2 audio, layer III) for the header of a frame.
"""

from __future__ import annotations

import binascii
import struct
import zlib

from protocol.dashscope.speech import SPEECH_SAMPLE_RATE, wav_header

#: How long one word sounds.
WORD_SECONDS = 0.2

# Samples in one wave of a tone: a word is one wave, repeated. 400 Hz to 300 Hz at 24,000 samples a second.
_TONE_PERIODS = (60, 64, 75, 80)
_TONE_VOLUME = 6000

# MPEG-2, layer III, 64 kbit/s, 24 kHz, mono: 192 bytes for 576 samples (24 ms). All that follows the header being
# zero, the frame says of itself that it holds no data: silence.
_SILENT_MP3_FRAME = b"\xff\xf3\x84\xc0".ljust(192, b"\0")
_MP3_FRAMES_A_WORD = 8


def png_picture(width: int, height: int, seed: int) -> bytes:
    """Return a PNG of width x height pixels, whose colour fades from one to another that follow from `seed`.

    Eight bits a pixel and a palette: one of 1024 x 1024 takes some milliseconds and is a few kilobytes.
    """
    top, bottom = (seed & 255, seed >> 8 & 255, seed >> 16 & 255), (seed >> 4 & 255, seed >> 12 & 255, ~seed & 255)
    shades = [(a + (b - a) * step // 255) & 255 for step in range(256) for a, b in zip(top, bottom)]
    packer = zlib.compressobj(1)
    steps = max(1, height - 1)
    rows = [packer.compress(b"\0" + bytes((row * 255 // steps,)) * width) for row in range(height)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (
            _png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            _png_chunk(b"PLTE", bytes(shades)),
            _png_chunk(b"IDAT", b"".join(rows) + packer.flush()),
            _png_chunk(b"IEND", b""),
        )
    )


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", binascii.crc32(kind + data))


def word_sound(seed: int, number: int, audio_format: str) -> bytes:
    """Return the sound of a text's word `number`: a tone as samples, for "wav" and "pcm", or silence as MP3 frames.

    Samples are 16 bit, signed, little-endian, mono, 24,000 a second.
    """
    if audio_format == "mp3":
        return _SILENT_MP3_FRAME * _MP3_FRAMES_A_WORD
    period = _TONE_PERIODS[(seed + number * (1 + seed % 3)) % len(_TONE_PERIODS)]
    half = period // 2
    # A triangle rather than a square: it sounds softer, and needs no table of sines.
    wave = [_TONE_VOLUME * (2 * abs(step - half) - half) // half for step in range(period)]
    return struct.pack(f"<{period}h", *wave) * int(SPEECH_SAMPLE_RATE * WORD_SECONDS / period)


def sound_file(seed: int, words: int, audio_format: str) -> bytes:
    """Return the file with the sound of so many words: "wav", "pcm" (samples alone) or "mp3"."""
    sound = b"".join(word_sound(seed, number, audio_format) for number in range(words))
    return wav_header(len(sound)) + sound if audio_format == "wav" else sound


def wav_seconds(beginning: bytes, size: int) -> float | None:
    """Return how long a WAV file of `size` bytes sounds, from its first 44 bytes; None for what is no WAV."""
    if len(beginning) < 44 or beginning[:4] != b"RIFF" or beginning[8:16] != b"WAVEfmt ":
        return None
    byte_rate = struct.unpack("<I", beginning[28:32])[0]
    return (size - 44) / byte_rate if byte_rate else None
