"""Keeps pages of strangers away from backends that hold a key.

Any page that somebody visits can have his browser send requests to a server on his own machine. CORS only hides the
answer: a form, a `fetch` with text/plain, a WebSocket and an image are sent without asking, and the key is spent. So
before such a backend is asked, the head must not tell of a foreign page:

    Origin              of a page that may call, or of our own; none, where the caller is no page or asks for its own
    Sec-Fetch-Site      not cross-site where there is no Origin (W3C, "Fetch Metadata Request Headers")
    Host                on a listener of this machine: an address, localhost, or a name that the owner has written down

The last is against DNS rebinding: a stranger lets his own name lead here, and his page then is of our own origin for
the browser. He cannot do that with an address, nor with a name that is not his.

All of it is told by the head alone, and so is the endpoint: for a head that is repeated nothing is looked at again.
Backends that hold no key are not guarded, and cost nothing.
"""

from __future__ import annotations

import typing

from protocol.errors import ApiError
from protocol.exchange import Backend, Endpoint, Request, Session
from protocol.service.origins import Origins, host_name, is_fixed_host, is_local_page
from protocol.wire.json_text import JsonObject

# Evidence is cut: it comes from a stranger.
_MOST_SHOWN = 100


class KeyGuard:
    """Tells who may have a key spent. The server listens on `host` and is reached by `scheme`.

    `is_local` says that it listens on this machine alone.
    """

    def __init__(self, origins: Origins, *, scheme: str, host: str, is_local: bool) -> None:
        self._origins = origins
        self._scheme = scheme
        self._own_name = host_name(host)
        # The host of the last request that had one of ours: nearly all say the same.
        self._last_known: str | None = None
        # A name that is listened on may be this machine's alone, too.
        self._checks_host = is_local or (self._own_name != "" and not is_fixed_host(self._own_name))

    def around(self, backend: Backend) -> Backend:
        """Return the backend, guarded if it holds a key and not every page may spend it."""
        return _Guarded(backend, self) if backend.holds_key and not self._origins.has_everyone else backend

    def refuse_strangers(self, request: Request, backend: str) -> None:
        """Raise ApiError 403 for a request that a stranger's page has made, or may have made."""
        fields, host = request.fields, request.head.host
        origin = fields.get("origin")
        if origin:
            if not self._may_call(origin, host):
                raise _refusal(f"Pages of {origin[:_MOST_SHOWN]!r}", backend, "origin_not_allowed", origin)
        elif "cross-site" in fields.get("sec-fetch-site"):
            raise _refusal(
                "Pages of another site (Sec-Fetch-Site)", backend, "origin_not_allowed", "https://app.example"
            )
        if self._checks_host and host != self._last_known:
            if not self._knows(host_name(host)):
                who = f"Callers of the name {host[:_MOST_SHOWN]!r}, to which somebody may have led them,"
                raise _refusal(who, backend, "host_not_allowed", f"{self._scheme}://{host}")
            self._last_known = host

    def _may_call(self, origin: str, host: str) -> bool:
        origins = self._origins
        if origins.lists(origin) or (origins.is_auto and is_local_page(origin)):
            return True
        # Our own page. Its name must be one that is known to be ours, wherever we listen.
        return origin.lower() == f"{self._scheme}://{host.lower()}" and self._knows(host_name(host))

    def _knows(self, name: str) -> bool:
        return is_fixed_host(name) or (name == self._own_name and name != "") or self._origins.names(name)


def who_may_call(origins: Origins, key_holders: typing.Sequence[str]) -> str:
    """Return a line for the banner: which pages may call, and how to change that."""
    holders = ", ".join(key_holders)
    pages = ", ".join([*(["this machine"] if origins.is_auto else []), *origins.listed])
    if origins.has_everyone or (origins.is_auto and not holders):
        spend = f", and spend the key of {holders}; --set server.cors_origins=auto lets those of this machine alone in"
        return (
            f"any web page may call{spend if holders else '; --set server.cors_origins=https://app.example: that one'}"
        )
    change = f'--set "server.cors_origins={", ".join([*(["auto"] if origins.is_auto else []), *origins.listed])}'
    more = f'{change}{", " if pages else ""}https://app.example" adds another'
    may = f"those of {pages} alone may" if pages else "none may"
    return f"{may} call {holders}, which has a key; {more}" if holders else f"{may} read answers; {more}"


def _refusal(who: str, backend: str, code: str, origin: str) -> ApiError:
    what = f"{who} may not call '{backend}', which holds a key."
    example = origin[:_MOST_SHOWN] if "://" in origin else "https://app.example"
    return ApiError(403, f"{what} If they may, write [server] cors_origins = auto, {example}", code=code)


class _Guarded:
    """A backend that no stranger's page can call."""

    tells_usage = False

    def __init__(self, backend: Backend, guard: KeyGuard) -> None:
        self.name = backend.name
        self.own_root = backend.own_root
        self.holds_key = backend.holds_key
        self.keepalive = backend.keepalive
        self.origin = backend.origin
        self._backend = backend
        self._guard = guard

    def endpoint(self, request: Request) -> Endpoint:
        """Choose who answers; ApiError 403 for a stranger's page, and what the backend raises."""
        self._guard.refuse_strangers(request, self.name)
        return self._backend.endpoint(request)

    def models(self, request: Request) -> list[JsonObject] | typing.Awaitable[list[JsonObject]]:
        """Return the backend's models; ApiError 403 for a stranger's page."""
        self._guard.refuse_strangers(request, self.name)
        return self._backend.models(request)

    def sent_model(self, asked: str) -> str:
        """Return what the backend calls a model."""
        return self._backend.sent_model(asked)

    @property
    def is_resting(self) -> bool:
        """Whether requests keep away from the backend."""
        return self._backend.is_resting

    def forget(self, session: Session) -> None:
        """Let the backend forget a session."""
        self._backend.forget(session)

    def leave(self) -> None:
        """Let the backend end what outlasts a stop."""
        self._backend.leave()

    async def close(self) -> None:
        """Let the backend give back what it holds."""
        await self._backend.close()
