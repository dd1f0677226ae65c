"""What other processes hand over and are told: the service manager, and the process before or after this one.

    systemd     LISTEN_FDS, LISTEN_PID: sockets that are bound already, from descriptor 3 on (sd_listen_fds(3))
                NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID: where and how often it wants to hear (sd_notify(3))
    ourselves   _OAISERVE_HANDOVER: descriptors of a pipe, to be told once this process listens, and of the sockets

An upgrade is SIGUSR2 to the old process, as with nginx. It starts the program anew, which may be another version by
now, and hands its listening sockets over: these are the same in both, so no connection in their queues is lost, whoever
closes his. Once the new process listens, the old one stops accepting, answers what has begun, asks clients that keep
their connections to make new ones, and ends. If the new one ends before, the old one goes on.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
import typing

from protocol.errors import UsageError

_FIRST_DESCRIPTOR = 3  # SD_LISTEN_FDS_START


class Handed(typing.NamedTuple):
    """Sockets that were handed over, and by the process before this one how to tell it that they are listened on."""

    sockets: list[socket.socket]
    tell_listening: typing.Callable[[], None] | None = None


def take_over(environ: typing.MutableMapping[str, str]) -> Handed:
    """Return what was handed over to this process; the variables that said so go: they are no matter of a child's.

    UsageError for what is no TCP socket.
    """
    own = environ.pop("_OAISERVE_HANDOVER", "")
    count, process = environ.pop("LISTEN_FDS", ""), environ.pop("LISTEN_PID", "")
    environ.pop("LISTEN_FDNAMES", None)
    if own:
        pipe, *descriptors = map(int, own.split(","))

        def tell_listening() -> None:
            with contextlib.suppress(OSError):  # the old process may have gone
                os.write(pipe, b"r")
            os.close(pipe)

        return Handed([_taken(descriptor) for descriptor in descriptors], tell_listening)
    if process == str(os.getpid()) and count.isdecimal():
        descriptors = list(range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + int(count)))
        return Handed([_taken(descriptor) for descriptor in descriptors])
    return Handed([])


def _taken(descriptor: int) -> socket.socket:
    try:
        sock = socket.socket(fileno=descriptor)
        sock.set_inheritable(False)
    except OSError as exc:
        raise UsageError(f"descriptor {descriptor}, which was handed over: expected a socket: {exc.strerror}") from exc
    if sock.family not in (socket.AF_INET, socket.AF_INET6) or sock.type != socket.SOCK_STREAM:
        raise UsageError("the socket that was handed over is none of TCP; write ListenStream=PORT or ADDRESS:PORT")
    return sock


class Manager:
    """The service manager. `environ` says where it listens; nothing is raised, and nothing is waited for.

    `watchdog_seconds` is how often it wants to hear `alive`, 0 for never.
    """

    def __init__(self, environ: typing.Mapping[str, str]) -> None:
        address = environ["NOTIFY_SOCKET"]
        self._address = "\0" + address[1:] if address.startswith("@") else address
        period = environ.get("WATCHDOG_USEC", "")
        is_ours = environ.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
        # Twice within the time that is given, as sd_watchdog_enabled(3) advises.
        self.watchdog_seconds = int(period) / 2e6 if is_ours and period.isdecimal() else 0.0

    def ready(self) -> None:
        """Tell that requests are answered, by the settings that were read last."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """Tell that the configuration is being read again; `ready` tells of the end."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """Tell that this is the end of the service."""
        self._tell("STOPPING=1")

    def alive(self) -> None:
        """Tell that all is well."""
        self._tell("WATCHDOG=1")

    def succeeded_by(self, process: int) -> None:
        """Tell that another process is the service's main one from now on."""
        self._tell(f"MAINPID={process}")

    def _tell(self, message: str) -> None:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto(message.encode(), self._address)


class Successor:
    """The process that is to take over, started by `command` with the environment `environ`; OSError.

    What is read from `pipe` tells how it goes: see `news`.
    """

    def __init__(
        self, command: typing.Sequence[str], environ: typing.Mapping[str, str], sockets: typing.Sequence[socket.socket]
    ) -> None:
        self.pipe, writing = os.pipe()
        descriptors = [writing, *(sock.fileno() for sock in sockets)]
        others = {name: value for name, value in environ.items() if name != "WATCHDOG_PID"}
        try:
            self._process = subprocess.Popen(
                command, pass_fds=descriptors, env={**others, "_OAISERVE_HANDOVER": ",".join(map(str, descriptors))}
            )
        except BaseException:
            os.close(self.pipe)
            raise
        finally:
            os.close(writing)
        self.process = self._process.pid

    def news(self) -> str:
        """Return "" where it listens, else why it does not; only once the pipe can be read, which is closed then."""
        listens = os.read(self.pipe, 1) == b"r"
        os.close(self.pipe)
        if listens:
            return ""
        return f"The new process {self.process} ended with exit status {self._process.wait()}; this one goes on"
