"""protocol/wire/http1/: what RFC 9110 and RFC 9112 allow and forbid, as tables of (id, bytes, what is read from them).

Every row is read whole, byte by byte, cut in two at each place, fed in two pieces before anything is asked for, and
with bytes behind it; whatever way it comes, the same must be read. A refusal stands beside its nearest neighbour
that is accepted. How the readers compare with another implementation is in test_http1_differential.py.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Union

import pytest
from steps import assert_grows_in_proportion

from protocol.wire.http1.memo import RequestMemo, ResponseMemo
from protocol.wire.http1.messages import (
    CLOSED,
    NEED_DATA,
    PAUSED,
    BadMessage,
    BodyPart,
    EndOfBody,
    Fields,
    MessageHead,
    RequestHead,
    ResponseHead,
)
from protocol.wire.http1.readers import RequestReader, ResponseReader
from protocol.wire.http1.writers import (
    CONTINUE,
    RequestWriter,
    ResponseWriter,
    chunked_answer,
    encode_fields,
    request_lines,
    sized_answer,
    takes_ready_answer,
    whole_request,
)

Reader = Union[RequestReader, ResponseReader]
MakeReader = Callable[[], Reader]

# ---- reading a row in every way -----------------------------------------------------------------------------------

NEXT = b"GET /next HTTP/1.1\r\nHost: next\r\n\r\n"
NEXT_EVENTS = ["GET /next HTTP/1.1 | host: next", "end"]


class Refusal(NamedTuple):
    status: int
    message: str = ""


class Reading(NamedTuple):
    """What a reader made of some bytes: its events in words, its last signal or refusal, and the bytes left over."""

    events: list[str]
    last: str
    refusal: Refusal
    rest: bytes


def told(head: RequestHead | ResponseHead) -> str:
    if isinstance(head, RequestHead):
        line = f"{head.method} {head.target} HTTP/1.{head.minor_version}"
    else:
        line = f"HTTP/1.{head.minor_version} {head.status} {head.reason}"
    return line + told_fields(head.fields)


def told_fields(fields: Fields) -> str:
    return "".join(f" | {name}: {value}" for name, value in fields)


def pull(reader: Reader, events: list[str], follow: bool) -> object:
    """Put what the reader has into `events`, neighbouring parts of a body as one; return the signal at its end."""
    while True:
        event = reader.next_event()
        if isinstance(event, (RequestHead, ResponseHead)):
            events.append(told(event))
        elif isinstance(event, BodyPart):
            assert event.data, "a part of a body is never empty"
            begun = bool(events) and events[-1].startswith("body ")
            text = event.data.decode("latin-1")
            events[-1:] = [events[-1] + text] if begun else [*events[-1:], "body " + text]
        elif isinstance(event, EndOfBody):
            events.append("end" + told_fields(event.trailers))
        elif event is PAUSED and follow:
            reader.next_message()
        else:
            assert event in (NEED_DATA, PAUSED, CLOSED)
            return event


def read(reader: Reader, pieces: list[bytes], *, pull_late: bool = False) -> Reading:
    """Feed the pieces, pulling after each or only at the end; a request reader goes on to the next message."""
    follow = isinstance(reader, RequestReader)
    events: list[str] = []
    last: object = NEED_DATA
    try:
        for number, piece in enumerate(pieces, 1):
            reader.feed(piece)
            if not pull_late or number == len(pieces):
                last = pull(reader, events, follow)
    except BadMessage as exc:
        assert_dead(reader)
        return Reading(events, "refused", Refusal(exc.status, exc.message), b"")
    waiting = reader.buffered
    rest = reader.take_rest()
    assert waiting == len(rest) and reader.buffered == 0
    return Reading(events, repr(last), Refusal(0), rest)


def assert_dead(reader: Reader) -> None:
    """After a refusal nothing more is read, whatever comes (RFC 9112 §11.2)."""
    for data in (NEXT, b""):
        reader.feed(data)
        with pytest.raises(BadMessage) as caught:
            reader.next_event()
        assert caught.value.status == 400
    with pytest.raises(RuntimeError):
        reader.next_message()


def cuts(size: int) -> Iterator[int]:
    """Places to cut in two: all of them, or those near the ends and some between when there are very many."""
    if size <= 400:
        return iter(range(1, size))
    return iter(sorted({*range(1, 60), *range(60, size - 60, max(97, size // 40)), *range(size - 60, size)}))


def assert_same_in_every_way(make: MakeReader, data: bytes, ended: bool = False) -> Reading:
    """Return what is read from the whole; all other ways must give the same (a refusal: the same status)."""
    end = [b""] if ended else []
    whole = read(make(), [data, *end])
    single = [data[i : i + 1] for i in range(len(data))]
    ways: list[tuple[str, list[bytes], bool]] = [("byte by byte", single + end, False)]
    for cut in cuts(len(data)):
        halves = [data[:cut], data[cut:], *end]
        ways += [(f"cut at {cut}", halves, False), (f"cut at {cut}, pulled late", halves, True)]
    for name, pieces, late in ways:
        other = read(make(), pieces, pull_late=late)
        assert essence(other) == essence(whole), name
    return whole


def essence(reading: Reading) -> tuple[Any, ...]:
    """What must not depend on how the bytes came; what of a broken message is still read may."""
    if reading.last == "refused":
        return "refused", reading.refusal.status
    return reading.events, reading.last, reading.rest


def lines(*items: bytes) -> bytes:
    return b"".join(item + b"\r\n" for item in items) + b"\r\n"


def get(*fields: bytes) -> bytes:
    return lines(b"GET / HTTP/1.1", b"Host: a", *fields)


def post(*fields: bytes) -> bytes:
    return lines(b"POST / HTTP/1.1", b"Host: a", *fields)


def chunked(body: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked") + body


def ok(*fields: bytes) -> bytes:
    return lines(b"HTTP/1.1 200 OK", *fields)


GET = "GET / HTTP/1.1 | host: a"
POST = "POST / HTTP/1.1 | host: a"
CHUNKED = POST + " | transfer-encoding: chunked"
OK = "HTTP/1.1 200 OK"


def ids(rows: list[Any]) -> list[str]:
    names = [row[0] for row in rows]
    assert len(set(names)) == len(names), "two rows have one id"
    return names


# ---- requests that are accepted -----------------------------------------------------------------------------------

ACCEPTED_REQUESTS: list[tuple[str, bytes, list[str]]] = [
    ("no-body", get(), [GET, "end"]),
    ("no-fields", b"GET / HTTP/1.0\r\n\r\n", ["GET / HTTP/1.0", "end"]),
    ("content-length", post(b"Content-Length: 5") + b"hello", [POST + " | content-length: 5", "body hello", "end"]),
    ("content-length-0", post(b"Content-Length: 0"), [POST + " | content-length: 0", "end"]),
    ("content-length-00", post(b"Content-Length: 002") + b"hi", [POST + " | content-length: 002", "body hi", "end"]),
    (
        "content-length-list-of-one-number",  # RFC 9112 §6.3, step 5
        post(b"Content-Length: 2, 2", b"Content-Length: 2") + b"hi",
        [POST + " | content-length: 2, 2 | content-length: 2", "body hi", "end"],
    ),
    ("body-with-line-ends", post(b"Content-Length: 6") + b"\r\n\r\n\0\n",
     [POST + " | content-length: 6", "body \r\n\r\n\0\n", "end"]),
    ("chunked", chunked(b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"), [CHUNKED, "body hello world", "end"]),
    ("chunked-empty", chunked(b"0\r\n\r\n"), [CHUNKED, "end"]),
    ("chunked-hex-either-case", chunked(b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n"),
     [CHUNKED, "body " + "0123456789" * 2, "end"]),
    ("chunked-leading-zeros", chunked(b"0005\r\nhello\r\n000\r\n\r\n"), [CHUNKED, "body hello", "end"]),
    ("chunked-16-digits", chunked(b"0000000000000005\r\nhello\r\n0\r\n\r\n"), [CHUNKED, "body hello", "end"]),
    ("chunked-data-like-framing", chunked(b"7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n"), [CHUNKED, "body \r\n0\r\n\r\n", "end"]),
    ("chunk-extension", chunked(b"5;name=value\r\nhello\r\n0;last\r\n\r\n"), [CHUNKED, "body hello", "end"]),
    ("chunk-extension-quoted", chunked(b'5;a="x;y";b\r\nhello\r\n0\r\n\r\n'), [CHUNKED, "body hello", "end"]),
    ("chunk-extension-bad-white-space", chunked(b"5 \t; a = b\t\r\nhello\r\n0\r\n\r\n"),
     [CHUNKED, "body hello", "end"]),
    ("chunk-extension-longer-than-is-judged-early", chunked(b"5;" + b"x" * 300 + b"\r\nhello\r\n0\r\n\r\n"),
     [CHUNKED, "body hello", "end"]),
    ("trailers", chunked(b"0\r\nA: 1\r\nb:2\r\n\r\n"), [CHUNKED, "end | a: 1 | b: 2"]),
    ("trailers-after-data", chunked(b"1\r\nx\r\n0\r\nA: 1\r\n\r\n"), [CHUNKED, "body x", "end | a: 1"]),
    ("trailers-that-look-like-framing", chunked(b"0\r\nContent-Length: 9\r\n\r\n"),
     [CHUNKED, "end | content-length: 9"]),
    ("chunked-in-capitals", post(b"Transfer-Encoding: CHUNKED") + b"0\r\n\r\n",
     [POST + " | transfer-encoding: CHUNKED", "end"]),
    (
        "transfer-encoding-with-empty-members",  # RFC 9110 §5.6.1.2
        post(b"Transfer-Encoding: ,chunked, ") + b"0\r\n\r\n",
        [POST + " | transfer-encoding: ,chunked,", "end"],
    ),
    ("get-with-body", get(b"Content-Length: 2") + b"hi", [GET + " | content-length: 2", "body hi", "end"]),
    ("pipelined", get() + post(b"Content-Length: 2") + b"hi" + chunked(b"1\r\nx\r\n0\r\n\r\n") + get(),
     [GET, "end", POST + " | content-length: 2", "body hi", "end", CHUNKED, "body x", "end", GET, "end"]),
    ("pipelined-same-head", get(b"X: 1") * 3, [GET + " | x: 1", "end"] * 3),
    ("pipelined-same-head-with-body", (post(b"Content-Length: 2") + b"hi") * 2,
     [POST + " | content-length: 2", "body hi", "end"] * 2),
    ("empty-line-first", b"\r\n" + get(), [GET, "end"]),
    ("empty-line-between", post(b"Content-Length: 2") + b"hi\r\n" + get(),
     [POST + " | content-length: 2", "body hi", "end", GET, "end"]),
    ("empty-line-before-repeated-head", get() + b"\r\n" + get(), [GET, "end"] * 2),
    ("field-name-of-all-token-characters", get(b"!#$%&'*+-.^_`|~09azAZ: 1"),
     [GET + " | !#$%&'*+-.^_`|~09azaz: 1", "end"]),
    ("field-value-empty", get(b"X:", b"Y: \t "), [GET + " | x:  | y: ", "end"]),
    ("field-value-trimmed", get(b"X:\t  a \t b\t "), [GET + " | x: a \t b", "end"]),
    ("field-value-with-colon", get(b"X: a:b: c"), [GET + " | x: a:b: c", "end"]),
    ("field-value-obs-text", get(b"X: \x80\xa0\xff"), [GET + " | x: \x80\xa0\xff", "end"]),
    ("field-value-no-break-space-stays", get(b"X: \xa0a\x85"), [GET + " | x: \xa0a\x85", "end"]),
    ("fields-repeated-stay-apart", get(b"X: 1", b"x: 2"), [GET + " | x: 1 | x: 2", "end"]),
    ("method-of-any-token", lines(b"m-search+1 / HTTP/1.1", b"Host: a"), ["m-search+1 / HTTP/1.1 | host: a", "end"]),
    ("host-empty", lines(b"GET / HTTP/1.1", b"Host:"), ["GET / HTTP/1.1 | host: ", "end"]),
    ("host-ip-literal", lines(b"GET / HTTP/1.1", b"Host: [::1]:8080"), ["GET / HTTP/1.1 | host: [::1]:8080", "end"]),
    ("host-missing-in-1.0", b"GET / HTTP/1.0\r\nX: 1\r\n\r\n", ["GET / HTTP/1.0 | x: 1", "end"]),
    ("higher-minor-version", lines(b"GET / HTTP/1.9", b"Host: a"), ["GET / HTTP/1.1 | host: a", "end"]),
    ("expect-100-continue", post(b"Expect: 100-Continue", b"Content-Length: 2") + b"hi",
     [POST + " | expect: 100-Continue | content-length: 2", "body hi", "end"]),
    ("expect-other-in-1.0", b"GET / HTTP/1.0\r\nExpect: more\r\n\r\n", ["GET / HTTP/1.0 | expect: more", "end"]),
]  # fmt: skip


@pytest.mark.parametrize(("data", "events"), [row[1:] for row in ACCEPTED_REQUESTS], ids=ids(ACCEPTED_REQUESTS))
def test_reads_a_request(data: bytes, events: list[str]) -> None:
    reading = assert_same_in_every_way(RequestReader, data)
    assert reading == Reading(events, "NEED_DATA", Refusal(0), b"")


@pytest.mark.parametrize(("data", "events"), [row[1:] for row in ACCEPTED_REQUESTS], ids=ids(ACCEPTED_REQUESTS))
def test_goes_on_to_the_request_behind(data: bytes, events: list[str]) -> None:
    reading = assert_same_in_every_way(RequestReader, data + NEXT, ended=True)
    assert reading == Reading(events + NEXT_EVENTS, "CLOSED", Refusal(0), b"")


# ---- requests that are refused, beside their neighbours -----------------------------------------------------------


def target(text: bytes, method: bytes = b"GET") -> bytes:
    return lines(method + b" " + text + b" HTTP/1.1", b"Host: a")


def host(value: bytes) -> bytes:
    return lines(b"GET / HTTP/1.1", b"Host: " + value)


def length(value: bytes) -> bytes:
    return post(b"Content-Length: " + value) + b"h" * 10


LENGTH_5 = length(b"5")
CHUNK_5 = chunked(b"5\r\nhello\r\n0\r\n\r\n")
TRAILER = chunked(b"0\r\nA: 1\r\n\r\n")
LENGTH_WORDS = "decimal digits"
CHUNK_WORDS = "size in hex digits"
LINE_WORDS = "single spaces"

# id, what is refused, status, words of the message, the nearest that is accepted
REFUSED_REQUESTS: list[tuple[str, bytes, int, str, bytes]] = [
    # RFC 9112 §6.3: where a body ends
    ("both-framings", post(b"Transfer-Encoding: chunked", b"Content-Length: 5") + b"0\r\n\r\n", 400, "ambiguous",
     chunked(b"0\r\n\r\n")),
    ("both-framings-length-first", post(b"Content-Length: 5", b"Transfer-Encoding: chunked") + b"0\r\n\r\n", 400,
     "ambiguous", LENGTH_5),
    ("both-framings-unknown-coding", post(b"Content-Length: 5", b"Transfer-Encoding: gzip"), 400, "ambiguous",
     LENGTH_5),
    ("lengths-differ", post(b"Content-Length: 5", b"Content-Length: 6"), 400, "differing",
     post(b"Content-Length: 5", b"Content-Length: 5") + b"hello"),
    ("lengths-differ-in-a-list", length(b"5, 6"), 400, "differing", length(b"5, 5")),
    ("lengths-differ-in-zeros", length(b"5, 05"), 400, "differing", length(b"05, 05")),
    ("length-and-empty-member", length(b"5,"), 400, "differing", LENGTH_5),
    ("length-plus", length(b"+5"), 400, LENGTH_WORDS, LENGTH_5),
    ("length-negative", length(b"-5"), 400, LENGTH_WORDS, LENGTH_5),
    ("length-underscore", length(b"1_0"), 400, LENGTH_WORDS, length(b"10")),
    ("length-hex", length(b"0x5"), 400, LENGTH_WORDS, LENGTH_5),
    ("length-space-within", length(b"1 0"), 400, LENGTH_WORDS, length(b" 10 ")),
    ("length-fraction", length(b"5.0"), 400, LENGTH_WORDS, LENGTH_5),
    ("length-exponent", length(b"1e1"), 400, LENGTH_WORDS, length(b"10")),
    ("length-quoted", length(b'"5"'), 400, LENGTH_WORDS, LENGTH_5),
    ("length-empty", length(b""), 400, LENGTH_WORDS, length(b"0")),
    ("length-superscript-digit", length(b"\xb2"), 400, LENGTH_WORDS, length(b"2")),
    ("length-arabic-digit", length("\u0665".encode()), 400, LENGTH_WORDS, LENGTH_5),
    ("length-fullwidth-digit", length("\uff15".encode()), 400, LENGTH_WORDS, LENGTH_5),
    ("length-no-break-space", length(b"5\xa0"), 400, LENGTH_WORDS, length(b"5\t")),
    ("length-vertical-tab", length(b"5\x0b"), 400, "control character", length(b"5\t")),
    ("length-19-digits", length(b"1" * 19), 400, LENGTH_WORDS, post(b"Content-Length: " + b"1" * 18)),
    ("length-19-digits-of-zeros", length(b"0" * 18 + b"5"), 400, LENGTH_WORDS, length(b"0" * 17 + b"5")),
    ("length-broken-in-get", get(b"Content-Length: x"), 400, LENGTH_WORDS, get(b"Content-Length: 0")),
    ("chunked-twice", post(b"Transfer-Encoding: chunked, chunked"), 400, "once", CHUNK_5),
    ("chunked-on-two-lines", post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), 400, "once", CHUNK_5),
    ("chunked-not-last", post(b"Transfer-Encoding: chunked, gzip"), 400, "must end with chunked", CHUNK_5),
    ("transfer-encoding-empty", post(b"Transfer-Encoding:"), 400, "must end with chunked", CHUNK_5),
    ("transfer-encoding-in-1.0", b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "HTTP/1.0",
     CHUNK_5),
    ("coding-unknown", post(b"Transfer-Encoding: gzip"), 501, "'gzip' came", CHUNK_5),
    ("coding-before-chunked", post(b"Transfer-Encoding: gzip, chunked"), 501, "'gzip' came as well", CHUNK_5),
    ("coding-identity", post(b"Transfer-Encoding: identity"), 501, "identity", CHUNK_5),
    ("coding-quoted", post(b'Transfer-Encoding: "chunked"'), 501, "supported", CHUNK_5),
    ("coding-with-parameter", post(b"Transfer-Encoding: chunked;q=1"), 501, "supported", CHUNK_5),
    ("coding-almost-chunked", post(b"Transfer-Encoding: xchunked"), 501, "xchunked", CHUNK_5),
    ("coding-no-break-space", post(b"Transfer-Encoding: chunked\xa0"), 501, "supported", CHUNK_5),
    # RFC 9112 §7.1: chunks
    ("chunk-size-missing", chunked(b"\r\nhello\r\n0\r\n\r\n"), 400, CHUNK_WORDS, CHUNK_5),
    ("chunk-size-only-extension", chunked(b";a\r\nhello\r\n0\r\n\r\n"), 400, CHUNK_WORDS,
     chunked(b"5;a\r\nhello\r\n0\r\n\r\n")),
    ("chunk-size-plus", chunked(b"+5\r\nhello\r\n0\r\n\r\n"), 400, CHUNK_WORDS, CHUNK_5),
    ("chunk-size-negative", chunked(b"-5\r\nhello\r\n0\r\n\r\n"), 400, CHUNK_WORDS, CHUNK_5),
    ("chunk-size-0x", chunked(b"0x5\r\nhello\r\n0\r\n\r\n"), 400, CHUNK_WORDS, CHUNK_5),
    ("chunk-size-underscore", chunked(b"0_5\r\nhello\r\n0\r\n\r\n"), 400, CHUNK_WORDS, CHUNK_5),
    ("chunk-size-not-hex", chunked(b"g\r\nhello\r\n0\r\n\r\n"), 400, CHUNK_WORDS, CHUNK_5),
    ("chunk-size-17-digits", chunked(b"0" * 16 + b"5\r\nhello\r\n0\r\n\r\n"), 400, CHUNK_WORDS,
     chunked(b"0" * 15 + b"5\r\nhello\r\n0\r\n\r\n")),
    ("chunk-size-space-before", chunked(b" 5\r\nhello\r\n0\r\n\r\n"), 400, CHUNK_WORDS, CHUNK_5),
    ("chunk-size-space-behind", chunked(b"5 \r\nhello\r\n0\r\n\r\n"), 400, CHUNK_WORDS,
     chunked(b"5 ;a\r\nhello\r\n0\r\n\r\n")),
    ("chunk-size-fullwidth", chunked("\uff15".encode() + b"\r\nhello\r\n0\r\n\r\n"), 400, CHUNK_WORDS, CHUNK_5),
    ("chunk-line-bare-lf", chunked(b"5\nhello\r\n0\r\n\r\n"), 400, CHUNK_WORDS, CHUNK_5),
    ("chunk-line-bare-cr", chunked(b"5\rhello\r\n0\r\n\r\n"), 400, CHUNK_WORDS, CHUNK_5),
    ("chunk-extension-bare-lf", chunked(b"5;a\nhello\r\n0\r\n\r\n"), 400, CHUNK_WORDS,
     chunked(b"5;a\r\nhello\r\n0\r\n\r\n")),
    ("chunk-extension-bare-cr", chunked(b"5;a\rb\r\nhello\r\n0\r\n\r\n"), 400, CHUNK_WORDS,
     chunked(b"5;a=\"\t\"\r\nhello\r\n0\r\n\r\n")),
    ("chunk-extension-nul", chunked(b"5;a\0\r\nhello\r\n0\r\n\r\n"), 400, CHUNK_WORDS,
     chunked(b"5;a=\"\xff\"\r\nhello\r\n0\r\n\r\n")),
    ("chunk-extension-bare-cr-late", chunked(b"5;" + b"a" * 200 + b"\rb\r\nhello\r\n0\r\n\r\n"), 400, CHUNK_WORDS,
     chunked(b"5;" + b"a" * 200 + b";b\r\nhello\r\n0\r\n\r\n")),
    ("chunk-too-long", chunked(b"5\r\nhello!\r\n0\r\n\r\n"), 400, "followed by CR LF", CHUNK_5),
    ("chunk-too-short", chunked(b"5\r\nhell\r\n0\r\n\r\n"), 400, "followed by CR LF", CHUNK_5),
    ("chunk-ended-by-lf", chunked(b"5\r\nhello\n0\r\n\r\n"), 400, "followed by CR LF", CHUNK_5),
    ("chunk-ended-by-cr", chunked(b"5\r\nhello\r0\r\n\r\n"), 400, "followed by CR LF", CHUNK_5),
    ("chunk-ended-by-nothing", chunked(b"5\r\nhello0\r\n\r\n"), 400, "followed by CR LF", CHUNK_5),
    ("last-chunk-bare-lf", chunked(b"0\r\n\n"), 400, "bare LF", chunked(b"0\r\n\r\n")),
    ("last-chunk-bare-cr", chunked(b"0\r\n\rx"), 400, "bare CR", chunked(b"0\r\n\r\n")),
    ("trailer-space-before-colon", chunked(b"0\r\nA : 1\r\n\r\n"), 400, "White space stands", TRAILER),
    ("trailer-obs-fold", chunked(b"0\r\nA: 1\r\n 2\r\n\r\n"), 400, "continued on another line", TRAILER),
    ("trailer-bare-lf", chunked(b"0\r\nA: 1\nB: 2\r\n\r\n"), 400, "bare LF", chunked(b"0\r\nA: 1\r\nB: 2\r\n\r\n")),
    ("trailer-nul", chunked(b"0\r\nA: \0\r\n\r\n"), 400, "NUL", TRAILER),
    ("trailer-without-colon", chunked(b"0\r\nA\r\n\r\n"), 400, "no colon", TRAILER),
    # RFC 9112 §5: fields
    ("space-before-colon", get(b"X : 1"), 400, "White space stands", get(b"X: 1")),
    ("tab-before-colon", get(b"X\t: 1"), 400, "White space stands", get(b"X:\t1")),
    ("space-before-colon-of-length", post(b"Content-Length : 5") + b"hello", 400, "White space stands", LENGTH_5),
    ("space-before-colon-of-coding", post(b"Transfer-Encoding : chunked"), 400, "White space stands", CHUNK_5),
    ("obs-fold", get(b"X: 1", b" 2"), 400, "continued on another line", get(b"X: 1 2")),
    ("obs-fold-tab", get(b"X: 1", b"\t2"), 400, "continued on another line", get(b"X: 1\t2")),
    ("obs-fold-blank", get(b"X: 1", b" "), 400, "continued on another line", get(b"X: 1 ")),
    ("white-space-before-first-field", lines(b"GET / HTTP/1.1", b" Host: a"), 400, "continued on another line", get()),
    ("field-without-colon", get(b"X"), 400, "no colon", get(b"X:")),
    ("field-without-name", get(b": 1"), 400, "not allowed", get(b"X: 1")),
    ("field-name-obs-text", get(b"X\xe9: 1"), 400, "not allowed", get(b"X: \xe9")),
    ("field-name-space-within", get(b"X Y: 1"), 400, "not allowed", get(b"X-Y: 1")),
    ("field-name-bracket", get(b"X(Y): 1"), 400, "not allowed", get(b"X.Y: 1")),
    ("field-name-nul", get(b"X\0: 1"), 400, "NUL", get(b"X: 1")),
    ("field-value-nul", get(b"X: a\0b"), 400, "NUL", get(b"X: a\tb")),
    ("field-value-bare-cr", get(b"X: a\rb"), 400, "bare CR", get(b"X: a\tb")),
    ("field-value-bare-lf", get(b"X: a\nb"), 400, "bare LF", get(b"X: a\tb")),
    ("field-value-ends-in-bare-cr", get(b"X: a\r"), 400, "bare CR", get(b"X: a ")),
    ("field-value-begins-with-bare-cr", get(b"X:\r a"), 400, "bare CR", get(b"X:  a")),
    ("field-value-escape", get(b"X: a\x1bb"), 400, "control character", get(b"X: a~b")),
    ("field-value-delete", get(b"X: a\x7fb"), 400, "control character", get(b"X: a\x80b")),
    ("field-line-ended-by-lf", b"GET / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n", 400, "bare LF", get(b"X: 1")),
    ("head-ended-by-lf", b"GET / HTTP/1.1\r\nHost: a\r\n\n", 400, "bare LF", get()),
    ("head-all-bare-lf", b"GET / HTTP/1.1\nHost: a\n\n", 400, "bare LF", get()),
    ("head-ended-by-cr-cr-lf", b"GET / HTTP/1.1\r\nHost: a\r\n\r\r\n", 400, "bare CR", get()),
    # RFC 9112 §3: the request line
    ("line-bare-lf", b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400, "bare LF", get()),
    ("line-bare-cr", b"GET / HTTP/1.1\rHost: a\r\n\r\n", 400, "bare CR", get()),
    ("line-bare-cr-as-space", b"GET\r/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bare CR", get()),
    ("line-nul", b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "NUL", get()),
    ("line-two-spaces", lines(b"GET  / HTTP/1.1", b"Host: a"), 400, LINE_WORDS, get()),
    ("line-two-spaces-before-version", lines(b"GET /  HTTP/1.1", b"Host: a"), 400, LINE_WORDS, get()),
    ("line-tab", lines(b"GET\t/ HTTP/1.1", b"Host: a"), 400, LINE_WORDS, get()),
    ("line-space-behind", lines(b"GET / HTTP/1.1 ", b"Host: a"), 400, LINE_WORDS, get()),
    ("line-space-before", b" " + get(), 400, "begin with a method", get()),
    ("line-space-in-target", target(b"/a b"), 400, LINE_WORDS, target(b"/a%20b")),
    ("line-without-version", lines(b"GET /", b"Host: a"), 400, LINE_WORDS, get()),
    ("line-without-target", lines(b"GET HTTP/1.1", b"Host: a"), 400, LINE_WORDS, get()),
    ("line-method-not-a-token", lines(b"G(T / HTTP/1.1", b"Host: a"), 400, LINE_WORDS,
     lines(b"G!T / HTTP/1.1", b"Host: a")),
    ("line-target-obs-text", target("/é".encode()), 400, LINE_WORDS, target(b"/%C3%A9")),
    ("line-target-delete", target(b"/\x7f"), 400, LINE_WORDS, target(b"/\x7e")),
    ("line-version-lower-case", lines(b"GET / http/1.1", b"Host: a"), 400, LINE_WORDS, get()),
    ("line-version-two-digits", lines(b"GET / HTTP/1.10", b"Host: a"), 400, LINE_WORDS, get()),
    ("line-version-comma", lines(b"GET / HTTP/1,1", b"Host: a"), 400, LINE_WORDS, get()),
    ("two-empty-lines-first", b"\r\n\r\n" + get(), 400, "begin with a method", b"\r\n" + get()),
    ("empty-line-of-lf", b"\n" + get(), 400, "begin with a method", b"\r\n" + get()),
    ("empty-line-of-cr", b"\r" + get(), 400, "begin with a method", b"\r\n" + get()),
    ("empty-line-of-cr-cr-lf", b"\r\r\n" + get(), 400, "begin with a method", b"\r\n" + get()),
    ("nul-first", b"\0" + get(), 400, "begin with a method", get()),
    ("tls", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "TLS handshake", get()),
    ("version-2.0", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "HTTP/2.0", lines(b"OPTIONS * HTTP/1.1", b"Host: a")),
    ("version-0.9", lines(b"GET / HTTP/0.9", b"Host: a"), 505, "HTTP/0.9", lines(b"GET / HTTP/1.0", b"Host: a")),
    # RFC 9112 §3.2: target and Host
    ("target-without-slash", target(b"index.html"), 400, "must be a path", target(b"/index.html")),
    ("target-star-of-get", target(b"*"), 400, "must be a path", target(b"*", b"OPTIONS")),
    ("target-star-and-more", target(b"*/", b"OPTIONS"), 400, "must be a path", target(b"*", b"OPTIONS")),
    ("target-other-scheme", target(b"ftp://b/"), 400, "must be a path", target(b"http://b/")),
    ("target-without-authority", target(b"http:///x"), 400, "must be a path", target(b"http://b/x")),
    ("target-with-user", target(b"http://user@b/"), 400, "must be a path", target(b"http://user.b/")),
    ("target-absolute-with-fragment", target(b"http://b/#c"), 400, "must not have a fragment", target(b"http://b/?c")),
    ("target-query-only", target(b"?a"), 400, "must be a path", target(b"/?a")),
    ("connect-path", target(b"/", b"CONNECT"), 400, "host:port", target(b"b:443", b"CONNECT")),
    ("connect-star", target(b"*", b"CONNECT"), 400, "host:port", target(b"b:443", b"CONNECT")),
    ("connect-absolute", target(b"http://b:443/", b"CONNECT"), 400, "host:port", target(b"b:443", b"CONNECT")),
    ("connect-without-port", target(b"b", b"CONNECT"), 400, "host:port", target(b"b:443", b"CONNECT")),
    ("connect-empty-port", target(b"b:", b"CONNECT"), 400, "host:port", target(b"b:1", b"CONNECT")),
    ("connect-empty-host", target(b":443", b"CONNECT"), 400, "host:port", target(b"b:443", b"CONNECT")),
    ("connect-ip-literal-without-port", target(b"[::1]", b"CONNECT"), 400, "host:port",
     target(b"[::1]:443", b"CONNECT")),
    ("connect-port-0", target(b"b:0", b"CONNECT"), 400, "host:port", target(b"b:1", b"CONNECT")),
    ("connect-port-65536", target(b"b:65536", b"CONNECT"), 400, "host:port", target(b"b:65535", b"CONNECT")),
    ("authority-form-of-get", target(b"b:443"), 400, "must be a path", target(b"b:443", b"CONNECT")),
    ("host-missing", b"GET / HTTP/1.1\r\n\r\n", 400, "Host field is missing", b"GET / HTTP/1.0\r\n\r\n"),
    ("host-missing-higher-minor", b"GET / HTTP/1.2\r\n\r\n", 400, "Host field is missing",
     lines(b"GET / HTTP/1.2", b"Host: a")),
    ("host-missing-absolute-form", b"GET http://b/ HTTP/1.1\r\n\r\n", 400, "Host field is missing",
     target(b"http://b/")),
    ("host-twice", get(b"Host: b"), 400, "several times", get()),
    ("host-twice-the-same", get(b"HOST: a"), 400, "several times", get()),
    ("host-twice-in-1.0", b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", 400, "several times",
     b"GET / HTTP/1.0\r\nHost: a\r\n\r\n"),
    ("host-list", host(b"a, b"), 400, "perhaps with a port", host(b"a")),
    ("host-with-scheme", host(b"http://a"), 400, "perhaps with a port", host(b"a")),
    ("host-with-path", host(b"a/b"), 400, "perhaps with a port", host(b"a")),
    ("host-with-user", host(b"u@a"), 400, "perhaps with a port", host(b"a")),
    ("host-port-not-a-number", host(b"a:http"), 400, "perhaps with a port", host(b"a:80")),
    ("host-port-signed", host(b"a:+80"), 400, "perhaps with a port", host(b"a:80")),
    ("host-port-twice", host(b"a:80:80"), 400, "perhaps with a port", host(b"a:80")),
    ("host-port-six-digits", host(b"a:808080"), 400, "perhaps with a port", host(b"a:80808")),
    ("host-ip-literal-open", host(b"[::1"), 400, "perhaps with a port", host(b"[::1]")),
    ("host-obs-text", host(b"\xe9"), 400, "perhaps with a port", host(b"e")),
    # RFC 9110 §10.1.1
    ("expect-other", post(b"Expect: more"), 417, "'more' came", post(b"Expect: 100-continue")),
    ("expect-other-as-well", post(b"Expect: 100-continue, more"), 417, "'more' came",
     post(b"Expect: 100-continue, 100-continue")),
]  # fmt: skip


@pytest.mark.parametrize(("data", "status", "words"), [row[1:4] for row in REFUSED_REQUESTS], ids=ids(REFUSED_REQUESTS))
def test_refuses_a_request(data: bytes, status: int, words: str) -> None:
    assert_refused(RequestReader, data, status, words)


def assert_refused(make: MakeReader, data: bytes, status: int, words: str) -> None:
    for tail in (b"", NEXT):
        refusal = assert_same_in_every_way(make, data + tail).refusal
        assert refusal.status == status
        assert words in refusal.message
        assert "\n" not in refusal.message and len(refusal.message) < 300, "one short line"


NEIGHBOURS = sorted({row[4] for row in REFUSED_REQUESTS})


@pytest.mark.parametrize("data", NEIGHBOURS)
def test_accepts_the_neighbour_of_a_refused_request(data: bytes) -> None:
    reading = assert_same_in_every_way(RequestReader, data)
    assert reading.last == "NEED_DATA"
    assert reading.events


# ---- what the fields of a request mean ----------------------------------------------------------------------------


def request_head(data: bytes) -> RequestHead:
    reader = RequestReader()
    reader.feed(data)
    head = reader.next_event()
    assert isinstance(head, RequestHead)
    return head


HTTP_10 = b"GET / HTTP/1.0"

KEEP_ALIVE: list[tuple[str, bytes, bool]] = [
    ("1.1", get(), True),
    ("1.1-close", get(b"Connection: close"), False),
    ("1.1-close-in-capitals", get(b"Connection: CLOSE"), False),
    ("1.1-close-among-others", get(b"Connection: x , close,y"), False),
    ("1.1-close-on-second-line", get(b"Connection: x", b"Connection: close"), False),
    ("1.1-close-wins", get(b"Connection: keep-alive, close"), False),
    ("1.1-keep-alive", get(b"Connection: keep-alive"), True),
    ("1.1-word-that-contains-close", get(b"Connection: closed"), True),
    ("1.2", lines(b"GET / HTTP/1.2", b"Host: a"), True),
    ("1.0", lines(HTTP_10), False),
    ("1.0-keep-alive", lines(HTTP_10, b"Connection: Keep-Alive"), True),
    ("1.0-close-wins", lines(HTTP_10, b"Connection: keep-alive, close"), False),
    ("1.0-keep-alive-field-alone", lines(HTTP_10, b"Keep-Alive: timeout=5"), False),
]


@pytest.mark.parametrize(("data", "keep_alive"), [row[1:] for row in KEEP_ALIVE], ids=ids(KEEP_ALIVE))
def test_keeps_a_connection_by_version_and_connection_field(data: bytes, keep_alive: bool) -> None:
    assert request_head(data).keep_alive is keep_alive


# id, method, target, (host, path, query)
TARGETS: list[tuple[str, bytes, bytes, tuple[str, str, str]]] = [
    ("origin", b"GET", b"/a/b", ("a", "/a/b", "")),
    ("origin-query", b"GET", b"/a?b=c&d", ("a", "/a", "b=c&d")),
    ("origin-query-with-question-mark", b"GET", b"/?a?b", ("a", "/", "a?b")),
    ("origin-encoded", b"GET", b"/%2F%00?%3F", ("a", "/%2F%00", "%3F")),
    ("origin-two-slashes", b"GET", b"//evil/x", ("a", "//evil/x", "")),
    ("origin-like-a-url", b"GET", b"/http://b/", ("a", "/http://b/", "")),
    ("absolute", b"GET", b"http://b/c?d", ("b", "/c", "d")),
    ("absolute-in-capitals", b"GET", b"HTTPS://B:8443/c", ("B:8443", "/c", "")),
    ("absolute-without-path", b"GET", b"http://b", ("b", "/", "")),
    ("absolute-query-without-path", b"GET", b"http://b?c=/d", ("b", "/", "c=/d")),
    ("absolute-ip-literal", b"GET", b"http://[::1]:80/", ("[::1]:80", "/", "")),
    ("absolute-options-without-path", b"OPTIONS", b"http://b:80", ("b:80", "*", "")),
    ("absolute-options-with-path", b"OPTIONS", b"http://b/", ("b", "/", "")),
    ("asterisk", b"OPTIONS", b"*", ("a", "*", "")),
    ("options-path", b"OPTIONS", b"/c", ("a", "/c", "")),
    ("authority", b"CONNECT", b"b:443", ("b:443", "", "")),
    ("authority-ip-literal", b"CONNECT", b"[::1]:443", ("[::1]:443", "", "")),
]  # fmt: skip


@pytest.mark.parametrize(("method", "text", "parts"), [row[1:] for row in TARGETS], ids=ids(TARGETS))
def test_takes_a_target_apart(method: bytes, text: bytes, parts: tuple[str, str, str]) -> None:
    head = request_head(target(text, method))
    assert (head.host, head.path, head.query) == parts
    assert head.target == text.decode()
    assert head.method == method.decode()


# id, head, what it says of its body: (content_length, chunked, has_body, expects_continue)
BODIES: list[tuple[str, bytes, tuple[int | None, bool, bool, bool]]] = [
    ("none", get(), (0, False, False, False)),
    ("length", post(b"Content-Length: 7"), (7, False, True, False)),
    ("length-0", post(b"Content-Length: 0"), (0, False, False, False)),
    ("length-18-digits", post(b"Content-Length: " + b"9" * 18), (10**18 - 1, False, True, False)),
    ("chunked", post(b"Transfer-Encoding: chunked"), (None, True, True, False)),
    ("expect", post(b"Content-Length: 7", b"Expect: 100-continue"), (7, False, True, True)),
    ("expect-chunked", post(b"Transfer-Encoding: chunked", b"Expect: 100-CONTINUE"), (None, True, True, True)),
    ("expect-without-body", get(b"Expect: 100-continue"), (0, False, False, False)),
    ("expect-empty", post(b"Content-Length: 7", b"Expect:"), (7, False, True, False)),
    (
        "expect-in-1.0",
        lines(b"POST / HTTP/1.0", b"Content-Length: 7", b"Expect: 100-continue"),
        (7, False, True, False),
    ),
]


@pytest.mark.parametrize(("data", "said"), [row[1:] for row in BODIES], ids=ids(BODIES))
def test_says_what_body_follows(data: bytes, said: tuple[int | None, bool, bool, bool]) -> None:
    head = request_head(data)
    assert (head.content_length, head.chunked, head.has_body, head.expects_continue) == said


UPGRADES: list[tuple[str, bytes, str]] = [
    ("offered", get(b"Connection: Upgrade", b"Upgrade: websocket"), "websocket"),
    ("several", get(b"Connection: keep-alive, upgrade", b"Upgrade: h2c", b"Upgrade: websocket"), "h2c, websocket"),
    ("not-in-connection", get(b"Upgrade: websocket"), ""),
    ("only-in-connection", get(b"Connection: upgrade"), ""),
    ("in-1.0", lines(HTTP_10, b"Connection: upgrade", b"Upgrade: websocket"), ""),  # RFC 9110 §7.8
]


@pytest.mark.parametrize(("data", "upgrade"), [row[1:] for row in UPGRADES], ids=ids(UPGRADES))
def test_shows_an_upgrade_only_when_connection_names_it(data: bytes, upgrade: str) -> None:
    assert request_head(data).upgrade == upgrade


def test_joins_fields_of_one_name_and_keeps_their_order() -> None:
    fields = request_head(get(b"A: 1, x", b"B: 2", b"a: , Y ")).fields
    assert list(fields) == [("host", "a"), ("a", "1, x"), ("b", "2"), ("a", ", Y")]
    assert len(fields) == 4
    assert fields.get("a") == "1, x, , Y"
    assert fields.tokens("a") == ["1", "x", "y"]
    assert fields.count("a") == 2 and fields.count("c") == 0
    assert "b" in fields and "B" not in fields
    assert fields.get("c") == "" and fields.get("c", "none") == "none" and fields.tokens("c") == []


def test_shows_events_in_their_repr() -> None:
    reader = RequestReader()
    reader.feed(chunked(b"1\r\nx\r\n0\r\nA: 1\r\n\r\n"))
    shown = [repr(reader.next_event()) for _ in range(4)]
    assert shown == [
        "RequestHead('POST', '/', 1.1, Fields([('host', 'a'), ('transfer-encoding', 'chunked')]))",
        "BodyPart(b'x')",
        "EndOfBody(Fields([('a', '1')]))",
        "PAUSED",
    ]
    answers = ResponseReader("GET")
    answers.feed(b"HTTP/1.0 404 Not Found\r\n\r\n")
    assert repr(answers.next_event()) == "ResponseHead(404, 'Not Found', 1.0, Fields([]))"


# ---- responses ----------------------------------------------------------------------------------------------------

OK_5 = ok(b"Content-Length: 5") + b"hello"
OK_5_EVENTS = [OK + " | content-length: 5", "body hello", "end"]
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
OK_CHUNKED = OK + " | transfer-encoding: chunked"

# id, method of the request, bytes, what is read; the message is over without the end of the connection
ACCEPTED_RESPONSES: list[tuple[str, str, bytes, list[str]]] = [
    ("content-length", "GET", OK_5, OK_5_EVENTS),
    ("content-length-0", "GET", ok(b"Content-Length: 0"), [OK + " | content-length: 0", "end"]),
    ("chunked", "GET", ok(b"Transfer-Encoding: chunked") + b"5;x\r\nhello\r\n0\r\nA: 1\r\n\r\n",
     [OK_CHUNKED, "body hello", "end | a: 1"]),
    ("reason-missing", "GET", b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n",
     ["HTTP/1.1 200  | content-length: 0", "end"]),
    ("reason-missing-with-its-space", "GET", b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
     ["HTTP/1.1 200  | content-length: 0", "end"]),
    ("reason-of-many-words", "GET", b"HTTP/1.1 200 a  b\tc \xe9\r\nContent-Length: 0\r\n\r\n",
     ["HTTP/1.1 200 a  b\tc \xe9 | content-length: 0", "end"]),
    ("1.0", "GET", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
     ["HTTP/1.0 200 OK | content-length: 2", "body hi", "end"]),
    ("higher-minor-version", "GET", b"HTTP/1.7 200 OK\r\nContent-Length: 2\r\n\r\nhi",
     ["HTTP/1.1 200 OK | content-length: 2", "body hi", "end"]),
    ("head", "HEAD", ok(b"Content-Length: 5"), [OK + " | content-length: 5", "end"]),
    ("head-chunked", "HEAD", ok(b"Transfer-Encoding: chunked"), [OK_CHUNKED, "end"]),
    ("head-without-framing", "HEAD", ok(), [OK, "end"]),
    ("204", "GET", b"HTTP/1.1 204 No Content\r\n\r\n", ["HTTP/1.1 204 No Content", "end"]),
    ("204-with-length", "GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
     ["HTTP/1.1 204 No Content | content-length: 5", "end"]),
    ("304", "GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
     ["HTTP/1.1 304 Not Modified | content-length: 5", "end"]),
    ("304-chunked", "GET", b"HTTP/1.1 304 X\r\nTransfer-Encoding: chunked\r\n\r\n",
     ["HTTP/1.1 304 X | transfer-encoding: chunked", "end"]),
    ("100-first", "POST", INTERIM + OK_5, ["HTTP/1.1 100 Continue", *OK_5_EVENTS]),
    ("several-interim", "POST", INTERIM + b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + INTERIM + OK_5,
     ["HTTP/1.1 100 Continue", "HTTP/1.1 103 Early Hints | link: </a>", "HTTP/1.1 100 Continue", *OK_5_EVENTS]),
    ("interim-with-length", "GET", b"HTTP/1.1 102 X\r\nContent-Length: 5\r\n\r\n" + OK_5,
     ["HTTP/1.1 102 X | content-length: 5", *OK_5_EVENTS]),
    ("interim-before-head-answer", "HEAD", INTERIM + ok(b"Content-Length: 5"),
     ["HTTP/1.1 100 Continue", OK + " | content-length: 5", "end"]),
    ("101", "GET", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
     ["HTTP/1.1 101 Switching Protocols | upgrade: x"]),
    ("101-after-100", "GET", INTERIM + b"HTTP/1.1 101 X\r\n\r\n", ["HTTP/1.1 100 Continue", "HTTP/1.1 101 X"]),
    ("connect", "CONNECT", ok(), [OK]),
    ("connect-framing-ignored", "CONNECT", ok(b"Content-Length: 5", b"Transfer-Encoding: chunked"),
     [OK + " | content-length: 5 | transfer-encoding: chunked"]),
    ("connect-299", "CONNECT", b"HTTP/1.1 299 X\r\nContent-Length: x\r\n\r\n", ["HTTP/1.1 299 X | content-length: x"]),
    ("connect-refused", "CONNECT", b"HTTP/1.1 407 X\r\nContent-Length: 2\r\n\r\nhi",
     ["HTTP/1.1 407 X | content-length: 2", "body hi", "end"]),
    ("status-999", "GET", b"HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n",
     ["HTTP/1.1 999 X | content-length: 0", "end"]),
]  # fmt: skip


@pytest.mark.parametrize("tail", [b"", b"HTTP/1.1 ", b"\x00\xff\r\n"], ids=["alone", "next-answer", "other-protocol"])
@pytest.mark.parametrize(
    ("method", "data", "events"), [row[1:] for row in ACCEPTED_RESPONSES], ids=ids(ACCEPTED_RESPONSES)
)
def test_reads_a_response_and_leaves_what_is_behind(method: str, data: bytes, events: list[str], tail: bytes) -> None:
    reading = assert_same_in_every_way(lambda: ResponseReader(method), data + tail)
    assert reading == Reading(events, "PAUSED", Refusal(0), tail)


# id, method, bytes, what is read when the connection ends behind them
CLOSE_DELIMITED: list[tuple[str, str, bytes, list[str]]] = [
    ("1.1", "GET", ok() + b"hello", [OK, "body hello", "end"]),
    ("1.0", "GET", b"HTTP/1.0 200 OK\r\n\r\nhello", ["HTTP/1.0 200 OK", "body hello", "end"]),
    ("empty", "GET", ok(), [OK, "end"]),
    ("after-interim", "POST", INTERIM + ok() + b"\r\n\0", ["HTTP/1.1 100 Continue", OK, "body \r\n\0", "end"]),
    ("connect-refused", "CONNECT", b"HTTP/1.1 502 X\r\n\r\nno", ["HTTP/1.1 502 X", "body no", "end"]),
]


@pytest.mark.parametrize(("method", "data", "events"), [row[1:] for row in CLOSE_DELIMITED], ids=ids(CLOSE_DELIMITED))
def test_reads_a_body_until_the_connection_ends(method: str, data: bytes, events: list[str]) -> None:
    reading = assert_same_in_every_way(lambda: ResponseReader(method), data, ended=True)
    assert reading == Reading(events, "PAUSED", Refusal(0), b"")
    open_still = assert_same_in_every_way(lambda: ResponseReader(method), data)
    assert open_still == Reading(events[:-1], "NEED_DATA", Refusal(0), b"")


RESPONSE_KEEP_ALIVE: list[tuple[str, str, bytes, bool]] = [
    ("1.1", "GET", OK_5, True),
    ("1.1-close", "GET", ok(b"Content-Length: 0", b"Connection: close"), False),
    ("1.0", "GET", b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", False),
    ("1.0-keep-alive", "GET", b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n", True),
    ("close-delimited", "GET", ok(), False),
    ("close-delimited-keep-alive", "GET", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", False),
    ("head-without-framing", "HEAD", ok(), True),
    ("204", "GET", b"HTTP/1.1 204 X\r\n\r\n", True),
]


@pytest.mark.parametrize(
    ("method", "data", "keep_alive"), [row[1:] for row in RESPONSE_KEEP_ALIVE], ids=ids(RESPONSE_KEEP_ALIVE)
)
def test_keeps_a_connection_after_an_answer_whose_end_is_known(method: str, data: bytes, keep_alive: bool) -> None:
    reader = ResponseReader(method)
    reader.feed(data)
    head = reader.next_event()
    assert isinstance(head, ResponseHead)
    assert head.keep_alive is keep_alive


STATUS_WORDS = "status line must be"

# id, what is refused, kind of fault, words of the message, the nearest that is accepted; all are answers to GET
REFUSED_RESPONSES: list[tuple[str, bytes, int, str, bytes]] = [
    ("both-framings", ok(b"Content-Length: 5", b"Transfer-Encoding: chunked"), 400, "ambiguous", OK_5),
    ("both-framings-interim", b"HTTP/1.1 100 X\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400,
     "ambiguous", INTERIM + OK_5),
    ("lengths-differ", ok(b"Content-Length: 5", b"Content-Length: 6"), 400, "differing",
     ok(b"Content-Length: 5", b"Content-Length: 5") + b"hello"),
    ("length-malformed", ok(b"Content-Length: +5"), 400, LENGTH_WORDS, OK_5),
    ("coding-unknown", ok(b"Transfer-Encoding: gzip"), 501, "gzip", ok(b"Transfer-Encoding: chunked") + b"0\r\n\r\n"),
    ("transfer-encoding-in-1.0", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "HTTP/1.0",
     ok(b"Transfer-Encoding: chunked") + b"0\r\n\r\n"),
    ("chunk-size", ok(b"Transfer-Encoding: chunked") + b"x\r\n", 400, CHUNK_WORDS,
     ok(b"Transfer-Encoding: chunked") + b"0\r\n\r\n"),
    ("obs-fold", ok(b"X: 1", b" 2", b"Content-Length: 0"), 400, "continued on another line",
     ok(b"X: 1 2", b"Content-Length: 0")),
    ("space-before-colon", ok(b"Content-Length : 0"), 400, "White space stands", ok(b"Content-Length: 0")),
    ("bare-lf", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", 400, "bare LF", ok(b"Content-Length: 0")),
    ("empty-line-first", b"\r\n" + OK_5, 400, "must begin with", OK_5),
    ("other-protocol", b"SSH-2.0-OpenSSH_9.6\r\n", 400, "must begin with", OK_5),
    ("version-2", b"HTTP/2 200\r\n\r\n", 400, "must begin with", b"HTTP/1.1 204\r\n\r\n"),
    ("version-0.9", b"HTTP/0.9 200 OK\r\n\r\n", 400, "must begin with", b"HTTP/1.0 204 X\r\n\r\n"),
    ("version-lower-case", b"http/1.1 200 OK\r\n\r\n", 400, "must begin with", b"HTTP/1.1 204 X\r\n\r\n"),
    ("version-two-digits", b"HTTP/1.10 200 OK\r\n\r\n", 400, STATUS_WORDS, b"HTTP/1.1 204 X\r\n\r\n"),
    ("status-two-digits", b"HTTP/1.1 20 OK\r\n\r\n", 400, STATUS_WORDS, b"HTTP/1.1 204 X\r\n\r\n"),
    ("status-four-digits", b"HTTP/1.1 2000 OK\r\n\r\n", 400, STATUS_WORDS, b"HTTP/1.1 204 X\r\n\r\n"),
    ("status-below-100", b"HTTP/1.1 099 X\r\n\r\n", 400, STATUS_WORDS, b"HTTP/1.1 100 X\r\n\r\n" + OK_5),
    ("status-signed", b"HTTP/1.1 +20 X\r\n\r\n", 400, STATUS_WORDS, b"HTTP/1.1 204 X\r\n\r\n"),
    ("status-missing", b"HTTP/1.1\r\n\r\n", 400, STATUS_WORDS, b"HTTP/1.1 204\r\n\r\n"),
    ("two-spaces", b"HTTP/1.1  204 X\r\n\r\n", 400, STATUS_WORDS, b"HTTP/1.1 204 X\r\n\r\n"),
    ("reason-without-space", b"HTTP/1.1 204X\r\n\r\n", 400, STATUS_WORDS, b"HTTP/1.1 204 X\r\n\r\n"),
    ("reason-escape", b"HTTP/1.1 204 \x1b\r\n\r\n", 400, STATUS_WORDS, b"HTTP/1.1 204 ~\r\n\r\n"),
    ("reason-bare-cr", b"HTTP/1.1 204 a\rb\r\n\r\n", 400, "", b"HTTP/1.1 204 a\tb\r\n\r\n"),
    ("nul-first", b"\0" + OK_5, 400, "must begin with", OK_5),
]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "status", "words"), [row[1:4] for row in REFUSED_RESPONSES], ids=ids(REFUSED_RESPONSES)
)
def test_refuses_a_response(data: bytes, status: int, words: str) -> None:
    assert_refused(lambda: ResponseReader("GET"), data, status, words)


@pytest.mark.parametrize("data", sorted({row[4] for row in REFUSED_RESPONSES}))
def test_accepts_the_neighbour_of_a_refused_response(data: bytes) -> None:
    reading = assert_same_in_every_way(lambda: ResponseReader("GET"), data)
    assert reading.last == "PAUSED"


def test_a_connect_refusal_is_framed_like_any_other_answer() -> None:
    both = b"HTTP/1.1 407 X\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert_refused(lambda: ResponseReader("CONNECT"), both, 400, "ambiguous")


def test_expect_goes_on_to_the_answer_of_the_next_request() -> None:
    reader = ResponseReader("GET")
    reader.feed(OK_5 + ok(b"Content-Length: 5") + OK_5)
    events: list[str] = []
    assert pull(reader, events, False) is PAUSED
    reader.expect("HEAD")
    assert pull(reader, events, False) is PAUSED
    reader.expect("POST")
    assert pull(reader, events, False) is PAUSED
    assert events == [*OK_5_EVENTS, OK + " | content-length: 5", "end", *OK_5_EVENTS]


def test_expect_is_refused_within_an_answer() -> None:
    reader = ResponseReader("GET")
    reader.feed(OK_5[:-1])
    assert pull(reader, [], False) is NEED_DATA
    with pytest.raises(RuntimeError):
        reader.expect("GET")


# ---- the end of the connection, in every state --------------------------------------------------------------------


def answers_to_get() -> ResponseReader:
    return ResponseReader("GET")


OK_CHUNKED_BYTES = ok(b"Transfer-Encoding: chunked")

# id, reader, bytes before the end, words of the refusal or None for a sound end
ENDS: list[tuple[str, MakeReader, bytes, str | None]] = [
    ("request-at-start", RequestReader, b"", None),
    ("request-after-empty-line", RequestReader, b"\r\n", None),
    ("request-after-cr", RequestReader, b"\r", "begin with a method"),
    ("request-in-method", RequestReader, b"GE", "ended within the request's head"),
    ("request-in-line", RequestReader, b"GET / HTTP/1.1\r", "ended within the request's head"),
    ("request-in-fields", RequestReader, b"GET / HTTP/1.1\r\nHost: a\r\n", "ended within the request's head"),
    ("request-before-last-lf", RequestReader, get()[:-1], "ended within the request's head"),
    ("request-after-head", RequestReader, get(), None),
    ("request-before-body", RequestReader, post(b"Content-Length: 5"), "ended within the body"),
    ("request-in-body", RequestReader, post(b"Content-Length: 5") + b"hell", "ended within the body"),
    ("request-after-body", RequestReader, post(b"Content-Length: 5") + b"hello", None),
    ("request-in-second", RequestReader, get() + b"G", "ended within the request's head"),
    ("chunked-before-size", RequestReader, chunked(b""), "ended within the body"),
    ("chunked-in-size", RequestReader, chunked(b"5"), "ended within the body"),
    ("chunked-in-extension", RequestReader, chunked(b"5;abc"), "ended within the body"),
    ("chunked-in-long-extension", RequestReader, chunked(b"5;" + b"a" * 200), "ended within the body"),
    ("chunked-in-size-line-end", RequestReader, chunked(b"5\r"), "ended within the body"),
    ("chunked-before-data", RequestReader, chunked(b"5\r\n"), "ended within the body"),
    ("chunked-in-data", RequestReader, chunked(b"5\r\nhell"), "ended within the body"),
    ("chunked-before-data-end", RequestReader, chunked(b"5\r\nhello"), "ended within the body"),
    ("chunked-in-data-end", RequestReader, chunked(b"5\r\nhello\r"), "ended within the body"),
    ("chunked-after-data", RequestReader, chunked(b"5\r\nhello\r\n"), "ended within the body"),
    ("chunked-before-trailers", RequestReader, chunked(b"0\r\n"), "ended within the body"),
    ("chunked-in-last-line-end", RequestReader, chunked(b"0\r\n\r"), "ended within the body"),
    ("chunked-in-trailer", RequestReader, chunked(b"0\r\nA: 1"), "ended within the trailer section"),
    ("chunked-after-trailer", RequestReader, chunked(b"0\r\nA: 1\r\n"), "ended within the trailer section"),
    ("chunked-whole", RequestReader, chunked(b"0\r\nA: 1\r\n\r\n"), None),
    ("response-at-start", answers_to_get, b"", None),
    ("response-in-line", answers_to_get, b"HTTP/1.1 2", "ended within the answer's head"),
    ("response-in-fields", answers_to_get, b"HTTP/1.1 200 OK\r\nX: 1\r\n", "ended within the answer's head"),
    ("response-after-interim", answers_to_get, INTERIM, None),
    ("response-in-body", answers_to_get, ok(b"Content-Length: 5") + b"hell", "ended within the body"),
    ("response-after-body", answers_to_get, OK_5, None),
    ("response-in-chunk", answers_to_get, OK_CHUNKED_BYTES + b"5\r\nhell", "ended within the body"),
    ("response-before-last-chunk", answers_to_get, OK_CHUNKED_BYTES + b"1\r\nx\r\n", "ended within the body"),
    ("response-after-101", answers_to_get, b"HTTP/1.1 101 X\r\n\r\n", None),
]


@pytest.mark.parametrize(("make", "data", "words"), [row[1:] for row in ENDS], ids=ids(ENDS))
def test_takes_the_end_of_the_connection(make: MakeReader, data: bytes, words: str | None) -> None:
    reading = assert_same_in_every_way(make, data, ended=True)
    if words is not None:
        assert reading.refusal.status == 400
        assert words in reading.refusal.message
        return
    assert reading.last in ("CLOSED", "PAUSED")
    assert reading.rest == b""


def test_says_closed_again_and_again_after_the_last_message() -> None:
    for reader in (RequestReader(), ResponseReader("GET")):
        reader.feed(b"")
        assert reader.next_event() is CLOSED
        assert reader.next_event() is CLOSED


def test_a_finished_peer_still_has_its_messages_read() -> None:
    reader = RequestReader()
    reader.feed(get() + get())
    reader.feed(b"")
    events: list[str] = []
    assert pull(reader, events, False) is PAUSED
    reader.next_message()
    assert pull(reader, events, False) is PAUSED
    reader.next_message()
    assert reader.next_event() is CLOSED
    assert events == [GET, "end"] * 2


# ---- pausing, waiting bytes and the rest --------------------------------------------------------------------------


def test_pauses_after_each_message_until_told_to_go_on() -> None:
    reader = RequestReader()
    reader.feed(get() + NEXT)
    events: list[str] = []
    assert pull(reader, events, False) is PAUSED
    reader.feed(b"GE")
    assert reader.next_event() is PAUSED
    assert events == [GET, "end"]
    assert reader.buffered == len(NEXT) + 2
    reader.next_message()
    assert pull(reader, events, False) is PAUSED
    assert events == [GET, "end", *NEXT_EVENTS]
    assert reader.buffered == 2


@pytest.mark.parametrize("data", [b"", b"GET", post(b"Content-Length: 5") + b"h", chunked(b"5\r\nhello")])
def test_next_message_is_refused_before_the_message_is_over(data: bytes) -> None:
    reader = RequestReader()
    if data:
        reader.feed(data)
    assert pull(reader, [], False) is NEED_DATA
    with pytest.raises(RuntimeError):
        reader.next_message()


def test_buffered_counts_what_is_not_yet_turned_into_events() -> None:
    reader = RequestReader()
    assert reader.buffered == 0
    reader.feed(get()[:-1])
    assert reader.next_event() is NEED_DATA
    assert reader.buffered == len(get()) - 1
    reader.feed(b"\nab")
    assert isinstance(reader.next_event(), RequestHead)
    assert reader.buffered == 2


def test_take_rest_hands_over_the_bytes_behind_an_upgrade_once() -> None:
    reader = RequestReader()
    reader.feed(get(b"Connection: upgrade", b"Upgrade: x") + b"\x81\x00first")
    assert pull(reader, [], False) is PAUSED
    reader.feed(b" second")
    assert reader.take_rest() == b"\x81\x00first second"
    assert reader.buffered == 0
    assert reader.take_rest() == b""
    reader.feed(b"third")
    assert reader.take_rest() == b"third"


def test_a_body_is_passed_on_as_it_arrives() -> None:
    reader = RequestReader()
    reader.feed(post(b"Content-Length: 6") + b"ab")
    parts = []
    for piece in (b"c", b"def", None):
        event = reader.next_event()
        while event is not NEED_DATA and not isinstance(event, EndOfBody):
            if isinstance(event, BodyPart):
                parts.append(event.data)
            event = reader.next_event()
        if piece:
            reader.feed(piece)
    assert parts == [b"ab", b"c", b"def"]
    assert all(type(part) is bytes for part in parts)


# ---- heads that are repeated --------------------------------------------------------------------------------------


def read_heads(*messages: bytes, memo: RequestMemo | None = None) -> list[RequestHead]:
    reader = RequestReader(memo=memo)
    heads = []
    for message in messages:
        reader.feed(message)
        head = reader.next_event()
        assert isinstance(head, RequestHead)
        heads.append(head)
        assert pull(reader, [], False) is PAUSED
        reader.next_message()
    return heads


REPEATED = lines(b"POST /p?q HTTP/1.1", b"Host: h", b"Content-Length: 1", b"X-Y: z")


def test_a_repeated_head_is_read_as_before() -> None:
    first, second = read_heads(REPEATED + b"1", REPEATED + b"2")
    (alone,) = read_heads(REPEATED + b"2")
    assert second is first
    assert all_of(second) == all_of(alone)


def all_of(head: RequestHead | ResponseHead) -> tuple[object, ...]:
    """Return all that a head says of its message."""
    lines = [(name, head.fields.get(name), head.fields.count(name)) for name, _ in head.fields]
    said = [
        name
        for name in (*MessageHead.__slots__, *type(head).__slots__)
        if name not in ("_fields", "_lines", "facts", "written")
    ]
    return (*(getattr(head, name) for name in said), lines)


def test_what_a_layer_above_keeps_beside_a_head_is_there_when_it_is_repeated() -> None:
    first, second, other = read_heads(get(b"X: 1"), get(b"X: 1"), get(b"X: 2"), memo=RequestMemo(dict))
    first.facts["seen"] = True
    assert second.facts == {"seen": True}
    assert other.facts == {}


def test_nothing_is_kept_beside_a_head_where_nobody_wants_that() -> None:
    assert [head.facts for head in read_heads(get(b"X: 1"), get(b"X: 1"))] == [None, None]


def test_a_head_that_differs_in_one_byte_is_read_anew() -> None:
    """Each byte in turn is replaced by two others; the reader that remembers must agree with one that does not."""
    changed = 0
    for position in range(len(REPEATED)):
        for byte in (b"0", b"\t"):
            other = REPEATED[:position] + byte + REPEATED[position + 1 :]
            if other == REPEATED:
                continue
            first, alone = read(RequestReader(), [REPEATED + b"1"]), read(RequestReader(), [other + b"1"])
            both = read(RequestReader(), [REPEATED + b"1", other + b"1"])
            assert both.events == first.events + alone.events
            assert both[1:] == alone[1:]
            changed += alone.last != "refused"
    assert changed > 20, "some of the changed heads must be sound ones"


def test_a_head_cut_short_of_the_remembered_one_waits() -> None:
    reader = RequestReader()
    reader.feed(get() + get()[:-1])
    assert pull(reader, [], True) is NEED_DATA
    reader.feed(b"\n")
    assert isinstance(reader.next_event(), RequestHead)


def test_a_head_longer_than_the_remembered_one_is_read_in_full() -> None:
    short = b"GET / HTTP/1.0\r\n\r\n"
    reading = read(RequestReader(), [short + b"GET / HTTP/1.0\r\nX: 1\r\n\r\n" + short])
    assert reading.events == ["GET / HTTP/1.0", "end", "GET / HTTP/1.0 | x: 1", "end", "GET / HTTP/1.0", "end"]


@pytest.mark.parametrize(("data", "events"), [row[1:] for row in ACCEPTED_REQUESTS], ids=ids(ACCEPTED_REQUESTS))
def test_readers_that_share_a_memo_read_a_request_alike(data: bytes, events: list[str]) -> None:
    memo = RequestMemo()
    for _ in range(2):
        reading = assert_same_in_every_way(lambda: RequestReader(memo=memo), NEXT + data)
        assert reading.events == [*NEXT_EVENTS, *events]


def test_what_is_refused_is_refused_alike_whatever_is_remembered() -> None:
    memo = RequestMemo(dict, ())
    for _, data, *_ in ACCEPTED_REQUESTS:
        read(RequestReader(memo=memo), [data])
    for name, data, status, words, neighbour in REFUSED_REQUESTS:
        read(RequestReader(memo=memo), [neighbour])
        reading = read(RequestReader(memo=memo), [data])
        assert reading == read(RequestReader(), [data]), name
        assert reading.refusal.status == status and words in reading.refusal.message, name


@pytest.mark.parametrize(
    ("method", "data", "events"), [row[1:] for row in ACCEPTED_RESPONSES], ids=ids(ACCEPTED_RESPONSES)
)
def test_readers_that_share_a_memo_read_a_response_alike(method: str, data: bytes, events: list[str]) -> None:
    memo = ResponseMemo()
    read(ResponseReader("CONNECT", memo=memo), [data])  # which has another meaning for the same bytes
    for _ in range(2):
        reading = assert_same_in_every_way(lambda: ResponseReader(method, memo=memo), data)
        assert reading == Reading(events, "PAUSED", Refusal(0), b"")


@pytest.mark.parametrize(
    ("method", "data", "events"), [row[1:] for row in ACCEPTED_RESPONSES], ids=ids(ACCEPTED_RESPONSES)
)
def test_a_whole_answer_is_the_one_of_the_events(method: str, data: bytes, events: list[str]) -> None:
    memo = ResponseMemo()
    read(ResponseReader(method, memo=memo), [data])
    for part in (data, data[:-1], data + b"x"):
        reader, alone = ResponseReader(method, memo=memo), ResponseReader(method)
        reader.feed(part)
        alone.feed(part)
        whole = reader.whole_answer()
        expected: list[str] = []
        last = pull(alone, expected, False) if part is not data[:-1] else NEED_DATA
        if whole is not None:
            head, body = whole
            alone = ResponseReader(method)
            alone.feed(part)
            other = alone.next_event()
            assert isinstance(other, ResponseHead) and all_of(head) == all_of(other)
            assert last is PAUSED and other.status == 200 and part is data
            assert alone.take_body() == body and alone.is_over and not alone.buffered
            assert reader.buffered == len(data), "nothing is taken yet"
            reader.take_whole()
            assert reader.is_over and not reader.buffered
            reader.expect("GET")
        else:
            assert pull(reader, [], False) is last or part is data[:-1]


def test_most_plain_answers_are_read_whole() -> None:
    answer = lines(b"HTTP/1.1 200 OK", b"X-Request-Id: %d", b"Content-Length: 5") + b"hello"
    reader = ResponseReader("GET", memo=ResponseMemo(dict, ()))
    found = []
    for number in range(4):
        reader.feed(answer % number)
        whole = reader.whole_answer()
        found.append(whole is not None)
        if whole is None:
            pull(reader, [], False)
        else:
            reader.take_whole()
        reader.expect("GET")
    assert found == [False, True, True, True]


# ---- heads of a kind ------------------------------------------------------------------------------------------------

TELLING = (b"authorization",)


def kinds_read(*requests: bytes, telling: tuple[bytes, ...] | None = TELLING) -> list[RequestHead]:
    """Read heads with one memo that keeps facts, each by a reader of its own that must agree with one that knows none."""
    memo = RequestMemo(dict, telling)
    heads = []
    for data in requests:
        reader, alone = RequestReader(memo=memo), RequestReader()
        reader.feed(data)
        alone.feed(data)
        head, other = reader.next_event(), alone.next_event()
        assert isinstance(head, RequestHead) and isinstance(other, RequestHead)
        assert all_of(head) == all_of(other)
        heads.append(head)
    return heads


# id, lines, lines of another head, and whether they are of one kind
KINDS: list[tuple[str, list[bytes], list[bytes], bool]] = [
    ("another trace", [b"Traceparent: 00-1"], [b"Traceparent: 00-2"], True),
    ("no trace", [b"Traceparent: 00-1"], [], False),
    ("another name that tells nothing", [b"Traceparent: 00-1"], [b"X-Trace: 00-1"], False),
    ("the same name in another case", [b"Traceparent: 00-1"], [b"TraceParent:00-1"], True),
    ("another caller", [b"Authorization: Bearer 1"], [b"Authorization: Bearer 2"], False),
    ("the same caller", [b"Authorization: Bearer 1"], [b"Authorization: Bearer 1"], True),
    ("another id", [b"X-Request-Id: 1"], [b"X-Request-Id: 2"], True),
    ("no id", [b"X-Request-Id: 1"], [b"X-Response-Id: 2"], False),
    ("another length", [b"Content-Length: 5"], [b"content-length:  65536 "], True),
    ("a long body", [b"Content-Length: 5"], [b"Content-Length: 65537"], False),
    ("no body", [b"Content-Length: 5"], [b"Content-Length: 0"], False),
    ("another end", [b"Connection: close"], [b"Connection: keep-alive"], False),
    ("order", [b"X: 1", b"Authorization: 1"], [b"Authorization: 1", b"X: 1"], False),
    ("the same line in another case", [b"AUTHORIZATION: 1"], [b"authorization: 1"], False),
]


@pytest.mark.parametrize(("first", "second", "is_one"), [row[1:] for row in KINDS], ids=ids(KINDS))
def test_heads_of_a_kind_have_their_facts_in_common(first: list[bytes], second: list[bytes], is_one: bool) -> None:
    for one, two in ((first, second), (second, first)):
        heads = kinds_read(post(*one), post(*two))
        assert (heads[0].facts is heads[1].facts) is is_one


def test_every_field_tells_something_where_nobody_says_which() -> None:
    one, two = kinds_read(post(b"Traceparent: 00-1"), post(b"Traceparent: 00-2"), telling=None)
    assert one.facts is not two.facts


def test_what_a_backend_plans_for_a_head_is_for_no_other_one() -> None:
    trace, other = b"Traceparent: 00-1", b"Traceparent: 00-2"
    first, *others = kinds_read(*(post(b"Content-Length: %d" % n, line) for line in (trace, other) for n in (5, 6)))
    first.plans = {"seen": True}
    assert [head.plans for head in others] == [None] * 3


def test_heads_that_were_forgotten_are_read_anew() -> None:
    memo = RequestMemo(dict)
    read(RequestReader(memo=memo), [NEXT])
    assert memo.find(NEXT, 0)
    memo.forget()
    assert memo.find(NEXT, 0) is None
    assert RequestReader(memo=memo).whole_request(NEXT) is None


def test_lines_and_kinds_that_are_remembered_are_bounded() -> None:
    """Each of these requests has a line of its own, and is of a kind of its own."""
    memo = RequestMemo(dict, TELLING)
    for number in range(5000):
        read(RequestReader(memo=memo), [post(b"X-%d: 1" % number, b"Authorization: %d" % number)])
    assert sum(len(part) for part in (memo._marks, memo._names, memo._kinds)) <= 1024 + 256 + 256


def test_a_field_that_is_always_new_leaves_room_for_others() -> None:
    memo = RequestMemo(dict, TELLING)
    for number in range(1000):
        read(RequestReader(memo=memo), [post(b"Traceparent: %d" % number)])
    assert len(memo._marks) < 140
    assert memo.find(post(b"Traceparent: 1000"), 0)
    for broken in (b"Traceparent: 10\x7f0", b"Traceparent", b"Traceparent : 1", b"Host", b" Traceparent: 1"):
        assert memo.find(post(broken), 0) is None, "a line is looked at whether it is remembered or not"


def test_answers_with_a_new_id_are_read_by_their_kind() -> None:
    memo = ResponseMemo(dict, (b"content-type",))
    heads = []
    for answer in (
        [b"Content-Type: text/plain", b"Content-Length: 5", b"X-Request-Id: 1", b"Set-Cookie: a=1"],
        [b"Content-Type: text/plain", b"Content-Length: 77", b"x-request-id:2 ", b"Set-Cookie: a=2"],
        [b"Content-Type: text/html", b"Content-Length: 5", b"X-Request-Id: 1", b"Set-Cookie: a=1"],
        [
            b"Content-Type: text/plain",
            b"Content-Length: 5",
            b"X-Request-Id: 1",
            b"Set-Cookie: a=1",
            b"Connection: close",
        ],
    ):
        data = lines(b"HTTP/1.1 200 OK", *answer)
        reader, alone = ResponseReader("GET", memo=memo), ResponseReader("GET")
        reader.feed(data)
        alone.feed(data)
        head, other = reader.next_event(), alone.next_event()
        assert isinstance(head, ResponseHead) and isinstance(other, ResponseHead)
        assert all_of(head) == all_of(other)
        heads.append(head)
    one, like_it, of_another_type, last = heads
    assert one.facts is like_it.facts
    assert one.facts is not of_another_type.facts
    assert one.facts is not last.facts
    assert last.keep_alive is False


def test_sessions_and_keys_of_answers_are_not_remembered() -> None:
    memo = ResponseMemo(dict, ())
    reader = ResponseReader("GET", memo=memo)
    secrets = [b"Set-Cookie: session=s3cret", b"X-Auth-Token: s3cret", b"Api-Key: s3cret"]
    for answer in ([*secrets], [b"X: 1"]):
        read(reader, [lines(b"HTTP/1.1 204 No Content", *answer)])
        reader.expect("GET")
    kinds = memo._kinds.values()
    kept = (memo._marks, memo._names, memo._kinds, [kind.head.lines for kind in kinds], memo.latest, memo._heads)
    assert b"X: 1" in memo._marks
    assert "s3cret" not in repr(kept)


def test_forms_of_answers_hold_no_sessions_and_keys() -> None:
    secrets = [b"Set-Cookie: session=s3cret", b"X-Auth-Token: s3cret", b"Api-Key: s3cret"]
    for telling in ((), None):
        memo = ResponseMemo(dict, telling)
        for length in (5, 6, 7, 5):
            read(
                ResponseReader("HEAD", memo=memo), [lines(b"HTTP/1.1 200 OK", b"Content-Length: %d" % length, *secrets)]
            )
        families = memo._families.values()
        assert (telling is None) == all(family.form is None for family in families)
        forms = [
            family.form and (family.form._start, family.form._endings, family.form._callers) for family in families
        ]
        shown = [*forms, *(family.lines for family in families)]
        assert "s3cret" not in repr(shown)
        assert not memo._heads


# ---- forms of heads -------------------------------------------------------------------------------------------------

# Requests of one client, which differ in values and lengths: such as a form is made of.
CLIENT = [
    post(b"Authorization: a", b"Traceparent: 00-%d" % trace, b"Content-Length: %d" % length, b"X: y")
    for trace, length in ((1, 5), (2, 66), (3, 66), (4, 65536))
]


def test_the_lines_that_pass_are_a_pattern_for_the_values() -> None:
    heads = read_heads(*(data + b"a" * length_of(data) for data in CLIENT), memo=RequestMemo(dict, TELLING))
    assert [head.written is not None for head in heads] == [False, False, True, True]
    chance = random.Random(2)
    for head in heads[2:]:
        assert head.written is not None
        form, values = head.written
        for _ in range(20):
            passes = [chance.random() < 0.5 for _ in head.lines]
            passing = [line for line, goes_on in zip(head.lines, passes) if goes_on]
            assert form.pattern(passes) % tuple(values) == b"\r\n".join(passing)
        found = [form.place(number) for number in range(len(head.lines))]
        assert [line.partition(b":")[2] for line, place in zip(head.lines, found) if place >= 0] == values
        assert sorted(place for place in found if place >= 0) == list(range(len(values)))


def in_form(memo: RequestMemo | ResponseMemo, data: bytes) -> object:
    """Return the head that the form of the kind reads, None where there is no form or no such head."""
    found = [family.form.read(data, 0) for family in memo._families.values() if family.form is not None]
    return next((head for head in found if head is not None), None)


def test_heads_that_differ_in_values_are_read_by_their_form() -> None:
    memo = RequestMemo(dict, TELLING)
    heads = read_heads(*(data + b"a" * length_of(data) for data in CLIENT), memo=memo)
    for data, head in zip(CLIENT, heads):
        (alone,) = read_heads(data + b"a" * length_of(data))
        assert all_of(head) == all_of(alone)
        assert head.facts is heads[0].facts
        found = in_form(memo, data)
        assert found is not None and found[0] == data and all_of(found[1]) == all_of(alone)


def length_of(data: bytes) -> int:
    reader = RequestReader()
    reader.feed(data)
    head = reader.next_event()
    assert isinstance(head, RequestHead)
    return head.content_length or 0


def test_a_head_that_differs_in_its_length_alone_is_the_same_object_again() -> None:
    memo = RequestMemo(dict, TELLING)
    five, six, seven = (post(b"Authorization: a", b"Content-Length: %d" % n) + b"a" * n for n in (5, 6, 7))
    _, _, *heads = read_heads(five, six, seven, six, memo=memo)
    _, _, *others = read_heads(five, six, seven, six, memo=memo)  # of another connection
    assert [head.content_length for head in heads] == [7, 6]
    assert [one is other for one, other in zip(heads, others)] == [True, True]


def test_heads_of_one_length_each_are_remembered_in_bounds() -> None:
    memo = RequestMemo(dict, TELLING)
    reader = RequestReader(memo=memo)
    for length in range(1, 5000):
        reader.feed(post(b"Content-Length: %d" % length) + b"a" * length)
        assert isinstance(reader.next_event(), RequestHead)
        pull(reader, [], False)
        reader.next_message()
    assert 0 < len(memo._heads) <= 1024
    memo.forget()
    assert not memo._heads


# The same of several callers, who differ in their keys.
CALLERS = [data.replace(b"Authorization: a", b"Authorization: Bearer %c" % (97 + at)) for at, data in enumerate(CLIENT)]


def test_callers_who_differ_in_their_keys_alone_have_one_form_and_facts_of_their_own() -> None:
    memo = RequestMemo(dict, TELLING)
    heads = read_heads(*(data + b"a" * length_of(data) for data in 2 * CALLERS), memo=memo)
    (family,) = memo._families.values()
    for data, first, head in zip(CALLERS, heads, heads[4:]):
        (alone,) = read_heads(data + b"a" * length_of(data))
        assert family.form is not None
        found = family.form.read(data, 0)
        assert found is not None and found[0] == data
        assert all_of(head) == all_of(found[1]) == all_of(alone)
        assert head.facts is found[1].facts is first.facts
    assert len({id(head.facts) for head in heads}) == len(CALLERS)


def test_a_caller_who_comes_when_another_one_s_form_has_settled_is_read_by_it_too() -> None:
    memo = RequestMemo(dict, TELLING)
    read_heads(*(post(b"Authorization: a", b"Content-Length: %d" % n) + b"a" * n for n in range(1, 30)), memo=memo)
    second = post(b"Authorization: b", b"Content-Length: 5")
    assert in_form(memo, second) is None
    (known,) = read_heads(second + b"hello", memo=memo)
    found = in_form(memo, second)
    assert found is not None and found[1].facts is known.facts
    assert in_form(memo, second.replace(b"Authorization: b", b"Authorization: c")) is None, "nobody knows him yet"


@pytest.mark.parametrize(
    ("fields", "has_form"),
    [
        ([b"Authorization: %d", b"X-Trace: %d"], True),
        ([b"Authorization: a", b"Api-Key: %d"], True),
        ([b"Authorization: %d", b"Api-Key: %d"], False),
        ([b"Authorization: %d", b"Origin: http://%d"], False),
        ([b"Authorization: %d", b"Host: h%d"], False),
    ],
)
def test_a_form_is_of_callers_who_differ_in_one_key_and_in_nothing_else_that_tells(
    fields: list[bytes], has_form: bool
) -> None:
    telling = {b"authorization", b"api-key", b"origin"}
    memo, expected = RequestMemo(dict, telling), RequestMemo(dict, telling)
    requests = []
    for number in range(20):
        head = [field % number if b"%" in field else field for field in fields]
        host = [] if b"Host" in fields[1] else [b"Host: a"]
        requests.append(lines(b"GET / HTTP/1.1", *host, *head))
    heads = read_heads(*requests, *requests, memo=memo)
    for data, head in zip(requests, heads[20:]):
        (alone,) = read_heads(data, memo=expected)
        assert all_of(head) == all_of(alone)
        assert (in_form(memo, data) is not None) == has_form
    assert len({id(head.facts) for head in heads}) == len({data.partition(b"X-Trace")[0] for data in requests})


def test_keys_that_a_form_knows_are_bounded_and_forgotten() -> None:
    memo = RequestMemo(dict, TELLING)
    for _ in range(2):
        read_heads(*(get(b"Authorization: %d" % number) for number in range(6000)), memo=memo)
        (family,) = memo._families.values()
        assert family.form is not None
        assert 1000 < len(family.form._callers) <= 4096
    memo.forget()
    assert not memo._families


def changed_heads(data: bytes) -> Iterator[bytes]:
    """Give heads that differ from one of a form in one byte, or lack a part, or have one more."""
    for at in range(len(data)):
        for byte in (b"", b"0", b"\t", b"\r", b"\n", b"\0", b"\x7f", b"\xe9", b":", b"\r\n", b"\r\n\r\n", b"\r\nX: 2"):
            yield data[:at] + byte + data[at + 1 :]
            yield data[:at] + byte + data[at:]


@pytest.mark.parametrize("client", [CLIENT[:2], 2 * CALLERS[:2]], ids=["one caller", "two callers"])
def test_a_head_that_breaks_a_form_is_read_as_without_it(client: list[bytes]) -> None:
    accepted = 0
    for max_head in (65536, len(client[1])):
        for data in changed_heads(client[1]):
            memo = RequestMemo(dict, TELLING)
            reader = RequestReader(memo=memo, max_head=max_head)
            for before in client:
                reader.feed(before + b"a" * length_of(before))
                pull(reader, [], False)
                reader.next_message()
            assert in_form(memo, client[1]) is not None
            expected = read(RequestReader(max_head=max_head), [data])
            assert read(reader, [data]) == expected
            accepted += expected.last != "refused"
    assert accepted > 500, "some of the changed heads must be sound ones"


@pytest.mark.parametrize("size", [2047, 2048, 2049, 5000])
def test_a_form_reads_no_long_head(size: int) -> None:
    memo = RequestMemo(dict, TELLING)
    read_heads(*(data + b"a" * length_of(data) for data in CLIENT[:3]), memo=memo)
    data = post(b"Authorization: a", b"Traceparent: 00-", b"Content-Length: 5", b"X: y")
    data = data.replace(b"00-", b"0" * (size - len(data) + 3))
    assert len(data) == size
    assert (in_form(memo, data) is not None) == (size <= 2048)


@pytest.mark.parametrize("size", [2047, 2048, 2049, 2050, 2051, 5000])
def test_a_form_of_lengths_reads_no_long_head(size: int) -> None:
    """White space before a length may be as long as the limits let it."""
    memo = RequestMemo(dict, TELLING)
    read_heads(*(post(b"Content-Length: %d" % n, b"X: y") + b"a" * n for n in (5, 6, 7)), memo=memo)
    data = post(b"Content-Length:5", b"X: y")
    data = data.replace(b":5", b":" + b" " * (size - len(data)) + b"5")
    assert len(data) == size
    assert (in_form(memo, data) is not None) == (size <= 2048)
    assert read(RequestReader(memo=memo), [data]) == read(RequestReader(), [data])


def test_heads_that_differ_in_much_have_no_form() -> None:
    memo = RequestMemo(dict, TELLING)
    for number in range(20):
        read(RequestReader(memo=memo), [post(*(b"X-%d: %d" % (name, number) for name in range(9)))])
    (family,) = memo._families.values()
    assert family.form is None
    assert not family.looks, "nothing is compared for ever"


def test_a_second_length_that_tells_another_is_refused_whatever_is_remembered() -> None:
    """A list of equal lengths may stand beside one that is short: then that one alone must not become another."""
    memo = RequestMemo()
    two = [b"Content-Length: %d\r\nContent-Length: 5, 5" % length for length in (5, 7)]
    read(RequestReader(memo=memo), [post(two[0])])
    assert read(RequestReader(memo=memo), [post(two[1])]) == read(RequestReader(), [post(two[1])])
    assert read(RequestReader(memo=memo), [post(two[1])]).last == "refused"


# id, what comes after a request with a body of five bytes, and its body if it is taken as a whole
WHOLE: list[tuple[str, bytes, bytes | None]] = [
    ("the same again", post(b"Content-Length: 5") + b"hello", b"hello"),
    ("a shorter body", post(b"Content-Length: 5") + b"hell", None),
    ("a longer one", post(b"Content-Length: 5") + b"hello!", None),
    ("another head", post(b"Content-Length: 5", b"X: 1") + b"hello", None),
    ("another body", post(b"Content-Length: 5") + b"HELLO", b"HELLO"),
    ("no head", b"hello", None),
]


@pytest.mark.parametrize(("data", "body"), [row[1:] for row in WHOLE], ids=ids(WHOLE))
def test_reads_a_repeated_request_as_a_whole(data: bytes, body: bytes | None) -> None:
    reader = RequestReader()
    assert reader.whole_request(data) is None
    reader.feed(post(b"Content-Length: 5") + b"first")
    assert reader.whole_request(data) is None
    assert pull(reader, [], False) is PAUSED
    assert reader.whole_request(data) is None
    reader.next_message()
    whole = reader.whole_request(data)
    assert (whole[1] if whole else None) == body
    assert not reader.is_over
    assert reader.buffered == 0
    if body is not None:
        reader.take_whole()
        assert reader.is_over
        assert reader.next_event() is PAUSED
        reader.next_message()
        assert pull_after(reader, NEXT) == NEXT_EVENTS


def pull_after(reader: Reader, data: bytes) -> list[str]:
    events: list[str] = []
    reader.feed(data)
    pull(reader, events, False)
    return events


# Ways to tell a length: each is read after each other one, with and without what was remembered of that.
LENGTHS: list[tuple[str, bytes]] = [
    ("5", b"Content-Length: 5"),
    ("6", b"Content-Length: 6"),
    ("lower case", b"content-length: 77"),
    ("upper case", b"CONTENT-LENGTH: 7"),
    ("no space", b"Content-Length:7"),
    ("space behind", b"Content-Length: 7 "),
    ("leading zero", b"Content-Length: 07"),
    ("nothing", b"Content-Length: "),
    ("0", b"Content-Length: 0"),
    ("sign", b"Content-Length: +5"),
    ("longest short body", b"Content-Length: 65536"),
    ("longer", b"Content-Length: 65537"),
    ("six digits", b"Content-Length: 100000"),
    ("list", b"Content-Length: 5, 5"),
    ("the same twice", b"Content-Length: 5\r\nContent-Length: 5"),
    ("two lengths", b"Content-Length: 6\r\nContent-Length: 5"),
    ("two lengths, two cases", b"Content-Length: 5\r\ncontent-length: 6"),
    ("empty before", b"Content-Length: \r\nContent-Length: 5"),
    ("empty behind", b"Content-Length: 5\r\nContent-Length: "),
    ("chunked", b"Content-Length: 5\r\nTransfer-Encoding: chunked"),
    ("asks", b"Content-Length: 5\r\nExpect: 100-continue"),
    ("asks more", b"Content-Length: 50\r\nExpect: 100-continue"),
    ("another field's", b"X: 1\r\nX-Content-Length: 5\r\nContent-Length: 9"),
    ("another field's, other", b"X: 1\r\nX-Content-Length: 6\r\nContent-Length: 9"),
]


@pytest.mark.parametrize("first", [row[1] for row in LENGTHS], ids=ids(LENGTHS))
@pytest.mark.parametrize("max_head", [65536, len(post(b"Content-Length: 5"))], ids=["wide", "tight"])
def test_a_head_is_read_alike_whatever_is_remembered_of_one_with_another_length(first: bytes, max_head: int) -> None:
    for _, second in LENGTHS:
        memo = RequestMemo()
        read(RequestReader(memo=memo, max_head=max_head), [post(first)])
        assert heads_read(memo, max_head, post(second)) == heads_read(RequestMemo(), max_head, post(second))


def heads_read(memo: RequestMemo, max_head: int, data: bytes) -> tuple[object, ...]:
    """Return all that is to be known of the head of `data`, or why it is refused."""
    reader = RequestReader(memo=memo, max_head=max_head)
    try:
        reader.feed(data)
        head = reader.next_event()
    except BadMessage as exc:
        return exc.status, exc.message
    return (*all_of(head), told(head))


def test_heads_that_differ_in_the_length_of_a_short_body_have_their_facts_in_common() -> None:
    memo = RequestMemo(dict)
    heads = []
    for length in (b"5", b"65536", b"65537", b"0", b"5"):
        reader = RequestReader(memo=memo)
        reader.feed(post(b"Content-Length: " + length))
        heads.append(reader.next_event())
    one, longest, too_long, none, again = heads
    assert again.facts is one.facts
    assert one is not longest and one.facts is longest.facts
    assert too_long.facts is not one.facts is not none.facts
    assert [head.content_length for head in heads] == [5, 65536, 65537, 0, 5]


def test_a_request_that_differs_in_its_length_alone_is_read_as_a_whole() -> None:
    reader = RequestReader()
    reader.feed(post(b"Content-Length: 5") + b"first")
    assert pull(reader, [], False) is PAUSED
    reader.next_message()
    data = post(b"Content-Length: 6") + b"second"
    whole = reader.whole_request(data)
    assert whole is not None
    assert whole[0].content_length == 6
    assert whole[1] == b"second"
    assert reader.whole_request(b"") is None
    assert reader.whole_request(post(b"Content-Length: 6", b"X: 1") + b"second") is None


def test_a_request_without_a_body_is_read_as_a_whole() -> None:
    memo = RequestMemo()
    read(RequestReader(memo=memo), [NEXT])
    reader = RequestReader(memo=memo)
    whole = reader.whole_request(NEXT)
    assert whole is not None
    assert whole[1] == b""


@pytest.mark.parametrize("data", [post(b"Content-Length: 5") + b"hello", chunked(b"5\r\nhello\r\n0\r\n\r\n")])
def test_the_ordinary_way_is_left_to_what_must_be_judged(data: bytes) -> None:
    reader = RequestReader(max_body=4)
    reader.feed(data)
    reader.max_body = None
    assert pull(reader, [], False) is PAUSED
    reader.next_message()
    reader.max_body = 4
    assert reader.whole_request(data) is None
    reader.feed(data)
    with pytest.raises(BadMessage, match="accepted"):
        pull(reader, [], False)


@pytest.mark.parametrize(("method", "data"), [row[1:3] for row in ACCEPTED_RESPONSES], ids=ids(ACCEPTED_RESPONSES))
def test_take_body_gives_what_the_events_give(method: str, data: bytes) -> None:
    for cut in cuts(len(data)):
        events: list[str] = []
        plain = ResponseReader(method)
        plain.feed(data)
        assert pull(plain, events, False) is PAUSED
        assert body_taken(ResponseReader(method), [data[:cut], data[cut:]]) == "".join(
            event[len("body ") :] for event in events if event.startswith("body ")
        )


def body_taken(reader: ResponseReader, pieces: list[bytes]) -> str:
    """Read the heads by their events and the body by `take_body`."""
    taken = b""
    status = 0
    for piece in pieces:
        reader.feed(piece)
        while status < 200 and status != 101:
            event = reader.next_event()
            if event is NEED_DATA:
                break
            assert isinstance(event, ResponseHead)
            status = event.status
        else:
            data = None
            while data != b"" and not reader.is_over:
                data = reader.take_body()
                taken += data
    assert reader.is_over
    return taken.decode("latin-1")


@pytest.mark.parametrize(
    "chunk",
    [
        b"5\r\nhello\r\n", b"05\r\nhello\r\n", b"000000005\r\nhello\r\n", b"A\r\nhello\r\nyou\r\n", b"a\r\n0123456789\r\n",
        b"5;x=y\r\nhello\r\n", b"5 ;x\r\nhello\r\n", b"0\r\n\r\n", b"0\r\nx-end: 1\r\n\r\n", b"5\r\nhello\r\n1\r\n!\r\n",
        b"5\r\nhel", b"5\r\nhello", b"5\r\nhello\r", b"5\r\nhello\r\n7", b"5", b"\r\n",
        b"+5\r\nhello\r\n", b"0x5\r\nhello\r\n", b" 5\r\nhello\r\n", b"5 \r\nhello\r\n", b"1_0\r\n0123456789abcdef\r\n",
        b"-5\r\nhello\r\n", b"5\nhello\r\n", b"5\r\nhello\n\n", b"5\r\nhello!\r\n", b"4\r\nhello\r\n", b"6\r\nhello\r\n",
        b"100000005\r\nhello\r\n", "\u0665\r\nhello\r\n".encode(),
    ],
)  # fmt: skip
def test_a_chunk_that_comes_by_itself_is_what_the_events_say(chunk: bytes) -> None:
    head = ok(b"Transfer-Encoding: chunked") + b"1\r\na\r\n"
    for rest in (b"", b"1\r\nb\r\n0\r\n\r\n"):
        taken, told = [], []
        plain, reader = ResponseReader("GET"), ResponseReader("GET")
        for piece in (head, chunk, rest):
            events: list[str] = []
            with contextlib.suppress(BadMessage):
                plain.feed(piece)
                pull(plain, events, False)
            told.append("".join(event[len("body ") :] for event in events if event.startswith("body ")))
            taken.append("")
            with contextlib.suppress(BadMessage):
                reader.feed(piece)
                if piece is head:
                    reader.next_event()
                data = b"more"
                while data:
                    data = reader.take_body()
                    taken[-1] += data.decode("latin-1")
        assert (taken, reader.is_over) == (told, plain.is_over)


CHUNK_PIECES = [
    b"5\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n00\r\n\r\n", b"5\r\nhello0\r\n\r\n", b"5\r\nhello\r\n1\r\n0\r\n0\r\n\r\n",
    b"5\r\nhello\r\n", b"a\r\n0\r\n\r\n0\r\n\r\n\r\n", b"0\r\n\r\n", b"1\r\na\r\n2\r\nbc\r\n", b"5\r\nhel", b"lo\r\n", b"5",
    b"\r\nhello\r\n", b"5;a=b\r\nhello\r\n", b"05\r\nhello\r\n", b"00000005\r\nhello\r\n", b"000000005\r\nhello\r\n",
    b"A\r\n0123456789\r\n", b"+5\r\nhello\r\n", b"5 \r\nhello\r\n", b"5\nhello\r\n", b"5\r\nhello\n\n", b"5\r\nhell\r\n",
    b"5\r\nhello!\r\n", b"\r\n", b"-1\r\n\r\n", b"1_0\r\n0123456789012345\r\n", b"",
]  # fmt: skip


def test_a_chunk_that_comes_by_itself_is_the_one_that_is_fed() -> None:
    """Pieces in random order, broken ones among them: whoever takes lone chunks gets the same bytes, and the faults."""
    chance = random.Random(11)
    taken = 0
    for _ in range(3000):
        outcomes = []
        pieces = [chance.choice(CHUNK_PIECES[: chance.choice((8, 12, len(CHUNK_PIECES)))]) for _ in range(4)]
        for takes_lone in (False, True):
            reader = ResponseReader("GET")
            reader.feed(lines(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked"))
            assert isinstance(reader.next_event(), ResponseHead)
            came: list[object] = []
            try:
                for piece in pieces:
                    data = reader.lone_chunk(piece) if takes_lone and piece else b""
                    taken += data != b""
                    if not data:
                        reader.feed(piece)
                        data = reader.take_body()
                    came.append(data)
                    if reader.is_over:
                        break
            except BadMessage as exc:
                came.append((exc.status, exc.message))
            outcomes.append((came, reader.left))
        assert outcomes[0] == outcomes[1], pieces
    assert taken > 500


@pytest.mark.parametrize("framing", [b"Content-Length: 50", b"Connection: close", b"Content-Length: 0"])
def test_what_looks_like_a_chunk_is_none_in_another_framing(framing: bytes) -> None:
    reader = ResponseReader("GET")
    assert reader.lone_chunk(b"5\r\nhello\r\n") == b"", "nor where a head is awaited"
    reader.feed(lines(b"HTTP/1.1 200 OK", framing))
    reader.next_event()
    assert reader.lone_chunk(b"5\r\nhello\r\n") == b""


def test_a_lone_chunk_is_not_taken_where_bodies_have_a_limit() -> None:
    reader = ResponseReader("GET", max_body=7)
    reader.feed(lines(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked"))
    reader.next_event()
    assert reader.lone_chunk(b"5\r\nhello\r\n") == b""


def test_take_body_gives_what_came_before_a_fault_first() -> None:
    reader = ResponseReader("GET")
    reader.feed(ok(b"Transfer-Encoding: chunked") + b"1\r\na\r\n2;x\r\nbc\r\nzz\r\n")
    reader.next_event()
    assert reader.take_body() == b"abc"
    for _ in range(2):
        with pytest.raises(BadMessage):
            reader.take_body()


@pytest.mark.parametrize(
    "data", [ok(b"Content-Length: 5") + b"hello", ok(b"Transfer-Encoding: chunked") + b"5\r\nhello\r\n0\r\n\r\n"]
)
def test_take_body_keeps_to_the_limit(data: bytes) -> None:
    for limit in (5, 4):
        reader = ResponseReader("GET", max_body=limit)
        reader.feed(data)
        reader.next_event()
        if limit == 5:
            assert reader.take_body() == b"hello"
        else:
            with pytest.raises(BadMessage, match="accepted"):
                reader.take_body()


@pytest.mark.parametrize("size", [2047, 2048, 2049, 10000])
def test_large_heads_repeat_as_well(size: int) -> None:
    padding = size - len(get(b"X: "))
    data = get(b"X: " + b"x" * padding)
    assert len(data) == size
    first, second = read_heads(data, data)
    assert told(first) == told(second)


def test_no_byte_is_taken_for_a_remembered_head_before_the_first() -> None:
    for byte in range(256):
        reading = read(RequestReader(), [bytes([byte]), b"\r\n\r\n"])
        assert reading.last == "refused" or byte == 0x0D, byte


# ---- limits: exactly at, and one over -----------------------------------------------------------------------------


def padded_get(size: int) -> bytes:
    return get(b"X: " + b"x" * (size - len(get(b"X: "))))


def padded_ok(size: int) -> bytes:
    return ok(b"Content-Length: 0", b"X: " + b"x" * (size - len(ok(b"Content-Length: 0", b"X: "))))


TRAILERS_20 = b"A: " + b"1" * 13 + b"\r\n\r\n"

# id, reader, bytes exactly at the limit, bytes one over, status, words
LIMITS: list[tuple[str, MakeReader, bytes, bytes, int, str]] = [
    ("head", lambda: RequestReader(max_head=200), padded_get(200), padded_get(201), 431, "more than 200 bytes"),
    ("head-after-empty-line", lambda: RequestReader(max_head=200), b"\r\n" + padded_get(200), b"\r\n" + padded_get(201),
     431, "more than 200"),
    ("head-second", lambda: RequestReader(max_head=200), get() + padded_get(200), get() + padded_get(201), 431,
     "more than 200"),
    ("head-default", RequestReader, padded_get(65536), padded_get(65537), 431, "more than 65536"),
    ("head-of-answer", lambda: ResponseReader("GET", max_head=200), padded_ok(200), padded_ok(201), 431,
     "more than 200 bytes"),
    ("target", lambda: RequestReader(max_target=100), target(b"/" * 100), target(b"/" * 101), 414,
     "more than 100 bytes"),
    ("target-default", RequestReader, target(b"/" * 8192), target(b"/" * 8193), 414, "more than 8192 bytes"),
    ("line", lambda: RequestReader(max_target=100), target(b"/" * 100, b"M" * 54), target(b"/" * 100, b"M" * 55), 414,
     "more than 164 bytes"),
    ("line-of-method", lambda: RequestReader(max_target=100), target(b"/", b"M" * 153), target(b"/", b"M" * 154), 414,
     "more than 164 bytes"),
    ("fields", lambda: RequestReader(max_fields=3), get(b"X: 1", b"X: 2"), get(b"X: 1", b"X: 2", b"X: 3"), 431,
     "4 fields; at most 3"),
    ("fields-default", RequestReader, get(*[b"X: 1"] * 99), get(*[b"X: 1"] * 100), 431, "at most 100"),
    ("fields-of-answer", lambda: ResponseReader("HEAD", max_fields=2), ok(b"A: 1", b"B: 2"),
     ok(b"A: 1", b"B: 2", b"C: 3"), 431, "at most 2"),
    ("body-length", lambda: RequestReader(max_body=5), LENGTH_5[:-5], post(b"Content-Length: 6") + b"h" * 6, 413,
     "at most 5"),
    ("body-length-0", lambda: RequestReader(max_body=0), post(b"Content-Length: 0"), post(b"Content-Length: 1") + b"h",
     413, "at most 0"),
    ("body-chunks", lambda: RequestReader(max_body=5), chunked(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
     chunked(b"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n"), 413, "more than the 5 bytes"),
    ("body-one-chunk", lambda: RequestReader(max_body=5), CHUNK_5, chunked(b"6\r\n"), 413, "more than the 5 bytes"),
    ("body-huge-chunk", lambda: RequestReader(max_body=5), CHUNK_5, chunked(b"f" * 16 + b"\r\n"), 413,
     "more than the 5 bytes"),
    ("body-each-of-two", lambda: RequestReader(max_body=5), CHUNK_5 * 2, CHUNK_5 + chunked(b"6\r\n"), 413,
     "more than the 5 bytes"),
    ("body-of-answer", lambda: ResponseReader("GET", max_body=5), OK_5, ok(b"Content-Length: 6") + b"h" * 6, 413,
     "at most 5"),
    ("body-until-close", lambda: ResponseReader("GET", max_body=5), ok() + b"hello", ok() + b"hello!", 413,
     "more than the 5 bytes"),
    ("chunk-extensions", lambda: RequestReader(max_head=100), chunked(b"1" + b";" + b"a" * 99 + b"\r\nx\r\n0\r\n\r\n"),
     chunked(b"1" + b";" + b"a" * 100 + b"\r\nx\r\n0\r\n\r\n"), 400, "extensions of one body have more than 100"),
    ("chunk-extensions-together", lambda: RequestReader(max_head=100),
     chunked(b"1" + b";" + b"a" * 49 + b"\r\nx\r\n0" + b";" + b"a" * 49 + b"\r\n\r\n"),
     chunked(b"1" + b";" + b"a" * 49 + b"\r\nx\r\n0" + b";" + b"a" * 50 + b"\r\n\r\n"), 400, "more than 100"),
    ("chunk-extensions-of-each-body", lambda: RequestReader(max_head=100), chunked(b"0" + b";" + b"a" * 79 + b"\r\n\r\n") * 2,
     chunked(b"0" + b";" + b"a" * 79 + b"\r\n\r\n") + chunked(b"0" + b";" + b"a" * 100 + b"\r\n\r\n"), 400, "more than 100"),
    ("trailers", lambda: RequestReader(max_head=len(chunked(b""))),
     chunked(b"0\r\nA: " + b"1" * (len(chunked(b"")) - 7) + b"\r\n\r\n"),
     chunked(b"0\r\nA: " + b"1" * (len(chunked(b"")) - 6) + b"\r\n\r\n"), 431, "trailer section has more than"),
    ("trailers-number", lambda: RequestReader(max_fields=2), chunked(b"0\r\nA: 1\r\nA: 2\r\n\r\n"),
     chunked(b"0\r\nA: 1\r\nA: 2\r\nA: 3\r\n\r\n"), 431, "at most 2"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "at", "over", "status", "words"), [row[1:] for row in LIMITS], ids=ids(LIMITS))
def test_limits_hold_exactly(make: MakeReader, at: bytes, over: bytes, status: int, words: str) -> None:
    assert assert_same_in_every_way(make, at).last in ("NEED_DATA", "PAUSED")
    refusal = assert_same_in_every_way(make, over).refusal
    assert refusal.status == status
    assert words in refusal.message


# id, reader, bytes without an end, status: refused as soon as the limit is passed
ENDLESS: list[tuple[str, MakeReader, bytes, bytes, int]] = [
    ("request-line", lambda: RequestReader(max_target=100), b"GET /", b"a", 414),
    ("request-line-longer-than-a-head", lambda: RequestReader(max_head=100), b"GET /", b"a", 414),
    ("head", lambda: RequestReader(max_head=200), b"GET / HTTP/1.1\r\n", b"A: 1\r\n", 431),
    ("field", lambda: RequestReader(max_head=200), b"GET / HTTP/1.1\r\nA: ", b"1", 431),
    ("head-of-answer", lambda: ResponseReader("GET", max_head=200), b"HTTP/1.1 200 ", b"a", 431),
    ("chunk-size", RequestReader, chunked(b""), b"0", 400),
    ("chunk-extension", lambda: RequestReader(max_head=100), chunked(b"5;"), b"a", 400),
    ("chunk-white-space", lambda: RequestReader(max_head=100), chunked(b"5"), b" ", 400),
    ("trailers", lambda: RequestReader(max_head=100), chunked(b"0\r\n"), b"A: 1\r\n", 431),
    ("empty-lines", RequestReader, b"", b"\r\n", 400),
]


@pytest.mark.parametrize("size", [1, 7, 100])
@pytest.mark.parametrize(("make", "start", "more", "status"), [row[1:] for row in ENDLESS], ids=ids(ENDLESS))
def test_nothing_may_go_on_for_ever(make: MakeReader, start: bytes, more: bytes, status: int, size: int) -> None:
    reader = make()
    stream = start + more * 1000
    with pytest.raises(BadMessage) as caught:
        for at in range(0, len(stream), size):
            reader.feed(stream[at : at + size])
            pull(reader, [], False)
            assert reader.buffered <= 300
    assert caught.value.status == status


def test_max_body_may_be_changed_after_the_head() -> None:
    for framed in (post(b"Content-Length: 5") + b"hello", CHUNK_5):
        for allowed in (5, 4):
            reader = RequestReader(max_body=1)
            reader.feed(framed)
            assert isinstance(reader.next_event(), RequestHead)
            reader.max_body = allowed
            if allowed == 5:
                assert pull(reader, [], False) is PAUSED
                continue
            with pytest.raises(BadMessage) as caught:
                pull(reader, [], False)
            assert caught.value.status == 413


def test_the_head_of_a_body_that_is_too_large_is_still_read() -> None:
    """So that whoever answers 413 knows the request: its path, its version, whether it expects 100 first."""
    reader = RequestReader(max_body=1)
    reader.feed(post(b"Content-Length: 5", b"Expect: 100-continue"))
    head = reader.next_event()
    assert isinstance(head, RequestHead) and head.expects_continue
    with pytest.raises(BadMessage):
        reader.next_event()


# ---- cost: hostile input may be refused or read, but not at more than its length costs ----------------------------


def drip(data: bytes) -> None:
    reader = RequestReader()
    for at in range(len(data)):
        reader.feed(data[at : at + 1])
        pull(reader, [], True)


def flood(data: bytes) -> None:
    reader = RequestReader(max_head=1 << 30, max_fields=1 << 30)
    reader.feed(data)
    try:
        while reader.next_event() is not NEED_DATA:
            if reader.next_event() is PAUSED:
                reader.next_message()
    except BadMessage:
        pass


def different_requests(count: int) -> bytes:
    return b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(count))


# How it comes, what comes, how often a part of it is repeated. What is dripped is gone over again by steps of ours if
# at all. What comes at once is also sent a hundred times as long: a pattern that may split at each place would not end.
COSTS: list[tuple[str, Callable[[bytes], None], Callable[[int], bytes], int]] = [
    ("drip-head", drip, lambda count: get(*[b"X: " + b"x" * 200] * count), 16),
    ("drip-target", drip, lambda count: b"GET /" + b"a" * count, 4000),
    ("drip-chunk-extension", drip, lambda count: chunked(b"5;" + b"a" * count), 4000),
    ("drip-trailers", drip, lambda count: chunked(b"0\r\nA: " + b"a" * count), 4000),
    ("chunks-of-one-byte", flood, lambda count: chunked(b"1\r\nx\r\n" * count), 1000),
    ("pipelined-repeated", flood, lambda count: get() * count, 200),
    ("pipelined-differing", flood, different_requests, 100),
    ("target-that-fails-late", flood, lambda count: target(b"http://" + b"a" * count + b"#"), 10_000),
    ("field-that-fails-late", flood, lambda count: get(*[b"X:"] * count, b"X"), 2000),
    ("value-that-fails-late", flood, lambda count: get(b"X: " + b" " * count + b"\x1b"), 10_000),
    ("name-that-fails-late", flood, lambda count: get(b"X" * count), 10_000),
    ("members-by-the-thousand", flood, lambda count: get(b"Connection: " + b"," * count), 2000),
]


@pytest.mark.parametrize(("feed", "make", "count"), [row[1:] for row in COSTS], ids=ids(COSTS))
def test_cost_grows_with_the_length_of_the_input_only(
    feed: Callable[[bytes], None], make: Callable[[int], bytes], count: int
) -> None:
    assert_grows_in_proportion(lambda count: feed(make(count)), count)
    if feed is flood:
        flood(make(100 * count))


# ---- writers: answers ---------------------------------------------------------------------------------------------

FIELDS = b"content-type: text/plain\r\n"
GET_11 = get()
GET_CLOSE = get(b"Connection: close")
GET_10 = lines(HTTP_10)
GET_10_KEPT = lines(HTTP_10, b"Connection: keep-alive")
HEAD_11 = lines(b"HEAD / HTTP/1.1", b"Host: a")
HEAD_10_KEPT = lines(b"HEAD / HTTP/1.0", b"Connection: keep-alive")
CLOSING = b"connection: close\r\n"
KEPT = b"connection: keep-alive\r\n"
SIZED = b"content-length: 5\r\n"
IN_CHUNKS = b"transfer-encoding: chunked\r\n"

# id, the request or None, status, length, framing and Connection in the head, how "hello" is sent, keep_alive after
ANSWERS: list[tuple[str, bytes | None, int, int | None, bytes, bytes, bool]] = [
    ("1.1-sized", GET_11, 200, 5, SIZED, b"hello", True),
    ("1.1-chunked", GET_11, 200, None, IN_CHUNKS, b"5\r\nhello\r\n0\r\n\r\n", True),
    ("1.1-close-sized", GET_CLOSE, 200, 5, SIZED + CLOSING, b"hello", False),
    ("1.1-close-chunked", GET_CLOSE, 200, None, IN_CHUNKS + CLOSING, b"5\r\nhello\r\n0\r\n\r\n", False),
    ("1.0-sized", GET_10, 200, 5, SIZED + CLOSING, b"hello", False),
    ("1.0-until-close", GET_10, 200, None, CLOSING, b"hello", False),
    ("1.0-kept-sized", GET_10_KEPT, 200, 5, SIZED + KEPT, b"hello", True),
    ("1.0-kept-until-close", GET_10_KEPT, 200, None, CLOSING, b"hello", False),
    ("head-sized", HEAD_11, 200, 5, SIZED, b"", True),
    ("head-chunked", HEAD_11, 200, None, IN_CHUNKS, b"", True),
    ("head-1.0-kept", HEAD_10_KEPT, 200, None, KEPT, b"", True),
    ("unread-sized", None, 400, 5, SIZED + CLOSING, b"hello", False),
    ("unread-until-close", None, 400, None, CLOSING, b"hello", False),
    ("204", GET_11, 204, 0, b"", b"", True),
    ("204-close", GET_CLOSE, 204, 0, CLOSING, b"", False),
    ("304", GET_11, 304, None, b"", b"", True),
    ("103", GET_11, 103, None, b"", b"", True),
    ("101", GET_11, 101, None, b"", b"", True),
    ("101-to-a-closing-client", GET_CLOSE, 101, None, b"", b"", False),
    ("error-status", GET_11, 503, 5, SIZED, b"hello", True),
]


def answering(request: bytes | None) -> ResponseWriter:
    return ResponseWriter(None if request is None else request_head(request))


@pytest.mark.parametrize(
    ("request_bytes", "status", "size", "framing", "body", "keep_alive"), [row[1:] for row in ANSWERS], ids=ids(ANSWERS)
)
def test_frames_an_answer(
    request_bytes: bytes | None, status: int, size: int | None, framing: bytes, body: bytes, keep_alive: bool
) -> None:
    writer = answering(request_bytes)
    head = writer.start(status, FIELDS, size)
    line, rest = head.split(b"\r\n", 1)
    assert line.startswith(b"HTTP/1.1 %d " % status)
    assert rest == FIELDS + framing + b"\r\n"
    sent = b"" if size == 0 else writer.part(b"hello")
    assert sent + writer.finish() == body
    assert writer.keep_alive is keep_alive


@pytest.mark.parametrize("status", [101, 200, 204, 304, 404, 599])
@pytest.mark.parametrize("body", [b"", b"hello"])
@pytest.mark.parametrize("closing", [False, True])
@pytest.mark.parametrize(
    "request_bytes",
    [None, GET_11, GET_CLOSE, GET_10, GET_10_KEPT, HEAD_11, HEAD_10_KEPT],
    ids=["unread", "1.1", "close", "1.0", "1.0-kept", "head", "head-1.0-kept"],
)
def test_whole_gives_the_bytes_of_start_part_and_finish(
    request_bytes: bytes | None, closing: bool, body: bytes, status: int
) -> None:
    once, bit_by_bit = answering(request_bytes), answering(request_bytes)
    if closing:
        once.keep_alive = bit_by_bit.keep_alive = False
    pieces = [bit_by_bit.start(status, FIELDS, len(body)), bit_by_bit.part(body), bit_by_bit.finish()]
    assert once.whole(status, FIELDS, body) == b"".join(pieces)
    assert once.keep_alive is bit_by_bit.keep_alive


@pytest.mark.parametrize("status", [101, 200, 204, 304, 404, 599])
@pytest.mark.parametrize("body", [b"", b"hello"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_whole_stream_gives_the_bytes_of_start_part_and_finish(
    status: int, body: bytes, method: str, version: str
) -> None:
    head = request_head(f"{method} / HTTP/{version}\r\nHost: a\r\n\r\n".encode())
    one, other = ResponseWriter(head), ResponseWriter(head)
    expected = other.start(status, FIELDS, None) + other.part(body) + other.finish()
    assert one.whole_stream(status, FIELDS, body) == expected
    assert one.keep_alive is other.keep_alive


@pytest.mark.parametrize("body", [b"", b"hello"])
@pytest.mark.parametrize(
    ("request_bytes", "is_ready"),
    [(GET_11, True), (GET_CLOSE, False), (GET_10, False), (GET_10_KEPT, False), (HEAD_11, False)],
    ids=["1.1", "close", "1.0", "1.0-kept", "head"],
)
def test_plain_answers_are_the_bytes_of_start_part_and_finish(
    request_bytes: bytes, is_ready: bool, body: bytes
) -> None:
    assert takes_ready_answer(request_head(request_bytes)) is is_ready
    if not is_ready:
        return
    sized, chunked = answering(request_bytes), answering(request_bytes)
    expected = sized.start(200, FIELDS + b"a: b\r\n", len(body)) + sized.part(body) + sized.finish()
    assert sized_answer(FIELDS, b"a: b\r\n", body) == expected
    if body:
        expected = chunked.start(200, FIELDS + b"a: b\r\n", None) + chunked.part(body) + chunked.finish()
        assert chunked_answer(FIELDS, b"a: b\r\n", body) == expected


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE"])
@pytest.mark.parametrize("body", [b"", b"hello"])
def test_whole_request_gives_the_bytes_of_start_part_and_finish(method: str, body: bytes) -> None:
    writer = RequestWriter()
    expected = writer.start(method, "/p", FIELDS, len(body)) + writer.part(body) + writer.finish()
    assert whole_request(method, request_lines(method, "/p", FIELDS), body) == expected


def test_every_status_of_the_registry_has_its_reason() -> None:
    for status, reason in ((200, b"OK"), (413, b"Content Too Large"), (417, b"Expectation Failed"), (599, b"")):
        assert answering(GET_11).whole(status, b"", b"").startswith(b"HTTP/1.1 %d %b\r\n" % (status, reason))


def test_an_interim_answer_may_come_before_the_final_one() -> None:
    writer = answering(GET_11)
    data = (
        writer.start(103, b"link: </a>\r\n", None) + writer.start(200, b"", None) + writer.part(b"x") + writer.finish()
    )
    reading = read(ResponseReader("GET"), [CONTINUE + data])
    assert reading.events == [
        "HTTP/1.1 100 Continue",
        "HTTP/1.1 103 Early Hints | link: </a>",
        OK_CHUNKED,
        "body x",
        "end",
    ]
    assert reading.last == "PAUSED"


def test_an_empty_part_does_not_end_a_chunked_body() -> None:
    writer = answering(GET_11)
    writer.start(200, b"", None)
    assert writer.part(b"") == b""
    assert writer.part(b"x") == b"1\r\nx\r\n"


def test_chunk_sizes_are_in_hex() -> None:
    writer = answering(GET_11)
    writer.start(200, b"", None)
    assert writer.part(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"


# ---- writers: requests --------------------------------------------------------------------------------------------

# id, method, length, framing in the head, how "hello" is sent
REQUESTS: list[tuple[str, str, int | None, bytes, bytes]] = [
    ("get", "GET", 0, b"", b""),
    ("head", "HEAD", 0, b"", b""),
    ("delete", "DELETE", 0, b"", b""),
    ("post-empty", "POST", 0, b"content-length: 0\r\n", b""),
    ("put-empty", "PUT", 0, b"content-length: 0\r\n", b""),
    ("patch-empty", "PATCH", 0, b"content-length: 0\r\n", b""),
    ("post-sized", "POST", 5, SIZED, b"hello"),
    ("post-chunked", "POST", None, IN_CHUNKS, b"5\r\nhello\r\n0\r\n\r\n"),
    ("get-sized", "GET", 5, SIZED, b"hello"),
    ("delete-chunked", "DELETE", None, IN_CHUNKS, b"5\r\nhello\r\n0\r\n\r\n"),
]


@pytest.mark.parametrize(("method", "size", "framing", "body"), [row[1:] for row in REQUESTS], ids=ids(REQUESTS))
def test_frames_a_request(method: str, size: int | None, framing: bytes, body: bytes) -> None:
    writer = RequestWriter()
    assert writer.start(method, "/x?y", b"host: a\r\n", size) == (
        f"{method} /x?y HTTP/1.1\r\nhost: a\r\n".encode() + framing + b"\r\n"
    )
    sent = b"" if size == 0 else writer.part(b"hello")
    assert sent + writer.finish() == body


def test_one_request_writer_may_write_one_request_after_another() -> None:
    writer = RequestWriter()
    data = b""
    for size in (None, 1, 0, None):
        data += writer.start("POST", "/", b"host: a\r\n", size)
        data += (b"" if size == 0 else writer.part(b"x")) + writer.finish()
    reading = read(RequestReader(), [data])
    assert [event for event in reading.events if not event.startswith("POST")] == ["body x", "end"] * 2 + [
        "end",
        "body x",
        "end",
    ]


# ---- writers: what must not be sent -------------------------------------------------------------------------------

# id, name, value, whether it is written
FIELD_LINES: list[tuple[str, str, str, bool]] = [
    ("plain", "x-a", "b c", True),
    ("value-empty", "x", "", True),
    ("value-tab", "x", "a\tb", True),
    ("value-latin-1", "x", "\xe9\xff", True),
    ("name-of-token-characters", "!#$%&'*+-.^_`|~", "1", True),
    ("value-cr-lf", "x", "a\r\nevil: 1", False),
    ("value-ends-in-cr-lf", "x", "a\r\n", False),
    ("value-cr", "x", "a\rb", False),
    ("value-lf", "x", "a\nb", False),
    ("value-ends-in-lf", "x", "a\n", False),
    ("value-nul", "x", "a\0b", False),
    ("value-escape", "x", "a\x1bb", False),
    ("value-delete", "x", "a\x7f", False),
    ("value-beyond-latin-1", "x", "a\u2028b", False),
    ("value-that-would-become-lf", "x", "a\u010ab", False),
    ("value-surrogate", "x", "\udc0a", False),
    ("name-empty", "", "1", False),
    ("name-space", "x y", "1", False),
    ("name-colon", "x:", "1", False),
    ("name-cr-lf", "x\r\n", "1", False),
    ("name-ends-in-lf", "x\n", "1", False),
    ("name-nul", "x\0", "1", False),
    ("name-latin-1", "x\xe9", "1", False),
    ("name-beyond-latin-1", "x\u010d", "1", False),
]


@pytest.mark.parametrize(("name", "value", "sound"), [row[1:] for row in FIELD_LINES], ids=ids(FIELD_LINES))
def test_writes_only_fields_that_stay_in_their_line(name: str, value: str, sound: bool) -> None:
    if sound:
        line = encode_fields([("first", "1"), (name, value)])
        assert line == f"first: 1\r\n{name}: {value}\r\n".encode("latin-1")
        return
    with pytest.raises(ValueError):
        encode_fields([("first", "1"), (name, value)])


def test_no_fields_are_no_bytes() -> None:
    assert encode_fields([]) == b""


# id, method, target, whether it is written
REQUEST_LINES: list[tuple[str, str, str, bool]] = [
    ("plain", "GET", "/a?b", True),
    ("absolute", "GET", "http://a/b", True),
    ("authority", "CONNECT", "a:443", True),
    ("method-any-token", "m-search", "/", True),
    ("target-empty", "GET", "", False),
    ("target-space", "GET", "/a b", False),
    ("target-cr-lf", "GET", "/ HTTP/1.1\r\nevil: 1\r\n\r\n", False),
    ("target-ends-in-lf", "GET", "/\n", False),
    ("target-nul", "GET", "/\0", False),
    ("target-tab", "GET", "/\t", False),
    ("target-latin-1", "GET", "/\xe9", False),
    ("target-beyond-latin-1", "GET", "/\u010a", False),
    ("target-with-version", "GET", "/ HTTP/1.1", False),
    ("method-empty", "", "/", False),
    ("method-space", "GET /x", "/", False),
    ("method-cr-lf", "GET\r\n", "/", False),
    ("method-latin-1", "G\xe9T", "/", False),
    ("method-beyond-latin-1", "G\u010aT", "/", False),
]


@pytest.mark.parametrize(("method", "text", "sound"), [row[1:] for row in REQUEST_LINES], ids=ids(REQUEST_LINES))
def test_writes_only_request_lines_that_stay_one_line(method: str, text: str, sound: bool) -> None:
    if sound:
        assert RequestWriter().start(method, text, b"", 0).startswith(f"{method} {text} HTTP/1.1\r\n".encode())
        return
    with pytest.raises(ValueError):
        RequestWriter().start(method, text, b"host: a\r\n", 0)


def started_writers(size: int | None) -> list[ResponseWriter | RequestWriter]:
    answer, request = answering(GET_11), RequestWriter()
    answer.start(200, b"", size)
    request.start("POST", "/", b"host: a\r\n", size)
    return [answer, request]


def test_more_than_the_length_announced_is_refused() -> None:
    for writer in started_writers(5):
        assert writer.part(b"hell") == b"hell"
        with pytest.raises(RuntimeError, match="longer than its Content-Length, by 2 bytes"):
            writer.part(b"o!!")


def test_less_than_the_length_announced_is_refused() -> None:
    for writer in started_writers(5):
        writer.part(b"hell")
        with pytest.raises(RuntimeError, match="shorter than its Content-Length, by 1 bytes"):
            writer.finish()


def test_exactly_the_length_announced_is_sent() -> None:
    for writer in started_writers(5):
        assert [writer.part(b"hell"), writer.part(b""), writer.part(b"o"), writer.finish()] == [b"hell", b"", b"o", b""]


# ---- round trips --------------------------------------------------------------------------------------------------

BODY_PIECES: list[tuple[str, list[bytes]]] = [
    ("empty", []),
    ("one", [b"hello"]),
    ("several", [b"a", b"", b"\r\n0\r\n\r\n", b"\0\xff"]),
    ("large", [bytes(range(256)) * 40, b"x" * 70000]),
]


@pytest.mark.parametrize("is_sized", [True, False], ids=["sized", "chunked"])
@pytest.mark.parametrize("pieces", [row[1] for row in BODY_PIECES], ids=ids(BODY_PIECES))
def test_what_a_writer_writes_its_reader_reads(pieces: list[bytes], is_sized: bool) -> None:
    body = b"".join(pieces)
    size = len(body) if is_sized else None
    request, answer = RequestWriter(), answering(GET_11)
    fields = encode_fields([("host", "a"), ("x-text", "b \xe9")])
    heads: list[tuple[Reader, RequestWriter | ResponseWriter, bytes]] = [
        (RequestReader(), request, request.start("POST", "/p?q", fields, size)),
        (ResponseReader("GET"), answer, answer.start(201, fields, size)),
    ]
    framing = f" | content-length: {size}" if is_sized else " | transfer-encoding: chunked"
    lines_read = ["POST /p?q HTTP/1.1", "HTTP/1.1 201 Created"]
    for (reader, writer, head), line in zip(heads, lines_read):
        data = head + b"".join(map(writer.part, pieces)) + writer.finish()
        events: list[str] = []
        for at in range(0, len(data), 1000):
            reader.feed(data[at : at + 1000])
            last = pull(reader, events, False)
        text = ["body " + body.decode("latin-1")] if body else []
        assert events == [f"{line} | host: a | x-text: b \xe9{framing}", *text, "end"]
        assert last is PAUSED and reader.buffered == 0


@pytest.mark.parametrize("row", ANSWERS, ids=ids(ANSWERS))
def test_the_reader_of_answers_agrees_with_their_writer(row: tuple[Any, ...]) -> None:
    """Body, end and the fate of the connection are read as they were meant, for every framing."""
    name, request, status, size, _, _, keep_alive = row
    writer = answering(request)
    data = writer.start(status, FIELDS, size) + (b"" if size == 0 else writer.part(b"hello")) + writer.finish()
    method = "HEAD" if name.startswith("head") else "GET"
    reader = ResponseReader(method)
    reader.feed(data)
    if not keep_alive:
        reader.feed(b"")
    events: list[str] = []
    last = pull(reader, events, False)
    if status == 103:
        assert (last, len(events)) == (NEED_DATA, 1)
        return
    assert last is PAUSED
    has_body = status >= 200 and status not in (204, 304) and method != "HEAD"
    assert events[1:] == (["body hello"] if has_body else []) + (["end"] if status != 101 else [])
