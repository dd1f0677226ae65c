"""RESP2, which Redis and Valkey speak: bytes to values and back.

    + text    a simple string      - text    an error      : 123    an integer
    $ length, then so many bytes: a bulk string; -1 is null
    * count, then so many values: an array; -1 is null

A command is an array of bulk strings. Source: Redis documentation, "Redis serialization protocol specification".
"""

from __future__ import annotations

import re
import typing

# Our own commands are answered with a line, or with a number for each of some claims.
MOST_LINE_BYTES = 16_384
MOST_REPLY_BYTES = 1 << 20
MOST_ITEMS = 4096
MOST_DEPTH = 4

_INTEGER = re.compile(rb"-?[0-9]{1,19}")
_NULL = -1


class RespError(typing.NamedTuple):
    """An error that came as a value. `code` is its first word, e.g. NOSCRIPT; the rest may repeat what was sent."""

    code: str


class RespBroke(Exception):
    """What came is not RESP2, or more than anybody asked for."""


class NeedData:
    """There is no whole value yet."""


NEED_DATA: typing.Final = NeedData()

#: bytes for both kinds of string, None for both kinds of null.
Value = typing.Union[bytes, int, None, RespError, typing.List[typing.Any]]


def encode_command(*words: bytes | str | int) -> bytes:
    """Return a command as it is sent."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        data = word if type(word) is bytes else str(word).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
    return b"".join(parts)


class _Opened:
    """An array of which the items are to come."""

    __slots__ = ("count",)

    def __init__(self, count: int) -> None:
        self.count = count


class _Bulk:
    """A string of which the bytes are to come."""

    __slots__ = ("length",)

    def __init__(self, length: int) -> None:
        self.length = length


class RespReader:
    """Reads values from bytes as they come. After RespBroke it reads nothing any more."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._looked_at = 0  # so far there is no end of line
        self._size = 0  # of the value that is being read, as far as it is
        self._open: list[tuple[int, list[Value]]] = []  # arrays that want more items, and how many they have in the end

    def feed(self, data: bytes) -> None:
        """Take what came."""
        self._buffer += data

    def next_value(self) -> Value | NeedData:
        """Return the next value, NEED_DATA where it is not whole; RespBroke."""
        while True:
            item = self._next_item()
            if isinstance(item, NeedData):
                return item
            value: Value
            if not isinstance(item, _Opened):
                value = item
            elif not item.count:
                value = []
            elif len(self._open) < MOST_DEPTH:
                self._open.append((item.count, []))
                continue
            else:
                raise RespBroke("arrays in arrays without an end")
            while self._open:
                count, items = self._open[-1]
                items.append(value)
                if len(items) < count:
                    break
                self._open.pop()
                value = items
            else:
                self._size = 0
                return value

    def _next_item(self) -> Value | NeedData | _Opened:
        buffer = self._buffer
        end = buffer.find(b"\r\n", self._looked_at)
        if end < 0:
            self._looked_at = max(0, len(buffer) - 1)
            if len(buffer) > MOST_LINE_BYTES:
                raise RespBroke("a line without an end")
            return NEED_DATA
        if end > MOST_LINE_BYTES:
            raise RespBroke("a line that is too long")
        size, value = end + 2, self._value(bytes(buffer[:1]), bytes(buffer[1:end]))
        if isinstance(value, _Bulk):
            start, size = size, size + value.length + 2
            if len(buffer) < size:
                self._looked_at = end
                return NEED_DATA
            if buffer[size - 2 : size] != b"\r\n":
                raise RespBroke("a string that does not end where it should")
            value = bytes(buffer[start : size - 2])
        self._size += size
        if self._size > MOST_REPLY_BYTES:
            raise RespBroke("a value that is too long")
        del buffer[:size]
        self._looked_at = 0
        return value

    def _value(self, kind: bytes, line: bytes) -> Value | _Opened | _Bulk:
        if kind == b"+":
            return line
        if kind == b"-":
            return RespError(line.partition(b" ")[0].decode("ascii", "replace")[:40])
        if kind not in (b":", b"$", b"*") or not _INTEGER.fullmatch(line):
            raise RespBroke("what is no RESP2")
        number = int(line)
        if kind == b":":
            return number
        if number == _NULL:
            return None
        if number < 0 or number > (MOST_ITEMS if kind == b"*" else MOST_REPLY_BYTES):
            raise RespBroke("a length that cannot be")
        return _Opened(number) if kind == b"*" else _Bulk(number)
