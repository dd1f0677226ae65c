"""What WebSockets hold in memory: counted in the server's account, and what happens where there is no room for more.

All figures are of that account, so that no test depends on the machine.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import struct
import tracemalloc
import weakref
from socket import SO_LINGER, SOL_SOCKET

import pytest
from mocks import make_mock
from test_held_by_backends import relay_to, until
from test_mock_realtime import BETA, MASK, UPGRADE, Socket
from upstreams import Upstream

from protocol.errors import ApiError
from protocol.held_bytes import HeldBytes, Stay
from protocol.openai.model_choice import ModelChoice
from protocol.relay.session_model import with_renamed_session
from protocol.wire.websocket import Close, FrameReader, encode_text

MEGABYTE = 1 << 20
# Of a pattern, so that no two bytes of base64 in a row are the same.
SOUND = base64.b64encode(bytes(range(256)) * 4096).decode()  # a megabyte of it

REALTIME = "/v1/realtime?model=gpt-realtime"
LIVE = "/v1/live/sessions"
PATHS = [REALTIME, "/v1/realtime/translations?model=gpt-realtime", "/v1/responses", LIVE]
NO_DETECTION = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}


def part_of(message: bytes, size: int) -> bytes:
    """Return the beginning of a frame that carries a message."""
    return encode_text(message, MASK)[:size]


def say(socket, type, **members):
    """Send an event in pieces as large as the server reads them."""
    data = encode_text(json.dumps({"type": type, **members}), MASK)
    for at in range(0, len(data), 65536):
        socket.put(data[at : at + 65536])


async def never(seconds):
    await asyncio.Event().wait()


async def settled(task=None):
    for _ in range(60):
        await asyncio.sleep(0.005)
        if task is not None and task.done():
            break


# ---- the account ----------------------------------------------------------------------------------------------------


def test_those_that_stay_may_fill_half_of_the_room_and_each_has_a_little_of_its_own():
    account = HeldBytes(4 * MEGABYTE)
    first, second = Stay(account), Stay(account)
    assert first.may_become(MEGABYTE) and first.may_become(2 * MEGABYTE) and account.held == 2 * MEGABYTE
    assert not second.may_become(262_145) and second.may_become(262_144)
    assert account.held == account.staying == 2 * MEGABYTE + 262_144 and account.has_room(MEGABYTE)
    with pytest.raises(ApiError) as refused:
        Stay(account)
    assert (refused.value.status, refused.value.fields) == (503, (("retry-after", "1"),))
    assert not first.may_become(2 * MEGABYTE + 1) and first.may_become(MEGABYTE) and second.may_become(MEGABYTE)
    first.become(0)
    second.become(0)
    assert (account.held, account.staying) == (0, 0)


def test_those_that_stay_have_no_room_that_requests_have_taken():
    account = HeldBytes(4 * MEGABYTE)
    stay = Stay(account)
    account.take(3 * MEGABYTE)
    assert stay.may_become(MEGABYTE) and not stay.may_become(MEGABYTE + 1)


# ---- messages under way ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
def test_a_message_counts_as_it_comes_and_one_without_room_ends_its_session_alone(path):
    async def test():
        account, mock = HeldBytes(4 * MEGABYTE), make_mock()
        message = json.dumps({"type": "nothing", "x": "y" * 3 * MEGABYTE}).encode()
        first, second = (Socket(mock, path, account=account) for _ in range(2))
        pulls = []
        for socket in (first, second):
            if path not in ("/v1/responses", LIVE):
                await socket.event()
            socket.put(part_of(message, MEGABYTE + MEGABYTE // 2))
            pulls.append(asyncio.ensure_future(socket.pull()))
            await settled(pulls[-1])
        assert not pulls[0].done() and 1.4 * MEGABYTE < account.held < 4 * MEGABYTE
        second._reader.feed(await pulls[1])
        event = await second.event()
        assert event["type"] == "error" and event["error"]["code"] == "memory_full"
        end = await second.frame()
        assert isinstance(end, Close) and end.code == 1013
        assert await second.frame() is None
        assert 1.4 * MEGABYTE < account.held < 1.7 * MEGABYTE
        pulls[0].cancel()
        await asyncio.gather(*pulls, return_exceptions=True)
        await first.close()
        assert account.held == account.staying == 0

    asyncio.run(test())


def test_a_usual_session_goes_on_beside_those_that_have_all_the_room():
    async def test():
        account, mock = HeldBytes(4 * MEGABYTE), make_mock()
        usual = Socket(mock, account=account)
        await usual.event()
        greedy = Socket(mock, account=account)
        await greedy.event()
        greedy.put(part_of(b"x" * 3 * MEGABYTE, 2 * MEGABYTE - 20_000))
        pull = asyncio.ensure_future(greedy.pull())
        await settled(pull)
        assert not pull.done() and not account.may_stay(40_000)
        with pytest.raises(ApiError) as refused:
            Socket(mock, account=account)
        assert refused.value.status == 503
        usual.send("response.create")
        assert (await usual.until("response.done"))[-1]["response"]["status"] == "completed"
        pull.cancel()
        await asyncio.gather(pull, return_exceptions=True)
        await usual.close()
        await greedy.close()
        assert account.held == 0

    asyncio.run(test())


# ---- what is kept ---------------------------------------------------------------------------------------------------


def test_sound_that_waits_counts_and_more_of_it_is_refused_until_there_is_room():
    async def test():
        account, mock = HeldBytes(40 * MEGABYTE), make_mock()
        sessions = []
        for _ in range(8):
            socket = Socket(mock, account=account)
            sessions.append(socket)
            await socket.event()
            socket.send("session.update", session=NO_DETECTION)
            await socket.event()
            for _ in range(5):
                socket.send("input_audio_buffer.append", audio=SOUND)
        told = 0
        for socket in sessions:
            socket.send("nothing")
            while (event := await socket.event())["error"]["code"] == "memory_full":
                told += 1
            assert event["error"]["param"] == "type"
            assert account.held <= 20 * MEGABYTE
        kept = [socket.response.body._talk._input.held_bytes for socket in sessions]
        assert told == 40 - sum(kept) // MEGABYTE > 10
        assert sum(kept) <= account.held <= sum(kept) + 100_000
        sessions[0].send("input_audio_buffer.clear")
        await sessions[0].until("input_audio_buffer.cleared")
        sessions[-1].send("input_audio_buffer.append", audio=SOUND)
        sessions[-1].send("input_audio_buffer.commit")
        await sessions[-1].until("input_audio_buffer.committed")
        for socket in sessions:
            await socket.close()
        assert account.held == 0

    asyncio.run(test())


def small_sounds(count):
    return [{"type": "input_audio_buffer.append", "audio": SOUND[:4000]}] * count


def test_a_session_that_grows_a_little_each_time_ends_where_there_is_no_room():
    async def test():
        account = HeldBytes(MEGABYTE)
        socket = Socket(make_mock(), account=account)
        await socket.event()
        socket.send("session.update", session=NO_DETECTION)
        await socket.event()
        for event in small_sounds(200):
            socket.send(**event)
        assert (await socket.event())["error"]["code"] == "memory_full"
        assert (await socket.frame()).code == 1013
        assert 500_000 < account.held < 600_000
        assert await socket.frame() is None and account.held == 0

    asyncio.run(test())


LONG = "x y " * 100_000
PARTS = [{"type": "input_text", "text": "x"}] * 10_000
TOOLS = [{"type": "function", "name": f"f{number}"} for number in range(5_000)]
ITEM = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": LONG}]}
MANY = {"type": "message", "role": "user", "content": PARTS}
ASIDE = {"conversation": "none", "instructions": LONG, "input": []}
ASKED = {"model": "gpt-5", "input": LONG, "store": False}
LIVE_SESSION = {"model": "gpt-live-1"}
DECIDES = {**LIVE_SESSION, "delegation": {"type": "decisions", "decisions": {"questions": []}}}
DELEGATES = {**LIVE_SESSION, "delegation": {"type": "responses", "responses": {"model": "gpt-5"}}}

# By what is kept: the path, and the events of a client.
KEPT = {
    "items": (REALTIME, [{"type": "conversation.item.create", "item": ITEM}] * 3),
    "small parts": (REALTIME, [{"type": "conversation.item.create", "item": MANY}] * 3),
    "tools": (REALTIME, [{"type": "session.update", "session": {"type": "realtime", "tools": TOOLS}}]),
    "responses aside": (REALTIME, [{"type": "response.create", "response": ASIDE}] * 5),
    "many turns": (REALTIME, [{"type": "response.create", "response": {**ASIDE, "instructions": ""}}] * 30),
    "recent responses": ("/v1/responses", [{"type": "response.create", **ASKED}] * 3),
    "waiting responses": ("/v1/responses", [{"type": "response.create", **ASKED}] * 9),
    "a live session": (LIVE, [{"type": "session.start", "session": {**LIVE_SESSION, "instructions": LONG}}]),
    "live sound": (
        LIVE, [{"type": "session.start", "session": LIVE_SESSION},
               {"type": "session.input_audio.append", "audio": SOUND[:500_000]}],
    ),
    "items of a live session": (
        LIVE, [{"type": "session.start", "session": DELEGATES},
               *[{"type": "response.item.create", "item": ITEM}] * 3],
    ),
    "items of decisions": (
        LIVE, [{"type": "session.start", "session": DECIDES},
               *[{"type": "decision.item.create", "item": ITEM}] * 3],
    ),
}  # fmt: skip


WAITING = ("responses aside", "many turns", "waiting responses")


@pytest.mark.parametrize("kind", KEPT)
def test_what_a_talk_keeps_counts_for_what_it_takes(kind):
    path, events = KEPT[kind]

    async def test():
        account = HeldBytes(100 * MEGABYTE)
        mock = make_mock(sleep=never, delay=60 if kind in WAITING else 0)
        pulls = []
        warm, socket = Socket(mock, path), Socket(mock, path, account=account)
        for one in (warm, socket):
            if one is socket:
                gc.collect()
                tracemalloc.start()
            for event in events:
                say(one, **event)
            pull = asyncio.ensure_future(one.pull())
            pulls.append(pull)
            while (await asyncio.wait({pull}, timeout=0.5))[0]:
                assert b'"error":{' not in pull.result(), pull.result()[:500]
                pull = pulls[-1] = asyncio.ensure_future(one.pull())
            gc.collect()
        taken = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert taken * 0.8 < account.held < taken * 4 + 100_000, (taken, account.held)
        for pull in pulls:
            pull.cancel()
        await asyncio.gather(*pulls, return_exceptions=True)
        assert account.held == 0

    asyncio.run(test())


@pytest.mark.parametrize("kind", KEPT)
def test_a_talk_that_is_over_is_gone_without_the_collector(kind):
    path, events = KEPT[kind]

    async def talked():
        socket = Socket(make_mock(sleep=never, delay=60), path)
        talk = weakref.ref(socket.response.body._talk)
        for event in events:
            say(socket, **event)
        pull = asyncio.ensure_future(socket.pull())
        while (await asyncio.wait({pull}, timeout=0.2))[0]:
            pull = asyncio.ensure_future(socket.pull())
        socket.put(b"")
        while await pull:
            pull = asyncio.ensure_future(socket.pull())
        return talk

    async def test():
        talk = await talked()
        await asyncio.sleep(0.01)
        return talk()

    gc.collect()
    gc.disable()
    try:
        assert asyncio.run(test()) is None
    finally:
        gc.enable()


# ---- what is said ---------------------------------------------------------------------------------------------------


def test_an_answer_counts_until_its_client_has_taken_it_and_is_refused_without_room():
    async def test():
        account, mock = HeldBytes(30 * MEGABYTE), make_mock()
        sessions = []
        for number in range(4):
            socket = Socket(mock, fields=BETA if number % 2 else (), account=account)
            await socket.event()
            part = {"type": "input_audio", "audio": SOUND}
            say(
                socket,
                "conversation.item.create",
                item={"id": "i", "type": "message", "role": "user", "content": [part]},
            )
            await socket.until("conversation.item.created" if number % 2 else "conversation.item.done")
            sessions.append(socket)
        kept = account.held
        assert 4 * MEGABYTE < kept < 5 * MEGABYTE
        told = []
        for socket in sessions:
            say(socket, "conversation.item.retrieve", item_id="i")
            told.append(await socket.pull())  # and takes no more
            assert account.held <= 15 * MEGABYTE
        assert [b"memory_full" in piece for piece in told] == [False] * 4
        assert account.held > kept + 4 * MEGABYTE
        say(sessions[0], "nothing")
        assert b"error" in await sessions[0].pull()
        assert account.held < kept + 4.5 * MEGABYTE
        account.take(account.most - account.held - 3 * MEGABYTE)
        say(sessions[0], "conversation.item.retrieve", item_id="i")
        assert b"memory_full" in await sessions[0].pull()
        say(sessions[0], "conversation.item.delete", item_id="i")
        assert b"conversation.item.deleted" in await sessions[0].pull()
        for socket in sessions:
            await socket.close()
        assert account.staying == 0

    asyncio.run(test())


def test_a_long_message_is_refused_where_it_cannot_be_read_and_the_session_goes_on():
    async def test():
        account = HeldBytes(3 * MEGABYTE)
        socket = Socket(make_mock(), account=account)
        await socket.event()
        say(socket, "conversation.item.create", item=ITEM)
        event = await socket.event()
        assert (event["type"], event["error"]["code"]) == ("error", "memory_full")
        assert event["error"]["type"] == "service_unavailable_error"
        socket.send("response.create")
        await socket.until("response.done")
        await socket.close()
        assert account.held == 0

    asyncio.run(test())


# ---- the relay ------------------------------------------------------------------------------------------------------

CHOICE = ModelChoice("m", {})


def test_a_message_that_the_relay_reads_counts_until_its_upstream_has_taken_it():
    async def test():
        account = HeldBytes(4 * MEGABYTE)
        pieces = asyncio.Queue()

        async def stream():
            while True:
                yield await pieces.get()

        said = with_renamed_session(stream(), CHOICE, lambda: MASK, Stay(account).may_become)
        message = encode_text("x" * (MEGABYTE + 300_000), MASK)
        pieces.put_nowait(message[:MEGABYTE])
        taken = asyncio.ensure_future(said.__anext__())
        await settled(taken)
        assert MEGABYTE - 100 < account.held < MEGABYTE + 100
        pieces.put_nowait(message[MEGABYTE:])
        assert len(await taken) == len(message)
        assert MEGABYTE + 300_000 < account.held < MEGABYTE + 301_000
        pieces.put_nowait(encode_text("x" * 3 * MEGABYTE, MASK)[: 2 * MEGABYTE + 1000])
        reader = FrameReader()
        reader.feed(await said.__anext__())
        end = reader.next_event()
        assert isinstance(end, Close) and end.code == 1013
        await said.aclose()
        assert account.held == account.staying == 0

    asyncio.run(test())


@pytest.mark.parametrize("leaves", ["at once", "once it was refused"])
def test_what_the_relay_holds_for_a_websocket_is_given_back(leaves):
    """The upstream opens the WebSocket, and reads no more."""

    async def opening(peer):
        await peer.head()
        await peer.send(
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
            b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        )
        await asyncio.Event().wait()

    async def test():
        async with Upstream(opening) as upstream:
            settings = {"relay.model": "m", "server.max_memory": "40M"}
            async with relay_to(upstream, **settings) as (clients, account):
                reader, writer = await clients.send("GET", "/v1/realtime?model=m", fields=UPGRADE)
                await reader.readuntil(b"\r\n\r\n")
                for _ in range(1 if leaves == "at once" else 2):
                    writer.write(encode_text("x" * 18 * MEGABYTE, MASK))
                await until(lambda: account.staying > 17 * MEGABYTE)
                if leaves != "at once":
                    await settled()
                assert account.staying < 20 * MEGABYTE
                sock = writer.transport.get_extra_info("socket")
                sock.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))  # it ends with a reset
                writer.transport.abort()

    asyncio.run(test())
