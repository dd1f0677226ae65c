"""Bodies under a Content-Encoding, and byte order marks: whoever reads a body reads what its client meant."""

from __future__ import annotations

import gzip
import http.client
import json
import zlib

import mocks
import pytest
from native import EMBEDDINGS, TEXT, Native, translator
from native import answer as native_answer
from programs import running
from relays import JSON, echo_received, house
from skipping import run
from upstreams import Upstream

from protocol.errors import ApiError
from protocol.wire.content_coding import decode_content
from protocol.wire.json_text import json_lines, parse_json

BOM = b"\xef\xbb\xbf"
CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
RAW = json.dumps(CHAT).encode()
MOST = 65 * 1024 * 1024


def bare_deflate(data):
    """Return DEFLATE without the zlib format around it, which RFC 9110 §8.4.1.2 calls wrong."""
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


CODED = [
    ("gzip", gzip.compress),
    ("GZip", gzip.compress),
    ("x-gzip", gzip.compress),
    ("deflate", zlib.compress),
    ("identity", bytes),
    ("gzip", lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:])),  # RFC 1952 §2.2: members follow
]


@pytest.mark.parametrize(("coding", "encode"), CODED)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/openai/deployments/gpt-4o/chat/completions?api-version=1"])
def test_the_mock_decodes_a_body(coding, encode, path):
    mock = mocks.make_mock()
    fields = [JSON, ("content-encoding", coding)]
    answer = mocks.ask(mock, "POST", path, encode(RAW), fields)
    assert answer["model"] == "gpt-4o"
    assert answer["choices"][0]["message"]["content"]


@pytest.mark.parametrize(
    ("path", "method", "body", "expected"),
    [
        ("/v1/embeddings", "POST", {"model": "text-embedding-3-small", "input": "x"}, "list"),
        ("/v1/responses", "POST", {"model": "gpt-4o", "input": "x"}, "response"),
        ("/v1/conversations", "POST", {}, "conversation"),
    ],
)  # fmt: skip
def test_the_mock_decodes_bodies_of_every_endpoint(path, method, body, expected):
    mock = mocks.make_mock()
    coded = gzip.compress(json.dumps(body).encode())
    assert mocks.ask(mock, method, path, coded, [JSON, ("content-encoding", "gzip")])["object"] == expected


def test_the_mock_decodes_a_form_and_a_native_call():
    mock = mocks.make_mock()
    form, fields = mocks.make_form(("purpose", "user_data"), ("file", "a.txt", b"hello"))
    file = mocks.ask(mock, "POST", "/v1/files", gzip.compress(form), [*fields, ("content-encoding", "gzip")])
    assert (file["filename"], file["bytes"]) == ("a.txt", 5)
    body = {"model": "qwen-plus", "input": {"prompt": "hi"}}
    native = mocks.ask(
        mock, "POST", f"/api/v1{TEXT}", zlib.compress(json.dumps(body).encode()),
        [JSON, ("content-encoding", "deflate"), ("authorization", "Bearer sk-x")],
    )  # fmt: skip
    assert native["output"]["text"]


@pytest.mark.parametrize(
    ("coding", "body", "status"),
    [
        ("br", RAW, 415),
        ("compress", RAW, 415),
        ("gzip, gzip", gzip.compress(gzip.compress(RAW)), 415),
        ("gzip", RAW, 400),
        ("gzip", gzip.compress(RAW)[:-1], 400),
        ("gzip", gzip.compress(RAW) + b"x", 400),
        ("deflate", bare_deflate(RAW), 400),
        ("gzip", gzip.compress(b"[" + b" " * MOST + b"]"), 413),
    ],
)  # fmt: skip
def test_the_mock_refuses_what_cannot_be_decoded(coding, body, status):
    with pytest.raises(ApiError) as caught:
        mocks.respond(mocks.make_mock(), "POST", "/v1/chat/completions", body, [JSON, ("content-encoding", coding)])
    assert caught.value.status == status
    named = dict(caught.value.fields).get("accept-encoding", "")
    assert named == ("gzip, deflate, identity" if status == 415 else "")  # RFC 9110 §15.5.16


def test_a_coding_without_a_body_means_nothing():
    fields = [("content-encoding", "gzip")]
    assert mocks.ask(mocks.make_mock(), "GET", "/v1/files", fields=fields)["data"] == []


def test_the_translator_decodes_a_body_and_the_relay_passes_it_on():
    async def translate():
        vector = {"output": {"embeddings": [{"text_index": 0, "embedding": [1.0]}]}, "usage": {"total_tokens": 1}}
        async with Native({EMBEDDINGS: native_answer(vector)}) as native, translator(native) as translating:
            async with translating.client() as client:
                body = json.dumps({"model": "text-embedding-v4", "input": "hi"}).encode()
                fields = {**dict([JSON]), "authorization": "Bearer sk-caller-0123456789", "content-encoding": "gzip"}
                await client.send("POST", "/v1/embeddings", fields, gzip.compress(body))
                answer = await client.answer()
            assert (answer.status, native.calls[-1]["input"]) == (200, {"texts": ["hi"]})

    async def relay():
        async with Upstream(echo_received()) as upstream, house(upstream) as relaying:
            coded = gzip.compress(RAW)
            answer = await relaying.ask(body=coded, fields=(JSON, ("content-encoding", "gzip")))
            assert answer.status == 200
            assert upstream.received[-1].body == coded

    run(translate)
    run(relay)


def test_a_program_decodes_bodies_within_max_body(command):
    with running(command, "mock", "--set", "server.max_body=2000") as program:
        statuses = []
        for path in ("/v1/chat/completions", "/"):
            for size in (10, 3000):
                body = gzip.compress(
                    json.dumps({**CHAT, "messages": [{"role": "user", "content": "a" * size}]}).encode()
                )
                assert len(body) < 2000
                client = http.client.HTTPConnection("127.0.0.1", program.port)
                client.request("POST", path, body, {"content-type": "application/json", "content-encoding": "gzip"})
                statuses.append(client.getresponse().status)
                client.close()
        assert statuses == [200, 413] * 2


# ---- byte order marks


@pytest.mark.parametrize(
    "value", [{}, [], "x", 1, None, {"a": [1]}, [0] * 30_000, ["a" * 1_100_000], [0] * 390_000],
    ids=["object", "array", "string", "number", "null", "nested", "many", "long", "long-and-many"],
)  # fmt: skip
def test_a_mark_before_json_is_passed_over(value):
    assert parse_json(BOM + json.dumps(value).encode()) == value


@pytest.mark.parametrize("text", [BOM, BOM + BOM + b"{}", b" " + BOM + b"{}", b"{}" + BOM, b'{"a":' + BOM + b"1}"])
def test_a_mark_anywhere_else_is_refused(text):
    with pytest.raises(ApiError) as caught:
        parse_json(text)
    assert caught.value.code == "invalid_json"


def test_a_mark_before_lines_is_passed_over():
    assert list(json_lines(BOM + b'{"a":1}\n\n{"b":2}')) == [(1, b'{"a":1}'), (3, b'{"b":2}')]
    assert list(json_lines(BOM)) == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (gzip.compress(b"x" * 90_000), 503),
        (gzip.compress(b"x" * 90_000) + gzip.compress(b"x"), 503),
        (gzip.compress(b"x" * 2_000_000), 413),  # and would be, however much room there were
        (gzip.compress(b"x" * 90_000)[:-9], 400),
    ],
)
def test_what_is_wrong_with_a_body_is_said_before_that_there_is_no_room(body, status):
    def hold(size):
        raise ApiError(503, "There is no room.")

    with pytest.raises(ApiError) as refused:
        decode_content("gzip", body, 1_000_000, hold)
    assert refused.value.status == status
