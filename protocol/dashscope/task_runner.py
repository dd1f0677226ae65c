"""Tasks that a client waits for: pictures of older models, transcriptions of long recordings.

Theory of operation
-------------------
A call that makes a task is answered with its id, and the task is polled. The delay before a poll is 1 s at first and
grows to 5 s. The polling ends in one of these ways:

    the task has ended           its pictures, or the error that it ended with
    a poll fails                 two failures in a row are endured, if their status may pass (429, 5xx), because the
                                 task itself goes on; then the error is raised
    the time is up               504 after 300 s (transcriptions: an hour), or earlier where the request is limited
    the client leaves            the polling is cancelled, wherever it waits

In all but the first the task goes on, and would be billed, with nobody to wait for it. So DashScope is told to cancel
it. A task of the event loop does that, because the one that polled may be on its way out already. When the backend
closes it waits for those, which takes some seconds at most.
"""

from __future__ import annotations

import asyncio
import typing

from protocol.dashscope.calls import Caller, NativeClient
from protocol.dashscope.mapping.errors import DashScopeError, upstream_timeout
from protocol.dashscope.mapping.native import NativeCall
from protocol.dashscope.mapping.tasks import (
    TASK_LIMIT_SECONDS,
    check_task_succeeded,
    created_task_id,
    has_task_ended,
    poll_delay_seconds,
    task_cancel_path,
    task_path,
)
from protocol.wire.json_text import JsonObject

_MOST_POLL_FAILURES = 2  # in a row
_PASSING_STATUSES = (429, 500, 502, 503, 504)
_CANCEL_SECONDS = 3.0


class TaskRunner:
    """Makes tasks and waits for them; `sleep` waits for seconds between the polls of a task."""

    def __init__(self, client: NativeClient, *, sleep: typing.Callable[[float], typing.Awaitable[object]]) -> None:
        self._client = client
        self._sleep = sleep
        self._cancelling: set[asyncio.Task[None]] = set()

    async def finish(self, call: NativeCall, caller: Caller, limit_seconds: float = TASK_LIMIT_SECONDS) -> JsonObject:
        """Make a task, wait until it ends, and return its answer; DashScopeError."""
        task_id = created_task_id(await self._client.ask(call, caller))
        try:
            answer = await self._poll(task_id, caller, limit_seconds)
        except BaseException:
            cancelling = asyncio.get_running_loop().create_task(self._cancel(task_id, caller))
            self._cancelling.add(cancelling)
            cancelling.add_done_callback(self._cancelling.discard)
            raise
        check_task_succeeded(answer)
        return answer

    async def close(self) -> None:
        """Wait, for some seconds at most, until the tasks that nobody waits for have been cancelled."""
        await asyncio.gather(*self._cancelling, return_exceptions=True)

    async def _poll(self, task_id: str, caller: Caller, limit_seconds: float) -> JsonObject:
        waited = 0.0
        polls = failures = 0
        deadline = asyncio.get_running_loop().time() + limit_seconds
        deadline = min(deadline, caller.deadline) if caller.deadline else deadline
        while True:
            delay = poll_delay_seconds(polls)
            polls += 1
            waited += delay
            if waited > limit_seconds or asyncio.get_running_loop().time() + delay > deadline:
                raise upstream_timeout(limit_seconds)
            await self._sleep(delay)
            try:
                answer = await self._client.ask_task("GET", task_path(task_id), caller, deadline)
                failures = 0
            except DashScopeError as exc:
                failures += 1
                if exc.status not in _PASSING_STATUSES or failures > _MOST_POLL_FAILURES:
                    raise
                continue
            if has_task_ended(answer):
                return answer

    async def _cancel(self, task_id: str, caller: Caller) -> None:
        """Give a task up. DashScope refuses that once the task runs; then it runs for nobody."""
        deadline = asyncio.get_running_loop().time() + _CANCEL_SECONDS
        try:
            await self._client.ask_task("POST", task_cancel_path(task_id), caller, deadline)
        except DashScopeError:
            pass  # nobody is left who could be told
