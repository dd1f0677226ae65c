"""The live view by itself: when it is put around the server, what viewers are told, and what slow ones miss."""

from __future__ import annotations

import json

import pytest
from fake_loop import FakeLoop
from mocks import make_request

from protocol.service.live import Live


class Screen:
    """Where a viewer's stream goes."""

    def __init__(self):
        self.blocks = []
        self.is_over = False

    def push(self, data):
        self.blocks.append(data)

    def end(self, data):
        self.is_over = True

    @property
    def told(self):
        """What the blocks say, one after the other."""
        events = [
            json.loads(line[6:]) for block in self.blocks for line in block.split(b"\n") if line.startswith(b"data: ")
        ]
        return [(len(event["rows"]), event["skipped"]) for event in events]


@pytest.fixture
def watched():
    """Give a loop whose time stands still, a live view, and the times at which it was put around the server."""
    loop = FakeLoop()
    switched = []
    live = Live(switched.append, loop, lambda: 1700000000.0, lambda asked: ("mock", asked))
    yield loop, live, switched
    loop.close()


def view(live):
    screen = Screen()
    viewer = live.watch(make_request("GET", "/_oaiserve/live")).body
    viewer.begin(screen)
    return viewer, screen


def note(live, count):
    for _ in range(count):
        live.note(make_request("GET", "/v1/models"), 200, 0.01)


def test_nothing_is_put_around_the_server_while_nobody_watches(watched):
    loop, live, switched = watched
    (first, _), (second, _) = view(live), view(live)
    assert switched == [live]
    first.cancel()
    assert switched == [live]
    second.cancel()
    assert switched == [live, None]
    note(live, 1)
    _, screen = view(live)
    loop.advance(1)
    assert switched == [live, None, live] and screen.told == [], "what came before is told to nobody"


def test_viewers_get_the_same_bytes_and_only_so_many_rows_at_once(watched):
    loop, live, _ = watched
    (_, one), (_, other) = view(live), view(live)
    note(live, 130)
    loop.advance(0.25)
    note(live, 2)
    loop.advance(0.25)
    for _ in range(50):  # a flood: to show them all in its first turns would keep everybody waiting
        note(live, 10)
        loop.advance(0.01)
    loop.advance(0.25)
    assert one.told[:2] == [(25, 105), (2, 0)]
    assert [rows for rows, _ in one.told[2:]] == [pytest.approx(48, abs=2), pytest.approx(25, abs=2)]
    assert sum(rows + skipped for rows, skipped in one.told) == 632
    assert all(mine is theirs for mine, theirs in zip(one.blocks, other.blocks))


def test_many_viewers_leave_others_their_turns(watched):
    """A block that goes to hundreds at once would keep clients waiting meanwhile."""
    loop, live, _ = watched
    screens = [screen for _, screen in (view(live) for _ in range(200))]
    seen = [0]

    def look():
        seen.append(sum(bool(screen.told) for screen in screens))
        if 0 < seen[-1] < len(screens) or len(seen) < 3:
            loop.call_soon(look)

    note(live, 1)
    loop.call_later(0.25, look)
    loop.advance(0.25)
    assert seen[-1] == 200 and max(after - before for before, after in zip(seen, seen[1:])) <= 16
    assert all(screen.told == [(1, 0)] for screen in screens)


def test_a_viewer_that_reads_slowly_misses_rows_and_keeps_nothing(watched):
    loop, live, _ = watched
    (slow, screen), (_, quick) = view(live), view(live)
    slow.pause()
    for _ in range(5):
        note(live, 3)
        loop.advance(0.25)
    assert screen.told == [] and quick.told == [(3, 0)] * 5
    slow.resume()
    note(live, 1)
    loop.advance(0.25)
    assert screen.told == [(0, 15), (1, 0)]


def test_a_silent_stream_says_that_it_lives_and_ends_with_the_service(watched):
    loop, live, switched = watched
    _, screen = view(live)
    loop.advance(31)
    assert screen.blocks == [b": keep-alive\n\n"] * 3
    live.leave()
    assert screen.is_over and switched == [live, None]
