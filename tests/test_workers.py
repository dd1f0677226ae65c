"""protocol/server/workers.py: the parent of workers that do whatever a test wants, in a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    not (hasattr(os, "fork") and hasattr(socket, "SO_REUSEPORT")), reason="no shared ports here"
)

PRELUDE = """
import os, signal, socket, sys, time
import oaiserve
from protocol.server.workers import run_workers

def run(count, work, **server):
    settings = oaiserve.load_settings(set={f"server.{key}": value for key, value in server.items()}).server
    return run_workers(count, settings, work, lambda port: os.write(1, b"listens\\n"))
"""


class Parent:
    """A running script whose `run(count, work)` is the parent of workers."""

    def __init__(self, script):
        root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        self.process = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": root},
        )  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def line(self):
        return self.process.stdout.readline().rstrip("\n")

    def end(self):
        """Return (exit status, standard output, standard error) when it has ended."""
        output, errors = self.process.communicate(timeout=100)
        return self.process.returncode, output, errors


@pytest.mark.parametrize(
    ("work", "cause"),
    [("lambda place: 3", "exit status 3"), ("lambda place: 1 // 0", "exit status 1"), ("die", "signal 6")],
)
def test_workers_that_die_as_fast_as_they_are_started_are_given_up(work, cause):
    with Parent(f"""
def die(place):
    os.abort()

sys.exit(run(1, {work}))
""") as parent:
        status, output, errors = parent.end()
    assert (status, output) == (1, "")
    assert errors.count(f"ended ({cause}); starting another") == 4
    assert errors.endswith("WorkersFailed: 5 workers in a row ended right after their start; see above\n")
    assert errors.count("oaiserve: a worker failed: ZeroDivisionError") == (5 if "//" in work else 0)


@pytest.mark.parametrize("end", ["SIGKILL", "SIGHUP", "SIGTERM"])
def test_workers_that_somebody_else_ends_do_not_end_the_service(end):
    with Parent("""
def work(place):
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may have it ignored
    place.ready()
    os.write(1, b"%d\\n" % os.getpid())
    while True:
        signal.pause()

sys.exit(run(1, work))
""") as parent:
        ended = []
        while len(ended) < 7:
            line = parent.line()
            if line.isdigit():
                ended.append(int(line))
                os.kill(ended[-1], getattr(signal, end))
        parent.process.send_signal(signal.SIGTERM)
        status, _, errors = parent.end()
    assert status == 0 and len(set(ended)) == 7
    assert errors.count("; starting another") >= 6 and "Traceback" not in errors


def test_a_worker_that_is_told_to_stop_before_it_can_tell_what_that_means_ends():
    with Parent("""
def setpgid(*group):  # what a worker does first
    os.kill(os.getppid(), signal.SIGTERM)
    signal.pause()

os.setpgid = setpgid

def work(place):
    place.ready()
    os.write(1, b"begun\\n")
    while True:
        signal.pause()

sys.exit(run(1, work))
""") as parent:
        assert parent.end() == (0, "", "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no full disk to be had")
def test_a_parent_that_cannot_say_that_a_worker_ended_starts_another_all_the_same():
    with Parent("""
os.dup2(os.open("/dev/full", os.O_WRONLY), 2)
def work(place):
    place.ready()
    os.write(1, b"%d\\n" % os.getpid())
    while True:
        signal.pause()

sys.exit(run(1, work))
""") as parent:
        first = next(int(line) for line in iter(parent.line, None) if line.isdigit())
        os.kill(first, signal.SIGKILL)
        second = next(int(line) for line in iter(parent.line, None) if line.isdigit())
        assert second != first
        parent.process.send_signal(signal.SIGTERM)
        assert parent.end()[0] == 0


def test_port_is_announced_once_when_all_workers_listen_and_each_has_a_socket_of_its_own():
    with Parent("""
def work(place):
    (sock,) = place.sockets
    sock.listen()
    os.write(1, b"%d\\n" % sock.getsockname()[1])
    place.ready()
    os.read(place.lifeline, 1)

run(3, work)
""") as parent:
        lines = [parent.line() for _ in range(4)]
        parent.process.kill()  # the workers see it by their lifeline, which is at its end
        parent.process.wait()
        assert parent.process.stdout.read() == ""
    assert lines[-1] == "listens" and len(set(lines[:3])) == 1 and int(lines[0]) > 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_passed_on_one_by_one(number):
    with Parent("""
told = []
def note(number, frame):
    told.append(number)
    os.write(1, b"told\\n")

def work(place):
    signal.signal(signal.SIGTERM, note)
    place.ready()
    while len(told) < 2:
        time.sleep(0.01)
    return 0

sys.exit(run(1, work))
""") as parent:
        assert parent.line() == "listens"
        for _ in range(2):
            parent.process.send_signal(number)
            assert parent.line() == "told"
        assert parent.end() == (0, "", "")


def test_a_worker_that_outstays_its_time_is_killed():
    with Parent("""
def work(place):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    place.ready()
    while True:
        signal.pause()

sys.exit(run(1, work, drain_timeout=0))
""") as parent:
        assert parent.line() == "listens"
        parent.process.send_signal(signal.SIGTERM)
        # Standard output ends with the last of those that hold it: the worker is gone as well.
        assert parent.end() == (0, "", "")


def test_a_platform_that_cannot_share_a_port_is_told_what_to_set():
    with Parent("""
del socket.SO_REUSEPORT
run(2, lambda place: 0)
""") as parent:
        status, _, errors = parent.end()
    assert status == 1
    assert errors.endswith("UsageError: [server] workers = 2: this platform cannot share a port; set it to 1\n")


def test_a_port_that_somebody_listens_on_is_not_shared_with_him():
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as taken:
        with Parent(f"run(2, lambda place: 0, port={taken.getsockname()[1]})") as parent:
            status, output, errors = parent.end()
    assert (status, output) == (1, "") and "Address already in use" in errors


def test_an_ipv6_address_is_shared_too():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    with Parent("""
def work(place):
    print(place.sockets[0].getsockname()[0], flush=True)
    place.ready()
    os.read(place.lifeline, 1)

run(1, work, host="::1")
""") as parent:
        assert [parent.line(), parent.line()] == ["::1", "listens"]
