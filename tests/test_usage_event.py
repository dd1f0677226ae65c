"""The usage of a stream whose client did not ask for it: asked for, and taken out again, whatever the cuts."""

from __future__ import annotations

import json

import pytest

from protocol.exchange import Paced, Pushed
from protocol.openai.completions import Choice, CompletionHead, chat_frames, text_frames
from protocol.team.usage_event import EventTaker, asks_for_usage, with_usage_asked, without_usage_event

HEAD = CompletionHead("chatcmpl-1", 1, "gpt-4o", 7)
CHOICE = Choice(["one ", '"choices":[],"usage":{} ', "two"], "stop")


def frames(include_usage, family=chat_frames):
    return family(HEAD, [CHOICE], include_usage=include_usage)


def events(data):
    return [event for event in data.replace(b"\r\n", b"\n").split(b"\n\n") if event]


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"])
@pytest.mark.parametrize("size", [1, 7, 100, 100_000])
@pytest.mark.parametrize("family", [chat_frames, text_frames])
def test_exactly_the_usage_event_is_taken_out_however_the_bytes_are_cut(family, size, end):
    asked = b"".join(frames(True, family)).replace(b"\n\n", end)
    taker = EventTaker()
    parts = [taker.passes(asked[start : start + size]) for start in range(0, len(asked), size)]
    left = events(b"".join(parts) + taker.rest())
    usage = [event for event in events(asked) if b'"total_tokens"' in event]
    assert len(usage) == 1
    assert left == [event for event in events(asked) if event not in usage]


@pytest.mark.parametrize(
    "event",
    [
        # Azure's first event has no choices, and no usage either.
        b'data: {"choices":[],"prompt_filter_results":[{"prompt_index":0}],"usage":null}\n\n',
        b'data: {"choices":[],"prompt_filter_results":[{"prompt_index":0}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"x"}}],"usage":{"total_tokens":3}}\n\n',
        b"data: [DONE]\n\n",
        b": a comment\n\n",
        b'event: error\ndata: {"error":{"message":"\\"choices\\":[],\\"usage\\":{}"}}\n\n',
    ],
)
def test_every_other_event_stays(event):
    taker = EventTaker()
    assert taker.passes(event) + taker.rest() == event


def test_what_is_no_event_is_not_held_for_ever():
    taker = EventTaker()
    passed = sum(len(taker.passes(b"x" * 10_000)) for _ in range(100))
    assert passed >= 900_000 and len(taker.rest()) <= 100_000


def test_a_text_that_looks_like_events_is_looked_at_once():
    # Looked at to the end of its line at each of its `data:`, it would take minutes.
    text = b'data: {"choices":[{"delta":{"content":"' + b"data:{" * 300_000 + b'"}}]}\n\n'
    usage = b'data: {"choices":[],"usage":{"total_tokens":3}}\n\n'
    assert without_usage_event(text + usage + b"data: [DONE]\n\n") == text + b"data: [DONE]\n\n"


def test_frames_of_a_ready_body_lose_it_too():
    body = without_usage_event(Paced(frames(True), first_delay=0.0, delay=0.0))
    assert isinstance(body, Paced)
    asked = events(b"".join(frames(True)))
    assert events(b"".join(body.frames)) == [event for event in asked if b'"total_tokens"' not in event]


class Told:
    def __init__(self):
        self.came = b""
        self.ended = self.failed = False

    def push(self, data):
        self.came += data

    def end(self, data):
        self.came += data
        self.ended = True

    def fail(self, error):
        self.failed = True


class Sends(Pushed):
    def __init__(self, pieces, *, breaks=False):
        self.pieces, self.breaks = pieces, breaks

    def begin(self, sink):
        for piece in self.pieces[:-1]:
            sink.push(piece)
        if self.breaks:
            sink.push(self.pieces[-1])
            sink.fail(RuntimeError("broke"))
        else:
            sink.end(self.pieces[-1])


def test_a_body_that_sends_itself_loses_it_on_its_way():
    told = Told()
    without_usage_event(Sends(frames(True))).begin(told)
    assert told.ended and b'"total_tokens"' not in told.came and told.came.endswith(b"data: [DONE]\n\n")


def test_what_has_come_of_an_event_that_breaks_off_goes_on():
    told = Told()
    without_usage_event(Sends([b"data: {}\n\n", b'data: {"choi'], breaks=True)).begin(told)
    assert told.failed and told.came == b'data: {}\n\ndata: {"choi'


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        (b'{"model":"m","stream":true}', b'{"stream_options":{"include_usage":true},"model":"m","stream":true}'),
        (b' {\n "stream": true}', b' {\n "stream_options":{"include_usage":true},"stream": true}'),
    ],
)
def test_the_wish_is_put_in_front_and_all_else_stays_byte_for_byte(body, sent):
    value, made = with_usage_asked(body, json.loads(body))
    assert made == sent and value == json.loads(sent) and asks_for_usage(value)


@pytest.mark.parametrize("options", [{"include_usage": False}, {"include_obfuscation": False}, None])
def test_a_clients_own_options_are_kept(options):
    chat = {"stream": True, "stream_options": options}
    value, made = with_usage_asked(json.dumps(chat).encode(), chat)
    assert json.loads(made) == value == {"stream": True, "stream_options": {**(options or {}), "include_usage": True}}
    assert not asks_for_usage(chat)
