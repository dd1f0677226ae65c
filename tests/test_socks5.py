"""protocol/wire/socks5.py: the client's side of RFC 1928 and RFC 1929, every reply at every split."""

from __future__ import annotations

import pytest

from protocol.wire.socks5 import SocksClient, SocksRefused

BOUND = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x04\x38"


def talk(client: SocksClient, *replies: bytes, size: int = 1000) -> list[bytes]:
    """Feed each reply in pieces of `size` and return what the client said, the greeting first."""
    said = [client.greeting()]
    for reply in replies:
        answers = [client.feed(reply[at : at + size]) for at in range(0, len(reply), size)]
        assert not any(answers[:-1])
        said.append(answers[-1])
    return said


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_asks_for_a_name_without_a_login(size: int) -> None:
    client = SocksClient("api.test", 443)
    assert talk(client, b"\x05\x00", BOUND, size=size) == [
        b"\x05\x01\x00",
        b"\x05\x01\x00\x03\x08api.test\x01\xbb",
        b"",
    ]
    assert client.is_done


@pytest.mark.parametrize("size", [1, 1000])
def test_logs_in_where_the_proxy_wants_that(size: int) -> None:
    client = SocksClient("127.0.0.1", 80, b"me", b"pass")
    said = talk(client, b"\x05\x02", b"\x01\x00", BOUND, size=size)
    assert said == [b"\x05\x02\x00\x02", b"\x01\x02me\x04pass", b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50", b""]
    assert client.is_done


def test_a_login_is_not_sent_where_none_is_wanted() -> None:
    assert b"pass" not in b"".join(talk(SocksClient("h", 80, b"me", b"pass"), b"\x05\x00", BOUND))


def test_asks_for_an_ipv6_address() -> None:
    assert talk(SocksClient("::1", 80), b"\x05\x00")[1] == b"\x05\x01\x00\x04" + b"\0" * 15 + b"\x01\x00\x50"


@pytest.mark.parametrize("bound", [b"\x03\x05there\x00\x50", b"\x04" + b"\0" * 18, b"\x01" + b"\0" * 6])
def test_reads_every_type_of_bound_address(bound: bytes) -> None:
    client = SocksClient("h", 80)
    talk(client, b"\x05\x00", b"\x05\x00\x00" + bound, size=1)
    assert client.is_done


REFUSALS = [
    ([b"\x05\xff"], "user and a password"),
    ([b"\x05\x02"], "user and a password"),
    ([b"\x05\x01"], "user and a password"),
    ([b"HT"], "does not speak SOCKS 5"),
    ([b"\x04"], "does not speak SOCKS 5"),
    ([b"\x05\x00", b"HTTP/1.1 400"], "does not speak SOCKS 5"),
    ([b"\x05\x00", b"\x05\x00\x00\x09\x00"], "does not speak SOCKS 5"),
    ([b"\x05\x00", b"\x05\x02"], "rules do not allow"),
    ([b"\x05\x00", b"\x05\x05\x00\x01" + b"\0" * 6], "refused"),
    ([b"\x05\x00", b"\x05\x63"], "no reason"),
    ([b"\x05\x00", BOUND + b"x"], "more than its answer"),
    ([b"\x05\x00x"], "more than its answer"),
]


@pytest.mark.parametrize(("replies", "why"), REFUSALS)
def test_says_why_a_proxy_refuses(replies: list[bytes], why: str) -> None:
    client = SocksClient("h", 80)
    with pytest.raises(SocksRefused, match=why):
        talk(client, *replies)
    assert not client.is_done


def test_a_login_that_is_not_accepted_is_not_repeated_in_the_message() -> None:
    with pytest.raises(SocksRefused, match="does not accept") as caught:
        talk(SocksClient("h", 80, b"me", b"secret"), b"\x05\x02", b"\x01\x01")
    assert "secret" not in str(caught.value)
