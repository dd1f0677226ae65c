"""Relays behind a real server and router, as the program wires them, and clients that read with h11.

async with Upstream(...) as upstream, house(upstream, api_key="sk-…") as relayed:
    answer = await relayed.ask()
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import socket
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple

import h11
from upstreams import Peer, Script, Upstream, sized

from protocol.config import Configuration, Route
from protocol.exchange import Request
from protocol.openai.answers import ERROR_SHAPES
from protocol.relay.backend import Relay
from protocol.relay.settings import RelaySettings
from protocol.server.server import Server
from protocol.server.settings import ServerSettings
from protocol.service.cors import CorsPolicy
from protocol.service.doors import ChatExample, service_doors
from protocol.service.log import Log
from protocol.service.metrics import Metrics
from protocol.service.origins import Origins
from protocol.service.router import Router

CHAT = "/v1/chat/completions"
KEY = "sk-ours-0123456789"
JSON = ("content-type", "application/json")
EVENTS = "content-type: text/event-stream"
MESSAGE = b'{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}'


class Answer(NamedTuple):
    """An answer as the client read it; `broken` says that its body did not come to its proper end."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes
    broken: bool = False

    def get(self, name: str) -> str:
        return ", ".join(value for other, value in self.fields if other == name)

    def json(self):
        return json.loads(self.body)


class Client:
    """One connection of a client that reads with h11."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)

    async def send(self, method: str, target: str, fields: Sequence[tuple[str, str]], body: bytes | None) -> None:
        if self._h11.our_state is not h11.IDLE:
            self._h11.start_next_cycle()
        framing = [] if body is None else [("content-length", str(len(body)))]
        request = h11.Request(method=method, target=target, headers=[("host", "relay.test"), *framing, *fields])
        data = self._h11.send(request)
        if body:
            data += self._h11.send(h11.Data(data=body))
        self.writer.write(data + self._h11.send(h11.EndOfMessage()))
        with contextlib.suppress(ConnectionError):
            await self.writer.drain()

    async def event(self):
        while True:
            event = self._h11.next_event()
            if event is not h11.NEED_DATA:
                return event
            self._h11.receive_data(await self.reader.read(65536))

    async def head(self) -> h11.Response:
        while True:
            event = await self.event()
            if isinstance(event, h11.Response):
                return event

    async def rest(self) -> tuple[bytes, bool]:
        body = bytearray()
        try:
            while True:
                event = await self.event()
                if isinstance(event, h11.EndOfMessage):
                    return bytes(body), False
                body += event.data
        except (h11.RemoteProtocolError, ConnectionError):
            return bytes(body), True

    async def answer(self) -> Answer:
        head = await self.head()
        body, broken = await self.rest()
        fields = [(name.decode(), value.decode("latin-1")) for name, value in head.headers]
        return Answer(head.status_code, fields, body, broken)

    def leave(self, *, by_reset: bool = False) -> None:
        if by_reset:
            sock = self.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class House:
    """A server with relays, as the program wires them."""

    def __init__(self, server: Server, relays: dict[str, Relay], lines: list[str]) -> None:
        self.server = server
        self.relays = relays
        self.lines = lines

    @property
    def relay(self) -> Relay:
        return self.relays["relay"]

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        try:
            yield Client(reader, writer)
        finally:
            writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def ask(
        self,
        method: str = "POST",
        target: str = CHAT,
        fields: Sequence[tuple[str, str]] = (JSON,),
        body: bytes | None = MESSAGE,
    ) -> Answer:
        async with self.client() as client:
            await client.send(method, target, fields, body if method in ("POST", "PUT", "PATCH") else None)
            return await client.answer()


class DoorState:
    version = "0"
    example = ChatExample()
    draining = False
    backends: dict[str, str] = {}
    routes: list[tuple[str, list[str]]] = []

    def now(self) -> float:
        return 0.0

    def metrics(self) -> str:
        return ""


def settings_of(sections: dict[str, dict[str, str]], **server: str):
    configuration = Configuration(ServerSettings, {"relay": RelaySettings})
    for key, value in {"port": "0", "log": "off", **server}.items():
        configuration.set("server", key, value, "test")
    for section, values in sections.items():
        for key, value in values.items():
            configuration.set(section, key, value, "test")
    return configuration.settings("relay", {})


@contextlib.asynccontextmanager
async def house(
    upstream: Upstream | str | dict[str, Upstream | str],
    routes: Sequence[Route] = (Route("*", ("relay",)),),
    draw: Callable[[], float] = lambda: 0.0,
    clock: Callable[[], float] = lambda: 784111777.0,
    server: dict[str, str] | None = None,
    environ: dict[str, str] | None = None,
    on_request: Callable[[Request], None] | None = None,
    **options: str,
) -> AsyncIterator[House]:
    """Run a server whose relays go to `upstream`: one, or several by the relays' names.

    `on_request` is called in the turn of the loop in which a request goes on.
    """
    upstreams = upstream if isinstance(upstream, dict) else {"relay": upstream}
    sections = {}
    for name, target in upstreams.items():
        section = "relay" if name == "relay" else f"relay {name}"
        sections[section] = {"base_url": target if isinstance(target, str) else target.url, **options}
    settings = settings_of(sections, **(server or {}))
    lines: list[str] = []
    log = Log("text", lines.append)
    relays = {
        backend.name: Relay(
            backend.name,
            backend.options,
            environ or {},
            log,
            draw=draw,
            has_fallback=len(upstreams) > 1,
            clock=clock,
            max_body=settings.server.max_body,
        )
        for backend in settings.backends
        if backend.name in upstreams
    }
    cors = CorsPolicy(Origins(("*",)))
    doors = functools.partial(service_doors, DoorState())
    router = Router(routes, relays, cors, doors, max_body=settings.server.max_body)
    running = Server(router, ERROR_SHAPES, cors, settings.server, log, Metrics(), on_request=on_request)
    await running.listen()
    try:
        yield House(running, relays, lines)
    finally:
        await running.close()
        for relay in relays.values():
            await relay.close()
            assert relay.open_connections == 0


async def until(condition: Callable[[], bool], seconds: float) -> float:
    """Wait until it is so; fail when it is not within so many seconds, else return how long it took."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not condition():
        assert loop.time() - began < seconds, f"not within {seconds} s"
        await asyncio.sleep(0.001)
    return loop.time() - began


def echo_received(status: str = "200 OK") -> Script:
    """Answer with what arrived, as JSON: what the upstream sees."""

    async def script(peer: Peer) -> None:
        while True:
            received = await peer.read()
            body = json.dumps(
                {"target": received.target, "fields": received.fields, "body": received.body.decode("latin-1")}
            )
            await peer.send(sized(body.encode(), status, "content-type: application/json"))

    return script
