"""The backend of kind dashscope: OpenAI's API on DashScope's native one.

Theory of operation
-------------------
    request ──► plan ──► native calls ──► their answers ──► answer
                mapping/  calls.py         mapping/

The endpoint for a request's path and method is chosen from the head alone. It is called with the request and its
Caller: the key (the operator's, else the client's own) and the time by which all must be over. A key is known as long
as the kind of heads is remembered that it came with (exchange.HeadFacts), and nowhere else.

Each endpoint does three things. It makes a plan from the body: one native call or several, and how to read the answers
(mapping/, pure functions and translators of streams; what a client sent wrong is an ApiError 400 from there). It
carries the calls out (calls.py). It turns the answers into one, at once where they are whole, or piece by piece where
they are streams (streaming.py).

    ChatEndpoints         chat and legacy completions; a refused plan is tried once on the other chat endpoint, once as
                          a stream, and without thinking or in words where thinking was the reason
    EmbeddingEndpoints    embeddings and rerank
    ImageEndpoints        pictures: calls, or tasks that are polled
    AudioEndpoints        speech and transcriptions: calls, or tasks for long recordings
    VideoEndpoints        videos: tasks that nobody waits for

What goes wrong with DashScope is a DashScopeError, with the status that OpenAI's clients expect. This module turns it
into what the router wants: the route's next backend is asked where one may help, else the client gets the error. Once a
stream has begun, the error ends it.
"""

from __future__ import annotations

import functools
import re
import typing
import urllib.parse

from protocol.dashscope.audio_endpoints import AudioEndpoints
from protocol.dashscope.calls import Caller, CallerKind, NativeClient
from protocol.dashscope.chat_endpoints import ChatEndpoints
from protocol.dashscope.direct_call import Attempt
from protocol.dashscope.download import Downloader
from protocol.dashscope.embedding_endpoints import EmbeddingEndpoints
from protocol.dashscope.image_endpoints import ImageEndpoints
from protocol.dashscope.mapping.errors import DashScopeError
from protocol.dashscope.mapping.models import dashscope_model, dashscope_model_list
from protocol.dashscope.mapping.native import dashscope_key
from protocol.dashscope.request_body import BodyReader
from protocol.dashscope.settings import DashScopeSettings
from protocol.dashscope.task_runner import TaskRunner
from protocol.dashscope.upload import Uploader
from protocol.dashscope.video_endpoints import VideoEndpoints
from protocol.errors import ApiError
from protocol.exchange import Answer, BackendFailed, Endpoint, Request, Response, Session, UpstreamState
from protocol.openai.answers import api_path, error_response, json_response
from protocol.openai.azure import azure_address, endpoint_of_deployment
from protocol.openai.coded_body import decoding_endpoint
from protocol.openai.early_stream import early_head
from protocol.openai.model_choice import ModelChoice
from protocol.openai.refusals import method_not_allowed, unknown_url
from protocol.openai.request_path import plain_path
from protocol.service.log import Log
from protocol.upstream.access import UpstreamAccess
from protocol.wire.json_text import JsonObject

# With these the route's next backend is asked, as it is behind a relay, and also where there is no such model.
_FAILED_STATUSES = frozenset((401, 402, 403, 408, 429, 500, 502, 503, 504))
_NO_MODEL = "model_not_found"
# What the operator may be able to mend is logged. All else is DashScope's word to the client alone.
_LOGGED_CODES = frozenset(("upstream_unreachable", "upstream_bad_response", "timeout"))

_Handler = typing.Callable[[Request, Caller], typing.Awaitable[Response]]


class DashScope:
    """The backend of kind dashscope.

    `environ` holds the proxy variables. `has_fallback` says that some route names another backend behind this one: only
    then is a failure handed on to it. `clock` gives seconds since the epoch, `random_bits(n)` an integer of n random
    bits, `sleep` waits for seconds between polls. `resolve` finds a host's addresses for downloads; by default the
    system does. `max_body` bounds what an encoded body is decoded to, in bytes. UsageError where the settings cannot
    work.
    """

    own_root = ""
    tells_usage = False
    is_resting = False

    def __init__(
        self,
        name: str,
        settings: DashScopeSettings,
        environ: typing.Mapping[str, str],
        log: Log,
        *,
        has_fallback: bool = True,
        clock: typing.Callable[[], float],
        random_bits: typing.Callable[[int], int],
        sleep: typing.Callable[[float], typing.Awaitable[object]],
        resolve: typing.Callable[[str], typing.Awaitable[typing.Sequence[str]]] | None = None,
        max_body: int = 65 * 1024 * 1024,
    ) -> None:
        self.name = name
        self.holds_key = settings.holds_key
        self.keepalive = settings.keepalive
        self._settings = settings
        self._max_body = max_body
        self._log = log
        self._passed_on = _FAILED_STATUSES if has_fallback else frozenset()
        access = UpstreamAccess(f"[dashscope] of the backend '{name}'", settings, environ, warn=log.say)
        self.origin = access.destination.origin
        self._place = access.destination.place
        self._pool = access.make_pool(name)
        client = NativeClient(name, self._pool, log)
        downloader = Downloader(
            name, access.destination, access.limits,
            own_tls=access.tls, make_tls=access.checking_tls, find_proxy=access.proxy_to, resolve=resolve,
        )  # fmt: skip

        def make_id() -> str:
            return f"{random_bits(96):024x}"

        self._choice = ModelChoice("", settings.models)
        bodies = BodyReader(self._choice)
        chat = ChatEndpoints(
            client,
            bodies,
            self._finished,
            default_model=settings.default_model,
            endpoints=settings.endpoints,
            keepalive_seconds=settings.keepalive,
            clock=clock,
            make_id=make_id,
        )
        embeddings = EmbeddingEndpoints(client, bodies)
        self._tasks = TaskRunner(client, sleep=sleep)
        images = ImageEndpoints(client, bodies, downloader, self._tasks, clock=clock)
        uploader = Uploader(client, downloader, make_id)
        audio = AudioEndpoints(client, bodies, downloader, self._tasks, uploader, keepalive_seconds=settings.keepalive)
        videos = VideoEndpoints(client, bodies, downloader, clock=clock)
        self._endpoints_by_id = [
            (re.compile(pattern), {"GET": self._make_endpoint(label, handler)})
            for pattern, label, handler in (
                ("/models/.+", "/models/{id}", self._retrieve_model),
                ("/videos/[^/]+", "/videos/{id}", videos.retrieve_video),
                ("/videos/[^/]+/content", "/videos/{id}/content", videos.video_content),
            )
        ]
        self._endpoints = self._make_endpoints(chat, embeddings, images, audio, videos)

    @property
    def open_connections(self) -> int:
        """How many connections to DashScope there are, idle ones included."""
        return self._pool.open_connections

    def upstream_state(self) -> UpstreamState:
        """Return how it stands to DashScope (exchange.AsksUpstream)."""
        pool, idle = self._pool, len(self._pool.idle)
        return UpstreamState(pool.open_connections - pool.opening - idle, idle, pool.opening, pool.waiting)

    def endpoint(self, request: Request) -> Endpoint:
        """Return the endpoint for a path and method; ApiError 404 or 405, worded as OpenAI's."""
        endpoint = self._endpoint(request)
        azure = azure_address(request.path)
        if azure is not None:
            endpoint = endpoint_of_deployment(endpoint, azure.deployment)
        return decoding_endpoint(endpoint, request, self._max_body)

    def _endpoint(self, request: Request) -> Endpoint:
        path = plain_path(api_path(request.path) or request.path)
        methods = self._endpoints.get(path)
        if methods is None:
            methods = next((found for pattern, found in self._endpoints_by_id if pattern.fullmatch(path)), None)
        if methods is None:
            raise unknown_url(request)
        endpoint = methods.get(request.method)
        if endpoint is None:
            raise method_not_allowed(request, methods)
        return endpoint

    def models(self, request: Request) -> list[JsonObject]:
        """Return the models that are known; ApiError 401 without a key, as DashScope has it."""
        self._caller_kind(request)
        return dashscope_model_list(self._settings.models)["data"]

    def sent_model(self, asked: str) -> str:
        """Return what DashScope calls a model that was asked for."""
        return self._choice.sent(asked)

    def forget(self, session: Session) -> None:
        """Forget nothing: what this backend remembers is of no session."""

    def leave(self) -> None:
        """Do nothing: no answer here outlasts the time that the server has to stop in good order."""

    async def close(self) -> None:
        """Close the connections to DashScope, once the tasks that nobody waits for have been cancelled."""
        await self._tasks.close()
        await self._pool.close()

    # ---- one request --------------------------------------------------------------------------------------------

    def _make_endpoints(
        self,
        chat: ChatEndpoints,
        embeddings: EmbeddingEndpoints,
        images: ImageEndpoints,
        audio: AudioEndpoints,
        videos: VideoEndpoints,
    ) -> dict[str, dict[str, Endpoint]]:
        """Return who answers, by path and method. A form streams: its files may be larger than what is held."""
        made = {
            path: {method: self._make_endpoint(path, handler, streams_body=takes_form)}
            for method, path, handler, takes_form in (
                ("POST", "/embeddings", embeddings.create_embeddings, False),
                ("POST", "/rerank", embeddings.rerank, False),
                ("POST", "/reranks", embeddings.rerank, False),
                ("POST", "/images/generations", images.generate_images, False),
                ("POST", "/images/edits", images.edit_images, True),
                ("POST", "/audio/speech", audio.create_speech, False),
                ("POST", "/audio/transcriptions", audio.create_transcription, True),
                ("POST", "/audio/translations", audio.create_translation, True),
                ("POST", "/videos", videos.create_video, False),
                ("GET", "/models", self._list_models, False),
            )
        }
        for path, begin in (
            ("/chat/completions", chat.create_chat_completion), ("/completions", chat.create_completion)
        ):  # fmt: skip
            made[path] = {"POST": self._make_chat_endpoint(path, begin)}
        return made

    def _make_endpoint(self, path: str, handler: _Handler, *, streams_body: bool = False) -> Endpoint:
        async def answer(request: Request) -> Response:
            return await self._answer(request, handler)

        early = None if streams_body else early_head(self.keepalive)
        return Endpoint(answer, f"{self.name} {path}", streams_body=streams_body, early_head=early)

    def _make_chat_endpoint(self, path: str, begin: typing.Callable[[Request, Caller], Answer]) -> Endpoint:
        def answer(request: Request) -> Answer:
            return begin(request, self._caller_or_failure(request))

        return Endpoint(answer, f"{self.name} {path}", early_head=early_head(self.keepalive))

    async def _answer(self, request: Request, handler: _Handler) -> Response:
        caller = self._caller_or_failure(request)
        return await self._finished(caller, functools.partial(handler, request, caller))

    async def _finished(self, caller: Caller, attempt: Attempt) -> Response:
        """Return an attempt's answer with what its caller may know of it; raise what went wrong as the router wants."""
        try:
            response = await attempt()
        except DashScopeError as exc:
            exc.redact(caller.key)
            raise self._for_client(caller, exc) from exc
        attempts = (*caller.replaced, f"{self.name}={response.status}") if caller.replaced else ()
        return response.known_as(caller.answer_id, attempts)

    def _caller_or_failure(self, request: Request) -> Caller:
        kind: CallerKind | None = request.facts.plans.get(self.name) if request.key_origin is None else None
        if kind is None:
            try:
                kind = self._caller_kind(request)
            except ApiError as exc:
                if request.key_origin is None:
                    raise
                # Another backend was asked before: that nobody has a key for this one is no answer for the caller.
                raise BackendFailed(error_response(exc), (f"{self.name}={exc.status}",)) from exc
        return Caller(request, kind, request.end_within(self._settings.total_timeout))

    def _caller_kind(self, request: Request) -> CallerKind:
        if not self._settings.api_key and not request.may_show_key(self.origin):
            raise ApiError(
                401,
                f"The backend '{self.name}' was not asked: it has no key of its own, and the caller's goes to the "
                "first backend alone.",
                code="missing_authorization",
            )
        kinds = request.facts.plans
        kind: CallerKind | None = kinds.get(self.name)
        if kind is None:
            authorization = request.fields.get("authorization")
            if not authorization and request.key:
                authorization = f"Bearer {request.key}"  # Azure's clients and browsers put it elsewhere
            kind = kinds[self.name] = CallerKind(dashscope_key(authorization, self._settings.api_key))
        return kind

    def _for_client(self, caller: Caller, error: DashScopeError) -> Exception:
        """Return what to raise for an error: BackendFailed where the next backend may help, else the error itself."""
        if error.code in _LOGGED_CODES:
            where = f"{error.where or self._place}, try {len(caller.replaced) + 1}"
            self._log.say_of(caller.request, f"{error.message} ({where})")
        fields = dict(error.fields)
        caller.adopt_request_id(fields.pop("x-request-id", None))
        if caller.answer_id:
            fields["x-request-id"] = caller.answer_id
        tried = (*caller.replaced, f"{self.name}={error.status}")
        if error.status not in self._passed_on and not (self._passed_on and error.code == _NO_MODEL):
            fields["x-oaiserve-attempts"] = ",".join(tried)
            error.fields = tuple(fields.items())
            return error.anew()  # raised from itself it would be its own cause, a cycle
        error.fields = tuple(fields.items())
        return BackendFailed(error_response(error), tried)

    async def _list_models(self, request: Request, caller: Caller) -> Response:
        return json_response(dashscope_model_list(self._settings.models))

    async def _retrieve_model(self, request: Request, caller: Caller) -> Response:
        path = plain_path(api_path(request.path) or request.path)
        asked = urllib.parse.unquote(path[len("/models/") :])
        return json_response(dashscope_model(asked, self._choice.sent(asked)))
