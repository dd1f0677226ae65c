"""The word that was meant: only a message about a wrong one needs it."""

from __future__ import annotations

import difflib
import typing


def nearest(word: str, known: typing.Iterable[str]) -> str:
    """Return "; did you mean …?" with the nearest known word, "" where none is near."""
    near = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""
