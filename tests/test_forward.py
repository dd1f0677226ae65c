"""Which fields pass: each by name, and no secret of either side in generated heads."""

from __future__ import annotations

import random

import pytest

from protocol.relay.header_rules import (
    VIA_NAME,
    OwnFields,
    closing_fields,
    has_usual_connection,
    is_loop,
    request_fields,
    response_fields,
)
from protocol.wire.http1.messages import Fields, RequestHead, ResponseHead
from protocol.wire.http1.writers import encode_fields

OURS = "sk-ours-0123456789"
HOST = [("host", "api.test")]
THEIRS = "sk-theirs-9876543210"


def request(*pairs: tuple[str, str], minor_version: int = 1) -> RequestHead:
    return RequestHead("POST", "/v1/chat/completions", minor_version, Fields([("host", "relay.test"), *pairs]))


def response(*pairs: tuple[str, str], status: int = 200) -> ResponseHead:
    return ResponseHead(status, "", 1, Fields(list(pairs)))


def sent(*pairs: tuple[str, str], api_key: str = "") -> list[tuple[str, str]]:
    """Return what goes to the upstream beside host and via."""
    fields = request_fields(request(*pairs), HOST, OwnFields(api_key), "i1")
    assert fields[0] == ("host", "api.test")
    assert fields[-1][0] == "via"
    encode_fields(fields)
    return fields[1:-1]


PASSED_TO_UPSTREAM = [
    "accept", "accept-encoding", "accept-language", "content-type", "content-encoding", "user-agent", "authorization",
    "openai-organization", "openai-project", "openai-beta", "idempotency-key", "x-stainless-lang", "x-request-id",
    "x-client-request-id", "traceparent", "tracestate", "range", "if-none-match", "x-session-affinity", "http-referer",
    "x-title", "anthropic-version", "api-key", "x-api-key", "security", "cfx", "proxied", "originator",
]  # fmt: skip

KEPT_FROM_UPSTREAM = [
    "connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade", "http2-settings", "trailer",
    "cookie", "forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-real-ip", "cf-connecting-ip",
    "cf-ray", "cf-ipcountry", "cdn-loop", "true-client-ip", "origin", "referer", "sec-fetch-site", "sec-ch-ua",
    "sec-websocket-key", "proxy-authorization", "proxy-foo", "access-control-request-method",
    "access-control-request-headers", "dnt",
]  # fmt: skip

PASSED_TO_CLIENT = [
    "content-type", "content-encoding", "content-disposition", "content-range", "cache-control", "etag", "vary",
    "location", "x-request-id", "retry-after", "retry-after-ms", "x-should-retry", "x-ratelimit-limit-requests",
    "x-ratelimit-reset-tokens", "openai-processing-ms", "openai-version", "openai-organization", "www-authenticate",
    "server", "via", "cf-ray", "x-accel-buffering", "x-vendor", "apim-request-id",
]  # fmt: skip

KEPT_FROM_CLIENT = [
    "connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade", "trailer",
    "proxy-authenticate", "set-cookie", "set-cookie2", "access-control-allow-origin", "access-control-expose-headers",
    "timing-allow-origin", "cross-origin-resource-policy", "alt-svc", "strict-transport-security", "nel", "report-to",
    "clear-site-data", "date", "x-accel-redirect", "x-sendfile", "authorization", "api-key",
]  # fmt: skip

# Fields whose value means something for the message itself.
VALUES = {"transfer-encoding": "chunked"}


@pytest.mark.parametrize("name", PASSED_TO_UPSTREAM)
def test_passes_to_the_upstream(name: str) -> None:
    assert sent(("a", "1"), (name, "value"), ("b", "2")) == [("a", "1"), (name, "value"), ("b", "2")]


@pytest.mark.parametrize("name", KEPT_FROM_UPSTREAM)
def test_is_kept_from_the_upstream(name: str) -> None:
    assert sent(("a", "1"), (name, VALUES.get(name, "value")), ("b", "2")) == [("a", "1"), ("b", "2")]


@pytest.mark.parametrize("name", PASSED_TO_CLIENT)
def test_passes_to_the_client(name: str) -> None:
    pairs = [("a", "1"), (name, "value"), (name, "again"), ("b", "2")]
    assert response_fields(response(*pairs)) == pairs


@pytest.mark.parametrize("name", KEPT_FROM_CLIENT)
def test_is_kept_from_the_client(name: str) -> None:
    pairs = [("a", "1"), (name, VALUES.get(name, "value")), ("b", "2")]
    assert response_fields(response(*pairs)) == [("a", "1"), ("b", "2")]


def test_framing_is_left_to_the_writers() -> None:
    assert sent(("content-length", "2"), ("expect", "100-continue")) == []
    assert response_fields(response(("content-length", "2"))) == []


@pytest.mark.parametrize("connection", ["close, x-hop", "X-Hop", "keep-alive ,\tX-HOP,", "x-other, x-hop"])
def test_what_connection_names_does_not_pass(connection: str) -> None:
    pairs = [("connection", connection), ("x-hop", "1"), ("x-end", "2")]
    assert sent(*pairs) == [("x-end", "2")]
    assert response_fields(response(*pairs)) == [("x-end", "2")]


def test_connection_cannot_take_away_what_we_add() -> None:
    pairs = [("connection", "host, authorization, via"), ("authorization", f"Bearer {THEIRS}"), ("via", "1.1 front")]
    fields = request_fields(request(*pairs), HOST, OwnFields(OURS), "i1")
    assert fields == [
        ("host", "api.test"), ("authorization", f"Bearer {OURS}"), ("via", f"1.1 front, 1.1 {VIA_NAME}-i1"),
    ]  # fmt: skip


def test_lines_of_one_name_stay_apart_and_in_order() -> None:
    pairs = [("x-a", "1"), ("x-b", "2"), ("x-a", "3")]
    assert sent(*pairs) == pairs
    assert response_fields(response(*pairs)) == pairs


# ---- keys ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["authorization", "api-key", "x-api-key", "x-goog-api-key", "ocp-apim-subscription-key"]
)
def test_our_key_takes_the_place_of_the_clients(name: str) -> None:
    pairs = [("accept", "*/*"), (name, THEIRS), (name, THEIRS)]
    assert sent(*pairs, api_key=OURS) == [("accept", "*/*"), ("authorization", f"Bearer {OURS}")]
    assert sent(*pairs) == pairs


def test_our_key_goes_where_the_client_sent_none() -> None:
    assert sent(api_key=OURS) == [("authorization", f"Bearer {OURS}")]


# ---- upgrades -----------------------------------------------------------------------------------------------------

OPENING = [("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13"), ("origin", "http://x")]
OPENED = [("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13")]


@pytest.mark.parametrize(
    "protocols, with_our_key",
    [
        ("realtime", "realtime"),
        (f"realtime, openai-insecure-api-key.{THEIRS}, openai-beta.realtime-v1", "realtime, openai-beta.realtime-v1"),
        (f"realtime,OpenAI-Insecure-API-Key.{THEIRS}", "realtime"),
        (f"openai-insecure-api-key.{THEIRS}", None),
        ("realtime,openai-organization.org", "realtime,openai-organization.org"),
    ],
)
def test_a_websocket_opens_with_the_right_key(protocols: str, with_our_key: str | None) -> None:
    field = "sec-websocket-protocol"
    assert sent(*OPENING, (field, protocols)) == [*OPENED, (field, protocols)]
    kept = [] if with_our_key is None else [(field, with_our_key)]
    assert sent(*OPENING, (field, protocols), api_key=OURS) == [("authorization", f"Bearer {OURS}"), *OPENED, *kept]


@pytest.mark.parametrize("protocol", ["h2c", "TLS/1.0", "websocket, h2c"])
def test_no_other_upgrade_goes_on(protocol: str) -> None:
    assert sent(("connection", "upgrade, http2-settings"), ("upgrade", protocol), ("http2-settings", "AAMA")) == []


def test_an_upgrade_without_its_connection_option_does_not_go_on() -> None:
    assert sent(("upgrade", "websocket"), ("sec-websocket-key", "x")) == []


def test_the_answer_to_an_upgrade_keeps_what_opens_it() -> None:
    pairs = [("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-accept", "x"), ("set-cookie", "y")]
    assert sorted(response_fields(response(*pairs, status=101))) == [
        ("connection", "upgrade"), ("sec-websocket-accept", "x"), ("upgrade", "websocket"),
    ]  # fmt: skip
    assert response_fields(response(*pairs, status=426)) == [("sec-websocket-accept", "x")]


# ---- loops --------------------------------------------------------------------------------------------------------


def through(head: RequestHead, instance: str) -> RequestHead:
    fields = request_fields(head, HOST, OwnFields(""), instance)
    return RequestHead(head.method, head.target, 1, Fields(fields))


def test_a_relay_finds_itself_through_others_and_is_not_mistaken_for_them() -> None:
    head = through(through(request(("via", "1.0 front (nginx)")), "aa11"), "bb22")
    assert head.fields.get("via") == f"1.0 front (nginx), 1.1 {VIA_NAME}-aa11, 1.1 {VIA_NAME}-bb22"
    assert is_loop(head, "aa11")
    assert is_loop(head, "bb22")
    assert not is_loop(head, "aa1")
    assert not is_loop(head, "cc33")
    assert not is_loop(request(), "aa11")


def test_hops_on_several_lines_are_found_and_go_on() -> None:
    head = request(("via", f"1.1 {VIA_NAME}-aa11"), ("via", "1.1 middle"))
    assert is_loop(head, "aa11")
    assert through(head, "bb22").fields.get("via") == f"1.1 {VIA_NAME}-aa11, 1.1 middle, 1.1 {VIA_NAME}-bb22"


def test_without_an_instance_any_of_us_is_a_loop() -> None:
    assert is_loop(through(request(), ""))
    assert not is_loop(request(("via", "1.1 front")))


def test_the_hop_names_the_version_that_came() -> None:
    fields = request_fields(request(minor_version=0), HOST, OwnFields(""), "i1")
    assert fields[-1] == ("via", f"1.0 {VIA_NAME}-i1")


@pytest.mark.parametrize("via", ["", ",", "1.1", VIA_NAME, f"1.1 {VIA_NAME}-i12", f"({VIA_NAME}-i1)", "1.1 x (,"])
def test_a_via_that_is_not_ours_is_no_loop(via: str) -> None:
    assert not is_loop(request(("via", via)), "i1")


# ---- no secret crosses --------------------------------------------------------------------------------------------

CLIENT_SECRETS = [
    ("authorization", f"Bearer {THEIRS}"), ("api-key", THEIRS), ("x-api-key", THEIRS), ("cookie", f"session={THEIRS}"),
    ("proxy-authorization", f"Basic {THEIRS}"), ("origin", f"https://{THEIRS}"), ("referer", f"https://x/{THEIRS}"),
    ("x-forwarded-for", THEIRS), ("x-real-ip", THEIRS), ("cf-connecting-ip", THEIRS), ("forwarded", f"for={THEIRS}"),
    ("true-client-ip", THEIRS), ("sec-websocket-protocol", f"realtime,  openai-insecure-api-key.{THEIRS}"),
    ("sec-websocket-protocol", f"Openai-Insecure-Api-Key.{THEIRS} ,a,b"), ("sec-fetch-user", THEIRS),
    ("x-goog-api-key", THEIRS), ("x-hop", THEIRS),
]  # fmt: skip
UPSTREAM_SECRETS = [
    ("set-cookie", f"a={OURS}"), ("authorization", f"Bearer {OURS}"), ("api-key", OURS), ("x-hop", OURS),
    ("access-control-allow-origin", OURS), ("proxy-authenticate", OURS), ("alt-svc", OURS),
]  # fmt: skip
HARMLESS = [("accept", "*/*"), ("x-a", "1"), ("openai-beta", "x"), ("user-agent", "y"), ("content-type", "text/plain")]


@pytest.mark.parametrize("seed", range(100))
def test_no_secret_of_one_side_reaches_the_other(seed: int) -> None:
    rolls = random.Random(seed)

    def mixed(secrets: list[tuple[str, str]], connection: str) -> list[tuple[str, str]]:
        pairs = rolls.choices(secrets, k=rolls.randrange(1, 12)) + rolls.sample(HARMLESS, rolls.randrange(5))
        pairs += [("connection", connection), ("upgrade", "websocket")]
        rolls.shuffle(pairs)
        return pairs

    for connection in ("x-hop", "Upgrade , X-Hop", "keep-alive,x-hop,authorization,cookie"):
        pairs = mixed(CLIENT_SECRETS, connection)
        fields = request_fields(request(*pairs), HOST, OwnFields(OURS), "i1")
        assert THEIRS.encode() not in encode_fields(fields)
        assert fields.count(("authorization", f"Bearer {OURS}")) == 1
        assert [field for field in fields if field in HARMLESS] == [field for field in pairs if field in HARMLESS]
        pairs = mixed(UPSTREAM_SECRETS, connection)
        for status in (101, 200, 401):
            fields = response_fields(response(*pairs, status=status))
            assert OURS.encode() not in encode_fields(fields)
            assert [field for field in fields if field in HARMLESS] == [field for field in pairs if field in HARMLESS]


@pytest.mark.parametrize("own", [
    OwnFields(""), OwnFields(OURS), OwnFields("", "x-api-key"), OwnFields(OURS, "api-key"),
    OwnFields(OURS, "authorization", (("accept-encoding", "identity"), ("x-a", "2"))),
])  # fmt: skip
def test_field_by_field_the_same_passes(own: OwnFields) -> None:
    rolls = random.Random(1)
    kept = [name for name in KEPT_FROM_UPSTREAM if name not in ("connection", "transfer-encoding")]
    names = [*PASSED_TO_UPSTREAM, *kept, "x_api_key", "x_vendor", "x-real_ip", "proxy_x", "x-a"]
    for number in range(300):
        pairs = [(rolls.choice(names), rolls.choice(("a", "Bearer b", "1", str(number)))) for _ in range(12)]
        head = request(*pairs, ("connection", "keep-alive"))
        assert has_usual_connection(head)
        wanted = request_fields(head, HOST, own, "i1")
        closing = closing_fields(head, own, "i1")
        assert wanted[-len(closing) :] == closing
        passing = [own.with_key_in_place(field) for field in head.fields if own.lets_pass(field[0])]
        assert passing == wanted[1 : -len(closing)]


def test_what_connection_names_is_not_usual() -> None:
    for connection, is_usual in (
        ("", True),
        ("close", True),
        ("keep-alive", True),
        ("x-hop", False),
        ("close, x", False),
    ):
        assert has_usual_connection(request(*([("connection", connection)] if connection else []))) == is_usual
