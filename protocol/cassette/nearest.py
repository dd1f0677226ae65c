"""What a request that was never recorded differs in from the nearest one that was."""

from __future__ import annotations

import json
import typing

from protocol.budget import spend_turn
from protocol.cassette.recording import Recording
from protocol.wire.json_text import JsonObject

# Recordings that are looked at, and members of each.
_MOST_RECORDINGS = 200
_MOST_MEMBERS = 2_000
_SHOWN = 60
# What it costs to compare two of each (protocol/budget.py).
_RECORDING_STEPS = 20
_MEMBER_STEPS = 20


def nearest_difference(shown: JsonObject, recordings: typing.Iterable[Recording]) -> str:
    """Return a sentence: the nearest recording's difference, or that nothing of the kind was recorded."""
    best: tuple[int, str] | None = None
    path = str(shown["path"]).partition("?")[0]
    for number, recording in enumerate(recordings):
        if number >= _MOST_RECORDINGS:
            break
        spend_turn(_RECORDING_STEPS)
        ask = recording.ask
        if ask["method"] != shown["method"] or str(ask["path"]).partition("?")[0] != path:
            continue
        found = list(_differences(ask, shown, ""))
        if best is None or len(found) < best[0]:
            best = len(found), found[0] if found else "what was recorded has been given already"
    if best is None:
        return f"Nothing was recorded for {shown['method']} {path}."
    return f"The nearest recording differs: {best[1]}."


def _differences(recorded: typing.Any, asked: typing.Any, where: str) -> typing.Iterator[str]:
    """Yield each place that differs, with what was recorded there and what is asked."""
    left = [_MOST_MEMBERS]

    def walk(recorded: typing.Any, asked: typing.Any, where: str) -> typing.Iterator[str]:
        left[0] -= 1
        spend_turn(_MEMBER_STEPS)
        if left[0] < 0 or recorded == asked:
            return
        if isinstance(recorded, dict) and isinstance(asked, dict):
            for name in [*recorded, *(name for name in asked if name not in recorded)]:
                inner = f"{where}.{name}" if where else name
                yield from walk(recorded.get(name, _NOTHING), asked.get(name, _NOTHING), inner)
        elif isinstance(recorded, list) and isinstance(asked, list) and len(recorded) == len(asked):
            for number, (one, other) in enumerate(zip(recorded, asked)):
                yield from walk(one, other, f"{where}[{number}]")
        else:
            yield f"{_place(where)} is {_told(asked)}, and was {_told(recorded)}"

    return walk(recorded, asked, where)


class _Nothing:
    """Stands for a member that is not there."""


_NOTHING = _Nothing()


def _place(where: str) -> str:
    return where[5:] if where.startswith("json.") else where


def _told(value: typing.Any) -> str:
    if value is _NOTHING:
        return "not there"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
