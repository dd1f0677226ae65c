"""Automations: what is to be asked of an agent later, and the invocations that ask it.

An automation of type `once` runs when its time has come. A periodic one runs only when it is invoked: the mock does not
know calendars.
"""

from __future__ import annotations

from protocol.mock.agents.sessions import SESSIONS, Sessions
from protocol.mock.answer.spoken import Caller, caller_of
from protocol.mock.engine.resources import Handler, create_record, set_object, update_object
from protocol.mock.engine.store import Record
from protocol.mock.engine.world import Call, World
from protocol.wire.json_text import JsonObject

_INVOKE = "POST /agents/automations/{automation_id}/invocations"


class Automations:
    """The family of /agents/automations."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._sessions = Sessions(world)

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by operation."""
        automation = "/agents/automations/{automation_id}"
        return {
            "POST /agents/automations": self.create,
            f"POST {automation}": self.update,
            f"POST {automation}/resume": self.resume,
            _INVOKE: self.invoke,
        }

    def create(self, call: Call) -> JsonObject:
        """Answer POST /agents/automations."""
        automation = create_record(call)
        self._schedule(automation, caller_of(call.request))
        return automation.object

    def update(self, call: Call) -> JsonObject:
        """Answer POST /agents/automations/{automation_id}."""
        answer = update_object(call)
        self._schedule(call.record(), caller_of(call.request))
        return answer

    def resume(self, call: Call) -> JsonObject:
        """Answer POST …/resume."""
        answer = set_object(call)
        self._schedule(call.record(), caller_of(call.request))
        return answer

    def invoke(self, call: Call) -> JsonObject:
        """Answer POST …/invocations."""
        automation = self._world.find("/agents/automations", call.names["automation_id"])
        return self._invoke(automation, {"type": "manual"}, caller_of(call.request)).object

    def _schedule(self, automation: Record, caller: Caller | None) -> None:
        automation.plan.clear()
        if automation.object["type"] == "once" and automation.object["status"] == "active":
            seconds = max(0, automation.object["run_at"] - self._world.now())
            automation.plan.append(
                (self._world.clock() + seconds, lambda automation: self._run_once(automation, caller))
            )

    def _run_once(self, automation: Record, caller: Caller | None) -> None:
        source = {"type": "automation", "automation": dict(automation.object)}
        automation.object["status"] = "completed"
        invocation = self._invoke(automation, source, caller)
        invocation.object["scheduled_at"] = automation.object["run_at"]

    def _invoke(self, automation: Record, source: JsonObject, caller: Caller | None) -> Record:
        world = self._world
        target = automation.object["target"]
        if target["type"] == "existing_session":
            session = world.find(SESSIONS, target["session_id"])
            self._sessions.say(session, target["instructions"], caller)
        else:
            session = self._sessions.open(target, caller)
        id = world.new_id("autoinv_")
        known: JsonObject = {
            "id": id, "automation_id": automation.id, "source": source, "session_id": session.id,
            "scheduled_at": None, "error": None, "skip_reason": None,
        }  # fmt: skip
        made = world.make("AutomationInvocation", known)
        invocation = world.store.add(f"{automation.path}/invocations", id, made)
        world.live(invocation, world.reference.operation(_INVOKE).stages)
        return invocation
