"""What is seen of an answer as it passes: when it begins, its tokens, and how it ends.

Who tells of requests once they are over has this put around the server's endpoints: the log, where its form tells so
much, and the live view, while somebody watches. Nobody else pays for it.
"""

from __future__ import annotations

import contextlib
import typing

from protocol.errors import ApiError, without_keys
from protocol.exchange import LONG_BODY, Answer, Endpoint, LateEndpoint, Paced, Request, Response
from protocol.on_demand import load
from protocol.openai.asked_model import asked_model, head_model
from protocol.openai.usage import UsageReader
from protocol.wire.json_text import JsonObject
from protocol.witness import passing, witnessed

# A stream tells its usage in one of its last events.
_LAST_FRAMES = 4

Ticks = typing.Callable[[], float]
#: Says which backend is asked first for a model, and what that is called there; ApiError where nobody takes it.
Whither = typing.Callable[[str], typing.Tuple[str, str]]


def always() -> bool:
    """Want to see every answer."""
    return True


class Onlooker:
    """Sees each answer for the log (server.Watcher). `ticks` gives the loop's time."""

    def __init__(self, ticks: Ticks, whither: Whither) -> None:
        self._ticks = ticks
        self._whither = whither

    def around(self, endpoint: Endpoint) -> Endpoint:
        """Return an endpoint whose answers are seen."""
        return seen_endpoint(endpoint, self._ticks, self._whither, always)


def seen_endpoint(endpoint: Endpoint, ticks: Ticks, whither: Whither, is_wanted: typing.Callable[[], bool]) -> Endpoint:
    """Return an endpoint whose answers are seen (Request.seen), while `is_wanted` and nobody else sees them."""
    if isinstance(endpoint, LateEndpoint):
        late = endpoint

        async def find(request: Request) -> Endpoint:
            return seen_endpoint(await late.find(request), ticks, whither, is_wanted)

        return LateEndpoint(find, streams_body=late.streams_body)

    def answer(request: Request) -> Answer:
        if request.seen is not None or not is_wanted():
            return endpoint.answer(request)
        seen = request.seen = _Seen(endpoint.label, ticks, whither)
        if request.stream is not None and request.method == "POST":
            request.stream = _Read(request.stream, seen.body)
        return passing(endpoint.answer(request), seen.passing)

    return Endpoint(
        answer, endpoint.label, streams_body=endpoint.streams_body, errors=endpoint.errors,
        is_vital=endpoint.is_vital, early_head=endpoint.early_head,
    )  # fmt: skip


class _Seen:
    """What is seen of one answer (exchange.Sight, Witness). Times are the loop's."""

    __slots__ = ("_connected", "_first", "_is_cut", "_label", "_queued", "_reader", "_ticks", "_whither", "body")

    def __init__(self, label: str, ticks: Ticks, whither: Whither) -> None:
        #: The beginning of a request's body that is read as it comes.
        self.body = bytearray()
        self._label = label
        self._ticks = ticks
        self._whither = whither
        self._first: float | None = None
        self._queued: float | None = None
        self._connected: float | None = None
        self._is_cut = False
        self._reader = UsageReader()

    def passing(self, response: Response) -> Response:
        """Return an answer whose body is seen as it leaves."""
        body = response.body
        if isinstance(body, Paced):  # the server sends it, at times that are known
            self._first = self._ticks() + body.first_delay
            self._reader.took(b"".join(body.frames[-_LAST_FRAMES:]))
            return response
        return Response(
            response.status, response.fields, witnessed(body, self), response.length, response.request_id,
            response.attempts,
        )  # fmt: skip

    def took(self, data: bytes) -> None:
        """Learn that a piece of the answer leaves."""
        if self._first is None:
            self._first = self._ticks()
        self._reader.took(data)

    def whole(self) -> None:
        """Learn that the answer has come to its end; that the request is over, `told` is asked for."""

    def cut(self, error: Exception | None = None) -> None:
        """Learn that the answer breaks off."""
        self._is_cut = True

    def queued(self, seconds: float) -> None:
        """Learn for how long the request has waited until there could be a connection."""
        self._queued = seconds + (self._queued or 0.0)

    def connected(self, seconds: float) -> None:
        """Learn for how long a connection was opened for the request."""
        self._connected = seconds + (self._connected or 0.0)

    def told(self, request: Request, seconds: float, attempts: typing.Sequence[str]) -> JsonObject:
        """Return what there is to tell of a request that is over now and took so many seconds."""
        asked, backend, sent = _model_of(request, bytes(self.body)), "", ""
        if asked:
            with contextlib.suppress(ApiError):
                backend, sent = self._whither(asked)
        if attempts:
            backend = attempts[-1].rpartition("=")[0]
        usage = self._reader.usage
        told = {
            "asked": without_keys(asked, request.key),
            "sent": without_keys(sent, request.key),
            "backend": backend,
            "endpoint": self._label,
            "ended": "broke" if self._is_cut else "",
            "seconds_queue": _rounded(self._queued),
            "seconds_connect": _rounded(self._connected),
            "seconds_first": self._first_seconds(seconds),
        }
        if usage is not None:
            told.update(
                tok_in=usage.input, tok_cached=usage.cached, tok_out=usage.output, tok_reasoning=usage.reasoning
            )
        return {name: value for name, value in told.items() if value not in ("", None)}

    def _first_seconds(self, seconds: float) -> float | None:
        """Return after how many seconds the answer began, of so many that the request took until now."""
        if self._first is None:
            return None
        return _rounded(min(seconds, max(0.0, self._first - (self._ticks() - seconds))))


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)


def _model_of(request: Request, streamed: bytes) -> str:
    """Return the model that a request has asked for, "" for none that is told soon."""
    if streamed:
        (find_model,) = load("JSON with a model")
        found = find_model(streamed)
        return found[0] if found else head_model(request)
    if len(request.body) <= LONG_BODY:
        with contextlib.suppress(ApiError):
            return asked_model(request, LONG_BODY)
    return head_model(request)


class _Read:
    """A request's body that is read as it comes; its beginning is kept. It is no generator: that had to be closed."""

    __slots__ = ("_kept", "_stream")

    def __init__(self, stream: typing.AsyncIterator[bytes], kept: bytearray) -> None:
        self._stream = stream
        self._kept = kept

    def __aiter__(self) -> _Read:
        return self

    async def __anext__(self) -> bytes:
        data = await self._stream.__anext__()
        if len(self._kept) < LONG_BODY:
            self._kept += data[:LONG_BODY]
        return data
