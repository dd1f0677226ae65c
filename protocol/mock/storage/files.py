"""Files: uploaded, listed, downloaded and deleted. One that expires is removed."""

from __future__ import annotations

import re
import typing
import urllib.parse

from protocol.errors import ApiError
from protocol.exchange import Response
from protocol.mock.engine.resources import Handler, deleted_answer, list_objects
from protocol.mock.engine.store import Record, State
from protocol.mock.engine.world import Call, World
from protocol.wire.http1.writers import encode_fields
from protocol.wire.json_text import JsonObject
from protocol.wire.multipart import FormFile

#: The path that lists the files.
FILES = "/files"

_UNKNOWN_TYPE = "application/octet-stream"
_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+(?:; ?[\w-]+=[\w.-]+)*", re.ASCII)
_UNQUOTABLE = re.compile(r'[^ -~]|["\\]')
# API reference, "List files": the default and the most of `limit`.
_FILES_A_PAGE = 10_000
# API reference, "Upload file", `expires_after`: how long the input of a batch is kept by default.
_BATCH_INPUT_SECONDS = 30 * 24 * 3600


class FileState(State):
    """What a file knows and does not show: its media type, "" where it is not known."""

    __slots__ = ("content_type",)

    def __init__(self, content_type: str) -> None:
        self.content_type = content_type


class Files:
    """The family of /files."""

    def __init__(self, world: World) -> None:
        self._world = world

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by operation."""
        return {
            "GET /files": self.list,
            "POST /files": self.upload,
            "GET /files/{file_id}/content": self.download,
            "DELETE /files/{file_id}": self.delete,
        }

    def list(self, call: Call) -> JsonObject:
        """Answer a page of the files. Without `limit` it is as long as a page may be."""
        call.query.setdefault("limit", _FILES_A_PAGE)
        return list_objects(call)

    def upload(self, call: Call) -> JsonObject:
        """Keep the file of a form."""
        file = form_file(call, "file")
        body = call.body
        self._world.store.make_room_for(FILES, file.size)
        return keep_file(
            self._world, file.filename, file.data, body.get("purpose"), content_type=file.content_type,
            expires_after=body.get("expires_after"),
        ).object  # fmt: skip

    def download(self, call: Call) -> Response:
        """Answer a file's bytes."""
        return file_response(self._world.find(FILES, call.names["file_id"]))

    def delete(self, call: Call) -> JsonObject:
        """Remove a file, also from the vector stores that it is in (API reference, "Delete file")."""
        id = call.record().id
        store = self._world.store
        store.remove(FILES, id)
        for vector_store in store.all("/vector_stores"):
            store.remove(f"{vector_store.path}/files", id)
        return deleted_answer(call, id)


def keep_file(
    world: World,
    filename: str,
    content: bytes,
    purpose: typing.Any,
    *,
    id: str = "",
    content_type: str = "",
    expires_after: typing.Any = None,
) -> Record:
    """Add a file to those that /files lists; `expires_after` is as in a request: `{"seconds": …}`, or None."""
    seconds = expires_after.get("seconds") if isinstance(expires_after, dict) else None
    if type(seconds) is not int:
        seconds = _BATCH_INPUT_SECONDS if purpose == "batch" else None
    known = {
        "id": id or world.new_id("file-"),
        "bytes": len(content),
        "created_at": world.now(),
        "filename": filename,
        "purpose": purpose,
        "status": "processed",
        "expires_at": None if seconds is None else world.now() + seconds,
        "status_details": None,
    }
    object = world.make("FileObject", known)
    record = world.store.add(FILES, known["id"], object, content)
    record.state = FileState(content_type)
    if seconds is not None:
        record.plan.append((world.clock() + seconds, lambda record: forget(world, record)))
    return record


def forget(world: World, record: Record) -> None:
    """Remove a record that has expired."""
    world.store.remove(record.collection, record.id)


def expire(world: World, record: Record) -> None:
    """Let a container or a vector store expire: it stays, and its files go."""
    record.object["status"] = "expired"
    for file in world.store.all(f"{record.path}/files"):
        forget(world, file)


def content_type_of(record: Record) -> str:
    """Return the media type of a file, "" where it is not known."""
    state = record.state_of(FileState)
    return state.content_type if state is not None else ""


def form_file(call: Call, name: str) -> FormFile:
    """Return the file of a form; ApiError 400 where there is none of that name."""
    file = call.body.get(name)
    if isinstance(file, FormFile):
        return file
    raise ApiError(
        400, f"Invalid '{name}': expected a file in a multipart/form-data body.", param=name, code="invalid_type"
    )


def file_response(record: Record) -> Response:
    """Return the answer that downloads a record's content, under its `filename` or the last part of its `path`."""
    filename = record.object.get("filename") or str(record.object.get("path") or record.id).rpartition("/")[2]
    return download_response(record.content, filename, content_type_of(record))


def download_response(content: bytes, filename: str, content_type: str) -> Response:
    """Return an answer that clients save as a file (RFC 6266; a name that is not ASCII comes twice, as in its §4.3)."""
    if not _MEDIA_TYPE.fullmatch(content_type):
        content_type = _UNKNOWN_TYPE
    quotable = _UNQUOTABLE.sub("_", filename)
    disposition = f'attachment; filename="{quotable}"'
    if quotable != filename:
        disposition += f"; filename*=UTF-8''{urllib.parse.quote(filename, safe='', errors='replace')}"
    return Response(200, encode_fields([("content-type", content_type), ("content-disposition", disposition)]), content)
