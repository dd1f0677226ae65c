"""Where a pattern is found, what its groups have read, and what that may cost.

Python's `re` is the judge wherever the two dialects agree: where the pattern is found, and what the groups have read.
"""

from __future__ import annotations

import random
import re

import pytest

from protocol.patterns.finding import Finder
from protocol.patterns.nodes import PatternBudget, PatternError


def found(pattern, text):
    """Return where a pattern is found and all its groups, the whole first; None where it is not."""
    one = Finder(pattern).find(text, PatternBudget())
    return one and (one.span, *(one.group(str(number)) for number in range(len(one.names) + 1)))


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("^say (.+)$", "say hello"),
        (r"(\w+)@(\w+)\.com", "to me@example.com, now"),
        ("(a|ab)(c|bcd)(d*)", "abcd"),
        (r"(?:(\w+) ?)+", "foo bar baz"),
        ("(a*)(a*)", "aaa"),
        ("(a+?)(a*)", "aaa"),
        ("((a)|b)*", "ab"),
        ("(a{1,2})+", "aaa"),
        ("(?i)weather in ([a-z]+)", "WEATHER in OSlo!"),
        ("(?i)[^a]b", "Ab xB"),
        ("(?s)a(.*)b", "a\n\nb"),
        ("(?is)A(.*)B", "a\nb"),
        ("(?:(a)|(b)){2}", "ab"),
        ("(?P<city>Oslo|Rome)", "in Rome"),
        ("(?<=x)(y)", "xy"),
        ("(?=(?:.*)z)(x)", "xyz"),
        ("(a)?b", "b"),
        ("", "abc"),
        ("x", "abc"),
    ],
)
def test_finds_what_python_finds(pattern, text):
    theirs = re.search(pattern, text)
    assert found(pattern, text) == (theirs and (theirs.span(), theirs.group(), *theirs.groups()))


def test_a_group_has_its_name_as_well_as_its_number():
    one = Finder("(?P<city>Oslo|Rome), (?<day>[a-z]+)").find("Rome, today", PatternBudget())
    assert one is not None
    assert [one.group(name) for name in ("city", "day", "2", "9", "land")] == ["Rome", "today", "today", None, None]


def made_pattern(chance, depth):
    """Return a pattern over three letters, whose repetitions repeat sets alone."""
    kind = chance.randrange(6) if depth else 0
    if kind < 2:
        return chance.choice(["a", "b", "c", ".", "[ab]", "[^a]"]) + chance.choice(
            ["", "", "*", "+", "?", "{1,2}", "*?"]
        )
    if kind == 2:
        return f"(?:{made_pattern(chance, depth - 1)}|{made_pattern(chance, depth - 1)})"
    if kind == 3:
        return f"({made_pattern(chance, depth - 1)})"
    return made_pattern(chance, depth - 1) + made_pattern(chance, depth - 1)


def test_agrees_with_python_on_thousands_of_made_up_patterns():
    chance = random.Random(3)
    for _ in range(1500):
        pattern = made_pattern(chance, 4)
        text = "".join(chance.choice("abc") for _ in range(chance.randrange(9)))
        theirs = re.search(pattern, text)
        assert found(pattern, text) == (theirs and (theirs.span(), theirs.group(), *theirs.groups())), (pattern, text)


@pytest.mark.parametrize(
    "pattern", ["^(a+)+$", "^(a|aa)+$", "^(a*)*b$", "(.*)*(.*)*(.*)*b", "^(([a-z])+.)+[A-Z]([a-z])+$"]
)
def test_what_makes_others_backtrack_for_ever_is_over_soon(pattern):
    budget = PatternBudget()
    finder = Finder(pattern)
    assert finder.find("a" * 200 + "!", budget) is None
    assert budget.left > 150_000


def test_what_costs_too_much_is_said():
    with pytest.raises(PatternError, match="too many steps"):
        Finder("((a|aa)+)+$").find("a" * 3000, PatternBudget(20_000))


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(?x)a", "unsupported flags"),
        (r"(a)\1", "back-references"),
        ("(a", r"missing '\)'"),
        ("a**", "nothing to repeat"),
    ],
)
def test_refuses_what_it_does_not_know(pattern, reason):
    with pytest.raises(PatternError, match=reason):
        Finder(pattern)
