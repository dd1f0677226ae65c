"""Forms with files, read from a request's stream."""

from __future__ import annotations

from protocol.exchange import Request
from protocol.wire.multipart import Form, read_form


async def read_request_form(request: Request, most_bytes: int) -> Form:
    """Read a body that is streamed as a form; ApiError 400 where it is none, 413 where it is larger."""
    assert request.stream is not None, "the endpoint streams its body"
    return await read_form(request.fields.get("content-type"), request.stream, most_bytes)
