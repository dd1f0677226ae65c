"""Requests on their way to a backend and back, while the instrument is on."""

from __future__ import annotations

import contextlib
import functools
import typing

from protocol.decided import count_of_moves, draw_for, seconds_moved_on
from protocol.errors import ApiError
from protocol.exchange import (
    LONG_BODY,
    Answer,
    Backend,
    BackendFailed,
    Body,
    Endpoint,
    ErrorShapes,
    LateEndpoint,
    Paced,
    Request,
    Response,
    answer_in_turns,
    answer_of,
    cancel_body,
    found_endpoint,
)
from protocol.instrument.faults.injection import injected
from protocol.instrument.faults.language import Fault, parse_fault
from protocol.instrument.gate import FAULT_FIELD
from protocol.instrument.limits import Limits
from protocol.instrument.request_key import request_key
from protocol.instrument.script.said import RoutedAnswer, WholeAnswer
from protocol.instrument.session import Session
from protocol.instrument.take import Take
from protocol.openai.answers import api_path
from protocol.openai.asked_model import asked_model, begins_as, head_model
from protocol.openai.request_path import plain_path
from protocol.timed import timed_frames
from protocol.turns import in_turns
from protocol.wire.http1.writers import decode_fields
from protocol.witness import witnessed

# Tells which rule of the script has spoken.
_RULE_FIELD = "x-oaiserve-rule"

# Below which paths answers are that a script may give.
_PLACES = (
    "/agents", "/audio", "/chat", "/completions", "/embeddings", "/images", "/realtime", "/responses", "/threads",
)  # fmt: skip


class Layer:
    """Wraps the endpoints that `route` chooses; `named` are the backends that a script may ask by name.

    `errors` says how an error looks where an endpoint does not. `max_body` bounds what an encoded body is decoded to.
    """

    def __init__(
        self,
        route: typing.Callable[[Request], Endpoint],
        errors: ErrorShapes,
        named: typing.Mapping[str, Backend],
        *,
        max_body: int = 65 * 1024 * 1024,
    ) -> None:
        self._named = named
        self._route = route
        self._errors = errors
        self._max_body = max_body

    def endpoint(self, request: Request, session: Session, path: str) -> Endpoint:
        """Return the endpoint for a request's head in a session; `path` is the one within it."""
        request.path = path
        request.facts.session = session
        if request.method == "OPTIONS" or not _is_of_api(path, request.method):
            return self._route(request)
        asked = _fault_of_head(request)
        try:
            inner = self._route(request)
        except ApiError as exc:
            inner = _refusing(exc.anew())  # the one that was raised holds this frame, and the request

        async def answer(request: Request) -> Response:
            request.path = path
            return await self._answer(inner, request, session, asked)

        is_tunnel = request.head.upgrade.lower() == "websocket"
        looks_into_body = session.looks_into_bodies or asked is not None
        streams_body = inner.streams_body and (is_tunnel or not looks_into_body)
        return Endpoint(
            answer, inner.label, streams_body=streams_body, errors=inner.errors, early_head=inner.early_head
        )

    async def _answer(self, inner: Endpoint, request: Request, session: Session, asked: Fault | None) -> Response:
        head = request.head
        entry = session.journal.begin(session.now(), head.method, request.path, head.query, head.fields)
        entry.endpoint = inner.label
        take = request.take = Take(session, entry)
        take.has_header_fault = asked is not None
        count_of_moves.set(session.clock.count_moves())
        try:
            await self._read_all(request, take)
            if session.seed:
                draw_for(session.seed, entry.key, entry.attempt)
            if session.limits is not None:
                await self._admit(request, take, session.limits)
            stand_in = None if asked is None and _may_ask_script(session, request) else take.let_fault_happen(asked)
            response = stand_in or await self._ask_scripted(inner, request)
            if not take.is_decided:
                response = _decided(response, take)
            response = _faulted(response, request, take)
        except ApiError as exc:
            response = (inner.errors or self._errors).response(exc)
        except BackendFailed as failure:
            response = failure.response
        take.has_left = True
        response = self._witnessed(response, take)
        count_of_moves.set(None)
        return response

    async def _ask_scripted(self, inner: Endpoint, request: Request) -> Response:
        """Ask an endpoint, or the backend that the script has for a request in its place."""
        try:
            return await self._ask(inner, request)
        except WholeAnswer as exc:
            return exc.response
        except RoutedAnswer as exc:
            backend = self._named[exc.backend]
        return await self._ask(backend.endpoint(request), request)

    async def _ask(self, inner: Endpoint, request: Request) -> Response:
        """Ask an endpoint that is to answer a request."""
        if isinstance(inner, LateEndpoint) and request.stream is not None:
            inner = await found_endpoint(inner, request)
        if len(request.body) > LONG_BODY:
            return await answer_in_turns(lambda: answer_of(inner, request))
        answer = answer_of(inner, request) if request.stream is None else inner.answer(request)
        return answer if isinstance(answer, Response) else await answer

    async def _read_all(self, request: Request, take: Take) -> None:
        """Write down what a request says: of one whose body is read as it comes, what its head does."""
        if len(request.body) > LONG_BODY or (request.body and "content-encoding" in request.fields):
            await in_turns(lambda: self._read(request, take))  # a short body may become a long one
        else:
            self._read(request, take)

    def _read(self, request: Request, take: Take) -> None:
        """Write down what a request says."""
        head, entry, body = request.head, take.entry, request.body
        key = request_key(head.method, request.path, head.query, head.fields.get("content-type"), body)
        take.session.journal.note_request(entry, key, body)
        with contextlib.suppress(ApiError):  # whoever answers will refuse it
            entry.model = asked_model(request, self._max_body)
            if len(body) <= LONG_BODY and begins_as(body) == "object":
                entry.stream = request.json_object().get("stream") is True

    async def _admit(self, request: Request, take: Take, limits: Limits) -> None:
        """Let a request in; ApiError 429 where a limit of its session is reached."""

        def admit() -> None:
            body: typing.Any = None
            if begins_as(request.body) == "object":
                with contextlib.suppress(ApiError):
                    body = request.json()
            model = take.entry.model or head_model(request)
            take.admission = limits.admit(request.key, model, request.path, body)

        if request.head.upgrade:
            take.note("limits: all that is said over a WebSocket is one request, and no tokens")
        if len(request.body) > LONG_BODY:
            await in_turns(admit)
        else:
            admit()

    def _witnessed(self, response: Response, take: Take) -> Response:
        fields = response.fields
        pairs = decode_fields(fields) if isinstance(fields, bytes) else list(fields)
        if take.entry.rule:
            pairs.append((_RULE_FIELD, _ascii(take.entry.rule)))
            fields = pairs
        if take.admission is not None:
            # An upstream's own describe its limits, and not these.
            kept = [pair for pair in pairs if not pair[0].lower().startswith("x-ratelimit-")]
            fields = pairs = kept + take.admission.fields
        take.session.journal.note_answer(take.entry, response.status, pairs)
        body = witnessed(_timed(response.body, take.session), take)
        return Response(response.status, fields, body, response.length, response.request_id, response.attempts)


def _timed(body: Body, session: Session) -> Body:
    """Return a body whose pauses go by the session's clock, and which is seen frame by frame."""
    if not isinstance(body, Paced) or not (body.first_delay or body.delay):
        return body
    pacer = session.clock.pacer()
    return timed_frames(body, pacer, pacer.time() - seconds_moved_on())


def _fault_of_head(request: Request) -> Fault | None:
    """Return the fault that a request's head asks for; ApiError 400 where nobody can say what it means."""
    text = request.fields.get(FAULT_FIELD)
    if not text:
        return None
    try:
        return parse_fault(text)
    except ValueError as exc:
        raise ApiError(400, f"{FAULT_FIELD}: {exc}", code="invalid_fault") from exc


def _is_of_api(path: str, method: str) -> bool:
    """Tell whether a path is one of the APIs', or the chat door, and none of the service's own pages."""
    return api_path(path) is not None or path.startswith("/api/") or (plain_path(path) == "/" and method == "POST")


def _may_ask_script(session: Session, request: Request) -> bool:
    """Tell whether a rule of the script's may have a fault for a request: then that is decided when it is asked."""
    if session.script is None or not session.script.has_faults:
        return False
    path = api_path(request.path) or request.path
    return plain_path(path).startswith(_PLACES) or request.path.startswith("/api/") or path == "/"


def _decided(response: Response, take: Take) -> Response:
    """Let a fault happen to an answer for which nobody asked the script."""
    try:
        stand_in = take.let_fault_happen()
    except ApiError:
        cancel_body(response)
        raise
    if stand_in is None:
        return response
    cancel_body(response)
    return stand_in


def _faulted(response: Response, request: Request, take: Take) -> Response:
    """Return an answer with the fault that is due."""
    if take.due is None:
        return response
    fault, draw = take.due
    skip = functools.partial(take.skipped, fault.text)
    response.body = _timed(response.body, take.session)
    faulted = injected(
        response, fault, draw, skip, take, take.session.clock,
        has_body=request.method != "HEAD", may_hold=request.may_hold,
    )  # fmt: skip
    if faulted is response:
        take.entry.fault = ""
    return faulted


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()


def _refusing(error: ApiError) -> Endpoint:
    def refuse(request: Request) -> Answer:
        raise error.anew()

    return Endpoint(refuse, "none")
