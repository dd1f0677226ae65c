"""The people of an organization: its users, and those who are in its projects and groups.

Source: OpenAI API reference, "Users", "Invites", "Groups", "Project users", "Project groups".
"""

from __future__ import annotations

from protocol.errors import ApiError
from protocol.exchange import Response
from protocol.mock.engine.resources import Handler, create_record, give_object, page_of
from protocol.mock.engine.world import Call, World
from protocol.wire.json_text import JsonObject

GROUPS = "/organization/groups"
#: The user who is there from the beginning.
OWNER = {"id": "user-owner", "name": "Owner", "email": "owner@example.com", "role": "owner"}

_USERS = "/organization/users"
_INVITE_SECONDS = 7 * 24 * 3600


class People:
    """The operations on users, invites, and the members of projects and groups."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._add_owner()

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by operation."""
        project = "/organization/projects/{project_id}"
        return {
            "POST /organization/invites": self.invite,
            "GET /organization/users": self.users,
            "GET /organization/users/{user_id}": self.user,
            f"POST {project}/users": self.add_project_user,
            f"POST {project}/groups": self.add_project_group,
            "POST /organization/groups/{group_id}/users": self.add_group_user,
        }

    def _add_owner(self) -> None:
        # Checked at each use: a store that is full forgets its oldest records, and the owner is the oldest.
        store = self._world.store
        if not store.all(_USERS):
            store.add(_USERS, OWNER["id"], {**OWNER, "object": "organization.user", "added_at": self._world.now()})

    def known_user(self, id: str) -> JsonObject:
        """Return a user who is named in a request; ApiError 404."""
        self._add_owner()
        return self._world.find(_USERS, id, param="user_id").object

    def users(self, call: Call) -> JsonObject:
        """Answer the users, the owner among them, or those whose address is one of `emails`."""
        self._add_owner()
        users = [record.object for record in self._world.store.all(_USERS)]
        emails = call.query.get("emails")
        return page_of([user for user in users if not emails or user.get("email") in emails], call.query)

    def user(self, call: Call) -> JsonObject | Response:
        """Answer a user."""
        self._add_owner()
        return give_object(call)

    def invite(self, call: Call) -> JsonObject:
        """Invite somebody for seven days."""
        return create_record(call, {"expires_at": self._world.now() + _INVITE_SECONDS}).object

    def add_group_user(self, call: Call) -> JsonObject:
        """Add a user to a group."""
        user = self.known_user(call.body["user_id"])
        member = {"id": user["id"], "name": user.get("name") or "", "email": user.get("email"), "user_type": "user"}
        self._world.store.add(call.collection, user["id"], member)
        return self._world.complete(call.operation.result, call.known())

    def add_project_user(self, call: Call) -> JsonObject:
        """Add a user of the organization to a project. The request names the user by id or by address."""
        asked = call.body.get("user_id")
        if asked is None:
            self._add_owner()
            users = self._world.store.all(_USERS)
            email = call.body.get("email")
            asked = next((user.id for user in users if email and user.object.get("email") == email), None)
        if asked is None:
            if self._world.settings.unknown_ids != "invent":
                raise ApiError(400, "Either 'user_id' or the 'email' of a user is required.", param="user_id")
            asked = self._world.new_id("user-")
        user = self.known_user(asked)
        return create_record(call, {"id": asked, "name": user.get("name"), "email": user.get("email")}).object

    def add_project_group(self, call: Call) -> JsonObject:
        """Give a group access to a project."""
        id = call.body["group_id"]
        group = self._world.find(GROUPS, id, param="group_id").object
        made = self._world.complete(call.operation.result, {**call.known(), "group_name": group.get("name")})
        self._world.store.add(call.collection, id, made)
        return made
