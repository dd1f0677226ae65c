"""What equal requests have in common: the key by which retries, draws and recordings know a request again.

Two requests are equal when their method, path and body say the same. The order of JSON members and of a query's
parameters, the boundary of a form, and all header fields say nothing: SDKs change them from one attempt to the next.
"""

from __future__ import annotations

import hashlib
import json
import re
import typing

from protocol.wire.credentials import query_without_key

# JSON of more bytes is taken as it came: to sort it would take long, and a retry repeats it byte for byte.
_SORTED_BYTES = 65_536

_BOUNDARY = re.compile(rb"--[^\r\n]{1,74}")


def request_key(method: str, path: str, query: str, content_type: str, body: bytes) -> str:
    """Return 32 hex digits; equal requests have the same."""
    parameters = "&".join(sorted(query_without_key(query).split("&")))
    told = f"{method} {path}?{parameters}\n".encode()
    return hashlib.blake2b(told + canonical_body(content_type, body), digest_size=16).hexdigest()


def canonical_body(content_type: str, body: bytes) -> bytes:
    """Return a body without what says nothing: JSON with sorted members and no spaces, a form without its boundary."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        boundary = _BOUNDARY.match(body)
        return body if boundary is None else body.replace(boundary[0], b"--")
    if body[:1] in (b"{", b"[") and len(body) <= _SORTED_BYTES:
        try:
            value: typing.Any = json.loads(body)
            return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
        except (ValueError, RecursionError):
            return body
    return body
