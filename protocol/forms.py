"""Uploads: a form with files, held, or read as they come, up to a bound."""

from __future__ import annotations

import typing

from protocol.errors import ApiError
from protocol.exchange import Request
from protocol.multipart import FormEvent, MultipartReader, PartData, PartHead, boundary_of


class FormFile(typing.NamedTuple):
    """A file of a form; `content_type` is "" where the client says none."""

    name: str
    filename: str
    content_type: str
    data: bytes


class Form:
    """A form's `parts` in their order: pairs of a name and a text or a file.

    `fields` are the texts by name, of which the last of a name counts, `files` the files.
    """

    def __init__(self) -> None:
        self.parts: list[tuple[str, str | FormFile]] = []
        self.fields: dict[str, typing.Any] = {}
        self.files: list[FormFile] = []

    def file(self, name: str) -> FormFile:
        """Return the first file of that name; ApiError 400 where there is none."""
        for file in self.files:
            if file.name == name:
                return file
        raise ApiError(400, f"{name}: expected a file in a multipart/form-data body", param=name)


def parse_form(content_type: str, body: bytes) -> Form:
    """Return the form of a body that is held; ApiError 400 for what is none."""
    reader = MultipartReader(boundary_of(content_type))
    gatherer = _FormGatherer()
    gatherer.take(reader.feed(body))
    gatherer.take(reader.close())
    return gatherer.form


async def read_form(request: Request, most_bytes: int) -> Form:
    """Read a request's body as a form; ApiError 400 for what is none, 413 for more than so many bytes in all."""
    reader = MultipartReader(boundary_of(request.fields.get("content-type")))
    gatherer = _FormGatherer()
    size = 0
    async for data in request.stream:
        size += len(data)
        if size > most_bytes:
            raise ApiError(
                413, f"The form must have at most {most_bytes} bytes.", type="invalid_request_error",
                code="file_too_large",
            )  # fmt: skip
        gatherer.take(reader.feed(data))
    gatherer.take(reader.close())
    return gatherer.form


class _FormGatherer:
    """Puts the parts of a form together."""

    def __init__(self) -> None:
        self.form = Form()
        self._head: PartHead | None = None
        self._data = bytearray()

    def take(self, events: typing.Iterable[FormEvent]) -> None:
        for event in events:
            if isinstance(event, PartHead):
                self._head = event
            elif isinstance(event, PartData):
                self._data += event.data
            else:
                self._end_part()

    def _end_part(self) -> None:
        head, data = self._head, bytes(self._data)
        self._data = bytearray()
        if head.filename is not None:
            file = FormFile(head.name, head.filename, head.content_type, data)
            self.form.files.append(file)
            self.form.parts.append((head.name, file))
            return
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as exc:
            raise ApiError(400, f"The form's field {head.name[:100]!r} is not UTF-8.", param=head.name[:100]) from exc
        self.form.fields[head.name] = text
        self.form.parts.append((head.name, text))
