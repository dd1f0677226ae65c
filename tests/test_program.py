"""oaiserve.py from within: what it makes of options, settings and a log file, mostly without a process each."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time

import pytest
from programs import ANY_CHAT, ask

import oaiserve


def has_ipv6():
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


# ---- the command line


def test_check_says_that_there_is_no_file(capsys):
    assert oaiserve.main(["--check"]) == 0
    output = capsys.readouterr().out
    assert output.startswith("; from the defaults (no config.ini found)\n")
    assert "[server]" in output and "* = mock" in output


def test_check_reads_the_file_that_is_named_and_options_beat_it(capsys):
    with open("mine.ini", "w", encoding="utf-8") as file:
        file.write("[server]\nport = 1\nhost = 127.0.0.9\n[mock]\ntext = a\ndelay = 1\n[routes]\n* = mock\n")
    options = ["--port", "2", "--workers", "3", "--set", "mock.text=b"]
    assert oaiserve.main(["mock", "--check", "-c", "mine.ini", *options]) == 0
    lines = [line.partition("  ;")[0].rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "; from mine.ini"
    assert {"port = 2", "workers = 3", "host = 127.0.0.9", "text = b", "delay = 1"} <= set(lines)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port"], "expected one argument; --help tells what there is"),
        (["nope"], "there is no command 'nope'"),
        (["relay", "x"], "'x' is one word too many"),
        (["-c", "none.ini"], "none.ini: cannot be read"),
        (["--check", "--set", "relay.base_url=x", "relay"], "base_url"),
        (["--check", "--workers", "2", "--set", "server.journal=yes"], "journal = yes: each worker"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(arguments, words, capsys):
    assert oaiserve.main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("oaiserve: ") and said.err.count("\n") == 1 and words in said.err


def test_an_address_that_cannot_be_had_is_status_1(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert oaiserve.main(["--port", str(port)]) == 1
    assert f"oaiserve: 127.0.0.1:{port}: the port is in use" in capsys.readouterr().err


def test_trial_tells_how_each_step_went(capsys):
    with oaiserve.start() as server:
        assert oaiserve.main(["try", server.url, "--key", "sk-any", "--model", "gpt-4o"]) == 0
        assert {request.path for request in server.requests} >= {"/health", "/v1/models", "/v1/chat/completions"}
    assert "gpt-4o" in capsys.readouterr().out


def test_bundle_needs_a_source_tree_beside_the_program(capsys):
    # The program is pytest here.
    assert oaiserve.main(["bundle", "out"]) == 1
    assert capsys.readouterr().err.startswith("oaiserve: ")
    assert not os.path.exists("out")


def test_whoever_reads_the_output_may_go(command):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*command, "--check"], check=False, stdout=writing, stderr=subprocess.PIPE, timeout=100)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send")
def test_ctrl_c_ends_a_trial_without_a_traceback(command):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        arguments = [*command, "try", url, "--key", "sk-any"]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            with silent.accept()[0]:
                process.send_signal(signal.SIGINT)
                output, errors = process.communicate()
    assert (process.returncode, errors) == (130, b"") and output.endswith(b"Stopped.\n")


# ---- embedding


def test_settings_come_from_a_file_and_what_is_set_beats_it():
    with open("mine.ini", "w", encoding="utf-8") as file:
        file.write("[server]\nlog = json\n[mock]\ntext = ${WORD:-none}\ndelay = 1\n[routes]\n* = mock\n")
    settings = oaiserve.load_settings(config="mine.ini", set={"mock.delay": 2}, environ={"WORD": "given"})
    (mock,) = [backend.options for backend in settings.backends if backend.name == "mock"]
    assert (mock.text, mock.delay) == ("given", 2.0)
    assert (settings.server.port, settings.server.log) == (0, "json")


def test_a_log_file_is_written_to_its_end():
    given = {"server.log": "text", "server.log_file": "requests.log"}
    for _ in range(2):
        with oaiserve.start(set=given) as server:
            ask(server.port, "GET", "/metrics")
    with open("requests.log", encoding="utf-8") as file:
        lines = file.read().splitlines()
    # The second one goes on where the first has ended.
    assert [line.split(" - ")[1] for line in lines] == ["Request started", "Request completed"] * 2


def test_start_says_that_a_log_file_cannot_be_written():
    with pytest.raises(oaiserve.UsageError, match=r"log_file = ./nowhere/at/all\.log.: cannot be written"):
        oaiserve.start(set={"server.log": "text", "server.log_file": "/nowhere/at/all.log"})


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
def test_an_ipv6_address_stands_in_brackets_in_the_url():
    with oaiserve.start(set={"server.host": "::1"}) as server:
        assert server.url == f"http://[::1]:{server.port}"


def test_the_mock_reaches_its_own_routes():
    """A batch sends its lines through the routes, as a client would."""
    line = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": ANY_CHAT}
    form = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n' + (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
        + json.dumps(line).encode()
        + b"\r\n--b--\r\n"
    )
    with oaiserve.start(set={"mock.speed": 1000, "mock.text": "from the batch"}) as server:
        _, _, body = ask(server.port, "POST", "/v1/files", form, content_type="multipart/form-data; boundary=b")
        asked = {"input_file_id": json.loads(body)["id"], "endpoint": line["url"], "completion_window": "24h"}
        _, _, body = ask(server.port, "POST", "/v1/batches", asked)
        batch = json.loads(body)
        while batch["status"] != "completed":
            time.sleep(0.01)
            batch = json.loads(ask(server.port, "GET", f"/v1/batches/{batch['id']}")[2])
        _, _, body = ask(server.port, "GET", f"/v1/files/{batch['output_file_id']}/content")
    assert b"from the batch" in body
