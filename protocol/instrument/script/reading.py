"""Read JSON that people write by hand: each error is one line that says where, what came and what was expected."""

from __future__ import annotations

import difflib
import json
import typing

from protocol.errors import ApiError, evidence
from protocol.wire.json_text import JsonObject


class ScriptError(ApiError):
    """A script that cannot be: one line."""

    def __init__(self, where: str, message: str) -> None:
        super().__init__(400, f"{where}: {message}" if where else message, code="invalid_script")


def shown(value: object) -> str:
    """Return what came, as an error repeats it: as JSON, cut, without what may be a key."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = type(value).__name__
    return evidence(text, 60)[1:-1]


def read_members(value: object, where: str, known: typing.Collection[str], what: str) -> JsonObject:
    """Return an object that has no members but those that are known; `what` says what was expected, "a rule"."""
    if not isinstance(value, dict):
        raise ScriptError(where, f"expected {what}, which is an object, got {shown(value)}")
    for name in value:
        if name not in known:
            raise ScriptError(where, f"there is no {shown(name)} in {what}; {near(name, known)}")
    return value


def near(name: str, known: typing.Iterable[str]) -> str:
    """Return which known name is near one that is not, or all that there are."""
    names = list(known)
    found = difflib.get_close_matches(str(name)[:100], names, 1)
    return f"did you mean {json.dumps(found[0])}?" if found else f"there are {', '.join(names) or 'none'}"


def read_string(value: object, where: str, *, may_be_empty: bool = False) -> str:
    """Return a string."""
    if not isinstance(value, str) or not (value or may_be_empty):
        raise ScriptError(
            where, f"expected a string{'' if may_be_empty else ' that says something'}, got {shown(value)}"
        )
    return value


def read_whole(value: object, where: str, least: int) -> int:
    """Return a whole number of at least `least`."""
    if type(value) is not int or value < least:
        raise ScriptError(where, f"expected a whole number from {least}, got {shown(value)}")
    return value


def read_switch(value: object, where: str) -> bool:
    """Return true or false."""
    if type(value) is not bool:
        raise ScriptError(where, f"expected true or false, got {shown(value)}")
    return value


def read_list(value: object, where: str, what: str) -> list[typing.Any]:
    """Return a list that is not empty; `what` names its members, "answers"."""
    if not isinstance(value, list) or not value:
        raise ScriptError(where, f"expected a list of {what}, got {shown(value)}")
    return value
