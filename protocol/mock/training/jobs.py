"""The life of a fine-tuning job.

Theory of operation.

    validating_files -> queued -> running -> succeeded           cancelled: from every state before an end
           |                                                     paused: likewise, and back to where the job was
           v
         failed

The stages' seconds are those of the API's description. The whole course is planned when the job is created: each change
of its status, each step that an event tells about. A job that is paused takes its plan along, and goes on with it later
by as much as it has waited.
"""

from __future__ import annotations

import typing

from protocol.mock.engine.store import Change, Record, State
from protocol.mock.engine.world import World
from protocol.mock.training.course import TrainingCourse
from protocol.openai.answers import model_object
from protocol.openai.api.operations import Stage
from protocol.wire.json_text import JsonObject

_ORGANIZATION_NAME = "oaiserve"
ORGANIZATION_ID = "org-oaiserve"


class _Pause(typing.NamedTuple):
    """What a job that is paused goes on with: its status and its plan, and when it was paused."""

    status: str
    plan: list[tuple[float, Change]]
    since: float


class JobState(State):
    """What a job knows and does not show: its course, the suffix of its model's name, and its pause."""

    __slots__ = ("course", "pause", "suffix")

    def __init__(self, course: TrainingCourse, suffix: str) -> None:
        self.course = course
        self.suffix = suffix
        self.pause: _Pause | None = None


class Jobs:
    """Lets fine-tuning jobs begin, go on, wait and end."""

    def __init__(self, world: World) -> None:
        self._world = world

    def begin(self, record: Record, state: JobState, stages: typing.Sequence[Stage]) -> None:
        """Plan what becomes of a job, in the place of the engine's plan, which changes the status alone."""
        record.state = state
        validating, queued, running = (stage.seconds for stage in stages[:3])
        begin = self._world.clock()
        self._tell(record, f"Created fine-tuning job: {record.id}")
        self._tell(record, f"Validating training file: {record.object['training_file']}")
        start = begin + validating + queued
        record.plan[:] = [
            (begin + validating, lambda record: self._validated(record, state)),
            (start, lambda record: self._started(record, state)),
        ]
        for step in state.course.told_steps():
            due = start + running * step / state.course.steps
            record.plan.append((due, self._step(state, step)))
        record.plan.append((start + running, lambda record: self._succeeded(record, state)))

    def cancel(self, record: Record) -> None:
        """End a job."""
        record.plan.clear()
        record.object.update(status="cancelled", finished_at=self._world.now())
        self._tell(record, "The job was cancelled")

    def pause(self, record: Record, state: JobState) -> None:
        """Let a job wait."""
        state.pause = _Pause(record.object["status"], list(record.plan), self._world.clock())
        record.plan.clear()
        record.object["status"] = "paused"
        self._tell(record, "The job was paused")

    def resume(self, record: Record, state: JobState) -> None:
        """Let a job that waits go on."""
        if state.pause is None:
            return
        waited = self._world.clock() - state.pause.since
        record.plan[:] = [(due + waited, change) for due, change in state.pause.plan]
        record.object["status"] = state.pause.status
        state.pause = None
        self._tell(record, "The job was resumed")

    # ---- the changes --------------------------------------------------------------------------------------------

    def _tell(self, record: Record, message: str, data: JsonObject | None = None) -> Record:
        """Add an event."""
        event: JsonObject = {
            "object": "fine_tuning.job.event", "id": self._world.new_id("ftevent-"),
            "created_at": self._world.now(), "level": "info", "message": message,
            "type": "metrics" if data else "message", "data": data or {},
        }  # fmt: skip
        return self._world.store.add(f"{record.path}/events", event["id"], event)

    def _validated(self, record: Record, state: JobState) -> None:
        if state.course.problem:
            self._fail(record, state.course.problem)
            return
        self._tell(record, "Files validated, moving job to queued state")
        record.object["status"] = "queued"

    def _fail(self, record: Record, problem: str) -> None:
        record.plan.clear()
        message = f"The job failed due to an invalid training file. {problem}"
        error = {"code": "invalid_training_file", "param": "training_file", "message": message}
        record.object.update(status="failed", error=error, finished_at=self._world.now())
        self._tell(record, message).object["level"] = "error"

    def _started(self, record: Record, state: JobState) -> None:
        hyperparameters = state.course.hyperparameters
        record.object["status"] = "running"
        record.object["hyperparameters"] = dict(hyperparameters)
        method = record.object.get("method") or {}
        chosen = method.get(method.get("type", "")) or {}
        if "hyperparameters" in chosen:
            chosen["hyperparameters"] = {**chosen["hyperparameters"], **hyperparameters}
        self._tell(record, "Fine-tuning job started")

    def _step(self, state: JobState, step: int) -> Change:
        """Return the change that a step of the training makes."""

        def change(record: Record) -> None:
            course = state.course
            metrics = course.metrics(step)
            told = {"step": step, "total_steps": course.steps, **metrics}
            self._tell(record, f"Step {step}/{course.steps}: training loss={metrics['train_loss']:.2f}", told)
            if step in course.checkpoint_steps():
                self._save_checkpoint(record, state, step)

        return change

    def _save_checkpoint(self, record: Record, state: JobState, step: int) -> None:
        is_last = step == state.course.steps
        model = self._model_name(record, state) if is_last else f"{self._model_name(record, state)}:ckpt-step-{step}"
        checkpoint: JsonObject = {
            "object": "fine_tuning.job.checkpoint", "id": self._world.new_id("ftckpt_"),
            "created_at": self._world.now(), "fine_tuned_model_checkpoint": model, "fine_tuning_job_id": record.id,
            "step_number": step, "metrics": {"step": step, **state.course.metrics(step)},
        }  # fmt: skip
        self._world.store.add(f"{record.path}/checkpoints", checkpoint["id"], checkpoint)
        if not is_last:
            self._tell(record, f"Checkpoint created at step {step}")
            self._add_model(model)

    def _succeeded(self, record: Record, state: JobState) -> None:
        name = self._model_name(record, state)
        self._add_model(name)
        record.object.update(
            status="succeeded", fine_tuned_model=name, finished_at=self._world.now(),
            trained_tokens=state.course.trained_tokens, result_files=[self._result_file(state.course)],
        )  # fmt: skip
        self._tell(record, f"New fine-tuned model created: {name}")
        self._tell(record, "The job has successfully completed")

    def _model_name(self, record: Record, state: JobState) -> str:
        suffix = "".join(sign if sign.isalnum() else "-" for sign in state.suffix.lower())
        return f"ft:{record.object['model']}:{_ORGANIZATION_NAME}:{suffix}:{record.id[-8:]}"

    def _add_model(self, name: str) -> None:
        self._world.store.add("/models", name, model_object(name, self._world.now(), ORGANIZATION_ID))

    def _result_file(self, course: TrainingCourse) -> str:
        world = self._world
        data = course.table().encode()
        shape = world.reference.operation("POST /files").result
        id = world.new_id("file-")
        known: JsonObject = {
            "id": id, "bytes": len(data), "created_at": self._world.now(), "filename": "step_metrics.csv",
            "purpose": "fine-tune-results", "status": "processed",
        }  # fmt: skip
        world.store.add("/files", id, world.complete(shape, known), data)
        return id
