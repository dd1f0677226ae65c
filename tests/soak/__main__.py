"""python tests/soak [--minutes M]: run relay and mock under clients that check each answer, beside what fails.

The server has a relay whose upstream fails in every way and is killed every few seconds, a second relay behind it, and
a mock. At the end no answer was mixed up, none was lost without an error, nothing was written to standard error, and
sockets, tasks and memory are back to what they were. Needs Linux and the standard library; it is no part of the suite.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
from typing import Any

from clients import Crowd

_HERE = pathlib.Path(__file__).parent
_CONFIG = """
[server]
journal = no
[mock]
max_stored = 64M
[relay]
base_url = http://127.0.0.1:{failing}
timeout = 3
models =
    asked = sent
[relay steady]
base_url = http://127.0.0.1:{steady}
timeout = 3
[routes]
gpt-* = relay, steady
alone = relay
* = mock
"""
_KILL_EVERY_SECONDS = 7.0
_WARM_UP_SECONDS = 10.0
_REST_SECONDS = 6.0

# What the memory of a server may have grown by when all is over.
_GROWN_BYTES = 8 * 1024 * 1024


class Upstream:
    """The failing upstream, on a port that stays."""

    def __init__(self) -> None:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.port = sock.getsockname()[1]
        self.start()

    def start(self) -> None:
        """Begin, or begin again."""
        command = [sys.executable, str(_HERE / "failing.py"), str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def kill(self) -> None:
        """End in the middle of whatever it does."""
        self._process.kill()
        self._process.communicate()


class Server:
    """The server under test."""

    def __init__(self, config: str) -> None:
        command = [sys.executable, str(_HERE / "served.py"), config]
        self._errors = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def holds(self) -> dict[str, Any]:
        """Return what it holds: tasks, descriptors, objects, resident bytes."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        held: dict[str, Any] = json.loads(self._process.stdout.readline())
        return held

    def stop(self) -> list[str]:
        """End it; return what it has written to standard error."""
        self._process.communicate()
        self._errors.seek(0)
        return self._errors.read().splitlines()


async def _soak(server: Server, failing: Upstream, seconds: float, clients: int, seed: int) -> Crowd:
    loop = asyncio.get_running_loop()
    crowd = Crowd(server.port, clients, seed)
    running = asyncio.ensure_future(crowd.run())
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        await asyncio.sleep(min(_KILL_EVERY_SECONDS, max(0.0, until - time.monotonic())))
        await loop.run_in_executor(None, failing.kill)
        await loop.run_in_executor(None, failing.start)
    crowd.stopping = True
    await running
    return crowd


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python tests/soak", description=(__doc__ or "").split(": ", 1)[1].split("\n")[0]
    )
    parser.add_argument("--minutes", type=float, default=1.0, help="how long (default %(default)s)")
    parser.add_argument("--clients", type=int, default=40, help="clients at once (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of what is asked (default %(default)s)")
    chosen = parser.parse_args()
    failing, steady = Upstream(), Upstream()
    with tempfile.TemporaryDirectory() as folder:
        config = pathlib.Path(folder) / "config.ini"
        config.write_text(_CONFIG.format(failing=failing.port, steady=steady.port))
        server = Server(str(config))
        try:
            asyncio.run(_soak(server, failing, _WARM_UP_SECONDS, chosen.clients, chosen.seed + 1))
            time.sleep(_REST_SECONDS)
            before = server.holds()
            crowd = asyncio.run(_soak(server, failing, chosen.minutes * 60, chosen.clients, chosen.seed))
            time.sleep(_REST_SECONDS)
            after = server.holds()
        finally:
            complaints = server.stop()
            failing.kill()
            steady.kill()
    return _report(crowd, complaints, before, after)


def _report(crowd: Crowd, complaints: list[str], before: dict[str, Any], after: dict[str, Any]) -> int:
    for what, count in sorted(crowd.seen.items()):
        print(f"{count:9} {what}")
    print(f"{len(crowd.wrong):9} mixed up, or lost without an error")
    for what in crowd.wrong[:20]:
        print(f"          {what}")
    print(f"{len(complaints):9} lines on standard error")
    for line in complaints[:20]:
        print(f"          {line}")
    for name, was in before.items():
        print(f"{name:>12}: {was} before, {after[name]} after")
    is_back = after["tasks"] <= before["tasks"] and after["resident"] - before["resident"] <= _GROWN_BYTES
    return 0 if is_back and not crowd.wrong and not complaints else 1


if __name__ == "__main__":
    sys.exit(main())
