"""The audit log of an organization: what was changed, by whom and when.

Source: OpenAI API reference, "Audit logs". The log holds its last thousand entries.
"""

from __future__ import annotations

import typing

from protocol.mock.engine.resources import (
    Handler,
    create_object,
    delete_object,
    page_of,
    set_object,
    update_object,
)
from protocol.mock.engine.world import Call, World
from protocol.mock.organization.people import OWNER
from protocol.wire.json_text import JsonObject

_LOG = "/organization/audit_logs"
_MOST_ENTRIES = 1000
_USER = {name: OWNER[name] for name in ("id", "email")}

# The operations that the log tells of, each with the type of its entry (API reference, "Audit logs").
_AUDITED_OPERATIONS = """
POST /organization/admin_api_keys api_key.created
DELETE /organization/admin_api_keys/{key_id} api_key.deleted
POST /organization/certificates certificate.created
POST /organization/certificates/{certificate_id} certificate.updated
DELETE /organization/certificates/{certificate_id} certificate.deleted
POST /organization/certificates/activate certificates.activated
POST /organization/certificates/deactivate certificates.deactivated
POST /organization/data_retention organization.updated
POST /organization/external_keys external_key.registered
DELETE /organization/external_keys/{external_key_id} external_key.removed
POST /organization/external_storage external_storage.registered
DELETE /organization/external_storage/{external_storage_id} external_storage.removed
POST /organization/groups group.created
POST /organization/groups/{group_id} group.updated
DELETE /organization/groups/{group_id} group.deleted
POST /organization/groups/{group_id}/roles role.assignment.created
DELETE /organization/groups/{group_id}/roles/{role_id} role.assignment.deleted
POST /organization/invites invite.sent
DELETE /organization/invites/{invite_id} invite.deleted
POST /organization/projects project.created
POST /organization/projects/{project_id} project.updated
POST /organization/projects/{project_id}/archive project.archived
POST /organization/projects/{project_id}/api_keys/{api_key_id} api_key.updated
DELETE /organization/projects/{project_id}/api_keys/{api_key_id} api_key.deleted
POST /organization/projects/{project_id}/certificates/activate certificates.activated
POST /organization/projects/{project_id}/certificates/deactivate certificates.deactivated
POST /organization/projects/{project_id}/rate_limits/{rate_limit_id} rate_limit.updated
POST /organization/projects/{project_id}/service_accounts service_account.created
POST /organization/projects/{project_id}/service_accounts/{service_account_id} service_account.updated
DELETE /organization/projects/{project_id}/service_accounts/{service_account_id} service_account.deleted
POST /organization/projects/{project_id}/service_accounts/{service_account_id}/api_keys api_key.created
POST /organization/projects/{project_id}/users user.added
POST /organization/projects/{project_id}/users/{user_id} user.updated
DELETE /organization/projects/{project_id}/users/{user_id} user.deleted
POST /organization/roles role.created
POST /organization/roles/{role_id} role.updated
DELETE /organization/roles/{role_id} role.deleted
POST /organization/users/{user_id} user.updated
DELETE /organization/users/{user_id} user.deleted
POST /organization/users/{user_id}/roles role.assignment.created
DELETE /organization/users/{user_id}/roles/{role_id} role.assignment.deleted
POST /organization/workload_identity_providers workload_identity_provider.created
POST /organization/workload_identity_providers/{workload_identity_provider_id} workload_identity_provider.updated
DELETE /organization/workload_identity_providers/{workload_identity_provider_id} workload_identity_provider.deleted
POST /projects/{project_id}/groups/{group_id}/roles role.assignment.created
DELETE /projects/{project_id}/groups/{group_id}/roles/{role_id} role.assignment.deleted
POST /projects/{project_id}/roles role.created
POST /projects/{project_id}/roles/{role_id} role.updated
DELETE /projects/{project_id}/roles/{role_id} role.deleted
POST /projects/{project_id}/users/{user_id}/roles role.assignment.created
DELETE /projects/{project_id}/users/{user_id}/roles/{role_id} role.assignment.deleted
"""

_ENGINE_HANDLERS: dict[str, Handler] = {
    "creates": create_object,
    "updates": update_object,
    "deletes": delete_object,
    "sets": set_object,
}


def audited(handlers: dict[str, Handler]) -> dict[str, Handler]:
    """Return these handlers, and the engine's for the other operations that are audited; all write the audit log."""
    logged = dict(handlers)
    for line in _AUDITED_OPERATIONS.split("\n"):
        key, _, event = line.rpartition(" ")
        if key:
            logged[key] = _audited_handler(handlers.get(key), event)
    return logged


def _audited_handler(own: Handler | None, event: str) -> Handler:
    def handle(call: Call) -> JsonObject:
        call.parents()
        answer: JsonObject = (own or _ENGINE_HANDLERS[call.operation.verb])(call)
        _add_entry(call, event, answer)
        return answer

    return handle


def _add_entry(call: Call, event: str, answer: JsonObject) -> None:
    world = call.world
    id = world.new_id("audit_log-")
    subject = answer.get("id") or call.body.get("role_id") or next(reversed(list(call.names.values())), None)
    details: JsonObject = {"id": subject}
    if call.body and event.endswith(".updated"):
        details["changes_requested"] = call.body
    elif call.body:
        # Of an object that was asked for the log tells what became of it: a storage's account is there only then.
        details["data"] = {
            name: answer[name] if isinstance(answer.get(name), dict) else value for name, value in call.body.items()
        }
    entry: JsonObject = {
        "id": id,
        "type": event,
        "effective_at": world.now(),
        "actor": {"type": "api_key", "api_key": {"id": "key_admin", "type": "user", "user": _USER}},
        event: details,
    }
    project_id = call.names.get("project_id") or (subject if event.startswith("project.") else None)
    project = world.store.get("/organization/projects", project_id) if project_id else None
    if project is not None:
        entry["project"] = {"id": project_id, "name": project.object.get("name")}
    world.store.add(_LOG, id, entry)
    entries = world.store.all(_LOG)
    for oldest in entries[: len(entries) - _MOST_ENTRIES]:
        world.store.remove(_LOG, oldest.id)


class AuditLog:
    """The family that lists the audit log."""

    def __init__(self, world: World) -> None:
        self._world = world

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by operation."""
        return {"GET /organization/audit_logs": self.entries}

    def entries(self, call: Call) -> JsonObject:
        """Answer the entries that fit all filters of the query."""
        entries = [record.object for record in self._world.store.all(_LOG)]
        return page_of([entry for entry in entries if _fits(entry, call.query)], call.query)


def _fits(entry: JsonObject, query: JsonObject) -> bool:
    told: dict[str, typing.Any] = {
        "event_types": entry["type"],
        "project_ids": (entry.get("project") or {}).get("id"),
        "resource_ids": entry[entry["type"]]["id"],
        "actor_ids": _USER["id"],
        "actor_emails": _USER["email"],
    }
    if any(query.get(name) and value not in query[name] for name, value in told.items()):
        return False
    when, at = query.get("effective_at") or {}, entry["effective_at"]
    return not (
        at <= when.get("gt", at - 1)
        or at < when.get("gte", at)
        or at >= when.get("lt", at + 1)
        or at > when.get("lte", at)
    )
