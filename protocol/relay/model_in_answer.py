"""The model that an answer names, replaced by the one that was asked for (`model_in_answer = asked`).

It stands in the outermost object of an answer or an event, and in the response that an event of the Responses API tells
of. Nothing else is looked at, and not a byte is changed besides. An answer or an event that is larger than
`_MOST_HELD_BYTES`, or than there is room for in memory, goes on as it comes.
"""

from __future__ import annotations

import json
import re

from protocol.errors import ApiError
from protocol.exchange import Request
from protocol.on_demand import load
from protocol.relay.passage import EventPassage, Passage
from protocol.upstream.answer import UpstreamAnswer

_MOST_HELD_BYTES = 16 * 1024 * 1024

# The key of a nested object; inside a string its quotes would be escaped.
_RESPONSE = rb'"response"[ \t\r\n]*:[ \t\r\n]*(?=\{)'
_LINE_END = rb"[\r\n]"


def with_model(body: bytes, model: str) -> bytes:
    """Return a JSON object with `model` for the model that it names; what is none, or names none, as it came."""
    if b"model" not in body:
        return body
    _, named_models, _ = load("JSON to rename a model in")
    begin = 0
    models = named_models(body)
    if models == []:
        response = re.search(_RESPONSE, body)
        if response is not None:
            begin = response.end()
            models = named_models(body[begin:])
    value = json.dumps(model).encode("ascii")
    for named in reversed(models or ()):
        if named.model is not None:
            body = body[: begin + named.start] + value + body[begin + named.end :]
    return body


def named_whole(body: bytes, model: str) -> bytes:
    """Return a whole answer, JSON or events, that names `model`; any other body as it came."""
    if b"model" not in body:
        return body
    if body.lstrip()[:1] == b"{":
        return with_model(body, model)
    return _named_lines(body, model)


def _named_lines(lines: bytes, model: str) -> bytes:
    """Return lines of events with the model named; the last one may have no end."""
    pieces: list[bytes] = []
    at = 0
    for line_end in re.finditer(_LINE_END, lines):
        pieces += (_named_line(lines[at : line_end.start()], model), line_end[0])
        at = line_end.end()
    return b"".join([*pieces, _named_line(lines[at:], model)])


def _named_line(line: bytes, model: str) -> bytes:
    return b"data:" + with_model(line[5:], model) if line.startswith(b"data:") else line


class NamedBody(Passage):
    """A JSON answer that comes in pieces: held until it is whole."""

    __slots__ = ("_held", "_model", "_request")

    def __init__(self, answer: UpstreamAnswer, first: bytes, model: str, request: Request) -> None:
        super().__init__(answer, first)
        self._model = model
        self._request = request
        self._held: bytearray | None = bytearray()  # None once it is too large

    def _pass_on(self, data: bytes) -> None:
        held = self._held
        if held is None:
            super()._pass_on(data)
            return
        held += data
        if len(held) > _MOST_HELD_BYTES or not self._request.may_hold(len(data)):
            self._request.let_go(len(held) - len(data))
            self._held = None
            super()._pass_on(bytes(held))

    def _end(self, data: bytes) -> None:
        held, self._held = self._held, None
        super()._end(data if held is None else with_model(bytes(held) + data, self._model))

    def _break_off(self, error: ApiError) -> None:
        held, self._held = self._held, None
        if held:
            super()._pass_on(bytes(held))
        super()._break_off(error)


class NamedEvents(EventPassage):
    """An event stream; a line goes on when it is whole."""

    __slots__ = ("_counted", "_line", "_model", "_request")

    def __init__(self, answer: UpstreamAnswer, first: bytes, keepalive: float, model: str, request: Request) -> None:
        super().__init__(answer, first, keepalive)
        self._model = model
        self._request = request
        self._counted = 0  # bytes of the line
        self._line = bytearray()  # what has come of the last line

    def _pass_on(self, data: bytes) -> None:
        whole = self._named(data)
        if whole:
            super()._pass_on(whole)

    def _end(self, data: bytes) -> None:
        super()._end(self._named(data) + self._rest())

    def _break_off(self, error: ApiError) -> None:
        rest = self._rest()
        if rest:
            super()._pass_on(rest)
        super()._break_off(error)

    def _rest(self) -> bytes:
        rest, self._line = bytes(self._line), bytearray()
        self._count_no_line()
        return _named_line(rest, self._model)

    def _count_no_line(self) -> None:
        if self._counted:
            self._request.let_go(self._counted)
            self._counted = 0

    def _named(self, data: bytes) -> bytes:
        """Take bytes and return the lines that they complete."""
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        if not end:
            self._line += data
            if len(self._line) > _MOST_HELD_BYTES or not self._request.may_hold(len(data)):
                return self._rest()
            self._counted += len(data)
            return b""
        whole = bytes(self._line) + data[:end]
        self._line = bytearray(data[end:])
        self._count_no_line()
        return _named_lines(whole, self._model) if b"model" in whole else whole
