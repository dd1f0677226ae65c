"""Image generation: OpenAI's requests as native calls, tasks polled to their end, results back.

Two ways lead to a picture. Newer models answer at once on the multimodal endpoint, prompt and pictures as a message;
older ones make a task, which is polled. Which one a model wants is not told by its errors, so families decide. Sources:
DashScope API reference, "Text to image", "Image editing", "Asynchronous tasks"; OpenAI API reference, "Create image".
"""

from __future__ import annotations

import math
import re
import typing

from protocol.dashscope.mapping.answer import as_list, as_object
from protocol.dashscope.mapping.errors import DashScopeError, error_from_answer, upstream_bad_response
from protocol.dashscope.mapping.fields import (
    optional_choice,
    optional_flag,
    optional_integer,
    optional_text,
    refuse_field,
    required_text,
)
from protocol.dashscope.mapping.models import model_key
from protocol.dashscope.mapping.native import (
    IMAGE_TO_IMAGE_PATH,
    MULTIMODAL_GENERATION_PATH,
    TEXT_TO_IMAGE_PATH,
    NativeCall,
)

TASK_LIMIT_SECONDS = 300.0  # a picture takes 10 to 120
_TASK_FIRST_POLL_SECONDS = 1.0
_TASK_POLL_GROWTH = 1.5
_TASK_LONGEST_POLL_SECONDS = 5.0

_TASK_WAITING = ("PENDING", "RUNNING", "SUSPENDED")
_TASK_ID = r"[A-Za-z0-9._-]{1,128}"

_MESSAGE_MODEL = r"qwen-image.*|wan2\.6.*|z-image.*"
_EDIT_TASK_MODEL = r"wan2\.5-i2i.*"
_EDIT_MESSAGE_MODEL = r"qwen-image.*|wan2\.6-image.*"
_STYLE_MODEL = r"wanx-v1"
_FIXED_SIZES_MODEL = r"qwen-image(?:-plus|-max)?(?:-\d{4}.*|-latest)?"
_ONE_A_CALL_MODEL = _FIXED_SIZES_MODEL + r"|qwen-image-edit|z-image.*"
_SIX_A_CALL_MODEL = r"qwen-image-[2-9]\..*|qwen-image-edit-.*"
_MOST_IMAGES = 4
_MOST_IMAGES_OF_NEWEST = 6

_SIZE = r"([1-9]\d{1,4})[xX*]([1-9]\d{1,4})"
_SIZE_STEP = 16  # what sides are cut to when a size has to be fitted
_SEED_MODULUS = 2**31

# The sizes that OpenAI's clients ask for, where the model has but a few of its own.
_QWEN_SIZES = {
    (1024, 1024): (1328, 1328),
    (1536, 1024): (1664, 928),
    (1792, 1024): (1664, 928),
    (1024, 1536): (928, 1664),
    (1024, 1792): (928, 1664),
}
_QWEN_CHOICES = ((1664, 928), (1472, 1104), (1328, 1328), (1104, 1472), (928, 1664))
_WANX_V1_CHOICES = ((1024, 1024), (720, 1280), (1280, 720), (768, 1152))


class _SizeLimits(typing.NamedTuple):
    """Least and most pixels of a side, and of the whole picture."""

    least_side: int
    most_side: int
    least_area: int
    most_area: int


_ANY_SIDE = (1, 1_000_000)
_SIZE_LIMITS = (
    (r"qwen-image-[2-9]\..*", _SizeLimits(*_ANY_SIDE, 512**2, 2048**2)),
    (r"wan2\.[56].*", _SizeLimits(*_ANY_SIDE, 768**2, 1440**2)),
    (r"wan2\.2.*|wanx.*", _SizeLimits(512, 1440, 1, 1440**2)),
)


class ImagePlan:
    """The native calls for one request for pictures (several where a model makes one at a time, at most 4 at once).

    `task` says that each call starts a task; `base64` that the client wants the pictures themselves, not their URLs.
    """

    __slots__ = ("base64", "calls", "task")

    def __init__(self, calls: list[NativeCall], base64: bool) -> None:
        self.calls = calls
        self.task = calls[0].task
        self.base64 = base64


class ImageResult(typing.NamedTuple):
    """One picture: where it is for the next 24 hours, and the prompt as the model rewrote it, if told."""

    url: str
    revised_prompt: str | None


def plan_images(request: typing.Mapping[str, typing.Any]) -> ImagePlan:
    """Return the plan for `POST /v1/images/generations`, or raise the ApiError 400 that names the field at fault."""
    model, prompt, count = _read_basics(request)
    base64 = _wants_base64_images(request)
    if re.fullmatch(_MESSAGE_MODEL, model_key(model)):
        parameters = _parameters(request, model, negative_prompt=True)
        body = _message_body(model, [{"text": prompt}], parameters)
        return ImagePlan(_repeated_calls(MULTIMODAL_GENERATION_PATH, body, count, task=False), base64)
    parameters = _parameters(request, model, negative_prompt=False)
    style = optional_text(request, "style")
    if style and re.fullmatch(_STYLE_MODEL, model_key(model)) and style.startswith("<"):
        parameters["style"] = style
    body = {"model": model, "input": _prompt_input(request, prompt), "parameters": parameters}
    return ImagePlan(_repeated_calls(TEXT_TO_IMAGE_PATH, body, count, task=True), base64)


def plan_image_edit(request: typing.Mapping[str, typing.Any], images: typing.Sequence[str]) -> ImagePlan:
    """Return the plan for `POST /v1/images/edits`: `request` has the form's fields, `images` the pictures' data URLs.

    Numbers and switches of a form are text and are read as such. A mask is refused: no native model takes one.
    """
    fields = _typed_fields(request)
    model, prompt, count = _read_basics(fields)
    base64 = _wants_base64_images(fields)
    if fields.get("mask") is not None:
        raise refuse_field("mask", "no mask; describe in the prompt what is to be changed", "a mask")
    if not images:
        raise refuse_field("image", "at least one picture", None)
    key = model_key(model)
    if re.fullmatch(_EDIT_MESSAGE_MODEL, key):
        parts = [{"image": image} for image in images] + [{"text": prompt}]
        body = _message_body(model, parts, _parameters(fields, model, negative_prompt=True))
        return ImagePlan(_repeated_calls(MULTIMODAL_GENERATION_PATH, body, count, task=False), base64)
    if not re.fullmatch(_EDIT_TASK_MODEL, key):
        raise refuse_field("model", "a model that edits pictures, e.g. qwen-image-edit", model)
    native_input = {**_prompt_input(fields, prompt), "images": list(images)}
    body = {
        "model": model,
        "input": native_input,
        "parameters": _parameters(fields, model, negative_prompt=False),
    }
    return ImagePlan(_repeated_calls(IMAGE_TO_IMAGE_PATH, body, count, task=True), base64)


def task_path(task_id: str) -> str:
    """Return the path, below the base URL, at which a task is polled."""
    return "/tasks/" + task_id


def task_cancel_path(task_id: str) -> str:
    """Return the path that cancels a task; DashScope only does so while it is pending."""
    return task_path(task_id) + "/cancel"


def created_task_id(answer: typing.Mapping[str, typing.Any]) -> str:
    """Return the id of a task that was just made; it goes into a path, so it must be plain."""
    task_id = as_object(answer.get("output")).get("task_id")
    if not isinstance(task_id, str) or not re.fullmatch(_TASK_ID, task_id):
        raise upstream_bad_response(f"expected the id of a task, got {task_id!r:.100}")
    return task_id


def is_task_done(answer: typing.Mapping[str, typing.Any]) -> bool:
    """Tell whether a polled task has succeeded (True) or has to be waited for (False); raise how it failed."""
    output = as_object(answer.get("output"))
    status = output.get("task_status")
    if status == "SUCCEEDED":
        return True
    if status in _TASK_WAITING:
        return False
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
    return min(_TASK_FIRST_POLL_SECONDS * _TASK_POLL_GROWTH ** min(polls_made, 10), _TASK_LONGEST_POLL_SECONDS)


def image_results(answer: typing.Mapping[str, typing.Any]) -> list[ImageResult]:
    """Return the pictures of a finished task or of an immediate answer; raise the first failure if there is none."""
    output = as_object(answer.get("output"))
    items = [item for item in as_list(output.get("results")) if isinstance(item, dict)]
    found = [ImageResult(item["url"], item.get("actual_prompt")) for item in items if isinstance(item.get("url"), str)]
    for choice in as_list(output.get("choices")):
        for part in as_list(as_object(as_object(choice).get("message")).get("content")):
            if isinstance(part, dict) and isinstance(part.get("image"), str):
                found.append(ImageResult(part["image"], None))
    if found:
        return found
    for item in items:
        if item.get("code"):
            raise error_from_answer({**item, "request_id": answer.get("request_id")})
    raise upstream_bad_response("the answer has no picture")


def download_url(url: str) -> str:
    """Return the URL to fetch a result from: over TLS, even where DashScope says http. The caller checks its host."""
    return "https://" + url[len("http://") :] if url.startswith("http://") else url


def images_answer(
    results: typing.Sequence[ImageResult], created: int, base64_images: typing.Sequence[str] | None = None
) -> dict[str, typing.Any]:
    """Return OpenAI's images object; `base64_images` are the pictures themselves, in the order of `results`."""
    data = []
    for number, result in enumerate(results):
        item = {"url": result.url} if base64_images is None else {"b64_json": base64_images[number]}
        if result.revised_prompt:
            item["revised_prompt"] = result.revised_prompt
        data.append(item)
    return {"created": created, "data": data}


def native_image_size(model: str, size: str | None) -> str | None:
    """Return the size for a native call, or None where the model is to choose.

    The model's own sizes pass. Where it has only a few, the one of the nearest shape is taken; where it has limits, the
    size is fitted into them with its shape kept. For a model that is not known the size passes as it is.
    """
    if size is None or size == "auto":
        return None
    match = re.fullmatch(_SIZE, size)
    if match is None:
        raise refuse_field("size", "auto or WIDTHxHEIGHT, e.g. 1024x1024", size)
    wanted = int(match.group(1)), int(match.group(2))
    return "%d*%d" % _fitted_size(model_key(model), wanted)


def _fitted_size(key: str, wanted: tuple[int, int]) -> tuple[int, int]:
    if re.fullmatch(_FIXED_SIZES_MODEL, key):
        return _QWEN_SIZES.get(wanted) or _nearest_shape(wanted, _QWEN_CHOICES)
    if re.fullmatch(_STYLE_MODEL, key):
        return _nearest_shape(wanted, _WANX_V1_CHOICES)
    for pattern, limits in _SIZE_LIMITS:
        if re.fullmatch(pattern, key):
            return _size_within(wanted, limits)
    return wanted


def _nearest_shape(wanted: tuple[int, int], choices: typing.Sequence[tuple[int, int]]) -> tuple[int, int]:
    if wanted in choices:
        return wanted
    shape = math.log(wanted[0] / wanted[1])
    return min(choices, key=lambda choice: abs(math.log(choice[0] / choice[1]) - shape))


def _size_within(wanted: tuple[int, int], limits: _SizeLimits) -> tuple[int, int]:
    width, height = wanted
    most = min(limits.most_side / max(wanted), math.sqrt(limits.most_area / (width * height)))
    least = max(limits.least_side / min(wanted), math.sqrt(limits.least_area / (width * height)))
    if least <= 1 <= most:
        return wanted
    # Downwards to a whole step when it was too large, upwards when it was too small.
    rounded = math.floor if most < 1 else math.ceil
    scale = most if most < 1 else least
    sides = [rounded(side * scale / _SIZE_STEP) * _SIZE_STEP for side in wanted]
    return (
        max(limits.least_side, min(sides[0], limits.most_side)),
        max(limits.least_side, min(sides[1], limits.most_side)),
    )


def _read_basics(request: typing.Mapping[str, typing.Any]) -> tuple[str, str, int]:
    model = required_text(request, "model")
    prompt = required_text(request, "prompt")
    if optional_flag(request, "stream"):
        raise refuse_field("stream", "false, for DashScope does not stream pictures", True)
    newest = re.fullmatch(_SIX_A_CALL_MODEL, model_key(model))
    count = optional_integer(request, "n", 1, _MOST_IMAGES_OF_NEWEST if newest else _MOST_IMAGES)
    return model, prompt, count or 1


def _wants_base64_images(request: typing.Mapping[str, typing.Any]) -> bool:
    return optional_choice(request, "response_format", ("url", "b64_json")) == "b64_json"


def _parameters(request: typing.Mapping[str, typing.Any], model: str, negative_prompt: bool) -> dict[str, typing.Any]:
    parameters: dict[str, typing.Any] = {}
    size = native_image_size(model, optional_text(request, "size"))
    if size is not None:
        parameters["size"] = size
    seed = optional_integer(request, "seed")
    if seed is not None:
        parameters["seed"] = seed % _SEED_MODULUS
    for name in ("prompt_extend", "watermark"):
        switch = optional_flag(request, name)
        if switch is not None:
            parameters[name] = switch
    unwanted = optional_text(request, "negative_prompt")
    if unwanted and negative_prompt:
        parameters["negative_prompt"] = unwanted
    return parameters


def _prompt_input(request: typing.Mapping[str, typing.Any], prompt: str) -> dict[str, typing.Any]:
    unwanted = optional_text(request, "negative_prompt")
    return {"prompt": prompt, "negative_prompt": unwanted} if unwanted else {"prompt": prompt}


def _message_body(model: str, parts: list[dict[str, str]], parameters: dict[str, typing.Any]) -> dict[str, typing.Any]:
    messages = [{"role": "user", "content": parts}]
    return {"model": model, "input": {"messages": messages}, "parameters": parameters}


def _repeated_calls(path: str, body: dict[str, typing.Any], count: int, task: bool) -> list[NativeCall]:
    """Return one call for all pictures, or one each. `n` is always said: some models make four when it is not."""
    parameters = body["parameters"]
    if not re.fullmatch(_ONE_A_CALL_MODEL, model_key(body["model"])):
        return [NativeCall(path, {**body, "parameters": {**parameters, "n": count}}, task=task)]
    calls = []
    for number in range(count):
        variant = {**parameters, "n": 1}
        if "seed" in variant:
            variant["seed"] = (variant["seed"] + number) % _SEED_MODULUS
        calls.append(NativeCall(path, {**body, "parameters": variant}, task=task))
    return calls


def _typed_fields(fields: typing.Mapping[str, typing.Any]) -> dict[str, typing.Any]:
    """Return the fields of a form with its numbers and switches read; what cannot be read is refused later."""
    typed = dict(fields)
    for name in ("n", "seed"):
        if isinstance(typed.get(name), str) and typed[name].isascii() and typed[name].isdigit():
            typed[name] = int(typed[name])
    for name in ("stream", "prompt_extend", "watermark"):
        if typed.get(name) in ("true", "false"):
            typed[name] = typed[name] == "true"
    return typed
