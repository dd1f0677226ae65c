"""A canvas as lossless WebP (RFC 9649, section 3): a palette, and runs of its colours.

Of the format, only what such pictures need is used: literals, copies of the pixel to the left, copies of the row above.
"""

from __future__ import annotations

import re
import struct
import typing

from protocol.budget import spend_turn
from protocol.mock.media.bits import BitWriter
from protocol.mock.media.canvas import Canvas, Colour

# Bits are text, in the order of the stream. Section 3.7.2.1.1: the code of a single symbol, 0, takes no bits.
_ONLY_ZERO = "1000"
# Two symbols, one bit each: 0 and 1, 0 and 255.
_ZERO_ONE, _ZERO_255 = "1100" + "10000000", "1100" + "11111111"

# Green and the lengths of copies: 280 symbols, of which 232 have eight bits and the others nine.
_SYMBOLS, _SHORT_SYMBOLS = 280, 232
_LENGTHS = 256  # the first of the symbols for lengths

# Section 3.7.2.1.2: the order of the lengths of the code that the lengths are written in.
_LENGTH_ORDER = (17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9)

# Section 4.4: with more than sixteen colours each pixel has a byte of its own.
_LEAST_COLOURS = 17
_LONGEST_COPY = 4096
_ABOVE, _LEFT = "0", "1"

_RUN = re.compile(rb"\x00+|\x01+")
# Runs of one colour that are written in a microsecond or so.
_RUNS_A_STEP = 4


def encode_webp(canvas: Canvas) -> bytes:
    """Return the canvas as a WebP file."""
    palette = canvas.palette()
    palette += palette[-1:] * (_LEAST_COLOURS - len(palette))
    bits = [_number(canvas.width - 1, 14), _number(canvas.height - 1, 14)]
    bits += ["1" if canvas.transparent else "0", "000"]
    bits += ["1", _number(3, 2), _number(len(palette) - 1, 8), _palette(palette), "0"]
    bits += ["0", "0", _green_code(), _ONLY_ZERO * 3, _ZERO_ONE]
    writer = BitWriter(lowest_first=True)
    writer.write("".join(bits))
    for row in _rows(canvas):
        writer.write(row)
    coded = b"\x2f" + writer.finish("0")
    size = len(coded)
    coded += b"\0" * (size % 2)
    return b"RIFF" + struct.pack("<I", 12 + len(coded)) + b"WEBPVP8L" + struct.pack("<I", size) + coded


def _number(value: int, bits: int) -> str:
    return f"{value:0{bits}b}"[::-1]


def _palette(palette: typing.Sequence[Colour]) -> str:
    """Return the palette as a picture of one row, each colour as its difference from the one before (section 4.4)."""
    before = (0, 0, 0, 0)
    bits = ["0", _green_code(), _byte_code() * 2, _ZERO_255, _ONLY_ZERO]
    for colour in palette:
        red, green, blue, alpha = ((now - then) & 255 for now, then in zip(colour, before))
        # Alpha is 0 or 255 and rises at most once, at the first colour or at the ink.
        bits += [_symbol(green), f"{red:08b}", f"{blue:08b}", "1" if alpha else "0"]
        before = colour
    return "".join(bits)


def _code(lengths: typing.Container[int]) -> str:
    """Return the start of a code: it says that each length is written in one bit, or a single length in none."""
    told = "".join("100" if length in lengths else "000" for length in _LENGTH_ORDER)
    return "0" + _number(len(_LENGTH_ORDER) - 4, 4) + told + "0"


def _green_code() -> str:
    return _code((8, 9)) + "0" * _SHORT_SYMBOLS + "1" * (_SYMBOLS - _SHORT_SYMBOLS)


def _byte_code() -> str:
    return _code((8,))  # 256 times a length that takes no bits to tell


def _symbol(symbol: int) -> str:
    return f"{symbol:08b}" if symbol < _SHORT_SYMBOLS else f"{symbol + _SHORT_SYMBOLS:09b}"


def _copy(length: int, where: str) -> str:
    """Return the code of a copy of at most 4096 pixels (section 3.6.2.2)."""
    value = length - 1
    if value < 4:
        return _symbol(_LENGTHS + value) + where
    high = value.bit_length() - 1
    symbol = 2 * high + (value >> (high - 1) & 1)
    return _symbol(_LENGTHS + symbol) + _number(value & ((1 << (high - 1)) - 1), high - 1) + where


def _copies(length: int, where: str) -> str:
    whole, rest = divmod(length, _LONGEST_COPY)
    return _copy(_LONGEST_COPY, where) * whole + (_copy(rest, where) if rest else "")


class _Runs(typing.Dict[bytes, str]):
    """The codes of runs of pixels that were met, by the run; a shade of the background has runs of its own."""

    def __init__(self, shade: int, ink: int) -> None:
        super().__init__()
        self._symbols = _symbol(shade), _symbol(ink)

    def __missing__(self, run: bytes) -> str:
        code = self[run] = self._symbols[run[0]] + _copies(len(run) - 1, _LEFT)
        return code


def _rows(canvas: Canvas) -> typing.Iterator[str]:
    """Yield the bits of rows that differ from those above, each with the copies of the rows that it follows."""
    repeated = 0
    codes, shade_of_codes = _Runs(0, len(canvas.shades)), 0
    for row, (shade, mask) in enumerate(zip(canvas.rows, canvas.masks)):
        if canvas.repeats(row):
            repeated += 1
            continue
        copies = _copies(repeated * canvas.width, _ABOVE)
        repeated = 0
        if shade != shade_of_codes:
            codes, shade_of_codes = _Runs(shade, len(canvas.shades)), shade
        runs = [bytes(canvas.width)] if mask is None else _RUN.findall(mask)
        spend_turn(1 + len(runs) // _RUNS_A_STEP)
        yield copies + "".join([codes[run] for run in runs])
    yield _copies(repeated * canvas.width, _ABOVE)
