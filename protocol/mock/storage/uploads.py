"""Uploads: a large file in parts, put together in the order that its completion names."""

from __future__ import annotations

import hashlib

from protocol.errors import ApiError
from protocol.mock.engine.resources import Handler, create_record
from protocol.mock.engine.store import Record
from protocol.mock.engine.world import Call, World
from protocol.mock.storage.files import form_file, keep_file
from protocol.wire.json_text import JsonObject

_UPLOADS = "/uploads"
# API reference, "Uploads": how long one may take, and the most bytes of a part.
_UPLOAD_SECONDS = 3600
_PART_BYTES = 64 * 1024 * 1024


class Uploads:
    """The operations on uploads."""

    def __init__(self, world: World) -> None:
        self._world = world

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by their operations' keys."""
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
        record.notes["content_type"] = str(call.body.get("mime_type") or "")
        record.notes["expires_after"] = call.body.get("expires_after")
        record.plan.append((world.clock() + _UPLOAD_SECONDS, lambda record: self._end(record, "expired")))
        return record.object

    def add_part(self, call: Call) -> JsonObject:
        """Keep a part; parts may come in any order, and at the same time."""
        self._pending(call)
        data = form_file(call, "data").data
        if len(data) > _PART_BYTES:
            raise ApiError(
                400, f"The part is too large: it has {len(data)} bytes, at most {_PART_BYTES} are allowed.",
                param="data", code="file_too_large",
            )  # fmt: skip
        return create_record(call, content=data).object

    def complete(self, call: Call) -> JsonObject:
        """Put the parts together, in the order in which they are named, to a file."""
        upload = self._pending(call)
        ids = call.body.get("part_ids")
        content = b"".join(self._part(upload, id).content for id in (ids if isinstance(ids, list) else []))
        if "invented" not in upload.notes:
            _check_content(content, upload.object["bytes"], call.body.get("md5"))
        notes = upload.notes
        file = keep_file(
            self._world, upload.object["filename"], content, upload.object["purpose"],
            content_type=notes.get("content_type", ""), expires_after=notes.get("expires_after"),
        )  # fmt: skip
        self._end(upload, "completed")
        upload.object["file"] = file.object
        return upload.object

    def cancel(self, call: Call) -> JsonObject:
        """End an upload without a file; no part can be added any more."""
        upload = self._pending(call)
        self._end(upload, "cancelled")
        return upload.object

    def _pending(self, call: Call) -> Record:
        """Return the upload that the path names; ApiError 400 where it is over."""
        upload = self._world.find(_UPLOADS, call.names["upload_id"])
        status = upload.object["status"]
        if status != "pending" and "invented" not in upload.notes:
            raise ApiError(
                400, f"The upload '{upload.id}' is {status}: only a pending one can be changed.", param="upload_id",
                code="invalid_upload_status",
            )  # fmt: skip
        return upload

    def _part(self, upload: Record, id: object) -> Record:
        parts = f"{upload.path}/parts"
        if self._world.store.get(parts, str(id)) is None and "invented" not in upload.notes:
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
