"""An event loop on real sockets that does not wait: where nothing is left to do, its clock goes to the next timer.

A test of time limits and pauses runs in it as fast as the machine allows, and how busy the machine is changes nothing:
work takes no time on this clock, a pause takes exactly what it says.
"""

from __future__ import annotations

import asyncio
import gc
import selectors
import time
from collections.abc import Awaitable, Callable
from typing import Any

# What is on its way within the kernel arrives at once, as a rule; this long we wait in case it does not.
_UNDER_WAY_SECONDS = 0.001

# A sum of floats may fall short of a timer by its last digit: without this such a timer would be due, and never past.
_TICK_SECONDS = 1e-9


class _SkippingSelector(selectors.DefaultSelector):
    loop: SkippingLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        if self.loop.threads:
            # Time passes as for everybody, because a thread may be waiting for one of our timers.
            began = time.monotonic()
            ready = super().select(timeout)
            self.loop.now += time.monotonic() - began
            return ready
        ready = super().select(0) or super().select(_UNDER_WAY_SECONDS)
        if not ready:
            self.loop.now += timeout + _TICK_SECONDS
        return ready


class SkippingLoop(asyncio.SelectorEventLoop):
    """The loop; `now` is its clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        #: Calls in other threads that have not come back.
        self.threads = 0
        selector = _SkippingSelector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        self.threads += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._came_back)
        return future

    def _came_back(self, _: asyncio.Future[Any]) -> None:
        self.threads -= 1


def run(main: Callable[[], Awaitable[None]], *, debug: bool = False) -> None:
    """Run a test's coroutine in such a loop; nothing may be left running, and nothing unclosed."""

    async def wrapped() -> None:
        await main()
        turns = 50
        while left := asyncio.all_tasks() - {asyncio.current_task()}:
            assert turns, left
            turns -= 1
            await asyncio.sleep(0.001)

    loop = SkippingLoop()
    loop.set_debug(debug)
    try:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(wrapped())
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        asyncio.set_event_loop(None)
        loop.close()
    gc.collect()  # an unclosed socket or a lost exception is a warning, and so an error
