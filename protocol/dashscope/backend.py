"""The backend of kind dashscope: OpenAI's API on DashScope's native one.

A request goes through four hands:

    DashScope          finds who answers, takes the caller's key, and turns what went wrong into the client's answer
    Talk, Lists, Images, Sound        one for each kind of request: plan, calls, answer
    protocol/dashscope                what is sent and what its answers mean: pure functions, where all mapping is
    NativeClient       the calls, over one pool of connections

Nothing of a caller is stored. A key lives as long as its request.
"""

from __future__ import annotations

import asyncio
import typing
import urllib.parse

from protocol.dashscope.audio_endpoints import Sound
from protocol.dashscope.calls import Caller, NativeClient, hide_key
from protocol.dashscope.chat_endpoints import Talk
from protocol.dashscope.download import Downloader
from protocol.dashscope.image_endpoints import Images
from protocol.dashscope.list_endpoints import Lists
from protocol.dashscope.mapping.errors import DashScopeError
from protocol.dashscope.mapping.models import dashscope_model, dashscope_model_list
from protocol.dashscope.mapping.native import dashscope_key
from protocol.dashscope.settings import DashScopeSettings
from protocol.exchange import BackendFailed, Endpoint, Request, Response
from protocol.openai.answers import api_path, error_response, json_response
from protocol.openai.refusals import method_not_allowed, unknown_url
from protocol.service.log import Log
from protocol.upstream.access import UpstreamAccess
from protocol.wire.json_text import JsonObject

# With these the route's next backend is asked, as it is behind a relay.
_FAILED_STATUSES = frozenset((429, 500, 502, 503, 504))
# An own word of ours goes into the log, DashScope's go to the caller alone.
_LOGGED_CODES = frozenset(("upstream_unreachable", "upstream_bad_response", "timeout"))

_Handler = typing.Callable[[Request, Caller], typing.Awaitable[Response]]


class DashScope:
    """The backend of kind dashscope.

    `environ` holds the proxy variables. `has_fallback` says that some route names another backend behind this one: only
    then is a failure handed on to it. `clock` gives seconds since the epoch, `random_bits(n)` an integer of n random
    bits, `sleep` waits for seconds between polls. `resolve` finds a host's addresses for downloads; by default the
    system does. UsageError where the settings cannot work.
    """

    own_root = ""

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
        sleep: typing.Callable[[float], typing.Awaitable[typing.Any]],
        resolve: typing.Callable[[str], typing.Awaitable[typing.Sequence[str]]] | None = None,
    ) -> None:
        self.name = name
        self._settings = settings
        self._log = log
        self._passed_on = _FAILED_STATUSES if has_fallback else frozenset()
        access = UpstreamAccess(f"[dashscope] of the backend '{name}'", settings, environ, warn=log.say)
        self._pool = access.make_pool(name)
        client = NativeClient(self._pool)
        downloader = Downloader(
            name, access.destination, access.limits,
            own_tls=access.tls, make_tls=access.checking_tls, find_proxy=access.proxy_to, resolve=resolve,
        )  # fmt: skip
        talk = Talk(
            client,
            default_model=settings.default_model,
            endpoints=settings.endpoints,
            keepalive_seconds=settings.keepalive,
            clock=clock,
            make_id=lambda: f"{random_bits(96):024x}",
        )
        lists = Lists(client)
        self._images = Images(client, downloader, clock=clock, sleep=sleep)
        sound = Sound(client, downloader, keepalive_seconds=settings.keepalive)
        self._one_model = self._make_endpoint("/models/{id}", self._retrieve_model)
        self._endpoints = {
            path: {method: self._make_endpoint(path, handler, streams_body=takes_form)}
            for method, path, handler, takes_form in (
                ("POST", "/chat/completions", talk.chat, False),
                ("POST", "/completions", talk.complete, False),
                ("POST", "/embeddings", lists.embed, False),
                ("POST", "/rerank", lists.rerank, False),
                ("POST", "/images/generations", self._images.generate, False),
                ("POST", "/images/edits", self._images.edit, True),
                ("POST", "/audio/speech", sound.speak, False),
                ("POST", "/audio/transcriptions", sound.transcribe, True),
                ("POST", "/audio/translations", sound.translate, True),
                ("GET", "/models", self._list_models, False),
            )
        }

    @property
    def open_connections(self) -> int:
        """How many connections to DashScope there are, idle ones included."""
        return self._pool.open_connections

    def endpoint(self, request: Request) -> Endpoint:
        """Return the endpoint for a path and method; ApiError 404 or 405, worded as OpenAI's."""
        path = api_path(request.path) or request.path
        is_model = path.startswith("/models/")
        methods = {"GET": self._one_model} if is_model else self._endpoints.get(path)
        if methods is None:
            raise unknown_url(request)
        endpoint = methods.get(request.method)
        if endpoint is None:
            raise method_not_allowed(request, methods)
        return endpoint

    def models(self, request: Request) -> list[JsonObject]:
        """Return the models that are known; ApiError 401 without a key, as DashScope has it."""
        self._caller(request)
        return dashscope_model_list()["data"]

    def leave(self) -> None:
        """End nothing early: answers are as long as they are."""

    async def close(self) -> None:
        """Close the connections to DashScope, once the tasks that nobody waits for are cancelled."""
        await self._images.close()
        await self._pool.close()

    # ---- one request --------------------------------------------------------------------------------------------

    def _make_endpoint(self, path: str, handler: _Handler, *, streams_body: bool = False) -> Endpoint:
        async def answer(request: Request) -> Response:
            return await self._answer(request, handler)

        return Endpoint(answer, f"{self.name} {path}", streams_body=streams_body)

    async def _answer(self, request: Request, handler: _Handler) -> Response:
        caller = self._caller(request)
        try:
            response = await handler(request, caller)
        except DashScopeError as exc:
            hide_key(exc, caller.key)
            raise self._for_client(caller, exc) from exc
        return response.known_as(caller.answer_id)

    def _caller(self, request: Request) -> Caller:
        authorization = request.fields.get("authorization")
        if not authorization and request.key:
            authorization = f"Bearer {request.key}"  # from where Azure's clients and browsers put it
        key = dashscope_key(authorization, self._settings.api_key)
        if self._settings.total_timeout and not request.deadline:
            request.deadline = asyncio.get_running_loop().time() + self._settings.total_timeout
        return Caller(request, key, request.deadline)

    def _for_client(self, caller: Caller, error: DashScopeError) -> Exception:
        """Return what is raised for an error: for the route's next backend to try, or straight for the client."""
        if error.code in _LOGGED_CODES:
            self._log.say(f"Request {caller.request.id}: {error.message}")
        fields = dict(error.fields)
        caller.answer_under(fields.pop("x-request-id", None))
        if caller.answer_id:
            fields["x-request-id"] = caller.answer_id
        error.fields = tuple(fields.items())
        if error.status not in self._passed_on:
            return error
        return BackendFailed(error_response(error), (f"{self.name}={error.status}",))

    async def _list_models(self, request: Request, caller: Caller) -> Response:
        return json_response(dashscope_model_list())

    async def _retrieve_model(self, request: Request, caller: Caller) -> Response:
        path = api_path(request.path) or request.path
        return json_response(dashscope_model(urllib.parse.unquote(path[len("/models/") :])))
