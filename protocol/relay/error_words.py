"""What an upstream's error says of itself: the words by which the retry law tells one from another.

They stand in different places: OpenAI's API has `code` and `type` in an `error` object, others have them beside it, or
nothing but a message. A body that is not understood says nothing, and then its status alone decides.
"""

from __future__ import annotations

import re
import typing

from protocol.errors import ApiError
from protocol.on_demand import load
from protocol.wire.http1.messages import Fields
from protocol.wire.json_text import parse_json

#: There is no such model here, whatever this upstream calls that.
NO_MODEL = "model_not_found"

# vLLM, Ollama and llama.cpp's servers have a message alone, or a type that says the same of any path.
_NO_MODEL_MESSAGE = r"(?is)\bmodel\b.{0,300}?\b(?:not found|not exist|unknown)\b"

# An error is a few hundred bytes; one that decodes to more than this is not looked at.
_MOST_DECODED_BYTES = 256 * 1024


def error_words(fields: Fields, body: bytes) -> frozenset[str]:
    """Return the code and the type of an error's body, in lower case; NO_MODEL also where its message alone says so."""
    coding = fields.get("content-encoding")
    try:
        if coding:
            (decode_content,) = load("encoded body")
            body = decode_content(coding, body, _MOST_DECODED_BYTES)
        value = parse_json(body)
    except ApiError:
        return frozenset()
    if not isinstance(value, dict):
        return frozenset()
    error = value.get("error")
    places: tuple[dict[str, typing.Any], ...] = (error, value) if isinstance(error, dict) else (value,)
    named = [place.get(name) for place in places for name in ("code", "type")]
    words = {word.lower() for word in named if isinstance(word, str)}
    messages = [error, *(place.get("message") for place in places)]
    if any(isinstance(message, str) and re.search(_NO_MODEL_MESSAGE, message) for message in messages):
        words.add(NO_MODEL)
    return frozenset(words)


def begins_with_error(event: str | None, data: str) -> bool:
    """Tell whether an event, of that name and data, says that there will be no answer."""
    if event == "error":
        return True
    if '"error"' not in data:
        return False
    try:
        value = parse_json(data.encode("utf-8", "replace"))
    except ApiError:
        return False
    return isinstance(value, dict) and bool(value.get("error") or value.get("type") == "error")
