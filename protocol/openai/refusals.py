"""How a request is refused for which there is no endpoint: the wording is one, whoever finds that out.

Most of these requests come from a client whose base URL is not what it should be, or that asks whether somebody else's
API is here. The error says then what is meant, or what to set.
"""

from __future__ import annotations

import re
import typing

from protocol.errors import ApiError
from protocol.exchange import Request
from protocol.openai.answers import API_ROOTS

# RFC 9110 §9.3 and RFC 5789, without CONNECT, which is for proxies.
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")

# A pattern is compiled when a path is refused, so that no start pays for it. The first that fits the whole path counts.
_OTHER_APIS = (
    (
        r"/api/(?:tags|chat|generate|show|ps|version|embed|embeddings|pull|push|create|copy|delete|blobs/.*)/?",
        "This is a path of Ollama's API, which is not spoken here: choose an OpenAI-compatible provider in the client,"
        " with a base URL that ends with /v1.",
    ),
    (
        r"(?:.*/)?(?:messages(?:/count_tokens|/batches.*)?|complete)/?",
        "This is a path of Anthropic's API, which is not spoken here: choose an OpenAI-compatible provider in the"
        " client, with a base URL that ends with /v1.",
    ),
    (
        r"/v1(?:beta|alpha)?/(?:models|tunedModels)/[^/]+:\w+",
        "This is a path of Gemini's API, which is not spoken here: choose an OpenAI-compatible provider in the client,"
        " with a base URL that ends with /v1.",
    ),
    (
        r"/v1/openai(?:/.*)?",
        "Azure's paths begin at the root here: the client's endpoint must not have the /v1.",
    ),
)  # fmt: skip

# What users paste for a base URL, and what clients put behind it.
_PASTED_ENDPOINT = (
    r"(?:/v1)?(/(?:chat/)?completions|/responses|/embeddings|/images/generations|/audio/speech|/models)(/.+)"
)


def unknown_url(request: Request) -> ApiError:
    """Return the error for a path that the API does not have, in OpenAI's words; 501 for a method that nobody has."""
    return unknown_method(request) or _with_hint(f"Invalid URL ({request.method} {request.path})", request.path)


def unknown_door(request: Request, doors: typing.Container[str] = ()) -> ApiError:
    """Return the error for a path outside the API that nobody answers; it says where to look.

    `doors` are the paths that the service answers itself. It is a 501 for a method that nobody has.
    """
    unknown = unknown_method(request)
    if unknown is not None:
        return unknown
    message = f"Unknown request URL: {request.method} {request.path}. GET / says what there is."
    if request.path.rstrip("/") in doors:
        return ApiError(404, f"{message} There is {request.path.rstrip('/')}, without the slash.", code="unknown_url")
    return _with_hint(message, request.path)


def _with_hint(message: str, path: str) -> ApiError:
    hint = path_hint(path)
    if hint and not message.endswith("."):
        message += "."
    return ApiError(404, f"{message} {hint}".rstrip(), code="unknown_url")


def path_hint(path: str) -> str:
    """Return a sentence that leads from a path that nobody answers to what is meant, "" where that cannot be told."""
    for pattern, words in _OTHER_APIS:
        if re.fullmatch(pattern, path):
            return words
    pasted = re.fullmatch(_PASTED_ENDPOINT, path)
    if pasted is not None and _begins_with_root(pasted[2]):
        return f"The client's base URL should end with /v1, and not with {pasted[1]}: /v1{pasted[2]} is meant."
    if _begins_with_root(path.removeprefix("/v1")):
        return ""
    begun = re.search(rf"(?:/v1)?(/(?:{'|'.join(sorted(API_ROOTS))})(?:/.*)?)\Z", path)
    return "" if begun is None else f"The client's base URL should end with /v1 only: /v1{begun[1]} is meant."


def _begins_with_root(path: str) -> bool:
    return path[1:].partition("/")[0] in API_ROOTS


def method_not_allowed(request: Request, methods: typing.Iterable[str]) -> ApiError:
    """Return the error for a path that has other methods, which `allow` names (RFC 9110 §15.5.6), and OPTIONS.

    It is a 501 for a method that nobody has.
    """
    return unknown_method(request) or ApiError(
        405, f"Not allowed to {request.method} on {request.path}.", code="method_not_allowed",
        fields=[("allow", ", ".join([*methods, "OPTIONS"]))],
    )  # fmt: skip


def unknown_method(request: Request) -> ApiError | None:
    """Return the error for a method that is not implemented at any path (RFC 9110 §9.1), None for any other."""
    if request.method in _METHODS:
        return None
    return ApiError(
        501, f"The method {request.method[:100]!r} is not implemented here: this is no proxy, and the API has"
        f" {', '.join(_METHODS)}.", code="method_not_implemented",
    )  # fmt: skip


def unknown_model(id: str) -> ApiError:
    """Return the error for a model that nobody has, in OpenAI's words."""
    return ApiError(404, f"The model '{id[:100]}' does not exist.", param="model", code="model_not_found")
