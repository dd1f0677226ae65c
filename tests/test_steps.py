"""tests/steps.py and tests/skipping.py: what other tests measure with, held against work of a known kind."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest
from skipping import run
from steps import assert_grows_in_proportion, steps_of


def test_steps_are_calls_of_functions_generators_and_built_ins():
    def work():
        assert sum(len(word) for word in ("a", "b", "c")) == 3

    # A sum, four turns of the generator and three lengths.
    assert steps_of(work) - steps_of(lambda: None) == 8


def test_what_work_raises_goes_on_and_ends_the_counting():
    with pytest.raises(ZeroDivisionError):
        steps_of(lambda: 1 // 0)
    assert steps_of(lambda: None) <= 2


@pytest.mark.parametrize("kind", ["constant", "in proportion", "logarithmic beside"])
def test_work_in_proportion_passes(kind):
    turns = {"constant": lambda size: 9, "in proportion": lambda size: size}.get(
        kind, lambda size: size + 100 * size.bit_length()
    )
    assert_grows_in_proportion(lambda size: [len(b"") for _ in range(turns(size))], 2000)


def test_work_with_the_square_fails():
    with pytest.raises(AssertionError, match="steps for 50"):
        assert_grows_in_proportion(lambda size: [len(b"") for _ in range(size * size)], 50)


def test_pauses_take_exactly_what_they_say_and_none_of_ours():
    async def main():
        loop = asyncio.get_running_loop()
        began = loop.time()
        order = []
        await asyncio.gather(*(note_after(seconds, order) for seconds in (3600, 60, 7200)))
        assert order == [60, 3600, 7200]
        assert loop.time() - began == pytest.approx(7200, abs=1e-3)

    run(main)  # two hours: without skipping, the test's time limit would end it


async def note_after(seconds, order):
    await asyncio.sleep(seconds)
    order.append(seconds)


def test_what_comes_by_a_socket_comes_before_a_later_timer():
    async def main():
        near, far = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=near)
        with far:
            asyncio.get_running_loop().call_later(5, far.send, b"x")
            assert await asyncio.wait_for(reader.read(1), 6) == b"x"
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(reader.read(1), 6)
        writer.close()
        await writer.wait_closed()

    run(main)


def test_a_thread_is_waited_for_and_no_timer_overtakes_it():
    async def main():
        work = asyncio.get_running_loop().run_in_executor(None, time.sleep, 0.05)
        await asyncio.wait_for(work, 20)

    run(main)


def test_a_task_that_is_left_over_fails_the_test():
    async def main():
        asyncio.get_running_loop().create_task(asyncio.sleep(3600))

    with pytest.raises(AssertionError, match="sleep"):
        run(main)
