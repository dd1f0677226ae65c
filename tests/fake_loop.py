"""An event loop whose time stands still until a test lets it pass."""

from __future__ import annotations

import asyncio
import heapq
import selectors


class NoWaitSelector(selectors.DefaultSelector):
    """Stops its loop where it would wait: nothing more happens until time passes."""

    loop = None

    def select(self, timeout=None):
        if timeout is None or timeout > 0:
            self.loop.stop()
        return super().select(0)


class FakeLoop(asyncio.SelectorEventLoop):
    """A loop in which time passes only in `advance`; `timers` counts those that were set."""

    def __init__(self):
        self.now = 1000.0
        self.timers = 0
        self._whens = []
        selector = NoWaitSelector()
        selector.loop = self
        super().__init__(selector)

    def time(self):
        return self.now

    def call_at(self, when, callback, *args, **options):
        self.timers += 1
        heapq.heappush(self._whens, when)
        return super().call_at(when, callback, *args, **options)

    def settle(self):
        """Run until there is nothing to do at this time."""
        self.run_forever()

    def advance(self, seconds):
        """Let time pass, from timer to timer."""
        self.settle()
        end = self.now + seconds
        while self._whens and self._whens[0] <= end:
            self.now = max(self.now, heapq.heappop(self._whens))
            self.settle()
        self.now = end
        self.settle()
