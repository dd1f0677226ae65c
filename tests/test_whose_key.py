"""Whose key goes where: the environment's to its own vendor, the caller's to the backend that is asked first."""

from __future__ import annotations

import asyncio

import pytest
from programs import running

import oaiserve
from protocol.server.settings import ServerSettings

KEY = "sk-owner-0123456789"


# ---- who holds a key


@pytest.mark.parametrize(
    ("backend", "options", "holders"),
    [
        ("mock", {}, ()),
        ("relay", {"relay.api_key": KEY}, ("relay",)),
        ("relay", {"relay.api_key": ""}, ()),
        ("dashscope", {"dashscope.api_key": KEY}, ("dashscope",)),
        ("dashscope", {}, ()),
        ("mock", {"relay.api_key": KEY}, ()),  # no route leads to it
        ("mock", {"relay.api_key": KEY, "routes.gpt-*": "mock, relay"}, ("relay",)),
    ],
)
def test_a_service_knows_which_of_its_backends_hold_a_key(backend, options, holders):
    async def main():
        settings = oaiserve.load_settings(backend, set=options, environ={})
        return oaiserve.Service(settings, oaiserve.Log("off", print)).key_holders

    assert asyncio.run(main()) == holders


@pytest.mark.parametrize(
    ("host", "is_local"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("LOCALHOST", True),
        ("", False),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.7", False),
        ("localhost.example.com", False),
    ],
)
def test_a_listener_is_local_where_nobody_else_can_connect(host, is_local):
    assert ServerSettings(host=host).is_local is is_local


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("relay", "--host", "0.0.0.0", "--set", f"relay.api_key={KEY}"), True),
        (("relay", "--host", "0.0.0.0"), False),
        (("relay", "--set", f"relay.api_key={KEY}"), False),
        (("mock", "--host", "0.0.0.0"), False),
        (("relay", "--host", "0.0.0.0", "--set", f"relay.api_key={KEY}", "--workers", "2"), True),
    ],
    ids=["open and a key", "open and none", "local and a key", "mock", "workers"],
)
def test_banner_tells_who_lets_the_network_spend_a_key(command, options, says):
    with running(command, *options) as program:
        assert ("whoever reaches this port spends the key of relay: nobody is asked" in program.banner) is says
        assert KEY not in program.banner
