"""The sizes of pictures: OpenAI's as the ones that DashScope's models can make.

Source: DashScope API reference, "Text to image", size.
"""

from __future__ import annotations

import math
import re
import typing

from protocol.dashscope.mapping.fields import refuse_field
from protocol.dashscope.mapping.models import model_key

#: Models that make a few sizes only, which they share.
FIXED_SIZES_MODEL = r"qwen-image(?:-plus|-max)?(?:-\d{4}.*|-latest)?"

_SIZE = r"([1-9]\d{1,4})[xX*]([1-9]\d{1,4})"
# These take a size by its class, too, and choose the shape by the prompt or the picture.
_CLASSED_MODEL = r"wan2\.6-image.*|wan(?:2\.[7-9]|[3-9]).*"
_CLASS = r"[124][kK]"
_SIDE_STEP = 16  # the sides of a size that was fitted are multiples of it

_WANX_V1_MODEL = r"wanx-v1"

# For models with a few fixed sizes: the one to take for each size that OpenAI's clients know, then all there are.
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


# First match wins.
_ANY_SIDE = (1, 1_000_000)
# A model that paints 4K still edits in 2K.
_EDIT_LIMITS = ((r"wan(?:2\.[6-9]|[3-9]).*", _SizeLimits(*_ANY_SIDE, 768**2, 2048**2)),)
_SIZE_LIMITS = (
    (r"qwen-image-[2-9]\..*", _SizeLimits(*_ANY_SIDE, 512**2, 2048**2)),
    (r"wan2\.6-t2i.*", _SizeLimits(*_ANY_SIDE, 1104 * 1472, 1440**2)),
    (r"wan2\.5.*", _SizeLimits(*_ANY_SIDE, 768**2, 1440**2)),
    (r"wan2\.[7-9].*-pro.*|wan[3-9].*-pro.*", _SizeLimits(*_ANY_SIDE, 768**2, 4096**2)),
    (r"wan2\.[6-9].*|wan[3-9].*", _SizeLimits(*_ANY_SIDE, 768**2, 2048**2)),
    (r"wan2\.2.*|wanx.*", _SizeLimits(512, 1440, 1, 1440**2)),
)


def native_image_size(model: str, size: str | None, edits: bool = False) -> str | None:
    """Return the size for a native call, or None where the model is to choose.

    A size that the model makes stays as it is. Else, for a model with a few fixed sizes, the one of the nearest shape
    is taken, and for a model with limits the size is fitted into them, with its shape kept. For a model that is not
    known the size stays as it is. `edits` says that pictures are edited, for which the limits may be lower.
    """
    if size is None or size == "auto":
        return None
    key = model_key(model)
    if re.fullmatch(_CLASS, size) and re.fullmatch(_CLASSED_MODEL, key):
        return size.upper()
    match = re.fullmatch(_SIZE, size)
    if match is None:
        raise refuse_field("size", "auto or WIDTHxHEIGHT, e.g. 1024x1024", size)
    wanted = int(match.group(1)), int(match.group(2))
    width, height = _fitted_size(key, wanted, edits)
    return f"{width}*{height}"


def _fitted_size(key: str, wanted: tuple[int, int], edits: bool) -> tuple[int, int]:
    if re.fullmatch(FIXED_SIZES_MODEL, key):
        return _QWEN_SIZES.get(wanted) or _nearest_shape(wanted, _QWEN_CHOICES)
    if re.fullmatch(_WANX_V1_MODEL, key):
        return _nearest_shape(wanted, _WANX_V1_CHOICES)
    for pattern, limits in (*(_EDIT_LIMITS if edits else ()), *_SIZE_LIMITS):
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
    # A size that was too large is rounded down, one that was too small is rounded up: both then keep to the limits.
    rounded = math.floor if most < 1 else math.ceil
    scale = most if most < 1 else least
    sides = [rounded(side * scale / _SIDE_STEP) * _SIDE_STEP for side in wanted]
    return (
        max(limits.least_side, min(sides[0], limits.most_side)),
        max(limits.least_side, min(sides[1], limits.most_side)),
    )
