"""Where an upstream is: what base URLs and the URLs of proxies say."""

from __future__ import annotations

import binascii
import ipaddress
import re
import typing
import urllib.parse

# What a URL or a key may consist of. urllib.parse does not check it: line ends and tabs are taken out before it looks.
PRINTABLE = re.compile(r"[!-~]+")

IpAddress = typing.Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


class Destination(typing.NamedTuple):
    """What a base URL names. `authority` is for the Host field; `base_path` begins with a slash and ends with none."""

    tls: bool
    host: str
    port: int
    socket_path: str
    authority: str
    base_path: str


def parse_destination(text: str) -> Destination:
    """Read `http(s)://host[:port][/path]` or `unix:/path/to/socket[:/path]`; ValueError says what is expected.

    Without a path the API is taken to begin at /v1, with one it begins exactly there.
    """
    if text.startswith("unix:") and PRINTABLE.fullmatch(text):
        socket_path, _, path = text[len("unix:") :].partition(":")
        if not socket_path.startswith("/"):
            raise ValueError("expected unix:/path/to/socket, perhaps with :/v1 behind it")
        return Destination(False, "", 0, socket_path, "localhost", _base_path(path))
    scheme, host, port, path = _split_url(text, ("http", "https"))
    tls = scheme == "https"
    shown = f"[{host}]" if ":" in host else host
    authority = shown if port in (0, 443 if tls else 80) else f"{shown}:{port}"
    return Destination(tls, host, port or (443 if tls else 80), "", authority, _base_path(path))


def _base_path(path: str) -> str:
    return path.rstrip("/") or "/v1"


def _split_url(text: str, schemes: typing.Sequence[str]) -> tuple[str, str, int, str]:
    wanted = f"expected {' or '.join(scheme + '://' for scheme in schemes)} and a host, perhaps :port and /path"
    try:
        url = urllib.parse.urlsplit(text)
        host, port = url.hostname or "", url.port or 0
    except ValueError as exc:
        raise ValueError(wanted) from exc
    if url.scheme not in schemes or url.query or url.fragment or not PRINTABLE.fullmatch(text):
        raise ValueError(wanted)
    if not host or not _has_good_labels(host):
        raise ValueError(wanted)
    if "@" in url.netloc and "https" in schemes:
        raise ValueError("expected no user information before the host: keys belong into api_key")
    return url.scheme, host, port, url.path


def _has_good_labels(host: str) -> bool:
    """Tell whether each label has 1 to 63 characters (RFC 1035 §2.3.4); behind a last point there may be none."""
    *labels, last = host.split(".")
    return all(0 < len(label) < 64 for label in labels) and len(last) < 64


class Proxy(typing.NamedTuple):
    """An HTTP proxy that connections are tunnelled through (RFC 9110 §9.3.6, CONNECT)."""

    host: str
    port: int
    authorization: str


def parse_proxy(text: str) -> Proxy:
    """Read `http://[user:password@]host[:port]`; ValueError says what is expected, without repeating what came."""
    _, host, port, _ = _split_url(text if "://" in text else f"http://{text}", ("http",))
    user_info, at, _ = text.rpartition("://")[2].rpartition("@")
    token = binascii.b2a_base64(urllib.parse.unquote_to_bytes(user_info), newline=False).decode() if at else ""
    return Proxy(host, port or 80, f"Basic {token}" if at else "")


def parse_ip_address(host: str) -> IpAddress | None:
    """Return the address that a host is written as, None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
