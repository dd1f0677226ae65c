"""protocol/server/listening.py: how many connections are accepted, and what becomes of the others."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import tracemalloc

import pytest
import skipping
from certificates import Certificate
from programs import ask, running
from test_server import live, request

from protocol.server.listening import TOLD_CONNECTIONS, open_sockets


async def until(holds):
    """Let others work until something holds."""
    for _ in range(2000):
        if holds():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("never")


async def answered(reader):
    return (await reader.readuntil(b"\r\n"))[9:12]


def test_beyond_the_limit_connections_are_told_503_and_beyond_those_they_wait():
    async def test(house):
        server = house.server
        served = [await house.connect() for _ in range(3)]
        await until(lambda: len(server.connections) == 3)
        told = [await house.connect() for _ in range(TOLD_CONNECTIONS)]
        assert [await answered(reader) for reader, _ in told] == [b"503"] * TOLD_CONNECTIONS
        waiting = [await house.connect(request()) for _ in range(5)]
        await asyncio.sleep(0.02)
        assert len(server.connections) == 3 + TOLD_CONNECTIONS
        said = [line for line in house.lines if "in use" in line]
        assert len(said) == 1 and "All 3 connections are in use: new ones wait until one ends\n" in said[0]
        served[0][1].write(request())  # those that are in go on
        assert await answered(served[0][0]) == b"200"
        for _, writer in [*told, *served]:
            writer.close()
        assert {await answered(reader) for reader, _ in waiting} <= {b"200", b"503"}
        for _, writer in waiting:
            writer.close()
        await until(lambda: not server.connections)
        reader, _ = await house.connect(request())
        assert await answered(reader) == b"200"

    live(test, max_connections=3)


def test_what_is_written_in_pieces_waits_for_no_acknowledgement():
    async def test(house):
        reader, _ = await house.connect(request())
        await answered(reader)
        (connection,) = house.server.connections
        assert connection._transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    live(test)


class PoorLoop(skipping.SkippingLoop):
    """A loop that runs out of descriptors as often as a test says."""

    failures = 0
    tries = 0

    async def sock_accept(self, sock):
        self.tries += 1
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return await super().sock_accept(sock)


def test_without_descriptors_accepting_rests_and_says_so_once_a_second_at_most(monkeypatch):
    async def test(house):
        loop = asyncio.get_running_loop()
        reader, _ = await house.connect(request())
        assert await answered(reader) == b"200"
        loop.failures, loop.tries = 5, 0
        first, _ = await house.connect(request())  # accepted by the call that waits already
        assert await answered(first) == b"200"
        began = loop.time()
        second, _ = await house.connect(request())
        assert await answered(second) == b"200"
        assert loop.tries == 6 + 1 and 4 <= loop.time() - began <= 6
        said = [line for line in house.lines if "No connection can be accepted" in line]
        assert 4 <= len(said) <= 6 and "(Too many open files): new ones wait until one ends" in said[0]
        assert "Traceback" not in "".join(house.lines)

    monkeypatch.setattr(skipping, "SkippingLoop", PoorLoop)
    live(test)


def test_accepting_goes_on_at_once_when_a_connection_ends(monkeypatch):
    async def test(house):
        loop = asyncio.get_running_loop()
        _, leaving = await house.connect()
        await until(lambda: len(house.server.connections) == 1)
        loop.failures = 1
        await house.connect()
        reader, _ = await house.connect(request())
        await asyncio.sleep(0)
        began = loop.time()
        leaving.close()
        assert await answered(reader) == b"200"
        assert loop.time() - began < 0.9

    monkeypatch.setattr(skipping, "SkippingLoop", PoorLoop)
    live(test)


def test_a_stop_loses_no_connection_that_waits_to_be_accepted():
    async def test(house):
        with contextlib.ExitStack() as stack:
            waiting = [
                stack.enter_context(socket.create_connection(("127.0.0.1", house.server.port), timeout=10))
                for _ in range(100)
            ]
            for sock in waiting:
                sock.sendall(request())
            await house.server.drain()
            assert {sock.recv(65536)[9:12] for sock in waiting} == {b"200"}

    live(test)


# ---- TLS ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return Certificate(tmp_path_factory.mktemp("listening"))


def live_tls(certificate, test, **settings):
    context = certificate.client_context()

    async def with_context(house):
        await test(house, context)

    live(with_context, False, certfile=certificate.cert_file, keyfile=certificate.key_file, **settings)


def told(port, context):
    """Return the beginning of what a client hears that says nothing."""
    with socket.create_connection(("127.0.0.1", port), timeout=100) as sock:
        with context.wrap_socket(sock, server_hostname="127.0.0.1") as secured:
            return secured.recv(12)


def test_handshakes_count_as_connections(certificate, monkeypatch):
    async def test(house, context):
        silent = [await house.connect() for _ in range(2)]
        await until(lambda: len(house.server.greeting) == 2)
        reader, _ = await house.connect(request(), ssl=context)
        assert await answered(reader) == b"200"
        assert await asyncio.to_thread(told, house.server.port, context) == b"HTTP/1.1 503"
        for _, writer in silent:
            writer.close()
        await until(lambda: not house.server.greeting)
        after, _ = await house.connect(request(), ssl=context)
        assert await answered(after) == b"200"

    monkeypatch.setattr(skipping, "run", lambda main, debug: asyncio.run(main()))  # the silent ones must not time out
    live_tls(certificate, test, max_connections=3)


def test_a_handshake_that_never_ends_gives_its_place_back_in_time(certificate):
    async def test(house, context):
        loop = asyncio.get_running_loop()
        began = loop.time()
        await house.connect()
        await house.connect(b"GET / HTTP/1.1\r\n\r\n")
        await until(lambda: len(house.server.greeting) == 1)
        while house.server.greeting:
            await asyncio.sleep(0.5)
        assert 4 < loop.time() - began < 7
        assert house.server.connections == set()

    live_tls(certificate, test, head_timeout=5)


def test_closing_ends_handshakes(certificate):
    async def test(house, context):
        reader, _ = await house.connect()
        await until(lambda: house.server.greeting)
        await house.server.close()
        assert await reader.read() == b""
        await until(lambda: not house.server.greeting)

    live_tls(certificate, test)


def test_tls_takes_little_more_than_a_record_in_memory_a_connection(certificate):
    """asyncio would take 256 kB: 3,000 clients that say nothing, 770 MB."""

    async def test(house, context):
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(20):
                await house.connect()
            await until(lambda: len(house.server.greeting) == 20)
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert grown < 20 * 64 * 1024

    live_tls(certificate, test)


# ---- addresses ------------------------------------------------------------------------------------------------------


def test_all_addresses_of_a_host_get_the_same_port():
    async def main():
        sockets = await open_sockets(asyncio.get_running_loop(), "localhost", 0)
        try:
            assert len({sock.getsockname()[1] for sock in sockets}) == 1
            assert len({sock.getsockname()[0] for sock in sockets}) == len(sockets)
        finally:
            for sock in sockets:
                sock.close()

    asyncio.run(main())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", ""])
def test_an_address_in_numbers_is_asked_of_nobody(host, monkeypatch):
    async def main():
        for sock in await open_sockets(asyncio.get_running_loop(), host, 0):
            sock.close()

    # A thread, and the codec of names, would be in memory for as long as the server runs.
    monkeypatch.setattr(asyncio.SelectorEventLoop, "run_in_executor", None)
    try:
        asyncio.run(main())
    except OSError as exc:
        assert host == "::1" and exc.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


def test_an_address_that_is_taken_gives_the_others_back():
    async def main():
        with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError) as failure:
            await open_sockets(asyncio.get_running_loop(), "127.0.0.1", taken.getsockname()[1])
        assert failure.value.errno == errno.EADDRINUSE

    asyncio.run(main())


# ---- the whole program ----------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="no limit on open files here")
def test_few_descriptors_lower_the_limit_and_lose_nobody(command):
    # 100 descriptors: 64 are reserved, so 36 are served, 32 told, and the others wait in the kernel's queue.
    limited = ["/bin/sh", "-c", 'ulimit -n 100; exec "$@"', "sh", *command]
    with running(limited, "mock", "--set", "mock.first_delay=0.3") as program, contextlib.ExitStack() as stack:
        note = "36 connections at once, not max_connections = 20000: the limit on open files (ulimit -n) is low"
        assert f"  mind:     {note}\n" in program.banner
        chat = b'{"model":"m","messages":[{"role":"user","content":"x"}]}'
        sent = (
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\n"
            b"content-length: %d\r\n\r\n%b" % (len(chat), chat)
        )
        socks = []
        for _ in range(120):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", program.port), timeout=100))
            sock.sendall(sent)
            socks.append(sock)
        statuses = []
        for sock in socks:
            statuses.append(int(sock.makefile("rb").readline().split()[1]))
            sock.close()
        assert set(statuses) == {200, 503} and statuses[:36] == [200] * 36
        assert ask(program.port, "GET", "/health")[0] == 200
        status, errors = program.stop()
    assert status == 0 and "Traceback" not in errors
    assert errors.count("connections are in use") <= 10


@pytest.mark.skipif(os.name != "posix", reason="no limit on open files here")
def test_a_relay_keeps_a_descriptor_for_the_upstream_of_each_connection(command):
    limited = ["/bin/sh", "-c", 'ulimit -n 100; exec "$@"', "sh", *command]
    with running(limited, "relay", "--set", "relay.base_url=http://127.0.0.1:1") as program:
        assert "18 connections at once" in program.banner
    with running(limited, "mock", "--set", "server.max_connections=36") as program:
        assert "at once" not in program.banner
    raised = ["/bin/sh", "-c", 'ulimit -S -n 100; exec "$@"', "sh", *command]
    with running(raised, "mock", "--set", "server.max_connections=200") as program:
        assert "at once" not in program.banner  # the limit was raised, as this process may
