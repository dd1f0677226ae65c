"""Who writes to a file, in the kernel's own word: it lets go when a process ends, however. Only for POSIX."""

from __future__ import annotations

import fcntl


def hold(file: int) -> bool:
    """Take hold of an open file until it is closed; return whether nobody else has it. OSError without locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
