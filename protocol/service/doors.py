"""The doors: what the service says of itself, and where the chat door for browser front ends is."""

from __future__ import annotations

import json
import sys
import typing

from protocol.errors import ApiError
from protocol.exchange import Answer, Endpoint, Request, Response, answer_in_turns
from protocol.on_demand import load
from protocol.openai.answers import JSON_FIELDS, json_response
from protocol.openai.long_json import encode_long_json
from protocol.service.chat_door import Routes, chat_door
from protocol.service.own_machine import may_see
from protocol.wire.http1.writers import encode_fields
from protocol.wire.json_text import JsonObject, encode_json

_INFO_FIELDS = JSON_FIELDS + b"vary: Accept\r\n"
_METRICS_FIELDS = encode_fields([("content-type", "text/plain; version=0.0.4; charset=utf-8")])


#: What machines ask for again and again.
PROBES = ("/health", "/ready")


class ChatExample(typing.NamedTuple):
    """What the line to paste asks for: a model that whom it reaches knows, and whose key callers bring ("": nobody)."""

    model: str = "gpt-4o-mini"
    key: str = ""


class ServiceState(typing.Protocol):
    """What the doors ask of the running service."""

    version: str
    example: ChatExample
    now: typing.Callable[[], float]

    @property
    def draining(self) -> bool:
        """Whether the service is stopping."""

    @property
    def backends(self) -> typing.Mapping[str, str]:
        """The kind of each backend, by its name."""

    @property
    def routes(self) -> typing.Sequence[tuple[str, typing.Sequence[str]]]:
        """The routes: patterns for models, with the names of backends."""

    @property
    def shows_page(self) -> bool:
        """Whether the page for people is shown beyond this machine."""

    @property
    def key_holders(self) -> typing.Sequence[str]:
        """The backends that send a key of the owner's for whoever calls."""

    @property
    def features(self) -> typing.Sequence[str]:
        """What is switched on that the page has to know of."""

    def metrics(self) -> str:
        """Return the text of /metrics."""

    def resting(self) -> list[str]:
        """Return the names of the backends that requests keep away from for a while."""

    def watch(self, request: Request) -> Response:
        """Return the stream of requests that are over."""


#: Where the page for people learns of requests as they are answered.
LIVE_PATH = "/_oaiserve/live"


def wants_page(request: Request) -> bool:
    """Tell whether who asks for `/` is a browser."""
    return "text/html" in request.fields.get("accept").lower()


def service_doors(state: ServiceState, routes: Routes) -> dict[str, dict[str, Endpoint]]:
    """Return the doors by path and method, `*` for all others; `routes` answer what comes in at the chat door."""

    def info(request: Request) -> Response:
        if wants_page(request) and may_see(request, from_anywhere=state.shows_page):
            (make_page,) = load("page")
            made: Response = make_page()
            return made
        return Response(200, _INFO_FIELDS, encode_json(_info(state, request.head.host)))

    def live(request: Request) -> Response:
        if not may_see(request, from_anywhere=state.shows_page):
            message = "Only this machine may watch; [server] page = yes lets others, too."
            raise ApiError(403, message, code="page_not_allowed")
        return state.watch(request)

    def health(request: Request) -> Response:
        status = "draining" if state.draining else "healthy"
        report = {"status": status, "timestamp": int(state.now()), "service": "oaiserve", "version": state.version}
        return json_response(report, 503 if state.draining else 200)

    def ready(request: Request) -> Response:
        report = {"status": "draining" if state.draining else "ready", "resting": state.resting()}
        return json_response(report, 503 if state.draining else 200)

    def version(request: Request) -> Response:
        python = ".".join(map(str, sys.version_info[:3]))
        return json_response({"service": "oaiserve", "version": state.version, "python": python})

    described: list[bytes] = []

    def openapi(request: Request) -> Answer:
        return Response(200, JSON_FIELDS, described[0]) if described else answer_in_turns(describe)

    def describe() -> Response:
        make_document, read_reference, texts = load("OpenAPI")
        described[:] = [encode_long_json(make_document(read_reference(lambda: texts), state.version))]
        return Response(200, JSON_FIELDS, described[0])

    def metrics(request: Request) -> Response:
        return Response(200, _METRICS_FIELDS, state.metrics().encode())

    return {
        "/": {"GET": Endpoint(info, "info"), **chat_door(routes)},
        "/openapi.json": {"GET": Endpoint(openapi, "openapi")},
        "/health": {"GET": Endpoint(health, "health", is_vital=True)},
        "/ready": {"GET": Endpoint(ready, "ready", is_vital=True)},
        "/version": {"GET": Endpoint(version, "version")},
        "/metrics": {"GET": Endpoint(metrics, "metrics", is_vital=True)},
        LIVE_PATH: {"GET": Endpoint(live, "live")},
    }


def _base_url(host: str) -> str:
    return f"http://{host or '127.0.0.1:8080'}"


def chat_example(base_url: str, example: ChatExample) -> str:
    """Return a curl line that asks for a streamed answer, to be pasted into any shell."""
    body = {"model": example.model, "stream": True, "messages": [{"role": "user", "content": "Hello"}]}
    text = json.dumps(body).replace('"', '\\"')
    key = f' -H "Authorization: Bearer {example.key}"' if example.key else ""
    return f'curl -N {base_url}/v1/chat/completions{key} -H "Content-Type: application/json" -d "{text}"'


def _info(state: ServiceState, host: str) -> JsonObject:
    base = _base_url(host)
    return {
        "service": "oaiserve",
        "version": state.version,
        "description": "Stands where the OpenAI API stands: a mock, a relay and a translator behind one address.",
        "base_url": f"{base}/v1",
        "backends": dict(state.backends),
        "routes": {pattern: list(names) for pattern, names in state.routes},
        "endpoints": {
            "POST /v1/chat/completions": "chat; every other /v1/... path of the OpenAI API goes the same way",
            "POST /": "chat for browser front ends: model, temperature, max_tokens and stream have defaults",
            "GET /v1/models": "the models of all backends",
            "GET /openapi.json": "the API as an OpenAPI document",
            "GET /health": "200 while serving, 503 while stopping",
            "GET /ready": "the same, with the backends that rest",
            "GET /version": "the version of this service",
            "GET /metrics": "counters and latencies for Prometheus",
        },
        "usage": chat_example(base, state.example),
        "example": state.example._asdict(),
        "features": list(state.features),
        "own_keys": list(state.key_holders),
    }
