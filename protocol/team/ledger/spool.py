"""The spool: the lines of one serving process, in files beside the ledger until the writer has read them."""

from __future__ import annotations

import errno
import os
import time
import typing

from protocol.errors import UsageError
from protocol.on_demand import load
from protocol.team.ledger.entry import CLOSED, OPENED, Entry, write_line

# A file of a spool goes once it has been read, so it ends at some size: 25,000 calls.
_FILE_BYTES = 4 << 20
# What waits in memory while the disk takes nothing, and how much is tried at once then.
_MOST_WAITING = 8 << 20
_PIECE_BYTES = 256 << 10
_SECONDS_TO_NEXT_TRY = 0.5
# What is read at once: 400 calls.
_READ_BYTES = 64 << 10
# Two names are taken where one process starts a service again.
_MOST_NAMES = 10_000
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)

CallLater = typing.Callable[[float, typing.Callable[[], object]], object]


class SpoolFile(typing.NamedTuple):
    """The name of a spool's file, taken apart: LEDGER.PROCESS.NUMBER.spool."""

    process: str
    number: int
    path: str


def spool_files(ledger: str) -> list[SpoolFile]:
    """Return the files of all spools of a ledger, by process and in order; OSError where the folder cannot be read."""
    folder, prefix = os.path.dirname(ledger) or ".", os.path.basename(ledger) + "."
    found = []
    for name in os.listdir(folder):
        process, _, number = name[len(prefix) : -len(".spool")].rpartition(".")
        if name.startswith(prefix) and name.endswith(".spool") and process and number.isdecimal():
            found.append(SpoolFile(process, int(number), os.path.join(folder, name)))
    return sorted(found)


def progress_file(ledger: str) -> str:
    """Return the path of the file that the writer holds; its time says up to when all is in the ledger."""
    return ledger + ".writer"


class Spool:
    """Takes the entries of one serving process; nothing of it waits, and only `Spool` itself raises.

    `instance` tells services apart that share a ledger. `call_later(seconds, call)` has it try again what the disk did
    not take; without that it does so with the next entry. UsageError where there can be no file.
    """

    def __init__(self, ledger: str, instance: str, call_later: CallLater | None = None) -> None:
        self._ledger = ledger
        self._process = f"{instance}-{os.getpid()}"
        self._call_later = call_later
        self._number = 0
        self._waiting = bytearray()
        self._is_to_try = False
        self._began = time.time()
        self._room = _FILE_BYTES
        #: Lines that were given up, because they did not fit into memory while the disk took none.
        self.lost = 0
        try:
            self._file = self._new_file()
        except OSError as exc:
            raise UsageError(f"[ledger] file = {ledger}: nothing can be written beside it: {exc.strerror}") from exc

    def opened(self, entry: Entry) -> None:
        """Note that a call has been admitted, before it goes on."""
        self.write(write_line(OPENED, entry))

    def closed(self, entry: Entry) -> None:
        """Note all of a call, before the end of its answer leaves; whether or not it has been noted before."""
        self.write(write_line(CLOSED, entry))

    def lag(self) -> float:
        """Return for how many seconds, at most, an entry has been on its way into the ledger; 0.0: all are there."""
        try:
            done = os.stat(progress_file(self._ledger)).st_mtime
        except OSError:  # there has never been a writer
            done = 0.0
        written = os.fstat(self._file)
        if not self._waiting and (not written.st_size or written.st_mtime <= done):
            return 0.0
        return max(0.0, time.time() - max(done, self._began))

    def close(self) -> None:
        """Let go of the file; what the disk does not take now is lost."""
        self._call_later = None
        self._drain()
        self.lost += self._waiting.count(b"\n")
        self._waiting.clear()
        os.close(self._file)

    def write(self, line: bytes) -> None:
        """Note a call by its line (entry.line_of)."""
        if self._waiting:
            self._wait(line)
            return
        try:
            written = os.write(self._file, line)
        except OSError:
            written = 0
        self._room -= written
        if written != len(line):
            self._wait(line[written:])
        elif self._room <= 0:
            self._begin_file()

    def _wait(self, line: bytes) -> None:
        """Keep what the disk has not taken. The rest of a begun line is always in front, so lines stay whole."""
        if len(self._waiting) + len(line) > _MOST_WAITING:
            self.lost += 1
        else:
            self._waiting += line
        if self._call_later is None:
            self._drain()
        elif not self._is_to_try:
            self._is_to_try = True
            self._call_later(_SECONDS_TO_NEXT_TRY, self._try_again)

    def _try_again(self) -> None:
        self._is_to_try = False
        if self._call_later is None:
            return  # it has been closed
        self._drain()
        if self._waiting:
            self._is_to_try = True
            self._call_later(_SECONDS_TO_NEXT_TRY, self._try_again)

    def _drain(self) -> None:
        try:
            while self._waiting:
                written = os.write(self._file, self._waiting[:_PIECE_BYTES])
                del self._waiting[:written]
                self._room -= written
        except OSError:
            return
        if self._room <= 0:
            self._begin_file()

    def _begin_file(self) -> None:
        self._room = _FILE_BYTES
        try:
            file = self._new_file()
        except OSError:
            return  # the one that there is will do
        # Only now: a process that holds no file has gone.
        os.close(self._file)
        self._file = file

    def _new_file(self) -> int:
        """Return a file of the next free number that is ours; OSError where none can be made."""
        for _ in range(_MOST_NAMES):
            self._number += 1
            path = f"{self._ledger}.{self._process}.{self._number}.spool"
            try:
                file = os.open(path, _FLAGS, 0o600)
            except FileExistsError:
                continue
            if _take(file, path):
                return file
            os.close(file)
        raise FileExistsError(errno.EEXIST, "all names are taken")


def _take(file: int, path: str) -> bool:
    """Take hold of a new file; return whether that came before the writer found and removed it, empty as it is."""
    if os.name != "posix":
        return True  # an open file cannot be removed
    hold, _ = load("held file")
    try:
        return hold(file) and os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


class SpoolReader:
    """Reads a file of a spool from a position on: what is there now, in pieces of whole lines.

    OSError where it cannot be opened, or where locks do not work.
    """

    def __init__(self, path: str, position: int) -> None:
        self._path = path
        self._position = position
        #: Whether nobody writes to it any more.
        self.is_complete = False
        if os.name == "posix":
            hold, _ = load("held file")
            # For reading alone, NFS would give no lock.
            self._file = open(path, "r+b", buffering=0)
            try:
                self.is_complete = hold(self._file.fileno())
            except OSError:
                self._file.close()
                raise
        else:
            self.is_complete = _is_left(path)
            self._file = open(path, "rb", buffering=0)
        self._end = os.fstat(self._file.fileno()).st_size
        self._file.seek(position)

    def next_lines(self) -> tuple[list[bytes], int]:
        """Return the next lines, and the position behind them; none where no whole line is left."""
        data = self._file.read(min(_READ_BYTES, max(0, self._end - self._position)))
        size = data.rfind(b"\n") + 1
        if not size and len(data) == _READ_BYTES:
            size = len(data)  # no line of ours is that long
        self._file.seek(size - len(data), os.SEEK_CUR)
        self._position += size
        return data[:size].splitlines(), self._position

    def remove(self) -> None:
        """Remove the file, and close it. Nobody may write to it any more."""
        if os.name == "posix":
            os.unlink(self._path)  # while it is held: whoever has made it this moment finds it gone
            self._file.close()
        else:
            self._file.close()
            os.unlink(self._path)

    def __enter__(self) -> SpoolReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()


def _is_left(path: str) -> bool:
    """Tell whether nobody has a file open: Windows lets it be renamed then, if only to its own name."""
    try:
        os.rename(path, path)
    except PermissionError:
        return False
    return True
