"""Which store a server has."""

from __future__ import annotations

import typing

from protocol.on_demand import load
from protocol.team.stores.store import Store


def choose(clock: typing.Callable[[], float]) -> Store:
    """Return the store of a server that is one process; `clock` gives the time in seconds since 1970."""
    (memory_store,) = load("limits of a process")
    store: Store = memory_store(clock)
    return store
