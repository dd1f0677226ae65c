"""The doors: what the service says of itself, and the chat door for browser front ends at POST /."""

from __future__ import annotations

import json
import typing

from protocol.errors import ApiError
from protocol.exchange import Answer, Endpoint, Request, Response, split_request_id
from protocol.on_demand import load
from protocol.openai.answers import JSON_FIELDS, json_response
from protocol.wire.http1.writers import encode_fields
from protocol.wire.json_text import JsonObject, encode_json

_HTML_FIELDS = encode_fields([("content-type", "text/html; charset=utf-8"), ("vary", "Accept")])
_INFO_FIELDS = JSON_FIELDS + b"vary: Accept\r\n"
_METRICS_FIELDS = encode_fields([("content-type", "text/plain; version=0.0.4; charset=utf-8")])

# What the chat door fills in where the caller leaves it out.
_DEFAULTS: JsonObject = {"model": "gpt-3.5-turbo", "temperature": 0.7, "max_tokens": 1000, "stream": False}

_SHORT_ERRORS = {
    400: "Invalid request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    408: "Request timeout",
    413: "Request too large",
    429: "Too many requests",
    500: "Internal error",
    502: "Upstream error",
    503: "Service unavailable",
    504: "Upstream timeout",
}


class ServiceState(typing.Protocol):
    """What the doors ask of the running service."""

    version: str
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

    def metrics(self) -> str:
        """Return the text of /metrics."""


def service_doors(state: ServiceState, forward: typing.Callable[[Request], Answer]) -> dict[str, dict[str, Endpoint]]:
    """Return the doors by path and method; `forward` answers a held chat request through its model's route."""

    def info(request: Request) -> Response:
        if "text/html" in request.fields.get("accept").lower():
            (info_page,) = load("info page")
            return Response(200, _HTML_FIELDS, info_page(_info(state, request.head.host), state.version).encode())
        return Response(200, _INFO_FIELDS, encode_json(_info(state, request.head.host)))

    def health(request: Request) -> Response:
        status = "draining" if state.draining else "healthy"
        report = {"status": status, "timestamp": int(state.now()), "service": "oaiserve", "version": state.version}
        return json_response(report, 503 if state.draining else 200)

    def metrics(request: Request) -> Response:
        return Response(200, _METRICS_FIELDS, state.metrics().encode())

    def chat(request: Request) -> Answer:
        return forward(_as_chat(request))

    return {
        "/": {
            "GET": Endpoint(info, "info"),
            "POST": Endpoint(chat, "chat door", error_response=_door_error),
        },
        "/health": {"GET": Endpoint(health, "health", is_vital=True)},
        "/metrics": {"GET": Endpoint(metrics, "metrics", is_vital=True)},
    }


def _as_chat(request: Request) -> Request:
    """Turn a request at the door into one for chat completions; every parameter of the caller's passes."""
    asked = request.json_object()
    missing = {name: value for name, value in _DEFAULTS.items() if asked.get(name) is None}
    # The newer name for the same limit: both together would be refused.
    if asked.get("max_completion_tokens") is not None:
        missing.pop("max_tokens", None)
    request.path = "/v1/chat/completions"
    if missing:
        request.replace_body({**asked, **missing})
    return request


def _door_error(error: ApiError) -> Response:
    """Return an error in the door's shape: `{"error": "<short>", "message": "<detail>"}`."""
    short = _SHORT_ERRORS.get(error.status, "Error")
    request_id, fields = split_request_id(error.fields)
    body = encode_json({"error": short, "message": error.message})
    return Response(error.status, JSON_FIELDS + encode_fields(fields), body, request_id=request_id)


def _base_url(host: str) -> str:
    return f"http://{host or '127.0.0.1:8080'}"


def chat_example(base_url: str) -> str:
    """Return a curl line that asks for a streamed answer, to be pasted into any shell."""
    body = {"model": "gpt-4o-mini", "stream": True, "messages": [{"role": "user", "content": "Hello"}]}
    text = json.dumps(body).replace('"', '\\"')
    return f'curl -N {base_url}/v1/chat/completions -H "Content-Type: application/json" -d "{text}"'


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
            "GET /health": "200 while serving, 503 while stopping",
            "GET /metrics": "counters and latencies for Prometheus",
        },
        "usage": chat_example(base),
    }
