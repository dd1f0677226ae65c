"""Pages of strangers: what the program does for them where a key is held, and that nothing of it reaches the upstream."""

from __future__ import annotations

import base64
import contextlib
import json
import os

import pytest
from programs import ANY_CHAT, ask, exchange, running

import oaiserve
from protocol.errors import ApiError
from protocol.exchange import Request
from protocol.service.key_guard import KeyGuard, who_may_call
from protocol.service.origins import Origins, parse_origins
from protocol.wire.http1.readers import RequestReader

KEY = "sk-owner-0123456789"
FOREIGN = "https://evil.example"
LISTED = "https://app.example"
LOCAL = "http://localhost:5173"
JSON = "application/json"


@pytest.fixture(scope="module")
def upstream():
    with oaiserve.start(backend="mock", set={"mock.unknown_ids": "invent"}) as server:
        yield server


def relaying(upstream, *options, key=KEY, command="relay"):
    return [command, "--set", f"relay.base_url={upstream.url}", "--set", f"relay.api_key={key}", *options]


@pytest.fixture(scope="module")
def with_key(command, upstream):
    """A relay that holds a key, with a mock beside it, as the configuration comes."""
    with running(command, *relaying(upstream, "--set", "routes.mock-*=mock")) as program:
        yield program


@pytest.fixture(scope="module")
def with_list(command, upstream):
    origins = f"{LISTED}, https://*.pages.example, chrome-extension://*"
    with running(command, *relaying(upstream, "--set", f"server.cors_origins={origins}")) as program:
        yield program


def form(boundary="b"):
    parts = [("purpose", "batch"), ('file"; filename="a.jsonl', "{}")]
    lines = [f'--{boundary}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{text}\r\n' for name, text in parts]
    return "".join([*lines, f"--{boundary}--\r\n"])


# What a page can have its browser send; the first four without asking beforehand.
REQUESTS = {
    "chat as text": ("POST", "/v1/chat/completions", json.dumps(ANY_CHAT), {"content_type": "text/plain"}),
    "chat at the door": ("POST", "/", json.dumps(ANY_CHAT), {"content_type": "text/plain"}),
    "a form": ("POST", "/v1/files", form(), {"content_type": "multipart/form-data; boundary=b"}),
    "urlencoded": ("POST", "/v1/embeddings", "model=a&input=b", {"content_type": "application/x-www-form-urlencoded"}),
    "a file": ("GET", "/v1/files/file-a/content", None, {}),
    "chat as JSON": ("POST", "/v1/chat/completions", json.dumps(ANY_CHAT), {"content_type": JSON}),
    "a deletion": ("DELETE", "/v1/files/file-a", None, {}),
    "without /v1": ("POST", "/responses", '{"model": "a", "input": "b"}', {"content_type": JSON}),
    "a head": ("HEAD", "/v1/files", None, {}),
}


def sent(program, upstream, asked, **fields):
    """Send a request; return (status, its answer, whether it reached the upstream)."""
    method, path, body, own = asked
    upstream.requests.clear()
    status, answered, answer = ask(program.port, method, path, body, **own, **fields)
    assert KEY.encode() not in answer
    return status, answered, answer, bool(upstream.requests)


STRANGERS = {
    "foreign": {"origin": FOREIGN},
    "without an origin": {"origin": "null"},
    "looks local": {"origin": "http://localhost.evil.example"},
    "looks local by its user": {"origin": "http://localhost@evil.example"},
    "two origins": {"origin": f"{LOCAL}, {FOREIGN}"},
    "listed, but not here": {"origin": LISTED},
    "our host and port by another scheme": {"origin": "ftp://127.0.0.1"},
    "another site, no origin": {"sec_fetch_site": "cross-site"},
    "rebound": {"host": "evil.example:8080"},
    "rebound, of our own origin": {"host": "evil.example:8080", "origin": "http://evil.example:8080"},
    "rebound, for a browser of our own": {"host": "evil.example", "sec_fetch_site": "same-origin"},
    "rebound to a name that begins as ours": {"host": "127.0.0.1.evil.example"},
    "no name": {"host": ":8080"},
}


def each_with_one(callers, *always):
    """Return (request, caller) for each request with the callers in `always`, and for each caller with one request."""
    pairs = [(asked, who) for asked in REQUESTS for who in always]
    pairs += [("chat as text", who) for who in callers if who not in always]
    ids = [f"{asked}, {who}" for asked, who in pairs]
    return pytest.mark.parametrize(("asked", "caller"), [(REQUESTS[a], callers[b]) for a, b in pairs], ids=ids)


@each_with_one(STRANGERS, "foreign", "rebound", "another site, no origin")
def test_a_strangers_page_is_refused_before_anything_is_sent(with_key, upstream, asked, caller):
    status, _, answer, was_sent = sent(with_key, upstream, asked, **caller)
    assert (status, was_sent) == (403, False)
    if asked[0] == "HEAD":
        return
    error = json.loads(answer)
    if asked[1] == "/":
        assert error["error"] == "Forbidden"
        message = error["message"]
    else:
        assert error["error"]["type"] == "permission_error"
        assert error["error"]["code"] == ("host_not_allowed" if caller.get("host") and "origin" not in caller
                                          else "origin_not_allowed")  # fmt: skip
        message = error["error"]["message"]
    assert "'relay', which holds a key" in message
    assert "[server] cors_origins = auto, " in message


FRIENDS = {
    "no page": {},
    "a page of this machine": {"origin": LOCAL},
    "by an address": {"origin": "http://127.0.0.1:3000", "sec_fetch_site": "cross-site"},
    "below localhost": {"origin": "https://dev.localhost"},
    "the same site": {"sec_fetch_site": "same-site"},
    "typed in": {"sec_fetch_site": "none"},
    "by the name localhost": {"host": "localhost:8080"},
    "by another address": {"host": "192.168.1.5:8080"},
}


@each_with_one(FRIENDS, "a page of this machine")
def test_who_is_no_stranger_reaches_the_upstream(with_key, upstream, asked, caller):
    status, _, _, was_sent = sent(with_key, upstream, asked, **caller)
    assert (status != 403, was_sent) == (True, True)


def test_our_own_page_may_call(with_key, upstream):
    status, _, _, was_sent = sent(with_key, upstream, REQUESTS["chat at the door"], origin=with_key.url)
    assert (status, was_sent) == (200, True)


def handshake(port, **fields):
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    nonce = base64.b64encode(os.urandom(16)).decode()
    return exchange(port, "\r\n".join([
        "GET /v1/realtime?model=gpt-realtime HTTP/1.1", *lines, "connection: upgrade", "upgrade: websocket",
        "sec-websocket-version: 13", f"sec-websocket-key: {nonce}", "", "",
    ]).encode())  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"host": "127.0.0.1", "origin": FOREIGN}, 403),
        ({"host": "evil.example", "origin": "http://evil.example"}, 403),
        ({"host": "127.0.0.1", "origin": LOCAL}, 101),
        ({"host": "127.0.0.1"}, 101),
    ],
)
def test_a_websocket_is_refused_by_the_same_rule(with_key, upstream, fields, status):
    upstream.requests.clear()
    answer = handshake(with_key.port, **fields).rpartition(b"100 Continue\r\n\r\n")[2]  # we have ended our side
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert bool(upstream.requests) == (status == 101)


# ---- beside a key


@pytest.mark.parametrize("stranger", STRANGERS.values(), ids=STRANGERS)
def test_the_mock_stays_open_beside_a_key(with_key, upstream, stranger):
    chat = ("POST", "/v1/chat/completions", json.dumps({**ANY_CHAT, "model": "mock-1"}), {"content_type": JSON})
    status, fields, _, was_sent = sent(with_key, upstream, chat, **stranger)
    assert (status, was_sent) == (200, False)
    assert fields["access-control-allow-origin"] == "*"


def test_models_of_a_backend_with_a_key_are_not_listed_for_a_stranger(with_key, upstream):
    upstream.requests.clear()
    status, _, answer = ask(with_key.port, "GET", "/v1/models", origin=FOREIGN)
    assert status == 200 and json.loads(answer)["data"] == []  # no route leads to one of the mock's
    assert not upstream.requests
    assert ask(with_key.port, "GET", "/v1/models", origin=LOCAL)[0] == 200 and upstream.requests


def test_a_batch_does_not_spend_for_a_page_what_the_page_may_not_spend(command, upstream):
    line = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {**ANY_CHAT, "model": "paid"}}
    text = json.dumps(line)
    body = (
        '--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--b\r\ncontent-disposition: form-data; '
        f'name="file"; filename="a.jsonl"\r\n\r\n{text}\r\n--b--\r\n'
    )
    options = relaying(upstream, "--set", "routes.paid=relay", "--set", "mock.speed=100", command="mock")
    with running(command, *options) as program:
        for origin, went_well in ((FOREIGN, False), (LOCAL, True)):
            upstream.requests.clear()
            kind = "multipart/form-data; boundary=b"
            _, _, answer = ask(program.port, "POST", "/v1/files", body, content_type=kind, origin=origin)
            batch = {"input_file_id": json.loads(answer)["id"], "endpoint": "/v1/chat/completions",
                     "completion_window": "24h"}  # fmt: skip
            _, _, answer = ask(program.port, "POST", "/v1/batches", batch, content_type=JSON, origin=origin)
            id = json.loads(answer)["id"]
            while (batch := json.loads(ask(program.port, "GET", f"/v1/batches/{id}")[2]))["status"] != "completed":
                pass
            assert batch["request_counts"] == {"total": 1, "completed": int(went_well), "failed": int(not went_well)}
            assert bool(upstream.requests) is went_well


# ---- what is written down


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (LISTED, 200),
        ("https://a.pages.example", 200),
        ("chrome-extension://abcdefgh", 200),
        ("https://pages.example", 403),
        ("http://app.example", 403),
        (LOCAL, 403),
        (FOREIGN, 403),
        ("null", 403),
    ],
)
def test_a_list_means_what_it_says(with_list, upstream, origin, status):
    chat = REQUESTS["chat as text"]
    came, fields, _, was_sent = sent(with_list, upstream, chat, origin=origin)
    assert (came, was_sent) == (status, status == 200)
    assert fields.get("access-control-allow-origin") == (origin if status == 200 else None)
    _, fields, _ = ask(with_list.port, "OPTIONS", "/v1/chat/completions", origin=origin,
                       access_control_request_method="POST", access_control_request_private_network="true")  # fmt: skip
    assert fields.get("access-control-allow-private-network") == ("true" if status == 200 else None)


def test_the_host_of_a_listed_origin_is_a_name_of_ours(with_list, upstream):
    chat = REQUESTS["chat as JSON"]
    assert sent(with_list, upstream, chat, host="app.example")[0] == 200
    assert sent(with_list, upstream, chat, host="a.pages.example:8443")[0] == 200
    assert sent(with_list, upstream, chat, host="evil.example")[0] == 403


@pytest.mark.parametrize("origin", [FOREIGN, "null", LOCAL])
def test_a_star_that_is_written_down_lets_every_page_spend_the_key(command, upstream, origin):
    with running(command, *relaying(upstream, "--set", "server.cors_origins=*")) as program:
        for more in ({}, {"host": "evil.example", "sec_fetch_site": "cross-site"}):
            status, fields, _, was_sent = sent(program, upstream, REQUESTS["chat as text"], origin=origin, **more)
            assert (status, was_sent, fields["access-control-allow-origin"]) == (200, True, "*")
        assert "any web page may call, and spend the key of relay; --set server.cors_origins=auto" in program.banner


@each_with_one(STRANGERS, "foreign")
def test_a_relay_without_a_key_is_for_every_page(no_key, upstream, asked, caller):
    status, fields, _, was_sent = sent(no_key, upstream, asked, authorization="Bearer caller", **caller)
    assert (status != 403, was_sent) == (True, True)
    assert fields["access-control-allow-origin"] == "*"


@pytest.fixture(scope="module")
def no_key(command, upstream):
    with running(command, *relaying(upstream, key="")) as program:
        assert "  pages:    any web page may call; " in program.banner
        yield program


def test_dashscope_with_a_key_is_guarded_and_the_public_gateway_is_not(command, upstream):
    for key, status in ((KEY, 403), ("", 200)):
        options = ["dashscope", "--set", f"dashscope.base_url={upstream.url}", "--set", f"dashscope.api_key={key}"]
        with running(command, *options) as program:
            chat = REQUESTS["chat as JSON"]
            came, _, _, was_sent = sent(
                program, upstream, chat, origin=FOREIGN, authorization="Bearer sk-caller-0123456789"
            )
            assert (came, was_sent) == (status, status == 200)


def test_a_listener_for_the_network_takes_any_name_from_who_is_no_page(command, upstream):
    with running(command, *relaying(upstream, "--host", "0.0.0.0")) as program:
        chat = REQUESTS["chat as JSON"]
        assert sent(program, upstream, chat, host="box.lan:8080")[::3] == (200, True)
        # A name is no proof of being our own page, an address is.
        assert sent(program, upstream, chat, host="box.lan:8080", origin="http://box.lan:8080")[::3] == (403, False)
        assert sent(program, upstream, chat, host="10.0.0.1:8080", origin="http://10.0.0.1:8080")[::3] == (200, True)
        assert sent(program, upstream, chat, origin=FOREIGN)[::3] == (403, False)


@pytest.mark.parametrize(
    ("host", "refused"), [("dev.example:80", False), ("DEV.example", False), ("evil.example", True)]
)
def test_the_name_that_is_listened_on_is_a_name_of_ours(host, refused):
    guard = KeyGuard(Origins(("auto",)), scheme="http", host="Dev.Example", is_local=False)
    reader = RequestReader()
    reader.feed(f"GET /v1/models HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
    request = Request(reader.next_event(), "req_1", "127.0.0.1")
    with pytest.raises(ApiError, match="to which somebody may have led them") if refused else contextlib.nullcontext():
        guard.refuse_strangers(request, "relay")


# ---- what is told at the start


@pytest.mark.parametrize(
    ("origins", "holders", "line"),
    [
        ("auto", "", "any web page may call; --set server.cors_origins=https://app.example: that one"),
        ("*", "relay, b", "any web page may call, and spend the key of relay, b; --set server.cors_origins=auto lets"
                          " those of this machine alone in"),
        ("auto", "relay", 'those of this machine alone may call relay, which has a key;'
                          ' --set "server.cors_origins=auto, https://app.example" adds another'),
        ("auto, http://a", "relay", 'those of this machine, http://a alone may call relay, which has a key;'
                                    ' --set "server.cors_origins=auto, http://a, https://app.example" adds another'),
        ("http://a", "", 'those of http://a alone may read answers;'
                         ' --set "server.cors_origins=http://a, https://app.example" adds another'),
        ("", "relay", 'none may call relay, which has a key;'
                      ' --set "server.cors_origins=https://app.example" adds another'),
    ],
)  # fmt: skip
def test_the_banner_says_which_pages_may_call_and_how_to_change_it(origins, holders, line):
    assert who_may_call(Origins(parse_origins(origins)), [holders] if holders else []) == line


def test_the_banner_has_the_line(with_key):
    lines = [line for line in with_key.banner.splitlines() if line.startswith("  pages:    ")]
    assert len(lines) == 1 and "those of this machine alone may call relay" in lines[0]
