"""What a start tells on the terminal: where it listens, what to try, and what its owner should mind."""

from __future__ import annotations

import typing

from protocol.config import Settings
from protocol.on_demand import load
from protocol.program.making import most_connections_of
from protocol.program.routed import example_of, routed_kinds, routed_mocks, routed_names
from protocol.program.version import VERSION
from protocol.server.settings import ServerSettings
from protocol.service.doors import chat_example
from protocol.service.key_guard import who_may_call
from protocol.service.origins import Origins


def url_of(settings: ServerSettings, port: int) -> str:
    """Return the address that a program on this machine asks."""
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return f"{'https' if settings.certfile else 'http'}://{host}:{port}"


def banner_of(settings: Settings, port: int, source: str, key_holders: typing.Sequence[str]) -> str:
    """Return the lines; the settings were read from `source`, and `key_holders` are the backends that hold a key."""
    url = url_of(settings.server, port)
    routes = "; ".join(f"{route.pattern} = {', '.join(route.backends)}" for route in settings.routes)
    notes = [*_worker_notes(settings), *_key_notes(settings, key_holders), *_connection_notes(settings)]
    return (
        f"oaiserve {VERSION} listens on {url} (OpenAI base URL: {url}/v1)\n"
        f"  settings: {source}; routes: {routes}\n"
        f"  pages:    {who_may_call(Origins(settings.server.cors_origins), key_holders)}\n"
        f"{''.join(f'  mind:     {note}' + chr(10) for note in notes)}"
        f"  try it:   {chat_example(url, example_of(settings, key_holders))}\n"
        "  stop it:  Ctrl-C"
    )


def _worker_notes(settings: Settings) -> typing.Iterator[str]:
    """Give lines for who may wonder where an object went, or a fault: what is remembered is a worker's own."""
    if settings.server.workers == 1:
        return
    if "mock" in routed_kinds(settings):
        yield "each worker of the mock remembers its own files and other objects; --workers 1 keeps all"
    if settings.faults or any(mock.options.script for mock in routed_mocks(settings)):
        yield "each worker counts by itself how often faults and the script's rules have come; --workers 1 counts all"


def _key_notes(settings: Settings, key_holders: typing.Sequence[str]) -> typing.Iterator[str]:
    """Give lines for who lets others spend a key, or see it, perhaps without knowing."""
    keys = {backend.name: backend.options.api_key for backend in settings.backends if backend.name in key_holders}
    can_be_masked = load("key that is held")[0] if keys else bool
    unmasked = [name for name, key in keys.items() if key and not can_be_masked(key)]
    if unmasked:
        yield (
            f"the key of {', '.join(unmasked)} cannot be masked where the upstream repeats it: it has less than 8 "
            "characters, or is a word of ordinary answers"
        )
    routed = {name for route in settings.routes for name in route.backends}
    for backend in settings.backends:
        if backend.name in routed and getattr(backend.options, "kept_back", None):
            variable = backend.options.kept_back
            instead = "it is asked without one" if settings.server.keys_file else "callers bring their keys"
            yield (
                f"the environment's {variable} is not sent to {backend.name}, whose upstream is another's: {instead}; "
                f"if it is meant for it, write api_key = ${{{variable}}} there"
            )
    if settings.server.keys_file:
        yield from _team_notes(settings, key_holders)
    elif key_holders and not settings.server.is_local:
        yield (
            f"whoever reaches this port spends the key of {', '.join(key_holders)}: nobody is asked for a key; "
            "[server] keys_file asks for one, --host 127.0.0.1 lets this machine alone in"
        )


def _team_notes(settings: Settings, key_holders: typing.Sequence[str]) -> typing.Iterator[str]:
    """Give lines for who has keys for callers, and may expect more of them than they do."""
    routed = routed_names(settings)
    keyless = [
        backend.name
        for backend in settings.backends
        if backend.name in routed and backend.name not in key_holders and hasattr(backend.options, "api_key")
    ]
    if keyless:
        yield (
            f"{', '.join(keyless)} has no key: its upstream is asked without one, for the keys of callers are this "
            "server's own; api_key gives it one"
        )
    _, load_keys, _, _ = load("team")
    keys = load_keys(settings.server.keys_file)
    if not any(one.rates.budget for one in (*keys.keys.values(), *keys.teams.values())):
        return
    if settings.single["ledger"].unpriced == "allow":
        yield "a model without a price takes nothing from budgets: [ledger] unpriced = allow"
        return
    (price_of,) = load("prices")
    unpriced = [
        route.pattern
        for route in settings.routes
        if not {"*", "?"} & set(route.pattern) and price_of(keys.prices, route.pattern) is None
    ]
    if unpriced:
        yield f"keys with a budget may not ask for {', '.join(unpriced)}: no line of [prices] in the keys file fits"


def _connection_notes(settings: Settings) -> typing.Iterator[str]:
    """Give a line for who would look in vain for connections that the limit on open files has no room for."""
    most, wanted = most_connections_of(settings), settings.server.max_connections
    if most < wanted:
        yield f"{most} connections at once, not max_connections = {wanted}: the limit on open files (ulimit -n) is low"
