"""The parts of a pattern: how each is matched, and how it is written. The theory of operation is in pattern.py."""

from __future__ import annotations

import bisect
import itertools
import typing
import unicodedata

from protocol.budget import Budget
from protocol.patterns.character_sets import LAST_CODE, WORD, Ranges

MAX_PATTERN_WORK = 200_000  # maps of one set of positions, and steps that cost as much; about 0.3 s
ENDLESS = 1 << 40  # the width of `x*`: an int, so that sums stay ints
_MANY_RANGES = 16  # of a set, which are searched by halves
_ALPHANUMERIC = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_PRINTABLE = _ALPHANUMERIC + "-_.@ !\"#$%&'()*+,/:;<=>?[\\]^`{|}~"

# A character of every general category, to write `\p{...}` where ASCII has no character of it.
_SPECIMENS = "\u00e9\u0416\u01c5\u02b0\u4e2d\u0301\u0903\u20dd\u0665\u2167\u00bd\u203f\u2013"
_SPECIMENS += "\u00ab\u00bb\u2026\u20ac\u00a9\u00a0\u2028\u2029\x01\u200d\ue000\u0378"


class PatternError(ValueError):
    """A pattern that is malformed, uses what is not supported, or costs too much. The text says where."""


class PatternBudget:
    """What matching and writing may cost together, for all patterns that share the budget.

    `work` is the budget of all that they are a part of.
    """

    __slots__ = ("left", "_work")

    def __init__(self, left: int = MAX_PATTERN_WORK, work: Budget | None = None) -> None:
        self.left = left
        self._work = work

    def spend(self, cost: int) -> None:
        """Take from the budget; PatternError when nothing is left."""
        self.left -= cost
        if self.left < 0:
            raise PatternError("takes too many steps (together with those before it): simplify it")
        if self._work is not None:
            self._work.spend(2 * cost)


class Scan:
    """One text that is matched: where each set of characters holds, and what one step costs."""

    __slots__ = ("text", "everywhere", "masks", "cost", "budget")

    def __init__(self, text: str, budget: PatternBudget) -> None:
        self.text = text
        self.everywhere = (1 << (len(text) + 1)) - 1
        self.masks: dict[int, int] = {}  # by the id() of a node: the pattern keeps the nodes alive
        self.cost = 1 + len(text) // 4096
        self.budget = budget

    def spend(self) -> None:
        """Pay for one step; PatternError when the budget is used up."""
        self.budget.spend(self.cost)

    def mask(self, chars: Chars) -> int:
        """Return the places right before a character of the set."""
        mask = self.masks.get(id(chars))
        if mask is None:
            characters = set(self.text)
            self.budget.spend((len(self.text) + len(characters) * len(chars.ranges)) // 16)
            held = {char: "1" if chars.has(char) else "0" for char in characters}
            mask = int("".join([held[char] for char in reversed(self.text)]) or "0", 2)
            self.masks[id(chars)] = mask
        return mask


class Pen:
    """A small generator of pseudo-random numbers, with the constants of Knuth's MMIX: they are the same everywhere."""

    __slots__ = ("state", "writes_looks", "budget")

    def __init__(self, seed: int, budget: PatternBudget) -> None:
        self.budget = budget
        self.state = (seed + 1) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
        # A look-around has no width, but what it looks for must be in the text. Every other text has it written there.
        self.writes_looks = bool(seed & 1)

    def roll(self, sides: int) -> int:
        """Return a number from 0 to sides - 1."""
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
        return (self.state >> 33) % sides

    def letter(self) -> str:
        """Return a small letter."""
        return _ALPHANUMERIC[self.roll(26)]


class Node:
    """A part of a pattern; `least` and `most` are the widths in characters that it can take."""

    __slots__ = ("least", "most")

    def __init__(self, least: int, most: int) -> None:
        self.least = min(least, ENDLESS)
        self.most = min(most, ENDLESS)

    def run(self, places: int, scan: Scan, ahead: bool) -> int:
        """Return where the part may end when it begins at one of `places`; unless `ahead`, the other way round."""
        raise NotImplementedError

    def write(self, want: int, pen: Pen) -> str:
        """Return a text of the part, with `want` characters where that is possible."""
        raise NotImplementedError


class Chars(Node):
    """One character of a set: ranges of code points and Unicode's general categories, or all others if negated."""

    __slots__ = ("ranges", "categories", "negated", "readable", "_starts", "_ends")

    def __init__(self, ranges: Ranges, categories: frozenset[str] = frozenset(), negated: bool = False) -> None:
        super().__init__(1, 1)
        self.ranges = ranges
        self.categories = categories
        self.negated = negated
        self.readable: tuple[str, ...] = ()  # made at the first use: most sets are never written
        # Where the ranges of a large set begin and end, in order and joined; likewise.
        self._starts: list[int] = []
        self._ends: list[int] = []

    def has(self, char: str) -> bool:
        """Whether a character is in the set."""
        code = ord(char)
        if len(self.ranges) > _MANY_RANGES:
            found = self._is_in_ranges(code)
        else:
            found = any(low <= code <= high for low, high in self.ranges)
        if not found and self.categories:
            found = unicodedata.category(char) in self.categories
        return found != self.negated

    def _is_in_ranges(self, code: int) -> bool:
        if not self._starts:
            ranges: list[tuple[int, int]] = []
            for low, high in sorted(self.ranges):
                if ranges and low <= ranges[-1][1] + 1:
                    low, high = ranges[-1][0], max(high, ranges.pop()[1])
                ranges.append((low, high))
            self._starts, self._ends = [low for low, _ in ranges], [high for _, high in ranges]
        at = bisect.bisect_right(self._starts, code) - 1
        return at >= 0 and code <= self._ends[at]

    def run(self, places: int, scan: Scan, ahead: bool) -> int:
        scan.spend()
        mask = scan.mask(self)
        return (places & mask) << 1 if ahead else (places >> 1) & mask

    def write(self, want: int, pen: Pen) -> str:
        if not self.readable:
            pen.budget.spend(32 + 8 * len(self.ranges))
            readable = self._choose_readable()
            common = "".join(char for char in readable if char in _ALPHANUMERIC) or readable
            small = "".join(char for char in common if char in _ALPHANUMERIC[:26]) or common
            self.readable = (small, small, common, readable)
        choice = self.readable[pen.roll(4)]
        return choice[pen.roll(len(choice))]

    def _choose_readable(self) -> str:
        readable = "".join(char for char in _PRINTABLE if self.has(char))
        if readable:
            return readable
        # The middle of a range is more telling than its edge (an emoji, a CJK character).
        codes = [(low + high) // 2 for low, high in self.ranges] + [high + 1 for _, high in self.ranges]
        others = [chr(min(code, LAST_CODE)) for code in codes] + list(_SPECIMENS)
        return "".join(char for char in others if self.has(char) and unicodedata.category(char) != "Cs") or "?"

    def spread(self, places: int, scan: Scan, ahead: bool) -> int:
        """Run `x*` in a logarithmic number of steps, because a run of 2k characters is two runs of k."""
        mask, width = scan.mask(self), 1
        while mask:
            scan.spend()
            places |= (places & mask) << width if ahead else (places >> width) & mask
            mask &= mask >> width
            width *= 2
        return places


class Sequence(Node):
    __slots__ = ("parts",)

    def __init__(self, parts: typing.Sequence[Node]) -> None:
        super().__init__(sum(part.least for part in parts), sum(part.most for part in parts))
        self.parts = tuple(parts)

    def run(self, places: int, scan: Scan, ahead: bool) -> int:
        for part in self.parts if ahead else reversed(self.parts):
            if not places:
                break
            places = part.run(places, scan, ahead)
        return places

    def write(self, want: int, pen: Pen) -> str:
        wants = [part.least for part in self.parts]
        slack = max(0, want - sum(wants))
        rooms = sorted((part.most - part.least, place) for place, part in enumerate(self.parts))
        elastic = [(room, place) for room, place in rooms if room]
        for turn, (room, place) in enumerate(elastic):
            share = min(room, -(-slack // (len(elastic) - turn)))
            wants[place] += share
            slack -= share
        return "".join(part.write(wants[place], pen) for place, part in enumerate(self.parts))


class Choice(Node):
    __slots__ = ("options",)

    def __init__(self, options: typing.Sequence[Node]) -> None:
        super().__init__(min(option.least for option in options), max(option.most for option in options))
        self.options = tuple(options)

    def run(self, places: int, scan: Scan, ahead: bool) -> int:
        after = 0
        for option in self.options:
            after |= option.run(places, scan, ahead)
        return after

    def write(self, want: int, pen: Pen) -> str:
        fitting = [option for option in self.options if option.least <= want <= option.most]
        options = fitting or [option for option in self.options if option.least <= want] or self.options
        return options[pen.roll(len(options))].write(want, pen)


class Group(Node):
    """A part whose place in a text is asked for (finding.py): group `number`, which may have a `name`."""

    __slots__ = ("part", "number", "name")

    def __init__(self, part: Node, number: int, name: str) -> None:
        super().__init__(part.least, part.most)
        self.part = part
        self.number = number
        self.name = name

    def run(self, places: int, scan: Scan, ahead: bool) -> int:
        return self.part.run(places, scan, ahead)


class Repeat(Node):
    """A part that is repeated `low` to `high` times, None for any number; a lazy one takes as little as it can."""

    __slots__ = ("part", "low", "high", "is_lazy")

    def __init__(self, part: Node, low: int, high: int | None, is_lazy: bool = False) -> None:
        super().__init__(part.least * low, part.most * (ENDLESS if high is None else high))
        self.is_lazy = is_lazy
        self.part = part
        self.low = low
        self.high = high

    def run(self, places: int, scan: Scan, ahead: bool) -> int:
        for _ in range(self.low):
            after = self.part.run(places, scan, ahead)
            if after in (0, places):  # further rounds change nothing
                places = after
                break
            places = after
        if self.high is None and isinstance(self.part, Chars):
            return self.part.spread(places, scan, ahead)
        return self._run_optional(places, scan, ahead)

    def _run_optional(self, places: int, scan: Scan, ahead: bool) -> int:
        reached, fresh = places, places
        rounds = itertools.count() if self.high is None else range(self.high - self.low)
        for _ in rounds:
            if not fresh:
                break
            scan.spend()
            fresh = self.part.run(fresh, scan, ahead) & ~reached
            reached |= fresh
        return reached

    def write(self, want: int, pen: Pen) -> str:
        if not self.part.most:
            return ""
        count = self._count(want, pen)
        if not count:
            return ""
        share, rest = divmod(want, count)
        return "".join(self.part.write(share + (turn < rest), pen) for turn in range(count))

    def _count(self, want: int, pen: Pen) -> int:
        low = self.low if self.part.least else 0  # empty rounds need not be written
        high = ENDLESS if self.high is None else self.high
        fewest = min(high, max(low, -(-want // self.part.most)))
        most = min(high, want // self.part.least if self.part.least else want)
        return fewest + pen.roll(most - fewest + 1) if fewest < most else fewest


class Edge(Node):
    """An anchor or a word boundary; `kind` is "^", "$", "b" or "B"."""

    __slots__ = ("kind",)

    def __init__(self, kind: str) -> None:
        super().__init__(0, 0)
        self.kind = kind

    def run(self, places: int, scan: Scan, ahead: bool) -> int:
        scan.spend()
        if self.kind == "^":
            return places & 1
        if self.kind == "$":
            return places & (1 << len(scan.text))
        words = scan.mask(_WORD_CHARS)
        borders = words ^ (words << 1)
        return places & borders if self.kind == "b" else places & ~borders

    def write(self, want: int, pen: Pen) -> str:
        return ""


class Look(Node):
    """A look-around: it holds at the places from which its part can be read onwards, or backwards if `behind`."""

    __slots__ = ("part", "behind", "negated")

    def __init__(self, part: Node, behind: bool, negated: bool) -> None:
        super().__init__(0, 0)
        self.part = part
        self.behind = behind
        self.negated = negated

    def run(self, places: int, scan: Scan, ahead: bool) -> int:
        found = scan.masks.get(id(self))
        if found is None:
            found = scan.masks[id(self)] = self.part.run(scan.everywhere, scan, self.behind)
        return places & ~found if self.negated else places & found

    def write(self, want: int, pen: Pen) -> str:
        if self.negated or not pen.writes_looks:
            return ""
        return self.part.write(min(self.part.least, 100), pen)


_WORD_CHARS = Chars(WORD)
