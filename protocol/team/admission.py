"""Whether a request may come in: what it takes of its caller's limits, and how it is refused.

OpenAI's words and statuses, so that its clients do what they do there: they wait for a rate, and not for a budget.
Source: OpenAI API reference, "Error codes" (429 `rate_limit_exceeded` and `insufficient_quota`, 403, 401).
"""

from __future__ import annotations

import datetime
import typing

from protocol.errors import ApiError
from protocol.limiter import Claim, Full, Standing, Stood
from protocol.openai.rate_limits import limit_fields, limit_lines, limit_reached, rate_refusal, retry_fields
from protocol.team.money import NANO
from protocol.team.stores.store import REQUESTS, TOKENS, Amounts, Place, Quota, Store, claims_of, open_account


class Demand:
    """What requests of a kind take, bound to a store once, and how they are told of it.

    `quotas` are those of requests first, then of tokens, then of money.
    """

    __slots__ = ("_quotas", "_requests", "_told", "account", "lines")

    def __init__(self, store: Store, quotas: typing.Sequence[Quota], places: typing.Sequence[Place]) -> None:
        kinds = [quota.kind for quota in quotas]
        windows: list[typing.Any] = [quota.window for quota in quotas]
        self._quotas = quotas
        self._requests = kinds.count(REQUESTS)
        self._told = self._requests + kinds.count(TOKENS)
        self.account = open_account(store, quotas, places)
        #: The lines of each answer, which tell how the limits stand.
        self.lines = limit_lines(tuple(windows[: self._requests]), tuple(windows[self._requests : self._told]))

    def refusal(self, amounts: Amounts, standings: typing.Sequence[Stood], model: str, now: float) -> ApiError:
        """Return what a request is told that finds no room; `now` is in seconds since the epoch."""
        stood = list(zip(claims_of(self._quotas, amounts), map(Standing._make, standings)))
        requests, tokens = stood[: self._requests], stood[self._requests : self._told]
        fields = [*limit_fields("requests", requests), *limit_fields("tokens", tokens)]
        for claim, standing in stood[self._told :]:
            if standing.wait != 0:
                return _budget_used_up(claim, standing, fields, now)
        kept_out = max(stood, key=lambda one: (one[1].wait is None, one[1].wait or 0))
        return limit_reached("requests" if kept_out in requests else "tokens", model or "default", *kept_out, fields)


def _budget_used_up(claim: Claim, standing: Standing, fields: list[tuple[str, str]], now: float) -> ApiError:
    who = claim.subject.rpartition(":")[0].replace(":", " ") if isinstance(claim.subject, str) else "this key"
    amount = f"{claim.window.amount / NANO:.2f} USD a {getattr(claim.window, 'period', 'month')}"
    more = "this request may cost more than all of it" if standing.wait is None else "it is used up"
    if standing.wait:
        day = datetime.datetime.fromtimestamp(now + standing.wait / 1000, datetime.timezone.utc)
        more += f" until {day:%Y-%m-%d %H:%M} UTC"
    message = f"You exceeded your current quota: the budget of {who} is {amount}, and {more}."
    return ApiError(
        429, message, type="insufficient_quota", code="insufficient_quota",
        fields=[("x-should-retry", "false"), *fields],
    )  # fmt: skip


def crowded(place: Place) -> ApiError:
    """Return what a request is told that would be one too many at once."""
    who = place.subject.replace(":", " ")
    message = (
        f"Rate limit reached for {who} on requests at once: Limit {place.most}. Please try again when one is over."
    )
    return rate_refusal(message, "requests", retry_fields(1000))


def full(exc: Full) -> ApiError:
    """Return what a request is told where no further subject can be counted."""
    message = "Too many different keys and addresses are limited at once. Please try again later."
    return rate_refusal(message, "requests", retry_fields(exc.wait))


def no_key(key: str) -> ApiError:
    """Return what a request is told that has no key, or nobody's."""
    if not key:
        message = "You didn't provide an API key. Send yours as Authorization: Bearer KEY."
        return ApiError(401, message, code="missing_api_key")
    return ApiError(401, "Incorrect API key provided: this server does not know it.", code="invalid_api_key")


def expired(name: str) -> ApiError:
    """Return what a request is told whose key's time is over."""
    return ApiError(401, f"The API key '{name}' has expired; ask whoever runs this server.", code="expired_api_key")


def no_such_model(name: str, model: str) -> ApiError:
    """Return what a request is told that asks for a model that its key may not have."""
    asked = f"the model '{model[:100]}'" if model else "a request that names no model"
    message = f"The API key '{name}' may not ask for {asked}: its models are listed in the server's keys file."
    return ApiError(403, message, type="invalid_request_error", param="model", code="model_not_found")


def no_price(name: str, model: str) -> ApiError:
    """Return what a request is told whose cost nobody could take out of its budget."""
    message = (
        f"The model '{model[:100]}' has no price in the server's [prices], and the budget of '{name}' needs one; its "
        "owner may also set [ledger] unpriced = allow."
    )
    return ApiError(403, message, type="invalid_request_error", param="model", code="unpriced_model")


def not_counted(name: str, what: str) -> ApiError:
    """Return what a request is told whose work would be done out of sight."""
    message = (
        f"The API key '{name}' has models or amounts of its own, and what {what} spends would not be counted; ask for "
        "it with a key without models, tokens and budget."
    )
    return ApiError(403, message, type="invalid_request_error", code="not_counted")


def unreadable(name: str) -> ApiError:
    """Return what a request is told that cannot be counted as it is written."""
    message = (
        f"The requests of the API key '{name}' are counted before they are passed on: send them as JSON without a "
        "Content-Encoding, and with 'model' written so."
    )
    return ApiError(415, message, type="invalid_request_error", code="not_counted")
