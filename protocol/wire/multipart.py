"""Forms with files, multipart/form-data of RFC 7578 and RFC 2046 §5.1, as events, and whole.

Theory of operation
-------------------
`FormScanner` cuts a body into tokens without losing a byte: joined together they are the body again. Its users look at
the tokens' kinds: the reader here, and the rewriter of a form's model (protocol/openai/model_in_form.py).

    _read_preamble ──► _read_delimiter ──► _read_part_head ──► _begin_data ──► _read_data ──► _read_delimiter …
                             └──► _read_epilogue (after the closing one)

Only the beginning of a part's head, or of what may be a delimiter, waits inside. Data is searched with `bytes.find` and
handed on as slices of what was fed.

Why it is strict
----------------
What stands in a form must not depend on who reads it: a part that we take for file data, and the upstream for the
model, would slip past the relay's `model` option. Servers in use accept bare line feeds around a boundary, a boundary
right after a part's head, `name*=`, or encoded parts. Such bodies are refused with 400; browsers and HTTP clients send
none of these.
"""

from __future__ import annotations

import io
import re
import typing
import urllib.parse

from protocol.budget import spend_turn
from protocol.errors import ApiError
from protocol.wire.gathering import joined

_TYPE = re.compile(r"[ \t]*multipart/form-data[ \t]*((?:;.*)?)", re.IGNORECASE | re.DOTALL)

# RFC 2046 §5.1.1: 1 to 70 characters, no space at the end. Characters beside its `bchars` are taken if a token may have
# them (RFC 9110 §5.6.2); "=" and "/" without quotes are against the grammar, but common.
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=?!#$%&*^`|~ ]{0,69}[0-9A-Za-z'()+_,\-./:=?!#$%&*^`|~]")

# A parameter (RFC 9110 §5.6.6). Browsers write a quote inside a quoted value as %22, others put a backslash before it.
_PARAMETER = re.compile(r'[ \t]*;[ \t]*([!#$%&\'*+\-.^_`|~0-9A-Za-z]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s";]*))[ \t]*')
_ESCAPED = re.compile(r'\\(["\\])')

# A part's head: field lines as in HTTP, none of them folded; RFC 7578 §5.1 lets values be UTF-8.
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t -~\x80-\xff]*)")
_DISPOSITION = re.compile(r"form-data(.*)", re.IGNORECASE | re.DOTALL)

# RFC 7578 §4.7: senders should not encode parts. These three encode nothing (RFC 2045 §6.2).
_IDENTITY_ENCODINGS = frozenset(("7bit", "8bit", "binary"))

# RFC 2046 §5.1.1: what follows a boundary: `--` at the end of the form, transport padding, a line end.
_DELIMITER_END = re.compile(rb"(--)?[ \t]*\r\n")
_DELIMITER_BEGUN = re.compile(rb"(?:-|(?:--)?[ \t]*\r?)")
_LINE_BREAK = re.compile(rb"[\r\n]")
_PADDING_BYTES = 256

# What is searched at once, and what it costs in steps (protocol/budget.py); and what a part costs.
_PIECE_BYTES = 65536
_PIECE_STEPS = 200
_PART_STEPS = 20

# What the head of a part may have, and a form.
_MOST_HEAD_BYTES = 8192
_MOST_PARTS = 1000

# Of a text, which becomes a string in one go. A file may be larger.
_MOST_TEXT_BYTES = 10 << 20

#: The tokens of a form; the names are those of RFC 2046 §5.1.1, but for "head", the header fields of a part.
FormKind = typing.Literal["preamble", "delimiter", "head", "data", "close-delimiter", "epilogue"]
_Hold = typing.Callable[[int], object]
FormTaker = typing.Callable[[FormKind, bytes], None]


class PartHead:
    """A part begins: its name, its file name (None where it is no file) and its media type ("" where none is said)."""

    __slots__ = ("content_type", "filename", "name")

    def __init__(self, name: str, filename: str | None, content_type: str) -> None:
        self.name = name
        self.filename = filename
        self.content_type = content_type

    def __repr__(self) -> str:
        return f"PartHead({self.name!r}, {self.filename!r}, {self.content_type!r})"


class PartData:
    """Bytes of the part, as many as happened to arrive."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __repr__(self) -> str:
        return f"PartData({self.data!r})"


class PartEnd:
    """The part is complete."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "PartEnd()"


FormEvent = typing.Union[PartHead, PartData, PartEnd]


class MultipartReader:
    """Reads a form in pieces of any size: PartHead, PartData any number of times, PartEnd, and again.

    `max_head_bytes` bounds the head of one part, `max_parts` their number (both 400). What the data may come to is for
    the caller to bound. Raises ApiError 400, from then on every time.
    """

    def __init__(self, boundary: str, *, max_head_bytes: int = _MOST_HEAD_BYTES, max_parts: int = _MOST_PARTS) -> None:
        self._scanner = FormScanner(boundary, max_head_bytes, max_parts)
        self._events: list[FormEvent] = []
        self._in_part = False

    def feed(self, data: bytes) -> list[FormEvent]:
        """Take bytes and return the events that they complete."""
        self._events = []
        self._scanner.feed(data, self._take)
        return self._events

    def close(self) -> list[FormEvent]:
        """Return the last events at the end of the body; ApiError 400 when the form breaks off."""
        self._events = []
        self._scanner.close(self._take)
        return self._events

    def _take(self, kind: FormKind, raw: bytes) -> None:
        if kind == "data":
            self._events.append(PartData(raw))
        elif kind == "head":
            self._events.append(parse_part_head(raw))
            self._in_part = True
        elif self._in_part and kind in ("delimiter", "close-delimiter"):
            self._events.append(PartEnd())
            self._in_part = False


def boundary_of(content_type: str) -> str:
    """Return the boundary that a Content-Type of multipart/form-data names; ApiError 400 when it names none or two."""
    form = _TYPE.fullmatch(content_type)
    if form is None:
        raise ApiError(400, f"The Content-Type must be multipart/form-data, but {content_type[:100]!r} came.")
    parameters = _parse_parameters(form[1])
    if parameters is None:
        raise ApiError(400, f"The Content-Type has malformed parameters: {content_type[:100]!r}.")
    names = [name.partition("*")[0] for name, _ in parameters]
    boundary = dict(parameters).get("boundary", "")
    if names.count("boundary") != 1 or not _BOUNDARY.fullmatch(boundary):
        raise ApiError(
            400, f"The Content-Type must name one boundary of 1 to 70 characters, but {content_type[:200]!r} came."
        )
    return boundary


def _parse_parameters(text: str) -> list[tuple[str, str]] | None:
    """Return the parameters, names in lower case, or None where the text is something else."""
    parameters = []
    text = text.rstrip("; \t")
    at = 0
    while at < len(text):
        match = _PARAMETER.match(text, at)
        if match is None:
            return None
        value = match[3] if match[2] is None else _ESCAPED.sub(r"\1", match[2])
        parameters.append((match[1].lower(), value))
        at = match.end()
    return parameters


def bad_form(reason: str) -> ApiError:
    """Return the 400 for a body that is no form, or none that everybody reads in the same way."""
    return ApiError(400, f"We could not parse your multipart form: {reason}.")


# ---- a part's head --------------------------------------------------------------------------------------------------


def parse_part_head(raw: bytes) -> PartHead:
    """Return what the head of a part says (RFC 7578 §4.2, §4.4 and §4.7)."""
    fields: dict[bytes, str] = {}
    for line in raw.split(b"\r\n")[:-2]:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise bad_form(f"the head of a part has the line {line[:100]!r}, which is not 'name: value'")
        name = field[1].lower()
        if name in fields:
            raise bad_form(f"the head of a part has {name.decode()!r} twice")
        # File names that are not UTF-8 are old browsers' and only ever shown.
        fields[name] = field[2].decode("utf-8", "replace").rstrip(" \t")
    encoding = fields.get(b"content-transfer-encoding", "binary")
    if encoding.lower() not in _IDENTITY_ENCODINGS:
        raise bad_form(f"a part has the transfer encoding {encoding[:100]!r}; send its bytes as they are")
    name, filename = _parse_disposition(fields.get(b"content-disposition", ""))
    return PartHead(name, filename, fields.get(b"content-type", ""))


def _parse_disposition(value: str) -> tuple[str, str | None]:
    """Return name and file name of a part (RFC 7578 §4.2)."""
    disposition = _DISPOSITION.fullmatch(value)
    parameters = _parse_parameters(disposition[1]) if disposition else None
    names = [name for name, _ in parameters or ()]
    if parameters is None or names.count("name") != 1 or len(set(names)) < len(names):
        raise bad_form(f"a part must have Content-Disposition: form-data; name=…, but it has {value[:100]!r}")
    # RFC 7578 §4.2 bars these forms; some servers read them all the same.
    if any(name.startswith("name*") for name in names):
        raise bad_form(f"a part's name must not be written as name*=: {value[:100]!r}")
    found = dict(parameters)
    if "\\" in found["name"]:
        raise bad_form(f"a part's name must have no backslash: {value[:100]!r}")
    return found["name"], _extended_filename(found.get("filename*", "")) or found.get("filename")


def _extended_filename(value: str) -> str:
    """Return the file name in RFC 8187's form, which urllib3 1.x sends: utf-8'language'percent-encoded; "" else."""
    charset, _, rest = value.partition("'")
    return urllib.parse.unquote(rest.partition("'")[2], "utf-8") if charset.lower() == "utf-8" else ""


# ---- the body -------------------------------------------------------------------------------------------------------


class FormScanner:
    """Cuts a form into tokens and hands each to its taker, in the way that the module's theory of operation tells.

    Raises ApiError 400, from then on every time. An ApiError that the taker raises is final in the same way.
    """

    def __init__(self, boundary: str, max_head_bytes: int, max_parts: int) -> None:
        self._dash_boundary = b"--" + boundary.encode("ascii")
        self._take: FormTaker | None = None  # while it is being called: it refers back to us
        self._max_head_bytes = max_head_bytes
        self._max_parts = max_parts
        self._parts = 0
        self._data = b""
        self._at = 0  # everything before it has been handed out
        self._error: ApiError | None = None
        # Reads one token; False when it needs more bytes.
        # A function and not a bound method: that would be a cycle, which keeps the body until the collector comes.
        self._step: typing.Callable[[FormScanner], bool] = FormScanner._read_preamble

    def feed(self, data: bytes, take: FormTaker) -> None:
        """Take bytes and hand on the tokens that they complete."""
        for at in range(0, len(data), _PIECE_BYTES):
            self._data = self._data[self._at :] + data[at : at + _PIECE_BYTES]
            self._at = 0
            self._run(FormScanner._read, take)
            spend_turn(_PIECE_STEPS)

    def close(self, take: FormTaker) -> None:
        """Hand on what is left at the end of the body; ApiError 400 when the form breaks off."""
        self._run(FormScanner._end, take)

    def _run(self, action: typing.Callable[[FormScanner], None], take: FormTaker) -> None:
        if self._error is not None:
            raise self._error.anew()
        self._take = take
        try:
            action(self)
        except ApiError as exc:
            self._error = exc.anew()
            self._data, self._at = b"", 0
            raise
        finally:
            self._take = None

    def _read(self) -> None:
        while self._step(self):
            pass

    def _end(self) -> None:
        # RFC 2046 §5.1.1: the line end behind the closing boundary belongs to the epilogue, and both may be missing.
        begun = self._data[self._at :].rstrip(b" \t\r")
        if self._step is FormScanner._read_delimiter and begun.endswith(self._dash_boundary + b"--"):
            self._hand_out("close-delimiter", len(self._data))
            self._step = FormScanner._read_epilogue
        if self._step is not FormScanner._read_epilogue:
            closing = (self._dash_boundary + b"--").decode()
            raise bad_form(f"it ends without its closing boundary {closing!r}")

    def _hand_out(self, kind: FormKind, end: int) -> None:
        at = self._at
        if end > at:
            assert self._take is not None
            self._at = end
            self._take(kind, self._data[at:end])

    def _read_preamble(self) -> bool:
        data = self._data
        found = data.find(self._dash_boundary, self._at)
        if found < 0:
            # As many bytes stay as a boundary that has come but for its last byte, and the two before it, which are
            # looked at when it is there.
            self._hand_out("preamble", len(data) - len(self._dash_boundary) - 1)
            return False
        if found and data[max(0, found - 2) : found] != b"\r\n":
            raise bad_form("its first boundary must stand at the beginning or after CR LF")
        self._hand_out("preamble", found)
        self._step = FormScanner._read_delimiter
        return True

    def _read_delimiter(self) -> bool:
        """Read what stands from the line end before a boundary to the one behind it."""
        data = self._data
        after = data.find(self._dash_boundary, self._at) + len(self._dash_boundary)
        end = _DELIMITER_END.match(data, after, after + _PADDING_BYTES)
        if end is None:
            if len(data) - after < _PADDING_BYTES and _DELIMITER_BEGUN.fullmatch(data, after):
                return False
            raise bad_form(f"its boundary must be followed by CR LF or '--', but {data[after : after + 40]!r} came")
        if end[1]:
            self._hand_out("close-delimiter", end.end())
            self._step = FormScanner._read_epilogue
            return True
        self._parts += 1
        spend_turn(_PART_STEPS)
        if self._parts > self._max_parts:
            raise bad_form(f"it has more than {self._max_parts} parts")
        self._hand_out("delimiter", end.end())
        self._step = FormScanner._read_part_head
        return True

    def _read_part_head(self) -> bool:
        end = self._data.find(b"\r\n\r\n", self._at, self._at + self._max_head_bytes)
        if end < 0:
            if len(self._data) - self._at >= self._max_head_bytes:
                raise bad_form(f"the head of a part has more than {self._max_head_bytes} bytes")
            return False
        self._hand_out("head", end + 4)
        self._step = FormScanner._begin_data
        return True

    def _begin_data(self) -> bool:
        if len(self._data) - self._at < len(self._dash_boundary):
            return False
        # For RFC 2046 this would be a part without a body, which a form does not have; many take it for data.
        if self._data.startswith(self._dash_boundary, self._at):
            raise bad_form("an empty line is missing between a part's head and the next boundary")
        self._step = FormScanner._read_data
        return True

    def _read_data(self) -> bool:
        data, at = self._data, self._at
        found = data.find(self._dash_boundary, at)
        while found >= 0:
            if data[max(at, found - 2) : found] == b"\r\n":
                self._hand_out("data", found - 2)
                self._step = FormScanner._read_delimiter
                return True
            if found > at and data[found - 1] in b"\r\n":
                raise bad_form("a boundary stands after a bare CR or LF instead of CR LF")
            found = data.find(self._dash_boundary, found + 1)
        # A delimiter begins with a line end. Where the last bytes have none, all can go: a boundary that the next bytes
        # begin with is data.
        line_break = _LINE_BREAK.search(data, max(at, len(data) - len(self._dash_boundary) - 1))
        self._hand_out("data", line_break.start() if line_break else len(data))
        return False

    def _read_epilogue(self) -> bool:
        # RFC 2046 §5.1.1: to be ignored. Every parser stops at the closing delimiter.
        self._hand_out("epilogue", len(self._data))
        return False


# ---- a whole form ---------------------------------------------------------------------------------------------------


class FormFile:
    """A file of a form, of so many bytes; `content_type` is "" where the client says none."""

    __slots__ = ("_data", "_hold", "content_type", "filename", "name", "size")

    def __init__(
        self, name: str, filename: str, content_type: str, data: bytes | memoryview, hold: _Hold | None = None
    ) -> None:
        self.name = name
        self.filename = filename
        self.content_type = content_type
        self.size = len(data)
        self._data = data
        self._hold = hold

    @property
    def data(self) -> bytes:
        """The bytes. Out of a body that is held they are copied when somebody first asks; what `hold` raises."""
        data = self._data
        if isinstance(data, memoryview):
            if self._hold is not None:
                self._hold(self.size)
            data = self._data = joined([data])
        return data


class Form:
    """A form's `parts` in their order: pairs of a name and a text or a file.

    `fields` holds the texts by name; the last one counts where a name comes again. `files` holds the files.
    """

    def __init__(self) -> None:
        self.parts: list[tuple[str, str | FormFile]] = []
        self.fields: dict[str, str] = {}
        self.files: list[FormFile] = []

    def file(self, name: str) -> FormFile:
        """Return the first file of that name; ApiError 400 where there is none."""
        for file in self.files:
            if file.name == name:
                return file
        raise ApiError(400, f"{name}: expected a file in a multipart/form-data body", param=name)


def parse_form(content_type: str, body: bytes, hold: _Hold | None = None) -> Form:
    """Return the form of a body that is held, in which its files stay; ApiError 400 for what is none.

    `hold` is told how many bytes more there are, of texts and of files that are copied, and may raise an ApiError.
    """
    scanner = FormScanner(boundary_of(content_type), _MOST_HEAD_BYTES, _MOST_PARTS)
    parts = _PartsOfBody(body, hold)
    scanner.feed(body, parts.take)
    scanner.close(parts.take)
    return parts.form


class _PartsOfBody:
    """Takes the tokens of a form that is held, and finds its parts there."""

    def __init__(self, body: bytes, hold: _Hold | None) -> None:
        self.form = Form()
        self._body = memoryview(body)
        self._hold = hold
        self._at = 0  # where the next token begins
        self._head: PartHead | None = None  # of the part under way
        self._data_at = 0

    def take(self, kind: FormKind, raw: bytes) -> None:
        """Take the next token (FormTaker)."""
        if kind == "head":
            self._head = parse_part_head(raw)
            self._data_at = self._at + len(raw)
        elif kind != "data" and self._head is not None:
            if self._head.filename is None and self._hold is not None:
                self._hold(self._at - self._data_at)
            _add_part(self.form, self._head, self._body[self._data_at : self._at], self._hold)
            self._head = None
        self._at += len(raw)


async def read_form(content_type: str, stream: typing.AsyncIterable[bytes], most_bytes: int) -> Form:
    """Read a body as a form while it comes; ApiError 400 for what is none, 413 for more than `most_bytes` in all."""
    reader = MultipartReader(boundary_of(content_type))
    gatherer = _Gatherer()
    size = 0
    async for data in stream:
        size += len(data)
        if size > most_bytes:
            raise ApiError(
                413, f"The form must have at most {most_bytes} bytes.", type="invalid_request_error",
                code="file_too_large",
            )  # fmt: skip
        gatherer.take(reader.feed(data))
    gatherer.take(reader.close())
    return gatherer.form


class _Gatherer:
    """Puts the parts of a form together."""

    def __init__(self) -> None:
        self.form = Form()
        self._head = PartHead("", None, "")  # of the part under way
        self._data = io.BytesIO()  # whose bytes need not be copied to be handed out

    def take(self, events: typing.Iterable[FormEvent]) -> None:
        for event in events:
            if isinstance(event, PartHead):
                self._head = event
            elif isinstance(event, PartData):
                self._data.write(event.data)
            else:
                self._end_part()

    def _end_part(self) -> None:
        data, self._data = self._data.getvalue(), io.BytesIO()
        _add_part(self.form, self._head, data)


def _add_part(form: Form, head: PartHead, data: bytes | memoryview, hold: _Hold | None = None) -> None:
    if head.filename is not None:
        file = FormFile(head.name, head.filename, head.content_type, data, hold)
        form.files.append(file)
        form.parts.append((head.name, file))
        return
    if len(data) > _MOST_TEXT_BYTES:
        raise ApiError(
            400, f"The form's field {head.name[:100]!r} has more than {_MOST_TEXT_BYTES} bytes and no file name.",
            param=head.name[:100],
        )  # fmt: skip
    try:
        text = str(data, "utf-8")
    except UnicodeDecodeError as exc:
        raise ApiError(400, f"The form's field {head.name[:100]!r} is not UTF-8.", param=head.name[:100]) from exc
    form.fields[head.name] = text
    form.parts.append((head.name, text))
