"""Answers of many bytes that exist as pieces: they are never joined."""

from __future__ import annotations

import typing

from protocol.exchange import Response

_MOST_WHOLE_BYTES = 1024 * 1024


def answer_of_pieces(fields: bytes, pieces: typing.Sequence[bytes]) -> Response:
    """Return an answer whose body is these pieces; a large one is sent piece by piece, as fast as the client reads."""
    size = sum(map(len, pieces))
    return Response(200, fields, b"".join(pieces) if size <= _MOST_WHOLE_BYTES else _one_by_one(pieces), size)


async def _one_by_one(pieces: typing.Iterable[bytes]) -> typing.AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
