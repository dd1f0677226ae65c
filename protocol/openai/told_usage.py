"""The tokens of an answer, for who must have a number.

A stream whose client did not ask for its usage tells nothing. Then its events are counted that say something: OpenAI's
have about a token each, the mock's exactly one.
"""

from __future__ import annotations

import re

from protocol.openai.usage import UsageReader

# What says something in an event: not the role, and not the empty delta that comes with the finish reason.
_SAID = re.compile(
    rb'"delta":\s*(?!\{\}|\{"role"|\{"audio":\{"expires_at|"")|"object":\s*"text_completion"[^\n]*?"text":\s*"(?!")'
)
_KEPT = 4_096


class ToldUsage:
    """Reads an answer's body piece by piece; what it holds is bounded.

    `total` is the number of tokens that the answer tells, the prompt's among them, None while it tells none. `events`
    counts the events that say something.
    """

    __slots__ = ("_reader", "_rest", "events")

    def __init__(self) -> None:
        self.events = 0
        self._reader = UsageReader()
        self._rest = b""

    @property
    def total(self) -> int | None:
        """How many tokens the answer tells."""
        return self._reader.total

    def took(self, data: bytes) -> None:
        """Read a piece of the body."""
        self._reader.took(data)
        block = self._rest + data
        end = block.rfind(b"\n\n") + 2
        if end > 1:
            self.events += sum(1 for _ in _SAID.finditer(block, 0, end))
        self._rest = block[end if end > 1 else 0 :][-_KEPT:]
