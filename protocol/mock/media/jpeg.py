"""A canvas as baseline JPEG (ITU-T T.81), in a JFIF frame.

Most blocks of 8 x 8 pixels have one colour, so that their mean is enough; a pattern with ink is transformed once. The
chroma is constant, so that its two components are empty after the first block. T.81 lets each file choose its Huffman
codes: here the commonest symbol has one bit, and all others have equally many.
"""

from __future__ import annotations

import math
import struct
import typing

from protocol.budget import spend_turn
from protocol.mock.media.bits import BitWriter
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

# Added and taken away again, it leaves the nearest whole number, as `round` does (to even, between two), four times as
# fast: a float of this size has no bits for anything else.
_ROUNDING = 1.5 * 2**52

_ZIGZAG = sorted(
    ((row, column) for row in range(8) for column in range(8)),
    key=lambda at: (at[0] + at[1], at[0] if (at[0] + at[1]) % 2 else at[1]),
)

# Patterns with ink that are kept with what was made of them: a page of text in small letters has far more.
_MOST_KEPT_PATTERNS = 2048
_STEPS_A_PATTERN = 40


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


def _amplitude(value: int, size: int) -> str:
    return f"{value if value > 0 else value + (1 << size) - 1:0{size}b}" if size else ""


class _Differences(typing.Dict[int, str]):
    """The codes of a mean's difference from that of the block before (F.1.2.1), by the difference."""

    def __missing__(self, value: int) -> str:
        size = abs(value).bit_length()
        code = self[value] = _word(_DC_SYMBOLS, size, _DC_BITS) + _amplitude(value, size)
        return code


class _Coefficients(typing.Dict[typing.Tuple[int, float], str]):
    """The codes of a coefficient and of the noughts before it (F.1.2.2), by how many these are and by its value."""

    def __missing__(self, at: tuple[int, float]) -> str:
        run, value = at[0], int(at[1])
        size = abs(value).bit_length()
        long_runs = _word(_AC_SYMBOLS, _LONGEST_RUN, _AC_BITS) * (run // 16)
        code = long_runs + _word(_AC_SYMBOLS, run % 16 << 4 | size, _AC_BITS) + _amplitude(value, size)
        self[at] = code
        return code


def _pixels(canvas: Canvas) -> bytes:
    """Return the scan: for each block its luma, then its chroma."""
    blocks, differences = _Blocks(canvas.ink), _Differences()
    writer = BitWriter(lowest_first=False)
    chroma = "".join(differences[value - 128] + "0" for value in canvas.chroma)
    columns = -(-canvas.width // 8)
    unchanged = "00" + "0000"  # in each of three components: no difference, and no other coefficient
    before = 0
    for row in range(0, canvas.height, 8):
        spend_turn(1 + columns)
        shade = canvas.shades[canvas.rows[min(row + 4, canvas.height - 1)]]
        masks = canvas.masks[row : row + 8]
        if not any(masks):
            writer.write("".join((differences[shade - 128 - before], "0", chroma, unchanged * (columns - 1))))
            before, chroma = shade - 128, "0000"
            continue
        lines = [(mask or b"").ljust(columns * 8, b"\0") for mask in masks] + [bytes(columns * 8)] * (8 - len(masks))
        bits: list[str] = []
        for left in range(0, columns * 8, 8):
            mean, rest = blocks.code(b"".join([line[left : left + 8] for line in lines]), shade)
            bits += (differences[mean - before], rest, chroma)
            before, chroma = mean, "0000"
        writer.write("".join(bits))
    return writer.finish("1").replace(b"\xff", b"\xff\0")


class _Blocks:
    """The luma of blocks, kept by their pattern and their background's shade."""

    def __init__(self, ink: int) -> None:
        self._ink = ink
        self._rows: dict[tuple[int, bytes], typing.Sequence[float]] = {}
        self._spectra: dict[bytes, typing.Sequence[float]] = {}
        self._codes: dict[tuple[bytes, int], tuple[int, str]] = {}
        self._coefficients = _Coefficients()
        # A.3.3: the transform of a row of eight dots; that of a column is the same.
        self._waves = [
            [math.cos((2 * at + 1) * wave * math.pi / 16) * (0.5 if wave else 0.125**0.5) for at in range(8)]
            for wave in range(8)
        ]

    def code(self, pattern: bytes, shade: int) -> tuple[int, str]:
        """Return a block's quantized mean, and the code of its other coefficients."""
        found = self._codes.get((pattern, shade))
        if found is None:
            spend_turn(_STEPS_A_PATTERN)
            if len(self._codes) == _MOST_KEPT_PATTERNS:
                self._codes.clear()
            found = self._codes[pattern, shade] = self._encode(pattern, shade)
        return found

    def _encode(self, pattern: bytes, shade: int) -> tuple[int, str]:
        if not any(pattern):
            return shade - 128, "0"
        spectrum = self._spectra.get(pattern)
        if spectrum is None:
            if len(self._spectra) == _MOST_KEPT_PATTERNS:
                self._spectra.clear()
            spectrum = self._spectra[pattern] = self._transform(pattern)
        # The transform is linear: the pattern's coefficients count by the difference between ink and shade.
        strength = self._ink - shade
        edge_strength = strength / _EDGE_STEP
        words, run = [], 0
        for value in [part * edge_strength + _ROUNDING - _ROUNDING for part in spectrum[1:]]:
            if value:
                words.append(self._coefficients[run, value])
                run = 0
            else:
                run += 1
        return shade - 128 + round(spectrum[0] * strength / _MEAN_STEP), "".join(words) + ("0" if run else "")

    def _transform(self, pattern: bytes) -> list[float]:
        """Return the 64 coefficients of a block of noughts and ones, in zigzag order: those of its rows, added up.

        They are added from the top down by `+`: `sum` would give others in the last digit from Python 3.12 on.
        """
        rows = [
            self._rows.get((at, pattern[begin : begin + 8])) or self._transform_row(at, pattern[begin : begin + 8])
            for at, begin in enumerate(range(0, 64, 8))
        ]
        return [a + b + c + d + e + f + g + h for a, b, c, d, e, f, g, h in zip(*rows)]

    def _transform_row(self, at: int, dots: bytes) -> typing.Sequence[float]:
        """Return what a row of dots, the one at `at` of a block, adds to each coefficient."""
        across = []
        for wave in self._waves:
            part = 0.0
            for column in range(8):
                if dots[column]:
                    part += wave[column]
            across.append(part)
        spectrum = self._rows[at, dots] = [self._waves[down][at] * across[column] for down, column in _ZIGZAG]
        return spectrum
