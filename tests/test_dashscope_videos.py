"""Videos of the wan family as tasks.

Sources: alibabacloud.com, "Wan text-to-video" and "Wan image-to-video" (POST video-generation/video-synthesis with
X-DashScope-Async; input.prompt, img_url, audio_url; parameters size, resolution, duration; output.video_url, usage);
"Wan 2.7" (input.media of first_frame; resolution and ratio); OpenAI API reference, "Videos".
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from native import CREATED, KEY, House, Native, answer, form, translator
from skipping import run

from protocol.dashscope.mapping.video import VideoFacts, plan_video, read_video_id, video_id
from protocol.errors import ApiError

FILM = "/services/aigc/video-generation/video-synthesis"
MADE = answer({"output": {"task_id": "0385dc79-5ff8", "task_status": "PENDING"}, "request_id": "r-1"})
PICTURE = "data:image/png;base64,iVBORw0KGgo="
READ = {"authorization": f"Bearer {KEY}"}


def planned(model: str, picture: str | None = None, **fields: Any):
    return plan_video({"model": model, "prompt": "a cat runs", **fields}, picture)


def task(status: str, **output: Any) -> bytes:
    usage = output.pop("usage", {})
    return answer({"output": {"task_id": "0385dc79-5ff8", "task_status": status, **output}, "usage": usage})


def test_a_text_becomes_a_task_with_size_and_duration() -> None:
    call = planned("wan2.6-t2v", seconds="10", size="1280x720")
    assert (call.path, call.task) == (FILM, True)
    assert call.body == {
        "model": "wan2.6-t2v",
        "input": {"prompt": "a cat runs"},
        "parameters": {"size": "1280*720", "duration": 10},
    }


@pytest.mark.parametrize(
    ("model", "given", "parameters"),
    [
        ("wan2.6-i2v", {"img_url": PICTURE}, {"resolution": "720P"}),
        ("wan2.5-i2v-preview", {"img_url": PICTURE}, {"resolution": "720P"}),
        ("wan2.7-i2v", {"media": [{"type": "first_frame", "url": PICTURE}]}, {"resolution": "720P"}),
        ("wan3.0-video", {"media": [{"type": "first_frame", "url": PICTURE}]}, {"resolution": "720P", "ratio": "16:9"}),
    ],
)
def test_a_picture_to_begin_with_goes_where_the_model_takes_it(model: str, given: dict, parameters: dict) -> None:
    call = planned(model, PICTURE, size="1280x720")
    assert call.body["input"] == {**given, "prompt": "a cat runs"}
    assert call.body["parameters"] == parameters


def test_a_model_that_films_between_two_frames_has_a_path_of_its_own() -> None:
    call = planned("wan2.2-kf2v-flash", PICTURE, last_frame_url="https://p.invalid/b.png")
    assert call.path == "/services/aigc/image2video/video-synthesis"
    assert call.body["input"] == {
        "first_frame_url": PICTURE, "last_frame_url": "https://p.invalid/b.png", "prompt": "a cat runs",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("model", "size", "sent"),
    [
        ("wan2.5-i2v-preview", "640x480", {"resolution": "480P"}),
        ("wan2.6-i2v", "640x480", {"resolution": "720P"}),
        ("wan2.6-i2v", "1080x1920", {"resolution": "1080P"}),
        ("wan2.7-t2v", "720x1280", {"resolution": "720P", "ratio": "9:16"}),
        ("wan2.7-t2v", "1024x1024", {"resolution": "1080P", "ratio": "1:1"}),
        ("wan2.2-t2v-plus", "1920x1080", {"size": "1920*1080"}),
        ("wan2.6-t2v", "auto", {}),
    ],
)
def test_sizes_are_said_as_the_model_takes_them(model: str, size: str, sent: dict) -> None:
    assert planned(model, size=size).body["parameters"] == sent


def test_the_models_own_fields_go_where_they_belong() -> None:
    own = {
        "negative_prompt": "dogs",
        "audio_url": "https://a.invalid/a.mp3",
        "reference_video_urls": ["https://v.invalid/"],
    }
    set_up = {"prompt_extend": False, "watermark": True, "shot_type": "multi", "seed": 2**31 + 5, "user": "u"}
    call = planned("wan2.6-r2v", **own, **set_up, parameters={"audio": True})
    assert call.body["input"] == {**own, "prompt": "a cat runs"}
    assert call.body["parameters"] == {
        "prompt_extend": False, "watermark": True, "shot_type": "multi", "seed": 5, "audio": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "picture", "param"),
    [
        ({"model": "sora-2"}, None, "model"),
        ({"model": "wan2.6-image"}, None, "model"),
        ({"prompt": ""}, None, "prompt"),
        ({"seconds": "soon"}, None, "seconds"),
        ({"seconds": 0}, None, "seconds"),
        ({"seconds": True}, None, "seconds"),
        ({"size": "720p"}, None, "size"),
        ({}, PICTURE, "input_reference"),
    ],
)
def test_what_cannot_be_filmed_is_refused(fields: dict, picture: str | None, param: str) -> None:
    with pytest.raises(ApiError) as caught:
        plan_video({"model": "wan2.6-t2v", "prompt": "a cat", **fields}, picture)
    assert (caught.value.status, caught.value.param) == (400, param)


@pytest.mark.parametrize("id", ["video_", "video_W10", "task_1", "video_" + "A" * 3000, "video_Li4v", "video_%ff"])
def test_an_id_that_was_not_made_here_is_unknown(id: str) -> None:
    with pytest.raises(ApiError) as caught:
        read_video_id(id)
    assert caught.value.status == 404


def test_an_id_cannot_lead_to_another_path() -> None:
    with pytest.raises(ApiError):
        read_video_id(video_id(VideoFacts("../models", "m", "", "", 1)))
    facts = VideoFacts("0385dc79-5ff8", "wan2.6-t2v", "1280x720", "5", CREATED)
    assert read_video_id(video_id(facts)) == facts


async def made(house: House, **fields: Any):
    return await house.post("/v1/videos", {"model": "wan2.6-t2v", "prompt": "a cat runs", **fields})


def test_a_video_is_made_asked_for_and_fetched() -> None:
    film = b"\0\0\0 ftypisom" + bytes(200_000)

    async def main() -> None:
        async with Native({FILM: MADE, "/film.mp4": answer(film)}) as native, translator(native) as house:
            ended = task(
                "SUCCEEDED", video_url=f"{native.url}/api/v1/film.mp4", orig_prompt="a cat runs",
                usage={"duration": 10, "size": "1280*720", "SR": 720, "video_count": 1},
            )  # fmt: skip
            states = [task("PENDING"), task("RUNNING"), ended]
            native.answer("/tasks/0385dc79-5ff8", states)
            created = (await made(house, seconds="10", size="1280x720")).json()
            assert {name: created[name] for name in ("object", "status", "progress", "model", "seconds", "size")} == {
                "object": "video", "status": "queued", "progress": 0, "model": "wan2.6-t2v", "seconds": "10",
                "size": "1280x720",
            }  # fmt: skip
            assert (created["created_at"], created["prompt"], created["error"]) == (CREATED, "a cat runs", None)
            path = f"/v1/videos/{created['id']}"
            seen = [(await house.ask("GET", path, READ)).json() for _ in states]
            assert [(one["status"], one["progress"]) for one in seen] == [
                ("queued", 0), ("in_progress", 50), ("completed", 100),
            ]  # fmt: skip
            assert {one["id"] for one in seen} == {created["id"]}
            assert (seen[-1]["seconds"], seen[-1]["size"], seen[-1]["model"]) == ("10", "1280x720", "wan2.6-t2v")
            content = await house.ask("GET", path + "/content", READ)
            assert (content.status, content.get("content-type"), content.body) == (200, "video/mp4", film)
            assert native.received[0].get("x-dashscope-async") == "enable"
            assert native.received[-1].get("authorization") == ""
            assert (await house.ask("GET", path + "/content?variant=thumbnail", READ)).status == 400
            assert (await house.ask("DELETE", path, READ)).status == 405

    run(main)


@pytest.mark.parametrize(
    ("ended", "status", "code"),
    [
        (task("FAILED", code="DataInspectionFailed", message="Input data may contain…"), "failed", "content_filter"),
        (task("CANCELED"), "failed", "task_canceled"),
        (task("UNKNOWN"), None, "not_found"),
    ],
)
def test_a_video_that_failed_says_why_and_has_no_content(ended: bytes, status: str | None, code: str) -> None:
    async def main() -> None:
        async with Native({FILM: MADE, "/tasks/0385dc79-5ff8": ended}) as native, translator(native) as house:
            path = f"/v1/videos/{(await made(house)).json()['id']}"
            asked = await house.ask("GET", path, READ)
            content = await house.ask("GET", path + "/content", READ)
        assert asked.json().get("status") == status
        assert asked.status == (200 if status else 404)
        assert asked.json()["error"]["code"] == code
        assert content.status == 404

    run(main)


def test_a_picture_comes_in_a_form_or_by_url() -> None:
    async def main() -> None:
        async with Native({FILM: MADE}) as native, translator(native) as house:
            fields = {"model": "wan2.6-i2v", "prompt": "42", "seconds": "5", "watermark": "true"}
            body, kind = form(fields, ("input_reference", "a.png", "image/png", b"\x89PNG\r\n\x1a\n"))
            assert (await house.post("/v1/videos", body, content_type=kind)).status == 200
            by_url = {"image_url": "https://p.invalid/a.png"}
            assert (await made(house, model="wan2.6-i2v", input_reference=by_url)).status == 200
            assert (await made(house, model="wan2.6-i2v", input_reference={"file_id": "file-1"})).status == 400
        first, second = native.calls
        assert first["input"] == {"img_url": PICTURE, "prompt": "42"}
        assert first["parameters"] == {"watermark": True, "duration": 5}
        assert second["input"]["img_url"] == "https://p.invalid/a.png"

    run(main)


def test_a_video_elsewhere_than_in_public_is_not_fetched() -> None:
    async def main() -> None:
        ended = task("SUCCEEDED", video_url="http://10.0.0.7/secret.mp4")
        async with Native({FILM: MADE, "/tasks/0385dc79-5ff8": ended}) as native, translator(native) as house:
            path = f"/v1/videos/{(await made(house)).json()['id']}/content"
            refused = await house.ask("GET", path, READ)
        assert refused.status == 502
        assert "not public" in json.loads(refused.body)["error"]["message"]

    run(main)
