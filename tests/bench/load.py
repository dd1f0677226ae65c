"""The load of the throughput rows: `connections` clients, each asking again as soon as its answer is complete.

wrk where it is installed, otherwise a loop of our own in a process of its own (run as a script). Both count complete
answers only, and both count what went wrong.
"""

from __future__ import annotations

import json
import pathlib
import resource
import selectors
import shutil
import socket
import subprocess
import sys
import time
from typing import NamedTuple

from answers import answer_end
from peers import CannotMeasure, Peer, cpu_seconds, on_core
from traffic import Template, Traffic, requests, template, wrk_script

_IDLE_SHARE = 0.03  # of a core
_IDLE_PAUSE_SECONDS = 0.1
_IDLE_LIMIT_SECONDS = 20.0


class Load(NamedTuple):
    """What one run of load came to.

    `cpu_seconds` is what an answer cost the server (0 where that is not known): it does not change when other programs
    want the same core. `busy` is the share of its own core that the generator used.
    """

    answers_per_second: float
    cpu_seconds: float
    failures: int
    busy: float


def generator() -> str:
    """Name what makes the load on this machine."""
    return "wrk" if shutil.which("wrk") else "the bench's own generator"


def run_load(
    peer: Peer,
    traffic: Traffic,
    stream: bool,
    seed: int,
    seconds: int,
    connections: int,
    core: int | None,
    folder: pathlib.Path,
) -> Load:
    """Load one server for whole seconds; raises CannotMeasure when the generator itself fails."""
    server = peer.process.pid
    _wait_until_idle(server)
    common = template(traffic, peer.port, peer.path, stream, peer.keys)
    if shutil.which("wrk"):
        script = folder / "wrk.lua"
        script.write_text(wrk_script(common, seed))
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", f"{seconds}s", "-s", str(script)]
        command.append(f"http://127.0.0.1:{peer.port}")
    else:
        task = {"port": peer.port, "common": common, "seed": seed, "seconds": seconds, "connections": connections}
        command = [sys.executable, __file__, json.dumps(task)]
    used, served, began = children_seconds(), cpu_seconds(server), time.perf_counter()
    with on_core(core):
        run = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 20, check=False)
    busy = (children_seconds() - used) / (time.perf_counter() - began)
    served = cpu_seconds(server) - served
    if run.returncode:
        raise CannotMeasure(f"{command[0]} failed: {(run.stderr or run.stdout).strip()[-300:]}")
    counted = json.loads(run.stdout.strip().splitlines()[-1])
    answers, failures = counted["answers"], counted["failures"]
    if not answers:
        raise CannotMeasure(f"{peer.name} gave no answer to a load of {seconds} s, and {failures} failures")
    return Load(answers / counted["seconds"], served / answers, failures, busy)


def _wait_until_idle(server: int) -> None:
    """Wait until a server has done with the load before: thousands of connections that broke off take it a while."""
    limit = time.perf_counter() + _IDLE_LIMIT_SECONDS
    used, before = cpu_seconds(server), -1.0
    while used - before > _IDLE_SHARE * _IDLE_PAUSE_SECONDS and time.perf_counter() < limit:
        time.sleep(_IDLE_PAUSE_SECONDS)
        used, before = cpu_seconds(server), used


def children_seconds() -> float:
    """Return how long the children that have ended were running on a core."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


class Client:
    """One connection of the bench's own generator."""

    def __init__(self, port: int) -> None:
        self.connection = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.connection.setblocking(False)
        self._received = b""

    def ask(self, request: bytes) -> None:
        self._received = b""
        self.connection.send(request)

    def read(self) -> int:
        """Return the status of the answer once it is complete, 0 before; -1 when the server has closed."""
        piece = self.connection.recv(65536)
        self._received += piece
        if not piece:
            return -1
        return int(self._received[9:12]) if answer_end(self._received) > 0 else 0


def ask_in_a_loop(port: int, common: Template, seed: int, seconds: float, connections: int) -> dict[str, float]:
    """Keep `connections` requests under way for `seconds`; count complete answers with status 200, and the others."""
    made = requests(common, seed)
    clients = [Client(port) for _ in range(connections)]
    selector = selectors.DefaultSelector()
    began = time.perf_counter()
    for client in clients:
        selector.register(client.connection, selectors.EVENT_READ, client)
        client.ask(next(made))
    answers = failures = 0
    while time.perf_counter() < began + seconds and selector.get_map():
        for key, _ in selector.select(0.1):
            status = key.data.read()
            if status == 0:
                continue
            answers += status == 200
            failures += status != 200
            if status < 0:
                selector.unregister(key.fileobj)
            else:
                key.data.ask(next(made))
    return {"answers": answers, "seconds": time.perf_counter() - began, "failures": failures}


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    given["common"] = Template(*given["common"])
    print(json.dumps(ask_in_a_loop(**given)))
