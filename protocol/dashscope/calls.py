"""Native calls over HTTP, and the ways in which several of them become one answer.

Nothing here is retried, but for a kept connection that turns out to be closed: OpenAI's SDKs come again by themselves,
and a call that was carried out is billed. What goes wrong is a DashScopeError when it leaves this module; the words of
the layer below (UpstreamFailed) say nothing of addresses or keys.
"""

from __future__ import annotations

import asyncio
import re
import typing

from protocol.dashscope.mapping.errors import DashScopeError, native_error, read_answer, upstream_bad_response
from protocol.dashscope.mapping.native import NativeCall, native_headers, task_headers
from protocol.exchange import Request
from protocol.upstream.answer import UpstreamAnswer
from protocol.upstream.failures import UpstreamFailed, UpstreamTimeout
from protocol.upstream.pool import UpstreamPool
from protocol.upstream.request import UpstreamRequest
from protocol.wire.http1.messages import ResponseHead
from protocol.wire.http1.writers import encode_fields
from protocol.wire.json_text import encode_json
from protocol.wire.sse import KEEP_ALIVE, encode_event

#: Bytes of one answer: a few hundred embeddings are some megabytes, pictures come as URLs.
MOST_ANSWER_BYTES = 64 * 1024 * 1024
_MOST_ERROR_BYTES = 256 * 1024
_ERROR_SECONDS = 5.0

_USER_AGENT = ("User-Agent", "oaiserve")
_ID_FOR_CLIENT = r"[!-~]{1,256}"

Result = typing.TypeVar("Result")


class Caller:
    """On whose behalf native calls are made: the request, the key, and when all must be over (loop time, 0: never).

    `answer_id` is DashScope's id for the request, as soon as there is one: the id which its support can look up.
    """

    __slots__ = ("answer_id", "deadline", "key", "request")

    def __init__(self, request: Request, key: str, deadline: float) -> None:
        self.request = request
        self.key = key
        self.deadline = deadline
        self.answer_id = ""

    def answer_under(self, request_id: object) -> None:
        """Let the answer carry DashScope's id for the request, where that is fit for it."""
        if isinstance(request_id, str) and re.fullmatch(_ID_FOR_CLIENT, request_id):
            self.answer_id = request_id


class NativeClient:
    """Makes native calls through one pool of connections."""

    def __init__(self, pool: UpstreamPool) -> None:
        self._pool = pool

    async def open(self, call: NativeCall, caller: Caller) -> UpstreamAnswer:
        """Make a call and return its answer, which is a success as far as its status says; DashScopeError."""
        fields = native_headers(call, caller.key, caller.request.fields.pairs)
        return await self._send("POST", call.path, fields, call.encode(), caller, caller.deadline)

    async def ask(self, call: NativeCall, caller: Caller) -> dict[str, typing.Any]:
        """Make a call and return the JSON object that it answers with; DashScopeError."""
        return await _read_object(await self.open(call, caller), caller)

    async def ask_task(self, method: str, path: str, caller: Caller, deadline: float) -> dict[str, typing.Any]:
        """Ask about a task, or for its end; all must be over at `deadline` (loop time, 0: never). DashScopeError."""
        fields = task_headers(caller.key, caller.request.fields.pairs)
        return await _read_object(await self._send(method, path, fields, b"", caller, deadline), caller)

    async def open_all(self, calls: typing.Sequence[NativeCall], caller: Caller) -> list[UpstreamAnswer]:
        """Make several calls at once and return their answers, or, where one fails, close the others and raise."""
        opened: list[UpstreamAnswer] = []

        async def open_one(call: NativeCall) -> UpstreamAnswer:
            answer = await self.open(call, caller)
            opened.append(answer)
            return answer

        try:
            return await run_together([_bound(open_one, call) for call in calls], len(calls))
        except BaseException:
            for answer in opened:
                answer.discard()
            raise

    async def _send(
        self, method: str, path: str, fields: list[tuple[str, str]], body: bytes, caller: Caller, deadline: float
    ) -> UpstreamAnswer:
        destination = self._pool.destination
        block = encode_fields([("host", destination.authority), _USER_AGENT, *fields])
        try:
            answer = await self._pool.send(UpstreamRequest(method, destination.base_path + path, block, body), deadline)
        except UpstreamFailed as exc:
            raise as_dashscope_error(exc) from exc
        if 200 <= answer.head.status < 300:
            caller.answer_under(answer.head.fields.get("x-request-id"))
            return answer
        raise await _read_error(answer)


async def _read_error(answer: UpstreamAnswer) -> DashScopeError:
    head: ResponseHead = answer.head
    try:
        body = await answer.hold(_MOST_ERROR_BYTES, _ERROR_SECONDS)
    except UpstreamFailed:
        body = b""  # the status says enough
    finally:
        answer.discard()
    return native_error(head.status, body, head.fields.pairs)


async def _read_object(answer: UpstreamAnswer, caller: Caller) -> dict[str, typing.Any]:
    head: ResponseHead = answer.head
    value = read_answer(await read_whole(answer, MOST_ANSWER_BYTES), head.fields.pairs)
    caller.answer_under(value.get("request_id"))
    return value


async def read_whole(answer: UpstreamAnswer, most_bytes: int) -> bytes:
    """Return a body, of at most so many bytes; DashScopeError."""
    pieces = []
    size = 0
    try:
        async for data in answer:
            size += len(data)
            if size > most_bytes:
                raise upstream_bad_response(f"it has more than {most_bytes} bytes")
            pieces.append(data)
    except UpstreamFailed as exc:
        raise as_dashscope_error(exc) from exc
    finally:
        answer.discard()
    return b"".join(pieces)


async def next_piece(answer: UpstreamAnswer) -> bytes:
    """Return some bytes of a body, b"" at its end; DashScopeError."""
    try:
        return await answer.__anext__()
    except StopAsyncIteration:
        return b""
    except UpstreamFailed as exc:
        raise as_dashscope_error(exc) from exc


def as_dashscope_error(exc: UpstreamFailed) -> DashScopeError:
    """Return what went wrong on the way to DashScope as an error of this backend: 504 `timeout`, else 502."""
    code = "timeout" if isinstance(exc, UpstreamTimeout) else "upstream_unreachable"
    return DashScopeError(exc.status, exc.message, code)


# ---- several at once --------------------------------------------------------------------------------------------


async def run_together(
    jobs: typing.Sequence[typing.Callable[[], typing.Awaitable[Result]]], most_at_once: int
) -> list[Result]:
    """Run jobs, so many at a time, and return their results in order; the first that fails cancels all others.

    When this returns or raises, none of them is running any more.
    """
    if len(jobs) == 1:
        return [await jobs[0]()]
    results: dict[int, Result] = {}
    waiting = iter(enumerate(jobs))

    async def work() -> None:
        for number, job in waiting:
            results[number] = await job()

    loop = asyncio.get_running_loop()
    workers = [loop.create_task(work()) for _ in range(min(most_at_once, len(jobs)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return [results[number] for number in range(len(jobs))]


def _bound(function: typing.Callable[..., typing.Any], *arguments: object) -> typing.Callable[[], typing.Any]:
    """Return the call as a job: a lambda in a loop would see the loop's last value."""
    return lambda: function(*arguments)


class _GatheredAnswers:
    """Reads several answers as they come: at most one piece of each waits here."""

    def __init__(self, answers: typing.Sequence[UpstreamAnswer]) -> None:
        self._answers = answers
        self._open = set(range(len(answers)))
        self._reads: dict[asyncio.Task[bytes], int] = {}

    @property
    def at_end(self) -> bool:
        return not self._open

    async def next(self, quiet_seconds: float) -> tuple[int, bytes] | None:
        """Return an answer's number and some bytes of it, b"" at its end; None after so many seconds of silence.

        0 waits without limit. DashScopeError.
        """
        if len(self._answers) == 1 and not quiet_seconds:
            data = await next_piece(self._answers[0])  # spares a task for each piece
            return self._came(0, data)
        loop = asyncio.get_running_loop()
        for source in self._open.difference(self._reads.values()):
            self._reads[loop.create_task(next_piece(self._answers[source]))] = source
        done, _ = await asyncio.wait(self._reads, timeout=quiet_seconds or None, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            return None
        # The read that was begun first: an answer that always has something must not hold up the others.
        read = next(read for read in self._reads if read in done)
        return self._came(self._reads.pop(read), read.result())

    def _came(self, source: int, data: bytes) -> tuple[int, bytes]:
        if not data:
            self._open.discard(source)
        return source, data

    def close(self) -> None:
        """Let go of what has not been read."""
        for read in self._reads:
            if not read.cancel() and not read.cancelled():
                read.exception()  # seen, so that asyncio does not complain that nobody looked
        for answer in self._answers:
            answer.discard()


# ---- streams ----------------------------------------------------------------------------------------------------


class StreamTranslator(typing.Protocol):
    """What turns native bytes into OpenAI's events; with several streams each call also names the stream."""

    error: typing.Optional[DashScopeError]

    def feed(self, data: bytes, *source: int) -> list[dict[str, typing.Any]]:
        """Return the events that these bytes give; `error` is to be looked at afterwards."""

    def close(self, *source: int) -> list[dict[str, typing.Any]]:
        """Return the last events after a clean end."""


async def translated_events(
    answers: typing.Sequence[UpstreamAnswer],
    translator: StreamTranslator,
    *,
    last: bytes = b"",
    keepalive_seconds: float = 0.0,
) -> typing.AsyncIterator[bytes]:
    """Give OpenAI's server-sent events as the native streams come, then `last`; raise what breaks them off.

    Once the first event has gone out, so many seconds of silence give a comment; 0: never.
    """
    gathered = _GatheredAnswers(answers)
    quiet_seconds = 0.0
    try:
        while not gathered.at_end:
            came = await gathered.next(quiet_seconds)
            if came is None:
                yield KEEP_ALIVE
                continue
            source, data = came
            which = (source,) if len(answers) > 1 else ()
            events = translator.feed(data, *which) if data else translator.close(*which)
            if events:
                quiet_seconds = keepalive_seconds
                yield encode_events(events)
            if translator.error is not None:
                raise translator.error
        yield last
    finally:
        gathered.close()


def encode_events(events: typing.Iterable[dict[str, typing.Any]]) -> bytes:
    """Return server-sent events of data alone."""
    return b"".join([encode_event(encode_json(event)) for event in events])


class BegunBody:
    """A streamed body whose first piece is here: an error before it could still become an answer with its own status.

    It stands for an asynchronous generator. One that was never started does not run its `finally` when it is closed;
    this one was, so that closing it closes all that it holds. A later error is raised with `key` cut out of it.
    """

    __slots__ = ("_first", "_key", "_pieces")

    def __init__(self, first: bytes, pieces: typing.Any, key: str) -> None:
        self._first = first
        self._pieces = pieces
        self._key = key

    def __aiter__(self) -> BegunBody:
        return self

    async def __anext__(self) -> bytes:
        first, self._first = self._first, b""
        if first:
            return first
        try:
            return await self._pieces.__anext__()
        except DashScopeError as exc:
            hide_key(exc, self._key)
            raise

    async def aclose(self) -> None:
        """Let go of everything, at once."""
        await self._pieces.aclose()


async def begin_body(pieces: typing.AsyncIterator[bytes], caller: Caller) -> BegunBody:
    """Wait for a body's first piece; raise what comes instead of it."""
    return BegunBody(await pieces.__anext__(), pieces, caller.key)


def hide_key(error: DashScopeError, key: str) -> None:
    """Cut the key out of an error's words: a gateway may repeat the request that it refuses."""
    error.message = error.message.replace(key, "***")
