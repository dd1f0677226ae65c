"""Where a script speaks, and what can be said in each place.

A place is an endpoint by its short name. What it can say follows from OpenAI's API: a speech has no tool calls.
"""

from __future__ import annotations

import typing

#: What an answer may have, by the names that a script has for it.
SAYABLE = ("text", "json", "tools", "reasoning", "refusal", "usage", "finish", "error", "raw", "route")

_WORDS = ("text", "json", "tools", "usage", "finish", "error")
_WHOLE = ("raw", "route")  # an HTTP answer that is not made here

#: By endpoint, what it can say. Over a WebSocket nobody can say what is a whole HTTP answer.
PLACES: typing.Mapping[str, frozenset[str]] = {
    "chat": frozenset(SAYABLE),
    "completions": frozenset(("text", "json", "usage", "finish", "error", *_WHOLE)),
    "responses": frozenset(SAYABLE),
    "realtime": frozenset(_WORDS),
    "runs": frozenset(_WORDS),
    "agents": frozenset(_WORDS) - {"finish"},
    "dashscope": frozenset((*_WORDS, "reasoning", *_WHOLE)),
    "transcriptions": frozenset(("text", "json", "error", *_WHOLE)),
    "images": frozenset(("error", *_WHOLE)),
    "speech": frozenset(("error", *_WHOLE)),
    "embeddings": frozenset(("error", *_WHOLE)),
}


def unsayable(endpoint: str, said: typing.Collection[str], *, is_socket: bool = False) -> str:
    """Return the first of what is to be said that a place cannot say, "" where it can say all of it."""
    sayable = PLACES[endpoint]
    return next((what for what in said if what not in sayable or (is_socket and what in _WHOLE)), "")
