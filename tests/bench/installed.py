"""Servers of others, run where their commands are found; this module knows none of them."""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator

from answers import ask_once, chat_body, chat_request
from peers import CHAT_PATH, CannotMeasure, Core, Peer, ServerProcess, free_port, running

_READY_SECONDS = 15.0


@contextlib.contextmanager
def installed(
    name: str, command: Callable[[int, pathlib.Path], list[str]], core: Core, folder: pathlib.Path, source: str
) -> Iterator[Peer]:
    """Run the command for a port, whose files are in a new folder.

    `source` says where one has it from; CannotMeasure does, where it is missing.
    """
    port = free_port()
    home = pathlib.Path(tempfile.mkdtemp(prefix=f"{name}-", dir=folder))
    arguments = command(port, home)
    if not shutil.which(arguments[0]):
        raise CannotMeasure(f"no {name}: {source} has it")
    with running(ServerProcess(name, arguments, core, home)) as process:
        process.wait_for_port(port)
        _wait_until_ready(process, port)
        yield Peer(name, port, CHAT_PATH, process)


def _wait_until_ready(process: ServerProcess, port: int) -> None:
    """Wait until it answers a chat: relays may look at their upstreams first, and answer 503 meanwhile."""
    limit = time.perf_counter() + _READY_SECONDS
    while ask_once(port, chat_request(port, CHAT_PATH, chat_body(False))).status != 200:
        if time.perf_counter() > limit:
            raise CannotMeasure(f"{process.name} answers no chat with 200; its output: {process.tail()}")
        time.sleep(0.1)
