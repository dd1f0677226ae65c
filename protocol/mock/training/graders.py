"""Graders: how well a sample does, from 0 to 1, for evals and for reinforcement fine-tuning.

What can be reckoned is reckoned: string checks, text similarity, formulas over several graders. What a model or a
Python program would judge gets a plausible rating instead, always the same for the same texts; no code is run.
Source: OpenAI guide, "Graders".
"""

from __future__ import annotations

import json
import math
import re
import typing
import zlib

from protocol.wire.json_text import JsonObject

_PLACE = re.compile(r"\{\{\s*([\w.\[\]]+)\s*\}\}")
_STEP = re.compile(r"\w+")
_WORD = re.compile(r"\w+|[^\w\s]")
# More than this of a text changes no rating, and bounds the time that one takes.
_MOST_CHARACTERS = 20_000
_MOST_WORDS = 2_000

_FORMULA_TOKEN = re.compile(r"\s*(?:(\d+\.?\d*|\.\d+)|([A-Za-z_]\w*)|(\*\*|[-+*/^(),]))")
_FORMULA_FUNCTIONS: dict[str, typing.Callable[..., float]] = {
    "min": min, "max": max, "abs": abs, "floor": math.floor, "ceil": math.ceil,
    "exp": math.exp, "sqrt": math.sqrt, "log": math.log,
}  # fmt: skip
_FORMULA_DEEPEST = 50


class Grade(typing.NamedTuple):
    """What a grader says: a score, whether that passes, and the scores it was made of by name."""

    score: float
    passed: bool
    parts: typing.Mapping[str, float] = {}


class FormulaError(ValueError):
    """A formula that cannot be reckoned; `is_variable` when it names what there is not."""

    def __init__(self, message: str, *, is_variable: bool = False) -> None:
        super().__init__(message)
        self.is_variable = is_variable


def grade(grader: JsonObject, item: typing.Any, sample: JsonObject) -> Grade:
    """Rate a sample of a row; FormulaError for a formula that cannot be reckoned.

    `sample` is what templates find below `sample`: `output_text`, `output_json` and so on.
    """
    return _GRADERS.get(grader.get("type", ""), _judged_program)(grader, {"item": item, "sample": sample})


def sample_of(output: str) -> JsonObject:
    """Return what templates find below `sample` for a text that was said."""
    try:
        parsed = json.loads(output)
    except (ValueError, RecursionError):
        parsed = None
    return {"output_text": output, "output_json": parsed}


def filled(template: str, values: JsonObject) -> str:
    """Return a template with its `{{item.x}}` and `{{sample.y}}` filled in; what is not known becomes empty."""
    return _PLACE.sub(lambda match: _template_value(match[1], values), template)


def _template_value(path: str, values: typing.Any) -> str:
    for step in _STEP.findall(path):
        if isinstance(values, dict):
            values = values.get(step)
        elif isinstance(values, list) and step.isdecimal() and int(step) < len(values):
            values = values[int(step)]
        else:
            return ""
    if values is None:
        return ""
    return values if isinstance(values, str) else json.dumps(values, ensure_ascii=False)


# ---- kinds of graders


def _string_check(grader: JsonObject, values: JsonObject) -> Grade:
    said, wanted = filled(grader["input"], values), filled(grader["reference"], values)
    operation = grader["operation"]
    if operation in ("eq", "ne"):
        passed = (said == wanted) == (operation == "eq")
    elif operation == "like":
        passed = wanted in said
    else:
        passed = wanted.casefold() in said.casefold()
    return Grade(float(passed), passed)


def _text_similarity(grader: JsonObject, values: JsonObject) -> Grade:
    said = filled(grader["input"], values)[:_MOST_CHARACTERS]
    wanted = filled(grader["reference"], values)[:_MOST_CHARACTERS]
    score = text_similarity(grader["evaluation_metric"], said, wanted)
    return Grade(score, score >= _pass_threshold(grader, 0.5))


def _score_model(grader: JsonObject, values: JsonObject) -> Grade:
    low, high = _score_range(grader)
    score = low + (high - low) * _judgement(grader, values)
    return Grade(score, score >= _pass_threshold(grader, (low + high) / 2))


def _label_model(grader: JsonObject, values: JsonObject) -> Grade:
    """Choose a label: one that the sample says, else any."""
    labels = grader["labels"] or [""]
    output = str((values["sample"] or {}).get("output_text") or "").casefold()
    said = [label for label in labels if label and label.casefold() in output]
    label = said[0] if said else labels[int(_judgement(grader, values) * (len(labels) - 1) + 0.5)]
    passed = label in grader["passing_labels"]
    return Grade(float(passed), passed)


def _multi_grader(grader: JsonObject, values: JsonObject) -> Grade:
    inner = grader["graders"]
    graders = inner if isinstance(inner, list) else [inner] if "type" in inner else list(inner.values())
    names = list(inner) if isinstance(inner, dict) and "type" not in inner else [one["name"] for one in graders]
    parts = {name: grade(one, values["item"], values["sample"]).score for name, one in zip(names, graders)}
    score = reckon(grader["calculate_output"], parts)
    return Grade(score, score >= _pass_threshold(grader, 0.5), parts)


def _judged_program(grader: JsonObject, values: JsonObject) -> Grade:
    """Rate in place of a program that is not run."""
    score = _judgement(grader, values)
    return Grade(score, score >= _pass_threshold(grader, 0.5))


_GRADERS: dict[str, typing.Callable[[JsonObject, JsonObject], Grade]] = {
    "string_check": _string_check,
    "text_similarity": _text_similarity,
    "score_model": _score_model,
    "label_model": _label_model,
    "multi": _multi_grader,
}


def _judgement(grader: JsonObject, values: JsonObject) -> float:
    """Return a number from 0.5 to 1 in hundredths that depends on the grader's name and the texts alone."""
    shown = json.dumps([grader.get("name"), values], sort_keys=True, default=str)
    return 0.5 + zlib.crc32(shown.encode("utf-8", "backslashreplace")) % 51 / 100


def _pass_threshold(grader: JsonObject, usual: float) -> float:
    threshold = grader.get("pass_threshold")
    return usual if threshold is None else threshold


def _score_range(grader: JsonObject) -> tuple[float, float]:
    bounds = grader.get("range") or []
    return (bounds[0], bounds[1]) if len(bounds) == 2 else (0.0, 1.0)


# ---- similarity of texts


def text_similarity(metric: str, said: str, wanted: str) -> float:
    """Return how alike two texts are by a metric of the API, from 0 to 1."""
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
        # Texts that are too short for any such run are compared whole.
        size = min(size, len(words), len(wanted_words))
        return _f_score(_shared_runs(words, wanted_words, size), len(words) - size + 1, len(wanted_words) - size + 1)
    return _WORD_METRICS[metric](words, wanted_words)


def _indel_ratio(one: str, other: str) -> float:
    """Return twice the longest common subsequence over both lengths: the normalised indel similarity."""
    if not one and not other:
        return 1.0
    return 2 * _common_subsequence(one, other) / (len(one) + len(other))


def _common_subsequence(one: typing.Sequence[str], other: typing.Sequence[str]) -> int:
    """Return the length of the longest common subsequence: Hyyrö's bit-parallel method, a row a step."""
    places: dict[str, int] = {}
    for number, member in enumerate(one):
        places[member] = places.get(member, 0) | 1 << number
    full = (1 << len(one)) - 1
    row = full
    for member in other:
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
    """Reckon BLEU of up to four words: the geometric mean of precisions, and a penalty for what is too short."""
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
    """Reckon METEOR of exact words: recall counts nine times precision, and broken order is punished."""
    matched = _shared_runs(words, wanted, 1)
    if not matched:
        return 0.0
    precision, recall = matched / len(words), matched / len(wanted)
    mean = 10 * precision * recall / (recall + 9 * precision)
    chunks = max(1, matched - _shared_runs(words, wanted, 2))
    penalty = 0.5 * (chunks / matched) ** 3 if chunks > 1 else 0.0
    return mean * (1 - penalty)


_WORD_METRICS = {"cosine": _cosine_of_words, "bleu": _bleu, "gleu": _gleu, "meteor": _meteor}


# ---- formulas


def reckon(formula: str, values: typing.Mapping[str, float]) -> float:
    """Return what a formula of numbers, names, + - * / ^ and functions gives; FormulaError when it is none."""
    reader = _Formula(formula, values)
    try:
        return float(reader.whole())
    except (ArithmeticError, ValueError, TypeError) as exc:
        if isinstance(exc, FormulaError):
            raise
        raise FormulaError(f"{formula[:100]!r} cannot be reckoned: {exc}") from exc


class _Formula:
    """Reads a formula and reckons as it goes."""

    def __init__(self, formula: str, values: typing.Mapping[str, float]) -> None:
        self._formula = formula
        self._values = values
        self._at = 0
        self._depth = 0
        self._number, self._name, self._mark = "", "", ""
        self._next()

    def whole(self) -> float:
        value = self._sum()
        if self._number or self._name or self._mark:
            raise self._error("an operator")
        return value

    def _next(self) -> None:
        match = _FORMULA_TOKEN.match(self._formula, self._at)
        if match is None:
            if self._formula[self._at :].strip():
                raise self._error("a number, a name or an operator")
            self._number, self._name, self._mark = "", "", ""
            return
        self._number, self._name, self._mark = (part or "" for part in match.groups())
        self._at = match.end()

    def _take(self, *marks: str) -> str:
        mark = self._mark
        if mark not in marks:
            return ""
        self._next()
        return mark

    def _sum(self) -> float:
        value = self._product()
        while True:
            mark = self._take("+", "-")
            if not mark:
                return value
            value = value + self._product() if mark == "+" else value - self._product()

    def _product(self) -> float:
        value = self._power()
        while True:
            mark = self._take("*", "/")
            if not mark:
                return value
            value = value * self._power() if mark == "*" else value / self._power()

    def _power(self) -> float:
        self._depth += 1
        if self._depth > _FORMULA_DEEPEST:
            raise FormulaError(f"a formula may be nested {_FORMULA_DEEPEST} deep at most")
        if self._take("-"):
            value = -self._power()
        else:
            value = self._atom()
            if self._take("^", "**"):
                # As a float: a tower of integers would take for ever.
                value = math.pow(value, self._power())
        self._depth -= 1
        return value

    def _atom(self) -> float:
        if self._number:
            number = float(self._number)
            self._next()
            return number
        if self._name:
            return self._named()
        if not self._take("("):
            raise self._error("a number, a name or '('")
        value = self._sum()
        self._close()
        return value

    def _named(self) -> float:
        name = self._name
        self._next()
        if name in _FORMULA_FUNCTIONS and self._take("("):
            arguments = [self._sum()]
            while self._take(","):
                arguments.append(self._sum())
            self._close()
            return _FORMULA_FUNCTIONS[name](*arguments)
        if name not in self._values:
            raise FormulaError(f"{self._formula[:100]!r} names {name!r}, which no grader is called", is_variable=True)
        return self._values[name]

    def _close(self) -> None:
        if not self._take(")"):
            raise self._error("')'")

    def _error(self, expected: str) -> FormulaError:
        return FormulaError(f"{self._formula[:100]!r}: expected {expected} before character {self._at}")
