"""Saved agents, and the credentials in vaults. The engine answers all other operations on them."""

from __future__ import annotations

from protocol.mock.engine.resources import Handler, create_record, update_object
from protocol.mock.engine.world import Call, World
from protocol.wire.json_text import JsonObject

AGENTS = "/agents"


class Agents:
    """The family of /agents and of vaults' credentials."""

    def __init__(self, world: World) -> None:
        self._world = world

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by operation."""
        return {
            "POST /agents": self.create,
            "POST /vaults/{vault_id}/credentials/{credential_id}": self.change_credential,
        }

    def create(self, call: Call) -> JsonObject:
        """Answer POST /agents."""
        return create_record(call, {"name": None, "instructions": None, **call.known()}).object

    def change_credential(self, call: Call) -> JsonObject:
        """Answer POST …/credentials/{credential_id}: a new secret leaves the rest of the credential as it was."""
        auth = call.body.get("auth")
        if type(auth) is dict:
            before = call.record().object["auth"]
            changed = {**before, **{name: value for name, value in auth.items() if name != "type"}}
            if type(auth.get("refresh")) is dict:
                changed["refresh"] = {**(before.get("refresh") or {}), **auth["refresh"]}
            call.body["auth"] = changed
        return update_object(call)
