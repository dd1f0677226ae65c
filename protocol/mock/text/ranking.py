"""Search by words: texts in chunks, and chunks ranked by BM25 (Robertson and Zaragoza, "The Probabilistic Relevance
Framework: BM25 and Beyond", 2009).

Words count whatever their case and accents, an English plural as its singular. Scripts that are written without spaces
go by characters and pairs of neighbours, so that two characters in the same order tell more than the two apart.
"""

from __future__ import annotations

import collections
import math
import re
import typing
import unicodedata

from protocol.errors import ApiError
from protocol.openai.answers import split_words

# Thai to Tibetan and Khmer, kana, CJK ideographs (in all planes), Hangul.
_UNSPACED = (
    "\u0e00-\u0fff\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
# Left to be compiled when the first text is searched: classes this wide take milliseconds.
_TERM = rf"[{_UNSPACED}]+|[^\W_{_UNSPACED}]+"
_UNSPACED_TERM = rf"[{_UNSPACED}]"
_POSSESSIVE = r"(?i:['’]s\b)"

# Words that a question is put with: they do not tell what it is about, and how rare they are in a small collection is
# chance.
_QUESTION_WORDS = frozenset(
    "a about an and any are as at be by can could did do does for from give had has have how i in is it its me my of"
    " on or please show tell than that the their them there these they this to was we were what when where which who"
    " why will with would you your".split()
)

# How soon a term's repetition stops to count, and how much a long text is held against it: the paper's section 3.
_BM25_SATURATION = 1.2
_BM25_LENGTH = 0.75
_DIGITS = 6
_WORD_BEGINNING = re.compile(r"\s(?=\S)")
# So much of a text is cut into words at once: a millisecond's work.
_PIECE_CHARACTERS = 32_768


class Terms(typing.NamedTuple):
    """The terms that a text is found by: how often each stands in it, and how many stand in it in all."""

    counts: typing.Mapping[str, int]
    total: int


def chunks_of(text: str, size: int = 800, overlap: int = 400) -> typing.Iterator[str]:
    """Yield a text in chunks of at most `size` tokens, each of which begins with the last `overlap` of the one before.

    A word is a token (`split_words`). A blank text has no chunks. Each is made when it is asked for, so that a long
    text can be gone through bit by bit. Source: OpenAI API reference, "Create vector store file", `chunking_strategy`.
    """
    words: list[str] = []
    is_first = True
    for piece in _word_pieces(text) if text.strip() else ():
        words += split_words(piece)
        while len(words) > size:
            yield "".join(words[:size])
            del words[: size - overlap]
            is_first = False
    # What is left has more than the overlap, which the chunk before has told already; or it is all that there is.
    if words and (is_first or len(words) > overlap):
        yield "".join(words)


def check_chunking(size: int, overlap: int) -> None:
    """Check figures of a chunking strategy: ApiError 400 where `overlap` is more than half of `size`."""
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
        # A word as long as that, or a script without spaces, is cut in two.
        end = min(most, len(text)) if cut is None else cut.end()
        yield text[start:end]
        start = end


def terms_of(text: str) -> Terms:
    """Return the terms that a text is found by; of 800 words it takes about a millisecond."""
    terms: collections.Counter[str] = collections.Counter()
    for piece in re.findall(_TERM, _folded(text)):
        if re.match(_UNSPACED_TERM, piece):
            terms.update(piece)
            terms.update(before + after for before, after in zip(piece, piece[1:]))
        else:
            terms[_singular(piece)] += 1
    return Terms(terms, sum(terms.values()))


def rank(query: str | typing.Sequence[str], documents: typing.Sequence[str | Terms]) -> list[tuple[float, int]]:
    """Return (score, index) of every document, the best first; of equals the first one first.

    A score is from 0 (no term in common) to 1, which only endless repetition reaches; documents are compared among
    themselves, so that scores of different collections are not alike. Several queries are one of all their words.
    Documents that are ranked again and again may be given as their `terms_of`.
    """
    collection = [terms_of(document) if isinstance(document, str) else document for document in documents]
    wanted = _query_terms(query if isinstance(query, str) else "\n".join(query))
    weights = {term: _rarity(sum(term in terms.counts for terms in collection), len(collection)) for term in wanted}
    most = math.fsum(weights.values()) * (_BM25_SATURATION + 1)
    average = sum(terms.total for terms in collection) / max(1, len(collection)) or 1.0
    scores = []
    for index, terms in enumerate(collection):
        damping = _BM25_SATURATION * (1 - _BM25_LENGTH + _BM25_LENGTH * terms.total / average)
        gained = math.fsum(
            weight * terms.counts[term] * (_BM25_SATURATION + 1) / (terms.counts[term] + damping)
            for term, weight in weights.items()
            if term in terms.counts
        )
        scores.append((round(gained / most, _DIGITS) if most else 0.0, index))
    return sorted(scores, key=lambda scored: (-scored[0], scored[1]))


def _query_terms(query: str) -> typing.Iterable[str]:
    terms = terms_of(query).counts.keys()
    return sorted(terms - _QUESTION_WORDS or terms)


def _rarity(holding: int, of: int) -> float:
    """Return what a term tells: much if few documents hold it (the paper's section 3.1, kept above 0)."""
    return math.log(1 + (of - holding + 0.5) / (holding + 0.5))


def _folded(text: str) -> str:
    text = re.sub(_POSSESSIVE, "", text).casefold()
    if text.isascii():
        return text
    # Only Latin, Greek and Cyrillic carry accents that are left out at times: elsewhere marks make another letter.
    parts = unicodedata.normalize("NFD", text)
    return unicodedata.normalize("NFKC", re.sub("[\u0300-\u036f]", "", parts))


def _singular(word: str) -> str:
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    return word[:-2] if word.endswith(("sses", "xes", "ches", "shes")) else word[:-1]
