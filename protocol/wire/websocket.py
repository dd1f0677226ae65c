"""WebSocket (RFC 6455): the opening handshake, and frames as events, both ways; no socket, no clock, no randomness.

Theory of operation
-------------------
The handshake is an HTTP request that asks to leave HTTP: `check_handshake` refuses what must not be answered with 101,
`handshake_fields` are the fields of that 101. No extension is ever agreed to, so offers of them are not even read.

A `FrameReader` turns the bytes after it into events, in the way of the readers of HTTP: `feed(data)` (`b""` says that
the peer has finished), then `next_event()` until it answers with a signal instead of an event:

    TextMessage, BinaryMessage, Ping, Pong, and at most one Close

    NEED_DATA   nothing more to be had from these bytes: feed again
    CLOSED      nothing will ever follow: a Close came, or the connection ended. An end without a Close before it is
                the "abnormal closure" of the RFC, 1006; a message that it cut off is dropped.

Messages come whole, whatever frames carried them; a ping between two fragments comes before the message. A header and
a control frame, 139 bytes at most, are looked at again until they are there (`_read_frame`). The payload of a message
is never waited for (`_read_payload`): each piece is unmasked, checked and put aside as it comes, so that a message in
many pieces costs no more than its length, and one that is no UTF-8 is refused at the first byte that shows it.

What breaks a rule raises WebSocketError with the code that the peer should get in a Close frame; nothing else is ever
raised for what a peer sent. After it the reader stays dead: nobody can say where the next frame begins.

The role matters for one rule: a client masks each frame, a server none (§5.1). The encoders mask when they are given a
masking key, which must be random and fresh for every frame (§5.3). That is left to the caller.
"""

from __future__ import annotations

import binascii
import codecs
import hashlib
import re
import typing

from protocol.errors import ApiError
from protocol.wire.http1.messages import CLOSED, NEED_DATA, Fields, RequestHead, Signal

# ---- the opening handshake (RFC 6455 §4.2), server's side -------------------------------------------------------

_VERSION = "13"
_KEY_SUFFIX = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

# §4.1: 16 bytes in base64. The four bits of the last digit that belong to no byte may be anything (RFC 4648 §3.5):
# nobody decodes the key, its text alone is answered.
_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")

# §4.3: Sec-WebSocket-Protocol-Client = 1#token
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

# RFC 9110 §15.5.22 and §7.8: 426 names what to change to, and Connection names Upgrade; RFC 6455 §4.4: the version.
_UPGRADE_WANTED = (("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", _VERSION))


def accept_value(key: str) -> str:
    """Return the Sec-WebSocket-Accept that answers the Sec-WebSocket-Key `key` (RFC 6455 §4.2.2, step 5.4)."""
    digest = hashlib.sha1((key + _KEY_SUFFIX).encode("latin-1"), usedforsecurity=False).digest()
    return binascii.b2a_base64(digest, newline=False).decode("ascii")


def check_handshake(head: RequestHead) -> None:
    """Refuse a request that does not open a WebSocket (RFC 6455 §4.2.1).

    Raises ApiError: 405 for a method other than GET, 426 where the upgrade or its version 13 is missing, 400 for a bad
    key or a body. The origin is for the caller to judge.
    """
    fields = head.fields
    if head.method != "GET":
        raise ApiError(405, f"A WebSocket is opened with GET, but {head.method[:100]} came.", fields=[("allow", "GET")])
    if not head.upgrade or "websocket" not in fields.tokens("upgrade"):
        came = f"Connection: {fields.get('connection')[:100]!r}, Upgrade: {fields.get('upgrade')[:100]!r}"
        raise ApiError(
            426,
            "This address speaks WebSocket: it takes HTTP/1.1 with 'Connection: Upgrade' and 'Upgrade: websocket', "
            f"which a proxy in between must pass on, but HTTP/1.{head.minor_version} with {came} came.",
            fields=_UPGRADE_WANTED,
        )
    version = fields.get("sec-websocket-version")
    if version != _VERSION:
        raise ApiError(
            426, f"Sec-WebSocket-Version must be {_VERSION}, but is {version[:100]!r}.", fields=_UPGRADE_WANTED
        )
    key = fields.get("sec-websocket-key")
    if not _KEY.fullmatch(key):
        raise ApiError(400, f"Sec-WebSocket-Key must be 16 bytes in base64, once, but is {key[:100]!r}.")
    if head.has_body:
        # One reader would take its bytes for a body, another for frames: so could a request be smuggled.
        raise ApiError(400, "A request that opens a WebSocket must have no body, but its fields announce one.")


def choose_subprotocol(fields: Fields, supported: typing.Collection[str]) -> str:
    """Return the first subprotocol of the client's list that is among `supported`, "" for none (RFC 6455 §4.2.2).

    The client's order is its preference (§4.1); case matters. ApiError 400 for a list that breaks the grammar.
    """
    members = [member.strip(" \t") for member in fields.get("sec-websocket-protocol").split(",")]
    for number, member in enumerate(members, 1):
        # RFC 9110 §5.6.1.2: empty members are passed over. The member is not shown: browsers hand over keys as one.
        if member and not _TOKEN.fullmatch(member):
            raise ApiError(400, f"Sec-WebSocket-Protocol must be a list of tokens, but its member {number} is none.")
    return next((member for member in members if member and member in supported), "")


def handshake_fields(fields: Fields, subprotocol: str = "") -> list[tuple[str, str]]:
    """Return the fields of the 101 that answers a request with `fields`, which check_handshake let pass (§4.2.2)."""
    answer = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-accept", accept_value(fields.get("sec-websocket-key"))),
    ]
    return [*answer, ("sec-websocket-protocol", subprotocol)] if subprotocol else answer


# ---- events -----------------------------------------------------------------------------------------------------


class WebSocketError(Exception):
    """What a peer sent breaks a rule; `code` is the close code that it should get (RFC 6455 §7.4.1).

    1002 for a broken frame, 1007 for text that is no UTF-8, 1009 for a message that is too long.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class TextMessage:
    """A whole message of text."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return f"TextMessage({self.text!r})"


class _WebSocketBytes:
    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.data!r})"


class BinaryMessage(_WebSocketBytes):
    """A whole message of bytes."""

    __slots__ = ()


class Ping(_WebSocketBytes):
    """A question whether we are there: to be answered with a pong of the same data (RFC 6455 §5.5.2)."""

    __slots__ = ()


class Pong(_WebSocketBytes):
    """The answer to a ping, or a sign of life that nobody asked for (RFC 6455 §5.5.3)."""

    __slots__ = ()


class Close:
    """The peer's last frame: to be answered with a close frame unless one was sent (RFC 6455 §5.5.1).

    `code` is 1005 where the frame had none (§7.1.5); `encode_close` takes it and then writes none either.
    """

    __slots__ = ("code", "reason")

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason

    def __repr__(self) -> str:
        return f"Close({self.code}, {self.reason!r})"


FrameEvent = typing.Union[TextMessage, BinaryMessage, Ping, Pong, Close, Signal]


# ---- frames (RFC 6455 §5.2) --------------------------------------------------------------------------------------

# The first byte: FIN, RSV1 to RSV3 for extensions, the opcode. The second: MASK, seven bits of payload length.
_FIN, _RSV, _OPCODE = 0x80, 0x70, 0x0F
_MASK, _PAYLOAD_LENGTH = 0x80, 0x7F

_OPCODES = (_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG) = (0, 1, 2, 8, 9, 10)

_MAX_CONTROL_BYTES = 125  # §5.5

# By the seven bits of payload length: how many bytes of extended length follow, and the least that they may say (§5.2:
# a length is written in the fewest bytes).
_EXTENDED_LENGTHS = {126: (2, 126), 127: (8, 65536)}

# §7.4.1, "No Status Rcvd": what stands for a close frame without a code; it is never sent itself.
_NO_STATUS = 1005

# §7.4.1 and IANA's registry of close codes, which adds 1012 to 1014. 1004, 1005, 1006 and 1015 are never sent;
# 1016 to 2999 are for the protocol's future; §7.4.2: from 3000 on for libraries, from 4000 on for private use.
_REGISTERED_CODES = frozenset((1000, 1001, 1002, 1003, *range(1007, 1015)))

_ALL_BYTES = bytes(range(256))
_TRANSLATED_BYTES = 4096


def _may_be_sent(code: int) -> bool:
    return code in _REGISTERED_CODES or 3000 <= code < 5000


def _apply_mask(data: bytes, masking_key: bytes) -> bytes:
    """Return `data` with each byte XORed with the masking key's byte for its place (RFC 6455 §5.3).

    Doing it twice gives the data back, so this unmasks as well.
    """
    if len(data) < _TRANSLATED_BYTES:
        return _xor(data, masking_key)
    # Integers take 2.7 ms for a megabyte; four translations, each of every fourth byte, 1 to 1.8 (CPython 3.11).
    masked = bytearray(data)
    for place in range(4):
        table = _xor(_ALL_BYTES, masking_key[place : place + 1] * 4)
        masked[place::4] = data[place::4].translate(table)
    return bytes(masked)


def _xor(data: bytes, masking_key: bytes) -> bytes:
    length = len(data)
    repeated = (masking_key * (length // 4 + 1))[:length]
    return (int.from_bytes(data, "little") ^ int.from_bytes(repeated, "little")).to_bytes(length, "little")


class FrameReader:
    """Reads what the peer of a `role` sends after the handshake (RFC 6455 §5 to §8), fed in pieces of any size.

    `max_message_bytes` bounds one message, all its fragments together (1009). By default there is room for what the
    realtime API of OpenAI takes in one event: 15 MiB of sound, in base64. Raises WebSocketError.
    """

    def __init__(
        self, role: typing.Literal["server", "client"] = "server", *, max_message_bytes: int = 24_000_000
    ) -> None:
        self._expects_mask = role == "server"
        self._max_message_bytes = max_message_bytes
        self._data = b""
        self._at = 0  # everything before it has been read
        self._ended = False
        self._failed_with = 0
        # The message under way
        self._opcode = _CONTINUATION  # text or binary; continuation while there is no message to continue
        self._message = bytearray()
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        # The data frame under way
        self._fin = False
        self._masking_key = b""  # turned so that it begins with what the next byte needs; b"" for none
        self._remaining = 0
        # A function and not a bound method: that would be a cycle, which keeps a message until the collector comes.
        self._step: typing.Callable[[FrameReader], typing.Optional[FrameEvent]] = FrameReader._read_frame

    def feed(self, data: bytes) -> None:
        """Take bytes from the peer; `b""` says that it will send no more. What follows a Close is ignored (§5.5.1)."""
        if not data or self._ended:
            self._ended = True
        elif self._at == len(self._data):
            self._data, self._at = data, 0
        else:
            self._data = self._data[self._at :] + data
            self._at = 0

    @property
    def held(self) -> int:
        """How many bytes wait here: of the message under way, and what has not been read yet."""
        return len(self._message) + len(self._data) - self._at

    @property
    def missing(self) -> int:
        """How many bytes the data frame under way still has."""
        return max(0, self._remaining - (len(self._data) - self._at))

    def next_event(self) -> FrameEvent:
        """Return the next event, or NEED_DATA or CLOSED; raise WebSocketError, and nothing else."""
        while True:
            event = self._step(self)
            if event is not None:
                return event

    def _read_frame(self) -> FrameEvent | None:
        data, at = self._data, self._at
        if len(data) - at < 2:
            return self._need_data()
        first, second = data[at], data[at + 1]
        self._check_frame(first, second)
        length, begin = second & _PAYLOAD_LENGTH, at + 2
        if length in _EXTENDED_LENGTHS:
            begin += _EXTENDED_LENGTHS[length][0]
        if second & _MASK:
            begin += 4
        if len(data) < begin:
            return self._need_data()
        opcode = first & _OPCODE
        masking_key = data[begin - 4 : begin] if second & _MASK else b""
        if opcode >= _CLOSE:
            return self._read_control(opcode, begin, begin + length, masking_key)
        if length in _EXTENDED_LENGTHS:
            length = self._extended_length(length, data[at + 2 : at + 10])
        if len(self._message) + length > self._max_message_bytes:
            raise self._die(1009, f"The message has more than the {self._max_message_bytes} bytes that are accepted.")
        self._opcode = opcode or self._opcode
        self._fin = first >= _FIN
        self._masking_key = masking_key
        self._remaining = length
        self._at = begin
        self._step = FrameReader._read_payload
        return self._read_payload()

    def _check_frame(self, first: int, second: int) -> None:
        """Refuse what the first two bytes of a frame can have wrong (RFC 6455 §5.1, §5.2, §5.4, §5.5)."""
        opcode = first & _OPCODE
        if first & _RSV:
            raise self._die(1002, f"No extension was agreed on, but a frame came with reserved bits: 0x{first:02x}.")
        if opcode not in _OPCODES:
            raise self._die(1002, f"A frame's opcode must be 0, 1, 2, 8, 9 or 10, but {opcode} came.")
        if (second >= _MASK) != self._expects_mask:
            rule = "A client must mask its frames" if self._expects_mask else "A server must not mask its frames"
            raise self._die(1002, f"{rule}, but one came {'without' if self._expects_mask else 'with'} a mask.")
        if opcode >= _CLOSE:
            if first < _FIN:
                raise self._die(1002, f"A control frame must be whole, but a fragment came (opcode {opcode}).")
            if second & _PAYLOAD_LENGTH > _MAX_CONTROL_BYTES:
                raise self._die(1002, f"A control frame has at most 125 bytes, but more came (opcode {opcode}).")
        elif opcode == _CONTINUATION and self._opcode == _CONTINUATION:
            raise self._die(1002, "A continuation came, but there is no message to continue.")
        elif opcode != _CONTINUATION and self._opcode != _CONTINUATION:
            raise self._die(1002, f"A message must end before the next, but within one a new one came ({opcode}).")

    def _extended_length(self, kind: int, data: bytes) -> int:
        """Return the length that `data` begins with (RFC 6455 §5.2)."""
        size, least = _EXTENDED_LENGTHS[kind]
        length = int.from_bytes(data[:size], "big")
        if length < least:
            raise self._die(1002, f"A length must take the fewest bytes, but {length} came in {size}.")
        if length >> 63:
            raise self._die(1002, f"A length must have its highest bit clear, but 0x{length:x} came.")
        return length

    def _read_control(self, opcode: int, begin: int, end: int, masking_key: bytes) -> FrameEvent:
        if len(self._data) < end:
            return self._need_data()
        payload = self._data[begin:end]
        if masking_key:
            payload = _xor(payload, masking_key)
        self._at = end
        if opcode == _PING:
            return Ping(payload)
        if opcode == _PONG:
            return Pong(payload)
        close = self._parse_close(payload)
        self._stop(FrameReader._need_data)
        return close

    def _parse_close(self, payload: bytes) -> Close:
        """Return the close frame with this payload: nothing, or a code and perhaps a reason (RFC 6455 §5.5.1)."""
        if not payload:
            return Close(_NO_STATUS, "")
        if len(payload) == 1:
            raise self._die(1002, f"A close frame has a code of two bytes or nothing, but {payload!r} came.")
        code = int.from_bytes(payload[:2], "big")
        if not _may_be_sent(code):
            raise self._die(1002, f"A close code must be one that may be sent (RFC 6455 §7.4), but {code} came.")
        return Close(code, self._decode(payload[2:]))

    def _read_payload(self) -> FrameEvent | None:
        """Take what there is of a data frame's payload; None says that the message goes on in the next frame."""
        message = self._take_payload()
        is_end = self._fin and not self._remaining
        if self._message or not is_end:  # else it came in one piece, as nearly every message does
            if self._opcode == _TEXT:
                self._check_text(message)
            self._message += message
            if self._remaining:
                return self._need_data()
        self._step = FrameReader._read_frame
        if not is_end:
            return None
        opcode, self._opcode = self._opcode, _CONTINUATION
        whole: bytes | bytearray = message
        if self._message:
            whole, self._message = self._message, bytearray()
        # A text that came in pieces may be long: it is not copied once more before it is decoded.
        return BinaryMessage(bytes(whole)) if opcode == _BINARY else TextMessage(self._decode(whole))

    def _take_payload(self) -> bytes:
        piece = self._data[self._at : self._at + self._remaining]
        self._at += len(piece)
        self._remaining -= len(piece)
        if self._masking_key:
            piece = _apply_mask(piece, self._masking_key)
            turn = len(piece) % 4
            self._masking_key = self._masking_key[turn:] + self._masking_key[:turn]
        return piece

    def _check_text(self, piece: bytes) -> None:
        """Refuse a text as soon as it cannot become UTF-8 any more (RFC 6455 §8.1).

        What is decoded is dropped, and the whole decoded once more at the end: kept as text, pieces of a few bytes
        each would take thirty times their length.
        """
        try:
            self._utf8.decode(piece)
            # The codec lets two bytes of a surrogate wait for the third, which could not help.
            if b"\xed\xa0" <= self._utf8.getstate()[0] < b"\xee":
                self._utf8.decode(b"", True)
        except UnicodeDecodeError as exc:
            raise self._no_utf8(exc) from exc

    def _decode(self, data: bytes | bytearray) -> str:
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as exc:
            raise self._no_utf8(exc) from exc

    def _no_utf8(self, exc: UnicodeDecodeError) -> WebSocketError:
        return self._die(1007, f"Text must be UTF-8, but {exc.object[exc.start : exc.end]!r} came: {exc.reason}.")

    def _need_data(self) -> FrameEvent:
        if self._at == len(self._data):
            self._data, self._at = b"", 0  # a connection may rest for long
        return CLOSED if self._ended else NEED_DATA

    def _die(self, code: int, message: str) -> WebSocketError:
        self._failed_with = code
        self._stop(FrameReader._dead)
        return WebSocketError(code, message)

    def _stop(self, step: typing.Callable[[FrameReader], FrameEvent]) -> None:
        """Forget what waits, and take no more."""
        self._data, self._at, self._message = b"", 0, bytearray()
        self._ended = True
        self._step = step

    def _dead(self) -> FrameEvent:
        raise WebSocketError(self._failed_with, "The connection is unusable since its last broken frame.")


# ---- writing ----------------------------------------------------------------------------------------------------


def encode_text(text: str | bytes, masking_key: bytes = b"") -> bytes:
    """Return a message of text in one frame; a lone surrogate, which UTF-8 cannot hold, becomes "?".

    The text may be UTF-8 already.

    A client gives a `masking_key` of 4 random bytes, fresh for each frame (RFC 6455 §5.3), a server none. Raises
    ValueError for a key of another length.
    """
    data = text.encode("utf-8", "replace") if isinstance(text, str) else text
    return _encode_frame(_TEXT, data, masking_key)


def encode_binary(data: bytes, masking_key: bytes = b"") -> bytes:
    """Return a message of bytes in one frame; the `masking_key` is as for encode_text."""
    return _encode_frame(_BINARY, data, masking_key)


def encode_ping(data: bytes, masking_key: bytes = b"") -> bytes:
    """Return a ping; ValueError for more than 125 bytes of data. The `masking_key` is as for encode_text."""
    return _encode_control(_PING, data, masking_key)


def encode_pong(data: bytes, masking_key: bytes = b"") -> bytes:
    """Return a pong; ValueError for more than 125 bytes of data, so never for those of a Ping that was read.

    The `masking_key` is as for encode_text.
    """
    return _encode_control(_PONG, data, masking_key)


def encode_close(code: int = 1000, reason: str = "", masking_key: bytes = b"") -> bytes:
    """Return a close frame (RFC 6455 §5.5.1); 1005 stands for no code, so that what Close says can be sent back.

    The reason is cut to the 123 bytes that fit, never within a character. Raises ValueError for a code that must not
    be sent (§7.4), and for a reason without a code. The `masking_key` is as for encode_text.
    """
    if code == _NO_STATUS and not reason:
        return _encode_control(_CLOSE, b"", masking_key)
    if not _may_be_sent(code):
        raise ValueError(f"not a close code that may be sent: {code}, reason {reason[:100]!r}")
    most = _MAX_CONTROL_BYTES - 2
    text = reason.encode("utf-8", "replace")[:most].decode("utf-8", "ignore")
    return _encode_control(_CLOSE, code.to_bytes(2, "big") + text.encode("utf-8"), masking_key)


def _encode_control(opcode: int, payload: bytes, masking_key: bytes) -> bytes:
    if len(payload) > _MAX_CONTROL_BYTES:
        raise ValueError(f"a control frame holds at most {_MAX_CONTROL_BYTES} bytes, not {len(payload)}")
    return _encode_frame(opcode, payload, masking_key)


def _encode_frame(opcode: int, payload: bytes, masking_key: bytes) -> bytes:
    """Return a frame that is whole: the first and last of its message."""
    if masking_key and len(masking_key) != 4:
        raise ValueError(f"a masking key has 4 bytes, not {len(masking_key)}")
    length = len(payload)
    mask = _MASK if masking_key else 0
    if length < 126:
        head = bytes((_FIN | opcode, mask | length))
    elif length < 65536:
        head = bytes((_FIN | opcode, mask | 126)) + length.to_bytes(2, "big")
    else:
        head = bytes((_FIN | opcode, mask | 127)) + length.to_bytes(8, "big")
    return b"".join((head, masking_key, _apply_mask(payload, masking_key))) if masking_key else head + payload
