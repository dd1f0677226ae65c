"""Where a pattern is found in a text, and what its groups have read there.

Theory of operation. A node maps places where it may begin to places where it may end, and the other way round
(pattern.py). The first place from which the whole pattern can be read is where it is found. From there the tree is gone
through once: each part is told at which places it may end, so that what follows can be read on, and chooses one of
them. A choice takes its first option that fits, a repetition as much as it can, or as little where it is lazy. Nothing
is tried twice, so there is no backtracking; the budget bounds the rest.

The dialect is that of JSON Schema's patterns, with two flags before it, which people know from Python: `(?i)` for
letters of either case, `(?s)` for a `.` that is also a line's end.
"""

from __future__ import annotations

import re
import typing

from protocol.patterns.character_sets import LINE_ENDS
from protocol.patterns.nodes import (
    Chars,
    Choice,
    Group,
    Look,
    Node,
    PatternBudget,
    PatternError,
    Repeat,
    Scan,
    Sequence,
)
from protocol.patterns.reader import PatternReader

_FLAGS = re.compile(r"\(\?([a-zA-Z]+)\)")
_KNOWN_FLAGS = "is"


class Finder:
    """One regular expression, ready to be found in texts; `groups` are the names of its groups, "" for one without."""

    __slots__ = ("groups", "source", "_tree")

    def __init__(self, source: str) -> None:
        """Read `source`; PatternError when it is malformed, too long, or uses what is not supported."""
        self.source = source
        flags = _FLAGS.match(source)
        if flags and not set(flags[1]) <= set(_KNOWN_FLAGS):
            raise PatternError(f"unsupported flags '(?{flags[1][:20]})': expected i, s or both")
        reader = PatternReader(source[flags.end() :] if flags else source, keeps_groups=True)
        tree = reader.read()
        if flags:
            tree = _with_flags(tree, any_case="i" in flags[1], any_character="s" in flags[1])
        self._tree = tree
        self.groups = tuple(reader.groups)

    def find(self, text: str, budget: PatternBudget) -> Found | None:
        """Return where the pattern is first found, None where it is not; PatternError when that costs too much."""
        scan = Scan(text, budget)
        budget.spend(8)
        starts = self._tree.run(scan.everywhere, scan, False)
        if not starts:
            return None
        start = _first(starts)
        spans: list[tuple[int, int] | None] = [None] * len(self.groups)
        end = _Reading(scan, spans).read(self._tree, start, scan.everywhere)
        return Found(text, self.groups, (start, end), spans)


class Found(typing.NamedTuple):
    """A pattern that was found in `text`: there (`span`), and what its groups have read, None for one that has not."""

    text: str
    names: typing.Sequence[str]
    span: tuple[int, int]
    spans: typing.Sequence[tuple[int, int] | None]

    def group(self, name: str) -> str | None:
        """Return what group `name` has read: a number, 0 for all of it, or a name; None for one that has not."""
        if name.isdecimal():
            span = self.span if int(name) == 0 else self.spans[int(name) - 1] if int(name) <= len(self.spans) else None
        else:
            span = self.spans[list(self.names).index(name)] if name in self.names else None
        return None if span is None else self.text[slice(*span)]


class _Reading:
    """Goes through a tree once. Each node begins at `start` and can end at one of `ends` at least."""

    __slots__ = ("_scan", "_spans")

    def __init__(self, scan: Scan, spans: list[tuple[int, int] | None]) -> None:
        self._scan = scan
        self._spans = spans

    def read(self, node: Node, start: int, ends: int) -> int:
        """Note what the groups of a node read, and return where it ends."""
        self._scan.spend()
        if isinstance(node, Group):
            end = self.read(node.part, start, ends)
            self._spans[node.number] = (start, end)
            return end
        if isinstance(node, Choice):
            option = next(option for option in node.options if option.run(1 << start, self._scan, True) & ends)
            return self.read(option, start, ends)
        if isinstance(node, Sequence):
            return self._read_sequence(node, start, ends)
        if isinstance(node, Repeat):
            return self._read_repeat(node, start, ends)
        return _first(node.run(1 << start, self._scan, True) & ends)

    def _read_sequence(self, node: Sequence, start: int, ends: int) -> int:
        wanted = [ends]
        for part in reversed(node.parts[1:]):
            wanted.append(part.run(wanted[-1], self._scan, False))
        for part in node.parts:
            start = self.read(part, start, wanted.pop())
        return start

    def _read_repeat(self, node: Repeat, start: int, ends: int) -> int:
        if not _has_groups(node.part):
            reached = node.run(1 << start, self._scan, True) & ends
            return _first(reached) if node.is_lazy else reached.bit_length() - 1
        rounds = 0
        while node.high is None or rounds < node.high:
            if rounds >= node.low and node.is_lazy and ends >> start & 1:
                break
            after = self.part_ends(node, rounds, start, ends)
            onwards = after & ~(1 << start)  # a round of nothing changes nothing
            if not onwards and (rounds >= node.low or not after):
                break
            start = self.read(node.part, start, onwards or after)
            rounds += 1
            if not onwards:
                break
        return start

    def part_ends(self, node: Repeat, rounds: int, start: int, ends: int) -> int:
        """Return where the next round may end, so that the rest of the rounds leads to one of `ends`."""
        high = None if node.high is None else node.high - rounds - 1
        rest = Repeat(node.part, max(0, node.low - rounds - 1), high)
        return node.part.run(1 << start, self._scan, True) & rest.run(ends, self._scan, False)


def _first(places: int) -> int:
    return (places & -places).bit_length() - 1


def _has_groups(node: Node) -> bool:
    return isinstance(node, Group) or any(map(_has_groups, _parts(node)))


def _parts(node: Node) -> typing.Sequence[Node]:
    if isinstance(node, Choice):
        return node.options
    if isinstance(node, Sequence):
        return node.parts
    return (node.part,) if isinstance(node, (Repeat, Group)) else ()  # what a look-around reads is not told


class _AnyCase(Chars):
    """A set that has a character when it has its small or its capital letter."""

    __slots__ = ()

    def has(self, char: str) -> bool:
        """Whether a character is in the set."""
        found = any(Chars.has(self, each) != self.negated for each in (char, *char.lower(), *char.upper()))
        return found != self.negated


def _with_flags(node: Node, *, any_case: bool, any_character: bool) -> Node:
    """Return a tree whose sets are as the flags want them."""

    def changed(node: Node) -> Node:
        if isinstance(node, Chars):
            if any_character and node.negated and node.ranges is LINE_ENDS:
                return Chars((), negated=True)
            return _AnyCase(node.ranges, node.categories, node.negated) if any_case else node
        if isinstance(node, Choice):
            return Choice([changed(option) for option in node.options])
        if isinstance(node, Sequence):
            return Sequence([changed(part) for part in node.parts])
        if isinstance(node, Repeat):
            return Repeat(changed(node.part), node.low, node.high, node.is_lazy)
        if isinstance(node, Look):
            return Look(changed(node.part), node.behind, node.negated)
        if isinstance(node, Group):
            return Group(changed(node.part), node.number, node.name)
        return node

    return changed(node)
