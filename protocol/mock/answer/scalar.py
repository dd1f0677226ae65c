"""Candidates for the strings and numbers of a made-up JSON value: plausible first, then whatever the limits leave.

Each function takes all the schemas that hold for one value, and a `turn`: the index of the first candidate. Two turns
give two different values wherever the schemas leave room for that.
"""

from __future__ import annotations

import itertools
import math
import re
import typing

from protocol.mock.json_schema.document import SchemaDocument, SchemaPath, decimal_parts, number_bounds, schema_evidence
from protocol.mock.json_schema.format import format_examples, format_is_known

MAX_INSTANCE_TEXT = 10_000  # characters of a made-up string
_STEP_BITS = 4096  # of a common multiple; arithmetic with longer integers is slow

# By a property's name, or by the last word of it: what such a property usually holds.
_WORDS = {
    "name": "Ada Lovelace",
    "first name": "Ada",
    "last name": "Lovelace",
    "full name": "Ada Lovelace",
    "city": "Paris",
    "location": "Paris",
    "country": "France",
    "language": "English",
    "currency": "EUR",
    "color": "blue",
    "colour": "blue",
    "unit": "celsius",
    "phone": "+1 555 0100",
}
# By the last word of a name: the format that it stands for where a schema has none.
_FORMATS = {"email": "email", "url": "uri", "uri": "uri", "link": "uri", "date": "date"}

_SPARE_WORDS = ("example", "ZX", "7", "#")

Schemas = typing.Sequence[typing.Dict[str, typing.Any]]
_Bound = typing.Tuple[float, bool]  # the limit, and whether it is outside


class Unsatisfiable(Exception):
    """Nothing satisfies these schemas here; another choice further up may. `path` is () where it is not known."""

    def __init__(self, reason: str, path: SchemaPath = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = path


def size_limits(schemas: Schemas, what: str) -> tuple[int, int | None]:
    """Return the greatest min… and the least max… of the schemas; `what` is "Length", "Items" or "Properties".

    Raises Unsatisfiable when they cross.
    """
    low = max([int(schema.get(f"min{what}", 0)) for schema in schemas], default=0)
    high = min([int(schema[f"max{what}"]) for schema in schemas if f"max{what}" in schema], default=None)
    if high is not None and low > high:
        raise Unsatisfiable(f"min{what} {low} is above max{what} {high}")
    return low, high


# ---- strings


def text_candidates(document: SchemaDocument, schemas: Schemas, name: str, turn: int) -> typing.Iterator[str]:
    """Yield strings for a property `name`: of the format, from the name's words, from the patterns.

    Raises Unsatisfiable when no length is possible, and when patterns or formats have given all that they can.
    """
    low, most = size_limits(schemas, "Length")
    if low > MAX_INSTANCE_TEXT:
        raise Unsatisfiable(f"minLength {low} is above the {MAX_INSTANCE_TEXT} characters that this server makes up")
    high = MAX_INSTANCE_TEXT if most is None else min(most, MAX_INSTANCE_TEXT)
    formats = [schema["format"] for schema in schemas if "format" in schema]
    if any(schema.get("contentMediaType") == "application/json" for schema in schemas):
        formats.append("json-string")
    patterns = list(dict.fromkeys(schema["pattern"] for schema in schemas if "pattern" in schema))
    for known in formats:
        document.budget.spend(10 + low // 50)
        yield from itertools.chain(*[format_examples(known, step, low) for step in range(turn, turn + 3)])
    if not any(format_is_known(known) for known in formats):
        yield from format_examples(_FORMATS.get(name_words(name).rpartition(" ")[2], ""), turn, low)[:1]
        yield _text_of_name(name, low, high, turn)
    for one, other in itertools.permutations(patterns, 2):
        yield from _overlaid(document, one, other, low, high, turn)
    for source in patterns:
        yield from document.texts(source, low, high, turn)
    document.budget.spend(low // 20)
    for word in (name, *_SPARE_WORDS):  # a `not` may forbid the first
        yield from (_text_of_name(word, low, high, step) for step in (turn, turn + 1, turn + 2, 0))
    if patterns or formats:
        limits = " and ".join(schema_evidence(limit) for limit in patterns + formats)
        raise Unsatisfiable(f"no string of {low} to {high} characters was found that satisfies {limits}")


def _overlaid(document: SchemaDocument, one: str, other: str, low: int, high: int, turn: int) -> typing.Iterator[str]:
    """Yield texts that begin as one pattern wants, and go on or end as another pattern wants."""
    beginnings = list(itertools.islice(document.texts(one, 0, high, turn), 6))
    for text in itertools.islice(document.texts(other, low, high, turn), 12):
        for start in beginnings:
            yield from (start + text[len(start) :], start[: len(start) - len(text)] + text, start + text)


def name_words(name: str) -> str:
    """Return the words of an identifier: firstName and first_name are "first name"."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+", name[:200])
    return " ".join(words).lower() or name[:200] or "text"


def singular(name: str) -> str:
    """Return what one member of a list is called: "step" for "steps"."""
    for ending, single in (("ies", "y"), ("sses", "ss"), ("s", "")):
        if name.lower().endswith(ending) and not name.lower().endswith("ss") and len(name) > len(ending) + 1:
            return name[: -len(ending)] + single
    return name


def _text_of_name(name: str, low: int, high: int, turn: int) -> str:
    words = name_words(name)
    text = _WORDS.get(words) or _WORDS.get(words.rpartition(" ")[2]) or words
    number = f" {turn + 1}" if turn else ""
    if len(number) >= high:
        return _short_text(turn, high)
    while len(text) + len(number) < low:
        text += " " + words
    cut = max(low, min(high, len(text) + len(number))) if len(text) + len(number) > high else len(text) + len(number)
    text = text[: cut - len(number)]
    return (text[:-1] + "s" if text.endswith(" ") else text) + number


def _short_text(turn: int, high: int) -> str:
    text = ""
    for _ in range(high):
        text = "abcdefghijklmnopqrstuvwxyz"[turn % 26] + text
        turn //= 26
    return text


# ---- numbers


def number_candidates(schemas: Schemas, whole: bool, turn: int) -> typing.Iterator[float]:
    """Yield numbers (integers when `whole`) within all bounds. Raises Unsatisfiable when there are none."""
    low, high = _tightest(schemas, "inimum"), _tightest(schemas, "aximum")
    if low and high and low[0] > high[0]:
        raise Unsatisfiable(f"minimum {low[0]} is above maximum {high[0]}")
    steps = [schema["multipleOf"] for schema in schemas if "multipleOf" in schema] + [1] * whole
    if steps:
        found = list(_multiples(low, high, steps, 1.0, turn))
        if not found:
            wanted = "integer" if steps == [1] else f"multiple of {' and of '.join(map(str, steps[:4]))}"
            raise Unsatisfiable(f"no {wanted} lies {_between(low, high)}")
        # Many validators divide floats, for which 0.3 / 0.1 is not whole. Multiples that pass there come first.
        yield from sorted(found, key=lambda number: not all(_divides_as_float(number, step) for step in steps))
        return
    narrow = low is not None and high is not None and high[0] - low[0] < 2
    for step, start in ((0.5, 1.5), (0.1, 0.7), (0.01, 0.07))[narrow:]:
        yield from _multiples(low, high, [step], start, turn)
    yield from _edges(low, high)


def number_range_is_open(schemas: Schemas) -> bool:
    """Say whether the bounds leave room for a number."""
    low, high = _tightest(schemas, "inimum"), _tightest(schemas, "aximum")
    return not low or not high or low[0] < high[0] or (low[0] == high[0] and not low[1] and not high[1])


def number_range_is_narrow(schemas: Schemas) -> bool:
    """Say whether the schemas ask for fractions: by bounds less than 2 apart, or by a step that is no whole number."""
    low, high = _tightest(schemas, "inimum"), _tightest(schemas, "aximum")
    if low is not None and high is not None and high[0] - low[0] < 2:
        return True
    return any(schema["multipleOf"] % 1 != 0 for schema in schemas if "multipleOf" in schema)


def _tightest(schemas: Schemas, ending: str) -> _Bound | None:
    found = [
        (limit, strict)
        for schema in schemas
        for keyword, limit, strict in number_bounds(schema)
        if keyword.endswith(ending)
    ]
    if ending == "inimum":
        return max(found, default=None)
    return min(found, key=lambda bound: (bound[0], not bound[1]), default=None)


def _between(low: _Bound | None, high: _Bound | None) -> str:
    words = [f"{'above' if low[1] else 'from'} {low[0]}"] if low else []
    words += [f"{'below' if high[1] else 'up to'} {high[0]}"] if high else []
    return " ".join(words) or "anywhere"


def _multiples(
    low: _Bound | None, high: _Bound | None, steps: list[float], start: float, turn: int
) -> typing.Iterator[float]:
    """Yield common multiples of the steps within the bounds, from about `start` on, by exact decimal arithmetic."""
    parts = [decimal_parts(step) for step in steps]
    bounds = [decimal_parts(bound[0]) for bound in (low, high) if bound]
    exponent = min(power for _, power in parts + bounds + [decimal_parts(start)])
    step = 1
    for digits, power in parts:
        step = math.lcm(step, digits * 10 ** (power - exponent))
        if step.bit_length() > _STEP_BITS:
            return
    first = last = None
    if low:
        digits, power = decimal_parts(low[0])
        first, rest = divmod(digits * 10 ** (power - exponent), step)
        first += 1 if rest or low[1] else 0
    if high:
        digits, power = decimal_parts(high[0])
        last, rest = divmod(digits * 10 ** (power - exponent), step)
        last -= 1 if high[1] and not rest else 0
    if first is not None and last is not None and first > last:
        return
    digits, power = decimal_parts(start)
    for count in _counts(first, last, max(1, digits * 10 ** (power - exponent) // step), turn):
        number = _decimal_number(count * step, exponent)
        if number is not None:
            yield number


def _counts(first: int | None, last: int | None, start: int, turn: int) -> typing.Iterator[int]:
    """Yield integers of a range: those from `start` on, moved by `turn`, then those at its ends, then far ones."""
    if first is not None:
        start = max(start, first)
    if last is not None:
        start = min(start, last)
    near = [start + turn + place for place in range(8)]
    if first is not None and last is not None:
        size = last - first + 1
        near = [first + (count - first) % size for count in near]
    elif last is not None:
        near = [start - turn - place for place in range(8)]
    ends = [first + place for place in range(4)] if first is not None else []
    ends += [last - place for place in range(4)] if last is not None else []
    far = [start + sign * 10**power for power in range(1, 5) for sign in (1, -1)]
    for count in dict.fromkeys(near + ends + far):
        if (first is None or count >= first) and (last is None or count <= last):
            yield count


def _decimal_number(digits: int, exponent: int) -> float | None:
    if exponent >= 0:
        return digits * 10**exponent
    whole, rest = divmod(digits, 10**-exponent)
    if not rest:
        return whole
    number = float(f"{digits}e{exponent}")
    return number if math.isfinite(number) else None


def _divides_as_float(number: float, step: float) -> bool:
    try:
        quotient = number / step
        return int(quotient) == quotient
    except OverflowError:
        return False


def _edges(low: _Bound | None, high: _Bound | None) -> typing.Iterator[float]:
    """Yield the middle of a range, its ends, and the floats next to them, for ranges that have no decimal step."""
    limits = [bound[0] for bound in (low, high) if bound]
    try:
        yield sum(limits) / max(1, len(limits))
        yield from limits
        yield from (math.nextafter(limit, away) for limit in limits for away in (math.inf, -math.inf))
    except OverflowError:  # a limit is an integer beyond the floats; it has been tried as it is
        return
