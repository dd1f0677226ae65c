"""How many tokens an answer was, read from its bytes as they pass.

Answers tell it in their `usage`, in JSON as in the events of a stream, where the last one counts. A stream whose client
did not ask for it tells nothing. Then its events are counted that say something: OpenAI's have about a token each, the
mock's exactly one. Source: OpenAI API reference, "Chat", "Completions (legacy)", "Responses".
"""

from __future__ import annotations

import re

_OBJECT = re.compile(rb"\s*:\s*\{")
_TOTAL = re.compile(rb'"total_tokens"\s*:\s*([0-9]{1,15})')
# What says something in an event: not the role, and not the empty delta that comes with the finish reason.
_SAID = re.compile(
    rb'"delta":\s*(?!\{\}|\{"role"|\{"audio":\{"expires_at|"")|"object":\s*"text_completion"[^\n]*?"text":\s*"(?!")'
)

# A usage is looked for this far before the end of what came, and is no longer than this.
_MOST_USAGE = 1_000
_KEPT = 4_096
_MOST_OTHERS = 8  # things called "usage" that are no object, behind the one that is


class ToldUsage:
    """Reads an answer's body piece by piece; what it holds is bounded.

    `total` is the number of tokens that the answer tells, the prompt's among them, None while it tells none. `events`
    counts the events that say something.
    """

    __slots__ = ("_rest", "events", "total")

    def __init__(self) -> None:
        self.total: int | None = None
        self.events = 0
        self._rest = b""

    def took(self, data: bytes) -> None:
        """Read a piece of the body."""
        block = self._rest + data
        end = block.rfind(b"\n\n") + 2
        if end > 1:
            self.events += sum(1 for _ in _SAID.finditer(block, 0, end))
        self._find_usage(block)
        self._rest = block[end if end > 1 else 0 :][-_KEPT:]

    def _find_usage(self, block: bytes) -> None:
        at = len(block)
        for _ in range(_MOST_OTHERS):
            at = block.rfind(b'"usage"', 0, at)
            if at < 0:
                return
            if _OBJECT.match(block, at + len(b'"usage"')):
                total = _TOTAL.search(block, at, at + _MOST_USAGE)
                if total is not None:
                    self.total = int(total[1])
                    return
