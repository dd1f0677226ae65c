"""Bytes that leave at their times: late, slowly, in slices, or after a pause."""

from __future__ import annotations

import collections
import math
import typing

from protocol.instrument.faults.draws import Draw
from protocol.instrument.faults.language import Fault

#: More bytes than these do not wait here: whoever makes them is to pause.
MOST_WAITING_BYTES = 65_536
# Pieces sent in one go, before the loop's other work has its turn.
_PIECES_A_TURN = 256
# Into how many pieces a second a bandwidth is cut (Toxiproxy does the same).
_PIECES_A_SECOND = 10


class Timer(typing.Protocol):
    """What can be called off."""

    def cancel(self) -> None:
        """Call it off."""


class Timers(typing.Protocol):
    """Time, in seconds from anywhere, and who is woken then. An event loop is one."""

    def time(self) -> float:
        """Return the time."""

    def call_later(self, delay: float, callback: typing.Callable[[], object]) -> Timer:
        """Call back after so many seconds."""


#: Cuts bytes into pieces, each with the seconds that it takes to pass, and those that follow it.
Cut = typing.Callable[[bytes], "list[tuple[bytes, float, float]]"]


def cut_for(fault: Fault, draw: Draw) -> Cut:
    """Return how a fault cuts what leaves; for one that leaves times and sizes alone, into what it is."""
    kind = fault.kind.name
    if kind == "bandwidth":
        rate = fault.number("rate")
        size = max(1, int(rate / _PIECES_A_SECOND))
        return lambda data: [(piece, len(piece) / rate, 0.0) for piece in _slices(data, size)]
    if kind == "slicer":
        return _slicer(fault, draw)
    return lambda data: [(data, 0.0, 0.0)]


def _slices(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def _slicer(fault: Fault, draw: Draw) -> Cut:
    average, delay = int(fault.number("average_size")), fault.number("delay")
    variation = min(int(fault.number("size_variation")), average - 1)

    def cut(data: bytes) -> list[tuple[bytes, float, float]]:
        pieces = []
        at = 0
        while at < len(data):
            size = average
            if variation:
                size += int((2 * draw.next() - 1) * (variation + 1))
            pieces.append((data[at : at + size], 0.0, delay))
            at += size
        return pieces

    return cut


class Shaper:
    """Sends what is added when its time has come, in order.

    `on_room` is called when there is room again after there was none. `late` gives the seconds by which each addition
    is late.
    """

    def __init__(
        self,
        timers: Timers,
        send: typing.Callable[[bytes], object],
        on_room: typing.Callable[[], object],
        cut: Cut,
        late: typing.Callable[[], float] | None = None,
    ) -> None:
        self._timers = timers
        self._send = send
        self._on_room = on_room
        self._cut = cut
        self._late = late
        self._waiting: collections.deque[tuple[float, bytes | typing.Callable[[], object]]] = collections.deque()
        self._waiting_bytes = 0
        self._last_due = -math.inf  # when the last that was added has passed
        self._timer: Timer | None = None
        self._is_paused = False
        self._was_full = False
        self._sent_at_once = 0

    @property
    def is_full(self) -> bool:
        """Whether whoever makes the bytes is to pause."""
        self._was_full = self._waiting_bytes > MOST_WAITING_BYTES
        return self._was_full

    def add(self, data: bytes) -> None:
        """Send bytes when their time has come."""
        due = max(self._last_due, self._timers.time() + (self._late() if self._late is not None else 0.0))
        for piece, seconds, behind in self._cut(data):
            due += seconds
            self._waiting.append((due, piece))
            self._waiting_bytes += len(piece)
            due += behind
        self._last_due = due
        self._run()

    def wait(self, seconds: float) -> None:
        """Let what is added from now on wait so many seconds longer."""
        self._last_due = max(self._last_due, self._timers.time()) + seconds

    def then(self, call: typing.Callable[[], object]) -> None:
        """Call this behind all that was added."""
        self._waiting.append((max(self._last_due, self._timers.time()), call))
        self._run()

    def pause(self) -> None:
        """Send nothing for now."""
        self._is_paused = True

    def resume(self) -> None:
        """Send again."""
        self._is_paused = False
        self._run()

    def cancel(self) -> None:
        """Let go of all that waits."""
        self._waiting.clear()
        self._waiting_bytes = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run(self) -> None:
        """Send what is due, unless a timer will."""
        if self._timer is None:
            self._send_due()

    def _ring(self) -> None:
        self._timer = None
        self._sent_at_once = 0
        self._send_due()

    def _send_due(self) -> None:
        now = self._timers.time()
        waiting = self._waiting
        while waiting and waiting[0][0] <= now and not self._is_paused and self._sent_at_once < _PIECES_A_TURN:
            self._sent_at_once += 1
            _, what = waiting.popleft()
            if isinstance(what, bytes):
                self._waiting_bytes -= len(what)
                self._send(what)
            else:
                what()
        if waiting and not self._is_paused and self._timer is None:
            self._timer = self._timers.call_later(max(0.0, waiting[0][0] - now), self._ring)
        if self._was_full and self._waiting_bytes <= MOST_WAITING_BYTES // 2:
            self._was_full = False
            self._on_room()
