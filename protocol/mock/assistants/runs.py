"""Runs of an assistant on a thread, with their steps: what requests do with them. Their life is in run_life.py."""

from __future__ import annotations

import typing

from protocol.errors import ApiError
from protocol.exchange import Response
from protocol.mock.answer.reply import ToolResult
from protocol.mock.answer.spoken import caller_of
from protocol.mock.assistants.assistants import ASSISTANTS
from protocol.mock.assistants.run_life import RUN_SECONDS, RunLife, RunState
from protocol.mock.assistants.search import searched_stores, shown_step
from protocol.mock.assistants.threads import (
    ACTIVE_RUN_STATUSES,
    THREADS,
    active_run,
    add_message,
    new_thread,
    note_run,
)
from protocol.mock.engine.resources import Handler, json_answer, list_objects
from protocol.mock.engine.store import Record
from protocol.mock.engine.world import Call, World
from protocol.mock.unchecked import object_of, objects_of, without_nulls
from protocol.openai.answers import JSON_FIELDS
from protocol.wire.http1.writers import encode_fields
from protocol.wire.json_text import JsonObject, encode_json
from protocol.wire.sse import DONE, encode_named_event

_POLL_SECONDS = 0.5
_MOVING_RUN_STATUSES = ACTIVE_RUN_STATUSES - {"requires_action"}
_RUN_DONE_EVENT = encode_named_event("done", DONE.encode())

# What a run takes over from its assistant where its own request does not say it.
_FROM_ASSISTANT = ("model", "instructions", "tools", "temperature", "top_p", "response_format")
_RUN_DEFAULTS: JsonObject = {
    "instructions": "", "temperature": 1.0, "top_p": 1.0, "response_format": "auto", "tool_choice": "auto",
    "truncation_strategy": {"type": "auto", "last_messages": None}, "parallel_tool_calls": True, "metadata": {},
    "max_prompt_tokens": None, "max_completion_tokens": None, "required_action": None, "last_error": None,
    "incomplete_details": None, "started_at": None, "cancelled_at": None, "failed_at": None, "completed_at": None,
    "usage": None,
}  # fmt: skip


class _RunStream:
    """The frames of a run's stream. Each ends with a word, so that it is sent when that word is due."""

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
        """Return all frames, with the end of the stream."""
        return [*self._frames, self._frame + _RUN_DONE_EVENT]


class Runs:
    """The family of runs and their steps."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._life = RunLife(world)

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
        assistant = self._assistant(call)
        thread = new_thread(self._world, object_of(call.body.get("thread")))
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
        of_assistant = without_nulls({name: assistant.object.get(name) for name in _FROM_ASSISTANT})
        known = {**_RUN_DEFAULTS, **of_assistant, **without_nulls(body)}
        if body.get("additional_instructions"):
            known["instructions"] = f"{known['instructions']} {body['additional_instructions']}".lstrip()
        known.update(id=world.new_id("run_"), thread_id=thread.id, expires_at=world.now() + RUN_SECONDS)
        run = world.store.add(f"{thread.path}/runs", known["id"], world.make("Run", known))
        stores = searched_stores(assistant.object, thread.object)
        run.state = state = RunState(stores, call.operation.stages, world.clock() + RUN_SECONDS)
        note_run(thread, run)
        stream = _RunStream()
        if is_new:
            stream.tell("thread.created", thread.object)
        stream.tell("thread.run.created", run.object)
        return self._go_on(call, run, state, stream)

    def submit(self, call: Call) -> JsonObject | Response:
        """Answer POST …/submit_tool_outputs; ApiError 400 unless it has just the outputs that the run waits for."""
        run = call.record()
        stream, state = _RunStream(), run.state_of(RunState)
        if state is None:  # a run that was made up takes anything
            return self._world.stream(stream.frames()) if call.body.get("stream") is True else run.object
        if run.object["status"] != "requires_action":
            raise ApiError(400, f'Runs in status "{run.object["status"]}" do not accept tool outputs.')
        step = self._world.store.all(f"{run.path}/steps")[-1]
        self._take_outputs(state, step, _outputs_by_call(call.body.get("tool_outputs")))
        self._life.end_step(step, "completed", stream.tell)
        run.object["required_action"] = None
        self._world.store.note_change(run)
        return self._go_on(call, run, state, stream)

    def _take_outputs(self, state: RunState, step: Record, outputs: dict[str, str]) -> None:
        calls = step.object["step_details"]["tool_calls"]
        expected = [called["id"] for called in calls]
        if set(expected) != set(outputs):
            message = f"Expected tool outputs for call_ids {expected}, got {list(outputs)}"
            raise ApiError(400, message, param="tool_outputs")
        for called in calls:
            output = called["function"]["output"] = outputs[called["id"]]
            state.results.append(ToolResult(called["function"]["name"], output))

    def cancel(self, call: Call) -> JsonObject:
        """Answer POST …/cancel; ApiError 400 for a run that is over."""
        run = call.record()
        if run.object["status"] not in ACTIVE_RUN_STATUSES and not run.is_invented:
            raise ApiError(400, f"Cannot cancel run with status '{run.object['status']}'.")
        self._life.cancel(run)
        return run.object

    def retrieve(self, call: Call) -> Response | typing.Awaitable[Response]:
        """Answer a run. While it is under way, a header field tells the client how soon to ask again."""
        run, speed = call.record().object, self._world.settings.speed
        fields = JSON_FIELDS
        if run["status"] in _MOVING_RUN_STATUSES and speed:
            fields += encode_fields([("openai-poll-after-ms", str(max(1, int(_POLL_SECONDS * 1000 / speed))))])
        return json_answer(self._world, run, fields)

    def list_steps(self, call: Call) -> JsonObject:
        """Answer the steps of a run. The text that a search found is only shown where it is asked for."""
        page = list_objects(call)
        return {**page, "data": [shown_step(step, call.query.get("include")) for step in page["data"]]}

    def step(self, call: Call) -> JsonObject:
        """Answer a step. The run is looked at first, as its plan changes the step."""
        call.parents()
        return shown_step(call.record().object, call.query.get("include"))

    def _go_on(self, call: Call, run: Record, state: RunState, stream: _RunStream) -> JsonObject | Response:
        """Let a run that has what it needs go on: over time, or at once where a stream is asked for."""
        state.caller, state.is_streamed = caller_of(call.request), call.body.get("stream") is True
        if call.body.get("stream") is not True:
            self._life.go_on(run, state)
            return run.object
        self._life.go_on_now(run, state, stream.tell)
        return self._world.stream(stream.frames())


def _outputs_by_call(outputs: typing.Any) -> dict[str, str]:
    return {str(one.get("tool_call_id")): str(one.get("output") or "") for one in objects_of(outputs)}
