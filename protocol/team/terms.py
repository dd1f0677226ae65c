"""On which terms somebody has a model: who is asked for it, and what it costs. Worked out once for like requests."""

from __future__ import annotations

import typing

from protocol.errors import ApiError
from protocol.team.admission import Demand
from protocol.team.callers import Caller
from protocol.team.ledger.entry import quote_names
from protocol.team.money import Price
from protocol.team.stores.store import Amounts

_MILLION = 10**6

# What an answer is reckoned to be whose length nobody has said, and of which none of its kind has been seen.
_USUAL_TOKENS = 1_000
# How much an answer changes the mean of its kind.
_WEIGHT = 0.1

#: Of a model that one backend alone has.
NO_OTHERS: typing.Mapping[str, Terms] = {}


class Length:
    """How many tokens answers of a kind usually have: a mean, in which the latest ones count for more."""

    __slots__ = ("_mean",)

    def __init__(self) -> None:
        self._mean: float | None = None

    def usual(self) -> int:
        """Return how many they have, 1,000 where none has been seen."""
        return _USUAL_TOKENS if self._mean is None else int(self._mean)

    def note(self, tokens: int) -> None:
        """Learn how many one had."""
        mean = self._mean
        self._mean = tokens if mean is None else mean + (tokens - mean) * _WEIGHT


class Terms:
    """What holds for all requests of a caller for a model at an endpoint, which is named by its label.

    `asked` and `sent` name the model as the books have it, the second as it is called at `backend`, the first that is
    asked. `upstream_key` says whose key that gets: "owner", "caller", or "" for nobody's. Without a `price` nobody
    knows what it costs. `refusal` is what each such request is told instead of an answer. `others` are the terms of the
    backends that may answer in its place, by their names. `demand` is what a request takes, None for nothing; `length`
    that of the answers. `tells_usage` says that whoever of them answers tells it beside his streams (Backend). `names`
    are all of these names as the ledger's lines have them (entry.quote_names).
    """

    __slots__ = (
        "asked", "backend", "caller", "demand", "endpoint", "length", "names", "others", "price", "refusal", "rows",
        "sent", "tells_usage", "upstream_key",
    )  # fmt: skip

    def __init__(
        self,
        caller: Caller,
        endpoint: str,
        demand: Demand | None,
        *,
        asked: str = "",
        sent: str = "",
        backend: str = "",
        upstream_key: str = "",
        price: Price | None = None,
        refusal: ApiError | None = None,
        others: typing.Mapping[str, Terms] = NO_OTHERS,
        length: Length | None = None,
        tells_usage: bool = False,
    ) -> None:
        self.caller = caller
        self.demand = demand
        self.endpoint = endpoint
        self.asked = asked
        self.sent = sent
        self.backend = backend
        self.upstream_key = upstream_key
        self.price = price
        self.refusal = refusal
        self.others = others
        self.length = length or Length()
        self.tells_usage = tells_usage
        #: Where it is counted what is taken on them (Tally.rows); None before the first answer that told it.
        self.rows: typing.Sequence[int] | None = None
        self.names = quote_names(caller.name, caller.team, asked, sent, backend, upstream_key, endpoint)

    def at(self, backend: str) -> Terms:
        """Return the terms of the backend that has answered."""
        if backend == self.backend:
            return self
        return self.others.get(backend) or Terms(
            self.caller, self.endpoint, self.demand, asked=self.asked, sent=self.sent, backend=backend,
            upstream_key=self.upstream_key, price=self.price, length=self.length,
        )  # fmt: skip

    def amounts(self, prompt: int, answer: int) -> Amounts:
        """Return what a request takes whose prompt and answer are reckoned to be so many tokens."""
        nano, price = 0, self.price
        if price is not None:
            nano = -(-(prompt * price.input + answer * price.output) // _MILLION)
        return 1, prompt + answer, nano
