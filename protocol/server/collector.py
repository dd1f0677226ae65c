"""How the collector of cycles looks at a large heap: piece by piece, never at all of it while it is large.

A full collection looks at every list, dictionary and object there is, and nobody is answered meanwhile: 0.1 to 0.5 s a
million of them. A long body, or the mock's memory, has a million, and hardly ever one that only the collector could
free: JSON has no cycles. So full collections come often, and while the heap is large each one puts what it has found
alive out of the collector's sight (`gc.freeze`). The next one looks at what is new. What is out of sight still goes
when nobody refers to it any more.

What was in use when it got out of sight, and becomes part of a cycle that nobody needs, stays. So all comes back into
sight, and is looked at, as soon as the heap is small again. A heap that does not become small is looked at as a whole
after _MOST_PIECES: what stays is bounded by what is in use at so many moments.
"""

from __future__ import annotations

import gc
import sys
import typing

# Objects made and still there before the youngest are looked at; how often before the next older ones are, too. A full
# collection comes after 35,000 new objects, and looks at as many: 5 to 15 ms.
_THRESHOLDS = (5_000, 2, 1)

# A heap is large that has so many of Python's blocks more than the process began with. A list is one or two, a
# dictionary three to five, its names and values included: these are 25,000 objects, beside 30,000 of the program.
_LARGE_BLOCKS = 100_000

# Some hundred of the longest bodies.
_MOST_PIECES = 2_000


def keep_collections_short() -> None:
    """Set this for the process, which is all the server's, once it has all that lasts."""
    # What a start makes lives as long as the process. To look at it even once would find little, and take 8 ms of 120.
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
    gc.callbacks.append(Pieces(sys.getallocatedblocks() + _LARGE_BLOCKS, _MOST_PIECES))


class Pieces:
    """A callback of the collector (`gc.callbacks`), for which a heap of more than `few` blocks is large."""

    def __init__(self, few: int, most_pieces: int) -> None:
        self._few = few
        self._most_pieces = most_pieces
        self._pieces = 0  # that were put out of sight since all was looked at
        self._is_whole = False  # the collection that is under way looks at all

    def __call__(self, phase: str, info: typing.Mapping[str, int]) -> None:
        """Choose what a full collection that begins looks at, and what the next one will, now that it has ended."""
        if info["generation"] < 2:
            return
        is_large = sys.getallocatedblocks() > self._few  # 0.1 ms a gigabyte; 0 where Python has no blocks of its own
        if phase == "start":
            self._is_whole = self._pieces > 0 and (not is_large or self._pieces >= self._most_pieces)
            if self._is_whole:
                self._pieces = 0
                gc.unfreeze()
        elif is_large:
            self._pieces += 1
            gc.freeze()
        elif self._is_whole:
            gc.freeze()  # the program again, and little else
