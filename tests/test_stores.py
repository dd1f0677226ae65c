"""Stores of what was taken: each keeps to the same rules, wherever it keeps it."""

from __future__ import annotations

from protocol.limiter import Calendar, Claim, Window
from protocol.team.stores.memory import MemoryStore
from protocol.team.stores.store import Place

MINUTE = 60_000


class Clock:
    """A clock that is set, in seconds."""

    def __init__(self, seconds=1_700_000_000.0):
        self.seconds = seconds

    def __call__(self):
        return self.seconds


def test_takes_settles_and_tells_when():
    clock = Clock()
    store = MemoryStore(clock)
    claims = [Claim("key:a:tokens", Window(100, MINUTE), 60), Claim("key:a:money", Calendar(1000, "month"), 600)]
    is_in, standings, at = store.take(claims)
    assert is_in and [one.remaining for one in standings] == [40, 400] and at == 1_700_000_000_000
    assert not store.take(claims)[0]
    store.settle(claims, [10, 100], at)
    assert [one.remaining for one in store.take(claims)[1]] == [30, 300]


def test_places_are_occupied_all_or_none():
    store = MemoryStore(Clock())
    key, team = Place("key:a", 2), Place("team:web", 3)
    assert store.enter([key, team]) is None and store.enter([key, team]) is None
    assert store.enter([key, team]) == key
    assert store.enter([Place("key:b", 9), team]) is None
    assert store.enter([Place("key:b", 1), team]) == Place("key:b", 1)
    assert store.enter([Place("key:c", 1), team]) == team
    store.leave([key, team])
    assert store.enter([Place("key:c", 1), team]) is None  # of which nothing was occupied when the team had no room
    store.leave([key, team])
    assert store.enter([key]) is None
