"""The instrument around a mock: sessions of their own, their journal, their clock, and who may control them."""

from __future__ import annotations

import asyncio
import gc
import gzip
import http.client
import json
import threading
import tracemalloc
import urllib.parse
from types import SimpleNamespace

import pytest
from mocks import make_request
from steps import steps_of_turns

import oaiserve
from protocol.errors import ApiError
from protocol.instrument.calls import read_sought
from protocol.instrument.clock import SettableClock
from protocol.instrument.control import _list_calls, _wait_for_calls
from protocol.instrument.journal import MOST_BODY_BYTES, Journal, JournalRoom
from protocol.instrument.layer import Layer
from protocol.instrument.limits import read_limits
from protocol.instrument.request_key import PIECE_BYTES, request_key
from protocol.instrument.scripts import script_reader
from protocol.instrument.session import MOST_SESSIONS, Session, Sessions, SessionsRoom
from protocol.instrument.take import Take

CHAT = "/v1/chat/completions"
BODY = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}


class Answer:
    """What came back."""

    def __init__(self, answer):
        self.status = answer.status
        self.headers = answer.headers
        self.body = answer.read()

    def json(self):
        return json.loads(self.body)


def ask(server, method, path, body=None, **fields):
    """Return the answer to a request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    connection.request(method, path, data, {"content-type": "application/json", **headers})
    try:
        return Answer(connection.getresponse())
    finally:
        connection.close()


def calls(server, session="t", query=""):
    return ask(server, "GET", f"/s/{session}/_oaiserve/calls{query}").json()["calls"]


@pytest.fixture(scope="module")
def server():
    with oaiserve.start("mock", set={"server.max_body": "1M"}) as server:
        yield server


@pytest.fixture(autouse=True)
def fresh(server):
    """Let each test begin with no session."""
    yield
    for name in ask(server, "GET", "/_oaiserve/sessions").json()["sessions"]:
        if name:
            ask(server, "DELETE", f"/s/{name}/_oaiserve/session")


def test_a_session_answers_as_the_server_does(server):
    plain, within = ask(server, "POST", CHAT, BODY).json(), ask(server, "POST", f"/s/t{CHAT}", BODY).json()
    assert within["choices"] == plain["choices"] and within["usage"] == plain["usage"]


def test_the_journal_tells_what_came_and_what_went(server):
    ask(server, "POST", f"/s/t{CHAT}?a=b&api_key=sk-in-the-query", BODY, authorization="Bearer sk-in-the-head")
    (call,) = calls(server)
    assert call["request"]["json"] == BODY and call["request"]["method"] == "POST"
    assert call["request"]["path"] == f"{CHAT}?a=b"
    assert call["request"]["head"]["authorization"] == "***"
    assert call["answer"]["json"]["choices"][0]["message"]["content"] == "powered by openai"
    assert (call["status"], call["model"], call["stream"], call["ended"]) == (200, "gpt-4o", False, "done")
    assert "sk-in" not in json.dumps(call)


def test_the_journal_tells_of_a_stream(server):
    streamed = ask(server, "POST", f"/s/t{CHAT}", {**BODY, "stream": True}).body.decode()
    (call,) = calls(server)
    assert call["answer"]["text"] == streamed and call["stream"] is True and call["ended"] == "done"


def test_what_is_refused_is_in_the_journal(server):
    refused = ask(server, "POST", f"/s/t{CHAT}", {"model": "m"})
    unknown = ask(server, "GET", "/s/t/v1/no/such/path")
    assert [(call["status"], call["answer"]["json"]) for call in calls(server)] == [
        (400, refused.json()),
        (404, unknown.json()),
    ]


def test_what_is_no_api_is_not_in_the_journal(server):
    assert ask(server, "GET", "/s/t/health").status == 200
    assert calls(server) == []


def test_equal_requests_are_attempts(server):
    for body in (BODY, {"messages": BODY["messages"], "model": "gpt-4o"}, {**BODY, "model": "gpt-4.1"}, BODY):
        ask(server, "POST", f"/s/t{CHAT}", body)
    assert [call["attempt"] for call in calls(server)] == [1, 2, 1, 3]


def test_sessions_know_nothing_of_each_other(server):
    name = ask(server, "POST", "/s/one/v1/conversations", {}).json()["id"]
    assert ask(server, "GET", f"/s/one/v1/conversations/{name}").status == 200
    assert ask(server, "GET", f"/s/two/v1/conversations/{name}").status == 404
    assert ask(server, "GET", f"/v1/conversations/{name}").status == 404
    assert len(calls(server, "one")) == 2 and len(calls(server, "two")) == 1


@pytest.mark.parametrize(("what", "status", "kept"), [("calls", 200, 0), ("state", 404, 1), ("all", 404, 0)])
def test_reset_resets_exactly_that(server, what, status, kept):
    name = ask(server, "POST", "/s/t/v1/conversations", {}).json()["id"]
    assert ask(server, "POST", f"/s/t/_oaiserve/reset?what={what}").status == 204
    assert len(calls(server)) == kept
    assert ask(server, "GET", f"/s/t/v1/conversations/{name}").status == status


def test_the_servers_own_session_can_be_reset(server):
    name = ask(server, "POST", "/v1/conversations", {}).json()["id"]
    assert ask(server, "POST", "/_oaiserve/reset?what=state").status == 204
    assert ask(server, "GET", f"/v1/conversations/{name}").status == 404


def test_what_cannot_be_reset_is_named(server):
    answer = ask(server, "POST", "/s/t/_oaiserve/reset?what=call")
    assert answer.status == 400 and "calls" in answer.json()["error"]["message"]


def test_calls_are_found_by_what_they_have(server):
    ask(server, "POST", f"/s/t{CHAT}", BODY)
    ask(server, "POST", f"/s/t{CHAT}", {**BODY, "model": "o3"})
    ask(server, "POST", f"/s/t{CHAT}", {"model": "o3"})
    found = {
        query: [call["number"] for call in calls(server, query=query)]
        for query in ("?status=200", "?status=4xx", "?model=o*", "?model=o3&status=2xx", "?stream=true", "?since=0")
    }
    assert found == {
        "?status=200": [1, 2], "?status=4xx": [3], "?model=o*": [2, 3], "?model=o3&status=2xx": [2], "?stream=true": [],
        "?since=0": [1, 2, 3],
    }  # fmt: skip


def test_a_condition_that_is_none_is_named(server):
    answer = ask(server, "GET", "/s/t/_oaiserve/calls?statis=200")
    assert answer.status == 400 and answer.json()["error"]["message"].endswith("did you mean status?")


def test_verify_says_what_came_nearest(server):
    ask(server, "POST", f"/s/t{CHAT}", BODY)
    good = ask(server, "POST", "/s/t/_oaiserve/verify", {"model": "gpt-4o", "times": 1}).json()
    bad = ask(server, "POST", "/s/t/_oaiserve/verify", {"status": 200, "model": "o3"}).json()
    assert good == {"ok": True, "found": 1, "nearest": []}
    assert bad == {"ok": False, "found": 0, "nearest": [{"call": 1, "failed": "model: 'gpt-4o'"}]}


def test_wait_returns_once_they_have_come(server):
    ask(server, "POST", f"/s/t{CHAT}", BODY)
    assert ask(server, "GET", "/s/t/_oaiserve/calls/wait?count=1&timeout=60").json()["ok"] is True
    late = ask(server, "GET", "/s/t/_oaiserve/calls/wait?count=2&timeout=0").json()
    assert late["ok"] is False and late["found"] == 1


def test_time_moves_on_in_one_session_alone(server):
    def created(session):
        return ask(server, "POST", f"{session}{CHAT}", BODY).json()["created"]

    before = created("/s/t")
    ask(server, "POST", "/s/t/_oaiserve/clock", {"advance": 86400})
    assert created("/s/t") - before >= 86400 > created("") - before
    assert ask(server, "POST", "/s/t/_oaiserve/clock", {"advance": -1}).status == 400


def test_jobs_go_on_as_the_clock_does(server):
    job = {"model": "gpt-4o-mini", "training_file": "file-1"}
    text = b'{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}\n' * 10
    form = (
        b'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n--b\r\ncontent-disposition: form-data;'
        b' name="file"; filename="f.jsonl"\r\n\r\n' + text + b"\r\n--b--\r\n"
    )
    file = ask(server, "POST", "/s/t/v1/files", form, **{"content-type": "multipart/form-data; boundary=b"}).json()
    made = ask(server, "POST", "/s/t/v1/fine_tuning/jobs", {**job, "training_file": file["id"]}).json()
    ask(server, "POST", "/s/t/_oaiserve/clock", {"advance": 864000})
    assert ask(server, "GET", f"/s/t/v1/fine_tuning/jobs/{made['id']}").json()["status"] == "succeeded"


@pytest.mark.parametrize("name", ["a b", "é", "x" * 101, "", "a%2Fb"])
def test_a_name_that_none_can_have_is_refused(server, name):
    answer = ask(server, "POST", f"/s/{urllib.parse.quote(name, safe='%')}{CHAT}", BODY)
    assert answer.status == 404 and answer.json()["error"]["code"] == "session_not_found"


@pytest.mark.parametrize(
    "fields",
    [
        {"origin": "https://evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"host": "rebound.example"},
        {"origin": "null"},
    ],
)
def test_strangers_control_nothing(server, fields):
    answer = ask(server, "POST", "/_oaiserve/reset", **fields)
    assert answer.status == 403 and answer.json()["error"]["code"] == "control_not_allowed"


def test_a_stranger_is_refused_although_his_head_is_known():
    with oaiserve.start("mock", set={"server.trusted_proxies": "127.0.0.1"}) as server:
        assert ask(server, "GET", "/_oaiserve/sessions").status == 200
        for client, status in (("127.0.0.1", 200), ("192.0.2.7", 403), ("127.0.0.1", 200), ("192.0.2.7", 403)):
            assert ask(server, "GET", "/_oaiserve/sessions", **{"x-forwarded-for": client}).status == status


def test_who_has_the_control_key_may_call_from_anywhere():
    with oaiserve.start("mock", set={"server.control_key": "ctl-0123456789"}) as server:
        fields = {"host": "mock.example"}
        assert ask(server, "GET", "/_oaiserve/sessions", **fields).status == 403
        assert ask(server, "GET", "/_oaiserve/sessions", authorization="Bearer wrong", **fields).status == 403
        assert ask(server, "GET", "/_oaiserve/sessions", authorization="Bearer ctl-0123456789", **fields).status == 200


def test_a_kept_connection_learns_that_the_journal_ended(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)

    def send():
        connection.request("POST", f"/s/t{CHAT}", json.dumps(BODY), {"content-type": "application/json"})
        return connection.getresponse().read()

    send()
    send()
    ask(server, "DELETE", "/s/t/_oaiserve/session")
    send()
    connection.close()
    assert len(calls(server)) == 1


def test_a_journal_of_the_server_itself():
    with oaiserve.start("mock", set={"server.journal": "yes"}) as server:
        ask(server, "POST", CHAT, BODY)
        assert [call["status"] for call in ask(server, "GET", "/_oaiserve/calls").json()["calls"]] == [200]


# ---- parts by themselves --------------------------------------------------------------------------------------------


def test_journals_share_one_bound():
    room = JournalRoom(most_bytes=4_000)
    one, other = Journal(room), Journal(room)
    for number in range(20):
        journal = one if number % 2 else other
        journal.note_request(journal.begin(0, "GET", f"/{number}", "", ()), str(number), b"x" * 100)
    kept = sorted(int(entry.path[1:]) for entry in [*one.entries, *other.entries])
    assert kept == list(range(20 - len(kept), 20)) and 2 <= len(kept) <= 4
    assert one.dropped + other.dropped == 20 - len(kept)


def test_heads_and_notes_count_in_a_journal():
    for write in (
        lambda journal, entry: None,
        lambda journal, entry: journal.note_answer(entry, 200, [("x", "y" * 10_000)]),
        lambda journal, entry: [journal.note(entry, "z" * 1_000) for _ in range(10)],
    ):
        journal = Journal(JournalRoom(most_bytes=60_000))
        for number in range(20):
            write(journal, journal.begin(0, "GET", f"/{number}", "", [("a", "b" * 10_000)]))
        assert 2 <= len(journal.entries) <= 5 and journal.dropped == 20 - len(journal.entries)


def test_a_call_has_a_bounded_number_of_notes():
    journal = Journal(JournalRoom())
    entry = journal.begin(0, "GET", "/v1/realtime", "", ())
    for number in range(5_000):
        journal.note(entry, str(number))
    assert entry.notes == [str(number) for number in range(1_000)]


def session_in(room, name):
    return Session(name, lambda: 1000.0, room, lambda: None, keeps_journal=True)


def test_what_testers_say_takes_so_much_in_all_sessions():
    room = SessionsRoom(most_bytes=1_000)
    one, other = session_in(room, "one"), session_in(room, "other")
    one.hold("script", 600)
    other.hold("faults", 300)
    for refused in (lambda: other.hold("script", 200), lambda: one.hold("script", 300, more=True)):
        with pytest.raises(ApiError) as caught:
            refused()
        assert caught.value.code == "memory_full"
    one.hold("script", 100)
    one.hold("script", 100, more=True)
    other.hold("limits", 500)
    one.reset(["script"])
    one.hold("script", 200)
    other.end()
    one.hold("script", 1_000)


def test_a_session_that_has_ended_leaves_nothing_that_testers_said_for_the_collector():
    session = session_in(SessionsRoom(), "one")
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        session.use_script(script_reader({}, ()).script(json.dumps({"rules": [{"answer": "y" * 1_000_000}]}).encode()))
        session.put_faults({"m" * 200_000: "status 503"})
        held = tracemalloc.get_traced_memory()[0]
        session.end()
        left = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
        gc.enable()
    assert held - left > 1_200_000


def test_limits_keep_so_many_keys_in_all_sessions():
    room = SessionsRoom()
    room.limits.most = 4
    rules = read_limits([{"by": "key", "requests": "1/day"}])
    one, other = session_in(room, "one"), session_in(room, "other")
    for session in (one, other):
        session.limit(rules)
    for number in range(3):
        one.limits.admit(f"{number}" * 50_000, "m", "/", None)
    other.limits.admit("a", "m", "/", None)
    with pytest.raises(ApiError) as caught:
        other.limits.admit("b", "m", "/", None)
    assert caught.value.status == 429 and "Too many different keys" in caught.value.message
    assert all(len(str(subject)) < 200 for subject in one.limits._limiter._states)
    with pytest.raises(ApiError):
        one.limits.admit("0" * 50_000, "m", "/", None)
    one.end()
    other.limits.admit("b", "m", "/", None)


def test_a_seed_and_limits_have_a_bound():
    reader = script_reader({}, ())
    assert reader.script({"seed": "s" * 1_000}).seed
    with pytest.raises(ApiError, match="at most 1000 characters"):
        reader.script({"seed": "s" * 1_001})
    with pytest.raises(ValueError, match="at most 100"):
        read_limits([{"by": "key", "requests": "1/day"}] * 101)


def test_attempts_are_counted_of_so_many_requests_in_all_journals():
    room = JournalRoom(most_keys=3)
    one, other = Journal(room), Journal(room)

    def attempt(journal, key):
        entry = journal.begin(0, "GET", "/", "", ())
        journal.note_request(entry, key, b"")
        return entry.attempt

    assert [attempt(one, "a"), attempt(other, "a"), attempt(one, "a"), attempt(one, "b")] == [1, 1, 2, 1]
    assert [attempt(one, "c"), attempt(one, "a"), attempt(other, "a")] == [1, 3, 1]  # it had not come for the longest
    one.clear()
    assert [attempt(one, "a"), attempt(other, "a")] == [1, 2]


def journal_of(bodies, **bounds):
    """Return a journal of chats with these bodies."""
    journal = Journal(JournalRoom(**bounds))
    for number, body in enumerate(bodies):
        journal.note_request(journal.begin(0, "POST", CHAT, "", ()), str(number), body)
    return journal


def chats(count, **more):
    return [json.dumps({"messages": [{"role": "user", "content": f"hi {n}"}], **more}).encode() for n in range(count)]


def test_what_is_read_of_calls_is_kept_for_the_next_search_within_a_bound():
    journal = journal_of(chats(100), most_facts=2_000)
    assert len(read_sought({"user": "hi"}).among(journal)) == 100
    with_facts = [entry for entry in journal.entries if entry.facts is not None]
    assert with_facts == list(journal.entries)[-len(with_facts) :]
    assert len(with_facts) > 20 and sum(len(entry.request_body) for entry in with_facts) <= 2_000
    journal.clear()
    assert all(entry.facts is None for entry in with_facts)


@pytest.mark.parametrize("bodies", [chats(2_000), chats(50, padding=[[]] * 15_000)], ids=["many", "long"])
def test_others_have_their_turns_during_a_search(bodies):
    journal = journal_of(bodies)
    sought = read_sought({"user": {"re": "h.*[^0-9 ]$"}, "header": {"x-team": "red"}})
    for work in (lambda: sought.among(journal), lambda: sought.nearest(journal)):
        turns = steps_of_turns(work)
        assert len(turns) > 8 and max(turns) < 40_000


def test_a_listing_has_so_many_bytes_and_is_written_in_turns():
    journal = journal_of([])
    for _ in range(100):
        entry = journal.begin(0, "POST", CHAT, "", ())
        journal.note_answer(entry, 200, ())
        journal.note_data(entry, b"\x01" * 60_000, 0)
    session = SimpleNamespace(journal=journal)
    rounds = 0

    async def main():
        nonlocal rounds
        work = asyncio.ensure_future(_list_calls(session, make_request("GET", "/_oaiserve/calls")))
        while not work.done():
            rounds += 1
            await asyncio.sleep(0)
        return work.result()

    listing = asyncio.run(main()).body
    assert 32 << 20 < len(listing) < 33 << 20 and rounds > 20
    told = json.loads(listing)
    numbers = [call["number"] for call in told["calls"]]
    assert told["found"] == 100 and numbers == list(range(101 - len(numbers), 101))


def test_a_call_that_comes_during_a_search_ends_the_waiting():
    journal = journal_of(chats(5_000))
    request = make_request("GET", "/_oaiserve/calls/wait?count=1&timeout=600&user=late")

    async def main():
        waiting = asyncio.ensure_future(_wait_for_calls(SimpleNamespace(journal=journal), request))
        for _ in range(5):
            await asyncio.sleep(0)
        journal.note_request(
            journal.begin(0, "POST", CHAT, "", ()), "", b'{"messages":[{"role":"user","content":"late"}]}'
        )
        return json.loads((await asyncio.wait_for(waiting, 60)).body)

    assert asyncio.run(main())["found"] == 1


def test_long_bodies_are_cut():
    journal = Journal(JournalRoom())
    entry = journal.begin(0, "POST", "/", "", ())
    journal.note_request(entry, "", b"a" * (MOST_BODY_BYTES + 1))
    for _ in range(3):
        journal.note_data(entry, b"b" * (MOST_BODY_BYTES // 2), 1)
    journal.note_answer(entry, 200, ())
    shown = entry.as_json()
    assert shown["request"]["text"] == "a" * MOST_BODY_BYTES and shown["request"]["cut"] is True
    assert shown["answer"]["text"] == "b" * MOST_BODY_BYTES and shown["answer"]["cut"] is True


@pytest.mark.parametrize(
    ("one", "other", "are_equal"),
    [
        (b'{"a": 1, "b": [2]}', b'{"b":[2],"a":1}', True),
        (b'{"a": 1}', b'{"a": 2}', False),
        (b"[1", b"[1", True),
        (b"", b"{}", False),
    ],
)
def test_equal_requests_have_one_key(one, other, are_equal):
    keys = [request_key("POST", "/v1/x", "", "application/json", body) for body in (one, other)]
    assert (keys[0] == keys[1]) is are_equal


def test_a_forms_boundary_and_a_querys_order_say_nothing():
    forms = [b"--%b\r\nx: y\r\n\r\n1\r\n--%b--\r\n" % (name, name) for name in (b"one", b"other")]
    assert (
        len({request_key("POST", "/f", "", f"multipart/form-data; boundary={n}", f) for n, f in zip("ab", forms)}) == 1
    )
    assert request_key("GET", "/f", "a=1&b=2", "", b"") == request_key("GET", "/f", "b=2&a=1&api_key=k", "", b"")


def form_with(boundary, size):
    """Return a form of three parts; the first content has so many bytes."""
    contents = [b"a" * size, b"b" * 100, b"c" * 700_000]
    parts = b"".join(b"--%b\r\nx: y\r\n\r\n%b\r\n" % (boundary, content) for content in contents)
    return parts + b"--%b--\r\n" % boundary


def test_a_boundary_says_nothing_wherever_it_stands():
    """Also across the pieces that are hashed."""
    kind = "multipart/form-data; boundary=any"
    for size in [*range(PIECE_BYTES - 60, PIECE_BYTES + 10, 3), 3]:
        keys = {request_key("POST", "/f", "", kind, form_with(name, size)) for name in (b"one", b"another-boundary")}
        assert len(keys) == 1
    assert request_key("POST", "/f", "", kind, form_with(b"one", 4)) not in keys


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=one", "application/octet-stream", "application/json"])
def test_others_have_their_turns_while_a_long_body_is_hashed(kind):
    body = form_with(b"one", 20 << 20)
    assert len(steps_of_turns(lambda: request_key("POST", "/f", "", kind, body))) >= 8


def test_others_have_their_turns_while_a_short_body_becomes_a_long_one():
    body = gzip.compress(b'{"model":"m"' + b" " * (8 << 20) + b"}")
    request = make_request("POST", CHAT, body, [("content-type", "application/json"), ("content-encoding", "gzip")])
    session = Session("t", lambda: 0.0, SessionsRoom(), lambda: None, keeps_journal=True)
    take = Take(session, session.journal.begin(0, "POST", CHAT, "", ()))

    async def main():
        reading = asyncio.ensure_future(Layer(None, None, {})._read_all(request, take))
        rounds = 0
        while not reading.done():
            rounds += 1
            await asyncio.sleep(0)
        return rounds

    assert len(body) < 65_536 and asyncio.run(main()) > 8


def test_the_session_goes_that_was_not_used_for_longest():
    ended = []
    room = SessionsRoom()
    sessions = Sessions(lambda name: Session(name, lambda: 0.0, room, lambda: None, keeps_journal=True), ended.append)
    for number in range(MOST_SESSIONS):
        sessions.get(f"n{number}")
    sessions.get("n0")
    sessions.get("one more")
    assert [session.name for session in ended] == ["n1"] and len(sessions.all()) == MOST_SESSIONS + 1


def test_who_waits_for_a_status_learns_of_it_when_the_answer_begins():
    """A stream may go on for as long as nobody moves the clock."""
    with oaiserve.start("mock", set={"mock.first_delay": "3600"}) as server:
        session = server.session("t")
        found = []
        waiting = threading.Thread(target=lambda: found.extend(session.wait_for(status=200, timeout=30)))
        waiting.start()
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.request("POST", f"/s/t{CHAT}", json.dumps({**BODY, "stream": True}))
        waiting.join()
        assert [(call.status, call.ended) for call in found] == [(200, None)]
        connection.close()


def test_who_sleeps_wakes_when_the_clock_is_advanced():
    async def main():
        clock = SettableClock(lambda: 1000.0)
        sleepers = [asyncio.ensure_future(clock.sleep(seconds)) for seconds in (3600, 7200)]
        await asyncio.sleep(0)
        clock.advance(3600)
        await asyncio.wait_for(sleepers[0], 60)
        assert clock.now() == 4600 and not sleepers[1].done()
        sleepers[1].cancel()

    asyncio.run(main())


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_time_goes_forwards(seconds):
    with pytest.raises(ValueError):
        SettableClock(lambda: 0.0).advance(seconds)
