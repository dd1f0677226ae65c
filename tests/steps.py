"""Counting what a piece of work costs, where a clock would also measure how busy the machine is.

A step is a call, of a Python function, a generator's next turn or a built-in. What happens within a built-in, say the
search of a pattern, is one step however long it takes: where that is what could grow, a test takes so much input that
work with the square of it would not end within the time limit of every test, by far.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from protocol.budget import work_with_pauses


def steps_of(work: Callable[[], object]) -> int:
    """Do the work and return its steps, in this thread and in those that it begins; what it raises goes on."""
    count = 0

    def on_profile(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        if event in ("call", "c_call"):
            count += 1

    _profiled(work, on_profile)
    return count


def _profiled(work: Callable[[], object], on_profile: Callable[[FrameType, str, Any], None]) -> None:
    """Do the work with a profile function set, in this thread and in those that it begins."""
    before = sys.getprofile()
    threading.setprofile(on_profile)
    sys.setprofile(on_profile)
    try:
        work()
    finally:
        sys.setprofile(before)
        threading.setprofile(None)


def assert_grows_in_proportion(work: Callable[[int], object], size: int, slack: int = 300) -> None:
    """Fail when twice the size costs more than twice the steps, give or take what is done once.

    Work with the square of the size would cost four times as many.
    """
    work(size // 2)  # what is made at the first use, and kept
    once, twice = steps_of(lambda: work(size)), steps_of(lambda: work(2 * size))
    assert twice <= 2.3 * once + slack, f"{once} steps for {size}, {twice} for {2 * size}"


def longest_turn(work: Callable[[], object]) -> int:
    """Do work that runs an event loop; return the steps of its longest callback, in whichever thread they are taken."""
    longest = count = 0
    turn = asyncio.Handle._run.__code__

    def on_profile(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal longest, count
        if event in ("call", "c_call"):
            count += 1
            if event == "call" and frame.f_code is turn:
                count = 0
            elif count > longest:
                longest = count

    _profiled(work, on_profile)
    return longest


def steps_of_turns(work: Callable[[], object]) -> list[int]:
    """Do work that pauses (protocol/turns.py) and return the steps of each of its turns."""
    turns = []
    count = 0

    def on_profile(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        if event in ("call", "c_call"):
            count += 1

    def pause() -> None:
        nonlocal count
        turns.append(count)
        count = 0

    before = sys.getprofile()
    sys.setprofile(on_profile)
    try:
        work_with_pauses(pause, work)
    finally:
        sys.setprofile(before)
    return [*turns, count]
