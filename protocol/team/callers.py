"""Who asks, and what of that may take how much: each key's quotas, worked out once."""

from __future__ import annotations

import re
import typing

from protocol.limiter import Calendar
from protocol.openai.asked_model import name_pattern
from protocol.team.keys_file import Key, KeysFile, Rates, find_key
from protocol.team.stores.store import MONEY, REQUESTS, TOKENS, Place, Quota


class Caller:
    """Somebody with a key; or anybody, where no key is needed.

    `quotas` are those of requests first, then of tokens, then of money.
    """

    __slots__ = ("expires", "has_budget", "is_charged", "is_measured", "models", "name", "places", "quotas", "team")

    def __init__(
        self,
        name: str = "",
        team: str = "",
        *,
        expires: float | None = None,
        models: typing.Sequence[typing.Sequence[re.Pattern[str]]] = (),
        rates: typing.Sequence[tuple[str, Rates]] = (),
    ) -> None:
        self.name = name
        self.team = team
        self.expires = expires
        #: It may ask for what fits one of each of these.
        self.models = models
        requests = [Quota(f"{who}:requests", window, REQUESTS) for who, rate in rates for window in rate.requests]
        tokens = [Quota(f"{who}:tokens", window, TOKENS) for who, rate in rates for window in rate.tokens]
        money = [
            Quota(f"{who}:money", Calendar(rate.budget.nano, rate.budget.period), MONEY)
            for who, rate in rates
            if rate.budget
        ]
        self.quotas = [*requests, *tokens, *money]
        self.places = [Place(who, rate.at_once) for who, rate in rates if rate.at_once]
        self.has_budget = bool(money)
        #: Whether tokens or money are taken from him.
        self.is_charged = bool(tokens or money)
        #: Whether it matters what a request of his costs, or which model it asks for.
        self.is_measured = bool(self.models or self.is_charged)

    def may_ask_for(self, model: str) -> bool:
        """Tell whether a model may be asked for."""
        return all(any(pattern.fullmatch(model) for pattern in patterns) for patterns in self.models)


#: Whoever asks where no key is needed.
ANYBODY = Caller()


class Callers:
    """Finds who asks by his key."""

    def __init__(self, keys: KeysFile) -> None:
        self._keys = keys
        self._known: dict[str, Caller] = {}

    def find(self, key: str) -> Caller | None:
        """Return whose a key is, None for nobody's."""
        found = find_key(self._keys, key) if key else None
        if found is None:
            return None
        caller = self._known.get(found.name)
        if caller is None:
            caller = self._known[found.name] = self._make(found)
        return caller

    def _make(self, key: Key) -> Caller:
        team = self._keys.teams.get(key.team)
        rates = [(f"key:{key.name}", key.rates)]
        models = [key.models]
        if team is not None:
            rates.append((f"team:{team.name}", team.rates))
            models.append(team.models)
        patterns = [[name_pattern(text) for text in names] for names in models if names]
        return Caller(key.name, key.team, expires=key.expires, models=patterns, rates=rates)
