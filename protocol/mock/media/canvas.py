"""What is in a picture, whatever its format: a background that fades from shade to shade, and text on it.

Background and ink differ in luma alone; the two chroma values are the same all over a picture. So the three formats
show the same picture, and JPEG has its chroma only once.
"""

from __future__ import annotations

import binascii
import math
import re
import typing

from protocol.budget import spend_turn
from protocol.mock.media.font import GLYPH_HEIGHT, GLYPH_WIDTH, drawable_text, glyph_rows

Colour = typing.Tuple[int, int, int, int]

_CELL_WIDTH, _CELL_HEIGHT = GLYPH_WIDTH + 1, GLYPH_HEIGHT + 2

# Luma, from 0 to 255. The contrast between ink and any shade is above 4.5 : 1, as WCAG 2 asks for (1.4.3).
_DARK, _LIGHT_INK = range(45, 96), 235
_LIGHT, _DARK_INK = range(160, 216), 15
# On a transparent background: a luma in the middle can be read on white and on black.
_MIDDLE_INK = 118
_CHROMA = 30

# A dot of the text is at most a 64th of the picture's shorter side; the margin is a 16th. Dots of these sizes make few
# different blocks of JPEG.
_LARGEST_DOT = 64
_DOTS = (64, 48, 32, 24, 16, 8, 4, 2)
_MARGIN = 16
_MOST_CHARACTERS = 32_000  # that are drawn of a text: as many as OpenAI's prompts have
_CHARACTERS_A_STEP = 16  # that are laid out, or of which a row of dots is drawn
_PIXELS_A_STEP = 1024  # of a row that are copied
_STEPS_A_GLYPH = 4
_UNBROKEN = 16  # characters of the longest word that is not broken to have larger letters


class Canvas(typing.NamedTuple):
    """A picture before it is encoded.

    `shades` are the background's lumas; `rows` has, for each row of pixels, the index of its shade. `masks` has, for
    each row, one byte a pixel (0 background, 1 ink), or None where there is no ink; equal rows are one object.
    """

    width: int
    height: int
    chroma: tuple[int, int]
    shades: typing.Sequence[int]
    ink: int
    transparent: bool
    rows: typing.Sequence[int]
    masks: typing.Sequence[bytes | None]

    def palette(self) -> list[Colour]:
        """Return the colours as red, green, blue, alpha: those of the shades, then the ink."""
        alpha = 0 if self.transparent else 255
        return [(*self._rgb(luma), alpha) for luma in self.shades] + [(*self._rgb(self.ink), 255)]

    def _rgb(self, luma: int) -> tuple[int, int, int]:
        # JFIF 1.02, "Conversion to and from RGB".
        blue, red = self.chroma[0] - 128, self.chroma[1] - 128
        green_part = luma - 0.344136 * blue - 0.714136 * red
        return _byte(luma + 1.402 * red), _byte(green_part), _byte(luma + 1.772 * blue)

    def repeats(self, row: int) -> bool:
        """Say whether a row of pixels equals the row above it."""
        return row > 0 and self.rows[row] == self.rows[row - 1] and self.masks[row] is self.masks[row - 1]


def _byte(exact: float) -> int:
    return min(255, max(0, round(exact)))


def draw_canvas(text: str, width: int, height: int, *, seed: int, transparent: bool = False) -> Canvas:
    """Return a picture of width x height pixels with the text in the largest letters that fit.

    A text that does not fit in the smallest letters is cut, and ends with "...". Of a longer one, the first 32,000
    characters are drawn. The colours follow from `seed`.
    """
    chance = binascii.crc32(b"%d" % seed)
    angle = 2 * math.pi * (chance >> 8) / 0x1000000
    chroma = 128 + round(_CHROMA * math.cos(angle)), 128 + round(_CHROMA * math.sin(angle))
    shades, ink = (_DARK, _LIGHT_INK) if chance & 1 else (_LIGHT, _DARK_INK)
    if transparent:
        shades, ink = range(1), _MIDDLE_INK
    if chance & 2:
        shades = shades[::-1]
    steps = max(1, height - 1)
    rows = [row * (len(shades) - 1) // steps for row in range(height)]
    return Canvas(width, height, chroma, shades, ink, transparent, rows, _draw_text(text, width, height))


def _draw_text(text: str, width: int, height: int) -> list[bytes | None]:
    """Return the mask of each row of pixels, with the text in the middle."""
    masks: list[bytes | None] = [None] * height
    dot, lines = _lay_out(drawable_text(text[:_MOST_CHARACTERS]), width, height)
    longest = max(map(len, lines), default=0)
    left, top = (width - longest * _CELL_WIDTH * dot) // 2, (height - len(lines) * _CELL_HEIGHT * dot) // 2
    left, top = (side - side % 8 if side >= 8 else max(0, side) for side in (left, top))
    dots = b"\0" * dot, b"\1" * dot
    cells = [b"".join(dots[bits >> place & 1] for place in (4, 3, 2, 1, 0)) + dots[0] for bits in range(32)]
    glyphs = {}
    for character in set("".join(lines)):
        spend_turn(_STEPS_A_GLYPH)
        glyphs[character] = [cells[bits] for bits in glyph_rows(character)]
    for number, line in enumerate(lines):
        for row in range(GLYPH_HEIGHT):
            spend_turn(1 + len(line) // _CHARACTERS_A_STEP + width // _PIXELS_A_STEP)
            drawn = b"".join([glyphs[character][row] for character in line])
            mask = (b"\0" * left + drawn).ljust(width, b"\0")[:width]
            first = top + (number * _CELL_HEIGHT + row) * dot
            masks[first : first + dot] = [mask] * dot
    return masks[:height]


def _lay_out(text: str, width: int, height: int) -> tuple[int, list[str]]:
    """Return how many pixels wide a dot of the letters is, and the lines of text."""
    side = min(width, height)
    room = width - side // _MARGIN * 2, height - side // _MARGIN * 2
    most_columns, most_lines = room[0] // _CELL_WIDTH, room[1] // _CELL_HEIGHT
    # A line may end with a space that is not drawn. A text of this length fills more than all lines: the rest is cut.
    text = re.sub(" +", " ", text).strip()[: (most_columns + 1) * most_lines + 1]
    if not text or not most_columns or not most_lines:
        return 1, []
    unbroken = max((len(word) for word in text.split() if len(word) <= _UNBROKEN), default=1)
    most = math.isqrt(room[0] * room[1] // (len(text) * _CELL_WIDTH * _CELL_HEIGHT))
    for dot in _DOTS:
        if dot > min(most, side // _LARGEST_DOT):
            continue
        columns = room[0] // (_CELL_WIDTH * dot)
        lines = _wrap(text, columns) if columns >= unbroken else []
        if lines and len(lines) * _CELL_HEIGHT * dot <= room[1]:
            return dot, lines
    lines = _wrap(text, most_columns)
    if len(lines) > most_lines:
        lines = lines[:most_lines]
        lines[-1] = (lines[-1][: max(0, most_columns - 3)] + "...")[:most_columns]
    return 1, lines


def _wrap(text: str, columns: int) -> list[str]:
    """Return the text in lines of at most so many characters; only words that are longer than a line are cut."""
    spend_turn(1 + len(text) // _CHARACTERS_A_STEP)
    lines = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split():
            if line and len(line) + 1 + len(word) <= columns:
                line += " " + word
                continue
            if line:
                lines.append(line)
            last = (len(word) - 1) // columns * columns
            lines += [word[begin : begin + columns] for begin in range(0, last, columns)]
            line = word[last:]
        lines.append(line)
    return lines
