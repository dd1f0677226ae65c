"""JSON texts (RFC 8259) as bytes: read strictly, written compactly."""

from __future__ import annotations

import json
import re
import typing

from protocol.budget import spend_turn
from protocol.errors import ApiError
from protocol.wire.long_json import (
    MOST_DEPTH,
    MOST_DIGITS,
    STRICT_JSON,
    BadJson,
    Hold,
    is_deep,
    parse_long_json,
    value_bytes,
)

_BOM = "\ufeff"
_BOM_BYTES = b"\xef\xbb\xbf"

# A text that is shorter cannot be nested too deeply.
_FLAT_BYTES = 2 * MOST_DEPTH
# Up to here Python's json reads a text at once: so many bytes whatever they say, and more where few of them are marks.
_SHORT_BYTES = 65536
_PLAIN_BYTES = 1 << 20
_PLAIN_MARKS = 20_000
# To look for a number is faster than to look for bytes of length 1.
_BRACKET, _BRACE = b"[{"


def parse_json(body: bytes, hold: Hold | None = None) -> typing.Any:
    """Return the value of a request's body, a JSON text (RFC 8259); ApiError 400 that says where it is none.

    A byte order mark before it, which editors and PowerShell write, is passed over (§8.1).
    It may be nested 100 deep, and a long one may have 400,000 values. A long one takes long: it is read in turns, where
    that is how its request is answered (protocol/turns.py). `hold` is told how many bytes the value of one takes in
    memory beside the body, and may raise.
    """
    too_deep = False
    size = len(body)
    if size > _FLAT_BYTES:
        if size > _SHORT_BYTES and (size > _PLAIN_BYTES or _has_many_marks(body)):
            return _parse_long(body, hold)
        if hold is not None and size > _SHORT_BYTES:
            hold(value_bytes(body))
        too_deep = body.count(_BRACKET) + body.count(_BRACE) > MOST_DEPTH and is_deep(body)
    try:
        text = body.decode("utf-8")
        if text[:1] == "{" and not too_deep:
            # The short way: an object from the first byte to the last, 0.7 µs less (CPython 3.11).
            value, end = STRICT_JSON.raw_decode(text)
            if end == len(text):
                return value
        value = STRICT_JSON.decode(text[1:] if text.startswith(_BOM) else text)
        if too_deep:
            raise _too_deep()
        return value
    except UnicodeDecodeError as exc:
        raise _not_json(f"it is not UTF-8 at byte {exc.start}") from exc
    except RecursionError as exc:
        raise _too_deep() from exc
    except (BadJson, json.JSONDecodeError) as exc:
        raise _not_json(str(exc) if body not in (b"", _BOM_BYTES) else "it is empty") from exc
    except ValueError as exc:  # by Python, before it takes the square of the digits in time
        raise _not_json(f"it has a whole number of more than {MOST_DIGITS} digits") from exc


def _has_many_marks(body: bytes) -> bool:
    return body.count(_BRACKET) + body.count(_BRACE) + body.count(b",") > _PLAIN_MARKS


def json_lines(data: bytes) -> typing.Iterator[tuple[int, bytes]]:
    """Give the lines of a JSONL text that are not blank, each with its number, from 1 on.

    A byte order mark before the first is passed over.
    Where the work is done in turns, others have theirs between lines (protocol/turns.py).
    """
    number, at = 1, len(_BOM_BYTES) if data.startswith(_BOM_BYTES) else 0
    while at < len(data):
        blank = _BLANK.match(data, at, at + _SHORT_BYTES)
        if blank is not None and blank.end() > at:
            number += data.count(b"\n", at, blank.end())
            at = blank.end()
            spend_turn((at - blank.start()) // 50)
            continue
        end = data.find(b"\n", at)
        end = len(data) if end < 0 else end
        yield number, data[at:end]
        spend_turn(_LINE_STEPS + (end - at) // 50)
        at = end


_BLANK = re.compile(rb"[ \t\r\n]*")
_LINE_STEPS = 20  # with what is done with a short line


def _parse_long(body: bytes, hold: Hold | None) -> typing.Any:
    try:
        return parse_long_json(body[len(_BOM_BYTES) :] if body.startswith(_BOM_BYTES) else body, hold=hold)
    except BadJson as exc:
        raise _not_json(str(exc)) from exc


def _too_deep() -> ApiError:
    return _not_json(f"it is nested more than {MOST_DEPTH} deep")


def _not_json(reason: str) -> ApiError:
    return ApiError(400, f"We could not parse the JSON body of your request: {reason}.", code="invalid_json")


#: A JSON object as Python's json gives it; what stands in it is for its readers to judge.
JsonObject = typing.Dict[str, typing.Any]

# Nobody writes what has itself within it: to look for that took a fifth of the time (CPython 3.11).
_COMPACT_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False)


def encode_json(value: object) -> bytes:
    """Return compact JSON in UTF-8; a lone surrogate, which UTF-8 cannot hold, stays the escape that it came as.

    Raises RecursionError for what is nested too deeply, TypeError for what is no JSON value.
    """
    return _COMPACT_JSON.encode(value).encode("utf-8", "backslashreplace")


def write_json(value: object) -> str:
    """Return compact JSON as text, for whoever encodes lone surrogates in another way; raises what encode_json does."""
    return _COMPACT_JSON.encode(value)
