"""No path climbs out of the API, and no field chooses another place: pure, and with a real nginx as the upstream."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator

import pytest
from nginx import needs_nginx, running_nginx

import oaiserve
from protocol.errors import ApiError
from protocol.openai.answers import api_path
from protocol.openai.request_path import check_path, meant_path
from protocol.relay import header_rules
from protocol.relay.header_rules import OwnFields, request_fields
from protocol.wire.http1.messages import Fields, RequestHead

OURS = "sk-ours-0123456789"
THEIRS = "sk-theirs-9876543210"

CLIMBING = [
    "/v1/..%2fadmin", "/v1/..%2Fadmin", "/v1/%2e%2e/admin", "/v1/%2E./admin", "/v1/.%2e%2fadmin", "/v1/../admin",
    "/v1/..", "/v1/./x", "/v1/.", "/v1/files/..", "/v1/files/../../admin", "/v1/%2e%2e", "/..%2fadmin", "/files/../x",
    # A backslash, raw and encoded
    "/v1/..\\admin", "/v1/..%5cadmin", "/v1/..%5Cadmin", "/v1\\..\\admin", "/v1/%5c..%5cadmin", "/v1/files%5cx",
    # Path parameters: Java takes away what follows the semicolon
    "/v1/..;/admin", "/v1/..;a=b/admin", "/v1/files/..;/..;/admin", "/v1/files;/../admin", "/v1/;../admin",
    "/v1/..%3b/admin", "/v1/%2e%2e%3b%2fadmin",
    # Encoded again and again
    "/v1/%252e%252e/admin", "/v1/..%252fadmin", "/v1/%25252e%25252e%25252fadmin", "/v1/%252e%252e%255cadmin",
    "/v1/%25%32%65%25%32%65/admin", "/v1/%2525252525252e./admin",
    # Dot segments for some: spaces, more points, ends by ? and #, look-alikes, overlong and wide escapes
    "/v1/..%20/admin", "/v1/.../admin", "/v1/.. ./x".replace(" ", "%20"), "/v1/%20../admin", "/v1/..%3f/x",
    "/v1/..%23/x", "/v1/%ef%bc%8e%ef%bc%8e%ef%bc%8fadmin", "/v1/%e2%80%a5/admin", "/v1/..%e2%88%95admin",
    "/v1/%c0%ae%c0%ae/admin", "/v1/..%c0%afadmin", "/v1/%u002e%u002e/admin", "/v1/%25u002e./admin", "/v1/..%00/admin",
    "/v1/x%00", "/v1/x%0d%0aa", "/v1/%0a..", "/v1/%zz", "/v1/x%", "/v1/x%2",
    # Doubled slashes
    "/v1/%2fadmin", "/v1/files%2f%2fx", "/v1/%252fadmin", "/v1//..%2fadmin", "//v1/%2e%2e", "/v1/models/http:%2f%2fx",
]  # fmt: skip

DOUBLED = ["//v1/files", "/v1//admin", "/v1/files//x", "/v1//", "//elsewhere.test/v1/files", "///v1////files"]

HARMLESS = [
    "/", "/v1/chat/completions", "/v1/files/.hidden..x", "/v1/files/x..y", "/v1/models/org%2Fname", "/v1/files/a.b.c",
    "/v1/models/org/name:tag", "/v1/models/ft:gpt-4o:org::id", "/v1/models/%E6%A8%A1", "/v1/models/100%25",
    "/v1/models/a%2520b", "/v1/models/", "/v1/x;y=z", "/chat/completions", "/v1/files/x.", "/v1/vector_stores/vs_1",
    "/v1/models/@cf/meta/llama", "/v1/models/a%20b", "/v1/v1beta/x", "/health",
]  # fmt: skip


@pytest.mark.parametrize("path", CLIMBING)
def test_refuses_a_path_that_climbs(path: str) -> None:
    with pytest.raises(ApiError) as caught:
        check_path(path)
    assert caught.value.status == 400
    assert repr(path[:100]) in caught.value.message and "\n" not in caught.value.message


@pytest.mark.parametrize("path", DOUBLED)
def test_says_what_is_meant_by_a_path_with_doubled_slashes(path: str) -> None:
    with pytest.raises(ApiError, match="two slashes in a row: '/.*' is meant") as caught:
        check_path(path)
    assert (caught.value.status, caught.value.code) == (404, "unknown_url")
    assert caught.value.message.endswith(f"{re.sub('/+', '/', path)!r} is meant.")


@pytest.mark.parametrize("path", HARMLESS)
def test_lets_other_paths_pass(path: str) -> None:
    check_path(path)


def test_refuses_a_path_that_is_encoded_without_end_in_few_steps() -> None:
    with pytest.raises(ApiError, match="4 times over"):
        check_path("/v1/%" + "25" * 30_000 + "41")
    check_path("/v1/%25252541")  # three times over


@pytest.mark.parametrize("path", ["/v1/v1", "/v1/v1/", "/v1/v1/chat/completions"])
def test_says_that_v1_stands_there_twice(path: str) -> None:
    with pytest.raises(ApiError, match="/v1 twice") as caught:
        check_path(path)
    assert caught.value.status == 404


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/chat/completions", "/chat/completions"),
        ("/Chat/Completions", "/chat/completions"),
        ("/ch%61t/completions", "/chat/completions"),
        ("/chat%2Fcompletions", "/chat/completions"),
        ("/ch%2561t/completions", "/chat/completions"),
        ("/chat/completions;x=y", "/chat/completions"),
        ("/chat/completions%3fx", "/chat/completions"),
        ("/chat/completions%20", "/chat/completions"),
    ],
)
def test_knows_what_a_lenient_server_makes_of_a_path(path: str, meant: str) -> None:
    assert meant_path(path) == meant


def test_a_slash_at_the_end_means_nothing() -> None:
    assert api_path("/v1/models/") == api_path("/models/") == api_path("/v1/models") == "/models"
    assert api_path("/v1/") is None


# ---- fields -------------------------------------------------------------------------------------------------------


def sent(*names: str, api_key: str = "") -> list[str]:
    """Return the names that go to the upstream, of a request with these."""
    head = RequestHead("POST", "/v1/files", 1, Fields([("host", "h"), *((name, THEIRS) for name in names)]))
    return [name for name, _ in request_fields(head, [("host", "api.test")], OwnFields(api_key))[1:-1]]


STEERING = [
    "x-original-url", "x-original-uri", "x-original-host", "x-rewrite-url", "x-http-method-override", "x-http-method",
    "x-method-override", "x-host", "x-http-host-override", "x-envoy-original-path", "x-middleware-subrequest",
    "x-remote-user", "x-ssl-client-verify", "x-amzn-oidc-identity",
]  # fmt: skip
UNDERSCORED = [
    "x_original_url", "x-original_url", "x_forwarded_for", "x_real_ip", "content_type", "content_length",
    "transfer_encoding", "proxy_authorization", "x_http_method_override", "cf_connecting_ip", "user_agent",
    "openai_organization",
]  # fmt: skip
KEYS_OF_OTHERS = [
    "api-key", "x-api-key", "x-goog-api-key", "ocp-apim-subscription-key", "apikey", "x-auth-token", "x-access-token",
    "anthropic-api-key", "xi-api-key", "x-functions-key", "x-litellm-api-key", "api_key", "x_api_key", "x-api_key",
    "helicone-target-url", "x-portkey-custom-host", "helicone_target_url",
]  # fmt: skip


@pytest.mark.parametrize("name", [*STEERING, *UNDERSCORED])
def test_what_steers_a_server_does_not_pass(name: str) -> None:
    assert sent("x-a", name, "x-b") == ["x-a", "x-b"]


@pytest.mark.parametrize("name", KEYS_OF_OTHERS)
def test_no_key_and_no_destination_of_the_callers_stands_beside_our_key(name: str) -> None:
    assert sent("x-a", name, api_key=OURS) == ["x-a", "authorization"]
    assert sent("x-a", name) == ["x-a", name]


@pytest.mark.parametrize("name", ["session_id", "conversation_id", "x_vendor_option", "x-my_field"])
def test_other_names_with_underscores_pass(name: str) -> None:
    assert sent(name, api_key=OURS) == [name, "authorization"]


def test_no_name_that_is_spared_a_closer_look_is_barred() -> None:
    for name in header_rules._USUAL_NAMES:
        assert name not in header_rules._BARRED_REQUEST_NAMES
        assert not name.startswith(header_rules._BARRED_REQUEST_PREFIXES)
        assert "_" not in name


# ---- with nginx ---------------------------------------------------------------------------------------------------

# The first server decodes once; the second, behind a front that sends on what it has decoded, decodes twice.
_SERVERS = """
    map $http_authorization $whose_key { "Bearer OURS" ours; default $http_authorization; }
    server {
        listen 127.0.0.1:{port0};
        location /v1/ { return 200 "api $http_x_original_url$http_x_api_key $whose_key"; }
        location / { return 200 "outside $whose_key"; }
    }
    server {
        listen 127.0.0.1:{port1};
        location / { proxy_pass http://127.0.0.1:{port0}$uri; }
    }
"""


@pytest.fixture(scope="module")
def nginx_ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[int]]:
    with running_nginx(tmp_path_factory.mktemp("nginx"), _SERVERS.replace("OURS", OURS), 2) as ports:
        yield ports


def ask(port: int, path: str, **fields: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.putrequest("GET", path, skip_host=False, skip_accept_encoding=True)
        for name, value in fields.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@needs_nginx
@pytest.mark.parametrize("hop", [0, 1], ids=["decodes once", "decodes twice"])
def test_no_path_reaches_another_location_of_nginx(nginx_ports: list[int], hop: int) -> None:
    port = nginx_ports[hop]
    would_climb = 0
    with oaiserve.start(
        "relay", set={"relay.base_url": f"http://127.0.0.1:{port}/v1", "relay.api_key": OURS}, environ={}
    ) as server:
        assert ask(server.port, "/v1/files") == (200, "api  ours")
        for path in [*CLIMBING, *DOUBLED]:
            # Sent directly, many of these do reach it: they are not refused in vain.
            if "%0" not in path:  # the front would send on a line end
                would_climb += "outside" in ask(port, path)[1]
            status, body = ask(server.port, path)
            expected = 404 if path in DOUBLED else 400
            assert (status, "ours" in body, "outside" in body) == (expected, False, False), path
            assert json.loads(body)["error"]["type"] == "invalid_request_error"
        assert would_climb >= (12, 17)[hop]
        for path in HARMLESS:
            if (
                path.startswith("/v1/") and "/models" not in path and hop == 0
            ):  # the front sends on a decoded space, which is no HTTP
                assert ask(server.port, path) == (200, "api  ours"), path


@needs_nginx
def test_no_field_that_steers_reaches_nginx(nginx_ports: list[int]) -> None:
    with oaiserve.start(
        "relay", set={"relay.base_url": f"http://127.0.0.1:{nginx_ports[0]}/v1", "relay.api_key": OURS}, environ={}
    ) as server:
        for name in ("X-Original-URL", "X_Original_URL", "X-API-Key", "X_Api_Key"):
            assert ask(nginx_ports[0], "/v1/files", **{name: THEIRS}) == (200, f"api {THEIRS} ")
            assert ask(server.port, "/v1/files", **{name: THEIRS}) == (200, "api  ours")
