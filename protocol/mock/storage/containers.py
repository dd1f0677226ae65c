"""Containers: folders of files. One that is not used for a while expires, and its files go."""

from __future__ import annotations

from protocol.errors import ApiError
from protocol.exchange import Response
from protocol.mock.engine.resources import Handler, create_record, list_objects
from protocol.mock.engine.store import Record
from protocol.mock.engine.world import Call, World
from protocol.mock.storage.files import FILES, FileState, content_type_of, expire, file_response
from protocol.mock.unchecked import object_of
from protocol.wire.json_text import JsonObject
from protocol.wire.multipart import FormFile

_CONTAINERS = "/containers"
# API reference, "Containers": when one that is not used expires, and where its files are.
_EXPIRY = {"anchor": "last_active_at", "minutes": 20}
_FOLDER = "/mnt/data"


class Containers:
    """The family of /containers."""

    def __init__(self, world: World) -> None:
        self._world = world

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by operation."""
        files = "/containers/{container_id}/files"
        return {
            "POST /containers": self.create,
            f"GET {files}": self.list_files,
            f"POST {files}": self.add_file,
            f"GET {files}/{{file_id}}/content": self.download,
        }

    def create(self, call: Call) -> JsonObject:
        """Make a container, and copy files into it."""
        ids = call.body.get("file_ids")
        sources = [self._world.find(FILES, str(id), param="file_ids") for id in (ids if isinstance(ids, list) else [])]
        known = {
            "status": "running",
            "expires_after": call.body.get("expires_after") or _EXPIRY,
            "memory_limit": call.body.get("memory_limit") or "1g",
            "network_policy": call.body.get("network_policy") or {"type": "disabled"},
        }
        record = create_record(call, known)
        self._touch(record)
        for source in sources:
            file = self._world.make("ContainerFile", {"id": self._world.new_id("cfile_"), **_copied(record, source)})
            self._keep(record, file, source.content, content_type_of(source))
        return record.object

    def list_files(self, call: Call) -> JsonObject:
        """Answer a page of a container's files."""
        self._usable(call)
        return list_objects(call)

    def add_file(self, call: Call) -> JsonObject:
        """Keep the file of a form, or a copy of a file that was uploaded before."""
        container = self._usable(call)
        file, id = call.body.get("file"), call.body.get("file_id")
        known: JsonObject = {"source": "user", "path": f"{_FOLDER}/empty", "bytes": 0}
        content, content_type = b"", ""
        if isinstance(file, FormFile):
            self._world.store.make_room_for(call.collection, file.size)
            content, content_type = file.data, file.content_type
            known.update(path=_path(file.filename), bytes=len(content))
        elif id is not None:
            source = self._world.find(FILES, str(id), param="file_id")
            content, content_type = source.content, content_type_of(source)
            known = _copied(container, source)
        record = create_record(call, {**known, "created_at": self._world.now()}, content)
        record.state = FileState(content_type)
        return record.object

    def download(self, call: Call) -> Response:
        """Answer the bytes of a container's file."""
        container = self._usable(call)
        return file_response(self._world.find(f"{container.path}/files", call.names["file_id"]))

    def _keep(self, container: Record, file: JsonObject, content: bytes, content_type: str) -> None:
        record = self._world.store.add(f"{container.path}/files", file["id"], file, content)
        record.state = FileState(content_type)

    def _usable(self, call: Call) -> Record:
        """Return the container that the path names, and note that it is in use; ApiError 404 once it has expired."""
        record = self._world.find(_CONTAINERS, call.names["container_id"])
        if record.object["status"] == "expired":
            raise ApiError(404, f"Container '{record.id}' is expired.", param="container_id", code="container_expired")
        self._touch(record)
        return record

    def _touch(self, record: Record) -> None:
        world = self._world
        record.object["last_active_at"] = world.now()
        record.plan.clear()
        minutes = object_of(record.object.get("expires_after")).get("minutes")
        if type(minutes) is int:
            record.plan.append((world.clock() + minutes * 60, lambda record: expire(world, record)))


def _copied(container: Record, source: Record) -> JsonObject:
    """Return what a container's file takes over from an uploaded file."""
    return {
        "bytes": len(source.content),
        "container_id": container.id,
        "path": _path(str(source.object.get("filename"))),
        "source": "user",
    }


def _path(filename: str) -> str:
    """Return the path of a file: directly below the container's folder, whatever folders its name has."""
    return f"{_FOLDER}/{filename.replace(chr(92), '/').rpartition('/')[2] or 'file'}"
