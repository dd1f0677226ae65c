"""OpenAI's error codes in full: with which status, type and words each comes.

Source: OpenAI API reference, "Error codes", and the guide of that name.
"""

from __future__ import annotations

import typing

from protocol.errors import ApiError


class _Known(typing.NamedTuple):
    status: int
    type: str | None
    message: str


_CODES = {
    "billing_hard_limit_reached": _Known(400, None, "Billing hard limit has been reached."),
    "content_filter": _Known(400, None, "The response was filtered due to the prompt triggering a content policy."),
    "context_length_exceeded": _Known(400, None, "Your input exceeds the context window of this model."),
    "insufficient_quota": _Known(
        429, "insufficient_quota", "You exceeded your current quota, please check your plan and billing details."
    ),
    "invalid_api_key": _Known(401, "invalid_request_error", "Incorrect API key provided."),
    "model_not_found": _Known(404, None, "The model does not exist or you do not have access to it."),
    "rate_limit_exceeded": _Known(429, "requests", "Rate limit reached for requests."),
    "server_error": _Known(500, "server_error", "The server had an error while processing your request."),
    "server_overloaded": _Known(503, "server_error", "The engine is currently overloaded, please try again later."),
    "slow_down": _Known(503, "server_error", "Slow down: reduce your request rate, then increase it gradually."),
    "unsupported_country_region_territory": _Known(
        403, "request_forbidden", "Country, region, or territory not supported."
    ),
}


def status_of_code(code: str) -> int:
    """Return the status that a code comes with; 400 for one that is not OpenAI's."""
    known = _CODES.get(code)
    return known.status if known is not None else 400


def error_of_code(status: int, code: str = "", type: str = "", message: str = "", param: str = "") -> ApiError:
    """Return an error in full; what is "" follows from the code, or from the status."""
    known = _CODES.get(code)
    if known is not None:
        type, message = type or known.type or "", message or known.message
    return ApiError(
        status,
        message or f"This is status {status}, as it was asked for.",
        type=type or None,
        param=param or None,
        code=code or None,
    )
