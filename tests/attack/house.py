"""The server that is attacked, the client beside it, and what the attack does to both."""

from __future__ import annotations

import json
import os
import pathlib
import re
import selectors
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import NamedTuple

from kinds import Shot

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_VICTIM = pathlib.Path(__file__).with_name("victim.py")
_WATCHED = pathlib.Path(__file__).with_name("watched.py")
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_KILOBYTE = 1024

# watched.py's: the longest callback's seconds, the bytes that are held, how often these were counted.
_NOTE = struct.Struct("dqq")

# What every server loads and remembers once is loaded after so many times; what grows is seen by as many more.
_TIMES = 3

# A crowd's bytes are taken as far as they will be once none was for so long.
_QUIET_SECONDS = 1.0

# What is held is looked at so often at most, until it has become no less by so many bytes.
_MOST_LOOKS = 20
_SAME_BYTES = 65536


class Program:
    """A running server process on a free port."""

    def __init__(self, server: pathlib.Path, *options: str) -> None:
        self._note = tempfile.NamedTemporaryFile()
        os.pwrite(self._note.fileno(), _NOTE.pack(0.0, 0, 0), 0)
        command = [sys.executable, str(_WATCHED), self._note.name, str(server), *options]
        self.process = subprocess.Popen(
            [*command, "--port", "0", "--set", "server.log=off"], stdout=subprocess.PIPE, text=True, cwd=_ROOT
        )
        assert self.process.stdout is not None
        banner = ""
        while "stop it" not in banner:
            line = self.process.stdout.readline()
            if not line:
                raise RuntimeError(f"the server did not start: {banner}")
            banner += line
        found = re.search(r"https?://\S+?:(\d+)", banner)
        assert found is not None
        self.port = int(found[1])

    def cpu_seconds(self) -> float:
        """Return the CPU time that it has taken."""
        fields = self._proc("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory(self, which: str) -> int:
        """Return bytes: VmRSS, what is resident, or VmHWM, the most that ever was since `begin_anew`."""
        found = re.search(rf"{which}:\s+(\d+)", self._proc("status"))
        return int(found[1]) * _KILOBYTE if found else 0

    def held(self) -> int:
        """Return the bytes that it holds, as watched.py counts them; RuntimeError where it does not say within 60 s."""
        before = self._note_now()[2]
        self.process.send_signal(signal.SIGRTMIN)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            _, held, count = self._note_now()
            if count != before:
                return held
            time.sleep(0.01)
        raise RuntimeError("the server did not say what it holds")

    def longest_turn(self) -> float:
        """Return the CPU time in seconds of the loop's longest callback since `begin_anew`."""
        return self._note_now()[0]

    def begin_anew(self) -> None:
        """Let VmHWM (proc(5), clear_refs) and the longest turn begin anew."""
        pathlib.Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
        os.pwrite(self._note.fileno(), struct.pack("d", 0.0), 0)

    def _note_now(self) -> tuple[float, int, int]:
        seconds, held, count = _NOTE.unpack(os.pread(self._note.fileno(), _NOTE.size, 0))
        return seconds, held, count

    def _proc(self, name: str) -> str:
        return pathlib.Path(f"/proc/{self.process.pid}/{name}").read_text()

    def stop(self) -> None:
        """End it."""
        self.process.kill()
        self.process.communicate()


class Victim:
    """The client beside the attack."""

    def __init__(self, port: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(_VICTIM), str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            raise RuntimeError("the client beside the attack got no answer")

    def stop(self) -> tuple[float, list[str]]:
        """End it; return its longest wait in seconds, and what failed."""
        out, _ = self._process.communicate()
        told = json.loads(out)
        return told["worst"], told["failures"]


class Found(NamedTuple):
    """What an attack did: seconds, bytes, and the statuses that it was answered with."""

    name: str
    worst: float
    turn: float
    cpu: float
    peak: int
    left: int
    statuses: Sequence[str]
    failures: Sequence[str]


def fire(port: int, shot: Shot, identifier: str = "", seconds: float = 120.0) -> tuple[str, str]:
    """Send one request; return how it was answered, and the id in the answer.

    The answer is read to its end while the request goes out, because a refusal comes before the body is taken.
    """
    unsent = memoryview(shot.to_bytes(identifier))
    head = b""
    until = time.monotonic() + seconds
    with (
        socket.create_connection(("127.0.0.1", port), timeout=seconds) as sock,
        selectors.DefaultSelector() as selector,
    ):
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_READ | selectors.EVENT_WRITE)
        length, seen = -1, 0
        while time.monotonic() < until:
            for _, events in selector.select(1.0):
                if events & selectors.EVENT_WRITE:
                    try:
                        unsent = unsent[sock.send(unsent[:262144]) :]
                    except BlockingIOError:
                        pass
                    except OSError:
                        unsent = unsent[:0]
                    if not unsent:
                        selector.modify(sock, selectors.EVENT_READ)
                if events & selectors.EVENT_READ:
                    try:
                        data = sock.recv(262144)
                    except OSError:
                        data = b""
                    if len(head) < 65536:
                        head += data
                    seen += len(data)
                    if length < 0 and b"\r\n\r\n" in head:
                        found = re.search(rb"\r\ncontent-length: (\d+)", head, re.IGNORECASE)
                        length = int(found[1]) + head.index(b"\r\n\r\n") + 4 if found else 0
                    is_chunked_end = length == 0 and data.endswith(b"0\r\n\r\n")
                    if not data or (length > 0 and seen >= length) or is_chunked_end:
                        return _told(head)
    return "no answer", ""


def fire_at_once(port: int, shot: Shot, count: int, seconds: float = 120.0) -> list[str]:
    """Send a request on so many connections at once, until no more of it is taken, and read nothing before that.

    Return how each was answered.
    """
    data = shot.to_bytes()
    with selectors.DefaultSelector() as selector:
        unsent: dict[socket.socket, memoryview] = {}
        for _ in range(count):
            sock = socket.create_connection(("127.0.0.1", port), timeout=seconds)
            sock.setblocking(False)
            unsent[sock] = memoryview(data)
            selector.register(sock, selectors.EVENT_WRITE)
        until = time.monotonic() + seconds
        while time.monotonic() < until and selector.get_map():
            ready = selector.select(_QUIET_SECONDS)
            if not ready:
                break
            for key, _ in ready:
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                try:
                    unsent[sock] = unsent[sock][sock.send(unsent[sock][:262144]) :]
                except BlockingIOError:
                    pass
                except OSError:
                    unsent[sock] = unsent[sock][:0]
                if not unsent[sock]:
                    selector.unregister(sock)
    return [_left_at_once(sock) for sock in unsent]


def _left_at_once(sock: socket.socket) -> str:
    """Close a connection with a reset; return how it was answered by then."""
    with sock:
        try:
            head = sock.recv(4096)
        except OSError:
            head = b""
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return _told(head)[0]


def _told(head: bytes) -> tuple[str, str]:
    status = head[9:12].decode("latin-1") or "closed"
    found = re.search(rb'"id": ?"([^"]+)"', head)
    return status, found[1].decode() if found else ""


def attack(program: Program, name: str, shots: Sequence[Shot], crowd: int = 1) -> Found:
    """Fire the shots six times, with a client beside the fourth; what the last three leave grows with repetition."""
    for _ in range(_TIMES):
        _fire_all(program.port, shots, crowd)
        _settle()
    before = _held_at_rest(program)
    cpu = program.cpu_seconds()
    victim = Victim(program.port)
    program.begin_anew()
    try:
        statuses = _fire_all(program.port, shots, crowd)
    finally:
        worst, failures = victim.stop()
    turn, cpu, peak = program.longest_turn(), program.cpu_seconds() - cpu, program.memory("VmHWM")
    for _ in range(_TIMES - 1):
        _settle()
        _fire_all(program.port, shots, crowd)
    left = max(0, _held_at_rest(program) - before)
    return Found(
        name,
        worst,
        turn,
        cpu,
        peak,
        left,
        statuses,
        failures,
    )


def _settle() -> None:
    """Let what is done behind an answer's back be done."""
    time.sleep(0.3)


def _held_at_rest(program: Program) -> int:
    """Return what a server holds once that grows no less: on a busy machine an answer may be on its way for seconds."""
    held, again = program.held(), 0
    for _ in range(_MOST_LOOKS):
        _settle()
        held, again = min(held, again or held), program.held()
        if again > held - _SAME_BYTES:
            break
    return min(held, again)


def _fire_all(port: int, shots: Sequence[Shot], crowd: int) -> list[str]:
    if crowd > 1:
        return [status for shot in shots for status in fire_at_once(port, shot, crowd)]
    statuses = []
    identifier = ""
    for shot in shots:
        status, told = fire(port, shot, identifier)
        statuses.append(status)
        if not shot.needs_id or not identifier:
            identifier = told or identifier
    return statuses
