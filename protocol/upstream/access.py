"""How an upstream is reached, as a section's options and the environment say: proxy, TLS, limits, and the pool of that.

Proxies are found as curl and most other tools find them: HTTPS_PROXY or HTTP_PROXY, else ALL_PROXY, unless NO_PROXY
exempts the host, all in either case.
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
from protocol.upstream.settings import NO_PROXY, ConnectionSettings
from protocol.wire.masking import mask_of


class UpstreamAccess:
    """What the options of a section come to.

    `where` names the section in messages, `environ` holds the proxy variables, `warn` takes a line for the owner.
    UsageError where the options cannot work. `tls` and `checking_tls` return TLS contexts. The second one is for other
    hosts: it checks certificates even if the owner has said `verify = no`, and shows nobody the owner's own.
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
        self.tls = TlsMaker(settings.ca_file, settings.verify, settings.cert_file, settings.cert_key)
        self.checking_tls = TlsMaker(settings.ca_file, True)
        self._proxy = settings.proxy
        self._api_key = settings.api_key
        self._environ = environ
        try:
            self._own_proxy = self.proxy_to(self.destination)
        except ValueError as exc:
            raise UsageError(f"{where}: {exc}") from exc
        if self.destination.tls and not settings.verify:
            warn(f"{where}: verify = no is dangerous: whoever stands in between reads and changes everything")
        if settings.cert_key and not settings.cert_file:
            raise UsageError(f"{where}: cert_key needs cert_file, the certificate that the key belongs to")
        if settings.ca_file or settings.cert_file:
            try:
                self.tls()
            except BadPemFile as exc:
                raise UsageError(f"{where}: {exc}") from exc

    def proxy_to(self, destination: Destination) -> Proxy | None:
        """Return the proxy on the way to `destination`, None for the direct way."""
        if self._proxy == NO_PROXY:
            return None
        return parse_proxy(self._proxy) if self._proxy else proxy_from_environment(destination, self._environ)

    def make_pool(
        self, name: str, *, secrets: typing.Iterable[str] = (), drain_seconds: float = 0.0, drain_bytes: int = 0
    ) -> UpstreamPool:
        """Return the pool of connections for the backend `name`.

        The key, and further `secrets`, are masked in what the upstream says. The last two are limits as in
        UpstreamLimits.
        """
        mask = mask_of([self._api_key, *secrets])
        limits = self.limits._replace(drain_seconds=drain_seconds, drain_bytes=drain_bytes)
        return UpstreamPool(name, self.destination, limits, tls=self.tls, proxy=self._own_proxy, mask=mask)


class BadPemFile(Exception):
    """A file that should hold certificates or a key does not; the message names the option, the file and why."""


class TlsMaker:
    """Makes the TLS context when it is first wanted: to read the system's authorities takes tens of milliseconds.

    The arguments are those of `upstream_tls`.
    """

    def __init__(self, ca_file: str, verify: bool, cert_file: str = "", cert_key: str = "") -> None:
        self._ca_file = ca_file
        self._verify = verify
        self._cert_file = cert_file
        self._cert_key = cert_key
        self._context: ssl.SSLContext | None = None

    def __call__(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = upstream_tls(self._ca_file, self._verify, self._cert_file, self._cert_key)
        return self._context


def upstream_tls(ca_file: str, verify: bool, cert_file: str = "", cert_key: str = "") -> ssl.SSLContext:
    """Return what TLS to an upstream trusts and shows.

    It trusts the system's authorities, or those of `ca_file` (PEM) alone. It shows the certificate in `cert_file`
    (PEM), whose private key is in `cert_key` or in the same file; without one it shows none. BadPemFile.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except OSError as exc:
        raise BadPemFile(f"ca_file = {ca_file}: expected certificates (PEM): {_why(exc, 'none found')}") from exc
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if cert_file:
        try:
            # Without a password given here, OpenSSL would ask for it on the terminal, and wait.
            context.load_cert_chain(cert_file, cert_key or None, password="")
        except (OSError, ValueError) as exc:
            where = f"cert_file = {cert_file}" + (f", cert_key = {cert_key}" if cert_key else "")
            wanted = "expected a certificate and its private key (PEM), the key without a password"
            raise BadPemFile(f"{where}: {wanted}: {_why(exc, 'they do not fit')}") from exc
    return context


def _why(exc: Exception, otherwise: str) -> str:
    """Say what the system says of a file; where it is OpenSSL that fails, `otherwise`."""
    is_system = isinstance(exc, OSError) and not isinstance(exc, ssl.SSLError)
    return (isinstance(exc, OSError) and is_system and exc.strerror) or otherwise


def proxy_from_environment(destination: Destination, environ: typing.Mapping[str, str]) -> Proxy | None:
    """Return what HTTPS_PROXY or HTTP_PROXY names, else ALL_PROXY, unless NO_PROXY exempts the host.

    Lower-case names come first. This machine itself is never reached through a proxy. ValueError names the variable
    that is not understood.
    """
    exempt = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    if destination.socket_path or _is_exempt(destination.host, destination.port, exempt):
        return None
    for name in ("HTTPS_PROXY" if destination.tls else "HTTP_PROXY", "ALL_PROXY"):
        text = environ.get(name.lower()) or environ.get(name) or ""
        if text:
            try:
                return parse_proxy(text)
            except ValueError as exc:
                raise ValueError(f"the environment's {name}: {exc}; proxy = none passes it over") from exc
    return None


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
