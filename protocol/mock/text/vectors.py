"""Embeddings by words alone: texts that share words are near each other, and nothing is learnt.

A text's vector is the sum of its words' vectors. A word's vector is a few coordinates that its hash picks ("feature
hashing"), so that a text gives the same vector in every process, without a table. Tokens are words of their own:
without a vocabulary, an array of tokens is near other arrays, not near its text.
"""

from __future__ import annotations

import array
import binascii
import collections
import hashlib
import math
import struct
import sys
import typing

from protocol.budget import spend_turn
from protocol.openai.answers import split_words

Words = typing.Mapping[str, int]

_PUNCTUATION = " \t\r\n.,;:!?\"'()[]{}<>«»“”‘’。，、；：！？（）《》…-"
_COORDINATES_A_WORD = 16
_DIGITS = 7


def lexical_words(text: str) -> Words:
    """Return a text's words and how often each is in it; case, and punctuation around words, do not count.

    A text of punctuation alone is one word; the empty text has none.
    """
    spend_turn(len(text) // 10)
    words = collections.Counter(piece.strip(_PUNCTUATION).casefold() for piece in split_words(text))
    del words[""]
    return words or ({text: 1} if text else {})


def token_words(tokens: typing.Iterable[int]) -> Words:
    """Return tokens as words for `unit_vector`, none of which is the word of a text."""
    return collections.Counter(f"token {token}" for token in tokens)


def unit_vector(words: Words, dimension: int) -> list[float]:
    """Return the vector of length 1 for a text's words. The cosine of two is about the share of words in common.

    `dimension` is 1 or more. Below a few hundred, words share coordinates by chance, and texts are nearer than they
    should be.
    """
    weights: dict[int, float] = {}
    spend_turn(dimension // 2)
    for word, count in words.items():
        spend_turn(5)
        digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=4 * _COORDINATES_A_WORD).digest()
        weight = math.sqrt(count)  # a word said often tells little more than a word said once
        for bits in struct.unpack(f"<{_COORDINATES_A_WORD}I", digest):
            place = (bits >> 1) % dimension
            weights[place] = weights.get(place, 0.0) + (weight if bits & 1 else -weight)
    vector = [0.0] * dimension
    length = math.sqrt(math.fsum(weight * weight for weight in weights.values()))
    if not length:  # no word, or words that cancel each other out
        vector[0] = 1.0
        return vector
    for place, weight in weights.items():
        vector[place] = round(weight / length, _DIGITS)
    return vector


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
