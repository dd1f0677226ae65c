"""A DashScope of the tests' own, a translator in front of it, and a client; no test is in here.

    async with Native({CHAT: answer(MESSAGE_ANSWER)}) as native, translator(native) as house:
        answered = await house.post("/v1/chat/completions", {...})

What a path (below /api/v1) answers is bytes, a list of bytes for one request after the other (the last one again and
again), or a coroutine function that is called with the Peer and the request and sends what it likes.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, Union

import h11
from upstreams import Peer, Received, Upstream, chunked, sized

from protocol.config import Configuration, Route
from protocol.dashscope.backend import DashScope
from protocol.dashscope.settings import DashScopeSettings
from protocol.exchange import Request
from protocol.openai.answers import ERROR_SHAPES
from protocol.server.server import Server
from protocol.server.settings import ServerSettings
from protocol.service.cors import CorsPolicy
from protocol.service.doors import ChatExample, service_doors
from protocol.service.log import Log
from protocol.service.metrics import Metrics
from protocol.service.origins import Origins
from protocol.service.router import Router
from protocol.upstream.failures import UpstreamFailed

TEXT = "/services/aigc/text-generation/generation"
MULTIMODAL = "/services/aigc/multimodal-generation/generation"
EMBEDDINGS = "/services/embeddings/text-embedding/text-embedding"
RERANK = "/services/rerank/text-rerank/text-rerank"
IMAGES = "/services/aigc/text2image/image-synthesis"
COSY = "/services/audio/tts/SpeechSynthesizer"

KEY = "sk-caller-0123456789"
CREATED = 1700000000

Answering = Union[bytes, Sequence[bytes], Callable[[Peer, Received], Awaitable[None]]]


def answer(body: Any, status: str = "200 OK", *fields: str) -> bytes:
    """Return a sized JSON answer."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return sized(data, status, "content-type: application/json", *fields)


def refusal(code: str, message: str = "", status: str = "400 Bad Request", *fields: str) -> bytes:
    """Return an error as DashScope sends it."""
    return answer({"code": code, "message": message, "request_id": "r-refused"}, status, *fields)


URL_ERROR = refusal("InvalidParameter", "url error, please check url！")


def events(data: bytes, *fields: str, end: bytes = b"0\r\n\r\n") -> bytes:
    """Return an event stream."""
    return chunked(data, fields=("content-type: text/event-stream;charset=UTF-8", *fields), end=end)


def by_byte(data: bytes) -> Callable[[Peer, Received], Awaitable[None]]:
    """Send an answer byte by byte."""

    async def send(peer: Peer, received: Received) -> None:
        await peer.send_split(data)

    return send


def begun(data: bytes) -> Callable[[Peer, Received], Awaitable[None]]:
    """Send the beginning of an answer, and then nothing more."""

    async def send(peer: Peer, received: Received) -> None:
        await peer.send(data)
        await peer.until_gone()

    return send


class Native(Upstream):
    """Answers by path; `calls` are the JSON bodies that came, `paths` where to."""

    def __init__(self, answers: Mapping[str, Answering], *, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(self._serve_peer, tls=tls)
        self._answers = dict(answers)
        self._counts: dict[str, int] = {}

    def answer(self, path: str, answering: Answering) -> None:
        """Say what a path answers, where that takes the port."""
        self._answers[path] = answering

    @property
    def calls(self) -> list[Any]:
        return [json.loads(received.body) for received in self.received if received.body]

    @property
    def paths(self) -> list[str]:
        return [received.target[len("/api/v1") :] for received in self.received]

    async def _serve_peer(self, peer: Peer) -> None:
        while True:
            received = await peer.read()
            path = received.target[len("/api/v1") :]
            answering = self._answers.get(path, refusal("NotFound", "no such path", "404 Not Found"))
            if callable(answering):
                await answering(peer, received)
                continue
            if not isinstance(answering, bytes):
                count = self._counts[path] = self._counts.get(path, -1) + 1
                answering = answering[min(count, len(answering) - 1)]
            await peer.send(answering)


class Answer(NamedTuple):
    """An answer as the client read it; `broken` says that its body did not come to its proper end."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes
    broken: bool = False

    def get(self, name: str) -> str:
        return ", ".join(value for other, value in self.fields if other == name)

    def json(self) -> Any:
        return json.loads(self.body)

    def events(self) -> list[Any]:
        """Return the data of the events, the last word [DONE] as it is."""
        lines = [line[len("data: ") :] for line in self.body.decode().split("\n") if line.startswith("data: ")]
        return [line if line == "[DONE]" else json.loads(line) for line in lines]


class Client:
    """One connection of a client that reads with h11."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)

    async def send(self, method: str, target: str, fields: Mapping[str, str], body: bytes) -> None:
        headers = [
            ("host", "translator.test"),
            *fields.items(),
            *([("content-length", str(len(body)))] if body else []),
        ]
        data = self._h11.send(h11.Request(method=method, target=target, headers=headers))
        data += self._h11.send(h11.Data(data=body)) if body else b""
        self.writer.write(data + self._h11.send(h11.EndOfMessage()))
        with contextlib.suppress(ConnectionError):
            await self.writer.drain()

    async def event(self) -> Any:
        while True:
            event = self._h11.next_event()
            if event is not h11.NEED_DATA:
                return event
            self._h11.receive_data(await self.reader.read(65536))

    async def answer(self) -> Answer:
        head = await self.event()
        fields = [(name.decode(), value.decode("latin-1")) for name, value in head.headers]
        body = bytearray()
        try:
            while True:
                event = await self.event()
                if isinstance(event, h11.EndOfMessage):
                    return Answer(head.status_code, fields, bytes(body))
                body += event.data
        except (h11.RemoteProtocolError, ConnectionError):
            return Answer(head.status_code, fields, bytes(body), True)

    def leave(self) -> None:
        self.writer.transport.abort()


class House:
    """A server with a translator, as the program wires them; `lines` are its log, `slept` the pauses it made."""

    def __init__(self, server: Server, backend: DashScope, lines: list[str], slept: list[float]) -> None:
        self.server = server
        self.backend = backend
        self.lines = lines
        self.slept = slept

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        try:
            yield Client(reader, writer)
        finally:
            writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def ask(self, method: str, target: str, fields: Mapping[str, str], body: bytes = b"") -> Answer:
        async with self.client() as client:
            await client.send(method, target, fields, body)
            return await client.answer()

    async def post(self, target: str, body: Any, **fields: str) -> Answer:
        """Send a request with the caller's key; a body that is bytes goes as it is."""
        sent = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
        sent.update({name.replace("_", "-"): value for name, value in fields.items()})
        return await self.ask("POST", target, sent, body if isinstance(body, bytes) else json.dumps(body).encode())

    async def chat(self, model: str = "farui-plus", **parameters: Any) -> Answer:
        """Ask for a chat completion."""
        body = {"model": model, "messages": [{"role": "user", "content": "What is a lease?"}], **parameters}
        return await self.post("/v1/chat/completions", body)

    async def begin(self, client: Client, target: str, body: Any) -> None:
        """Send a request and leave its answer to the test."""
        fields = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
        await client.send("POST", target, fields, json.dumps(body).encode())


class CountingBits:
    """Counts up where the program takes random bits."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, bits: int) -> int:
        self._count += 1
        return self._count


class _State:
    """What the service's doors ask for."""

    version = "0"
    example = ChatExample()
    draining = False
    backends: Mapping[str, str] = {}
    routes: Sequence[tuple[str, Sequence[str]]] = ()

    def now(self) -> float:
        return float(CREATED)

    def metrics(self) -> str:
        return ""


async def public_addresses(host: str) -> list[str]:
    return ["93.184.216.34"]


@contextlib.asynccontextmanager
async def translator(
    native: Upstream | str,
    *,
    sleep: Callable[[float], Awaitable[Any]] | None = None,
    resolve: Callable[[str], Awaitable[Sequence[str]]] = public_addresses,
    spare: Upstream | None = None,
    on_request: Callable[[Request], None] | None = None,
    **options: str,
) -> AsyncIterator[House]:
    """Run a server that translates to `native`, and where that fails to `spare`.

    Pauses are noted and not made, unless `sleep` makes them. `on_request` is called when a request is to be answered.
    """
    lines: list[str] = []
    slept: list[float] = []

    async def note_sleep(seconds: float) -> None:
        slept.append(seconds)
        await (sleep or asyncio.sleep)(0 if sleep is None else seconds)

    upstreams = {"dashscope": native, **({"spare": spare} if spare is not None else {})}
    configuration = Configuration(ServerSettings, {"dashscope": DashScopeSettings})
    configuration.set("server", "port", "0", "test")
    for name, upstream in upstreams.items():
        section = name if name == "dashscope" else f"dashscope {name}"
        base_url = upstream if isinstance(upstream, str) else upstream.url
        own_key = {"api_key": "sk-spare-0123456789"} if name == "spare" else {}
        for key, value in {"base_url": base_url, **own_key, **options}.items():
            configuration.set(section, key, value, "test")
    settings = configuration.settings("dashscope", {})
    backends = {
        backend.name: DashScope(
            backend.name, backend.options, {}, Log("text", lines.append), has_fallback=spare is not None,
            clock=lambda: float(CREATED), random_bits=CountingBits(), sleep=note_sleep, resolve=resolve,
        )
        for backend in settings.backends
    }  # fmt: skip
    doors = functools.partial(service_doors, _State())
    cors = CorsPolicy(Origins(("*",)))
    router = Router([Route("*", tuple(backends))], backends, cors, doors)
    server = Server(
        router, ERROR_SHAPES, cors, settings.server, Log("text", lines.append), Metrics(), on_request=on_request
    )
    await server.listen()
    if has_connection_at_rest:
        await rest_connection(backends["dashscope"])
    try:
        yield House(server, backends["dashscope"], lines, slept)
    finally:
        await server.close()
        for backend in backends.values():
            await backend.close()
            assert backend.open_connections == 0


#: Whether translators begin with a connection at rest, on which calls go out without a task (direct_call.py).
has_connection_at_rest = False


async def rest_connection(backend: DashScope) -> None:
    """Open a connection that the next call finds at rest, if the upstream takes any."""
    pool = backend._pool
    loop = asyncio.get_running_loop()
    with contextlib.suppress(UpstreamFailed):
        connection = await pool._open(loop.time() + 5, False, None)
        connection.is_at_rest = True
        connection.rests_since = loop.time()
        pool.idle.append(connection)


async def until(condition: Callable[[], bool], seconds: float = 1.0) -> float:
    """Wait until it is so; fail when it is not within so many seconds, else return how long it took."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not condition():
        assert loop.time() - began < seconds, f"not within {seconds} s"
        await asyncio.sleep(0.001)
    return loop.time() - began


def form(fields: Mapping[str, str], *files: tuple[str, str, str, bytes]) -> tuple[bytes, str]:
    """Return a form's body and its Content-Type; files are (name, file name, type, data)."""
    parts = [
        f'--xyz\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    parts += [
        f'--xyz\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n'
        f"Content-Type: {kind}\r\n\r\n".encode()
        + data
        + b"\r\n"
        for name, filename, kind, data in files
    ]
    return b"".join(parts) + b"--xyz--\r\n", "multipart/form-data; boundary=xyz"
