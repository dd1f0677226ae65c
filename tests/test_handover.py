"""systemd's sockets and messages, and SIGUSR2: an upgrade that loses no request."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from programs import ANY_CHAT, ask, running

from protocol.errors import UsageError
from protocol.server.handover import Manager, take_over

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no handing over of sockets here")

WORKERS = pytest.mark.parametrize("workers", [1, 2])
TAKEN_OVER = re.compile(r"The new process (\d+) has taken over")


# ---- sockets


def in_child(sockets, code, **environ):
    """Run code in a child whose descriptors from 3 on are sockets, as systemd starts one; return what it prints."""
    script = (
        "import os, sys\n"
        f"sockets = {[sock.fileno() for sock in sockets]}\n"
        "copies = [os.dup(number) for number in sockets]\n"
        "for number, copy in enumerate(copies, 3): copy == number or os.dup2(copy, number)\n"
        "for number, _ in enumerate(copies, 3): os.set_inheritable(number, True)\n"
        "os.environ['LISTEN_PID'] = str(os.getpid())\n"
        f"os.execvp({sys.executable!r}, [{sys.executable!r}, *{code!r}])\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        pass_fds=[sock.fileno() for sock in sockets], env={**os.environ, "LISTEN_FDS": str(len(sockets)), **environ},
    )  # fmt: skip


@WORKERS
def test_a_socket_that_was_handed_over_is_listened_on(command, workers):
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        process = in_child([sock], [*command[1:], "--workers", str(workers)])
        try:
            assert f"http://127.0.0.1:{port} " in process.stdout.readline()
            for _ in range(10):
                assert ask(port, "GET", "/v1/models")[0] == 200
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=100)
            assert process.returncode == 0
            # It is still there, for the next one.
            with socket.create_connection(("127.0.0.1", port), timeout=100):
                pass
        finally:
            process.kill()
            process.communicate()


def test_a_socket_that_is_none_of_tcp_is_a_mistake(command):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = in_child([ours], command[1:])
        _, errors = process.communicate(timeout=100)
    assert process.returncode == 2 and "expected" not in errors and "none of TCP" in errors


@pytest.mark.parametrize("environ", [{}, {"LISTEN_FDS": "1", "LISTEN_PID": "1"}, {"LISTEN_FDS": "1"}])
def test_what_was_handed_to_another_process_is_left_alone(environ):
    assert take_over(environ).sockets == [] and "LISTEN_FDS" not in environ


def test_a_descriptor_that_is_no_socket_is_a_mistake():
    reading, writing = os.pipe()
    with pytest.raises(UsageError, match=f"descriptor {reading}.*expected a socket"):
        take_over({"_OAISERVE_HANDOVER": f"{writing},{reading}"})
    os.close(reading)
    os.close(writing)


# ---- messages to the service manager


@pytest.fixture
def manager(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(100)
        yield listening


def heard(manager, wanted):
    """Return the next message that is none of the watchdog's, which must begin so."""
    while (message := manager.recv(4096).decode()) == "WATCHDOG=1":
        pass
    assert message.startswith(wanted)
    return message


@WORKERS
def test_systemd_hears_how_it_is(command, manager, workers):
    given = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "100000"}
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    with running(command, "--workers", str(workers), **given) as program:
        assert heard(manager, "READY=1") == "READY=1"
        for _ in range(3):
            assert manager.recv(4096) == b"WATCHDOG=1"
        program.process.send_signal(signal.SIGHUP)
        told = heard(manager, "RELOADING=1\nMONOTONIC_USEC=").partition("USEC=")[2]
        assert before < int(told) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        heard(manager, "READY=1")
        program.process.send_signal(signal.SIGTERM)
        heard(manager, "STOPPING=1")


def test_nobody_is_told_of_a_watchdog_that_is_another_process_s(manager):
    given = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "100000"}
    assert Manager(given).watchdog_seconds == 0.05
    assert Manager({**given, "WATCHDOG_PID": str(os.getpid())}).watchdog_seconds == 0.05
    assert Manager({**given, "WATCHDOG_PID": "1"}).watchdog_seconds == 0.0
    assert Manager({"NOTIFY_SOCKET": manager.getsockname()}).watchdog_seconds == 0.0


def test_a_manager_that_has_gone_is_no_matter(tmp_path):
    told = Manager({"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    told.ready()
    told.succeeded_by(1)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
@pytest.mark.parametrize("unit", ["oaiserve.service", "oaiserve.socket"])
def test_systemd_understands_the_units(tmp_path, unit):
    deploy = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "deploy")
    for name in ("oaiserve.service", "oaiserve.socket"):
        shutil.copy(os.path.join(deploy, name), tmp_path)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(tmp_path / unit)],
        capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if "oaiserve" in line]
    assert (done.returncode, said) == (0, [])


# ---- an upgrade


class Clients:
    """Clients that ask until they are told to stop: some with a new connection each time, some that keep theirs."""

    def __init__(self, port):
        self.answers = []
        self.failures = []
        self._port = port
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(keeps,)) for keeps in (False, False, True, True)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc):
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def until(self, words):
        """Wait until one more answer has these words."""
        seen = len(self.answers)
        while not any(words in text for text in self.answers[seen:]):
            assert not self.failures
            time.sleep(0.01)

    def _ask(self, keeps):
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=100)
        while not self._is_over.is_set():
            try:
                connection.request(
                    "POST", "/v1/chat/completions", json.dumps(ANY_CHAT), {"content-type": "application/json"}
                )
                answer = connection.getresponse()
                text = answer.read().decode()
                assert answer.status == 200
                self.answers.append(text)
            except (OSError, http.client.HTTPException, AssertionError) as exc:
                self.failures.append(exc)
                return
            finally:
                if not keeps:
                    connection.close()
        connection.close()


@contextlib.contextmanager
def ended_after(processes):
    try:
        yield
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM)
        for process in processes:
            while alive(process):
                time.sleep(0.02)


def alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{process}/stat", encoding="ascii") as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"


def successor_of(program):
    while not (found := TAKEN_OVER.search(line := program.process.stderr.readline())):
        assert line, "the log has ended"
    return int(found[1])


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="no /proc here")
@pytest.mark.parametrize(("before", "after"), [(1, 1), (2, 2), (2, 1), (1, 3)])
def test_an_upgrade_loses_no_request(command, tmp_path, manager, before, after):
    config = tmp_path / "c.ini"

    def configure(text, workers):
        config.write_text(f"[server]\nworkers = {workers}\n[mock]\ntext = {text}\n[routes]\n* = mock\n")

    configure("the old one", before)
    given = {"NOTIFY_SOCKET": manager.getsockname()}
    news = []
    with running(command, "-c", str(config), **given) as program, ended_after(news), Clients(program.port) as clients:
        heard(manager, "READY=1")
        clients.until("the old one")
        streaming = http.client.HTTPConnection("127.0.0.1", program.port, timeout=100)
        slow = {**ANY_CHAT, "stream": True, "model": "x"}
        streaming.request("POST", "/v1/chat/completions", json.dumps(slow), {"content-type": "application/json"})
        configure("the new one", after)
        program.process.send_signal(signal.SIGUSR2)
        news.append(successor_of(program))
        assert heard(manager, "MAINPID=") == f"MAINPID={news[0]}"
        streamed = streaming.getresponse().read()
        streaming.close()
        clients.until("the new one")
        assert program.process.wait(100) == 0
        for _ in range(20):
            clients.until("the new one")
        assert streamed.endswith(b"data: [DONE]\n\n")
    assert clients.failures == [] and len(clients.answers) > 40


@WORKERS
def test_a_new_process_that_cannot_start_changes_nothing(command, tmp_path, workers):
    config = tmp_path / "c.ini"
    config.write_text("[mock]\ntext = a\n[routes]\n* = mock\n")
    with running(command, "-c", str(config), "--workers", str(workers)) as program:
        config.write_text("[mock]\ndelay = soon\n[routes]\n* = mock\n")
        for _ in range(2):
            program.process.send_signal(signal.SIGUSR2)
            program.until_logged("ended with exit status 2; this one goes on")
            assert ask(program.port, "GET", "/v1/models")[0] == 200
        assert program.stop()[0] == 0
