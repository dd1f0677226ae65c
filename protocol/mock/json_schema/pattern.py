"""The regular expressions of JSON Schema's `pattern`: read one, match a text against it, write a text that matches.

JSON Schema (2020-12 validation §6.3.3, core §6.4) takes its dialect from ECMA-262 and searches: nothing is anchored
by itself. The `re` module is not used, for two reasons: its dialect differs (`$` before a final line feed, `\\d` for
all of Unicode), and a hostile pattern can make it backtrack for hours.

Theory of operation. A pattern is read to a tree of nodes. A node maps a *set of positions* in the text to the set
of positions where it may have ended, each set being the bits of one int (bit i is the place before character i).
A sequence is then a chain of such maps, a choice their union, a repetition a loop until no new position appears.
Nothing is tried twice, so the time is bounded by (nodes x length), and look-around is the same map run in the other
direction from everywhere. What this cannot express, back-references, is refused.

Writing goes the other way: every node knows its least and greatest width, a wished length is shared out over the
parts, and what comes out is matched before it is handed on, since look-around only ever forbids.
"""

from __future__ import annotations

import itertools
import typing
import unicodedata

MAX_PATTERN_LENGTH = 4096  # characters of a pattern; the longest of the usual libraries (dates, e-mail) have 500
MAX_PATTERN_NESTING = 40  # groups within groups
MAX_PATTERN_WORK = 200_000  # maps of one set of positions, or alike; about 0.3 s
_TRIES = 160  # texts written before a pattern counts as one that we cannot satisfy
_ENDLESS = 1 << 40  # the width of `x*`: an int, so that sums stay ints
_LAST = 0x10FFFF

_DIGITS = ((0x30, 0x39),)
_WORD = ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))
# ECMA-262 WhiteSpace and LineTerminator.
_SPACE = (
    *((0x09, 0x0D), (0x20, 0x20), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A)),
    *((0x2028, 0x2029), (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000), (0xFEFF, 0xFEFF)),
)
_LINE_ENDS = ((0x0A, 0x0A), (0x0D, 0x0D), (0x2028, 0x2029))
# The blocks of Unicode's emoji-data.txt that hold most pictographs; some rare ones are missing, none is too much.
_FACES = ((0x1F400, 0x1F43E), (0x1F600, 0x1F64F), (0x1F680, 0x1F6C5))
_PICTURES = (
    *((0xA9, 0xA9), (0xAE, 0xAE), (0x203C, 0x203C), (0x2049, 0x2049), (0x2122, 0x2122), (0x2139, 0x2139)),
    *((0x2194, 0x2199), (0x21A9, 0x21AA), (0x231A, 0x231B), (0x23E9, 0x23F3), (0x2600, 0x2604), (0x2614, 0x2615)),
    *((0x2648, 0x2653), (0x2753, 0x2755), (0x2763, 0x2764), (0x2B50, 0x2B50), (0x2B55, 0x2B55)),
    *((0x1F300, 0x1F321), (0x1F324, 0x1F393), (0x1F3A0, 0x1F3F0), (0x1F400, 0x1F4FD), (0x1F4FF, 0x1F53D)),
    *((0x1F5FB, 0x1F64F), (0x1F680, 0x1F6C5), (0x1F90C, 0x1F93A), (0x1F93C, 0x1F945), (0x1F947, 0x1F9FF)),
)
_PICTURE_PARTS = ((0x23, 0x23), (0x2A, 0x2A), (0x30, 0x39), (0x200D, 0x200D), (0x20E3, 0x20E3))
_PICTURE_PARTS += ((0xFE0F, 0xFE0F), (0x1F1E6, 0x1F1FF), (0x1F3FB, 0x1F3FF), (0xE0020, 0xE007F))
# Binary properties that are common enough.
_PROPERTIES: dict[str, tuple[tuple[int, int], ...]] = {
    "Any": ((0, _LAST),),
    "ASCII": ((0, 0x7F),),
    "White_Space": _SPACE,
    "Emoji": (*_PICTURE_PARTS[:3], *_PICTURES, (0x1F1E6, 0x1F1FF), (0x1F3FB, 0x1F3FF)),
    "Emoji_Presentation": _FACES,
    "Extended_Pictographic": _PICTURES,
    "Emoji_Component": _PICTURE_PARTS,
}
_CATEGORIES = frozenset(
    ("Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Cs Co Cn").split()
)
_CATEGORY_NAMES = {
    "Letter": "L",
    "Alphabetic": "L",
    "Uppercase_Letter": "Lu",
    "Uppercase": "Lu",
    "Lowercase_Letter": "Ll",
    "Lowercase": "Ll",
    "Mark": "M",
    "Number": "N",
    "Decimal_Number": "Nd",
    "Punctuation": "P",
    "Symbol": "S",
    "Separator": "Z",
    "Space_Separator": "Zs",
    "Other": "C",
    "Control": "Cc",
}
_CONTROLS = {"t": "\t", "n": "\n", "v": "\v", "f": "\f", "r": "\r", "0": "\0"}
_PLAIN = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_PRINTABLE = _PLAIN + "-_.@ !\"#$%&'()*+,/:;<=>?[\\]^`{|}~"

_Ranges = typing.Tuple[typing.Tuple[int, int], ...]

# A character of every general category that texts have: what is written for \\p{...} where ASCII has none.
_SPECIMENS = "\u00e9\u0416\u01c5\u02b0\u4e2d\u0301\u0903\u20dd\u0665\u2167\u00bd\u203f\u2013"
_SPECIMENS += "\u00ab\u00bb\u2026\u20ac\u00a9\u00a0\u2028\u2029\x01\u200d\ue000\u0378"


class PatternError(ValueError):
    """A pattern that is malformed, uses what is not supported, or costs too much; says where."""


class PatternBudget:
    """What matching and writing may cost together, over as many patterns as share it."""

    __slots__ = ("left",)

    def __init__(self, left: int = MAX_PATTERN_WORK) -> None:
        self.left = left

    def spend(self, cost: int) -> None:
        """Raises PatternError when nothing is left."""
        self.left -= cost
        if self.left < 0:
            raise PatternError("takes too many steps (together with those before it): simplify it")


class Pattern:
    """One regular expression, ready to match and to be written out."""

    __slots__ = ("source", "_tree", "_shapes")

    def __init__(self, source: str) -> None:
        """Read `source`. Raises PatternError."""
        self.source = source
        self._tree = _Reader(source).read()
        options = self._tree.options if isinstance(self._tree, _Choice) else (self._tree,)
        self._shapes = tuple(_Shape(option) for option in options)

    def matches(self, text: str, budget: PatternBudget | None = None) -> bool:
        """Say whether the pattern is found anywhere in `text`. Raises PatternError when that costs too much."""
        scan = _Scan(text, budget or PatternBudget())
        scan.budget.spend(8)
        return self._tree.run(scan.everywhere, scan, True) != 0

    def examples(self, low: int, high: int, turn: int = 0, budget: PatternBudget | None = None) -> typing.Iterator[str]:
        """Yield texts of `low` to `high` characters that match; none when none was found in a bounded number of tries.

        The same arguments give the same texts; another `turn` begins with other ones. Raises PatternError when that
        costs more than the budget.
        """
        budget = budget or PatternBudget()
        for attempt in range(_TRIES):
            pen = _Pen(turn * _TRIES + attempt, budget)
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


class _Scan:
    """One text under a match: its length, where each character set holds, and the work done so far."""

    __slots__ = ("text", "everywhere", "masks", "cost", "budget")

    def __init__(self, text: str, budget: PatternBudget) -> None:
        self.text = text
        self.everywhere = (1 << (len(text) + 1)) - 1
        self.masks: dict[int, int] = {}  # by the id of a node, which the pattern keeps alive
        self.cost = 1 + len(text) // 4096
        self.budget = budget

    def spend(self) -> None:
        self.budget.spend(self.cost)

    def mask(self, chars: _Chars) -> int:
        """The places right before a character of the set."""
        mask = self.masks.get(id(chars))
        if mask is None:
            characters = set(self.text)
            self.budget.spend((len(self.text) + len(characters) * len(chars.ranges)) // 16)
            held = {char: "1" if chars.has(char) else "0" for char in characters}
            mask = int("".join([held[char] for char in reversed(self.text)]) or "0", 2)
            self.masks[id(chars)] = mask
        return mask


class _Pen:
    """A small generator of pseudo-random numbers (Knuth's MMIX constants): `random` would cost start-up time."""

    __slots__ = ("state", "writes_looks", "budget")

    def __init__(self, seed: int, budget: PatternBudget) -> None:
        self.budget = budget
        self.state = (seed + 1) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
        # A look writes nothing of its own. But what it looks for must come from somewhere: every other text has it.
        self.writes_looks = bool(seed & 1)

    def roll(self, sides: int) -> int:
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
        return (self.state >> 33) % sides


class _Shape:
    """One top-level alternative as it is written: with room before and after where it has no anchor."""

    __slots__ = ("core", "before", "after", "least", "most")

    def __init__(self, core: _Node) -> None:
        self.core = core
        self.before = not _is_anchored(core, "^")
        self.after = not _is_anchored(core, "$")
        self.least = core.least
        self.most = _ENDLESS if self.before or self.after else core.most

    def longest(self, shortest: int, attempt: int) -> int:
        """The length to stop at: a few characters of choice at first, later more, and room around the core."""
        if attempt < 20:
            return max(shortest, min(self.core.most, shortest + 6))
        return min(self.most, shortest + attempt)

    def write(self, want: int, pen: _Pen) -> str:
        text = self.core.write(want, pen)
        missing = want - len(text)
        if missing < 0:  # what a look-ahead wrote comes on top
            return self.core.write(max(0, want + missing), pen)
        if missing <= 0 or not (self.before or self.after):
            return text
        # Apart from its neighbours by a blank where it may look for a word boundary.
        filling = "".join(_PLAIN[pen.roll(26)] for _ in range(missing - 1))
        blank = " " if pen.roll(2) else "a"
        return text + blank + filling if self.after else filling + blank + text


def _is_anchored(node: _Node, edge: str) -> bool:
    if isinstance(node, _Edge):
        return node.kind == edge
    if isinstance(node, _Choice):
        return all(_is_anchored(option, edge) for option in node.options)
    if isinstance(node, _Sequence):
        solid = [part for part in node.parts if not isinstance(part, _Look)]
        return bool(solid) and _is_anchored(solid[0 if edge == "^" else -1], edge)
    return isinstance(node, _Repeat) and node.low > 0 and _is_anchored(node.part, edge)


# ---- nodes


class _Node:
    """A part of a pattern; `least` and `most` are the widths in characters that it can take."""

    __slots__ = ("least", "most")

    def __init__(self, least: int, most: int) -> None:
        self.least = min(least, _ENDLESS)
        self.most = min(most, _ENDLESS)

    def run(self, places: int, scan: _Scan, ahead: bool) -> int:
        """From which places (bits) to which; backwards, from its ends to its beginnings, unless `ahead`."""
        raise NotImplementedError

    def write(self, want: int, pen: _Pen) -> str:
        """A text of this part, `want` characters long as far as that is possible."""
        raise NotImplementedError


class _Chars(_Node):
    """One character out of a set: ranges of code points and Unicode general categories, or all but those."""

    __slots__ = ("ranges", "categories", "negated", "readable")

    def __init__(self, ranges: _Ranges, categories: frozenset[str] = frozenset(), negated: bool = False) -> None:
        super().__init__(1, 1)
        self.ranges = ranges
        self.categories = categories
        self.negated = negated
        self.readable: tuple[str, ...] = ()  # found at the first use: most sets are never written

    def has(self, char: str) -> bool:
        code = ord(char)
        found = any(low <= code <= high for low, high in self.ranges)
        if not found and self.categories:
            found = unicodedata.category(char) in self.categories
        return found != self.negated

    def run(self, places: int, scan: _Scan, ahead: bool) -> int:
        scan.spend()
        mask = scan.mask(self)
        return (places & mask) << 1 if ahead else (places >> 1) & mask

    def write(self, want: int, pen: _Pen) -> str:
        if not self.readable:
            pen.budget.spend(32 + 8 * len(self.ranges))
            readable = self._choose_readable()
            plain = "".join(char for char in readable if char in _PLAIN) or readable
            small = "".join(char for char in plain if char in _PLAIN[:26]) or plain
            self.readable = (small, small, plain, readable)
        choice = self.readable[pen.roll(4)]
        return choice[pen.roll(len(choice))]

    def _choose_readable(self) -> str:
        readable = "".join(char for char in _PRINTABLE if self.has(char))
        if readable:
            return readable
        # The middle of a range is more telling than its edge (an emoji, a CJK character).
        codes = [(low + high) // 2 for low, high in self.ranges] + [high + 1 for _, high in self.ranges]
        others = [chr(min(code, _LAST)) for code in codes] + list(_SPECIMENS)
        return "".join(char for char in others if self.has(char) and unicodedata.category(char) != "Cs") or "?"

    def spread(self, places: int, scan: _Scan, ahead: bool) -> int:
        """`x*` in a logarithmic number of steps: a run of 2k characters is two runs of k."""
        mask, width = scan.mask(self), 1
        while mask:
            scan.spend()
            places |= (places & mask) << width if ahead else (places >> width) & mask
            mask &= mask >> width
            width *= 2
        return places


class _Sequence(_Node):
    __slots__ = ("parts",)

    def __init__(self, parts: typing.Sequence[_Node]) -> None:
        super().__init__(sum(part.least for part in parts), sum(part.most for part in parts))
        self.parts = tuple(parts)

    def run(self, places: int, scan: _Scan, ahead: bool) -> int:
        for part in self.parts if ahead else reversed(self.parts):
            if not places:
                break
            places = part.run(places, scan, ahead)
        return places

    def write(self, want: int, pen: _Pen) -> str:
        wants = [part.least for part in self.parts]
        slack = max(0, want - sum(wants))
        rooms = sorted((part.most - part.least, place) for place, part in enumerate(self.parts))
        elastic = [(room, place) for room, place in rooms if room]
        for turn, (room, place) in enumerate(elastic):
            share = min(room, -(-slack // (len(elastic) - turn)))
            wants[place] += share
            slack -= share
        return "".join(part.write(wants[place], pen) for place, part in enumerate(self.parts))


class _Choice(_Node):
    __slots__ = ("options",)

    def __init__(self, options: typing.Sequence[_Node]) -> None:
        super().__init__(min(option.least for option in options), max(option.most for option in options))
        self.options = tuple(options)

    def run(self, places: int, scan: _Scan, ahead: bool) -> int:
        after = 0
        for option in self.options:
            after |= option.run(places, scan, ahead)
        return after

    def write(self, want: int, pen: _Pen) -> str:
        fitting = [option for option in self.options if option.least <= want <= option.most]
        options = fitting or [option for option in self.options if option.least <= want] or self.options
        return options[pen.roll(len(options))].write(want, pen)


class _Repeat(_Node):
    __slots__ = ("part", "low", "high")

    def __init__(self, part: _Node, low: int, high: int | None) -> None:
        super().__init__(part.least * low, part.most * (_ENDLESS if high is None else high))
        self.part = part
        self.low = low
        self.high = high

    def run(self, places: int, scan: _Scan, ahead: bool) -> int:
        for _ in range(self.low):
            after = self.part.run(places, scan, ahead)
            if after in (0, places):  # it cannot change any more
                places = after
                break
            places = after
        if self.high is None and isinstance(self.part, _Chars):
            return self.part.spread(places, scan, ahead)
        return self._run_optional(places, scan, ahead)

    def _run_optional(self, places: int, scan: _Scan, ahead: bool) -> int:
        reached, fresh = places, places
        rounds = itertools.count() if self.high is None else range(self.high - self.low)
        for _ in rounds:
            if not fresh:
                break
            scan.spend()
            fresh = self.part.run(fresh, scan, ahead) & ~reached
            reached |= fresh
        return reached

    def write(self, want: int, pen: _Pen) -> str:
        if not self.part.most:
            return ""
        count = self._count(want, pen)
        if not count:
            return ""
        share, rest = divmod(want, count)
        return "".join(self.part.write(share + (turn < rest), pen) for turn in range(count))

    def _count(self, want: int, pen: _Pen) -> int:
        low = self.low if self.part.least else 0  # rounds of nothing need not be written
        high = _ENDLESS if self.high is None else self.high
        fewest = min(high, max(low, -(-want // self.part.most)))
        most = min(high, want // self.part.least if self.part.least else want)
        return fewest + pen.roll(most - fewest + 1) if fewest < most else fewest


class _Edge(_Node):
    """`^`, `$`, `\\b` (kind "b") or `\\B`: a place, not a character."""

    __slots__ = ("kind",)

    def __init__(self, kind: str) -> None:
        super().__init__(0, 0)
        self.kind = kind

    def run(self, places: int, scan: _Scan, ahead: bool) -> int:
        scan.spend()
        if self.kind == "^":
            return places & 1
        if self.kind == "$":
            return places & (1 << len(scan.text))
        words = scan.mask(_WORD_CHARS)
        borders = words ^ (words << 1)
        return places & borders if self.kind == "b" else places & ~borders

    def write(self, want: int, pen: _Pen) -> str:
        return ""


class _Look(_Node):
    """A look ahead or behind: the places from which its part can be read on, or back."""

    __slots__ = ("part", "behind", "negated")

    def __init__(self, part: _Node, behind: bool, negated: bool) -> None:
        super().__init__(0, 0)
        self.part = part
        self.behind = behind
        self.negated = negated

    def run(self, places: int, scan: _Scan, ahead: bool) -> int:
        found = scan.masks.get(id(self))
        if found is None:
            found = scan.masks[id(self)] = self.part.run(scan.everywhere, scan, self.behind)
        return places & ~found if self.negated else places & found

    def write(self, want: int, pen: _Pen) -> str:
        if self.negated or not pen.writes_looks:
            return ""
        return self.part.write(min(self.part.least, 100), pen)


_WORD_CHARS = _Chars(_WORD)


# ---- reader


class _Reader:
    """Recursive descent over ECMA-262 §22.2.1, lenient as its Annex B: a lone `{`, `}` or `]` is itself."""

    __slots__ = ("source", "at", "nesting")

    def __init__(self, source: str) -> None:
        if len(source) > MAX_PATTERN_LENGTH:
            raise PatternError(f"has {len(source)} characters; expected at most {MAX_PATTERN_LENGTH}")
        self.source = source
        self.at = 0
        self.nesting = 0

    def read(self) -> _Node:
        tree = self._choice()
        if self.at < len(self.source):
            raise self._error("unmatched ')'")
        return tree

    def _error(self, reason: str) -> PatternError:
        return PatternError(f"{reason} at character {self.at}")

    def _take(self, token: str) -> bool:
        taken = self.source.startswith(token, self.at)
        if taken:
            self.at += len(token)
        return taken

    def _next(self) -> str:
        if self.at >= len(self.source):
            raise self._error("the pattern ends too early")
        self.at += 1
        return self.source[self.at - 1]

    def _choice(self) -> _Node:
        options = [self._sequence()]
        while self._take("|"):
            options.append(self._sequence())
        return options[0] if len(options) == 1 else _Choice(options)

    def _sequence(self) -> _Node:
        parts = []
        while self.at < len(self.source) and self.source[self.at] not in "|)":
            parts.append(self._quantified(self._atom()))
        return parts[0] if len(parts) == 1 else _Sequence(parts)

    def _quantified(self, atom: _Node) -> _Node:
        bounds = self._bounds()
        if bounds is None:
            return atom
        self._take("?")  # lazy: the same texts match
        if self.source[self.at : self.at + 1] in ("*", "+", "?"):
            raise self._error("nothing to repeat")
        low, high = bounds
        if high is not None and low > high:
            raise self._error(f"numbers out of order in {{{low},{high}}}")
        return _Repeat(atom, low, high)

    def _bounds(self) -> tuple[int, int | None] | None:
        for token, bounds in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._take(token):
                return bounds
        end = self.source.find("}", self.at, self.at + 24)
        if not self.source.startswith("{", self.at) or end < 0:
            return None
        low, comma, high = self.source[self.at + 1 : end].partition(",")
        if not _is_number(low) or not (high == "" or _is_number(high)):
            return None
        self.at = end + 1
        if not comma:
            return int(low), int(low)
        return int(low), int(high) if high else None

    def _atom(self) -> _Node:
        char = self._next()
        if char in "^$":
            return _Edge(char)
        if char == "(":
            return self._group()
        if char == "[":
            return self._class()
        if char == ".":
            return _Chars(_LINE_ENDS, negated=True)
        if char == "\\":
            return self._escape()
        if char in "*+?":
            self.at -= 1
            raise self._error("nothing to repeat")
        return _literal(char)

    def _group(self) -> _Node:
        self.nesting += 1
        if self.nesting > MAX_PATTERN_NESTING:
            raise self._error(f"more than {MAX_PATTERN_NESTING} groups within groups")
        look = self._group_opening()
        part = self._choice()
        if not self._take(")"):
            raise self._error("missing ')'")
        self.nesting -= 1
        return part if look is None else _Look(part, *look)

    def _group_opening(self) -> tuple[bool, bool] | None:
        if not self._take("?"):
            return None
        for token, look in (("=", (False, False)), ("!", (False, True)), ("<=", (True, False)), ("<!", (True, True))):
            if self._take(token):
                return look
        if self._take(":"):
            return None
        if self._take("<") or self._take("P<"):
            end = self.source.find(">", self.at)
            if end <= self.at:
                raise self._error("expected a group name and '>'")
            self.at = end + 1
            return None
        raise self._error(f"unsupported group '(?{self.source[self.at : self.at + 1]}'")

    def _escape(self) -> _Node:
        char = self._next()
        if char in "bB":
            return _Edge(char)
        # Not ECMA-262, but what Python and Rust libraries put into their schemas.
        if char in "AZz":
            return _Edge("^" if char == "A" else "$")
        if char in "123456789k":
            raise self._error("back-references are not supported")
        return self._set_escape(char) or _literal(self._character_escape(char))

    def _set_escape(self, char: str) -> _Chars | None:
        ranges = {"d": _DIGITS, "w": _WORD, "s": _SPACE}.get(char.lower())
        if ranges is not None:
            return _Chars(_complement(ranges) if char.isupper() else ranges)
        return self._property(char == "P") if char in "pP" else None

    def _property(self, negated: bool) -> _Chars:
        end = self.source.find("}", self.at)
        if not self._take("{") or end < 0:
            raise self._error("expected a property such as \\p{L}")
        name = self.source[self.at : end].rpartition("=")[2]
        kind = self.source[self.at : end].rpartition("=")[0]
        short = _CATEGORY_NAMES.get(name, name)
        categories = frozenset(category for category in _CATEGORIES if category.startswith(short))
        if kind not in ("", "gc", "General_Category") or not (categories or name in _PROPERTIES):
            raise self._error(f"unsupported property '{self.source[self.at : end][:40]}'")
        self.at = end + 1
        if name in _PROPERTIES:
            ranges = _PROPERTIES[name]
            return _Chars(_complement(ranges) if negated else ranges)
        return _Chars((), _CATEGORIES - categories if negated else categories)

    def _character_escape(self, char: str) -> str:
        if char in _CONTROLS:
            return _CONTROLS[char]
        if char == "x":
            return chr(self._hex(2))
        if char == "u":
            return self._unicode_escape()
        if char == "c":
            return chr(ord(self._next()) % 32)
        if char.isalnum():
            self.at -= 1
            raise self._error(f"unknown escape '\\{char}'")
        return char

    def _unicode_escape(self) -> str:
        if self._take("{"):
            end = self.source.find("}", self.at, self.at + 9)
            code = self._hex(max(0, end - self.at))
            self.at += 1
            return chr(code)
        code = self._hex(4)
        # A pair of surrogates is one character; `\\uD83D\\uDE00`.
        if 0xD800 <= code < 0xDC00 and self._take("\\u"):
            code = 0x10000 + ((code & 0x3FF) << 10) + (self._hex(4) & 0x3FF)
        return chr(code)

    def _hex(self, digits: int) -> int:
        text = self.source[self.at : self.at + digits]
        valid = len(text) == digits > 0 and all(digit in "0123456789abcdefABCDEF" for digit in text)
        if not valid or int(text, 16) > _LAST:
            raise self._error("expected hexadecimal digits of a code point")
        self.at += digits
        return int(text, 16)

    def _class(self) -> _Node:
        negated = self._take("^")
        ranges: list[tuple[int, int]] = []
        categories: set[str] = set()
        while not self._take("]"):
            first = self._class_atom()
            if isinstance(first, str) and self._take_dash():
                first = self._class_range(first, self._class_atom())
            if isinstance(first, str):
                ranges.append((ord(first), ord(first)))
            else:
                ranges.extend(first.ranges)
                categories.update(first.categories)
        return _Chars(tuple(ranges), frozenset(categories), negated)

    def _take_dash(self) -> bool:
        # A dash right before the end is itself.
        return not self.source.startswith("-]", self.at) and self._take("-")

    def _class_range(self, first: str, last: str | _Chars) -> _Chars:
        if isinstance(last, _Chars):  # `[a-\d]`: Annex B reads three members
            return _Chars(((ord(first), ord(first)), (0x2D, 0x2D), *last.ranges), last.categories)
        if ord(last) < ord(first):
            raise self._error(f"range out of order '{first}-{last}'")
        return _Chars(((ord(first), ord(last)),))

    def _class_atom(self) -> str | _Chars:
        char = self._next()
        if char != "\\":
            return char
        char = self._next()
        if char == "b":
            return "\b"
        return self._set_escape(char) or self._character_escape(char)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _literal(char: str) -> _Chars:
    return _Chars(((ord(char), ord(char)),))


def _complement(ranges: _Ranges) -> _Ranges:
    outside = []
    start = 0
    for low, high in sorted(ranges):
        if start < low:
            outside.append((start, low - 1))
        start = max(start, high + 1)
    if start <= _LAST:
        outside.append((start, _LAST))
    return tuple(outside)
