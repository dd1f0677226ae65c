"""The writer: the one process that writes the ledger, from what the spools hold."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
import typing

from protocol.errors import UsageError
from protocol.team.ledger.entry import Entry, read_lines
from protocol.team.ledger.schema import (
    add_days,
    add_lines,
    forget_spools,
    open_ledger,
    prune,
    read_positions,
    writing,
)  # fmt: skip
from protocol.team.ledger.spool import SpoolFile, SpoolReader, progress_file, spool_files

_SECONDS_BETWEEN = 0.5
# Of a spool, in one transaction: 6,000 calls, whose sums are added up first. Calls of 2,000 keys, which are hardly ever
# of one key twice in a piece, take 8 µs each then instead of 11.
_MOST_PIECES = 16
_SECONDS_AFTER_FAILURE = 2.0
# How old the time of the progress file may become while there is nothing to do.
_SECONDS_UNTOLD = 5.0
_PRUNED_AT_ONCE = 1000
_SECONDS_BETWEEN_PRUNINGS = 60.0
_DAY_SECONDS = 86_400

_FAILURES = (OSError, sqlite3.Error, UsageError)

Say = typing.Callable[[str], object]


def run_writer(ledger: str, keep_days: int, told: threading.Event, say: Say) -> None:
    """Write a ledger until told to stop, and then what is left; nothing is raised for a disk or a database that fails.

    There is one writer for a ledger: another one waits here until the first has gone.
    """
    writer = Writer(ledger, keep_days, say)
    failure = ""
    while True:
        is_last = told.is_set()  # asked before, so that the last round sees all
        try:
            writer.work()
            failure = ""
        except _FAILURES as exc:
            writer.reopen()
            if str(exc) != failure:
                failure = str(exc)
                say(f"the ledger {ledger} cannot be written, calls wait beside it: {failure}")
        if is_last:
            writer.close()
            return
        told.wait(_SECONDS_AFTER_FAILURE if failure else _SECONDS_BETWEEN)


class Writer:
    """Reads the spools of a ledger into it, round by round. `clock` gives seconds since the epoch."""

    def __init__(self, ledger: str, keep_days: int, say: Say, clock: typing.Callable[[], float] = time.time) -> None:
        self._ledger = ledger
        self._keep_days = keep_days
        self._say = say
        self._clock = clock
        self._lock: sqlite3.Connection | None = None
        self._db: sqlite3.Connection | None = None
        self._opened: os.stat_result | None = None
        self._positions: dict[tuple[str, int], int] = {}
        self._knows_spools = False
        self._told_at = 0.0
        self._prune_at = 0.0

    def work(self) -> bool:
        """Do one round; return whether this is the ledger's writer.

        What OSError, sqlite3.Error or UsageError interrupts stays in the spools.
        """
        if not self._is_ours():
            return False
        began = self._clock()
        db = self._database()
        there = spool_files(self._ledger)
        failure = None
        for found in there:
            try:
                self._read(db, found)
            except OSError as exc:  # the others can be read all the same
                failure = exc
        if failure is not None:
            raise failure
        if not self._knows_spools:
            self._forget_spools(db)
        self._prune(db, began)
        if began - self._told_at >= _SECONDS_UNTOLD or there:
            os.utime(progress_file(self._ledger), (began, began))
            self._told_at = began
        return True

    def reopen(self) -> None:
        """Open the database anew with the next round: after a failure nobody knows what holds of the old one."""
        if self._db is not None:
            self._db.close()
        self._db = None

    def close(self) -> None:
        """Let another writer take over."""
        self.reopen()
        if self._lock is not None:
            self._lock.close()
        self._lock = None

    def _is_ours(self) -> bool:
        """Return whether the progress file is ours: SQLite locks it, as it locks databases on every platform."""
        if self._lock is None:
            lock = sqlite3.connect(progress_file(self._ledger), timeout=0, isolation_level=None)
            try:
                lock.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError:
                lock.close()
                return False
            self._lock = lock
        return True

    def _database(self) -> sqlite3.Connection:
        """Return the database; a new one where somebody has moved the file away."""
        if self._db is not None and not self._is_there():
            self.reopen()
        if self._db is None:
            self._db = open_ledger(self._ledger)
            self._opened = os.stat(self._ledger)
            known = read_positions(self._db)
            missing = [(*file, position) for file, position in self._positions.items() if file not in known]
            self._db.executemany("INSERT INTO spools VALUES (?, ?, ?)", missing)
            self._positions.update(known)
            self._knows_spools = False
        return self._db

    def _is_there(self) -> bool:
        try:
            return self._opened is not None and os.path.samestat(os.stat(self._ledger), self._opened)
        except FileNotFoundError:
            return False

    def _read(self, db: sqlite3.Connection, found: SpoolFile) -> None:
        file = (found.process, found.number)
        position = self._positions.get(file, 0)
        with SpoolReader(found.path, position) as spool:
            lines, read_to = spool.next_lines()
            while lines:
                with writing(db):
                    ended: list[Entry] = []
                    for _ in range(_MOST_PIECES):
                        ended += add_lines(db, found.process, self._calls(found, lines))
                        position = read_to
                        lines, read_to = spool.next_lines()
                        if not lines:
                            break
                    add_days(db, found, position, ended)
                self._positions[file] = position
            if spool.is_complete:
                spool.remove()
                self._knows_spools = False

    def _calls(self, found: SpoolFile, lines: typing.Sequence[bytes]) -> list[tuple[str, Entry]]:
        read = read_lines(lines)
        passed_over = read.count(None)
        if passed_over:
            self._say(f"{found.path}: lines that are no calls, and are passed over: {passed_over}")
        return [line for line in read if line is not None]

    def _forget_spools(self, db: sqlite3.Connection) -> None:
        there = spool_files(self._ledger)
        with writing(db):
            lost = forget_spools(db, there)
        self._positions = read_positions(db)
        self._knows_spools = True
        if lost:
            self._say(f"calls noted as lost in the ledger, whose process was killed: {lost}")

    def _prune(self, db: sqlite3.Connection, now: float) -> None:
        if not self._keep_days or now < self._prune_at:
            return
        before = int((now - self._keep_days * _DAY_SECONDS) * 1000)
        if prune(db, before, _PRUNED_AT_ONCE) < _PRUNED_AT_ONCE:
            self._prune_at = now + _SECONDS_BETWEEN_PRUNINGS


def read_lifeline(told: threading.Event) -> None:
    """Wait for the end of standard input, which the parent holds open as long as it lives; then tell."""
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    told.set()
