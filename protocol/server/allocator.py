"""How the C library keeps memory: large blocks by themselves, so that what a large body took goes back when it goes.

By default glibc learns from the first large block that is freed to keep such blocks for later, up to 64 MB of them in
each of its arenas, of which every thread gets one. Other C libraries have nothing to set, and are left alone.
"""

from __future__ import annotations

import ctypes

# <malloc.h> of glibc: what is free at the heap's end before it goes back; from which size on a block is one by itself;
# how many heaps there are (one interpreter works at a time, so one is enough).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_LARGE_BYTES = 256 << 10
_KEPT_BYTES = 4 << 20


def keep_large_blocks_apart() -> None:
    """Set this for the process."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
    mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
    mallopt(_M_ARENA_MAX, 1)
