"""DashScope's tasks: the paths to ask about them, what the answers say, and how long to wait between two polls.

A call that makes a task is answered at once, with the task's id. The task is PENDING, then RUNNING, and ends as
SUCCEEDED, FAILED or CANCELED. One that DashScope no longer knows is UNKNOWN. Source: DashScope API reference,
"Asynchronous tasks".
"""

from __future__ import annotations

import re
import typing

from protocol.dashscope.mapping.answer import as_object
from protocol.dashscope.mapping.errors import DashScopeError, error_from_answer, upstream_bad_response

#: How long a task is polled. A picture takes 10 to 120 s.
TASK_LIMIT_SECONDS = 300.0
#: How long that of a transcription is, whose recording may have twelve hours.
TRANSCRIPTION_LIMIT_SECONDS = 3600.0

_FIRST_DELAY_SECONDS = 1.0
_DELAY_GROWTH = 1.5
_LONGEST_DELAY_SECONDS = 5.0

_UNFINISHED = ("PENDING", "RUNNING", "SUSPENDED")
_TASK_ID = r"[A-Za-z0-9._-]{1,128}"


def task_path(task_id: str) -> str:
    """Return the path, below the base URL, at which a task is polled."""
    return "/tasks/" + task_id


def task_cancel_path(task_id: str) -> str:
    """Return the path at which a task is cancelled; DashScope does so only while it is PENDING."""
    return task_path(task_id) + "/cancel"


def created_task_id(answer: typing.Mapping[str, typing.Any]) -> str:
    """Return the id in the answer to the call that makes a task.

    DashScopeError 502 where it has other characters than letters, digits, ".", "_" and "-": the id goes into a path.
    """
    task_id = as_object(answer.get("output")).get("task_id")
    if not isinstance(task_id, str) or not is_task_id(task_id):
        raise upstream_bad_response(f"expected the id of a task, got {task_id!r:.100}")
    return task_id


def is_task_id(text: str) -> bool:
    """Tell whether a text is the id of a task, and may go into a path."""
    return re.fullmatch(_TASK_ID, text) is not None


def has_task_ended(answer: typing.Mapping[str, typing.Any]) -> bool:
    """Tell whether a polled task has ended, with or without a result."""
    return as_object(answer.get("output")).get("task_status") not in _UNFINISHED


def check_task_succeeded(answer: typing.Mapping[str, typing.Any]) -> None:
    """Raise the DashScopeError for a polled task that has ended without a result."""
    output = as_object(answer.get("output"))
    status = output.get("task_status")
    if status == "SUCCEEDED":
        return
    request_id = answer.get("request_id")
    if status == "FAILED":
        raise error_from_answer({**output, "request_id": request_id})
    reason, code = "it was cancelled", "task_canceled"
    if status != "CANCELED":
        reason, code = f"its status is {status!r:.100}", "task_unknown"
    raise DashScopeError(
        502,
        f"the task {output.get('task_id')} ended without a result: {reason}",
        code,
        request_id=request_id if isinstance(request_id, str) else "",
    )


def poll_delay_seconds(polls_made: int) -> float:
    """Return how long to wait before the next poll: 1 s, then half as long again each time, up to 5 s."""
    return min(_FIRST_DELAY_SECONDS * _DELAY_GROWTH ** min(polls_made, 10), _LONGEST_DELAY_SECONDS)
