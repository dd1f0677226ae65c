"""The lazy timer: when it calls, when it does not, and how few timers it takes."""

from __future__ import annotations

import gc
import math
import weakref

import pytest
from fake_loop import FakeLoop

from protocol.deadline import Deadline


class Watch:
    """A deadline on a fake loop, and the seconds after the start at which it passed."""

    def __init__(self, loop):
        self.loop = loop
        self.start = loop.now
        self.passed = []
        self.deadline = Deadline(loop, self.note)

    def note(self):
        assert self.deadline.when == 0.0
        self.passed.append(self.loop.now - self.start)


@pytest.fixture
def loop():
    loop = FakeLoop()
    yield loop
    loop.close()


@pytest.fixture
def watch(loop):
    return Watch(loop)


def test_nothing_is_called_and_no_timer_is_set_without_a_deadline(loop, watch):
    loop.advance(100.0)
    assert watch.passed == [] and loop.timers == 0


def test_a_deadline_passes_once(loop, watch):
    watch.deadline.expire_in(5.0)
    loop.advance(4.999)
    assert watch.passed == []
    loop.advance(100.0)
    assert watch.passed == [5.0]


def test_a_deadline_that_is_due_passes_in_the_next_turn(loop, watch):
    watch.deadline.expire_in(0.0)
    assert watch.passed == []
    loop.settle()
    assert watch.passed == [0.0]


def test_a_deadline_moved_later_by_assignment_passes_there(loop, watch):
    watch.deadline.expire_in(5.0)
    watch.deadline.when += 2.5
    loop.advance(7.4)
    assert watch.passed == []
    loop.advance(0.1)
    assert watch.passed == [7.5]


def test_a_deadline_moved_earlier_passes_there(loop, watch):
    watch.deadline.expire_in(60.0)
    watch.deadline.expire_in(1.0)
    loop.advance(100.0)
    assert watch.passed == [1.0]


def test_a_deadline_taken_away_does_not_pass(loop, watch):
    watch.deadline.expire_in(5.0)
    watch.deadline.when = 0.0
    loop.advance(100.0)
    assert watch.passed == []


def test_a_deadline_set_again_before_the_old_timer_rings_needs_no_other_timer(loop, watch):
    watch.deadline.expire_in(5.0)
    watch.deadline.when = 0.0
    loop.advance(1.0)
    watch.deadline.expire_in(5.0)
    assert loop.timers == 1
    loop.advance(100.0)
    assert watch.passed == [6.0] and loop.timers == 2


def test_a_thousand_moves_take_one_timer_for_each_span_of_the_limit(loop, watch):
    for _ in range(1000):
        watch.deadline.when = 0.0
        watch.deadline.expire_in(5.0)
        loop.advance(0.01)
    assert watch.passed == [] and loop.timers <= 3


def test_an_infinite_deadline_never_passes(loop, watch):
    watch.deadline.expire_in(math.inf)
    loop.advance(1e5)
    assert watch.passed == []
    watch.deadline.expire_in(1.0)
    loop.advance(1.0)
    assert watch.passed == [1e5 + 1.0]


def test_the_next_deadline_may_be_set_where_one_passes(loop, watch):
    def note_and_set():
        watch.passed.append(loop.now - watch.start)
        if len(watch.passed) < 3:
            deadline.expire_in(2.0)

    deadline = Deadline(loop, note_and_set)
    deadline.expire_in(2.0)
    loop.advance(100.0)
    assert watch.passed == [2.0, 4.0, 6.0]


def test_a_closed_deadline_does_not_pass(loop, watch):
    watch.deadline.expire_in(5.0)
    watch.deadline.close()
    loop.advance(100.0)
    assert watch.passed == []


def test_a_closed_deadline_leaves_its_owner_to_no_collector(loop):
    watch = Watch(loop)
    watch.deadline.expire_in(5.0)
    gc.disable()
    try:
        watch.deadline.close()
        loop.advance(100.0)
        gone = weakref.ref(watch)
        del watch
        assert gone() is None
    finally:
        gc.enable()
