"""The options that every section with an upstream has, spelled once.

The configuration needs the sections of all kinds at every start, also where only the mock runs. So this module and the
sections that build on it import neither the pool nor a backend; protocol/upstream/access.py makes connections of them.
"""

from __future__ import annotations

from protocol.config import Section, option, parse_integer, parse_seconds, parse_switch, parse_text
from protocol.upstream.destination import PRINTABLE, parse_destination, parse_proxy

# ---- values -----------------------------------------------------------------------------------------------------
# Each takes the text of a value and returns what it means; ValueError says what was expected.


def parse_base_url(text: str) -> str:
    """Return a base URL as it came."""
    parse_destination(text)
    return text


def parse_key(text: str) -> str:
    """Return a key as it came, or ""; it must be able to stand in a header field."""
    if text and not PRINTABLE.fullmatch(text):
        raise ValueError("expected a key of printable ASCII characters without spaces")
    return text


#: What `proxy` says where no proxy is wanted, whatever the environment names.
NO_PROXY = "none"


def parse_proxy_url(text: str) -> str:
    """Return a proxy's URL as it came, NO_PROXY or ""."""
    if text and text != NO_PROXY:
        parse_proxy(text)
    return text


parse_max_connections = parse_integer(1, 10**6)


# ---- the table --------------------------------------------------------------------------------------------------


class ConnectionSettings(Section):
    """What a section says about the connections to its upstream.

    A section derives from this class and lists all of its fields itself, because their order there is the order in
    config.ini and in `--check`: `max_age: float = ConnectionSettings.max_age` puts an option of this table in its
    place. The fields without a value here are worded differently in each section.
    """

    base_url: str
    api_key: str
    timeout: float
    connect_timeout: float = option("30", parse_seconds, "seconds until a connection is there, TLS and proxy included")
    first_byte_timeout: float
    total_timeout: float
    proxy: str = option(
        "", parse_proxy_url,
        "http, socks5 or socks5h://[user:password@]host:port; none; empty: as HTTPS_PROXY and its like say",
        secret=True,
    )  # fmt: skip
    ca_file: str = option("", parse_text, "authorities to trust (PEM) instead of the system's")
    cert_file: str = option("", parse_text, "certificate to show to the upstream (PEM)")
    cert_key: str = option("", parse_text, "its private key (PEM), if that is not in cert_file")
    verify: bool = option("yes", parse_switch, "yes or no; no trusts anybody who answers: dangerous")
    keepalive: float = option(
        "0", parse_seconds, "seconds of silence before a comment is sent in an event stream; 0: never"
    )
    max_connections: int
    max_idle: int = option("100", parse_integer(0, 10**6), "connections kept for later")
    idle_timeout: float = option("30", parse_seconds, "seconds that a kept connection may rest")
    max_age: float = option("600", parse_seconds, "seconds after which a connection is not used again")

    @property
    def holds_key(self) -> bool:
        """Whether the upstream takes every caller for the owner (Backend.holds_key): by a key or a certificate."""
        return bool(self.api_key or self.cert_file)
