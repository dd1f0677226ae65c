"""Text to speech: OpenAI's speech request as native streams, and the sound in them.

Qwen's voices give PCM (24 kHz, mono, 16 bit, signed, little-endian) and take at most 600 characters a call: a longer
text is cut at the ends of sentences, and the pieces' sounds are joined. CosyVoice takes any text in one call, and gives
the format that it is asked for.
Sources: DashScope API reference, "Qwen-TTS", "CosyVoice"; OpenAI API reference, "Create speech".
"""

from __future__ import annotations

import binascii
import re
import struct
import typing

from protocol.dashscope.mapping.answer import as_object, token_count
from protocol.dashscope.mapping.errors import upstream_bad_response
from protocol.dashscope.mapping.events import StreamTranslator
from protocol.dashscope.mapping.fields import (
    optional_choice,
    optional_flag,
    optional_number,
    optional_text,
    refuse_field,
    required_text,
)
from protocol.dashscope.mapping.models import model_key
from protocol.dashscope.mapping.native import MULTIMODAL_GENERATION_PATH, SPEECH_SYNTHESIS_PATH, NativeCall
from protocol.openai.audio import SPEECH_SAMPLE_RATE, wav_header
from protocol.wire.json_text import JsonObject

_FORMATS = ("mp3", "opus", "aac", "flac", "wav", "pcm")
_QWEN_FORMATS = ("wav", "pcm")
_COSY_FORMATS = ("mp3", "wav", "pcm", "opus")
_MEDIA_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
_MOST_CHARACTERS = 600

# A long text is cut after a sentence, else at a pause, else at a space.
_CUTS = (
    r"(?:[.!?…][\"')\]”’]*(?=\s)|[。！？][”’」』]*|\n)\s*",
    r"[,;:，；：、]\s*",
    r"\s+",
)
_NO_SPACE = re.compile(r"\S")
_MOST_WAV_CHUNKS = 4096  # before the sound: files have some dozens
_QWEN_MODEL = r"qwen(?!-audio-).*"
_INSTRUCTED_MODEL = r".*-instruct.*"
# OpenAI's models stand for these; the second one where the voice is to be instructed.
_OPENAI_MODELS = r"tts-1(?:-hd)?(?:-\d+)?|gpt-4o-mini-tts.*"
_DEFAULT_MODEL = "qwen3-tts-flash"
_DEFAULT_INSTRUCTED_MODEL = "qwen3-tts-instruct-flash"
_WEBSOCKET_MODEL = r"cosyvoice-v[12]|sambert-.*"

# The native voice that is nearest to each of OpenAI's. Any other name is taken for one of DashScope's own.
_QWEN_VOICES = {
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
}
_COSY_VOICE = "longanyang"
_COSY_SLOWEST_RATE = 0.5
_COSY_FASTEST_RATE = 2.0


class SpeechPlan:
    """The native streams for one speech request, to be made one after the other, and what to answer with.

    `calls` can be gone through once: a long text is cut as its calls are made, not before.
    `audio_format` is "wav", "pcm", "mp3" or "opus". `raw_pcm` says that the streams carry PCM: then a WAV file's header
    is made here. `as_events` says that the client wants server-sent events instead of the bare sound.
    """

    __slots__ = ("as_events", "audio_format", "calls", "raw_pcm")

    def __init__(self, calls: typing.Iterable[NativeCall], audio_format: str, raw_pcm: bool, as_events: bool) -> None:
        self.calls = calls
        self.audio_format = audio_format
        self.raw_pcm = raw_pcm
        self.as_events = as_events

    @property
    def media_type(self) -> str:
        """The Content-Type of the bare sound."""
        return _MEDIA_TYPES[self.audio_format]

    def beginning(self) -> bytes:
        """Return the bytes that go before the sound of the first stream."""
        return wav_header() if self.raw_pcm and self.audio_format == "wav" else b""


def plan_speech(request: typing.Mapping[str, typing.Any]) -> SpeechPlan:
    """Return the plan for `POST /v1/audio/speech`, or raise the ApiError 400 that names the field at fault.

    A format that the model cannot give is refused with the code `unsupported_response_format`. Where the request names
    no format, Qwen's voices answer in WAV, although OpenAI's default is MP3. OpenAI's models stand for qwen3-tts-flash,
    or for its sister that takes instructions, where there are any.
    """
    model = required_text(request, "model")
    if re.fullmatch(_OPENAI_MODELS, model_key(model)):
        model = _DEFAULT_INSTRUCTED_MODEL if optional_text(request, "instructions") else _DEFAULT_MODEL
    text = required_text(request, "input")
    voice = _read_voice(request)
    wanted = optional_choice(request, "response_format", _FORMATS)
    speed = optional_number(request, "speed", 0.25, 4)
    as_events = optional_choice(request, "stream_format", ("audio", "sse")) == "sse"
    key = model_key(model)
    if re.fullmatch(_WEBSOCKET_MODEL, key):
        raise refuse_field("model", "a model that can be reached by HTTP, e.g. cosyvoice-v3-flash", model)
    if not re.fullmatch(_QWEN_MODEL, key):
        audio_format = _possible_format(wanted or "mp3", _COSY_FORMATS)
        return SpeechPlan([_cosy_call(model, text, voice, audio_format, speed)], audio_format, False, as_events)
    audio_format = _possible_format(wanted or "wav", _QWEN_FORMATS)
    options = _qwen_options(request, key)
    native_voice = _QWEN_VOICES.get(voice.lower(), voice)
    calls = (
        NativeCall(
            MULTIMODAL_GENERATION_PATH,
            {"model": model, "input": {"text": piece, "voice": native_voice, **options}},
            stream=True,
        )
        for piece in split_speech_text(text)
    )
    return SpeechPlan(calls, audio_format, True, as_events)


def split_speech_text(text: str, most_characters: int = _MOST_CHARACTERS) -> typing.Iterator[str]:
    """Yield the text in pieces of at most `most_characters`, cut at the ends of sentences where there are any."""
    text = text.strip()
    at = 0
    while len(text) - at > most_characters:
        cut = at + _cut(text[at : at + most_characters + 1], most_characters)
        piece = text[at:cut].strip()
        if piece:
            yield piece
        behind = _NO_SPACE.search(text, cut)
        at = behind.start() if behind else len(text)
    if at < len(text):
        yield text[at:]


def wav_samples(file: bytes) -> bytes:
    """Return the samples of a WAV file: its `data` chunk, b"" where it has none. Other bytes are taken for samples.

    A file that was written as a stream gives a size beyond its end: then the chunk goes to the end.
    """
    if file[:4] != b"RIFF" or file[8:12] != b"WAVE":
        return file
    at = 12
    for _ in range(_MOST_WAV_CHUNKS):
        if at + 8 > len(file):
            break
        size = struct.unpack_from("<I", file, at + 4)[0]
        if file[at : at + 4] == b"data":
            return file[at + 8 : at + 8 + size]
        at += 8 + size + size % 2  # a chunk begins at an even place
    return b""


class SpeechStreamTranslator(StreamTranslator[bytes]):
    """Takes the sound out of a native stream; a stream without sound is an error, unless it names a URL for it.

    `heard` tells whether sound has come, `url` where all of it lies for 24 hours, as the last event tells. `usage` is
    native.
    """

    def __init__(self) -> None:
        super().__init__()
        self.heard = False
        self.url = ""
        self.usage: JsonObject = {}

    def take(self, answer: JsonObject) -> list[bytes]:
        self.usage = as_object(answer.get("usage")) or self.usage
        audio = as_object(as_object(answer.get("output")).get("audio"))
        self.url = audio.get("url") or self.url
        try:
            sound = binascii.a2b_base64(audio.get("data") or "")
        except (ValueError, TypeError):
            self.error = upstream_bad_response("the sound in an event is not base64")
            return []
        self.heard = self.heard or bool(sound)
        return [sound] if sound else []

    def end(self) -> list[bytes]:
        if not self.heard and not self.url:
            self.error = upstream_bad_response("the stream has no sound")
        return []


def speech_done_event(usages: typing.Sequence[JsonObject]) -> JsonObject:
    """Return the last event, with the usage of all streams; characters, where those are billed, count as input."""
    spent = sum(token_count(usage, "input_tokens") or token_count(usage, "characters") for usage in usages)
    made = sum(token_count(usage, "output_tokens") for usage in usages)
    usage = {"input_tokens": spent, "output_tokens": made, "total_tokens": spent + made}
    return {"type": "speech.audio.done", "usage": usage}


def _read_voice(request: typing.Mapping[str, typing.Any]) -> str:
    voice = request.get("voice")
    if isinstance(voice, dict):  # OpenAI's custom voices
        voice = voice.get("id")
    if not isinstance(voice, str) or not voice:
        raise refuse_field("voice", "the name of a voice, e.g. alloy or Cherry", request.get("voice"))
    return voice


def _possible_format(wanted: str, possible: typing.Sequence[str]) -> str:
    if wanted in possible:
        return wanted
    expected = "one of " + ", ".join(possible) + " for this model"
    raise refuse_field("response_format", expected, wanted, code="unsupported_response_format")


def _qwen_options(request: typing.Mapping[str, typing.Any], key: str) -> JsonObject:
    options: JsonObject = {}
    language = optional_text(request, "language_type")
    if language:
        options["language_type"] = language
    if not re.fullmatch(_INSTRUCTED_MODEL, key):
        return options
    instructions = optional_text(request, "instructions")
    if instructions:
        options["instructions"] = instructions
    optimize = optional_flag(request, "optimize_instructions")
    if optimize is not None:
        options["optimize_instructions"] = optimize
    return options


def _cosy_call(model: str, text: str, voice: str, audio_format: str, speed: float | None) -> NativeCall:
    native_input: JsonObject = {
        "text": text,
        "voice": _COSY_VOICE if voice.lower() in _QWEN_VOICES else voice,
        "format": audio_format,
        "sample_rate": SPEECH_SAMPLE_RATE,
    }
    if speed is not None and speed != 1:
        native_input["rate"] = min(max(speed, _COSY_SLOWEST_RATE), _COSY_FASTEST_RATE)
    return NativeCall(SPEECH_SYNTHESIS_PATH, {"model": model, "input": native_input}, stream=True)


def _cut(window: str, most_characters: int) -> int:
    """Return where to cut. White space at the end of a piece is left out, so it does not count."""
    for pattern in _CUTS:
        ends = [match.end() for match in re.finditer(pattern, window)]
        ends = [end for end in ends if len(window[:end].rstrip()) <= most_characters]
        if ends:
            return ends[-1]
    return most_characters
