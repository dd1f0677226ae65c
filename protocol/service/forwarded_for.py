"""Who the client is when proxies stand in front: X-Forwarded-For, as far as it can be believed.

Each proxy adds at the right the address that it was called from; everything to the left of that came from its caller
and may be made up. So the field is read from the right, only when the connection itself comes from a trusted proxy,
and only as far as addresses are those of trusted proxies: the first other one is the client's. RFC 7239 §8.1 tells why
no more of it can be relied on.
"""

from __future__ import annotations

import ipaddress
import typing

_IpAddress = typing.Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


def parse_networks(text: str) -> tuple[str, ...]:
    """Return addresses and networks, separated by commas or spaces, in their usual spelling; ValueError for others."""
    networks = []
    for word in text.replace(",", " ").split():
        try:
            networks.append(str(ipaddress.ip_network(word)))
        except ValueError as exc:
            raise ValueError(f"expected addresses or networks, e.g. 127.0.0.1, 10.0.0.0/8 or ::1; {exc}") from exc
    return tuple(networks)


class TrustedProxies:
    """The proxies whose X-Forwarded-For is believed; `networks` as `parse_networks` returns them."""

    def __init__(self, networks: typing.Sequence[str]) -> None:
        self._networks = [ipaddress.ip_network(network) for network in networks]

    def trusts(self, address: str) -> bool:
        """Tell whether an address is that of a trusted proxy."""
        parsed = _parse_address(address)
        return parsed is not None and self._has(parsed)

    def client(self, peer: str, forwarded_for: str) -> str:
        """Return the client's address for a request that `peer`, a trusted proxy, has passed on.

        `forwarded_for` is the field's whole value. Where it holds something that is no address, it is read no further,
        and the address before that is the answer: the nearest that is known for sure.
        """
        client = peer
        for hop in reversed(forwarded_for.split(",")):
            parsed = _parse_address(_without_port(hop.strip(" \t")))
            if parsed is None:
                break
            client = str(parsed)
            if not self._has(parsed):
                break
        return client

    def _has(self, address: _IpAddress) -> bool:
        return any(address in network for network in self._networks)


def _without_port(text: str) -> str:
    """Return the address of "1.2.3.4:5" and "[::1]:5", which some proxies write."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


def _parse_address(text: str) -> _IpAddress | None:
    try:
        # A zone (fe80::1%eth0) means something on its own host only, and could be any text.
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    # A socket that takes both kinds shows IPv4 clients as ::ffff:1.2.3.4.
    return getattr(address, "ipv4_mapped", None) or address
