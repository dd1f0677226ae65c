"""The loop whose timers ring on time: it waits as asked, hears whoever speaks meanwhile, and is the program's own."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import select
import socket
import sys
import types

import pytest

import oaiserve
from protocol import event_loop
from protocol.event_loop import caller_when_idle, new_loop, run_coroutine

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is an epoll on Linux alone")


def punctual_selectors() -> set[int]:
    """Return which selectors of the kind are open in this process."""
    kind = event_loop.PunctualSelector
    return {id(one) for one in gc.get_objects() if type(one) is kind and one.get_map() is not None}


@pytest.mark.parametrize(
    "timeout, waited",
    [(0.0004, [0.0004]), (0.0996, [0.0996]), (0.0, []), (-1.0, []), (0.1, []), (30.0, []), (None, [])],
)
def test_a_short_wait_is_exact_and_a_long_one_is_left_to_epoll(timeout: float | None, waited: list[float]) -> None:
    came: list[float] = []

    def wait(readable, writable, exceptional, seconds):
        came.append(seconds)
        return list(readable), [], []

    one, other = socket.socketpair()
    with one, other, event_loop.PunctualSelector(wait) as selector:
        key = selector.register(one, 1, "data")
        other.send(b"x")  # so that epoll has something, and none of these waits lasts
        assert selector.select(timeout) == [(key, 1)]
    assert came == waited


def test_a_long_wait_ends_before_its_time_and_asyncio_waits_exactly_for_the_rest() -> None:
    waited: list[float] = []

    async def main() -> None:
        for _ in range(50):  # on a busy machine epoll may be late by as much
            await asyncio.sleep(0.12)
            if waited:
                break

    def wait(readable, writable, exceptional, seconds):
        waited.append(seconds)
        return select.select(readable, writable, exceptional, seconds)

    loop = asyncio.SelectorEventLoop(event_loop.PunctualSelector(wait))
    loop.run_until_complete(main())
    loop.close()
    assert waited and max(waited) < 0.1


def test_nothing_has_come_when_a_short_wait_is_over() -> None:
    one, other = socket.socketpair()
    with one, other, event_loop.PunctualSelector() as selector:
        selector.register(one, 1)
        assert selector.select(0.0002) == []
        other.send(b"x")
        assert [key.fileobj for key, _ in selector.select(0.0002)] == [one]


def test_a_coroutine_runs_in_such_a_loop_and_what_it_leaves_is_cancelled() -> None:
    before, seen = punctual_selectors(), []

    async def lasting() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            seen.append("cancelled")

    async def main() -> str:
        task = asyncio.ensure_future(lasting())
        await asyncio.sleep(0.0003)
        seen.append(len(punctual_selectors() - before))
        return "done" if not task.done() else ""

    assert run_coroutine(main()) == "done"
    assert seen == [1, "cancelled"]


def test_what_a_coroutine_raises_is_raised() -> None:
    async def main() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run_coroutine(main())


def test_a_server_of_a_program_has_such_a_loop() -> None:
    before = punctual_selectors()
    with oaiserve.start(backend="mock"):
        assert len(punctual_selectors() - before) == 1


def test_a_loop_whose_descriptor_select_cannot_take_is_the_usual_one() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 1100
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip("so many descriptors are not allowed here")
    before = punctual_selectors()
    with contextlib.ExitStack() as opened:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
        opened.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        taken = os.open(os.devnull, os.O_RDONLY)
        opened.callback(os.close, taken)
        while taken < 1024:
            taken = os.dup(taken)
            opened.callback(os.close, taken)
        loop = new_loop()
        opened.callback(loop.close)
        assert punctual_selectors() == before
        assert loop.run_until_complete(asyncio.sleep(0.0003, "woken")) == "woken"


def test_elsewhere_a_coroutine_runs_in_asyncio_s_usual_loop(monkeypatch) -> None:
    asyncio.set_event_loop_policy(None)  # the usual one: another test may have set ours
    before = asyncio.get_event_loop_policy()
    elsewhere = types.SimpleNamespace(platform="darwin", version_info=sys.version_info)
    monkeypatch.setattr(event_loop, "sys", elsewhere)
    assert run_coroutine(asyncio.sleep(0, "ran")) == "ran"
    assert asyncio.get_event_loop_policy() is before


# ---- what waits until nothing is to be done


def test_what_was_put_off_is_called_when_nothing_has_come() -> None:
    one, other = socket.socketpair()
    called: list[str] = []
    with one, other, event_loop.PunctualSelector() as selector:
        key = selector.register(one, 1)
        other.send(b"x")
        selector.put_off += [lambda: called.append("first"), lambda: called.append("second")]
        assert selector.select(None) == [(key, 1)] and called == []
        one.recv(1)
        assert selector.select(0.0) == [] and called == [], "somebody else is to be called before"
        assert selector.select(None) == [] and called == ["first", "second"], "nobody waits before they have been"
        assert selector.put_off == []
        other.send(b"x")
        assert selector.select(None) == [(key, 1)] and called == ["first", "second"]


@pytest.mark.parametrize("count, most_turns", [(0, 16), (1, 13), (12, 4), (100, 1)])
def test_what_was_put_off_is_called_after_some_events_though_more_come(count: int, most_turns: int) -> None:
    called: list[int] = []
    with contextlib.ExitStack() as opened:
        selector = opened.enter_context(event_loop.PunctualSelector())
        for _ in range(count):
            one, other = (opened.enter_context(end) for end in socket.socketpair())
            selector.register(one, 1)
            other.send(b"x")
        for _ in range(3):
            selector.put_off.append(lambda: called.append(1))
            turns = 0
            while not called:
                assert len(selector.select(0.0)) == count
                turns += 1
            assert turns == most_turns
            called.clear()


def test_the_loop_calls_it_once_and_as_it_calls_what_is_soon() -> None:
    order: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        call = caller_when_idle(loop)
        call(lambda: order.append("idle"))
        loop.call_soon(lambda: order.append("soon"))
        await asyncio.sleep(0)
        assert order == ["soon"]
        await asyncio.sleep(0.01)
        assert order == ["soon", "idle"]
        call(lambda: 1 / 0)  # is told to the loop's handler, and ends nothing
        loop.set_exception_handler(lambda _, context: order.append(type(context["exception"]).__name__))
        await asyncio.sleep(0.01)
        call(lambda: order.append("again"))
        for _ in range(17):  # it is never idle
            await asyncio.sleep(0)

    run_coroutine(main())
    assert order == ["soon", "idle", "ZeroDivisionError", "again"]


def test_in_a_loop_that_is_not_ours_it_is_soon() -> None:
    with contextlib.closing(asyncio.SelectorEventLoop()) as loop:
        assert caller_when_idle(loop) == loop.call_soon
