"""A conversation over a WebSocket: frames in, a talk's events out as messages, no faster than the client reads.

Theory of operation. The body of the 101 answer is a WebSocketBody, from which the server pulls our messages one by one.
While a message of ours has not left, nothing of the client's is read; and each message of the client's is answered
before the next one is looked at. So neither side can make the other hold more than the answer to one message. When
there is nothing to answer, the body waits for whichever comes first: the client's next bytes, or the time at which the
talk's next step is due by the pace of the mock's words. If both are there, the client comes first.

Memory. What a conversation holds is counted in the server's account (protocol/held_bytes.py): the message under way,
what the talk keeps, and the answer until it is out. A message that finds no room is answered with an error, and the
conversation goes on; it may clear what it holds. Where something has come or was said already and there is no room for
it, the conversation is closed (1013: try again later).
"""

from __future__ import annotations

import asyncio
import functools
import sys
import typing

from protocol.budget import is_in_turns, spend_turn
from protocol.errors import ApiError
from protocol.exchange import LONG_BODY, Request, Response
from protocol.mock.engine.world import World
from protocol.openai.api.checks import InvalidParameter, a_string, missing_parameter
from protocol.openai.long_json import encode_long_json
from protocol.turns import in_turns
from protocol.wire.gathering import joined
from protocol.wire.http1.messages import NEED_DATA
from protocol.wire.json_text import JsonObject, encode_json, parse_json
from protocol.wire.long_json import value_bytes
from protocol.wire.websocket import (
    BinaryMessage,
    Close,
    FrameEvent,
    FrameReader,
    Ping,
    Pong,
    TextMessage,
    WebSocketError,
    encode_close,
    encode_pong,
    encode_text,
    handshake_fields,
)

Events = typing.List[JsonObject]

# What comes is looked at in pieces, between which others have their turns: a frame may have a byte. What a frame that
# has begun is still to have is no more than one piece.
_LOOKED_AT_BYTES = 2048

# Once so many bytes were said to us, what they say may take long to answer, however short the next message is.
_LONG_TALK = 16384
# By where a message says that it is more of something, such as sound, of which there is much in a usual talk.
_KIND_WITHIN = 200

# Without a pace, steps are joined to pieces of about so many bytes.
_STEPS_BYTES = 65536

# How often what an answer shows is in memory at most while that is made: in base64, as JSON, framed, and joined.
_COPIES = 4
# What a turn takes besides what it was asked with (CPython 3.9; 6,500 on 3.11).
_TURN_BYTES = 8000


class SocketTalk:
    """Our side of a conversation over a WebSocket, without a clock: what is answered to what."""

    #: How many seconds the conversation may last.
    longest_seconds = 3600
    #: Whether the conversation is over, so that the connection closes (1000).
    is_over = False

    @property
    def takes_long(self) -> bool:
        """Whether the next step is made in turns with everybody else."""
        return False

    @property
    def opens_long(self) -> bool:
        """Whether what is said first is made in turns with everybody else."""
        return False

    @property
    def held_bytes(self) -> int:
        """About how many bytes of memory what was said so far is kept in."""
        return 0

    def shown_bytes(self, message: JsonObject) -> int:
        """Return about how many bytes of what is kept the answer to a message shows."""
        return 0

    def open(self) -> Events:
        """Return what is said first."""
        return []

    def receive(self, message: JsonObject) -> Events:
        """Return what is said to a message of the client. Of an ApiError the client gets what `error` returns."""
        raise NotImplementedError

    def error(self, error: ApiError, message: JsonObject | None) -> JsonObject:
        """Return the event that tells of an error; `message` is None where what came was not a JSON object."""
        raise NotImplementedError

    def expired(self) -> Events:
        """Return what is said when the conversation has lasted for `longest_seconds`."""
        return []

    def pace(self) -> tuple[object, float] | None:
        """Return what has the next step, and how many seconds after the last one it is due; None where nothing has."""
        return None

    def step(self) -> Events:
        """Return what is said with the next step."""
        return []

    def end(self) -> None:
        """Forget what is left to say: the conversation is over."""


#: Yields what goes out before each next word is due, and returns what goes out at the end.
TurnFrames = typing.Generator[Events, None, Events]


class Turn:
    """Something that is said a word at a time. `asked_bytes` is what it was asked with, in memory."""

    __slots__ = ("asked_bytes", "frames", "has_begun", "takes_long", "wait", "waits")

    def __init__(self, frames: TurnFrames, *, takes_long: bool = False, asked_bytes: int = 0) -> None:
        self.frames = frames
        self.asked_bytes = asked_bytes
        #: Whether much has to be made for the first word.
        self.takes_long = takes_long
        #: Whether the first word is out.
        self.has_begun = False
        #: How many seconds to wait before each of its words, and before its next one; None until somebody asks.
        self.waits: typing.Iterator[float] | None = None
        self.wait: float | None = None


class TurnTalk(SocketTalk):
    """A talk that speaks in turns, one after the other, at the pace of the mock's words."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._turns: list[Turn] = []
        self._asked_bytes = 0  # of all turns

    @property
    def held_bytes(self) -> int:
        return self._asked_bytes + _TURN_BYTES * len(self._turns)

    def error(self, error: ApiError, message: JsonObject | None) -> JsonObject:
        id = message.get("event_id") if message is not None else None
        told = {**error.as_dict()["error"], "event_id": id if type(id) is str else None}
        return self._event("error", error=told)

    def expired(self) -> Events:
        minutes = f"Your session hit the maximum duration of {self.longest_seconds // 60} minutes."
        return [self.error(ApiError(400, minutes, code="session_expired"), None)]

    @property
    def takes_long(self) -> bool:
        return bool(self._turns) and self._turns[0].takes_long and not self._turns[0].has_begun

    def pace(self) -> tuple[object, float] | None:
        if not self._turns:
            return None
        turn = self._turns[0]
        if turn.waits is None:  # its time begins when it is its turn
            turn.waits = self._world.waits()
        if turn.wait is None:
            turn.wait = next(turn.waits)
        return turn, turn.wait

    def step(self) -> Events:
        turn = self._turns[0]
        turn.has_begun, turn.wait = True, None
        return self._next_frame(turn)

    def end(self) -> None:
        self._turns.clear()  # they refer back here

    def _event(self, type: str, **members: typing.Any) -> JsonObject:
        return new_event(self._world, type, **members)

    def _add_turn(self, turn: Turn, *, is_next: bool = False) -> Events:
        """Let a turn begin, behind the others or as the next one, and return its first events."""
        self._turns.insert(0 if is_next else len(self._turns), turn)
        self._asked_bytes += turn.asked_bytes
        return self._next_frame(turn)

    def _next_frame(self, turn: Turn) -> Events:
        try:
            return next(turn.frames)
        except StopIteration as end:
            self._turns.remove(turn)
            self._asked_bytes -= turn.asked_bytes
            last: Events = end.value
            return last

    def rest_of(self, turn: Turn) -> Events:
        """Return all that is left to say in a turn, which is over then."""
        events: Events = []
        while turn in self._turns:
            events += self._next_frame(turn)
        return events


def new_event(world: World, type: str, **members: typing.Any) -> JsonObject:
    """Return an event of the server's."""
    return {"type": type, "event_id": world.new_id("event_"), **members}


def event_type(message: JsonObject, known: typing.Iterable[str]) -> str:
    """Return the type of a client's event; ApiError 400 unless it is one of those that are known."""
    kind = message.get("type")
    try:
        if kind is None:
            raise missing_parameter("type")
        a_string(*known)(kind)
    except InvalidParameter as exc:
        if kind is not None:
            exc.steps.append("type")
        raise exc.as_error() from exc
    return kind


class OpenSockets:
    """The WebSockets that are open, which must close when the server goes away."""

    def __init__(self) -> None:
        self._bodies: set[WebSocketBody] = set()

    def answer(self, request: Request, talk: SocketTalk, world: World, subprotocol: str = "") -> Response:
        """Return the 101 that begins a talk; ApiError 503 where there is no room for one.

        The request's handshake must have been checked.
        """
        body = WebSocketBody(request, talk, world, self._bodies)
        return Response(101, handshake_fields(request.fields, subprotocol), body)

    def leave(self) -> None:
        """Let all of them close (1001: the server is going away)."""
        for body in list(self._bodies):
            body.leave()


class WebSocketBody:
    """The body of a 101: an asynchronous iterator over the bytes of our messages; `aclose` ends what it waits for."""

    def __init__(self, request: Request, talk: SocketTalk, world: World, open_bodies: set[WebSocketBody]) -> None:
        self._talk = talk
        self._world = world
        self._stay = request.stay()
        self._incoming = request.stream
        self._open_bodies = open_bodies
        self._reader = FrameReader("server")
        self._unread = b""  # has come, and waits to be looked at
        # How many bytes have been said to us: what is more of something, and all else.
        self._appended = self._heard = 0
        self._messages = self._converse()
        # What is waited for: the client's next bytes; the next step, and what has it; the order to close.
        self._arrival: asyncio.Future[bytes] | None = None
        self._due: asyncio.Future[object] | None = None
        self._due_for: object = None
        self._leaving: asyncio.Future[None] | None = None

    def __aiter__(self) -> WebSocketBody:
        return self

    async def __anext__(self) -> bytes:
        return await self._messages.__anext__()

    async def aclose(self) -> None:
        """End, and cancel what is waited for."""
        await self._messages.aclose()

    def leave(self) -> None:
        """Close, because the server is going away."""
        if self._leaving is not None and not self._leaving.done():
            self._leaving.set_result(None)

    async def _converse(self) -> typing.AsyncGenerator[bytes, None]:
        loop = asyncio.get_running_loop()
        self._leaving = loop.create_future()
        ends_at = loop.time() + self._talk.longest_seconds
        self._open_bodies.add(self)
        try:
            said = await in_turns(self._opening) if self._talk.opens_long else self._opening()
            self._heard += len(said)
            if said:
                yield said
            while True:
                said, goes_on = await self._next_answer()
                if goes_on and not self._has_room(said):
                    said, goes_on = self._last_word(), False
                if said:
                    yield said
                if not goes_on:
                    return
                if said:
                    await asyncio.sleep(0)  # a thousand messages may have come, and others want their turn
                    continue
                if self._leaving.done():
                    yield encode_close(1001, "The server is going away.")
                    return
                if loop.time() >= ends_at:
                    yield _messages(self._talk.expired()) + encode_close(1001, "The session has lasted long enough.")
                    return
                said = await self._step(ends_at - loop.time())
                if not self._has_room(said):
                    yield self._last_word()
                    return
                if said:
                    yield said
        finally:
            self._open_bodies.discard(self)
            self._talk.end()
            self._stay.become(0)
            await self._stop_waiting()

    # ---- what is held -------------------------------------------------------------------------------------------

    @property
    def _held_bytes(self) -> int:
        return self._talk.held_bytes + self._reader.held + len(self._unread)

    def _has_room(self, said: bytes) -> bool:
        """Count what is held now and what goes out, if there is room for it, and return whether there is."""
        return self._stay.may_become(self._held_bytes + len(said))

    def _make_room(self, size: int) -> None:
        """Count so many bytes more until the message under way is answered; ApiError 503 where there is no room."""
        if not self._stay.may_become(self._held_bytes + size):
            raise self._stay.refusal()

    def _last_word(self) -> bytes:
        error = self._talk.error(self._stay.refusal(), None)
        return _messages([error]) + encode_close(1013, "There is no room for what this session holds.")

    # ---- what the client says -----------------------------------------------------------------------------------

    async def _next_answer(self) -> tuple[bytes, bool]:
        """Answer the client's frames up to the first that has an answer. Return that answer, and whether to go on."""
        said, goes_on = b"", True
        while goes_on and not said:
            try:
                event = self._reader.next_event()
            except WebSocketError as exc:
                return encode_close(exc.code, exc.message), False
            if event is NEED_DATA:
                if not self._unread:
                    break
                self._look_at_more()
                await asyncio.sleep(0)
            elif self._takes_long(event):
                said, goes_on = await in_turns(functools.partial(self._answer, event))
            else:
                said, goes_on = self._answer(event)
        return said, goes_on

    def _takes_long(self, event: FrameEvent) -> bool:
        """Tell whether an event is to be answered in turns with everybody else, and count what it says."""
        if type(event) is not TextMessage:
            return False
        size = len(event.text)
        if '.append"' in event.text[:_KIND_WITHIN]:
            self._appended += size
            return size > LONG_BODY or self._heard > _LONG_TALK
        self._heard += size
        return self._heard + self._appended > _LONG_TALK

    def _answer(self, event: FrameEvent) -> tuple[bytes, bool]:
        if type(event) is TextMessage:
            said = _messages(self._answered(event.text))
            return (said + encode_close(1000), False) if self._talk.is_over else (said, True)
        if type(event) is Ping:
            return encode_pong(event.data), True
        if type(event) is Pong:
            return b"", True
        if type(event) is BinaryMessage:
            return encode_close(1003, "Events are JSON in messages of text, but a binary message came."), False
        return (encode_close(event.code) if type(event) is Close else b""), False

    def _answered(self, text: str) -> Events:
        message: typing.Any = None
        try:
            data, taken = text.encode("utf-8"), 0
            if len(data) > LONG_BODY:
                # As it came and as it is read, and what is kept and said of it has hardly more than what is read.
                taken = sys.getsizeof(text) + len(data) + 2 * value_bytes(data)
                self._make_room(taken)
            message = parse_json(data)
            if type(message) is not dict:
                raise ApiError(400, "An event must be a JSON object.", code="invalid_json")
            shown = _COPIES * self._talk.shown_bytes(message)
            if shown > LONG_BODY:
                self._make_room(taken + shown)
            return self._talk.receive(message)
        except ApiError as exc:
            return [self._talk.error(exc, message if type(message) is dict else None)]

    # ---- waiting ------------------------------------------------------------------------------------------------

    async def _step(self, seconds_left: float) -> bytes:
        """Wait for the client's next bytes, or until the talk's next step is due and return what it says."""
        if self._arrival is None:
            self._arrival = asyncio.ensure_future(_next_bytes(self._incoming))
        pace = self._talk.pace()
        if self._due is not None and (pace is None or pace[0] is not self._due_for):
            self._due.cancel()
            self._due = None
        if pace is not None and not pace[1]:
            await asyncio.sleep(0)  # a turn of the loop, in which the client's bytes are seen
            if self._take_arrival():
                return b""
            if self._step_takes_long:
                return await in_turns(self._said_in_step)
            return self._steps_without_pace()
        if pace is not None and self._due is None:
            self._due, self._due_for = asyncio.ensure_future(self._world.sleep(pace[1])), pace[0]
        waited = [future for future in (self._arrival, self._due, self._leaving) if future is not None]
        await asyncio.wait(waited, timeout=seconds_left, return_when=asyncio.FIRST_COMPLETED)
        if self._take_arrival() or self._due is None or not self._due.done():
            return b""
        self._due = None
        return await in_turns(self._said_in_step) if self._step_takes_long else self._said_in_step()

    @property
    def _step_takes_long(self) -> bool:
        return self._talk.takes_long or self._heard > _LONG_TALK

    def _opening(self) -> bytes:
        return _messages(self._talk.open())

    def _said_in_step(self) -> bytes:
        return _messages(self._talk.step())

    def _take_arrival(self) -> bool:
        """Feed the client's bytes to the reader, and return whether any had come."""
        if self._arrival is None or not self._arrival.done():
            return False
        arrival, self._arrival = self._arrival, None
        self._unread = arrival.result()
        self._look_at_more()
        return True

    def _look_at_more(self) -> None:
        """Feed the reader with some of what has come; b"" is the client's last."""
        size = max(_LOOKED_AT_BYTES, self._reader.missing)
        data, self._unread = self._unread[:size], self._unread[size:]
        self._reader.feed(data)

    def _steps_without_pace(self) -> bytes:
        said = bytearray()
        while len(said) < _STEPS_BYTES:
            pace = self._talk.pace()
            if pace is None or pace[1] or self._talk.takes_long:
                break
            said += self._said_in_step()
        return bytes(said)

    async def _stop_waiting(self) -> None:
        waited = [future for future in (self._arrival, self._due) if future is not None]
        for future in waited:
            future.cancel()
        await asyncio.gather(*waited, return_exceptions=True)


async def _next_bytes(incoming: typing.AsyncIterator[bytes] | None) -> bytes:
    """Return the client's next bytes, b"" when it has sent its last."""
    if incoming is None:
        return b""
    async for data in incoming:
        return data
    return b""


def _messages(events: Events) -> bytes:
    said = []
    encode = encode_long_json if is_in_turns() else encode_json
    for event in events:
        spend_turn(10)
        said.append(encode_text(encode(event)))
    return joined(said)
