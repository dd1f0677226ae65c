"""The ledger's writer in each form of the program: started, kept alive, and the last to go."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import sqlite3
import time

import pytest
from programs import ask, run, running

import oaiserve

pytestmark = pytest.mark.every_form

LINUX = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="processes are found by /proc")
WORKERS = pytest.mark.skipif(not hasattr(os, "fork"), reason="no workers here")


def leave_call(ledger, number):
    """Leave a call in a spool, as a service does that was killed."""
    texts = ["alice", "web", "gpt-4o", "gpt-4o", "relay", "1", "chat", 200, "done"]
    line = json.dumps(["c", f"req-{number}", 1_796_040_000_000, *texts, 10, 20, 100, 0, 50, 0, 1000])
    unfinished = pathlib.Path(f"{ledger}.new")
    unfinished.write_text(f"{line}\n", encoding="ascii")
    unfinished.rename(f"{ledger}.gone-{number}.1.spool")


def calls(ledger):
    with contextlib.suppress(sqlite3.OperationalError), contextlib.closing(sqlite3.connect(ledger)) as db:
        return [number for (number,) in db.execute("SELECT id FROM calls ORDER BY id")]
    return []


def until(condition):
    while not condition():
        time.sleep(0.02)


def writers(ledger):
    """Return the process ids of the ledger's writers."""
    found = []
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            if b"ledger-writer" in words and os.fsencode(ledger) in words:
                found.append(int(process.name))
    return found


@pytest.fixture
def ledger(tmp_path):
    return str(tmp_path / "usage.db")


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=WORKERS)])
@LINUX
def test_the_writer_is_started_again_and_ends_with_the_service(command, ledger, workers):
    options = ("mock", "--set", f"ledger.file={ledger}", "--workers", str(workers))
    with running(command, *options) as program:
        leave_call(ledger, 1)
        until(lambda: calls(ledger) == ["req-1"])
        (first,) = writers(ledger)
        os.kill(first, signal.SIGKILL)
        leave_call(ledger, 2)
        until(lambda: calls(ledger) == ["req-1", "req-2"])
        assert first not in writers(ledger)
        assert b"\noaiserve_ledger_lag_seconds 0\n" in ask(program.port, "GET", "/metrics")[2]
        status, errors = program.stop()
    assert status == 0
    assert "the ledger's writer ended with exit status -9; it is started again in 0.5 s" in errors
    assert writers(ledger) == []
    assert sorted(os.listdir(os.path.dirname(ledger))) == ["usage.db", "usage.db.writer"]


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=WORKERS)])
@LINUX
def test_the_writer_ends_when_the_service_is_killed(command, ledger, workers):
    options = ("mock", "--set", f"ledger.file={ledger}", "--workers", str(workers))
    with running(command, *options) as program:
        leave_call(ledger, 1)
        until(lambda: calls(ledger) == ["req-1"])
        leave_call(ledger, 2)
        program.process.kill()
        program.process.wait()
        until(lambda: not writers(ledger))
    assert calls(ledger) == ["req-1", "req-2"]


@LINUX
def test_a_signal_to_all_processes_does_not_end_the_writer_before_the_service(command, ledger):
    with running(command, "mock", "--set", f"ledger.file={ledger}") as program:
        leave_call(ledger, 1)
        until(lambda: calls(ledger) == ["req-1"])
        (writer,) = writers(ledger)
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(writer, number)
        leave_call(ledger, 2)
        until(lambda: calls(ledger) == ["req-1", "req-2"])
        assert writers(ledger) == [writer]
        status, errors = program.stop()
    assert (status, "writer ended" in errors) == (0, False)


def test_a_program_that_embeds_the_service_has_the_writer_too(ledger):
    with oaiserve.start(set={"ledger.file": ledger}):
        leave_call(ledger, 1)
    until(lambda: calls(ledger) == ["req-1"])
    assert sorted(os.listdir(os.path.dirname(ledger))) == ["usage.db", "usage.db.writer"]


def test_a_start_without_a_ledger_has_none_of_it(tmp_path):
    with oaiserve.start(set={}) as server:
        assert b"ledger" not in ask(server.port, "GET", "/metrics")[2]
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_is_said_at_the_start(command, tmp_path):
    for workers in ("1", "2"):
        ledger = tmp_path / "missing" / "usage.db"
        status, output, errors = run(command, "mock", "-p", "0", "--workers", workers, "--set", f"ledger.file={ledger}")
        assert (status, output) == (2, "")
        assert errors == f"oaiserve: [ledger] file = {ledger}: there is no folder {tmp_path / 'missing'}\n"


def test_usage_reads_what_a_service_wrote(command, ledger):
    leave_call(ledger, 1)
    with oaiserve.start(set={"ledger.file": ledger}):
        until(lambda: calls(ledger) == ["req-1"])
    status, output, errors = run(command, "usage", ledger, "--by", "model", "--csv")
    assert (status, errors) == (0, "")
    assert output == (
        "model,requests,tok_in,tok_cached,tok_out,tok_reasoning,cost_nano,unknown,unpriced,cost_usd\n"
        "gpt-4o,1,100,0,50,0,1000,0,0,0.000001\n"
    )
