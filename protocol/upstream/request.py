"""A request on its way out: whole in one write where it is small, else in pieces as the socket takes them."""

from __future__ import annotations

import asyncio
import typing

from protocol.upstream.connection import UpstreamConnection
from protocol.wire.http1.writers import RequestWriter, request_lines, whole_request

# A body up to this size goes out in one write with its head, a larger one in pieces of it as the socket takes them.
PIECE_BYTES = 65536

# As many pieces at most go out before others have their turn, however fast the upstream takes them: 1 MB, 1 ms.
_PIECES_A_TURN = 16


class UpstreamRequest(typing.NamedTuple):
    """A request to send. `fields` is a block that holds Host; `stream` takes the place of `body` where it is given.

    `length` is the stream's in bytes, None for a chunked one.
    """

    method: str
    target: str
    fields: bytes
    body: bytes = b""
    stream: typing.Optional[typing.AsyncIterator[bytes]] = None
    length: typing.Optional[int] = None


def send_request(
    connection: UpstreamConnection, request: UpstreamRequest, *, timeout: float, first_byte_timeout: float
) -> None:
    """Send a request on a connection that has begun an exchange.

    Of a body in pieces each may take up to `timeout` seconds; after the last one the answer may take
    `first_byte_timeout` to begin.
    """
    method, target, fields, body, stream, length = request
    if stream is None and len(body) <= PIECE_BYTES:
        connection.send(whole_request(method, request_lines(method, target, fields), body))
    else:
        writer = RequestWriter()
        head = writer.start(method, target, fields, len(body) if stream is None else length)
        pieces = pieces_of(body) if stream is None else stream
        connection.upload(_send_pieces(connection, head, writer, pieces, timeout, first_byte_timeout))


async def _send_pieces(
    connection: UpstreamConnection,
    head: bytes,
    writer: RequestWriter,
    pieces: typing.AsyncIterator[bytes],
    timeout: float,
    first_byte_timeout: float,
) -> None:
    unsent = head
    try:
        async for data in pieces:
            if not connection.is_open:
                return
            connection.send(unsent + writer.part(data))
            unsent = b""
            await connection.drained(timeout)
    finally:
        close = getattr(pieces, "aclose", None)
        if close is not None:
            await close()
    connection.send(unsent + writer.finish())
    connection.end_upload(first_byte_timeout)


async def pieces_of(body: bytes) -> typing.AsyncIterator[bytes]:
    """Give a body in the pieces that it is sent in; others have their turns in between."""
    for number, at in enumerate(range(0, len(body), PIECE_BYTES), 1):
        yield body[at : at + PIECE_BYTES]
        if not number % _PIECES_A_TURN:
            await asyncio.sleep(0)
