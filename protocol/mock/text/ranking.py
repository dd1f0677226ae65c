"""Search by words: texts are cut into chunks, and chunks are ranked by BM25.

Case and accents do not count, and an English plural counts as its singular. In scripts that are written without spaces
the terms are characters and pairs of neighbours, so that two characters in order tell more than the two apart.
Source: Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009.
"""

from __future__ import annotations

import collections
import math
import re
import typing
import unicodedata

from protocol.budget import Budget, spend_turn
from protocol.errors import ApiError
from protocol.openai.answers import split_words

# Thai to Tibetan and Khmer, kana, CJK ideographs (in all planes), Hangul.
_UNSPACED = (
    "\u0e00-\u0fff\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
# Compiled when the first text is searched: classes this wide take milliseconds.
_TERM = rf"[{_UNSPACED}]+|[^\W_{_UNSPACED}]+"
_UNSPACED_TERM = rf"[{_UNSPACED}]"
_POSSESSIVE = r"(?i:['’]s\b)"

# Words that questions are put with. They do not tell what a question is about, and in a small collection it is chance
# how rare they are.
_QUESTION_WORDS = frozenset(
    "a about an and any are as at be by can could did do does for from give had has have how i in is it its me my of"
    " on or please show tell than that the their them there these they this to was we were what when where which who"
    " why will with would you your".split()
)

# How soon repetitions of a term stop to count, and how much the length of a text counts against it (section 3).
_BM25_SATURATION = 1.2
_BM25_LENGTH = 0.75
_DIGITS = 6
#: What a search may cost, in steps of a budget (protocol/budget.py).
SEARCH_STEPS = 3_000_000
# Characters that are normalised at once. Marks in a row are sorted, which takes the square of their number.
_NORMALISED_AT_ONCE = 1_000
_WORD_BEGINNING = re.compile(r"\s(?=\S)")
_PIECE_CHARACTERS = 32_768  # of a text that are cut into words at once: a millisecond's work


class Terms(typing.NamedTuple):
    """The terms that a text is found by: how often each is in it, and how many there are in all."""

    counts: typing.Mapping[str, int]
    total: int


def chunks_of(text: str, size: int = 800, overlap: int = 400) -> typing.Iterator[str]:
    """Yield a text in chunks of at most `size` tokens; each begins with the last `overlap` tokens of the one before.

    A word is a token (`split_words`). A blank text has no chunks. A chunk is made when it is asked for, so that a long
    text takes many short turns. Source: OpenAI API reference, "Create vector store file", `chunking_strategy`.
    """
    words: list[str] = []
    is_first = True
    for piece in _word_pieces(text) if text.strip() else ():
        words += split_words(piece)
        while len(words) > size:
            yield "".join(words[:size])
            del words[: size - overlap]
            is_first = False
    # The rest is a chunk if it has more than the overlap, which is in the chunk before, or if there is no other chunk.
    if words and (is_first or len(words) > overlap):
        yield "".join(words)


def check_chunking(size: int, overlap: int) -> None:
    """Check a chunking strategy; ApiError 400 where `overlap` is more than half of `size`."""
    if size < 1 or not 0 <= 2 * overlap <= size:
        message = f"Invalid chunking strategy: expected an overlap of at most half of {size} tokens, got {overlap}."
        param = "chunking_strategy.static.chunk_overlap_tokens"
        raise ApiError(400, message, param=param, code="invalid_value")


def _word_pieces(text: str) -> typing.Iterator[str]:
    """Yield a text in pieces that end where a word begins."""
    start = 0
    while start < len(text):
        most = start + 2 * _PIECE_CHARACTERS
        cut = _WORD_BEGINNING.search(text, start + _PIECE_CHARACTERS, most)
        # A word that is longer than that, or a script without spaces, is cut anywhere.
        end = min(most, len(text)) if cut is None else cut.end()
        yield text[start:end]
        start = end


def terms_of(text: str) -> Terms:
    """Return the terms that a text is found by; 800 words take about a millisecond."""
    terms: collections.Counter[str] = collections.Counter()
    for piece in re.findall(_TERM, _folded(text)):
        spend_turn(1 + len(piece) // 10)
        if re.match(_UNSPACED_TERM, piece):
            terms.update(piece)
            terms.update(before + after for before, after in zip(piece, piece[1:]))
        else:
            terms[_singular(piece)] += 1
    return Terms(terms, sum(terms.values()))


def rank(
    query: str | typing.Sequence[str], documents: typing.Sequence[str | Terms], budget: Budget | None = None
) -> list[tuple[float, int]]:
    """Return (score, index) of every document, the best first, and of equal ones the first.

    Scores are from 0, for no term in common, to 1, which only endless repetition reaches. A score depends on the other
    documents, so that scores of different collections cannot be compared. Several queries are one of all their words.
    A document that is ranked again and again can be given as its `terms_of`. BudgetSpent when there are so many words
    and documents that the ranking costs more than the budget has.
    """
    budget = budget or Budget(SEARCH_STEPS, "The search", pauses=True)
    collection = [terms_of(document) if isinstance(document, str) else document for document in documents]
    asked = query if isinstance(query, str) else "\n".join(query)
    budget.spend(len(asked) // 5)
    weights: dict[str, float] = {}
    for term in _query_terms(asked):
        budget.spend(1 + len(collection) // 15)
        weights[term] = _rarity(sum(term in terms.counts for terms in collection), len(collection))
    most = math.fsum(weights.values()) * (_BM25_SATURATION + 1)
    average = sum(terms.total for terms in collection) / max(1, len(collection)) or 1.0
    scores = []
    for index, terms in enumerate(collection):
        budget.spend(1 + len(weights) // 15)
        damping = _BM25_SATURATION * (1 - _BM25_LENGTH + _BM25_LENGTH * terms.total / average)
        gained = math.fsum(
            weight * terms.counts[term] * (_BM25_SATURATION + 1) / (terms.counts[term] + damping)
            for term, weight in weights.items()
            if term in terms.counts
        )
        scores.append((round(gained / most, _DIGITS) if most else 0.0, index))
    budget.spend(len(scores) // 2)
    return sorted(scores, key=lambda scored: (-scored[0], scored[1]))


def _query_terms(query: str) -> typing.Iterable[str]:
    terms = terms_of(query).counts.keys()
    return sorted(terms - _QUESTION_WORDS or terms)


def _rarity(holding: int, of: int) -> float:
    """Return how much a term tells: the more, the fewer documents have it (section 3.1, kept above 0)."""
    return math.log(1 + (of - holding + 0.5) / (holding + 0.5))


def _folded(text: str) -> str:
    spend_turn(len(text) // 20)
    text = re.sub(_POSSESSIVE, "", text).casefold()
    if text.isascii():
        return text
    return "".join(map(_normalised, _pieces_to_normalise(text)))


def _normalised(text: str) -> str:
    # People leave out accents of Latin, Greek and Cyrillic letters; in other scripts a mark makes another letter.
    spend_turn(len(text) // 10)
    parts = unicodedata.normalize("NFD", text)
    return unicodedata.normalize("NFKC", re.sub("[\u0300-\u036f]", "", parts))


def _pieces_to_normalise(text: str) -> typing.Iterator[str]:
    """Yield a text in pieces of 1,000 characters that end where a word begins; a word of more is cut anywhere."""
    start = 0
    while start < len(text):
        most = start + 2 * _NORMALISED_AT_ONCE
        cut = _WORD_BEGINNING.search(text, start + _NORMALISED_AT_ONCE, most) if most < len(text) else None
        end = min(most, len(text)) if cut is None else cut.end()
        yield text[start:end]
        start = end


def _singular(word: str) -> str:
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    return word[:-2] if word.endswith(("sses", "xes", "ches", "shes")) else word[:-1]
