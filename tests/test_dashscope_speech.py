from __future__ import annotations

import base64
import io
import itertools
import wave

import pytest
from dashscope_samples import FIRST_FRAME_ERROR, sse
from steps import assert_grows_in_proportion, steps_of

from protocol.dashscope.mapping.native import MULTIMODAL_GENERATION_PATH, SPEECH_SYNTHESIS_PATH
from protocol.dashscope.mapping.speech import SpeechStreamTranslator, plan_speech, speech_done_event, split_speech_text
from protocol.errors import ApiError
from protocol.openai.audio import speech_delta_event, wav_header

QWEN = "qwen3-tts-flash"
COSY = "cosyvoice-v3-flash"
FRAMES = [
    '{"output":{"audio":{"data":"AAABAAIA","expires_at":1790000000,"id":"audio_1","url":""},"finish_reason":"null"}'
    ',"usage":{"characters":5},"request_id":"r-28"}',
    '{"output":{"audio":{"data":"","expires_at":1790000000,"id":"audio_1","url":"http://tts.example.invalid/1.wav"}'
    ',"finish_reason":"stop"},"usage":{"characters":5},"request_id":"r-28"}',
]


def request(model: str = QWEN, **rest: object) -> dict:
    return {"model": model, "input": "Hello", "voice": "Cherry", **rest}


def test_maps_the_request_of_the_sample() -> None:
    plan = plan_speech(request(language_type="English"))
    (call,) = plan.calls
    assert (call.path, call.stream) == (MULTIMODAL_GENERATION_PATH, True)
    assert call.body == {"model": QWEN, "input": {"text": "Hello", "voice": "Cherry", "language_type": "English"}}


VOICES = {
    "alloy": "Cherry",
    "nova": "Serena",
    "shimmer": "Chelsie",
    "coral": "Jennifer",
    "sage": "Maia",
    "ash": "Ryan",
    "ballad": "Vincent",
    "verse": "Aiden",
    "echo": "Ethan",
    "fable": "Neil",
    "onyx": "Kai",
    "marin": "Vivian",
    "cedar": "Elias",
    "Eldric Sage": "Eldric Sage",
    "my-own-voice": "my-own-voice",
}


@pytest.mark.parametrize("voice", VOICES)
def test_maps_openais_voices_and_passes_all_others(voice: str) -> None:
    assert next(iter(plan_speech(request(voice=voice)).calls)).body["input"]["voice"] == VOICES[voice]


def test_takes_a_voice_given_by_id() -> None:
    assert next(iter(plan_speech(request(voice={"id": "v1"})).calls)).body["input"]["voice"] == "v1"


@pytest.mark.parametrize(
    ("model", "response_format", "audio_format", "media_type", "beginning"),
    [
        (QWEN, None, "wav", "audio/wav", 44),
        (QWEN, "wav", "wav", "audio/wav", 44),
        (QWEN, "pcm", "pcm", "audio/pcm", 0),
        (COSY, None, "mp3", "audio/mpeg", 0),
        (COSY, "wav", "wav", "audio/wav", 0),
        (COSY, "opus", "opus", "audio/ogg", 0),
    ],
)
def test_answers_in_what_the_model_can_give(
    model: str, response_format: str | None, audio_format: str, media_type: str, beginning: int
) -> None:
    plan = plan_speech(request(model, response_format=response_format))
    assert (plan.audio_format, plan.media_type, len(plan.beginning())) == (audio_format, media_type, beginning)


@pytest.mark.parametrize(
    ("model", "response_format"),
    [(QWEN, "mp3"), (QWEN, "opus"), (QWEN, "aac"), (QWEN, "flac"), (COSY, "aac"), (COSY, "flac")],
)
def test_a_format_that_was_asked_for_and_cannot_be_given_is_refused(model: str, response_format: str) -> None:
    with pytest.raises(ApiError) as caught:
        plan_speech(request(model, response_format=response_format))
    assert (caught.value.status, caught.value.param, caught.value.code) == (
        400,
        "response_format",
        "unsupported_response_format",
    )


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": None}, "model"),
        ({"model": "cosyvoice-v1"}, "model"),
        ({"model": "sambert-zhichu-v1"}, "model"),
        ({"input": ""}, "input"),
        ({"voice": None}, "voice"),
        ({"voice": ""}, "voice"),
        ({"speed": 5}, "speed"),
        ({"speed": "fast"}, "speed"),
        ({"response_format": "midi"}, "response_format"),
        ({"stream_format": "x"}, "stream_format"),
    ],
)
def test_refuses_and_names_the_parameter(change: dict, param: str) -> None:
    with pytest.raises(ApiError) as caught:
        plan_speech(request(**change))
    assert (caught.value.status, caught.value.param) == (400, param)


def test_only_instructed_models_get_instructions() -> None:
    extra = {"instructions": "calmly", "optimize_instructions": True, "speed": 2}
    assert next(iter(plan_speech(request(**extra)).calls)).body["input"] == {"text": "Hello", "voice": "Cherry"}
    assert next(iter(plan_speech(request("qwen3-tts-instruct-flash", **extra)).calls)).body["input"] == {
        "text": "Hello",
        "voice": "Cherry",
        "instructions": "calmly",
        "optimize_instructions": True,
    }


@pytest.mark.parametrize(("speed", "rate"), [(None, None), (1, None), (1.5, 1.5), (0.25, 0.5), (4, 2.0)])
def test_cosyvoice_gets_format_and_rate(speed: float | None, rate: float | None) -> None:
    (call,) = plan_speech(request(COSY, voice="longwan", speed=speed)).calls
    expected = {"text": "Hello", "voice": "longwan", "format": "mp3", "sample_rate": 24000}
    assert (call.path, call.stream) == (SPEECH_SYNTHESIS_PATH, True)
    assert call.body["input"] == (expected if rate is None else {**expected, "rate": rate})


def test_cosyvoice_has_one_voice_for_all_of_openais() -> None:
    assert next(iter(plan_speech(request(COSY, voice="alloy")).calls)).body["input"]["voice"] == "longanyang"


def test_qwen_audio_models_go_the_way_of_cosyvoice() -> None:
    assert next(iter(plan_speech(request("qwen-audio-tts")).calls)).path == SPEECH_SYNTHESIS_PATH


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Short.", ["Short."]),
        ("One two. Three four.", ["One two.", "Three four."]),
        ('He said "no." Then he left.', ['He said "no."', "Then he left."]),
        ("一二三。四五六七八九十一二三四五", ["一二三。", "四五六七八九十一二三四五"]),
        ("one two, three four five", ["one two,", "three four", "five"]),
        ("onetwothreefourfive", ["onetwothreefo", "urfive"]),
        ("pi is 3.14159265", ["pi is", "3.14159265"]),
        ("   ", []),
    ],
)
def test_cuts_long_texts_where_a_speaker_would_pause(text: str, pieces: list[str]) -> None:
    assert list(split_speech_text(text, 13)) == pieces


@pytest.mark.limit(30)
@pytest.mark.parametrize("part", ["a", "a. ", "a, ", " a", ". ", "a\n", "。"], ids=ascii)
def test_a_text_is_cut_in_proportion_to_its_length_and_no_further_than_it_is_asked(part: str) -> None:
    assert_grows_in_proportion(lambda size: list(split_speech_text(part * size)), 3000, slack=1500)
    text = part * 1_000_000
    assert steps_of(lambda: list(itertools.islice(split_speech_text(text), 3))) < 10_000
    assert steps_of(lambda: plan_speech(request(input=text))) < 1000


def test_a_long_text_is_several_calls_of_at_most_600_characters() -> None:
    text = "A sentence of some words. " * 100
    calls = plan_speech(request(input=text)).calls
    pieces = [call.body["input"]["text"] for call in calls]
    assert len(pieces) > 4
    assert max(map(len, pieces)) <= 600
    assert " ".join(pieces) == text.strip()


def test_a_wav_of_known_length_is_read_back() -> None:
    samples = bytes(range(20))
    with wave.open(io.BytesIO(wav_header(len(samples)) + samples)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 24000)
        assert file.readframes(99) == samples


def test_a_streamed_wav_has_sizes_that_say_unknown() -> None:
    header = wav_header()
    assert (header[4:8], header[40:44], len(header)) == (b"\xff" * 4, b"\xff" * 4, 44)


def test_takes_the_sound_out_at_every_split() -> None:
    data = sse(FRAMES)
    for split in range(len(data) + 1):
        reader = SpeechStreamTranslator()
        sound = reader.feed(data[:split]) + reader.feed(data[split:]) + reader.close()
        assert (sound, reader.error) == ([b"\0\0\1\0\2\0"], None)
        assert (reader.url, reader.usage) == ("http://tts.example.invalid/1.wav", {"characters": 5})


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (FIRST_FRAME_ERROR, 400, "InvalidParameter"),
        (b"", 502, "upstream_bad_response"),
        (sse(['{"output":{"audio":{"data":"A"}}}']), 502, "upstream_bad_response"),
        (sse(['{"output":null}']), 502, "upstream_bad_response"),
    ],
    ids=["error", "nothing", "bad base64", "no sound"],
)
def test_reports_a_stream_without_sound(data: bytes, status: int, code: str) -> None:
    reader = SpeechStreamTranslator()
    assert reader.feed(data) + reader.close() == []
    assert reader.error is not None and (reader.error.status, reader.error.code) == (status, code)


def test_sound_before_an_error_is_not_lost() -> None:
    reader = SpeechStreamTranslator()
    assert reader.feed(sse(FRAMES[:1]) + FIRST_FRAME_ERROR) == [b"\0\0\1\0\2\0"]
    assert reader.error is not None
    assert reader.feed(sse(FRAMES)) == reader.close() == []


def test_events_carry_base64_and_the_summed_usage() -> None:
    assert base64.b64decode(speech_delta_event(b"\0\1")["audio"]) == b"\0\1"
    usages = [{"characters": 5}, {"input_tokens": 3, "output_tokens": 20}]
    assert speech_done_event(usages) == {
        "type": "speech.audio.done",
        "usage": {"input_tokens": 8, "output_tokens": 20, "total_tokens": 28},
    }
