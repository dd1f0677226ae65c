"""Speech to text: OpenAI's transcription request as a native chat call with a recording, and the answers back.

DashScope takes short recordings in this way: up to 5 minutes, and 10 MB as base64. It gives the text, the language and
the length in seconds, but no times of words. Where the client wants times, one segment spans the whole text. Long
recordings are given by URL and written down by a task, whose transcript long_transcript.py reads. Sources: DashScope
API reference, "Qwen-ASR"; OpenAI API reference, "Create transcription".
"""

from __future__ import annotations

import json
import re
import typing

from protocol.dashscope.mapping.answer import as_list, as_object, native_choices, token_count
from protocol.dashscope.mapping.data_url import data_url
from protocol.dashscope.mapping.events import StreamTranslator
from protocol.dashscope.mapping.fields import optional_choice, optional_text, refuse_field, required_text
from protocol.dashscope.mapping.models import model_key
from protocol.dashscope.mapping.native import MULTIMODAL_GENERATION_PATH, TRANSCRIPTION_PATH, NativeCall
from protocol.errors import ApiError
from protocol.openai.audio import CAPTION_TYPES, caption_time
from protocol.wire.json_text import JsonObject

_DEFAULT_MODEL = "qwen3-asr-flash"
_OPENAI_MODELS = r"whisper-1|gpt-4o-(?:mini-)?transcribe.*"
_SHORT_RECORDING_MODEL = r".*-asr-flash(?!-filetrans|-realtime).*"
_MOST_SHORT_BYTES = 7_800_000  # 10 MB as base64
_DEFAULT_LONG_MODEL = "qwen3-asr-flash-filetrans"
_LONG_RECORDING_MODEL = r".*-asr-flash-filetrans.*|fun-asr(?!.*realtime).*|paraformer(?!.*realtime).*|sensevoice.*"
_ONE_URL_MODEL = r"qwen3-asr-flash-filetrans.*"  # the others take a list
_RECORDING_URL = r"(?:https?|oss)://[!-~]+"
_AUDIO_TYPES = {
    "aac": "audio/aac",
    "amr": "audio/amr",
    "flac": "audio/flac",
    "m4a": "audio/mp4",
    "mp3": "audio/mpeg",
    "mp4": "audio/mp4",
    "mpeg": "audio/mpeg",
    "mpga": "audio/mpeg",
    "oga": "audio/ogg",
    "ogg": "audio/ogg",
    "opus": "audio/ogg",
    "wav": "audio/wav",
    "webm": "audio/webm",
    "wma": "audio/x-ms-wma",
}
_MEDIA_TYPE = r"(?:audio|video)/[A-Za-z0-9.+-]+"
_MOST_SECONDS = 86_400  # anything above is no short recording's length
_FORMATS = ("json", "text", "verbose_json", "srt", "vtt")
_STREAMED_FORMATS = ("json", "text")


class TranscriptionPlan:
    """The native call for one transcription request, the answer's format, and whether the client wants a stream.

    `words` says that the client wants the times of words.
    """

    __slots__ = ("call", "response_format", "stream", "words")

    def __init__(self, call: NativeCall, response_format: str, stream: bool, words: bool = False) -> None:
        self.call = call
        self.response_format = response_format
        self.stream = stream
        self.words = words


def plan_transcription(
    fields: typing.Mapping[str, typing.Any], filename: str, media_type: str, sound: bytes
) -> TranscriptionPlan:
    """Return the plan for `POST /v1/audio/transcriptions` from the fields of the form and its `file`.

    OpenAI's models stand for qwen3-asr-flash. Raises ApiError 400 with `param`, or 413 where the sound is too large.
    """
    model = required_text(fields, "model")
    key = model_key(model)
    if re.fullmatch(_OPENAI_MODELS, key):
        model = _DEFAULT_MODEL
    elif not re.fullmatch(_SHORT_RECORDING_MODEL, key):
        expected = f"a model for short recordings, e.g. {_DEFAULT_MODEL}, or file_url in the place of file"
        raise refuse_field("model", expected, model)
    return _short_plan(fields, model, _audio_url(filename, media_type, sound))


def plan_url_transcription(fields: typing.Mapping[str, typing.Any], words: bool = False) -> TranscriptionPlan:
    """Return the plan for a recording that lies at the form's `file_url`: a task, unless the model is for short ones.

    OpenAI's models stand for qwen3-asr-flash-filetrans. `words` asks for the times of words. ApiError 400 with `param`.
    """
    model = required_text(fields, "model")
    url = required_text(fields, "file_url")
    if not re.fullmatch(_RECORDING_URL, url):
        raise refuse_field("file_url", "an http or https URL that DashScope can reach, or oss://", url)
    key = model_key(model)
    if re.fullmatch(_SHORT_RECORDING_MODEL, key):
        return _short_plan(fields, model, url)
    if re.fullmatch(_OPENAI_MODELS, key):
        model = key = _DEFAULT_LONG_MODEL
    elif not re.fullmatch(_LONG_RECORDING_MODEL, key):
        raise refuse_field("model", f"a model for recordings by URL, e.g. {_DEFAULT_LONG_MODEL}", model)
    response_format = optional_choice(fields, "response_format", _FORMATS) or "json"
    if _flag(fields, "stream"):
        raise refuse_field("stream", "false, for a long recording is written down as a whole", True)
    language = optional_text(fields, "language")
    if re.fullmatch(_ONE_URL_MODEL, key):
        native_input: JsonObject = {"file_url": url}
        parameters: JsonObject = {"enable_itn": _flag(fields, "enable_itn"), "enable_words": words}
        if language:
            parameters["language"] = language
    else:
        native_input = {"file_urls": [url]}
        parameters = {"language_hints": [language]} if language else {}
    body = {"model": model, "input": native_input, "parameters": parameters}
    return TranscriptionPlan(NativeCall(TRANSCRIPTION_PATH, body, task=True), response_format, False, words)


def is_long_recording(fields: typing.Mapping[str, typing.Any], sound: bytes) -> bool:
    """Tell whether a file has to go by URL: for a model that takes no other, or, of OpenAI's models, for its size."""
    key = model_key(str(fields.get("model")))
    if re.fullmatch(_LONG_RECORDING_MODEL, key):
        return True
    return len(sound) > _MOST_SHORT_BYTES and re.fullmatch(_OPENAI_MODELS, key) is not None


def long_model(fields: typing.Mapping[str, typing.Any]) -> str:
    """Return the model that writes down a long recording: the one asked for, or what OpenAI's models stand for."""
    model = required_text(fields, "model")
    return _DEFAULT_LONG_MODEL if re.fullmatch(_OPENAI_MODELS, model_key(model)) else model


def _short_plan(fields: typing.Mapping[str, typing.Any], model: str, audio: str) -> TranscriptionPlan:
    response_format = optional_choice(fields, "response_format", _FORMATS) or "json"
    stream = _flag(fields, "stream")
    if stream and response_format not in _STREAMED_FORMATS:
        raise refuse_field("response_format", "json or text beside stream", response_format)
    messages = [{"role": "user", "content": [{"audio": audio}]}]
    prompt = optional_text(fields, "prompt")
    if prompt:
        messages.insert(0, {"role": "system", "content": [{"text": prompt}]})
    asr_options: JsonObject = {"enable_itn": _flag(fields, "enable_itn")}
    language = optional_text(fields, "language")
    if language:
        asr_options["language"] = language
    parameters: JsonObject = {"result_format": "message", "asr_options": asr_options}
    if stream:
        parameters["incremental_output"] = True
    body = {"model": model, "input": {"messages": messages}, "parameters": parameters}
    return TranscriptionPlan(NativeCall(MULTIMODAL_GENERATION_PATH, body, stream=stream), response_format, stream)


def refuse_translation() -> ApiError:
    """Return the 400 for `POST /v1/audio/translations`: no native model translates speech in one call."""
    return ApiError(
        400,
        "Translation of speech is not offered; transcribe it, then translate the text with qwen-mt-plus",
        type="invalid_request_error",
        code="unsupported_endpoint",
    )


def transcription_answer(answer: typing.Mapping[str, typing.Any], response_format: str) -> tuple[str, bytes]:
    """Return the Content-Type and the body for a native answer; of silence the text is empty."""
    text = _text(answer)
    usage = as_object(answer.get("usage"))
    seconds = _seconds(usage)
    if response_format == "text":
        return "text/plain; charset=utf-8", _bytes(text + "\n")
    if response_format in ("srt", "vtt"):
        return CAPTION_TYPES[response_format], _bytes(captions(response_format, [(0.0, seconds, text)]))
    body: JsonObject = {"text": text, "usage": _usage(usage)}
    if response_format == "verbose_json":
        body = {
            "task": "transcribe",
            "language": _language(answer),
            "duration": seconds,
            **body,
            "segments": [segment(0, 0.0, float(seconds), text)],
        }
    return "application/json", _bytes(json.dumps(body, ensure_ascii=False))


class TranscriptStreamTranslator(StreamTranslator[JsonObject]):
    """Turns the bytes of a native stream into `transcript.text.delta` events, and at the end `transcript.text.done`."""

    def __init__(self) -> None:
        super().__init__()
        self._texts: list[str] = []
        self._usage: JsonObject = {}

    def take(self, answer: JsonObject) -> list[JsonObject]:
        self._usage = as_object(answer.get("usage")) or self._usage
        text = _text(answer)
        if not text:
            return []
        self._texts.append(text)
        return [{"type": "transcript.text.delta", "delta": text}]

    def end(self) -> list[JsonObject]:
        done: JsonObject = {"type": "transcript.text.done", "text": "".join(self._texts)}
        if "seconds" not in self._usage:
            done["usage"] = _usage(self._usage)  # OpenAI's event has no usage by duration
        return [done]


def _text(answer: typing.Mapping[str, typing.Any]) -> str:
    return "".join(choice.text for choice in native_choices(answer)[:1])


def _flag(fields: typing.Mapping[str, typing.Any], name: str) -> bool:
    value = fields.get(name)
    if value in (None, False, "false", ""):
        return False
    if value in (True, "true"):
        return True
    raise refuse_field(name, "true or false", value)


def _audio_url(filename: str, media_type: str, sound: bytes) -> str:
    """Return the sound as a data URL. Its type follows from the file's name, else from the client's Content-Type."""
    if not sound:
        raise refuse_field("file", "a recording", filename)
    ending = filename.rpartition(".")[2].lower()
    native_type = _AUDIO_TYPES.get(ending, media_type.partition(";")[0].strip())
    if not re.fullmatch(_MEDIA_TYPE, native_type):
        native_type = "audio/wav"
    return data_url(sound, native_type, param="file", kind="recording")


def _seconds(usage: typing.Mapping[str, typing.Any]) -> float:
    seconds = usage.get("seconds")
    return seconds if isinstance(seconds, (int, float)) and 0 <= seconds < _MOST_SECONDS else 0


def _bytes(text: str) -> bytes:
    """Return UTF-8; half a surrogate pair, which JSON can hold, becomes a question mark."""
    return text.encode("utf-8", "replace")


def _usage(usage: typing.Mapping[str, typing.Any]) -> JsonObject:
    """Return the usage by duration, by which DashScope bills, or by tokens where it tells no duration."""
    if "seconds" in usage:
        return {"type": "duration", "seconds": _seconds(usage)}
    spent, made = token_count(usage, "input_tokens"), token_count(usage, "output_tokens")
    return {"type": "tokens", "input_tokens": spent, "output_tokens": made, "total_tokens": spent + made}


def _language(answer: typing.Mapping[str, typing.Any]) -> str:
    for choice in as_list(as_object(answer.get("output")).get("choices")):
        for note in as_list(as_object(as_object(choice).get("message")).get("annotations")):
            if isinstance(note, dict) and isinstance(note.get("language"), str):
                return note["language"]
    return ""


def segment(number: int, start: float, end: float, text: str) -> JsonObject:
    """Return a segment of verbose_json, its times in seconds; what DashScope does not measure is 0."""
    return {
        "id": number,
        "seek": 0,
        "start": start,
        "end": end,
        "text": text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": 0.0,
        "compression_ratio": 0.0,
        "no_speech_prob": 0.0,
    }


def captions(response_format: str, cues: typing.Sequence[tuple[float, float, str]]) -> str:
    """Return captions in SRT or WebVTT: each is shown from a time to another, in seconds."""
    if response_format == "srt":
        return "".join(
            f"{number}\n{caption_time(start, ',')} --> {caption_time(end, ',')}\n{text}\n\n"
            for number, (start, end, text) in enumerate(cues, 1)
        )
    return "WEBVTT\n\n" + "".join(
        f"{caption_time(start, '.')} --> {caption_time(end, '.')}\n{text}\n\n" for start, end, text in cues
    )
