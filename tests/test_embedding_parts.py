"""Embeddings are dense: every leading part of one means what the whole does, as with OpenAI's newer models."""

from __future__ import annotations

import math

import pytest

from protocol.mock.text.vectors import lexical_words, unit_vector

CAT, OTHER_CAT, MARKETS = "the cat sat on the mat", "the cat lay on the mat", "stock markets fell sharply today"


def cosine(one: list[float], other: list[float]) -> float:
    product = sum(x * y for x, y in zip(one, other))
    return product / math.sqrt(sum(x * x for x in one) * sum(y * y for y in other))


@pytest.mark.parametrize("whole", [256, 512, 1000, 1024, 1536, 3072])
@pytest.mark.parametrize("part", [128, 256, 512, 1024, 1536])
def test_a_leading_part_tells_texts_apart_as_the_whole_does(whole: int, part: int) -> None:
    cat, other_cat, markets = (unit_vector(lexical_words(text), whole)[:part] for text in (CAT, OTHER_CAT, MARKETS))
    # Five of six words in common, "the" twice; none in common.
    assert cosine(cat, other_cat) == pytest.approx(0.83, abs=0.08)
    assert abs(cosine(cat, markets)) < 0.15


@pytest.mark.parametrize("dimension", [1, 2, 255, 1024, 1025, 1536, 2047, 2048, 3072])
def test_a_vector_is_of_length_1_and_dense(dimension: int) -> None:
    vector = unit_vector(lexical_words("A few words, no more."), dimension)
    assert len(vector) == dimension
    assert math.sqrt(sum(x * x for x in vector)) == pytest.approx(1, abs=1e-5)
    assert sum(x == 0 for x in vector) <= dimension // 10


@pytest.mark.parametrize("text", ["", " ", "..."])
def test_a_text_without_words_has_a_vector_too(text: str) -> None:
    assert sum(x * x for x in unit_vector(lexical_words(text), 256)) == pytest.approx(1, abs=1e-5)


def test_a_word_that_is_said_very_often_leaves_no_lane_too_small() -> None:
    vector = unit_vector({f"word{number}": 10_000_000 for number in range(200)}, 64)
    assert sum(x * x for x in vector) == pytest.approx(1, abs=1e-5)
