"""What of an answer's head goes on to the client, and what it says of how the body is passed on."""

from __future__ import annotations

import itertools
import re

from protocol.relay.header_rules import goes_to_client, has_usual_connection, response_fields
from protocol.relay.locations import LOCATION_FIELDS, Locations
from protocol.upstream.answer import AnswerFacts, is_coded
from protocol.wire.http1.messages import ResponseHead, WrittenForm, read_pairs
from protocol.wire.http1.writers import encode_fields
from protocol.wire.masking import Mask

# Of an answer's fields these may be no lines of ours, or others.
_JUDGED_FIELDS = LOCATION_FIELDS | {"x-accel-buffering", "x-request-id"}

# These are looked for in the lines that go on (Response.fields), so they are written in one way.
_SOUGHT_FIELDS = frozenset(("content-type", "content-encoding"))

_PRINTABLE_ID = re.compile(r"[!-~]{1,256}")
_AFTER_ID_NAME = len(b"x-request-id:")

# It tells nginx, and proxies like it, to let each event through at once.
_UNBUFFERED = b"x-accel-buffering: no\r\n"


class AnswerKind:
    """What is worked out once from all heads of a kind (MessageHead.facts): which lines go on, and how the body does.

    `tells_coding` says that the head speaks of a Content-Encoding, `is_coded` that the body is under one. `is_usual`
    says that the lines go on as they came, which `passes` chooses by their places: between `opening` and `closing`.
    `id_at` is the place of the request id, 0 for none. For heads of one `form` all of these lines are in `pattern`,
    which takes the head's values; `id_place` tells which of them is the id, -1 where that is in the form: `id_said`.
    """

    __slots__ = (
        "closing", "form", "id_at", "id_place", "id_said", "is_coded", "is_events", "is_json", "is_usual", "opening",
        "passes", "pattern", "tells_coding",
    )  # fmt: skip

    def __init__(self, head: ResponseHead) -> None:
        fields = head.fields
        media_type = fields.get("content-type").lower()
        self.is_events = media_type.startswith("text/event-stream")
        self.is_json = "json" in media_type
        self.tells_coding = "content-encoding" in fields
        self.is_coded = is_coded(head)
        self.opening = encode_fields(field for field in fields if field[0] in _SOUGHT_FIELDS)
        names = [read_pairs(line)[0][0] for line in head.lines[1:]]
        self.id_at = names.index("x-request-id") + 1 if "x-request-id" in names else 0
        self.is_usual = (
            names != []
            and head.status != 101
            and has_usual_connection(head)
            and names.count("x-request-id") < 2
            and LOCATION_FIELDS.isdisjoint(names)
        )
        apart = _SOUGHT_FIELDS | ({"x-request-id", "x-accel-buffering"} if self.is_events else {"x-request-id"})
        self.passes = (False, *(goes_to_client(name) and name not in apart for name in names))
        self.closing = (b"\r\n" if any(self.passes) else b"") + (_UNBUFFERED if self.is_events else b"")
        self.form: WrittenForm | None = None
        self.pattern = self.id_said = b""
        self.id_place = -1

    def use_form(self, head: ResponseHead, form: WrittenForm) -> None:
        """Let the pattern be for heads of this form, of which `head` is one."""
        opening, closing = (text.replace(b"%", b"%%") for text in (self.opening, self.closing))
        self.form = form
        self.pattern = b"%b%b%b" % (opening, form.pattern(self.passes), closing)
        self.id_said = head.lines[self.id_at][_AFTER_ID_NAME:] if self.id_at else b""
        self.id_place = form.place(self.id_at) if self.id_at else -1


class AnswerHead:
    """What goes on of a head: `fields` are the lines, but for `request_id`, "" for none.

    By that id the upstream's support knows the answer.
    """

    __slots__ = ("fields", "kind", "request_id")

    def __init__(self, kind: AnswerKind, request_id: str, fields: bytes) -> None:
        self.kind = kind
        self.request_id = request_id
        self.fields = fields


class AnswerHeads:
    """Reads the heads of one upstream's answers; `mask` hides the owner's secrets in them."""

    def __init__(self, mask: Mask | None, locations: Locations) -> None:
        self._mask = mask
        self._locations = locations

    def read(self, head: ResponseHead) -> AnswerHead:
        """Return what goes on of a head; the reader has checked each field."""
        known: AnswerHead | None = head.plan
        if known is None:
            known = head.plan = self._read_new(head)
        return known

    def kind(self, head: ResponseHead) -> AnswerKind:
        """Return what is known of all heads like this one."""
        facts: AnswerFacts = head.facts
        kind: AnswerKind | None = facts.kind
        if kind is None:
            kind = facts.kind = AnswerKind(head)
        return kind

    def _read_new(self, head: ResponseHead) -> AnswerHead:
        kind, mask = self.kind(head), self._mask
        if kind.is_usual:
            if head.written is not None:
                # A fifth of what a usual answer costs, where its head has 16 lines with six values.
                form, values = head.written
                if kind.form is not form:
                    kind.use_form(head, form)
                block = kind.pattern % tuple(values)
                value = (kind.id_said if kind.id_place < 0 else values[kind.id_place]).strip(b" \t")
            else:
                lines = head.lines
                passing = b"\r\n".join(itertools.compress(lines, kind.passes))
                block = b"%b%b%b" % (kind.opening, passing, kind.closing)
                value = lines[kind.id_at][_AFTER_ID_NAME:].strip(b" \t") if kind.id_at else b""
            request_id = value.decode("latin-1")
            # One look at all lines spares nearly every answer a look at each value.
            if (not kind.id_at or _PRINTABLE_ID.fullmatch(request_id)) and (
                mask is None or not mask.may_be_in(block + value)
            ):
                return AnswerHead(kind, request_id, block)
        return AnswerHead(kind, *self._field_by_field(head))

    def _field_by_field(self, head: ResponseHead) -> tuple[str, bytes]:
        """Return the request id and the lines of all other fields: what holds for every head."""
        fields = response_fields(head)
        mask = self._mask
        if mask is not None:
            fields = [(name, mask.hide(value.encode("latin-1")).decode("latin-1")) for name, value in fields]
        request_id = ""
        lines = []
        is_events = self.kind(head).is_events
        for name, value in fields:
            if name not in _JUDGED_FIELDS:
                lines.append(f"{name}: {value}\r\n")
            elif name in LOCATION_FIELDS:
                lines.append(f"{name}: {self._locations.for_client(value)}\r\n")
            elif name == "x-request-id" and _PRINTABLE_ID.fullmatch(value):
                request_id = value
            elif name != "x-accel-buffering" or not is_events:
                lines.append(f"{name}: {value}\r\n")
        block = "".join(lines).encode("latin-1")
        return request_id, block + _UNBUFFERED if is_events else block
