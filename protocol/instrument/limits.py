"""Limits, simulated: what a key or a model may use, told on each answer and refused in OpenAI's words.

    "limits": [{"by": "key", "requests": "3/min, 100/day", "tokens": "1000/min"}]

Every request of the API counts, whatever becomes of it. Its tokens are estimated when it comes: the words of its texts,
and as many as it lets the answer have. When it is over, what the answer told takes the estimate's place. Sources:
OpenAI, "Rate limits" (that failed requests count); OpenAI API reference, "Completions", `max_tokens` (16 where nothing
is said).
"""

from __future__ import annotations

import hashlib
import typing

from protocol.limiter import Claim, Full, Limiter, LimiterRoom, Window, read_windows
from protocol.openai.answers import count_words
from protocol.openai.rate_limits import Fields, limit_fields, limit_reached, rate_refusal, retry_fields, tightest
from protocol.openai.told_usage import ToldUsage
from protocol.wire.json_text import JsonObject

# All of them are asked for each request.
_MOST_RULES = 100
# Of a key or a model: what is longer is known by its hash.
_MOST_NAME = 100

_KINDS = ("requests", "tokens")
_BY = ("key", "model")

# Of an answer whose length the request leaves open.
_USUAL_TOKENS = 16
_LENGTH_PARAMETERS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
_TEXT_PARAMETERS = ("messages", "input", "prompt", "instructions")
_INNER_PARAMETERS = ("content", "text", "messages", "prompt")
_WORDY_PATHS = ("/completions", "/responses", "/generation")
_MOST_PARTS = 100_000  # of a prompt that are looked at


class LimitRule(typing.NamedTuple):
    """One entry of `limits`: the windows of each key, or of each model."""

    by: str
    requests: tuple[Window, ...]
    tokens: tuple[Window, ...]


def read_limits(value: typing.Any) -> list[LimitRule]:
    """Return what `limits` of a script says; ValueError that names the member at fault."""
    if type(value) is not list:
        raise ValueError('limits: expected a list, e.g. [{"by": "key", "requests": "3/min"}]')
    if len(value) > _MOST_RULES:
        raise ValueError(f"limits: there may be at most {_MOST_RULES}")
    return [_read_rule(entry, f"limits[{number}]") for number, entry in enumerate(value)]


def _read_rule(entry: typing.Any, where: str) -> LimitRule:
    if type(entry) is not dict or entry.get("by") not in _BY:
        raise ValueError(f'{where}.by: expected "key" or "model"')
    unknown = [name for name in entry if name != "by" and name not in _KINDS]
    if unknown or len(entry) < 2:
        came = f"{unknown[0][:80]!r} is not known" if unknown else "it limits nothing"
        raise ValueError(f"{where}: {came}; expected requests and tokens")
    windows = {kind: () if kind not in entry else _read_windows(entry[kind], f"{where}.{kind}") for kind in _KINDS}
    return LimitRule(entry["by"], windows["requests"], windows["tokens"])


def _read_windows(text: typing.Any, where: str) -> tuple[Window, ...]:
    try:
        return tuple(read_windows(text if type(text) is str else ""))
    except ValueError as exc:
        raise ValueError(f"{where}: {exc}") from exc


def _kept_name(name: str) -> str:
    if len(name) <= _MOST_NAME:
        return name
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


class Limits:
    """What the rules leave to whoever asks; `clock` gives the time in seconds, `room` is that of all sessions."""

    def __init__(
        self, rules: typing.Sequence[LimitRule], clock: typing.Callable[[], float], room: LimiterRoom | None = None
    ) -> None:
        self._rules = rules
        self._limiter = Limiter(clock, room)

    def admit(self, key: str, model: str, path: str, body: typing.Any) -> Admission:
        """Let a request in, or raise ApiError 429 with the fields that say when it may come again.

        `model` is "" for a request that names none, to which no limits by model apply. `body` is the JSON that came to
        `path`, None for any other body, of whose tokens nothing is known beforehand. A long one is read in turns.
        """
        prompt, answer = _estimate(path, body)
        requests: list[Claim] = []
        tokens: list[Claim] = []
        for number, rule in enumerate(self._rules):
            name = _kept_name(key if rule.by == "key" else model)
            if rule.by == "key" or model:
                requests += [Claim((number, "requests", name), window, 1) for window in rule.requests]
                tokens += [Claim((number, "tokens", name), window, prompt + answer) for window in rule.tokens]
        claims = requests + tokens
        try:
            is_in, told = self._limiter.take(claims)
        except Full as full:
            message = "Too many different keys and models are limited at once. Please try again later."
            raise rate_refusal(message, "requests", retry_fields(full.wait)) from full
        stood = list(zip(claims, told))
        by_kind = (stood[: len(requests)], stood[len(requests) :])
        fields = limit_fields("requests", by_kind[0]) + limit_fields("tokens", by_kind[1])
        if not is_in:
            claim, standing = tightest(stood)
            kind = "requests" if claim in requests else "tokens"
            raise limit_reached(kind, model or "default", claim, standing, fields)
        return Admission(self._limiter, tokens, fields, prompt)

    def reset(self) -> None:
        """Forget all that was used."""
        self._limiter.reset()


class Admission:
    """A request that was let in. `fields` are those of its answer; it is told of the answer's body as that passes."""

    def __init__(self, limiter: Limiter, tokens: typing.Sequence[Claim], fields: Fields, prompt: int) -> None:
        self.fields = fields
        self._limiter = limiter
        self._tokens = tokens
        self._prompt = prompt
        self._told = ToldUsage()

    def took(self, data: bytes) -> None:
        """Learn that a piece of the answer's body is leaving."""
        if self._tokens:
            self._told.took(data)

    def end(self, *, failed: bool) -> None:
        """Settle what was estimated; an answer that failed was no tokens."""
        tokens, self._tokens = self._tokens, ()
        if tokens:
            told = self._told.total
            used = 0 if failed else told if told is not None else self._prompt + self._told.events
            self._limiter.settle(tokens, used)


# ---- what a request may need ----------------------------------------------------------------------------------------


def _estimate(path: str, body: typing.Any) -> tuple[int, int]:
    """Return how many tokens a prompt has, and how many its answer may have."""
    if type(body) is not dict:
        return 0, 0
    if not path.endswith(_WORDY_PATHS):
        return _prompt_words(body), 0
    lengths = (body.get(name) for name in _LENGTH_PARAMETERS)
    length = next((length for length in lengths if type(length) is int and length > 0), _USUAL_TOKENS)
    choices = body.get("n")
    return _prompt_words(body), length * (choices if type(choices) is int and 1 <= choices <= 128 else 1)


def _prompt_words(body: JsonObject) -> int:
    """Count the words of what a request says: texts in lists, and in the members that have texts."""
    words = 0
    waiting = [body.get(name) for name in _TEXT_PARAMETERS]
    for _ in range(_MOST_PARTS):
        if not waiting:
            break
        part = waiting.pop()
        if type(part) is str:
            words += count_words(part)
        elif type(part) is list:
            waiting += part
        elif type(part) is dict:
            waiting += (part.get(name) for name in _INNER_PARAMETERS)
    return words
