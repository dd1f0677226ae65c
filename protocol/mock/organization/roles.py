"""The roles of an organization and of its projects, and who has them.

Source: OpenAI API reference, "Roles", "User role assignments", "Group role assignments".
"""

from __future__ import annotations

from protocol.errors import ApiError
from protocol.mock.engine.resources import Handler, create_record, delete_object, list_objects, update_object
from protocol.mock.engine.world import Call, World
from protocol.mock.organization.people import GROUPS, OWNER, People
from protocol.wire.json_text import JsonObject

_ROLES = "/organization/roles"

# The roles that are there from the beginning: name and permissions.
_ORGANIZATION_ROLES = (
    ("owner", ["api.organization.read", "api.organization.write"]),
    ("reader", ["api.organization.read"]),
)
_PROJECT_ROLES = (
    ("owner", ["api.project.read", "api.project.write"]),
    ("member", ["api.project.read"]),
)


class Roles:
    """The operations on roles and their assignments."""

    def __init__(self, world: World, people: People) -> None:
        self._world = world
        self._people = people

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by operation."""
        handlers: dict[str, Handler] = {}
        for owner in ("/organization", "/projects/{project_id}"):
            handlers[f"GET {owner}/roles"] = self.roles
            handlers[f"POST {owner}/roles"] = self.create_role
            handlers[f"POST {owner}/roles/{{role_id}}"] = self.change_role
            handlers[f"DELETE {owner}/roles/{{role_id}}"] = self.delete_role
            handlers[f"POST {owner}/groups/{{group_id}}/roles"] = self.give_role
            handlers[f"POST {owner}/users/{{user_id}}/roles"] = self.give_role
        return handlers

    def roles(self, call: Call) -> JsonObject:
        """Answer the roles. Those that were there from the beginning come first."""
        self._first_roles(call.collection)
        return list_objects(call)

    def create_role(self, call: Call) -> JsonObject:
        """Add a role."""
        self._first_roles(call.collection)
        kind = "api.organization" if call.collection == _ROLES else "api.project"
        known = {"name": call.body.get("role_name"), "predefined_role": False, "resource_type": kind}
        return create_record(call, known).object

    def change_role(self, call: Call) -> JsonObject:
        """Change a role; ApiError 400 for one that was there from the beginning."""
        self._check_changeable(call)
        if call.body.get("role_name") is not None:
            call.body = {**call.body, "name": call.body["role_name"]}
        return update_object(call)

    def delete_role(self, call: Call) -> JsonObject:
        """Remove a role; ApiError 400 for one that was there from the beginning."""
        self._check_changeable(call)
        return delete_object(call)

    def _check_changeable(self, call: Call) -> None:
        if call.record().object.get("predefined_role"):
            raise ApiError(400, "Predefined roles cannot be modified or deleted.", param="role_id")

    def _first_roles(self, collection: str) -> None:
        store = self._world.store
        if store.all(collection):
            return
        of_organization = collection == _ROLES
        kind = "api.organization" if of_organization else "api.project"
        for name, permissions in _ORGANIZATION_ROLES if of_organization else _PROJECT_ROLES:
            id = f"role-{kind.replace('.', '-')}-{name}"
            known: JsonObject = {
                "id": id, "name": name, "permissions": permissions, "predefined_role": True, "resource_type": kind,
            }  # fmt: skip
            store.add(collection, id, self._world.make("Role", known))

    def give_role(self, call: Call) -> JsonObject:
        """Give a role to a user or to a group."""
        world = self._world
        # From /projects/p/users/u/roles to /projects/p/roles.
        roles = f"/{'/'.join(call.collection[1:].split('/')[:-3])}/roles"
        self._first_roles(roles)
        role = world.find(roles, call.body["role_id"], param="role_id").object
        holder_id = call.names.get("group_id") or call.names["user_id"]
        if "group_id" in call.names:
            group = world.find(GROUPS, holder_id).object
            kind, holder = "group", {**group, "object": "group", "scim_managed": group.get("is_scim_managed")}
        else:
            kind, holder = "user", self._people.known_user(holder_id)
        source = {"principal_id": holder_id, "principal_type": kind}
        given = {
            **role,
            "created_at": world.now(),
            "assignment_sources": [source],
            "created_by": OWNER["id"],
        }
        world.store.add(call.collection, role["id"], world.make("AssignedRole", given))
        return world.complete(call.operation.result, {"object": f"{kind}.role", "role": role, kind: holder})
