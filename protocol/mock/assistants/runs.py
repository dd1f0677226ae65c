"""Runs of an assistant on a thread, with their steps.

Theory of operation. A run is queued, goes on, and ends with a message in the thread, unless the prompt asks for
functions: then it waits for their results (`requires_action`), and goes on with them. Each change is one method that
tells of what it does; a run that is polled makes the changes when they are due, and nobody listens; a run that is
streamed makes them all at once, and what was told is its stream, whose words come at their pace. So the two cannot
differ.
"""

from __future__ import annotations

import typing

from protocol.errors import ApiError
from protocol.exchange import Response
from protocol.mock.answer.reply import Question, Reply, ToolCall, ToolResult, count_tokens, reply
from protocol.mock.assistants.assistants import ASSISTANTS
from protocol.mock.assistants.search import file_citations, found_for_run, searched_stores, shown_step
from protocol.mock.assistants.threads import (
    ACTIVE_RUN_STATUSES,
    THREADS,
    active_run,
    add_message,
    message_text,
    new_thread,
    note_run,
    objects_of,
    put_message,
    text_part,
)
from protocol.mock.engine.resources import Handler, list_objects
from protocol.mock.engine.store import Record
from protocol.mock.engine.world import Call, World
from protocol.mock.inference.chat import chat_question, cut_to_length
from protocol.openai.answers import JSON_FIELDS, split_words
from protocol.openai.api.operations import Stage
from protocol.wire.http1.writers import encode_fields
from protocol.wire.json_text import JsonObject, encode_json
from protocol.wire.sse import DONE, encode_named_event

# How long a run may take, tools and all (API reference, run.expires_at).
_RUN_SECONDS = 600
_CANCELLING_SECONDS = 0.5
_POLL_SECONDS = 0.5
_MOVING_RUN_STATUSES = ACTIVE_RUN_STATUSES - {"requires_action"}
_RUN_DONE_EVENT = encode_named_event("done", DONE.encode())

# What a run takes over from its assistant unless its own request says it.
_FROM_ASSISTANT = ("model", "instructions", "tools", "temperature", "top_p", "response_format")
_RUN_DEFAULTS: JsonObject = {
    "instructions": "", "temperature": 1.0, "top_p": 1.0, "response_format": "auto", "tool_choice": "auto",
    "truncation_strategy": {"type": "auto", "last_messages": None}, "parallel_tool_calls": True, "metadata": {},
    "max_prompt_tokens": None, "max_completion_tokens": None, "required_action": None, "last_error": None,
    "incomplete_details": None, "started_at": None, "cancelled_at": None, "failed_at": None, "completed_at": None,
    "usage": None,
}  # fmt: skip
_STEP_DEFAULTS: JsonObject = {
    "status": "in_progress", "last_error": None, "expired_at": None, "cancelled_at": None, "failed_at": None,
    "completed_at": None, "metadata": {}, "usage": None,
}  # fmt: skip

Tell = typing.Callable[[str, JsonObject], None]


def _tell_nobody(event: str, object: JsonObject) -> None:
    """Listen to a run that is polled."""


class _RunStream:
    """The frames of a run's stream: each ends with a word, and the last with the end."""

    def __init__(self) -> None:
        self._frames: list[bytes] = []
        self._frame = b""

    def tell(self, event: str, object: JsonObject) -> None:
        """Add an event."""
        self._frame += encode_named_event(event, encode_json(object))
        if event.endswith(".delta"):
            self._frames.append(self._frame)
            self._frame = b""

    def frames(self) -> list[bytes]:
        """Return the frames, once all has been told."""
        return [*self._frames, self._frame + _RUN_DONE_EVENT]


class Runs:
    """The behaviour of runs and their steps."""

    def __init__(self, world: World) -> None:
        self._world = world

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by operation."""
        run = "/threads/{thread_id}/runs/{run_id}"
        return {
            "POST /threads/runs": self.create_with_thread,
            "POST /threads/{thread_id}/runs": self.create,
            f"POST {run}/submit_tool_outputs": self.submit,
            f"POST {run}/cancel": self.cancel,
            f"GET {run}": self.retrieve,
            f"GET {run}/steps": self.list_steps,
            f"GET {run}/steps/{{step_id}}": self.step,
        }

    # ---- what requests do ---------------------------------------------------------------------------------------

    def create_with_thread(self, call: Call) -> JsonObject | Response:
        """Answer POST /threads/runs: a thread, and a run on it."""
        asked = call.body.get("thread")
        assistant = self._assistant(call)
        thread = new_thread(self._world, asked if type(asked) is dict else {})
        return self._begin(call, assistant, thread, is_new=True)

    def create(self, call: Call) -> JsonObject | Response:
        """Answer POST /threads/{thread_id}/runs; ApiError 400 while another run is active."""
        thread = self._world.find(THREADS, call.names["thread_id"])
        assistant = self._assistant(call)
        active = active_run(self._world, thread)
        if active is not None:
            raise ApiError(400, f"Thread {thread.id} already has an active run {active.id}.")
        for message in objects_of(call.body.get("additional_messages")):
            add_message(self._world, thread, message)
        return self._begin(call, assistant, thread, is_new=False)

    def _assistant(self, call: Call) -> Record:
        return self._world.find(ASSISTANTS, str(call.body.get("assistant_id")), param="assistant_id")

    def _begin(self, call: Call, assistant: Record, thread: Record, *, is_new: bool) -> JsonObject | Response:
        world, body = self._world, call.body
        known = {**_RUN_DEFAULTS, **_said_of_run(assistant.object, _FROM_ASSISTANT), **_said_of_run(body, body)}
        if body.get("additional_instructions"):
            known["instructions"] = f"{known['instructions']} {body['additional_instructions']}".lstrip()
        known.update(id=world.new_id("run_"), thread_id=thread.id, expires_at=world.now() + _RUN_SECONDS)
        run = world.store.add(f"{thread.path}/runs", known["id"], world.make("Run", known))
        stores = searched_stores(assistant.object, thread.object)
        run.notes.update(results=[], stores=stores, stages=call.operation.stages, expires=world.clock() + _RUN_SECONDS)
        note_run(thread, run)
        stream = _RunStream()
        if is_new:
            stream.tell("thread.created", thread.object)
        stream.tell("thread.run.created", run.object)
        return self._go_on(call, run, stream)

    def submit(self, call: Call) -> JsonObject | Response:
        """Answer POST …/submit_tool_outputs; ApiError 400 unless it has just the outputs that the run waits for."""
        run = call.record()
        stream = _RunStream()
        if not _is_ours(run):
            return self._world.stream(stream.frames()) if call.body.get("stream") is True else run.object
        if run.object["status"] != "requires_action":
            raise ApiError(400, f'Runs in status "{run.object["status"]}" do not accept tool outputs.')
        step = self._world.store.all(f"{run.path}/steps")[-1]
        self._take_outputs(run, step, _outputs_by_call(call.body.get("tool_outputs")))
        self._end_step(step, "completed", stream.tell)
        run.object["required_action"] = None
        return self._go_on(call, run, stream)

    def _take_outputs(self, run: Record, step: Record, outputs: dict[str, str]) -> None:
        calls = step.object["step_details"]["tool_calls"]
        expected = [called["id"] for called in calls]
        if set(expected) != set(outputs):
            message = f"Expected tool outputs for call_ids {expected}, got {list(outputs)}"
            raise ApiError(400, message, param="tool_outputs")
        for called in calls:
            output = called["function"]["output"] = outputs[called["id"]]
            run.notes["results"].append(ToolResult(called["function"]["name"], output))

    def cancel(self, call: Call) -> JsonObject:
        """Answer POST …/cancel; ApiError 400 for a run that is over."""
        run, world = call.record(), self._world
        if run.object["status"] not in ACTIVE_RUN_STATUSES and _is_ours(run):
            raise ApiError(400, f"Cannot cancel run with status '{run.object['status']}'.")
        run.object["status"] = "cancelling"
        run.plan[:] = [(world.clock() + _CANCELLING_SECONDS, lambda run: self._end_early(run, "cancelled"))]
        return run.object

    def retrieve(self, call: Call) -> Response:
        """Answer a run; while it is under way, with a word to the client on how soon to ask again."""
        run, speed = call.record().object, self._world.settings.speed
        fields = JSON_FIELDS
        if run["status"] in _MOVING_RUN_STATUSES and speed:
            fields += encode_fields([("openai-poll-after-ms", str(max(1, int(_POLL_SECONDS * 1000 / speed))))])
        return Response(200, fields, encode_json(run))

    def list_steps(self, call: Call) -> JsonObject:
        """Answer the steps of a run; of what a search found, the text only where it is asked for."""
        page = list_objects(call)
        return {**page, "data": [shown_step(step, call.query.get("include")) for step in page["data"]]}

    def step(self, call: Call) -> JsonObject:
        """Answer a step, as its run has left it by now."""
        call.parents()
        return shown_step(call.record().object, call.query.get("include"))

    # ---- the life of a run --------------------------------------------------------------------------------------

    def _go_on(self, call: Call, run: Record, stream: _RunStream) -> JsonObject | Response:
        """Let a run that has what it needs go on: by and by, or at once for the stream that was asked for."""
        run.object["status"] = "queued"
        if call.body.get("stream") is not True:
            first, second, *_ = run.notes["stages"] or (Stage("queued", 0), Stage("in_progress", 0))
            started = self._world.clock() + first.seconds
            run.plan[:] = [(started, self._start), (started + second.seconds, self._answer)]
            return run.object
        run.plan.clear()
        stream.tell("thread.run.queued", run.object)
        self._start(run, stream.tell)
        self._answer(run, stream.tell)
        return self._world.stream(stream.frames())

    def _start(self, run: Record, tell: Tell = _tell_nobody) -> None:
        run.object["status"] = "in_progress"
        run.object["started_at"] = run.object["started_at"] or self._world.now()
        tell("thread.run.in_progress", run.object)

    def _answer(self, run: Record, tell: Tell = _tell_nobody) -> None:
        """Do what the assistant decides on: call functions, or say something and end."""
        thread = self._world.find(THREADS, run.object["thread_id"])
        messages = [record.object for record in self._world.store.all(f"{thread.path}/messages")]
        try:
            said = reply(_run_question(run, messages), self._world.settings.text)
        except ApiError as exc:
            # Too late for a 400: the request was answered long ago.
            run.object["last_error"] = {"code": "invalid_prompt", "message": exc.message}
            self._end(run, "failed", tell)
            return
        run.object["usage"] = _run_usage(run, messages, said)
        if said.calls:
            self._call_functions(run, said.calls, tell)
        else:
            found = self._search(run, messages, tell)
            self._say(run, thread, said.text, found, tell)

    def _search(self, run: Record, messages: typing.Sequence[JsonObject], tell: Tell) -> list[JsonObject]:
        """Search the thread's files; no step is told of where nothing is found."""
        found = found_for_run(self._world, run.object["tools"], run.notes["stores"], messages)
        if not found:
            return []
        call = {"id": self._world.new_id("call_"), "type": "file_search", "file_search": {}}
        step = self._begin_step(run, {"type": "tool_calls", "tool_calls": [call]}, tell)
        step.object["step_details"]["tool_calls"] = [{**call, "file_search": found}]
        self._end_step(step, "completed", tell)
        return found["results"]

    def _call_functions(self, run: Record, calls: typing.Sequence[ToolCall], tell: Tell) -> None:
        step = self._begin_step(run, {"type": "tool_calls", "tool_calls": []}, tell)
        for index, called in enumerate(calls):
            function = {"name": called.name, "arguments": called.arguments, "output": None}
            id = self._world.new_id("call_")
            step.object["step_details"]["tool_calls"].append({"id": id, "type": "function", "function": function})
            head = {"id": id, "type": "function", "function": {**function, "arguments": ""}}
            tell("thread.run.step.delta", _step_call_delta(step, index, head))
            for piece in split_words(called.arguments):
                delta = {"type": "function", "function": {"arguments": piece}}
                tell("thread.run.step.delta", _step_call_delta(step, index, delta))
        wanted = [
            {**made, "function": {name: made["function"][name] for name in ("name", "arguments")}}
            for made in step.object["step_details"]["tool_calls"]
        ]
        run.object["required_action"] = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": wanted}}
        run.object["status"] = "requires_action"
        run.plan[:] = [(run.notes["expires"], lambda run: self._end_early(run, "expired"))]
        tell("thread.run.requires_action", run.object)

    def _say(self, run: Record, thread: Record, text: str, found: list[JsonObject], tell: Tell) -> None:
        pieces, reason = cut_to_length(split_words(text), run.object, "stop")
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
            said = {"value": piece} if number else {"value": piece, "annotations": []}
            tell("thread.message.delta", _run_delta(message, {"content": [{"index": 0, "type": "text", "text": said}]}))
        for citation in citations:
            said = {"value": citation["text"], "annotations": [{"index": 0, **citation}]}
            tell("thread.message.delta", _run_delta(message, {"content": [{"index": 0, "type": "text", "text": said}]}))
            pieces = [*pieces, citation["text"]]
        message.object["content"] = [text_part("".join(pieces), citations)]
        self._end_message(message, is_cut=reason == "length", tell=tell)
        step.object["usage"] = run.object["usage"]
        self._end_step(step, "completed", tell)
        if reason == "length":
            run.object["incomplete_details"] = {"reason": "max_completion_tokens"}
        self._end(run, "incomplete" if reason == "length" else "completed", tell)

    def _end_message(self, message: Record, *, is_cut: bool, tell: Tell) -> None:
        status = "incomplete" if is_cut else "completed"
        message.object.update(status=status, **{f"{status}_at": self._world.now()})
        if is_cut:
            message.object["incomplete_details"] = {"reason": "max_tokens"}
        tell(f"thread.message.{status}", message.object)

    def _begin_step(self, run: Record, details: JsonObject, tell: Tell) -> Record:
        known = {
            **_STEP_DEFAULTS, "id": self._world.new_id("step_"), "run_id": run.id, "thread_id": run.object["thread_id"],
            "assistant_id": run.object["assistant_id"], "type": details["type"], "step_details": details,
        }  # fmt: skip
        step = self._world.store.add(f"{run.path}/steps", known["id"], self._world.make("RunStep", known))
        tell("thread.run.step.created", step.object)
        tell("thread.run.step.in_progress", step.object)
        return step

    def _end_step(self, step: Record, status: str, tell: Tell) -> None:
        step.object.update(status=status, **{f"{status}_at": self._world.now()})
        tell(f"thread.run.step.{status}", step.object)

    def _end_early(self, run: Record, status: str) -> None:
        """End a run that is cancelled or expires, and the step that it waits in."""
        for step in self._world.store.all(f"{run.path}/steps"):
            if step.object["status"] == "in_progress":
                self._end_step(step, status, _tell_nobody)
        run.object["required_action"] = None
        self._end(run, status, _tell_nobody)

    def _end(self, run: Record, status: str, tell: Tell) -> None:
        run.object.update(status=status, expires_at=None)
        if f"{status}_at" in run.object:
            run.object[f"{status}_at"] = self._world.now()
        tell(f"thread.run.{status}", run.object)


def _is_ours(run: Record) -> bool:
    """Whether a run was created, and not made up for an unknown id."""
    return "results" in run.notes


def _wants_text(run: Record) -> bool:
    form = run.object["response_format"]
    return type(form) is not dict or form["type"] == "text"


def _said_of_run(value: JsonObject, names: typing.Iterable[str]) -> JsonObject:
    return {name: value[name] for name in names if value.get(name) is not None}


def _outputs_by_call(outputs: typing.Any) -> dict[str, str]:
    return {str(one.get("tool_call_id")): str(one.get("output") or "") for one in objects_of(outputs)}


def _run_question(run: Record, messages: typing.Sequence[JsonObject]) -> Question:
    """Return what a run is asked by its thread. A choice that demands a call demands it once."""
    choice, results = run.object["tool_choice"], run.notes["results"]
    is_other_tool = type(choice) is dict and choice.get("type") != "function"
    if is_other_tool or (results and choice != "none"):
        choice = "auto"
    asked = {**run.object, "tool_choice": choice}
    told = [{"role": message["role"], "content": message_text(message)} for message in messages]
    return chat_question(asked, told)._replace(results=tuple(results), instructions=run.object["instructions"])


def _run_usage(run: Record, messages: typing.Sequence[JsonObject], said: Reply) -> JsonObject:
    """Count the tokens of a run: each turn reads the whole thread."""
    before = run.object["usage"] or {"prompt_tokens": 0, "completion_tokens": 0}
    texts = [run.object["instructions"], *map(message_text, messages), *(one.output for one in run.notes["results"])]
    prompt = before["prompt_tokens"] + sum(map(count_tokens, texts))
    spoken = [said.text, *(called.arguments for called in said.calls)]
    completion = before["completion_tokens"] + sum(map(count_tokens, spoken))
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _step_call_delta(step: Record, index: int, delta: JsonObject) -> JsonObject:
    details = {"type": "tool_calls", "tool_calls": [{"index": index, **delta}]}
    return _run_delta(step, {"step_details": details})


def _run_delta(record: Record, delta: JsonObject) -> JsonObject:
    return {"id": record.id, "object": f"{record.object['object']}.delta", "delta": delta}
