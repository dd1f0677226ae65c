"""What a request asks: the facts that rules are held against, whatever the API."""

from __future__ import annotations

import typing

from protocol.wire.json_text import JsonObject


class ToolOutput(typing.NamedTuple):
    """What a tool gave back; `name` is the tool's, "" where nobody knows it."""

    name: str
    text: str


class Line(typing.NamedTuple):
    """A line of a talk. `role` is system, user, assistant or tool; `name` is the tool's that a result is of."""

    role: str
    text: str
    name: str = ""


class Talk(typing.NamedTuple):
    """What has been said so far.

    `turn` is how often the model has spoken. `results` are those that came since: what it is asked to go on from. They
    count also where the client has put a text of the user's behind them, as some do.
    """

    user: str = ""
    system: str = ""
    texts: typing.Sequence[str] = ()
    results: typing.Sequence[ToolOutput] = ()
    turn: int = 0


def talk_of(lines: typing.Iterable[Line], *, joins_turns: bool = False) -> Talk:
    """Return what lines say, the oldest first.

    With `joins_turns` neighbouring lines of the model's are one turn, as the items are that a response consists of.
    """
    user, turn, was_model = "", 0, False
    told: list[str] = []
    texts: list[str] = []
    results: list[ToolOutput] = []
    for role, text, name in lines:
        if text:
            texts.append(text)
        is_model = role == "assistant"
        if is_model:
            turn += not (was_model and joins_turns)
            results = []
        elif role == "tool":
            results.append(ToolOutput(name, text))
        elif role == "user":
            user = text
        else:
            told.append(text)
        was_model = is_model
    return Talk(user, "\n".join(told), texts, results, turn)


def _no_field(name: str) -> str:
    return ""


class Asked(typing.NamedTuple):
    """The facts of a request.

    `endpoint` is the place's name (places.py); `is_socket` says that it answers over a WebSocket. `header` gives a
    field by its name in small letters, "" for none. `tools` are the names of those that are offered. `body` is the
    request's JSON, or its form's texts.
    """

    endpoint: str
    model: str = ""
    talk: Talk = Talk()
    tools: typing.Sequence[str] = ()
    header: typing.Callable[[str], str] = _no_field
    key: str = ""
    stream: bool = False
    body: JsonObject = {}
    is_socket: bool = False
