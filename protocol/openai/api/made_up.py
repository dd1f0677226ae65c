"""Values completed to what a shape asks for: what is known is kept, what is required and missing is made up.

Made-up values are plausible, no more: an id with a fitting prefix, the current time, the first of the allowed values,
an empty list. A member that is neither required nor known is left out.
"""

from __future__ import annotations

import typing

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

#: Stands for a value that is not known.
UNKNOWN = object()

# How an id begins that refers to another thing, by the member's name without its "_id".
_ID_PREFIXES = {
    "assistant": "asst_",
    "response": "resp_",
    "message": "msg_",
    "conversation": "conv_",
    "container": "cntr_",
    "vector_store": "vs_",
    "project": "proj_",
    "organization": "org-",
    "user": "user-",
    "request": "req_",
    "environment": "env_",
    "session": "asess_",
    "session_key": "sesskey_",
}
_TEXTS = {
    "model": "gpt-4o-mini",
    "email": "user@example.com",
    "url": "https://example.com/",
    "currency": "usd",
    "interval": "month",
    "timezone": "UTC",
    "owned_by": "openai",
    "role": "member",
    "type": "default",
}
# Booleans that are true in the answer of something that went well.
_TRUE_MEMBERS = frozenset(["deleted", "enabled", "success", "flagged_ok", "parallel_tool_calls"])
_AN_HOUR_SECONDS = 3600


class Inventor(typing.Protocol):
    """Where made-up ids and times come from."""

    def new_id(self, prefix: str) -> str:
        """Return an id that nothing else has."""

    def now(self) -> int:
        """Return the time to tell, in seconds since the epoch."""


class Completer:
    """Completes values to shapes; `shapes` knows their names."""

    def __init__(self, shapes: Shapes, conformity: Conformity, inventor: Inventor) -> None:
        self._shapes = shapes
        self._conformity = conformity
        self._inventor = inventor

    def complete(self, shape: Shape, value: typing.Any = UNKNOWN, name: str = "") -> typing.Any:
        """Return a value of a shape that keeps all of `value` that fits; `name` is the member that it is for."""
        return _COMPLETIONS[type(shape)](self, shape, value, name)

    def _named(self, shape: NamedShape, value: typing.Any, name: str) -> typing.Any:
        return self.complete(self._shapes.named(shape.name), value, name)

    def _scalar(self, shape: ScalarShape, value: typing.Any, name: str) -> typing.Any:
        if value is not UNKNOWN and self._conformity.conforms(shape, value):
            return value
        kind = shape.kind
        if kind == "str":
            return self._text(name)
        if kind == "time":
            return self._inventor.now() + (_AN_HOUR_SECONDS if name.startswith("expires") else 0)
        if kind in ("int", "num"):
            return max(0, shape.low or 0) if shape.high is None else min(shape.high, max(0, shape.low or 0))
        return name in _TRUE_MEMBERS if kind == "bool" else None

    def _text(self, name: str) -> str:
        if name == "id":
            return self._inventor.new_id("")
        if name.endswith("_id"):
            stem = name[:-3]
            prefix = "file-" if stem.endswith("file") else _ID_PREFIXES.get(stem, f"{stem}_")
            return self._inventor.new_id(prefix)
        if name.endswith("_url"):
            return _TEXTS["url"]
        return _TEXTS.get(name) or f"example {name.replace('_', ' ')}".rstrip()

    def _choice(self, shape: ChoiceShape, value: typing.Any, name: str) -> typing.Any:
        return value if type(value) in (str, int, bool) and value in shape.values else shape.values[0]

    def _list(self, shape: ListShape, value: typing.Any, name: str) -> list[typing.Any]:
        item_name = name[:-1] if name.endswith("s") else name
        if type(value) is list:
            return [self.complete(shape.item, member, item_name) for member in value]
        return [self.complete(shape.item, UNKNOWN, item_name) for _ in range(shape.low)]

    def _map(self, shape: MapShape, value: typing.Any, name: str) -> dict[str, typing.Any]:
        if type(value) is not dict:
            return {}
        return {key: self.complete(shape.item, member, key) for key, member in value.items()}

    def _object(self, shape: ObjectShape, value: typing.Any, name: str) -> dict[str, typing.Any]:
        known = value if type(value) is dict else {}
        completed: dict[str, typing.Any] = {}
        for key, member in shape.members.items():
            known_member = known.get(key, UNKNOWN)
            if known_member is None and not member.required:
                completed[key] = None
            elif known_member is not UNKNOWN or member.required:
                completed[key] = self.complete(member.shape, known_member, key)
        return completed

    def _union(self, shape: UnionShape, value: typing.Any, name: str) -> typing.Any:
        variants = self._shapes.variants(shape)
        if value is UNKNOWN or value is None:
            if ScalarShape("null") in variants or ScalarShape("any") in variants:
                return None
            return self.complete(variants[0], UNKNOWN, name)
        for variant in variants:
            if self._conformity.conforms(variant, value):
                return self.complete(variant, value, name)
        return self.complete(self._nearest(variants, value), value, name)

    def _nearest(self, variants: list[Shape], value: typing.Any) -> Shape:
        """Return the variant that a value was most likely meant for: the one with most members in common."""
        if type(value) is not dict:
            return variants[0]
        objects = [variant for variant in variants if type(variant) is ObjectShape]
        return max(objects or variants, key=lambda variant: self._likeness(variant, value))

    def _likeness(self, shape: Shape, value: dict[str, typing.Any]) -> int:
        if type(shape) is not ObjectShape:
            return 0
        likeness = 0
        for key, member in shape.members.items():
            if key in value:
                wanted = self._shapes.followed(member.shape)
                if type(wanted) is ChoiceShape:  # a tag: it counts for more than any number of members
                    likeness += 100 if value[key] in wanted.values else -100
                else:
                    likeness += 1
        return likeness


_COMPLETIONS: dict[type, typing.Callable[[Completer, typing.Any, typing.Any, str], typing.Any]] = {
    ScalarShape: Completer._scalar,
    ChoiceShape: Completer._choice,
    ListShape: Completer._list,
    MapShape: Completer._map,
    ObjectShape: Completer._object,
    NamedShape: Completer._named,
    UnionShape: Completer._union,
}
