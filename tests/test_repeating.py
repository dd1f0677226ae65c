"""`freeze = yes`: equal requests get equal answers where nothing is kept of them."""

from __future__ import annotations

import json

import pytest
from programs import ANY_CHAT, ask

import oaiserve

TOOL = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}}
CALLED = {**ANY_CHAT, "tools": [TOOL], "tool_choice": "required"}


@pytest.fixture(scope="module")
def server():
    with oaiserve.start("mock", set={"mock.freeze": "yes"}) as running:
        yield running


def answers(server, path, body, where=""):
    """Return what two equal requests get."""
    return [ask(server.port, "POST", f"{where}{path}", body, content_type="application/json")[2] for _ in range(2)]


@pytest.mark.parametrize("where", ["", "/s/one", "/openai"])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", ANY_CHAT),
        ("/v1/chat/completions", {**ANY_CHAT, "stream": True}),
        ("/v1/chat/completions", CALLED),
        ("/v1/chat/completions", {**ANY_CHAT, "n": 3}),
        ("/v1/completions", {"model": "gpt-3.5-turbo-instruct", "prompt": "Hello"}),
        ("/v1/moderations", {"input": "Hello"}),
        ("/v1/responses", {"model": "gpt-4o", "input": "Hello", "store": False}),
        ("/v1/responses", {"model": "gpt-4o", "input": "Hello", "store": False, "stream": True}),
        ("/v1/images/generations", {"prompt": "a cat", "n": 2}),
    ],
)
def test_equal_requests_get_equal_bytes(server, path, body, where):
    first, second = answers(server, path, body, where)
    assert first == second and b'"error":{' not in first


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {**ANY_CHAT, "store": True}),
        ("/v1/responses", {"model": "gpt-4o", "input": "Hello"}),
        ("/v1/conversations", {}),
    ],
)
def test_what_is_kept_has_an_id_of_its_own(server, path, body):
    first, second = (json.loads(answer)["id"] for answer in answers(server, path, body))
    assert first != second


def test_lengths_that_are_drawn_are_equal_too():
    with oaiserve.start("mock", set={"mock.freeze": "yes", "mock.length": "normal(50,20)"}) as server:
        first, second = answers(server, "/v1/chat/completions", ANY_CHAT)
    assert first == second


def test_other_requests_get_other_ids(server):
    ids = {json.loads(answers(server, "/v1/chat/completions", {**ANY_CHAT, "user": user})[0])["id"] for user in "abc"}
    assert len(ids) == 3


def test_a_mistake_is_told_as_ever(server):
    assert b"could not parse" in answers(server, "/v1/chat/completions", b"{")[0]
