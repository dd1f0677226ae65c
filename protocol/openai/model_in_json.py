"""Find and replace the model in a JSON body without reading or writing the rest of it.

The relay passes bodies on byte for byte. Only the member "model" of the outermost object matters to it, so the text is
not parsed: a scan keeps to the outermost object's members and leaps over what is inside them.

Theory of operation
-------------------
`_scan_members` goes from member to member. Three means keep it from looking at every byte in Python:

- members that can neither be nor hide the model are passed with one regular expression, as many as a kilobyte holds;
- the end of a long string is found with `bytes.find`, an escaped quote inside it by blanking escapes in bulk;
- a nest (an array or object as a value) is passed in windows of up to 64 kB. With strings and all else taken out, only
  brackets are left of a window, and taking out pairs leaves little but `]]]` and `[[[`, which says whether the nest
  ends within the window. If it does, the window shrinks, down to a few bytes that are walked bracket by bracket.

All is linear in the body's length, needs one window of memory, and never recurses. What is wrong inside a nest or
behind the object stays unseen: the upstream's own parser refuses it. What is wrong among the outermost members ends the
scan, since parsers that forgive it might see other members than the scan does; only a comma before the last brace is
let pass.

The second and the third means cost a round of the loop for each member. More than ten thousand such rounds end the scan
as well: no client sends so many members that are models or that are too big for the first means, and whoever does wants
to keep the relay busy. The scan of a long body is done in turns with everybody else (protocol/budget.py).

Names that come twice
---------------------
RFC 8259 §4 leaves it open which member counts. Python's json, Go and JSON.parse take the last, so `find_model` reports
that one. Others take the first, and Go ignores the case of names as well. `replace_model` therefore replaces the value
of each of them, in whatever case: no parser finds another model.
"""

from __future__ import annotations

import json
import re
import typing
from json.encoder import encode_basestring_ascii

from protocol.budget import spend_turn
from protocol.wire.gathering import joined
from protocol.wire.long_json import SHALLOW_VALUE_PATTERN, STRING_PATTERN

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

# Bounded, since no call of `re` can be interrupted.
_SPACE = rb"[ \t\n\r]{0,65536}"
_OPEN = re.compile(_SPACE + rb"\{")
_CLOSE = re.compile(_SPACE + rb"\}")
_QUOTE = re.compile(_SPACE + rb'"')
_COLON = re.compile(_SPACE + b":" + _SPACE)
_AFTER_MEMBER = re.compile(_SPACE + b"([,}])")

# A number or a literal; which one does not matter. NaN and Infinity are neither, but Python's clients send them.
_SCALAR = re.compile(rb"[-+.0-9A-Za-z]{1,65536}")

# "model" in any case, and with any of its letters escaped.
_MODEL_NAME = (
    rb'"(?:[Mm]|\\u00[46][Dd])(?:[Oo]|\\u00[46][Ff])(?:[Dd]|\\u00[46]4)(?:[Ee]|\\u00[46]5)(?:[Ll]|\\u00[46][Cc])"'
)

# The member "model" as nearly everybody writes it, up to what follows it.
_PLAIN_MODEL = re.compile(
    _SPACE + rb'"model"' + _SPACE + b":" + _SPACE + rb'("[^"\\\x00-\x1f]{0,256}")' + _SPACE + b"([,}])"
)

# The same for the short way, in which Python's json looks at all that is around it. Numbers do not matter there.
_PLAIN_BYTES = 65536
_PLAIN_NAME = b'"model"'
_PLAIN_VALUE = re.compile(rb'"model"[ \t\n\r]{0,16}:[ \t\n\r]{0,16}("[^"\\]{0,256}")')
_ESCAPED_LETTER = b"\\u00"
_OUTLINE = json.JSONDecoder(parse_int=str, parse_float=str)

# Members that are not the model's, with a value that ends soon and is nested three deep at most.
_OTHER_MEMBERS = re.compile(
    rb"(?:[ \t\n\r]*(?!%b)%b[ \t\n\r]*:[ \t\n\r]*%b[ \t\n\r]*(?:,|(?=\})))*"
    % (_MODEL_NAME, STRING_PATTERN, SHALLOW_VALUE_PATTERN)
)

# Within a window without escapes: a string, perhaps cut off by the window's end, or brackets of one direction.
_STRING_OR_BRACKETS = re.compile(rb'"[^"]*"?|[\[{]+|[\]}]+')
_ROUND_UP = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))

_MOST_ROUNDS = 10_000
# Steps (protocol/budget.py) of a round, and how often they are charged. What windows take is charged where they are.
_ROUND_STEPS = 100
_ROUNDS_A_CHARGE = 8

_MEMBERS_BYTES = 1024
_WALK_BYTES = 128
_WINDOW_BYTES = 65536
_STRETCH_BYTES = 1 << 20  # of a long string, searched for its end in one call
_STRETCH_STEPS = 250
_PAIR_PASSES = 8  # of taking out pairs; what they leave, in deep nests, is walked

# A string that says what it shows.
_PLAIN_STRING = re.compile(rb'"[ !#-\[\]-~]{0,256}"')

_QUOTE_BYTE = ord('"')
_BACKSLASH = ord("\\")


class _NotAnObject(Exception):
    """The text is no JSON object, or breaks off."""


class NamedModel(typing.NamedTuple):
    """A member that some parser takes for the model: its string, None for another value, and where the value stands.

    `is_exact` says that its name is "model" in every letter.
    """

    model: typing.Optional[str]
    start: int
    end: int
    is_exact: bool


def named_models(body: bytes) -> list[NamedModel] | None:
    """Return all outermost members named "model" in any case; None when the scan finds that the body is no object.

    More than one means that it depends on the parser which model is asked for.
    """
    plain = _plain_model(body)
    return [NamedModel(*plain, is_exact=True)] if plain is not None else _scanned_models(body)


def _scanned_models(body: bytes) -> list[NamedModel] | None:
    try:
        _, members = _scan_object(body)
        return [NamedModel(_string_value(body[start:end]), start, end, name == "model") for name, start, end in members]
    except _NotAnObject:
        return None


def renamed_plainly(body: bytes, rename: typing.Callable[[str], str]) -> bytes | None:
    """Return a body with what `rename` makes of its model in the model's place, and not a byte changed besides.

    None for a body that is not as nearly all are; of one whose model stays the same object.
    """
    plain = _plain_model(body)
    if plain is None:
        return None
    model, start, end = plain
    sent = rename(model)
    return body if sent == model else b"%b%b%b" % (body[:start], _written(sent), body[end:])


def _plain_model(body: bytes) -> tuple[str, int, int] | None:
    """Return the model of a body that is short and written as nearly all are, and where its value begins and ends.

    None for any other. It is what the scan finds, for half of the instructions: Python's json says that the outermost
    object has a "model". Nothing else in the text is written like that name, in whatever case, and none of its letters
    can be escaped. So the name that is found is that member's.
    """
    if len(body) > _PLAIN_BYTES or _ESCAPED_LETTER in body:
        return None
    lower = body.lower()
    name = lower.find(_PLAIN_NAME)
    if name < 0 or lower.find(_PLAIN_NAME, name + 1) >= 0:
        return None
    value = _PLAIN_VALUE.match(body, name)
    if value is None:
        return None
    try:
        text = body.decode()
        whole, end = _OUTLINE.raw_decode(text)
    except (ValueError, RecursionError):
        return None
    if end != len(text) or type(whole) is not dict or "model" not in whole:
        return None
    return whole["model"], *value.span(1)


def _written(model: str) -> bytes:
    return encode_basestring_ascii(model).encode("ascii")


def find_model(body: bytes) -> tuple[str, int, int] | None:
    """Return the model that a JSON object names, and where its string begins and ends, quotes included.

    None when the scan finds that the body is no JSON object, when it has no outermost "model", or when that is not a
    string. Of several the last counts. Never raises. The body is UTF-8 (RFC 8259 §8.1), with a byte order mark or
    without.
    """
    found = None
    try:
        _, members = _scan_object(body)
        for name, start, end in members:
            if name == "model":
                found = start, end
    except _NotAnObject:
        return None
    if found is None:
        return None
    start, end = found
    model = _string_value(body[start:end])
    return None if model is None else (model, start, end)


def replace_model(body: bytes, model: str, named: NamedModel | None = None) -> bytes:
    """Return the body with `model` as the value of its outermost "model", and not a byte changed besides.

    A value of any type is replaced, and each one where there are several, "Model" and "MODEL" included. Where there is
    no "model" it becomes the first member. A body that is no JSON object comes back as the same object, and no other.
    `named` is the only one of `named_models`, where these have been asked for.
    """
    value = _written(model)
    if named is not None and named.is_exact and len(body) <= _STRETCH_BYTES:
        return b"%b%b%b" % (body[: named.start], value, body[named.end :])
    whole = memoryview(body)
    pieces: list[bytes | memoryview] = []
    at, has_model = 0, False
    try:
        first, members = _scan_object(body)
        for name, start, end in members:
            has_model = has_model or name == "model"
            pieces += (whole[at:start], value)
            at = end
    except _NotAnObject:
        return body
    pieces.append(whole[at:])
    if not has_model:
        comma = b"" if _CLOSE.match(body, first) else b","
        # No span begins before the first member, so the object's opening stands in the first piece.
        pieces[:1] = (b'%b"model":%b%b' % (body[:first], value, comma), pieces[0][first:])
    return joined(pieces)


def _scan_object(body: bytes) -> tuple[int, typing.Iterator[tuple[str, int, int]]]:
    """Return where the members of the object begin, and the iterator over those that are a model's."""
    opening = _OPEN.match(body, len(_BYTE_ORDER_MARK) if body.startswith(_BYTE_ORDER_MARK) else 0)
    if opening is None:
        raise _NotAnObject
    return opening.end(), _scan_members(body, opening.end())


def _scan_members(body: bytes, at: int) -> typing.Iterator[tuple[str, int, int]]:
    """Yield name, start and end of the value of each member that is named "model" in any case; raise _NotAnObject."""
    for number in range(1, _MOST_ROUNDS):
        if not number % _ROUNDS_A_CHARGE:
            spend_turn(_ROUND_STEPS * _ROUNDS_A_CHARGE)
        others = _OTHER_MEMBERS.match(body, at, at + _MEMBERS_BYTES)
        if others is not None:  # as always: it matches nothing, too
            at = others.end()
        plain = _PLAIN_MODEL.match(body, at)
        if plain is not None:
            # A third of what the scan of a usual body takes is spared.
            yield "model", *plain.span(1)
            at = plain.end()
            if plain[2] == b"}":
                return
            continue
        if _CLOSE.match(body, at):
            return
        name_start = _expect(_QUOTE, body, at) - 1
        name_end = _string_end(body, name_start + 1)
        start = _expect(_COLON, body, name_end)
        end = _value_end(body, start)
        name = _model_name(body, name_start, name_end)
        if name:
            yield name, start, end
        at = _expect(_AFTER_MEMBER, body, end)
        if body[at - 1 : at] == b"}":
            return
    raise _NotAnObject


def _expect(pattern: re.Pattern[bytes], body: bytes, at: int) -> int:
    """Return where the pattern ends that must stand at `at`."""
    match = pattern.match(body, at)
    if match is None:
        raise _NotAnObject
    return match.end()


def _model_name(body: bytes, start: int, end: int) -> str:
    """Return the name at this place if it is "model" in any case, however it is escaped, else ""."""
    if not 7 <= end - start <= 32:
        return ""
    name = _string_value(body[start:end]) or ""
    return name if name.lower() == "model" else ""


def _string_value(token: bytes) -> str | None:
    """Return the text of a string token, None for any other token and where its escapes or its UTF-8 are wrong."""
    if not token.startswith(b'"'):
        return None
    if _PLAIN_STRING.fullmatch(token):  # as nearly always: a tenth of what reading JSON takes
        return token[1:-1].decode("ascii")
    try:
        return json.loads(token.decode("utf-8"))
    except ValueError:
        return None


def _value_end(body: bytes, at: int) -> int:
    first = body[at : at + 1]
    if first == b'"':
        return _string_end(body, at + 1)
    if first in (b"{", b"["):
        return _nest_end(body, at)
    return _expect(_SCALAR, body, at)


def _string_end(body: bytes, at: int) -> int:
    """Return the place behind the quote that ends the string whose text begins at `at`."""
    quote = body.find(b'"', at, at + _STRETCH_BYTES)
    if quote < 0:
        quote = _far_quote(body, at + _STRETCH_BYTES)
    if quote >= 0 and body[quote - 1] != _BACKSLASH:
        return quote + 1
    size = _WALK_BYTES
    while True:
        piece = _blank_escapes(body[at : at + size])
        quote = piece.find(b'"')
        if quote >= 0:
            return at + quote + 1
        if not piece:
            raise _NotAnObject
        spend_turn(len(piece) // 50)
        at += len(piece)
        size = min(2 * size, _WINDOW_BYTES)


def _far_quote(body: bytes, at: int) -> int:
    """Return where the first quote is from there on, below 0 where there is none; others have their turns meanwhile."""
    quote = -1
    while quote < 0 and at < len(body):
        spend_turn(_STRETCH_STEPS)
        quote = body.find(b'"', at, at + _STRETCH_BYTES)
        at += _STRETCH_BYTES
    return quote


def _blank_escapes(piece: bytes) -> bytes:
    r"""Return the piece, as long as it was, with `\\` and `\"` made harmless; one broken off by its end is left out."""
    piece = piece.replace(b"\\\\", b"__").replace(b'\\"', b"__")
    return piece[:-1] if piece.endswith(b"\\") else piece


def _nest_end(body: bytes, at: int) -> int:
    """Return the place behind the bracket that closes the one at `at`."""
    depth = 0
    size = _WALK_BYTES
    while True:
        window = _blank_escapes(body[at : at + size])
        if not window:
            raise _NotAnObject
        spend_turn(len(window) // 40)
        if size == _WALK_BYTES:
            length, depth = _walk_window(window, depth)
            if not depth:
                return at + length
        else:
            deeper = _depth_behind(window, depth)
            if not deeper:
                size = max(size // 4, _WALK_BYTES)
                continue
            depth = deeper
        at = _behind_window(body, at, window)
        size = min(2 * size, _WINDOW_BYTES)


def _behind_window(body: bytes, at: int, window: bytes) -> int:
    """Return where the window ends that begins at `at`, or the string that goes on behind it."""
    if window.count(b'"') % 2:
        return _string_end(body, at + window.rfind(b'"') + 1)
    return at + len(window)


def _walk_window(window: bytes, depth: int) -> tuple[int, int]:
    """Return how far the nest goes in the window, and how deep it is there: 0 when it ends."""
    for token in _STRING_OR_BRACKETS.finditer(window):
        start, end = token.span()
        first = window[start]
        if first == _QUOTE_BYTE:
            continue
        if first in b"[{":
            depth += end - start
        elif end - start >= depth:
            return start + depth, 0
        else:
            depth -= end - start
    return len(window), depth


def _depth_behind(window: bytes, depth: int) -> int:
    """Return how deep the nest is behind the window, 0 if it ends within it."""
    outside_strings = b"".join(window.split(b'"')[::2])
    brackets = outside_strings.translate(_ROUND_UP, _NO_BRACKETS)
    for _ in range(_PAIR_PASSES):
        if b"[]" not in brackets:
            break
        brackets = brackets.replace(b"[]", b"")
    spend_turn(len(brackets) // 4)
    return _walk_window(brackets, depth)[1]
