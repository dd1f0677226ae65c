"""How an upstream is reached, as a section's options and the environment say: proxy, TLS, limits, and the pool of that.

Proxies are found as curl and most other tools find them: HTTPS_PROXY, HTTP_PROXY and NO_PROXY, in either case.
"""

from __future__ import annotations

import ipaddress
import ssl
import typing

from protocol.errors import UsageError
from protocol.upstream.destination import (
    Destination,
    IpAddress,
    Proxy,
    parse_destination,
    parse_ip_address,
    parse_proxy,
)
from protocol.upstream.pool import UpstreamLimits, UpstreamPool
from protocol.upstream.settings import ConnectionSettings


class UpstreamAccess:
    """What the options of a section come to.

    `where` names the section in messages, `environ` holds the proxy variables, `warn` takes a line for the owner.
    UsageError where the options cannot work. `tls` and `checking_tls` return TLS contexts; the second one checks
    certificates even if the owner has said `verify = no`, which is meant for his own upstream only.
    """

    def __init__(
        self,
        where: str,
        settings: ConnectionSettings,
        environ: typing.Mapping[str, str],
        *,
        warn: typing.Callable[[str], None],
    ) -> None:
        self.destination = parse_destination(settings.base_url)
        self.limits = UpstreamLimits(
            connect_timeout=settings.connect_timeout,
            first_byte_timeout=settings.first_byte_timeout or settings.timeout,
            timeout=settings.timeout,
            max_connections=settings.max_connections,
            max_idle=settings.max_idle,
            idle_timeout=settings.idle_timeout,
            max_age=settings.max_age,
        )
        self.tls = TlsMaker(settings.ca_file, settings.verify)
        self.checking_tls = TlsMaker(settings.ca_file, True)
        self._proxy = settings.proxy
        self._environ = environ
        try:
            self._own_proxy = self.proxy_to(self.destination)
        except ValueError as exc:
            raise UsageError(f"{where}: {exc}") from exc
        if self.destination.tls and not settings.verify:
            warn(f"{where}: verify = no is dangerous: whoever stands in between reads and changes everything")
        if settings.ca_file:
            try:
                self.tls()
            except OSError as exc:
                why = exc.strerror or "none found"
                raise UsageError(f"{where}: ca_file = {settings.ca_file}: expected certificates (PEM): {why}") from exc

    def proxy_to(self, destination: Destination) -> Proxy | None:
        """Return the proxy on the way to `destination`, None for the direct way."""
        return parse_proxy(self._proxy) if self._proxy else proxy_from_environment(destination, self._environ)

    def make_pool(self, name: str, *, drain_seconds: float = 0.0, drain_bytes: int = 0) -> UpstreamPool:
        """Return the pool of connections for the backend `name`; the last two are limits as in UpstreamLimits."""
        limits = self.limits._replace(drain_seconds=drain_seconds, drain_bytes=drain_bytes)
        return UpstreamPool(name, self.destination, limits, tls=self.tls, proxy=self._own_proxy)


class TlsMaker:
    """Makes the TLS context when it is first wanted: to read the system's authorities takes tens of milliseconds."""

    def __init__(self, ca_file: str, verify: bool) -> None:
        self._ca_file = ca_file
        self._verify = verify
        self._context: ssl.SSLContext | None = None

    def __call__(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = upstream_tls(self._ca_file, self._verify)
        return self._context


def upstream_tls(ca_file: str, verify: bool) -> ssl.SSLContext:
    """Return what TLS to an upstream trusts: the system's authorities, or those of `ca_file` (PEM) alone.

    OSError when the file cannot be read or holds no certificate.
    """
    context = ssl.create_default_context(cafile=ca_file or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def proxy_from_environment(destination: Destination, environ: typing.Mapping[str, str]) -> Proxy | None:
    """Return what HTTPS_PROXY or HTTP_PROXY name, unless NO_PROXY exempts the host; lower-case names come first.

    This machine itself is never reached through a proxy. ValueError names the variable that is not understood.
    """
    name = "https_proxy" if destination.tls else "http_proxy"
    text = environ.get(name) or environ.get(name.upper()) or ""
    exempt = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    if not text or destination.socket_path or _is_exempt(destination.host, destination.port, exempt):
        return None
    try:
        return parse_proxy(text)
    except ValueError as exc:
        raise ValueError(f"the environment's {name.upper()}: {exc}") from exc


def _is_exempt(host: str, port: int, exempt: str) -> bool:
    address = parse_ip_address(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    return any(_exempts(entry.lower(), host, port, address) for entry in exempt.replace(",", " ").split())


def _exempts(entry: str, host: str, port: int, address: IpAddress | None) -> bool:
    """Tell whether one word of NO_PROXY fits: `*`, a host and all below it, an address, a network; perhaps a port."""
    if address is not None and "/" in entry:
        try:
            return address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    name, colon, wanted_port = entry.rpartition(":")
    if colon and wanted_port.isdigit() and (":" not in name or name.endswith("]")):
        if int(wanted_port) != port:
            return False
        entry = name
    entry = entry.strip("[]").lstrip("*") or "*"
    suffix = entry.lstrip(".")
    return entry == "*" or host == suffix or host.endswith(f".{suffix}")
