"""The schemas of keys: by the type that a prompt gives, or else what a key of that name usually holds."""

from __future__ import annotations

import typing

from protocol.mock.answer.modest import described_range
from protocol.mock.answer.scalar import name_words, singular

#: JSON's types by their names in languages and prompts.
TYPES = {
    "string": "string", "str": "string", "text": "string", "date": "string", "int": "integer", "integer": "integer",
    "number": "number", "float": "number", "double": "number", "decimal": "number", "bool": "boolean",
    "boolean": "boolean", "true": "boolean", "false": "boolean", "array": "array", "list": "array", "strings": "array",
    "object": "object", "dict": "object", "null": "null", "字符串": "string", "整数": "integer", "数字": "number",
    "flag": "boolean", "布尔": "boolean", "数组": "array", "列表": "array",
}  # fmt: skip
_INTEGERS = frozenset(
    "age count year quantity population number total amount_of id index rank votes stars guests people days hours"
    " minutes seconds nights size length pages words floors calories".split()
)
_NUMBERS = frozenset(
    "price score rating temperature amount cost confidence percentage percent probability height weight distance area"
    " latitude longitude lat lon lng budget salary rate value_of duration balance".split()
)
_FLAGS = frozenset("is has can should was active enabled valid success successful available approved correct".split())
_NO_PLURAL = frozenset("status address class news series analysis business access process is this always".split())


def object_of(properties: dict[str, typing.Any]) -> dict[str, typing.Any]:
    """Return the schema of an object that has just these properties."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def typed_schema(kind: str, name: str) -> dict[str, typing.Any]:
    """Return the schema of a key of one of JSON's types."""
    if kind == "array":
        return {"type": "array", "items": usual_schema(singular(name)), "minItems": 1}
    return {"type": kind}


def usual_schema(name: str) -> dict[str, typing.Any]:
    """Return the schema of what a key of that name usually holds."""
    words = name_words(name).split()
    last = words[-1]
    if words[0] in _FLAGS or last in _FLAGS:
        return {"type": "boolean"}
    if last in _INTEGERS or (words[0] in ("num", "number", "count", "total") and len(words) > 1):
        return {"type": "integer"}
    if last in _NUMBERS:
        return {"type": "number"}
    if len(words) == 1 and singular(last) != last and last not in _NO_PLURAL:
        return {"type": "array", "items": {"type": "string"}, "minItems": 1}
    return {"type": "string"}


def in_range(schema: dict[str, typing.Any], note: str) -> dict[str, typing.Any]:
    """Return the schema of a number with the bounds that a note gives: "float 0-1"."""
    if schema.get("type") not in ("number", "integer"):
        return schema
    told = described_range(note)
    bounds = {"minimum": told.low, "maximum": told.high}
    return {**schema, **{keyword: limit for keyword, limit in bounds.items() if limit is not None}}
