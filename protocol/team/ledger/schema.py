"""The tables of the ledger, and what is done with them."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import typing

from protocol.errors import UsageError
from protocol.team.ledger.entry import OPENED, Entry
from protocol.team.ledger.spool import SpoolFile
from protocol.team.ledger.sums import GROUPS, Group, Sums, add_entries

_VERSION = 1
_BUSY_SECONDS = 5.0
# Ids in one query: SQLite may have been built to take no more than 999 values.
_MOST_ASKED = 500

# `opened` and `spools` are the writer's own: which calls may yet end, and how far each spool has been read.
_TABLES = (
    """CREATE TABLE calls (
        id TEXT PRIMARY KEY, at INTEGER NOT NULL, key TEXT NOT NULL, team TEXT NOT NULL, asked TEXT NOT NULL,
        sent TEXT NOT NULL, backend TEXT NOT NULL, upstream_key TEXT NOT NULL, endpoint TEXT NOT NULL,
        status INTEGER, ended TEXT, ms_first INTEGER, ms_total INTEGER,
        tok_in INTEGER, tok_cached INTEGER, tok_out INTEGER, tok_reasoning INTEGER, cost_nano INTEGER)""",
    "CREATE INDEX calls_at ON calls (at)",
    """CREATE TABLE daily (
        day TEXT, key TEXT, team TEXT, model TEXT, backend TEXT,
        requests INTEGER NOT NULL, tok_in INTEGER NOT NULL, tok_cached INTEGER NOT NULL, tok_out INTEGER NOT NULL,
        tok_reasoning INTEGER NOT NULL, cost_nano INTEGER NOT NULL, unknown INTEGER NOT NULL, unpriced INTEGER NOT NULL,
        PRIMARY KEY (day, key, team, model, backend)) WITHOUT ROWID""",
    "CREATE TABLE opened (id TEXT PRIMARY KEY, process TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE spools (process TEXT, number INTEGER, position INTEGER NOT NULL, PRIMARY KEY (process, number))",
    f"PRAGMA user_version = {_VERSION}",
)

_COLUMNS = Entry._fields
_INSERT = f"INSERT INTO calls ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
_CLOSE = f"UPDATE calls SET {', '.join(f'{name} = ?' for name in _COLUMNS)} WHERE id = ? AND ended IS NULL"
_NEW_DAY = f"INSERT OR IGNORE INTO daily VALUES ({', '.join('?' * len(GROUPS))}{', 0' * len(Sums._fields)})"
_ADD_DAY = (
    f"UPDATE daily SET {', '.join(f'{name} = {name} + ?' for name in Sums._fields)} "
    f"WHERE {' AND '.join(f'{name} = ?' for name in GROUPS)}"
)


def open_ledger(path: str) -> sqlite3.Connection:
    """Open a ledger to write; make it where there is none, for its owner alone.

    UsageError for a file that is something else or of a newer program; OSError, sqlite3.Error.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    db = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        with writing(db):
            if not version_of(db, path):
                for statement in _TABLES:
                    db.execute(statement)
    except BaseException:
        db.close()
        raise
    return db


def version_of(db: sqlite3.Connection, path: str) -> int:
    """Return the version of a ledger, 0 for an empty file; UsageError for anything that this program does not know."""
    ((version,),) = db.execute("PRAGMA user_version")
    ((tables,),) = db.execute("SELECT count(*) FROM sqlite_master")
    if version > _VERSION:
        raise UsageError(f"{path}: this ledger is of version {version}; a newer oaiserve has made it")
    if tables and not version:
        raise UsageError(f"{path}: this is no ledger, but another database")
    return int(version)


@contextlib.contextmanager
def writing(db: sqlite3.Connection) -> typing.Iterator[None]:
    """Do a block in one transaction, all or nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def read_positions(db: sqlite3.Connection) -> dict[tuple[str, int], int]:
    """Return how far each file of a spool has been read, by its process and number."""
    return {(process, number): position for process, number, position in db.execute("SELECT * FROM spools")}


def add_lines(db: sqlite3.Connection, process: str, lines: typing.Sequence[tuple[str, Entry]]) -> list[Entry]:
    """Add the calls that lines of a process's spool tell of, and return those that have ended.

    Within a transaction, which `add_days` makes whole.
    """
    begun: dict[str, Entry] = {}
    ended: dict[str, Entry] = {}
    for kind, entry in lines:  # of one that came twice the first counts
        (begun if kind == OPENED else ended).setdefault(entry.id, entry)
    known = _ended_by_id(db, [*ended, *(id for id in begun if id not in ended)])
    new = [entry for id, entry in ended.items() if id not in known]
    closed = [entry for id, entry in ended.items() if known.get(id) is False]
    under_way = [entry for id, entry in begun.items() if id not in ended and id not in known]
    db.executemany(_INSERT, new)
    db.executemany(_CLOSE, [(*entry, entry.id) for entry in closed])
    db.executemany(_INSERT, [(*entry[:9], None, None, *entry[11:]) for entry in under_way])
    db.executemany("DELETE FROM opened WHERE id = ?", [(entry.id,) for entry in closed])
    db.executemany("INSERT OR REPLACE INTO opened VALUES (?, ?)", [(entry.id, process) for entry in under_way])
    return [*new, *closed]


def add_days(db: sqlite3.Connection, found: SpoolFile, position: int, ended: typing.Sequence[Entry]) -> None:
    """Add calls that have ended to the sums of their days, and note up to which `position` a spool has been added."""
    _add_to_days(db, ended)
    db.execute("INSERT OR REPLACE INTO spools VALUES (?, ?, ?)", (found.process, found.number, position))


def _ended_by_id(db: sqlite3.Connection, ids: typing.Sequence[str]) -> dict[str, bool]:
    """Return of each of these calls that is in the ledger whether it has ended there."""
    known: dict[str, bool] = {}
    for start in range(0, len(ids), _MOST_ASKED):
        asked = ids[start : start + _MOST_ASKED]
        marks = ",".join("?" * len(asked))
        known.update(db.execute(f"SELECT id, ended IS NOT NULL FROM calls WHERE id IN ({marks})", asked))
    return {id: bool(has_ended) for id, has_ended in known.items()}


def _add_to_days(db: sqlite3.Connection, ended: typing.Iterable[Entry]) -> None:
    sums: dict[Group, Sums] = {}
    add_entries(sums, ended)
    db.executemany(_NEW_DAY, sums)
    db.executemany(_ADD_DAY, [(*values, *group) for group, values in sums.items()])


def forget_spools(db: sqlite3.Connection, there: typing.Sequence[SpoolFile]) -> int:
    """Forget files that have gone, and note as lost what processes without files began; return how many calls.

    Within a transaction. Nobody knows what they used, so they count as unknown.
    """
    files = {(found.process, found.number) for found in there}
    gone = [file for file in read_positions(db) if file not in files]
    db.executemany("DELETE FROM spools WHERE process = ? AND number = ?", gone)
    processes = {found.process for found in there}
    lost = 0
    for (process,) in db.execute("SELECT DISTINCT process FROM opened").fetchall():
        if process not in processes:
            lost += _lose(db, process)
    return lost


def _lose(db: sqlite3.Connection, process: str) -> int:
    of_process = "WHERE ended IS NULL AND id IN (SELECT id FROM opened WHERE process = ?)"
    rows = db.execute(f"SELECT {', '.join(_COLUMNS)} FROM calls {of_process}", (process,)).fetchall()
    _add_to_days(db, map(Entry._make, rows))
    db.execute(f"UPDATE calls SET ended = 'lost' {of_process}", (process,))
    db.execute("DELETE FROM opened WHERE process = ?", (process,))
    return len(rows)


def prune(db: sqlite3.Connection, before: int, most: int) -> int:
    """Delete calls that came before a time (milliseconds since the epoch), at most so many; return how many."""
    with writing(db):
        old = "SELECT rowid FROM calls WHERE at < ? ORDER BY at LIMIT ?"
        return db.execute(f"DELETE FROM calls WHERE rowid IN ({old})", (before, most)).rowcount
