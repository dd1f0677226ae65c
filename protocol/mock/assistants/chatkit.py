"""ChatKit: sessions for the chat of a web page, and the threads of its users."""

from __future__ import annotations

from protocol.mock.engine.resources import Handler, create_record
from protocol.mock.engine.store import Record
from protocol.mock.engine.world import Call, World
from protocol.mock.unchecked import object_of, without_nulls
from protocol.wire.json_text import JsonObject

_THREADS = "/chatkit/threads"
_SESSION_SECONDS = 600
_REQUESTS_A_MINUTE = 10

# The configuration of a session where its request does not say.
_CONFIGURATION_DEFAULTS: JsonObject = {
    "automatic_thread_titling": {"enabled": True},
    "file_upload": {"enabled": False, "max_file_size": 512, "max_files": 10},
    "history": {"enabled": True, "recent_threads": None},
}
_WORKFLOW_DEFAULTS: JsonObject = {"state_variables": None, "version": None, "tracing": {"enabled": True}}


class ChatKit:
    """The family of /chatkit."""

    def __init__(self, world: World) -> None:
        self._world = world

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by operation."""
        return {"POST /chatkit/sessions": self.create}

    def create(self, call: Call) -> JsonObject:
        """Answer POST /chatkit/sessions."""
        body, world = call.body, self._world
        seconds = object_of(body.get("expires_after")).get("seconds")
        seconds = seconds if type(seconds) is int else _SESSION_SECONDS
        rate = object_of(body.get("rate_limits")).get("max_requests_per_1_minute") or _REQUESTS_A_MINUTE
        known = {
            "client_secret": world.new_id("ek_"),
            "expires_at": world.now() + seconds,
            "max_requests_per_1_minute": rate,
            "rate_limits": {"max_requests_per_1_minute": rate},
            "workflow": {**_WORKFLOW_DEFAULTS, **without_nulls(body.get("workflow"))},
            "chatkit_configuration": _configuration(object_of(body.get("chatkit_configuration"))),
        }
        session = create_record(call, known)
        session.plan.append((world.clock() + seconds, _expire_session))
        self._greet(session.object["user"])
        return session.object

    def _greet(self, user: str) -> None:
        """Add the thread of a chat that has just begun, with the mock's text in it."""
        world = self._world
        id = world.new_id("cthr_")
        made = world.make("ChatKitThread", {"id": id, "user": user, "title": None})
        thread = world.store.add(_THREADS, id, made)
        item_id = world.new_id("cthi_")
        content = [{"type": "output_text", "text": world.settings.text, "annotations": []}]
        item = world.make("ChatKitAnswer", {"id": item_id, "thread_id": id, "content": content})
        world.store.add(f"{thread.path}/items", item_id, item)


def _expire_session(session: Record) -> None:
    session.object["status"] = "expired"


def _configuration(asked: JsonObject) -> JsonObject:
    return {name: {**default, **without_nulls(asked.get(name))} for name, default in _CONFIGURATION_DEFAULTS.items()}
