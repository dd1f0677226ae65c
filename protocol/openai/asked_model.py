"""Where a request names its model, for who routes by it and for who replaces it.

It stands in a JSON body, in a part of a form, or in the query (realtime connections, lists of some objects). A body
comes first, and before it the deployment that one of Azure's addresses names. What kind of body it is, its Content-Type
says; one without that counts as JSON, which it is with clients that leave it out.

Many servers do not look at the Content-Type, and `curl -d` says of JSON that it is a browser's form. So under types
that are no JSON the beginning of a body tells what it is. What two servers would read in two ways is refused.
"""

from __future__ import annotations

import re
import typing
import urllib.parse

from protocol.errors import ApiError
from protocol.exchange import LONG_BODY, Request
from protocol.on_demand import load
from protocol.openai.azure import azure_model
from protocol.wire.gathering import stretches
from protocol.wire.http1.messages import Fields

#: json: it says so, or says nothing. form: multipart. pairs: a browser's form. loose: a type that JSON is sent under by
#: mistake. other: what nobody takes for JSON without ignoring its type.
BodyKind = typing.Literal["json", "form", "pairs", "loose", "other"]

_LOOSE_TYPES = frozenset(("application/octet-stream", "binary/octet-stream", "application/unknown", "*/*"))

# JSON is UTF-8 (RFC 8259 §8.1). The others are what libraries say of a text that is ASCII, or say by habit.
_CHARSET = re.compile(r"""charset\s*=\s*["']?([^\s"';,]*)""", re.IGNORECASE)
_CHARSETS = frozenset(("utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin1", ""))

_BEFORE_VALUE = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*")

# Some servers part a query at semicolons, too.
_SEPARATORS = re.compile("([&;])")


def body_kind(fields: Fields) -> BodyKind:
    """Return what a body is by its Content-Type, as far as models are concerned.

    ApiError 400 for several types, of which each server takes another; 415 for a charset other than UTF-8, and for a
    multipart type that is no form.
    """
    content_type = fields.get("content-type")
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "application/json" == content_type:
        return "json"
    if "," in media_type or fields.count("content-type") > 1:
        raise ApiError(400, f"There must be one Content-Type, but {content_type[:100]!r} came.")
    if media_type == "multipart/form-data":
        return "form"
    if media_type.startswith("multipart/"):
        raise ApiError(415, f"Of the multipart types only multipart/form-data is taken, but {media_type[:100]!r} came.")
    charset = _CHARSET.search(content_type)
    if charset is not None and charset[1].lower() not in _CHARSETS:
        raise ApiError(415, f"The body must be UTF-8, but its charset is {charset[1][:100]!r}.")
    if media_type.endswith("json") or not media_type:
        return "json"
    if media_type == "application/x-www-form-urlencoded":
        return "pairs"
    return "loose" if media_type in _LOOSE_TYPES or media_type.startswith("text/") else "other"


def name_pattern(text: str) -> re.Pattern[str]:
    """Compile a pattern for names of models: `*` is any run of characters, `?` any single one."""
    return re.compile(re.escape(text).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)


def begins_as(body: bytes) -> typing.Literal["object", "value", "other"]:
    """Tell by a body's beginning what a JSON parser may find in it: an object, another value, or nothing.

    Where the beginning is white space, or may be UTF-16 or UTF-32, which Python's json also reads, it may be an object.
    """
    if body.startswith(b"{"):  # as nearly always: a sixth of what the rest takes
        return "object"
    at = _before_value(body)
    begin = body[at : at + 4]
    if begin[:1] in (b"", b"{") or b"\0" in begin or begin[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "object"
    return "value" if begin[:1] in b'["-0123456789tfn' else "other"


def _before_value(body: bytes) -> int:
    match = _BEFORE_VALUE.match(body)
    return match.end() if match is not None else 0


def decoded_body(request: Request, body: bytes, most_bytes: int) -> bytes:
    """Return a request's body without its Content-Encoding, held for the request beside what came.

    ApiError 503 where there is no room for it; 400, 413 or 415 as protocol/wire/content_coding.py says.
    """
    coding = request.fields.get("content-encoding")
    if not coding:
        return body
    (decode_content,) = load("encoded body")
    decoded: bytes = decode_content(coding, body, most_bytes, request.hold)
    return decoded


def asked_model(request: Request, most_bytes: int) -> str:
    """Return the model that a held request names, "" where it names none that can be read.

    `most_bytes` bounds an encoded body. ApiError 400 for a body that is not what its Content-Type says, and what
    `body_kind` and `decoded_body` raise.
    """
    deployment = azure_model(request.path, request.head.query)
    if deployment or not request.body:
        return deployment or query_model(request.head.query)
    kind = body_kind(request.fields)
    body = decoded_body(request, request.body, most_bytes)
    try:
        return _model_in(request, kind, body)
    finally:
        if body is not request.body:
            request.let_go(len(body))  # whoever needs it decodes it anew


def _model_in(request: Request, kind: BodyKind, body: bytes) -> str:
    if kind == "form":
        (model_rewriter,) = load("form with a model")
        form = model_rewriter(request.fields.get("content-type"), _unchanged)
        for piece in stretches(body):
            form.feed(bytes(piece))  # what comes out is the form again, which nobody needs
        return str(form.model or "")
    if kind == "json" and body is request.body:
        if len(body) > LONG_BODY:
            # A backend that passes the body on never builds its value.
            (find_model,) = load("JSON with a model")
            found = find_model(body)
            if found is not None:
                return str(found[0])
        value = request.json()
        model = value.get("model") if type(value) is dict else None
        return model if type(model) is str else ""
    if begins_as(body) == "object":
        (find_model,) = load("JSON with a model")
        found = find_model(body)
        return found[0] if found is not None else ""
    if kind == "pairs":
        return query_model(body.decode("latin-1"))
    return query_model(request.head.query)


def head_model(request: Request) -> str:
    """Return the model that a request's head alone names, "" for none."""
    return azure_model(request.path, request.head.query) or query_model(request.head.query)


def query_model(query: str) -> str:
    """Return the model that a query names, "" for none; the last one counts."""
    model = ""
    if "=" not in query:
        return model
    for parameter in _SEPARATORS.split(query)[::2]:
        name, _, value = parameter.partition("=")
        if _is_model(name):
            model = urllib.parse.unquote_plus(value)
    return model


def with_renamed_model(query: str, rename: typing.Callable[[str], str]) -> str:
    """Return a query with the model that `rename` makes of each one it names; all else stays byte for byte."""
    if "=" not in query:
        return query
    return "".join(_renamed_parameter(part, rename) for part in _SEPARATORS.split(query))


def _renamed_parameter(parameter: str, rename: typing.Callable[[str], str]) -> str:
    name, equals, value = parameter.partition("=")
    if not equals or not _is_model(name):
        return parameter
    asked = urllib.parse.unquote_plus(value)
    sent = rename(asked)
    return parameter if sent == asked else f"{name}={urllib.parse.quote(sent, safe='')}"


def _is_model(name: str) -> bool:
    """Tell whether some server takes a parameter's name for "model": encoded, in any case, as a list's, with spaces."""
    if name == "model":
        return True
    if not 5 <= len(name) <= 100:
        return False
    return urllib.parse.unquote_plus(name).partition("[")[0].strip("\0 \t").lower() == "model"


def _unchanged(model: str) -> str:
    return model
