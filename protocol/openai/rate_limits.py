"""Limits in OpenAI's words: the fields that tell of them on every answer, and the refusals.

Where several windows hold at once, the fields tell of the one that would refuse next. Sources: OpenAI, "Rate limits"
(fields and their format); the words are those of the refusals that OpenAI's users have reported.
"""

from __future__ import annotations

import functools
import typing

from protocol.errors import ApiError
from protocol.limiter import Claim, Standing, Stood, Window

_WINDOW_NAMES = {1_000: "second", 60_000: "min", 3_600_000: "hour", 86_400_000: "day"}

Fields = typing.List[typing.Tuple[str, str]]


def tightest(stood: typing.Sequence[tuple[Claim, Standing]]) -> tuple[Claim, Standing]:
    """Return the window that keeps a request waiting for the longest time, else the one that has the least left."""
    return max(stood, key=lambda one: _tightness(one[1]))


def _tightness(standing: Stood) -> tuple[bool, int, int, int]:
    remaining, reset, wait = standing
    return wait is None, wait or 0, -remaining, reset


def limit_fields(kind: str, stood: typing.Sequence[tuple[Claim, Standing]]) -> Fields:
    """Return the three fields that tell of the windows of a kind, "requests" or "tokens"; none where there are none."""
    if not stood:
        return []
    claim, standing = tightest(stood)
    return [
        (f"x-ratelimit-limit-{kind}", str(claim.window.amount)),
        (f"x-ratelimit-remaining-{kind}", str(standing.remaining)),
        (f"x-ratelimit-reset-{kind}", duration(standing.reset)),
    ]


class LimitLines:
    """What `limit_fields` tells of windows of requests and of tokens, as lines that are ready but for the figures.

    Every answer has them: 0.7 µs instead of 8 (CPython 3.11).
    """

    __slots__ = ("_kinds",)

    def __init__(self, requests: typing.Sequence[Window], tokens: typing.Sequence[Window]) -> None:
        """Take the windows of each kind, in the order in which their standings are told."""
        # Of each kind: where its standings begin and end, and the lines of each of its windows.
        self._kinds = [
            (start, start + len(windows), [_lines_of(kind, window.amount) for window in windows])
            for kind, start, windows in ((b"requests", 0, requests), (b"tokens", len(requests), tokens))
            if windows
        ]

    def of(self, standings: typing.Sequence[Stood]) -> bytes:
        """Return the lines; `standings` may go on with those of which nothing is told."""
        lines = b""
        for start, end, lines_of in self._kinds:
            at = start if end - start == 1 else _tightest(standings, start, end)
            remaining, reset, _ = standings[at]
            lines += lines_of[at - start] % (remaining, b"%dms" % reset if 0 < reset < 1000 else _duration(reset))
        return lines


@functools.lru_cache(maxsize=1024)  # most callers have the same amounts
def limit_lines(requests: tuple[Window, ...], tokens: tuple[Window, ...]) -> LimitLines:
    """Return the lines for these windows, the same object each time."""
    return LimitLines(requests, tokens)


def _lines_of(kind: bytes, amount: int) -> bytes:
    """Return the lines, in which what is left and until when are still to be put."""
    return b"x-ratelimit-limit-%b: %d\r\nx-ratelimit-remaining-%b: %%d\r\nx-ratelimit-reset-%b: %%b\r\n" % (
        kind, amount, kind, kind,
    )  # fmt: skip


def _tightest(standings: typing.Sequence[Stood], start: int, end: int) -> int:
    """Return which of these is what `tightest` returns."""
    return max(range(start, end), key=lambda at: _tightness(standings[at]))


def _duration(milliseconds: int) -> bytes:
    """Return what `duration` does, of seconds in a quarter of the time."""
    if 1000 <= milliseconds < 60_000:
        return b"%gs" % (milliseconds / 1000)
    return duration(milliseconds).encode()


def limit_reached(kind: str, model: str, claim: Claim, standing: Standing, fields: Fields) -> ApiError:
    """Return the refusal of a request that a window has no room for; `fields` are what its answer has besides."""
    amount, period = claim.window.amount, claim.window.period
    name = _WINDOW_NAMES[period]
    on = f"for {model[:100]} on {kind} per {name} ({kind[0].upper()}P{name[0].upper()}): Limit {amount}"
    if standing.wait is None:
        message = f"Request too large {on}, Requested {claim.units}."
        message += " The input or output tokens must be reduced in order to run successfully."
        return rate_refusal(message, kind, [("x-should-retry", "false"), *fields])
    message = f"Rate limit reached {on}, Used {amount - standing.remaining}, Requested {claim.units}."
    message += f" Please try again in {duration(standing.wait)}."
    return rate_refusal(message, kind, [*retry_fields(standing.wait), *fields])


def rate_refusal(message: str, kind: str, fields: Fields) -> ApiError:
    """Return a refusal for now, of a kind of limit."""
    return ApiError(429, message, type=kind, code="rate_limit_exceeded", fields=fields)


def retry_fields(milliseconds: int) -> Fields:
    """Return when to come again: whole seconds (RFC 9110 §10.2.3), and milliseconds as OpenAI's clients read them."""
    return [("retry-after", str(-(-milliseconds // 1000))), ("retry-after-ms", str(milliseconds))]


def duration(milliseconds: int) -> str:
    """Return a span of time as OpenAI's fields have it: 0s, 12ms, 1s, 8.64s, 6m0s, 1h30m0s."""
    if 0 < milliseconds < 1000:
        return f"{milliseconds}ms"
    seconds, fraction = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{seconds}.{fraction:03}".rstrip("0").rstrip(".") if fraction else str(seconds)
    if hours:
        return f"{hours}h{minutes}m{text}s"
    return f"{minutes}m{text}s" if minutes else f"{text}s"
