"""What the log shows of a key: enough to tell callers apart, and no protection. Only a request with a key needs it."""

from __future__ import annotations

import hashlib


def md5_label(key: str) -> str:
    """Return the first eight hex digits of a key's MD5."""
    return hashlib.md5(key.encode("latin-1", "replace"), usedforsecurity=False).hexdigest()[:8]
