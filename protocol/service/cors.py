"""Cross-origin requests: what a browser must be told so that a page may read our answers (Fetch standard, "CORS")."""

from __future__ import annotations

from protocol.exchange import Request, Response
from protocol.service.origins import Origins, is_local_page
from protocol.wire.http1.writers import encode_fields

# A script may read only these beside the safelisted fields (Fetch, "CORS-safelisted response-header name").
_EXPOSED_FIELDS = ", ".join(
    ["x-request-id", "retry-after", "retry-after-ms", "x-should-retry", "content-disposition", "location"]
    + [f"x-ratelimit-{what}-{of}" for what in ("limit", "remaining", "reset") for of in ("requests", "tokens")]
    + ["openai-processing-ms", "openai-version", "openai-organization", "openai-model", "x-oaiserve-attempts"]
    + ["x-oaiserve-fault", "x-oaiserve-rule"]
)

# Where an answer names an origin, a cache must not hand it to another one (RFC 9110 §12.5.5). An answer that names none
# says so too: a cache that has it would hand it to the pages that may read what they ask for.
_VARY = b"vary: Origin\r\n"

# How long a page need not ask again. Browsers have limits of their own: two hours in Chromium, a day in Firefox.
_MAX_AGE_SECONDS = 86400

_ANY_METHOD = "GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS"


class CorsPolicy:
    """Which pages a browser lets read our answers, and send requests that need to be asked for beforehand.

    `spends_always` says that whatever answers spends a key of the owner's; then `auto` is for pages of this machine
    alone. Where only some backends hold a key, the others are for every page, and what a preflight asks for is not
    known before the body has come: the refusal is left to the KeyGuard.
    """

    def __init__(self, origins: Origins, *, spends_always: bool = False) -> None:
        self._origins = origins
        self._everyone = origins.has_everyone or (origins.is_auto and not spends_always)
        # What does not depend on who asks is computed once; a caller that is no page is spared the long list.
        self._for_any_page = self._allowing("*")
        self._for_no_page = b"" if origins.is_empty else _VARY
        if self._everyone:
            self._for_no_page = encode_fields([("access-control-allow-origin", "*")])

    def block(self, origin: str) -> bytes:
        """Return the field lines for an answer to a page of `origin`, "" when the request names none."""
        if not origin:
            return self._for_no_page
        if self._everyone:
            return self._for_any_page
        if self._lists(origin):
            return self._allowing(origin) + _VARY
        return self._for_no_page

    def preflight(self, request: Request, allowed_methods: str = _ANY_METHOD) -> Response:
        """Answer an OPTIONS request: what the page may send (Fetch, "CORS-preflight request")."""
        fields = request.fields
        answer = [("allow", allowed_methods)]
        origin = fields.get("origin")
        if "access-control-request-method" in fields and (self._everyone or self._lists(origin)):
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
            if fields.get("access-control-request-private-network") == "true":
                # A page of the internet that calls a machine in here must be let do that, too (WICG, "Private Network
                # Access"). Browsers that ask the user instead do not ask us.
                answer.append(("access-control-allow-private-network", "true"))
        return Response(204, answer)

    def _lists(self, origin: str) -> bool:
        return self._origins.lists(origin) or (self._origins.is_auto and is_local_page(origin))

    def _allowing(self, origin: str) -> bytes:
        return encode_fields(
            [("access-control-allow-origin", origin), ("access-control-expose-headers", _EXPOSED_FIELDS)]
        )
