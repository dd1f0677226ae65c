"""Files that clients upload to the native mock, by what is known of them: their bytes are looked at, and not kept.

Source: Alibaba Cloud Model Studio, "File management": upload, list, query and delete below /files.
"""

from __future__ import annotations

import hashlib
import typing

from protocol.errors import ApiError
from protocol.exchange import Answer, Request, Response
from protocol.mock.dashscope.newest import Newest
from protocol.mock.dashscope.refusals import bad_parameter, refusal
from protocol.mock.dashscope.service_call import last_segment, page_of, query_of
from protocol.mock.dashscope.tasks import timestamp
from protocol.mock.served_files import mock_file_url
from protocol.openai.answers import JSON_FIELDS
from protocol.wire.gathering import stretches
from protocol.wire.json_text import JsonObject, encode_json
from protocol.wire.multipart import parse_form

_MOST_FILES = 1000  # of one form
_HASHED_STEPS = 1_000  # to hash a stretch (protocol/budget.py)
_MOST_TEXT = 1000  # characters of a name and of a description


class KeptFiles:
    """Takes, shows, lists and deletes files, of which `newest` lets the newest be remembered.

    `clock` gives seconds since the epoch, `new_id` an id.
    """

    def __init__(self, newest: Newest, clock: typing.Callable[[], float], new_id: typing.Callable[[], str]) -> None:
        self._newest = newest
        self._clock = clock
        self._new_id = new_id
        self._files: dict[str, JsonObject] = {}

    def upload(self, request: Request) -> Answer:
        """Answer POST /files, a form with `files`, and for each a text in `descriptions`."""
        try:
            form = parse_form(request.fields.get("content-type"), request.body, request.hold_part)
        except ApiError as exc:
            raise bad_parameter("Required body invalid, please check the request body format.") from exc
        files = [file for file in form.files if file.name == "files"]
        if not files:
            raise bad_parameter("Field required: files")
        notes = [value for name, value in form.parts if name == "descriptions" and isinstance(value, str)]
        uploaded = []
        for number, file in enumerate(files[:_MOST_FILES]):
            known: JsonObject = {
                "file_id": f"file-fe-{self._new_id()}",
                "name": file.filename[:_MOST_TEXT],
                "description": notes[number][:_MOST_TEXT] if number < len(notes) else "",
                "size": file.size,
                "md5": _md5(file.data),
                "gmt_create": timestamp(self._clock()),
                "purpose": form.fields.get("purpose", "fine-tune")[:_MOST_TEXT],
            }
            self._newest.add(self._files, known["file_id"], known)
            uploaded.append({"file_id": known["file_id"], "name": known["name"]})
        return _answer(request, {"uploaded_files": uploaded, "failed_uploads": []})

    def list(self, request: Request) -> Answer:
        """Answer GET /files: the newest first."""
        page, size = page_of(query_of(request))
        rows = [*reversed(self._files.values())]
        shown = rows[(page - 1) * size : page * size]
        return _answer(request, {"total": len(rows), "page_no": page, "page_size": size, "files": shown})

    def show(self, request: Request) -> Answer:
        """Answer GET /files/{id}."""
        return _answer(request, self._found(request))

    def delete(self, request: Request) -> Answer:
        """Answer DELETE /files/{id}."""
        self._newest.remove(self._files, self._found(request)["file_id"])
        return _answer(request, None)

    def policy(self, request: Request) -> Answer:
        """Answer GET /uploads: where a file may be put for 48 hours, and the form's signed fields."""
        if query_of(request).get("action") != "getPolicy" or not query_of(request).get("model"):
            raise bad_parameter("Field required: action=getPolicy, model")
        data = {
            "policy": "eyJtb2NrIjp0cnVlfQ==", "signature": "mock", "oss_access_key_id": "mock",
            "upload_dir": f"dashscope-instant/{self._new_id()}", "upload_host": mock_file_url(request, "store"),
            "expire_in_seconds": 300, "max_file_size_mb": 100, "capacity_limit_mb": 999_999_999,
            "x_oss_object_acl": "private", "x_oss_forbid_overwrite": "true",
        }  # fmt: skip
        return _answer(request, data)

    def store(self, request: Request) -> Answer:
        """Answer the form that puts a file into the temporary store; it is looked at, and not kept."""
        try:
            form = parse_form(request.fields.get("content-type"), request.body, request.hold_part)
        except ApiError as exc:
            raise bad_parameter("Required body invalid, please check the request body format.") from exc
        if not form.fields.get("key") or not any(file.name == "file" for file in form.files):
            raise bad_parameter("Field required: key, file")
        return Response(200, JSON_FIELDS, b"")

    def _found(self, request: Request) -> JsonObject:
        found = self._files.get(last_segment(request.path))
        if found is None:
            raise refusal("NotFound", "The file can not be found.")
        return found


def _answer(request: Request, data: JsonObject | None) -> Response:
    body: JsonObject = {"request_id": request.id} if data is None else {"request_id": request.id, "data": data}
    return Response(200, JSON_FIELDS, encode_json(body))


def _md5(content: bytes) -> str:
    hashed = hashlib.md5(usedforsecurity=False)
    for stretch in stretches(content, _HASHED_STEPS):
        hashed.update(stretch)
    return hashed.hexdigest()
