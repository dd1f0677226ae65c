"""Long JSON texts, written in pieces: others have their turns in between (protocol/budget.py)."""

from __future__ import annotations

from protocol.budget import spend_turn
from protocol.wire.json_text import encode_json

# What is encoded in one piece: about so many values, of which 64 characters of a text count as one.
_PIECE_EXTENT = 2_000
_CHARACTERS_A_VALUE = 64


def encode_long_json(value: object) -> bytes:
    """Return what encode_json returns, made in pieces, so that others have their turns in between."""
    pieces: list[bytes] = []
    _encode_pieces(value, pieces)
    return b"".join(pieces)


def _encode_pieces(value: object, pieces: list[bytes]) -> None:
    if _room_behind(value, _PIECE_EXTENT) >= 0:
        spend_turn(_PIECE_EXTENT // 4)
        pieces.append(encode_json(value))
    elif isinstance(value, dict):
        before = b"{"
        for name, part in list(value.items()):  # which others may change in the pauses
            pieces.append(before)
            before = b","
            _encode_pieces(name, pieces)
            pieces.append(b":")
            _encode_pieces(part, pieces)
        pieces.append(b"}")
    elif isinstance(value, list):
        pieces.append(b"[")
        _encode_members(list(value), pieces)
        pieces.append(b"]")
    elif isinstance(value, str):
        size = _PIECE_EXTENT * _CHARACTERS_A_VALUE // 2
        pieces.append(b'"')
        for start in range(0, len(value), size):
            spend_turn(_PIECE_EXTENT // 4)
            pieces.append(encode_json(value[start : start + size])[1:-1])
        pieces.append(b'"')


def _encode_members(members: list[object], pieces: list[bytes]) -> None:
    """Encode the members of a list: small ones together, each large one by itself."""
    group: list[object] = []
    room = _PIECE_EXTENT
    is_first = True
    for number, member in enumerate(members, 1):
        left = _room_behind(member, room)
        if left >= 0:
            group.append(member)
            room = left
        if group and (left < 0 or number == len(members)):
            spend_turn(_PIECE_EXTENT // 4)
            pieces.append((b"" if is_first else b",") + encode_json(group)[1:-1])
            is_first, group, room = False, [], _PIECE_EXTENT
        if left < 0:
            pieces.append(b"" if is_first else b",")
            is_first = False
            _encode_pieces(member, pieces)


def _room_behind(value: object, room: int) -> int:
    """Return how much of so much room a value leaves, below 0 where it takes more."""
    room -= 1
    if isinstance(value, str):
        return room - len(value) // _CHARACTERS_A_VALUE
    if isinstance(value, (dict, list)):
        if isinstance(value, dict):
            room -= sum(len(name) // _CHARACTERS_A_VALUE for name in value) if len(value) <= room else len(value)
        for part in value.values() if isinstance(value, dict) else value:
            if room < 0:
                break
            room = _room_behind(part, room)
    return room
