"""Speech that is made up, and how long recordings are."""

from __future__ import annotations

import io
import itertools
import struct
import wave

import pytest

from protocol.errors import ApiError
from protocol.mock.media.recording import sound_seconds
from protocol.mock.media.sound import SPEECH_FORMATS, SpokenSound, encode_g711, spoken_words

# How much longer than its text a file may be: to the end of its last frame.
FRAME_SECONDS = {"mp3": 576 / 24000, "aac": 1024 / 24000}
CASES = list(itertools.product([1, 7, 33], [0.25, 1, 1.3, 4]))


@pytest.mark.parametrize(("text", "words"), [("", 1), ("Hello wide world.", 3), ("你好吗", 3)], ids=ascii)
def test_words_are_counted(text, words):
    assert spoken_words(text) == words


@pytest.mark.parametrize(("words", "speed"), CASES)
def test_wav_is_as_long_as_its_text_takes(words, speed):
    spoken = SpokenSound(words, "wav", speed=speed)
    with wave.open(io.BytesIO(spoken.file())) as sound:
        assert (sound.getnchannels(), sound.getsampwidth(), sound.getframerate()) == (1, 2, 24000)
        assert sound.getnframes() == round(words * 4800 / speed)
        assert sound.getnframes() / 24000 == spoken.seconds
        samples = sound.readframes(sound.getnframes())
    assert SpokenSound(words, "pcm", speed=speed).file() == samples


@pytest.mark.parametrize("audio_format", [name for name in SPEECH_FORMATS if name != "pcm"])
@pytest.mark.parametrize(("words", "speed"), CASES)
def test_every_file_sounds_as_long_as_its_text_takes(audio_format, words, speed):
    spoken = SpokenSound(words, audio_format, speed=speed)
    assert spoken.seconds == pytest.approx(words * 0.2 / speed, abs=1e-4)
    excess = sound_seconds(spoken.file()) - spoken.seconds
    assert -1e-4 < excess < FRAME_SECONDS.get(audio_format, 1e-4)


@pytest.mark.parametrize("audio_format", [*SPEECH_FORMATS, "pcm16", "g711_ulaw", "g711_alaw"])
def test_pieces_are_one_a_word_and_joined_the_file(audio_format):
    spoken = SpokenSound(12, audio_format, seed=3)
    pieces = spoken.pieces()
    assert len(pieces) == 12 and all(pieces[1:-1]) and b"".join(pieces) == spoken.file()
    assert SpokenSound(12, audio_format, seed=3).file() == spoken.file()


def test_words_can_be_heard_and_told_apart():
    word = struct.unpack("<4800h", SpokenSound(1, "pcm").file())
    assert max(word) > 5000 and min(word) < -5000 and abs(sum(word)) < 48000
    assert word[0] == 0 and not any(word[3600:]) and max(map(abs, word[3590:3600])) < 300
    pieces = SpokenSound(40, "pcm", seed=1).pieces()
    assert len(set(pieces)) == len({id(piece) for piece in pieces}) == 4
    assert SpokenSound(1, "pcm", seed=1).file() != SpokenSound(1, "pcm", seed=2).file()


@pytest.mark.parametrize(
    ("audio_format", "media_type", "bytes_a_second"),
    [("pcm16", "audio/pcm", 48000), ("audio/pcm", "audio/pcm", 48000), ("g711_ulaw", "audio/pcmu", 8000),
     ("audio/pcmu", "audio/pcmu", 8000), ("g711_alaw", "audio/pcma", 8000), ("audio/pcma", "audio/pcma", 8000)],
)  # fmt: skip
def test_raw_sound_has_its_rate(audio_format, media_type, bytes_a_second):
    spoken = SpokenSound(5, audio_format)
    assert spoken.media_type == media_type and len(spoken.file()) == bytes_a_second
    assert spoken.seconds == 1


@pytest.mark.parametrize(
    ("audio_format", "media_type"),
    [("mp3", "audio/mpeg"), ("opus", "audio/ogg"), ("aac", "audio/aac"), ("flac", "audio/flac"), ("wav", "audio/wav")],
)
def test_files_have_their_media_type(audio_format, media_type):
    assert SpokenSound(1, audio_format).media_type == media_type


def test_refuses_other_formats_and_speeds():
    with pytest.raises(ApiError, match="'mp3', 'opus', 'aac', 'flac', 'wav', 'pcm'") as refused:
        SpokenSound(1, "ogg")
    assert (refused.value.status, refused.value.param) == (400, "response_format")
    for speed in (0.24, 4.1, float("nan")):
        with pytest.raises(ApiError, match="from 0.25 to 4") as refused:
            SpokenSound(1, "wav", speed=speed)
        assert refused.value.param == "speed"


# ---- what the compressed files are made of


def test_flac_frames_hold_their_checks():
    file = SpokenSound(2, "flac").file()  # 9600 samples: 4608, 4608 and 384
    assert file[:8] == b"fLaC\x80\0\0\x22"
    frames = file[42:]
    lengths = [len(b"....n.s..cc"), len(b"....n.s..cc"), len(b"....nzz.s..cc")]
    assert len(frames) == sum(lengths)
    for number, length in enumerate(lengths):
        frame, frames = frames[:length], frames[length:]
        assert (
            frame[:5] == bytes((0xFF, 0xF8, 0x77 if number == 2 else 0x57, 0x08, number))
            and crc(frame, 16, 0x8005) == 0
        )
        assert crc(frame[: length - 5], 8, 0x07) == 0 and frame[length - 5 : length - 2] == bytes(3)


def test_ogg_pages_hold_their_checks_and_follow_one_another():
    file, at, pages = SpokenSound(3, "opus").file(), 0, []
    while at < len(file):
        mark, flags, position, serial, number, check, segments = struct.unpack_from("<4sxBqIIIB", file, at)
        end = at + 27 + segments + sum(file[at + 27 : at + 27 + segments])
        page = file[at : at + 22] + bytes(4) + file[at + 26 : end]
        assert (mark, serial, number) == (b"OggS", 1, len(pages)) and crc(page, 32, 0x04C11DB7) == check
        pages.append((flags, position, file[at + 27 + segments : end]))
        at = end
    assert [flags for flags, _, _ in pages] == [2, 0, 0, 0, 0, 4]
    assert [position for _, position, _ in pages] == [0, 0, 9600, 19200, 28800, 28800 + 312]
    assert pages[0][2][:12] == b"OpusHead\1\1\x38\1" and pages[1][2][:8] == b"OpusTags"


def crc(data, width, polynomial):
    """Divide bit by bit; with its own check behind them, bytes leave no rest."""
    rest = 0
    for byte in data:
        for place in range(7, -1, -1):
            over = rest >> (width - 1) ^ byte >> place & 1
            rest = (rest << 1 & ((1 << width) - 1)) ^ (polynomial if over else 0)
    return rest


def test_mp3_and_aac_are_frames_of_the_size_that_they_tell():
    mp3, aac = SpokenSound(1, "mp3").file(), SpokenSound(1, "aac").file()
    assert len(mp3) == 9 * 192 and mp3[::192] == b"\xff" * 9
    assert len(aac) == 5 * 11 and aac[::11] == b"\xff" * 5


@pytest.mark.parametrize(
    ("law", "decode"),
    [
        (
            "ulaw",
            lambda code: (1 if code & 0x80 else -1) * ((((code & 15 ^ 15) << 3) + 132 << (code >> 4 & 7 ^ 7)) - 132),
        ),
        ("alaw", lambda code: alaw_value(code ^ 0x55)),
    ],
    ids=["ulaw", "alaw"],
)
def test_g711_is_decoded_to_nearly_the_same(law, decode):
    values = list(range(-32768, 32768, 7))
    coded = encode_g711(struct.pack(f"<{len(values)}h", *values) + b"x", law)
    assert len(coded) == len(values) and len(set(coded)) > 250
    for value, code in zip(values, coded):
        assert abs(decode(code) - value) <= max(16, abs(value) / 30)


def alaw_value(code):
    exponent, mantissa = code >> 4 & 7, code & 15
    magnitude = (mantissa << 4) + 8 if not exponent else (mantissa << 4) + 264 << (exponent - 1)
    return magnitude if code & 0x80 else -magnitude


def test_g711_of_silence():
    assert encode_g711(bytes(4), "ulaw") == b"\xff\xff" and encode_g711(bytes(4), "alaw") == b"\xd5\xd5"


# ---- recordings


def wav(*chunks):
    body = b"".join(kind + struct.pack("<I", size) + data + bytes(len(data) % 2) for kind, size, data in chunks)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


def wav_format(size=16, encoding=1, byte_rate=16000):
    return b"fmt ", size, struct.pack("<HHIIHH", encoding, 1, 8000, byte_rate, 2, 16).ljust(size, b"\0")


def box(kind, body):
    return struct.pack(">I", 8 + len(body)) + kind + body


def mp4(*boxes):
    return box(b"ftyp", b"M4A ") + b"".join(boxes)


def ebml(element, body, size=None):
    length = struct.pack(">I", 0x10000000 | len(body)) if size is None else size
    return bytes.fromhex(element) + length + body


def webm(info, size=None):
    return ebml("1a45dfa3", b"webm") + ebml("18538067", ebml("1549a966", info), size)


def ogg(serial, packet, position, flags=0):
    head = b"OggS" + struct.pack("<BBqIII", 0, flags, position, serial, 0, 0)
    return head + bytes((1, len(packet))) + packet


def flac_numbers(rate, samples):
    return bytes(10) + struct.pack(">Q", rate << 44 | samples) + bytes(16)


MP3_FRAME = b"\xff\xfb\x90\x64".ljust(417, b"\0")  # 44.1 kHz, 128 kbit/s, stereo: 1152 samples
MP3_FRAME_SECONDS = 1152 / 44100
XING = (b"\xff\xfb\x90\x64" + bytes(32) + b"Xing" + struct.pack(">II", 3, 500)).ljust(417, b"\0")
VBRI = (b"\xff\xfb\x90\x64" + bytes(32) + b"VBRI" + bytes(10) + struct.pack(">I", 250)).ljust(417, b"\0")
SAMPLES = bytes(32000)
TAG_BEFORE, TAG_BEHIND = b"ID3\4\0\0\0\0\1\0" + bytes(128), b"TAG" + bytes(125)
SPEEX = (b"Speex   " + bytes(28) + struct.pack("<I", 8000)).ljust(80, b"\0")
MVHD = bytes(12) + struct.pack(">II", 600, 900)
MVHD_OF_FRAGMENTS = bytes(12) + struct.pack(">II", 600, 0)
LONG_MDAT = struct.pack(">I4sQ", 1, b"mdat", 20) + bytes(4)
BLOCKS = wav_format(20, 2, 4055), (b"fact", 4, struct.pack("<I", 8000))
SCALE = ebml("2ad7b1", b"\x0f\x42\x40")
MVHD_1 = b"\1\0\0\0" + bytes(16) + struct.pack(">IQ", 1000, 2500) + bytes(80)
VORBIS = b"\1vorbis" + bytes(5) + struct.pack("<I", 16000) + bytes(14)

RECORDINGS = [
    ("wav", wav(wav_format(), (b"data", 32000, SAMPLES)), 2.0),
    ("wav with a long format", wav(wav_format(40, 0xFFFE), (b"data", 32000, SAMPLES)), 2.0),
    ("wav with other chunks", wav((b"LIST", 5, b"INFO!"), wav_format(18), (b"data", 16000, SAMPLES)), 1.0),
    ("wav with chunks behind", wav(wav_format(), (b"data", 16000, SAMPLES[:16000]), (b"LIST", 4, b"INFO")), 1.0),
    ("wav as a stream", wav(wav_format(), (b"data", 0xFFFFFFFF, SAMPLES)), 2.0),
    ("wav as a stream of unknown size", wav(wav_format(), (b"data", 0, SAMPLES)), 2.0),
    ("rf64", b"RF64" + wav(wav_format(), (b"data", 0xFFFFFFFF, SAMPLES))[4:], 2.0),
    ("wav of blocks", wav(*BLOCKS, (b"data", 32000, SAMPLES)), 1.0),
    ("wav without a rate", wav(wav_format(byte_rate=0), (b"data", 32000, SAMPLES)), None),
    ("wav without a format", wav((b"data", 32000, SAMPLES)), None),
    ("wav without sound", wav(wav_format()), None),
    ("mp3", MP3_FRAME * 10, 10 * MP3_FRAME_SECONDS),
    ("mp3 between tags", TAG_BEFORE + MP3_FRAME * 10 + TAG_BEHIND, 10 * MP3_FRAME_SECONDS),
    ("mp3 with a footer", b"ID3\4\0\x10\0\0\0\2" + bytes(12) + MP3_FRAME * 4, 4 * MP3_FRAME_SECONDS),
    ("mp3 cut off", MP3_FRAME * 3 + MP3_FRAME[:200], 3 * MP3_FRAME_SECONDS),
    ("mp3 of two rates", MP3_FRAME + b"\xff\xfb\xa2\x64".ljust(523, b"\0"), 2 * MP3_FRAME_SECONDS),
    ("mp3 with xing", XING + MP3_FRAME * 2, 500 * MP3_FRAME_SECONDS),
    ("mp3 with vbri", VBRI + MP3_FRAME * 2, 250 * MP3_FRAME_SECONDS),
    ("mp3, rubbish inside", MP3_FRAME * 2 + b"\xff\0\xff\xff" + MP3_FRAME, 3 * MP3_FRAME_SECONDS),
    ("mp3, rubbish without end", MP3_FRAME * 2 + b"\xff" * 3_000_000, 2 * MP3_FRAME_SECONDS),
    ("mpeg-2.5", b"\xff\xe3\x48\xc4".ljust(288, b"\0") * 2, 2 * 576 / 8000),
    ("layer II", b"\xff\xfd\x84\x44".ljust(384, b"\0") * 2, 2 * 1152 / 48000),
    ("mp3 of free format", b"\xff\xfb\x00\x64" + bytes(413), None),
    ("flac", b"fLaC\x80\0\0\x22" + flac_numbers(44100, 88200), 2.0),
    ("flac of unknown length", b"fLaC\x80\0\0\x22" + flac_numbers(44100, 0), None),
    ("vorbis", ogg(7, VORBIS, 0, 2) + ogg(7, b"x", 8000) + ogg(7, b"x", 24000) + ogg(7, b"x", -1), 1.5),
    ("speex", ogg(7, SPEEX, 0, 2) + ogg(7, b"x", 8000), 1.0),
    ("flac in ogg", ogg(7, b"\x7fFLAC\1\0\0\1fLaC\0\0\0\x22" + flac_numbers(8000, 0), 0, 2) + ogg(7, b"x", 8000), 1.0),
    ("a film in ogg", ogg(1, b"\x80theora", 0, 2) + ogg(2, VORBIS, 0, 2) + ogg(2, b"x", 16000) + ogg(1, b"x", 99), 1.0),
    ("ogg of no sound", ogg(1, b"\x80theora", 0, 2) + ogg(1, b"x", 99), None),
    ("mp4", mp4(box(b"moov", box(b"mvhd", MVHD))), 1.5),
    ("mp4, 64 bits", mp4(LONG_MDAT, box(b"moov", box(b"mvhd", MVHD_1))), 2.5),
    ("mp4 in fragments", mp4(box(b"moov", box(b"mvhd", MVHD_OF_FRAGMENTS))), None),
    ("mp4 whose box is too small", mp4(struct.pack(">I4s", 4, b"free") * 9), None),
    ("webm", webm(SCALE + ebml("4489", struct.pack(">d", 1500.0))), 1.5),
    ("webm of unknown size", webm(ebml("4489", struct.pack(">f", 250.0)), b"\1" + b"\xff" * 7), 0.25),
    ("webm of a recorder", webm(SCALE) + bytes(40), None),
    ("webm of no number", webm(ebml("4489", struct.pack(">d", float("inf")))), None),
    ("nothing", b"", None),
    ("text", b"hello " * 20, None),
    ("a tag alone", b"ID3\4\0\0\x7f\x7f\x7f\x7f", None),
]  # fmt: skip


@pytest.mark.parametrize(("data", "seconds"), [case[1:] for case in RECORDINGS], ids=[case[0] for case in RECORDINGS])
def test_length_of_recordings(data, seconds):
    assert sound_seconds(data) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize("data", [case[1] for case in RECORDINGS], ids=[case[0] for case in RECORDINGS])
def test_what_is_cut_off_or_spoilt_is_never_longer_than_a_number_says(data):
    for end in range(min(len(data), 300)):
        assert (sound_seconds(data[:end]) or 0) >= 0
    for at in range(min(len(data), 150)):
        for byte in (0, 0x7F, 0xFF):
            assert (sound_seconds(data[:at] + bytes((byte,)) + data[at + 1 : 3000]) or 0) >= 0
