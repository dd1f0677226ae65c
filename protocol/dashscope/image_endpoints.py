"""Pictures: made at once, or by tasks.

Theory of operation
-------------------
Several calls for one request run side by side, four at once. Each gives pictures or an error. The pictures that were
made are the answer; only where there is none, the first error is.

Calls that make tasks are waited for by task_runner.py.
"""

from __future__ import annotations

import binascii
import functools
import typing

from protocol.dashscope.calls import Caller, NativeClient, run_together
from protocol.dashscope.download import Downloader
from protocol.dashscope.mapping.errors import DashScopeError
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
from protocol.dashscope.request_body import BodyReader
from protocol.dashscope.task_runner import TaskRunner
from protocol.exchange import Request, Response
from protocol.openai.answers import json_response

_CALLS_AT_ONCE = 4
_MOST_FORM_BYTES = 48 * 1024 * 1024


class ImageEndpoints:
    """Answers requests for pictures; `clock` gives seconds since the epoch."""

    def __init__(
        self,
        client: NativeClient,
        bodies: BodyReader,
        downloader: Downloader,
        tasks: TaskRunner,
        *,
        clock: typing.Callable[[], float],
    ) -> None:
        self._client = client
        self._bodies = bodies
        self._downloader = downloader
        self._tasks = tasks
        self._clock = clock

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
            answer = await (self._tasks.finish(call, caller) if call.task else self._client.ask(call, caller))
            return image_results(answer)
        except DashScopeError as exc:
            return exc

    async def _contents(self, results: typing.Sequence[ImageResult], caller: Caller) -> list[str]:
        """Return the pictures themselves, as base64."""
        jobs = [
            functools.partial(self._downloader.fetch, result.url, caller.request, caller.deadline) for result in results
        ]
        contents = await run_together(jobs, _CALLS_AT_ONCE)
        return [binascii.b2a_base64(content, newline=False).decode("ascii") for content in contents]
