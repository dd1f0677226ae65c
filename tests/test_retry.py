"""The retry law: requests are counted where they arrive, and a POST that may have been carried out arrives once."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import select
import socket
import ssl
import struct
import sys
from typing import NamedTuple

import pytest
from certificates import Certificate
from native import TEXT, Native, translator
from native import answer as native_answer
from relays import CHAT, JSON, MESSAGE, House, house, until
from skipping import run
from test_relay import CHAIN, FORM_TYPE, SSE, SWITCH, UPGRADE, form, statuses, warmed
from upstreams import Gone, Peer, Received, Script, Upstream, chunked, closed_port, silent, sized

from protocol.relay.kept_body import KEPT_BODY_BYTES
from protocol.upstream.destination import parse_destination
from protocol.upstream.failures import UpstreamBroke
from protocol.upstream.pool import UpstreamLimits, UpstreamPool
from protocol.upstream.request import UpstreamRequest

#: Only Linux tells what the other side has not received.
needs_proof = pytest.mark.skipif(sys.platform != "linux", reason="the system does not tell what was received")


# ---- what may have been carried out is never sent twice --------------------------------------------------------------


def leaving_after(seconds: float, *, by_reset: bool = False) -> Script:
    """Answer a connection's first request, read its second one, and end the connection after a while."""

    async def leave(peer: Peer) -> None:
        await peer.read()
        await asyncio.sleep(seconds)
        if by_reset:
            peer.reset()

    return warmed(leave)


@pytest.mark.parametrize("retries", ["0", "2"])
@pytest.mark.parametrize("by_reset", [False, True], ids=["closing", "reset"])
@pytest.mark.parametrize("seconds", [0.0, 1.0, 5.0])
def test_a_post_that_a_kept_connection_took_is_sent_once(seconds: float, by_reset: bool, retries: str) -> None:
    async def main() -> None:
        script = leaving_after(seconds, by_reset=by_reset)
        async with Upstream(script) as upstream, house(upstream, retries=retries) as relayed:
            assert (await relayed.ask()).body == b"warm"
            answer = await relayed.ask()
            assert (answer.status, answer.json()["error"]["code"]) == (502, "upstream_broke")
            assert answer.get("x-oaiserve-attempts") == "relay=502"
            assert len(upstream.received) == 2

    run(main)


@pytest.mark.parametrize("seconds", [0.0, 1.0])
def test_a_call_that_dashscope_took_is_made_once(seconds: float) -> None:
    async def take(peer: Peer, received: Received) -> None:
        if len(peer.upstream.received) == 1:
            await peer.send(GOOD_CALL)
            return
        await asyncio.sleep(seconds)
        raise Gone

    async def main() -> None:
        async with Native({TEXT: take}) as native, translator(native) as translated:
            assert (await translated.chat()).status == 200
            assert (await translated.chat()).status == 502
            assert len(native.received) == 2

    run(main)


GOOD_CALL = native_answer({"output": {"text": "ok", "finish_reason": "stop"}, "usage": {}})


class AtRest:
    """A script that answers all requests; `end` ends its connections at rest, once `is_ending`.

    To a server's `on_request` it is the upstream that closes in the turn of the loop in which a request goes out.
    """

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._resting: set[Peer] = set()
        self.is_ending = False

    async def __call__(self, peer: Peer) -> None:
        while True:
            self._resting.add(peer)
            try:
                await peer.read()
            finally:
                self._resting.discard(peer)
            await peer.send(self._answer)

    def end(self, *_: object) -> None:
        for peer in self._resting if self.is_ending else ():
            peer.cut()


@needs_proof
@pytest.mark.parametrize("retries", ["0", "2"])
def test_a_connection_that_is_dead_when_it_is_written_to_is_replaced_and_listed(retries: str) -> None:
    async def main() -> None:
        script = AtRest(sized(b"ok"))
        async with Upstream(script) as upstream, house(upstream, retries=retries, on_request=script.end) as relayed:
            assert (await relayed.ask()).get("x-oaiserve-attempts") == "relay=200"
            script.is_ending = True
            answer = await relayed.ask()
            assert (answer.status, answer.body) == (200, b"ok")
            assert answer.get("x-oaiserve-attempts") == "relay=502,relay=200"
            assert len(upstream.received) == 2  # the one that met a dead connection was read by nobody
            [line] = [line for line in relayed.lines if "sent again" in line]
            assert "'relay' failed: the connection was closed before it can have read the request." in line

    run(main)


@needs_proof
def test_a_call_to_dashscope_that_meets_a_dead_connection_is_made_on_a_new_one_and_listed() -> None:
    async def main() -> None:
        script = AtRest(GOOD_CALL)
        async with Upstream(script) as upstream, translator(upstream, on_request=script.end) as translated:
            first = await translated.chat()
            assert (first.status, first.get("x-oaiserve-attempts")) == (200, "")
            script.is_ending = True
            second = await translated.chat()
            assert (second.status, second.get("x-oaiserve-attempts")) == (200, "dashscope=502,dashscope=200")
            assert len(upstream.received) == 2
            (line,) = [line for line in translated.lines if "sent again on a new connection" in line]
            assert f"(127.0.0.1:{upstream.port})" in line

    run(main)


def test_a_safe_method_is_sent_again_whatever_became_of_the_connection() -> None:
    async def main() -> None:
        async with Upstream(leaving_after(1.0)) as upstream, house(upstream, retries="0") as relayed:
            await relayed.ask("GET", "/v1/files")
            answer = await relayed.ask("GET", "/v1/files")
            assert (answer.status, answer.get("x-oaiserve-attempts")) == (200, "relay=502,relay=200")
            assert len(upstream.received) == 3

    run(main)


ENDS = [
    ("closed before the request", "closes", "before", True),
    ("reset before the request", "resets", "before", True),
    ("closed behind the request, which is unread", "closes", "behind", False),
    ("reset behind the request, which is unread", "resets", "behind", False),
    ("closed behind the request, which is read", "reads, closes", "behind", False),
    ("reset behind the request, which is read", "reads, resets", "behind", False),
]


def end(sock: socket.socket, how: str) -> None:
    if "reads" in how:
        assert sock.recv(65536)
    if "resets" in how:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@needs_proof
@pytest.mark.parametrize(("how", "when", "is_proof"), [case[1:] for case in ENDS], ids=[case[0] for case in ENDS])
def test_only_an_end_from_before_the_request_proves_that_it_was_not_read(how: str, when: str, is_proof: bool) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        replaced: list[UpstreamBroke] = []
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            destination = parse_destination(f"http://127.0.0.1:{listener.getsockname()[1]}")
            pool = UpstreamPool("far", destination, UpstreamLimits(), tls=no_tls)
            post = UpstreamRequest("POST", "/v1/x", b"host: h\r\n", b"x")

            async def accept() -> socket.socket:
                sock, _ = await loop.sock_accept(listener)
                assert await loop.sock_recv(sock, 65536)
                await loop.sock_sendall(sock, sized(b"ok"))
                return sock

            sock, kept = await asyncio.gather(accept(), pool.send(post))
            assert await kept.hold(100, 1.0) == b"ok"
            if when == "before":
                end(sock, how)
            again = loop.create_task(pool.send(post, on_replaced=replaced.append))
            if when == "behind":
                while not select.select([sock], [], [], 0)[0]:
                    await asyncio.sleep(0)
                end(sock, how)
                with pytest.raises(UpstreamBroke):
                    await again
            else:
                (await accept()).close()
                assert await (await again).hold(100, 1.0) == b"ok"
            assert [exc.unsent for exc in replaced] == [True] * is_proof
            await pool.close()

    run(main)


def no_tls() -> ssl.SSLContext:
    raise AssertionError("no TLS is spoken here")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("tls"))


@needs_proof
def test_over_tls_a_dead_connection_is_replaced(certificate: Certificate) -> None:
    async def main() -> None:
        script = AtRest(sized(b"ok"))
        async with Upstream(script, tls=certificate.server_context()) as upstream:
            options = {"retries": "0", "ca_file": certificate.cert_file}
            async with house(upstream, on_request=script.end, **options) as relayed:
                assert (await relayed.ask()).status == 200
                script.is_ending = True
                assert (await relayed.ask()).get("x-oaiserve-attempts") == "relay=502,relay=200"
                assert len(upstream.received) == 2

    run(main)


@pytest.mark.parametrize("how", ["closes", "cuts", "resets"])
def test_over_tls_a_post_that_was_read_is_sent_once(certificate: Certificate, how: str) -> None:
    async def take(peer: Peer) -> None:
        await peer.read()
        if how == "cuts":
            peer.cut()  # without the alert that TLS ends with
        elif how == "resets":
            peer.reset()

    async def main() -> None:
        async with Upstream(warmed(take), tls=certificate.server_context()) as upstream:
            async with house(upstream, ca_file=certificate.cert_file) as relayed:
                for attempts in ("relay=200", "relay=502"):
                    assert (await relayed.ask()).get("x-oaiserve-attempts") == attempts
                assert len(upstream.received) == 2

    run(main)


# ---- what is tried again, and what the next backend gets -------------------------------------------------------------


def error(status: str, code: str | None, *fields: str, message: str = "no", kind: str | None = None) -> bytes:
    """Return an error in OpenAI's shape."""
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return sized(json.dumps(body).encode(), status, "content-type: application/json", *fields)


@pytest.mark.parametrize("status", [408, 520, 521, 522, 523, 524, 525, 526, 527, 529, 530, 598, 599])
def test_tries_again_what_stands_for_a_bad_gateway(status: int) -> None:
    async def main() -> None:
        async with Upstream(statuses(status, status, 200)) as upstream, house(upstream) as relayed:
            answer = await relayed.ask()
            assert (answer.status, answer.body) == (200, b"200!")
            assert answer.get("x-oaiserve-attempts") == f"relay={status},relay={status},relay=200"

    run(main)


@pytest.mark.parametrize("status", [501, 505, 519, 531, 597])
def test_does_not_try_again_what_stands_beside_those(status: int) -> None:
    async def main() -> None:
        async with Upstream(statuses(status, 200)) as one, Upstream(statuses(200)) as two:
            async with house({"relay": one, "second": two}, CHAIN) as relayed:
                assert (await relayed.ask()).status == status
                assert (len(one.received), len(two.received)) == (1, 0)

    run(main)


OUT_OF_QUOTA = error("429 Too Many Requests", "insufficient_quota", "retry-after: 0")
ZIPPED = gzip.compress(b'{"error": {"code": "insufficient_quota"}}')
NO_MODEL = "The model `gpt-4o` does not exist or you do not have access to it."
FOR_OTHERS = [
    ("401", error("401 Unauthorized", "invalid_api_key")),
    ("402", sized(b"pay", "402 Payment Required")),
    ("403", sized(b"<html>", "403 Forbidden")),
    ("404, no such model", error("404 Not Found", "model_not_found")),
    ("404, vLLM", sized(json.dumps({"object": "error", "message": NO_MODEL, "code": 404}).encode(), "404 Not Found")),
    ("404, Ollama", sized(b'{"error":"model \'gpt-4o\' not found"}', "404 Not Found")),
    ("429, no quota", OUT_OF_QUOTA),
    ("429, no quota by type", error("429 X", None, kind="insufficient_quota")),
    ("429, no quota, zipped", sized(ZIPPED, "429 X", "content-encoding: gzip", "content-type: application/json")),
    ("503, billing", error("503 X", "billing_not_active")),
    ("429 for an hour", error("429 X", "rate_limit_exceeded", "retry-after: 3600")),
    ("broken off", b""),
    ("half a head", b"HTTP/1.1 200"),
]


@pytest.mark.parametrize("failing", [case[1] for case in FOR_OTHERS], ids=[case[0] for case in FOR_OTHERS])
def test_what_only_another_backend_can_mend_goes_to_the_next_one_at_once(failing: bytes) -> None:
    async def main() -> None:
        async def fail(peer: Peer) -> None:
            await peer.read()
            await peer.send(failing)

        async with Upstream(fail) as one, Upstream(statuses(200)) as two:
            async with house({"relay": one, "second": two}, CHAIN) as relayed:
                answer = await relayed.ask()
                assert (answer.status, answer.body) == (200, b"200!")
                status = int(failing[9:12]) if b"\r\n\r\n" in failing else 502
                assert answer.get("x-oaiserve-attempts") == f"relay={status},second=200"
                assert (len(one.received), len(two.received)) == (1, 1)
            async with house(one) as relayed:  # without another behind it
                answer = await relayed.ask()
                assert (answer.status, len(one.received)) == (status, 2)
                assert status == 502 or answer.body == failing.partition(b"\r\n\r\n")[2]

    run(main)


FINAL = [
    ("400", error("400 Bad Request", "model_not_found")),
    ("404, another thing", error("404 Not Found", None, message="No such file object: file-1")),
    ("404, a path", error("404 Not Found", "unknown_url", message="Unknown request URL")),
    ("404, no JSON", sized(b"model not found", "404 Not Found")),
    ("409", error("409 Conflict", "insufficient_quota")),
    ("413", sized(b"", "413 X")),
    ("422", error("422 X", None)),
]


@pytest.mark.parametrize("final", [case[1] for case in FINAL], ids=[case[0] for case in FINAL])
def test_what_no_backend_can_mend_is_the_answer(final: bytes) -> None:
    async def main() -> None:
        async with Upstream(statuses(final, 200)) as one, Upstream(statuses(200)) as two:
            async with house({"relay": one, "second": two}, CHAIN) as relayed:
                answer = await relayed.ask()
                assert (answer.status, answer.body) == (int(final[9:12]), final.partition(b"\r\n\r\n")[2])
                assert (len(one.received), len(two.received)) == (1, 0)

    run(main)


def test_errors_that_are_the_callers_do_not_make_a_backend_rest() -> None:
    async def main() -> None:
        async with Upstream(statuses(error("401 X", None))) as one, Upstream(statuses(200)) as two:
            async with house({"relay": one, "second": two}, CHAIN) as relayed:
                for _ in range(8):
                    assert (await relayed.ask()).get("x-oaiserve-attempts") == "relay=401,second=200"

    run(main)


def test_a_backend_that_refuses_its_probe_for_the_callers_sake_is_well_again() -> None:
    async def main() -> None:
        script = statuses(*[500] * 5, error("401 X", None))
        async with Upstream(script) as one, Upstream(statuses(200)) as two:
            async with house({"relay": one, "second": two}, CHAIN, retries="0", cooldown="10") as relayed:
                for _ in range(5):
                    await relayed.ask()
                assert (await relayed.ask()).get("x-oaiserve-attempts") == "relay=503,second=200"
                await asyncio.sleep(11)
                await relayed.ask()
                answers = await asyncio.gather(*(relayed.ask() for _ in range(4)))
                assert {answer.get("x-oaiserve-attempts") for answer in answers} == {"relay=401,second=200"}

    run(main)


EVENT_ERROR = b'data: {"error": {"message": "overloaded", "code": 529}}\n\n'
FIRST_EVENTS = [
    ("an error", EVENT_ERROR + b"data: [DONE]\n\n", True),
    ("an error behind a comment", b": wait\n\n" + EVENT_ERROR, True),
    ("an error by its name", b'event: error\ndata: {"message": "no"}\n\n', True),
    ("an error by its type", b'data: {"type": "error", "message": "an \\"error\\""}\n\n', True),
    ("an error, CRLF", EVENT_ERROR.replace(b"\n", b"\r\n"), True),
    ("a word", b'data: {"choices": [], "error": null}\n\n' + EVENT_ERROR, False),
    ("a word about errors", b'data: {"choices": [{"delta": {"content": "\\"error\\""}}]}\n\n', False),
    ("no JSON", b'data: "error"\n\n', False),
    ("comments alone", b": wait\n\n", False),
    ("nothing", b"", False),
]


@pytest.mark.parametrize("pause", [0.0, 2.0], ids=["at once", "later"])
@pytest.mark.parametrize("ends", [True, False], ids=["whole", "still open"])
@pytest.mark.parametrize(("events", "fails"), [case[1:] for case in FIRST_EVENTS], ids=[c[0] for c in FIRST_EVENTS])
def test_a_stream_whose_first_event_is_an_error_goes_to_the_next_backend(
    events: bytes, fails: bool, ends: bool, pause: float
) -> None:
    async def main() -> None:
        async def stream(peer: Peer) -> None:
            while True:
                await peer.read()
                await peer.send(chunked(end=b"", fields=SSE))
                await asyncio.sleep(pause)
                await peer.send(b"%x\r\n%b\r\n" % (len(events), events) if events else b"")
                await asyncio.sleep(0 if ends else 30)
                await peer.send(b"0\r\n\r\n")

        good = chunked(b"data: 1\n\n", b"data: [DONE]\n\n", fields=SSE)
        async with Upstream(stream) as one, Upstream(statuses(good)) as two:
            async with house({"relay": one, "second": two}, CHAIN) as relayed:
                answer = await relayed.ask()
                assert (answer.status, answer.broken) == (200, False)
                if fails:
                    assert answer.body == b"data: 1\n\ndata: [DONE]\n\n"
                    assert answer.get("x-oaiserve-attempts") == "relay=200,second=200"
                    assert ends or relayed.relay.open_connections == 0  # what nobody wants is closed
                else:
                    assert (answer.body, len(two.received)) == (events, 0)
            async with house(one) as relayed:  # without another behind it, it is passed on
                assert (await relayed.ask()).body == events

    run(main)


def test_a_stream_is_not_held_back_where_no_other_backend_could_be_asked_and_not_for_ever_where_one_could() -> None:
    async def main() -> None:
        async def begin(peer: Peer) -> None:
            await peer.read()
            await peer.send(chunked(end=b"", fields=SSE))
            await peer.until_gone()

        async def seconds_until_the_head(relayed: House) -> float:
            began = asyncio.get_running_loop().time()
            async with relayed.client() as client:
                await client.send("POST", CHAT, [JSON], MESSAGE)
                assert (await client.head()).status_code == 200
            return asyncio.get_running_loop().time() - began

        async with Upstream(begin) as one, Upstream(statuses(200)) as two:
            async with house(one) as relayed:
                assert await seconds_until_the_head(relayed) < 1
            async with house({"relay": one, "second": two}, CHAIN) as relayed:
                assert 9 < await seconds_until_the_head(relayed) < 11
            async with house({"relay": one, "second": two}, CHAIN, keepalive="3") as relayed:
                assert 2 < await seconds_until_the_head(relayed) < 4

    run(main)


def test_the_last_stream_comes_out_as_it_came_when_all_begin_with_an_error() -> None:
    async def main() -> None:
        async def stream(peer: Peer) -> None:
            await peer.read()
            await peer.send(chunked(EVENT_ERROR, end=b"", fields=SSE))
            await asyncio.sleep(1)
            await peer.send(b"0\r\n\r\n")

        async with Upstream(stream) as one, Upstream(stream) as two:
            async with house({"relay": one, "second": two}, CHAIN) as relayed:
                answer = await relayed.ask()
                assert (answer.status, answer.body, answer.broken) == (200, EVENT_ERROR, False)
                assert answer.get("x-oaiserve-attempts") == "relay=200,second=200"

    run(main)


def test_an_error_that_is_too_long_to_hold_goes_to_the_next_backend_all_the_same() -> None:
    async def main() -> None:
        async with Upstream(statuses(sized(b"x" * 700_000, "503 X"))) as one, Upstream(statuses(200)) as two:
            async with house({"relay": one, "second": two}, CHAIN, retries="1") as relayed:
                assert (await relayed.ask()).get("x-oaiserve-attempts") == "relay=503,relay=503,second=200"
                await until(lambda: relayed.relay.open_connections == 0, 1.0)

    run(main)


# ---- bodies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["", "other"], ids=["as it came", "renamed"])
@pytest.mark.parametrize(("size", "tries"), [(70_000, 3), (KEPT_BODY_BYTES - 1000, 3), (KEPT_BODY_BYTES + 1000, 1)])
@pytest.mark.parametrize("is_chunked", [False, True], ids=["sized", "chunked"])
def test_a_body_is_sent_again_up_to_a_bound(size: int, tries: int, is_chunked: bool, model: str) -> None:
    body = form(file=b"x" * size)
    if model and is_chunked:
        tries = 3  # it is held whole, because its length must be told
    framing = b"transfer-encoding: chunked" if is_chunked else b"content-length: %d" % len(body)
    head = b"POST /v1/audio/transcriptions HTTP/1.1\r\nhost: h\r\n%b: %b\r\n%b\r\n\r\n"

    async def main() -> None:
        async with Upstream(statuses(503, 503, 200)) as upstream, house(upstream, model=model) as relayed:
            async with relayed.client() as client:
                client.writer.write(head % (FORM_TYPE[0].encode(), FORM_TYPE[1].encode(), framing))
                for at in range(0, len(body), 50_000):
                    piece = body[at : at + 50_000]
                    client.writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece)
                client.writer.write(b"0\r\n\r\n" if is_chunked else b"")
                status = (await client.reader.readline()).split()[1]
            assert (status, len(upstream.received)) == (b"200" if tries == 3 else b"503", tries)
            sent = body if not model else form(b"other", b"x" * size)
            assert {received.body for received in upstream.received} == {sent}

    run(main)


def test_a_body_is_sent_again_from_its_start_while_the_rest_of_it_is_still_to_come() -> None:
    bodies: list[bytes] = []

    async def refuse_early(peer: Peer) -> None:
        if peer.number == 0:
            await peer.head()
            await peer.send(sized(b"", "503 X"))
            await peer.until_gone()
        else:
            bodies.append((await peer.read()).body)
            await peer.send(sized(b"ok"))

    async def main() -> None:
        async with Upstream(refuse_early) as upstream, house(upstream) as relayed, relayed.client() as client:
            client.writer.write(b"POST /v1/files HTTP/1.1\r\nhost: h\r\ncontent-length: 100000\r\n\r\n" + b"a" * 50_000)
            await until(lambda: len(upstream.connections) == 2, 1.0)
            client.writer.write(b"b" * 50_000)
            assert (await client.reader.readline()).startswith(b"HTTP/1.1 200")
            assert bodies == [b"a" * 50_000 + b"b" * 50_000]

    run(main)


# ---- how long callers wait, and callers who try by themselves --------------------------------------------------------

PATIENCE = [
    ("no word of it", "", "retry-after: 14", 200),
    ("longer than ours", "", "retry-after: 16", 429),
    ("longer than the caller's", "x-stainless-read-timeout: 10", "retry-after: 11", 429),
    ("the caller's is longer", "x-stainless-read-timeout: 12", "retry-after: 11", 200),
    ("Node's caller", "x-stainless-timeout: 10", "retry-after-ms: 11000", 429),
    ("nonsense", "x-stainless-read-timeout: soon", "retry-after: 11", 200),
]


@pytest.mark.parametrize(("said", "asked", "status"), [case[1:] for case in PATIENCE], ids=[c[0] for c in PATIENCE])
def test_a_pause_that_would_outlast_the_caller_is_passed_on_to_him(said: str, asked: str, status: int) -> None:
    async def main() -> None:
        fields = [JSON] + [tuple(line.split(": ")) for line in [said] if said]
        loop = asyncio.get_running_loop()
        async with Upstream(statuses(sized(b"", "429 X", asked), 200)) as upstream, house(upstream) as relayed:
            began = loop.time()
            answer = await relayed.ask(fields=fields)
            assert answer.status == status
            if status == 429:
                assert loop.time() - began < 1
                name, value = asked.split(": ")
                assert answer.get(name) == value

    run(main)


def test_the_time_that_went_by_counts_against_the_callers_patience() -> None:
    async def main() -> None:
        async def slowly_no(peer: Peer) -> None:
            await peer.read()
            await asyncio.sleep(6)
            await peer.send(sized(b"", "429 X", "retry-after: 6"))

        for script in (slowly_no, warmed(slowly_no)):  # on a new connection, and on one that is kept
            async with Upstream(script) as upstream, house(upstream) as relayed:
                await relayed.ask(fields=[JSON, ("x-stainless-read-timeout", "10")])
                if script is not slowly_no:
                    assert (await relayed.ask(fields=[JSON, ("x-stainless-read-timeout", "10")])).status == 429
                assert len(upstream.received) == 1 + (script is not slowly_no)

    run(main)


@pytest.mark.parametrize(("count", "attempts"), [("0", 3), ("1", 1), ("2", 1), ("01", 1), ("", 3), ("x", 3)])
def test_a_caller_who_tries_again_by_himself_does_not_multiply_our_tries(count: str, attempts: int) -> None:
    async def main() -> None:
        async with Upstream(statuses(500)) as one, Upstream(statuses(500)) as two:
            async with house({"relay": one, "second": two}, CHAIN) as relayed:
                await relayed.ask(fields=[JSON, ("x-stainless-retry-count", count)] if count else [JSON])
                assert (len(one.received), len(two.received)) == (attempts, attempts)

    run(main)


# ---- upgrades --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["down", "busy", "forbidding", "silent"])
def test_an_upgrade_whose_first_backend_does_not_take_it_reaches_the_second(first: str) -> None:
    async def main() -> None:
        async def echo(peer: Peer) -> None:
            await peer.head()
            await peer.send(SWITCH)
            while data := await peer.bytes():
                await peer.send(data[::-1])

        answers = {"busy": statuses(503), "forbidding": statuses(403), "silent": silent}
        async with Upstream(answers.get(first, silent)) as one, Upstream(echo) as two:
            upstreams = {"relay": one if first in answers else f"http://127.0.0.1:{closed_port()}", "second": two}
            async with house(upstreams, CHAIN, timeout="5") as relayed, relayed.client() as client:
                await client.send("GET", "/v1/realtime?model=x", UPGRADE, None)
                head = await client.reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 101") and b",second=101\r\n" in head
                client.writer.write(b"abc")
                assert await client.reader.readexactly(3) == b"cba"

    run(main)


# ---- the law under random faults -------------------------------------------------------------------------------------


class Fault(NamedTuple):
    """What a request meets at the upstream, and what may follow it: nothing, this backend again, or the next one.

    `status` is what the attempt counts as. `ends` says that the connection is closed behind it.
    """

    answer: bytes | None
    follows: str
    status: int
    ends: bool = False


FAULTS = {
    "ok": Fault(sized(b"done"), "nothing", 200),
    "stream": Fault(chunked(b"data: 1\n\n", b"data: [DONE]\n\n", fields=SSE), "nothing", 200),
    "broken stream": Fault(chunked(b"data: 1\n\n", end=b"", fields=SSE), "nothing", 200, True),
    "broken body": Fault(sized(b"done" * 9)[:-3], "nothing", 200, True),
    "400": Fault(sized(b"e", "400 X"), "nothing", 400),
    "409": Fault(sized(b"e", "409 X"), "nothing", 409),
    "429": Fault(sized(b"", "429 X"), "again", 429),
    "500": Fault(sized(b"e", "500 X"), "again", 500),
    "524": Fault(sized(b"e", "524 X"), "again", 524),
    "503 later": Fault(sized(b"e", "503 X", "retry-after: 0.02"), "again", 503),
    "503 never": Fault(sized(b"e", "503 X", "retry-after: 900"), "next", 503),
    "no quota": Fault(OUT_OF_QUOTA, "next", 429),
    "401": Fault(sized(b"e", "401 X"), "next", 401),
    "no model": Fault(error("404 X", "model_not_found"), "next", 404),
    "error event": Fault(chunked(EVENT_ERROR, fields=SSE), "next", 200),
    "close": Fault(b"", "next", 502, True),
    "reset": Fault(b"", "next", 502, True),
    "garbage": Fault(b"garbage\r\n\r\n", "next", 502, True),
    "half head": Fault(b"HTTP/1.1 200 OK\r\n", "next", 502, True),
    "silence": Fault(None, "next", 504),
}


class FaultyUpstreams:
    """Two backends that meet each request with the next fault of `plan`; `seen` is which backend met it with which."""

    def __init__(self) -> None:
        self.plan: list[str] = []
        self.seen: list[tuple[str, str]] = []
        self.resting: set[Peer] = set()
        self.cuts = False  # whether connections at rest end as a request goes out

    def script(self, name: str) -> Script:
        async def serve(peer: Peer) -> None:
            while True:
                self.resting.add(peer)
                try:
                    await peer.read()
                finally:
                    self.resting.discard(peer)
                kind = self.plan.pop(0)
                self.seen.append((name, kind))
                fault = FAULTS[kind]
                if fault.answer is None:
                    await peer.until_gone()
                    return
                await peer.send(fault.answer)
                if fault.ends:
                    await asyncio.sleep(0.002)
                    if kind == "reset":
                        peer.reset()
                    return

        return serve

    def cut(self, *_: object) -> None:
        if self.cuts:
            for peer in self.resting:
                peer.cut()


async def one_schedule(draw: random.Random, faulty: FaultyUpstreams, relayed: House, retries: int) -> None:
    """Send one request under random faults and hold what arrived, and the answer, against the law."""
    faulty.plan[:] = draw.choices(list(FAULTS), k=12)
    faulty.seen.clear()
    faulty.cuts = draw.random() < 0.3
    tries_itself = draw.random() < 0.2
    loop = asyncio.get_running_loop()
    began = loop.time()
    answer = await relayed.ask(fields=[JSON, ("x-stainless-retry-count", "1")] if tries_itself else [JSON])
    seen = list(faulty.seen)
    assert loop.time() - began < 0.4 + 0.05, seen
    allowed = 0 if tries_itself else retries
    for (name, kind), (next_name, _) in zip(seen, seen[1:]):
        assert FAULTS[kind].follows == "again" if next_name == name else (name, next_name) == ("relay", "second"), seen
        assert FAULTS[kind].follows != "nothing", seen
    for backend in ("relay", "second"):
        assert sum(name == backend for name, _ in seen) <= allowed + 1, seen
    told = answer.get("x-oaiserve-attempts").split(",")
    met = [f"{name}={FAULTS[kind].status}" for name, kind in seen]
    replaced = list(told)
    for attempt in met:
        if attempt in replaced:
            replaced.remove(attempt)
        else:
            assert answer.status == 504, (told, seen)  # the time was over before it was answered
    assert len(replaced) <= (faulty.cuts + (answer.status == 504)) * 6, (told, seen)
    assert all(attempt.endswith(("=502", "=504")) for attempt in replaced), (told, seen)
    if seen and answer.status != 504:
        last = FAULTS[seen[-1][1]]
        assert answer.status == last.status, (told, seen)
        assert answer.broken == (seen[-1][1].startswith("broken")), (told, seen)


async def random_schedules(seed: int, count: int) -> None:
    """Send so many requests, each under its own faults; ten thousand take some minutes."""
    draw = random.Random(seed)
    faulty = FaultyUpstreams()
    async with Upstream(faulty.script("relay")) as one, Upstream(faulty.script("second")) as two:
        for retries in (0, 2):
            async with house(
                {"relay": one, "second": two}, CHAIN, lambda: 0.0, on_request=faulty.cut,
                total_timeout="0.4", timeout="0.06", cooldown="0", retries=str(retries),
            ) as relayed:  # fmt: skip
                for _ in range(count // 2):
                    await one_schedule(draw, faulty, relayed, retries)


def test_keeps_the_law_under_random_faults() -> None:
    run(lambda: random_schedules(1, 300))
