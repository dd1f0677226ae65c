"""The log of a program, and where it goes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import typing

from protocol.errors import UsageError
from protocol.event_loop import caller_when_idle
from protocol.server.settings import ServerSettings
from protocol.service.doors import PROBES
from protocol.service.log import Log
from protocol.service.log_output import LogOutput


@contextlib.contextmanager
def open_log(
    settings: ServerSettings, loop: asyncio.AbstractEventLoop | None, target: LogTarget | None = None
) -> typing.Iterator[Log]:
    """Open the log that settings name, for a block; without a loop each line goes out at once. UsageError."""
    target = target or LogTarget(loop)
    target.use(target.opened(settings))
    try:
        log = Log(settings.log, target.write, call_soon=None if loop is None else caller_when_idle(loop))
        use_log(log, settings)
        try:
            yield log
        finally:
            log.flush()
    finally:
        target.use(None)


def use_log(log: Log, settings: ServerSettings) -> None:
    """Let a log write as these settings say."""
    log.use(
        settings.log, () if settings.log_probes else PROBES, records_requests=settings.log_requests,
        has_colours=not settings.log_file and _has_colours(),
    )  # fmt: skip


def _has_colours() -> bool:
    """Tell whether lines on standard error may have colours: on a terminal that has some (https://no-color.org)."""
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    return is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class LogTarget:
    """Where the log goes: a file, standard error, or nowhere. Without a loop, what it does not take at once is lost."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self._loop = loop
        self._opened: _LogFile | None = None

    def write(self, lines: str) -> None:
        """Write whole lines."""
        if self._opened is not None:
            self._opened.write(lines)

    def opened(self, settings: ServerSettings) -> _LogFile | None:
        """Return what the settings name, None for nothing; UsageError for a file that cannot be written."""
        if settings.log == "off":
            return None
        if settings.log_file:
            try:
                file = open(settings.log_file, "ab", buffering=0, opener=_open_privately)
            except OSError as exc:
                why = f"cannot be written: {exc.strerror}"
                raise UsageError(f"[server] log_file = {settings.log_file!r}: {why}") from exc
        else:
            if self._opened is not None and self._opened.is_standard_error:
                return self._opened  # lines may wait there
            try:
                file = open(sys.stderr.fileno(), "wb", buffering=0, closefd=False)
            except (AttributeError, OSError, ValueError):  # a program has put something else there, or nothing
                return _LogFile(_write_stderr, _do_nothing, is_standard_error=True)
        output = LogOutput(file.fileno(), None if self._loop is None else self._loop.call_later)

        def close() -> None:
            output.finish()
            file.close()

        return _LogFile(output.write, close, is_standard_error=not settings.log_file)

    def use(self, opened: _LogFile | None) -> None:
        """Write there from now on, and close what was written to before."""
        before, self._opened = self._opened, opened
        if before is not None and before is not opened:
            before.close()


class _LogFile(typing.NamedTuple):
    write: typing.Callable[[str], None]
    close: typing.Callable[[], None]
    is_standard_error: bool


def _do_nothing() -> None:
    """Stand for the end of what is not ours to close."""


def _open_privately(path: str, flags: int) -> int:
    """Open a file; one that has to be made is for its owner alone: the log tells who called, and for what."""
    return os.open(path, flags, 0o600)


def _write_stderr(lines: str) -> None:
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(lines)
            sys.stderr.flush()
