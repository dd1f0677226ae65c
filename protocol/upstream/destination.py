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


# What users paste: the address of one endpoint, where the API's is wanted.
_ENDPOINT = re.compile(r"(?:(?:/chat)?/completions|/responses|/embeddings|(?<=/v1)/models)$")

_REPEATED_VERSION = re.compile(r"/(v\d+)/\1(?:/|$)")
_DOT_SEGMENT = re.compile(r"/\.{1,2}(?:/|$)")

_KEY_PARAMETERS = frozenset("key api_key api-key apikey token access_token subscription-key".split())


class Destination(typing.NamedTuple):
    """What a base URL names.

    `authority` is for the Host field. `base_path` is "" or begins with a slash, and ends with none. `query` is appended
    to that of every request.
    """

    tls: bool
    host: str
    port: int
    socket_path: str
    authority: str
    base_path: str
    query: str = ""

    def target(self, path: str, query: str) -> str:
        """Return the target of a request for a path below the API's beginning; our own query beats the client's."""
        if self.query:
            query = _joined_query(query, self.query)
        return f"{self.base_path}{path}{'?' + query if query else ''}"

    @property
    def place(self) -> str:
        """Host and port, or the socket's path."""
        return f"unix:{self.socket_path}" if self.socket_path else _place(self.host, self.port)

    @property
    def origin(self) -> str:
        """Who is meant: all that belongs to one origin may know what is sent there."""
        return (
            f"unix:{self.socket_path}" if self.socket_path else f"{'https' if self.tls else 'http'}://{self.authority}"
        )


def parse_destination(text: str) -> Destination:
    """Read `http(s)://host[:port][/path][?query]` or `unix:/path/to/socket[:/path][?query]`; ValueError.

    Without a path the API is taken to begin at /v1, with one it begins exactly there: `http://host/` is an API at the
    root. The address of an endpoint stands for the API that it is part of.
    """
    if text.startswith("unix:") and PRINTABLE.fullmatch(text):
        place, _, query = text[len("unix:") :].partition("?")
        socket_path, _, path = place.partition(":")
        if not socket_path.startswith("/"):
            raise ValueError("expected unix:/path/to/socket, perhaps with :/v1 behind it")
        return Destination(False, "", 0, socket_path, "localhost", _base_path(path), _checked_query(query))
    scheme, host, port, path, query = _split_url(text, ("http", "https"))
    tls = scheme == "https"
    shown = f"[{host}]" if ":" in host else host
    authority = shown if port in (0, 443 if tls else 80) else f"{shown}:{port}"
    base_path, query = _base_path(path), _checked_query(query)
    return Destination(tls, host, port or (443 if tls else 80), "", authority, base_path, query)


def _base_path(path: str) -> str:
    """Return where the API begins, from the path of a base URL; ValueError."""
    if not path:
        return "/v1"
    path = re.sub("/{2,}", "/", path).rstrip("/")
    if _DOT_SEGMENT.search(path) or "\\" in path or "%2e" in path.lower():
        raise ValueError("expected a path without dot segments and backslashes")
    repeated = _REPEATED_VERSION.search(path)
    if repeated is not None:
        raise ValueError(f"expected /{repeated[1]} once, where the API begins")
    return _ENDPOINT.sub("", path)


def _checked_query(query: str) -> str:
    if any(name.lower() in _KEY_PARAMETERS for name in _parameter_names(query)):
        raise ValueError("expected no key in the query: keys belong into api_key, and key_field says where they go")
    return query


def _joined_query(query: str, own: str) -> str:
    """Return both queries, the first without parameters that the other one has."""
    names = {name.lower() for name in _parameter_names(own)}
    kept = [
        part for part in query.split("&") if part and not names.intersection(map(str.lower, _parameter_names(part)))
    ]
    return "&".join([*kept, own])


def _parameter_names(query: str) -> list[str]:
    return [urllib.parse.unquote_plus(part.partition("=")[0]) for part in re.split("[&;]", query)]


def _split_url(text: str, schemes: typing.Sequence[str]) -> tuple[str, str, int, str, str]:
    """Return scheme, host, port, path and query; ValueError says what is expected."""
    wanted = f"expected {' or '.join(scheme + '://' for scheme in schemes)} and a host, perhaps :port and /path"
    try:
        url = urllib.parse.urlsplit(text)
        host, port = url.hostname or "", url.port or 0
    except ValueError as exc:
        raise ValueError(wanted) from exc
    if url.scheme not in schemes or url.fragment or not PRINTABLE.fullmatch(text):
        raise ValueError(wanted)
    if not host or not _has_good_labels(host) or (url.query and "https" not in schemes):
        raise ValueError(wanted)
    if "@" in url.netloc and "https" in schemes:
        raise ValueError("expected no user information before the host: keys belong into api_key")
    return url.scheme, host, port, url.path, url.query


def _has_good_labels(host: str) -> bool:
    """Tell whether each label has 1 to 63 characters (RFC 1035 §2.3.4); behind a last point there may be none."""
    *labels, last = host.split(".")
    return all(0 < len(label) < 64 for label in labels) and len(last) < 64


class Proxy(typing.NamedTuple):
    """A proxy on the way to an upstream.

    `scheme` is http, socks5 (names are looked up here) or socks5h (by the proxy). Without `user` it is not told who
    comes.
    """

    scheme: str
    host: str
    port: int
    user: bytes
    password: bytes

    @property
    def place(self) -> str:
        """Host and port."""
        return _place(self.host, self.port)

    @property
    def is_http(self) -> bool:
        """Whether it speaks HTTP; the others speak SOCKS."""
        return self.scheme == "http"

    @property
    def authorization(self) -> str:
        """The value of Proxy-Authorization (RFC 7617), "" where there is no user."""
        if not self.user and not self.password:
            return ""
        return f"Basic {binascii.b2a_base64(self.user + b':' + self.password, newline=False).decode()}"


_PROXY_PORTS = {"http": 80, "socks5": 1080, "socks5h": 1080}


def parse_proxy(text: str) -> Proxy:
    """Read `[scheme://][user:password@]host[:port]`; ValueError says what is expected, without repeating what came."""
    url = text if "://" in text else f"http://{text}"
    if url.startswith("https://"):
        raise ValueError("expected http://: to the proxy itself no TLS is spoken; TLS to the upstream goes through it")
    scheme, host, port, _, _ = _split_url(url, tuple(_PROXY_PORTS))
    user_info = urllib.parse.urlsplit(url).netloc.rpartition("@")[0]
    user, _, password = (urllib.parse.unquote_to_bytes(part) for part in user_info.partition(":"))
    if scheme != "http" and user_info and not (0 < len(user) < 256 and 0 < len(password) < 256):
        raise ValueError("expected a user and a password of 1 to 255 bytes each, as SOCKS has them (RFC 1929)")
    return Proxy(scheme, host, port or _PROXY_PORTS[scheme], user, password)


class Addressing(typing.NamedTuple):
    """How requests to a destination are addressed.

    A target begins with `origin`: nothing, or `http://host` where an HTTP proxy takes the request (RFC 9112 §3.2.2).
    `fields` hold Host, and what that proxy wants to know.
    """

    origin: str
    fields: tuple[tuple[str, str], ...]


def address(destination: Destination, proxy: Proxy | None) -> Addressing:
    """Return how requests are addressed that go to `destination` by way of `proxy`."""
    host = ("host", destination.authority)
    if proxy is None or not proxy.is_http or destination.tls:
        return Addressing("", (host,))
    told = (("proxy-authorization", proxy.authorization),) if proxy.authorization else ()
    return Addressing(f"http://{destination.authority}", (host, *told))


def _place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_ip_address(host: str) -> IpAddress | None:
    """Return the address that a host is written as, None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
