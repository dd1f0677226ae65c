"""The relay: any request of the OpenAI API to a real upstream and its answer back, byte for byte.

What happens to a request
-------------------------
The head alone decides how (`_Plan`, kept with the head): which fields go on, to what target, and whether the body is
held. A body is held where it is small, or where it is JSON whose model has to be replaced; then it can be sent again.
Any other body streams through, and a multipart one has its model replaced on the way.

`_answer` is the retry law. Nothing has gone to the client while it runs, so it may try again, within one deadline:

    no connection                     again, after a pause
    429, 500, 502, 503, 504           again, after a pause or what retry-after says, if the body can be sent again
    broke off, or took too long       not here (it may have been carried out), but the route's next backend may
    any other answer                  is the answer

What is left of it in the end goes out as BackendFailed, for the route's next backend or for the client: the upstream's
own status and body, or an error of ours. Once an answer has begun there is no way back; what breaks off then, breaks
off for the client too.

Nearly every request needs none of that: a connection is idle, and the answer is a good one. So the first attempt runs
without a coroutine (`_FirstAttempt`), and hands whatever turns out otherwise over to the law, which goes on from there.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import time
import typing
import urllib.parse

from protocol.errors import ApiError
from protocol.exchange import Answer, BackendFailed, Endpoint, Paced, Pending, Request, Response, Rest
from protocol.openai.answers import api_path, error_response, model_object
from protocol.openai.model_in_form import ModelRewriter
from protocol.openai.model_in_json import find_model, replace_model
from protocol.relay.header_rules import is_loop, request_fields, response_fields
from protocol.relay.passage import EventPassage, NoBody, Passage
from protocol.relay.retry import Failure, Health, read_retry_after
from protocol.relay.settings import RelaySettings
from protocol.service.log import Log
from protocol.upstream.access import UpstreamAccess
from protocol.upstream.answer import UpstreamAnswer, UpstreamTunnel
from protocol.upstream.connection import UpstreamConnection
from protocol.upstream.failures import UpstreamFailed
from protocol.upstream.request import UpstreamRequest
from protocol.wire.http1.messages import SHORT_BODY_BYTES, RequestHead, ResponseHead
from protocol.wire.http1.writers import encode_fields, request_lines
from protocol.wire.json_text import JsonObject

_RETRIED_STATUSES = frozenset((429, 500, 502, 503, 504))
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 8.0

# An upstream that asks for a longer pause than this is taken at its word: it is not asked again.
_LONGEST_OBEYED_SECONDS = 15.0

# An error's body is held so that another backend may be asked instead; one that is larger or slower streams through.
_ERROR_BYTES = 256 * 1024
_ERROR_SECONDS = 5.0

# `on_disconnect = drain`: how long and how far an answer is read whose client has left.
_DRAIN_SECONDS = 300.0
_DRAIN_BYTES = 16 * 1024 * 1024
_MODELS_SECONDS = 60.0
_MODELS_BYTES = 4 * 1024 * 1024
_REMEMBERED_MODEL_LISTS = 100
_DOT_SEGMENT = re.compile(r"/(?:\.|%2e){1,2}(?:/|$)", re.IGNORECASE)
_PLAIN_ID = re.compile(r"[!-~]{1,256}")

# What takes a model, so that one may be put in where the request names none. Other JSON endpoints refuse the member.
_MODEL_PATHS = frozenset(
    f"/{path}"
    for path in (
        "chat/completions", "completions", "responses", "embeddings", "moderations", "images/generations",
        "audio/speech",
    )
)  # fmt: skip

# The same for forms.
_FORM_MODEL_PATHS = frozenset(("/audio/transcriptions", "/audio/translations", "/images/edits", "/images/variations"))

# Of the caller's request for the list of models, what the upstream gets to see.
_MODELS_FIELDS = ("host", "authorization", "api-key", "openai-organization", "openai-project", "user-agent", "via")


class _Plan:
    """What a head alone decides: all of it is the same for every request with that head."""

    __slots__ = ("endpoint", "fields", "is_tunnel", "lines", "rewrites_json", "rewrites_multipart", "target")

    def __init__(self, endpoint: Endpoint, method: str, target: str, fields: bytes) -> None:
        self.endpoint = endpoint
        self.target = target
        self.fields = fields
        self.lines = request_lines(method, target, fields)
        self.is_tunnel = False
        self.rewrites_json = False
        self.rewrites_multipart = False


class Relay:
    """A backend that passes requests on to one upstream.

    `name` is the backend's in the configuration. `environ` holds the proxy variables. `has_fallback` says that some
    route names another backend behind this one: only then may it rest. `instance` is a token by which a request that
    comes round again is known; workers of one server should share it. `clock` gives seconds since the epoch, `draw` a
    random number from 0 to 1. UsageError where the settings cannot work.
    """

    def __init__(
        self,
        name: str,
        settings: RelaySettings,
        environ: typing.Mapping[str, str],
        log: Log,
        *,
        has_fallback: bool = True,
        instance: str = "",
        clock: typing.Callable[[], float] = time.time,
        draw: typing.Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self._settings = settings
        self._log = log
        self._clock = clock
        self._instance = instance or os.urandom(8).hex()
        self._draw = draw
        access = UpstreamAccess(f"[relay] of the backend '{name}'", settings, environ, warn=log.say)
        self._destination = access.destination
        self._renames = bool(settings.model or settings.models)
        self._key = settings.api_key.encode("ascii")
        self._note = f"relay {name}"
        self._held = Endpoint(self._answer, name)
        self._streamed = Endpoint(self._answer, name, streams_body=True)
        self._health = Health(settings.cooldown if has_fallback else 0.0)
        self._lists: dict[str, tuple[float, list[JsonObject]]] = {}
        drains = settings.on_disconnect == "drain"
        self._pool = access.make_pool(
            name, drain_seconds=_DRAIN_SECONDS if drains else 0.0, drain_bytes=_DRAIN_BYTES if drains else 0
        )

    @property
    def open_connections(self) -> int:
        """How many connections to the upstream there are, idle ones included."""
        return self._pool.open_connections

    def endpoint(self, request: Request) -> Endpoint:
        """Choose how the body is taken; ApiError 405 for TRACE, 508 for a loop, 400 for a path that climbs."""
        return self._plan(request).endpoint

    def leave(self) -> None:
        """Cut nothing: what two others say to each other has its time until the server has drained."""

    async def close(self) -> None:
        """Close the connections to the upstream."""
        await self._pool.close()

    # ---- what the head decides ----------------------------------------------------------------------------------

    def _plan(self, request: Request) -> _Plan:
        head = request.head
        if request.path != head.path:
            return self._make_plan(request)  # a door led here; its head stands for other paths as well
        plan = head.notes.get(self._note)
        if plan is None:
            plan = head.notes[self._note] = self._make_plan(request)
        return plan

    def _make_plan(self, request: Request) -> _Plan:
        head = request.head
        self._refuse_unsafe(request)
        fields = self._request_fields(head)
        content_type = head.fields.get("content-type").partition(";")[0].strip().lower()
        if request.path != head.path:
            # Pages post to a door without a preflight as text/plain; behind it JSON is expected.
            fields = [field for field in fields if field[0] != "content-type"] + [("content-type", "application/json")]
            content_type = "application/json"
        is_json = content_type.endswith("json") or not content_type
        plan = _Plan(self._streamed, head.method, self._target(request), encode_fields(fields))
        plan.rewrites_json = self._renames and head.has_body and is_json
        plan.rewrites_multipart = self._renames and content_type == "multipart/form-data"
        is_small = head.content_length is not None and head.content_length <= SHORT_BODY_BYTES
        plan.is_tunnel = head.upgrade.lower() == "websocket"
        if not plan.is_tunnel and (plan.rewrites_json or (is_small and not plan.rewrites_multipart)):
            plan.endpoint = self._held
        return plan

    def _request_fields(self, head: RequestHead) -> list[tuple[str, str]]:
        return request_fields(
            head, host=self._destination.authority, api_key=self._settings.api_key, instance=self._instance
        )

    def _refuse_unsafe(self, request: Request) -> None:
        """Refuse what would turn the relay against its upstream or its owner."""
        if request.method == "TRACE":
            # RFC 9110 §9.3.8: the answer would repeat the request, and with it our key.
            raise ApiError(
                405, "TRACE is not relayed.", code="method_not_allowed", fields=[("allow", "GET, POST, DELETE")]
            )
        if is_loop(request.head, self._instance):
            raise ApiError(
                508, f"The request has been here before: base_url of the backend '{self.name}' leads back here.",
                code="loop_detected",
            )  # fmt: skip
        if _DOT_SEGMENT.search(request.path):
            raise ApiError(400, f"The path must not hold '.' or '..' segments, but is {request.path[:100]!r}.")

    def _target(self, request: Request) -> str:
        path = api_path(request.path) or request.path
        query = request.head.query
        if self._renames and "model=" in query:
            query = "&".join(map(self._renamed_parameter, query.split("&")))
        return f"{self._destination.base_path}{path}{'?' + query if query else ''}"

    def _renamed_parameter(self, parameter: str) -> str:
        name, equals, value = parameter.partition("=")
        if name != "model" or not equals:
            return parameter
        asked = urllib.parse.unquote_plus(value)
        sent = self._sent_model(asked)
        return parameter if sent == asked else f"model={urllib.parse.quote(sent, safe='')}"

    def _sent_model(self, asked: str) -> str:
        """Return what a model that was asked for is called at the upstream."""
        return self._settings.model or self._settings.models.get(asked, asked)

    # ---- the body -----------------------------------------------------------------------------------------------

    def _to_send(self, request: Request, plan: _Plan) -> UpstreamRequest:
        head = request.head
        if plan.is_tunnel:
            return UpstreamRequest(head.method, plan.target, plan.fields, stream=request.stream, tunnel=True)
        if request.stream is None or request.body:
            body = self._renamed_body(request) if plan.rewrites_json else request.body
            if plan.rewrites_multipart:
                rewriter = self._rewriter(request)
                body = rewriter.feed(body) + rewriter.close()
            return UpstreamRequest(head.method, plan.target, plan.fields, body)
        if plan.rewrites_multipart:
            stream = _rewritten(request.stream, self._rewriter(request))
            return UpstreamRequest(head.method, plan.target, plan.fields, stream=stream)
        return UpstreamRequest(head.method, plan.target, plan.fields, stream=request.stream, length=head.content_length)

    def _rewriter(self, request: Request) -> ModelRewriter:
        takes_model = api_path(request.path) in _FORM_MODEL_PATHS

        def rename(asked: str) -> str:
            # "" asks what to put into a form without a model: nothing where forms have none, such as uploads of files.
            return self._sent_model(asked) if asked or takes_model else ""

        return ModelRewriter(request.fields.get("content-type"), rename)

    def _renamed_body(self, request: Request) -> bytes:
        body = request.body
        found = find_model(body)
        if found is not None:
            sent = self._sent_model(found[0])
            return body if sent == found[0] else replace_model(body, sent)
        if not self._settings.model or api_path(request.path) not in _MODEL_PATHS:
            return body
        replaced = replace_model(body, self._settings.model)
        if replaced is body:
            # Passed on as it is, a body that another parser does understand would escape the owner's choice of a model.
            raise ApiError(
                400, "The body must be a JSON object in UTF-8, without Content-Encoding.", code="invalid_json"
            )
        return replaced

    # ---- the retry law ------------------------------------------------------------------------------------------

    def _answer(self, request: Request) -> Answer:
        """Answer as the upstream does; BackendFailed where it has no answer of use, ApiError for a bad request."""
        plan = self._plan(request)
        if plan.endpoint is self._held and self._health.is_well:
            deadline = self._deadline(request)
            body = self._renamed_body(request) if plan.rewrites_json else request.body
            connection = self._pool.begin(request.head.method, plan.lines, body, deadline)
            if connection is not None:
                return _FirstAttempt(self, request, connection)
        return self.answer_in_time(request, None)

    def _deadline(self, request: Request) -> float:
        """Return when all attempts must be over; the first backend that is asked sets it for those after it."""
        if self._settings.total_timeout and not request.deadline:
            request.deadline = asyncio.get_running_loop().time() + self._settings.total_timeout
        return request.deadline

    async def answer_in_time(self, request: Request, begun: UpstreamConnection | None) -> Response:
        """Answer with all the waiting that this may take; `begun` is where the first attempt is under way already."""
        health = self._health
        now = asyncio.get_running_loop().time()
        if begun is None and health.rests(now):
            raise BackendFailed(self._resting(request, health.rest_until - now))
        self._deadline(request)
        to_send = self._to_send(request, self._plan(request))
        is_probe = health.begin()
        try:
            return await self._try(request, to_send, begun)
        except BackendFailed as failure:
            # Too many requests is a matter of the caller's account; the backend is well.
            if failure.response.status != 429:
                self._note_failure()
            raise
        finally:
            if is_probe:
                health.probing = False

    async def _try(self, request: Request, to_send: UpstreamRequest, begun: UpstreamConnection | None) -> Response:
        for tried in range(self._settings.retries + 1):
            outcome = await self._attempt(request, to_send, begun)
            begun = None
            if isinstance(outcome, Response):
                self._health.failures = 0
                return outcome
            pause = self._pause(tried, outcome.retry_after)
            try:
                if tried == self._settings.retries or not await self._wait(pause, request.deadline):
                    break
            except asyncio.CancelledError:
                outcome.drop()
                raise
            outcome.drop()
        if outcome.rest is not None:
            return outcome.response  # it cannot be held, and so no other backend be asked
        raise BackendFailed(outcome.response)

    async def _attempt(
        self, request: Request, to_send: UpstreamRequest, begun: UpstreamConnection | None
    ) -> Response | Failure:
        """Send the request once; return what goes to the client, or what is left of an attempt that failed."""
        answer = None
        try:
            answer = await self._pool.send(to_send, request.deadline, begun)
            status = answer.head.status
            request.attempts.append(f"{self.name}={status}")
            if status < 400:
                return self._begun(request, answer)
            response = await self._held_error(request, answer)
        except UpstreamFailed as exc:
            if answer is not None:
                answer.discard()
                request.attempts.pop()
            request.attempts.append(f"{self.name}={exc.status}")
            self._log.say(f"Request {request.id}: {exc.message}")
            return Failure(self._as_response(request, exc), 0.0 if exc.unsent else None)
        except asyncio.CancelledError:
            if answer is not None:
                await answer.aclose()
            raise
        if status not in _RETRIED_STATUSES:
            return response
        can_repeat = to_send.stream is None or to_send.tunnel
        retry_after = read_retry_after(answer.head, self._clock()) if can_repeat else None
        return Failure(response, retry_after, None if answer.complete else answer)

    def _pause(self, tried: int, retry_after: float | None) -> float | None:
        """Return how long to wait before the next attempt; None where there is to be none."""
        if retry_after is None or retry_after > _LONGEST_OBEYED_SECONDS:
            return None
        # Full jitter: clients that failed together come back apart.
        return retry_after or self._draw() * min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2**tried)

    async def _wait(self, seconds: float | None, deadline: float) -> bool:
        """Wait; False, at once, when there is to be no next attempt or would be no time left for it."""
        if seconds is None or (deadline and asyncio.get_running_loop().time() + seconds >= deadline):
            return False
        await asyncio.sleep(seconds)
        return True

    def _note_failure(self) -> None:
        until = self._health.failed(asyncio.get_running_loop().time())
        if until:
            self._log.say(f"The backend '{self.name}' keeps failing and rests for {self._settings.cooldown:g} seconds")

    def _resting(self, request: Request, seconds: float) -> Response:
        seconds = max(1, round(seconds + 0.5))
        error = ApiError(
            503, f"The backend '{self.name}' keeps failing; it is asked again in {seconds} s.", code="upstream_resting",
            fields=[("retry-after", str(seconds))],
        )  # fmt: skip
        request.attempts.append(f"{self.name}=503")
        return self._as_response(request, error)

    def _as_response(self, request: Request, error: ApiError) -> Response:
        fields = [*error.fields, ("x-oaiserve-attempts", ",".join(request.attempts))]
        return error_response(
            ApiError(error.status, error.message, type=error.type, param=error.param, code=error.code, fields=fields)
        )

    # ---- answers ------------------------------------------------------------------------------------------------

    def first_answer(self, request: Request, connection: UpstreamConnection, head: ResponseHead) -> Response | None:
        """Return the answer to a first attempt, None where the retry law must have a look at it; UpstreamFailed."""
        if head.status >= 400 or head.status == 101:
            return None
        request.attempts.append(f"{self.name}={head.status}")
        try:
            response = self._begun(request, self._pool.answer_on(connection, head))
        except UpstreamFailed:
            request.attempts.pop()
            raise
        self._health.failures = 0
        return response

    def let_go(self, connection: UpstreamConnection) -> None:
        """Give up an attempt whose client has gone."""
        self._pool.let_go(connection)

    def await_head(self, connection: UpstreamConnection) -> None:
        """Let the time for an answer's head begin anew."""
        connection.await_head(self._pool.limits.first_byte_timeout)

    def _begun(self, request: Request, answer: UpstreamAnswer | UpstreamTunnel) -> Response:
        """Turn an answer that has begun into ours; UpstreamFailed when it is broken before a byte could go on."""
        head = answer.head
        fields = self._fields(request, head)
        if isinstance(answer, UpstreamTunnel):
            return Response(101, fields, answer)
        first = answer.take()
        if answer.complete:
            return _whole(request, head, fields, first)
        if b"text/event-stream" in fields and head.content_length is None and "content-encoding" not in head.fields:
            return Response(head.status, fields, EventPassage(answer, first, self._settings.keepalive))
        return Response(head.status, fields, Passage(answer, first), head.content_length)

    async def _held_error(self, request: Request, answer: UpstreamAnswer) -> Response:
        """Return an error's answer with its body held; one that is too long or too slow streams through."""
        head = answer.head
        fields = self._fields(request, head)
        body = await answer.hold(_ERROR_BYTES, _ERROR_SECONDS)
        if self._key and self._key in body:
            # Some upstreams repeat the key that they refuse.
            body = body.replace(self._key, b"*" * len(self._key))
        if answer.complete:
            return _whole(request, head, fields, body)
        return Response(head.status, fields, Passage(answer, body), head.content_length)

    def _fields(self, request: Request, head: ResponseHead) -> bytes:
        """Return the field lines that go on."""
        known = head.notes.get("fields")
        if known is None:
            known = head.notes["fields"] = self._make_fields(head)
        request_id, block = known
        if request_id:
            request.id = request_id  # the server sends it
        attempts = request.attempts
        return b"%bx-oaiserve-attempts: %b\r\n" % (
            block, (attempts[0] if len(attempts) == 1 else ",".join(attempts)).encode("ascii"),
        )  # fmt: skip

    def _make_fields(self, head: ResponseHead) -> tuple[str, bytes]:
        """Return the request id and the lines of all other fields; the reader has checked each."""
        request_id = ""
        lines = []
        for name, value in response_fields(head):
            if name == "x-request-id" and _PLAIN_ID.fullmatch(value):
                request_id = value
            else:
                lines.append(f"{name}: {value}\r\n")
        block = "".join(lines).encode("latin-1")
        return request_id, block.replace(self._key, b"*" * len(self._key)) if self._key else block

    # ---- models -------------------------------------------------------------------------------------------------

    async def models(self, request: Request) -> list[JsonObject]:
        """Return the upstream's models, kept for a minute and longer while it fails, and the names that are mapped.

        ApiError, of the upstream's status or 502 or 504, where there never was a list.
        """
        fields = [(name, value) for name, value in self._request_fields(request.head) if name in _MODELS_FIELDS]
        # What one caller may see is nothing for another.
        who = repr([] if self._key else fields)
        now = asyncio.get_running_loop().time()
        kept = self._lists.pop(who, None)
        if kept is None or now - kept[0] > _MODELS_SECONDS:
            try:
                kept = (now, await self._fetch_models(fields))
            except ApiError:
                if kept is None:
                    raise
        self._lists[who] = kept
        if len(self._lists) > _REMEMBERED_MODEL_LISTS:
            del self._lists[next(iter(self._lists))]
        return self._with_mapped(kept[1])

    async def _fetch_models(self, fields: list[tuple[str, str]]) -> list[JsonObject]:
        block = encode_fields([*fields, ("accept", "application/json")])
        target = f"{self._destination.base_path}/models"
        deadline = asyncio.get_running_loop().time() + self._settings.timeout
        answer = await self._pool.send(UpstreamRequest("GET", target, block), deadline)
        try:
            body = await answer.hold(_MODELS_BYTES, self._settings.timeout)
            if not answer.complete:
                raise ApiError(502, f"The list of models of the backend '{self.name}' is too long or too slow.")
        finally:
            answer.discard()
        return _listed_models(self.name, answer.head.status, body)

    def _with_mapped(self, models: list[JsonObject]) -> list[JsonObject]:
        by_id = {model["id"]: model for model in models}
        for asked, sent in self._settings.models.items():
            if asked not in by_id:
                by_id[asked] = {**by_id.get(sent, model_object(asked, 0, self.name)), "id": asked}
        return list(by_id.values())


class _FirstAttempt(Pending):
    """A request on its way to an upstream that has it, and perhaps its answer."""

    __slots__ = ("_connection", "_relay", "_request")

    def __init__(self, relay: Relay, request: Request, connection: UpstreamConnection) -> None:
        self._relay = relay
        self._request = request
        self._connection: UpstreamConnection | None = connection
        connection.listen(self._look)

    def _look(self) -> None:
        """Deliver the answer if it has come."""
        connection = self._connection
        try:
            head = connection.poll_head()
            if head is None:
                self._relay.await_head(connection)
                return
            response = self._relay.first_answer(self._request, connection, head)
        except UpstreamFailed:
            response = None  # it is raised again to the retry law
        if response is None:
            connection.deafen()
            self.deliver(Rest(self._go_on))
        else:
            self._connection = None
            self.deliver(response)

    def _go_on(self) -> typing.Coroutine[typing.Any, typing.Any, Response]:
        connection, self._connection = self._connection, None
        return self._relay.answer_in_time(self._request, connection)

    def cancel(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._relay.let_go(connection)


async def _rewritten(body: typing.AsyncIterator[bytes], rewriter: ModelRewriter) -> typing.AsyncIterator[bytes]:
    async for data in body:
        data = rewriter.feed(data)
        if data:
            yield data
    yield rewriter.close()


def _whole(request: Request, head: ResponseHead, fields: bytes, body: bytes) -> Response:
    """Return an answer that is complete, framed as it came: sized or chunked."""
    if request.method == "HEAD":
        return Response(head.status, fields, NoBody(), head.content_length)
    if head.content_length is None and body:
        return Response(head.status, fields, Paced([body], first_delay=0.0, delay=0.0))
    return Response(head.status, fields, body)


def _listed_models(name: str, status: int, body: bytes) -> list[JsonObject]:
    """Return the model objects of a list; ApiError where it is none."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if status >= 400:
        error = value.get("error") if isinstance(value, dict) else None
        said = error.get("message") if isinstance(error, dict) else None
        message = f"The backend '{name}' answered {status} to the request for its models"
        raise ApiError(status, f"{message}: {said}" if isinstance(said, str) else f"{message}.")
    models = value.get("data") if isinstance(value, dict) else value
    if not isinstance(models, list):
        raise ApiError(502, f"The backend '{name}' answered the request for its models with something else.")
    return [model for model in models if isinstance(model, dict) and isinstance(model.get("id"), str)]
