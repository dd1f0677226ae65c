"""Legacy completions: logprobs, echoes, prompts that are tokens, several choices, and the usage of it all."""

from __future__ import annotations

import json

import pytest
from mocks import ask, make_mock, respond

from protocol.errors import ApiError

PATH = "/v1/completions"
MODEL = "gpt-3.5-turbo-instruct"


def complete(prompt="Say this", **members):
    return ask(make_mock(text="one two three"), "POST", PATH, {"model": MODEL, "prompt": prompt, **members})


def loglikelihood(choice, context):
    """Read a choice as lm-evaluation-harness does (models/openai_completions.py, parse_logprobs)."""
    logprobs = choice["logprobs"]
    tokens = logprobs["token_logprobs"][context:-1]
    tops = logprobs["top_logprobs"][context:-1]
    return sum(tokens), all(logprob == max(top.values()) for logprob, top in zip(tokens, tops))


def test_a_harness_reads_loglikelihoods_from_prompts_that_are_tokens():
    asked = {"max_tokens": 1, "temperature": 0, "logprobs": 1, "echo": True, "seed": 1234}
    prompts = [[11, 22, 33, 44], [11, 22, 33, 55, 66], [7, 8]]
    answer = complete(prompts, **asked)
    sums = []
    for prompt, choice in zip(prompts, answer["choices"]):
        assert len(choice["logprobs"]["token_logprobs"]) == len(prompt) + 1
        likelihood, is_greedy = loglikelihood(choice, 1)
        assert likelihood < 0
        assert type(is_greedy) is bool
        sums.append(likelihood)
    assert len(set(sums)) == 3, "different continuations differ"
    again = complete(prompts, **asked)
    assert [loglikelihood(choice, 1)[0] for choice in again["choices"]] == sums
    # What precedes is the same, and so are its log probabilities.
    first, second = (choice["logprobs"]["token_logprobs"] for choice in answer["choices"][:2])
    assert first[:3] == second[:3]


def test_both_outcomes_of_a_greedy_reading_occur():
    answer = complete([[number, number + 1] for number in range(60)], max_tokens=1, logprobs=1, echo=True)
    assert {loglikelihood(choice, 1)[1] for choice in answer["choices"]} == {True, False}


@pytest.mark.parametrize("top", [0, 1, 5])
@pytest.mark.parametrize("echo", [False, True])
def test_logprobs_have_the_shape_of_the_reference(top, echo):
    choice = complete("Say this", logprobs=top, echo=echo)["choices"][0]
    told = choice["logprobs"]
    assert set(told) == {"tokens", "token_logprobs", "top_logprobs", "text_offset"}
    assert "".join(told["tokens"]) == choice["text"] == ("Say this" if echo else "") + "one two three"
    assert len({len(values) for values in told.values()}) == 1
    if echo and top:
        assert (told["token_logprobs"][0], told["top_logprobs"][0]) == (None, None)
    else:
        assert None not in told["token_logprobs"] + told["top_logprobs"]
    begin = 0 if echo else len("Say this")
    for at, (token, logprob, ranked) in enumerate(zip(told["tokens"], told["token_logprobs"], told["top_logprobs"])):
        assert told["text_offset"][at] == begin + sum(map(len, told["tokens"][:at]))
        if logprob is not None:
            # "there may be up to logprobs+1 elements in the response": the token that was said is among them.
            assert ranked[token] == logprob <= 0
            assert max(top, 1) <= len(ranked) <= top + 1
            assert sum(2.718281828**each for each in ranked.values()) < 1


def test_a_logprob_does_not_depend_on_how_many_are_asked_for():
    told = [complete(logprobs=top, echo=True)["choices"][0]["logprobs"]["token_logprobs"] for top in range(6)]
    assert len({tuple(logprobs[1:]) for logprobs in told}) == 1


@pytest.mark.parametrize(
    ("members", "usage"),
    [
        ({"prompt": "Say this"}, (2, 3)),
        ({"prompt": "Say this", "echo": True}, (2, 3)),
        ({"prompt": "Say this", "n": 2}, (2, 7)),  # the second says which one it is
        ({"prompt": ["Say this", "that"], "n": 2}, (3, 14)),
        ({"prompt": [1, 2, 3]}, (3, 3)),
        ({"prompt": [[1, 2, 3], [4]], "echo": True}, (4, 6)),
        ({"prompt": "Say this", "max_tokens": 1}, (2, 1)),
        ({"prompt": "Say this", "max_tokens": 0, "echo": True}, (2, 0)),
        ({"prompt": ""}, (0, 3)),
    ],
)  # fmt: skip
def test_usage_counts_prompts_once_and_echoes_never(members, usage):
    told = complete(**members)["usage"]
    assert (told["prompt_tokens"], told["completion_tokens"]) == usage
    assert told["total_tokens"] == sum(usage)


def test_choices_differ_and_stand_in_the_order_of_their_prompts():
    answer = complete(["a", "b"], n=3, echo=True)
    texts = [choice["text"] for choice in answer["choices"]]
    assert [choice["index"] for choice in answer["choices"]] == list(range(6))
    assert [text[0] for text in texts] == ["a"] * 3 + ["b"] * 3
    assert len(set(texts)) == 6


@pytest.mark.parametrize(("n", "best_of"), [(1, 1), (2, 2), (2, 5), (None, 3), (2, None), (None, 0), (2, 0)])
def test_as_many_candidates_as_choices_are_taken(n, best_of):
    assert len(complete(n=n, best_of=best_of)["choices"]) == (n or 1)


@pytest.mark.parametrize(("n", "best_of"), [(2, 1), (5, 4)])
def test_fewer_candidates_than_choices_are_refused(n, best_of):
    with pytest.raises(ApiError) as caught:
        complete(n=n, best_of=best_of)
    assert caught.value.status == 400
    assert f"'n' (currently {n or 1}) to be at most 'best_of' (currently {best_of})" in caught.value.message


def test_what_is_chosen_at_the_end_cannot_be_streamed():
    with pytest.raises(ApiError):
        complete(best_of=2, stream=True)


def test_a_stream_says_the_same_as_the_answer():
    asked = {"model": MODEL, "prompt": ["a b", "c"], "n": 2, "echo": True, "logprobs": 2}
    asked["stream_options"] = {"include_usage": True}
    mock = make_mock(text="one two three")
    body = respond(mock, "POST", PATH, {**asked, "stream": True}).body
    frames = body if isinstance(body, bytes) else b"".join(body.frames)
    chunks = [json.loads(line[6:]) for line in frames.split(b"\n\n") if line.startswith(b"data: {")]
    del asked["stream_options"]
    whole = ask(mock, "POST", PATH, asked)
    for choice in whole["choices"]:
        pieces = [one for chunk in chunks for one in chunk["choices"] if one["index"] == choice["index"]]
        assert "".join(piece["text"] for piece in pieces) == choice["text"]
        for name, values in choice["logprobs"].items():
            assert [value for piece in pieces if piece["logprobs"] for value in piece["logprobs"][name]] == values
    assert chunks[-1]["usage"] == whole["usage"]
