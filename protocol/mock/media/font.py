"""A bitmap font of printable ASCII, five dots wide and seven high; characters of other scripts get a mark each."""

from __future__ import annotations

import binascii
import typing
import unicodedata

from protocol.budget import spend_turn

GLYPH_WIDTH, GLYPH_HEIGHT = 5, 7

# A glyph has seven digits to base 32, one a row from the top. A digit's highest bit is the dot on the left.
_GLYPHS = (
    "0000000 4444404 aaa0000 aavavaa 4fke5u4 pp248jj ciiclid 4400000 2488842 8422248 04lel40 044v440 "
    "0000648 000v000 00000cc 11248gg ehjlphe 4c4444e eh1248v eh161he 26aiv22 vgu11he 68guhhe v122444 "
    "ehhehhe ehhf12c 0cc0cc0 0cc0c48 248g842 00v0v00 8421248 eh12404 ehnlmge ehhvhhh uhhuhhu ehggghe "
    "sihhhis vgguggv vgguggg ehgnhhf hhhvhhh e44444e 72222ic hikokih ggggggv hrllhhh hpljhhh ehhhhhe "
    "uhhuggg ehhhlid uhhukih fgge11u v444444 hhhhhhe hhhhaa4 hhhllrh hha4ahh hha4444 v1248gv e88888e "
    "gg84211 e22222e 4ah0000 000000v 8400000 00e1fhf gguhhhu 00egghe 11fhhhf 00ehvge 698s888 00fhf1e "
    "gguhhhh 40c444e 20622ic ggikoki c44444e 00qllll 00uhhhh 00ehhhe 00uhugg 00fhf11 00mpggg 00fge1u "
    "88s8896 00hhhjd 00hhha4 00hhlla 00ha4ah 00hhf1e 00v248v 2448442 4444444 8442448 009li00"
).split()
_FIRST = 0x20
_STEPS_A_FORM = 4  # to find how a character can be drawn

_PUNCTUATION = dict(zip("‘’‚“”„«»‐‑‒–—―−×", '\'\',"""<>-------x'))
# Categories that are not drawn: marks on other characters, and characters that only tell how to join or order others.
_UNDRAWN = frozenset(("Mn", "Me", "Cf", "Cc"))


def drawable_text(text: str) -> str:
    """Return the text as it can be drawn: accents and ligatures as ASCII letters, white space as spaces and newlines.

    A character without an ASCII form stays: `glyph_rows` has a mark for it.
    """
    if text.isascii() and text.isprintable():
        return text
    forms = {}
    for character in set(text):
        spend_turn(_STEPS_A_FORM)
        forms[character] = _ascii_form(_PUNCTUATION.get(character, character))
    return "".join([forms[character] for character in text])


def _ascii_form(character: str) -> str:
    if " " <= character <= "~" or character == "\n":
        return character
    if character.isspace():
        return " "
    if unicodedata.category(character) in _UNDRAWN:
        return ""
    return "".join(part for part in unicodedata.normalize("NFKD", character) if " " <= part <= "~") or character


def glyph_rows(character: str) -> typing.Sequence[int]:
    """Return a character's seven rows of five bits, from the top; a framed mark for one that is not ASCII."""
    place = ord(character) - _FIRST
    if 0 <= place < len(_GLYPHS):
        return [int(digit, 32) for digit in _GLYPHS[place]]
    bits = binascii.crc32(character.encode("utf-8", "surrogatepass"))
    # The mark is mirrored, as most signs roughly are; the frame tells it from a letter.
    halves = [bits >> (3 * row) & 7 for row in range(GLYPH_HEIGHT - 2)]
    return [31, *(half << 2 | half & 2 | half >> 2 for half in halves), 31]
