"""The metrics of a whole service: what really happened to requests is what `/metrics` says."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import socket

import pytest
from programs import running

import oaiserve


def ask(port, method, path, body=None, **fields):
    """Send a request on a connection of its own; return (status, body) once all of it has come."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, None if body is None else json.dumps(body), fields)
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer.status, data.decode()


def chat(port, **parameters):
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}], **parameters}
    return ask(port, "POST", "/v1/chat/completions", body, **{"content-type": "application/json"})


def sample(text, name, **labels):
    """Return the value of a sample, None where it is not told."""
    told = ",".join(f'{label}="{value}"' for label, value in labels.items())
    found = re.search(rf"^oaiserve_{name}{re.escape(f'{{{told}}}' if told else '')} (\S+)$", text, re.MULTILINE)
    return found and float(found[1])


def test_answers_are_told_by_endpoint_with_first_bytes_and_gaps():
    with oaiserve.start("mock", set={"mock.text": "one two three", "mock.delay": "0.002"}) as server:
        assert chat(server.port, stream=True)[0] == 200
        assert ask(server.port, "GET", "/v1/models/none")[0] == 404
        assert ask(server.port, "GET", "/nowhere")[0] == 404
        text = ask(server.port, "GET", "/metrics")[1]
    assert sample(text, "requests_total", endpoint="chat.completions", status="200") == 1
    assert sample(text, "requests_total", endpoint="models", status="404") == 1
    assert sample(text, "requests_total", endpoint="none", status="404") == 1
    first = sample(text, "first_byte_seconds_sum", endpoint="chat.completions")
    gaps = sample(text, "chunk_gap_seconds_sum", endpoint="chat.completions")
    total = sample(text, "request_seconds_sum", endpoint="chat.completions")
    assert gaps > 0 and first + gaps <= total + 1e-5
    assert 1 <= sample(text, "chunk_gap_seconds_count", endpoint="chat.completions") <= 6
    assert sample(text, "streams") == 0 and sample(text, "requests_in_flight") == 1
    assert sample(text, "build_info", version=oaiserve.__version__) == 1


def test_attempts_and_connections_upstream_are_told_by_backend():
    with oaiserve.start("mock") as upstream:
        base = f"http://127.0.0.1:{upstream.port}/v1"
        with oaiserve.start("relay", set={"relay.base_url": base, "relay.api_key": ""}) as relay:
            for _ in range(3):
                assert chat(relay.port)[0] == 200
            text = ask(relay.port, "GET", "/metrics")[1]
    assert sample(text, "attempts_total", backend="relay", status="200") == 3
    assert sample(text, "upstream_connections", backend="relay", state="idle") == 1
    assert sample(text, "upstream_connections", backend="relay", state="busy") == 0
    assert sample(text, "upstream_resting", backend="relay") == 0
    assert sample(text, "requests_total", endpoint="chat.completions", status="200") == 3


def test_tokens_cost_and_limits_are_told_by_key(tmp_path):
    keys = tmp_path / "keys.ini"
    made = "sk-oai-0123456789abcdef"
    hashed = hashlib.sha256(made.encode()).hexdigest()
    keys.write_text(f"[key alice]\nhash = sha256:{hashed}\nrequests = 1/min\n[prices]\ngpt-4o = 1000 in, 1000 out\n")
    with oaiserve.start("mock", set={"server.keys_file": str(keys)}) as server:
        fields = {"content-type": "application/json", "authorization": f"Bearer {made}"}
        body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
        assert ask(server.port, "POST", "/v1/chat/completions", body, **fields)[0] == 200
        assert ask(server.port, "POST", "/v1/chat/completions", body, **fields)[0] == 429
        text = ask(server.port, "GET", "/metrics")[1]
    answered = sample(text, "tokens_total", key="alice", model="gpt-4o", type="output")
    asked = sample(text, "tokens_total", key="alice", model="gpt-4o", type="input")
    assert (answered, asked) == (3, 1)
    assert sample(text, "cost_dollars_total", key="alice", model="gpt-4o") == 0.004
    assert sample(text, "limits_hit_total", key="alice", limit="requests") == 1


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT") or not hasattr(os, "fork"), reason="no workers here")
def test_every_worker_tells_the_figures_of_all(command):
    with running(command, "mock", "--workers", "2") as served:
        for _ in range(30):
            assert chat(served.port)[0] == 200
        told = {
            sample(ask(served.port, "GET", "/metrics")[1], "requests_total", endpoint="chat.completions", status="200")
            for _ in range(12)
        }
    assert told == {30}
