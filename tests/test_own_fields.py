"""What a relay's owner sends along: the key's field, further fields, a client certificate; and whose fields stay behind."""

from __future__ import annotations

import asyncio
import pathlib
import ssl
import subprocess

import pytest
from certificates import Authority
from relays import JSON, KEY, echo_received, house, settings_of
from skipping import run
from upstreams import Upstream, closed_port

from protocol.config import describe
from protocol.errors import UsageError


async def arrived_fields(upstream: Upstream, *fields: tuple[str, str], **options: str) -> list[tuple[str, str]]:
    """Send one chat with these fields through a relay; return those that arrive."""
    async with house(upstream, **options) as relayed:
        answer = await relayed.ask(fields=[JSON, *fields])
        assert answer.status == 200
    return upstream.received[-1].fields


KEYS = [
    # the relay's options, what the client sends, what must arrive
    ({"api_key": KEY}, [("authorization", "Bearer sk-theirs")], [("authorization", f"Bearer {KEY}")]),
    ({"api_key": KEY, "key_field": "api-key"}, [("authorization", "Bearer sk-theirs")], [("api-key", KEY)]),
    ({"api_key": KEY, "key_field": "X-API-Key"}, [("x-api-key", "sk-theirs")], [("x-api-key", KEY)]),
    ({"api_key": KEY, "key_field": "x-vendor-token"}, [("x-vendor-token", "sk-theirs")], [("x-vendor-token", KEY)]),
    ({"key_field": "api-key"}, [("authorization", "Bearer sk-theirs")], [("api-key", "sk-theirs")]),
    ({"key_field": "api-key"}, [("api-key", "sk-theirs")], [("api-key", "sk-theirs")]),
    ({"key_field": "api-key"}, [("authorization", "Basic YTpi")], [("authorization", "Basic YTpi")]),
    ({}, [("api-key", "sk-theirs")], [("api-key", "sk-theirs")]),
]


@pytest.mark.parametrize(("options", "sent", "arrives"), KEYS)
def test_the_key_goes_into_its_field(
    options: dict[str, str], sent: list[tuple[str, str]], arrives: list[tuple[str, str]]
) -> None:
    async def main() -> None:
        async with Upstream(echo_received()) as upstream:
            fields = await arrived_fields(upstream, *sent, **options)
            names = {"authorization", "api-key", "x-api-key", "x-vendor-token"}
            assert [field for field in fields if field[0] in names] == arrives

    run(main)


def test_further_fields_go_along_in_place_of_the_clients() -> None:
    async def main() -> None:
        async with Upstream(echo_received()) as upstream:
            fields = await arrived_fields(
                upstream,
                ("openai-organization", "theirs"),
                ("x-theirs", "1"),
                headers="OpenAI-Organization: org-ours\nX-Gateway-Token:  secret value ",
            )
            assert [value for name, value in fields if name == "openai-organization"] == ["org-ours"]
            assert ("x-gateway-token", "secret value") in fields
            assert ("x-theirs", "1") in fields

    run(main)


def test_check_hides_further_fields() -> None:
    shown = describe(settings_of({"relay": {"headers": "X-Gateway-Token: secret-value"}}))
    assert "secret-value" not in shown
    assert "headers = ****" in shown


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"headers": "X-A secret-value"}, "expected one 'Name: value' a line"),
        ({"headers": "X-A: secret-value\u00e9"}, "printable ASCII"),
        ({"headers": "X A: secret-value"}, "expected one 'Name: value' a line"),
        ({"headers": "X-A: 1\nx-a: secret-value"}, "x-a stands twice"),
        ({"headers": "Content-Length: 1"}, "expected another field than content-length"),
        ({"headers": "Host: secret-value"}, "expected another field than host"),
        ({"headers": "Sec-WebSocket-Key: secret-value"}, "expected another field than sec-websocket-key"),
        ({"key_field": "my key"}, "expected the name of a header field"),
        ({"key_field": "Transfer-Encoding"}, "expected another field than transfer-encoding"),
    ],
)
def test_a_mistake_is_one_line_without_the_secret(options: dict[str, str], why: str) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        settings_of({"relay": options})
    assert "secret-value" not in str(caught.value)


def test_a_field_has_one_value() -> None:
    async def main() -> None:
        with pytest.raises(UsageError, match="api-key.*both in headers and as key_field"):
            async with house("http://up.test", api_key=KEY, key_field="api-key", headers="Api-Key: x"):
                pass

    run(main)


# ---- Cloudflare's -----------------------------------------------------------------------------------------------

FROM_A_PROXY = ["cf-connecting-ip", "cf-connecting-ipv6", "cf-ray", "cf-visitor", "cf-ipcountry", "cf-worker"]
FROM_A_PROXY += ["cf-ew-via", "cf-access-jwt-assertion", "cf-cert-presented", "cdn-loop"]
FROM_THE_CALLER = ["cf-aig-authorization", "cf-aig-metadata", "cf-access-client-id", "cf-access-client-secret"]


def test_what_a_proxy_in_front_wrote_stays_and_the_callers_credentials_pass() -> None:
    async def main() -> None:
        async with Upstream(echo_received()) as upstream:
            sent = [(name, "v") for name in FROM_A_PROXY + FROM_THE_CALLER]
            names = [name for name, _ in await arrived_fields(upstream, *sent)]
            assert [name for name in names if name.startswith(("cf-", "cdn-"))] == FROM_THE_CALLER

    run(main)


# ---- certificates -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


def asking_server(authority: Authority) -> ssl.SSLContext:
    """Return the context of an upstream that wants a certificate of its own authority."""
    context = authority.server()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.ca_file)
    return context


@pytest.mark.parametrize("in_one_file", [False, True])
def test_a_certificate_is_shown_to_an_upstream_that_wants_one(
    authority: Authority, tmp_path: pathlib.Path, in_one_file: bool
) -> None:
    options = {"cert_file": authority.cert_file, "cert_key": authority.key_file}
    if in_one_file:
        both = tmp_path / "both.pem"
        both.write_text("".join(pathlib.Path(path).read_text() for path in options.values()))
        options = {"cert_file": str(both)}

    async def main() -> None:
        async with Upstream(echo_received(), tls=asking_server(authority)) as upstream:
            async with house(upstream, ca_file=authority.ca_file, **options) as relayed:
                assert (await relayed.ask()).status == 200

    run(main)


def test_an_upstream_that_wants_a_certificate_and_gets_none_says_so(authority: Authority) -> None:
    port = closed_port()
    server = subprocess.Popen(
        ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-Verify", "1", "-verify_return_error", "-quiet",
         "-cert", authority.cert_file, "-key", authority.key_file],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    async def main() -> None:
        url = f"https://127.0.0.1:{port}"
        async with house(url, ca_file=authority.ca_file, retries="0") as relayed:
            message = ""
            for _ in range(200):  # until it listens
                message = (await relayed.ask()).json()["error"]["message"]
                if "refused" not in message:
                    break
                await asyncio.sleep(0.02)
            assert "certificate required" in message

    try:
        asyncio.run(main())  # another process does not know of skipped time
    finally:
        server.kill()
        server.communicate()


def test_a_certificate_that_cannot_be_shown_is_said_at_the_start(authority: Authority, tmp_path: pathlib.Path) -> None:
    locked, other = str(tmp_path / "locked.pem"), str(tmp_path / "other.pem")
    openssl = ["openssl", "ec", "-in", authority.key_file, "-aes256", "-passout", "pass:x", "-out", locked]
    subprocess.run(openssl, check=True, capture_output=True, timeout=100)
    openssl = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", other]
    subprocess.run(openssl, check=True, capture_output=True, timeout=100)

    async def main() -> None:
        for options, why in [
            ({"cert_key": authority.key_file}, "cert_key needs cert_file"),
            ({"cert_file": str(tmp_path / "none.pem")}, "cert_file = .*No such file"),
            ({"cert_file": authority.cert_file}, "a certificate and its private key"),
            ({"cert_file": authority.cert_file, "cert_key": other}, "they do not fit"),
            ({"cert_file": authority.cert_file, "cert_key": locked}, "without a password"),
        ]:
            with pytest.raises(UsageError, match=why):
                async with house("https://up.test", **options):
                    pass

    run(main)


@pytest.mark.parametrize("options", [{"headers": "X-Gateway-Token: t"}, {"api_key": KEY}, {"cert_file": "c.pem"}])
def test_whatever_makes_the_upstream_take_callers_for_the_owner_counts_as_a_key(options: dict[str, str]) -> None:
    assert settings_of({"relay": options}).backends[0].options.holds_key
    assert not settings_of({"relay": {"key_field": "api-key"}}).backends[0].options.holds_key
