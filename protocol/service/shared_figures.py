"""The figures of workers: one block of memory that their parent maps before it starts them.

Theory of operation
-------------------
Each worker has a part of its own, which nobody else writes: no lock, and nothing is lost. The one that takes a dead
one's place takes over its part, and goes on counting where that stopped. A part is a sequence of records, each of them
some 64-bit words:

    how many words the record has      written last: a record is whole for who finds it, and 0 is the end
    how many bytes its name has
    the name, as JSON                  filled up to whole words
    the numbers                        doubles, each changed by one store

A number that another worker changes meanwhile is read as it was, or as it is then. Where a part is full, what is new is
counted in a place that nobody reads.
"""

from __future__ import annotations

import json
import mmap
import typing

from protocol.service.figures import Numbers, Row

_WORD_BYTES = 8
# Of a worker. What labels there can be has bounds of its own, which need about half of it.
_PART_WORDS = 1 << 17
# What is counted where there is no room; no row is longer.
_SPARE_WORDS = 64
_HEADER_WORDS = 2


def new_memory(workers: int) -> mmap.mmap:
    """Return memory for the figures of so many workers, who inherit it; the system gives it as it is used."""
    return mmap.mmap(-1, workers * _PART_WORDS * _WORD_BYTES)


class SharedFigures:
    """The figures of the worker `number`, from 0, among those for whom `memory` was made."""

    def __init__(self, memory: mmap.mmap, number: int) -> None:
        self._bytes = memoryview(memory)
        self._all = self._bytes.cast("d")
        self._sizes = self._bytes.cast("q")
        self.values: Numbers = self._all
        self._begin = number * _PART_WORDS
        self._rows: dict[Row, int] = {}
        self._next = self._begin + _SPARE_WORDS
        for name, at, size in self._records(self._begin):
            self._rows[name] = at
            self._next = at + size

    def row(self, name: Row, size: int) -> int:
        """Return where a row begins (Figures)."""
        at = self._rows.get(name)
        if at is None:
            at = self._rows[name] = self._add(name, size)
        return at

    def _add(self, name: Row, size: int) -> int:
        text = json.dumps(name).encode()
        numbers_at = self._next + _HEADER_WORDS + -(-len(text) // _WORD_BYTES)
        end = numbers_at + size
        if end >= self._begin + _PART_WORDS:
            return self._begin
        text_at = (self._next + _HEADER_WORDS) * _WORD_BYTES
        self._bytes[text_at : text_at + len(text)] = text
        self._sizes[self._next + 1] = len(text)
        self._sizes[self._next] = end - self._next
        self._next = end
        return numbers_at

    def names(self) -> typing.Iterable[Row]:
        """Return the names of this worker's rows (Figures)."""
        return self._rows

    def parts(self) -> typing.Iterable[typing.Mapping[Row, typing.Sequence[float]]]:
        """Return what every worker has counted (Figures)."""
        for begin in range(0, len(self._all), _PART_WORDS):
            yield {name: self._all[at : at + size].tolist() for name, at, size in self._records(begin)}

    def _records(self, begin: int) -> typing.Iterator[tuple[Row, int, int]]:
        """Give each record of a part: its name, where its numbers begin, and how many they are."""
        at = begin + _SPARE_WORDS
        while at < begin + _PART_WORDS and self._sizes[at]:
            end, length = at + self._sizes[at], self._sizes[at + 1]
            text_at = (at + _HEADER_WORDS) * _WORD_BYTES
            numbers_at = at + _HEADER_WORDS + -(-length // _WORD_BYTES)
            yield tuple(json.loads(bytes(self._bytes[text_at : text_at + length]))), numbers_at, end - numbers_at
            at = end
