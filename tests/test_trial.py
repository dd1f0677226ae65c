"""The test client against a scripted server: what it says, what it exits with, what it sends."""

from __future__ import annotations

import io
import itertools
import json
import re
import socket
import ssl
import threading

import pytest
from certificates import Certificate

import oaiserve
from protocol.errors import UsageError
from protocol.program import command_line
from protocol.tools.trial import run_trial
from protocol.tools.trial_client import connect_within

KEY = "sk-test-0123456789"
HOLD = object()  # in an answer: send nothing more, and wait until the client has gone


# ---- answers ----------------------------------------------------------------------------------------------------


def http(status: int, body: object, content_type: str = "application/json", fields: str = "") -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status} Reason\r\ncontent-type: {content_type}\r\n{fields}content-length: {len(data)}\r\n\r\n"
    return head.encode() + data


def api_error(status: int, message: str, type_: str) -> bytes:
    return http(status, {"error": {"message": message, "type": type_, "param": None, "code": None}})


def chat(content: object) -> bytes:
    return http(200, {"object": "chat.completion", "choices": [{"index": 0, "message": {"content": content}}]})


def chunk(delta: dict) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": delta}]}).encode() + b"\n\n"


STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
DONE = b"data: [DONE]\n\n"
WORDS = [
    chunk({"role": "assistant"}),
    chunk({"content": "powered "}),
    chunk({"content": "by "}),
    chunk({"content": "openai"}),
]


def chunked(*events: bytes) -> list[bytes]:
    return [b"%x\r\n%b\r\n" % (len(event), event) for event in events]


def stream(*events: bytes) -> list[bytes]:
    return [STREAM_HEAD, *chunked(*events), b"0\r\n\r\n"]


NEEDS_KEY = api_error(401, "You did not provide an API key.", "authentication_error")
NOT_FOUND = http(404, b"<h1>Not Found</h1>", "text/html")

GOOD = {
    "health": http(200, {"status": "healthy", "timestamp": 1, "service": "oaiserve"}),
    "models": http(200, {"object": "list", "data": [{"id": "text-embedding-3-small"}, {"id": "gpt-test"}]}),
    "plain": chat("powered by openai"),
    "stream": stream(*WORDS, chunk({}), b'data: {"choices":[],"usage":{}}\n\n', DONE),
    "error": api_error(400, "messages must not be empty", "invalid_request_error"),
}


# ---- the server that gives them ---------------------------------------------------------------------------------


class Asked:
    """One request as it came."""

    def __init__(self, data: bytes) -> None:
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.method, self.path, _ = lines[0].split(" ")
        self.fields = dict(line.split(": ", 1) for line in lines[1:])
        self.json = json.loads(body) if body else None

    @property
    def step(self) -> str:
        if self.json is None or "messages" not in self.json:
            return self.path.rsplit("/", 1)[1]
        if not self.json["messages"]:
            return "error"
        return "stream" if self.json["stream"] else "plain"

    @property
    def key(self) -> str | None:
        return self.fields.get("authorization")


class ScriptedServer:
    """Answers each step of the trial as `answers` says: bytes, pieces of bytes, or a function of the request.

    An answer for "first bytes" is sent to whoever connects, without reading a request.
    """

    def __init__(self, answers: dict, tls: ssl.SSLContext | None = None) -> None:
        self.asked: list[Asked] = []
        self._answers = answers
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(20)
        self.port = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._closing = False
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> ScriptedServer:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._closing = True
        with socket.create_connection(("127.0.0.1", self.port), 10):
            pass  # wakes the thread
        self._thread.join(20)
        self._listener.close()

    def _serve(self) -> None:
        while not self._closing:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(20)
                if not self._closing:
                    self._try_to_answer(connection)

    def _try_to_answer(self, connection: socket.socket) -> None:
        try:
            if self._tls is None:
                self._answer(connection)
            else:
                with self._tls.wrap_socket(connection, server_side=True) as wrapped:
                    self._answer(wrapped)
        except OSError:
            pass  # the client has gone, as some tests want it to

    def _answer(self, connection: socket.socket) -> None:
        pieces = self._answers.get("first bytes")
        if pieces is None:
            data = b""
            while not re.search(rb"\r\n\r\n", data) or len(data) < request_length(data):
                piece = connection.recv(65536)
                if not piece:
                    return
                data += piece
            self.asked.append(Asked(data))
            pieces = self._answers[self.asked[-1].step]
            if callable(pieces):
                pieces = pieces(self.asked[-1])
        for piece in [pieces] if isinstance(pieces, bytes) else pieces:
            if piece is HOLD:
                while connection.recv(65536):
                    pass
            else:
                connection.sendall(piece)


def request_length(data: bytes) -> int:
    head, _, _ = data.partition(b"\r\n\r\n")
    length = re.search(rb"(?m)^content-length: (\d+)", head)
    return len(head) + 4 + (int(length[1]) if length else 0)


class Trial:
    """What a trial returned and wrote."""

    def __init__(self, url: str, **options: object) -> None:
        out = options.pop("out", None) or io.StringIO()
        defaults = {"key": None, "model": None, "timeout_seconds": 10.0, "environ": {}, "ask_key": None}
        self.code = run_trial(url, out=out, **{**defaults, **options})
        self.text = out.getvalue() if isinstance(out, io.StringIO) else ""

    @property
    def rows(self) -> dict[str, tuple[str, str]]:
        """Result and detail of each step in the table."""
        table = self.text.partition("seconds\n")[2].partition("\n\n")[0]
        found = re.findall(r"(?m)^(\w+(?: \w+)?) {2,}(ok|failed|-|not run) *[0-9.]*(?:  (.*))?$", table)
        return {name: (result, detail) for name, result, detail in found}


def try_answers(answers: dict, **options: object) -> Trial:
    with ScriptedServer({**GOOD, **answers}) as server:
        return Trial(server.url, **options)


# ---- all well ---------------------------------------------------------------------------------------------------


def test_shows_steps_words_and_table():
    clock = itertools.count(0, 0.25)
    with ScriptedServer(GOOD) as server:
        trial = Trial(server.url, clock=lambda: next(clock))
    assert trial.text == (
        f"Trying {server.url}/v1 without a key\n"
        "1/5 health \n"
        "2/5 models \n"
        "3/5 plain answer \n"
        "4/5 streamed answer powered by openai\n"
        "5/5 deliberate error \n"
        "\n"
        "step              result    seconds\n"
        "health            ok          0.250  oaiserve says 'healthy'\n"
        "models            ok          0.250  2 models; going on with gpt-test\n"
        "plain answer      ok          0.250  gpt-test says 'powered by openai'\n"
        "streamed answer   ok          1.000  3 words, the first after 0.250 s, 4.0 words/s\n"
        "deliberate error  ok          0.250  HTTP 400 invalid_request_error: messages must not be empty\n"
        "\n"
        "All is well.\n"
    )
    assert trial.code == 0


def test_sends_what_a_client_sends():
    with ScriptedServer(GOOD) as server:
        Trial(server.url, key=KEY, model="m-1")
    assert [(asked.method, asked.path) for asked in server.asked] == [
        ("GET", "/health"),
        ("GET", "/v1/models"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/chat/completions"),
    ]
    question = [{"role": "user", "content": "Say hello in one short sentence."}]
    assert [asked.json for asked in server.asked[2:]] == [
        {"model": "m-1", "messages": question, "stream": False},
        {"model": "m-1", "messages": question, "stream": True},
        {"model": "m-1", "messages": []},
    ]
    assert {asked.key for asked in server.asked} == {f"Bearer {KEY}"}
    assert {asked.fields["host"] for asked in server.asked} == {f"127.0.0.1:{server.port}"}


@pytest.mark.parametrize(
    ("path", "health", "models"),
    [
        ("", "/health", "/v1/models"),
        ("/", "/health", "/v1/models"),
        ("/v1", "/health", "/v1/models"),
        ("/v1/", "/health", "/v1/models"),
        ("/compatible-mode", "/compatible-mode/health", "/compatible-mode/v1/models"),
        ("/compatible-mode/v1", "/compatible-mode/health", "/compatible-mode/v1/models"),
        ("/api/paas/v4", "/api/paas/health", "/api/paas/v4/models"),
        ("/v1beta/openai/", "/health", "/v1beta/openai/models"),
        ("/vendor", "/vendor/health", "/vendor/v1/models"),
    ],
)
def test_takes_base_url_with_or_without_version(path, health, models):
    with ScriptedServer(GOOD) as server:
        assert Trial(server.url + path).code == 0
    assert [asked.path for asked in server.asked[:2]] == [health, models]


class WatchedOut(io.StringIO):
    """Tells when a word has been written."""

    def __init__(self, word: str) -> None:
        super().__init__()
        self.seen = threading.Event()
        self._word = word

    def write(self, text: str) -> int:
        if self._word in text:
            self.seen.set()
        return super().write(text)


def test_shows_each_word_as_it_arrives():
    out = WatchedOut("powered")

    def words(asked: Asked):
        yield STREAM_HEAD
        yield from chunked(*WORDS[:2])
        # The rest is only sent once the first word is on the screen.
        yield from chunked(*(WORDS[2:] if out.seen.wait(10) else [chunk({"content": "(held back)"})]), DONE)
        yield b"0\r\n\r\n"

    assert try_answers({"stream": words}, out=out).code == 0
    assert "streamed answer powered by openai\n" in out.getvalue()


@pytest.mark.parametrize(
    ("pieces", "detail"),
    [
        ([WORDS[1] + WORDS[2]], "2 words, the first after 0.250 s, 4.0 words/s"),
        ([chunk({"content": "one two three"})], "3 words, the first after 0.250 s, the rest at once"),
        ([chunk({"content": "你好"}), chunk({"content": "，世界"})], "5 words, the first after 0.250 s, 12.0 words/s"),
    ],
    ids=["two_chunks", "one_chunk", "chinese"],
)
def test_counts_words(pieces, detail):
    clock = itertools.count(0, 0.25)
    trial = try_answers({"stream": stream(*pieces, DONE)}, clock=lambda: next(clock))
    assert trial.rows["streamed answer"] == ("ok", detail)


def test_reads_stream_that_ends_with_the_connection():
    head = b"HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    assert try_answers({"stream": [head, *WORDS, DONE]}).code == 0


def test_skips_interim_answers():
    assert try_answers({"plain": b"HTTP/1.1 103 Early Hints\r\n\r\n" + GOOD["plain"]}).code == 0


# ---- other servers, other models --------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403, 404, 405], ids=str)
def test_goes_on_where_there_is_no_health(status):
    trial = try_answers({"health": http(status, b"no")})
    assert trial.rows["health"] == ("-", f"no /health here (HTTP {status}): not oaiserve; going on")
    assert trial.code == 0


def test_takes_any_success_for_health():
    trial = try_answers({"health": http(200, b"", "text/plain")})
    assert (trial.code, trial.rows["health"]) == (0, ("ok", "HTTP 200"))


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (http(503, {"status": "draining"}), "HTTP 503: the server says 'draining'"),
        (http(502, b"bad gateway"), "HTTP 502 Reason: 'bad gateway'"),
    ],
    ids=["draining", "gateway"],
)
def test_unhealthy_server_fails_but_is_tried(answer, detail):
    trial = try_answers({"health": answer})
    assert (trial.code, trial.rows["health"]) == (1, ("failed", detail))
    assert trial.rows["plain answer"][0] == "ok"


def test_says_that_server_accepts_the_error():
    trial = try_answers({"error": chat("powered by openai")})
    detail = "HTTP 200: it accepts an empty list of messages, which OpenAI refuses"
    assert trial.rows["deliberate error"] == ("-", detail)
    assert trial.code == 0


@pytest.mark.parametrize(
    ("listed", "model", "used", "detail"),
    [
        (["whisper-1", "gpt-a", "gpt-b"], None, "gpt-a", "3 models; going on with gpt-a"),
        (
            ["qwen3-asr-flash", "Qwen2.5-7B-Instruct"],
            None,
            "Qwen2.5-7B-Instruct",
            "2 models; going on with Qwen2.5-7B-Instruct",
        ),
        (["dall-e-3"], None, "gpt-4o-mini", "1 model; going on with gpt-4o-mini"),
        ([], None, "gpt-4o-mini", "0 models; going on with gpt-4o-mini"),
        (["gpt-a"], "gpt-a", "gpt-a", "1 model"),
        (["gpt-a"], "gpt-z", "gpt-z", "1 model; gpt-z is not among them"),
    ],
    ids=["first_chat_model", "open_models", "none_for_chat", "none", "given", "given_but_not_listed"],
)
def test_chooses_a_model(listed, model, used, detail):
    models = http(200, {"data": [{"id": name} for name in listed]})
    with ScriptedServer({**GOOD, "models": models}) as server:
        trial = Trial(server.url, model=model)
    assert trial.rows["models"] == ("ok", detail)
    assert {asked.json["model"] for asked in server.asked[2:]} == {used}


def test_failed_list_of_models_does_not_end_the_trial():
    trial = try_answers({"models": NOT_FOUND})
    result, detail = trial.rows["models"]
    assert (trial.code, result) == (1, "failed")
    assert detail.startswith("HTTP 404: is this the base URL of an OpenAI-compatible API? It says '<h1>")
    assert trial.rows["plain answer"] == ("ok", "gpt-4o-mini says 'powered by openai'")
    assert trial.text.endswith("\n1 of 5 steps failed or could not run.\n")


# ---- keys -------------------------------------------------------------------------------------------------------


def only_with(key: str) -> dict:
    """Return answers that all want this key, except health."""

    def guarded(answer):
        return lambda asked: answer if asked.key == f"Bearer {key}" else NEEDS_KEY

    return {step: answer if step == "health" else guarded(answer) for step, answer in GOOD.items()}


@pytest.mark.parametrize(
    ("key", "environ", "source"),
    [
        (KEY, {"OPENAI_API_KEY": "sk-other"}, "--key"),
        (None, {"OPENAI_API_KEY": KEY, "DASHSCOPE_API_KEY": "sk-other"}, "OPENAI_API_KEY"),
        (None, {"DASHSCOPE_API_KEY": KEY}, "DASHSCOPE_API_KEY"),
        ("", {"OPENAI_API_KEY": " ", "DASHSCOPE_API_KEY": f" {KEY}\n"}, "DASHSCOPE_API_KEY"),
    ],
    ids=["option_first", "then_openai", "then_dashscope", "empty_is_none"],
)
def test_takes_key_from_option_then_environment(key, environ, source):
    trial = try_answers(only_with(KEY), key=key, environ=environ)
    assert trial.code == 0
    assert trial.text.splitlines()[0].endswith(f"/v1 with the key of {source}")


def test_asks_for_key_once_when_one_is_needed():
    prompts = []

    def ask_key(prompt: str) -> str:
        prompts.append(prompt)
        return f" {KEY}\n"

    with ScriptedServer(only_with(KEY)) as server:
        trial = Trial(server.url, ask_key=ask_key)
    assert trial.code == 0
    assert prompts == [f"Key for 127.0.0.1:{server.port} (not shown): "]
    assert [asked.key for asked in server.asked] == [None, None] + [f"Bearer {KEY}"] * 4
    assert KEY not in trial.text


def test_time_spent_on_asking_for_key_is_not_the_step_s():
    now = [0.0]

    def ask_key(prompt: str) -> str:
        now[0] += 100
        return KEY

    trial = try_answers(only_with(KEY), ask_key=ask_key, clock=lambda: now[0])
    assert re.search(r"(?m)^models +ok +0\.000 ", trial.text)


def test_asks_for_key_when_only_chat_needs_one():
    trial = try_answers({**only_with(KEY), "models": GOOD["models"]}, ask_key=lambda prompt: KEY)
    assert trial.code == 0


def test_does_not_ask_for_key_that_nobody_wants():
    def ask_key(prompt: str) -> str:
        raise AssertionError("asked")

    assert try_answers({}, ask_key=ask_key).code == 0


def no_answer(prompt: str) -> str:
    raise EOFError


@pytest.mark.parametrize("ask_key", [None, lambda prompt: " ", no_answer], ids=["nobody", "empty", "end_of_input"])
def test_ends_where_a_key_is_needed_and_none_comes(ask_key):
    trial = try_answers(only_with(KEY), ask_key=ask_key)
    assert trial.code == 1
    assert trial.rows["models"] == (
        "failed",
        "it wants a key: give --key, or set OPENAI_API_KEY or DASHSCOPE_API_KEY "
        "(HTTP 401 authentication_error: You did not provide an API key.)",
    )
    assert list(trial.rows.values())[2:] == [("not run", "")] * 3
    assert trial.text.endswith("\n4 of 5 steps failed or could not run.\n")


def test_refused_key_names_its_source_and_is_not_asked_again():
    def ask_key(prompt: str) -> str:
        raise AssertionError("asked")

    trial = try_answers(only_with("another"), environ={"OPENAI_API_KEY": KEY}, ask_key=ask_key)
    assert trial.code == 1
    assert trial.rows["models"][1].startswith("the server refuses the key of OPENAI_API_KEY: HTTP 401 authentication")


def test_refused_key_that_was_asked_for():
    trial = try_answers(only_with("another"), ask_key=lambda prompt: KEY)
    assert trial.rows["models"][1].startswith("the server refuses that key: HTTP 401 authentication_error")
    assert list(trial.rows.values())[2:] == [("not run", "")] * 3


ITS_UPSTREAM = http(
    401, {"error": {"message": "Incorrect API key provided", "type": "invalid_request_error"}},
    fields="x-oaiserve-attempts: spare=503,relay=401\r\n",
)  # fmt: skip
REFUSED = "HTTP 401 invalid_request_error: Incorrect API key provided"


@pytest.mark.parametrize("key", [KEY, None], ids=["with a key", "without"])
@pytest.mark.parametrize(
    ("own", "features", "detail"),
    [
        (
            ["relay"], [],
            "your key is not the matter: the upstream behind its backend 'relay' refuses the server's own key, "
            f"which its owner sets as api_key: {REFUSED}",
        ),
        (
            ["spare"], ["keys"],
            "your key is not the matter: the upstream behind its backend 'relay' wants one, and the server has none "
            f"for it, which its owner sets as api_key: {REFUSED}",
        ),
    ],
    ids=["the server's", "nobody's"],
)  # fmt: skip
def test_tells_that_it_is_the_servers_key_that_is_refused(key, own, features, detail):
    def ask_key(prompt: str) -> str:
        raise AssertionError("asked")

    says = http(200, {"service": "oaiserve", "own_keys": own, "features": features})
    trial = try_answers({"models": ITS_UPSTREAM, "": says}, key=key, ask_key=ask_key)
    assert trial.rows["models"] == ("failed", detail[:300])


@pytest.mark.parametrize("says", [http(200, {"own_keys": ["spare"], "features": []}), NOT_FOUND])
def test_tells_that_the_upstream_refuses_the_users_key(says):
    trial = try_answers({"models": ITS_UPSTREAM, "": says}, key=KEY)
    detail = f"the upstream behind its backend 'relay' refuses the key of --key: {REFUSED}"
    assert trial.rows["models"] == ("failed", detail)


def test_impossible_key_that_was_asked_for():
    trial = try_answers(only_with(KEY), ask_key=lambda prompt: "a secret")
    assert trial.rows["models"] == ("failed", "that key has characters that no key has")
    assert "a secret" not in trial.text


@pytest.mark.parametrize("padding", [0, 150, 240, 250, 260, 1970, 1990], ids=str)
def test_never_shows_the_key_even_if_the_server_does(padding):
    echo = api_error(400, "x" * padding + f" key {KEY} is fine", "invalid_request_error")
    html = http(500, b"y" * padding + KEY.encode() * 3, "text/html")
    answers = {"error": echo, "plain": html, "stream": stream(chunk({"content": f"key {KEY}"}), DONE)}
    trial = try_answers(answers, key=KEY)
    assert "streamed answer key ***\n" in trial.text
    assert KEY[:6] not in trial.text


def test_short_stand_in_key_does_not_blot_out_words():
    trial = try_answers({}, key="open")
    assert "streamed answer powered by openai\n" in trial.text


# ---- what servers do wrong --------------------------------------------------------------------------------------

# (step and fault, answer, beginning of what is said)
BROKEN = [
    ("models_not_json", http(200, b"{broken"), "expected a list of models as JSON, got '{broken'"),
    ("models_empty_body", http(200, b""), "expected a list of models as JSON, got nothing"),
    ("models_nested_deep", http(200, b"[" * 100_000), "expected a list of models as JSON, got '[[[["),
    ("models_other_json", http(200, {"models": []}), "expected a list of models, got '{\"models\": []}'"),
    (
        "models_redirected",
        http(308, b"", fields="location: https://x.test/v1\r\n"),
        "HTTP 308: it redirects to 'https://x.test/v1'; try that URL",
    ),
    ("plain_not_json", http(200, b"<html>", "text/html"), "expected a chat completion as JSON, got '<html>'"),
    ("plain_not_utf8", http(200, b"\xff\xfe"), "expected a chat completion as JSON, got '\ufffd\ufffd'"),
    ("plain_no_choices", http(200, {"choices": []}), "expected choices[0].message.content, got '{\"choices\": []}'"),
    ("plain_no_text", chat(None), "expected choices[0].message.content, got "),
    ("plain_empty_text", chat(""), "expected choices[0].message.content, got "),
    ("plain_error", api_error(429, "Slow down.", "rate_limit_error"), "HTTP 429 rate_limit_error: Slow down."),
    ("plain_500", http(500, b"oh dear", "text/plain"), "HTTP 500 Reason: 'oh dear'"),
    ("plain_fastapi_error", http(422, {"detail": "no"}), 'HTTP 422 Reason: \'{"detail": "no"}\''),
    ("plain_short_body", GOOD["plain"][:-3], "broken HTTP: The connection ended within the body."),
    ("plain_no_answer", b"", "the server closed the connection without an answer; if it speaks TLS, use https://"),
    (
        "plain_half_a_head",
        b"HTTP/1.1 200 OK\r\ncontent-",
        "broken HTTP: The connection ended within the answer's head.",
    ),
    (
        "plain_two_lengths",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{}",
        "broken HTTP: Content-Length came with",
    ),
    (
        "plain_switches_protocols",
        b"HTTP/1.1 101 Go\r\nupgrade: x\r\n\r\n",
        "the server closed the connection without an answer",
    ),
    (
        "plain_too_large",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99000000\r\n\r\n",
        "broken HTTP: The body has 99000000 bytes",
    ),
    (
        "stream_error_status",
        api_error(404, "No such model.", "invalid_request_error"),
        "HTTP 404 invalid_request_error: No such model.",
    ),
    (
        "stream_is_plain",
        GOOD["plain"],
        "expected the content type text/event-stream, got application/json: it does not stream",
    ),
    (
        "stream_without_type",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"".join([*WORDS, DONE]),
        "expected the content type text/event-stream, got nothing",
    ),
    ("stream_without_done", stream(*WORDS), "the stream ended without `data: [DONE]`"),
    ("stream_without_text", stream(WORDS[0], chunk({}), DONE), "the stream holds no text"),
    ("stream_breaks_in_event", stream(*WORDS, b"data: {"), "the stream broke off inside an event"),
    ("stream_done_without_empty_line", stream(*WORDS, b"data: [DONE]\n"), "the stream broke off inside an event"),
    (
        "stream_chunk_not_json",
        stream(*WORDS, b"data: {broken\n\n", DONE),
        "expected a chunk of the stream as JSON, got '{broken'",
    ),
    (
        "stream_chunk_without_choices",
        stream(b'data: {"a": 1}\n\n', DONE),
        "expected a chunk with choices, got '{\"a\": 1}'",
    ),
    (
        "stream_carries_error",
        stream(*WORDS, b'data: {"error": {"message": "Gone.", "type": "upstream_error"}}\n\n'),
        "an error came within the stream: upstream_error: Gone.",
    ),
    (
        "stream_wrong_chunk_size",
        [STREAM_HEAD, b"zz\r\ndata: x\n\n\r\n0\r\n\r\n"],
        "broken HTTP: A chunk must begin with its size in hex digits",
    ),
    (
        "stream_wrong_chunk_end",
        [STREAM_HEAD, b"3\r\ndata: x\n\n\r\n0\r\n\r\n"],
        "broken HTTP: A chunk's data must be followed by CR LF",
    ),
    ("stream_cut_off", [STREAM_HEAD, *chunked(*WORDS)], "broken HTTP: The connection ended within the body."),
    (
        "stream_cut_off_after_done",
        [STREAM_HEAD, *chunked(*WORDS, DONE)],
        "after [DONE]: broken HTTP: The connection ended",
    ),
    ("error_not_json", http(400, b"no", "text/plain"), "expected an error as JSON, got 'no'"),
    (
        "error_other_shape",
        http(400, {"error": "no"}),
        'expected an error in OpenAI\'s shape, got HTTP 400 \'{"error": "no"}\'',
    ),
    (
        "error_without_type",
        http(422, {"error": {"message": "no"}}),
        "expected an error in OpenAI's shape, got HTTP 422",
    ),
    ("error_is_500", api_error(500, "Oh dear.", "internal_error"), "HTTP 500 internal_error: Oh dear."),
    ("error_is_429", api_error(429, "Slow down.", "rate_limit_error"), "HTTP 429 rate_limit_error: Slow down."),
]

STEP_NAMES = {"models": "models", "plain": "plain answer", "stream": "streamed answer", "error": "deliberate error"}


@pytest.mark.parametrize(("fault", "answer", "detail"), BROKEN, ids=[case[0] for case in BROKEN])
def test_says_what_the_server_does_wrong_and_goes_on(fault, answer, detail):
    step = fault.partition("_")[0]
    trial = try_answers({step: answer})
    result, said = trial.rows[STEP_NAMES[step]]
    assert (trial.code, result, said[: len(detail)]) == (1, "failed", detail)
    others = {name: row for name, row in trial.rows.items() if name != STEP_NAMES[step]}
    assert len(others) == 4
    assert {row[0] for row in others.values()} == {"ok"}


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        ([HOLD], "no byte came for 1 s; --timeout waits longer"),
        ([STREAM_HEAD[:30], HOLD], "no byte came for 1 s; --timeout waits longer"),
        ([STREAM_HEAD, *chunked(*WORDS), HOLD], "no byte came for 1 s; --timeout waits longer"),
        ([STREAM_HEAD, *chunked(*WORDS, DONE), HOLD], "after [DONE]: no byte came for 1 s; --timeout waits longer"),
    ],
    ids=["no_head", "half_a_head", "within_the_stream", "stream_that_does_not_end"],
)
def test_does_not_wait_for_ever(answer, detail):
    trial = try_answers({"stream": answer}, timeout_seconds=1)
    assert (trial.code, trial.rows["streamed answer"]) == (1, ("failed", detail))
    assert trial.rows["deliberate error"][0] == "not run", "whoever hangs is waited for once"


def test_a_server_that_hangs_is_waited_for_once():
    with ScriptedServer({"first bytes": [HOLD]}) as server:
        trial = Trial(server.url, timeout_seconds=1)
    assert trial.rows["health"] == ("failed", "no byte came for 1 s; --timeout waits longer")
    assert list(trial.rows.values())[1:] == [("not run", "")] * 4


def test_the_addresses_of_a_host_share_the_time_limit(monkeypatch):
    asked = []

    def connect(address, seconds):
        asked.append((address, seconds))
        raise socket.timeout("timed out")

    found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (f"192.0.2.{number}", 80)) for number in (1, 2, 3)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(socket.timeout):
        connect_within(("api.test", 80), 30.0)
    assert [address for address, _ in asked] == [("192.0.2.1", 80), ("192.0.2.2", 80), ("192.0.2.3", 80)]
    assert [round(seconds) for _, seconds in asked] == [10, 15, 30], "a share of what is left, and no time has passed"


def test_long_details_are_cut_and_cannot_move_the_cursor():
    nasty = "\x1b[2J\x1b]0;title\x07\r\x9b" + "line\n" * 200
    trial = try_answers({"error": api_error(400, nasty, "invalid"), "stream": stream(chunk({"content": nasty}), DONE)})
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", trial.text)
    assert trial.rows["deliberate error"][1].endswith("...")
    assert len(trial.rows["deliberate error"][1]) == 300
    assert trial.code == 0


def test_writes_question_mark_for_what_the_console_lacks():
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding="cp1252") as out:
        trial = try_answers({"stream": stream(chunk({"content": "é 你好"}), DONE)}, out=out)
        assert "streamed answer é ??".encode("cp1252") in raw.getvalue()
    assert trial.code == 0


# ---- no way there -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("greeting", "detail"),
    [
        (b"SSH-2.0-OpenSSH_9.9\r\n", "{where} does not speak HTTP: An answer must begin with 'HTTP/1.1', but b'SSH-"),
        (b"\x15\x03\x03\x00\x02\x02\x0a", "{where} speaks TLS: use https://"),
    ],
    ids=["ssh", "tls_alert"],
)
def test_says_what_speaks_there_instead_of_http(greeting, detail):
    with ScriptedServer({"first bytes": [greeting, HOLD]}) as server:
        trial = Trial(server.url)
    result, said = trial.rows["health"]
    assert (trial.code, result) == (1, "failed")
    assert said.startswith(detail.format(where=f"127.0.0.1:{server.port}"))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("tls"))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_speaks_tls(certificate, host):
    with ScriptedServer(GOOD, certificate.server_context()) as server:
        trial = Trial(f"https://{host}:{server.port}", tls=certificate.client_context())
    assert (trial.code, trial.rows["streamed answer"][0]) == (0, "ok")


def test_refuses_certificate_that_is_not_trusted(certificate):
    with ScriptedServer(GOOD, certificate.server_context()) as server:
        trial = Trial(server.url, key=KEY)
    result, detail = trial.rows["health"]
    assert (trial.code, result) == (1, "failed")
    assert detail.startswith(f"the certificate of 127.0.0.1:{server.port} is not trusted: self")
    assert detail.endswith("; set SSL_CERT_FILE to a file with the one to trust")
    assert list(trial.rows.values())[1:] == [("not run", "")] * 4
    assert not server.asked


def test_says_that_a_plain_port_does_not_speak_tls():
    with ScriptedServer({"first bytes": [b"HTTP/1.1 400 Bad Request\r\n\r\n", HOLD]}) as server:
        trial = Trial(server.url.replace("http:", "https:"))
    result, detail = trial.rows["health"]
    assert (trial.code, result) == (1, "failed")
    assert re.fullmatch(f"TLS with 127.0.0.1:{server.port} failed: .+; if it speaks plain HTTP, use http://", detail)


def test_silent_tls_handshake_times_out():
    with ScriptedServer({"first bytes": [HOLD]}) as server:
        trial = Trial(server.url.replace("http:", "https:"), timeout_seconds=1)
    assert trial.rows["health"][1] == (
        f"TLS with 127.0.0.1:{server.port} failed: no answer within 1 s; if it speaks plain HTTP, use http://"
    )


def test_advises_to_start_the_server_where_nothing_listens():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # taken, but not listening
        port = unused.getsockname()[1]
        trial = Trial(f"http://127.0.0.1:{port}")
    assert trial.code == 1
    advice = f"nothing listens on 127.0.0.1:{port}; start it with `python oaiserve.py -p {port}`"
    assert trial.rows["health"] == ("failed", advice)
    assert [result for result, _ in trial.rows.values()] == ["failed"] + ["not run"] * 4


@pytest.mark.parametrize(
    ("url", "error", "detail"),
    [
        (
            "http://127.0.0.1:8080",
            ConnectionRefusedError(111, "Connection refused"),
            "nothing listens on 127.0.0.1:8080; start it with `python oaiserve.py`",
        ),
        (
            "http://[::1]:81/v1",
            ConnectionRefusedError(111, "Connection refused"),
            "nothing listens on [::1]:81; start it with `python oaiserve.py -p 81`",
        ),
        (
            "https://api.test",
            ConnectionRefusedError(111, "Connection refused"),
            "nothing listens on api.test:443: is the port right?",
        ),
        (
            "http://api.test",
            socket.gaierror(-2, "Name or service not known"),
            "the name 'api.test' cannot be resolved (Name or service not known): is it spelled right?",
        ),
        (
            "http://api.test",
            socket.timeout("timed out"),
            "api.test:80 did not answer within 10 s: wrong address, or a firewall",
        ),
        (
            "http://api.test",
            TimeoutError(110, "Connection timed out"),
            "api.test:80 did not answer within 10 s: wrong address, or a firewall",
        ),
        ("http://10.0.0.1", OSError(113, "No route to host"), "cannot connect to 10.0.0.1:80: No route to host"),
    ],
    ids=["default_port", "ipv6", "elsewhere", "dns", "time_limit", "system_time_limit", "no_route"],
)
def test_says_why_it_cannot_connect(url, error, detail):
    def connect(address: tuple[str, int], timeout_seconds: float) -> socket.socket:
        raise error

    trial = Trial(url, connect=connect)
    assert (trial.code, trial.rows["health"]) == (1, ("failed", detail))


@pytest.mark.parametrize(
    ("url", "told"), [("https://api.test", True), ("http://localhost:1", False)], ids=["elsewhere", "here"]
)
def test_says_that_it_uses_no_proxy_where_one_is_set(url, told):
    def connect(address: tuple[str, int], timeout_seconds: float) -> socket.socket:
        raise socket.timeout("timed out")

    trial = Trial(url, connect=connect, environ={"HTTPS_PROXY": "http://user:secret@proxy.test:3128"})
    assert ("not through the proxy of your environment" in trial.rows["health"][1]) == told
    assert "secret" not in trial.text


@pytest.mark.parametrize(
    ("url", "address", "host_field"),
    [
        ("http://Example.TEST", ("example.test", 80), "example.test"),
        ("HTTP://example.test:080/v1", ("example.test", 80), "example.test"),
        (" http://example.test.:8080/ ", ("example.test.", 8080), "example.test.:8080"),
        ("http://example.test:443", ("example.test", 443), "example.test:443"),
        ("http://[::1]:8080/v1", ("::1", 8080), "[::1]:8080"),
        ("http://[2001:DB8::1]", ("2001:db8::1", 80), "[2001:db8::1]"),
        ("http://my_service:80", ("my_service", 80), "my_service"),
    ],
)
def test_connects_to_the_host_of_the_url(url, address, host_field):
    with ScriptedServer(GOOD) as server:
        addresses = set()

        def connect(address: tuple[str, int], timeout_seconds: float) -> socket.socket:
            addresses.add(address)
            return socket.create_connection(("127.0.0.1", server.port), timeout_seconds)

        assert Trial(url, connect=connect).code == 0
    assert addresses == {address}
    assert {asked.fields["host"] for asked in server.asked} == {host_field}


# ---- wrong usage, and Ctrl-C ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "expected one such as"),
        ("127.0.0.1:8080", "'127.0.0.1:8080': expected one such as http://127.0.0.1:8080"),
        ("ftp://host", "expected one such as"),
        ("http://", "expected one such as"),
        ("http:///v1", "expected one such as"),
        ("http://host/a b", "expected one such as"),
        ("http://host/a\r\nb", "expected one such as"),
        ("http://höst", "expected one such as"),
        ("http\u017f://host", "expected one such as"),
        ("http://\u212aelvin", "expected one such as"),
        ("http://::1:8080", "expected one such as"),
        ("http://[::1", "expected one such as"),
        ("http://[:::1]", r"'\[:::1\]' is neither a host name nor an IP address"),
        ("http://[127.0.0.1]", r"'\[127.0.0.1\]' is neither a host name nor an IP address"),
        ("http://a..b", "'a..b' is neither a host name nor an IP address"),
        ("http://" + "a" * 64, "is neither a host name nor an IP address"),
        ("http://" + "a.b" * 100, "is neither a host name nor an IP address"),
        ("http://host:0", "expected a port from 1 to 65535, not 0"),
        ("http://host:65536", "expected a port from 1 to 65535, not 65536"),
        ("http://host:x", "expected one such as"),
    ],
)
def test_refuses_a_bad_url(url, message):
    with pytest.raises(UsageError, match=message):
        Trial(url)


@pytest.mark.parametrize("url", [f"http://me:{KEY}@host", f"http://host/v1?key={KEY}", f"http://host#{KEY}"])
def test_refuses_a_url_with_secrets_and_does_not_repeat_it(url):
    with pytest.raises(UsageError, match="no user name, query or fragment; a key is given with --key") as caught:
        Trial(url)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("key", ["sk-a b", "sk-a\nb", "密钥", "sk-\x7f"])
def test_refuses_an_impossible_key_and_does_not_repeat_it(key):
    for options, source in (({"key": key}, "--key"), ({"environ": {"OPENAI_API_KEY": key}}, "OPENAI_API_KEY")):
        with pytest.raises(UsageError, match=f"the key of {source} has characters") as caught:
            Trial("http://127.0.0.1:1", **options)
        assert key not in str(caught.value)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 86401])
def test_refuses_a_time_limit_that_is_none(seconds):
    with pytest.raises(UsageError, match=r"time limit .*: expected seconds, more than 0 and at most 86400"):
        Trial("http://127.0.0.1:1", timeout_seconds=seconds)


def test_ctrl_c_ends_with_one_line():
    def connect(address: tuple[str, int], timeout_seconds: float) -> socket.socket:
        raise KeyboardInterrupt

    trial = Trial("http://127.0.0.1:8080", connect=connect)
    assert trial.code == 130
    assert trial.text == "Trying http://127.0.0.1:8080/v1 without a key\n1/5 health \nStopped.\n"


def test_ctrl_c_at_the_question_for_the_key():
    def ask_key(prompt: str) -> str:
        raise KeyboardInterrupt

    trial = try_answers(only_with(KEY), ask_key=ask_key)
    assert trial.code == 130
    assert trial.text.endswith("2/5 models \nStopped.\n")


# ---- with the program ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "key"),
    [("relay", "sk-owner-0123456789"), ("dashscope", "sk-owner-0123456789"), ("relay", ""), ("dashscope", "")],
)
def test_a_backends_refused_key_is_told_from_the_callers(kind, key):
    refusal = api_error(401, "Incorrect API key provided", "invalid_request_error")
    native = http(401, {"code": "InvalidApiKey", "message": "Invalid API-key provided.", "request_id": "1"})
    with ScriptedServer({"models": refusal, "generation": native}) as upstream:
        values = {f"{kind}.base_url": f"{upstream.url}/v1", f"{kind}.api_key": key}
        with oaiserve.start(kind, set=values, environ={}) as server:
            trial = Trial(server.url, key=KEY)
    told = " ".join(detail for _, detail in trial.rows.values())
    whose = "the server's own key" if key else "the key of --key"
    assert f"the upstream behind its backend '{kind}' refuses {whose}" in told
    assert KEY not in trial.text and trial.code == 1


@pytest.mark.parametrize(("words", "seconds"), [([], 15.0), (["--timeout", "2.5"], 2.5)])
def test_the_command_line_says_for_how_long_to_wait(monkeypatch, words, seconds):
    given = {}
    monkeypatch.setattr(command_line, "load", lambda name: (lambda url, **options: given.update(options) or 0, None))
    assert oaiserve.main(["try", *words]) == 0
    assert given["timeout_seconds"] == seconds
