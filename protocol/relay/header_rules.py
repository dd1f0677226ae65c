"""Which header fields pass between client and upstream: one table, both ways.

What is not in the table passes as it came: OpenAI-Organization, Idempotency-Key, x-stainless-*,
traceparent, User-Agent, Accept-Encoding and vendors' fields one way, x-request-id, retry-after, x-ratelimit-* and
openai-* the other. Server and Via of an answer pass too: they are the origin's word on who made it (RFC 9110 §7.6.3 and
§10.2.4), and its support asks for them. The upstream's x-request-id is the one that can be looked up there, so the
server must not send another beside it.

A relay that is pointed at itself would pass a request round until nothing is left. Via shows that, but relays may also
be chained on purpose. So each signs its hop with an `instance`, some random hex digits that all workers of one server
share, and refuses only what it has signed itself. Without an instance all relays of a chain count as the same.
"""

from __future__ import annotations

import typing

from protocol.wire.credentials import KEY_FIELDS, SECRET_NAME_ENDS
from protocol.wire.http1.messages import RequestHead, ResponseHead

# The pseudonym by which this program signs its Via hops (RFC 9110 §7.6.3), before the instance.
VIA_NAME = "oaiserve"

# (which way: > to the upstream, < to the client; names, where * ends a prefix; why they do not pass)
_TABLE = (
    ("<>", "connection keep-alive proxy-connection te transfer-encoding upgrade http2-settings",
     "RFC 9110 §7.6.1: they speak of one connection, and ours are two; so do all fields that Connection names"),
    ("<>", "content-length", "the writer adds it where the length is known, and it may have changed"),
    ("<>", "trailer", "the writers send no trailers"),
    ("<>", "proxy-authenticate proxy-authentication-info proxy-authorization",
     "RFC 9110 §11.7: meant for the next proxy, not for what is behind it"),

    (">", "host", "the upstream's stands in its place; the client's is ours, and would choose a wrong site"),
    (">", "via", "goes on with our hop added"),
    (">", "expect", "RFC 9110 §10.1.1: the server has answered it, or does when the body is read"),
    (">", "cookie cookie2", "set for our origin: sessions of our site are none of the upstream's business"),
    (">", "forwarded x-forwarded x-forwarded-* x-original-forwarded-for x-real-ip true-client-ip x-client-ip "
     "x-cluster-client-ip fastly-client-ip fly-client-ip x-appengine-user-ip "
     "cf-connecting-* cf-cert-* cf-pseudo-ipv4 cf-ipcountry cf-ipcity cf-ipcontinent cf-iplatitude cf-iplongitude "
     "cf-region cf-region-code cf-metro-code cf-postal-code cf-timezone cf-ray cf-visitor cf-worker cf-ew-via "
     "cf-bot-score cf-verified-bot cf-threat-score cf-ja3-hash cf-ja4 cf-warp-tag-id cf-cache-status cf-request-id "
     "cf-access-jwt-assertion cf-access-authenticated-user-email",
     "who the client is and which proxies stand in front of us; some upstreams also believe it. Other fields "
     "of Cloudflare's pass: they are the caller's credentials for a gateway or a login there, and his wishes"),
    (">", "cdn-loop", "RFC 8586: a CDN before us and one before the upstream would pass for a loop; Via finds those"),
    (">", "origin referer sec-* access-control-request-* dnt",
     "the browser's word on the page that asks: CORS is settled with us"),
    (">", "proxy-*", "for proxies on the client's side, or made for them (the httpoxy family)"),
    (">", "x-original-url x-original-uri x-original-host x-rewrite-url x-rewrite-uri x-envoy-* x-http-method "
     "x-http-method-override x-method-override x-http-host-override x-host x-http-path-override "
     "x-http-destinationurl base-url request-uri x-middleware-subrequest x-amz-website-redirect-location",
     "some servers believe these more than the request line: they would choose another place, or another method"),
    (">", "x-oaiserve-*", "wishes of a tester, which are met here: an oaiserve behind us would meet them again"),
    (">", "x-remote-user remote-user x-authenticated-* x-user-id-token x-webauth-user x-ssl-* ssl-client-* "
     "x-client-cert x-client-dn x-goog-iap-* x-ms-client-principal* x-amzn-oidc-*",
     "the word of a proxy that has checked who the client is; nobody has"),

    ("<", "set-cookie set-cookie2", "the upstream's session with us: it would be stored for our origin, and shared"),
    ("<", "access-control-* timing-allow-origin cross-origin-*", "our own CORS rules hold; both together are refused"),
    ("<", "alt-svc", "would lead the client past us, to a host whose certificate is not ours"),
    ("<", "strict-transport-security public-key-pins public-key-pins-report-only expect-ct nel report-to "
     "reporting-endpoints clear-site-data service-worker-allowed",
     "browsers keep these for the whole origin, which is ours: only its owner may say so"),
    ("<", "date", "the server sends its own, and there must be one (RFC 9110 §6.6.1)"),
    ("<", "x-accel-redirect x-accel-expires x-accel-limit-rate x-accel-charset x-sendfile x-lighttpd-send-file "
     "x-reproxy-url",
     "commands to the web server in front of us: an upstream could have it send local files"),
    ("<", "authorization api-key x-api-key x-goog-api-key ocp-apim-subscription-key",
     "an upstream that echoes its request would hand our key to the client"),
)  # fmt: skip

# Fields by which gateways are told where to send the request on, and with it our key.
_STEERING_FIELDS = frozenset(
    "helicone-target-url helicone-target-provider helicone-openai-api-base x-portkey-custom-host x-portkey-config"
    " x-portkey-provider x-base-url x-target-url x-upstream-url x-openai-base-url x-api-base".split()
)
# A browser cannot set fields on a WebSocket, and hands over its key among the subprotocols (OpenAI API, "Realtime").
_KEY_PROTOCOL = "openai-insecure-api-key."


def _names(way: str) -> tuple[frozenset[str], tuple[str, ...]]:
    """Return the names and the prefixes that the table bars this way."""
    names = [name for ways, row, _ in _TABLE if way in ways for name in row.split()]
    prefixes = tuple(name[:-1] for name in names if name.endswith("*"))
    return frozenset(name for name in names if not name.startswith(prefixes)), prefixes


_BARRED_REQUEST_NAMES, _BARRED_REQUEST_PREFIXES = _names(">")
_BARRED_RESPONSE_NAMES, _BARRED_RESPONSE_PREFIXES = _names("<")
_BARRED_WITHOUT_KEY = _BARRED_REQUEST_NAMES | KEY_FIELDS | _STEERING_FIELDS

# Servers that hand fields on as variables (CGI, WSGI) take `x_real_ip` for `x-real-ip`. So a name with an underscore
# shares the fate of the other, and stays behind where the other one says what the message is or whose it is.
_SAID_BY_MESSAGE = frozenset(
    "content-type content-encoding content-language content-md5 content-range accept accept-encoding range"
    " openai-organization openai-project openai-beta idempotency-key user-agent".split()
)

# What the usual clients send, and the table lets pass: spared the look at all prefixes, which takes longer.
_USUAL_NAMES = frozenset(
    "accept accept-encoding accept-language authorization content-type user-agent openai-organization openai-project"
    " openai-beta idempotency-key traceparent tracestate x-request-id x-stainless-lang x-stainless-package-version"
    " x-stainless-os x-stainless-arch x-stainless-runtime x-stainless-runtime-version x-stainless-async"
    " x-stainless-retry-count x-stainless-read-timeout x-stainless-timeout x-stainless-helper-method"
    " x-stainless-raw-response x-stainless-poll-helper x-stainless-custom-poll-interval".split()
)

# What Connection says nearly always; it bars nothing then that the table lets pass.
_USUAL_CONNECTION = frozenset(("", "keep-alive", "close", "Keep-Alive", "Close", "upgrade", "Upgrade"))

_FieldPairs = typing.List[typing.Tuple[str, str]]


class OwnFields:
    """What the relay's owner sends along with every request, in place of what the client says there.

    `api_key` goes into the field `key_field`: as a Bearer token in Authorization, bare in any other. It takes the place
    of every key that the client sent, and fields by which a gateway would send it elsewhere stay behind. With "" the
    client's own keys go on; where it says one in Authorization, that goes into `key_field` too. `further` are fields as
    they are sent, in lower case.
    """

    def __init__(
        self, api_key: str, key_field: str = "authorization", further: tuple[tuple[str, str], ...] = ()
    ) -> None:
        self.api_key = api_key
        self.key_field = key_field
        ours = {name for name, _ in further}
        if api_key:
            ours.add(key_field)
        #: The names of the client's fields that stay behind, and those where its key does, too.
        self.barred = _BARRED_REQUEST_NAMES | ours
        self.barred_with_key = _BARRED_WITHOUT_KEY | ours
        key = ((key_field, f"Bearer {api_key}" if key_field == "authorization" else api_key),) if api_key else ()
        #: All that is sent of ours.
        self.fields = key + further

    def lets_pass(self, name: str) -> bool:
        """Tell whether a client's field of this name goes on, where nothing is left to be kept from another host."""
        return _passes(name, self.barred_with_key if self.api_key else self.barred)

    def with_key_in_place(self, field: tuple[str, str]) -> tuple[str, str]:
        """Return a client's field, its own key where the upstream looks for it."""
        name, value = field
        if name != "authorization" or self.api_key or self.key_field == "authorization":
            return field
        scheme, _, key = value.partition(" ")
        return (self.key_field, key.strip(" ")) if scheme.lower() == "bearer" else field


def request_fields(
    head: RequestHead,
    addressing: typing.Iterable[tuple[str, str]],
    own: OwnFields,
    instance: str = "",
    *,
    leaves_key: bool = False,
) -> _FieldPairs:
    """Return the fields of the request to the upstream; its framing is the writer's to add.

    `addressing` are the first ones, Host among them. `instance` is the token in our Via hop. Where it `leaves_key`, all
    of the client's fields stay behind that are named like a secret, its key first of all. An Upgrade goes on for
    WebSockets only: by h2c a client would get past this table.
    """
    fields = list(addressing)
    without_key = leaves_key or bool(own.api_key)
    barred = own.barred_with_key if without_key else own.barred
    named = _named_by_connection(head.fields.get("connection"))
    if named:
        barred = barred.union(named)
    for field in head.fields.pairs:
        if _passes(field[0], barred) and not (leaves_key and field[0].endswith(SECRET_NAME_ENDS)):
            fields.append(own.with_key_in_place(field))
    closing = closing_fields(head, own, instance)
    if head.upgrade.lower() == "websocket":
        closing[-1:-1] = _websocket_fields(head, without_key=without_key)
    return fields + closing


def closing_fields(head: RequestHead, own: OwnFields, instance: str) -> _FieldPairs:
    """Return the last of the fields that go to the upstream: ours, and Via behind them."""
    hop = f"1.{head.minor_version} {_via_pseudonym(instance)}"
    earlier_hops = head.fields.get("via")
    return [*own.fields, ("via", f"{earlier_hops}, {hop}" if earlier_hops else hop)]


def _passes(name: str, barred: typing.Collection[str]) -> bool:
    """Tell whether a field of this name goes on, where the names in `barred` stay behind."""
    if name in barred:
        return False
    return name in _USUAL_NAMES or (
        not name.startswith(_BARRED_REQUEST_PREFIXES) and ("_" not in name or _is_harmless(name, barred))
    )


def _is_harmless(name: str, barred: typing.Collection[str]) -> bool:
    """Tell whether a name with underscores is nothing that a lenient server takes for a field that matters."""
    read_as = name.replace("_", "-")
    return (
        read_as not in barred and read_as not in _SAID_BY_MESSAGE and not read_as.startswith(_BARRED_REQUEST_PREFIXES)
    )


def with_azure_key_in(key_field: str, fields: _FieldPairs) -> _FieldPairs:
    """Return fields with the key of an Azure client, which has it in `api-key`, where the upstream looks for it."""
    if key_field == "api-key" or any(name == "authorization" for name, _ in fields):
        return fields
    return [
        (key_field, f"Bearer {value}" if key_field == "authorization" else value)
        if name == "api-key"
        else (name, value)
        for name, value in fields
    ]


def goes_to_client(name: str) -> bool:
    """Tell whether the table lets an answer's field of this name pass."""
    return name not in _BARRED_RESPONSE_NAMES and not name.startswith(_BARRED_RESPONSE_PREFIXES)


def has_usual_connection(head: RequestHead | ResponseHead) -> bool:
    """Tell whether Connection names no fields that the table lets pass."""
    return head.fields.get("connection") in _USUAL_CONNECTION


def response_fields(head: ResponseHead) -> _FieldPairs:
    """Return the fields of the upstream's answer for the client; framing, Date and our CORS fields are to be added.

    After 101 `connection: upgrade` and the upgrade itself are among them.
    """
    named = _named_by_connection(head.fields.get("connection")) or ()
    fields = [field for field in head.fields.pairs if field[0] not in named and goes_to_client(field[0])]
    if head.status == 101:
        fields += [("connection", "upgrade"), ("upgrade", head.fields.get("upgrade"))]
    return fields


def is_loop(head: RequestHead, instance: str = "") -> bool:
    """Tell whether the request has come through this very relay before (RFC 9110 §7.6.3)."""
    via = head.fields.get("via")
    if VIA_NAME not in via:  # as of nearly all requests
        return False
    pseudonym = _via_pseudonym(instance)
    return any(hop.split()[1:2] == [pseudonym] for hop in via.split(","))


def _via_pseudonym(instance: str) -> str:
    return f"{VIA_NAME}-{instance}" if instance else VIA_NAME


def _named_by_connection(connection: str) -> frozenset[str] | None:
    """Return the fields that Connection bars (RFC 9110 §7.6.1), None where it bars nothing that the table lets pass."""
    if connection in _USUAL_CONNECTION:
        return None
    return frozenset(name.strip(" \t").lower() for name in connection.split(","))


def _websocket_fields(head: RequestHead, *, without_key: bool) -> _FieldPairs:
    """Return what a WebSocket's opening needs (RFC 6455 §4.1), on demand without the key among its subprotocols."""
    fields = [("connection", "upgrade"), ("upgrade", head.upgrade)]
    for name, value in head.fields.pairs:
        if not name.startswith("sec-websocket-"):
            continue
        if without_key and name == "sec-websocket-protocol":
            value = _without_key(value)
        if without_key and name == "sec-websocket-extensions":
            continue  # messages that are compressed could not be looked into for a key
        if value:
            fields.append((name, value))
    return fields


def _without_key(protocols: str) -> str:
    """Return the subprotocols without those that carry a key; the field's other bytes stay."""
    if _KEY_PROTOCOL not in protocols.lower():
        return protocols
    members = [member.strip(" \t") for member in protocols.split(",")]
    return ", ".join(member for member in members if member and not member.lower().startswith(_KEY_PROTOCOL))
