"""What a team's service writes beside itself: the file of limits, and the ledger with the process that writes it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import typing

from protocol.config import Settings
from protocol.on_demand import load
from protocol.program.options import LEDGER_WRITER
from protocol.service.log import Log

# Calls of the last moment are written when everything else has stopped.
LEDGER_SECONDS = 5.0
LEDGER_GLANCE_SECONDS = 0.05


def has_team(settings: Settings) -> bool:
    """Tell whether keys, limits or a ledger are asked for."""
    limits = settings.single["limits"]
    asked = settings.single["ledger"].file, settings.server.keys_file, limits.per_address, limits.per_origin
    return any(asked)


def limits_file(settings: Settings) -> str:
    """Return the path of the file in which it stands what has been taken, "" where nobody has said."""
    beside = settings.server.keys_file or settings.single["ledger"].file
    file: str = settings.single["limits"].file or (f"{beside}.limits" if beside else "")
    return file


def ledger_file(settings: Settings) -> str:
    """Return the path of the ledger, "" for none. A program may change its folder while it serves."""
    file: str = settings.single["ledger"].file
    return os.path.abspath(file) if file else ""


def open_spool(settings: Settings, instance: str) -> typing.Any:
    """Return the spool of this process, None without a ledger; UsageError where there can be none."""
    file = ledger_file(settings)
    if not file:
        return None
    (spool,) = load("spool")
    return spool(file, instance, asyncio.get_running_loop().call_later)


def make_ledger_writer(settings: Settings, say: typing.Callable[[str], object]) -> typing.Any:
    """Return what keeps the ledger's one writer alive, None without a ledger."""
    file = ledger_file(settings)
    if not file:
        return None
    (writer_process,) = load("ledger process")
    keep_days = settings.single["ledger"].keep_days
    return writer_process([sys.executable, _own_path(), LEDGER_WRITER, file, str(keep_days)], say)


@contextlib.asynccontextmanager
async def writing_ledger(settings: Settings, log: Log) -> typing.AsyncIterator[None]:
    """Keep the ledger's writer alive while the block runs, and let it write the last calls."""
    writer = make_ledger_writer(settings, log.say)
    if writer is None:
        yield
        return

    async def tend() -> None:
        while True:
            await asyncio.sleep(writer.tend())

    tending = asyncio.ensure_future(tend())
    try:
        yield
    finally:
        tending.cancel()
        for pause in writer.let_go(LEDGER_SECONDS, LEDGER_GLANCE_SECONDS):
            await asyncio.sleep(pause)


def _own_path() -> str:
    """Return the path of this program: of the file or archive that holds this code; in the tree, of oaiserve.py."""
    path = _own_path.__code__.co_filename
    while path and not os.path.isfile(path):
        path = os.path.dirname(path)
    if os.path.basename(path) == "books.py":
        path = os.path.join(os.path.dirname(path), os.pardir, os.pardir, "oaiserve.py")
    return os.path.abspath(path)
