"""Speech that the mock makes up: it lasts as long as its text takes to say.

WAV and raw samples have one tone a word. In the compressed formats (MP3, Opus, AAC, FLAC) the frames hold silence.
Sources: ISO/IEC 13818-3 (MPEG-2 audio, layer III) and 13818-7 (AAC, ADTS); RFC 9639 (FLAC); RFC 3533 (Ogg), RFC 6716
and RFC 7845 (Opus); ITU-T G.711 (the two laws); OpenAI API reference, "Create speech", "Realtime".
"""

from __future__ import annotations

import array
import binascii
import functools
import struct
import sys
import typing
import zlib

from protocol.budget import spend_turn
from protocol.errors import ApiError
from protocol.openai.answers import split_words
from protocol.openai.audio import SPEECH_SAMPLE_RATE, wav_header

#: How long one word sounds at speed 1.
WORD_SECONDS = 0.2

#: The formats of POST /audio/speech.
SPEECH_FORMATS = ("mp3", "opus", "aac", "flac", "wav", "pcm")

_SPEED_SLOWEST, _SPEED_FASTEST = 0.25, 4

# Samples without a file around them, by their names at the speech, chat and Realtime endpoints: their coding, how many
# there are a second, and the bytes of one. All are mono; pcm is 16 bit, signed, little-endian.
_RAW_SOUNDS = {
    "pcm": ("pcm", SPEECH_SAMPLE_RATE, 2),
    "pcm16": ("pcm", SPEECH_SAMPLE_RATE, 2),
    "audio/pcm": ("pcm", SPEECH_SAMPLE_RATE, 2),
    "g711_ulaw": ("ulaw", 8000, 1),
    "audio/pcmu": ("ulaw", 8000, 1),
    "g711_alaw": ("alaw", 8000, 1),
    "audio/pcma": ("alaw", 8000, 1),
}

_SOUND_MEDIA_TYPES = {"mp3": "audio/mpeg", "opus": "audio/ogg", "ulaw": "audio/pcmu", "alaw": "audio/pcma"}

# Samples in one wave of a tone at 24,000 a second: 400 Hz to 300 Hz.
_TONE_PERIODS = (60, 64, 75, 80)
_TONE_VOLUME = 6000

# MPEG-2, layer III, 64 kbit/s, 24 kHz, mono: 192 bytes for 576 samples (24 ms). After the header all bytes are zero: a
# frame without data, which is silence.
_SILENT_MP3_FRAME = b"\xff\xf3\x84\xc0".ljust(192, b"\0")
_MP3_SAMPLES = 576

# ADTS, AAC-LC, 24 kHz, mono: seven bytes of header, then one channel of no spectrum at all and the mark of the end.
_SILENT_AAC_FRAME = bytes.fromhex("fff15840017ffc00000007")
_AAC_SAMPLES = 1024

# 576 * 2^3 samples, the longest block that RFC 9639 section 7 lets a stream of 24 kHz have.
_FLAC_SAMPLES = 4608

# One frame of 20 ms, of which the range decoder makes silence: full band CELT, mono (RFC 6716 section 3.1).
_SILENT_OPUS_PACKET = b"\xf8\xff\xfe"
_OPUS_RATE, _OPUS_SAMPLES = 48_000, 960
_OPUS_PACKETS_A_PAGE = 10
# Samples that a decoder throws away at the start: as many as libopus' encoder runs ahead.
_OPUS_PRE_SKIP = 312
_OGG_SERIAL = 1
_OGG_FIRST, _OGG_LAST = 2, 4
# What is charged to a turn (protocol/budget.py).
_STEPS_A_WORD = 2
_SAMPLES_A_STEP = 16
_STEPS_A_FRAME = 10  # of FLAC, and a page of Ogg

_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def spoken_words(text: str) -> int:
    """Return how many words of sound a text has, at least one; in scripts without spaces each character is a word."""
    return len(split_words(text)) or 1


def voice_seed(voice: object) -> int:
    """Return the seed of a voice's tones: each voice, named or an object with an `id`, has its own."""
    name = voice.get("id") if isinstance(voice, dict) else voice
    return binascii.crc32(str(name).encode("utf-8", "backslashreplace"))


class SpokenSound:
    """The sound of so many words, in one of SPEECH_FORMATS or of the raw formats of Realtime ("g711_ulaw", ...).

    `seed` chooses the tones; `speed` is from 0.25 to 4. Equal arguments give equal bytes. ApiError 400 for another
    format or speed. A minute of WAV has 3 MB, of MP3 0.5 MB, of other files at most 20 kB: callers limit the words.
    """

    def __init__(self, words: int, audio_format: str, *, seed: int = 0, speed: float = 1.0) -> None:
        if audio_format not in SPEECH_FORMATS and audio_format not in _RAW_SOUNDS:
            supported = ", ".join(repr(name) for name in SPEECH_FORMATS)
            message = f"Invalid value: '{audio_format:.100}'. Supported values are: {supported}."
            raise ApiError(400, message, param="response_format", code="invalid_value")
        if not _SPEED_SLOWEST <= speed <= _SPEED_FASTEST:
            message = (
                f"Invalid 'speed': expected a number from {_SPEED_SLOWEST} to {_SPEED_FASTEST}, got {speed!r:.50}."
            )
            raise ApiError(400, message, param="speed", code="invalid_value")
        self._words = max(1, words)
        self._format = audio_format
        self._coding, self._rate, self._width = _RAW_SOUNDS.get(audio_format, (audio_format, SPEECH_SAMPLE_RATE, 2))
        self._seed = seed
        self._speed = speed
        self._samples = self._word_begin(self._words)

    @property
    def seconds(self) -> float:
        """How long it sounds. A file of MP3 or AAC goes on to the end of its last frame, 43 ms at most."""
        return self._samples / self._rate

    @property
    def media_type(self) -> str:
        """The Content-Type of the sound."""
        return _SOUND_MEDIA_TYPES.get(self._coding, f"audio/{self._coding}")

    def file(self) -> bytes:
        """Return the whole sound, a file where the format has one."""
        return b"".join(self.pieces())

    def pieces(self) -> list[bytes]:
        """Return the sound in as many pieces as there are words; joined they are the file.

        A word that sounds like another shares its bytes, so that a long text takes little memory. The sound of a long
        one is work to be done in turns.
        """
        if self._coding in ("wav", "pcm", "ulaw", "alaw"):
            pieces = self._tones()
            if self._coding == "wav":
                pieces[0] = wav_header(self._samples * self._width) + pieces[0]
            return pieces
        if self._coding in ("mp3", "aac"):
            return self._even_silence()
        frames = (_silent_flac if self._coding == "flac" else _silent_opus)(self._samples)
        count, words = len(frames), self._words
        return [b"".join(frames[count * at // words : count * (at + 1) // words]) for at in range(words)]

    def _word_begin(self, number: int) -> int:
        """Return the sample at which a word begins."""
        return round(number * WORD_SECONDS * self._rate / self._speed)

    def _tones(self) -> list[bytes]:
        made: dict[tuple[int, int], bytes] = {}
        pieces = []
        for number in range(self._words):
            spend_turn(_STEPS_A_WORD)
            tone = (self._seed + number * (1 + 2 * (self._seed & 1))) % len(_TONE_PERIODS)
            samples = self._word_begin(number + 1) - self._word_begin(number)
            if (tone, samples) not in made:
                spend_turn(samples // _SAMPLES_A_STEP)
                sound = _word_samples(samples, _TONE_PERIODS[tone] * self._rate // SPEECH_SAMPLE_RATE)
                made[tone, samples] = sound if self._width == 2 else encode_g711(sound, self._coding)
            pieces.append(made[tone, samples])
        return pieces

    def _even_silence(self) -> list[bytes]:
        """Return pieces of frames that are all the same."""
        frame, samples = (
            (_SILENT_MP3_FRAME, _MP3_SAMPLES) if self._coding == "mp3" else (_SILENT_AAC_FRAME, _AAC_SAMPLES)
        )
        count, words = -(-self._samples // samples), self._words
        made: dict[int, bytes] = {}
        pieces = []
        for at in range(words):
            spend_turn(1)
            frames = count * (at + 1) // words - count * at // words
            if frames not in made:
                made[frames] = frame * frames
            pieces.append(made[frames])
        return pieces


def _word_samples(count: int, period: int) -> bytes:
    """Return a tone that rises, stays, falls and is silent for the last quarter, so that words can be told apart."""
    half = period // 2
    # A triangle rather than a square: it sounds softer, and needs no table of sines.
    wave = [_TONE_VOLUME * (2 * abs(step - half) - half) // half for step in range(period)]
    sounding = count * 3 // 4
    ramp = max(1, count // 12)
    samples = (wave * (sounding // period + 1))[:sounding]
    for at in range(min(ramp, sounding)):
        samples[at] = samples[at] * at // ramp
        samples[-1 - at] = samples[-1 - at] * at // ramp
    return struct.pack(f"<{count}h", *samples, *[0] * (count - sounding))


def encode_g711(samples: bytes, law: str) -> bytes:
    """Return samples of 16 bit (signed, little-endian) as one byte each, by G.711's "ulaw" or "alaw".

    An odd byte at the end is left out.
    """
    values = array.array("h", samples[: len(samples) // 2 * 2])
    if sys.byteorder == "big":
        values.byteswap()
    return bytes(map(_mu_law if law == "ulaw" else _a_law, values))


def _mu_law(sample: int) -> int:
    # The bias of 33 (of 14 bits) makes all segments begin at a power of two.
    magnitude = min(abs(sample), 32635) + 132
    segment = magnitude.bit_length() - 8
    return ~((0x80 if sample < 0 else 0) | segment << 4 | magnitude >> (segment + 3) & 15) & 0xFF


def _a_law(sample: int) -> int:
    sign, magnitude = (0xD5, sample >> 3) if sample >= 0 else (0x55, ~sample >> 3)
    segment = max(0, magnitude.bit_length() - 5)
    return (segment << 4 | magnitude >> max(1, segment) & 15) ^ sign


def _silent_flac(samples: int) -> list[bytes]:
    """Return a FLAC file in pieces: its header, then frames whose only subframe is the constant 0."""
    whole, rest = divmod(samples, _FLAC_SAMPLES)
    # RFC 9639 section 8.2: block sizes, frame sizes (not told), then rate, channels - 1, bits - 1 and samples in 64
    # bits, and an MD5 of nothing, which says that there is none.
    numbers = SPEECH_SAMPLE_RATE << 44 | 0 << 41 | 15 << 36 | samples
    header = struct.pack(">HH6xQ16x", _FLAC_SAMPLES, _FLAC_SAMPLES, numbers)
    frames = []
    for number in range(whole):
        spend_turn(_STEPS_A_FRAME)
        frames.append(_flac_frame(number, b"\x57", b""))
    if rest:
        frames.append(_flac_frame(whole, b"\x77", struct.pack(">H", rest - 1)))
    frames[0] = b"fLaC\x80" + struct.pack(">I", len(header))[1:] + header + frames[0]
    return frames


def _flac_frame(number: int, size_and_rate: bytes, size: bytes) -> bytes:
    # Section 9.1: frames of one size, 24 kHz, one channel of 16 bits; the number as UTF-8 would write it.
    header = b"\xff\xf8" + size_and_rate + b"\x08" + chr(number).encode("utf-8", "surrogatepass") + size
    frame = header + bytes((_polynomial_rest(header, 8, 0x07),)) + b"\0\0\0"
    return frame + struct.pack(">H", _polynomial_rest(frame, 16, 0x8005))


def _polynomial_rest(data: bytes, width: int, polynomial: int) -> int:
    """Return a cyclic redundancy check that begins with 0, highest bits first; the polynomial has no highest bit."""
    rests, rest = _polynomial_rests(width, polynomial), 0
    for byte in data:
        rest = (rest << 8 & (1 << width) - 1) ^ rests[rest >> (width - 8) ^ byte]
    return rest


@functools.cache
def _polynomial_rests(width: int, polynomial: int) -> typing.Sequence[int]:
    """Return the rest that each byte leaves by itself."""
    rests = []
    for byte in range(256):
        rest = byte << (width - 8)
        for _ in range(8):
            rest = rest << 1 ^ (polynomial | 1 << width if rest >> (width - 1) else 0)
        rests.append(rest)
    return rests


def _silent_opus(samples: int) -> list[bytes]:
    """Return an Ogg Opus file in pieces: two pages of headers, then pages of a fifth of a second."""
    end = _OPUS_PRE_SKIP + samples * _OPUS_RATE // SPEECH_SAMPLE_RATE
    packets = -(-end // _OPUS_SAMPLES)
    head = b"OpusHead" + struct.pack("<BBHIhB", 1, 1, _OPUS_PRE_SKIP, SPEECH_SAMPLE_RATE, 0, 0)
    tags = b"OpusTags" + struct.pack("<I", 4) + b"mock" + struct.pack("<I", 0)
    pages: list[bytes] = []
    for first in range(0, packets, _OPUS_PACKETS_A_PAGE):
        spend_turn(_STEPS_A_FRAME)
        after = min(packets, first + _OPUS_PACKETS_A_PAGE)
        flags = _OGG_LAST if after == packets else 0
        # RFC 7845 section 4: the last page's position cuts off what its packets have too much.
        position = min(end, after * _OPUS_SAMPLES)
        pages.append(_ogg_page(flags, position, len(pages) + 2, [_SILENT_OPUS_PACKET] * (after - first)))
    pages[0] = _ogg_page(_OGG_FIRST, 0, 0, [head]) + _ogg_page(0, 0, 1, [tags]) + pages[0]
    return pages


def _ogg_page(flags: int, position: int, number: int, packets: typing.Sequence[bytes]) -> bytes:
    """Return a page of packets, each under 255 bytes (RFC 3533 section 6)."""
    head = b"OggS" + struct.pack("<BBqII", 0, flags, position, _OGG_SERIAL, number)
    body = bytes((len(packets), *map(len, packets))) + b"".join(packets)
    return head + struct.pack("<I", _ogg_check(head + bytes(4) + body)) + body


def _ogg_check(page: bytes) -> int:
    """Return Ogg's check sum: zlib's polynomial with the bits the other way round, and neither end inverted."""
    mirrored = zlib.crc32(page.translate(_REVERSED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(mirrored.to_bytes(4, "little").translate(_REVERSED_BITS), "big")
