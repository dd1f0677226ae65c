"""A relay to an upstream that speaks TLS: program to program, with an authority made in the test."""

from __future__ import annotations

import http.client
import json

import pytest
from certificates import Authority

import oaiserve

CHAT = "/v1/chat/completions"
HELLO = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def upstream(authority):
    settings = {"server.certfile": authority.cert_file, "server.keyfile": authority.key_file}
    with oaiserve.start("mock", set=settings) as server:
        yield server


def ask(server, body):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=100)
    try:
        connection.request("POST", CHAT, json.dumps(body), {"content-type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def relay_to(url, **settings):
    return oaiserve.start(
        "relay", set={"relay.base_url": url, **{f"relay.{key}": value for key, value in settings.items()}}
    )


def test_an_upstream_by_a_named_authority_answers_plain_and_streamed(authority, upstream):
    assert upstream.url.startswith("https://")
    with relay_to(upstream.url, ca_file=authority.ca_file) as relay:
        status, body = ask(relay, HELLO)
        assert (status, json.loads(body)["choices"][0]["message"]["content"]) == (200, "powered by openai")
        status, body = ask(relay, {**HELLO, "stream": True})
        assert status == 200
        assert body.endswith(b"data: [DONE]\n\n")


def test_an_upstream_by_an_unknown_authority_is_refused_and_the_error_says_why(upstream):
    before = len(upstream.requests)
    with relay_to(upstream.url, retries=0) as relay:
        status, body = ask(relay, HELLO)
    error = json.loads(body)["error"]
    assert status == 502
    assert "certificate" in error["message"]
    assert "relay" in error["message"]
    assert len(upstream.requests) == before


def test_a_certificate_for_another_name_is_refused(authority, upstream):
    with relay_to(
        f"https://127.0.0.2:{upstream.port}", ca_file=authority.ca_file, retries=0, connect_timeout=5
    ) as relay:
        status, body = ask(relay, HELLO)
    assert status == 502
    assert json.loads(body)["error"]["type"] == "upstream_error"


def test_verify_no_trusts_anybody(upstream):
    with relay_to(upstream.url, verify="no") as relay:
        assert ask(relay, HELLO)[0] == 200
