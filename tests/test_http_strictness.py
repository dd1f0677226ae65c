"""RFC 9110 and 9112 to the letter: hosts, targets, chunk extensions, methods, and escapes that need not be there."""

from __future__ import annotations

import ipaddress
import json
import random
import socket

import mocks
import pytest
from native import EMBEDDINGS, Native, translator
from native import answer as native_answer
from programs import running
from relays import JSON, echo_received, house
from skipping import run
from upstreams import Upstream

from protocol.errors import ApiError
from protocol.openai.request_path import plain_path
from protocol.wire.http1.grammar import is_ip_literal
from protocol.wire.http1.messages import NEED_DATA, BadMessage
from protocol.wire.http1.readers import RequestReader


def refusal(data):
    """Return the status with which bytes are refused, 0 where they are read."""
    reader = RequestReader()
    reader.feed(data)
    try:
        while not reader.is_over and reader.next_event() is not NEED_DATA:
            pass
    except BadMessage as exc:
        return exc.status
    return 0


# ---- Host: RFC 3986 §3.2.2

HOSTS = [
    ("a", True), ("", True), ("a:80", True), ("a:", True), ("xn--a", True), ("%41b", True), ("a%2fb", True),
    ("a_b", True), ("[::1]", True), ("[::1]:8080", True), ("[v1.fe]", True), ("[2001:db8::8:800:200c:417a]:1", True),
    ("%", False), ("a%", False), ("a%4", False), ("%zz", False), ("a%4g:80", False), ("%4%41", False), ("a%%41", False),
    ("[]", False), ("[1]", False), ("[:]", False), ("[::1", False), ("[1.2.3.4]", False), ("[v1]", False),
    ("[::1]x", False), ("[::%41]", False), ("a b", False), ("a/b", False), ("u@a", False), ("a?b", False),
    ("a:80:80", False), ("a:x", False),
]  # fmt: skip


@pytest.mark.parametrize(("host", "is_good"), HOSTS, ids=[repr(host) for host, _ in HOSTS])
def test_a_host_is_a_uri_host(host, is_good):
    assert refusal(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()) == (0 if is_good else 400)


@pytest.mark.parametrize(("host", "is_good"), HOSTS, ids=[repr(host) for host, _ in HOSTS])
def test_the_host_of_a_whole_url_is_a_uri_host(host, is_good):
    if host and not set("/?") & set(host):
        assert refusal(f"GET http://{host}/ HTTP/1.1\r\nHost: a\r\n\r\n".encode()) == (0 if is_good else 400)


def test_an_ip_literal_is_what_the_standard_library_takes():
    chance = random.Random(3986)
    good = 0
    for _ in range(20_000):
        groups = [chance.choice(("0", "1", "ab", "ABCD", "12345", "")) for _ in range(chance.randint(1, 9))]
        groups = [group or chance.choice(("", "7")) for group in groups]
        if chance.random() < 0.3:
            groups[-1] = chance.choice(("1.2.3.4", "255.255.255.255", "1.2.3", "256.1.1.1", "01.2.3.4", "1.2.3.4."))
        text = ":".join(groups) or ":"
        try:
            expected = bool(ipaddress.IPv6Address(text) or True)
        except ValueError:
            expected = False
        good += expected
        assert is_ip_literal(text) is expected, text
    assert good > 500


# ---- targets


@pytest.mark.parametrize("target", ["/#", "/a#b", "/a?b#c", "#", "http://a#b", "http://a/b#c", "http://a?b#c", "/a##"])
def test_a_fragment_in_the_target_is_refused(target):
    assert refusal(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode()) == 400


@pytest.mark.parametrize("target", ["/", "/a%23b", "/a?b%23c", "http://a", "http://a/b%23c", "http://a?b"])
def test_a_target_without_a_fragment_is_taken(target):
    assert refusal(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode()) == 0


# ---- chunk extensions: RFC 9112 §7.1.1

EXTENSIONS = [
    ("", True), (";a", True), (";a=b", True), (";a;b=c", True), (" ; a = b", True), (";a ", True), (';a="b c"', True),
    (';a="x;y=\\"z"', True), (";chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648", True),
    (";", False), ("; ", False), (";;a", False), (";a;", False), (";=b", False), ("; =b", False), (";a=", False),
    (';a="b', False), (";a b", False), (';"a"', False), (";a=b=c", False), (";\xe9", False),
    (" a", False),
]  # fmt: skip


@pytest.mark.parametrize(("extension", "is_good"), EXTENSIONS, ids=[repr(text) for text, _ in EXTENSIONS])
def test_a_chunk_extension_has_a_name(extension, is_good):
    data = f"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1{extension}\r\nx\r\n0{extension}\r\n\r\n"
    assert refusal(data.encode("latin-1")) == (0 if is_good else 400)


@pytest.mark.parametrize(
    "extension",
    [";" + " " * 60_000, ";a" + " \t" * 30_000 + "b", (" " * 100 + ";a") * 500 + ";", ';a="' + "\\" * 60_000],
    ids=["spaces", "behind-a-name", "many", "escapes"],
)
def test_a_long_extension_is_judged_in_one_go(extension):
    """Whoever tried a line anew at every white space would need minutes."""
    data = f"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1{extension}\r\nx\r\n0\r\n\r\n"
    assert refusal(data.encode()) == 400


# ---- methods: RFC 9110 §9.1


@pytest.fixture(scope="module")
def mock_port(command):
    with running(command, "mock") as program:
        yield program.port


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/nothing", "/health", "/", "/nothing", "/api/v1/tasks/1"])
@pytest.mark.parametrize("method", ["BREW", "get", "PROPFIND", "QUERY", "X"])
def test_a_method_that_nobody_has_is_not_implemented(mock_port, method, path):
    assert told(mock_port, f"{method} {path} HTTP/1.1\r\nHost: a\r\n")[0] == 501


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("CONNECT a:443", 501), ("PATCH /v1/chat/completions", 405), ("TRACE /v1/chat/completions", 405),
        ("DELETE /health", 405), ("PUT /v1/nothing", 404), ("TRACE /nothing", 404), ("HEAD /health", 200),
    ],
)  # fmt: skip
def test_a_method_that_is_known_is_another_matter(mock_port, request_line, status):
    came, head, _ = told(mock_port, f"{request_line} HTTP/1.1\r\nHost: a:443\r\n")
    assert came == status
    assert (b"\r\nallow: " in head) == (status == 405)


# ---- escapes: RFC 3986 §6.2.2.2


@pytest.mark.parametrize(
    ("path", "plain"),
    [
        ("/%63hat", "/chat"), ("/%63%68%61%74", "/chat"), ("/a%2Db%2E%5F%7e%41%5a%30", "/a-b._~AZ0"), ("/a", "/a"),
        ("/%2f", "/%2f"), ("/%2541", "/%2541"), ("/%3a%40%5B%60%7B%20%7F%80%ff", "/%3a%40%5B%60%7B%20%7F%80%ff"),
        ("/%C3%A9", "/%C3%A9"), ("/%", "/%"), ("/%4", "/%4"),
    ],
)  # fmt: skip
def test_unreserved_characters_need_no_escape(path, plain):
    assert plain_path(path) == plain


@pytest.mark.parametrize(
    "path",
    ["/v1/%63hat/completions", "/%761/chat/completions", "/%63hat/completions", "/v1/chat/%63%6Fmpletions/",
     "/openai/v1/%63hat/completions"],
)  # fmt: skip
def test_a_needless_escape_leads_to_the_same_endpoint(path, mock_port):
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
    assert mocks.ask(mocks.make_mock(), "POST", path, body)["object"] == "chat.completion"
    data = json.dumps(body).encode()
    assert told(mock_port, f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(data)}\r\n", data)[0] == 200


@pytest.mark.parametrize("path", ["/%68ealth", "/v1/%6dodels", "/v1/models/gpt%2D4o", "/%76%31/models"])
def test_a_needless_escape_leads_to_the_same_door(path, mock_port):
    assert told(mock_port, f"GET {path} HTTP/1.1\r\nHost: a\r\n")[0] == 200


def test_an_escaped_slash_leads_elsewhere():
    with pytest.raises(ApiError) as caught:
        mocks.ask(mocks.make_mock(), "POST", "/v1/chat%2Fcompletions", {})
    assert caught.value.status == 404


def test_the_translator_reads_escapes_and_the_relay_passes_them_on():
    async def translate():
        vector = {"output": {"embeddings": [{"text_index": 0, "embedding": [1.0]}]}, "usage": {"total_tokens": 1}}
        async with Native({EMBEDDINGS: native_answer(vector)}) as native, translator(native) as translating:
            answer = await translating.post("/v1/%65mbeddings", {"model": "text-embedding-v4", "input": "hi"})
            assert answer.status == 200

    async def relay():
        async with Upstream(echo_received()) as upstream, house(upstream) as relaying:
            assert (await relaying.ask(target="/v1/%63hat/completions", fields=(JSON,))).status == 200
            assert upstream.received[-1].target == "/v1/%63hat/completions"

    run(translate)
    run(relay)


def told(port, head, body=b""):
    """Return status, head and body of the answer to a request."""
    with socket.create_connection(("127.0.0.1", port), timeout=100) as sock:
        sock.sendall(head.encode() + b"Connection: close\r\n\r\n" + body)
        received = b""
        while part := sock.recv(65536):
            received += part
    answer_head, _, answer_body = received.partition(b"\r\n\r\n")
    return int(answer_head[9:12]), answer_head + b"\r\n", answer_body
