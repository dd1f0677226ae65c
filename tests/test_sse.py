"""The event stream format: tables of streams, each read whole, byte by byte and split at every place."""

from __future__ import annotations

import json
import random
import re

import pytest

from protocol.wire.sse import (
    DONE,
    DONE_EVENT,
    EVENT_END,
    EVENT_START,
    KEEP_ALIVE,
    EventTooLong,
    SseEvent,
    SseReader,
    encode_comment,
    encode_event,
    encode_named_event,
    encode_native_event,
    missing_end,
)

BOM = b"\xef\xbb\xbf"


def as_tuples(events: list[SseEvent]) -> list[tuple]:
    return [(event.event, event.data, event.id) for event in events]


def read(*pieces: bytes) -> tuple[list[tuple], bool]:
    """Return the events of the stream, and whether it broke inside one."""
    reader = SseReader()
    events: list[SseEvent] = []
    for piece in pieces:
        events += reader.feed(piece)
    return as_tuples(events), reader.close()


def plain_read(stream: bytes) -> tuple[list[tuple], bool]:
    """The twin of the reader: the standard's steps one after another, on the whole stream, with no thought of speed."""
    text = stream.decode("utf-8", "replace")
    if stream.startswith(BOM):
        text = text[1:]
    *lines, rest = re.split("\r\n|\r|\n", text)
    events, data, event_type, last_id, begun = [], "", "", None, False
    for line in lines:
        if line == "":
            if data:
                events.append((event_type or None, data[:-1], last_id))
            data, event_type, begun = "", "", False
            continue
        if line.startswith(":"):
            continue
        begun = True
        field, value = line.split(":", 1) if ":" in line else (line, "")
        value = value[1:] if value.startswith(" ") else value
        if field == "data":
            data += value + "\n"
        elif field == "event":
            event_type = value
        elif field == "id" and "\0" not in value:
            last_id = value
    return events, begun or (rest != "" and not rest.startswith(":"))


def two_pieces(stream: bytes) -> list[tuple[bytes, bytes]]:
    return [(stream[:at], stream[at:]) for at in range(len(stream) + 1)]


# (id, stream, events as (event, data, id), whether the stream breaks inside an event)
STREAMS = [
    ("nothing", b"", [], False),
    ("one", b"data: a\n\n", [(None, "a", None)], False),
    ("one_of_json", b'data: {"a": 1}\n\ndata: [DONE]\n\n', [(None, '{"a": 1}', None), (None, "[DONE]", None)], False),
    ("no_space_after_colon", b"data:a\n\n", [(None, "a", None)], False),
    ("only_one_space_is_taken", b"data:  a\n\ndata: \ta\n\n", [(None, " a", None), (None, "\ta", None)], False),
    ("colons_in_the_value", b"data: a: b:c\n\n", [(None, "a: b:c", None)], False),
    ("lines_are_joined", b"data: a\ndata: b\n\n", [(None, "a\nb", None)], False),
    ("an_empty_line_of_data", b"data: a\ndata:\ndata: b\n\n", [(None, "a\n\nb", None)], False),
    ("data_without_colon", b"data\n\ndata\ndata\n\ndata:", [(None, "", None), (None, "\n", None)], True),
    ("no_data_no_event", b"event: ping\n\nid: 7\n\n", [], False),
    ("name", b"event: error\ndata: x\n\n", [("error", "x", None)], False),
    ("name_for_one_event", b"event: e\ndata: x\n\ndata: y\n\n", [("e", "x", None), (None, "y", None)], False),
    ("name_without_data_is_forgotten", b"event: e\n\ndata: y\n\n", [(None, "y", None)], False),
    ("empty_name", b"event: e\nevent:\ndata: x\n\n", [(None, "x", None)], False),
    ("last_name_wins", b"event: a\ndata: x\nevent: b\n\n", [("b", "x", None)], False),
    ("id_stays", b"id: 1\ndata: a\n\ndata: b\n\n", [(None, "a", "1"), (None, "b", "1")], False),
    ("id_after_data", b"data: a\nid: 1\n\n", [(None, "a", "1")], False),
    ("id_without_data_stays", b"id: 1\n\ndata: b\n\n", [(None, "b", "1")], False),
    ("empty_id", b"id: 1\ndata: a\n\nid\ndata: b\n\n", [(None, "a", "1"), (None, "b", "")], False),
    ("id_with_nul_is_ignored", b"id: 1\nid: 2\x003\ndata: a\n\n", [(None, "a", "1")], False),
    ("comment", b": hello\ndata: a\n:\n\n:again\n\n", [(None, "a", None)], False),
    ("comment_between_data", b"data: a\n: x\ndata: b\n\n", [(None, "a\nb", None)], False),
    ("unknown_field", b"colour: red\ndata: a\n\n", [(None, "a", None)], False),
    ("names_are_case_sensitive", b"Data: a\nDATA: b\ndata : c\n data: d\n\n", [], False),
    ("retry_is_no_event", b"retry: 3000\n\n", [], False),
    ("crlf", b"data: a\r\ndata: b\r\n\r\ndata: c\r\n\r\n", [(None, "a\nb", None), (None, "c", None)], False),
    ("cr", b"data: a\rdata: b\r\rdata: c\r\r", [(None, "a\nb", None), (None, "c", None)], False),
    ("mixed_line_ends", b"data: a\r\n\ndata: b\n\r\ndata: c\r\r\n", [(None, x, None) for x in "abc"], False),
    ("cr_lf_cr_is_two_line_ends", b"data: a\r\n\rdata: b\n\n", [(None, "a", None), (None, "b", None)], False),
    ("lf_cr_is_two_line_ends", b"data: a\n\rdata: b\n\n", [(None, "a", None), (None, "b", None)], False),
    ("empty_lines_before", b"\n\n\r\n\rdata: a\n\n", [(None, "a", None)], False),
    ("many_empty_lines_between", b"data: a\n\n\n\n\ndata: b\n\n\n", [(None, "a", None), (None, "b", None)], False),
    ("byte_order_mark", BOM + b"data: a\n\n", [(None, "a", None)], False),
    ("byte_order_mark_alone", BOM, [], False),
    ("only_one_mark_is_taken", BOM + BOM + b"data: a\n\ndata: b\n\n", [(None, "b", None)], False),
    ("mark_later_is_text", b"\n" + BOM + b"data: a\n\ndata: b\n\n", [(None, "b", None)], False),
    ("half_a_mark", b"\xef\xbbdata: a\n\ndata: b\n\n", [(None, "b", None)], False),
    ("utf8", "data: 你好, 🙂 é\n\n".encode(), [(None, "你好, 🙂 é", None)], False),
    ("other_line_separators_are_text", "data: a\u2028b\x85c\n\n".encode(), [(None, "a\u2028b\x85c", None)], False),
    ("broken_utf8", b"data: a\xffb\xe4\xbd\n\n", [(None, "a\ufffdb\ufffd", None)], False),
    ("nul_in_data", b"data: a\0b\n\n", [(None, "a\0b", None)], False),
    ("field_like_text_in_data", b"data: data: a\n\n", [(None, "data: a", None)], False),
    ("short_then_long_shape", b"data: a\n\nid: 1\ndata: b\n\n", [(None, "a", None), (None, "b", "1")], False),
    ("broken_within_a_line", b"data: a\n\ndata: b", [(None, "a", None)], True),
    ("broken_after_a_line", b"data: a\n\ndata: b\n", [(None, "a", None)], True),
    ("broken_after_crlf", b"data: b\r\n", [], True),
    ("broken_within_a_name", b"da", [], True),
    ("broken_after_id", b"id: 1\n", [], True),
    ("ends_with_comment", b"data: a\n\n: bye\n", [(None, "a", None)], False),
    ("ends_within_comment", b"data: a\n\n: by", [(None, "a", None)], False),
    ("ends_with_empty_line", b"data: a\n\n\n", [(None, "a", None)], False),
]

table = pytest.mark.parametrize(
    ("stream", "events", "broken"), [case[1:] for case in STREAMS], ids=[case[0] for case in STREAMS]
)


@table
def test_reads_whole_stream(stream, events, broken):
    assert read(stream) == (events, broken)


@table
def test_reads_byte_by_byte(stream, events, broken):
    assert read(*(stream[at : at + 1] for at in range(len(stream)))) == (events, broken)


@table
def test_reads_split_anywhere(stream, events, broken):
    for first, second in two_pieces(stream):
        assert read(first, second) == (events, broken), (first, second)
        assert read(first, b"", second) == (events, broken), (first, second)


@table
def test_plain_twin_agrees_with_the_table(stream, events, broken):
    assert plain_read(stream) == (events, broken)


def test_plain_twin_agrees_on_random_streams():
    chance = random.Random(1)
    words = [b"data: ", b"data:", b"data", b"\n", b"\n\n", b"\n\ndata: ", b"\r", b"\r\n", b":", b"id: ", b"event:"]
    words += [b"retry: 5", b"x", b"{}", BOM, "你".encode(), b"\xe4", b"\0", b" "]
    for _ in range(3000):
        stream = b"".join(chance.choice(words) for _ in range(chance.randrange(1, 25)))
        expected = plain_read(stream)
        cuts = sorted(chance.randrange(len(stream) + 1) for _ in range(3))
        pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)])]
        assert read(stream) == expected, stream
        assert read(*pieces) == expected, pieces


def test_plain_twin_agrees_on_a_long_model_stream():
    chunk = {"id": "chatcmpl-1", "choices": [{"index": 0, "delta": {"content": "你 "}, "finish_reason": None}]}
    stream = (b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n") * 500
    for odd in (b"", b": ping\n\n", b"data: a\ndata: b\n\n", b"event: e\ndata: x\n\n"):
        whole = stream + odd + stream
        events, broken = read(whole)
        assert (events, broken) == plain_read(whole)
        assert len(events) == 1000 + (b"data" in odd)


# ---- the bound --------------------------------------------------------------------------------------------------


def read_bounded(bound: int, *pieces: bytes) -> tuple[list[tuple], bool]:
    """Return the events before the bound is broken, and whether it was."""
    reader = SseReader(max_event_bytes=bound)
    events: list[SseEvent] = []
    for piece in pieces:
        try:
            events += reader.feed(piece)
        except EventTooLong as exc:
            return as_tuples(events + exc.events), True
    return as_tuples(events), False


BOUNDED = [
    ("at_the_bound", b"data: 12\n\n", [(None, "12", None)], False),
    ("beyond_the_bound", b"data: 123\n\n", [], True),
    ("each_event_by_itself", b"data: 12\n\n" * 3, [(None, "12", None)] * 3, False),
    ("empty_lines_do_not_count", b"\n\n\n\n\n\n\n\n\n\n\ndata: 12\n\n\n\n", [(None, "12", None)], False),
    ("crlf_counts_as_one", b"data: 12\r\n\r\n", [(None, "12", None)], False),
    ("lines_add_up", b"data\ndata\n\n", [], True),
    ("lines_add_up_to_the_bound", b"data\ndat\n\n", [(None, "", None)], False),
    ("comments_count", b":comment\ndata\n\n", [], True),
    ("events_before_are_kept", b"data:1\n\ndata:2\n\ndata: 345\n\n" * 2, [(None, "1", None), (None, "2", None)], True),
    ("unfinished_at_the_bound", b"data: 1\n\ndata: 234", [(None, "1", None)], False),
    ("unfinished_beyond_the_bound", b"data: 1\n\ndata: 2345", [(None, "1", None)], True),
]  # fmt: skip


@pytest.mark.parametrize(
    ("stream", "events", "too_long"), [case[1:] for case in BOUNDED], ids=[case[0] for case in BOUNDED]
)
def test_bounds_one_event_however_it_is_split(stream, events, too_long):
    assert read_bounded(9, stream) == (events, too_long)
    assert read_bounded(9, *(stream[at : at + 1] for at in range(len(stream)))) == (events, too_long)
    for pieces in two_pieces(stream):
        assert read_bounded(9, *pieces) == (events, too_long), pieces


def test_stays_dead_after_an_event_too_long():
    reader = SseReader(max_event_bytes=9)
    with pytest.raises(EventTooLong, match="more than 9 bytes") as first:
        reader.feed(b"data: 1\n\ndata: 2345")
    with pytest.raises(EventTooLong) as second:
        reader.feed(b"\n\ndata: a\n\n")
    assert (len(first.value.events), second.value.events) == (1, [])


@pytest.mark.limit(30)
def test_long_event_in_small_pieces_is_not_searched_again_and_again():
    # 0.2 s; a reader that touches all it holds at every piece would move a terabyte and meet the test's time limit.
    reader = SseReader()
    assert not any(reader.feed(data) for data in [b"data: "] + [b"x" * 32] * 300_000)
    (event,) = reader.feed(b"\n\n")
    assert len(event.data) == 9_600_000


# ---- writers ----------------------------------------------------------------------------------------------------

WRITTEN = [
    ("data", encode_event(b"{}"), b"data: {}\n\n", [(None, "{}", None)]),
    ("no_data", encode_event(b""), b"data: \n\n", [(None, "", None)]),
    ("leading_space", encode_event(b" a"), b"data:  a\n\n", [(None, " a", None)]),
    ("utf8", encode_event("你好".encode()), "data: 你好\n\n".encode(), [(None, "你好", None)]),
    (
        "line_separator_is_text",
        encode_event("a\u2028b".encode()),
        "data: a\u2028b\n\n".encode(),
        [(None, "a\u2028b", None)],
    ),
    ("name", encode_named_event("error", b"{}"), b"event: error\ndata: {}\n\n", [("error", "{}", None)]),
    (
        "native",
        encode_native_event(7, b"result", b"HTTP_STATUS/200", b"{}"),
        b"id:7\nevent:result\n:HTTP_STATUS/200\ndata:{}\n\n",
        [("result", "{}", "7")],
    ),
    ("done", DONE_EVENT, b"data: [DONE]\n\n", [(None, DONE, None)]),
    ("spliced", EVENT_START + b"{}" + EVENT_END, encode_event(b"{}"), [(None, "{}", None)]),
    ("comment", encode_comment("你"), ": 你\n\n".encode(), []),
    ("keep_alive", KEEP_ALIVE, b": keep-alive\n\n", []),
]


@pytest.mark.parametrize(
    ("written", "expected", "events"), [case[1:] for case in WRITTEN], ids=[case[0] for case in WRITTEN]
)
def test_writes_what_reads_back(written, expected, events):
    assert written == expected
    assert read(written) == (events, False)
    assert read(written + written) == (events + events, False)


@pytest.mark.parametrize(
    ("stream", "events", "broken"), [case[1:] for case in STREAMS], ids=[case[0] for case in STREAMS]
)
def test_what_follows_the_missing_end_is_an_event_of_its_own(stream, events, broken):
    for at in range(len(stream) + 1):
        begun = stream[:at]
        end = missing_end(begun[-3:])
        assert end in (b"", b"\n", b"\n\n")
        if begun and begun != BOM:  # which alone is no line yet
            before, _ = read(begun + end)
            (*same, new), _ = read(begun + end + b"data: new\n\n")
            assert (same, new[:2]) == (before, (None, "new")), begun
