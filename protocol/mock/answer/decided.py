"""Decisions: questions about an input, each answered with probabilities.

A choice or a level is the likelier, the more of its words the input has; nothing is understood. Equal requests get
equal answers. Source: OpenAI API reference, "Decisions".
"""

from __future__ import annotations

import json
import re
import typing

from protocol.mock.answer.reply import count_tokens
from protocol.wire.json_text import JsonObject

_WORD = re.compile(r"\w+")


def decision(model: str, given: typing.Any, questions: typing.Sequence[JsonObject]) -> JsonObject:
    """Return the model, the answers to all questions about an input, in order, and the usage."""
    text = _words_said(given)
    words = set(_WORD.findall(text.casefold()))
    answers = [_decided(question, words) for question in questions]
    input_tokens = count_tokens(text)
    usage = {"input_tokens": input_tokens, "output_tokens": len(answers), "total_tokens": input_tokens + len(answers)}
    return {"model": model, "answers": answers, "usage": usage}


def _decided(question: JsonObject, words: typing.AbstractSet[str]) -> JsonObject:
    name = {"name": question["name"]} if question.get("name") is not None else {}
    kind = question["type"]
    if kind == "predicate":
        return {"type": kind, **name, "probability": _likelihood(question["instructions"], words)}
    options = question["choices" if kind == "choice" else "levels"]
    shares = _shares(options, words)
    if not shares:
        return {"type": "refusal", **name}
    best = max(range(len(shares)), key=shares.__getitem__)
    if kind == "choice":
        probabilities = [{"value": option["value"], "probability": share} for option, share in zip(options, shares)]
        return {
            "type": kind, **name, "choice": options[best]["value"], "confidence": shares[best],
            "probabilities": probabilities,
        }  # fmt: skip
    levels = [
        {"label": option["label"], "value": number, "probability": share}
        for number, (option, share) in enumerate(zip(options, shares))
    ]
    score = round(sum(level["value"] * level["probability"] for level in levels), 4)
    return {"type": kind, **name, "score": score, "confidence": shares[best], "probabilities": levels}


def _likelihood(instructions: typing.Any, words: typing.AbstractSet[str]) -> float:
    """Return how likely an input is as the instructions say: by the long words that both have."""
    asked = {word for word in _WORD.findall(_words_said(instructions).casefold()) if len(word) > 3}
    return round(0.05 + 0.9 * len(asked & words) / len(asked), 4) if asked else 0.5


def _shares(options: typing.Sequence[JsonObject], words: typing.AbstractSet[str]) -> list[float]:
    """Return the options' probabilities, which add up to 1."""
    weights = []
    for option in options:
        label = option.get("value", option.get("label"))
        named = set(_WORD.findall(str(label).casefold()))
        described = set(_WORD.findall(str(option.get("description") or "").casefold()))
        weights.append(1 + 20 * len(named & words) + 3 * len(described & words))
    total = sum(weights)
    shares = [round(weight / total, 4) for weight in weights]
    if shares:
        shares[-1] = round(1 - sum(shares[:-1]), 4)
    return shares


def _words_said(value: typing.Any) -> str:
    """Return all text of an input or of instructions: strings, parts, messages, JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(_words_said(member) for member in value)
    if not isinstance(value, dict):
        return ""
    said = [_words_said(value[name]) for name in ("text", "content", "output", "arguments") if name in value]
    if "data" in value:
        said.append(json.dumps(value["data"], ensure_ascii=False))
    return "\n".join(said)
