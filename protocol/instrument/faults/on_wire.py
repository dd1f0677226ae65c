"""An answer that goes wrong on its way: whatever its body is, it leaves as it is meant to, byte for byte.

The way of a body's bytes, each step of which may be the one that goes wrong:

    source -> change (in_streams, in_answers) -> gauge (where `after` is reached) -> framing -> shaper -> stage

A FaultedAnswer is the Sink of its source, and the server's stage takes what comes out (exchange.Verbatim). It ends in
one of three ways: the answer is whole, and the connection stays as HTTP has it; the connection ends, in good order or
by a reset; or nothing comes any more, until the client leaves. In each of them the source is let go of at once.
"""

from __future__ import annotations

import asyncio
import math
import typing

from protocol.exchange import AnswerEnd, Paced, Producer, Pushed, Response, Sink, Stage, Verbatim
from protocol.instrument.faults.draws import Draw
from protocol.instrument.faults.events import EventCutter, brings_token
from protocol.instrument.faults.in_streams import Change, Note
from protocol.instrument.faults.language import After, Fault
from protocol.instrument.faults.shaper import Shaper, Timers, cut_for
from protocol.wire.gathering import Gathering
from protocol.wire.http1.writers import ResponseWriter

# Pieces in which a body that is whole is taken.
_PIECE_BYTES = 65_536
#: An answer that is to be changed as a whole is passed on as it is when it is longer: to read it would keep others
#: waiting.
MOST_WHOLE_BYTES = 1_000_000
#: What is said of one that is longer.
TOO_LONG = f"the answer has more than {MOST_WHOLE_BYTES} bytes, or there is no room for it"
# What stands where a chunk's size should (RFC 9112 §7.1: 1*HEXDIG).
_BAD_CHUNK = b"this is no chunk\r\n"
# How often an iterated body that has to wait looks whether there is room.
_LOOK_SECONDS = 0.01


class Witness(typing.Protocol):
    """Who sees what leaves."""

    def took(self, data: bytes) -> None:
        """Learn that a piece of the body is leaving."""

    def cut(self) -> None:
        """Learn that the body breaks off."""


class _Gauge:
    """Finds the place in a body where so many tokens, events or bytes have gone by."""

    def __init__(self, after: After, cutter: EventCutter) -> None:
        self.left = after.number
        self._unit = after.unit
        self._cutter = cutter

    def part(self, data: bytes) -> tuple[bytes, bytes]:
        """Return what of the bytes stands before the place, and what behind it; an event is held until it is whole."""
        if self._unit == "B":
            number = self.left
            self.left -= min(number, len(data))
            return data[:number], data[number:]
        before: list[bytes] = []
        behind: list[bytes] = []
        for event in self._cutter.feed(data):
            if self.left <= 0:
                behind.append(event.raw)
            else:
                self.left -= event.is_event if self._unit == "ev" else brings_token(event.value)
                before.append(event.raw)
        if self.left <= 0:
            behind.append(self._cutter.rest())
        return b"".join(before), b"".join(behind)

    def rest(self) -> bytes:
        """Return what is held of an event that never became whole."""
        return self._cutter.rest()

    def missing(self) -> str:
        """Return a sentence for a body that ended before."""
        things = {"tok": "tokens", "ev": "events", "B": "bytes"}[self._unit]
        return f"the answer ended {self.left} {things} before it was due"


class _Pieces(Producer):
    """Sends a body that is whole, in pieces."""

    def __init__(self, body: bytes, sink: Sink) -> None:
        self._body = body
        self._sink: Sink | None = sink
        self._at = 0
        self._is_running = self._is_busy = False

    def resume(self) -> None:
        self._is_running = True
        while self._is_running and not self._is_busy and self._sink is not None:
            self._is_busy = True
            try:
                self._send(self._sink)
            finally:
                self._is_busy = False

    def _send(self, sink: Sink) -> None:
        data = self._body[self._at : self._at + _PIECE_BYTES]
        self._at += _PIECE_BYTES
        if self._at < len(self._body):
            sink.push(data)
        else:
            self._sink = None
            sink.end(data)

    def pause(self) -> None:
        self._is_running = False

    def cancel(self) -> None:
        self._body, self._sink = b"", None


class FaultedAnswer(Verbatim):
    """A body that sends an answer with a fault.

    `response` is the sound one. `change` changes its body piece by piece, `whole` as a whole. `cutter` cuts it into
    events, for an `after` that counts those. `note` gets what could not be applied. `timers` are the session's; None is
    the loop's. `may_hold` holds so many bytes if there is room, and tells whether there is.
    """

    __slots__ = (
        "_body", "_cancel_shaper", "_change", "_draw", "_encode", "_fault", "_gathered", "_gauge", "_is_over",
        "_may_hold", "_note", "_response", "_shaper", "_source", "_stage", "_task", "_timers", "_whole", "_witness",
    )  # fmt: skip

    _stage: Stage
    _shaper: Shaper

    def __init__(
        self,
        response: Response,
        fault: Fault,
        draw: Draw,
        note: Note,
        witness: Witness,
        cutter: EventCutter,
        *,
        change: Change | None = None,
        whole: typing.Callable[[bytes], bytes] | None = None,
        timers: Timers | None = None,
        may_hold: typing.Callable[[int], bool] = bool,
    ) -> None:
        self._may_hold = may_hold
        self._response = response
        self._body = response.body
        self._fault = fault
        self._draw = draw
        self._note = note
        self._witness = witness
        self._change = change
        self._whole = whole
        self._timers = timers
        is_counted = fault.after is not None and fault.kind.layer in ("wire", "framing")
        self._gauge = _Gauge(typing.cast(After, fault.after), cutter) if is_counted else None
        self._gathered = Gathering() if whole is not None else None
        self._encode: typing.Callable[[bytes], bytes] = bytes
        self._source: Producer | None = None
        self._task: asyncio.Task[None] | None = None
        self._cancel_shaper: typing.Callable[[], object] | None = None  # once it has begun
        self._is_over = False

    # ---- what the server asks ---------------------------------------------------------------------------------------

    def begin(self, stage: Stage) -> None:
        """Send the answer to `stage` from now on."""
        self._stage = stage
        fault, draw = self._fault, self._draw
        late = None
        if fault.kind.name == "latency":
            latency, jitter = fault.number("latency"), fault.number("jitter")

            def late() -> float:
                return max(0.0, latency + (2 * draw.next() - 1) * jitter if jitter else latency)

        timers: Timers = stage.loop if self._timers is None else self._timers
        self._shaper = Shaper(timers, stage.send, self._go_on, cut_for(fault, draw), late)
        self._cancel_shaper = self._shaper.cancel
        if fault.kind.name in ("reset", "close", "stall") and fault.after is None:
            self._strike()
        if not self._is_over:
            if self._gathered is None:
                self._send_head(self._known_length())
            self._start()

    def pause(self) -> None:
        """Send no more for now."""
        self._shaper.pause()
        if self._source is not None:
            self._source.pause()

    def resume(self) -> None:
        """Send again."""
        self._shaper.resume()
        self._go_on()

    def cancel(self) -> None:
        """Stop, and give back what is held."""
        self._is_over = True
        self._let_go()
        if self._cancel_shaper is not None:
            self._cancel_shaper()

    # ---- where the body comes from ----------------------------------------------------------------------------------

    def _start(self) -> None:
        body = self._body
        if self._is_over:
            return
        if isinstance(body, Paced):
            body = self._stage.timed(body) if body.first_delay or body.delay else b"".join(body.frames)
        if isinstance(body, bytes):
            self._source = _Pieces(body, self)
            self._source.resume()
        elif isinstance(body, Pushed):
            self._source = body
            body.begin(self)
        elif isinstance(body, Verbatim):
            raise TypeError("an answer has one fault")
        else:
            self._task = self._stage.run(self._pump(body))

    async def _pump(self, body: typing.AsyncIterator[bytes]) -> None:
        """Take a body as its iterator brings it."""
        try:
            async for data in body:
                task, self._task = self._task, None  # which must not be cancelled by what it does itself
                self.push(data)
                self._task = task
                while self._shaper.is_full and not self._is_over:
                    await asyncio.sleep(_LOOK_SECONDS)
                if self._is_over:
                    break
            self._task = None
            self.end(b"")
        except Exception as exc:  # noqa: BLE001  # whatever it is, the client must see a body that broke off
            self._task = None
            self.fail(exc)
        finally:
            await _close(body)

    def _let_go(self) -> None:
        """Let the source give back what it holds; nothing of it is wanted any more."""
        source, self._source = self._source, None
        task, self._task = self._task, None
        body, self._body = self._body, b""
        self._gathered = None
        if source is not None:
            source.cancel()
        elif task is not None:
            self._stage.stop(task)
        elif isinstance(body, Producer):
            body.cancel()
        elif self._cancel_shaper is None and not isinstance(body, (bytes, Paced)):
            asyncio.get_running_loop().create_task(_close(body))  # it never began

    def _go_on(self) -> None:
        if self._source is not None and not self._shaper.is_full:
            self._source.resume()

    # ---- what the source calls (Sink) -------------------------------------------------------------------------------

    def push(self, data: bytes) -> None:
        """Take a piece of the body."""
        if self._is_over or not data:
            return
        if self._gathered is not None:
            self._gather(data)
            return
        self._take(data)
        if not self._is_over and self._shaper.is_full and self._source is not None:
            self._source.pause()

    def _take(self, data: bytes) -> None:
        change = self._change
        for piece in [data] if change is None else change.feed(data):
            self._emit(piece)
            if self._is_over:
                return
        if change is not None and change.is_over:
            self._end()

    def end(self, data: bytes) -> None:
        """Take the last piece of the body."""
        self.push(data)
        if self._is_over:
            return
        self._source, self._body = None, b""  # which has nothing to let go of any more
        if self._gathered is not None and self._whole is not None:
            body = self._whole(self._gathered.take())
            self._gathered = None
            self._send_head(len(body))
            self._emit(body)
        for piece in [] if self._change is None else self._change.close():
            self._emit(piece)
        if self._gauge is not None:
            if self._gauge.left > 0:
                self._note(self._gauge.missing())
            self._write(self._gauge.rest())
        self._end()

    def fail(self, error: Exception) -> None:
        """Learn that the body broke off by itself: the client sees that, whatever the fault was to be."""
        if not self._is_over:
            self._source, self._body = None, b""
            self._note("the answer broke off by itself")
            self._break_off("close" if self._stage.writer.is_chunked else "reset")

    def _gather(self, data: bytes) -> None:
        gathered = self._gathered
        assert gathered is not None
        gathered.add(data)
        if gathered.size > MOST_WHOLE_BYTES or not self._may_hold(len(data)):
            self._gathered = None
            self._note(TOO_LONG)
            self._send_head(self._response.length)
            self._emit(gathered.take())

    # ---- what goes out ----------------------------------------------------------------------------------------------

    def _known_length(self) -> int | None:
        body = self._body
        if self._change is not None and self._fault.kind.name != "split":
            return None
        return len(body) if isinstance(body, bytes) else self._response.length

    def _send_head(self, length: int | None) -> None:
        stage, kind = self._stage, self._fault.kind.name
        writer: ResponseWriter = stage.writer
        self._encode = bytes if self._response.status == 101 else writer.part
        if kind == "slow_close":
            writer.keep_alive = False
        if kind == "length" and length is not None:
            length = max(0, length + int(self._fault.number("n")))
            self._encode = bytes
        elif kind == "chunk":
            length = None
        if not stage.has_begun:
            self._shaper.add(writer.start(self._response.status, stage.fields, length))
        if kind == "chunk" and not writer.is_chunked:
            self._note("the client speaks HTTP/1.0, which knows no chunks")
        elif (self._gauge is not None and self._gauge.left <= 0) or (kind == "chunk" and self._gauge is None):
            self._strike()

    def _emit(self, data: bytes) -> None:
        """Send a piece, up to where the fault strikes."""
        gauge = self._gauge
        if gauge is None or gauge.left <= 0:
            self._write(data)
            return
        before, behind = gauge.part(data)
        self._write(before)
        if gauge.left <= 0:
            self._strike()
            if not self._is_over:
                self._write(behind)

    def _write(self, data: bytes) -> None:
        if not data:
            return
        try:
            framed = self._encode(data)
        except RuntimeError:  # the upstream sends more than it announced
            self._break_off("close")
            return
        self._witness.took(data)
        self._shaper.add(framed)

    def _strike(self) -> None:
        """Let happen what `after` was to wait for."""
        kind = self._fault.kind.name
        if kind == "chunk":
            if self._stage.writer.is_chunked:
                self._shaper.add(_BAD_CHUNK)
                self._break_off("close")
        elif kind == "stall":
            seconds = self._fault.number("for", math.inf)
            if seconds == math.inf:
                self._is_over = True
                self._witness.cut()
                self._let_go()
            else:
                self._shaper.wait(seconds)
        else:
            self._break_off("reset" if kind == "reset" else "close")

    def _break_off(self, end: AnswerEnd) -> None:
        self._is_over = True
        self._witness.cut()
        self._let_go()
        self._shaper.then(lambda: self._stage.end(end))

    def _end(self) -> None:
        """End the answer as its framing has it."""
        self._is_over = True
        self._let_go()
        kind = self._fault.kind.name
        end: AnswerEnd = "keep"
        if kind == "length":
            # Where more is announced than comes, only the connection's end can say so.
            end = "close" if self._fault.number("n") > 0 else "keep"
        elif self._response.status == 101:
            end = "close"
        else:
            try:
                last = self._stage.writer.finish()
            except RuntimeError:  # less came than was announced
                last, end = b"", "close"
            if last:
                self._shaper.add(last)
        if kind == "slow_close":
            self._shaper.wait(self._fault.number("delay"))
        self._shaper.then(lambda: self._stage.end(end))


async def _close(body: object) -> None:
    close = getattr(body, "aclose", None)
    if close is not None:
        await close()
