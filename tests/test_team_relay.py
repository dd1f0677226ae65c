"""A team behind one key: the gateway before a relay, with the ledger, as a program runs it."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import io
import json
import socket
import sqlite3
import threading

import pytest
from scripted_upstream import scripted

import oaiserve
from protocol.openai.completions import Choice, CompletionHead, chat_completion, chat_frames
from protocol.team.usage_command import run_usage

KEY, UPSTREAM_KEY = "sk-oai-alice-0123456789", "sk-up-0123456789abcdef"
KEYS = f"""
[key alice]
hash = sha256:{hashlib.sha256(KEY.encode()).hexdigest()}
tokens = 1000000/min
[prices]
gpt-4o-mini = 0.15 in, 0.075 cached, 0.60 out
tiny-1 = 0.01 in, 0.02 out
"""
HEAD = CompletionHead("chatcmpl-1", 1, "gpt-4o-mini", 7)
CHOICE = Choice(["one ", "two ", "three"], "stop")
CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}
RESPONSE = {
    "object": "response",
    "usage": {
        "input_tokens": 20, "input_tokens_details": {"cached_tokens": 8}, "output_tokens": 9,
        "output_tokens_details": {"reasoning_tokens": 4}, "total_tokens": 29,
    },
}  # fmt: skip
LIMITS_OF_ALL = {"x-ratelimit-limit-tokens": "150000", "x-ratelimit-remaining-tokens": "149", "openai-version": "1"}


class Team:
    """A relay before a scripted upstream, with its ledger."""

    def __init__(self, server, upstream, ledger):
        self.server, self.upstream, self.ledger = server, upstream, ledger

    def ask(self, body, path="/v1/chat/completions", key=KEY):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=30)
        with contextlib.closing(connection):
            fields = {"content-type": "application/json", "authorization": f"Bearer {key}"}
            connection.request("POST", path, json.dumps(body), fields)
            answer = connection.getresponse()
            with answer:
                return answer, answer.read()

    def rows(self, count=1):
        """Stop the service, which lets the ledger have all, and return the calls."""
        self.server.close()
        with contextlib.closing(sqlite3.connect(self.ledger)) as database:
            database.row_factory = sqlite3.Row
            rows = [dict(row) for row in database.execute("SELECT * FROM calls ORDER BY at, id")]
        assert len(rows) == count
        return rows


@contextlib.contextmanager
def team(tmp_path, script, backend="relay", **settings):
    keys, ledger = tmp_path / "keys.ini", tmp_path / "usage.db"
    keys.write_text(KEYS)
    with scripted(script) as upstream:
        options = {
            "server.keys_file": str(keys), "ledger.file": str(ledger), "relay.base_url": upstream.url,
            "relay.api_key": UPSTREAM_KEY, **settings,
        }  # fmt: skip
        server = oaiserve.start(backend, set={"server.journal": "no", **options})
        try:
            yield Team(server, upstream, str(ledger))
        finally:
            server.close()


def answers(came):
    body = came.json
    if came.path.endswith("/responses"):
        return 200, {"content-type": "application/json"}, json.dumps(RESPONSE).encode()
    if body.get("stream"):
        asks = (body.get("stream_options") or {}).get("include_usage") is True
        return 200, {"content-type": "text/event-stream"}, chat_frames(HEAD, [CHOICE], include_usage=asks)
    fields = {"content-type": "application/json", **LIMITS_OF_ALL}
    return 200, fields, json.dumps(chat_completion(HEAD, [CHOICE])).encode()


def tokens(row):
    return tuple(row[name] for name in ("tok_in", "tok_cached", "tok_out", "tok_reasoning", "cost_nano"))


def test_a_plain_answer_is_noted_and_the_callers_key_goes_nowhere(tmp_path):
    with team(tmp_path, answers) as home:
        answer, _ = home.ask(CHAT)
        assert answer.status == 200
        came = home.upstream.requests[0]
        assert came.fields["authorization"] == f"Bearer {UPSTREAM_KEY}"
        assert KEY not in repr(came.fields) + came.path
        # The upstream's limits are those of the key that all share; ours are the caller's.
        assert answer.getheader("x-ratelimit-limit-tokens") == "1000000"
        assert answer.getheader("openai-version") == "1"
        (row,) = home.rows()
    assert tokens(row) == (7, 0, 3, 0, 7 * 150 + 3 * 600)
    assert (row["key"], row["asked"], row["sent"], row["backend"]) == ("alice", "gpt-4o-mini", "gpt-4o-mini", "relay")
    assert (row["status"], row["ended"], row["upstream_key"]) == (200, "done", "owner")


@pytest.mark.parametrize("asks", [False, True])
def test_a_stream_is_noted_whether_or_not_its_client_asks_for_the_usage(tmp_path, asks):
    with team(tmp_path, answers) as home:
        body = {**CHAT, "stream": True, **({"stream_options": {"include_usage": True}} if asks else {})}
        _, text = home.ask(body)
        assert (b'"total_tokens"' in text) is asks
        assert home.upstream.requests[0].json["stream_options"] == {"include_usage": True}
        (row,) = home.rows()
    assert tokens(row) == (7, 0, 3, 0, 2850) and row["ended"] == "done"


def test_usage_chunk_can_be_left_to_the_clients(tmp_path):
    with team(tmp_path, answers, **{"ledger.usage_chunk": "no"}) as home:
        home.ask({**CHAT, "stream": True})
        assert "stream_options" not in home.upstream.requests[0].json
        (row,) = home.rows()
    assert tokens(row) == (None, None, None, None, None)


def test_cached_and_reasoning_tokens_have_their_own_price_and_place(tmp_path):
    with team(tmp_path, answers) as home:
        home.ask({"model": "gpt-4o-mini", "input": "Hello"}, "/v1/responses")
        (row,) = home.rows()
    assert tokens(row) == (20, 8, 9, 4, 12 * 150 + 8 * 75 + 9 * 600)


def test_an_upstreams_error_costs_nothing(tmp_path):
    body = b'{"error":{"message":"no","type":"server_error","code":null,"param":null}}'
    with team(tmp_path, lambda came: (400, {"content-type": "application/json"}, body)) as home:
        answer, _ = home.ask({**CHAT, "max_tokens": 5000})
        assert answer.status == 400
        # What was reserved has been given back.
        assert int(home.ask(CHAT)[0].getheader("x-ratelimit-remaining-tokens")) > 998_900
        rows = home.rows(2)
    assert [tokens(row) for row in rows] == [(0, 0, 0, 0, 0)] * 2 and rows[0]["status"] == 400


class Gate:
    """A stream that stops after its first event until it is let go on."""

    def __init__(self):
        self.goes_on = threading.Event()

    def __call__(self, came):
        frames = chat_frames(HEAD, [CHOICE], include_usage=True)

        def pieces():
            yield frames[0]
            self.goes_on.wait(20)
            yield from frames[1:]

        return 200, {"content-type": "text/event-stream"}, pieces()


def leave_after_the_first_event(home, **more):
    body = json.dumps({**CHAT, "stream": True, **more}).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {KEY}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode()
    with socket.create_connection(("127.0.0.1", home.server.port), timeout=20) as client:
        client.sendall(head + body)
        came = b""
        while b"data: " not in came:
            came += client.recv(65536)


@pytest.mark.parametrize(("choice", "used"), [("cancel", (None,) * 5), ("finish", (7, 0, 3, 0, 2850))])
def test_a_client_that_leaves_is_noted_as_the_owner_wants_it(tmp_path, choice, used):
    gate = Gate()
    with team(tmp_path, gate, **{"ledger.on_disconnect": choice}) as home:
        leave_after_the_first_event(home)
        # The service has seen that the client is gone when it answers the next one behind it.
        while b"oaiserve_requests_in_flight 1" not in metrics(home):
            pass
        gate.goes_on.set()
        assert home.ask({**CHAT, "stream": True})[0].status == 200
        rows = home.rows(2)
    assert tokens(rows[0]) == used and rows[0]["ended"] == "left"


def metrics(home):
    connection = http.client.HTTPConnection("127.0.0.1", home.server.port, timeout=30)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read()
    connection.close()
    return text


def test_an_upstream_that_breaks_off_is_noted_as_such(tmp_path):
    def breaks(came):
        def pieces():
            yield chat_frames(HEAD, [CHOICE], include_usage=True)[0]
            raise ConnectionAbortedError

        return 200, {"content-type": "text/event-stream"}, pieces()

    with team(tmp_path, breaks) as home:
        with pytest.raises(http.client.IncompleteRead):
            home.ask({**CHAT, "stream": True})
        (row,) = home.rows()
    assert (row["status"], row["ended"]) == (200, "broke") and tokens(row) == (None,) * 5


def test_without_a_key_of_its_own_an_upstream_is_asked_without_any(tmp_path):
    with team(tmp_path, answers, **{"relay.api_key": ""}) as home:
        assert home.ask(CHAT)[0].status == 200
        assert "authorization" not in home.upstream.requests[0].fields


@pytest.mark.parametrize("choice", ["cancel", "finish"])
def test_the_log_adds_up_to_what_the_ledger_does(tmp_path, choice):
    """Also for an answer that goes on without its client: its line comes when its usage is known."""
    gate, log = Gate(), tmp_path / "server.log"
    settings = {"ledger.on_disconnect": choice, "server.log": "json", "server.log_file": str(log)}
    with team(tmp_path, lambda came: gate(came) if came.json.get("user") else answers(came), **settings) as home:
        leave_after_the_first_event(home, user="one")
        while b"oaiserve_requests_in_flight 1" not in metrics(home):
            pass
        gate.goes_on.set()
        for body in (CHAT, {**CHAT, "stream": True}, {**CHAT, "model": "gpt-unpriced"}):
            assert home.ask(body)[0].status == 200
        home.ask({"model": "gpt-4o-mini", "input": "Hello"}, "/v1/responses")
        rows = home.rows(5)
    tables = [io.StringIO(), io.StringIO()]
    for out, ledger, logs in ((tables[0], home.ledger, []), (tables[1], "", [str(log)])):
        run_usage(ledger, logs, by="day,key,model,backend", since=None, form="json", out=out, err=out, now=0)
    assert tables[0].getvalue() == tables[1].getvalue()
    told = [json.loads(line) for line in log.read_text().splitlines()]
    noted = {line["id"]: (line["at"], line["ended"]) for line in told if "id" in line}
    assert noted == {row["id"]: (row["at"], row["ended"]) for row in rows} and len(noted) == 5


@pytest.mark.parametrize("stream", [False, True])
def test_what_another_backend_answers_is_noted_and_paid_as_that_ones(tmp_path, stream):
    with scripted(answers) as other:
        settings = {
            "routes.*": "relay, other", "relay.other.base_url": other.url, "relay.other.api_key": "sk-other",
            "relay.other.models": "gpt-4o-mini = tiny-1", "relay.retries": "0",
        }  # fmt: skip
        with team(tmp_path, lambda came: (503, {}, b""), None, **settings) as home:
            answer, _ = home.ask({**CHAT, "stream": stream})
            assert answer.status == 200 and other.requests[0].json["model"] == "tiny-1"
            (row,) = home.rows()
    assert tokens(row) == (7, 0, 3, 0, 7 * 10 + 3 * 20)
    assert (row["asked"], row["sent"], row["backend"]) == ("gpt-4o-mini", "tiny-1", "other")
