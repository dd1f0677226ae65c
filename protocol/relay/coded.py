"""Answers under a Content-Encoding, which the upstream was asked not to send: they must not hold the owner's secrets.

They go on decoded and masked, piece by piece as they come. What cannot be decoded cannot be masked, and does not go on.
"""

from __future__ import annotations

import asyncio

from protocol.errors import ApiError
from protocol.upstream.answer import UpstreamAnswer
from protocol.wire.content_coding import ContentDecoder
from protocol.wire.masking import Mask

# Of what is here so much goes on at once, and then others have their turns: it is decoded and masked in about 1 ms. An
# error is shorter, so that one which cannot be read to its end is told in our words before any of it has left.
_PIECE_BYTES = 65536


class DecodedBody:
    """The body of an answer without its coding, and with stars for secrets; `first` is what of it has come already.

    ApiError where there is no such coding here; reading it raises one where the body is broken, and UpstreamFailed.
    """

    def __init__(self, answer: UpstreamAnswer, first: bytes, mask: Mask, name: str) -> None:
        self._answer = answer
        self._coding = answer.head.fields.get("content-encoding")
        self._name = name
        self._masked = mask.stream()
        try:
            self._decoder = ContentDecoder(self._coding)
        except ApiError as exc:
            raise self._unreadable() from exc
        self._decoded = self._decoder.feed(first)
        self._has_begun = self._is_over = False

    def __aiter__(self) -> DecodedBody:
        return self

    async def __anext__(self) -> bytes:
        if self._has_begun:
            await asyncio.sleep(0)
        self._has_begun = True
        while not self._is_over:
            data = self._read()
            if data:
                return data
            if not self._is_over:
                data = await self._next_coded()
                self._decoded = self._decoder.feed(data)
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Say that nobody wants the rest."""
        self._answer.let_go()

    async def _next_coded(self) -> bytes:
        async for data in self._answer:
            return data
        return b""

    def _read(self) -> bytes:
        """Return what can go on of what has come, b"" for nothing, and no more than one piece."""
        pieces: list[bytes] = []
        size = 0
        try:
            for data in self._decoded:
                pieces.append(self._masked.feed(data))
                size += len(data)
                if size >= _PIECE_BYTES:
                    return b"".join(pieces)
            if self._answer.complete:
                self._decoder.close()
                pieces.append(self._masked.close())
                self._is_over = True
        except ApiError as exc:
            raise self._unreadable() from exc
        return b"".join(pieces)

    def _unreadable(self) -> ApiError:
        """Return the error that stands for an answer which cannot be read, and so may hold a secret."""
        status = self._answer.head.status
        return ApiError(
            status if status >= 400 else 502,
            f"The backend '{self._name}' answered {status}, in the coding {self._coding[:40]!r} that was not asked "
            "for, and what it says cannot be decoded.",
            code="upstream_unreadable",
        )  # fmt: skip
