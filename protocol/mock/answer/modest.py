"""What a call may safely say where the prompt gives no value: the usual quantity, the harmless choice.

A property's name and description tell its unit and its range: a timeout in milliseconds is not 1, a page size "1-100,
default 20" is 20.
"""

from __future__ import annotations

import re
import typing

from protocol.mock.answer.scalar import Schemas, Unsatisfiable, name_words, number_candidates, number_range_is_narrow

_MAX_DESCRIPTION = 300  # characters that are read
_WAITING = frozenset("timeout wait delay pause sleep deadline ttl".split())
_WAITED_SECONDS = 30
_UNIT_SECONDS = {
    word: seconds
    for seconds, words in (
        (0.001, "ms millis millisecond milliseconds"), (1, "s sec secs second seconds"),
        (60, "min mins minute minutes"), (3600, "h hr hrs hour hours"), (86400, "d day days"),
    )
    for word in words.split()
}  # fmt: skip
_N = r"(-?\d{1,9}(?:\.\d{1,6})?)(?![\w.]*\d)"
_DEFAULT = rf"(?i)\bdefaults?(?: value)?(?: is| to|:| of|=)?\s{{0,3}}{_N}"
_RANGE = rf"(?i)(?:(?:between|from)\s{_N}\s(?:and|to)|(?<![\w.-]){_N}\s?(?:-|\u2013|to|\.\.))\s?(?!0\d){_N}"
_LEAST = rf"(?i)\b(?:min(?:imum)?|at least|no less than)\b[^\d\n.-]{{0,12}}{_N}"
_MOST = rf"(?i)\b(?:max(?:imum)?|up to|at most|no more than|limited to)\b[^\d\n.-]{{0,12}}{_N}"
_HARMFUL = frozenset(
    "delete remove destroy drop purge erase wipe reset force overwrite truncate kill terminate shutdown clear revoke"
    " cancel format hard all always admin root write put patch post execute exec true yes on danger dangerous"
    " full everyone public".split()
)


class DescribedRange(typing.NamedTuple):
    """What a description says of a number; None for what it does not say."""

    usual: float | None
    low: float | None
    high: float | None


def harm(value: object) -> int:
    """Return how much harm a member of an enum may do when nobody asked for it: of equals, the first one will do."""
    if value == "GET":
        return -1
    said = value if isinstance(value, str) else str(value).lower()
    return int(not _HARMFUL.isdisjoint(name_words(said).split()))


def unit_seconds(name: str, description: object = "") -> float | None:
    """Return how many seconds the unit of a property is, None where it is no unit of time that is told."""
    words = name_words(name).split()
    said = re.findall(r"[a-z]{2,12}", _read(description).lower())
    return next((_UNIT_SECONDS[word] for word in [*words[::-1], *said] if word in _UNIT_SECONDS), None)


def said_seconds(word: str) -> float | None:
    """Return how many seconds the unit after a number is, by its stem; None where it is no unit of time."""
    return next((_UNIT_SECONDS[one] for one in (word, f"{word}e") if one in _UNIT_SECONDS), None)


def described_range(description: object) -> DescribedRange:
    """Return what a description says of a number: "1-100, default 20", "at most 60"."""
    text = _read(description)
    usual, within = re.search(_DEFAULT, text), re.search(_RANGE, text)
    least, most = re.search(_LEAST, text), re.search(_MOST, text)
    low = float(within[1] or within[2]) if within else float(least[1]) if least else None
    high = float(within[3]) if within else float(most[1]) if most else None
    return DescribedRange(float(usual[1]) if usual else None, low, high)


def quantity_candidates(
    schemas: Schemas, name: str, description: object, whole: bool, turn: int
) -> typing.Iterator[float]:
    """Yield numbers for a property: the usual one first, whole ones wherever the schema leaves room for them.

    Raises Unsatisfiable when there are none.
    """
    told = described_range(description)
    usual = _usual(name, description, told, whole)
    if usual is not None:
        yield _shortest(usual + turn)
        yield _shortest(usual)
    narrow = told.low is not None and told.high is not None and told.high - told.low < 2
    if not whole and not narrow and not number_range_is_narrow(schemas):
        try:
            yield from number_candidates(schemas, True, turn)
        except Unsatisfiable:
            pass  # only fractions are left
    yield from number_candidates(schemas, whole, turn)


def usual_texts(name: str, description: object) -> list[str]:
    """Return harmless strings for a property whose made-up value would do harm: the method of an HTTP request."""
    is_method = name_words(name).endswith("method") and "http" in f"{name} {_read(description)}".lower()
    return ["GET"] if is_method else []


def _read(description: object) -> str:
    return description[:_MAX_DESCRIPTION] if isinstance(description, str) else ""


def _usual(name: str, description: object, told: DescribedRange, whole: bool) -> float | None:
    if told.usual is not None:
        return told.usual
    low, high = told.low, told.high
    if low is not None and high is not None and high - low < 2 and not whole:
        return (low + high) / 2
    words = frozenset(name_words(name).split())
    usual = _WAITED_SECONDS / (unit_seconds(name, description) or 1) if words & _WAITING else 1.0
    if low is None and high is None and not words & _WAITING:
        return None
    usual = float(max(1, round(usual)))
    usual = usual if high is None else min(usual, high)
    return usual if low is None else max(usual, low)


def _shortest(number: float) -> float:
    return int(number) if number == int(number) else number
