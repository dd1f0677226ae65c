"""Pictures: made at once, or by tasks.

Theory of operation
-------------------
Several calls for one request run side by side, four at once. Each gives pictures or an error. The pictures that were
made are the answer; only where there is none, the first error is.

A call that makes a task is answered with its id, and the task is polled. The delay before a poll is 1 s at first and
grows to 5 s. The polling ends in one of these ways:

    the task has ended           its pictures, or the error that it ended with
    a poll fails                 two failures in a row are endured, if their status may pass (429, 5xx), because the
                                 task itself goes on; then the error is raised
    the time is up               504 after 300 s, or earlier where the request has a time limit
    the client leaves            the polling is cancelled, wherever it waits

In all but the first the task goes on, and would be billed, with nobody to wait for it. So DashScope is told to cancel
it. A task of the event loop does that, because the one that polled may be on its way out already. When the backend
closes it waits for those, which takes some seconds at most.
"""

from __future__ import annotations

import asyncio
import binascii
import functools
import typing

from protocol.dashscope.calls import Caller, NativeClient, run_together
from protocol.dashscope.download import Downloader
from protocol.dashscope.mapping.errors import DashScopeError, upstream_timeout
from protocol.dashscope.mapping.image import (
    ImagePlan,
    ImageResult,
    image_results,
    images_answer,
    picture_url,
    plan_image_edit,
    plan_images,
)
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
from protocol.dashscope.request_body import BodyReader
from protocol.exchange import Request, Response
from protocol.openai.answers import json_response
from protocol.wire.json_text import JsonObject

_CALLS_AT_ONCE = 4
_MOST_FORM_BYTES = 48 * 1024 * 1024

_MOST_POLL_FAILURES = 2  # in a row
_PASSING_STATUSES = (429, 500, 502, 503, 504)
_CANCEL_SECONDS = 3.0


class ImageEndpoints:
    """Answers requests for pictures.

    `clock` gives seconds since the epoch; `sleep` waits for seconds between the polls of a task.
    """

    def __init__(
        self,
        client: NativeClient,
        bodies: BodyReader,
        downloader: Downloader,
        *,
        clock: typing.Callable[[], float],
        sleep: typing.Callable[[float], typing.Awaitable[object]],
    ) -> None:
        self._client = client
        self._bodies = bodies
        self._downloader = downloader
        self._clock = clock
        self._sleep = sleep
        self._cancelling: set[asyncio.Task[None]] = set()

    async def generate_images(self, request: Request, caller: Caller) -> Response:
        """Answer `POST /images/generations`."""
        return await self._answer(plan_images(await self._bodies.read_object(request)), caller)

    async def edit_images(self, request: Request, caller: Caller) -> Response:
        """Answer `POST /images/edits`, a form with the fields of a generation and the pictures to edit."""
        form = await self._bodies.read_form(request, _MOST_FORM_BYTES)
        pictures = [
            picture_url(file.data, file.content_type, file.name)
            for file in form.files
            if file.name in ("image", "image[]")
        ]
        if any(file.name == "mask" for file in form.files):
            form.fields["mask"] = "a file"
        return await self._answer(plan_image_edit(form.fields, pictures), caller)

    async def close(self) -> None:
        """Wait, for some seconds at most, until the tasks that nobody waits for have been cancelled."""
        await asyncio.gather(*self._cancelling, return_exceptions=True)

    async def _answer(self, plan: ImagePlan, caller: Caller) -> Response:
        jobs = [functools.partial(self._make_pictures, call, caller) for call in plan.calls]
        made = await run_together(jobs, _CALLS_AT_ONCE)
        results = [result for outcome in made if not isinstance(outcome, DashScopeError) for result in outcome]
        if not results:
            raise next(outcome for outcome in made if isinstance(outcome, DashScopeError)).anew()
        contents = await self._contents(results, caller) if plan.base64 else None
        return json_response(images_answer(results, int(self._clock()), contents))

    async def _make_pictures(self, call: NativeCall, caller: Caller) -> list[ImageResult] | DashScopeError:
        """Return at least one picture, or why there is none: an error must not end the calls beside this one."""
        try:
            answer = await (self._finish_task(call, caller) if call.task else self._client.ask(call, caller))
            return image_results(answer)
        except DashScopeError as exc:
            return exc

    async def _contents(self, results: typing.Sequence[ImageResult], caller: Caller) -> list[str]:
        """Return the pictures themselves, as base64."""
        jobs = [functools.partial(self._downloader.fetch, result.url, caller.deadline) for result in results]
        contents = await run_together(jobs, _CALLS_AT_ONCE)
        return [binascii.b2a_base64(content, newline=False).decode("ascii") for content in contents]

    # ---- tasks --------------------------------------------------------------------------------------------------

    async def _finish_task(self, call: NativeCall, caller: Caller) -> JsonObject:
        """Make a task, wait until it ends, and return its answer; DashScopeError."""
        task_id = created_task_id(await self._client.ask(call, caller))
        try:
            answer = await self._poll(task_id, caller)
        except BaseException:
            cancelling = asyncio.get_running_loop().create_task(self._cancel(task_id, caller))
            self._cancelling.add(cancelling)
            cancelling.add_done_callback(self._cancelling.discard)
            raise
        check_task_succeeded(answer)
        return answer

    async def _poll(self, task_id: str, caller: Caller) -> JsonObject:
        waited = 0.0
        polls = failures = 0
        deadline = asyncio.get_running_loop().time() + TASK_LIMIT_SECONDS
        deadline = min(deadline, caller.deadline) if caller.deadline else deadline
        while True:
            delay = poll_delay_seconds(polls)
            polls += 1
            waited += delay
            if waited > TASK_LIMIT_SECONDS or asyncio.get_running_loop().time() + delay > deadline:
                raise upstream_timeout(TASK_LIMIT_SECONDS)
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
