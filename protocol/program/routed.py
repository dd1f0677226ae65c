"""What the routes of a configuration lead to."""

from __future__ import annotations

import typing

from protocol.config import BackendSettings, Settings
from protocol.errors import UsageError
from protocol.on_demand import load
from protocol.openai.asked_model import name_pattern
from protocol.service.doors import ChatExample

# Of a length that is taken for a key: before a mock the line works as it is.
_CALLERS_KEY = "YOUR-API-KEY"


def routed_names(settings: Settings) -> set[str]:
    """Return the names of the backends that a route names."""
    return {name for route in settings.routes for name in route.backends}


def routed_kinds(settings: Settings) -> set[str]:
    """Return the kinds of the backends that a route names."""
    routed = routed_names(settings)
    return {backend.kind for backend in settings.backends if backend.name in routed}


def routed_mocks(settings: Settings) -> list[BackendSettings]:
    """Return the mocks that a route names."""
    routed = routed_names(settings)
    return [backend for backend in settings.backends if backend.kind == "mock" and backend.name in routed]


def pace_names(settings: Settings) -> list[str]:
    """Return the names of all paces."""
    return [part.name for part in settings.parts if part.kind == "pace"]


def named_script(settings: Settings) -> typing.Any:
    """Return the script that [mock] names, None for none; UsageError where it cannot be read, or there are several."""
    paths = sorted({mock.options.script for mock in routed_mocks(settings) if mock.options.script})
    if not paths:
        return None
    if len(paths) > 1:
        raise UsageError(f"[mock] script: a server has one script, got {' and '.join(paths)}")
    (read_script_file,) = load("script file")
    return read_script_file(paths[0], routed_names(settings), pace_names(settings))


def _first_asked(settings: Settings, model: str) -> BackendSettings | None:
    names = [route.backends[0] for route in settings.routes if name_pattern(route.pattern).fullmatch(model)]
    return next((backend for backend in settings.backends if backend.name in names[:1]), None)


def example_of(settings: Settings, key_holders: typing.Sequence[str]) -> ChatExample:
    """Return an example that the backend answers which its model leads to, once the caller's key is in its place."""
    example = ChatExample(key=_CALLERS_KEY) if settings.server.keys_file else ChatExample()
    backend = _first_asked(settings, example.model)
    if backend is None or backend.kind == "mock":
        return example
    own_model = getattr(backend.options, "default_model", "")
    if own_model and _first_asked(settings, own_model) is backend:
        example = example._replace(model=own_model)
    return example if backend.name in key_holders else example._replace(key=_CALLERS_KEY)
