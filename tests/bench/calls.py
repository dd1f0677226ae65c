"""Calls a request: how many functions, Python's and C's, the server calls to answer one. No busy machine changes that.

cProfile runs the command line as a user would. Requests come one after the other. Counted is what the server's own
modules call, and their being called, in its main thread; asyncio's own calls are not. The difference of two runs leaves
out what does not grow with the requests.
"""

from __future__ import annotations

import itertools
import os
import pathlib
import pstats
import socket

from answers import WrongAnswer, ask
from peers import CannotMeasure, Program, oaiserve
from traffic import Traffic, requests, template

_RUNS = (200, 600)  # requests; the first ones are not alike


def count_calls(program: Program, traffic: Traffic, stream: bool, folder: pathlib.Path) -> float:
    """Return the calls of one request of this traffic; raises CannotMeasure for what cannot be profiled."""
    if program.file.suffix != ".py":
        raise CannotMeasure(f"calls: {program.file.name} is no .py, which is what cProfile runs")
    root = str(program.file.parent) + os.sep
    few, many = (_profiled(program, traffic, stream, size, folder / "calls.prof", root) for size in _RUNS)
    return (many - few) / (_RUNS[1] - _RUNS[0])


def _profiled(program: Program, traffic: Traffic, stream: bool, size: int, found: pathlib.Path, root: str) -> int:
    with oaiserve(program, None, found.parent, profile=found) as server:
        made = requests(template(traffic, server.port, server.path, stream))
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
            for request in itertools.islice(made, size):
                answer = ask(connection, request)
                if answer.status != 200:
                    raise WrongAnswer(f"calls: expected status 200, got {answer.raw[:200]!r}")
    if not found.exists():
        raise CannotMeasure(f"calls: {program.file} could not be profiled: {server.process.tail()}")
    stats = pstats.Stats(str(found))
    found.unlink()
    return _own_calls(stats, root)


def _own_calls(stats: pstats.Stats, root: str) -> int:
    """Return how often one of the program's functions called, or was called by another's."""
    count = 0
    for function, (_, _, _, _, callers) in stats.stats.items():  # type: ignore[attr-defined]  # typeshed leaves it out
        for caller, (times, *_) in callers.items():
            if function[0].startswith(root) or caller[0].startswith(root):
                count += times
    return count
