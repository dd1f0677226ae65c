"""Answers under a Content-Encoding, which the upstream was asked not to send: they must not hold the owner's secrets.

They go on byte for byte as they came, and a copy is decoded and looked at. One that is whole and holds a secret goes on
decoded and masked. One that streams cannot be changed any more when the secret comes: it breaks off before that.
"""

from __future__ import annotations

import typing
import zlib

from protocol.errors import ApiError
from protocol.on_demand import load
from protocol.wire.masking import Mask

_MOST_DECODED_BYTES = 64 * 1024 * 1024
_PIECE_BYTES = 65536

# zlib's window bits: 32 more than the largest let it tell gzip from deflate by the first bytes.
_GZIP_OR_ZLIB = 47


class SecretFound(Exception):
    """A coded stream holds a secret, of which nothing has gone out."""


def masked_body(mask: Mask, coding: str, body: bytes) -> bytes | None:
    """Return what a whole coded body says with its secrets masked, None where it holds none; ApiError if unreadable."""
    (decode_content,) = load("encoded body")
    decoded: bytes = decode_content(coding, body, _MOST_DECODED_BYTES)
    masked = mask.hide(decoded)
    return None if masked is decoded else masked


class CodedWatch:
    """Looks into a gzip or deflate stream: `feed` returns what can go on, as it came. What it cannot read passes."""

    def __init__(self, mask: Mask) -> None:
        self._masked = mask.stream()
        self._inflating: typing.Any = zlib.decompressobj(_GZIP_OR_ZLIB)
        self._kept = b""

    def feed(self, data: bytes) -> bytes:
        """Take a piece and return what can go on; SecretFound."""
        self._kept += data
        while data and self._inflating is not None:
            data = self._look(data)
        if self._masked.has_found:
            raise SecretFound
        if self._masked.is_waiting:
            return b""
        kept, self._kept = self._kept, b""
        return kept

    def close(self) -> bytes:
        """Return the last of it; SecretFound."""
        self._masked.close()
        if self._masked.has_found:
            raise SecretFound
        return self._kept

    def _look(self, data: bytes) -> bytes:
        """Decode a part of the data and return what is left of it."""
        inflating = self._inflating
        try:
            self._masked.feed(inflating.decompress(data, _PIECE_BYTES))
        except zlib.error:
            self._inflating = None
            return b""
        if inflating.eof:
            self._inflating = zlib.decompressobj(_GZIP_OR_ZLIB)  # RFC 1952 §2.2: another member may follow
            return bytes(inflating.unused_data)
        return bytes(inflating.unconsumed_tail)


def unreadable(status: int, name: str, coding: str) -> ApiError:
    """Return the error that stands for one whose words cannot be read, and so may hold a secret."""
    return ApiError(
        status, f"The backend '{name}' answered {status}, in the coding {coding[:40]!r} that was not asked for.",
        code="upstream_unreadable",
    )  # fmt: skip
