"""Videos: queued, in progress, completed. Then there is a real file of the right size and length.

The file is an MP4 that shows one picture, with the prompt in it. Source: OpenAI API reference, "Videos".
"""

from __future__ import annotations

import re
import typing

from protocol.errors import ApiError
from protocol.exchange import Response
from protocol.mock.engine.resources import Handler
from protocol.mock.engine.store import Change, Record
from protocol.mock.engine.world import Call, World
from protocol.mock.media.gallery import kept_picture
from protocol.mock.media.movie import movie_file
from protocol.wire.http1.writers import encode_fields
from protocol.wire.json_text import JsonObject

_MODEL = "sora-2"
_SECONDS = "4"
_SIZE = "720x1280"
_KEPT_SECONDS = 24 * 3600
_SIZE_TEXT = re.compile(r"(\d{1,4})x(\d{1,4})")
# In percent of the time in progress: when the progress is told.
_PROGRESS = (10, 25, 50, 75, 90)

# By the variants of a video that can be downloaded: format and media type.
_VARIANTS = {
    "video": ("mp4", "video/mp4"),
    "thumbnail": ("webp", "image/webp"),
    "spritesheet": ("jpeg", "image/jpeg"),
}


class Videos:
    """Makes videos, from prompts and from other videos."""

    def __init__(self, world: World) -> None:
        self._world = world

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by operation."""
        return {
            "POST /videos": self.create,
            "POST /videos/edits": self.edit,
            "POST /videos/extensions": self.extend,
            "POST /videos/{video_id}/remix": self.remix,
            "GET /videos/{video_id}/content": self.content,
        }

    def create(self, call: Call) -> JsonObject:
        """Begin a video."""
        return self._begin(call, {})

    def edit(self, call: Call) -> JsonObject:
        """Begin a video that changes another, which was uploaded or made here."""
        source = self._source(call)
        return self._begin(call, {name: source[name] for name in ("model", "seconds", "size") if name in source})

    def extend(self, call: Call) -> JsonObject:
        """Begin a video that goes on where another ends."""
        source = self._source(call)
        known: JsonObject = {name: source[name] for name in ("model", "size") if name in source}
        seconds = _seconds(source.get("seconds", "0")) + _seconds(call.body.get("seconds"))
        return self._begin(call, {**known, "seconds": str(seconds)})

    def remix(self, call: Call) -> JsonObject:
        """Begin a video like one that was made here, with another prompt."""
        source = self._finished(call, call.names["video_id"])
        known = {name: source.object[name] for name in ("model", "seconds", "size")}
        return self._begin(call, {**known, "remixed_from_video_id": source.id})

    def _source(self, call: Call) -> JsonObject:
        asked = call.body.get("video")
        if isinstance(asked, dict) and isinstance(asked.get("id"), str):
            return self._finished(call, asked["id"]).object
        return {}

    def _finished(self, call: Call, id: str) -> Record:
        record = self._world.find("/videos", id)
        if record.object.get("status") != "completed" and not record.is_invented:
            raise ApiError(
                400, f"Video '{id[:100]}' is not completed: its status is '{record.object.get('status')}'.",
                param="video", code="video_not_completed",
            )  # fmt: skip
        return record

    def _begin(self, call: Call, known: JsonObject) -> JsonObject:
        world, body = self._world, call.body
        made = {
            "id": world.new_id("video_"),
            "model": body.get("model") or _MODEL,
            "prompt": body.get("prompt"),
            "seconds": str(body.get("seconds") or _SECONDS),
            "size": body.get("size") or _SIZE,
            "progress": 0,
            "completed_at": None,
            "expires_at": None,
            "error": None,
            "remixed_from_video_id": None,
            **known,
        }
        record = world.store.add("/videos", made["id"], world.make("Video", made))
        stages = world.reference.operation("POST /videos").stages
        world.live(record, stages)
        self._plan_progress(record)
        return record.object

    def _plan_progress(self, record: Record) -> None:
        """Let the record tell its progress between the stages of its life cycle."""
        (begin, start), (end, finish) = record.plan
        steps = [(begin + (end - begin) * percent / 100, _progressing(percent)) for percent in _PROGRESS]
        record.plan[:] = [(begin, start), *steps, (end, lambda record: self._complete(record, finish))]

    def _complete(self, record: Record, finish: Change) -> None:
        finish(record)
        record.object.update(progress=100, expires_at=self._world.now() + _KEPT_SECONDS)

    async def content(self, call: Call) -> Response:
        """Answer a video's file, or a picture of it; ApiError 404 before it is completed."""
        record = self._world.find("/videos", call.names["video_id"])
        video = record.object
        if video.get("status") != "completed" and not record.is_invented:
            raise ApiError(404, "Video is not ready yet, use GET /v1/videos/{video_id} to check status.")
        format, media_type = _VARIANTS[call.query.get("variant") or "video"]
        match = _SIZE_TEXT.fullmatch(str(video.get("size")))
        width, height = (int(match[1]), int(match[2])) if match else (720, 1280)
        text = video.get("prompt") or ""
        if format == "mp4":
            picture = await kept_picture(text, width, height)
            data = movie_file(picture, width, height, max(1, _seconds(video["seconds"])))
        else:
            data = await kept_picture(text, width, height, picture_format=format)
        return Response(200, encode_fields([("content-type", media_type)]), data)


def _progressing(percent: int) -> Change:
    return lambda record: record.object.update(progress=percent)


def _seconds(value: typing.Any) -> int:
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 5 else 0
