"""What was asked: the key of a request, and how a recording shows it.

Two requests have one key when their method, path and body say the same. In a body the order of JSON members says
nothing, nor does what is made anew each time: ids, UUIDs, dates and the names of files.

A long body is read, shown and compared in pieces, in turns with everybody else (protocol/budget.py). What of it cannot
be shown so, because it is no text or has too many values, is compared byte for byte, and shown by its length and hash.
"""

from __future__ import annotations

import base64
import codecs
import hashlib
import json
import re
import typing
import urllib.parse

from protocol.budget import spend_turn
from protocol.errors import ApiError
from protocol.exchange import LONG_BODY
from protocol.openai.long_json import encode_long_json
from protocol.wire.credentials import is_secret_field, query_without_key
from protocol.wire.json_text import JsonObject
from protocol.wire.long_json import BadJson, parse_long_json
from protocol.wire.multipart import MultipartReader, PartData, PartHead, boundary_of

#: What can be neutral in a key, and how it is known.
NEUTRAL: dict[str, re.Pattern[str]] = {
    "ids": re.compile(r"\b[A-Za-z]{2,20}[-_](?=[A-Za-z]*[0-9])[A-Za-z0-9]{8,64}\b"),
    "uuids": re.compile(r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"),
    "dates": re.compile(
        r"\b(?:19|20)[0-9]{2}-[01][0-9]-[0-3][0-9](?:[T ][0-2][0-9]:[0-5][0-9](?::[0-9.]{2,12})?Z?)?\b"
    ),
    "files": re.compile(r"(?<![\w/.-])(?:[\w.-]*/)+[\w.-]+\.[A-Za-z0-9]{1,8}\b"),
}
_MOST_PARTS = 1000
_SECRET = "***"

#: Bytes of a body that is recorded, unless it is a form: of its files a recording has only the hashes.
MOST_ASKED_BYTES = 8 << 20
# Of a long body: values that are shown, and members of an object that are sorted.
_MOST_VALUES = 100_000
_MOST_SORTED = 10_000
# What is done between two looks at the turn: bytes that are hashed or decoded, characters in which is sought what says
# nothing, members of a value. Then what that costs.
_PIECE_BYTES = 512 * 1024
_WINDOW_CHARACTERS = 8_192
_PIECE_STEPS = 1_000
_MEMBER_STEPS = 4

_FORM_BYTES = 65_536
_FORM_STEPS = 300

_KIND_OF_FORMS = "multipart/form-data"


class Asking(typing.NamedTuple):
    """A request as a recording shows it, what stands for it in the key, and how many bytes its body has."""

    key: str
    shown: JsonObject
    size: int


def is_too_long(content_type: str, body: bytes) -> bool:
    """Tell whether a request is not recorded because of its body."""
    return len(body) > MOST_ASKED_BYTES and _kind_of(content_type) != _KIND_OF_FORMS


def asking(
    method: str, path: str, query: str, content_type: str, body: bytes, neutral: typing.Collection[str] = tuple(NEUTRAL)
) -> Asking:
    """Return what a request asks, which `is_too_long` is not. `neutral` names what says nothing in the key, of NEUTRAL.

    A long body is read in turns with everybody else.
    """
    query = query_without_key(query)
    shown: JsonObject = {"method": method, "path": f"{path}?{query}" if query else path}
    is_long = len(body) > LONG_BODY
    shown.update(_shown_body(content_type, body, is_long=is_long))
    path, _, query = str(shown["path"]).partition("?")
    parameters = sorted(urllib.parse.parse_qsl(query, keep_blank_values=True))
    said = [shown["method"], path, parameters, *(shown.get(name) for name in ("json", "text", "form", "b64"))]
    if is_long:
        said.append(shown.get("hash"))
    return Asking((_long_key if is_long else _short_key)(said, neutral), shown, len(body))


def _short_key(said: list[typing.Any], neutral: typing.Collection[str]) -> str:
    text = json.dumps(said, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    for name in neutral:
        text = NEUTRAL[name].sub(f"<{name}>", text)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _long_key(said: list[typing.Any], neutral: typing.Collection[str]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    _hash_into(digest, encode_long_json(_neutral_value(said, [(NEUTRAL[name], f"<{name}>") for name in neutral])))
    return digest.hexdigest()


_Patterns = typing.Sequence[typing.Tuple[typing.Pattern[str], str]]


def _neutral_value(value: typing.Any, patterns: _Patterns) -> typing.Any:
    """Return what a value says in the key; an object and a list as lists that begin with their marks."""
    spend_turn(_MEMBER_STEPS)
    if isinstance(value, str):
        return _neutral_text(value, patterns)
    if isinstance(value, (list, tuple)):
        return ["[", *(_neutral_value(one, patterns) for one in value)]
    if isinstance(value, dict):
        spend_turn(_MEMBER_STEPS * len(value) if len(value) <= _MOST_SORTED else 0)
        names = sorted(value) if len(value) <= _MOST_SORTED else value
        return ["{", *([_neutral_text(name, patterns), _neutral_value(value[name], patterns)] for name in names)]
    return value


def _neutral_text(text: str, patterns: _Patterns) -> str:
    """Replace what says nothing, in windows that end where a word does."""
    pieces = []
    at = 0
    while at < len(text):
        end = at + _WINDOW_CHARACTERS
        if end < len(text):
            end = text.rfind(" ", at + _WINDOW_CHARACTERS // 2, end) + 1 or end
        piece = text[at:end]
        for pattern, stand_in in patterns:
            piece = pattern.sub(stand_in, piece)
        pieces.append(piece)
        spend_turn(_MEMBER_STEPS + _PIECE_STEPS * len(piece) // _WINDOW_CHARACTERS)
        at = end
    return "".join(pieces)


def _hash_into(digest: typing.Any, data: bytes) -> None:
    for at in range(0, len(data), _PIECE_BYTES):
        digest.update(data[at : at + _PIECE_BYTES])
        spend_turn(_PIECE_STEPS)


def _hashed(body: bytes) -> JsonObject:
    """Return how a body is shown that cannot be read."""
    digest = hashlib.blake2b(digest_size=16)
    _hash_into(digest, body)
    return {"bytes": len(body), "hash": digest.hexdigest()}


def _kind_of(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _shown_body(content_type: str, body: bytes, *, is_long: bool) -> JsonObject:
    if not body:
        return {}
    if _kind_of(content_type) == _KIND_OF_FORMS:
        form = _shown_form(content_type, body)
        if form is not None:
            return {"form": form}
    if is_long:
        return _shown_long(body)
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(body).decode()}
    if text[:1] in ("{", "["):
        try:
            return {"json": without_secrets(json.loads(text))}
        except (ValueError, RecursionError):
            pass
    return {"text": text}


def _shown_long(body: bytes) -> JsonObject:
    if body[:1] in (b"{", b"["):
        try:
            return {"json": without_secrets(parse_long_json(body, _MOST_VALUES))}
        except BadJson:
            return _hashed(body)  # a secret may stand in it
    decoder = codecs.getincrementaldecoder("utf-8")()
    pieces = []
    try:
        for at in range(0, len(body), _PIECE_BYTES):
            pieces.append(decoder.decode(body[at : at + _PIECE_BYTES]))
            spend_turn(_PIECE_STEPS)
        pieces.append(decoder.decode(b"", final=True))
    except UnicodeDecodeError:
        return _hashed(body)
    return {"text": "".join(pieces)}


def without_secrets(value: typing.Any) -> typing.Any:
    """Return a JSON value in which each member that is named as a secret is three stars."""
    spend_turn(_MEMBER_STEPS)
    if isinstance(value, dict):
        return {
            name: _SECRET if isinstance(member, str) and is_secret_field(_field_name(name)) else without_secrets(member)
            for name, member in value.items()
        }
    return [without_secrets(one) for one in value] if isinstance(value, list) else value


def _field_name(name: str) -> str:
    return name.lower().replace("_", "-")


class _Part:
    """A part of a form as it comes: a text is kept as long as there is room for it, of anything else the hash."""

    def __init__(self, head: PartHead) -> None:
        self.shown: JsonObject = {"name": head.name}
        self._is_file = head.filename is not None
        self._digest = hashlib.blake2b(digest_size=16)
        self._pieces: list[bytes] = []
        self._size = 0

    def take(self, data: bytes, *, has_room: bool) -> None:
        """Take a piece of the content."""
        self._size += len(data)
        self._digest.update(data)
        if has_room and not self._is_file:
            self._pieces.append(data)

    def end(self) -> None:
        """Say what it was."""
        content = b"".join(self._pieces)
        if self._is_file:
            self.shown["file"] = "<file>"
        if len(content) < self._size or self._is_file:
            self.shown.update(bytes=self._size, hash=self._digest.hexdigest())
        else:
            is_secret = is_secret_field(_field_name(self.shown["name"]))
            self.shown["value"] = _SECRET if is_secret else content.decode("utf-8", "replace")


def _shown_form(content_type: str, body: bytes) -> list[JsonObject] | None:
    """Return the parts of a form in their order, a file by its length and hash; None for one that cannot be read."""
    parts: list[_Part] = []
    room = LONG_BODY  # for all texts
    try:
        reader = MultipartReader(boundary_of(content_type), max_parts=_MOST_PARTS)
        for at in range(0, len(body) + 1, _FORM_BYTES):
            data = body[at : at + _FORM_BYTES]
            for event in [*reader.feed(data), *(reader.close() if at + _FORM_BYTES > len(body) else ())]:
                spend_turn(_MEMBER_STEPS)
                if isinstance(event, PartHead):
                    parts.append(_Part(event))
                elif isinstance(event, PartData):
                    room -= len(event.data)
                    parts[-1].take(event.data, has_room=room >= 0)
            spend_turn(_FORM_STEPS)
    except ApiError:
        return None
    for part in parts:
        part.end()
    return [part.shown for part in parts]
