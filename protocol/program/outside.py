"""What a running program has to do with: who started it, who listens before and after it, and its terminal."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import typing

from protocol.config import Settings
from protocol.on_demand import load
from protocol.server.settings import ServerSettings


class _Handed(typing.NamedTuple):
    """Nothing was handed over (protocol/server/handover.py)."""

    sockets: typing.Sequence[socket.socket] = ()
    tell_listening: typing.Callable[[], None] | None = None


class NoManager:
    """No service manager wants to hear anything."""

    watchdog_seconds = 0.0
    ready = reloading = stopping = alive = staticmethod(lambda: None)
    succeeded_by = staticmethod(lambda process: None)


class Outside(typing.NamedTuple):
    """What a running program has to do with: its files, whoever started it, and who listens before and after it.

    `read_again` returns the settings as they are now; UsageError where they have mistakes.
    """

    read_again: typing.Callable[[], Settings]
    handed: typing.Any
    manager: typing.Any

    def tell_listening(self) -> None:
        """Tell whoever waits that this process listens: the one before it, which tells the manager, or the manager."""
        (self.handed.tell_listening or self.manager.ready)()


def handed_over() -> typing.Any:
    """Return the sockets that were handed over to this process, and whom to tell that it listens."""
    if os.name != "posix" or not {"_OAISERVE_HANDOVER", "LISTEN_FDS"} & set(os.environ):
        return _Handed()
    take_over, _, _ = load("handover")
    return take_over(os.environ)


def find_manager() -> typing.Any:
    """Return the service manager that started this process; one that wants to hear nothing where there is none."""
    if os.name != "posix" or not os.environ.get("NOTIFY_SOCKET"):
        return NoManager()
    _, manager, _ = load("handover")
    return manager(os.environ)


def at_address(address: typing.Sequence[typing.Any], settings: Settings) -> Settings:
    """Return settings with the address of sockets that were handed over, if any were."""
    if not address:
        return settings
    host, port = address
    return settings._replace(server=ServerSettings(**{**vars(settings.server), "host": host, "port": port}))


class Succession:
    """The program started anew, to take over the sockets; `say` takes a line for the log."""

    def __init__(self, manager: typing.Any, say: typing.Callable[[str], object]) -> None:
        self._manager = manager
        self._say = say
        self._successor: typing.Any = None
        #: Whether it has been started, and is not known to have failed.
        self.is_under_way = False

    def start(self, sockets: typing.Sequence[socket.socket]) -> int | None:
        """Start it, and return the descriptor that will tell how that goes; None where it cannot be started."""
        _, _, successor = load("handover")
        # Python before 3.10 does not tell the options that it was started with itself.
        arguments = getattr(sys, "orig_argv", ["", *sys.argv])[1:]
        try:
            self._successor = successor([sys.executable, *arguments], os.environ, sockets)
        except OSError as exc:
            self._say(f"No new process can be started ({exc.strerror}); this one goes on")
            return None
        self.is_under_way = True
        descriptor: int = self._successor.pipe
        return descriptor

    def has_happened(self) -> bool:
        """Return whether it has taken over; only once the descriptor can be read."""
        failure = self._successor.news()
        self.is_under_way = not failure
        process = self._successor.process
        self._say(failure or f"The new process {process} has taken over; this one ends when its requests are over")
        if not failure:
            self._manager.succeeded_by(process)
        return not failure


def keep_telling(manager: typing.Any, loop: asyncio.AbstractEventLoop) -> None:
    """Tell the service manager that the loop goes round, as often as it wants to hear that."""
    if manager.watchdog_seconds:
        manager.alive()
        loop.call_later(manager.watchdog_seconds, keep_telling, manager, loop)


class Terminal:
    """The terminal that the program was started in, if any. One that is closed sends SIGHUP, too.

    Where that signal was ignored at the start, as nohup has it, the program outlives its terminal.
    """

    def __init__(self) -> None:
        is_ignored = not hasattr(signal, "SIGHUP") or signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        self._is_needed = not is_ignored and _has_terminal()

    def has_gone(self) -> bool:
        """Whether it was there and is no more."""
        return self._is_needed and not _has_terminal()


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
