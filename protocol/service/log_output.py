"""Where lines of the log go, without ever stopping those who write them.

A full disk, a pipe that nobody empties and a reader that has gone are no reason to answer nobody. So what cannot be
written at once is kept, up to a bound, and tried again; what is beyond the bound is lost, and when lines can be written
again, one of them says how many were lost and why.
"""

from __future__ import annotations

import os
import select
import stat
import typing

# Bytes of lines that wait until they can be written.
_MOST_WAITING = 1 << 20
# What can be written takes at least so much at once.
_PIECE_BYTES: int = getattr(select, "PIPE_BUF", 512)
_SECONDS_TO_NEXT_TRY = 0.2
# At the end, how often and for how long to wait that somebody takes the last lines.
_LAST_TRIES = 10
_LAST_TRY_MILLISECONDS = 50

CallLater = typing.Callable[[float, typing.Callable[[], typing.Any]], typing.Any]


class LogOutput:
    """Writes lines to the file of a descriptor, which stays its owner's; nothing is raised, and nothing is waited for.

    `call_later(seconds, call)` has it try again; without that it does so with the next lines.
    """

    def __init__(self, descriptor: int, call_later: CallLater | None = None) -> None:
        self._descriptor = descriptor
        self._call_later = call_later
        self._waiting = b""
        self._lost = 0
        self._reason = ""
        self._is_to_try = False
        # A file takes what it gets. Anything else may let a writer wait; Windows cannot tell.
        self._poll = None
        if hasattr(select, "poll") and not stat.S_ISREG(os.fstat(descriptor).st_mode):
            self._poll = select.poll()
            self._poll.register(descriptor, select.POLLOUT)

    def write(self, lines: str) -> None:
        """Write whole lines, behind those that wait."""
        data = lines.encode("utf-8", "backslashreplace")
        if self._poll is None and not self._waiting and not self._lost and len(data) <= _MOST_WAITING:
            # As a file nearly always takes all of it: half the calls that follow.
            try:
                data = data[os.write(self._descriptor, data) :]
            except OSError as exc:
                self._reason = exc.strerror or str(exc)
            if not data:
                return
        if len(self._waiting) + len(data) > _MOST_WAITING:
            self._lost += data.count(b"\n")
        else:
            self._waiting += data
        self.try_again()

    def try_again(self) -> None:
        """Write what waits, as far as that is possible now."""
        self._is_to_try = False
        self._drain()
        if self._lost and not self._waiting:
            self._waiting = f"{self._lost} lines of the log were lost: {self._reason or 'nobody took them'}\n".encode()
            self._lost = 0
            self._drain()
        if self._waiting and self._call_later is not None and not self._is_to_try:
            self._is_to_try = True
            self._call_later(_SECONDS_TO_NEXT_TRY, self.try_again)

    def finish(self) -> None:
        """Write what waits; this once, somebody who is slow is waited for a little."""
        self._call_later = None
        self.try_again()
        for _ in range(_LAST_TRIES):
            if not self._waiting or self._poll is None:
                break
            self._poll.poll(_LAST_TRY_MILLISECONDS)
            self.try_again()

    def _drain(self) -> None:
        poll, waiting = self._poll, self._waiting
        try:
            while waiting and (poll is None or poll.poll(0)):
                waiting = waiting[os.write(self._descriptor, waiting if poll is None else waiting[:_PIECE_BYTES]) :]
        except OSError as exc:
            self._reason = exc.strerror or str(exc)
        self._waiting = waiting
