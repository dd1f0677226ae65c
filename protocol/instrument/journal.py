"""The journal: what came to a session, what went, and what the instrument did about it.

Bodies are kept up to 64 kB each. All journals of a server share one room of 64 MB, in which an entry counts for all
that it has in memory: the oldest entries go first, whichever session they belong to, and each journal says how many it
has lost. `max_memory` does not count them: it is for what comes and goes, and a journal that is full refuses nobody.
Credentials are masked when an entry is made, so that none is ever in memory here (protocol/wire/credentials.py knows
where they are).
"""

from __future__ import annotations

import asyncio
import base64
import collections
import json
import typing

from protocol.instrument.counts import Counts
from protocol.wire.credentials import masked_fields, query_without_key
from protocol.wire.json_text import JsonObject

#: Bytes of each body that are kept.
MOST_BODY_BYTES = 65_536
# Notes that an entry has: all that is said over a WebSocket is one.
_MOST_NOTES = 1_000
# How much an entry takes in memory by itself, and each field and note of it besides its text (CPython 3.11).
_ENTRY_BYTES = 1_000
_TEXT_BYTES = 170


class Entry:
    """One call: a request, and its answer as far as it has gone.

    `came`, `first` and `ended_at` are seconds of the session's clock: when the head was there, when the first byte of
    the answer's body left, when all was over; None for what has not happened. `ended` is "done", "cut" (the answer
    broke off), "left" (the client went away) or "" while it is on its way. `attempt` counts the equal requests of the
    session, from 1. `notes` tell what could not be applied.
    """

    __slots__ = (
        "answer_body", "answer_fields", "attempt", "came", "cut", "ended", "ended_at", "endpoint", "facts", "fault",
        "fields", "first", "key", "method", "missed", "model", "notes", "number", "path", "request_body", "rule",
        "size", "status", "stream",
    )  # fmt: skip

    def __init__(
        self, number: int, came: float, method: str, path: str, fields: typing.Sequence[tuple[str, str]]
    ) -> None:
        self.number = number
        self.came = came
        self.method = method
        self.path = path
        self.fields = fields
        self.endpoint = ""
        self.model = ""
        self.stream = False
        #: What equal requests have in common.
        self.key = ""
        #: What conditions are held against (script/asked.py), once somebody has read it.
        self.facts: typing.Any = None
        self.request_body = b""
        self.status = 0
        self.answer_fields: typing.Sequence[tuple[str, str]] = ()
        self.answer_body = bytearray()
        #: Which bodies are longer than what is kept of them: "request", "answer".
        self.cut: list[str] = []
        self.rule = ""
        self.fault = ""
        self.attempt = 1
        self.notes: list[str] = []
        #: Where the script was asked and no rule fits: which came nearest.
        self.missed = ""
        self.first: float | None = None
        self.ended_at: float | None = None
        self.ended = ""
        self.size = 0

    def as_json(self) -> JsonObject:
        """Return the entry as the control API shows it."""
        request: JsonObject = {"method": self.method, "path": self.path, "head": _shown_fields(self.fields)}
        request.update(_shown_body(self.request_body, is_cut="request" in self.cut))
        answer: JsonObject | None = None
        if self.status:
            answer = {"status": self.status, "head": _shown_fields(self.answer_fields)}
            answer.update(_shown_body(bytes(self.answer_body), is_cut="answer" in self.cut))
        times = {
            "came": round(self.came, 6),
            "first": None if self.first is None else round(self.first - self.came, 6),
            "total": None if self.ended_at is None else round(self.ended_at - self.came, 6),
        }
        return {
            "number": self.number, "endpoint": self.endpoint, "model": self.model, "stream": self.stream,
            "status": self.status or None, "rule": self.rule or None, "missed": self.missed or None,
            "fault": self.fault or None,
            "attempt": self.attempt, "ended": self.ended or None, "times": times, "notes": list(self.notes),
            "request": request, "answer": answer,
        }  # fmt: skip


def _shown_fields(fields: typing.Sequence[tuple[str, str]]) -> dict[str, str]:
    shown: dict[str, str] = {}
    for name, value in fields:
        shown[name] = f"{shown[name]}, {value}" if name in shown else value
    return shown


def _shown_body(body: bytes, *, is_cut: bool) -> JsonObject:
    """Return a body as whoever reads it wants it: JSON, else text, else base64; `cut` says that there was more."""
    if not body:
        return {}
    shown: JsonObject = {}
    try:
        text = body.decode()
    except UnicodeDecodeError as exc:
        text = body[: exc.start].decode() if is_cut and exc.start > len(body) - 4 else ""
    if not text:
        shown["b64"] = base64.b64encode(body).decode()
    elif is_cut or text[:1] not in "{[":
        shown["text"] = text
    else:
        try:
            shown["json"] = json.loads(text)
        except (ValueError, RecursionError):
            shown["text"] = text
    if is_cut:
        shown["cut"] = True
    return shown


class Journal:
    """The entries of one session, the oldest first."""

    def __init__(self, room: JournalRoom) -> None:
        self.entries: collections.deque[Entry] = collections.deque()
        #: How many entries had to go.
        self.dropped = 0
        #: How often something was written down that somebody may wait for.
        self.changes = 0
        self._room = room
        self._mark = object()  # for its counts
        self._count = 0
        self._waiting: set[asyncio.Future[None]] = set()

    def begin(self, came: float, method: str, path: str, query: str, fields: typing.Iterable[tuple[str, str]]) -> Entry:
        """Write down that a request came."""
        self._count += 1
        query = query_without_key(query)
        shown = f"{path}?{query}" if query else path
        entry = Entry(self._count, came, method, shown, masked_fields(fields))
        self.entries.append(entry)
        self._room.take(self, entry, _ENTRY_BYTES + len(shown) + _size_of(entry.fields))
        return entry

    def note_request(self, entry: Entry, key: str, body: bytes) -> None:
        """Write down what came with it; `key` is what equal requests have in common."""
        entry.key = key
        entry.attempt = self._room.counts.count(self._mark, key)
        entry.request_body = self._kept(entry, "request", body)
        self._room.take(self, entry, len(entry.request_body) + len(key))
        self.wake()

    def note_answer(self, entry: Entry, status: int, fields: typing.Iterable[tuple[str, str]]) -> None:
        """Write down how an answer begins."""
        entry.status = status
        entry.answer_fields = masked_fields(fields)
        self._room.take(self, entry, _size_of(entry.answer_fields))
        self.wake()

    def note(self, entry: Entry, text: str) -> None:
        """Write down something that whoever reads the journal should know."""
        if len(entry.notes) < _MOST_NOTES:
            entry.notes.append(text)
            self._room.take(self, entry, _TEXT_BYTES + len(text))

    def keep_facts(self, entry: Entry, facts: object) -> None:
        """Keep what a call's body says for the next search, as long as there is room for that."""
        self._room.keep_facts(entry, facts)

    def note_data(self, entry: Entry, data: bytes, now: float) -> None:
        """Write down a piece of the answer's body."""
        if entry.first is None:
            entry.first = now
        have = len(entry.answer_body)
        if have + len(data) > MOST_BODY_BYTES and "answer" not in entry.cut:
            entry.cut.append("answer")
        kept = data[: MOST_BODY_BYTES - have]
        if kept:
            entry.answer_body += kept
            self._room.take(self, entry, len(kept))

    def note_end(self, entry: Entry, ended: str, now: float) -> None:
        """Write down that it is over."""
        entry.ended = ended
        entry.ended_at = now
        self.wake()

    def clear(self) -> None:
        """Forget all entries, and how often equal requests have come."""
        for entry in self.entries:
            self._room.give_back(entry)
        self.entries.clear()
        self._mark = object()
        self.dropped = 0

    def _kept(self, entry: Entry, which: str, body: bytes) -> bytes:
        if len(body) <= MOST_BODY_BYTES:
            return body
        entry.cut.append(which)
        return body[:MOST_BODY_BYTES]

    # ---- who waits ------------------------------------------------------------------------------------------------

    async def changed(self) -> None:
        """Wait until something is written down (`changes`)."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        try:
            await waiting
        finally:
            self._waiting.discard(waiting)

    def wake(self) -> None:
        """Wake those who wait for a change."""
        self.changes += 1
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)


def _size_of(fields: typing.Sequence[tuple[str, str]]) -> int:
    return sum(_TEXT_BYTES + len(name) + len(value) for name, value in fields)


class JournalRoom:
    """What all journals of a server may take: so many bytes of entries, and counts of so many different requests.

    `most_facts` bounds the bodies, in bytes, whose facts are kept; these take twenty times as much at the most.
    """

    def __init__(self, most_bytes: int = 64 << 20, *, most_keys: int = 50_000, most_facts: int = 1 << 20) -> None:
        self.counts = Counts(most_keys)
        self._most = most_bytes
        self._most_facts = most_facts
        self._bytes = 0
        self._entries: collections.OrderedDict[int, tuple[Journal, Entry]] = collections.OrderedDict()
        # Those that have facts, by id().
        self._with_facts: collections.OrderedDict[int, Entry] = collections.OrderedDict()
        self._facts_bytes = 0

    def take(self, journal: Journal, entry: Entry, size: int) -> None:
        """Count so many bytes more of an entry; the oldest ones of all make room."""
        if entry.size and id(entry) not in self._entries:
            return  # it had to go while its answer was on its way
        self._entries.setdefault(id(entry), (journal, entry))
        entry.size += size
        self._bytes += size
        while self._bytes > self._most and len(self._entries) > 1:
            oldest_journal, oldest = self._entries[next(iter(self._entries))]
            self.give_back(oldest)
            oldest_journal.entries.popleft()
            oldest_journal.dropped += 1

    def give_back(self, entry: Entry) -> None:
        """Count an entry no more."""
        if self._entries.pop(id(entry), None) is not None:
            self._bytes -= entry.size
        if id(entry) in self._with_facts:
            self._forget_facts(entry)

    def keep_facts(self, entry: Entry, facts: object) -> None:
        """Let an entry have its facts, and those have none any more whose bodies were read the longest ago."""
        if id(entry) not in self._entries or id(entry) in self._with_facts:
            return
        entry.facts = facts
        self._with_facts[id(entry)] = entry
        self._facts_bytes += len(entry.request_body)
        while self._facts_bytes > self._most_facts:
            self._forget_facts(next(iter(self._with_facts.values())))

    def _forget_facts(self, entry: Entry) -> None:
        del self._with_facts[id(entry)]
        entry.facts = None
        self._facts_bytes -= len(entry.request_body)
