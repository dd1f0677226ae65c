"""Parameters that come as text, in a query or a form, read as the values that a shape describes.

OpenAI's clients write names with brackets: `include[]=a` is a member of an array, `filter[type]=x` and
`expires_after[seconds]=60` are members of an object. A text that its shape cannot be read from stays a text: the check
that follows says what is wrong with it.
"""

from __future__ import annotations

import json
import re
import typing
import urllib.parse

from protocol.errors import ApiError
from protocol.openai.api.checks import Conformity
from protocol.openai.api.notation import (
    ChoiceShape,
    ListShape,
    MapShape,
    NamedShape,
    ObjectShape,
    ScalarShape,
    Shape,
    Shapes,
    UnionShape,
)
from protocol.wire.json_text import parse_json
from protocol.wire.multipart import FormFile

_BRACKETED = re.compile(r"([^\[\]]*)((?:\[[^\[\]]*\])*)")
_DEEPEST_BRACKETS = 8
_MOST_PARAMETERS = 1000

Text = typing.Union[str, FormFile]


def query_parameters(query: str) -> list[tuple[str, Text]]:
    """Return a query's parameters, decoded; ApiError 400 when there are more than a thousand."""
    try:
        return list(urllib.parse.parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS))
    except ValueError as exc:
        raise ApiError(400, f"The query must have at most {_MOST_PARAMETERS} parameters.") from exc


def nested(parameters: typing.Iterable[tuple[str, Text]]) -> dict[str, typing.Any]:
    """Return the objects and arrays that bracketed names describe; every leaf is a text or a file.

    ApiError 400 for a name with other brackets, or with more than 8 of them.
    """
    root: dict[str, typing.Any] = {}
    for name, text in parameters:
        match = _BRACKETED.fullmatch(name)
        steps = re.findall(r"\[([^\[\]]*)\]", match[2]) if match else []
        if match is None or len(steps) > _DEEPEST_BRACKETS:
            raise ApiError(400, f"Unknown parameter: '{name[:100]}'.", param=name[:100], code="unknown_parameter")
        _place(root, [match[1], *steps], text)
    return root


def _place(parent: dict[str, typing.Any], steps: list[str], text: Text) -> None:
    """Put a text where its steps lead. An empty step leads into an array; so does a name that comes again."""
    name, *rest = steps
    if not rest:
        there = parent.get(name)
        if there is None:
            parent[name] = text
        elif type(there) is list:
            there.append(text)
        else:
            parent[name] = [there, text]
        return
    if rest[0] == "" or rest[0].isdigit():
        members = parent.setdefault(name, [])
        if type(members) is list:
            _place_in_array(members, rest[1:], text)
        return
    child = parent.setdefault(name, {})
    if type(child) is dict:
        _place(child, rest, text)


def _place_in_array(members: list[typing.Any], steps: list[str], text: Text) -> None:
    if not steps:
        members.append(text)
        return
    # `tools[][type]=a&tools[][type]=b`: a name that the last member has begins the next one.
    if not members or type(members[-1]) is not dict or (len(steps) == 1 and steps[0] in members[-1]):
        members.append({})
    _place(members[-1], steps, text)


class TextReader:
    """Turns texts into the values that shapes ask for."""

    def __init__(self, shapes: Shapes, conformity: Conformity) -> None:
        self._shapes = shapes
        self._conformity = conformity

    def value(self, shape: Shape, raw: typing.Any) -> typing.Any:
        """Return the value of a shape that nested texts stand for; what cannot be read so stays as it is."""
        return _TEXT_READERS[type(shape)](self, shape, raw)

    def _named(self, shape: NamedShape, raw: typing.Any) -> typing.Any:
        return self.value(self._shapes.named(shape.name), raw)

    def _scalar(self, shape: ScalarShape, raw: typing.Any) -> typing.Any:
        if type(raw) is not str:
            return raw
        if shape.kind in ("int", "time") and re.fullmatch(r"-?\d{1,19}", raw):
            return int(raw)
        if shape.kind == "num" and re.fullmatch(r"-?\d{1,19}(?:\.\d{1,19})?(?:[eE][+-]?\d{1,2})?", raw):
            return json.loads(raw) if not re.match(r"-?0\d", raw) else float(raw)
        if shape.kind == "bool" and raw in ("true", "false"):
            return raw == "true"
        return raw

    def _choice(self, shape: ChoiceShape, raw: typing.Any) -> typing.Any:
        for value in shape.values:
            if str(value) == raw:
                return value
        return raw

    def _list(self, shape: ListShape, raw: typing.Any) -> typing.Any:
        raw = _from_json(raw)
        members = raw if type(raw) is list else [raw]
        return [self.value(shape.item, member) for member in members]

    def _map(self, shape: MapShape, raw: typing.Any) -> typing.Any:
        raw = _from_json(raw)
        if type(raw) is not dict:
            return raw
        return {name: self.value(shape.item, member) for name, member in raw.items()}

    def _object(self, shape: ObjectShape, raw: typing.Any) -> typing.Any:
        raw = _from_json(raw)
        if type(raw) is not dict:
            return raw
        members = shape.members
        return {
            name: self.value(members[name].shape, member) if name in members else member for name, member in raw.items()
        }

    def _union(self, shape: UnionShape, raw: typing.Any) -> typing.Any:
        for variant in self._shapes.variants(shape):
            value = self.value(variant, raw)
            if self._conformity.conforms(variant, value):
                return value
        return raw


_TEXT_READERS: dict[type, typing.Callable[[TextReader, typing.Any, typing.Any], typing.Any]] = {
    ScalarShape: TextReader._scalar,
    ChoiceShape: TextReader._choice,
    ListShape: TextReader._list,
    MapShape: TextReader._map,
    ObjectShape: TextReader._object,
    NamedShape: TextReader._named,
    UnionShape: TextReader._union,
}


def _from_json(raw: typing.Any) -> typing.Any:
    """Return the value of a text that is a JSON object or array: some clients send these within a form."""
    if type(raw) is str and raw[:1] in ("{", "["):
        try:
            return parse_json(raw.encode("utf-8", "surrogatepass"))
        except ApiError:
            return raw
    return raw
