"""An upstream of the tests' own that does exactly what a script says, as badly as it says it.

    async with Upstream(answering(b"HTTP/1.1 200 OK\r\n...")) as upstream:
        ... upstream.url, upstream.received, upstream.connections

A script is a coroutine function that is called for each connection with a Peer, to read requests (with h11, so that
what the relay sends is read by somebody else's reader) and to send whatever bytes it likes.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import h11


class Received(NamedTuple):
    """A request as it arrived."""

    method: str
    target: str
    fields: list[tuple[str, str]]
    body: bytes

    def get(self, name: str) -> str:
        """Return a field's value, "" where there is none."""
        return ", ".join(value for other, value in self.fields if other == name)


class Gone(Exception):
    """The relay has closed the connection."""


class Peer:
    """One connection, from the upstream's side."""

    def __init__(self, upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.upstream = upstream
        self.reader = reader
        self.writer = writer
        self.number = len(upstream.connections)
        self._h11 = h11.Connection(h11.SERVER)

    async def head(self) -> h11.Request:
        """Read a request's head; Gone when there is none."""
        return await self._event()

    async def read(self) -> Received:
        """Read a whole request; Gone when there is none."""
        if self._h11.their_state is not h11.IDLE:
            rest = self._h11.trailing_data[0]
            self._h11 = h11.Connection(h11.SERVER)
            if rest:
                self._h11.receive_data(rest)
        head = await self._event()
        body = bytearray()
        while True:
            event = await self._event()
            if isinstance(event, h11.EndOfMessage):
                break
            body += event.data
        fields = [(name.decode(), value.decode("latin-1")) for name, value in head.headers]
        received = Received(head.method.decode(), head.target.decode(), fields, bytes(body))
        self.upstream.received.append(received)
        return received

    async def _event(self) -> h11.Event:
        while True:
            event = self._h11.next_event()
            if event is h11.NEED_DATA:
                self._h11.receive_data(await self.bytes())
            elif isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
                raise Gone
            else:
                return event

    async def bytes(self) -> bytes:
        """Read some bytes, b"" at the end."""
        try:
            return await self.reader.read(65536)
        except ConnectionError as exc:
            raise Gone from exc

    async def send(self, data: bytes) -> None:
        """Send bytes and wait until they are nearly out; Gone when nobody takes them."""
        try:
            self.writer.write(data)
            await self.writer.drain()
        except ConnectionError as exc:
            raise Gone from exc

    async def send_split(self, data: bytes, size: int = 1) -> None:
        """Send bytes in pieces, each a segment of its own."""
        for at in range(0, len(data), size):
            await self.send(data[at : at + size])
            await asyncio.sleep(0)

    async def until_gone(self) -> None:
        """Wait until the relay closes."""
        while await self.bytes():
            pass

    def cut(self) -> None:
        """End the connection in this very turn of the loop: what arrives from now on is read by nobody."""
        self.writer.get_extra_info("socket").shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        """Close so that the other side sees a reset and not an end."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[Peer], Awaitable[None]]


class Upstream:
    """A server on a free port of 127.0.0.1, or on a unix socket, that runs `script` for each connection."""

    def __init__(self, script: Script, *, tls: ssl.SSLContext | None = None, socket_path: str = "") -> None:
        self.script = script
        self.received: list[Received] = []
        #: One future a connection, done with the loop's time when it has ended.
        self.connections: list[asyncio.Future[float]] = []
        self.port = 0
        self._tls = tls
        self._socket_path = socket_path
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def open_connections(self) -> int:
        return sum(not connection.done() for connection in self.connections)

    async def __aenter__(self) -> Upstream:
        if self._socket_path:
            self._server = await asyncio.start_unix_server(self._serve, self._socket_path)
        else:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls, backlog=1024)
            self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: asyncio's logs a traceback for one that is cancelled.
        task = asyncio.get_running_loop().create_task(self._run(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        peer = Peer(self, reader, writer)
        self.connections.append(ended)
        try:
            with contextlib.suppress(Gone, h11.RemoteProtocolError, ConnectionError):
                await self.script(peer)
        finally:
            ended.set_result(loop.time())
            writer.close()
            with contextlib.suppress(Exception):
                await writer.wait_closed()


def answering(*answers: bytes, split: int = 0) -> Script:
    """Answer each request of a connection with the next of `answers`, the last one again and again."""

    async def script(peer: Peer) -> None:
        count = 0
        while True:
            await peer.read()
            answer = answers[min(count, len(answers) - 1)]
            count += 1
            await (peer.send_split(answer, split) if split else peer.send(answer))

    return script


def breaking_off(answer: bytes) -> Script:
    """Answer each connection's first request and close."""

    async def script(peer: Peer) -> None:
        await peer.read()
        await peer.send(answer)

    return script


def resetting(answer: bytes) -> Script:
    """Answer each connection's first request, let it arrive, and reset."""

    async def script(peer: Peer) -> None:
        await peer.read()
        await peer.send(answer)
        await asyncio.sleep(0.02)
        peer.reset()

    return script


async def silent(peer: Peer) -> None:
    """Read a request and never answer."""
    await peer.read()
    await peer.until_gone()


def sized(body: bytes, status: str = "200 OK", *fields: str) -> bytes:
    """Return an answer with its length."""
    lines = [f"HTTP/1.1 {status}", *fields, f"content-length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def chunked(*chunks: bytes, status: str = "200 OK", fields: tuple[str, ...] = (), end: bytes = b"0\r\n\r\n") -> bytes:
    """Return a chunked answer; `end` may be left out or hold trailers."""
    head = "\r\n".join([f"HTTP/1.1 {status}", *fields, "transfer-encoding: chunked", "", ""]).encode()
    return head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + end


def closed_port() -> int:
    """Return a port of 127.0.0.1 on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]
