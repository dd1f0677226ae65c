"""Sessions of agents: what requests do with them. The turns in a session are in turns.py.

A request that asks for a stream has its turn at once, and gets all its events; where functions have to give results
first, the stream stays open until they have. Whoever listens to the events of a session gets them when they happen.
"""

from __future__ import annotations

import typing

from protocol.errors import ApiError
from protocol.exchange import Response
from protocol.mock.agents.agents import AGENTS
from protocol.mock.agents.environments import session_environment
from protocol.mock.agents.feed import SessionFeed
from protocol.mock.agents.turns import Turns
from protocol.mock.answer.spoken import Caller, caller_of
from protocol.mock.engine.resources import Handler, delete_object, give_object, page_of, update_object
from protocol.mock.engine.store import Record
from protocol.mock.engine.world import Call, World
from protocol.mock.unchecked import object_of, objects_of, without_nulls
from protocol.openai.answers import EVENT_STREAM_FIELDS
from protocol.wire.json_text import JsonObject
from protocol.wire.sse import encode_comment

SESSIONS = "/agents/sessions"

# The first bytes of a live stream, so that its head goes out before anything has happened.
_LISTENING = encode_comment("listening")
_TURN_BEGINS = b"event: agent.session.turn.created\n"
_WORD = b"event: agent.session.turn.output_text.delta\n"


class Sessions:
    """The family of /agents/sessions."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._turns = Turns(world)

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by operation."""
        session = f"{SESSIONS}/{{session_id}}"
        return {
            f"POST {SESSIONS}": self.create,
            f"GET {SESSIONS}": self.list_sessions,
            f"POST {session}": self.update,
            f"DELETE {session}": self.delete,
            f"POST {session}/events": self.send,
            f"GET {session}/events": self.listen,
            f"GET {session}/turns/{{turn_id}}": self.turn,
            f"GET {session}/turns/{{turn_id}}/items": self.turn_items,
        }

    # ---- sessions and turns -------------------------------------------------------------------------------------

    def create(self, call: Call) -> JsonObject | Response:
        """Answer POST /agents/sessions."""
        session = self.open(call.body, caller_of(call.request), is_streamed=call.body.get("stream") is True)
        if call.body.get("stream") is not True:
            return session.object
        feed = self._turns.feed(session)
        _hurry(session)
        if session.object["status"] != "requires_action":
            return self._world.stream(feed.since(0))
        return Response(200, EVENT_STREAM_FIELDS, self._follow(session, feed, 0, is_one_turn=True))

    def open(self, asked: JsonObject, caller: Caller | None, *, is_streamed: bool = False) -> Record:
        """Remember a session that a request describes, and begin its first turn if there is input.

        `caller` asks a script what its agent says.
        """
        world = self._world
        known = {name: value for name, value in asked.items() if value is not None and name != "input"}
        if _has_no_limit(known):
            del known["spend_control"]
        known.update(
            id=world.new_id("asess_"), agent=self._agent(asked), status="idle", error=None, usage=None,
            environment=session_environment(world, object_of(asked.get("environment"))),
        )  # fmt: skip
        session = world.store.add(SESSIONS, known["id"], world.make("AgentSession", known))
        self._turns.tell_session(session, "created")
        messages = _input_messages(asked.get("input"))
        if messages:
            self._turns.take_messages(session, messages, caller, is_streamed=is_streamed)
        return session

    def say(self, session: Record, text: str, caller: Caller | None) -> None:
        """Send a session a text."""
        self._turns.take_messages(session, _input_messages(text), caller)

    def _agent(self, asked: JsonObject) -> JsonObject:
        """Return the agent of a session: a saved one with what the request changes, or one of the session's own."""
        saved = asked.get("agent_id")
        base = self._world.find(AGENTS, str(saved), param="agent_id").object if saved is not None else {}
        base = base or {"id": self._world.new_id("agent_"), "name": None, "instructions": None}
        return {**base, **without_nulls(asked.get("agent"))}

    def list_sessions(self, call: Call) -> JsonObject:
        """Answer the sessions, or those of one agent or with some metadata."""
        agent_id, metadata = call.query.get("agent_id"), object_of(call.query.get("metadata"))
        sessions = [record.object for record in self._world.store.all(SESSIONS)]
        if agent_id is not None:
            sessions = [session for session in sessions if session["agent"]["id"] == agent_id]
        for pair in metadata.items():
            sessions = [session for session in sessions if pair in session["metadata"].items()]
        return page_of(sessions, call.query)

    def update(self, call: Call) -> JsonObject:
        """Answer POST /agents/sessions/{session_id}. Members of the agent that the request leaves out stay."""
        session = call.record()
        if "agent" in call.body:
            call.body["agent"] = {**session.object["agent"], **without_nulls(call.body["agent"])}
        if _has_no_limit(call.body):
            del call.body["spend_control"]
            session.object.pop("spend_control", None)
        return update_object(call)

    def delete(self, call: Call) -> JsonObject:
        """Answer DELETE /agents/sessions/{session_id}, which also ends the streams of its events."""
        session = call.record()
        answer = delete_object(call)
        self._turns.feed(session).wake()
        return answer

    def turn(self, call: Call) -> JsonObject | Response:
        """Answer a turn. The session is looked at first, as its plan changes the turn."""
        call.parents()
        return give_object(call)

    def turn_items(self, call: Call) -> JsonObject:
        """Answer the items of one turn."""
        call.parents()
        records = self._world.store.all(f"{SESSIONS}/{call.names['session_id']}/items")
        return page_of([one.object for one in records if one.object["turn_id"] == call.names["turn_id"]], call.query)

    # ---- events -------------------------------------------------------------------------------------------------

    def send(self, call: Call) -> Response:
        """Answer POST …/events: 202, once all have been taken."""
        session, caller = self._world.find(SESSIONS, call.names["session_id"]), caller_of(call.request)
        for event in objects_of(call.body.get("events")):
            kind = event.get("type")
            if kind == "agent.session.input.message":
                self._turns.take_messages(session, _input_messages(event.get("input")), caller)
            elif kind == "agent.session.input.cancel":
                self._turns.cancel(session)
            elif kind == "agent.session.input.tool_result":
                self._turns.take_result(session, event, caller)
            elif not session.is_invented:
                raise ApiError(400, f"No request with id '{event.get('request_id')}' waits in session {session.id}.")
        return Response(202, [])

    def listen(self, call: Call) -> Response:
        """Answer GET …/events: the events of the turn under way so far, and then each when it happens."""
        session = self._world.find(SESSIONS, call.names["session_id"])
        feed = self._turns.feed(session)
        position = feed.count if session.object["status"] == "idle" else feed.turn_start
        return Response(200, EVENT_STREAM_FIELDS, self._follow(session, feed, position))

    async def _follow(
        self, session: Record, feed: SessionFeed, position: int, *, is_one_turn: bool = False
    ) -> typing.AsyncIterator[bytes]:
        """Yield the events behind a position when they happen; those of one turn come at once, and end with it."""
        world, waits = self._world, self._world.waits()
        yield _LISTENING
        # To get a session from the store is what makes the changes that are due, and so the events.
        while world.store.get(SESSIONS, session.id) is session:
            if is_one_turn:
                _hurry(session)
            frames = feed.since(position)
            position = feed.count
            for frame in frames:
                if frame.startswith(_TURN_BEGINS):
                    waits = world.waits()
                elif frame.startswith(_WORD):
                    seconds = next(waits)
                    if seconds:
                        await world.sleep(seconds)
                yield frame
            if is_one_turn and session.object["status"] == "idle":
                return
            if position == feed.count:
                await feed.wait(self._seconds_to_change(session))

    def _seconds_to_change(self, session: Record) -> float | None:
        speed = self._world.settings.speed
        return max(0.0, session.plan[0][0] - self._world.clock()) / speed if session.plan and speed else None


def _hurry(session: Record) -> None:
    """Make the changes that a session's plan has for later."""
    while session.plan:
        session.plan.pop(0)[1](session)


def _has_no_limit(body: JsonObject) -> bool:
    """Whether a body sets the limit on spending to null, which means that there is none."""
    return "spend_control" in body and object_of(body["spend_control"]).get("limit") is None


def _input_messages(asked: typing.Any) -> list[JsonObject]:
    """Return the messages of an input: a text is one of them."""
    if type(asked) is str:
        return [{"content": [{"type": "input_text", "text": asked}]}]
    return [{"content": objects_of(message.get("content"))} for message in objects_of(asked)]
