"""The projects of an organization with their rate limits, and the settings that organization and projects have.

Source: OpenAI API reference, "Projects", "Project rate limits", "Data retention", "Spend limits".
"""

from __future__ import annotations

from protocol.errors import ApiError
from protocol.exchange import Response
from protocol.mock.engine.resources import Handler, delete_object, give_object, list_objects, page_of, update_object
from protocol.mock.engine.world import Call, World, fill_path
from protocol.wire.json_text import JsonObject

_PROJECTS = "/organization/projects"

# The rate limits that a project begins with: model, requests a minute, tokens a minute.
_FIRST_LIMITS = (
    ("gpt-4o", 500, 30_000),
    ("gpt-4o-mini", 500, 200_000),
    ("gpt-4.1", 500, 30_000),
    ("gpt-5", 500, 500_000),
    ("text-embedding-3-small", 3000, 1_000_000),
)


class Projects:
    """The operations on projects, their rate limits, and settings."""

    def __init__(self, world: World) -> None:
        self._world = world

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by operation."""
        project = "/organization/projects/{project_id}"
        handlers: dict[str, Handler] = {
            "GET /organization/projects": self.projects,
            f"GET {project}/rate_limits": self.rate_limits,
            f"POST {project}/rate_limits/{{rate_limit_id}}": self.change_rate_limit,
        }
        for owner in ("/organization", project):
            handlers[f"POST {owner}/data_retention"] = self.change_data_retention
            handlers[f"GET {owner}/spend_limit"] = self.spend_limit
            handlers[f"POST {owner}/spend_limit"] = self.change_spend_limit
            handlers[f"DELETE {owner}/spend_limit"] = self.delete_spend_limit
        return handlers

    def projects(self, call: Call) -> JsonObject:
        """Answer the projects. Archived ones are left out unless the request asks for them."""
        store = self._world.store
        if not store.all(_PROJECTS):
            id = self._world.new_id("proj_")
            known = {"id": id, "name": "Default project", "status": "active"}
            store.add(_PROJECTS, id, self._world.make("Project", known))
        projects = [record.object for record in store.all(_PROJECTS)]
        if not call.query.get("include_archived"):
            projects = [project for project in projects if project.get("status") != "archived"]
        return page_of(projects, call.query)

    def rate_limits(self, call: Call) -> JsonObject:
        """Answer a project's rate limits, one for each model."""
        self._first_limits(call)
        return list_objects(call)

    def change_rate_limit(self, call: Call) -> JsonObject:
        """Change a rate limit."""
        self._first_limits(call)
        return update_object(call)

    def _first_limits(self, call: Call) -> None:
        store = self._world.store
        if store.all(call.collection):
            return
        for model, requests, tokens in _FIRST_LIMITS:
            id = f"rl-{model}"
            known: JsonObject = {
                "id": id, "model": model, "max_requests_per_1_minute": requests, "max_tokens_per_1_minute": tokens,
            }  # fmt: skip
            store.add(call.collection, id, self._world.make("ProjectRateLimit", known))

    # ---- settings -----------------------------------------------------------------------------------------------

    def change_data_retention(self, call: Call) -> JsonObject:
        """Change how long data is kept. What requests call `retention_type` is `type` in the object."""
        call.body = {"type": call.body.get("retention_type")}
        return update_object(call)

    def spend_limit(self, call: Call) -> JsonObject | Response:
        """Answer the spend limit; ApiError 404 when there is none."""
        call.parents()
        collection, _, id = fill_path(call.operation.path, call.names).rpartition("/")
        if self._world.store.get(collection, id) is None and self._world.settings.unknown_ids != "invent":
            raise ApiError(404, "No spend limit is set.", code="not_found")
        return give_object(call)

    def change_spend_limit(self, call: Call) -> JsonObject:
        """Set the spend limit, which holds from then on."""
        call.parents()
        call.body = {**call.body, "enforcement": {"status": "enforcing"}}
        return update_object(call)

    def delete_spend_limit(self, call: Call) -> JsonObject:
        """Remove the spend limit; ApiError 404 when there is none."""
        self.spend_limit(call)
        return delete_object(call)
