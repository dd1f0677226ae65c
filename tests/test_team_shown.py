"""What a team is promised, shown on whole programs: limits among processes, overshoot, and a ledger that is right."""

from __future__ import annotations

import contextlib
import json
import os
import signal

import pytest
from redis_server import needs_redis, running_redis
from team_programs import (
    KINDS,
    ask,
    at_once,
    keys_ini,
    kind_of,
    make_calls,
    processes,
    sums_of,
    team_program,
)

pytestmark = pytest.mark.limit(300)  # whole programs, some at once

LINUX = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="processes are found by /proc")

# ---- the ledger -----------------------------------------------------------------------------------------------------


def tokens(row):
    return tuple(row[name] for name in ("tok_in", "tok_cached", "tok_out", "tok_reasoning"))


def cost(used):
    """Return nano-dollars at the prices of keys_ini: 1, 0.5 and 2 USD a million."""
    read, cached, said, _ = used
    return (read - cached) * 1000 + cached * 500 + said * 2000


def test_the_ledger_is_what_the_upstream_has_counted(command, tmp_path):
    """Chats, Responses and embeddings; streams that are left, that break off, and calls that come again."""
    count = 300
    whole, upstream, rows = make_calls(command, tmp_path, count)
    by_model = {int(row["asked"].partition("-")[2]): row for row in rows}
    assert len(rows) == len(by_model) == count
    broken = {number for number in range(count) if kind_of(number) == "breaks"}
    assert {number: tokens(row) for number, row in by_model.items() if number not in broken} == upstream.told
    assert all(row["cost_nano"] == cost(tokens(row)) for number, row in by_model.items() if number not in broken)
    assert {by_model[number]["ended"] for number in broken} == {"broke"}
    assert {tokens(by_model[number]) for number in broken} == {(None,) * 4}
    assert {by_model[number]["ended"] for number in whole if kind_of(number) not in ("breaks", "leaves")} == {"done"}
    sums = [sum(column) for column in zip(*upstream.told.values())]
    nano = sum(map(cost, upstream.told.values()))
    assert sums_of(tmp_path / "usage.db") == (count, *sums, nano, len(broken))


@LINUX
@pytest.mark.parametrize("victim", ["writer", "worker"])
def test_who_is_killed_in_the_middle_loses_no_row(command, tmp_path, victim):
    """Of every answer that came whole there is a row, once, to the token; of others there may be one."""

    def kill(program):
        found = processes("ledger-writer", str(tmp_path / "usage.db"))
        if victim == "worker":
            path = f"/proc/{program.process.pid}/task/{program.process.pid}/children"
            with open(path) as children:
                found = [child for child in map(int, children.read().split()) if child not in found]
        os.kill(found[0], signal.SIGKILL)

    count = 30 * len(KINDS)
    whole, upstream, rows = make_calls(command, tmp_path, count, workers=2, in_the_middle=kill)
    assert len({row["id"] for row in rows}) == len({row["asked"] for row in rows}) == len(rows)
    noted = {int(row["asked"].partition("-")[2]): row for row in rows}
    assert {number: tokens(noted[number]) for number in whole} == {number: upstream.told[number] for number in whole}
    assert all(noted[number]["ended"] == "done" for number in whole)
    if victim == "writer":
        assert len(noted) == count
        assert len(whole) == sum(kind_of(number) not in ("breaks", "leaves") for number in range(count))
    assert sums_of(tmp_path / "usage.db")[0] == sum(row["ended"] != "" for row in rows)


# ---- limits ---------------------------------------------------------------------------------------------------------

PROMPT = " ".join(["word"] * 10)
CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": PROMPT}], "max_tokens": 3}
CLIENTS = 8


def used_by_all(answers):
    """Return how many were let in, and how many tokens these used."""
    assert {answer[0] for answer in answers} <= {200, 429}
    used = [json.loads(answer[2])["usage"]["total_tokens"] for answer in answers if answer[0] == 200]
    return len(used), sum(used)


@pytest.fixture(params=["a file", pytest.param("Redis", marks=needs_redis)])
def ports(request, command, tmp_path):
    """Start the instances that share limits, of two workers each; return what takes rates, and gives their ports."""
    with contextlib.ExitStack() as running:

        def start(rates):
            options, names = [], ["a"]
            if request.param == "Redis":
                names.append("b")
                options = ["--set", f"limits.store={running.enter_context(running_redis(tmp_path)).url}"]
            found = []
            for name in names:
                (tmp_path / name).mkdir()
                program = team_program(command, tmp_path / name, "--workers", "2", *options, keys=keys_ini(rates))
                found.append(running.enter_context(program).port)
            return found

        yield start


def test_all_workers_let_in_what_a_key_may_ask_together(ports):
    """A day's window leaks next to nothing meanwhile."""
    found = ports("requests = 150/day")
    answers = at_once(CLIENTS, lambda number: ask(found[number % len(found)], CHAT), range(250))
    let_in, _ = used_by_all(answers.values())
    assert 150 <= let_in <= 150 * 1.02


def test_all_workers_let_in_the_tokens_of_a_key_together(ports):
    """What an answer did not use of its reservation goes to others, so that nothing of the amount is left."""
    found = ports("tokens = 2000/day")
    answers = at_once(CLIENTS, lambda number: ask(found[number % len(found)], CHAT), range(400))
    last = [ask(found[0], CHAT) for _ in range(5)]  # when nothing is reserved any more
    let_in, used = used_by_all([*answers.values(), *last])
    assert let_in < 400 and last[-1][0] == 429
    assert 2000 * 0.98 <= used <= 2000 * 1.02


@needs_redis
@pytest.mark.parametrize(
    ("when_down", "statuses"), [("closed", [503] * 30), ("open", [200] * 30), ("local", [200] * 20 + [429] * 10)]
)
def test_a_redis_that_goes_does_what_store_down_says_until_it_is_back(command, tmp_path, when_down, statuses):
    with running_redis(tmp_path) as redis:
        options = [f"limits.store={redis.url}", f"limits.store_down={when_down}", "server.log=text"]
        arguments = [word for option in options for word in ("--set", option)]
        with team_program(command, tmp_path, *arguments, keys=keys_ini("requests = 20/day")) as program:

            def statuses_of(count):
                return [ask(program.port, CHAT)[0] for _ in range(count)]

            assert statuses_of(15) == [200] * 15
            redis.stop()
            program.until_logged("cannot be reached")
            assert statuses_of(30) == statuses
            redis.start()
            program.until_logged("is back")
            # It kept nothing on its disk, and so begins anew.
            assert statuses_of(25) == [200] * 20 + [429] * 5


# ---- money ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once_most", [0, 3])
def test_a_budget_is_overspent_by_no_more_than_the_documented_bound(command, tmp_path, at_once_most):
    """At most at_once times (largest answer - reservation): here the answers are four times what was reserved."""
    rates = "budget = 0.01 USD/month" + (f"\nat_once = {at_once_most}" if at_once_most else "")
    keys = keys_ini(rates, "gpt-4o-mini = 0 in, 2 out")
    text = " ".join(["word"] * 4000)
    answer, reserved, budget = 4000 * 2_000, 1000 * 2_000, 10_000_000  # nano-dollars; 1,000 tokens until more is known
    under_way = min(at_once_most or 50, budget // reserved)
    chat = {"model": "gpt-4o-mini", "messages": CHAT["messages"]}
    options = ["--set", f"mock.text={text}", "--set", "mock.first_delay=1"]
    with team_program(command, tmp_path, *options, keys=keys) as program:
        answers = at_once(50, lambda number: ask(program.port, {**chat, "stream": True}), range(50)).values()
        refused = [json.loads(answer[2])["error"]["code"] for answer in answers if answer[0] == 429]
        assert [answer[0] for answer in answers].count(200) == under_way
        status, fields, body = ask(program.port, chat)
        assert (status, json.loads(body)["error"]["code"]) == (429, "insufficient_quota")
        assert fields["x-should-retry"] == "false"
        assert program.stop()[0] == 0
    assert set(refused) == {"insufficient_quota" if not at_once_most else "rate_limit_exceeded"}
    spent = sums_of(tmp_path / "usage.db")[5]
    assert spent == under_way * answer
    assert spent - budget <= under_way * (answer - reserved)
