"""/ready, /version, and what the log says of those who ask again and again."""

from __future__ import annotations

import http.client
import json
import signal
import socket

import pytest
from programs import ANY_CHAT, ask, running

import oaiserve


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


def test_ready_names_the_backends_that_rest():
    given = {
        "relay.base_url": f"http://127.0.0.1:{closed_port()}", "relay.retries": 0, "routes.*": "relay, mock",
        "server.journal": "no",
    }  # fmt: skip
    with oaiserve.start(set=given) as server:
        status, _, body = ask(server.port, "GET", "/ready")
        assert (status, json.loads(body)) == (200, {"status": "ready", "resting": []})
        while not json.loads(ask(server.port, "GET", "/ready")[2])["resting"]:
            assert ask(server.port, "POST", "/v1/chat/completions", ANY_CHAT)[0] == 200
        status, _, body = ask(server.port, "GET", "/ready")
        assert (status, json.loads(body)) == (200, {"status": "ready", "resting": ["relay"]})


def test_version_tells_what_runs():
    with oaiserve.start() as server:
        status, _, body = ask(server.port, "GET", "/version")
    assert (status, json.loads(body)["service"], json.loads(body)["version"]) == (200, "oaiserve", oaiserve.__version__)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGTERM to send")
def test_ready_is_503_while_draining(command):
    with running(command, "--set", "mock.delay=0.2") as program:
        asking = http.client.HTTPConnection("127.0.0.1", program.port, timeout=100)
        streaming = http.client.HTTPConnection("127.0.0.1", program.port, timeout=100)
        asking.request("GET", "/ready")
        assert asking.getresponse().read() == b'{"status":"ready","resting":[]}'
        fields = {"content-type": "application/json"}
        streaming.request("POST", "/v1/chat/completions", json.dumps({**ANY_CHAT, "stream": True}), fields)
        answer = streaming.getresponse()
        program.process.send_signal(signal.SIGTERM)
        while True:  # until the signal has arrived
            asking.request("GET", "/ready")
            told = asking.getresponse()
            text = told.read()
            if told.status != 200:
                break
        assert (told.status, json.loads(text)["status"]) == (503, "draining")
        assert answer.read().endswith(b"data: [DONE]\n\n")
        for connection in (asking, streaming):
            connection.close()


@pytest.mark.parametrize("form", ["text", "json"])
def test_probes_are_logged_only_when_that_is_asked_for(form):
    for probes, lines in (("no", 2), ("yes", 6)):
        given = {"server.log": form, "server.log_file": f"{probes}.log", "server.log_probes": probes}
        with oaiserve.start(set=given) as server:
            for path in ("/health", "/ready", "/version"):
                assert ask(server.port, "GET", path)[0] == 200
        with open(f"{probes}.log", encoding="utf-8") as file:
            assert len(file.readlines()) == lines
