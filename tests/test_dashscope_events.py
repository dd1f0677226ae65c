from __future__ import annotations

import random

import pytest
from dashscope_samples import STREAMS, sse

from protocol.dashscope.mapping.errors import DashScopeError
from protocol.dashscope.mapping.events import NativeEvent, NativeEventReader


def read(data: bytes) -> list[NativeEvent]:
    reader = NativeEventReader()
    return reader.feed(data) + reader.close()


def outcome(event: NativeEvent) -> object:
    return (event.status, event.as_dict()) if isinstance(event, DashScopeError) else event


@pytest.mark.parametrize("name", STREAMS)
def test_gives_the_same_events_at_every_split(name: str) -> None:
    data = STREAMS[name]
    whole = [outcome(event) for event in read(data)]
    assert whole
    for split in range(len(data) + 1):
        reader = NativeEventReader()
        events = reader.feed(data[:split]) + reader.feed(data[split:]) + reader.close()
        assert [outcome(event) for event in events] == whole


@pytest.mark.parametrize("name", STREAMS)
def test_gives_the_same_events_byte_by_byte(name: str) -> None:
    reader = NativeEventReader()
    events = [event for byte in STREAMS[name] for event in reader.feed(bytes([byte]))] + reader.close()
    assert [outcome(event) for event in events] == [outcome(event) for event in read(STREAMS[name])]


def test_does_not_wait_for_the_blank_line() -> None:
    assert len(NativeEventReader().feed(b'data:{"a":1}\n')) == 1


@pytest.mark.parametrize("data", [b"", b"\n\n", b"\xef\xbb\xbf", b": ping\n\n", b"event:done\ndata:\n\n", b"id:1\n"])
def test_finds_no_event_without_data(data: bytes) -> None:
    assert read(data) == []


def test_takes_the_status_of_the_comment_although_http_said_200() -> None:
    (event,) = read(b'event:error\n:HTTP_STATUS/418\ndata:{"code":"Strange","message":"x"}\n')
    assert isinstance(event, DashScopeError) and event.status == 418


def test_takes_the_status_of_the_code_where_the_comment_is_missing() -> None:
    (event,) = read(b'event:error\ndata:{"code":"Throttling","message":"x"}\n')
    assert isinstance(event, DashScopeError) and event.status == 429


def test_takes_a_code_for_an_error_although_the_event_is_a_result() -> None:
    (event,) = read(b'event:result\n:HTTP_STATUS/200\ndata:{"code":"InternalError","message":"x"}\n')
    assert isinstance(event, DashScopeError) and event.status == 500


@pytest.mark.parametrize("data", [b"data:[1]\n", b"data:nonsense\n", b'data:{"a"\n', b"data:\xff\n", b'{"a":'])
def test_refuses_data_that_is_no_json_object(data: bytes) -> None:
    (event,) = read(data)
    assert isinstance(event, DashScopeError)
    assert (event.status, event.code) == (502, "upstream_bad_response")


def test_refuses_an_event_above_the_limit_once() -> None:
    reader = NativeEventReader(max_event_bytes=20)
    assert reader.feed(b'data:{"a":1}\n')[0] == {"a": 1}
    (event,) = reader.feed(b"data:" + b"x" * 16)
    assert isinstance(event, DashScopeError) and event.code == "upstream_bad_response"
    assert reader.feed(sse(["{}"])) == reader.close() == []


def test_accepts_an_event_at_the_limit() -> None:
    reader = NativeEventReader(max_event_bytes=20)
    assert reader.feed(b'data:{"a":"123456"}') == []
    assert reader.feed(b"\n")[0] == {"a": "123456"}


@pytest.mark.parametrize("seed", range(20))
def test_events_are_read_the_same_whole_and_byte_by_byte(seed: int) -> None:
    rolls = random.Random(seed)
    lines = [
        b"id:7",
        b"event:result",
        b"event:error",
        b":HTTP_STATUS/200",
        b":HTTP_STATUS/400",
        b"",
        b": ping",
        b"id:x",
    ]
    datas = [
        b'data:{"a":1}',
        b'data: {"a":1} ',
        b"data:{}",
        b"data:[1]",
        b"data:{",
        b'data:{"code":"x"}',
        b"data:[DONE]",
        b"data",
    ]
    usual = [b"id:1", b"event:result", b":HTTP_STATUS/200", b'data:{"a":2}', b""]
    for _ in range(60):
        stream: list[bytes] = [b": begin"]
        for _ in range(rolls.randrange(1, 6)):
            stream += usual if rolls.random() < 0.5 else rolls.choices(lines, k=3) + [rolls.choice(datas), b""]
        data = rolls.choice([b"\n", b"\n", b"\r\n"]).join([*stream, b""])
        by_byte, whole = NativeEventReader(), NativeEventReader()
        expected = [outcome(one) for byte in data for one in by_byte.feed(bytes([byte]))]
        begin = len(b": begin\n")
        got = [outcome(one) for one in whole.feed(data[:begin]) + whole.feed(data[begin:])]
        assert got == expected
