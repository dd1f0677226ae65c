"""Cassettes: what an upstream answered is recorded, and replayed without it, to the byte and the border of pieces."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.client
import json
import socket
import struct
import threading
import time
from types import SimpleNamespace

import pytest
from steps import steps_of_turns

import oaiserve
from protocol.cassette.asking import asking
from protocol.cassette.check import difference, shape_of
from protocol.cassette.deck import Deck, _Recorder
from protocol.cassette.recording import BadRecording, Recording, read_recording
from protocol.cassette.tape import Tape
from protocol.errors import UsageError

CHAT = "/v1/chat/completions"
KEY = "sk-upstream-0123456789"


def body(text="hi", **more):
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": text}], **more}


class Answer:
    def __init__(self, status, headers, body, chunks=()):
        self.status, self.headers, self.body, self.chunks = status, headers, body, chunks

    def json(self):
        return json.loads(self.body)


def ask(server, path=CHAT, body=None, method=None, **fields):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    data = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
    headers = {"content-type": "application/json", **{name.replace("_", "-"): value for name, value in fields.items()}}
    connection.request(method or ("GET" if data is None else "POST"), path, data, headers)
    answer = connection.getresponse()
    try:
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


def raw_chunks(server, path, body):
    """Return the chunks of an answer, as they are framed."""
    data = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.sendall(head.encode() + b"connection: close\r\n\r\n" + data)
        file = sock.makefile("rb")
        while file.readline() != b"\r\n":
            pass
        chunks = []
        while True:
            line = file.readline()
            if not line or not int(line, 16):
                return chunks, bool(line)
            chunks.append(file.read(int(line, 16)))
            file.readline()


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class Upstream:
    """An upstream that answers every request with the pieces it is given, each in a segment of its own.

    One that ends with b"" is closed without an end, one that ends with None is reset.
    """

    def __init__(self, *answers):
        self._answers = list(answers)
        self.asked = 0
        self._sock = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._sock.getsockname()[1]}/v1"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        for head, pieces, goes_on in self._answers:
            connection, _ = self._sock.accept()
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                request = b""
                while b"\r\n\r\n" not in request:
                    request += connection.recv(65536)
                length = int(
                    next(
                        (
                            line.split(b":")[1]
                            for line in request.split(b"\r\n")
                            if line.lower().startswith(b"content-length")
                        ),
                        b"0",
                    )
                )
                while len(request.split(b"\r\n\r\n", 1)[1]) < length:
                    request += connection.recv(65536)
                self.asked += 1
                connection.sendall(head)
                for piece in filter(None, pieces):
                    goes_on.wait(0.05)
                    connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece) if b"chunked" in head else piece)
                if pieces and pieces[-1] is None:
                    goes_on.wait(0.05)
                    reset(connection)
                elif b"chunked" in head and pieces and pieces[-1] != b"":
                    connection.sendall(b"0\r\n\r\n")

    def close(self):
        self._sock.close()


STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-request-id: req_1\r\nset-cookie: a=b\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"


def relay(path, url="http://127.0.0.1:9/v1", mode="replay", **more):
    return oaiserve.start(
        "relay",
        set={
            "relay.base_url": url, "relay.cassette": str(path), "relay.cassette_mode": mode, "relay.api_key": KEY,
            "relay.retries": "0", **{f"relay.{name}": value for name, value in more.items()},
        },
    )  # fmt: skip


@pytest.fixture(scope="module")
def upstream():
    with oaiserve.start("mock") as server:
        yield server


REQUESTS = [
    (CHAT, body()),
    (CHAT, body(stream=True)),
    (CHAT, body("weather in Oslo?", tools=[{"type": "function", "function": {"name": "weather", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}])),
    (CHAT, {"model": "gpt-4o"}),
    ("/v1/audio/speech", {"model": "tts-1", "input": "hi", "voice": "alloy"}),
    ("/v1/models", None),
    ("/v1/no/such", None),
]  # fmt: skip


def test_what_was_recorded_is_replayed_without_an_upstream(tmp_path, upstream):
    path = tmp_path / "c.jsonl"
    with relay(path, f"{upstream.url}/v1", "record") as recording:
        live = [ask(recording, *request) for request in REQUESTS]
    with relay(path) as replaying:
        replayed = [ask(replaying, *request) for request in REQUESTS]
    assert [one.status for one in live] == [200, 200, 200, 400, 200, 200, 404]
    for (path, _), one, again in zip(REQUESTS, live, replayed):
        assert (again.status, again.body) == (one.status, one.body)
        assert again.headers["content-type"] == one.headers["content-type"]
        # The list of models is the service's own answer, made of what its backends list.
        assert (again.headers["x-request-id"] == one.headers["x-request-id"]) is (path != "/v1/models")


def test_an_upload_is_replayed_whatever_its_boundary(tmp_path, upstream):
    def form(boundary, name, content=b'{"a":1}\n'):
        lines = [
            b"--%b" % boundary, b'content-disposition: form-data; name="purpose"', b"", b"user_data", b"--%b" % boundary,
            b'content-disposition: form-data; name="file"; filename="%b"' % name, b"", content, b"--%b--" % boundary, b"",
        ]  # fmt: skip
        return b"\r\n".join(lines), f"multipart/form-data; boundary={boundary.decode()}"

    path = tmp_path / "c.jsonl"
    data, kind = form(b"one", b"a.jsonl")
    with relay(path, f"{upstream.url}/v1", "record") as recording:
        live = ask(recording, "/v1/files", data, content_type=kind)
    with relay(path) as replaying:
        other, kind = form(b"other", b"b.jsonl", b"else")
        assert ask(replaying, "/v1/files", other, content_type=kind).status == 404
        data, kind = form(b"two", b"b.jsonl")
        assert ask(replaying, "/v1/files", data, content_type=kind).body == live.body


def test_pieces_have_their_borders_again(tmp_path):
    pieces = [b"data: 1\n\ndata: 2\n\n", b"dat", b"a: 3\n\ndata: 4", b"\n\n", b"data: [DONE]\n\n"]
    source = Upstream((STREAM, pieces, threading.Event()))
    path = tmp_path / "c.jsonl"
    with relay(path, source.url, "record") as recording:
        live, ended = raw_chunks(recording, CHAT, body())
    source.close()
    assert b"".join(live) == b"".join(pieces) and ended
    with relay(path) as replaying:
        assert raw_chunks(replaying, CHAT, body()) == (live, True)


def test_what_broke_off_breaks_off_again(tmp_path):
    source = Upstream((STREAM, [b"data: 1\n\n", b""], threading.Event()))
    path = tmp_path / "c.jsonl"
    with relay(path, source.url, "record") as recording:
        live, ended = raw_chunks(recording, CHAT, body())
    source.close()
    assert not ended and live[0] == b"data: 1\n\n"
    assert json.loads(path.read_text().splitlines()[1])["end"] == "cut"
    with relay(path) as replaying:
        replayed, ended = raw_chunks(replaying, CHAT, body())
    assert not ended and replayed[0] == live[0] and b"error" in replayed[1]


@pytest.mark.parametrize("head", ["stream", "plain"])
def test_what_was_reset_is_reset_again(tmp_path, head):
    lines = STREAM if head == "stream" else b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n"
    source = Upstream((lines, [b"data: 1\n\n", None], threading.Event()))
    path = tmp_path / "c.jsonl"
    with relay(path, source.url, "record") as recording:
        client = begin(recording, CHAT, body())
        with contextlib.suppress(ConnectionResetError):
            while client.recv(65536):
                pass
        client.close()
        recorded = until_there(path, 2)
    source.close()
    assert json.loads(recorded[1])["end"] == "reset"
    with relay(path) as replaying:
        client, came = begin(replaying, CHAT, body()), b""
        with pytest.raises(ConnectionResetError):
            while True:
                data = client.recv(65536)
                assert data, "the connection ended in good order"
                came += data
        client.close()
    assert b"HTTP/1.1 200 OK" in came and b"data: 1\n\n" in came and b"error" not in came


def begin(server, path, body):
    data = json.dumps(body).encode()
    client = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    client.sendall(f"{head}content-length: {len(data)}\r\n\r\n".encode() + data)
    return client


def until_there(path, lines):
    """Return the lines of a file once there are so many."""
    for _ in range(2000):
        if path.exists() and path.read_text().count("\n") >= lines:
            break
        time.sleep(0.005)
    return path.read_text().splitlines()


def test_first_in_first_out_and_each_session_from_the_first(tmp_path, upstream):
    path = tmp_path / "c.jsonl"
    with relay(path, f"{upstream.url}/v1", "record") as recording:
        live = [ask(recording, CHAT, body()).json()["id"] for _ in range(2)]
    with relay(path) as replaying:
        assert [ask(replaying, CHAT, body()).json()["id"] for _ in range(2)] == live
        assert [ask(replaying, f"/s/t{CHAT}", body()).json()["id"] for _ in range(2)] == live
        used_up = ask(replaying, CHAT, body())
        assert used_up.status == 404 and "given already" in used_up.json()["error"]["message"]
        assert ask(replaying, "/_oaiserve/reset?what=state", b"").status == 204
        assert ask(replaying, CHAT, body()).json()["id"] == live[0]


def test_a_miss_names_the_nearest_recording(tmp_path, upstream):
    path = tmp_path / "c.jsonl"
    with relay(path, f"{upstream.url}/v1", "record") as recording:
        ask(recording, CHAT, body("Hello"))
    with relay(path) as replaying:
        miss = ask(replaying, CHAT, body("Good bye"))
        other = ask(replaying, "/v1/embeddings", {"model": "m", "input": "x"})
    assert (miss.status, miss.headers["x-should-retry"], miss.json()["error"]["code"]) == (
        404,
        "false",
        "cassette_miss",
    )
    assert miss.json()["error"]["message"].endswith(
        'The nearest recording differs: messages[0].content is "Good bye", and was "Hello".'
    )
    assert other.json()["error"]["message"].endswith("Nothing was recorded for POST /v1/embeddings.")


def test_fill_asks_for_what_is_missing_alone(tmp_path, upstream):
    path = tmp_path / "c.jsonl"
    with relay(path, f"{upstream.url}/v1", "fill") as filling:
        first = ask(filling, CHAT, body("a")).body
    with relay(path, f"{upstream.url}/v1", "fill") as filling:
        assert ask(filling, CHAT, body("a")).body == first
        ask(filling, CHAT, body("b"))
    assert [json.loads(line).get("status") for line in path.read_text().splitlines()] == [None, 200, 200]


def test_record_begins_anew(tmp_path, upstream):
    path = tmp_path / "c.jsonl"
    for text in ("a", "b"):
        with relay(path, f"{upstream.url}/v1", "record") as recording:
            ask(recording, CHAT, body(text))
    lines = path.read_text().splitlines()
    assert len(lines) == 2 and json.loads(lines[1])["ask"]["json"]["messages"][0]["content"] == "b"


def test_nothing_secret_gets_onto_the_disk(tmp_path, upstream):
    path = tmp_path / "c.jsonl"
    secret = "sk-callers-9876543210"
    tools = [{"type": "mcp", "server_label": "x", "server_url": "https://mcp.example", "authorization": secret}]
    with relay(path, f"{upstream.url}/v1", "record") as recording:
        ask(recording, f"{CHAT}?api_key={secret}", body(), authorization=f"Bearer {secret}", cookie=secret)
        ask(recording, "/v1/responses", {"model": "gpt-4o", "input": "hi", "tools": tools})
    text = path.read_text()
    assert secret not in text and KEY not in text and len(text.splitlines()) == 3
    assert path.stat().st_mode & 0o77 == 0
    with relay(path) as replaying:
        assert ask(replaying, f"{CHAT}?api_key=another", body()).status == 200


def test_the_mode_is_changed_while_it_runs(tmp_path, upstream):
    path = tmp_path / "c.jsonl"
    with relay(path, f"{upstream.url}/v1", "record") as server:
        assert ask(server, "/_oaiserve/cassette").json()["relay"] == {
            "file": str(path),
            "mode": "record",
            "recordings": 0,
        }
        live = ask(server, CHAT, body()).body
        assert ask(server, "/_oaiserve/cassette", {"mode": "replay"}, "PUT").json()["relay"]["recordings"] == 1
        assert ask(server, CHAT, body()).body == live
        wrong = ask(server, "/_oaiserve/cassette", {"mode": "play"}, "PUT")
        assert wrong.status == 400 and "replay | fill | record" in wrong.json()["error"]["message"]


def test_a_websocket_is_not_replayed(tmp_path, upstream):
    path = tmp_path / "c.jsonl"
    with relay(path, f"{upstream.url}/v1", "record") as recording:
        ask(recording, CHAT, body())
    with relay(path) as replaying:
        fields = {"connection": "upgrade", "upgrade": "websocket", "sec_websocket_version": "13"}
        answer = ask(replaying, "/v1/realtime?model=m", **fields, sec_websocket_key="dGhlIHNhbXBsZSBub25jZQ==")
    assert answer.status == 501


@pytest.mark.parametrize("mode", ["record", "fill"])
@pytest.mark.parametrize("path", ["nowhere/c.jsonl", ""])
def test_what_cannot_be_written_is_said_at_the_start(tmp_path, mode, path):
    with pytest.raises(UsageError, match="cannot be written"):
        relay(tmp_path / path, mode=mode)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (None, "there is no such cassette"),
        ("", "replays nothing"),
        ("{}\n", 'line 1: expected {"cassette": 1'),
        ('{"cassette": 1, "upstream": ""}\n{"key": 1}\n', "line 2: expected key, ask"),
        ('{"cassette": 1, "upstream": ""}\nnothing\n', "line 2: expected a JSON object"),
    ],
)
def test_what_is_no_cassette_is_said_at_the_start(tmp_path, text, wrong):
    path = tmp_path / "c.jsonl"
    if text is not None:
        path.write_text(text)
    if text == "":
        with relay(path) as replaying:
            assert ask(replaying, CHAT, body()).status == 404
        return
    with pytest.raises(UsageError) as caught:
        relay(path)
    assert wrong in str(caught.value)


# ---- keys, lines, shapes --------------------------------------------------------------------------------------------


def key(value, path=CHAT, **more):
    return asking("POST", path, "", "application/json", json.dumps(value).encode(), **more).key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"id": "call_abc123def456"}, {"id": "call_999zzz888yyy"}),
        ({"id": "7f1c2f6e-0c1d-4f5e-9d2a-0123456789ab"}, {"id": "00000000-0c1d-4f5e-9d2a-0123456789ab"}),
        ({"t": "it is 2026-11-29"}, {"t": "it is 2027-01-01"}),
        ({"t": "2026-11-29T10:00:00Z"}, {"t": "2026-11-29T11:30:59.123Z"}),
        ({"t": "see /tmp/a1/report.txt"}, {"t": "see /home/me/report.txt"}),
    ],
)
def test_what_differs_each_time_says_nothing(one, other):
    assert key(one) == key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1}, {"a": 2}),
        ({"t": "Oslo"}, {"t": "Rome"}),
        ([1, 2], [2, 1]),
        ({"model": "gpt-4o"}, {"model": "gpt-4.1"}),
    ],
)
def test_all_else_does(one, other):
    assert key(one) != key(other)


def test_what_says_nothing_can_be_set():
    assert key({"t": "2026-11-29"}, neutral=()) != key({"t": "2027-01-01"}, neutral=())


PIECES = [b"data: 1\n\n", b"data: 2\n\nda", b"ta: 3\r\n\r\n", b"data: \xe4\n\n", b"tail"]


@pytest.mark.parametrize("size", range(1, 12))
@pytest.mark.parametrize("kind", ["text/event-stream", "application/json", "audio/mpeg"])
def test_a_line_tells_all_of_a_recording(size, kind):
    whole = b"".join(PIECES)
    pieces = [(0.25, whole[at : at + size]) for at in range(0, len(whole), size)]
    made = Recording("k", {"method": "POST", "path": "/v1/x"}, 200, [("content-type", kind)], pieces)
    read = read_recording(made.line().decode())
    assert [data for _, data in read.pieces] == [data for _, data in pieces]
    assert read._replace(pieces=()) == made._replace(pieces=())
    assert read.pieces[0][0] == 0.25


def test_an_event_is_told_with_its_time():
    pieces = [(0.412, b"data: 1\n\n"), (0.018, b"data: 2\n\n")]
    made = Recording("k", {"method": "GET", "path": "/x"}, 200, [("content-type", "text/event-stream")], pieces)
    assert json.loads(made.line())["events"] == [[412.0, "data: 1\n\n"], [18.0, "data: 2\n\n"]]
    assert "cuts" not in json.loads(made.line())


@pytest.mark.parametrize(
    "line", ['{"key": "k"}', "[]", '{"key":"k","ask":{},"status":200,"head":{},"events":[],"end":"done"}']
)
def test_what_is_no_recording_is_refused(line):
    with pytest.raises(BadRecording):
        read_recording(line)


def test_shapes_are_compared_and_not_what_is_said():
    head = [("content-type", "application/json")]
    made = Recording("k", {}, 200, head, [(0, b'{"id":"a","n":[{"x":1}],"gone":true}')])
    same = shape_of(200, "application/json", b'{"id":"b","n":[{"x":2.5},{"x":3}],"gone":false}')
    assert difference(made, same) == ""
    other = shape_of(200, "application/json; charset=utf-8", b'{"id":7,"n":[],"more":{"y":null,"z":""}}')
    assert difference(made, other) == "gone: gone boolean, id string, n[].x number; new: id number, more.z string"


# ---- the command ----------------------------------------------------------------------------------------------------


def test_check_compares_with_the_living_api(tmp_path, upstream, capsys):
    path = tmp_path / "c.jsonl"
    with relay(path, f"{upstream.url}/v1", "record") as recording:
        for request in REQUESTS[:2]:
            ask(recording, *request)
    assert oaiserve.main(["cassette", "check", str(path), "--live", f"{upstream.url}/v1"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"same      POST {CHAT}", f"same      POST {CHAT}", "2 same, 0 different, 0 not asked",
    ]  # fmt: skip
    path.write_text(path.read_text().replace('\\"finish_reason\\":\\"stop\\"', '\\"finish_reason\\":1'))
    assert oaiserve.main(["cassette", "check", str(path), "--live", f"{upstream.url}/v1"]) == 1
    assert "gone: " in capsys.readouterr().out


def test_a_har_file_becomes_a_cassette(tmp_path, capsys):
    def entry(url, status, content, **posted):
        return {
            "request": {"method": "POST" if posted else "GET", "url": url, "postData": posted or None, "headers": []},
            "response": {
                "status": status, "content": content,
                "headers": [{"name": "Content-Type", "value": "application/json"}, {"name": "Set-Cookie", "value": "s"}],
            },
            "timings": {"wait": 120.5},
        }  # fmt: skip

    asked = json.dumps(body())
    entries = [
        entry("https://api.openai.com/v1/chat/completions", 200, {"text": '{"a":1}'}, mimeType="application/json", text=asked),
        entry("https://api.openai.com/v1/models", 200, {"text": base64.b64encode(b'{"data":[]}').decode(), "encoding": "base64"}),
        entry("https://example.com/page", 200, {"text": "else"}),
    ]  # fmt: skip
    source, path = tmp_path / "x.har", tmp_path / "c.jsonl"
    source.write_text(json.dumps({"log": {"version": "1.2", "entries": entries}}))
    assert oaiserve.main(["cassette", "import", str(source), str(path)]) == 0
    assert "2 recordings" in capsys.readouterr().out and '"s"' not in path.read_text()
    with relay(path) as replaying:
        assert ask(replaying, CHAT, body()).json() == {"a": 1}
        assert ask(replaying, "/v1/models").json()["data"] == []


@pytest.mark.parametrize("words", [["check"], ["check", "f"], ["import", "x"], ["play", "x"], []])
def test_wrong_words_are_told(words, capsys):
    assert oaiserve.main(["cassette", *words]) == 2
    assert "expected: cassette check FILE --live URL" in capsys.readouterr().err


def test_a_tape_is_read_as_it_was_written(tmp_path):
    tape = Tape(str(tmp_path / "c.jsonl"), "https://api.example")
    for number in range(3):
        tape.write(Recording("k", {"method": "GET", "path": "/x"}, 200 + number, [], [(0.0, b"x")]), anew=False)
    again = Tape(tape.path)
    again.read()
    assert again.upstream == "https://api.example" and [one.status for one in again.of("k")] == [200, 201, 202]


# ---- long ones, in turns with everybody else ------------------------------------------------------------------------

LONG_TEXT = "The file is /tmp/a/b.txt, as of 2026-11-29. " * 3_000


def asked(value, kind="application/json"):
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return asking("POST", CHAT, "", kind, data)


def test_a_long_body_has_the_key_of_one_that_says_the_same():
    one = asked({"model": "m", "messages": [{"role": "user", "content": LONG_TEXT}], "id": "call_abc123def456"})
    said = LONG_TEXT.replace("/tmp/a/", "/home/me/here/").replace("2026-11-29", "2027-01-01")
    other = asked({"id": "call_999zzz888yyy", "messages": [{"content": said, "role": "user"}], "model": "m"})
    assert one.key == other.key and one.shown["json"]["messages"][0]["content"] == LONG_TEXT
    for change in (
        {"model": "n", "messages": [{"role": "user", "content": LONG_TEXT}], "id": "call_abc123def456"},
        {"model": "m", "messages": [{"role": "user", "content": LONG_TEXT + "x"}], "id": "call_abc123def456"},
        {"model": "m", "messages": [["role", "user", "content", LONG_TEXT]], "id": "call_abc123def456"},
    ):
        assert asked(change).key != one.key


def test_a_long_text_and_long_bytes_are_told_apart():
    texts = [LONG_TEXT.encode(), LONG_TEXT.encode() + b"x"]
    bodies = [*texts, texts[0] + b"\xff", texts[0] + b"\xfe", b"{" + texts[0], b"{" + texts[1]]
    assert len({asked(data, "text/plain").key for data in bodies}) == len(bodies)
    assert asked(texts[0], "text/plain").shown["text"] == LONG_TEXT
    assert set(asked(bodies[2], "text/plain").shown) == {"method", "path", "bytes", "hash"}


def test_no_secret_of_a_long_body_is_shown():
    secret = {"api_key": "sk-in-the-body", "padding": LONG_TEXT}
    assert "sk-in" not in json.dumps(asked(secret).shown)
    many = asked({"api_key": "sk-in-the-body", "padding": [[]] * 200_000})  # which are too many to be shown
    assert "sk-in" not in json.dumps(many.shown) and "hash" in many.shown
    assert "sk-in" not in json.dumps(asked(json.dumps(secret).encode()[:-1]).shown)  # no JSON


def long_form(size, texts=1):
    part = b'--b\r\ncontent-disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
    parts = [part % (b"note", b"", b"n" * 50_000)] * texts + [part % (b"file", b'; filename="a"', b"x" * size)]
    return b"".join(parts) + b"--b--\r\n"


def test_a_long_form_shows_short_texts_and_hashes():
    form = asked(long_form(9 << 20, texts=3), "multipart/form-data; boundary=b").shown["form"]
    assert [sorted(part) for part in form] == [
        ["name", "value"], ["bytes", "hash", "name"], ["bytes", "hash", "name"], ["bytes", "file", "hash", "name"],
    ]  # fmt: skip
    assert form[3]["bytes"] == 9 << 20


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("application/json", json.dumps({"messages": [{"role": "user", "content": "x" * 70}] * 30_000}).encode()),
        ("application/json", json.dumps({"text": LONG_TEXT * 50}).encode()),
        ("application/json", b'{"a":[' + b"[]," * 2_000_000 + b"[]]}"),
        ("text/plain", LONG_TEXT.encode() * 50),
        ("multipart/form-data; boundary=b", long_form(20 << 20)),
    ],
    ids=["messages", "one text", "too many values", "no JSON", "form"],
)
def test_others_have_their_turns_while_a_long_body_is_read(kind, data):
    turns = steps_of_turns(lambda: asked(data, kind))
    assert len(turns) > 10 and max(turns) < 80_000


def test_others_have_their_turns_while_a_long_recording_is_written_and_read():
    pieces = [(0.001, b"data: %d\n\n" % number) for number in range(30_000)]
    made = Recording("k", {"method": "POST", "path": "/x"}, 200, [("content-type", "text/event-stream")], pieces)
    lines = []
    turns = steps_of_turns(lambda: lines.append(made.line()))
    assert len(turns) > 10 and max(turns) < 60_000
    turns = steps_of_turns(lambda: lines.append(read_recording(lines[0].decode())))
    assert len(turns) > 10 and max(turns) < 60_000
    assert [data for _, data in lines[1].pieces] == [data for _, data in pieces]


def test_a_stream_of_too_many_events_is_told_piece_by_piece():
    pieces = [(0.5, b"\n\n" * 60_000), (0.25, b"\n\n" * 60_000)]
    made = Recording("k", {"method": "POST", "path": "/x"}, 200, [("content-type", "text/event-stream")], pieces)
    line = made.line()
    assert len(json.loads(line)["events"]) == 100_001
    assert b"".join(data for _, data in read_recording(line.decode()).pieces) == b"\n\n" * 120_000


def test_a_request_that_is_too_long_is_passed_on_and_not_recorded(tmp_path, upstream):
    path = tmp_path / "c.jsonl"
    with relay(path, f"{upstream.url}/v1", "record") as recording:
        assert ask(recording, body=body("x" * (9 << 20))).status == 200
        assert ask(recording, body=body("x")).status == 200
    assert len(path.read_text().splitlines()) == 2
    with relay(path) as replaying:
        refused = ask(replaying, body=body("x" * (9 << 20)))
    assert refused.status == 413 and refused.headers["x-should-retry"] == "false"


def test_long_and_short_recordings_are_written_in_their_order(tmp_path, upstream):
    path = tmp_path / "c.jsonl"
    texts = ["short", "x" * 100_000, "also short", "y" * 3_000_000, "at last"]
    with relay(path, f"{upstream.url}/v1", "record") as recording:
        assert [ask(recording, body=body(text)).status for text in texts] == [200] * 5
    lines = path.read_text().splitlines()[1:]
    assert [json.loads(line)["ask"]["json"]["messages"][0]["content"] for line in lines] == texts
    with relay(path) as replaying:
        assert [ask(replaying, body=body(text)).status for text in reversed(texts)] == [200] * 5


class Relay:
    """A relay that nobody asks."""

    name, holds_key, origin = "relay", False, ""

    async def close(self):
        """Hold nothing."""


def test_the_mode_stays_while_recordings_are_written(tmp_path):
    async def main():
        said = []
        tape = Tape(str(tmp_path / "c.jsonl"))
        deck = Deck(Relay(), tape, "record", pace=0, neutral=(), say=said.append)
        long = Recording("k", {"method": "GET", "path": "/x"}, 200, [], [(0.0, b"x" * 1_000_000)])
        deck._keep(long, 1_000_000)
        with pytest.raises(ValueError, match="being read or written"):
            await deck.set_mode("replay")
        await deck.close()
        await deck.set_mode("replay")
        return deck.state(), said

    state, said = asyncio.run(main())
    assert (state["mode"], state["recordings"], said) == ("replay", 1, [])


def test_an_answer_that_finds_no_room_is_not_recorded():
    async def main():
        kept, said = [], []
        request = SimpleNamespace(may_hold=lambda size: size < 10)
        for pieces in ([b"short"], [b"short", b"a long piece", b"short"]):
            recorder = _Recorder(asked({}), 200, [], lambda *one: kept.append(one), said.append, request)
            for piece in pieces:
                recorder.took(piece)
            recorder.whole()
        return kept, said

    kept, said = asyncio.run(main())
    assert len(kept) == 1 and len(said) == 1 and "max_memory" in said[0]
