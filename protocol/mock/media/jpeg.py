"""A canvas as baseline JPEG (ITU-T T.81), in a JFIF frame.

Most blocks of 8 x 8 pixels have one colour, so that their mean is enough; a pattern with ink is transformed once. The
chroma is constant, so that its two components are empty after the first block. T.81 lets each file choose its Huffman
codes: here the commonest symbol has one bit, and all others have equally many.
"""

from __future__ import annotations

import math
import operator
import struct
import typing

from protocol.mock.media.canvas import Canvas

# The coefficient of the mean is eight times the mean: with this step, luma is kept exactly.
_MEAN_STEP = 8
# The step of all other coefficients, which only letters have: coarse enough to be short, fine enough for sharp edges.
_EDGE_STEP = 20

# Symbols of the Huffman codes in the order of their code words; the first has the word "0" (F.1.2).
_DC_SYMBOLS = bytes(range(12))  # how many bits the difference has
_AC_SYMBOLS = bytes((0, *(run << 4 | size for run in range(16) for size in range(1, 11)), 0xF0))
_DC_BITS, _AC_BITS = 5, 9
_LONGEST_RUN = 0xF0

_BLANK_ROW = (0.0,) * 8
_ZIGZAG = sorted(
    ((row, column) for row in range(8) for column in range(8)),
    key=lambda at: (at[0] + at[1], at[0] if (at[0] + at[1]) % 2 else at[1]),
)


def encode_jpeg(canvas: Canvas) -> bytes:
    """Return the canvas as a JPEG file; its background fades in steps of eight rows."""
    header = struct.pack(">HBBBHHBB", 0x0102, 0, 0, 0, 1, 1, 0, 0)
    frame = struct.pack(">BHHB", 8, canvas.height, canvas.width, 3) + b"".join(
        bytes((component, 0x11, 0)) for component in (1, 2, 3)
    )
    scan = b"\3" + b"".join(bytes((component, 0)) for component in (1, 2, 3)) + bytes((0, 63, 0))
    return b"".join(
        (
            b"\xff\xd8",
            _segment(0xE0, b"JFIF\0" + header[:2] + header[4:]),
            _segment(0xDB, b"\0" + bytes((_MEAN_STEP, *[_EDGE_STEP] * 63))),
            _segment(0xC0, frame),
            _segment(0xC4, b"\0" + _code_lengths(_DC_SYMBOLS, _DC_BITS)),
            _segment(0xC4, b"\x10" + _code_lengths(_AC_SYMBOLS, _AC_BITS)),
            _segment(0xDA, scan),
            _pixels(canvas),
            b"\xff\xd9",
        )
    )


def _segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def _code_lengths(symbols: bytes, bits: int) -> bytes:
    counts = [0] * 16
    counts[0], counts[bits - 1] = 1, len(symbols) - 1
    return bytes(counts) + symbols


def _word(symbols: bytes, symbol: int, bits: int) -> str:
    place = symbols.index(symbol)
    return f"1{place - 1:0{bits - 1}b}" if place else "0"


def _difference(value: int) -> str:
    """Return the code of a mean's difference from that of the block before (F.1.2.1)."""
    size = abs(value).bit_length()
    return _word(_DC_SYMBOLS, size, _DC_BITS) + _amplitude(value, size)


def _amplitude(value: int, size: int) -> str:
    return f"{value if value > 0 else value + (1 << size) - 1:0{size}b}" if size else ""


def _pixels(canvas: Canvas) -> bytes:
    """Return the scan: for each block its luma, then its chroma."""
    blocks = _Blocks(canvas.ink)
    chroma = "".join(_difference(value - 128) + "0" for value in canvas.chroma)
    columns = -(-canvas.width // 8)
    unchanged = "00" + "0000"  # in each of three components: no difference, and no other coefficient
    before, bits = 0, []
    for row in range(0, canvas.height, 8):
        shade = canvas.shades[canvas.rows[min(row + 4, canvas.height - 1)]]
        masks = canvas.masks[row : row + 8]
        if not any(masks):
            bits += [_difference(shade - 128 - before), "0", chroma, unchanged * (columns - 1)]
            before, chroma = shade - 128, "0000"
            continue
        lines = [(mask or b"").ljust(columns * 8, b"\0") for mask in masks] + [bytes(columns * 8)] * (8 - len(masks))
        for left in range(0, columns * 8, 8):
            mean, rest = blocks.code(b"".join([line[left : left + 8] for line in lines]), shade)
            bits += (_difference(mean - before), rest, chroma)
            before, chroma = mean, "0000"
    coded = "".join(bits)
    coded += "1" * (-len(coded) % 8)
    return int(coded, 2).to_bytes(len(coded) // 8, "big").replace(b"\xff", b"\xff\0")


class _Blocks:
    """The luma of blocks, kept by their pattern and their background's shade."""

    def __init__(self, ink: int) -> None:
        self._ink = ink
        self._rows: dict[bytes, typing.Sequence[float]] = {bytes(8): _BLANK_ROW}
        self._spectra: dict[bytes, list[float]] = {}
        self._words = {symbol: _word(_AC_SYMBOLS, symbol, _AC_BITS) for symbol in _AC_SYMBOLS}
        self._codes: dict[tuple[bytes, int], tuple[int, str]] = {}
        # A.3.3: the transform of a row of eight dots; that of a column is the same.
        self._waves = [
            [math.cos((2 * at + 1) * wave * math.pi / 16) * (0.5 if wave else 0.125**0.5) for at in range(8)]
            for wave in range(8)
        ]

    def code(self, pattern: bytes, shade: int) -> tuple[int, str]:
        """Return a block's quantized mean, and the code of its other coefficients."""
        found = self._codes.get((pattern, shade))
        if found is None:
            found = self._codes[pattern, shade] = self._encode(pattern, shade)
        return found

    def _encode(self, pattern: bytes, shade: int) -> tuple[int, str]:
        if not any(pattern):
            return shade - 128, "0"
        if pattern not in self._spectra:
            self._spectra[pattern] = self._transform(pattern)
        # The transform is linear: the pattern's coefficients count by the difference between ink and shade.
        mean, *rest = self._spectra[pattern]
        strength = self._ink - shade
        edge_strength = strength / _EDGE_STEP
        words, run = [], 0
        for part in rest:
            value = round(part * edge_strength)
            if not value:
                run += 1
                continue
            words += [self._words[_LONGEST_RUN]] * (run // 16)
            size = abs(value).bit_length()
            words += (self._words[run % 16 << 4 | size], _amplitude(value, size))
            run = 0
        return shade - 128 + round(mean * strength / _MEAN_STEP), "".join(words) + ("0" if run else "")

    def _transform(self, pattern: bytes) -> list[float]:
        """Return the 64 coefficients of a block of noughts and ones, in zigzag order."""
        lines = [self._transform_row(pattern[row : row + 8]) for row in range(0, 64, 8)]
        inked = [at for at in range(8) if lines[at] is not _BLANK_ROW]
        columns = [[lines[at][column] for at in inked] for column in range(8)]
        waves = [[wave[at] for at in inked] for wave in self._waves]
        return [sum(map(operator.mul, waves[row], columns[column])) for row, column in _ZIGZAG]

    def _transform_row(self, dots: bytes) -> typing.Sequence[float]:
        found = self._rows.get(dots)
        if found is None:
            found = self._rows[dots] = [sum(wave[at] for at in range(8) if dots[at]) for wave in self._waves]
        return found
