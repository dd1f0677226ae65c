"""OpenAI's shapes for every endpoint: JSON answers, errors, events, the list of models, and the API's paths.

Source: OpenAI API reference, "Error codes", "Streaming", "Models".
"""

from __future__ import annotations

import re
import typing

from protocol.budget import is_in_turns, spend_turn
from protocol.errors import ApiError
from protocol.exchange import ErrorShapes, Response, split_request_id
from protocol.openai.azure import AZURE_ROOT, azure_address
from protocol.openai.long_json import encode_long_json
from protocol.openai.request_path import plain_path
from protocol.wire.http1.writers import encode_fields
from protocol.wire.json_text import JsonObject, encode_json, parse_json
from protocol.wire.sse import NAMED_EVENT, encode_event

#: Of a text with more characters, `count_words` counts the words in turns.
COUNTED_AT_ONCE = 65_536

# Of a text that is cut into words, what is cut before the turn is charged, and the steps for it.
_WORDS_A_CHARGE = 256
_WORDS_STEPS = 200

#: Header fields of a JSON answer, encoded once.
JSON_FIELDS = encode_fields([("content-type", "application/json")])

#: Header fields of a stream. X-Accel-Buffering tells nginx, and proxies like it, to let each event through at once.
EVENT_STREAM_FIELDS = encode_fields(
    [("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-cache"), ("x-accel-buffering", "no")]
)

#: The first segments of the API's paths. A path that begins with one is the API's, also without the /v1 in front.
API_ROOTS = frozenset(
    "agents assistants audio batches chat chatkit completions containers content_provenance_checks conversations"
    " decisions edits embeddings evals files fine_tuning images live models moderations organization projects realtime"
    " rerank reranks responses safety skills threads uploads vaults vector_stores videos webhook_endpoints"
    " webhook_event_types".split()
)

# A word with the white space after it; the first word also has what is before it. Scripts that are written without
# spaces (kana, CJK ideographs, Hangul) are cut into characters, roughly as a model's tokens are.
_SPACELESS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
_WORD = rf"\s*(?:[{_SPACELESS}]|[^\s{_SPACELESS}]+)\s*"
_ASCII_WORD = re.compile(r"\s*\S+\s*")


def json_response(value: typing.Any, status: int = 200) -> Response:
    """Return an answer with a JSON value."""
    encode = encode_long_json if is_in_turns() else encode_json
    return Response(status, JSON_FIELDS, encode(value))


def error_response(error: ApiError) -> Response:
    """Return an error in OpenAI's shape, with the fields that it carries."""
    body = encode_json(error.as_dict())
    if not error.fields:
        return Response(error.status, JSON_FIELDS, body)
    request_id, fields = split_request_id(error.fields)
    return Response(error.status, JSON_FIELDS + encode_fields(fields), body, request_id=request_id)


def error_event(error: ApiError) -> bytes:
    """Return the event that tells of an error within a stream. It is the last one: no [DONE] follows."""
    return encode_event(encode_json(error.as_dict()))


def event_of_answer(response: Response) -> bytes:
    """Return the event that stands for an answer where a stream has begun: an error's own words, if it is JSON."""
    try:
        value = parse_json(response.body) if isinstance(response.body, bytes) else None
    except ApiError:
        value = None
    if response.status >= 400 and isinstance(value, dict) and "error" in value:
        return encode_event(encode_json(value))
    message = f"The upstream answered with status {response.status} and no event stream."
    return error_event(ApiError(response.status if response.status >= 400 else 502, message))


#: How the server tells clients of this API that something went wrong.
ERROR_SHAPES = ErrorShapes(error_response, error_event, event_of_answer)


def event_bytes(events: typing.Iterable[JsonObject]) -> bytes:
    """Return typed events as bytes, each named by its `type`. A stream of such events has no [DONE] at its end."""
    encode = encode_long_json if is_in_turns() else encode_json
    return b"".join([NAMED_EVENT % (event["type"].encode(), encode(event)) for event in events])


def api_path(path: str) -> str | None:
    """Return an API path without its /v1 and a slash at its end, e.g. "/chat/completions"; None for any other path.

    Azure's addresses of the same endpoints are such paths, too. What is escaped behind the root stays as it came.
    """
    if path.startswith("/v1/") and len(path) > 4:
        return path[3:] if path[-1] != "/" else path[3:-1]
    if _has_api_root(path):
        return path[:-1] if path.endswith("/") else path
    azure = azure_address(path)
    if azure is not None:
        return azure.path if azure.is_api or _has_api_root(azure.path) else None
    plain = plain_path(path)
    return None if plain == path or plain.startswith(AZURE_ROOT) else api_path(plain)


def _has_api_root(path: str) -> bool:
    return path[1:].partition("/")[0] in API_ROOTS


def split_words(text: str) -> list[str]:
    """Cut a text into the pieces that a stream sends: words with the white space behind. Joined they are the text."""
    if text.isspace():
        return [text]
    if len(text) > COUNTED_AT_ONCE:
        return list(words_of(text))
    # The long pattern takes 2 ms to compile, so it is compiled when a text first needs it.
    return _ASCII_WORD.findall(text) if text.isascii() else re.findall(_WORD, text)


def words_of(text: str) -> typing.Iterator[str]:
    """Give the pieces of `split_words` one by one; of a long text others have their turns in between."""
    if text.isspace():
        yield text
        return
    pattern = _ASCII_WORD if text.isascii() else re.compile(_WORD)
    for number, word in enumerate(pattern.finditer(text)):
        if not number % _WORDS_A_CHARGE:
            spend_turn(_WORDS_STEPS)
        yield word[0]


def count_words(text: str) -> int:
    """Count the words of a text: what str.split makes of it, without a list as large as a long text."""
    if len(text) <= COUNTED_AT_ONCE:
        return len(text.split())
    words = 0
    for start in range(0, len(text), COUNTED_AT_ONCE):
        spend_turn(COUNTED_AT_ONCE // 50)
        words += len(text[start : start + COUNTED_AT_ONCE].split())
        # A word that goes on behind the cut is counted twice.
        words -= bool(start) and not text[start - 1].isspace() and not text[start].isspace()
    return words


def model_object(id: str, created: int, owner: str) -> JsonObject:
    """Return a model as `GET /v1/models` lists it."""
    return {"id": id, "object": "model", "created": created, "owned_by": owner}


def model_list(models: typing.Iterable[JsonObject]) -> JsonObject:
    """Return the answer of `GET /v1/models`."""
    return {"object": "list", "data": list(models)}
