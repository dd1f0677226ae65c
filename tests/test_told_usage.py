"""What answers tell of their tokens, however their bytes are cut."""

from __future__ import annotations

import json

import pytest

from protocol.openai.completions import Choice, CompletionHead, chat_completion, chat_frames, text_frames
from protocol.openai.told_usage import ToldUsage

HEAD = CompletionHead("chatcmpl-1", 1, "gpt-4o", 7)
CHOICE = Choice(["one ", "two ", '"usage":{"total_tokens":99}\n\n'], "stop")


def read(data, size):
    told = ToldUsage()
    for start in range(0, len(data), size):
        told.took(data[start : start + size])
    return told


@pytest.mark.parametrize("size", [1, 2, 7, 100, 100_000])
@pytest.mark.parametrize(
    ("data", "total"),
    [
        (json.dumps(chat_completion(HEAD, [CHOICE])).encode(), 10),
        (json.dumps(chat_completion(HEAD, [CHOICE]), indent=2).encode(), 10),
        (b"".join(chat_frames(HEAD, [CHOICE], include_usage=True)), 10),
        (b'{"usage": {"total_tokens": 5}, "metadata": {"usage": "much"}}', 5),
        (b'{"usage": null}', None),
        (b'{"usage": {"type": "duration", "seconds": 3}}', None),
    ],
)
def test_the_last_usage_is_the_total(data, total, size):
    assert read(data, size).total == total


@pytest.mark.parametrize("size", [1, 3, 64, 100_000])
def test_events_that_say_something_are_counted_where_no_usage_is_told(size):
    for frames in (chat_frames(HEAD, [CHOICE]), text_frames(HEAD, [CHOICE])):
        told = read(b"".join(frames), size)
        assert (told.total, told.events) == (None, 3)


def test_little_is_kept_of_what_has_no_end():
    told = ToldUsage()
    for _ in range(100):
        told.took(b"x" * 100_000)
    assert len(told._rest) <= 4096
