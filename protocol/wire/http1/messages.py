"""What an HTTP/1.1 message says: heads, fields, framing (RFC 9110, RFC 9112 §6), and the events that carry them."""

from __future__ import annotations

import typing

from protocol.wire.http1.grammar import ABSOLUTE_FORM, AUTHORITY, AUTHORITY_FORM, LENGTH, is_ip_literal

_read_authority = AUTHORITY.fullmatch
_is_length = LENGTH.fullmatch
_read_absolute_form = ABSOLUTE_FORM.fullmatch

#: Bodies up to this are short: what is worked out for the head of one holds for the heads of all others (RequestMemo).
SHORT_BODY_BYTES = 65536


class Signal:
    """Something `next_event` answers when it has no event."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


NEED_DATA = Signal("NEED_DATA")
PAUSED = Signal("PAUSED")
CLOSED = Signal("CLOSED")


class BadMessage(Exception):
    """A peer's message that cannot, or must not, be understood.

    `status` is what a server answers with: 400, 413 (body), 414 (target), 417 (expectation), 431 (head), 501
    (transfer coding) or 505 (version). For a response it only says what kind of fault it was.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Fields:
    """Header fields in their order, names in lower case, values without surrounding white space.

    `get` joins fields of one name with ", " (RFC 9110 §5.3); iteration gives every line by itself.
    """

    __slots__ = ("_joined", "pairs")

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self.pairs = pairs
        joined = dict(pairs)
        if len(joined) < len(pairs):
            joined = {}
            for name, value in pairs:
                joined[name] = f"{joined[name]}, {value}" if name in joined else value
        self._joined = joined

    def get(self, name: str, default: str = "") -> str:
        """Return the value of the field `name` (lower case), or `default` where there is none."""
        return self._joined.get(name, default)

    def count(self, name: str) -> int:
        """Return how many lines carry the name (lower case)."""
        if len(self._joined) == len(self.pairs):
            return 1 if name in self._joined else 0
        return sum(1 for other, _ in self.pairs if other == name)

    def tokens(self, name: str) -> list[str]:
        """Return the comma-separated members of a field in lower case (RFC 9110 §5.6.1), empty ones left out."""
        value = self._joined.get(name)
        return [] if value is None else [member for member in map(_member, value.split(",")) if member]

    def __contains__(self, name: str) -> bool:
        return name in self._joined

    def __iter__(self) -> typing.Iterator[tuple[str, str]]:
        return iter(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def __repr__(self) -> str:
        return f"Fields({self.pairs!r})"


def read_pairs(lines: bytes) -> list[tuple[str, str]]:
    """Return the names and values of field lines that are sound, without the CR LF of the last one."""
    pairs = []
    for line in lines.decode("latin-1").split("\r\n"):
        name, _, value = line.partition(":")
        pairs.append((name.lower(), value.strip(" \t")))
    return pairs


def _member(text: str) -> str:
    return text.strip(" \t").lower()


class WrittenForm(typing.Protocol):
    """What many heads have in common, byte for byte, but for some values (forms.py)."""

    def pattern(self, passes: typing.Sequence[bool]) -> bytes:
        """Return what gives a head's lines that pass, joined by CR LF, when `%` puts the values of the head in.

        `passes` is about the places of all lines, the first of which is no field.
        """

    def place(self, line: int) -> int:
        """Return which of the values stands in a line, -1 for none."""


class MessageHead:
    """What heads of requests and answers share (RFC 9112 §5, §6, §9).

    `content_length` is None where the length is not known beforehand. A head is not to be changed: one that is repeated
    byte for byte may be the same object, on whatever connection.

    `facts` is what the layers above have worked out from the fields that tell something (memo.py), so that it costs
    them nothing for another head of the kind. Of the length of a body it may tell that it is short (SHORT_BODY_BYTES),
    but not how short. None where the reader was given nothing to make them with.
    """

    __slots__ = (
        "_bytes", "_fields", "_lines", "chunked", "content_length", "facts", "keep_alive", "length_at", "minor_version",
        "written",
    )  # fmt: skip

    chunked: bool
    content_length: int | None
    keep_alive: bool

    def __init__(self, minor_version: int, fields: Fields, facts: typing.Any) -> None:
        self.minor_version = minor_version
        self._fields: Fields | None = fields
        self.facts = facts  # Any: whoever gives them to the reader knows their type; nobody looks into them here
        self._bytes = b""  # of a head that is remembered
        #: What a head that was read by a form has in common with others, and its values; None for any other head.
        self.written: tuple[WrittenForm, list[bytes]] | None = None
        self._lines: list[bytes] | None = None
        #: Which of the lines is the one with the length of a short body, 0 for none.
        self.length_at = 0

    def be_remembered(self, data: bytes) -> None:
        """Note the bytes of a head that is remembered."""
        self._bytes = data

    @property
    def lines(self) -> list[bytes]:
        """All lines of a head that is remembered, none of another one; cut when somebody asks."""
        lines = self._lines
        if lines is None:
            lines = self._lines = self._bytes[:-4].split(b"\r\n") if self._bytes else []
        return lines

    @property
    def fields(self) -> Fields:
        """The fields, read when somebody asks."""
        fields = self._fields
        if fields is None:
            lines = self.lines[1:]
            fields = self._fields = Fields(read_pairs(b"\r\n".join(lines)) if lines else [])
        return fields


class RequestHead(MessageHead):
    """Request line and fields, with what they mean for the message (RFC 9112 §3, §6, §9).

    `path` and `query` are the target's, still percent-encoded; `host` is the target's authority or the Host field.
    `has_body` says whether a body follows. `upgrade` holds the protocols that the client offers to change to, "" for
    none (RFC 9110 §7.8).
    """

    __slots__ = ("expects_continue", "has_body", "host", "method", "path", "plans", "query", "target", "upgrade")

    def __init__(self, method: str, target: str, minor_version: int, fields: Fields, facts: typing.Any = None) -> None:
        super().__init__(minor_version, fields, facts)
        self.method = method
        self.target = target
        #: By the name of a backend, what that has worked out of the whole head; of a type that only the backend knows.
        self.plans: dict[str, typing.Any] | None = None
        authority, self.path, self.query = _split_target(method, target)
        self.host = fields.get("host") if authority is None else authority
        self.content_length, self.chunked = _request_framing(fields, minor_version)
        self.has_body = self.chunked or bool(self.content_length)
        connection = fields.tokens("connection")
        self.keep_alive = _keeps_alive(connection, minor_version)
        self.upgrade = fields.get("upgrade") if "upgrade" in connection and minor_version else ""
        self.expects_continue = _expects_continue(fields, minor_version) and self.has_body

    def with_lines(self, lines: list[bytes] | None, data: bytes, length: int) -> RequestHead:
        """Return the head of the same kind that has these lines, and the length of a short body where not 0.

        `data` are its bytes, b"" where only the kind is wanted; `lines` is None where nobody has cut them.
        """
        other = RequestHead.__new__(RequestHead)
        other.method, other.target, other.path, other.query = self.method, self.target, self.path, self.query
        other.host, other.minor_version, other.keep_alive = self.host, self.minor_version, self.keep_alive
        other.upgrade, other.expects_continue, other.facts = self.upgrade, self.expects_continue, self.facts
        other.chunked, other.has_body = self.chunked, self.has_body
        other.content_length = length or self.content_length
        other.length_at, other._lines, other._bytes = self.length_at, lines, data
        other._fields = other.plans = other.written = None
        return other

    def __repr__(self) -> str:
        return f"RequestHead({self.method!r}, {self.target!r}, 1.{self.minor_version}, {self.fields!r})"


class ResponseHead(MessageHead):
    """Status line and fields of an answer; a status below 200 announces another head (RFC 9110 §15.2).

    `tunnel` says that it opens a tunnel (2xx to CONNECT): its framing fields mean nothing then (RFC 9112 §6.3, step 2).
    `plan` is None until whoever owns the connections keeps something there that it has worked out of the whole head.
    """

    __slots__ = ("plan", "reason", "status")

    def __init__(
        self,
        status: int,
        reason: str,
        minor_version: int,
        fields: Fields,
        tunnel: bool = False,
        facts: typing.Any = None,
    ) -> None:
        super().__init__(minor_version, fields, facts)
        self.status = status
        self.reason = reason
        self.plan: typing.Any = None  # Any: its owner knows its type; nobody looks into it here
        self.content_length, self.chunked = (None, False) if tunnel else _response_framing(fields, minor_version)
        self.keep_alive = _keeps_alive(fields.tokens("connection"), minor_version)

    def with_lines(self, lines: list[bytes] | None, data: bytes, length: int) -> ResponseHead:
        """Return the head of the same kind that has these lines, and the length of a short body where not 0.

        `data` are its bytes, b"" where only the kind is wanted; `lines` is None where nobody has cut them.
        """
        other = ResponseHead.__new__(ResponseHead)
        other.status, other.reason, other.minor_version = self.status, self.reason, self.minor_version
        other.chunked, other.keep_alive, other.facts = self.chunked, self.keep_alive, self.facts
        other.content_length = length or self.content_length
        other.length_at, other._lines, other._bytes = self.length_at, lines, data
        other._fields = other.plan = other.written = None
        return other

    def __repr__(self) -> str:
        return f"ResponseHead({self.status}, {self.reason!r}, 1.{self.minor_version}, {self.fields!r})"


Head = typing.Union[RequestHead, ResponseHead]


class BodyPart:
    """A piece of a body, as long as it happened to arrive; transfer coding removed."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __repr__(self) -> str:
        return f"BodyPart({self.data!r})"


class EndOfBody:
    """The message is complete; `trailers` are the fields after a chunked body (RFC 9112 §7.1.2)."""

    __slots__ = ("trailers",)

    def __init__(self, trailers: Fields) -> None:
        self.trailers = trailers

    def __repr__(self) -> str:
        return f"EndOfBody({self.trailers!r})"


NO_TRAILERS = EndOfBody(Fields([]))
Event = typing.Union[RequestHead, ResponseHead, BodyPart, EndOfBody, Signal]


# ---- what the fields of a head mean -----------------------------------------------------------------------------


def _split_target(method: str, target: str) -> tuple[str | None, str, str]:
    """Return (authority or None, path, query) of the four forms of RFC 9112 §3.2."""
    if method == "CONNECT":
        # RFC 9110 §9.3.6: an empty or invalid port must be refused.
        authority = AUTHORITY_FORM.fullmatch(target)
        if authority and 0 < int(authority[2]) < 65536 and (not authority[1] or is_ip_literal(authority[1])):
            return target, "", ""
        raise BadMessage(400, f"CONNECT takes host:port as its target, but {target[:100]!r} came.")
    if "#" in target:
        # RFC 9110 §7.1: the fragment is the client's own, and §3.2 of RFC 9112 has no form with one.
        raise BadMessage(400, f"The request target must not have a fragment, but {target[:100]!r} came.")
    if target.startswith("/"):
        path, _, query = target.partition("?")
        return None, path, query
    if target == "*" and method == "OPTIONS":
        return None, "*", ""
    absolute = _read_absolute_form(target)
    if absolute and absolute[1] and _is_authority(absolute[1]):
        empty_path = "*" if method == "OPTIONS" and not absolute[3] else "/"
        return absolute[1], absolute[2] or empty_path, absolute[3] or ""
    raise BadMessage(
        400, f"The request target must be a path that begins with '/' or an http URL, but {target[:100]!r} came."
    )


def _is_authority(text: str) -> bool:
    authority = _read_authority(text)
    return authority is not None and (authority[1] is None or is_ip_literal(authority[1]))


def check_host(fields: Fields, minor_version: int) -> None:
    """Refuse a missing, doubled or malformed Host (RFC 9112 §3.2): each has been used to poison caches."""
    if "host" not in fields:
        if minor_version:
            raise BadMessage(400, "The Host field is missing; HTTP/1.1 requires it.")
        return
    if fields.count("host") > 1:
        raise BadMessage(400, "The Host field must stand there once, but it came several times.")
    if not _is_authority(fields.get("host")):
        host = fields.get("host")[:100]
        raise BadMessage(400, f"The Host field must be a host, perhaps with a port, but is {host!r}.")


def _request_framing(fields: Fields, minor_version: int) -> tuple[int | None, bool]:
    """Return (length, chunked) of a request body by the steps of RFC 9112 §6.3."""
    length, chunked = _framing(fields, minor_version)
    # Step 7: a request with neither has no body.
    return (0 if length is None and not chunked else length), chunked


def _response_framing(fields: Fields, minor_version: int) -> tuple[int | None, bool]:
    # Step 8: a response with neither runs until the connection closes, so its length stays None.
    return _framing(fields, minor_version)


def _framing(fields: Fields, minor_version: int) -> tuple[int | None, bool]:
    if "transfer-encoding" not in fields:
        return (_content_length(fields.get("content-length")) if "content-length" in fields else None), False
    # §6.3 step 3: both present may be an attempt to smuggle. §6.1: HTTP/1.0 knows no transfer coding.
    if "content-length" in fields:
        raise BadMessage(400, "Content-Length and Transfer-Encoding came together, so the body's end is ambiguous.")
    if not minor_version:
        raise BadMessage(400, "Transfer-Encoding came in an HTTP/1.0 message, which has no such field.")
    codings = fields.tokens("transfer-encoding")
    if codings == ["chunked"]:
        return None, True
    if codings[-1:] == ["chunked"] and "chunked" not in codings[:-1]:
        raise BadMessage(501, f"The only transfer coding supported is chunked, but {codings[0][:100]!r} came as well.")
    if codings and "chunked" not in codings:
        raise BadMessage(501, f"The only transfer coding supported is chunked, but {codings[0][:100]!r} came.")
    raise BadMessage(400, "Transfer-Encoding must end with chunked, once.")


def _content_length(value: str) -> int:
    if _is_length(value):
        return int(value)
    # §6.3 step 5: a list of one and the same number may be taken as that number; anything else may not.
    first, *others = (member.strip(" \t") for member in value.split(","))
    if any(other != first for other in others):
        raise BadMessage(400, f"Content-Length came with differing values: {value[:100]!r}.")
    if not _is_length(first):
        raise BadMessage(400, f"Content-Length must be decimal digits, at most 18, but is {value[:100]!r}.")
    return int(first)


def _keeps_alive(connection: list[str], minor_version: int) -> bool:
    """Tell whether the connection may persist after this message (RFC 9112 §9.3)."""
    if "close" in connection:
        return False
    return bool(minor_version) or "keep-alive" in connection


def _expects_continue(fields: Fields, minor_version: int) -> bool:
    """Tell whether the client waits for a 100 before it sends its body (RFC 9110 §10.1.1; not in HTTP/1.0)."""
    expectations = fields.tokens("expect")
    if not expectations or not minor_version:
        return False
    others = [member for member in expectations if member != "100-continue"]
    if others:
        raise BadMessage(417, f"The only expectation supported is 100-continue, but {others[0][:100]!r} came.")
    return True
