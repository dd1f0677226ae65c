"""The command `usage`: sums that are exact, by what is asked for, from the ledger or from logs."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import sqlite3
import time

import pytest

import oaiserve
from protocol.errors import UsageError
from protocol.team.ledger import query
from protocol.team.ledger.entry import Entry
from protocol.team.ledger.spool import Spool
from protocol.team.ledger.sums import GROUPS
from protocol.team.ledger.writer import Writer
from protocol.team.usage_command import run_usage

NOON = 1_796_040_000_000  # 2026-11-30 12:00 UTC
DAY_MS = 86_400_000


def call(number, **changed):
    made = Entry(
        f"req-{number}", NOON, "alice", "web", "gpt-4o", "gpt-4o-mini", "relay", "1", "chat", 200, "done", 1, 2,
        1000, 100, 50, 5, 1_500_000_001,
    )  # fmt: skip
    return made._replace(**changed)


CALLS = [
    call(1),
    call(2, key="bob", team="", tok_in=None, tok_cached=None, tok_out=None, tok_reasoning=None, cost_nano=None),
    call(3, key="bob", team="", at=NOON - DAY_MS, sent="", asked="qwen-plus", backend="dashscope", cost_nano=None),
    call(4, at=NOON - 29 * DAY_MS, cost_nano=2 * 10**9),
    call(5, at=NOON - 30 * DAY_MS, key="carol\x1b[31m", cost_nano=10**12),
]


@pytest.fixture
def ledger(tmp_path):
    path = str(tmp_path / "usage.db")
    spool = Spool(path, "i")
    for one in CALLS:
        spool.closed(one)
    spool.close()
    writer = Writer(path, 0, print)
    writer.work()
    writer.close()
    return path


def usage(ledger="", logs=(), by="key", since=None, form="table", now=NOON / 1000):
    out, err = io.StringIO(), io.StringIO()
    assert run_usage(ledger, logs, by=by, since=since, form=form, out=out, err=err, now=now) == 0
    assert not err.getvalue()
    return out.getvalue()


def test_the_table_says_all_and_counts_what_is_not_known(ledger):
    assert usage(ledger) == (
        "key            requests  tokens in  cached  out  reasoning              USD  no usage  no price\n"
        "carol\\x1b[31m         1      1,000     100   50          5  1,000.000000000         0         0\n"
        "alice                 2      2,000     200  100         10      3.500000001         0         0\n"
        "bob                   2      1,000     100   50          5      0.000000000         1         1\n"
        "total                 5      4,000     400  200         20  1,003.500000001         1         1\n"
        "\n"
        "Calls that the cost leaves out: 1 that told no usage, 1 of models without a price.\n"
    )


def test_days_stand_in_their_order(ledger):
    days = [line.split()[0] for line in usage(ledger, by="day").splitlines()[1:5]]
    assert days == ["2026-10-31", "2026-11-01", "2026-11-29", "2026-11-30"]


@pytest.mark.parametrize(
    ("since", "requests"),
    [("30d", 4), ("31d", 5), ("1d", 2), ("2d", 3), ("2026-11-29", 3), ("2026-12-01", 0), ("99999d", 5)],
)
def test_since_is_a_day_or_so_many_days_until_today(ledger, since, requests):
    told = json.loads(usage(ledger, since=since, form="json"))
    assert told["total"]["requests"] == requests


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("model", {("gpt-4o-mini",): 4, ("qwen-plus",): 1}),
        ("backend", {("relay",): 4, ("dashscope",): 1}),
        ("team", {("web",): 3, ("",): 2}),
        ("team,key", {("web", "carol\x1b[31m"): 1, ("web", "alice"): 2, ("", "bob"): 2}),
    ],
)
def test_json_and_csv_are_exact(ledger, by, expected):
    told = json.loads(usage(ledger, by=by, form="json"))
    groups = by.split(",")
    assert told["by"] == groups and told["since"] is None
    assert {tuple(row[group] for group in groups): row["requests"] for row in told["rows"]} == expected
    assert told["total"] == {
        "requests": 5, "tok_in": 4000, "tok_cached": 400, "tok_out": 200, "tok_reasoning": 20,
        "cost_nano": 1_003_500_000_001, "unknown": 1, "unpriced": 1, "cost_usd": "1003.500000001",
    }  # fmt: skip
    read = list(csv.DictReader(io.StringIO(usage(ledger, by=by, form="csv"))))
    assert read == [{name: str(value) for name, value in row.items()} for row in told["rows"]]


def test_nothing_is_said_as_such(ledger):
    assert usage(ledger, since="2026-12-01") == "no calls since 2026-12-01 (UTC)\n"
    assert usage(ledger, since="2026-12-01", form="csv").count("\n") == 1


def logged(one, **more):
    record = one._asdict()
    del record["at"], record["upstream_key"]
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one.at / 1000))
    return json.dumps({"time": at, "event": "request_completed", "request_id": "x", **record, **more}) + "\n"


def test_logs_of_several_hosts_are_merged_and_a_row_counts_once(ledger, tmp_path):
    first, second = tmp_path / "a.log", tmp_path / "b.log"
    first.write_text(
        json.dumps({"time": "2026-11-30 12:00:00", "event": "request_started", "id": "req-9", "tok_in": 1})
        + "\nTraceback (most recent call last):\n"
        + '{"event": "request_completed"'
        + "\n"
        + '["request_completed"]\n'
        + json.dumps({"time": "2026-11-30 12:00:00", "event": "request_completed", "status": 404})
        + "\n"
        + "".join(map(logged, CALLS[:3])),
        encoding="utf-8",
    )
    second.write_text("".join(map(logged, CALLS[2:])) + logged(CALLS[0]), encoding="utf-8")
    for by in (*GROUPS, "team,model"):
        for since in (None, "2026-11-29"):
            logs = [str(first), str(second)]
            assert usage(logs=logs, by=by, since=since, form="json") == usage(ledger, by=by, since=since, form="json")


def test_a_log_s_own_time_is_taken_before_that_of_the_line(tmp_path):
    log = tmp_path / "a.log"
    log.write_text(logged(call(1), at=NOON - DAY_MS), encoding="utf-8")
    assert [row["day"] for row in json.loads(usage(logs=[str(log)], by="day", form="json"))["rows"]] == ["2026-11-29"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "keys"}, "--by 'keys': expected of day, key, team, model, backend one, or several with commas"),
        ({"by": "key,key"}, "--by 'key,key': expected"),
        ({"by": "key;DROP TABLE daily"}, "--by 'key;DROP TABLE daily': expected"),
        ({"since": "yesterday"}, "--since 'yesterday': expected a day (UTC), e.g. 2026-11-30, or days, e.g. 30d"),
        ({"since": "2026-02-30"}, "--since '2026-02-30': expected"),
        ({"logs": ["a.log"]}, "usage: expected a ledger or --from-log, not both"),
        ({"ledger": "", "logs": ["missing.log"]}, "missing.log: cannot be read: No such file or directory"),
        ({"ledger": "missing.db"}, "missing.db: there is no such ledger"),
    ],
)
def test_mistakes_are_one_line(ledger, options, message):
    with pytest.raises(UsageError) as caught:
        usage(**{"ledger": ledger, **options})
    assert str(caught.value).startswith(message)


def test_a_file_that_is_no_ledger_is_said(tmp_path):
    path = tmp_path / "text.db"
    path.write_bytes(b"no database, but a text\n" * 100)
    with pytest.raises(UsageError, match="cannot be read: file is not a database"):
        usage(str(path))
    path.write_bytes(b"")
    assert usage(str(path)) == "no calls\n"


def test_calls_that_no_writer_reads_are_said(ledger):
    spool = Spool(ledger, "i")
    spool.closed(call(6))
    out, err = io.StringIO(), io.StringIO()
    for now, says in ((time.time(), False), (time.time() + 60, True)):
        run_usage(ledger, [], by="key", since=None, form="csv", out=out, err=err, now=now)
        assert ("bytes of calls wait beside" in err.getvalue()) is says
    spool.close()


def test_the_command_finds_the_ledger_that_is_configured(ledger, tmp_path, capsys):
    (tmp_path / "config.ini").write_text(
        f"[ledger]\nfile = {ledger}\n[relay]\napi_key = ${{NOT_SET}}\n", encoding="utf-8"
    )
    assert oaiserve.main(["usage", "-c", str(tmp_path / "config.ini"), "--by", "team", "--csv"]) == 0
    configured = capsys.readouterr().out
    assert oaiserve.main(["usage", ledger, "--by", "team", "--csv"]) == 0
    assert capsys.readouterr().out == configured == usage(ledger, by="team", form="csv")
    (tmp_path / "empty.ini").touch()
    assert oaiserve.main(["usage", "-c", str(tmp_path / "empty.ini")]) == 2
    assert "has no [ledger] file; name one: usage usage.db" in capsys.readouterr().err


def fill_year(ledger, keys, models):
    """Write sums of a year: a row a day, key and model."""
    with contextlib.closing(sqlite3.connect(ledger)) as db, db:
        db.execute("DELETE FROM daily")
        db.execute(
            f"""
            WITH RECURSIVE n(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < 365 * {keys} * {models} - 1)
            INSERT INTO daily SELECT date('2026-01-01', '+' || (n / {keys * models}) || ' days'), 'key' || (n % {keys}),
                'web', 'model' || (n / {keys} % {models}), 'relay', 7, 100, 10, 5, 1, 1000, 0, 0 FROM n"""
        )


@pytest.mark.parametrize("by", [*GROUPS, "team,model"])
@pytest.mark.parametrize("since", [None, "2026-12-02"])
def test_a_year_is_read_from_its_days_alone(ledger, monkeypatch, by, since):
    """140,000 calls of 20 keys and 5 models here; steps of SQLite's machine are counted, and do not grow with calls."""
    fill_year(ledger, 20, 5)
    steps, plans = [0], []
    connect = sqlite3.connect

    class Counted(sqlite3.Connection):
        def execute(self, statement, values=()):
            if " daily " in statement:
                explained = super().execute(f"EXPLAIN QUERY PLAN {statement}", values)
                plans.extend(row[-1] for row in explained.fetchall())
                self.set_progress_handler(lambda: steps.__setitem__(0, steps[0] + 100), 100)
            return super().execute(statement, values)

    monkeypatch.setattr(query.sqlite3, "connect", lambda *place, **options: connect(*place, factory=Counted, **options))
    told = json.loads(usage(ledger, by=by, since=since, form="json"))
    read = 20 * 5 * (30 if since else 365)
    assert told["total"]["requests"] == 7 * read
    assert plans and not any("calls" in plan for plan in plans)
    assert plans[0].startswith("SEARCH") and "PRIMARY KEY (day>?)" in plans[0]
    assert steps[0] < 60 * read + 1000
