"""Environments that agents work in. Files that were put into one are listed; nothing runs there."""

from __future__ import annotations

import base64
import binascii
import typing

from protocol.mock.engine.resources import Handler, create_record, update_object
from protocol.mock.engine.store import Record, State
from protocol.mock.engine.world import Call, World
from protocol.mock.storage.files import FILES
from protocol.mock.unchecked import object_of, objects_of
from protocol.openai.api.operations import Stage
from protocol.wire.json_text import JsonObject

ENVIRONMENTS = "/agents/environments"

_ENVIRONMENT_TEMPLATES = f"{ENVIRONMENTS}/templates"
_TEMPLATE_MEMBERS = ("capability_directories", "desktop", "files", "network", "packages", "plugins", "skills")
_HOSTED_STAGES = (Stage("pending", 1), Stage("ready", 0))
# The mock says that the user's own machine has connected, as none ever does.
_SELF_HOSTED_STAGES = (Stage("pending", 1), Stage("connected", 0))
_FILES_PAGE = 20


class _EnvironmentState(State):
    """What an environment knows and only its sessions show: what its request and its template said."""

    __slots__ = ("settled",)

    def __init__(self, settled: JsonObject) -> None:
        self.settled = settled


class Environments:
    """The family of /agents/environments and their templates."""

    def __init__(self, world: World) -> None:
        self._world = world

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by operation."""
        files = f"{ENVIRONMENTS}/{{environment_id}}/files"
        return {
            f"POST {ENVIRONMENTS}": self.create,
            f"POST {files}": self.create_file,
            f"GET {files}": self.list_files,
            f"POST {_ENVIRONMENT_TEMPLATES}": self.create_template,
            f"POST {_ENVIRONMENT_TEMPLATES}/{{environment_template_id}}": self.update_template,
        }

    def create(self, call: Call) -> JsonObject:
        """Answer POST /agents/environments."""
        return new_environment(self._world, object_of(call.body.get("environment"))).object

    def create_file(self, call: Call) -> JsonObject:
        """Answer POST …/files; the file takes the place of one that has the same path."""
        environment = self._world.find(ENVIRONMENTS, call.names["environment_id"])
        return _put_file(self._world, environment, sized_file(self._world, call.body)).object

    def list_files(self, call: Call) -> JsonObject:
        """Answer the files of an environment, or those below a path; a page's token is the number of its first file."""
        environment = self._world.find(ENVIRONMENTS, call.names["environment_id"])
        below = call.query.get("path") or ""
        found = [record.object for record in self._world.store.all(f"{environment.path}/files")]
        found = [file for file in found if file["path"].startswith(below)]
        if call.query.get("order", "desc") == "desc":
            found.reverse()
        token = call.query.get("page") or ""
        start = int(token) if token.isdecimal() else 0
        end = start + (call.query.get("limit") or _FILES_PAGE)
        has_more = end < len(found)
        next_page = str(end) if has_more else None
        return {"object": "list", "data": found[start:end], "has_more": has_more, "next_page": next_page}

    def create_template(self, call: Call) -> JsonObject:
        """Answer POST /agents/environments/templates."""
        return create_record(call, {"name": call.body.get("name"), **self._files(call)}).object

    def update_template(self, call: Call) -> JsonObject:
        """Answer POST /agents/environments/templates/{environment_template_id}."""
        call.body.update(self._files(call))
        return update_object(call)

    def _files(self, call: Call) -> JsonObject:
        files = call.body.get("files")
        return {} if files is None else {"files": [sized_file(self._world, file) for file in objects_of(files)]}


def new_environment(world: World, asked: JsonObject) -> Record:
    """Remember an environment that a request describes; ApiError 404 for a template that is not known."""
    template = asked.get("environment_template_id")
    base = world.find(_ENVIRONMENT_TEMPLATES, str(template)).object if template is not None else {}
    settled = {name: base[name] for name in _TEMPLATE_MEMBERS if base.get(name) is not None}
    settled.update((name, value) for name, value in asked.items() if value is not None)
    settled["files"] = [sized_file(world, file) for file in objects_of(settled.get("files"))]
    settled.update(id=world.new_id("env_"), environment_id=None)
    made = world.make("AgentEnvironment", settled)
    environment = world.store.add(ENVIRONMENTS, settled["id"], made)
    environment.state = _EnvironmentState(settled)
    world.live(environment, _SELF_HOSTED_STAGES if made["type"] == "self_hosted" else _HOSTED_STAGES)
    for file in settled["files"]:
        _put_file(world, environment, file)
    return environment


def session_environment(world: World, asked: JsonObject) -> JsonObject:
    """Return the environment of a session as its answers show it: none, the one that is named, or a new one."""
    if asked.get("type") not in ("openai_hosted", "self_hosted"):
        return {"type": "none"}
    known_id = asked.get("environment_id")
    environment = new_environment(world, asked) if known_id is None else world.find(ENVIRONMENTS, str(known_id))
    state = environment.state_of(_EnvironmentState)
    shown = {**environment.object, **(state.settled if state is not None else {}), "id": environment.id}
    return world.make("SessionEnvironment", shown)


def _put_file(world: World, environment: Record, file: JsonObject) -> Record:
    made = world.make("EnvironmentFile", {**file, "environment_id": environment.id})
    return world.store.add(f"{environment.path}/files", made["path"], made)


def sized_file(world: World, file: JsonObject) -> JsonObject:
    """Return the description of a file for an environment, with an id and its size in bytes."""
    return {"id": world.new_id("envfile_"), **file, "size_bytes": _file_size(world, file)}


def _file_size(world: World, file: JsonObject) -> int:
    if type(file.get("size_bytes")) is int:
        return file["size_bytes"]
    if file.get("type") == "file_id":
        uploaded = world.store.get(FILES, str(file.get("file_id")))
        return len(uploaded.content) if uploaded is not None else 0
    return len(_file_bytes(file.get("data")))


def _file_bytes(data: typing.Any) -> bytes:
    """Return the bytes of base64, or those of a text that is not base64."""
    text = data if type(data) is str else ""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return text.encode("utf-8", "backslashreplace")
