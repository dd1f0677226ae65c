"""Threads and their messages.

A thread knows its last run, for two reasons: messages are refused while a run is active, and a run that is due leaves
its message only when it is looked at. A thread that was made up for an unknown id knows no run and refuses nothing.
"""

from __future__ import annotations

import typing

from protocol.errors import ApiError
from protocol.mock.engine.resources import Handler, page_of
from protocol.mock.engine.store import Record, State
from protocol.mock.engine.world import Call, World
from protocol.mock.unchecked import object_of, objects_of
from protocol.wire.json_text import JsonObject

THREADS = "/threads"

#: The statuses in which a run holds its thread.
ACTIVE_RUN_STATUSES = frozenset(["queued", "in_progress", "requires_action", "cancelling"])


class _ThreadState(State):
    """What a thread knows and does not show: the id of its last run, "" before there is one."""

    __slots__ = ("last_run_id",)

    def __init__(self) -> None:
        self.last_run_id = ""


class Threads:
    """The family of /threads and of messages in them."""

    def __init__(self, world: World) -> None:
        self._world = world

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by operation."""
        return {
            "POST /threads": self.create,
            "POST /threads/{thread_id}/messages": self.create_message,
            "GET /threads/{thread_id}/messages": self.list_messages,
        }

    def create(self, call: Call) -> JsonObject:
        """Answer POST /threads."""
        return new_thread(self._world, call.body).object

    def create_message(self, call: Call) -> JsonObject:
        """Answer POST /threads/{thread_id}/messages; ApiError 400 while a run is active."""
        thread = self._world.find(THREADS, call.names["thread_id"])
        run = active_run(self._world, thread)
        if run is not None:
            raise ApiError(400, f"Can't add messages to {thread.id} while a run {run.id} is active.")
        return add_message(self._world, thread, call.body).object

    def list_messages(self, call: Call) -> JsonObject:
        """Answer the messages of a thread, or those of one run."""
        thread = self._world.find(THREADS, call.names["thread_id"])
        active_run(self._world, thread)  # a run that is due leaves its message now
        messages = [record.object for record in self._world.store.all(f"{thread.path}/messages")]
        run_id = call.query.get("run_id")
        if run_id is not None:
            messages = [message for message in messages if message.get("run_id") == run_id]
        return page_of(messages, call.query)


def new_thread(world: World, body: JsonObject) -> Record:
    """Remember a thread that a body describes, with the messages that it begins with."""
    resources = tool_resources(world, body.get("tool_resources"))
    known = {"metadata": body.get("metadata") or {}, "tool_resources": resources}
    id = world.new_id("thread_")
    thread = world.store.add(THREADS, id, world.make("Thread", {**known, "id": id}))
    thread.state = _ThreadState()
    for message in objects_of(body.get("messages")):
        add_message(world, thread, message)
    return thread


def tool_resources(world: World, asked: typing.Any) -> JsonObject:
    """Return what tools may use. Vector stores that a request describes are made, and named instead."""
    resources = dict(object_of(asked))
    search = resources.get("file_search")
    if type(search) is dict and search.get("vector_stores"):
        made = [world.ask("POST", "/vector_stores", store)["id"] for store in objects_of(search["vector_stores"])]
        resources["file_search"] = {"vector_store_ids": [*(search.get("vector_store_ids") or []), *made]}
    return resources


def add_message(world: World, thread: Record, body: JsonObject) -> Record:
    """Remember a message that a request's body describes."""
    known = {
        "role": body.get("role"), "content": _message_parts(body.get("content")),
        "attachments": body.get("attachments") or [], "metadata": body.get("metadata") or {},
        "assistant_id": None, "run_id": None, "completed_at": None,
    }  # fmt: skip
    return put_message(world, thread, known)


def put_message(world: World, thread: Record, known: JsonObject) -> Record:
    """Remember a message; what `known` lacks is made up."""
    id = world.new_id("msg_")
    nothing_wrong = {"incomplete_at": None, "incomplete_details": None}
    message = world.make("Message", {**nothing_wrong, **known, "id": id, "thread_id": thread.id})
    return world.store.add(f"{thread.path}/messages", id, message)


def _message_parts(content: typing.Any) -> list[JsonObject]:
    """Return a message's content as answers have it: each text is a part with annotations."""
    if type(content) is str:
        return [text_part(content)]
    parts = []
    for part in objects_of(content):
        is_text = part.get("type") == "text" and type(part.get("text")) is str
        parts.append(text_part(part["text"]) if is_text else part)
    return parts


def text_part(text: str, annotations: typing.Sequence[JsonObject] = ()) -> JsonObject:
    """Return the part of a message that has a text."""
    return {"type": "text", "text": {"value": text, "annotations": list(annotations)}}


def message_text(message: JsonObject) -> str:
    """Return the text of a message."""
    return " ".join(part["text"]["value"] for part in message["content"] if part["type"] == "text")


def active_run(world: World, thread: Record) -> Record | None:
    """Return the run that holds a thread, brought up to date; None when the thread is free."""
    state = thread.state_of(_ThreadState)
    run = world.store.get(f"{thread.path}/runs", state.last_run_id) if state is not None else None
    return run if run is not None and run.object["status"] in ACTIVE_RUN_STATUSES else None


def note_run(thread: Record, run: Record) -> None:
    """Let a thread know its newest run."""
    state = thread.state_of(_ThreadState)
    if state is not None:
        state.last_run_id = run.id
