"""The cache of prompts' beginnings: which blocks of 16 tokens have been seen in front of which others.

As in the engines that serve models, a block is known by its tokens and by all that stand before it, whole blocks alone
count, and at least the last token is always worked out anew. The block that was not asked for the longest time goes
first (vLLM, "Automatic Prefix Caching"). A word counts as a token, and what is generated is not cached.
"""

from __future__ import annotations

import hashlib
import typing

from protocol.budget import spend_turn

BLOCK_TOKENS = 16


class PrefixCache:
    """Remembers at most so many blocks."""

    def __init__(self, blocks: int) -> None:
        self._most = blocks
        self._known: dict[bytes, None] = {}  # the one asked for last is the last

    def take(self, words: typing.Sequence[str]) -> int:
        """Return how many tokens of a prompt are cached, and remember all of its whole blocks."""
        known, cached = self._known, 0
        before, is_known = b"", True
        blocks = []
        for end in range(BLOCK_TOKENS, len(words) + 1, BLOCK_TOKENS):
            spend_turn(1)
            block = " ".join(words[end - BLOCK_TOKENS : end]).encode("utf-8", "surrogatepass")
            before = hashlib.blake2b(before + block, digest_size=16).digest()
            is_known = is_known and before in known
            if is_known and end < len(words):
                cached = end
            blocks.append(before)
        # The last ones first, so that the beginning, without which no other is found, goes last.
        for digest in reversed(blocks):
            known.pop(digest, None)
            known[digest] = None
        while len(known) > self._most:
            del known[next(iter(known))]
        return cached
