"""The transcripts of long recordings: what a task has written, as OpenAI's answers have it.

A task's answer names the URL of a JSON file, `{"transcripts": [{"channel_id", "text", "sentences"}]}`, whose sentences
and words have their times in milliseconds. Several channels are one transcript here: their sentences in order of time.
Sources: DashScope API reference, "Qwen-ASR" and "Fun-ASR", asynchronous; OpenAI API reference, "Create transcription".
"""

from __future__ import annotations

import json
import typing

from protocol.dashscope.mapping.answer import as_list, as_object
from protocol.dashscope.mapping.errors import error_from_answer, upstream_bad_response
from protocol.dashscope.mapping.transcript import TranscriptionPlan, captions, segment
from protocol.openai.audio import CAPTION_TYPES
from protocol.wire.json_text import JsonObject

_MOST_MILLISECONDS = 7 * 86_400_000  # DashScope takes recordings of twelve hours


def transcript_url(answer: typing.Mapping[str, typing.Any]) -> str:
    """Return where the transcript lies; the DashScopeError that the task had for the file, 502 where there is none."""
    output = as_object(answer.get("output"))
    results = [as_object(output.get("result")), *map(as_object, as_list(output.get("results")))]
    for result in results:
        if isinstance(result.get("transcription_url"), str):
            return result["transcription_url"]
    for result in results:
        if result.get("code"):
            raise error_from_answer({**result, "request_id": answer.get("request_id")})
    raise upstream_bad_response("the task has no transcript")


def long_transcription_answer(
    transcript: bytes, answer: typing.Mapping[str, typing.Any], plan: TranscriptionPlan
) -> tuple[str, bytes]:
    """Return the Content-Type and the body for a task's transcript and its answer; DashScopeError 502 for no JSON."""
    try:
        file = json.loads(transcript)
    except (ValueError, RecursionError) as exc:
        raise upstream_bad_response("the transcript is no JSON") from exc
    channels = [as_object(one) for one in as_list(as_object(file).get("transcripts"))]
    text = "\n".join(channel["text"] for channel in channels if isinstance(channel.get("text"), str))
    sentences = [as_object(one) for channel in channels for one in as_list(channel.get("sentences"))]
    sentences.sort(key=lambda one: _seconds(one.get("begin_time")))
    cues = [(*_times(one), str(one.get("text") or "")) for one in sentences]
    seconds = _duration(as_object(file), as_object(answer.get("usage")), cues)
    if plan.response_format == "text":
        return "text/plain; charset=utf-8", _bytes(text + "\n")
    if plan.response_format in CAPTION_TYPES:
        return CAPTION_TYPES[plan.response_format], _bytes(captions(plan.response_format, cues))
    body: JsonObject = {"text": text, "usage": {"type": "duration", "seconds": seconds}}
    if plan.response_format == "verbose_json":
        language = next((one["language"] for one in sentences if isinstance(one.get("language"), str)), "")
        segments = [segment(number, *cue) for number, cue in enumerate(cues)]
        body = {"task": "transcribe", "language": language, "duration": seconds, **body, "segments": segments}
        if plan.words:
            body["words"] = [_word(as_object(word)) for one in sentences for word in as_list(one.get("words"))]
    return "application/json", _bytes(json.dumps(body, ensure_ascii=False))


def _times(timed: JsonObject) -> tuple[float, float]:
    return _seconds(timed.get("begin_time")), _seconds(timed.get("end_time"))


def _seconds(milliseconds: object) -> float:
    known = isinstance(milliseconds, (int, float)) and 0 <= milliseconds < _MOST_MILLISECONDS
    return float(typing.cast(float, milliseconds)) / 1000 if known else 0.0


def _word(word: JsonObject) -> JsonObject:
    start, end = _times(word)
    text = "".join(part for part in (word.get("text"), word.get("punctuation")) if isinstance(part, str))
    return {"word": text.strip(), "start": start, "end": end}


def _duration(file: JsonObject, usage: JsonObject, cues: typing.Sequence[tuple[float, float, str]]) -> float:
    """Return the recording's length: as it is billed, else as the file tells it, else the last sentence's end."""
    billed = usage.get("seconds", usage.get("duration"))
    if isinstance(billed, (int, float)) and 0 < billed < _MOST_MILLISECONDS / 1000:
        return billed
    told = _seconds(as_object(file.get("properties")).get("original_duration_in_milliseconds"))
    return told or max((end for _, end, _ in cues), default=0.0)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")
