from __future__ import annotations

import json
import random

import pytest
from dashscope_samples import (
    CHINESE_FRAMES,
    FIRST_FRAME_ERROR,
    MIDWAY_ERROR,
    MULTIMODAL_FRAMES,
    STREAMS,
    TEXT_FRAMES,
    THINKING_FRAMES,
    TOOL_FRAMES,
    facts,
    sse,
    translator,
)

from protocol.dashscope.chat_events import ChatEvents
from protocol.dashscope.mapping.usual_answer import as_written, split_usual_events
from protocol.dashscope.streaming import encode_events
from protocol.wire.json_text import encode_json

OPTIONS: list[dict[str, bool]] = [{}, {"include_usage": True}, {"cumulative": True}]


def written(pieces: list[bytes], **options: bool) -> tuple[bytes, object]:
    """Return the events of a stream that comes in these pieces, and the error that ends it."""
    stream = ChatEvents(facts(), **options)
    events = b"".join([event for piece in pieces for event in stream.feed(piece)] + stream.close())
    return events, stream.error and stream.error.as_dict()


def in_the_ordinary_way(data: bytes, **options: bool) -> tuple[bytes, object]:
    """Return the same by way of chunks: the plain twin."""
    plain = translator(**options)
    events = encode_events(plain.feed(data) + plain.close())
    return events, plain.error and plain.error.as_dict()


@pytest.mark.parametrize("name", [*STREAMS, "error first", "error midway"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_writes_the_events_of_the_same_chunks_at_every_split(name: str, options: dict[str, bool]) -> None:
    data = {**STREAMS, "error first": FIRST_FRAME_ERROR, "error midway": MIDWAY_ERROR}[name]
    expected = in_the_ordinary_way(data, **options)
    for split in range(len(data) + 1):
        assert written([data[:split], data[split:]], **options) == expected
    assert written([bytes([byte]) for byte in data], **options) == expected


def any_frame(rolls: random.Random, oddity: float) -> str:
    """Return a frame that is usual, but for a member here and there; each is another one with this probability."""

    def other(usual: object, *odd: object) -> object:
        return rolls.choice(odd) if rolls.random() < oddity else usual

    def some(**values: list[object]) -> dict[str, object]:
        return {name: rolls.choice(few) for name, few in values.items() if rolls.random() < oddity}

    def in_any_order(value: dict[str, object]) -> dict[str, object]:
        return dict(rolls.sample(list(value.items()), len(value))) if rolls.random() < oddity else value

    told = ["", 'q"\\\n', "é😀\ud800", '"content":""', "租约", "id:1\nevent:result\n:HTTP_STATUS/200\ndata:{}\n\n"]
    said = other(
        other("a", *told), None, [], [{"text": "p"}], [{"text": ""}], [{"text": "p"}] * 2, [{}], {"text": "t"}, 7
    )
    message: dict[str, object] = {"role": other("assistant", "user", None), "content": said}
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": rolls.choice(["", "{}"])}}
    message.update(some(reasoning_content=["", None, "r", "\t", 3], tool_calls=[[], None, [call]]))
    reason = other("null", None, "", "stop", "length", "tool_calls")
    holder: dict[str, object] = {"message": in_any_order(message), "finish_reason": reason}
    holder.update(some(index=[0, 1, None, False, "0"], logprobs=[None, {}, {"content": [{"token": "a"}]}]))
    output: dict[str, object] = {"choices": [in_any_order(holder)] * rolls.choice([1] * 20 + [0, 2])}
    output.update(some(search_info=[{}, {"search_results": [{"index": 1}]}], text=[None, "x"]))
    usage = {"input_tokens": rolls.randrange(50), "details": {"cached_tokens": 0}}
    answer: dict[str, object] = {
        "output": other(output, None, [], {}),
        "usage": other(usage, {"output_tokens": 10**15}, {"a": -1}, {"a": 1.5}, {}, None, 3),
        "request_id": other("r-1", '"content":""', "", None, "ü"),
        **some(code=["", None, "Throttling"], error=[None, {"message": "m"}]),
    }
    separators = other((",", ":"), None, (" , ", " : "))
    written_json = json.dumps(in_any_order(answer), ensure_ascii=rolls.random() < 0.5, separators=separators)
    return written_json.encode("utf-8", "backslashreplace").decode()


def any_pieces(rolls: random.Random, data: bytes) -> list[bytes]:
    cuts = sorted(rolls.randrange(len(data) + 1) for _ in range(rolls.choice([0, 1, 1, 5, 40])))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)])]


@pytest.mark.parametrize("seed", range(150))
def test_writes_any_event_as_its_chunk_says(seed: int) -> None:
    rolls = random.Random(seed)
    oddity = rolls.choice([0.01, 0.03, 0.1])
    data = sse([any_frame(rolls, oddity) for _ in range(30)], blank_lines=rolls.random() < 0.9)
    if rolls.random() < 0.3:
        # Lines that are missing are those of the event before.
        data = data.replace(
            b"event:result\n:HTTP_STATUS/200\n", rolls.choice([b"", b"event:result\n"]), rolls.randrange(30)
        )
    options = rolls.choice(OPTIONS)
    assert written(any_pieces(rolls, data), **options) == in_the_ordinary_way(data, **options)


@pytest.mark.parametrize("seed", range(200))
def test_writes_a_damaged_stream_as_far_as_it_is_sound(seed: int) -> None:
    rolls = random.Random(seed)
    usual = sse(
        [*TEXT_FRAMES[:2], *THINKING_FRAMES[:2], *CHINESE_FRAMES[:1], TEXT_FRAMES[1].replace("is", r"\"\n\u79df")]
    )
    texts = [
        b"",
        b'"',
        b"\\",
        b"\\u12",
        b"\\x",
        b"0",
        b"7",
        b"-",
        b",",
        b"}",
        b"{",
        b"[",
        b" ",
        b"  ",
        b"\t",
        b"\r",
        b"\n",
    ]
    texts += [
        b"\n\n",
        b"\xe7",
        b"\xff",
        b"\0",
        b"null",
        b"NaN",
        b'"role":"assistant",',
        b'"content":"x",',
        b'"index":0,',
    ]
    texts += [
        b'"finish_reason":"stop",',
        b'"finish_reason":"null",',
        b"event:error\n",
        b":HTTP_STATUS/500\n",
        b"data:[DONE]\n",
    ]
    for _ in range(20):
        data = usual
        for _ in range(rolls.choice([1, 1, 2])):
            start = rolls.randrange(len(data))
            data = data[:start] + rolls.choice(texts) + data[start + rolls.choice([0, 1, 1, 2, 9]) :]
        pieces = any_pieces(rolls, data)
        assert written(pieces, include_usage=True) == in_the_ordinary_way(data, include_usage=True), (data, pieces)


def usual(text: str = '"x"', **instead: str) -> bytes:
    """Return a usual event with some of its members written in another way."""
    parts = {
        "before": "",
        "role": ',"role":"assistant"',
        "reason": ',"finish_reason":"null"',
        "usage": '{"a":1}',
        **instead,
    }
    message = f'"message":{{"content":{text}{parts["role"]}}}'
    choices = f"[{{{parts['before']}{message}{parts['reason']}}}]"
    return sse([f'{{"output":{{"choices":{choices}}},"usage":{parts["usage"]},"request_id":"r"}}'])


ODD_EVENTS = {
    "the reason twice, the end first": usual(before='"finish_reason":"stop",'),
    "the reason twice, the end last": usual(before='"finish_reason":"null",', reason=',"finish_reason":"stop"'),
    "the text twice": usual(role=',"content":"y"'),
    "the text twice, once as a part": usual(role=',"content":[{"text":"y"}]'),
    "the text twice, first not JSON": usual(r'"\x"', role=',"content":"y"'),
    "the reasoning twice": usual(role=',"reasoning_content":"y","reasoning_content":"z"'),
    "another message behind": usual(reason=',"message":{"role":"assistant"}'),
    "a part that is not closed": usual('[{"text":"x"'),
    "a part that was not opened": usual('"x"}]'),
    "two parts": usual('[{"text":"x"},{"text":"y"}]'),
    "another index": usual(before='"index":1,'),
    "another role": usual(role=',"role":"user"'),
    "a count with a zero in front": usual(usage='{"a":01}'),
    "a count with a sign": usual(usage='{"a":-1}'),
    "a huge count": usual(usage='{"a":%s}' % ("9" * 5000)),
    "a count that is none": usual(usage='{"a":}'),
    "a count that is no number": usual(usage='{"a":NaN}'),
    "as many counts as are read": usual(usage=json.dumps({"a" * number: 1 for number in range(1, 21)})),
    "more counts": usual(usage=json.dumps({"a" * number: 1 for number in range(1, 22)})),
    "as many escapes as are read": usual(json.dumps("a\n" * 500)),
    "more escapes": usual(json.dumps("a\n" * 501)),
    "counts nested deeply": usual(usage='{"a":{"b":{"c":1}}}'),
    "counts behind a comma too many": usual(usage='{"a":1,}'),
    "no counts": usual(usage="{}"),
    "half a surrogate pair": usual(r'"\ud83d"'),
    "a surrogate pair": usual(r'"\ud83d\ude00"'),
    "an escape that is none": usual(r'"\x"'),
    "an escape that is cut": usual(r'"\u12"'),
    "a control character": usual('"\x01"'),
    "all short escapes": usual(r'"\"\\\/\b\f\n\r\t"'),
    "no UTF-8": usual('"é"').replace("é".encode(), b"\xe9"),
    "half a surrogate pair in UTF-8": usual('"é"').replace("é".encode(), b"\xed\xa0\xbd"),
    "two spaces": usual('  "x"'),
    "an error by its name": usual().replace(b"event:result", b"event:error"),
    "an error by its status": usual().replace(b"STATUS/200", b"STATUS/500"),
    "an error by its code": usual().replace(b'"request_id":"r"', b'"request_id":"r","code":"InternalError"'),
    "lines with CR": usual().replace(b"\n", b"\r\n"),
    "no blank line": usual()[:-1],
    "more behind the data": usual()[:-2] + b" x\n\n",
}


@pytest.mark.parametrize("name", ODD_EVENTS)
@pytest.mark.parametrize("before", [b"", usual(), FIRST_FRAME_ERROR, b"id:1\nevent:error\n", b"\xef\xbb\xbf", b"id:"])
def test_writes_an_odd_event_in_the_ordinary_way(name: str, before: bytes) -> None:
    behind = usual('"more"') + usual('""', reason=',"finish_reason":"stop"') + usual('"too much"')
    data = before + ODD_EVENTS[name] + behind
    expected = in_the_ordinary_way(data, include_usage=True)
    assert written([data], include_usage=True) == expected
    assert written([before, ODD_EVENTS[name], behind], include_usage=True) == expected


@pytest.mark.parametrize("line", [b"event:error\n", b":HTTP_STATUS/500\n"])
@pytest.mark.parametrize("between", [b"", b"event:result\n", b":HTTP_STATUS/200\n"])
def test_lines_of_a_usual_event_hold_on_and_are_read_again(line: bytes, between: bytes) -> None:
    without_lines = b"data:" + usual().split(b"data:")[1]
    for data in (line + usual() + without_lines, line + usual() + line + between + without_lines):
        assert written([data]) == in_the_ordinary_way(data)


def test_ends_a_choice_with_calls_as_the_ordinary_way_does() -> None:
    data = sse([*TOOL_FRAMES[:1], TEXT_FRAMES[1], TEXT_FRAMES[2]])
    assert written([data]) == in_the_ordinary_way(data)


@pytest.mark.parametrize("model", ["%s", '"ID"', "\ud800", "租约", '{"":""}'])
def test_puts_any_model_into_the_form(model: str) -> None:
    stream, plain = ChatEvents(facts(model)), translator()
    plain._facts = facts(model)
    data = sse(TEXT_FRAMES)
    assert b"".join(stream.feed(data)) == encode_events(plain.feed(data))


@pytest.mark.parametrize(
    "frames", [TEXT_FRAMES, THINKING_FRAMES, MULTIMODAL_FRAMES[-1:]], ids=["text", "thinking", "parts"]
)
@pytest.mark.parametrize("separators", [None, (",", ":")], ids=["spaced", "compact"])
def test_finds_the_events_that_dashscope_sends(frames: list[str], separators: tuple[str, str] | None) -> None:
    data = sse([json.dumps(json.loads(frame), ensure_ascii=False, separators=separators) for frame in frames])
    events, rest = split_usual_events(b": comment\n\n" + data + b"id:9")
    found = list(events)
    assert [event[1] for event in found] == [event + b"\n\n" for event in data.split(b"\n\n")[:-1]]
    assert (found[0][0], rest) == (b": comment\n\n", b"id:9")


@pytest.mark.parametrize("text", ["", "a", '"\\/\b\f\n\r\t\0\x7f', "é租😀\u2028\ufeff", "\ud83d", "\ud83d\ude00"])
@pytest.mark.parametrize("ensure_ascii", [True, False])
def test_rewrites_strings_as_they_are_written_here(text: str, ensure_ascii: bool) -> None:
    came = json.dumps(text, ensure_ascii=ensure_ascii).encode("utf-8", "backslashreplace")
    assert as_written(came[1:-1]) == encode_json(json.loads(came))[1:-1]


@pytest.mark.parametrize("inside", [b"\\x", b"\\u12", b"\\", b"\xff", b"\xed\xa0\xbd", b"a\\n\xe7", b"\\u00zz"])
def test_refuses_a_string_that_is_none(inside: bytes) -> None:
    with pytest.raises(ValueError):
        as_written(inside)
