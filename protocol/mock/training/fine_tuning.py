"""Fine-tuning: jobs, checkpoints and who may use them, graders, and the models that come out.

Source: OpenAI API reference, "Fine-tuning". The life of a job is in jobs.py.
"""

from __future__ import annotations

import typing

from protocol.errors import ApiError
from protocol.mock.engine.resources import Handler, create_record, deleted_answer, page_of
from protocol.mock.engine.store import Record
from protocol.mock.engine.world import Call, World
from protocol.mock.training.course import (
    UNKNOWN_EXAMPLES,
    Examples,
    TrainingCourse,
    asked_hyperparameters,
    read_examples,
    shown_hyperparameters,
    shown_method,
)
from protocol.mock.training.formula import FormulaError
from protocol.mock.training.graders import Grade, grade, sample_of
from protocol.mock.training.jobs import ORGANIZATION_ID, Jobs, JobState
from protocol.turns import in_turns
from protocol.wire.json_text import JsonObject

_JOBS = "/fine_tuning/jobs"
# A larger file is read in another thread.
_READ_AT_ONCE_BYTES = 256 * 1024


class FineTuning:
    """The family of /fine_tuning, and of the deletion of models."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._jobs = Jobs(world)

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
            return self._create(call, UNKNOWN_EXAMPLES)
        if len(training.content) > _READ_AT_ONCE_BYTES:
            return self._create_slowly(call, training.content)
        return self._create(call, read_examples(training.content))

    async def _create_slowly(self, call: Call, data: bytes) -> JsonObject:
        """Read a large file in turns with everybody else."""
        return self._create(call, await in_turns(lambda: read_examples(data)))

    def _create(self, call: Call, examples: Examples) -> JsonObject:
        body, world = call.body, self._world
        validation = self._file(body["validation_file"], "validation_file") if body.get("validation_file") else None
        course = TrainingCourse(examples, validation is not None, asked_hyperparameters(body))
        seed = body.get("seed")
        record = create_record(
            call,
            {
                "organization_id": ORGANIZATION_ID, "result_files": [], "fine_tuned_model": None, "finished_at": None,
                "trained_tokens": None, "error": None, "validation_file": body.get("validation_file"),
                "seed": world.random_bits(31) if seed is None else seed, "estimated_finish": None,
                "hyperparameters": shown_hyperparameters(asked_hyperparameters(body)), "method": shown_method(body),
                "integrations": body.get("integrations") or [], "metadata": body.get("metadata"),
            },
        )  # fmt: skip
        self._jobs.begin(record, JobState(course, str(body.get("suffix") or "")), call.operation.stages)
        return record.object

    def _file(self, id: str, param: str) -> Record | None:
        """Return a file, None for one that nobody uploaded where ids may be invented; else ApiError 400."""
        record = self._world.store.get("/files", id)
        if record is None and self._world.settings.unknown_ids != "invent":
            raise ApiError(400, f"File '{id[:100]}' does not exist.", param=param, code="invalid_file")
        return record

    def cancel(self, call: Call) -> JsonObject:
        """End a job that is not over; ApiError 400 for one that is."""
        record = self._changeable(call, "cancel", ("validating_files", "queued", "running", "paused"))
        self._jobs.cancel(record)
        return record.object

    def pause(self, call: Call) -> JsonObject:
        """Let a job wait."""
        record = self._changeable(call, "pause", ("validating_files", "queued", "running"))
        state = record.state_of(JobState)
        # A job that was made up stays as it is: the clients' types of a job know no status "paused".
        if state is not None:
            self._jobs.pause(record, state)
        return record.object

    def resume(self, call: Call) -> JsonObject:
        """Let a job that waits go on."""
        record = self._changeable(call, "resume", ("paused",))
        state = record.state_of(JobState)
        if state is not None:
            self._jobs.resume(record, state)
        return record.object

    def _changeable(self, call: Call, action: str, statuses: typing.Sequence[str]) -> Record:
        """Return the job that the path names; ApiError 400 unless it is in one of these statuses, or made up."""
        record = call.record()
        status = record.object.get("status")
        if not record.is_invented and status not in statuses:
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
            problem = exc.with_traceback(None)  # which has this frame, and with it the request
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
        answer: JsonObject = self._world.complete(call.operation.result, known)
        return answer

    def validate_grader(self, call: Call) -> JsonObject:
        """Answer the grader. One that is not as it should be was refused when the request was checked."""
        return {"grader": call.body["grader"]}

    # ---- models -------------------------------------------------------------------------------------------------

    def delete_model(self, call: Call) -> JsonObject:
        """Remove a model that a job has made; ApiError 404 for any other."""
        world, name = self._world, call.names["model"].replace("%2F", "/")
        world.store.all(_JOBS)  # a job that is due makes its model now
        if not world.store.remove("/models", name) and world.settings.unknown_ids != "invent":
            raise ApiError(
                404, f"The model '{name[:100]}' does not exist or cannot be deleted.",
                param="model", code="model_not_found",
            )  # fmt: skip
        return deleted_answer(call, name)
