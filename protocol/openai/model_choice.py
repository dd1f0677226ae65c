"""The owner's choice of a model: which one is sent for the one that a request asks for."""

from __future__ import annotations

import typing

from protocol.openai.asked_model import name_pattern


class ModelChoice:
    """Which model is sent for which: `forced` for all, else what `renamed` says, whose names may hold `*` and `?`.

    A name that stands there itself comes before the patterns, which are tried in their order.
    """

    def __init__(self, forced: str, renamed: typing.Mapping[str, str]) -> None:
        self.forced = forced
        self._renamed = renamed
        self._patterns = [
            (name_pattern(asked), sent) for asked, sent in renamed.items() if "*" in asked or "?" in asked
        ]

    @property
    def is_any(self) -> bool:
        """Whether there is anything to rename."""
        return bool(self.forced or self._renamed)

    def sent(self, asked: str) -> str:
        """Return what a model that was asked for is called at the upstream."""
        if self.forced:
            return self.forced
        sent = self._renamed.get(asked)
        if sent is None:
            sent = next((sent for pattern, sent in self._patterns if pattern.fullmatch(asked)), asked)
        return sent
