"""The Responses API over a WebSocket: each message of the client asks for a response, whose stream's events come back.

Responses are made one after the other in the order of the messages, whatever lanes (`stream_id`) they are in. A
response may follow another of the same connection even if that one is not stored.

Source: OpenAI guide "WebSocket mode"; API reference, "Responses client events", beta's among them.
"""

from __future__ import annotations

from protocol.errors import ApiError
from protocol.mock.answer.spoken import Caller
from protocol.mock.engine.store import memory_size
from protocol.mock.engine.world import World
from protocol.mock.realtime.recent import RecentResponses
from protocol.mock.realtime.wire import Events, Turn, TurnFrames, TurnTalk, event_type
from protocol.mock.responses.memory import RESPONSES
from protocol.mock.responses.responses import Responses, may_paint
from protocol.wire.json_text import JsonObject

# How many responses may wait to be made, and how many contexts a connection remembers.
_MOST_WAITING_RESPONSES = 32
_MOST_RECENT_RESPONSES = 16

# The members of a message that are not for the response.
_SOCKET_MEMBERS = ("type", "stream_id", "event_id", "stream", "background")


class ResponsesTalk(TurnTalk):
    """A connection to the Responses API."""

    def __init__(self, world: World, caller: Caller | None = None) -> None:
        super().__init__(world)
        self._caller = caller
        self._responses = Responses(world)
        self._recent = RecentResponses(_MOST_RECENT_RESPONSES)
        self._told_bytes = 0  # of the response that is being told
        self._steers = 0
        self._injections = 0

    @property
    def held_bytes(self) -> int:
        return super().held_bytes + self._recent.held_bytes + self._told_bytes

    def receive(self, message: JsonObject) -> Events:
        kind = event_type(message, ("response.create", "response.steer", "response.inject"))
        if kind == "response.steer":
            return [self._refused_steer(message)]
        if kind == "response.inject":
            return [self._refused_injection(message)]
        if len(self._turns) >= _MOST_WAITING_RESPONSES:
            raise ApiError(
                429,
                f"At most {_MOST_WAITING_RESPONSES} responses can wait on one connection.",
                code="too_many_responses",
            )
        body = {name: value for name, value in message.items() if name not in _SOCKET_MEMBERS}
        self._world.check(self._world.reference.operation("POST /responses").body, body)
        frames = self._frames(message, body)
        return self._add_turn(Turn(frames, takes_long=may_paint(body), asked_bytes=memory_size(body)))

    def error(self, error: ApiError, message: JsonObject | None) -> JsonObject:
        told = {"type": "error", "status": error.status, "error": error.as_dict()["error"]}
        return {**told, **_lane(message or {})}

    def expired(self) -> Events:
        message = "The connection has been open for 60 minutes. Open a new one to go on."
        return [self.error(ApiError(400, message, code="websocket_connection_limit_reached"), None)]

    def _frames(self, message: JsonObject, body: JsonObject) -> TurnFrames:
        """Make a response when its turn has come, and tell its events a word at a time."""
        yield []
        try:
            events = self._responses.events(body, self._recent.chains, self._caller)
        except ApiError as exc:
            return [self.error(exc, message)]
        self._recent.note_new()
        self._told_bytes = memory_size(events)
        lane, has_word = _lane(message), False
        said: Events = []
        for event in events:
            if event["type"].endswith(".delta"):
                if has_word:
                    yield said
                    said = []
                has_word = True
            said.append({**event, **lane})
        self._told_bytes = 0
        return said

    def _refused_steer(self, message: JsonObject) -> JsonObject:
        """Return the event that refuses to steer a response: it was made at once, and is only told slowly."""
        self._steers += 1
        told = {name: message.get(name) for name in ("input", "previous_response_id")}
        error = {
            "type": "invalid_request_error", "code": "steering_not_supported",
            "message": "This server makes responses at once: none can be steered. Ask for a further response instead.",
        }  # fmt: skip
        return {"type": "response.steer.failed", "sequence_number": self._steers - 1, "steer": told, "error": error}

    def _refused_injection(self, message: JsonObject) -> JsonObject:
        """Return the event that gives back what came for a response that is no longer made: each is made at once."""
        self._injections += 1
        id = message.get("response_id")
        is_known = id in self._recent.chains or self._world.store.get(RESPONSES, str(id)) is not None
        code = "response_already_completed" if is_known else "response_not_found"
        reason = "has been completed already" if is_known else "is not there"
        error = {"code": code, "message": f"The response '{str(id)[:100]}' {reason}: ask for a further one instead."}
        return {
            "type": "response.inject.failed", "sequence_number": self._injections - 1, "response_id": id,
            "input": message.get("input"), "error": error, **_lane(message),
        }  # fmt: skip


def _lane(message: JsonObject) -> JsonObject:
    id = message.get("stream_id")
    return {"stream_id": id} if type(id) is str else {}
