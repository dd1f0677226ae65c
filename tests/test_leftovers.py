"""What a request leaves behind: nothing that holds its body, and nothing that only the collector would take away.

Each request's body has a run of spaces of a length of its own, in which nobody is interested: between JSON's tokens,
before a form's first boundary, or at the end of a prompt. While the collector is off, requests are answered on
connections that stay open. Then no object that Python can tell of may refer to bytes or text with such a run, and no
request, exchange or form may be there. What a mock is asked to remember has no run in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import re
import socket
import struct

import pytest
from test_mock_reference import ANSWERED, REFERENCE, example_of
from test_relay import SWITCH
from upstreams import Upstream, chunked, closed_port, silent, sized

import oaiserve
from protocol.exchange import Request
from protocol.mock.engine.world import Call
from protocol.mock.realtime.wire import SocketTalk
from protocol.server.receiving import BodyStream, HeldBody
from protocol.server.sending import Exchange
from protocol.service.log import Log
from protocol.upstream.answer import UpstreamAnswer
from protocol.wire.http1.messages import CLOSED, NEED_DATA
from protocol.wire.multipart import Form, FormScanner
from protocol.wire.websocket import FrameReader, TextMessage, encode_close, encode_text

SHORTEST_RUN = 3000
PASSING = (Request, Exchange, Call, HeldBody, BodyStream, UpstreamAnswer, Form, FormScanner, SocketTalk)


class Marks:
    """Gives runs of spaces to requests, and finds what is left of them."""

    def __init__(self):
        self._names = []
        # What other tests have left is none of ours; a test that failed keeps its frames. It is held, or its id would
        # be another's.
        self._others = {id(thing): thing for thing in gc.get_objects() if isinstance(thing, PASSING)}

    def run(self, name):
        """Return a run of spaces that no other request has."""
        self._names.append(name)
        return b" " * (SHORTEST_RUN + len(self._names))

    def left(self):
        """Return what is left: for a request's name, the types of what refers to a run; and what should have passed."""
        found = {}
        for holder in gc.get_objects():
            if isinstance(holder, PASSING) and id(holder) not in self._others:
                found.setdefault(type(holder).__name__, set()).add("is there")
            if type(holder).__name__ == "managedbuffer":
                continue  # what a server's sockets are read into: one for all connections
            for held in gc.get_referents(holder):
                if type(held) in (bytes, bytearray, str) and len(held) > SHORTEST_RUN:
                    text = held if isinstance(held, str) else held.decode("latin-1")
                    for run in re.findall(f" {{{SHORTEST_RUN},}}", text):
                        number = len(run) - SHORTEST_RUN - 1
                        name = self._names[number] if number < len(self._names) else f"a run of {len(run)}"
                        found.setdefault(name, set()).add(type(holder).__name__)
        return found


class Clients:
    """Clients of one server, whose connections stay open until the end."""

    def __init__(self, port):
        self.port = port
        self._writers = []

    async def send(self, method, path, body=b"", fields=(), *, chunked=False):
        """Send a request on a connection of its own, and return that."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._writers.append(writer)
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
        framing = "transfer-encoding: chunked" if chunked else f"content-length: {len(body)}"
        head = f"{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-0123456789abcdef0123456789abcdef\r\n{lines}{framing}\r\n\r\n".encode()
        writer.write(head + (b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body))
        return reader, writer

    async def ask(self, method, path, body=b"", fields=(), **options):
        """Send a request and return its answer's status, once all of the answer is here."""
        reader, _ = await self.send(method, path, body, fields, **options)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        if length:
            await reader.readexactly(int(length[1]))
        elif b"chunked" in head:
            await reader.readuntil(b"0\r\n\r\n")
        else:
            await reader.read()
        return int(head.split()[1])

    async def leave(self, method, path, body, fields=()):
        """Send a request, wait a little, and reset the connection."""
        _, writer = await self.send(method, path, body, fields)
        await asyncio.sleep(0.05)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    def close(self):
        for writer in self._writers:
            writer.close()


@contextlib.asynccontextmanager
async def serving(backend, **changes):
    """Serve in this loop, and give clients."""
    settings = oaiserve.load_settings(backend, set={"server.journal": "no", **changes})
    service = oaiserve.Service(settings, Log("text", lambda lines: None))
    await service.listen()
    clients = Clients(service.port)
    try:
        yield clients
    finally:
        clients.close()
        await service.close()


def leaves_nothing(test):
    """Run `test(marks)` with the collector off; what it returns must be what is left at its end, before it closes."""

    async def settle():
        for _ in range(20):
            await asyncio.sleep(0.005)

    async def main():
        marks = Marks()
        async with contextlib.AsyncExitStack() as stack:
            await test(marks, stack)
            await settle()
            return marks.left()

    gc.collect()
    gc.disable()
    try:
        assert asyncio.run(main()) == {}
    finally:
        gc.enable()


def as_json(value, run, **more):
    return json.dumps({**value, **more}).encode()[:-1] + run + b"}"


JSON = [("content-type", "application/json")]
CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


def form_of(run, *parts):
    """Return a form's body and fields; a part is (name, text), or (name, filename, bytes)."""
    body = run + b"\r\n"
    for name, *rest in parts:
        filename = f'; filename="{rest[0]}"' if len(rest) > 1 else ""
        content = rest[-1] if isinstance(rest[-1], bytes) else rest[-1].encode()
        body += f'--x\r\ncontent-disposition: form-data; name="{name}"{filename}\r\n\r\n'.encode() + content + b"\r\n"
    return body + b"--x--\r\n", [("content-type", "multipart/form-data; boundary=x")]


# ---- the mock -------------------------------------------------------------------------------------------------------


def examples(marks, cut=0):
    """Give a request for every operation that has a body; `cut` bytes are missing at its end."""
    for key in ANSWERED:
        operation = REFERENCE.operation(key)
        path, body, fields = example_of(operation)
        if body is None:
            continue
        run = marks.run(f"{key}{' cut' * bool(cut)}")
        if isinstance(body, bytes):
            body = run + b"\r\n" + body
        else:
            body, fields = as_json(body, run), [*fields, *JSON]
        yield operation.method, path, body[: len(body) - cut], fields


def test_no_endpoint_of_the_mock_keeps_a_body():
    async def test(marks, stack):
        clients = await stack.enter_async_context(serving("mock", **{"mock.unknown_ids": "invent"}))
        for sent in examples(marks):
            assert await clients.ask(*sent) < 300, sent[1]

    leaves_nothing(test)


def test_no_refusal_keeps_a_body():
    async def test(marks, stack):
        clients = await stack.enter_async_context(serving("mock", **{"server.max_body": "100k"}))
        for sent in examples(marks, cut=7):
            assert 400 <= await clients.ask(*sent) < 500, sent[1]
        for name, method, path, expected in (
            ("unknown path", "POST", "/v1/nowhere", 404),
            ("wrong method", "PUT", "/v1/chat/completions", 405),
            ("unknown id", "POST", "/v1/threads/none", 404),
            ("empty", "POST", "/v1/chat/completions", 400),
        ):
            assert await clients.ask(method, path, as_json({}, marks.run(name)), JSON) == expected
        huge = as_json(CHAT, marks.run("too large") + b" \n" * 60_000)
        assert await clients.ask("POST", "/v1/chat/completions", huge, JSON) == 413
        assert await clients.ask("POST", "/v1/chat/completions", huge, JSON, chunked=True) == 413
        with_type = as_json({**CHAT, "temperature": 7}, marks.run("refused"))
        assert await clients.ask("POST", "/v1/chat/completions", with_type, JSON) == 400

    leaves_nothing(test)


PROMPTS = {
    "/v1/chat/completions": lambda text: {"model": "m", "messages": [{"role": "user", "content": text}]},
    "/": lambda text: {"messages": [{"role": "user", "content": text}]},
    "/v1/completions": lambda text: {"model": "m", "prompt": text},
    "/v1/responses": lambda text: {"model": "m", "input": text, "store": False},
    "/v1/embeddings": lambda text: {"model": "m", "input": [text, text]},
    "/v1/moderations": lambda text: {"input": text},
    "/v1/images/generations": lambda text: {"prompt": text, "model": "gpt-image-1", "size": "1024x1024"},
    "/v1/audio/speech": lambda text: {"model": "tts-1", "voice": "alloy", "input": text},
}
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}


@pytest.mark.parametrize("path", PROMPTS)
def test_no_answer_keeps_a_prompt(path):
    async def test(marks, stack):
        clients = await stack.enter_async_context(serving("mock"))
        shapes = [{}]
        if "completions" in path or path in ("/", "/v1/responses"):
            shapes.append({"stream": True})
        if path == "/v1/chat/completions":
            shapes += [{"tools": [TOOL]}, {"response_format": {"type": "json_object"}}, {"n": 3, "logprobs": True}]
        for number, shape in enumerate(shapes):
            text = f"Please look up JSON for{marks.run(f'{path} {number}').decode()}."
            assert await clients.ask("POST", path, json.dumps({**PROMPTS[path](text), **shape}).encode(), JSON) == 200

    leaves_nothing(test)


@pytest.mark.parametrize("settings", [{"mock.delay": "5"}, {"mock.pace": "slow", "pace.slow.first": "5"}])
def test_no_client_that_leaves_leaves_a_body(settings):
    async def test(marks, stack):
        clients = await stack.enter_async_context(serving("mock", **settings))
        for number, shape in enumerate(({}, {"stream": True}, {"n": 2, "stream": True}, {"logprobs": True})):
            body = as_json({**CHAT, **shape}, marks.run(f"left {number}"))
            await clients.leave("POST", "/v1/chat/completions", body, JSON)
        _, writer = await asyncio.open_connection("127.0.0.1", clients.port)
        writer.write(b"POST /v1/files HTTP/1.1\r\nhost: x\r\ncontent-length: 9999\r\n\r\n" + marks.run("half a body"))
        await asyncio.sleep(0.05)
        writer.transport.abort()

    leaves_nothing(test)


# ---- backends with an upstream --------------------------------------------------------------------------------------

BIG = b" \n" * 70_000  # such a body is not held: it streams through


def relay_requests(marks, name):
    """Give requests of all the ways that a body goes through a relay."""
    yield "POST", "/v1/chat/completions", as_json(CHAT, marks.run(f"{name} small")), JSON
    yield "POST", "/v1/chat/completions", as_json(CHAT, marks.run(f"{name} big") + BIG), JSON
    yield "POST", "/v1/files", *form_of(marks.run(f"{name} form"), ("purpose", "user_data"), ("file", "a.txt", BIG))
    transcription = (("model", "whisper-1"), ("file", "a.wav", b"RIFF" + BIG))
    yield "POST", "/v1/audio/transcriptions", *form_of(marks.run(f"{name} form with a model"), *transcription)


def forgetful(marks, name, make):
    """Return an upstream's script that keeps neither what comes nor what it answers."""

    async def script(peer):
        while True:
            await peer.read()
            peer.upstream.received.clear()
            await peer.send(make(marks.run(f"answer to {name}")))
            if name in ("until it closes", "broken off"):
                return

    return script


@pytest.mark.parametrize("renames", [False, True])
def test_no_relayed_request_keeps_a_body(renames):
    async def test(marks, stack):
        mine = {"relay.model": "other"} if renames else {}
        for name, make in {
            "sized": lambda run: sized(b"x" + run),
            "chunked": lambda run: chunked(b"x", run),
            "error": lambda run: sized(run, "400 Bad Request"),
            "failing": lambda run: sized(run, "500 Oops"),
            "until it closes": lambda run: b"HTTP/1.1 200 OK\r\n\r\n" + run,
            "broken off": lambda run: chunked(run, end=b""),
        }.items():
            upstream = await stack.enter_async_context(Upstream(forgetful(marks, name, make)))
            clients = await stack.enter_async_context(
                serving("relay", **{"relay.base_url": upstream.url, "relay.retries": "0", **mine})
            )
            for sent in relay_requests(marks, name):
                with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                    await clients.ask(*sent)
            del sent

    leaves_nothing(test)


def test_no_request_for_an_upstream_that_is_not_there_keeps_a_body():
    async def test(marks, stack):
        for backend in ("relay", "dashscope"):
            mine = {f"{backend}.base_url": f"http://127.0.0.1:{closed_port()}"}
            clients = await stack.enter_async_context(serving(backend, **mine))
            for sent in relay_requests(marks, backend):
                assert 400 <= await clients.ask(*sent) < 600

    leaves_nothing(test)


@pytest.mark.parametrize("backend", ["relay", "dashscope"])
def test_no_client_that_leaves_an_upstream_waiting_leaves_a_body(backend):
    async def test(marks, stack):
        upstream = await stack.enter_async_context(Upstream(silent))
        clients = await stack.enter_async_context(serving(backend, **{f"{backend}.base_url": upstream.url}))
        for sent in relay_requests(marks, backend):
            await clients.leave(*sent)
        upstream.received.clear()

    leaves_nothing(test)


def test_no_translated_request_keeps_a_body():
    async def test(marks, stack):
        native = await stack.enter_async_context(serving("mock"))
        clients = await stack.enter_async_context(
            serving("dashscope", **{"dashscope.base_url": f"http://127.0.0.1:{native.port}"})
        )
        chat = {**CHAT, "model": "qwen-plus"}
        for name, path, body in (
            ("chat", "/v1/chat/completions", chat),
            ("stream", "/v1/chat/completions", {**chat, "stream": True}),
            ("two choices", "/v1/chat/completions", {**chat, "n": 2, "stream": True}),
            ("refused", "/v1/chat/completions", {**chat, "messages": 7}),
            ("legacy", "/v1/completions", {"model": "qwen-plus", "prompt": "Hello"}),
            ("embeddings", "/v1/embeddings", {"model": "text-embedding-v4", "input": ["a", "b"]}),
            ("pictures", "/v1/images/generations", {"model": "qwen-image", "prompt": "a cat"}),
            ("speech", "/v1/audio/speech", {"model": "qwen3-tts-flash", "voice": "Cherry", "input": "Hello"}),
        ):
            assert await clients.ask("POST", path, as_json(body, marks.run(name)), JSON) in (200, 400), name
        recording = b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0data\0\0\0\0"
        transcription = (("model", "qwen3-asr-flash"), ("file", "a.wav", recording))
        await clients.ask("POST", "/v1/audio/transcriptions", *form_of(marks.run("recording"), *transcription))
        broken = form_of(marks.run("broken form"), *transcription)
        assert await clients.ask("POST", "/v1/audio/transcriptions", broken[0][:-9], broken[1]) == 400
        edit = (("model", "qwen-image-edit"), ("prompt", "a cat"), ("image", "a.png", b"\x89PNG\r\n\x1a\n"))
        await clients.ask("POST", "/v1/images/edits", *form_of(marks.run("edit"), *edit))

    leaves_nothing(test)


def transports():
    return [one for one in gc.get_objects() if isinstance(one, asyncio.Transport)]


def test_a_connection_leaves_no_transport_for_the_collector():
    async def test(marks, stack):
        clients = await stack.enter_async_context(serving("mock"))
        loop = asyncio.get_running_loop()
        before = {id(one): one for one in transports()}
        for number in range(5):
            with socket.create_connection(("127.0.0.1", clients.port)) as sock:
                sock.setblocking(False)
                await loop.sock_sendall(sock, b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
                assert (await loop.sock_recv(sock, 65536)).startswith(b"HTTP/1.1 200")
                if number % 2:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await asyncio.sleep(0.1)
        assert [one for one in transports() if id(one) not in before] == []

    leaves_nothing(test)


# ---- WebSockets -----------------------------------------------------------------------------------------------------

UPGRADE = [
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
]
MASK = b"\1\2\3\4"
HELLO = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Say hello"}]}


class Socket:
    """A client of one WebSocket."""

    def __init__(self, reader, writer):
        self._reader, self.writer = reader, writer
        self._frames = FrameReader("client")

    @classmethod
    async def open(cls, clients, path):
        """Open one; the server must take it."""
        reader, writer = await clients.send("GET", path, fields=UPGRADE)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        return cls(reader, writer)

    def send(self, message, run):
        self.writer.write(encode_text((json.dumps(message).encode()[:-1] + run + b"}").decode(), MASK))

    async def read_until(self, text):
        """Read messages until one has this text, or the other side closes."""
        while True:
            event = self._frames.next_event()
            if event is NEED_DATA:
                self._frames.feed(await self._reader.read(65536))
            elif event is CLOSED or not isinstance(event, TextMessage) or text in event.text:
                return


TALKS = {
    "/v1/realtime?model=gpt-realtime": [
        ({"type": "session.update", "session": {"type": "realtime", "instructions": "Be brief."}}, "session.updated"),
        ({"type": "conversation.item.create", "item": HELLO}, "conversation.item.done"),
        ({"type": "response.create", "response": {"output_modalities": ["text"]}}, "response.done"),
        ({"type": "input_audio_buffer.append", "audio": "AAAA"}, ""),
        ({"type": "no such event"}, "error"),
    ],
    "/v1/responses": [
        ({"type": "response.create", "model": "gpt-4o", "input": [HELLO]}, "response.completed"),
        ({"type": "response.create", "model": "gpt-4o", "input": "Hello", "store": False}, "response.completed"),
        ({"type": "response.create", "model": "gpt-4o", "input": 7}, "error"),
    ],
    "/v1/realtime?intent=transcription": [
        ({"type": "session.update", "session": {"type": "transcription"}}, "session.updated"),
        ({"type": "input_audio_buffer.append", "audio": "AAAA"}, ""),
        ({"type": "input_audio_buffer.clear"}, "input_audio_buffer.cleared"),
    ],
}


async def hold_talk(marks, clients, path, end):
    """Talk over a WebSocket: what was said must not be there while it is open, and nothing at all once it is over."""
    socket = await Socket.open(clients, path)
    for number, (message, answer) in enumerate(TALKS[path]):
        socket.send(message, marks.run(f"{path} {end} {number}"))
        if answer:
            await socket.read_until(answer)
    await asyncio.sleep(0.05)
    assert {name: kinds for name, kinds in marks.left().items() if kinds != {"is there"}} == {}
    if end == "closes":
        socket.writer.write(encode_close(1000, "", MASK))
        await socket.read_until("")
    elif end == "half a message":
        half = encode_text(f"[{marks.run(f'{path} half').decode()}]", MASK)
        socket.writer.write(half[:-2])
        await asyncio.sleep(0.05)
    socket.writer.transport.abort()


@pytest.mark.parametrize("end", ["closes", "leaves", "half a message"])
@pytest.mark.parametrize("path", TALKS)
def test_no_talk_over_a_websocket_keeps_what_was_said(path, end):
    async def test(marks, stack):
        clients = await stack.enter_async_context(serving("mock"))
        await hold_talk(marks, clients, path, end)

    leaves_nothing(test)


FIXTURE = {"type": "session.output_audio.fixture.play", "audio": "AAAA" * 24_000}

TALKS_UNDER_WAY = [
    ("/v1/realtime?model=gpt-realtime", "RealtimeSession", [{"type": "response.create"}, {"type": "response.create"}]),
    ("/v1/responses", "ResponsesTalk", [{"type": "response.create", "model": "gpt-4o", "input": [HELLO]}]),
    ("/v1/live/sessions", "LiveTalk", [{"type": "session.start", "session": {"model": "gpt-live"}}, FIXTURE]),
]


@pytest.mark.parametrize(("path", "talk", "said"), TALKS_UNDER_WAY, ids=[row[1] for row in TALKS_UNDER_WAY])
def test_no_talk_that_ends_in_the_middle_of_a_turn_stays(path, talk, said):
    async def test(marks, stack):
        clients = await stack.enter_async_context(serving("mock", **{"mock.delay": "60"}))
        socket = await Socket.open(clients, path)
        for number, message in enumerate(said):
            socket.send(message, marks.run(f"{path} {number}"))
        await asyncio.sleep(0.1)
        assert talk in marks.left()
        socket.writer.transport.abort()

    leaves_nothing(test)


@pytest.mark.parametrize("end", ["closes", "leaves", "half a message"])
@pytest.mark.parametrize("renames", [False, True])
def test_no_relayed_tunnel_keeps_what_went_through(renames, end):
    async def test(marks, stack):
        behind = await stack.enter_async_context(serving("mock"))
        mine = {"relay.model": "gpt-realtime-mini"} if renames else {}
        clients = await stack.enter_async_context(
            serving("relay", **{"relay.base_url": f"http://127.0.0.1:{behind.port}", **mine})
        )
        await hold_talk(marks, clients, "/v1/realtime?model=gpt-realtime", end)

    leaves_nothing(test)


def test_no_tunnel_that_the_upstream_ends_keeps_what_went_through():
    async def test(marks, stack):
        async def script(peer):
            await peer.head()
            await peer.send(SWITCH + marks.run("from the upstream"))
            await peer.bytes()
            peer.upstream.received.clear()

        upstream = await stack.enter_async_context(Upstream(script))
        clients = await stack.enter_async_context(serving("relay", **{"relay.base_url": upstream.url}))
        reader, writer = await clients.send("GET", "/v1/realtime?model=m", fields=UPGRADE)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(marks.run("to the upstream"))
        await reader.read()
        del reader

    leaves_nothing(test)
