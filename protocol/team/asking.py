"""What a request asks for, as far as it is counted: its model, about how many tokens, whether it makes any."""

from __future__ import annotations

import re
import typing

from protocol.openai.answers import api_path
from protocol.openai.request_path import plain_path

# Where something is made that has tokens, and a price. All else only looks after what there is, or is free.
_MAKES = re.compile(
    r"/(?:chat/completions|completions|embeddings|responses(?:/compact)?|images/[a-z]+|audio/[a-z]+"
    r"|(?:threads/[^/]+|threads)/runs|threads/[^/]+/runs/[^/]+/submit_tool_outputs|videos|realtime(?:/calls)?|live"
    r"|agents/.+|rerank|reranks)"
)
# Of these a stream does not tell what it was unless it is asked to.
_SILENT = ("/chat/completions", "/completions")

_SESSION = re.compile(r"/s/[^/]+(?=/)")

_LENGTH_PARAMETERS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
_TEXT_PARAMETERS = ("messages", "input", "prompt", "instructions", "tools", "texts", "contents")
_MOST_CHOICES = 128
_MOST_PARTS = 100_000  # of a prompt that are looked at
#: A token has about so many characters in most texts.
_CHARACTERS_A_TOKEN = 4
# OpenAI, "Images and vision": 85 and 170 a tile of 512 pixels, four tiles for a usual picture; what is no text is
# counted as one.
_PICTURE_TOKENS = 765
_MOST_TEXT = 1_000_000


class Asking(typing.NamedTuple):
    """How a request is counted.

    `makes_tokens` says that its answer is paid for. A stream at a `silent` path tells its usage only when it is asked.
    """

    path: str
    makes_tokens: bool
    is_silent: bool


def asking_of(path: str, method: str) -> Asking | None:
    """Return how a request is counted, by its head; None for one that asks no API."""
    session = _SESSION.match(path)
    inner = path[session.end() :] if session else path
    if inner.startswith("/api/"):  # DashScope's own
        return Asking(inner, method == "POST" and "/services/" in inner, False)
    if plain_path(inner) == "/":
        return Asking("/chat/completions", True, True) if method == "POST" else None
    found = api_path(inner)
    if found is None:
        return None
    plain = plain_path(found)
    # A WebSocket is opened by GET.
    makes = _MAKES.fullmatch(plain) is not None and (method == "POST" or plain in ("/realtime", "/live"))
    return Asking(plain, makes, plain in _SILENT)


def estimate_prompt(body: bytes, value: typing.Any) -> int:
    """Return about how many tokens a request's prompt has; `value` is its JSON, None for another body."""
    if type(value) is not dict:
        return 0
    if len(body) <= 4_096:
        return len(body) // _CHARACTERS_A_TOKEN + 1
    characters = pictures = 0
    parameters = value.get("parameters")
    waiting = [value.get(name) for name in _TEXT_PARAMETERS]
    if type(parameters) is dict:
        waiting.append(parameters)
    for _ in range(_MOST_PARTS):
        if not waiting:
            break
        part = waiting.pop()
        if type(part) is str:
            if part.startswith("data:") or len(part) > _MOST_TEXT:
                pictures += 1
            else:
                characters += len(part)
        elif type(part) is list:
            if part and type(part[0]) is int:  # tokens
                characters += len(part) * _CHARACTERS_A_TOKEN
            else:
                waiting += part
        elif type(part) is dict:
            waiting += part.values()
    return characters // _CHARACTERS_A_TOKEN + pictures * _PICTURE_TOKENS + 1


def most_tokens(value: typing.Any) -> int:
    """Return how many tokens a request lets its answer have, 0 where it does not say."""
    if type(value) is not dict:
        return 0
    for name in _LENGTH_PARAMETERS:
        length = value.get(name)
        if type(length) is int and length > 0:
            choices = value.get("n")
            return length * (choices if type(choices) is int and 1 <= choices <= _MOST_CHOICES else 1)
    parameters = value.get("parameters")
    return most_tokens(parameters) if type(parameters) is dict and "parameters" not in parameters else 0
