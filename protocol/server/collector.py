"""How the collector of cycles looks at a large heap: piece by piece, never at all of it while it is large.

A full collection looks at every list, dictionary and object there is, and nobody is answered meanwhile: 0.1 to 0.5 s a
million of them. A long body, or the mock's memory, has a million, and hardly ever one that only the collector could
free: JSON has no cycles. So full collections come often, and while the heap is large each one puts what it has found
alive out of the collector's sight (`gc.freeze`). The next one looks at what is new. What is out of sight still goes
when nobody refers to it any more.

What was in use when it got out of sight, and becomes part of a cycle that nobody needs, stays. So all comes back into
sight, and is looked at, as soon as the heap is small again. Where it does not become small, all is looked at once there
is more than twice what there was at the least, and _MUCH_BLOCKS: that takes a second, and bounds what stays.
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

# 400 MB. The longest body, and what is made of it, have half as many.
_MUCH_BLOCKS = 5_000_000


def keep_collections_short() -> None:
    """Set this for the process, which is all the server's, once it has all that lasts."""
    # What a start makes lives as long as the process. To look at it even once would find little, and take 8 ms of 120.
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
    gc.callbacks.append(Pieces(sys.getallocatedblocks() + _LARGE_BLOCKS, _MUCH_BLOCKS))


class Pieces:
    """A callback of the collector (`gc.callbacks`), for which a heap of more than `few` blocks is large.

    `much` is how many blocks more than twice the least there were have all looked at.
    """

    def __init__(self, few: int, much: int) -> None:
        self._few = few
        self._much = much
        self._least = sys.maxsize  # blocks there were since all was looked at
        self._is_hidden = False  # something is out of sight that was not when all was looked at
        self._is_whole = False  # the collection that is under way looks at all

    def __call__(self, phase: str, info: typing.Mapping[str, int]) -> None:
        """Choose what a full collection that begins looks at, and what the next one will, now that it has ended."""
        if info["generation"] < 2:
            return
        blocks = sys.getallocatedblocks()  # 0.1 ms a gigabyte; 0 where Python has no blocks of its own
        if phase == "start":
            self._least = min(self._least, blocks)
            is_due = blocks <= self._few or blocks > 2 * self._least + self._much
            self._is_whole = self._is_hidden and is_due
            if self._is_whole:
                self._is_hidden = False
                gc.unfreeze()
            return
        if self._is_whole:
            self._least = blocks
        if blocks > self._few:
            self._is_hidden = True
            gc.freeze()
        elif self._is_whole:
            gc.freeze()  # the program again, and little else
