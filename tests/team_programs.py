"""Whole programs with a keys file and a ledger, many clients before them, and an upstream that counts by itself."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import itertools
import json
import os
import pathlib
import sqlite3
import threading

from programs import running
from scripted_upstream import scripted

KEY = "sk-oai-alice-0123456789abcdef"
UPSTREAM_KEY = "sk-upstream-0123456789abcdef"


def hash_of(key):
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


def keys_ini(rates="", prices="* = 1 in, 0.5 cached, 2 out"):
    return f"[key alice]\nhash = {hash_of(KEY)}\n{rates}\n[prices]\n{prices}\n"


@contextlib.contextmanager
def team_program(command, folder, *options, keys=None, name="usage.db", backend="mock", **environ):
    """Run the program with a keys file and a ledger in `folder` until the block is left."""
    path = folder / "keys.ini"
    path.write_text(keys or keys_ini())
    settings = [f"server.keys_file={path}", f"ledger.file={folder / name}"]
    arguments = [word for setting in settings for word in ("--set", setting)]
    with running(command, backend, *arguments, "--set", "server.log=off", *options, **environ) as program:
        yield program


def ask(port, body, path="/v1/chat/completions", key=KEY):
    """Return (status, fields, body) of an answer, None of one that broke off before its end."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        fields = {"content-type": "application/json", "authorization": f"Bearer {key}"}
        try:
            connection.request("POST", path, json.dumps(body), fields)
            with connection.getresponse() as answer:
                return answer.status, answer.headers, answer.read()
        except (OSError, http.client.HTTPException):
            return None


def at_once(clients, work, numbers):
    """Let so many threads do `work(number)` until there are no numbers left; return what it gave, by number."""
    taken, lock, given = iter(numbers), threading.Lock(), {}

    def client():
        while True:
            with lock:
                number = next(taken, None)
            if number is None:
                return
            given[number] = work(number)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return given


def rows_of(ledger):
    with contextlib.closing(sqlite3.connect(ledger)) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute("SELECT * FROM calls")]


def sums_of(ledger):
    """Return (requests, tokens in, cached, out, reasoning, nano-dollars, unknown) of all days."""
    names = ("requests", "tok_in", "tok_cached", "tok_out", "tok_reasoning", "cost_nano", "unknown")
    with contextlib.closing(sqlite3.connect(ledger)) as database:
        return database.execute(f"SELECT {', '.join(f'sum({name})' for name in names)} FROM daily").fetchone()


def processes(*words):
    """Return the ids of the processes with these words in their command lines."""
    found = []
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (process / "cmdline").read_bytes().split(b"\0")
            if all(os.fsencode(word) in line for word in words):
                found.append(int(process.name))
    return found


def workers_of(program):
    """Return the ids of a program's workers."""
    path = f"/proc/{program.process.pid}/task/{program.process.pid}/children"
    children = map(int, pathlib.Path(path).read_text().split())
    return [child for child in children if b"ledger-writer" not in pathlib.Path(f"/proc/{child}/cmdline").read_bytes()]


# ---- an upstream that counts ----------------------------------------------------------------------------------------

#: What the calls are, one after the other; the number of a call is its model's name.
KINDS = ("chat", "stream", "asked", "responses", "response stream", "embeddings", "breaks", "retried", "leaves")
JSON, EVENTS = {"content-type": "application/json"}, {"content-type": "text/event-stream"}


def kind_of(number):
    return KINDS[number % len(KINDS)]


def used_by(number):
    """Return (in, cached, out, reasoning) of a call."""
    return 10 + number % 97, number % 11, 0 if kind_of(number) == "embeddings" else 1 + number % 89, number % 2


def call_of(number):
    """Return the path and body of a call."""
    kind, model = kind_of(number), f"m-{number}"
    chat = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
    if kind in ("responses", "response stream"):
        return "/v1/responses", {"model": model, "input": "Hello", "stream": kind != "responses"}
    if kind == "embeddings":
        return "/v1/embeddings", {"model": model, "input": "Hello"}
    if kind == "asked":
        chat["stream_options"] = {"include_usage": True}
    return "/v1/chat/completions", {**chat, "stream": kind not in ("chat", "retried")}


def event(value):
    return b"data: " + json.dumps(value).encode() + b"\n\n"


class CountingUpstream:
    """Answers each call with a usage of its own, and notes which of them it has told."""

    def __init__(self):
        self.told = {}
        self._came = {}
        self._lock = threading.Lock()

    def __call__(self, came):
        body = came.json
        number = int(body["model"].partition("-")[2])
        with self._lock:
            attempt = self._came[number] = self._came.get(number, 0) + 1
        kind = kind_of(number)
        if kind == "retried" and attempt == 1:
            return 503, {**JSON, "retry-after": "0"}, b'{"error":{"message":"busy"}}'
        read, cached, said, thought = used_by(number)
        if kind in ("responses", "response stream"):
            usage = {"input_tokens": read, "input_tokens_details": {"cached_tokens": cached}, "output_tokens": said,
                     "output_tokens_details": {"reasoning_tokens": thought}, "total_tokens": read + said}  # fmt: skip
            response = {"object": "response", "model": body["model"], "usage": usage}
            if kind == "responses":
                self.told[number] = used_by(number)
                return 200, JSON, json.dumps(response).encode()
            delta = {"type": "response.output_text.delta", "delta": "Hello"}
            return 200, EVENTS, self._pieces(number, [delta, {"type": "response.completed", "response": response}])
        usage = {"prompt_tokens": read, "total_tokens": read + said}
        if kind == "embeddings":
            self.told[number] = (read, 0, 0, 0)
            return 200, JSON, json.dumps({"object": "list", "data": [], "usage": usage}).encode()
        usage.update(
            completion_tokens=said, prompt_tokens_details={"cached_tokens": cached},
            completion_tokens_details={"reasoning_tokens": thought},
        )  # fmt: skip
        if not body["stream"]:
            self.told[number] = used_by(number)
            return 200, JSON, json.dumps({"object": "chat.completion", "choices": [{}], "usage": usage}).encode()
        assert body["stream_options"]["include_usage"] is True
        delta = {"choices": [{"index": 0, "delta": {"content": "Hello"}}]}
        return 200, EVENTS, self._pieces(number, [delta, delta, {"choices": [], "usage": usage}])

    def _pieces(self, number, events):
        yield event(events[0])
        if kind_of(number) == "breaks":
            raise ConnectionAbortedError
        for value in events[1:-1]:
            yield event(value)
        self.told[number] = used_by(number)
        yield event(events[-1]) + b"data: [DONE]\n\n"


def leave_early(port, path, body):
    """Ask for a stream, and go when its first event is there."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        fields = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("POST", path, json.dumps(body), fields)
            answer = connection.getresponse()
            answer.read1(1)
            answer.close()


def make_calls(command, folder, count, *, workers=1, clients=8, in_the_middle=None):
    """Make so many mixed calls through a relay; return the numbers that were answered whole, the upstream, the rows."""
    upstream = CountingUpstream()
    done = itertools.count(1)
    with scripted(upstream) as listening:
        options = ["relay.base_url=" + listening.url, "ledger.on_disconnect=finish", "relay.retries=1"]
        arguments = [word for option in options for word in ("--set", option)]
        environ = {"OPENAI_API_KEY": "", "PROOF_KEY": UPSTREAM_KEY}
        with team_program(
            command, folder, *arguments, "--set", "relay.api_key=${PROOF_KEY}", "--workers", str(workers),
            backend="relay", **environ,
        ) as program:  # fmt: skip

            def work(number):
                path, body = call_of(number)
                if next(done) == count // 2 and in_the_middle is not None:
                    in_the_middle(program)
                if kind_of(number) == "leaves":
                    return leave_early(program.port, path, body)
                return ask(program.port, body, path)

            answers = at_once(clients, work, range(count))
            status, errors = program.stop()
            assert status == 0, errors
    whole = {number for number, answer in answers.items() if answer is not None}
    assert all(answers[number][0] == 200 for number in whole), [answers[number] for number in whole][:3]
    return whole, upstream, rows_of(folder / "usage.db")
