"""X-Forwarded-For: whom it is believed from, how far, and what the log makes of it."""

from __future__ import annotations

import pytest
from programs import exchange

import oaiserve
from protocol.errors import UsageError
from protocol.service.forwarded_for import TrustedProxies, parse_networks

LOCAL = ("127.0.0.0/8", "10.0.0.0/8", "::1/128", "fd00::/8")


@pytest.mark.parametrize(
    ("text", "networks"),
    [
        ("", ()),
        ("127.0.0.1", ("127.0.0.1/32",)),
        ("127.0.0.1, 10.0.0.0/8", ("127.0.0.1/32", "10.0.0.0/8")),
        ("::1\n fd00::/8", ("::1/128", "fd00::/8")),
        ("10.0.0.0/255.0.0.0", ("10.0.0.0/8",)),
        ("FD00:0::/8", ("fd00::/8",)),
    ],
)
def test_networks_are_read_in_any_spelling(text, networks):
    assert parse_networks(text) == networks
    assert parse_networks(", ".join(networks)) == networks


@pytest.mark.parametrize("text", ["localhost", "10.0.0.5/8", "10.0.0.0/33", "1.2.3", "::1/129", "10.0.0.0/8;", "*"])
def test_anything_else_is_refused_with_what_is_expected(text):
    with pytest.raises(
        ValueError, match=r"expected addresses or networks, e\.g\. 127\.0\.0\.1, 10\.0\.0\.0/8 or ::1; "
    ):
        parse_networks(text)


def test_mistake_in_the_configuration_names_key_and_value():
    with pytest.raises(
        UsageError, match=r"\[?server.*trusted_proxies = 'proxy\.example': expected addresses or networks"
    ):
        oaiserve.load_settings("mock", set={"server.trusted_proxies": "proxy.example"})


@pytest.mark.parametrize(
    ("address", "trusted"),
    [
        ("127.0.0.1", True),
        ("10.255.0.1", True),
        ("11.0.0.1", False),
        ("::1", True),
        ("::2", False),
        ("fd12::1", True),
        ("::ffff:10.0.0.1", True),
        ("::ffff:11.0.0.1", False),
        ("fd12::1%eth0", True),
        ("-", False),
        ("", False),
    ],
)
def test_only_addresses_within_the_networks_are_trusted(address, trusted):
    assert TrustedProxies(LOCAL).trusts(address) is trusted


@pytest.mark.parametrize(
    ("forwarded_for", "client"),
    [
        ("", "10.0.0.9"),
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7, 10.0.0.1", "203.0.113.7"),
        ("1.1.1.1, 203.0.113.7, 10.0.0.1, 127.0.0.1", "203.0.113.7"),
        ("1.1.1.1,203.0.113.7", "203.0.113.7"),
        ("10.0.0.1, 10.0.0.2", "10.0.0.1"),
        ("unknown", "10.0.0.9"),
        ("203.0.113.7, unknown, 10.0.0.1", "10.0.0.1"),
        ("203.0.113.7, , 10.0.0.1", "10.0.0.1"),
        ("203.0.113.7:4711", "203.0.113.7"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("203.0.113.7\t, 10.0.0.1", "203.0.113.7"),
        ("<script>", "10.0.0.9"),
        ("fe80::1%eth0", "fe80::1"),
        ("2001:db8::1%x - Status: 200", "2001:db8::1"),
    ],
)
def test_client_is_the_right_most_address_that_is_not_trusted(forwarded_for, client):
    assert TrustedProxies(LOCAL).client("10.0.0.9", forwarded_for) == client


@pytest.mark.parametrize(
    ("trusted", "peer"),
    [("", "127.0.0.1"), ("10.0.0.0/8", "127.0.0.1"), ("127.0.0.1", "203.0.113.7")],
    ids=["nobody is trusted", "another is trusted", "the peer is trusted"],
)
def test_request_and_log_name_the_client_if_the_peer_is_trusted(tmp_path, trusted, peer):
    log = tmp_path / "log"
    options = {"server.trusted_proxies": trusted, "server.log": "text", "server.log_file": log}
    with oaiserve.start(backend="mock", set=options) as server:
        head = b"GET /v1/models HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 1.1.1.1\r\nx-forwarded-for: 203.0.113.7\r\n\r\n"
        assert b"200 OK" in exchange(server.port, head + b"GET /version HTTP/1.1\r\nhost: x\r\n\r\n")
        peers = [request.peer for request in server.requests]
    assert peers == [peer, "127.0.0.1"]
    lines = log.read_text(encoding="utf-8").splitlines()
    assert [line.split("IP: ")[1].split(",")[0] for line in lines] == [peer, peer, "127.0.0.1", "127.0.0.1"]


def test_repeated_head_on_one_connection_keeps_its_client_and_another_head_has_its_own():
    def head(client):
        return b"GET /version HTTP/1.1\r\nhost: x\r\nx-forwarded-for: " + client + b"\r\n\r\n"

    with oaiserve.start(backend="mock", set={"server.trusted_proxies": "127.0.0.1"}) as server:
        answers = exchange(server.port, head(b"203.0.113.7") * 2 + head(b"203.0.113.8") + head(b"203.0.113.7"))
        peers = [request.peer for request in server.requests]
    assert answers.count(b"HTTP/1.1 200 OK\r\n") == 4
    assert peers == ["203.0.113.7", "203.0.113.7", "203.0.113.8", "203.0.113.7"]
