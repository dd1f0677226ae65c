"""Rows of numbers that are counted up, by name: where the metrics keep what they count.

Workers keep theirs in one block of memory that all of them share (shared_figures.py), so that each can tell the sum.
"""

from __future__ import annotations

import typing

#: What a row is called: a metric's name, and the values of its labels.
Row = typing.Tuple[str, ...]


class Numbers(typing.Protocol):
    """Numbers that are read and written one by one."""

    def __getitem__(self, index: int) -> float:
        """Return a number."""

    def __setitem__(self, index: int, value: float) -> None:
        """Change a number."""


class Figures(typing.Protocol):
    """Where numbers are kept. Whoever counts writes `values` directly, from where `row` says that his numbers begin."""

    values: Numbers

    def row(self, name: Row, size: int) -> int:
        """Return where a row of so many numbers begins, which is made of zeros where there is none."""

    def names(self) -> typing.Iterable[Row]:
        """Return the names of the rows that this process has."""

    def parts(self) -> typing.Iterable[typing.Mapping[Row, typing.Sequence[float]]]:
        """Return what every process has counted, its own among them."""


class OwnFigures:
    """Figures of a process that is alone."""

    def __init__(self) -> None:
        self._numbers: list[float] = []
        self.values: Numbers = self._numbers
        self._rows: dict[Row, tuple[int, int]] = {}

    def row(self, name: Row, size: int) -> int:
        """Return where a row begins (Figures)."""
        known = self._rows.get(name)
        if known is None:
            known = self._rows[name] = (len(self._numbers), size)
            self._numbers += [0.0] * size
        return known[0]

    def names(self) -> typing.Iterable[Row]:
        """Return the names of all rows (Figures)."""
        return self._rows

    def parts(self) -> typing.Iterable[typing.Mapping[Row, typing.Sequence[float]]]:
        """Return what has been counted (Figures)."""
        return [{name: self._numbers[at : at + size] for name, (at, size) in self._rows.items()}]
