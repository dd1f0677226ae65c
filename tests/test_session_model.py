"""A model that is forced or mapped holds for what a client says on a WebSocket, too."""

from __future__ import annotations

import asyncio
import json

import pytest
from relays import JSON, echo_received, house
from skipping import run
from upstreams import Peer, Upstream

from protocol.openai.model_choice import ModelChoice
from protocol.relay.session_model import renamed_event, with_renamed_session
from protocol.wire.http1.messages import NEED_DATA
from protocol.wire.websocket import (
    BinaryMessage,
    Close,
    FrameReader,
    Ping,
    Pong,
    TextMessage,
    WebSocketError,
    encode_binary,
    encode_close,
    encode_ping,
    encode_pong,
    encode_text,
)

CHOICE = ModelChoice("", {"gpt-4o": "m", "claude-*": "c"})
MASK = b"\1\2\3\4"

EVENTS = [
    ({"type": "session.update", "session": {"model": "gpt-4o", "x": 1}}, {"session": {"model": "m", "x": 1}}),
    ({"type": "session.update", "model": "claude-3"}, {"model": "c"}),
    ({"type": "session.update", "Session": {"MODEL": "gpt-4o"}}, {"Session": {"MODEL": "m"}}),
    ({"type": "response.create", "response": {"model": "gpt-4o"}}, {"response": {"model": "m"}}),
    ({"type": "session.update", "session": {"model": "other"}}, {}),
    ({"type": "session.update", "session": {"audio": {"input": {"transcription": {"model": "gpt-4o"}}}}}, {}),
]


@pytest.mark.parametrize(("event", "changed"), EVENTS)
def test_the_model_of_an_event_is_renamed(event: dict, changed: dict) -> None:
    assert json.loads(renamed_event(json.dumps(event), CHOICE)) == {**event, **changed}
    escaped = json.dumps(event).replace("model", "mod\\u0065l").replace("gpt", "\\u0067pt")
    assert json.loads(renamed_event(escaped, CHOICE)) == {**event, **changed}


def test_an_event_with_two_models_has_one_behind_us() -> None:
    text = '{"session":{"model":"x"},"session":{"model":"y","model":"gpt-4o"}}'
    assert renamed_event(text, CHOICE) == '{"session":{"model":"m"}}'


def test_other_events_go_on_as_they_are() -> None:
    for text in ('{ "type": "input_audio_buffer.append", "audio": "themodel==" }', "[1,  2]", "no JSON", ""):
        assert renamed_event(text, CHOICE) == text


@pytest.mark.parametrize(
    ("text", "code"),
    # Tabs: test_leftovers looks for runs of spaces, in what pytest keeps, too.
    [('{"model"', 1008), ('{"model":"gpt-4o"}' + "\t" * (1 << 20), 1009), ('"\\u00', 1008)],
    ids=["begun", "long", "escape"],
)
def test_what_cannot_be_read_for_sure_ends_the_session(text: str, code: int) -> None:
    with pytest.raises(WebSocketError) as caught:
        renamed_event(text, CHOICE)
    assert caught.value.code == code


def said_again(data: bytes, size: int) -> list[object]:
    """Return what a server hears of these bytes of a client."""

    async def pieces():
        for at in range(0, len(data), size):
            yield data[at : at + size]

    heard: list[object] = []

    async def main() -> None:
        reader = FrameReader()
        async for piece in with_renamed_session(pieces(), CHOICE, lambda: b"mask", lambda size: True):
            reader.feed(piece)
            while (event := reader.next_event()) is not NEED_DATA:
                heard.append(event)
                if isinstance(event, Close):
                    return

    asyncio.run(main())
    return heard


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_all_that_a_client_says_arrives_in_its_order(size: int) -> None:
    update = json.dumps({"type": "session.update", "session": {"model": "gpt-4o"}})
    client = [
        encode_text("hé", MASK), encode_ping(b"p", MASK), encode_binary(b"\0\xff", MASK), encode_text(update, MASK),
        encode_pong(b"q", MASK), encode_close(1000, "bye", MASK),
    ]  # fmt: skip
    heard = said_again(b"".join(client), size)
    assert [type(event) for event in heard] == [TextMessage, Ping, BinaryMessage, TextMessage, Pong, Close]
    assert (heard[0].text, heard[1].data, heard[2].data, heard[4].data) == ("hé", b"p", b"\0\xff", b"q")
    assert json.loads(heard[3].text)["session"]["model"] == "m"
    assert (heard[5].code, heard[5].reason) == (1000, "bye")


def test_a_frame_that_breaks_the_rules_is_not_passed_on() -> None:
    heard = said_again(encode_text("a", MASK) + encode_text("b"), 1000)
    assert [type(event) for event in heard] == [TextMessage, Close]
    assert heard[1].code == 1002


@pytest.mark.parametrize(
    ("body", "arrives"),
    [
        (b'{"session": {"type":"realtime", "model":"gpt-4o"}}', b'{"session":{"type":"realtime","model":"m"}}'),
        (b'{"session": {"model": "other"}}', b'{"session": {"model": "other"}}'),
        (b'{"model": "gpt-4o",  "x":1}', b'{"model": "m",  "x":1}'),
        (b'{"expires_after": {}}', b'{"expires_after": {}}'),
    ],
)
@pytest.mark.parametrize("path", ["/v1/realtime/client_secrets", "/v1/realtime/calls/rtc_1/accept"])
def test_the_session_that_a_request_describes_is_renamed(path: str, body: bytes, arrives: bytes) -> None:
    async def main() -> None:
        async with Upstream(echo_received()) as upstream, house(upstream, models="gpt-4o = m") as relayed:
            await relayed.ask("POST", path, [JSON], body)
            assert upstream.received[0].body == arrives

    run(main)


@pytest.mark.parametrize(
    ("options", "target", "arrives"),
    [
        ({"model": "m"}, "/v1/realtime", "/v1/realtime?model=m"),
        ({"model": "m"}, "/v1/realtime?x=1", "/v1/realtime?x=1&model=m"),
        ({"model": "m"}, "/v1/realtime?mod%65l=gpt-4o", "/v1/realtime?mod%65l=m"),
        ({"model": "m"}, "/v1/realtime?intent=transcription", "/v1/realtime?intent=transcription"),
        ({"models": "gpt-4o = m"}, "/v1/realtime?model=gpt-4o", "/v1/realtime?model=m"),
        ({}, "/v1/realtime?model=gpt-4o", "/v1/realtime?model=gpt-4o"),
    ],
)
def test_a_realtime_session_has_the_owners_model(options: dict[str, str], target: str, arrives: str) -> None:
    async def main() -> None:
        said: list[object] = []
        heads = []

        async def script(peer: Peer) -> None:
            heads.append(await peer.head())
            await peer.send(b"HTTP/1.1 101 S\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
            reader = FrameReader()
            while not said:
                reader.feed(await peer.bytes())
                while (event := reader.next_event()) is not NEED_DATA:
                    said.append(event)
            await peer.send(b"heard")

        async with Upstream(script) as upstream, house(upstream, **options) as relayed, relayed.client() as client:
            client.writer.write(
                f"GET {target} HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
                "sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
                "sec-websocket-extensions: permessage-deflate\r\n\r\n".encode()
            )
            await client.reader.readuntil(b"\r\n\r\n")
            client.writer.write(encode_text('{"session":{"model":"gpt-4o"}}', MASK))
            assert await client.reader.readexactly(5) == b"heard"
            assert heads[0].target.decode() == arrives
            assert json.loads(said[0].text)["session"]["model"] == ("m" if options else "gpt-4o")
            assert (b"sec-websocket-extensions" in dict(heads[0].headers)) is not bool(options)

    run(main)
