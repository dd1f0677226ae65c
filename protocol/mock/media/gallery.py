"""Pictures for requests: a small one is made at once, a large one in turns, and one that is asked for again is kept."""

from __future__ import annotations

import collections
import functools
import typing

from protocol.mock.media.picture import picture_file
from protocol.turns import in_turns

# What takes some milliseconds in any format.
_PIXELS_AT_ONCE = 256 * 256
_CHARACTERS_AT_ONCE = 500

# Of the pictures that were asked for last, those that have so many bytes in all are kept.
_MOST_KEPT_BYTES = 8 * 1024 * 1024


async def made_picture(
    text: str, width: int, height: int, *, picture_format: str = "png", seed: int = 0, transparent: bool = False
) -> bytes:
    """Return what `picture_file` does, which raises the same; others are answered while a large one is made."""
    make = functools.partial(
        picture_file, text, width, height, picture_format=picture_format, seed=seed, transparent=transparent
    )
    if width * height <= _PIXELS_AT_ONCE and len(text) <= _CHARACTERS_AT_ONCE:
        return make()
    return await in_turns(make)


async def kept_picture(text: str, width: int, height: int, *, picture_format: str = "png", seed: int = 0) -> bytes:
    """Return what `made_picture` does, for a picture that may be asked for again."""
    asked = (text, width, height, picture_format, seed)
    found = _kept.find(asked)
    if found is None:
        found = await made_picture(text, width, height, picture_format=picture_format, seed=seed)
        _kept.keep(asked, found)
    return found


_Asked = typing.Tuple[str, int, int, str, int]


class _Kept:
    """The pictures that were asked for last, by what was asked. Which they are changes no answer, only its time."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._pictures: collections.OrderedDict[_Asked, bytes] = collections.OrderedDict()

    def find(self, asked: _Asked) -> bytes | None:
        found = self._pictures.get(asked)
        if found is not None:
            self._pictures.move_to_end(asked)
        return found

    def keep(self, asked: _Asked, picture: bytes) -> None:
        self._forget(asked)
        self._pictures[asked] = picture
        self._bytes += _size(asked, picture)
        while self._bytes > self._most_bytes:
            self._forget(next(iter(self._pictures)))

    def _forget(self, asked: _Asked) -> None:
        picture = self._pictures.pop(asked, None)
        if picture is not None:
            self._bytes -= _size(asked, picture)


def _size(asked: _Asked, picture: bytes) -> int:
    return len(picture) + 4 * len(asked[0])


_kept = _Kept(_MOST_KEPT_BYTES)
