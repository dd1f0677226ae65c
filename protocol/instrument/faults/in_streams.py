"""What goes wrong between the events of a stream, and in how they come: changes of bytes on their way, without I/O.

A Change takes the pieces of a body and gives the pieces that go out in their place; each that it gives is framed and
sent by itself. `is_over` says that nothing more of the body is wanted. A Change that finds nothing to do says so, once,
with `note`: nothing is passed over in silence.
"""

from __future__ import annotations

import re
import typing

from protocol.errors import ApiError
from protocol.instrument.faults.codes import error_of_code
from protocol.instrument.faults.events import (
    MOST_EVENT_BYTES,
    Event,
    EventCutter,
    ServerSentEvent,
    brings_token,
    choices_of,
    encode,
    finishes,
    write_message,
)
from protocol.instrument.faults.language import After, Fault
from protocol.wire.json_text import JsonObject
from protocol.wire.sse import encode_comment, encode_event, encode_named_event, encode_native_event

Note = typing.Callable[[str], object]

_LINE_END = re.compile(rb"\r\n|\n|\r")
# The last byte of a character of several (RFC 3629 §3): between it and those before it a reader must not decode.
_LAST_BYTE = re.compile(rb"[\xc2-\xf4][\x80-\xbf]*(?=[\x80-\xbf])")


class Change:
    """Leaves everything as it is; what others do differently, they say."""

    def __init__(self, note: Note) -> None:
        self.is_over = False
        self._note: Note | None = note

    def feed(self, data: bytes) -> list[bytes]:
        """Take a piece and return what goes out in its place."""
        return [data]

    def close(self) -> list[bytes]:
        """Return what goes out at the end of the body."""
        return []

    def skipped(self, reason: str) -> None:
        """Say that the fault could not be applied, if nobody has said so."""
        note, self._note = self._note, None
        if note is not None:
            note(reason)


class Gauge:
    """Tells when so many tokens, events or bytes have gone by."""

    def __init__(self, after: After) -> None:
        self._unit = after.unit
        self.left = after.number

    def passes(self, event: Event) -> bool:
        """Count an event; return whether the number is reached with it."""
        if self._unit == "ev":
            self.left -= event.is_event
        elif self._unit == "tok":
            self.left -= brings_token(event.value)
        return self.left <= 0

    def missing(self) -> str:
        """Return a sentence for a body that ended before."""
        things = {"tok": "tokens", "ev": "events", "B": "bytes"}[self._unit]
        return f"the answer ended {self.left} {things} before it was due"


class EventChange(Change):
    """A change of events. Subclasses say with `take` what goes out for an event, and with `end` what at the end."""

    def __init__(self, cutter: EventCutter, note: Note) -> None:
        super().__init__(note)
        self._cutter = cutter

    def feed(self, data: bytes) -> list[bytes]:
        """Take a piece and return what goes out in its place."""
        out: list[bytes] = []
        for event in self._cutter.feed(data):
            if self.is_over:
                break
            try:
                self.take(event, out)
            except (TypeError, LookupError, AttributeError, ValueError):  # what an upstream says may have any form
                self.skipped("an event of the answer is not as its API describes it")
                out.append(event.raw)
        return [b"".join(out)] if out else []

    def close(self) -> list[bytes]:
        """Return what goes out at the end of the body."""
        out: list[bytes] = []
        if not self.is_over:
            self.end(out)
        out.append(self._cutter.rest())
        return [b"".join(out)]

    def take(self, event: Event, out: list[bytes]) -> None:
        """Add to `out` what goes out for an event."""
        out.append(event.raw)

    def end(self, out: list[bytes]) -> None:
        """Add to `out` what goes out at the end."""


# ---- where a stream ends ----------------------------------------------------------------------------------------


class Cut(EventChange):
    """Ends the stream in good order, with half of what it should say."""

    def __init__(self, cutter: EventCutter, note: Note, after: After) -> None:
        super().__init__(cutter, note)
        self._gauge = Gauge(after)

    def take(self, event: Event, out: list[bytes]) -> None:
        """Let events pass up to the number."""
        if self._gauge.left > 0:
            out.append(event.raw)
        self.is_over = self._gauge.passes(event)

    def end(self, out: list[bytes]) -> None:
        """Say that it did not come so far."""
        self.skipped(self._gauge.missing())


class CutBytes(Change):
    """Ends the body behind so many bytes, wherever that is."""

    def __init__(self, note: Note, after: After) -> None:
        super().__init__(note)
        self._gauge = Gauge(after)

    def feed(self, data: bytes) -> list[bytes]:
        """Let bytes pass up to the number."""
        kept = data[: max(0, self._gauge.left)]
        self._gauge.left -= len(data)
        self.is_over = self._gauge.left <= 0
        return [kept] if kept else []

    def close(self) -> list[bytes]:
        """Say that it did not come so far."""
        if not self.is_over:
            self.skipped(self._gauge.missing())
        return []


class NoFinish(EventChange):
    """Leaves out why the model ended."""

    def take(self, event: Event, out: list[bytes]) -> None:
        """Let pass what does not finish."""
        value = event.value
        if value is None or not finishes(value):
            out.append(event.raw)
            return
        self._note = None
        choices = choices_of(value)
        if choices and (brings_token(value) or value.get("usage") or type(value.get("output")) is dict):
            for choice in choices:
                choice["finish_reason"] = None
            out.append(event.holding(encode(value)))
        elif type(value.get("output")) is dict:
            value["output"]["finish_reason"] = "null"
            out.append(event.holding(encode(value)))

    def end(self, out: list[bytes]) -> None:
        """Say that nothing finished."""
        self.skipped("the stream has no event that says why it ended")


class Done(EventChange):
    """Sends the event that ends a stream of chunks so many times, or not at all."""

    def __init__(self, cutter: EventCutter, note: Note, times: int) -> None:
        super().__init__(cutter, note)
        self._times = times

    def take(self, event: Event, out: list[bytes]) -> None:
        """Let all pass but that event."""
        if event.is_done:
            self._note = None
            out.append(event.raw * self._times)
        else:
            out.append(event.raw)

    def end(self, out: list[bytes]) -> None:
        """Say that there was none."""
        self.skipped("the stream has no [DONE]")


class Fail(EventChange):
    """Puts an error into the stream, behind which nothing comes."""

    def __init__(self, cutter: EventCutter, note: Note, fault: Fault, *, is_socket: bool) -> None:
        super().__init__(cutter, note)
        self._gauge = Gauge(fault.after or After(0, "ev"))
        self._error = error_of_code(500, fault.word("code", "server_error"), fault.word("type"), fault.word("message"))
        self._is_socket = is_socket

    def take(self, event: Event, out: list[bytes]) -> None:
        """Let events pass up to the number, and put the error in the place of the next."""
        if not event.is_event:
            out.append(event.raw)
            return
        if self._gauge.left > 0:
            out.append(event.raw)
            self._gauge.passes(event)
        if self._gauge.left <= 0:
            self.is_over = True
            out.append(self._written(event))

    def _written(self, event: Event) -> bytes:
        error, shape = self._error, event.shape
        told = error.as_dict()["error"]
        if self._is_socket:
            return write_message(encode({"type": "error", **error.as_dict()}))
        if shape == "native":
            value = event.value or {}
            native = {"code": told["code"], "message": told["message"], "request_id": value.get("request_id", "")}
            return encode_native_event(1, b"error", b"HTTP_STATUS/500", encode(native))
        if shape == "typed" and isinstance(event, ServerSentEvent):
            return encode_named_event("error", encode(_typed_error(error, event.value or {})))
        return encode_event(encode(dict(error.as_dict())))

    def end(self, out: list[bytes]) -> None:
        """Say that it did not come so far."""
        self.skipped(self._gauge.missing())


def _typed_error(error: ApiError, before: JsonObject) -> JsonObject:
    """Return the event of an error among typed ones (API reference, Responses, "Streaming events", error)."""
    number = before.get("sequence_number")
    return {
        "type": "error", "code": error.code, "message": error.message, "param": error.param,
        "sequence_number": number if type(number) is int else 0,
    }  # fmt: skip


# ---- what comes between and twice -------------------------------------------------------------------------------


class AtEvent(EventChange):
    """Does something to the event with which a number is reached; to each where no number is given."""

    def __init__(self, cutter: EventCutter, note: Note, after: After | None) -> None:
        super().__init__(cutter, note)
        self._gauge = None if after is None else Gauge(after._replace(number=max(1, after.number)))
        self._is_past = False

    def take(self, event: Event, out: list[bytes]) -> None:
        """Let all pass, and change what is due."""
        if not event.is_event or self._is_past:
            out.append(event.raw)
            return
        if self._gauge is None:
            self._note = None
        else:
            if not self._gauge.passes(event):
                out.append(event.raw)
                return
            self._is_past = True
        self.change(event, out)

    def change(self, event: Event, out: list[bytes]) -> None:
        """Add to `out` what goes out for the event that is due."""
        out.append(event.raw)

    def end(self, out: list[bytes]) -> None:
        """Say that it did not come so far."""
        if self._gauge is None:
            self.skipped("the stream has no events")
        elif not self._is_past:
            self.skipped(self._gauge.missing())


class Duplicate(AtEvent):
    """Sends an event twice."""

    def change(self, event: Event, out: list[bytes]) -> None:
        """Add it twice."""
        out.append(event.raw * 2)


class Comment(AtEvent):
    """Puts a comment behind an event, as proxies and vendors do to keep a connection open."""

    def change(self, event: Event, out: list[bytes]) -> None:
        """Add it with a comment."""
        out += [event.raw, encode_comment("comment")]


class TruncatedJson(AtEvent):
    """Cuts the JSON text of an event in the middle; what follows is sound."""

    def change(self, event: Event, out: list[bytes]) -> None:
        """Add its first half."""
        value = event.value
        if value is None:
            out.append(event.raw)
            self.skipped("the event holds no JSON")
        else:
            data = encode(value)
            out.append(event.holding(data[: len(data) // 2]))


class CarriageReturns(EventChange):
    """Ends every line with CR LF."""

    def take(self, event: Event, out: list[bytes]) -> None:
        """Let it pass with other line ends."""
        out.append(_LINE_END.sub(b"\r\n", event.raw))


class Glue(EventChange):
    """Sends several events in one piece, as a proxy does that gathers what it passes on: of at most 1 MB."""

    def __init__(self, cutter: EventCutter, note: Note, number: int) -> None:
        super().__init__(cutter, note)
        self._number = number
        self._held: list[bytes] = []
        self._held_bytes = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Take a piece and return as many whole pieces as there are."""
        pieces = []
        for event in self._cutter.feed(data):
            self._held.append(event.raw)
            self._held_bytes += len(event.raw)
            if len(self._held) == self._number or self._held_bytes > MOST_EVENT_BYTES:
                pieces.append(b"".join(self._held))
                self._held, self._held_bytes = [], 0
        return pieces

    def end(self, out: list[bytes]) -> None:
        """Give what is held."""
        out += self._held


class Split(Change):
    """Sends a body in pieces of one byte, or cut within each character that has several."""

    def __init__(self, note: Note, how: str) -> None:
        super().__init__(note)
        self._how = how
        self._has_cut = how == "1B"

    def feed(self, data: bytes) -> list[bytes]:
        """Take a piece and return its pieces."""
        if self._how == "1B":
            return [data[at : at + 1] for at in range(len(data))]
        cuts = [match.end() for match in _LAST_BYTE.finditer(data)]
        self._has_cut = self._has_cut or bool(cuts)
        return [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)])]

    def close(self) -> list[bytes]:
        """Say that there was nothing to cut."""
        if not self._has_cut:
            self.skipped("the answer has no character of several bytes")
        return []


# ---- usage ------------------------------------------------------------------------------------------------------


class NoUsage(EventChange):
    """Leaves out how much was used."""

    def take(self, event: Event, out: list[bytes]) -> None:
        """Let pass what tells nothing of it."""
        value = event.value
        if value is None:
            out.append(event.raw)
            return
        tells = "usage" in value  # perhaps null, which chunks say before the one that tells it
        if remove_usage(value):
            self._note = None
        elif not tells:
            out.append(event.raw)
            return
        if value.get("choices") != []:
            out.append(event.holding(encode(value)))

    def end(self, out: list[bytes]) -> None:
        """Say that there was none."""
        self.skipped("the answer tells no usage")


def remove_usage(value: JsonObject) -> bool:
    """Remove the usage from an event or a whole answer; return whether it had one."""
    removed = False
    response = value.get("response")
    if type(response) is dict and response.get("usage") is not None:
        response["usage"], removed = None, True
    if value.get("object") == "response":
        removed = value.get("usage") is not None
        value["usage"] = None
    elif "usage" in value:
        removed = value.pop("usage") is not None or removed
    return removed


class UsageWithChoices(EventChange):
    """Tells the usage in the chunk that finishes, as some vendors do, and not in one without choices."""

    def __init__(self, cutter: EventCutter, note: Note) -> None:
        super().__init__(cutter, note)
        self._held: Event | None = None

    def take(self, event: Event, out: list[bytes]) -> None:
        """Hold the chunk that finishes until the next one shows whether it tells the usage."""
        held, self._held = self._held, None
        value = event.value
        if held is not None and value is not None and value.get("choices") == [] and value.get("usage"):
            self._note = None
            out.append(held.holding(encode({**(held.value or {}), "usage": value["usage"]})))
            return
        if held is not None:
            out.append(held.raw)
        if value is not None and finishes(value) and choices_of(value):
            self._held = event
        else:
            out.append(event.raw)

    def end(self, out: list[bytes]) -> None:
        """Let go of what is held, and say that there was no usage."""
        if self._held is not None:
            out.append(self._held.raw)
        self.skipped("the stream has no chunk with the usage alone")
