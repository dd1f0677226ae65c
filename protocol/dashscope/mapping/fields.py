"""Typed fields of a client's JSON request; a wrong one becomes a 400 that names it.

An optional field that is null counts as absent, as in OpenAI's API: its reader returns None for both. A boolean is not
a number here, although it is one in Python.
"""

from __future__ import annotations

import re
import typing

from protocol.errors import ApiError
from protocol.wire.json_text import parse_json

_EVIDENCE_CHARACTERS = 100

# Texts of a form that may look like something else.
_TEXT_FIELDS = frozenset(
    "image input_reference model negative_prompt prompt quality response_format size style user".split()
)
_NO_TEXT = r"-?[0-9]+(?:\.[0-9]+)?\Z|(?:true|false)\Z|[\[{]"


def refuse_field(param: str, expected: str, got: object, code: str | None = None) -> ApiError:
    """Return the 400 for a field at fault: where it is, what was expected, what came (cut short)."""
    evidence = ""
    for piece in _repr_pieces(got):
        evidence += piece
        if len(evidence) > _EVIDENCE_CHARACTERS:
            evidence = evidence[:_EVIDENCE_CHARACTERS] + "…"
            break
    return ApiError(
        400, f"{param}: expected {expected}, got {evidence}", type="invalid_request_error", param=param, code=code
    )


def _repr_pieces(value: object) -> typing.Iterator[str]:
    """Yield the repr of a JSON value as far as it is wanted: that of a whole body would take seconds."""
    if isinstance(value, dict):
        yield "{"
        for number, (name, member) in enumerate(value.items()):
            yield f"{', ' if number else ''}{name[: _EVIDENCE_CHARACTERS + 1]!r}: "
            yield from _repr_pieces(member)
        yield "}"
    elif isinstance(value, list):
        yield "["
        for number, member in enumerate(value):
            if number:
                yield ", "
            yield from _repr_pieces(member)
        yield "]"
    else:
        yield repr(value[: _EVIDENCE_CHARACTERS + 1] if isinstance(value, str) else value)


def required_text(request: typing.Mapping[str, typing.Any], name: str) -> str:
    """Return a string that must be there and not be blank."""
    value = request.get(name)
    if not isinstance(value, str) or not value.strip():
        raise refuse_field(name, "a non-empty string", value)
    return value


def optional_text(request: typing.Mapping[str, typing.Any], name: str) -> str | None:
    """Return a string or None."""
    value = request.get(name)
    if value is not None and not isinstance(value, str):
        raise refuse_field(name, "a string", value)
    return value


def optional_choice(request: typing.Mapping[str, typing.Any], name: str, choices: typing.Sequence[str]) -> str | None:
    """Return one of `choices` or None."""
    value = request.get(name)
    if value is not None and not (isinstance(value, str) and value in choices):
        raise refuse_field(name, "one of " + ", ".join(choices), value)
    return value


def optional_flag(request: typing.Mapping[str, typing.Any], name: str) -> bool | None:
    """Return a boolean or None."""
    value = request.get(name)
    if value is not None and type(value) is not bool:
        raise refuse_field(name, "true or false", value)
    return value


def optional_number(request: typing.Mapping[str, typing.Any], name: str, low: float, high: float) -> float | None:
    """Return a number from `low` to `high`, both included, or None; NaN is out of every range."""
    value = request.get(name)
    if value is None:
        return None
    # By their types: a boolean is a number to isinstance.
    if (type(value) is not float and type(value) is not int) or not low <= value <= high:
        raise refuse_field(name, f"a number from {low:g} to {high:g}", value)
    return value


def optional_integer(
    request: typing.Mapping[str, typing.Any], name: str, low: int | None = None, high: int | None = None
) -> int | None:
    """Return an integer from `low` to `high`, both included where given, or None."""
    value = request.get(name)
    if value is None:
        return None
    if is_integer(value) and (low is None or value >= low) and (high is None or value <= high):
        return value
    bounds = "" if low is None else f" from {low}" + (" up" if high is None else f" to {high}")
    raise refuse_field(name, "an integer" + bounds, value)


def optional_object(request: typing.Mapping[str, typing.Any], name: str) -> dict[str, typing.Any] | None:
    """Return a JSON object or None."""
    value = request.get(name)
    if value is not None and type(value) is not dict:
        raise refuse_field(name, "an object", value)
    return value


def optional_list(request: typing.Mapping[str, typing.Any], name: str) -> list[typing.Any] | None:
    """Return a JSON list or None."""
    value = request.get(name)
    if value is not None and type(value) is not list:
        raise refuse_field(name, "a list", value)
    return value


def is_integer(value: object) -> bool:
    """Tell whether a JSON value is an integer; true and false are not."""
    return type(value) is int


def typed_fields(fields: typing.Mapping[str, typing.Any]) -> dict[str, typing.Any]:
    """Return the fields of a form, its numbers, switches and objects no longer as text; what is text stays so.

    What is neither is refused later, by the field's name.
    """
    return {
        name: _typed(value) if isinstance(value, str) and name not in _TEXT_FIELDS else value
        for name, value in fields.items()
    }


def _typed(text: str) -> typing.Any:
    """Return the number, switch, list or object that a text is the JSON of; any other text as it is."""
    if not re.match(_NO_TEXT, text):
        return text
    try:
        return parse_json(text.encode("utf-8", "replace"))
    except ApiError:
        return text
