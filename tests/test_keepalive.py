"""Streams that are kept alive before their answer is there: `keepalive` of the relay, and of the translator."""

from __future__ import annotations

import hashlib
import json
import socket
import threading

import pytest
from programs import ANY_CHAT, running
from scripted_upstream import scripted

import oaiserve

EVENTS = {"content-type": "text/event-stream"}
JSON = {"content-type": "application/json"}
CHUNK = b'data: {"choices": [{"delta": {"content": "at last"}}]}\n\n'
DONE = b"data: [DONE]\n\n"
COMMENT = b": keep-alive\n\n"


class Late:
    """An upstream's script that answers when the test says so."""

    def __init__(self):
        self.answers = {}
        self.may_answer = threading.Event()

    def __call__(self, came):
        assert self.may_answer.wait(50)
        answer = self.answers.get(came.json["model"], (200, EVENTS, [CHUNK, DONE]))
        if isinstance(answer, list):
            return answer.pop(0)
        return answer


@pytest.fixture(scope="module")
def script():
    return Late()


@pytest.fixture
def late(script):
    """Give the upstream's script as new: nothing is answered yet."""
    script.may_answer.clear()
    script.answers.clear()
    yield script
    script.may_answer.set()


@pytest.fixture(scope="module")
def upstream(script):
    with scripted(script) as server:
        yield server


@pytest.fixture(scope="module")
def relay(command, upstream):
    with running(command, "relay", *options(upstream)) as program:
        yield program


def options(upstream, *more, keepalive="0.05"):
    words = (
        f"relay.base_url={upstream.url}",
        f"relay.keepalive={keepalive}",
        "relay.retries=0",
        "relay.cooldown=0",
        *more,
    )
    return [word for option in words for word in ("--set", option)]


class Asking:
    """One request on a connection of its own, whose answer is read as it comes."""

    def __init__(self, port, body, path="/v1/chat/completions", *fields, version="1.1"):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=50)
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = [f"POST {path} HTTP/{version}", "host: 127.0.0.1", "content-type: application/json",
                f"content-length: {len(text)}", *fields, "", ""]  # fmt: skip
        self.sock.sendall("\r\n".join(head).encode() + text)
        self.came = b""

    def until(self, condition):
        while not condition(self.came):
            data = self.sock.recv(65536)
            assert data, self.came
            self.came += data
        return self.came

    def until_comments(self, count=2):
        """Wait for so many comments; return the head."""
        self.until(lambda came: came.count(COMMENT) >= count)
        return self.came.partition(b"\r\n\r\n")[0]

    def rest(self):
        """Read to the end; return (status line, the body of events without comments, whether it ended as one must)."""
        while data := self.sock.recv(65536):
            self.came += data
            if b"\r\n0\r\n\r\n" in self.came:
                break
        self.sock.close()
        head, _, rest = self.came.partition(b"\r\n\r\n")
        if b"transfer-encoding: chunked" not in head:
            return head.split(b"\r\n")[0], rest.replace(COMMENT, b""), True
        data, is_whole = b"", False
        while rest and not is_whole:
            size, _, rest = rest.partition(b"\r\n")
            data, rest = data + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
            is_whole = int(size, 16) == 0
        return head.split(b"\r\n")[0], data.replace(COMMENT, b""), is_whole


STREAM = {**ANY_CHAT, "stream": True}
LONG = {**STREAM, "messages": [{"role": "user", "content": "x" * 100_000}]}


@pytest.mark.parametrize("body", [STREAM, LONG], ids=["short", "long"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/"])
def test_comments_come_before_the_upstreams_head(relay, upstream, late, body, path):
    upstream.requests.clear()
    asking = Asking(relay.port, body, path)
    head = asking.until_comments()
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    for field in (b"content-type: text/event-stream", b"x-accel-buffering: no", b"x-request-id: ", b"date: ",
                  b"access-control-allow-origin: *"):  # fmt: skip
        assert field in head
    late.may_answer.set()
    assert asking.rest() == (b"HTTP/1.1 200 OK", CHUNK + DONE, True)
    assert len(upstream.requests) == 1


def test_a_kept_connection_takes_the_next_request(relay, late):
    asking = Asking(relay.port, STREAM)
    asking.until_comments()
    late.may_answer.set()
    asking.until(lambda came: came.endswith(b"0\r\n\r\n"))
    asking.sock.sendall(b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
    asking.until(lambda came: b"healthy" in came)
    asking.sock.close()


def test_a_client_of_http_1_0_is_kept_waiting_aloud_too(relay, late):
    asking = Asking(relay.port, STREAM, version="1.0")
    asking.until_comments()
    late.may_answer.set()
    assert asking.rest()[1:] == (CHUNK + DONE, True)


PLAIN = {"a plain answer": ANY_CHAT, "stream is false": {**ANY_CHAT, "stream": False}, "stream within": {
    **ANY_CHAT, "metadata": {"stream": True}}, "stream is a word": {**ANY_CHAT, "stream": "true"}}  # fmt: skip


@pytest.mark.parametrize("body", PLAIN.values(), ids=PLAIN)
def test_who_asks_for_no_stream_waits_in_silence(relay, late, body):
    late.answers["gpt-4o"] = (200, JSON, b"{}")
    beside = Asking(relay.port, {**STREAM, "model": "other"})
    asking = Asking(relay.port, body)
    beside.until_comments(4)
    late.may_answer.set()
    asking.until(lambda came: came.endswith(b"{}"))
    asking.sock.close()
    beside.rest()
    assert asking.came.startswith(b"HTTP/1.1 200 OK\r\n") and COMMENT not in asking.came


def test_an_answer_that_comes_in_time_is_as_ever(command, upstream, late):
    late.answers["gpt-4o"] = (429, {**JSON, "retry-after": "60"}, b'{"error": {"message": "No more."}}')
    late.may_answer.set()
    with running(command, "relay", *options(upstream, keepalive="30")) as program:
        asking = Asking(program.port, STREAM, "/v1/chat/completions", "connection: close")
        status, body, _ = asking.rest()
        assert status == b"HTTP/1.1 429 Too Many Requests"
        assert body == b'{"error": {"message": "No more."}}'


ERROR = b'{"error": {"message": "No more.", "type": "x", "param": null, "code": "y"}}'


@pytest.mark.parametrize(
    ("answer", "path", "error"),
    [
        ((429, JSON, ERROR), "/v1/chat/completions", json.loads(ERROR)["error"]),
        ((429, JSON, ERROR), "/", "Too many requests"),
        ((404, {}, b"<h1>"), "/v1/chat/completions", "The upstream answered with status 404 and no event stream."),
        ((200, JSON, b"{}"), "/v1/chat/completions", "The upstream answered with status 200 and no event stream."),
        ((200, JSON, b"{}"), "/", "Upstream error"),
    ],
)
def test_an_answer_that_is_no_stream_is_an_error_event_and_no_clean_end(relay, late, answer, path, error):
    late.answers["gpt-4o"] = answer
    asking = Asking(relay.port, STREAM, path)
    asking.until_comments()
    late.may_answer.set()
    _, data, is_whole = asking.rest()
    assert data.startswith(b"data: ") and data.endswith(b"}\n\n") and not is_whole
    told = json.loads(data[6:])["error"]
    assert (told if isinstance(error, dict) or path == "/" else told["message"]) == error
    relay.until_logged(f"Status: {answer[0] if answer[0] >= 400 else 502}")


def test_the_next_backend_is_asked_behind_the_comments(command, upstream, late):
    upstream.requests.clear()
    late.answers["gpt-4o"] = [(500, JSON, ERROR), (200, EVENTS, [CHUNK, DONE])]
    with running(command, "relay", *options(upstream, "relay.retries=1")) as program:
        asking = Asking(program.port, STREAM)
        asking.until_comments()
        late.may_answer.set()
        assert asking.rest()[1:] == (CHUNK + DONE, True)
        assert len(upstream.requests) == 2


def test_a_routes_second_backend_answers_behind_the_comments(command, upstream, late):
    late.answers["gpt-4o"] = (503, JSON, ERROR)
    with running(command, "relay", *options(upstream, "routes.gpt-*=relay, mock")) as program:
        asking = Asking(program.port, STREAM)
        asking.until_comments()
        late.may_answer.set()
        _, data, is_whole = asking.rest()
        assert data.endswith(DONE) and b'"powered "' in data and is_whole


def test_a_client_that_leaves_while_it_waits_frees_the_upstream(relay, upstream, late):
    asking = Asking(relay.port, STREAM)
    asking.until_comments()
    asking.sock.close()
    relay.until_logged("Status: 499")
    late.may_answer.set()


def test_the_translator_keeps_its_streams_alive_too(command, late):
    with scripted(
        lambda came: (late.may_answer.wait(50), (400, JSON, b'{"code": "InvalidParameter", "message": "no"}'))[1]
    ) as upstream:
        options = (f"dashscope.base_url={upstream.url}", "dashscope.keepalive=0.05")
        words = [word for option in options for word in ("--set", option)]
        with running(command, "dashscope", *words) as program:
            asking = Asking(program.port, {**STREAM, "model": "qwen-plus"}, "/v1/chat/completions",
                            "authorization: Bearer sk-caller-0123456789")  # fmt: skip
            asking.until_comments()
            late.may_answer.set()
            _, data, is_whole = asking.rest()
            assert json.loads(data[6:])["error"]["code"] == "InvalidParameter" and not is_whole


def test_an_early_head_tells_what_is_left_of_the_limits(upstream, late):
    script = {"limits": [{"by": "key", "requests": "3/min", "tokens": "1000/min"}], "rules": []}
    words = {"relay.base_url": upstream.url, "relay.keepalive": "0.05", "relay.retries": "0"}
    with oaiserve.start("relay", set=words, script=script) as server:
        asking = Asking(server.port, STREAM)
        head = asking.until_comments(1)
        late.may_answer.set()
        assert asking.rest()[2]
    told = {line.split(b":")[0]: line.split(b": ")[1] for line in head.split(b"\r\n") if b"x-ratelimit-" in line}
    assert len(told) == 6
    assert told[b"x-ratelimit-limit-requests"] == b"3" and told[b"x-ratelimit-remaining-requests"] == b"2"


def test_an_early_head_tells_what_is_left_of_a_keys_limits(tmp_path, upstream, late):
    key = "sk-oai-alice-0123456789"
    keys = tmp_path / "keys.ini"
    digest = hashlib.sha256(key.encode()).hexdigest()
    keys.write_text(f"[key alice]\nhash = sha256:{digest}\nrequests = 5/min\ntokens = 10000/min\n")
    words = {"relay.base_url": upstream.url, "relay.keepalive": "0.05", "server.keys_file": str(keys)}
    script = {"limits": [{"by": "key", "requests": "3/min"}], "rules": []}
    for limits in (None, script):  # a key's own stand before those of the instrument
        late.may_answer.clear()
        with oaiserve.start("relay", set=words, script=limits) as server:
            asking = Asking(server.port, STREAM, "/v1/chat/completions", f"authorization: Bearer {key}")
            head = asking.until_comments(1)
            late.may_answer.set()
            assert asking.rest()[2]
        told = dict(line.split(b": ") for line in head.split(b"\r\n") if b"x-ratelimit-" in line)
        assert len(told) == 6 == head.count(b"x-ratelimit-")
        assert told[b"x-ratelimit-limit-requests"] == b"5" and told[b"x-ratelimit-remaining-requests"] == b"4"
