"""The search over the files of a vector store: by words, over chunks of their texts, and by attributes.

Source: OpenAI API reference, "Search vector store"; guide "Retrieval", "Attribute filtering".
"""

from __future__ import annotations

import operator
import typing

from protocol.budget import Budget
from protocol.errors import ApiError
from protocol.mock.engine.store import Record, State
from protocol.mock.text.ranking import Terms, rank
from protocol.wire.json_text import JsonObject

# API reference, "Search vector store", `max_num_results`.
_DEFAULT_RESULTS = 10
_MOST_RESULTS = 50
_DEEPEST_FILTER = 16


class IndexedFile(State):
    """What a file of a vector store knows once it can be searched: its chunks with their terms, and its name."""

    __slots__ = ("chunks", "filename")

    def __init__(self, chunks: list[tuple[str, Terms]], filename: str) -> None:
        self.chunks = chunks
        self.filename = filename


def search_files(
    files: typing.Sequence[Record], queries: typing.Sequence[str], options: JsonObject, budget: Budget
) -> list[JsonObject]:
    """Return the results of a search over a store's files, the best first.

    `options` are those of "Search vector store": `filters`, `max_num_results` and `ranking_options`.
    """
    filters = options.get("filters")
    filter_steps = _extent(filters)
    chunks: list[tuple[Record, str, str, Terms]] = []
    for file in files:
        budget.spend(filter_steps)
        indexed = file.state_of(IndexedFile)
        if indexed is not None and fits_filter(filters, file.object["attributes"]):
            budget.spend(len(indexed.chunks) // 5)
            chunks += [(file, indexed.filename, text, terms) for text, terms in indexed.chunks]
    ranking_options = options.get("ranking_options")
    threshold = ranking_options.get("score_threshold") if isinstance(ranking_options, dict) else None
    limit = options.get("max_num_results")
    results: list[JsonObject] = []
    for score, index in rank(queries, [terms for _, _, _, terms in chunks], budget):
        if len(results) == (min(limit, _MOST_RESULTS) if type(limit) is int else _DEFAULT_RESULTS):
            break
        if isinstance(threshold, (int, float)) and score < threshold:
            break
        file, filename, text, _ = chunks[index]
        results.append(
            {
                "file_id": file.id,
                "filename": filename,
                "score": score,
                "attributes": file.object["attributes"],
                "content": [{"type": "text", "text": text}],
            }
        )
    return results


_ORDERINGS: dict[str, typing.Callable[[typing.Any, typing.Any], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


def _extent(filter: typing.Any) -> int:
    """Return how many steps of a budget a filter takes for a file."""
    if isinstance(filter, dict):
        return 1 + sum(_extent(part) for name, part in filter.items() if name in ("filters", "value"))
    return 1 + sum(map(_extent, filter)) if isinstance(filter, list) else 1


def fits_filter(filter: typing.Any, attributes: JsonObject, depth: int = 0) -> bool:
    """Return whether a file's attributes fit a filter: a comparison, or filters joined by `and` or `or`; None fits all.

    An attribute that the file lacks equals nothing. ApiError 400 for a filter that is nested too deeply.
    """
    if not isinstance(filter, dict):
        return True
    if depth > _DEEPEST_FILTER:
        raise ApiError(400, "The filters are nested too deeply.", param="filters", code="invalid_value")
    kind = filter.get("type")
    if kind in ("and", "or"):
        inner = filter.get("filters")
        parts = [fits_filter(part, attributes, depth + 1) for part in inner] if isinstance(inner, list) else []
        return all(parts) if kind == "and" else any(parts)
    found, wanted = attributes.get(str(filter.get("key"))), filter.get("value")
    if kind in _ORDERINGS:
        return _are_ordered(found, wanted) and _ORDERINGS[kind](found, wanted)
    listed = wanted if isinstance(wanted, list) else [wanted]
    is_there = any(_are_equal(found, one) for one in listed)
    return not is_there if kind in ("ne", "nin") else is_there


def _are_equal(found: typing.Any, wanted: typing.Any) -> bool:
    # To Python, true is 1.
    return (type(found) is bool) == (type(wanted) is bool) and found is not None and found == wanted


def _are_ordered(found: typing.Any, wanted: typing.Any) -> bool:
    if bool in (type(found), type(wanted)):
        return False
    return any(isinstance(found, kind) and isinstance(wanted, kind) for kind in (str, (int, float)))
