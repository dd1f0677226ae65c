"""protocol/upstream/: connections to an upstream that behaves as badly as it can."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from certificates import Authority
from skipping import run
from upstreams import Gone, Peer, Upstream, answering, breaking_off, chunked, closed_port, resetting, silent, sized

from protocol.upstream.access import proxy_from_environment, upstream_tls
from protocol.upstream.answer import UpstreamAnswer
from protocol.upstream.destination import Destination, Proxy, parse_destination, parse_proxy
from protocol.upstream.failures import UpstreamBroke, UpstreamFailed, UpstreamTimeout, UpstreamUnreachable
from protocol.upstream.pool import UpstreamLimits, UpstreamPool
from protocol.upstream.request import UpstreamRequest
from protocol.wire.http1.writers import encode_fields

FIELDS = encode_fields([("host", "upstream.test"), ("content-type", "application/json")])
POST = UpstreamRequest("POST", "/v1/chat/completions", FIELDS, b'{"model":"m"}')
GET = UpstreamRequest("GET", "/v1/files", FIELDS)


def no_tls() -> ssl.SSLContext:
    raise AssertionError("no TLS is wanted here")


@contextlib.asynccontextmanager
async def pool_to(
    upstream: Upstream | str, tls: Callable[[], ssl.SSLContext] = no_tls, proxy: Proxy | None = None, **limits
):
    url = upstream if isinstance(upstream, str) else upstream.url
    pool = UpstreamPool("far", parse_destination(url), UpstreamLimits(**limits), tls=tls, proxy=proxy)
    try:
        yield pool
    finally:
        await pool.close()
        assert pool.open_connections == 0


async def body_of(answer: UpstreamAnswer) -> bytes:
    return b"".join([data async for data in answer])


async def exchange(pool: UpstreamPool, request: UpstreamRequest = POST, deadline: float = 0.0) -> tuple[int, bytes]:
    answer = await pool.send(request, deadline)
    return answer.head.status, await body_of(answer)


# ---- where to ---------------------------------------------------------------------------------------------------

DESTINATIONS = [
    ("https://api.openai.com/v1", Destination(True, "api.openai.com", 443, "", "api.openai.com", "/v1")),
    ("https://api.openai.com", Destination(True, "api.openai.com", 443, "", "api.openai.com", "/v1")),
    ("https://api.openai.com/", Destination(True, "api.openai.com", 443, "", "api.openai.com", "")),
    ("http://127.0.0.1:8000/api/v4/", Destination(False, "127.0.0.1", 8000, "", "127.0.0.1:8000", "/api/v4")),
    ("http://[::1]:9", Destination(False, "::1", 9, "", "[::1]:9", "/v1")),
    ("http://h:80", Destination(False, "h", 80, "", "h", "/v1")),
    ("https://h:80", Destination(True, "h", 80, "", "h:80", "/v1")),
    ("unix:/run/llm.sock", Destination(False, "", 0, "/run/llm.sock", "localhost", "/v1")),
    ("unix:/run/llm.sock:/api", Destination(False, "", 0, "/run/llm.sock", "localhost", "/api")),
]


@pytest.mark.parametrize(("text", "destination"), DESTINATIONS, ids=[text for text, _ in DESTINATIONS])
def test_reads_a_base_url(text: str, destination: Destination) -> None:
    assert parse_destination(text) == destination


@pytest.mark.parametrize(
    "host",
    [
        "h",
        "api.openai.com",
        "h.",
        "a..b",
        ".a",
        "a" * 63,
        "a" * 64,
        f"{'a' * 64}.b",
        "a_b",
        "-a",
        "m\u00fcnchen.example",
        "\u4f8b\u5b50.cn",
    ],
)
def test_takes_the_hosts_that_the_system_can_look_up(host: str) -> None:
    """The codec by which the system encodes a host is the judge; loading it takes 3 ms, so the program does without."""
    try:
        encoded = host.encode("idna").decode("ascii")
    except UnicodeError:
        encoded = ""
    if encoded == host:
        assert parse_destination(f"http://{host}/v1").host == host
    else:  # wrong, or beyond ASCII, where a base URL has the xn-- form
        with pytest.raises(ValueError, match="expected http:// or https:// and a host"):
            parse_destination(f"http://{host}/v1")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "api.openai.com",
        "ftp://h",
        "http://",
        "http://h:x",
        "http://h:99999",
        "http://h/?key=1",
        "http://h/#x",
        "http://user:sk-secret@h",
        "unix:relative",
        "http://a b/",
        "http://h\r\nx",
    ],
)
def test_refuses_what_is_no_base_url(text: str) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        parse_destination(text)
    assert "sk-secret" not in str(caught.value)


@pytest.mark.parametrize("text", ["socks4://h:1", "https://h", "http://"])
def test_refuses_other_proxies(text: str) -> None:
    with pytest.raises(ValueError, match="expected http://"):
        parse_proxy(text)


PROXY_CASES = [
    ("https://api.test", {"HTTPS_PROXY": "http://p:1"}, "p"),
    ("https://api.test", {"https_proxy": "http://q:1", "HTTPS_PROXY": "http://p:1"}, "q"),
    ("https://api.test", {"HTTP_PROXY": "http://p:1"}, None),
    ("http://api.test", {"HTTP_PROXY": "http://p:1"}, "p"),
    ("https://api.test", {}, None),
    ("https://api.test", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, None),
    ("https://api.test", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "api.test"}, None),
    ("https://api.test", {"HTTPS_PROXY": "http://p:1", "no_proxy": "other, .test"}, None),
    ("https://api.test", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*.test"}, None),
    ("https://api.test", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "pi.test"}, "p"),
    ("https://api.test", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "api.test:444"}, "p"),
    ("https://api.test", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "api.test:443"}, None),
    ("https://10.1.2.3", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, None),
    ("https://10.1.2.3", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "11.0.0.0/8,bad/net"}, "p"),
    ("https://[fd00::1]", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "fd00::1"}, None),
    ("https://localhost:1", {"HTTPS_PROXY": "http://p:1"}, None),
    ("https://127.0.0.9", {"HTTPS_PROXY": "http://p:1"}, None),
    ("unix:/s", {"HTTP_PROXY": "http://p:1"}, None),
]


@pytest.mark.parametrize(("url", "environ", "host"), PROXY_CASES)
def test_takes_the_proxy_that_the_environment_names(url: str, environ: dict[str, str], host: str | None) -> None:
    proxy = proxy_from_environment(parse_destination(url), environ)
    assert (proxy and proxy.host) == host


def test_names_the_variable_that_it_does_not_understand() -> None:
    with pytest.raises(ValueError, match="HTTPS_PROXY") as caught:
        proxy_from_environment(parse_destination("https://h"), {"HTTPS_PROXY": "socks4://user:secret@h"})
    assert "secret" not in str(caught.value)


# ---- answers of every kind --------------------------------------------------------------------------------------

GOOD_ANSWERS = [
    ("sized", sized(b"hello"), 200, b"hello"),
    ("empty", sized(b""), 200, b""),
    ("chunked", chunked(b"he", b"llo"), 200, b"hello"),
    ("chunk extensions", chunked(end=b"5;a=b\r\nhello\r\n0;x\r\n\r\n"), 200, b"hello"),
    ("trailers", chunked(b"hello", end=b"0\r\nx-checksum: 1\r\nx-more: 2\r\n\r\n"), 200, b"hello"),
    ("one-byte chunks", chunked(*[b"%c" % byte for byte in b"hello" * 20]), 200, b"hello" * 20),
    ("no content", b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    (
        "interim first",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" + sized(b"hello"),
        200,
        b"hello",
    ),
    ("no reason", b"HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok", 200, b"ok"),
    ("an error", sized(b"no", "429 Too Many Requests", "retry-after: 1"), 429, b"no"),
]


@pytest.mark.parametrize("split", [0, 1, 7], ids=["whole", "byte by byte", "sevens"])
@pytest.mark.parametrize(
    ("answer", "status", "body"), [case[1:] for case in GOOD_ANSWERS], ids=[c[0] for c in GOOD_ANSWERS]
)
def test_reads_every_good_answer_however_it_is_split(answer: bytes, status: int, body: bytes, split: int) -> None:
    async def main() -> None:
        async with Upstream(answering(answer, split=split)) as upstream, pool_to(upstream) as pool:
            for _ in range(2):
                assert await exchange(pool) == (status, body)
            assert len(upstream.connections) == 1  # and the connection is as good as new afterwards

    run(main)


UNPOOLED_ANSWERS = [
    ("until close", b"HTTP/1.1 200 OK\r\n\r\nhello", b"hello"),
    ("HTTP/1.0", b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello", b"hello"),
    ("connection: close", sized(b"hello", "200 OK", "connection: close"), b"hello"),
    ("more than its length", sized(b"hello") + b"smuggled", b"hello"),
    ("a second answer", sized(b"hello") + sized(b"smuggled"), b"hello"),
]


@pytest.mark.parametrize(
    ("answer", "body"), [case[1:] for case in UNPOOLED_ANSWERS], ids=[c[0] for c in UNPOOLED_ANSWERS]
)
def test_does_not_use_a_connection_again_that_cannot_be(answer: bytes, body: bytes) -> None:
    async def main() -> None:
        async with Upstream(breaking_off(answer)) as upstream, pool_to(upstream) as pool:
            assert await exchange(pool) == (200, body)
            assert len(pool.idle) == 0
            assert await exchange(pool) == (200, body)
            assert len(upstream.connections) == 2

    run(main)


BROKEN_ANSWERS = [
    ("nothing", b"", "closed the connection without an answer"),
    ("half a head", b"HTTP/1.1 200 OK\r\ncont", "closed the connection in the middle"),
    ("short body", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello", "closed the connection in the middle"),
    ("no last chunk", chunked(b"hello", end=b""), "closed the connection in the middle"),
    ("half a chunk", chunked(end=b"ff\r\nhello"), "closed the connection in the middle"),
    ("garbage", b"220 mail ESMTP sk-secret\r\n", "not a valid HTTP"),
    ("TLS", b"\x16\x03\x01\x02\x00\x01\x00", "not a valid HTTP"),
    ("HTTP/2", b"HTTP/2.0 200\r\n\r\n", "not a valid HTTP"),
    ("two lengths", b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", "not a valid HTTP"),
    (
        "length and chunked",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "not a valid HTTP",
    ),
    ("negative length", b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", "not a valid HTTP"),
    ("bad chunk", chunked(end=b"xyz\r\n"), "not a valid HTTP"),
    ("chunk too long", chunked(end=b"2\r\nhello\r\n0\r\n\r\n"), "not a valid HTTP"),
    ("bare LF", b"HTTP/1.1 200 OK\nx: y\n\n", "not a valid HTTP"),
    ("endless head", b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 20000, "not a valid HTTP"),
    ("endless interim", b"HTTP/1.1 100 Continue\r\n\r\n" * 10_001, "interim"),
    ("unasked upgrade", b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "without being asked"),
]


@pytest.mark.parametrize(
    ("answer", "reason"), [case[1:] for case in BROKEN_ANSWERS], ids=[case[0] for case in BROKEN_ANSWERS]
)
def test_tells_what_is_broken_and_repeats_nothing_of_it(answer: bytes, reason: str) -> None:
    async def main() -> None:
        async with Upstream(breaking_off(answer)) as upstream, pool_to(upstream) as pool:
            with pytest.raises(UpstreamBroke, match=reason) as caught:
                await exchange(pool)
            assert caught.value.status == 502
            assert "'far'" in caught.value.message
            assert "sk-secret" not in caught.value.message
            assert len(upstream.received) == 1  # a fresh connection: not sent again

    run(main)


def test_passes_on_what_came_before_the_break() -> None:
    async def main() -> None:
        async with Upstream(breaking_off(chunked(b"one", b"two", end=b"zz"))) as upstream, pool_to(upstream) as pool:
            answer = await pool.send(POST)
            came = []
            with pytest.raises(UpstreamBroke):
                async for data in answer:
                    came.append(data)
            assert b"".join(came) == b"onetwo"

    run(main)


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", chunked(end=b"")], ids=["until close", "chunked"])
def test_never_takes_a_reset_for_an_end(head: bytes) -> None:
    async def main() -> None:
        async with Upstream(resetting(head)) as upstream, pool_to(upstream) as pool:
            answer = await pool.send(POST)
            with pytest.raises(UpstreamBroke):
                await body_of(answer)

    run(main)


def test_reads_a_head_answer_without_a_body() -> None:
    async def main() -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n"
        async with Upstream(answering(head)) as upstream, pool_to(upstream) as pool:
            for _ in range(2):
                assert await exchange(pool, UpstreamRequest("HEAD", "/v1/files", FIELDS)) == (200, b"")
            assert len(upstream.connections) == 1

    run(main)


# ---- requests ---------------------------------------------------------------------------------------------------


async def parts_of(*parts: bytes, pause: float = 0.0) -> AsyncIterator[bytes]:
    for part in parts:
        await asyncio.sleep(pause)
        yield part


REQUESTS = [
    ("none", GET, b""),
    ("small", POST, POST.body),
    ("large", UpstreamRequest("POST", "/v1/x", FIELDS, b"0123456789" * 100_000), b"0123456789" * 100_000),
]


@pytest.mark.parametrize(("request_", "body"), [case[1:] for case in REQUESTS], ids=[case[0] for case in REQUESTS])
def test_sends_a_held_body_whole(request_: UpstreamRequest, body: bytes) -> None:
    async def main() -> None:
        async with Upstream(answering(sized(b"ok"))) as upstream, pool_to(upstream) as pool:
            assert await exchange(pool, request_) == (200, b"ok")
            [received] = upstream.received
            assert (received.method, received.target, received.body) == (request_.method, request_.target, body)
            assert received.get("content-length") == (str(len(body)) if body else "")
            assert len(pool.idle) == 1

    run(main)


@pytest.mark.parametrize("length", [6, None], ids=["sized", "chunked"])
def test_streams_a_body(length: int | None) -> None:
    async def main() -> None:
        async with Upstream(answering(sized(b"ok"))) as upstream, pool_to(upstream) as pool:
            stream = parts_of(b"abc", b"", b"def", pause=0.005)
            assert await exchange(pool, UpstreamRequest("POST", "/v1/x", FIELDS, stream=stream, length=length)) == (
                200,
                b"ok",
            )
            assert upstream.received[0].body == b"abcdef"
            assert len(pool.idle) == 1

    run(main)


def test_returns_an_answer_that_comes_before_the_body_is_out() -> None:
    async def main() -> None:
        async def refuse(peer: Peer) -> None:
            await peer.head()
            await peer.send(sized(b"too large", "413 Content Too Large", "connection: close"))
            await peer.until_gone()

        async def endless() -> AsyncIterator[bytes]:
            while True:
                await asyncio.sleep(0.001)
                yield b"x" * 1000

        async with Upstream(refuse) as upstream, pool_to(upstream) as pool:
            request = UpstreamRequest("POST", "/v1/files", FIELDS, stream=endless(), length=10**9)
            assert await exchange(pool, request) == (413, b"too large")
            assert pool.open_connections <= 1
            await asyncio.sleep(0.02)
            assert pool.open_connections == 0

    run(main)


def test_gives_up_when_the_body_fails() -> None:
    async def main() -> None:
        async def failing() -> AsyncIterator[bytes]:
            yield b"some"
            await asyncio.sleep(0.005)
            raise LookupError("the client's body broke off")

        async with Upstream(silent) as upstream, pool_to(upstream) as pool:
            with pytest.raises(LookupError):
                await pool.send(UpstreamRequest("POST", "/v1/files", FIELDS, stream=failing(), length=100))

    run(main)


def test_does_not_read_a_body_faster_than_the_upstream_takes_it() -> None:
    async def main() -> None:
        produced = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal produced
            for _ in range(2000):
                produced += 65536
                yield b"x" * 65536

        async def unwilling(peer: Peer) -> None:
            await asyncio.sleep(0.2)

        async with Upstream(unwilling) as upstream, pool_to(upstream) as pool:
            with pytest.raises(UpstreamBroke):
                await pool.send(UpstreamRequest("POST", "/v1/files", FIELDS, stream=endless(), length=2000 * 65536))
            assert produced < 16 * 1024 * 1024  # the kernel's buffers, and little of ours

    run(main)


def test_reads_no_faster_than_it_is_asked_to() -> None:
    async def main() -> None:
        sent = 0

        async def flood(peer: Peer) -> None:
            nonlocal sent
            await peer.read()
            await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            while True:
                await peer.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")
                sent += 65536

        async with Upstream(flood) as upstream, pool_to(upstream) as pool:
            answer = await pool.send(POST)
            await answer.__anext__()
            await asyncio.sleep(0.1)
            stopped_at = sent
            await asyncio.sleep(0.05)
            assert sent == stopped_at < 16 * 1024 * 1024
            for _ in range(200):
                await answer.__anext__()
            assert sent > stopped_at
            await answer.aclose()

    run(main)


# ---- the pool ---------------------------------------------------------------------------------------------------


def test_does_not_send_again_what_had_an_answer_begun() -> None:
    async def main() -> None:
        async def script(peer: Peer) -> None:
            await peer.read()
            await peer.send(sized(b"ok"))
            await peer.read()
            await peer.send(b"HTTP/1.1 200 OK\r\n")

        async with Upstream(script) as upstream, pool_to(upstream) as pool:
            assert await exchange(pool) == (200, b"ok")
            with pytest.raises(UpstreamBroke):
                await exchange(pool)
            assert len(upstream.received) == 2

    run(main)


def test_forgets_a_kept_connection_that_the_upstream_closes() -> None:
    async def main() -> None:
        async with Upstream(breaking_off(sized(b"ok"))) as upstream, pool_to(upstream) as pool:
            await exchange(pool)
            await asyncio.sleep(0.02)
            assert pool.open_connections == 0

    run(main)


def test_closes_a_kept_connection_that_says_something_unasked() -> None:
    async def main() -> None:
        async def script(peer: Peer) -> None:
            await peer.read()
            await peer.send(sized(b"ok"))
            await asyncio.sleep(0.01)
            await peer.send(sized(b"poison"))
            await peer.until_gone()

        async with Upstream(script) as upstream, pool_to(upstream) as pool:
            await exchange(pool)
            assert len(pool.idle) == 1
            await asyncio.sleep(0.03)
            assert pool.open_connections == upstream.open_connections == 0

    run(main)


def test_bounds_rest_and_age_and_number_of_kept_connections() -> None:
    async def main() -> None:
        async with Upstream(answering(sized(b"ok"))) as upstream:
            async with pool_to(upstream, idle_timeout=0.05, max_idle=2) as pool:
                await asyncio.gather(*(exchange(pool) for _ in range(5)))
                assert len(pool.idle) == 2
                await asyncio.sleep(0.12)
                assert pool.open_connections == 0
            async with pool_to(upstream, max_age=0.03) as pool:
                await exchange(pool)
                await asyncio.sleep(0.04)
                await exchange(pool)
                assert len(pool.idle) == 0

    run(main)


def test_bounds_the_connections_and_serves_those_who_wait_in_turn() -> None:
    async def main() -> None:
        most = 0

        async def script(peer: Peer) -> None:
            nonlocal most
            while True:
                await peer.read()
                most = max(most, peer.upstream.open_connections)
                await asyncio.sleep(0.005)
                await peer.send(sized(b"ok"))

        async with Upstream(script) as upstream, pool_to(upstream, max_connections=3) as pool:
            streams = [UpstreamRequest("POST", "/v1/x", FIELDS, stream=parts_of(b"x"), length=1) for _ in range(4)]
            answers = await asyncio.gather(*(exchange(pool) for _ in range(20)), *(exchange(pool, s) for s in streams))
            assert answers == [(200, b"ok")] * 24
            assert most <= 4  # one that is being closed may overlap with its successor

    run(main)


def test_says_when_all_connections_are_in_use() -> None:
    async def main() -> None:
        async with Upstream(silent) as upstream, pool_to(upstream, max_connections=1, connect_timeout=0.05) as pool:
            first = asyncio.create_task(pool.send(POST))
            await asyncio.sleep(0.02)
            with pytest.raises(UpstreamTimeout, match="all 1 connections") as caught:
                await pool.send(POST)
            assert caught.value.unsent
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)

    run(main)


# ---- times ------------------------------------------------------------------------------------------------------


def test_limits_each_phase() -> None:
    async def main() -> None:
        async def stalling(peer: Peer) -> None:
            await peer.read()
            await peer.send(chunked(b"hello", end=b""))
            await peer.until_gone()

        async def deaf(peer: Peer) -> None:
            await asyncio.sleep(1)

        loop = asyncio.get_running_loop()
        large = UpstreamRequest("POST", "/v1/x", FIELDS, b"x" * 20_000_000)
        for script, request, limits, reason in [
            (silent, POST, {"first_byte_timeout": 0.05}, "no answer began"),
            (stalling, POST, {"timeout": 0.05}, "nothing came"),
            (deaf, large, {"timeout": 0.05}, "does not take"),
        ]:
            async with Upstream(script) as upstream, pool_to(upstream, **limits) as pool:
                began = loop.time()
                with pytest.raises(UpstreamTimeout, match=reason) as caught:
                    await exchange(pool, request)
                assert caught.value.status == 504
                assert 0.04 < loop.time() - began < 0.5

    run(main)


def test_the_deadline_bounds_all_phases_together() -> None:
    async def main() -> None:
        async def dripping(peer: Peer) -> None:
            await peer.read()
            await peer.send(chunked(end=b""))
            while True:
                await asyncio.sleep(0.01)
                await peer.send(b"1\r\nx\r\n")

        loop = asyncio.get_running_loop()
        for script in (silent, dripping):
            async with Upstream(script) as upstream, pool_to(upstream) as pool:
                began = loop.time()
                with pytest.raises(UpstreamTimeout, match="all attempts"):
                    await exchange(pool, deadline=began + 0.1)
                assert 0.09 < loop.time() - began < 0.15

    run(main)


def test_a_long_stream_is_not_cut_while_bytes_come() -> None:
    async def main() -> None:
        async def dripping(peer: Peer) -> None:
            await peer.read()
            await peer.send(chunked(end=b""))
            for _ in range(20):
                await asyncio.sleep(0.01)
                await peer.send(b"1\r\nx\r\n")
            await peer.send(b"0\r\n\r\n")

        async with Upstream(dripping) as upstream, pool_to(upstream, timeout=0.1, first_byte_timeout=0.1) as pool:
            assert await exchange(pool) == (200, b"x" * 20)

    run(main)


def test_an_answer_may_be_awaited_as_long_as_the_body_is_on_its_way() -> None:
    async def main() -> None:
        async with Upstream(answering(sized(b"ok"))) as upstream:
            async with pool_to(upstream, first_byte_timeout=0.05, timeout=0.05) as pool:
                stream = parts_of(*[b"x"] * 10, pause=0.015)
                assert (await exchange(pool, UpstreamRequest("POST", "/v1/x", FIELDS, stream=stream, length=10)))[
                    0
                ] == 200

    run(main)


# ---- whoever leaves ---------------------------------------------------------------------------------------------


async def closes_within(pool: UpstreamPool, upstream: Upstream, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    left_at = loop.time()
    while upstream.open_connections or pool.open_connections:
        assert loop.time() - left_at < seconds
        await asyncio.sleep(0.001)


async def stalled_stream(peer: Peer) -> None:
    await peer.read()
    await peer.send(chunked(b"hello", end=b""))
    await peer.until_gone()


async def half_head(peer: Peer) -> None:
    await peer.read()
    await peer.send(b"HTTP/1.1 200 OK\r\nx")
    await peer.until_gone()


@pytest.mark.parametrize("script", [silent, half_head, stalled_stream], ids=["first byte", "head", "mid-stream"])
def test_a_cancelled_task_closes_its_connection_at_once(script: Callable[[Peer], Awaitable[None]]) -> None:
    async def main() -> None:
        async with Upstream(script) as upstream, pool_to(upstream) as pool:
            answer = None

            async def read() -> None:
                nonlocal answer
                answer = await pool.send(POST)
                await body_of(answer)

            task = asyncio.create_task(read())
            await asyncio.sleep(0.03)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            if answer is not None:
                await answer.aclose()
            await closes_within(pool, upstream, 0.05)

    run(main)


def test_a_task_cancelled_while_it_uploads_closes_its_connection_at_once() -> None:
    async def main() -> None:
        async def endless() -> AsyncIterator[bytes]:
            while True:
                await asyncio.sleep(0)
                yield b"x" * 65536

        async def deaf(peer: Peer) -> None:
            await peer.head()
            await asyncio.sleep(0.03)
            with contextlib.suppress(Gone):
                await peer.until_gone()

        async with Upstream(deaf) as upstream, pool_to(upstream) as pool:
            request = UpstreamRequest("POST", "/v1/x", FIELDS, stream=endless(), length=10**12)
            task = asyncio.create_task(pool.send(request))
            await asyncio.sleep(0.03)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await closes_within(pool, upstream, 0.08)

    run(main)


@pytest.mark.parametrize("phase", ["connecting", "TLS", "proxy", "room"])
def test_a_task_cancelled_before_it_has_a_connection_leaves_none(phase: str) -> None:
    async def main() -> None:
        async def mute(peer: Peer) -> None:
            await peer.until_gone()

        async with Upstream(mute) as upstream:
            url = f"https://127.0.0.1:{upstream.port}" if phase == "TLS" else upstream.url
            proxy = parse_proxy(f"127.0.0.1:{upstream.port}") if phase == "proxy" else None
            tls = ssl.create_default_context
            most = 0 if phase == "room" else 5
            async with pool_to(url, tls=tls, proxy=proxy, max_connections=most) as pool:
                task = asyncio.create_task(pool.send(POST))
                await asyncio.sleep(0 if phase == "connecting" else 0.03)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                await closes_within(pool, upstream, 0.05)
                await asyncio.sleep(0.01)
                assert pool.open_connections == upstream.open_connections == 0

    run(main)


def test_drains_an_answer_that_nobody_waits_for_when_the_limits_say_so() -> None:
    async def main() -> None:
        async def slow(peer: Peer) -> None:
            while True:
                await peer.read()
                await asyncio.sleep(0.02)
                await peer.send(chunked(b"hello", end=b""))
                await asyncio.sleep(0.02)
                await peer.send(b"0\r\n\r\n")

        async with Upstream(slow) as upstream, pool_to(upstream, drain_seconds=5.0, drain_bytes=100) as pool:
            task = asyncio.create_task(pool.send(POST))
            await asyncio.sleep(0.01)
            task.cancel()  # before the head
            while not pool.idle:
                await asyncio.sleep(0.001)
            answer = await pool.send(POST)
            await answer.__anext__()
            await answer.aclose()  # in the body
            while not pool.idle:
                await asyncio.sleep(0.001)
            assert len(pool.idle) == len(upstream.connections) == 1

    run(main)


@pytest.mark.parametrize(
    "limits", [{"drain_seconds": 0.05, "drain_bytes": 10**9}, {"drain_seconds": 5.0, "drain_bytes": 99}]
)
def test_drains_no_longer_and_no_further_than_it_may(limits: dict[str, float]) -> None:
    async def main() -> None:
        async def endless(peer: Peer) -> None:
            await peer.read()
            await peer.send(chunked(end=b""))
            while True:
                await peer.send(b"1\r\nx\r\n")
                await asyncio.sleep(0.0005)

        async with Upstream(endless) as upstream, pool_to(upstream, **limits) as pool:
            answer = await pool.send(POST)
            await answer.aclose()
            await closes_within(pool, upstream, 0.5)

    run(main)


# ---- reaching it ------------------------------------------------------------------------------------------------


def test_says_why_there_is_no_connection() -> None:
    async def main() -> None:
        for url, reason in [
            (f"http://127.0.0.1:{closed_port()}", "refused"),
            (f"http://localhost:{closed_port()}", "refused"),
            ("unix:/nowhere/at/all.sock", "no such file"),
        ]:
            async with pool_to(url) as pool:
                with pytest.raises(UpstreamUnreachable, match=reason) as caught:
                    await pool.send(POST)
                assert caught.value.status == 502 and caught.value.unsent
                assert "127.0.0.1" not in caught.value.message

    run(main)


def test_limits_the_time_to_connect() -> None:
    async def main() -> None:
        async def mute(peer: Peer) -> None:
            await peer.until_gone()

        async with Upstream(mute) as upstream:
            url = f"https://127.0.0.1:{upstream.port}"
            async with pool_to(url, tls=ssl.create_default_context, connect_timeout=0.05) as pool:
                with pytest.raises(UpstreamTimeout, match="no connection") as caught:
                    await pool.send(POST)
                assert caught.value.unsent and caught.value.status == 504

    run(main)


def test_a_connection_that_is_gone_before_it_is_used_does_not_count_for_ever() -> None:
    # The thread closes at once; the loop needs some turns from the connection to the request, and learns of both ends.
    def close_all(listening: socket.socket) -> None:
        for _ in range(10):
            listening.accept()[0].close()

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            closing = threading.Thread(target=close_all, args=(listening,))
            closing.start()
            async with pool_to(f"http://127.0.0.1:{listening.getsockname()[1]}") as pool:
                for _ in range(10):
                    with pytest.raises(UpstreamFailed):
                        await pool.send(POST)
                for _ in range(10):
                    await asyncio.sleep(0)
                assert pool.open_connections == 0
            closing.join()

    run(main)


def test_takes_the_family_that_answers() -> None:
    async def main() -> None:
        # The upstream listens on IPv4 only; localhost may have an IPv6 address, which refuses.
        async with Upstream(answering(sized(b"ok"))) as upstream, pool_to(f"http://localhost:{upstream.port}") as pool:
            assert await exchange(pool) == (200, b"ok")

    run(main)


def test_speaks_over_a_unix_socket(tmp_path: Path) -> None:
    async def main() -> None:
        path = str(tmp_path / "s")
        async with Upstream(answering(sized(b"ok")), socket_path=path), pool_to(f"unix:{path}") as pool:
            assert await exchange(pool) == (200, b"ok")

    run(main)


async def proxying(peer: Peer) -> None:
    """A proxy that knows CONNECT."""
    head = await peer.head()
    peer.upstream.received.append(head)
    if head.method != b"CONNECT" or b"dXNlcjpwdw==" not in dict(head.headers).get(b"proxy-authorization", b""):
        await peer.send(sized(b"who are you?", "407 Proxy Authentication Required"))
        return
    host, _, port = head.target.decode().rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    await peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                target.write(data)
        target.close()
        with contextlib.suppress(ConnectionError):
            await target.wait_closed()

    try:
        await asyncio.gather(copy(peer.reader, writer), copy(reader, peer.writer))
    finally:
        writer.transport.abort()


def test_a_proxy_that_wants_a_login_is_named() -> None:
    async def main() -> None:
        async with Upstream(proxying) as proxy:
            async with pool_to("https://127.0.0.1:1", proxy=parse_proxy(f"127.0.0.1:{proxy.port}")) as pool:
                with pytest.raises(UpstreamUnreachable, match="answered 407 to CONNECT"):
                    await exchange(pool)

    run(main)


@pytest.mark.parametrize("answer", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\nand more"])
def test_refuses_a_proxy_that_is_none(answer: bytes) -> None:
    async def main() -> None:
        async def script(peer: Peer) -> None:
            await peer.head()
            await peer.send(answer)

        async with Upstream(script) as proxy:
            async with pool_to("https://127.0.0.1:1", proxy=parse_proxy(f"127.0.0.1:{proxy.port}")) as pool:
                with pytest.raises(UpstreamUnreachable, match="its proxy"):
                    await exchange(pool)

    run(main)


# ---- TLS --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.mark.parametrize("through_proxy", [False, True], ids=["direct", "through a proxy"])
def test_accepts_an_authority_that_ca_file_names(authority: Authority, through_proxy: bool) -> None:
    async def main() -> None:
        async with Upstream(answering(chunked(b"ok")), tls=authority.server()) as upstream, Upstream(proxying) as proxy:
            way = parse_proxy(f"user:pw@127.0.0.1:{proxy.port}") if through_proxy else None
            async with pool_to(upstream, tls=lambda: upstream_tls(authority.ca_file, True), proxy=way) as pool:
                for _ in range(3):
                    assert await exchange(pool) == (200, b"ok")
                assert len(upstream.connections) == 1
                assert len(proxy.received) == through_proxy

    run(main)


def test_refuses_an_unknown_authority_and_says_so(authority: Authority) -> None:
    async def main() -> None:
        async with Upstream(answering(sized(b"ok")), tls=authority.server()) as upstream:
            async with pool_to(upstream, tls=lambda: upstream_tls("", True)) as pool:
                with pytest.raises(UpstreamUnreachable, match="certificate is not accepted .* ca_file"):
                    await exchange(pool)
            async with pool_to(upstream, tls=lambda: upstream_tls("", False)) as pool:
                assert await exchange(pool) == (200, b"ok")

    run(main)


def test_refuses_a_certificate_for_another_name(authority: Authority) -> None:
    async def main() -> None:
        async with Upstream(answering(sized(b"ok")), tls=authority.server()) as upstream:
            url = upstream.url.replace("127.0.0.1", "127.0.0.2")
            async with pool_to(url, tls=lambda: upstream_tls(authority.ca_file, True)) as pool:
                with pytest.raises(UpstreamUnreachable):
                    await exchange(pool)

    run(main)


def test_says_when_the_upstream_speaks_no_tls() -> None:
    async def main() -> None:
        async def plain(peer: Peer) -> None:
            await peer.bytes()
            await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        async with Upstream(plain) as upstream:
            async with pool_to(f"https://127.0.0.1:{upstream.port}", tls=ssl.create_default_context) as pool:
                with pytest.raises(UpstreamUnreachable, match="TLS failed"):
                    await exchange(pool)

    run(main)


def test_a_task_cancelled_mid_stream_closes_tls_at_once(authority: Authority) -> None:
    async def main() -> None:
        async with Upstream(stalled_stream, tls=authority.server()) as upstream:
            async with pool_to(upstream, tls=lambda: upstream_tls(authority.ca_file, True)) as pool:
                answer = await pool.send(POST)
                await answer.aclose()
                await closes_within(pool, upstream, 0.05)

    run(main)


# ---- tunnels ----------------------------------------------------------------------------------------------------

UPGRADED = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"


def test_tunnels_both_ways_after_101() -> None:
    async def main() -> None:
        async def echo(peer: Peer) -> None:
            await peer.head()
            await peer.send(UPGRADED + b"first")
            while data := await peer.bytes():
                await peer.send(data.upper())

        async with Upstream(echo) as upstream, pool_to(upstream) as pool:
            stream = parts_of(b"abc", b"def", pause=0.01)
            tunnel = await pool.open_tunnel(UpstreamRequest("GET", "/v1/realtime", FIELDS), stream)
            assert tunnel.head.status == 101
            assert b"".join([data async for data in tunnel])[:8] == b"firstABC"
            await tunnel.aclose()
            await closes_within(pool, upstream, 0.05)

    run(main)


async def without_end(part: bytes) -> AsyncIterator[bytes]:
    while True:
        yield part
        await asyncio.sleep(0)


@pytest.mark.parametrize("is_said", [False, True], ids=["goes on", "has said all"])
def test_a_tunnel_to_where_nothing_is_taken_fails(is_said: bool) -> None:
    async def main() -> None:
        async def mute(peer: Peer) -> None:
            await peer.head()
            peer.writer.transport.pause_reading()
            await peer.send(UPGRADED)
            await asyncio.sleep(100_000)

        async with Upstream(mute) as upstream, pool_to(upstream, timeout=60.0) as pool:
            stream = parts_of(bytes(30_000_000)) if is_said else without_end(bytes(100_000))
            tunnel = await pool.open_tunnel(UpstreamRequest("GET", "/v1/realtime", FIELDS), stream)
            began = asyncio.get_running_loop().time()
            with pytest.raises(UpstreamTimeout, match="it takes nothing of what is sent"):
                await asyncio.wait_for(tunnel.__anext__(), 1000.0)
            assert asyncio.get_running_loop().time() - began >= 60.0
            await tunnel.aclose()

    run(main)


def test_a_tunnel_to_where_little_is_taken_goes_on() -> None:
    async def main() -> None:
        size = 30_000_000
        arrived: list[int] = []

        async def slow(peer: Peer) -> None:
            await peer.head()
            await peer.send(UPGRADED)
            while data := await peer.bytes():
                arrived.append(len(data))
                if not len(arrived) % 100:
                    await asyncio.sleep(50)

        async with Upstream(slow) as upstream, pool_to(upstream, timeout=60.0) as pool:
            tunnel = await pool.open_tunnel(UpstreamRequest("GET", "/v1/realtime", FIELDS), parts_of(bytes(size)))
            began = asyncio.get_running_loop().time()
            assert [data async for data in tunnel] == []
            assert asyncio.get_running_loop().time() - began > 60.0
            await tunnel.aclose()
            while sum(arrived) < size:
                await asyncio.sleep(1)

    run(main)


def test_a_refused_upgrade_is_an_answer() -> None:
    async def main() -> None:
        async with Upstream(answering(sized(b"no", "403 Forbidden"))) as upstream, pool_to(upstream) as pool:
            stream = parts_of(b"never read")
            answer = await pool.open_tunnel(UpstreamRequest("GET", "/v1/realtime", FIELDS), stream)
            assert isinstance(answer, UpstreamAnswer)
            assert (answer.head.status, await body_of(answer)) == (403, b"no")
            await stream.aclose()

    run(main)


def test_errors_are_answers_for_the_client() -> None:
    assert issubclass(UpstreamFailed, Exception)
    for error, status in [
        (UpstreamUnreachable("a", "x"), 502),
        (UpstreamTimeout("a", "x"), 504),
        (UpstreamBroke("a", "x"), 502),
    ]:
        assert error.status == status
        assert error.as_dict()["error"]["code"].startswith("upstream_")
