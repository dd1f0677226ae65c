"""Faults done to answers, on a server whose time stands still: the bytes that arrive, and how the connection ends.

Each answer comes in four forms, as backends give them: whole, paced, pushed, iterated. A fault must not tell them apart.
"""

from __future__ import annotations

import json
import re

import pytest
from test_server import EVENTS, House, Pushing, request

from protocol.errors import ApiError
from protocol.exchange import Paced, Response
from protocol.instrument.faults.draws import Draw
from protocol.instrument.faults.injection import injected, replaces_answer, stand_in
from protocol.instrument.faults.kinds import KINDS
from protocol.instrument.faults.language import parse_fault
from protocol.openai.completions import Choice, ChoiceCall, CompletionHead, chat_completion, chat_frames, text_frames
from protocol.wire.json_text import encode_json
from protocol.wire.sse import SseReader

HEAD = CompletionHead("chatcmpl-1", 1700000000, "gpt-4o", 3)
TALK = Choice(["one ", "two ", "three ", "four"], "stop")
CALL = Choice([], "tool_calls", calls=[ChoiceCall("function", "call_1", "get_weather", ['{"city":', '"Oslo"}'])])
JSON = [("content-type", "application/json")]
FORMS = ("whole", "paced", "pushed", "iterated")


@pytest.fixture(autouse=True)
def house(request):
    house = House()
    yield house
    try:
        house.check()
    finally:
        house.loop.close()


class Seen:
    """A witness, and who notes what was skipped."""

    def __init__(self):
        self.data = b""
        self.is_cut = False
        self.notes = []

    def took(self, data):
        self.data += data

    def cut(self):
        self.is_cut = True


async def iterate(pieces):
    for piece in pieces:
        yield piece


class Sending(Pushing):
    """A pushed body that sends its pieces, and ends."""

    def __init__(self, pieces):
        super().__init__()
        self.pieces = list(pieces)

    def begin(self, sink):
        self.sink = sink
        self.resume()

    def resume(self):
        super().resume()
        while self.pieces and not self.paused and not self.cancelled:
            self.sink.push(self.pieces.pop(0))
            if not self.pieces and not self.cancelled:
                self.sink.end(b"")


def in_form(form, pieces):
    if form == "whole":
        return b"".join(pieces)
    if form == "paced":
        return Paced(pieces, first_delay=0.1, delay=0.1)
    if form == "pushed":
        return Sending(pieces)
    return iterate(pieces)


def chat(include_usage=False):
    return chat_frames(HEAD, [TALK], include_usage=include_usage)


class Faulty:
    """A house whose only endpoint answers with a fault."""

    def __init__(self, house, text, make, *, seed="seed", window=None):
        self.house = house
        self.seen = Seen()
        self.bodies = []
        fault = parse_fault(text)

        def answer(request):
            draw = Draw(seed, fault.text)
            if replaces_answer(fault):
                return stand_in(fault, draw, 1700000000.0, self.seen.notes.append, self.seen)
            response = make()
            self.bodies.append(response.body)
            return injected(response, fault, draw, self.seen.notes.append, self.seen, has_body=request.method != "HEAD")

        path = f"/faulty{len(house.endpoints)}"  # the server remembers whom it asked for a path
        house.add(path, answer)
        self.client = house.client(window=window)
        self.client.send(request(path))

    def received(self):
        return self.client.received

    def body(self, seconds=2.0):
        """Return the body, once so much time has passed."""
        self.house.loop.advance(seconds)
        (reply,) = self.client.replies("GET")
        assert reply.whole
        return reply.body

    @property
    def is_reset(self):
        return self.client.transport.socket.resets


def streaming(pieces, form="iterated", fields=EVENTS):
    return lambda: Response(200, fields, in_form(form, pieces))


def plain(value, form="whole"):
    body = encode_json(value)
    return lambda: Response(200, JSON, in_form(form, [body[:9], body[9:]]), len(body))


def events(body):
    """Return the events of a stream: JSON, or the text of [DONE]."""
    return [event.data if event.data == "[DONE]" else json.loads(event.data) for event in SseReader().feed(body)]


def said(body):
    """Return what a stream of chunks says."""
    chunks = [event for event in events(body) if event != "[DONE]"]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk.get("choices", ()))


def finish_reasons(body):
    chunks = [event for event in events(body) if event != "[DONE]"]
    reasons = [choice.get("finish_reason") for chunk in chunks for choice in chunk.get("choices", ())]
    return [reason for reason in reasons if reason]


# ---- events: what arrives ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("text", "words", "reasons", "dones"),
    [
        ("cut after=2tok", "one two ", [], 0),
        ("cut after=0ev", "", [], 0),
        ("cut after=3ev", "one two ", [], 0),
        ("no-finish", "one two three four", [], 1),
        ("no-done", "one two three four", ["stop"], 0),
        ("double-done", "one two three four", ["stop"], 2),
        ("comment", "one two three four", ["stop"], 1),
        ("crlf", "one two three four", ["stop"], 1),
        ("split 1B", "one two three four", ["stop"], 1),
        ("glue 3", "one two three four", ["stop"], 1),
        ("dup after=2tok", "one two two three four", ["stop"], 1),
        ("no-usage", "one two three four", ["stop"], 1),
        ("usage-with-choices", "one two three four", ["stop"], 1),
        ("filter after=2tok", "one two ", ["content_filter"], 1),
        ("filter", "", ["content_filter"], 1),
        ("refusal", "", ["stop"], 1),
        ("empty", "", ["stop"], 1),
    ],
)
def test_chat_streams_say_what_is_left(house, form, text, words, reasons, dones):
    faulty = Faulty(house, text, streaming(chat(include_usage=True), form))
    body = faulty.body()
    assert said(body) == words
    assert finish_reasons(body) == reasons
    assert events(body).count("[DONE]") == dones
    assert faulty.seen.notes == []
    assert faulty.seen.data == body
    assert b"x-oaiserve-fault: " + text.encode() in faulty.received()


def test_sound_stream_is_what_the_table_above_is_held_against(house):
    body = b"".join(chat(include_usage=True))
    assert (said(body), finish_reasons(body), events(body).count("[DONE]")) == ("one two three four", ["stop"], 1)


def usages(body):
    chunks = [event for event in events(body) if event != "[DONE]"]
    return [(len(chunk["choices"]), chunk["usage"] is not None) for chunk in chunks if "usage" in chunk]


def test_no_usage_leaves_no_trace_of_it(house):
    assert usages(Faulty(house, "no-usage", streaming(chat(include_usage=True))).body()) == []


def test_usage_comes_with_choices(house):
    before = usages(b"".join(chat(include_usage=True)))
    assert before[-1] == (0, True)
    after = usages(Faulty(house, "usage-with-choices", streaming(chat(include_usage=True))).body())
    assert after[-1] == (1, True)
    assert all(count for count, _ in after)


def test_crlf_ends_every_line(house):
    body = Faulty(house, "crlf", streaming(chat())).body()
    assert body.replace(b"\r\n", b"") == b"".join(chat()).replace(b"\n", b"")
    assert body.count(b"\r\n") == body.count(b"\n") == b"".join(chat()).count(b"\n")


def test_comments_stand_between_events(house):
    every = Faulty(house, "comment", streaming(chat())).body()
    assert every.count(b": comment\n\n") == len(events(every)) - 1  # behind each, and none behind [DONE]
    faulty = Faulty(house, "comment after=2ev", streaming(chat())).body()
    assert faulty.partition(b": comment\n\n")[0].count(b"\n\n") == 2


def chunk_sizes(received):
    """Return the sizes of the chunks of a body (RFC 9112 §7.1)."""
    rest = received.partition(b"\r\n\r\n")[2]
    sizes = []
    while rest:
        line, _, rest = rest.partition(b"\r\n")
        size = int(line, 16)
        sizes.append(size)
        rest = rest[size + 2 :]
    return sizes


def test_split_sends_bytes_one_by_one(house):
    faulty = Faulty(house, "split 1B", streaming(chat()))
    faulty.body()
    assert chunk_sizes(faulty.received()) == [1] * len(b"".join(chat())) + [0]


def test_split_utf8_cuts_within_characters(house):
    talk = Choice(["né ", "日本", "😀"], "stop")
    pieces = chat_frames(HEAD, [talk])
    faulty = Faulty(house, "split utf8", streaming(pieces))
    assert faulty.body() == b"".join(pieces)
    rest, parts = faulty.received().partition(b"\r\n\r\n")[2], []
    while rest:
        line, _, rest = rest.partition(b"\r\n")
        parts.append(rest[: int(line, 16)])
        rest = rest[int(line, 16) + 2 :]

    def is_whole(part):
        try:
            part.decode()
        except UnicodeDecodeError:
            return False
        return True

    assert sum(not is_whole(part) for part in parts) >= 4 * 2 - 2
    assert faulty.seen.notes == []


def test_split_utf8_says_where_there_is_nothing_to_cut(house):
    faulty = Faulty(house, "split utf8", streaming(chat()))
    faulty.body()
    assert faulty.seen.notes == ["the answer has no character of several bytes"]


@pytest.mark.parametrize("form", ["paced", "pushed", "iterated"])
def test_glue_gathers_events(house, form):
    faulty = Faulty(house, "glue 3", streaming(chat(), form))
    body = faulty.body()
    assert body == b"".join(chat())
    assert len(chunk_sizes(faulty.received())) == -(-len(events(body)) // 3) + 1


def test_json_is_truncated_within_one_event(house):
    body = Faulty(house, "json truncated after=2ev", streaming(chat())).body()
    datas = [event.data for event in SseReader().feed(body)]
    whole = [event.data for event in SseReader().feed(b"".join(chat()))]
    assert datas[0] == whole[0] and datas[2:] == whole[2:]
    assert datas[1] == whole[1][: len(whole[1].encode()) // 2]


@pytest.mark.parametrize("form", FORMS)
def test_error_takes_the_place_of_what_follows(house, form):
    body = Faulty(house, "error after=2tok code=server_error", streaming(chat(), form)).body()
    assert said(body) == "one two "
    assert events(body)[-1]["error"]["code"] == "server_error"
    assert "[DONE]" not in events(body)


def test_error_may_be_the_first_event(house):
    body = Faulty(house, "error", streaming(chat())).body()
    assert [sorted(event) for event in events(body)] == [["error"]]


def test_cut_may_fall_within_an_event(house):
    assert Faulty(house, "cut after=100B", streaming(chat())).body() == b"".join(chat())[:100]


def test_events_of_legacy_completions(house):
    pieces = text_frames(HEAD, [TALK])
    body = Faulty(house, "cut after=2tok", streaming(pieces)).body()
    assert "".join(event["choices"][0]["text"] for event in events(body)) == "one two "
    body = Faulty(house, "filter after=1tok", streaming(pieces)).body()
    texts = [event["choices"][0] for event in events(body)[:-1]]
    assert "".join(choice["text"] for choice in texts) == "one "
    assert texts[-1]["finish_reason"] == "content_filter"


# ---- what an answer means ---------------------------------------------------------------------------------------


def arguments(body):
    chunks = [event for event in events(body) if event != "[DONE]"]
    calls = [call for chunk in chunks for choice in chunk["choices"] for call in choice["delta"].get("tool_calls", ())]
    return "".join(call["function"].get("arguments", "") for call in calls), [
        call["function"]["name"] for call in calls if call["function"].get("name")
    ]


@pytest.mark.parametrize("form", FORMS)
def test_calls_that_nobody_can_carry_out_streamed(house, form):
    pieces = chat_frames(HEAD, [CALL])
    text, names = arguments(Faulty(house, "args-bad", streaming(pieces, form)).body())
    assert (text, names) == ('{"city":"Oslo"', ["get_weather"])
    text, names = arguments(Faulty(house, "unknown-tool name=nobody", streaming(pieces, form)).body())
    assert (text, names) == ('{"city":"Oslo"}', ["nobody"])


@pytest.mark.parametrize("form", ["whole", "pushed", "iterated"])
def test_calls_that_nobody_can_carry_out(house, form):
    value = chat_completion(HEAD, [CALL])
    message = json.loads(Faulty(house, "args-bad", plain(value, form)).body())["choices"][0]["message"]
    assert message["tool_calls"][0]["function"] == {"name": "get_weather", "arguments": '{"city":"Oslo"'}
    message = json.loads(Faulty(house, "unknown-tool", plain(value, form)).body())["choices"][0]["message"]
    assert message["tool_calls"][0]["function"]["name"] == "no_such_tool"


@pytest.mark.parametrize("form", ["whole", "pushed", "iterated"])
@pytest.mark.parametrize(
    ("text", "content", "refusal", "reason"),
    [
        ("filter after=2tok", "one two ", None, "content_filter"),
        ("filter", "", None, "content_filter"),
        ("refusal message=No.", None, "No.", "stop"),
        ("empty", "", None, "stop"),
    ],
)
def test_answers_that_say_less(house, form, text, content, refusal, reason):
    choice = json.loads(Faulty(house, text, plain(chat_completion(HEAD, [TALK]), form)).body())["choices"][0]
    message = choice["message"]
    assert (message["content"], message["refusal"], choice["finish_reason"]) == (content, refusal, reason)


@pytest.mark.parametrize("form", ["whole", "pushed", "iterated"])
def test_a_native_answer_that_is_filtered_is_an_error(house, form):
    value = {"request_id": "r-1", "output": {"text": "one two", "finish_reason": "stop"}, "usage": {}}
    faulty = Faulty(house, "filter", plain(value, form))
    error = json.loads(faulty.body())
    assert (error["code"], error["request_id"]) == ("DataInspectionFailed", "r-1") and "output" not in error
    assert faulty.received().startswith(b"HTTP/1.1 400 ")


def test_refusal_is_streamed_as_one(house):
    body = Faulty(house, "refusal message=No.", streaming(chat())).body()
    deltas = [choice["delta"] for event in events(body)[:-1] for choice in event["choices"]]
    assert [delta["refusal"] for delta in deltas if delta.get("refusal")] == ["No."]


def test_plain_usage_and_json(house):
    value = chat_completion(HEAD, [TALK])
    assert "usage" not in json.loads(Faulty(house, "no-usage", plain(value)).body())
    body = encode_json(value)
    assert Faulty(house, "json truncated", plain(value)).body() == body[: len(body) // 2]


@pytest.mark.parametrize(
    ("text", "make", "words"),
    [
        ("args-bad", plain(chat_completion(HEAD, [TALK])), "calls no function"),
        ("unknown-tool", streaming(chat()), "calls no function"),
        ("no-usage", plain({"object": "list", "data": []}), "tells no usage"),
        ("filter", plain({"data": []}), "does not know the shape"),
        ("cut", plain({"data": []}), "does not apply to an answer that is no stream"),
        ("length +1", streaming(chat()), "does not apply to an event stream"),
        ("reset after=3tok", plain({"data": []}), "counts nothing"),
        ("reset after=30tok", streaming(chat()), "ended 26 tokens before"),
        ("close after=10000B", plain({"data": []}), "bytes before"),
        ("dup after=30tok", streaming(chat()), "ended 26 tokens before"),
        ("cut after=30ev", streaming(chat()), "before it was due"),
        ("usage-with-choices", streaming(chat()), "no chunk with the usage alone"),
        ("no-done", streaming([b"data: {}\n\n"]), "no [DONE]"),
        ("no-finish", streaming([b"data: {}\n\n"]), "no event that says why"),
        ("crlf", plain({"data": []}), "does not apply"),
        ("json truncated", lambda: Response(200, [*EVENTS, ("content-encoding", "gzip")], iterate([b"x"])),
         "without a content-encoding"),
    ],
)  # fmt: skip
def test_says_what_it_could_not_apply_and_lets_the_answer_be(house, text, make, words):
    faulty = Faulty(house, text, make)
    body = faulty.body()
    assert len(faulty.seen.notes) == 1
    assert words in faulty.seen.notes[0]
    sound = House()
    other = Faulty(sound, "latency latency=0s", make)
    assert body == other.body()
    sound.loop.close()


# ---- the wire ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["reset", "close"])
def test_nothing_arrives(house, kind):
    faulty = Faulty(house, kind, streaming(chat()))
    house.loop.advance(1)
    assert faulty.received() == b""
    assert faulty.is_reset == (kind == "reset")
    assert faulty.client.ended
    assert faulty.bodies == []
    assert house.statuses() == [444]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["reset", "close"])
@pytest.mark.parametrize(
    ("after", "size"),
    [("0B", 0), ("100B", 100), ("2tok", None), ("0tok", 0)],
)
def test_connection_ends_at_its_place(house, form, kind, after, size):
    faulty = Faulty(house, f"{kind} after={after}", streaming(chat(), form))
    house.loop.advance(2)
    head, _, rest = faulty.received().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    (reply,) = faulty.client.replies("GET")
    assert not reply.whole
    if size is None:
        assert said(reply.body) == "one two "
    else:
        assert reply.body == b"".join(chat())[:size]
    assert not rest.endswith(b"0\r\n\r\n")
    assert faulty.is_reset == (kind == "reset")
    assert faulty.client.ended
    assert faulty.seen.is_cut
    assert [body.cancelled for body in faulty.bodies if isinstance(body, Sending)] in ([], [1])


def test_stall_lasts_until_the_client_leaves(house):
    faulty = Faulty(house, "stall after=2tok", streaming(chat()))
    house.loop.advance(10_000)
    assert said(faulty.client.reply().body) == "one two "
    assert not faulty.client.ended
    assert house.metrics.in_flight == 1
    faulty.client.reset()
    assert house.metrics.in_flight == 0
    assert house.statuses() == [499]


def test_stall_before_the_answer(house):
    faulty = Faulty(house, "stall", streaming(chat()))
    house.loop.advance(10_000)
    assert faulty.received() == b""
    assert not faulty.client.ended
    faulty.client.reset()
    assert house.statuses() == [499]


@pytest.mark.parametrize("form", FORMS)
def test_stall_goes_on_after_its_time(house, form):
    faulty = Faulty(house, "stall after=2tok for=30s", streaming(chat(), form))
    house.loop.advance(29)
    assert said(faulty.client.reply().body) == "one two "
    house.loop.advance(2)
    assert faulty.client.reply().whole
    assert faulty.client.reply().body == b"".join(chat())


def test_latency_delays_each_piece_once(house):
    faulty = Faulty(house, "latency latency=500ms", plain({"data": []}))
    house.loop.advance(0.4)
    assert faulty.received() == b""
    house.loop.advance(0.2)
    assert faulty.client.reply().body == b'{"data":[]}'


def test_jitter_repeats_with_its_seed(house):
    def times(seed):
        other = House()
        faulty = Faulty(other, "latency latency=500ms jitter=400ms", streaming(chat(), "paced"), seed=seed)
        seen, sizes = [], 0
        for step in range(300):
            other.loop.advance(0.01)
            if len(faulty.received()) > sizes:
                sizes = len(faulty.received())
                seen.append((step, sizes))
        other.loop.close()
        return seen

    assert times("a") == times("a")
    assert times("a") != times("b")


def test_bandwidth_is_a_rate(house):
    body = {"data": "x" * 1000}
    faulty = Faulty(house, "bandwidth rate=500B", plain(body))
    sizes = []
    for _ in range(3):
        house.loop.advance(1)
        sizes.append(len(faulty.received()))
    assert 450 <= sizes[0] <= 500
    assert 450 <= sizes[1] - sizes[0] <= 550
    assert faulty.client.reply().whole


def test_slicer_sends_slices(house):
    faulty = Faulty(house, "slicer average_size=50B size_variation=20B delay=10ms", plain({"data": "x" * 1000}))
    house.loop.advance(10)
    sizes = [len(data) for data in faulty.client.transport.writes]
    assert faulty.client.reply().whole
    assert max(sizes) <= 70
    assert sum(size >= 30 for size in sizes) >= len(sizes) - 2  # the rest of the head, and that of the body
    assert len(set(sizes)) > 3
    again = House()
    other = Faulty(again, "slicer average_size=50B size_variation=20B delay=10ms", plain({"data": "x" * 1000}))
    again.loop.advance(10)
    assert [len(data) for data in other.client.transport.writes[:-1]] == sizes[:-1]
    again.loop.close()


def test_slow_close_lets_the_end_wait(house):
    faulty = Faulty(house, "slow_close delay=5s", plain({"data": []}))
    house.loop.advance(4)
    assert faulty.client.reply().whole
    assert faulty.client.reply().fields["connection"] == "close"
    assert not faulty.client.ended
    house.loop.advance(2)
    assert faulty.client.ended
    assert not faulty.is_reset


# ---- HTTP -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["whole", "pushed", "iterated"])
@pytest.mark.parametrize("number", [10, -5])
def test_length_lies(house, form, number):
    faulty = Faulty(house, f"length {number:+d}", plain({"data": []}, form))
    house.loop.advance(1)
    head, _, body = faulty.received().partition(b"\r\n\r\n")
    announced = int(re.search(rb"content-length: (\d+)", head)[1])
    assert body == b'{"data":[]}'
    assert announced == len(body) + number
    assert faulty.client.ended == (number > 0)


@pytest.mark.parametrize("form", FORMS)
def test_chunk_without_a_size(house, form):
    faulty = Faulty(house, "chunk bad after=1tok", streaming(chat(), form))
    house.loop.advance(1)
    rest = faulty.received().partition(b"\r\n\r\n")[2]
    assert rest.endswith(b"\r\nthis is no chunk\r\n")
    assert faulty.client.ended
    first = Faulty(house, "chunk bad", plain({"data": []}))
    assert first.received().partition(b"\r\n\r\n")[2] == b"this is no chunk\r\n"
    assert b"transfer-encoding: chunked" in first.received()


def test_html_in_the_place_of_json(house):
    faulty = Faulty(house, "html 502", plain({"data": []}))
    (reply,) = faulty.client.replies("GET")
    assert (reply.status, reply.fields["content-type"]) == (502, "text/html")
    assert b"<h1>502 Bad Gateway</h1>" in reply.body
    assert faulty.bodies == []


def test_status_in_the_place_of_an_answer(house):
    text = "status 429 code=insufficient_quota retry-after=7 retry-after-ms=7000"
    faulty = Faulty(house, text, plain({"data": []}))
    (reply,) = faulty.client.replies("GET")
    error = json.loads(reply.body)["error"]
    assert (reply.status, error["type"], error["code"]) == (429, "insufficient_quota", "insufficient_quota")
    assert (reply.fields["retry-after"], reply.fields["retry-after-ms"]) == ("7", "7000")
    assert reply.fields["x-oaiserve-fault"] == text
    assert faulty.bodies == []


def test_retry_at_is_a_date(house):
    # RFC 9110 §10.2.3: HTTP-date or delay-seconds; the session's time here is 1700000000.
    faulty = Faulty(house, "status 503 retry-at=2m", plain({}))
    assert faulty.client.reply().fields["retry-after"] == "Tue, 14 Nov 2023 22:15:20 GMT"


# ---- what is left behind ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["stall after=1tok", "bandwidth rate=10B", "latency latency=60s", "dup", "glue 99"])
@pytest.mark.parametrize("form", FORMS)
def test_nothing_is_held_when_the_client_leaves(house, text, form):
    faulty = Faulty(house, text, streaming(chat(), form))
    house.loop.advance(0.05)
    faulty.client.reset()
    house.loop.advance(0.5)
    assert house.metrics.in_flight == 0
    # `house.check` looks for tasks, held bytes and errors.


def test_connection_stays_behind_a_whole_answer(house):
    faulty = Faulty(house, "dup after=1tok", streaming(chat()))
    faulty.body()
    faulty.client.send(request("/plain"))
    assert faulty.client.received.endswith(b"plain")


def test_a_slow_reader_gets_all_and_holds_the_source_up(house):
    pieces = [b"data: %s\n\n" % (b"x" * 5000) for _ in range(200)]
    sending = Sending(pieces)
    faulty = Faulty(house, "dup after=1ev", lambda: Response(200, EVENTS, sending), window=0)
    house.loop.advance(1)
    assert sending.paused
    assert len(sending.pieces) > 150
    faulty.client.read()
    house.loop.advance(1)
    assert faulty.client.reply().whole
    assert len(faulty.client.reply().body) == sum(map(len, pieces)) + len(pieces[0])


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_head_requests_are_answered(house, kind):
    texts = {
        "latency": "latency latency=1s", "bandwidth": "bandwidth rate=1kB", "slicer": "slicer average_size=9B",
        "slow_close": "slow_close delay=1s", "status": "status 500", "html": "html 502", "length": "length +1",
        "chunk": "chunk bad", "json": "json truncated", "split": "split 1B", "glue": "glue 2",
    }  # fmt: skip
    fault = parse_fault(texts.get(kind, kind))
    seen = Seen()

    def answer(request):
        draw = Draw("seed")
        if replaces_answer(fault):
            return stand_in(fault, draw, 0.0, seen.notes.append, seen)
        return injected(Response(200, JSON, b"{}"), fault, draw, seen.notes.append, seen, has_body=False)

    house.add("/head", answer)
    client = house.client()
    client.send(request("/head", method="HEAD"))
    house.loop.advance(2)
    assert client.received.partition(b"\r\n\r\n")[2] == b""
    client.reset()


def test_other_statuses_are_errors_of_the_endpoint(house):
    with pytest.raises(ApiError, match="status 418"):
        stand_in(parse_fault("status 418"), Draw(), 0.0, print, Seen())


def test_what_is_too_long_is_passed_on(house):
    value = {"object": "chat.completion", "choices": [{"message": {"content": "x" * 1_000_000}}]}
    for form in ("whole", "pushed", "iterated"):
        faulty = Faulty(house, "empty", plain(value, form))
        assert faulty.body() == encode_json(value)
        assert len(faulty.seen.notes) == 1
        assert "more than 1000000 bytes" in faulty.seen.notes[0]


def test_what_finds_no_room_is_passed_on(house):
    fault, seen, body = parse_fault("empty"), Seen(), encode_json(chat_completion(HEAD, [TALK]))

    def answer(request):
        response = Response(200, JSON, iterate([body]))
        return injected(response, fault, Draw(), seen.notes.append, seen, may_hold=lambda size: False)

    house.add("/full", answer)
    client = house.client()
    client.send(request("/full"))
    house.loop.advance(1)
    assert client.reply().body == body
    assert "no room" in seen.notes[0]


def test_glue_holds_no_more_than_a_megabyte(house):
    pieces = [b"data: %b\n\n" % (b"x" * 300_000) for _ in range(10)]
    faulty = Faulty(house, "glue 1000", streaming(pieces))
    assert faulty.body() == b"".join(pieces)
    assert max(chunk_sizes(faulty.received())) < 1_400_000


def test_a_message_of_any_characters(house):
    text = 'status 500 message="日本"'
    faulty = Faulty(house, text, plain({}))
    reply = faulty.client.reply()
    assert json.loads(reply.body)["error"]["message"] == "日本"
    assert reply.fields["x-oaiserve-fault"].isascii()
