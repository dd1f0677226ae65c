"""What goes wrong with an upstream: errors that are ready for the client.

They name the backend by its name in the configuration, and neither addresses nor keys nor anything that the upstream
said: the client is not the one who may know those. Where it happened stands beside the message, for the log.
"""

from __future__ import annotations

import ssl

from protocol.errors import ApiError

#: What the log adds where a request went out again because its kept connection was of no use.
SENT_AGAIN = "It is sent again on a new connection."


class UpstreamName(str):
    """A backend's name, which callers may read, and `where` its upstream is, which only the log tells."""

    __slots__ = ("where",)

    where: str

    @classmethod
    def at(cls, name: str, where: str) -> UpstreamName:
        """Return the name of a backend whose upstream is there."""
        known = cls(name)
        known.where = where
        return known


class UpstreamFailed(ApiError):
    """An upstream that did not answer, or not with HTTP. `unsent` says that it cannot have seen the request."""

    def __init__(self, name: str, status: int, message: str, code: str, *, unsent: bool = False) -> None:
        super().__init__(status, message, code=code)
        self.unsent = unsent
        if isinstance(name, UpstreamName):
            self.where = name.where


class UpstreamUnreachable(UpstreamFailed):
    """No connection: refused, no such name, no TLS, a proxy that says no. Status 502."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(
            name, 502, f"The backend '{name}' cannot be reached: {reason}.", "upstream_unreachable", unsent=True
        )


class UpstreamTimeout(UpstreamFailed):
    """One of the time limits has passed. Status 504."""

    def __init__(self, name: str, reason: str, *, unsent: bool = False) -> None:
        super().__init__(name, 504, f"The backend '{name}' took too long: {reason}.", "upstream_timeout", unsent=unsent)


class UpstreamBroke(UpstreamFailed):
    """The connection broke, or what came was not HTTP. Status 502."""

    def __init__(self, name: str, reason: str, *, unsent: bool = False) -> None:
        super().__init__(name, 502, f"The backend '{name}' failed: {reason}.", "upstream_broke", unsent=unsent)


def tls_reason(exc: ssl.SSLError) -> str:
    """Say why TLS failed, in OpenSSL's words."""
    return f"TLS failed ({(exc.reason or 'no reason given').replace('_', ' ').lower()})"
