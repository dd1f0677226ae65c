"""A request in one line, for people: what a record of the JSON log tells of it.

    2026-01-31T12:00:00+01:00 POST /v1/chat/completions 200 1.204s first=0.311s model=gpt-4o>qwen3 backend=relay
    key=alice tries=spare=503,relay=200 tokens=12+85 ended=done ip=127.0.0.1 id=req_1

What is not known is left out. What clients write stands there without white space and control characters, so that a
line is a line, and no terminal obeys it.
"""

from __future__ import annotations

import typing

from protocol.wire.json_text import JsonObject

_MOST_CHARACTERS = 100
# Of a status by its first digit (ECMA-48 "SGR"): green, cyan, yellow, red.
_COLOURS = {"2": "32", "3": "36", "4": "33", "5": "31"}


def request_line(record: JsonObject, has_colours: bool) -> str:
    """Return the line of a request that is over, with its end."""
    status = str(record["status"])
    colour = _COLOURS.get(status[:1]) if has_colours else None
    shown = f"\x1b[{colour}m{status}\x1b[0m" if colour else status
    words = [record["time"], _plain(record["method"]), _plain(record["path"], 500), shown, _seconds(record["seconds"])]
    words += [f"{name}={value}" for name, value in _told(record) if value]
    return " ".join(words) + "\n"


def _told(record: JsonObject) -> typing.Iterator[tuple[str, str]]:
    for phase in ("queue", "connect", "first"):
        seconds = record.get(f"seconds_{phase}")
        yield phase, "" if seconds is None else _seconds(seconds)
    asked, sent = _plain(record.get("asked")), _plain(record.get("sent"))
    yield "model", f"{asked}>{sent}" if sent and sent != asked else asked
    yield "backend", _plain(record.get("backend"))
    yield "key", _plain(record.get("key") or record["api_key_hash"])
    attempts = record.get("attempts") or ()
    yield "tries", ",".join(attempts) if len(attempts) > 1 else ""
    if record.get("tok_in") is not None:
        yield "tokens", f"{record['tok_in']}+{record['tok_out']}"
    yield "fault", _plain(record.get("fault"))
    yield "ended", _plain(record.get("ended"))
    yield "ip", _plain(record["ip"])
    yield "id", _plain(record["request_id"])
    yield "trace", record.get("trace_id", "")


def _plain(text: str | None, most: int = _MOST_CHARACTERS) -> str:
    shown = "".join(letter if letter.isprintable() and letter != " " else "?" for letter in (text or "")[:most])
    return shown + ("…" if text and len(text) > most else "")


def _seconds(seconds: float) -> str:
    return f"{seconds:.3f}s"
