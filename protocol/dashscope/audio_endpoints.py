"""Speech and transcriptions: sound out of streams, and sound in forms."""

from __future__ import annotations

import typing

from protocol.dashscope.calls import Caller, NativeClient, begin_body, encode_events, next_piece, translated_events
from protocol.dashscope.download import Downloader
from protocol.dashscope.mapping.errors import upstream_bad_response
from protocol.dashscope.mapping.speech import (
    SpeechPlan,
    SpeechStreamReader,
    plan_speech,
    speech_done_event,
    wav_samples,
)
from protocol.dashscope.mapping.transcript import (
    TranscriptStreamTranslator,
    plan_transcription,
    refuse_translation,
    transcription_answer,
)
from protocol.exchange import Request, Response
from protocol.openai.answers import EVENT_STREAM_FIELDS
from protocol.openai.audio import speech_delta_event
from protocol.wire.multipart import read_form

# DashScope takes 10 MB as base64; what is larger is refused with its size, if it is not out of all proportion.
_RECORDING_FORM_BYTES = 16 * 1024 * 1024


class Sound:
    """Answers requests for speech and transcriptions; `keepalive_seconds` of silence give a comment (0: never)."""

    def __init__(self, client: NativeClient, downloader: Downloader, *, keepalive_seconds: float) -> None:
        self._client = client
        self._downloader = downloader
        self._keepalive_seconds = keepalive_seconds

    async def speak(self, request: Request, caller: Caller) -> Response:
        """Answer `POST /audio/speech`, as the sound comes."""
        plan = plan_speech(request.json_object())
        fields = EVENT_STREAM_FIELDS if plan.as_events else [("content-type", plan.media_type)]
        return Response(200, fields, await begin_body(self._speech(plan, caller), caller))

    async def _speech(self, plan: SpeechPlan, caller: Caller) -> typing.AsyncIterator[bytes]:
        """Give the sound of all calls, one after the other, bare or as events."""
        encode = _encode_delta if plan.as_events else bytes
        beginning = plan.beginning()
        usages = []
        for call in plan.calls:
            reader = SpeechStreamReader()
            answer = await self._client.open(call, caller)
            heard = ended = False
            try:
                while not ended:
                    data = await next_piece(answer)
                    ended = not data
                    sound = b"".join(reader.feed(data) if data else reader.close())
                    if sound:
                        heard = True
                        yield encode(beginning + sound)
                        beginning = b""
                    if reader.error is not None:
                        raise reader.error
            finally:
                answer.discard()
            if not heard:
                yield encode(beginning + await self._sound_at(reader.url, plan, caller))
                beginning = b""
            usages.append(reader.usage)
        if plan.as_events:
            yield encode_events([speech_done_event(usages)])

    async def _sound_at(self, url: str, plan: SpeechPlan, caller: Caller) -> bytes:
        """Return the sound of a stream that only told where it lies."""
        sound = await self._downloader.fetch(url, caller.deadline)
        sound = wav_samples(sound) if plan.raw_pcm else sound
        if not sound:
            raise upstream_bad_response("the file with the sound has none")
        return sound

    async def transcribe(self, request: Request, caller: Caller) -> Response:
        """Answer `POST /audio/transcriptions`, a form with a recording."""
        form = await read_form(request.fields.get("content-type"), request.stream, _RECORDING_FORM_BYTES)
        file = form.file("file")
        plan = plan_transcription(form.fields, file.filename, file.content_type, file.data)
        if not plan.stream:
            answer = await self._client.ask(plan.call, caller)
            content_type, body = transcription_answer(answer, plan.response_format)
            return Response(200, [("content-type", content_type)], body)
        events = translated_events(
            [await self._client.open(plan.call, caller)],
            TranscriptStreamTranslator(),
            keepalive_seconds=self._keepalive_seconds,
        )
        return Response(200, EVENT_STREAM_FIELDS, await begin_body(events, caller))

    async def translate(self, request: Request, caller: Caller) -> Response:
        """Answer `POST /audio/translations`: 400."""
        raise refuse_translation()


def _encode_delta(sound: bytes) -> bytes:
    return encode_events([speech_delta_event(sound)])
