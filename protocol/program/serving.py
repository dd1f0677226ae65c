"""The commands that serve: one process, until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import signal
import sys
import typing

from protocol.config import Settings, describe
from protocol.errors import UsageError, evidence
from protocol.event_loop import run_coroutine
from protocol.on_demand import load
from protocol.program.banner import banner_of
from protocol.program.books import writing_ledger
from protocol.program.checks import check_workers, checked
from protocol.program.configuration import configuration_from
from protocol.program.kinds import KINDS
from protocol.program.log_target import LogTarget, open_log, use_log
from protocol.program.making import descriptors_each
from protocol.program.options import SAID
from protocol.program.outside import (
    NoManager,
    Outside,
    Succession,
    Terminal,
    at_address,
    find_manager,
    handed_over,
    keep_telling,
)
from protocol.program.service import Service, new_instance
from protocol.server.collector import keep_collections_short
from protocol.server.server import listen_failure
from protocol.server.settings import ServerSettings
from protocol.server.worker_place import WorkerPlace
from protocol.service.log import TELLING_FORMS, Log

# What the log says when the files were read again.
REREAD = "The configuration was read again"


def serve_command(options: argparse.Namespace) -> int:
    """Serve as the configuration says, or with --check print it; return the exit status. UsageError for a mistake."""
    if options.command is not None and options.command not in KINDS:
        commands = ", ".join([*KINDS, *(name for name in SAID if name not in KINDS)])
        raise UsageError(f"there is no command {evidence(options.command)}; there are {commands}")
    if options.target is not None:
        raise UsageError(f"{evidence(options.target)} is one word too many; the address is set by --host and --port")
    gc.disable()  # next to nothing that a start makes is garbage: the collector would look for it in vain, 5 ms
    try:
        handed = handed_over()
        settings, source = _settings_from(options)
        address = handed.sockets[0].getsockname()[:2] if handed.sockets else ()
        settings = at_address(address, settings)
        instance = new_instance()
        key_holders, warnings = checked(settings, instance)
    finally:
        gc.enable()
    for warning in warnings:
        print(f"oaiserve: {warning}", file=sys.stderr)
    if options.check:
        print(f"; from {source}\n{describe(settings)}", end="")
        return 0
    if os.name == "posix":
        _, allow_connections = load("descriptors")
        allow_connections(settings.server.max_connections, descriptors_each(settings))
    count = settings.server.workers or os.cpu_count() or 1
    outside = Outside(lambda: at_address(address, _settings_from(options)[0]), handed, find_manager())
    try:
        if count > 1:
            (serve_with_workers,) = load("parent of workers")
            status: int = serve_with_workers(count, settings, source, instance, key_holders, outside)
            return status
        return run_coroutine(serve_until_told(settings, source, instance, None, outside))
    except BrokenPipeError:
        raise  # who should have read the banner has gone; that the address cannot be had would be a wrong track
    except OSError as exc:
        print(f"oaiserve: {listen_failure(exc, settings.server)}", file=sys.stderr)
        return 1


def _settings_from(options: argparse.Namespace) -> tuple[Settings, str]:
    configuration, source = configuration_from(options)
    for key in ("host", "port", "workers"):
        value = getattr(options, key)
        if value is not None:
            configuration.set("server", key, value, f"--{key}")
    if options.quiet and options.verbose:
        raise UsageError("-q and -v: one says less, the other more; give one of them")
    settings = configuration.settings(options.command, os.environ)
    said: dict[str, typing.Any] = {}
    if options.quiet:
        said = {"log_requests": False}
    elif options.verbose:
        said = {"log_requests": True, "log_probes": True}
        if settings.server.log not in TELLING_FORMS:
            said["log"] = "line"
    return settings._replace(server=ServerSettings(**{**vars(settings.server), **said})), source


async def serve_until_told(
    settings: Settings,
    source: str,
    instance: str,
    place: WorkerPlace | None,
    outside: Outside,
) -> int:
    """Serve until told to stop; a worker has a `place`, and its parent shows the banner."""
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    manager = outside.manager if place is None else NoManager()
    is_succeeded = False
    terminal = Terminal()
    _on_signals(loop, told)
    if place is not None:
        loop.add_reader(place.lifeline, told.set)
    keep_collections_short()
    output = LogTarget(loop)
    with open_log(settings.server, loop, output) as log:
        # That of workers is their parent's.
        async with writing_ledger(settings, log) if place is None else contextlib.AsyncExitStack():
            service = Service(
                settings,
                log,
                instance=instance,
                owns_process=True,
                on_large=_keep_large_blocks_apart,
                figures=place.figures if place is not None else None,
            )
            await service.listen(outside.handed.sockets if place is None else place.sockets)
            succession = Succession(manager, log.say)

            def leave_all() -> None:
                nonlocal is_succeeded
                is_succeeded = True
                told.set()

            def hand_over() -> None:
                news = None if succession.is_under_way else succession.start(service.sockets)
                if news is not None:
                    loop.add_reader(news, hear, news)

            def hear(news: int) -> None:
                loop.remove_reader(news)
                if succession.has_happened():
                    leave_all()

            def reload() -> None:
                if place is None and terminal.has_gone():
                    told.set()
                    return
                manager.reloading()
                read_again()
                manager.ready()

            def read_again() -> None:
                try:
                    renewed = outside.read_again()
                    check_workers(renewed)
                    reopened = output.opened(renewed.server)
                    remark = service.reload(renewed)
                except UsageError as exc:
                    say_mistakes(log, exc)
                    reopen()
                    return
                log.flush()
                output.use(reopened)
                use_log(log, service.settings.server)
                if place is None:
                    log.say(REREAD + remark)

            def reopen() -> None:
                log.flush()
                try:
                    output.use(output.opened(service.settings.server))
                except UsageError as exc:
                    say_mistakes(log, exc)

            if hasattr(signal, "SIGHUP"):
                loop.add_signal_handler(signal.SIGHUP, reload)
                loop.add_signal_handler(signal.SIGUSR1, reopen)
                loop.add_signal_handler(signal.SIGUSR2, hand_over if place is None else leave_all)
            if place is None:
                print(banner_of(settings, service.port, source, service.key_holders), flush=True)
                outside.tell_listening()
                keep_telling(manager, loop)
            else:
                place.ready()
            await told.wait()
            told.clear()
            if place is not None:
                loop.remove_reader(place.lifeline)
            if not is_succeeded:
                manager.stopping()
            draining = asyncio.ensure_future(service.drain(is_succeeded=is_succeeded))
            impatience = asyncio.ensure_future(told.wait())
            await asyncio.wait([draining, impatience], return_when=asyncio.FIRST_COMPLETED)
            impatience.cancel()
            if not draining.done():
                draining.cancel()
                await service.close()
    return 0


def say_mistakes(log: Log, exc: UsageError) -> None:
    """Write into the log why other settings do not hold."""
    for mistake in str(exc).split("\n"):
        log.say(f"The configuration stays as it was: {mistake}")


def _keep_large_blocks_apart() -> None:
    with contextlib.suppress(ImportError):  # some builds of Python have no ctypes
        (keep,) = load("large blocks")
        keep()


def _on_signals(loop: asyncio.AbstractEventLoop, told: asyncio.Event) -> None:
    """Let SIGTERM and SIGINT stop the server in good order, and a second one at once."""
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, told.set)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(told.set))
