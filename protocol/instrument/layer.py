"""Requests on their way to a backend and back, while the instrument is on."""

from __future__ import annotations

import contextlib
import typing

from protocol.errors import ApiError
from protocol.exchange import (
    LONG_BODY,
    Answer,
    BackendFailed,
    Body,
    Endpoint,
    ErrorShapes,
    Paced,
    Request,
    Response,
    answer_in_turns,
    answer_of,
)
from protocol.instrument.faults.draws import Draw
from protocol.instrument.faults.injection import injected, replaces_answer, stand_in
from protocol.instrument.faults.language import Fault, parse_fault
from protocol.instrument.gate import FAULT_FIELD
from protocol.instrument.limits import Limits
from protocol.instrument.request_key import request_key
from protocol.instrument.session import Session
from protocol.instrument.take import Take
from protocol.instrument.witness import witnessed
from protocol.openai.answers import api_path
from protocol.openai.asked_model import asked_model, begins_as, head_model
from protocol.openai.request_path import plain_path
from protocol.timed import PacedFrames
from protocol.turns import in_turns
from protocol.wire.http1.writers import decode_fields


class Layer:
    """Wraps the endpoints that `route` chooses.

    `errors` says how an error looks where an endpoint does not. `max_body` bounds what an encoded body is decoded to.
    """

    def __init__(
        self, route: typing.Callable[[Request], Endpoint], errors: ErrorShapes, *, max_body: int = 65 * 1024 * 1024
    ) -> None:
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
            inner = _refusing(exc)

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
        try:
            await self._read_all(request, take)
            if session.limits is not None:
                await self._admit(request, take, session.limits)
            chosen = session.faults.chosen(asked, take.rule_fault, entry.model, entry.key, session.seed)
            if chosen is None:
                response = await self._ask(inner, request)
            else:
                response = await self._ask_with_fault(inner, request, take, *chosen)
        except ApiError as exc:
            response = (inner.errors or self._errors).response(exc)
        except BackendFailed as failure:
            response = failure.response
        return self._witnessed(response, take)

    async def _ask(self, inner: Endpoint, request: Request) -> Response:
        """Ask an endpoint that is to answer a request."""
        if len(request.body) > LONG_BODY:
            return await answer_in_turns(lambda: answer_of(inner, request))
        answer = answer_of(inner, request) if request.stream is None else inner.answer(request)
        return answer if isinstance(answer, Response) else await answer

    async def _ask_with_fault(
        self, inner: Endpoint, request: Request, take: Take, fault: Fault, draw: Draw
    ) -> Response:
        """Answer with a fault, and ask the endpoint where the fault needs an answer to act on."""

        def skip(reason: str) -> None:
            take.skipped(fault.text, reason)

        session, entry = take.session, take.entry
        entry.fault = fault.text
        if replaces_answer(fault):
            return stand_in(fault, draw, session.now(), skip, take)
        response = await self._ask(inner, request)
        faulted = injected(response, fault, draw, skip, take, session.clock, has_body=request.head.method != "HEAD")
        if faulted is response:
            entry.fault = ""
        return faulted

    async def _read_all(self, request: Request, take: Take) -> None:
        """Write down what a request says: of one whose body is read as it comes, what its head does."""
        if len(request.body) > LONG_BODY:
            await in_turns(lambda: self._read(request, take))
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
    times = [body.first_delay + number * body.delay for number in range(len(body.frames))]
    frames = PacedFrames(body.frames, times, pacer)
    frames.start(pacer.time())
    return frames


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


def _refusing(error: ApiError) -> Endpoint:
    def refuse(request: Request) -> Answer:
        raise error.anew()

    return Endpoint(refuse, "none")
