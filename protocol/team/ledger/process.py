"""The writer's process, as its parent sees it: started, and started again when it dies."""

from __future__ import annotations

import contextlib
import subprocess
import time
import typing

_SECONDS_BETWEEN = 1.0
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
# One that has lived so long did not die of how it was started.
_LONG_LIFE_SECONDS = 60.0


class WriterProcess:
    """Runs a command, whose standard input is its lifeline: it ends when that does, however its parent ended.

    Nothing here waits, and nothing is raised: `tend` is called again and again. `say` takes a line about a death.
    `clock` gives seconds.
    """

    def __init__(
        self,
        command: typing.Sequence[str],
        say: typing.Callable[[str], object],
        clock: typing.Callable[[], float] = time.monotonic,
    ) -> None:
        self._command = command
        self._say = say
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._start_at = clock()
        self._pause = _FIRST_PAUSE_SECONDS

    def tend(self) -> float:
        """Look after the process; return after how many seconds to do so again, at the latest."""
        now = self._clock()
        if self._process is not None and self._process.poll() is not None:
            self._bury(now, f"ended with exit status {self._process.returncode}")
        if self._process is None and now >= self._start_at:
            try:
                self._start(now)
            except OSError as exc:
                self._bury(now, f"cannot be started: {exc.strerror}")
        return _SECONDS_BETWEEN if self._process is not None else max(0.0, self._start_at - now)

    def let_go(self, seconds: float, glance_seconds: float) -> typing.Iterator[float]:
        """Let the process write what is left, and end; give pauses to wait for that, no longer than so many seconds."""
        self._close_lifeline()
        until = self._clock() + seconds
        while self._process is not None and self._process.poll() is None and self._clock() < until:
            yield glance_seconds

    def _start(self, now: float) -> None:
        # In a session of its own: a Ctrl-C at the terminal is not for it.
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
        )
        self._started_at = now

    def _bury(self, now: float, cause: str) -> None:
        if self._process is not None and now - self._started_at >= _LONG_LIFE_SECONDS:
            self._pause = _FIRST_PAUSE_SECONDS
        self._close_lifeline()
        self._process = None
        self._start_at = now + self._pause
        self._say(f"the ledger's writer {cause}; it is started again in {self._pause:g} s, and calls wait until then")
        self._pause = min(2 * self._pause, _LONGEST_PAUSE_SECONDS)

    def _close_lifeline(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
