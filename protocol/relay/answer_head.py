"""What of an answer's head goes on to the client, and what it says of how the body is passed on."""

from __future__ import annotations

import re

from protocol.relay.header_rules import response_fields
from protocol.relay.locations import LOCATION_FIELDS, Locations
from protocol.upstream.answer import is_coded
from protocol.wire.http1.messages import ResponseHead
from protocol.wire.masking import Mask

# Of an answer's fields these may be no lines of ours, or others.
_JUDGED_FIELDS = LOCATION_FIELDS | {"x-accel-buffering", "x-request-id"}

_PRINTABLE_ID = re.compile(r"[!-~]{1,256}")


class AnswerHead:
    """What is worked out from a head, once for one that is repeated (ResponseHead.facts).

    `request_id` is the id by which the upstream's support knows the answer, "" for none; `fields` are the lines of all
    other fields that go on. `tells_coding` says that the head speaks of a Content-Encoding, `is_coded` that the body
    is under one.
    """

    __slots__ = ("fields", "is_coded", "is_events", "is_json", "request_id", "tells_coding")

    def __init__(self, head: ResponseHead, request_id: str, fields: bytes) -> None:
        self.request_id = request_id
        self.fields = fields
        self.tells_coding = "content-encoding" in head.fields
        self.is_coded = is_coded(head)
        self.is_events = b"text/event-stream" in fields
        self.is_json = b"json" in fields


class AnswerHeads:
    """Reads the heads of one upstream's answers; `mask` hides the owner's secrets in them."""

    def __init__(self, mask: Mask | None, locations: Locations) -> None:
        self._mask = mask
        self._locations = locations

    def read(self, head: ResponseHead) -> AnswerHead:
        """Return what goes on of a head; the reader has checked each field."""
        known: AnswerHead | None = head.facts
        if known is None:
            known = head.facts = AnswerHead(head, *self._id_and_lines(head))
        return known

    def _id_and_lines(self, head: ResponseHead) -> tuple[str, bytes]:
        """Return the request id and the lines of all other fields."""
        fields = response_fields(head)
        request_id, block = self._judged(head, fields)
        mask = self._mask
        # One look at all lines spares nearly every answer a look at each value.
        if mask is not None and mask.may_be_in(block + request_id.encode("latin-1")):
            masked = [(name, mask.hide(value.encode("latin-1")).decode("latin-1")) for name, value in fields]
            return self._judged(head, masked)
        return request_id, block

    def _judged(self, head: ResponseHead, fields: list[tuple[str, str]]) -> tuple[str, bytes]:
        request_id = ""
        lines = []
        is_event_stream = "text/event-stream" in head.fields.get("content-type").lower()
        for name, value in fields:
            if name not in _JUDGED_FIELDS:
                lines.append(f"{name}: {value}\r\n")
            elif name in LOCATION_FIELDS:
                lines.append(f"{name}: {self._locations.for_client(value)}\r\n")
            elif name == "x-request-id" and _PRINTABLE_ID.fullmatch(value):
                request_id = value
            elif name != "x-accel-buffering" or not is_event_stream:
                lines.append(f"{name}: {value}\r\n")
        if is_event_stream:
            # It tells nginx, and proxies like it, to let each event through at once.
            lines.append("x-accel-buffering: no\r\n")
        return request_id, "".join(lines).encode("latin-1")
