"""The first request of a kind, which loads code: others have their turns meanwhile, one module after the other."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT

# A program of its own, in which nothing has been loaded. It tells how much was, how many rounds the loop had meanwhile,
# and the status of the answer, the first time and the second.
PROGRAM = """
import asyncio, json, random, sys
from mocks import Mock, make_request, mock_settings, no_sleep
from protocol.exchange import LateEndpoint, Response, answer_in_turns, found_endpoint

def loaded():
    # A package is a docstring alone.
    return sum(name.startswith("protocol.") and not hasattr(sys.modules[name], "__path__") for name in sys.modules)

async def answer_to(mock, request):
    endpoint = mock.endpoint(request)
    is_late = isinstance(endpoint, LateEndpoint)
    if is_late:
        endpoint = await found_endpoint(endpoint, request)
        return is_late, await answer_in_turns(lambda: endpoint.answer(request))
    answer = endpoint.answer(request)
    if not isinstance(answer, Response):
        is_late, answer = True, await answer
    return is_late, answer

async def main(method, path, body):
    mock = Mock(
        "mock", mock_settings(), clock=lambda: 1e9, random_bits=random.Random(7).getrandbits, sleep=no_sleep, forward=None
    )
    told = []
    for _ in range(2):
        before = loaded()
        rounds = 0
        work = asyncio.ensure_future(answer_to(mock, make_request(method, path, json.loads(body))))
        while not work.done():
            rounds += 1
            await asyncio.sleep(0)
        is_late, answer = work.result()
        told.append([is_late, loaded() - before, rounds, answer.status])
    print(json.dumps(told))

asyncio.run(main(*sys.argv[1:]))
"""


def output_of(program, *arguments):
    """Return what a program prints in which nothing of ours has been loaded."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([ROOT, f"{ROOT}/tests"]), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=50, cwd=ROOT, env=environ
    )
    assert done.stderr == ""
    return done.stdout


def told_of(path, body):
    """Return what the program tells of a request that comes twice: late, modules loaded, rounds, status."""
    return json.loads(output_of(PROGRAM, "POST", path, json.dumps(body)))


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
HELLO = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.mark.parametrize(
    ("path", "body", "fewest_modules"),
    [
        ("/v1/chat/completions", {**HELLO, "stop": "x"}, 20),
        ("/v1/chat/completions", {**HELLO, "tools": [TOOL]}, 40),
        (
            "/v1/chat/completions",
            {
                **HELLO,
                "messages": [{"role": "user", "content": "Hello, JSON"}],
                "response_format": {"type": "json_object"},
            },
            40,
        ),
        ("/v1/embeddings", {"model": "m", "input": "Hello"}, 20),
        ("/v1/responses", {"model": "m", "input": "Hello"}, 30),
        ("/api/v1/services/aigc/text-generation/generation", {"model": "m", "input": {"prompt": "Hello"}}, 10),
    ],
)
def test_the_first_request_loads_a_module_a_turn(path, body, fewest_modules):
    (first_is_late, modules, rounds, status), (second_is_late, more_modules, more_rounds, _) = told_of(path, body)
    assert status in (200, 401)  # the native API wants a key
    assert first_is_late
    assert modules >= fewest_modules
    assert rounds >= modules
    assert not second_is_late
    assert more_modules == 0
    assert more_rounds <= 2


def test_a_simple_chat_loads_nothing():
    assert [told[:2] for told in told_of("/v1/chat/completions", HELLO)] == [[False, 0], [False, 0]]


# The same for the gate: a service whose first request asks for the instrument. It tells whether the endpoint was late,
# how much was loaded, how many rounds the loop had meanwhile, and whether two that came at once have one instrument.
GATE = """
import asyncio, json, sys
import oaiserve
from mocks import make_request
from protocol.exchange import LateEndpoint, found_endpoint
from protocol.service.log import Log

def loaded():
    return sum(name.startswith("protocol.") and not hasattr(sys.modules[name], "__path__") for name in sys.modules)

async def main():
    service = oaiserve.Service(oaiserve.load_settings("mock", set={"server.journal": "no"}), Log("off", print))
    gate = service._application.gate
    before, rounds = loaded(), 0

    async def find(path):
        request = make_request("GET", path)
        request.stream = None
        return await found_endpoint(gate.route(request), request)

    is_late = isinstance(gate.route(make_request("GET", "/s/one/v1/models")), LateEndpoint)
    work = asyncio.gather(find("/s/one/v1/models"), find("/s/two/v1/models"))
    while not work.done():
        rounds += 1
        await asyncio.sleep(0)
    then = isinstance(gate.route(make_request("GET", "/s/three/v1/models")), LateEndpoint)
    names = gate.begin().names()
    print(json.dumps([is_late, loaded() - before, rounds, [one.label for one in work.result()], then, names]))

asyncio.run(main())
"""


def test_the_instrument_is_loaded_a_module_a_turn():
    is_late, modules, rounds, labels, is_late_then, sessions = json.loads(output_of(GATE))
    assert is_late and not is_late_then
    assert modules >= 25 and rounds >= modules
    assert labels == ["models", "models"]
    assert sessions == ["", "one", "two", "three"]


# A server whose first request of the instrument has a body, which comes after its head; it tells the answers' statuses.
BODIES = """
import http.client, json, sys
import oaiserve

def ask(port, path, size):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * size}]}).encode()
    connection.request("POST", path, iter([body[:1000], body[1000:]]), {"content-type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    return answer.status

small = {"server.max_body": "100k", "server.journal": "no"}
with oaiserve.start("mock", set={"server.journal": "no"}) as behind:
    with oaiserve.start("relay", set={**small, "relay.base_url": behind.url, "relay.api_key": ""}) as server:
        sizes = json.loads(sys.argv[1])
        print(json.dumps([ask(server.port, path, size) for path, size in sizes]))
"""


@pytest.mark.parametrize(
    ("asked", "statuses"),
    [
        ([("/s/t/v1/chat/completions", 50_000)] * 2, [200, 200]),
        ([("/s/t/_oaiserve/verify", 200_000)] * 2, [413, 413]),  # it is held
        ([("/s/t/v1/files", 200_000)] * 2, [400, 400]),  # it is passed on as it comes, and is no form
    ],
)
def test_a_body_that_loads_the_instrument_is_taken_as_any_other(asked, statuses):
    assert json.loads(output_of(BODIES, json.dumps(asked))) == statuses
