"""How the backends of a configuration are made, for the routes that lead to them."""

from __future__ import annotations

import asyncio
import os
import random
import time
import typing

from protocol.config import BackendSettings, Settings
from protocol.errors import UsageError
from protocol.exchange import Answer, Backend, Request
from protocol.on_demand import load
from protocol.program.kinds import KINDS
from protocol.program.routed import routed_kinds
from protocol.relay.settings import RelaySettings
from protocol.service.log import Log


class _Surroundings(typing.NamedTuple):
    """What a backend may need beside its settings.

    By `instance`, a token that all workers share, a server recognizes a request of its own that comes back to it.
    `workers` is how many processes serve; `has_fallback` says that some route has another backend behind this one.
    `forward` sends a request that the backend has made itself through the routes; it works once the router is
    there. `max_body` is the most bytes of a body that a backend may hold. `part` returns the values of a section
    that a backend refers to.
    """

    log: Log
    environ: typing.Mapping[str, str]
    instance: str
    has_fallback: bool
    workers: int
    forward: typing.Callable[[Request], Answer]
    max_body: int
    part: typing.Callable[[str, str], typing.Any]


def _make_mock(backend: BackendSettings, around: _Surroundings) -> Backend:
    (mock,) = load("mock")
    made: Backend = mock(
        backend.name, backend.options, clock=time.time, random_bits=random.Random().getrandbits, sleep=asyncio.sleep,
        forward=around.forward, max_body=around.max_body, find_pace=lambda name: around.part("pace", name),
    )  # fmt: skip
    return made


def _make_relay(backend: BackendSettings, around: _Surroundings) -> Backend:
    (relay,) = load("relay")
    made: Backend = relay(
        backend.name, backend.options, around.environ, around.log,
        has_fallback=around.has_fallback, instance=around.instance, max_body=around.max_body,
    )  # fmt: skip
    return _with_cassette(made, backend.options, around) if is_recorded(backend) else made


def is_recorded(backend: BackendSettings) -> bool:
    """Tell whether a backend is a relay with a cassette."""
    return backend.kind == "relay" and bool(backend.options.cassette)


def _with_cassette(relay: Backend, options: RelaySettings, around: _Surroundings) -> Backend:
    if options.cassette_mode != "replay" and around.workers != 1:
        raise UsageError(
            f"[relay] cassette_mode = {options.cassette_mode}: one process writes a cassette; set workers = 1"
        )
    deck, tape = load("cassette")
    made: Backend = deck(
        relay, tape(options.cassette, relay.origin), options.cassette_mode, pace=options.cassette_pace,
        neutral=options.cassette_ignores, say=around.log.say,
    )  # fmt: skip
    return made


def _make_dashscope(backend: BackendSettings, around: _Surroundings) -> Backend:
    (dashscope,) = load("dashscope")
    made: Backend = dashscope(
        backend.name, backend.options, around.environ, around.log, has_fallback=around.has_fallback,
        clock=time.time, random_bits=random.Random().getrandbits, sleep=asyncio.sleep, max_body=around.max_body,
    )  # fmt: skip
    return made


_MAKERS = {"mock": _make_mock, "relay": _make_relay, "dashscope": _make_dashscope}


def make_backends(
    settings: Settings,
    log: Log,
    instance: str,
    forward: typing.Callable[[Request], Answer],
    kept: typing.Mapping[str, Backend],
) -> dict[str, Backend]:
    """Return the backends that a route names, by name; UsageError where their settings cannot work.

    Those that are `kept` need not be made.
    """
    backends: dict[str, Backend] = {}
    for backend in settings.backends:
        routes = [route.backends for route in settings.routes if backend.name in route.backends]
        if routes and backend.name in kept:
            backends[backend.name] = kept[backend.name]
        elif routes:
            has_fallback = any(names[-1] != backend.name for names in routes)
            around = _Surroundings(
                log, os.environ, instance, has_fallback, settings.server.workers, forward, settings.server.max_body,
                settings.part,
            )  # fmt: skip
            backends[backend.name] = _MAKERS[backend.kind](backend, around)
    return backends


def key_holders_of(backends: typing.Mapping[str, Backend]) -> tuple[str, ...]:
    """Return the names of the backends that send a key of the owner's for whoever calls."""
    return tuple(name for name, backend in backends.items() if backend.holds_key)


def descriptors_each(settings: Settings) -> int:
    """Return how many descriptors a client's connection may take."""
    return max((KINDS[kind].descriptors for kind in routed_kinds(settings)), default=1)


def most_connections_of(settings: Settings) -> int:
    """Return how many connections there may be: max_connections, or fewer where open files have a limit."""
    most: int = settings.server.max_connections
    if os.name == "posix":
        affordable_connections, _ = load("descriptors")
        most = affordable_connections(most, descriptors_each(settings))
    return most
