"""The kinds of attack: each a handful of requests that are small to say and would be large to answer.

A kind is a function that takes a size, 1 for what a server's limits just let pass and less for a short form, and
returns its requests in order. Its docstring says what it is after.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

CHAT = "/v1/chat/completions"
MEGABYTE = 1024 * 1024


class Shot(NamedTuple):
    """One request of an attack. `needs_id` puts the id that the shot before it was answered with in place of ID."""

    path: str
    body: bytes = b""
    content_type: str = "application/json"
    method: str = "POST"
    needs_id: bool = False
    fields: tuple[tuple[str, str], ...] = ()
    #: What follows the head where that opens a WebSocket.
    frames: bytes = b""

    def to_bytes(self, identifier: str = "") -> bytes:
        """Return the request as it is sent."""
        path, body = self.path, self.body
        if self.needs_id:
            path, body = path.replace("ID", identifier), body.replace(b"ID", identifier.encode())
        lines = [f"{self.method} {path} HTTP/1.1", "Host: 127.0.0.1", "Authorization: Bearer sk-attack"]
        lines += [f"{name}: {value}" for name, value in self.fields]
        if body:
            lines += [f"Content-Type: {self.content_type}", f"Content-Length: {len(body)}"]
        return "\r\n".join([*lines, "", ""]).encode() + body + self.frames


class Kind(NamedTuple):
    """An attack: its name, the backends that it is for, what it is after, its requests by their size.

    Those of a `crowd` come from so many connections at once, which stay and read nothing.
    """

    name: str
    backends: tuple[str, ...]
    about: str
    shots: Callable[[float], list[Shot]]
    crowd: int


KINDS: dict[str, Kind] = {}


def kind(*backends: str, crowd: int = 1) -> Callable[[Callable[[float], list[Shot]]], Callable[[float], list[Shot]]]:
    """Put a function into KINDS, for these backends (the mock where none is named)."""

    def add(shots: Callable[[float], list[Shot]]) -> Callable[[float], list[Shot]]:
        name = shots.__name__.replace("_", "-")
        KINDS[name] = Kind(name, backends or ("mock",), " ".join((shots.__doc__ or "").split()), shots, crowd)
        return shots

    return add


# ---- what requests are made of ----------------------------------------------------------------------------------


def ask(path: str, needs_id: bool = False, **members: Any) -> Shot:
    """Return a POST of JSON."""
    return Shot(path, json.dumps(members).encode(), needs_id=needs_id)


def chat(content: Any = "Hello", **members: Any) -> Shot:
    """Return a chat of one message."""
    return ask(CHAT, model="gpt-4o", messages=[{"role": "user", "content": content}], **members)


def form(path: str, *parts: tuple[str, bytes] | tuple[str, str, bytes]) -> Shot:
    """Return a form; a part is (name, text), or (name, file name, bytes) for a file."""
    body = b""
    for name, *rest in parts:
        file_name = f'; filename="{rest[0]!s}"' if len(rest) == 2 else ""
        content = rest[-1]
        assert isinstance(content, bytes)
        body += (
            f'--edge\r\nContent-Disposition: form-data; name="{name}"{file_name}\r\n\r\n'.encode() + content + b"\r\n"
        )
    return Shot(path, body + b"--edge--\r\n", "multipart/form-data; boundary=edge")


def frame(payload: bytes, first: int = 0x81) -> bytes:
    """Return a client's frame, by default a whole message of text; its masking key is 0, so that nothing is changed."""
    size = len(payload)
    if size < 126:
        length = bytes([0x80 | size])
    else:
        length = b"\xfe" + struct.pack(">H", size) if size < 65536 else b"\xff" + struct.pack(">Q", size)
    return bytes([first]) + length + bytes(4) + payload


_OPENING = (
    ("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
)  # fmt: skip
_CLOSING = frame(struct.pack(">H", 1000), 0x88)


def talk(path: str, *messages: dict[str, Any] | bytes, closing: bytes = _CLOSING) -> Shot:
    """Return a talk over a WebSocket; a message is JSON, or frames as they are."""
    said = [message if isinstance(message, bytes) else frame(json.dumps(message).encode()) for message in messages]
    return Shot(path, method="GET", fields=_OPENING, frames=b"".join(said) + closing)


def file(content: bytes, name: str = "f.bin", purpose: str = "user_data") -> Shot:
    """Return the upload of a file."""
    return form("/v1/files", ("purpose", purpose.encode()), ("file", name, content))


def tool(name: str, parameters: Any = None) -> dict[str, Any]:
    """Return the description of a tool."""
    return {"type": "function", "function": {"name": name, "parameters": parameters or {"type": "object"}}}


def json_format(schema: Any, name: str = "s") -> dict[str, Any]:
    """Return a response_format that wants values of a schema."""
    if type(schema) is dict and schema.get("type", "object") != "object":
        # Only an object may stand at the root, so what is attacked stands below it.
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema}}


# ---- HTTP -------------------------------------------------------------------------------------------------------


@kind("mock", "relay")
def head_of_many_fields(size: float) -> list[Shot]:
    """A head of 64 kB in fields of four bytes."""
    fields = tuple((f"{number:x}", "") for number in range(int(9_000 * size)))
    return [Shot("/v1/models", method="GET", fields=fields)]


@kind("mock", "relay")
def query_of_many_members(size: float) -> list[Shot]:
    """A query of 60 kB."""
    return [Shot("/v1/models?" + "&".join(["a=%61"] * int(10_000 * size)), method="GET")]


@kind("mock", "relay")
def form_of_many_parts(size: float) -> list[Shot]:
    """A form with as many parts as its bytes allow."""
    part = b'--edge\r\ncontent-disposition: form-data; name="a"\r\n\r\n\r\n'
    body = part * int(60 * MEGABYTE * size / len(part)) + b"--edge--\r\n"
    return [Shot("/v1/files", body, "multipart/form-data; boundary=edge")]


@kind("mock", "relay")
def form_of_near_boundaries(size: float) -> list[Shot]:
    """A file that is full of what is nearly the boundary."""
    return [
        form(
            "/v1/audio/transcriptions", ("model", b"whisper-1"), ("file", "a.wav", b"\r\n--edg" * int(8_000_000 * size))
        )
    ]


@kind("mock", "relay")
def form_field_of_megabytes(size: float) -> list[Shot]:
    """A form whose text fields are large."""
    return [form("/v1/audio/transcriptions", ("model", b"m" * int(60 * MEGABYTE * size)), ("file", "a.wav", b"RIFF"))]


# ---- JSON -------------------------------------------------------------------------------------------------------


def _json_body(inside: bytes) -> bytes:
    return b'{"messages":[{"role":"user","content":"Hello"}],"metadata":' + inside + b',"model":"gpt-4o"}'


def _json_shots(inside: bytes) -> list[Shot]:
    return [
        Shot(CHAT, _json_body(inside)),
        Shot("/v1/responses", _json_body(inside).replace(b'"messages"', b'"input"')),
    ]


@kind("mock", "relay", "dashscope")
def json_of_empty_lists(size: float) -> list[Shot]:
    """Tens of megabytes of [] in a list: every three bytes are an object."""
    return _json_shots(b"[" + b"[]," * int(20 * MEGABYTE * size) + b"[]]")


@kind("mock", "relay", "dashscope")
def json_of_members(size: float) -> list[Shot]:
    """An object of millions of members, each with a name of its own."""
    members = b",".join(b'"%d":0' % number for number in range(int(5_000_000 * size)))
    return _json_shots(b"{" + members + b"}")


@kind("mock", "relay", "dashscope")
def json_of_depth(size: float) -> list[Shot]:
    """Brackets in brackets."""
    depth = int(30 * MEGABYTE * size)
    return _json_shots(b"[" * depth + b"]" * depth) + _json_shots(b'{"a":' * (depth // 4))


@kind("mock", "relay", "dashscope")
def json_of_digits(size: float) -> list[Shot]:
    """Numbers of many digits, which take the square of their length to read."""
    digits = b"9" * int(4_000_000 * size)
    return [
        *_json_shots(b"9" * 5_000),
        *_json_shots(digits),
        *_json_shots(b"1e" + digits),
        *_json_shots(b"0." + digits),
    ]


@kind("mock", "relay", "dashscope")
def json_of_escapes(size: float) -> list[Shot]:
    """One string in which every character is escaped."""
    return _json_shots(b'"' + b"\\u4e2d" * int(10 * MEGABYTE * size) + b'"')


@kind("mock", "relay", "dashscope")
def json_of_one_picture(size: float) -> list[Shot]:
    """One data URL of 60 MB: large, and as it should be."""
    url = "data:image/png;base64," + "iVBORw0KGgo" + "A" * int(60 * MEGABYTE * size)
    return [chat([{"type": "image_url", "image_url": {"url": url}}])]


@kind("mock", "relay")
def json_of_messages(size: float) -> list[Shot]:
    """A chat of a hundred thousand messages."""
    messages = [{"role": "user", "content": "Hello"}] * int(100_000 * size)
    return [ask(CHAT, model="gpt-4o", messages=messages), ask("/v1/responses", model="gpt-4o", input=messages)]


# ---- schemas ----------------------------------------------------------------------------------------------------


@kind()
def schema_of_lists_in_lists(size: float) -> list[Shot]:
    """280 bytes that ask for lists of lists of lists, 128 times over."""
    schema: Any = {"type": "string"}
    for _ in range(6):
        schema = {"type": "array", "minItems": max(2, int(1_000 * size)), "items": schema}
    top = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return [chat(response_format=json_format(top), n=128), chat(tools=[tool("f", top)], tool_choice="required", n=128)]


@kind()
def schema_of_long_required(size: float) -> list[Shot]:
    """A `required` list of a hundred thousand names, and properties for half of them."""
    names = [f"name{number}" for number in range(int(100_000 * size))]
    schema = {"type": "object", "required": names, "properties": {name: {} for name in names[::2]}}
    return [chat(response_format=json_format(schema)), chat(tools=[tool("f", schema)], tool_choice="required")]


@kind()
def schema_that_doubles(size: float) -> list[Shot]:
    """Definitions of which each needs the next one twice."""
    depth = max(3, int(30 * size))
    defs: dict[str, Any] = {
        f"d{level}": {"type": "object", "required": ["l", "r"], "properties": {
            "l": {"$ref": f"#/$defs/d{level + 1}"}, "r": {"$ref": f"#/$defs/d{level + 1}"}}}
        for level in range(depth)
    }  # fmt: skip
    defs[f"d{depth}"] = {"type": "string"}
    schema = {"$ref": "#/$defs/d0", "$defs": defs}
    return [chat(response_format=json_format(schema)), chat(tools=[tool("f", schema)], tool_choice="required")]


@kind()
def schema_of_alternatives(size: float) -> list[Shot]:
    """Alternatives in alternatives of which none can be met, so that all of them are tried."""
    schema: Any = {"type": "string", "minLength": 2, "maxLength": 1}
    for _ in range(max(2, int(12 * size))):
        schema = {"anyOf": [schema] * 4, "allOf": [schema, {"not": {"type": "integer"}}]}
        if len(json.dumps(schema)) > 10 * MEGABYTE * size:
            break
    return [chat(response_format=json_format({"type": "object", "properties": {"a": schema}, "required": ["a"]}))]


@kind()
def schema_of_patterns(size: float) -> list[Shot]:
    """Patterns with repetitions in repetitions, and very long ones."""
    patterns = [
        "^(a+)+$",
        "^((a|b)*c){50}$",
        "(x{1,1000}){1,1000}",
        "a{100000}",
        "(" * 3_000 + ")" * 3_000,
        "[a-z]" * 50_000,
    ]
    shots = []
    for pattern in patterns:
        pattern = pattern[: max(100, int(len(pattern) * size))]
        schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": pattern}}, "required": ["a"]}
        shots.append(chat("a is " + "a" * 60 + "!", response_format=json_format(schema)))
        shots.append(chat("a is " + "a" * 60 + "!", tools=[tool("f", schema)], tool_choice="required"))
    return shots


@kind()
def schema_of_long_enum(size: float) -> list[Shot]:
    """An enum of a hundred thousand values, and a list that wants each of them once."""
    values = [f"value {number}" for number in range(int(100_000 * size))]
    schema = {"type": "array", "items": {"enum": values}, "uniqueItems": True, "minItems": len(values)}
    top = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return [
        chat("value 7", response_format=json_format(top)),
        chat("value 7", tools=[tool("f", top)], tool_choice="required"),
    ]


@kind()
def schema_of_bounds(size: float) -> list[Shot]:
    """Lengths, numbers of items and members that are far beyond anything."""
    huge = int(10**9 * size)
    shots = []
    for one in (
        {"type": "string", "minLength": huge},
        {"type": "array", "minItems": huge},
        {"type": "object", "minProperties": huge},
        {"type": "integer", "multipleOf": 7, "minimum": 10**300},
        {"type": "string", "format": "uuid", "minLength": huge},
        {"type": "array", "contains": {"type": "integer"}, "minContains": huge},
    ):
        top = {"type": "object", "properties": {"a": one}, "required": ["a"]}
        shots.append(chat(response_format=json_format(top)))
        shots.append(chat(tools=[tool("f", top)], tool_choice="required"))
    return shots


# ---- text -------------------------------------------------------------------------------------------------------

_TEXTS = (
    "call the tool ",
    "a",
    "« ",
    "''",
    '"a" ',
    "e\u0301",
    "中文",
    "\ufdfa",
    "1,2,",
    "key: value\n",
    "`",
    "x=1 ",
    "- [ ",
    "{",
)


@kind()
def prompt_beside_tools(size: float) -> list[Shot]:
    """Prompts of every kind of repeated text beside 128 tools."""
    parameters = {"type": "object", "properties": {f"p{number}": {"type": "string"} for number in range(20)}}
    tools = [tool(f"call_the_tool_{number}", parameters) for number in range(128)]
    return [chat(text * int(200_000 * size / len(text)), tools=tools) for text in _TEXTS]


@kind()
def prompt_for_json(size: float) -> list[Shot]:
    """The same prompts where JSON is wanted."""
    wanted = {"type": "json_object"}
    return [chat("JSON " + text * int(500_000 * size / len(text)), response_format=wanted) for text in _TEXTS]


@kind()
def prompt_of_megabytes(size: float) -> list[Shot]:
    """Prompts of 20 MB: chat, completions, responses, moderations, embeddings."""
    text = "中文 and words; " * int(1_200_000 * size)
    return [
        chat(text),
        chat(text, stream=True, stream_options={"include_usage": True}),
        ask("/v1/completions", model="m", prompt=text, echo=True, logprobs=5),
        ask("/v1/responses", model="gpt-4o", input=text),
        ask("/v1/moderations", input=text),
        ask("/v1/embeddings", model="text-embedding-3-small", input=text),
    ]


@kind()
def stop_sequences(size: float) -> list[Shot]:
    """Stop sequences of megabytes, and biases for every token."""
    return [
        chat(stop=["powered by" + "x" * int(5_000_000 * size)] * 4),
        chat(logit_bias={str(number): 1 for number in range(int(300_000 * size))}),
    ]


# ---- outputs ----------------------------------------------------------------------------------------------------


@kind()
def choices_with_logprobs(size: float) -> list[Shot]:
    """128 choices, each token with twenty others beside it, of an echo of a long prompt."""
    text = "word " * int(100_000 * size)
    return [
        chat(n=128, logprobs=True, top_logprobs=20),
        chat(f"Repeat: {text}", n=128, logprobs=True, top_logprobs=20, stream=True),
        ask("/v1/completions", model="m", prompt=text, n=128, best_of=128, echo=True, logprobs=5),
        ask("/v1/completions", model="m", prompt=[text] * 20, n=128, echo=True, logprobs=5),
    ]


@kind()
def embeddings_of_many_inputs(size: float) -> list[Shot]:
    """2,048 inputs at the most dimensions, as words and as tokens."""
    count = max(1, int(2_048 * size))
    return [
        ask("/v1/embeddings", model="text-embedding-3-large", input=["a few words"] * count, dimensions=3_072),
        ask("/v1/embeddings", model="text-embedding-3-large", input=[[1, 2, 3]] * count, encoding_format="base64"),
        ask("/v1/embeddings", model="text-embedding-3-large", input=list(range(int(300_000 * size)))),
    ]


@kind()
def pictures_at_their_largest(size: float) -> list[Shot]:
    """Ten pictures of 4096 by 4096 full of small letters, in each format, and one with partial ones in the stream."""
    side = "4096x4096" if size >= 1 else "1024x1024"
    prompt = "".join(chr(0x4E00 + number * 7919 % 20_000) for number in range(int(32_000 * size)))
    shots = [
        ask("/v1/images/generations", model="gpt-image-2", prompt=prompt, n=10, size=side, output_format=name)
        for name in ("png", "jpeg", "webp")
    ]
    streamed = {"stream": True, "partial_images": 3, "size": side}
    return [*shots, ask("/v1/images/generations", model="gpt-image-2", prompt=prompt, **streamed)]


@kind()
def speech_of_long_texts(size: float) -> list[Shot]:
    """The longest text that is read out, in every format."""
    return [
        ask(
            "/v1/audio/speech",
            model="tts-1",
            voice="alloy",
            input="word " * int(819 * size),
            speed=0.25,
            response_format=name,
        )
        for name in ("mp3", "opus", "aac", "flac", "wav", "pcm")
    ]


# ---- media ------------------------------------------------------------------------------------------------------


def _transcribe(name: str, content: bytes) -> Shot:
    return form("/v1/audio/transcriptions", ("model", b"whisper-1"), ("file", name, content))


def _picture(content: bytes) -> list[Shot]:
    url = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    return [
        chat([{"type": "image_url", "image_url": {"url": url}}]),
        form("/v1/images/edits", ("model", b"gpt-image-1"), ("prompt", b"p"), ("image", "i.png", content)),
        form("/v1/images/variations", ("model", b"dall-e-2"), ("image", "i.png", content)),
    ]


@kind()
def pictures_that_are_none(size: float) -> list[Shot]:
    """A JPEG of nothing but ff, a PNG and a WebP of tiny chunks, a GIF of empty blocks."""
    count = int(20 * MEGABYTE * size)
    png = b"\x89PNG\r\n\x1a\n" + (b"\0\0\0\0tEXt" + b"\0\0\0\0") * (count // 12)
    webp = b"RIFF" + struct.pack("<I", count) + b"WEBP" + b"ABCD\0\0\0\0" * (count // 8)
    deflated = zlib.compress(b"\0" * count, 9)
    bomb = _png_chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 6, 0, 0, 0)) + _png_chunk(b"IDAT", deflated)
    pictures = [
        b"\xff\xd8" + b"\xff" * count,
        b"\xff\xd8" + b"\xff\xe0\0\2" * (count // 4),
        png,
        webp,
        b"GIF89a" + b"\1\0\1\0\0\0\0" + b"!\xfe\0" * (count // 3),
        b"\x89PNG\r\n\x1a\n" + bomb,
    ]
    return [shot for content in pictures for shot in _picture(content)]


def _png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


@kind()
def sounds_that_are_none(size: float) -> list[Shot]:
    """WAV, FLAC, Ogg, MP3, ADTS, MP4 and WebM of the smallest elements, and of elements in elements."""
    count = int(20 * MEGABYTE * size)
    box = b"\0\0\0\x08free"
    nested = b""
    for _ in range(min(2_000, count // 100)):
        nested = struct.pack(">I", len(nested) + 8) + b"moov" + nested
    ebml = b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff"
    sounds = {
        "a.wav": b"RIFF\xff\xff\xff\xffWAVE" + b"abcd\0\0\0\0" * (count // 8),
        "b.wav": b"RIFF" * (count // 4),
        "a.flac": b"fLaC" + b"\1\0\0\0" * (count // 4),
        "a.ogg": b"OggS\0\2" + b"\0" * 20 + b"\0" + b"OggS" * (count // 4),
        "a.mp3": b"\xff\xfb\x10\0" * (count // 4),
        "b.mp3": b"\xff" * count,
        "a.aac": b"\xff\xf1\x50\x80\0\xff\xfc" * (count // 7),
        "a.m4a": b"\0\0\0\x10ftypM4A \0\0\0\0" + box * (count // 8),
        "b.m4a": b"\0\0\0\x10ftypM4A \0\0\0\0" + nested,
        "a.webm": ebml + b"\xec\x80" * (count // 2),
        "b.webm": ebml + b"\x1f\x43\xb6\x75\x01\xff\xff\xff\xff\xff\xff\xff" * (count // 12),
    }
    return [_transcribe(name, content) for name, content in sounds.items()]


@kind()
def archives(size: float) -> list[Shot]:
    """A ZIP that names one block a thousand times, one that unpacks to gigabytes, one of many empty files."""
    many = io.BytesIO()
    with zipfile.ZipFile(many, "w") as archive:
        for number in range(int(60_000 * size)):
            archive.writestr(f"{number}", b"")
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("SKILL.md", "w", force_zip64=True) as entry:
            for _ in range(int(500 * size) or 1):
                entry.write(b"\0" * MEGABYTE)
    manifest = b"---\n" + b"name: a\n" * int(2_000_000 * size) + b"---\n"
    contents = [
        many.getvalue(),
        bomb.getvalue(),
        _zip_of_one_block(int(60_000 * size)),
        _zip_of({"SKILL.md": manifest}),
    ]
    return [form("/v1/skills", ("files[]", "s.zip", content)) for content in contents]


def _zip_of(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return made.getvalue()


def _zip_of_one_block(count: int) -> bytes:
    """Return an archive whose directory has `count` names for the same megabyte of zeros."""
    one = _zip_of({"aaaa": b"\0" * MEGABYTE})
    start = one.index(b"PK\1\2")
    end = one.index(b"PK\5\6")
    entry = one[start:end]
    name_at = entry.index(b"aaaa")
    count = min(count, 65_535)
    directory = b"".join(entry[:name_at] + b"%04x" % number + entry[name_at + 4 :] for number in range(count))
    tail = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(directory), start, 0)
    return one[:start] + directory + tail


# ---- what is kept -----------------------------------------------------------------------------------------------


@kind()
def uploads(size: float) -> list[Shot]:
    """Files of 20 MB, thirty of them."""
    return [file(b"x" * int(20 * MEGABYTE * size)) for _ in range(30)]


@kind()
def search_over_chunks(size: float) -> list[Shot]:
    """A vector store of one file of 20 MB in the smallest chunks, searched by a long question."""
    text = "".join(f"word{number % 997} " for number in range(int(2_000_000 * size))).encode()
    chunking = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 50}}
    return [
        file(text, "f.txt", "assistants"),
        ask("/v1/vector_stores", True, file_ids=["ID"], chunking_strategy=chunking),
        ask("/v1/vector_stores/ID/search", True, query="word1 word2 " * int(5_000 * size), max_num_results=50),
    ]


@kind()
def batch_of_many_lines(size: float) -> list[Shot]:
    """A batch of fifty thousand requests, of which each makes another batch."""
    line = {"custom_id": "c", "method": "POST", "url": CHAT}
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
    lines = "\n".join(
        json.dumps({**line, "custom_id": str(number), "body": body}) for number in range(int(50_000 * size))
    )
    return [
        file(lines.encode(), "f.jsonl", "batch"),
        ask("/v1/batches", True, input_file_id="ID", endpoint=CHAT, completion_window="24h"),
        file(b"{}\n" * int(10_000_000 * size), "f.jsonl", "batch"),
        ask("/v1/batches", True, input_file_id="ID", endpoint=CHAT, completion_window="24h"),
    ]


@kind()
def references_to_items(size: float) -> list[Shot]:
    """Ten thousand references to items of a conversation, and a chain of responses."""
    items = [{"type": "message", "role": "user", "content": f"m{number}"} for number in range(20)]
    many = [{"type": "item_reference", "id": f"msg_{number}"} for number in range(int(100_000 * size))]
    shots = [ask("/v1/conversations", items=items)]
    shots.append(ask("/v1/responses", model="gpt-4o", input=many))
    shots.append(ask("/v1/responses", model="gpt-4o", input="Hello"))
    long_text = "word " * int(20_000 * size)
    shots += [ask("/v1/responses", True, model="gpt-4o", input=long_text, previous_response_id="ID") for _ in range(60)]
    return shots


@kind()
def long_lists(size: float) -> list[Shot]:
    """Thousands of objects with metadata, listed and searched."""
    metadata = {f"key{number}": "v" * 500 for number in range(16)}
    shots = [ask("/v1/conversations", metadata=metadata) for _ in range(int(2_000 * size))]
    shots += [Shot("/v1/assistants?limit=100&order=asc", method="GET"), Shot("/v1/files?limit=10000", method="GET")]
    return shots


# ---- short requests about what is long ------------------------------------------------------------------------------


@kind()
def long_threads(size: float) -> list[Shot]:
    """A thread of thousands of messages, a thread of long ones, and runs on them."""
    many = [{"role": "user", "content": "word " * 100}] * int(8_000 * size)
    long_parts = [{"type": "text", "text": "word " * int(40_000 * size)}] * 20
    shots = []
    for messages in (many, [{"role": "user", "content": long_parts}] * 12):
        run = {"assistant_id": "ID", "thread": {"messages": messages}}
        shots += [ask("/v1/assistants", model="gpt-4o"), ask("/v1/threads/runs", True, **run)]
        shots += [ask("/v1/threads/runs", True, stream=True, **run)]
    return [*shots, Shot("/v1/assistants?limit=100", method="GET")]


@kind()
def long_pages(size: float) -> list[Shot]:
    """A conversation of large items, listed, and answered by short requests."""
    item = {"type": "message", "role": "user", "content": "word " * int(600_000 * size)}
    listed = Shot("/v1/conversations/ID/items?limit=100", method="GET", needs_id=True)
    return [
        ask("/v1/conversations", items=[item] * 20),
        listed,
        ask("/v1/responses", True, model="m", input="Hello", conversation="ID"),
        ask("/v1/responses", True, model="m", input="Hello", conversation="ID", stream=True),
        listed,
    ]


@kind()
def streams_that_repeat(size: float) -> list[Shot]:
    """Streams whose events tell large instructions and tools again and again."""
    tools = [
        {"type": "function", "name": f"f{number}", "description": "word " * int(80_000 * size), "parameters": {}}
        for number in range(100)
    ]
    asked = {"model": "m", "input": "Hello", "tools": tools, "stream": True}
    return [
        ask("/v1/responses", **asked),
        ask("/v1/responses", background=True, **asked),
        ask("/v1/responses", model="m", input="Hello", instructions="word " * int(400_000 * size), stream=True),
    ]


@kind()
def templates_of_braces(size: float) -> list[Shot]:
    """Graders whose templates are nothing but braces, or name a long text again and again."""
    path = "/v1/fine_tuning/alpha/graders/run"
    long_text = "word " * int(200_000 * size)
    return [
        ask(
            path,
            grader={"type": "string_check", "name": "g", "operation": "eq", "input": text, "reference": text},
            model_sample=long_text,
            item={"text": long_text},
        )
        for text in (
            "{{" * int(1_000_000 * size),
            "{{item." * int(500_000 * size),
            "{{item.text}}" * int(10_000 * size),
        )
    ]


@kind("mock", "dashscope")
def coded_bodies(size: float) -> list[Shot]:
    """Bodies under gzip that become large: spaces, empty lists, many members, and more than may be."""
    begin = b'{"model":"gpt-4o","messages":[{"role":"user","content":"Hello"}]'
    bodies = [
        begin + b" " * int(60 * MEGABYTE * size) + b"}",
        begin + b',"metadata":[' + b"[]," * int(20 * MEGABYTE * size) + b"[]]}",
        b"\0" * int(300 * MEGABYTE * size),
    ]
    coded = [gzip.compress(body, 1) for body in bodies]
    coded.append(gzip.compress(b"") * int(100_000 * size))
    azure = "/openai/deployments/gpt-4o/chat/completions?api-version=1"
    return [Shot(path, body, fields=(("Content-Encoding", "gzip"),)) for path in (CHAT, azure) for body in coded]


@kind("mock", "dashscope")
def azures_paths(size: float) -> list[Shot]:
    """Long bodies into which the model of the path is put."""
    messages = [{"role": "user", "content": "word " * int(400_000 * size)}] * 20
    path = "/openai/deployments/gpt-4o/chat/completions?api-version=1"
    return [ask(path, messages=messages), ask("/", messages=messages)]


@kind()
def native_calls(size: float) -> list[Shot]:
    """Long calls of DashScope's own API."""
    text = "word " * int(1_000_000 * size)
    generation = "/api/v1/services/aigc/text-generation/generation"
    embedding = "/api/v1/services/embeddings/text-embedding/text-embedding"
    said = [{"role": "user", "content": f"Repeat: {text}"}]
    return [
        ask(generation, model="qwen-plus", input={"prompt": text}),
        ask(generation, model="qwen-plus", input={"messages": said}, parameters={"result_format": "message", "n": 4}),
        ask(generation, model="qwen-plus", input={"messages": said[:1] * int(1_000 * size)}),
        ask(embedding, model="text-embedding-v4", input={"texts": ["a b c"] * int(100_000 * size)}),
        ask("/api/v1/services/rerank/text-rerank/text-rerank", model="gte-rerank", input={
            "query": text, "documents": [text] * 4}),
    ]  # fmt: skip


# ---- talks over WebSockets --------------------------------------------------------------------------------------

REALTIME = "/v1/realtime?model=gpt-realtime"


def _manual(**more: Any) -> dict[str, Any]:
    """Return an update after which the client says where speech ends."""
    audio = {"input": {"turn_detection": None}}
    return {"type": "session.update", "session": {"type": "realtime", "audio": audio, **more}}


def _said(text: str, **more: Any) -> dict[str, Any]:
    content = [{"type": "input_text", "text": text}]
    return {"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": content}, **more}


@kind()
def realtime_long_sound(size: float) -> list[Shot]:
    """Sound of ten megabytes at once, with speech that begins and ends all the time; committed, told and cut."""
    whole = int(15 * MEGABYTE * size) // 2 * 2
    loud = b"\x00\x70\x00\x90" * 960
    speech = (loud * 2 + bytes(len(loud) * 3)) * (whole // (5 * len(loud)) + 1)
    append = {"type": "input_audio_buffer.append", "audio": base64.b64encode(speech[:whole]).decode()}
    quiet = {"type": "input_audio_buffer.append", "audio": base64.b64encode(bytes(whole)).decode()}
    item = {"id": "a", "type": "message", "role": "user", "content": [{"type": "input_audio", "audio": quiet["audio"]}]}
    told = [{"type": "conversation.item.retrieve", "item_id": "a"}] * 4
    cut = {"type": "conversation.item.truncate", "item_id": "a", "content_index": 0, "audio_end_ms": 1}
    cuts = [{**cut, "audio_end_ms": whole // 48 - number} for number in range(20)]
    transcripts = {"audio": {"input": {"turn_detection": None, "transcription": {"model": "whisper-1"}}}}
    return [
        talk(REALTIME, append, append),
        talk(
            REALTIME,
            _manual(),
            quiet,
            {"type": "input_audio_buffer.commit"},
            quiet,
            {"type": "input_audio_buffer.clear"},
        ),
        talk(REALTIME, {"type": "conversation.item.create", "item": item}, *told, *cuts, {"type": "response.create"}),
        talk(REALTIME, {"type": "session.update", "session": {"type": "realtime", **transcripts}}, append),
        talk(
            "/v1/realtime/translations?model=gpt-realtime-translate",
            {**append, "type": "session.input_audio_buffer.append"},
        ),
    ]


@kind()
def realtime_small_sounds(size: float) -> list[Shot]:
    """Sound in events of a few bytes: tens of thousands of them in a buffer that fills."""
    small = {"type": "input_audio_buffer.append", "audio": base64.b64encode(bytes(3000)).decode()}
    return [talk(REALTIME, _manual(), *[small] * int(5_000 * size))]


@kind()
def realtime_many_items(size: float) -> list[Shot]:
    """Thousands of items, each put before all others; told, deleted from the end, and answered again and again."""
    count = int(5_000 * size)
    items = [_said(f"word {number}", previous_item_id="root") for number in range(count)]
    for number, item in enumerate(items):
        item["item"]["id"] = f"i{number}"
    first = max(0, count - 1000)
    told = [{"type": "conversation.item.retrieve", "item_id": f"i{number}"} for number in range(first, count)]
    gone = [{"type": "conversation.item.delete", "item_id": f"i{number}"} for number in range(first, count)]
    answers = [{"type": "response.create", "response": {"conversation": "none"}}] * 50
    references = {
        "conversation": "none",
        "input": [{"type": "item_reference", "id": f"i{first}"}] * int(100_000 * size),
    }
    return [talk(REALTIME, *items, *answers, {"type": "response.create", "response": references}, *told, *gone)]


@kind()
def realtime_large_texts(size: float) -> list[Shot]:
    """Items of megabytes of words, instructions as long, and responses to all of it."""
    text = "call get_a with value 17, please. " * int(300_000 * size)
    wide = "\u4e2d\u6587 " * int(1_000_000 * size)
    create = {"type": "response.create"}
    output = {
        "type": "conversation.item.create",
        "item": {"type": "function_call_output", "call_id": "c", "output": text},
    }
    cancel = {"type": "response.cancel"}
    return [
        talk(REALTIME, _manual(instructions=text), *[_said(text), create, cancel, _said(wide), create, cancel] * 2),
        talk(REALTIME, output, create, cancel),
        talk(REALTIME, *[{**create, "response": {"conversation": "none", "instructions": text}}] * 3),
    ]


@kind()
def realtime_large_sessions(size: float) -> list[Shot]:
    """Sessions of very many tools, of large schemas and of long words, told again with each update, and answered."""
    many = [
        {"type": "function", "name": f"get_{number}", "parameters": {"type": "object"}}
        for number in range(int(50_000 * size))
    ]
    names = {f"p{number}": {"type": "string", "enum": [f"e{number}"]} for number in range(int(100_000 * size))}
    large = {
        "type": "function",
        "name": "get_a",
        "parameters": {"type": "object", "properties": names, "required": [*names]},
    }
    nested: dict[str, Any] = {"type": "string"}
    for _ in range(30):
        nested = (
            {"type": "object", "properties": {"a": nested, "b": {"anyOf": [nested] * 2}}, "required": ["a", "b"]}
            if len(json.dumps(nested)) < 4_000_000 * size
            else nested
        )
    deep = {"type": "function", "name": "get_b", "parameters": nested}
    answer = [_said("call get_a and get_b, get_1, get_2"), {"type": "response.create"}]
    small = {"type": "session.update", "session": {"type": "realtime", "audio": {"output": {"speed": 1.0}}}}
    update = [_manual(tools=tools, tool_choice="required") for tools in (many, [large], [deep])]
    return [talk(REALTIME, one, *[small] * 10, *answer) for one in update]


@kind()
def realtime_deep_and_many_values(size: float) -> list[Shot]:
    """Messages of brackets in brackets, of millions of values, and of names that are all different."""
    lists = b'{"type":"session.update","a":[' + b"[]," * int(6_000_000 * size) + b"0]}"
    names = (
        b'{"type":"session.update"' + b"".join(b',"%x":0' % number for number in range(int(1_500_000 * size))) + b"}"
    )
    deep = b"[" * int(20_000_000 * size)
    short = [frame(b"[]")] * int(50_000 * size)
    return [talk(REALTIME, frame(lists), frame(names), frame(deep)), talk(REALTIME, *short)]


@kind()
def frames_of_websockets(size: float) -> list[Shot]:
    """Messages in frames of a byte, empty ones among them, and tens of thousands of pings."""
    count = int(200_000 * size)
    pieces = frame(b"{", 0x01) + frame(b" ", 0x00) * count + frame(b"", 0x00) * count + frame(b"}", 0x80)
    return [
        talk(REALTIME, pieces),
        talk(REALTIME, frame(b"p" * 100, 0x89) * count, frame(b"", 0x8A) * count),
        talk(REALTIME, frame(b" " * int(22_000_000 * size))),
    ]


@kind()
def responses_over_a_websocket(size: float) -> list[Shot]:
    """Responses to megabytes of input, as many as may wait, each behind the one before it."""
    text = "call get_a with value 17, please. " * int(200_000 * size)
    large = {"type": "response.create", "model": "gpt-4o", "input": text}
    many = {
        "type": "response.create",
        "model": "gpt-4o",
        "input": [{"role": "user", "content": "a"}] * int(100_000 * size),
    }
    inject = {"type": "response.inject", "response_id": "r", "input": many["input"]}
    return [talk("/v1/responses", large, many, *[large] * 3, inject, *[{**large, "input": "a"}] * 40)]


@kind()
def live_sessions(size: float) -> list[Shot]:
    """A live session with very many triggers and questions, and sound in which speech ends again and again."""
    questions = [{"id": f"q{number}", "type": "boolean", "question": "a?"} for number in range(int(20_000 * size))]
    trigger = {"event_type": "session.input_transcript.delta", "decisions": {"questions": questions[:40]}}
    session = {"model": "gpt-live", "triggers": [trigger] * int(5_000 * size)}
    delegation = {"type": "decisions", "decisions": {"questions": questions}}
    loud = b"\x00\x70\x00\x90" * 960
    speech = base64.b64encode((loud * 2 + bytes(len(loud) * 12)) * int(100 * size + 1)).decode()
    sound = {"type": "session.input_audio.append", "audio": speech}
    decide = [{"type": "decision.create", "event_id": f"e{number}"} for number in range(int(200 * size) + 1)]
    play = {
        "type": "session.output_audio.fixture.play",
        "audio": base64.b64encode(bytes(int(2_000_000 * size) // 2 * 2)).decode(),
    }
    start = {"type": "session.start", "session": session}
    return [
        talk("/v1/live/sessions", start, sound, play),
        talk(
            "/v1/live/sessions",
            {"type": "session.start", "session": {"model": "gpt-live", "delegation": delegation}},
            *decide,
        ),
    ]


def all_shots(size: float) -> Iterator[tuple[str, Shot]]:
    """Return every shot of every kind, with the kind's name."""
    for one in KINDS.values():
        for shot in one.shots(size):
            yield one.name, shot


# ---- many that stay ---------------------------------------------------------------------------------------------


@kind("mock", "relay", crowd=200)
def messages_without_an_end(size: float) -> list[Shot]:
    """Two hundred WebSockets, each with twenty megabytes of a message that ends never."""
    whole = frame(b'{"' + b"x" * int(23_000_000 * size))
    return [talk(REALTIME.replace("gpt-realtime", "gpt-4o"), whole[: len(whole) * 20 // 23], closing=b"")]


@kind(crowd=100)
def sound_that_waits(size: float) -> list[Shot]:
    """A hundred sessions, each with fifteen megabytes of sound that nobody commits."""
    append = {"type": "input_audio_buffer.append", "audio": base64.b64encode(bytes(int(MEGABYTE * size))).decode()}
    return [talk(REALTIME, _manual(), *[append] * 15, closing=b"")]


@kind(crowd=100)
def sockets_that_read_nothing(size: float) -> list[Shot]:
    """A hundred sessions that have sixteen megabytes told ten times, and read none of it."""
    sound = base64.b64encode(bytes(int(12 * MEGABYTE * size))).decode()
    item = {"id": "a", "type": "message", "role": "user", "content": [{"type": "input_audio", "audio": sound}]}
    told = {"type": "conversation.item.retrieve", "item_id": "a"}
    return [talk(REALTIME, {"type": "conversation.item.create", "item": item}, *[told] * 10, closing=b"")]
