"""What a caller is told of himself, with his own key: what is left of each of his limits, and what he has used.

Nothing is taken by asking. Keys are not managed here, and nobody learns of another's.
"""

from __future__ import annotations

import asyncio
import datetime
import os
import typing

from protocol.errors import ApiError, UsageError
from protocol.exchange import Response
from protocol.limiter import Full, Window
from protocol.openai.answers import json_response
from protocol.team.admission import full
from protocol.team.callers import Caller
from protocol.team.ledger.query import read_ledger
from protocol.team.stores.store import MONEY, REQUESTS, TOKENS, Store, claims_of
from protocol.wire.json_text import JsonObject

_DAYS = 30
_KINDS = {REQUESTS: "requests", TOKENS: "tokens", MONEY: "money"}
_PERIODS = {1_000: "second", 60_000: "minute", 3_600_000: "hour", 86_400_000: "day"}


async def tell_own_use(caller: Caller, store: Store, ledger: str, now: float) -> Response:
    """Return limits and use of the last 30 days (UTC); `usage` is null where there is no ledger ("").

    `now` is in seconds since the epoch. Amounts of money are nano-dollars, times seconds. ApiError 429 and 503 as for
    any request that is counted.
    """
    usage = None
    if ledger:
        today = datetime.datetime.fromtimestamp(now, datetime.timezone.utc).date()
        since = (today - datetime.timedelta(days=_DAYS - 1)).isoformat()
        usage = await asyncio.get_running_loop().run_in_executor(None, _read_usage, ledger, caller.name, since)
    return json_response({
        "key": caller.name, "team": caller.team, "limits": await _limits_of(caller, store), "usage": usage,
    })  # fmt: skip


async def _limits_of(caller: Caller, store: Store) -> list[JsonObject]:
    if not caller.quotas:
        return []
    try:
        answer = store.take(claims_of(caller.quotas, (0, 0, 0)))
        _, standings, _ = answer if isinstance(answer, tuple) else await answer
    except Full as exc:
        raise full(exc) from exc
    return [
        {
            "of": str(subject).rpartition(":")[0].replace(":", " "), "kind": _KINDS[kind], "window": _name_of(window),
            "limit": window.amount, "left": standing.remaining, "reset": standing.reset / 1000,
        }
        for (subject, window, kind), standing in zip(caller.quotas, standings)
    ]  # fmt: skip


def _name_of(window: typing.Any) -> str:
    if not isinstance(window, Window):
        return str(window.period)
    return _PERIODS.get(window.period, f"{window.period / 1000:g} s")


def _read_usage(ledger: str, key: str, since: str) -> list[JsonObject]:
    """Return the newest day first; ApiError 503 where the ledger cannot be read."""
    if not os.path.exists(ledger):  # its writer is about to make it
        return []
    try:
        sums = read_ledger(ledger, ("day", "model"), since, key)
    except UsageError as exc:
        raise ApiError(503, "The ledger cannot be read now.", fields=[("retry-after", "5")]) from exc
    return [
        {
            "day": day, "model": model, "calls": used.requests, "tok_in": used.tok_in, "tok_cached": used.tok_cached,
            "tok_out": used.tok_out, "cost_nano": used.cost_nano,
        }
        for (day, model), used in sorted(sums.items(), reverse=True)
    ]  # fmt: skip
