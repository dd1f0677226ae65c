"""protocol/relay/: through the real server and router, to an upstream that does what the test says."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import gzip
import json
from collections.abc import Callable, Sequence

import h11
import pytest
from relays import CHAT, EVENTS, JSON, KEY, MESSAGE, Client, House, echo_received, house, settings_of, until
from skipping import run
from upstreams import (
    Peer,
    Received,
    Script,
    Upstream,
    answering,
    breaking_off,
    chunked,
    closed_port,
    resetting,
    silent,
    sized,
)

from protocol.config import Route, describe
from protocol.errors import ApiError, UsageError
from protocol.relay.backend import Relay
from protocol.relay.passage import Passage
from protocol.service.log import Log

# ---- fidelity ---------------------------------------------------------------------------------------------------

SSE = ("content-type: text/event-stream; charset=utf-8",)
FORM_TYPE = ("content-type", "multipart/form-data; boundary=xyz")


def form(model: bytes = b"gpt-4o", file: bytes = b"RIFF\0\xff\r\n--xy\r\n" * 50) -> bytes:
    return (
        b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n'
        b"\r\n%b\r\n"
        b'--xyz\r\nContent-Disposition: form-data; name="model"\r\n\r\n%b\r\n--xyz--\r\n' % (file, model)
    )


EXCHANGES = [
    (
        "a plain completion",
        "POST",
        CHAT,
        MESSAGE,
        sized(b'{"id":"1",  "x":[1.0,1e5]}\n', "200 OK", "content-type: application/json"),
    ),
    (
        "unknown members, odd spacing",
        "POST",
        CHAT,
        b'{ "vendor" : {"model":"deep"} ,\n"model"\t:"gpt-4o","n":1.50}',
        sized(b"{}"),
    ),
    (
        "escapes and surrogates",
        "POST",
        CHAT,
        b'{"x":"\\ud83d\\ude00\\/\xc3\xa9","model":"gpt\\u002d4o"}',
        sized(b'"\\u00e9"'),
    ),
    ("a stream", "POST", CHAT, MESSAGE, chunked(b'data: {"a":1}\n\n', b"data: [DONE]\n\n", fields=SSE)),
    (
        "comments and CRLF",
        "POST",
        CHAT,
        MESSAGE,
        chunked(b": hi\r\n\r\ndata: 1\r\n\r\n", b":\r\n", b"data: [DONE]\r\n\r\n", fields=SSE),
    ),
    (
        "named events, ids, retry",
        "POST",
        "/v1/responses",
        MESSAGE,
        chunked(b"event: response.created\nid: 7\nretry: 10\ndata: {}\n\n", fields=SSE),
    ),
    (
        "events split anywhere",
        "POST",
        CHAT,
        MESSAGE,
        chunked(*[b"%c" % byte for byte in b'data: {"x":"\xc3\xa9"}\n\ndata: [DONE]\n\n'], fields=SSE),
    ),
    ("a stream without a last line end", "POST", CHAT, MESSAGE, chunked(b"data: 1\n\ndata: 2", fields=SSE)),
    ("an event of 4 MB", "POST", CHAT, MESSAGE, chunked(b"data: " + b"x" * (4 << 20) + b"\n\n", fields=SSE)),
    ("a sized event stream", "POST", CHAT, MESSAGE, sized(b"data: 1\n\n", "200 OK", EVENTS)),
    ("an empty stream", "POST", CHAT, MESSAGE, chunked(fields=SSE)),
    ("a stream until close", "POST", CHAT, MESSAGE, b"HTTP/1.1 200 OK\r\n%b\r\n\r\ndata: 1\n\n" % SSE[0].encode()),
    (
        "bad request",
        "POST",
        CHAT,
        MESSAGE,
        sized(b'{"error":{"message":"no","extra":1}}', "400 Bad Request", "x-request-id: req_up"),
    ),
    (
        "rate limit",
        "POST",
        CHAT,
        MESSAGE,
        sized(b'{"error":1}', "429 Too Many Requests", "retry-after: 99", "x-ratelimit-limit-requests: 3"),
    ),
    (
        "an HTML error",
        "POST",
        CHAT,
        MESSAGE,
        sized(b"<html>", "503 Service Unavailable", "content-type: text/html", "x-should-retry: false"),
    ),
    (
        "speech",
        "POST",
        "/v1/audio/speech",
        MESSAGE,
        sized(bytes(range(256)) * 100, "200 OK", "content-type: audio/mpeg"),
    ),
    (
        "chunked binary",
        "POST",
        "/v1/audio/speech",
        MESSAGE,
        chunked(bytes(range(256)) * 10, b"\r\n0\r\n\r\n", fields=("content-type: audio/opus",)),
    ),
    (
        "file content",
        "GET",
        "/v1/files/file-1/content?x=%20y&z",
        None,
        sized(b"\0\1\2" * 9999, "200 OK", "content-type: application/octet-stream"),
    ),
    (
        "gzip",
        "POST",
        CHAT,
        MESSAGE,
        sized(gzip.compress(b"{}" * 99, mtime=0), "200 OK", "content-encoding: gzip", "content-type: application/json"),
    ),
    (
        "a gzip stream",
        "POST",
        CHAT,
        MESSAGE,
        chunked(gzip.compress(b"data: 1\n\n", mtime=0), fields=(*SSE, "content-encoding: gzip")),
    ),
    ("an upload", "POST", "/v1/audio/transcriptions", form(), sized(b'{"text":""}')),
    ("a large body", "POST", CHAT, MESSAGE[:-1] + b',"pad":"' + b"p" * 200_000 + b'"}', sized(b"{}")),
    ("no content", "DELETE", "/v1/files/file-1", None, b"HTTP/1.1 204 No Content\r\n\r\n"),
    ("head only", "HEAD", "/v1/files/file-1", None, b"HTTP/1.1 200 OK\r\ncontent-length: 123\r\nx-y: z\r\n\r\n"),
    ("not modified", "GET", "/v1/files/file-1", None, b'HTTP/1.1 304 Not Modified\r\netag: "a"\r\n\r\n'),
    (
        "an unknown path and method",
        "PATCH",
        "/v1/vendor/thing?model=gpt-4o",
        b"<xml/>",
        sized(b"ok", "207 Multi-Status"),
    ),
    (
        "a redirect",
        "GET",
        "/v1/files/file-1",
        None,
        sized(b"", "307 Temporary Redirect", "location: http://elsewhere.test/x"),
    ),
    (
        "odd fields",
        "GET",
        "/v1/files",
        None,
        sized(b"", "200 OK", "x-empty:", "x-latin: caf\xe9", "x-twice: a", "x-twice: b"),
    ),
]

# What a hop adds, drops or makes by itself.
OWN_FIELDS = {
    "date",
    "x-request-id",
    "x-oaiserve-attempts",
    "x-accel-buffering",
    "connection",
    "content-length",
    "transfer-encoding",
    "via",
    "host",
}


def foreign(fields: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    return [f for f in fields if f[0] not in OWN_FIELDS and not f[0].startswith("access-control-")]


def content_fields(target: str, body: bytes | None) -> list[tuple[str, str]]:
    if body is None:
        return []
    return [FORM_TYPE if "transcriptions" in target else ("content-type", "text/xml") if body[:1] == b"<" else JSON]


@pytest.mark.parametrize(
    ("method", "target", "body", "raw"), [case[1:] for case in EXCHANGES], ids=[case[0] for case in EXCHANGES]
)
def test_through_the_relay_is_as_going_there_directly(method: str, target: str, body: bytes | None, raw: bytes) -> None:
    async def main() -> None:
        async with Upstream(breaking_off(raw)) as upstream, house(upstream, model="forced/model") as relayed:
            fields = [*content_fields(target, body), ("user-agent", "OpenAI/Python 1.0"), ("x-stainless-lang", "py")]
            through = await relayed.ask(method, target, fields, body)
            reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
            client = Client(reader, writer)
            await client.send(method, target, fields, body)
            direct = await client.answer()
            client.leave()
            await asyncio.sleep(0)
            assert (through.status, through.body, through.broken) == (direct.status, direct.body, direct.broken)
            assert foreign(through.fields) == foreign(direct.fields)
            if direct.get("content-length") and direct.status != 304:
                assert through.get("content-length") == direct.get("content-length")
            relayed_request, direct_request = upstream.received
            assert_same_request(relayed_request, direct_request)

    run(main)


def assert_same_request(relayed: Received, direct: Received) -> None:
    """Compare what arrived: every byte, but for the model's name."""
    assert relayed.method == direct.method
    assert foreign(relayed.fields) == foreign(direct.fields)
    named = b"gpt\\u002d4o" if b"u002d4o" in direct.body else b"gpt-4o"
    assert relayed.target == direct.target.replace("gpt-4o", "forced%2Fmodel")
    assert relayed.body == direct.body.replace(named, b"forced/model")


# ---- streaming --------------------------------------------------------------------------------------------------


def test_each_event_goes_on_at_once() -> None:
    async def main() -> None:
        seen = asyncio.Queue()

        async def script(peer: Peer) -> None:
            await peer.read()
            await peer.send(chunked(end=b"", fields=SSE))
            for number in range(5):
                await peer.send(b"c\r\ndata: 000%d\n\n\r\n" % number)
                assert await seen.get() == number
            await peer.send(b"0\r\n\r\n")

        async with Upstream(script) as upstream, house(upstream) as relayed, relayed.client() as client:
            await client.send("POST", CHAT, [JSON], MESSAGE)
            assert (await client.head()).status_code == 200
            for number in range(5):
                assert (await client.event()).data == b"data: 000%d\n\n" % number
                seen.put_nowait(number)
            assert isinstance(await client.event(), h11.EndOfMessage)

    run(main)


def test_the_head_goes_on_before_the_first_byte_of_the_body() -> None:
    async def main() -> None:
        go = asyncio.Event()

        async def script(peer: Peer) -> None:
            await peer.read()
            await peer.send(chunked(end=b"", fields=SSE))
            await go.wait()
            await peer.send(b"0\r\n\r\n")

        async with Upstream(script) as upstream, house(upstream) as relayed, relayed.client() as client:
            await client.send("POST", CHAT, [JSON], MESSAGE)
            await client.head()
            go.set()
            assert await client.rest() == (b"", False)

    run(main)


def test_an_upload_streams_through_as_it_comes() -> None:
    async def main() -> None:
        arrived = bytearray()

        async def script(peer: Peer) -> None:
            while True:
                arrived.extend(await peer.bytes())
                if arrived.endswith(b"--xyz--\r\n"):
                    await peer.send(sized(b"ok"))

        async with Upstream(script) as upstream, house(upstream) as relayed, relayed.client() as client:
            whole = form(file=b"x" * 200_000)
            fields = f"host: h\r\ncontent-type: {FORM_TYPE[1]}\r\ncontent-length: {len(whole)}\r\n\r\n"
            client.writer.write(b"POST /v1/files HTTP/1.1\r\n" + fields.encode() + whole[:1000])
            await until(lambda: b"\r\n\r\n" + whole[:1000] in arrived, 1.0)
            client.writer.write(whole[1000:])
            assert (await client.reader.read(65536)).startswith(b"HTTP/1.1 200")
            assert arrived.endswith(whole)
            assert b"content-length: %d\r\n" % len(whole) in arrived

    run(main)


def test_a_slow_client_slows_the_upstream() -> None:
    async def main() -> None:
        sent = 0

        async def flood(peer: Peer) -> None:
            nonlocal sent
            await peer.read()
            await peer.send(chunked(end=b"", fields=SSE))
            while True:
                await peer.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")
                sent += 65536

        async with Upstream(flood) as upstream, house(upstream) as relayed, relayed.client() as client:
            await client.send("POST", CHAT, [JSON], MESSAGE)
            await asyncio.sleep(0.2)
            stopped_at = sent
            await asyncio.sleep(0.05)
            assert sent == stopped_at < 32 << 20
            client.leave()
            await until(lambda: upstream.open_connections == 0, 0.05)

    run(main)


# ---- models -----------------------------------------------------------------------------------------------------

RENAMED = [
    ("override", {"model": "m"}, CHAT, MESSAGE, MESSAGE.replace(b"gpt-4o", b"m")),
    ("override beats mapping", {"model": "m", "models": "gpt-4o = n"}, CHAT, MESSAGE, MESSAGE.replace(b"gpt-4o", b"m")),
    ("mapping", {"models": "gpt-4o = qwen-max\nx = y"}, CHAT, MESSAGE, MESSAGE.replace(b"gpt-4o", b"qwen-max")),
    ("mapping names another", {"models": "other = n"}, CHAT, MESSAGE, MESSAGE),
    ("override puts one in", {"model": "m"}, CHAT, b'{"messages":[]}', b'{"model":"m","messages":[]}'),
    ("override elsewhere puts none in", {"model": "m"}, "/v1/vector_stores", b'{"name":"x"}', b'{"name":"x"}'),
    ("mapping puts none in", {"models": "a = b"}, CHAT, b'{"messages":[]}', b'{"messages":[]}'),
    ("nothing set", {}, CHAT, MESSAGE, MESSAGE),
]


@pytest.mark.parametrize(
    ("options", "target", "body", "arrives"), [case[1:] for case in RENAMED], ids=[case[0] for case in RENAMED]
)
def test_renames_the_model(options: dict[str, str], target: str, body: bytes, arrives: bytes) -> None:
    async def main() -> None:
        async with Upstream(echo_received()) as upstream, house(upstream, **options) as relayed:
            answer = await relayed.ask("POST", target, [JSON], body)
            assert answer.json()["body"].encode() == arrives

    run(main)


@pytest.mark.parametrize("padding", [10, 300_000], ids=["small", "large"])
def test_renames_the_model_in_a_form(padding: int) -> None:
    async def main() -> None:
        body = form(file=b"\0\xff" * padding)
        async with (
            Upstream(answering(sized(b"ok"))) as upstream,
            house(upstream, models="gpt-4o = whisper-9") as relayed,
        ):
            assert (await relayed.ask("POST", "/v1/audio/transcriptions", [FORM_TYPE], body)).status == 200
            assert upstream.received[0].body == form(b"whisper-9", b"\0\xff" * padding)

    run(main)


@pytest.mark.parametrize("body", [b"{{{", b"[]", gzip.compress(MESSAGE), MESSAGE.decode().encode("utf-16")])
def test_a_body_that_an_override_cannot_reach_is_refused(body: bytes) -> None:
    async def main() -> None:
        async with Upstream(silent) as upstream, house(upstream, model="m") as relayed:
            assert (await relayed.ask("POST", CHAT, [JSON], body)).status == 400
            assert not upstream.received

    run(main)


@pytest.mark.parametrize(("target", "grows"), [("/v1/audio/transcriptions", True), ("/v1/files", False)])
def test_an_override_is_put_into_forms_that_take_a_model(target: str, grows: bool) -> None:
    body = form().replace(b'name="model"', b'name="purpose"')

    async def main() -> None:
        async with Upstream(answering(sized(b"ok"))) as upstream, house(upstream, model="m") as relayed:
            assert (await relayed.ask("POST", target, [FORM_TYPE], body)).status == 200
            assert (b'name="model"' in upstream.received[0].body) is grows

    run(main)


def test_a_broken_form_is_the_callers_mistake() -> None:
    async def main() -> None:
        async with Upstream(silent) as upstream, house(upstream, model="m") as relayed:
            answer = await relayed.ask("POST", "/v1/audio/transcriptions", [FORM_TYPE], b"nothing of the kind")
            assert answer.status == 400

    run(main)


def test_a_base_url_may_have_another_path() -> None:
    async def main() -> None:
        async with Upstream(echo_received()) as upstream:
            for base, target, arrives in [
                ("", CHAT, CHAT),
                ("/v1", "/chat/completions", CHAT),
                ("/api/paas/v4/", "/v1/chat/completions?a=b", "/api/paas/v4/chat/completions?a=b"),
            ]:
                async with house(upstream.url + base) as relayed:
                    assert (await relayed.ask(target=target)).json()["target"] == arrives

    run(main)


# ---- keys and fields --------------------------------------------------------------------------------------------


def test_our_key_takes_the_place_of_the_clients() -> None:
    async def main() -> None:
        async with Upstream(echo_received()) as upstream, house(upstream, api_key=KEY) as relayed:
            answer = await relayed.ask(fields=[JSON, ("authorization", "Bearer sk-theirs"), ("api-key", "sk-theirs")])
            arrived = upstream.received[0].fields
            assert ("authorization", f"Bearer {KEY}") in arrived and "sk-theirs" not in str(arrived)
            assert answer.status == 200 and KEY not in repr(answer)

    run(main)


def test_without_a_key_of_ours_the_clients_goes_on() -> None:
    async def main() -> None:
        async with Upstream(echo_received()) as upstream, house(upstream) as relayed:
            answer = await relayed.ask(fields=[JSON, ("authorization", "Bearer sk-theirs")])
            assert ["authorization", "Bearer sk-theirs"] in answer.json()["fields"]

    run(main)


def test_our_key_never_comes_out() -> None:
    async def main() -> None:
        leaking = [
            sized(b"bad key " + KEY.encode(), "401 Unauthorized", f"www-authenticate: {KEY}", f"x-key: {KEY}"),
            chunked(b"bad key " + KEY.encode()[:5], KEY.encode()[5:], status="500 No", fields=(f"x-key: {KEY}",)),
            KEY.encode() + b" is not HTTP",
        ]
        for raw in leaking:
            async with Upstream(breaking_off(raw)) as upstream, house(upstream, api_key=KEY, retries="0") as relayed:
                answer = await relayed.ask()
                listed = await relayed.ask("GET", "/v1/models")
                assert answer.status in (401, 500, 502) and listed.status in (401, 500, 502)
                assert KEY not in repr(answer) + repr(listed) + "".join(relayed.lines)
                assert answer.get("content-length") in ("", str(len(answer.body)))
        settings = settings_of({"relay": {"api_key": KEY, "proxy": "http://user:pw@proxy:1"}})
        assert KEY not in describe(settings) and "pw" not in describe(settings)

    run(main)


def test_what_passes_and_what_does_not() -> None:
    async def main() -> None:
        passing = [
            ("openai-organization", "o"),
            ("openai-project", "p"),
            ("openai-beta", "assistants=v2"),
            ("idempotency-key", "i"),
            ("x-stainless-os", "Linux"),
            ("traceparent", "00-1"),
            ("user-agent", "u"),
            ("x-vendor", "v"),
        ]
        barred = [
            ("cookie", "c"),
            ("forwarded", "for=1"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-real-ip", "1.2.3.4"),
            ("cf-ray", "r"),
            ("origin", "http://page.test"),
            ("referer", "r"),
            ("sec-fetch-mode", "cors"),
            ("proxy-authorization", "p"),
        ]
        back = [
            "x-request-id: req_up",
            "retry-after: 1",
            "x-ratelimit-remaining-tokens: 3",
            "openai-processing-ms: 4",
            "x-vendor: v",
        ]
        raw = sized(b"{}", "200 OK", *back, "set-cookie: s=1", "access-control-allow-origin: http://evil.test")
        async with Upstream(answering(raw)) as upstream, house(upstream) as relayed:
            answer = await relayed.ask(fields=[JSON, *passing, *barred])
            received = upstream.received[0]
            for name, value in passing:
                assert received.get(name) == value
            for name, _ in barred:
                assert received.get(name) == ""
            assert received.get("host") == f"127.0.0.1:{upstream.port}"
            for line in back:
                name, _, value = line.partition(": ")
                assert answer.get(name) == value
            assert answer.get("set-cookie") == ""
            assert answer.get("access-control-allow-origin") == "*"

    run(main)


def test_a_relay_that_leads_to_itself_says_so() -> None:
    async def main() -> None:
        port = closed_port()
        async with house(f"http://127.0.0.1:{port}", server={"port": str(port)}) as relayed:
            answer = await relayed.ask()
            assert answer.status == 508
            assert answer.json()["error"]["code"] == "loop_detected"
            assert "'relay'" in answer.json()["error"]["message"]

    run(main)


def test_two_relays_in_a_row_are_no_loop() -> None:
    async def main() -> None:
        async with Upstream(echo_received()) as upstream, house(upstream) as inner:
            async with house(f"http://127.0.0.1:{inner.server.port}") as outer:
                answer = await outer.ask()
                assert answer.status == 200
                assert dict(answer.json()["fields"])["via"].count("oaiserve") == 2

    run(main)


@pytest.mark.parametrize(
    "target", ["http://elsewhere.test/v1/files", "/v1/files?url=http://elsewhere.test", "//elsewhere.test/v1/files"]
)
def test_nothing_in_a_request_chooses_the_host(target: str) -> None:
    async def main() -> None:
        async with Upstream(echo_received()) as upstream, house(upstream) as relayed:
            answer = await relayed.ask("GET", target, [("x-forwarded-host", "elsewhere.test")])
            assert answer.status in (400, 404) or dict(answer.json()["fields"])["host"] == f"127.0.0.1:{upstream.port}"

    run(main)


@pytest.mark.parametrize("target", ["/v1/../admin", "/v1/files/..", "/v1/%2e%2E/admin", "/v1/./x"])
def test_a_path_cannot_climb_out_of_the_api(target: str) -> None:
    async def main() -> None:
        async with Upstream(echo_received()) as upstream, house(upstream) as relayed:
            assert (await relayed.ask("GET", target)).status == 400
            assert (await relayed.ask("GET", "/v1/files/.hidden..x")).status == 200

    run(main)


def test_trace_would_show_our_key() -> None:
    async def main() -> None:
        async with Upstream(echo_received()) as upstream, house(upstream, api_key=KEY) as relayed:
            assert (await relayed.ask("TRACE", CHAT)).status == 405
            assert not upstream.received

    run(main)


# ---- upstreams that fail ----------------------------------------------------------------------------------------

FAILING = [
    ("silence", silent, 504, "upstream_timeout"),
    ("nothing", breaking_off(b""), 502, "upstream_broke"),
    ("reset", resetting(b""), 502, "upstream_broke"),
    ("garbage", breaking_off(b"hello\r\n\r\n"), 502, "upstream_broke"),
    ("half a head", breaking_off(b"HTTP/1.1 200 OK\r\nx: "), 502, "upstream_broke"),
    ("garbage for a chunk", breaking_off(chunked(end=b"zz\r\n")), 502, "upstream_broke"),
    ("an error that breaks off", breaking_off(b"HTTP/1.1 500 No\r\ncontent-length: 9\r\n\r\nx"), 502, "upstream_broke"),
]


@pytest.mark.parametrize(
    ("script", "status", "code"), [case[1:] for case in FAILING], ids=[case[0] for case in FAILING]
)
def test_says_in_our_name_what_the_upstream_did_not(script: Script, status: int, code: str) -> None:
    async def main() -> None:
        async with Upstream(script) as upstream, house(upstream, timeout="0.1") as relayed:
            answer = await relayed.ask()
            assert answer.status == status
            assert answer.json()["error"]["code"] == code
            assert "'relay'" in answer.json()["error"]["message"]
            assert answer.get("x-oaiserve-attempts") == f"relay={status}"
            assert len(upstream.received) <= 1  # it may have been carried out

    run(main)


BREAKING = [
    ("an event stream, between events", chunked(b"data: 1\n\n", end=b"", fields=SSE), b"data: 1\n\n"),
    ("an event stream, within a line", chunked(b'data: {"x', end=b"", fields=SSE), b'data: {"x\n\n'),
    ("an event stream, within an event", chunked(b"event: x\r\n", end=b"", fields=SSE), b"event: x\r\n\n"),
    ("an event stream, garbage", chunked(b"data: 1\n\n", end=b"zz", fields=SSE), b"data: 1\n\n"),
]


@pytest.mark.parametrize("leave", [breaking_off, resetting])
@pytest.mark.parametrize(("raw", "passed"), [case[1:] for case in BREAKING], ids=[case[0] for case in BREAKING])
def test_an_event_stream_that_breaks_off_says_so_and_breaks_off(
    raw: bytes, passed: bytes, leave: Callable[[bytes], Script]
) -> None:
    async def main() -> None:
        async def script(peer: Peer) -> None:
            await peer.read()
            head, _, rest = raw.partition(b"\r\n\r\n")
            await peer.send(head + b"\r\n\r\n")
            await asyncio.sleep(0.01)  # so that the answer has begun for the client as well
            await peer.send(rest)
            await asyncio.sleep(0.01)
            if leave is resetting:
                peer.reset()

        async with Upstream(script) as upstream, house(upstream) as relayed:
            answer = await relayed.ask()
            assert answer.broken
            assert answer.body.startswith(passed + b'data: {"error":')
            assert json.loads(answer.body[len(passed) + 6 :])["error"]["code"] == "upstream_broke"
            assert b"[DONE]" not in answer.body

    run(main)


@pytest.mark.parametrize(
    "raw",
    [
        sized(b"hello")[:-2],
        chunked(b"hel", end=b"", fields=("content-type: audio/mpeg",)),
        b"HTTP/1.1 200 OK\r\n\r\nhel",
    ],
    ids=["sized", "chunked", "until close"],
)
def test_any_other_body_that_breaks_off_breaks_off(raw: bytes) -> None:
    async def main() -> None:
        async with Upstream(resetting(raw)) as upstream, house(upstream) as relayed:
            answer = await relayed.ask()
            assert (answer.status, answer.body, answer.broken) == (200, b"hel", True)

    run(main)


@pytest.mark.parametrize("end", [b"", b"5\r\nda"], ids=["between chunks", "within a chunk"])
def test_a_chunked_body_that_falls_silent_is_ended(end: bytes) -> None:
    async def main() -> None:
        async def script(peer: Peer) -> None:
            await peer.read()
            await peer.send(chunked(b"one", end=end))
            await peer.until_gone()

        async with Upstream(script) as upstream, house(upstream, timeout="0.1") as relayed:
            for _ in range(2):
                answer = await relayed.ask()
                assert (answer.broken, answer.body) == (True, b"one" + end[3:])

    run(main)


@pytest.mark.parametrize("status", ["600 X", "999 X"])
def test_a_status_that_http_does_not_have_is_a_bad_gateway(status: str) -> None:
    async def main() -> None:
        script = answering(sized(b"{}"), sized(b"{}", status))
        async with Upstream(script) as upstream, house(upstream) as relayed:
            answers = [await relayed.ask() for _ in range(3)]
            assert [answer.status for answer in answers] == [200, 502, 200]
            assert answers[1].json()["error"]["code"] == "upstream_broke"

    run(main)


def test_a_body_that_ends_with_its_connection_is_reset_for_an_old_client_when_it_breaks_off() -> None:
    async def main() -> None:
        raw = b"HTTP/1.1 200 OK\r\n\r\nhel"
        async with Upstream(resetting(raw)) as upstream, house(upstream) as relayed:
            reader, writer = await asyncio.open_connection("127.0.0.1", relayed.server.port)
            writer.write(b"GET /v1/files HTTP/1.0\r\nhost: a\r\n\r\n")
            with pytest.raises(ConnectionResetError):
                while await reader.read(100):
                    pass
            writer.transport.abort()

    run(main)


def test_the_log_keeps_to_one_id_and_adds_the_one_of_the_answer() -> None:
    async def main() -> None:
        script = answering(sized(b"{}", "200 OK", "x-request-id: theirs"))
        async with Upstream(script) as upstream, house(upstream) as relayed:
            relayed.server.log.form = "json"
            answer = await relayed.ask(fields=[JSON, ("x-request-id", "callers")])
            assert answer.get("x-request-id") == "theirs"
            await until(lambda: len(relayed.lines) > 1, 1.0)
            started, completed = (json.loads(line) for line in "".join(relayed.lines).splitlines())
            assert (started["request_id"], completed["request_id"]) == ("callers", "callers")
            assert (started.get("answer_id"), completed["answer_id"]) == (None, "theirs")

    run(main)


MIXED = {
    "plain": sized(b"{}"),
    "chunked": chunked(b"one", b"two"),
    "events": chunked(b"data: 1\n\n", fields=SSE),
    "error": sized(b"{}", "404 X"),
    "tried again": sized(b"{}", "503 X"),
    "broken": b"HTTP/1.1 200 OK\r\nzz\r\n\r\n",
    "broken off": chunked(b"one", end=b"zz"),
    "closing": sized(b"{}", "200 OK", "connection: close"),
}


@pytest.mark.parametrize("raw", MIXED.values(), ids=MIXED)
@pytest.mark.parametrize("leaves", [False, True], ids=["stays", "leaves"])
@pytest.mark.parametrize("kept", ["0", "100"], ids=["new connections", "kept connections"])
def test_what_a_request_took_is_freed_without_the_collector(raw: bytes, leaves: bool, kept: str) -> None:
    """A cycle of objects lives on until the collector comes, which under load is seldom."""

    def ours() -> dict[str, int]:
        """Count the objects of our classes."""
        kinds = [type(thing) for thing in gc.get_objects()]
        counted: dict[str, int] = {}
        for kind in kinds:
            if kind.__name__ in OURS and "protocol" in kind.__module__.split("."):
                counted[kind.__name__] = counted.get(kind.__name__, 0) + 1
        return counted

    async def main() -> None:
        async def script(peer: Peer) -> None:
            while True:
                await peer.read()
                await peer.send(raw[:-1])
                await asyncio.sleep(0.01)
                await peer.send(raw[-1:])

        async with Upstream(script) as upstream, house(upstream, max_idle=kept, retries="1") as relayed:
            before, tasks = ours(), len(asyncio.all_tasks())
            for _ in range(3):
                async with relayed.client() as client:
                    await client.send("POST", CHAT, [JSON], MESSAGE)
                    if leaves:
                        await asyncio.sleep(0.005)
                        client.leave()
                    else:
                        with contextlib.suppress(h11.RemoteProtocolError):
                            await client.answer()
            await until(lambda: not relayed.server.connections, 1.0)
            if kept != "0":
                await relayed.relay.close()
            await until(lambda: not relayed.relay.open_connections, 1.0)
            await until(lambda: ours() == before and len(asyncio.all_tasks()) == tasks, 2.0)

    gc.collect()
    gc.disable()
    try:
        asyncio.run(main())
    finally:
        gc.enable()
    gc.collect()


# Of each request and each connection there is one of some of these.
OURS = frozenset(
    (
        "BodyStream", "Connection", "Deadline", "EventPassage", "Exchange", "HeldBody", "Output", "Passage",
        "PacedFrames", "Probe", "Request", "RequestReader", "Response", "ResponseReader", "ResponseWriter",
        "SocketIntake", "StagedClose", "UpstreamAnswer", "UpstreamBroke", "UpstreamConnection", "UpstreamRequest",
        "_FirstAttempt",
    )
)  # fmt: skip


def test_an_event_stream_that_falls_silent_is_ended() -> None:
    async def main() -> None:
        async def script(peer: Peer) -> None:
            await peer.read()
            await peer.send(chunked(b"data: 1\n\n", end=b"", fields=SSE))
            await peer.until_gone()

        async with Upstream(script) as upstream, house(upstream, timeout="0.1") as relayed:
            answer = await relayed.ask()
            assert answer.broken and b"upstream_timeout" in answer.body

    run(main)


# ---- the retry law ----------------------------------------------------------------------------------------------


def statuses(*answers: int | bytes) -> Script:
    """Answer requests, over all connections, with these statuses in turn, the last one for good."""
    count = 0

    async def script(peer: Peer) -> None:
        nonlocal count
        while True:
            await peer.read()
            answer = answers[min(count, len(answers) - 1)]
            count += 1
            await peer.send(answer if isinstance(answer, bytes) else sized(b"%d!" % answer, f"{answer} X"))

    return script


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_tries_again_what_may_pass(status: int) -> None:
    async def main() -> None:
        async with Upstream(statuses(status, status, 200)) as upstream, house(upstream) as relayed:
            answer = await relayed.ask()
            assert (answer.status, answer.body) == (200, b"200!")
            assert answer.get("x-oaiserve-attempts") == f"relay={status},relay={status},relay=200"
            assert [received.body for received in upstream.received] == [MESSAGE] * 3
            assert len(upstream.connections) == 1

    run(main)


def test_gives_out_the_last_answer_untouched_when_the_tries_are_used_up() -> None:
    async def main() -> None:
        async with Upstream(statuses(503, 500, 429, 200)) as upstream, house(upstream) as relayed:
            answer = await relayed.ask()
            assert (answer.status, answer.body) == (429, b"429!")
            assert answer.get("x-oaiserve-attempts") == "relay=503,relay=500,relay=429"

    run(main)


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 409, 413, 422, 501, 505])
def test_takes_other_statuses_at_their_word(status: int) -> None:
    async def main() -> None:
        async with Upstream(statuses(status, 200)) as upstream, house(upstream) as relayed:
            assert (await relayed.ask()).status == status
            assert len(upstream.received) == 1

    run(main)


def test_tries_again_to_connect() -> None:
    async def main() -> None:
        async with house(f"http://127.0.0.1:{closed_port()}") as relayed:
            answer = await relayed.ask()
            assert answer.status == 502
            assert answer.get("x-oaiserve-attempts") == "relay=502,relay=502,relay=502"
            large = await relayed.ask("POST", "/v1/files", [FORM_TYPE], form(file=b"x" * 100_000))
            assert large.get("x-oaiserve-attempts") == "relay=502,relay=502,relay=502"  # nothing of it was used up

    run(main)


def test_does_not_send_a_body_twice_that_is_larger_than_what_is_kept() -> None:
    async def main() -> None:
        async with Upstream(statuses(503, 200)) as upstream, house(upstream) as relayed:
            answer = await relayed.ask("POST", "/v1/files", [FORM_TYPE], form(file=b"x" * (4 << 20)))
            assert (answer.status, answer.body) == (503, b"503!")
            assert len(upstream.received) == 1

    run(main)


RETRY_AFTER = [
    ("seconds", "retry-after: 0.08", 0.08, 200),
    ("milliseconds", "retry-after-ms: 80", 0.08, 200),
    ("a date", "retry-after: Sun, 06 Nov 1994 08:49:37 GMT", 0.0, 200),
    ("too long", "retry-after: 3600", 0.0, 429),
    ("a far date", "retry-after: Sun, 06 Nov 1994 09:49:37 GMT", 0.0, 429),
    ("no", "x-should-retry: false", 0.0, 429),
    ("nonsense", "retry-after: soon", 0.0, 200),
    ("a date that is none", "retry-after: Sun, 99 Nov 1994 09:49:37 GMT", 0.0, 200),
]


@pytest.mark.parametrize(
    ("field", "seconds", "status"), [case[1:] for case in RETRY_AFTER], ids=[case[0] for case in RETRY_AFTER]
)
def test_obeys_what_the_upstream_says_of_the_next_try(field: str, seconds: float, status: int) -> None:
    async def main() -> None:
        async with Upstream(statuses(sized(b"", "429 X", field), 200)) as upstream, house(upstream) as relayed:
            began = asyncio.get_running_loop().time()
            assert (await relayed.ask()).status == status
            assert seconds <= asyncio.get_running_loop().time() - began < seconds + 0.3

    run(main)


def test_pauses_with_jitter_between_tries() -> None:
    async def main() -> None:
        async with Upstream(statuses(500)) as upstream, house(upstream, draw=lambda: 0.1) as relayed:
            began = asyncio.get_running_loop().time()
            await relayed.ask()
            assert 0.15 <= asyncio.get_running_loop().time() - began < 0.4  # a tenth of 0.5 and of 1 s

    run(main)


def test_one_deadline_bounds_all_tries() -> None:
    async def main() -> None:
        async with (
            Upstream(statuses(500)) as upstream,
            house(upstream, draw=lambda: 0.3, total_timeout="0.2", retries="9") as relayed,
        ):
            began = asyncio.get_running_loop().time()
            answer = await relayed.ask()
            assert (answer.status, answer.body) == (500, b"500!")  # a further pause would have passed the deadline
            assert asyncio.get_running_loop().time() - began < 0.25
        async with Upstream(silent) as upstream, house(upstream, total_timeout="0.1") as relayed:
            began = asyncio.get_running_loop().time()
            assert (await relayed.ask()).status == 504
            assert 0.09 < asyncio.get_running_loop().time() - began < 0.15

    run(main)


def test_an_error_that_is_too_long_to_hold_streams_through() -> None:
    async def main() -> None:
        long = b"x" * 700_000
        async with Upstream(answering(sized(long, "503 X"))) as upstream, house(upstream, retries="1") as relayed:
            answer = await relayed.ask()
            assert (answer.status, answer.body, answer.broken) == (503, long, False)
            assert len(upstream.received) == 2

    run(main)


CHAIN = [Route("*", ("relay", "second"))]


@pytest.mark.parametrize(
    ("first", "attempts"),
    [
        (statuses(429), "relay=429,relay=429,relay=429,second=200"),
        (statuses(sized(b"", "429 X", "retry-after: 60")), "relay=429,second=200"),
        (breaking_off(b""), "relay=502,second=200"),
        (silent, "relay=504,second=200"),
    ],
    ids=["429", "429 for a minute", "broke", "silence"],
)
def test_the_next_backend_of_the_route_is_asked(first: Script, attempts: str) -> None:
    async def main() -> None:
        async with Upstream(first) as one, Upstream(statuses(200)) as two:
            async with house({"relay": one, "second": two}, CHAIN, timeout="0.1") as relayed:
                answer = await relayed.ask()
                assert (answer.status, answer.body) == (200, b"200!")
                assert answer.get("x-oaiserve-attempts") == attempts
                assert two.received[0].body == MESSAGE

    run(main)


def test_the_last_backends_answer_comes_out_when_all_fail() -> None:
    async def main() -> None:
        async with Upstream(statuses(503)) as one, Upstream(statuses(429)) as two:
            async with house({"relay": one, "second": two}, CHAIN, retries="0") as relayed:
                answer = await relayed.ask()
                assert (answer.status, answer.body) == (429, b"429!")
                assert answer.get("x-oaiserve-attempts") == "relay=503,second=429"

    run(main)


def test_a_form_goes_to_the_next_backend_too() -> None:
    async def main() -> None:
        async with Upstream(statuses(500)) as one, Upstream(statuses(200)) as two:
            async with house({"relay": one, "second": two}, CHAIN, retries="0", model="m") as relayed:
                body = form(file=b"x" * 100_000)
                assert (await relayed.ask("POST", "/v1/audio/transcriptions", [FORM_TYPE], body)).status == 200
                assert two.received[0].body == form(b"m", b"x" * 100_000)

    run(main)


def test_a_backend_that_keeps_failing_rests_and_is_probed_by_one_request() -> None:
    async def main() -> None:
        healthy = False

        async def script(peer: Peer) -> None:
            while True:
                await peer.read()
                await asyncio.sleep(0.01)
                await peer.send(sized(b"", "200 OK" if healthy else "500 X"))

        async with Upstream(script) as one, Upstream(statuses(200)) as two:
            async with house({"relay": one, "second": two}, CHAIN, retries="0", cooldown="0.15") as relayed:
                for _ in range(5):
                    await relayed.ask()
                assert len(one.received) == 5
                answers = await asyncio.gather(*(relayed.ask() for _ in range(5)))
                assert len(one.received) == 5  # it rests
                assert {answer.get("x-oaiserve-attempts") for answer in answers} == {"relay=503,second=200"}
                await asyncio.sleep(0.16)
                await asyncio.gather(*(relayed.ask() for _ in range(5)))
                assert len(one.received) == 6  # one probe, which failed
                await asyncio.sleep(0.16)
                healthy = True
                await asyncio.gather(*(relayed.ask() for _ in range(5)))
                assert len(one.received) == 7
                await asyncio.gather(*(relayed.ask() for _ in range(5)))
                assert len(one.received) == 12  # it is back
                assert sum("rests for" in line for line in relayed.lines) == 2

    run(main)


def test_a_backend_without_another_behind_it_never_rests() -> None:
    async def main() -> None:
        async with Upstream(statuses(500)) as upstream, house(upstream, retries="0") as relayed:
            for _ in range(8):
                assert (await relayed.ask()).body == b"500!"

    run(main)


# ---- connections that are kept ----------------------------------------------------------------------------------
# On one of these the first attempt takes a shorter way, which has to lead to the same ends.


def warmed(script: Script) -> Script:
    """Answer each connection's first request, then do as the script says."""

    async def answer_first(peer: Peer) -> None:
        await peer.read()
        await peer.send(sized(b"warm"))
        await script(peer)

    return answer_first


async def send_parts(peer: Peer, *parts: bytes) -> None:
    await peer.read()
    for part in parts:
        await peer.send(part)
        await asyncio.sleep(0.01)


OVER_KEPT = [
    ("in pieces", (b"HTTP/1.1 200 OK\r\ncontent-le", b"ngth: 2\r\n\r", b"\n", b"{", b"}"), 200, b"{}"),
    ("after interim answers", (b"HTTP/1.1 103 X\r\n\r\n", b"HTTP/1.1 102 X\r\n\r\n" + sized(b"{}")), 200, b"{}"),
    ("after a hundred interim answers", (b"HTTP/1.1 102 X\r\n\r\n" * 10,) * 10 + (sized(b"{}"),), 200, b"{}"),
    ("after more at once", (b"HTTP/1.1 102 X\r\n\r\n" * 10_000, sized(b"{}")), 200, b"{}"),
    ("until its end", (b"HTTP/1.1 200 OK\r\n\r\n", b"{", b"}"), 200, b"{}"),
    ("chunks in pieces", (chunked(b"{", end=b"1\r"), b"\n}", b"\r\n0\r\n", b"\r\n"), 200, b"{}"),
    ("an error", (sized(b"{}", "404 X"),), 404, b"{}"),
    ("an error in pieces", (sized(b"{}", "404 X")[:-1], b"}"), 404, b"{}"),
    ("garbage", (b"HTTP/1.1 200 OK\r\n", b" : x\r\n\r\n"), 502, None),
    ("half a head", (b"HTTP/1.1 200 OK\r\n",), 502, None),
    ("a change of protocol", (b"HTTP/1.1 101 X\r\nupgrade: x\r\n\r\n",), 502, None),
    ("too many interim answers", (b"HTTP/1.1 102 X\r\n\r\n" * 10_010, sized(b"{}")), 502, None),
]


@pytest.mark.parametrize(
    ("parts", "status", "body"), [case[1:] for case in OVER_KEPT], ids=[case[0] for case in OVER_KEPT]
)
def test_an_answer_on_a_kept_connection(parts: tuple[bytes, ...], status: int, body: bytes | None) -> None:
    async def main() -> None:
        async with Upstream(warmed(lambda peer: send_parts(peer, *parts))) as upstream, house(upstream) as relayed:
            assert (await relayed.ask()).body == b"warm"
            answer = await relayed.ask()
            assert (answer.status, answer.broken) == (status, False)
            assert answer.get("x-oaiserve-attempts") == f"relay={status}"
            assert body is None or answer.body == body
            assert len(upstream.connections) == 1

    run(main)


class Chunks:
    """An answer of which chunks come by themselves (UpstreamAnswer)."""

    complete = waits = False
    has_left = False

    def masked(self):
        return None

    def listen(self, notify, take_chunk):
        self.take_chunk = take_chunk

    def let_go(self):
        self.has_left = True


class FullSink:
    """Takes one piece of a body, and has no room for the next."""

    def __init__(self):
        self.pieces = []

    def push(self, data):
        if self.pieces:
            raise ApiError(503, "No room.")
        self.pieces.append(data)

    def fail(self, error):
        self.pieces.append(error.message)


def test_a_chunk_that_cannot_be_passed_on_breaks_the_answer_off() -> None:
    answer, sink = Chunks(), FullSink()
    Passage(answer, b"").begin(sink)
    for chunk in (b"a", b"b"):
        answer.take_chunk(chunk)
    assert (sink.pieces, answer.has_left) == ([b"a", "No room."], True)


# What an upstream says a second time, all at once: by the short way where that may be, and to the same end.
ALL_AT_ONCE = {
    "json": sized(b'{"a": 1}', "200 OK", "content-type: application/json", "x-request-id: 7"),
    "nothing": sized(b""),
    "our key": sized(b"x" + KEY.encode(), "200 OK", f"x-key: {KEY}", f"x-request-id: {KEY}"),
    "another key": sized(b"%5b" + KEY.encode().replace(b"s", b"%73")),
    "events of known length": sized(b"data: 1\n\n", "200 OK", EVENTS),
    "a coding": sized(gzip.compress(b"packed"), "200 OK", "content-encoding: gzip"),
    "no coding": sized(b"plain", "200 OK", "content-encoding: identity"),
    "its last answer": sized(b"bye", "200 OK", "connection: close"),
    "of HTTP/1.0": sized(b"old").replace(b"HTTP/1.1", b"HTTP/1.0"),
    "created": sized(b"{}", "201 Created"),
    "an error": sized(b"{}", "400 Bad Request"),
    "a location": sized(b"{}", "200 OK", "location: /v1/files/1"),
    "chunks": chunked(b"a", b"b"),
    "more than was said": sized(b"a") + b"b",
    "a long body": sized(b"x" * 70_000),
}


@pytest.mark.parametrize("options", [{}, {"api_key": KEY}, {"model_in_answer": "asked"}], ids=["bare", "key", "names"])
@pytest.mark.parametrize("data", ALL_AT_ONCE.values(), ids=ALL_AT_ONCE)
def test_an_answer_that_comes_all_at_once_is_the_one_that_comes_in_pieces(data: bytes, options: dict[str, str]) -> None:
    async def main() -> None:
        parts = [data[:40], data[40:]]
        scripts = [
            warmed(lambda peer: send_all(peer, [data], [data])),
            warmed(lambda peer: send_all(peer, parts, parts)),
        ]
        heard = []
        for script in scripts:
            async with Upstream(script) as upstream, house(upstream, **options) as relayed:
                answers = [await relayed.ask() for _ in range(3)]
                fields = [
                    [field for field in answer.fields if field[0] not in ("date", "x-request-id")] for answer in answers
                ]
                heard.append([(answer.status, sorted(one), answer.body) for answer, one in zip(answers, fields)])
                connections = len(upstream.connections)
                heard[-1].append(connections if connections == 1 else "more")
        assert heard[0] == heard[1]

    run(main)


async def send_all(peer: Peer, *answers: Sequence[bytes]) -> None:
    for parts in answers:
        await send_parts(peer, *parts)


def test_a_kept_connection_that_says_too_busy_is_asked_again() -> None:
    async def main() -> None:
        script = answering(sized(b"warm"), sized(b"no", "503 X"), sized(b"yes"))
        async with Upstream(script) as upstream, house(upstream) as relayed:
            answers = [await relayed.ask() for _ in range(2)]
            assert answers[1].body == b"yes"
            assert answers[1].get("x-oaiserve-attempts") == "relay=503,relay=200"

    run(main)


@pytest.mark.parametrize("option", ["first_byte_timeout", "total_timeout"])
def test_a_kept_connection_that_is_silent_is_too_slow(option: str) -> None:
    async def main() -> None:
        async with Upstream(warmed(silent)) as upstream, house(upstream, **{option: "0.1"}) as relayed:
            assert (await relayed.ask()).body == b"warm"
            answer = await relayed.ask()
            assert (answer.status, answer.json()["error"]["code"]) == (504, "upstream_timeout")
            await until(lambda: upstream.open_connections == 0, 0.05)

    run(main)


def test_the_next_backend_is_asked_when_a_kept_connection_fails() -> None:
    async def main() -> None:
        failing = answering(sized(b"warm"), sized(b"no", "500 X"))
        async with Upstream(failing) as first, Upstream(answering(sized(b"second"))) as second:
            async with house({"relay": first, "second": second}, CHAIN, retries="0") as relayed:
                answers = [await relayed.ask() for _ in range(2)]
                assert [answer.body for answer in answers] == [b"warm", b"second"]
                assert answers[1].get("x-oaiserve-attempts") == "relay=500,second=200"

    run(main)


@pytest.mark.parametrize("by_model", [False, True], ids=["one backend", "with another behind it"])
@pytest.mark.parametrize("start", ["nothing", "interim", "error", "body"])
def test_a_kept_connection_is_let_go_when_the_client_leaves(start: str, by_model: bool) -> None:
    said = {
        "nothing": b"",
        "interim": b"HTTP/1.1 103 X\r\n\r\n",
        "error": sized(b"{}", "500 X")[:-1],
        "body": chunked(b"data: 1\n\n", end=b"", fields=SSE),
    }[start]

    async def main() -> None:
        async def script(peer: Peer) -> None:
            await peer.read()
            await peer.send(said)
            await peer.until_gone()

        async with Upstream(warmed(script)) as upstream, Upstream(silent) as second:
            upstreams = {"relay": upstream, "second": second}
            async with house(upstreams, CHAIN if by_model else [Route("*", ("relay",))]) as relayed:
                assert (await relayed.ask()).body == b"warm"
                async with relayed.client() as client:
                    await client.send("POST", CHAT, [JSON], MESSAGE)
                    await until(lambda: len(upstream.received) == 2, 1.0)
                    await asyncio.sleep(0.03)
                    client.leave()
                    await until(lambda: upstream.open_connections == 0, 0.05)
                    assert relayed.relay.open_connections == 0

    run(main)


# ---- clients that leave -----------------------------------------------------------------------------------------


async def stream_for_ever(peer: Peer) -> None:
    await peer.read()
    await peer.send(chunked(end=b"", fields=SSE))
    while True:
        await peer.send(b"9\r\ndata: 1\n\n\r\n")
        await asyncio.sleep(0.005)


async def stream_and_wait(peer: Peer) -> None:
    await peer.read()
    await peer.send(chunked(b"data: 1\n\n", end=b"", fields=SSE))
    await peer.until_gone()


async def never_reads(peer: Peer) -> None:
    await peer.head()
    await peer.until_gone()


@pytest.mark.parametrize("by_reset", [False, True], ids=["closing", "reset"])
@pytest.mark.parametrize(
    ("script", "body"),
    [(silent, MESSAGE), (stream_for_ever, MESSAGE), (stream_and_wait, MESSAGE), (never_reads, None)],
    ids=["first byte", "mid-stream", "quiet stream", "upload"],
)
def test_the_upstream_is_let_go_when_the_client_leaves(script: Script, body: bytes | None, by_reset: bool) -> None:
    async def main() -> None:
        async with Upstream(script) as upstream, house(upstream) as relayed, relayed.client() as client:
            if body is None:
                client.writer.write(
                    b"POST /v1/files HTTP/1.1\r\nhost: h\r\ncontent-length: 99999999\r\n\r\n" + b"x" * 100_000
                )
            else:
                await client.send("POST", CHAT, [JSON], body)
            await until(lambda: upstream.open_connections == 1, 1.0)
            await asyncio.sleep(0.03)
            client.leave(by_reset=by_reset)
            await until(lambda: upstream.open_connections == 0, 0.05)
            assert relayed.relay.open_connections == 0

    run(main)


def test_nothing_is_left_when_the_client_leaves_before_there_is_a_connection() -> None:
    async def main() -> None:
        async def mute(peer: Peer) -> None:
            await peer.until_gone()

        async with Upstream(mute) as upstream:
            async with house(f"https://127.0.0.1:{upstream.port}") as relayed, relayed.client() as client:
                await client.send("POST", CHAT, [JSON], MESSAGE)
                await until(lambda: upstream.open_connections == 1, 1.0)
                client.leave()
                await until(lambda: upstream.open_connections == 0, 0.05)
                assert relayed.relay.open_connections == 0

    run(main)


def test_no_further_try_is_made_for_a_client_that_left() -> None:
    async def main() -> None:
        async with Upstream(statuses(503)) as upstream, house(upstream, draw=lambda: 0.1) as relayed:
            async with relayed.client() as client:
                await client.send("POST", CHAT, [JSON], MESSAGE)
                await until(lambda: len(upstream.received) == 1, 1.0)
            await asyncio.sleep(0.2)
            assert len(upstream.received) == 1

    run(main)


def test_drains_on_disconnect_when_told_to() -> None:
    async def main() -> None:
        ended = asyncio.Event()

        async def script(peer: Peer) -> None:
            await peer.read()
            await peer.send(chunked(b"data: 1\n\n", end=b"", fields=SSE))
            await asyncio.sleep(0.05)
            await peer.send(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n")
            ended.set()
            await peer.until_gone()

        async with Upstream(script) as upstream, house(upstream, on_disconnect="drain") as relayed:
            async with relayed.client() as client:
                await client.send("POST", CHAT, [JSON], MESSAGE)
                await client.head()
            await ended.wait()
            await asyncio.sleep(0.01)
            assert relayed.relay.open_connections == upstream.open_connections == 1  # read to its end, and kept

    run(main)


# ---- quiet streams ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [b"\n\n", b"\r\n\r\n", b"\r\r"], ids=["LF", "CRLF", "CR"])
def test_comments_keep_a_quiet_stream_alive_between_events_only(ending: bytes) -> None:
    async def main() -> None:
        async def script(peer: Peer) -> None:
            await peer.read()
            await peer.send(chunked(end=b"", fields=SSE))
            for piece in (b"data: 1" + ending, b"data", b": 2", ending[:-1], ending[-1:]):
                await asyncio.sleep(0.06)
                await peer.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            await asyncio.sleep(0.06)
            await peer.send(b"0\r\n\r\n")

        async with Upstream(script) as upstream, house(upstream, keepalive="0.02") as relayed:
            answer = await relayed.ask()
            comment = b": keep-alive\n\n"
            assert not answer.broken
            assert answer.body.replace(comment, b"") == b"data: 1%bdata: 2%b" % (ending, ending)
            quiet, _, rest = answer.body.partition(b"data: 1" + ending)
            between, _, last = rest.partition(b"data: 2" + ending)
            for comments in (quiet, between, last):
                assert comments in (comment, comment * 2, comment * 3)

    run(main)


def test_comments_do_not_hide_that_the_upstream_is_silent() -> None:
    async def main() -> None:
        async with Upstream(stream_and_wait) as upstream, house(upstream, keepalive="0.02", timeout="0.15") as relayed:
            began = asyncio.get_running_loop().time()
            answer = await relayed.ask()
            assert answer.broken and b"upstream_timeout" in answer.body
            assert asyncio.get_running_loop().time() - began < 0.4

    run(main)


@pytest.mark.parametrize("fields", [("content-type: application/json",), (*SSE, "content-encoding: gzip")])
def test_nothing_is_put_into_other_streams(fields: tuple[str, ...]) -> None:
    async def main() -> None:
        async def script(peer: Peer) -> None:
            await peer.read()
            await peer.send(chunked(b"{", end=b"", fields=fields))
            await asyncio.sleep(0.08)
            await peer.send(b"1\r\n}\r\n0\r\n\r\n")

        async with Upstream(script) as upstream, house(upstream, keepalive="0.02") as relayed:
            assert (await relayed.ask()).body == b"{}"

    run(main)


# ---- realtime ---------------------------------------------------------------------------------------------------

UPGRADE = [
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "x3JJHMbDL1EzLkh9GBhXDw=="),
    ("sec-websocket-protocol", "realtime, openai-insecure-api-key.sk-theirs, openai-beta.realtime-v1"),
]
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-accept: HSmrc0sMlYUkAGmm5OPpG2HaGWk=\r\nsec-websocket-protocol: realtime\r\n\r\n"
)


def test_a_realtime_session_is_tunnelled_both_ways() -> None:
    async def main() -> None:
        heads = []

        async def script(peer: Peer) -> None:
            heads.append(await peer.head())
            await peer.send(SWITCH + b"\x81\x02hi")
            while data := await peer.bytes():
                await peer.send(data[::-1])

        async with Upstream(script) as upstream, house(upstream, api_key=KEY) as relayed:
            async with relayed.client() as client:
                lines = "".join(f"{name}: {value}\r\n" for name, value in UPGRADE)
                client.writer.write(f"GET /v1/realtime?model=gpt-rt HTTP/1.1\r\nhost: h\r\n{lines}\r\n".encode())
                head = await client.reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 101")
                assert b"sec-websocket-accept: HSmrc0sMlYUkAGmm5OPpG2HaGWk=" in head
                assert b"upgrade: websocket" in head.lower() and b"connection: upgrade" in head.lower()
                assert await client.reader.readexactly(4) == b"\x81\x02hi"
                for data in (b"abc", bytes(range(256)) * 1000):
                    client.writer.write(data)
                    received = await client.reader.readexactly(len(data))
                    assert sorted(received) == sorted(data)
                arrived = {name.decode(): value.decode() for name, value in heads[0].headers}
                assert heads[0].target == b"/v1/realtime?model=gpt-rt"
                assert arrived["authorization"] == f"Bearer {KEY}"
                assert "sk-theirs" not in str(arrived)
                assert arrived["sec-websocket-key"] == "x3JJHMbDL1EzLkh9GBhXDw=="
                client.leave()
                await until(lambda: upstream.open_connections == 0, 0.05)

    run(main)


def test_the_client_sees_the_end_of_a_tunnel() -> None:
    async def main() -> None:
        async def script(peer: Peer) -> None:
            await peer.head()
            await peer.send(SWITCH + b"bye")

        async with Upstream(script) as upstream, house(upstream) as relayed, relayed.client() as client:
            await client.send("GET", "/v1/realtime", UPGRADE, None)
            await client.reader.readuntil(b"\r\n\r\n")
            assert await client.reader.read() == b"bye"

    run(main)


def test_a_refused_upgrade_is_a_plain_answer() -> None:
    async def main() -> None:
        async with Upstream(answering(sized(b"no", "401 Unauthorized"))) as upstream, house(upstream) as relayed:
            answer = await relayed.ask("GET", "/v1/realtime", UPGRADE)
            assert (answer.status, answer.body) == (401, b"no")

    run(main)


# ---- the door and the models ------------------------------------------------------------------------------------


def test_the_door_for_browsers_leads_to_chat() -> None:
    async def main() -> None:
        async with Upstream(echo_received()) as upstream, house(upstream, api_key=KEY) as relayed:
            answer = await relayed.ask(
                "POST", "/", [("content-type", "text/plain"), ("origin", "http://page.test")], b'{"messages":[]}'
            )
            arrived = answer.json()
            assert arrived["target"] == CHAT
            assert json.loads(arrived["body"])["max_tokens"] == 1000
            fields = dict(arrived["fields"])
            assert fields["content-type"] == "application/json" and "origin" not in fields
            assert fields["content-length"] == str(len(arrived["body"]))
            assert answer.get("access-control-allow-origin") == "*"

    run(main)


def models_answer(*ids: str) -> bytes:
    return sized(
        json.dumps(
            {"object": "list", "data": [{"id": id, "object": "model", "created": 7, "owned_by": "up"} for id in ids]}
        ).encode()
    )


def test_lists_the_upstreams_models_and_the_mapped_names() -> None:
    now = 784111777.0

    async def main() -> None:
        nonlocal now
        async with Upstream(answering(models_answer("a", "b"), sized(b"down", "500 X"))) as upstream:
            async with house(upstream, clock=lambda: now, api_key=KEY, models="mine = b\nalso = unknown") as relayed:
                for _ in range(3):
                    listed = (
                        await relayed.ask("GET", "/v1/models", [("accept-encoding", "gzip"), ("range", "bytes=0-1")])
                    ).json()["data"]
                    assert [model["id"] for model in listed] == ["a", "b", "mine"]
                    assert listed[2] == {"id": "mine", "object": "model", "created": 7, "owned_by": "up"}
                [received] = upstream.received  # the list is kept
                assert received.target == "/v1/models"
                assert received.get("authorization") == f"Bearer {KEY}"
                assert received.get("accept-encoding") == received.get("range") == ""
                now += 61
                listed = (await relayed.ask("GET", "/v1/models")).json()["data"]
                assert len(listed) == 3 and len(upstream.received) == 2  # stale, while the upstream fails

    run(main)


def test_lists_models_where_there_is_no_limit_between_two_bytes() -> None:
    async def main() -> None:
        async with Upstream(answering(models_answer("a"))) as upstream, house(upstream, timeout="0") as relayed:
            listed = (await relayed.ask("GET", "/v1/models")).json()["data"]
            assert [model["id"] for model in listed] == ["a"]

    run(main)


def test_one_callers_list_is_not_anothers() -> None:
    async def main() -> None:
        async def script(peer: Peer) -> None:
            while True:
                received = await peer.read()
                await peer.send(models_answer(received.get("authorization")))

        async with Upstream(script) as upstream, house(upstream) as relayed:
            for key in ("Bearer a", "Bearer b", "Bearer a"):
                answer = await relayed.ask("GET", "/v1/models", [("authorization", key)])
                assert [model["id"] for model in answer.json()["data"]] == [key]
            assert len(upstream.received) == 2

    run(main)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (sized(b'{"error":{"message":"bad key"}}', "401 X"), 401),
        (sized(b"oops"), 502),
        (sized(b'{"data":1}'), 502),
        (b"", 502),
        (sized(b"[" * 100_000), 502),
    ],
    ids=["an error", "no JSON", "no list", "nothing", "too deep"],
)
def test_says_why_there_are_no_models(raw: bytes, status: int) -> None:
    async def main() -> None:
        async with Upstream(breaking_off(raw)) as upstream, house(upstream) as relayed:
            answer = await relayed.ask("GET", "/v1/models")
            assert answer.status == status
            assert "'relay'" in answer.json()["error"]["message"]

    run(main)


# ---- settings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("base_url", "api.openai.com"),
        ("base_url", "http://user:sk-x@h"),
        ("models", "a b"),
        ("models", "a ="),
        ("proxy", "socks4://h"),
        ("api_key", "sk 1"),
        ("api_key", "sk-\u00e9"),
        ("retries", "-1"),
        ("on_disconnect", "maybe"),
        ("verify", "true"),
    ],
)
def test_a_mistake_in_the_settings_is_one_line(key: str, value: str) -> None:
    with pytest.raises(UsageError, match="expected") as caught:
        settings_of({"relay": {key: value}})
    assert key != "api_key" or value not in str(caught.value)


def relay_of(environ: dict[str, str] | None = None, **options: str) -> list[str]:
    """Make a relay; return what it says."""
    lines: list[str] = []
    Relay("relay", settings_of({"relay": options}).backends[0].options, environ or {}, Log("text", lines.append))
    return lines


def test_a_ca_file_that_is_none_is_said_at_the_start(tmp_path) -> None:
    (tmp_path / "empty.pem").write_text("")
    for path in (tmp_path / "none.pem", tmp_path / "empty.pem"):
        with pytest.raises(UsageError, match="ca_file"):
            relay_of(ca_file=str(path))


def test_a_proxy_in_the_environment_that_is_not_understood_is_said_at_the_start() -> None:
    with pytest.raises(UsageError, match="HTTPS_PROXY"):
        relay_of({"HTTPS_PROXY": "socks4://h:1"})
    assert relay_of({"HTTPS_PROXY": "http://h:1"}) == []


def test_to_trust_anybody_is_called_dangerous() -> None:
    assert "dangerous" in relay_of(verify="no")[0]
    assert relay_of(verify="yes") == []


# ---- what the owner reads of failures --------------------------------------------------------------------------------


def told(house: House) -> list[str]:
    """Return what the log says besides the requests' lines, without times and ids."""
    lines = [line.rstrip().partition(" - ")[2] for line in house.lines]
    return [line.partition(": ")[2] for line in lines if line.startswith("Request req_")]


def test_the_log_tells_host_and_port_and_each_try_and_the_caller_the_backends_name() -> None:
    async def main() -> None:
        port = closed_port()
        async with house(f"http://127.0.0.1:{port}/v1", retries="1") as relayed:
            answer = await relayed.ask()
            why = "The backend 'relay' cannot be reached: the connection was refused."
            assert answer.status == 502 and answer.json()["error"]["message"] == why
            assert told(relayed) == [f"{why} (127.0.0.1:{port}, try 1)", f"{why} (127.0.0.1:{port}, try 2)"]
        async with Upstream(statuses(503, 429, 200)) as upstream, house(upstream, retries="2") as relayed:
            assert (await relayed.ask()).status == 200
            assert told(relayed) == [
                f"The backend 'relay' answered 503. (127.0.0.1:{upstream.port}, try 1)",
                f"The backend 'relay' answered 429. (127.0.0.1:{upstream.port}, try 2)",
            ]

    run(main)


@pytest.mark.parametrize(("key", "count"), [("sk-owner-0123456789", 1), ("", 0)], ids=["the owner's", "the caller's"])
def test_the_log_tells_of_a_refused_key_that_is_the_owners(key: str, count: int) -> None:
    async def main() -> None:
        async with Upstream(statuses(401)) as upstream, house(upstream, api_key=key) as relayed:
            assert (await relayed.ask()).status == 401
            assert [line.partition(" (")[0] for line in told(relayed)] == ["The backend 'relay' answered 401."] * count

    run(main)


def test_the_log_tells_where_an_answer_broke_off() -> None:
    async def break_off(peer: Peer) -> None:
        await peer.read()
        await peer.send(chunked(b"data: {}\n\n", fields=("content-type: text/event-stream",), end=b""))
        peer.reset()

    async def main() -> None:
        async with Upstream(break_off) as upstream, house(upstream) as relayed:
            answer = await relayed.ask()
            (line,) = told(relayed)
            where = f"127.0.0.1:{upstream.port}"
            assert line.endswith(f"({where}, in the middle of its answer)") and "'relay' failed: " in line
            assert where.encode() not in answer.body

    run(main)
