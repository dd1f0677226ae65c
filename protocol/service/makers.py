"""Which backend made what: an id that one backend's answer named is asked of that backend again.

A request for something that was made, such as GET /v1/responses/{id}, names no model by which it could be routed. So
the ids are remembered that answers name, as many as `_MOST_IDS`. An id that nobody remembers, because another worker or
an earlier run has seen it made, is looked for at one backend after the other, until one does not say 404.
"""

from __future__ import annotations

import re
import typing
import zlib

from protocol.budget import spend_turn
from protocol.exchange import Around, Backend, Body, Paced, Pushed, Request, Response, Sink, Verbatim

_MOST_IDS = 10_000

# The member that lets a chat be kept. A body is searched for it in stretches, each of which takes 0.6 ms.
_STORE = b'"store"'
_STRETCH_BYTES = 1 << 20
_STRETCH_STEPS = 600

# Where an answer names what it tells of: in its first bytes, for events as well.
_BEGIN_BYTES = 4096
_ID = rb'"id"\s*:\s*"([A-Za-z0-9_.:\-]{4,128})"'
_MOST_IDS_AN_ANSWER = 8

_COLLECTIONS = (
    "/(?:chat/completions|fine_tuning/jobs|responses|conversations|assistants|threads|videos|files|batches|uploads"
    "|vector_stores|evals|containers|skills|agents|vaults)"
)
_COLLECTION = f"{_COLLECTIONS}(?:/|$)"
_WITH_ID = f"{_COLLECTIONS}/[^/]"

_GZIP_OR_ZLIB_BITS = 47


def names_id(path: str) -> bool:
    """Tell whether a path of the API, without /v1, asks for something that was made."""
    return re.match(_WITH_ID, path) is not None


def makes_id(request: Request, path: str) -> bool:
    """Tell whether a held request makes something that can be asked for by its id."""
    if request.method != "POST" or not re.match(_COLLECTION, path):
        return False
    # A chat is kept on demand only, and most are not.
    return not path.startswith("/chat/completions") or _names_store(request.body)


def _names_store(body: bytes) -> bool:
    if len(body) <= _STRETCH_BYTES:
        return _STORE in body
    for at in range(0, len(body), _STRETCH_BYTES):
        if body.find(_STORE, at, at + _STRETCH_BYTES + len(_STORE) - 1) >= 0:
            return True
        spend_turn(_STRETCH_STEPS)
    return False


class Makers:
    """The backends that made the ids which were seen last."""

    def __init__(self) -> None:
        self._by_id: dict[str, Backend] = {}

    def maker(self, path: str) -> Backend | None:
        """Return the backend that made an id in a path, None where nobody remembers one."""
        for segment in path.split("/")[2:]:
            maker = self._by_id.get(segment)
            if maker is not None:
                return maker
        return None

    def note_path(self, path: str, maker: Backend) -> None:
        """Note that a backend knows what a path asks for."""
        segments = path.split("/")
        for segment in segments[3 if segments[1] in ("chat", "fine_tuning") else 2 :][:1]:
            self._note(segment, maker)

    def noting(self, response: Response, maker: Backend) -> Response:
        """Return the same answer, of which the ids are noted as it goes by."""
        if not 200 <= response.status < 300:
            return response
        body = response.body
        noted = _Noting(self, maker, _is_compressed(response))
        watched: Body
        if isinstance(body, bytes):
            noted.look(body)
            return response
        if isinstance(body, Verbatim):
            return response
        if isinstance(body, Paced):
            noted.look(b"".join(body.frames[:4]))
            return response
        watched = _WatchedPush(body, noted) if isinstance(body, Pushed) else _watched(body, noted)
        return Response(
            response.status, response.fields, watched, response.length, response.request_id, response.attempts
        )

    def note_ids(self, begin: bytes, maker: Backend) -> int:
        """Note the ids in the beginning of an answer; return how many there are."""
        ids = re.findall(_ID, begin)[:_MOST_IDS_AN_ANSWER]
        for id in ids:
            self._note(id.decode("ascii"), maker)
        return len(ids)

    def _note(self, id: str, maker: Backend) -> None:
        self._by_id.pop(id, None)  # so that it counts as new
        self._by_id[id] = maker
        if len(self._by_id) > _MOST_IDS:
            del self._by_id[next(iter(self._by_id))]


class _Noting:
    """Looks at an answer that goes by, until its beginning has been seen."""

    __slots__ = ("_begin", "_is_compressed", "_maker", "_makers")

    def __init__(self, makers: Makers, maker: Backend, is_compressed: bool) -> None:
        self._makers = makers
        self._maker = maker
        self._is_compressed = is_compressed
        self._begin: bytes | None = b""  # None once enough has been seen

    def look(self, data: bytes) -> None:
        """Take the next bytes of the body."""
        if self._begin is None:
            return
        self._begin += data[:_BEGIN_BYTES]
        begin = _decompressed(self._begin) if self._is_compressed else self._begin
        if self._makers.note_ids(begin, self._maker) or len(self._begin) >= _BEGIN_BYTES:
            self._begin = None


class _WatchedPush(Around):
    """A pushed body that somebody looks at as it goes by."""

    __slots__ = ("_noting", "_sink")

    _sink: Sink  # since `begin`

    def __init__(self, body: Pushed, noting: _Noting) -> None:
        super().__init__(body)
        self._noting = noting

    def begin(self, sink: Sink) -> None:
        self._sink = sink
        self._body.begin(self)

    def push(self, data: bytes) -> None:
        """Pass a piece on (Sink)."""
        self._noting.look(data)
        self._sink.push(data)

    def end(self, data: bytes) -> None:
        """Pass the last piece on (Sink)."""
        self._noting.look(data)
        self._sink.end(data)

    def fail(self, error: Exception) -> None:
        """Pass on that the rest does not come (Sink)."""
        self._sink.fail(error)


async def _watched(body: typing.AsyncIterator[bytes], noting: _Noting) -> typing.AsyncIterator[bytes]:
    try:
        async for data in body:
            noting.look(data)
            yield data
    finally:
        close = getattr(body, "aclose", None)
        if close is not None:
            await close()


def _is_compressed(response: Response) -> bool:
    fields = response.fields
    if isinstance(fields, bytes):
        return b"content-encoding: gzip" in fields or b"content-encoding: deflate" in fields
    return ("content-encoding", "gzip") in fields or ("content-encoding", "deflate") in fields


def _decompressed(begin: bytes) -> bytes:
    """Return what the beginning of a compressed body holds, as far as it can be told."""
    try:
        return zlib.decompressobj(_GZIP_OR_ZLIB_BITS).decompress(begin, _BEGIN_BYTES)
    except zlib.error:
        return b""
