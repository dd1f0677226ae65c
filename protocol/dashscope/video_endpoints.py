"""Videos: a task is made and not waited for; its state is asked of DashScope whenever a client asks."""

from __future__ import annotations

import re
import typing
import urllib.parse

from protocol.dashscope.calls import Caller, NativeClient
from protocol.dashscope.download import Downloader
from protocol.dashscope.mapping.image import picture_url
from protocol.dashscope.mapping.tasks import created_task_id, task_path
from protocol.dashscope.mapping.video import (
    VideoFacts,
    asked_seconds,
    plan_video,
    read_video_id,
    video_id,
    video_object,
    video_url,
)
from protocol.dashscope.request_body import BodyReader
from protocol.dashscope.streaming import streamed_response
from protocol.errors import ApiError
from protocol.exchange import Request, Response
from protocol.openai.answers import api_path, json_response
from protocol.wire.http1.writers import encode_fields
from protocol.wire.json_text import JsonObject

_MOST_FORM_BYTES = 16 * 1024 * 1024
_PICTURE_URL = r"(?:https?|oss)://[!-~]+|data:image/[!-~]+"
_VIDEO_FIELDS = encode_fields([("content-type", "video/mp4")])


class VideoEndpoints:
    """Answers requests for videos; `clock` gives seconds since the epoch."""

    def __init__(
        self, client: NativeClient, bodies: BodyReader, downloader: Downloader, *, clock: typing.Callable[[], float]
    ) -> None:
        self._client = client
        self._bodies = bodies
        self._downloader = downloader
        self._clock = clock

    async def create_video(self, request: Request, caller: Caller) -> Response:
        """Answer `POST /videos`, JSON or a form; the picture in `input_reference` is a file or a URL."""
        fields, files = await self._bodies.read_fields(request, _MOST_FORM_BYTES)
        picture = _picture_at(fields.get("input_reference"))
        for file in files:
            if file.name == "input_reference":
                picture = picture_url(file.data, file.content_type, file.name)
        call = plan_video(fields, picture)
        task_id = created_task_id(await self._client.ask(call, caller))
        seconds = asked_seconds(fields)
        size = str(fields.get("size") or "auto")
        told = "" if seconds is None else str(seconds)
        facts = VideoFacts(task_id, call.body["model"], size, told, int(self._clock()))
        video = video_object(video_id(facts), facts)
        return json_response({**video, "prompt": fields.get("prompt")})

    async def retrieve_video(self, request: Request, caller: Caller) -> Response:
        """Answer `GET /videos/{id}`."""
        id = _asked_id(request)
        facts = read_video_id(id)
        return json_response(video_object(id, facts, await self._task(facts, caller)))

    async def video_content(self, request: Request, caller: Caller) -> Response:
        """Answer `GET /videos/{id}/content` with the video, as it comes."""
        variant = dict(urllib.parse.parse_qsl(request.head.query)).get("variant", "video")
        if variant != "video":
            raise ApiError(
                400, f"variant: expected video, for DashScope makes no other, got {variant[:50]!r}",
                type="invalid_request_error", param="variant",
            )  # fmt: skip
        id = _asked_id(request)
        url = video_url(id, await self._task(read_video_id(id), caller))
        return await streamed_response(_VIDEO_FIELDS, self._downloader.pieces(url, caller.deadline), caller)

    async def _task(self, facts: VideoFacts, caller: Caller) -> JsonObject:
        return await self._client.ask_task("GET", task_path(facts.task_id), caller, caller.deadline)


def _asked_id(request: Request) -> str:
    path = api_path(request.path) or request.path
    return urllib.parse.unquote(path.split("/")[2])


def _picture_at(reference: object) -> str | None:
    """Return the URL in a field that may be one, or an object with one; ApiError 400 for anything else."""
    if reference is None:
        return None
    url = reference.get("image_url") if isinstance(reference, dict) else reference
    if isinstance(url, str) and re.fullmatch(_PICTURE_URL, url):
        return url
    raise ApiError(
        400,
        "input_reference: expected a file, or a picture's URL",
        type="invalid_request_error",
        param="input_reference",
    )
