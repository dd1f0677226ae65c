"""The regular expressions of JSON Schema's `pattern`: read one, match a text against it, write a text that matches.

JSON Schema (2020-12 validation §6.3.3, core §6.4) takes its dialect from ECMA-262. A pattern is searched for: it is
anchored only where it says so. The `re` module is not used, for two reasons. Its dialect differs: `$` before a final
line feed, `\\d` for all of Unicode. And a hostile pattern can make it backtrack for hours.

Theory of operation. A pattern is read to a tree of nodes (reader.py). A node (nodes.py) maps the *set
of positions* in a text where it may begin to the set of positions where it may end. Such a set is one int, of which bit
i is the place before character i. A sequence chains the maps of its parts, a choice unites them, a repetition goes on
until no new position appears. Look-around is the same map, run from everywhere in the other direction. No position is
tried twice, so the time is bounded by nodes times length. Back-references cannot be expressed so, and are refused.

A text is written from the same tree. Each node knows its least and greatest width, and a wanted length is shared out
over the parts. The text is then matched, because the writing does not heed what look-around forbids.
"""

from __future__ import annotations

import typing

from protocol.patterns.nodes import (
    ENDLESS,
    Choice,
    Edge,
    Look,
    Node,
    PatternBudget,
    Pen,
    Repeat,
    Scan,
    Sequence,
)
from protocol.patterns.reader import PatternReader

_TRIES = 160  # texts written before a pattern counts as one that we cannot satisfy


class Pattern:
    """One regular expression, ready to match texts and to write some that match."""

    __slots__ = ("source", "_tree", "_shapes")

    def __init__(self, source: str) -> None:
        """Read `source`; PatternError when it is malformed, too long, or uses what is not supported."""
        self.source = source
        self._tree = PatternReader(source).read()
        options = self._tree.options if isinstance(self._tree, Choice) else (self._tree,)
        self._shapes = tuple(_Shape(option) for option in options)

    def matches(self, text: str, budget: PatternBudget | None = None) -> bool:
        """Say whether the pattern is found anywhere in `text`; PatternError when that costs more than the budget."""
        scan = Scan(text, budget or PatternBudget())
        scan.budget.spend(8)
        return self._tree.run(scan.everywhere, scan, True) != 0

    def examples(self, low: int, high: int, turn: int = 0, budget: PatternBudget | None = None) -> typing.Iterator[str]:
        """Yield texts of `low` to `high` characters that match, as far as a bounded number of tries finds any.

        Equal arguments give equal texts; another `turn` begins with others. Raises PatternError when that costs more
        than the budget.
        """
        budget = budget or PatternBudget()
        for attempt in range(_TRIES):
            pen = Pen(turn * _TRIES + attempt, budget)
            shape = self._shapes[(turn + attempt) % len(self._shapes)]
            shortest = max(low, shape.least)
            longest = min(high, shape.longest(shortest, attempt))
            if shortest > longest:
                continue
            want = shortest + pen.roll(longest - shortest + 1)
            budget.spend(16 + want)
            text = shape.write(want, pen)
            if low <= len(text) <= high and self.matches(text, budget):
                yield text


class _Shape:
    """How one alternative of the whole pattern is written: with room before and after it where it has no anchor."""

    __slots__ = ("core", "before", "after", "least", "most")

    def __init__(self, core: Node) -> None:
        self.core = core
        self.before = not _is_anchored(core, "^")
        self.after = not _is_anchored(core, "$")
        self.least = core.least
        self.most = ENDLESS if self.before or self.after else core.most

    def longest(self, shortest: int, attempt: int) -> int:
        """Return the greatest length to try: a little above the shortest in the first attempts, later more."""
        if attempt < 20:
            return max(shortest, min(self.core.most, shortest + 6))
        return min(self.most, shortest + attempt)

    def write(self, want: int, pen: Pen) -> str:
        text = self.core.write(want, pen)
        missing = want - len(text)
        if missing < 0:  # a look-ahead wrote more than its width of 0
            return self.core.write(max(0, want + missing), pen)
        if missing <= 0 or not (self.before or self.after):
            return text
        # A blank beside the core, in some texts, because the pattern may want a word boundary there.
        filling = "".join(pen.letter() for _ in range(missing - 1))
        blank = " " if pen.roll(2) else "a"
        return text + blank + filling if self.after else filling + blank + text


def _is_anchored(node: Node, edge: str) -> bool:
    if isinstance(node, Edge):
        return node.kind == edge
    if isinstance(node, Choice):
        return all(_is_anchored(option, edge) for option in node.options)
    if isinstance(node, Sequence):
        solid = [part for part in node.parts if not isinstance(part, Look)]
        return bool(solid) and _is_anchored(solid[0 if edge == "^" else -1], edge)
    return isinstance(node, Repeat) and node.low > 0 and _is_anchored(node.part, edge)
