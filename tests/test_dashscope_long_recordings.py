"""Long recordings by URL, as tasks. Source: docs.qwencloud.com, "Qwen-ASR: Submit transcription", "Retrieve
transcription" (input.file_url; output.result.transcription_url; times in milliseconds), "Fun-ASR" (input.file_urls,
language_hints; output.results).
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from native import KEY, MULTIMODAL, House, Native, answer, form, refusal, translator
from skipping import run

from protocol.dashscope.mapping.transcript import plan_url_transcription
from protocol.errors import ApiError
from protocol.wire.multipart import parse_form

TASK = "/services/audio/asr/transcription"
URL = "https://files.invalid/meeting.mp3"
CREATED = answer({"output": {"task_id": "t-1", "task_status": "PENDING"}, "request_id": "r-1"})
RUNNING = answer({"output": {"task_id": "t-1", "task_status": "RUNNING"}, "request_id": "r-2"})
TRANSCRIPT = {
    "file_url": URL,
    "audio_info": {"format": "mp3", "sample_rate": 16000},
    "transcripts": [
        {
            "channel_id": 0,
            "text": "Good morning. Shall we begin?",
            "sentences": [
                {
                    "sentence_id": 0, "begin_time": 100, "end_time": 1500, "language": "en", "emotion": "neutral",
                    "text": "Good morning.",
                    "words": [
                        {"begin_time": 100, "end_time": 700, "text": "Good", "punctuation": ""},
                        {"begin_time": 700, "end_time": 1500, "text": " morning", "punctuation": "."},
                    ],
                },
                {"sentence_id": 1, "begin_time": 3661000, "end_time": 3662250, "language": "en", "text": "Shall we begin?"},
            ],
        }
    ],
}  # fmt: skip


def done(native: Native, shape: str = "result") -> bytes:
    written = {"transcription_url": f"{native.url}/api/v1/transcript.json"}
    output = {"result": written} if shape == "result" else {"results": [{"file_url": URL, **written}]}
    return answer(
        {
            "request_id": "r-3",
            "output": {"task_id": "t-1", "task_status": "SUCCEEDED", **output},
            "usage": {"seconds": 3663},
        }
    )


async def transcribe(house: House, **fields: str):
    body, kind = form({"model": "qwen3-asr-flash-filetrans", "file_url": URL, **fields})
    return await house.post("/v1/audio/transcriptions", body, content_type=kind)


def asked(shape: str = "result", **fields: str) -> tuple[Any, list[Any], list[str]]:
    """Return the answer to a transcription, the native calls and their paths."""
    results: list[Any] = []

    async def main() -> None:
        async with Native({TASK: CREATED, "/transcript.json": answer(TRANSCRIPT)}) as native:
            native.answer("/tasks/t-1", [RUNNING, done(native, shape)])
            async with translator(native) as house:
                results.append(await transcribe(house, **fields))
            assert native.received[0].get("x-dashscope-async") == "enable"
            # Nobody's key goes along where the transcript is fetched.
            assert [one.get("authorization") for one in native.received] == [f"Bearer {KEY}"] * 3 + [""]
            results.extend([native.calls, native.paths])

    run(main)
    return results[0], results[1], results[2]


def test_a_recording_by_url_is_a_task_whose_transcript_is_fetched() -> None:
    answered, calls, paths = asked(language="en")
    assert paths == [TASK, "/tasks/t-1", "/tasks/t-1", "/transcript.json"]
    assert calls == [
        {
            "model": "qwen3-asr-flash-filetrans",
            "input": {"file_url": URL},
            "parameters": {"enable_itn": False, "enable_words": False, "language": "en"},
        }
    ]
    assert answered.json() == {
        "text": "Good morning. Shall we begin?", "usage": {"type": "duration", "seconds": 3663},
    }  # fmt: skip


def test_a_list_of_results_is_read_as_well() -> None:
    answered, calls, _ = asked("results", model="fun-asr", language="zh", response_format="text")
    assert calls[0]["input"] == {"file_urls": [URL]}
    assert calls[0]["parameters"] == {"language_hints": ["zh"]}
    assert answered.body.decode() == "Good morning. Shall we begin?\n"


def test_sentences_are_segments_and_words_have_times() -> None:
    answered, calls, _ = asked(**{"response_format": "verbose_json", "timestamp_granularities[]": "word"})
    assert calls[0]["parameters"]["enable_words"] is True
    said = answered.json()
    assert (said["task"], said["language"], said["duration"]) == ("transcribe", "en", 3663)
    assert [(one["id"], one["start"], one["end"], one["text"]) for one in said["segments"]] == [
        (0, 0.1, 1.5, "Good morning."),
        (1, 3661.0, 3662.25, "Shall we begin?"),
    ]
    assert said["words"] == [
        {"word": "Good", "start": 0.1, "end": 0.7},
        {"word": "morning.", "start": 0.7, "end": 1.5},
    ]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (
            "srt",
            "1\n00:00:00,100 --> 00:00:01,500\nGood morning.\n\n2\n01:01:01,000 --> 01:01:02,250\nShall we begin?\n\n",
        ),
        (
            "vtt",
            "WEBVTT\n\n00:00:00.100 --> 00:00:01.500\nGood morning.\n\n01:01:01.000 --> 01:01:02.250\nShall we begin?\n\n",
        ),
    ],
)
def test_sentences_are_captions(kind: str, text: str) -> None:
    assert asked(response_format=kind)[0].body.decode() == text


@pytest.mark.parametrize("model", ["whisper-1", "gpt-4o-transcribe"])
def test_openais_models_stand_for_the_one_of_long_recordings(model: str) -> None:
    call = plan_url_transcription({"model": model, "file_url": URL}).call
    assert (call.body["model"], call.path, call.task) == ("qwen3-asr-flash-filetrans", TASK, True)


def test_a_model_for_short_recordings_gets_the_url_itself() -> None:
    call = plan_url_transcription({"model": "qwen3-asr-flash", "file_url": URL}).call
    assert (call.path, call.task) == (MULTIMODAL, False)
    assert call.body["input"]["messages"] == [{"role": "user", "content": [{"audio": URL}]}]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"file_url": "ftp://files.invalid/a.mp3"}, "file_url"),
        ({"file_url": "/etc/passwd"}, "file_url"),
        ({"model": "qwen-plus"}, "model"),
        ({"model": "paraformer-realtime-v2"}, "model"),
        ({"stream": "true"}, "stream"),
        ({"response_format": "docx"}, "response_format"),
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, str], param: str) -> None:
    with pytest.raises(ApiError) as caught:
        plan_url_transcription({"model": "qwen3-asr-flash-filetrans", "file_url": URL, **fields})
    assert (caught.value.status, caught.value.param) == (400, param)


@pytest.mark.parametrize(
    ("written", "status", "code"),
    [
        ({"result": {}}, 502, "upstream_bad_response"),
        ({"results": [{"subtask_status": "FAILED", "code": "InvalidFile.DownloadFailed", "message": "no"}]}, 400, None),
    ],
)
def test_a_task_without_a_transcript_is_an_error(written: dict, status: int, code: str | None) -> None:
    async def main() -> None:
        ended = answer({"output": {"task_id": "t-1", "task_status": "SUCCEEDED", **written}})
        async with Native({TASK: CREATED, "/tasks/t-1": ended}) as native, translator(native) as house:
            answered = await transcribe(house)
        assert answered.status == status
        assert code in (None, answered.json()["error"]["code"])

    run(main)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"transcripts":7}'])
def test_a_transcript_of_another_shape_ends_well(body: bytes) -> None:
    async def main() -> None:
        async with Native({TASK: CREATED, "/transcript.json": answer(body)}) as native:
            native.answer("/tasks/t-1", done(native))
            async with translator(native) as house:
                answered = await transcribe(house)
        assert answered.status == (502 if body == b"<html>" else 200)
        assert json.loads(answered.body)

    run(main)


def policy(host: str) -> bytes:
    """Return what DashScope's own SDK (2.0.2, utils/oss_utils.py) expects of GET /uploads?action=getPolicy."""
    data = {
        "policy": "eyJl", "signature": "sig+/=", "upload_dir": "dashscope-instant/ab12/2026-11-29/x", "upload_host": host,
        "expire_in_seconds": 300, "max_file_size_mb": 100, "oss_access_key_id": "LTAI", "x_oss_object_acl": "private",
        "x_oss_forbid_overwrite": "true",
    }  # fmt: skip
    return answer({"request_id": "r-0", "data": data})


@pytest.mark.parametrize(
    ("model", "size"), [("whisper-1", 7_900_000), ("qwen3-asr-flash-filetrans", 5)], ids=["large", "long model"]
)
def test_a_file_that_no_call_takes_goes_through_the_temporary_store(model: str, size: int) -> None:
    asks = "/uploads?action=getPolicy&model=qwen3-asr-flash-filetrans"

    async def main() -> None:
        async with Native({TASK: CREATED, "/transcript.json": answer(TRANSCRIPT), "/bucket": answer(b"")}) as native:
            native.answer(asks, policy(f"{native.url}/api/v1/bucket"))
            native.answer("/tasks/t-1", done(native))
            async with translator(native) as house:
                sound = b"S" * size
                body, kind = form({"model": model}, ("file", "talk.MP3", "audio/mpeg", sound))
                answered = await house.post("/v1/audio/transcriptions", body, content_type=kind)
            assert answered.json()["text"] == "Good morning. Shall we begin?"
            assert native.paths == [asks, "/bucket", TASK, "/tasks/t-1", "/transcript.json"]
            stored, task = native.received[1], native.received[2]
            parts = parse_form(stored.get("content-type"), stored.body)
            key = "dashscope-instant/ab12/2026-11-29/x/file.mp3"
            assert parts.fields == {
                "OSSAccessKeyId": "LTAI", "Signature": "sig+/=", "policy": "eyJl", "x-oss-object-acl": "private",
                "x-oss-forbid-overwrite": "true", "key": key, "success_action_status": "200",
            }  # fmt: skip
            assert parts.file("file").data == sound
            assert parts.parts[-1][0] == "file"
            assert stored.get("authorization") == ""
            assert json.loads(task.body)["input"] == {"file_url": "oss://" + key}
            assert task.get("x-dashscope-ossresourceresolve") == "enable"

    run(main)


def test_an_account_that_may_not_upload_is_told_so() -> None:
    async def main() -> None:
        denied = refusal("AccessDenied", "Access denied.", "403 Forbidden")
        asks = "/uploads?action=getPolicy&model=fun-asr"
        async with Native({asks: denied}) as native, translator(native) as house:
            body, kind = form({"model": "fun-asr"}, ("file", "a.wav", "audio/wav", b"RIFF"))
            answered = await house.post("/v1/audio/transcriptions", body, content_type=kind)
        assert (answered.status, answered.json()["error"]["code"]) == (403, "AccessDenied")

    run(main)


@pytest.mark.parametrize("host", ["http://10.0.0.7/", "file:///etc", "None"])
def test_nothing_is_sent_to_a_store_that_is_not_in_public(host: str) -> None:
    async def main() -> None:
        asks = "/uploads?action=getPolicy&model=fun-asr"
        async with Native({asks: policy(host)}) as native, translator(native) as house:
            body, kind = form({"model": "fun-asr"}, ("file", "a.wav", "audio/wav", b"RIFF"))
            answered = await house.post("/v1/audio/transcriptions", body, content_type=kind)
        assert answered.status == 502
        assert native.paths == [asks]

    run(main)
