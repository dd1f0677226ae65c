"""Bodies of requests: JSON objects, and forms with files, with the model renamed as the owner says."""

from __future__ import annotations

from protocol.dashscope.mapping.fields import typed_fields
from protocol.exchange import Request, one_part
from protocol.openai.model_choice import ModelChoice
from protocol.wire.json_text import JsonObject
from protocol.wire.multipart import Form, FormFile, read_form


class BodyReader:
    """Reads bodies, and puts the model there that is sent for the one that was asked for."""

    def __init__(self, choice: ModelChoice) -> None:
        self._choice = choice

    async def read_object(self, request: Request) -> JsonObject:
        """Return a body that is a JSON object; ApiError 400 where it is none."""
        body = await request.read_json_object()
        self._rename(body)
        return body

    def short_object(self, request: Request) -> JsonObject:
        """Return the same for a body that is not long, without waiting."""
        body = request.json_object()
        self._rename(body)
        return body

    async def read_form(self, request: Request, most_bytes: int) -> Form:
        """Read a body that is streamed as a form; ApiError 400 where it is none, 413 where it is larger."""
        form = await read_form(request.fields.get("content-type"), request.held_stream(), most_bytes)
        self._rename(form.fields)
        return form

    async def read_fields(self, request: Request, most_bytes: int) -> tuple[JsonObject, list[FormFile]]:
        """Return the members of a held JSON object, or the texts and files of a held form; ApiError 400 or 413."""
        content_type = request.fields.get("content-type")
        if not content_type.lower().startswith("multipart/"):
            return await self.read_object(request), []
        form = await read_form(content_type, one_part(request.body), most_bytes)
        fields = typed_fields(form.fields)
        self._rename(fields)
        return fields, form.files

    def _rename(self, fields: JsonObject) -> None:
        if isinstance(fields.get("model"), str):
            fields["model"] = self._choice.sent(fields["model"])
