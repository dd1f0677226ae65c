"""What every reader of a message stands on: the bytes that came, the state, and sections of field lines.

See readers.py for how the readers work, and bodies.py for bodies.
"""

from __future__ import annotations

import typing

from protocol.wire.http1.grammar import BARE_CONTROL, FIELD_LINES
from protocol.wire.http1.messages import NEED_DATA, NO_TRAILERS, PAUSED, BadMessage, Event, Fields, read_pairs
from protocol.wire.http1.refusals import bad_field_reason, bare_control_shown

_are_field_lines = FIELD_LINES.fullmatch
_find_bare_control = BARE_CONTROL.search

# A state's method, whose argument is the reader: a subclass of MessageBuffer, so that no narrower type fits them all.
_Step = typing.Callable[[typing.Any], Event]


class MessageBuffer:
    """The bytes that came and are not read yet, the limits, and the step that reads on.

    `max_head` is in bytes and holds for a head, for a trailer section, and for the chunk extensions of one body;
    `max_fields` is a number of lines.
    """

    __slots__ = ("_at", "_data", "_ended", "_max_fields", "_max_head", "_received", "_searched", "_step", "max_body")

    def __init__(self, first_step: _Step, max_head: int, max_fields: int, max_body: int | None) -> None:
        #: Bytes a body may have in all, None for no limit. It may be changed after a head, before its body.
        self.max_body = max_body
        self._max_head = max_head
        self._max_fields = max_fields
        self._data = b""
        self._at = 0  # everything before it has been turned into events
        self._searched = 0  # up to here an end has been looked for: a section's, or a chunk line's
        self._received = 0  # bytes of the body so far, where its length is not told by the head
        self._ended = False
        # A function and not a bound method: that would be a cycle, left to the collector.
        self._step = first_step

    def feed(self, data: bytes) -> None:
        """Take bytes from the peer; `b""` says that it will send no more."""
        if not data:
            self._ended = True
        elif self._at == len(self._data):
            self._data, self._at, self._searched = data, 0, 0
        else:
            self._data = self._data[self._at :] + data
            self._searched = max(0, self._searched - self._at)
            self._at = 0

    def next_event(self) -> Event:
        """Return the next event, or NEED_DATA, PAUSED or CLOSED; raise BadMessage, and nothing else."""
        return self._step(self)

    @property
    def is_over(self) -> bool:
        """Whether the message has been read to its end: PAUSED is what comes next."""
        return self._step is MessageBuffer._paused

    @property
    def left(self) -> int:
        """How many bytes wait inside, below 0 once the message is over: both in one look."""
        return -1 if self._step is MessageBuffer._paused else len(self._data) - self._at

    @property
    def buffered(self) -> int:
        """How many bytes wait inside, not yet turned into events."""
        return len(self._data) - self._at

    def take_rest(self) -> bytes:
        """Return the bytes that wait inside and forget them: they belong to the protocol after an upgrade."""
        rest = self._data[self._at :]
        self._data, self._at, self._searched = b"", 0, 0
        return rest

    # -- the states at the end of a message

    def _end_of_body(self) -> Event:
        self._step = MessageBuffer._paused
        if self._at == len(self._data):  # as in `_forget_read`
            self._data, self._at, self._searched = b"", 0, 0
        return NO_TRAILERS

    def _forget_read(self) -> None:
        """Let go of bytes that are all read: no body stays behind while a connection rests."""
        if self._at == len(self._data):
            self._data, self._at, self._searched = b"", 0, 0

    def _paused(self) -> Event:
        return PAUSED

    def _refuse(self, status: int, message: str) -> BadMessage:
        """Return the BadMessage to raise; nothing is read after it."""
        self._step = MessageBuffer._dead
        return BadMessage(status, message)

    def _dead(self) -> Event:
        raise BadMessage(400, "The connection is unusable since its last broken message.")

    # -- bytes of a body

    def _take(self, most: int) -> bytes | None:
        """Return up to `most` waiting bytes, or None where none wait."""
        data, at = self._data, self._at
        have = len(data) - at
        if not have:
            return None
        if not at and have <= most:
            self._at = have
            return data
        part = data[at : at + most]
        self._at = at + len(part)
        return part

    def _count(self, size: int) -> None:
        self._received += size
        if self.max_body is not None and self._received > self.max_body:
            raise self._refuse(413, f"The body has more than the {self.max_body} bytes that are accepted.")

    def _need_body(self) -> Event:
        if self._ended:
            raise self._refuse(400, "The connection ended within the body.")
        return NEED_DATA

    # -- sections of field lines: heads (with the line before them) and trailers

    def _find_section_end(self, what: str) -> int:
        """Return where the empty line ends that closes the section at `_at`, or 0 while it has not come.

        `what` names the section where it is refused. Only new bytes are searched, so that a section that comes byte by
        byte does not cost its square.
        """
        data, at = self._data, self._at
        end = data.find(b"\r\n\r\n", max(at, self._searched - 3)) + 4
        size = (end if end > 3 else len(data)) - at
        if size > self._max_head:
            raise self._refuse(431, f"The {what} has more than {self._max_head} bytes.")
        if end > 3:
            return end
        bare = _find_bare_control(data, max(at, self._searched - 1))
        if bare:
            raise self._refuse(
                400, f"The {what} holds {bare_control_shown(data, bare.start())}; its lines end with CR LF."
            )
        if self._ended:
            raise self._refuse(400, f"The connection ended within the {what}.")
        self._searched = len(data)
        return 0

    def _parse_fields(self, start: int, end: int) -> Fields:
        """Return the fields between `start` and `end`, which holds whole lines (RFC 9112 §5)."""
        data = self._data
        if not _are_field_lines(data, start, end):
            raise self._refuse(400, bad_field_reason(data[start:end]))
        if start == end:
            return Fields([])
        count = data.count(b"\n", start, end)
        if count > self._max_fields:
            raise self._refuse(431, f"The head has {count} fields; at most {self._max_fields} are accepted.")
        return Fields(read_pairs(data[start : end - 2]))
