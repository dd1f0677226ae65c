"""The mock's embeddings: vectors of the right length that know which texts share words."""

from __future__ import annotations

import asyncio
import base64
import json
import math
import struct

import pytest
from mocks import ask, make_mock, make_request

from protocol.errors import ApiError
from protocol.exchange import Response
from protocol.openai.api.checks import Conformity
from protocol.openai.api.operations import Reference
from protocol.openai.reference.whole import API_REFERENCE

REFERENCE = Reference(lambda: API_REFERENCE)
SMALL = "text-embedding-3-small"


def embed(input, _mock=None, model=SMALL, **parameters):
    mock = _mock or make_mock()
    request = make_request("POST", "/v1/embeddings", {"model": model, "input": input, **parameters})
    answer = mock.endpoint(request).answer(request)
    answer = json.loads((answer if isinstance(answer, Response) else asyncio.run(answer)).body)
    Conformity(REFERENCE.shapes).check(REFERENCE.operation("POST /embeddings").result)(answer)
    return answer


def vectors(input, **parameters):
    return [entry["embedding"] for entry in embed(input, **parameters)["data"]]


def refused(input, **parameters):
    with pytest.raises(ApiError) as caught:
        embed(input, **parameters)
    assert caught.value.status == 400
    return caught.value


def cosine(one, other):
    return math.fsum(a * b for a, b in zip(one, other))


def test_answer_has_openai_s_shape():
    answer = embed(["one two", "three"], encoding_format="float")
    assert answer["object"] == "list" and answer["model"] == SMALL
    assert [entry["index"] for entry in answer["data"]] == [0, 1]
    assert answer["usage"] == {"prompt_tokens": 3, "total_tokens": 3}


@pytest.mark.parametrize(
    ("model", "length"),
    [(SMALL, 1536), ("text-embedding-3-large", 3072), ("text-embedding-ada-002", 1536), ("another", 1536)],
)
def test_vectors_are_as_long_as_the_model_s_and_of_length_1(model, length):
    [vector] = vectors("the cat sat on the mat", model=model)
    assert len(vector) == length
    assert cosine(vector, vector) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("length", [1, 256, 1536])
def test_dimensions_are_kept_to(length):
    [vector] = vectors("the cat sat on the mat", dimensions=length)
    assert len(vector) == length and cosine(vector, vector) == pytest.approx(1, abs=1e-5)


def test_texts_that_share_words_are_nearer():
    one, near, far = vectors(["the cat sat on the mat", "a cat sat on my mat", "quarterly revenue grew strongly"])
    assert cosine(one, near) > 0.5 > 0.2 > cosine(one, far)


def test_base64_holds_the_same_numbers():
    [numbers] = vectors("the cat sat", dimensions=64)
    [text] = vectors("the cat sat", dimensions=64, encoding_format="base64")
    assert list(struct.unpack("<64f", base64.b64decode(text))) == pytest.approx(numbers, abs=1e-6)


def test_under_invent_vectors_are_numbers():
    [vector] = vectors("x", _mock=make_mock(unknown_ids="invent"), encoding_format="base64")
    assert len(vector) == 1536


@pytest.mark.parametrize(
    ("input", "count", "tokens"),
    [("one two", 1, 2), (["one", "two"], 2, 2), ([1, 2, 3], 1, 3), ([[1, 2], [3]], 2, 3), (" ", 1, 1)],
    ids=["text", "texts", "tokens", "arrays of tokens", "white space"],
)
def test_inputs_are_texts_or_tokens(input, count, tokens):
    answer = embed(input)
    assert len(answer["data"]) == count and answer["usage"]["prompt_tokens"] == tokens


def test_what_is_remembered_is_what_was_made():
    mock = make_mock()
    texts = [f"text {number}" for number in range(600)]  # more than are remembered
    first = vectors(texts, _mock=mock, dimensions=8)
    assert vectors(texts, _mock=mock, dimensions=8) == first
    assert vectors(texts[:2], _mock=mock, dimensions=8, encoding_format="base64") != first[:2]
    assert vectors(texts[-1], _mock=mock, dimensions=8) == first[-1:]


def test_as_many_inputs_as_openai_takes_are_answered_in_order():
    answer = embed([f"text {number}" for number in range(2048)], dimensions=2)
    assert [entry["index"] for entry in answer["data"]] == list(range(2048))


@pytest.mark.parametrize(
    ("input", "parameters", "param", "words"),
    [
        ("", {}, None, "'$.input' is invalid."),
        ([], {}, None, "'$.input' is invalid."),
        (["a", ""], {}, None, "'$.input' is invalid."),
        ([[]], {}, None, "'$.input' is invalid."),
        (["a"] * 2049, {}, "input", "maximum length 2048, but got an array with length 2049"),
        ("word " * 8193, {}, None, "maximum context length is 8192 tokens, however you requested 8193"),
        (["word " * 8000] * 38, {}, "input", "maximum request size is 300000 tokens"),
        ("a", {"dimensions": 1537}, "dimensions", "Must be less than or equal to 1536."),
        ("a", {"dimensions": 0}, "dimensions", "Must be greater than or equal to 1."),
        ("a", {"dimensions": 8, "model": "text-embedding-ada-002"}, "dimensions", "does not support specifying"),
        ("a", {"dimensions": "8"}, "dimensions", "expected an integer"),
        ("a", {"encoding_format": "hex"}, "encoding_format", "'float' and 'base64'"),
        (5, {}, "input", "Invalid type for 'input'"),
    ],
)
def test_bad_request_is_openai_s_400(input, parameters, param, words):
    error = refused(input, **parameters)
    assert error.param == param and words in error.message


@pytest.mark.parametrize("input", [None, 5, {}, [None], [1, "a"], [["a"]]])
@pytest.mark.parametrize("validate", ["off", "warn"])
def test_unchecked_nonsense_is_the_empty_text(validate, input):
    body = {"model": "text-embedding-3-small", "input": input, "dimensions": 7000}
    (given,) = ask(make_mock(validate=validate), "POST", "/v1/embeddings", body)["data"]
    assert len(given["embedding"]) == 1536


def test_first_word_s_delay_is_waited_for():
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    embed("a", _mock=make_mock(first_delay=0.5, sleep=sleep))
    embed(["a"] * 65, _mock=make_mock(first_delay=0.25, sleep=sleep))
    assert slept == [0.5, 0.25]


def test_a_long_answer_is_put_together_in_turns():
    # One vector, made once and told 2,000 times: some 70 MB.
    body = {"model": "text-embedding-3-large", "input": ["a few words"] * 2000}
    request = make_request("POST", "/v1/embeddings", body)
    answer = make_mock().endpoint(request).answer(request)
    rounds = 0

    async def main():
        nonlocal rounds
        made = asyncio.ensure_future(answer)
        while not made.done():
            rounds += 1
            await asyncio.sleep(0)
        return made.result().body

    told = asyncio.run(main())
    assert told.count(b'{"object":"embedding","index":') == 2000 and told.endswith(b"}}")
    assert rounds > 12, rounds
