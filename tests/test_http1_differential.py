"""protocol/wire/http1 beside h11, an HTTP/1.1 engine by other hands: the same bytes must be read alike by both.

Both get a whole connection and read message after message while it is kept. They must agree on method, target, status,
version, fields, body, trailers, on whether the connection is kept, and on the message at which they refuse to go on.
Where they differ on purpose, a row of DIFFERENCES says who is stricter, in which words, by which sign in the bytes and
why; the bytes beside it show it, so a row that no longer holds fails. Any other disagreement prints the bytes.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Union

import h11
import pytest

from protocol.wire.http1.messages import (
    CLOSED,
    NEED_DATA,
    PAUSED,
    BadMessage,
    BodyPart,
    EndOfBody,
    RequestHead,
    ResponseHead,
)
from protocol.wire.http1.readers import RequestReader, ResponseReader
from protocol.wire.http1.writers import CONTINUE, RequestWriter, ResponseWriter, encode_fields

Pairs = list[tuple[str, str]]
Head = tuple[tuple[Any, ...], Pairs]  # (method, target, minor version) or (status, reason, minor version), and fields

# What a connection carries: requests, or the answers to requests of one method.
REQUESTS = "requests"
METHODS = ("GET", "HEAD", "CONNECT")


class Message(NamedTuple):
    """One message; `end` is "end", or "tunnel" where another protocol begins and nothing is known of keep-alive."""

    heads: list[Head]  # 1xx first
    body: bytes
    end: str
    trailers: Pairs
    keep_alive: bool

    def goes_on(self) -> bool:
        """Tell whether both can be asked for a message behind it: h11 keeps no connection of HTTP/1.0."""
        minor_version = self.heads[-1][0][2]
        return self.end == "end" and self.keep_alive and bool(minor_version)


class Reading(NamedTuple):
    """Whole messages, the sentence of the refusal behind them or "", and the bytes that belong to another protocol."""

    messages: list[Message]
    refusal: str
    rest: bytes = b""


# ---- both sides ---------------------------------------------------------------------------------------------------


def read_ours(role: str, pieces: Sequence[bytes]) -> Reading:
    """Feed the pieces and the end of the connection. Anything but BadMessage that comes out fails the test."""
    reader: Union[RequestReader, ResponseReader] = RequestReader() if role == REQUESTS else ResponseReader(role)
    messages: list[Message] = []
    events: list[Any] = []
    try:
        for number, piece in enumerate([*pieces, b""], 1):
            reader.feed(piece)
            event = reader.next_event()
            while event is not NEED_DATA:
                if event is CLOSED:
                    return Reading(messages, "")
                if event is not PAUSED:
                    events.append(event)
                else:
                    messages.append(our_message(events))
                    events = []
                    if not messages[-1].goes_on():
                        rest = reader.take_rest() + b"".join(pieces[number:])
                        return Reading(messages, "", rest if messages[-1].end == "tunnel" else b"")
                    reader.next_message()
                event = reader.next_event()
    except BadMessage as exc:
        return Reading(messages, exc.message)
    raise AssertionError("after the end of the connection, NEED_DATA is no answer")


def our_message(events: Sequence[Any]) -> Message:
    heads = [event for event in events if isinstance(event, (RequestHead, ResponseHead))]
    body = b"".join(event.data for event in events if isinstance(event, BodyPart))
    told = [(our_line(head), in_text(head.fields)) for head in heads]
    if isinstance(events[-1], EndOfBody):
        return Message(told, body, "end", in_text(events[-1].trailers), heads[-1].keep_alive)
    return Message(told, body, "tunnel", [], False)


def our_line(head: RequestHead | ResponseHead) -> tuple[Any, ...]:
    if isinstance(head, RequestHead):
        return head.method, head.target, head.minor_version
    return head.status, head.reason, head.minor_version


def read_h11(role: str, data: bytes) -> Reading:
    connection = h11.Connection(h11.SERVER if role == REQUESTS else h11.CLIENT, max_incomplete_event_size=1 << 20)
    if data:
        connection.receive_data(data)
    connection.receive_data(b"")
    messages: list[Message] = []
    try:
        while True:
            if role != REQUESTS:
                ask(connection, role)
            message = h11_message(connection)
            if message is None:
                return Reading(messages, "")
            messages.append(message)
            if not message.goes_on():
                return Reading(messages, "", connection.trailing_data[0] if message.end == "tunnel" else b"")
            connection.start_next_cycle()
    except h11.RemoteProtocolError as exc:
        return Reading(messages, str(exc))


def ask(connection: h11.Connection, method: str) -> None:
    """Send the request that the answers need; it offers an upgrade, so that 101 is an answer like any other."""
    fields = [("Host", "a"), ("Connection", "upgrade"), ("Upgrade", "x")]
    connection.send(h11.Request(method=method, target="a:443" if method == "CONNECT" else "/", headers=fields))
    connection.send(h11.EndOfMessage())


def h11_message(connection: h11.Connection) -> Message | None:
    heads: list[Head] = []
    body = b""
    while True:
        if connection.their_state in (h11.IDLE, h11.SEND_RESPONSE) and connection.trailing_data == (b"", True):
            return None  # an end without a message is judged by a test of its own
        event = connection.next_event()
        if event is h11.PAUSED:
            return Message(heads, body, "tunnel", [], False)
        if isinstance(event, h11.EndOfMessage):
            return Message(heads, body, "end", in_text(event.headers), h11_keeps_alive(connection))
        if isinstance(event, h11.Data):
            body += bytes(event.data)
        else:
            assert isinstance(event, (h11.Request, h11.InformationalResponse, h11.Response)), event
            heads.append((h11_line(event), in_text(event.headers)))


def h11_line(head: Any) -> tuple[Any, ...]:
    minor_version = min(int(head.http_version[2:]), 1)
    if isinstance(head, h11.Request):
        return head.method.decode(), head.target.decode(), minor_version
    return head.status_code, head.reason.decode("latin-1"), minor_version


def h11_keeps_alive(connection: h11.Connection) -> bool:
    """See whether another exchange may follow; as a server, h11 has to answer first."""
    if connection.our_role is h11.SERVER:
        connection.send(h11.Response(status_code=404, headers=[("Content-Length", "0")]))
        connection.send(h11.EndOfMessage())
    return connection.our_state is h11.DONE


def in_text(fields: Iterable[tuple[Any, Any]]) -> Pairs:
    """Return fields as text; h11 makes one number of Content-Length and lower-cases codings, so this does as well."""
    pairs: Pairs = []
    for raw_name, raw_value in fields:
        name, value = (part.decode("latin-1") if isinstance(part, bytes) else part for part in (raw_name, raw_value))
        if name == "transfer-encoding":
            value = value.lower()
        elif name == "content-length":
            value = value.split(",")[0].strip()
            if (name, value) in pairs:
                continue
        pairs.append((name, value))
    return pairs


# ---- the differences that are meant -------------------------------------------------------------------------------


class Difference(NamedTuple):
    """Whoever is `stricter` refuses in these `words` (a pattern) when the bytes show the `sign` (a pattern)."""

    name: str
    stricter: str
    words: str
    sign: bytes
    role: str
    example: bytes
    reason: str


GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
FRAMING = rb"(?:transfer-encoding|content-length):"

DIFFERENCES = [
    Difference(
        "bare-lf", "we", "a bare LF", rb"(?<!\r)\n", REQUESTS, GET + b"X: 1\n\r\n",
        "RFC 9112 §2.2 lets a lone LF pass for a line end; where two readers disagree on it, requests are smuggled",
    ),
    Difference(
        "obs-fold", "we", "continued on another line", rb"\r\n[ \t]", REQUESTS, GET + b"X: 1\r\n 2\r\n\r\n",
        "§5.2: a server refuses line folding or puts spaces in its place; h11 does the latter",
    ),
    Difference(
        "control-character-in-value", "we", "holds a control character", rb"[\x01-\x08\x0e-\x1f\x7f]", REQUESTS,
        GET + b"X: \x1b\r\n\r\n", "RFC 9110 §5.5: VCHAR, obs-text, SP and HTAB only; h11 lets other controls pass",
    ),
    Difference(
        "control-character-in-reason", "we", "status line must be",
        rb"HTTP/1\.[0-9] [0-9]{3} [^\r\n]*[\x01-\x08\x0e-\x1f\x7f]", "GET", b"HTTP/1.1 204 \x1b\r\n\r\n",
        "RFC 9112 §4: HTAB, SP, VCHAR and obs-text only; h11 lets other controls pass",
    ),
    Difference(
        "both-framings", "we", "came together", rb"(?is)\ncontent-length:.*\ntransfer-enc|\ntransfer-enc.*\ncontent-l",
        REQUESTS, POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "§6.3: may be smuggling, and ought to be an error; h11 lets the coding win",
    ),
    Difference(
        "coding-in-1.0", "we", "in an HTTP/1.0 message", rb"(?is)HTTP/1\.0.*\ntransfer-encoding:", REQUESTS,
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "§6.1: its framing is faulty; h11 reads it as in HTTP/1.1",
    ),
    Difference(
        "malformed-host", "we", "Host field must be a host",
        rb"(?i)\nhost:(?![ \t]*(?:\[::[0-9a-f]{0,4}\]|(?:[!$&-.0-9;=_a-z~]|%[0-9a-f]{2})*)(?::[0-9]{0,5})?[ \t]*\r\n)",
        REQUESTS, b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "§3.2: an invalid value must be refused; h11 does not look at it",
    ),
    Difference(
        "target-of-no-form", "we", "must be a path", rb"(?:\A|\n)[^ \r\n]+ [^/]", REQUESTS,
        b"GET index.html HTTP/1.1\r\nHost: a\r\n\r\n", "§3.2: four forms; h11 does not look into the target",
    ),
    Difference(
        "connect-without-host-and-port", "we", "CONNECT takes",
        rb"(?i)CONNECT (?!(?:[!$&-.0-9;=_a-z~]|%[0-9a-f]{2})+:0*[1-9][0-9]{0,4} )", REQUESTS,
        b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", "§3.2.3: authority-form only; h11 does not look into the target",
    ),
    Difference(
        "fragment-in-target", "we", "must not have a fragment", rb"(?:\A|\n)[^ \r\n]+ [^ \r\n]*#", REQUESTS,
        b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", "RFC 9112 §3.2: no form of target has one; h11 does not look into it",
    ),
    Difference(
        "request-of-another-version", "we", "version must be HTTP/1.1", rb" HTTP/[02-9]\.[0-9]\r\n", REQUESTS,
        b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", "RFC 9110 §15.6.6: 505; h11 reads any two digits",
    ),
    Difference(
        "answer-of-another-version", "we", "answer must begin with", rb"HTTP/[02-9]\.[0-9] ", "GET",
        b"HTTP/2.0 204 X\r\n\r\n", "RFC 9110 §2.5: another major version is another syntax; h11 reads any two digits",
    ),
    Difference(
        "host-missing-in-a-higher-minor-version", "we", "Host field is missing", rb" HTTP/1\.[2-9]\r\n", REQUESTS,
        b"GET / HTTP/1.2\r\n\r\n", "RFC 9110 §2.5: to be read as 1.1, which needs Host; h11 asks for it in 1.1 alone",
    ),
    Difference(
        "expectation", "we", "only expectation supported", rb"(?i)\nexpect:", REQUESTS, GET + b"Expect: x\r\n\r\n",
        "RFC 9110 §10.1.1: 417; h11 leaves it to its user",
    ),
    Difference(
        "length-of-19-digits", "we", "at most 18", rb"(?i)\ncontent-length:[^\r\n]*[0-9]{19}", REQUESTS,
        POST + b"Content-Length: 0000000000000000001\r\n\r\nx", "more than any body has; h11 takes twenty digits",
    ),
    Difference(
        "white-space-behind-a-chunk-size", "we", "size in hex digits", rb"\n[0-9A-Fa-f]+[ \t]+\r\n", REQUESTS,
        CHUNKED + b"0 \r\n\r\n", "RFC 9112 §7.1 has none there; h11 takes it",
    ),
    Difference(
        "chunk-size-of-17-digits", "we", "size in hex digits", rb"\n[0-9A-Fa-f]{17}", REQUESTS,
        CHUNKED + b"00000000000000000\r\n\r\n", "more than any chunk has; h11 takes twenty digits",
    ),
    Difference(
        "control-character-in-a-chunk-extension", "we", "size in hex digits",
        rb"\n[0-9A-Fa-f]+;[^\n]*(?:[\0-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n))", REQUESTS, CHUNKED + b"0;\ra\r\n\r\n",
        "§7.1.1: tokens and quoted strings, and a bare CR divides readers; h11 takes all but LF",
    ),
    Difference(
        "chunk-extension-of-no-form", "we", "size in hex digits",
        rb"\n[0-9A-Fa-f]+;(?!%b(?:=%b)?[ \t]*\r\n)[\t -~\x80-\xff]*\r\n" % (TOKEN, TOKEN), REQUESTS, CHUNKED + b"0;=a\r\n\r\n",
        "§7.1.1: each has a name, a token; h11 takes all but LF",
    ),
    Difference(
        "empty-line-first", "h11", "no request line received", rb"(?:\A|[^\n])\r\n", REQUESTS, b"\r\n" + GET + b"\r\n",
        "§2.2: at least one empty line before a request should be ignored; h11 ignores none",
    ),
    Difference(
        "white-space-before-a-chunk-extension", "h11", "illegal chunk header", rb"\n[0-9A-Fa-f]+[ \t]+;", REQUESTS,
        CHUNKED + b"0 ;a\r\n\r\n", "§7.1.1: BWS, which a recipient must be able to read",
    ),
    Difference(
        "empty-member-among-codings", "h11", "Transfer-Encoding", rb"(?i)\ntransfer-encoding:(?:[ \t]*\r|[^\r\n]*,)",
        REQUESTS, POST + b"Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n",
        "RFC 9110 §5.6.1.2: empty members are to be ignored",
    ),
    Difference(
        "framing-in-trailers", "h11", "Content-Length|Transfer-Encoding",
        rb"(?i)\n0+(?:[ \t]*;[^\r\n]*)?\r\n(?:[^\r\n]+\r\n)*" + FRAMING, REQUESTS,
        CHUNKED + b"0\r\nTransfer-Encoding: x\r\n\r\n",
        "RFC 9110 §6.5.1: means nothing there; trailers are kept apart from the fields of the head",
    ),
    Difference(
        "framing-of-a-tunnel", "h11", "Content-Length|Transfer-Encoding",
        rb"(?is)HTTP/1\.[0-9] 2[0-9][0-9].*\n" + FRAMING, "CONNECT", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "RFC 9112 §6.3, step 2: to be ignored in a 2xx to CONNECT; h11 checks it",
    ),
]  # fmt: skip


class KeepAliveDifference(NamedTuple):
    """We keep the connection, or not, and h11 does the opposite, after a message of which `holds` is true."""

    name: str
    kept_by_us: bool
    holds: Callable[[tuple[Any, ...], Pairs], bool]
    role: str
    example: bytes
    reason: str


KEEP_ALIVE_DIFFERENCES = [
    KeepAliveDifference(
        "1.0", True,
        lambda line, fields: line[2] == 0 and any(
            name == "connection" and "keep-alive" in value.lower() for name, value in fields
        ),
        REQUESTS, b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "§9.3 and appendix C.2.2: kept when the client asks for it; h11 never keeps a connection of HTTP/1.0",
    ),
    KeepAliveDifference(
        "until-close", False,
        lambda line, fields: not {"content-length", "transfer-encoding"} & {name for name, _ in fields},
        "GET", b"HTTP/1.1 200 OK\r\n\r\nx", "the body's end is the connection's; h11 looks at the fields only",
    ),
]  # fmt: skip


def disagreement(role: str, data: bytes, ours: Reading, theirs: Reading) -> str:
    """Return in what the two differ without being meant to, "" for nothing."""
    for mine, other in zip(ours.messages, theirs.messages):
        if mine._replace(keep_alive=False) != other._replace(keep_alive=False) or not kept_alike(mine, other):
            return "one message is read in two ways"
    more_by_us = len(ours.messages) - len(theirs.messages)
    if ours.refusal and (not theirs.refusal or more_by_us < 0):
        return "" if any(is_meant(row, "we", role, data, ours) for row in DIFFERENCES) else "refused by us alone"
    if theirs.refusal and (not ours.refusal or more_by_us > 0):
        return "" if any(is_meant(row, "h11", role, data, theirs) for row in DIFFERENCES) else "refused by h11 alone"
    return "one reads more than the other" if more_by_us or ours.rest != theirs.rest else ""


def kept_alike(mine: Message, other: Message) -> bool:
    if mine.keep_alive == other.keep_alive:
        return True
    line, fields = mine.heads[-1]
    return any(row.kept_by_us == mine.keep_alive and row.holds(line, fields) for row in KEEP_ALIVE_DIFFERENCES)


def is_meant(row: Difference, stricter: str, role: str, data: bytes, refused: Reading) -> bool:
    if row.stricter != stricter or (row.role == "CONNECT" and role != "CONNECT"):
        return False
    return bool(re.search(row.words, refused.refusal) and re.search(row.sign, data))


def assert_read_alike(role: str, data: bytes) -> Reading:
    ours, theirs = read_ours(role, [data] if data else []), read_h11(role, data)
    wrong = disagreement(role, data, ours, theirs)
    assert not wrong, f"{wrong} ({role}):\n{data!r}\nours: {ours}\nh11:  {theirs}"
    return ours


@pytest.mark.parametrize("row", DIFFERENCES, ids=[row.name for row in DIFFERENCES])
def test_each_difference_is_there_and_has_its_sign(row: Difference) -> None:
    ours, theirs = read_ours(row.role, [row.example]), read_h11(row.role, row.example)
    strict, lenient = (ours, theirs) if row.stricter == "we" else (theirs, ours)
    assert re.search(row.words, strict.refusal)
    assert lenient.refusal == "" and len(lenient.messages) == 1
    assert [other.name for other in DIFFERENCES if is_meant(other, row.stricter, row.role, row.example, strict)] == [
        row.name
    ]


@pytest.mark.parametrize("row", KEEP_ALIVE_DIFFERENCES, ids=[row.name for row in KEEP_ALIVE_DIFFERENCES])
def test_each_difference_in_keeping_connections_is_there(row: KeepAliveDifference) -> None:
    (mine,), (other,) = read_ours(row.role, [row.example]).messages, read_h11(row.role, row.example).messages
    assert (mine.keep_alive, other.keep_alive) == (row.kept_by_us, not row.kept_by_us)
    assert kept_alike(mine, other)


@pytest.mark.parametrize("data", [b"", CONTINUE], ids=["at-once", "after-100"])
def test_an_end_where_an_answer_is_due_is_for_the_caller_to_judge(data: bytes) -> None:
    """The reader says that no answer has begun; whoever sent the request knows that one is due. h11 knows both."""
    assert read_ours("GET", [data] if data else []) == Reading([], "")
    connection = h11.Connection(h11.CLIENT)
    ask(connection, "GET")
    if data:
        connection.receive_data(data)
        assert isinstance(connection.next_event(), h11.InformationalResponse)
    connection.receive_data(b"")
    with pytest.raises(h11.RemoteProtocolError):
        connection.next_event()


# ---- messages by hand, and what becomes of them -------------------------------------------------------------------

REQUEST_CORPUS = [
    GET + b"\r\n",
    b"GET /path?x=1 HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + GET + b"\r\n",
    b"HEAD http://example.com/x HTTP/1.1\r\nHost: example.com\r\nAccept: */*\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a:80\r\n\r\n",
    b"CONNECT b:443 HTTP/1.1\r\nHost: b:443\r\n\r\n",
    POST + b"Content-Length: 5\r\nContent-Type: application/json\r\n\r\nhello",
    POST + b"Content-Length: 3, 3\r\ncontent-length: 3\r\n\r\nabc" + GET + b"\r\n",
    CHUNKED + b"5\r\nhello\r\n0A;a=b\r\n0123456789\r\n0\r\n\r\n" + GET + b"\r\n",
    CHUNKED.replace(b"chunked", b"Chunked") + b"1\r\nx\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\n",
    POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\nok",
    GET + b"Connection: close, x\r\nCookie: a=b\r\nCookie: c=d\r\nX-Empty:\r\nX-Tab:\t y \t\r\n\r\nleft over",
    GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + GET + b"\r\n",
    b"GET / HTTP/1.1\r\nHost: [::1]:8080\r\nX-Obs: \xe4\xf6\xfc\r\n\r\n",
    (GET + b"\r\n") * 3,
]  # fmt: skip

OK = b"HTTP/1.1 200 OK\r\n"
SIZED = OK + b"Content-Length: 5\r\n\r\n"
ANSWER_CORPUS = [
    ("GET", SIZED + b"hello" + SIZED + b"again"),
    ("GET", OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" + SIZED + b"again"),
    ("GET", OK + b"Transfer-Encoding: chunked\r\n\r\nA;x\r\n0123456789\r\n1\r\nx\r\n0\r\nT: t\r\n\r\n"),
    ("GET", OK + b"\r\nuntil the end"),
    ("GET", b"HTTP/1.0 404 Not Found\r\nContent-Type: text/plain\r\n\r\nno"),
    ("GET", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok"),
    ("GET", b"HTTP/1.1 204 No Content\r\nX: y\r\n\r\n" + SIZED + b"hello"),
    ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n" + SIZED + b"hello"),
    ("GET", CONTINUE + b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + SIZED + b"hello"),
    ("GET", CONTINUE + b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n\x81\x00"),
    ("GET", b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"),
    ("GET",
     b"HTTP/1.1 500 Oh: no\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx"),
    ("HEAD", SIZED + OK + b"Transfer-Encoding: chunked\r\n\r\n" + OK + b"\r\n"),
    ("CONNECT", OK + b"\r\n\x16\x03"),
    ("CONNECT", OK + b"Content-Length: 5\r\n\r\nhello"),
    ("CONNECT", b"HTTP/1.1 407 X\r\nContent-Length: 2\r\n\r\nno" + OK + b"\r\nrest"),
]  # fmt: skip

CORPUS = [(REQUESTS, data) for data in REQUEST_CORPUS] + ANSWER_CORPUS

DANGEROUS_BYTES = [b"\r", b"\n", b"\0", b" ", b"\t", b":", b"\x0b", b"\x7f", b"\xb2", b"\xff", b",", b";", b"0", b"-"]
DANGEROUS_WORDS = [
    b"\r\n", b"\r\n\r\n", b"\n\n", b"+", b"_", b"0x", b"chunked", b"Transfer-Encoding: chunked\r\n", b"X : y\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n", b"Transfer-Encoding: identity\r\n", b"Transfer-Encoding:\x0bchunked\r\n",
    b"Content-Length: 3\r\n", b"Content-Length: +5\r\n", b"Content-Length: 1_0\r\n", b"Content-Length: 0x5\r\n",
    b"Content-Length: \xb2\r\n", b"Content-Length:\r\n", b"Content-Length: 99999999999999999999\r\n", b"Host: b\r\n",
    b"Host: b c\r\n", b" folded\r\n", b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Expect: x\r\n",
    b"Upgrade: x\r\n", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"http://u@h/", b"CONNECT ", b"1\r\nx\r\n", b"0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 101 X\r\n\r\n", GET + b"\r\n", CHUNKED,
]  # fmt: skip


@pytest.mark.parametrize(("role", "data"), CORPUS, ids=range(len(CORPUS)))
def test_sound_messages_are_read_alike_and_at_every_split(role: str, data: bytes) -> None:
    whole = assert_read_alike(role, data)
    assert whole.refusal == "" and whole.messages
    for cut in range(1, len(data)):
        assert read_ours(role, [data[:cut], data[cut:]]) == whole


@pytest.mark.parametrize(("role", "data"), CORPUS, ids=range(len(CORPUS)))
def test_messages_cut_short_are_read_alike(role: str, data: bytes) -> None:
    for end in range(len(data)):
        assert_read_alike(role, data[:end])


@pytest.mark.parametrize(("role", "data"), CORPUS, ids=range(len(CORPUS)))
def test_messages_with_a_byte_inserted_or_replaced_are_read_alike(role: str, data: bytes) -> None:
    for at in range(len(data)):
        for number, byte in enumerate(DANGEROUS_BYTES):
            assert_read_alike(role, data[:at] + byte + data[at + (at + number) % 2 :])


@pytest.mark.parametrize(("role", "data"), CORPUS, ids=range(len(CORPUS)))
def test_messages_with_a_line_inserted_are_read_alike(role: str, data: bytes) -> None:
    starts = [0, *(match.end() for match in re.finditer(b"\r\n|[:;/] ?", data))]
    for at in starts:
        for word in DANGEROUS_WORDS:
            assert_read_alike(role, data[:at] + word + data[at:])


MUTATIONS = 4000
SEED = 9112


def test_messages_broken_at_random_are_read_alike_however_they_arrive() -> None:
    chance = random.Random(SEED)
    refused = 0
    for _ in range(MUTATIONS):
        role, data = chance.choice(CORPUS)
        for _ in range(chance.randint(1, 4)):
            data = mutated(data, chance)
        refused += assert_arrives_alike(role, data, chance)
    assert MUTATIONS / 4 < refused < MUTATIONS * 9 / 10, "both sound and broken messages must have been among them"


def test_pieces_of_messages_thrown_together_are_read_alike_however_they_arrive() -> None:
    """Here nearly all is refused; nothing but BadMessage may come of it."""
    chance = random.Random(SEED + 1)
    pieces = [piece for _, data in CORPUS for piece in re.findall(rb"[^\r\n]*\r\n|[^\r\n]+", data)]
    for _ in range(MUTATIONS // 4):
        role = chance.choice((REQUESTS, *METHODS))
        some = [chance.choice((*pieces, *DANGEROUS_BYTES, *DANGEROUS_WORDS)) for _ in range(chance.randint(1, 8))]
        start = (GET if role == REQUESTS else OK) if chance.random() < 0.7 else b""
        assert_arrives_alike(role, start + b"".join(some), chance)


def assert_arrives_alike(role: str, data: bytes, chance: random.Random) -> bool:
    """Compare with h11, then with ourselves when the bytes come in pieces; return whether we refuse."""
    whole = assert_read_alike(role, data)
    ends = sorted({chance.randrange(len(data) + 1) for _ in range(chance.randint(1, 5))} | {len(data)} - {0})
    split = read_ours(role, [data[start:end] for start, end in zip([0, *ends], ends) if start < end])
    # A fault may be told in other words when less has come, but not be another verdict.
    assert (split.messages, bool(split.refusal), split.rest) == (whole.messages, bool(whole.refusal), whole.rest), data
    return bool(whole.refusal)


def mutated(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data) + 1)
    lines = data.split(b"\r\n")
    line = chance.randrange(len(lines))
    change = chance.randrange(7)
    if change == 0:
        return data[:at] + chance.choice(DANGEROUS_BYTES) + data[at:]
    if change == 1:
        return data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
    if change == 2:
        return data[:at] + bytes(byte ^ 1 << chance.randrange(8) for byte in data[at : at + 1]) + data[at + 1 :]
    if change == 3:
        return data[:at] + data[at + chance.randint(1, 4) :]
    if change == 4:
        return b"\r\n".join([*lines[: line + 1], *lines[line:]])
    if change == 5:
        return b"\r\n".join([*lines[:line], *lines[line + 1 :]])
    word = chance.choice(DANGEROUS_WORDS)
    return b"\r\n".join([*lines[:line], word + lines[line], *lines[line + 1 :]])


# ---- h11 reads what our writers write -----------------------------------------------------------------------------

FIELDS = encode_fields([("content-type", "text/plain"), ("x-name", "\xe9 v")])
FIELD_PAIRS = [("content-type", "text/plain"), ("x-name", "\xe9 v")]

ASKED = [
    ("get", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", True),
    ("head", b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", True),
    ("post", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", True),
    ("get-close", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", False),
    ("get-1.0", b"GET / HTTP/1.0\r\n\r\n", False),
    ("get-1.0-kept", b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True),
    ("head-1.0", b"HEAD / HTTP/1.0\r\n\r\n", False),
    ("unread", b"", False),
]


@pytest.mark.parametrize("manner", ["sized", "unsized", "whole"])
@pytest.mark.parametrize("status", [200, 204, 304, 404, 503])
@pytest.mark.parametrize(("asked", "kept"), [row[1:] for row in ASKED], ids=[row[0] for row in ASKED])
def test_h11_reads_what_the_response_writer_writes(asked: bytes, kept: bool, status: int, manner: str) -> None:
    writer = ResponseWriter(head_of(asked) if asked else None)
    body = b"hello world" if status not in (204, 304) else b""
    if manner == "whole":
        written = writer.whole(status, FIELDS, body)
    else:
        written = writer.start(status, FIELDS, len(body) if manner == "sized" else None)
        written += writer.part(body[:6]) + writer.part(body[6:]) + writer.finish()
    method = "HEAD" if asked.startswith(b"HEAD") else "GET"
    (message,) = read_h11(method, written).messages
    ((line, fields),) = message.heads
    assert line[0] == status
    assert [pair for pair in fields if pair in FIELD_PAIRS] == FIELD_PAIRS
    assert message.body == (b"" if method == "HEAD" else body)
    until_close = manner == "unsized" and bool(message.body) and b"chunked" not in written
    assert message.keep_alive is writer.keep_alive
    assert writer.keep_alive is (kept and not until_close)


def head_of(request: bytes) -> RequestHead:
    reader = RequestReader()
    reader.feed(request)
    head = reader.next_event()
    assert isinstance(head, RequestHead)
    return head


def test_h11_reads_interim_answers_and_the_one_behind_them() -> None:
    writer = ResponseWriter(head_of(ASKED[0][1]))
    written = CONTINUE + writer.start(103, encode_fields([("link", "</a>")]), None)
    written += writer.start(200, FIELDS, None) + writer.part(b"x") + writer.finish()
    (message,) = read_h11("GET", written + SIZED + b"again").messages[:1]
    assert [line[0] for line, _ in message.heads] == [100, 103, 200]
    assert message.body == b"x" and message.keep_alive


@pytest.mark.parametrize("body", [b"", b"hello world", b"\r\n0\r\n\r\n", bytes(range(256)) * 300])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS"])
def test_h11_reads_what_the_request_writer_writes(method: str, body: bytes) -> None:
    writer, written = RequestWriter(), b""
    for size in (len(body), None):
        written += writer.start(method, "/x?y=%20", encode_fields([("host", "a")]) + FIELDS, size)
        written += writer.part(body[:6]) + writer.part(body[6:]) + writer.finish()
    reading = read_h11(REQUESTS, written)
    assert reading.refusal == ""
    assert [message.body for message in reading.messages] == [body, body]
    for message in reading.messages:
        ((line, fields),) = message.heads
        assert line == (method, "/x?y=%20", 1)
        assert fields[:3] == [("host", "a"), *FIELD_PAIRS]
        assert message.keep_alive
