"""Bodies under a Content-Encoding (RFC 9110 §8.4), decoded whole and within a bound.

A body is decoded where somebody must read it who does not pass it on as it came. Then it must not be possible to read
it in another way. So one coding is taken and not a chain, `deflate` is the zlib format that the RFC means and never the
bare one that some servers also take, and nothing may follow the end.
"""

from __future__ import annotations

import importlib
import typing
import zlib

from protocol.budget import spend_turn
from protocol.errors import ApiError
from protocol.wire.gathering import Gathering, joined

_PIECE_BYTES = 16384
_PIECE_STEPS = 100  # protocol/budget.py
_MOST_MEMBERS = 16  # RFC 1952 §2.2: gzip members may follow one another; clients send one

_GZIP_BITS = 31
_ZLIB_BITS = 15


class _Decompressor(typing.Protocol):
    """What decodes one coding; `feed` returns at most so many bytes."""

    def feed(self, data: bytes, most: int) -> bytes:
        """Take bytes, or b"" for more of what was taken."""

    @property
    def rest(self) -> bytes:
        """What comes behind the end."""

    @property
    def is_over(self) -> bool:
        """Whether the end has come."""


class _Inflating:
    """gzip and deflate."""

    def __init__(self, bits: int) -> None:
        self._zlib = zlib.decompressobj(bits)

    def feed(self, data: bytes, most: int) -> bytes:
        return self._zlib.decompress(self._zlib.unconsumed_tail + data, most)

    @property
    def rest(self) -> bytes:
        return self._zlib.unused_data

    @property
    def is_over(self) -> bool:
        return self._zlib.eof


class _Zstandard:
    """zstd, which Python has from 3.14 on."""

    def __init__(self, module: typing.Any) -> None:
        self._zstd = module.ZstdDecompressor()

    def feed(self, data: bytes, most: int) -> bytes:
        decoded: bytes = b"" if self._zstd.eof else self._zstd.decompress(data, most)
        return decoded

    @property
    def rest(self) -> bytes:
        rest: bytes = self._zstd.unused_data
        return rest

    @property
    def is_over(self) -> bool:
        return bool(self._zstd.eof)


_Hold = typing.Callable[[int], object]


def decode_content(coding: str, body: bytes, most_bytes: int, hold: _Hold | None = None) -> bytes:
    """Return a body without its coding, which is the value of Content-Encoding.

    `hold` is told how many bytes more there are, as they come, and may raise an ApiError. That comes out where the body
    is good: one that is too large, or broken, is so however much room there is. ApiError 415 for a coding that is not
    known here, or several; 413 for more than `most_bytes`, of which no more are ever made; 400 for a body that is
    broken.
    """
    name = coding.strip(" \t").lower()
    if name in ("", "identity"):
        return body
    members: list[bytes] = []
    left, at = most_bytes, 0
    for _ in range(_MOST_MEMBERS):
        member, at = _decode_one(name, _decompressor(name), body, at, left, hold)
        members.append(member)
        left -= len(member)
        if at == len(body):
            return member if len(members) == 1 else joined(members)
        if name not in ("gzip", "x-gzip"):
            break
    raise _broken(name, "bytes follow its end")


def _decode_one(
    name: str, decompressor: _Decompressor, body: bytes, start: int, most_bytes: int, hold: _Hold | None
) -> tuple[bytes, int]:
    """Return what the member holds that begins at `start`, and where the bytes behind it begin."""
    decoded = Gathering()
    size = 0
    refusal: ApiError | None = None
    errors = _errors(decompressor)
    for at in range(start, len(body), _PIECE_BYTES):
        piece = body[at : at + _PIECE_BYTES]
        while True:
            try:
                data = decompressor.feed(piece, _PIECE_BYTES)
            except errors as exc:
                raise _broken(name, str(exc)) from exc
            size += len(data)
            if hold is not None and refusal is None:
                try:
                    hold(len(data))
                except ApiError as exc:
                    refusal = exc.anew()  # the one that was raised holds this frame
                    decoded = Gathering()
            if refusal is None:
                decoded.add(data)
            spend_turn(_PIECE_STEPS)
            if size > most_bytes:
                raise ApiError(413, f"The body has more than {most_bytes} bytes once it is decoded.")
            piece = b""
            if not data or decompressor.is_over:
                break
        if decompressor.is_over:
            if refusal is not None:
                raise refusal
            return decoded.take(), min(at + _PIECE_BYTES, len(body)) - len(decompressor.rest)
    raise _broken(name, "it breaks off")


def _decompressor(name: str) -> _Decompressor:
    if name in ("gzip", "x-gzip"):
        return _Inflating(_GZIP_BITS)
    if name == "deflate":
        return _Inflating(_ZLIB_BITS)
    if name == "zstd":
        try:
            return _Zstandard(importlib.import_module("compression.zstd"))
        except ImportError:
            pass
    raise ApiError(
        415, f"The body must come as it is, or with one Content-Encoding of gzip or deflate, but {name[:100]!r} came.",
        code="unsupported_content_encoding", fields=[("accept-encoding", "gzip, deflate, identity")],
    )  # fmt: skip


def _errors(decompressor: _Decompressor) -> tuple[type[Exception], ...]:
    if isinstance(decompressor, _Inflating):
        return (zlib.error,)
    return (importlib.import_module("compression.zstd").ZstdError,)


def _broken(name: str, reason: str) -> ApiError:
    return ApiError(400, f"The body's Content-Encoding is {name}, but {reason}.")
