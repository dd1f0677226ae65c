"""Uploads: a large file that comes in parts. The request that completes it names their order."""

from __future__ import annotations

import hashlib

from protocol.errors import ApiError
from protocol.mock.engine.resources import Handler, create_record
from protocol.mock.engine.store import Record, State
from protocol.mock.engine.world import Call, World
from protocol.mock.storage.files import form_file, keep_file
from protocol.wire.json_text import JsonObject

_UPLOADS = "/uploads"
# API reference, "Uploads": how long one may take, and the most bytes of a part.
_UPLOAD_SECONDS = 3600
_PART_BYTES = 64 * 1024 * 1024


class _UploadState(State):
    """What an upload knows of its file besides what it shows: the media type, and `expires_after` as in a request."""

    __slots__ = ("content_type", "expires_after")

    def __init__(self, content_type: str, expires_after: object) -> None:
        self.content_type = content_type
        self.expires_after = expires_after


class Uploads:
    """The family of /uploads."""

    def __init__(self, world: World) -> None:
        self._world = world

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by operation."""
        return {
            "POST /uploads": self.create,
            "POST /uploads/{upload_id}/parts": self.add_part,
            "POST /uploads/{upload_id}/complete": self.complete,
            "POST /uploads/{upload_id}/cancel": self.cancel,
        }

    def create(self, call: Call) -> JsonObject:
        """Begin an upload, which expires after an hour."""
        world = self._world
        known = {"status": "pending", "expires_at": world.now() + _UPLOAD_SECONDS, "file": None}
        record = create_record(call, known)
        record.state = _UploadState(str(call.body.get("mime_type") or ""), call.body.get("expires_after"))
        record.plan.append((world.clock() + _UPLOAD_SECONDS, lambda record: self._end(record, "expired")))
        return record.object

    def add_part(self, call: Call) -> JsonObject:
        """Keep a part. Parts may come in any order, and at the same time."""
        self._pending(call)
        data = form_file(call, "data").data
        if len(data) > _PART_BYTES:
            raise ApiError(
                400, f"The part is too large: it has {len(data)} bytes, at most {_PART_BYTES} are allowed.",
                param="data", code="file_too_large",
            )  # fmt: skip
        return create_record(call, content=data).object

    def complete(self, call: Call) -> JsonObject:
        """Make a file of the parts, in the order in which the request names them."""
        upload = self._pending(call)
        ids = call.body.get("part_ids")
        content = b"".join(self._part(upload, id).content for id in (ids if isinstance(ids, list) else []))
        if not upload.is_invented:
            _check_content(content, upload.object["bytes"], call.body.get("md5"))
        state = upload.state_of(_UploadState) or _UploadState("", None)
        file = keep_file(
            self._world, upload.object["filename"], content, upload.object["purpose"],
            content_type=state.content_type, expires_after=state.expires_after,
        )  # fmt: skip
        self._end(upload, "completed")
        upload.object["file"] = file.object
        return upload.object

    def cancel(self, call: Call) -> JsonObject:
        """End an upload without a file. No part can be added any more."""
        upload = self._pending(call)
        self._end(upload, "cancelled")
        return upload.object

    def _pending(self, call: Call) -> Record:
        """Return the upload that the path names; ApiError 400 where it is over."""
        upload = self._world.find(_UPLOADS, call.names["upload_id"])
        status = upload.object["status"]
        if status != "pending" and not upload.is_invented:
            raise ApiError(
                400, f"The upload '{upload.id}' is {status}: only a pending one can be changed.", param="upload_id",
                code="invalid_upload_status",
            )  # fmt: skip
        return upload

    def _part(self, upload: Record, id: object) -> Record:
        parts = f"{upload.path}/parts"
        if self._world.store.get(parts, str(id)) is None and not upload.is_invented:
            raise ApiError(
                400, f"The upload '{upload.id}' has no part '{str(id)[:100]}'.", param="part_ids", code="part_not_found"
            )
        return self._world.find(parts, str(id))

    def _end(self, upload: Record, status: str) -> None:
        upload.object["status"] = status
        upload.plan.clear()
        for part in self._world.store.all(f"{upload.path}/parts"):
            self._world.store.remove(part.collection, part.id)


def _check_content(content: bytes, expected_bytes: int, md5: object) -> None:
    if len(content) != expected_bytes:
        raise ApiError(
            400, f"The parts have {len(content)} bytes in all, but the upload was created for {expected_bytes}.",
            param="part_ids", code="bytes_mismatch",
        )  # fmt: skip
    if md5 is None:
        return
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != str(md5).lower():
        raise ApiError(
            400, f"The MD5 of the parts is {found}, but '{str(md5)[:100]}' was expected.", param="md5",
            code="md5_mismatch",
        )  # fmt: skip
