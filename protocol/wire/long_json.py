"""Long JSON texts (RFC 8259), read in steps: the values are those of Python's json, which reads a text in one call.

That call takes seconds for tens of megabytes of `[],` and a gigabyte. Here both are bounded: by the number of values
and how deep they are nested, and by what is read before others have their turn (protocol/budget.py).

Python's json still does most of the work, in pieces of up to 16 kB that one regular expression finds: elements of an
array, or members of an object, which end within the piece and are nested three deep at most. What is larger or deeper
is read value by value. So is the rest of a text once a piece was not as it should be, to say where.

A string is read in windows, each by Python's json, so that escapes and control characters are judged there alone. A
window ends neither within a character, nor within an escape, nor between the two halves of a surrogate pair.
"""

from __future__ import annotations

import json
import re
import sys
import typing

from protocol.budget import spend_turn

#: A hundred thousand messages have fewer values; a body of as many takes 100 MB at most.
MOST_VALUES = 400_000
MOST_DEPTH = 100
#: Of a whole number: what Python reads by itself. It takes the square of them in time.
MOST_DIGITS = 4300
#: Of a string that is not ASCII: what OpenAI takes as a text. Python would copy a longer one for too long.
MOST_CHARACTERS = 10_485_760

# A string, and a value that is nested three deep at most, as far as it ends: what is wrong inside stays unseen. Each
# alternative can match in one way only, so a failed attempt goes back over what it took just once.
STRING_PATTERN = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_FLAT = rb'[^"\[\]{}]*'
_NEST_1 = rb"[\[{]%b(?:%b%b)*[\]}]" % (_FLAT, STRING_PATTERN, _FLAT)
_NEST_2 = rb"[\[{]%b(?:(?:%b|%b)%b)*[\]}]" % (_FLAT, STRING_PATTERN, _NEST_1, _FLAT)
_NEST_3 = rb"[\[{]%b(?:(?:%b|%b)%b)*[\]}]" % (_FLAT, STRING_PATTERN, _NEST_2, _FLAT)
SHALLOW_VALUE_PATTERN = rb"(?:[-+.0-9A-Za-z]+|%b|%b)" % (STRING_PATTERN, _NEST_3)
_SHALLOW_DEPTH = 3

_RUN_BYTES = 16384
# Where pieces are sought in vain, as in what is nested deeply, ever less is looked at; now and then as much as before.
_LEAST_RUN_BYTES = 256
_RUNS_A_LONG_ONE = 32
_ELEMENTS = rb"(?:[ \t\n\r]*%b[ \t\n\r]*,)+" % SHALLOW_VALUE_PATTERN
_MEMBERS = rb"(?:[ \t\n\r]*%b[ \t\n\r]*:[ \t\n\r]*%b[ \t\n\r]*,)+" % (STRING_PATTERN, SHALLOW_VALUE_PATTERN)

_WINDOW_BYTES = 65536
_STEPS_A_VALUE = 15  # that is read by itself, with its name
_STEPS_A_CHARGE = 250
_TOKEN_BYTES = 8192  # no token is longer that is not refused
_SHOWN_CHARACTERS = 20

_SPACE = re.compile(rb"[ \t\n\r]*")
# A mark, a short string without escapes, a number (its whole part, and the rest of it), a literal.
_TOKEN = (
    rb'([{}\[\]:,])|"([^"\\\x00-\x1f]{0,256})"|(-?(?:0|[1-9][0-9]*))((?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)'
    rb"|(true|false|null|NaN|-?Infinity)"
)
_MARK, _SHORT_STRING, _WHOLE, _REST, _LITERAL = 1, 2, 3, 4, 5
_LITERALS = {b"true": True, b"false": False, b"null": None}
_HIGH_SURROGATE = re.compile(rb"\\u[dD][89abAB]..", re.DOTALL)


# What a value takes in memory besides its characters (CPython 3.11), and how many are told of at once.
_VALUE_BYTES = 128
_VALUES_A_COUNT = 100
# The same by the marks of a text: no value has more for each that it is written with.
_MARK_BYTES = 64
_COUNTED_BYTES = 1 << 20  # before others have their turns
#: As many bytes a character has a string in which one is beyond the Basic Multilingual Plane.
WIDE = 4
# How such a character begins in UTF-8 (RFC 3629 §3), and the first half of one that is escaped.
_BEGINS_WIDE = (b"\xf0", b"\xf1", b"\xf2", b"\xf3", b"\xf4")
_ESCAPED_WIDE = re.compile(rb"\\u[dD][89abAB]")

#: Takes how many bytes more there are.
Hold = typing.Callable[[int], object]


class BadJson(ValueError):
    """The text is no JSON, or more than is read."""


def _refuse_constant(name: str) -> None:
    raise BadJson(f"{name} is not a JSON number")


def _finite_float(number: str) -> float:
    """Return a number; BadJson for one that Python takes for infinite, and would write as no JSON at all."""
    value = float(number)
    if value - value != 0.0:
        shown = number if len(number) <= _SHOWN_CHARACTERS else f"{number[:_SHOWN_CHARACTERS]}..."
        raise BadJson(f"the number {shown} is larger than any that is read, which is about 1.8e308")
    return value


def _bounded_int(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError("too many digits")
    return int(digits)


#: Python's json, which knows NaN and Infinity, though RFC 8259 §6 does not. It raises JSONDecodeError, or BadJson, or
#: ValueError for too many digits. The first versions of Python 3.9 and 3.10 have no limit for these and get one here;
#: the others need not call a function for every whole number.
STRICT_JSON = json.JSONDecoder(
    parse_constant=_refuse_constant,
    parse_float=_finite_float,
    parse_int=None if hasattr(sys, "get_int_max_str_digits") else _bounded_int,
)


def parse_long_json(body: bytes, most_values: int = MOST_VALUES, hold: Hold | None = None) -> typing.Any:
    """Return the value of a JSON text; BadJson where it is none, or more than the limits above.

    `hold` is told how many bytes the value takes in memory, as far as they are known, and may raise.
    """
    text = _LongText(body, most_values, hold)
    value = text.value(0)
    text.end()
    return value


class _LongText:
    """A text and the place where its reading is."""

    def __init__(self, body: bytes, most_values: int, hold: Hold | None) -> None:
        self._body = body
        self._most_values = most_values
        self._hold = hold or _hold_nothing
        self._hold(len(body))  # the strings
        self._at = 0
        self._values = self._unheld = self._uncharged = 0
        self._is_sound = True  # so far
        self._run_bytes = _RUN_BYTES  # in which the next piece is sought
        self._sought = 0
        # Compiled with the first long text: every start has this module, and few ever see one.
        self._elements, self._members = re.compile(_ELEMENTS), re.compile(_MEMBERS)
        self._match_token = re.compile(_TOKEN).match
        self._keys: dict[bytes, str] = {}  # one string for all members of a name, as Python's json has it

    def value(self, depth: int) -> typing.Any:
        """Read a value that is within so many others."""
        token = self._token("a value")
        self._count_values(1, _STEPS_A_VALUE)
        if token is None:
            return self._long_string()
        kind = token.lastindex
        if kind == _SHORT_STRING:
            return self._decoded(token[_SHORT_STRING], token.start() + 1)
        if kind == _REST:
            return self._number(token)
        if kind == _LITERAL:
            return self._literal(token)
        if depth >= MOST_DEPTH:
            raise BadJson(f"it is nested more than {MOST_DEPTH} deep")
        if token[0] == b"[":
            return self._array(depth + 1)
        if token[0] == b"{":
            return self._object(depth + 1)
        raise self._unexpected("a value", token.start())

    def end(self) -> None:
        """Make sure that nothing follows."""
        self._skip_space()
        if self._at < len(self._body):
            raise self._unexpected("nothing more", self._at)

    # ---- arrays and objects -------------------------------------------------------------------------------------

    def _array(self, depth: int) -> list[typing.Any]:
        values: list[typing.Any] = []
        if self._comes(b"]"):
            return values
        while True:
            values.extend(self._run(self._elements, "[", "]", depth) or ())
            values.append(self.value(depth))
            if self._mark("',' or ']'", b",]") == b"]":
                return values

    def _object(self, depth: int) -> dict[str, typing.Any]:
        members: dict[str, typing.Any] = {}
        if self._comes(b"}"):
            return members
        while True:
            members.update(self._run(self._members, "{", "}", depth) or ())
            name = self._name()
            self._mark("':'", b":")
            members[name] = self.value(depth)
            if self._mark("',' or '}'", b",}") == b"}":
                return members

    def _run(self, pattern: re.Pattern[bytes], opening: str, closing: str, depth: int) -> typing.Any:
        """Return what the next piece holds and pass over it, its last comma too; None where there is no such piece."""
        if not self._is_sound or depth + _SHALLOW_DEPTH > MOST_DEPTH:
            return None
        self._sought += 1
        size = self._run_bytes if self._sought % _RUNS_A_LONG_ONE else _RUN_BYTES
        run = pattern.match(self._body, self._at, self._at + size)
        if run is None:
            self._uncharged += size // 100
            self._run_bytes = max(_LEAST_RUN_BYTES, size // 2)
            return None
        self._run_bytes = min(_RUN_BYTES, 2 * size)
        piece = run[0]
        try:
            found = STRICT_JSON.decode(f"{opening}{piece[:-1].decode('utf-8')}{closing}")
        except ValueError:
            self._is_sound = False
            return None
        self._at = run.end()
        if is_wide(piece):
            self._hold((WIDE - 1) * len(piece))
        count = _value_count(piece)
        self._count_values(count, count // 2 + len(piece) // 50)
        return found

    def _count_values(self, count: int, steps: int) -> None:
        self._values += count
        self._unheld += count
        self._uncharged += steps
        if self._values > self._most_values:
            raise BadJson(f"it has more than {self._most_values} values, members and elements counted")
        if self._unheld > _VALUES_A_COUNT:
            self._hold(self._unheld * _VALUE_BYTES)
            self._unheld = 0
        if self._uncharged > _STEPS_A_CHARGE:
            spend_turn(self._uncharged)
            self._uncharged = 0

    def _name(self) -> str:
        start = self._at
        token = self._token("a member's name in quotes")
        if token is None:
            return self._long_string()
        if token.lastindex != _SHORT_STRING:
            raise self._unexpected("a member's name in quotes", start)
        name = self._keys.get(token[_SHORT_STRING])
        if name is None:
            name = self._keys[token[_SHORT_STRING]] = self._decoded(token[_SHORT_STRING], token.start() + 1)
        return name

    def _comes(self, mark: bytes) -> bool:
        """Pass over a mark if it is the next that comes."""
        self._skip_space()
        comes = self._body.startswith(mark, self._at)
        if comes:
            self._at += 1
        return comes

    def _mark(self, expected: str, marks: bytes) -> bytes:
        self._skip_space()
        mark = self._body[self._at : self._at + 1]
        if not mark or mark not in marks:
            raise self._unexpected(expected, self._at)
        self._at += 1
        return mark

    # ---- tokens -------------------------------------------------------------------------------------------------

    def _token(self, expected: str) -> re.Match[bytes] | None:
        """Pass over a token and return it; None at a string that is no short one, whose quote is passed over."""
        self._skip_space()
        at = self._at
        token = self._match_token(self._body, at, at + _TOKEN_BYTES)
        if token is not None:
            self._at = token.end()
        elif self._body.startswith(b'"', at):
            self._at = at + 1
        else:
            raise self._unexpected(expected, at)
        return token

    def _skip_space(self) -> None:
        body = self._body
        while body[self._at : self._at + 1] in (b" ", b"\n", b"\r", b"\t"):
            space = _SPACE.match(body, self._at, self._at + _WINDOW_BYTES)
            assert space is not None
            self._at = space.end()
            spend_turn((self._at - space.start()) // 50)

    def _number(self, token: re.Match[bytes]) -> int | float:
        if len(token[0]) > MOST_DIGITS:
            raise BadJson(f"it has a number of more than {MOST_DIGITS} digits at byte {token.start()}")
        return _finite_float(token[0].decode()) if token[_REST] else int(token[0])

    def _literal(self, token: re.Match[bytes]) -> bool | None:
        if token[0] not in _LITERALS:
            raise BadJson(f"{token[0].decode()} is not a JSON number")
        return _LITERALS[token[0]]

    # ---- strings ------------------------------------------------------------------------------------------------

    def _long_string(self) -> str:
        """Read on behind the opening quote."""
        text = ""
        at = self._at
        while True:
            window = self._body[self._at : self._at + _WINDOW_BYTES]
            harmless = window.replace(b"\\\\", b"__").replace(b'\\"', b"__") if b"\\" in window else window
            size = harmless.find(b'"')
            is_last = size >= 0
            if not is_last:
                if len(window) < _WINDOW_BYTES:
                    raise BadJson("a string has no closing quote")
                size = _end_between_characters(window, harmless)
            piece = self._piece(window[:size])
            if len(text) + len(piece) > MOST_CHARACTERS and not (text.isascii() and piece.isascii()):
                raise BadJson(f"it has a string of more than {MOST_CHARACTERS} characters that are not all ASCII")
            text += piece  # in place: nobody else has it
            self._at += size
            spend_turn(size // 100)
            if is_last:
                self._hold(max(0, sys.getsizeof(text) - (self._at - at)))
                self._at += 1
                return text

    def _piece(self, window: bytes) -> str:
        text = self._decoded(window, self._at)
        try:
            piece: str = STRICT_JSON.decode(f'"{text}"')
        except json.JSONDecodeError as exc:
            raise BadJson(f"{exc.msg} in the string at byte {self._at}, character {exc.pos}") from exc
        return piece

    def _decoded(self, data: bytes, at: int) -> str:
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as exc:
            raise BadJson(f"it is not UTF-8 at byte {at + exc.start}") from exc

    def _unexpected(self, expected: str, at: int) -> BadJson:
        came = self._body[at : at + 20]
        return BadJson(f"expected {expected} at byte {at}, but came {str(came)[1:] if came else 'its end'}")


def _hold_nothing(size: int) -> None:
    pass


def is_wide(text: bytes) -> bool:
    """Tell whether a string of a JSON text may have WIDE bytes a character."""
    # Byte by byte, and not by one expression: that took 12 ms for a megabyte of Chinese, this takes 1.
    if not text.isascii() and any(first in text for first in _BEGINS_WIDE):
        return True
    return b"\\u" in text and _ESCAPED_WIDE.search(text) is not None


def value_bytes(text: bytes) -> int:
    """Return how many bytes the value of a JSON text takes in memory, at the most."""
    size = 0
    for at in range(0, len(text), _COUNTED_BYTES):
        piece = text[at : at + _COUNTED_BYTES] if len(text) > _COUNTED_BYTES else text
        count = piece.count
        marks = count(b",") + count(b":") + count(b"[") + count(b"{")
        size += _MARK_BYTES * marks + len(piece) * (WIDE if is_wide(piece) else 1)
        spend_turn(len(piece) // 500)
    return size


class RoomToRead:
    """How many bytes `parse_long_json` will `hold` for a text, at the most, counted while that comes.

    A string of megabytes in which a character is beyond the Basic Multilingual Plane may take more.
    """

    __slots__ = ("_values", "size")

    def __init__(self) -> None:
        self._values = 0
        self.size = 0

    def add(self, piece: bytes) -> None:
        """Count the next piece of the text."""
        marks = piece.count(b",") + piece.count(b"[") + piece.count(b"{")  # within strings, too
        values = min(marks, MOST_VALUES - self._values)
        self._values += values
        self.size += len(piece) * (WIDE if is_wide(piece) else 1) + values * _VALUE_BYTES


def _outside_strings(text: bytes) -> bytes:
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b'"'.join(text.split(b'"')[::2])


def _value_count(piece: bytes) -> int:
    """Count the values of a piece: each has a comma behind it, but for the last in each nest that is not empty."""
    marks = _outside_strings(piece).translate(None, b" \t\n\r")
    count = marks.count
    return count(b",") + count(b"[") + count(b"{") - count(b"[]") - count(b"{}")


_ROUND_UP = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def is_deep(text: bytes) -> bool:
    """Tell whether a text is nested deeper than MOST_DEPTH, if it is JSON at all; for texts of up to a megabyte."""
    brackets = _outside_strings(text).translate(_ROUND_UP, _NO_BRACKETS)
    for _ in range(MOST_DEPTH):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")  # those that are nested deepest
    return bool(brackets)


def _end_between_characters(window: bytes, harmless: bytes) -> int:
    """Return where a window of a string may end; in `harmless` each backslash that is left begins an escape."""
    end = len(window)
    escape = harmless.rfind(b"\\")
    if escape >= end - len("\\uffff"):
        end = escape
        before = end - len("\\uffff")
        if harmless.startswith(b"\\", before) and _HIGH_SURROGATE.match(window, before, end):
            end = before
        return end
    # UTF-8: at most three bytes of a character follow its first (RFC 3629 §3).
    for start in range(end - 1, end - 5, -1):
        if window[start] < 0x80:
            break
        if window[start] >= 0xC0:
            return start
    return end
