"""The program as its users meet it: command line, doors, embedding."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from programs import ANY_CHAT, ask, exchange, run, running

import oaiserve

pytestmark = pytest.mark.every_form

needs_signals = pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to send")


@pytest.fixture(scope="module")
def server():
    with oaiserve.start() as running_server:
        yield running_server


# ---- the command line


def test_version_is_one_line(command):
    assert run(command, "--version") == (0, f"{oaiserve.__version__}\n", "")


@pytest.mark.skipif(os.name == "nt", reason="Windows ends a broken pipe in another way")
@pytest.mark.parametrize("arguments", [["--port", "0"], ["--port", "0", "--workers", "2"]], ids=" ".join)
def test_says_nothing_to_who_has_gone(command, arguments):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run([*command, *arguments], stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_help_teaches(command):
    status, text, errors = run(command, "--help")
    assert (status, errors) == (0, "")
    for word in ("mock", "try", "bundle", "--port", "--set", "--check", "examples:", "exit status"):
        assert word in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nope"], "unrecognized arguments: --nope"),
        (["nope"], "there is no command 'nope'; there are mock"),
        (["mock", "extra"], "'extra' is one word too many"),
        (["--port", "x"], "--port = 'x': expected a whole number from 0 to 65535"),
        (["--set", "mock.delay=fast"], "--set mock.delay = 'fast': expected seconds"),
        (["--config", "nowhere.ini"], "nowhere.ini: cannot be read: No such file"),
        (["--check", "--set", "server.prot=1"], "there is no key 'prot' in [server]"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(command, arguments, message):
    status, output, errors = run(command, *arguments)
    assert (status, output) == (2, "")
    assert errors.startswith("oaiserve: ") and errors.count("\n") == 1
    assert message in errors


def test_check_prints_the_effective_settings_and_their_source(command):
    with open("config.ini", "w", encoding="utf-8") as file:
        file.write("[mock]\ntext = from the file\n")
    status, output, errors = run(command, "--check", "--set", "server.port=1234")
    assert (status, errors) == (0, "")
    assert "config.ini" in output.splitlines()[0]
    assert "text = from the file" in output and "port = 1234" in output


def test_port_in_use_says_so_and_how_to_pick_another(command):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, _, errors = run(command, "--port", str(port))
    assert status == 1
    assert errors == (
        f"oaiserve: 127.0.0.1:{port}: the port is in use; choose another with --port N (0 takes any free one), "
        "or stop its user\n"
    )


def test_log_file_that_cannot_be_written_is_a_usage_mistake(command):
    status, _, errors = run(command, "-p", "0", "--set", "server.log_file=/nowhere/at/all.log")
    assert status == 2
    assert "[server] log_file = '/nowhere/at/all.log': cannot be written" in errors


def test_banner_has_the_address_and_a_curl_line_whose_body_is_json(command):
    with running(command) as program:
        assert f"OpenAI base URL: {program.url}/v1" in program.banner
        words = shlex.split(re.search(r"curl .*", program.banner).group())
        assert json.loads(words[words.index("-d") + 1])["stream"] is True
        status, _, body = ask(program.port, "POST", "/v1/chat/completions", words[words.index("-d") + 1])
        assert status == 200 and body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("options", "model", "key"),
    [
        (("mock",), "gpt-4o-mini", None),
        (("relay",), "gpt-4o-mini", "Bearer YOUR-API-KEY"),
        (("relay", "--set", "relay.api_key=sk-0123456789abcdef"), "gpt-4o-mini", None),
        (("dashscope",), "farui-plus", "Bearer YOUR-API-KEY"),
        (("dashscope", "--set", "dashscope.api_key=sk-0123456789abcdef"), "farui-plus", None),
        (("dashscope", "--set", "dashscope.default_model=qwen-plus"), "qwen-plus", "Bearer YOUR-API-KEY"),
        (("dashscope", "--set", "routes.gpt-*=mock"), "gpt-4o-mini", None),
        (("dashscope", "--set", "routes.farui-*=mock"), "gpt-4o-mini", "Bearer YOUR-API-KEY"),
        pytest.param(("dashscope", "--workers", "2"), "farui-plus", "Bearer YOUR-API-KEY", marks=needs_signals),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_banner_s_line_asks_a_model_with_a_key_where_callers_bring_one(command, options, model, key):
    with running(command, *options) as program:
        words = shlex.split(re.search(r"curl .*", program.banner).group())
        fields = dict(word.split(": ") for before, word in zip(words, words[1:]) if before == "-H")
        assert json.loads(words[words.index("-d") + 1])["model"] == model
        assert (fields.get("Authorization"), fields["Content-Type"]) == (key, "application/json")
        assert "0123456789" not in program.banner


@needs_signals
def test_banner_tells_that_each_worker_of_the_mock_remembers_its_own(command):
    with running(command, "--workers", "2") as program:
        assert "remembers its own" in program.banner
    with running(command) as program:
        assert "remembers its own" not in program.banner


@needs_signals
def test_banner_tells_that_each_worker_counts_by_itself(command):
    with running(command, "--workers", "2", "--set", "faults.gpt-*=status 503 first 2") as program:
        assert "each worker counts by itself" in program.banner
    with running(command, "--set", "faults.gpt-*=status 503 first 2") as program:
        assert "each worker counts by itself" not in program.banner


@needs_signals
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_with_exit_0(command, number):
    with running(command) as program:
        ask(program.port, "GET", "/health")
        status, errors = program.stop(number)
    assert status == 0
    assert "Traceback" not in errors


@needs_signals
def test_signal_lets_a_running_answer_end(command):
    with running(command, "--set", "mock.first_delay=0.6") as program:
        answers = []
        thread = threading.Thread(
            target=lambda: answers.append(ask(program.port, "POST", "/v1/chat/completions", ANY_CHAT))
        )
        thread.start()
        program.until_logged("Request started")
        status, _ = program.stop()
        thread.join()
    assert status == 0
    assert (answers[0][0], answers[0][1].get("connection")) == (200, "close")


@needs_signals
def test_second_signal_stops_at_once(command):
    with running(command, "--set", "mock.first_delay=300", "--set", "server.drain_timeout=300") as program:
        with socket.create_connection(("127.0.0.1", program.port)) as sock:
            body = json.dumps(ANY_CHAT).encode()
            sock.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body
            )
            program.until_logged("Request started")
            program.process.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionError):
                while True:
                    ask(program.port, "GET", "/health")
            assert program.process.poll() is None
            assert program.stop()[0] == 0


def test_log_lines_have_the_form_that_was_promised(command):
    with running(command) as program:
        ask(program.port, "POST", "/v1/chat/completions?secret=1", ANY_CHAT, authorization="Bearer sk-abcdef")
        _, errors = program.stop() if os.name != "nt" else (0, "")
    started, completed = errors.splitlines()[:2]
    stamp = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
    assert re.fullmatch(
        stamp
        + r" - Request started - IP: 127\.0\.0\.1, Method: POST, Path: /v1/chat/completions, API Key Hash: [0-9a-f]{8}",
        started,
    )
    assert re.fullmatch(
        stamp + r" - Request completed - IP: 127\.0\.0\.1, Status: 200, Time: \d+\.\d\ds, API Key Hash: [0-9a-f]{8}",
        completed,
    )
    assert "sk-abcdef" not in errors and "secret" not in errors


# ---- workers

needs_shared_port = pytest.mark.skipif(
    not (hasattr(os, "fork") and hasattr(socket, "SO_REUSEPORT")), reason="no shared ports here"
)


def children_of(process):
    listing = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process)], capture_output=True, text=True)
    return [int(word) for word in listing.stdout.split()]


@needs_shared_port
def test_workers_share_the_port_and_a_dead_one_is_started_again(command):
    with running(command, "--workers", "2") as program:
        first = children_of(program.process.pid)
        if not first:
            pytest.skip("ps does not list children here")
        assert len(first) == 2
        os.kill(first[0], signal.SIGKILL)
        while first[0] in children_of(program.process.pid) or len(children_of(program.process.pid)) < 2:
            time.sleep(0.05)
        for _ in range(20):
            assert ask(program.port, "GET", "/health")[0] == 200
        status, errors = program.stop()
        assert status == 0
        assert f"worker {first[0]} ended (signal 9); starting another" in errors


@needs_shared_port
def test_sessions_need_one_worker(command):
    with running(command, "--workers", "2") as program:
        for path in ("/s/t/v1/models", "/_oaiserve/calls", "/s/t/_oaiserve/calls"):
            status, _, body = ask(program.port, "GET", path)
            assert (status, json.loads(body)["error"]["code"]) == (400, "needs_one_worker")
        assert ask(program.port, "GET", "/v1/models", x_oaiserve_fault="status 418")[0] == 418
        assert ask(program.port, "GET", "/v1/models")[0] == 200


@needs_shared_port
def test_workers_say_when_the_port_is_in_use(command):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        status, _, errors = run(command, "--workers", "2", "--port", str(taken.getsockname()[1]))
    assert status == 1 and "the port is in use" in errors


@needs_shared_port
def test_workers_end_when_their_parent_is_killed(command):
    with running(command, "--workers", "2") as program:
        workers = children_of(program.process.pid)
        program.process.kill()
        program.process.wait()
        while any(alive(worker) for worker in workers):
            time.sleep(0.05)


def alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{process}/stat", encoding="ascii") as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"


# ---- the doors


def test_health_says_that_the_service_is_well(server):
    before = int(time.time())
    status, fields, body = ask(server.port, "GET", "/health")
    after = time.time()
    report = json.loads(body)
    assert status == 200 and fields["content-type"] == "application/json"
    assert (report["status"], report["service"]) == ("healthy", "oaiserve")
    assert before <= report["timestamp"] <= after


def test_root_describes_the_service_to_programs_and_to_people(server):
    status, fields, body = ask(server.port, "GET", "/")
    assert (status, fields["content-type"]) == (200, "application/json")
    info = json.loads(body)
    assert info["base_url"] == f"http://127.0.0.1:{server.port}/v1"
    assert info["routes"] == {"*": ["mock"]}
    status, fields, body = ask(server.port, "GET", "/", accept="text/html,application/xhtml+xml")
    assert (status, fields["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"<title>oaiserve</title>" in body


def test_a_strange_host_is_told_to_no_browser_as_markup(server):
    request = b"GET / HTTP/1.1\r\nhost: a'b&c\r\naccept: text/html\r\nconnection: close\r\n\r\n"
    assert b"content-type: application/json\r\n" in exchange(server.port, request)


def test_metrics_count_requests(server):
    ask(server.port, "GET", "/health")
    status, fields, body = ask(server.port, "GET", "/metrics")
    assert status == 200 and fields["content-type"].startswith("text/plain; version=0.0.4")
    assert re.search(rb'oaiserve_requests_total\{endpoint="health",status="200"\} [1-9]', body)


def test_chat_door_fills_in_what_is_missing(server):
    status, _, body = ask(server.port, "POST", "/", {"messages": [{"role": "user", "content": "Hello"}]})
    answer = json.loads(body)
    assert (status, answer["model"]) == (200, "gpt-3.5-turbo")
    assert answer["choices"][0]["message"]["content"] == "powered by openai"
    assert json.loads(server.requests[-1].body) == {
        "messages": [{"role": "user", "content": "Hello"}],
        "model": "gpt-3.5-turbo", "temperature": 0.7, "max_tokens": 1000, "stream": False,
    }  # fmt: skip


def test_chat_door_keeps_what_is_there(server):
    body = {**ANY_CHAT, "temperature": 0, "max_tokens": 2, "top_p": 0.5, "x": [1]}
    ask(server.port, "POST", "/", body)
    assert json.loads(server.requests[-1].body) == {**body, "stream": False}


def test_chat_door_streams(server):
    status, fields, body = ask(server.port, "POST", "/", {**ANY_CHAT, "stream": True})
    assert status == 200 and fields["content-type"].startswith("text/event-stream")
    assert body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("body", "status", "short", "words"),
    [
        ("{", 400, "Invalid request", "could not parse the JSON body"),
        ("[]", 400, "Invalid request", "must be a JSON object, but it is an array"),
        ("{}", 400, "Invalid request", "Missing required parameter: 'messages'"),
        ('{"messages": [], "model": "m"}', 400, "Invalid request", "empty array"),
    ],
)
def test_chat_door_has_its_own_errors(server, body, status, short, words):
    came, _, answer = ask(server.port, "POST", "/", body)
    error = json.loads(answer)
    assert (came, error["error"]) == (status, short)
    assert words in error["message"] and set(error) == {"error", "message"}


def test_every_answer_can_be_read_by_a_page(server):
    for method, path in (
        ("GET", "/health"),
        ("GET", "/nowhere"),
        ("POST", "/v1/chat/completions"),
        ("GET", "/v1/nope"),
    ):
        _, fields, _ = ask(server.port, method, path, origin="https://page.example")
        assert fields["access-control-allow-origin"] == "*"
        assert "x-request-id" in fields["access-control-expose-headers"]


def test_preflight_allows_what_is_asked(server):
    status, fields, body = ask(
        server.port, "OPTIONS", "/v1/chat/completions", origin="https://page.example",
        access_control_request_method="POST", access_control_request_headers="authorization,x-stainless-lang",
    )  # fmt: skip
    assert (status, body) == (204, b"")
    assert fields["access-control-allow-methods"] == "POST"
    assert fields["access-control-allow-headers"] == "authorization,x-stainless-lang"
    assert int(fields["access-control-max-age"]) > 0


def test_unparsable_request_gets_an_error_of_the_right_shape(server):
    answer = exchange(server.port, b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    for field in (
        b"date: ",
        b"content-type: application/json",
        b"access-control-allow-origin: *",
        b"connection: close",
    ):
        assert field in head
    assert json.loads(body)["error"]["type"] == "invalid_request_error"


# ---- embedding


def test_start_serves_from_a_thread_until_closed():
    with oaiserve.start(backend="mock", set={"mock.text": "hello from here"}) as server:
        assert server.url == f"http://127.0.0.1:{server.port}"
        _, _, body = ask(server.port, "POST", "/v1/chat/completions", ANY_CHAT)
        assert json.loads(body)["choices"][0]["message"]["content"] == "hello from here"
    with pytest.raises(ConnectionRefusedError):
        ask(server.port, "GET", "/health")
    server.close()


def test_two_servers_in_one_process_know_nothing_of_each_other():
    with oaiserve.start(set={"mock.text": "one"}) as one, oaiserve.start(set={"mock.text": "two"}) as two:
        for server, text in ((one, b"one"), (two, b"two"), (one, b"one")):
            assert text in ask(server.port, "POST", "/v1/chat/completions", ANY_CHAT)[2]
        assert (len(one.requests), len(two.requests)) == (2, 1)


def test_requests_are_kept_for_assertions():
    with oaiserve.start() as server:
        ask(server.port, "POST", "/v1/chat/completions", ANY_CHAT, authorization="Bearer sk-mine")
        ask(server.port, "GET", "/v1/models")
        first, last = server.requests
    assert (first.method, first.path, first.key) == ("POST", "/v1/chat/completions", "sk-mine")
    assert first.json() == ANY_CHAT
    assert (last.method, last.path, last.body) == ("GET", "/v1/models", b"")


def test_no_more_is_kept_than_a_thousand_requests_and_64_megabytes():
    big = json.dumps({**ANY_CHAT, "padding": "x" * 20_000_000}).encode()
    with oaiserve.start(set={"mock.validate": "off"}) as server:
        for body in (big, big, big, b"{}", big):
            ask(server.port, "POST", "/v1/chat/completions", body)
        sizes = [len(request.body) for request in server.requests]
        assert sizes == [len(big), len(big), 2, len(big)]
        ask(server.port, "POST", "/v1/chat/completions", b" " * 65_000_000 + b"{}")
        assert [len(request.body) for request in server.requests] == [65_000_002]
        server.requests.clear()
        for _ in range(3):
            ask(server.port, "POST", "/v1/chat/completions", big)
        assert [len(request.body) for request in server.requests] == [len(big)] * 3
        for _ in range(1001):
            ask(server.port, "GET", "/health")
        assert len(server.requests) == 1000 and not server.requests[0].body


def test_start_raises_what_stands_in_its_way():
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError):
        oaiserve.start(set={"server.port": taken.getsockname()[1]})
    with pytest.raises(oaiserve.UsageError, match="no key 'txet'"):
        oaiserve.start(set={"mock.txet": "x"})


def test_serve_runs_inside_the_callers_loop():
    async def main():
        async with oaiserve.serve(oaiserve.load_settings("mock", set={"mock.text": "inside"})) as server:
            answer = await asyncio.get_running_loop().run_in_executor(
                None, ask, server.port, "POST", "/v1/chat/completions", ANY_CHAT
            )
            return answer[2], len(server.requests)

    body, count = asyncio.run(main())
    assert b"inside" in body and count == 1


def test_importing_has_no_effect_but_names(command):
    # Nothing listens, nothing is printed, no thread runs, and no heavy module comes in.
    code = (
        "import sys, threading, asyncio, ssl, json; before = set(sys.modules); import oaiserve; "
        "assert threading.active_count() == 1; "
        "print(sorted({'http.client', 'urllib.request', 'email', 'zipfile', 'unittest', 'tempfile'} & set(sys.modules) - before))"
    )
    path = os.path.dirname(command[-1]) if command[-1].endswith(".py") else command[-1]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")
