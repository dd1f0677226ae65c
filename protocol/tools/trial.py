"""The test client, `python oaiserve.py try`: a few calls that show whether a server speaks the OpenAI API.

It blocks on a plain socket, one connection a call, and reads HTTP and events with the modules that the server itself
is made of. Each step answers with its result and a line about it, or raises `_Failure` with a line that says what
to do; `_Trial.run` turns both into a table. What the server sends is shown without control characters (it goes to a
terminal), and never with the key in it.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import time
import typing

from protocol.errors import UsageError
from protocol.wire.http1.messages import CLOSED, NEED_DATA, PAUSED, BadMessage, BodyPart, EndOfBody, ResponseHead
from protocol.wire.http1.readers import ResponseReader
from protocol.wire.http1.writers import RequestWriter, encode_fields
from protocol.wire.sse import DONE, EventTooLong, SseEvent, SseReader

_KEY_VARIABLES = ("OPENAI_API_KEY", "DASHSCOPE_API_KEY")
_PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")

_PORTS = {"http": 80, "https": 443}

_MODEL = "gpt-4o-mini"
_QUESTION = "Say hello in one short sentence."

# The patterns are compiled where they are used (`re` keeps them): a server that starts is not tried by itself, and
# should not wait 4 ms for them.
#
# Lists of models name no purpose, so the names have to tell; a chat model left out costs no more than --model.
_NOT_FOR_CHAT = (
    r"(?i)embed|bge-|rerank|moderation|guard|whisper|transcri|tts|speech|audio|asr|cosyvoice|realtime|dall-e|image|"
    r"sora|wan[0-9x]|video|babbage|davinci|turbo-instruct|codex|deep-research|computer-use"
)

_URL = r"(?ai)(https?)://(\[[0-9a-f:.]+\]|[0-9a-z._-]+)(?::([0-9]{1,5}))?(/[!-~]*)?"
# RFC 1035 §2.3.4: labels of 1 to 63 characters. The resolver would otherwise fail in less readable ways.
_HOST_NAME = r"[^.]{1,63}(?:\.[^.]{1,63})*\.?"
# Where a path names the version of the API, as in /v1, /api/paas/v4 or /v1beta/openai, nothing is added to it.
_VERSION = r"/v[0-9][0-9a-z]*(?=/|$)"

_KEY = r"[!-~]+"
_CONTROLS = r"[\x00-\x1f\x7f-\x9f]+"
# A word, or one character of a script that writes without spaces.
_WORD = r"[\u3040-\u30ff\u3400-\u9fff]|[^\s\u3040-\u30ff\u3400-\u9fff]+"

_MAX_BODY = 16_000_000  # bytes of one answer
_SECRET_CHARACTERS = 8  # a shorter key is a stand-in such as "any", a word that answers may hold
_DETAIL_CHARACTERS = 300
_LONGEST_WAIT = 86_400.0  # seconds

_OK = "ok"
_FAILED = "failed"
_NOTED = "-"  # neither: something that other servers do otherwise
_NOT_RUN = "not run"


def run_trial(
    url: str,
    *,
    key: str | None,
    model: str | None,
    timeout_seconds: float,
    out: typing.TextIO,
    environ: typing.Mapping[str, str],
    ask_key: typing.Callable[[str], str] | None,
    clock: typing.Callable[[], float] = time.perf_counter,
    connect: typing.Callable[[tuple[str, int], float], socket.socket] = socket.create_connection,
    tls: ssl.SSLContext | None = None,
) -> int:
    """Try the server at `url` (with or without /v1) and write what came of it to `out`.

    Return the exit code: 0 all is well, 1 a step failed, 130 stopped with Ctrl-C. Raise UsageError for a URL, key or
    time limit that cannot be. `timeout_seconds` bounds each wait: to connect, and for the next bytes.
    Without `key`, OPENAI_API_KEY and then DASHSCOPE_API_KEY of `environ` are taken; without those too, `ask_key` is
    called with a prompt when the server answers 401 (None: there is nobody to ask). `clock` gives seconds,
    `connect` a connected socket; `tls` says which certificates to trust, by default those that the system trusts.
    """
    target = _parse_url(url)
    if not 0 < timeout_seconds <= _LONGEST_WAIT:
        raise UsageError(f"time limit {timeout_seconds:g}: expected seconds, more than 0 and at most 86400")
    key, key_source = _choose_key(key, environ)
    others_use_proxy = not target.is_local and any(map(environ.get, _PROXY_VARIABLES))
    client = _Client(target, timeout_seconds, connect, tls, others_use_proxy)
    console = _Console(out)
    trial = _Trial(client, console, model or None, ask_key, clock)
    if key:
        trial.use_key(key, key_source)
    try:
        return trial.run()
    except KeyboardInterrupt:
        console.line("Stopped.")
        return 130  # what a shell expects of a program that SIGINT ended: 128 + 2


# ---- what to try ------------------------------------------------------------------------------------------------


class _Target(typing.NamedTuple):
    """Where the server is: `root` is the path before the API's version, `api` the path with it."""

    scheme: str
    host: str
    port: int
    root: str
    api: str

    @property
    def where(self) -> str:
        return f"{self._bracketed_host}:{self.port}"

    @property
    def host_field(self) -> str:
        # RFC 9110 §7.2 allows the default port here, but not every server in front of others expects it.
        return self._bracketed_host if self.port == _PORTS[self.scheme] else self.where

    @property
    def _bracketed_host(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def is_local(self) -> bool:
        return self.host in ("localhost", "::1") or self.host.startswith("127.")


def _parse_url(url: str) -> _Target:
    """Take a URL apart; UsageError, which repeats nothing that may hold a password or a key."""
    text = url.strip()
    if "@" in text or "?" in text or "#" in text:
        raise UsageError("the URL to try must have no user name, query or fragment; a key is given with --key")
    match = re.fullmatch(_URL, text)
    if match is None:
        raise UsageError(f"URL {text[:100]!r}: expected one such as http://127.0.0.1:8080 or https://host/v1")
    scheme, host = match[1].lower(), match[2].lower()
    port = int(match[3]) if match[3] else _PORTS[scheme]
    if not 0 < port < 65536:
        raise UsageError(f"URL {text[:100]!r}: expected a port from 1 to 65535, not {port}")
    if not _is_host(host):
        raise UsageError(f"URL {text[:100]!r}: {host[:100]!r} is neither a host name nor an IP address")
    path = (match[4] or "").rstrip("/")
    version = re.search(_VERSION, path)
    root = path[: version.start()] if version else path
    return _Target(scheme, host.strip("[]"), port, root, path if version else f"{path}/v1")


def _is_host(host: str) -> bool:
    if not host.startswith("["):
        return len(host) < 255 and re.fullmatch(_HOST_NAME, host) is not None
    try:
        socket.inet_pton(socket.AF_INET6, host[1:-1])
    except OSError:
        return False
    return True


def _choose_key(key: str | None, environ: typing.Mapping[str, str]) -> tuple[str, str]:
    """Return the key and where it is from, both empty where there is none; UsageError for an impossible one."""
    candidates = [("--key", key or ""), *((name, environ.get(name, "")) for name in _KEY_VARIABLES)]
    for source, candidate in candidates:
        candidate = candidate.strip()
        if candidate and not re.fullmatch(_KEY, candidate):
            raise UsageError(f"the key of {source} has characters that no key has: spaces, or some beyond ASCII")
        if candidate:
            return candidate, source
    return "", ""


# ---- what can go wrong ------------------------------------------------------------------------------------------


class _Failure(Exception):
    """Why a step failed and what to do, in one line; `final` where no later step can do better."""

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


class _KeyRefused(_Failure):
    """The server answered 401; the message is what it said."""


def _os_reason(exc: OSError) -> str:
    """Return the system's words for an error, without its number."""
    if isinstance(exc, ssl.SSLError) and exc.reason:
        return exc.reason.replace("_", " ").lower()
    return exc.strerror or str(exc) or type(exc).__name__


# ---- the calls --------------------------------------------------------------------------------------------------


class _Answer(typing.NamedTuple):
    """A head and its whole body."""

    head: ResponseHead
    body: bytes


class _Client:
    """Makes calls, each on a connection of its own; raises _Failure for whatever happens on the way."""

    def __init__(
        self,
        target: _Target,
        timeout_seconds: float,
        connect: typing.Callable[[tuple[str, int], float], socket.socket],
        tls: ssl.SSLContext | None,
        others_use_proxy: bool,
    ) -> None:
        self.target = target
        self.key = ""
        self._timeout_seconds = timeout_seconds
        self._open = connect
        self._tls = tls
        self._others_use_proxy = others_use_proxy

    def ask(self, method: str, path: str, content: typing.Any = None) -> _Answer:
        """Return the whole answer."""
        with self.exchange(method, path, content) as (head, parts):
            return _Answer(head, b"".join(parts))

    @contextlib.contextmanager
    def exchange(
        self, method: str, path: str, content: typing.Any = None
    ) -> typing.Iterator[tuple[ResponseHead, typing.Iterator[bytes]]]:
        """Give the head of the answer and its body as it arrives; `content` is sent as JSON."""
        body = b"" if content is None else json.dumps(content).encode()
        with self._connect() as connection:
            self._send(connection, method, path, body)
            events = self._read(connection, ResponseReader(method, max_body=_MAX_BODY))
            # RFC 9110 §15.2: heads below 200 come before the answer's own.
            head = next((event for event in events if isinstance(event, ResponseHead) and event.status >= 200), None)
            if head is None:
                perhaps = "" if self.target.scheme == "https" else "; if it speaks TLS, use https://"
                raise _Failure(f"the server closed the connection without an answer{perhaps}")
            yield head, (event.data for event in events if isinstance(event, BodyPart))

    def _connect(self) -> socket.socket:
        target = self.target
        try:
            connection = self._open((target.host, target.port), self._timeout_seconds)
        except OSError as exc:
            advice = self._connect_advice(exc)
            if self._others_use_proxy:
                advice += " (this client goes there directly, not through the proxy of your environment)"
            raise _Failure(advice, final=True) from exc
        if target.scheme == "http":
            return connection
        if self._tls is None:
            self._tls = ssl.create_default_context()
        try:
            return self._tls.wrap_socket(connection, server_hostname=target.host)
        except OSError as exc:
            connection.close()
            raise _Failure(self._tls_advice(exc), final=True) from exc

    def _connect_advice(self, exc: OSError) -> str:
        target = self.target
        if isinstance(exc, socket.gaierror):
            return f"the name {target.host!r} cannot be resolved ({_os_reason(exc)}): is it spelled right?"
        if isinstance(exc, (socket.timeout, TimeoutError)):
            return f"{target.where} did not answer within {self._timeout_seconds:g} s: wrong address, or a firewall"
        if not isinstance(exc, ConnectionRefusedError):
            return f"cannot connect to {target.where}: {_os_reason(exc)}"
        if not target.is_local:
            return f"nothing listens on {target.where}: is the port right?"
        port = "" if target.port == 8080 else f" -p {target.port}"
        return f"nothing listens on {target.where}; start it with `python oaiserve.py{port}`"

    def _tls_advice(self, exc: OSError) -> str:
        if isinstance(exc, ssl.SSLCertVerificationError):
            return (
                f"the certificate of {self.target.where} is not trusted: {exc.verify_message}; "
                "set SSL_CERT_FILE to a file with the one to trust"
            )
        if isinstance(exc, (socket.timeout, TimeoutError)):
            reason = f"no answer within {self._timeout_seconds:g} s"
        else:
            reason = _os_reason(exc)
        return f"TLS with {self.target.where} failed: {reason}; if it speaks plain HTTP, use http://"

    def _send(self, connection: socket.socket, method: str, path: str, body: bytes) -> None:
        fields = [
            ("host", self.target.host_field),
            ("user-agent", "oaiserve-try"),
            ("accept", "application/json, text/event-stream"),
            ("accept-encoding", "identity"),
            ("connection", "close"),
        ]
        if self.key:
            fields.append(("authorization", f"Bearer {self.key}"))
        if body:
            fields.append(("content-type", "application/json"))
        writer = RequestWriter()
        request = writer.start(method, path, encode_fields(fields), len(body)) + writer.part(body) + writer.finish()
        try:
            connection.sendall(request)
        except OSError as exc:
            raise _Failure(f"the connection broke while the request was sent: {_os_reason(exc)}") from exc

    def _read(
        self, connection: socket.socket, reader: ResponseReader
    ) -> typing.Iterator[ResponseHead | BodyPart | EndOfBody]:
        begin = b""
        while True:
            try:
                event = reader.next_event()
            except BadMessage as exc:
                raise _Failure(self._http_advice(begin, exc)) from exc
            if event is NEED_DATA:
                data = self._receive(connection)
                begin = begin or data[:2]
                reader.feed(data)
            elif event is PAUSED or event is CLOSED:
                return
            else:
                yield typing.cast("ResponseHead | BodyPart | EndOfBody", event)

    def _receive(self, connection: socket.socket) -> bytes:
        try:
            return connection.recv(65536)
        except (socket.timeout, TimeoutError) as exc:
            raise _Failure(f"no byte came for {self._timeout_seconds:g} s") from exc
        except OSError as exc:
            raise _Failure(f"the connection broke: {_os_reason(exc)}") from exc

    def _http_advice(self, begin: bytes, exc: BadMessage) -> str:
        # RFC 8446 §5.1: 21 is an alert, what a TLS port says to plain HTTP; 3 begins the version.
        if begin == b"\x15\x03":
            return f"{self.target.where} speaks TLS: use https://"
        if begin != b"HT":
            return f"{self.target.where} does not speak HTTP: {exc.message}"
        return f"broken HTTP: {exc.message}"


# ---- what the answers hold --------------------------------------------------------------------------------------


def _json(data: bytes | str, what: str) -> typing.Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise _Failure(f"expected {what} as JSON, got {_quote(data)}") from exc


def _quote(data: bytes | str) -> str:
    if not data:
        return "nothing"
    # Far more than is shown in the end: the key is taken out before the line is cut, lest half of it remain.
    text = data if isinstance(data, str) else data[:8000].decode("utf-8", "replace")
    return repr(text[:2000])


def _dig(value: typing.Any, *path: str | int) -> typing.Any:
    """Return what stands at the path within a JSON value, None where there is no such place."""
    for step in path:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _api_error(value: typing.Any) -> str:
    """Return `type: message` of an error in OpenAI's shape, "" where it has not that shape."""
    message = _dig(value, "error", "message")
    if not isinstance(message, str) or "type" not in value["error"]:
        return ""
    return f"{value['error']['type']}: {message}"


def _error_text(answer: _Answer) -> str:
    """Say in one line what an answer other than success holds."""
    head = answer.head
    status = f"HTTP {head.status}"
    try:
        error = _api_error(json.loads(answer.body))
    except (ValueError, RecursionError):
        error = ""
    if error:
        return f"{status} {error}"
    if 300 <= head.status < 400:
        return f"{status}: it redirects to {head.fields.get('location', 'nowhere')!r}; try that URL"
    if head.status == 404:
        return f"{status}: is this the base URL of an OpenAI-compatible API? It says {_quote(answer.body)}"
    return f"{status} {head.reason}: {_quote(answer.body)}"


def _check_status(answer: _Answer) -> None:
    if answer.head.status == 401:
        raise _KeyRefused(_error_text(answer))
    if not 200 <= answer.head.status < 300:
        raise _Failure(_error_text(answer))


def _check_stream(head: ResponseHead) -> None:
    came = head.fields.get("content-type", "nothing").partition(";")[0].strip().lower()
    if came != "text/event-stream":
        raise _Failure(f"expected the content type text/event-stream, got {came}: it does not stream")


def _events(parts: typing.Iterable[bytes]) -> typing.Iterator[SseEvent]:
    """Yield the events of a stream as they arrive; _Failure when it breaks inside one."""
    reader = SseReader()
    try:
        for part in parts:
            yield from reader.feed(part)
    except EventTooLong as exc:
        raise _Failure(str(exc)) from exc
    if reader.close():
        raise _Failure("the stream broke off inside an event")


def _chunk_text(data: str) -> str:
    """Return the text that one chunk of a streamed completion adds."""
    chunk = _json(data, "a chunk of the stream")
    error = _api_error(chunk)
    if error:
        raise _Failure(f"an error came within the stream: {error}")
    if not isinstance(_dig(chunk, "choices"), list):
        raise _Failure(f"expected a chunk with choices, got {_quote(data)}")
    text = _dig(chunk, "choices", 0, "delta", "content")
    return text if isinstance(text, str) else ""


class _Stream:
    """What a streamed answer has brought, and when."""

    def __init__(self, started: float) -> None:
        self.done = False
        self._started = started
        self._first = self._last = started
        self._pieces: list[str] = []

    def add(self, text: str, now: float) -> None:
        if not self._pieces:
            self._first = now
        self._last = now
        self._pieces.append(text)

    def verdict(self) -> str:
        """Return words, time to the first one and words a second; _Failure where its end or text is missing."""
        if not self.done:
            raise _Failure("the stream ended without `data: [DONE]`")
        if not self._pieces:
            raise _Failure("the stream holds no text")
        words = len(re.findall(_WORD, "".join(self._pieces)))
        later = words - len(re.findall(_WORD, self._pieces[0]))
        span = self._last - self._first
        # Within a millisecond all has come in one piece of the network's; a rate would mean nothing.
        pace = f"{later / span:,.1f} words/s" if span > 0.001 else "the rest at once"
        return f"{words} words, the first after {self._first - self._started:.3f} s, {pace}"


# ---- the steps --------------------------------------------------------------------------------------------------


class _Console:
    """Writes lines and unfinished lines, without the key and in characters that the console has."""

    def __init__(self, out: typing.TextIO) -> None:
        self.secret = ""
        self._out = out
        self._line_open = False

    def line(self, text: str = "") -> None:
        self.end_line()
        self._write(self.clean(text) + "\n")

    def begin(self, text: str) -> None:
        """Write the beginning of a line that `more` may continue."""
        self.end_line()
        self.more(text)

    def more(self, text: str) -> None:
        self._line_open = True
        self._write(self.clean(text))

    def end_line(self) -> None:
        if self._line_open:
            self._line_open = False
            self._write("\n")

    def clean(self, text: str) -> str:
        if len(self.secret) >= _SECRET_CHARACTERS:
            text = text.replace(self.secret, "***")
        return re.sub(_CONTROLS, " ", text)

    def _write(self, text: str) -> None:
        # A Windows console or a redirected file may not have every character: better a "?" than a traceback.
        encoding = self._out.encoding or "utf-8"
        self._out.write(text.encode(encoding, "replace").decode(encoding))
        self._out.flush()


class _Result(typing.NamedTuple):
    name: str
    result: str
    seconds: float | None
    detail: str


def _is_bad_result(result: _Result) -> bool:
    return result.result in (_FAILED, _NOT_RUN)


_Step = typing.Callable[[], typing.Tuple[str, str]]


class _Trial:
    """The steps in their order, and what one learns for the next."""

    def __init__(
        self,
        client: _Client,
        console: _Console,
        model: str | None,
        ask_key: typing.Callable[[str], str] | None,
        clock: typing.Callable[[], float],
    ) -> None:
        self._client = client
        self._console = console
        self._asked_model = model
        self._model = model or _MODEL
        self._ask_key = ask_key
        self._key_source = ""
        self._clock = clock
        self._started = 0.0

    def use_key(self, key: str, source: str) -> None:
        """Send this key from now on, and never show it."""
        self._client.key = self._console.secret = key
        self._key_source = source

    def run(self) -> int:
        """Run all steps, write the table and return the exit code, 0 or 1."""
        target = self._client.target
        key = f"with the key of {self._key_source}" if self._key_source else "without a key"
        self._console.line(f"Trying {target.scheme}://{target.where}{target.api} {key}")
        results: list[_Result] = []
        steps = self._steps()
        over = False
        for number, (name, step) in enumerate(steps, 1):
            if over:
                results.append(_Result(name, _NOT_RUN, None, ""))
                continue
            self._console.begin(f"{number}/{len(steps)} {name} ")
            result, over = self._run_step(name, step)
            self._console.end_line()
            results.append(result)
        self._write_table(results)
        return 1 if any(map(_is_bad_result, results)) else 0

    def _steps(self) -> list[tuple[str, _Step]]:
        return [
            ("health", self._health),
            ("models", self._models),
            ("plain answer", self._plain_answer),
            ("streamed answer", self._streamed_answer),
            ("deliberate error", self._deliberate_error),
        ]

    def _run_step(self, name: str, step: _Step) -> tuple[_Result, bool]:
        """Return a step's result, and whether the trial is over with it."""
        over = False
        try:
            result, detail = self._with_key(step)
        except _Failure as exc:
            result, detail, over = _FAILED, str(exc), exc.final
        return _Result(name, result, self._clock() - self._started, detail), over

    def _with_key(self, step: _Step) -> tuple[str, str]:
        """Run a step; where the server wants a key and there is none, ask for it and run the step again."""
        self._started = self._clock()
        try:
            return step()
        except _KeyRefused as exc:
            if self._key_source:
                raise _Failure(f"the server refuses the key of {self._key_source}: {exc}", final=True) from exc
            self._get_key(exc)
        self._started = self._clock()
        try:
            return step()
        except _KeyRefused as exc:
            raise _Failure(f"the server refuses that key: {exc}", final=True) from exc

    def _get_key(self, refusal: _KeyRefused) -> None:
        key = ""
        if self._ask_key is not None:
            self._console.end_line()
            with contextlib.suppress(EOFError):
                key = self._ask_key(f"Key for {self._client.target.where} (not shown): ").strip()
        if not key:
            advice = f"it wants a key: give --key, or set {' or '.join(_KEY_VARIABLES)} ({refusal})"
            raise _Failure(advice, final=True) from refusal
        if not re.fullmatch(_KEY, key):
            raise _Failure("that key has characters that no key has", final=True) from refusal
        self.use_key(key, "your answer")

    def _health(self) -> tuple[str, str]:
        answer = self._client.ask("GET", f"{self._client.target.root}/health")
        status = answer.head.status
        try:
            report = json.loads(answer.body)
        except (ValueError, RecursionError):
            report = None
        says = _dig(report, "status")
        if 200 <= status < 300:
            service = _dig(report, "service") or "the server"
            return _OK, f"{service} says {says!r}" if isinstance(says, str) else f"HTTP {status}"
        if status < 500:
            return _NOTED, f"no /health here (HTTP {status}): not oaiserve; going on"
        if isinstance(says, str):
            raise _Failure(f"HTTP {status}: the server says {says!r}")
        raise _Failure(_error_text(answer))

    def _models(self) -> tuple[str, str]:
        answer = self._client.ask("GET", f"{self._client.target.api}/models")
        _check_status(answer)
        models = _dig(_json(answer.body, "a list of models"), "data")
        if not isinstance(models, list):
            raise _Failure(f"expected a list of models, got {_quote(answer.body)}")
        names = [name for name in (_dig(model, "id") for model in models) if isinstance(name, str) and name]
        count = "1 model" if len(names) == 1 else f"{len(names)} models"
        if self._asked_model:
            listed = "" if self._asked_model in names else f"; {self._asked_model} is not among them"
            return _OK, count + listed
        self._model = next((name for name in names if not re.search(_NOT_FOR_CHAT, name)), _MODEL)
        return _OK, f"{count}; going on with {self._model}"

    def _plain_answer(self) -> tuple[str, str]:
        answer = self._client.ask("POST", self._chat_path, self._question(stream=False))
        _check_status(answer)
        completion = _json(answer.body, "a chat completion")
        text = _dig(completion, "choices", 0, "message", "content")
        if not isinstance(text, str) or not text.strip():
            raise _Failure(f"expected choices[0].message.content, got {_quote(answer.body)}")
        return _OK, f"{self._model} says {text!r}"

    def _streamed_answer(self) -> tuple[str, str]:
        with self._client.exchange("POST", self._chat_path, self._question(stream=True)) as (head, parts):
            if head.status != 200:
                _check_status(_Answer(head, b"".join(parts)))
            _check_stream(head)
            stream = _Stream(self._started)
            try:
                self._show(stream, parts)
            except _Failure as exc:
                raise _Failure(f"after [DONE]: {exc}" if stream.done else str(exc)) from exc
        return _OK, stream.verdict()

    def _show(self, stream: _Stream, parts: typing.Iterable[bytes]) -> None:
        """Write the words as they arrive."""
        # On past [DONE] to the end of the body, as the SDKs read: a body that never ends would hold them.
        for event in _events(parts):
            if event.data == DONE:
                stream.done = True
                continue
            text = _chunk_text(event.data)
            if text:
                stream.add(text, self._clock())
                self._console.more(text)

    def _deliberate_error(self) -> tuple[str, str]:
        answer = self._client.ask("POST", self._chat_path, {"model": self._model, "messages": []})
        status = answer.head.status
        if 200 <= status < 300:
            return _NOTED, f"HTTP {status}: it accepts an empty list of messages, which OpenAI refuses"
        if status not in (400, 422):
            _check_status(answer)
        error = _api_error(_json(answer.body, "an error"))
        if not error:
            raise _Failure(f"expected an error in OpenAI's shape, got HTTP {status} {_quote(answer.body)}")
        return _OK, f"HTTP {status} {error}"

    @property
    def _chat_path(self) -> str:
        return f"{self._client.target.api}/chat/completions"

    def _question(self, *, stream: bool) -> dict[str, typing.Any]:
        messages = [{"role": "user", "content": _QUESTION}]
        return {"model": self._model, "messages": messages, "stream": stream}

    def _write_table(self, results: list[_Result]) -> None:
        self._console.line()
        self._console.line(f"{'step':<18}{'result':<9}{'seconds':>8}")
        for name, result, seconds, detail in results:
            # The key goes before the cut, or half of it might stay.
            shown = self._console.clean(detail)
            if len(shown) > _DETAIL_CHARACTERS:
                shown = shown[: _DETAIL_CHARACTERS - 3] + "..."
            time_text = "" if seconds is None else f"{seconds:.3f}"
            self._console.line(f"{name:<18}{result:<9}{time_text:>8}  {shown}".rstrip())
        bad = sum(map(_is_bad_result, results))
        self._console.line()
        self._console.line(f"{bad} of {len(results)} steps failed or could not run." if bad else "All is well.")
