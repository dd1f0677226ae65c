"""Keys of clients, their hashes and an upstream's key: nothing that the program shows or writes has them, whatever comes.

What a client itself puts into a body, a query or a path is its request: an upstream gets it, and may repeat it to that
client. The books, the log and all others never do.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
import random
import re
import socket
import urllib.parse

import pytest
from programs import exchange, run
from scripted_upstream import scripted
from team_programs import KEY, UPSTREAM_KEY, processes, team_program

pytestmark = pytest.mark.limit(300)  # whole programs, some at once

OWN_KEY = "correct.horse.battery.staple.0123"  # brought by its owner, and marked by no vendor
HASHES = [hashlib.sha256(key.encode()).hexdigest() for key in (KEY, OWN_KEY)]
KEYS = f"""
[team web]
budget = 5 USD/month
[key alice]
hash = sha256:{HASHES[0]}
team = web
models = gpt-*, sk-*
budget = 1 USD/month
[key bob]
hash = sha256:{HASHES[1]}
[prices]
* = 1 in, 2 out
"""
PATHS = [
    "/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/models", "/v1/models/{key}", "/v1/files/{key}",
    "/v1/{key}", "/{key}", "/v1/images/edits", "/v1/audio/speech", "/v1/batches", "/v1/realtime", "/", "/metrics",
    "/health", "/v1/%73k{rest}", "/_oaiserve/calls", "/v1/threads/{key}/runs", "/s/{key}/v1/chat/completions", "/v1//{key}",
]  # fmt: skip
CREDENTIALS = ["authorization: Bearer {key}", "api-key: {key}", "sec-websocket-protocol: openai-insecure-api-key.{key}"]
FIELDS = [
    "x-api-key: {key}",
    "cookie: key={key}",
    "x-request-id: {key}",
    "x-note: {key}",
    "origin: https://{key}.example",
]
ANSWERS = ["echo", "error", "stream", "break", "text", "retry"]


def upstream(came):
    """Repeat all that came, in the way that the request's field says."""
    what = came.fields.get("x-way", "echo")
    told = {"fields": came.fields, "path": came.path, "body": came.body.decode("latin-1"), "choices": [],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}  # fmt: skip
    text = json.dumps(told).encode()
    fields = {"content-type": "application/json", "x-request-id": came.fields.get("authorization", "")[-40:] or "none"}
    fields["x-echo"] = came.fields.get("authorization", "none")
    if what == "error":
        return 401, fields, json.dumps({"error": {"message": f"Incorrect API key provided: {told}"}}).encode()
    if what == "retry":
        return 503, {**fields, "retry-after": "0"}, text
    if what in ("stream", "break"):

        def pieces():
            half = len(text) // 2
            yield b"data: " + text[:half]
            if what == "break":
                raise ConnectionAbortedError
            yield text[half:] + b"\n\ndata: [DONE]\n\n"

        return 200, {**fields, "content-type": "text/event-stream"}, pieces()
    return 200, fields, text


class Drawn:
    """A request that is drawn: its bytes, whose key it has, and whether that stands where it may be repeated."""

    def __init__(self, rolls):
        self.key = rolls.choice([KEY, OWN_KEY])
        path = rolls.choice(PATHS)
        path = path.replace("{key}", self.key).replace("{rest}", urllib.parse.quote(KEY[2:], safe=""))
        fields = ["host: localhost", "connection: close", f"x-way: {rolls.choice(ANSWERS)}"]
        if self.key == OWN_KEY or rolls.random() < 0.9:  # one that nothing marks is known by its place alone
            fields.append(rolls.choice(CREDENTIALS))
        shown = rolls.sample(FIELDS, rolls.choice([0, 0, 1, 2]))
        query = f"?api-key={self.key}&model={self.key}" if rolls.random() < 0.2 else ""
        body, kind = self._body(rolls)
        method = rolls.choice(["POST", "POST", "POST", "GET", "DELETE", "PUT", self.key])
        if method in ("GET", "DELETE"):
            body = b""
        if rolls.random() < 0.1:
            fields += ["upgrade: websocket", "connection: upgrade"]
        fields += [*shown, f"content-type: {kind}", f"content-length: {len(body)}"]
        head = "\r\n".join([f"{method} {path}{query} HTTP/1.1", *fields]).replace("{key}", self.key)
        self.bytes = head.encode() + b"\r\n\r\n" + body
        in_other_fields = any(not field.startswith(("x-api-key", "cookie")) for field in shown)
        self.repeats = bool(query) or self.key in path or "%73k" in path or in_other_fields or self.key.encode() in body
        self.repeats = self.repeats or method == self.key

    def _body(self, rolls):
        model = rolls.choice(["gpt-4o-mini", "gpt-4o-mini", "o3", self.key])
        text = rolls.choice(["Hello", "Hello", f"My key is {self.key}"])
        chat = {"model": model, "messages": [{"role": "user", "content": text}], "input": text}
        if rolls.random() < 0.5:
            chat["stream"] = True
        if rolls.random() < 0.1:
            chat[self.key] = self.key
        form = f'--x\r\ncontent-disposition: form-data; name="model"\r\n\r\n{model}\r\n--x--\r\n'.encode()
        return rolls.choice(
            [(json.dumps(chat).encode(), "application/json")] * 4
            + [(form, "multipart/form-data; boundary=x"), (f"model={model}&key={self.key}".encode(), "text/plain"),
               (b'{"model": ' + self.key.encode(), "application/json"), (b"", "application/json")]
        )  # fmt: skip


def watch(port):
    """Watch all requests, as the page for people does."""
    client = socket.create_connection(("127.0.0.1", port), timeout=100)
    client.sendall(b"GET /_oaiserve/live HTTP/1.1\r\nhost: localhost\r\n\r\n")
    assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
    return client


def secrets_in(text, secrets):
    """Return which of these stand in a text, also percent-encoded or in JSON's escapes."""
    decoded = urllib.parse.unquote(text)
    return [secret for secret in secrets if secret in text or secret in decoded]


@pytest.mark.parametrize(("form", "seed"), [("text", 1), ("json", 2), ("line", 3)])
def test_no_key_and_no_hash_is_shown_or_written(command, tmp_path, form, seed):
    rolls = random.Random(seed)
    everywhere = [*HASHES, UPSTREAM_KEY]
    log, ledger = tmp_path / "server.log", tmp_path / "usage.db"
    with scripted(upstream) as listening:
        settings = [
            f"relay.base_url={listening.url}", "relay.api_key=${PROOF_KEY}", f"server.log={form}",
            f"server.log_file={log}", "routes.*=relay, mock", "relay.retries=0",
        ]  # fmt: skip
        arguments = [word for setting in settings for word in ("--set", setting)]
        environ = {"OPENAI_API_KEY": "", "PROOF_KEY": UPSTREAM_KEY}
        with team_program(command, tmp_path, *arguments, keys=KEYS, backend="relay", **environ) as program:
            assert not secrets_in(program.banner, [*everywhere, KEY, OWN_KEY])
            watching = watch(program.port)
            for _ in range(100):
                drawn = Drawn(rolls)
                del listening.requests[:]
                answer = exchange(program.port, drawn.bytes).decode("latin-1")
                secrets = everywhere if drawn.repeats else [*everywhere, drawn.key]
                assert not secrets_in(answer, secrets), (drawn.bytes, answer)
                for came in listening.requests:
                    names = {name for name, value in came.fields.items() if drawn.key in value}
                    assert not names - {"x-note", "x-request-id", "origin"}, drawn.bytes
                    assert drawn.repeats or drawn.key not in came.path + came.body.decode("latin-1")
            metrics = exchange(program.port, b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            page = exchange(program.port, b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            seen = b""
            while b'"path":"/metrics"' not in seen:
                seen += watching.recv(65536)
            watching.close()
            mine = processes(str(ledger))
            lines = [pathlib.Path(f"/proc/{number}/cmdline").read_bytes() for number in mine]
            assert program.stop()[0] == 0
    shown = {
        "metrics": metrics,
        "page": page,
        "who watches": seen,
        **{f"process {number}": line for number, line in enumerate(lines)},
    }
    by = ("--by", "model,key,team,backend,day")
    shown["usage"] = run(command, "usage", str(ledger), *by)[1].encode()
    if form == "json":
        shown["usage of the log"] = run(command, "usage", "--from-log", str(log), *by)[1].encode()
        assert shown["usage of the log"] == shown["usage"]
    status, told, errors = run(command, "key", "list", "--file", str(tmp_path / "keys.ini"))
    assert status == 0
    shown["key list"] = (told + errors).encode()
    shown["check"] = "".join(run(command, "relay", "--check", *arguments, **environ)[1:]).encode()
    for path in tmp_path.iterdir():
        if path.name != "keys.ini":
            shown[path.name] = path.read_bytes()
    for name, text in shown.items():
        found = secrets_in(text.decode("latin-1"), [*everywhere, KEY, OWN_KEY])
        lines = [line for line in text.decode("latin-1").splitlines() if secrets_in(line, [*everywhere, KEY, OWN_KEY])]
        assert not found, (name, lines[:3])
    if form == "line":
        assert " key=alice " in log.read_text(), "a line tells whose a call was by the key's name"
        return
    # What tells whose a call was: eight digits of another hash, in the log alone.
    labels = set(re.findall(r'(?:API Key Hash: |"api_key_hash": ")([0-9a-f]{8})', log.read_text()))
    assert {hashlib.md5(key.encode()).hexdigest()[:8] for key in (KEY, OWN_KEY)} <= labels
    assert len(shown["usage"].splitlines()) > 3
