"""Which endpoint answers a request: our own doors by path, everything else of the API by the model's name.

Routes are tried in order, the first whose pattern fits wins; requests that name no model fit `*` alone. A route may
name several backends: when one cannot answer and nothing has gone to the client, the next one is asked.
"""

from __future__ import annotations

import asyncio
import re
import typing
import urllib.parse

from protocol.config import Route
from protocol.errors import ApiError
from protocol.exchange import Answer, Backend, BackendFailed, Endpoint, Request, Response
from protocol.openai.answers import api_path, error_response, json_response, model_list
from protocol.openai.model_in_form import ModelRewriter
from protocol.service.cors import CorsPolicy
from protocol.wire.json_text import JsonObject, parse_json

# Requests for these name no model, and their bodies may be larger than what can be held.
_MODELLESS_PATHS = ("/files", "/uploads", "/containers", "/skills", "/vector_stores", "/batches")

Doors = typing.Mapping[str, typing.Mapping[str, Endpoint]]


class Router:
    """Finds the endpoint for a request.

    `backends` are the configured ones by name, `routes` the table over them.
    """

    def __init__(
        self, routes: typing.Sequence[Route], backends: typing.Mapping[str, Backend], cors: CorsPolicy
    ) -> None:
        #: Paths with their methods' endpoints: what the service answers itself.
        self.doors: Doors = {}
        self._routes = [(_pattern(route.pattern), tuple(backends[name] for name in route.backends)) for route in routes]
        # Where no route but `*` names a single backend, a request need not be looked into.
        only = self._routes[0][1] if routes[0].pattern == "*" else ()
        self._only_backend = only[0] if len(only) == 1 else None
        # What a backend has besides OpenAI's paths, by their beginning; the first routed backend that has it answers.
        self._own_roots: dict[str, Backend] = {}
        for _, routed in self._routes:
            for backend in routed:
                if hasattr(backend, "own_root"):
                    self._own_roots.setdefault(backend.own_root, backend)
        self._preflight = Endpoint(cors.preflight, "preflight")
        self._by_model = Endpoint(self.forward, "by model")
        self._list_models = Endpoint(self._models, "models")
        self._retrieve_model = Endpoint(self._model, "models")

    def route(self, request: Request) -> Endpoint:
        """Return the endpoint that answers; ApiError 404 for an unknown path, 405 for a known one's other methods."""
        method = request.method
        if method == "OPTIONS":
            return self._preflight
        path = api_path(request.path)
        if path is None:
            return self._door(request)
        if path.startswith("/models") and method in ("GET", "HEAD"):
            if path == "/models":
                return self._list_models
            if path.startswith("/models/"):
                return self._retrieve_model
        if self._only_backend is not None:
            return self._only_backend.endpoint(request)
        if request.head.upgrade:
            # Both directions are the body's to come: it cannot be held for another try, so the first backend has it.
            return self.backends_for(_query_model(request.head.query))[0].endpoint(request)
        if "model=" in request.head.query:
            backends = self.backends_for(_query_model(request.head.query))
            if len(backends) == 1:
                return backends[0].endpoint(request)
        if not request.head.has_body or path.startswith(_MODELLESS_PATHS):
            backends = self.backends_for("")
            if len(backends) == 1:
                return backends[0].endpoint(request)
        return self._by_model

    def backends_for(self, model: str) -> tuple[Backend, ...]:
        """Return the backends of the first route that fits the model's name, "" for none."""
        for pattern, backends in self._routes:
            if pattern.fullmatch(model):
                return backends
        raise ApiError(404, f"No route takes the model '{model[:100]}'.", param="model", code="model_not_found")

    def forward(self, request: Request) -> Answer:
        """Answer a request whose body is held through its model's route."""
        backends = self.backends_for(_asked_model(request))
        if len(backends) == 1:
            return _answer_with(backends[0], request)
        return _first_that_answers(backends, request)

    def _door(self, request: Request) -> Endpoint:
        methods = self.doors.get(request.path)
        if methods is None:
            for root, backend in self._own_roots.items():
                if request.path.startswith(root):
                    return backend.endpoint(request)
            raise ApiError(
                404,
                f"Unknown request URL: {request.method} {request.path}. GET / says what there is.",
                code="unknown_url",
            )
        endpoint = methods.get("GET" if request.method == "HEAD" else request.method)
        if endpoint is None:
            allowed = [*methods, *(["HEAD"] if "GET" in methods else []), "OPTIONS"]
            raise ApiError(
                405, f"Not allowed to {request.method} on {request.path}.", code="method_not_allowed",
                fields=[("allow", ", ".join(allowed))],
            )  # fmt: skip
        return endpoint

    # ---- models -------------------------------------------------------------------------------------------------

    def _models(self, request: Request) -> Answer:
        """Answer GET /v1/models: those of all routed backends, each id once, the first route's first."""
        backends = list(dict.fromkeys(backend for _, backends in self._routes for backend in backends))
        if len(backends) == 1:
            models = backends[0].models(request)
            return json_response(model_list(models)) if isinstance(models, list) else _awaited_models(models)
        return _merged_models(backends, request)

    def _model(self, request: Request) -> Answer:
        """Answer GET /v1/models/{id}; an id may hold slashes."""
        id = urllib.parse.unquote(api_path(request.path)[len("/models/") :])
        listing = self._models(request)
        if isinstance(listing, Response):
            return _listed_model(listing, id) or self._unlisted_model(request, id)
        return self._model_later(listing, request, id)

    async def _model_later(self, listing: typing.Awaitable[Response], request: Request, id: str) -> Response:
        answer = _listed_model(await listing, id) or self._unlisted_model(request, id)
        return answer if isinstance(answer, Response) else await answer

    def _unlisted_model(self, request: Request, id: str) -> Answer:
        """Ask the backend that would take the model: an upstream may have more than it lists."""
        try:
            endpoint = self.backends_for(id)[0].endpoint(request)
        except ApiError as exc:
            raise ApiError(
                404, f"The model '{id[:100]}' does not exist.", param="model", code="model_not_found"
            ) from exc
        return _answer_of(endpoint, request)


def _pattern(text: str) -> re.Pattern[str]:
    """Compile a route's pattern: `*` is any run of characters, `?` any single one."""
    return re.compile(re.escape(text).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)


def _query_model(query: str) -> str:
    for parameter in query.split("&"):
        name, _, value = parameter.partition("=")
        if name == "model":
            return urllib.parse.unquote_plus(value)
    return ""


def _asked_model(request: Request) -> str:
    """Return the model that a held request names, "" where it names none that can be read."""
    media_type = request.fields.get("content-type").partition(";")[0].strip().lower()
    if request.body and media_type == "multipart/form-data":
        form = ModelRewriter(request.fields.get("content-type"), _unchanged)
        form.feed(request.body)
        return form.model or ""
    if request.body and (media_type.endswith("json") or not media_type):
        body = request.json()
        model = body.get("model") if type(body) is dict else None
        return model if type(model) is str else ""
    return _query_model(request.head.query) if "model=" in request.head.query else ""


def _unchanged(model: str) -> str:
    return model


def _answer_with(backend: Backend, request: Request) -> Answer:
    return _answer_of(backend.endpoint(request), request)


def _answer_of(endpoint: Endpoint, request: Request) -> Answer:
    if endpoint.streams_body:
        request.stream = _one_part(request.body)
    return endpoint.answer(request)


async def _first_that_answers(backends: typing.Sequence[Backend], request: Request) -> Response:
    response = error_response(ApiError(503, "No backend answers."))
    attempts: tuple[str, ...] = ()
    for backend in backends:
        try:
            answer = _answer_with(backend, request)
            response = answer if isinstance(answer, Response) else await answer
            return response.after(attempts)
        except BackendFailed as failure:
            response = failure.response.after(attempts)
            attempts += failure.attempts
    return response


async def _one_part(body: bytes) -> typing.AsyncIterator[bytes]:
    if body:
        yield body


def _merged(lists: typing.Iterable[typing.Iterable[JsonObject]]) -> list[JsonObject]:
    by_id: dict[str, JsonObject] = {}
    for models in lists:
        for model in models:
            by_id.setdefault(model["id"], model)
    return list(by_id.values())


async def _awaited_models(models: typing.Awaitable[list[JsonObject]]) -> Response:
    return json_response(model_list(await models))


async def _merged_models(backends: typing.Sequence[Backend], request: Request) -> Response:
    """Ask all backends at once; one that cannot say leaves the others' models, the first error comes out if none can."""
    listings = await asyncio.gather(*(_models_of(backend, request) for backend in backends))
    lists = [listing for listing in listings if isinstance(listing, list)]
    for listing in listings:
        if isinstance(listing, ApiError) and not lists:
            raise listing
    return json_response(model_list(_merged(lists)))


async def _models_of(backend: Backend, request: Request) -> list[JsonObject] | ApiError:
    try:
        models = backend.models(request)
        return models if isinstance(models, list) else await models
    except ApiError as exc:
        return exc


def _listed_model(listing: Response, id: str) -> Response | None:
    for model in parse_json(listing.body)["data"]:
        if model["id"] == id:
            return json_response(model)
    return None
