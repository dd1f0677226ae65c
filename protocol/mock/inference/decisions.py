"""Decisions over HTTP: questions about an input, each answered with probabilities."""

from __future__ import annotations

from protocol.mock.answer.decided import decision
from protocol.mock.engine.resources import Handler
from protocol.mock.engine.world import Call, World
from protocol.wire.json_text import JsonObject


class Decisions:
    """The behaviour of /decisions."""

    def __init__(self, world: World) -> None:
        self._world = world

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by operation."""
        return {"POST /decisions": self.decide}

    def decide(self, call: Call) -> JsonObject:
        """Answer every question, in order."""
        known = decision(call.body["model"], call.body.get("input"), call.body["questions"])
        return self._world.complete(call.operation.result, known)
