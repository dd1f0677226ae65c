"""Request bodies coming in: held until they are whole, or read by their endpoint as they come."""

from __future__ import annotations

import asyncio
import typing

from protocol.deadline import Deadline
from protocol.errors import ApiError
from protocol.server.leaving import SocketIntake
from protocol.server.output import Output
from protocol.wire.gathering import Gathering
from protocol.wire.http1.messages import NEED_DATA, BadMessage, BodyPart, EndOfBody
from protocol.wire.http1.readers import RequestReader


class HeldBody:
    """A request's body whose endpoint wants it in one piece; `length` is its length in bytes where that is known."""

    __slots__ = ("_gathered", "_length", "_reader")

    def __init__(self, reader: RequestReader, length: int | None) -> None:
        self._reader = reader
        self._length = length
        self._gathered: Gathering | None = None  # of a body that does not come at once

    @property
    def size(self) -> int:
        """How many bytes it will have or, where that is not known, has by now."""
        if self._length is not None:
            return self._length
        return 0 if self._gathered is None else self._gathered.size

    def read(self) -> bytes | None:
        """Return the body once it is whole, None while more must come; BadMessage."""
        next_event = self._reader.next_event
        event = next_event()
        if self._gathered is None:
            first = b""
            if type(event) is BodyPart:
                first, event = event.data, next_event()
            if type(event) is EndOfBody:
                return first
            self._gathered = Gathering()
            self._gathered.add(first)
        while type(event) is BodyPart:
            self._gathered.add(event.data)
            event = next_event()
        return None if event is NEED_DATA else self._gathered.take()


class BodyLine(typing.Protocol):
    """What a body that is read as it comes needs of its connection."""

    loop: asyncio.AbstractEventLoop
    deadline: Deadline
    intake: SocketIntake
    is_tunnel: bool
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
            elif line.is_tunnel:
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
        if self._waiter is not None and not self._line.is_tunnel:
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
