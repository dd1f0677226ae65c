"""The parent of workers: it shows the banner, and reads the configuration again for all of them."""

from __future__ import annotations

import signal
import sys
import time
import typing

from protocol.config import Settings
from protocol.errors import UsageError
from protocol.event_loop import run_coroutine
from protocol.on_demand import load
from protocol.program.banner import banner_of
from protocol.program.books import LEDGER_GLANCE_SECONDS, LEDGER_SECONDS, make_ledger_writer
from protocol.program.checks import checked
from protocol.program.lasting import restart_remark, with_lasting
from protocol.program.log_target import open_log
from protocol.program.outside import Outside, Succession, Terminal
from protocol.program.serving import REREAD, say_mistakes, serve_until_told

# How long a parent of workers sleeps that has nothing to look after.
_LONG_SECONDS = 3600.0


def serve_with_workers(
    count: int,
    settings: Settings,
    source: str,
    instance: str,
    key_holders: typing.Sequence[str],
    outside: Outside,
) -> int:
    """Run so many processes that serve, until they are told to stop; return the exit status."""
    run_workers, workers_failed = load("workers")
    terminal = Terminal()
    manager = outside.manager
    latest = settings

    def say(message: str) -> None:
        with open_log(latest.server, None) as log:
            log.say(message)

    def tend() -> float:
        manager.alive()
        pause = writer.tend() if writer is not None else _LONG_SECONDS
        return min(pause, manager.watchdog_seconds or pause)

    def announce(port: int) -> None:
        print(banner_of(settings, port, source, key_holders), flush=True)
        outside.tell_listening()

    def renew() -> int:
        if terminal.has_gone():
            return signal.SIGTERM
        manager.reloading()
        try:
            return read_again()
        finally:
            manager.ready()

    def read_again() -> int:
        nonlocal latest
        with open_log(latest.server, None) as log:
            try:
                renewed = outside.read_again()
                remark = restart_remark(renewed, latest)
                renewed = with_lasting(renewed, latest)
                checked(renewed, instance)
            except UsageError as exc:
                say_mistakes(log, exc)
                return signal.SIGUSR1
            latest = renewed
            log.say(REREAD + remark)
        return signal.SIGHUP

    writer = make_ledger_writer(settings, lambda message: print(f"oaiserve: {message}", file=sys.stderr))
    try:
        status: int = run_workers(
            count,
            settings.server,
            lambda place: run_coroutine(serve_until_told(latest, source, instance, place, outside)),
            announce,
            tend,
            renew,
            Succession(manager, say),
            outside.handed.sockets,
            manager.stopping,
        )
    except workers_failed as exc:
        print(f"oaiserve: {exc}", file=sys.stderr)
        return 1
    finally:
        for pause in () if writer is None else writer.let_go(LEDGER_SECONDS, LEDGER_GLANCE_SECONDS):
            time.sleep(pause)
    return status
