"""Native streams as the body of one answer.

Theory of operation
-------------------
    UpstreamAnswer ─┐                      ┌─► StreamTranslator ─┐
    UpstreamAnswer ─┼─► _GatheredAnswers ──┼─► StreamTranslator ─┼─► server-sent events ──► _BegunBody ──► the server
    UpstreamAnswer ─┘                      └─► StreamTranslator ─┘

That is how several streams become one body, and one that could not be read at once. A single one, as nearly always,
needs neither tasks nor generators: see TranslatedBody.

One answer with `n` choices may come from several native streams, one a choice. Pieces of them are translated as they
come, each by its own translator, and at most one piece of each waits: a slow client slows DashScope down, and no stream
holds up the others.

The first piece of the body is awaited before there is an answer. What fails until then is raised, so that the client
gets it under a status of its own, or the route's next backend is asked. What fails later ends the body.
"""

from __future__ import annotations

import asyncio
import typing

from protocol.dashscope.calls import Caller, next_piece, to_dashscope_error
from protocol.dashscope.mapping.errors import DashScopeError
from protocol.dashscope.mapping.events import StreamTranslator
from protocol.exchange import FieldsToSend, Paced, Pushed, Response, Sink
from protocol.openai.answers import EVENT_STREAM_FIELDS
from protocol.upstream.answer import UpstreamAnswer
from protocol.upstream.failures import UpstreamFailed
from protocol.wire.json_text import JsonObject, encode_json
from protocol.wire.masking import MaskedStream
from protocol.wire.sse import KEEP_ALIVE, encode_event

Output = typing.TypeVar("Output")


class Translator(typing.Protocol[Output]):
    """What turns the bytes of one native stream into something else, as StreamTranslator does."""

    @property
    def error(self) -> DashScopeError | None:
        """What ended the stream early, if anything did."""

    def feed(self, data: bytes) -> list[Output]:
        """Return what these bytes give, up to the first error."""

    def close(self) -> list[Output]:
        """Return the last that a stream gives, after its clean end."""


async def streamed_response(
    fields: FieldsToSend, pieces: typing.AsyncGenerator[bytes, None], caller: Caller
) -> Response:
    """Return the answer whose body gives `pieces`, once the first one is here; raise what comes instead of it."""
    return Response(200, fields, _BegunBody(await pieces.__anext__(), pieces, caller.key))


def encode_events(events: typing.Iterable[JsonObject]) -> bytes:
    """Return the objects as server-sent events without names."""
    return b"".join([encode_event(encode_json(event)) for event in events])


class TranslatedBody(Pushed):
    """The body of an answer that comes from one native stream and needs no task.

    What arrives is translated by `translator`, and what that gives is encoded and sent on in the same turn of the event
    loop, in one piece; `last` follows at the end. While the client reads too slowly, DashScope's bytes wait in the
    connection. Once something has gone out, `keepalive_seconds` of silence give a comment; 0: never.

    It begins as a Reading (direct_call.py): what fails before the first event is raised, since the client can still get
    it under a status of its own. What fails later ends the body.
    """

    __slots__ = (
        "_alarm", "_answer", "_caller", "_encode", "_error", "_first", "_is_over", "_is_paused", "_keepalive", "_last",
        "_loop", "_masked", "_quiet_since", "_sink", "_translator",
    )  # fmt: skip

    _answer: UpstreamAnswer  # since `read`
    _sink: Sink  # since `begin`

    def __init__(
        self,
        translator: Translator[Output],
        encode: typing.Callable[[list[Output]], bytes],
        last: bytes,
        keepalive_seconds: float,
        caller: Caller,
    ) -> None:
        self._translator: Translator[typing.Any] = translator
        self._encode: typing.Callable[[list[typing.Any]], bytes] = encode
        self._last = last
        self._keepalive = keepalive_seconds
        self._caller = caller
        self._first = b""
        self._is_over = self._is_paused = False
        self._masked: MaskedStream | None = None  # since `resume`
        self._error: DashScopeError | None = None
        self._alarm: asyncio.TimerHandle | None = None

    def read(self, answer: UpstreamAnswer) -> Response | None:
        """Take what has come, and return the answer once there is an event for it; DashScopeError."""
        self._answer = answer
        self._first = self._take()
        if self._first:
            whole = self._is_over and self._error is None  # where all of a stream is here it leaves in one piece
            body = Paced([self._first], first_delay=0.0, delay=0.0) if whole else self
            return Response(200, EVENT_STREAM_FIELDS, body, None, self._caller.answer_id)
        if self._error is not None:
            raise self._error
        return None

    def begin(self, sink: Sink) -> None:
        self._sink = sink
        first, self._first = self._first, b""
        if self._keepalive and not self._is_over:
            self._loop = asyncio.get_running_loop()
            self._quiet_since = self._loop.time()
            self._alarm = self._loop.call_later(self._keepalive, self._say_something)
        self._send(first)
        if not self._is_paused and not self._is_over:
            self.resume()

    def pause(self) -> None:
        self._is_paused = True
        self._answer.deafen()

    def resume(self) -> None:
        self._is_paused = False
        if not self._answer.complete:
            self._masked = self._answer.masked()
        self._answer.listen(self._look, self._take_chunk)
        self._look()

    def cancel(self) -> None:
        self._stop_alarm()
        self._answer.discard()

    def _look(self) -> None:
        self._send(self._take())

    def _take_chunk(self, data: bytes) -> None:
        """Send on what comes of a chunk that has come by itself."""
        if self._masked is not None:
            data = self._masked.feed(data)
            if not data:  # it may be the beginning of a secret
                return
        translator = self._translator
        events = translator.feed(data)
        if translator.error is not None:
            self._error = translator.error.anew()
        self._send(self._encode(events))

    def _take(self) -> bytes:
        """Return what comes of all that has arrived; then the stream may be over, well or with an error."""
        answer, translator = self._answer, self._translator
        data = b""
        events: list[typing.Any] = []
        try:
            data = answer.take()
            while data and not answer.complete:
                events += translator.feed(data)
                if translator.error is not None or not answer.has_more:
                    break
                data = answer.take()
            else:
                if not answer.complete:
                    answer.check()
                    return self._encode(events)
                if data:
                    events += translator.feed(data)
                events += translator.close()
                self._is_over = True
        except UpstreamFailed as exc:
            self._error = to_dashscope_error(exc)
        if translator.error is not None:
            self._error = translator.error.anew()
        elif self._is_over:
            return self._encode(events) + self._last
        return self._encode(events)

    def _send(self, data: bytes) -> None:
        if self._alarm is not None and data:
            self._quiet_since = self._loop.time()
        if self._error is not None:
            self._is_over = True
            self.cancel()
            if data:
                self._sink.push(data)
            self._error.redact(self._caller.key)
            self._sink.fail(self._error)
        elif self._is_over:
            self._stop_alarm()
            self._sink.end(data)
        elif data:
            self._sink.push(data)

    def _say_something(self) -> None:
        """Send a comment if it has been quiet for long enough, and look again."""
        now = self._loop.time()
        if now - self._quiet_since >= self._keepalive:
            self._quiet_since = now
            if not self._is_paused:
                self._sink.push(KEEP_ALIVE)
        self._alarm = self._loop.call_at(self._quiet_since + self._keepalive, self._say_something)

    def _stop_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None


async def translated_events(
    streams: typing.Sequence[tuple[UpstreamAnswer, StreamTranslator[JsonObject]]],
    *,
    encode: typing.Callable[[list[JsonObject]], bytes] = encode_events,
    last: bytes = b"",
    keepalive_seconds: float = 0.0,
) -> typing.AsyncGenerator[bytes, None]:
    """Give what native streams translate to, encoded as it comes, then `last`; raise the error that ends them early.

    Once something has gone out, so many seconds of silence give a comment; 0: never.
    """
    gathered = _GatheredAnswers([answer for answer, _ in streams])
    quiet_seconds = 0.0
    try:
        while not gathered.at_end:
            came = await gathered.next(quiet_seconds)
            if came is None:
                yield KEEP_ALIVE
                continue
            number, data = came
            translator = streams[number][1]
            events = translator.feed(data) if data else translator.close()
            encoded = encode(events) if events else b""
            if encoded:
                quiet_seconds = keepalive_seconds
                yield encoded
            if translator.error is not None:
                raise translator.error.anew()
        yield last
    finally:
        gathered.close()


class _GatheredAnswers:
    """Reads several answers as they come: at most one piece of each waits here."""

    def __init__(self, answers: typing.Sequence[UpstreamAnswer]) -> None:
        self._answers = answers
        self._open = set(range(len(answers)))
        self._reads: dict[asyncio.Task[bytes], int] = {}

    @property
    def at_end(self) -> bool:
        return not self._open

    async def next(self, quiet_seconds: float) -> tuple[int, bytes] | None:
        """Return an answer's number and some bytes of it, b"" at its end; None after so many seconds of silence.

        0 waits without limit. DashScopeError.
        """
        if len(self._answers) == 1 and not quiet_seconds:
            data = await next_piece(self._answers[0])  # spares a task for each piece
            return self._came(0, data)
        loop = asyncio.get_running_loop()
        for number in self._open.difference(self._reads.values()):
            self._reads[loop.create_task(next_piece(self._answers[number]))] = number
        done, _ = await asyncio.wait(self._reads, timeout=quiet_seconds or None, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            return None
        # The read that was begun first: an answer that always has something must not hold up the others.
        read = next(read for read in self._reads if read in done)
        try:
            return self._came(self._reads.pop(read), read.result())
        finally:
            del read, done  # they have the error, whose traceback has this frame

    def _came(self, number: int, data: bytes) -> tuple[int, bytes]:
        if not data:
            self._open.discard(number)
        return number, data

    def close(self) -> None:
        """Let go of what has not been read."""
        for read in self._reads:
            if not read.cancel() and not read.cancelled():
                read.exception()  # seen, so that asyncio does not complain that nobody looked
        for answer in self._answers:
            answer.discard()


class _BegunBody:
    """A streamed body whose first piece is here already; `key` is cut out of the errors that come later.

    It stands for an asynchronous generator, and closing it must run that generator's `finally`, which lets go of the
    connections. Python does not run it where the generator was never begun. This one was: for its first piece.
    """

    __slots__ = ("_first", "_key", "_pieces")

    def __init__(self, first: bytes, pieces: typing.AsyncGenerator[bytes, None], key: str) -> None:
        self._first = first
        self._pieces = pieces
        self._key = key

    def __aiter__(self) -> _BegunBody:
        return self

    async def __anext__(self) -> bytes:
        first, self._first = self._first, b""
        if first:
            return first
        try:
            return await self._pieces.__anext__()
        except DashScopeError as exc:
            exc.redact(self._key)
            raise

    async def aclose(self) -> None:
        """Let go of everything, at once."""
        await self._pieces.aclose()
