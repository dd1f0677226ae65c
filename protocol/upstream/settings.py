"""What every section with an upstream has in common: how its options are read, and the TLS context they ask for."""

from __future__ import annotations

import re
import typing

from protocol.upstream.destination import parse_destination, parse_proxy, upstream_tls

_PLAIN_KEY = re.compile(r"[!-~]+")


def parse_base_url(text: str) -> str:
    """Return a base URL as it came; ValueError says what is expected."""
    parse_destination(text)
    return text


def parse_key(text: str) -> str:
    """Return a key as it came, or ""; ValueError when it could not stand in a header field."""
    if text and not _PLAIN_KEY.fullmatch(text):
        raise ValueError("expected a key of printable ASCII characters without spaces")
    return text


def parse_proxy_url(text: str) -> str:
    """Return a proxy's URL as it came, or ""; ValueError says what is expected."""
    if text:
        parse_proxy(text)
    return text


class TlsMaker:
    """Makes the TLS context when it is first wanted: to read the system's authorities takes tens of milliseconds."""

    def __init__(self, ca_file: str, verify: bool) -> None:
        self._ca_file = ca_file
        self._verify = verify
        self._context: typing.Any = None

    def __call__(self) -> typing.Any:
        if self._context is None:
            self._context = upstream_tls(self._ca_file, self._verify)
        return self._context
