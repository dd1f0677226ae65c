"""Asynchronous tasks of the mock. Their state follows from the clock alone, so nothing runs between requests.

PENDING for half a second, RUNNING for a second, then SUCCEEDED or FAILED; a cancelled one stays CANCELED. Source:
DashScope API reference, "Asynchronous tasks".
"""

from __future__ import annotations

import time
import typing

from protocol.mock.dashscope.newest import Newest
from protocol.wire.json_text import JsonObject

PENDING_SECONDS = 0.5
RUNNING_SECONDS = 1.0

_TASK_LIFE_SECONDS = 86400.0


class _MockTask(typing.NamedTuple):
    id: str
    model: str
    created: float
    total: int
    output: JsonObject
    usage: JsonObject
    failure: JsonObject | None
    is_cancelled: bool = False


class MockTasks:
    """Tasks by id, remembered for a day; `newest` says which ones. `clock` gives seconds since the epoch."""

    def __init__(self, clock: typing.Callable[[], float], newest: Newest) -> None:
        self._clock = clock
        self._newest = newest
        self._tasks: dict[str, _MockTask] = {}

    def create(
        self, id: str, model: str, count: int, output: JsonObject, usage: JsonObject, failure: JsonObject | None = None
    ) -> None:
        """Begin a task that makes `count` things. It ends with `output` and `usage`, or with `failure`."""
        task = _MockTask(id, model, self._clock(), count, output, usage, failure)
        self._newest.add(self._tasks, id, task)

    def report(self, id: str) -> JsonObject:
        """Return the answer to a poll, without its request id; UNKNOWN for a task that is not remembered."""
        task = self._tasks.get(id)
        if task is None or self._clock() - task.created > _TASK_LIFE_SECONDS:
            return {"output": {"task_id": id, "task_status": "UNKNOWN"}}
        status = self._status(task)
        output: JsonObject = {"task_id": id, "task_status": status, **self._times(task, status)}
        output["task_metrics"] = {
            "TOTAL": task.total,
            "SUCCEEDED": task.total if status == "SUCCEEDED" else 0,
            "FAILED": task.total if status == "FAILED" else 0,
        }
        if status == "FAILED" and task.failure is not None:
            output.update(task.failure)
        if status == "SUCCEEDED":
            return {"output": {**output, **task.output}, "usage": task.usage}
        return {"output": output}

    def cancel(self, id: str) -> bool:
        """Cancel a task; only a pending one can be."""
        task = self._tasks.get(id)
        if task is None or self._status(task) != "PENDING":
            return False
        self._tasks[id] = task._replace(is_cancelled=True)
        return True

    def rows(self, status: str = "", model: str = "") -> list[JsonObject]:
        """Return the rows of a list, the newest task first; `status` and `model` filter unless they are ""."""
        rows = []
        for task in reversed(self._tasks.values()):
            row = {"task_id": task.id, "model_name": task.model, "status": self._status(task)}
            if status in ("", row["status"]) and model in ("", task.model):
                rows.append({**row, "start_time": int(task.created * 1000)})
        return rows

    def _status(self, task: _MockTask) -> str:
        if task.is_cancelled:
            return "CANCELED"
        age = self._clock() - task.created
        if age < PENDING_SECONDS:
            return "PENDING"
        if age < PENDING_SECONDS + RUNNING_SECONDS:
            return "RUNNING"
        return "FAILED" if task.failure else "SUCCEEDED"

    def _times(self, task: _MockTask, status: str) -> JsonObject:
        times = {"submit_time": timestamp(task.created)}
        if status not in ("PENDING", "CANCELED"):
            times["scheduled_time"] = timestamp(task.created + PENDING_SECONDS)
        if status in ("SUCCEEDED", "FAILED"):
            times["end_time"] = timestamp(task.created + PENDING_SECONDS + RUNNING_SECONDS)
        return times


def timestamp(seconds: float) -> str:
    """Return a time as tasks show it: the time of Beijing, with milliseconds."""
    milliseconds = int(seconds * 1000)
    moment = time.gmtime(milliseconds // 1000 + 8 * 3600)
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', moment)}.{milliseconds % 1000:03d}"
