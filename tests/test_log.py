"""The log: the contract's lines to the letter, and nothing in them that is secret."""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import time

import pytest

from protocol.exchange import HeadFacts, Request
from protocol.service.log import Log, key_label
from protocol.wire.http1.readers import RequestReader

SECRET = "sk-very-secret"
NOON = 1704110400.9  # 2024-01-01 12:00:00 UTC
STAMP = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(NOON))
ZONED = datetime.datetime.fromtimestamp(int(NOON)).astimezone().isoformat()
LABEL = hashlib.md5(SECRET.encode(), usedforsecurity=False).hexdigest()[:8]


class Clock:
    def __init__(self):
        self.now = NOON

    def __call__(self):
        return self.now


def request(target="/v1/chat/completions", *fields, method="POST", peer="192.168.1.100"):
    reader = RequestReader()
    reader.feed("\r\n".join([f"{method} {target} HTTP/1.1", "host: x", *fields, "", ""]).encode("latin-1"))
    return Request(reader.next_event(), "req_1", peer)


def logged(form="text", clock=None):
    """Return (log, lines written so far)."""
    lines = []
    return Log(form, lines.append, clock=clock or Clock()), lines


# ---- text


def test_the_lines_are_the_contracts():
    log, lines = logged()
    asked = request("/v1/chat/completions?key=x", f"authorization: Bearer {SECRET}")
    log.started(asked)
    log.completed(asked, 200, 2.3449)
    ip_and_label = ("IP: 192.168.1.100", f"API Key Hash: {LABEL}\n")
    assert lines == [
        f"{STAMP} - Request started - {ip_and_label[0]}, Method: POST, Path: /v1/chat/completions, {ip_and_label[1]}",
        f"{STAMP} - Request completed - {ip_and_label[0]}, Status: 200, Time: 2.34s, {ip_and_label[1]}",
    ]


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_lines_of_a_request_that_is_answered_at_once_are_the_same(form):
    (one, lines), (other, other_lines) = logged(form), logged(form)
    asked = request("/v1/chat/completions?key=x", f"authorization: Bearer {SECRET}")
    one.answered(asked, 200, 0.0123, "req_other")
    other.started(asked)
    other.completed(asked, 200, 0.0123, "req_other")
    assert "".join(lines) == "".join(other_lines)


@pytest.mark.parametrize("status", [200, 404])
@pytest.mark.parametrize("seconds", [0.0, 0.0001, math.nextafter(0.005, 0.0), 0.005, 0.0149, 1.0, 12345.678])
def test_the_time_of_a_request_that_is_answered_at_once_is_rounded_as_any(status, seconds):
    (one, lines), (other, other_lines) = logged(), logged()
    one.answered(request(), status, seconds)
    other.started(request())
    other.completed(request(), status, seconds)
    assert "".join(lines) == "".join(other_lines)
    assert f", Status: {status}, Time: {seconds:.2f}s, " in lines[0]


def test_a_head_that_is_repeated_by_another_peer_is_his():
    log, lines = logged()
    first = request()
    first.head.facts = HeadFacts()
    for peer in ("10.0.0.1", "10.0.0.2", "10.0.0.1"):
        log.answered(Request(first.head, "req_1", peer), 200, 0.0)
        log.started(Request(first.head, "req_1", peer))
        log.completed(Request(first.head, "req_1", peer), 200, 0.0)
        assert "".join(lines).count(f"IP: {peer},") == len("".join(lines).splitlines()) == 4
        lines.clear()


def test_lines_that_are_written_together_have_the_time_of_the_first():
    written, soon, clock = [], [], Clock()
    log = Log("text", written.append, clock=clock, call_soon=soon.append)
    for _ in range(2):
        log.answered(request(), 200, 0.0)
        clock.now += 60
        log.answered(request(), 200, 0.0)
        log.started(request())
        log.completed(request(), 200, 0.0)
        soon.pop()()
    stamps = [[line[: len(STAMP)] for line in part.splitlines()] for part in written]
    assert stamps[0] == [STAMP] * 6
    assert len(set(stamps[1])) == 1 and stamps[1][0] != STAMP


def test_the_time_goes_on():
    clock = Clock()
    log, lines = logged(clock=clock)
    log.say("one")
    clock.now += 0.05
    log.say("two")
    clock.now += 3600
    log.say("three")
    later = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(NOON + 3600))
    assert lines == [f"{STAMP} - one\n", f"{STAMP} - two\n", f"{later} - three\n"]


@pytest.mark.parametrize(
    "fields",
    [
        [f"authorization: Bearer {SECRET}"],
        [f"Authorization: bearer  {SECRET}"],
        [f"api-key: {SECRET}"],
        [f"sec-websocket-protocol: realtime, openai-insecure-api-key.{SECRET}, beta"],
    ],
    ids=["bearer", "lower case", "api-key", "subprotocol"],
)
def test_a_key_shows_as_its_label_wherever_it_was_sent(fields):
    assert key_label(request("/", *fields)) == LABEL


@pytest.mark.parametrize("fields", [[], ["authorization: Basic eDp5"], ["authorization:"], ["api-key:"]])
def test_no_key_shows_as_a_dash(fields):
    assert key_label(request("/", *fields)) == "-"


def test_a_key_of_any_bytes_has_a_label():
    assert len(key_label(request("/", "api-key: \xe9\xff"))) == 8


# ---- JSON


def test_json_lines_say_the_same():
    log, lines = logged("json")
    asked = request("/v1/models?x=1", f"authorization: Bearer {SECRET}", method="GET", peer="::1")
    log.started(asked)
    log.completed(asked, 499, 0.1234567)
    log.say('something "quoted"\n')
    assert all(line.endswith("\n") and line.count("\n") == 1 for line in lines)
    common = {
        "time": ZONED, "request_id": "req_1", "ip": "::1", "method": "GET", "path": "/v1/models", "api_key_hash": LABEL,
    }  # fmt: skip
    assert [json.loads(line) for line in lines] == [
        {**common, "event": "request_started"},
        {**common, "event": "request_completed", "status": 499, "seconds": 0.123457, "ended": "left"},
        {"time": ZONED, "event": "message", "message": 'something "quoted"\n'},
    ]


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the time zone cannot be set here")
@pytest.mark.parametrize(("zone", "stamp"), [("UTC0", "12:00:00+00:00"), ("XXX-5:30", "17:30:00+05:30")])
def test_json_lines_tell_the_time_zone_and_text_lines_do_not(monkeypatch, zone, stamp):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        log, lines = logged("json")
        log.say("x")
        log.use("text")
        log.say("x")
    finally:
        monkeypatch.undo()
        time.tzset()
    assert json.loads(lines[0])["time"] == f"2024-01-01T{stamp}"
    assert lines[1] == f"2024-01-01 {stamp[:8]} - x\n"


# ---- one line


class Seen:
    """What was seen of an answer."""

    def __init__(self, **told):
        self._told = told

    def told(self, request, seconds, attempts):
        return dict(self._told)


def test_a_request_is_one_line_that_tells_what_is_known():
    log, lines = logged("line")
    asked = request("/v1/chat/completions?key=x", f"authorization: Bearer {SECRET}")
    asked.seen = Seen(asked="gpt-4o", sent="qwen3", backend="relay", seconds_first=0.5, tok_in=12, tok_out=85)
    log.started(asked)
    assert lines == []
    log.completed(asked, 200, 2.3449, attempts=("spare=503", "relay=200"))
    log.answered(request("/health", method="GET"), 404, 0.0)
    log.say("something")
    assert lines == [
        f"{ZONED} POST /v1/chat/completions 200 2.345s first=0.500s model=gpt-4o>qwen3 backend=relay key={LABEL} "
        "tries=spare=503,relay=200 tokens=12+85 ended=done ip=192.168.1.100 id=req_1\n",
        f"{ZONED} GET /health 404 0.000s key=- ended=done ip=192.168.1.100 id=req_1\n",
        f"{ZONED} something\n",
    ]


def test_a_line_stays_one_and_tells_a_terminal_nothing():
    log, lines = logged("line")
    asked = request()
    asked.seen = Seen(asked="a b\n\x1b[31mc\u2028d" + "e" * 200, backend="\x9b")
    log.completed(asked, 200, 0.0)
    assert lines[0].isprintable() is False and lines[0].rstrip("\n").isprintable()
    assert " model=a?b??[31mc?d" in lines[0] and "…" in lines[0] and len(lines[0]) < 300


@pytest.mark.parametrize(("status", "shown"), [(200, "\x1b[32m200\x1b[0m"), (404, "\x1b[33m404\x1b[0m"), (502, "\x1b[31m502\x1b[0m")])  # fmt: skip
def test_a_status_has_its_colour_where_colours_are_wanted(status, shown):
    log, lines = logged("line")
    log.use("line", has_colours=True)
    log.completed(request(), status, 0.0)
    assert f" {shown} " in lines[0]


@pytest.mark.parametrize("form", ["text", "line", "json"])
def test_a_log_without_requests_has_what_the_server_says(form):
    log, lines = logged(form)
    log.use(form, records_requests=False)
    assert not log.records_requests
    log.say("something")
    log.failure(request(), ValueError())
    assert len(lines) == 2


# ---- off


def test_off_is_silent():
    log, lines = logged("off")
    assert not log.records_requests
    log.say("something")
    log.failure(request(), ValueError(SECRET))
    log.flush()
    assert lines == []


@pytest.mark.parametrize("form", ["text", "line", "json"])
def test_the_other_forms_record_requests(form):
    assert logged(form)[0].records_requests


# ---- failures


def fail_deep_inside(secret):
    local_secret = secret
    try:
        raise KeyError(local_secret)
    except KeyError as exc:
        raise ValueError(f"no {secret}") from exc


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_failure_tells_where_and_of_what_type_but_no_value(form):
    log, lines = logged(form)
    try:
        fail_deep_inside(SECRET)
    except ValueError as exc:
        log.failure(request(f"/?{SECRET}", f"authorization: Bearer {SECRET}"), exc)
    (line,) = lines
    assert "Request req_1 failed inside with ValueError at fail_deep_inside (" in line
    assert "test_log.py:" in line and line.count("\n") == 1
    assert SECRET not in line


def test_a_failure_without_frames_is_told_too():
    log, lines = logged()
    log.failure(request(), ValueError(SECRET))
    assert "failed inside with ValueError" in lines[0] and SECRET not in lines[0]


def test_a_failure_from_very_deep_is_one_line_of_bounded_length():
    def dive(depth):
        if not depth:
            raise RuntimeError("deep")
        dive(depth - 1)

    log, lines = logged()
    try:
        dive(200)
    except RuntimeError as exc:
        log.failure(request(), exc)
    assert lines[0].count("dive (") == 8


@pytest.mark.parametrize("form", ["text", "line", "json"])
def test_a_line_about_a_request_does_not_tell_the_key_that_its_caller_made_its_id(form):
    log, lines = logged(form)
    asked = request("/", f"authorization: Bearer {SECRET}")
    asked.id = f"a-{SECRET}"
    log.say_of(asked, "it failed")
    assert "Request a-***: it failed" in lines[0] and SECRET not in lines[0]


# ---- gathering


def test_lines_of_one_turn_are_written_together():
    written, soon = [], []
    log = Log("text", written.append, clock=Clock(), call_soon=soon.append)
    asked = request()
    log.started(asked)
    log.completed(asked, 200, 0.0)
    log.say("three")
    assert written == [] and len(soon) == 1
    soon.pop()()
    assert len(written) == 1 and written[0].count("\n") == 3
    log.say("four")
    assert len(soon) == 1
    log.flush()
    soon.pop()()
    assert [part.count("\n") for part in written] == [3, 1]


# ---- traces

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_the_json_log_has_the_ids_of_a_callers_trace():
    log, lines = logged("json")
    log.answered(request("/v1/chat/completions", f"traceparent: 00-{TRACE}-{SPAN}-01"), 200, 0.5)
    told = [json.loads(line) for line in lines]
    assert [(one["trace_id"], one["span_id"]) for one in told] == [(TRACE, SPAN)] * 2


@pytest.mark.parametrize(
    "value",
    ["", "00", f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE.upper()}-{SPAN}-01", f"00-{TRACE}-{SPAN}-0", f"00-{TRACE}-{SPAN}-01-more", f"01-{TRACE}-{SPAN}-01more", f"00-{TRACE}-{SPAN}-01\r\ntraceparent: 00-{TRACE}-{SPAN}-01"],
)  # fmt: skip
def test_what_is_no_traceparent_is_not_told(value):
    log, lines = logged("json")
    log.started(request("/v1/chat/completions", f"traceparent: {value}"))
    assert "trace_id" not in json.loads(lines[0])


def test_a_later_version_may_have_more_behind_the_flags():
    log, lines = logged("json")
    log.started(request("/v1/chat/completions", f"traceparent: 01-{TRACE}-{SPAN}-01-more"))
    assert json.loads(lines[0])["trace_id"] == TRACE
