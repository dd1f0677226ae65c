"""Speech and transcriptions: sound out of streams, and recordings in forms."""

from __future__ import annotations

import typing

from protocol.dashscope.calls import Caller, NativeClient, next_piece
from protocol.dashscope.download import Downloader
from protocol.dashscope.mapping.errors import upstream_bad_response
from protocol.dashscope.mapping.long_transcript import long_transcription_answer, transcript_url
from protocol.dashscope.mapping.speech import (
    SpeechPlan,
    SpeechStreamTranslator,
    plan_speech,
    speech_done_event,
    wav_samples,
)
from protocol.dashscope.mapping.tasks import TRANSCRIPTION_LIMIT_SECONDS
from protocol.dashscope.mapping.transcript import (
    TranscriptionPlan,
    TranscriptStreamTranslator,
    is_long_recording,
    long_model,
    plan_transcription,
    plan_url_transcription,
    refuse_translation,
    transcription_answer,
)
from protocol.dashscope.request_body import BodyReader
from protocol.dashscope.streaming import encode_events, streamed_response, translated_events
from protocol.dashscope.task_runner import TaskRunner
from protocol.dashscope.upload import Uploader
from protocol.exchange import Request, Response
from protocol.openai.answers import EVENT_STREAM_FIELDS
from protocol.openai.audio import speech_delta_event
from protocol.wire.json_text import JsonObject

# DashScope takes 10 MB as base64. What is larger is held, too, until it is in the temporary store.
_MOST_FORM_BYTES = 48 * 1024 * 1024
_GRANULARITIES = "timestamp_granularities"  # a client may write [] behind it


class AudioEndpoints:
    """Answers requests for speech and transcriptions; `keepalive_seconds` of silence give a comment (0: never)."""

    def __init__(
        self,
        client: NativeClient,
        bodies: BodyReader,
        downloader: Downloader,
        tasks: TaskRunner,
        uploader: Uploader,
        *,
        keepalive_seconds: float,
    ) -> None:
        self._client = client
        self._bodies = bodies
        self._downloader = downloader
        self._uploader = uploader
        self._tasks = tasks
        self._keepalive_seconds = keepalive_seconds

    async def create_speech(self, request: Request, caller: Caller) -> Response:
        """Answer `POST /audio/speech`, as the sound comes."""
        plan = plan_speech(await self._bodies.read_object(request))
        fields = EVENT_STREAM_FIELDS if plan.as_events else [("content-type", plan.media_type)]
        return await streamed_response(fields, self._speech(plan, caller), caller)

    async def _speech(self, plan: SpeechPlan, caller: Caller) -> typing.AsyncGenerator[bytes, None]:
        """Give the sound of all calls, one after the other, bare or as events."""
        encode = _encode_delta if plan.as_events else bytes
        beginning = plan.beginning()
        usages: list[JsonObject] = []
        for call in plan.calls:
            translator = SpeechStreamTranslator()
            answer = await self._client.open(call, caller)
            ended = False
            try:
                while not ended:
                    data = await next_piece(answer)
                    ended = not data
                    sound = b"".join(translator.feed(data) if data else translator.close())
                    if sound:
                        yield encode(beginning + sound)
                        beginning = b""
                    if translator.error is not None:
                        raise translator.error.anew()
            finally:
                answer.discard()
            if not translator.heard:
                yield encode(beginning + await self._sound_at(translator.url, plan, caller))
                beginning = b""
            usages.append(translator.usage)
        if plan.as_events:
            yield encode_events([speech_done_event(usages)])

    async def _sound_at(self, url: str, plan: SpeechPlan, caller: Caller) -> bytes:
        """Return the sound of a stream that had none, and only told where it lies."""
        sound = await self._downloader.fetch(url, caller.request, caller.deadline)
        sound = wav_samples(sound) if plan.raw_pcm else sound
        if not sound:
            raise upstream_bad_response("the file with the sound has none")
        return sound

    async def create_transcription(self, request: Request, caller: Caller) -> Response:
        """Answer `POST /audio/transcriptions`, a form with a recording, or with a URL where one lies."""
        form = await self._bodies.read_form(request, _MOST_FORM_BYTES)
        words = any(name.startswith(_GRANULARITIES) and value == "word" for name, value in form.parts)
        if form.fields.get("file_url"):
            plan = plan_url_transcription(form.fields, words)
        else:
            file = form.file("file")
            if is_long_recording(form.fields, file.data):
                model = long_model(form.fields)
                url = await self._uploader.store(file.filename, file.data, model, caller)
                plan = plan_url_transcription({**form.fields, "model": model, "file_url": url}, words)
            else:
                plan = plan_transcription(form.fields, file.filename, file.content_type, file.data)
        if plan.call.task:
            return await self._transcribe_long(plan, caller)
        if not plan.stream:
            answer = await self._client.ask(plan.call, caller)
            content_type, body = transcription_answer(answer, plan.response_format)
            return Response(200, [("content-type", content_type)], body)
        stream = (await self._client.open(plan.call, caller), TranscriptStreamTranslator())
        events = translated_events([stream], keepalive_seconds=self._keepalive_seconds)
        return await streamed_response(EVENT_STREAM_FIELDS, events, caller)

    async def _transcribe_long(self, plan: TranscriptionPlan, caller: Caller) -> Response:
        """Wait for the task that writes down a long recording, and fetch what it has written."""
        answer = await self._tasks.finish(plan.call, caller, TRANSCRIPTION_LIMIT_SECONDS)
        transcript = await self._downloader.fetch(transcript_url(answer), caller.request, caller.deadline)
        content_type, body = long_transcription_answer(transcript, answer, plan)
        return Response(200, [("content-type", content_type)], body)

    async def create_translation(self, request: Request, caller: Caller) -> Response:
        """Answer `POST /audio/translations`: 400."""
        raise refuse_translation()


def _encode_delta(sound: bytes) -> bytes:
    return encode_events([speech_delta_event(sound)])
