"""What an upstream says back: the answer to a request, or after 101 the other side of a tunnel."""

from __future__ import annotations

import asyncio
import typing

from protocol.upstream.connection import SILENCE, UpstreamConnection
from protocol.wire.http1.messages import BadMessage, ResponseHead
from protocol.wire.masking import Mask, MaskedStream

#: The fields of answers from which AnswerFacts may be worked out.
TELLING_FIELDS = frozenset((b"content-type", b"content-encoding"))


class AnswerFacts:
    """What is worked out of all answers whose heads differ in no field that tells something (MessageHead.facts).

    `kind` is None until whoever passes answers on has worked it out; its type is his.
    """

    __slots__ = ("kind",)

    def __init__(self) -> None:
        self.kind: typing.Any = None


def is_coded(head: ResponseHead) -> bool:
    """Tell whether the body is under a Content-Encoding."""
    coding = head.fields.get("content-encoding")
    return coding != "" and coding.lower() != "identity"


class UpstreamAnswer:
    """An answer whose head is here; iterate over it for its body, or `take` what has come. UpstreamFailed.

    Between two bytes `timeout` seconds may pass (0: any number). When the body has been taken whole, `give_back` gets
    the connection; where nobody wants the rest, `let_go` does. `mask` hides the owner's secrets in the body; of one
    under a Content-Encoding it cannot, and is None.
    """

    __slots__ = (
        "_connection", "_give_back", "_let_go", "_mask", "_reader", "_stream", "_timeout", "complete", "has_more",
        "head",
    )  # fmt: skip

    def __init__(
        self,
        connection: UpstreamConnection,
        head: ResponseHead,
        timeout: float,
        give_back: typing.Callable[[UpstreamConnection], None],
        let_go: typing.Callable[[UpstreamConnection], None],
        mask: Mask | None = None,
    ) -> None:
        self.head = head
        #: Whether nothing more is to be had: the connection serves others, or is closed.
        self.complete = False
        #: Whether another `take` may have something to give, or to raise, at once.
        self.has_more = True
        self._connection = connection
        self._reader = connection.reader
        self._timeout = timeout
        self._give_back = give_back
        self._let_go = let_go
        self._mask = mask
        self._stream: MaskedStream | None = None  # once there is a piece that is not all

    def __aiter__(self) -> UpstreamAnswer:
        return self

    async def __anext__(self) -> bytes:
        while not self.complete:
            data = self.take()
            if data:
                return data
            if not self.complete:
                await self._connection.more(self._timeout, SILENCE)
        raise StopAsyncIteration

    @property
    def waits(self) -> bool:
        """Whether a `take` may have something to give, or to raise, at once: whatever has come since the last one."""
        return self._reader.left != 0 or not self._connection.is_open

    def take(self) -> bytes:
        """Return what of the body is here already, b"" for nothing. UpstreamFailed, once all before it is taken."""
        reader, mask, stream = self._reader, self._mask, self._stream
        try:
            data = reader.take_body()
            left = reader.left
            if mask is not None and data:
                if left < 0 and stream is None:
                    data = mask.hide(data)
                else:
                    if stream is None:
                        stream = self._stream = mask.stream()
                    passing = stream.feed(data)
                    if not passing:
                        passing = self._next_masked(stream)
                        left = reader.left
                    data = passing
        except BadMessage as exc:
            raise self._connection.failure() from exc
        if left < 0:
            self.complete = True
            self.has_more = False
            self._give_back(self._connection)
            if stream is not None:
                data += stream.close()
        else:
            self.has_more = left > 0 or not self._connection.is_open
        return data

    def masked(self) -> MaskedStream | None:
        """Return what hides the owner's secrets in chunks that do not come by `take`, None for nothing."""
        if self._stream is None and self._mask is not None:
            self._stream = self._mask.stream()
        return self._stream

    def _next_masked(self, stream: MaskedStream) -> bytes:
        """Return the next that can go on of what is here, after a piece all of which has to wait; b"" for nothing."""
        while True:
            data = self._reader.take_body()
            passing = stream.feed(data)
            if passing or not data:
                return passing

    def listen(
        self, notify: typing.Callable[[], object], take_chunk: typing.Callable[[bytes], object] | None = None
    ) -> None:
        """Have `notify` called when there may be something to take, or something is wrong; the time limit holds.

        `take_chunk` may be called instead with what is in one chunk, which has to go through `masked` yet.
        """
        self._connection.listen(notify, take_chunk)
        self._connection.limit_silence(self._timeout)

    def deafen(self) -> None:
        """Have nothing called; when much waits, the upstream is no longer read."""
        self._connection.deafen()

    def check(self) -> None:
        """Raise what has gone wrong, if nothing more will come."""
        self._connection.check()

    async def hold(self, most: int, seconds: float) -> bytes:
        """Return the body as far as it comes within `seconds` and `most` bytes, or a read more. UpstreamFailed."""
        pieces: list[bytes] = []
        size = 0
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while not self.complete and size <= most and loop.time() < until:
            data = self.take()
            pieces.append(data)
            size += len(data)
            if not data and not self.complete:
                await self._connection.more(self._timeout, SILENCE, max(0.001, until - loop.time()))
        return b"".join(pieces)

    async def aclose(self) -> None:
        """Say that nobody wants the rest."""
        self.let_go()

    def let_go(self) -> None:
        """Do what `aclose` does."""
        if not self.complete:
            self.complete = True
            self._let_go(self._connection)

    def discard(self) -> None:
        """Close the connection unless the body was taken whole, also where `let_go` would have the rest read."""
        if not self.complete:
            self.complete = True
            self._connection.dismiss()


class UpstreamTunnel:
    """What follows a 101: bytes of another protocol, in both directions until either side ends it.

    Iterate over it for what the upstream says; `outgoing` is what is said to it, read once the iteration begins. Either
    side may be silent for any time, but when the upstream takes nothing for `timeout` seconds of what waits for it,
    UpstreamTimeout is raised (0: never). A client may leave, and its end wait on its own host behind what the upstream
    does not take: then nothing else tells of it. `masked` hides the owner's secrets in what the upstream says.
    """

    __slots__ = ("_connection", "_masked", "_outgoing", "_pump", "_timeout", "head")

    def __init__(
        self,
        connection: UpstreamConnection,
        head: ResponseHead,
        outgoing: typing.AsyncIterator[bytes],
        timeout: float,
        masked: MaskedStream | None = None,
    ) -> None:
        self.head = head
        self._timeout = timeout
        self._connection = connection
        self._outgoing = outgoing
        self._masked = masked
        self._pump: asyncio.Task[None] | None = None

    def __aiter__(self) -> UpstreamTunnel:
        return self

    async def __anext__(self) -> bytes:
        connection = self._connection
        if self._pump is None:
            self._pump = asyncio.get_running_loop().create_task(self._send())
        while True:
            data = connection.reader.take_rest()
            if data and self._masked is not None:
                data = self._masked.feed(data)
            elif not data and not connection.is_open and self._masked is not None:
                data = self._masked.close()
            if data:
                return data
            if not connection.is_open:
                raise StopAsyncIteration
            await connection.more(0.0, "")

    async def _send(self) -> None:
        connection = self._connection
        async for data in self._outgoing:
            connection.send(data)
            del data
            await connection.taken(self._timeout)
        # The client has said its last word; what is on its way to the upstream still goes out.
        await connection.close_when_taken(self._timeout)

    async def aclose(self) -> None:
        """Close the connection, whatever is still under way."""
        pump, self._pump = self._pump, None  # its error has a frame that has us
        if pump is not None:
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)
        self._connection.dismiss()
        outgoing = self._outgoing
        if isinstance(outgoing, typing.AsyncGenerator):  # which gives back what it holds
            await outgoing.aclose()
