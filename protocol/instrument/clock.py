"""A clock that can be advanced: who waits by it is woken when his time has come by it."""

from __future__ import annotations

import asyncio
import typing
import weakref

from protocol.exchange import Follower
from protocol.pacer import Pacer


class SettableClock:
    """Tells seconds since the epoch: those of `seconds()`, and what it was advanced by."""

    def __init__(self, seconds: typing.Callable[[], float]) -> None:
        self._seconds = seconds
        self._ahead = 0.0
        self._alarms: dict[_Alarm, None] = {}
        self._pacer: Pacer | None = None
        self._followers: weakref.WeakSet[Follower] = weakref.WeakSet()

    def now(self) -> float:
        """Return the time, in seconds since the epoch."""
        return self._seconds() + self._ahead

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass at once; ValueError for less than none."""
        if not 0 <= seconds < float("inf"):
            raise ValueError("time goes forwards")
        self._ahead += seconds
        for follower in list(self._followers):
            follower.advance(seconds)
        loop, now = asyncio.get_running_loop(), self.now()
        for alarm in self._alarms:
            alarm.timer.cancel()
            alarm.timer = loop.call_later(max(0.0, alarm.due - now), alarm.ring)

    def count_moves(self) -> typing.Callable[[], float]:
        """Return what tells by how many seconds time was advanced since now."""
        before = self._ahead
        return lambda: self._ahead - before

    def follow(self, follower: Follower) -> None:
        """Let a follower know by how much time goes ahead, for as long as somebody else holds it."""
        self._followers.add(follower)

    def pacer(self) -> Pacer:
        """Return timers that go by this clock, in the running loop."""
        if self._pacer is None:
            self._pacer = Pacer(asyncio.get_running_loop())
            self.follow(self._pacer)
        return self._pacer

    async def sleep(self, seconds: float) -> None:
        """Wait for so many seconds of this clock."""
        sleeper: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        alarm = self.call_later(seconds, lambda: _wake(sleeper))
        try:
            await sleeper
        finally:
            alarm.cancel()

    def time(self) -> float:
        """Return the time, as an event loop does."""
        return self.now()

    def call_later(self, delay: float, callback: typing.Callable[[], object]) -> _Alarm:
        """Call back after so many seconds of this clock, as an event loop does."""
        return _Alarm(self._alarms, self.now() + delay, max(0.0, delay), callback)


class _Alarm:
    """Somebody to be called when it is `due`, and the timer that will do it; it is among `alarms` until then."""

    __slots__ = ("_alarms", "_callback", "due", "timer")

    def __init__(
        self, alarms: dict[_Alarm, None], due: float, delay: float, callback: typing.Callable[[], object]
    ) -> None:
        self._alarms = alarms
        self._callback = callback
        self.due = due
        self.timer = asyncio.get_running_loop().call_later(delay, self.ring)
        alarms[self] = None

    def ring(self) -> None:
        """Call."""
        del self._alarms[self]
        self._callback()

    def cancel(self) -> None:
        """Call nobody any more."""
        self.timer.cancel()
        self._alarms.pop(self, None)


def _wake(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)
