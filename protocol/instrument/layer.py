"""Requests on their way to a backend and back, while the instrument is on."""

from __future__ import annotations

import contextlib
import typing

from protocol.errors import ApiError
from protocol.exchange import (
    LONG_BODY,
    Answer,
    BackendFailed,
    Endpoint,
    ErrorShapes,
    Request,
    Response,
    answer_in_turns,
    answer_of,
)
from protocol.instrument.request_key import request_key
from protocol.instrument.session import Session
from protocol.instrument.take import Take
from protocol.instrument.witness import witnessed
from protocol.openai.answers import api_path
from protocol.openai.asked_model import asked_model, begins_as
from protocol.openai.request_path import plain_path
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
        try:
            inner = self._route(request)
        except ApiError as exc:
            inner = _refusing(exc)

        async def answer(request: Request) -> Response:
            request.path = path
            return await self._answer(inner, request, session)

        is_tunnel = request.head.upgrade.lower() == "websocket"
        streams_body = inner.streams_body and (is_tunnel or not session.looks_into_bodies)
        return Endpoint(
            answer, inner.label, streams_body=streams_body, errors=inner.errors, early_head=inner.early_head
        )

    async def _answer(self, inner: Endpoint, request: Request, session: Session) -> Response:
        head = request.head
        entry = session.journal.begin(session.now(), head.method, request.path, head.query, head.fields)
        entry.endpoint = inner.label
        take = request.take = Take(session, entry)
        try:
            if request.stream is None:
                response = await self._ask_held(inner, request, take)
            else:
                answer = inner.answer(request)
                response = answer if isinstance(answer, Response) else await answer
        except ApiError as exc:
            response = (inner.errors or self._errors).response(exc)
        except BackendFailed as failure:
            response = failure.response
        return self._witnessed(response, take)

    async def _ask_held(self, inner: Endpoint, request: Request, take: Take) -> Response:
        """Ask an endpoint that is to answer a request whose body is there."""
        if len(request.body) > LONG_BODY:
            await in_turns(lambda: self._read(request, take))
            return await answer_in_turns(lambda: answer_of(inner, request))
        self._read(request, take)
        answer = answer_of(inner, request)
        return answer if isinstance(answer, Response) else await answer

    def _read(self, request: Request, take: Take) -> None:
        """Write down what a request says."""
        head, entry, body = request.head, take.entry, request.body
        key = request_key(head.method, request.path, head.query, head.fields.get("content-type"), body)
        take.session.journal.note_request(entry, key, body)
        with contextlib.suppress(ApiError):  # whoever answers will refuse it
            entry.model = asked_model(request, self._max_body)
            if len(body) <= LONG_BODY and begins_as(body) == "object":
                entry.stream = request.json_object().get("stream") is True

    def _witnessed(self, response: Response, take: Take) -> Response:
        fields = response.fields
        pairs = decode_fields(fields) if isinstance(fields, bytes) else list(fields)
        take.session.journal.note_answer(take.entry, response.status, pairs)
        return Response(
            response.status, fields, witnessed(response.body, take), response.length, response.request_id,
            response.attempts,
        )  # fmt: skip


def _is_of_api(path: str, method: str) -> bool:
    """Tell whether a path is one of the APIs', or the chat door, and none of the service's own pages."""
    return api_path(path) is not None or path.startswith("/api/") or (plain_path(path) == "/" and method == "POST")


def _refusing(error: ApiError) -> Endpoint:
    def refuse(request: Request) -> Answer:
        raise error.anew()

    return Endpoint(refuse, "none")
