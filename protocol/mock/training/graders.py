"""Graders: scores for samples, for evals and for reinforcement fine-tuning.

String checks, text similarity and formulas over several graders are really computed. Where a model or a Python program
would judge, the score is made up; it is always the same for the same texts. No code is run. Source: OpenAI guide,
"Graders".
"""

from __future__ import annotations

import json
import re
import typing
import zlib

from protocol.budget import spend_turn
from protocol.mock.training.formula import evaluate
from protocol.mock.training.similarity import text_similarity
from protocol.wire.json_text import JsonObject
from protocol.wire.long_json import STRICT_JSON

_PLACE = re.compile(r"\{\{\s*([\w.\[\]]+)\s*\}\}")
_STEP = re.compile(r"\w+")
# How much of a text is compared, so that a comparison takes bounded time.
_MOST_CHARACTERS = 20_000
# What stands between braces has no more characters.
_MOST_PLACE = 1_000
# Characters of all values of one template: it may name a long one again and again.
_MOST_FILLED = 1_000_000


class Grade(typing.NamedTuple):
    """What a grader says: a score, whether that passes, and by name the scores of the graders that it joins."""

    score: float
    passed: bool
    parts: typing.Mapping[str, float] = {}


def grade(grader: JsonObject, item: typing.Any, sample: JsonObject) -> Grade:
    """Rate a sample for a row of data; FormulaError for a formula that cannot be evaluated.

    `item` is the row and `sample` what sample_of gives: templates name the members of both.
    """
    return _GRADERS.get(grader.get("type", ""), _python)(grader, {"item": item, "sample": sample})


def sample_of(output: str) -> JsonObject:
    """Return a text that was said as templates find it below `sample`."""
    try:
        parsed = STRICT_JSON.decode(output)
    except (ValueError, RecursionError):
        parsed = None
    return {"output_text": output, "output_json": parsed}


def filled(template: str, values: JsonObject) -> str:
    """Return a template with its `{{item.x}}` and `{{sample.y}}` filled in; a name without a value becomes empty.

    So does what goes beyond a million characters.
    """
    pieces = []
    room = _MOST_FILLED
    at = 0
    # Place by place, since no call of `re` can be interrupted.
    while (begin := template.find("{{", at)) >= 0:
        spend_turn(1)
        place = _PLACE.match(template, begin, begin + _MOST_PLACE)
        if place is None:
            pieces.append(template[at : begin + 1])
            at = begin + 1
            continue
        value = _template_value(place[1], values)[: max(0, room)]
        room -= len(value)
        pieces += (template[at:begin], value)
        at = place.end()
    return "".join([*pieces, template[at:]])


def _template_value(path: str, values: typing.Any) -> str:
    spend_turn(5)
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


# ---- the kinds of graders ---------------------------------------------------------------------------------------


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
    """Choose a label: the first that the sample contains, else one by the texts' checksum."""
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
    score = evaluate(grader["calculate_output"], parts)
    return Grade(score, score >= _pass_threshold(grader, 0.5), parts)


def _python(grader: JsonObject, values: JsonObject) -> Grade:
    """Make up the score of a Python program."""
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
    """Return a made-up rating, 0.50 to 1.00, which depends on the grader's name and the texts alone."""
    spend_turn(50)
    shown = json.dumps([grader.get("name"), values], sort_keys=True, default=str)
    return 0.5 + zlib.crc32(shown.encode("utf-8", "backslashreplace")) % 51 / 100


def _pass_threshold(grader: JsonObject, usual: float) -> float:
    threshold = grader.get("pass_threshold")
    return usual if threshold is None else threshold


def _score_range(grader: JsonObject) -> tuple[float, float]:
    bounds = grader.get("range") or []
    return (bounds[0], bounds[1]) if len(bounds) == 2 else (0.0, 1.0)
