"""Assistants. The engine answers all operations on them but their creation."""

from __future__ import annotations

from protocol.mock.assistants.threads import tool_resources
from protocol.mock.engine.resources import Handler, create_record
from protocol.mock.engine.world import Call, World
from protocol.wire.json_text import JsonObject

ASSISTANTS = "/assistants"

# What an assistant has where its request does not say.
_ASSISTANT_DEFAULTS: JsonObject = {
    "name": None, "description": None, "instructions": None, "tools": [], "metadata": {},
    "temperature": 1.0, "top_p": 1.0, "response_format": "auto",
}  # fmt: skip


class Assistants:
    """The family of /assistants."""

    def __init__(self, world: World) -> None:
        self._world = world

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by operation."""
        return {"POST /assistants": self.create}

    def create(self, call: Call) -> JsonObject:
        """Answer POST /assistants."""
        resources = tool_resources(self._world, call.body.get("tool_resources"))
        return create_record(call, {**_ASSISTANT_DEFAULTS, **call.known(), "tool_resources": resources}).object
