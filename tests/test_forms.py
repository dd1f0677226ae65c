"""One pass through every backend and every family of the mock: what a form of the program may lack, or cannot load."""

from __future__ import annotations

import base64
import json
import os
import socket

import pytest
from programs import ANY_CHAT, ask, run

import oaiserve

pytestmark = pytest.mark.every_form

TEXT = "powered by openai"
HELLO = ANY_CHAT["messages"]
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
EXAMPLE = json.dumps({"messages": [*HELLO, {"role": "assistant", "content": "Hi"}]}).encode()


@pytest.fixture(scope="module")
def mock():
    with oaiserve.start("mock") as server:
        yield server


@pytest.fixture(scope="module")
def relay(mock):
    with oaiserve.start("relay", set={"relay.base_url": mock.url, "relay.proxy": ""}, environ={}) as server:
        yield server


@pytest.fixture(scope="module")
def dashscope(mock):
    given = {"dashscope.base_url": mock.url, "dashscope.api_key": "sk-any", "dashscope.proxy": ""}
    with oaiserve.start("dashscope", set=given, environ={}) as server:
        yield server


def asked(server, method, path, body=None, **fields):
    """Return the body of a good answer."""
    if body is not None and not isinstance(body, bytes):
        fields["content_type"] = "application/json"
    status, _, content = ask(server.port, method, path, body, **fields)
    assert status == 200, content
    return content


def made(server, path, body):
    return json.loads(asked(server, "POST", path, body))


def sent_form(server, path, fields, files=()):
    """Send a form; `files` are (field, file name, content)."""
    parts = [(f'name="{name}"', str(value).encode()) for name, value in fields.items()]
    parts += [(f'name="{name}"; filename="{file}"', content) for name, file, content in files]
    body = b"".join(
        b"--b0\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + content + b"\r\n"
        for head, content in parts
    )
    return asked(server, "POST", path, body + b"--b0--\r\n", content_type="multipart/form-data; boundary=b0")


# ---- the mock, family by family


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("backend", ["mock", "relay", "dashscope"])
def test_each_backend_answers_chat_plainly_and_streamed(backend, stream, request):
    server = request.getfixturevalue(backend)
    model = "qwen-plus" if backend == "dashscope" else "gpt-4o"
    content = asked(server, "POST", "/v1/chat/completions", {**ANY_CHAT, "model": model, "stream": stream})
    if not stream:
        assert json.loads(content)["choices"][0]["message"]["content"] == TEXT
        return
    *events, done, end = content.decode().split("\n\n")
    choices = [choice for event in events for choice in json.loads(event[len("data: ") :])["choices"]]
    assert "".join(choice["delta"].get("content") or "" for choice in choices) == TEXT
    assert (done, end) == ("data: [DONE]", "")


# (id, path, body, what stands in the answer)
FAMILIES = [
    ("text completions", "/completions", {"model": "gpt-3.5-turbo-instruct", "prompt": "x"}, TEXT),
    ("responses", "/responses", {"model": "gpt-4o", "input": "hello"}, TEXT),
    ("responses, streamed", "/responses", {"model": "gpt-4o", "input": "x", "stream": True}, "response.completed"),
    ("conversations", "/conversations", {}, '"conversation"'),
    ("embeddings", "/embeddings", {"model": "text-embedding-3-small", "input": "x", "dimensions": 4}, '"embedding"'),
    ("moderations", "/moderations", {"input": "I will kill you"}, '"flagged":true'),
    ("images", "/images/generations", {"prompt": "x", "model": "gpt-image-1"}, '"b64_json"'),
    ("vector stores", "/vector_stores", {"name": "s"}, '"vector_store"'),
    ("containers", "/containers", {"name": "c"}, '"container"'),
    ("assistants", "/assistants", {"model": "gpt-4o"}, '"assistant"'),
    ("threads", "/threads", {"messages": HELLO}, '"thread"'),
    ("agents", "/agents/sessions", {"environment": {"type": "none"}, "input": "hello"}, '"agent.session"'),
    ("secrets of realtime", "/realtime/client_secrets", {}, '"ek_'),
    (
        "a schema of one's own",
        "/chat/completions",
        {
            **ANY_CHAT,
            "response_format": {
                "type": "json_schema",
                "json_schema": {
                    "name": "s",
                    "schema": {"type": "object", "required": ["a"], "properties": {"a": {"pattern": "^x{3}$"}}},
                },
            },
        },
        "xxx",
    ),
]


@pytest.mark.parametrize(("path", "body", "expected"), [row[1:] for row in FAMILIES], ids=[row[0] for row in FAMILIES])
def test_each_family_of_the_mock_answers(mock, path, body, expected):
    assert expected in asked(mock, "POST", f"/v1{path}", body).decode()


# (id, path, fields, files, what stands in the answer)
FORMS = [
    ("files", "/files", {"purpose": "assistants"}, [("file", "a.txt", b"text")], b'"file"'),
    ("skills", "/skills", {}, [("files", "s/SKILL.md", b"---\nname: s\ndescription: d\n---\n")], b'"skill"'),
    ("videos", "/videos", {"prompt": "x"}, [], b'"video"'),
    ("edits", "/images/edits", {"prompt": "x", "model": "gpt-image-1"}, [("image", "a.png", PIXEL)], b'"b64_json"'),
]


@pytest.mark.parametrize(
    ("path", "fields", "files", "expected"), [row[1:] for row in FORMS], ids=[row[0] for row in FORMS]
)
def test_each_family_of_the_mock_takes_forms(mock, path, fields, files, expected):
    assert expected in sent_form(mock, f"/v1{path}", fields, files)


def test_speech_is_heard_again(mock):
    speech = {"model": "tts-1", "voice": "alloy", "input": "one two", "response_format": "wav"}
    sound = asked(mock, "POST", "/v1/audio/speech", speech)
    assert sound.startswith(b"RIFF")
    heard = sent_form(mock, "/v1/audio/transcriptions", {"model": "whisper-1"}, [("file", "a.wav", sound)])
    assert json.loads(heard)["text"]


def test_jobs_begin(mock):
    line = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": ANY_CHAT}
    files = [("file", "in.jsonl", json.dumps(line).encode())]
    file = json.loads(sent_form(mock, "/v1/files", {"purpose": "batch"}, files))
    batch = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    assert made(mock, "/v1/batches", batch)["object"] == "batch"
    files = [("file", "t.jsonl", b"\n".join([EXAMPLE] * 10))]
    file = json.loads(sent_form(mock, "/v1/files", {"purpose": "fine-tune"}, files))
    job = made(mock, "/v1/fine_tuning/jobs", {"model": "gpt-4o-mini", "training_file": file["id"]})
    assert job["object"] == "fine_tuning.job"
    upload = {"bytes": 1, "filename": "a", "mime_type": "text/plain", "purpose": "assistants"}
    assert made(mock, "/v1/uploads", upload)["object"] == "upload"
    run = {"assistant_id": made(mock, "/v1/assistants", {"model": "gpt-4o"})["id"], "thread": {"messages": HELLO}}
    assert made(mock, "/v1/threads/runs", run)["object"] == "thread.run"


def test_graders_grade(mock):
    grader = {"type": "string_check", "name": "g", "operation": "eq", "input": "a", "reference": "a"}
    graded = made(mock, "/v1/fine_tuning/alpha/graders/run", {"grader": grader, "model_sample": "a"})
    assert graded["reward"] == 1


@pytest.mark.parametrize("path", ["/organization/projects", "/organization/usage/completions?start_time=0", "/evals"])
def test_lists_are_listed(mock, path):
    assert json.loads(asked(mock, "GET", f"/v1{path}"))["object"] in ("list", "page")


def test_realtime_begins_a_session(mock):
    with socket.create_connection(("127.0.0.1", mock.port), timeout=100) as sock:
        sock.sendall(
            b"GET /v1/realtime?model=gpt-realtime HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
            b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        received = b""
        while b"session.created" not in received:
            data = sock.recv(65536)
            assert data, received
            received += data
    assert received.startswith(b"HTTP/1.1 101 ") and b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in received


# ---- the others


def test_relay_passes_on_what_is_no_chat(relay, mock):
    assert TEXT in asked(relay, "POST", "/v1/responses", {"model": "gpt-4o", "input": "x"}).decode()
    sent_form(relay, "/v1/files", {"purpose": "assistants"}, [("file", "a.txt", b"relayed")])
    assert mock.requests[-1].path == "/v1/files"


# (id, path, body, what stands in the answer, the native path)
TRANSLATED = [
    ("embeddings", "/embeddings", {"model": "text-embedding-v4", "input": ["a"]}, b'"embedding"', "text-embedding"),
    ("images", "/images/generations", {"model": "qwen-image", "prompt": "a cat"}, b'"url"', "aigc"),
    ("rerank", "/rerank", {"model": "qwen3-rerank", "query": "a", "documents": ["a"]}, b'"results"', "rerank"),
    ("speech", "/audio/speech", {"model": "qwen3-tts-flash", "input": "a", "voice": "alloy", "response_format": "wav"},
     b"RIFF", "multimodal-generation"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "body", "expected", "native"), [row[1:] for row in TRANSLATED], ids=[row[0] for row in TRANSLATED]
)
def test_dashscope_translates_each_kind(dashscope, mock, path, body, expected, native):
    assert expected in asked(dashscope, "POST", f"/v1{path}", body)
    assert any(request.path.startswith("/api/v1/") and native in request.path for request in mock.requests)


@pytest.mark.parametrize("backend", ["mock", "relay", "dashscope"])
def test_trial_finds_each_backend_well(backend, command, request):
    server = request.getfixturevalue(backend)
    status, output, errors = run(command, "try", server.url, "--key", "sk-any", "--model", "qwen-plus")
    assert (status, errors) == (0, ""), output


def test_bundle_is_made_from_a_source_tree_only(command):
    status, output, errors = run(command, "bundle", "out")
    if os.path.isdir(os.path.join(os.path.dirname(command[-1]), "protocol")):
        assert (status, errors) == (0, "") and output.splitlines() == [
            os.path.join("out", "oaiserve.py"),
            os.path.join("out", "oaiserve.pyz"),
        ]
    else:
        assert status == 1 and errors.startswith("oaiserve: ") and errors.count("\n") == 1
