"""On which terms somebody has a model: who is asked for it, and what it costs. Worked out once for like requests."""

from __future__ import annotations

import typing

from protocol.errors import ApiError
from protocol.limiter import Claim
from protocol.team.callers import Caller
from protocol.team.money import Price

_MILLION = 10**6

# A named tuple's own constructor is a Python function, and takes twice as long.
_new_claim: typing.Callable[[typing.Type[Claim], typing.Tuple[typing.Any, ...]], Claim] = tuple.__new__

#: Of a model that one backend alone has.
NO_OTHERS: typing.Mapping[str, Terms] = {}


class Terms:
    """What holds for all requests of a caller for a model at an endpoint, which is named by its label.

    `asked` and `sent` name the model as the books have it, the second as it is called at `backend`, the first that is
    asked. `upstream_key` says whose key that gets: "owner", "caller", or "" for nobody's. Without a `price` nobody
    knows what it costs. `refusal` is what each such request is told instead of an answer. `others` are the terms of the
    backends that may answer in its place, by their names.
    """

    __slots__ = ("asked", "backend", "caller", "endpoint", "others", "price", "refusal", "sent", "upstream_key")

    def __init__(
        self,
        caller: Caller,
        endpoint: str,
        *,
        asked: str = "",
        sent: str = "",
        backend: str = "",
        upstream_key: str = "",
        price: Price | None = None,
        refusal: ApiError | None = None,
        others: typing.Mapping[str, Terms] = NO_OTHERS,
    ) -> None:
        self.caller = caller
        self.endpoint = endpoint
        self.asked = asked
        self.sent = sent
        self.backend = backend
        self.upstream_key = upstream_key
        self.price = price
        self.refusal = refusal
        self.others = others

    def claims(self, prompt: int, answer: int) -> list[Claim]:
        """Return what a request takes whose prompt and answer are reckoned to be so many tokens.

        Requests come first, then tokens, then money: Caller says how many there are of each.
        """
        caller, price = self.caller, self.price
        claims = [*caller.requests]
        for subject, window in caller.tokens:
            claims.append(_new_claim(Claim, (subject, window, prompt + answer)))
        if caller.money:
            nano = 0 if price is None else -(-(prompt * price.input + answer * price.output) // _MILLION)
            for subject, calendar in caller.money:
                claims.append(_new_claim(Claim, (subject, calendar, nano)))
        return claims
