"""Clients that leave, in every form and phase: what is done for them ends within 50 ms, and counts as 499."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
import sys

import pytest
from native import MULTIMODAL, TEXT, Native, begun, events, translator
from native import answer as native_answer
from programs import running
from relays import CHAT, MESSAGE, house, until
from skipping import run
from test_relay import SSE, stream_and_wait, stream_for_ever, warmed
from upstreams import Peer, Script, Upstream, chunked, silent, sized

from protocol.wire.websocket import encode_binary

WAYS = ["closes", "resets", "ends its side"]


def request(version: str, *, target: str = CHAT, body: bytes = MESSAGE, length: int | None = None) -> bytes:
    """Return a request; `length` is what it says of its body's length, where that is not true."""
    head = f"POST {target} HTTP/{version}\r\nhost: h\r\ncontent-type: application/json\r\n"
    head += f"authorization: Bearer sk-caller-0123456789\r\ncontent-length: {length or len(body)}\r\n\r\n"
    return head.encode() + body


def leave(writer: asyncio.StreamWriter, way: str) -> None:
    if way == "ends its side":
        writer.write_eof()
        return
    if way == "resets":
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def statuses_in(lines: list[str]) -> list[str]:
    return re.findall(r"Request completed - .*?Status: (\d+)", "".join(lines))


async def gzipped_and_wait(peer: Peer) -> None:
    await peer.read()
    await peer.send(chunked(b"\x1f\x8b", end=b"", fields=(*SSE, "content-encoding: gzip")))
    await peer.until_gone()


async def part_and_wait(peer: Peer) -> None:
    await peer.read()
    await peer.send(sized(b"x" * 1000)[:-500])
    await peer.until_gone()


async def until_close_and_wait(peer: Peer) -> None:
    await peer.read()
    await peer.send(b"HTTP/1.1 200 OK\r\n\r\nsomething")
    await peer.until_gone()


async def error_and_wait(peer: Peer) -> None:
    await peer.read()
    await peer.send(sized(b"x" * 1000, "500 X")[:-500])
    await peer.until_gone()


async def interim_and_wait(peer: Peer) -> None:
    await peer.read()
    await peer.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    await peer.until_gone()


# By phase: what the upstream does, and whether its answer's body has a known length.
PHASES: dict[str, tuple[Script, bool]] = {
    "no answer": (silent, False),
    "an interim answer": (interim_and_wait, False),
    "half an error": (error_and_wait, False),
    "events that come": (stream_for_ever, False),
    "events that stall": (stream_and_wait, False),
    "zipped events that stall": (gzipped_and_wait, False),
    "a sized body that stalls": (part_and_wait, True),
    "a body until the connection's end": (until_close_and_wait, False),
}


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("is_kept", [False, True], ids=["new connection", "kept connection"])
@pytest.mark.parametrize("phase", PHASES)
def test_a_relayed_request_ends_with_its_client(phase: str, is_kept: bool, way: str, version: str) -> None:
    script, is_sized = PHASES[phase]
    # A client that has only ended its side is still owed its answer, where it can be told from one that has gone.
    stays = way == "ends its side" and version == "1.1" and not is_sized

    async def main() -> None:
        async with Upstream(warmed(script) if is_kept else script) as upstream, house(upstream) as relayed:
            if is_kept:
                assert (await relayed.ask()).body == b"warm"
            async with relayed.client() as client:
                client.writer.write(request(version))
                await until(lambda: len(upstream.received) == 1 + is_kept, 1.0)
                await asyncio.sleep(0.1)
                leave(client.writer, way)
                if stays:
                    await asyncio.sleep(1.0)
                    assert upstream.open_connections == 1
                    client.leave()
                    return
                await until(lambda: upstream.open_connections == 0, 0.05)
                assert relayed.relay.open_connections == 0
                await until(lambda: len(statuses_in(relayed.lines)) == 1 + is_kept, 0.05)
                assert statuses_in(relayed.lines)[-1] == "499"

    run(main)


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("way", ["closes", "resets"])
def test_a_client_that_leaves_while_it_is_to_be_tried_again_is_noticed(way: str, version: str) -> None:
    async def main() -> None:
        async def busy(peer: Peer) -> None:
            while True:
                await peer.read()
                await peer.send(sized(b"", "503 X", "retry-after: 9"))

        async with Upstream(busy) as upstream, house(upstream) as relayed, relayed.client() as client:
            client.writer.write(request(version))
            await until(lambda: len(upstream.received) == 1, 1.0)
            await asyncio.sleep(0.1)
            leave(client.writer, way)
            await until(lambda: statuses_in(relayed.lines) == ["499"], 0.05)
            await asyncio.sleep(20)
            assert len(upstream.received) == 1

    run(main)


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("way", ["closes", "resets"])
def test_a_client_that_leaves_before_there_is_a_connection_is_noticed(way: str, version: str) -> None:
    async def main() -> None:
        async def mute(peer: Peer) -> None:
            await peer.until_gone()

        async with Upstream(mute) as upstream:
            async with house(f"https://127.0.0.1:{upstream.port}") as relayed, relayed.client() as client:
                client.writer.write(request(version))
                await until(lambda: upstream.open_connections == 1, 1.0)
                leave(client.writer, way)
                await until(lambda: upstream.open_connections == 0, 0.05)
                assert statuses_in(relayed.lines) == ["499"]

    run(main)


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("way", ["closes", "resets"])
@pytest.mark.parametrize("is_answered", [False, True], ids=["no answer", "answer begun"])
def test_a_client_that_leaves_within_its_upload_is_noticed(is_answered: bool, way: str, version: str) -> None:
    async def main() -> None:
        async def take(peer: Peer) -> None:
            await peer.head()
            if is_answered:
                await peer.send(chunked(b"data: 1\n\n", end=b"", fields=SSE))
            await peer.until_gone()

        async with Upstream(take) as upstream, house(upstream) as relayed, relayed.client() as client:
            client.writer.write(request(version, target="/v1/files", body=b"x" * 100_000, length=10_000_000))
            await until(lambda: upstream.open_connections == 1, 1.0)
            await asyncio.sleep(0.1)
            leave(client.writer, way)
            await until(lambda: upstream.open_connections == 0, 0.05)
            assert relayed.relay.open_connections == 0

    run(main)


def test_a_client_that_has_ended_its_side_and_goes_later_is_noticed_too() -> None:
    async def main() -> None:
        async with Upstream(silent) as upstream, house(upstream) as relayed, relayed.client() as client:
            client.writer.write(request("1.1"))
            await until(lambda: len(upstream.received) == 1, 1.0)
            client.writer.write_eof()
            client.writer.transport.pause_reading()  # and with it what was sent to find out whether it is there
            await asyncio.sleep(30)
            assert upstream.open_connections == 1
            leave(client.writer, "closes")
            await until(lambda: upstream.open_connections == 0, 1.1)

    run(main)


FRAME = {"output": {"choices": [{"message": {"content": "a", "role": "assistant"}, "finish_reason": "null"}]}}
BEGUN_EVENTS = events(b"data:" + json.dumps(FRAME).encode() + b"\n\n", end=b"")
CALLS = {
    "no answer": (b"", False),
    "half an answer": (native_answer({"output": {"text": "ok"}})[:-5], False),
    "events": (BEGUN_EVENTS, True),
}


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("way", ["closes", "resets"])
@pytest.mark.parametrize("phase", CALLS)
def test_a_translated_request_ends_with_its_client(phase: str, way: str, version: str) -> None:
    said, is_streamed = CALLS[phase]
    body = {"model": "farui-plus", "messages": [{"role": "user", "content": "hi"}], "stream": is_streamed}

    async def main() -> None:
        answers = {TEXT: begun(said), MULTIMODAL: begun(said)}
        async with Native(answers) as native, translator(native) as translated, translated.client() as client:
            client.writer.write(request(version, body=json.dumps(body).encode()))
            await until(lambda: len(native.received) == 1, 1.0)
            await asyncio.sleep(0.1)
            leave(client.writer, way)
            await until(lambda: native.open_connections == 0, 0.05)
            assert translated.backend.open_connections == 0
            assert statuses_in(translated.lines) == ["499"]

    run(main)


WEBSOCKET = (
    b"GET /v1/realtime HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


async def says_nothing_and_reads_nothing(peer: Peer) -> None:
    await peer.head()
    peer.writer.transport.pause_reading()
    await peer.send(b"HTTP/1.1 101 S\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
    await asyncio.sleep(100_000)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of an end behind bytes that are not read")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("options", [{}, {"model": "m"}], ids=["plain", "renamed"])
def test_a_client_that_leaves_a_stuck_tunnel_is_noticed(options: dict[str, str], way: str) -> None:
    async def main() -> None:
        async with Upstream(says_nothing_and_reads_nothing) as upstream, house(upstream, **options) as relayed:
            async with relayed.client() as client:
                client.writer.write(WEBSOCKET)
                await client.reader.readuntil(b"\r\n\r\n")
                (connection,) = relayed.server.connections
                is_stuck = False
                while not is_stuck:
                    client.writer.write(encode_binary(bytes(20_000), b"mask"))
                    await asyncio.sleep(0.01)
                    if not connection.intake.is_open:
                        await asyncio.sleep(1)
                        is_stuck = not connection.intake.is_open
                assert relayed.relay.open_connections == 1
                leave(client.writer, way)
                await asyncio.sleep(5)
                assert relayed.relay.open_connections == 0 and not relayed.server.connections
                assert relayed.server.held.held == 0
                assert statuses_in(relayed.lines) == ["499"]

    run(main)


@pytest.mark.parametrize("options", [{}, {"model": "m"}], ids=["plain", "renamed"])
def test_a_tunnel_ends_whose_client_has_more_to_say_than_its_upstream_takes(options: dict[str, str]) -> None:
    async def main() -> None:
        async with Upstream(says_nothing_and_reads_nothing) as upstream, house(upstream, **options) as relayed:
            async with relayed.client() as client:
                client.writer.write(WEBSOCKET)
                await client.reader.readuntil(b"\r\n\r\n")
                client.writer.write(encode_binary(bytes(30_000), b"mask") * 1000)
                await asyncio.sleep(5)
                client.writer.write_eof()  # which does not arrive: there is no room
                await asyncio.sleep(300)
                assert relayed.relay.open_connections == 0 and not relayed.server.connections
                assert relayed.server.held.held == 0
                assert statuses_in(relayed.lines) == ["504"]

    run(main)


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_a_client_that_leaves_the_waiting_mock_is_noticed(command, stream: bool, version: str) -> None:
    delays = ("--set", "mock.first_delay=0" if stream else "mock.first_delay=10000", "--set", "mock.delay=10000")
    body = json.dumps({"model": "m", "stream": stream, "messages": [{"role": "user", "content": "hi"}]}).encode()
    with running(command, "mock", *delays) as program:
        with socket.create_connection(("127.0.0.1", program.port), timeout=100) as sock:
            sock.sendall(request(version, body=body))
            program.until_logged("Request started")
            if stream:
                assert sock.recv(12) == b"HTTP/1.1 200"
        program.until_logged("Status: 499")
