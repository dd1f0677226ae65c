"""The retry law: which failure is followed by another attempt, after how long, and when a backend had better rest.

Theory of operation
-------------------
Nothing has gone to the client while the law runs, so a request may be sent again, within one deadline:

    no connection, or one that was dead             again, after a pause
    before the request can have been read
    408, 429, 500, 502, 503, 504; the CDNs'         again, after a pause or what retry-after says, if the body can be
    520 to 530, 598, 599                            sent again
    any of these that says the quota is used up     not here with this key, but the route's next backend may
    401, 402, 403; 404 that knows no such model     the same
    200 whose first event is an error               the same, while nothing has gone out
    broke off, or took too long                     the same: it may have been carried out, so it is not sent here again
    any other answer                                is the answer

An attempt says so as a Response, which is the answer, or as a Failure, which knows whether and when there may be
another. What is left of the last one goes out as BackendFailed, for the route's next backend or for the client: the
upstream's own status and body, or an error of ours.

A caller who tries again by himself says so: OpenAI's SDKs count in x-stainless-retry-count. From his second try on
there is one attempt a backend, so that his tries and ours add up and do not multiply. He may say too for how long he
waits (`callers_patience`); a pause that would outlast that is left to him, with the answer that asks for it.

Several requests in a row that failed make a backend rest, if there is another one to ask meanwhile:

    well ── 5 requests in a row fail ──► rests for `cooldown` seconds ──► the first request then is a probe
     ▲                                        ▲                              │
     │                                        └────────── it fails ──────────┤
     └────────────────────────────── an answer of use ───────────────────────┘

While the probe is under way, all others keep away.
"""

from __future__ import annotations

import asyncio
import math
import re
import ssl
import typing

from protocol.exchange import BackendFailed, Response, cancel_body
from protocol.relay.error_words import NO_MODEL, error_words
from protocol.wire.http1.messages import Fields, ResponseHead

#: What may pass by itself: RFC 9110 §15.5.9 and §15.6, RFC 6585 §4, and what CDNs and proxies in front of an upstream
#: say in its place (Cloudflare's 520 to 530, the 598 and 599 of others).
RETRIED_STATUSES = frozenset((408, 429, 500, 502, 503, 504, *range(520, 531), 598, 599))

# What is a matter of the account or the key, which another backend may have.
_ACCOUNT_STATUSES = frozenset((401, 402, 403))

# Codes and types of errors that no pause mends: the key's account has nothing left (OpenAI API, "Error codes").
_QUOTA_WORDS = frozenset(("insufficient_quota", "billing_hard_limit_reached", "billing_not_active"))

_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 8.0

# An upstream that asks for a longer pause than this is taken at its word: it is not asked again.
_LONGEST_OBEYED_SECONDS = 15.0

# This many requests in a row have to fail before a backend rests.
_FAILURES_TO_REST = 5

# What the SDKs of OpenAI say of their caller: how long he waits for an answer to begin, in seconds, and how often he
# has tried before.
_PATIENCE_FIELDS = ("x-stainless-read-timeout", "x-stainless-timeout")
_TRIES_FIELD = "x-stainless-retry-count"
_TRIED_BEFORE = r"0*[1-9][0-9]{0,8}"

_DECIMAL = r"[0-9]{1,9}(?:\.[0-9]{1,9})?"

# RFC 9110 §5.6.7: IMF-fixdate.
_HTTP_DATE = r"[A-Z][a-z]{2}, ([0-9]{2}) ([A-Z][a-z]{2}) ([0-9]{4}) ([0-9]{2}:[0-9]{2}:[0-9]{2}) GMT"


class Failure(typing.NamedTuple):
    """An attempt that failed: what the client gets if it is the last one, and when there may be another.

    `retry_after` is 0 where the upstream does not say, None where this backend must not get the request again.
    """

    response: Response
    retry_after: typing.Optional[float]

    def for_others(self) -> Failure:
        """Return the same where this backend cannot get the request again."""
        return self._replace(retry_after=None)


Outcome = typing.Union[Response, Failure]


async def retried(
    attempt: typing.Callable[[], typing.Awaitable[Outcome]],
    retries: int,
    wait_until: float,
    draw: typing.Callable[[], float],
) -> Response:
    """Return the first answer that attempts come to, of which there are one and at most `retries` more.

    No pause lasts until `wait_until` (loop time, infinite for any length). `draw` gives a random number from 0 to 1.
    BackendFailed where no attempt has an answer of use.
    """
    loop = asyncio.get_running_loop()
    tried = 0
    while True:
        outcome = await attempt()
        if isinstance(outcome, Response):
            return outcome
        pause = _pause(tried, outcome.retry_after, draw)
        if tried == retries or pause is None or loop.time() + pause >= wait_until:
            raise BackendFailed(outcome.response)
        tried += 1
        cancel_body(outcome.response)
        await asyncio.sleep(pause)


def _pause(tried: int, retry_after: float | None, draw: typing.Callable[[], float]) -> float | None:
    """Return for how many seconds to wait before the next attempt; None where there is to be none."""
    if retry_after is None or retry_after > _LONGEST_OBEYED_SECONDS:
        return None
    # Full jitter: clients that failed together come back apart.
    return retry_after or draw() * min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2**tried)


def callers_patience(fields: Fields) -> float:
    """Return for how many seconds a caller waits for an answer to begin, as his request's fields say; else infinity."""
    for name in _PATIENCE_FIELDS:
        seconds = fields.get(name)
        if re.fullmatch(_DECIMAL, seconds) and float(seconds) > 0:
            return float(seconds)
    return math.inf


def tries_again_by_himself(fields: Fields) -> bool:
    """Tell whether a request is a caller's second try or a later one."""
    return bool(re.fullmatch(_TRIED_BEFORE, fields.get(_TRIES_FIELD)))


def judge(head: ResponseHead, body: bytes) -> typing.Literal["answer", "next", "again"]:
    """Tell what follows an error's answer, of whose body this much has come: it is the answer, or others are asked.

    "next" is for the route's next backend alone, "again" also for this one.
    """
    status = head.status
    if status in RETRIED_STATUSES:
        return "next" if _QUOTA_WORDS & error_words(head.fields, body) else "again"
    if status in _ACCOUNT_STATUSES or (status == 404 and NO_MODEL in error_words(head.fields, body)):
        return "next"
    return "answer"


def read_retry_after(head: ResponseHead, now: float) -> float | None:
    """Return for how many seconds the upstream asks us to wait, 0 where it does not say; None: do not come again.

    `now` is in seconds since the epoch. The fields are Retry-After (RFC 9110 §10.2.3) and the two beside it that
    OpenAI's API sends and its SDKs obey.
    """
    fields = head.fields
    if fields.get("x-should-retry") == "false":
        return None
    milliseconds, text = fields.get("retry-after-ms"), fields.get("retry-after")
    if re.fullmatch(_DECIMAL, milliseconds):
        return float(milliseconds) / 1000
    if re.fullmatch(_DECIMAL, text):
        return float(text)
    date = re.fullmatch(_HTTP_DATE, text)
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
        #: How many requests have failed in a row.
        self.failures = 0
        #: How often it was given a rest.
        self.has_rested = 0
        self._rest_until = 0.0
        self._is_probed = False
        #: Whether it neither rests nor has just rested.
        self.is_well = True

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
        self.failures = 0
        self.is_well = True

    def note_failure(self, now: float) -> bool:
        """Note a request that failed; return whether the backend rests now."""
        self.failures += 1
        if self.failures < _FAILURES_TO_REST or not self._cooldown:
            return False
        self.has_rested += self.is_well
        self.is_well = False
        self._rest_until = now + self._cooldown
        return True
