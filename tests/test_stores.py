"""Stores of what was taken: each keeps to the same rules, wherever it keeps it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import textwrap

import pytest
from environment import ROOT

from protocol.limiter import Calendar, Claim, Full, Limiter, Window
from protocol.team.stores.choice import choose
from protocol.team.stores.store import MONEY, REQUESTS, TOKENS, Crowded, Place, Quota, claims_of, open_account

MINUTE, DAY = 60_000, 86_400_000
SEEDS = range(8)

with contextlib.suppress(ImportError):
    import fcntl

needs_flock = pytest.mark.skipif(os.name != "posix", reason="workers share nothing here: this system has no flock")


class Clock:
    """A clock that is set, in seconds."""

    def __init__(self, seconds=1_700_000_000.0):
        self.seconds = seconds

    def __call__(self):
        return self.seconds


@pytest.fixture(params=["of a process", pytest.param("of a host", marks=needs_flock)])
def opened(request, tmp_path):
    """A store with its clock."""
    clock = Clock()
    store = choose(clock, str(tmp_path / "limits") if request.param == "of a host" else "")
    yield store, clock
    asyncio.run(store.close())


def remaining(standings):
    return [one.remaining for one in standings]


def enter(store, places):
    """Occupy places alone; return the first that there was no room for."""
    try:
        store.take((), places)
    except Crowded as exc:
        return exc.place
    return None


# ---- every store ----------------------------------------------------------------------------------------------------


def test_takes_settles_and_tells_when(opened):
    store, _ = opened
    claims = [Claim("key:a:tokens", Window(100, MINUTE), 60), Claim("key:a:money", Calendar(1000, "month"), 600)]
    is_in, standings, at = store.take(claims)
    assert is_in and remaining(standings) == [40, 400] and at == 1_700_000_000_000
    assert not store.take(claims)[0]
    store.settle(claims, [10, 100], at)
    assert remaining(store.take(claims)[1]) == [30, 300]


def test_what_was_let_in_without_is_charged_whole(opened):
    store, _ = opened
    claims = [Claim("a", Calendar(10, "month"), 4), Claim("b", Window(10, MINUTE), 4)]
    store.settle(claims, [3, 5], 0)
    assert remaining(store.take(claims)[1]) == [3, 1]


def test_places_are_occupied_all_or_none(opened):
    store, _ = opened
    key, team = Place("key:a", 2), Place("team:web", 3)
    assert enter(store, [key, team]) is None and enter(store, [key, team]) is None
    assert enter(store, [key, team]) == key
    assert enter(store, [Place("key:b", 9), team]) is None
    assert enter(store, [Place("key:b", 1), team]) == Place("key:b", 1)
    assert enter(store, [Place("key:c", 1), team]) == team
    store.settle((), (), 0, [key, team])
    assert enter(store, [Place("key:c", 1), team]) is None  # of which nothing was occupied when the team had no room
    store.settle((), (), 0, [key, team])
    assert enter(store, [key]) is None
    store.settle((), (), 0, [Place("key:who never came", 1)])


def test_claims_and_places_are_taken_together_or_not_at_all(opened):
    store, _ = opened
    claims, key, team = [Claim("key:a", Window(10, MINUTE), 4)], Place("key:a", 2), Place("team:web", 2)
    asked = [claim._replace(units=0) for claim in claims]
    is_in, told, at = store.take(claims, [key, team])
    assert is_in and remaining(told) == [6]
    assert store.take(claims, [key])[0]
    with pytest.raises(Crowded) as crowded:
        store.take(claims, [team, key])
    assert crowded.value.place == key
    assert remaining(store.take(asked)[1]) == [2]  # of which nothing was taken
    assert enter(store, [team]) is None
    store.settle((), (), at, [team])
    assert not store.take(claims, [team])[0]
    assert enter(store, [team]) is None  # which was not occupied
    store.settle(claims, [1], at, [key, team])
    assert remaining(store.take(asked)[1]) == [5]
    assert enter(store, [key, team]) is None and enter(store, [key]) == key


@pytest.mark.parametrize("seed", SEEDS)
def test_every_schedule_stands_as_the_limiter_says(opened, seed):
    store, clock = opened
    chance = random.Random(seed)
    clock.seconds = 1_798_675_200.0 + chance.choice([0, 20_000])  # some days before a month ends
    limiter = Limiter(clock)
    windows = [Window(3, 1000), Window(200, MINUTE), Window(1000, DAY), Calendar(500, "day"), Calendar(900, "month")]
    under_way = []
    for _ in range(500):
        clock.seconds += chance.choice([0, 0, 0.003, 0.04, 0.7, 60, 3600])
        if under_way and chance.random() < 0.5:
            claims, at = under_way.pop(chance.randrange(len(under_way)))
            units, at = (
                [chance.choice([0, claim.units, claim.units + 1, 40]) for claim in claims],
                chance.choice([0, at, at]),
            )
            store.settle(claims, units, at)
            limiter.settle_each(claims, units, at)
        chosen = chance.sample(windows, chance.randint(1, 5))
        claims = [Claim(chance.choice("ab"), window, chance.choice([0, 1, 2, 70])) for window in chosen]
        is_in, told, at = store.take(claims)
        assert (is_in, told) == limiter.take(claims) and at == limiter.now
        if is_in:
            under_way.append((claims, at))


@pytest.mark.parametrize("seed", SEEDS)
def test_an_account_is_what_its_claims_are(opened, tmp_path, seed):
    """Beside it somebody claims of the same windows one by one."""
    store, clock = opened
    chance = random.Random(seed)
    clock.seconds = 1_798_675_200.0 + chance.choice([0, 20_000])
    plain = choose(clock)
    windows = [Window(30, 1000), Window(200, MINUTE), Calendar(5000, "day"), Calendar(9000, "month")]
    quotas = [Quota(who, window, kind) for who in "ab" for kind, window in enumerate(windows[:3])]
    quotas += [Quota("a", windows[3], MONEY), Quota("b", Window(7, MINUTE), REQUESTS)]
    places = [Place("a", 3), Place("b", 5)]
    accounts = []
    for _ in range(4):
        some, room = chance.sample(quotas, chance.randint(0, len(quotas))), chance.choice([[], places[:1], places])
        accounts.append((open_account(store, some, room), some, room))
    under_way = []
    for _ in range(400):
        clock.seconds += chance.choice([0, 0, 0.003, 0.04, 0.7, 60, 3600])
        if under_way and chance.random() < 0.6:
            (account, some, room), reserved, at = under_way.pop(chance.randrange(len(under_way)))
            settled = [quota for quota in some if quota.kind != REQUESTS]
            used = (1, chance.choice([0, 3, 70]), chance.choice([0, reserved[2], 900]))
            if chance.random() < 0.2:
                account.leave()
                plain.settle((), (), 0, room)
            else:
                at = chance.choice([at, at, 0])
                account.settle(reserved, used, at)
                plain.settle(claims_of(settled, reserved), [used[quota.kind] for quota in settled], at, room)
        if chance.random() < 0.2:
            claim = Claim(chance.choice("ab"), chance.choice(windows), chance.choice([0, 1, 5]))
            assert store.take([claim]) == plain.take([claim])
        chosen = account, some, room = chance.choice(accounts)
        amounts = (1, chance.choice([0, 1, 40]), chance.choice([0, 1, 700]))
        told = [outcome(account.take, amounts), outcome(plain.take, claims_of(some, amounts), room)]
        assert told[0] == told[1]
        if told[0][0] is True:
            under_way.append((chosen, amounts, told[0][2]))


def outcome(take, *asked):
    try:
        return take(*asked)
    except Crowded as exc:
        return None, exc.place


# ---- the workers of a host ------------------------------------------------------------------------------------------


WORKER = """
import asyncio, os, signal, sys, time
from protocol.limiter import Calendar, Claim, Window
from protocol.team.stores.choice import choose
from protocol.team.stores.store import Crowded, Place
path = sys.argv[1]
store = choose(lambda: 1_700_000_000.0, path)
"""


def worker(path, code, **pipes):
    """Start a process that has the file's store, and does what the code says."""
    text = WORKER + textwrap.dedent(code)
    return subprocess.Popen([sys.executable, "-c", text, str(path)], cwd=ROOT, text=True, **pipes)


def said_by(process):
    with process:
        said = process.stdout.read()
    assert process.returncode == 0
    return said


def reopened(path):
    return choose(lambda: 1_700_000_000.0, str(path))


@needs_flock
def test_workers_together_take_what_is_allowed_to_the_unit(tmp_path):
    path = tmp_path / "limits"
    code = """
    taken = 0
    for _ in range(1000):
        claims = [Claim("key:a", Window(2500, 86_400_000), 1), Claim("key:a", Calendar(12_500, "month"), 7)]
        is_in, _, at = store.take(claims)
        taken += is_in
        if is_in:
            store.settle(claims, [1, 5], at)
    print(taken)
    """
    workers = [worker(path, code, stdout=subprocess.PIPE) for _ in range(4)]
    assert sum(int(said_by(one)) for one in workers) == (12_500 - 7) // 5 + 1 == 2499
    store = reopened(path)
    is_in, told, _ = store.take([Claim("key:a", Window(2500, DAY), 1), Claim("key:a", Calendar(12_500, "month"), 5)])
    assert is_in and remaining(told) == [0, 0]
    asyncio.run(store.close())


@needs_flock
def test_what_was_taken_is_there_when_the_server_begins_again(tmp_path):
    budget = Calendar(100, "month")
    first = reopened(tmp_path / "limits")
    first.take([Claim("key:a:money", budget, 60)])
    asyncio.run(first.close())
    second = reopened(tmp_path / "limits")
    assert remaining(second.take([Claim("key:a:money", budget, 1)])[1]) == [39]
    asyncio.run(second.close())


class Deadly:
    """Words of which writing one more than so many kills the process."""

    def __init__(self, words, most):
        self.words, self.left = words, most

    def __getitem__(self, index):
        return self.words[index]

    def __setitem__(self, index, value):
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1
        self.words[index] = value


@needs_flock
@pytest.mark.parametrize("is_known", [False, True], ids=["new", "known"])
def test_a_worker_that_is_killed_at_any_write_leaves_each_record_as_before_or_after(tmp_path, is_known):
    """It holds the lock when it is killed. Between its writes the clock goes on, so that time and level change."""
    windows = [Window(100, MINUTE), Calendar(100, "day"), Calendar(1000, "month")]
    claims, earlier = ([Claim("a", window, units) for window in windows] for units in (50, 30))
    for writes in range(40):
        path = str(tmp_path / f"limits{is_known}{writes}")
        clock = Clock()
        child = os.fork()
        if not child:
            store = choose(clock, path)
            if is_known:
                store.take(earlier)
                clock.seconds += 86_400 * 3
            store._words = Deadly(store._words, writes)
            store.take(claims)
            os._exit(7)
        status = os.waitpid(child, 0)[1]
        survivor = choose(clock, path)
        clock.seconds += 86_400 * 3 if is_known else 0
        told = survivor.take([Claim("a", window, 0) for window in windows])[1]
        before, after = ([100, 100, 970], [50, 50, 920]) if is_known else ([100, 100, 1000], [50, 50, 950])
        left = remaining(told)
        assert all(one in pair for one, pair in zip(left, zip(before, after))), writes
        asyncio.run(survivor.close())
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 7 and left == after
            return
    raise AssertionError("it never came to its end")


@needs_flock
def test_an_account_finds_anew_what_others_have_taken_over(tmp_path):
    """Idle records and places are taken over by subjects that come later; no account may go on with those."""
    clock = Clock()
    store = choose(clock, str(tmp_path / "limits"))
    quotas = [Quota("a", Window(1, 1000), REQUESTS), Quota("a", Window(3, MINUTE), TOKENS)]
    account = open_account(store, quotas, [Place("a", 1)])
    is_in, _, at = account.take((1, 2, 0))
    assert is_in
    for index, mark in store._found.values():
        store._words[index] = mark ^ 2  # another's
    account.settle((1, 2, 0), (1, 3, 0), at)
    assert not account.take((1, 3, 0))[0] and account.take((1, 2, 0))[0]
    with pytest.raises(Crowded):
        account.take((1, 0, 0))
    asyncio.run(store.close())


@needs_flock
def test_the_places_of_a_dead_worker_are_free_again(tmp_path):
    path = tmp_path / "limits"
    code = """
    store.take((), [Place("key:a", 3), Place("team:web", 9)])
    print("in", flush=True)
    sys.stdin.read()
    """
    with worker(path, code, stdout=subprocess.PIPE, stdin=subprocess.PIPE) as other:
        assert other.stdout.readline() == "in\n"
        store = reopened(path)
        key = Place("key:a", 2)
        assert enter(store, [key]) is None and enter(store, [key]) == key
        other.kill()
        other.wait()
    assert enter(store, [key]) is None and enter(store, [key]) == key
    assert enter(store, [Place("team:web", 1)]) is None
    asyncio.run(store.close())


@needs_flock
def test_a_worker_that_begins_has_nothing_of_one_that_died(tmp_path):
    path = tmp_path / "limits"
    with worker(path, 'store.take((), [Place("a", 9)]); os.kill(os.getpid(), signal.SIGKILL)') as dead:
        dead.wait()
    store = reopened(path)
    assert enter(store, [Place("a", 1)]) is None
    asyncio.run(store.close())


class Turns:
    """The turns of a loop: what was to be called when one is over is called then."""

    def __init__(self):
        self.calls = []

    def end(self):
        calls, self.calls[:] = list(self.calls), []
        for call in calls:
            call()


def is_free(path):
    """Tell whether somebody else could take the lock of a file now."""
    with open(path, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@needs_flock
def test_who_has_the_file_to_himself_keeps_the_lock_until_the_turn_is_over(tmp_path):
    path, turns = tmp_path / "limits", Turns()
    store = choose(Clock(), str(path), call_soon=turns.calls.append)
    quotas, claim = [Quota("a", Window(9, MINUTE), TOKENS)], Claim("b", Window(9, MINUTE), 1)
    account = open_account(store, quotas, [Place("a", 2)])
    assert is_free(path)
    for _ in range(3):
        _, _, at = account.take((1, 2, 0))
        assert not is_free(path)
        account.settle((1, 2, 0), (1, 1, 0), at)
        assert store.take([claim])[0] and len(turns.calls) == 1
        turns.end()
        assert is_free(path)
    assert [one.remaining for one in store.take([Claim("a", Window(9, MINUTE), 0), claim])[1]] == [6, 5]
    asyncio.run(store.close())
    turns.end()
    assert is_free(path)


@needs_flock
def test_workers_who_are_two_keep_no_lock_until_one_begins_alone_again(tmp_path):
    path, turns = tmp_path / "limits", Turns()
    with worker(
        path, 'print("in", flush=True); sys.stdin.read()', stdout=subprocess.PIPE, stdin=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == "in\n"
        store = choose(Clock(), str(path), call_soon=turns.calls.append)
        for _ in range(2):
            assert store.take([Claim("a", Window(9, MINUTE), 1)])[0] and is_free(path)
            other.stdin.close()
            other.wait()  # he who is left was told of two
        asyncio.run(store.close())
    store = choose(Clock(), str(path), call_soon=turns.calls.append)
    assert store.take([Claim("a", Window(9, MINUTE), 1)])[0] and not is_free(path)
    turns.end()
    asyncio.run(store.close())


@needs_flock
@pytest.mark.parametrize("seed", SEEDS)
def test_workers_take_what_is_allowed_to_the_unit_whoever_keeps_the_lock(tmp_path, seed):
    """The first one is alone for a while, and others come and go."""
    path = tmp_path / "limits"
    code = f"""
    import random
    chance, calls = random.Random({seed} * 100 + int(sys.argv[2])), []
    time.sleep(chance.random() / 20)
    store = choose(lambda: 1_700_000_000.0, path, call_soon=calls.append)
    taken = 0
    for number in range(chance.choice([300, 900])):
        claims = [Claim("key:a", Window(2500, 86_400_000), 1), Claim("key:a", Calendar(12_500, "month"), 7)]
        is_in, _, at = store.take(claims)
        taken += is_in
        if is_in:
            store.settle(claims, [1, 5], at)
        if chance.random() < 0.2:
            while calls:
                calls.pop()()
    while calls:
        calls.pop()()
    print(taken)
    asyncio.run(store.close())
    """
    text = WORKER.replace("store = choose(lambda: 1_700_000_000.0, path)\n", "") + textwrap.dedent(code)
    commands = [[sys.executable, "-c", text, str(path), str(number)] for number in range(4)]
    workers = [subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE) for command in commands]
    taken = sum(int(said_by(one)) for one in workers)
    store = reopened(path)
    _, told, _ = store.take([Claim("key:a", Window(2500, DAY), 0), Claim("key:a", Calendar(12_500, "month"), 0)])
    assert remaining(told) == [2500 - taken, 12_500 - 5 * taken]
    asyncio.run(store.close())


def filled(path, clock, until):
    """Return a store each of whose records is somebody's, and busy until then (milliseconds)."""
    store = choose(clock, str(path))
    words, first = store._words, 8
    for index in range(first, first + (1 << 17) * 5, 5):
        words[index], words[index + 2], words[index + 3], words[index + 4] = 5, until - 1000, 1000, 1
    return store


@needs_flock
def test_subjects_that_are_idle_make_room_for_others(tmp_path):
    clock = Clock()
    store = filled(tmp_path / "limits", clock, 1_700_000_000_000)
    second = Window(1, 1000)
    for number in range(3000):
        clock.seconds += 0.001
        assert store.take([Claim(f"address:{number}", second, 1)])[0]
    assert [store.take([Claim(f"address:{number}", second, 1)])[0] for number in (2990, 1900)] == [False, True]
    asyncio.run(store.close())


@needs_flock
def test_who_is_idle_keeps_his_place_and_records_as_long_as_there_are_empty_ones(tmp_path):
    """2,000 callers come one after the other, each when those before him have nobody under way and nothing left."""
    clock = Clock()
    store = choose(clock, str(tmp_path / "limits"))
    accounts = []
    for number in range(2000):
        quotas = [Quota(f"key:{number}:requests", Window(1, 1000), REQUESTS)]
        accounts.append(open_account(store, quotas, [Place(f"key:{number}", 1)]))
    for account in 2 * accounts:
        clock.seconds += 2
        assert account.take((1, 0, 0))[0]
        account.leave()
    assert len(store._found) == 4000
    assert all(store._words[index] == mark for index, mark in store._found.values())
    asyncio.run(store.close())


@needs_flock
def test_a_store_that_is_full_says_when_it_has_room(tmp_path):
    store = filled(tmp_path / "limits", Clock(), 1_700_000_000_500)
    with pytest.raises(Full) as full:
        store.take([Claim("who", Window(1, MINUTE), 1)])
    assert full.value.wait == 500
    assert store.take([Claim("who", Window(1, MINUTE), 0)])[0]  # for which nothing is to be remembered
    store.settle([Claim("who", Window(1, MINUTE), 0)], [1], 0)
    asyncio.run(store.close())


@needs_flock
@pytest.mark.parametrize("text", [b"x", b"x" * 100_000, bytes(9437248)], ids=["short", "long", "of our size"])
def test_a_file_of_another_kind_is_replaced(tmp_path, text):
    path = tmp_path / "limits"
    path.write_bytes(text)
    store = reopened(path)
    assert store.take([Claim("a", Window(1, MINUTE), 1)])[0]
    asyncio.run(store.close())
