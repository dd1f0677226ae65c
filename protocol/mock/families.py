"""The families of the mock's endpoints: who answers below which path, loaded with the first request there.

The engine answers every operation by its verb. A family knows better for some operations of one subject.
"""

from __future__ import annotations

import typing

from protocol.mock.engine.resources import Handler
from protocol.mock.engine.world import World
from protocol.on_demand import ON_DEMAND, load
from protocol.openai.api.operations import Operation


class Family(typing.Protocol):
    """Answers the operations of one subject for which the engine's verbs do not suffice."""

    def __init__(self, world: World) -> None:
        """Make the family of one mock, whose parts share `world`."""

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by operation."""


class Families:
    """Finds the handlers of operations. A family is made once, though it may answer below several paths."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._handlers: dict[str, Handler] = {}
        self._families: dict[type[Family], Family] = {}
        self._known_roots: set[str] = set()

    def handler(self, operation: Operation) -> Handler | None:
        """Return the handler of an operation, None where the engine answers."""
        root = f"/{operation.path.split('/', 2)[1]}"
        if root not in self._known_roots:
            for family in self.below(root):
                self._handlers.update(family.operations())
            self._known_roots.add(root)  # last: a family that could not be loaded is tried again, and not passed over
        return self._handlers.get(operation.key)

    def below(self, root: str) -> list[Family]:
        """Return the families that answer below a path such as "/files"."""
        occasion = f"mock below {root}"
        return [self._family(kind) for kind in (load(occasion) if occasion in ON_DEMAND else ())]

    def _family(self, kind: type[Family]) -> Family:
        family = self._families.get(kind)
        if family is None:
            family = self._families[kind] = kind(self._world)
        return family
