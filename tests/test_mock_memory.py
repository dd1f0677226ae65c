"""`max_stored` counts what the mock's objects hold besides what they show: inputs, messages, what an update brings."""

from __future__ import annotations

import asyncio
import gc
import json
import random
import tracemalloc
from types import SimpleNamespace

import pytest
from mocks import NOW, ask, make_mock, make_request, world_of

from protocol.errors import ApiError
from protocol.mock.dashscope.newest import Newest
from protocol.mock.engine.store import Shelf, Store, memory_size

LONG = "x" * 100_000


def stored_bytes(mock):
    return world_of(mock).store.held


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/responses", {"model": "m", "input": LONG}),
        ("/v1/responses", {"model": "m", "input": LONG, "background": True}),
        ("/v1/chat/completions", {"model": "m", "store": True, "messages": [{"role": "user", "content": LONG}]}),
        ("/v1/assistants", {"model": "m", "instructions": LONG}),
    ],
)
def test_what_an_object_holds_counts_and_goes_with_it(path, body):
    mock = make_mock()
    id = ask(mock, "POST", path, body)["id"]
    assert 100_000 < stored_bytes(mock) < 125_000
    ask(mock, "DELETE", f"{path}/{id}")
    assert stored_bytes(mock) == 0


def test_what_an_update_brings_counts_and_what_it_takes_away_does_not():
    mock = make_mock()
    path = f"/v1/assistants/{ask(mock, 'POST', '/v1/assistants', {'model': 'm'})['id']}"
    before = stored_bytes(mock)
    ask(mock, "POST", path, {"instructions": LONG})
    assert before + 99_000 < stored_bytes(mock) < before + 101_000
    ask(mock, "POST", path, {"instructions": ""})
    assert stored_bytes(mock) < before + 100
    ask(mock, "DELETE", path)
    assert stored_bytes(mock) == 0


def test_the_oldest_go_when_inputs_are_too_much():
    mock = make_mock(max_stored=350_000)
    made = [ask(mock, "POST", "/v1/responses", {"model": "m", "input": LONG})["id"] for _ in range(5)]
    kept = [id for id in made if world_of(mock).store.get("/responses", id) is not None]
    assert kept == made[2:] and stored_bytes(mock) < 350_000


class Link:
    """A link of a chain."""

    def __init__(self, before, items):
        self.before, self.items = before, items


@pytest.mark.parametrize("seed", range(5))
def test_what_is_in_several_chains_counts_once_and_until_the_last_of_them_goes(seed):
    draw = random.Random(seed)
    time = SimpleNamespace(make_due_changes=None)
    store = Store(time, Shelf(most_records=1000, most_bytes=1 << 30))
    items = [{"id": "x" * draw.randrange(50)} for _ in range(40)]
    links, chains = [None], {}
    for number in range(200):
        if chains and draw.random() < 0.4:
            gone = draw.choice(sorted(chains))
            del chains[gone]
            store.remove("/responses", gone)
        else:
            # Of some items, now and then of one of them twice, behind any link that there is.
            links.append(Link(draw.choice(links), draw.choices(items, k=draw.randrange(4))))
            name = f"r{number}"
            chains[name] = draw.choice(links[1:])
            store.keep_chain(store.add("/responses", name, {}), chains[name])
        held = {id(item): item for chain in chains.values() for link in _links_of(chain) for item in link.items}
        records = sum(store.get("/responses", one).size for one in chains)
        assert store.held == records + sum(memory_size(item) + 200 for item in held.values())


def _links_of(chain):
    while chain is not None:
        yield chain
        chain = chain.before


# ---- sessions


class Session:
    """A session of the instrument, as a backend sees it."""

    def __init__(self, name):
        self.name, self.seed, self.has_ended = name, "", False

    def now(self):
        return NOW

    async def sleep(self, seconds):
        """Sleep not at all."""

    def follow(self, follower):
        """Tell nobody: this time goes on by itself."""


def ask_in(session, mock, method, path, body=None):
    request = make_request(method, path, body)
    request.facts.session = session
    return json.loads(mock.endpoint(request).answer(request).body)


def worlds_of(mock):
    return [mind._api.world for mind in mock._minds.values()]


def test_all_sessions_remember_what_one_may():
    mock = make_mock(max_objects=10, max_stored=1_000_000)
    for number in range(30):
        ask_in(Session(f"n{number}"), mock, "POST", "/v1/conversations", {})
    assert sum(world.store.count for world in worlds_of(mock)) == 10
    for number in range(30):
        ask_in(Session(f"m{number}"), mock, "POST", "/v1/assistants", {"model": "m", "instructions": LONG})
    assert 800_000 < sum(world.store.held for world in worlds_of(mock)) <= 1_000_000


def test_a_further_session_takes_little_memory():
    mock = make_mock()
    ask_in(Session("first"), mock, "POST", "/v1/responses", {"model": "m", "input": "x"})
    gc.collect()
    before = len(gc.get_objects())
    ask_in(Session("second"), mock, "POST", "/v1/responses", {"model": "m", "input": "x"})
    gc.collect()
    assert len(gc.get_objects()) - before < 500
    one, other = worlds_of(mock)
    assert one.reference is other.reference and one.store is not other.store


@pytest.mark.parametrize("name", ["t", ""])
def test_a_session_that_has_ended_leaves_nothing_for_the_collector(name):
    mock = make_mock()
    session = Session(name)
    ask_in(session, mock, "POST", "/v1/assistants", {"model": "m"})

    async def end():
        mock.forget(session)
        await mock.close()

    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        for _ in range(10):
            ask_in(session, mock, "POST", "/v1/assistants", {"model": "m", "instructions": "i" * 150_000})
        held = tracemalloc.get_traced_memory()[0]
        asyncio.run(end())
        left = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
        gc.enable()
    assert held - left > 1_300_000


def test_the_native_api_remembers_the_newest_of_all_sessions():
    newest = Newest(3)
    one, other = {}, {}
    for number in range(3):
        newest.add(one, f"{number}", number)
    newest.remove(one, "1")
    newest.add(other, "a", "x")
    assert (list(one), list(other)) == (["0", "2"], ["a"])
    newest.add(other, "b", "x")
    newest.add(other, "c", "x")
    assert (list(one), list(other)) == ([], ["a", "b", "c"])


def test_a_session_that_has_ended_takes_no_room():
    mock = make_mock(max_objects=3)
    ended, other = Session("t"), Session("other")
    kept = ask_in(ended, mock, "POST", "/v1/conversations", {})["id"]

    async def end():
        ended.has_ended = True
        mock.forget(ended)
        await mock.close()

    asyncio.run(end())
    ids = [ask_in(other, mock, "POST", "/v1/conversations", {})["id"] for _ in range(3)]
    for _ in range(3):  # a request whose session ended on its way
        ask_in(ended, mock, "POST", "/v1/conversations", {})
    assert [ask_in(other, mock, "GET", f"/v1/conversations/{id}")["id"] for id in ids] == ids
    assert list(mock._minds) == [other]
    with pytest.raises(ApiError) as refused:  # another session may have its name
        ask_in(Session("t"), mock, "GET", f"/v1/conversations/{kept}")
    assert refused.value.status == 404
