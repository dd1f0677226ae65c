"""Azure's clients: their addresses reach the same endpoints, the deployment is the model, the key is found."""

from __future__ import annotations

import asyncio
import gzip
import json

import pytest
from mocks import ask, make_form, make_mock, make_request, respond
from native import TEXT, Native, translator
from native import answer as native_answer
from relays import JSON, KEY, echo_received, house
from skipping import run
from test_mock_realtime import Socket
from test_router import Named, request, router, said
from upstreams import Upstream

from protocol.errors import ApiError
from protocol.openai.answers import api_path
from protocol.openai.asked_model import head_model
from protocol.openai.azure import azure_model, without_azure_parameters

VERSION = "api-version=2024-10-21"
CHAT = f"/openai/deployments/my-gpt/chat/completions?{VERSION}"
HELLO = [{"role": "user", "content": "Hello"}]
SAID = json.dumps(HELLO).encode()
AZURE_KEY = ("api-key", "caller-key-0123456789")

ADDRESSES = [
    ("/openai/v1/chat/completions", "/chat/completions", ""),
    ("/openai/v1/anything/at/all", "/anything/at/all", ""),
    ("/openai/deployments/my-gpt/chat/completions", "/chat/completions", "my-gpt"),
    ("/openai/deployments/my-gpt/chat/completions/", "/chat/completions", "my-gpt"),
    ("/openai/deployments/my%2Fgpt%204/embeddings", "/embeddings", "my/gpt 4"),
    ("/openai/deployments/v1/audio/speech", "/audio/speech", "v1"),
    ("/openai/responses", "/responses", ""),
    ("/openai/responses/resp_1/input_items", "/responses/resp_1/input_items", ""),
    ("/openai/models", "/models", ""),
    ("/openai/models/", "/models", ""),
    ("/openai/realtime", "/realtime", ""),
    ("/openai/files/file-1/content", "/files/file-1/content", ""),
    ("/openai/threads/thread_1/runs", "/threads/thread_1/runs", ""),
    # None of the API's
    ("/openai", None, ""),
    ("/openai/", None, ""),
    ("/openai/v1", None, ""),
    ("/openai/v1/", None, ""),
    ("/openai/deployments", None, ""),
    ("/openai/deployments/my-gpt", None, ""),
    ("/openai/deployments/my-gpt/", None, ""),
    ("/openai/openai/models", None, ""),
    ("/openai/other", None, ""),
    ("/openai/%64eployments/my-gpt/embeddings", None, ""),
    ("/OpenAI/models", None, ""),
    ("/openaix/models", None, ""),
]


@pytest.mark.parametrize(("path", "expected", "deployment"), ADDRESSES)
def test_an_address_of_azures_is_a_path_of_the_api(path, expected, deployment):
    assert api_path(path) == expected
    assert azure_model(path, "") == deployment


@pytest.mark.parametrize(
    ("target", "model"),
    [
        (CHAT, "my-gpt"),
        (f"/openai/realtime?{VERSION}&deployment=my%20rt", "my rt"),
        (f"/openai/v1/realtime?{VERSION}&model=gpt-realtime", "gpt-realtime"),
        (f"/openai/responses?{VERSION}&deployment=x", ""),
        ("/v1/realtime?deployment=x", ""),
        ("/v1/realtime?model=gpt-realtime", "gpt-realtime"),
    ],
)
def test_the_head_names_a_model(target, model):
    assert head_model(make_request("GET", target)) == model


def test_a_query_is_freed_of_what_only_azure_has():
    assert without_azure_parameters("a=1&api-version=x&b=%20&deployment=d&API-VERSION=y") == "a=1&b=%20"
    assert without_azure_parameters("") == ""


# ---- the mock -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [{}, {"model": "my-gpt"}, {"model": "gpt-4o"}], ids=["none", "same", "another"])
@pytest.mark.parametrize("more", [{}, {"seed": 1}], ids=["simple", "other"])
def test_the_deployment_is_the_model(body, more):
    made = ask(make_mock(), "POST", CHAT, {**body, **more, "messages": HELLO}, [AZURE_KEY])
    assert (made["model"], made["choices"][0]["message"]["content"]) == ("my-gpt", "powered by openai")


def test_the_deployment_is_the_model_of_a_stream():
    frames = b"".join(respond(make_mock(), "POST", CHAT, {"messages": HELLO, "stream": True}).body.frames)
    events = [json.loads(line[6:]) for line in frames.decode().split("\n") if line.startswith("data: {")]
    assert {event["model"] for event in events} == {"my-gpt"} and frames.endswith(b"data: [DONE]\n\n")


def test_every_kind_of_endpoint_answers_below_a_deployment():
    mock = make_mock()
    begin = "/openai/deployments/my-model"
    assert ask(mock, "POST", f"{begin}/embeddings?{VERSION}", {"input": "a"})["model"] == "my-model"
    assert ask(mock, "POST", f"{begin}/completions?{VERSION}", {"prompt": "a"})["model"] == "my-model"
    assert ask(mock, "POST", f"{begin}/images/generations?{VERSION}", {"prompt": "a", "n": 1})["data"]
    spoken = respond(mock, "POST", f"{begin}/audio/speech?{VERSION}", {"input": "a", "voice": "alloy"})
    heard = make_form(("file", "a.mp3", spoken.body))
    assert ask(mock, "POST", f"{begin}/audio/transcriptions?{VERSION}", *heard)["text"]
    picture = make_form(("prompt", "x"), ("model", "another"), ("image", "a.png", PNG))
    assert ask(mock, "POST", f"{begin}/images/edits?{VERSION}", *picture)["data"]


PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360000002000001e221bc330000000049454e44ae426082"
)


def test_the_other_addresses_answer_too():
    mock = make_mock()
    made = ask(mock, "POST", f"/openai/responses?{VERSION}", {"model": "my-gpt", "input": "Hello"})
    assert ask(mock, "GET", f"/openai/responses/{made['id']}?{VERSION}")["id"] == made["id"]
    assert ask(mock, "GET", f"/v1/responses/{made['id']}")["model"] == "my-gpt"
    assert ask(mock, "POST", "/openai/v1/chat/completions", {"model": "m", "messages": HELLO})["model"] == "m"
    assert ask(mock, "GET", f"/openai/files?{VERSION}")["data"] == []
    with pytest.raises(ApiError, match=r"Invalid URL \(POST /openai/deployments/my-gpt/nothing\)"):
        ask(mock, "POST", "/openai/deployments/my-gpt/nothing", {})


def test_a_realtime_session_has_the_deployment_for_its_model():
    async def main():
        for query, model in ((f"{VERSION}&deployment=my-rt", "my-rt"), ("model=gpt-realtime", "gpt-realtime")):
            socket = Socket(make_mock(), f"/openai/realtime?{query}", [AZURE_KEY])
            assert (await socket.event())["session"]["model"] == model

    asyncio.run(main())


# ---- the router -----------------------------------------------------------------------------------------------------


def test_the_deployment_decides_who_answers():
    made = router([("my-*", "first"), ("*", "second")], Named("first"), Named("second"))
    path = "/openai/deployments/my-gpt/chat/completions"
    body = b'{"model":"gpt-4o"}'
    assert said(made, request(f"POST {path}", body, content_type="application/json")) == f"first {path}"
    assert said(made, request("POST /openai/v1/chat/completions", body)) == "second /openai/v1/chat/completions"
    assert said(made, request("POST /openai/responses", b'{"model":"my-gpt"}')) == "first /openai/responses"


def test_azures_list_of_models_is_the_list():
    made = router([("*", "first")], Named("first", ["a", "b"]))
    listed = json.loads(said(made, request(f"GET /openai/models?{VERSION}")))
    assert [model["id"] for model in listed["data"]] == ["a", "b"]
    assert json.loads(said(made, request(f"GET /openai/models/b?{VERSION}")))["id"] == "b"


# ---- the relay ------------------------------------------------------------------------------------------------------


def arrived(target, body, fields=(JSON, AZURE_KEY), base="/v1", **options):
    """Return what the upstream saw of a POST: its target, fields and body."""
    seen = {}

    async def main():
        async with Upstream(echo_received()) as upstream, house(upstream.url + base, **options) as relayed:
            answer = await relayed.ask("POST", target, fields, body)
            assert answer.status == 200, answer.body
            seen.update(answer.json())
            seen.update(body=upstream.received[0].body, fields=upstream.received[0].fields)

    run(main)
    return seen


def keys_of(seen):
    return [field for field in seen["fields"] if field[0] in ("authorization", "api-key", "x-api-key")]


@pytest.mark.parametrize("body", [{"messages": HELLO}, {"model": "gpt-4o", "messages": HELLO}], ids=["none", "another"])
@pytest.mark.parametrize(
    ("options", "model"),
    [({}, "my-gpt"), ({"model": "forced"}, "forced"), ({"models": "my-* = mapped\ngpt-4o = no"}, "mapped")],
    ids=["as asked", "forced", "mapped"],
)
def test_the_upstream_gets_openais_form(body, options, model):
    seen = arrived(f"{CHAT}&x=1", json.dumps(body).encode(), **options)
    assert seen["target"] == "/v1/chat/completions?x=1"
    assert json.loads(seen["body"]) == {**body, "model": model}
    assert keys_of(seen) == [("authorization", f"Bearer {AZURE_KEY[1]}")]


def test_our_key_goes_in_the_place_of_azures():
    seen = arrived(CHAT, json.dumps({"messages": HELLO}).encode(), api_key=KEY)
    assert keys_of(seen) == [("authorization", f"Bearer {KEY}")]


def test_a_key_goes_where_the_upstream_looks_for_it():
    body = json.dumps({"messages": HELLO}).encode()
    assert keys_of(arrived(CHAT, body, key_field="x-api-key")) == [("x-api-key", AZURE_KEY[1])]
    assert keys_of(arrived(CHAT, body, key_field="api-key")) == [AZURE_KEY]
    login = ("authorization", "Bearer eyJhbGciOi")
    assert keys_of(arrived(CHAT, body, [JSON, login])) == [login]


@pytest.mark.parametrize("size", [10, 300_000], ids=["small", "large"])
@pytest.mark.parametrize("named", [(), (("model", "whisper-1"),)], ids=["none", "another"])
def test_a_form_gets_the_deployment_on_its_way(size, named):
    body, fields = make_form(*named, ("file", "a.mp3", b"x" * size))
    expected, _ = make_form(*[(name, "my-ears") for name, _ in named], ("file", "a.mp3", b"x" * size))
    if not named:
        expected, _ = make_form(("file", "a.mp3", b"x" * size), ("model", "my-ears"))
    seen = arrived(f"/openai/deployments/my-ears/audio/transcriptions?{VERSION}", body, [*fields, AZURE_KEY])
    assert seen["target"] == "/v1/audio/transcriptions"
    assert (len(seen["body"]), seen["body"]) == (len(expected), expected)


def test_an_encoded_body_gets_the_deployment():
    body = gzip.compress(json.dumps({"messages": HELLO}).encode())
    seen = arrived(CHAT, body, [JSON, AZURE_KEY, ("content-encoding", "gzip")])
    assert json.loads(seen["body"]) == {"model": "my-gpt", "messages": HELLO}


def test_other_addresses_go_on_as_they_are_but_for_the_version():
    body = b'{ "model":"my-gpt",  "input":"Hello" }'
    for path in ("/openai/responses", "/openai/v1/responses"):
        seen = arrived(f"{path}?{VERSION}", body)
        assert (seen["target"], seen["body"]) == ("/v1/responses", body)
    seen = arrived(f"/openai/files?{VERSION}", *make_form(("file", "a.txt", b"x")))
    assert seen["target"] == "/v1/files"


@pytest.mark.parametrize(
    ("target", "options", "expected"),
    [
        (CHAT, {}, CHAT),
        (CHAT, {"model": "forced"}, f"/openai/deployments/forced/chat/completions?{VERSION}"),
        (f"/openai/responses?{VERSION}", {}, f"/openai/responses?{VERSION}"),
        ("/openai/v1/responses", {}, "/openai/v1/responses"),
        (f"/openai/realtime?{VERSION}&deployment=d", {}, f"/openai/realtime?{VERSION}&deployment=d"),
        (f"/openai/realtime?{VERSION}&deployment=d", {"model": "f"}, f"/openai/realtime?{VERSION}&deployment=f"),
        (f"/openai/realtime?{VERSION}&deployment=d", {"models": "d = f"}, f"/openai/realtime?{VERSION}&deployment=f"),
    ],
)
def test_azure_itself_gets_its_own_form(target, options, expected):
    seen = arrived(target, b'{"model":"d"}', base="/openai", **options)
    assert seen["target"] == expected
    assert keys_of(seen) == [AZURE_KEY]


def test_azures_newer_api_gets_the_older_addresses_as_its_own():
    seen = arrived(CHAT, b'{"messages":[]}', base="/openai/v1", key_field="api-key")
    assert (seen["target"], json.loads(seen["body"])["model"]) == ("/openai/v1/chat/completions", "my-gpt")


@pytest.mark.parametrize(
    ("options", "target"),
    [
        ({}, "/v1/realtime?model=my%20rt"),
        ({"model": "forced"}, "/v1/realtime?model=forced"),
        ({"models": "my* = mapped"}, "/v1/realtime?model=mapped"),
    ],
)
def test_a_realtime_session_is_opened_for_the_deployment(options, target):
    opening = [
        ("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="), AZURE_KEY,
    ]  # fmt: skip

    async def main():
        async with Upstream(echo_received()) as upstream, house(upstream, **options) as relayed:
            await relayed.ask("GET", f"/openai/realtime?{VERSION}&deployment=my%20rt", opening)
            received = upstream.received[0]
            assert received.target == target
            assert received.get("authorization") == f"Bearer {AZURE_KEY[1]}" and not received.get("api-key")

    run(main)


# ---- the translator -------------------------------------------------------------------------------------------------


def test_the_translator_takes_the_deployment_and_the_key():
    message = {"output": {"choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": "Hi"}}]}}

    async def main():
        async with Native({TEXT: native_answer(message)}) as native, translator(native) as translating:
            target = f"/openai/deployments/farui-plus/chat/completions?{VERSION}"
            answered = await translating.ask("POST", target, dict([JSON, AZURE_KEY]), b'{"messages":%b}' % SAID)
            assert answered.json()["choices"][0]["message"]["content"] == "Hi"
            received = native.received[0]
            assert json.loads(received.body)["model"] == "farui-plus"
            assert received.get("authorization") == f"Bearer {AZURE_KEY[1]}"

    run(main)
