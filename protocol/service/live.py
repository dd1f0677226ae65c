"""Who watches: each request as soon as it is over, for the page for people.

While nobody watches nothing of this is asked by anybody. The first viewer makes the server put this around its
endpoints, to see when answers begin and what they tell of tokens, and around its log, to learn of their ends; when the
last one leaves, both are as before.

All viewers get the same bytes, a block of events some times a second. One that reads slowly gets no block before it
reads again, and then learns how many requests it has missed: nothing is kept for anybody. When more requests come than
people can look at, the others are only counted.
"""

from __future__ import annotations

import asyncio
import typing

from protocol.errors import without_keys
from protocol.exchange import Endpoint, Pushed, Request, Response, Sink
from protocol.openai.answers import EVENT_STREAM_FIELDS
from protocol.service.doors import LIVE_PATH, PROBES
from protocol.service.log import RequestLog, key_label, logged_target
from protocol.service.seen import Whither, seen_endpoint
from protocol.wire.json_text import JsonObject, encode_json
from protocol.wire.sse import KEEP_ALIVE, encode_event

_BLOCK_SECONDS = 0.25
# Of requests that come at once so many are shown, and then one in this time; the others are only counted. A hundred a
# second are more than anybody can read. They are spread, for to show one is as much work as a plain answer.
_ROWS_AT_ONCE = 25
_ROW_SECONDS = 0.01
# Viewers who get a block before the loop's other work has its turn: all at once would keep clients waiting, four times
# a second, for as long as hundreds of writes take.
_VIEWERS_A_TURN = 16
# Requests that nobody wants to see: viewers' own, and probes'.
_UNSHOWN = frozenset((LIVE_PATH, *PROBES))
# Blocks' times without one, after which a comment goes out: whoever is on the way must not take the line for dead.
_SILENT_TICKS = 60


class Live:
    """The viewers, and what they are told.

    `be_watched` puts what it gets around the server's endpoints and log, None takes that away. `clock` gives seconds
    since the epoch. `whither` says where a model is asked.
    """

    def __init__(
        self,
        be_watched: typing.Callable[[Live | None], object],
        loop: asyncio.AbstractEventLoop,
        clock: typing.Callable[[], float],
        whither: Whither,
    ) -> None:
        self._be_watched = be_watched
        self._loop = loop
        self._clock = clock
        self._whither = whither
        self._viewers: set[_Viewer] = set()
        self._rows: list[bytes] = []
        self._skipped = 0
        self._next_row_at = 0.0  # in the loop's time, if no more came at once
        self._silent_ticks = 0
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, request: Request) -> Response:
        """Return an event stream of what comes from now on."""
        return Response(200, EVENT_STREAM_FIELDS, b"" if request.method == "HEAD" else _Viewer(self))

    def leave(self) -> None:
        """End all streams: the server is about to stop."""
        for viewer in list(self._viewers):
            viewer.end()

    def join(self, viewer: _Viewer) -> None:
        """Let a viewer see what comes from now on."""
        self._viewers.add(viewer)
        if self._timer is None:
            self._timer = self._loop.call_later(_BLOCK_SECONDS, self._tick)
            self._be_watched(self)

    def part(self, viewer: _Viewer) -> None:
        """Let a viewer see nothing more."""
        self._viewers.discard(viewer)
        if not self._viewers and self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._be_watched(None)
            self._rows.clear()
            self._skipped = 0

    def _tick(self) -> None:
        self._timer = self._loop.call_later(_BLOCK_SECONDS, self._tick)
        rows, skipped = self._rows, self._skipped
        count = len(rows) + skipped
        self._silent_ticks = 0 if count else self._silent_ticks + 1
        if count:
            self._rows, self._skipped = [], 0
            self._show(encode_event(b'{"rows":[%b],"skipped":%d}' % (b",".join(rows), skipped)), count)
        elif self._silent_ticks >= _SILENT_TICKS:
            self._silent_ticks = 0
            self._show(KEEP_ALIVE, 0)

    def _show(self, block: bytes, count: int) -> None:
        self._hand_on(list(self._viewers), block, count)

    def _hand_on(self, viewers: list[_Viewer], block: bytes, count: int) -> None:
        for viewer in viewers[:_VIEWERS_A_TURN]:
            viewer.take(block, count)
        if len(viewers) > _VIEWERS_A_TURN:
            self._loop.call_soon(self._hand_on, viewers[_VIEWERS_A_TURN:], block, count)

    # ---- what is seen -----------------------------------------------------------------------------------------------

    def around(self, endpoint: Endpoint) -> Endpoint:
        """Return an endpoint whose answers are seen (server.Watcher)."""
        # Who watched may have left since; and what comes when no more can be shown is only counted, as a rule.
        return seen_endpoint(endpoint, self._loop.time, self._whither, lambda: bool(self._viewers) and self._has_room())

    def log_for(self, log: RequestLog) -> RequestLog:
        """Return a log whose requests are seen."""
        return _Told(log, self)

    def note(self, request: Request, status: int, seconds: float, attempts: typing.Sequence[str] = ()) -> None:
        """Learn that a request is over."""
        if not self._viewers or request.head.path in _UNSHOWN:
            return
        if not self._has_room():
            self._skipped += 1
            return
        self._next_row_at = max(self._next_row_at, self._loop.time()) + _ROW_SECONDS
        if request.charge is None:
            self._add(self._row(request, status, seconds, attempts, {}))
        else:
            request.charge.tell(lambda told: self._add(self._row(request, status, seconds, attempts, told)))

    def _has_room(self) -> bool:
        """Tell whether one more can be shown."""
        return self._next_row_at < self._loop.time() + (_ROWS_AT_ONCE - 1) * _ROW_SECONDS

    def _add(self, row: JsonObject) -> None:
        self._rows.append(encode_json({name: value for name, value in row.items() if value not in ("", None, [])}))

    def _row(
        self, request: Request, status: int, seconds: float, attempts: typing.Sequence[str], charged: JsonObject
    ) -> JsonObject:
        """Return what is shown of a request; `charged` is what the log tells of its cost, {} where nobody counts."""
        method, path = request.facts.logged_target or logged_target(request)
        row: JsonObject = {
            "at": round(self._clock(), 3), "id": without_keys(request.id, request.key), "method": method, "path": path,
            "peer": request.peer, "status": status, "seconds": round(seconds, 6), "key": key_label(request),
            "attempts": list(attempts),
        }  # fmt: skip
        seen = {} if request.seen is None else request.seen.told(request, seconds, attempts)
        row.update({shown: seen[name] for name, shown in _SEEN if name in seen})
        if request.take is not None:
            row.update({name: value for name, value in request.take.told().items() if value != ""})
        row.update({name: charged[name] for name in ("asked", "sent", "backend", "key") if charged.get(name)})
        for name in ("asked", "sent", "session"):  # whatever a client writes there
            if row.get(name):
                row[name] = without_keys(row[name], request.key)
        return row


# What is seen of an answer, and how the page calls it.
_SEEN = (
    ("endpoint", "endpoint"), ("asked", "asked"), ("sent", "sent"), ("backend", "backend"), ("seconds_first", "first"),
    ("tok_in", "in"), ("tok_out", "out"),
)  # fmt: skip


class _Viewer(Pushed):
    """One viewer's stream."""

    __slots__ = ("_is_paused", "_live", "_missed", "_sink")

    def __init__(self, live: Live) -> None:
        self._live = live
        self._sink: Sink | None = None
        self._is_paused = False
        self._missed = 0

    def begin(self, sink: Sink) -> None:
        """Send to `sink` from now on."""
        self._sink = sink
        sink.push(KEEP_ALIVE)
        self._live.join(self)

    def take(self, block: bytes, count: int) -> None:
        """Send a block that tells of so many requests, or miss it."""
        sink = self._sink
        if self._is_paused or sink is None:
            self._missed += count
            return
        if self._missed:
            block = encode_event(b'{"rows":[],"skipped":%d}' % self._missed) + block
            self._missed = 0
        sink.push(block)

    def pause(self) -> None:
        """Send no more for now: who watches reads too slowly."""
        self._is_paused = True

    def resume(self) -> None:
        """Send again what comes from now on."""
        self._is_paused = False

    def cancel(self) -> None:
        """Stop: who watched has gone."""
        self._sink = None
        self._live.part(self)

    def end(self) -> None:
        """End the stream in good order."""
        sink, self._sink = self._sink, None
        self._live.part(self)
        if sink is not None:
            sink.end(b"")


class _Told:
    """The server's log, with which the live view is told (service/log.RequestLog)."""

    records_requests = True

    def __init__(self, log: RequestLog, live: Live) -> None:
        self._log = log
        self._live = live

    def started(self, request: Request) -> None:
        """Note that a request came."""
        if self._log.records_requests:
            self._log.started(request)

    def completed(
        self, request: Request, status: int, seconds: float, answer_id: str = "", attempts: typing.Sequence[str] = ()
    ) -> None:
        """Note that its answer has been sent."""
        if self._log.records_requests:
            self._log.completed(request, status, seconds, answer_id, attempts)
        self._live.note(request, status, seconds, attempts)

    def answered(self, request: Request, status: int, seconds: float, answer_id: str = "") -> None:
        """Note both at once."""
        if self._log.records_requests:
            self._log.answered(request, status, seconds, answer_id)
        self._live.note(request, status, seconds)

    def say(self, message: str) -> None:
        """Write a line of the server's own."""
        self._log.say(message)

    def say_of(self, request: Request, message: str) -> None:
        """Write a line about a request."""
        self._log.say_of(request, message)

    def failure(self, request: Request, exc: BaseException) -> None:
        """Write where a defect of ours came up."""
        self._log.failure(request, exc)

    def flush(self) -> None:
        """Write what has been gathered."""
        self._log.flush()
