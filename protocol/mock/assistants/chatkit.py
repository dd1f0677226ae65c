"""ChatKit: sessions for a web page's chat, and the threads that its users leave."""

from __future__ import annotations

import typing

from protocol.mock.engine.resources import Handler, create_record
from protocol.mock.engine.store import Record
from protocol.mock.engine.world import Call, World
from protocol.wire.json_text import JsonObject

_THREADS = "/chatkit/threads"
_SECONDS = 600
_REQUESTS = 10

# What a session's configuration is where its request does not say.
_DEFAULTS: JsonObject = {
    "automatic_thread_titling": {"enabled": True},
    "file_upload": {"enabled": False, "max_file_size": 512, "max_files": 10},
    "history": {"enabled": True, "recent_threads": None},
}


class ChatKit:
    """The behaviour of /chatkit."""

    def __init__(self, world: World) -> None:
        self._world = world

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by operation."""
        return {"POST /chatkit/sessions": self.create}

    def create(self, call: Call) -> JsonObject:
        """Answer POST /chatkit/sessions."""
        body, world = call.body, self._world
        seconds = _member(body, "expires_after").get("seconds")
        seconds = seconds if type(seconds) is int else _SECONDS
        rate = _member(body, "rate_limits").get("max_requests_per_1_minute") or _REQUESTS
        known = {
            "client_secret": world.new_id("ek_"),
            "expires_at": world.now() + seconds,
            "max_requests_per_1_minute": rate,
            "rate_limits": {"max_requests_per_1_minute": rate},
            "workflow": _workflow(_member(body, "workflow")),
            "chatkit_configuration": _over_defaults(_DEFAULTS, _member(body, "chatkit_configuration")),
        }
        session = create_record(call, known)
        session.plan.append((world.clock() + seconds, _expire_session))
        self._greet(session.object["user"])
        return session.object

    def _greet(self, user: str) -> None:
        """Leave the thread of a chat that has just begun."""
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


def _workflow(asked: JsonObject) -> JsonObject:
    return {"state_variables": None, "version": None, "tracing": {"enabled": True}, **_said_of(asked)}


def _over_defaults(defaults: JsonObject, asked: JsonObject) -> JsonObject:
    return {name: {**default, **_said_of(_member(asked, name))} for name, default in defaults.items()}


def _member(value: JsonObject, name: str) -> JsonObject:
    member = value.get(name)
    return member if type(member) is dict else {}


def _said_of(value: JsonObject) -> dict[str, typing.Any]:
    return {name: member for name, member in value.items() if member is not None}
