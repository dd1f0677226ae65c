"""Bodies under a Content-Encoding (RFC 9110 §8.4), decoded within a bound.

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
from protocol.wire.gathering import Gathering

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


class ContentDecoder:
    """A body that comes in pieces, without its coding, which is the value of Content-Encoding.

    ApiError 415 for a coding that is not known here, or several.
    """

    def __init__(self, coding: str) -> None:
        self._name = coding.strip(" \t").lower()
        self._decompressor = _decompressor(self._name)
        self._errors = _errors(self._decompressor)
        self._members = 1

    def feed(self, data: bytes) -> typing.Iterator[bytes]:
        """Take a piece, and give what it holds, at most 16 kB at a time; ApiError 400 where the body is broken.

        All of it is to be asked for before the next piece comes.
        """
        for at in range(0, len(data), _PIECE_BYTES):
            piece = data[at : at + _PIECE_BYTES]
            while piece or not self._decompressor.is_over:
                if self._decompressor.is_over:
                    self._begin_member()
                try:
                    decoded = self._decompressor.feed(piece, _PIECE_BYTES)
                except self._errors as exc:
                    raise _broken(self._name, str(exc)) from exc
                spend_turn(_PIECE_STEPS)
                piece = self._decompressor.rest
                if decoded:
                    yield decoded
                elif not piece:
                    break

    def close(self) -> None:
        """Learn that this was all; ApiError 400 where the body breaks off."""
        if not self._decompressor.is_over:
            raise _broken(self._name, "it breaks off")

    def _begin_member(self) -> None:
        self._members += 1
        if self._name not in ("gzip", "x-gzip") or self._members > _MOST_MEMBERS:
            raise _broken(self._name, "bytes follow its end")
        self._decompressor = _decompressor(self._name)


def decode_content(coding: str, body: bytes, most_bytes: int, hold: _Hold | None = None) -> bytes:
    """Return a body without its coding, which is the value of Content-Encoding.

    `hold` is told how many bytes more there are, as they come, and may raise an ApiError. That comes out where the body
    is good: one that is too large, or broken, is so however much room there is. ApiError 415 for a coding that is not
    known here, or several; 413 for more than `most_bytes`, of which no more are ever made; 400 for a body that is
    broken.
    """
    if coding.strip(" \t").lower() in ("", "identity"):
        return body
    decoder = ContentDecoder(coding)
    decoded = Gathering()
    size = 0
    refusal: ApiError | None = None
    for data in decoder.feed(body):
        size += len(data)
        if size > most_bytes:
            raise ApiError(413, f"The body has more than {most_bytes} bytes once it is decoded.")
        if hold is not None and refusal is None:
            try:
                hold(len(data))
            except ApiError as exc:
                refusal = exc.anew()  # the one that was raised holds this frame
                decoded = Gathering()
        if refusal is None:
            decoded.add(data)
    decoder.close()
    if refusal is not None:
        raise refusal
    return decoded.take()


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
