"""The page as it goes out: one text with all of its parts in it, which fetches nothing from elsewhere.

page.html links its parts, as any page does. Here they take the places of their links, and the Content-Security-Policy
names them by their hashes (W3C, "Content Security Policy Level 3", §6.7.3.3): a browser runs these and nothing else,
whatever stands in what it is shown.
"""

from __future__ import annotations

import base64
import functools
import hashlib

from protocol.exchange import Response
from protocol.on_demand import load_text
from protocol.wire.http1.writers import encode_fields

_HTML = "protocol/service/page/page.html"
_CSS = "protocol/service/page/page.css"
_SCRIPTS = ("protocol/service/page/words.js", "protocol/service/page/page.js")


def make_page() -> Response:
    """Return the page."""
    fields, body = _page()
    return Response(200, fields, body)


@functools.cache
def _page() -> tuple[bytes, bytes]:
    text = load_text(_HTML)
    style = load_text(_CSS)
    text = text.replace('<link rel="stylesheet" href="page.css">', f"<style>{style}</style>")
    hashes = []
    for path in _SCRIPTS:
        script = load_text(path)
        text = text.replace(f'<script src="{path.rpartition("/")[2]}"></script>', f"<script>{script}</script>")
        hashes.append(_hash(script))
    policy = (
        f"default-src 'none'; script-src {' '.join(hashes)}; style-src {_hash(style)}; img-src data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    fields = encode_fields([
        ("content-type", "text/html; charset=utf-8"), ("vary", "Accept"), ("cache-control", "no-cache"),
        ("content-security-policy", policy), ("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer"),
    ])  # fmt: skip
    return fields, text.encode()


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
