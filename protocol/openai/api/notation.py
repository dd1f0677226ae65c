"""The notation in which the OpenAI API is described, and the shapes that it is read into.

A shape says what a JSON value looks like:

    str  int  num  bool  null  any      a value of that kind; `num` is an integer or a decimal
    int 0..20   num -2..2   str ..64    with bounds, both included; of a string, on its length
    time                                seconds since the epoch
    file                                a file part of a form
    "asc"  0  true                      exactly this value
    [str]   [str] 1..4                  an array of such values, with bounds on its length
    map num   map (str) ..16            an object with members of any name and such values; a bound on their number
                                        also bounds their names, to 64 characters
    {id str, name? str}                 an object with these members; those with `?` may be left out
    Batch                               the shape of that name
    "asc" | "desc"                      one or the other

Bounds and names are the API reference's. White space and line ends mean nothing.
"""

from __future__ import annotations

import json
import re
import typing

_NUMBER = r"-?(?:0|[1-9][0-9]{0,17})"  # as JSON has it, and no longer than anything that is bounded
_BOUND = rf"(?:{_NUMBER}(?:\.[0-9]+)?)?"
_TOKEN = re.compile(
    rf'\s*(?:(?P<text>"[^"\\\x00-\x1f]*")|(?P<range>{_BOUND}\.\.{_BOUND})|(?P<number>{_NUMBER})'
    r"|(?P<name>[A-Za-z_]\w*)|(?P<mark>[{}\[\],?|()]))"
)

# How many shapes may be within one another: each takes three of Python's calls, of which there are a thousand at most.
_MOST_DEPTH = 100

#: The kinds of a ScalarShape.
SCALAR_KINDS = frozenset("str int num bool null any time file".split())


class ScalarShape(typing.NamedTuple):
    """A value of one of SCALAR_KINDS, within bounds if there are any; both are included."""

    kind: str
    low: float | None = None
    high: float | None = None


class ChoiceShape(typing.NamedTuple):
    """One of these strings or numbers."""

    values: tuple[typing.Any, ...]


class ListShape(typing.NamedTuple):
    """An array."""

    item: Shape
    low: int = 0
    high: int | None = None


class MapShape(typing.NamedTuple):
    """An object whose members' names are the caller's. `most` bounds their number, and then the names' length too."""

    item: Shape
    most: int | None = None


class Member(typing.NamedTuple):
    """A member of an object."""

    shape: Shape
    required: bool


class ObjectShape(typing.NamedTuple):
    """An object with these members."""

    members: dict[str, Member]


class NamedShape(typing.NamedTuple):
    """The shape that a name stands for."""

    name: str


class UnionShape(typing.NamedTuple):
    """A value that has one of these shapes."""

    variants: tuple[Shape, ...]


Shape = typing.Union[ScalarShape, ChoiceShape, ListShape, MapShape, ObjectShape, NamedShape, UnionShape]


class ShapeError(ValueError):
    """A text that is not in the notation: a mistake in the description, never one of a client."""


class Shapes:
    """Named shapes, each read when it is first asked for: `definitions` maps names to their texts."""

    def __init__(self, definitions: typing.Mapping[str, str]) -> None:
        self._definitions = definitions
        self._read: dict[str, Shape] = {}

    def named(self, name: str) -> Shape:
        """Return the shape that a name stands for, which is not a NamedShape itself; ShapeError for an unknown name."""
        shape = self._read.get(name)
        if shape is None:
            if name not in self._definitions:
                raise ShapeError(f"no shape is called {name!r}")
            shape = self._read[name] = self.followed(read_shape(self._definitions[name]))
        return shape

    def followed(self, shape: Shape) -> Shape:
        """Return the shape that a NamedShape stands for; any other shape as it is."""
        return self.named(shape.name) if type(shape) is NamedShape else shape

    def variants(self, shape: Shape) -> list[Shape]:
        """Return the alternatives of a union, and of the unions within it; any other shape is its only alternative.

        None of them is a NamedShape or a UnionShape.
        """
        shape = self.followed(shape)
        if type(shape) is not UnionShape:
            return [shape]
        return [inner for variant in shape.variants for inner in self.variants(variant)]


def read_shape(text: str) -> Shape:
    """Return the shape that a text describes; ShapeError, with the place, for a text that is not in the notation."""
    shape, end = read_shape_at(text, 0)
    if text[end:].strip():
        raise ShapeError(f"expected the end of the shape, but {text[end : end + 40]!r} follows")
    return shape


def read_shape_at(text: str, start: int) -> tuple[Shape, int]:
    """Return the shape that begins at `start`, and where it ends."""
    reader = _Reader(text, start)
    shape = reader.union()
    return shape, reader.position


class _Reader:
    """Reads by recursive descent. It looks one token ahead."""

    def __init__(self, text: str, start: int) -> None:
        self._text = text
        self.position = start  # the end of the last token that was taken
        self._kind, self._token, self._end = "", "", start
        self._depth = 0
        self._look()

    def union(self) -> Shape:
        variants = [self._single()]
        while self._token == "|":
            self._take()
            variants.append(self._single())
        return _union_of(variants)

    def _single(self) -> Shape:
        if self._depth == _MOST_DEPTH:
            raise self._error(f"no more than {_MOST_DEPTH} shapes within one another", self._token)
        self._depth += 1
        shape = self._whole()
        self._depth -= 1
        return shape

    def _whole(self) -> Shape:
        kind, token = self._kind, self._take()
        if kind in ("text", "number") or token in ("true", "false"):
            return ChoiceShape((json.loads(token),))
        if token == "{":
            return self._object()
        if token == "[":
            item = self.union()
            self._expect("]")
            low, high = self._bounds()
            return ListShape(item, int(low or 0), None if high is None else int(high))
        if token == "(":
            inner = self.union()
            self._expect(")")
            return inner
        if token == "map":
            item = self._single()
            _, most = self._bounds()
            return MapShape(item, None if most is None else int(most))
        if kind != "name":
            raise self._error("a shape", token)
        return ScalarShape(token, *self._bounds()) if token in SCALAR_KINDS else NamedShape(token)

    def _object(self) -> ObjectShape:
        members: dict[str, Member] = {}
        while self._token != "}":
            if self._kind not in ("name", "text"):
                raise self._error("a member's name", self._token)
            name = self._take().strip('"')
            is_optional = self._token == "?"
            if is_optional:
                self._take()
            members[name] = Member(self.union(), not is_optional)
            if self._token == ",":
                self._take()
        self._take()
        return ObjectShape(members)

    def _bounds(self) -> tuple[float | None, float | None]:
        if self._kind != "range":
            return None, None
        low, _, high = self._take().partition("..")
        return (json.loads(low) if low else None), (json.loads(high) if high else None)

    def _expect(self, token: str) -> None:
        if self._token != token:
            raise self._error(repr(token), self._token)
        self._take()

    def _take(self) -> str:
        token = self._token
        self.position = self._end
        self._look()
        return token

    def _look(self) -> None:
        match = _TOKEN.match(self._text, self.position)
        if match is None:
            self._kind, self._token, self._end = "", "", self.position
        else:
            self._kind, self._end = match.lastgroup or "", match.end()
            self._token = match[self._kind]

    def _error(self, expected: str, token: str) -> ShapeError:
        return ShapeError(f"expected {expected}, but got {token!r} at {self._text[: self.position][-60:]!r}")


def _union_of(variants: typing.Sequence[Shape]) -> Shape:
    """Return the union of some shapes; all their choices are joined into one."""
    choices = [value for variant in variants if type(variant) is ChoiceShape for value in variant.values]
    rest = [variant for variant in variants if type(variant) is not ChoiceShape]
    if choices:
        where = min(index for index, variant in enumerate(variants) if type(variant) is ChoiceShape)
        rest.insert(where, ChoiceShape(tuple(choices)))
    return rest[0] if len(rest) == 1 else UnionShape(tuple(rest))
