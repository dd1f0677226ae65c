"""How a request is refused for which there is no endpoint: the wording is one, whoever finds that out."""

from __future__ import annotations

import typing

from protocol.errors import ApiError
from protocol.exchange import Request


def unknown_url(request: Request) -> ApiError:
    """Return the error for a path that the API does not have, in OpenAI's words."""
    return ApiError(404, f"Invalid URL ({request.method} {request.path})", code="unknown_url")


def unknown_door(request: Request) -> ApiError:
    """Return the error for a path outside the API that nobody answers; it says where to look."""
    message = f"Unknown request URL: {request.method} {request.path}. GET / says what there is."
    return ApiError(404, message, code="unknown_url")


def method_not_allowed(request: Request, methods: typing.Iterable[str]) -> ApiError:
    """Return the error for a path that has other methods, which `allow` names (RFC 9110 §15.5.6), and OPTIONS."""
    return ApiError(
        405, f"Not allowed to {request.method} on {request.path}.", code="method_not_allowed",
        fields=[("allow", ", ".join([*methods, "OPTIONS"]))],
    )  # fmt: skip


def unknown_model(id: str) -> ApiError:
    """Return the error for a model that nobody has, in OpenAI's words."""
    return ApiError(404, f"The model '{id[:100]}' does not exist.", param="model", code="model_not_found")
