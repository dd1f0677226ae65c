"""What answers tell of their tokens, in the words of each API."""

from __future__ import annotations

import json
import random

import pytest

from protocol.openai.usage import Usage, UsageReader, find_usage, read_usage

CHAT = {
    "prompt_tokens": 19, "completion_tokens": 10, "total_tokens": 29, "prompt_tokens_details": {"cached_tokens": 8},
    "completion_tokens_details": {"reasoning_tokens": 4, "audio_tokens": 0},
}  # fmt: skip
RESPONSE = {
    "input_tokens": 36, "input_tokens_details": {"cached_tokens": 3}, "output_tokens": 87,
    "output_tokens_details": {"reasoning_tokens": 64}, "total_tokens": 123,
}  # fmt: skip


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        (CHAT, Usage(19, 8, 10, 4)),
        (RESPONSE, Usage(36, 3, 87, 64)),
        ({"prompt_tokens": 8, "total_tokens": 8}, Usage(8)),  # embeddings
        ({"total_tokens": 23}, Usage(23)),  # DashScope's embeddings
        ({"input_tokens": 5, "output_tokens": 6, "prompt_tokens_details": {"cached_tokens": 2}}, Usage(5, 2, 6)),
        ({"prompt_tokens": 4, "completion_tokens": 1, "prompt_tokens_details": None}, Usage(4, 0, 1)),
        ({"output_tokens": 4160, "total_tokens": 4160}, Usage(0, 0, 4160)),
        ({"prompt_tokens": 4, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 9}}, Usage(4, 4, 1)),
        ({"type": "duration", "seconds": 3}, None),
        ({"prompt_tokens": "many"}, None),
        ({"prompt_tokens": -1, "completion_tokens": 1}, None),
        ({"prompt_tokens": True, "completion_tokens": 1}, None),
        ({}, None),
        (None, None),
    ],
)
def test_each_api_tells_it_in_its_own_words(told, usage):
    assert read_usage(told) == usage


def read(data, size):
    reader = UsageReader()
    for start in range(0, len(data), size):
        reader.took(data[start : start + size])
    return reader.usage


@pytest.mark.parametrize("size", [1, 5, 300, 10_000])
@pytest.mark.parametrize(
    ("value", "usage"),
    [
        ({"choices": [{"message": {"content": '"usage":{"prompt_tokens":1}'}}], "usage": CHAT}, Usage(19, 8, 10, 4)),
        # What a client asked for is repeated before the usage.
        ({"tools": [{"properties": {"usage": {"total_tokens": 1}}}], "usage": RESPONSE}, Usage(36, 3, 87, 64)),
        ({"usage": CHAT, "tools": [{"properties": {"usage": {"type": "object"}}}]}, Usage(19, 8, 10, 4)),
        ({"usage": None}, None),
        ({"id": "x" * 10_000}, None),
    ],
)
def test_the_last_usage_that_tells_tokens_is_read_however_the_bytes_are_cut(value, usage, size):
    for indent in (None, 2):
        assert read(json.dumps(value, indent=indent).encode(), size) == usage


@pytest.mark.parametrize("form", [{"separators": (",", ":")}, {}, {"indent": 2}])
def test_what_openai_sends_is_read_without_decoding_it(form, monkeypatch):
    """An object has lines of its own, an event no space; gateways write something in between."""
    usage = {
        "prompt_tokens": 19, "completion_tokens": 10, "total_tokens": 29,
        "prompt_tokens_details": {"cached_tokens": 8, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 4, "audio_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
        },
    }  # fmt: skip
    monkeypatch.setattr("protocol.openai.usage._decode", None)
    data = json.dumps({"choices": [], "usage": usage, "service_tier": "default"}, **form).encode()
    assert read(data, len(data)) == Usage(19, 8, 10, 4) == read_usage(usage)


def test_the_last_event_of_a_stream_counts():
    first = b'data: {"usage":null}\n\n'
    early = b'data: {"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}\n\n'
    last = b'data: {"choices":[],"usage":' + json.dumps(CHAT).encode() + b"}\n\ndata: [DONE]\n\n"
    assert read(first + early + last, 7) == Usage(19, 8, 10, 4)


def test_little_is_kept_of_what_has_no_end():
    reader = UsageReader()
    for _ in range(100):
        reader.took(b"x" * 100_000)
    assert len(reader._tail) <= 4096


class PlainReader:
    """Looks for a usage in all that is held, whatever it is."""

    def __init__(self):
        self.usage = self.total = None
        self.tail = b""

    def took(self, data):
        block = self.tail + data
        found = find_usage(block)
        if found is not None:
            self.usage, self.total, end = found
            block = block[end:]
        self.tail = block[-4096:]


PIECES = [
    b'"usage":null', b'"usage": {"total_tokens": 7}', b'"usage":{"a":', b'{"prompt_tokens":3,"completion_tokens":4}', b"}",
    b'"usage"', b' : {"input_tokens":5}', b":", b" ", b'"us', b'age":', b"data: {}\n\n", b"x" * 5000, b'"usage":{}',
    b'"usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29}', b'\\"usage\\":{"total_tokens":1}',
]  # fmt: skip


@pytest.mark.parametrize("seed", range(40))
def test_what_cannot_become_a_usage_is_let_go_of_without_loss(seed):
    chance = random.Random(seed)
    for _ in range(60):
        data = b"".join(chance.choices(PIECES, k=chance.randint(1, 9)))
        reader, plain, at = UsageReader(), PlainReader(), 0
        while at < len(data):
            size = chance.choice([1, 2, 7, 30, 6000])
            for one in (reader, plain):
                one.took(data[at : at + size])
            at += size
            assert (reader.usage, reader.total) == (plain.usage, plain.total)


def test_of_events_without_a_usage_nothing_is_held():
    reader = UsageReader()
    for _ in range(100):
        reader.took(b'data: {"choices":[{"delta":{"content":"word"}}],"usage":null}\n\n')
    assert len(reader._tail) < len(b'"usage"')
