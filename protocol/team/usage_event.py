"""The usage of a stream whose client did not ask for it: asked for at the upstream, and taken out on the way back.

A chat completion or a completion that is streamed tells its usage only where `stream_options.include_usage` is true.
Then an event comes before the end whose `choices` are empty. OpenAI API reference, "Chat", `stream_options`.
"""

from __future__ import annotations

import re
import typing

from protocol.exchange import Around, Body, Paced, Pushed, Sink, Verbatim
from protocol.openai.long_json import encode_long_json
from protocol.wire.json_text import JsonObject

_OPENING = re.compile(rb"[ \t\r\n]*\{[ \t\r\n]*")
_ASKED = b'"stream_options":{"include_usage":true},'
# An event with a usage and without choices, from the beginning of its line. Azure's first one has neither, and stays.
_EVENT = re.compile(
    rb'data:[ \t]*(?=\{)(?=[^\r\n]*"choices"[ \t]*:[ \t]*\[[ \t]*\])'
    rb'(?=[^\r\n]*"usage"[ \t]*:[ \t]*\{)[^\r\n]*(?:\n\n|\r\n\r\n|\r\r)'
)
_EMPTY = re.compile(rb'"choices"[ \t]*:[ \t]*\[[ \t]*\]')
_LINE_END = re.compile(rb"[\r\n]")
_EVENT_ENDS = (b"\n\n", b"\r\n\r\n", b"\r\r")
# An event is held until it is whole; a longer one is none that tells of usage, and passes as it comes.
_MOST_EVENT = 65_536


def asks_for_usage(chat: dict[str, typing.Any]) -> bool:
    """Tell whether a client that asks for a stream asks for its usage."""
    options = chat.get("stream_options")
    return type(options) is dict and options.get("include_usage") is True


def with_usage_asked(body: bytes, chat: dict[str, typing.Any]) -> tuple[dict[str, typing.Any], bytes]:
    """Return a JSON object and its text with the wish for usage; what else is written there stays byte for byte.

    Only an object with `stream_options` of its own is written anew.
    """
    options = chat.get("stream_options")
    asked = {**(options if type(options) is dict else {}), "include_usage": True}
    made = {**chat, "stream_options": asked}
    return made, with_wish(body, chat) or encode_long_json(made)


def with_wish(body: bytes, chat: JsonObject) -> bytes:
    """Return the text of a JSON object with the wish for usage put in front, b"" where it has to be written anew."""
    opening = _OPENING.match(body)
    if "stream_options" in chat or opening is None or not chat:
        return b""
    return body[: opening.end()] + _ASKED + body[opening.end() :]


def without_usage_event(body: Body) -> Body:
    """Return the body of an event stream without the event that tells its usage; others are as they were."""
    if isinstance(body, bytes):
        return _without_events(body)
    if isinstance(body, Paced):
        frames = [_without_events(frame) for frame in body.frames]
        return Paced([frame for frame in frames if frame], first_delay=body.first_delay, delay=body.delay)
    if isinstance(body, Pushed):
        return _PushedWithout(body)
    return body if isinstance(body, Verbatim) else _IteratorWithout(body)


def _without_events(block: bytes) -> bytes:
    """Return a part of a stream without such events; it begins where a line does.

    Only lines with empty choices are looked at, and each once: a search for events would stop at every byte, and an
    upstream may repeat a text that looks like a thousand of them.
    """
    empty = _EMPTY.search(block)
    kept, at, line = [], 0, 0
    while empty is not None:
        found = empty.start()
        line = max(block.rfind(b"\n", line, found) + 1, block.rfind(b"\r", line, found) + 1, line)
        event = _EVENT.match(block, line)
        if event is not None:
            kept.append(block[at:line])
            at = line = event.end()
        else:
            end = _LINE_END.search(block, empty.end())
            line = len(block) if end is None else end.end()
        empty = _EMPTY.search(block, line)
    return b"".join([*kept, block[at:]]) if kept else block


class EventTaker:
    """Takes the event out of a stream that comes in pieces. What it holds is a part of one event."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    def passes(self, data: bytes) -> bytes:
        """Return what may go on of what is held and `data`, perhaps b""."""
        block = self._held + data if self._held else data
        end = len(block)
        if not block.endswith(b"\n\n"):
            end = max(block.rfind(mark) + len(mark) if mark in block else 0 for mark in _EVENT_ENDS)
            if len(block) - end > _MOST_EVENT:
                end = len(block)
        self._held = block[end:]
        whole = block[:end]
        return _without_events(whole)

    def rest(self) -> bytes:
        """Return what is held at the end of the stream."""
        rest, self._held = self._held, b""
        return rest


class _PushedWithout(Around):
    """A body that sends itself."""

    __slots__ = ()

    def begin(self, sink: Sink) -> None:
        """Send to `sink` what the body sends, but for the event."""
        self._body.begin(_SinkWithout(sink))


class _SinkWithout:
    """Hands on what a body sends, but for the event (Sink)."""

    __slots__ = ("_sink", "_taker")

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._taker = EventTaker()

    def push(self, data: bytes) -> None:
        """Hand a piece on."""
        data = self._taker.passes(data)
        if data:
            self._sink.push(data)

    def end(self, data: bytes) -> None:
        """Hand the last piece on."""
        self._sink.end(self._taker.passes(data) + self._taker.rest())

    def fail(self, error: Exception) -> None:
        """Hand on that the body breaks off."""
        rest = self._taker.rest()
        if rest:
            self._sink.push(rest)
        self._sink.fail(error)


class _IteratorWithout:
    """A body that is iterated. It is no generator: what the server closes is the body itself, also unbegun."""

    __slots__ = ("_body", "_is_over", "_taker")

    def __init__(self, body: typing.AsyncIterator[bytes]) -> None:
        self._body = body
        self._taker = EventTaker()
        self._is_over = False

    def __aiter__(self) -> _IteratorWithout:
        return self

    async def __anext__(self) -> bytes:
        while not self._is_over:
            try:
                data = self._taker.passes(await self._body.__anext__())
            except StopAsyncIteration:
                self._is_over = True
                data = self._taker.rest()
            if data:
                return data
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Let the body give back what it holds."""
        close = getattr(self._body, "aclose", None)
        if close is not None:
            await close()
