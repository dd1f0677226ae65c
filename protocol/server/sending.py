"""Answers going out.

Life of an exchange
-------------------
A request that has begun is an Exchange until the last byte of its answer is written. Its endpoint gives one of these:

    Response    ready, and sent at once, all of it or (a body that is paced, pushed or iterated) its head
    Pending     on its way: the exchange is told with `deliver` when there is a Response, or a Rest to await
    awaitable   a coroutine that answers: it gets a task

A long body takes long to read, and so may one with a Content-Encoding: its endpoint is asked in turns with everybody
else (protocol/turns.py), which takes a task, too. The answer is then one of the same.

The body of a Response is one of these:

    bytes       one write with the head, or slices where there are many
    Paced       frames with known times: pushed by an entry among the pacer's timers (protocol/timed.py), or one write
                where there are no delays
    Pushed      sends itself to the exchange, which is its Sink: `push`, `end`, `fail`
    Verbatim    sends head, framing and all to a stage (verbatim.py), and says how the connection ends
    iterator    is awaited by a task, piece by piece

What still makes the answer is `_producer` or `_task`, never both; neither, when nothing is awaited. A client that reads
too slowly stops a producer by `pause`, and a task by `Output.writable`. When it leaves, both are cancelled (`abandon`).

A client that asked for events may be kept waiting for the answer itself. Where the endpoint has an EarlyHead, the head
of an event stream then goes out beforehand, and comments behind it, so that nobody on the way takes the connection for
dead. What becomes of the answer is not touched by that: backends may be asked again, and others in their place. An
answer that is no event stream after all goes out as an event that tells of an error.

An exchange ends in one of three ways, and tells its connection. The answer is out: `Line.go_on`. Its body broke off,
and the client has been told or sees it by the framing: `Line.close`. It broke off and nothing shows it: `Line.reset`.

Most requests need none of this: their answer is ready and its framing leaves no choice, so it is rendered to one block
of bytes and no Exchange is made (`Connection._answer_whole`).
"""

from __future__ import annotations

import asyncio
import bisect
import typing

from protocol.errors import ApiError
from protocol.exchange import (
    LONG_BODY,
    Answer,
    AnswerEnd,
    BackendFailed,
    Endpoint,
    LateEndpoint,
    Paced,
    Pending,
    Producer,
    Pushed,
    Request,
    ResetClient,
    Response,
    Rest,
    Verbatim,
    cancel_body,
    discard_answer,
    found_endpoint,
)
from protocol.pacer import Pacer
from protocol.server.answering import (
    Leaving,
    ServerForRequests,
    answer_to,
    ask,
    error_answer,
    error_body,
    internal_error,
    note_completed,
    note_first_piece,
    own_fields,
    rendered,
)
from protocol.server.output import Output
from protocol.server.receiving import skip_body
from protocol.server.slicing import SLICE_BYTES, SlicedAnswer
from protocol.server.verbatim import AnswerStage
from protocol.service.metrics import BUCKET_SECONDS, SHORTEST_SECONDS
from protocol.timed import timed_frames
from protocol.turns import in_turns
from protocol.wire.http1.readers import RequestReader
from protocol.wire.http1.writers import CONTINUE, ResponseWriter
from protocol.wire.sse import KEEP_ALIVE

# What the log and the metrics call the status of an answer whose client had gone (nginx's number for it).
_CLIENT_LEFT = 499

# Of a piece of a streamed body, what is sent before others have their turns.
_PIECE_BYTES = 512 * 1024


class ServerForExchanges(ServerForRequests, typing.Protocol):
    """What an exchange needs of the server."""

    pacer: Pacer
    draining: bool

    def cancel(self, task: asyncio.Task[None]) -> None:
        """Cancel what answers a request, once."""


class Line(typing.Protocol):
    """What an exchange needs of its connection."""

    output: Output
    reader: RequestReader
    #: Whether a body was broken, so that nobody can say where the next request begins.
    is_spoilt: bool

    def enter_tunnel(self) -> None:
        """Note that the connection changes to another protocol (RFC 9110 §15.2.2)."""

    def go_on(self, keep_alive: bool, now: float) -> None:
        """Take the next request, or close: the answer is out, in the loop's time `now`."""

    def close(self) -> None:
        """Close in stages: the answer is out, and nothing can follow it."""

    def reset(self) -> None:
        """End the connection so that the client sees an error."""


class Exchange:
    """One request that has begun, and its answer on the way out; see the module's text. It is the Sink of its body.

    `_writer` frames an answer that is sent in pieces, and is there from its head on. So is `_response`, until the end.
    """

    __slots__ = (
        "_alarm", "_began_early", "_endpoint", "_filler", "_is_out", "_is_over", "_leaving", "_line", "_output",
        "_producer", "_request", "_response", "_server", "_started_at", "_status", "_task", "_unawaited", "_writer",
    )  # fmt: skip

    _filler: bytes  # what means nothing in the middle of the answer's body
    _writer: ResponseWriter

    def __init__(
        self, line: Line, server: ServerForExchanges, request: Request, endpoint: Endpoint, started_at: float
    ) -> None:
        self._line = line
        self._output = line.output
        self._server = server
        self._request = request
        self._endpoint = endpoint
        self._started_at = started_at
        self._is_over = False
        self._is_out = False  # nothing more is owed to the client, though its body may still be closing
        self._began_early = False  # the head of an event stream is out, and its answer is not there
        self._alarm: asyncio.TimerHandle | None = None  # for when the client has waited for long enough
        self._task: asyncio.Task[None] | None = None
        self._unawaited: typing.Awaitable[Response] | None = None  # what the task is to await, until it begins
        self._producer: Producer | None = None
        self._response: Response | None = None
        self._leaving: Leaving | None = None  # once the first piece of its body has left
        self._status = 0  # of the answer, once its head is out

    # ---- what the connection asks and tells ---------------------------------------------------------------------

    @property
    def is_awaited(self) -> bool:
        """Whether something is still making the answer. A tunnel is none: its endpoint reads the client's end."""
        is_made = self._task is not None or self._producer is not None
        return is_made and not self._is_out and self._status != 101

    def answer(self, body: bytes = b"", made_room: int = 0) -> None:
        """Ask the endpoint, which has the body or reads it, and send what it answers; see Request for `made_room`."""
        request, endpoint = self._request, self._endpoint
        request.body = body
        request.came_at = self._server.time()
        request.made_room = made_room
        if request.facts.direct_endpoint is endpoint and len(body) <= LONG_BODY:
            self.take(ask(self._server, endpoint, request))
        elif isinstance(endpoint, LateEndpoint):
            self._task = self._server.loop.create_task(self._ask_late(endpoint))
        elif len(body) > LONG_BODY or (body and "content-encoding" in request.fields):
            self._task = self._server.loop.create_task(in_turns(self._ask_in_turns))
        else:
            self.take(ask(self._server, self._endpoint, request))

    def take(self, answer: Answer) -> None:
        """Send an answer that is ready; wait for any other."""
        if type(answer) is Response:
            self._respond(answer)
        elif isinstance(answer, Pending):
            answer.deliver = self._deliver
            self._producer = answer
        else:
            self._unawaited = answer
            self._task = self._server.loop.create_task(self._await_answer(answer))
        if self._endpoint.early_head is not None and not self._is_over and self.is_awaited:
            self._alarm = self._server.loop.call_later(self._endpoint.early_head.seconds, self._say_something)

    async def _ask_late(self, late: LateEndpoint) -> None:
        try:
            self._endpoint = await found_endpoint(late, self._request)
        except Exception as exc:
            self._task = None
            if not self._is_over:
                self.fail_with(exc)
        else:
            if self._endpoint.streams_body:
                self._line.reader.max_body = None
            await in_turns(self._ask_in_turns)

    def _ask_in_turns(self) -> None:
        answer = ask(self._server, self._endpoint, self._request)
        self._task = None  # whose work ends here, without another pause
        if self._is_over:
            discard_answer(answer)
        else:
            self.take(answer)

    def fail_with(self, exc: Exception) -> None:
        """Answer a request that could not be routed."""
        self._respond(answer_to(exc, self._server, self._endpoint, self._request))

    def refuse(self, error: ApiError) -> None:
        """Answer a request whose body cannot be read, and end the connection."""
        writer = ResponseWriter(self._request.head)
        writer.keep_alive = False
        response = error_answer(error, self._server, self._endpoint)
        self._output.write(writer.whole(error.status, self._fields_of(response, writer), error_body(response)))
        self._complete(error.status)
        self._line.close()

    def pause(self) -> None:
        """Let the answer wait: the client reads too slowly."""
        if self._producer is not None:
            self._producer.pause()

    def resume(self) -> bool:
        """Let a producer go on; return whether there is one."""
        if self._producer is None:
            return False
        self._producer.resume()
        return True

    def provoke(self) -> bool:
        """Send bytes that no client takes for an answer, which the host of one that has gone answers with a reset.

        Before the answer's head these are an interim 100 (RFC 9110 §15.2: clients take any number). Within a chunked
        body they are a leading zero of the next chunk's size (RFC 9112 §7.1: 1*HEXDIG). False where there are none:
        for HTTP/1.0, and within a body of known length or one that the connection's end will end.
        """
        filler = self._filler if self._status else CONTINUE if self._request.head.minor_version else b""
        self._output.send(filler)
        return bool(filler)

    def cancel(self) -> None:
        """Cancel the task that makes the answer, so that it can clean up."""
        if self._task is not None:
            self._server.cancel(self._task)

    def abandon(self) -> None:
        """Stop: the client has gone."""
        self._end_alarm()
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.cancel()
        task, self._task = self._task, None  # a task that was cancelled refers back here
        if task is not None:
            self._server.cancel(task)
        unawaited, self._unawaited = self._unawaited, None
        if unawaited is not None:
            discard_answer(unawaited)  # the task will never come to it
        if not self._is_over:
            self._complete(_CLIENT_LEFT)

    # ---- answers that have to be waited for ---------------------------------------------------------------------

    def _deliver(self, answer: Response | Rest) -> None:
        """Take what a Pending answer has become."""
        if type(answer) is Response:
            self._producer = None
            self._respond(answer)
        else:
            self._task = self._server.loop.create_task(self._await_answer(answer))

    async def _await_answer(self, answer: typing.Awaitable[Response]) -> None:
        self._unawaited = None
        self._producer = None  # a Pending one, whose rest is awaited from here on
        try:
            response = await answer
            if type(response) is not Response:
                raise TypeError("an endpoint must answer with a Response")
        except Exception as exc:
            if self._is_over:
                if isinstance(exc, BackendFailed):
                    cancel_body(exc.response)
                return
            response = answer_to(exc, self._server, self._endpoint, self._request)
        response = self._adapted(response)
        self._end_alarm()
        if self._began_early or isinstance(response.body, (bytes, Paced, Producer)):
            self._task = None
            # Where the client has gone, the endpoint did not let itself be cancelled.
            if self._is_over:
                cancel_body(response)
            else:
                self._respond(response)
        else:
            await self._send_iterated(response, response.body)

    # ---- streams that begin before their answer -----------------------------------------------------------------

    def _say_something(self) -> None:
        """Send a comment to a client that has waited for long enough, behind a head if there is none yet."""
        early, output = self._endpoint.early_head, self._output
        self._alarm = None
        if early is None or not self.is_awaited or (self._status and not self._began_early):
            return
        if not self._began_early:
            request = self._request
            if not early.is_wanted(request):
                return
            take, charge = request.take, request.charge
            # A key's own limits stand before those that a tester has set, as in answers.
            limits = b"" if charge is None else charge.early_fields()
            if not limits and take is not None:
                limits = take.early_fields()
            fields = early.fields + limits
            self._began_early = True
            self._status = 200
            self._writer = writer = self._make_writer()
            head = writer.start(200, self._fields_of(Response(200, fields), writer), None)
            self._note_begun()
            output.send(head + writer.part(KEEP_ALIVE))
        elif output.writable is None:
            output.send(self._writer.part(KEEP_ALIVE))
        self._alarm = self._server.loop.call_later(early.seconds, self._say_something)

    def _end_alarm(self) -> None:
        alarm, self._alarm = self._alarm, None
        if alarm is not None:
            alarm.cancel()

    def _respond_late(self, response: Response) -> None:
        """Send the answer whose head went out early."""
        body = response.body
        fields = own_fields(response)
        if response.status != 200 or b"text/event-stream" not in fields or b"content-encoding:" in fields:
            cancel_body(response)
            event = (self._endpoint.errors or self._server.errors).event_of(response)
            self._end_with(event, response.status if response.status >= 400 else 502)
            return
        self._response = response
        if isinstance(body, Pushed):
            self._push(body)
        elif isinstance(body, Verbatim):
            self._perform(body, self._writer, b"")
        elif isinstance(body, (bytes, Paced)):
            frames = body if isinstance(body, Paced) else Paced([body], first_delay=0.0, delay=0.0)
            pacer = self._server.pacer
            self._push(timed_frames(frames, pacer, pacer.time()))
        else:
            self._task = self._server.loop.create_task(self._send_iterated(response, body))

    def _end_with(self, event: bytes, status: int) -> None:
        """End an event stream with the event that tells of an error, and no clean end behind it."""
        self._output.send(self._writer.part(event))
        self._task = None
        self._complete(status)
        self._line.close()

    # ---- answers going out --------------------------------------------------------------------------------------

    def _respond(self, response: Response) -> None:
        """Send an answer whose body is ready, or begin to send it."""
        server, request, body = self._server, self._request, response.body
        data, keep_alive = b"", True
        if self._alarm is not None:
            self._end_alarm()
        if self._began_early:
            self._respond_late(self._adapted(response))
            return
        try:
            if response.status == 200 and request.facts.direct_endpoint is not None and not server.draining:
                # The short way for nearly every answer: 1 µs less (CPython 3.11).
                data = rendered(response, request, server)
            if not data:
                response = self._adapted(response)
                body = response.body
                if isinstance(body, Paced) and (body.first_delay or body.delay):
                    body = timed_frames(body, server.pacer, server.pacer.time())
                if isinstance(body, Pushed):
                    self._respond_pushed(response, body)
                    return
                if not isinstance(body, (bytes, Paced)):
                    if isinstance(body, Verbatim):
                        self._respond_verbatim(response, body)
                        return
                    self._task = server.loop.create_task(self._send_iterated(response, body))
                    return
                writer = self._make_writer()
                fields = self._fields_of(response, writer)
                whole = body if isinstance(body, bytes) else b"".join(body.frames)
                length = len(whole) if isinstance(body, bytes) else None
                if len(whole) > SLICE_BYTES and request.method != "HEAD":
                    self._respond_sliced(response, fields, whole, length, writer)
                    return
                if length is None:
                    data = writer.whole_stream(response.status, fields, whole)
                else:
                    data = writer.whole(response.status, fields, whole)
                keep_alive = writer.keep_alive
        except ApiError as exc:
            self._respond(error_answer(exc, server, self._endpoint))
            return
        except Exception as exc:
            server.log.failure(request, exc)
            self._respond(error_answer(internal_error("while processing your request"), server, self._endpoint))
            return
        self._status = status = response.status
        self._output.write(data)
        self._is_over = True
        now = note_completed(server, request, self._endpoint, status, self._started_at, response)
        self._line.go_on(keep_alive, now)

    def _adapted(self, response: Response) -> Response:
        """Return an answer with what it tells of errors in the endpoint's own way."""
        errors = self._endpoint.errors
        return response if errors is None else errors.adapted(response)

    def _make_writer(self) -> ResponseWriter:
        """Return the writer of an answer whose endpoint reads the request's body no more."""
        writer = ResponseWriter(self._request.head)
        # The connection ends with this answer if the body is still on its way.
        writer.keep_alive = writer.keep_alive and skip_body(self._line.reader)
        return writer

    def _respond_sliced(
        self, response: Response, fields: bytes, body: bytes, length: int | None, writer: ResponseWriter
    ) -> None:
        """Send a large body that is ready; ApiError 503 where it may not be held until it is out."""
        output = self._output
        sliced = SlicedAnswer(body, self._server.loop, self._server.held, writer.part, output, self._end_sliced)
        self._status = response.status
        self._response = response
        self._writer = writer
        self._producer = sliced
        output.write(writer.start(response.status, fields, length))
        self._note_begun()
        self._note_piece()
        if output.writable is None:
            sliced.resume()

    def _end_sliced(self, data: bytes) -> None:
        self._output.write(data + self._writer.finish())
        self._finish()

    def _respond_pushed(self, response: Response, body: Pushed) -> None:
        """Let a body send itself to `push`, `end` and `fail`; ApiError 503 where it may not be held until it is out."""
        try:
            held = body.held_bytes
            if held > SLICE_BYTES:
                self._request.hold(held)
            self._start_stream(response)
        except Exception:
            body.cancel()
            raise
        self._push(body)

    def _push(self, body: Pushed) -> None:
        self._producer = body
        body.begin(self)
        output = self._output
        if output.gathered is not None:
            self._server.loop.call_soon(output.flush)
        if output.writable is not None and self._producer is not None:
            self._producer.pause()

    def _respond_verbatim(self, response: Response, body: Verbatim) -> None:
        """Let a body send the whole answer as it is."""
        output, line = self._output, self._line
        is_tunnel = response.status == 101
        writer = ResponseWriter(self._request.head) if self._endpoint.streams_body else self._make_writer()
        if is_tunnel or line.is_spoilt:
            writer.keep_alive = False
        fields = self._fields_of(response, writer)
        output.flush()  # the answers before this one
        output.continue_due = False
        if is_tunnel:
            line.enter_tunnel()
        self._status = response.status
        self._response = response
        self._writer = writer
        self._is_out = False
        self._perform(body, writer, fields)

    def _perform(self, body: Verbatim, writer: ResponseWriter, fields: bytes) -> None:
        self._filler = b""  # nobody can say what would mean nothing in the middle of it
        self._producer = body
        stage = AnswerStage(self._server, self._output, writer, fields, self._began_early, self._end_verbatim)
        try:
            body.begin(stage)
        except Exception as exc:
            self._server.log.failure(self._request, exc)
            body.cancel()
            stage.end("reset")
        if self._output.writable is not None and self._producer is not None:
            self._producer.pause()

    def _end_verbatim(self, end: AnswerEnd) -> None:
        if self._is_over:  # the client left while what was sent was on its way
            return
        if end == "keep":
            self._finish()
            return
        self._producer = None
        self._complete(self._status)
        if end == "close":
            self._line.close()
        else:
            self._line.reset()

    async def _send_iterated(self, response: Response, body: typing.AsyncIterator[bytes]) -> None:
        """Send a body as its iterator brings it, no faster than the client reads."""
        came_late = self._is_over
        output = self._output
        try:
            if came_late:
                return
            writer = self._start_stream(response)
            encode: typing.Callable[[bytes], bytes] = writer.part
            if response.status == 101:
                # What follows is no body but another protocol's (RFC 9110 §15.2.2), and nothing follows that.
                encode = bytes
            # The head waits one turn for the first bytes, to leave with them in one segment.
            self._server.loop.call_soon(output.flush)
            async for data in body:
                # What is there goes on, room or not; a WebSocket's are counted where they are made.
                held = len(data) if len(data) > SLICE_BYTES and response.status != 101 else 0
                self._server.held.add(held)
                try:
                    for at in range(0, len(data) or 1, _PIECE_BYTES):
                        if at:
                            await asyncio.sleep(0)  # a long piece is copied some times on its way out
                        output.send(encode(data[at : at + _PIECE_BYTES]))
                        self._note_piece()
                        if output.writable is not None:
                            await output.writable
                finally:
                    self._server.held.add(-held)
            self._is_out = True
            output.send(writer.finish())
        except Exception as exc:
            self._break_off(response, exc)
            return
        finally:
            await self._close_body(body, came_late)
        self._task = None
        if not self._is_over:
            self._finish()

    async def _close_body(self, body: object, came_late: bool) -> None:
        close = getattr(body, "aclose", None)
        if close is None:
            return
        try:
            await close()
        except Exception as exc:
            if not came_late:
                self._server.log.failure(self._request, exc)

    def _start_stream(self, response: Response) -> ResponseWriter:
        """Write the head, which waits for the first bytes."""
        if self._began_early:
            return self._writer
        output, line = self._output, self._line
        is_tunnel = response.status == 101
        writer = ResponseWriter(self._request.head) if self._endpoint.streams_body else self._make_writer()
        if is_tunnel or line.is_spoilt:
            writer.keep_alive = False
        head = writer.start(response.status, self._fields_of(response, writer), response.length)
        output.flush()  # the answers before this one
        if is_tunnel:
            line.enter_tunnel()
        output.continue_due = False
        output.gathered = [head]
        self._status = response.status
        self._response = response
        self._writer = writer
        self._note_begun()
        return writer

    def _note_begun(self) -> None:
        """Note what the head that goes out says of the body to come."""
        self._filler = b"0" if self._writer.is_chunked else b""
        self._is_out = self._request.method == "HEAD"

    # ---- bodies that send themselves ----------------------------------------------------------------------------

    def push(self, data: bytes) -> None:
        """Send a piece of a pushed body (Sink)."""
        writer, output = self._writer, self._output
        if writer.is_chunked and output.gathered is None and data and not writer.is_silent:
            # What `part` and `send` do for nearly every piece: two calls less, of every streamed frame.
            output.write_now(b"%x\r\n%b\r\n" % (len(data), data))
            self._note_piece()
            return
        try:
            data = writer.part(data)
        except Exception as exc:
            self._stop_pushing(exc)
        else:
            output.send(data)
            self._note_piece()

    def _note_piece(self) -> None:
        """Note that a piece of a streamed answer has left."""
        leaving, server = self._leaving, self._server
        if leaving is None:
            self._leaving = note_first_piece(server, self._request, self._endpoint)
            return
        now = server.time()
        gap = now - leaving.last_at
        leaving.last_at = now
        bucket = bisect.bisect_left(BUCKET_SECONDS, gap) if gap > SHORTEST_SECONDS else 0
        server.metrics.values[leaving.gaps_at + bucket] += 1.0  # the sum follows at the end

    def end(self, data: bytes) -> None:
        """Send the last piece of a pushed body (Sink)."""
        try:
            last = self._writer.part(data) + self._writer.finish()
        except Exception as exc:
            self._stop_pushing(exc)
        else:
            self._output.send(last)
            if data:
                self._note_piece()
            self._finish()

    def fail(self, error: Exception) -> None:
        """Break a pushed body off (Sink)."""
        response, self._producer = self._response, None
        if response is not None:
            self._break_off(response, error)

    def _stop_pushing(self, exc: Exception) -> None:
        if self._producer is not None:
            self._producer.cancel()
        self.fail(exc)

    # ---- the end ------------------------------------------------------------------------------------------------

    def _break_off(self, response: Response, exc: Exception) -> None:
        """End a stream that failed midway, so that nobody can take it for whole: no last chunk, no [DONE]."""
        if self._is_over:
            return
        output, server = self._output, self._server
        if isinstance(exc, ResetClient) and self._status:
            output.flush()
            self._task = None
            AnswerStage(server, output, self._writer, b"", True, self._end_verbatim).end("reset")
            return
        if not self._status or (output.gathered is not None and not self._began_early):
            # Not even the head has left.
            output.gathered = None
            self._task = self._response = None
            self._respond(answer_to(exc, server, self._endpoint, self._request))
            return
        writer = self._writer
        if isinstance(exc, ApiError):
            error = exc
            if error.where:
                server.log.say_of(self._request, f"{error.message} ({error.where}, in the middle of its answer)")
        else:
            server.log.failure(self._request, exc)
            error = internal_error("in the middle of this answer")
        fields = own_fields(response)
        is_told = b"text/event-stream" in fields and b"content-encoding:" not in fields and response.length is None
        if is_told:
            output.write(writer.part((self._endpoint.errors or server.errors).event(error)))
        output.flush()
        self._task = None
        self._complete(error.status)
        if is_told or writer.is_chunked or response.length is not None:
            self._line.close()
        else:
            self._line.reset()

    def _fields_of(self, response: Response, writer: ResponseWriter) -> bytes:
        """Return the field lines of an answer, of which `writer` adds those about the connection."""
        if self._server.draining:
            writer.keep_alive = False
        request = self._request
        return self._server.common_fields(request, response.request_id or request.id) + own_fields(response)

    def _finish(self) -> None:
        """End an answer that was sent in pieces."""
        self._producer = None
        self._line.go_on(self._writer.keep_alive, self._complete(self._status))

    def _complete(self, status: int) -> float:
        """Count and log the request, whose answer is out or never will be; return the time."""
        response, self._response = self._response, None
        self._is_over = True
        return note_completed(
            self._server, self._request, self._endpoint, status, self._started_at, response, self._leaving
        )
