"""What was used, from the ledger's sums by day, or from logs."""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import sqlite3
import typing

from protocol.errors import UsageError
from protocol.team.ledger.entry import Entry, read_entry
from protocol.team.ledger.schema import version_of
from protocol.team.ledger.spool import spool_files
from protocol.team.ledger.sums import GROUPS, Group, Sums, add_entries

# A writer that works has read what is older.
_SECONDS_TO_BE_READ = 10.0
_COMPLETED = '"request_completed"'
_NO_TEXT = dict.fromkeys(("key", "team", "asked", "sent", "backend", "upstream_key", "endpoint", "ended"), "")


def read_ledger(path: str, by: typing.Sequence[str], since: str, key: str | None = None) -> dict[Group, Sums]:
    """Return the sums by some of GROUPS, from a day on ("2026-11-30", UTC; "" for all); UsageError.

    `key` is the name of the one whose calls are meant, None for all.
    """
    columns = ", ".join(by)
    sums = ", ".join(f"sum({name})" for name in Sums._fields)
    statement = f"SELECT {columns}, {sums} FROM daily WHERE day >= ? AND key = ifnull(?, key) GROUP BY {columns}"
    rows = _query(path, statement, (since, key))
    return {tuple(row[: len(by)]): Sums(*row[len(by) :]) for row in rows}


def waiting_bytes(path: str, now: float) -> int:
    """Return how many bytes of calls wait beside a ledger that a writer would have read; UsageError."""
    waiting = 0
    rows = _query(path, "SELECT * FROM spools", ())
    positions = {(process, number): position for process, number, position in rows}
    for found in spool_files(path):
        status = os.stat(found.path)
        if now - status.st_mtime > _SECONDS_TO_BE_READ:
            waiting += max(0, status.st_size - positions.get((found.process, found.number), 0))
    return waiting


def check_ledger(path: str) -> None:
    """Raise UsageError for a file that is no ledger; one that is busy just now may be one."""
    try:
        _query(path, "SELECT 1", ())
    except UsageError as exc:
        if not isinstance(exc.__cause__, sqlite3.OperationalError):
            raise UsageError(f"[ledger] file = {exc}") from exc


def _query(path: str, statement: str, values: tuple[object, ...]) -> list[tuple[typing.Any, ...]]:
    if not os.path.exists(path):
        raise UsageError(f"{path}: there is no such ledger")
    try:
        # For reading alone, so that a mistyped path makes no file.
        db = sqlite3.connect(f"{pathlib.Path(path).absolute().as_uri()}?mode=ro", uri=True)
        try:
            if not version_of(db, path):
                return []
            return db.execute(statement, values).fetchall()
        finally:
            db.close()
    except sqlite3.Error as exc:
        raise UsageError(f"{path}: cannot be read: {exc}") from exc


def read_logs(logs: typing.Iterable[typing.Iterable[str]], by: typing.Sequence[str], since: str) -> dict[Group, Sums]:
    """Return the sums by some of GROUPS, from the lines of JSON logs. A call that comes twice counts once."""
    everything: dict[Group, Sums] = {}
    add_entries(everything, _calls_in(logs))
    places = [GROUPS.index(name) for name in by]
    sums: dict[Group, Sums] = {}
    for group, values in everything.items():
        if group[0] >= since:
            part = tuple(group[place] for place in places)
            sums[part] = sums.get(part, Sums()).plus(values)
    return sums


def _calls_in(logs: typing.Iterable[typing.Iterable[str]]) -> typing.Iterator[Entry]:
    seen: set[str] = set()
    for log in logs:
        for line in log:
            entry = _logged(line) if _COMPLETED in line else None
            if entry is not None and entry.id not in seen:
                seen.add(entry.id)
                yield entry


def _logged(line: str) -> Entry | None:
    """Return the call that a line of a log tells of, None where it tells of none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or record.get("event") != "request_completed" or "tok_in" not in record:
        return None
    told = {**_NO_TEXT, "at": _told_at(record.get("time")), **record}
    return read_entry(told.get(name) for name in Entry._fields)


def _told_at(text: object) -> int | None:
    """Return when a line was written, in milliseconds since the epoch; one without a zone is in local time."""
    try:
        return int(datetime.datetime.fromisoformat(str(text)).timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        return None
