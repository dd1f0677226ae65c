"""A film as MP4: one PNG picture that stays, a frame a second.

Sources: ISO/IEC 14496-12 for the boxes, 14496-1 for the codec's descriptors.
"""

from __future__ import annotations

import struct

_UNITY_MATRIX = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
_TICKS_A_SECOND = 1000


def movie_file(png: bytes, width: int, height: int, seconds: int) -> bytes:
    """Return an MP4 file that shows a PNG picture of that size for so many seconds (1 to 9999)."""
    kind = _box(b"ftyp", b"isom", struct.pack(">I", 512), b"isomiso2mp41")
    # The boxes tell the picture's place, which depends on how long the boxes are: they are made twice.
    head = kind + _movie(png, width, height, seconds, 0)
    head = kind + _movie(png, width, height, seconds, len(head) + 8)
    return head + _box(b"mdat", png)


def _box(name: bytes, *parts: bytes) -> bytes:
    data = b"".join(parts)
    return struct.pack(">I4s", len(data) + 8, name) + data


def _full_box(name: bytes, flags: int, *parts: bytes) -> bytes:
    return _box(name, struct.pack(">I", flags), *parts)


def _movie(png: bytes, width: int, height: int, seconds: int, picture_at: int) -> bytes:
    duration = seconds * _TICKS_A_SECOND
    header = _full_box(
        b"mvhd", 0, struct.pack(">IIIIIH10x", 0, 0, _TICKS_A_SECOND, duration, 0x10000, 0x100), _UNITY_MATRIX,
        bytes(24), struct.pack(">I", 2),
    )  # fmt: skip
    track = _full_box(
        b"tkhd", 3, struct.pack(">IIIII8xhhHH", 0, 0, 1, 0, duration, 0, 0, 0, 0), _UNITY_MATRIX,
        struct.pack(">II", width << 16, height << 16),
    )  # fmt: skip
    media = _box(
        b"mdia",
        _full_box(b"mdhd", 0, struct.pack(">IIIIHH", 0, 0, _TICKS_A_SECOND, duration, 0x55C4, 0)),
        _full_box(b"hdlr", 0, struct.pack(">I4s12x", 0, b"vide"), b"video\0"),
        _box(
            b"minf",
            _full_box(b"vmhd", 1, bytes(8)),
            _box(b"dinf", _full_box(b"dref", 0, struct.pack(">I", 1), _full_box(b"url ", 1))),
            _sample_table(png, width, height, seconds, picture_at),
        ),
    )
    return _box(b"moov", header, _box(b"trak", track, media))


def _sample_table(png: bytes, width: int, height: int, frames: int, picture_at: int) -> bytes:
    """Return the table of frames: each is a chunk of its own, at the place of the one picture."""
    entry = _box(
        b"mp4v", struct.pack(">6xH16xHHIIIH32xHh", 1, width, height, 0x480000, 0x480000, 0, 1, 24, -1),
        _picture_codec(len(png)),
    )  # fmt: skip
    return _box(
        b"stbl",
        _full_box(b"stsd", 0, struct.pack(">I", 1), entry),
        _full_box(b"stts", 0, struct.pack(">III", 1, frames, _TICKS_A_SECOND)),
        _full_box(b"stsc", 0, struct.pack(">IIII", 1, 1, 1, 1)),
        _full_box(b"stsz", 0, struct.pack(">II", len(png), frames)),
        _full_box(b"stco", 0, struct.pack(">I", frames), struct.pack(">I", picture_at) * frames),
    )


def _picture_codec(size: int) -> bytes:
    """Return the descriptors of a visual stream of codec 0x6D, ISO/IEC 15948 (PNG)."""
    bits = size * 8
    codec = struct.pack(">BBBHII", 0x6D, 0x11, size >> 16 & 0xFF, size & 0xFFFF, bits & 0xFFFFFFFF, bits & 0xFFFFFFFF)
    body = struct.pack(">HB", 1, 0) + bytes([4, len(codec)]) + codec + bytes([6, 1, 2])
    return _full_box(b"esds", 0, bytes([3, len(body)]), body)
