"""The keys of an organization: admin keys, and the keys of service accounts.

A key's value is answered once, when the key is made. Afterwards only a redacted form is shown. Source: OpenAI API
reference, "Admin API keys", "Project service accounts", "Project API keys".
"""

from __future__ import annotations

from protocol.mock.engine.resources import Handler, create_record, delete_object, update_object
from protocol.mock.engine.store import Record
from protocol.mock.engine.world import Call, World
from protocol.mock.organization.people import OWNER
from protocol.wire.json_text import JsonObject

_SECRET_BITS = 192


class Keys:
    """The operations on keys and service accounts."""

    def __init__(self, world: World) -> None:
        self._world = world

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by operation."""
        project = "/organization/projects/{project_id}"
        account = f"{project}/service_accounts/{{service_account_id}}"
        return {
            "POST /organization/admin_api_keys": self.create_admin_key,
            f"POST {project}/service_accounts": self.create_service_account,
            f"DELETE {account}": self.delete_service_account,
            f"POST {account}/api_keys": self.create_service_account_key,
            f"POST {project}/api_keys/{{api_key_id}}": self.change_project_key,
        }

    def create_admin_key(self, call: Call) -> JsonObject:
        """Add an admin key, and show its value this once."""
        owner = {**OWNER, "type": "user", "object": "organization.user", "created_at": self._world.now()}
        value, known = self._secret("sk-admin-", call)
        record = create_record(call, {**known, "owner": owner})
        del record.object["value"]
        return {**record.object, "value": value}

    def _secret(self, prefix: str, call: Call) -> tuple[str, JsonObject]:
        """Return the value of a new key, and what answers tell of the key."""
        value = f"{prefix}{self._world.random_bits(_SECRET_BITS):048x}"
        seconds = call.body.get("expires_in_seconds")
        expires_at = self._world.now() + seconds if isinstance(seconds, int) else None
        redacted = f"{prefix}{'*' * 12}{value[-4:]}"
        return value, {"value": value, "redacted_value": redacted, "expires_at": expires_at, "last_used_at": None}

    def create_service_account(self, call: Call) -> JsonObject:
        """Add a service account to a project, and a key for it unless the request wants none."""
        record = create_record(call, {"role": "member"})
        if call.body.get("create_service_account_only"):
            return {**record.object, "api_key": None}
        return {**record.object, "api_key": self._account_key(call, record)}

    def create_service_account_key(self, call: Call) -> JsonObject:
        """Add another key to a service account."""
        path = f"/organization/projects/{call.names['project_id']}/service_accounts"
        return self._account_key(call, self._world.find(path, call.names["service_account_id"]))

    def _account_key(self, call: Call, account: Record) -> JsonObject:
        world = self._world
        _, known = self._secret("sk-svcacct-", call)
        name = call.body.get("name") if call.operation.path.endswith("/api_keys") else None
        told = {"id": world.new_id("key_"), "name": name or "Secret Key", "created_at": world.now(), **known}
        owner = {"type": "service_account", "service_account": {**account.object, "role": "member"}}
        key = world.make("ProjectAPIKey", {**told, "owner": owner})
        world.store.add(f"/organization/projects/{call.names['project_id']}/api_keys", key["id"], key)
        return world.make("ServiceAccountKey", told)

    def delete_service_account(self, call: Call) -> JsonObject:
        """Remove a service account and its keys."""
        answer = delete_object(call)
        keys = f"/organization/projects/{call.names['project_id']}/api_keys"
        for key in self._world.store.all(keys):
            if (key.object["owner"].get("service_account") or {}).get("id") == call.names["service_account_id"]:
                self._world.store.remove(keys, key.id)
        return answer

    def change_project_key(self, call: Call) -> JsonObject:
        """Change when a key expires."""
        seconds = call.body.get("expires_in_seconds")
        if isinstance(seconds, int):
            call.record().object["expires_at"] = self._world.now() + seconds
        return update_object(call)
