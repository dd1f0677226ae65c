"""What the answers to the test client hold; a Failure says what was expected in their place."""

from __future__ import annotations

import json
import re
import typing

from protocol.tools.trial_client import Answer, Failure, KeyRefused
from protocol.wire.http1.messages import ResponseHead
from protocol.wire.sse import EventTooLong, SseEvent, SseReader

# A word, or one character of a script that writes without spaces.
_WORD = r"[\u3040-\u30ff\u3400-\u9fff]|[^\s\u3040-\u30ff\u3400-\u9fff]+"


def read_json(data: bytes | str, what: str) -> typing.Any:
    """Return the value of a JSON text; the Failure names `what` was expected."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise Failure(f"expected {what} as JSON, got {quote(data)}") from exc


def quote(data: bytes | str) -> str:
    """Return data that came as a Python literal, the beginning of it."""
    if not data:
        return "nothing"
    # Far more than is shown in the end. The line is cut after the key is taken out, lest half of the key remain.
    text = data if isinstance(data, str) else data[:8000].decode("utf-8", "replace")
    return repr(text[:2000])


def dig(value: typing.Any, *path: str | int) -> typing.Any:
    """Return what a JSON value has at the path, None where it has no such place."""
    for step in path:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def api_error(value: typing.Any) -> str:
    """Return `type: message` of an error in OpenAI's shape, "" for anything else."""
    error = dig(value, "error")
    message = dig(error, "message")
    if not isinstance(message, str) or "type" not in error:
        return ""
    return f"{error['type']}: {message}"


def error_text(answer: Answer) -> str:
    """Return in one line what an answer without success says."""
    head = answer.head
    status = f"HTTP {head.status}"
    try:
        error = api_error(json.loads(answer.body))
    except (ValueError, RecursionError):
        error = ""
    if error:
        return f"{status} {error}"
    if 300 <= head.status < 400:
        return f"{status}: it redirects to {head.fields.get('location', 'nowhere')!r}; try that URL"
    if head.status == 404:
        return f"{status}: is this the base URL of an OpenAI-compatible API? It says {quote(answer.body)}"
    return f"{status} {head.reason}: {quote(answer.body)}"


def check_status(answer: Answer) -> None:
    """Raise a Failure for an answer without success, KeyRefused for 401."""
    if answer.head.status == 401:
        raise KeyRefused(error_text(answer), _refusing_backend(answer.head))
    if not 200 <= answer.head.status < 300:
        raise Failure(error_text(answer))


def _refusing_backend(head: ResponseHead) -> str:
    """Return the backend of an oaiserve whose upstream answered 401, "" where the answer tells of none."""
    backend, _, status = head.fields.get("x-oaiserve-attempts").rpartition(",")[2].rpartition("=")
    return backend if status == "401" else ""


def check_is_stream(head: ResponseHead) -> None:
    """Raise a Failure for an answer that is no event stream."""
    came = head.fields.get("content-type", "nothing").partition(";")[0].strip().lower()
    if came != "text/event-stream":
        raise Failure(f"expected the content type text/event-stream, got {came}: it does not stream")


def read_events(parts: typing.Iterable[bytes]) -> typing.Iterator[SseEvent]:
    """Yield the events of a stream as they arrive; Failure where it breaks off inside one."""
    reader = SseReader()
    try:
        for part in parts:
            yield from reader.feed(part)
    except EventTooLong as exc:
        raise Failure(str(exc)) from exc
    if reader.close():
        raise Failure("the stream broke off inside an event")


def chunk_text(data: str) -> str:
    """Return the text that one chunk of a streamed completion adds."""
    chunk = read_json(data, "a chunk of the stream")
    error = api_error(chunk)
    if error:
        raise Failure(f"an error came within the stream: {error}")
    if not isinstance(dig(chunk, "choices"), list):
        raise Failure(f"expected a chunk with choices, got {quote(data)}")
    text = dig(chunk, "choices", 0, "delta", "content")
    return text if isinstance(text, str) else ""


class StreamedText:
    """The text that a streamed answer has brought, and when; `done` is set when its end was announced."""

    def __init__(self) -> None:
        self.done = False
        self._first = self._last = 0.0
        self._pieces: list[str] = []

    def add(self, text: str, seconds: float) -> None:
        """Take in a piece that came so many seconds after the request."""
        if not self._pieces:
            self._first = seconds
        self._last = seconds
        self._pieces.append(text)

    def verdict(self) -> str:
        """Return words, time to the first one and words a second; Failure where its end or text is missing."""
        if not self.done:
            raise Failure("the stream ended without `data: [DONE]`")
        if not self._pieces:
            raise Failure("the stream holds no text")
        words = len(re.findall(_WORD, "".join(self._pieces)))
        later = words - len(re.findall(_WORD, self._pieces[0]))
        span = self._last - self._first
        # What comes within a millisecond came in one piece over the network: a rate would mean nothing.
        pace = f"{later / span:,.1f} words/s" if span > 0.001 else "the rest at once"
        return f"{words} words, the first after {self._first:.3f} s, {pace}"
