"""What equal requests have in common: the key by which retries, draws and recordings know a request again.

Two requests are equal when their method, path and body say the same. The order of JSON members and of a query's
parameters, the boundary of a form, and all header fields say nothing: SDKs change them from one attempt to the next.
"""

from __future__ import annotations

import hashlib
import json
import re
import typing

from protocol.budget import spend_turn
from protocol.wire.credentials import query_without_key

# JSON of more bytes is taken as it came: to sort it would take long, and a retry repeats it byte for byte.
_SORTED_BYTES = 65_536

#: What is hashed before others have their turns (protocol/budget.py): a millisecond's worth.
PIECE_BYTES = 512 * 1024
_PIECE_STEPS = 1_000

_BOUNDARY = re.compile(rb"--[^\r\n]{1,74}")


def request_key(method: str, path: str, query: str, content_type: str, body: bytes) -> str:
    """Return 32 hex digits; equal requests have the same. A long body is hashed in turns with everybody else."""
    parameters = "&".join(sorted(query_without_key(query).split("&")))
    digest = hashlib.blake2b(f"{method} {path}?{parameters}\n".encode(), digest_size=16)
    for piece in _telling_pieces(content_type, body):
        digest.update(piece)
        spend_turn(_PIECE_STEPS)
    return digest.hexdigest()


def _telling_pieces(content_type: str, body: bytes) -> typing.Iterator[bytes]:
    """Yield a body without what says nothing: JSON with sorted members and no spaces, a form without its boundary."""
    kind = content_type.partition(";")[0].strip().lower()
    boundary = _BOUNDARY.match(body) if kind == "multipart/form-data" else None
    if boundary is not None:
        return _without_boundary(body, boundary[0])
    if body[:1] in (b"{", b"[") and len(body) <= _SORTED_BYTES:
        try:
            value: typing.Any = json.loads(body)
            body = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
        except (ValueError, RecursionError):
            pass  # it is taken as it came
    return (body[at : at + PIECE_BYTES] for at in range(0, len(body), PIECE_BYTES))


def _without_boundary(body: bytes, boundary: bytes) -> typing.Iterator[bytes]:
    at, longest = 0, len(boundary) - 1
    while at < len(body):
        end = at + PIECE_BYTES
        # One that stands across the end of a piece begins the next one.
        across = body.rfind(boundary, end - longest, end + longest)
        if across >= 0:
            end = across
        yield body[at:end].replace(boundary, b"--")
        at = end
