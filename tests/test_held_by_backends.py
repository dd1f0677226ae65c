"""What backends hold for a request besides its body: counted in the server's account, refused or left without room.

In every end of a request all of it is given back.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json

import pytest
from test_leftovers import Clients, form_of
from upstreams import Upstream, chunked, silent, sized

import oaiserve
from protocol.exchange import Endpoint, LateEndpoint, Request, Response, found_endpoint
from protocol.held_bytes import HeldBytes
from protocol.relay.kept_body import KeptBody
from protocol.service.log import Log
from protocol.wire.http1.messages import Fields, RequestHead
from protocol.wire.http1.readers import RequestReader

BIG = b" \n" * 500_000
CHAT = {"model": "qwen-plus", "messages": [{"role": "user", "content": "Hello"}]}
JSON = [("content-type", "application/json")]


@contextlib.asynccontextmanager
async def serving(backend, **changes):
    """Serve in this loop, and give clients and the account; nothing may be held at the end."""
    service = oaiserve.Service(oaiserve.load_settings(backend, set=changes), Log("text", lambda lines: None))
    await service.listen()
    clients = Clients(service.port)
    account = service._server.held
    try:
        yield clients, account
        for _ in range(100):
            if not account.held:
                break
            await asyncio.sleep(0.02)
        assert account.held == 0
    finally:
        clients.close()
        await service.close()


async def until(condition):
    for _ in range(200):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it never came about")


def relay_to(upstream, **changes):
    return serving("relay", **{"relay.base_url": upstream.url, "relay.retries": "0", **changes})


def answering(data):
    async def script(peer):
        while True:
            await peer.read()
            await peer.send(data)

    return script


# ---- the request's account ------------------------------------------------------------------------------------------


def make_request(account):
    reader = RequestReader()
    reader.feed(b"POST /v1/files HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
    return Request(reader.next_event(), "req_1", "-", account)


def test_a_request_gives_back_what_it_holds_and_holds_nothing_later():
    account = HeldBytes(100)
    request = make_request(account)
    named = request.named("req_2")
    request.hold(30)
    named.hold(40)
    assert account.held == 70 and not request.may_hold(31)
    with pytest.raises(oaiserve.ApiError) as refused:
        named.hold(31)
    assert (refused.value.status, refused.value.code) == (503, "memory_full")
    named.let_go(10)
    request.hold_no_more()
    assert account.held == 0
    request.hold(1000)
    named.hold(1000)
    named.let_go(5)
    assert account.held == 0


def test_a_body_is_kept_for_another_try_only_where_there_is_room():
    async def stream():
        for _ in range(5):
            yield b"x" * 100

    async def read(account):
        request = make_request(account)
        kept = KeptBody(stream(), request)
        sizes = []
        async for _ in kept.pieces():
            sizes.append(account.held)
        return kept.can_repeat, sizes

    assert asyncio.run(read(HeldBytes(1000))) == (True, [100, 200, 300, 400, 500])
    assert asyncio.run(read(HeldBytes(350))) == (False, [100, 200, 300, 0, 0])


# ---- the mock, and who reads a body for its model ------------------------------------------------------------------

CODED = [*JSON, ("content-encoding", "gzip")]


@pytest.mark.parametrize("routes", [{}, {"routes.nothing-*": "relay", "routes.*": "mock"}], ids=["mock", "routed"])
def test_what_a_body_becomes_when_it_is_decoded_counts_once_and_is_refused_without_room(routes):
    body = gzip.compress(json.dumps(CHAT).encode() + b" " * 900_000)

    async def test():
        for room, expected in (("1900k", 200), ("800k", 503)):  # the body, and the text that it is read as
            async with serving("mock", **{"server.max_memory": room, **routes}) as (clients, _):
                assert await clients.ask("POST", "/v1/chat/completions", body, CODED) == expected

    asyncio.run(test())


@pytest.mark.parametrize(("fields", "least"), [([], 2.5), (JSON, 2.5), ([("content-type", "multipart/form-data")], 2)])
def test_a_body_whose_endpoint_is_found_late_has_room_to_be_read_once_it_is_in(fields, least):
    body = json.dumps([[1]] * 30_000).encode()
    answered = Endpoint(lambda request: Response(200, [], b""), "later")

    async def find(request):
        return answered

    async def stream():
        for at in range(0, len(body), 65_536):
            yield body[at : at + 65_536]

    async def test():
        account = HeldBytes(50_000_000)
        request = Request(RequestHead("POST", "/", 1, Fields(fields)), "id", "peer", account)
        request.stream = stream()
        assert await found_endpoint(LateEndpoint(find, streams_body=True), request) is answered
        assert account.held >= least * len(body) - 1
        if least > 2:
            account.take(account.most - account.held)
            assert len(request.json()) == 30_000 and account.held == account.most

    asyncio.run(test())


# ---- the relay ------------------------------------------------------------------------------------------------------

FORM = form_of(b"", ("file", "a.wav", BIG), ("model", "whisper-1"))


def test_a_form_that_waits_for_its_model_counts_and_is_refused_without_room():
    async def test():
        async with Upstream(answering(sized(b"{}"))) as upstream:
            async with relay_to(upstream, **{"relay.model": "other"}) as (clients, account):
                body, fields = FORM
                _, writer = await begun(clients, body, fields)
                await until(lambda: account.held > 900_000)
                writer.write(body[950_000:])
                await until(lambda: account.held == 0)
                _, writer = await begun(clients, body, fields)
                await until(lambda: account.held > 900_000)
                writer.transport.abort()
                await until(lambda: account.held == 0)
            async with relay_to(
                upstream, **{"relay.model": "other", "server.max_memory": "800k", "server.max_body": "400k"}
            ) as (clients, _):
                small, fields = form_of(b"", ("file", "a.wav", BIG[:300_000]), ("model", "whisper-1"))
                first = await begun(clients, small, fields, 290_000)
                await asyncio.sleep(0.1)
                status = await clients.ask("POST", "/v1/audio/transcriptions", small, fields)
                assert status == 503
                first[1].write(small[290_000:])
                assert (await first[0].readuntil(b"\r\n")).split()[1] == b"200"

    asyncio.run(test())


async def begun(clients, body, fields, count=950_000):
    """Send the head of a request and some of its body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", clients.port)
    clients._writers.append(writer)
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
    writer.write(
        f"POST /v1/audio/transcriptions HTTP/1.1\r\nhost: x\r\n{lines}content-length: {len(body)}\r\n\r\n".encode()
    )
    writer.write(body[:count])
    return reader, writer


def test_a_copy_with_another_model_counts_beside_the_body():
    async def test():
        async with Upstream(silent) as upstream, relay_to(upstream, **{"relay.model": "other"}) as (clients, account):
            body = json.dumps({**CHAT, "padding": "x" * 1_000_000}).encode()
            _, writer = await clients.send("POST", "/v1/chat/completions", body, JSON)
            await until(lambda: account.held > 1_900_000)
            writer.transport.abort()

    asyncio.run(test())


def test_an_answer_that_waits_for_its_model_counts_and_goes_on_without_room():
    whole = json.dumps({"id": "x", "model": "other", "padding": "x" * 300_000}).encode()

    async def halting(peer):
        while True:
            await peer.read()
            await peer.send(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(whole)
            )
            await peer.send(whole[:250_000])
            await go_on.wait()
            await peer.send(whole[250_000:])

    async def asked(room):
        settings = {
            "relay.model": "other",
            "relay.model_in_answer": "asked",
            "server.max_memory": room,
            "server.max_body": "100k",
        }
        async with Upstream(halting) as upstream, relay_to(upstream, **settings) as (clients, account):
            go_on.clear()
            reader, _ = await clients.send("POST", "/v1/chat/completions", json.dumps(CHAT).encode(), JSON)
            if room == "10M":
                await until(lambda: account.held >= 200_000)
            else:
                await reader.readuntil(b'"id"')  # it goes on as it comes
            go_on.set()
            rest = b""
            while b'x"}' not in rest:
                rest += await reader.read(65536)
            return b'"model": "qwen-plus"' in rest

    async def test():
        global go_on
        go_on = asyncio.Event()
        assert await asked("10M")
        assert not await asked("150k")

    asyncio.run(test())


def test_a_held_error_counts():
    async def test():
        answer = sized(b"x" * 100_000, "500 Oops")
        async with Upstream(answering(answer)) as upstream, relay_to(upstream) as (clients, _):
            assert await clients.ask("POST", "/v1/chat/completions", json.dumps(CHAT).encode(), JSON) == 500

    asyncio.run(test())


# ---- the translator -------------------------------------------------------------------------------------------------


def translating(upstream, **changes):
    return serving("dashscope", **{"dashscope.base_url": upstream.url, **changes})


KEY = [("authorization", "Bearer sk-0123456789abcdef")]


def test_a_gathered_form_counts_and_is_refused_without_room():
    async def test():
        async with Upstream(silent) as upstream:
            body, fields = form_of(b"", ("model", "qwen3-asr-flash"), ("file", "a.wav", BIG))
            async with translating(upstream) as (clients, account):
                _, writer = await begun(clients, body, [*fields, *KEY])
                await until(lambda: account.held > 900_000)
                writer.transport.abort()
            async with translating(upstream, **{"server.max_memory": "500k", "server.max_body": "400k"}) as (
                clients,
                _,
            ):
                small, fields = form_of(b"", ("model", "qwen3-asr-flash"), ("file", "a.wav", BIG[:300_000]))
                _, writer = await begun(clients, small, [*fields, *KEY], 290_000)
                await asyncio.sleep(0.1)
                assert await clients.ask("POST", "/v1/audio/transcriptions", small, fields) == 503
                writer.transport.abort()

    asyncio.run(test())


def test_a_whole_answer_counts_and_is_refused_without_room():
    answer = json.dumps(
        {"output": {"choices": [{"message": {"role": "assistant", "content": "x" * 400_000}}]}}
    ).encode()

    async def test():
        async with Upstream(answering(chunked(answer[:200_000], answer[200_000:]))) as upstream:
            for room, expected in (("10M", 200), ("300k", 503)):
                settings = {"server.max_memory": room, "server.max_body": "100k"}
                async with translating(upstream, **settings) as (clients, _):
                    assert (
                        await clients.ask("POST", "/v1/chat/completions", json.dumps(CHAT).encode(), JSON) == expected
                    )

    asyncio.run(test())
