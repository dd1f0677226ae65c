"""Ways to an upstream through proxies: HTTP with and without CONNECT, SOCKS 5, and none."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import itertools

import pytest
from relays import echo_received, house
from skipping import run
from upstreams import Gone, Peer, Script, Upstream, answering, sized

from protocol.upstream.access import proxy_from_environment
from protocol.upstream.destination import Proxy, parse_destination, parse_proxy
from protocol.upstream.settings import parse_proxy_url

LOGIN = "Basic dXNlcjpwdw=="


async def join(peer: Peer, host: str, port: int) -> None:
    """Connect a peer with a server, until either closes."""
    reader, writer = await asyncio.open_connection(host, port)

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                target.write(data)
        target.close()

    try:
        await asyncio.gather(copy(peer.reader, writer), copy(reader, peer.writer))
    finally:
        writer.transport.abort()


def http_proxy(targets: list[tuple[str, str]], login: str = "") -> Script:
    """A proxy that passes requests on and knows CONNECT; it notes each method and target."""

    async def script(peer: Peer) -> None:
        while True:
            head = await peer.head()
            fields = {name.decode(): value.decode() for name, value in head.headers}
            method, target = head.method.decode(), head.target.decode()
            targets.append((method, target))
            if fields.get("proxy-authorization", "") != login:
                await peer.send(sized(b"who are you?", "407 Proxy Authentication Required"))
                raise Gone
            if method == "CONNECT":
                host, _, port = target.rpartition(":")
                await peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
                await join(peer, host, int(port))
                raise Gone
            await peer.send(sized(f"{fields['host']} {target}".encode()))
            raise Gone

    return script


def socks_proxy(asked: list[tuple[str, int]], login: bytes = b"") -> Script:
    """A SOCKS 5 proxy that notes where it is asked to connect to, and looks `upstream.test` up as this machine."""

    async def script(peer: Peer) -> None:
        methods = await read_exactly(peer, (await read_exactly(peer, 2))[1])
        await peer.send(b"\x05\x02" if login else b"\x05\x00")
        if login:
            assert 2 in methods
            size = (await read_exactly(peer, 2))[1]
            user = await read_exactly(peer, size)
            password = await read_exactly(peer, (await read_exactly(peer, 1))[0])
            is_known = user + b":" + password == login
            await peer.send(b"\x01\x00" if is_known else b"\x01\x01")
        kind = (await read_exactly(peer, 4))[3]
        if kind == 3:
            host = (await read_exactly(peer, (await read_exactly(peer, 1))[0])).decode()
        else:
            host = str(ipaddress.ip_address(await read_exactly(peer, 4 if kind == 1 else 16)))
        port = int.from_bytes(await read_exactly(peer, 2), "big")
        asked.append((host, port))
        await peer.send(b"\x05\x00\x00\x01" + bytes(6))
        await join(peer, "127.0.0.1", port)

    return script


async def read_exactly(peer: Peer, size: int) -> bytes:
    try:
        return await peer.reader.readexactly(size)
    except asyncio.IncompleteReadError as exc:
        raise Gone from exc


# ---- what is understood -----------------------------------------------------------------------------------------

PROXIES = [
    ("http://p", Proxy("http", "p", 80, b"", b"")),
    ("p:3128", Proxy("http", "p", 3128, b"", b"")),
    ("http://u:p%40ss@p:1/", Proxy("http", "p", 1, b"u", b"p@ss")),
    ("socks5://p", Proxy("socks5", "p", 1080, b"", b"")),
    ("socks5h://u:w@[::1]:9", Proxy("socks5h", "::1", 9, b"u", b"w")),
]


@pytest.mark.parametrize(("text", "proxy"), PROXIES)
def test_reads_a_proxy(text: str, proxy: Proxy) -> None:
    assert parse_proxy(text) == proxy


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("https://u:secret@p", "no TLS is spoken"),
        ("socks4://u:secret@p", "expected http:// or socks5:// or socks5h://"),
        ("socks://u:secret@p", "expected http:// or socks5:// or socks5h://"),
        ("socks5://:secret@p", "1 to 255 bytes"),
        ("socks5://secret@p", "1 to 255 bytes"),
        (f"socks5://u:secret{'x' * 250}@p", "1 to 255 bytes"),
        ("http://secret", ""),
    ],
)
def test_says_what_a_proxy_should_be_and_not_what_it_is(text: str, why: str) -> None:
    if not why:
        assert parse_proxy(text).host == "secret"
        return
    with pytest.raises(ValueError, match=why) as caught:
        parse_proxy(text)
    assert "secret" not in str(caught.value)


ENVIRONMENTS = [
    ("https://api.test", {"ALL_PROXY": "socks5://p"}, "p"),
    ("http://api.test", {"all_proxy": "q", "ALL_PROXY": "p"}, "q"),
    ("https://api.test", {"ALL_PROXY": "p", "HTTPS_PROXY": "q"}, "q"),
    ("http://api.test", {"ALL_PROXY": "p", "HTTPS_PROXY": "q"}, "p"),
    ("https://api.test", {"ALL_PROXY": "p", "NO_PROXY": ".test"}, None),
    ("https://127.0.0.1", {"ALL_PROXY": "p"}, None),
]


@pytest.mark.parametrize(("url", "environ", "host"), ENVIRONMENTS)
def test_all_proxy_stands_for_those_that_are_not_named(url: str, environ: dict[str, str], host: str | None) -> None:
    proxy = proxy_from_environment(parse_destination(url), environ)
    assert (proxy and proxy.host) == host


def test_a_variable_that_is_not_understood_is_named_with_the_way_round_it() -> None:
    with pytest.raises(ValueError, match="ALL_PROXY.*proxy = none"):
        proxy_from_environment(parse_destination("https://h"), {"ALL_PROXY": "socks://h:1"})


def test_none_is_no_proxy_whatever_the_environment_names() -> None:
    assert parse_proxy_url("none") == "none"

    async def main() -> None:
        async with Upstream(echo_received()) as upstream:
            # This address is not known to be this machine, so the environment's proxy would be asked.
            url = f"http://0.0.0.0:{upstream.port}"
            environ = {"HTTP_PROXY": "http://127.0.0.1:1", "ALL_PROXY": "socks://gibberish"}
            async with house(url, proxy="none", environ=environ) as relayed:
                assert (await relayed.ask()).status == 200
            async with house(url, environ={"HTTP_PROXY": "http://127.0.0.1:1"}, retries="0") as relayed:
                assert (await relayed.ask()).status == 502

    run(main)


# ---- HTTP -------------------------------------------------------------------------------------------------------


def test_an_http_proxy_gets_the_whole_url_of_an_http_upstream() -> None:
    async def main() -> None:
        targets: list[tuple[str, str]] = []
        async with Upstream(http_proxy(targets, LOGIN)) as proxy:
            way = f"http://user:pw@127.0.0.1:{proxy.port}"
            async with house("http://up.test:81/api", proxy=way) as relayed:
                answer = await relayed.ask(target="/v1/chat/completions?x=1")
                assert answer.body == b"up.test:81 http://up.test:81/api/chat/completions?x=1"
                await relayed.ask("GET", "/v1/models")
        assert targets[0] == ("POST", "http://up.test:81/api/chat/completions?x=1")
        assert targets[1] == ("GET", "http://up.test:81/api/models")

    run(main)


def test_the_login_at_the_proxy_is_no_business_of_the_upstream() -> None:
    async def main() -> None:
        async with Upstream(answering(sized(b"ok"))) as upstream:
            async with house(f"http://127.0.0.1:{upstream.port}") as relayed:
                await relayed.ask(fields=[("proxy-authorization", "theirs")])
            assert upstream.received[0].get("proxy-authorization") == ""

    run(main)


def test_a_proxy_that_wants_another_login_is_named_and_its_407_does_not_reach_the_client() -> None:
    async def main() -> None:
        async with Upstream(http_proxy([], "Basic other")) as proxy:
            way = f"http://user:pw@127.0.0.1:{proxy.port}"
            async with house("http://up.test", proxy=way, retries="0") as relayed:
                answer = await relayed.ask()
                assert answer.status == 502
                assert "its proxy answered 407" in answer.json()["error"]["message"]
                assert "pw" not in repr(answer) + "".join(relayed.lines)

    run(main)


def test_a_websocket_goes_through_an_http_proxy_as_a_tunnel() -> None:
    async def main() -> None:
        targets: list[tuple[str, str]] = []
        async with Upstream(answering(sized(b"no", "403 Forbidden"))) as upstream:
            async with Upstream(http_proxy(targets, LOGIN)) as proxy:
                way = f"http://user:pw@127.0.0.1:{proxy.port}"
                async with house(f"http://127.0.0.1:{upstream.port}", proxy=way) as relayed:
                    fields = [
                        ("connection", "upgrade"),
                        ("upgrade", "websocket"),
                        ("sec-websocket-version", "13"),
                        ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
                    ]
                    answer = await relayed.ask("GET", "/v1/realtime?model=m", fields)
                    assert answer.status == 403
                    # It must not rest: the next request is for the proxy and would reach the upstream.
                    assert relayed.relay.open_connections == 0
            assert targets == [("CONNECT", f"127.0.0.1:{upstream.port}")]
            assert upstream.received[0].target == "/v1/realtime?model=m"
            assert upstream.received[0].get("proxy-authorization") == ""

    run(main)


# ---- SOCKS ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scheme", "host", "asked_host"),
    [
        ("socks5", "127.0.0.1", "127.0.0.1"),
        ("socks5", "localhost", "looked up"),
        ("socks5h", "upstream.test", "upstream.test"),
    ],
)
@pytest.mark.parametrize("login", [b"", b"user:pw"], ids=["no login", "login"])
def test_a_socks_proxy_leads_to_the_upstream(scheme: str, host: str, asked_host: str, login: bytes) -> None:
    async def main() -> None:
        asked: list[tuple[str, int]] = []
        async with Upstream(echo_received()) as upstream, Upstream(socks_proxy(asked, login)) as proxy:
            user = login.decode() + "@" if login else ""
            way = f"{scheme}://{user}127.0.0.1:{proxy.port}"
            async with house(f"http://{host}:{upstream.port}", proxy=way) as relayed:
                for _ in range(2):
                    answer = await relayed.ask()
                    assert answer.json()["target"] == "/v1/chat/completions"
        assert asked == [(asked[0][0] if asked_host == "looked up" else asked_host, upstream.port)]
        assert asked[0][0] != "localhost"

    run(main)


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"", "closed before"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak SOCKS 5"),
        (b"\x05\xff", "wants a user and a password"),
    ],
)
def test_a_socks_proxy_that_will_not_is_named(sent: bytes, why: str) -> None:
    async def main() -> None:
        async def script(peer: Peer) -> None:
            await peer.bytes()
            await peer.send(sent)

        async with Upstream(script) as proxy:
            way = f"socks5h://127.0.0.1:{proxy.port}"
            async with house("http://up.test", proxy=way, retries="0") as relayed:
                answer = await relayed.ask()
                assert answer.status == 502
                assert why in answer.json()["error"]["message"]

    run(main)


@pytest.mark.parametrize("turns", range(12))
def test_a_client_that_leaves_while_a_socks_proxy_opens_leaves_nothing_open(turns: int) -> None:
    async def main() -> None:
        asked: list[tuple[str, int]] = []
        async with Upstream(echo_received()) as upstream, Upstream(socks_proxy(asked)) as proxy:
            way = f"socks5://127.0.0.1:{proxy.port}"
            async with house(f"http://127.0.0.1:{upstream.port}", proxy=way) as relayed:
                task = asyncio.ensure_future(relayed.ask())
                for _ in itertools.repeat(None, turns * 3):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
            for connection in [*proxy.connections, *upstream.connections]:
                await asyncio.wait_for(connection, 5)

    run(main)
