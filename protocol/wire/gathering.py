"""Pieces put together to one `bytes`, without a moment at which everything is there twice or everybody waits."""

from __future__ import annotations

import io
import typing

from protocol.budget import spend_turn

# What is copied before others may have their turn: it takes 0.5 ms, most of it for fresh memory.
_STRETCH_BYTES = 512 * 1024
_STRETCH_STEPS = 500


class Gathering:
    """Takes pieces, and hands out what they are together."""

    __slots__ = ("_many", "_only")

    def __init__(self) -> None:
        self._only = b""  # while there is no other
        # Handed out as it is, where a bytearray would be copied (CPython: BytesIO.getvalue).
        self._many: io.BytesIO | None = None

    @property
    def size(self) -> int:
        """How many bytes there are by now."""
        return len(self._only) if self._many is None else self._many.tell()

    def add(self, piece: bytes) -> None:
        """Take the next piece."""
        if self._many is not None:
            self._many.write(piece)
        elif not self._only:
            self._only = piece  # most come in one piece, which need not be copied
        else:
            self._many = io.BytesIO()
            self._many.write(self._only)
            self._many.write(piece)
            self._only = b""

    def take(self) -> bytes:
        """Return all, and begin anew."""
        only, many = self._only, self._many
        self._only, self._many = b"", None
        return only if many is None else many.getvalue()


def stretches(data: bytes | memoryview, steps: int = _STRETCH_STEPS) -> typing.Iterator[memoryview]:
    """Give bytes in stretches of 512 kB, between which others have their turns; `steps` is what one costs."""
    whole = memoryview(data)
    for at in range(0, len(whole), _STRETCH_BYTES):
        yield whole[at : at + _STRETCH_BYTES]
        spend_turn(steps)


def joined(pieces: typing.Sequence[bytes | memoryview]) -> bytes:
    """Return pieces as one; long ones are copied stretch by stretch, and others have their turns in between."""
    if sum(map(len, pieces)) <= _STRETCH_BYTES:
        return b"".join(pieces)
    whole = io.BytesIO()
    for piece in pieces:
        for stretch in stretches(piece):
            whole.write(stretch)
    return whole.getvalue()
