"""Keys by which draws are made: the same for the same request, and the same number of it."""

from __future__ import annotations

import hashlib

# Of a body of more bytes, its ends and its size tell it from others.
_HASHED_BYTES = 65536
# Different bodies whose repetitions are counted; the one that came last the longest time ago goes first.
_MOST_BODIES = 10_000


class RequestKeys:
    """Makes keys of the seed, what a request says, and how often that came before: whatever else came between.

    With `repeats` equal requests have equal keys, however often they come.
    """

    def __init__(self, seed: bytes, *, repeats: bool = False) -> None:
        self._repeats = repeats
        self._seed = hashlib.blake2b(seed, digest_size=32).digest()
        self._counts: dict[bytes, int] = {}

    def next(self, body: bytes) -> bytes:
        """Return the key of a request."""
        counts = self._counts
        said = hashlib.blake2b(b"%d " % len(body), key=self._seed, digest_size=24)
        said.update(body[:_HASHED_BYTES])
        said.update(body[max(_HASHED_BYTES, len(body) - _HASHED_BYTES) :])
        key = said.digest()
        if self._repeats:
            return key
        count = counts.pop(key, 0)
        counts[key] = count + 1
        if len(counts) > _MOST_BODIES:
            del counts[next(iter(counts))]
        return key + count.to_bytes(8, "little")
