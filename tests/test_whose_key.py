"""Whose key goes where: the environment's to its own vendor, the caller's to the backend that is asked first."""

from __future__ import annotations

import asyncio
import hashlib

import pytest
from programs import ANY_CHAT, ask, running
from upstreams import Upstream, answering, silent, sized

import oaiserve
from protocol.errors import UsageError
from protocol.server.settings import ServerSettings
from protocol.service.log import Log
from protocol.tools.trial_target import parse_target

KEY = "sk-owner-0123456789"
ENVIRONMENT_KEY = "sk-environment-0123456789"
NO_RETRIES = {"relay.first.retries": "0", "relay.second.retries": "0"}


def options_of(name, options, environ):
    """Return the options of the section `name`, as `--set` writes it."""
    backend_name = name.rpartition(".")[2]
    settings = oaiserve.load_settings(set={**options, "routes.*": backend_name}, environ=environ)
    return next(backend.options for backend in settings.backends if backend.name == backend_name)


# ---- who holds a key


@pytest.mark.parametrize(
    ("backend", "options", "holders"),
    [
        ("mock", {}, ()),
        ("relay", {"relay.api_key": KEY}, ("relay",)),
        ("relay", {"relay.api_key": ""}, ()),
        ("dashscope", {"dashscope.api_key": KEY}, ("dashscope",)),
        ("dashscope", {}, ()),
        ("mock", {"relay.api_key": KEY}, ()),  # no route leads to it
        ("mock", {"relay.api_key": KEY, "routes.gpt-*": "mock, relay"}, ("relay",)),
    ],
)
def test_a_service_knows_which_of_its_backends_hold_a_key(backend, options, holders):
    async def main():
        settings = oaiserve.load_settings(backend, set=options, environ={})
        return oaiserve.Service(settings, Log("off", print)).key_holders

    assert asyncio.run(main()) == holders


@pytest.mark.parametrize(
    ("host", "is_local"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("LOCALHOST", True),
        ("", False),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.7", False),
        ("localhost.example.com", False),
    ],
)
def test_a_listener_is_local_where_nobody_else_can_connect(host, is_local):
    assert ServerSettings(host=host).is_local is is_local


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("relay", "--host", "0.0.0.0", "--set", f"relay.api_key={KEY}"), True),
        (("relay", "--host", "0.0.0.0"), False),
        (("relay", "--set", f"relay.api_key={KEY}"), False),
        (("mock", "--host", "0.0.0.0"), False),
        (("relay", "--host", "0.0.0.0", "--set", f"relay.api_key={KEY}", "--workers", "2"), True),
    ],
    ids=["open and a key", "open and none", "local and a key", "mock", "workers"],
)
def test_banner_tells_who_lets_the_network_spend_a_key(command, options, says):
    with running(command, *options) as program:
        assert ("whoever reaches this port spends the key of relay: nobody is asked" in program.banner) is says
        assert ("[server] keys_file asks for one" in program.banner) is says
        assert KEY not in program.banner


@pytest.mark.parametrize(
    ("backend", "options", "note"),
    [
        ("relay", ("--host", "0.0.0.0", "--set", f"relay.api_key={KEY}"), ""),  # callers are asked for keys
        ("relay", (), "relay has no key: its upstream is asked without one, for the keys of callers are this server's"),
        ("dashscope", (), "dashscope has no key: its upstream is asked without one"),
        ("mock", ("--set", "routes.gpt-4o=mock", "--set", "routes.o3=mock"), "may not ask for o3: no line of [prices]"),
        ("mock", ("--set", "ledger.unpriced=allow"), "a model without a price takes nothing from budgets"),
        ("mock", (), ""),  # budgets need no ledger
    ],
)
def test_banner_tells_what_the_keys_of_callers_do_not_do(command, tmp_path, backend, options, note):
    digest = hashlib.sha256(b"sk-oai-alice").hexdigest()
    keys = tmp_path / "keys.ini"
    keys.write_text(f"[key alice]\nhash = sha256:{digest}\nbudget = 1 USD/day\n[prices]\ngpt-* = 1 in, 2 out\n")
    environ = {"OPENAI_API_KEY": "", "DASHSCOPE_API_KEY": ""}
    with running(command, backend, "--set", f"server.keys_file={keys}", *options, **environ) as program:
        notes = [line for line in program.banner.splitlines() if "  mind:  " in line and "open files" not in line]
        assert len(notes) == (1 if note else 0) and note in "".join(notes), program.banner
        assert 'Authorization: Bearer YOUR-API-KEY"' in program.banner  # the line to paste


# ---- the environment's key


@pytest.mark.parametrize(
    ("section", "base_url", "environ", "key"),
    [
        ("relay", "", {}, ENVIRONMENT_KEY),
        ("relay", "https://api.openai.com", {}, ENVIRONMENT_KEY),
        ("relay", "https://API.OPENAI.COM:443/v1/", {}, ENVIRONMENT_KEY),
        ("relay", "http://api.openai.com/v1", {}, ""),  # anybody on the way could read it
        ("relay", "https://api.openai.com:8443/v1", {}, ""),
        ("relay", "https://api.openai.com.example.net/v1", {}, ""),
        ("relay", "https://notapi.openai.com/v1", {}, ""),
        ("relay", "https://llm.example/v1", {}, ""),
        ("relay", "http://127.0.0.1:11434/v1", {}, ""),
        ("relay", "unix:/run/llm.sock", {}, ""),
        ("dashscope", "", {}, ENVIRONMENT_KEY),
        ("dashscope", "https://dashscope-intl.aliyuncs.com/compatible-mode/v1", {}, ENVIRONMENT_KEY),
        ("dashscope", "https://cn-hongkong.dashscope.aliyuncs.com", {}, ENVIRONMENT_KEY),
        ("dashscope", "https://ws-1.ap-southeast-1.maas.aliyuncs.com", {}, ENVIRONMENT_KEY),
        ("dashscope", "http://dashscope.aliyuncs.com", {}, ""),
        ("dashscope", "https://bucket.oss-cn-beijing.aliyuncs.com", {}, ""),
        ("dashscope", "https://evil.fc.aliyuncs.com", {}, ""),
        ("dashscope", "https://dashscope.aliyuncs.com.example.net", {}, ""),
        ("dashscope", "https://gateway.example", {}, ""),
        ("dashscope", "", {"DASHSCOPE_BASE_URL": "https://gateway.example"}, ENVIRONMENT_KEY),
        ("dashscope", "https://gateway.example", {"DASHSCOPE_BASE_URL": "https://gateway.example/"}, ENVIRONMENT_KEY),
        ("dashscope", "https://other.example", {"DASHSCOPE_BASE_URL": "https://gateway.example"}, ""),
    ],
)
@pytest.mark.parametrize("name", ["", ".second"], ids=["first", "second"])
def test_the_environments_key_goes_to_its_own_vendor(section, base_url, environ, key, name):
    environ = {"OPENAI_API_KEY": ENVIRONMENT_KEY, "DASHSCOPE_API_KEY": ENVIRONMENT_KEY, **environ}
    options = {f"{section}{name}.base_url": base_url} if base_url else {f"{section}{name}.verify": "yes"}
    assert options_of(section + name, options, environ).api_key == key


@pytest.mark.parametrize("section", ["relay", "dashscope"])
def test_a_host_for_which_the_configuration_names_the_key_gets_it(section):
    environ = {"OPENAI_API_KEY": ENVIRONMENT_KEY}
    options = {f"{section}.base_url": "https://llm.example", f"{section}.api_key": "${OPENAI_API_KEY}"}
    assert options_of(section, options, environ).api_key == ENVIRONMENT_KEY


@pytest.mark.parametrize("section", ["relay", "dashscope"])
def test_an_empty_key_passes_the_callers_on_whatever_the_environment_has(section):
    environ = {"OPENAI_API_KEY": ENVIRONMENT_KEY, "DASHSCOPE_API_KEY": ENVIRONMENT_KEY}
    assert options_of(section, {f"{section}.api_key": ""}, environ).api_key == ""


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--set", "relay.base_url=https://llm.example/v1"], True),
        (["--set", "relay.base_url=https://llm.example/v1", "--set", "relay.api_key=${OPENAI_API_KEY}"], False),
        (["--set", "relay.base_url=https://llm.example/v1", "--set", "relay.api_key="], False),
        ([], False),
    ],
)
def test_the_start_says_that_the_environments_key_is_kept_back(command, options, says):
    with running(command, "relay", *options, OPENAI_API_KEY=KEY) as program:
        assert ("OPENAI_API_KEY is not sent to relay" in program.banner) is says
        assert KEY not in program.banner


def test_check_says_for_each_backend_whose_key_it_sends(capsys):
    with open("mine.ini", "w", encoding="utf-8") as file:
        file.write(
            "[relay]\n[relay second]\nbase_url = https://llm.example/v1\n[relay third]\nbase_url = http://10.0.0.1:8000\n"
            f"api_key = {KEY}\n[dashscope]\nbase_url = https://gateway.example\n"
        )
    arguments = ["--check", "-c", "mine.ini"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", ENVIRONMENT_KEY)
        assert oaiserve.main(arguments) == 0
    said = capsys.readouterr().out
    below = {title: line for title, line in zip(said.splitlines(), said.splitlines()[1:]) if title.startswith("[")}
    assert (
        below["[relay]"] == "; https://api.openai.com gets the key of the environment's OPENAI_API_KEY, whoever calls."
    )
    callers = "gets the caller's own key, but none behind a backend of another host."
    assert below["[relay second]"] == f"; https://llm.example {callers}"
    assert below["[relay third]"] == "; http://10.0.0.1:8000 gets the key of api_key, whoever calls."
    assert below["[dashscope]"] == f"; https://gateway.example {callers}"
    assert not below["[mock]"].startswith(";")
    assert KEY not in said and ENVIRONMENT_KEY not in said


# ---- the caller's key


def served(upstreams, routes, **options):
    """Start a service with a relay of each name to its upstream; `options` are further ones, as for --set."""
    options = {f"relay.{name}.base_url": upstream.url for name, upstream in upstreams.items()} | options
    options |= {f"routes.{pattern}": backends for pattern, backends in routes.items()}
    return oaiserve.serve(oaiserve.load_settings(set=options, environ={}))


async def asked(server, method, path, body=None, **fields):
    return await asyncio.get_running_loop().run_in_executor(
        None, lambda: ask(server.port, method, path, body, **fields)
    )


def answering_once(first, then):
    """Answer the first request with `first`, and all others with `then`, whatever connections they come by."""

    async def script(peer):
        while True:
            await peer.read()
            await peer.send(first if len(peer.upstream.received) == 1 else then)

    return script


def secrets_of(received):
    """Return all that a request holds of what the caller must have sent to the first host alone."""
    return [part for part in (received.target, *map(str, received.fields)) if "secret" in part]


CREDENTIALS = {
    "Authorization": "Bearer secret-1",
    "api-key": "secret-2",
    "x-api-key": "secret-3",
    "x-goog-api-key": "secret-4",
    "ocp-apim-subscription-key": "secret-5",
    "x-vendor-authorization": "secret-6",
    "x-amz-security-token": "secret-7",
    "x-my-client-secret": "secret-8",
}
PATH = "/v1/chat/completions?key=secret-9&api%5Fkey=secret-10&a=b"
DOWN = sized(b'{"error":{"message":"down"}}', "503 No")
WELL = sized(b'{"object":"list","data":[{"id":"m","object":"model"}]}')


def test_a_callers_key_goes_to_the_first_backend_and_to_no_other_host():
    async def main():
        async with Upstream(answering(DOWN)) as first, Upstream(answering(WELL)) as second:
            async with served({"first": first, "second": second}, {"*": "first, second"}, **NO_RETRIES) as server:
                status, fields, _ = await asked(server, "POST", PATH, ANY_CHAT, **CREDENTIALS, **{"x-plain": "p"})
        assert (status, fields["x-oaiserve-attempts"]) == (200, "first=503,second=200")
        assert len(secrets_of(first.received[0])) == 9
        assert secrets_of(second.received[0]) == []
        assert second.received[0].target == "/v1/chat/completions?a=b" and second.received[0].get("x-plain") == "p"

    asyncio.run(main())


def test_a_callers_key_goes_on_to_another_backend_of_the_same_host():
    async def main():
        async with Upstream(answering_once(DOWN, WELL)) as upstream:
            upstreams = {"first": upstream, "second": upstream}
            async with served(upstreams, {"*": "first, second"}, **NO_RETRIES) as server:
                status, _, _ = await asked(server, "POST", PATH, ANY_CHAT, **CREDENTIALS)
        assert status == 200
        assert [len(secrets_of(received)) for received in upstream.received] == [9, 9]

    asyncio.run(main())


@pytest.mark.parametrize("holder", ["first", "second"])
def test_a_key_that_is_held_stands_for_the_callers_and_does_not_free_it(holder):
    """The caller has chosen neither host: behind one with a key of the owner's, too, his own stays here."""

    async def main():
        async with Upstream(answering(DOWN)) as first, Upstream(answering(WELL)) as second:
            options = {**NO_RETRIES, f"relay.{holder}.api_key": KEY}
            async with served({"first": first, "second": second}, {"*": "first, second"}, **options) as server:
                await asked(server, "POST", PATH, ANY_CHAT, **CREDENTIALS)
        keys = [upstream.received[0].get("authorization") for upstream in (first, second)]
        assert keys == ([f"Bearer {KEY}", ""] if holder == "first" else ["Bearer secret-1", f"Bearer {KEY}"])
        assert secrets_of(second.received[0]) == []
        assert len(secrets_of(first.received[0])) == (3 if holder == "first" else 9)  # what only gateways know passes

    asyncio.run(main())


def test_a_first_backend_that_rests_keeps_the_callers_key():
    async def main():
        async with Upstream(answering(DOWN)) as first, Upstream(answering(WELL)) as second:
            async with served({"first": first, "second": second}, {"*": "first, second"}, **NO_RETRIES) as server:
                for _ in range(8):
                    await asked(server, "POST", PATH, ANY_CHAT, **CREDENTIALS)
        assert len(first.received) == 5  # and then it rests
        assert [secrets_of(received) for received in second.received] == [[]] * 8

    asyncio.run(main())


def test_the_list_of_models_shows_the_callers_key_to_one_host():
    async def main():
        async with (
            Upstream(answering(WELL)) as held,
            Upstream(answering(WELL)) as first,
            Upstream(answering(WELL)) as second,
        ):
            upstreams = {"held": held, "first": first, "second": second}
            routes = {"a-*": "held", "b-*": "first, second", "*": "second"}
            async with served(upstreams, routes, **{"relay.held.api_key": KEY}) as server:
                await asked(server, "GET", "/v1/models", **CREDENTIALS)
                await asked(server, "GET", "/v1/models/other", **CREDENTIALS)
        shown = [[received.get("authorization") for received in one.received] for one in (held, first, second)]
        # For a single model it is the backend that the model's route asks first, also where it is not listed.
        assert shown == [[f"Bearer {KEY}"], ["Bearer secret-1", ""], ["", "Bearer secret-1", "Bearer secret-1"]]

    asyncio.run(main())


def test_a_translator_without_a_key_is_passed_over_where_the_callers_is_another_hosts():
    async def main():
        async with Upstream(answering(DOWN)) as first, Upstream(answering(WELL)) as last, Upstream(silent) as native:
            options = {**NO_RETRIES, "dashscope.base_url": native.url}
            upstreams = {"first": first, "last": last}
            async with served(upstreams, {"*": "first, dashscope, last"}, **options) as server:
                status, fields, _ = await asked(server, "POST", PATH, ANY_CHAT, **CREDENTIALS)
            async with served(upstreams, {"*": "first, dashscope"}, **options) as server:
                refused = await asked(server, "POST", PATH, ANY_CHAT, **CREDENTIALS)
        assert (status, fields["x-oaiserve-attempts"]) == (200, "first=503,dashscope=401,last=200")
        assert native.received == []
        assert refused[0] == 401 and b"no key of its own, and the caller's goes to the first" in refused[2]

    asyncio.run(main())


# ---- what a key may look like


@pytest.mark.parametrize("end", ["\n", "\r\n", " \n", "\n\n"])
@pytest.mark.parametrize("source", ["variable", "file", "auto"])
def test_white_space_around_a_key_is_taken_off(source, end, tmp_path):
    path = tmp_path / "key"
    path.write_bytes(KEY.encode() + end.encode())
    text = {"variable": "${MY_KEY}", "file": f"file:{path}", "auto": "auto"}[source]
    environ = {"MY_KEY": KEY + end, "OPENAI_API_KEY": KEY + end}
    assert options_of("relay", {"relay.api_key": text}, environ).api_key == KEY


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sk-one-1234,sk-two-1234", "expected one key; for several, name a backend for each"),
        ("sk-one-1234, sk-two-1234", "expected one key; for several, name a backend for each"),
        ("Bearer sk-one-1234", "without 'Bearer' before it"),
        ("'sk-one-1234'", "without quotation marks"),
        ("sk-one 1234", "printable ASCII characters without spaces"),
        ("sk-one\u00e91234", "printable ASCII characters without spaces"),
        ("file:/nowhere/at/all-1234", "the file that it names cannot be read: No such file"),
        ("file:two-1234", "expected one key in the file that it names"),
        ("file:binary-1234", "it is not UTF-8"),
        ("file:empty-1234", "expected one key in the file that it names"),
    ],
)
@pytest.mark.parametrize("source", ["text", "variable"])
def test_what_is_no_key_is_refused_without_being_repeated(text, message, source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two-1234").write_text("sk-one-1234\nsk-two-1234\n")
    (tmp_path / "binary-1234").write_bytes(b"\xff\xfesk")
    (tmp_path / "empty-1234").write_text("\n")
    with pytest.raises(UsageError) as caught:
        options_of("relay", {"relay.api_key": text if source == "text" else "${MY_KEY}"}, {"MY_KEY": text})
    said = str(caught.value)
    where = (
        "--set relay.api_key = (hidden): " if source == "text" else "--set relay.api_key = (hidden) (of ${MY_KEY}): "
    )
    assert said.startswith(where) and message in said and "1234" not in said


def test_the_environments_key_that_is_none_is_refused_without_being_repeated():
    with pytest.raises(UsageError) as caught:
        options_of("relay", {"relay.verify": "yes"}, {"OPENAI_API_KEY": "sk-1234 5678"})
    assert str(caught.value) == (
        "[relay] api_key = auto: the environment's OPENAI_API_KEY: expected a key of printable ASCII characters without "
        "spaces"
    )


# ---- the test client


@pytest.mark.parametrize(
    ("url", "variables"),
    [
        ("http://127.0.0.1:8080", ["OPENAI_API_KEY", "DASHSCOPE_API_KEY"]),
        ("https://api.openai.com/v1", ["OPENAI_API_KEY"]),
        ("https://dashscope-intl.aliyuncs.com/compatible-mode/v1", ["DASHSCOPE_API_KEY"]),
        ("http://api.openai.com/v1", []),
        ("https://api.openai.com.example.net/v1", []),
        ("https://llm.example/v1", []),
    ],
)
def test_the_test_client_shows_the_environments_keys_to_this_machine_and_their_vendors(url, variables):
    target = parse_target(url)
    assert [name for name in ("OPENAI_API_KEY", "DASHSCOPE_API_KEY") if target.may_get(name)] == variables
