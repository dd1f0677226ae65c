"""Conditions on a text: a part of it, all of it, or a regular expression; and patterns for names.

A script may come over HTTP, so none of this backtracks: expressions are ours (protocol/patterns), which take bounded
time, and so are the patterns in which `*` stands for anything.
"""

from __future__ import annotations

import json
import typing

from protocol.budget import Budget
from protocol.errors import ApiError, evidence
from protocol.instrument.script.reading import ScriptError, read_members, read_string
from protocol.patterns.finding import Finder, Found
from protocol.patterns.nodes import PatternBudget, PatternError

#: How many characters a text has at most on which an expression is tried: it takes some milliseconds a set then.
MOST_SEARCHED = 100_000

# What all expressions of one request may cost together (protocol/patterns/nodes.py).
_PATTERN_WORK = 1_000_000
# Characters that are searched in a microsecond.
_CHARACTERS_A_STEP = 1_000


class Work:
    """What it costs to hold one request against a script: all of it is charged to the request's budget."""

    __slots__ = ("budget", "patterns")

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.patterns = PatternBudget(_PATTERN_WORK, budget)


class TextTest:
    """A condition on a text. `kind` is "has", "is" or "re", and `is_not` turns it round."""

    __slots__ = ("finder", "is_not", "kind", "text")

    def __init__(self, kind: str, text: str, *, is_not: bool = False, finder: Finder | None = None) -> None:
        self.kind = kind
        self.text = text
        self.is_not = is_not
        self.finder = finder

    def holds(self, text: str, work: Work) -> bool:
        """Tell whether a text is as it should be; ApiError 400 where that costs too much."""
        return self._is_in(text, work) != self.is_not

    def holds_for_any(self, texts: typing.Iterable[str], work: Work) -> bool:
        """Tell whether one of the texts is as it should be; turned round: whether none is as it should not be."""
        return any(self._is_in(text, work) for text in texts) != self.is_not

    def _is_in(self, text: str, work: Work) -> bool:
        work.budget.spend(1 + len(text) // _CHARACTERS_A_STEP)
        if self.kind == "has":
            return self.text in text
        if self.kind == "is":
            return self.text == text
        return self.found(text, work) is not None

    def found(self, text: str, work: Work) -> Found | None:
        """Return where the expression is found, None where it is not."""
        assert self.finder is not None, "a condition with `re`"
        if len(text) > MOST_SEARCHED:
            raise ApiError(
                400, f"A rule searches for {evidence(self.text)} in a text of {len(text)} characters; 're' is for "
                f"texts of at most {MOST_SEARCHED}.", code="too_much_work",
            )  # fmt: skip
        try:
            return self.finder.find(text, work.patterns)
        except PatternError as exc:
            message = f"A rule's expression {evidence(self.text)} {exc}, for this text."
            raise ApiError(400, message, code="too_much_work") from exc

    def __str__(self) -> str:
        """Say what was expected."""
        words = {"has": "a text with", "is": "the text", "re": "a text that fits"}[self.kind]
        return f"{'not ' if self.is_not else ''}{words} {evidence(self.text)}"

    def follows_from(self, other: TextTest) -> bool:
        """Tell whether every text that is as the other wants it is as this one wants it, as far as that is seen."""
        if self.is_not or other.is_not:
            return (self.kind, self.text, self.is_not) == (other.kind, other.text, other.is_not)
        if self.kind == "has":
            return other.kind in ("has", "is") and self.text in other.text
        return self.kind == other.kind and self.text == other.text


_KINDS = ("is", "re", "not")


def read_text_test(value: object, where: str) -> TextTest:
    """Read a condition on a text: a string that is a part of it, or {"is" | "re" | "not": ...}."""
    if isinstance(value, str):
        return TextTest("has", read_string(value, where))
    members = read_members(value, where, _KINDS, 'a text, or {"is" | "re" | "not": ...}')
    if len(members) != 1:
        raise ScriptError(where, f"expected one of is, re and not, got {json.dumps(list(members))}")
    ((kind, inner),) = members.items()
    if kind == "not":
        test = read_text_test(inner, f"{where}.not")
        return TextTest(test.kind, test.text, is_not=not test.is_not, finder=test.finder)
    text = read_string(inner, f"{where}.{kind}", may_be_empty=kind == "is")
    if kind == "is":
        return TextTest("is", text)
    try:
        return TextTest("re", text, finder=Finder(text))
    except PatternError as exc:
        raise ScriptError(f"{where}.re", f"{evidence(text)}: {exc}") from exc


class Glob:
    """A pattern for names, in which `*` stands for anything; it is tried in one go from left to right."""

    __slots__ = ("pieces", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.pieces = text.split("*")

    def fits(self, name: str) -> bool:
        """Tell whether a name is as the pattern says."""
        first, *others = self.pieces
        if not others:
            return name == first
        if not name.startswith(first):
            return False
        *middle, last = others
        at = len(first)
        for piece in middle:
            found = name.find(piece, at)
            if found < 0:
                return False
            at = found + len(piece)
        return name.endswith(last) and len(name) - len(last) >= at

    def follows_from(self, other: Glob) -> bool:
        """Tell whether every name that fits the other fits this one, as far as that is seen."""
        if len(other.pieces) == 1:
            return self.fits(other.text)
        if len(self.pieces) == 2:
            return other.pieces[0].startswith(self.pieces[0]) and other.pieces[-1].endswith(self.pieces[1])
        return self.text == other.text
