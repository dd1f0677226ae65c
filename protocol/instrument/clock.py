"""A clock that can be advanced: who waits by it is woken when his time has come by it."""

from __future__ import annotations

import asyncio
import typing


class SettableClock:
    """Tells seconds since the epoch: those of `seconds()`, and what it was advanced by."""

    def __init__(self, seconds: typing.Callable[[], float]) -> None:
        self._seconds = seconds
        self._ahead = 0.0
        self._sleepers: dict[asyncio.Future[None], _Alarm] = {}

    def now(self) -> float:
        """Return the time, in seconds since the epoch."""
        return self._seconds() + self._ahead

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass at once; ValueError for less than none."""
        if not 0 <= seconds < float("inf"):
            raise ValueError("time goes forwards")
        self._ahead += seconds
        now = self.now()
        for sleeper, alarm in self._sleepers.items():
            alarm.timer.cancel()
            alarm.timer = sleeper.get_loop().call_later(max(0.0, alarm.due - now), _wake, sleeper)

    async def sleep(self, seconds: float) -> None:
        """Wait for so many seconds of this clock."""
        loop = asyncio.get_running_loop()
        sleeper: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(max(0.0, seconds), _wake, sleeper)
        alarm = self._sleepers[sleeper] = _Alarm(self.now() + seconds, timer)
        try:
            await sleeper
        finally:
            alarm.timer.cancel()
            del self._sleepers[sleeper]


class _Alarm:
    """When somebody is to be woken, and the timer that will do it."""

    __slots__ = ("due", "timer")

    def __init__(self, due: float, timer: asyncio.TimerHandle) -> None:
        self.due = due
        self.timer = timer


def _wake(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)
