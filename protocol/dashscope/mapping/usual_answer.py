"""The usual answers of the native API, whole or as the events of a stream, told from all others by their bytes.

A usual answer has one choice, with a text or reasoning, perhaps none, and perhaps its end, beside it counts and an id,
and nothing else. Nearly all events of a stream are such answers, and so are most plain ones. A regular expression finds
them, and their words are taken as they stand there: 1 µs an event, where reading the JSON and writing a chunk took 3.4
(CPython 3.11). What the expression does not know is read in the ordinary way, which is the plain twin: stream.py for
streams, answer.py for the others.
"""

from __future__ import annotations

import functools
import re
import typing
from json.encoder import encode_basestring

from protocol.wire.long_json import STRICT_JSON

#: The name that a usual answer has as an event, and the status that it tells.
EVENT_NAME, EVENT_STATUS = "result", 200

# RFC 8259, but of white space only the single space that some writers put behind colons and commas. No member that is
# taken can come twice: of two the last would count. What is repeated is bounded, because it would be gone back over for
# milliseconds where its end does not fit. Whether escapes and UTF-8 are sound is left to `as_written`.
_STRING = rb'[^"\\\x00-\x1f]*(?:\\[^\x00-\x1f][^"\\\x00-\x1f]*){0,500}'
_COUNT = rb"(?:0|[1-9][0-9]{0,14})"
_NEXT = rb'(?:, ?(?=")|(?=\}))'
_COUNTS = rb'\{(?:"[a-z_]{1,40}": ?%b%b){1,20}\}' % (_COUNT, _NEXT)
_USAGE = rb'\{(?:"[a-z_]{1,40}": ?(?:%b|%b)%b){1,20}\}' % (_COUNT, _COUNTS, _NEXT)
_ROLE = rb'"role": ?"assistant"'
# The multimodal endpoint has the text in a part.
_CONTENT = rb'"content": ?(?P<part>\[\{"text": ?)?"(%b)"(?(part)\}\])' % _STRING
_REASONING = rb'"reasoning_content": ?"(%b)"' % _STRING
_MESSAGE = rb'"message": ?\{(?:%b, ?)?%b(?:, ?%b)?(?:, ?%b(?:, ?%b)?)?\}' % (
    _ROLE, _CONTENT, _ROLE, _REASONING, _ROLE,
)  # fmt: skip
_INDEX = rb'"index": ?0'
_REASON = rb'"finish_reason": ?(?:null|"(?:null|(stop|length))")'
# The reason stands on one side of the message.
_CHOICE = rb"\{(?P<told>%b, ?)?(?:%b, ?)?%b(?:, ?%b)?(?(told)|(?:, ?%b)?)\}" % (
    _REASON, _INDEX, _MESSAGE, _INDEX, _REASON,
)  # fmt: skip
_REQUEST_ID = rb'"request_id": ?"([0-9A-Za-z-]{1,100})"'
_ANSWER = rb'\{"output": ?\{"choices": ?\[%b\]\}(?:, ?"usage": ?(%b))?(?:, ?%b)?\}' % (_CHOICE, _USAGE, _REQUEST_ID)
_EVENT = rb"(id:[0-9]{1,15}\nevent:%b\n:HTTP_STATUS/%d\ndata:%b\n\n)" % (EVENT_NAME.encode(), EVENT_STATUS, _ANSWER)

_Piece = typing.Optional[bytes]

#: What is taken of a usual answer: what it tells before the message, and the reason for the end if it is told there;
#: what makes its text a part; text and reasoning, as the insides of JSON strings; the reason, if it is told here; the
#: JSON of the usage; the request id.
UsualAnswer = typing.Tuple[_Piece, _Piece, _Piece, bytes, _Piece, _Piece, _Piece, _Piece]

#: The same of an event, behind the bytes before it that are none, and the event itself.
UsualEvent = typing.Tuple[bytes, bytes, _Piece, _Piece, _Piece, bytes, _Piece, _Piece, _Piece, _Piece]


def usual_answer(body: bytes) -> UsualAnswer | None:
    """Return what is taken of an answer's body, None where it is no usual answer."""
    found = _match_answer()(body)
    return None if found is None else found.groups()  # type: ignore[return-value]


@functools.cache
def _match_answer() -> typing.Callable[[bytes], typing.Optional[re.Match[bytes]]]:
    return re.compile(_ANSWER).fullmatch


def split_usual_events(data: bytes) -> tuple[typing.Iterator[UsualEvent], bytes]:
    """Return the usual events in these bytes, and what stands behind the last of them."""
    *found, rest = _find_all()(data)
    return zip(*[iter(found)] * 10), rest


@functools.cache
def _find_all() -> typing.Callable[[bytes], list[bytes]]:
    return re.compile(_EVENT).split


def as_written(inside: bytes) -> bytes:
    """Return the inside of a JSON string as `encode_json` writes it; ValueError where no JSON text has it so."""
    if b"\\" not in inside:
        if not inside.isascii():
            inside.decode()
        return inside
    text: str = STRICT_JSON.decode(f'"{inside.decode()}"')
    return encode_basestring(text)[1:-1].encode("utf-8", "backslashreplace")
