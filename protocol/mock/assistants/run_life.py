"""The life of a run: from the moment at which it has what it needs until it waits for somebody or is over.

Theory of operation.

    queued -> in_progress -> completed | incomplete | failed
      ^            |
      |            v                                   cancelled: from every state before the end, by way of cancelling
      +---- requires_action -> expired

A run that is queued has all that it needs. Its assistant then either says something, which is a message in the thread
and ends the run, or calls functions, whose results the run waits for. A run that is polled makes these changes when
they are due; one that is streamed makes them all at once, and the stream tells of them at the pace of the words. So
that the two cannot differ, each change is one method, which is handed whom to tell.
"""

from __future__ import annotations

import itertools
import typing

from protocol.errors import ApiError
from protocol.instrument.script.asked import Line, talk_of
from protocol.mock.answer.cost import budget_at_once
from protocol.mock.answer.reply import Question, Reply, ToolCall, ToolResult, count_tokens, reply
from protocol.mock.answer.spoken import Caller, speaker_for
from protocol.mock.assistants.search import file_citations, found_for_run
from protocol.mock.assistants.threads import THREADS, message_text, put_message, text_part
from protocol.mock.engine.store import Record, State
from protocol.mock.engine.world import World
from protocol.mock.inference.chat import chat_question, cut_to_length
from protocol.openai.answers import split_words
from protocol.openai.api.operations import Stage
from protocol.openai.scripted_usage import with_scripted
from protocol.wire.json_text import JsonObject

# How long a run may take, with the functions that it waits for (API reference, run.expires_at).
RUN_SECONDS = 600
_CANCELLING_SECONDS = 0.5

# What of a thread is read at once: about 250,000 tokens, and so many messages.
_READ_CHARACTERS = 1_000_000
_READ_MESSAGES = 1_000

_STEP_DEFAULTS: JsonObject = {
    "status": "in_progress", "last_error": None, "expired_at": None, "cancelled_at": None, "failed_at": None,
    "completed_at": None, "metadata": {}, "usage": None,
}  # fmt: skip

#: Hears of a change: the name of an event, and the object that it is about.
Tell = typing.Callable[[str, JsonObject], None]


def _tell_nobody(event: str, object: JsonObject) -> None:
    """Hear of the changes of a run that is polled."""


class RunState(State):
    """What a run knows and does not show.

    `results` are what functions gave back, `stores` the ids of the vector stores that it may search. `queued_seconds`
    and `working_seconds` tell how long it takes each time that it goes on, `expires` when it has taken too long, by the
    world's clock. `rounds` tell for each time that functions were called how many it were. `caller` is who asks a
    script for the answers, `is_streamed` whether he wants them as a stream.
    """

    __slots__ = (
        "caller", "expires", "is_streamed", "queued_seconds", "results", "rounds", "stores", "working_seconds",
    )  # fmt: skip

    def __init__(self, stores: list[str], stages: typing.Sequence[Stage], expires: float) -> None:
        self.results: list[ToolResult] = []
        self.rounds: list[int] = []
        self.caller: Caller | None = None
        self.is_streamed = False
        self.stores = stores
        self.queued_seconds = stages[0].seconds if stages else 0.0
        self.working_seconds = stages[1].seconds if stages else 0.0
        self.expires = expires


class RunLife:
    """Lets runs go on and end."""

    def __init__(self, world: World) -> None:
        self._world = world

    def go_on(self, run: Record, state: RunState) -> None:
        """Let a run that has what it needs go on over time."""
        run.object["status"] = "queued"
        started = self._world.clock() + state.queued_seconds
        run.plan[:] = [
            (started, self._start),
            (started + state.working_seconds, lambda run: self._answer(run, state, _tell_nobody)),
        ]

    def go_on_now(self, run: Record, state: RunState, tell: Tell) -> None:
        """Let a run that has what it needs go on until it waits again or is over."""
        run.object["status"] = "queued"
        run.plan.clear()
        tell("thread.run.queued", run.object)
        self._start(run, tell)
        self._answer(run, state, tell)

    def cancel(self, run: Record) -> None:
        """Let a run be cancelled, which takes a moment."""
        run.object["status"] = "cancelling"
        run.plan[:] = [(self._world.clock() + _CANCELLING_SECONDS, lambda run: self._end_early(run, "cancelled"))]

    # ---- the changes --------------------------------------------------------------------------------------------

    def _start(self, run: Record, tell: Tell = _tell_nobody) -> None:
        run.object["status"] = "in_progress"
        run.object["started_at"] = run.object["started_at"] or self._world.now()
        tell("thread.run.in_progress", run.object)

    def _answer(self, run: Record, state: RunState, tell: Tell) -> None:
        """Do what the assistant decides on: call functions, or say something and end."""
        thread = self._world.find(THREADS, run.object["thread_id"])
        try:
            messages = _newest([record.object for record in self._world.store.all(f"{thread.path}/messages")])
            said = self._reply(run, thread, state, messages)
        except ApiError as exc:
            # Too late for a 400: the request has been answered.
            run.object["last_error"] = {"code": "invalid_prompt", "message": exc.message}
            self._end(run, "failed", tell)
            return
        told = said.told
        run.object["usage"] = with_scripted(_usage(run, state, messages, said), None if told is None else told.usage)
        if said.calls:
            if said.text:
                self._leave_message(run, thread, said.text, [], tell)
            self._call_functions(run, state, said.calls, tell)
        else:
            found = self._search(run, state, messages, tell) if told is None else []
            self._say(run, thread, said.text, found, tell, "stop" if told is None else told.finish)

    def _reply(self, run: Record, thread: Record, state: RunState, messages: typing.Sequence[JsonObject]) -> Reply:
        """Return what the assistant says: what the script has, or else the mock."""
        question, budget = _question(run, state, messages), budget_at_once()
        body = {**run.object, "stream": state.is_streamed}
        speaker = speaker_for(state.caller, "runs", body)
        if speaker is not None:
            others = [record for record in self._world.store.all(f"{thread.path}/runs") if record is not run]
            states = [record.state_of(RunState) for record in others]
            former = sum(len(other.rounds) for other in states if other is not None)
            talk = talk_of(_lines(run, state, messages))
            scripted = speaker.reply(lambda: talk._replace(turn=talk.turn + former), question.tools, budget)
            if scripted is not None:
                if scripted.told is not None and scripted.told.finish in ("content_filter", "function_call"):
                    speaker.note(f"finish: a run does not end with {scripted.told.finish}")
                return scripted
        return reply(question, self._world.settings.text, budget)

    def _search(
        self, run: Record, state: RunState, messages: typing.Sequence[JsonObject], tell: Tell
    ) -> list[JsonObject]:
        """Search the vector stores; a search that finds nothing leaves no step."""
        found = found_for_run(self._world, run.object["tools"], state.stores, messages)
        if not found:
            return []
        call = {"id": self._world.new_id("call_"), "type": "file_search", "file_search": {}}
        step = self._begin_step(run, {"type": "tool_calls", "tool_calls": [call]}, tell)
        step.object["step_details"]["tool_calls"] = [{**call, "file_search": found}]
        self.end_step(step, "completed", tell)
        results: list[JsonObject] = found["results"]
        return results

    def _call_functions(self, run: Record, state: RunState, calls: typing.Sequence[ToolCall], tell: Tell) -> None:
        step = self._begin_step(run, {"type": "tool_calls", "tool_calls": []}, tell)
        for index, called in enumerate(calls):
            function = {"name": called.name, "arguments": called.arguments, "output": None}
            id = called.id or self._world.new_id("call_")
            step.object["step_details"]["tool_calls"].append({"id": id, "type": "function", "function": function})
            head = {"id": id, "type": "function", "function": {**function, "arguments": ""}}
            tell("thread.run.step.delta", _call_delta(step, index, head))
            for piece in split_words(called.arguments):
                delta = {"type": "function", "function": {"arguments": piece}}
                tell("thread.run.step.delta", _call_delta(step, index, delta))
        wanted = [
            {**made, "function": {name: made["function"][name] for name in ("name", "arguments")}}
            for made in step.object["step_details"]["tool_calls"]
        ]
        run.object["required_action"] = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": wanted}}
        run.object["status"] = "requires_action"
        state.rounds.append(len(calls))
        run.plan[:] = [(state.expires, lambda run: self._end_early(run, "expired"))]
        self._world.store.note_change(step)
        self._world.store.note_change(run)
        tell("thread.run.requires_action", run.object)

    def _say(
        self, run: Record, thread: Record, text: str, found: list[JsonObject], tell: Tell, finish: str = ""
    ) -> None:
        """Leave a message in the thread, and end: `finish` "length" says that it is cut, as if it had been too long."""
        reason = self._leave_message(run, thread, text, found, tell, finish)
        if reason == "length":
            run.object["incomplete_details"] = {"reason": "max_completion_tokens"}
        self._end(run, "incomplete" if reason == "length" else "completed", tell)

    def _leave_message(
        self, run: Record, thread: Record, text: str, found: list[JsonObject], tell: Tell, finish: str = ""
    ) -> str:
        """Leave a message in the thread; return why it ends there, "stop" or "length"."""
        pieces, reason = cut_to_length(split_words(text), run.object, "length" if finish == "length" else "stop")
        citations = file_citations(found[:1], "".join(pieces)) if reason == "stop" and _wants_text(run) else []
        known = {
            "role": "assistant", "assistant_id": run.object["assistant_id"], "run_id": run.id, "status": "in_progress",
            "content": [], "attachments": [], "metadata": {}, "completed_at": None,
        }  # fmt: skip
        message = put_message(self._world, thread, known)
        creation = {"type": "message_creation", "message_creation": {"message_id": message.id}}
        step = self._begin_step(run, creation, tell)
        tell("thread.message.created", message.object)
        tell("thread.message.in_progress", message.object)
        for number, piece in enumerate(pieces):
            tell("thread.message.delta", _text_delta(message, piece, None if number else []))
        for citation in citations:
            tell("thread.message.delta", _text_delta(message, citation["text"], [{"index": 0, **citation}]))
            pieces = [*pieces, citation["text"]]
        message.object["content"] = [text_part("".join(pieces), citations)]
        self._end_message(message, is_cut=reason == "length", tell=tell)
        step.object["usage"] = run.object["usage"]
        self.end_step(step, "completed", tell)
        return reason

    def _end_message(self, message: Record, *, is_cut: bool, tell: Tell) -> None:
        status = "incomplete" if is_cut else "completed"
        message.object.update(status=status, **{f"{status}_at": self._world.now()})
        if is_cut:
            message.object["incomplete_details"] = {"reason": "max_tokens"}
        self._world.store.note_change(message)
        tell(f"thread.message.{status}", message.object)

    def _begin_step(self, run: Record, details: JsonObject, tell: Tell) -> Record:
        id = self._world.new_id("step_")
        known = {
            **_STEP_DEFAULTS, "id": id, "run_id": run.id, "thread_id": run.object["thread_id"],
            "assistant_id": run.object["assistant_id"], "type": details["type"], "step_details": details,
        }  # fmt: skip
        step = self._world.store.add(f"{run.path}/steps", id, self._world.make("RunStep", known))
        tell("thread.run.step.created", step.object)
        tell("thread.run.step.in_progress", step.object)
        return step

    def end_step(self, step: Record, status: str, tell: Tell) -> None:
        """End a step, which is what a run does when its functions have given their results."""
        step.object.update(status=status, **{f"{status}_at": self._world.now()})
        self._world.store.note_change(step)
        tell(f"thread.run.step.{status}", step.object)

    def _end_early(self, run: Record, status: str) -> None:
        """End a run that is cancelled or expires, and the step that it waits in."""
        for step in self._world.store.all(f"{run.path}/steps"):
            if step.object["status"] == "in_progress":
                self.end_step(step, status, _tell_nobody)
        run.object["required_action"] = None
        self._end(run, status, _tell_nobody)

    def _end(self, run: Record, status: str, tell: Tell) -> None:
        run.object.update(status=status, expires_at=None)
        if f"{status}_at" in run.object:
            run.object[f"{status}_at"] = self._world.now()
        self._world.store.note_change(run)
        tell(f"thread.run.{status}", run.object)


def _wants_text(run: Record) -> bool:
    form = run.object["response_format"]
    return type(form) is not dict or form["type"] == "text"


def _newest(messages: list[JsonObject]) -> list[JsonObject]:
    """Return the newest messages, as many as a model reads at once; ApiError 400 where the last one alone is too long.

    Others wait while they are read. Source: OpenAI API reference, `truncation_strategy`: "auto" drops what is too much.
    """
    room = _READ_CHARACTERS
    for count, message in enumerate(reversed(messages)):
        room -= sum(len(part["text"]["value"]) for part in message["content"] if part["type"] == "text")
        if room < 0 and not count:
            raise ApiError(400, f"The last message has more than {_READ_CHARACTERS} characters, which no model reads.")
        if room < 0 or count == _READ_MESSAGES:
            return messages[len(messages) - count :]
    return messages


def _question(run: Record, state: RunState, messages: typing.Sequence[JsonObject]) -> Question:
    """Return what a run is asked by its thread. A tool choice that demands a call demands only one."""
    choice = run.object["tool_choice"]
    is_other_tool = type(choice) is dict and choice.get("type") != "function"
    if is_other_tool or (state.results and choice != "none"):
        choice = "auto"
    asked = {**run.object, "tool_choice": choice}
    told = [{"role": message["role"], "content": message_text(message)} for message in messages]
    question = chat_question(asked, told)
    return question._replace(results=tuple(state.results), instructions=run.object["instructions"])


def _lines(run: Record, state: RunState, messages: typing.Sequence[JsonObject]) -> typing.Iterator[Line]:
    """Yield what a run has before it, as a script sees it: its thread, and what functions gave back to it."""
    if run.object["instructions"]:
        yield Line("system", run.object["instructions"])
    for message in messages:
        yield Line(message["role"], message_text(message))
    results = iter(state.results)
    for count in state.rounds:
        yield Line("assistant", "")
        for result in itertools.islice(results, count):
            yield Line("tool", result.output, result.name)


def _usage(run: Record, state: RunState, messages: typing.Sequence[JsonObject], said: Reply) -> JsonObject:
    """Count the tokens of a run: whenever it goes on it reads the whole thread."""
    before = run.object["usage"] or {"prompt_tokens": 0, "completion_tokens": 0}
    texts = [run.object["instructions"], *map(message_text, messages), *(one.output for one in state.results)]
    prompt = before["prompt_tokens"] + sum(map(count_tokens, texts))
    spoken = [said.text, *(called.arguments for called in said.calls)]
    completion = before["completion_tokens"] + sum(map(count_tokens, spoken))
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _text_delta(message: Record, text: str, annotations: list[JsonObject] | None) -> JsonObject:
    said: JsonObject = {"value": text}
    if annotations is not None:
        said["annotations"] = annotations
    return _delta(message, {"content": [{"index": 0, "type": "text", "text": said}]})


def _call_delta(step: Record, index: int, delta: JsonObject) -> JsonObject:
    details = {"type": "tool_calls", "tool_calls": [{"index": index, **delta}]}
    return _delta(step, {"step_details": details})


def _delta(record: Record, delta: JsonObject) -> JsonObject:
    return {"id": record.id, "object": f"{record.object['object']}.delta", "delta": delta}
