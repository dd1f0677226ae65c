"""Reading of JSON that may not be as the API describes it: with `validate = warn` or `off` a member can be anything.

Each function returns what can be used and passes over the rest, so that a handler need not look at types.
"""

from __future__ import annotations

import typing

from protocol.wire.json_text import JsonObject


def object_of(value: typing.Any) -> JsonObject:
    """Return an object, {} in the place of anything else."""
    return value if type(value) is dict else {}


def objects_of(values: typing.Any) -> list[JsonObject]:
    """Return the objects of an array."""
    return [value for value in values if type(value) is dict] if type(values) is list else []


def strings_of(values: typing.Any) -> list[str]:
    """Return the strings of an array."""
    return [value for value in values if type(value) is str] if type(values) is list else []


def without_nulls(value: typing.Any) -> JsonObject:
    """Return the members of an object that are not null: some clients send null for whatever they leave out."""
    return {name: member for name, member in object_of(value).items() if member is not None}
