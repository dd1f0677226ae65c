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


def told_of(path, body):
    """Return what the program tells of a request that comes twice: late, modules loaded, rounds, status."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([ROOT, f"{ROOT}/tests"]), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "POST", path, json.dumps(body)], capture_output=True, text=True, timeout=50,
        cwd=ROOT, env=environ,
    )  # fmt: skip
    assert done.stderr == ""
    return json.loads(done.stdout)


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
