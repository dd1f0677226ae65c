"""Checks of request bodies, made from a description of the parameters, in OpenAI's words.

A check is a function of (value, path) that returns nothing or raises ApiError 400 with `param` and `code` as the API
does (OpenAI API reference, "Error codes"; the words as its SDK users meet them). Checks compose: an object's is made
from its members'. Parameters that are not described pass: clients send more than any list knows.
"""

from __future__ import annotations

import typing

from protocol.errors import ApiError

Check = typing.Callable[[typing.Any, str], None]

_KIND_NAMES = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", int: "an integer", float: "a decimal"}


def _invalid_type(path: str, expected: str, value: typing.Any) -> ApiError:
    got = "null" if value is None else _KIND_NAMES[type(value)] + " instead"
    return ApiError(
        400, f"Invalid type for '{path}': expected {expected}, but got {got}.", param=path, code="invalid_type"
    )


def a_string(*choices: str) -> Check:
    """Check for a string, one of `choices` if there are any."""

    def check(value: typing.Any, path: str) -> None:
        if type(value) is not str:
            raise _invalid_type(path, f"one of {_listed(choices)}" if choices else "a string", value)
        if choices and value not in choices:
            raise ApiError(
                400, f"Invalid value: '{value[:100]}'. Supported values are: {_listed(choices)}.",
                param=path, code="invalid_value",
            )  # fmt: skip

    return check


def a_boolean(value: typing.Any, path: str) -> None:
    """Check for true or false."""
    if type(value) is not bool:
        raise _invalid_type(path, "a boolean", value)


def an_integer(lowest: int | None = None, highest: int | None = None) -> Check:
    """Check for an integer within bounds, both included."""

    def check(value: typing.Any, path: str) -> None:
        if type(value) is not int:
            raise _invalid_type(path, "an integer", value)
        _check_range(value, path, "integer", lowest, highest)

    return check


def a_number(lowest: float | None = None, highest: float | None = None) -> Check:
    """Check for a number within bounds, both included."""

    def check(value: typing.Any, path: str) -> None:
        if type(value) not in (int, float):
            raise _invalid_type(path, "a decimal", value)
        _check_range(value, path, "decimal", lowest, highest)

    return check


def an_array(of: Check, shortest: int = 0, longest: int | None = None, *, kind: str = "an array") -> Check:
    """Check for an array whose members pass `of`, with bounds on their number."""

    def check(value: typing.Any, path: str) -> None:
        if type(value) is not list:
            raise _invalid_type(path, kind, value)
        size = len(value)
        if size < shortest:
            got = "an empty array" if not size else f"an array with length {size}"
            raise ApiError(
                400, f"Invalid '{path}': {'empty array' if not size else 'array too short'}. Expected an array with "
                f"minimum length {shortest}, but got {got} instead.",
                param=path, code="empty_array" if not size else "array_below_min_length",
            )  # fmt: skip
        if longest is not None and size > longest:
            raise ApiError(
                400, f"Invalid '{path}': array too long. Expected an array with maximum length {longest}, but got an "
                f"array with length {size} instead.", param=path, code="array_above_max_length",
            )  # fmt: skip
        for index, member in enumerate(value):
            of(member, f"{path}[{index}]")

    return check


def an_object(members: typing.Mapping[str, Check], *required: str) -> Check:
    """Check for an object: `required` members are there, described ones pass; null is as good as absent."""

    def check(value: typing.Any, path: str) -> None:
        if type(value) is not dict:
            raise _invalid_type(path, "an object", value)
        prefix = f"{path}." if path else ""
        for name in required:
            if value.get(name) is None:
                raise missing_parameter(prefix + name)
        for name, member in value.items():
            member_check = members.get(name)
            if member_check is not None and member is not None:
                member_check(member, prefix + name)

    return check


def one_of(expected: str, by_kind: typing.Mapping[type, Check]) -> Check:
    """Check a value by the check for its JSON kind (str, list, dict, int, bool, float); `expected` names the kinds."""

    def check(value: typing.Any, path: str) -> None:
        chosen = by_kind.get(type(value))
        if chosen is None:
            raise _invalid_type(path, f"one of {expected}", value)
        chosen(value, path)

    return check


def by_tag(tag: str, variants: typing.Mapping[str, Check]) -> Check:
    """Check an object by the check that its member `tag` chooses; an unknown tag is an invalid value."""
    tag_check = a_string(*variants)

    def check(value: typing.Any, path: str) -> None:
        if type(value) is not dict:
            raise _invalid_type(path, "an object", value)
        name = value.get(tag)
        if name is None:
            raise missing_parameter(f"{path}.{tag}")
        tag_check(name, f"{path}.{tag}")
        variants[name](value, path)

    return check


def anything(value: typing.Any, path: str) -> None:
    """Accept every value."""


def missing_parameter(path: str) -> ApiError:
    """Return the error for a required parameter that is not there."""
    return ApiError(400, f"Missing required parameter: '{path}'.", param=path, code="missing_required_parameter")


def _check_range(value: float, path: str, kind: str, lowest: float | None, highest: float | None) -> None:
    if lowest is not None and value < lowest:
        raise ApiError(
            400, f"Invalid '{path}': {kind} below minimum value. Expected a value >= {lowest}, but got {value} instead.",
            param=path, code=f"{kind}_below_min_value",
        )  # fmt: skip
    if highest is not None and value > highest:
        raise ApiError(
            400, f"Invalid '{path}': {kind} above maximum value. Expected a value <= {highest}, but got {value} instead.",
            param=path, code=f"{kind}_above_max_value",
        )  # fmt: skip


def _listed(choices: typing.Sequence[str]) -> str:
    quoted = [f"'{choice}'" for choice in choices]
    if len(quoted) < 2:
        return "".join(quoted)
    return f"{', '.join(quoted[:-1])}, and {quoted[-1]}" if len(quoted) > 2 else f"{quoted[0]} and {quoted[1]}"
