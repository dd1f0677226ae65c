"""A canvas as lossless WebP (RFC 9649, section 3): a palette, and runs of its colours.

Only what such pictures need is written: literals, copies of the pixel to the left and copies of the row above.
"""

from __future__ import annotations

import re
import struct
import typing

from protocol.mock.media.canvas import Canvas, Colour

# Bits in the order of the stream, as text. Section 3.7.2.1.1: the code of a single symbol, 0, takes no bits at all.
_WEBP_ONLY_ZERO = "1000"
# Two symbols, one bit each: 0 and 1, 0 and 255.
_WEBP_ZERO_ONE, _WEBP_ZERO_255 = "1100" + "10000000", "1100" + "11111111"

# Green and lengths of copies: 280 symbols, of which so many have eight bits and the others nine.
_WEBP_SYMBOLS, _WEBP_SHORT_SYMBOLS = 280, 232
_WEBP_LENGTHS = 256  # the first of the symbols for lengths

# Section 3.7.2.1.2: in which order the lengths' own lengths are told.
_WEBP_LENGTH_ORDER = (17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9)

# Section 4.4: with more than sixteen colours each pixel has a byte of its own.
_WEBP_LEAST_COLOURS = 17
_WEBP_LONGEST_COPY = 4096
_WEBP_ABOVE, _WEBP_LEFT = "0", "1"


def encode_webp(canvas: Canvas) -> bytes:
    """Return the canvas as a WebP file."""
    palette = canvas.palette()
    palette += palette[-1:] * (_WEBP_LEAST_COLOURS - len(palette))
    bits = [_webp_number(canvas.width - 1, 14), _webp_number(canvas.height - 1, 14)]
    bits += ["1" if canvas.transparent else "0", "000"]
    bits += ["1", _webp_number(3, 2), _webp_number(len(palette) - 1, 8), _webp_palette(palette), "0"]
    bits += ["0", "0", _webp_green_code(), _WEBP_ONLY_ZERO * 3, _WEBP_ZERO_ONE]
    bits += _webp_pixels(canvas)
    stream = "".join(bits)
    coded = b"\x2f" + int(stream[::-1], 2).to_bytes(-(-len(stream) // 8), "little")
    size = len(coded)
    coded += b"\0" * (size % 2)
    return b"RIFF" + struct.pack("<I", 12 + len(coded)) + b"WEBPVP8L" + struct.pack("<I", size) + coded


def _webp_number(value: int, bits: int) -> str:
    return f"{value:0{bits}b}"[::-1]


def _webp_palette(palette: typing.Sequence[Colour]) -> str:
    """Return the palette as a picture of one row, each colour as its difference to the one before (section 4.4)."""
    before = (0, 0, 0, 0)
    bits = ["0", _webp_green_code(), _webp_byte_code() * 2, _WEBP_ZERO_255, _WEBP_ONLY_ZERO]
    for colour in palette:
        red, green, blue, alpha = ((now - then) & 255 for now, then in zip(colour, before))
        # Alpha is 0 or 255 and rises at most once, at the first colour or at the ink.
        bits += [_webp_symbol(green), f"{red:08b}", f"{blue:08b}", "1" if alpha else "0"]
        before = colour
    return "".join(bits)


def _webp_code(lengths: typing.Container[int]) -> str:
    """Return the start of a code: that its lengths are told by codes of one bit each, or none for a single length."""
    told = "".join("100" if length in lengths else "000" for length in _WEBP_LENGTH_ORDER)
    return "0" + _webp_number(len(_WEBP_LENGTH_ORDER) - 4, 4) + told + "0"


def _webp_green_code() -> str:
    return _webp_code((8, 9)) + "0" * _WEBP_SHORT_SYMBOLS + "1" * (_WEBP_SYMBOLS - _WEBP_SHORT_SYMBOLS)


def _webp_byte_code() -> str:
    return _webp_code((8,))  # 256 times a length that takes no bits to tell


def _webp_symbol(symbol: int) -> str:
    return f"{symbol:08b}" if symbol < _WEBP_SHORT_SYMBOLS else f"{symbol + _WEBP_SHORT_SYMBOLS:09b}"


def _webp_copy(length: int, where: str) -> str:
    """Return the code of a copy of at most 4096 pixels (section 3.6.2.2)."""
    value = length - 1
    if value < 4:
        return _webp_symbol(_WEBP_LENGTHS + value) + where
    high = value.bit_length() - 1
    symbol = 2 * high + (value >> (high - 1) & 1)
    return _webp_symbol(_WEBP_LENGTHS + symbol) + _webp_number(value & ((1 << (high - 1)) - 1), high - 1) + where


def _webp_copies(length: int, where: str) -> str:
    whole, rest = divmod(length, _WEBP_LONGEST_COPY)
    return _webp_copy(_WEBP_LONGEST_COPY, where) * whole + (_webp_copy(rest, where) if rest else "")


def _webp_pixels(canvas: Canvas) -> list[str]:
    bits = []
    repeated = 0
    for row, (shade, mask) in enumerate(zip(canvas.rows, canvas.masks)):
        if canvas.repeats(row):
            repeated += 1
            continue
        bits.append(_webp_copies(repeated * canvas.width, _WEBP_ABOVE))
        repeated = 0
        runs = [bytes(canvas.width)] if mask is None else re.findall(rb"\x00+|\x01+", mask)
        for run in runs:
            bits.append(_webp_symbol(len(canvas.shades) if run[0] else shade))
            bits.append(_webp_copies(len(run) - 1, _WEBP_LEFT))
    bits.append(_webp_copies(repeated * canvas.width, _WEBP_ABOVE))
    return bits
