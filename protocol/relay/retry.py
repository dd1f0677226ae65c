"""What a failed attempt means for the next one: how long to wait, and whether a backend had better rest."""

from __future__ import annotations

import re
import ssl
import typing

from protocol.exchange import Response
from protocol.upstream.answer import UpstreamAnswer
from protocol.wire.http1.messages import ResponseHead

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


class Health:
    """Whether a backend rests: after so many failed requests in a row, for `cooldown` seconds; then one probes it."""

    def __init__(self, cooldown: float) -> None:
        self._cooldown = cooldown
        self.failures = 0
        self.rest_until = 0.0
        self.probing = False

    def rests(self, now: float) -> bool:
        """Tell whether a request must keep away."""
        return not self.is_well and (now < self.rest_until or self.probing)

    def begin(self) -> bool:
        """Note a request that does not keep away; return whether it is the probe after a rest."""
        self.probing = self.probing or not self.is_well
        return not self.is_well

    @property
    def is_well(self) -> bool:
        """Whether it neither rests nor has just rested."""
        return self.failures < _FAILURES_TO_REST or not self._cooldown

    def failed(self, now: float) -> float:
        """Note a request that failed; return until when the backend rests, 0 when it does not."""
        self.failures += 1
        if self.is_well:
            return 0.0
        self.rest_until = now + self._cooldown
        return self.rest_until


def read_retry_after(head: ResponseHead, now: float) -> float | None:
    """Return for how many seconds the upstream asks us to wait, 0 where it does not say; None: do not come again."""
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
