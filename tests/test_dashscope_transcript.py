from __future__ import annotations

import json

import pytest
from dashscope_samples import FIRST_FRAME_ERROR, frame, sse

from protocol.dashscope.mapping.native import MULTIMODAL_GENERATION_PATH
from protocol.dashscope.mapping.transcript import (
    TranscriptStreamTranslator,
    plan_transcription,
    refuse_translation,
    transcription_answer,
)
from protocol.errors import ApiError

ANSWER = json.loads(
    '{"output":{"choices":[{"finish_reason":"stop","message":{"annotations":[{"type":"audio_info","language":"en"'
    ',"emotion":"neutral"}],"content":[{"text":"Hello Alice."}],"role":"assistant"}}]},"usage":{"input_tokens_details"'
    ':{"text_tokens":3},"output_tokens_details":{"text_tokens":4},"seconds":2},"request_id":"r-29"}'
)
SILENCE = {"output": {"choices": [{"finish_reason": "stop", "message": {"content": []}}]}, "usage": {"seconds": 1}}


def plan(sound: bytes = b"RIFF", filename: str = "a.wav", media_type: str = "", **fields: object):
    return plan_transcription({"model": "whisper-1", **fields}, filename, media_type, sound)


def test_maps_the_request_of_the_sample() -> None:
    made = plan(model="qwen3-asr-flash", prompt="names: Alice", language="en", temperature="0")
    assert (made.call.path, made.call.stream, made.response_format) == (MULTIMODAL_GENERATION_PATH, False, "json")
    assert made.call.body == {
        "model": "qwen3-asr-flash",
        "input": {
            "messages": [
                {"role": "system", "content": [{"text": "names: Alice"}]},
                {"role": "user", "content": [{"audio": "data:audio/wav;base64,UklGRg=="}]},
            ]
        },
        "parameters": {"asr_options": {"language": "en", "enable_itn": False}, "result_format": "message"},
    }


@pytest.mark.parametrize(
    ("model", "native"),
    [
        ("whisper-1", "qwen3-asr-flash"),
        ("gpt-4o-transcribe", "qwen3-asr-flash"),
        ("gpt-4o-mini-transcribe", "qwen3-asr-flash"),
        ("qwen3-asr-flash-2025-09-08", "qwen3-asr-flash-2025-09-08"),
    ],
)
def test_openais_models_stand_for_one_of_ours(model: str, native: str) -> None:
    assert plan(model=model).call.body["model"] == native


@pytest.mark.parametrize(
    ("filename", "media_type", "expected"),
    [
        ("a.MP3", "application/octet-stream", "audio/mpeg"),
        ("a", "audio/flac; x=1", "audio/flac"),
        ("a.webm", "", "audio/webm"),
        ("a.bin", "application/octet-stream", "audio/wav"),
        ("a", "audio/x,base64", "audio/wav"),
    ],
)
def test_the_type_is_the_file_names_else_the_clients(filename: str, media_type: str, expected: str) -> None:
    audio = plan(filename=filename, media_type=media_type).call.body["input"]["messages"][0]["content"][0]["audio"]
    assert audio.startswith(f"data:{expected};base64,")


def test_a_recording_of_ten_megabytes_as_base64_is_the_limit() -> None:
    header = len("data:audio/wav;base64,")
    most = (10 * 1024 * 1024 - header) // 4 * 3
    assert plan(sound=b"x" * most)
    with pytest.raises(ApiError) as caught:
        plan(sound=b"x" * (most + 3))
    assert (caught.value.status, caught.value.param) == (413, "file")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": ""}, "model"),
        ({"model": "paraformer-v2"}, "model"),
        ({"model": "qwen3-asr-flash-filetrans"}, "model"),
        ({"model": "qwen3-asr-flash-realtime"}, "model"),
        ({"response_format": "xml"}, "response_format"),
        ({"response_format": "srt", "stream": "true"}, "response_format"),
        ({"stream": "maybe"}, "stream"),
        ({"sound": b""}, "file"),
    ],
)
def test_refuses_and_names_the_parameter(fields: dict, param: str) -> None:
    with pytest.raises(ApiError) as caught:
        plan(**fields)
    assert (caught.value.status, caught.value.param) == (400, param)


def test_translation_is_refused() -> None:
    assert refuse_translation().status == 400


def test_a_stream_is_asked_for_in_pieces() -> None:
    call = plan(stream="true").call
    assert call.stream and call.body["parameters"]["incremental_output"] is True


def answered(response_format: str, answer: dict = ANSWER) -> str:
    return transcription_answer(answer, response_format)[1].decode()


def test_answers_in_json() -> None:
    media_type, body = transcription_answer(ANSWER, "json")
    assert media_type == "application/json"
    assert json.loads(body) == {"text": "Hello Alice.", "usage": {"type": "duration", "seconds": 2}}


def test_answers_are_utf_8_and_of_the_first_choice() -> None:
    answer = {"output": {"choices": [{"message": {"content": "租约"}}, {"message": {"content": "x"}}]}}
    assert '"租约"' in answered("json", answer)


def test_answers_in_text() -> None:
    media_type, body = transcription_answer(ANSWER, "text")
    assert (media_type, body) == ("text/plain; charset=utf-8", b"Hello Alice.\n")


def test_answers_in_verbose_json_with_one_segment() -> None:
    body = json.loads(answered("verbose_json"))
    assert (body["task"], body["language"], body["duration"], body["text"]) == ("transcribe", "en", 2, "Hello Alice.")
    (segment,) = body["segments"]
    assert (segment["start"], segment["end"], segment["text"]) == (0, 2, "Hello Alice.")


def test_answers_in_captions() -> None:
    assert answered("srt") == "1\n00:00:00,000 --> 00:00:02,000\nHello Alice.\n\n"
    long = {**ANSWER, "usage": {"seconds": 3661.5}}
    assert answered("vtt", long) == "WEBVTT\n\n00:00:00.000 --> 01:01:01.500\nHello Alice.\n\n"


@pytest.mark.parametrize("answer", [SILENCE, {"output": {"choices": [{"message": {}}]}}, {"output": {}}, {}])
def test_silence_is_an_empty_text(answer: dict) -> None:
    assert json.loads(answered("json", answer))["text"] == ""


@pytest.mark.parametrize("seconds", ["2", None, -1, float("nan"), 10**30])
def test_a_duration_that_is_none_counts_as_zero(seconds: object) -> None:
    assert "--> 00:00:00,000" in answered("srt", {**ANSWER, "usage": {"seconds": seconds}})


def test_half_a_surrogate_pair_does_not_break_the_answer() -> None:
    answer = {"output": {"text": "x\ud800"}}
    assert [answered(form, answer).split()[-1] for form in ("text", "srt")] == ["x?", "x?"]


def test_usage_is_in_tokens_where_no_duration_is_told() -> None:
    answer = {"output": {}, "usage": {"input_tokens": 3, "output_tokens": 4}}
    expected = {"type": "tokens", "input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
    assert json.loads(answered("json", answer))["usage"] == expected


STREAM = sse(
    [
        frame({"content": [{"text": "Hello"}]}),
        frame({"content": [{"text": " Alice."}]}),
        frame({"content": []}, "stop")[:-1] + ',"usage":{"input_tokens":3,"output_tokens":4}}',
    ]
)


def test_streams_deltas_and_the_whole_at_the_end_at_every_split() -> None:
    for split in range(len(STREAM) + 1):
        stream = TranscriptStreamTranslator()
        assert stream.feed(STREAM[:split]) + stream.feed(STREAM[split:]) + stream.close() == [
            {"type": "transcript.text.delta", "delta": "Hello"},
            {"type": "transcript.text.delta", "delta": " Alice."},
            {
                "type": "transcript.text.done",
                "text": "Hello Alice.",
                "usage": {"type": "tokens", "input_tokens": 3, "output_tokens": 4, "total_tokens": 7},
            },
        ]
        assert stream.error is None


def test_the_end_of_a_stream_has_no_usage_where_only_a_duration_is_told() -> None:
    stream = TranscriptStreamTranslator()
    stream.feed(sse([json.dumps(ANSWER)]))
    assert stream.close() == [{"type": "transcript.text.done", "text": "Hello Alice."}]


def test_an_error_ends_the_stream() -> None:
    stream = TranscriptStreamTranslator()
    assert len(stream.feed(sse([frame({"content": "a"})]) + FIRST_FRAME_ERROR)) == 1
    assert stream.error is not None and stream.error.status == 400
    assert stream.feed(STREAM) == stream.close() == []
