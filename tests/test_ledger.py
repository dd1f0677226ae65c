"""protocol/team/ledger/: what is spooled is in the ledger once, whichever process dies at which moment."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import sqlite3
import stat
import subprocess
import sys
import threading

import pytest
from conftest import ROOT

from protocol.errors import UsageError
from protocol.team.ledger import entry, place, schema, spool
from protocol.team.ledger.entry import (
    CLOSED,
    OPENED,
    Entry,
    opening_line,
    quote_names,
    read_line,
    read_lines,
    write_line,
)
from protocol.team.ledger.place import check_place, network_remark
from protocol.team.ledger.process import WriterProcess
from protocol.team.ledger.spool import Spool, progress_file, spool_files
from protocol.team.ledger.sums import Sums, add_entries
from protocol.team.ledger.writer import Writer, run_writer

NOON = 1_796_040_000_000  # 2026-11-30 12:00 UTC
DAY_MS = 86_400_000
POSIX = pytest.mark.skipif(os.name != "posix", reason="signals and limits of POSIX")


def call(number, **changed):
    """Return a call that has ended; its numbers tell it apart from others."""
    made = Entry(
        f"req-{number}", NOON + number, "alice", "web", "gpt-4o-mini", "gpt-4o-mini", "relay", "1", "chat", 200, "done",
        10, 20, 100 + number, number, 7, 3, 1000 * number,
    )  # fmt: skip
    return made._replace(**changed)


def begun(number):
    return Entry(*call(number)[:9])


@pytest.fixture
def ledger(tmp_path):
    return str(tmp_path / "usage.db")


@contextlib.contextmanager
def spooling(ledger, instance="i", **options):
    made = Spool(ledger, instance, **options)
    try:
        yield made
    finally:
        made.close()


def write_once(ledger, keep_days=0, now=NOON / 1000, say=None):
    said = []
    writer = Writer(ledger, keep_days, say or said.append, lambda: now)
    try:
        assert writer.work()
    finally:
        writer.close()
    return said


def execute(path, statement):
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute(statement)


def rows(ledger, columns="*", more=""):
    with contextlib.closing(sqlite3.connect(ledger)) as db:
        return db.execute(f"SELECT {columns} FROM calls {more} ORDER BY at").fetchall()


def days(ledger):
    with contextlib.closing(sqlite3.connect(ledger)) as db:
        return {tuple(row[:5]): Sums(*row[5:]) for row in db.execute("SELECT * FROM daily")}


def expected_days(entries):
    sums = {}
    add_entries(sums, entries)
    return sums


def assert_holds(ledger, entries):
    """The calls, each once, and sums by day that are theirs."""
    assert rows(ledger) == [tuple(one) for one in sorted(entries, key=lambda one: one.at)]
    assert days(ledger) == expected_days(entries)


# ---- lines ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [OPENED, CLOSED])
@pytest.mark.parametrize(
    "made",
    [
        call(1),
        begun(2),
        call(3, tok_in=None, tok_out=None, cost_nano=None),
        call(4, asked='a"b\\c\n\x00\x1b', key="Zoë", team="团队", endpoint="None"),
        call(5, asked="\U0001f600" * 150, sent="x" * 200),
    ],
    ids=["closed", "begun", "unknown", "quoted", "long"],
)
def test_a_line_is_what_the_json_encoder_writes(kind, made):
    for _ in "first, and from what is remembered":
        line = write_line(kind, made)
        assert line == json.dumps([kind, *made], separators=(",", ":")).encode() + b"\n"
    assert read_line(line) == (kind, made)


def test_a_call_that_begins_has_the_line_of_an_entry_without_figures():
    made = begun(1)._replace(asked='a "name"')
    line = opening_line(made.id, made.at, quote_names(*made[2:9]))
    assert line == write_line(OPENED, made)


def test_texts_are_cut():
    _, read = read_line(write_line(CLOSED, call(1, asked="m" * 10_000, sent="\U0001f600" * 10_000)))
    assert (read.asked, read.sent) == ("m" * 200, "\U0001f600" * 200)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"null",
        b"[]",
        b'["c","req-1"]',
        b'["c"' + b',"x"' * 18 + b"]",
        b"[" * 100_000,
        b"\xff\xfe",
        write_line("x", call(1)),
        write_line(CLOSED, call(1))[:-10],
        write_line(CLOSED, call(1, at=10**18)),
        write_line(CLOSED, call(1, at=-1)),
        write_line(CLOSED, call(1)).replace(b'"alice"', b"17"),
    ],
)
def test_what_is_no_call_is_none(line):
    assert read_line(line) is None


@pytest.mark.parametrize("nonsense", [b"-1", b"1e3", b"0.5", b"true", b"[]", b'"7"', b"1" + b"0" * 30, b"NaN"])
def test_a_count_without_measure_is_unknown(nonsense):
    line = write_line(CLOSED, call(1, tok_out=77777, cost_nano=88888))
    _, read = read_line(line.replace(b"77777", nonsense).replace(b"88888", nonsense))
    assert read == call(1, tok_out=None, cost_nano=None)


_NONSENSE = [None, True, -1, 10**18, 0.5, [], {}, "7", 7]
_SOUND = [write_line(OPENED, begun(1)), write_line(CLOSED, call(2)), write_line(CLOSED, call(3, tok_in=None))]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"null",
        b'["c"' + b',"x"' * 18 + b"]",
        b'["c",1],[2]',
        write_line("x", call(4)),
        write_line(CLOSED, call(4))[:-10],
        write_line(CLOSED, call(4, at=-1)),
        *(
            json.dumps([CLOSED, *call(4)._replace(**{name: value})]).encode()
            for name in Entry._fields
            for value in _NONSENSE
        ),
        write_line(CLOSED, call(4)).replace(b'"alice"', b'"' + b"m" * 300 + b'"'),
        write_line(CLOSED, call(4)).replace(b'"alice"', b'"\\ud800"'),
    ],
)
def test_many_lines_are_read_as_each_is_alone(line, monkeypatch):
    lines = [*_SOUND, line.rstrip(b"\n"), *_SOUND]
    assert read_lines(lines) == [read_line(one) for one in lines]
    monkeypatch.setattr(entry, "read_line", None)  # of sound ones none is read alone
    assert [one for _, one in read_lines(_SOUND)] == [begun(1), call(2), call(3, tok_in=None)]


def test_of_a_call_that_begins_and_ends_among_the_lines_only_the_end_is_read():
    ids = ["req-1", "req-11", 'req-1"a', 'req-1"b', ""]
    begun_lines = [write_line(OPENED, begun(number)._replace(id=id)) for number, id in enumerate(ids)]
    ended = [write_line(CLOSED, call(9)._replace(id=id)) for id in ("req-11", 'req-1"a', "")]
    read = [(kind, one.id) for kind, one in read_lines([*begun_lines, *ended])]
    assert read.count((OPENED, "req-11")) == 0
    assert {("o", "req-1"), ("o", 'req-1"b'), ("c", "req-11"), ("c", 'req-1"a'), ("c", "")} <= set(read)


def test_half_of_a_surrogate_pair_does_not_stop_the_writer(ledger):
    with spooling(ledger) as made:
        made.closed(call(1, asked="gpt-\ud800", sent=""))
    write_once(ledger)
    assert rows(ledger, "asked") == [("gpt-?",)]


# ---- the spool ------------------------------------------------------------------------------------------------------


def test_an_entry_is_one_write_and_there_before_anything_else_happens(ledger, monkeypatch):
    writes = []
    write = os.write
    with spooling(ledger) as made:
        monkeypatch.setattr(os, "write", lambda file, data: writes.append(data) or write(file, data))
        made.opened(begun(1))
        made.closed(call(1))
        made.closed(call(2))
        monkeypatch.undo()
        (found,) = spool_files(ledger)
        assert pathlib.Path(found.path).read_bytes() == b"".join(writes)
    assert writes == [write_line(OPENED, begun(1)), write_line(CLOSED, call(1)), write_line(CLOSED, call(2))]


@POSIX
def test_nobody_else_reads_the_files(ledger):
    with spooling(ledger) as made:
        made.closed(call(1))
        write_once(ledger)
        for path in (ledger, spool_files(ledger)[0].path):
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_files_end_at_a_size_and_go_when_they_have_been_read(ledger):
    calls = [call(number, asked="m" * 200, sent="s" * 200) for number in range(12_000)]
    with spooling(ledger) as made:
        for one in calls:
            made.closed(one)
        assert [found.number for found in spool_files(ledger)] == [1, 2]
        write_once(ledger)
        assert [found.number for found in spool_files(ledger)] == [2]
        assert len(rows(ledger)) == 12_000
        made.closed(call(12_000))
        write_once(ledger)
    write_once(ledger)
    assert spool_files(ledger) == []
    assert_holds(ledger, [*calls, call(12_000)])


def test_two_services_of_one_process_have_spools_of_their_own(ledger):
    with spooling(ledger) as first, spooling(ledger) as second, spooling(ledger, "other") as third:
        for number, made in enumerate((first, second, third)):
            made.closed(call(number))
        assert len(spool_files(ledger)) == 3
        write_once(ledger)
    assert_holds(ledger, [call(0), call(1), call(2)])


def test_a_place_where_nothing_can_be_written_is_said_at_the_start(tmp_path):
    with pytest.raises(UsageError, match=r"\[ledger\] file = .*: nothing can be written beside it: "):
        Spool(str(tmp_path / "missing" / "usage.db"), "i")


class FullDisk:
    """Stands for os.write on a disk with room for so many bytes."""

    def __init__(self, monkeypatch, room):
        self.room = room
        self._write = os.write
        monkeypatch.setattr(spool.os, "write", self)

    def __call__(self, file, data):
        part = bytes(data[: self.room])
        if data and not part:
            raise OSError(28, "No space left on device")
        self.room -= len(part)
        return self._write(file, part)


@pytest.mark.parametrize("room", [0, 1, 200, 1000])
@pytest.mark.parametrize("has_timer", [True, False])
def test_a_full_disk_loses_nothing_while_memory_is_enough(ledger, monkeypatch, room, has_timer):
    timers = []
    disk = FullDisk(monkeypatch, room)
    with spooling(ledger, call_later=(lambda seconds, later: timers.append(later)) if has_timer else None) as made:
        for number in range(100):
            made.closed(call(number))
        assert made.lag() > 0
        if has_timer:
            assert len(timers) == 1
            timers.pop()()  # there is still no room
            assert len(timers) == 1
            disk.room = 1 << 30
            timers.pop()()
            assert not timers
        else:
            disk.room = 1 << 30
        made.closed(call(100))
    assert made.lost == 0
    write_once(ledger)
    assert_holds(ledger, [call(number) for number in range(101)])


def test_a_full_disk_takes_a_bounded_part_of_memory_and_what_is_lost_is_counted(ledger, monkeypatch):
    disk = FullDisk(monkeypatch, 3)  # the first line is begun
    with spooling(ledger, call_later=lambda seconds, later: None) as made:
        for number in range(8000):
            made.closed(call(number, asked="m" * 200, sent="\U0001f600" * 90))
        assert len(made._waiting) <= 8 << 20
        assert made.lost > 0
        disk.room = 1 << 30
    write_once(ledger)
    assert len(rows(ledger)) + made.lost == 8000


@POSIX
def test_a_real_limit_is_outlived(ledger):
    script = f"""
import resource, sys
sys.path[:0] = [{ROOT!r}, {os.path.join(ROOT, "tests")!r}]
from test_ledger import Spool, call
made = Spool({ledger!r}, "i")
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
for number in range(50):
    made.closed(call(number))
assert made._waiting
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
made.closed(call(50))
assert not made._waiting and not made.lost
"""
    subprocess.run([sys.executable, "-c", script], check=True)
    write_once(ledger)
    assert_holds(ledger, [call(number) for number in range(51)])


def test_the_lag_ends_when_the_writer_has_read_all(ledger):
    with spooling(ledger) as made:
        assert made.lag() == 0.0
        made.closed(call(1))
        assert made.lag() > 0.0
        write_once(ledger, now=os.stat(spool_files(ledger)[0].path).st_mtime)
        assert made.lag() == 0.0


# ---- the writer -----------------------------------------------------------------------------------------------------


def test_a_call_is_opened_and_closed_at_different_times(ledger):
    with spooling(ledger) as made:
        made.opened(begun(1))
        made.opened(begun(2))
        made.closed(call(2))
        assert write_once(ledger) == []
        assert rows(ledger, "id, status, ended, tok_in") == [("req-1", None, None, None), ("req-2", 200, "done", 102)]
        assert days(ledger) == expected_days([call(2)])
        made.closed(call(1, sent="gpt-5", backend="other", ended="left"))
        write_once(ledger)
    assert write_once(ledger) == []
    assert_holds(ledger, [call(1, sent="gpt-5", backend="other", ended="left"), call(2)])


def test_an_id_counts_once(ledger):
    with spooling(ledger) as made:
        for changed in ({}, {"cost_nano": 5}):
            made.closed(call(1, **changed))
            write_once(ledger)
        made.closed(call(1, cost_nano=6))
        made.opened(begun(1))
        write_once(ledger)
    assert write_once(ledger) == []
    assert_holds(ledger, [call(1)])


def test_what_has_been_read_does_not_count_again_when_its_row_has_been_pruned(ledger):
    with spooling(ledger) as made:
        made.closed(call(1))
        write_once(ledger, keep_days=1)
        assert write_once(ledger, keep_days=1, now=NOON / 1000 + 3 * 86_400) == []
        assert rows(ledger) == []
        made.closed(call(2))
        write_once(ledger)
    write_once(ledger)
    assert rows(ledger, "id") == [("req-2",)]
    assert days(ledger) == expected_days([call(1), call(2)])


def test_calls_of_a_process_that_has_gone_are_lost_once_and_count_as_unknown(ledger):
    with spooling(ledger) as made, spooling(ledger, "lives") as other:
        made.opened(begun(1))
        made.closed(call(2))
        other.opened(begun(3))
        write_once(ledger)
        made.close()
        made._file = os.open(os.devnull, os.O_RDONLY)
        assert write_once(ledger) == ["calls noted as lost in the ledger, whose process was killed: 1"]
        assert write_once(ledger) == []
        assert rows(ledger, "id, ended") == [("req-1", "lost"), ("req-2", "done"), ("req-3", None)]
        assert days(ledger) == expected_days([call(2), begun(1)])
        assert sum(sums.unknown for sums in days(ledger).values()) == 1


def test_files_that_somebody_removed_lose_their_open_calls(ledger):
    with spooling(ledger) as made:
        made.opened(begun(1))
        write_once(ledger)
    os.unlink(spool_files(ledger)[0].path)
    write_once(ledger)
    assert rows(ledger, "ended") == [("lost",)]


def test_what_is_no_line_is_passed_over_and_said(ledger):
    with spooling(ledger) as made:
        made.closed(call(1))
        os.write(made._file, b"nonsense\n" + b"\0" * 300_000 + b"\n")
        made.closed(call(2))
        (found,) = spool_files(ledger)
        said = write_once(ledger)
    assert_holds(ledger, [call(1), call(2)])
    assert said and all("lines that are no calls, and are passed over: " in line for line in said)
    assert found.path in said[0]


def test_half_a_line_waits_for_the_rest_while_its_process_lives(ledger):
    line = write_line(CLOSED, call(1))
    with spooling(ledger) as made:
        for size in range(0, len(line), 40):
            os.write(made._file, line[size : size + 40])
            write_once(ledger)
            assert len(rows(ledger)) == (size + 40 >= len(line))
        os.write(made._file, line[:70])
        write_once(ledger)
        assert spool_files(ledger)
    assert write_once(ledger) == []
    assert spool_files(ledger) == []
    assert_holds(ledger, [call(1)])


def test_calls_of_many_pieces_of_a_spool_are_added_up_once(ledger):
    """They are read in pieces of 64 kB, of which many make a transaction: a call may begin in one and end in another."""
    calls = [call(number, key=f"key {number % 300}") for number in range(9000)]
    ends = calls[:1]
    with spooling(ledger) as made:
        for number, one in enumerate(calls[1:], 1):
            if number % 3:
                made.closed(one)
            else:
                made.opened(Entry(*one[:9]))
                ends.append(one)
            if number % 900 == 0:
                for end in ends:
                    made.closed(end)
                    made.closed(end)
                ends.clear()
        for end in ends:
            made.closed(end)
    write_once(ledger)
    assert_holds(ledger, calls)


def dies_at(ledger, step):
    """Let a writer do a round in a process that dies before the statement or removal of that number; tell if it did."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        return status != 0
    try:
        steps = iter(range(step))

        def count(*_):
            if next(steps, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)

        unlink = os.unlink
        spool.os.unlink = lambda path: (count(), unlink(path), count())
        writer = Writer(ledger, 0, lambda line: None)
        assert writer._is_ours()
        writer._database().set_trace_callback(count)
        writer.work()
    finally:
        os._exit(0)


@POSIX
def test_each_call_counts_once_wherever_the_writer_is_killed(ledger):
    """Before each statement of a round, and around each removal: begun, ended, lost, two processes, files that go."""
    calls = [call(number) for number in range(4)]
    step = 0
    while True:
        for path in pathlib.Path(ledger).parent.iterdir():
            path.unlink()
        with spooling(ledger, "lives") as lives:
            with spooling(ledger, "gone") as gone:
                gone.closed(calls[0])
                gone.opened(begun(1))
                lives.opened(begun(2))
                lives.closed(calls[3])
            died = dies_at(ledger, step)
            write_once(ledger)
            lives.closed(calls[2])
            dies_at(ledger, step)
            write_once(ledger)
        lost = begun(1)._replace(status=None, ended="lost")
        assert rows(ledger) == [calls[0], lost, calls[2], calls[3]], step
        assert days(ledger) == expected_days([calls[0], begun(1), calls[2], calls[3]]), step
        if not died:
            break
        step += 1
    assert step > 20


@POSIX
def test_a_killed_service_loses_no_call_that_it_noted(ledger):
    script = f"""
import os, signal, sys
sys.path[:0] = [{ROOT!r}, {os.path.join(ROOT, "tests")!r}]
from test_ledger import *
made = Spool({ledger!r}, "i")
for number in range(1000):
    made.opened(begun(number))
    if number % 10:
        made.closed(call(number))
os.write(made._file, write_line(CLOSED, call(0))[:-1])
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -signal.SIGKILL
    write_once(ledger)
    assert rows(ledger, "id", "WHERE ended = 'done'") == [(f"req-{number}",) for number in range(1000) if number % 10]
    assert rows(ledger, "id", "WHERE ended = 'lost'") == [(f"req-{number}",) for number in range(0, 1000, 10)]
    assert sum(sums.requests for sums in days(ledger).values()) == 1000
    assert spool_files(ledger) == []


@POSIX
def test_there_is_one_writer_and_another_takes_over_when_it_has_gone(ledger):
    script = f"""
import sys
sys.path.insert(0, {ROOT!r})
from protocol.team.ledger.writer import Writer
writer = Writer({ledger!r}, 0, print)
for line in sys.stdin:
    print(writer.work(), flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdin=-1, stdout=-1, text=True, bufsize=1) as other:

        def other_works():
            other.stdin.write("\n")
            return other.stdout.readline().strip()

        assert other_works() == "True"
        writer = Writer(ledger, 0, print)
        with spooling(ledger) as made:
            made.closed(call(1))
            assert not writer.work()
            assert not rows(ledger)
            assert other_works() == "True"
            assert_holds(ledger, [call(1)])
            made.closed(call(2))
            other.kill()
            other.wait()
            assert writer.work()
            writer.close()
    assert_holds(ledger, [call(1), call(2)])


class Rounds:
    """Stands for the event that ends a writer: runs something between the rounds instead of waiting."""

    def __init__(self, *between):
        self._between = list(between)
        self.pauses = []

    def is_set(self):
        return not self._between

    def wait(self, seconds):
        self.pauses.append(seconds)
        self._between.pop(0)()


def test_a_locked_ledger_is_said_once_and_written_when_it_is_free(ledger, monkeypatch):
    monkeypatch.setattr(schema, "_BUSY_SECONDS", 0)
    said = []
    with spooling(ledger) as made, contextlib.closing(sqlite3.connect(ledger, isolation_level=None)) as somebody:
        write_once(ledger)
        somebody.execute("BEGIN IMMEDIATE")
        made.closed(call(1))
        rounds = Rounds(lambda: None, lambda: made.closed(call(2)), lambda: somebody.execute("ROLLBACK"), lambda: None)
        run_writer(ledger, 0, rounds, said.append)
    assert said == [f"the ledger {ledger} cannot be written, calls wait beside it: database is locked"]
    assert rounds.pauses == [2.0, 2.0, 2.0, 0.5]
    assert_holds(ledger, [call(1), call(2)])


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (lambda path: path.write_bytes(b"no database at all, but a text\n" * 100), "file is not a database"),
        (lambda path: path.mkdir(), "Is a directory"),
        (lambda path: execute(path, "CREATE TABLE mine (one)"), "this is no ledger, but another"),
        (lambda path: execute(path, "PRAGMA user_version = 2"), "this ledger is of version 2; a newer"),
    ],
    ids=["text", "folder", "other database", "newer"],
)
def test_a_file_that_is_no_ledger_is_left_as_it_is(ledger, make, cause):
    make(pathlib.Path(ledger))
    said = []
    with spooling(ledger) as made:
        made.closed(call(1))
        run_writer(ledger, 0, Rounds(lambda: None), said.append)
        assert len(said) == 1 and cause in said[0]
        if os.path.isdir(ledger):
            os.rmdir(ledger)
        else:
            os.unlink(ledger)
        write_once(ledger)
    assert_holds(ledger, [call(1)])


def test_one_file_that_cannot_be_read_does_not_stop_the_others(ledger):
    os.mkdir(f"{ledger}.aaa-1.1.spool")
    said = []
    with spooling(ledger) as made:
        made.closed(call(1))
        run_writer(ledger, 0, Rounds(lambda: None), said.append)
    assert_holds(ledger, [call(1)])
    assert len(said) == 1


def test_a_ledger_that_is_moved_away_begins_anew_and_repeats_nothing(ledger):
    writer = Writer(ledger, 0, print)
    with spooling(ledger) as made:
        made.closed(call(1))
        writer.work()
        os.rename(ledger, ledger + ".old")
        for tail in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.rename(ledger + tail, ledger + ".old" + tail)
        made.closed(call(2))
        writer.work()
        writer.close()
        write_once(ledger)
    assert_holds(ledger, [call(2)])
    assert_holds(ledger + ".old", [call(1)])


def test_old_calls_go_in_small_steps_and_days_stay(ledger):
    calls = [call(number, at=NOON - DAY_MS * (5 if number < 2500 else 1) + number) for number in range(2600)]
    with spooling(ledger) as made:
        for one in calls:
            made.closed(one)
    now = [NOON / 1000]
    writer = Writer(ledger, 3, print, lambda: now[0])
    left = []
    for _ in range(4):
        writer.work()
        left.append(len(rows(ledger)))
    assert left == [1600, 600, 100, 100]
    now[0] += 3 * 86_400
    writer.work()
    assert rows(ledger) == []
    assert days(ledger) == expected_days(calls)
    writer.close()


def test_rows_and_days_are_found_by_their_indexes(ledger):
    write_once(ledger)
    with contextlib.closing(sqlite3.connect(ledger)) as db:
        for statement, index in (
            (f"{schema._CLOSE}", "USING INDEX sqlite_autoindex_calls_1 (id=?)"),
            (f"{schema._ADD_DAY}", "USING PRIMARY KEY (day=? AND key=? AND team=? AND model=? AND backend=?)"),
            ("SELECT rowid FROM calls WHERE at < ? ORDER BY at LIMIT 9", "USING COVERING INDEX calls_at (at<?)"),
        ):
            plan = db.execute(f"EXPLAIN QUERY PLAN {statement}", [1] * statement.count("?")).fetchall()
            assert len(plan) == 1 and index in plan[0][-1]


def test_a_day_is_utc():
    sums = {}
    add_entries(sums, [call(1, at=NOON - 12 * 3_600_000), call(2, at=NOON - 12 * 3_600_000 - 1)])
    assert [group[0] for group in sums] == ["2026-11-30", "2026-11-29"]


def test_sums_stay_whole_numbers_where_upstreams_tell_nonsense(ledger):
    most = call(0, tok_in=10**12, tok_cached=0, tok_out=10**12, tok_reasoning=0, cost_nano=2**53)
    calls = [most._replace(id=f"{number}", at=NOON + number) for number in range(1000)]
    with spooling(ledger) as made:
        for one in calls:
            made.closed(one)
    write_once(ledger)
    assert_holds(ledger, calls)
    (sums,) = days(ledger).values()
    assert sums.cost_nano == 1000 * 2**53 and type(sums.cost_nano) is int


# ---- the process ----------------------------------------------------------------------------------------------------


def test_a_writer_that_dies_is_started_again_later_and_later(tmp_path):
    now, said = [0.0], []
    process = WriterProcess([sys.executable, "-c", "raise SystemExit(3)"], said.append, lambda: now[0])
    pauses = []
    for _ in range(9):
        assert process.tend() == 1.0
        process._process.wait()
        pauses.append(process.tend())
        now[0] += pauses[-1]
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert said[0] == (
        "the ledger's writer ended with exit status 3; it is started again in 0.5 s, and calls wait until then"
    )
    process.tend()
    now[0] += 61
    process._process.wait()
    assert process.tend() == 0.5


def test_a_writer_that_cannot_be_started_is_said():
    said = []
    process = WriterProcess(["/nowhere/python"], said.append, lambda: 0.0)
    assert process.tend() == 0.5
    assert said == [
        "the ledger's writer cannot be started: No such file or directory; it is started again in 0.5 s, and calls wait "
        "until then"
    ]
    assert list(process.let_go(1, 0.1)) == []


def test_a_writer_ends_with_its_lifeline():
    process = WriterProcess([sys.executable, "-c", "import sys; sys.stdin.read()"], print)
    process.tend()
    running = process._process
    assert running.poll() is None
    for _ in process.let_go(50, 0.01):
        threading.Event().wait(0.01)
    assert running.returncode == 0


def test_a_writer_that_stays_is_not_waited_for_longer_than_told():
    now = [0.0]
    process = WriterProcess([sys.executable, "-c", "import time; time.sleep(100)"], print, lambda: now[0])
    process.tend()
    pauses = []
    for pause in process.let_go(5, 1):
        pauses.append(pause)
        now[0] += pause
    assert pauses == [1] * 5
    process._process.kill()
    process._process.wait()


# ---- the place ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("/usage.db", ""),
        ("/data/usage.db", "nfs4"),
        ("/data/local/usage.db", ""),
        ("/database/usage.db", ""),
        ("/my share/team/usage.db", "cifs"),
        ("/home/me/usage.db", "fuse.sshfs"),
        ("/mnt/c/usage.db", "9p"),
        ("/over/usage.db", "nfs"),
        ("/image/usage.db", ""),
    ],
)
def test_a_network_s_file_system_is_recognized(file, kind, monkeypatch):
    monkeypatch.setattr(place.os.path, "realpath", lambda path: path)
    mounts = """\
overlay / overlay rw 0 0
host:/x /data nfs4 rw 0 0
/dev/sda1 /data/local ext4 rw 0 0
//host/x /my\\040share cifs rw 0 0
me@host: /home/me fuse.sshfs rw 0 0
C:\\134 /mnt/c 9p rw 0 0
tmpfs /over tmpfs rw 0 0
host:/y /over nfs rw 0 0
x /image fuse.squashfuse rw 0 0
broken
"""
    remark = network_remark(file, mounts)
    assert (f"({kind})" in remark) if kind else not remark


def test_a_place_that_cannot_be_is_said(tmp_path):
    check_place(str(tmp_path / "usage.db"))
    with pytest.raises(UsageError, match="there is no folder"):
        check_place(str(tmp_path / "missing" / "usage.db"))
    with pytest.raises(UsageError, match="this is a folder"):
        check_place(str(tmp_path))


def test_the_progress_file_is_no_spool(ledger):
    write_once(ledger)
    assert os.path.exists(progress_file(ledger))
    assert spool_files(ledger) == []
