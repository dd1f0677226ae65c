"""Paced bodies: frames that leave at their times."""

from __future__ import annotations

import typing

from protocol.exchange import Paced, Producer
from protocol.pacer import Pacer


class ByteSink(typing.Protocol):
    """Where what is ready to be sent goes."""

    def write(self, data: bytes) -> object:
        """Send it."""


_NOTHING = Paced((), first_delay=0.0, delay=0.0)


def _end_nothing(data: bytes) -> None:
    """Stand for the end of an answer that was cancelled."""


class PacedAnswer(Producer):
    """A paced body on its way. Frames that are late leave together, so that a busy server falls behind no further.

    `encode` frames a piece of the body for the wire, `sink` takes the bytes, and `end` gets the last of them.
    """

    __slots__ = ("_at", "_body", "_due", "_encode", "_end", "_has_timer", "_pacer", "_running", "_sink")

    def __init__(
        self,
        body: Paced,
        pacer: Pacer,
        encode: typing.Callable[[bytes], bytes],
        sink: ByteSink,
        end: typing.Callable[[bytes], object],
    ) -> None:
        self._body = body
        self._pacer = pacer
        self._encode = encode
        self._sink = sink
        self._end = end
        self._at = 0
        self._due = pacer.time() + body.first_delay
        self._running = False
        self._has_timer = False

    def resume(self) -> None:
        self._running = True
        if not self._has_timer:
            self._has_timer = True
            self._pacer.add(self._due, self)

    def pause(self) -> None:
        self._running = False

    def cancel(self) -> None:
        self._running = False
        # The pacer keeps us until our next frame is due; what the request held goes now.
        self._body, self._end = _NOTHING, _end_nothing

    def send_due(self, now: float) -> None:
        """Send the frames that are due; called by the pacer."""
        if not self._running:
            self._has_timer = False
            return
        body, encode, at, due = self._body, self._encode, self._at, self._due
        frames = body.frames
        data = b""
        while due <= now and at < len(frames):
            data += encode(frames[at])
            at += 1
            due += body.delay
        self._at, self._due = at, due
        if at == len(frames):
            self._has_timer = self._running = False
            self._end(data)
            return
        # Before the bytes go: if they are too many for the client, `pause` comes from there.
        self._pacer.add(due, self)
        self._sink.write(data)
