"""Sessions of agents: turns that leave items, and the events that tell of them.

Theory of operation. What a session is sent begins a turn, or goes to the one that is under way. The session's plan
holds what becomes of its turn: it starts, and its agent answers, or calls functions and waits for their results. Every
change is told to the session's feed. A request that asked for a stream has its turn at once and gets what was told;
whoever listens to the events of a session gets them when they happen.
"""

from __future__ import annotations

import asyncio
import collections
import json
import typing

from protocol.errors import ApiError
from protocol.exchange import Response
from protocol.mock.agents.agents import AGENTS
from protocol.mock.agents.environments import session_environment
from protocol.mock.answer.reply import Question, Reply, ToolCall, ToolResult, count_tokens, reply
from protocol.mock.assistants.threads import objects_of
from protocol.mock.engine.resources import Handler, delete_object, give_object, page_of, update_object
from protocol.mock.engine.store import Record
from protocol.mock.engine.world import Call, World
from protocol.mock.inference.chat import chat_question
from protocol.openai.answers import EVENT_STREAM_FIELDS, split_words
from protocol.wire.json_text import JsonObject, encode_json
from protocol.wire.sse import encode_comment, encode_named_event

SESSIONS = "/agents/sessions"

# How long a turn waits for its start, and how long its agent thinks.
_TURN_QUEUED_SECONDS = 0.5
_TURN_SECONDS = 1.0
_MOST_EVENTS = 1000
# The first bytes of a live stream, so that its head goes out before anything has happened.
_LISTENING = encode_comment("listening")
_TURN_IS_OVER = frozenset(["completed", "failed", "cancelled"])


class SessionFeed:
    """The events of a session, of which the oldest are forgotten."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._frames: collections.deque[bytes] = collections.deque(maxlen=_MOST_EVENTS)
        self._waiting: list[asyncio.Future[None]] = []
        #: How many events there have been.
        self.count = 0
        #: How many there had been when the last turn began.
        self.turn_start = 0

    def tell(self, kind: str, members: JsonObject) -> None:
        """Add an event."""
        event = {"type": kind, "event_id": self._world.new_id("event_"), **members}
        self._frames.append(encode_named_event(kind, encode_json(event)))
        self.count += 1
        self.wake()

    def since(self, position: int) -> list[bytes]:
        """Return the frames of the events after the first `position` ones."""
        return list(self._frames)[max(0, position - self.count + len(self._frames)) :]

    def wake(self) -> None:
        """Let those go on who wait."""
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def wait(self, seconds: float | None) -> None:
        """Wait for the next event, at most so many seconds."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await asyncio.wait([future], timeout=seconds)


class Sessions:
    """The behaviour of /agents/sessions."""

    def __init__(self, world: World) -> None:
        self._world = world

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

    # ---- what requests do ---------------------------------------------------------------------------------------

    def create(self, call: Call) -> JsonObject | Response:
        """Answer POST /agents/sessions."""
        session = self.open(call.body)
        if call.body.get("stream") is not True:
            return session.object
        while session.plan:
            session.plan.pop(0)[1](session)
        return self._world.stream(_session_feed(self._world, session).since(0))

    def open(self, asked: JsonObject) -> Record:
        """Remember a session that a request describes, and begin its first turn if there is input."""
        world = self._world
        known = {name: value for name, value in asked.items() if value is not None and name != "input"}
        if _has_no_limit(known):
            del known["spend_control"]
        environment = asked.get("environment")
        known.update(
            id=world.new_id("asess_"), agent=self._agent(asked), status="idle", error=None, usage=None,
            environment=session_environment(world, environment if type(environment) is dict else {}),
        )  # fmt: skip
        session = world.store.add(SESSIONS, known["id"], world.make("AgentSession", known))
        session.notes["is_ours"] = True
        self._tell_session(session, "created")
        messages = _input_messages(asked.get("input"))
        if messages:
            self._take(session, messages)
        return session

    def say(self, session: Record, text: str) -> None:
        """Send a session a text."""
        self._take(session, _input_messages(text))

    def _agent(self, asked: JsonObject) -> JsonObject:
        """Return the agent of a session: a saved one with what the request changes, or one of the session's own."""
        saved = asked.get("agent_id")
        base = self._world.find(AGENTS, str(saved), param="agent_id").object if saved is not None else {}
        base = base or {"id": self._world.new_id("agent_"), "name": None, "instructions": None}
        return {**base, **_said_of_agent(asked.get("agent"))}

    def list_sessions(self, call: Call) -> JsonObject:
        """Answer the sessions, or those of one agent or with some metadata."""
        agent_id, metadata = call.query.get("agent_id"), call.query.get("metadata")
        sessions = [record.object for record in self._world.store.all(SESSIONS)]
        if agent_id is not None:
            sessions = [session for session in sessions if session["agent"]["id"] == agent_id]
        for pair in metadata.items() if type(metadata) is dict else ():
            sessions = [session for session in sessions if pair in session["metadata"].items()]
        return page_of(sessions, call.query)

    def update(self, call: Call) -> JsonObject:
        """Answer POST /agents/sessions/{session_id}: the members of its agent that are given change."""
        session = call.record()
        if "agent" in call.body:
            call.body["agent"] = {**session.object["agent"], **_said_of_agent(call.body["agent"])}
        if _has_no_limit(call.body):
            del call.body["spend_control"]
            session.object.pop("spend_control", None)
        return update_object(call)

    def delete(self, call: Call) -> JsonObject:
        """Answer DELETE /agents/sessions/{session_id}, which ends the streams of its events too."""
        session = call.record()
        answer = delete_object(call)
        _session_feed(self._world, session).wake()
        return answer

    def turn(self, call: Call) -> JsonObject | Response:
        """Answer a turn, as its session has left it by now."""
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
        session = self._world.find(SESSIONS, call.names["session_id"])
        for event in objects_of(call.body.get("events")):
            kind = event.get("type")
            if kind == "agent.session.input.message":
                self._take(session, _input_messages(event.get("input")))
            elif kind == "agent.session.input.cancel":
                self._cancel(session)
            elif kind == "agent.session.input.tool_result":
                self._take_result(session, event)
            elif session.notes.get("is_ours"):
                raise ApiError(400, f"No request with id '{event.get('request_id')}' waits in session {session.id}.")
        return Response(202, [])

    def listen(self, call: Call) -> Response:
        """Answer GET …/events: what the turn under way has told so far, and then what happens."""
        session = self._world.find(SESSIONS, call.names["session_id"])
        feed = _session_feed(self._world, session)
        position = feed.count if session.object["status"] == "idle" else feed.turn_start
        return Response(200, EVENT_STREAM_FIELDS, self._follow(session, feed, position))

    async def _follow(self, session: Record, feed: SessionFeed, position: int) -> typing.AsyncIterator[bytes]:
        world = self._world
        yield _LISTENING
        # To look at a session is what brings it up to date.
        while world.store.get(SESSIONS, session.id) is session:
            frames = feed.since(position)
            position = feed.count
            for frame in frames:
                yield frame
                if world.settings.delay and b'.delta"' in frame:
                    await world.sleep(world.settings.delay)
            if position == feed.count:
                await feed.wait(self._seconds_to_change(session))

    def _seconds_to_change(self, session: Record) -> float | None:
        speed = self._world.settings.speed
        return max(0.0, session.plan[0][0] - self._world.clock()) / speed if session.plan and speed else None

    def _tell_session(self, session: Record, what: str) -> None:
        _session_feed(self._world, session).tell(f"agent.session.{what}", {"session": session.object})

    def _tell_turn(self, session: Record, what: str, **members: typing.Any) -> None:
        turn = session.notes["turn"]
        about = {"session_id": session.id, "turn_id": turn.id, **(members or {"turn": turn.object})}
        _session_feed(self._world, session).tell(f"agent.session.turn.{what}", about)

    # ---- the life of a turn -------------------------------------------------------------------------------------

    def _take(self, session: Record, messages: list[JsonObject]) -> None:
        """Take what a user says: into the turn that is under way, or a new one."""
        if not _is_under_way(session):
            self._begin(session)
        for message in messages:
            self._add_item(session, {"type": "message", "role": "user", "status": "completed", **message}, "msg_")
        if session.object["status"] == "in_progress":
            self._plan_answer(session)

    def _begin(self, session: Record) -> None:
        world, feed = self._world, _session_feed(self._world, session)
        feed.turn_start = feed.count
        known = {
            "id": world.new_id("turn_"), "session_id": session.id, "agent_id": session.object["agent"]["id"],
            "status": "queued", "started_at": None, "completed_at": None, "error": None, "usage": None,
            "subagent_id": None, "prompt_cache_options": session.object.get("prompt_cache_options"),
        }  # fmt: skip
        turn = world.store.add(f"{session.path}/turns", known["id"], world.make("SessionTurn", known))
        session.notes.update(turn=turn, results=[], outputs=0)
        session.object.update(status="in_progress", last_active_at=world.now())
        self._tell_session(session, "in_progress")
        self._tell_turn(session, "created")

    def _plan_answer(self, session: Record) -> None:
        started = self._world.clock() + _TURN_QUEUED_SECONDS
        session.plan[:] = [(started, self._start), (started + _TURN_SECONDS, self._answer)]

    def _start(self, session: Record) -> None:
        turn = session.notes["turn"]
        turn.object["status"] = "in_progress"
        turn.object["started_at"] = turn.object["started_at"] or self._world.now()
        self._tell_turn(session, "in_progress")

    def _answer(self, session: Record) -> None:
        """Do what the agent decides on: call functions, or say something and end the turn."""
        items = [record.object for record in self._world.store.all(f"{session.path}/items")]
        question = _session_question(session, items)
        try:
            said = reply(question, self._world.settings.text)
        except ApiError as exc:
            session.notes["turn"].object["error"] = {"code": "invalid_request", "message": exc.message}
            self._end(session, "failed")
            return
        self._count(session, items, said)
        if said.calls:
            self._call_functions(session, said.calls)
        else:
            self._say_text(session, said.text)

    def _say_text(self, session: Record, text: str) -> None:
        known = {"type": "message", "role": "assistant", "status": "in_progress", "content": []}
        item = self._add_item(session, {**known, "phase": "final_answer"}, "msg_")
        about = {"item_id": item.id, "output_index": session.notes["outputs"] - 1}
        where = {**about, "content_index": 0}
        self._tell_turn(session, "content_part.added", part={"type": "output_text", "text": ""}, **where)
        for piece in split_words(text):
            self._tell_turn(session, "output_text.delta", delta=piece, **where)
        self._tell_turn(session, "output_text.done", text=text, **where)
        part = {"type": "output_text", "text": text}
        self._tell_turn(session, "content_part.done", part=part, **where)
        item.object.update(status="completed", content=[part])
        self._tell_turn(session, "item.done", item=item.object, output_index=about["output_index"])
        self._end(session, "completed")

    def _call_functions(self, session: Record, calls: typing.Sequence[ToolCall]) -> None:
        actions = []
        for called in calls:
            wanted = {
                "type": "function_call", "call_id": self._world.new_id("call_"), "name": called.name,
                "arguments": json.loads(called.arguments), "turn_id": session.notes["turn"].id,
            }  # fmt: skip
            item = self._add_item(session, {**wanted, "status": "in_progress"}, "fc_")
            session.notes[wanted["call_id"]] = (item, session.notes["outputs"] - 1)
            actions.append(wanted)
        session.notes["turn"].object["status"] = "waiting"
        session.object.update(status="requires_action", required_actions=actions)
        self._tell_session(session, "requires_action")

    def _take_result(self, session: Record, event: JsonObject) -> None:
        """Take what a function gave back, and go on when nothing else is waited for."""
        if not session.notes.get("is_ours"):
            return
        actions = session.object["required_actions"]
        call_id = event.get("call_id")
        action = next((one for one in actions if one.get("call_id") == call_id), None)
        if action is None:
            raise ApiError(400, f"No function call with id '{call_id}' waits in session {session.id}.")
        output = event.get("output") if event.get("output") is not None else event.get("error") or ""
        session.notes["results"].append(ToolResult(action["name"], output if type(output) is str else _texts(output)))
        item, output_index = session.notes.pop(call_id)
        item.object["status"] = "failed" if event.get("success") is False else "completed"
        self._tell_turn(session, "item.done", item=item.object, output_index=output_index)
        known = {"type": "function_call_output", "status": item.object["status"], "call_id": call_id}
        self._add_item(session, {**known, "output": event.get("output"), "error": event.get("error")}, "fco_")
        session.object["required_actions"] = actions = [one for one in actions if one is not action]
        if not actions:
            session.object["status"] = "in_progress"
            self._tell_session(session, "in_progress")
            self._plan_answer(session)

    def _add_item(self, session: Record, known: JsonObject, prefix: str) -> Record:
        """Remember an item of the turn under way; what the agent puts out is numbered."""
        id, turn = self._world.new_id(prefix), session.notes["turn"]
        made = self._world.make("SessionItem", {**known, "id": id, "turn_id": turn.id})
        item = self._world.store.add(f"{session.path}/items", id, made)
        is_output = known.get("role") != "user" and known["type"] != "function_call_output"
        self._tell_turn(session, "item.added", item=made, output_index=session.notes["outputs"] if is_output else None)
        session.notes["outputs"] += is_output
        return item

    def _count(self, session: Record, items: typing.Sequence[JsonObject], said: Reply) -> None:
        spoken = [said.text, *(called.arguments for called in said.calls)]
        read = sum(count_tokens(_texts(item.get("content"))) for item in items)
        for counted in (session.notes["turn"].object, session.object):
            counted["usage"] = _session_usage(counted.get("usage"), read, sum(map(count_tokens, spoken)))

    def _cancel(self, session: Record) -> None:
        if _is_under_way(session):
            self._end(session, "cancelled")

    def _end(self, session: Record, status: str) -> None:
        session.plan.clear()
        session.notes["turn"].object.update(status=status, completed_at=self._world.now())
        self._tell_turn(session, status)
        session.object.update(status="idle", required_actions=[], last_active_at=self._world.now())
        self._tell_session(session, "idle")


def _session_feed(world: World, session: Record) -> SessionFeed:
    """Return a session's feed: one that was made up for an unknown id has none before."""
    return session.notes.setdefault("feed", SessionFeed(world))


def _is_under_way(session: Record) -> bool:
    turn = session.notes.get("turn")
    return turn is not None and turn.object["status"] not in _TURN_IS_OVER


def _has_no_limit(body: JsonObject) -> bool:
    """Whether a limit on spending is null, which means that there is none."""
    control = body.get("spend_control")
    return "spend_control" in body and (type(control) is not dict or control.get("limit") is None)


def _said_of_agent(agent: typing.Any) -> JsonObject:
    return {name: value for name, value in agent.items() if value is not None} if type(agent) is dict else {}


def _input_messages(asked: typing.Any) -> list[JsonObject]:
    """Return the messages of an input: a text is one of them."""
    if type(asked) is str:
        return [{"content": [{"type": "input_text", "text": asked}]}]
    return [{"content": objects_of(message.get("content"))} for message in objects_of(asked)]


def _texts(content: typing.Any) -> str:
    return " ".join(part["text"] for part in objects_of(content) if type(part.get("text")) is str)


def _session_question(session: Record, items: typing.Sequence[JsonObject]) -> Question:
    """Return what a session's agent is asked by its items."""
    agent = session.object["agent"]
    tools = [{"type": "function", "function": tool} for tool in agent["tools"] if tool["type"] == "function"]
    body: JsonObject = {"tools": tools}
    form = agent["text"]["format"]
    if form["type"] == "json_schema":
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": form["schema"]}}
    told = [{"role": item["role"], "content": _texts(item["content"])} for item in items if item["type"] == "message"]
    results = tuple(session.notes["results"])
    return chat_question(body, told)._replace(results=results, instructions=agent.get("instructions") or "")


def _session_usage(before: JsonObject | None, read: int, spoken: int) -> JsonObject:
    read += before["input_tokens"] if before else 0
    spoken += before["output_tokens"] if before else 0
    return {
        "input_tokens": read, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": spoken,
        "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": read + spoken,
    }  # fmt: skip
