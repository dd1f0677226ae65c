"""Answers at a pace and of a length: what their bytes say, over HTTP."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading

import pytest
from mocks import make_mock, make_request, pace_settings

import oaiserve
from protocol.errors import ApiError
from protocol.exchange import LateEndpoint, gather
from protocol.instrument.layer import Layer
from protocol.instrument.session import Session, SessionsRoom
from protocol.openai.answers import ERROR_SHAPES

PROMPT = " ".join(f"word{number}" for number in range(40))
HELLO = [{"role": "user", "content": PROMPT}]


def ask(server, path, body):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode("utf-8", "replace")
    finally:
        connection.close()


def events(text):
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]


def start(**options):
    return oaiserve.start(backend="mock", set={name.replace("__", "."): value for name, value in options.items()})


@pytest.fixture(scope="module")
def server():
    with start(
        mock__pace="fast",
        pace__fast__first="0.001 gamma 0.5",
        pace__fast__between="0.001",
        pace__fast__cache_blocks=100,
    ) as server:
        yield server


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
def test_a_load_generator_gets_as_many_tokens_as_it_asks_for(server, stream, limit):
    asked = {
        "model": "m", "messages": HELLO, limit: 20, "ignore_eos": True, "stop": None, "stream": stream, "temperature": 0,
    }  # fmt: skip
    if stream:
        asked["stream_options"] = {"include_usage": True, "continuous_usage_stats": True}
    status, _, text = ask(server, "/v1/chat/completions", asked)
    assert status == 200
    if not stream:
        completion = json.loads(text)
        assert completion["choices"][0]["finish_reason"] == "length"
        assert (
            len(completion["choices"][0]["message"]["content"].split())
            == completion["usage"]["completion_tokens"]
            == 20
        )
        return
    told = events(text)
    said = [event for event in told if event["choices"] and event["choices"][0]["delta"].get("content")]
    assert [event["usage"]["completion_tokens"] for event in said] == list(range(1, 21))
    assert {event["usage"]["prompt_tokens"] for event in told} == {40}
    assert told[-1]["choices"] == [] and told[-1]["usage"]["total_tokens"] == 60
    assert told[-2]["choices"][0]["finish_reason"] == "length"


def test_legacy_completions_are_as_long_as_asked_and_tell_their_usage(server):
    asked = {"model": "m", "prompt": PROMPT, "max_tokens": 5, "min_tokens": 5, "stream": True}
    asked["stream_options"] = {"include_usage": True, "continuous_usage_stats": True}
    told = events(ask(server, "/v1/completions", asked)[2])
    said = [event["usage"]["completion_tokens"] for event in told if event["choices"] and event["choices"][0]["text"]]
    assert said == [1, 2, 3, 4, 5]
    assert "".join(event["choices"][0]["text"] for event in told if event["choices"]).split() == (
        "powered by openai powered by".split()
    )


def test_continuous_usage_needs_usage_at_all(server):
    asked = {"model": "m", "messages": HELLO, "stream": True, "stream_options": {"continuous_usage_stats": True}}
    assert all("usage" not in event for event in events(ask(server, "/v1/chat/completions", asked)[2]))


@pytest.mark.parametrize(
    ("path", "name", "asked"),
    [
        ("/v1/chat/completions", "prompt_tokens_details", {"messages": [{"role": "user", "content": "chat " * 40}]}),
        ("/v1/completions", "prompt_tokens_details", {"prompt": "legacy " * 40}),
        ("/v1/responses", "input_tokens_details", {"input": "response " * 40}),
    ],
)
def test_a_prompt_that_comes_again_is_cached_but_for_its_last_block(server, path, name, asked):
    cached = [json.loads(ask(server, path, {"model": "m", **asked})[2])["usage"][name]["cached_tokens"] for _ in "12"]
    assert cached == [0, 32]


@pytest.mark.parametrize(
    ("path", "names", "asked"),
    [
        ("/v1/chat/completions", ("prompt_tokens", "prompt_tokens_details"), {"messages": HELLO}),
        ("/v1/completions", ("prompt_tokens", "prompt_tokens_details"), {"prompt": PROMPT}),
        ("/v1/responses", ("input_tokens", "input_tokens_details"), {"input": PROMPT}),
    ],
)
def test_what_a_script_says_of_cached_tokens_stands_before_what_is_cached(path, names, asked):
    usages = [{"cached_tokens": 7}, {"cached_tokens": 7}, {"prompt_tokens": 50}]
    script = {"rules": [{"answer": [{"text": "Hi.", "usage": usage} for usage in usages]}]}
    paced = {"mock.pace": "fast", "pace.fast.cache_blocks": "100"}
    told = []
    with oaiserve.start("mock", set=paced, script=script) as server:
        for _ in usages:
            usage = json.loads(ask(server, path, {"model": "m", **asked})[2])["usage"]
            told.append((usage[names[0]], usage[names[1]]["cached_tokens"]))
    assert told == [(40, 7), (40, 7), (50, 32)]  # what it leaves open is counted


def test_past_the_end_of_the_line_requests_are_refused():
    with start(mock__pace="busy", pace__busy__first=3600, pace__busy__slots=1, pace__busy__queue=0) as server:
        first = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        asked = {"model": "m", "messages": HELLO, "stream": True}
        first.request("POST", "/v1/chat/completions", json.dumps(asked), {"content-type": "application/json"})
        assert first.getresponse().status == 200  # the head goes out when the slot is taken
        for stream in (True, False):
            status, fields, text = ask(server, "/v1/chat/completions", {**asked, "stream": stream})
            assert status == 429 and json.loads(text)["error"]["code"] == "engine_overloaded"
            assert 3500 < int(fields["retry-after"]) <= 3600
        first.close()


@pytest.mark.parametrize("seed", ["7", "8"])
def test_a_seed_repeats_lengths_whatever_came_before(seed):
    def lengths(order):
        with start(mock__length="normal(50,20)", mock__seed=seed) as server:
            texts = {}
            for number in order:
                asked = {"model": "m", "messages": [{"role": "user", "content": f"hello {number}"}]}
                text = ask(server, "/v1/chat/completions", asked)[2]
                texts[number] = json.loads(text)["usage"]["completion_tokens"]
            return texts

    known = lengths(range(8))
    assert len(set(known.values())) > 4
    assert lengths(reversed(range(8))) == known


def test_the_length_of_a_request_is_its_limit():
    with start(mock__length="request") as server:
        asked = {"model": "m", "messages": HELLO}
        for path, body, name in (
            ("/v1/chat/completions", {**asked, "max_tokens": 9}, "completion_tokens"),
            ("/v1/responses", {"model": "m", "input": "hi", "max_output_tokens": 16}, "output_tokens"),
            ("/v1/completions", {"model": "m", "prompt": "hi", "max_tokens": 9}, "completion_tokens"),
        ):
            limit = next(value for key, value in body.items() if key.startswith("max"))
            assert json.loads(ask(server, path, body)[2])["usage"][name] == limit
        assert json.loads(ask(server, "/v1/chat/completions", asked)[2])["usage"]["completion_tokens"] == 3


def test_a_pace_that_is_not_there_is_a_mistake():
    with pytest.raises(oaiserve.UsageError, match=r"no section \[pace slow\]"):
        start(mock__pace="slow")


# ---- the pace of a rule ---------------------------------------------------------------------------------------------

SLOW = {"pace.slow.first": "3600", "pace.slow.between": "60"}
RULE = {"when": {"user": "slowly"}, "answer": "one two three", "pace": "slow"}
ASKED = {
    "/v1/chat/completions": {"model": "m", "messages": [{"role": "user", "content": "slowly"}]},
    "/v1/completions": {"model": "m", "prompt": "slowly"},
    "/v1/responses": {"model": "m", "input": "slowly"},
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ASKED)
def test_a_rule_has_a_pace_of_its_own(path, stream):
    with oaiserve.start("mock", set=SLOW, script={"rules": [RULE]}) as server:
        other = {**ASKED[path], "stream": stream}
        other.update(
            {"prompt": "x"} if "prompt" in other else {"input": "x"} if "input" in other else {"messages": HELLO}
        )
        assert ask(server, path, other)[0] == 200  # at once
        answers = []
        asking = threading.Thread(target=lambda: answers.append(ask(server, path, {**ASKED[path], "stream": stream})))
        asking.start()
        server.wait_for(user="slowly", timeout=60)
        server.clock.advance(3599)
        assert not answers and server.calls[-1].ended is None
        for _ in range(4):
            server.clock.advance(60)
        asking.join()
        assert answers[0][0] == 200 and "three" in answers[0][2]


@pytest.mark.parametrize(("pace", "wrong"), [("slwo", "did you mean"), (7, "string")])
def test_a_pace_that_there_is_not_is_said_when_a_script_is_loaded(pace, wrong):
    with oaiserve.start("mock", set=SLOW) as server, pytest.raises(Exception, match=wrong):
        server.use_script({"rules": [{**RULE, "pace": pace}]})


def test_speech_takes_the_time_of_its_words():
    with oaiserve.start("mock", set={**SLOW, "mock.pace": "slow"}) as server:
        session, answers = server.session("t"), []
        asked = {"model": "tts-1", "voice": "alloy", "input": "one two three", "response_format": "pcm"}
        asking = threading.Thread(target=lambda: answers.append(ask(server, "/s/t/v1/audio/speech", asked)))
        asking.start()
        session.wait_for(status=200, timeout=60)
        session.clock.advance(3599)
        assert not answers and session.calls[-1].ended is None
        session.clock.advance(600)
        asking.join()
        assert answers[0][0] == 200


def test_a_pace_that_has_no_place_is_noted():
    rule = {"when": {"endpoint": "embeddings"}, "answer": {"error": 429}, "pace": "slow"}
    with oaiserve.start("mock", set=SLOW, script={"rules": [rule]}) as server:
        assert ask(server, "/v1/embeddings", {"model": "m", "input": "x"})[0] == 429
        assert server.calls[-1].notes == ["pace_skipped: 'slow' is for chat, completions, responses"]


# ---- a clock that is moved on before the answer begins --------------------------------------------------------------

NATIVE = "/api/v1/services/aigc/text-generation/generation"
PLACES = {**ASKED, NATIVE: {"model": "qwen-plus", "input": {"messages": HELLO}}}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("settings", [{"pace": "slow"}, {"first_delay": 3600.0}], ids=["pace", "delay"])
@pytest.mark.parametrize("path", PLACES)
def test_the_clock_moves_an_answer_on_from_when_its_request_is_in_the_journal(path, settings, stream):
    """An answer may begin later than that: code is loaded for it, or a long body is read in turns."""
    mock, may_begin = make_mock(find_pace=lambda name: pace_settings(first=3600), **settings), threading.Event()
    session = Session("t", lambda: 1000.0, SessionsRoom(), lambda: None, keeps_journal=True)

    async def find(request):
        while not may_begin.is_set():
            await asyncio.sleep(0)
        return mock.endpoint(request)

    async def ask():
        layer = Layer(lambda request: LateEndpoint(find, streams_body=False), ERROR_SHAPES, {})
        body = PLACES[path] if path == NATIVE else {**PLACES[path], "stream": stream}
        fields = [("authorization", "Bearer sk-x"), *([("x-dashscope-sse", "enable")] if stream else ())]
        request = make_request("POST", path, body, fields)
        response = await layer.endpoint(request, session, path).answer(request)
        return await gather(response, 1 << 20, ApiError(500, "too large"))

    async def main():
        asking = asyncio.ensure_future(ask())
        await session.journal.changed()
        session.clock.advance(3000)
        may_begin.set()
        for _ in range(50):
            await asyncio.sleep(0)
        assert not asking.done()
        session.clock.advance(600)
        response, body = await asyncio.wait_for(asking, 60)
        assert response.status == 200 and b"openai" in body

    asyncio.run(main())
