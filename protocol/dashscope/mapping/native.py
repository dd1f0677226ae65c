"""Paths, keys and header fields of DashScope's native API.

Native calls are `POST {base}/services/<group>/<task>/<function>` with `{"model", "input", "parameters"}`. Streaming and
task mode are switched by header fields, never by the body. Source: Alibaba Cloud Model Studio, "DashScope API
reference".
"""

from __future__ import annotations

import re
import typing

from protocol.errors import ApiError
from protocol.openai.long_json import encode_long_json
from protocol.wire.json_text import JsonObject, write_json

TEXT_GENERATION_PATH = "/services/aigc/text-generation/generation"
MULTIMODAL_GENERATION_PATH = "/services/aigc/multimodal-generation/generation"
TEXT_EMBEDDING_PATH = "/services/embeddings/text-embedding/text-embedding"
MULTIMODAL_EMBEDDING_PATH = "/services/embeddings/multimodal-embedding/multimodal-embedding"
TEXT_RERANK_PATH = "/services/rerank/text-rerank/text-rerank"
TEXT_TO_IMAGE_PATH = "/services/aigc/text2image/image-synthesis"
IMAGE_TO_IMAGE_PATH = "/services/aigc/image2image/image-synthesis"
VIDEO_PATH = "/services/aigc/video-generation/video-synthesis"
VIDEO_BETWEEN_FRAMES_PATH = "/services/aigc/image2video/video-synthesis"
TRANSCRIPTION_PATH = "/services/audio/asr/transcription"
SPEECH_SYNTHESIS_PATH = "/services/audio/tts/SpeechSynthesizer"

#: With this begins a URL of the temporary upload store, which DashScope resolves only on request.
OSS_URL = "oss://"

#: DashScope takes seeds below this (and from 0).
SEED_MODULUS = 2**31

_MIN_KEY_CHARACTERS = 10
# RFC 9110 §11.1: the scheme is case-insensitive. "Bearer " with an empty key reaches us trimmed to "Bearer".
_BEARER = re.compile(r"bearer(?:[ ]+(.*))?", re.IGNORECASE | re.DOTALL)
_KEY = re.compile(r"[!-~]+")

# Of the client's header fields these go to DashScope. All others are about its connection with us, or its SDK.
_FORWARDED_FIELDS = {
    "x-dashscope-workspace": "X-DashScope-WorkSpace",
    "x-dashscope-datainspection": "X-DashScope-DataInspection",
    "x-dashscope-ossresourceresolve": "X-DashScope-OssResourceResolve",
}
#: Their names as they come.
FORWARDED_NAMES = tuple(_FORWARDED_FIELDS)
_RELAYED_FIELDS = ("x-request-id", "retry-after", "retry-after-ms")


class NativeCall:
    """One native call to make: `path` below the base URL, `body`, and whether it is to be a stream or a task.

    A stream is answered with server-sent events, a task at once with an id that is polled.
    """

    __slots__ = ("body", "path", "stream", "task")

    def __init__(self, path: str, body: JsonObject, *, stream: bool = False, task: bool = False) -> None:
        self.path = path
        self.body = body
        self.stream = stream
        self.task = task

    def encode(self, *, is_long: bool = False) -> bytes:
        """Return the body as UTF-8 JSON; half a surrogate pair, which JSON can hold, becomes a question mark.

        One that `is_long` is written in pieces, between which others have their turns where that is how it is done.
        Raises the 400 for a body that is nested too deeply to be written again.
        """
        try:
            if is_long:
                return encode_long_json(self.body, _encode)
            return write_json(self.body).encode("utf-8", "replace")
        except RecursionError as exc:
            raise ApiError(400, "The request body is nested too deeply", type="invalid_request_error") from exc


def _encode(value: object) -> bytes:
    return write_json(value).encode("utf-8", "replace")


def dashscope_key(authorization: str | None, operator_key: str = "") -> str:
    """Return the key to call DashScope with: the operator's when there is one, else the caller's Bearer token.

    Raises the 401 for a missing field (`missing_authorization`), another scheme (`invalid_authorization_format`) and a
    key that is empty, under 10 characters or not printable ASCII (`invalid_api_key`).
    """
    if operator_key:
        return operator_key
    if authorization is None or not authorization.strip():
        raise _key_error(
            "missing_authorization", "No API key provided: send it as 'Authorization: Bearer <your DashScope key>'."
        )
    match = _BEARER.fullmatch(authorization.strip())
    if match is None:
        raise _key_error(
            "invalid_authorization_format",
            "The Authorization header must be of the form 'Bearer <your DashScope key>'.",
        )
    key = (match.group(1) or "").strip()
    if len(key) < _MIN_KEY_CHARACTERS or not _KEY.fullmatch(key):
        raise _key_error(
            "invalid_api_key",
            f"The API key is empty, shorter than {_MIN_KEY_CHARACTERS} characters or has illegal characters.",
        )
    return key


def native_headers(
    call: NativeCall, key: str, client_fields: typing.Sequence[tuple[str, str]] = (), *, has_oss: bool = False
) -> list[tuple[str, str]]:
    """Return the header fields of a native call. Of the client's own only DashScope's three switches are passed on.

    `has_oss` says that the call `mentions_oss`.
    """
    return _common_fields(key, call.stream, client_fields) + _call_fields(call, client_fields, has_oss)


def task_headers(key: str, client_fields: typing.Sequence[tuple[str, str]] = ()) -> list[tuple[str, str]]:
    """Return the header fields with which a task is polled or cancelled; such a request has no body."""
    return _common_fields(key, False, client_fields)


def relayed_fields(answer_fields: typing.Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return those fields of a native answer that the client may see: request id and retry hints."""
    return [(name.lower(), value) for name, value in answer_fields if name.lower() in _RELAYED_FIELDS]


def _key_error(code: str, message: str) -> ApiError:
    return ApiError(401, message, type="authentication_error", code=code)


def _common_fields(key: str, stream: bool, client_fields: typing.Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    fields = [
        ("Authorization", "Bearer " + key),
        ("Accept", "text/event-stream" if stream else "application/json"),
        # DashScope would compress an event stream where gzip is offered, and such a stream arrives in lumps.
        ("Accept-Encoding", "identity"),
    ]
    for name, value in client_fields:
        native_name = _FORWARDED_FIELDS.get(name.lower())
        if native_name:
            fields.append((native_name, value))
    return fields


def _call_fields(
    call: NativeCall, client_fields: typing.Sequence[tuple[str, str]], has_oss: bool
) -> list[tuple[str, str]]:
    fields = [("Content-Type", "application/json")]
    if call.stream:
        fields.append(("X-DashScope-SSE", "enable"))
    if call.task:
        fields.append(("X-DashScope-Async", "enable"))
    asked = {name.lower() for name, _ in client_fields}
    if "x-dashscope-ossresourceresolve" not in asked and has_oss:
        fields.append(("X-DashScope-OssResourceResolve", "enable"))
    return fields


def mentions_oss(body: JsonObject) -> bool:
    """Tell whether the body has a URL of the temporary upload store."""
    pending: list[object] = [body]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)
        elif isinstance(value, str) and value.startswith(OSS_URL):
            return True
    return False
