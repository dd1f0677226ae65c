"""Simulated limits: what is told on each answer, and what is refused in which words."""

from __future__ import annotations

import http.client
import json

import pytest

import oaiserve
from protocol.errors import ApiError
from protocol.instrument.limits import Limits, read_limits
from protocol.openai.rate_limits import duration

CHAT = "/v1/chat/completions"


class Clock:
    """Seconds that are set."""

    def __init__(self):
        self.seconds = 1_700_000_000.0

    def __call__(self):
        return self.seconds


def chat(words, most=None, **more):
    length = {} if most is None else {"max_tokens": most}
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": "word " * words}], **length, **more}


def refused(limits, *asked):
    with pytest.raises(ApiError) as refusal:
        limits.admit(*asked)
    assert (refusal.value.status, refusal.value.code) == (429, "rate_limit_exceeded")
    return refusal.value


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        # Of OpenAI's documentation and of answers of its API.
        (0, "0s"), (6, "6ms"), (12, "12ms"), (644, "644ms"), (1_000, "1s"), (8_640, "8.64s"), (9_816, "9.816s"),
        (20_000, "20s"), (360_000, "6m0s"), (432_000, "7m12s"), (5_400_000, "1h30m0s"), (86_400_000, "24h0m0s"),
    ],
)  # fmt: skip
def test_spans_are_written_as_openai_writes_them(milliseconds, text):
    assert duration(milliseconds) == text


def test_each_answer_tells_what_is_left():
    limits = Limits(read_limits([{"by": "key", "requests": "3/min, 100/day", "tokens": "1000/min"}]), Clock())
    assert dict(limits.admit("sk-a", "gpt-4o", CHAT, chat(4, most=100)).fields) == {
        "x-ratelimit-limit-requests": "3", "x-ratelimit-remaining-requests": "2", "x-ratelimit-reset-requests": "20s",
        "x-ratelimit-limit-tokens": "1000", "x-ratelimit-remaining-tokens": "896", "x-ratelimit-reset-tokens": "6.24s",
    }  # fmt: skip


def test_the_window_is_told_that_would_refuse_next():
    limits, last = Limits(read_limits([{"by": "key", "requests": "3/min, 4/day"}]), clock := Clock()), {}
    for _ in range(2):
        for _ in range(2):
            last = dict(limits.admit("sk-a", "", "/v1/models", None).fields)
        clock.seconds += 60
    assert last["x-ratelimit-limit-requests"] == "4" and last["x-ratelimit-remaining-requests"] == "0"


def test_too_many_requests_are_refused_in_openais_words():
    limits = Limits(read_limits([{"by": "key", "requests": "3/min"}]), clock := Clock())
    for _ in range(3):
        limits.admit("sk-a", "gpt-4o", CHAT, chat(1))
    error = refused(limits, "sk-a", "gpt-4o", CHAT, chat(1))
    assert error.type == "requests"
    assert error.message == (
        "Rate limit reached for gpt-4o on requests per min (RPM): Limit 3, Used 3, Requested 1."
        " Please try again in 20s."
    )
    assert dict(error.fields) == {
        "retry-after": "20", "retry-after-ms": "20000", "x-ratelimit-limit-requests": "3",
        "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m0s",
    }  # fmt: skip
    limits.admit("sk-b", "gpt-4o", CHAT, chat(1))
    clock.seconds += 19.999
    assert dict(refused(limits, "sk-a", "gpt-4o", CHAT, chat(1)).fields)["retry-after-ms"] == "1"
    clock.seconds += 0.001
    limits.admit("sk-a", "gpt-4o", CHAT, chat(1))


def test_too_many_tokens_are_refused_and_what_never_fits_is_not_to_be_tried_again():
    limits = Limits(read_limits([{"by": "model", "tokens": "30000/min"}]), Clock())
    limits.admit("sk-a", "gpt-4o", CHAT, chat(937, most=29_000))
    error = refused(limits, "sk-b", "gpt-4o", CHAT, chat(85, most=300))
    assert error.type == "tokens" and error.message == (
        "Rate limit reached for gpt-4o on tokens per min (TPM): Limit 30000, Used 29937, Requested 385."
        " Please try again in 644ms."
    )
    assert dict(error.fields)["retry-after"] == "1" and dict(error.fields)["retry-after-ms"] == "644"
    error = refused(limits, "sk-b", "gpt-4o", CHAT, chat(538, most=31_000))
    assert error.type == "tokens" and error.message == (
        "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 31538."
        " The input or output tokens must be reduced in order to run successfully."
    )
    assert dict(error.fields)["x-should-retry"] == "false" and "retry-after" not in dict(error.fields)


def test_a_request_that_one_window_refuses_is_taken_from_no_other():
    limits = Limits(read_limits([{"by": "key", "requests": "2/min"}, {"by": "model", "requests": "1/min"}]), Clock())
    limits.admit("sk-a", "gpt-4o", CHAT, chat(1))
    refused(limits, "sk-a", "gpt-4o", CHAT, chat(1))
    limits.admit("sk-a", "other", CHAT, chat(1))
    refused(limits, "sk-a", "third", CHAT, chat(1))
    limits.reset()
    limits.admit("sk-a", "gpt-4o", CHAT, chat(1))


def left(limits):
    return dict(limits.admit("sk-a", "", "/v1/files", None).fields)["x-ratelimit-remaining-tokens"]


@pytest.mark.parametrize(
    ("pieces", "failed", "used"),
    [
        ([b'{"usage": {"total_', b'tokens": 30}}'], False, 30),  # as it was told
        ([b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'] * 5, False, 9),  # the prompt, and what was said
        ([], False, 4),  # the client left before anything was said
        ([b'{"error": {"message": "no"}}'], True, 0),
    ],
)
def test_what_was_used_takes_the_place_of_the_estimate(pieces, failed, used):
    limits = Limits(read_limits([{"by": "key", "tokens": "1000/min"}]), Clock())
    admission = limits.admit("sk-a", "gpt-4o", CHAT, chat(4, most=500))
    assert left(limits) == "496"
    for piece in pieces:
        admission.took(piece)
    admission.end(failed=failed)
    assert left(limits) == str(1000 - used)
    admission.end(failed=True)  # what is over stays as it is
    assert left(limits) == str(1000 - used)


@pytest.mark.parametrize(
    ("path", "body", "tokens"),
    [
        (CHAT, chat(4), 4 + 16),
        (CHAT, chat(4, most=10, n=3), 4 + 30),
        (CHAT, chat(4, max_completion_tokens=7), 4 + 7),
        (CHAT, {"messages": [{"content": [{"type": "text", "text": "a b"}, {"type": "image_url"}]}]}, 2 + 16),
        ("/v1/responses", {"instructions": "be brief", "input": "a b c", "max_output_tokens": 50}, 5 + 50),
        ("/v1/embeddings", {"input": ["a b", "c"]}, 3),
        ("/v1/completions", {"prompt": "a b", "max_tokens": 1}, 3),
        ("/api/v1/services/aigc/text-generation/generation", {"input": {"messages": [{"content": "a b"}]}}, 2 + 16),
        ("/v1/files", None, 0),
        (CHAT, ["no", "object"], 0),
    ],
)  # fmt: skip
def test_tokens_are_estimated_from_what_came(path, body, tokens):
    limits = Limits(read_limits([{"by": "key", "tokens": "1000/min"}]), Clock())
    fields = dict(limits.admit("sk-a", "gpt-4o", path, body).fields)
    assert fields["x-ratelimit-remaining-tokens"] == str(1000 - tokens)


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ({}, "limits: expected a list"),
        ([{"requests": "3/min"}], r"limits\[0\].by"),
        ([{"by": "key"}], r"limits\[0\]: it limits nothing"),
        ([{"by": "key", "requests": "3/min"}, {"by": "model", "requests": 3}], r"limits\[1\].requests: expected"),
        ([{"by": "key", "rps": "3/min"}], r"limits\[0\]: 'rps' is not known"),
    ],
)
def test_a_mistake_is_named_when_limits_are_read(value, names):
    with pytest.raises(ValueError, match=names):
        read_limits(value)


# ---- through a server ---------------------------------------------------------------------------------------------


def ask(server, method, path, body=None, key="sk-a"):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {"content-type": "application/json", "authorization": f"Bearer {key}"})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode()
    finally:
        connection.close()


RULES = [{"by": "key", "requests": "3/min", "tokens": "1000/min"}]
SIX = {f"x-ratelimit-{what}-{kind}" for what in ("limit", "remaining", "reset") for kind in ("requests", "tokens")}


@pytest.fixture(scope="module")
def server():
    with oaiserve.start("mock") as server:
        yield server


@pytest.fixture
def session(server):
    yield "/s/limited"
    ask(server, "DELETE", "/s/limited/_oaiserve/session")


def test_every_answer_tells_the_limits_and_the_clock_lifts_them(server, session):
    assert ask(server, "PUT", f"{session}/_oaiserve/limits", RULES)[0] == 204
    asked = [
        ("POST", session + CHAT, chat(1), 200), ("POST", session + CHAT, chat(1, stream=True), 200),
        ("POST", session + CHAT, chat(1, n="many"), 400), ("POST", session + CHAT, chat(1), 429),
        ("GET", f"{session}/v1/models", None, 429),
    ]  # fmt: skip
    for method, path, body, expected in asked:
        status, fields, _ = ask(server, method, path, body)
        assert status == expected and fields.keys() >= SIX
    assert 1 <= int(fields["retry-after"]) <= 20 and int(fields["retry-after-ms"]) <= 20_000
    assert ask(server, "POST", session + CHAT, chat(1), key="sk-b")[0] == 200
    ask(server, "POST", f"{session}/_oaiserve/clock", {"advance": 20})
    assert ask(server, "POST", session + CHAT, chat(1))[0] == 200
    assert ask(server, "POST", f"{session}/_oaiserve/reset?what=limits")[0] == 204
    assert ask(server, "POST", session + CHAT, chat(1))[1]["x-ratelimit-remaining-requests"] == "2"
    assert ask(server, "DELETE", f"{session}/_oaiserve/limits")[0] == 204
    assert not any(name.startswith("x-ratelimit") for name in ask(server, "POST", session + CHAT, chat(1))[1])
    assert not any(name.startswith("x-ratelimit") for name in ask(server, "POST", CHAT, chat(1))[1])


def test_limits_of_the_server_itself_hold_at_once_and_no_longer_than_told(server):
    assert ask(server, "POST", CHAT, chat(1))[0] == 200
    ask(server, "PUT", "/_oaiserve/limits", [{"by": "model", "requests": "1/day"}])
    assert [ask(server, "POST", CHAT, chat(1))[0] for _ in "12"] == [200, 429]
    ask(server, "DELETE", "/_oaiserve/limits")
    assert ask(server, "POST", CHAT, chat(1))[0] == 200


def tokens_left(server, session):
    return int(ask(server, "GET", f"{session}/v1/models")[1]["x-ratelimit-remaining-tokens"])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("body", "used"), [(chat(10), 13), (chat(10, max_tokens=2), 12), (chat(10, model=7), 0)])
def test_what_an_answer_was_takes_the_place_of_what_it_might_have_been(server, session, body, used, stream):
    ask(server, "PUT", f"{session}/_oaiserve/limits", [{"by": "key", "tokens": "1000/day"}])
    ask(server, "POST", session + CHAT, {**body, "stream": stream})
    assert tokens_left(server, session) == 1000 - used


def test_a_client_that_leaves_has_used_what_it_was_sent():
    with oaiserve.start("mock", set={"mock.delay": 1000, "mock.text": "one two three four"}) as server:
        ask(server, "PUT", "/s/a/_oaiserve/limits", [{"by": "key", "tokens": "1000/day"}])
        leaving = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        fields = {"content-type": "application/json", "authorization": "Bearer sk-a"}
        leaving.request("POST", f"/s/a{CHAT}", json.dumps(chat(10, stream=True)), fields)
        answer = leaving.getresponse()
        assert b"one" in answer.fp.readline() + b"".join(answer.fp.readline() for _ in range(5))
        assert tokens_left(server, "/s/a") == 1000 - 26  # what it might become
        answer.close()
        leaving.close()
        for _ in range(1000):  # until the server has seen it
            if tokens_left(server, "/s/a") != 1000 - 26:
                break
        assert tokens_left(server, "/s/a") == 1000 - 11


def test_the_clock_moves_words_on_their_way():
    for options in ({"mock.delay": 1000}, {"mock.pace": "slow", "pace.slow.between": 1000, "pace.slow.first": 500}):
        with oaiserve.start("mock", set=options) as server:
            waiting = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            waiting.request(
                "POST", f"/s/a{CHAT}", json.dumps(chat(1, stream=True)), {"content-type": "application/json"}
            )
            answer = waiting.getresponse()
            ask(server, "POST", "/s/a/_oaiserve/clock", {"advance": 3000})
            assert answer.read().endswith(b"data: [DONE]\n\n")
            waiting.close()


def test_limits_that_are_none_are_refused(server, session):
    status, _, text = ask(server, "PUT", f"{session}/_oaiserve/limits", [{"by": "ip", "requests": "3/min"}])
    assert status == 400 and "limits[0].by" in text
