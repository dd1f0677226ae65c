"""The turns of an agent's session: what a user says, and what the agent does then.

Theory of operation. A turn is queued, in progress, perhaps waiting, and then completed, failed or cancelled.

    queued -> in_progress -> completed | failed
                    |  ^
                    v  |  all functions have given their results
                  waiting                                                 cancelled: from every state before its end

The session's plan holds the next two changes of its turn: it starts, and its agent answers. The answer is a message,
which ends the turn, or calls of functions, whose results the turn waits for. A message of the user that comes during a
turn goes into that turn and plans the answer anew. Every change is told to the session's feed.
"""

from __future__ import annotations

import json
import typing

from protocol.errors import ApiError
from protocol.instrument.script.asked import Line, talk_of
from protocol.mock.agents.feed import SessionFeed
from protocol.mock.answer.cost import budget_at_once
from protocol.mock.answer.reply import Question, Reply, ToolCall, ToolResult, count_tokens, reply
from protocol.mock.answer.spoken import Caller, speaker_for
from protocol.mock.engine.store import Record, State
from protocol.mock.engine.world import World
from protocol.mock.inference.chat import chat_question
from protocol.mock.unchecked import objects_of
from protocol.openai.answers import split_words
from protocol.openai.api.notation import NamedShape
from protocol.openai.scripted_usage import ScriptedUsage, with_scripted
from protocol.wire.json_text import JsonObject

# How long a turn waits for its start, and how long its agent thinks.
_QUEUED_SECONDS = 0.5
_THINKING_SECONDS = 1.0
_OVER = frozenset(["completed", "failed", "cancelled"])


class _Turn:
    """A turn: its record, and what its session's answers do not show of it."""

    __slots__ = ("calls", "outputs", "record", "results")

    def __init__(self, record: Record) -> None:
        self.record = record
        #: What functions have given back.
        self.results: list[ToolResult] = []
        #: How many items the agent has put out.
        self.outputs = 0
        #: By the id of a call whose result is waited for: its item, and the item's number among the outputs.
        self.calls: dict[str, tuple[Record, int]] = {}

    @property
    def object(self) -> JsonObject:
        """The turn as answers show it."""
        return self.record.object


class _SessionState(State):
    """What a session knows besides what it shows: its events, and its last turn.

    `caller` is who asks a script for the agent's next answer, `is_streamed` whether he wants it as a stream.
    """

    __slots__ = ("caller", "feed", "is_streamed", "turn")

    def __init__(self, feed: SessionFeed) -> None:
        self.feed = feed
        self.turn: _Turn | None = None
        self.caller: Caller | None = None
        self.is_streamed = False

    def turn_under_way(self) -> _Turn | None:
        """Return the last turn if it is not over."""
        return None if self.turn is None or self.turn.object["status"] in _OVER else self.turn


class Turns:
    """Lets the turns of sessions begin, go on and end."""

    def __init__(self, world: World) -> None:
        self._world = world

    def _state(self, session: Record) -> _SessionState:
        # A session that was made up for an unknown id has no state before somebody asks for it.
        state = session.state_of(_SessionState)
        if state is None:
            state = session.state = _SessionState(SessionFeed(self._world))
        return state

    def feed(self, session: Record) -> SessionFeed:
        """Return the events of a session."""
        return self._state(session).feed

    # ---- what a session is sent ---------------------------------------------------------------------------------

    def take_messages(
        self, session: Record, messages: list[JsonObject], caller: Caller | None, *, is_streamed: bool = False
    ) -> None:
        """Take messages of the user, into the turn that is under way or into a new one."""
        state = self._state(session)
        state.caller, state.is_streamed = caller, is_streamed
        turn = state.turn_under_way() or self._begin(session)
        for message in messages:
            self._add_item(session, turn, {"type": "message", "role": "user", "status": "completed", **message}, "msg_")
        if session.object["status"] == "in_progress":
            self._plan_answer(session, turn)

    def take_result(self, session: Record, event: JsonObject, caller: Caller | None) -> None:
        """Take the result of a function. With the last one that is waited for the turn goes on.

        ApiError 400 for a call that does not wait. A session that was made up waits for nothing and takes anything.
        """
        if session.is_invented:
            return
        state, call_id = self._state(session), event.get("call_id")
        actions = session.object["required_actions"]
        action = next((one for one in actions if one.get("call_id") == call_id), None)
        if action is None or state.turn is None:
            raise ApiError(400, f"No function call with id '{call_id}' waits in session {session.id}.")
        turn, state.caller = state.turn, caller
        output = event.get("output") if event.get("output") is not None else event.get("error") or ""
        turn.results.append(ToolResult(action["name"], output if type(output) is str else _texts(output)))
        item, output_index = turn.calls.pop(action["call_id"])
        item.object["status"] = "failed" if event.get("success") is False else "completed"
        self._world.store.note_change(item)
        self._tell(session, turn, "item.done", item=item.object, output_index=output_index)
        known = {"type": "function_call_output", "status": item.object["status"], "call_id": call_id}
        self._add_item(session, turn, {**known, "output": event.get("output"), "error": event.get("error")}, "fco_")
        session.object["required_actions"] = actions = [one for one in actions if one is not action]
        if not actions:
            session.object["status"] = "in_progress"
            self.tell_session(session, "in_progress")
            self._plan_answer(session, turn)

    def cancel(self, session: Record) -> None:
        """End the turn that is under way, if there is one."""
        turn = self._state(session).turn_under_way()
        if turn is not None:
            self._end(session, turn, "cancelled")

    # ---- the life of a turn -------------------------------------------------------------------------------------

    def _begin(self, session: Record) -> _Turn:
        world, state = self._world, self._state(session)
        state.feed.turn_start = state.feed.count
        known = {
            "id": world.new_id("turn_"), "session_id": session.id, "agent_id": session.object["agent"]["id"],
            "status": "queued", "started_at": None, "completed_at": None, "error": None, "usage": None,
            "subagent_id": None, "prompt_cache_options": session.object.get("prompt_cache_options"),
        }  # fmt: skip
        made = world.make("SessionTurn", known)
        state.turn = turn = _Turn(world.store.add(f"{session.path}/turns", known["id"], made))
        session.object.update(status="in_progress", last_active_at=world.now())
        self.tell_session(session, "in_progress")
        self._tell(session, turn, "created")
        return turn

    def _plan_answer(self, session: Record, turn: _Turn) -> None:
        started = self._world.clock() + _QUEUED_SECONDS
        session.plan[:] = [
            (started, lambda session: self._start(session, turn)),
            (started + _THINKING_SECONDS, lambda session: self._answer(session, turn)),
        ]

    def _start(self, session: Record, turn: _Turn) -> None:
        turn.object["status"] = "in_progress"
        turn.object["started_at"] = turn.object["started_at"] or self._world.now()
        self._tell(session, turn, "in_progress")

    def _answer(self, session: Record, turn: _Turn) -> None:
        """Do what the agent decides on: call functions, or say something and end the turn."""
        items = [record.object for record in self._world.store.all(f"{session.path}/items")]
        try:
            said = self._reply(session, turn, items)
        except ApiError as exc:
            is_known = self._world.reference.conformity.conforms(NamedShape("SessionErrorCode"), exc.code)
            turn.object["error"] = {"code": exc.code if is_known else "invalid_request", "message": exc.message}
            self._end(session, turn, "failed")
            return
        _count_usage(session, turn, items, said)
        if not said.calls:
            self._say_text(session, turn, said.text, "final_answer")
            self._end(session, turn, "completed")
            return
        if said.text:
            self._say_text(session, turn, said.text, "commentary")
        self._call_functions(session, turn, said.calls)

    def _reply(self, session: Record, turn: _Turn, items: typing.Sequence[JsonObject]) -> Reply:
        """Return what the agent says: what the script has, or else the mock."""
        state, question, budget = self._state(session), _question(session, turn, items), budget_at_once()
        agent = session.object["agent"]
        body = {**agent, "metadata": session.object["metadata"], "stream": state.is_streamed}
        speaker = speaker_for(state.caller, "agents", body)
        if speaker is not None:
            scripted = speaker.reply(lambda: talk_of(_lines(agent, items), joins_turns=True), question.tools, budget)
            if scripted is not None:
                return scripted
        return reply(question, self._world.settings.text, budget)

    def _say_text(self, session: Record, turn: _Turn, text: str, phase: str) -> None:
        known = {"type": "message", "role": "assistant", "status": "in_progress", "content": []}
        item = self._add_item(session, turn, {**known, "phase": phase}, "msg_")
        output_index = turn.outputs - 1
        where = {"item_id": item.id, "output_index": output_index, "content_index": 0}
        self._tell(session, turn, "content_part.added", part={"type": "output_text", "text": ""}, **where)
        for piece in split_words(text):
            self._tell(session, turn, "output_text.delta", delta=piece, **where)
        self._tell(session, turn, "output_text.done", text=text, **where)
        part = {"type": "output_text", "text": text}
        self._tell(session, turn, "content_part.done", part=part, **where)
        item.object.update(status="completed", content=[part])
        self._world.store.note_change(item)
        self._tell(session, turn, "item.done", item=item.object, output_index=output_index)

    def _call_functions(self, session: Record, turn: _Turn, calls: typing.Sequence[ToolCall]) -> None:
        actions = []
        for called in calls:
            call_id = called.id or self._world.new_id("call_")
            wanted = {
                "type": "function_call", "call_id": call_id, "name": called.name,
                "arguments": _arguments(called), "turn_id": turn.record.id,
            }  # fmt: skip
            item = self._add_item(session, turn, {**wanted, "status": "in_progress"}, "fc_")
            turn.calls[call_id] = item, turn.outputs - 1
            actions.append(wanted)
        turn.object["status"] = "waiting"
        session.object.update(status="requires_action", required_actions=actions)
        self.tell_session(session, "requires_action")

    def _add_item(self, session: Record, turn: _Turn, known: JsonObject, prefix: str) -> Record:
        """Remember an item of a turn; only what the agent puts out has a number."""
        id = self._world.new_id(prefix)
        made = self._world.make("SessionItem", {**known, "id": id, "turn_id": turn.record.id})
        item = self._world.store.add(f"{session.path}/items", id, made)
        is_output = known.get("role") != "user" and known["type"] != "function_call_output"
        self._tell(session, turn, "item.added", item=made, output_index=turn.outputs if is_output else None)
        turn.outputs += is_output
        return item

    def _end(self, session: Record, turn: _Turn, status: str) -> None:
        session.plan.clear()
        turn.object.update(status=status, completed_at=self._world.now())
        self._tell(session, turn, status)
        session.object.update(status="idle", required_actions=[], last_active_at=self._world.now())
        self.tell_session(session, "idle")

    # ---- events -------------------------------------------------------------------------------------------------

    def tell_session(self, session: Record, what: str) -> None:
        """Tell of a change of a session."""
        self._tell_and_count(session, f"agent.session.{what}", {"session": session.object})
        self._world.store.note_change(session)

    def _tell(self, session: Record, turn: _Turn, what: str, **members: typing.Any) -> None:
        about = {"session_id": session.id, "turn_id": turn.record.id, **(members or {"turn": turn.object})}
        self._tell_and_count(session, f"agent.session.turn.{what}", about)
        self._world.store.note_change(turn.record)

    def _tell_and_count(self, session: Record, kind: str, about: JsonObject) -> None:
        feed = self.feed(session)
        before = feed.size
        feed.tell(kind, about)
        self._world.store.set_size(session, session.size + feed.size - before)


def _texts(content: typing.Any) -> str:
    return " ".join(part["text"] for part in objects_of(content) if type(part.get("text")) is str)


def _arguments(called: ToolCall) -> typing.Any:
    """Return the arguments of a call: those of a script that are no JSON are what they are."""
    try:
        return json.loads(called.arguments)
    except ValueError:
        return called.arguments


def _lines(agent: JsonObject, items: typing.Sequence[JsonObject]) -> typing.Iterator[Line]:
    """Yield what an agent has before it, as a script sees it."""
    if agent.get("instructions"):
        yield Line("system", agent["instructions"])
    names: dict[str, str] = {}
    for item in items:
        if item["type"] == "message":
            yield Line(item["role"], _texts(item["content"]))
        elif item["type"] == "function_call":
            names[item["call_id"]] = item["name"]
            yield Line("assistant", "")
        elif item["type"] == "function_call_output":
            output = item.get("output") if item.get("output") is not None else item.get("error") or ""
            text = output if type(output) is str else _texts(output)
            yield Line("tool", text, names.get(item["call_id"], ""))


def _question(session: Record, turn: _Turn, items: typing.Sequence[JsonObject]) -> Question:
    """Return what a session's agent is asked by its items."""
    agent = session.object["agent"]
    tools = [{"type": "function", "function": tool} for tool in agent["tools"] if tool["type"] == "function"]
    body: JsonObject = {"tools": tools}
    form = agent["text"]["format"]
    if form["type"] == "json_schema":
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": form["schema"]}}
    told = [{"role": item["role"], "content": _texts(item["content"])} for item in items if item["type"] == "message"]
    question = chat_question(body, told)
    return question._replace(results=tuple(turn.results), instructions=agent.get("instructions") or "")


def _count_usage(session: Record, turn: _Turn, items: typing.Sequence[JsonObject], said: Reply) -> None:
    """Add what an answer read and wrote, or a script says that it did, to the usage of its turn and of its session."""
    spoken = [said.text, *(called.arguments for called in said.calls)]
    read = sum(count_tokens(_texts(item.get("content"))) for item in items)
    used = _usage(read, sum(map(count_tokens, spoken)), None if said.told is None else said.told.usage)
    for counted in (turn.object, session.object):
        before = counted.get("usage")
        counted["usage"] = used if before is None else _sum(before, used)


def _usage(read: int, spoken: int, told: ScriptedUsage | None) -> JsonObject:
    counted = {
        "input_tokens": read, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": spoken,
        "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": read + spoken,
    }  # fmt: skip
    return with_scripted(counted, told)


def _sum(one: JsonObject, other: JsonObject) -> JsonObject:
    """Return the sum of two usages, member by member."""
    return {name: _sum(one[name], value) if type(value) is dict else one[name] + value for name, value in other.items()}
