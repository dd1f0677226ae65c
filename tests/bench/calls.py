"""Calls a request: how many functions, Python's and C's, the server calls to answer one. No busy machine changes that.

cProfile counts them in a process of its own (this file, run as a script), in which the server runs. Requests come one
after the other. Counted is what the server's own modules call, and their being called; asyncio's own calls are not.
The difference of two runs leaves out what does not grow with the requests.
"""

from __future__ import annotations

import asyncio
import cProfile
import importlib
import itertools
import json
import os
import pathlib
import pstats
import socket
import subprocess
import sys
from collections.abc import Iterator

from answers import ask
from peers import CannotMeasure
from report import Findings, Row
from traffic import TRAFFIC, requests

_WARMING = 100
_RUNS = (100, 500)  # requests
_SECONDS = 300  # at most, for one row
_PATH = "/v1/chat/completions"


def measure_calls(program: pathlib.Path) -> Findings:
    """Count the calls of each kind of traffic, plain and streamed."""
    if program.suffix != ".py":
        raise CannotMeasure(f"{program.name} cannot be imported: --server must name an oaiserve.py")
    rows = []
    for number, traffic in enumerate(TRAFFIC):
        for stream in (False, True):
            calls = _calls(program, number, stream)
            work = f"mock, {'streamed' if stream else 'plain'} answer: {traffic.name}"
            rows.append(Row(work, "oaiserve", "nobody", f"{calls:.0f} calls", "functions a request", {"calls": calls}))
    note = "calls: by cProfile, of and by the server's own modules; log, metrics and CORS as they are by default."
    return Findings(rows, [note])


def _calls(program: pathlib.Path, number: int, stream: bool) -> float:
    task = {"program": str(program), "number": number, "stream": stream}
    command = [sys.executable, __file__, json.dumps(task)]
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=_SECONDS, check=False)
    if run.returncode:
        raise CannotMeasure(f"{program} cannot be profiled: run {' '.join(command)!r}")
    return float(run.stdout)


async def _count(program: pathlib.Path, number: int, stream: bool) -> float:
    """Return the calls of one request, of a server in this process."""
    sys.path.insert(0, str(program.parent))
    oaiserve = importlib.import_module(program.stem)
    log = importlib.import_module("protocol.service.log").Log
    loop = asyncio.get_running_loop()
    settings = oaiserve.load_settings("mock", set={"server.journal": "no"})
    # As the command line has it, and not `serve`: that keeps the requests for its caller.
    service = oaiserve.Service(settings, log("text", lambda lines: sys.stderr.write(lines), call_soon=loop.call_soon))
    await service.listen()
    sent = requests(TRAFFIC[number], service.port, _PATH, stream)
    counted = [await _profiled(sent, service.port, size, program) for size in (_WARMING, *_RUNS)]
    await service.close()
    return (counted[2] - counted[1]) / (_RUNS[1] - _RUNS[0])


async def _profiled(sent: Iterator[bytes], port: int, size: int, program: pathlib.Path) -> int:
    """Have so many requests answered, by a client in a thread that is not profiled; return the calls."""
    made = list(itertools.islice(sent, size))
    asking = asyncio.get_running_loop().run_in_executor(None, _ask, port, made)
    profile = cProfile.Profile()
    profile.enable()
    await asking
    profile.disable()
    return _own_calls(pstats.Stats(profile), str(program.parent) + os.sep)


def _ask(port: int, made: list[bytes]) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        for request in made:
            assert ask(connection, request).status == 200


def _own_calls(stats: pstats.Stats, root: str) -> int:
    """Return how often one of the program's functions called, or was called by another's."""
    count = 0
    for function, (_, _, _, _, callers) in stats.stats.items():  # type: ignore[attr-defined]  # typeshed leaves it out
        for caller, (times, *_) in callers.items():
            if function[0].startswith(root) or caller[0].startswith(root):
                count += times
    return count


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    print(asyncio.run(_count(pathlib.Path(given["program"]), given["number"], given["stream"])))
