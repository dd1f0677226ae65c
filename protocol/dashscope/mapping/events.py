"""DashScope's server-sent events: bytes in any pieces, JSON objects and errors out.

Theory of operation
-------------------
    bytes ──► NativeEventReader ──► NativeEvent ──► a StreamTranslator ──► what the client gets

The reader does not wait for the empty line that ends an event (HTML standard, "Server-sent events"), because some
gateways leave it out. It goes line by line: each `data:` line is one JSON object. The `event:` and `:HTTP_STATUS/nnn`
lines seen last belong to it; an error inside a stream, which comes under HTTP 200, has its true status there.

A body that begins with "{" is no event stream, although one was asked for. It is one event, once it is whole.

Neither the reader nor a translator raises, because what came before an error must still go out. The reader gives the
error as an event. The translator keeps it as `error`, returns what came before it, and is silent from then on.
"""

from __future__ import annotations

import re
import typing

from protocol.dashscope.mapping.errors import DashScopeError, error_from_answer, is_error_answer, upstream_bad_response
from protocol.wire.json_text import JsonObject
from protocol.wire.long_json import STRICT_JSON

_BOM = b"\xef\xbb\xbf"
_STATUS = re.compile(rb":\s*HTTP_STATUS/(\d{3})")
_MAX_EVENT_BYTES = 32 * 1024 * 1024  # an event with speech has some kilobytes, one with a whole picture some megabytes

Output = typing.TypeVar("Output")


#: One event: the JSON object in its data, or the error that it tells of.
NativeEvent = typing.Union[JsonObject, DashScopeError]


class NativeEventReader:
    """Reads native server-sent events from bytes in any pieces.

    Data that is not a JSON object, and an event of more than `max_event_bytes`, become an event with the error 502
    `upstream_bad_response`. What follows such an event means nothing.
    """

    def __init__(self, max_event_bytes: int = _MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._buffer = bytearray()
        self._searched = 0
        # A function and not a bound method: that would be a cycle, which keeps what has come.
        self._take: typing.Callable[[NativeEventReader], list[NativeEvent]] = NativeEventReader._take_beginning
        self._name = ""
        self._status: int | None = None
        # The lines that said so: streams repeat them with each event.
        self._name_line = self._status_line = b""
        self._is_error = False  # by them

    def feed(self, data: bytes) -> list[NativeEvent]:
        """Return the events that these bytes complete."""
        if not self._buffer and self._take is NativeEventReader._take_lines and data.endswith(b"\n"):
            return self._read_lines(data.split(b"\n"))  # nearly always: an event comes in one piece
        self._buffer += data
        events = self._take(self)
        if len(self._buffer) > self._max_event_bytes:
            self._buffer.clear()
            self._take = NativeEventReader._take_nothing
            events.append(_bad_event(f"an event has more than {self._max_event_bytes} bytes"))
        return events

    @property
    def is_between_events(self) -> bool:
        """Whether nothing has been read of the next event, as far as can be told, and this may be a stream."""
        return not self._buffer and self._take in (NativeEventReader._take_lines, NativeEventReader._take_beginning)

    def pass_over_event(self, name: str, status: int) -> None:
        """Be as after an event with these lines, which was no error, where `is_between_events`."""
        self._take = NativeEventReader._take_lines
        self._name, self._status, self._is_error = name, status, False
        self._name_line = self._status_line = b""  # they are read again where they come again

    def close(self) -> list[NativeEvent]:
        """Return the event in what is left: its line end may be missing."""
        if not self._buffer and self._take is not NativeEventReader._take_body:
            return []
        rest = bytes(self._buffer)
        self._buffer.clear()
        if self._take is NativeEventReader._take_body:
            return [self._event(rest)]
        return self._read_lines([rest])

    def _take_beginning(self) -> list[NativeEvent]:
        """Leave out a byte order mark, and decide whether this is a stream or a body of JSON."""
        if self._buffer.startswith(_BOM):
            del self._buffer[: len(_BOM)]
        begin = self._buffer.lstrip()
        if not begin or _BOM.startswith(begin):
            return []
        self._take = NativeEventReader._take_body if begin.startswith(b"{") else NativeEventReader._take_lines
        return self._take(self)

    def _take_body(self) -> list[NativeEvent]:
        return []

    def _take_nothing(self) -> list[NativeEvent]:
        self._buffer.clear()
        return []

    def _take_lines(self) -> list[NativeEvent]:
        if self._buffer.find(b"\n", self._searched) < 0:
            self._searched = len(self._buffer)
            return []
        *lines, self._buffer = self._buffer.split(b"\n")
        self._searched = len(self._buffer)
        return self._read_lines([bytes(line) for line in lines])

    def _read_lines(self, lines: list[bytes]) -> list[NativeEvent]:
        # Bytes are cut into lines before they are decoded: a read may end inside a character, and no byte of a
        # character of several is a line feed.
        events: list[NativeEvent] = []
        for line in lines:
            if line[:5] == b"data:":
                value = line[5:].strip()
                if value and value != b"[DONE]":
                    events.append(self._event(value))
            elif line and line != self._name_line and line != self._status_line and line[:3] != b"id:":
                self._read_field(line)
        return events

    def _read_field(self, line: bytes) -> None:
        status = _STATUS.match(line)
        if status:
            self._status = int(status.group(1))
            self._status_line = line
        else:
            field, _, value = line.partition(b":")
            if field.rstrip(b"\r") == b"event":
                self._name = value.strip().decode("utf-8", "replace")
                self._name_line = line
        self._is_error = self._name == "error" or (self._status or 200) >= 400

    def _event(self, data: bytes) -> NativeEvent:
        try:
            text = data.decode("utf-8")
            answer, end = STRICT_JSON.raw_decode(text)
        except (ValueError, RecursionError):
            return _bad_event("an event is not JSON", data)
        if end != len(text):
            return _bad_event("an event is not JSON", data)
        if type(answer) is not dict:
            return _bad_event("an event is not a JSON object", data)
        if self._is_error or (("code" in answer or "error" in answer) and is_error_answer(answer)):
            return error_from_answer(answer, self._status)
        return answer


def _bad_event(reason: str, evidence: bytes = b"") -> NativeEvent:
    return upstream_bad_response(reason, evidence)


class StreamTranslator(typing.Generic[Output]):
    """Turns the bytes of one native stream into what the client gets; a subclass says into what.

    `error` is what ended the stream early, if anything did: look at it after each call.
    """

    def __init__(self) -> None:
        self.error: DashScopeError | None = None
        self._reader = NativeEventReader()

    def feed(self, data: bytes) -> list[Output]:
        """Return what these bytes give, up to the first error."""
        return [] if self.error is not None else self._take_events(self._reader.feed(data))

    def close(self) -> list[Output]:
        """Return the last that a stream gives, after its clean end. If its connection broke, do not call this."""
        if self.error is not None:
            return []
        outputs = self._take_events(self._reader.close())
        if self.error is None:
            outputs.extend(self.end())
        return outputs

    def _take_events(self, events: list[NativeEvent]) -> list[Output]:
        outputs: list[Output] = []
        for event in events:
            if isinstance(event, DashScopeError):
                self.error = event
                break
            outputs.extend(self.take(event))
            if self.error is not None:
                break
        return outputs

    def take(self, answer: JsonObject) -> typing.Sequence[Output]:
        """Return what one event gives; where it cannot be used, set `error`."""
        raise NotImplementedError

    def end(self) -> typing.Sequence[Output]:
        """Return what follows the last event; where something is missing, set `error`."""
        raise NotImplementedError
