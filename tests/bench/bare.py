"""The bare peer: an asyncio protocol that reads nothing and answers each arrival with the bytes of a file.

It is the most that asyncio can do on a core; the distance to it is what a server itself costs. With more files it is
an upstream for relays: it waits for whole requests, and one for a stream, in OpenAI's way or DashScope's, gets the
further files, each written by itself. Run as a script with the files' names; prints its address, then serves until it
is ended.
"""

from __future__ import annotations

import argparse
import asyncio
import pathlib
import re
from collections.abc import Sequence
from typing import Callable, cast

_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
# All read into one buffer. asyncio makes 256 kB for each read else, which glibc maps anew each time in some processes
# and in others not: that alone made an upstream twice as dear, and the relay before it had less to do in a turn.
_ARRIVED = memoryview(bytearray(1 << 16))
_STREAMED = re.compile(rb'"stream"\s*:\s*true|\r\nx-dashscope-sse:[ \t]*enable', re.IGNORECASE)


class Constant(asyncio.BufferedProtocol):
    """Write the same complete answer for every arrival of bytes."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return _ARRIVED

    def buffer_updated(self, size: int) -> None:
        self._transport.write(self._answer)


class Upstream(Constant):
    """Write the answer, or the pieces with `delay` seconds between them, for every complete request."""

    def __init__(self, answer: bytes, pieces: Sequence[bytes], delay: float) -> None:
        super().__init__(answer)
        self._pieces = pieces
        self._delay = delay
        self._loop = asyncio.get_running_loop()
        self._request = b""

    def buffer_updated(self, size: int) -> None:
        # A relay may send the head and the body apart. It never sends the next request before it has its answer.
        self._request += _ARRIVED[:size]
        head_end = self._request.find(b"\r\n\r\n")
        if head_end < 0:
            return
        length = _CONTENT_LENGTH.search(self._request, 0, head_end)
        # Who asks without a body wants to know whether this is alive: the answer of a chat says so, too.
        if length and len(self._request) < head_end + 4 + int(length[1]):
            return
        if _STREAMED.search(self._request):
            self._write_piece(0)
        else:
            self._transport.write(self._answer)
        self._request = b""

    def _write_piece(self, index: int) -> None:
        self._transport.write(self._pieces[index])
        if index + 1 == len(self._pieces) or self._transport.is_closing():
            return
        # Even without a delay the next piece is for the loop's next turn, so that other connections get theirs first.
        if self._delay:
            self._loop.call_later(self._delay, self._write_piece, index + 1)
        else:
            self._loop.call_soon(self._write_piece, index + 1)


async def serve(make: Callable[[], asyncio.BaseProtocol]) -> None:
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0, backlog=4096)
    print(f"bare peer on http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--delay", type=float, default=0.0, help="seconds between two pieces")
    parser.add_argument("answer", type=pathlib.Path)
    parser.add_argument("pieces", type=pathlib.Path, nargs="*")
    given = parser.parse_args()
    answer, pieces = given.answer.read_bytes(), [piece.read_bytes() for piece in given.pieces]
    asyncio.run(serve(lambda: Upstream(answer, pieces, given.delay) if pieces else Constant(answer)))


if __name__ == "__main__":
    main()
