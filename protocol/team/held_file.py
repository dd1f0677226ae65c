"""Who has taken hold of a file: the kernel knows, and lets go when a process ends, however it does. Only for POSIX."""

from __future__ import annotations

import fcntl


def hold(file: int) -> bool:
    """Take hold of an open file until it is closed; return whether nobody else has it. OSError without locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def hold_when_free(file: int) -> None:
    """Take hold of an open file until it is closed, as soon as nobody else has it. OSError without locks."""
    fcntl.flock(file, fcntl.LOCK_EX)
