"""How many words an answer has that is as long as it is told to be, whatever the mock's text is."""

from __future__ import annotations

import itertools

from protocol.mock.drawn import read_length
from protocol.mock.pace.draws import make_whole_draws
from protocol.openai.answers import split_words
from protocol.wire.json_text import JsonObject

#: Words of the longest such answer, whatever a request allows.
MOST_WORDS = 131_072

_LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
_MOST_TEXTS = 64
_KEPT_WORDS = 4_096  # of a text that is kept


class Lengths:
    """Makes texts as long as `length` ([mock] length) and a request say.

    Load generators want answers of a known length, and say so as vLLM's clients do: with `ignore_eos` an answer goes on
    to its limit, and with `min_tokens` it has so many at least. Both let an answer be as long as the limit.
    """

    def __init__(self, length: str, text: str) -> None:
        read = read_length(length)
        self._is_request = read.kind == "request"
        self._draws = make_whole_draws(read.mean, read.deviation) if read.kind == "normal" else None
        self._text = text
        self._words = split_words(f"{text.strip()} ") if text.strip() else ["word "]
        self._texts: dict[int, str] = {}

    def text(self, body: JsonObject, key: bytes) -> str:
        """Return what an answer says; one word more than its limit where it is to end for its length."""
        limit = next((body[name] for name in _LIMITS if type(body.get(name)) is int), None)
        least = body.get("min_tokens")
        least = least if type(least) is int and least > 0 else 0
        if self._is_request or least or body.get("ignore_eos") is True:
            if limit is None:
                return self._of_words(least) if least else self._text
            return self._of_words(limit + 1)
        return self._text if self._draws is None else self._of_words(int(self._draws.one(b"length" + key)))

    def _of_words(self, count: int) -> str:
        count = max(0, min(count, MOST_WORDS))
        text = self._texts.get(count)
        if text is None:
            text = "".join(itertools.islice(itertools.cycle(self._words), count)).rstrip()
            if count <= _KEPT_WORDS:
                if len(self._texts) >= _MOST_TEXTS:
                    self._texts.clear()
                self._texts[count] = text
        return text
