"""The store in Redis, on a real server, and on ones that do not behave."""

from __future__ import annotations

import asyncio
import contextlib
import random
import subprocess
import sys
import textwrap
import time

import pytest
from certificates import Authority
from environment import ROOT
from redis_server import needs_redis, running_redis
from skipping import run as run_without_waiting

from protocol.errors import ApiError, UsageError
from protocol.limiter import Calendar, Claim, Window, last_millisecond, standing, taken
from protocol.team.stores.choice import choose
from protocol.team.stores.redis_address import read_redis_address
from protocol.team.stores.redis_scripts import CALENDAR_LUA
from protocol.team.stores.resp import NEED_DATA, RespReader
from protocol.team.stores.store import Crowded, Place

MINUTE, DAY = 60_000, 86_400_000


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def empty(redis):
    redis.say("FLUSHALL")
    return redis


@contextlib.asynccontextmanager
async def opened(url, when_down="closed", said=None, clock=lambda: 1_700_000_000.0):
    store = choose(clock, url=url, when_down=when_down, say=(said if said is not None else []).append)
    try:
        yield store
    finally:
        await store.close()


def remaining(standings):
    return [one.remaining for one in standings]


async def enter(store, places):
    """Occupy places alone; return the first that there was no room for."""
    try:
        await store.take((), places)
    except Crowded as exc:
        return exc.place
    return None


async def until(holds):
    """Wait for what happens beside us; the test's own time limit says when that takes too long."""
    while not holds():
        await asyncio.sleep(0.01)


# ---- where it is ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://example.org", "redis://example.org:6379/0"),
        ("redis://al%40ice:s%3Acret@example.org:7000/3", "redis://example.org:7000/3"),
        ("redis://:s3cret@[::1]/", "redis://[::1]:6379/0"),
        ("rediss://example.org:6380/1", "rediss://example.org:6380/1"),
        ("unix:/run/redis.sock", "unix:/run/redis.sock"),
    ],
)
def test_addresses_are_read_and_shown_without_their_password(text, shown):
    address = read_redis_address(text)
    assert str(address) == repr(address) == f"{address}" == shown


def test_user_and_password_are_decoded():
    address = read_redis_address("redis://al%40ice:s%3Acret@example.org")
    assert (address.user, address.password) == ("al@ice", "s:cret")


@pytest.mark.parametrize(
    "text",
    ["", "redis://", "http://a", "redis://u:s3cret@a/x", "redis://u:s3cret@a:0/1", "redis://u:s3cret@a:b", "unix:",
     "redis://u:s3cret@a:99999/", "redis://u:s3cret@a/1?x=1", "redis://u:s3cret@[a/1"],
)  # fmt: skip
def test_other_addresses_are_refused_without_repeating_them(text):
    with pytest.raises(UsageError, match="expected redis://") as refused:
        read_redis_address(text)
    assert "s3cret" not in str(refused.value) and refused.value.__suppress_context__ == bool(refused.value.__context__)


# ---- the arithmetic -------------------------------------------------------------------------------------------------


@needs_redis
def test_days_and_months_end_where_ours_do(redis):
    script = f"{CALENDAR_LUA}\nlocal ends = {{}} for i = 1, #ARGV do ends[2*i-1] = last('day', tonumber(ARGV[i]))"
    script += " ends[2*i] = last('month', tonumber(ARGV[i])) end return ends"
    for year in range(1970, 2110, 4):
        times = [((year - 1970) * 365 + day) * DAY + hour for day in range(4 * 366) for hour in (0, DAY - 1)][:1500]
        ends = redis.say("EVAL", script, 0, *times)
        assert ends == [last_millisecond(period, time) for time in times for period in ("day", "month")]


@needs_redis
@pytest.mark.parametrize("seed", range(6))
def test_every_schedule_stands_as_the_two_functions_say_for_the_times_that_it_tells(empty, seed):
    """Only its clock is Redis' own; so the same is worked out here for the times that it answered with."""
    chance = random.Random(seed)
    windows = [
        Window(3, 1000),
        Window(200, 1000),
        Window(200, MINUTE),
        Calendar(900, "day"),
        Calendar(2**53 - 1, "month"),
    ]

    async def run():
        states, under_way = {}, []
        async with opened(empty.url) as store:
            for _ in range(150):
                chosen = chance.sample(windows, chance.randint(1, 5))
                claims = [
                    Claim(chance.choice("ab"), one, chance.choice([0, 1, 2, 70, one.amount // 3])) for one in chosen
                ]
                is_in, told, now = await store.take(claims)
                before = [states.get((claim.subject, claim.window), (0, 0)) for claim in claims]
                if is_in:
                    after = [taken(claim.window, state, now, claim.units) for claim, state in zip(claims, before)]
                    states.update(zip([claim[:2] for claim in claims], after))
                    under_way.append((claims, now))
                    assert told == [standing(claim.window, state, now, 0) for claim, state in zip(claims, after)]
                else:
                    assert told == [
                        standing(claim.window, state, now, claim.units) for claim, state in zip(claims, before)
                    ]
                assert is_in == all(
                    standing(claim.window, state, now, claim.units).wait == 0 for claim, state in zip(claims, before)
                )
                if under_way and chance.random() < 0.6:
                    claims, at = under_way.pop(chance.randrange(len(under_way)))
                    units, at = (
                        [chance.choice([0, claim.units, 2 * claim.units]) for claim in claims],
                        chance.choice([0, at]),
                    )
                    store.settle(claims, units, at)
                    # At which time it was settled is in what is asked next: of the same windows, nothing.
                    _, told, now = await store.take([claim._replace(units=0) for claim in claims])
                    possible = {}
                    for (subject, window, reserved), actual in zip(claims, units):
                        state, more = states.get((subject, window), (0, 0)), actual - (reserved if at else 0)
                        possible[subject, window] = (
                            [
                                taken(window, taken(window, state, then, more), now, 0)
                                for then in range(now - 3, now + 1)
                            ]
                            if more
                            else [taken(window, state, now, 0)]
                        )
                    for (subject, window, _), one in zip(claims, told):
                        fitting = [s for s in possible[subject, window] if standing(window, s, now, 0)[:2] == one[:2]]
                        assert fitting
                        states[subject, window] = fitting[-1]

    asyncio.run(run())


@needs_redis
def test_keys_are_gone_when_nothing_is_left_in_them_and_are_of_one_tag(empty):
    async def run():
        async with opened(empty.url) as store:
            claims = [Claim("key:a:requests", Window(60, MINUTE), 2), Claim("key:a:money", Calendar(9, "month"), 1)]
            _, told, at = await store.take(claims)
            keys = sorted(empty.say("KEYS", "*key*"))
            assert keys == [b"oaiserve:{limits}:key:a:money:month", b"oaiserve:{limits}:key:a:requests:60/60000"]
            lives = [empty.say("PTTL", key.decode()) for key in keys]
            assert 1000 < lives[1] <= 2000 and lives[0] <= told[1].reset
            store.settle(claims, [0, 0], at)
            await store.take([Claim("other", Window(1, 1000), 0)])
            assert empty.say("KEYS", "*key*") == []

    asyncio.run(run())


@needs_redis
def test_what_was_taken_of_a_budget_that_is_over_stays_as_it_is(empty):
    async def run():
        async with opened(empty.url) as store:
            claims = [
                Claim("a", Calendar(10, "month"), 4),
                Claim("a", Calendar(10, "day"), 4),
                Claim("a", Window(10, DAY), 4),
            ]
            _, _, at = await store.take(claims)
            store.settle(claims, [0, 0, 0], at - 32 * DAY)
            return remaining((await store.take([claim._replace(units=0) for claim in claims]))[1])

    assert asyncio.run(run()) == [6, 6, 10]


@needs_redis
def test_instances_together_take_what_is_allowed_to_the_unit(empty):
    code = """
    import asyncio, sys
    from protocol.limiter import Calendar, Claim, Window
    from protocol.team.stores.choice import choose
    async def run():
        store = choose(lambda: 0.0, url=sys.argv[1])
        taken = 0
        async def one():
            nonlocal taken
            for _ in range(50):
                claims = [Claim("a", Window(300, 86_400_000 * 365), 1), Claim("a", Calendar(1500, "month"), 7)]
                is_in, _, at = await store.take(claims)
                if is_in:
                    taken += 1
                    store.settle(claims, [1, 5], at)
        await asyncio.gather(*[one() for _ in range(4)])
        await store.close()
        print(taken)
    asyncio.run(run())
    """
    command = [sys.executable, "-c", textwrap.dedent(code), empty.url]
    instances = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sum(int(one.communicate()[0]) for one in instances) in (299, 300)  # the last ones may be refused for a while

    async def rest():
        async with opened(empty.url) as store:
            return remaining((await store.take([Claim("a", Calendar(1500, "month"), 0)]))[1])

    assert asyncio.run(rest()) in ([0], [5])


@needs_redis
def test_what_is_asked_in_a_turn_is_sent_at_once(empty):
    async def run():
        async with opened(empty.url) as store:
            await store.take([])
            writes = []
            transport = store._up._transport
            write, transport.write = transport.write, lambda data: (writes.append(data), write(data))
            one = Claim("a", Window(1000, MINUTE), 1)
            await asyncio.gather(*[store.take([one]) for _ in range(50)], store.take((), [Place("a", 9)]))
            assert len(writes) == 1

    asyncio.run(run())


@needs_redis
def test_a_server_that_forgot_the_scripts_is_given_them_again(empty):
    async def run():
        said = []
        async with opened(empty.url, said=said) as store:
            one = Claim("a", Window(3, DAY), 1)
            assert remaining((await store.take([one]))[1]) == [2]
            empty.say("SCRIPT", "FLUSH")
            assert remaining((await store.take([one]))[1]) == [1]
            assert await enter(store, [Place("a", 1)]) is None
        assert said == []

    asyncio.run(run())


@needs_redis
def test_who_goes_before_the_answer_has_taken_nothing(empty):
    async def run():
        async with opened(empty.url) as store:
            one, place = Claim("a", Calendar(10, "month"), 4), Place("a", 1)
            await store.take([])
            asking = [asyncio.ensure_future(store.take([one])), asyncio.ensure_future(store.take((), [place]))]
            await asyncio.sleep(0)
            for task in asking:
                task.cancel()
            await asyncio.wait(asking)
            await store.take([])
            await store.take([])
            assert remaining((await store.take([one._replace(units=0)]))[1]) == [10]
            assert await enter(store, [place]) is None

    asyncio.run(run())


@needs_redis
def test_places_are_those_of_all_instances_and_leases_end(empty):
    async def run():
        key, team = Place("key:a", 2), Place("team:web", 3)
        async with opened(empty.url) as here, opened(empty.url) as there:
            assert await enter(here, [key, team]) is None and await enter(there, [key, team]) is None
            assert await enter(here, [key, team]) == key
            assert await enter(there, [Place("key:b", 9), team]) is None
            assert await enter(here, [Place("key:c", 1), team]) == team
            assert await enter(here, [Place("key:c", 1)]) is None
            here.settle((), (), 0, [key, team])
            assert await enter(there, [key]) is None or await enter(there, [key]) is None
            # An instance that died renews nothing: what it had is over at some time, and here that is now.
            name = b"oaiserve:{limits}:team:web:at once"
            for member in empty.say("ZRANGE", name.decode(), 0, -1):
                empty.say("ZADD", name.decode(), 1, member.decode())
            assert await enter(here, [Place("team:web", 1)]) is None
        assert empty.say("KEYS", "*at once") == []

    asyncio.run(run())


@needs_redis
def test_claims_and_places_are_taken_together_or_not_at_all(empty):
    async def run():
        claims, key, team = [Claim("key:a", Calendar(10, "day"), 4)], Place("key:a", 2), Place("team:web", 2)
        asked = [claim._replace(units=0) for claim in claims]
        async with opened(empty.url) as store:
            is_in, told, at = await store.take(claims, [key, team])
            assert is_in and remaining(told) == [6]
            assert (await store.take(claims, [key]))[0]
            with pytest.raises(Crowded) as crowded:
                await store.take(claims, [team, key])
            assert crowded.value.place == key
            assert remaining((await store.take(asked))[1]) == [2]  # of which nothing was taken
            assert await enter(store, [team]) is None
            store.settle((), (), at, [team])
            assert not (await store.take(claims, [team]))[0]
            assert await enter(store, [team]) is None  # which was not occupied
            store.settle(claims, [1], at, [key, team])
            assert remaining((await store.take(asked))[1]) == [5]
            assert await enter(store, [key, team]) is None and await enter(store, [key]) == key

    asyncio.run(run())


@needs_redis
def test_leases_are_renewed_as_long_as_somebody_is_under_way(empty):
    async def run():
        async with opened(empty.url) as store:
            assert await enter(store, [Place("a", 1)]) is None
            name = "oaiserve:{limits}:a:at once"
            (member,) = empty.say("ZRANGE", name, 0, -1)
            empty.say("DEL", name)  # as a server that begins again without what it had
            store._lost.set()  # the pause between two renewals is over
            await until(lambda: empty.say("ZRANGE", name, 0, -1) == [member])

    asyncio.run(run())


# ---- a server that is not there -------------------------------------------------------------------------------------


@needs_redis
def test_closed_refuses_until_it_is_back(tmp_path):
    asyncio.run(come_and_go(tmp_path, "closed"))


@needs_redis
def test_open_lets_in_and_charges_what_was_used_when_it_is_back(tmp_path):
    asyncio.run(come_and_go(tmp_path, "open"))


@needs_redis
def test_local_counts_here_and_charges_what_was_used_when_it_is_back(tmp_path):
    asyncio.run(come_and_go(tmp_path, "local"))


async def come_and_go(folder, when_down):
    budget, said = Calendar(10, "month"), []
    claims, place = [Claim("a", budget, 4)], Place("a", 1)
    with running_redis(folder) as server:
        async with opened(server.url, when_down, said, clock=time.time) as store:
            assert remaining((await store.take(claims))[1]) == [6]
            server.stop()
            await until(lambda: said)
            if when_down == "closed":
                for asking in (store.take(claims), store.take((), [place])):
                    with pytest.raises(ApiError) as refused:
                        await asking
                    assert refused.value.status == 503 and ("retry-after", "1") in refused.value.fields
            else:
                asked = [await store.take(claims) for _ in range(3)]
                is_local = when_down == "local"
                assert [is_in for is_in, _, _ in asked] == [True, True, not is_local]
                assert await enter(store, [place]) is None
                assert await enter(store, [place]) == (place if is_local else None)
                store.settle((), (), 0, [place])
                store.settle(claims, [5], asked[0][2])
            server.start()
            await until(lambda: len(said) == 2)
            # It began again with nothing, and was told what was used meanwhile.
            assert remaining((await store.take(claims))[1]) == ([6] if when_down == "closed" else [1])
            assert await enter(store, [place]) is None
    words = {"closed": "requests are refused", "open": "without limits", "local": "this process counts by itself"}
    assert said[0].startswith(f"The store of limits, {server.url}, cannot be reached: ") and words[when_down] in said[0]
    assert said[1:] == [f"The store of limits, {server.url}, is back"]


def test_a_server_that_is_not_there_at_the_start_is_said_once():
    async def run():
        said = []
        async with opened("redis://u:s3cret@127.0.0.1:1/0", "open", said) as store:
            assert await store.take([Claim("a", Window(1, MINUTE), 1)]) == (True, [], 0)
            await asyncio.sleep(20)
        assert said == [
            "The store of limits, redis://127.0.0.1:1/0, cannot be reached: the connection was refused; "
            "requests are let in without limits"
        ]

    run_without_waiting(run)


@pytest.mark.parametrize("answers", ["nothing", "HTTP", "closes"])
def test_nobody_waits_longer_than_a_second_for_a_server_that_does_not_answer(answers):
    """And only those who come at the start do: afterwards nobody waits at all."""

    async def run():
        said, loop = [], asyncio.get_running_loop()
        writers = []

        async def talk(reader, writer):
            writers.append(writer)
            await reader.read(10)
            if answers == "HTTP":
                writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            if answers == "closes":
                writer.close()

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with opened(f"redis://:s3cret@127.0.0.1:{port}", "local", said) as store:
            for wait in (1.1, 0.1):
                began = loop.time()
                await asyncio.gather(*[store.take([Claim("a", Window(9, MINUTE), 1)]) for _ in range(3)])
                assert loop.time() - began <= wait
            await asyncio.sleep(3)
        for writer in writers:
            writer.close()
        server.close()
        await server.wait_closed()
        assert len(said) == 1 and "s3cret" not in said[0] and "cannot be reached: it " in said[0]

    run_without_waiting(run)


class Talking(asyncio.Protocol):
    """A server that answers each command with a word, until it is told to be silent."""

    silent = False
    commands = 0

    def connection_made(self, transport):
        self.transport = transport
        self.reader = RespReader()

    def data_received(self, data):
        self.reader.feed(data)
        while self.reader.next_value() is not NEED_DATA:
            Talking.commands += 1
            if not self.silent:
                self.transport.write(b"+OK\r\n")


@pytest.mark.parametrize("when_down", ["open", "closed"])
def test_who_waits_a_second_takes_the_connection_down_and_nobody_waits_after_him(when_down):
    """As a server that is frozen, or a network that drops what is sent: no error ever comes."""

    async def run():
        said, loop, claims = [], asyncio.get_running_loop(), [Claim("a", Window(9, MINUTE), 1)]
        server = await loop.create_server(Talking, "127.0.0.1", 0)
        async with opened(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", when_down, said) as store:
            await until(lambda: store._up)
            Talking.silent = True
            for least, most in ((1.0, 1.01), (0.0, 0.0)):
                began = loop.time()
                asked = await asyncio.gather(*[store.take(claims) for _ in range(20)], return_exceptions=True)
                assert least <= loop.time() - began <= most
                assert {type(one) for one in asked} == {tuple if when_down == "open" else ApiError}
                assert len(said) == 1 and "cannot be reached: it does not answer" in said[0]
            Talking.silent = False
            await until(lambda: len(said) == 2)
        server.close()
        await server.wait_closed()

    run_without_waiting(run)


@needs_redis
def test_tls_is_spoken_and_a_certificate_that_is_not_trusted_is_not_accepted(empty, monkeypatch, tmp_path):
    authority = Authority(tmp_path)

    async def run():
        said = []

        async def pass_on(reader, writer):
            there, back = await asyncio.open_connection("127.0.0.1", empty.port)

            async def copy(source, sink):
                while data := await source.read(65536):
                    sink.write(data)
                sink.close()

            await asyncio.gather(copy(reader, back), copy(there, writer), return_exceptions=True)

        server = await asyncio.start_server(pass_on, "127.0.0.1", 0, ssl=authority.server())
        url = f"rediss://localhost:{server.sockets[0].getsockname()[1]}/1"
        for is_trusted in (True, False):
            with monkeypatch.context() as patch:
                if is_trusted:
                    patch.setenv("SSL_CERT_FILE", authority.ca_file)
                async with opened(url, "open", said) as store:
                    assert ((await store.take([Claim("a", Window(9, MINUTE), 1)]))[2] > 0) == is_trusted
        assert len(said) == 1 and "its certificate is not accepted" in said[0]
        server.close()

    asyncio.run(run())


@needs_redis
def test_a_password_is_asked_for_and_never_shown(tmp_path):
    async def run(url, said):
        async with opened(url, "open", said) as store:
            return (await store.take([Claim("a", Window(9, MINUTE), 1)]))[2] > 0

    with running_redis(tmp_path, "--requirepass", "s3cret") as server:
        good, bad = [], []
        url = server.url.replace("redis://", "redis://:{}@")[:-1] + "2"
        assert asyncio.run(run(url.format("s3cret"), good)) and not asyncio.run(run(url.format("wr0ng"), bad))
    assert good == [] and len(bad) == 1 and "wr0ng" not in bad[0] and "WRONGPASS" in bad[0]


@needs_redis
def test_a_replica_that_may_not_be_written_to_is_as_good_as_none(tmp_path):
    async def run(url, said):
        async with opened(url, "closed", said) as store:
            with pytest.raises(ApiError):
                await store.take([Claim("a", Window(9, MINUTE), 1)])

    with running_redis(tmp_path) as server:
        server.say("REPLICAOF", "127.0.0.1", 1)
        said = []
        asyncio.run(run(server.url, said))
    assert len(said) == 1 and "cannot be reached: it answers" in said[0]


@needs_redis
def test_a_socket_in_the_file_system_is_connected_to(tmp_path):
    async def run():
        async with opened(f"unix:{tmp_path}/redis.sock") as store:
            return await store.take([Claim("a", Window(9, DAY), 1)])

    with running_redis(tmp_path, "--unixsocket", f"{tmp_path}/redis.sock"):
        is_in, told, _ = asyncio.run(run())
    assert is_in and remaining(told) == [8]
