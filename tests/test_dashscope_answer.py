from __future__ import annotations

import json
import random

import pytest
from dashscope_samples import (
    CREATED,
    LOGPROBS_ANSWER,
    MESSAGE_ANSWER,
    OCR_ANSWER,
    TEXT_ANSWER,
    THINKING_ANSWER,
    TOOLS_ANSWER,
    TWO_CHOICES_ANSWER,
    VISION_ANSWER,
    facts,
)

from protocol.dashscope.mapping.answer import chat_completion, merge_completions, openai_usage
from protocol.dashscope.mapping.errors import DashScopeError, read_answer
from protocol.dashscope.mapping.plain_completion import plain_completion
from protocol.wire.json_text import encode_json


def complete(answer: bytes | dict, **options: object) -> dict:
    native = json.loads(answer) if isinstance(answer, bytes) else answer
    return chat_completion(native, facts(**options))


def answer_of(message: dict, reason: object = "stop", **rest: object) -> dict:
    return {"output": {"choices": [{"finish_reason": reason, "message": message}], **rest}, "request_id": "r"}


def test_maps_an_answer_in_message_format() -> None:
    assert complete(MESSAGE_ANSWER) == {
        "id": "chatcmpl-0f5e1c9a-0001-9c11-8e01-aa0000000001",
        "object": "chat.completion",
        "created": CREATED,
        "model": "m",
        "system_fingerprint": None,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "A lease is a contract.", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 25,
            "completion_tokens": 6,
            "total_tokens": 31,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    }


def test_maps_an_answer_in_text_format_alike() -> None:
    assert complete(TEXT_ANSWER)["choices"] == complete(MESSAGE_ANSWER)["choices"]


def test_maps_reasoning() -> None:
    completion = complete(THINKING_ANSWER)
    message = completion["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == ("4", "2+2 is 4.")
    assert completion["usage"]["completion_tokens_details"] == {"reasoning_tokens": 7}


@pytest.mark.parametrize("reasoning", ["", None])
def test_leaves_out_empty_reasoning(reasoning: object) -> None:
    message = complete(answer_of({"content": "x", "reasoning_content": reasoning}))["choices"][0]["message"]
    assert "reasoning_content" not in message


def test_maps_log_probabilities() -> None:
    logprobs = complete(LOGPROBS_ANSWER)["choices"][0]["logprobs"]
    assert logprobs["refusal"] is None
    assert [top["token"] for top in logprobs["content"][0]["top_logprobs"]] == ["4", "four"]


def test_maps_several_choices() -> None:
    found = [
        (choice["index"], choice["message"]["content"], choice["finish_reason"])
        for choice in complete(TWO_CHOICES_ANSWER)["choices"]
    ]
    assert found == [(0, "Hi", "stop"), (1, "Hello the", "length")]


def test_a_missing_index_is_the_position() -> None:
    native = {"output": {"choices": [{"message": {"content": "a"}}, {"message": {"content": "b"}}]}}
    assert [choice["index"] for choice in complete(native)["choices"]] == [0, 1]


def test_maps_tool_calls_without_their_index_and_content_to_null() -> None:
    (choice,) = complete(TOOLS_ANSWER)["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert choice["message"]["tool_calls"] == [
        {
            "id": "call_5c1d",
            "type": "function",
            "function": {"name": "get_weather", "arguments": '{"city": "Hangzhou"}'},
        }
    ]


def test_tool_calls_get_what_they_lack() -> None:
    call = {"id": "", "function": {"name": "f", "arguments": None}}
    (mapped,) = complete(answer_of({"content": "x", "tool_calls": [call]}))["choices"][0]["message"]["tool_calls"]
    assert mapped == {"id": "call_00000001", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def test_text_beside_tool_calls_is_kept() -> None:
    call = {"id": "c", "function": {"name": "f", "arguments": "{}"}}
    assert complete(answer_of({"content": "x", "tool_calls": [call]}))["choices"][0]["message"]["content"] == "x"


@pytest.mark.parametrize(
    ("reason", "tools", "forced", "expected"),
    [
        ("stop", False, False, "stop"),
        ("length", False, False, "length"),
        ("tool_calls", True, False, "tool_calls"),
        ("stop", True, False, "tool_calls"),
        ("stop", True, True, "stop"),
        ("null", False, False, "length"),
        (None, False, False, "length"),
        ("", False, False, "length"),
        ("content_filter", False, False, "content_filter"),
        ("something new", False, False, "stop"),
    ],
)
def test_maps_finish_reasons(reason: object, tools: bool, forced: bool, expected: str) -> None:
    call = {"id": "c", "function": {"name": "f", "arguments": "{}"}}
    message = {"content": "", "tool_calls": [call] if tools else None}
    assert complete(answer_of(message, reason), forced_tool=forced)["choices"][0]["finish_reason"] == expected


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"text": "A "}, {"text": "beach."}], "A beach."),
        ([{"image": "https://a.invalid/x"}, {"text": "x"}, None], "x"),
        ([], ""),
        (None, ""),
        ("x", "x"),
    ],
)
def test_joins_the_texts_of_parts(content: object, text: str) -> None:
    assert complete(answer_of({"content": content}))["choices"][0]["message"]["content"] == text


def test_maps_vision_and_counts_a_total_that_is_missing() -> None:
    completion = complete(VISION_ANSWER)
    assert completion["choices"][0]["message"]["content"] == "A beach."
    assert completion["usage"]["total_tokens"] == 1288
    assert completion["usage"]["prompt_tokens_details"] == {"cached_tokens": 0, "image_tokens": 1247}


def test_maps_ocr() -> None:
    assert complete(OCR_ANSWER)["choices"][0]["message"]["content"] == '```json\n{"total": "9.90"}\n```'


def test_takes_the_last_assistant_message_of_the_old_plugin_mode() -> None:
    messages = [{"role": "assistant", "content": "a"}, {"role": "plugin", "content": "p"}]
    native = {"output": {"choices": [{"finish_reason": "stop", "messages": messages}]}}
    assert complete(native)["choices"][0]["message"]["content"] == "a"


def test_hands_on_search_results_and_cites_marked_places_only() -> None:
    info = {"search_results": [{"index": 1, "url": "https://a.invalid", "title": "A"}, {"index": 2, "url": "u"}]}
    completion = complete(answer_of({"content": "x[ref_1] y[9]"}, search_info=info))
    assert completion["search_info"] == info
    (annotation,) = completion["choices"][0]["message"]["annotations"]
    cited = {"url": "https://a.invalid", "title": "A", "start_index": 1, "end_index": 8}
    assert annotation == {"type": "url_citation", "url_citation": cited}


@pytest.mark.parametrize("native", [{}, {"output": None}, {"output": {"choices": None}, "usage": None}])
def test_an_answer_of_nothing_is_a_completion_of_nothing(native: dict) -> None:
    completion = complete(native)
    assert (completion["id"], completion["choices"]) == ("chatcmpl-00000001", [])
    assert completion["usage"]["total_tokens"] == 0


def test_maps_every_field_of_usage() -> None:
    native = {
        "input_tokens": 10,
        "output_tokens": 5,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 4},
        "input_tokens_details": {"text_tokens": 1, "image_tokens": 2, "video_tokens": 3, "audio_tokens": 4},
        "output_tokens_details": {"reasoning_tokens": 2, "text_tokens": 2, "audio_tokens": 1},
    }
    assert openai_usage(native) == {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
        "prompt_tokens_details": {
            "cached_tokens": 4,
            "text_tokens": 1,
            "image_tokens": 2,
            "video_tokens": 3,
            "audio_tokens": 4,
        },
        "completion_tokens_details": {"reasoning_tokens": 2, "text_tokens": 2, "audio_tokens": 1},
    }


def test_merges_completions_of_one_choice_each() -> None:
    merged = merge_completions([complete(MESSAGE_ANSWER), complete(THINKING_ANSWER)])
    assert merged["id"] == complete(MESSAGE_ANSWER)["id"]
    assert [(choice["index"], choice["message"]["content"]) for choice in merged["choices"]] == [
        (0, "A lease is a contract."),
        (1, "4"),
    ]
    assert merged["usage"]["total_tokens"] == 52
    assert merged["usage"]["completion_tokens_details"] == {"reasoning_tokens": 7}


def in_the_ordinary_way(body: bytes, model: str) -> tuple[bytes, str] | None:
    """Return the chat completion for an answer, and its request id; None for what is no good answer."""
    try:
        native = read_answer(body)
    except DashScopeError:
        return None
    return encode_json(chat_completion(native, facts(model))), str(native.get("request_id"))


def any_answer(rolls: random.Random) -> bytes:
    """Return an answer that is usual, but for a member here and there."""

    def other(usual: object, *odd: object) -> object:
        return rolls.choice(odd) if rolls.random() < 0.1 else usual

    message: dict[str, object] = {"role": other("assistant", "user", None)}
    message["content"] = other("a", 'q"\\\n%s', "é😀\ud800", "租约", "", None, [{"text": "p"}], [{"text": "p"}] * 2, 7)
    message.update(other({}, {"reasoning_content": "r"}, {"tool_calls": []}, {"reasoning_content": ""}))
    holder: dict[str, object] = {"message": message, "finish_reason": other("stop", "length", "null", None, "odd", 3)}
    holder.update(other({}, {"index": 0}, {"index": 1}, {"index": None}, {"logprobs": None}))
    usage: dict[str, object] = {
        "input_tokens": rolls.randrange(9),
        "output_tokens": other(5, 0, True, None, -1, 10**15),
    }
    usage.update(other({}, {"total_tokens": 9}, {"total_tokens": 0}, {"image": 1}, {"details": {"cached_tokens": 1}}))
    usage.update(other({}, {"prompt_tokens_details": {"cached_tokens": 3}}))
    output = other({"choices": [holder]}, {"choices": [holder] * 2}, {"text": "t"}, {"choices": []}, None)
    answer: dict[str, object] = {
        "output": output,
        "usage": other(usage, None, {}),
        "request_id": other("r", 'q"%d', "", None),
    }
    answer.update(other({}, {"code": "Throttling"}, {"code": ""}))
    if rolls.random() < 0.1:
        answer = dict(rolls.sample(list(answer.items()), len(answer)))
    written = json.dumps(answer, ensure_ascii=rolls.random() < 0.5, separators=rolls.choice([None, (",", ":")]))
    return written.encode("utf-8", "backslashreplace")


@pytest.mark.parametrize("seed", range(10))
def test_the_usual_completion_is_written_as_any_other(seed: int) -> None:
    rolls = random.Random(seed)
    written = 0
    for _ in range(400):
        body = any_answer(rolls)
        plain = plain_completion(body, facts("TEXT%s"))
        assert plain is None or plain == in_the_ordinary_way(body, "TEXT%s")
        written += plain is not None
        damaged = bytearray(body)
        at = rolls.randrange(len(damaged))
        some = rolls.choice((b'"', b"\\", b"}", b"{", b" ", b",", b"0", b"-", b"\n", b"\xc3", b"]", b'"content":"b",'))
        damaged[at : at + rolls.choice((0, 1, 1, 5))] = some
        plain = plain_completion(bytes(damaged), facts("\ud800"))
        assert plain is None or plain == in_the_ordinary_way(bytes(damaged), "\ud800")
    assert written > 60


def test_usual_answers_of_dashscope_are_written_so() -> None:
    long = MESSAGE_ANSWER.replace(b"A lease", b"A" * 65536)
    for answer in (MESSAGE_ANSWER, VISION_ANSWER, json.dumps(json.loads(MESSAGE_ANSWER)).encode()):
        assert plain_completion(answer, facts()) == in_the_ordinary_way(answer, "m")
    for answer in (TEXT_ANSWER, THINKING_ANSWER, TOOLS_ANSWER, MESSAGE_ANSWER + b" ", b"", MESSAGE_ANSWER[:-1], long):
        assert plain_completion(answer, facts()) is None
