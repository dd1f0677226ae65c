"""Server-sent events: the stream format of the HTML standard (§9.2) as events, both ways; no I/O.

`SseReader` takes the bytes of a stream in any pieces. It turns every line end into LF, keeps what follows the last
empty line as the unfinished event, and parses what stands before it. Line ends are ASCII, so cutting there never
cuts a character. The standard's "dispatch" is an item of the list that `feed` returns. Its reconnection belongs to
whoever owns the connection, so the field `retry` is passed over like an unknown one.

The writers at the end are the only place that knows how an event looks. They take JSON texts, which are one line
each, so they need not look for line ends.
"""

from __future__ import annotations

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class SseEvent:
    """One event of a stream.

    `data` is the text of its data lines, joined with LF. `event` is its name, None where it has none (the standard
    then says "message"). `id` is the last event ID of the stream at this event, None before the first `id` line.
    """

    __slots__ = ("data", "event", "id")

    def __init__(self, event: str | None, data: str, id: str | None) -> None:
        self.event = event
        self.data = data
        self.id = id

    def __repr__(self) -> str:
        return f"SseEvent({self.event!r}, {self.data!r}, {self.id!r})"


class EventTooLong(Exception):
    """An event grew beyond the bound in bytes; `events` are those that the same bytes finished before it."""

    def __init__(self, max_event_bytes: int, events: list[SseEvent]) -> None:
        super().__init__(f"An event of the stream has more than {max_event_bytes} bytes.")
        self.events = events


class SseReader:
    """Reads one event stream, fed in pieces of any size (HTML standard §9.2.5 and §9.2.6).

    `max_event_bytes` bounds one event: all its lines with their line ends, comments included, the empty line that
    ends it not. Sixteen million leave room for the pictures that image models stream as base64.
    Bytes that are no UTF-8 become U+FFFD; unknown fields are ignored. Both are the standard's rules, not leniency.
    """

    def __init__(self, *, max_event_bytes: int = 16_000_000) -> None:
        self._max_event_bytes = max_event_bytes
        self._id: str | None = None
        self._unfinished = bytearray()  # since the last empty line, line ends already LF
        self._at_start = True  # a byte order mark may still come
        self._after_cr = False  # the last byte was a CR, counted as a line end; a LF now would be its second half
        self._failed = False

    def feed(self, data: bytes) -> list[SseEvent]:
        """Take bytes and return the events that they finish; raise EventTooLong, from then on every time."""
        if self._failed:
            raise EventTooLong(self._max_event_bytes, [])
        if self._after_cr or b"\r" in data:
            data = self._with_line_feeds(data)
        if self._at_start:
            data = self._without_byte_order_mark(data)
        finished = self._take_finished(data)
        is_too_long = len(self._unfinished) > self._max_event_bytes
        if len(finished) >= self._max_event_bytes:
            sound = self._before_too_long(finished)
            is_too_long = is_too_long or len(sound) < len(finished)
            finished = sound
        events = self._parse(finished) if finished else []
        if is_too_long:
            self._failed = True
            self._unfinished.clear()
            raise EventTooLong(self._max_event_bytes, events)
        return events

    def close(self) -> bool:
        """Tell at the end of the stream whether it broke inside an event, which is dropped (§9.2.6, last step).

        Comments alone are no event.
        """
        lines = self._unfinished.split(b"\n")
        return any(line and not line.startswith(b":") for line in lines)

    def _with_line_feeds(self, data: bytes) -> bytes:
        if self._after_cr and data[:1] == b"\n":
            data = data[1:]
            self._after_cr = False
        if data:
            self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _without_byte_order_mark(self, data: bytes) -> bytes:
        data = bytes(self._unfinished) + data
        self._unfinished.clear()
        if len(data) < len(_BYTE_ORDER_MARK) and _BYTE_ORDER_MARK.startswith(data):
            self._unfinished += data
            return b""
        self._at_start = False
        return data[len(_BYTE_ORDER_MARK) :] if data.startswith(_BYTE_ORDER_MARK) else data

    def _take_finished(self, data: bytes) -> bytes:
        """Keep what follows the last empty line; return what stands before it, b"" where there is none yet."""
        unfinished = self._unfinished
        # Only the new bytes are searched, and the join: a long event in many pieces must not cost their square.
        start = max(len(unfinished) - 1, 0)
        unfinished += data
        end = unfinished.rfind(b"\n\n", start)
        finished = b""
        if end >= 0:
            finished = bytes(unfinished[:end])
            del unfinished[: end + 2]
        if unfinished.startswith(b"\n"):
            del unfinished[0]  # one more empty line, which ends nothing
        return finished

    def _before_too_long(self, finished: bytes) -> bytes:
        """Return what stands before the first event that breaks the bound: all, where none does."""
        blocks = finished.split(b"\n\n")
        for number, block in enumerate(blocks):
            if len(block.strip(b"\n")) >= self._max_event_bytes:  # its last line end is no longer there
                return b"\n\n".join(blocks[:number])
        return finished

    def _parse(self, finished: bytes) -> list[SseEvent]:
        # The short way for what language models send, `data: {json}` and nothing else: 0.5 to 0.8 µs an event of 250
        # bytes where the way below takes 1.5 to 2.5 (CPython 3.11, 2,000 a feed). No LF may be left within a piece.
        pieces = finished[6:].split(b"\n\ndata: ")
        if finished.startswith(b"data: ") and finished.count(b"\n") == 2 * len(pieces) - 2:
            last_id = self._id
            return [SseEvent(None, piece.decode("utf-8", "replace"), last_id) for piece in pieces]
        blocks = finished.decode("utf-8", "replace").split("\n\n")
        return [event for event in map(self._parse_block, blocks) if event is not None]

    def _parse_block(self, block: str) -> SseEvent | None:
        """Return the event that the lines make, or None where none of them is a data line (§9.2.6)."""
        name = None
        data_lines: list[str] = []
        for line in block.split("\n"):
            field, _, value = line.partition(":")
            if value.startswith(" "):
                value = value[1:]
            if field == "data":
                data_lines.append(value)
            elif field == "event":
                name = value or None
            elif field == "id" and "\0" not in value:
                self._id = value
        return SseEvent(name, "\n".join(data_lines), self._id) if data_lines else None


# ---- writing ----------------------------------------------------------------------------------------------------

# An event with a name, and the halves of one without. Streams of many short events fill these in
# themselves, since a call for each would cost 4 % of what its JSON text costs (CPython 3.11).
NAMED_EVENT = b"event: %b\ndata: %b\n\n"
EVENT_START = b"data: "
EVENT_END = b"\n\n"

#: The data of the event that ends OpenAI's streams, where it is no JSON (API reference, "Streaming").
DONE = "[DONE]"

# HTML standard §9.2.6: an event ends with an empty line; a line ends with CR LF, LF or CR.
_EVENT_ENDS = (b"\n\n", b"\n\r\n", b"\r\r\n", b"\r\r")


def encode_event(data: bytes) -> bytes:
    """Return an event without a name. `data` must be one line, as compact JSON is: no line end is looked for."""
    return b"data: %b\n\n" % data


def encode_named_event(name: str, data: bytes) -> bytes:
    """Return an event with a name, which must be one line; `data` is as for encode_event."""
    return NAMED_EVENT % (name.encode(), data)


def encode_native_event(id: int, name: bytes, comment: bytes, data: bytes) -> bytes:
    """Return an event as DashScope writes it: numbered, with a comment, and no space behind the colons.

    Readers take off one space where there is one (HTML standard §9.2.6), so both spellings mean the same. Name and
    comment must be one line; `data` is as for encode_event.
    """
    return b"id:%d\nevent:%b\n:%b\ndata:%b\n\n" % (id, name, comment, data)


def encode_comment(text: str) -> bytes:
    """Return a comment of one line, which every reader ignores (HTML standard §9.2.7)."""
    return f": {text}\n\n".encode()


#: What keeps a silent stream open: proxies on the way close connections on which nothing moves.
KEEP_ALIVE = encode_comment("keep-alive")

#: The event that ends a stream of chat completions.
DONE_EVENT = encode_event(DONE.encode())


def missing_end(tail: bytes) -> bytes:
    """Return the line ends that are missing behind `tail`, the last bytes of a stream, to end the event in it.

    b"" says that nothing is missing: whatever comes next is an event of its own. Three bytes of tail are enough.
    """
    if tail.endswith(_EVENT_ENDS):
        return b""
    # Behind a CR one LF would be its second half.
    return b"\n" if tail.endswith(b"\n") else b"\n\n"
