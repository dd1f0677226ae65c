"""Which endpoint answers a request: our own doors by path, everything else of the API by the model's name.

Routes are tried in order, and the first whose pattern fits wins. Requests that name no model fit `*` alone, or go
where the first route leads if there is no such route. A route may name several backends: when one cannot answer and
nothing has gone to the client, the next one is asked.

How soon that can be said decides what becomes of the body. The head alone decides where a route names one backend
whatever the model, where the query names the model, and where there is none to name; then the backend's own endpoint is
chosen, which may read the body as it comes. Everything else waits until the body is held, for the model stands in it.
"""

from __future__ import annotations

import asyncio
import functools
import typing
import urllib.parse

from protocol.config import Route
from protocol.errors import ApiError
from protocol.exchange import (
    LONG_BODY,
    Answer,
    Backend,
    BackendFailed,
    Endpoint,
    Request,
    Response,
    answer_in_turns,
    answer_of,
    cancel_body,
)
from protocol.openai.answers import api_path, error_response, json_response, model_list
from protocol.openai.asked_model import asked_model, head_model, name_pattern
from protocol.openai.coded_body import decoding_endpoint
from protocol.openai.early_stream import early_head
from protocol.openai.refusals import method_not_allowed, unknown_door, unknown_model
from protocol.openai.request_path import check_path, plain_path
from protocol.service.cors import CorsPolicy
from protocol.service.makers import Makers, makes_id, names_id
from protocol.wire.json_text import JsonObject

# Requests for these name no model, and their bodies may be larger than what can be held.
_MODELLESS_PATHS = ("/files", "/uploads", "/containers", "/skills", "/vector_stores", "/batches")

_MODELS_PATH = "/models/"

Doors = typing.Mapping[str, typing.Mapping[str, Endpoint]]
_Models = typing.List[JsonObject]


def no_doors(_: Router) -> Doors:
    """Stand for the doors of a service that has none of its own."""
    return {}


class Router:
    """Finds the endpoint for a request.

    `backends` are the configured ones by name, `routes` the table over them. `make_doors` gives the paths that the
    service answers itself, with their methods' endpoints, `*` for all other methods; it gets the router, which takes
    what a door hands on.
    `max_body` bounds what an encoded body is decoded to, in bytes.
    """

    def __init__(
        self,
        routes: typing.Sequence[Route],
        backends: typing.Mapping[str, Backend],
        cors: CorsPolicy,
        make_doors: typing.Callable[[Router], Doors] = no_doors,
        max_body: int = 65 * 1024 * 1024,
    ) -> None:
        self._max_body = max_body
        self._routes = [
            (name_pattern(route.pattern), tuple(backends[name] for name in route.backends)) for route in routes
        ]
        routed = [backend for _, backends_of_route in self._routes for backend in backends_of_route]
        self._backends = list(dict.fromkeys(routed))
        # Where no route but `*` names a single backend, a request need not be looked into.
        only = self._routes[0][1] if routes[0].pattern == "*" else ()
        self._only_backend = only[0] if len(only) == 1 else None
        # All are asked for their models, and none in another's place: the caller's key is for the first that needs one.
        self._first_without_key = next((one for one in self._backends if one.origin and not one.holds_key), None)
        # The first routed backend that has a root of its own answers below it.
        self._own_roots: dict[str, Backend] = {}
        for backend in self._backends:
            if backend.own_root:
                self._own_roots.setdefault(backend.own_root, backend)
        #: How an answer begins that keeps its client waiting, by the backend that waits for the shortest time.
        self.early_head = early_head(min((one.keepalive for one in self._backends if one.keepalive), default=0.0))
        self._doors = make_doors(self)
        self._preflight = Endpoint(cors.preflight, "preflight")
        self._by_model = Endpoint(self.forward, "by model", early_head=self.early_head)
        self._open_tunnel = Endpoint(self._forward_upgrade, "by model", streams_body=True)
        self._by_id = Endpoint(self.forward, "by id")
        self._makers = Makers()
        self._list_models = Endpoint(self._answer_models, "models")
        self._retrieve_model = Endpoint(self._answer_model, "models")

    def route(self, request: Request) -> Endpoint:
        """Return the endpoint that answers.

        ApiError 404 for an unknown path, 405 for a known one's other methods, 400 for a path that climbs.
        """
        method = request.method
        if method == "OPTIONS":
            return self._preflight
        check_path(request.path)
        path = _path_of(request)
        if not path:
            return self._door(request)
        if path.startswith("/models") and method in ("GET", "HEAD"):
            if path == "/models":
                return self._list_models
            if path.startswith(_MODELS_PATH):
                return self._retrieve_model
        if self._only_backend is not None:
            return self._only_backend.endpoint(request)
        head = request.head
        model = head_model(request)
        if head.upgrade.lower() == "websocket":
            # Both directions are the body's to come. Nothing of it is used until a backend has agreed, so until then
            # the next one can be asked. Any other upgrade is refused by ignoring it (RFC 9110 §7.8).
            backends = self.backends_for(model)
            return backends[0].endpoint(request) if len(backends) == 1 else self._open_tunnel
        if model:
            backends = self.backends_for(model)
            if len(backends) == 1:
                return backends[0].endpoint(request)
        if not head.has_body and names_id(path):
            return self._by_id
        if not head.has_body or path.startswith(_MODELLESS_PATHS):
            backends = self.backends_for("")
            if len(backends) == 1:
                return backends[0].endpoint(request)
        return self._by_model

    def backends_for(self, model: str) -> tuple[Backend, ...]:
        """Return the backends of the first route that fits the model's name; the first route's, where it is "".

        ApiError 404 where none does.
        """
        for pattern, backends in self._routes:
            if pattern.fullmatch(model):
                return backends
        if not model:
            return self._routes[0][1]
        raise ApiError(404, f"No route takes the model '{model[:100]}'.", param="model", code="model_not_found")

    def forward(self, request: Request) -> Answer:
        """Answer a request whose body is held: through its model's route, or by who made what it asks for."""
        model = asked_model(request, self._max_body)
        if len(self._backends) > 1:
            path = _path_of(request)
            maker = self._makers.maker(path)
            if maker is not None:
                return self._noted((maker,), request, path)
            if not model and names_id(path):
                return self._answer_by_id(request, path)
            if makes_id(request, path):
                return self._noted(self.backends_for(model), request, path)
        backends = self.backends_for(model)
        if len(backends) == 1:
            return _answer_with(backends[0], request)
        return _first_that_answers(backends, request)

    async def _noted(self, backends: typing.Sequence[Backend], request: Request, path: str) -> Response:
        """Answer as the first of the backends does that can, and note what it has made."""
        response, backend = await _first_with_answer(backends, request)
        return response if backend is None or not makes_id(request, path) else self._makers.noting(response, backend)

    async def _answer_by_id(self, request: Request, path: str) -> Response:
        """Ask one backend after the other, in the order of the routes, for what nobody remembers to be made by one."""
        try:
            backends = list(dict.fromkeys([*self.backends_for(""), *self._backends]))
        except ApiError:
            backends = self._backends
        request.keep_key_for(backends[0].origin)
        attempts: tuple[str, ...] = ()
        unknown: Response | None = None
        failed: Response | None = None
        for backend in backends:
            try:
                answer = _answer_with(backend, request)
                response = (answer if isinstance(answer, Response) else await answer).after(attempts)
            except BackendFailed as failure:
                attempts += failure.attempts
                failed = failed or failure.response
                continue
            except ApiError as exc:
                if exc.status != 404:
                    raise
                response = error_response(exc)
            if response.status != 404:
                if response.status < 300:
                    self._makers.note_path(path, backend)
                return response
            attempts = response.attempts
            unknown = unknown or response
        # One that could not be asked may be the one that knows it.
        if failed is not None:
            return failed.after(())
        return unknown or error_response(ApiError(404, "No backend knows this id."))

    def sent_model(self, asked: str) -> str:
        """Return what a model is called where it is asked first; ApiError 404 where no route takes it."""
        return self.whither(asked)[1]

    def whither(self, asked: str) -> tuple[str, str]:
        """Return who is asked first for a model, and what it is called there; ApiError 404 where no route takes it."""
        backend = self.backends_for(asked)[0]
        return backend.name, backend.sent_model(asked)

    def _forward_upgrade(self, request: Request) -> Answer:
        return _first_that_answers(self.backends_for(head_model(request)), request)

    def _door(self, request: Request) -> Endpoint:
        path = plain_path(request.path)
        methods = self._doors.get(path)
        if methods is None:
            for root, backend in self._own_roots.items():
                if path.startswith(root):
                    return backend.endpoint(request)
            raise unknown_door(request, self._doors)
        endpoint = methods.get("GET" if request.method == "HEAD" else request.method) or methods.get("*")
        if endpoint is None:
            raise method_not_allowed(request, [*methods, *(["HEAD"] if "GET" in methods else [])])
        return endpoint if endpoint.streams_body else decoding_endpoint(endpoint, request, self._max_body)

    # ---- models -------------------------------------------------------------------------------------------------

    def _answer_models(self, request: Request) -> Answer:
        """Answer GET /v1/models: those of all routed backends, each id once, the first route's first."""
        models = self._models(request, self._first_without_key)
        return json_response(model_list(models)) if isinstance(models, list) else _list_later(models)

    def _answer_model(self, request: Request) -> Answer:
        """Answer GET /v1/models/{id}; an id may hold slashes."""
        path = _path_of(request)
        id = urllib.parse.unquote(path[len(_MODELS_PATH) :])
        models = self._models(request, self._taker(id))
        if isinstance(models, list):
            return _listed_model(models, id) or self._unlisted_model(request, id)
        return self._answer_model_later(models, request, id)

    async def _answer_model_later(self, models: typing.Awaitable[_Models], request: Request, id: str) -> Response:
        try:
            listed = _listed_model(await models, id)
        except ApiError:
            listed = None  # the upstream has no list, and may know the model all the same
        answer = listed or self._unlisted_model(request, id)
        return answer if isinstance(answer, Response) else await answer

    def _models(self, request: Request, first: Backend | None) -> _Models | typing.Awaitable[_Models]:
        """Return the models of all routed backends, of which `first` alone may see the caller's own key."""
        if self._only_backend is not None:
            return self._only_backend.models(request)
        request.keep_key_for(first.origin if first is not None else "")
        return self._merged_models(request)

    async def _merged_models(self, request: Request) -> _Models:
        """Ask all backends at once. One that cannot say leaves the others' models; if none can, its error comes out.

        Of what a backend lists, the models are offered whose route leads to it.
        """
        listings = await asyncio.gather(*(_models_of(backend, request) for backend in self._backends))
        by_id: dict[str, JsonObject] = {}
        for backend, listing in zip(self._backends, listings):
            for model in listing if isinstance(listing, list) else ():
                if model["id"] not in by_id and backend in self._takers(model["id"]):
                    by_id[model["id"]] = model
        for listing in listings:
            if isinstance(listing, ApiError) and not any(isinstance(other, list) for other in listings):
                raise listing.anew()
        return list(by_id.values())

    def _taker(self, model: str) -> Backend | None:
        """Return the backend that is asked first for a model, None where no route takes it."""
        return next(iter(self._takers(model)), None)

    def _takers(self, model: str) -> tuple[Backend, ...]:
        """Return the backends that are asked for a model, none where no route takes it."""
        return next((backends for pattern, backends in self._routes if pattern.fullmatch(model)), ())

    def _unlisted_model(self, request: Request, id: str) -> Answer:
        """Ask the backend that would take the model: an upstream may have more than it lists."""
        try:
            endpoint = self.backends_for(id)[0].endpoint(request)
        except ApiError as exc:
            if exc.status not in (404, 405):
                raise
            raise unknown_model(id) from exc
        return answer_of(endpoint, request)


def _path_of(request: Request) -> str:
    """Return the path of the API that a request asks for, "" for none."""
    path = api_path(request.path)
    return "" if path is None else plain_path(path)


def _answer_with(backend: Backend, request: Request) -> Answer:
    return answer_of(backend.endpoint(request), request)


async def _first_that_answers(backends: typing.Sequence[Backend], request: Request) -> Response:
    response, _ = await _first_with_answer(backends, request)
    return response


async def _first_with_answer(backends: typing.Sequence[Backend], request: Request) -> tuple[Response, Backend | None]:
    """Return the answer of the first backend that has one, and the backend; the last failure, where none has."""
    request.keep_key_for(backends[0].origin)  # as for the others, whoever they are: the caller has not chosen them
    response = error_response(ApiError(503, "No backend answers."))
    attempts: tuple[str, ...] = ()
    for backend in backends:
        cancel_body(response)
        try:
            if len(request.body) > LONG_BODY:
                response = await answer_in_turns(functools.partial(_answer_with, backend, request))
            else:
                answer = _answer_with(backend, request)
                response = answer if isinstance(answer, Response) else await answer
            return response.after(attempts), backend
        except BackendFailed as failure:
            response = failure.response.after(attempts)
            attempts += failure.attempts
    return response, None


async def _list_later(models: typing.Awaitable[_Models]) -> Response:
    return json_response(model_list(await models))


async def _models_of(backend: Backend, request: Request) -> _Models | ApiError:
    try:
        models = backend.models(request)
        return models if isinstance(models, list) else await models
    except ApiError as exc:
        return exc


def _listed_model(models: _Models, id: str) -> Response | None:
    for model in models:
        if model["id"] == id:
            return json_response(model)
    return None
