"""The configuration of a realtime session: what it is at first, and what a client may change of it.

It has the form of the API's general availability. Source: OpenAI API reference, "Realtime", "session.update".
"""

from __future__ import annotations

import typing

from protocol.errors import ApiError
from protocol.mock.realtime.audio import InputSound, TurnDetection
from protocol.mock.unchecked import without_nulls
from protocol.wire.json_text import JsonObject

_SERVER_VAD: JsonObject = {
    "type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 200,
    "idle_timeout_ms": None, "create_response": True, "interrupt_response": True,
}  # fmt: skip
_SEMANTIC_VAD: JsonObject = {
    "type": "semantic_vad",
    "eagerness": "auto",
    "create_response": True,
    "interrupt_response": True,
}
_INSTRUCTIONS = "You are a helpful assistant."
# By eagerness: how long semantic detection waits at most. The mock, which does not know what was said, always does.
_EAGER_SILENCE_MS = {"low": 8000, "medium": 4000, "auto": 4000, "high": 2000}

# The members that a client cannot change, and those that it may set to null. Elsewhere null is as good as absent.
_FIXED_MEMBERS = frozenset(["id", "object", "type", "model", "expires_at", "audio"])
_NULLABLE_MEMBERS = frozenset(["tracing", "prompt", "include", "transcription", "noise_reduction", "turn_detection"])

#: The kinds of a session, as its `type` says them.
SessionKind = typing.Literal["realtime", "transcription"]


def new_session(kind: SessionKind, id: str, model: str, expires_at: int) -> JsonObject:
    """Return a session as it is before a client changes it."""
    sound: JsonObject = {
        "format": {"type": "audio/pcm", "rate": 24000}, "transcription": None, "noise_reduction": None,
        "turn_detection": dict(_SERVER_VAD),
    }  # fmt: skip
    session: JsonObject = {"type": kind, "object": f"realtime.{_kind_word(kind)}", "id": id, "expires_at": expires_at}
    if kind == "transcription":
        return {**session, "audio": {"input": sound}, "include": None}
    voice = {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "alloy", "speed": 1.0}
    return {
        **session, "model": model, "output_modalities": ["audio"], "instructions": _INSTRUCTIONS, "tools": [],
        "tool_choice": "auto", "parallel_tool_calls": True, "max_output_tokens": "inf", "tracing": None,
        "truncation": "auto", "prompt": None, "include": None, "audio": {"input": sound, "output": voice},
    }  # fmt: skip


def _kind_word(kind: str) -> str:
    return "session" if kind == "realtime" else "transcription_session"


def changed_session(session: JsonObject, change: JsonObject) -> JsonObject:
    """Return a session with a client's changes; ApiError 400 for modalities that do not go together."""
    changed = {**session, **_given(change, session.keys() - _FIXED_MEMBERS)}
    modalities = change.get("output_modalities")
    if modalities is not None and modalities not in (["text"], ["audio"]):
        raise ApiError(
            400, f"Invalid modalities: {modalities!r:.100}. Supported combinations are: ['text'] and ['audio'].",
            param="session.output_modalities", code="invalid_value",
        )  # fmt: skip
    changed["audio"] = dict(session["audio"])
    for side, members in (change.get("audio") or {}).items():
        if side in changed["audio"] and members is not None:
            changed["audio"][side] = _changed_side(changed["audio"][side], members)
    return changed


def _changed_side(side: JsonObject, change: JsonObject) -> JsonObject:
    changed = {**side, **_given(change, side.keys())}
    changed["format"] = _full_format(changed["format"])
    detection = changed.get("turn_detection")
    if detection is not None:
        full = _SEMANTIC_VAD if detection.get("type") == "semantic_vad" else _SERVER_VAD
        changed["turn_detection"] = {**full, **without_nulls(detection)}
    return changed


def _given(change: JsonObject, names: typing.AbstractSet[str]) -> JsonObject:
    return {
        name: value
        for name, value in change.items()
        if name in names and (value is not None or name in _NULLABLE_MEMBERS)
    }


def _full_format(asked: JsonObject) -> JsonObject:
    kind = asked.get("type") or "audio/pcm"
    return {"type": kind, "rate": 24000} if kind == "audio/pcm" else {"type": kind}


def input_sound(session: JsonObject) -> InputSound:
    """Return an empty input buffer for the format and the turn detection of a session."""
    sound = session["audio"]["input"]
    detection, found = sound["turn_detection"], None
    if detection is not None and detection["type"] == "semantic_vad":
        found = TurnDetection(0.5, _SERVER_VAD["prefix_padding_ms"], _EAGER_SILENCE_MS[detection["eagerness"]])
    elif detection is not None:
        found = TurnDetection(detection["threshold"], detection["prefix_padding_ms"], detection["silence_duration_ms"])
    return InputSound(sound["format"]["type"], found)
