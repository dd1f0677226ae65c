"""Answers that go on although their clients have left, so that it is known what they cost: [ledger] on_disconnect."""

from __future__ import annotations

import asyncio
import typing

from protocol.exchange import Around, Body, Pushed, Sink

# More than so many at once end with their clients, as if nothing had been said.
_MOST = 1_000
_GLANCE_SECONDS = 0.25


class Drained(typing.Protocol):
    """Whose answer goes on."""

    is_drained: bool

    def end_drained(self) -> None:
        """Learn that the answer has come to its end."""


class Drains:
    """The answers that go on."""

    def __init__(self) -> None:
        self._bodies: set[_Finishing] = set()

    def finishing(self, body: Body, drained: Drained) -> Body:
        """Return a body that goes on when it is cancelled; `drained` hears of its end."""
        return _Finishing(body, drained, self._bodies) if isinstance(body, Pushed) else body

    async def settled(self) -> None:
        """Wait for the end of all that go on now."""
        going_on = set(self._bodies)
        while going_on & self._bodies:
            await asyncio.sleep(_GLANCE_SECONDS)

    def close(self) -> None:
        """End all that go on."""
        for body in list(self._bodies):
            body.stop()


class _Finishing(Around):
    """A body that sends itself, and goes on for nobody once it is cancelled."""

    __slots__ = ("_bodies", "_drained", "_sink")

    def __init__(self, body: Pushed, drained: Drained, bodies: set[_Finishing]) -> None:
        super().__init__(body)
        self._drained = drained
        self._bodies = bodies
        self._sink: _Hearing | None = None

    def begin(self, sink: Sink) -> None:
        """Send to `sink` what the body sends."""
        self._sink = _Hearing(sink)
        self._body.begin(self._sink)

    def cancel(self) -> None:
        """Let the body go on, if it has begun and has not come to its end."""
        sink = self._sink
        if sink is None or sink.is_over or len(self._bodies) >= _MOST:
            self._body.cancel()
            return
        self._drained.is_drained = True
        self._bodies.add(self)
        sink.on_end = self._end
        self._body.resume()

    def stop(self) -> None:
        """Go on no longer."""
        self._body.cancel()
        self._end()

    def _end(self) -> None:
        if self._sink is not None:
            self._sink.on_end = None
        self._bodies.discard(self)
        self._drained.end_drained()


class _Hearing:
    """Hands on what a body sends, and hears of its end (Sink)."""

    __slots__ = ("_sink", "is_over", "on_end")

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.is_over = False
        self.on_end: typing.Callable[[], None] | None = None

    def push(self, data: bytes) -> None:
        """Hand a piece on."""
        if self.on_end is None:
            self._sink.push(data)

    def end(self, data: bytes) -> None:
        """Hand the last piece on."""
        self.is_over = True
        if self.on_end is None:
            self._sink.end(data)
        else:
            self.on_end()

    def fail(self, error: Exception) -> None:
        """Hand on that the body breaks off."""
        self.is_over = True
        if self.on_end is None:
            self._sink.fail(error)
        else:
            self.on_end()
