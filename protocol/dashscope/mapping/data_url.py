"""Files of a form as data URLs (RFC 2397), which is how DashScope takes them within a call."""

from __future__ import annotations

import binascii

from protocol.errors import ApiError

_MOST_URL_BYTES = 10 * 1024 * 1024  # DashScope takes no more


def data_url(data: bytes, media_type: str, *, param: str, kind: str) -> str:
    """Return a file as a data URL; the ApiError 413 for one of more than 10 MB as base64.

    That error names the form's field (`param`) and says what was expected there (`kind`, e.g. "picture").
    """
    begin = f"data:{media_type};base64,"
    size = len(begin) + (len(data) + 2) // 3 * 4
    if size > _MOST_URL_BYTES:
        raise ApiError(
            413,
            f"{param}: expected a {kind} of at most {_MOST_URL_BYTES} bytes as base64, got {size}",
            type="invalid_request_error",
            param=param,
            code="file_too_large",
        )
    return begin + binascii.b2a_base64(data, newline=False).decode("ascii")
