"""SIGHUP: what the running program reads again, what it keeps, and what a mistake changes (nothing)."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import pty
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest
from certificates import Certificate
from programs import ANY_CHAT, ask, running

import oaiserve
from protocol.errors import UsageError
from protocol.program.lasting import LASTING_OF_SINGLE
from protocol.server.server import LASTING

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no SIGHUP here")

WORKERS = pytest.mark.parametrize("workers", [1, 2])
READ_AGAIN = "configuration was read again"
STAYS = "configuration stays as it was: "


def hash_of(key):
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


ALICE, BOB = "sk-oai-alice-0123456789", "sk-oai-bob-0123456789"
KEYS = {name: f"[key {name}]\nhash = {hash_of(key)}\nrequests = 100/day\n" for name, key in
        (("alice", ALICE), ("bob", BOB))}  # fmt: skip


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def chat(connection, key="", body=ANY_CHAT):
    fields = {"content-type": "application/json", **({"authorization": f"Bearer {key}"} if key else {})}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), fields)
    answer = connection.getresponse()
    return answer.status, answer, answer.read()


def said(body):
    return json.loads(body)["choices"][0]["message"]["content"]


def reload(program, words=READ_AGAIN):
    program.process.send_signal(signal.SIGHUP)
    program.until_logged(words)


class Connections:
    """Kept connections, some to each worker as it comes."""

    def __init__(self, program, count=8):
        self.open = [http.client.HTTPConnection("127.0.0.1", program.port, timeout=100) for _ in range(count)]

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        for connection in self.open:
            connection.close()

    def statuses(self, key=""):
        return {chat(connection, key)[0] for connection in self.open}

    def until(self, wanted, key=""):
        """Ask until every worker answers so: a parent says that it has read again before its workers have."""
        while self.statuses(key) != {wanted}:
            pass


@WORKERS
def test_answers_are_the_new_ones(command, tmp_path, workers):
    config = write(tmp_path / "c.ini", "[mock]\ntext = before\n[routes]\n* = mock\n")
    with running(command, "-c", config, "--workers", str(workers)) as program, Connections(program) as connections:
        assert {said(chat(one)[2]) for one in connections.open} == {"before"}
        write(tmp_path / "c.ini", "[mock]\ntext = after\n[routes]\n* = mock\n")
        reload(program)
        while {said(chat(one)[2]) for one in connections.open} != {"after"}:
            assert workers > 1
        assert said(ask(program.port, "POST", "/v1/chat/completions", ANY_CHAT)[2]) == "after"


@WORKERS
def test_a_deleted_key_works_no_more_and_a_new_one_does(command, tmp_path, workers):
    keys = write(tmp_path / "keys.ini", KEYS["alice"] + KEYS["bob"])
    options = ["--set", f"server.keys_file={keys}", "--workers", str(workers)]
    with running(command, *options) as program, Connections(program) as connections:
        assert connections.statuses(ALICE) == connections.statuses(BOB) == {200}
        write(tmp_path / "keys.ini", KEYS["bob"])
        reload(program)
        if workers == 1:
            assert connections.statuses(ALICE) == {401}
        connections.until(401, ALICE)
        assert connections.statuses(BOB) == {200}
        write(tmp_path / "keys.ini", KEYS["alice"])
        reload(program)
        connections.until(200, ALICE)
        connections.until(401, BOB)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no workers here")
def test_a_worker_that_is_started_again_has_what_was_read(command, tmp_path):
    keys = write(tmp_path / "keys.ini", KEYS["alice"] + KEYS["bob"])
    config = write(tmp_path / "c.ini", f"[server]\nkeys_file = {keys}\n[mock]\ntext = before\n[routes]\n* = mock\n")
    with running(command, "-c", config, "--workers", "2") as program:
        write(tmp_path / "c.ini", f"[server]\nkeys_file = {keys}\n[mock]\ntext = after\n[routes]\n* = mock\n")
        write(tmp_path / "keys.ini", KEYS["bob"])
        reload(program)
        workers = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(program.process.pid)], capture_output=True, text=True, check=False
        )
        for worker in workers.stdout.split():
            os.kill(int(worker), signal.SIGKILL)
            program.until_logged("starting another")
        while not accepts(program.port):
            time.sleep(0.05)
        with Connections(program) as connections:
            assert {said(chat(one, BOB)[2]) for one in connections.open} == {"after"}
            assert connections.statuses(ALICE) == {401}


def test_what_was_taken_of_a_limit_stays_taken(command, tmp_path):
    keys = write(tmp_path / "keys.ini", KEYS["alice"])
    with running(command, "--set", f"server.keys_file={keys}") as program, Connections(program, 1) as connections:
        (one,) = connections.open
        left = [int(chat(one, ALICE)[1].getheader("x-ratelimit-remaining-requests")) for _ in range(3)]
        reload(program)
        assert left == [99, 98, 97]
        assert chat(one, ALICE)[1].getheader("x-ratelimit-remaining-requests") == "96"


@WORKERS
def test_a_mistake_changes_nothing_and_is_told(command, tmp_path, workers):
    config = write(tmp_path / "c.ini", "[mock]\ntext = before\n[routes]\n* = mock\n")
    options = ["-c", config, "--workers", str(workers), "--set", f"server.keys_file={tmp_path}/keys.ini"]
    write(tmp_path / "keys.ini", KEYS["alice"])
    with running(command, *options) as program, Connections(program) as connections:
        write(tmp_path / "c.ini", "[mock]\ntext = after\ndelay = soon\n[routes]\n* = mock\n")
        reload(program, f"{STAYS}{config}")
        assert {said(chat(one, ALICE)[2]) for one in connections.open} == {"before"}
        write(tmp_path / "c.ini", "[mock]\ntext = after\n[routes]\n* = mock\n")
        write(tmp_path / "keys.ini", KEYS["bob"] + "[key carol]\nhash = none\n")
        reload(program, STAYS)
        assert {said(chat(one, ALICE)[2]) for one in connections.open} == {"before"}
        write(tmp_path / "keys.ini", KEYS["bob"])
        reload(program)
        connections.until(401, ALICE)
        assert said(chat(connections.open[0], BOB)[2]) == "after"


def test_a_running_answer_ends_as_it_began(command, tmp_path):
    config = write(tmp_path / "c.ini", "[mock]\ntext = one two three four five six\ndelay = 0.2\n[routes]\n* = mock\n")
    with running(command, "-c", config) as program:
        connection = http.client.HTTPConnection("127.0.0.1", program.port, timeout=100)
        fields = {"content-type": "application/json"}
        connection.request("POST", "/v1/chat/completions", json.dumps({**ANY_CHAT, "stream": True}), fields)
        answer = connection.getresponse()
        first = answer.readline()
        write(tmp_path / "c.ini", "[mock]\ntext = other\n[routes]\n* = mock\n")
        reload(program)
        text = (first + answer.read()).decode()
        assert [word for word in ("one", "three", "six", "other") if word in text] == ["one", "three", "six"]
        assert text.endswith("data: [DONE]\n\n")
        assert said(chat(connection)[2]) == "other"
        connection.close()


def test_a_relay_is_left_when_its_last_answer_is_over(command, tmp_path):
    """The connections of the old one are closed, and not before."""
    go_on, over = threading.Event(), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        upstream = listening.getsockname()[1]

        def serve():
            sock, _ = listening.accept()
            with sock:
                sock.recv(65536)
                sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 6\r\n\r\nold")
                go_on.wait(100)
                sock.sendall(b"end")
                assert sock.recv(1) == b""
                over.set()

        serving = threading.Thread(target=serve)
        serving.start()
        base = "[relay]\nbase_url = http://127.0.0.1:{}\napi_key =\n[routes]\n* = relay\n"
        config = write(tmp_path / "c.ini", base.format(upstream))
        with running(command, "-c", config) as program, running(command, "mock") as mock:
            connection = http.client.HTTPConnection("127.0.0.1", program.port, timeout=100)
            connection.request("GET", "/v1/files")
            answer = connection.getresponse()
            assert answer.read(3) == b"old"
            write(tmp_path / "c.ini", base.format(mock.port))
            reload(program)
            assert ask(program.port, "GET", "/v1/models")[0] == 200
            assert not over.is_set()
            go_on.set()
            assert answer.read() == b"end"
            assert over.wait(100)
            connection.close()
        serving.join()


def test_the_mock_remembers_what_it_was_told_where_its_section_is_as_it_was(command, tmp_path):
    config = write(tmp_path / "c.ini", "[mock]\ntext = same\n[routes]\n* = mock\n")
    form = (
        b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n{}\r\n--b--\r\n'
    )
    with running(command, "-c", config) as program:
        _, _, body = ask(program.port, "POST", "/v1/files", form, content_type="multipart/form-data; boundary=b")
        path = f"/v1/files/{json.loads(body)['id']}"
        for more, status in (("", 200), ("delay = 0.01\n", 404)):
            write(tmp_path / "c.ini", f"[server]\ncors_origins = *\n[mock]\ntext = same\n{more}[routes]\n* = mock\n")
            reload(program)
            got, fields, _ = ask(program.port, "GET", path, origin="https://a.example")
            assert (got, fields["access-control-allow-origin"]) == (status, "*")


@WORKERS
def test_a_log_that_was_moved_away_is_begun_anew_even_beside_a_mistake(command, tmp_path, workers):
    log = tmp_path / "requests.log"
    config = write(tmp_path / "c.ini", f"[server]\nlog_file = {log}\n")
    with running(command, "-c", config, "--workers", str(workers)) as program:
        assert ask(program.port, "GET", "/v1/models")[0] == 200
        for number, text in enumerate((f"[server]\nlog_file = {log}\n", f"[server]\nlog_file = {log}\nmax_body = x\n")):
            write(tmp_path / "c.ini", text)
            os.rename(log, tmp_path / f"{number}.log")
            program.process.send_signal(signal.SIGHUP)
            while not log.exists() or "Request completed" not in log.read_text():
                ask(program.port, "GET", "/v1/models")
    written = [(tmp_path / name).read_text() for name in ("0.log", "1.log", "requests.log")]
    assert all("Request completed" in text for text in written)
    assert [READ_AGAIN in "".join(written), STAYS in "".join(written)] == [True, True]


def test_a_log_may_become_another(command, tmp_path):
    config = write(tmp_path / "c.ini", "[server]\nlog = off\n")
    with running(command, "-c", config) as program:
        write(tmp_path / "c.ini", "[server]\nlog = json\n")
        program.process.send_signal(signal.SIGHUP)
        assert READ_AGAIN in json.loads(program.process.stderr.readline())["message"]
        write(tmp_path / "c.ini", f"[server]\nlog_file = {tmp_path}/no/such/folder\n")
        program.process.send_signal(signal.SIGHUP)
        assert "cannot be written" in json.loads(program.process.stderr.readline())["message"]
        ask(program.port, "GET", "/v1/models")
        assert json.loads(program.process.stderr.readline())["event"] == "request_started"


@WORKERS
def test_what_needs_a_restart_is_said_and_stays(command, tmp_path, workers):
    config = write(tmp_path / "c.ini", "[server]\nmax_body = 1M\n")
    with running(command, "-c", config, "--workers", str(workers)) as program:
        write(tmp_path / "c.ini", f"[server]\nmax_body = 2k\nhost = 0.0.0.0\n[ledger]\nfile = {tmp_path}/usage.db\n")
        program.process.send_signal(signal.SIGHUP)
        line = program.process.stderr.readline()
        assert READ_AGAIN in line
        assert "[server] host, [server] max_body, [ledger] file will be as they are said once it is started" in line
        assert ask(program.port, "POST", "/v1/chat/completions", {**ANY_CHAT, "user": "x" * 3000})[0] == 200
        # It is not the last reload that they are held against.
        reload(program, "[server] max_body")


def accepts(port):
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def subject_serial(port, context):
    with socket.create_connection(("127.0.0.1", port), timeout=100) as sock:
        with context.wrap_socket(sock, server_hostname="localhost") as tls:
            return tls.getpeercert()["serialNumber"]


@WORKERS
def test_certificates_are_read_again(command, tmp_path, workers):
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    old, new = Certificate(tmp_path / "old"), Certificate(tmp_path / "new")
    both = ssl.create_default_context(cafile=old.cert_file)
    both.load_verify_locations(new.cert_file)
    options = ["--set", f"server.certfile={old.cert_file}", "--set", f"server.keyfile={old.key_file}"]
    with running(command, *options, "--workers", str(workers)) as program:
        first = subject_serial(program.port, both)
        write(tmp_path / "old" / "cert.pem", "no certificate")
        reload(program, f"{STAYS}[server] certfile")
        assert subject_serial(program.port, both) == first
        os.replace(new.cert_file, old.cert_file)
        os.replace(new.key_file, old.key_file)
        reload(program)
        while subject_serial(program.port, both) == first:
            assert workers > 1


def test_a_certificate_that_cannot_be_used_is_a_mistake_of_the_configuration(capsys):
    assert oaiserve.main(["--check", "--set", "server.certfile=/no/such/file"]) == 2
    assert "certfile = '/no/such/file'" in capsys.readouterr().err


@WORKERS
@pytest.mark.parametrize("is_ignored", [False, True])
def test_a_terminal_that_is_closed_ends_the_server_unless_the_signal_was_ignored(command, workers, is_ignored):
    """As ever in a terminal, and under nohup."""
    reading, writing = os.pipe()
    process, terminal = pty.fork()
    if not process:
        os.dup2(writing, 1)
        signal.signal(signal.SIGHUP, signal.SIG_IGN if is_ignored else signal.SIG_DFL)
        os.execvp(command[0], [*command, "--port", "0", "--workers", str(workers)])
    os.close(writing)
    with os.fdopen(reading) as banner:
        url = next(line for line in banner if "listens on" in line)
        port = int(url.split("http://127.0.0.1:")[1].split()[0])
        while "stop it" not in banner.readline():
            pass
        os.close(terminal)
        if is_ignored:
            os.kill(process, signal.SIGHUP)
            assert ask(port, "GET", "/health")[0] == 200
            os.kill(process, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0


def test_every_key_that_lasts_is_one():
    settings = oaiserve.load_settings()
    assert all(hasattr(settings.server, name) for name in LASTING)
    for section, names in LASTING_OF_SINGLE.items():
        assert all(hasattr(settings.single[section], name) for name in names)


def test_a_program_s_own_server_has_no_handler_of_signals():
    before = signal.getsignal(signal.SIGHUP)
    with oaiserve.start():
        assert signal.getsignal(signal.SIGHUP) is before
    with pytest.raises(UsageError):
        oaiserve.start(set={"server.certfile": "/no/such/file"})
