"""One native stream as the server-sent events of chat completion chunks.

Usual events (mapping/usual_answer.py) are written by a form: what stands around their words is the same in all chunks
of a stream. All others are read, and their chunks made and written, in the ordinary way: by ChatStreamTranslator, which
knows all along how far the stream has come.
"""

from __future__ import annotations

import functools
from json.encoder import encode_basestring

from protocol.dashscope.mapping.answer import CompletionFacts
from protocol.dashscope.mapping.errors import DashScopeError
from protocol.dashscope.mapping.stream import ChatStreamTranslator
from protocol.dashscope.mapping.usual_answer import UsualEvent, as_written, split_usual_events
from protocol.dashscope.streaming import encode_events


class ChatEvents:
    """Turns the bytes of one native stream into server-sent events. The arguments are ChatStreamTranslator's."""

    def __init__(self, facts: CompletionFacts, *, include_usage: bool = False, cumulative: bool = False) -> None:
        self._facts = facts
        self._include_usage = include_usage
        self._chunks = ChatStreamTranslator(facts, include_usage=include_usage, cumulative=cumulative)
        self._is_usual = False  # what came last, and has left the choice open
        # What stands around the delta of a usual event, and around its text, once there was one.
        self._before = self._after = self._before_text = self._after_text = b""

    @property
    def error(self) -> DashScopeError | None:
        """What ended the stream early, if anything did: look at it after each call."""
        return self._chunks.error

    def feed(self, data: bytes) -> list[bytes]:
        """Return what these bytes give, up to the first error."""
        events, rest = split_usual_events(data)
        is_plain = data.isascii() and b"\\" not in data
        written: list[bytes] = []
        for event in events:
            if event[0]:
                written.append(self._read(event[0]))
            if not self._write(event, is_plain, written):
                written.append(self._read(event[1]))
        if rest:
            written.append(self._read(rest))
        return written

    def close(self) -> list[bytes]:
        """Return the last that a stream gives, after its clean end. If its connection broke, do not call this."""
        return [encode_events(self._chunks.close())]

    def _read(self, data: bytes) -> bytes:
        self._is_usual = False
        return encode_events(self._chunks.feed(data))

    def _write(self, event: UsualEvent, is_plain: bool, written: list[bytes]) -> bool:
        """Write what a usual event adds, and tell whether that can be done now; `is_plain`: no string needs a look."""
        _, _, _, ended_before, _, text, reasoning, ended, usage, request_id = event
        if not is_plain:
            try:
                text, reasoning = as_written(text), as_written(reasoning or b"")
            except ValueError:
                return False
        chunks = self._chunks
        if not self._is_usual:
            if not chunks.takes_usual_events:
                return False
            is_first = chunks.begin_usual_events(request_id.decode() if request_id else "")
            if not self._before:
                self._write_around()
            if is_first:
                written += self._before, b'{"role":"assistant","content":""}', self._after
            self._is_usual = True
        if reasoning:
            written += self._before, b'{"reasoning_content":"', reasoning, self._after_text
        if text:
            written += self._before_text, text, self._after_text
        if usage:
            chunks.last_usage = usage
        reason = ended or ended_before
        if reason:
            written += self._before, b"{}", self._after.replace(b"null}]", b'"%b"}]' % reason)
            chunks.end_usual_events()
            self._is_usual = False
        return True

    def _write_around(self) -> None:
        before, self._after = _form(self._include_usage)
        values = encode_basestring(self._chunks.identity), self._facts.created, encode_basestring(self._facts.model)
        self._before = (before % values).encode("utf-8", "backslashreplace")
        self._before_text, self._after_text = self._before + b'{"content":"', b'"}' + self._after


@functools.cache
def _form(include_usage: bool) -> tuple[str, bytes]:
    """Return what stands before a delta, with places for id, time and model, and what stands behind it."""
    chunks = ChatStreamTranslator(CompletionFacts("MODEL", 0, str), include_usage=include_usage, identity="ID")
    before, _, after = encode_events([chunks.usual_chunk({"": ""})]).decode().partition('{"":""}')
    for value, place in ('"ID"', "%s"), ('"created":0', '"created":%d'), ('"MODEL"', "%s"):
        before = before.replace(value, place)
    return before, after.encode()
