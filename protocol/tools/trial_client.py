"""The calls of the test client: each on a blocking socket of its own, read with the modules that the server is made of.

What happens on the way is a Failure, whose message says in one line what to do about it.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import time
import typing

from protocol.tools.trial_target import Target
from protocol.wire.http1.messages import CLOSED, NEED_DATA, PAUSED, BadMessage, BodyPart, EndOfBody, ResponseHead
from protocol.wire.http1.readers import ResponseReader
from protocol.wire.http1.writers import RequestWriter, encode_fields

_MAX_BODY = 16_000_000  # bytes of one answer


class Failure(Exception):
    """Why a step failed and what to do, in one line; `final` where every later step would fail as well."""

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


class KeyRefused(Failure):
    """The answer was 401; the message is what it said.

    `backend` is the one of oaiserve's whose upstream said so, "" where the server itself did.
    """

    def __init__(self, message: str, backend: str) -> None:
        super().__init__(message)
        self.backend = backend


def connect_within(address: tuple[str, int], seconds: float) -> socket.socket:
    """Return a connection to one of a host's addresses, tried one after the other; OSError.

    All of them together may take so many seconds, and each a fair share of what is left.
    """
    until = time.monotonic() + seconds
    found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)
    for number, (*_, (host, port, *_)) in enumerate(found):
        share = max(0.001, until - time.monotonic()) / (len(found) - number)
        try:
            connection = socket.create_connection((str(host), int(port)), share)
        except OSError:
            if number == len(found) - 1:
                raise
        else:
            connection.settimeout(seconds)
            return connection
    raise OSError("no address")


def _reason(exc: OSError) -> str:
    """Return the system's words for an error, without its number."""
    if isinstance(exc, ssl.SSLError) and exc.reason:
        return exc.reason.replace("_", " ").lower()
    return exc.strerror or str(exc) or type(exc).__name__


class Answer(typing.NamedTuple):
    """A head and its whole body."""

    head: ResponseHead
    body: bytes


class Client:
    """Makes calls, each on a connection of its own, with the `key` that is set; Failure for what happens on the way."""

    def __init__(
        self,
        target: Target,
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

    def ask(self, method: str, path: str, content: typing.Any = None) -> Answer:
        """Return the whole answer."""
        with self.exchange(method, path, content) as (head, parts):
            return Answer(head, b"".join(parts))

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
                raise Failure(f"the server closed the connection without an answer{perhaps}")
            yield head, (event.data for event in events if isinstance(event, BodyPart))

    def _connect(self) -> socket.socket:
        target = self.target
        try:
            connection = self._open((target.host, target.port), self._timeout_seconds)
        except OSError as exc:
            advice = self._connect_advice(exc)
            if self._others_use_proxy:
                advice += " (this client goes there directly, not through the proxy of your environment)"
            raise Failure(advice, final=True) from exc
        if target.scheme == "http":
            return connection
        if self._tls is None:
            self._tls = ssl.create_default_context()
        try:
            return self._tls.wrap_socket(connection, server_hostname=target.host)
        except OSError as exc:
            connection.close()
            raise Failure(self._tls_advice(exc), final=True) from exc

    def _connect_advice(self, exc: OSError) -> str:
        target = self.target
        if isinstance(exc, socket.gaierror):
            return f"the name {target.host!r} cannot be resolved ({_reason(exc)}): is it spelled right?"
        if isinstance(exc, (socket.timeout, TimeoutError)):
            return f"{target.where} did not answer within {self._timeout_seconds:g} s: wrong address, or a firewall"
        if not isinstance(exc, ConnectionRefusedError):
            return f"cannot connect to {target.where}: {_reason(exc)}"
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
            reason = _reason(exc)
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
            raise Failure(f"the connection broke while the request was sent: {_reason(exc)}") from exc

    def _read(
        self, connection: socket.socket, reader: ResponseReader
    ) -> typing.Iterator[ResponseHead | BodyPart | EndOfBody]:
        begin = b""
        while True:
            try:
                event = reader.next_event()
            except BadMessage as exc:
                raise Failure(self._http_advice(begin, exc)) from exc
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
            # One that hangs is waited for once, and not at each step again.
            raise Failure(f"no byte came for {self._timeout_seconds:g} s; --timeout waits longer", final=True) from exc
        except OSError as exc:
            raise Failure(f"the connection broke: {_reason(exc)}") from exc

    def _http_advice(self, begin: bytes, exc: BadMessage) -> str:
        # RFC 8446 §5.1: a TLS server answers HTTP with an alert, type 21; 3 begins the version.
        if begin == b"\x15\x03":
            return f"{self.target.where} speaks TLS: use https://"
        if begin != b"HT":
            return f"{self.target.where} does not speak HTTP: {exc.message}"
        return f"broken HTTP: {exc.message}"
