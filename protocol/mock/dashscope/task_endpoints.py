"""The endpoints of tasks, and the way in which a service answers with one. Source: DashScope API reference,
"Asynchronous tasks".
"""

from __future__ import annotations

import typing

from protocol.exchange import Answer, Request, Response
from protocol.mock.dashscope.answers import output_response
from protocol.mock.dashscope.newest import Newest
from protocol.mock.dashscope.refusals import refusal
from protocol.mock.dashscope.service_call import ServiceCall, last_segment, page_of, query_of
from protocol.mock.dashscope.tasks import MockTasks
from protocol.openai.answers import JSON_FIELDS
from protocol.wire.json_text import JsonObject, encode_json


class TaskEndpoints:
    """Begins, shows, lists and cancels tasks, of which `newest` lets the newest be remembered.

    `clock` gives seconds since the epoch, `new_id` an id.
    """

    def __init__(self, newest: Newest, clock: typing.Callable[[], float], new_id: typing.Callable[[], str]) -> None:
        self._tasks = MockTasks(clock, newest)
        self._new_id = new_id

    def answer(self, call: ServiceCall, count: int, output: JsonObject, usage: JsonObject) -> Answer:
        """Answer a service call that makes `count` things: with a task, or at once where it asks for none."""
        if not call.task:
            metrics = {"TOTAL": count, "SUCCEEDED": count, "FAILED": 0}
            return output_response(call.request.id, {**output, "task_metric": metrics}, usage)
        failure = None
        if call.asked_error is not None:
            failure = {"code": call.asked_error.code, "message": call.asked_error.message}
        task_id = self._new_id()
        self._tasks.create(task_id, call.model, count, output, usage, failure)
        return output_response(call.request.id, {"task_status": "PENDING", "task_id": task_id})

    def show(self, request: Request) -> Answer:
        """Answer GET /tasks/{id}; a task that is not known is UNKNOWN, under HTTP 200."""
        report = self._tasks.report(last_segment(request.path))
        return Response(200, JSON_FIELDS, encode_json({"request_id": request.id, **report}))

    def cancel(self, request: Request) -> Answer:
        """Answer POST /tasks/{id}/cancel."""
        if not self._tasks.cancel(last_segment(request.path[: -len("/cancel")])):
            raise refusal(
                "UnsupportedOperation", "Failed to cancel the task, please confirm if the task is in PENDING status."
            )
        return Response(200, JSON_FIELDS, encode_json({"request_id": request.id}))

    def list(self, request: Request) -> Answer:
        """Answer GET /tasks: the newest first."""
        query = query_of(request)
        rows = self._tasks.rows(query.get("status", ""), query.get("model_name", ""))
        page, size = page_of(query)
        body = {
            "request_id": request.id, "data": rows[(page - 1) * size : page * size], "total": len(rows),
            "total_page": -(-len(rows) // size), "page_no": page, "page_size": size,
        }  # fmt: skip
        return Response(200, JSON_FIELDS, encode_json(body))
