"""Request bodies coming in: held until they are whole, or read by their endpoint as they come."""

from __future__ import annotations

import asyncio
import typing

from protocol.deadline import Deadline
from protocol.errors import ApiError
from protocol.exchange import LONG_BODY, room_to_read
from protocol.server.leaving import SocketIntake
from protocol.server.output import Output
from protocol.wire.gathering import Gathering
from protocol.wire.http1.messages import NEED_DATA, BadMessage, BodyPart, EndOfBody, RequestHead
from protocol.wire.http1.readers import RequestReader


class HeldBody:
    """The body of a request with this head, whose endpoint wants it in one piece.

    A long one is read by its endpoint in any case, which takes as much again, and more where it has many values. So
    room for that is made while it comes: whoever is let in is not sent away once all of it is here.
    """

    __slots__ = ("_gathered", "_length", "_reader", "_room")

    def __init__(self, reader: RequestReader, head: RequestHead) -> None:
        self._reader = reader
        self._length = head.content_length
        self._room = room_to_read(head.fields)
        self._gathered: Gathering | None = None  # of a body that does not come at once

    @property
    def size(self) -> int:
        """How many bytes it takes, and what is read of it; where its length is not known, of what is here by now."""
        here = 0 if self._gathered is None else self._gathered.size
        length = here if self._length is None else self._length
        return length if length <= LONG_BODY else length + self._room.size + length - here

    def made_room(self, body: bytes) -> int:
        """Return how many bytes of that are for what is read of the body, which is here now; 0 for a short one."""
        return self._room.size if len(body) > LONG_BODY else 0

    def read(self) -> bytes | None:
        """Return the body once it is whole, None while more must come; BadMessage."""
        next_event = self._reader.next_event
        event = next_event()
        if self._gathered is None:
            first = b""
            if type(event) is BodyPart:
                first, event = event.data, next_event()
            if type(event) is EndOfBody:
                if len(first) > LONG_BODY:
                    self._room.add(first)
                return first
            self._gathered = Gathering()
            self._add(first)
        while type(event) is BodyPart:
            self._add(event.data)
            event = next_event()
        return None if event is NEED_DATA else self._gathered.take()

    def _add(self, piece: bytes) -> None:
        assert self._gathered is not None
        self._gathered.add(piece)
        if self._length is None or self._length > LONG_BODY:
            self._room.add(piece)


class BodyLine(typing.Protocol):
    """What a body that is read as it comes needs of its connection."""

    loop: asyncio.AbstractEventLoop
    deadline: Deadline
    intake: SocketIntake
    output: Output
    reader: RequestReader

    def spoil(self) -> None:
        """Note that nobody can say where the next request begins."""

    def end_wait_for_body(self) -> None:
        """Let the time limit for the body hold no more."""


class BodyStream:
    """A request's body as its endpoint reads it: straight from the reader, the socket paused while nobody does.

    It may be silent for `seconds` while the endpoint waits for bytes. After status 101 it is what the client sends in
    the new protocol, which has no such limit.
    """

    __slots__ = ("_done", "_error", "_line", "_seconds", "_waiter")

    def __init__(self, line: BodyLine, seconds: float) -> None:
        self._line = line
        self._seconds = seconds
        self._waiter: asyncio.Future[None] | None = None
        self._error: ApiError | None = None
        self._done = False

    def __aiter__(self) -> BodyStream:
        return self

    async def __anext__(self) -> bytes:
        line = self._line
        while not self._done:
            if self._error is not None:
                raise self._error.anew()  # what was raised holds frames, and they hold the request
            try:
                event = line.reader.next_event()
            except BadMessage as exc:
                self._error = ApiError(exc.status, exc.message)
                line.spoil()
                continue
            if type(event) is BodyPart:
                return event.data
            if event is NEED_DATA:
                await self._more()
            elif line.intake.is_tunnel:
                rest = line.reader.take_rest()
                if rest:
                    return rest
                if line.intake.has_ended:
                    break
                await self._more()
            else:
                break
        self._done = True
        raise StopAsyncIteration

    async def _more(self) -> None:
        line = self._line
        line.intake.resume()
        line.output.ask_for_body()
        self._waiter = line.loop.create_future()
        self.limit_wait()
        try:
            await self._waiter
        finally:
            self._waiter = None
            line.end_wait_for_body()

    def limit_wait(self) -> None:
        """Set the time limit for what is waited for, if anything is; none holds in a tunnel."""
        if self._waiter is not None and not self._line.intake.is_tunnel:
            self._line.deadline.expire_in(self._seconds)

    def wake(self) -> None:
        """Say that there may be bytes."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def fail(self, error: ApiError) -> None:
        """Let the endpoint's reading raise."""
        self._error = error
        self.wake()


def skip_body(reader: RequestReader) -> bool:
    """Pass over what has come of a body that nobody reads; return whether that is all, so that a request comes next."""
    try:
        while not reader.is_over:
            if reader.next_event() is NEED_DATA:
                return False
        return True
    except BadMessage:
        return False
