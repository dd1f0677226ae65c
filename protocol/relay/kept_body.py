"""Bodies that stream through, and may have to be sent again."""

from __future__ import annotations

import typing

from protocol.exchange import Request

#: What of a body is kept: with more bytes it cannot be sent again.
KEPT_BODY_BYTES = 4 * 1024 * 1024


class KeptBody:
    """A body that goes on as it comes, and what of it has come, so that it can be sent again from its start.

    `can_repeat` turns False when it has more bytes than are kept, or than there is room for in memory.
    """

    __slots__ = ("_kept", "_request", "_size", "_stream", "can_repeat")

    def __init__(self, stream: typing.AsyncIterator[bytes], request: Request) -> None:
        self.can_repeat = True
        self._stream = stream
        self._request = request
        self._kept: list[bytes] = []
        self._size = 0

    def pieces(self) -> typing.AsyncIterator[bytes]:
        """Return an iterator over the body from its start; whoever read it before must have stopped."""
        return _Pieces(self)

    async def piece(self, number: int) -> bytes:
        """Return the piece of that number, counted from 0; raise StopAsyncIteration behind the last one."""
        if number < len(self._kept):
            return self._kept[number]
        data = await self._stream.__anext__()
        if self.can_repeat:
            if self._size + len(data) <= KEPT_BODY_BYTES and self._request.may_hold(len(data)):
                self._size += len(data)
                self._kept.append(data)
            else:
                self.can_repeat = False
                self._kept.clear()
                self._request.let_go(self._size)
        return data


class _Pieces:
    """One reading of a body. It is no generator: one that is given up half-way would have to be closed."""

    __slots__ = ("_body", "_number")

    def __init__(self, body: KeptBody) -> None:
        self._body = body
        self._number = 0

    def __aiter__(self) -> _Pieces:
        return self

    async def __anext__(self) -> bytes:
        data = await self._body.piece(self._number)
        self._number += 1
        return data
