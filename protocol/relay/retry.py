"""The retry law: which failure is followed by another attempt, after how long, and when a backend had better rest.

Theory of operation
-------------------
Nothing has gone to the client while the law runs, so a request may be sent again, within one deadline:

    no connection                     again, after a pause
    429, 500, 502, 503, 504           again, after a pause or what retry-after says, if the body can be sent again
    broke off, or took too long       not here (it may have been carried out), but the route's next backend may
    any other answer                  is the answer

An attempt says so as a Response, which is the answer, or as a Failure, which knows whether and when there may be
another. What is left of the last one goes out as BackendFailed, for the route's next backend or for the client: the
upstream's own status and body, or an error of ours.

Several requests in a row that failed in this way make a backend rest, if there is another one to ask meanwhile:

    well ── 5 requests in a row fail ──► rests for `cooldown` seconds ──► the first request then is a probe
     ▲                                        ▲                              │
     │                                        └────────── it fails ──────────┤
     └────────────────────────────── an answer of use ───────────────────────┘

While the probe is under way, all others keep away.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import typing

from protocol.exchange import BackendFailed, Response
from protocol.upstream.answer import UpstreamAnswer
from protocol.wire.http1.messages import ResponseHead

RETRIED_STATUSES = frozenset((429, 500, 502, 503, 504))

_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 8.0

# An upstream that asks for a longer pause than this is taken at its word: it is not asked again.
_LONGEST_OBEYED_SECONDS = 15.0

# This many requests in a row have to fail before a backend rests.
_FAILURES_TO_REST = 5

_DECIMAL = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")

# RFC 9110 §5.6.7: IMF-fixdate.
_HTTP_DATE = re.compile(r"[A-Z][a-z]{2}, ([0-9]{2}) ([A-Z][a-z]{2}) ([0-9]{4}) ([0-9]{2}:[0-9]{2}:[0-9]{2}) GMT")


class Failure(typing.NamedTuple):
    """An attempt that failed: what the client gets if it is the last one, and when there may be another.

    `retry_after` is 0 where the upstream does not say, None where there must be none. `rest` is what of the answer is
    still to come, where it could not be held.
    """

    response: Response
    retry_after: typing.Optional[float]
    rest: typing.Optional[UpstreamAnswer] = None

    def drop(self) -> None:
        """Let the rest go: there is to be another attempt, or nobody to wait for it."""
        if self.rest is not None:
            self.rest.discard()


Outcome = typing.Union[Response, Failure]


async def retried(
    attempt: typing.Callable[[], typing.Awaitable[Outcome]],
    retries: int,
    end_by: float,
    draw: typing.Callable[[], float],
) -> Response:
    """Return the first answer that attempts come to, of which there are one and at most `retries` more.

    All must be over at `end_by` (loop time, 0 for never). `draw` gives a random number from 0 to 1. BackendFailed where
    no attempt has an answer of use.
    """
    tried = 0
    while True:
        outcome = await attempt()
        if isinstance(outcome, Response):
            return outcome
        pause = _pause(tried, outcome.retry_after, draw)
        if tried == retries or pause is None:
            break
        if end_by and asyncio.get_running_loop().time() + pause >= end_by:
            break
        tried += 1
        try:
            await asyncio.sleep(pause)
        finally:
            outcome.drop()
    if outcome.rest is not None:
        return outcome.response  # it cannot be held, and so no other backend be asked
    raise BackendFailed(outcome.response)


def _pause(tried: int, retry_after: float | None, draw: typing.Callable[[], float]) -> float | None:
    """Return for how many seconds to wait before the next attempt; None where there is to be none."""
    if retry_after is None or retry_after > _LONGEST_OBEYED_SECONDS:
        return None
    # Full jitter: clients that failed together come back apart.
    return retry_after or draw() * min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2**tried)


def read_retry_after(head: ResponseHead, now: float) -> float | None:
    """Return for how many seconds the upstream asks us to wait, 0 where it does not say; None: do not come again.

    `now` is in seconds since the epoch. The fields are Retry-After (RFC 9110 §10.2.3) and the two beside it that
    OpenAI's API sends and its SDKs obey.
    """
    fields = head.fields
    if fields.get("x-should-retry") == "false":
        return None
    milliseconds, text = fields.get("retry-after-ms"), fields.get("retry-after")
    if _DECIMAL.fullmatch(milliseconds):
        return float(milliseconds) / 1000
    if _DECIMAL.fullmatch(text):
        return float(text)
    date = _HTTP_DATE.fullmatch(text)
    if not date:
        return 0.0
    day, month, year, clock = date.groups()
    try:
        return max(0.0, ssl.cert_time_to_seconds(f"{month} {day} {clock} {year} GMT") - now)
    except ValueError:
        return 0.0


class Health:
    """Whether a backend rests; a `cooldown` of 0 seconds lets it never do so. Times are the loop's."""

    def __init__(self, cooldown: float) -> None:
        self._cooldown = cooldown
        self._failures = 0
        self._rest_until = 0.0
        self._is_probed = False

    @property
    def is_well(self) -> bool:
        """Whether it neither rests nor has just rested."""
        return self._failures < _FAILURES_TO_REST or not self._cooldown

    def seconds_to_rest(self, now: float) -> float | None:
        """Return for how long a request must keep away, which may be 0 while another one probes; None: it need not."""
        if self.is_well or (now >= self._rest_until and not self._is_probed):
            return None
        return self._rest_until - now

    def begin(self) -> bool:
        """Note a request that does not keep away; return whether it is the probe, to be ended by `end_probe`."""
        is_probe = not self.is_well
        self._is_probed = self._is_probed or is_probe
        return is_probe

    def end_probe(self) -> None:
        """Note that the probe is over, however it went."""
        self._is_probed = False

    def note_success(self) -> None:
        """Note an answer of use."""
        self._failures = 0

    def note_failure(self, now: float) -> bool:
        """Note a request that failed; return whether the backend rests now."""
        self._failures += 1
        if self.is_well:
            return False
        self._rest_until = now + self._cooldown
        return True
