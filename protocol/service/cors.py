"""Cross-origin requests: what a browser must be told so that a page may read our answers (Fetch standard, "CORS")."""

from __future__ import annotations

from protocol.exchange import Request, Response
from protocol.wire.http1.writers import encode_fields

# A script may read only these beside the safelisted fields (Fetch, "CORS-safelisted response-header name").
_EXPOSED_FIELDS = ", ".join(
    ["x-request-id", "retry-after", "retry-after-ms", "x-should-retry", "content-disposition", "location"]
    + [f"x-ratelimit-{what}-{of}" for what in ("limit", "remaining", "reset") for of in ("requests", "tokens")]
    + ["openai-processing-ms", "openai-version", "openai-organization", "openai-model", "x-oaiserve-attempts"]
)

# Where an answer names an origin, a cache must not hand it to another one (RFC 9110 §12.5.5). An answer that names none
# says so too: a cache that has it would hand it to the pages that may read what they ask for.
_VARY = b"vary: Origin\r\n"

# How long a page need not ask again. Browsers have limits of their own: two hours in Chromium, a day in Firefox.
_MAX_AGE_SECONDS = 86400

_ANY_METHOD = "GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS"


class CorsPolicy:
    """Which origins may read our answers: `("*",)` for all, a list of origins, or `()` for no CORS fields at all."""

    def __init__(self, origins: tuple[str, ...]) -> None:
        self._origins = frozenset(origin.rstrip("/") for origin in origins)
        self._everyone = "*" in origins
        # What does not depend on who asks is computed once; a caller that is no page is spared the long list.
        self._for_any_page = self._allowing("*")
        self._for_no_page = encode_fields([("access-control-allow-origin", "*")]) if self._everyone else b""
        if origins and not self._everyone:
            self._for_no_page = _VARY

    def block(self, origin: str) -> bytes:
        """Return the field lines for an answer to a page of `origin`, "" when the request names none."""
        if not origin:
            return self._for_no_page
        if self._everyone:
            return self._for_any_page
        if origin in self._origins:
            return self._allowing(origin) + _VARY
        return self._for_no_page

    def preflight(self, request: Request, allowed_methods: str = _ANY_METHOD) -> Response:
        """Answer an OPTIONS request: what the page may send (Fetch, "CORS-preflight request")."""
        fields = request.fields
        answer = [("allow", allowed_methods)]
        origin = fields.get("origin")
        if "access-control-request-method" in fields and (self._everyone or origin in self._origins):
            # Asked-for names are repeated: "*" would not cover Authorization.
            answer += [
                ("access-control-allow-methods", fields.get("access-control-request-method")),
                (
                    "access-control-allow-headers",
                    fields.get("access-control-request-headers", "authorization, content-type"),
                ),
                ("access-control-max-age", str(_MAX_AGE_SECONDS)),
                ("vary", "Access-Control-Request-Method, Access-Control-Request-Headers"),
            ]
        return Response(204, answer)

    def _allowing(self, origin: str) -> bytes:
        return encode_fields(
            [("access-control-allow-origin", origin), ("access-control-expose-headers", _EXPOSED_FIELDS)]
        )
