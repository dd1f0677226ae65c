"""The sets of characters that patterns have names for: `\\d`, `\\w`, `\\s`, and the properties of `\\p{...}`.

Source: ECMA-262 §22.2, and Unicode's emoji-data.txt.
"""

from __future__ import annotations

import typing

#: Code points: the first and the last of each range.
Ranges = typing.Tuple[typing.Tuple[int, int], ...]

#: The last code point of Unicode.
LAST_CODE = 0x10FFFF

DIGITS: Ranges = ((0x30, 0x39),)
WORD: Ranges = ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))
# ECMA-262 WhiteSpace and LineTerminator.
SPACE: Ranges = (
    *((0x09, 0x0D), (0x20, 0x20), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A)),
    *((0x2028, 0x2029), (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000), (0xFEFF, 0xFEFF)),
)
LINE_ENDS: Ranges = ((0x0A, 0x0A), (0x0D, 0x0D), (0x2028, 0x2029))
# The blocks that hold most pictographs. Some rare ones are missing; all that are here are some.
_FACES = ((0x1F400, 0x1F43E), (0x1F600, 0x1F64F), (0x1F680, 0x1F6C5))
_PICTURES = (
    *((0xA9, 0xA9), (0xAE, 0xAE), (0x203C, 0x203C), (0x2049, 0x2049), (0x2122, 0x2122), (0x2139, 0x2139)),
    *((0x2194, 0x2199), (0x21A9, 0x21AA), (0x231A, 0x231B), (0x23E9, 0x23F3), (0x2600, 0x2604), (0x2614, 0x2615)),
    *((0x2648, 0x2653), (0x2753, 0x2755), (0x2763, 0x2764), (0x2B50, 0x2B50), (0x2B55, 0x2B55)),
    *((0x1F300, 0x1F321), (0x1F324, 0x1F393), (0x1F3A0, 0x1F3F0), (0x1F400, 0x1F4FD), (0x1F4FF, 0x1F53D)),
    *((0x1F5FB, 0x1F64F), (0x1F680, 0x1F6C5), (0x1F90C, 0x1F93A), (0x1F93C, 0x1F945), (0x1F947, 0x1F9FF)),
)
_PICTURE_PARTS = (
    *((0x23, 0x23), (0x2A, 0x2A), (0x30, 0x39), (0x200D, 0x200D), (0x20E3, 0x20E3)),
    *((0xFE0F, 0xFE0F), (0x1F1E6, 0x1F1FF), (0x1F3FB, 0x1F3FF), (0xE0020, 0xE007F)),
)
#: Binary properties that are common in schemas.
PROPERTIES: dict[str, Ranges] = {
    "Any": ((0, LAST_CODE),),
    "ASCII": ((0, 0x7F),),
    "White_Space": SPACE,
    "Emoji": (*_PICTURE_PARTS[:3], *_PICTURES, (0x1F1E6, 0x1F1FF), (0x1F3FB, 0x1F3FF)),
    "Emoji_Presentation": _FACES,
    "Extended_Pictographic": _PICTURES,
    "Emoji_Component": _PICTURE_PARTS,
}
CATEGORIES = frozenset(
    ("Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Cs Co Cn").split()
)
CATEGORY_NAMES = {
    "Letter": "L",
    "Alphabetic": "L",
    "Uppercase_Letter": "Lu",
    "Uppercase": "Lu",
    "Lowercase_Letter": "Ll",
    "Lowercase": "Ll",
    "Mark": "M",
    "Number": "N",
    "Decimal_Number": "Nd",
    "Punctuation": "P",
    "Symbol": "S",
    "Separator": "Z",
    "Space_Separator": "Zs",
    "Other": "C",
    "Control": "Cc",
}


def complement(ranges: Ranges) -> Ranges:
    """Return all code points that are in none of the ranges."""
    outside = []
    start = 0
    for low, high in sorted(ranges):
        if start < low:
            outside.append((start, low - 1))
        start = max(start, high + 1)
    if start <= LAST_CODE:
        outside.append((start, LAST_CODE))
    return tuple(outside)
