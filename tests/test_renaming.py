"""A model that the owner forces or maps holds for every request that could reach another one."""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
import types
import zlib

import pytest
from relays import CHAT, JSON, MESSAGE, echo_received, house, settings_of
from skipping import run
from upstreams import Upstream, answering, silent, sized

from protocol.config import Route
from protocol.errors import ApiError, UsageError
from protocol.openai.asked_model import query_model, with_renamed_model
from protocol.wire.content_coding import decode_content

FORCED = {"model": "m"}
MAPPED = {"models": "gpt-4o = m\nclaude-* = c\nclaude-3 = exact\n?-wild = w"}
BOTH = pytest.mark.parametrize("options", [FORCED, MAPPED], ids=["forced", "mapped"])
RENAMED = MESSAGE.replace(b"gpt-4o", b"m")
BOUNDARY = b"b0"
FORM = ("content-type", "multipart/form-data; boundary=b0")


def typed(content_type: str, *others: tuple[str, str]) -> list[tuple[str, str]]:
    return [("content-type", content_type), *others]


def part(name: bytes, value: bytes, more: bytes = b"") -> bytes:
    return b'--b0\r\ncontent-disposition: form-data; name="%b"%b\r\n\r\n%b\r\n' % (name, more, value)


END = b"--b0--\r\n"


def arrived(target: str, fields: list[tuple[str, str]], body: bytes, **options: str) -> dict:
    """Return what the upstream saw of a POST: its target, fields and body; the status where it saw nothing."""
    seen = {}

    async def main() -> None:
        async with Upstream(echo_received()) as upstream, house(upstream, **options) as relayed:
            answer = await relayed.ask("POST", target, fields, body)
            if answer.status == 200:
                seen.update(answer.json(), received=upstream.received[0])
                seen["body"] = seen["body"].encode("latin-1")
            else:
                seen.update(status=answer.status, message=answer.json()["error"]["message"])
                assert not upstream.received
                assert "\n" not in seen["message"]

    run(main)
    return seen


# ---- types ----------------------------------------------------------------------------------------------------------

TYPES_OF_JSON = [
    "application/json", "application/json; charset=utf-8", "application/vnd.api+json", "text/plain",
    "text/plain;charset=UTF-8", "text/json", "application/x-www-form-urlencoded", "application/octet-stream",
    "application/x-ndjson", "audio/wav", "application/xml", "*/*", "nonsense", "application/JSON",
]  # fmt: skip


@BOTH
@pytest.mark.parametrize("content_type", [None, *TYPES_OF_JSON])
@pytest.mark.parametrize("padding", [0, 100_000], ids=["small", "large"])
def test_json_is_json_under_any_type(options: dict[str, str], content_type: str | None, padding: int) -> None:
    fields = [] if content_type is None else typed(content_type)
    body, renamed = MESSAGE + b" " * padding, RENAMED + b" " * padding
    seen = arrived(CHAT, fields, body, **options)
    assert seen["body"] == renamed
    assert ["content-length", str(len(renamed))] in seen["fields"]
    assert [value for name, value in seen["fields"] if name == "content-type"] == [value for _, value in fields]


@BOTH
@pytest.mark.parametrize("content_type", TYPES_OF_JSON)
def test_what_is_no_object_does_not_pass_where_a_model_is_taken(options: dict[str, str], content_type: str) -> None:
    for body in (b"{{{", b"\xff\xfe{\x00", MESSAGE.decode().encode("utf-16-le"), MESSAGE.decode().encode("utf-32")):
        assert arrived(CHAT, typed(content_type), body, **options)["status"] in (400, 415)
    if "urlencoded" not in content_type:
        for body in (b"[]", b"hello", b"\x81\xa5model\xa6gpt-4o", b"model: gpt-4o", b"// \n" + MESSAGE):
            assert arrived(CHAT, typed(content_type), body, **options)["status"] in (400, 415)


@BOTH
@pytest.mark.parametrize("size", [100, 100_000, 300_000])
def test_other_bodies_pass_where_no_model_is_taken(options: dict[str, str], size: int) -> None:
    for content_type, body in [
        ("audio/wav", b"RIFF\0\0\0\0" * (size // 8)),
        ("text/plain", b"hello " * (size // 6)),
        ("application/octet-stream", b"\x7fELF" * (size // 4)),
        ("application/json", b"[1, 2] " + b" " * size),
        ("application/json", b'"gpt-4o" ' + b" " * size),
        ("application/sdp", b"v=0\r\n" + b"a=x\r\n" * (size // 5)),
    ]:
        assert arrived("/v1/vendor/thing", typed(content_type), body, **options)["body"] == body


@BOTH
def test_a_body_that_comes_in_chunks_is_read_too(options: dict[str, str]) -> None:
    async def main() -> None:
        async with Upstream(echo_received()) as upstream, house(upstream, **options) as relayed:
            async with relayed.client() as client:
                client.writer.write(
                    b"POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\ncontent-type: text/plain\r\n"
                    b"transfer-encoding: chunked\r\n\r\n"
                )
                for byte in MESSAGE:
                    client.writer.write(b"1\r\n%c\r\n" % byte)
                client.writer.write(b"0\r\n\r\n")
                await client.reader.readuntil(b"\r\n\r\n")
            assert upstream.received[0].body == RENAMED
            assert upstream.received[0].get("content-length") == str(len(RENAMED))

    run(main)


@BOTH
@pytest.mark.parametrize(
    "fields",
    [
        [("content-type", "text/plain"), JSON],
        [JSON, ("content-type", "text/plain")],
        [("content-type", "application/json, text/plain")],
        [("content-type", "multipart/mixed; boundary=b0")],
        [("content-type", "multipart/related; boundary=b0")],
        [("content-type", "application/json; charset=utf-16")],
        [("content-type", 'text/plain; charset="utf-7"')],
    ],
    ids=lambda fields: " + ".join(value for _, value in fields),
)
def test_a_type_that_is_read_in_two_ways_is_refused(options: dict[str, str], fields: list[tuple[str, str]]) -> None:
    assert arrived(CHAT, fields, MESSAGE, **options)["status"] in (400, 415)
    assert arrived(CHAT, fields, MESSAGE)["body"] == MESSAGE  # nothing is renamed: nothing is anybody's business


@BOTH
@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"gpt-4o","Model":"gpt-5"}',
        b'{"Model":"gpt-5","model":"gpt-4o"}',
        b'{"model":"cheap","model":"gpt-4o"}',
        b'{"model":"gpt-4o","model":"gpt-4o"}',
        b'{"model":"x","MODE\\u004c":"y"}',
    ],
)
def test_a_model_that_is_named_twice_is_refused(options: dict[str, str], body: bytes) -> None:
    seen = arrived(CHAT, [JSON], body, **options)
    assert seen["status"] == 400 and "once" in seen["message"]
    assert arrived(CHAT, [JSON], body)["body"] == body


@pytest.mark.parametrize(
    ("options", "body", "models"),
    [
        (FORCED, b'{"Model":"gpt-5"}', {"Model": "m", "model": "m"}),
        (FORCED, b'{"model":["gpt-5"]}', {"model": "m"}),
        (FORCED, b'{"model":null}', {"model": "m"}),
        (FORCED, b"{}", {"model": "m"}),
        (MAPPED, b'{"MODEL":"gpt-4o"}', {"MODEL": "m", "model": "m"}),
        (MAPPED, b'{"mod\\u0065l":"gpt\\u002d4o"}', {"model": "m"}),
        (MAPPED, b'{"model":"claude-2"}', {"model": "c"}),
        (MAPPED, b'{"model":"claude-3"}', {"model": "exact"}),
        (MAPPED, b'{"model":"a-wild"}', {"model": "w"}),
        (MAPPED, b'{"model":"ab-wild"}', {"model": "ab-wild"}),
        (MAPPED, b'{"model":"Claude-2"}', {"model": "Claude-2"}),
        (MAPPED, b'{"model":null}', {"model": None}),
        ({"models": "* = x"}, b'{"model":7}', {"model": "x"}),
        ({"models": "* = x"}, b'{"model":"any/thing"}', {"model": "x"}),
        ({"models": "a = 1\n* = x"}, b'{"model":"a"}', {"model": "1"}),
    ],
)
def test_which_model_is_sent(options: dict[str, str], body: bytes, models: dict[str, object]) -> None:
    seen = json.loads(arrived(CHAT, [JSON], body, **options)["body"])
    assert {name: value for name, value in seen.items() if name.lower() == "model"} == models


@pytest.mark.parametrize("text", ["claude-* = x*", "a = b?"])
def test_a_pattern_cannot_be_sent(text: str) -> None:
    with pytest.raises(UsageError, match="expected"):
        settings_of({"relay": {"models": text}})


# ---- where a model is put in ----------------------------------------------------------------------------------------

MODEL_PATHS = [
    "/v1/chat/completions", "/chat/completions", "/v1/completions", "/v1/responses", "/v1/responses/compact",
    "/v1/responses/input_tokens", "/v1/embeddings", "/v1/moderations", "/v1/images/generations", "/v1/images/edits",
    "/v1/audio/speech", "/v1/audio/transcriptions", "/v1/videos", "/v1/rerank", "/v1/threads/runs",
    "/v1/threads/thread_1/runs", "/v1/realtime/sessions",
    # As lenient servers read them
    "/v1/chat/completions/", "/v1/Chat/Completions", "/v1/ch%61t/completions", "/v1/chat%2Fcompletions",
    "/v1/chat/completions;x=y", "/v1/ch%2561t/completions",
]  # fmt: skip


@pytest.mark.parametrize("path", MODEL_PATHS)
def test_a_forced_model_is_put_in_where_one_is_taken(path: str) -> None:
    assert json.loads(arrived(path, [JSON], b'{"n":1}', model="m")["body"]) == {"model": "m", "n": 1}
    pairs = typed("application/x-www-form-urlencoded")
    assert arrived(path, pairs, b"n=1", model="m")["body"] == b"n=1&model=m"
    form = part(b"n", b"1") + END
    assert arrived(path, [FORM], form, model="m")["body"] == part(b"n", b"1") + part(b"model", b"m") + END


@pytest.mark.parametrize("path", ["/v1/vector_stores", "/v1/batches", "/v1/threads", "/v1/responses/resp_1/cancel"])
def test_a_forced_model_is_not_put_in_elsewhere(path: str) -> None:
    assert arrived(path, [JSON], b'{"n":1}', model="m")["body"] == b'{"n":1}'


# ---- pairs and queries ----------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("name", [b"model", b"mod%65l", b"Model", b"%6D%6f%64%65%6c", b"model%5B%5D", b"+model"])
def test_the_model_of_a_browsers_form_is_renamed(options: dict[str, str], name: bytes) -> None:
    body = b"a=1&" + name + b"=gpt%2D4o&prompt=model%3Dx"
    seen = arrived(CHAT, typed("application/x-www-form-urlencoded"), body, **options)["body"]
    assert seen == b"a=1&" + name + b"=m&prompt=model%3Dx"


def test_a_browsers_form_that_is_too_large_to_part_is_refused() -> None:
    body = b"a=1&" * 300_000
    assert arrived(CHAT, typed("application/x-www-form-urlencoded"), body, model="m")["status"] == 413


@pytest.mark.parametrize(
    ("query", "model", "renamed"),
    [
        ("model=gpt-4o", "gpt-4o", "model=m"),
        ("mod%65l=gpt-4o&x=1", "gpt-4o", "mod%65l=m&x=1"),
        ("MODEL=gpt-4o", "gpt-4o", "MODEL=m"),
        ("x=1;model=gpt-4o", "gpt-4o", "x=1;model=m"),
        ("model=a&model=gpt-4o", "gpt-4o", "model=m&model=m"),
        ("model=gpt%2d4o", "gpt-4o", "model=m"),
        ("model", "", "model"),
        ("amodel=gpt-4o&x=model", "", "amodel=gpt-4o&x=model"),
        ("", "", ""),
    ],
)
def test_the_model_of_a_query(query: str, model: str, renamed: str) -> None:
    assert query_model(query) == model
    assert with_renamed_model(query, lambda asked: "m") == renamed


@BOTH
def test_the_query_of_a_request_is_renamed(options: dict[str, str]) -> None:
    async def main() -> None:
        async with Upstream(echo_received()) as upstream, house(upstream, **options) as relayed:
            answer = await relayed.ask("GET", "/v1/chat/completions?limit=1&mod%65l=gpt-4o&x=%20", [])
            assert answer.json()["target"] == "/v1/chat/completions?limit=1&mod%65l=m&x=%20"

    run(main)


@pytest.mark.parametrize(
    ("target", "arrives"),
    [
        ("/v1/engines/gpt-4o/completions", "/v1/engines/m/completions"),
        ("/v1/deployments/gpt-4o/chat/completions?api-version=1", "/v1/deployments/m/chat/completions?api-version=1"),
        ("/v1/openai/Deployments/gpt%2d4o/embeddings", "/v1/openai/Deployments/m/embeddings"),
        ("/v1/deployments%2fgpt-4o/chat", None),
        ("/v1/d%65ployments/gpt-4o/chat", None),
    ],
)
@BOTH
def test_a_path_that_names_a_model_is_renamed(options: dict[str, str], target: str, arrives: str | None) -> None:
    seen = arrived(target, [JSON], b"{}", **options)
    assert seen.get("target") == arrives
    assert arrives or seen["status"] == 400


# ---- codings --------------------------------------------------------------------------------------------------------


def encoded(coding: str, body: bytes) -> bytes:
    return {"gzip": gzip.compress, "x-gzip": gzip.compress, "deflate": zlib.compress}[coding.lower()](body)


@BOTH
@pytest.mark.parametrize("coding", ["gzip", "GZIP", "x-gzip", "deflate"])
@pytest.mark.parametrize("padding", [0, 200_000], ids=["small", "large"])
def test_an_encoded_body_is_renamed_and_goes_on_as_it_is(options: dict[str, str], coding: str, padding: int) -> None:
    body = encoded(coding, MESSAGE + b" " * padding)
    for content_type in ("application/json", "text/plain", "application/x-www-form-urlencoded"):
        seen = arrived(CHAT, typed(content_type, ("content-encoding", coding)), body, **options)
        assert seen["body"] == RENAMED + b" " * padding
        assert "content-encoding" not in dict(seen["fields"])
        assert dict(seen["fields"])["content-length"] == str(len(seen["body"]))


def test_an_encoded_body_that_needs_no_other_model_goes_on_as_it_came() -> None:
    body = gzip.compress(MESSAGE)
    for options in ({}, {"models": "other = x"}, {"model": "gpt-4o"}):
        seen = arrived(CHAT, [JSON, ("content-encoding", "gzip")], body, **options)
        assert seen["body"] == body
        assert dict(seen["fields"])["content-encoding"] == "gzip"


@BOTH
@pytest.mark.parametrize(
    ("coding", "body", "status"),
    [
        ("br", b"\x8b\x05\x80{}\x03", 415),
        ("compress", b"x", 415),
        ("gzip, gzip", gzip.compress(gzip.compress(MESSAGE)), 415),
        ("gzip, br", gzip.compress(MESSAGE), 415),
        ("deflate", zlib.compress(MESSAGE)[2:-4], 400),  # the bare format
        ("gzip", gzip.compress(MESSAGE)[:-1], 400),
        ("gzip", gzip.compress(MESSAGE) + b"{}", 400),
        ("deflate", zlib.compress(MESSAGE) + MESSAGE, 400),
        ("gzip", MESSAGE, 400),
        ("gzip", b"", 200),
    ],
)
def test_a_coding_that_cannot_be_undone_is_refused(
    options: dict[str, str], coding: str, body: bytes, status: int
) -> None:
    seen = arrived(CHAT, [JSON, ("content-encoding", coding)], body, **options)
    assert seen.get("status", 200) == status
    assert arrived(CHAT, [JSON, ("content-encoding", coding)], body)["body"] == body
    assert arrived("/v1/files", [FORM, ("content-encoding", coding)], body, **options)["body"] == body


@pytest.mark.skipif("compression.zstd" in sys.modules or sys.version_info >= (3, 14), reason="Python has zstd")
def test_zstd_is_refused_where_python_has_none() -> None:
    assert arrived(CHAT, [JSON, ("content-encoding", "zstd")], b"\x28\xb5\x2f\xfd", model="m")["status"] == 415


def test_zstd_is_decoded_where_python_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in with the interface of Python 3.14's module, on top of zlib."""

    class ZstdError(Exception):
        pass

    class ZstdDecompressor:
        def __init__(self) -> None:
            self._zlib = zlib.decompressobj()
            self._waiting = b""

        eof = property(lambda self: self._zlib.eof)
        unused_data = property(lambda self: self._zlib.unused_data)

        def decompress(self, data: bytes, max_length: int = -1) -> bytes:
            if self.eof:
                raise EOFError("already at the end")
            try:
                decoded = self._zlib.decompress(self._waiting + data, max_length)
            except zlib.error as exc:
                raise ZstdError(str(exc)) from exc
            self._waiting = self._zlib.unconsumed_tail
            return decoded

    module = types.ModuleType("compression.zstd")
    module.ZstdError, module.ZstdDecompressor = ZstdError, ZstdDecompressor
    monkeypatch.setitem(sys.modules, "compression", types.ModuleType("compression"))
    monkeypatch.setitem(sys.modules, "compression.zstd", module)
    text = bytes(range(256)) * 1000
    assert decode_content("zstd", zlib.compress(text), len(text)) == text
    for body, status in [(b"nonsense", 400), (zlib.compress(text)[:-1], 400), (zlib.compress(text) + b"x", 400)]:
        with pytest.raises(ApiError) as caught:
            decode_content("zstd", body, len(text))
        assert caught.value.status == status
    with pytest.raises(ApiError) as caught:
        decode_content("zstd", zlib.compress(text), len(text) - 1)
    assert caught.value.status == 413


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_decoding_is_bounded(coding: str) -> None:
    bomb = encoded(coding, bytes(50_000_000))
    with pytest.raises(ApiError) as caught:
        decode_content(coding, bomb, 1_000_000)
    assert caught.value.status == 413
    assert len(decode_content(coding, encoded(coding, bytes(1_000_000)), 1_000_000)) == 1_000_000


def test_members_of_gzip_are_joined_and_bounded() -> None:
    assert decode_content("gzip", gzip.compress(b"a") + gzip.compress(b"b"), 2) == b"ab"
    with pytest.raises(ApiError) as caught:
        decode_content("gzip", gzip.compress(b"a") + gzip.compress(b"b"), 1)
    assert caught.value.status == 413
    with pytest.raises(ApiError) as caught:
        decode_content("gzip", gzip.compress(b"") * 100, 1000)
    assert caught.value.status == 400


@pytest.mark.parametrize("cut", range(0, 60, 7))
def test_decodes_the_same_in_pieces_of_any_size(cut: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protocol.wire.content_coding._PIECE_BYTES", cut + 1)
    text = b"The same text, again and again. " * 40
    for coding in ("gzip", "deflate"):
        assert decode_content(coding, encoded(coding, text), len(text)) == text


def test_max_body_bounds_what_is_held_and_what_is_decoded() -> None:
    async def main() -> None:
        async with Upstream(silent) as upstream, house(upstream, server={"max_body": "10k"}, model="m") as relayed:
            big = MESSAGE + b" " * 20_000
            for fields, body in [
                ([JSON], big),
                (typed("text/plain"), MESSAGE + b" " * 100_000),
                (typed("audio/wav"), MESSAGE + b" " * 100_000),
                ([JSON, ("content-encoding", "gzip")], gzip.compress(big)),
                ([FORM], part(b"file", b"x" * 100_000, b'; filename="f"') + part(b"model", b"a") + END),
            ]:
                assert (await relayed.ask("POST", CHAT, fields, body)).status == 413
            assert not upstream.received

    run(main)


# ---- routes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ([JSON], MESSAGE),
        (typed("text/plain"), MESSAGE),
        (typed("application/x-www-form-urlencoded"), MESSAGE),
        (typed("application/x-www-form-urlencoded"), b"a=1&model=gpt-4o"),
        ([JSON, ("content-encoding", "gzip")], gzip.compress(MESSAGE)),
        ([FORM], part(b"model", b"gpt-4o") + END),
        ([FORM, ("content-encoding", "deflate")], zlib.compress(part(b"model", b"gpt-4o") + END)),
    ],
)
def test_a_request_is_routed_by_the_model_wherever_it_stands(fields: list[tuple[str, str]], body: bytes) -> None:
    async def main() -> None:
        async with Upstream(answering(sized(b"right"))) as right, Upstream(silent) as wrong:
            routes = [Route("gpt-*", ("relay",)), Route("*", ("other",))]
            async with house({"relay": right, "other": wrong}, routes, models="gpt-4o = m") as relayed:
                assert (await relayed.ask("POST", CHAT, fields, body)).body == b"right"
                sent = right.received[0].body
                assert b"gpt-4o" not in sent and b"m" in sent

    run(main)


# ---- forms ----------------------------------------------------------------------------------------------------------

TRANSCRIPTIONS = "/v1/audio/transcriptions"
FILE = b'; filename="f.wav"'


@pytest.mark.parametrize("size", [10, 300_000], ids=["small", "large"])
@pytest.mark.parametrize("order", ["model first", "file first", "no model"])
@pytest.mark.parametrize("sent", ["m", "much-longer-than-before", "gpt-4o"])
@pytest.mark.parametrize("comes", ["sized", "chunked"])
def test_a_form_goes_on_with_its_length(size: int, order: str, sent: str, comes: str) -> None:
    file = part(b"file", b"\0\xff" * size, FILE)
    model, renamed = part(b"model", b"gpt-4o"), part(b"model", sent.encode())
    body, expected = {
        "model first": (model + file + END, renamed + file + END),
        "file first": (file + model + END, file + renamed + END),
        "no model": (file + END, file + renamed + END),
    }[order]

    async def main() -> None:
        async with Upstream(answering(sized(b"ok"))) as upstream, house(upstream, model=sent) as relayed:
            async with relayed.client() as client:
                framing = f"content-length: {len(body)}" if comes == "sized" else "transfer-encoding: chunked"
                head = f"POST {TRANSCRIPTIONS} HTTP/1.1\r\nhost: h\r\ncontent-type: {FORM[1]}\r\n{framing}\r\n\r\n"
                client.writer.write(head.encode())
                chunks = [body[at : at + 50_000] for at in range(0, len(body), 50_000)]
                for chunk in chunks:
                    client.writer.write(chunk if comes == "sized" else b"%x\r\n%b\r\n" % (len(chunk), chunk))
                    await client.writer.drain()
                client.writer.write(b"" if comes == "sized" else b"0\r\n\r\n")
                assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            [received] = upstream.received
            assert received.body == expected
            if body == expected and comes == "chunked":
                return  # it needs no other model, so it may go on as it came
            assert received.get("content-length") == str(len(expected))
            assert received.get("transfer-encoding") == ""

    run(main)


@BOTH
@pytest.mark.parametrize("path", ["/v1/files", "/v1/uploads/upload_1/parts", "/v1/containers/c/files", "/v1/skills"])
@pytest.mark.parametrize("size", [10, 300_000], ids=["small", "large"])
def test_uploads_of_files_pass_as_they_came(options: dict[str, str], path: str, size: int) -> None:
    body = part(b"file", b"\0\xff" * size, FILE) + part(b"model", b"gpt-4o") + b"whatever"
    seen = arrived(path, [FORM], body, **options)
    assert seen["body"] == body
    assert dict(seen["fields"])["content-length"] == str(len(body))
    assert arrived(path, typed("multipart/mixed; boundary=x"), body, **options)["body"] == body


def test_the_beginning_of_a_large_form_goes_on_before_its_end_has_come() -> None:
    async def main() -> None:
        arriving = bytearray()

        async def script(peer) -> None:
            while not arriving.endswith(END):
                arriving.extend(await peer.bytes())
            await peer.send(sized(b"ok"))

        file = part(b"file", b"x" * 500_000, FILE)
        body = part(b"model", b"gpt-4o") + file + END
        async with Upstream(script) as upstream, house(upstream, models="gpt-4o = longer-name") as relayed:
            async with relayed.client() as client:
                head = f"POST {TRANSCRIPTIONS} HTTP/1.1\r\nhost: h\r\ncontent-type: {FORM[1]}\r\n"
                client.writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body[:200_000])
                while len(arriving) < 150_000:
                    await client.writer.drain()
                    await asyncio.sleep(0.001)
                client.writer.write(body[200_000:])
                assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            assert b"content-length: %d\r\n" % (len(body) + 5) in arriving

    run(main)


@BOTH
def test_a_form_whose_model_comes_twice_is_refused(options: dict[str, str]) -> None:
    for other in (b"model", b"Model"):
        body = part(b"model", b"gpt-4o") + part(other, b"gpt-5") + END
        assert arrived(TRANSCRIPTIONS, [FORM], body, **options)["status"] == 400
    assert arrived(TRANSCRIPTIONS, [FORM], part(b"MODEL", b"gpt-4o") + END, **options)["status"] == 400


def test_a_small_form_is_sent_again() -> None:
    async def main() -> None:
        body = part(b"model", b"gpt-4o") + part(b"file", b"x", FILE) + END
        async with Upstream(answering(sized(b"", "503 X"), sized(b"ok"))) as upstream, house(upstream, **MAPPED) as r:
            assert (await r.ask("POST", TRANSCRIPTIONS, [FORM], body)).body == b"ok"
            assert [received.body for received in upstream.received] == [body.replace(b"gpt-4o", b"m")] * 2

    run(main)
