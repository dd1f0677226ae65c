"""HTTP/1.1 answers as the measurements need them: where one ends, what it says, whether it is right.

Nothing here is imported from the server that is measured: a fault there must not hide itself here.
"""

from __future__ import annotations

import json
import re
import socket
from typing import NamedTuple

from traffic import KEY

_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n", re.IGNORECASE)


class WrongAnswer(Exception):
    """A server answered something else than the work that is to be timed."""


class Answer(NamedTuple):
    """One complete answer: status, body without its chunk framing, and the bytes as they came."""

    status: int
    body: bytes
    raw: bytes


def chat_body(stream: bool) -> bytes:
    """Return the JSON of the request that is sent once, to see that a server answers rightly."""
    messages = [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": "Hello!"}]
    return json.dumps({"model": "gpt-3.5-turbo", "messages": messages, "stream": stream}).encode()


def chat_request(port: int, path: str, body: bytes) -> bytes:
    """Return the bytes of a POST as a client library sends them; the connection stays open afterwards."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {KEY % 1}\r\nAccept: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def answer_end(data: bytes) -> int:
    """Return the index after the first complete answer in `data`, or -1 while it is incomplete (RFC 9112 §6.3)."""
    head_end = data.find(b"\r\n\r\n")
    if head_end < 0:
        return -1
    length = _CONTENT_LENGTH.search(data, 0, head_end + 2)
    if length:
        end = head_end + 4 + int(length[1])
        return end if len(data) >= end else -1
    if _CHUNKED.search(data, 0, head_end + 2):
        return _last_chunk_end(data, head_end + 4)
    raise WrongAnswer(f"expected content-length or chunked in an answer, got {data[: head_end + 2]!r}")


def _last_chunk_end(data: bytes, at: int) -> int:
    while True:
        line_end = data.find(b"\r\n", at)
        if line_end < 0:
            return -1
        size = int(data[at:line_end], 16)
        at = line_end + 2 + size + 2
        if len(data) < at:
            return -1
        if size == 0:
            return at


def _unchunked(data: bytes) -> bytes:
    parts: list[bytes] = []
    at = 0
    while True:
        line_end = data.index(b"\r\n", at)
        size = int(data[at:line_end], 16)
        if size == 0:
            return b"".join(parts)
        parts.append(data[line_end + 2 : line_end + 2 + size])
        at = line_end + 2 + size + 2


def ask(connection: socket.socket, request: bytes) -> Answer:
    """Send one request and return its complete answer; the socket's own time limit applies to each read."""
    connection.sendall(request)
    raw = b""
    while answer_end(raw) < 0:
        piece = connection.recv(65536)
        if not piece:
            raise WrongAnswer(f"the server closed the connection within its answer: {raw[:100]!r}")
        raw += piece
    head, _, body = raw.partition(b"\r\n\r\n")
    chunked = _CHUNKED.search(head + b"\r\n")
    return Answer(int(head.split(b" ", 2)[1]), _unchunked(body) if chunked else body, raw)


def ask_once(port: int, request: bytes) -> Answer:
    """Open a connection, ask, close."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        return ask(connection, request)


def check_answer(answer: Answer, text: str, stream: bool) -> None:
    """Raise WrongAnswer unless this is the chat completion (or its whole event stream) that says `text`."""
    if answer.status != 200:
        raise WrongAnswer(f"expected status 200, got {answer.raw[:200]!r}")
    try:
        said = _streamed_text(answer.body) if stream else _plain_text(answer.body)
    except (ValueError, LookupError, TypeError) as malformed:
        raise WrongAnswer(f"{malformed!r} in the answer {answer.body[:300]!r}") from malformed
    if said != text:
        raise WrongAnswer(f"expected the text {text!r}, got {said!r}")


def _plain_text(body: bytes) -> str:
    completion = json.loads(body)
    missing = {"id", "object", "created", "model", "choices", "usage"} - set(completion)
    if missing:
        raise WrongAnswer(f"the completion lacks {sorted(missing)}: {body[:200]!r}")
    return str(completion["choices"][0]["message"]["content"])


def _streamed_text(body: bytes) -> str:
    events = body.decode().split("\n\n")
    if events[-2:] != ["data: [DONE]", ""]:
        raise WrongAnswer(f"expected [DONE] and an empty line at the end of the stream, got {body[-100:]!r}")
    choices = [json.loads(event[len("data: ") :])["choices"][0] for event in events[:-2]]
    if choices[0]["delta"].get("role") != "assistant" or choices[-1].get("finish_reason") != "stop":
        raise WrongAnswer(f"expected a role chunk first and a finish reason last, got {body[:200]!r}")
    pieces = [choice["delta"].get("content") or "" for choice in choices]
    words = [piece for piece in pieces if piece]
    if len(words) != len("".join(words).split()):
        raise WrongAnswer(f"expected one chunk a word, got {words!r}")
    return "".join(pieces)
