"""What goes on of answers' heads: of one that is like others, what goes on of it read alone, field by field."""

from __future__ import annotations

import random

import pytest

from protocol.relay.answer_head import AnswerHead, AnswerHeads
from protocol.relay.locations import Locations
from protocol.upstream.answer import TELLING_FIELDS, AnswerFacts
from protocol.upstream.destination import parse_destination
from protocol.wire.http1.memo import ResponseMemo
from protocol.wire.http1.messages import ResponseHead
from protocol.wire.http1.readers import ResponseReader
from protocol.wire.http1.writers import decode_fields
from protocol.wire.masking import mask_of

KEY = "sk-ours-0123456789"

LINES = [
    b"Content-Type: application/json", b"content-type: text/event-stream; charset=utf-8", b"Content-Type:Text/Plain ",
    b"content-encoding: gzip", b"Content-Encoding: identity", b"Date: Mon, 30 Nov 2026 03:48:30 GMT", b"X-Request-ID: req_1",
    b"x-request-id: req_2", b"x-request-id: has spaces", b"x-request-id: " + KEY.encode(), b"X-Accel-Buffering: yes",
    b"set-cookie: a=b", b"Location: https://api.test/v1/x", b"Location: /elsewhere", b"Connection: keep-alive", b"Connection: X-Hop",
    b"X-Hop: 1", b"x-ratelimit-remaining-tokens: 1", b"x-ratelimit-remaining-tokens:2", b"openai-processing-ms:  3  ",
    b"Server: \xe9", b"access-control-allow-origin: *", b"X-Echo: Bearer " + KEY.encode(), b"x-path: /a%20b", b"X-Empty:",
    b"Via: 1.1 x", b"via: 1.1 y", b"api-key: " + KEY.encode(), b"Trailer: x", b"Upgrade: websocket",
]  # fmt: skip


def heads(key: str) -> AnswerHeads:
    return AnswerHeads(mask_of([key]) if key else None, Locations(parse_destination("https://api.test/v1")))


def head_of(lines: list[bytes], memo: ResponseMemo, status: int = 200) -> ResponseHead:
    reader = ResponseReader("GET", memo=memo)
    reader.feed(b"HTTP/1.1 %d X\r\n%b\r\n" % (status, b"".join(line + b"\r\n" for line in lines)))
    head = reader.next_event()
    assert isinstance(head, ResponseHead)
    return head


def memo() -> ResponseMemo:
    return ResponseMemo(AnswerFacts, TELLING_FIELDS)


def said(known: AnswerHead) -> object:
    kind = known.kind
    flags = (kind.is_coded, kind.is_events, kind.is_json, kind.tells_coding)
    return known.request_id, sorted(decode_fields(known.fields)), flags


@pytest.mark.parametrize("key", ["", KEY])
def test_a_head_goes_on_as_it_does_alone_whatever_came_before(key: str) -> None:
    rolls = random.Random(1)
    remembered, known = memo(), heads(key)
    usual = 0
    for number in range(1500):
        lines = sorted(rolls.sample(LINES, rolls.randrange(5)))
        lines += [b"Content-Length: %d" % rolls.choice((0, 5, 70000)), b"X-New: %d" % number]
        status = 101 if not number % 50 else rolls.choice([200, 200, 404])
        head, alone = head_of(lines, remembered, status), head_of(lines, memo(), status)
        others = heads(key)
        by_field = AnswerHead(others.kind(alone), *others._field_by_field(alone))
        assert said(known.read(head)) == said(by_field)
        usual += known.kind(head).is_usual
    assert 500 < usual < 1500, "both ways must have been taken"


@pytest.mark.parametrize("key", ["", KEY])
def test_a_head_goes_on_by_its_form_as_it_does_alone(key: str) -> None:
    """Upstreams that repeat their heads but for some values, of which some pass, some stay behind and one is an id."""
    rolls = random.Random(2)
    remembered, known = memo(), heads(key)
    by_form = 0
    for _ in range(80):
        lines = rolls.sample(LINES, rolls.randrange(5))
        names = rolls.sample([b"x-request-id", b"Date", b"X-New", b"set-cookie", b"X-Accel-Buffering", b"x-time"], 3)
        order = rolls.sample(range(len(lines) + 4), len(lines) + 4)
        reader = ResponseReader("GET", memo=remembered)
        for number in range(6):
            values = [
                rolls.choice([b"", b"%b", b"100%", b"a b ", b"\xe9", key.encode()]) + b"%d" % number for _ in names
            ]
            length = b"Content-Length: %d" % (number + 1)
            came = [*lines, *(b"%b: %b" % pair for pair in zip(names, values)), length]
            came = [came[at] for at in order]
            reader.feed(b"HTTP/1.1 200 OK\r\n%b\r\n" % b"".join(line + b"\r\n" for line in came) + b"a" * (number + 1))
            head = reader.next_event()
            assert isinstance(head, ResponseHead)
            alone, others = head_of(came, memo()), heads(key)
            by_field = AnswerHead(others.kind(alone), *others._field_by_field(alone))
            assert said(known.read(head)) == said(by_field)
            by_form += head.written is not None and known.kind(head).is_usual
            while not reader.is_over:
                reader.next_event()
            reader.expect("GET")
    assert by_form > 100


def test_names_and_values_go_on_as_they_came() -> None:
    lines = [
        b"Content-Length: 2",
        b"Content-Type: application/json",
        b"X-RateLimit-Reset:  6ms",
        b"X-Request-ID:  req_1 ",
    ]
    known = heads(KEY).read(head_of(lines, memo()))
    assert known.fields == b"content-type: application/json\r\nX-RateLimit-Reset:  6ms\r\n"
    assert known.request_id == "req_1"


def test_a_new_value_takes_no_look_at_the_names() -> None:
    remembered, known = memo(), heads(KEY)
    first, second = (
        known.read(head_of([b"Content-Type: text/plain", b"X-Request-ID: req_%d" % n, b"X-Ms: %d" % n], remembered))
        for n in (1, 2)
    )
    assert second.kind is first.kind
    assert second.request_id == "req_2"
    assert second.fields == first.fields.replace(b"X-Ms: 1", b"X-Ms: 2")


def test_an_event_stream_is_to_pass_at_once_even_where_no_other_field_does() -> None:
    only = heads("").read(head_of([b"Content-Type: text/event-stream", b"Date: x", b"X-Accel-Buffering: yes"], memo()))
    assert only.fields == b"content-type: text/event-stream\r\nx-accel-buffering: no\r\n"
