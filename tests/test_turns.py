"""Work in turns (protocol/turns.py): what it does to others, how it ends, and what it leaves behind."""

from __future__ import annotations

import asyncio
import gc
import pathlib
import subprocess
import sys
import threading
import weakref

import pytest

from protocol.budget import STEPS_A_TURN, Budget, BudgetSpent, let_others_go_first
from protocol.errors import ApiError
from protocol.turns import in_turns


def count_of(turns):
    """Return work that takes so many turns, and says so."""

    def work():
        for _ in range(turns - 1):
            let_others_go_first()
        return turns

    return work


ROOT = pathlib.Path(__file__).resolve().parent.parent


class Rounds:
    """Counts the rounds of the loop while something is awaited."""

    def __init__(self):
        self.count = 0
        self._handle = None

    def _next(self):
        self.count += 1
        self._handle = asyncio.get_running_loop().call_soon(self._next)

    def __enter__(self):
        self._next()
        return self

    def __exit__(self, *exc_info):
        self._handle.cancel()


def test_returns_what_the_work_returns():
    assert asyncio.run(in_turns(lambda: "done")) == "done"


@pytest.mark.parametrize("error", [ApiError(400, "no"), ValueError("bad"), StopIteration(), RecursionError()])
def test_raises_what_the_work_raises(error):
    def work():
        raise error

    # A coroutine cannot raise StopIteration (PEP 479).
    expected = RuntimeError if isinstance(error, StopIteration) else type(error)
    with pytest.raises(expected):
        asyncio.run(in_turns(work))


def test_the_loop_has_a_round_between_two_turns():
    async def rounds():
        with Rounds() as others:
            await in_turns(count_of(50))
            return others.count

    assert 50 <= asyncio.run(rounds()) <= 55


def test_all_work_together_has_one_turn_a_round():
    async def rounds():
        with Rounds() as others:
            await asyncio.gather(*(in_turns(count_of(25)) for _ in range(4)))
            return others.count

    assert 100 <= asyncio.run(rounds()) <= 110


def test_a_budget_that_pauses_ends_the_turn():
    def work(pauses):
        budget = Budget(100 * STEPS_A_TURN, "The test", pauses=pauses)
        for _ in range(20 * STEPS_A_TURN // 10):
            budget.spend(10)

    async def rounds(pauses):
        with Rounds() as others:
            await in_turns(lambda: work(pauses))
            return others.count

    assert 19 <= asyncio.run(rounds(True)) <= 25
    assert asyncio.run(rounds(False)) <= 5


def test_small_budgets_of_one_work_share_its_turns():
    def work():
        for _ in range(400):
            budget = Budget(STEPS_A_TURN, "The test", pauses=True)
            for _ in range(STEPS_A_TURN // 10):
                budget.spend()

    async def rounds():
        with Rounds() as others:
            await in_turns(work)
            return others.count

    # 400 tenths of a turn; a budget counts half a look too much or too little.
    assert 20 <= asyncio.run(rounds()) <= 80


def test_no_more_than_four_threads_work_and_the_others_follow_in_order():
    most_threads = 0
    begun = []

    def work(number):
        nonlocal most_threads
        begun.append(number)
        for _ in range(3):
            most_threads = max(most_threads, threading.active_count() - before)
            let_others_go_first()

    async def all_of_them():
        await asyncio.gather(*(in_turns(lambda number=number: work(number)) for number in range(20)))

    before = threading.active_count()
    asyncio.run(all_of_them())
    assert begun == list(range(20))
    assert 1 <= most_threads <= 5  # one may be on its way out
    assert threading.active_count() <= before + 1


def test_work_may_begin_tasks_and_sees_its_loop():
    async def answer():
        return "answered"

    async def both():
        task = await in_turns(lambda: asyncio.ensure_future(answer()))
        return await task

    assert asyncio.run(both()) == "answered"


def test_a_task_that_work_begins_is_not_in_turns():
    def charge():
        budget = Budget(10 * STEPS_A_TURN, "The test", pauses=True)
        budget.spend(2 * STEPS_A_TURN)
        let_others_go_first()
        return threading.current_thread()

    async def charging():
        return charge()

    async def both():
        task = await in_turns(lambda: asyncio.ensure_future(charging()))
        return await task

    assert asyncio.run(both()) is threading.current_thread()


def test_cancelled_work_ends_at_its_pause_and_cleans_up():
    steps = []

    def work():
        try:
            for number in range(1000):
                steps.append(number)
                let_others_go_first()
        finally:
            let_others_go_first()
            steps.append("cleaned up")

    async def cancel():
        task = asyncio.ensure_future(in_turns(work))
        while len(steps) < 3:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return len(steps)

    before = threading.active_count()
    assert 4 <= asyncio.run(cancel()) <= 6
    assert steps[-1] == "cleaned up"
    assert threading.active_count() <= before + 1


@pytest.mark.parametrize("rounds", [0, 1, 2, 3, 4])
def test_cancelled_work_gives_its_place_to_another(rounds):
    async def cancel():
        tasks = [asyncio.ensure_future(in_turns(count_of(10))) for _ in range(12)]
        for _ in range(rounds):
            await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        first = await asyncio.gather(*tasks, return_exceptions=True)
        return first, await asyncio.gather(*(in_turns(count_of(2)) for _ in range(9)))

    first, second = asyncio.run(cancel())
    assert first[1::2] == [10] * 6
    assert all(isinstance(result, asyncio.CancelledError) for result in first[::2])
    assert second == [2] * 9


class Held:
    """What work holds."""


@pytest.mark.parametrize("ending", ["returns", "raises", "cancelled"])
def test_leaves_nothing_behind_without_the_collector(ending):
    left = []

    def make_work():
        held = Held()
        left.append(weakref.ref(held))

        def work():
            kept = held
            let_others_go_first()
            if ending == "raises":
                raise ApiError(400, "no")
            while ending == "cancelled":
                let_others_go_first()
            return str(kept)

        return work

    async def do():
        task = asyncio.ensure_future(in_turns(make_work()))
        for _ in range(4):
            await asyncio.sleep(0)
        if ending == "cancelled":
            task.cancel()
        try:
            await task
        except (ApiError, asyncio.CancelledError):
            pass
        del task
        await asyncio.sleep(0)
        return left[0]() is None

    gc.disable()
    try:
        assert asyncio.run(do())
    finally:
        gc.enable()


# In a process of its own, as a stack that is too small ends the process. It is musl's here, as usual for all threads.
_DEEP = """
import asyncio, json, sys, threading
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/tests"]
from mocks import load_all, make_mock, make_request
from protocol.turns import in_turns
from protocol.wire.json_text import encode_json, parse_json

def deep(count):
    return sorted([1], key=lambda _: deep(count - 1)) if count else []

def nested(schema, inner, depth):
    for _ in range(depth):
        inner = schema(inner)
    return inner

def fits(schema):
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    asked = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "response_format": form}
    request = make_request("POST", "/v1/chat/completions", asked)
    return mock.endpoint(request).answer(request).status

text = b"[" * 99 + b"{}" + b"]" * 99
objects = nested(lambda inner: {"type": "object", "properties": {"a": inner}, "required": ["a"]}, {"type": "string"}, 25)
arrays = nested(lambda inner: {"type": "array", "items": inner, "minItems": 1}, {"type": "integer"}, 25)
choices = nested(lambda inner: {"anyOf": [inner, {"type": "null"}]}, {"type": "integer"}, 40)
load_all()
mock = make_mock(validate="off")
threading.stack_size(131072)
do = lambda work: asyncio.run(in_turns(work))
assert encode_json(do(lambda: parse_json(text))) == text and do(lambda: repr(parse_json(text)).encode()) == text
assert do(lambda: parse_json(text + b" " * (2 << 20))) == parse_json(text)
for schema in (objects, arrays, choices):
    assert do(lambda: fits(schema)) == 200
assert do(lambda: deep(240)) == [1]
def over():
    try:
        deep(5000)
    except RecursionError:
        return "too deep"
assert do(over) == "too deep"
assert threading.stack_size() == 131072
print("deep enough")
"""


def test_work_may_be_as_deep_as_python_allows_whatever_the_systems_stacks():
    ran = subprocess.run([sys.executable, "-c", _DEEP, str(ROOT)], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, "deep enough\n"), ran.stderr


def test_a_system_without_a_thread_to_give_refuses_the_work_and_goes_on(monkeypatch):
    def no_thread(self):
        raise RuntimeError("can't start new thread")

    async def refuse_and_go_on():
        first = asyncio.ensure_future(in_turns(count_of(500)))
        for _ in range(3):
            await asyncio.sleep(0)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", no_thread)
            refused = await asyncio.gather(*(in_turns(count_of(2)) for _ in range(9)), return_exceptions=True)
        return refused, await first, await in_turns(count_of(3))

    refused, first, second = asyncio.run(refuse_and_go_on())
    assert [(error.status, error.code) for error in refused] == [(503, "no_thread")] * 9
    assert (first, second) == (500, 3)


def test_is_done_at_once_where_asyncio_looks_for_mistakes():
    async def thread():
        return await in_turns(threading.current_thread)

    assert asyncio.run(thread(), debug=True) is threading.current_thread()


# ---- budgets ----------------------------------------------------------------------------------------------------


def test_a_budget_allows_what_it_has_and_no_step_more():
    budget = Budget(10, "The schema")
    for _ in range(5):
        budget.spend(2)
    assert budget.left == 0
    with pytest.raises(BudgetSpent):
        budget.spend()
    with pytest.raises(BudgetSpent):
        budget.spend(0)  # it stays spent
    assert budget.left == 0


def test_the_refusal_says_what_was_too_much_and_what_to_do():
    with pytest.raises(BudgetSpent) as raised:
        Budget(50_000, "The schema of 'response_format'", param="response_format").spend(50_001)
    error = raised.value
    assert error.status == 400
    assert error.code == "too_much_work"
    assert error.param == "response_format"
    assert error.message == (
        "The schema of 'response_format' asks for more work than one request may cost, which is 50000 steps of about "
        "a microsecond: make it smaller or simpler."
    )


@pytest.mark.parametrize("pauses", [False, True])
@pytest.mark.parametrize("steps", [1, 499, 500, 501, 5000, 12_345])
def test_a_budget_costs_the_same_whether_it_pauses_or_not(steps, pauses):
    budget = Budget(steps, "The test", pauses=pauses)
    for _ in range(steps):
        budget.spend()
    with pytest.raises(BudgetSpent):
        budget.spend()


def test_pauses_are_for_work_in_turns_alone():
    budget = Budget(10 * STEPS_A_TURN, "The test", pauses=True)
    budget.spend(3 * STEPS_A_TURN)
    let_others_go_first()
    assert budget.left == 7 * STEPS_A_TURN
