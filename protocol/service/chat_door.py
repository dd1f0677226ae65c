"""The chat door at POST /: chat completions for browser front ends, in a dialect of its own.

A request may leave out all but its messages, and null means left out. What the door adds, or the page sends without
knowing better, is put as the model takes it: reasoning models refuse `max_tokens` and any `temperature` but 1.

Whatever goes wrong, here, on the way or at the upstream, the page reads `{"error": "<short>", "message": "<detail>"}`
with the status that it has: as an answer, or as an event within a stream.
"""

from __future__ import annotations

import http
import re
import typing

from protocol.errors import ApiError
from protocol.exchange import (
    Answer,
    Body,
    EarlyHead,
    Endpoint,
    ErrorShapes,
    Paced,
    Pushed,
    Request,
    Response,
    Sink,
    cancel_body,
    split_request_id,
)
from protocol.openai.answers import JSON_FIELDS
from protocol.openai.long_json import encode_long_json
from protocol.openai.refusals import method_not_allowed
from protocol.wire.http1.writers import encode_fields
from protocol.wire.json_text import encode_json, parse_json
from protocol.wire.sse import SseReader, encode_event

# What is filled in where the caller leaves it out.
_MODEL, _MOST_TOKENS, _TEMPERATURE = "gpt-3.5-turbo", 1000, 0.7

# OpenAI API reference, "Create chat completion": o-series and later models take max_completion_tokens, and no other
# temperature than 1. The chat models of the same numbers (gpt-5-chat-latest) are none of them. Gateways put the
# vendor's name in front.
_REASONING_MODEL = r"(?s)(?:.*/)?(?:o[1-9]|gpt-(?:[5-9]|[1-9][0-9])(?:\.[0-9]+)?)(?:-(?!chat).*)?"

# Where the phrase of HTTP says less.
_SHORT_ERRORS = {
    400: "Invalid request",
    404: "Not found",
    405: "Method not allowed",
    413: "Request too large",
    422: "Invalid request",
    429: "Too many requests",
    500: "Internal error",
    502: "Upstream error",
    503: "Service unavailable",
    504: "Upstream timeout",
}

# An event that tells of an error is short; a longer one is passed on unread, and no more than this is held.
_MOST_EVENT_BYTES = 65536
_EVENT_ENDS = (b"\n\n", b"\n\r\n", b"\r\r")
_EVENT = rb"(?s).*?(?:\n\r?\n|\r\r)"

# The fields that speak of the body that an answer had.
_BODY_FIELDS = (b"content-", b"etag:", b"last-modified:", b"digest:", b"repr-digest:", b"accept-ranges:")


class Routes(typing.Protocol):
    """What the door asks of the router."""

    #: How an answer begins that keeps its client waiting; None where it must not.
    early_head: EarlyHead | None

    def forward(self, request: Request) -> Answer:
        """Answer a held request through its model's route."""

    def sent_model(self, asked: str) -> str:
        """Return what a model is called where it is asked in the end; ApiError 404 where no route takes it."""


def chat_door(routes: Routes) -> dict[str, Endpoint]:
    """Return the door's endpoints by method, `*` for all methods that it does not have."""

    def chat(request: Request) -> Answer:
        return routes.forward(_as_chat(request, routes.sent_model))

    def refuse(request: Request) -> Answer:
        raise method_not_allowed(request, ["GET", "HEAD", "POST"])

    return {
        "POST": Endpoint(chat, "chat door", errors=DOOR_ERRORS, early_head=routes.early_head),
        "*": Endpoint(refuse, "chat door", streams_body=True, errors=DOOR_ERRORS),
    }


# ---- requests -------------------------------------------------------------------------------------------------------


def _as_chat(request: Request, sent_model: typing.Callable[[str], str]) -> Request:
    """Turn a request at the door into one for chat completions; every other parameter of the caller's passes."""
    came = request.json_object()
    chat = {name: value for name, value in came.items() if value is not None}
    _check_messages(chat.get("messages"))
    model = chat.setdefault("model", _MODEL)
    chat.setdefault("stream", False)
    if isinstance(model, str) and re.fullmatch(_REASONING_MODEL, sent_model(model)):
        limit = chat.pop("max_tokens", _MOST_TOKENS)
        chat.setdefault("max_completion_tokens", limit)
        if chat.get("temperature") != 1:
            chat.pop("temperature", None)
    else:
        chat.setdefault("temperature", _TEMPERATURE)
        # The newer name for the same limit: both together would be refused.
        if "max_completion_tokens" not in chat:
            chat.setdefault("max_tokens", _MOST_TOKENS)
    request.path = "/v1/chat/completions"
    if chat != came:
        request.replace_body(chat, encode_long_json(chat))
    return request


def _check_messages(messages: object) -> None:
    if messages is None:
        raise ApiError(400, "Missing required parameter: 'messages'.", param="messages")
    if not isinstance(messages, list):
        raise ApiError(
            400, "Invalid type for 'messages': expected an array of objects, e.g. [{\"role\": \"user\", \"content\":"
            " \"Hello\"}].", param="messages",
        )  # fmt: skip


# ---- errors ---------------------------------------------------------------------------------------------------------


def _told(status: int, message: str) -> bytes:
    return encode_json({"error": _SHORT_ERRORS.get(status) or _phrase(status), "message": message})


def _phrase(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase.capitalize()
    except ValueError:
        return "Error"


def _door_error(error: ApiError) -> Response:
    request_id, fields = split_request_id(error.fields)
    body = _told(error.status, error.message)
    return Response(error.status, JSON_FIELDS + encode_fields(fields), body, request_id=request_id)


def _door_event(error: ApiError) -> bytes:
    return encode_event(_told(error.status, error.message))


def _in_door_shape(response: Response) -> Response:
    """Return a backend's answer as the door gives it: an error in its shape, a stream with such events."""
    status, body, fields = response.status, response.body, response.fields
    block = fields if isinstance(fields, bytes) else encode_fields(fields)
    if status >= 400:
        cancel_body(response)  # one that could not be held is longer than what a page would show
        message = _message_in(_json_in(body)) if isinstance(body, bytes) else ""
        lines = [line for line in block.splitlines(keepends=True) if not line.lower().startswith(_BODY_FIELDS)]
        told = _told(status, message or f"The upstream answered with status {status} and does not say why.")
        return Response(
            status, JSON_FIELDS + b"".join(lines), told, request_id=response.request_id, attempts=response.attempts
        )
    if b"text/event-stream" not in block or b"content-encoding:" in block:
        return response
    events: Body
    if isinstance(body, Pushed) and type(body) is not _DoorEvents:
        events = _DoorEvents(body)
    elif isinstance(body, Paced) and len(body.frames) == 1:
        # A stream that had come whole before its head went on.
        events = Paced([_with_door_events(body.frames[0])], first_delay=body.first_delay, delay=body.delay)
    elif isinstance(body, bytes):
        events = _with_door_events(body)
    else:
        return response
    return Response(status, block, events, request_id=response.request_id, attempts=response.attempts)


def _event_of(response: Response) -> bytes:
    """Return the event that stands for an answer in the door's shape where a stream has begun."""
    if response.status >= 400 and isinstance(response.body, bytes):
        return encode_event(response.body)
    return encode_event(_told(502, f"The upstream answered with status {response.status} and no event stream."))


#: How the door tells of what went wrong.
DOOR_ERRORS = ErrorShapes(_door_error, _door_event, _event_of, _in_door_shape)


def _json_in(text: bytes) -> typing.Any:
    try:
        return parse_json(text)
    except ApiError:
        return None


def _message_in(value: typing.Any) -> str:
    """Return what an error says, in the shapes that upstreams have: OpenAI's, DashScope's, FastAPI's; "" for others."""
    if not isinstance(value, dict):
        return ""
    error = value.get("error")
    told = error.get("message") if isinstance(error, dict) else None
    words = (told, value.get("message"), error, value.get("detail"))
    return next((word for word in words if isinstance(word, str) and word), "")


class _DoorEvents(Pushed):
    """A pushed event stream in which the events that tell of an error have the door's shape; others are as they came.

    It is the Sink of the stream, and passes on what is complete: an event that has only begun waits for its end.
    """

    __slots__ = ("_held", "_inner", "_sink")

    _sink: Sink  # since `begin`

    def __init__(self, inner: Pushed) -> None:
        self._inner = inner
        self._held = b""

    def begin(self, sink: Sink) -> None:
        self._sink = sink
        self._inner.begin(self)

    def pause(self) -> None:
        self._inner.pause()

    def resume(self) -> None:
        self._inner.resume()

    def cancel(self) -> None:
        self._inner.cancel()

    def push(self, data: bytes) -> None:
        """Take a piece (Sink)."""
        data = self._taken(data)
        if data:
            self._sink.push(data)

    def end(self, data: bytes) -> None:
        """Take the last piece (Sink)."""
        data = self._taken(data)
        self._sink.end(data + self._held)

    def fail(self, error: Exception) -> None:
        """Learn that the rest does not come (Sink)."""
        if self._held:
            self._sink.push(self._held)
        self._sink.fail(error)

    def _taken(self, data: bytes) -> bytes:
        data = self._held + data
        end = max(data.rfind(mark) + len(mark) if mark in data else 0 for mark in _EVENT_ENDS)
        if len(data) - end > _MOST_EVENT_BYTES:
            end = len(data)
        complete, self._held = data[:end], data[end:]
        return _with_door_events(complete)


def _with_door_events(events: bytes) -> bytes:
    """Return whole events, those that tell of an error in the door's shape."""
    return re.sub(_EVENT, _door_event_of, events) if b"error" in events else events


def _door_event_of(match: re.Match[bytes]) -> bytes:
    """Return an event as the door gives it."""
    if b"error" not in match[0]:
        return match[0]
    events = SseReader().feed(match[0])
    value = _json_in(events[0].data.encode()) if events else None
    if not isinstance(value, dict) or not (value.get("error") or events[0].event == "error"):
        return match[0]
    error = value.get("error")
    code = error.get("code") if isinstance(error, dict) else None
    status = code if isinstance(code, int) and 400 <= code < 600 else 502
    return encode_event(_told(status, _message_in(value) or "The upstream broke off and does not say why."))
