"""The administration of an organization: who belongs to it, what they may do, and with which keys.

An organization begins with its owner, a project, and the roles that OpenAI gives to everybody. Secrets are answered
once, when they are made; afterwards only a redacted form is shown. Source: OpenAI API reference, "Administration".
"""

from __future__ import annotations

import base64
import binascii
import re
import time
import typing

from protocol.errors import ApiError
from protocol.mock.engine.resources import (
    Handler,
    create_record,
    delete_object,
    give_object,
    list_objects,
    page_of,
    update_object,
)
from protocol.mock.engine.store import Record
from protocol.mock.engine.world import Call, World, fill_path
from protocol.mock.organization.audit import audited
from protocol.wire.json_text import JsonObject

_PROJECTS = "/organization/projects"
_USERS = "/organization/users"
_GROUPS = "/organization/groups"
_ROLES = "/organization/roles"
_CERTIFICATES = "/organization/certificates"

_INVITE_SECONDS = 7 * 24 * 3600
_KEY_SECRET_BITS = 192
_OWNER = {"id": "user-owner", "name": "Owner", "email": "owner@example.com", "role": "owner"}

# Roles that are there from the beginning: name and permissions.
_FIRST_ROLES = (
    ("owner", ["api.organization.read", "api.organization.write"]),
    ("reader", ["api.organization.read"]),
)
_PROJECT_FIRST_ROLES = (
    ("owner", ["api.project.read", "api.project.write"]),
    ("member", ["api.project.read"]),
)
# What a project may do in a minute: model, requests, tokens.
_PROJECT_FIRST_LIMITS = (
    ("gpt-4o", 500, 30_000),
    ("gpt-4o-mini", 500, 200_000),
    ("gpt-4.1", 500, 30_000),
    ("gpt-5", 500, 500_000),
    ("text-embedding-3-small", 3000, 1_000_000),
)

# The validity in an X.509 certificate: two times, each UTCTime or GeneralizedTime. RFC 5280 §4.1.2.5
_CERTIFICATE_VALIDITY = re.compile(rb"\x30[\x1e-\x22]([\x17\x18][\x0d\x0f]\d{12,14}Z)([\x17\x18][\x0d\x0f]\d{12,14}Z)")
# Days from 0001-01-01 to 1970-01-01, counted as tm_yday counts.
_DAYS_BEFORE_EPOCH = 719163
_CERTIFICATE_PEM = re.compile(r"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)


class Organization:
    """What the administration's operations do besides keeping objects."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._first_user()

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by operation; those that change something also write the audit log."""
        project = "/organization/projects/{project_id}"
        account = f"{project}/service_accounts/{{service_account_id}}"
        handlers: dict[str, Handler] = {
            "POST /organization/admin_api_keys": self.create_admin_key,
            "POST /organization/invites": self.invite,
            "GET /organization/users": self.users,
            "GET /organization/users/{user_id}": self.user,
            "GET /organization/projects": self.projects,
            f"GET {project}/rate_limits": self.rate_limits,
            f"POST {project}/rate_limits/{{rate_limit_id}}": self.change_rate_limit,
            f"POST {project}/users": self.add_project_user,
            f"POST {project}/groups": self.add_project_group,
            f"POST {project}/service_accounts": self.create_service_account,
            f"DELETE {account}": self.delete_service_account,
            f"POST {account}/api_keys": self.create_service_account_key,
            f"POST {project}/api_keys/{{api_key_id}}": self.change_project_key,
            "POST /organization/groups/{group_id}/users": self.add_group_user,
        }
        for of in ("/organization", "/projects/{project_id}"):
            handlers.update(self._role_operations(of))
        for of in ("/organization", project):
            handlers.update(self._setting_operations(of))
            handlers[f"POST {of}/certificates/activate"] = self.activate_certificates
            handlers[f"POST {of}/certificates/deactivate"] = self.deactivate_certificates
            handlers[f"GET {of}/certificates"] = self.certificates
        handlers["POST /organization/certificates"] = self.upload_certificate
        handlers["GET /organization/certificates/{certificate_id}"] = self.certificate
        handlers["DELETE /organization/certificates/{certificate_id}"] = self.delete_certificate
        return audited(handlers)

    def _role_operations(self, of: str) -> dict[str, Handler]:
        handlers: dict[str, Handler] = {
            f"GET {of}/roles": self.roles,
            f"POST {of}/roles": self.create_role,
            f"POST {of}/roles/{{role_id}}": self.change_role,
            f"DELETE {of}/roles/{{role_id}}": self.delete_role,
        }
        for holder in ("groups/{group_id}", "users/{user_id}"):
            handlers[f"POST {of}/{holder}/roles"] = self.give_role
        return handlers

    def _setting_operations(self, of: str) -> dict[str, Handler]:
        return {
            f"POST {of}/data_retention": self.change_data_retention,
            f"GET {of}/spend_limit": self.spend_limit,
            f"POST {of}/spend_limit": self.change_spend_limit,
            f"DELETE {of}/spend_limit": self.delete_spend_limit,
        }

    # ---- keys ---------------------------------------------------------------------------------------------------

    def create_admin_key(self, call: Call) -> JsonObject:
        """Add a key, and show its value this once."""
        owner = {**_OWNER, "type": "user", "object": "organization.user", "created_at": self._world.now()}
        value, known = self._secret("sk-admin-", call)
        record = create_record(call, {**known, "owner": owner})
        del record.object["value"]
        return {**record.object, "value": value}

    def _secret(self, prefix: str, call: Call) -> tuple[str, JsonObject]:
        """Return a new key's value, and what is told about it."""
        value = f"{prefix}{self._world.random_bits(_KEY_SECRET_BITS):048x}"
        seconds = call.body.get("expires_in_seconds")
        expires_at = self._world.now() + seconds if isinstance(seconds, int) else None
        redacted = f"{prefix}{'*' * 12}{value[-4:]}"
        return value, {"value": value, "redacted_value": redacted, "expires_at": expires_at, "last_used_at": None}

    def create_service_account(self, call: Call) -> JsonObject:
        """Add a service account to a project, with a key unless it is not wanted."""
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
        value, known = self._secret("sk-svcacct-", call)
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

    # ---- people -------------------------------------------------------------------------------------------------

    def users(self, call: Call) -> JsonObject:
        """Answer the users, the owner among them; `emails` filters."""
        self._first_user()
        users = [record.object for record in self._world.store.all(_USERS)]
        emails = call.query.get("emails")
        return page_of([user for user in users if not emails or user.get("email") in emails], call.query)

    def user(self, call: Call) -> JsonObject:
        """Answer a user."""
        self._first_user()
        return typing.cast(JsonObject, give_object(call))

    def _first_user(self) -> None:
        store = self._world.store
        if not store.all(_USERS):
            owner = {**_OWNER, "object": "organization.user", "added_at": self._world.now()}
            store.add(_USERS, owner["id"], owner)

    def _user(self, id: str) -> JsonObject:
        self._first_user()
        return self._world.find(_USERS, id, param="user_id").object

    def invite(self, call: Call) -> JsonObject:
        """Invite somebody for seven days."""
        return create_record(call, {"expires_at": self._world.now() + _INVITE_SECONDS}).object

    def add_group_user(self, call: Call) -> JsonObject:
        """Add a user to a group."""
        user = self._user(call.body["user_id"])
        member = {"id": user["id"], "name": user.get("name") or "", "email": user.get("email"), "user_type": "user"}
        self._world.store.add(call.collection, user["id"], member)
        return self._world.complete(call.operation.result, call.known())

    def add_project_user(self, call: Call) -> JsonObject:
        """Add a user of the organization to a project, named by id or by address."""
        asked = call.body.get("user_id")
        if asked is None:
            self._first_user()
            users = self._world.store.all(_USERS)
            email = call.body.get("email")
            asked = next((user.id for user in users if email and user.object.get("email") == email), None)
        if asked is None:
            if self._world.settings.unknown_ids != "invent":
                raise ApiError(400, "Either 'user_id' or the 'email' of a user is required.", param="user_id")
            asked = self._world.new_id("user-")
        user = self._user(asked)
        return create_record(call, {"id": asked, "name": user.get("name"), "email": user.get("email")}).object

    def add_project_group(self, call: Call) -> JsonObject:
        """Give a group access to a project."""
        id = call.body["group_id"]
        group = self._world.find(_GROUPS, id, param="group_id").object
        made = self._world.complete(call.operation.result, {**call.known(), "group_name": group.get("name")})
        self._world.store.add(call.collection, id, made)
        return made

    # ---- projects -----------------------------------------------------------------------------------------------

    def projects(self, call: Call) -> JsonObject:
        """Answer the projects; those in the archive only when they are asked for."""
        store = self._world.store
        if not store.all(_PROJECTS):
            known = {"id": self._world.new_id("proj_"), "name": "Default project", "status": "active"}
            store.add(_PROJECTS, known["id"], self._world.make("Project", known))
        projects = [record.object for record in store.all(_PROJECTS)]
        if not call.query.get("include_archived"):
            projects = [project for project in projects if project.get("status") != "archived"]
        return page_of(projects, call.query)

    def rate_limits(self, call: Call) -> JsonObject:
        """Answer a project's limits, one a model."""
        self._first_limits(call)
        return list_objects(call)

    def change_rate_limit(self, call: Call) -> JsonObject:
        """Change a limit."""
        self._first_limits(call)
        return update_object(call)

    def _first_limits(self, call: Call) -> None:
        store = self._world.store
        if store.all(call.collection):
            return
        for model, requests, tokens in _PROJECT_FIRST_LIMITS:
            known = {
                "id": f"rl-{model}", "model": model,
                "max_requests_per_1_minute": requests, "max_tokens_per_1_minute": tokens,
            }  # fmt: skip
            store.add(call.collection, known["id"], self._world.make("ProjectRateLimit", known))

    # ---- settings there is one of -------------------------------------------------------------------------------

    def change_data_retention(self, call: Call) -> JsonObject:
        """Change how long data is kept; the object says as `type` what requests say as `retention_type`."""
        call.body = {"type": call.body.get("retention_type")}
        return update_object(call)

    def spend_limit(self, call: Call) -> JsonObject:
        """Answer the limit, ApiError 404 when there is none."""
        call.parents()
        collection, _, id = fill_path(call.operation.path, call.names).rpartition("/")
        if self._world.store.get(collection, id) is None and self._world.settings.unknown_ids != "invent":
            raise ApiError(404, "No spend limit is set.", code="not_found")
        return typing.cast(JsonObject, give_object(call))

    def change_spend_limit(self, call: Call) -> JsonObject:
        """Set the limit, which holds from then on."""
        call.parents()
        call.body = {**call.body, "enforcement": {"status": "enforcing"}}
        return update_object(call)

    def delete_spend_limit(self, call: Call) -> JsonObject:
        """Remove the limit, ApiError 404 when there is none."""
        self.spend_limit(call)
        return delete_object(call)

    # ---- roles --------------------------------------------------------------------------------------------------

    def roles(self, call: Call) -> JsonObject:
        """Answer the roles, those that are always there first."""
        self._first_roles(call.collection)
        return list_objects(call)

    def create_role(self, call: Call) -> JsonObject:
        """Add a role of one's own."""
        self._first_roles(call.collection)
        kind = "api.organization" if call.collection == _ROLES else "api.project"
        known = {"name": call.body.get("role_name"), "predefined_role": False, "resource_type": kind}
        return create_record(call, known).object

    def change_role(self, call: Call) -> JsonObject:
        """Change a role of one's own."""
        self._own_role(call)
        if call.body.get("role_name") is not None:
            call.body = {**call.body, "name": call.body["role_name"]}
        return update_object(call)

    def delete_role(self, call: Call) -> JsonObject:
        """Remove a role of one's own."""
        self._own_role(call)
        return delete_object(call)

    def _own_role(self, call: Call) -> None:
        if call.record().object.get("predefined_role"):
            raise ApiError(400, "Predefined roles cannot be modified or deleted.", param="role_id")

    def _first_roles(self, collection: str) -> None:
        store = self._world.store
        if store.all(collection):
            return
        of_organization = collection == _ROLES
        kind = "api.organization" if of_organization else "api.project"
        for name, permissions in _FIRST_ROLES if of_organization else _PROJECT_FIRST_ROLES:
            known = {
                "id": f"role-{kind.replace('.', '-')}-{name}", "name": name, "permissions": permissions,
                "predefined_role": True, "resource_type": kind,
            }  # fmt: skip
            store.add(collection, known["id"], self._world.make("Role", known))

    def give_role(self, call: Call) -> JsonObject:
        """Give a role to a user or a group."""
        world = self._world
        roles = f"/{'/'.join(call.collection[1:].split('/')[:-3])}/roles"
        self._first_roles(roles)
        role = world.find(roles, call.body["role_id"], param="role_id").object
        holder_id = call.names.get("group_id") or call.names["user_id"]
        if "group_id" in call.names:
            group = world.find(_GROUPS, holder_id).object
            kind, holder = "group", {**group, "object": "group", "scim_managed": group.get("is_scim_managed")}
        else:
            kind, holder = "user", self._user(holder_id)
        source = {"principal_id": holder_id, "principal_type": kind}
        given = {
            **role,
            "created_at": world.now(),
            "assignment_sources": [source],
            "created_by": _OWNER["id"],
        }
        world.store.add(call.collection, role["id"], world.make("AssignedRole", given))
        return world.complete(call.operation.result, {"object": f"{kind}.role", "role": role, kind: holder})

    # ---- certificates -------------------------------------------------------------------------------------------

    def upload_certificate(self, call: Call) -> JsonObject:
        """Keep a certificate, which is not active yet."""
        pem = call.body["certificate"]
        details = certificate_validity(pem)
        record = create_record(call, {"certificate_details": details, "active": False}, pem.encode("utf-8", "replace"))
        return record.object

    def certificates(self, call: Call) -> JsonObject:
        """Answer the certificates, each without its text."""
        page = list_objects(call)
        page["data"] = [self._world.complete(call.operation.result, certificate) for certificate in page["data"]]
        return page

    def certificate(self, call: Call) -> JsonObject:
        """Answer a certificate, with its text where that is asked for."""
        record = call.record()
        details = record.object.get("certificate_details") or {}
        if "content" in (call.query.get("include") or []):
            details = {**details, "content": record.content.decode()}
        return self._world.complete(call.operation.result, {**record.object, "certificate_details": details})

    def delete_certificate(self, call: Call) -> JsonObject:
        """Remove a certificate that is not active."""
        if call.record().object.get("active"):
            raise ApiError(400, "An active certificate cannot be deleted: deactivate it first.", param="certificate_id")
        return delete_object(call)

    def activate_certificates(self, call: Call) -> JsonObject:
        """Make certificates active, for the organization or for a project."""
        return self._switch_certificates(call, True)

    def deactivate_certificates(self, call: Call) -> JsonObject:
        """Make certificates inactive, for the organization or for a project."""
        return self._switch_certificates(call, False)

    def _switch_certificates(self, call: Call, active: bool) -> JsonObject:
        world = self._world
        project_id = call.names.get("project_id")
        word = "activation" if active else "deactivation"
        switched = []
        for id in call.body["certificate_ids"]:
            record = world.find(_CERTIFICATES, id, param="certificate_ids")
            shown = world.complete(call.operation.result, {**record.object, "active": active})
            if project_id is None:
                record.object["active"] = active
            else:
                world.store.add(f"/organization/projects/{project_id}/certificates", id, shown)
            switched.append(shown)
        of = "organization.project" if project_id else "organization"
        return {**page_of(switched, {"order": "asc"}, "whole"), "object": f"{of}.certificate.{word}"}


def certificate_validity(pem: str) -> JsonObject:
    """Return from when to when a certificate is valid, as `valid_at` and `expires_at`; {} for what is none."""
    match = _CERTIFICATE_PEM.search(pem)
    if match is None:
        return {}
    try:
        der = base64.b64decode("".join(match[1].split()), validate=True)
    except binascii.Error:
        return {}
    found = _CERTIFICATE_VALIDITY.search(der)
    if found is None:
        return {}
    try:
        return {"valid_at": _certificate_seconds(found[1]), "expires_at": _certificate_seconds(found[2])}
    except ValueError:
        return {}


def _certificate_seconds(encoded: bytes) -> int:
    text = encoded[2:].decode()
    # RFC 5280 §4.1.2.5.1: two digits of a year from 50 on are of the last century.
    if encoded[0] == 0x17:
        text = ("19" if text >= "50" else "20") + text
    at = time.strptime(text, "%Y%m%d%H%M%SZ")
    past = at.tm_year - 1
    days = past * 365 + past // 4 - past // 100 + past // 400 + at.tm_yday - _DAYS_BEFORE_EPOCH
    return ((days * 24 + at.tm_hour) * 60 + at.tm_min) * 60 + at.tm_sec
