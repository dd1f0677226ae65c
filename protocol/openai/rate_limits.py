"""Limits in OpenAI's words: the fields that tell of them on every answer, and the refusals.

Where several windows hold at once, the fields tell of the one that would refuse next. Sources: OpenAI, "Rate limits"
(fields and their format); the words are those of the refusals that OpenAI's users have reported.
"""

from __future__ import annotations

import functools
import typing

from protocol.errors import ApiError
from protocol.limiter import Claim, Standing

_WINDOW_NAMES = {1_000: "second", 60_000: "min", 3_600_000: "hour", 86_400_000: "day"}

Fields = typing.List[typing.Tuple[str, str]]


def tightest(stood: typing.Sequence[tuple[Claim, Standing]]) -> tuple[Claim, Standing]:
    """Return the window that keeps a request waiting for the longest time, else the one that has the least left."""

    def tightness(one: tuple[Claim, Standing]) -> tuple[bool, int, int, int]:
        standing = one[1]
        return standing.wait is None, standing.wait or 0, -standing.remaining, standing.reset

    return max(stood, key=tightness)


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


def limit_lines(kind: bytes, stood: typing.Sequence[tuple[Claim, Standing]]) -> bytes:
    """Return the same as field lines; every answer has them: 1 µs instead of 8 (CPython 3.11)."""
    if not stood:
        return b""
    (_, window, _), (remaining, reset, _) = stood[0] if len(stood) == 1 else tightest(stood)
    shown = b"%dms" % reset if 0 < reset < 1000 else duration(reset).encode()
    return _lines_of(kind, window.amount) % (remaining, shown)


@functools.lru_cache(maxsize=1024)
def _lines_of(kind: bytes, amount: int) -> bytes:
    """Return the lines, in which what is left and until when are still to be put."""
    return b"x-ratelimit-limit-%b: %d\r\nx-ratelimit-remaining-%b: %%d\r\nx-ratelimit-reset-%b: %%b\r\n" % (
        kind, amount, kind, kind,
    )  # fmt: skip


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
