"""Videos: OpenAI's requests as tasks of the wan family, and what the tasks say as OpenAI's video objects.

Nothing is kept here. All that an object says and a task does not, such as its model, stands in the video's id, beside
the task's; so any worker answers for any video. A task and its result last 24 hours.

Up to wan2.6 a model takes the size as width*height, or, where it films from a picture, the class of the resolution.
From wan2.7 on it takes the class and the ratio, and pictures as a list of media. Sources: DashScope API reference,
"Wan - text-to-video", "Wan - image-to-video", "Wan 2.7"; OpenAI API reference, "Create video", "Retrieve video".
"""

from __future__ import annotations

import binascii
import json
import math
import re
import typing

from protocol.dashscope.mapping.answer import as_object
from protocol.dashscope.mapping.errors import error_from_answer
from protocol.dashscope.mapping.fields import optional_object, optional_text, refuse_field, required_text
from protocol.dashscope.mapping.models import model_key
from protocol.dashscope.mapping.native import (
    SEED_MODULUS,
    VIDEO_BETWEEN_FRAMES_PATH,
    VIDEO_PATH,
    NativeCall,
)
from protocol.dashscope.mapping.tasks import is_task_id
from protocol.errors import ApiError
from protocol.wire.json_text import JsonObject

_FILMING_MODEL = r"wan.*(?:2v|video|vace|animate).*"
_BETWEEN_FRAMES_MODEL = r".*-kf2v.*"
_TEXT_ALONE_MODEL = r".*-t2v.*"
_MEDIA_LIST_MODEL = r"wan(?:2\.[7-9]|[3-9]).*"
_NO_480_MODEL = r"wan(?:2\.[6-9]|[3-9]).*"

_SIZE = r"([1-9]\d{1,4})[xX*]([1-9]\d{1,4})"
_RATIOS = ((16, 9), (9, 16), (1, 1), (4, 3), (3, 4))
_MOST_SECONDS = 60

# What OpenAI's requests have; all else is the model's own. Of that, these go into the input.
_OPENAI_FIELDS = frozenset(("input_reference", "model", "parameters", "prompt", "seconds", "size", "user"))
_INPUT_FIELDS = frozenset(
    "audio_url driving_audio_url first_frame_url function img_url last_frame_url mask_image_url media negative_prompt"
    " ref_images_url reference_image reference_urls reference_video_urls template video_url".split()
)
_ID = re.compile(r"video_([A-Za-z0-9_-]{1,2000})")
_STATUSES = {
    "PENDING": ("queued", 0),
    "RUNNING": ("in_progress", 50),
    "SUSPENDED": ("in_progress", 50),
    "SUCCEEDED": ("completed", 100),
}


class VideoFacts(typing.NamedTuple):
    """What a video's id says: its task, and what was asked for; `created` is in Unix seconds."""

    task_id: str
    model: str
    size: str
    seconds: str
    created: int


def plan_video(request: typing.Mapping[str, typing.Any], picture: str | None = None) -> NativeCall:
    """Return the call that makes the task for `POST /v1/videos`; `picture` is the URL of what to begin with.

    Raises the ApiError 400 that names the field at fault.
    """
    model = required_text(request, "model")
    key = model_key(model)
    if not re.fullmatch(_FILMING_MODEL, key):
        raise refuse_field("model", "a model that makes videos, e.g. wan2.6-t2v", model)
    own = {name: value for name, value in request.items() if name not in _OPENAI_FIELDS and value is not None}
    native_input = {name: own.pop(name) for name in _INPUT_FIELDS & own.keys()}
    native_input["prompt"] = required_text(request, "prompt")
    if picture is not None:
        if re.fullmatch(_TEXT_ALONE_MODEL, key):
            raise refuse_field("input_reference", "no picture for this model; wan2.6-i2v films from one", "a picture")
        native_input.update(_picture_input(key, picture))
    parameters: JsonObject = dict(own)
    if isinstance(parameters.get("seed"), int):
        parameters["seed"] %= SEED_MODULUS
    seconds = asked_seconds(request)
    if seconds is not None:
        parameters["duration"] = seconds
    parameters.update(_size_parameters(key, optional_text(request, "size")))
    parameters.update(optional_object(request, "parameters") or {})
    path = VIDEO_BETWEEN_FRAMES_PATH if re.fullmatch(_BETWEEN_FRAMES_MODEL, key) else VIDEO_PATH
    return NativeCall(path, {"model": model, "input": native_input, "parameters": parameters}, task=True)


def asked_seconds(request: typing.Mapping[str, typing.Any]) -> int | None:
    """Return how long a video is to be, None where the model is to choose; a number, or the text of one."""
    seconds = request.get("seconds")
    if seconds is None:
        return None
    if isinstance(seconds, str) and re.fullmatch("[0-9]{1,3}", seconds):
        seconds = int(seconds)
    if type(seconds) is not int or not 1 <= seconds <= _MOST_SECONDS:
        raise refuse_field("seconds", f"an integer from 1 to {_MOST_SECONDS}", request["seconds"])
    return seconds


def video_id(facts: VideoFacts) -> str:
    """Return the id of a video, which says its facts."""
    text = json.dumps(list(facts), separators=(",", ":")).encode()
    return "video_" + binascii.b2a_base64(text, newline=False).decode().rstrip("=").translate(_URL_SAFE)


def read_video_id(id: str) -> VideoFacts:
    """Return what a video's id says; ApiError 404 for an id that was not made here."""
    match = _ID.fullmatch(id)
    try:
        text = match[1].translate(_URL_UNSAFE) if match else ""
        values = json.loads(binascii.a2b_base64(text + "=" * (-len(text) % 4)))
        facts = VideoFacts(*values)
    except (ValueError, TypeError, RecursionError) as exc:
        raise _no_video(id) from exc
    texts = all(isinstance(value, str) for value in facts[:4])
    if not texts or not is_task_id(facts.task_id) or type(facts.created) is not int:
        raise _no_video(id)
    return facts


def video_object(id: str, facts: VideoFacts, answer: typing.Mapping[str, typing.Any] | None = None) -> JsonObject:
    """Return the video object for a polled task, or for one that was just made; ApiError 404 for an unknown one.

    What a finished task says of its video counts; until then, what was asked for.
    """
    output = as_object((answer or {}).get("output"))
    native = output.get("task_status", "PENDING") if answer is not None else "PENDING"
    if native == "UNKNOWN":
        raise _no_video(id)
    status, progress = _STATUSES.get(str(native), ("failed", 0))
    usage = as_object((answer or {}).get("usage"))
    video: JsonObject = {
        "id": id,
        "object": "video",
        "created_at": facts.created,
        "completed_at": None,
        "expires_at": None,
        "error": _failure(output, native) if status == "failed" else None,
        "model": facts.model,
        "progress": progress,
        "prompt": output.get("orig_prompt"),
        "remixed_from_video_id": None,
        "seconds": _told_seconds(usage) or facts.seconds,
        "size": _told_size(usage) or facts.size,
        "status": status,
    }
    return video


def video_url(id: str, answer: typing.Mapping[str, typing.Any]) -> str:
    """Return where the video of a polled task lies; ApiError 404 before it is there, and where it never will be."""
    output = as_object(answer.get("output"))
    url = output.get("video_url") or as_object(output.get("results")).get("video_url")
    if output.get("task_status") == "SUCCEEDED" and isinstance(url, str):
        return url
    status = video_object(id, read_video_id(id), answer)["status"]
    raise ApiError(
        404,
        f"The video has no content: its status is '{status}'.",
        type="invalid_request_error",
        code="video_not_ready",
    )


_URL_SAFE = str.maketrans("+/", "-_")
_URL_UNSAFE = str.maketrans("-_", "+/")


def _no_video(id: str) -> ApiError:
    return ApiError(
        404, f"There is no video '{id[:100]}' here; DashScope forgets them after 24 hours.",
        type="invalid_request_error", param="video_id", code="not_found",
    )  # fmt: skip


def _picture_input(key: str, picture: str) -> JsonObject:
    if re.fullmatch(_MEDIA_LIST_MODEL, key):
        return {"media": [{"type": "first_frame", "url": picture}]}
    return {"first_frame_url" if re.fullmatch(_BETWEEN_FRAMES_MODEL, key) else "img_url": picture}


def _size_parameters(key: str, size: str | None) -> JsonObject:
    if size is None or size == "auto":
        return {}
    match = re.fullmatch(_SIZE, size)
    if match is None:
        raise refuse_field("size", "WIDTHxHEIGHT, e.g. 1280x720", size)
    width, height = int(match[1]), int(match[2])
    if re.fullmatch(_MEDIA_LIST_MODEL, key):
        shape = math.log(width / height)
        ratio = min(_RATIOS, key=lambda one: abs(math.log(one[0] / one[1]) - shape))
        # What begins with a picture has its ratio.
        chosen = {} if "-i2v" in key else {"ratio": f"{ratio[0]}:{ratio[1]}"}
        return {"resolution": _resolution(key, min(width, height)), **chosen}
    if "-i2v" in key or re.fullmatch(_BETWEEN_FRAMES_MODEL, key):
        return {"resolution": _resolution(key, min(width, height))}
    return {"size": f"{width}*{height}"}


def _resolution(key: str, shorter_side: int) -> str:
    if shorter_side <= 480 and not re.fullmatch(_NO_480_MODEL, key):
        return "480P"
    return "720P" if shorter_side <= 720 else "1080P"


def _failure(output: JsonObject, status: object) -> JsonObject:
    if output.get("code"):
        error = error_from_answer(output)
        return {"code": error.code, "message": error.message}
    return {"code": "task_canceled" if status == "CANCELED" else "task_failed", "message": f"The task is {status}."}


def _told_seconds(usage: JsonObject) -> str:
    told = usage.get("output_video_duration") or usage.get("duration") or usage.get("video_duration")
    return f"{told:g}" if type(told) in (int, float) else ""


def _told_size(usage: JsonObject) -> str:
    told = usage.get("size")
    return told.replace("*", "x") if isinstance(told, str) and re.fullmatch(_SIZE, told) else ""
