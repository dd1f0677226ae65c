"""No answer, no error and no line of the log repeats a key that the service holds, and no answer is damaged for that."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import re
import zlib

import pytest
from native import TEXT, Native, translator
from programs import running
from relays import CHAT, EVENTS, JSON, KEY, house
from upstreams import Upstream, answering, breaking_off, chunked, sized

from protocol.relay.coded import DecodedBody
from protocol.service.log import Log
from protocol.wire.http1.messages import Fields, ResponseHead
from protocol.wire.masking import Mask

STARS = "*" * len(KEY)
ERROR = json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}.", "code": KEY}}).encode()
MASKED_ERROR = ERROR.replace(KEY.encode(), STARS.encode())
EVENT = b'data: {"choices":[{"delta":{"content":"' + KEY.encode() + b'"}}]}\n\n'
HANDSHAKE = [
    ("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="), ("sec-websocket-extensions", "permessage-deflate"),
]  # fmt: skip


async def answered(raw: bytes, method: str = "POST", target: str = CHAT, *, split: int = 0, **options: str):
    """Return the client's answer where the upstream says this, and the lines of the log."""
    options = {"api_key": KEY, "retries": "0", **options}
    async with Upstream(answering(raw, split=split)) as upstream, house(upstream, **options) as relayed:
        answer = await relayed.ask(method, target, [JSON, ("accept-encoding", "gzip, br")])
        return answer, relayed.lines


PLACES = {
    "an error": sized(ERROR, "401 Unauthorized", "content-type: application/json"),
    "a chunked error": chunked(ERROR[:40], ERROR[40:55], ERROR[55:], status="500 No"),
    "an error without an end": b"HTTP/1.1 403 No\r\n\r\n" + ERROR,
    "a long error": sized(ERROR + b" " * 300_000, "400 No"),
    "an answer": sized(ERROR),
    "a chunked answer": chunked(*(ERROR[at : at + 1] for at in range(len(ERROR)))),
    "an answer without an end": b"HTTP/1.1 200 OK\r\n\r\n" + ERROR,
    "a long answer": sized(b" " * 300_000 + ERROR),
    "events": chunked(EVENT[:45], EVENT[45:50], EVENT[50:], b"data: [DONE]\n\n", fields=(EVENTS,)),
    "a beginning": sized(ERROR.replace(KEY.encode(), KEY.encode()[:12])),
    "a field": sized(b"{}", "200 OK", f"x-key: {KEY}", f"www-authenticate: Bearer key={KEY}"),
    "a URL in a field": sized(b"", "302 Found", f"location: https://llm.example/?key={KEY}&a=b"),
    "the request's id": sized(b"{}", "200 OK", f"x-request-id: {KEY}"),
    "an error's id": sized(b"{}", "429 No", f"x-request-id: req_{KEY}", f"x-request-id: {KEY}"),
    "JSON's escapes": sized(b'{"a":"' + "".join(f"\\u{ord(one):04x}" for one in KEY).encode() + b'"}'),
    "a URL's escapes": sized("".join(f"%{ord(one):02x}" for one in KEY).encode(), "400 No"),
}


@pytest.mark.parametrize("split", [0, 1], ids=["whole", "byte by byte"])
@pytest.mark.parametrize("place", PLACES)
def test_a_key_is_masked_wherever_an_upstream_repeats_it(place, split):
    raw = PLACES[place]
    if split and len(raw) > 10_000:
        split = 4096
    ends = b"HTTP/1.1 200 OK\r\n\r\n" in raw or b"HTTP/1.1 403 No\r\n\r\n" in raw

    async def main():
        if not ends:
            return await answered(raw, split=split)
        async with Upstream(breaking_off(raw)) as upstream, house(upstream, api_key=KEY, retries="0") as relayed:
            return await relayed.ask(), relayed.lines

    answer, lines = asyncio.run(main())
    told = repr(answer) + "".join(lines)
    assert KEY not in told and KEY[:12] not in told and "u0073" not in told and "%73" not in told
    assert "****" in told and not answer.broken
    assert answer.get("content-length") in ("", str(len(answer.body)))
    if b"Incorrect" in answer.body and place != "a beginning":
        assert MASKED_ERROR in answer.body


def test_the_list_of_models_repeats_no_key():
    async def main():
        for raw in (
            sized(ERROR, "401 No"),
            sized(ERROR.replace(b"-", b"\\u002d"), "429 No"),
            sized(b'{"data":[{"id":"m","owned_by":"' + KEY.encode() + b'"}]}'),
        ):
            for target in ("/v1/models", "/v1/models/m"):
                answer, lines = await answered(raw, "GET", target)
                assert KEY not in repr(answer) + "".join(lines) and STARS in repr(answer)

    asyncio.run(main())


def test_a_realtime_connection_repeats_no_key_and_is_not_compressed():
    frame = b"\x81" + bytes([len(ERROR)]) + ERROR

    async def script(peer):
        await peer.head()
        await peer.send(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n")
        await peer.send_split(frame + b"\x81\x01s" + frame, 7)

    async def main():
        async with Upstream(script) as upstream, house(upstream, api_key=KEY) as relayed:
            reader, writer = await asyncio.open_connection("127.0.0.1", relayed.server.port)
            lines = [f"{name}: {value}" for name, value in [("host", "a"), *HANDSHAKE]]
            writer.write(("\r\n".join(["GET /v1/realtime?model=m HTTP/1.1", *lines, "", ""])).encode())
            came = await reader.read(-1)
            writer.close()
            return came

    assert len(ERROR) < 126
    came = asyncio.run(main())
    head, _, body = came.partition(b"\r\n\r\n")
    masked = frame.replace(KEY.encode(), STARS.encode())
    # Where it is split within the first three characters, they show: nobody can say whether more comes behind them.
    assert re.sub(rb"(?:s|sk|sk-)(?=\*)", lambda shown: b"*" * len(shown[0]), body) == masked + b"\x81\x01s" + masked
    assert b"extensions" not in head


# ---- answers in a coding


def test_where_a_key_is_held_answers_are_asked_for_without_a_coding():
    async def main(key: str) -> list[str]:
        async with Upstream(answering(sized(b"{}"))) as upstream, house(upstream, api_key=key) as relayed:
            await relayed.ask(fields=[JSON, ("accept-encoding", "gzip, br")])
            return [value for name, value in upstream.received[0].fields if name == "accept-encoding"]

    assert asyncio.run(main(KEY)) == ["identity"]
    assert asyncio.run(main("")) == asyncio.run(main("short")) == ["gzip, br"]


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("status", ["200 OK", "401 No"])
def test_a_coded_answer_that_repeats_the_key_comes_decoded_and_masked(coding, status):
    packed = {"gzip": gzip.compress, "deflate": zlib.compress}[coding](ERROR)

    async def main():
        for raw in (
            sized(packed, status, f"content-encoding: {coding}", "x-a: b"),
            chunked(packed, status=status, fields=(f"content-encoding: {coding}", "x-a: b")),
        ):
            answer, _ = await answered(raw)
            assert (answer.status, answer.body) == (int(status[:3]), MASKED_ERROR)
            assert (answer.get("content-encoding"), answer.get("x-a")) == ("", "b")

    asyncio.run(main())


@pytest.mark.parametrize("status", ["200 OK", "401 No"])
@pytest.mark.parametrize("split", [0, 3])
def test_a_coded_answer_without_the_key_comes_decoded_and_undamaged(status, split):
    text = b'{"a":"' + b"sk-other" * 100 + b'"}'
    packed = gzip.compress(text)

    async def main():
        for raw in (
            sized(packed, status, "content-encoding: gzip"),
            chunked(packed[:9], packed[9:], status=status, fields=("content-encoding: gzip",)),
        ):
            answer, _ = await answered(raw, split=split)
            assert (answer.status, answer.body, answer.broken) == (int(status[:3]), text, False)
            assert answer.get("content-encoding") == ""

    asyncio.run(main())


def packed_in_parts(*parts: bytes) -> list[bytes]:
    """Return a gzip stream as an upstream sends it that packs as it goes."""
    out = io.BytesIO()
    pieces = []
    with gzip.GzipFile(fileobj=out, mode="wb") as file:
        for part in parts:
            file.write(part)
            file.flush()
            pieces.append(out.getvalue())
            out.seek(0)
            out.truncate()
    return [*pieces, out.getvalue()]


def test_a_coded_stream_goes_on_masked_as_it_comes():
    parts = packed_in_parts(b"one ", b"two sk-ours-012", b"3456789 three", b" four")

    async def script(peer):
        await peer.read()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n")
        for part in parts:
            await asyncio.sleep(0.02)
            await peer.send(b"%x\r\n%b\r\n" % (len(part), part))
        await peer.send(b"0\r\n\r\n")

    async def main():
        async with Upstream(script) as upstream, house(upstream, api_key=KEY) as relayed:
            answer = await relayed.ask()
        assert (answer.status, answer.broken) == (200, False)
        assert answer.body == b"one two " + STARS.encode() + b" three four"

    asyncio.run(main())


@pytest.mark.parametrize("status", ["200 OK", "401 No"])
def test_an_answer_whose_words_cannot_be_read_does_not_go_on(status):
    async def main():
        for raw in (
            sized(b"\x0b\x02\x80" + KEY.encode(), status, "content-encoding: br"),
            sized(gzip.compress(ERROR), status, "content-encoding: gzip, gzip"),
            sized(gzip.compress(ERROR)[:-9], status, "content-encoding: gzip"),
            sized(gzip.compress(ERROR) + KEY.encode(), status, "content-encoding: gzip"),
            sized(b"\0" * 300_000, status, "content-encoding: br"),
        ):
            answer, _ = await answered(raw)
            expected = 502 if status == "200 OK" else 401
            assert (answer.status, answer.json()["error"]["code"]) == (expected, "upstream_unreadable")
            assert KEY not in repr(answer)

    asyncio.run(main())


def test_an_answer_that_turns_out_broken_breaks_off():
    packed = gzip.compress(bytes(1_000_000), 1)

    async def main():
        answer, _ = await answered(sized(packed[:-9], "200 OK", "content-encoding: gzip"))
        assert answer.broken and answer.body == bytes(len(answer.body))

    asyncio.run(main())


class Came:
    """An answer of an upstream, all of which is here."""

    complete = True
    head = ResponseHead(200, "OK", 1, Fields([("content-encoding", "gzip")]))


def test_a_small_answer_that_becomes_large_is_decoded_in_turns_and_held_in_pieces():
    text = bytes(30_000_000) + b' "' + KEY.encode() + b'" '
    rounds = 0

    async def others():
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    async def main():
        beside = asyncio.ensure_future(others())
        await asyncio.sleep(0)
        sizes, tail = [], b""
        async for piece in DecodedBody(Came(), gzip.compress(text), Mask([KEY]), "relay"):
            sizes.append(len(piece))
            tail = piece
        beside.cancel()
        assert sum(sizes) == len(text) and max(sizes) <= 80_000
        assert rounds >= len(sizes) > 300
        assert STARS.encode() in tail and KEY.encode() not in tail

    asyncio.run(main())


# ---- what is not damaged

ORDINARY = json.dumps(
    {
        "object": "chat.completion",
        "key": None,
        "x": 1,
        "choices": [{"message": {"role": "assistant", "content": "null - key"}}],
    }
).encode()


@pytest.mark.parametrize("key", ["null", "key", "x", "1", "-", "text", "json", "true", "assistant", "chat.completion"])
def test_a_key_that_is_a_word_or_too_short_damages_nothing(key):
    async def main():
        head = "HTTP/1.1 200 OK\r\ncontent-type: application/json; x=1\r\nx-request-id: key-1-x\r\nx-key: null\r\n"
        raw = f"{head}content-length: {len(ORDINARY)}\r\n\r\n".encode() + ORDINARY
        plain, _ = await answered(raw, api_key=key)
        events = b"data: " + ORDINARY + b"\n\ndata: [DONE]\n\n"
        streamed, _ = await answered(chunked(events[:30], events[30:], fields=(EVENTS,)), api_key=key)
        error, _ = await answered(sized(ORDINARY, "401 No"), api_key=key)
        assert plain.body == error.body == ORDINARY and streamed.body == events
        assert plain.get("content-type") == "application/json; x=1" and plain.get("x-request-id") == "key-1-x"
        assert plain.get("x-key") == "null"

    asyncio.run(main())


def test_a_longer_word_with_the_key_in_it_is_another_word():
    async def main():
        body = f'{{"a":"x{KEY}","b":"{KEY}9"}}'.encode()
        answer, _ = await answered(sized(body, "200 OK", f"x-a: my-{KEY}"))
        assert (answer.body, answer.get("x-a")) == (body, f"my-{KEY}")

    asyncio.run(main())


def test_further_fields_that_are_secret_are_masked_and_others_are_not():
    async def main():
        headers = "X-Gateway-Token: Bearer gateway-secret-1\nX-Team: research-group"
        answer, _ = await answered(sized(b"gateway-secret-1 of research-group"), api_key="", headers=headers)
        assert answer.body == b"**************** of research-group"

    asyncio.run(main())


# ---- the log, and the start


def test_the_log_tells_no_id_in_which_a_callers_own_key_stands():
    lines: list[str] = []

    async def main():
        async with Upstream(answering(sized(b"{}", "200 OK", "x-request-id: sk-callers-01234"))) as upstream:
            async with house(upstream) as relayed:
                log = Log("json", lines.append)
                relayed.server.log.form, relayed.server.log._write = log.form, log._write
                await relayed.ask(fields=[JSON, ("authorization", "Bearer sk-callers-01234")])

    asyncio.run(main())
    assert lines and "sk-callers" not in "".join(lines)


@pytest.mark.parametrize(("key", "says"), [("short", True), ("assistant", True), (KEY, False)])
def test_the_start_says_that_a_key_cannot_be_masked(command, key, says):
    with running(command, "relay", "--set", f"relay.api_key={key}") as program:
        assert ("the key of relay cannot be masked" in program.banner) is says


# ---- DashScope


@pytest.mark.parametrize("held", [True, False], ids=["the owner's", "the caller's"])
def test_dashscopes_errors_repeat_no_key_in_any_part(held):
    told = json.dumps({"code": f"Bad.{KEY}", "message": f"no {KEY}, {KEY[:14]}...", "request_id": KEY}).encode()

    async def main():
        raws = (sized(told, "400 No", f"x-request-id: {KEY}"), sized(told), sized(b"<p>" + KEY.encode(), "502 No"))
        for raw in raws:
            async with Native({TEXT: raw}) as native, translator(native, api_key=KEY if held else "") as made:
                body = {"model": "qwen-max", "messages": [{"role": "user", "content": "hi"}]}
                answer = await made.post(CHAT, body, authorization=f"Bearer {KEY}")
            assert answer.status >= 400 and KEY[:14] not in repr(answer) + "".join(made.lines)

    asyncio.run(main())
