"""What a request asks for, as far as it is counted: its model, about how many tokens, whether it makes any.

A key with models, tokens or a budget spends nothing uncounted. So what is not known here to be counted, or to be free,
is taken for something that spends: new paths of the API, what is done later, and what is done elsewhere, such as by
the keys that some paths hand out. Source: OpenAI API reference, all of its paths; `reference/` here has them.
"""

from __future__ import annotations

import re
import typing

from protocol.budget import spend_turn
from protocol.openai.answers import api_path
from protocol.openai.request_path import meant_path, plain_path

# Where something is made that has tokens, and a price.
_MAKES = re.compile(
    r"/(?:chat/completions|completions|embeddings|responses(?:/compact)?|images/(?:generations|edits|variations)"
    r"|audio/(?:speech|transcriptions|translations)|decisions|(?:threads/[^/]+|threads)/runs"
    r"|threads/[^/]+/runs/[^/]+/submit_tool_outputs|videos|rerank|reranks)"
)
# Of these a stream does not tell what it was unless it is asked to.
_SILENT = ("/chat/completions", "/completions")
# What costs nothing, or only its storage.
_FREE = re.compile(
    r"/(?:files|uploads(?:/[^/]+/(?:parts|complete|cancel))?|vector_stores(?:/.+)?|conversations(?:/.+)?"
    r"|skills(?:/.+)?|assistants(?:/[^/]+)?|threads(?:/[^/]+(?:/messages(?:/[^/]+)?|/runs/[^/]+(?:/cancel)?)?)?"
    r"|moderations|chat/completions/[^/]+|responses/(?:input_tokens|[^/]+/cancel)|batches/[^/]+/cancel"
    r"|evals(?:/[^/]+(?:/runs/[^/]+(?:/cancel)?)?)?|fine_tuning/(?:jobs/[^/]+/(?:cancel|pause)|alpha/graders/validate)"
    r"|audio/voice(?:s|_consents)(?:/[^/]+)?)"
)
# Where it is only asked what there is, or something is taken away.
_FREE_METHODS = ("GET", "HEAD", "DELETE")

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
#: Of how many bytes a body is whose tokens are reckoned by these alone.
SHORT_BODY = 4_096
_NO_MORE = object()


class Asking(typing.NamedTuple):
    """How a request is counted.

    `makes_tokens` says that its answer is paid for. A stream at a `silent` path tells its usage only when it is asked.
    `hides` says what its answer does not tell of what is spent: "usage", or "all", also for which model; "" nothing.
    """

    path: str
    makes_tokens: bool
    is_silent: bool = False
    hides: typing.Literal["", "usage", "all"] = ""


def asking_of(path: str, method: str, *, is_tunnel: bool = False) -> Asking | None:
    """Return how a request is counted, by its head; None for one that asks no API. A tunnel is a WebSocket."""
    session = _SESSION.match(path)
    inner = path[session.end() :] if session else path
    if inner.startswith("/api/"):  # DashScope's own
        return Asking(inner, method == "POST" and "/services/" in inner)
    if plain_path(inner) == "/":
        return Asking("/chat/completions", True, True) if method == "POST" else None
    found = api_path(inner)
    if found is None:
        return None
    plain = plain_path(found)
    if is_tunnel:  # the address of a realtime connection has its model; what is said in one is not read
        is_realtime = plain == "/realtime"
        return Asking(plain, is_realtime, hides="usage" if is_realtime else "all")
    if method in _FREE_METHODS:
        return Asking(plain, False)
    if _MAKES.fullmatch(plain):
        return Asking(plain, True, plain in _SILENT, "usage" if plain == "/videos" else "")
    return Asking(plain, False, hides="" if _FREE.fullmatch(meant_path(plain)) else "all")


def tells_later(path: str, value: typing.Any) -> bool:
    """Tell whether an answer comes before its work, and so without its usage; `value` is its request's JSON."""
    if path == "/responses":
        return type(value) is dict and bool(value.get("background"))
    return path.startswith("/threads") and not (type(value) is dict and value.get("stream") is True)


def estimate_prompt(body: bytes, value: typing.Any) -> int:
    """Return about how many tokens a request's prompt has; `value` is its JSON, None for another body."""
    if type(value) is not dict:
        return 0
    if len(body) <= SHORT_BODY:
        return len(body) // _CHARACTERS_A_TOKEN + 1
    characters = pictures = 0
    parameters = value.get("parameters")
    parts: list[typing.Any] = [value.get(name) for name in _TEXT_PARAMETERS]
    if type(parameters) is dict:
        parts.append(parameters)
    waiting: list[typing.Iterator[typing.Any]] = [iter(parts)]  # a list may be as long as the body
    for _ in range(_MOST_PARTS):
        if not waiting:
            break
        spend_turn(1)
        part = next(waiting[-1], _NO_MORE)
        if type(part) is str:
            if part.startswith("data:") or len(part) > _MOST_TEXT:
                pictures += 1
            else:
                characters += len(part)
        elif type(part) is list:
            if part and type(part[0]) is int:  # tokens
                characters += len(part) * _CHARACTERS_A_TOKEN
            else:
                waiting.append(iter(part))
        elif type(part) is dict:
            waiting.append(iter(part.values()))
        elif part is _NO_MORE:
            waiting.pop()
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
