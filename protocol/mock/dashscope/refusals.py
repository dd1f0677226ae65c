"""How DashScope's native API refuses: the errors that its endpoints answer with."""

from __future__ import annotations

import typing

from protocol.dashscope.mapping.errors import native_error_body
from protocol.errors import ApiError
from protocol.wire.json_text import JsonObject

#: What DashScope says at a path that it does not have, or that is not for the model.
URL_ERROR = "url error, please check url！"


def refusal(code: str, message: str) -> ApiError:
    """Return the error with which DashScope refuses a request, under the status that it uses for `code`."""
    return ApiError(native_error_body(code, message, "")[0], message, code=code)


def bad_parameter(message: str) -> ApiError:
    """Return the error for a parameter that is missing or wrong."""
    return refusal("InvalidParameter", message)


def object_member(body: JsonObject, name: str) -> JsonObject:
    """Return the object that is a member of a body, {} where there is none; ApiError for anything else."""
    value: typing.Any = body.get(name)
    if value is not None and type(value) is not dict:
        raise bad_parameter(f"Input should be a valid dictionary: {name}")
    return value or {}
