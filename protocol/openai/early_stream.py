"""Streams that begin before their answer is there, so that a model may think for longer than balancers wait."""

from __future__ import annotations

from protocol.errors import ApiError
from protocol.exchange import EarlyHead, Request
from protocol.openai.answers import EVENT_STREAM_FIELDS

# Looking for it first spares most bodies the reading.
_STREAM_MEMBER = b'"stream"'


def early_head(seconds: float) -> EarlyHead | None:
    """Return how streams begin whose client has heard nothing for so many seconds; None for 0: they wait."""
    return EarlyHead(seconds, EVENT_STREAM_FIELDS, asks_for_stream) if seconds else None


def asks_for_stream(request: Request) -> bool:
    """Tell whether a request whose body is held asks for an event stream: JSON with a true `stream`."""
    if request.method != "POST" or _STREAM_MEMBER not in request.body:
        return False
    try:
        value = request.json()
    except ApiError:
        return False
    return isinstance(value, dict) and value.get("stream") is True
