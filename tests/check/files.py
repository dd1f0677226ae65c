"""The files of the tree: their paths from its root, with "/", and their texts."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable

from environment import ROOT

_NOT_OURS = frozenset(("__pycache__", "build", "dist"))


def all_files() -> list[str]:
    """Return the path of every file that belongs to the tree, sorted."""
    found = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name == ".ci" or not (name.startswith(".") or name in _NOT_OURS)]
        found += [os.path.relpath(os.path.join(folder, name), ROOT).replace(os.sep, "/") for name in names]
    return sorted(found)


def read_files(paths: Iterable[str]) -> dict[str, str]:
    """Return the text of each file by its path."""
    return {path: pathlib.Path(ROOT, path).read_text(encoding="utf-8") for path in paths}


def read_program() -> dict[str, str]:
    """Return the text of each file of the product by its path."""
    return read_files(path for path in all_files() if path == "oaiserve.py" or _is_part(path))


def _is_part(path: str) -> bool:
    return path.startswith("protocol/") and path.endswith(".py")
