"""How a distribution is written: "0.3", "0.3 normal 20%", "0.02 lognormal 0.4", "file:trace.csv"; and a length."""

from __future__ import annotations

import re
import typing

_DECIMAL = r"[0-9]{1,9}(?:\.[0-9]{1,9})?"
_DRAWN = rf"({_DECIMAL})(?:\s+(constant|normal|lognormal|gamma)(?:\s+({_DECIMAL})(%?))?)?"
_LENGTH = r"normal\(\s*([1-9][0-9]{0,5})\s*,\s*([0-9]{1,6})\s*\)"
_MOST_SPREAD = 10.0


class Drawn(typing.NamedTuple):
    """A distribution of seconds: of which kind, its mean, and its standard deviation as a share of the mean.

    Of kind "file" are the values of the CSV file at `path`.
    """

    kind: str
    mean: float = 0.0
    spread: float = 0.0
    path: str = ""


class Length(typing.NamedTuple):
    """How long answers are: "text", "request" (as it allows), or "normal", with mean and standard deviation."""

    kind: str
    mean: float = 0.0
    deviation: float = 0.0


def read_drawn(text: str) -> Drawn:
    """Return the distribution that a text names; ValueError for any other text."""
    if text.startswith("file:") and len(text) > len("file:"):
        return Drawn("file", path=text[len("file:") :])
    match = re.fullmatch(_DRAWN, text)
    kind = (match[2] or "constant") if match else ""
    if match is None or (kind == "constant") != (match[3] is None):
        raise ValueError(
            "expected seconds, and how they spread: e.g. 0.3, 0.3 normal 20%, 0.3 lognormal 0.4, 0.3 gamma 0.5 or"
            " file:trace.csv"
        )
    spread = float(match[3] or 0) / (100 if match[4] else 1)
    if spread > _MOST_SPREAD:
        raise ValueError(f"expected a standard deviation of at most {_MOST_SPREAD:g} times the mean")
    return Drawn(kind, float(match[1]), spread)


def read_length(text: str) -> Length:
    """Return the length that a text names; ValueError for any other text."""
    if text in ("text", "request"):
        return Length(text)
    match = re.fullmatch(_LENGTH, text)
    if match is None:
        raise ValueError("expected text | request | normal(MEAN,DEVIATION), e.g. normal(256,64)")
    return Length("normal", float(match[1]), float(match[2]))


def parse_drawn(text: str) -> str:
    """Return a text that names a distribution."""
    read_drawn(text)
    return text


def parse_length(text: str) -> str:
    """Return a text that names a length."""
    read_length(text)
    return text
