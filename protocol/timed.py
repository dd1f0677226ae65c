"""Frames that leave at times of their own: the body of an answer whose words take their time."""

from __future__ import annotations

import typing

from protocol.exchange import Paced, Pushed, Sink
from protocol.pacer import Pacer


class PacedFrames(Pushed):
    """A body whose frames leave at `times`, in seconds after `start` was called; there is one frame at least.

    Those that are late leave together, so that it falls behind no further. Whoever reads too slowly gets what was due
    meanwhile when he reads again.
    """

    __slots__ = (
        "_at", "_frames", "_has_timer", "_pacer", "_runs", "_sink", "_start", "_times", "ends_at"
    )  # fmt: skip

    def __init__(self, frames: typing.Sequence[bytes], times: typing.Sequence[float], pacer: Pacer) -> None:
        self._frames = frames
        self._times = times
        self._pacer = pacer
        self._sink: Sink | None = None
        self._start: float | None = None
        self._at = 0
        self._runs = False  # whether the client takes what comes
        self._has_timer = False
        #: When the last frame is due, in the pacer's time, as soon as that is known.
        self.ends_at = float("inf")

    @property
    def held_bytes(self) -> int:
        # What is no list makes its frames when they are due.
        return sum(map(len, self._frames)) if type(self._frames) is list else 0

    def begin(self, sink: Sink) -> None:
        """Send to `sink` from now on."""
        self._sink = sink
        self.resume()

    def start(self, when: float) -> None:
        """Begin at `when`, in the pacer's time; it may be a little before now."""
        self._start = when
        self.ends_at = when + self._times[-1]
        self._set_timer()

    def resume(self) -> None:
        """Send again."""
        self._runs = True
        self._set_timer()

    def pause(self) -> None:
        """Send no more for now."""
        self._runs = False

    def cancel(self) -> None:
        """Stop: the client has gone."""
        self._runs = False
        # The pacer keeps this body until it would have been due; what the request held goes now.
        self._frames, self._sink = (), None
        self.leave(self._pacer.time())

    def leave(self, when: float) -> None:
        """Learn that it is over, in the pacer's time; perhaps twice."""

    def _set_timer(self) -> None:
        if self._start is not None and self._runs and not self._has_timer and self._at < len(self._frames):
            self._has_timer = True
            self._pacer.add(self._start + self._times[self._at], self)

    def send_due(self, by: float) -> float | None:
        """Send the frames that are due, and return when the next one is; called by the pacer."""
        sink, start = self._sink, self._start
        if not self._runs or sink is None or start is None:
            self._has_timer = False
            return None
        frames, times, first = self._frames, self._times, self._at
        elapsed, at, count = by - start, first + 1, len(frames)
        while at < count and times[at] <= elapsed:
            at += 1
        data = frames[first] if at == first + 1 else b"".join(frames[first:at])
        self._at = at
        if at < count:
            sink.push(data)
            return start + times[at]
        self._runs = self._has_timer = False
        self.leave(self.ends_at)
        sink.end(data)
        return None


def timed_frames(paced: Paced, pacer: Pacer, start: float) -> PacedFrames:
    """Return a paced body that sends itself; its time begins at `start`, in the pacer's time."""
    frames = paced.frames or (b"",)
    timed = PacedFrames(frames, [paced.first_delay + number * paced.delay for number in range(len(frames))], pacer)
    timed.start(start)
    return timed
