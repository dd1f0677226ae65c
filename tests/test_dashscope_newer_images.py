"""The picture models since wan2.6 and Qwen-Image 2, as Alibaba's pages describe them.

Sources: docs.qwencloud.com, "Wan 2.6 synchronous" and "Wan 2.7 synchronous" (one POST to multimodal-generation for
pictures and edits; size 1K, 2K, 4K or width*height); alibabacloud.com, "Qwen image generation and editing" (512*512 to
2048*2048 pixels, up to six pictures a call).
"""

from __future__ import annotations

import typing

import pytest

from protocol.dashscope.mapping.image import plan_image_edit, plan_images
from protocol.dashscope.mapping.models import MULTIMODAL_ENDPOINT, TEXT_ENDPOINT, endpoint_for
from protocol.errors import ApiError

SYNCHRONOUS = "/services/aigc/multimodal-generation/generation"
PICTURE = "data:image/png;base64,iVBORw0KGgo="


def generation(model: str, **fields: typing.Any):
    return plan_images({"model": model, "prompt": "a cat", **fields}).calls


@pytest.mark.parametrize(
    "model",
    [
        "wan2.6-t2i", "wan2.6-image", "wan2.7-image", "wan2.7-image-pro", "wan3.0-image", "wan2.7-image-2026-04-01",
        "qwen-image-2.0", "qwen-image-2.0-pro", "qwen-image-2.1-pro", "qwen-image-3.0", "z-image-turbo",
    ],
)  # fmt: skip
def test_newer_models_paint_at_once_from_a_message(model: str) -> None:
    (call,) = generation(model)
    assert (call.path, call.task) == (SYNCHRONOUS, False)
    assert call.body["input"] == {"messages": [{"role": "user", "content": [{"text": "a cat"}]}]}
    assert call.body["parameters"] == {"n": 1}


@pytest.mark.parametrize("model", ["wan2.5-t2i-preview", "wan2.2-t2i-flash", "wanx2.1-t2i-turbo", "wanx-v1"])
def test_older_models_make_a_task_from_a_prompt(model: str) -> None:
    (call,) = generation(model)
    assert (call.path, call.task) == ("/services/aigc/text2image/image-synthesis", True)
    assert call.body["input"] == {"prompt": "a cat"}


@pytest.mark.parametrize(
    "model",
    ["wan2.6-image", "wan2.7-image", "wan2.7-image-pro", "wan3.0-image", "qwen-image-2.0", "qwen-image-2.0-pro"],
)
def test_newer_models_edit_at_once_as_well(model: str) -> None:
    (call,) = plan_image_edit({"model": model, "prompt": "a hat"}, [PICTURE, PICTURE]).calls
    assert (call.path, call.task) == (SYNCHRONOUS, False)
    content = [{"image": PICTURE}, {"image": PICTURE}, {"text": "a hat"}]
    assert call.body["input"] == {"messages": [{"role": "user", "content": content}]}


@pytest.mark.parametrize("model", ["wan2.6-t2i", "wan2.2-t2i-flash", "z-image-turbo", "qwen-plus"])
def test_a_model_that_only_paints_does_not_edit(model: str) -> None:
    with pytest.raises(ApiError) as caught:
        plan_image_edit({"model": model, "prompt": "a hat"}, [PICTURE])
    assert (caught.value.status, caught.value.param) == (400, "model")


@pytest.mark.parametrize(
    ("model", "endpoint"),
    [
        ("wan2.7-image", MULTIMODAL_ENDPOINT),
        ("qwen-image-2.0", MULTIMODAL_ENDPOINT),
        ("wan2.6-t2v", TEXT_ENDPOINT),
        ("wan3.0-video", TEXT_ENDPOINT),
    ],
)
def test_models_that_film_are_no_painters(model: str, endpoint: str) -> None:
    assert endpoint_for(model, False) == endpoint


@pytest.mark.parametrize(
    ("model", "asked", "sent"),
    [
        ("wan2.6-t2i", "1024x1024", "1280*1280"),
        ("wan2.6-t2i", "1280x1280", "1280*1280"),
        ("wan2.6-t2i", "2048x2048", "1440*1440"),
        ("wan2.6-t2i", "1696x960", "1696*960"),
        ("wan2.6-image", "1024x1024", "1024*1024"),
        ("wan2.6-image", "1K", "1K"),
        ("wan2.7-image", "2k", "2K"),
        ("wan2.7-image", "4096x4096", "2048*2048"),
        ("wan2.7-image-pro", "4K", "4K"),
        ("wan2.7-image-pro", "4096x4096", "4096*4096"),
        ("wan2.7-image-pro", "512x512", "768*768"),
        ("qwen-image-2.0", "256x256", "512*512"),
        ("qwen-image-2.0-pro", "1536x1024", "1536*1024"),
    ],
)
def test_sizes_are_those_of_the_model(model: str, asked: str, sent: str) -> None:
    (call,) = generation(model, size=asked)
    assert call.body["parameters"]["size"] == sent


def test_an_edit_is_no_larger_than_2k() -> None:
    fields = {"model": "wan2.7-image-pro", "prompt": "a hat", "size": "4096x4096"}
    assert plan_image_edit(fields, [PICTURE]).calls[0].body["parameters"]["size"] == "2048*2048"


@pytest.mark.parametrize("model", ["wan2.6-t2i", "qwen-image-2.0", "wan2.2-t2i-flash"])
def test_a_class_of_sizes_is_refused_where_there_is_none(model: str) -> None:
    with pytest.raises(ApiError, match="WIDTHxHEIGHT") as caught:
        generation(model, size="2K")
    assert caught.value.param == "size"


@pytest.mark.parametrize(
    ("model", "fields", "most"),
    [
        ("wan2.7-image", {}, 4),
        ("wan2.7-image", {"enable_sequential": True}, 12),
        ("qwen-image-2.0-pro", {}, 6),
        ("wan2.6-t2i", {}, 4),
    ],
)
def test_one_call_makes_as_many_pictures_as_the_model_can(model: str, fields: dict, most: int) -> None:
    (call,) = generation(model, n=most, **fields)
    assert call.body["parameters"]["n"] == most
    with pytest.raises(ApiError) as caught:
        generation(model, n=most + 1, **fields)
    assert caught.value.param == "n"


OWN = {
    "thinking_mode": True,
    "enable_sequential": True,
    "enable_interleave": False,
    "max_images": 3,
    "color_palette": [{"hex": "#C2D1E6", "ratio": "23.51%"}],
    "bbox_list": [[[0, 0, 9, 9]], []],
    "watermark": False,
    "prompt_extend": False,
    "negative_prompt": "dogs",
    "seed": 0,
}


def test_a_models_own_parameters_pass_as_they_are() -> None:
    (call,) = generation("wan2.7-image-pro", **OWN)
    assert call.body["parameters"] == {**OWN, "n": 1}


def test_the_object_parameters_passes_too_and_has_the_last_word() -> None:
    (call,) = generation("wan2.7-image", size="1024x1024", parameters={"size": "2K", "thinking_mode": False})
    assert call.body["parameters"] == {"size": "2K", "thinking_mode": False, "n": 1}


def test_openais_own_fields_stay_here() -> None:
    ours = {
        "quality": "high", "style": "vivid", "user": "u", "background": "opaque", "moderation": "low", "stream": False,
        "output_format": "png", "output_compression": 90, "partial_images": 0, "response_format": "url", "size": "auto",
    }  # fmt: skip
    assert generation("wan2.7-image", **ours)[0].body["parameters"] == {"n": 1}


def test_a_task_has_the_unwanted_in_its_input_and_the_rest_in_its_parameters() -> None:
    (call,) = generation("wan2.2-t2i-flash", negative_prompt="dogs", seed=3, enable_sound=True)
    assert call.body["input"] == {"prompt": "a cat", "negative_prompt": "dogs"}
    assert call.body["parameters"] == {"seed": 3, "enable_sound": True, "n": 1}


def test_a_forms_texts_become_what_they_are_the_json_of() -> None:
    fields = {
        "model": "wan2.7-image", "prompt": "2024", "n": "2", "seed": "7", "watermark": "false", "thinking_mode": "true",
        "negative_prompt": "42", "bbox_list": "[[[0,0,9,9]]]", "ratio": "0.5", "note": "[not json", "user": "7",
    }  # fmt: skip
    (call,) = plan_image_edit(fields, [PICTURE]).calls
    assert call.body["input"]["messages"][0]["content"][-1] == {"text": "2024"}
    assert call.body["parameters"] == {
        "n": 2, "seed": 7, "watermark": False, "thinking_mode": True, "negative_prompt": "42",
        "bbox_list": [[[0, 0, 9, 9]]], "ratio": 0.5, "note": "[not json",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["watermark", "prompt_extend", "enable_sequential"])
def test_a_switch_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ApiError) as caught:
        generation("wan2.7-image", **{name: "perhaps"})
    assert caught.value.param == name
