"""The model in what a client says on a WebSocket, renamed as in any other request.

A realtime session begins with the model of its URL, but servers let a client name one later: in `session.update`, as a
member of the event or of its session. So what the client says is read message by message and said again, under masks of
our own. An event that may name a model is written anew, so that every reader finds one and the same in it; all others
go on as they are.
"""

from __future__ import annotations

import typing

from protocol.errors import ApiError
from protocol.openai.model_choice import ModelChoice
from protocol.wire.http1.messages import CLOSED, NEED_DATA
from protocol.wire.json_text import parse_json, write_json
from protocol.wire.websocket import (
    BinaryMessage,
    Close,
    FrameEvent,
    FrameReader,
    Ping,
    TextMessage,
    WebSocketError,
    encode_binary,
    encode_close,
    encode_ping,
    encode_pong,
    encode_text,
)

# An event that names a model is short; long ones hold sound, which has neither quotes nor escapes in it.
_MOST_EVENT_CHARACTERS = 1024 * 1024

_NOT_READABLE = 1008  # RFC 6455 §7.4.1: the message violates the endpoint's policy
_TOO_BIG = 1009
_NO_ROOM = 1013  # IANA's registry of close codes: try again later


async def with_renamed_session(
    stream: typing.AsyncIterator[bytes],
    choice: ModelChoice,
    new_mask: typing.Callable[[], bytes],
    may_hold: typing.Callable[[int], bool],
) -> typing.AsyncGenerator[bytes, None]:
    """Give what a client says, as a server reads it, with the choice of a model made in its events.

    `new_mask` returns 4 random bytes, fresh each time. `may_hold` is told how many bytes are held now, of a message
    while it comes and until the server has taken it, and tells whether there is room. What breaks the rules of
    WebSockets, what finds no room, and an event in which no model can be found for sure, ends it with a Close.
    """
    reader = FrameReader()
    try:
        async for data in stream:
            reader.feed(data)
            said: list[bytes] = []
            try:
                while True:
                    event = reader.next_event()
                    if event is NEED_DATA or event is CLOSED:
                        break
                    said.append(_said_again(event, choice, new_mask()))
                if not may_hold(reader.held + sum(map(len, said))):
                    said.clear()
                    raise WebSocketError(_NO_ROOM, "There is no room for this message: try again later.")
            except WebSocketError as exc:
                yield b"".join([*said, encode_close(exc.code, exc.message, new_mask())])
                return
            if said:
                yield _taken(said)
                may_hold(reader.held)
    finally:
        may_hold(0)


def _taken(said: list[bytes]) -> bytes:
    """Return what is said in one piece, of which nobody here has a copy while the server takes it."""
    whole = b"".join(said)
    said.clear()
    return whole


def with_model_in_session(body: bytes, choice: ModelChoice) -> bytes:
    """Return a JSON body with the choice made in the session that it describes, or the same object; ApiError 400."""
    text = body.decode("utf-8", "replace")
    try:
        renamed = renamed_event(text, choice).encode("utf-8", "backslashreplace")
    except WebSocketError as exc:
        raise ApiError(400, exc.message, code="invalid_json") from exc
    return body if renamed == body or parse_json(renamed) == parse_json(body) else renamed


def _said_again(event: FrameEvent, choice: ModelChoice, mask: bytes) -> bytes:
    if isinstance(event, TextMessage):
        return encode_text(renamed_event(event.text, choice), mask)
    if isinstance(event, BinaryMessage):
        return encode_binary(event.data, mask)
    if isinstance(event, Ping):
        return encode_ping(event.data, mask)
    if isinstance(event, Close):
        return encode_close(event.code, event.reason, mask)
    return encode_pong(getattr(event, "data", b""), mask)


def renamed_event(text: str, choice: ModelChoice) -> str:
    """Return a client's event with the choice made in it; WebSocketError where that cannot be done for sure."""
    if "\\u" not in text and '"model"' not in text.lower():
        return text
    if len(text) > _MOST_EVENT_CHARACTERS:
        raise WebSocketError(_TOO_BIG, f"An event that names a model has at most {_MOST_EVENT_CHARACTERS} characters.")
    try:
        event = parse_json(text.encode("utf-8", "backslashreplace"))
    except ApiError as exc:
        raise WebSocketError(_NOT_READABLE, "An event must be JSON.") from exc
    if not isinstance(event, dict):
        return text
    _rename_in(event, choice)
    for name, value in event.items():
        if name.lower() in ("session", "response") and isinstance(value, dict):
            _rename_in(value, choice)
    return write_json(event)


def _rename_in(place: dict[str, typing.Any], choice: ModelChoice) -> None:
    for name, value in place.items():
        if name.lower() == "model":
            sent = choice.sent(value if isinstance(value, str) else "")
            place[name] = sent or value
