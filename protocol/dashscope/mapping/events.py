"""DashScope's server-sent events: bytes in any pieces, JSON objects and errors out.

Reading goes line by line and not, as the HTML standard's "Server-sent events" has it, event by event: some gateways
leave out the empty lines, and each `data:` line is one JSON object anyway. The `event:` and `:HTTP_STATUS/nnn` seen
last belong to it; under HTTP 200 they are where an error tells its true status. A body that begins with "{" is no event
stream, although one was asked for; it is taken as one event when it is whole.
"""

from __future__ import annotations

import json
import re
import typing

from protocol.dashscope.mapping.errors import DashScopeError, error_from_answer, is_error_answer, upstream_bad_response

_BOM = b"\xef\xbb\xbf"
_STATUS = re.compile(rb":\s*HTTP_STATUS/(\d{3})")
_MAX_BYTES = 32 * 1024 * 1024  # a frame of speech is some kilobytes, a whole picture some megabytes


class NativeEvent:
    """One event: the JSON object in its data, or the error that it is (then `answer` is empty)."""

    __slots__ = ("answer", "error")

    def __init__(self, answer: dict[str, typing.Any], error: DashScopeError | None = None) -> None:
        self.answer = answer
        self.error = error


class NativeEventReader:
    """Reads native server-sent events from bytes in any pieces.

    It never raises: data that is not a JSON object and an event above `max_event_bytes` become an event with the error
    502 `upstream_bad_response`, after which the rest of the stream means nothing. Source: HTML standard, "Server-sent
    events", and what DashScope's gateways do to it.
    """

    def __init__(self, max_event_bytes: int = _MAX_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._buffer = bytearray()
        self._searched = 0
        self._take = self._take_beginning
        self._name = ""
        self._status: int | None = None

    def feed(self, data: bytes) -> list[NativeEvent]:
        """Return the events that these bytes complete."""
        self._buffer += data
        events = self._take()
        if len(self._buffer) > self._max_event_bytes:
            self._buffer.clear()
            self._take = self._take_nothing
            events.append(_bad_event(f"an event has more than {self._max_event_bytes} bytes"))
        return events

    def close(self) -> list[NativeEvent]:
        """Return the event in what is left, whose last line end may be missing."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        if self._take == self._take_body:
            return [self._event(rest)]
        return self._read_line(rest)

    def _take_beginning(self) -> list[NativeEvent]:
        """Leave out a byte order mark and decide whether this is a stream or a body of JSON."""
        if self._buffer.startswith(_BOM):
            del self._buffer[: len(_BOM)]
        begin = self._buffer.lstrip()
        if not begin or _BOM.startswith(begin):
            return []
        self._take = self._take_body if begin.startswith(b"{") else self._take_lines
        return self._take()

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
        return [event for line in lines for event in self._read_line(bytes(line))]

    def _read_line(self, line: bytes) -> list[NativeEvent]:
        # Lines are cut before they are decoded: a character may be spread over two reads, a line feed is never in one.
        line = line.rstrip(b"\r")
        status = _STATUS.match(line)
        if status:
            self._status = int(status.group(1))
            return []
        field, _, value = line.partition(b":")
        value = value.strip()
        if field == b"event":
            self._name = value.decode("utf-8", "replace")
        elif field == b"data" and value and value != b"[DONE]":
            return [self._event(value)]
        return []

    def _event(self, data: bytes) -> NativeEvent:
        try:
            answer = json.loads(data)
        except (ValueError, RecursionError):
            return _bad_event("an event is not JSON", data)
        if not isinstance(answer, dict):
            return _bad_event("an event is not a JSON object", data)
        if self._name == "error" or (self._status or 200) >= 400 or is_error_answer(answer):
            return NativeEvent({}, error_from_answer(answer, self._status))
        return NativeEvent(answer)


def _bad_event(reason: str, evidence: bytes = b"") -> NativeEvent:
    return NativeEvent({}, upstream_bad_response(reason, evidence))
