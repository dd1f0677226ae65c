"""An upstream that echoes, and fails in every way that there is.

    python failing.py PORT SEED

Whatever comes, its answer holds the word behind "echo:" in the request. A request that asks for it (`fail:HOW`) is not
answered well. It listens on a fixed port, because it is killed and begins again.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
import sys

# How an answer can go wrong, by the word in the request.
FAILURES = (
    "status 500", "status 503", "status 429", "close", "reset", "close in the head", "garbage", "close in the body",
    "reset in the body", "too short", "slow", "silent",
)  # fmt: skip

_SLOW_SECONDS = 0.05
_SILENT_SECONDS = 5.0


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            body = await _body(head, reader)
            if not await _answer(body, writer):
                return
            await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def _body(head: str, reader: asyncio.StreamReader) -> bytes:
    length = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
    if length:
        return await reader.readexactly(int(length[1]))
    if "transfer-encoding: chunked" not in head.lower():
        return b""
    parts = []
    while True:
        size = int(await reader.readuntil(b"\r\n"), 16)
        parts.append((await reader.readexactly(size + 2))[:-2])
        if not size:
            return b"".join(parts)


async def _answer(body: bytes, writer: asyncio.StreamWriter) -> bool:
    """Answer; return whether the connection goes on."""
    found = re.search(rb"echo:(\w+)", body)
    word = found[1].decode() if found else "nothing"
    asked = re.search(rb"fail:([a-z0-9 ]+)", body)
    how = asked[1].decode() if asked else ""
    if b'"stream": true' in body:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        events = [f'data: {{"word": "{word}", "part": {part}}}\n\n'.encode() for part in range(5)] + [
            b"data: [DONE]\n\n"
        ]
        parts = [b"%x\r\n%b\r\n" % (len(event), event) for event in events] + [b"0\r\n\r\n"]
    else:
        text = json.dumps({"word": word, "filling": word * 200}).encode()
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(text)
        parts = [text[:100], text[100:]]
    return await _go_wrong(how, word, head, parts, writer)


async def _go_wrong(how: str, word: str, head: bytes, parts: list[bytes], writer: asyncio.StreamWriter) -> bool:
    if how.startswith("status "):
        text = json.dumps({"error": {"message": f"no {word}", "type": "t", "param": None, "code": None}}).encode()
        writer.write(f"HTTP/1.1 {how[7:]} No\r\ncontent-type: application/json\r\n".encode())
        writer.write(b"retry-after: 0\r\ncontent-length: %d\r\n\r\n" % len(text) + text)
        return True
    if how == "silent":
        await asyncio.sleep(_SILENT_SECONDS)
        return False
    if how == "garbage":
        writer.write(b"\x00\x01 this is no HTTP\r\n\r\n")
        return False
    if how == "close in the head":
        writer.write(head[:30])
        return False
    if how in ("close", "reset"):
        return _leave(how, writer)
    writer.write(head)
    for index, part in enumerate(parts):
        if how == "slow":
            await asyncio.sleep(_SLOW_SECONDS)
        if how.endswith("in the body") and index == 1:
            await writer.drain()
            return _leave(how, writer)
        if how == "too short" and index == len(parts) - 1:
            return False
        writer.write(part)
    return True


def _leave(how: str, writer: asyncio.StreamWriter) -> bool:
    if how.startswith("reset"):
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    return False


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), backlog=1024)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
