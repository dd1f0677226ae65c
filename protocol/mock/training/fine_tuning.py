"""Fine-tuning jobs: from validating their files to a model of their own, with events, checkpoints and metrics.

The life cycle is in the description. The losses are no measurement: they fall as those of a job that goes well.
Source: OpenAI API reference, "Fine-tuning".
"""

from __future__ import annotations

import asyncio
import math
import typing

from protocol.errors import ApiError
from protocol.mock.answer.reply import count_tokens
from protocol.mock.engine.resources import Handler, create_record, deleted_answer, page_of
from protocol.mock.engine.store import Change, Record
from protocol.mock.engine.world import Call, World
from protocol.mock.training.graders import FormulaError, Grade, grade, sample_of
from protocol.openai.answers import model_object
from protocol.wire.json_text import JsonObject, parse_json

_FINE_TUNING_JOBS = "/fine_tuning/jobs"
_ORGANIZATION_NAME = "oaiserve"
_ORGANIZATION_ID = "org-oaiserve"

# What "auto" stands for; the batch grows with the examples.
_AUTO_EPOCHS = 3
_AUTO_RATE = 2.0
_EXAMPLES_A_BATCH_SIZE = 500
# Steps that events tell about, and epochs that leave a checkpoint.
_MOST_TOLD_STEPS = 10
_MOST_CHECKPOINTS = 3
_MOST_HYPERPARAMETER = 1_000_000
# A line of a training file has one of these: chat, legacy, preferences, reinforcement.
_EXAMPLE_KEYS = ("messages", "prompt", "input")


class _Examples(typing.NamedTuple):
    """How many examples and tokens a training file has, and what is wrong with it."""

    count: int
    tokens: int
    problem: str


# What a file counts for that nobody uploaded here.
_UNKNOWN_EXAMPLES = _Examples(10, 1000, "")
# A larger file is read in another thread.
_READ_AT_ONCE_BYTES = 256 * 1024


class FineTuning:
    """Jobs, their events and checkpoints, who may use checkpoints, graders, and the models that come out."""

    def __init__(self, world: World) -> None:
        self._world = world

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by operation."""
        job = "/fine_tuning/jobs/{fine_tuning_job_id}"
        permissions = "/fine_tuning/checkpoints/{fine_tuned_model_checkpoint}/permissions"
        return {
            "POST /fine_tuning/jobs": self.create,
            f"POST {job}/cancel": self.cancel,
            f"POST {job}/pause": self.pause,
            f"POST {job}/resume": self.resume,
            f"GET {permissions}": self.permissions,
            f"POST {permissions}": self.permit,
            "POST /fine_tuning/alpha/graders/run": self.run_grader,
            "POST /fine_tuning/alpha/graders/validate": self.validate_grader,
            "DELETE /models/{model}": self.delete_model,
        }

    # ---- jobs ---------------------------------------------------------------------------------------------------

    def create(self, call: Call) -> JsonObject | typing.Awaitable[JsonObject]:
        """Create a job; ApiError 400 for a training file that is not known."""
        training = self._file(call.body["training_file"], "training_file")
        if training is None:
            return self._create(call, _UNKNOWN_EXAMPLES)
        if len(training.content) > _READ_AT_ONCE_BYTES:
            return self._create_slowly(call, training.content)
        return self._create(call, _counted_examples(training.content))

    async def _create_slowly(self, call: Call, data: bytes) -> JsonObject:
        """Read a large file in another thread, so that others have their turns meanwhile."""
        counted = asyncio.get_running_loop().run_in_executor(None, _counted_examples, data)
        return self._create(call, await counted)

    def _create(self, call: Call, examples: _Examples) -> JsonObject:
        body, world = call.body, self._world
        validation = self._file(body["validation_file"], "validation_file") if body.get("validation_file") else None
        course = _TrainingCourse(examples, validation is not None, _asked_hyperparameters(body))
        seed = body.get("seed")
        record = create_record(
            call,
            {
                "organization_id": _ORGANIZATION_ID, "result_files": [], "fine_tuned_model": None, "finished_at": None,
                "trained_tokens": None, "error": None, "validation_file": body.get("validation_file"),
                "seed": world.random_bits(31) if seed is None else seed, "estimated_finish": None,
                "hyperparameters": _shown_hyperparameters(_asked_hyperparameters(body)), "method": _shown_method(body),
                "integrations": body.get("integrations") or [], "metadata": body.get("metadata"),
            },
        )  # fmt: skip
        record.notes.update(course=course, suffix=str(body.get("suffix") or ""))
        self._plan(record, call.operation.stages)
        return record.object

    def _file(self, id: str, param: str) -> Record | None:
        """Return a file, None when ids may be invented and nobody uploaded it."""
        record = self._world.store.get("/files", id)
        if record is None and self._world.settings.unknown_ids != "invent":
            raise ApiError(400, f"File '{id[:100]}' does not exist.", param=param, code="invalid_file")
        return record

    def _plan(self, record: Record, stages: typing.Sequence[typing.Any]) -> None:
        """Plan what becomes of a job, in place of the engine's changes of its status alone."""
        course: _TrainingCourse = record.notes["course"]
        validating, queued, running = (stage.seconds for stage in stages[:3])
        begin = self._world.clock()
        self._tell(record, f"Created fine-tuning job: {record.id}")
        self._tell(record, f"Validating training file: {record.object['training_file']}")
        start = begin + validating + queued
        steps: list[tuple[float, Change]] = [(begin + validating, self._validated), (start, self._started)]
        for step in course.told_steps():
            due = start + running * step / course.steps
            steps.append((due, lambda record, step=step: self._stepped(record, step)))
        record.plan[:] = [*steps, (start + running, self._succeeded)]

    # ---- what happens when it is due ----------------------------------------------------------------------------

    def _tell(self, record: Record, message: str, data: JsonObject | None = None) -> None:
        event: JsonObject = {
            "object": "fine_tuning.job.event", "id": self._world.new_id("ftevent-"),
            "created_at": self._world.now(), "level": "info", "message": message,
            "type": "metrics" if data else "message", "data": data or {},
        }  # fmt: skip
        self._world.store.add(f"{record.path}/events", event["id"], event)

    def _validated(self, record: Record) -> None:
        course: _TrainingCourse = record.notes["course"]
        if course.problem:
            self._fail(record, course.problem)
            return
        self._tell(record, "Files validated, moving job to queued state")
        record.object["status"] = "queued"

    def _fail(self, record: Record, problem: str) -> None:
        record.plan.clear()
        message = f"The job failed due to an invalid training file. {problem}"
        error = {"code": "invalid_training_file", "param": "training_file", "message": message}
        record.object.update(status="failed", error=error, finished_at=self._world.now())
        self._tell(record, message)
        self._world.store.all(f"{record.path}/events")[-1].object["level"] = "error"

    def _started(self, record: Record) -> None:
        course: _TrainingCourse = record.notes["course"]
        record.object["status"] = "running"
        record.object["hyperparameters"] = dict(course.hyperparameters)
        method = record.object.get("method") or {}
        chosen = method.get(method.get("type", "")) or {}
        if "hyperparameters" in chosen:
            chosen["hyperparameters"] = {**chosen["hyperparameters"], **course.hyperparameters}
        self._tell(record, "Fine-tuning job started")

    def _stepped(self, record: Record, step: int) -> None:
        course: _TrainingCourse = record.notes["course"]
        metrics = course.metrics(step)
        loss = metrics["train_loss"]
        told = {"step": step, "total_steps": course.steps, **metrics}
        self._tell(record, f"Step {step}/{course.steps}: training loss={loss:.2f}", told)
        if step in course.checkpoint_steps():
            self._save_checkpoint(record, step)

    def _save_checkpoint(self, record: Record, step: int) -> None:
        course: _TrainingCourse = record.notes["course"]
        model = f"{self._model_name(record)}:ckpt-step-{step}"
        if step == course.steps:
            model = self._model_name(record)
        checkpoint: JsonObject = {
            "object": "fine_tuning.job.checkpoint", "id": self._world.new_id("ftckpt_"),
            "created_at": self._world.now(), "fine_tuned_model_checkpoint": model,
            "fine_tuning_job_id": record.id, "step_number": step, "metrics": {"step": step, **course.metrics(step)},
        }  # fmt: skip
        self._world.store.add(f"{record.path}/checkpoints", checkpoint["id"], checkpoint)
        if step != course.steps:
            self._tell(record, f"Checkpoint created at step {step}")
            self._add_model(model)

    def _model_name(self, record: Record) -> str:
        suffix = "".join(sign if sign.isalnum() else "-" for sign in record.notes["suffix"].lower())
        return f"ft:{record.object['model']}:{_ORGANIZATION_NAME}:{suffix}:{record.id[-8:]}"

    def _add_model(self, name: str) -> None:
        self._world.store.add("/models", name, model_object(name, self._world.now(), _ORGANIZATION_ID))

    def _succeeded(self, record: Record) -> None:
        course: _TrainingCourse = record.notes["course"]
        name = self._model_name(record)
        self._add_model(name)
        record.object.update(
            status="succeeded", fine_tuned_model=name, finished_at=self._world.now(),
            trained_tokens=course.trained_tokens, result_files=[self._result_file(course)],
        )  # fmt: skip
        self._tell(record, f"New fine-tuned model created: {name}")
        self._tell(record, "The job has successfully completed")

    def _result_file(self, course: _TrainingCourse) -> str:
        world = self._world
        data = course.table().encode()
        shape = world.reference.operation("POST /files").result
        known = {
            "id": world.new_id("file-"), "bytes": len(data), "created_at": self._world.now(),
            "filename": "step_metrics.csv", "purpose": "fine-tune-results", "status": "processed",
        }  # fmt: skip
        world.store.add("/files", known["id"], world.complete(shape, known), data)
        return known["id"]

    # ---- cancel, pause, resume ----------------------------------------------------------------------------------

    def cancel(self, call: Call) -> JsonObject:
        """End a job that is not done; ApiError 400 for one that is."""
        record = self._changeable(call, "cancel", ("validating_files", "queued", "running", "paused"))
        record.plan.clear()
        record.object.update(status="cancelled", finished_at=self._world.now())
        self._tell(record, "The job was cancelled")
        return record.object

    def pause(self, call: Call) -> JsonObject:
        """Let a job wait."""
        record = self._changeable(call, "pause", ("validating_files", "queued", "running"))
        if "course" not in record.notes:
            # Nobody's job has nothing to wait with, and clients know no status "paused" in their types.
            return record.object
        record.notes.update(left=list(record.plan), paused_at=self._world.clock(), status=record.object["status"])
        record.plan.clear()
        record.object["status"] = "paused"
        self._tell(record, "The job was paused")
        return record.object

    def resume(self, call: Call) -> JsonObject:
        """Let a job that waits go on."""
        record = self._changeable(call, "resume", ("paused",))
        if "left" not in record.notes:
            return record.object
        waited = self._world.clock() - record.notes["paused_at"]
        record.plan[:] = [(due + waited, change) for due, change in record.notes.pop("left")]
        record.object["status"] = record.notes.pop("status")
        self._tell(record, "The job was resumed")
        return record.object

    def _changeable(self, call: Call, action: str, statuses: typing.Sequence[str]) -> Record:
        record = call.record()
        status = record.object.get("status")
        if "course" in record.notes and status not in statuses:
            raise ApiError(400, f"Cannot {action} job {record.id} with status '{status}'.", code="invalid_job_status")
        return record

    # ---- who may use a checkpoint -------------------------------------------------------------------------------

    def permissions(self, call: Call) -> JsonObject:
        """Answer the projects that may use a checkpoint."""
        project_id = call.query.get("project_id")
        permissions = [record.object for record in self._world.store.all(call.collection)]
        permissions = [one for one in permissions if project_id in (None, one["project_id"])]
        order = "asc" if call.query.get("order") == "ascending" else "desc"
        return page_of(permissions, {**call.query, "order": order})

    def permit(self, call: Call) -> JsonObject:
        """Let projects use a checkpoint."""
        made = []
        for project_id in call.body["project_ids"]:
            known = {"id": self._world.new_id(call.operation.prefix), "project_id": project_id}
            permission = self._world.complete(call.operation.result, known)
            self._world.store.add(call.collection, permission["id"], permission)
            made.append(permission)
        return page_of(made, {"order": "asc"}, "whole")

    # ---- graders ------------------------------------------------------------------------------------------------

    def run_grader(self, call: Call) -> JsonObject:
        """Rate one sample."""
        grader = call.body["grader"]
        problem: FormulaError | None = None
        graded = Grade(0.0, False)
        try:
            graded = grade(grader, call.body.get("item"), sample_of(call.body["model_sample"]))
        except FormulaError as exc:
            problem = exc
        errors = {
            "formula_parse_error": problem is not None and not problem.is_variable,
            "invalid_variable_error": problem is not None and problem.is_variable,
        }
        scores = dict(graded.parts) or {grader["name"]: graded.score}
        metadata = {
            "name": grader["name"], "type": grader["type"], "errors": errors, "execution_time": 0.0, "scores": scores,
            "token_usage": None, "sampled_model_name": grader.get("model"),
        }  # fmt: skip
        known = {"reward": graded.score, "metadata": metadata, "sub_rewards": dict(graded.parts)}
        return self._world.complete(call.operation.result, known)

    def validate_grader(self, call: Call) -> JsonObject:
        """Answer a grader that is as it should be: its form was checked with the request."""
        return {"grader": call.body["grader"]}

    # ---- models -------------------------------------------------------------------------------------------------

    def delete_model(self, call: Call) -> JsonObject:
        """Remove a model that came to be here; ApiError 404 for any other."""
        world, name = self._world, call.names["model"].replace("%2F", "/")
        world.store.all(_FINE_TUNING_JOBS)
        if not world.store.remove("/models", name) and world.settings.unknown_ids != "invent":
            raise ApiError(
                404, f"The model '{name[:100]}' does not exist or cannot be deleted.",
                param="model", code="model_not_found",
            )  # fmt: skip
        return deleted_answer(call, name)


# ---- the course of a job


class _TrainingCourse:
    """What a job will do, reckoned from its files and hyperparameters; `problem` is why it cannot."""

    def __init__(self, counted: _Examples, has_validation: bool, asked: JsonObject) -> None:
        examples, tokens, self.problem = counted
        epochs = _chosen_hyperparameter(asked, "n_epochs", _AUTO_EPOCHS)
        batch = _chosen_hyperparameter(asked, "batch_size", max(1, examples // _EXAMPLES_A_BATCH_SIZE))
        self.hyperparameters: JsonObject = {
            "n_epochs": epochs,
            "batch_size": batch,
            "learning_rate_multiplier": _chosen_hyperparameter(asked, "learning_rate_multiplier", _AUTO_RATE),
        }
        self._steps_an_epoch = max(1, math.ceil(examples / max(1, batch)))
        self._epochs = max(1, int(epochs))
        self._has_validation = has_validation
        self.steps = self._steps_an_epoch * self._epochs
        self.trained_tokens = tokens * self._epochs

    def checkpoint_steps(self) -> list[int]:
        """Return the steps that leave a checkpoint: the ends of the last epochs."""
        first = max(0, self._epochs - _MOST_CHECKPOINTS)
        return [self._steps_an_epoch * (epoch + 1) for epoch in range(first, self._epochs)]

    def told_steps(self) -> list[int]:
        """Return the steps that events tell about, in their order."""
        told = {1 + (self.steps - 1) * number // _MOST_TOLD_STEPS for number in range(_MOST_TOLD_STEPS + 1)}
        return sorted(told.union(self.checkpoint_steps()))

    def metrics(self, step: int) -> dict[str, float]:
        """Return the metrics after a step: losses that fall, accuracies that rise."""
        done = step / self.steps
        loss = 0.3 + 2.2 * math.exp(-3 * done)
        metrics = {"train_loss": round(loss, 4), "train_mean_token_accuracy": round(1 - loss / 5, 4)}
        if self._has_validation:
            metrics["valid_loss"] = round(loss * 1.1, 4)
            metrics["valid_mean_token_accuracy"] = round(1 - loss * 1.1 / 5, 4)
            if step in self.checkpoint_steps():
                metrics["full_valid_loss"] = metrics["valid_loss"]
                metrics["full_valid_mean_token_accuracy"] = metrics["valid_mean_token_accuracy"]
        return metrics

    def table(self) -> str:
        """Return the metrics of the steps as CSV."""
        lines = ["step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"]
        for step in self.told_steps():
            metrics = self.metrics(step)
            shown = [metrics["train_loss"], metrics["train_mean_token_accuracy"]]
            shown += [metrics.get("valid_loss", ""), metrics.get("valid_mean_token_accuracy", "")]
            lines.append(",".join(str(value) for value in [step, *shown]))
        return "\n".join(lines) + "\n"


def _counted_examples(data: bytes) -> _Examples:
    """Read a training file."""
    examples = tokens = 0
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            example = parse_json(line)
        except ApiError:
            return _Examples(examples, tokens, f"Invalid file format. Line {number} is not valid JSON.")
        if not isinstance(example, dict) or not any(key in example for key in _EXAMPLE_KEYS):
            problem = f"Invalid file format. Line {number}: expected an object with 'messages'."
            return _Examples(examples, tokens, problem)
        examples += 1
        tokens += sum(count_tokens(text) for text in _example_texts(example))
    return _Examples(examples, tokens, "" if examples else "Training file is empty.")


def _example_texts(value: typing.Any) -> typing.Iterator[str]:
    """Yield the texts of an example, but not the names of its members nor roles and types."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, list):
            waiting.extend(one)
        elif isinstance(one, dict):
            waiting.extend(member for name, member in one.items() if name not in ("role", "type"))


def _asked_hyperparameters(body: JsonObject) -> JsonObject:
    """Return the hyperparameters that a request asks for; a method's own come before the old ones."""
    method = body.get("method") or {}
    chosen = method.get(method.get("type", "")) or {}
    return {**(body.get("hyperparameters") or {}), **(chosen.get("hyperparameters") or {})}


def _shown_hyperparameters(asked: JsonObject) -> JsonObject:
    return {name: asked.get(name) or "auto" for name in ("n_epochs", "batch_size", "learning_rate_multiplier")}


def _shown_method(body: JsonObject) -> JsonObject:
    method = body.get("method")
    if method:
        return method
    return {
        "type": "supervised",
        "supervised": {"hyperparameters": _shown_hyperparameters(_asked_hyperparameters(body))},
    }


def _chosen_hyperparameter(asked: JsonObject, name: str, usual: typing.Any) -> typing.Any:
    value = asked.get(name)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if is_number and 0 < value <= _MOST_HYPERPARAMETER else usual
