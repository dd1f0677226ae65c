"""Bodies of requests: JSON objects, and forms with files, with the model renamed as the owner says."""

from __future__ import annotations

from protocol.exchange import Request
from protocol.openai.model_choice import ModelChoice
from protocol.wire.json_text import JsonObject
from protocol.wire.multipart import Form, read_form


class BodyReader:
    """Reads bodies, and puts the model there that is sent for the one that was asked for."""

    def __init__(self, choice: ModelChoice) -> None:
        self._choice = choice

    async def read_object(self, request: Request) -> JsonObject:
        """Return a body that is a JSON object; ApiError 400 where it is none."""
        body = await request.read_json_object()
        self._rename(body)
        return body

    async def read_form(self, request: Request, most_bytes: int) -> Form:
        """Read a body that is streamed as a form; ApiError 400 where it is none, 413 where it is larger."""
        assert request.stream is not None, "the endpoint streams its body"
        form = await read_form(request.fields.get("content-type"), request.stream, most_bytes)
        self._rename(form.fields)
        return form

    def _rename(self, fields: JsonObject) -> None:
        if isinstance(fields.get("model"), str):
            fields["model"] = self._choice.sent(fields["model"])
