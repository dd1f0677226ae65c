"""Pictures with a text in them, and the size of any picture file.

Sources of the headers: W3C PNG 5.2 and 11.2.1; CompuServe GIF89a, 18; ITU-T T.81, B.2.2; RFC 9649, section 2.
"""

from __future__ import annotations

import re
import struct
import typing

from protocol.budget import Budget, BudgetSpent
from protocol.errors import ApiError
from protocol.mock.media.canvas import draw_canvas
from protocol.mock.media.jpeg import encode_jpeg
from protocol.mock.media.png import encode_png
from protocol.mock.media.webp import encode_webp

#: The longest side of a picture that is made, in pixels.
PICTURE_MOST_SIDE = 4096

_ENCODERS = {"png": encode_png, "jpeg": encode_jpeg, "webp": encode_webp}

#: The formats that `picture_file` can make. A media type is "image/" and the format.
PICTURE_FORMATS = tuple(_ENCODERS)


# The segments of a JPEG file before its size: metadata and a colour profile, in some hundreds at most.
_MOST_HEAD_STEPS = 10_000
_FILL_BYTES = re.compile(rb"\xff{1,65535}")
_STEPS_OF_FILL = 65


class PictureHead(typing.NamedTuple):
    """What the beginning of a picture file tells: "png", "jpeg", "gif" or "webp", and the size in pixels."""

    format: str
    width: int
    height: int


def picture_file(
    text: str, width: int, height: int, *, picture_format: str = "png", seed: int = 0, transparent: bool = False
) -> bytes:
    """Return a picture file of width x height pixels with the text in it; equal arguments give equal bytes.

    `seed` chooses the colours. ApiError 400 for a side that is not from 1 to 4096, for a format that is not among
    PICTURE_FORMATS, and for a transparent JPEG. Source: OpenAI API reference, "Create image".
    """
    if not (1 <= width <= PICTURE_MOST_SIDE and 1 <= height <= PICTURE_MOST_SIDE):
        message = f"Invalid size '{width}x{height}': expected sides of 1 to {PICTURE_MOST_SIDE} pixels."
        raise ApiError(400, message, param="size", code="invalid_value")
    encode = _ENCODERS.get(picture_format)
    if encode is None:
        supported = ", ".join(repr(name) for name in PICTURE_FORMATS)
        message = f"Invalid value: '{picture_format:.100}'. Supported values are: {supported}."
        raise ApiError(400, message, param="output_format", code="invalid_value")
    if transparent and picture_format == "jpeg":
        message = "Transparent background is not supported for the output format 'jpeg': ask for 'png' or 'webp'."
        raise ApiError(400, message, param="background", code="invalid_value")
    return encode(draw_canvas(text, width, height, seed=seed, transparent=transparent))


def read_picture_head(data: bytes) -> PictureHead | None:
    """Return format and size of a PNG, JPEG, GIF or WebP file, by its beginning alone; None for any other file."""
    try:
        if data[:8] == b"\x89PNG\r\n\x1a\n" and data[12:16] == b"IHDR":
            return PictureHead("png", *struct.unpack_from(">II", data, 16))
        if data[:6] in (b"GIF87a", b"GIF89a"):
            return PictureHead("gif", *struct.unpack_from("<HH", data, 6))
        if data[:3] == b"\xff\xd8\xff":
            return _read_jpeg_head(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _read_webp_head(data)
    except (struct.error, BudgetSpent):  # the file ends too early, or has segments without end
        pass
    return None


def _read_jpeg_head(data: bytes) -> PictureHead | None:
    budget = Budget(_MOST_HEAD_STEPS, "The picture", pauses=True)
    at = 2
    while True:
        budget.spend()
        mark, kind = struct.unpack_from(">BB", data, at)
        if mark != 0xFF:
            return None
        if kind == 0xFF:  # B.1.1.2: any number of fill bytes may come before a marker
            fill = _FILL_BYTES.match(data, at + 1)
            at = fill.end() - 1 if fill else at + 1
            budget.spend(_STEPS_OF_FILL)
        elif kind == 0x01 or 0xD0 <= kind <= 0xD8:  # markers without a segment
            at += 2
        elif 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 5)
            return PictureHead("jpeg", width, height)
        elif kind in (0xD9, 0xDA):
            return None
        else:
            at += 2 + max(2, struct.unpack_from(">H", data, at + 2)[0])


def _read_webp_head(data: bytes) -> PictureHead | None:
    kind = data[12:16]
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        return PictureHead("webp", width & 0x3FFF, height & 0x3FFF)
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return PictureHead("webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8X":
        low, middle, high = struct.unpack_from("<HHH", data, 24)
        return PictureHead("webp", (low | (middle & 255) << 16) + 1, (middle >> 8 | high << 8) + 1)
    return None
