"""Formulas over the scores of several graders: numbers, names, + - * / ^, parentheses and some functions.

A formula is read by recursive descent and computed while it is read: sum, product, power, atom, each of which binds
more strongly than the one before.
"""

from __future__ import annotations

import math
import re
import typing

_TOKEN = re.compile(r"\s*(?:(\d+\.?\d*|\.\d+)|([A-Za-z_]\w*)|(\*\*|[-+*/^(),]))")
_FUNCTIONS: dict[str, typing.Callable[..., float]] = {
    "min": min, "max": max, "abs": abs, "floor": math.floor, "ceil": math.ceil,
    "exp": math.exp, "sqrt": math.sqrt, "log": math.log,
}  # fmt: skip
_DEEPEST = 50


class FormulaError(ValueError):
    """A formula that cannot be evaluated; `is_variable` when the reason is a name without a value."""

    def __init__(self, message: str, *, is_variable: bool = False) -> None:
        super().__init__(message)
        self.is_variable = is_variable


def evaluate(formula: str, values: typing.Mapping[str, float]) -> float:
    """Return the value of a formula, given those of the names in it; FormulaError when it has none."""
    reader = _FormulaReader(formula, values)
    try:
        value = float(reader.whole())
        if math.isfinite(value):
            return value
        raise FormulaError(f"{formula[:100]!r} is larger than any number")
    except (ArithmeticError, ValueError, TypeError) as exc:
        if isinstance(exc, FormulaError):
            raise
        raise FormulaError(f"{formula[:100]!r} cannot be reckoned: {exc}") from exc


class _FormulaReader:
    """Reads a formula from left to right; `_number`, `_name` or `_mark` is the token that comes next."""

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
        match = _TOKEN.match(self._formula, self._at)
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
        if self._depth > _DEEPEST:
            raise FormulaError(f"a formula may be nested {_DEEPEST} deep at most")
        if self._take("-"):
            value = -self._power()
        else:
            value = self._atom()
            if self._take("^", "**"):
                # math.pow, as a tower of powers of integers would take for ever.
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
        if name in _FUNCTIONS and self._take("("):
            arguments = [self._sum()]
            while self._take(","):
                arguments.append(self._sum())
            self._close()
            return _FUNCTIONS[name](*arguments)
        if name not in self._values:
            raise FormulaError(f"{self._formula[:100]!r} names {name!r}, which no grader is called", is_variable=True)
        return self._values[name]

    def _close(self) -> None:
        if not self._take(")"):
            raise self._error("')'")

    def _error(self, expected: str) -> FormulaError:
        return FormulaError(f"{self._formula[:100]!r}: expected {expected} before character {self._at}")
