from __future__ import annotations

import json

import pytest
from dashscope_samples import (
    CREATED,
    FIRST_FRAME_ERROR,
    LOGPROBS_ANSWER,
    MIDWAY_ERROR,
    SEARCH_FRAMES,
    STREAMS,
    TEXT_FRAMES,
    THINKING_ANSWER,
    THINKING_FRAMES,
    TOOL_FRAMES,
    aggregator,
    choices,
    facts,
    frame,
    sse,
    translator,
)

from protocol.dashscope.mapping.answer import chat_completion
from protocol.dashscope.mapping.errors import DashScopeError
from protocol.dashscope.mapping.stream import parallel_translators

ROLE = {"role": "assistant", "content": ""}


def translate(data: bytes, **options: object) -> list[dict]:
    stream = translator(**options)
    return stream.feed(data) + stream.close()


def tool_frame(reason: str | None = "null", **call: object) -> str:
    return frame({"content": "", "tool_calls": [call]}, reason)


@pytest.mark.parametrize("name", STREAMS)
def test_gives_the_same_chunks_at_every_split(name: str) -> None:
    data = STREAMS[name]
    whole = translator(include_usage=True)
    chunks = whole.feed(data) + whole.close()
    error = whole.error and whole.error.as_dict()
    for split in range(len(data) + 1):
        halves = translator(include_usage=True)
        assert halves.feed(data[:split]) + halves.feed(data[split:]) + halves.close() == chunks
        assert (halves.error and halves.error.as_dict()) == error


@pytest.mark.parametrize("name", [name for name in STREAMS if name.startswith("text")])
def test_translates_text_however_its_lines_are_written(name: str) -> None:
    assert choices(translate(STREAMS[name])) == [
        (0, ROLE, None),
        (0, {"content": "A lease"}, None),
        (0, {"content": " is a contract."}, None),
        (0, {}, "stop"),
    ]


def test_chunk_has_the_shape_of_openai() -> None:
    assert translate(STREAMS["text"])[1] == {
        "id": "chatcmpl-r-07",
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": "m",
        "system_fingerprint": None,
        "choices": [{"index": 0, "delta": {"content": "A lease"}, "logprobs": None, "finish_reason": None}],
    }


def test_usage_comes_last_when_asked_for() -> None:
    *others, last = translate(STREAMS["text"], include_usage=True)
    assert all(chunk["usage"] is None for chunk in others)
    assert last["choices"] == []
    usage = last["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (25, 6, 31)


def test_usage_is_the_last_that_was_not_empty() -> None:
    data = sse([*TEXT_FRAMES[:2], frame({"content": ""}, "stop")])
    assert translate(data, include_usage=True)[-1]["usage"]["total_tokens"] == 31


def test_one_frame_can_carry_reasoning_and_text() -> None:
    assert choices(translate(STREAMS["thinking"])) == [
        (0, ROLE, None),
        (0, {"reasoning_content": "2+2"}, None),
        (0, {"reasoning_content": " is 4."}, None),
        (0, {"content": "4"}, None),
        (0, {}, "stop"),
    ]


def test_parallel_tool_calls_say_id_and_name_once() -> None:
    def call(index: int, arguments: str, **first: str) -> dict:
        function = {"name": "get_weather", "arguments": arguments} if first else {"arguments": arguments}
        return {"tool_calls": [{"index": index, **first, "function": function}]}

    assert choices(translate(STREAMS["tools"])) == [
        (0, ROLE, None),
        (0, call(0, '{"city": "', id="call_a1", type="function"), None),
        (0, call(0, 'Paris"}'), None),
        (0, call(1, '{"city":', id="call_b2", type="function"), None),
        (0, call(1, ' "Rome"}'), None),
        (0, {}, "tool_calls"),
    ]


def test_search_results_are_handed_on_once() -> None:
    chunks = translate(STREAMS["search"])
    assert chunks[0]["search_info"]["search_results"][0]["title"] == "Weather"
    assert [chunk for chunk in chunks[1:] if "search_info" in chunk] == []
    assert choices(chunks) == [(0, ROLE, None), (0, {"content": "Sunny [1]."}, None), (0, {}, "stop")]


def test_multimodal_content_may_be_an_empty_list() -> None:
    chunks = translate(STREAMS["multimodal"], include_usage=True)
    assert choices(chunks) == [
        (0, ROLE, None),
        (0, {"reasoning_content": "The user"}, None),
        (0, {"content": "A beach."}, None),
        (0, {}, "stop"),
    ]
    assert chunks[-1]["usage"]["total_tokens"] == 1288
    assert chunks[-1]["usage"]["prompt_tokens_details"]["image_tokens"] == 1247


def test_code_interpreter_is_handed_on() -> None:
    chunks = translate(STREAMS["code interpreter"], include_usage=True)
    assert chunks[0]["tool_info"][0]["code_interpreter"] == {"code": "123**21"}
    assert chunks[-1]["usage"]["prompt_tokens"] == 723


@pytest.mark.parametrize("reason", ["null", None, ""])
def test_an_unfinished_reason_does_not_end_the_choice(reason: str | None) -> None:
    data = sse([frame({"content": "a"}, reason), frame({"content": "b"}, "stop")])
    assert [delta for _, delta, _ in choices(translate(data))] == [ROLE, {"content": "a"}, {"content": "b"}, {}]


def test_an_end_without_a_reason_is_length() -> None:
    assert choices(translate(sse(TEXT_FRAMES[:2])))[-1] == (0, {}, "length")


def test_a_reason_is_told_once_and_the_last_frame_may_carry_text() -> None:
    data = sse([frame({"content": "a"}, "stop"), frame({"content": ""}, "stop")])
    assert choices(translate(data)) == [(0, ROLE, None), (0, {"content": "a"}, None), (0, {}, "stop")]


@pytest.mark.parametrize("output", [None, {}, {"choices": None}, {"choices": []}, {"choices": [None]}])
def test_frames_without_a_choice_give_nothing(output: object) -> None:
    data = sse([json.dumps({"output": output}), *TEXT_FRAMES])
    assert choices(translate(data)) == choices(translate(sse(TEXT_FRAMES)))


def test_choices_may_interleave() -> None:
    def numbered(index: int, text: str, reason: str) -> str:
        choice = {"index": index, "message": {"content": text}, "finish_reason": reason}
        return json.dumps({"output": {"choices": [choice]}})

    data = sse([numbered(0, "a", "null"), numbered(1, "b", "null"), numbered(0, "", "stop"), numbered(1, "", "length")])
    assert choices(translate(data)) == [
        (0, ROLE, None),
        (0, {"content": "a"}, None),
        (1, ROLE, None),
        (1, {"content": "b"}, None),
        (0, {}, "stop"),
        (1, {}, "length"),
    ]


def test_log_probabilities_stand_with_their_text() -> None:
    chunks = translate(sse([LOGPROBS_ANSWER.decode()]))
    logprobs = [chunk["choices"][0]["logprobs"] for chunk in chunks]
    assert logprobs[0] is logprobs[2] is None
    assert logprobs[1]["content"][0]["token"] == "4"


TOOL_ODDITIES = {
    "no index, same call": (
        [
            {"id": "c1", "function": {"name": "f", "arguments": "{"}},
            {"id": "", "function": {"arguments": "}"}},
        ],
        [("c1", "f", "{}")],
    ),
    "no index, a fresh id": (
        [
            {"id": "c1", "function": {"name": "f", "arguments": "{}"}},
            {"id": "c2", "function": {"name": "g", "arguments": "{}"}},
        ],
        [("c1", "f", "{}"), ("c2", "g", "{}")],
    ),
    "index always 0": (
        [
            {"index": 0, "id": "c1", "function": {"name": "f", "arguments": "{}"}},
            {"index": 0, "id": "c2", "function": {"name": "g", "arguments": "{"}},
            {"index": 0, "id": "", "function": {"arguments": "}"}},
        ],
        [("c1", "f", "{}"), ("c2", "g", "{}")],
    ),
    "id and name repeated": (
        [
            {"index": 0, "id": "c1", "function": {"name": "f", "arguments": "{"}},
            {"index": 0, "id": "c1", "function": {"name": "f", "arguments": "}"}},
        ],
        [("c1", "f", "{}")],
    ),
    "arguments null": (
        [
            {"index": 0, "id": "c1", "function": {"name": "f", "arguments": None}},
            {"index": 0, "id": "", "function": {"arguments": "{}"}},
        ],
        [("c1", "f", "{}")],
    ),
    "name after the id": (
        [
            {"index": 0, "id": "c1", "function": {"arguments": ""}},
            {"index": 0, "id": "", "function": {"name": "f", "arguments": "{}"}},
        ],
        [("c1", "f", "{}")],
    ),
    "no id at all": ([{"index": 0, "function": {"name": "f", "arguments": "{}"}}], [("call_00000002", "f", "{}")]),
    "arguments as an object": (
        [{"index": 0, "id": "c1", "function": {"name": "f", "arguments": {"a": 1}}}],
        [("c1", "f", '{"a": 1}')],
    ),
    "empty fragments between": (
        [
            {"index": 0, "id": "", "type": "function", "function": {"arguments": ""}},
            {"index": 0, "id": "c1", "function": {"name": "f", "arguments": "{"}},
            {"index": 0, "id": "", "type": "function", "function": None},
            {"index": 0, "id": "", "function": {"arguments": "}"}},
        ],
        [("c1", "f", "{}")],
    ),
}


@pytest.mark.parametrize("name", TOOL_ODDITIES)
def test_reads_odd_tool_fragments(name: str) -> None:
    fragments, expected = TOOL_ODDITIES[name]
    chunks = translate(sse([*(tool_frame(**fragment) for fragment in fragments), frame({}, "tool_calls")]))
    calls: dict[int, list[str]] = {}
    for _, delta, _ in choices(chunks):
        for call in delta.get("tool_calls", ()):
            slot = calls.setdefault(call["index"], ["", "", ""])
            slot[0] += call.get("id", "")
            slot[1] += call["function"].get("name", "")
            slot[2] += call["function"]["arguments"]
    assert [tuple(calls[index]) for index in range(len(calls))] == expected


@pytest.mark.parametrize(("forced", "reason"), [(False, "tool_calls"), (True, "stop")])
def test_stop_after_tool_calls_depends_on_the_choice_being_forced(forced: bool, reason: str) -> None:
    data = sse([*TOOL_FRAMES[:3], frame({"content": ""}, "stop")])
    assert choices(translate(data, forced_tool=forced))[-1] == (0, {}, reason)


def test_cumulative_frames_are_told_as_deltas_when_declared() -> None:
    data = sse(
        [
            frame({"content": "", "reasoning_content": "hm"}),
            frame({"content": "A", "reasoning_content": "hm hm"}),
            frame({"content": "A lease", "reasoning_content": ""}),
            tool_frame(index=0, id="c", function={"name": "f", "arguments": "{"}),
            tool_frame(index=0, id="c", function={"name": "f", "arguments": "{}"}),
            frame({"content": "A lease"}, "stop"),
        ]
    )
    completion = aggregator(cumulative=True)
    completion.feed(data)
    message = completion.close()["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == ("A lease", "hm hm")
    assert message["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}


def test_repeated_text_is_kept_when_frames_are_deltas() -> None:
    data = sse([frame({"content": "ha"}), frame({"content": "ha"}), frame({"content": "haha"}, "stop")])
    assert "".join(delta.get("content", "") for _, delta, _ in choices(translate(data))) == "hahahaha"


def test_an_error_in_the_first_frame_gives_no_chunk() -> None:
    stream = translator()
    assert stream.feed(FIRST_FRAME_ERROR) == []
    assert stream.error is not None and stream.error.status == 400
    assert stream.error.as_dict()["error"] == {
        "message": "DashScope API error: Range of top_p should be (0.0, 1.0]",
        "type": "dashscope_error",
        "param": None,
        "code": "InvalidParameter",
        "request_id": "r-14",
    }


def test_an_error_midway_comes_after_the_chunks_before_it_and_ends_the_stream() -> None:
    stream = translator(include_usage=True)
    assert len(stream.feed(sse(TEXT_FRAMES[:2]) + MIDWAY_ERROR + sse(TEXT_FRAMES[2:]))) == 3
    assert stream.error is not None and (stream.error.status, stream.error.code) == (500, "InternalError.Algo")
    assert stream.feed(sse(TEXT_FRAMES)) == stream.close() == []


@pytest.mark.parametrize("data", [b"", b"<html>busy</html>", b": ping\n\n", b'data:{"usage":{}}\n\n'])
def test_a_stream_without_any_choice_is_an_error(data: bytes) -> None:
    stream = translator()
    assert stream.feed(data) + stream.close() == []
    assert stream.error is not None and stream.error.code == "upstream_bad_response"


@pytest.mark.parametrize(
    ("frames", "answer"),
    [
        (THINKING_FRAMES, {"content": "4", "reasoning_content": "2+2 is 4."}),
        (TEXT_FRAMES, {"content": "A lease is a contract."}),
    ],
    ids=["thinking", "text"],
)
def test_aggregates_to_what_the_plain_answer_says(frames: list[str], answer: dict) -> None:
    last = json.loads(frames[-1])
    plain = {
        "output": {"choices": [{"finish_reason": "stop", "message": answer}]},
        "usage": last["usage"],
        "request_id": last["request_id"],
    }
    stream = aggregator()
    stream.feed(sse(frames))
    assert stream.close() == chat_completion(plain, facts())


def test_aggregates_parallel_tool_calls() -> None:
    stream = aggregator()
    stream.feed(sse(TOOL_FRAMES))
    completion = stream.close()
    (choice,) = completion["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert choice["message"]["tool_calls"] == [
        {"id": "call_a1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}},
        {"id": "call_b2", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Rome"}'}},
    ]
    assert completion["usage"]["total_tokens"] == 236


def test_aggregates_search_results_and_cites_them() -> None:
    stream = aggregator()
    stream.feed(sse(SEARCH_FRAMES))
    completion = stream.close()
    assert completion["search_info"]["search_results"][0]["index"] == 1
    assert completion["choices"][0]["message"]["annotations"] == [
        {
            "type": "url_citation",
            "url_citation": {
                "url": "https://example.invalid/w",
                "title": "Weather",
                "start_index": 6,
                "end_index": 9,
            },
        }
    ]


def test_aggregates_log_probabilities() -> None:
    stream = aggregator()
    stream.feed(sse([LOGPROBS_ANSWER.decode()]))
    assert stream.close()["choices"][0]["logprobs"]["content"][0]["logprob"] == -0.01


def test_accepts_a_whole_answer_in_place_of_a_stream() -> None:
    stream = aggregator()
    stream.feed(THINKING_ANSWER)
    expected = chat_completion(json.loads(THINKING_ANSWER), facts())
    assert stream.close() == expected


def test_aggregation_raises_what_the_stream_reports() -> None:
    stream = aggregator()
    stream.feed(sse(TEXT_FRAMES[:1]))
    with pytest.raises(DashScopeError) as caught:
        stream.feed(MIDWAY_ERROR)
    assert caught.value.status == 500


def test_aggregation_of_nothing_raises() -> None:
    with pytest.raises(DashScopeError) as caught:
        aggregator().close()
    assert caught.value.code == "upstream_bad_response"


def test_merges_streams_of_one_choice_each_under_one_id_with_the_summed_usage() -> None:
    first, second = parallel_translators(2, facts(), include_usage=True)
    chunks = first.feed(sse(TEXT_FRAMES[:1])) + second.feed(sse(TEXT_FRAMES)) + second.close()
    chunks += first.feed(sse(TEXT_FRAMES[1:]))
    assert all(chunk["usage"] is None for chunk in chunks)
    chunks += first.close()
    assert {chunk["id"] for chunk in chunks} == {"chatcmpl-00000001"}
    assert [reason for index, _, reason in choices(chunks) if index == 1][-1] == "stop"
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"]["total_tokens"] == 62


def test_streams_of_which_one_failed_have_no_sum_of_their_usage() -> None:
    first, second = parallel_translators(2, facts(), include_usage=True)
    assert second.feed(FIRST_FRAME_ERROR) == second.close() == []
    assert second.error is not None and second.error.status == 400
    assert all(chunk["usage"] is None for chunk in first.feed(sse(TEXT_FRAMES)) + first.close())


def test_parallel_streams_without_usage_have_no_place_for_it() -> None:
    chunks = [
        chunk for each in parallel_translators(2, facts()) for chunk in each.feed(sse(TEXT_FRAMES)) + each.close()
    ]
    assert {chunk["choices"][0]["index"] for chunk in chunks} == {0, 1}
    assert not any("usage" in chunk for chunk in chunks)
