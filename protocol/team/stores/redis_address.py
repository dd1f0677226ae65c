"""Where a Redis or Valkey is, as a setting names it."""

from __future__ import annotations

import dataclasses
import urllib.parse

from protocol.errors import UsageError

_EXPECTED = "[limits] store: expected redis://[user:password@]host[:port][/number], rediss://… for TLS, or unix:PATH"
_PORT = 6379


@dataclasses.dataclass(frozen=True, repr=False)
class RedisAddress:
    """A server and one of its numbered databases. Neither `str` nor `repr` shows the password."""

    host: str = ""  # none for a socket in the file system
    port: int = 0
    path: str = ""
    tls: bool = False
    database: int = 0
    user: str = ""
    password: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"redis{'s' if self.tls else ''}://{host}:{self.port}/{self.database}"

    __repr__ = __str__


def read_redis_address(text: str) -> RedisAddress:
    """Return the address that a text names. UsageError for any other; it repeats nothing, for there is a password."""
    if text.startswith("unix:") and len(text) > len("unix:"):
        return RedisAddress(path=text[len("unix:") :])
    try:
        url = urllib.parse.urlsplit(text)
        host, port = url.hostname, url.port
        database = int(url.path[1:] or "0") if url.path[1:].isdecimal() or url.path in ("", "/") else -1
    except ValueError:
        raise UsageError(_EXPECTED) from None  # whose message may have the password
    if url.scheme not in ("redis", "rediss") or not host or port == 0 or database < 0 or url.query or url.fragment:
        raise UsageError(_EXPECTED)
    user, password = (urllib.parse.unquote(part or "") for part in (url.username, url.password))
    return RedisAddress(host, port or _PORT, "", url.scheme == "rediss", database, user, password)
