"""Which sizes, qualities, numbers and prompts a model of pictures takes. A model that is not known here takes all.

Source: OpenAI API reference, "Create image", which names the models at each parameter.
"""

from __future__ import annotations

import re
import typing

from protocol.errors import ApiError
from protocol.openai.api.checks import InvalidChoice, InvalidParameter, a_string_of
from protocol.wire.json_text import JsonObject


class _Rules(typing.NamedTuple):
    sizes: tuple[str, ...]
    qualities: tuple[str, ...]
    most_images: int
    prompt_characters: int


_DALL_E_2 = _Rules(("256x256", "512x512", "1024x1024"), ("standard", "auto"), 10, 1000)
_DALL_E_3 = _Rules(("1024x1024", "1792x1024", "1024x1792"), ("standard", "hd", "auto"), 1, 4000)
_GPT_IMAGE_1 = _Rules(("1024x1024", "1024x1536", "1536x1024", "auto"), ("low", "medium", "high", "auto"), 10, 32000)
# Later models make any size, so they are not here.
_RULES = {
    "dall-e-2": _DALL_E_2,
    "dall-e-3": _DALL_E_3,
    "gpt-image-1": _GPT_IMAGE_1,
    "gpt-image-1-mini": _GPT_IMAGE_1,
    "gpt-image-1.5": _GPT_IMAGE_1,
}
#: The models that answer with bytes in base64 and with their usage; the others answer with a URL.
GPT_IMAGE_MODEL = re.compile(r"(?:chat)?gpt-image.*")


def check_image_request(body: JsonObject) -> None:
    """Check a request for pictures by the rules of the model that it names; ApiError 400 in OpenAI's words."""
    model = str(body.get("model"))
    if GPT_IMAGE_MODEL.fullmatch(model) and body.get("response_format") is not None:
        message = "Unknown parameter: 'response_format'."
        raise ApiError(400, message, param="response_format", code="unknown_parameter")
    rules = _RULES.get(model)
    if rules is None:
        return
    size, quality, count = body.get("size"), body.get("quality"), body.get("n")
    if rules is _GPT_IMAGE_1 and size is not None and size not in rules.sizes:
        raise _refused("size", InvalidChoice(size, rules.sizes))
    if size not in (None, "auto", *rules.sizes):
        raise ApiError(400, "The size is not supported by this model.", code="invalid_size")
    if quality is not None and quality not in rules.qualities:
        raise _refused("quality", InvalidChoice(quality, rules.qualities))
    if type(count) is int and count > rules.most_images == 1:
        raise ApiError(400, "You must provide n=1 for this model.", param="n", code="invalid_value")
    try:
        a_string_of(0, rules.prompt_characters)(body.get("prompt") or "")
    except InvalidParameter as exc:
        raise _refused("prompt", exc) from exc


def _refused(param: str, problem: InvalidParameter) -> ApiError:
    problem.steps.append(param)
    return problem.as_error()
