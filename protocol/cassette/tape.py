"""The file of a cassette: recordings by key, read once and written line by line."""

from __future__ import annotations

import json
import os
import typing

from protocol.budget import spend_turn
from protocol.cassette.recording import BadRecording, Recording, read_recording
from protocol.errors import UsageError

_VERSION = 1
# To write more at once would let everybody wait. It is enough for what is recorded, unless that is full of escapes.
_MOST_LINE_BYTES = 32 << 20
# What a line costs to read (protocol/budget.py).
_LINE_STEPS = 20
_CHARACTERS_A_STEP = 100


class Tape:
    """The recordings of a file. `path` names it, `upstream` is what a new one says of where its answers come from."""

    def __init__(self, path: str, upstream: str = "") -> None:
        self.path = path
        self.upstream = upstream
        self._by_key: dict[str, list[Recording]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._by_key.values()))

    def check_writable(self) -> None:
        """Raise UsageError where nothing can be recorded: before an answer has been paid for that is then lost."""
        there = self.path if os.path.exists(self.path) else os.path.dirname(self.path) or "."
        is_place = os.path.isdir(there) != os.path.exists(self.path)  # a folder to make it in, or a file
        if not is_place or not os.access(there, os.W_OK):
            raise UsageError(f"{self.path}: cannot be written: {there} is no place where this program may write")

    def read(self) -> None:
        """Read the file; UsageError, with the line, for what is no cassette, OSError where it cannot be read.

        What was there before is there until all is read, which is done in turns with everybody else.
        """
        upstream = self.upstream
        by_key: dict[str, list[Recording]] = {}
        with open(self.path, encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, 1):
                spend_turn(_LINE_STEPS + len(line) // _CHARACTERS_A_STEP)
                if number == 1:
                    upstream = self._read_first(line)
                elif line.strip():
                    recording = self._read_line(line, number)
                    by_key.setdefault(recording.key, []).append(recording)
        self.upstream, self._by_key = upstream, by_key

    def _read_first(self, line: str) -> str:
        try:
            told = json.loads(line)
        except ValueError:
            told = None
        if not isinstance(told, dict) or told.get("cassette") != _VERSION:
            raise UsageError(f'{self.path} line 1: expected {{"cassette": {_VERSION}, "upstream": "https://…"}}')
        return str(told.get("upstream", ""))

    def _read_line(self, line: str, number: int) -> Recording:
        try:
            return read_recording(line)
        except BadRecording as exc:
            raise UsageError(f"{self.path} line {number}: {exc}") from exc

    def add(self, recording: Recording) -> None:
        """Have a recording more, behind those of the same key."""
        self._by_key.setdefault(recording.key, []).append(recording)

    def of(self, key: str) -> typing.Sequence[Recording]:
        """Return the recordings of a key, the first one first."""
        return self._by_key.get(key, ())

    def all(self) -> typing.Iterator[Recording]:
        """Yield all recordings."""
        for recordings in self._by_key.values():
            yield from recordings

    def clear(self) -> None:
        """Have no recording any more; the file stays as it is until something is written."""
        self._by_key = {}  # somebody may be going through the other one

    def write(self, recording: Recording, *, anew: bool) -> None:
        """Write a recording behind the others, or into a new file; OSError where that cannot be done.

        A long one is put into words in turns with everybody else. Then its line is written at once, so that a program
        that is ended leaves whole lines. Only its owner may read the file: it holds what people asked.
        """
        line = recording.line()
        if len(line) > _MOST_LINE_BYTES:
            raise OSError(f"its line has more than {_MOST_LINE_BYTES >> 20} MB")
        is_new = anew or not os.path.exists(self.path)
        first = json.dumps({"cassette": _VERSION, "upstream": self.upstream}) + "\n" if is_new else ""
        flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if is_new else os.O_APPEND)
        with open(os.open(self.path, flags, 0o600), "wb") as file:
            file.write(b"%b%b\n" % (first.encode(), line))
