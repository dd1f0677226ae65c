"""Native calls over HTTP, and several of them at once.

Nothing is tried again here, except on a new connection when a kept one proves to be closed before the call can have
been read. OpenAI's SDKs repeat requests by themselves, and a call that DashScope carried out is billed.

What goes wrong leaves this module as a DashScopeError. The message of an UpstreamFailed becomes the client's: it holds
neither addresses nor keys.
"""

from __future__ import annotations

import asyncio
import functools
import re
import typing

from protocol.dashscope.mapping.errors import DashScopeError, native_error, read_answer, upstream_bad_response
from protocol.dashscope.mapping.native import (
    FORWARDED_NAMES,
    OSS_URL,
    NativeCall,
    mentions_oss,
    native_headers,
    task_headers,
)
from protocol.dashscope.mapping.usual_chat import UsualChat
from protocol.exchange import LONG_BODY, Request
from protocol.service.log import Log
from protocol.turns import in_turns
from protocol.upstream.answer import AnswerFacts, UpstreamAnswer, is_coded
from protocol.upstream.connection import NO_ANSWER, UpstreamConnection
from protocol.upstream.failures import SENT_AGAIN, UpstreamFailed, UpstreamTimeout
from protocol.upstream.pool import UpstreamPool
from protocol.upstream.request import UpstreamRequest
from protocol.wire.gathering import Gathering
from protocol.wire.http1.messages import ResponseHead
from protocol.wire.http1.writers import encode_fields, request_lines
from protocol.wire.json_text import JsonObject

#: Bytes of one answer: a few hundred embeddings have some megabytes, pictures come as URLs.
MOST_ANSWER_BYTES = 64 * 1024 * 1024
_MOST_ERROR_BYTES = 256 * 1024
_ERROR_SECONDS = 5.0

_USER_AGENT = ("User-Agent", "oaiserve")
_REQUEST_ID = re.compile("[!-~]{1,256}")

# With it begins each string of a body that DashScope has to resolve, as JSON writes it.
_OSS_STRING = b'"%b' % OSS_URL.encode()

Result = typing.TypeVar("Result")


class NativeHead(typing.NamedTuple):
    """What stands before the body of a native call: its target, its field lines, and the request's line with these."""

    target: str
    fields: bytes
    lines: bytes


class CallerKind:
    """What is the same for all requests of a kind (exchange.HeadFacts): the key, and heads of calls by their switches.

    Where clients send a field that is passed on, there are no heads: its value is each request's own. `usual_chats` are
    the forms of chats that were found, the latest first; `other_chats` counts those that had none of them.
    """

    __slots__ = ("heads", "key", "other_chats", "usual_chats")

    def __init__(self, key: str) -> None:
        self.key = key
        self.usual_chats: tuple[UsualChat, ...] = ()
        self.other_chats = 0
        self.heads: dict[tuple[str, bool, bool], NativeHead] = {}


class Caller:
    """On whose behalf native calls are made: the request, its kind, and when all must be over (loop time, 0: never).

    `answer_id` is DashScope's id for the request, as soon as there is one: the id which its support can look up.
    `replaced` lists calls that were sent again because their connection was dead before they can have been read, as
    `name=status`.
    """

    __slots__ = ("answer_id", "deadline", "key", "kind", "replaced", "request")

    def __init__(self, request: Request, kind: CallerKind, deadline: float) -> None:
        self.request = request
        self.kind = kind
        self.key = kind.key
        self.deadline = deadline
        self.answer_id = ""
        self.replaced: list[str] = []

    def adopt_request_id(self, request_id: object) -> None:
        """Let the answer carry DashScope's id for the request, where that is fit for a header field and for the log."""
        if type(request_id) is str and _REQUEST_ID.fullmatch(request_id) and self.key not in request_id:
            self.answer_id = request_id


class NativeClient:
    """Makes native calls through one pool of connections, for the backend of that name."""

    def __init__(self, name: str, pool: UpstreamPool, log: Log) -> None:
        self._name = name
        self._pool = pool
        self._log = log

    def begin(self, call: NativeCall, caller: Caller) -> UpstreamConnection | None:
        """Make a call that is not long on an idle connection, without waiting; None where only `open` can.

        `listen` to the connection to learn of the answer, then `poll` it. `open` can go on with the connection.
        """
        body = call.encode()
        lines = self._head(call, caller, body).lines
        return self._pool.begin("POST", lines, body, caller.deadline, self._pool.now())

    def begin_usual(self, call: NativeCall, body: bytes, caller: Caller) -> UpstreamConnection | None:
        """Make a call as `begin` does, but with another body, in which DashScope has no URL to resolve."""
        head = caller.kind.heads.get((call.path, call.stream, call.task))
        if head is None:
            return None
        return self._pool.begin("POST", head.lines, body, caller.deadline, self._pool.now())

    def poll(self, connection: UpstreamConnection) -> ResponseHead | None:
        """Return the head of a call's answer, None while it has not come; UpstreamFailed."""
        head = connection.poll_head()
        if head is None:
            connection.wait_at_most(self._pool.limits.first_byte_timeout, NO_ANSWER)
        return head

    def begun_answer(self, connection: UpstreamConnection, head: ResponseHead, caller: Caller) -> UpstreamAnswer | None:
        """Return the answer to a call whose head has come, None where it is no success."""
        if not 200 <= head.status < 300:
            return None
        kind = _kind_of(head)
        caller.adopt_request_id(kind.request_id(head))
        return self._pool.answer_on(connection, head, is_coded=kind.is_coded)

    def take_whole(self, connection: UpstreamConnection, caller: Caller) -> tuple[bytes, ResponseHead] | None:
        """Return body and head of the answer to a call if it has come all at once and is a success, None if not.

        Then the connection serves others.
        """
        whole = connection.poll_whole()
        if whole is None:
            return None
        head, body = whole
        kind = _kind_of(head)
        if kind.is_coded:
            return None
        request_id = kind.request_id(head)
        if request_id:
            caller.adopt_request_id(request_id)
        return self._pool.take_whole(connection, head, body), head

    def let_go(self, connection: UpstreamConnection) -> None:
        """Take leave of a call that nobody waits for any more."""
        self._pool.let_go(connection)

    async def open(self, call: NativeCall, caller: Caller, begun: UpstreamConnection | None = None) -> UpstreamAnswer:
        """Make a call and return its answer, whose status is a success and whose body is still to come.

        `begun` is the connection on which `begin` has made it already. DashScopeError for any other status, and where
        there is no answer.
        """
        is_long = _is_long(caller.request)
        body = await in_turns(lambda: call.encode(is_long=True)) if is_long else call.encode()
        head = self._head(call, caller, body)
        request = UpstreamRequest("POST", head.target, head.fields, body)
        return await self._send(request, caller, caller.deadline, begun)

    def _head(self, call: NativeCall, caller: Caller, body: bytes) -> NativeHead:
        """Return what stands before a call's body: most often it is known, since clients repeat their fields."""
        switches = (call.path, call.stream, call.task)
        has_oss = _OSS_STRING in body and mentions_oss(call.body)
        known = None if has_oss else caller.kind.heads.get(switches)
        if known is None:
            client_fields = caller.request.fields
            fields = native_headers(call, caller.key, client_fields.pairs, has_oss=has_oss)
            known = self._new_head("POST", call.path, fields)
            if not has_oss and not any(name in client_fields for name in FORWARDED_NAMES):
                caller.kind.heads[switches] = known
        return known

    def _new_head(self, method: str, path: str, fields: list[tuple[str, str]]) -> NativeHead:
        origin, own_fields = self._pool.addressing
        target = f"{origin}{self._pool.destination.base_path}{path}"
        block = encode_fields([*own_fields, _USER_AGENT, *fields])
        return NativeHead(target, block, request_lines(method, target, block))

    async def ask(self, call: NativeCall, caller: Caller) -> JsonObject:
        """Make a call and return the JSON object that it is answered with; DashScopeError."""
        return await self._read_object(await self.open(call, caller), caller)

    async def ask_task(self, method: str, path: str, caller: Caller, deadline: float) -> JsonObject:
        """Send a request about a task and return the JSON object in its answer; DashScopeError.

        All must be over at `deadline` (loop time, 0: never).
        """
        head = self._new_head(method, path, task_headers(caller.key, caller.request.fields.pairs))
        request = UpstreamRequest(method, head.target, head.fields)
        return await self._read_object(await self._send(request, caller, deadline), caller)

    async def open_all(self, calls: typing.Sequence[NativeCall], caller: Caller) -> list[UpstreamAnswer]:
        """Make several calls at once and return their answers. Where one fails, close the others and raise."""
        opened: list[UpstreamAnswer] = []

        async def open_one(call: NativeCall) -> UpstreamAnswer:
            answer = await self.open(call, caller)
            opened.append(answer)
            return answer

        try:
            return await run_together([functools.partial(open_one, call) for call in calls], len(calls))
        except BaseException:
            for answer in opened:
                answer.discard()
            raise

    async def _send(
        self, request: UpstreamRequest, caller: Caller, deadline: float, begun: UpstreamConnection | None = None
    ) -> UpstreamAnswer:
        def note_replaced(exc: UpstreamFailed) -> None:
            caller.replaced.append(f"{self._name}={exc.status}")
            self._log.say_of(caller.request, f"{exc.message} ({exc.where}) {SENT_AGAIN}")

        try:
            answer = await self._pool.send(request, deadline, begun, note_replaced, caller.request.seen)
        except UpstreamFailed as exc:
            raise to_dashscope_error(exc) from exc
        if 200 <= answer.head.status < 300:
            caller.adopt_request_id(_kind_of(answer.head).request_id(answer.head))
            return answer
        raise await self._read_error(answer)

    async def _read_error(self, answer: UpstreamAnswer) -> DashScopeError:
        try:
            body = await answer.hold(_MOST_ERROR_BYTES, _ERROR_SECONDS)
        except UpstreamFailed:
            body = b""  # the status says enough
        finally:
            answer.discard()
        return native_error(answer.head.status, body, self._shown_fields(answer.head))

    async def _read_object(self, answer: UpstreamAnswer, caller: Caller) -> JsonObject:
        body = await read_whole(answer, MOST_ANSWER_BYTES, caller.request)
        return self.read_object(body, answer.head, caller)

    def read_object(self, body: bytes, head: ResponseHead, caller: Caller) -> JsonObject:
        """Return the JSON object that the whole body of an answer is; DashScopeError."""
        value = read_answer(body, lambda: self._shown_fields(head))
        caller.adopt_request_id(value.get("request_id"))
        return value

    def _shown_fields(self, head: ResponseHead) -> list[tuple[str, str]]:
        """Return an answer's fields as others may see them."""
        mask = self._pool.mask
        fields = head.fields.pairs
        return fields if mask is None else [(name, mask.hide_text(value)) for name, value in fields]


class _AnswerKind:
    """What is worked out once from all heads of a kind: whether bodies are coded, and where the request id stands."""

    __slots__ = ("_id_at", "is_coded")

    def __init__(self, head: ResponseHead) -> None:
        self.is_coded = is_coded(head)
        names = [line.partition(b":")[0].lower() for line in head.lines]
        self._id_at = names.index(b"x-request-id") if names.count(b"x-request-id") == 1 else 0

    def request_id(self, head: ResponseHead) -> str:
        """Return the id that a head carries, "" for none."""
        if self._id_at:
            return head.lines[self._id_at].partition(b":")[2].strip(b" \t").decode("latin-1")
        return "" if head.lines else head.fields.get("x-request-id")


def _kind_of(head: ResponseHead) -> _AnswerKind:
    facts: AnswerFacts = head.facts
    kind: _AnswerKind | None = facts.kind
    if kind is None:
        kind = facts.kind = _AnswerKind(head)
    return kind


def _is_long(request: Request) -> bool:
    """Tell whether native calls for a request may be long: they are as long as its body, and that may be on its way."""
    length = request.head.content_length
    return len(request.body) > LONG_BODY or (length > LONG_BODY if length is not None else request.stream is not None)


async def read_whole(answer: UpstreamAnswer, most_bytes: int, request: Request) -> bytes:
    """Return a body, held for a request; DashScopeError, also for more than `most_bytes`, ApiError 503 without room."""
    gathered = Gathering()
    try:
        async for data in answer:
            if gathered.size + len(data) > most_bytes:
                raise too_large(most_bytes)
            request.hold(len(data))
            gathered.add(data)
    except UpstreamFailed as exc:
        raise to_dashscope_error(exc) from exc
    finally:
        answer.discard()
    return gathered.take()


async def next_piece(answer: UpstreamAnswer) -> bytes:
    """Return some bytes of a body, b"" at its end; DashScopeError."""
    try:
        return await answer.__anext__()
    except StopAsyncIteration:
        return b""
    except UpstreamFailed as exc:
        raise to_dashscope_error(exc) from exc


def to_dashscope_error(exc: UpstreamFailed) -> DashScopeError:
    """Return what went wrong on the way to DashScope as an error of this backend: 504 `timeout`, else 502."""
    code = "timeout" if isinstance(exc, UpstreamTimeout) else "upstream_unreachable"
    error = DashScopeError(exc.status, exc.message, code)
    error.where = exc.where
    return error


def too_large(most_bytes: int) -> DashScopeError:
    """Return the 502 for an answer of more bytes than are read."""
    return upstream_bad_response(f"it has more than {most_bytes} bytes")


async def run_together(
    jobs: typing.Sequence[typing.Callable[[], typing.Awaitable[Result]]], most_at_once: int
) -> list[Result]:
    """Run jobs, at most so many at a time, and return their results in order. The first that fails cancels all others.

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
        workers.clear()  # one has the error, whose traceback has this frame, and those who wait for it the request
    return [results[number] for number in range(len(jobs))]
