"""Faults as clients meet them: raw sockets against the mock and against a relay in front of it.

But for its ids the mock repeats itself, so an answer without a fault is what the one with it is held against, byte by byte.
"""

from __future__ import annotations

import json
import re
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import oaiserve
from protocol.instrument.faults.kinds import KINDS
from protocol.wire.sse import SseReader
from protocol.wire.websocket import FrameReader, TextMessage, encode_text

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
NATIVE = "/api/v1/services/aigc/text-generation/generation"
WORDS = "one two three four"
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture(scope="module")
def servers():
    """Give the mock and a relay in front of it, by their kinds."""
    settings = {"mock.text": WORDS, "mock.freeze": "yes", "server.journal": "yes"}
    with oaiserve.start("mock", set=settings) as mock:
        given = {"relay.base_url": f"{mock.url}/v1", "relay.api_key": "sk-0123456789abcdef", "server.journal": "yes"}
        with oaiserve.start("relay", set={**given, "relay.retries": "0"}, environ={}) as relay:
            yield {"mock": mock, "relay": relay}


@pytest.fixture(params=["mock", "relay"])
def server(request, servers):
    return servers[request.param]


class Came:
    """What came over a socket, and how it ended: "fin", "reset", or "open" after a while of silence."""

    def __init__(self, data, end):
        self.data = data
        self.end = end
        head, self.has_head, self.rest = data.partition(b"\r\n\r\n")
        self.head = head.decode("latin-1")

    @property
    def status(self):
        return int(self.head.split()[1]) if self.has_head else 0

    def field(self, name):
        match = re.search(rf"\r\n{name}: ([^\r]*)", self.head, re.IGNORECASE)
        return match[1] if match else None

    @property
    def body(self):
        """The body's bytes, without its framing, and with ids that are all the same."""
        data = b"".join(self.chunks) if "transfer-encoding: chunked" in self.head else self.rest
        return re.sub(rb"(?<=chatcmpl-)[0-9a-f]+|(?<=_)[0-9a-f]{20,60}", lambda match: b"0" * len(match[0]), data)

    @property
    def chunks(self):
        rest, found = self.rest, []
        while rest:
            line, _, rest = rest.partition(b"\r\n")
            if not re.fullmatch(b"[0-9a-f]+", line):
                break
            found.append(rest[: int(line, 16)])
            rest = rest[int(line, 16) + 2 :]
        return [chunk for chunk in found if chunk]

    @property
    def is_whole(self):
        if "transfer-encoding: chunked" in self.head:
            return self.rest.endswith(b"0\r\n\r\n")
        return len(self.rest) == int(self.field("content-length"))


def head_of(method, path, fields, size):
    lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", "authorization: Bearer sk-mine-0123456789", *fields]
    return "\r\n".join([*lines, "content-type: application/json", f"content-length: {size}", "", ""]).encode()


def read(sock, *, patience):
    data = b""
    sock.settimeout(patience)
    while True:
        try:
            piece = sock.recv(65536)
        except ConnectionResetError:
            return Came(data, "reset")
        except socket.timeout:
            return Came(data, "open")
        if not piece:
            return Came(data, "fin")
        data += piece


def ask(server, fault, body, path=CHAT, *, fields=(), patience=None, keep=False):
    """Send one request on a socket of its own, and read until the connection's end, or the end of patience."""
    data = json.dumps(body).encode()
    asked = [f"x-oaiserve-fault: {fault}"] if fault else []
    asked += [] if keep or patience else ["connection: close"]
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.sendall(head_of("POST", path, [*asked, *fields], len(data)) + data)
        return read(sock, patience=patience or 30)


def chat(stream=True, **more):
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "stream": stream, **more}


def calling(stream=True):
    return chat(stream, tools=[TOOL], tool_choice={"type": "function", "function": {"name": "get_weather"}})


def usage(stream=True):
    return chat(stream, stream_options={"include_usage": True})


def events(body):
    return [event.data if event.data == "[DONE]" else json.loads(event.data) for event in SseReader().feed(body)]


def said(body):
    chunks = [event for event in events(body) if event != "[DONE]"]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk.get("choices", ()))


def last_call(server):
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.sendall(b"GET /_oaiserve/calls HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
        return json.loads(read(sock, patience=30).body)["calls"][-1]


def notes(server):
    return last_call(server)["notes"]


# ---- each kind --------------------------------------------------------------------------------------------------


def broken(end, words):
    """Expect a stream that breaks off behind these words."""

    def check(came, sound):
        assert came.end == end
        assert not came.is_whole
        assert said(came.body) == words
        assert sound.body.startswith(came.body)

    return check


def nothing(end):
    def check(came, sound):
        assert (came.data, came.end) == (b"", end)

    return check


def same(came, sound):
    assert came.body == sound.body
    assert came.is_whole


def reads(reader, wanted):
    """Expect a whole body of which this is read."""

    def check(came, sound):
        assert came.is_whole
        assert reader(came.body) == wanted
        assert reader(sound.body) != wanted

    return check


def first_choice(body):
    return json.loads(body)["choices"][0]


def chat_message(body):
    choice = first_choice(body)
    return choice["message"]["content"], choice["message"]["refusal"], choice["finish_reason"]


def called(body):
    return first_choice(body)["message"]["tool_calls"][0]["function"]


def length_lies(came, sound):
    assert int(came.field("content-length")) == len(came.rest) + 10
    assert came.body == sound.body
    assert came.end == "fin"


def length_lies_short(came, sound):
    assert int(came.field("content-length")) == len(came.rest) - 10
    assert came.body == sound.body


def bad_chunk(came, sound):
    assert came.rest.endswith(b"\r\nthis is no chunk\r\n")
    assert said(came.body) == "one "
    assert came.end == "fin"


def error_status(came, sound):
    error = json.loads(came.body)["error"]
    assert (came.status, came.field("retry-after"), error["code"]) == (429, "1", "rate_limit_exceeded")


def html(came, sound):
    assert (came.status, came.field("content-type")) == (502, "text/html")
    assert b"502 Bad Gateway" in came.body


def half(came, sound):
    assert came.body == sound.body[: len(sound.body) // 2]
    assert came.is_whole


def one_by_one(came, sound):
    assert came.body == sound.body
    assert {len(chunk) for chunk in came.chunks} == {1}


def by_threes(came, sound):
    assert came.body == sound.body
    assert len(came.chunks) == -(-sound.body.count(b"\n\n") // 3)


def crlf(came, sound):
    assert came.body == sound.body.replace(b"\n", b"\r\n")


def comments(came, sound):
    assert came.body.replace(b": comment\n\n", b"") == sound.body
    assert came.body.count(b": comment\n\n") == sound.body.count(b"\n\n") - 1


def kinds_of(body):
    return [event if event == "[DONE]" else sorted(event)[0] for event in events(body)][-2:]


CASES = [
    ("reset", chat(), nothing("reset")),
    ("reset after=2tok", chat(), broken("reset", "one two ")),
    ("close", chat(), nothing("fin")),
    ("close after=2tok", chat(), broken("fin", "one two ")),
    ("stall", chat(), nothing("open")),
    ("stall after=2tok", chat(), broken("open", "one two ")),
    ("stall after=2tok for=50ms", chat(), same),
    ("latency latency=20ms jitter=10ms", chat(), same),
    ("bandwidth rate=50kB", chat(), same),
    ("slicer average_size=20B size_variation=10B", chat(), same),
    ("slow_close delay=50ms", chat(), same),
    ("status 429 code=rate_limit_exceeded retry-after=1", chat(), error_status),
    ("html 502", chat(False), html),
    ("length +10", chat(False), length_lies),
    ("length -10", chat(False), length_lies_short),
    ("chunk bad after=1tok", chat(), bad_chunk),
    ("json truncated", chat(False), half),
    ("cut after=2tok", chat(), reads(said, "one two ")),
    ("no-finish", chat(), reads(lambda body: b'"finish_reason":"stop"' in body, False)),
    ("no-done", chat(), reads(lambda body: body.count(b"[DONE]"), 0)),
    ("double-done", chat(), reads(lambda body: body.count(b"[DONE]"), 2)),
    ("comment", chat(), comments),
    ("crlf", chat(), crlf),
    ("split 1B", chat(), one_by_one),
    ("glue 3", chat(), by_threes),
    ("dup after=1tok", chat(), reads(said, "one one two three four")),
    ("error after=1tok", chat(), reads(kinds_of, ["choices", "error"])),
    ("no-usage", usage(), reads(lambda body: b'"usage"' in body, False)),
    ("no-usage", chat(False), reads(lambda body: "usage" in json.loads(body), False)),
    ("usage-with-choices", usage(), reads(lambda body: b'"choices":[]' in body, False)),
    ("filter after=2tok", chat(False), reads(chat_message, ("one two ", None, "content_filter"))),
    ("refusal message=No", chat(False), reads(chat_message, (None, "No", "stop"))),
    ("args-bad", calling(False), reads(lambda body: called(body)["arguments"][-1], '"')),
    ("unknown-tool", calling(False), reads(lambda body: called(body)["name"], "no_such_tool")),
    ("empty", chat(False), reads(chat_message, ("", None, "stop"))),
]


@pytest.mark.parametrize(
    ("fault", "body", "check"), CASES, ids=[f"{row[0]}, stream={row[1]['stream']}" for row in CASES]
)
def test_each_kind_on_a_raw_socket(server, fault, body, check):
    sound = ask(server, None, body)
    is_silent = fault.startswith("stall") and "for=" not in fault
    came = ask(server, fault, body, patience=0.3 if is_silent else None)
    check(came, sound)
    if came.has_head:
        assert came.field("x-oaiserve-fault") == fault
    if sound.end == "fin" and not is_silent:
        assert notes(server) == []


def test_each_kind_is_above_but_the_one_that_needs_other_words():
    assert {row[0].split()[0] for row in CASES} == set(KINDS)


def test_split_utf8_cuts_each_character(server):
    body = {**chat(), "messages": [{"role": "user", "content": "hi"}]}
    came = ask(server, "split utf8", body)
    assert came.is_whole
    assert notes(server) == ["fault_skipped: split utf8: the answer has no character of several bytes"]


# ---- what says that it cannot -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "body", "words"),
    [
        ("cut", chat(False), "does not apply to an answer that is no stream"),
        ("length +1", chat(), "does not apply to an event stream"),
        ("args-bad", chat(), "the answer calls no function"),
        ("reset after=99tok", chat(), "before it was due"),
    ],
)
def test_what_cannot_be_applied_is_in_the_journal(server, fault, body, words):
    came, sound = ask(server, fault, body), ask(server, None, body)
    assert came.body == sound.body
    ask(server, fault, body)
    (note,) = notes(server)
    assert note.startswith(f"fault_skipped: {fault}: ")
    assert words in note
    call = last_call(server)
    assert call["fault"] is None  # a call says no fault of its own that it has not had


def test_a_header_that_means_nothing_is_refused(server):
    came = ask(server, "statsu 503", chat())
    assert came.status == 400
    assert json.loads(came.body)["error"]["code"] == "invalid_fault"
    assert "did you mean status?" in json.loads(came.body)["error"]["message"]


def test_the_header_never_goes_upstream(servers):
    before = len(servers["mock"].requests)
    came = ask(servers["relay"], "dup after=1tok", chat())
    assert came.status == 200
    (request,) = list(servers["mock"].requests)[before:]
    assert "x-oaiserve-fault" not in request.fields
    assert said(came.body) == "one one two three four"


def test_the_upstream_is_not_asked_for_what_has_no_answer(servers):
    before = len(servers["mock"].requests)
    for fault in ("reset", "close", "status 503", "html 502"):
        ask(servers["relay"], fault, chat())
    assert len(servers["mock"].requests) == before
    ask(servers["relay"], "reset after=0B", chat())
    assert len(servers["mock"].requests) == before + 1


# ---- where a fault comes from -----------------------------------------------------------------------------------


def control(server, method, path, value=None):
    data = b"" if value is None else json.dumps(value).encode()
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.sendall(head_of(method, path, ["connection: close"], len(data)) + data)
        return read(sock, patience=30)


def test_sources_in_their_order(server):
    assert control(server, "PUT", "/s/o/_oaiserve/faults", {"gpt-*": "status 503", "*": "status 500"}).status == 200
    path = f"/s/o{CHAT}"
    assert ask(server, None, chat(), path).status == 503
    assert ask(server, None, chat(model="other"), path).status == 500
    assert ask(server, "status 418", chat(), path).status == 418
    assert ask(server, None, chat(), f"/s/other{CHAT}").status == 200
    assert ask(server, None, chat(model="error-429-insufficient_quota"), f"/s/other{CHAT}").status == 429
    assert ask(server, "status 418", chat(model="error-429-insufficient_quota"), f"/s/other{CHAT}").status == 418
    assert control(server, "DELETE", "/s/o/_oaiserve/faults").status == 204
    assert ask(server, None, chat(), path).status == 200


def test_faults_of_all_sessions(server):
    ask(server, None, chat(), f"/s/a1{CHAT}")
    assert control(server, "PUT", "/_oaiserve/faults?sessions=all", "status 503").status == 200
    assert [ask(server, None, chat(), path).status for path in (CHAT, f"/s/a1{CHAT}")] == [503, 503]
    assert json.loads(control(server, "GET", "/s/a1/_oaiserve/faults").body) == {"faults": {"*": "status 503"}}
    assert control(server, "DELETE", "/_oaiserve/faults?sessions=all").status == 204
    assert [ask(server, None, chat(), path).status for path in (CHAT, f"/s/a1{CHAT}")] == [200, 200]


@pytest.mark.parametrize("value", [{"*": "statsu"}, {"*": 3}, ["status 503"], 3])
def test_control_refuses_what_is_no_fault(server, value):
    assert control(server, "PUT", "/_oaiserve/faults", value).status == 400


def test_first_two_then_no_more(server):
    control(server, "PUT", "/s/f/_oaiserve/faults", {"*": "status 503 retry-after=1 first 2"})
    assert [ask(server, None, chat(), f"/s/f{CHAT}").status for _ in range(4)] == [503, 503, 200, 200]
    control(server, "POST", "/s/f/_oaiserve/reset?what=faults")
    assert ask(server, None, chat(), f"/s/f{CHAT}").status == 200


def test_between_goes_by_the_sessions_clock(server):
    control(server, "PUT", "/s/b/_oaiserve/faults", {"*": "status 503 between 10m and 20m"})
    statuses = []
    for _ in range(3):
        statuses.append(ask(server, None, chat(), f"/s/b{CHAT}").status)
        control(server, "POST", "/s/b/_oaiserve/clock", {"advance": 630})
    assert statuses == [200, 503, 200]


def test_a_stall_ends_when_the_sessions_clock_is_advanced(server):
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        data = json.dumps(chat()).encode()
        fields = ["x-oaiserve-fault: stall after=1tok for=60m", "connection: close"]
        sock.sendall(head_of("POST", f"/s/clock{CHAT}", fields, len(data)) + data)
        sock.settimeout(30)
        begin = b""
        while b'"one ' not in begin:
            begin += sock.recv(65536)
        control(server, "POST", "/s/clock/_oaiserve/clock", {"advance": 3601})
        assert read(sock, patience=30).data.endswith(b"[DONE]\n\n\r\n0\r\n\r\n")


def test_configuration(servers):
    settings = {"mock.text": WORDS, "faults.gpt-4.1*": "status 503 once"}
    with oaiserve.start("mock", set=settings) as mock:
        statuses = [ask(mock, None, chat(model=model)).status for model in ("gpt-4o", "gpt-4.1-mini", "gpt-4.1-mini")]
    assert statuses == [200, 503, 200]
    with pytest.raises(oaiserve.UsageError, match="did you mean status"):
        oaiserve.load_settings(set={"faults.*": "statsu 503"})


@pytest.fixture(scope="module")
def bare():
    """Give a mock on which nothing is switched on."""
    with oaiserve.start("mock", set={"mock.text": WORDS, "server.journal": "no"}) as mock:
        yield mock


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, chat()),
        (CHAT, chat(False)),
        (CHAT, calling(False)),
        (RESPONSES, {"input": "hi"}),
        (RESPONSES, {"input": "hi", "stream": True}),
        ("/v1/completions", {"prompt": "hi"}),
        ("/v1/embeddings", {"input": "hi"}),
        ("/v1/images/generations", {"prompt": "hi"}),
    ],
)
def test_models_ask_the_mock_for_errors_with_nothing_switched_on(bare, path, body):
    for _ in range(2):
        came = ask(bare, None, {**body, "model": "error-429-insufficient_quota"}, path)
        assert (came.status, json.loads(came.body)["error"]["type"]) == (429, "insufficient_quota")
        assert came.field("x-oaiserve-fault") == "status 429 code=insufficient_quota"
    assert ask(bare, None, {**body, "model": "gpt-4o"}, path).status in (200, 400)


def test_models_ask_the_mock_for_errors_within_streams(bare):
    late = ask(bare, None, chat(model="error-late-500-server_error")).body
    assert said(late) == "one "
    assert events(late)[-1]["error"]["code"] == "server_error"
    first = ask(bare, None, {"model": "error-event-server_error", "input": "hi", "stream": True}, RESPONSES).body
    assert [event["type"] for event in typed(first)] == ["error"]


@pytest.mark.parametrize("model", ["error-", "error-200", "error-prone model", "my-error-429-x"])
def test_models_that_only_look_like_it_answer(bare, model):
    for body in (chat(model=model), {**calling(), "model": model}):
        assert ask(bare, None, body).status == 200


# ---- the same for everybody -------------------------------------------------------------------------------------

FAULTS = {
    "a-*": "status 503 p=0.3", "b-*": "reset after=40B p=0.4", "c-*": "slicer average_size=30B size_variation=20B p=0.5",
    "d-*": "cut after=2tok first 1 each",
}  # fmt: skip


def outcomes(server, clients, session, *, meanwhile=False):
    """Return what became of each of 48 requests, each of which is sent three times, with so many clients at once."""
    control(server, "DELETE", f"/s/{session}/_oaiserve/session")
    control(server, "PUT", f"/s/{session}/_oaiserve/faults", FAULTS)
    requests = [chat(model=f"{family}-{number}") for family in "abcd" for number in range(12)] * 3
    came = {}
    lock = threading.Lock()

    def one(body):
        answer = ask(server, None, body, f"/s/{session}{CHAT}")
        with lock:
            came.setdefault(body["model"], []).append((answer.status, answer.body, answer.field("x-oaiserve-fault")))

    others = threading.Thread(target=outcomes, args=(server, 8, "noise")) if meanwhile else None
    if others is not None:
        others.start()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(one, requests))
    if others is not None:
        others.join()
    # Equal requests that are under way at once have no order among themselves.
    return {model: sorted(answers, key=repr) for model, answers in came.items()}


def test_same_requests_meet_the_same_faults_however_many_clients_there_are(server):
    first = outcomes(server, 1, "t")
    faulted = [answer for answers in first.values() for answer in answers if answer[2]]
    assert 30 < len(faulted) < 114
    assert outcomes(server, 8, "t") == first
    assert outcomes(server, 64, "t", meanwhile=True) == first
    assert outcomes(server, 8, "u") != first


# ---- other shapes -----------------------------------------------------------------------------------------------


def response(stream=True, **more):
    return {"model": "gpt-4o", "input": "hi", "stream": stream, **more}


def typed(body):
    return [json.loads(event.data) for event in SseReader().feed(body)]


def output_of(value):
    (item,) = value["output"]
    return item


CALLED = {
    "tools": [{"type": "function", **TOOL["function"]}], "tool_choice": {"type": "function", "name": "get_weather"},
}  # fmt: skip


def test_responses_streamed_end_early(server):
    sound = typed(ask(server, None, response(), RESPONSES).body)
    assert sound[-1]["type"] == "response.completed"
    for fault, check in {
        "cut after=2tok": lambda found: found[-1]["delta"] == "two ",
        "no-finish": lambda found: found[-1]["type"] == "response.output_item.done",
        "error after=1tok code=server_error": lambda found: (
            (found[-1]["type"], found[-1]["code"]) == ("error", "server_error")
        ),
        "no-usage": lambda found: found[-1]["response"]["usage"] is None,
    }.items():
        came = ask(server, fault, response(), RESPONSES)
        assert came.is_whole
        assert check(typed(came.body)), fault
        assert notes(server) == []


@pytest.mark.parametrize(
    ("fault", "kind", "last", "content"),
    [
        ("filter after=2tok", "response.output_text.delta", "response.incomplete",
         {"type": "output_text", "text": "one two "}),
        ("refusal message=No", "response.refusal.delta", "response.completed", {"type": "refusal", "refusal": "No"}),
        ("empty", "response.output_text.delta", "response.completed", {"type": "output_text", "text": ""}),
    ],
)  # fmt: skip
def test_responses_streamed_mean_the_same_everywhere(server, fault, kind, last, content):
    found = typed(ask(server, fault, response(), RESPONSES).body)
    text = content.get("text", content.get("refusal"))
    assert "".join(event["delta"] for event in found if event["type"] == kind) == text
    assert found[-1]["type"] == last
    part = output_of(found[-1]["response"])["content"][0]
    assert {name: part[name] for name in content} == content
    done = [event for event in found if event["type"] == "response.content_part.done"][0]["part"]
    assert {name: done[name] for name in content} == content
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    names = re.findall(rb"event: ([^\n]*)", ask(server, fault, response(), RESPONSES).body)
    assert names == [event["type"].encode() for event in found]
    plain = json.loads(ask(server, fault, response(False), RESPONSES).body)
    part = output_of(plain)["content"][0]
    assert {name: part[name] for name in content} == content


def test_responses_that_call_what_nobody_can_carry_out(server):
    for stream in (True, False):
        came = ask(server, "args-bad", response(stream, **CALLED), RESPONSES).body
        whole = typed(came)[-1]["response"] if stream else json.loads(came)
        with pytest.raises(ValueError, match="delimiter|Expecting|Unterminated"):
            json.loads(output_of(whole)["arguments"])
        if stream:
            deltas = [event["delta"] for event in typed(came) if event["type"].endswith("arguments.delta")]
            assert "".join(deltas) == output_of(whole)["arguments"]
        came = ask(server, "unknown-tool", response(stream, **CALLED), RESPONSES).body
        whole = typed(came)[-1]["response"] if stream else json.loads(came)
        assert output_of(whole)["name"] == "no_such_tool"


def native(**parameters):
    return {"model": "qwen-plus", "input": {"messages": [{"role": "user", "content": "hi"}]}, "parameters": parameters}


def test_native_streams(servers):
    fields = ["x-dashscope-sse: enable"]
    sound = ask(servers["mock"], None, native(incremental_output=True), NATIVE, fields=fields)
    assert len(typed(sound.body)) > 3
    cut = ask(servers["mock"], "cut after=2tok", native(incremental_output=True), NATIVE, fields=fields)
    assert [event["output"] for event in typed(cut.body)] == [event["output"] for event in typed(sound.body)][:2]
    failed = ask(servers["mock"], "error after=1tok code=InternalError", native(), NATIVE, fields=fields)
    assert typed(failed.body)[-1]["code"] == "InternalError"
    assert b"event:error" in failed.body
    status = ask(servers["mock"], "status 429 code=Throttling", native(), NATIVE)
    assert (status.status, json.loads(status.body)["code"]) == (429, "Throttling")


def test_a_native_answer_is_filtered_by_an_error(servers):
    """DashScope has no finish reason for it: "DataInspectionFailed" comes in the answer's place, or behind its words."""
    server, fields = servers["mock"], ["x-dashscope-sse: enable"]
    plain = ask(server, "filter", native(), NATIVE)
    assert plain.status == 400 and json.loads(plain.body)["code"] == "DataInspectionFailed"
    assert json.loads(plain.body).keys() == {"code", "message", "request_id"} and plain.is_whole
    assert plain.field("x-oaiserve-fault") == "filter"
    call = last_call(server)
    assert (call["fault"], call["status"], call["notes"]) == ("filter", 400, [])
    streamed = ask(server, "filter after=1tok", native(incremental_output=True), NATIVE, fields=fields)
    sound = ask(server, None, native(incremental_output=True), NATIVE, fields=fields)
    assert [event.get("output") for event in typed(streamed.body)] == [typed(sound.body)[0]["output"], None]
    assert typed(streamed.body)[-1]["code"] == "DataInspectionFailed" and b"HTTP_STATUS/400" in streamed.body
    assert len(typed(ask(server, "filter", native(), NATIVE, fields=fields).body)) == 1
    assert notes(server) == []


# ---- WebSockets -------------------------------------------------------------------------------------------------

OPENING = (
    "GET /v1/responses HTTP/1.1\r\nhost: 127.0.0.1\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "authorization: Bearer sk-mine-0123456789\r\n{fault}\r\n"
)


def talk(server, fault, *, patience):
    """Ask for a response over a WebSocket; return the events, and what the socket's end was."""
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.sendall(OPENING.format(fault=f"x-oaiserve-fault: {fault}\r\n" if fault else "").encode())
        sock.settimeout(30)
        begin = b""
        while b"\r\n\r\n" not in begin:
            piece = sock.recv(65536)
            if not piece:
                break
            begin += piece
        if b" 101 " not in begin[:20]:
            return begin, "refused"
        ask_for = {"type": "response.create", "model": "gpt-4o", "input": "hi"}
        sock.sendall(encode_text(json.dumps(ask_for), b"mask"))
        came = read(sock, patience=patience)
    reader = FrameReader("client")
    reader.feed(begin.partition(b"\r\n\r\n")[2] + came.data)
    found = []
    while isinstance(event := reader.next_event(), TextMessage):
        found.append(json.loads(event.text))
    return found, came.end


def test_websockets(server):
    sound, end = talk(server, None, patience=0.5)
    assert (sound[-1]["type"], end) == ("response.completed", "open")
    found, end = talk(server, "reset after=2tok", patience=5)
    assert (found[-1]["delta"], end) == ("two ", "reset")
    found, end = talk(server, "cut after=2tok", patience=5)
    assert (found[-1]["delta"], end) == ("two ", "fin")
    found, end = talk(server, "stall after=2tok", patience=0.5)
    assert (found[-1]["delta"], end) == ("two ", "open")
    found, end = talk(server, "no-finish", patience=0.5)
    assert "response.completed" not in {event["type"] for event in found}
    found, end = talk(server, "error after=1tok code=server_error", patience=5)
    assert found[-1]["error"]["code"] == "server_error"
    found, end = talk(server, "empty", patience=0.5)
    assert output_of(found[-1]["response"])["content"][0]["text"] == ""
    refused, end = talk(server, "status 503", patience=5)
    assert refused.startswith(b"HTTP/1.1 503 ")
    assert end == "refused"
