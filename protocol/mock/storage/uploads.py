"""Uploads: a large file that comes in parts. The request that completes it names their order."""

from __future__ import annotations

import hashlib
import typing

from protocol.budget import spend_turn
from protocol.errors import ApiError
from protocol.exchange import LONG_BODY
from protocol.mock.engine.resources import Handler, create_record
from protocol.mock.engine.store import Record, State
from protocol.mock.engine.world import Call, World
from protocol.mock.storage.files import form_file, keep_file
from protocol.turns import in_turns
from protocol.wire.gathering import joined, stretches
from protocol.wire.json_text import JsonObject

_UPLOADS = "/uploads"
# API reference, "Uploads": how long one may take, and the most bytes of a part.
_UPLOAD_SECONDS = 3600
_PART_BYTES = 64 * 1024 * 1024

# Steps (protocol/budget.py): to find a part, and to hash what is hashed before others may have their turns.
_PART_STEPS = 3
_HASHED_STEPS = 1_000


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
        file = form_file(call, "data")
        if file.size > _PART_BYTES:
            raise ApiError(
                400, f"The part is too large: it has {file.size} bytes, at most {_PART_BYTES} are allowed.",
                param="data", code="file_too_large",
            )  # fmt: skip
        self._world.store.make_room_for(call.collection, file.size)
        return create_record(call, content=file.data).object

    def complete(self, call: Call) -> JsonObject | typing.Awaitable[JsonObject]:
        """Make a file of the parts, in the order in which the request names them."""
        upload = self._pending(call)
        ids = call.body.get("part_ids")
        parts, size = [], 0
        for id in ids if isinstance(ids, list) else []:
            spend_turn(_PART_STEPS)
            parts.append(self._part(upload, id).content)
            size += len(parts[-1])
        # A part may be named a thousand times, and the upload may say that it expects as much.
        if size > self._world.settings.max_stored:
            raise ApiError(
                413, f"The parts have {size} bytes in all, of at most {self._world.settings.max_stored} that are kept.",
                param="part_ids", code="file_too_large",
            )  # fmt: skip
        if not upload.is_invented and size != upload.object["bytes"]:
            raise ApiError(
                400, f"The parts have {size} bytes in all, but the upload was created for {upload.object['bytes']}.",
                param="part_ids", code="bytes_mismatch",
            )  # fmt: skip
        return self._completed(call, parts) if size <= LONG_BODY else in_turns(lambda: self._completed(call, parts))

    def _completed(self, call: Call, parts: typing.Sequence[bytes]) -> JsonObject:
        if call.request is not None:
            call.request.hold(sum(map(len, parts)))
        content = joined(parts)
        md5 = call.body.get("md5")
        if md5 is not None and not self._pending(call).is_invented:
            _check_md5(content, str(md5))
        upload = self._pending(call)  # others had their turns
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


def _check_md5(content: bytes, md5: str) -> None:
    hashed = hashlib.md5(usedforsecurity=False)
    for stretch in stretches(content, _HASHED_STEPS):
        hashed.update(stretch)
    found = hashed.hexdigest()
    if found != md5.lower():
        raise ApiError(
            400, f"The MD5 of the parts is {found}, but '{md5[:100]}' was expected.", param="md5", code="md5_mismatch"
        )
