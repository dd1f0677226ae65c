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
    if _is_of_another_site(request):
        return "no page of another site"
    if not _is_loopback(request.peer):
        return "nobody but this machine"
    return "" if is_fixed_host(host_name(request.head.host)) else "nobody who calls it by a name such as this Host"


def may_see(request: Request, *, from_anywhere: bool) -> bool:
    """Tell whether what the page for people shows may be shown: to this machine, or to all but other sites' pages.

    A browser names no Origin where our own page asks for it (Fetch standard, "Origin header").
    """
    return not (_is_of_another_site(request) if from_anywhere else stranger(request))


def _is_of_another_site(request: Request) -> bool:
    origin = request.fields.get("origin")
    is_page = bool(origin) and not is_local_page(origin)
    return is_page or request.fields.get("sec-fetch-site") in ("cross-site", "same-site")


def _is_loopback(peer: str) -> bool:
    try:
        return ipaddress.ip_address(peer).is_loopback
    except ValueError:
        return False
