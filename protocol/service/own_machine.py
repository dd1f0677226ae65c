"""Whether one of this machine's own programs asks: what only its owner should see needs no key then."""

from __future__ import annotations

import ipaddress

from protocol.exchange import Request
from protocol.service.origins import host_name, is_fixed_host, is_local_page


def stranger(request: Request) -> str:
    """Return whom a request is not answered for as one of this machine's own, "" where it is.

    It is one that comes from a loopback address, by a name that nobody can point elsewhere, and from no page of another
    site. The head does not decide that alone.
    """
    fields = request.fields
    origin = fields.get("origin")
    is_page = bool(origin) and not is_local_page(origin)
    if is_page or "cross-site" in fields.get("sec-fetch-site"):
        return "no page of another site"
    if not _is_loopback(request.peer):
        return "nobody but this machine"
    return "" if is_fixed_host(host_name(request.head.host)) else "nobody who calls it by a name such as this Host"


def _is_loopback(peer: str) -> bool:
    try:
        return ipaddress.ip_address(peer).is_loopback
    except ValueError:
        return False
