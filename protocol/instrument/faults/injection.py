"""The one way in: from an answer and a fault to the faulted answer, or to what stands in an answer's place."""

from __future__ import annotations

import email.utils
import json
import typing

from protocol.errors import ApiError
from protocol.exchange import Response
from protocol.instrument.faults.codes import error_of_code
from protocol.instrument.faults.draws import Draw
from protocol.instrument.faults.events import EventCutter, MessageCutter, StreamCutter, encode, shape_of
from protocol.instrument.faults.in_answers import (
    NATIVE_FILTER_STATUS,
    MeaningChange,
    changed_answer,
    is_filtered_natively,
)
from protocol.instrument.faults.in_streams import (
    CarriageReturns,
    Change,
    Comment,
    Cut,
    CutBytes,
    Done,
    Duplicate,
    Fail,
    Glue,
    NoFinish,
    Note,
    NoUsage,
    Split,
    TruncatedJson,
    UsageWithChoices,
    remove_usage,
)
from protocol.instrument.faults.kinds import Place
from protocol.instrument.faults.language import After, Fault
from protocol.instrument.faults.on_wire import MOST_WHOLE_BYTES, TOO_LONG, FaultedAnswer, Witness
from protocol.instrument.faults.shaper import Timers
from protocol.instrument.gate import FAULT_FIELD
from protocol.wire.http1.writers import encode_fields

# nginx's number for a request that gets no answer at all; the log and the metrics show it.
_NO_RESPONSE = 444

_HTML = """<html>
<head><title>{status} {reason}</title></head>
<body>
<center><h1>{status} {reason}</h1></center>
<hr><center>proxy</center>
</body>
</html>
"""
_REASONS = {
    500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Temporarily Unavailable", 504: "Gateway Time-out",
    403: "Forbidden", 404: "Not Found", 413: "Request Entity Too Large", 429: "Too Many Requests",
}  # fmt: skip


def replaces_answer(fault: Fault) -> bool:
    """Tell whether a fault stands in the place of the answer, so that no backend need be asked."""
    kind = fault.kind.name
    if fault.kind.layer == "instead":
        return True
    is_before = fault.after is None and kind in ("reset", "close", "stall")
    return is_before and "for" not in fault.values


def stand_in(fault: Fault, draw: Draw, now: float, note: Note, witness: Witness) -> Response:
    """Return what stands in the place of the answer; ApiError where that is an error in the endpoint's own shape.

    `now` is the session's time, in seconds since the epoch.
    """
    status = int(fault.number("n"))
    if fault.kind.name == "status":
        raise _asked_error(fault, status, now)
    if fault.kind.name == "html":
        page = _HTML.format(status=status, reason=_REASONS.get(status, "Error"))
        fields = [("content-type", "text/html"), _told(fault)]
        return Response(status, fields, page.encode())
    nothing = Response(_NO_RESPONSE, b"")
    return Response(_NO_RESPONSE, b"", FaultedAnswer(nothing, fault, draw, note, witness, StreamCutter()))


def _asked_error(fault: Fault, status: int, now: float) -> ApiError:
    error = error_of_code(status, fault.word("code"), fault.word("type"), fault.word("message"), fault.word("param"))
    fields = [_told(fault)]
    fields += [(name, str(fault.values[name])) for name in ("retry-after", "retry-after-ms") if name in fault.values]
    if "retry-at" in fault.values:
        # RFC 9110 §10.2.3: Retry-After may be a date.
        fields.append(("retry-after", email.utils.formatdate(now + fault.number("retry-at"), usegmt=True)))
    error.fields = tuple(fields)
    return error


def injected(
    response: Response,
    fault: Fault,
    draw: Draw,
    note: Note,
    witness: Witness,
    timers: Timers | None = None,
    *,
    has_body: bool = True,
    may_hold: typing.Callable[[int], bool] = bool,
) -> Response:
    """Return an answer with a fault; the same one, and a note, where the fault cannot be applied to it.

    `witness` sees the body leave, where it becomes a Verbatim one. `has_body` is False for answers to HEAD. `may_hold`
    holds so many bytes for the request if there is room, and tells whether there is.
    """
    place = place_of(response)
    reason = _obstacle(response, fault, place, has_body=has_body)
    if reason:
        note(reason)
        return response
    told = _with_field(response, fault)
    cutter: EventCutter = MessageCutter() if place == "socket" else StreamCutter()
    body, whole, change = response.body, None, None
    if place == "plain" and (fault.kind.layer == "meaning" or fault.kind.name in ("no-usage", "json")):
        whole = _whole_change(fault, note, response)
        if isinstance(body, bytes):
            told.body = whole(body)
            told.status = response.status
            return response if told.body is body else told
    elif fault.kind.layer in ("events", "meaning"):
        change = _change_of(fault, cutter, note, place)
    told.body = FaultedAnswer(
        response,
        fault,
        draw,
        note,
        witness,
        cutter,
        change=change,
        whole=whole,
        timers=timers,
        may_hold=may_hold,
    )
    return told


def place_of(response: Response) -> Place:
    """Return how an answer comes."""
    if response.status == 101:
        return "socket"
    return "stream" if _field(response, "content-type").startswith("text/event-stream") else "plain"


def _obstacle(response: Response, fault: Fault, place: Place, *, has_body: bool) -> str:
    """Return why a fault cannot be applied to an answer, "" where it may be."""
    kind = fault.kind
    places = {"plain": "an answer that is no stream", "stream": "an event stream", "socket": "a WebSocket"}
    if kind.layer == "instead":
        return f"{kind.name} comes in the place of an answer"
    if place not in kind.places:
        return f"{kind.name} does not apply to {places[place]}"
    if fault.after is not None and fault.after.unit != "B" and place == "plain" and kind.layer != "meaning":
        return f"after={fault.after.number}{fault.after.unit} counts nothing in {places[place]}"
    if kind.layer in ("events", "meaning") and _field(response, "content-encoding") not in ("", "identity"):
        return f"{kind.name} needs an answer without a content-encoding"
    if not has_body and kind.layer != "wire":
        return f"{kind.name} needs an answer with a body"
    body = response.body
    if kind.name == "length" and not isinstance(body, bytes) and response.length is None:
        return "length needs an answer that announces one"
    return ""


def _change_of(fault: Fault, cutter: EventCutter, note: Note, place: Place) -> Change:
    kind, after = fault.kind.name, fault.after
    if fault.kind.layer == "meaning":
        return MeaningChange(cutter, note, fault)
    if kind == "cut":
        after = after or After(1, "tok")
        return CutBytes(note, after) if after.unit == "B" else Cut(cutter, note, after)
    if kind == "error":
        return Fail(cutter, note, fault, is_socket=place == "socket")
    if kind in ("no-done", "double-done"):
        return Done(cutter, note, 0 if kind == "no-done" else 2)
    if kind == "split":
        return Split(note, fault.word("how"))
    if kind == "glue":
        return Glue(cutter, note, int(fault.number("n")))
    if kind in ("dup", "comment", "json"):
        made = {"dup": Duplicate, "comment": Comment, "json": TruncatedJson}[kind]
        return made(cutter, note, after or (None if kind == "comment" else After(1, "tok")))
    others = {
        "no-finish": NoFinish, "crlf": CarriageReturns, "no-usage": NoUsage, "usage-with-choices": UsageWithChoices,
    }  # fmt: skip
    return others[kind](cutter, note)


def _whole_change(fault: Fault, note: Note, response: Response) -> typing.Callable[[bytes], bytes]:
    """Return what changes the body of a whole answer, and its status where it becomes an error; it notes what fails."""

    def change(body: bytes) -> bytes:
        if len(body) > MOST_WHOLE_BYTES:
            note(TOO_LONG)
            return body
        if fault.kind.name == "json":
            return body[: len(body) // 2]
        value: typing.Any = None
        try:
            value = json.loads(body)
            if fault.kind.name == "no-usage":
                reason = "" if shape_of(value) and remove_usage(value) else "the answer tells no usage"
            else:
                is_error = is_filtered_natively(fault, value)
                reason = changed_answer(fault, value)
                response.status = NATIVE_FILTER_STATUS if is_error else response.status
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            reason = f"{fault.kind.name} does not know the shape of this answer"
        if reason:
            note(reason)
            return body
        return encode(value)

    return change


# ---- fields of answers ------------------------------------------------------------------------------------------


def _field(response: Response, name: str) -> str:
    fields = response.fields
    if isinstance(fields, bytes):
        for line in fields.split(b"\r\n"):
            key, _, value = line.partition(b":")
            if key.lower() == name.encode():
                return value.strip().decode("latin-1").lower()
        return ""
    return next((value.lower() for key, value in fields if key.lower() == name), "")


def _told(fault: Fault) -> tuple[str, str]:
    # A message may have any characters, and a header field may not.
    return FAULT_FIELD, fault.text.encode("ascii", "backslashreplace").decode()


def _with_field(response: Response, fault: Fault) -> Response:
    fields = response.fields
    block = fields if isinstance(fields, bytes) else encode_fields(fields)
    return Response(
        response.status, block + encode_fields([_told(fault)]), response.body, response.length,
        response.request_id, response.attempts,
    )  # fmt: skip
