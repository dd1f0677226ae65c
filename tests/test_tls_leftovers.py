"""What a TLS client leaves behind that goes before its handshake is over, fails in it, or leaves after it: nothing.

The collector is off: what only it would take away is there for as long as it does not come. (asyncio's transport of the
socket itself refers to itself until CPython 3.12, about a kilobyte each.)
"""

from __future__ import annotations

import asyncio
import asyncio.sslproto
import gc
import socket
import ssl
import struct

import pytest
from certificates import Certificate
from test_leftovers import serving

from protocol.deadline import Deadline
from protocol.server.connection import Connection
from protocol.wire.http1.readers import RequestReader

CLIENTS = 30
KEPT = (Connection, RequestReader, Deadline, asyncio.sslproto.SSLProtocol, ssl.SSLObject, ssl.SSLError)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return Certificate(tmp_path_factory.mktemp("leftovers"))


def hello():
    """Return how a client begins a handshake."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


SAID = {"nothing": b"", "no TLS": b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", "a piece": hello()[:20], "hello": hello()}


@pytest.mark.parametrize("leaves", ["closes", "resets", "is timed out"])
@pytest.mark.parametrize("said", SAID)
def test_a_handshake_that_comes_to_nothing_leaves_nothing(certificate, said, leaves):
    assert asyncio.run(left_by(certificate, raw_clients, SAID[said], leaves)) == []


def test_a_connection_that_was_served_leaves_nothing(certificate):
    assert asyncio.run(left_by(certificate, served_clients, certificate.client_context())) == []


async def left_by(certificate, come_and_go, *how):
    settings = {"server.certfile": certificate.cert_file, "server.keyfile": certificate.key_file}
    if "is timed out" in how:
        settings["server.head_timeout"] = "0.2"
    gc.collect()
    # What other tests have left is none of ours: an exception among their parameters keeps frames. It is held here, or
    # its id would be another's.
    others = {id(one): one for one in gc.get_objects() if isinstance(one, KEPT)}
    gc.disable()
    try:
        async with serving("mock", **settings) as clients:
            await come_and_go(clients.port, *how)
            for _ in range(200):
                left = [
                    type(one).__name__ for one in gc.get_objects() if isinstance(one, KEPT) and id(one) not in others
                ]
                if not left:
                    break
                await asyncio.sleep(0.02)  # until the server has noticed
            return left
    finally:
        gc.enable()


async def raw_clients(port, said, leaves):
    sockets = []
    for _ in range(CLIENTS):
        client = socket.create_connection(("127.0.0.1", port))
        sockets.append(client)
        client.sendall(said)
        if leaves == "resets":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await asyncio.sleep(0.05)
    if leaves == "is timed out":
        for client in sockets:
            while await asyncio.to_thread(_received, client):
                pass
    for client in sockets:
        client.close()


def _received(client):
    try:
        return client.recv(65536)
    except ConnectionError:
        return b""


async def served_clients(port, context):
    def ask():
        with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
            with context.wrap_socket(client, server_hostname="localhost") as secured:
                secured.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
                return secured.recv(12)

    for _ in range(5):
        assert await asyncio.to_thread(ask) == b"HTTP/1.1 200"
