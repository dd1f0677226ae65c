"""Large bodies on their way to a client: a slice is written when the client has taken those before it.

In one piece such a body would wait in the transport, joined with its head and perhaps copied once more: as often as
there are clients that read slowly. In slices all of them send from the one that is in memory, and under TLS, too, a
client that reads nothing is noticed at the second slice.
"""

from __future__ import annotations

import asyncio
import typing

from protocol.exchange import Producer
from protocol.held_bytes import HeldBytes
from protocol.server.output import Output

#: Bodies up to this many bytes leave in one piece with their head.
SLICE_BYTES = 65536
# Slices written in one go, before the loop's other work has its turn.
_SLICES_A_TURN = 8


class SlicedAnswer(Producer):
    """A large body on its way, which counts as held until it is out; ApiError 503 where there is no room for it.

    `encode` frames a slice for the wire, and `end` gets the last one.
    """

    __slots__ = ("_at", "_body", "_encode", "_end", "_held", "_is_running", "_loop", "_output")

    def __init__(
        self,
        body: bytes,
        loop: asyncio.AbstractEventLoop,
        held: HeldBytes,
        encode: typing.Callable[[bytes], bytes],
        output: Output,
        end: typing.Callable[[bytes], object],
    ) -> None:
        held.share(body)
        self._body = body
        self._loop = loop
        self._held = held
        self._encode = encode
        self._output = output
        self._end = end
        self._at = 0
        self._is_running = False

    def resume(self) -> None:
        if not self._is_running:
            self._is_running = True
            self._send()

    def pause(self) -> None:
        self._is_running = False

    def cancel(self) -> None:
        self._is_running = False
        self._let_go()

    def _let_go(self) -> None:
        body, self._body = self._body, b""
        if body:
            self._held.let_go(body)

    def _send(self) -> None:
        body = self._body
        for _ in range(_SLICES_A_TURN):
            if not self._is_running:
                return
            start = self._at
            self._at = end = start + SLICE_BYTES
            data = self._encode(body[start:end])
            if end >= len(body):
                self._is_running = False
                self._let_go()
                self._end(data)
                return
            # If these are too many for the client, `pause` comes from there.
            self._output.send(data)
        self._loop.call_soon(self._send)
