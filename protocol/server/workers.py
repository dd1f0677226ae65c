"""Several processes on one port: a parent starts workers, starts a dead one again, and passes signals on.

Each worker has a listening socket of its own with SO_REUSEPORT, among which the kernel spreads new connections, unless
fewer sockets were handed over: then several share one. What a server keeps (pooled upstream connections, connections of
clients) is each worker's own; what it counts is in memory that all of them share, a part for each number.

Theory of operation
-------------------
The parent runs no event loop. It sleeps in `select` on two pipes, and looks after its workers each time it wakes:

    signal pipe    the interpreter writes here when a signal comes: a worker has died, or all are to stop
    ready pipe     each worker writes a byte once it listens; when as many have come as there are workers, the parent
                   announces the port

A third pipe, the lifeline, tells the workers of the parent: its writing end is open in the parent alone, so a worker
reads the end of it when the parent has gone, however that happened, and stops.

SIGHUP has the configuration read again: by the parent first, which says what is wrong with it, and whose next workers
have it from their start; then by each worker. A worker that is not ready yet gets to know of it once it is.

A worker that dies is started again after a pause, which keeps one that dies at once from taking a core. When a few in a
row fail right after their start, the parent gives up. Those do not count that somebody else ended: by a signal that no
fault of a program's own raises, or by asking them to stop (exit status 0). The parent holds the sockets of all: a
connection that waits for a worker that died waits for the next one, nobody else can take the port, and the sockets can
be handed over (handover.py). It closes its own when the workers are told to stop, so that nobody waits in vain.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
import typing

from protocol.errors import UsageError
from protocol.server.listening import numeric_addresses
from protocol.server.settings import ServerSettings
from protocol.server.worker_place import WorkerPlace
from protocol.service.log_output import LogOutput
from protocol.service.shared_figures import SharedFigures, new_memory

# A worker that dies within this time of its start would only die again: the parent gives up after a few.
_QUICK_DEATH_SECONDS = 5.0
_QUICK_DEATHS = 5
_RESTART_PAUSE_SECONDS = 0.2
# Signals that a program brings upon itself (POSIX, <signal.h>); any other one comes from outside.
_OWN_SIGNALS = frozenset(
    (signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV, signal.SIGSYS, signal.SIGTRAP)
)


class Succession(typing.Protocol):
    """How another process comes to take over the sockets."""

    def start(self, sockets: typing.Sequence[socket.socket]) -> int | None:
        """Start it, and return the descriptor that will tell how that goes; None where it cannot be started."""

    def has_happened(self) -> bool:
        """Return whether it has taken over; only once the descriptor can be read."""


class WorkersFailed(Exception):
    """The workers cannot be kept alive; the message says why."""


Work = typing.Callable[[WorkerPlace], int]
# Returns after how many seconds it wants to be called again, at the latest.
Tend = typing.Callable[[], float]
# Reads the configuration again, and returns the signal that the workers are to have; SIGTERM stops all.
Renew = typing.Callable[[], int]

# Signals to stop: what a worker does at one before its work says what, is to end.
_STOPS = frozenset((signal.SIGTERM, signal.SIGINT))
# Signals that a worker understands once it is ready.
_LATER = frozenset(getattr(signal, name) for name in ("SIGHUP", "SIGUSR1", "SIGUSR2") if hasattr(signal, name))


def run_workers(
    count: int,
    settings: ServerSettings,
    work: Work,
    announce: typing.Callable[[int], None],
    tend: Tend | None = None,
    renew: Renew | None = None,
    succession: Succession | None = None,
    handed: typing.Sequence[socket.socket] = (),
    on_stop: typing.Callable[[], object] = bool,
) -> int:
    """Run `work(place)` in `count` processes until a signal to stop; return the exit status.

    They listen on the sockets that were `handed` over, or on their own. At SIGUSR2 the `succession` starts. `on_stop`
    is called when they are told to stop, unless others have taken over.

    `announce(port)` is called once all of them listen. `tend` looks after another child of this process: before the
    first worker starts, when a child has died, and as often as it asks for. `renew` is called at SIGHUP. UsageError
    where the platform cannot share a port, OSError when the address cannot be had, WorkersFailed when workers die as
    fast as they are started.
    """
    if not hasattr(os, "fork") or not hasattr(socket, "SO_REUSEPORT"):
        raise UsageError(f"[server] workers = {count}: this platform cannot share a port; set it to 1")
    sockets = list(handed) or [_first_socket(settings)]
    first = sockets[0]
    if first.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT):
        while len(sockets) < count:
            sockets.append(_shared_socket(first.family, first.getsockname()))
    supervisor = _Supervisor(count, sockets, settings.drain_timeout, work, announce, tend, renew, succession, on_stop)
    try:
        return supervisor.run()
    finally:
        supervisor.close_sockets()


def _first_socket(settings: ServerSettings) -> socket.socket:
    """Return a socket that holds the address and can share it; it does not listen yet."""
    host, port = settings.host, settings.port
    family, kind, protocol, _, address = (
        numeric_addresses(host, port)
        or socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    )[0]  # fmt: skip
    # Whether somebody else listens there already: with SO_REUSEPORT alone we would share the port with them unawares.
    with socket.socket(family, kind, protocol) as alone:
        alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        alone.bind(address)
        address = alone.getsockname()
    return _shared_socket(family, address)


def _shared_socket(family: int, address: typing.Any) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind(address)
    return sock


class _Supervisor:
    """The parent: knows its workers by process id, and hears of signals and ready workers through one pipe each."""

    def __init__(
        self,
        count: int,
        sockets: typing.Sequence[socket.socket],
        drain_seconds: float,
        work: Work,
        announce: typing.Callable[[int], None],
        tend: Tend | None,
        renew: Renew | None,
        succession: Succession | None,
        on_stop: typing.Callable[[], object],
    ) -> None:
        self._on_stop = on_stop
        self._count = count
        self._port: int = sockets[0].getsockname()[1]
        self._sockets = sockets
        self._drain_seconds = drain_seconds
        self._work = work
        self._announce = announce
        self._tend = tend
        self._renew = renew
        self._is_to_renew = False
        self._succession = succession
        self._is_to_be_succeeded = False
        self._news: int | None = None  # the descriptor that tells how the succession goes
        self._farewell: int = signal.SIGTERM
        # When each was started, and the number of its share of the sockets.
        self._started_at: dict[int, tuple[float, int]] = {}
        self._figures = new_memory(count)
        self._ready = 0
        self._quick_deaths = 0
        self._stop_signals = 0
        self._ready_pipe = os.pipe()
        self._signal_pipe = os.pipe()
        # Only the parent holds the writing end: it closes when the parent ends, however that happens.
        self._lifeline = os.pipe()

    def run(self) -> int:
        os.set_blocking(self._signal_pipe[1], False)
        signal.set_wakeup_fd(self._signal_pipe[1], warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note_signal)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        if self._renew is not None:
            signal.signal(signal.SIGHUP, self._note_hangup)
        if self._succession is not None:
            signal.signal(signal.SIGUSR2, self._note_succession)
        try:
            pause = self._tend() if self._tend else None
            for share in range(self._count):
                self._start_worker(share)
            while not self._stop_signals:
                self._wait(pause)
                self._bury_dead()
                self._renew_if_asked()
                self._succeed_if_asked()
                pause = self._tend() if self._tend else None
            return self._stop()
        except BaseException:
            self._tell_workers(signal.SIGTERM)
            raise

    def _note_signal(self, *_: object) -> None:
        self._stop_signals += 1

    def _note_hangup(self, *_: object) -> None:
        self._is_to_renew = True

    def _note_succession(self, *_: object) -> None:
        self._is_to_be_succeeded = True

    def _succeed_if_asked(self) -> None:
        if self._is_to_be_succeeded and self._news is None and self._succession is not None:
            self._news = self._succession.start(self._sockets)
        self._is_to_be_succeeded = False

    def close_sockets(self) -> None:
        """Let nobody wait for workers that are going."""
        for sock in self._sockets:
            sock.close()

    def _renew_if_asked(self) -> None:
        if not self._is_to_renew or self._renew is None:
            return
        self._is_to_renew = False
        number = self._renew()
        if number == signal.SIGTERM:
            self._stop_signals += 1
        else:
            self._tell_workers(number)

    def _start_worker(self, number: int) -> None:
        # Until it is ready, it could not tell what the signal means, or would miss what it has to read. One to stop
        # would be noted by the handler that it has of its parent, and by nobody else.
        signal.pthread_sigmask(signal.SIG_BLOCK, _LATER | _STOPS)
        process = os.fork()
        if not process:
            self._be_worker(number)
        self._started_at[process] = time.monotonic(), number
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _LATER | _STOPS)

    def _be_worker(self, number: int) -> None:
        """Do the work in the child, and never return into the parent's code."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for number_to_stop in _STOPS:
                signal.signal(number_to_stop, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)
            # A Ctrl-C at the terminal is the parent's to pass on; twice would mean "at once".
            os.setpgid(0, 0)
            os.close(self._lifeline[1])
            sockets = self._sockets
            own = sockets[number :: self._count] or [sockets[number % len(sockets)]]
            for sock in sockets:
                if sock not in own:
                    sock.close()
            figures = SharedFigures(self._figures, number)
            status = self._work(WorkerPlace(own, self._lifeline[0], self._be_ready, figures))
        except BaseException as exc:
            _say(f"oaiserve: a worker failed: {type(exc).__name__}: {exc}")
        finally:
            os._exit(status)

    def _be_ready(self) -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _LATER)
        os.write(self._ready_pipe[1], b"r")

    def _wait(self, seconds: float | None) -> None:
        """Sleep until a signal comes or a worker is ready."""
        awaited = [self._signal_pipe[0], self._ready_pipe[0]]
        if self._news is not None:
            awaited.append(self._news)
        readable, _, _ = select.select(awaited, [], [], seconds)
        if self._news in readable and self._succession is not None:
            self._news = None
            if self._succession.has_happened():
                self._farewell = signal.SIGUSR2
                self._stop_signals += 1
        if self._signal_pipe[0] in readable:
            os.read(self._signal_pipe[0], 4096)
        if self._ready_pipe[0] in readable:
            before, self._ready = self._ready, self._ready + len(os.read(self._ready_pipe[0], 4096))
            if before < self._count <= self._ready:
                self._announce(self._port)

    def _bury_dead(self) -> None:
        for process, status in self._dead_workers():
            started_at, number = self._started_at.pop(process)
            lived = time.monotonic() - started_at
            if self._stop_signals:
                continue
            if lived >= _QUICK_DEATH_SECONDS:
                self._quick_deaths = 0
            elif _is_own_fault(status):
                self._quick_deaths += 1
            if self._quick_deaths >= _QUICK_DEATHS:
                raise WorkersFailed(f"{_QUICK_DEATHS} workers in a row ended right after their start; see above")
            _say(f"oaiserve: worker {process} ended ({_cause(status)}); starting another")
            time.sleep(_RESTART_PAUSE_SECONDS)
            self._start_worker(number)

    def _dead_workers(self) -> list[tuple[int, int]]:
        dead = []
        for process in list(self._started_at):
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                dead.append((process, status))
        return dead

    def _stop(self) -> int:
        """Let the workers drain; a second signal is passed on, and those that outstay their time are killed."""
        told = self._stop_signals  # before they are told: a signal that comes meanwhile is one more to pass on
        self.close_sockets()
        if self._farewell == signal.SIGTERM:
            self._on_stop()
        self._tell_workers(self._farewell)
        give_up = time.monotonic() + self._drain_seconds + _QUICK_DEATH_SECONDS
        while self._started_at and time.monotonic() < give_up:
            self._wait(0.5)
            self._bury_dead()
            if self._stop_signals > told:
                told = self._stop_signals
                self._tell_workers(signal.SIGTERM)
        self._tell_workers(signal.SIGKILL)
        return 0

    def _tell_workers(self, number: int) -> None:
        for process in self._started_at:
            try:
                os.kill(process, number)
            except ProcessLookupError:
                continue


def _is_own_fault(status: int) -> bool:
    if os.WIFSIGNALED(status):
        return os.WTERMSIG(status) in _OWN_SIGNALS
    return os.WEXITSTATUS(status) != 0


def _say(line: str) -> None:
    """Write a line to standard error; one that nobody can or will take is no reason to stop."""
    try:
        output = LogOutput(2)
    except OSError:
        return  # there is no standard error
    output.write(f"{line}\n")
    output.finish()


def _cause(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"signal {os.WTERMSIG(status)}"
    return f"exit status {os.WEXITSTATUS(status)}"
