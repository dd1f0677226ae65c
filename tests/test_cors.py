"""Cross-origin requests: what a browser finds in an answer, and in the answer to its preflight."""

from __future__ import annotations

import pytest

from protocol.exchange import Request
from protocol.service.cors import CorsPolicy
from protocol.service.origins import Origins, parse_origins
from protocol.wire.http1.readers import RequestReader
from protocol.wire.http1.writers import encode_fields

PAGE = "https://page.example"
OTHER = "https://other.example"


def policy(*origins, **facts):
    """Return what [server] cors_origins says with these origins."""
    return CorsPolicy(Origins(parse_origins(", ".join(origins))), **facts)


def fields_of(block):
    """Return a block of field lines as a dictionary; no field may come twice."""
    lines = block.decode("latin-1").split("\r\n")
    assert lines.pop() == ""
    pairs = [tuple(line.split(": ", 1)) for line in lines]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def preflight(rules, **fields):
    """Return (status, fields) of the whole answer to an OPTIONS request: the common block and the preflight's own."""
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items()]
    reader = RequestReader()
    reader.feed(f"OPTIONS /v1/models HTTP/1.1\r\nhost: x\r\n{''.join(lines)}\r\n".encode("latin-1"))
    request = Request(reader.next_event(), "req_1", "127.0.0.1")
    response = rules.preflight(request)
    assert response.body == b""
    own = response.fields if isinstance(response.fields, bytes) else encode_fields(response.fields)
    pairs = {}
    for block in (rules.block(request.fields.get("origin")), own):
        for name, value in fields_of(block).items():
            # Vary may be said in two lines (RFC 9110 §5.3); nothing else may.
            assert name == "vary" or name not in pairs
            pairs[name] = f"{pairs[name]}, {value}" if name in pairs else value
    return response.status, pairs


ASKS = {"access_control_request_method": "POST", "access_control_request_headers": "authorization,x-stainless-os"}


# ---- answers


@pytest.mark.parametrize("origin", ["", PAGE, "null"])
def test_every_page_may_read_when_origins_are_a_star(origin):
    fields = fields_of(policy("*").block(origin))
    assert fields["access-control-allow-origin"] == "*"
    assert "vary" not in fields


def test_a_star_among_others_is_a_star():
    assert fields_of(policy(PAGE, "*").block(OTHER))["access-control-allow-origin"] == "*"


def test_a_listed_origin_may_read_and_caches_are_told():
    fields = fields_of(policy(OTHER, PAGE).block(PAGE))
    assert fields["access-control-allow-origin"] == PAGE
    assert fields["vary"] == "Origin"


@pytest.mark.parametrize(
    "origin",
    ["", "null", "https://page.example.evil", "https://page.example:444", "http://page.example", "https://page"],
)
def test_any_other_origin_may_not_and_caches_are_told(origin):
    assert fields_of(policy(OTHER, PAGE).block(origin)) == {"vary": "Origin"}


def test_a_slash_at_the_end_of_a_listed_origin_does_no_harm():
    assert fields_of(policy(PAGE + "/").block(PAGE))["access-control-allow-origin"] == PAGE


@pytest.mark.parametrize("origin", ["", PAGE])
def test_no_origins_send_no_fields(origin):
    assert policy().block(origin) == b""


@pytest.mark.parametrize("origins", [("*",), (PAGE,)])
def test_a_page_may_read_what_clients_want_to_see(origins):
    exposed = fields_of(policy(*origins).block(PAGE))["access-control-expose-headers"].split(", ")
    limits = {f"x-ratelimit-{what}-{of}" for what in ("limit", "remaining", "reset") for of in ("requests", "tokens")}
    assert {"x-request-id", "retry-after", *limits} <= set(exposed)
    # "*" would hide nothing less, but not for requests with credentials, and not in older browsers.
    assert "*" not in exposed


@pytest.mark.parametrize("origins", [("*",), (PAGE,)])
def test_no_page_is_let_use_cookies(origins):
    assert b"credentials" not in policy(*origins).block(PAGE)


LOCAL = "http://localhost:3000"


@pytest.mark.parametrize("origin", ["", PAGE, LOCAL, "null"])
def test_auto_is_everyone_where_some_backend_holds_no_key(origin):
    assert fields_of(policy("auto").block(origin))["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(("origin", "may"), [("", False), (PAGE, False), ("null", False), (LOCAL, True), (OTHER, True)])
def test_auto_is_this_machine_and_what_is_listed_where_every_backend_holds_a_key(origin, may):
    fields = fields_of(policy("auto", OTHER, spends_always=True).block(origin))
    assert fields.get("access-control-allow-origin") == (origin if may else None)
    assert fields["vary"] == "Origin"


@pytest.mark.parametrize("origins", [("*",), (PAGE,)])
def test_what_is_written_down_does_not_depend_on_keys(origins):
    for origin in (PAGE, OTHER, LOCAL, ""):
        assert policy(*origins, spends_always=True).block(origin) == policy(*origins).block(origin)


# ---- preflights


@pytest.mark.parametrize(
    ("asked", "granted"), [({"access_control_request_private_network": "true"}, "true"), ({}, None)]
)
def test_a_page_of_the_internet_may_call_this_machine_when_it_asks_and_may_call_at_all(asked, granted):
    name = "access-control-allow-private-network"
    assert preflight(policy("auto"), origin=PAGE, **ASKS, **asked)[1].get(name) == granted
    assert name not in preflight(policy("auto", spends_always=True), origin=PAGE, **ASKS, **asked)[1]


@pytest.mark.parametrize(("origins", "vary"), [(("*",), []), ((PAGE, OTHER), ["Origin"])], ids=["star", "list"])
def test_a_preflight_grants_the_method_and_the_fields_that_were_asked_for(origins, vary):
    status, fields = preflight(policy(*origins), origin=PAGE, **ASKS)
    assert status == 204
    assert fields["access-control-allow-origin"] == (PAGE if vary else "*")
    assert fields["access-control-allow-methods"] == "POST"
    assert fields["access-control-allow-headers"] == "authorization,x-stainless-os"
    assert int(fields["access-control-max-age"]) > 0
    assert set(vary) <= set(fields["vary"].split(", "))
    assert {"Access-Control-Request-Method", "Access-Control-Request-Headers"} <= set(fields["vary"].split(", "))


def test_a_preflight_that_asks_for_no_fields_is_told_the_usual_ones():
    _, fields = preflight(policy("*"), origin=PAGE, access_control_request_method="POST")
    assert fields["access-control-allow-headers"] == "authorization, content-type"


@pytest.mark.parametrize("origins", [(OTHER,), ()], ids=["another origin", "none"])
def test_a_preflight_of_a_page_that_may_not_grants_nothing(origins):
    status, fields = preflight(policy(*origins), origin=PAGE, **ASKS)
    assert status == 204
    assert not any(name.startswith("access-control-allow") for name in fields)


def test_options_without_a_preflight_tell_the_methods():
    status, fields = preflight(policy("*"))
    assert status == 204
    assert {"GET", "POST", "DELETE", "OPTIONS"} <= set(fields["allow"].split(", "))
    assert "access-control-allow-methods" not in fields


def test_what_was_asked_for_cannot_break_out_of_its_line():
    status, fields = preflight(
        policy("*"),
        origin=PAGE,
        access_control_request_method="PO\tST",
        access_control_request_headers="\xe9, x",
    )
    assert status == 204
    assert fields["access-control-allow-headers"] == "\xe9, x"
