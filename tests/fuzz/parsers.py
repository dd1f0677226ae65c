"""What each parser promises for any bytes: the value or the refusal that it documents, alike however the bytes arrive.

A check takes bytes and a source of chance and returns whether the parser took them. It fails with AssertionError where
a promise is broken; any exception that the parser does not document is such a failure, too.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import wave
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from protocol.config_file import read_entries
from protocol.errors import ApiError
from protocol.mock.media.recording import sound_seconds
from protocol.openai.api.notation import ShapeError, read_shape
from protocol.openai.model_in_form import ModelRewriter
from protocol.openai.model_in_json import find_model, replace_model
from protocol.wire.archive import ArchiveError, read_archive
from protocol.wire.content_coding import decode_content
from protocol.wire.http1.messages import CLOSED, NEED_DATA, PAUSED, BadMessage, BodyPart
from protocol.wire.http1.readers import RequestReader, ResponseReader
from protocol.wire.json_text import parse_json
from protocol.wire.multipart import MultipartReader, PartData
from protocol.wire.socks5 import SocksClient, SocksRefused
from protocol.wire.sse import EventTooLong, SseReader
from protocol.wire.websocket import FrameReader, WebSocketError, encode_close, encode_pong, encode_text

Check = Callable[[bytes, random.Random], bool]

_MOST_BYTES = 1 << 20


class Parser(NamedTuple):
    """A parser, what it takes (samples to begin with), and its check."""

    samples: tuple[bytes, ...]
    words: tuple[bytes, ...]
    check: Check


def pieces(data: bytes, draw: random.Random) -> list[bytes]:
    """Return the data in pieces of chance, none of them empty."""
    ends = sorted({draw.randrange(len(data) + 1) for _ in range(draw.randint(1, 6))} | {len(data)})
    return [piece for piece in (data[start:end] for start, end in zip([0, *ends], ends)) if piece]


# ---- HTTP/1.1 ---------------------------------------------------------------------------------------------------


def _messages(reader: RequestReader | ResponseReader, parts: list[bytes]) -> tuple[list[str], bool]:
    """Return what a reader makes of the parts: its events, pieces of bodies joined, and whether it refused."""
    told: list[str] = []
    body = b""
    try:
        for part in [*parts, b""]:
            reader.feed(part)
            event = reader.next_event()
            while event is not NEED_DATA:
                if event is CLOSED:
                    return told, False
                if isinstance(event, BodyPart):
                    body += event.data
                elif event is PAUSED:
                    if told[-1].startswith("RequestHead CONNECT") or "upgrade" in told[-1]:
                        return told, False
                    reader.next_message()
                else:
                    told.append(f"{_shown(event)} after {body!r}")
                    body = b""
                event = reader.next_event()
    except BadMessage:
        return [*told, repr(body)], True
    raise AssertionError("after the end of the connection, NEED_DATA is no answer")


def _shown(event: object) -> str:
    pairs = getattr(getattr(event, "fields", None), "pairs", "")
    line = [getattr(event, name, "") for name in ("method", "target", "status", "reason", "minor_version")]
    return " ".join([type(event).__name__, *map(str, line), repr(pairs)])


def _check_requests(data: bytes, draw: random.Random) -> bool:
    whole = _messages(RequestReader(max_body=_MOST_BYTES), [data])
    assert _messages(RequestReader(max_body=_MOST_BYTES), pieces(data, draw)) == whole
    return not whole[1]


def _check_responses(data: bytes, draw: random.Random) -> bool:
    method = draw.choice(("GET", "HEAD", "POST"))
    whole = _messages(ResponseReader(method), [data])
    assert _messages(ResponseReader(method), pieces(data, draw)) == whole
    return not whole[1]


# ---- other formats of wire/ -------------------------------------------------------------------------------------


def _check_events(data: bytes, draw: random.Random) -> bool:
    def read(parts: list[bytes]) -> tuple[list[str], bool]:
        reader, told = SseReader(max_event_bytes=2_000), []
        try:
            for part in parts:
                told += [repr(event) for event in reader.feed(part)]
        except EventTooLong as exc:
            return told + [repr(event) for event in exc.events], True
        return told, reader.close()

    whole = read([data])
    assert read(pieces(data, draw)) == whole
    return len(whole[0]) > 0


def _check_forms(data: bytes, draw: random.Random) -> bool:
    def read(parts: list[bytes]) -> tuple[list[str], bool]:
        reader, told, content = MultipartReader("edge"), [], b""
        try:
            for part in [*parts, None]:
                for event in reader.close() if part is None else reader.feed(part):
                    if isinstance(event, PartData):
                        content += event.data
                    else:
                        told += [repr(content), repr(event)]
                        content = b""
        except ApiError:
            return [], True
        return told, False

    whole = read([data])
    assert read(pieces(data, draw)) == whole
    return not whole[1]


def _check_frames(data: bytes, draw: random.Random) -> bool:
    role = draw.choice(("server", "client"))

    def read(parts: list[bytes]) -> tuple[list[str], int]:
        reader, told = FrameReader(role, max_message_bytes=5_000), []  # type: ignore[arg-type]  # one of two words
        try:
            for part in [*parts, b""]:
                reader.feed(part)
                while True:
                    event = reader.next_event()
                    if event is NEED_DATA or event is CLOSED:
                        break
                    told.append(repr(event))
        except WebSocketError as exc:
            return told, exc.code
        return told, 0

    whole = read([data])
    assert read(pieces(data, draw)) == whole
    return not whole[1]


def _check_json(data: bytes, draw: random.Random) -> bool:
    try:
        value = parse_json(data)
    except ApiError as exc:
        assert exc.status == 400
        return False
    assert repr(json.loads(data)) == repr(value)
    return True


def _check_coding(data: bytes, draw: random.Random) -> bool:
    try:
        decoded = decode_content(draw.choice(("gzip", "deflate", "gzip, deflate")), data, _MOST_BYTES)
    except ApiError as exc:
        assert exc.status in (400, 413, 415)
        return False
    assert len(decoded) <= _MOST_BYTES
    return True


def _check_archive(data: bytes, draw: random.Random) -> bool:
    try:
        files = read_archive(data, _MOST_BYTES, most_files=100)
    except ArchiveError:
        return False
    assert sum(len(content) for _, content in files) <= _MOST_BYTES
    return True


def _check_socks(data: bytes, draw: random.Random) -> bool:
    def read(parts: list[bytes]) -> tuple[bytes, bool, bool]:
        client = SocksClient("up.test", 443, b"user", b"word")
        said = client.greeting()
        try:
            for part in parts:
                said += client.feed(part)
        except SocksRefused:
            return b"", False, True
        return said, client.is_done, False

    # A proxy that sends two replies at once is refused, so only single bytes are alike.
    return read([data[at : at + 1] for at in range(min(len(data), 300))])[1]


# ---- OpenAI's shapes and our own texts --------------------------------------------------------------------------


def _check_model_in_json(data: bytes, draw: random.Random) -> bool:
    found = find_model(data)
    replaced = replace_model(data, "new")
    try:
        value = json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return False
    if not isinstance(value, dict) or data[:1] not in b"{ \t\r\n\xef":
        assert found is None or data.startswith((b"\xfe", b"\xff"))
        return False
    model = value.get("model")
    if isinstance(model, str) and "\ud800" not in repr(model):
        assert found is not None and found[0] == model, (found, model)
    after = json.loads(replaced)
    assert after["model"] == "new"
    for name, member in value.items():
        assert name.lower() == "model" or repr(after[name]) == repr(member)
    return True


def _refuse_constant(text: str) -> None:
    raise ValueError(text)


def _check_model_in_form(data: bytes, draw: random.Random) -> bool:
    def pass_on(parts: list[bytes], rename: Callable[[str], str]) -> bytes | None:
        rewriter = ModelRewriter("multipart/form-data; boundary=edge", rename)
        try:
            return b"".join([rewriter.feed(part) for part in parts] + [rewriter.close()])
        except ApiError:
            return None

    same = pass_on(pieces(data, draw), lambda asked: asked)
    assert same is None or same == data
    renamed = pass_on([data], lambda asked: "new" if asked else "")
    assert (renamed is None) == (same is None)
    assert pass_on(pieces(data, draw), lambda asked: "new" if asked else "") == renamed
    return same is not None


def _check_config(data: bytes, draw: random.Random) -> bool:
    entries, mistakes = read_entries(data.decode("utf-8", "replace"))
    assert all("\n" not in mistake for _, mistake in mistakes)
    return bool(entries) and not mistakes


def _check_notation(data: bytes, draw: random.Random) -> bool:
    try:
        read_shape(data.decode("utf-8", "replace"))
    except ShapeError:
        return False
    return True


def _check_sound(data: bytes, draw: random.Random) -> bool:
    try:
        seconds = sound_seconds(data)
    except ApiError:
        return False
    assert seconds is None or seconds >= 0
    return seconds is not None


# ---- samples ----------------------------------------------------------------------------------------------------

_GET = b"GET /v1/models?a=1 HTTP/1.1\r\nHost: a\r\n\r\n"
_POST = b"POST /v1/chat HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
_CHUNKED = (
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: v\r\n\r\n"
)
_HTTP_WORDS = (
    b"\r\n", b"\n", b"\r", b"\0", b": ", b" ", b"\t", b"Transfer-Encoding: chunked\r\n", b"Content-Length: 3\r\n",
    b"Content-Length: 3, 3\r\n", b"Host: b\r\n", b"0\r\n\r\n", b"HTTP/1.0", b"Connection: close\r\n", b"5\r\n",
    b",", b";", b"Expect: 100-continue\r\n", b"Upgrade: websocket\r\n", b"\xff", b"99999999999999999999",
)  # fmt: skip
_FORM = (
    b'--edge\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
    b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n'
    b"RIFF\x00\r\n--edg\r\n--edge--\r\n"
)
_FORM_WORDS = (
    b"--edge",
    b"\r\n--edge",
    b"--",
    b"\r\n",
    b"\r\n\r\n",
    b'name="model"',
    b'"',
    b";",
    b"\\",
    b"Content-Type: x\r\n",
    b"\n",
)
_JSON = (
    b'{"model": "gpt-4o", "messages": [{"role": "user", "content": "\\u4e2d\\"x"}], "n": 1.5e3, "a": [true, null, {}]}',
    b'{"a": {"model": "x"}, "MODEL": 1, "mod\\u0065l": "y"}',
    b"[1, 2]",
)  # fmt: skip
_JSON_WORDS = (
    b'"model"',
    b'"',
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\\ud800",
    b"1e9",
    b"NaN",
    b"\xef\xbb\xbf",
    b" ",
    b"\xff",
    b"-",
)
_EVENTS = (b"event: a\ndata: 1\ndata: 2\nid: 3\n\ndata: x\r\n\r\n: comment\n\n", b"\xef\xbb\xbfdata: [DONE]\n\n")
_FRAMES = (
    encode_text("hello", b"abcd") + encode_pong(b"p", b"abcd") + encode_close(1000, "bye", b"abcd"),
    encode_text("中文") + encode_close(),
)
_SHAPES = (
    b'{id str, object "list", data [Model], has_more bool?, next str|null}',
    b"{metadata map str, seconds int 1..10, created time}",
    b"Model | {a int, ...}",
)
_CONFIG = (b"[server]\nport = 1\n\n[relay two]\nmodels =\n    a = b\n; comment\n", b"[routes]\n* = mock\n")


def _archive() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("SKILL.md", "---\nname: a\n---\n" * 20)
        archive.writestr("b/c.txt", "x")
    return made.getvalue()


def _wave() -> bytes:
    made = io.BytesIO()
    with wave.open(made, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(b"\0\0" * 800)
    return made.getvalue()


_SOUNDS = (
    _wave(),
    b"fLaC\x80\0\0\x22" + bytes(10) + b"\x0a\xc4\x42\xf0\0\0\0\x10" + bytes(16),
    b"\xff\xfb\x90\0" + bytes(413) + b"\xff\xfb\x90\0" + bytes(413),
    b"\xff\xf1\x50\x80\x02\x1f\xfc" + bytes(9),
    b"OggS\0\2" + bytes(8) + b"\1\0\0\0" + bytes(8) + b"\1\x13OpusHead\1\1\0\0\x80\xbb\0\0\0\0\0",
    b"\0\0\0\x10ftypM4A \0\0\0\0\0\0\0\x10moov\0\0\0\x08free",
    b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\x88\x15\x49\xa9\x66\x83\x44\x89\x80",
)

PARSERS: dict[str, Parser] = {
    "http1-requests": Parser((_GET, _POST, _CHUNKED, _GET + _POST + _CHUNKED), _HTTP_WORDS, _check_requests),
    "http1-responses": Parser(
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 204 No\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\n\r\nto the end",
        ),
        _HTTP_WORDS,
        _check_responses,
    ),
    "sse": Parser(
        _EVENTS, (b"\n", b"\r", b"\r\n", b"data:", b"id: \0", b": ", b"event", b"\xff", b"x" * 900), _check_events
    ),
    "multipart": Parser((_FORM,), _FORM_WORDS, _check_forms),
    "websocket": Parser(
        _FRAMES, (b"\x81", b"\x80\x80", b"\x88\x02\x03\xe8", b"\x01\x7e\xff\xff", b"\x00\x00", b"\x7f"), _check_frames
    ),
    "json": Parser(_JSON, _JSON_WORDS, _check_json),
    "content-coding": Parser(
        (gzip.compress(b"a" * 500), zlib.compress(b"b" * 500)), (b"\x1f\x8b\x08\0", b"\0" * 20), _check_coding
    ),
    "archive": Parser((_archive(),), (b"PK\1\2", b"PK\3\4", b"PK\5\6", b"\xff\xff\xff\xff", b"\0" * 8), _check_archive),
    "socks5": Parser(
        (b"\x05\x02\x01\x00\x05\x00\x00\x01" + bytes(6),), (b"\x05", b"\x00", b"\xff", b"\x03"), _check_socks
    ),
    "model-in-json": Parser(_JSON, _JSON_WORDS, _check_model_in_json),
    "model-in-form": Parser((_FORM,), _FORM_WORDS, _check_model_in_form),
    "config": Parser(
        _CONFIG, (b"[", b"]", b"=", b"\n", b" ", b";", b"${", b"[server]\n", b"\t", b"\0", b"\xff"), _check_config
    ),
    "notation": Parser(
        _SHAPES, (b"{", b"}", b"[", b"]", b"|", b"?", b'"', b"map ", b"..", b"Model", b"int 1..", b","), _check_notation
    ),
    "sound": Parser(
        _SOUNDS, (b"RIFF", b"OggS", b"fLaC", b"moov", b"\xff\xfb", b"\xff\xff\xff\xff", b"\0" * 8), _check_sound
    ),
}


def mutated(parser: Parser, draw: random.Random) -> bytes:
    """Return a sample with some places of it changed."""
    data = draw.choice(parser.samples)
    for _ in range(draw.randint(0, 6)):
        at = draw.randrange(len(data) + 1)
        data = draw.choice(_CHANGES)(data, at, parser, draw)
    return data[:20_000]


def _changes() -> Iterator[Callable[[bytes, int, Parser, random.Random], bytes]]:
    yield lambda data, at, parser, draw: data[:at] + draw.choice(parser.words) + data[at:]
    yield lambda data, at, parser, draw: data[:at] + bytes([draw.randrange(256)]) + data[at + 1 :]
    yield (
        lambda data, at, parser, draw: (
            data[:at] + bytes(b ^ 1 << draw.randrange(8) for b in data[at : at + 1]) + data[at + 1 :]
        )
    )
    yield lambda data, at, parser, draw: data[:at] + data[at + draw.randint(1, 20) :]
    yield lambda data, at, parser, draw: data[:at] + data[at : at + 40] * draw.randint(2, 30) + data[at:]
    yield lambda data, at, parser, draw: data[:at] + draw.choice(parser.samples)[draw.randrange(30) :]


_CHANGES = tuple(_changes())
