"""Speech: the native endpoints that say a text aloud, or write down what is said in files.

Source: DashScope API reference, "CosyVoice", "Qwen-TTS", "Paraformer".
"""

from __future__ import annotations

import binascii
import typing

from protocol.dashscope.mapping.native import SPEECH_SYNTHESIS_PATH
from protocol.exchange import Answer
from protocol.mock.dashscope.answers import Pace, output_response
from protocol.mock.dashscope.files import MOST_SPOKEN_WORDS
from protocol.mock.dashscope.refusals import bad_parameter
from protocol.mock.dashscope.service_call import ServiceCall
from protocol.mock.dashscope.task_endpoints import TaskEndpoints
from protocol.mock.media.sound import SpokenSound, spoken_words
from protocol.mock.served_files import mock_file_url
from protocol.wire.json_text import JsonObject

_FORMATS = ("wav", "pcm", "mp3")
_MOST_CHARACTERS = 600
_COUNTED_CHARACTERS = 65_536  # of a text, in which its words are counted
_URL_SECONDS = 86400


class SpeechEndpoints:
    """Answers with sound, and with transcripts of it. `clock` gives seconds since the epoch."""

    def __init__(
        self,
        pace: Pace,
        tasks: TaskEndpoints,
        clock: typing.Callable[[], float],
        random_bits: typing.Callable[[int], int],
    ) -> None:
        self._pace = pace
        self._tasks = tasks
        self._clock = clock
        self._random_bits = random_bits

    def synthesize(self, call: ServiceCall) -> Answer:
        """Answer with sound: a stream carries it; an answer that is not streamed has its URL."""
        text, cosy = call.input.get("text"), call.request.path.endswith(SPEECH_SYNTHESIS_PATH)
        if type(text) is not str or not text:
            raise bad_parameter("Field required: input.text")
        if not cosy and len(text) > _MOST_CHARACTERS:
            message = f"Range of input length should be [1, {_MOST_CHARACTERS}]"
            raise bad_parameter(message)
        audio_format = call.input.get("format") or "wav"
        if audio_format not in _FORMATS:
            expected = ", ".join(_FORMATS)
            raise bad_parameter(f"input.format should be one of {expected}: the mock has no other")
        words, seed = min(MOST_SPOKEN_WORDS, spoken_words(text[:_COUNTED_CHARACTERS])), self._random_bits(32)
        url = mock_file_url(call.request, f"{words}-{seed:08x}.{audio_format}")
        audio = {"id": f"audio_{call.request.id}", "expires_at": int(self._clock()) + _URL_SECONDS}
        usage = {"characters": len(text)}
        last = {"finish_reason": "stop", "audio": {"data": "", "url": url, **audio}}
        if not call.stream:
            return self._pace.after_words(output_response(call.request.id, last, usage), words)
        groups = []
        # CosyVoice streams the file, Qwen's voices the bare samples.
        for sound in SpokenSound(words, audio_format if cosy else "pcm", seed=seed).pieces():
            data = binascii.b2a_base64(sound, newline=False).decode("ascii")
            frame: JsonObject = {"finish_reason": "null", "audio": {"data": data, "url": "", **audio}}
            if cosy:
                frame.update(type="sentence-synthesis", sentence={"index": 0, "words": []})
            groups.append([frame])
        groups[-1].append(last)
        request_id = call.request.id
        return self._pace.stream(
            call,
            [[{"output": output, "usage": usage, "request_id": request_id} for output in group] for group in groups],
        )

    def transcribe(self, call: ServiceCall) -> Answer:
        """Answer with a task, which makes a transcript of each file."""
        one = call.input.get("file_url")
        urls = [one] if one else call.input.get("file_urls")
        if type(urls) is not list or not urls or not all(type(url) is str for url in urls):
            raise bad_parameter("Field required: input.file_urls")
        results = [
            {
                "file_url": url,
                "subtask_status": "SUCCEEDED",
                "transcription_url": mock_file_url(call.request, f"{self._random_bits(32):08x}.json"),
            }
            for url in urls
        ]
        # A request that has `file_url` gets one result, one that has `file_urls` a list.
        output: JsonObject = (
            {"result": {"transcription_url": results[0]["transcription_url"]}} if one else {"results": results}
        )
        return self._tasks.answer(call, len(urls), output, {"seconds": len(urls), "duration": len(urls)})
