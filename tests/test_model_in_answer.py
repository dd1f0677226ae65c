"""Which model an answer names: the upstream's, or with `model_in_answer = asked` the one that was asked for."""

from __future__ import annotations

import json

import pytest
from relays import CHAT, JSON, MESSAGE, house
from skipping import run
from upstreams import Peer, Upstream, answering, chunked, sized

from protocol.relay.model_in_answer import with_model

EVENTS = "content-type: text/event-stream"
JSON_LINE = "content-type: application/json"
UP = b'{"id":"x", "model" : "up-2024", "choices":[{"text":"the \\"model\\": \\"up\\"", "model":"deep"}]}'
ASKED = UP.replace(b'"up-2024"', b'"gpt-4o"')
CREATED = b'{"type":"response.created","response":{"id":"r","model":"up-2024","metadata":{"model":"deep"}}}'


def event(data: bytes) -> bytes:
    return b"event: x\r\ndata: " + data + b"\r\n\r\n"


STREAM = b": hi\n\n" + event(UP) + b"data:" + CREATED + b"\n\ndata: [DONE]\n\n"
ASKED_STREAM = STREAM.replace(b'"up-2024"', b'"gpt-4o"')

ANSWERS = {
    "whole": (sized(UP, "200 OK", JSON_LINE), ASKED),
    "in chunks": (chunked(*[b"%c" % byte for byte in UP], fields=(JSON_LINE,)), ASKED),
    "events": (chunked(STREAM, fields=(EVENTS,)), ASKED_STREAM),
    "events in pieces": (chunked(*[b"%c" % byte for byte in STREAM], fields=(EVENTS,)), ASKED_STREAM),
    "a last line without an end": (chunked(b"data: " + UP, fields=(EVENTS,)), b"data: " + ASKED),
    "another type": (sized(b'"model":"up-2024"', "200 OK", "content-type: text/plain"), b'"model":"up-2024"'),
    "no model": (sized(b'{"a":{"model":"up-2024"}}', "200 OK", JSON_LINE), b'{"a":{"model":"up-2024"}}'),
    "broken JSON": (sized(b'{"model":"up-2024"', "200 OK", JSON_LINE), b'{"model":"up-2024"'),
    "a coding": (
        sized(b'{"model":"up-2024"}', "200 OK", JSON_LINE, "content-encoding: x"), b'{"model":"up-2024"}',
    ),
}  # fmt: skip


@pytest.mark.parametrize(("raw", "expected"), ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("split", [0, 1, 7])
@pytest.mark.parametrize("models", ["gpt-4o = up", "x = y", ""])
def test_an_answer_names_the_model_that_was_asked_for(raw: bytes, expected: bytes, split: int, models: str) -> None:
    async def main() -> None:
        async with Upstream(answering(raw, split=split)) as upstream:
            async with house(upstream, models=models, model_in_answer="asked") as relayed:
                answer = await relayed.ask("POST", CHAT, [JSON, ("accept-encoding", "gzip")])
                assert (answer.status, answer.body, answer.broken) == (200, expected, False)
                assert upstream.received[0].get("accept-encoding") == "identity"

    run(main)


@pytest.mark.parametrize(("raw", "expected"), ANSWERS.values(), ids=ANSWERS)
def test_by_default_an_answer_goes_on_byte_for_byte(raw: bytes, expected: bytes) -> None:
    async def main() -> None:
        async with Upstream(answering(raw)) as upstream, house(upstream, models="gpt-4o = up") as relayed:
            answer = await relayed.ask("POST", CHAT, [JSON, ("accept-encoding", "gzip")])
            assert answer.body in (UP, STREAM, b"data: " + UP) or answer.body == expected
            assert b"gpt-4o" not in answer.body
            assert upstream.received[0].get("accept-encoding") == "gzip"

    run(main)


def test_a_request_that_names_no_model_is_answered_with_the_upstreams() -> None:
    async def main() -> None:
        async with Upstream(answering(sized(UP, "200 OK", JSON_LINE))) as upstream:
            async with house(upstream, model="up", model_in_answer="asked") as relayed:
                assert (await relayed.ask("POST", CHAT, [JSON], b'{"messages":[]}')).body == UP
                assert (await relayed.ask("POST", CHAT, [JSON], MESSAGE)).body == ASKED

    run(main)


def test_an_event_goes_on_as_soon_as_it_is_whole() -> None:
    async def main() -> None:
        async def script(peer: Peer) -> None:
            await peer.read()
            await peer.send(chunked(event(UP), b"data: {", end=b"", fields=(EVENTS,)))
            await peer.until_gone()

        async with Upstream(script) as upstream, house(upstream, model_in_answer="asked") as relayed:
            async with relayed.client() as client:
                await client.send("POST", CHAT, [JSON], MESSAGE)
                await client.head()
                assert (await client.event()).data == event(ASKED)

    run(main)


@pytest.mark.parametrize("raw", [chunked(UP[:-5], end=b"", fields=(JSON_LINE,)), sized(UP, "200 OK", JSON_LINE)[:-5]])
def test_what_breaks_off_breaks_off(raw: bytes) -> None:
    async def main() -> None:
        async def script(peer: Peer) -> None:
            await peer.read()
            await peer.send(raw)

        async with Upstream(script) as upstream, house(upstream, model_in_answer="asked", retries="0") as relayed:
            answer = await relayed.ask()
            assert answer.broken or answer.status == 502

    run(main)


def test_what_is_too_large_goes_on_as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protocol.relay.model_in_answer._MOST_HELD_BYTES", 1000)
    large = UP[:-1] + b',"n":"' + b"x" * 200_000 + b'"}'
    stream = b"data: " + large + b"\n\n" + event(UP)

    async def main() -> None:
        for raw, expected in [
            (chunked(*[large[at : at + 500] for at in range(0, len(large), 500)], fields=(JSON_LINE,)), large),
            (
                chunked(*[stream[at : at + 500] for at in range(0, len(stream), 500)], fields=(EVENTS,)),
                stream.replace(event(UP), event(ASKED)),
            ),
        ]:
            async with Upstream(answering(raw, split=700)) as upstream:
                async with house(upstream, model_in_answer="asked") as relayed:
                    assert (await relayed.ask()).body == expected

    run(main)


def test_replaces_in_the_outermost_object_and_in_a_response() -> None:
    assert with_model(UP, "gpt-4o") == ASKED
    assert json.loads(with_model(CREATED, "gpt-4o"))["response"]["model"] == "gpt-4o"
    assert json.loads(with_model(CREATED, "gpt-4o"))["response"]["metadata"]["model"] == "deep"
    assert with_model(b'{"model":null}', "m") == b'{"model":null}'
    assert with_model(b"[DONE]", "m") == b"[DONE]"
    assert with_model(b'{"model":"a"}', 'x"\n\u00e9') == b'{"model":"x\\"\\n\\u00e9"}'
