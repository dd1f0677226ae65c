"""How long an uploaded recording is, by its headers and frames: nothing is decoded.

Sources: Microsoft "Multimedia Programming Interface and Data Specifications 1.0" (WAV), EBU Tech 3306 (RF64);
ISO/IEC 11172-3 and 13818-3 (MPEG audio), 13818-7 (ADTS); RFC 9639 (FLAC); RFC 3533, RFC 7845, Vorbis I (Ogg);
ISO/IEC 14496-12 (MP4); RFC 9559 (Matroska, of which WebM is a part); id3.org "ID3v2.4.0".
"""

from __future__ import annotations

import struct
import typing

from protocol.budget import Budget, BudgetSpent

# Encodings whose samples have one size: PCM, floats, the two laws of G.711, and the extensible header for these.
_WAV_EVEN_ENCODINGS = frozenset((1, 3, 6, 7, 0xFFFE))

# By the header's four bits: kilobits a second, in units of 8; 0 for no fixed rate, and for a forbidden one.
_MPEG_1_LAYER_2 = (0, 4, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 0)
_MPEG_1_LAYER_3 = (0, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 0)
_MPEG_2_BITRATES = (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 18, 20, 0)
_MPEG_RATES = (44_100, 48_000, 32_000)

_ADTS_RATES = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350)
_ADTS_SAMPLES = 1024

_EBML_SEGMENT, _EBML_INFO, _EBML_TIMESTAMP_SCALE, _EBML_DURATION = 0x18538067, 0x1549A966, 0x2AD7B1, 0x4489
_EBML_SCALE_DEFAULT = 1_000_000  # nanoseconds
_EBML_LONGEST = 2.0**63  # of a duration: it excludes infinity and NaN

_MPEG_MOST_RUBBISH = 4096  # places in a stream of frames where a frame might begin and does not

# A step is a frame of sound, or a part of a container. A million frames are six hours or more: of the recordings that
# have at most 25 MiB, only silence may have more.
_MOST_STEPS = 1_000_000
_STEPS_A_STREAM = 2  # of an Ogg file
_STEPS_AN_ELEMENT = 4  # of a WebM file, with its two numbers of variable length


class _MpegFrame(typing.NamedTuple):
    """A frame of MPEG audio: its bytes, its samples, samples a second, and where its side information ends."""

    size: int
    samples: int
    rate: int
    side_end: int


def sound_seconds(data: bytes) -> float | None:
    """Return how many seconds a WAV, MP3, AAC (ADTS), FLAC, Ogg, MP4 or WebM file lasts; None where it does not tell.

    A file that was cut off lasts as long as its headers say, or as the frames that are there where there is no header;
    of these, a million are counted at most. That takes half a second, so a large file is work to be done in turns.
    """
    budget = Budget(_MOST_STEPS, "The recording", param="file", pauses=True)
    try:
        begin = _id3_size(data)
        kind = data[begin : begin + 4]
        if kind in (b"RIFF", b"RF64") and data[begin + 8 : begin + 12] == b"WAVE":
            return _wav_seconds(data, begin, budget)
        if kind == b"fLaC":
            return _flac_seconds(data, begin + 8)
        if kind == b"OggS":
            return _ogg_seconds(data, budget)
        if data[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free"):
            return _mp4_seconds(data, budget)
        if kind == b"\x1a\x45\xdf\xa3":
            return _webm_seconds(data, budget)
        read_frames = _adts_seconds if _adts_frame(data, begin) else _mpeg_seconds
        return read_frames(data, begin, budget)
    except (struct.error, BudgetSpent):  # the file ends too early, or has no end of parts
        return None


def _id3_size(data: bytes) -> int:
    """Return the size of the ID3 tag that may be before the sound."""
    if data[:3] != b"ID3" or len(data) < 10:
        return 0
    size = 0
    for byte in data[6:10]:
        size = size << 7 | byte & 0x7F
    return size + (20 if data[5] & 0x10 else 10)


def _wav_seconds(data: bytes, begin: int, budget: Budget) -> float | None:
    encoding = rate = byte_rate = samples = 0
    at = begin + 12
    while True:
        budget.spend()
        kind, size = struct.unpack_from("<4sI", data, at)
        at += 8
        if kind == b"fmt ":
            encoding, rate, byte_rate = struct.unpack_from("<HxxII", data, at)
        elif kind == b"fact":
            samples = struct.unpack_from("<I", data, at)[0]
        elif kind == b"data" and samples and rate and encoding not in _WAV_EVEN_ENCODINGS:
            return samples / rate  # encoded in blocks, of which many writers give the bytes a second only roughly
        elif kind == b"data":
            rest = len(data) - at
            # A file that was written as a stream has 0 or 0xFFFFFFFF here: its length was not known yet.
            return (rest if not size or size > rest else size) / byte_rate if byte_rate else None
        at += size + size % 2  # chunks begin at even places


def _flac_seconds(data: bytes, at: int) -> float | None:
    """Read a STREAMINFO block: 20 bits of rate, 8 that do not matter, 36 bits of samples (0: unknown)."""
    numbers = struct.unpack_from(">Q", data, at + 10)[0]
    rate, samples = numbers >> 44, numbers & 0xFFFFFFFFF
    return samples / rate if rate and samples else None


# ---- frames after frames ----------------------------------------------------------------------------------------


def _mpeg_frame(header: bytes) -> _MpegFrame | None:
    """Read the four bytes that begin a frame of layer II or III."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer, rate_index = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3), header[2] >> 2 & 3
    if version == 1 or layer not in (2, 3) or rate_index == 3:
        return None
    bitrates = _MPEG_2_BITRATES if version != 3 else _MPEG_1_LAYER_2 if layer == 2 else _MPEG_1_LAYER_3
    bitrate = bitrates[header[2] >> 4] * 8000
    rate = _MPEG_RATES[rate_index] >> {3: 0, 2: 1, 0: 2}[version]
    samples = 576 if layer == 3 and version != 3 else 1152
    mono = header[3] >> 6 == 3
    side = {True: (9, 17), False: (17, 32)}[version != 3][not mono]
    size = samples // 8 * bitrate // rate + (header[2] >> 1 & 1)
    return _MpegFrame(size, samples, rate, 4 + side) if bitrate else None


def _mpeg_seconds(data: bytes, at: int, budget: Budget) -> float | None:
    first = _mpeg_frame(data[at : at + 4])
    if first is None:
        return None
    told = _told_frames(data, at, first)
    if told:
        return told * first.samples / first.rate
    # By the two bytes of a header that tell how long its frame is.
    known: dict[bytes, _MpegFrame | None] = {}
    samples, end, rubbish = 0, len(data), 0
    try:
        while 0 <= at <= end - 4 and rubbish < _MPEG_MOST_RUBBISH:
            budget.spend()
            frame = None
            if data[at] == 0xFF:
                told_by = data[at + 1 : at + 3]
                if told_by not in known:
                    known[told_by] = _mpeg_frame(data[at : at + 4])
                frame = known[told_by]
            if frame is None:
                # No frame: the tag at the end of many files, or rubbish before the next frame.
                at = data.find(b"\xff", at + 1)
                rubbish += 1
                continue
            at += frame.size
            samples += frame.samples if at <= end else 0
    except BudgetSpent:
        pass  # it is at least so long
    return samples / first.rate if samples else None


def _told_frames(data: bytes, at: int, first: _MpegFrame) -> int:
    """Return the number of frames, which encoders of a variable rate write in the first one; 0 for none."""
    mark = at + first.side_end
    if data[mark : mark + 4] in (b"Xing", b"Info") and struct.unpack_from(">I", data, mark + 4)[0] & 1:
        return struct.unpack_from(">I", data, mark + 8)[0]
    if data[at + 36 : at + 40] == b"VBRI":
        return struct.unpack_from(">I", data, at + 50)[0]
    return 0


def _adts_frame(data: bytes, at: int) -> tuple[int, int, int] | None:
    """Return a frame's bytes, its samples, and samples a second."""
    header = data[at : at + 7]
    if len(header) < 7 or header[0] != 0xFF or header[1] & 0xF6 != 0xF0:
        return None
    size = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
    rate_index = header[2] >> 2 & 15
    if size < 7 or rate_index >= len(_ADTS_RATES):
        return None
    return size, _ADTS_SAMPLES * ((header[6] & 3) + 1), _ADTS_RATES[rate_index]


def _adts_seconds(data: bytes, at: int, budget: Budget) -> float | None:
    samples, rate = 0, 1
    try:
        frame = _adts_frame(data, at)
        while frame is not None and at + frame[0] <= len(data):
            budget.spend()
            at += frame[0]
            samples += frame[1]
            rate = frame[2]
            frame = _adts_frame(data, at)
    except BudgetSpent:
        pass  # it is at least so long
    return samples / rate if samples else None


# ---- containers -------------------------------------------------------------------------------------------------


def _ogg_seconds(data: bytes, budget: Budget) -> float | None:
    """Return the position of the last page of the first stream that is sound, in seconds."""
    at = 0
    while data[at : at + 4] == b"OggS":
        budget.spend(_STEPS_A_STREAM)
        flags, segments = struct.unpack_from("5xB20xB", data, at)
        if not flags & 2:  # the pages that begin a stream come before all others
            return None
        packet = at + 27 + segments
        clock = _ogg_clock(data, packet)
        if clock is not None:
            end = _ogg_end(data, data[at + 14 : at + 18], budget)
            return max(0.0, (end - clock[1]) / clock[0]) if end is not None and clock[0] else None
        at = packet + sum(data[at + 27 : packet])
    return None


def _ogg_clock(data: bytes, packet: int) -> tuple[int, int] | None:
    """Return a stream's positions a second, and how many of them come before the sound."""
    if data.startswith(b"OpusHead", packet):
        return 48_000, struct.unpack_from("<H", data, packet + 10)[0]
    if data.startswith(b"\x01vorbis", packet):
        return struct.unpack_from("<I", data, packet + 12)[0], 0
    if data.startswith(b"Speex   ", packet):
        return struct.unpack_from("<I", data, packet + 36)[0], 0
    if data.startswith(b"\x7fFLAC", packet):
        return struct.unpack_from(">Q", data, packet + 27)[0] >> 44, 0
    return None


def _ogg_end(data: bytes, serial: bytes, budget: Budget) -> int | None:
    at = data.rfind(b"OggS")
    while at >= 0:
        budget.spend()
        if data[at + 14 : at + 18] == serial:
            position = struct.unpack_from("<q", data, at + 6)[0]
            if position >= 0:  # -1: no packet ends on this page
                return position
        at = data.rfind(b"OggS", 0, at)
    return None


def _mp4_seconds(data: bytes, budget: Budget) -> float | None:
    """Find the box mvhd within moov; it has the duration."""
    at, end = 0, len(data)
    while at + 8 <= end:
        budget.spend()
        size, kind = struct.unpack_from(">I4s", data, at)
        body = at + 8
        if size == 1:
            size, body = struct.unpack_from(">Q", data, body)[0], at + 16
        size = size or end - at
        if kind == b"mvhd":
            long = data[body : body + 1] == b"\1"
            scale, duration = struct.unpack_from(">IQ" if long else ">II", data, body + (20 if long else 12))
            # A file in fragments, as a stream is, has 0 here, or all ones.
            known = 0 < duration < (0xFFFFFFFFFFFFFFFF if long else 0xFFFFFFFF)
            return duration / scale if scale and known else None
        if size < body - at:
            return None
        at = body if kind == b"moov" else at + size
    return None


def _webm_seconds(data: bytes, budget: Budget) -> float | None:
    """Find Duration within Segment and Info; recorders' streams often have none."""
    at, scale, duration = 0, _EBML_SCALE_DEFAULT, None
    end = len(data)
    while at < end:
        budget.spend(_STEPS_AN_ELEMENT)
        element, at = _ebml_number(data, at, keep_mark=True)
        size, at = _ebml_number(data, at, keep_mark=False)
        if element == _EBML_SEGMENT:
            continue
        if element == _EBML_INFO:
            end = min(end, at + size)
            continue
        if element == _EBML_TIMESTAMP_SCALE:
            scale = int.from_bytes(data[at : at + min(size, 8)], "big")
        elif element == _EBML_DURATION:
            duration = struct.unpack_from(">d" if size == 8 else ">f", data, at)[0]
        at += size
    return duration * scale / 1e9 if duration is not None and 0 <= duration < _EBML_LONGEST else None


def _ebml_number(data: bytes, at: int, *, keep_mark: bool) -> tuple[int, int]:
    """Return a number of variable length (RFC 8794 section 4), and where it ends; an id keeps the bit of its length."""
    first = struct.unpack_from("B", data, at)[0]
    length = 9 - first.bit_length()
    if length > 8:
        raise struct.error("a number of more than eight bytes")
    value = int.from_bytes(data[at : at + length], "big")
    return value if keep_mark else value & ((1 << 7 * length) - 1), at + length
