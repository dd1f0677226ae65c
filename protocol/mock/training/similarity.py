"""How alike two texts are, by the metrics of the text similarity grader.

Source: OpenAI guide "Graders", "Text similarity grader". BLEU, GLEU, METEOR and ROUGE are those of their papers, over
lower-case words and without stems or synonyms.
"""

from __future__ import annotations

import math
import re
import typing

from protocol.budget import spend_turn

_WORD = re.compile(r"\w+|[^\w\s]")
# More words than this change no rating; the bound is for the time that one takes.
_MOST_WORDS = 2_000


def text_similarity(metric: str, said: str, wanted: str) -> float:
    """Return how alike two texts are, from 0 to 1, by one of the API's metrics."""
    if metric == "fuzzy_match":
        return _indel_ratio(said, wanted)
    words = _WORD.findall(said.casefold())[:_MOST_WORDS]
    wanted_words = _WORD.findall(wanted.casefold())[:_MOST_WORDS]
    if not words or not wanted_words:
        return float(words == wanted_words)
    if metric == "rouge_l":
        common = _common_subsequence(words, wanted_words)
        return 2 * common / (len(words) + len(wanted_words))
    if metric.startswith("rouge_"):
        size = int(metric[6:])
        # A text that is shorter than that has no such run: then the runs are as long as the shorter text.
        size = min(size, len(words), len(wanted_words))
        return _f_score(_shared_runs(words, wanted_words, size), len(words) - size + 1, len(wanted_words) - size + 1)
    return _WORD_METRICS[metric](words, wanted_words)


def _indel_ratio(one: str, other: str) -> float:
    """Return the normalised indel similarity: twice the longest common subsequence, over the sum of the lengths."""
    if not one and not other:
        return 1.0
    return 2 * _common_subsequence(one, other) / (len(one) + len(other))


def _common_subsequence(one: typing.Sequence[str], other: typing.Sequence[str]) -> int:
    """Return the length of the longest common subsequence, by Hyyrö's bit-parallel method."""
    places: dict[str, int] = {}
    for number, member in enumerate(one):
        spend_turn(1)
        places[member] = places.get(member, 0) | 1 << number
    full = (1 << len(one)) - 1
    row = full
    steps = 1 + len(one) // 5_000
    for member in other:
        spend_turn(steps)
        matched = row & places.get(member, 0)
        row = ((row + matched) | (row - matched)) & full
    return len(one) - bin(row).count("1")


def _word_runs(words: typing.Sequence[str], size: int) -> dict[tuple[str, ...], int]:
    counts: dict[tuple[str, ...], int] = {}
    for start in range(len(words) - size + 1):
        run = tuple(words[start : start + size])
        counts[run] = counts.get(run, 0) + 1
    return counts


def _shared_runs(words: typing.Sequence[str], wanted: typing.Sequence[str], size: int) -> int:
    other = _word_runs(wanted, size)
    return sum(min(count, other.get(run, 0)) for run, count in _word_runs(words, size).items())


def _f_score(shared: int, said: int, wanted: int) -> float:
    return 2 * shared / (said + wanted)


def _cosine_of_words(words: typing.Sequence[str], wanted: typing.Sequence[str]) -> float:
    one, other = _word_runs(words, 1), _word_runs(wanted, 1)
    product = sum(count * other.get(run, 0) for run, count in one.items())
    lengths = sum(count**2 for count in one.values()) * sum(count**2 for count in other.values())
    return min(1.0, product / math.sqrt(lengths))


def _bleu(words: typing.Sequence[str], wanted: typing.Sequence[str]) -> float:
    """Return BLEU for up to four words: the geometric mean of the precisions, less a penalty for brevity."""
    total = 0.0
    sizes = range(1, min(4, len(words), len(wanted)) + 1)
    for size in sizes:
        shared = _shared_runs(words, wanted, size)
        if not shared:
            return 0.0
        total += math.log(shared / (len(words) - size + 1))
    penalty = min(0.0, 1 - len(wanted) / len(words))
    return math.exp(total / len(sizes) + penalty)


def _gleu(words: typing.Sequence[str], wanted: typing.Sequence[str]) -> float:
    shared = said = asked = 0
    for size in range(1, 5):
        shared += _shared_runs(words, wanted, size)
        said += max(0, len(words) - size + 1)
        asked += max(0, len(wanted) - size + 1)
    return shared / max(said, asked)


def _meteor(words: typing.Sequence[str], wanted: typing.Sequence[str]) -> float:
    """Return METEOR for exact matches: recall weighs nine times as much as precision; broken order costs a penalty."""
    matched = _shared_runs(words, wanted, 1)
    if not matched:
        return 0.0
    precision, recall = matched / len(words), matched / len(wanted)
    mean = 10 * precision * recall / (recall + 9 * precision)
    chunks = max(1, matched - _shared_runs(words, wanted, 2))
    penalty = 0.5 * (chunks / matched) ** 3 if chunks > 1 else 0.0
    return mean * (1 - penalty)


_WORD_METRICS = {"cosine": _cosine_of_words, "bleu": _bleu, "gleu": _gleu, "meteor": _meteor}
