"""Runs a server and notes the CPU time of its longest callback, which a busy machine changes less than a client's wait.

    python watched.py NOTE SERVER OPTION …

NOTE is a file of three numbers. The first is the longest callback's seconds; the attacker reads it, and writes 0 into
it to begin anew. On SIGRTMIN, which the server has no use for, the second becomes the bytes that the process holds, and
the third one more.

What is held is what Python's allocator and the C library's have given out and not got back, garbage included that only
the collector would find. What they keep for later, or cannot give back because a page is shared, is not among it: by
that alone a process of 30 MB may have 5 MB more or less each time.
"""

from __future__ import annotations

import asyncio
import ctypes
import mmap
import os
import re
import runpy
import signal
import struct
import sys
import tempfile
import time

_IN_BLOCKS = re.compile(rb"# bytes in allocated blocks += +([\d,]+)")


class _MallocInfo(ctypes.Structure):
    """glibc's struct mallinfo2 (mallinfo(3))."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
    ]


def held_bytes() -> int:
    """Return what has been given out: small blocks by Python, large ones by the C library."""
    with tempfile.TemporaryFile() as told:
        kept = os.dup(2)
        os.dup2(told.fileno(), 2)
        try:
            sys._debugmallocstats()
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        told.seek(0)
        found = _IN_BLOCKS.search(told.read())
    small = int(found[1].replace(b",", b"")) if found else 0
    ask = ctypes.CDLL(None).mallinfo2
    ask.restype = _MallocInfo
    info = ask()
    return small + int(info.uordblks) + int(info.hblkhd)


def watch(path: str) -> None:
    """Note callbacks from here on, and what is held when somebody asks."""
    with open(path, "r+b") as file:
        note = mmap.mmap(file.fileno(), 24)
    run = asyncio.Handle._run

    def run_and_note(handle: asyncio.Handle) -> None:
        began = time.process_time()  # of all threads: work in turns has one of its own, for which the loop waits
        run(handle)
        took = time.process_time() - began
        if took > struct.unpack("d", note[:8])[0]:
            note[:8] = struct.pack("d", took)

    def note_held(number: int, frame: object) -> None:
        note[8:] = struct.pack("qq", held_bytes(), struct.unpack("q", note[16:])[0] + 1)

    asyncio.Handle._run = run_and_note  # type: ignore[method-assign]  # asyncio has no other place for it
    signal.signal(signal.SIGRTMIN, note_held)


if __name__ == "__main__":
    watch(sys.argv[1])
    sys.argv = sys.argv[2:]
    sys.path[0] = os.path.dirname(sys.argv[0])  # as for the program that it stands for
    runpy.run_path(sys.argv[0], run_name="__main__")
