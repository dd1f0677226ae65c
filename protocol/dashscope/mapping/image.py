"""Image generation and editing: OpenAI's requests as native calls, and the results back.

Two ways lead to a picture. Newer models take the prompt and pictures as a message on the multimodal endpoint, and
answer at once. Older ones make a task (protocol/dashscope/mapping/tasks.py). A model's errors do not tell which way it
wants, so its family decides. Sources: DashScope API reference, "Text to image", "Image editing"; OpenAI API reference,
"Create image", "Create image edit".
"""

from __future__ import annotations

import re
import typing

from protocol.dashscope.mapping.answer import as_list, as_object
from protocol.dashscope.mapping.data_url import data_url
from protocol.dashscope.mapping.errors import error_from_answer, upstream_bad_response
from protocol.dashscope.mapping.fields import (
    is_integer,
    optional_choice,
    optional_flag,
    optional_integer,
    optional_object,
    optional_text,
    refuse_field,
    required_text,
    typed_fields,
)
from protocol.dashscope.mapping.image_size import FIXED_SIZES_MODEL, native_image_size
from protocol.dashscope.mapping.models import model_key, paints_from_messages
from protocol.dashscope.mapping.native import (
    IMAGE_TO_IMAGE_PATH,
    MULTIMODAL_GENERATION_PATH,
    SEED_MODULUS,
    TEXT_TO_IMAGE_PATH,
    NativeCall,
)
from protocol.wire.json_text import JsonObject

_EDIT_TASK_MODEL = r"wan2\.5-i2i.*"
_NO_EDIT_MODEL = r".*-t2i.*|z-image.*"
_STYLE_MODEL = r"wanx-v1"
_ONE_A_CALL_MODEL = FIXED_SIZES_MODEL + r"|qwen-image-edit|z-image.*"
_SIX_A_CALL_MODEL = r"qwen-image-[2-9]\..*|qwen-image-edit-.*"
_PICTURE_BEGINNINGS = ((b"\xff\xd8\xff", "image/jpeg"), (b"RIFF", "image/webp"), (b"GIF8", "image/gif"))
_MOST_IMAGES = 4
_MOST_IMAGES_OF_NEWEST = 6
_MOST_IMAGES_OF_A_SEQUENCE = 12

# What OpenAI's requests have. Every other field is one of the model's own, and goes into its parameters.
_OPENAI_FIELDS = frozenset(
    "background image input_fidelity mask model moderation n output_compression output_format partial_images prompt "
    "quality response_format size stream style user".split()
)


class ImagePlan:
    """The native calls for one request for pictures: several where a model makes one picture a call.

    `base64` says that the client wants the pictures themselves, not their URLs.
    """

    __slots__ = ("base64", "calls")

    def __init__(self, calls: list[NativeCall], base64: bool) -> None:
        self.calls = calls
        self.base64 = base64


class ImageResult(typing.NamedTuple):
    """One picture: the URL that holds for 24 hours, and the prompt as the model rewrote it, where it tells that."""

    url: str
    revised_prompt: str | None


def plan_images(request: typing.Mapping[str, typing.Any]) -> ImagePlan:
    """Return the plan for `POST /v1/images/generations`, or raise the ApiError 400 that names the field at fault."""
    model, prompt, count = _read_basics(request)
    base64 = _wants_base64(request)
    if paints_from_messages(model):
        parameters = _parameters(request, model)
        body = _message_body(model, [{"text": prompt}], parameters)
        return ImagePlan(_repeated_calls(MULTIMODAL_GENERATION_PATH, body, count, task=False), base64)
    parameters = _prompt_parameters(request, model)
    style = optional_text(request, "style")
    if style and re.fullmatch(_STYLE_MODEL, model_key(model)) and style.startswith("<"):
        parameters["style"] = style
    body = {"model": model, "input": _prompt_input(request, prompt), "parameters": parameters}
    return ImagePlan(_repeated_calls(TEXT_TO_IMAGE_PATH, body, count, task=True), base64)


def plan_image_edit(request: typing.Mapping[str, typing.Any], images: typing.Sequence[str]) -> ImagePlan:
    """Return the plan for `POST /v1/images/edits`: `request` has the form's fields, `images` the pictures' data URLs.

    Raises the ApiError 400 that names the field at fault. That may be the mask: no native model takes one.
    """
    fields = typed_fields(request)
    model, prompt, count = _read_basics(fields)
    base64 = _wants_base64(fields)
    if fields.get("mask") is not None:
        raise refuse_field("mask", "no mask; describe in the prompt what is to be changed", "a mask")
    if not images:
        raise refuse_field("image", "at least one picture", None)
    key = model_key(model)
    if paints_from_messages(model) and not re.fullmatch(_NO_EDIT_MODEL, key):
        parts = [{"image": image} for image in images] + [{"text": prompt}]
        body = _message_body(model, parts, _parameters(fields, model, edits=True))
        return ImagePlan(_repeated_calls(MULTIMODAL_GENERATION_PATH, body, count, task=False), base64)
    if not re.fullmatch(_EDIT_TASK_MODEL, key):
        raise refuse_field("model", "a model that edits pictures, e.g. qwen-image-edit", model)
    native_input = {**_prompt_input(fields, prompt), "images": list(images)}
    body = {
        "model": model,
        "input": native_input,
        "parameters": _prompt_parameters(fields, model),
    }
    return ImagePlan(_repeated_calls(IMAGE_TO_IMAGE_PATH, body, count, task=True), base64)


def picture_url(picture: bytes, content_type: str, param: str) -> str:
    """Return a picture of the form's field `param` as a data URL; the ApiError 413 for one that is too large.

    Its type is the client's Content-Type, where that is a picture's, else the one that its first bytes tell.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    if not media_type.startswith("image/") or not media_type.isascii() or " " in media_type:
        media_type = next((kind for begin, kind in _PICTURE_BEGINNINGS if picture.startswith(begin)), "image/png")
    return data_url(picture, media_type, param=param, kind="picture")


def image_results(answer: typing.Mapping[str, typing.Any]) -> list[ImageResult]:
    """Return the pictures of a finished task or of an immediate answer; raise the first failure where there is none."""
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
    """Return the URL to fetch a result from: with https, even where DashScope says http. The caller checks its host."""
    return "https://" + url[len("http://") :] if url.startswith("http://") else url


def images_answer(
    results: typing.Sequence[ImageResult], created: int, base64_images: typing.Sequence[str] | None = None
) -> JsonObject:
    """Return OpenAI's images object; with the pictures themselves where `base64_images` has them, in the same order."""
    data = []
    for number, result in enumerate(results):
        item = {"url": result.url} if base64_images is None else {"b64_json": base64_images[number]}
        if result.revised_prompt:
            item["revised_prompt"] = result.revised_prompt
        data.append(item)
    return {"created": created, "data": data}


def _read_basics(request: typing.Mapping[str, typing.Any]) -> tuple[str, str, int]:
    model = required_text(request, "model")
    prompt = required_text(request, "prompt")
    if optional_flag(request, "stream"):
        raise refuse_field("stream", "false, for DashScope does not stream pictures", True)
    most = _MOST_IMAGES_OF_NEWEST if re.fullmatch(_SIX_A_CALL_MODEL, model_key(model)) else _MOST_IMAGES
    most = _MOST_IMAGES_OF_A_SEQUENCE if optional_flag(request, "enable_sequential") else most
    count = optional_integer(request, "n", 1, most)
    return model, prompt, count or 1


def _wants_base64(request: typing.Mapping[str, typing.Any]) -> bool:
    return optional_choice(request, "response_format", ("url", "b64_json")) == "b64_json"


def _parameters(request: typing.Mapping[str, typing.Any], model: str, edits: bool = False) -> JsonObject:
    """Return the size, and all that is the model's own: as fields of the request, or in its object `parameters`."""
    parameters: JsonObject = {
        name: value
        for name, value in request.items()
        if value is not None and name not in _OPENAI_FIELDS and name != "parameters"
    }
    seed = optional_integer(request, "seed")
    if seed is not None:
        parameters["seed"] = seed % SEED_MODULUS
    for name in ("prompt_extend", "watermark"):
        optional_flag(request, name)
    if not optional_text(request, "negative_prompt"):
        parameters.pop("negative_prompt", None)
    size = native_image_size(model, optional_text(request, "size"), edits)
    if size is not None:
        parameters["size"] = size
    return {**parameters, **(optional_object(request, "parameters") or {})}


def _prompt_parameters(request: typing.Mapping[str, typing.Any], model: str) -> JsonObject:
    """Return the parameters beside a prompt, whose service takes `negative_prompt` as input."""
    return {name: value for name, value in _parameters(request, model).items() if name != "negative_prompt"}


def _prompt_input(request: typing.Mapping[str, typing.Any], prompt: str) -> JsonObject:
    unwanted = optional_text(request, "negative_prompt")
    return {"prompt": prompt, "negative_prompt": unwanted} if unwanted else {"prompt": prompt}


def _message_body(model: str, parts: list[dict[str, str]], parameters: JsonObject) -> JsonObject:
    messages = [{"role": "user", "content": parts}]
    return {"model": model, "input": {"messages": messages}, "parameters": parameters}


def _repeated_calls(path: str, body: JsonObject, count: int, task: bool) -> list[NativeCall]:
    """Return one call for all pictures, or one for each. Without `n` some models make four, so it is always sent."""
    parameters = body["parameters"]
    if not re.fullmatch(_ONE_A_CALL_MODEL, model_key(body["model"])):
        return [NativeCall(path, {**body, "parameters": {**parameters, "n": count}}, task=task)]
    calls = []
    for number in range(count):
        variant = {**parameters, "n": 1}
        if is_integer(variant.get("seed")):
            variant["seed"] = (variant["seed"] + number) % SEED_MODULUS
        calls.append(NativeCall(path, {**body, "parameters": variant}, task=task))
    return calls
