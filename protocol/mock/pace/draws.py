"""Draws: values of a distribution that depend on a key, and not on what was drawn before.

A distribution is a table of values that are equally probable. A draw is one of them, chosen by a hash of the key, so
the same request gets the same values whoever came before it. The hash is BLAKE2b (RFC 7693) with a counter as its salt:
one call gives sixteen draws.

The tables keep the mean that was asked for, since that is what people compare with. A normal distribution is cut at 0
and, on the other side, at twice the mean. A lognormal one of mean m and share s has σ² = ln(1 + s²), μ = ln m - σ²/2;
a gamma one has the shape 1 / s².
"""

from __future__ import annotations

import csv
import hashlib
import math
import statistics
import struct
import typing

from protocol.mock.drawn import Drawn

# Equally probable values of a table: the rarest is one of them.
_VALUES = 4096
_DRAWS_A_HASH = 16
_UNPACK = struct.Struct("<16I").unpack
_MOST_LINES = 1_000_000
_GAMMA_STEPS = 100_000


class Draws:
    """Values of one distribution; `mean` is theirs."""

    def __init__(self, values: typing.Sequence[float]) -> None:
        self._values = values
        self.mean = math.fsum(values) / len(values)

    def one(self, key: bytes) -> float:
        """Return the value for a key."""
        return self.several(key, 1)[0]

    def several(self, key: bytes, count: int) -> list[float]:
        """Return so many values for a key, of which no two depend on each other."""
        values, size = self._values, len(self._values)
        if size == 1:
            return [values[0]] * count
        drawn: list[float] = []
        for number in range(-(-count // _DRAWS_A_HASH)):
            digest = hashlib.blake2b(key, salt=number.to_bytes(16, "little")).digest()
            drawn += [values[random * size >> 32] for random in _UNPACK(digest)]
        return drawn[:count]


def make_draws(drawn: Drawn, column: str) -> Draws:
    """Return the draws of a distribution; a file's values are those of a column. ValueError for a file without them."""
    if drawn.kind == "file":
        return Draws(_read_values(drawn.path, column))
    mean, spread = drawn.mean, drawn.spread
    if not mean or not spread:
        return Draws([mean])
    if drawn.kind == "normal":
        return Draws(_normal(mean, spread * mean, lowest=0.0, highest=2 * mean))
    shares = [(number + 0.5) / _VALUES for number in range(_VALUES)]
    if drawn.kind == "lognormal":
        deviation = math.sqrt(math.log1p(spread * spread))
        quantile = statistics.NormalDist().inv_cdf
        values = [math.exp(deviation * quantile(share)) for share in shares]
    else:
        values = _gamma_quantiles(1 / (spread * spread), shares)
    return Draws(_with_mean(values, mean))


def make_whole_draws(mean: float, deviation: float) -> Draws:
    """Return draws of a normal distribution for whole numbers, none of which is below 1."""
    return Draws([float(round(value)) for value in _normal(mean, deviation, lowest=1.0, highest=2 * mean - 1)])


def _normal(mean: float, deviation: float, *, lowest: float, highest: float) -> list[float]:
    if not deviation:
        return [mean]
    quantile = statistics.NormalDist(mean, deviation).inv_cdf
    return [min(highest, max(lowest, quantile((number + 0.5) / _VALUES))) for number in range(_VALUES)]


def _with_mean(values: list[float], mean: float) -> list[float]:
    factor = mean * len(values) / math.fsum(values)
    return [value * factor for value in values]


def _gamma_quantiles(shape: float, shares: typing.Sequence[float]) -> list[float]:
    """Return the quantiles of a gamma distribution of scale 1, by adding up its density.

    Below a shape of 1 the density has no bound at 0. Over t = x ** shape it has one: it is exp(-x) there, but for a
    factor.
    """
    end = shape + 12 * math.sqrt(shape) + 30
    power = min(shape, 1.0)
    width = end**power / _GAMMA_STEPS
    at = [(number + 0.5) * width for number in range(_GAMMA_STEPS)]
    points = [place ** (1 / power) for place in at]
    exponent = shape - 1 if shape >= 1 else 0.0
    peak = max(shape - 1, 1e-300)  # where the density is greatest, so that it cannot overflow
    weights = [math.exp(exponent * math.log(x / peak) - x + peak) if exponent else math.exp(-x) for x in points]
    total, reached, quantiles = math.fsum(weights), 0.0, []
    index = 0
    for share in shares:
        while reached < share * total and index < _GAMMA_STEPS - 1:
            reached += weights[index]
            index += 1
        quantiles.append(points[max(0, index - 1)])
    return quantiles


def _read_values(path: str, column: str) -> list[float]:
    """Return the numbers of a column of a CSV file: the one of this name, or the first where no line names columns."""
    values: list[float] = []
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            at = 0
            for number, row in enumerate(csv.reader(file), 1):
                if number == 1 and column in [name.strip() for name in row]:
                    at = [name.strip() for name in row].index(column)
                    continue
                if row:
                    values.append(_seconds(row[at] if at < len(row) else "", f"{path} line {number}"))
                if len(values) > _MOST_LINES:
                    raise ValueError(f"{path}: has more than {_MOST_LINES} lines")
    except (OSError, UnicodeDecodeError, csv.Error) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is no CSV in UTF-8"
        raise ValueError(f"{path}: cannot be read: {reason}") from exc
    if not values:
        raise ValueError(f"{path}: has no values")
    return values


def _seconds(text: str, where: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e9:
        raise ValueError(f"{where}: expected seconds, 0 or more, but {text[:50]!r} came")
    return seconds
