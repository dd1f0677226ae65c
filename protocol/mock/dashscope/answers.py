"""How the native mock answers: at once, at the pace of its words, or with an error."""

from __future__ import annotations

import typing

from protocol.budget import is_in_turns
from protocol.decided import seconds_moved_on
from protocol.errors import ApiError
from protocol.exchange import Answer, Paced, Response
from protocol.mock.dashscope.chat import NativeGroups, encode_native_events
from protocol.mock.dashscope.service_call import AskedError, ServiceCall
from protocol.mock.pace.moment import Timing
from protocol.openai.answers import JSON_FIELDS
from protocol.openai.long_json import encode_long_json
from protocol.wire.http1.writers import encode_fields
from protocol.wire.json_text import JsonObject, encode_json

_STREAM_FIELDS = encode_fields(
    [("content-type", "text/event-stream;charset=UTF-8"), ("cache-control", "no-cache"), ("x-accel-buffering", "no")]
)


def output_response(request_id: str, output: JsonObject, usage: JsonObject | None = None) -> Response:
    """Return an answer with this output."""
    body: JsonObject = {"output": output, "request_id": request_id}
    if usage is not None:
        body["usage"] = usage
    encode = encode_long_json if is_in_turns() else encode_json
    return Response(200, JSON_FIELDS, encode(body))


def error_response(error: ApiError, request_id: str) -> Response:
    """Return an error as DashScope answers it."""
    fields = JSON_FIELDS + encode_fields(error.fields) if error.fields else JSON_FIELDS
    body = {"code": error.code or "InvalidParameter", "message": error.message, "request_id": request_id}
    return Response(error.status, fields, encode_json(body), request_id=request_id)


class Pace:
    """The pace of the mock's words: `first_delay` seconds before the first, `delay` before each further one.

    Where there is a [pace NAME], `timing` keeps to that.
    """

    def __init__(
        self,
        delay: float,
        first_delay: float,
        sleep: typing.Callable[[float], typing.Awaitable[object]],
        timing: Timing | None = None,
    ) -> None:
        self._timing = timing
        self._delay = delay
        self._first_delay = first_delay
        self._sleep = sleep

    def stream(self, call: ServiceCall, groups: NativeGroups) -> Response:
        """Return a stream of events, or half of one and an error where the request asks for that."""
        if call.asked_error is None:
            return self._paced(encode_native_events(groups))
        return self._failing(call, groups[: (len(groups) + 1) // 2], call.asked_error)

    def failing_stream(self, call: ServiceCall, error: AskedError) -> Response:
        """Return a stream whose only event is an error."""
        return self._failing(call, [], error)

    def _failing(self, call: ServiceCall, groups: NativeGroups, error: AskedError) -> Response:
        return self._paced(encode_native_events(groups, (error.status, error.body(call.request.id))))

    def _paced(self, frames: list[bytes]) -> Response:
        if self._timing is not None:
            return Response(200, _STREAM_FIELDS, self._timing.stream(frames).body)
        if not (self._delay or self._first_delay):
            frames = [b"".join(frames)]
        return Response(200, _STREAM_FIELDS, Paced(frames, first_delay=self._first_delay, delay=self._delay))

    def after_words(self, response: Response, words: int) -> Answer:
        """Return an answer, or one that waits as long as a stream of so many words would take."""
        if self._timing is not None:
            return self._timing.after_words(response, words)
        seconds = self._first_delay + self._delay * max(0, words - 1)
        return self._later(response, seconds) if seconds else response

    async def _later(self, response: Response, seconds: float) -> Response:
        await self._sleep(max(0.0, seconds - seconds_moved_on()))
        return response
