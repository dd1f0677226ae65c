"""Heads that come again, whole or line by line: most of what a head says has been said before."""

from __future__ import annotations

import typing

from protocol.wire.credentials import is_secret_field
from protocol.wire.http1.forms import (
    REMEMBERED_HEAD_BYTES,
    REMEMBERED_KINDS,
    HeadForm,
    HeadsByLength,
    LengthForm,
    short_length,
)
from protocol.wire.http1.grammar import FIELD_NAME, FIELD_VALUE_BYTES
from protocol.wire.http1.messages import RequestHead, ResponseHead

_REMEMBERED_LINES = 1024
# Of each name; else a field whose value is always new would take the place of all others.
_REMEMBERED_VALUES = 128
_REMEMBERED_NAMES = 256
# How many heads of a family are compared for its form, and how many values that may have which are new each time.
_LOOKS = 8
_MOST_VALUES = 8

_is_field_name = FIELD_NAME.fullmatch

#: What stands for the bytes of a head where none is known yet: `startswith(())` is False whatever came.
NO_BYTES: tuple[bytes, ...] = ()

# Fields that tell what the message is.
_TELLING = frozenset((b"host", b"connection", b"upgrade", b"expect", b"transfer-encoding"))

# What stands for the line with the length of a short body: no field's name.
_SHORT_LENGTH = b":"
_AFTER_LENGTH_NAME = len(b"content-length:")

# By these a session is known.
_COOKIES = (b"cookie", b"set-cookie", b"set-cookie2")

AnyHead = typing.TypeVar("AnyHead", RequestHead, ResponseHead)


def _no_facts() -> None:
    """Make the facts of a head about which nobody keeps any."""


class _Name:
    """What is known of the fields of one name: what stands for a line, and how many more lines are remembered.

    `mark` is what stands for a line whose value tells nothing: the name in lower case. It is None where each line
    stands for itself. `is_kept` says that lines are remembered at all, `is_key` that a value tells who calls and
    nothing else.
    """

    __slots__ = ("is_kept", "is_key", "is_length", "mark", "room")

    def __init__(self, mark: bytes | None, is_kept: bool, is_key: bool, is_length: bool) -> None:
        self.mark = mark
        self.is_kept = is_kept
        self.is_key = is_key
        self.room = _REMEMBERED_VALUES if is_kept else 0
        self.is_length = is_length


class _Family(typing.Generic[AnyHead]):
    """Kinds whose heads differ in a key alone, and the form in which they come.

    The form is worked out by comparing the first heads, and the first one of each further kind: `lines` are those of
    the last one that was compared, b"" in the place of what is not to be kept; `places` are where values differed,
    `keys` where keys are.
    """

    __slots__ = ("form", "keys", "lines", "looks", "places")

    def __init__(self, lines: list[bytes], keys: frozenset[int]) -> None:
        self.lines = lines
        self.keys = keys
        self.looks = _LOOKS
        self.places: set[int] = set()
        self.form: HeadForm[AnyHead] | LengthForm[AnyHead] | None = None

    def compare(
        self,
        head: AnyHead,
        lines: list[bytes],
        marks: list[bytes | None],
        kept: list[bytes],
        heads: HeadsByLength[AnyHead],
    ) -> None:
        """Work the form out from one more head, of the kind of `head`.

        `marks` stand for its lines, `kept` are what to keep of them.
        """
        self.looks = max(0, self.looks - 1)
        places = {number for number, (line, other) in enumerate(zip(lines, self.lines)) if line != other}
        self.lines = kept
        if not places <= self.places:
            self.places |= places
            # A line that tells something else than a key differs only where it is not kept: its value is the kind's.
            tells = any(lines[number] == marks[number] for number in self.places - self.keys)
            keys = sorted(self.places & self.keys)
            if tells or len(self.places) > _MOST_VALUES or len(keys) > 1:
                self.form = None
            elif self.places == {head.length_at}:
                self.form = LengthForm(head, lines, heads)
            else:
                self.form = HeadForm(head, lines, sorted(self.places), keys[0] if keys else 0)


class _Kind(typing.Generic[AnyHead]):
    """What is known of heads of one kind: one without its lines, and what it has in common with others."""

    __slots__ = ("family", "head")

    def __init__(self, head: AnyHead, family: _Family[AnyHead]) -> None:
        self.head: AnyHead = head
        self.family: _Family[AnyHead] = family


class _HeadMemo(typing.Generic[AnyHead]):
    """What was read last of heads, line by line, what kinds of heads such lines made, and in which forms they came.

    Two heads are of one kind if they have the same fields in the same order, with the same values but for those that
    tell nothing and for the length of a short body. All else that is known of a head is known of its kind, so that one
    with a new traceparent, or a new x-request-id, is read by looking up its lines: 3 µs instead of 20 (CPython 3.11,
    17 lines).

    `telling` are the names of fields by which, besides those of HTTP itself, the layers above decide what they keep
    beside a kind (`facts` of a head), which `make_facts` makes. None lets every field tell.

    Only readers with the same limits may share a memo.
    """

    __slots__ = ("_families", "_heads", "_kinds", "_marks", "_names", "_telling", "latest", "make_facts")

    #: Whether lines are remembered that hold a secret, as far as their names tell.
    keeps_secrets: typing.ClassVar[bool]

    def __init__(
        self,
        make_facts: typing.Callable[[], object] = _no_facts,
        telling: typing.Collection[bytes] | None = None,
    ) -> None:
        self.make_facts = make_facts
        self._telling = None if telling is None else _TELLING.union(telling)
        # By the line, what stands for it in a kind.
        self._marks: dict[bytes, bytes] = {}
        # By the name as it is written.
        self._names: dict[bytes, _Name] = {}
        # By what stands for the lines.
        self._kinds: dict[tuple[bytes | None, ...], _Kind[AnyHead]] = {}
        # By what stands for the lines, but for the values of keys.
        self._families: dict[tuple[bytes | None, ...], _Family[AnyHead]] = {}
        # Heads with their bytes, by their form and the length of a short body, where they differ in that alone.
        self._heads: HeadsByLength[AnyHead] = {}
        #: The bytes of the latest head, and the head; NO_BYTES and None before the first.
        self.latest: tuple[bytes | tuple[bytes, ...], AnyHead | None] = (NO_BYTES, None)

    def find(
        self, data: bytes, at: int
    ) -> tuple[bytes, AnyHead, HeadForm[AnyHead] | LengthForm[AnyHead] | None] | None:
        """Return the head that begins at `at`, with its bytes and its form if there is one, if its kind is known."""
        end = data.find(b"\r\n\r\n", at, at + REMEMBERED_HEAD_BYTES)
        if end < 0:
            return None
        lines = data[at:end].split(b"\r\n")
        marks = list(map(self._marks.get, lines))
        if None in marks:
            if marks[0] is None:
                return None
            self._mark_new(lines, marks)
        kind = self._kinds.get(tuple(marks))
        if kind is None:
            return None
        head, family = kind.head, kind.family
        if family.looks:
            family.compare(head, lines, marks, self._without_secrets(lines), self._heads)
        if family.form is not None:
            family.form.learn(lines, head.facts)
        length_at = head.length_at
        length = int(lines[length_at][_AFTER_LENGTH_NAME:]) if length_at else 0
        came = data[at : end + 4]
        return came, head.with_lines(lines, came, length), family.form

    def keep(self, data: bytes, head: AnyHead) -> tuple[bytes, AnyHead]:
        """Remember a head that was read the ordinary way, unless it is long, and return it with its bytes."""
        known = data, head
        if len(data) <= REMEMBERED_HEAD_BYTES:
            self.latest = known
            lines = data[:-4].split(b"\r\n")
            self._remember(lines[0], lines[0])
            marks = list(map(self._marks.get, lines))
            self._mark_new(lines, marks)
            # Of two lines with the length, one alone must not become another.
            if _SHORT_LENGTH not in marks or sum(map(_is_length_line, lines)) < 2:
                if len(self._kinds) >= REMEMBERED_KINDS:
                    self._kinds.clear()
                    self._families.clear()
                head.length_at = marks.index(_SHORT_LENGTH) if _SHORT_LENGTH in marks else 0
                head.be_remembered(data)
                kind = head.with_lines([], b"", 0)
                family = self._family_of(kind, lines, marks)
                self._kinds[tuple(marks)] = _Kind(kind, family)
                if family.form is not None:
                    family.form.learn(lines, kind.facts)
        return known

    def forget(self) -> None:
        """Let go of all that is remembered."""
        self._marks.clear()
        self._names.clear()
        self._kinds.clear()
        self._families.clear()
        self._heads.clear()
        self.latest = (NO_BYTES, None)

    def _family_of(self, kind: AnyHead, lines: list[bytes], marks: list[bytes | None]) -> _Family[AnyHead]:
        """Return the family of a new kind, one of whose heads has these lines, for which `marks` stand."""
        names = {number: line.partition(b":")[0] for number, line in enumerate(lines) if line == marks[number]}
        keys = {number: name for number, name in names.items() if name in self._names and self._names[name].is_key}
        shared = tuple(keys.get(number, mark) for number, mark in enumerate(marks))
        kept = self._without_secrets(lines)
        known = self._families.get(shared)
        if known is not None:
            known.compare(kind, lines, marks, kept, self._heads)
            return known
        family: _Family[AnyHead] = _Family(kept, frozenset(keys))
        self._families[shared] = family
        return family

    def _mark_new(self, lines: list[bytes], marks: list[bytes | None]) -> None:
        """Put in what stands for the lines that are not known; None stays for one that is no field line."""
        new = [number for number, mark in enumerate(marks) if mark is None]
        # One look at them all. A line's end is in none of them, since the head was split there.
        if b"".join([lines[number] for number in new]).translate(None, FIELD_VALUE_BYTES):
            return
        for number in new:
            line = lines[number]
            written, colon, value = line.partition(b":")
            if not colon:
                continue
            name = self._names.get(written)
            if name is None:
                if not _is_field_name(written):
                    continue
                name = self._learn(written)
            mark = name.mark or line
            if name.is_length:
                if short_length(value):
                    mark = _SHORT_LENGTH
                self._remember(line, mark)
            elif name.room:
                name.room -= 1
                self._remember(line, mark)
            marks[number] = mark

    def _learn(self, written: bytes) -> _Name:
        """Learn a field's name."""
        if len(self._names) >= _REMEMBERED_NAMES:
            self._names.clear()
        text = written.lower()
        is_length = text == b"content-length"
        tells = is_length or self._telling is None or text in self._telling
        is_secret = is_secret_field(text.decode())
        is_kept = self.keeps_secrets or not (text in _COOKIES or is_secret)
        is_key = self.keeps_secrets and is_secret and tells
        name = self._names[written] = _Name(None if tells else text, is_kept, is_key, is_length)
        return name

    def _without_secrets(self, lines: list[bytes]) -> list[bytes]:
        """Return lines with b"" in the place of those that are not to be remembered."""
        if self.keeps_secrets:
            return lines
        kept = [lines[0]]
        for line in lines[1:]:
            name = self._names.get(line.partition(b":")[0])
            kept.append(line if name is not None and name.is_kept else b"")
        return kept

    def _remember(self, line: bytes, mark: bytes) -> None:
        if len(self._marks) >= _REMEMBERED_LINES:
            self._marks.clear()
        self._marks[line] = mark


def _is_length_line(line: bytes) -> bool:
    return line[:_AFTER_LENGTH_NAME].lower() == b"content-length:"


class RequestMemo(_HeadMemo[RequestHead]):
    """What is remembered of requests. There are keys among the lines: `forget` lets go of them."""

    __slots__ = ()

    keeps_secrets = True


class ResponseMemo(_HeadMemo[ResponseHead]):
    """What is remembered of answers, but for the sessions that they begin and whatever else is secret by its name."""

    __slots__ = ()

    keeps_secrets = False
