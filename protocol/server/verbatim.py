"""Answers that are sent as they are: the stage of a Verbatim body, which breaks HTTP on purpose.

Before a connection is reset, what was sent must have left: a reset drops what waits (RFC 9293 §3.10.7.4, RST), and the
client would see another fault than the one that is meant. What the client's host has and the client has not read, some
systems drop too; that is theirs to say.
"""

from __future__ import annotations

import asyncio
import typing

from protocol.exchange import AnswerEnd, Paced, Pushed
from protocol.pacer import Pacer
from protocol.server.output import Output
from protocol.timed import timed_frames
from protocol.wire.http1.writers import ResponseWriter

# How often to look whether all has left, and for how long: a client that reads nothing is reset all the same.
_LOOK_SECONDS = 0.005
_MOST_LOOKS = 400


class ServerForStages(typing.Protocol):
    """What a stage needs of the server."""

    loop: asyncio.AbstractEventLoop
    pacer: Pacer

    def cancel(self, task: asyncio.Task[None]) -> None:
        """Cancel what answers a request, once."""


class AnswerStage:
    """The stage of one answer (Stage). `tell_end` is called once, when the connection is to go on or to end."""

    def __init__(
        self,
        server: ServerForStages,
        output: Output,
        writer: ResponseWriter,
        fields: bytes,
        has_begun: bool,
        tell_end: typing.Callable[[AnswerEnd], None],
    ) -> None:
        self.loop = server.loop
        self.fields = fields
        self.writer = writer
        self.has_begun = has_begun
        self._server = server
        self._output = output
        self._tell_end: typing.Callable[[AnswerEnd], None] | None = tell_end

    def send(self, data: bytes) -> None:
        """Send bytes as they are (Stage)."""
        if self._tell_end is not None:
            self._output.send(data)

    def end(self, end: AnswerEnd) -> None:
        """Let the answer be over (Stage)."""
        if end == "reset":
            self._reset_when_sent(_MOST_LOOKS)
        else:
            self._end_now(end)

    def _end_now(self, end: AnswerEnd) -> None:
        tell_end, self._tell_end = self._tell_end, None
        if tell_end is not None:
            tell_end(end)

    def _reset_when_sent(self, looks: int) -> None:
        if self._output.has_left() or not looks:
            self._end_now("reset")
        else:
            self.loop.call_later(_LOOK_SECONDS, self._reset_when_sent, looks - 1)

    def timed(self, paced: Paced) -> Pushed:
        """Return a body that sends a paced one at its pace, from now on (Stage)."""
        pacer = self._server.pacer
        return timed_frames(paced, pacer, pacer.time())

    def run(self, work: typing.Coroutine[typing.Any, typing.Any, None]) -> asyncio.Task[None]:
        """Begin a task for the answer (Stage)."""
        return self.loop.create_task(work)

    def stop(self, task: asyncio.Task[None]) -> None:
        """Cancel a task of the answer; the server waits for its end (Stage)."""
        self._server.cancel(task)
