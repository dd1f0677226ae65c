"""Which pages may call: how origins are written down, and whom each lets in."""

from __future__ import annotations

import pytest

from protocol.service.origins import Origins, host_name, is_fixed_host, is_local_page, parse_origins

# (written down, as browsers spell it)
SPELLINGS = [
    ("auto", "auto"),
    ("*", "*"),
    ("null", "null"),
    ("https://app.example", "https://app.example"),
    ("HTTPS://App.Example/", "https://app.example"),
    ("https://app.example:443", "https://app.example"),
    ("http://app.example:0080", "http://app.example"),
    ("http://app.example:443", "http://app.example:443"),
    ("http://localhost:*", "http://localhost:*"),
    ("https://*.app.example", "https://*.app.example"),
    ("https://*:*", "https://*:*"),
    ("http://[0:0:0::1]:3000", "http://[::1]:3000"),
    ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
    ("chrome-extension://*", "chrome-extension://*"),
    ("moz-extension://3b0c-77", "moz-extension://3b0c-77"),
    ("tauri://localhost", "tauri://localhost"),
    ("file://", "file://"),
]


@pytest.mark.parametrize(("written", "spelled"), SPELLINGS, ids=[written for written, _ in SPELLINGS])
def test_an_origin_is_brought_into_the_form_that_browsers_send(written, spelled):
    assert parse_origins(written) == (spelled,)


def test_a_list_is_separated_by_commas_or_spaces_and_may_be_empty():
    assert parse_origins("auto, https://a.example\nhttp://b.example") == (
        "auto",
        "https://a.example",
        "http://b.example",
    )
    assert parse_origins("") == ()


# (written down, what the refusal says of it)
NEVER = [
    ("app.example", "write the scheme, too, e.g. https://app.example"),
    ("localhost:3000", "write the scheme, too"),
    ("https://app.example/chat", "has no path"),
    ("https://user@app.example", "has no path, user"),
    ("https://app.example?x", "has no path, user or query"),
    ("https://", "scheme, a host"),
    ("tauri://", "the host is missing"),
    ("*://app.example", "a scheme"),
    ("https://*app.example", "whole labels in front"),
    ("https://app.*", "whole labels in front"),
    ("http://192.168.1.*", "whole labels in front"),
    ("https://*.*.example", "cannot be one"),
    ("https://app..example", "cannot be one"),
    ("https://app.example.", "cannot be one"),
    ("https://b\xfccher.example", "xn--"),
    ("http://127.1", "address"),
    ("http://0x7f.0.0.1", "address"),
    ("http://[::g]", "a scheme, a host"),
    ("http://[1::2::3]", "address"),
    ("http://::1", "a scheme, a host"),
    ("http://app.example:0", "port"),
    ("http://app.example:65536", "port"),
    ("http://app.example:http", "a scheme, a host"),
]


@pytest.mark.parametrize(("written", "reason"), NEVER, ids=[written for written, _ in NEVER])
def test_what_no_page_can_have_is_refused_at_the_start(written, reason):
    with pytest.raises(ValueError, match="^expected auto, ") as caught:
        parse_origins(f"auto, {written}")
    assert f"{written!r} can never match" in str(caught.value)
    assert reason in str(caught.value)


# (written down, those it lets in, those it does not)
PATTERNS = [
    ("https://app.example", ["https://app.example", "HTTPS://APP.example"],
     ["http://app.example", "https://app.example:444", "https://app.example.evil", "https://x.app.example", ""]),
    ("https://*.app.example", ["https://a.app.example", "https://a.b.app.example"],
     ["https://app.example", "https://evil-app.example", "https://.app.example", "https://a.app.example:444",
      "https://evil.example/.app.example", "https://evil.example:80.app.example", "https://a.app.example\n"]),
    ("http://localhost:*", ["http://localhost", "http://localhost:1", "http://localhost:65535"],
     ["http://localhost:", "http://localhost:80.evil", "https://localhost:3000", "http://localhost.evil:3000"]),
    ("https://*:*", ["https://a", "https://a.example:444"], ["http://a", "https://", "https://[::1]"]),
    ("chrome-extension://*", ["chrome-extension://abcdefgh"], ["moz-extension://abcdefgh", "chrome-extension://"]),
    ("http://[::1]:3000", ["http://[::1]:3000"], ["http://[::1]", "http://[::2]:3000"]),
    ("null", ["null"], ["nulls", "https://null"]),
    ("file://", ["file://"], ["file:///etc"]),
]  # fmt: skip


@pytest.mark.parametrize(("written", "in_", "out"), PATTERNS, ids=[written for written, _, _ in PATTERNS])
def test_an_origin_lets_in_what_it_says_and_nothing_else(written, in_, out):
    origins = Origins(parse_origins(written))
    assert [origin for origin in in_ if not origins.lists(origin)] == []
    assert [origin for origin in out if origins.lists(origin)] == []


@pytest.mark.parametrize("written", ["auto", "*", ""])
def test_words_and_nothing_list_no_origin(written):
    origins = Origins(parse_origins(written))
    assert not any(
        origins.lists(origin) or origins.names(origin) for origin in ("", "auto", "*", "https://app.example")
    )


def test_an_origin_that_is_written_down_names_its_host():
    origins = Origins(parse_origins("auto, https://app.example:444, https://*.b.example, http://[::1]:3000, null"))
    assert not Origins(parse_origins("https://*, http://*:*, chrome-extension://*, tauri://evil.example")).names(
        "evil.example"
    )
    assert [origins.names(host) for host in ("app.example", "x.b.example", "[::1]")] == [True] * 3
    assert [origins.names(host) for host in ("", "b.example", "evil.example", "app.example.evil", "null")] == [
        False
    ] * 5


@pytest.mark.parametrize(
    "origin",
    ["http://localhost", "https://localhost:8443", "http://dev.localhost:3000", "http://127.0.0.1:5173", "http://127.8.9.1",
     "http://[::1]:3000", "http://0.0.0.0:8000", "HTTP://LOCALHOST"],
)  # fmt: skip
def test_a_page_of_this_machine_is_known(origin):
    assert is_local_page(origin)


@pytest.mark.parametrize(
    "origin",
    ["", "null", "http://localhost.evil.example", "http://evillocalhost", "http://127.0.0.1.evil.example", "http://127.1",
     "http://localhost@evil.example", "http://localhost:x", "http://192.168.1.5", "ftp://localhost", "file://",
     "http://localhost, http://localhost", "http://[::1].evil.example", "http://127.evil.0.1"],
)  # fmt: skip
def test_no_other_page_passes_for_one(origin):
    assert not is_local_page(origin)


@pytest.mark.parametrize(
    ("authority", "host"),
    [("LocalHost:8080", "localhost"), ("localhost.", "localhost"), ("[::1]:80", "[::1]"), ("127.0.0.1", "127.0.0.1"),
     (":8080", ""), ("", ""), ("a.example:", "a.example"), ("a:b:1", "")],
)  # fmt: skip
def test_an_authority_has_a_host(authority, host):
    assert host_name(authority) == host


def test_a_host_that_nobody_can_point_elsewhere_is_known():
    fixed = ["localhost", "dev.localhost", "127.0.0.1", "192.168.1.5", "[::1]", "[fe80::1]"]
    assert [host for host in fixed if not is_fixed_host(host)] == []
    free = [
        "",
        "evil.example",
        "localhost.evil.example",
        "1.2.3.4.evil",
        "127.0.0.1x",
        "[evil]",
        "host.docker.internal",
    ]
    assert [host for host in free if is_fixed_host(host)] == []
