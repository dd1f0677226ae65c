"""Money: whole nano-dollars, of which a dollar has a thousand million, so that no sum is ever rounded.

Prices are told as vendors tell them, in dollars a million tokens: `0.15 in, 0.075 cached, 0.60 out`. What a usage costs
is rounded up once, so that nothing that has a price is free.
"""

from __future__ import annotations

import re
import typing

from protocol.limiter import MOST_LEVEL
from protocol.openai.asked_model import name_pattern

#: Nano-dollars in a dollar.
NANO = 10**9

_MILLION = 10**6
_DECIMAL = r"([0-9]{1,9}(?:\.[0-9]{1,9})?)"
_BUDGET = re.compile(rf"{_DECIMAL} *USD */ *(month|day)")
_RATE = re.compile(rf"{_DECIMAL} +(in|cached|out)")

_BUDGET_EXPECTED = "expected dollars in a calendar month or day (UTC), e.g. 30 USD/month or 1.50 USD/day"
_PRICE_EXPECTED = "expected dollars a million tokens, e.g. 0.15 in, 0.075 cached, 0.60 out (cached may be left out)"


class Budget(typing.NamedTuple):
    """So many nano-dollars in a calendar month or day, UTC."""

    nano: int
    period: typing.Literal["month", "day"]


class Price(typing.NamedTuple):
    """What the models that fit a pattern (`*` and `?`) cost: nano-dollars a million tokens."""

    pattern: str
    input: int
    cached: int
    output: int


def parse_budget(text: str) -> Budget:
    """Return the budget that a text names: "30 USD/month", "1.50 USD/day". ValueError for any other, and for 0."""
    match = _BUDGET.fullmatch(text)
    nano = _nano(match[1]) if match else 0
    if match is None or not nano:
        raise ValueError(_BUDGET_EXPECTED)
    if nano >= MOST_LEVEL:
        raise ValueError(f"expected at most {MOST_LEVEL // NANO} USD")
    return Budget(nano, "month" if match[2] == "month" else "day")


def parse_price(pattern: str, text: str) -> Price:
    """Return the price that a text names: "0.15 in, 0.075 cached, 0.60 out". ValueError for any other.

    Cached tokens cost what others do where nothing is said of them. Both others have to be named: a price that was
    forgotten would be none.
    """
    rates: dict[str, int] = {}
    for part in text.split(","):
        match = _RATE.fullmatch(part.strip())
        if match is None or match[2] in rates:
            raise ValueError(_PRICE_EXPECTED)
        rates[match[2]] = _nano(match[1])
    if "in" not in rates or "out" not in rates:
        raise ValueError(f"{_PRICE_EXPECTED}; what costs nothing is 0 out")
    return Price(pattern, rates["in"], rates.get("cached", rates["in"]), rates["out"])


def cost(price: Price, usage: tuple[int, int, int, int]) -> int:
    """Return what a Usage costs, in nano-dollars, rounded up once. Its cached tokens are part of its input."""
    (_, input_price, cached_price, output_price), (read, cached, said, _) = price, usage
    return -(-((read - cached) * input_price + cached * cached_price + said * output_price) // _MILLION)


def dollars(nano: int) -> str:
    """Return an amount of nano-dollars in dollars, exactly: 30, 0.075."""
    whole, fraction = divmod(abs(nano), NANO)
    return f"{'-' if nano < 0 else ''}{whole}{f'.{fraction:09}'.rstrip('0').rstrip('.')}"


def price_of(prices: typing.Iterable[Price], model: str) -> Price | None:
    """Return the first price whose pattern fits a model's name, None where none does."""
    return next((price for price in prices if name_pattern(price.pattern).fullmatch(model)), None)


def _nano(decimal: str) -> int:
    whole, _, fraction = decimal.partition(".")
    return int(whole) * NANO + int(fraction.ljust(9, "0"))
