"""A recording: an answer with its pieces, as a line of a cassette.

    {"key": "9f2c…", "ask": {…}, "status": 200, "head": {…}, "events": [[412, "data: {…}…"], [18, "…"]],
     "cuts": [63, 70], "end": "done"}

`events` are [milliseconds since the last one began to come, exact text]; null for one that began in the same piece as
the last. `cuts` stand where the bytes were split elsewhere than between events, counted from the body's beginning;
what comes behind a cut comes at once. Bytes that are no text are {"b64": …}. `end` is "done", "cut" where the answer
broke off, or "reset" where its connection was reset.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
import typing

from protocol.budget import spend_turn
from protocol.openai.long_json import encode_long_json
from protocol.wire.json_text import JsonObject
from protocol.wire.long_json import parse_long_json

#: The fields of an answer that are kept. All others are about the connection, the upstream's session, or its owner.
_KEPT_FIELDS = frozenset(
    "content-type content-disposition content-encoding cache-control etag last-modified location retry-after"
    " retry-after-ms x-should-retry x-request-id openai-version openai-processing-ms".split()
)
_KEPT_BEGINNINGS = ("x-ratelimit-",)

# Events of a stream that are shown one by one; of a line, values that are read, and from how many characters on it is
# read in turns with everybody else.
_MOST_EVENTS = 100_000
_MOST_VALUES = 2_000_000
_LONG_LINE = 65_536
# What an event costs (protocol/budget.py).
_EVENT_STEPS = 3

_END_OF_EVENT = re.compile(rb"(?:\r\n|\n|\r)(?:\r\n|\n|\r)")

Piece = typing.Tuple[float, bytes]


class BadRecording(ValueError):
    """A line that is no recording; the text says what was expected."""


class Recording(typing.NamedTuple):
    """An answer that was recorded. `pieces` are as they came: seconds since the last one, and bytes."""

    key: str
    ask: JsonObject
    status: int
    head: typing.Sequence[tuple[str, str]]
    pieces: typing.Sequence[Piece]
    end: str = "done"

    def line(self) -> bytes:
        """Return it as a line of the file, without its end; a long one is written in turns with everybody else."""
        is_stream = any(name == "content-type" and "event-stream" in value for name, value in self.head)
        events, cuts = _events_of(self.pieces, is_stream=is_stream)
        told: JsonObject = {"key": self.key, "ask": self.ask, "status": self.status, "head": dict(self.head)}
        told["events"] = [
            [None if wait is None else round(wait * 1000, 3), _shown(data)] for wait, data in _in_turns(events)
        ]
        if cuts:
            told["cuts"] = cuts
        told["end"] = self.end
        return encode_long_json(told)


def read_recording(line: str) -> Recording:
    """Return the recording of a line; BadRecording where it is none."""
    try:
        told = json.loads(line) if len(line) <= _LONG_LINE else parse_long_json(line.encode(), _MOST_VALUES)
    except (ValueError, RecursionError) as exc:
        raise BadRecording("expected a JSON object") from exc
    try:
        events = [
            (None if wait is None else float(wait) / 1000, _data(shown)) for wait, shown in _in_turns(told["events"])
        ]
        head = [(str(name), str(value)) for name, value in told["head"].items()]
        pieces = _pieces_of(events, [int(cut) for cut in told.get("cuts", ())])
        recording = Recording(str(told["key"]), dict(told["ask"]), int(told["status"]), head, pieces, str(told["end"]))
        str(recording.ask["method"]), str(recording.ask["path"])
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        raise BadRecording(f"expected key, ask, status, head, events and end: {type(exc).__name__} {exc}") from exc
    if recording.end not in ("done", "cut", "reset") or not 200 <= recording.status <= 599:
        raise BadRecording("expected a status from 200 to 599, and done, cut or reset as the end")
    return recording


def kept_fields(fields: typing.Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the fields of an answer that a recording keeps."""
    return [(name, value) for name, value in fields if name in _KEPT_FIELDS or name.startswith(_KEPT_BEGINNINGS)]


# ---- pieces and events ----------------------------------------------------------------------------------------------


def _events_of(
    pieces: typing.Sequence[Piece], *, is_stream: bool
) -> tuple[list[tuple[float | None, bytes]], list[int]]:
    """Return events, each with its wait where it began a piece, and where else the bytes were split."""
    body = b"".join(data for _, data in pieces)
    ends = (match.end() for match in _END_OF_EVENT.finditer(body)) if is_stream else iter(())
    begins = [0, *_in_turns(itertools.islice(ends, _MOST_EVENTS))]
    begins = [begin for begin in begins if begin < len(body)]
    came: dict[int, float] = {}
    at, moment = 0, 0.0
    for wait, data in _in_turns(pieces):
        moment += wait
        came[at] = moment
        at += len(data)
    events: list[tuple[float | None, bytes]] = []
    last = 0.0
    for begin, end in _in_turns(zip(begins, [*begins[1:], len(body)])):
        moment_of_piece = came.pop(begin, None)
        events.append((None if moment_of_piece is None else moment_of_piece - last, body[begin:end]))
        last = last if moment_of_piece is None else moment_of_piece
    return events, [cut for cut in came if cut < len(body)]


def _pieces_of(events: typing.Sequence[tuple[float | None, bytes]], cuts: typing.Sequence[int]) -> list[Piece]:
    """Return the pieces that events and cuts tell of."""
    body = b"".join(data for _, data in events)
    waits: dict[int, float] = dict.fromkeys((cut for cut in cuts if 0 < cut < len(body)), 0.0)
    at = 0
    for wait, data in _in_turns(events):
        if wait is not None or not at:
            waits[at] = wait or 0.0
        at += len(data)
    begins = sorted(waits)
    spans = _in_turns(zip(begins, [*begins[1:], len(body)]))
    return [(waits[begin], body[begin:end]) for begin, end in spans if begin < end]


_Thing = typing.TypeVar("_Thing")


def _in_turns(things: typing.Iterable[_Thing]) -> typing.Iterator[_Thing]:
    for thing in things:
        spend_turn(_EVENT_STEPS)
        yield thing


def _shown(data: bytes) -> typing.Any:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(data).decode()}


def _data(shown: typing.Any) -> bytes:
    if isinstance(shown, dict):
        return base64.b64decode(shown["b64"], validate=True)
    if not isinstance(shown, str):
        raise TypeError("an event is a string, or b64")
    return shown.encode()
