"""Long JSON texts, written in pieces: others have their turns in between (protocol/budget.py)."""

from __future__ import annotations

import typing

from protocol.budget import spend_turn
from protocol.wire.gathering import Gathering
from protocol.wire.json_text import encode_json

# What is encoded in one piece: about so many values, of which 64 characters of a text count as one.
_PIECE_EXTENT = 2_000
_CHARACTERS_A_VALUE = 64
# What is written in one call where nobody has his turn in between.
_LONG_EXTENT = 10_000


_Encode = typing.Callable[[object], bytes]


def encode_long_json(value: object, encode: _Encode = encode_json) -> bytes:
    """Return what `encode` returns, which writes compact JSON; others have their turns between pieces of it."""
    pieces = Gathering()
    _encode_pieces(value, pieces, encode)
    return pieces.take()


def json_size(value: object) -> int:
    """Return about how many bytes a value has as JSON; others have their turns while a large one is counted."""
    size, values = 0, [value]
    while values:
        for _ in range(_PIECE_EXTENT):
            one = values.pop()
            if type(one) is str:
                size += 2 + (len(one) if one.isascii() else 3 * len(one))
            elif type(one) is dict:
                size += 1 + sum(map(len, one)) + 4 * len(one)
                values.extend(one.values())
            elif type(one) is list:
                size += 1 + len(one)
                values.extend(one)
            else:
                size += len(str(one))
            if not values:
                return size
        spend_turn(_PIECE_EXTENT // 4)
    return size


def is_long_json(value: object) -> bool:
    """Tell whether a value takes more than some milliseconds to write; this looks at as much of it as is written so."""
    return _room_behind(value, _LONG_EXTENT) < 0


def _encode_pieces(value: object, pieces: Gathering, encode: _Encode) -> None:
    if _room_behind(value, _PIECE_EXTENT) >= 0:
        spend_turn(_PIECE_EXTENT // 4)
        pieces.add(encode(value))
    elif isinstance(value, dict):
        before = b"{"
        for name, part in list(value.items()):  # which others may change in the pauses
            pieces.add(before)
            before = b","
            _encode_pieces(name, pieces, encode)
            pieces.add(b":")
            _encode_pieces(part, pieces, encode)
        pieces.add(b"}")
    elif isinstance(value, list):
        pieces.add(b"[")
        _encode_members(list(value), pieces, encode)
        pieces.add(b"]")
    elif isinstance(value, str):
        size = _PIECE_EXTENT * _CHARACTERS_A_VALUE // 2
        pieces.add(b'"')
        for start in range(0, len(value), size):
            spend_turn(_PIECE_EXTENT // 4)
            pieces.add(encode(value[start : start + size])[1:-1])
        pieces.add(b'"')


def _encode_members(members: list[object], pieces: Gathering, encode: _Encode) -> None:
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
            pieces.add((b"" if is_first else b",") + encode(group)[1:-1])
            is_first, group, room = False, [], _PIECE_EXTENT
        if left < 0:
            pieces.add(b"" if is_first else b",")
            is_first = False
            _encode_pieces(member, pieces, encode)


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
