"""Where an answer sends its client: a URL of the upstream's API is one of ours, where the owner's key is added again.

A client that followed it to the upstream itself would take its own key there, or none. What lies elsewhere, on another
host or outside the API, is nothing that we could answer for, and is passed on: whole, for a path alone would be taken
for one of ours (RFC 9110 §10.2.2).
"""

from __future__ import annotations

import urllib.parse

from protocol.upstream.destination import Destination

#: The fields that name a URL; the last is Azure's, for answers that take their time.
LOCATION_FIELDS = frozenset(("location", "content-location", "operation-location"))

_OUR_ROOT = "/v1"


class Locations:
    """Reads the URLs that one upstream names. Its API begins at the base path of its destination."""

    def __init__(self, destination: Destination) -> None:
        scheme = "https" if destination.tls else "http"
        self._origin = f"{scheme}://{destination.authority}"
        self._usual_port = ":443" if destination.tls else ":80"
        self._base_path = destination.base_path

    def for_client(self, value: str) -> str:
        """Return the URL by which the client gets there: a path of ours for what is in the API."""
        try:
            url = urllib.parse.urlsplit(value)
        except ValueError:
            return value
        if not url.scheme and not url.netloc:
            # A path that is relative to the request's is relative to the client's, too: ours are the upstream's.
            return self._from_path(value, f"{self._origin}{value}") if value.startswith("/") else value
        scheme = url.scheme.lower() or self._origin.partition(":")[0]
        authority = url.netloc.lower()
        if authority.endswith(self._usual_port):
            authority = authority[: -len(self._usual_port)]
        if f"{scheme}://{authority}" != self._origin.lower():
            return value
        return self._from_path(value[value.index(url.netloc) + len(url.netloc) :], value)

    def _from_path(self, path: str, otherwise: str) -> str:
        """Return our path for one of the upstream's that begins with the API's, else what it is otherwise."""
        base = self._base_path
        rest = path[len(base) :]
        if not path.startswith(base) or rest[:1] not in ("", "/", "?", "#"):
            return otherwise
        return f"{_OUR_ROOT}{rest}"
