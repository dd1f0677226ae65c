"""The trace that a request belongs to (W3C Trace Context, https://www.w3.org/TR/trace-context/)."""

from __future__ import annotations

import os
import re
import typing

from protocol.exchange import Request
from protocol.wire.http1.messages import Fields, RequestHead

# W3C Trace Context §3.2: version, trace-id, parent-id, flags. Neither id is all zeros. Version ff is none; a version
# that comes after 00 may have more behind the flags (§3.2.4).
_TRACEPARENT = r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(-.*)?"


class Trace(typing.NamedTuple):
    """The ids of a trace, and of the span in it that a request is."""

    trace_id: str
    span_id: str


def trace_of(fields: Fields) -> Trace | None:
    """Return the trace that a request's fields name, None where they name none as they should."""
    match = re.fullmatch(_TRACEPARENT, fields.get("traceparent"))
    if match is None or (match[1] == "00" and match[4]):
        return None
    return Trace(match[2], match[3])


def begin_trace(request: Request) -> None:
    """Let a request that belongs to no trace begin one, with a span of its own; who answers it sees both in its head.

    A field that names none is left behind, and with it tracestate, which means nothing then (§3.3.1).
    """
    head = request.head
    if trace_of(head.fields) is not None:
        return
    kept = [pair for pair in head.fields.pairs if pair[0] not in ("traceparent", "tracestate")]
    # Its flag says that the trace is recorded: the log does so.
    begun = ("traceparent", f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-01")
    request.head = RequestHead(head.method, head.target, head.minor_version, Fields([*kept, begun]), request.facts)
