"""The server to try: its URL, taken apart."""

from __future__ import annotations

import re
import socket
import typing

from protocol.errors import UsageError

_PORTS = {"http": 80, "https": 443}

# The patterns are compiled where they are used, and `re` keeps them: a start that tries no server is spared 4 ms.
_URL = r"(?ai)(https?)://(\[[0-9a-f:.]+\]|[0-9a-z._-]+)(?::([0-9]{1,5}))?(/[!-~]*)?"
# RFC 1035 §2.3.4: labels have 1 to 63 characters. For other names the resolver has less readable words.
_HOST_NAME = r"[^.]{1,63}(?:\.[^.]{1,63})*\.?"
# To whom the environment's keys belong (Alibaba Cloud Model Studio, "DashScope API reference", has the latter's hosts).
_VENDORS = {
    "OPENAI_API_KEY": r"api\.openai\.com",
    "DASHSCOPE_API_KEY": (r"(?:(?:[a-z0-9-]+\.)?dashscope(?:-[a-z0-9]+)?|[a-z0-9-]+\.[a-z0-9-]+\.maas)\.aliyuncs\.com"),
}

# Where a path names the version of the API, as in /v1, /api/paas/v4 or /v1beta/openai, nothing is added to it.
_VERSION = r"/v[0-9][0-9a-z]*(?=/|$)"


class Target(typing.NamedTuple):
    """Where the server is: `root` is the path before the API's version, `api` the path with it."""

    scheme: str
    host: str
    port: int
    root: str
    api: str

    @property
    def where(self) -> str:
        """Host and port."""
        return f"{self._bracketed_host}:{self.port}"

    @property
    def host_field(self) -> str:
        """The value of the field Host: without the default port, which RFC 9110 §7.2 allows and some proxies refuse."""
        return self._bracketed_host if self.port == _PORTS[self.scheme] else self.where

    @property
    def _bracketed_host(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def is_local(self) -> bool:
        """Whether the server is on this machine, as far as its name tells."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")

    def may_get(self, variable: str) -> bool:
        """Tell whether the environment's key of that name is meant for this server: its vendor's, or this machine's."""
        return self.is_local or (self.scheme == "https" and re.fullmatch(_VENDORS[variable], self.host) is not None)


def parse_target(url: str) -> Target:
    """Take a URL apart; UsageError, whose message repeats nothing that may be a password or a key."""
    text = url.strip()
    if "@" in text or "?" in text or "#" in text:
        raise UsageError("the URL to try must have no user name, query or fragment; a key is given with --key")
    match = re.fullmatch(_URL, text)
    if match is None:
        raise UsageError(f"URL {text[:100]!r}: expected one such as http://127.0.0.1:8080 or https://host/v1")
    scheme, host = match[1].lower(), match[2].lower()
    port = int(match[3]) if match[3] else _PORTS[scheme]
    if not 0 < port < 65536:
        raise UsageError(f"URL {text[:100]!r}: expected a port from 1 to 65535, not {port}")
    if not _is_host(host):
        raise UsageError(f"URL {text[:100]!r}: {host[:100]!r} is neither a host name nor an IP address")
    path = (match[4] or "").rstrip("/")
    version = re.search(_VERSION, path)
    root = path[: version.start()] if version else path
    return Target(scheme, host.strip("[]"), port, root, path if version else f"{path}/v1")


def _is_host(host: str) -> bool:
    if not host.startswith("["):
        return len(host) < 255 and re.fullmatch(_HOST_NAME, host) is not None
    try:
        socket.inet_pton(socket.AF_INET6, host[1:-1])
    except OSError:
        return False
    return True
