"""Which store a server has."""

from __future__ import annotations

import typing

from protocol.on_demand import load
from protocol.team.stores.store import Store


def choose(
    clock: typing.Callable[[], float],
    path: str = "",
    *,
    url: str = "",
    when_down: str = "closed",
    say: typing.Callable[[str], object] = print,
    call_soon: typing.Callable[[typing.Callable[[], object]], object] | None = None,
) -> Store:
    """Return the store of a server that is one process, or with a `path` that of the workers who all name this file.

    With the `url` of a Redis or Valkey (stores/redis_address.py) it is kept there, and each process connects for
    itself, in its running loop. `when_down` says what becomes of requests while it cannot be reached: "closed", "open"
    or "local"; `say` writes a line to the log when it goes and when it comes. `clock` gives the time in seconds since
    1970. `call_soon`, where the process has no other store, has a call made when the loop's turn is over. UsageError
    for a URL that is none, OSError where the file cannot be had.
    """
    if url:
        redis_store, read_address = load("limits in Redis")
        there: Store = redis_store(read_address(url), when_down, clock, say)
        return there
    if path:
        (shared_store,) = load("limits of a host")
        shared: Store = shared_store(path, clock, call_soon)
        return shared
    (memory_store,) = load("limits of a process")
    memory: Store = memory_store(clock)
    return memory
