"""How many connections the limit on open files leaves room for. Only for POSIX: Windows has no such limit."""

from __future__ import annotations

import resource

from protocol.server.listening import TOLD_CONNECTIONS

# For standard streams, the log, listening, the loop, and libraries: a dozen are in use, and files are opened at times.
_OTHER_DESCRIPTORS = 32
_RESERVED = _OTHER_DESCRIPTORS + TOLD_CONNECTIONS


def affordable_connections(wanted: int, each: int) -> int:
    """Return how many connections there may be, at most `wanted`, of which each takes so many descriptors."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return wanted
    return max(1, min(wanted, (limit - _RESERVED) // each))


def allow_connections(wanted: int, each: int) -> None:
    """Raise this process's limit as far as it may and as so many connections need, of `each` descriptors."""
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted * each + _RESERVED
    if most != resource.RLIM_INFINITY:
        needed = min(needed, most)
    if limit == resource.RLIM_INFINITY or limit >= needed:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, most))
    except (OSError, ValueError):
        pass  # some systems have a bound below the one that they tell; the lower limit holds
