"""Heads that come again: most clients repeat a head byte for byte, so it need not be read twice."""

from __future__ import annotations

import re
import typing

from protocol.wire.http1.messages import SHORT_BODY_BYTES, Head, RequestHead, ResponseHead

# The length of a short body as nearly everybody writes it; whoever writes it otherwise is read the ordinary way.
_SHORT_LENGTH = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ([1-9][0-9]{0,4})\r\n")
_REMEMBERED_HEADS = 64
_REMEMBERED_HEAD_BYTES = 2048

AnyHead = typing.TypeVar("AnyHead", bound=Head)

#: What stands for the bytes of a head where none is known yet: `startswith(())` is False whatever came.
NO_BYTES: tuple[bytes, ...] = ()


def _no_facts() -> None:
    """Make the facts of a head about which nobody keeps any."""


class HeadMemo(typing.Generic[AnyHead]):
    """The heads that were read last, by their bytes: equal bytes mean an equal head.

    A client repeats its head byte for byte, and so may all clients that run the same program. To find a head here costs
    0.5 µs, to read it again 8 µs (CPython 3.11). Only readers with the same limits may share a memo.

    `make_facts` makes what the layers above keep beside each head (RequestHead.facts).
    """

    __slots__ = ("_heads", "latest", "make_facts")

    def __init__(self, make_facts: typing.Callable[[], object] = _no_facts) -> None:
        self.make_facts = make_facts
        self._heads: dict[bytes, tuple[bytes, AnyHead]] = {}
        #: The bytes of the latest head, and the head; NO_BYTES and None before the first.
        self.latest: tuple[bytes | tuple[bytes, ...], AnyHead | None] = (NO_BYTES, None)

    def find(self, data: bytes, at: int) -> tuple[bytes, AnyHead] | None:
        """Return the head that begins at `at`, with its bytes, if it is known."""
        end = data.find(b"\r\n\r\n", at, at + _REMEMBERED_HEAD_BYTES)
        if end < 0:
            return None
        head = data[at : end + 4]
        return self._heads.get(head)

    def keep(self, data: bytes, head: AnyHead) -> tuple[bytes, AnyHead]:
        """Remember a head, unless it is long, and return it with its bytes; the oldest one has to go."""
        known = data, head
        if len(data) <= _REMEMBERED_HEAD_BYTES:
            self._heads[data] = self.latest = known
            if len(self._heads) > _REMEMBERED_HEADS:
                del self._heads[next(iter(self._heads))]
        return known

    def forget(self) -> None:
        """Let go of all heads, and of what is kept beside them."""
        self._heads.clear()
        self.latest = (NO_BYTES, None)


class ResponseMemo(HeadMemo[ResponseHead]):
    """The memo of responses, whose heads are only ever known as a whole."""

    __slots__ = ()


class RequestMemo(HeadMemo[RequestHead]):
    """The memo of requests, which differ in their length from one to the next although all else is repeated.

    A head that differs from a known one in nothing but the length of a short body is made from that one, in 3 µs
    instead of 8 (CPython 3.11).
    """

    __slots__ = ("_sizeless",)

    def __init__(self, make_facts: typing.Callable[[], object] = _no_facts) -> None:
        super().__init__(make_facts)
        # Heads by their bytes without the digits of content-length.
        self._sizeless: dict[bytes, RequestHead] = {}

    def find(self, data: bytes, at: int) -> tuple[bytes, RequestHead] | None:
        """Return the head that begins at `at`, with its bytes, if it is known or can be made from a known one."""
        end = data.find(b"\r\n\r\n", at, at + _REMEMBERED_HEAD_BYTES)
        if end < 0:
            return None
        head = data[at : end + 4]
        return self._heads.get(head) or (self._resized(head) if self._sizeless else None)

    def keep(self, data: bytes, head: RequestHead) -> tuple[bytes, RequestHead]:
        """Remember a head as HeadMemo does, and without its length if a short body follows."""
        # Of two lines with the same length, one alone must not become another.
        if head.has_short_body and len(data) <= _REMEMBERED_HEAD_BYTES and head.fields.count("content-length") == 1:
            self._keep_sizeless(data, head)
        return HeadMemo.keep(self, data, head)

    def forget(self) -> None:
        """Let go of all heads, and of what is kept beside them."""
        super().forget()
        self._sizeless.clear()

    def _resized(self, data: bytes) -> tuple[bytes, RequestHead] | None:
        length = _SHORT_LENGTH.search(data)
        if length is None:
            return None
        known = self._sizeless.get(_sizeless(data, length))
        if known is None or int(length[1]) > SHORT_BODY_BYTES:
            return None
        return data, known.resized(length[1].decode())

    def _keep_sizeless(self, data: bytes, head: RequestHead) -> None:
        length = _SHORT_LENGTH.search(data)
        if length is not None:
            self._sizeless[_sizeless(data, length)] = head
            if len(self._sizeless) > _REMEMBERED_HEADS:
                del self._sizeless[next(iter(self._sizeless))]


def _sizeless(head: bytes, length: re.Match[bytes]) -> bytes:
    return head[: length.start(1)] + head[length.end(1) :]
