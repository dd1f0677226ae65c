"""The chat door at POST /: what a page may leave out, what the upstream gets, and that every error has one shape."""

from __future__ import annotations

import gzip
import json

import pytest
from programs import ask, exchange, running
from scripted_upstream import scripted

from protocol.exchange import Paced, Response
from protocol.service.chat_door import DOOR_ERRORS

KEY = "sk-owner-0123456789"
MESSAGES = [{"role": "user", "content": "Hello"}]
JSON = {"content-type": "application/json"}
EVENTS = {"content-type": "text/event-stream"}
CHUNK = b'data: {"choices": [{"delta": {"content": "so far"}}]}\n\n'


def error_body(message="No more.", **members):
    return json.dumps({"error": {"message": message, "type": "x", "param": None, "code": None, **members}}).encode()


def broken_off():
    yield CHUNK
    raise ConnectionResetError


# By the model that is asked: (status, fields, body or pieces).
ANSWERS = {
    "429": (429, {**JSON, "retry-after": "0", "x-request-id": "up-1", "x-should-retry": "false"}, error_body()),
    "401": (401, JSON, error_body(f"Incorrect API key provided: {KEY}.")),
    "409": (409, JSON, error_body()),
    "418": (418, JSON, error_body()),
    "520": (599, JSON, error_body()),
    "DashScope's": (400, JSON, b'{"code": "InvalidParameter", "message": "No more.", "request_id": "r"}'),
    "a word": (400, JSON, b'{"error": "No more."}'),
    "FastAPI's": (422, JSON, b'{"detail": "No more."}'),
    "a list": (422, JSON, b'{"detail": [{"loc": ["body"], "msg": "field required"}]}'),
    "HTML": (403, {"content-type": "text/html", "content-language": "en", "etag": '"x"'}, b"<h1>Forbidden</h1>"),
    "empty": (404, {}, b""),
    "packed": (400, {**JSON, "content-encoding": "gzip"}, gzip.compress(error_body())),
    "endless": (400, JSON, [b'{"error": "' + b"x" * 100_000, *[b"x" * 100_000] * 5, b'"}']),
    "stream": (200, EVENTS, [CHUNK, CHUNK[:9], CHUNK[9:], b"data: [DONE]\n\n"]),
    "error in stream": (200, EVENTS, [CHUNK, b"data: " + error_body(code=429) + b"\n\n"]),
    "error in pieces": (200, EVENTS, [CHUNK + b"da", b"ta: " + error_body(), b"\r\n", b"\r\n", b"data: [DONE]\n\n"]),
    "error by name": (200, EVENTS, [CHUNK, b'event: error\ndata: {"message": "No more.", "error": null}\n\n']),
    "talk of errors": (
        200,
        EVENTS,
        [b'data: {"choices": [{"delta": {"content": "{\\"error\\": 1}"}}], "error": null}\n\n'],
    ),
    "breaks off": (200, EVENTS, None),
}


@pytest.fixture(scope="module")
def upstream():
    def script(came):
        model = came.json["model"]
        if model == "breaks off":
            return 200, EVENTS, broken_off()
        return ANSWERS.get(model, (200, JSON, b'{"choices": []}'))

    with scripted(script) as server:
        yield server


@pytest.fixture(scope="module")
def relay(command, upstream):
    options = (f"relay.base_url={upstream.url}", f"relay.api_key={KEY}", "relay.retries=0", "relay.cooldown=0")
    with running(command, "relay", *[word for option in options for word in ("--set", option)]) as program:
        yield program


def chat(program, **members):
    status, fields, body = ask(program.port, "POST", "/", {"messages": MESSAGES, **members})
    return status, fields, body


# ---- what the upstream gets


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ({}, {"model": "gpt-3.5-turbo", "temperature": 0.7, "max_tokens": 1000, "stream": False}),
        ({"model": None, "temperature": None, "max_tokens": None, "stream": None, "stop": None, "user": None},
         {"model": "gpt-3.5-turbo", "temperature": 0.7, "max_tokens": 1000, "stream": False}),
        ({"model": "gpt-4o", "temperature": 0, "max_tokens": 5, "stream": True, "top_p": 0.5, "x": [None]},
         {"model": "gpt-4o", "temperature": 0, "max_tokens": 5, "stream": True, "top_p": 0.5, "x": [None]}),
        ({"model": "gpt-4o", "max_completion_tokens": 5},
         {"model": "gpt-4o", "temperature": 0.7, "max_completion_tokens": 5, "stream": False}),
        ({"model": "gpt-4o", "max_completion_tokens": None},
         {"model": "gpt-4o", "temperature": 0.7, "max_tokens": 1000, "stream": False}),
        ({"model": "gpt-5"}, {"model": "gpt-5", "max_completion_tokens": 1000, "stream": False}),
        ({"model": "o3-mini", "max_tokens": 5, "temperature": 0.2},
         {"model": "o3-mini", "max_completion_tokens": 5, "stream": False}),
        ({"model": "gpt-5", "max_tokens": 5, "max_completion_tokens": 6, "temperature": 1},
         {"model": "gpt-5", "max_completion_tokens": 6, "temperature": 1, "stream": False}),
    ],
)  # fmt: skip
def test_the_upstream_gets_what_the_page_sent_and_the_defaults(relay, upstream, asked, sent):
    assert chat(relay, **asked)[0] == 200
    came = upstream.requests[-1]
    assert (came.method, came.path) == ("POST", "/v1/chat/completions")
    assert came.json == {"messages": MESSAGES, **sent}
    assert came.fields["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("model", "reasons"),
    [(name, True) for name in ("o1", "o1-mini", "o3-2025-04-16", "o4-mini", "gpt-5", "gpt-5-mini", "gpt-5.1", "gpt-5.2-pro",
                               "gpt-6", "gpt-10-nano", "openai/gpt-5", "azure/eu/o3")]
    + [(name, False) for name in ("gpt-3.5-turbo", "gpt-4o", "gpt-4.1", "gpt-5-chat-latest", "gpt-50x", "gpt-oss-20b",
                                  "ollama", "o0", "omni", "gpt-", "deepseek-r1", "my-o1", "")],
)  # fmt: skip
def test_models_that_reason_get_the_limit_that_they_take_and_no_temperature(relay, upstream, model, reasons):
    assert chat(relay, model=model)[0] == 200
    sent = upstream.requests[-1].json
    assert (sent.get("max_completion_tokens"), sent.get("max_tokens")) == ((1000, None) if reasons else (None, 1000))
    assert ("temperature" in sent) is not reasons


@pytest.mark.parametrize("mapping", ["relay.model=o3", "relay.models=gpt-3.5-turbo = o3"])
def test_the_model_that_is_sent_in_the_end_decides(command, upstream, mapping):
    with running(command, "relay", "--set", f"relay.base_url={upstream.url}", "--set", mapping) as program:
        assert chat(program, max_tokens=7)[0] == 200
    assert upstream.requests[-1].json == {
        "messages": MESSAGES, "model": "o3", "max_completion_tokens": 7, "stream": False,
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "text/plain;charset=UTF-8", ""])
def test_a_page_may_post_without_a_preflight(relay, upstream, kind):
    body = json.dumps({"messages": MESSAGES})
    assert ask(relay.port, "POST", "/", body, content_type=kind, origin="http://localhost:1")[0] == 200
    assert upstream.requests[-1].fields["content-type"] == "application/json"


# ---- errors


def told(body):
    error = json.loads(body)
    assert list(error) == ["error", "message"]
    assert all(isinstance(text, str) and text for text in error.values())
    return error["error"], error["message"]


NO_REASON = "The upstream answered with status {} and does not say why."


@pytest.mark.parametrize(
    ("model", "status", "short", "message"),
    [
        ("429", 429, "Too many requests", "No more."),
        ("401", 401, "Unauthorized", f"Incorrect API key provided: {'*' * len(KEY)}."),
        ("409", 409, "Conflict", "No more."),
        ("418", 418, None, "No more."),
        ("520", 599, "Error", "No more."),
        ("DashScope's", 400, "Invalid request", "No more."),
        ("a word", 400, "Invalid request", "No more."),
        ("FastAPI's", 422, "Invalid request", "No more."),
        ("a list", 422, "Invalid request", NO_REASON.format(422)),
        ("HTML", 403, "Forbidden", NO_REASON.format(403)),
        ("empty", 404, "Not found", NO_REASON.format(404)),
        ("packed", 400, "Invalid request", NO_REASON.format(400)),
        ("endless", 400, "Invalid request", NO_REASON.format(400)),
    ],
)
def test_an_upstreams_error_keeps_its_status_and_has_the_doors_shape(relay, model, status, short, message):
    came, fields, body = chat(relay, model=model)
    assert came == status
    assert told(body) == (short or told(body)[0], message)
    assert fields["content-type"] == "application/json"
    assert not {"content-encoding", "content-language", "etag"} & set(fields)
    assert KEY.encode() not in body
    if model == "429":
        assert (fields["retry-after"], fields["x-request-id"]) == ("0", "up-1")
        assert fields["x-oaiserve-attempts"] == "relay=429"


@pytest.mark.parametrize(
    ("body", "status", "short", "message"),
    [
        ("{", 400, "Invalid request", "We could not parse the JSON body of your request"),
        ("[]", 400, "Invalid request", "The body must be a JSON object, but it is an array."),
        ("{}", 400, "Invalid request", "Missing required parameter: 'messages'."),
        ('{"messages": null}', 400, "Invalid request", "Missing required parameter: 'messages'."),
        ('{"messages": "Hello"}', 400, "Invalid request", "Invalid type for 'messages'"),
        ('{"messages": {}}', 400, "Invalid request", "Invalid type for 'messages'"),
        ("x" * 2048, 413, "Request too large", ""),
    ],
)
def test_our_own_errors_have_the_doors_shape(command, upstream, body, status, short, message):
    upstream.requests.clear()
    options = ("relay", "--set", f"relay.base_url={upstream.url}", "--set", "server.max_body=1k")
    with running(command, *options) as program:
        came, _, answer = ask(program.port, "POST", "/", body)
    assert (came, told(answer)[0]) == (status, short)
    assert message in told(answer)[1]
    assert not upstream.requests


@pytest.mark.parametrize("mode", ["mock", "relay", "dashscope"])
def test_every_backend_speaks_the_doors_dialect(command, mode):
    options = ("--set", f"{mode}.base_url=http://127.0.0.1:9", "--set", f"{mode}.api_key=", "--set", "relay.retries=0")
    with running(command, mode, *(options if mode != "mock" else ())) as program:
        status, _, body = ask(program.port, "POST", "/", {"messages": [{"role": "nobody", "content": 5}]})
        assert status == {"mock": 400, "relay": 502, "dashscope": 401}[mode]
        told(body)
        status, _, body = ask(program.port, "POST", "/", {"messages": MESSAGES, "model": "x" * 300})
        if mode != "mock":
            told(body)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "TRACE"])
@pytest.mark.parametrize("body", [None, "{}"])
def test_another_method_is_405_in_the_doors_shape(relay, method, body):
    status, fields, answer = ask(relay.port, method, "/", body)
    assert (status, told(answer)[0]) == (405, "Method not allowed")
    assert fields["allow"] == "GET, HEAD, POST, OPTIONS"


def test_a_body_that_cannot_be_read_is_refused_in_the_doors_shape(relay):
    answer = exchange(relay.port, b"POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert told(body)[0] == "Invalid request"


# ---- streams


def events(program, model):
    """Return the bytes of a streamed answer, and whether it ended as a body must."""
    body = json.dumps({"messages": MESSAGES, "model": model, "stream": True}).encode()
    head = b"POST / HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
    answer = exchange(program.port, head + body).rpartition(b"100 Continue\r\n\r\n")[2]
    head, _, rest = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    data, is_whole = b"", False
    while rest and not is_whole:
        size, _, rest = rest.partition(b"\r\n")
        data, rest = data + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
        is_whole = int(size, 16) == 0
    return data, is_whole


def test_a_stream_is_passed_on_as_it_came(relay):
    assert events(relay, "stream") == (CHUNK + CHUNK + b"data: [DONE]\n\n", True)
    assert events(relay, "talk of errors") == (b"".join(ANSWERS["talk of errors"][2]), True)


@pytest.mark.parametrize(
    ("model", "short", "rest"),
    [
        ("error in stream", "Too many requests", b""),
        ("error in pieces", "Upstream error", b"data: [DONE]\n\n"),
        ("error by name", "Upstream error", b""),
    ],
)
def test_an_upstreams_error_event_has_the_doors_shape(relay, model, short, rest):
    data, _ = events(relay, model)
    assert data == CHUNK + b'data: {"error":"%b","message":"No more."}\n\n' % short.encode() + rest


def test_a_stream_that_breaks_off_ends_with_an_error_event_in_the_doors_shape(relay):
    data, is_whole = events(relay, "breaks off")
    assert data.startswith(CHUNK) and not is_whole
    assert told(data[len(CHUNK) :].removeprefix(b"data: "))[0] == "Upstream error"


@pytest.mark.parametrize(
    "wrap", [bytes, lambda data: Paced([data], first_delay=0.0, delay=0.0)], ids=["sized", "chunked"]
)
def test_an_error_event_of_a_stream_that_came_whole_has_the_doors_shape(wrap):
    came = Response(200, [("content-type", "text/event-stream")], wrap(CHUNK + b"data: " + error_body() + b"\n\n"))
    body = DOOR_ERRORS.adapted(came).body
    frame = body if isinstance(body, bytes) else body.frames[0]
    assert frame == CHUNK + b'data: {"error":"Upstream error","message":"No more."}\n\n'
