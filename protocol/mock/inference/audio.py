"""Speech from texts, and texts from recordings.

Speech is tones, as long as the text takes to say. A transcript is the mock's text, spread over the time that the
recording takes. For that a recording is measured, never decoded. A file that cannot be one is refused as OpenAI does,
unless `unknown_ids = invent` or a lenient `validate` lets anything pass: then, and where a recording does not tell its
length, it counts for as long as the text takes.
Source: OpenAI API reference, "Audio"; RFC 9639, RFC 3533, RFC 9559 and ISO/IEC 14496-12 for how files begin.
"""

from __future__ import annotations

import binascii
import math
import re
import typing
import zlib

from protocol.budget import spend_turn
from protocol.errors import ApiError
from protocol.exchange import Response
from protocol.mock.answer.logprobs import token_logprobs
from protocol.mock.answer.spoken import scripted_text
from protocol.mock.engine.resources import Handler
from protocol.mock.engine.world import Call, World
from protocol.mock.inference.pieces import answer_of_pieces
from protocol.mock.media.recording import sound_seconds
from protocol.mock.media.sound import WORD_SECONDS, SpokenSound, spoken_words, voice_seed
from protocol.openai.answers import EVENT_STREAM_FIELDS, json_response, split_words
from protocol.openai.audio import CAPTION_TYPES, caption_time, speech_delta_event
from protocol.turns import in_turns
from protocol.wire.http1.writers import encode_fields
from protocol.wire.json_text import JsonObject, encode_json
from protocol.wire.multipart import FormFile
from protocol.wire.sse import encode_event

# API reference: characters of a speech, bytes of a recording.
_SPEECH_MOST_CHARACTERS = 4096
_RECORDING_MOST_BYTES = 25 * 1024 * 1024
_PROMPT_MOST_CHARACTERS = 100_000  # of which the words are counted
# Speech of more seconds, and a recording of more bytes, is work that is done in turns.
_SECONDS_AT_ONCE = 100
_RECORDING_BYTES_AT_ONCE = 16 * 1024
_STEPS_A_WORD = 20  # of speech that becomes an event

_AUDIO_TOKENS_A_SECOND = 10
_VOCABULARY = 50_257  # how many tokens Whisper has
_STANDARD_SPEAKERS = ("A", "B")

_SENTENCE_ENDS = (".", "!", "?", "。", "！", "？")
_RECORDING_BEGIN = re.compile(rb"RIFF|RF64|fLaC|OggS|ID3|\x1a\x45\xdf\xa3|.{4}(?:ftyp|moov|mdat|wide|free)", re.DOTALL)


class Audio:
    """The behaviour of /audio/speech, /audio/transcriptions and /audio/translations."""

    def __init__(self, world: World) -> None:
        self._world = world

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by operation."""
        return {
            "POST /audio/speech": self.speak,
            "POST /audio/transcriptions": self.transcribe,
            "POST /audio/translations": self.translate,
        }

    # ---- speech -------------------------------------------------------------------------------------------------

    def speak(self, call: Call) -> Response | typing.Awaitable[Response]:
        """Answer POST /v1/audio/speech: a file, or events with its pieces, one a word at the mock's pace."""
        body = call.body
        scripted_text(call.request, "speech", body, body.get("input"))
        text = str(body.get("input") or "")[:_SPEECH_MOST_CHARACTERS]
        asked = body.get("speed")
        speed = asked if isinstance(asked, (int, float)) and not isinstance(asked, bool) else 1
        form = str(body.get("response_format") or "mp3")
        sound = SpokenSound(spoken_words(text), form, seed=voice_seed(body.get("voice")), speed=speed)
        speak = self._speak_events if body.get("stream_format") == "sse" else self._speak_file
        if sound.seconds <= _SECONDS_AT_ONCE:
            return speak(sound, text)
        return in_turns(lambda: speak(sound, text))

    def _speak_file(self, sound: SpokenSound, text: str) -> Response:
        return self._spoken(encode_fields([("content-type", sound.media_type)]), sound.pieces())

    def _speak_events(self, sound: SpokenSound, text: str) -> Response:
        pieces = sound.pieces()
        encoded = {}
        for piece in set(pieces):
            spend_turn(_STEPS_A_WORD)
            encoded[piece] = _speech_event(speech_delta_event(piece))
        frames = [encoded[piece] for piece in pieces]
        usage = _token_usage(len(text.split()), 0, math.ceil(sound.seconds * _AUDIO_TOKENS_A_SECOND))
        done = {name: usage[name] for name in ("input_tokens", "output_tokens", "total_tokens")}
        frames[-1] += _speech_event({"type": "speech.audio.done", "usage": done})
        return self._spoken(EVENT_STREAM_FIELDS, frames)

    def _spoken(self, fields: bytes, pieces: list[bytes]) -> Response:
        if self._world.time.takes_time:
            return Response(200, fields, self._world.stream(pieces).body)
        return answer_of_pieces(fields, pieces)

    # ---- transcripts --------------------------------------------------------------------------------------------

    def transcribe(self, call: Call) -> typing.Any:
        """Answer POST /v1/audio/transcriptions; whisper-1 does not stream (API reference, `stream`)."""
        return self._told(call, "transcribe")

    def translate(self, call: Call) -> typing.Any:
        """Answer POST /v1/audio/translations."""
        return self._told(call, "translate")

    def _told(self, call: Call, task: str) -> typing.Any:
        file = call.body.get("file")
        text = scripted_text(call.request, "transcriptions", call.body, call.body.get("prompt"))
        text = self._world.settings.text if text is None else text
        if isinstance(file, FormFile) and file.size > _RECORDING_BYTES_AT_ONCE:
            return self._told_later(call, task, text)
        return self._answer(call, self._heard(call, task, text))

    async def _told_later(self, call: Call, task: str, text: str) -> Response:
        answer = self._answer(call, await in_turns(lambda: self._heard(call, task, text)))
        return answer if isinstance(answer, Response) else await answer

    def _answer(self, call: Call, said: _Transcript) -> Response | typing.Awaitable[Response]:
        if said.task == "transcribe" and call.body.get("stream") is True and said.model != "whisper-1":
            return self._world.stream(said.frames())
        media_type, answer = said.answer()
        if isinstance(answer, str):
            content = answer.encode("utf-8", "backslashreplace")
            response = Response(200, encode_fields([("content-type", media_type)]), content)
        else:
            response = json_response(answer)
        return self._world.after_words(response, len(said.pieces))

    def _heard(self, call: Call, task: str, text: str) -> _Transcript:
        """Return the transcript of a recording; ApiError 400 for a file that is none, 413 for more than 25 MiB."""
        file = call.body.get("file")
        if not isinstance(file, FormFile):
            if not self._world.takes_any_upload:
                message = "Missing required parameter: 'file'."
                raise ApiError(400, message, param="file", code="missing_required_parameter")
            file = FormFile("file", "", "", b"")
        if file.size > _RECORDING_MOST_BYTES:
            message = f"Maximum content size limit ({_RECORDING_MOST_BYTES}) exceeded ({file.size} bytes read)"
            raise ApiError(413, message, type="invalid_request_error", param="file", code="content_size_limit_exceeded")
        seconds = sound_seconds(file.data)
        if seconds is None:
            if not self._world.takes_any_upload and not _RECORDING_BEGIN.match(file.data):
                message = "Audio file might be corrupted or unsupported"
                raise ApiError(400, message, param="file", code="invalid_value")
            seconds = WORD_SECONDS * spoken_words(text)
        return _Transcript(text, round(seconds, 6), task, call.body)


class _Sentence(typing.NamedTuple):
    """A sentence, and when it begins and ends, in seconds."""

    pieces: typing.Sequence[str]
    start: float
    end: float

    @property
    def text(self) -> str:
        return "".join(self.pieces).strip()


class _Transcript:
    """A text that takes so many seconds, with the same time for each word."""

    def __init__(self, text: str, seconds: float, task: str, body: JsonObject) -> None:
        self.text = text
        self.pieces = split_words(text)
        self.model = body.get("model")
        self._seconds = seconds
        self.task = task
        self._body = body

    # ---- answers ------------------------------------------------------------------------------------------------

    def answer(self) -> tuple[str, JsonObject | str]:
        """Return the answer in the form that the request asks for, with its media type."""
        form = self._body.get("response_format")
        if form == "text":
            return "text/plain; charset=utf-8", f"{self.text}\n"
        if form in ("srt", "vtt"):
            return CAPTION_TYPES[form], self._captions(form)
        if form == "verbose_json":
            return "application/json", self._verbose()
        if form == "diarized_json":
            return "application/json", {
                "task": "transcribe", "duration": self._seconds, "text": self.text,
                "segments": [self._speaker_segment(*one) for one in enumerate(self._sentences())],
                "usage": self._usage(),
            }  # fmt: skip
        if self.task == "translate":
            return "application/json", {"text": self.text}
        logprobs = {"logprobs": self._logprobs(self.pieces)} if self._has_logprobs() else {}
        return "application/json", {"text": self.text, **self._languages(), **logprobs, "usage": self._usage()}

    def _verbose(self) -> JsonObject:
        asked = self._strings("timestamp_granularities") or ["segment"]
        language = "english" if self.task == "translate" else str(self._body.get("language") or "english")
        answer: JsonObject = {
            "task": self.task, "language": language, "duration": self._seconds, "text": self.text,
        }  # fmt: skip
        if "word" in asked:
            answer["words"] = [
                {"word": piece.strip(), "start": self._time(number), "end": self._time(number + 1)}
                for number, piece in enumerate(self.pieces)
            ]
        if "segment" in asked:
            answer["segments"] = [self._segment(*sentence) for sentence in enumerate(self._sentences())]
        if self.task == "transcribe":
            answer["usage"] = {"type": "duration", "seconds": math.ceil(self._seconds)}
        return answer

    def _segment(self, id: int, sentence: _Sentence) -> JsonObject:
        encoded = sentence.text.encode("utf-8", "backslashreplace")
        logprobs = [entry["logprob"] for entry in self._logprobs(sentence.pieces)]
        temperature = self._body.get("temperature")
        is_number = isinstance(temperature, (int, float)) and not isinstance(temperature, bool)
        return {
            "id": id, "seek": 0, "start": sentence.start, "end": sentence.end, "text": f" {sentence.text}",
            "tokens": [_token_number(piece) for piece in sentence.pieces],
            "temperature": float(temperature or 0) if is_number else 0.0,
            "avg_logprob": round(sum(logprobs) / len(logprobs), 8),
            "compression_ratio": round(len(encoded) / len(zlib.compress(encoded)), 8), "no_speech_prob": 0.01,
        }  # fmt: skip

    def _captions(self, form: str) -> str:
        mark = "," if form == "srt" else "."
        captions = [
            f"{caption_time(said.start, mark)} --> {caption_time(said.end, mark)}\n{said.text}\n\n"
            for said in self._sentences()
        ]
        if form == "srt":
            return "".join(f"{number}\n{caption}" for number, caption in enumerate(captions, 1))
        return "".join(["WEBVTT\n\n", *captions])

    def _speaker_segment(self, number: int, sentence: _Sentence) -> JsonObject:
        """Return a sentence with its speaker: the known speakers take turns."""
        speakers = self._strings("known_speaker_names") or _STANDARD_SPEAKERS
        return {
            "type": "transcript.text.segment", "id": f"seg_{number + 1:03}", "start": sentence.start,
            "end": sentence.end, "speaker": speakers[number % len(speakers)], "text": sentence.text,
        }  # fmt: skip

    # ---- the stream ---------------------------------------------------------------------------------------------

    def frames(self) -> list[bytes]:
        """Return the events of a stream, one frame a word; the last frame also has the whole text."""
        deltas: list[JsonObject] = [{"type": "transcript.text.delta", "delta": piece} for piece in self.pieces]
        done: JsonObject = {"type": "transcript.text.done", "text": self.text, **self._languages()}
        if self._has_logprobs():
            entries = self._logprobs(self.pieces)
            for delta, entry in zip(deltas, entries):
                delta["logprobs"] = [entry]
            done["logprobs"] = entries
        done["usage"] = self._spent_tokens()
        ends: dict[int, JsonObject] = {}
        if self._body.get("response_format") == "diarized_json":
            ends = self._mark_segments(deltas)
        frames = [
            b"".join(map(_speech_event, [delta, *([ends[number]] if number in ends else [])]))
            for number, delta in enumerate(deltas, 1)
        ]
        return [*frames[:-1], b"".join(frames[-1:]) + _speech_event(done)]

    def _mark_segments(self, deltas: list[JsonObject]) -> dict[int, JsonObject]:
        """Name the segment in each word's event; return the segments by the number of words at their ends."""
        ends, said = {}, 0
        for number, sentence in enumerate(self._sentences()):
            segment = self._speaker_segment(number, sentence)
            for delta in deltas[said : said + len(sentence.pieces)]:
                delta["segment_id"] = segment["id"]
            said += len(sentence.pieces)
            ends[said] = segment
        return ends

    # ---- parts --------------------------------------------------------------------------------------------------

    def _time(self, words: int) -> float:
        """Return the time at which so many words have been said; the last word ends exactly with the recording."""
        if words == len(self.pieces):
            return self._seconds
        return min(self._seconds, round(self._seconds * words / len(self.pieces), 3))

    def _sentences(self) -> list[_Sentence]:
        sentences, begin = [], 0
        for end, piece in enumerate(self.pieces, 1):
            if piece.rstrip().endswith(_SENTENCE_ENDS) or end == len(self.pieces):
                sentences.append(_Sentence(self.pieces[begin:end], self._time(begin), self._time(end)))
                begin = end
        return sentences

    def _strings(self, name: str) -> list[str]:
        """Return the strings of a list in the request, which may be unchecked."""
        value = self._body.get(name)
        return [member for member in value if type(member) is str] if type(value) is list else []

    def _languages(self) -> JsonObject:
        if self.model != "gpt-transcribe":
            return {}
        asked = [*self._strings("languages"), str(self._body.get("language") or "en")]
        return {"languages": [{"code": asked[0]}]}

    def _has_logprobs(self) -> bool:
        return "logprobs" in self._strings("include")

    def _logprobs(self, pieces: typing.Sequence[str]) -> list[JsonObject]:
        return [{name: entry[name] for name in ("token", "logprob", "bytes")} for entry in token_logprobs(pieces, 0, 0)]

    def _usage(self) -> JsonObject:
        """Return the usage: seconds for Whisper, tokens for all others."""
        if self.model == "whisper-1":
            return {"type": "duration", "seconds": math.ceil(self._seconds)}
        return self._spent_tokens()

    def _spent_tokens(self) -> JsonObject:
        prompt = self._body.get("prompt")
        words = len(prompt[:_PROMPT_MOST_CHARACTERS].split()) if type(prompt) is str else 0
        heard = math.ceil(self._seconds * _AUDIO_TOKENS_A_SECOND)
        return {"type": "tokens", **_token_usage(words, heard, len(self.pieces))}


def _token_number(piece: str) -> int:
    return binascii.crc32(piece.encode("utf-8", "backslashreplace")) % _VOCABULARY


def _token_usage(text: int, heard: int, made: int) -> JsonObject:
    return {
        "input_tokens": text + heard,
        "input_token_details": {"text_tokens": text, "audio_tokens": heard},
        "output_tokens": made,
        "total_tokens": text + heard + made,
    }


def _speech_event(event: JsonObject) -> bytes:
    return encode_event(encode_json(event))
