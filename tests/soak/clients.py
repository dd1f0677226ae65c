"""Clients that check each answer against what they asked, and some that leave before it."""

from __future__ import annotations

import asyncio
import json
import random
import re
import socket
import struct
from collections import Counter

from failing import FAILURES

_LONGEST_SECONDS = 60.0
_CHAT = "/v1/chat/completions"


class WrongAnswer(Exception):
    """An answer that was not to this request, or none at all."""


class Crowd:
    """So many clients, each asking again and again until it is told to stop; `seen` counts what came of it."""

    def __init__(self, port: int, count: int, seed: int) -> None:
        self._port = port
        self._count = count
        self._seed = seed
        self._number = 0
        self.stopping = False
        self.seen: Counter[str] = Counter()
        #: What must never be, in words.
        self.wrong: list[str] = []

    async def run(self) -> None:
        """Let all clients ask until `stopping`."""
        await asyncio.gather(*(self._client(random.Random(f"{self._seed}:{n}")) for n in range(self._count)))

    async def _client(self, draw: random.Random) -> None:
        while not self.stopping:
            self._number += 1
            word = f"w{self._number}x{draw.getrandbits(32):08x}"
            what = draw.choice((self._relayed, self._relayed, self._relayed, self._mocked, self._left, self._stored))
            try:
                await asyncio.wait_for(what(word, draw), _LONGEST_SECONDS)
            except WrongAnswer as exc:
                self.wrong.append(str(exc))
            except asyncio.TimeoutError:
                self.wrong.append(f"{what.__name__} {word}: no answer within {_LONGEST_SECONDS:g} s")
            except (ConnectionError, asyncio.IncompleteReadError, ValueError) as exc:
                self.wrong.append(f"{what.__name__} {word}: {exc!r}")

    # ---- what they ask ------------------------------------------------------------------------------------------

    async def _relayed(self, word: str, draw: random.Random) -> None:
        """Ask the failing upstream; the answer has our word, or says that there is none."""
        how = draw.choice(FAILURES) if draw.random() < 0.4 else ""
        stream = draw.random() < 0.5
        model = draw.choice(("gpt-4o", "alone"))
        status, body, whole = await self._ask(_relayed_request(word, how, stream, model, draw))
        self.seen[f"relayed {status}" if whole else "relayed, broken off"] += 1
        words = set(re.findall(rb"w\d+x[0-9a-f]{8}", body))
        if words - {word.encode()}:
            raise WrongAnswer(f"asked for {word} and got {words}")
        if status == 200 and whole and not how and word.encode() not in body:
            raise WrongAnswer(f"asked for {word} and got {body[:200]!r}")
        if status == 200 and whole and stream and not body.endswith(b"[DONE]\n\n") and b'"error"' not in body:
            raise WrongAnswer(f"{word}: the stream ended without a word about it: {body[-200:]!r}")
        if status >= 400 and b'"error"' not in body:
            raise WrongAnswer(f"{word}: {status} without an error: {body[:200]!r}")

    async def _mocked(self, word: str, draw: random.Random) -> None:
        """Ask the mock for a tool call with our word in it."""
        tool = {
            "name": "echo",
            "parameters": {"type": "object", "properties": {"word": {"enum": [word]}}, "required": ["word"]},
        }
        body = {"model": "mock-1", "messages": [{"role": "user", "content": "Call echo."}], "tool_choice": "required"}
        status, answer, whole = await self._ask(
            _post(_CHAT, {**body, "tools": [{"type": "function", "function": tool}]})
        )
        self.seen[f"mocked {status}"] += 1
        if status != 200 or not whole or word.encode() not in answer:
            raise WrongAnswer(f"asked the mock for {word} and got {status} {answer[:300]!r}")

    async def _stored(self, word: str, draw: random.Random) -> None:
        """Upload a file, read it and delete it."""
        content = word.encode() * draw.randint(1, 20_000)
        form = b'--edge\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
        form += (
            b'--edge\r\ncontent-disposition: form-data; name="file"; filename="f"\r\n\r\n'
            + content
            + b"\r\n--edge--\r\n"
        )
        status, body, _ = await self._ask(_post("/v1/files", form, "multipart/form-data; boundary=edge"))
        self.seen[f"stored {status}"] += 1
        if status != 200:
            raise WrongAnswer(f"a file was answered {status} {body[:200]!r}")
        path = f"/v1/files/{json.loads(body)['id']}"
        _, read, _ = await self._ask(_head("GET", f"{path}/content"))
        if read != content:
            raise WrongAnswer(f"the file {path} holds {read[:100]!r} for {content[:100]!r}")
        await self._ask(_head("DELETE", path))

    async def _left(self, word: str, draw: random.Random) -> None:
        """Ask and leave: before the request is whole, before the answer, or in the middle of it."""
        request = _relayed_request(word, draw.choice(("", "slow", "silent")), True, "gpt-4o", draw)
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(request[: draw.choice((len(request), len(request), len(request) // 2, 20))])
        if draw.random() < 0.5:
            try:
                await asyncio.wait_for(reader.read(draw.choice((1, 400))), draw.random() * 0.2)
            except asyncio.TimeoutError:
                pass
        if draw.random() < 0.5:
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        self.seen["left"] += 1

    # ---- how ----------------------------------------------------------------------------------------------------

    async def _ask(self, request: bytes) -> tuple[int, bytes, bool]:
        """Send a request on a connection of its own; return status, body, and whether the body came to its end."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 20)
        try:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status = int(head[9:12])
            length = re.search(r"\r\ncontent-length: (\d+)", head, re.IGNORECASE)
            body, whole = b"", True
            try:
                if length:
                    body = await reader.readexactly(int(length[1]))
                elif "transfer-encoding: chunked" in head.lower():
                    while True:
                        size = int(await reader.readuntil(b"\r\n"), 16)
                        body += (await reader.readexactly(size + 2))[:-2]
                        if not size:
                            break
            except asyncio.IncompleteReadError as exc:
                body, whole = body + exc.partial, False
            except ConnectionError:
                whole = False
            return status, body, whole
        finally:
            writer.transport.abort()


def _relayed_request(word: str, how: str, stream: bool, model: str, draw: random.Random) -> bytes:
    filling = "x" * draw.choice((0, 0, 0, 1_000, 200_000))
    text = f"echo:{word} fail:{how}." if how else f"echo:{word}."
    message = {"role": "user", "content": text + filling}
    return _post(_CHAT, {"stream": stream, "messages": [message], "model": model})


def _post(path: str, body: object, content_type: str = "application/json") -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return _head("POST", path, f"Content-Type: {content_type}\r\nContent-Length: {len(data)}\r\n") + data


def _head(method: str, path: str, fields: str = "") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer sk-soak\r\n{fields}\r\n".encode()
