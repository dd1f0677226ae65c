"""Pictures: made at once, or by tasks that are polled to their end and given up when the client leaves."""

from __future__ import annotations

import asyncio
import binascii
import typing

from protocol.dashscope.calls import Caller, NativeClient, run_together
from protocol.dashscope.download import Downloader
from protocol.dashscope.mapping.errors import DashScopeError, upstream_timeout
from protocol.dashscope.mapping.image import (
    TASK_LIMIT_SECONDS,
    ImagePlan,
    ImageResult,
    created_task_id,
    image_results,
    images_answer,
    is_task_done,
    plan_image_edit,
    plan_images,
    poll_delay_seconds,
    task_cancel_path,
    task_path,
)
from protocol.dashscope.mapping.native import NativeCall
from protocol.errors import ApiError
from protocol.exchange import Request, Response
from protocol.openai.answers import json_response
from protocol.wire.json_text import JsonObject
from protocol.wire.multipart import FormFile, read_form

_PICTURE_CALLS_AT_ONCE = 4
_PICTURE_FORM_BYTES = 48 * 1024 * 1024
_PICTURE_URL_BYTES = 10 * 1024 * 1024  # of each data URL; DashScope takes no more
_PICTURE_BEGINNINGS = ((b"\xff\xd8\xff", "image/jpeg"), (b"RIFF", "image/webp"), (b"GIF8", "image/gif"))

# A task that is well must not be lost to a poll that was not answered; this many in a row mean something else.
_POLL_FAILURES_ENDURED = 2
_POLL_ENDURED_STATUSES = (429, 500, 502, 503, 504)
_CANCEL_SECONDS = 3.0


class Images:
    """Answers requests for pictures.

    `clock` gives seconds since the epoch; `sleep` waits for seconds between the polls of a task.
    """

    def __init__(
        self,
        client: NativeClient,
        downloader: Downloader,
        *,
        clock: typing.Callable[[], float],
        sleep: typing.Callable[[float], typing.Awaitable[typing.Any]],
    ) -> None:
        self._client = client
        self._downloader = downloader
        self._clock = clock
        self._sleep = sleep
        self._cancelling: set[asyncio.Task[None]] = set()

    async def generate(self, request: Request, caller: Caller) -> Response:
        """Answer `POST /images/generations`."""
        return await self._answer(plan_images(request.json_object()), caller)

    async def edit(self, request: Request, caller: Caller) -> Response:
        """Answer `POST /images/edits`, a form with the fields of a generation and the pictures to edit."""
        form = await read_form(request.fields.get("content-type"), request.stream, _PICTURE_FORM_BYTES)
        pictures = [_picture_url(file) for file in form.files if file.name in ("image", "image[]")]
        if any(file.name == "mask" for file in form.files):
            form.fields["mask"] = "a file"
        return await self._answer(plan_image_edit(form.fields, pictures), caller)

    async def close(self) -> None:
        """Wait, for some seconds at most, until the tasks of clients that left have been cancelled."""
        await asyncio.gather(*self._cancelling, return_exceptions=True)

    async def _answer(self, plan: ImagePlan, caller: Caller) -> Response:
        made = await run_together([self._job(call, caller) for call in plan.calls], _PICTURE_CALLS_AT_ONCE)
        results = [result for outcome in made if isinstance(outcome, list) for result in outcome]
        if not results:
            raise typing.cast(DashScopeError, made[0])
        contents = await self._contents(results, caller) if plan.base64 else None
        return json_response(images_answer(results, int(self._clock()), contents))

    def _job(
        self, call: NativeCall, caller: Caller
    ) -> typing.Callable[[], typing.Awaitable[list[ImageResult] | DashScopeError]]:
        async def make() -> list[ImageResult] | DashScopeError:
            try:
                return image_results(await (self._finish_task if call.task else self._client.ask)(call, caller))
            except DashScopeError as exc:
                return exc  # of several pictures the good ones count

        return make

    async def _contents(self, results: typing.Sequence[ImageResult], caller: Caller) -> list[str]:
        """Return the pictures themselves, as base64."""

        def job(url: str) -> typing.Callable[[], typing.Awaitable[bytes]]:
            return lambda: self._downloader.fetch(url, caller.deadline)

        contents = await run_together([job(result.url) for result in results], _PICTURE_CALLS_AT_ONCE)
        return [binascii.b2a_base64(content, newline=False).decode("ascii") for content in contents]

    # ---- tasks --------------------------------------------------------------------------------------------------

    async def _finish_task(self, call: NativeCall, caller: Caller) -> JsonObject:
        """Start a task and return its answer when it is done. It is cancelled when nobody waits for it any more."""
        task_id = created_task_id(await self._client.ask(call, caller))
        done = False
        try:
            answer = await self._poll(task_id, caller)
            done = True
            return answer
        except _TaskFailed as exc:
            done = True
            raise exc.error from None
        finally:
            if not done:
                # In a task of its own: this one may be on its way out, and must not keep anybody waiting.
                cancelling = asyncio.get_running_loop().create_task(self._cancel(task_id, caller))
                self._cancelling.add(cancelling)
                cancelling.add_done_callback(self._cancelling.discard)

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
                if exc.status not in _POLL_ENDURED_STATUSES or failures > _POLL_FAILURES_ENDURED:
                    raise
                continue
            if _is_done(answer):
                return answer

    async def _cancel(self, task_id: str, caller: Caller) -> None:
        """Give a task up. DashScope refuses that once the task runs; then it runs for nobody."""
        deadline = asyncio.get_running_loop().time() + _CANCEL_SECONDS
        try:
            await self._client.ask_task("POST", task_cancel_path(task_id), caller, deadline)
        except DashScopeError:
            pass  # nobody is left who could be told


class _TaskFailed(Exception):
    """A task has ended by itself, without a result."""

    def __init__(self, error: DashScopeError) -> None:
        super().__init__(error.message)
        self.error = error


def _is_done(answer: JsonObject) -> bool:
    try:
        return is_task_done(answer)
    except DashScopeError as exc:
        raise _TaskFailed(exc) from None


def _picture_url(file: FormFile) -> str:
    """Return a picture as a data URL; its type is what the client says, else what it begins with."""
    media_type = file.content_type.partition(";")[0].strip().lower()
    if not media_type.startswith("image/") or not media_type.isascii() or " " in media_type:
        media_type = next((kind for begin, kind in _PICTURE_BEGINNINGS if file.data.startswith(begin)), "image/png")
    url = f"data:{media_type};base64," + binascii.b2a_base64(file.data, newline=False).decode("ascii")
    if len(url) > _PICTURE_URL_BYTES:
        raise ApiError(
            413, f"{file.name}: expected a picture of at most {_PICTURE_URL_BYTES} bytes as base64, got {len(url)}",
            type="invalid_request_error", param=file.name, code="file_too_large",
        )  # fmt: skip
    return url
