from __future__ import annotations

import json

import pytest

from protocol.dashscope.mapping.errors import DashScopeError
from protocol.dashscope.mapping.image import (
    ImageResult,
    download_url,
    image_results,
    images_answer,
    plan_image_edit,
    plan_images,
)
from protocol.dashscope.mapping.image_size import native_image_size
from protocol.dashscope.mapping.native import IMAGE_TO_IMAGE_PATH, MULTIMODAL_GENERATION_PATH, TEXT_TO_IMAGE_PATH
from protocol.dashscope.mapping.tasks import (
    check_task_succeeded,
    created_task_id,
    has_task_ended,
    poll_delay_seconds,
    task_cancel_path,
    task_path,
)
from protocol.errors import ApiError

TASK_MODEL = "wan2.2-t2i-flash"
MESSAGE_MODEL = "qwen-image-plus"
PICTURE = "data:image/png;base64,iVBORw0KGgo="

PENDING = '{"output":{"task_status":"PENDING","task_id":"7a0c-1"},"request_id":"r-22"}'
RUNNING = (
    '{"request_id":"r-23","output":{"task_id":"7a0c-1","task_status":"RUNNING","submit_time":"2026-03-01 17:38:24.817"'
    ',"scheduled_time":"2026-03-01 17:38:24.831","task_metrics":{"TOTAL":2,"SUCCEEDED":0,"FAILED":0}}}'
)
SUCCEEDED = (
    '{"request_id":"r-24","output":{"task_id":"7a0c-1","task_status":"SUCCEEDED","end_time":"2026-03-01 17:38:55.565"'
    ',"results":[{"url":"https://img.example.invalid/1.png?Expires=1"},{"code":"InternalError","message":"failed"}]'
    ',"task_metrics":{"TOTAL":2,"SUCCEEDED":1,"FAILED":1}},"usage":{"image_count":1}}'
)
FAILED = (
    '{"request_id":"r-25","output":{"task_id":"7a0c-1","task_status":"FAILED","code":"DataInspectionFailed"'
    ',"message":"Output data may contain inappropriate content."}}'
)
UNKNOWN = '{"request_id":"r-26","output":{"task_id":"nope","task_status":"UNKNOWN"}}'
IMMEDIATE = (
    '{"output":{"choices":[{"finish_reason":"stop","message":{"content":[{"image":"https://img.example.invalid/2.png"}]'
    ',"role":"assistant"}}],"task_metric":{"FAILED":0,"SUCCEEDED":1,"TOTAL":1}},"usage":{"height":1328,"image_count":1'
    ',"width":1328},"request_id":"r-27"}'
)


def request(model: str = TASK_MODEL, **rest: object) -> dict:
    return {"model": model, "prompt": "a cat", **rest}


def test_maps_the_task_of_the_sample() -> None:
    plan = plan_images(request(size="1024x1024", n=2))
    (call,) = plan.calls
    assert (call.path, call.task, plan.base64) == (TEXT_TO_IMAGE_PATH, True, False)
    assert call.body == {
        "model": TASK_MODEL,
        "input": {"prompt": "a cat"},
        "parameters": {"size": "1024*1024", "n": 2},
    }


def test_maps_the_immediate_call_of_the_sample() -> None:
    (call,) = plan_images(request(MESSAGE_MODEL, size="1024x1024", n=1, watermark=False)).calls
    assert (call.path, call.task) == (MULTIMODAL_GENERATION_PATH, False)
    assert call.body == {
        "model": MESSAGE_MODEL,
        "input": {"messages": [{"role": "user", "content": [{"text": "a cat"}]}]},
        "parameters": {"size": "1328*1328", "n": 1, "watermark": False},
    }


@pytest.mark.parametrize(
    ("model", "task"),
    [
        ("wan2.5-t2i-preview", True),
        ("wan2.2-t2i-plus", True),
        ("wanx2.1-t2i-turbo", True),
        ("wanx-v1", True),
        ("flux-schnell", True),
        ("never-heard-of", True),
        ("qwen-image", False),
        ("qwen-image-2.0-pro", False),
        ("wan2.6-t2i", False),
        ("z-image-turbo", False),
    ],
)
def test_families_decide_between_task_and_immediate_call(model: str, task: bool) -> None:
    assert plan_images(request(model)).calls[0].task is task


def test_extensions_pass_and_openais_own_options_do_not() -> None:
    own = {"quality": "hd", "background": "opaque", "moderation": "low", "output_compression": 5, "user": "u"}
    extra = {"negative_prompt": "dog", "seed": 2**31 + 1, "prompt_extend": False, "style": "vivid"}
    (call,) = plan_images(request(**own, **extra)).calls
    assert call.body["input"] == {"prompt": "a cat", "negative_prompt": "dog"}
    assert call.body["parameters"] == {"seed": 1, "prompt_extend": False, "n": 1}
    (call,) = plan_images(request("wan2.6-t2i", **own, **extra)).calls
    assert call.body["parameters"] == {"seed": 1, "prompt_extend": False, "negative_prompt": "dog", "n": 1}


def test_only_wanx_v1_has_styles() -> None:
    assert plan_images(request("wanx-v1", style="<anime>")).calls[0].body["parameters"]["style"] == "<anime>"
    assert "style" not in plan_images(request("wanx-v1", style="vivid")).calls[0].body["parameters"]
    assert "style" not in plan_images(request(style="<anime>")).calls[0].body["parameters"]


@pytest.mark.parametrize("model", ["qwen-image", "qwen-image-plus", "qwen-image-max-2025-12-30", "z-image-turbo"])
def test_models_of_one_image_are_called_once_for_each(model: str) -> None:
    calls = plan_images(request(model, n=3, seed=7)).calls
    assert [(call.body["parameters"]["n"], call.body["parameters"]["seed"]) for call in calls] == [
        (1, 7),
        (1, 8),
        (1, 9),
    ]


SIZES = [
    (TASK_MODEL, None, None),
    (TASK_MODEL, "auto", None),
    (TASK_MODEL, "1024x1024", "1024*1024"),
    (TASK_MODEL, "1440x512", "1440*512"),
    (TASK_MODEL, "1792x1024", "1440*816"),
    (TASK_MODEL, "256x256", "512*512"),
    ("wan2.5-t2i-preview", "1792x1024", "1792*1024"),
    ("wan2.6-t2i", "256x256", "1280*1280"),
    ("wan2.6-t2i", "2048x2048", "1440*1440"),
    ("qwen-image", "1024x1024", "1328*1328"),
    ("qwen-image", "1536x1024", "1664*928"),
    ("qwen-image-plus", "1792x1024", "1664*928"),
    ("qwen-image-max", "1024x1536", "928*1664"),
    ("qwen-image", "1024x1792", "928*1664"),
    ("qwen-image", "1472*1104", "1472*1104"),
    ("qwen-image", "800x600", "1472*1104"),
    ("qwen-image", "512x512", "1328*1328"),
    ("qwen-image-2.0", "1536x1024", "1536*1024"),
    ("qwen-image-2.0", "256x256", "512*512"),
    ("qwen-image-2.0", "2048x2048", "2048*2048"),
    ("qwen-image-2.0", "2064x2048", "2048*2032"),
    ("wanx-v1", "1024x1792", "720*1280"),
    ("wanx-v1", "768x1152", "768*1152"),
    ("never-heard-of", "123x456", "123*456"),
]


@pytest.mark.parametrize(("model", "size", "expected"), SIZES)
def test_maps_sizes(model: str, size: str | None, expected: str | None) -> None:
    assert native_image_size(model, size) == expected


@pytest.mark.parametrize("size", ["", "big", "1024", "0x0", "1024x", "9x9", "1024x1024x1"])
def test_refuses_what_is_no_size(size: str) -> None:
    with pytest.raises(ApiError) as caught:
        native_image_size(TASK_MODEL, size)
    assert caught.value.param == "size"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": ""}, "model"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"n": 0}, "n"),
        ({"n": 5}, "n"),
        ({"n": "2"}, "n"),
        ({"stream": True}, "stream"),
        ({"response_format": "gif"}, "response_format"),
        ({"seed": "x"}, "seed"),
        ({"watermark": "no"}, "watermark"),
    ],
)
def test_refuses_and_names_the_parameter(change: dict, param: str) -> None:
    with pytest.raises(ApiError) as caught:
        plan_images(request(**change))
    assert (caught.value.status, caught.value.param) == (400, param)


def test_the_newest_models_make_six() -> None:
    assert plan_images(request("qwen-image-2.0", n=6)).calls[0].body["parameters"]["n"] == 6


def test_base64_is_remembered() -> None:
    assert plan_images(request(response_format="b64_json")).base64


def test_edits_put_pictures_before_the_text() -> None:
    fields = {"model": "qwen-image-edit-plus", "prompt": "a hat", "n": "2", "seed": "5", "watermark": "false"}
    (call,) = plan_image_edit(fields, [PICTURE, PICTURE]).calls
    assert (call.path, call.task) == (MULTIMODAL_GENERATION_PATH, False)
    content = call.body["input"]["messages"][0]["content"]
    assert content == [{"image": PICTURE}, {"image": PICTURE}, {"text": "a hat"}]
    assert call.body["parameters"] == {"seed": 5, "watermark": False, "n": 2}


def test_older_edits_are_tasks() -> None:
    fields = {"model": "wan2.5-i2i-preview", "prompt": "a hat", "negative_prompt": "no dog"}
    (call,) = plan_image_edit(fields, [PICTURE]).calls
    assert (call.path, call.task) == (IMAGE_TO_IMAGE_PATH, True)
    assert call.body["input"] == {"prompt": "a hat", "negative_prompt": "no dog", "images": [PICTURE]}
    assert call.body["parameters"] == {"n": 1}


@pytest.mark.parametrize(
    ("change", "images", "param"),
    [
        ({"mask": b"x"}, [PICTURE], "mask"),
        ({}, [], "image"),
        ({"model": "wan2.2-t2i-flash"}, [PICTURE], "model"),
        ({"n": "many"}, [PICTURE], "n"),
        ({"stream": "true"}, [PICTURE], "stream"),
    ],
)
def test_refuses_a_bad_edit(change: dict, images: list[str], param: str) -> None:
    with pytest.raises(ApiError) as caught:
        plan_image_edit({"model": "qwen-image-edit", "prompt": "a hat", **change}, images)
    assert (caught.value.status, caught.value.param) == (400, param)


def test_a_new_task_tells_its_id() -> None:
    task_id = created_task_id(json.loads(PENDING))
    assert task_id == "7a0c-1"
    assert task_path(task_id) == "/tasks/7a0c-1"
    assert task_cancel_path(task_id) == "/tasks/7a0c-1/cancel"


@pytest.mark.parametrize("task_id", [None, "", 5, "../../files", "a b", "x" * 129])
def test_an_id_that_could_change_the_path_is_refused(task_id: object) -> None:
    with pytest.raises(DashScopeError) as caught:
        created_task_id({"output": {"task_id": task_id}})
    assert caught.value.code == "upstream_bad_response"


@pytest.mark.parametrize(("answer", "done"), [(PENDING, False), (RUNNING, False), (SUCCEEDED, True)])
def test_a_task_is_waited_for_until_it_succeeds(answer: str, done: bool) -> None:
    assert has_task_ended(json.loads(answer)) is done
    if done:
        check_task_succeeded(json.loads(answer))


def test_a_suspended_task_is_waited_for() -> None:
    assert not has_task_ended({"output": {"task_status": "SUSPENDED"}})


@pytest.mark.parametrize(
    ("answer", "status", "code", "request_id"),
    [
        (FAILED, 400, "content_filter", "r-25"),
        (UNKNOWN, 502, "task_unknown", "r-26"),
        ('{"output":{"task_status":"CANCELED"}}', 502, "task_canceled", ""),
        ('{"output":{"task_status":"FAILED","code":"Throttling","message":"x"}}', 429, "rate_limit_exceeded", ""),
        ("{}", 502, "task_unknown", ""),
    ],
)
def test_a_task_that_ends_otherwise_is_an_error(answer: str, status: int, code: str, request_id: str) -> None:
    assert has_task_ended(json.loads(answer))
    with pytest.raises(DashScopeError) as caught:
        check_task_succeeded(json.loads(answer))
    assert (caught.value.status, caught.value.code, caught.value.request_id) == (status, code, request_id)


def test_polls_ever_more_slowly_up_to_five_seconds() -> None:
    delays = [poll_delay_seconds(count) for count in (0, 1, 2, 3, 4, 5, 10_000)]
    assert delays == [1.0, 1.5, 2.25, 3.375, 5.0, 5.0, 5.0]


def test_pictures_that_failed_beside_good_ones_are_left_out() -> None:
    assert image_results(json.loads(SUCCEEDED)) == [ImageResult("https://img.example.invalid/1.png?Expires=1", None)]


def test_takes_pictures_out_of_a_message() -> None:
    assert image_results(json.loads(IMMEDIATE)) == [ImageResult("https://img.example.invalid/2.png", None)]


def test_no_good_picture_is_the_first_failure() -> None:
    items = [{"code": "DataInspectionFailed", "message": "bad"}, {"code": "InternalError", "message": "failed"}]
    with pytest.raises(DashScopeError) as caught:
        image_results({"output": {"results": items}, "request_id": "r"})
    assert (caught.value.code, caught.value.request_id) == ("content_filter", "r")


@pytest.mark.parametrize("answer", [{}, {"output": {"results": []}}, {"output": {"choices": [{"message": None}]}}])
def test_no_picture_at_all_is_502(answer: dict) -> None:
    with pytest.raises(DashScopeError) as caught:
        image_results(answer)
    assert caught.value.code == "upstream_bad_response"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_downloads_go_over_tls(scheme: str) -> None:
    assert download_url(scheme + "://img.example.invalid/http://x") == "https://img.example.invalid/http://x"


def test_answers_with_urls_or_with_the_pictures_themselves() -> None:
    results = [ImageResult("https://a.invalid/1", "a fine cat"), ImageResult("https://a.invalid/2", None)]
    assert images_answer(results, 5) == {
        "created": 5,
        "data": [{"url": "https://a.invalid/1", "revised_prompt": "a fine cat"}, {"url": "https://a.invalid/2"}],
    }
    assert images_answer(results, 5, ["QQ==", "Qg=="])["data"] == [
        {"b64_json": "QQ==", "revised_prompt": "a fine cat"},
        {"b64_json": "Qg=="},
    ]
