"""The relay: any request of the OpenAI API to a real upstream and its answer back, byte for byte.

What happens to a request
-------------------------
The head alone decides how (protocol/relay/plan.py; the Plan is kept with the head): which fields go on, to what target,
and whether the body is held. A body is held where it is small, or where it is JSON whose model has to be replaced; then
it can be sent again. Any other body streams through, and a form has its model replaced on the way; what has come of it
is kept, up to a bound, so that it can be sent again too.

Nearly every request finds an idle connection and gets a good answer. So the first attempt runs without a coroutine
(`_FirstAttempt`). Whatever turns out otherwise it hands over to the retry law (protocol/relay/retry.py). Once an answer
has begun there is no way back: what breaks off then, breaks off for the client too.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
import re
import time
import typing

from protocol.errors import ApiError, UsageError
from protocol.exchange import (
    Answer,
    BackendFailed,
    Body,
    Endpoint,
    Paced,
    Pending,
    Request,
    Response,
    Rest,
    Session,
    UpstreamState,
)
from protocol.on_demand import load
from protocol.openai.answers import error_response
from protocol.openai.early_stream import early_head
from protocol.relay.answer_head import AnswerHead, AnswerHeads
from protocol.relay.error_words import begins_with_error
from protocol.relay.kept_body import KeptBody
from protocol.relay.locations import Locations
from protocol.relay.model_in_answer import NamedBody, NamedEvents, named_whole
from protocol.relay.model_list import ModelList
from protocol.relay.passage import EventPassage, NoBody, Passage
from protocol.relay.plan import Planner
from protocol.relay.retry import (
    Failure,
    Health,
    Outcome,
    callers_patience,
    judge,
    read_retry_after,
    retried,
    tries_again_by_himself,
)
from protocol.relay.settings import RelaySettings
from protocol.service.log import Log
from protocol.upstream.access import UpstreamAccess
from protocol.upstream.answer import UpstreamAnswer, UpstreamTunnel
from protocol.upstream.connection import NO_ANSWER, UpstreamConnection
from protocol.upstream.failures import SENT_AGAIN, UpstreamFailed
from protocol.upstream.pool import UpstreamPool
from protocol.upstream.request import UpstreamRequest
from protocol.wire.credentials import is_secret_field
from protocol.wire.http1.messages import ResponseHead
from protocol.wire.json_text import JsonObject
from protocol.wire.sse import SseEvent, SseReader

# An error's body is held so that another backend may be asked instead; one that is larger or slower streams through.
_ERROR_BYTES = 256 * 1024
_ERROR_SECONDS = 5.0

# How long an event stream is held back whose first event has not come, so that another backend may be asked if that is
# an error; and how many bytes of it, since comments may come first.
_FIRST_EVENT_SECONDS = 10.0
_FIRST_EVENT_BYTES = 64 * 1024

# `on_disconnect = drain`: how long and how far an answer is read whose client has left.
_DRAIN_SECONDS = 300.0
_DRAIN_BYTES = 16 * 1024 * 1024

# Failures that are a matter of the caller's key or model; the backend is well.
_CALLERS_STATUSES = frozenset((401, 402, 403, 404))

_CODING_LINE = re.compile(rb"(?m)^content-encoding: [^\r]*\r\n")


class Relay:
    """A backend that passes requests on to one upstream.

    `name` is the backend's in the configuration. `environ` holds the proxy variables. `has_fallback` says that some
    route names another backend behind this one: only then may it rest. `instance` is a token by which a request that
    comes round again is known; workers of one server should share it. Of a body that is read for its model at most
    `max_body` bytes are held. `clock` gives seconds since the epoch, `draw` a random number from 0 to 1. UsageError
    where the settings cannot work.
    """

    own_root = ""
    tells_usage = False

    def __init__(
        self,
        name: str,
        settings: RelaySettings,
        environ: typing.Mapping[str, str],
        log: Log,
        *,
        has_fallback: bool = True,
        instance: str = "",
        max_body: int = 65 * 1024 * 1024,
        clock: typing.Callable[[], float] = time.time,
        draw: typing.Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self._tried_well = (f"{name}=200",)
        self.holds_key = settings.holds_key
        self.keepalive = settings.keepalive
        self._settings = settings
        self._total_timeout = settings.total_timeout
        self._log = log
        self._clock = clock
        self._draw = draw
        self._held = Endpoint(self._answer, name, early_head=early_head(settings.keepalive))
        self._streamed = Endpoint(self._answer, name, streams_body=True)
        self._has_fallback = has_fallback
        self._health = Health(settings.cooldown if has_fallback else 0.0)
        if settings.api_key and settings.key_field in dict(settings.headers):
            raise UsageError(
                f"[relay] of the backend '{name}': {settings.key_field} stands both in headers and as key_field"
            )
        access = UpstreamAccess(f"[relay] of the backend '{name}'", settings, environ, warn=log.say)
        drains = settings.on_disconnect == "drain"
        self.origin = access.destination.origin
        self._place = access.destination.place
        secrets = [value.rpartition(" ")[2] for name, value in settings.headers if is_secret_field(name)]
        self._pool = access.make_pool(
            name,
            secrets=secrets,
            drain_seconds=_DRAIN_SECONDS if drains else 0.0,
            drain_bytes=_DRAIN_BYTES if drains else 0,
        )
        self._mask = self._pool.mask
        self._planner = Planner(
            name,
            settings,
            access.destination,
            self._pool.addressing,
            instance or os.urandom(8).hex(),
            max_body,
            reads_answers=self._mask is not None,
        )
        self._heads = AnswerHeads(self._mask, Locations(access.destination))
        self._models = ModelList(name, self._pool, settings.models, timeout=settings.timeout, clock=clock)
        if not access.destination.base_path:
            log.say(
                f"base_url of the backend '{name}' ends in a slash behind the host: the API is asked at the root, as "
                f"in {access.destination.origin}/chat/completions; without the slash it is asked below /v1"
            )

    @property
    def open_connections(self) -> int:
        """How many connections to the upstream there are, idle ones included."""
        return self._pool.open_connections

    def upstream_state(self) -> UpstreamState:
        """Return how it stands to its upstream (exchange.AsksUpstream)."""
        pool, health, idle = self._pool, self._health, len(self._pool.idle)
        busy = pool.open_connections - pool.opening - idle
        return UpstreamState(busy, idle, pool.opening, pool.waiting, health.has_rested)

    def endpoint(self, request: Request) -> Endpoint:
        """Choose how the body is taken; ApiError as Planner.plan."""
        return self._held if self._planner.plan(request).is_held else self._streamed

    async def models(self, request: Request) -> list[JsonObject]:
        """Return the upstream's models, kept for a minute and longer while it fails, and the names that are mapped.

        ApiError, of the upstream's status or 502 or 504, where there never was a list; 508 where it leads back here.
        """
        self._planner.refuse_loop(request)
        return await self._models.read(self._planner.request_fields(request), self._planner.query(request))

    def sent_model(self, asked: str) -> str:
        """Return what the upstream calls a model that was asked for."""
        return self._planner.sent_model(asked)

    @property
    def is_resting(self) -> bool:
        """Whether requests keep away for a while."""
        return self._health.seconds_to_rest(asyncio.get_running_loop().time()) is not None

    def forget(self, session: Session) -> None:
        """Forget nothing: what this backend remembers is of no session."""

    def leave(self) -> None:
        """Cut nothing: what two others say to each other has its time until the server has drained."""

    async def close(self) -> None:
        """Close the connections to the upstream."""
        await self._pool.close()

    # ---- attempts -----------------------------------------------------------------------------------------------

    def _answer(self, request: Request) -> Answer:
        """Answer as the upstream does; BackendFailed where it has no answer of use, ApiError for a bad request."""
        plan = self._planner.plan(request)
        began = self._pool.now()
        if plan.is_held and self._health.is_well:
            deadline = request.end_within(self._total_timeout) if self._total_timeout else request.deadline
            body = request.body
            if plan.kind is not None:
                plan, body = self._planner.renamed(request, plan, plan.kind, body)
            connection = self._pool.begin(request.head.method, plan.lines, body, deadline, began)
            if connection is not None:
                return _FirstAttempt(self, self._pool, request, connection, began)
        return self.answer_in_time(request, None, began)

    async def answer_in_time(self, request: Request, begun: UpstreamConnection | None, began: float) -> Response:
        """Answer with all the waiting that this may take.

        `begun` is where the first attempt is under way already, `began` when the backend was asked (loop time).
        """
        health = self._health
        seconds = health.seconds_to_rest(asyncio.get_running_loop().time())
        if begun is None and seconds is not None:
            raise BackendFailed(self._resting(seconds))
        deadline = request.end_within(self._total_timeout) or math.inf
        plan = self._planner.plan(request)
        outgoing = self._planner.outgoing(request, plan)
        kept = None if plan.is_tunnel or request.stream is None else KeptBody(request.stream, request)
        to_send: UpstreamRequest | None = None

        attempts: list[str] = []  # what was tried, as `name=status`

        async def attempt() -> Outcome:
            nonlocal begun, to_send
            connection, begun = begun, None
            if to_send is None or to_send.stream is not None:
                stream = None if kept is None else kept.pieces()
                to_send = await self._planner.request_to_send(request, plan, stream)
            outcome = await self._attempt(request, to_send, outgoing, connection, attempts)
            if to_send.stream is None or kept is None or kept.can_repeat or isinstance(outcome, Response):
                return outcome
            return outcome.for_others()

        is_probe = health.begin()
        try:
            retries = 0 if tries_again_by_himself(request.fields) else self._settings.retries
            wait_until = min(deadline, began + callers_patience(request.fields))
            return await retried(attempt, retries, wait_until, self._draw)
        except BackendFailed as failure:
            status = failure.response.status
            if status in _CALLERS_STATUSES:
                self._health.note_success()
            elif status != 429:  # which says that the backend is there, and not that it is of use
                self._note_failure()
            raise
        finally:
            if is_probe:
                health.end_probe()

    async def _attempt(
        self,
        request: Request,
        to_send: UpstreamRequest,
        outgoing: typing.AsyncIterator[bytes] | None,
        begun: UpstreamConnection | None,
        attempts: list[str],
    ) -> Outcome:
        """Send the request once; return what goes to the client, or what is left of an attempt that failed."""
        answer: UpstreamAnswer | UpstreamTunnel | None = None

        def note_replaced(exc: UpstreamFailed) -> None:
            attempts.append(f"{self.name}={exc.status}")
            self._log.say_of(request, f"{exc.message} ({exc.where}, try {len(attempts)}) {SENT_AGAIN}")

        try:
            if outgoing is None:
                answer = await self._pool.send(to_send, request.deadline, begun, note_replaced, request.seen)
            else:
                answer = await self._pool.open_tunnel(to_send, outgoing, request.deadline, request.seen)
            status = answer.head.status
            attempts.append(f"{self.name}={status}")
            tried = tuple(attempts)
            if isinstance(answer, UpstreamTunnel):
                outcome: Outcome = self._passed_on(answer.head, answer, None, tried)
            elif status >= 400:
                outcome = await self._judged(request, answer, tried)
                is_owners = status not in _CALLERS_STATUSES or (self.holds_key and status != 404)
                if is_owners and isinstance(outcome, Failure):
                    where = f"{self._place}, try {len(attempts)}"
                    self._log.say_of(request, f"The backend '{self.name}' answered {status}. ({where})")
            elif self._has_fallback and self._is_event_stream(answer.head):
                outcome = await self._first_event(request, answer, tried)
            else:
                outcome = self._begun(request, answer, tried)
        except UpstreamFailed as exc:
            if isinstance(answer, UpstreamAnswer):
                answer.discard()
                attempts.pop()
            attempts.append(f"{self.name}={exc.status}")
            self._log.say_of(request, f"{exc.message} ({exc.where}, try {len(attempts)})")
            return Failure(_as_response(exc, tuple(attempts)), 0.0 if exc.unsent else None)
        except asyncio.CancelledError:
            if answer is not None:
                await answer.aclose()
            raise
        if isinstance(outcome, Response):
            self._health.note_success()
        return outcome

    def _note_failure(self) -> None:
        if self._health.note_failure(asyncio.get_running_loop().time()):
            self._log.say(f"The backend '{self.name}' keeps failing and rests for {self._settings.cooldown:g} seconds")

    def _resting(self, seconds: float) -> Response:
        seconds = max(1, round(seconds + 0.5))
        error = ApiError(
            503, f"The backend '{self.name}' keeps failing; it is asked again in {seconds} s.", code="upstream_resting",
            fields=[("retry-after", str(seconds))],
        )  # fmt: skip
        return _as_response(error, (f"{self.name}=503",))

    # ---- answers ------------------------------------------------------------------------------------------------

    def first_answer(self, request: Request, connection: UpstreamConnection, head: ResponseHead) -> Response | None:
        """Return the answer to a first attempt, None where the retry law must have a look at it; UpstreamFailed."""
        if head.status >= 400 or head.status == 101 or (self._has_fallback and self._is_event_stream(head)):
            return None
        known: AnswerHead = head.plan or self._heads.read(head)
        tried = self._tried_well if head.status == 200 else (f"{self.name}={head.status}",)
        response = self._begun(request, self._pool.answer_on(connection, head, is_coded=known.kind.is_coded), tried)
        if self._health.failures:
            self._health.note_success()
        return response

    def whole_answer(self, connection: UpstreamConnection, head: ResponseHead, body: bytes) -> Response | None:
        """Return what `first_answer` does, of an answer that has come whole; None where there is more to see to.

        Nearly all plain answers come so, and without the ordinary way's objects and events they cost a fifth less of
        what the relay does, 2.6 µs (CPython 3.11).
        """
        known: AnswerHead = head.plan or self._heads.read(head)
        kind = known.kind
        if kind.tells_coding or kind.is_events or self._planner.names_asked:
            return None
        if self._health.failures:
            self._health.note_success()
        body = self._pool.take_whole(connection, head, body)
        return Response(200, known.fields, body, None, known.request_id, self._tried_well)

    def _begun(
        self, request: Request, answer: UpstreamAnswer, attempts: tuple[str, ...], taken: bytes = b""
    ) -> Response:
        """Turn an answer that has begun into ours; UpstreamFailed when it is broken before a byte could go on.

        `taken` is what of its body has been taken already.
        """
        head = answer.head
        first = taken if answer.complete else taken + answer.take()
        length = head.content_length
        known: AnswerHead = head.plan or self._heads.read(head)
        kind = known.kind
        if kind.is_coded and self._mask is not None:
            return self._coded(request, answer, first, attempts)
        model = self._planner.model_to_name(request) if self._planner.names_asked and not kind.tells_coding else ""
        body: Body
        if answer.complete:
            body = named_whole(first, model) if model else first
            if length is None or request.head.method == "HEAD":
                body, length = _framed_as_it_came(request, head, body)
            else:
                length = None
        elif model and kind.is_events:
            body, length = NamedEvents(answer, first, self._settings.keepalive, model, request), None
        elif model and kind.is_json:
            body, length = NamedBody(answer, first, model, request), None
        elif kind.is_events and length is None and not kind.tells_coding:
            body = EventPassage(answer, first, self._settings.keepalive)
        else:
            body = Passage(answer, first)
        return Response(head.status, known.fields, body, length, known.request_id, attempts)

    def _is_event_stream(self, head: ResponseHead) -> bool:
        kind = self._heads.kind(head)
        return kind.is_events and not kind.tells_coding

    async def _first_event(self, request: Request, answer: UpstreamAnswer, attempts: tuple[str, ...]) -> Outcome:
        """Return an event stream once its first event is here, which is a failure if it tells of an error."""
        loop = asyncio.get_running_loop()
        until = loop.time() + min(_FIRST_EVENT_SECONDS, self._settings.keepalive or math.inf)
        reader = SseReader()
        taken = bytearray()
        events: list[SseEvent] = []
        while not events and not answer.complete and len(taken) <= _FIRST_EVENT_BYTES and loop.time() < until:
            data = await answer.hold(0, until - loop.time())
            taken += data
            events = reader.feed(data)
        response = self._begun(request, answer, attempts, bytes(taken))
        if events and begins_with_error(events[0].event, events[0].data):
            return Failure(response, None)
        return response

    async def _judged(self, request: Request, answer: UpstreamAnswer, attempts: tuple[str, ...]) -> Outcome:
        """Return an error as the answer, or as the failure that it is to the retry law."""
        head = answer.head
        held = await answer.hold(_ERROR_BYTES, _ERROR_SECONDS)
        request.may_hold(len(held))  # room or not: it is small, and here already
        response = self._error(request, answer, held, attempts)
        verdict = judge(head, held)
        if verdict == "answer":
            return response
        return Failure(response, read_retry_after(head, self._clock()) if verdict == "again" else None)

    def _error(self, request: Request, answer: UpstreamAnswer, body: bytes, attempts: tuple[str, ...]) -> Response:
        """Return an error's answer, of whose body this much is held; what is too long or too slow streams through."""
        head = answer.head
        if self._mask is not None and self._heads.kind(head).is_coded:
            return self._coded(request, answer, body, attempts)
        if answer.complete:
            return self._passed_on(head, *_framed_as_it_came(request, head, body), attempts)
        return self._passed_on(head, Passage(answer, body), head.content_length, attempts)

    def _coded(self, request: Request, answer: UpstreamAnswer, body: bytes, attempts: tuple[str, ...]) -> Response:
        """Return an answer in a coding that was not asked for, of whose body this much is here: see coded.py."""
        if answer.complete and not body:
            return self._passed_on(answer.head, *_framed_as_it_came(request, answer.head, body), attempts)
        (decoded_body,) = load("coded answer")
        try:
            decoded = decoded_body(answer, body, self._mask, self.name)
        except ApiError as exc:
            answer.discard()
            return _as_response(exc, attempts)
        known = self._heads.read(answer.head)
        fields = _CODING_LINE.sub(b"", known.fields)
        return Response(answer.head.status, fields, decoded, None, known.request_id, attempts)

    def _passed_on(self, head: ResponseHead, body: Body, length: int | None, attempts: tuple[str, ...]) -> Response:
        """Return an upstream's answer, with the fields that go on."""
        known = self._heads.read(head)
        return Response(head.status, known.fields, body, length, known.request_id, attempts)


class _FirstAttempt(Pending):
    """A request on its way to an upstream that has it, and perhaps its answer."""

    __slots__ = ("_began", "_connection", "_is_ours", "_pool", "_relay", "_request")

    def __init__(
        self, relay: Relay, pool: UpstreamPool, request: Request, connection: UpstreamConnection, began: float
    ) -> None:
        self._relay = relay
        self._pool = pool
        self._request = request
        self._connection = connection
        self._began = began
        self._is_ours = True  # the connection, until somebody else reads its answer
        connection.listen(self._look)

    def _look(self) -> None:
        """Deliver the answer if it has come."""
        connection = self._connection
        if not self._is_ours:
            return  # delivered, and whoever has it does not listen yet
        try:
            whole = connection.poll_whole()
            response = None if whole is None else self._relay.whole_answer(connection, *whole)
            if response is None:
                head = connection.poll_head()
                if head is None:
                    connection.wait_at_most(self._pool.limits.first_byte_timeout, NO_ANSWER)
                    return
                response = self._relay.first_answer(self._request, connection, head)
        except UpstreamFailed:
            response = None  # it is raised again to the retry law
        if response is None:
            connection.deafen()
            self.deliver(Rest(self._go_on))
        else:
            self._is_ours = False
            self.deliver(response)

    def _go_on(self) -> typing.Coroutine[typing.Any, typing.Any, Response]:
        self._is_ours = False
        return self._relay.answer_in_time(self._request, self._connection, self._began)

    def cancel(self) -> None:
        if self._is_ours:
            self._is_ours = False
            self._pool.let_go(self._connection)


def _as_response(error: ApiError, attempts: tuple[str, ...]) -> Response:
    """Return the answer to an attempt that brought none."""
    response = error_response(error)
    return Response(response.status, response.fields, response.body, None, response.request_id, attempts)


def _framed_as_it_came(request: Request, head: ResponseHead, body: bytes) -> tuple[Body, int | None]:
    """Return a body that is complete, with its length where that must be told: sized or chunked, as it came."""
    if request.head.method == "HEAD":
        return NoBody(), head.content_length
    if head.content_length is None and body:
        return Paced([body], first_delay=0.0, delay=0.0), None
    return body, None
