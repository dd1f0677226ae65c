"""The model that a multipart form names, read and replaced while the form passes through."""

from __future__ import annotations

import typing

from protocol.wire.multipart import FormKind, FormScanner, bad_form, boundary_of, parse_part_head

_MODEL_BYTES = 1024


class ModelRewriter:
    """Passes a form through as it comes, in pieces of any size, with another value in its part "model".

    `rename` gets the model that the form names, at most 1024 bytes of UTF-8, and says which one to send; the same one
    leaves the form as it is. Where the form has no such part, `rename("")` is asked when the closing delimiter comes,
    and an answer other than "" is added as a last part: so an override holds, and a mapping adds nothing.

    At most a part's head, a model or a boundary waits inside. Raises ApiError 400 for a form that is malformed or may
    be read in two ways (protocol/wire/multipart.py says which), from then on every time. What came out before stays.
    """

    def __init__(self, content_type: str, rename: typing.Callable[[str], str]) -> None:
        boundary = boundary_of(content_type)
        self._dash_boundary = b"--" + boundary.encode("ascii")
        self._scanner = FormScanner(boundary, max_head_bytes=8192, max_parts=1000)
        self._rename = rename
        self._out: list[bytes] = []
        self._value: bytearray | None = None  # of the model, while its part is being read
        self._has_parts = False
        #: The model that the form names, None until its part has been read; as it came, not as it was renamed.
        self.model: str | None = None
        #: How many bytes more have come out of what has been read than went in.
        self.growth = 0

    def feed(self, data: bytes) -> bytes:
        """Take bytes and return those that can be sent on."""
        self._out = []
        self._scanner.feed(data, self._take)
        return b"".join(self._out)

    def close(self) -> bytes:
        """Return the last bytes at the end of the body; ApiError 400 when the form breaks off."""
        self._out = []
        self._scanner.close(self._take)
        return b"".join(self._out)

    def _take(self, kind: FormKind, raw: bytes) -> None:
        value = self._value
        if kind == "data" and value is not None:
            value += raw
            if len(value) > _MODEL_BYTES:
                raise bad_form(f"its model has more than {_MODEL_BYTES} bytes")
            return
        if kind in ("delimiter", "close-delimiter"):
            self._out.append(self._finish_part())
        if kind == "close-delimiter" and self.model is None:
            self._out.append(self._added_part())
        self._out.append(raw)
        if kind == "head":
            self._begin_part(raw)

    def _begin_part(self, head: bytes) -> None:
        self._has_parts = True
        name = parse_part_head(head).name
        if name != "model" and name.lower() == "model":
            # ASP.NET, for one, does not look at the case.
            raise bad_form(f"a part is named {name!r}, which some servers take for 'model' and others do not")
        if name == "model":
            if self.model is not None:
                raise bad_form("it has more than one part named 'model'")
            self._value = bytearray()

    def _finish_part(self) -> bytes:
        """Return the value to send for the part that ends, b"" when it was sent on already."""
        if self._value is None:
            return b""
        came, self._value = bytes(self._value), None
        try:
            self.model = came.decode("utf-8")
        except UnicodeDecodeError as exc:
            raise bad_form(f"its model must be UTF-8, but is {came[:100]!r}") from exc
        sent = self._rename(self.model).encode("utf-8")
        self.growth += len(sent) - len(came)
        return sent

    def _added_part(self) -> bytes:
        model = self._rename("")
        if not model:
            return b""
        # The closing delimiter begins with the line end that stands before every boundary but the very first.
        line_end = b"\r\n" if self._has_parts else b""
        return b'%b%b\r\ncontent-disposition: form-data; name="model"\r\n\r\n%b%b' % (
            line_end, self._dash_boundary, model.encode("utf-8"), b"" if self._has_parts else b"\r\n",
        )  # fmt: skip
