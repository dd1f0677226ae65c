"""Paths into JSON: names and numbers between dots, such as `messages.0.role`."""

from __future__ import annotations

import re
import typing

#: Stands for what is not there; null may be.
MISSING = object()

_STEP = re.compile(r"[^.\[\]]+")
_PATH = re.compile(r"[^.\[\]]+(?:\.[^.\[\]]+|\[-?\d+\])*")


def split_path(path: str) -> tuple[str, ...] | None:
    """Return the steps of a path, None for none; `a[0].b` is the same as `a.0.b`."""
    return tuple(_STEP.findall(path)) if _PATH.fullmatch(path) else None


def look_up(value: typing.Any, steps: typing.Iterable[str]) -> typing.Any:
    """Return what a path leads to, MISSING where nothing is there; a number below 0 counts from a list's end."""
    for step in steps:
        if isinstance(value, dict):
            value = value.get(step, MISSING)
        elif isinstance(value, list) and step.removeprefix("-").isdecimal() and len(step) < 10:
            number = int(step)
            value = value[number] if -len(value) <= number < len(value) else MISSING
        else:
            return MISSING
    return value


def is_same(one: typing.Any, other: typing.Any) -> bool:
    """Tell whether two JSON values are the same: 1 is 1.0, and is not true."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    return bool(one == other)
