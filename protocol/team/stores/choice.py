"""Which store a server has."""

from __future__ import annotations

import typing

from protocol.on_demand import load
from protocol.team.stores.store import Store


def choose(clock: typing.Callable[[], float], path: str = "") -> Store:
    """Return the store of a server that is one process, or with a `path` that of the workers who all name this file.

    `clock` gives the time in seconds since 1970. OSError where the file cannot be had. A worker calls it itself.
    """
    if path:
        (shared_store,) = load("limits of a host")
        shared: Store = shared_store(path, clock)
        return shared
    (memory_store,) = load("limits of a process")
    memory: Store = memory_store(clock)
    return memory
