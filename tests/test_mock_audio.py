"""The mock's speech, its transcripts, and chats that are spoken."""

from __future__ import annotations

import array
import asyncio
import base64
import io
import json
import wave

import pytest
from mocks import make_form, make_mock, make_request

from protocol.errors import ApiError
from protocol.exchange import Paced, Response
from protocol.mock.media.recording import sound_seconds
from protocol.mock.media.sound import SpokenSound
from protocol.openai.api.checks import Conformity
from protocol.openai.api.notation import NamedShape
from protocol.openai.api.operations import Reference
from protocol.openai.reference.whole import API_REFERENCE
from protocol.wire.sse import SseReader

REFERENCE = Reference(lambda: API_REFERENCE)
REFERENCE.keys()  # reads the names of the shapes
CONFORMITY = Conformity(REFERENCE.shapes)
TEXT = "The quick brown fox jumped over the lazy dog."
TALE = "Once there was a cat. It sat! 猫很好。 Who knows"
RECORDING = SpokenSound(12, "wav").file()


def conform(name, value):
    CONFORMITY.check(NamedShape(name))(value)


def respond(path, body, fields=(), **settings):
    mock = make_mock(**settings)
    request = make_request("POST", f"/v1{path}", body, fields)
    answer = mock.endpoint(request).answer(request)
    return answer if isinstance(answer, Response) else asyncio.run(answer)


def speak(_settings=None, **parameters):
    body = {"model": "gpt-4o-mini-tts", "voice": "alloy", "input": TEXT, **parameters}
    return respond("/audio/speech", body, **(_settings or {}))


def whole(body):
    """Return the bytes of a body, however it comes."""

    async def read():
        return b"".join([piece async for piece in body])

    if isinstance(body, Paced):
        return b"".join(body.frames)
    return body if isinstance(body, bytes) else asyncio.run(read())


def transcribe(recording=RECORDING, *parts, path="/audio/transcriptions", _settings=None, **fields):
    texts = [(name, str(value)) for name, value in {"model": "whisper-1", **fields}.items()]
    body, head = make_form(*texts, *parts, ("file", "a.wav", recording))
    return respond(path, body, head, **(_settings or {}))


def transcript(*args, **fields):
    return json.loads(transcribe(*args, **fields).body)


def events(response):
    return [json.loads(event.data) for event in SseReader().feed(whole(response.body))]


def refused(call, *args, **parameters):
    with pytest.raises(ApiError) as caught:
        call(*args, **parameters)
    return caught.value


# ---- speech


@pytest.mark.parametrize(
    ("form", "media_type", "begin"),
    [
        (None, b"audio/mpeg", b"\xff\xf3"),
        ("mp3", b"audio/mpeg", b"\xff\xf3"),
        ("opus", b"audio/ogg", b"OggS"),
        ("aac", b"audio/aac", b"\xff\xf1"),
        ("flac", b"audio/flac", b"fLaC"),
        ("wav", b"audio/wav", b"RIFF"),
        ("pcm", b"audio/pcm", b""),
    ],
)
def test_speech_has_the_asked_format_and_fits_the_text(form, media_type, begin):
    response = speak(response_format=form) if form else speak()
    sound = whole(response.body)
    assert b"content-type: " + media_type in response.fields and sound.startswith(begin)
    seconds = len(sound) / 48000 if form == "pcm" else sound_seconds(sound)
    assert seconds == pytest.approx(9 * 0.2, abs=0.05)


@pytest.mark.parametrize(("speed", "seconds"), [(0.25, 7.2), (1, 1.8), (2, 0.9), (4.0, 0.45)])
def test_speed_makes_speech_shorter(speed, seconds):
    sound = whole(speak(response_format="wav", speed=speed).body)
    with wave.open(io.BytesIO(sound)) as opened:
        assert opened.getnframes() / opened.getframerate() == pytest.approx(seconds, abs=0.001)


def test_voices_sound_differently_and_always_the_same():
    sounds = {
        str(voice): whole(speak(voice=voice, response_format="pcm").body)
        for voice in ("alloy", "nova", "echo", {"id": "voice_1"})
    }
    assert len(set(sounds.values())) > 1
    assert whole(speak(voice="nova", response_format="pcm").body) == sounds["nova"]
    assert any(array.array("h", sounds["nova"]))


def test_speech_is_sent_word_by_word_at_the_mock_s_pace():
    paced = speak({"delay": 0.5, "first_delay": 1.0}, response_format="wav").body
    assert len(paced.frames) == 9 and (paced.first_delay, paced.delay) == (1.0, 0.5)
    assert whole(paced) == whole(speak(response_format="wav").body)


def test_long_speech_is_sent_in_pieces_with_its_length():
    response = speak(input="word " * 800, response_format="wav")
    assert not isinstance(response.body, bytes)
    assert response.length == 44 + 800 * 9600 == len(whole(response.body))


def test_speech_as_events_is_the_same_sound():
    response = speak(stream_format="sse", response_format="pcm")
    *deltas, done = events(response)
    assert b"text/event-stream" in response.fields
    assert {delta["type"] for delta in deltas} == {"speech.audio.delta"} and len(deltas) == 9
    sound = b"".join(base64.b64decode(delta["audio"]) for delta in deltas)
    assert sound == whole(speak(response_format="pcm").body)
    assert done == {
        "type": "speech.audio.done", "usage": {"input_tokens": 9, "output_tokens": 18, "total_tokens": 27}
    }  # fmt: skip


@pytest.mark.parametrize(
    ("parameters", "param", "words"),
    [
        ({"input": "a" * 4097}, "input", "maximum length 4096, but got a string with length 4097"),
        ({"input": ""}, "input", "too short"),
        ({"voice": None}, "voice", "Invalid type for 'voice': expected one of "),
        ({"speed": 0.2}, "speed", ">= 0.25"),
        ({"speed": 4.1}, "speed", "<= 4"),
        ({"response_format": "midi"}, "response_format", "'mp3', 'opus', 'aac', 'flac', 'wav', and 'pcm'"),
    ],
)
def test_bad_speech_request_is_openai_s_400(parameters, param, words):
    error = refused(speak, **parameters)
    assert (error.status, error.param) == (400, param) and words in error.message


def test_longest_text_is_spoken():
    assert speak(input="a" * 4096).status == 200


# ---- transcripts


@pytest.mark.parametrize("form", ["wav", "mp3", "opus", "aac", "flac"])
def test_duration_is_the_recording_s(form):
    sound = whole(speak(response_format=form).body)
    answer = transcript(sound, response_format="verbose_json")
    conform("TranscriptionVerbose", answer)
    assert answer["duration"] == round(sound_seconds(sound), 6)
    assert answer["text"] == "powered by openai"
    assert answer["segments"][-1]["end"] == answer["duration"]


def test_json_has_the_text_and_what_is_billed():
    assert transcript() == {"text": "powered by openai", "usage": {"type": "duration", "seconds": 3}}
    answer = transcript(model="gpt-4o-transcribe", prompt="two words")
    conform("Transcription", answer)
    assert answer["usage"] == {
        "type": "tokens", "input_tokens": 26, "input_token_details": {"text_tokens": 2, "audio_tokens": 24},
        "output_tokens": 3, "total_tokens": 29,
    }  # fmt: skip


def test_languages_are_told_by_the_model_that_knows_them():
    answer = transcript(RECORDING, ("languages[]", "de"), model="gpt-transcribe")
    assert answer["languages"] == [{"code": "de"}]


@pytest.mark.parametrize(
    ("form", "media_type", "text"),
    [
        ("text", b"text/plain", "powered by openai\n"),
        ("srt", b"application/x-subrip", "1\n00:00:00,000 --> 00:00:02,400\npowered by openai\n\n"),
        ("vtt", b"text/vtt", "WEBVTT\n\n00:00:00.000 --> 00:00:02.400\npowered by openai\n\n"),
    ],
)
def test_other_formats_are_texts(form, media_type, text):
    response = transcribe(response_format=form)
    assert b"content-type: " + media_type in response.fields and response.body.decode() == text


@pytest.mark.parametrize(
    ("asked", "members"),
    [
        ([], {"segments"}),
        (["segment"], {"segments"}),
        (["word"], {"words"}),
        (["word", "segment"], {"words", "segments"}),
    ],
)
def test_granularities_choose_words_and_segments(asked, members):
    parts = [("timestamp_granularities[]", one) for one in asked]
    answer = transcript(RECORDING, *parts, response_format="verbose_json")
    assert set(answer) == {"task", "language", "duration", "text", "usage"} | members


def test_words_and_segments_fill_the_recording():
    parts = [("timestamp_granularities[]", "word"), ("timestamp_granularities[]", "segment")]
    answer = transcript(RECORDING, *parts, response_format="verbose_json", _settings={"text": TALE})
    for timed in (answer["words"], answer["segments"]):
        assert timed[0]["start"] == 0 and timed[-1]["end"] == answer["duration"] == 2.4
        assert all(one["start"] < one["end"] for one in timed)
        assert [one["end"] for one in timed[:-1]] == [one["start"] for one in timed[1:]]
    assert [segment["text"] for segment in answer["segments"]] == [
        " Once there was a cat.", " It sat!", " 猫很好。", " Who knows",
    ]  # fmt: skip
    assert "".join(word["word"] for word in answer["words"]) == TALE.replace(" ", "")
    assert all(-1 < segment["avg_logprob"] < 0 for segment in answer["segments"])


def test_speakers_take_turns():
    parts = [("known_speaker_names[]", "agent"), ("known_speaker_names[]", "customer")]
    fields = {"model": "gpt-4o-transcribe-diarize", "response_format": "diarized_json", "_settings": {"text": TALE}}
    answer = transcript(RECORDING, *parts, **fields)
    conform("TranscriptionDiarized", answer)
    assert [segment["speaker"] for segment in answer["segments"]] == ["agent", "customer"] * 2
    unnamed = transcript(**fields)["segments"]
    assert [segment["speaker"] for segment in unnamed] == ["A", "B", "A", "B"]


def test_translation_is_english():
    assert transcript(path="/audio/translations") == {"text": "powered by openai"}
    answer = transcript(path="/audio/translations", response_format="verbose_json")
    assert (answer["task"], answer["language"], answer["duration"]) == ("translate", "english", 2.4)


def test_stream_says_the_same_word_by_word():
    response = transcribe(RECORDING, ("include[]", "logprobs"), model="gpt-4o-transcribe", stream="true")
    *deltas, done = events(response)
    for delta in deltas:
        conform("TranscriptionDelta", delta)
    conform("TranscriptionDone", done)
    assert [delta["delta"] for delta in deltas] == ["powered ", "by ", "openai"]
    assert done["text"] == "powered by openai" and done["usage"]["total_tokens"] == 27
    assert done["logprobs"] == [entry for delta in deltas for entry in delta["logprobs"]]
    plain = transcript(RECORDING, ("include[]", "logprobs"), model="gpt-4o-transcribe")
    assert plain["logprobs"] == done["logprobs"]
    assert [bytes(entry["bytes"]).decode() for entry in done["logprobs"]] == ["powered ", "by ", "openai"]


def test_stream_of_speakers_has_a_segment_behind_its_words():
    response = transcribe(
        model="gpt-4o-transcribe-diarize", response_format="diarized_json", stream="true", _settings={"text": TALE}
    )
    said, ids = "", []
    for event in events(response):
        if event["type"] == "transcript.text.delta":
            said += event["delta"]
            ids.append(event["segment_id"])
        elif event["type"] == "transcript.text.segment":
            conform("SpeakerSegment", event)
            assert said.strip().endswith(event["text"]) and ids[-1] == event["id"]
    assert said == TALE == event["text"] and sorted(set(ids)) == ["seg_001", "seg_002", "seg_003", "seg_004"]


def test_whisper_does_not_stream():
    assert transcript(stream="true")["text"] == "powered by openai"


def test_stream_keeps_the_mock_s_pace():
    response = transcribe(model="gpt-4o-transcribe", stream="true", _settings={"delay": 0.5})
    assert len(response.body.frames) == 3 and response.body.delay == 0.5


@pytest.mark.parametrize("text", ["", "   ", "..."])
@pytest.mark.parametrize("form", ["json", "text", "srt", "vtt", "verbose_json", "diarized_json"])
def test_texts_of_little_are_answered(text, form):
    response = transcribe(response_format=form, _settings={"text": text})
    assert response.status == 200
    streamed = events(transcribe(response_format=form, model="m", stream="true", _settings={"text": text}))
    assert streamed[-1]["type"] == "transcript.text.done" and streamed[-1]["text"] == text


def test_recording_of_no_known_length_takes_as_long_as_the_text():
    answer = transcript(b"\x1a\x45\xdf\xa3 of a recorder", response_format="verbose_json")
    assert answer["duration"] == 0.6


def test_what_is_no_recording_is_refused():
    error = refused(transcribe, b"raw file contents")
    assert (error.status, error.param, error.message) == (
        400, "file", "Audio file might be corrupted or unsupported",
    )  # fmt: skip
    assert refused(respond, "/audio/transcriptions", {"model": "m", "file": "text"}).param == "file"


@pytest.mark.parametrize("settings", [{"unknown_ids": "invent"}, {"validate": "warn"}, {"validate": "off"}])
def test_anything_is_a_recording_where_nothing_is_checked(settings):
    assert transcript(b"Example data", response_format="verbose_json", _settings=settings)["duration"] == 0.6


def test_recording_above_25_mebibytes_is_413():
    assert refused(transcribe, RECORDING.ljust(25 * 1024 * 1024 + 1, b"\0")).status == 413


# ---- spoken chats

SPOKEN = {
    "model": "gpt-4o-audio-preview", "modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "pcm16"},
    "messages": [{"role": "user", "content": "Hello"}],
}  # fmt: skip


def chat(_settings=None, **parameters):
    return respond("/chat/completions", {**SPOKEN, **parameters}, **(_settings or {}))


@pytest.mark.parametrize("form", ["wav", "mp3", "flac", "opus", "aac"])
def test_chat_is_spoken_in_the_asked_format(form):
    answer = json.loads(chat(audio={"voice": "alloy", "format": form}).body)
    conform("ChatCompletion", answer)
    message = answer["choices"][0]["message"]
    assert message["content"] is None and message["audio"]["transcript"] == "powered by openai"
    assert sound_seconds(base64.b64decode(message["audio"]["data"])) == pytest.approx(0.6, abs=0.05)
    assert message["audio"]["expires_at"] == answer["created"] + 3600
    assert answer["usage"]["completion_tokens_details"]["audio_tokens"] == 3


def test_spoken_stream_is_the_same_sound_and_ends_with_its_expiry():
    said = json.loads(chat().body)["choices"][0]["message"]["audio"]
    text = whole(chat(stream=True).body).decode()
    assert text.endswith("data: [DONE]\n\n")
    chunks = [json.loads(line[len("data: ") :]) for line in text.split("\n\n")[:-2]]
    opening, *audio, expiry, end = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert opening == {"role": "assistant", "content": None, "refusal": None} and end == {}
    assert expiry == {"audio": {"expires_at": said["expires_at"]}}
    assert [set(delta["audio"]) for delta in audio] == [{"id", "transcript"}, {"id", "data"}] * 3
    assert "".join(delta["audio"].get("transcript", "") for delta in audio) == said["transcript"]
    sound = b"".join(base64.b64decode(delta["audio"].get("data", "")) for delta in audio)
    assert sound == base64.b64decode(said["data"])
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


def test_spoken_stream_has_a_frame_a_word():
    assert len(chat({"delay": 0.5}, stream=True).body.frames) == 3


def test_cut_answer_is_spoken_as_far_as_it_goes():
    choice = json.loads(chat(max_tokens=1).body)["choices"][0]
    assert choice["message"]["audio"]["transcript"] == "powered " and choice["finish_reason"] == "length"
    assert len(base64.b64decode(choice["message"]["audio"]["data"])) == 9600


def test_text_alone_is_not_spoken():
    message = json.loads(chat(modalities=["text"]).body)["choices"][0]["message"]
    assert message["content"] == "powered by openai" and "audio" not in message


@pytest.mark.parametrize(
    ("parameters", "param", "code"),
    [
        ({"audio": {"voice": "alloy", "format": "wav"}, "stream": True}, "audio.format", "unsupported_value"),
        ({"audio": None}, "audio", "missing_required_parameter"),
        ({"audio": {"voice": "alloy", "format": "midi"}}, "audio.format", "invalid_value"),
    ],
)
def test_bad_spoken_request_is_openai_s_400(parameters, param, code):
    error = refused(chat, **parameters)
    assert (error.status, error.param, error.code) == (400, param, code)


def test_stored_chat_keeps_its_transcript_without_its_sound():
    mock = make_mock()
    request = make_request("POST", "/v1/chat/completions", {**SPOKEN, "store": True})
    said = json.loads(mock.endpoint(request).answer(request).body)
    request = make_request("GET", f"/v1/chat/completions/{said['id']}")
    kept = json.loads(mock.endpoint(request).answer(request).body)["choices"][0]["message"]["audio"]
    assert said["choices"][0]["message"]["audio"]["data"] and kept["data"] == ""
    assert kept["transcript"] == "powered by openai"
