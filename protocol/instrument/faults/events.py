"""A stream cut into its events, without losing a byte; and what an event means, whoever's shape it has.

Joined together the events of a stream are the stream again. An event is read only when somebody asks what it says, and
written anew only where that is changed: what a fault does not touch goes on byte for byte.

Four shapes are known (kinds.Shape). What a token is follows from the event itself and from no address, so that it holds
for the mock, for any upstream, and for either's WebSockets:

    chat        a chunk of choices with a `delta` that has text, a refusal, reasoning or arguments
    completion  a chunk of choices with a `text`
    typed       an event whose type ends in ".delta", or an object of a run of which that is so
    native      DashScope's `output`, with text or arguments
"""

from __future__ import annotations

import json
import re
import typing

from protocol.instrument.faults.kinds import Shape
from protocol.wire.json_text import JsonObject, encode_json
from protocol.wire.sse import DONE

# HTML standard §9.2.5: a line ends with CR LF, LF or CR; an empty line ends an event.
_EVENT_END = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r(?!\n|\Z))")
_DATA_LINE = re.compile(rb"(?m)^data: ?([^\r\n]*)")
_NAME_LINE = re.compile(rb"(?m)^event: ?([^\r\n]*)")

#: An event that is longer is passed on as it comes, and not looked into: to read it would keep others waiting.
MOST_EVENT_BYTES = 1_000_000

_FINISHING_TYPES = frozenset(
    "response.completed response.incomplete response.failed response.done"
    " transcript.text.done speech.audio.done image_generation.completed image_edit.completed"
    " agent.session.turn.completed agent.session.turn.failed agent.session.turn.cancelled".split()
)
# A run's events hold no type: they tell of objects (API reference, Assistants, "Streaming events").
_RUN_OBJECTS = "thread."
_RUN_ENDS = frozenset(("completed", "incomplete", "failed", "cancelled", "expired"))

# RFC 6455 §5.2.
_FIN, _TEXT, _MASK = 0x80, 1, 0x80


class Event:
    """One event of a stream: `raw` is all of it. Subclasses say how what it holds is found in `raw`, and put there."""

    __slots__ = ("_value", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self._value: typing.Any = self  # until somebody asks

    @property
    def value(self) -> JsonObject | None:
        """The JSON object that it holds, None where it holds none."""
        if self._value is self:
            try:
                value = json.loads(self._data()) if len(self.raw) <= MOST_EVENT_BYTES else None
            except (ValueError, RecursionError):
                value = None
            self._value = value if type(value) is dict else None
        return typing.cast(typing.Optional[JsonObject], self._value)

    def _data(self) -> bytes:
        return b""

    def holding(self, data: bytes) -> bytes:
        """Return the bytes of the same event that holds other data."""
        raise NotImplementedError

    @property
    def shape(self) -> Shape | None:
        """Whose shape it has, None for none that is known."""
        return shape_of(self.value)

    @property
    def is_done(self) -> bool:
        """Whether it is the event that ends OpenAI's streams of chunks."""
        return False

    @property
    def is_event(self) -> bool:
        """Whether it counts as one: a comment does not, nor does a WebSocket's control frame."""
        return False


class ServerSentEvent(Event):
    """An event of an event stream, with the empty line that ends it; a comment alone is one that is none."""

    __slots__ = ()

    def _data(self) -> bytes:
        return b"\n".join(_DATA_LINE.findall(self.raw))

    def holding(self, data: bytes) -> bytes:
        """Return the bytes of the same event that holds other data, which is one line."""
        first = _DATA_LINE.search(self.raw)
        if first is None:
            return self.raw
        rest = re.sub(rb"(?m)^data:[^\r\n]*(?:\r\n|\r|\n)", b"", self.raw[first.end() :])
        return self.raw[: first.start(1)] + data + rest

    def named(self, name: bytes) -> ServerSentEvent:
        """Return the same event under another name, if it has one."""
        return ServerSentEvent(_NAME_LINE.sub(lambda match: match[0][: -len(match[1])] + name, self.raw, count=1))

    @property
    def name(self) -> str:
        """Its name, "" for none."""
        match = _NAME_LINE.search(self.raw)
        return match[1].decode("utf-8", "replace") if match else ""

    @property
    def is_done(self) -> bool:
        """Whether it is the event that ends OpenAI's streams of chunks."""
        return self._data() == DONE.encode()

    @property
    def is_event(self) -> bool:
        """Whether it has data; [DONE] has, and is none all the same."""
        return _DATA_LINE.search(self.raw) is not None and not self.is_done


class Message(Event):
    """A frame of a WebSocket that a server sends."""

    __slots__ = ("_head_size",)

    def __init__(self, raw: bytes, head_size: int) -> None:
        super().__init__(raw)
        self._head_size = head_size

    def _data(self) -> bytes:
        return self.raw[self._head_size :] if self.raw[0] == _FIN | _TEXT else b""

    def holding(self, data: bytes) -> bytes:
        """Return the bytes of the same message that holds other data."""
        return write_message(data)

    @property
    def is_event(self) -> bool:
        """Whether it is a whole message of text."""
        return self.raw[0] == _FIN | _TEXT


def write_message(data: bytes) -> bytes:
    """Return a server's message of text (RFC 6455 §5.2: not masked)."""
    size = len(data)
    if size < 126:
        return bytes((_FIN | _TEXT, size)) + data
    if size < 65536:
        return bytes((_FIN | _TEXT, 126)) + size.to_bytes(2, "big") + data
    return bytes((_FIN | _TEXT, 127)) + size.to_bytes(8, "big") + data


class EventCutter(typing.Protocol):
    """Cuts bytes into events, whatever pieces they come in."""

    def feed(self, data: bytes) -> list[Event]:
        """Take bytes and return the events that they finish."""

    def rest(self) -> bytes:
        """Return what is left at the stream's end, and keep nothing."""


class StreamCutter:
    """Cuts an event stream (HTML standard §9.2.5)."""

    def __init__(self) -> None:
        self._unfinished = bytearray()

    def feed(self, data: bytes) -> list[Event]:
        """Take bytes and return the events that they finish (EventCutter)."""
        unfinished = self._unfinished
        # Only the new bytes are searched, and the join: a long event in many pieces must not cost their square.
        at = max(0, len(unfinished) - 3)
        unfinished += data
        events: list[Event] = []
        begin = 0
        while True:
            match = _EVENT_END.search(unfinished, max(at, begin))
            if match is None:
                break
            events.append(ServerSentEvent(bytes(unfinished[begin : match.end()])))
            begin = match.end()
        del unfinished[:begin]
        if len(unfinished) > MOST_EVENT_BYTES:
            events.append(Event(self.rest()))
        return events

    def rest(self) -> bytes:
        """Return what is left (EventCutter)."""
        rest = bytes(self._unfinished)
        self._unfinished.clear()
        return rest


class MessageCutter:
    """Cuts what a server sends over a WebSocket into frames."""

    def __init__(self) -> None:
        self._unfinished = bytearray()

    def feed(self, data: bytes) -> list[Event]:
        """Take bytes and return the frames that they finish (EventCutter)."""
        unfinished = self._unfinished
        unfinished += data
        events: list[Event] = []
        begin = 0
        while True:
            size = self._frame_size(begin)
            if size is None or begin + size[0] + size[1] > len(unfinished):
                break
            end = begin + size[0] + size[1]
            events.append(Message(bytes(unfinished[begin:end]), size[0]))
            begin = end
        del unfinished[:begin]
        if len(unfinished) > MOST_EVENT_BYTES:
            events.append(Event(self.rest()))
        return events

    def _frame_size(self, begin: int) -> tuple[int, int] | None:
        """Return the sizes of the frame's head and payload that begins there, None while they cannot be told."""
        head = self._unfinished[begin : begin + 10]
        if len(head) < 2:
            return None
        size, head_size = head[1] & ~_MASK, 2 + (4 if head[1] & _MASK else 0)
        extended = {126: 2, 127: 8}.get(size, 0)
        if len(head) < 2 + extended:
            return None
        return head_size + extended, int.from_bytes(head[2 : 2 + extended], "big") if extended else size

    def rest(self) -> bytes:
        """Return what is left (EventCutter)."""
        rest = bytes(self._unfinished)
        self._unfinished.clear()
        return rest


# ---- what an event says -----------------------------------------------------------------------------------------


def shape_of(value: JsonObject | None) -> Shape | None:
    """Return whose shape a JSON object has, of an event or of a whole answer; None for none that is known."""
    if value is None:
        return None
    kind = value.get("object")
    if kind in ("chat.completion.chunk", "chat.completion"):
        return "chat"
    if kind == "text_completion":
        return "completion"
    if is_of_run(value):
        return "typed"
    if kind == "response" or (type(value.get("type")) is str and "." in value["type"]):
        return "typed"
    if type(value.get("output")) is dict and "request_id" in value:
        return "native"
    choices = value.get("choices")
    if type(choices) is list and "usage" in value and not choices:
        return "chat"
    if type(choices) is list and choices and type(choices[0]) is dict:
        return "completion" if "text" in choices[0] else "chat"
    return None


def is_of_run(value: JsonObject) -> bool:
    """Tell whether a JSON object is a thread, or what belongs to one: messages, runs and their steps."""
    kind = value.get("object")
    return type(kind) is str and kind.startswith(_RUN_OBJECTS)


def choices_of(value: JsonObject) -> list[JsonObject]:
    """Return the choices of a chunk or a completion, of OpenAI's or of DashScope's."""
    holder = value.get("output") if type(value.get("output")) is dict else value
    choices = holder.get("choices") if type(holder) is dict else None
    return [choice for choice in choices if type(choice) is dict] if type(choices) is list else []


_TEXTS = ("content", "refusal", "reasoning_content", "reasoning")


def brings_token(value: JsonObject | None) -> bool:
    """Tell whether an event brings a piece of what the model writes."""
    if value is None:
        return False
    kind, told = value.get("type"), value.get("object")
    if (type(kind) is str and kind.endswith(".delta")) or (type(told) is str and told.endswith(".delta")):
        return True
    output = value.get("output")
    if type(output) is dict and output.get("text"):
        return True
    for choice in choices_of(value):
        if choice.get("text"):
            return True
        said = choice.get("delta") or choice.get("message")
        if type(said) is dict and (any(said.get(name) for name in _TEXTS) or _brings_arguments(said)):
            return True
    return False


def _brings_arguments(said: JsonObject) -> bool:
    calls = said.get("tool_calls")
    functions = [call.get("function") for call in calls if type(call) is dict] if type(calls) is list else []
    functions.append(said.get("function_call"))
    if type(said.get("audio")) is dict and (said["audio"].get("data") or said["audio"].get("transcript")):
        return True
    return any(type(function) is dict and function.get("arguments") for function in functions)


def finishes(value: JsonObject | None) -> bool:
    """Tell whether an event says why the model has ended."""
    if value is None:
        return False
    output = value.get("output")
    if type(output) is dict and output.get("finish_reason") not in (None, "null"):
        return True
    if value.get("object") == "thread.run" and value.get("status") in _RUN_ENDS:
        return True
    return value.get("type") in _FINISHING_TYPES or any(
        choice.get("finish_reason") not in (None, "null") for choice in choices_of(value)
    )


def encode(value: JsonObject) -> bytes:
    """Return a value as the data of an event."""
    return encode_json(value)
