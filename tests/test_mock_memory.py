"""`max_stored` counts what the mock's objects hold besides what they show: inputs, messages, what an update brings."""

from __future__ import annotations

import pytest
from mocks import ask, make_mock, world_of

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
