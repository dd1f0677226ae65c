"""The verdict on a program, from the calls that it made: each habit shown, not shown, and not tried."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
import xml.etree.ElementTree as ET

import pytest
from steps import assert_grows_in_proportion, steps_of_turns

import oaiserve
from protocol.instrument.journal import Entry
from protocol.instrument.verdict.report import as_junit, as_text, judge

ASKED = [{"role": "user", "content": "hi"}]
HABITS = [
    "retry_after_ignored", "no_backoff", "retried_non_retryable", "retry_storm", "gave_up_early", "truncated_accepted",
    "no_read_timeout", "bad_args_executed", "length_ignored", "left_open",
]  # fmt: skip


class Made:
    """The calls of a session, written by hand. Each comes `after` seconds after the end of the one before."""

    def __init__(self):
        self.entries = []
        self.now = 1000.0

    def call(self, status=200, *, after=1.0, took=0.1, messages=ASKED, answer=None, fault="", ended="done", **fields):
        came = self.now + after
        entry = Entry(len(self.entries) + 1, came, "POST", "/v1/chat/completions", ())
        entry.key = json.dumps(messages)
        entry.request_body = json.dumps({"messages": messages}).encode()
        entry.status, entry.fault, entry.ended = status, fault, ended
        entry.answer_fields = [(name.replace("_", "-"), value) for name, value in fields.items()]
        entry.answer_body = bytearray(answer if isinstance(answer, bytes) else json.dumps(answer or {}).encode())
        entry.first = came
        entry.ended_at = came + took if ended else None
        entry.stream = isinstance(answer, bytes)
        self.now = came + took
        self.entries.append(entry)
        return self

    def later(self, seconds):
        self.now += seconds
        return self

    def verdict(self):
        return {one.habit: (one.verdict, list(one.calls)) for one in judge(self.entries, self.now)}


def said(text, reason="stop", calls=()):
    called = [
        {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
        for id, name, arguments in calls
    ]
    message = {"role": "assistant", "content": text, "tool_calls": called}
    return {"choices": [{"index": 0, "message": message, "finish_reason": reason}]}


def streamed(*pieces):
    events = [{"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]} for piece in pieces]
    return b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events)


def going_on(text):
    return [*ASKED, {"role": "assistant", "content": text}, {"role": "user", "content": "more"}]


def with_result(result):
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{"}}
    return [
        *ASKED, {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": result},
    ]  # fmt: skip


def test_nothing_is_known_of_a_program_that_nobody_has_tried():
    assert Made().verdict() == {habit: ("unknown", []) for habit in HABITS}
    assert Made().call().call(messages=going_on("x")).verdict() == {habit: ("unknown", []) for habit in HABITS}


@pytest.mark.parametrize(
    ("habit", "made", "expected"),
    [
        ("retry_after_ignored", Made().call(429, retry_after="2").call(after=0.5), ("bad", [1, 2])),
        ("retry_after_ignored", Made().call(429, retry_after="2").call(after=2.0), ("good", [])),
        ("retry_after_ignored", Made().call(429, retry_after_ms="200").call(after=0.1), ("bad", [1, 2])),
        ("retry_after_ignored", Made().call(503, retry_after="Thu, 01 Jan 1970 00:20:00 GMT").call(), ("bad", [1, 2])),
        ("retry_after_ignored", Made().call(429).call(after=0.5), ("unknown", [])),
        ("no_backoff", Made().call(500).call(after=0.001), ("bad", [1, 2])),
        ("no_backoff", Made().call(500).call(after=0.5), ("good", [])),
        ("no_backoff", Made().call(500, retry_after="0").call(after=0.001), ("unknown", [])),
        ("retried_non_retryable", Made().call(400).call(400), ("bad", [1, 2])),
        ("retried_non_retryable", Made().call(400).call(messages=going_on("x")), ("good", [])),
        ("retried_non_retryable", Made().call(429, x_should_retry="false").call(), ("bad", [1, 2])),
        ("retried_non_retryable", Made().call(400, x_should_retry="true").call(), ("unknown", [])),
        (
            "retried_non_retryable",
            Made().call(429, answer={"error": {"code": "insufficient_quota"}}).call(),
            ("bad", [1, 2]),
        ),
        ("retry_storm", Made().call(500).call(500).call(500).call(), ("good", [])),
        ("retry_storm", Made().call(500).call(500, after=0).call(500, after=0), ("good", [])),
        ("gave_up_early", Made().call(500).later(61), ("bad", [1])),
        ("gave_up_early", Made().call(500).later(10), ("unknown", [])),
        ("gave_up_early", Made().call(500, retry_after="120").later(61), ("unknown", [])),
        ("gave_up_early", Made().call(500).call(), ("good", [])),
        ("gave_up_early", Made().call(400).later(61), ("unknown", [])),
        ("truncated_accepted", Made().call(fault="cut after=2ev", answer=streamed("The ", "answer"), ended="cut")
         .call(messages=going_on("The answer")), ("bad", [1, 2])),
        ("truncated_accepted", Made().call(fault="cut after=2ev", answer=streamed("The ", "answer"), ended="cut").call(),
         ("good", [])),
        ("truncated_accepted", Made().call(fault="cut after=2ev", answer=streamed("The ", "answer")), ("unknown", [])),
        ("truncated_accepted", Made().call(answer=streamed("The ", "answer")).call(messages=going_on("The answer")),
         ("unknown", [])),
        ("length_ignored", Made().call(answer=said("The ans", "length")).call(messages=going_on("The ans")),
         ("bad", [1, 2])),
        ("length_ignored", Made().call(answer=said("The ans", "length")).call(messages=going_on("The answer")),
         ("good", [])),
        ("length_ignored", Made().call(answer=said("The ans")).call(messages=going_on("The ans")), ("unknown", [])),
        ("no_read_timeout", Made().call(fault="stall after=1tok for=90s", took=90.0), ("bad", [1])),
        ("no_read_timeout", Made().call(fault="stall after=1tok for=90s", took=20.0, ended="left"), ("good", [])),
        ("no_read_timeout", Made().call(fault="stall after=1tok for=5s", took=5.0), ("unknown", [])),
        ("bad_args_executed", Made().call(fault="args-bad", answer=said(None, "tool_calls", [("call_1", "f", "{")]))
         .call(messages=with_result("22 degrees")), ("bad", [1, 2])),
        ("bad_args_executed", Made().call(fault="args-bad", answer=said(None, "tool_calls", [("call_1", "f", "{")]))
         .call(messages=with_result("Error: the arguments are no JSON")), ("good", [])),
        ("bad_args_executed", Made().call(fault="unknown-tool", answer=said(None, "tool_calls", [("call_1", "g", "{}")]))
         .call(messages=with_result("done")), ("bad", [1, 2])),
        ("bad_args_executed", Made().call(answer=said(None, "tool_calls", [("call_1", "f", "{")]))
         .call(messages=with_result("done")), ("unknown", [])),
        ("left_open", Made().call(answer=streamed("a"), ended="").later(61), ("bad", [1])),
        ("left_open", Made().call(answer=streamed("a"), ended="").later(10), ("unknown", [])),
        ("left_open", Made().call(answer=streamed("a")).later(61), ("good", [])),
    ],
)  # fmt: skip
def test_a_habit_is_told_by_the_calls(habit, made, expected):
    assert made.verdict()[habit] == expected


def test_many_attempts_at_one_thing_are_a_storm():
    made = Made()
    for _ in range(11):
        made.call(500)
    assert made.verdict()["retry_storm"] == ("bad", list(range(1, 12)))
    quick = Made()
    for _ in range(6):
        quick.call(500, after=0.01, took=0.01)
    assert quick.verdict()["retry_storm"][0] == "bad"


def test_equal_calls_at_once_are_no_attempts():
    made = Made()
    for _ in range(20):
        made.now = 1000.0
        made.call(500)
    made.later(1)
    assert made.verdict()["retry_storm"] == ("unknown", [])
    assert made.verdict()["no_backoff"] == ("unknown", [])


def test_a_call_after_a_success_is_a_new_one():
    assert Made().call(500).call().call(after=0.001).verdict()["no_backoff"] == ("good", [])


def test_responses_are_read_too():
    def response(text, status="completed", **more):
        content = [{"type": "output_text", "text": text}]
        return {"status": status, "output": [{"type": "message", "content": content}], **more}

    made = Made().call(answer=response("The ans", "incomplete", incomplete_details={"reason": "max_output_tokens"}))
    made.call()
    made.entries[1].request_body = json.dumps({"input": [{"role": "assistant", "content": "The ans"}]}).encode()
    assert made.verdict()["length_ignored"] == ("bad", [1, 2])


# ---- journals of thousands of calls


def equal_failures_at_once(count):
    made = Made()
    for _ in range(count):
        made.now = 1000.0
        made.call(500)
    return made


def attempts_one_after_the_other(count):
    made = Made()
    for _ in range(count):
        made.call(429, after=0.0001, took=0.0001, answer={"error": {"code": "insufficient_quota"}})
    return made


def texts_that_broke_off(count):
    made = Made()
    for number in range(count):
        made.call(fault="cut", answer=streamed(f"The answer {number}"), ended="cut", messages=[])
        made.call(answer=said(f"The ans {number}", "length"), messages=[])
        made.call(messages=going_on(f"The answer {number}"))
        made.call(messages=going_on(f"The ans {number}"))
    return made


def results_of_broken_calls(count):
    made = Made()
    for number in range(count):
        made.call(fault="args-bad", answer=said(None, "tool_calls", [(f"call_{number}", "f", "{")]))
    result = {"role": "tool", "tool_call_id": "call_1", "content": "22 degrees"}
    for _ in range(count):
        made.call(messages=[result])
    return made


MANY = [equal_failures_at_once, attempts_one_after_the_other, texts_that_broke_off, results_of_broken_calls]


@pytest.mark.parametrize("made_of", MANY)
def test_the_verdict_takes_steps_in_proportion_to_the_calls(made_of):
    made = {count: made_of(count) for count in (50, 100, 200)}
    assert_grows_in_proportion(lambda count: made[count].verdict(), 100)


@pytest.mark.parametrize("made_of", MANY)
def test_others_have_their_turns_while_many_calls_are_judged(made_of):
    made = made_of(1500)
    turns = steps_of_turns(made.verdict)
    assert len(turns) > 10 and max(turns) < 25_000


def test_a_large_answer_of_many_events_is_read_in_turns():
    made = Made().call(answer=b"data: {}\n" * 7000).call(messages=[{}] * 20_000)
    made.call(fault="cut", answer=streamed("The answer")).call()
    turns = steps_of_turns(made.verdict)
    assert len(turns) > 5 and max(turns) < 30_000


def test_text_and_junit_say_the_same():
    made = judge(Made().call(429, retry_after="2").call(after=0.5).entries, 2000.0)
    assert as_text(made).splitlines()[0] == (
        "bad     retry_after_ignored: waited 0.50 s where the answer asked for 2 s (calls 1, 2)"
    )
    suite = ET.fromstring(as_junit(made, 'a <"name"')).find("testsuite")
    assert (suite.get("name"), suite.get("tests"), suite.get("failures")) == ('a <"name"', "10", "1")
    failed = [case.get("name") for case in suite if case.find("failure") is not None]
    skipped = [case.get("name") for case in suite if case.find("skipped") is not None]
    assert failed == ["retry_after_ignored"] and len(skipped) == int(suite.get("skipped"))


def test_a_program_is_judged_by_the_server():
    with oaiserve.start("mock") as server:
        session = server.session("judged")

        def ask(fault):
            body = json.dumps({"model": "gpt-4o", "messages": ASKED}).encode()
            fields = {"content-type": "application/json", **({"x-oaiserve-fault": fault} if fault else {})}
            request = urllib.request.Request(f"{session.url}/v1/chat/completions", body, fields)
            try:
                urllib.request.urlopen(request).read()
            except urllib.error.HTTPError as refusal:
                refusal.read()

        ask("status 429 retry-after=30")
        ask("")
        verdict = session.verdict()
        assert (
            not verdict.ok
            and verdict["retry_after_ignored"] == "bad"
            and verdict.calls("retry_after_ignored") == [1, 2]
        )
        verdict.check("retry_after_ignored", "no_backoff")
        with pytest.raises(AssertionError, match="retry_after_ignored"):
            verdict.check()
        with urllib.request.urlopen(f"{session.url}/_oaiserve/verdict.xml") as answer:
            assert ET.fromstring(answer.read()).find("testsuite").get("name") == "oaiserve judged"
