"""The gate: what stands before the router. While the instrument is off, it lets requests through.

It looks at heads alone, and the server remembers the endpoint beside the head: a head that is repeated does not come
here. So the instrument costs nothing while it is off, and what switches it on or off lets the server forget its heads.
"""

from __future__ import annotations

import typing

from protocol.exchange import Endpoint, LateEndpoint, Request
from protocol.on_demand import is_loaded
from protocol.turns import in_turns

#: The field by which a request asks for a fault, and by which an answer says which it has.
FAULT_FIELD = "x-oaiserve-fault"

# Where sessions are, and where they are controlled.
_ROOTS = ("/s/", "/_oaiserve/")
# What below them is the service's own, whatever the instrument does.
_OWN_PATHS = frozenset(("/_oaiserve/live", "/_oaiserve/me"))


class Instrument(typing.Protocol):
    """What a request goes through that the gate does not let through: protocol/instrument/front.py."""

    def endpoint(self, request: Request) -> Endpoint:
        """Return the endpoint of a request's head."""

    @property
    def is_on(self) -> bool:
        """Whether every request has to come through it."""


class Gate:
    """The application that the server asks: `route`, but for what is the instrument's, which `make` makes.

    `forget` lets the server forget the endpoints that it remembers.
    """

    def __init__(
        self,
        route: typing.Callable[[Request], Endpoint],
        make: typing.Callable[[typing.Callable[[], None]], Instrument],
        forget: typing.Callable[[], None],
    ) -> None:
        self._route = route
        self._make = make
        self._forget = forget
        self._instrument: Instrument | None = None
        self._is_on = False

    def begin(self) -> Instrument:
        """Return the instrument, which is made when it is first needed."""
        if self._instrument is None:
            made = self._make(self._switch)
            # Where it was loaded in turns, another request may have come first.
            if self._instrument is None:
                self._instrument = made
                self._is_on = made.is_on
        return self._instrument

    def _switch(self) -> None:
        if self._instrument is not None:
            self._is_on = self._instrument.is_on
        self._forget()

    def route(self, request: Request) -> Endpoint:
        """Choose the endpoint from the head; ApiError 404 or 405 where there is none."""
        path = request.path
        if (self._is_on or path.startswith(_ROOTS) or FAULT_FIELD in request.fields) and path not in _OWN_PATHS:
            if self._instrument is None and not is_loaded("instrument"):
                return LateEndpoint(self._find, streams_body=True)
            return self.begin().endpoint(request)
        return self._route(request)

    async def _find(self, request: Request) -> Endpoint:
        """Return what `route` does, once the instrument is loaded: that takes up to 200 ms, in turns with others."""
        return (await in_turns(self.begin)).endpoint(request)
