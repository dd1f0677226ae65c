"""Embeddings by words alone: texts that share words are near each other, and nothing is learnt.

A word's vector is a long row of signs, which its hash gives, and a text's vector is the sum of its words' ("random
projection"): the same text gives the same vector in every process, without a table. Rows of different words are nearly
at right angles, and so is every leading part of them. So a vector may be cut to fewer dimensions and made of length 1
again, as those of OpenAI's newer models may.

The rows of a text are added as one number with a lane of 32 bits for each sign: a word costs some additions of C and
not a thousand of Python.

Tokens are words of their own: without a vocabulary, an array of tokens is near other arrays, not near its text.
"""

from __future__ import annotations

import array
import binascii
import collections
import hashlib
import math
import sys
import typing

from protocol.budget import spend_turn
from protocol.openai.answers import words_of

Words = typing.Mapping[str, int]

_PUNCTUATION = " \t\r\n.,;:!?\"'()[]{}<>«»“”‘’。，、；：！？（）《》…-"
_DIGITS = 7

# The signs of a word. What has more dimensions has them again: then every leading part still means the same.
_SIGNS = 1024
# A lane of a text's number has 32 bits, and a word counts for this much in it.
_LANE_BYTES = 4
_WORD_WEIGHT = 16
_LANES = tuple(b"".join((bits >> bit & 1).to_bytes(_LANE_BYTES, "little") for bit in range(8)) for bits in range(256))


def lexical_words(text: str) -> Words:
    """Return a text's words and how often each is in it; case, and punctuation around words, do not count.

    A text of punctuation alone is one word; the empty text has none.
    """
    words = collections.Counter(piece.strip(_PUNCTUATION).casefold() for piece in words_of(text))
    del words[""]
    return words or ({text: 1} if text else {})


def token_words(tokens: typing.Iterable[int]) -> Words:
    """Return tokens as words for `unit_vector`, none of which is the word of a text."""
    return collections.Counter(f"token {token}" for token in tokens)


def unit_vector(words: Words, dimension: int) -> list[float]:
    """Return the vector of length 1 for a text's words. The cosine of two is about the share of words in common.

    `dimension` is 1 or more. Texts that share no word have a cosine of about 0, give or take 1 / sqrt(dimension), and
    1/32 at least.
    """
    spend_turn(dimension // 10)
    total = weight = 0
    for word, count in words.items():
        spend_turn(20)
        # A word said often tells little more than a word said once.
        counted = round(_WORD_WEIGHT * math.sqrt(count))
        total += counted * _row(word)
        weight += counted
    lanes = array.array("I", total.to_bytes(_SIGNS * _LANE_BYTES, "little"))
    if sys.byteorder == "big":
        lanes.byteswap()
    lanes = lanes[:dimension]
    whole, rest = divmod(dimension, len(lanes))
    # Few values are in many lanes.
    counts = collections.Counter(lanes)
    squares = whole * _sum_of_squares(counts, weight) + _sum_of_squares(collections.Counter(lanes[:rest]), weight)
    if not squares:  # no word, or words that cancel each other out
        return [1.0, *[0.0] * (dimension - 1)]
    length = math.sqrt(squares)
    values = {lane: round((2 * lane - weight) / length, _DIGITS) for lane in counts}
    vector = [values[lane] for lane in lanes]
    return vector * whole + vector[:rest]


def _sum_of_squares(counts: typing.Mapping[int, int], weight: int) -> int:
    """Return the sum of the squares of a text's signs: a bit is 0 or 1 and stands for -1 or 1, so 2 * lane - weight."""
    return sum(count * (2 * lane - weight) ** 2 for lane, count in counts.items())


def _row(word: str) -> int:
    """Return a word's signs, each in the lowest bit of a lane."""
    digest = hashlib.shake_128(word.encode("utf-8", "surrogatepass")).digest(_SIGNS // 8)
    return int.from_bytes(b"".join([_LANES[bits] for bits in digest]), "little")


def encode_vector(vector: typing.Sequence[float]) -> str:
    """Return a vector as base64 of floats of 32 bits, little-endian (OpenAI API reference, `encoding_format`)."""
    numbers = array.array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return binascii.b2a_base64(numbers.tobytes(), newline=False).decode("ascii")


def relevance(query: Words, document: Words) -> float:
    """Return from 0 to 1 how relevant a document is: by the query's words in it, and a little by its other words."""
    if not query or not document:
        return 0.0
    shared = len(query.keys() & document.keys())
    return round(0.9 * shared / len(query) + 0.1 * shared / len(query.keys() | document.keys()), 6)
