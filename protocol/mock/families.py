"""The families of the mock's endpoints: who answers below which path, loaded with the first request there."""

from __future__ import annotations

import typing

from protocol.mock.engine.resources import Handler
from protocol.mock.engine.world import World
from protocol.on_demand import ON_DEMAND, load
from protocol.openai.api.operations import Operation


class Family(typing.Protocol):
    """What the engine cannot know of itself: a class that is made of the world, and answers some operations."""

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by operation."""


class Families:
    """Finds the handlers of operations. A family is made once, though it may answer below several paths."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._handlers: dict[str, Handler] = {}
        self._families: dict[str, typing.Any] = {}
        self._known_roots: set[str] = set()

    def handler(self, operation: Operation) -> Handler | None:
        """Return what answers an operation, None where that is the engine's business."""
        root = f"/{operation.path.split('/', 2)[1]}"
        if root not in self._known_roots:
            self._known_roots.add(root)
            for family in self.below(root):
                self._handlers.update(family.operations())
        return self._handlers.get(operation.key)

    def below(self, root: str) -> list[typing.Any]:
        """Return the families below a path such as "/files", made now where they are not there yet."""
        occasion = f"mock {root}"
        return [self._made(kind) for kind in (load(occasion) if occasion in ON_DEMAND else ())]

    def made(self, name: str) -> typing.Any:
        """Return the family of that class's name, None where nobody has asked it anything yet."""
        return self._families.get(name)

    def _made(self, kind: typing.Callable[[World], Family]) -> Family:
        name = kind.__name__  # type: ignore[attr-defined]
        family = self._families.get(name)
        if family is None:
            family = self._families[name] = kind(self._world)
        return family
