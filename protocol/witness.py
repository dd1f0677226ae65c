"""Answers as they pass, and their bodies as they leave, seen by who writes them down."""

from __future__ import annotations

import typing

from protocol.exchange import Answer, Around, Body, Paced, Pending, Pushed, Response, Rest, Sink, Verbatim

Change = typing.Callable[[Response], Response]


def passing(answer: Answer, change: Change) -> Answer:
    """Return an answer that is changed when it is there."""
    if isinstance(answer, Response):
        return change(answer)
    return _Passing(answer, change) if isinstance(answer, Pending) else _pass_later(answer, change)


async def _pass_later(answer: typing.Awaitable[Response], change: Change) -> Response:
    return change(await answer)


class _Passing(Pending):
    """An answer that is on its way, and is changed when it comes."""

    __slots__ = ("_change", "_pending")

    def __init__(self, pending: Pending, change: Change) -> None:
        self._pending: Pending | None = pending
        self._change = change
        pending.deliver = self._came

    def _came(self, answer: Response | Rest) -> None:
        self._pending = None
        change = self._change
        if isinstance(answer, Response):
            self.deliver(change(answer))
        else:
            self.deliver(Rest(lambda: _pass_later(answer, change)))

    def pause(self) -> None:
        """Let the answer send no more for now."""
        if self._pending is not None:
            self._pending.pause()

    def resume(self) -> None:
        """Let the answer send again."""
        if self._pending is not None:
            self._pending.resume()

    def cancel(self) -> None:
        """Let the answer give back what it holds."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.cancel()


class Witness(typing.Protocol):
    """Who sees a body leave."""

    def took(self, data: bytes) -> None:
        """Learn that a piece of the body is leaving."""

    def whole(self) -> None:
        """Learn that the body has come to its end."""

    def cut(self, error: Exception | None = None) -> None:
        """Learn that the body breaks off, and why if somebody knows."""


def witnessed(body: Body, witness: Witness) -> Body:
    """Return a body that tells a witness of its pieces as they leave; of one that is ready, it is told at once."""
    if isinstance(body, bytes):
        if body:
            witness.took(body)
        witness.whole()
        return body
    if isinstance(body, Paced):
        for frame in body.frames:
            witness.took(frame)
        witness.whole()
        return body
    if isinstance(body, Verbatim):
        return body  # it tells its witness itself what it sends
    if isinstance(body, Pushed):
        return _WitnessedPushed(body, witness)
    return _WitnessedIterator(body, witness)


class _WitnessedIterator:
    """A body that is iterated. It is no generator: what the server closes is the body itself, also unbegun."""

    __slots__ = ("_body", "_witness")

    def __init__(self, body: typing.AsyncIterator[bytes], witness: Witness) -> None:
        self._body = body
        self._witness = witness

    def __aiter__(self) -> _WitnessedIterator:
        return self

    async def __anext__(self) -> bytes:
        try:
            data = await self._body.__anext__()
        except StopAsyncIteration:
            self._witness.whole()
            raise
        except Exception as exc:
            self._witness.cut(exc)
            raise
        self._witness.took(data)
        return data

    async def aclose(self) -> None:
        """Let the body give back what it holds."""
        close = getattr(self._body, "aclose", None)
        if close is not None:
            await close()


class _WitnessedPushed(Around):
    """A body that sends itself."""

    __slots__ = ("_witness",)

    def __init__(self, body: Pushed, witness: Witness) -> None:
        super().__init__(body)
        self._witness = witness

    def begin(self, sink: Sink) -> None:
        """Send to `sink` what the body sends, and tell the witness."""
        self._body.begin(_WitnessedSink(sink, self._witness))


class _WitnessedSink:
    """Hands on what a body sends (Sink)."""

    __slots__ = ("_sink", "_witness")

    def __init__(self, sink: Sink, witness: Witness) -> None:
        self._sink = sink
        self._witness = witness

    def push(self, data: bytes) -> None:
        """Hand a piece on."""
        self._witness.took(data)
        self._sink.push(data)

    def end(self, data: bytes) -> None:
        """Hand the last piece on."""
        if data:
            self._witness.took(data)
        self._witness.whole()
        self._sink.end(data)

    def fail(self, error: Exception) -> None:
        """Hand on that the body breaks off."""
        self._witness.cut(error)
        self._sink.fail(error)
