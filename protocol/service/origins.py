"""Which pages may call: the origins of [server] cors_origins, and what the browser says of the page that asks.

A page's origin is the scheme, host and port that it was loaded from (RFC 6454). A browser writes it into the field
Origin, in lower case, with an international name in its xn-- form, and without the port that the scheme has anyway. So
what is configured is brought into that form, and what cannot have it is refused: it would never match, and nobody would
see why.
"""

from __future__ import annotations

import ipaddress
import re
import typing

#: Every page; and: every page, but those of this machine alone where the owner's key would be spent.
ANY_ORIGIN, AUTO = "*", "auto"

# Pages without an origin of their own (files, sandboxed frames) send this word.
_NO_ORIGIN = "null"

_EXPECTED = (
    "expected auto, *, or origins as browsers send them, e.g. https://app.example, https://*.app.example,"
    " http://localhost:*, chrome-extension://ID; "
)
_SPELLING = r"([a-z][a-z0-9+.-]*)://(\[[0-9a-f:.]*\]|[^/?#@:\[\]]*)(?::([0-9]+|\*))?"
_HOST = r"(?:\*|\*\.(?=.))?(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*)?"
_USUAL_PORTS = {"http": "80", "https": "443"}

# A wildcard stands for whole labels: "https://*.app.example" must not let "https://evil-app.example" in.
_ANY_LABELS = r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*"
_ANY_PORT = r"(?::[0-9]+)?"

# RFC 6761 §6.3: names below localhost are this machine's, whoever asks; browsers do not even look them up.
_LOCAL_NAME = r"(?:[a-z0-9_-]+\.)*localhost"
_LOCAL_PAGE = rf"https?://(?:{_LOCAL_NAME}|127(?:\.[0-9]{{1,3}}){{3}}|0\.0\.0\.0|\[::1?\]){_ANY_PORT}"

# The host of an authority. A name of digits and dots can be nothing but an address (URL standard, "ends in a number").
_AUTHORITY = r"(\[[^\]]*\]|[^:]*)(?::[0-9]*)?"
_ADDRESS = r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}|\[[0-9a-f:.]+\]"


# ---- what is configured ---------------------------------------------------------------------------------------------


def parse_origins(text: str) -> tuple[str, ...]:
    """Return origins, separated by commas or spaces, in the spelling of browsers; ValueError for what none can send."""
    return tuple(_parse_origin(word) for word in text.replace(",", " ").split())


def _parse_origin(word: str) -> str:
    text = word.lower()
    if text in (ANY_ORIGIN, AUTO, _NO_ORIGIN):
        return text
    if not text.isascii():
        raise _unfit(word, "browsers send a name like this in its xn-- form")
    if "://" not in text:
        raise _unfit(word, f"write the scheme, too, e.g. https://{text}")
    scheme, _, rest = text.partition("://")
    if scheme in _USUAL_PORTS or rest:
        text = text[:-1] if text.endswith("/") else text
    spelling = re.fullmatch(_SPELLING, text)
    if not spelling:
        raise _unfit(word, "it is a scheme, a host and perhaps a port, and has no path, user or query")
    scheme, host, port = spelling.groups()
    return f"{scheme}://{_parse_host(word, scheme, host)}{_parse_port(word, scheme, port)}"


def _parse_host(word: str, scheme: str, host: str) -> str:
    if not host and scheme != "file":
        raise _unfit(word, "the host is missing")
    if host.startswith("["):
        return f"[{_parse_address(word, host[1:-1])}]"
    if "*" in host and host != "*" and not host.startswith("*."):
        raise _unfit(word, "a * in a host stands for whole labels in front, as in *.app.example")
    if not re.fullmatch(_HOST, host):
        raise _unfit(word, "its host cannot be one")
    if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", host.rpartition(".")[2]):
        return _parse_address(word, host)
    return host


def _parse_address(word: str, text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as exc:
        raise _unfit(word, "its address cannot be one; for networks of addresses there is no pattern") from exc


def _parse_port(word: str, scheme: str, port: str | None) -> str:
    if port is None:
        return ""
    if port == "*":
        return ":*"
    number = port.lstrip("0")
    if not number or len(number) > 5 or int(number) > 65535:
        raise _unfit(word, "a port is a number from 1 to 65535, or *")
    return "" if number == _USUAL_PORTS.get(scheme) else f":{number}"


def _unfit(word: str, reason: str) -> ValueError:
    return ValueError(f"{_EXPECTED}{word[:100]!r} can never match: {reason}")


# ---- what a browser says --------------------------------------------------------------------------------------------


class Origins:
    """The configured origins, as `parse_origins` returns them."""

    def __init__(self, origins: typing.Sequence[str]) -> None:
        #: Whether every page may call, whatever that spends.
        self.has_everyone = ANY_ORIGIN in origins
        #: Whether every page may call where nothing of the owner's is spent, and pages of this machine where it is.
        self.is_auto = AUTO in origins
        #: Those that are written down.
        self.listed = tuple(origin for origin in origins if origin not in (ANY_ORIGIN, AUTO))
        self._listed = re.compile("|".join(map(_pattern, self.listed)) or r"(?!)")
        # An extension's host is its id, and no name; and a * for all of a host names nobody.
        hosts = [
            _host_of(origin.partition("://")[2]) for origin in self.listed if origin.startswith(("http://", "https://"))
        ]
        self._named = re.compile("|".join(_host_pattern(host) for host in hosts if host != "*") or r"(?!)")

    @property
    def is_empty(self) -> bool:
        """Whether no page may call."""
        return not (self.listed or self.is_auto or self.has_everyone)

    def lists(self, origin: str) -> bool:
        """Tell whether an origin, as it came, is one of those that are written down."""
        return bool(self._listed.fullmatch(origin.lower()))

    def names(self, host: str) -> bool:
        """Tell whether a web page's origin that is written down has this host, in lower case."""
        return bool(self._named.fullmatch(host))


def is_local_page(origin: str) -> bool:
    """Tell whether a page was loaded from this machine: localhost, a name below it, or a loopback address."""
    return bool(re.fullmatch(_LOCAL_PAGE, origin.lower()))


def host_name(authority: str) -> str:
    """Return the host of an authority in lower case, without its port and the dot that may end a name."""
    host = re.fullmatch(_AUTHORITY, authority)
    return host[1].lower().rstrip(".") if host else ""


def is_fixed_host(host: str) -> bool:
    """Tell whether a host, in lower case, is one that no owner of a name can point elsewhere: an address, localhost."""
    return bool(re.fullmatch(_ADDRESS, host) or re.fullmatch(_LOCAL_NAME, host))


def _host_of(authority: str) -> str:
    return authority if authority.endswith("]") else authority.rpartition(":")[0] or authority


def _pattern(origin: str) -> str:
    """Return the regular expression that an origin stands for."""
    scheme, mark, authority = origin.partition("://")
    if not mark:
        return re.escape(origin)
    host = _host_of(authority)
    port = authority[len(host) :]
    return f"{re.escape(scheme)}://{_host_pattern(host)}{_ANY_PORT if port == ':*' else re.escape(port)}"


def _host_pattern(host: str) -> str:
    if host.startswith("*"):
        return _ANY_LABELS + re.escape(host[1:])
    return re.escape(host)
