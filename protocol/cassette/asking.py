"""What was asked: the key of a request, and how a recording shows it.

Two requests have one key when their method, path and body say the same. In a body the order of JSON members says
nothing, nor does what is made anew each time: ids, UUIDs, dates and the names of files.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import typing
import urllib.parse

from protocol.errors import ApiError
from protocol.wire.credentials import is_secret_field, query_without_key
from protocol.wire.json_text import JsonObject
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


class Asking(typing.NamedTuple):
    """A request as a recording shows it, and what stands for it in the key."""

    key: str
    shown: JsonObject


def asking(
    method: str, path: str, query: str, content_type: str, body: bytes, neutral: typing.Collection[str] = tuple(NEUTRAL)
) -> Asking:
    """Return what a request asks. `neutral` names what says nothing in the key, of NEUTRAL."""
    query = query_without_key(query)
    shown: JsonObject = {"method": method, "path": f"{path}?{query}" if query else path}
    shown.update(_shown_body(content_type, body))
    return Asking(key_of(shown, neutral), shown)


def key_of(shown: JsonObject, neutral: typing.Collection[str]) -> str:
    """Return the key of a request as a recording shows it: 32 hex digits."""
    path, _, query = str(shown["path"]).partition("?")
    parameters = sorted(urllib.parse.parse_qsl(query, keep_blank_values=True))
    said = [shown["method"], path, parameters, *(shown.get(name) for name in ("json", "text", "form", "b64"))]
    text = json.dumps(said, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    for name in neutral:
        text = NEUTRAL[name].sub(f"<{name}>", text)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _shown_body(content_type: str, body: bytes) -> JsonObject:
    if not body:
        return {}
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        form = _shown_form(content_type, body)
        if form is not None:
            return {"form": form}
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


def without_secrets(value: typing.Any) -> typing.Any:
    """Return a JSON value in which each member that is named as a secret is three stars."""
    if isinstance(value, dict):
        return {
            name: _SECRET if isinstance(member, str) and is_secret_field(_field_name(name)) else without_secrets(member)
            for name, member in value.items()
        }
    return [without_secrets(one) for one in value] if isinstance(value, list) else value


def _field_name(name: str) -> str:
    return name.lower().replace("_", "-")


def _shown_form(content_type: str, body: bytes) -> list[JsonObject] | None:
    """Return the parts of a form in their order, a file by its length and hash; None for one that cannot be read."""
    parts: list[JsonObject] = []
    contents: list[list[bytes]] = []
    try:
        reader = MultipartReader(boundary_of(content_type), max_parts=_MOST_PARTS)
        for event in [*reader.feed(body), *reader.close()]:
            if isinstance(event, PartHead):
                parts.append({"name": event.name, **({"file": event.filename} if event.filename is not None else {})})
                contents.append([])
            elif isinstance(event, PartData):
                contents[-1].append(event.data)
    except ApiError:
        return None
    for part, pieces in zip(parts, contents):
        content = b"".join(pieces)
        if "file" in part:
            part["file"] = "<file>"
            part["bytes"] = len(content)
            part["hash"] = hashlib.blake2b(content, digest_size=16).hexdigest()
        else:
            part["value"] = (
                _SECRET if is_secret_field(_field_name(part["name"])) else content.decode("utf-8", "replace")
            )
    return parts
