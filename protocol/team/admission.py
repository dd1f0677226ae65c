"""Whether a request may come in: what it takes of its caller's limits, and how it is refused.

OpenAI's words and statuses, so that its clients do what they do there: they wait for a rate, and not for a budget.
Source: OpenAI API reference, "Error codes" (429 `rate_limit_exceeded` and `insufficient_quota`, 403, 401).
"""

from __future__ import annotations

import datetime
import typing

from protocol.errors import ApiError
from protocol.limiter import Claim, Full, Standing, Window
from protocol.openai.rate_limits import limit_fields, limit_lines, limit_reached, rate_refusal, retry_fields
from protocol.team.money import NANO
from protocol.team.stores.store import Place


class Demand(typing.NamedTuple):
    """What is claimed for a request: so many claims of requests first, then so many of tokens, then those of money."""

    claims: typing.Sequence[Claim]
    requests: int
    tokens: int


def told_limits(wanted: Demand, standings: typing.Sequence[Standing]) -> list[tuple[str, str]]:
    """Return the fields that tell how the limits stand, of which each answer has those that there are."""
    claims, requests, tokens = wanted
    stood = list(zip(claims, standings))
    return [
        *limit_fields("requests", stood[:requests]),
        *limit_fields("tokens", stood[requests : requests + tokens]),
    ]  # fmt: skip


def limit_block(wanted: Demand, standings: typing.Sequence[Standing]) -> bytes:
    """Return the same as field lines."""
    claims, requests, tokens = wanted
    if requests == tokens == 1:  # in half the time
        first, second = claims[0], claims[1]
        return limit_lines(b"requests", ((first, standings[0]),)) + limit_lines(b"tokens", ((second, standings[1]),))
    stood = list(zip(claims, standings))
    return limit_lines(b"requests", stood[:requests]) + limit_lines(b"tokens", stood[requests : requests + tokens])


def refusal(wanted: Demand, standings: typing.Sequence[Standing], model: str, now: float) -> ApiError:
    """Return what a request is told that finds no room; `now` is in seconds since the epoch."""
    fields = told_limits(wanted, standings)
    stood = list(zip(wanted.claims, standings))
    for claim, standing in stood[wanted.requests + wanted.tokens :]:
        if standing.wait != 0:
            return _budget_used_up(claim, standing, fields, now)
    claim, standing = max(stood, key=lambda one: (one[1].wait is None, one[1].wait or 0))
    kind = "requests" if claim in wanted.claims[: wanted.requests] else "tokens"
    assert isinstance(claim.window, Window)
    return limit_reached(kind, model or "default", claim, standing, fields)


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
