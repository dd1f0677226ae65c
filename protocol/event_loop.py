"""The event loop: asyncio's own, whose timers ring on time.

epoll_wait takes whole milliseconds, so asyncio rounds its waits up, and a timer rings half a millisecond late in the
mean, a whole one at worst. That is seen where many words are due one shortly after the other: with 1,000 streams of 50
words a second, one word in a hundred was 1.6 ms late or more, and is 0.9 now. select() takes microseconds, and an
epoll is a file that can be waited for: so a short wait is one for the epoll to have something, and what that is, it
tells then. It costs a system call, 2 µs, where a timer is near.

And it knows when nothing is to be done. What may wait until then is better done for many events at once than in each
turn: under load a turn has few, and to write the log in each took up to a fifth of a relayed answer's time.
"""

from __future__ import annotations

import asyncio
import select
import selectors
import sys
import typing

# Shorter waits are exact. Longer ones end a little early, and asyncio waits for the rest then: most are ended by
# something else before, and need no second call.
_SHORT_SECONDS = 0.1
# Linux lets a wait be late by a thousandth of it, besides.
_EARLY_SECONDS = 0.05
# What select() takes are descriptors below this number (FD_SETSIZE of glibc and musl).
_SELECTED_DESCRIPTORS = 1024
# Before what waits until nothing is to be done go so many events, and all that are there with the last of them. A turn
# counts besides: it may take long, whatever came in it.
_EVENTS_BEFORE = 64
_EVENTS_A_TURN = 4

_Result = typing.TypeVar("_Result")
_Ready = typing.List[typing.Tuple[selectors.SelectorKey, int]]


def _call(callback: typing.Callable[[], object]) -> object:
    return callback()


if sys.platform == "linux":
    _select = selectors.EpollSelector.select  # `super()` would be another call, each turn

    class PunctualSelector(selectors.EpollSelector):
        """An epoll that is waited for in microseconds, by `wait`. Its own descriptor must be below 1024."""

        def __init__(self, wait: typing.Callable[..., tuple[list[int], list[int], list[int]]] = select.select) -> None:
            super().__init__()
            self._wait = wait
            #: What is to be called when nothing else is to be done, or after some more events, by `call_soon`.
            self.put_off: list[typing.Callable[[], object]] = []
            self.call_soon: typing.Callable[[typing.Callable[[], object]], object] = _call
            self._events = 0  # since there is something that was put off

        def select(self, timeout: float | None = None) -> _Ready:
            """Return what is ready, after `timeout` seconds at the latest, or nothing a little before.

            None is for ever (BaseSelector). Nobody waits where something was put off.
            """
            if self.put_off:
                ready = _select(self, 0.0)
                self._events += _EVENTS_A_TURN + (len(ready) if ready else 0)
                is_busy = ready or (timeout is not None and timeout <= 0.0)
                if not is_busy or self._events >= _EVENTS_BEFORE:
                    self._events = 0
                    for callback in self.put_off:
                        self.call_soon(callback)
                    del self.put_off[:]
                return ready
            if timeout is None or timeout <= 0.0:
                return _select(self, timeout)
            if timeout >= _SHORT_SECONDS:
                return _select(self, timeout - _EARLY_SECONDS)
            return _select(self, 0.0) if self._wait((self.fileno(),), (), (), timeout)[0] else []

    class PunctualLoop(asyncio.SelectorEventLoop):
        """asyncio's loop with such a selector.

        `call_when_idle` does what `call_soon` does, once nothing else is to be done, or after 64 more events or so.
        """

        def __init__(self, selector: PunctualSelector) -> None:
            super().__init__(selector)
            selector.call_soon = self.call_soon
            self.call_when_idle = selector.put_off.append


def new_loop() -> asyncio.AbstractEventLoop:
    """Return a new event loop; elsewhere than on Linux it is asyncio's usual one."""
    if sys.platform == "linux":
        selector = PunctualSelector()
        if selector.fileno() < _SELECTED_DESCRIPTORS:
            return PunctualLoop(selector)
        selector.close()
        return asyncio.SelectorEventLoop()  # what the policy makes, which may be ours and ask here
    return asyncio.new_event_loop()


def caller_when_idle(loop: asyncio.AbstractEventLoop) -> typing.Callable[[typing.Callable[[], object]], object]:
    """Return the loop's `call_when_idle`, or `call_soon` of a loop that is not ours."""
    call: typing.Callable[[typing.Callable[[], object]], object] = getattr(loop, "call_when_idle", loop.call_soon)
    return call


def run_coroutine(main: typing.Coroutine[typing.Any, typing.Any, _Result]) -> _Result:
    """Run a coroutine in a new loop, as asyncio.run does."""
    if sys.platform != "linux":
        return asyncio.run(main)
    if sys.version_info >= (3, 11):
        with asyncio.Runner(loop_factory=new_loop) as runner:
            return runner.run(main)
    else:  # asyncio.run takes the loop that the policy of the whole process makes
        asyncio.set_event_loop_policy(_Policy())
        return asyncio.run(main)


if sys.version_info < (3, 11):

    class _Policy(asyncio.DefaultEventLoopPolicy):
        def new_event_loop(self) -> asyncio.AbstractEventLoop:
            return new_loop()
