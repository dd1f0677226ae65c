"""A cassette held against the living API: has the shape of an answer changed since it was recorded?

A shape is the set of members of a JSON value, each with the kind of its value; of a stream it is that of all events
together. What an answer says is another matter: it is another one each time.
"""

from __future__ import annotations

import json
import typing

from protocol.cassette.recording import Recording

# Members of which a shape is told.
_MOST_MEMBERS = 5_000
_MOST_TOLD = 5


def shape_of(status: int, content_type: str, body: bytes) -> frozenset[str]:
    """Return the shape of an answer; its status belongs to it."""
    found = {f"status {status}"}
    if "event-stream" in content_type:
        for line in body.decode("utf-8", "replace").splitlines():
            data = line[5:].strip() if line.startswith("data:") else ""
            if data == "[DONE]":
                found.add("[DONE]")
            elif data:
                _add(found, _read(data), "event")
    elif "json" in content_type:
        _add(found, _read(body.decode("utf-8", "replace")), "")
    else:
        found.add(f"content-type {content_type.partition(';')[0]}")
    return frozenset(found)


def _read(text: str) -> typing.Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _add(found: set[str], value: typing.Any, where: str) -> None:
    if len(found) >= _MOST_MEMBERS:
        return
    if isinstance(value, dict):
        for name, member in value.items():
            _add(found, member, f"{where}.{name}" if where else str(name))
    elif isinstance(value, list):
        for member in value:
            _add(found, member, f"{where}[]")
    elif value is not None:  # a member that may be null is one with and without a value
        kind = {bool: "boolean", int: "number", float: "number", str: "string"}[type(value)]
        found.add(f"{where} {kind}")


def difference(recording: Recording, living: frozenset[str]) -> str:
    """Return a line on how the living API's shape differs from a recording's, "" where it does not."""
    head = dict(recording.head)
    body = b"".join(data for _, data in recording.pieces)
    recorded = shape_of(recording.status, head.get("content-type", ""), body)
    parts = []
    for word, names in (("gone", recorded - living), ("new", living - recorded)):
        told = sorted(names)
        if told:
            more = f" and {len(told) - _MOST_TOLD} more" if len(told) > _MOST_TOLD else ""
            parts.append(f"{word}: {', '.join(told[:_MOST_TOLD])}{more}")
    return "; ".join(parts)
