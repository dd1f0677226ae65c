"""Read a pattern to a tree of nodes: recursive descent over the grammar of ECMA-262 §22.2.1."""

from __future__ import annotations

from protocol.patterns.character_sets import (
    CATEGORIES,
    CATEGORY_NAMES,
    DIGITS,
    LAST_CODE,
    LINE_ENDS,
    PROPERTIES,
    SPACE,
    WORD,
    complement,
)
from protocol.patterns.nodes import Chars, Choice, Edge, Group, Look, Node, PatternError, Repeat, Sequence

MAX_PATTERN_LENGTH = 4096  # characters of a pattern; the longest of the usual libraries (dates, e-mail) have 500
MAX_PATTERN_NESTING = 40  # groups within groups
_CONTROLS = {"t": "\t", "n": "\n", "v": "\v", "f": "\f", "r": "\r", "0": "\0"}


class PatternReader:
    """Reads one pattern, as lenient as Annex B: a lone `{`, `}` or `]` stands for itself.

    With `keeps_groups` the tree has a Group for each group that captures; to match a text, none is needed.
    """

    __slots__ = ("source", "at", "nesting", "groups", "keeps_groups")

    def __init__(self, source: str, *, keeps_groups: bool = False) -> None:
        if len(source) > MAX_PATTERN_LENGTH:
            raise PatternError(f"has {len(source)} characters; expected at most {MAX_PATTERN_LENGTH}")
        self.source = source
        self.at = 0
        self.nesting = 0
        self.keeps_groups = keeps_groups
        #: The names of the groups that capture, in the order in which they begin; "" for one without a name.
        self.groups: list[str] = []

    def read(self) -> Node:
        """Return the tree; PatternError for what is not in the grammar, or not supported."""
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

    def _choice(self) -> Node:
        options = [self._sequence()]
        while self._take("|"):
            options.append(self._sequence())
        return options[0] if len(options) == 1 else Choice(options)

    def _sequence(self) -> Node:
        parts = []
        while self.at < len(self.source) and self.source[self.at] not in "|)":
            parts.append(self._quantified(self._atom()))
        return parts[0] if len(parts) == 1 else Sequence(parts)

    def _quantified(self, atom: Node) -> Node:
        bounds = self._bounds()
        if bounds is None:
            return atom
        is_lazy = self._take("?")
        if self.source[self.at : self.at + 1] in ("*", "+", "?"):
            raise self._error("nothing to repeat")
        low, high = bounds
        if high is not None and low > high:
            raise self._error(f"numbers out of order in {{{low},{high}}}")
        return Repeat(atom, low, high, is_lazy)

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

    def _atom(self) -> Node:
        char = self._next()
        if char in "^$":
            return Edge(char)
        if char == "(":
            return self._group()
        if char == "[":
            return self._class()
        if char == ".":
            return Chars(LINE_ENDS, negated=True)
        if char == "\\":
            return self._escape()
        if char in "*+?":
            self.at -= 1
            raise self._error("nothing to repeat")
        return _literal(char)

    def _group(self) -> Node:
        self.nesting += 1
        if self.nesting > MAX_PATTERN_NESTING:
            raise self._error(f"more than {MAX_PATTERN_NESTING} groups within groups")
        number, look = len(self.groups), self._group_opening()
        part = self._choice()
        if not self._take(")"):
            raise self._error("missing ')'")
        self.nesting -= 1
        if isinstance(look, tuple):
            return Look(part, *look)
        return part if look is None or not self.keeps_groups else Group(part, number, look)

    def _group_opening(self) -> tuple[bool, bool] | str | None:
        """Return how a look-around looks, the name of a group that captures, or None for any other."""
        if not self._take("?"):
            self.groups.append("")
            return ""
        for token, look in (("=", (False, False)), ("!", (False, True)), ("<=", (True, False)), ("<!", (True, True))):
            if self._take(token):
                return look
        if self._take(":"):
            return None
        if self._take("<") or self._take("P<"):
            end = self.source.find(">", self.at)
            if end <= self.at:
                raise self._error("expected a group name and '>'")
            name = self.source[self.at : end]
            self.at = end + 1
            self.groups.append(name)
            return name
        raise self._error(f"unsupported group '(?{self.source[self.at : self.at + 1]}'")

    def _escape(self) -> Node:
        char = self._next()
        if char in "bB":
            return Edge(char)
        # ECMA-262 has none of these; Python's and Rust's libraries put them into schemas.
        if char in "AZz":
            return Edge("^" if char == "A" else "$")
        if char in "123456789k":
            raise self._error("back-references are not supported")
        return self._set_escape(char) or _literal(self._character_escape(char))

    def _set_escape(self, char: str) -> Chars | None:
        ranges = {"d": DIGITS, "w": WORD, "s": SPACE}.get(char.lower())
        if ranges is not None:
            return Chars(complement(ranges) if char.isupper() else ranges)
        return self._property(char == "P") if char in "pP" else None

    def _property(self, negated: bool) -> Chars:
        end = self.source.find("}", self.at)
        if not self._take("{") or end < 0:
            raise self._error("expected a property such as \\p{L}")
        name = self.source[self.at : end].rpartition("=")[2]
        kind = self.source[self.at : end].rpartition("=")[0]
        short = CATEGORY_NAMES.get(name, name)
        categories = frozenset(category for category in CATEGORIES if category.startswith(short))
        if kind not in ("", "gc", "General_Category") or not (categories or name in PROPERTIES):
            raise self._error(f"unsupported property '{self.source[self.at : end][:40]}'")
        self.at = end + 1
        if name in PROPERTIES:
            ranges = PROPERTIES[name]
            return Chars(complement(ranges) if negated else ranges)
        return Chars((), CATEGORIES - categories if negated else categories)

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
        # A pair of surrogates is one character: `\\uD83D\\uDE00`.
        if 0xD800 <= code < 0xDC00 and self._take("\\u"):
            code = 0x10000 + ((code & 0x3FF) << 10) + (self._hex(4) & 0x3FF)
        return chr(code)

    def _hex(self, digits: int) -> int:
        text = self.source[self.at : self.at + digits]
        valid = len(text) == digits > 0 and all(digit in "0123456789abcdefABCDEF" for digit in text)
        if not valid or int(text, 16) > LAST_CODE:
            raise self._error("expected hexadecimal digits of a code point")
        self.at += digits
        return int(text, 16)

    def _class(self) -> Node:
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
        return Chars(tuple(ranges), frozenset(categories), negated)

    def _take_dash(self) -> bool:
        # A dash right before the end stands for itself.
        return not self.source.startswith("-]", self.at) and self._take("-")

    def _class_range(self, first: str, last: str | Chars) -> Chars:
        if isinstance(last, Chars):  # `[a-\d]` has three members by Annex B
            return Chars(((ord(first), ord(first)), (0x2D, 0x2D), *last.ranges), last.categories)
        if ord(last) < ord(first):
            raise self._error(f"range out of order '{first}-{last}'")
        return Chars(((ord(first), ord(last)),))

    def _class_atom(self) -> str | Chars:
        char = self._next()
        if char != "\\":
            return char
        char = self._next()
        if char == "b":
            return "\b"
        return self._set_escape(char) or self._character_escape(char)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _literal(char: str) -> Chars:
    return Chars(((ord(char), ord(char)),))
