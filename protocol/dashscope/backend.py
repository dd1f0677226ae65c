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
import dataclasses
import ssl
import typing
import urllib.parse

from protocol.config import option, parse_integer, parse_seconds, parse_switch, parse_text
from protocol.dashscope.audio_endpoints import Sound
from protocol.dashscope.calls import Caller, NativeClient, answer_under, hide_key
from protocol.dashscope.chat_endpoints import Talk
from protocol.dashscope.download import Downloader
from protocol.dashscope.image_endpoints import Images
from protocol.dashscope.list_endpoints import Lists
from protocol.dashscope.mapping.errors import DashScopeError
from protocol.dashscope.mapping.models import MULTIMODAL_ENDPOINT, TEXT_ENDPOINT, dashscope_model, dashscope_model_list
from protocol.dashscope.mapping.native import dashscope_base_url, dashscope_key
from protocol.errors import ApiError, UsageError
from protocol.exchange import BackendFailed, Endpoint, Request, Response
from protocol.openai.answers import api_path, error_response, json_response
from protocol.service.log import Log
from protocol.upstream.destination import (
    Destination,
    Proxy,
    parse_destination,
    parse_proxy,
    proxy_from_environment,
    upstream_tls,
)
from protocol.upstream.pool import UpstreamLimits, UpstreamPool
from protocol.upstream.settings import parse_key, parse_proxy_url
from protocol.wire.json_text import JsonObject

# With these the route's next backend is asked, as it is behind a relay.
_FAILED_STATUSES = frozenset((429, 500, 502, 503, 504))
# An own word of ours goes into the log, DashScope's go to the caller alone.
_LOGGED_CODES = frozenset(("upstream_unreachable", "upstream_bad_response", "timeout"))

_Handler = typing.Callable[[Request, Caller], typing.Awaitable[Response]]


def parse_dashscope_url(text: str) -> str:
    """Return the base URL, ending in /api/v1, from any of its spellings; ValueError says what is expected."""
    url = dashscope_base_url(text)
    parse_destination(url)
    return url


def parse_endpoints(text: str) -> dict[str, str]:
    """Read lines of `pattern = text | multimodal`; ValueError says what is expected."""
    endpoints = {}
    for line in text.splitlines():
        pattern, equals, endpoint = (part.strip() for part in line.partition("="))
        if not line.strip():
            continue
        if not equals or not pattern or endpoint not in (TEXT_ENDPOINT, MULTIMODAL_ENDPOINT):
            raise ValueError(
                "expected one 'pattern = text' or 'pattern = multimodal' a line, e.g. qwen4-* = multimodal"
            )
        endpoints[pattern] = endpoint
    return endpoints


@dataclasses.dataclass(frozen=True)
class DashScopeSettings:
    """Section [dashscope]."""

    base_url: str = option(
        "${DASHSCOPE_BASE_URL:-https://dashscope.aliyuncs.com}", parse_dashscope_url,
        "the region's host, with or without /api/v1; keys hold for one region",
    )  # fmt: skip
    api_key: str = option(
        "${DASHSCOPE_API_KEY:-}", parse_key, "sent for every caller; empty: each caller brings a key", secret=True
    )
    default_model: str = option("farui-plus", parse_text, "asked where a chat request names no model")
    endpoints: dict[str, str] = option(
        "", parse_endpoints, "which chat endpoint takes a model: one 'pattern = text' or 'pattern = multimodal' a line"
    )
    timeout: float = option(
        "300", parse_seconds, "seconds without a byte; DashScope itself gives up a plain call after 300"
    )
    connect_timeout: float = option("30", parse_seconds, "seconds until a connection is there, TLS and proxy included")
    first_byte_timeout: float = option("0", parse_seconds, "seconds until an answer begins; 0 is as timeout")
    total_timeout: float = option("0", parse_seconds, "seconds until a request's answer is complete; 0 is no limit")
    proxy: str = option(
        "",
        parse_proxy_url,
        "http://[user:password@]host:port for CONNECT; empty: HTTPS_PROXY, HTTP_PROXY, NO_PROXY",
        secret=True,
    )
    ca_file: str = option("", parse_text, "authorities to trust (PEM) instead of the system's")
    verify: bool = option("yes", parse_switch, "yes or no; no trusts anybody who answers: dangerous")
    keepalive: float = option(
        "0", parse_seconds, "seconds of silence before a comment is sent in an event stream; 0: never"
    )
    max_connections: int = option("5000", parse_integer(1, 10**6), "connections to DashScope at once, a worker")
    max_idle: int = option("100", parse_integer(0, 10**6), "connections kept for later")
    idle_timeout: float = option("30", parse_seconds, "seconds that a kept connection may rest")
    max_age: float = option("600", parse_seconds, "seconds after which a connection is not used again")


class DashScope:
    """The backend of kind dashscope.

    `environ` holds the proxy variables. `has_fallback` says that some route names another backend behind this one: only
    then is a failure handed on to it. `clock` gives seconds since the epoch, `random_bits(n)` an integer of n random
    bits, `sleep` waits for seconds between polls. `resolve` finds a host's addresses for downloads; by default the
    system does. UsageError where the settings cannot work.
    """

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
        ways = _Ways(f"[dashscope] of the backend '{name}'", settings, environ)
        if ways.own.tls and not settings.verify:
            log.say(f"{ways.where}: verify = no is dangerous: whoever stands in between reads and changes everything")
        self._pool = UpstreamPool(name, ways.own, ways.limits, tls=ways.own_tls, proxy=ways.proxy_to(ways.own))
        client = NativeClient(self._pool)
        downloader = Downloader(
            name, ways.own, ways.limits,
            own_tls=ways.own_tls, make_tls=ways.checking_tls, find_proxy=ways.proxy_to, resolve=resolve,
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
            raise ApiError(404, f"Invalid URL ({request.method} {request.path})", code="unknown_url")
        endpoint = methods.get(request.method)
        if endpoint is None:
            raise ApiError(
                405, f"Not allowed to {request.method} on {request.path}.", code="method_not_allowed",
                fields=[("allow", ", ".join([*methods, "OPTIONS"]))],
            )  # fmt: skip
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
            raise self._for_client(request, exc) from exc
        request.attempts.append(f"{self.name}={response.status}")
        return response

    def _caller(self, request: Request) -> Caller:
        authorization = request.fields.get("authorization")
        if not authorization and request.key:
            authorization = f"Bearer {request.key}"  # from where Azure's clients and browsers put it
        key = dashscope_key(authorization, self._settings.api_key)
        if self._settings.total_timeout and not request.deadline:
            request.deadline = asyncio.get_running_loop().time() + self._settings.total_timeout
        return Caller(request, key, request.deadline)

    def _for_client(self, request: Request, error: DashScopeError) -> Exception:
        """Return what is raised for an error: for the route's next backend to try, or straight for the client."""
        request.attempts.append(f"{self.name}={error.status}")
        if error.code in _LOGGED_CODES:
            self._log.say(f"Request {request.id}: {error.message}")
        fields = dict(error.fields)
        answer_under(request, fields.pop("x-request-id", None))
        error.fields = tuple(fields.items())  # the server sends the id itself
        return BackendFailed(error_response(error)) if error.status in self._passed_on else error

    async def _list_models(self, request: Request, caller: Caller) -> Response:
        return json_response(dashscope_model_list())

    async def _retrieve_model(self, request: Request, caller: Caller) -> Response:
        path = api_path(request.path) or request.path
        return json_response(dashscope_model(urllib.parse.unquote(path[len("/models/") :])))


class _Ways:
    """How DashScope and its results are reached; UsageError where the settings cannot work."""

    def __init__(self, where: str, settings: DashScopeSettings, environ: typing.Mapping[str, str]) -> None:
        self.where = where
        self.own = parse_destination(settings.base_url)
        self._settings = settings
        self._environ = environ
        self.limits = UpstreamLimits(
            connect_timeout=settings.connect_timeout,
            first_byte_timeout=settings.first_byte_timeout or settings.timeout,
            timeout=settings.timeout,
            max_connections=settings.max_connections,
            max_idle=settings.max_idle,
            idle_timeout=settings.idle_timeout,
            max_age=settings.max_age,
        )
        if settings.ca_file:
            self._try_ca_file()
        try:
            self.proxy_to(self.own)
        except ValueError as exc:
            raise UsageError(f"{where}: {exc}") from exc

    def _try_ca_file(self) -> None:
        path = self._settings.ca_file
        try:
            upstream_tls(path, True)
        except OSError as exc:
            reason = exc.strerror or "none found"
            raise UsageError(f"{self.where}: ca_file = {path}: expected certificates (PEM): {reason}") from exc

    def own_tls(self) -> ssl.SSLContext:
        return upstream_tls(self._settings.ca_file, self._settings.verify)

    def checking_tls(self) -> ssl.SSLContext:
        return upstream_tls(self._settings.ca_file, True)

    def proxy_to(self, destination: Destination) -> Proxy | None:
        if self._settings.proxy:
            return parse_proxy(self._settings.proxy)
        return proxy_from_environment(destination, self._environ)
