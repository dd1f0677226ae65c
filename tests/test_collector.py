"""What a full collection looks at, while the heap grows, is large, and is small again; and that cycles go all the same.

Each case is a process of its own: the collector is one for all that a process does. Objects are counted, no time.
"""

from __future__ import annotations

import pathlib
import subprocess
import sys
import textwrap

_ROOT = pathlib.Path(__file__).resolve().parents[1]

# `looked_at` gets how many objects each full collection looks at; `grow` makes a heap that has lists of lists alone;
# `collected` does what it takes for full collections to come, which are never asked for.
_BEGIN = """
import gc, sys, weakref
from protocol.server.collector import Pieces, keep_collections_short

looked_at = []

def note(phase, info):
    if phase == "start" and info["generation"] == 2:
        looked_at.append(len(gc.get_objects()))

def grow(count):
    return [[[]] for _ in range(count // 2)]

def collected(times):
    until = len(looked_at) + times
    while len(looked_at) < until:
        grow(100_000)

class Node:
    def __init__(self):
        self.itself = self
"""


def run(code: str) -> None:
    """Run code in a fresh interpreter; what it asserts must hold."""
    program = _BEGIN + textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-c", program], cwd=_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_collection_looks_at_all_of_a_heap_that_grows() -> None:
    run("""
        keep_collections_short()
        gc.callbacks.append(note)
        held = grow(1_000_000)
        assert len(looked_at) > 10 and max(looked_at) < 100_000, looked_at
    """)


def test_what_is_out_of_sight_goes_when_nobody_needs_it() -> None:
    run("""
        keep_collections_short()
        before = sys.getallocatedblocks()
        held = grow(1_000_000)
        del held
        assert sys.getallocatedblocks() - before < 10_000
    """)


def test_a_cycle_that_was_out_of_sight_goes_once_the_heap_is_small_again() -> None:
    run("""
        keep_collections_short()
        gc.callbacks.append(note)
        held = grow(500_000)
        node = Node()
        gone = weakref.ref(node)
        held += grow(500_000)
        del node
        held += grow(100_000)
        assert gone() is not None  # or this shows nothing
        del held
        collected(2)
        assert gone() is None
        assert max(looked_at) < 100_000, looked_at
    """)


def test_a_cycle_goes_in_time_from_a_heap_that_stays_large() -> None:
    run("""
        gc.set_threshold(5_000, 2, 1)
        gc.callbacks.extend([Pieces(0, 1_000_000), note])
        least = sys.getallocatedblocks()
        held = grow(100_000)
        node = Node()
        gone = weakref.ref(node)
        held += grow(100_000)
        del node
        while sys.getallocatedblocks() < least + 900_000:
            held += grow(50_000)
            assert max(looked_at) < 100_000
        assert gone() is not None  # or this shows nothing
        while sys.getallocatedblocks() < 2 * least + 1_300_000:
            held += grow(50_000)
        assert gone() is None and sum(count > 100_000 for count in looked_at) == 1, looked_at
    """)


def test_a_small_heap_is_looked_at_as_ever() -> None:
    run("""
        gc.freeze()
        gc.callbacks.append(Pieces(10**9, 1))
        count = gc.get_freeze_count()
        held = grow(100_000)
        gc.collect()
        assert gc.get_freeze_count() <= count and len(gc.get_objects()) > 100_000
    """)
