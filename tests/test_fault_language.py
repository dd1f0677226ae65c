"""The language of faults: what is read, what is refused and in which words, and when a fault happens."""

from __future__ import annotations

import re

import pytest

from protocol.instrument.counts import Counts
from protocol.instrument.faults.codes import error_of_code, status_of_code
from protocol.instrument.faults.draws import Draw, Occasions
from protocol.instrument.faults.kinds import KINDS
from protocol.instrument.faults.language import fault_named, parse_fault

READ = [
    ("reset", "reset", {}, None),
    ("close after=0B", "close", {}, (0, "B")),
    ("stall after=3tok for=30s", "stall", {"for": 30.0}, (3, "tok")),
    ("latency latency=200ms jitter=0.05s", "latency", {"latency": 0.2, "jitter": 0.05}, None),
    ("bandwidth rate=10kB", "bandwidth", {"rate": 10_000}, None),
    ("slicer average_size=16B size_variation=4B delay=10ms", "slicer",
     {"average_size": 16, "size_variation": 4, "delay": 0.01}, None),
    ("slow_close delay=2m", "slow_close", {"delay": 120.0}, None),
    ("status 429 code=rate_limit_exceeded retry-after=1", "status",
     {"n": 429, "code": "rate_limit_exceeded", "retry-after": 1}, None),
    ("status 503 retry-after-ms=250", "status", {"n": 503, "retry-after-ms": 250}, None),
    ("status 503 retry-at=3s", "status", {"n": 503, "retry-at": 3.0}, None),
    ('status 500 message="Please try again."', "status", {"n": 500, "message": "Please try again."}, None),
    ("html 502", "html", {"n": 502}, None),
    ("length +10", "length", {"n": 10}, None),
    ("length -1", "length", {"n": -1}, None),
    ("chunk bad after=2ev", "chunk", {"bad": "bad"}, (2, "ev")),
    ("json truncated", "json", {"truncated": "truncated"}, None),
    ("cut after=3tok", "cut", {}, (3, "tok")),
    ("no-finish", "no-finish", {}, None),
    ("no-done", "no-done", {}, None),
    ("double-done", "double-done", {}, None),
    ("comment after=1ev", "comment", {}, (1, "ev")),
    ("crlf", "crlf", {}, None),
    ("split 1B", "split", {"how": "1B"}, None),
    ("split utf8", "split", {"how": "utf8"}, None),
    ("glue 4", "glue", {"n": 4}, None),
    ("dup after=2tok", "dup", {}, (2, "tok")),
    ("error after=1tok code=server_error", "error", {"code": "server_error"}, (1, "tok")),
    ("no-usage", "no-usage", {}, None),
    ("usage-with-choices", "usage-with-choices", {}, None),
    ("filter after=2tok", "filter", {}, (2, "tok")),
    ("refusal", "refusal", {}, None),
    ("args-bad", "args-bad", {}, None),
    ("unknown-tool name=no_tool", "unknown-tool", {"name": "no_tool"}, None),
    ("empty", "empty", {}, None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "kind", "values", "after"), READ, ids=[row[0] for row in READ])
def test_reads(text, kind, values, after):
    fault = parse_fault(text)
    assert (fault.kind.name, dict(fault.values), fault.after, fault.when.word) == (kind, values, after, "")


def test_each_kind_is_read_above():
    assert {row[1] for row in READ} == set(KINDS)


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("reset first 2", ("first", (2,), False)),
        ("reset first 2 each", ("first", (2,), True)),
        ("reset every 3", ("every", (3,), False)),
        ("reset at 2,5", ("at", (2, 5), False)),
        ("reset once", ("first", (1,), False)),
        ("reset p=0.1", ("p", (0.1,), False)),
        ("reset between 10s and 1m", ("between", (10.0, 60.0), False)),
    ],
)
def test_reads_when(text, when):
    assert tuple(parse_fault(text).when) == when


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected a fault"),
        ("statuss 503", "did you mean status?"),
        ("no_done", "did you mean no-done?"),
        ("status", "status is written status N"),
        ("status 200", "expects a status from 400 to 599"),
        ("status 429 retryafter=1", "did you mean retry-after?"),
        ("stall fro=3s", "did you mean for?"),
        ("stall after=3x", "after expects 3tok or 3ev or 3B"),
        ("stall after=1tok after=2tok", "after stands twice"),
        ("crlf after=3tok", "crlf has no after"),
        ("dup after=3B", "after expects 3tok or 3ev"),
        ("latency latency=200", "a time with its unit"),
        ("bandwidth rate=10", "a size with its unit"),
        ("length 10", "with its sign"),
        ("chunk good", "expects bad"),
        ("split 2B", "expects 1B or utf8"),
        ("cut frist 2", "did you mean first?"),
        ("cut first", "is written: first 2"),
        ("cut first 0", "a whole number from 1 on"),
        ("cut at 1,x", "a whole number from 1 on"),
        ("cut once code=x", "stands at the end"),
        ("cut p=2", "a chance from 0 to 1"),
        ("cut between 10s", "between is written"),
        ("cut between 20s and 10s", "the second must be later"),
        ('status 500 message="x', "not closed"),
        ("x" * 1001, "at most 1000 characters"),
    ],
)
def test_refuses_in_one_line(text, words):
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        parse_fault(text)
    assert "\n" not in str(caught.value)


def test_refusal_shows_no_key():
    with pytest.raises(ValueError, match="no kind of fault") as caught:
        parse_fault("sk-live0123456789abcdef")
    assert "sk-live" not in str(caught.value)


def test_spaces_make_no_other_fault():
    assert parse_fault("  status   503  first 2 ").text == parse_fault("status 503 first 2").text


# ---- when it happens --------------------------------------------------------------------------------------------


def happening(text, keys, *, seed="7", session="", elapsed=lambda at: 0.0):
    """Return 1 for each request that meets the fault, 0 for each other."""
    occasions = Occasions(session, Counts())
    fault = parse_fault(text)
    return [int(occasions.happens("rule", fault, key, elapsed(at), seed) is not None) for at, key in enumerate(keys)]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("reset", [1, 1, 1, 1, 1, 1]),
        ("reset first 2", [1, 1, 0, 0, 0, 0]),
        ("reset once", [1, 0, 0, 0, 0, 0]),
        ("reset every 3", [0, 0, 1, 0, 0, 1]),
        ("reset at 2,5", [0, 1, 0, 0, 1, 0]),
        ("reset between 2s and 4s", [0, 0, 1, 1, 0, 0]),
        ("reset p=0", [0, 0, 0, 0, 0, 0]),
        ("reset p=1", [1, 1, 1, 1, 1, 1]),
    ],
)
def test_happens_when_it_should(text, wanted):
    assert happening(text, "aaaaaa", elapsed=float) == wanted
    assert happening(text, "abcdef", elapsed=float) == wanted


def test_each_counts_equal_requests():
    assert happening("reset first 1 each", "abaab") == [1, 1, 0, 0, 0]


def test_counts_by_rule_and_session():
    fault = parse_fault("reset once")
    occasions = Occasions("", Counts())
    assert occasions.happens("one", fault, "k", 0.0, "7") is not None
    assert occasions.happens("other", fault, "k", 0.0, "7") is not None
    assert occasions.happens("one", fault, "k", 0.0, "7") is None
    assert Occasions("s", Counts()).happens("one", fault, "k", 0.0, "7") is not None
    occasions.reset()
    assert occasions.happens("one", fault, "k", 0.0, "7") is not None


def test_order_of_different_requests_changes_no_draw():
    keys = [f"key {number % 40}" for number in range(200)]
    text = "reset p=0.3"

    def by_key(order):
        hits = {}
        for key, hit in zip(order, happening(text, order)):
            hits.setdefault(key, []).append(hit)
        return hits

    first = by_key(keys)
    assert by_key(keys[::-1]) == first
    assert by_key(sorted(keys)) == first
    assert 30 < sum(map(sum, first.values())) < 90


def test_seed_session_and_fault_each_change_the_draws():
    keys = [f"key {number}" for number in range(200)]
    base = happening("reset p=0.5", keys)
    assert happening("reset p=0.5", keys) == base
    assert happening("reset p=0.5", keys, seed="8") != base
    assert happening("reset p=0.5", keys, session="t1") != base
    assert happening("close p=0.5", keys) != base


def test_draw_has_as_many_numbers_as_are_asked_for():
    numbers = [Draw("a", "b").next(), *[draw.next() for draw in [Draw("a", "b")] for _ in range(3)]]
    assert numbers[0] == numbers[1]
    assert len(set(numbers)) == 3
    assert all(0 <= number < 1 for number in numbers)
    assert Draw("ab", "c").next() != Draw("a", "bc").next()


def test_forgets_the_oldest_counts():
    occasions = Occasions("", Counts(20))
    fault = parse_fault("reset first 1 each")
    for number in range(21):
        assert occasions.happens("rule", fault, str(number), 0.0, "7") is not None
    assert occasions.happens("rule", fault, "20", 0.0, "7") is None
    assert occasions.happens("rule", fault, "0", 0.0, "7") is not None


# ---- by the name of a model -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "text"),
    [
        ("error-429-insufficient_quota", "status 429 code=insufficient_quota"),
        ("error-insufficient_quota", "status 429 code=insufficient_quota"),
        ("error-model_not_found", "status 404 code=model_not_found"),
        ("error-event-500-server_error", "error after=0ev code=server_error"),
        ("error-late-500-server_error", "error after=1tok code=server_error"),
    ],
)
def test_models_ask_for_errors(model, text):
    fault = fault_named(model, status_of_code)
    assert fault is not None
    assert fault.text == text


@pytest.mark.parametrize("model", ["gpt-4o", "error", "error-", "error-429", "error-200-x", "my-error-429-x"])
def test_other_models_ask_for_none(model):
    assert fault_named(model, status_of_code) is None


def test_codes_come_with_their_type_and_words():
    # OpenAI API reference, "Error codes": 429, "You exceeded your current quota".
    error = error_of_code(429, "insufficient_quota")
    assert (error.status, error.type, error.code) == (429, "insufficient_quota", "insufficient_quota")
    assert error.message.startswith("You exceeded your current quota")
    assert error_of_code(418, "tea").as_dict()["error"]["code"] == "tea"
    assert error_of_code(500, message="Own words.").message == "Own words."


def test_forgets_rules_too():
    occasions = Occasions("", Counts(20))
    faults = [parse_fault(f"status 500 retry-after={number} first 1") for number in range(11)]
    assert all(occasions.happens("header", fault, "k", 0.0, "7") is not None for fault in faults)
    assert occasions.happens("header", faults[-1], "k", 0.0, "7") is None
    assert occasions.happens("header", faults[0], "k", 0.0, "7") is not None
