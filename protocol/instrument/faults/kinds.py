"""The kinds of faults: what each takes, and where it acts. One table, and nobody else knows."""

from __future__ import annotations

import re
import typing

#: What a kind acts on. "instead": nobody is asked, and this is the answer. "wire": bytes, times and the connection.
#: "framing": how HTTP says where a body ends. "events": the events of a stream. "meaning": what an answer says.
Layer = typing.Literal["instead", "wire", "framing", "events", "meaning"]

#: How an answer comes: whole, as an event stream, or as a WebSocket.
Place = typing.Literal["plain", "stream", "socket"]

#: Whose shape an answer has. "typed" are events that carry their type: Responses, Realtime, assistants' runs.
Shape = typing.Literal["chat", "completion", "typed", "native"]

Value = typing.Union[str, int, float]

_TIME = re.compile(r"([0-9]{1,7}(?:\.[0-9]{1,6})?)(ms|s|m)")
_SIZE = re.compile(r"([0-9]{1,9})(B|kB|MB)")
_SIGNED = re.compile(r"[+-][1-9][0-9]{0,8}")
_WORD = re.compile(r"[A-Za-z0-9_.:-]{1,100}")
_TIME_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}
_SIZE_UNITS = {"B": 1, "kB": 1000, "MB": 1000_000}


# Each parser takes the text of a value and returns what it means; its ValueError says what was expected. Times and
# sizes want their unit: other tools take bare milliseconds and kilobytes, and 200 seconds of latency help nobody.


def parse_time(text: str) -> float:
    """Return seconds."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError("a time with its unit, such as 200ms, 1.5s or 2m")
    return float(match[1]) * _TIME_UNITS[match[2]]


def _parse_size(text: str) -> int:
    match = _SIZE.fullmatch(text)
    if match is None or not int(match[1]):
        raise ValueError("a size with its unit, such as 16B or 10kB")
    return int(match[1]) * _SIZE_UNITS[match[2]]


def parse_count(text: str) -> int:
    """Return a whole number from 1 on."""
    if not re.fullmatch("[1-9][0-9]{0,8}", text):
        raise ValueError("a whole number from 1 on")
    return int(text)


def _parse_seconds(text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text):
        raise ValueError("a whole number")
    return int(text)


def _parse_status(text: str) -> int:
    if not re.fullmatch("[45][0-9][0-9]", text):
        raise ValueError("a status from 400 to 599")
    return int(text)


def _parse_signed(text: str) -> int:
    if not _SIGNED.fullmatch(text):
        raise ValueError("a number of bytes with its sign, such as +10 or -10")
    return int(text)


def _parse_word(text: str) -> str:
    if not _WORD.fullmatch(text):
        raise ValueError("a word of letters, digits and _ . : -")
    return text


def _parse_message(text: str) -> str:
    if not text or not text.isprintable():
        raise ValueError("a text of printable characters")
    return text


def _one_of(*choices: str) -> typing.Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(" or ".join(choices))
        return text

    return parse


_PARSERS: dict[str, typing.Callable[[str], Value]] = {
    "bad": _one_of("bad"),
    "count": parse_count,
    "message": _parse_message,
    "signed": _parse_signed,
    "size": _parse_size,
    "split": _one_of("1B", "utf8"),
    "status": _parse_status,
    "time": parse_time,
    "truncated": _one_of("truncated"),
    "whole": _parse_seconds,
    "word": _parse_word,
}


class Parameter(typing.NamedTuple):
    """One parameter of a kind. `is_bare` ones stand behind the kind without their name."""

    name: str
    parse: typing.Callable[[str], Value]
    is_bare: bool
    is_needed: bool


class Kind(typing.NamedTuple):
    """One kind of fault; `units` are those that `after` may count there, none where it may not stand."""

    name: str
    layer: Layer
    places: frozenset[str]
    shapes: frozenset[str]
    units: tuple[str, ...]
    parameters: tuple[Parameter, ...]

    @property
    def usage(self) -> str:
        """How it is written."""
        return " ".join([self.name, *map(_written, self.parameters)])


def _written(parameter: Parameter) -> str:
    text = parameter.name.upper() if parameter.is_bare else f"{parameter.name}=…"
    return text if parameter.is_needed else f"[{text}]"


_ALL = "plain stream socket"
_ANY_SHAPE = "chat completion typed native"

# Parameters as NAME:PARSER, in <> where they stand without their name, with ? where they may be left out. Sources:
# Toxiproxy's documentation for the words of the wire and their attributes; what `after` counts is in language.py.
_TABLE: tuple[tuple[str, Layer, str, str, str, str], ...] = (
    # kind, layer, places, shapes ("" for any), what `after` may count, parameters
    ("reset", "wire", _ALL, "", "tok ev B", ""),
    ("close", "wire", _ALL, "", "tok ev B", ""),
    ("stall", "wire", _ALL, "", "tok ev B", "for:time?"),
    ("latency", "wire", _ALL, "", "", "latency:time jitter:time?"),
    ("bandwidth", "wire", _ALL, "", "", "rate:size"),
    ("slicer", "wire", _ALL, "", "", "average_size:size size_variation:size? delay:time?"),
    ("slow_close", "wire", "plain stream", "", "", "delay:time"),
    ("status", "instead", _ALL, "", "",
     "<n>:status code:word? type:word? param:word? message:message? retry-after:whole? retry-after-ms:whole?"
     " retry-at:time?"),
    ("html", "instead", _ALL, "", "", "<n>:status"),
    ("length", "framing", "plain", "", "", "<n>:signed"),
    ("chunk", "framing", "plain stream", "", "tok ev B", "<bad>:bad"),
    ("json", "events", "plain stream", "", "tok ev", "<truncated>:truncated"),
    ("cut", "events", "stream socket", "", "tok ev B", ""),
    ("no-finish", "events", "stream socket", _ANY_SHAPE, "", ""),
    ("no-done", "events", "stream", "chat completion", "", ""),
    ("double-done", "events", "stream", "chat completion", "", ""),
    ("comment", "events", "stream", "", "tok ev", ""),
    ("crlf", "events", "stream", "", "", ""),
    ("split", "events", "plain stream", "", "", "<how>:split"),
    ("glue", "events", "stream", "", "", "<n>:count"),
    ("dup", "events", "stream socket", "", "tok ev", ""),
    ("error", "events", "stream socket", _ANY_SHAPE, "tok ev", "code:word? type:word? message:message?"),
    ("no-usage", "events", _ALL, _ANY_SHAPE, "", ""),
    ("usage-with-choices", "events", "stream", "chat completion", "", ""),
    ("filter", "meaning", _ALL, _ANY_SHAPE, "tok", ""),
    ("refusal", "meaning", _ALL, "chat typed", "", "message:message?"),
    ("args-bad", "meaning", _ALL, "chat typed native", "", ""),
    ("unknown-tool", "meaning", _ALL, "chat typed native", "", "name:word?"),
    ("empty", "meaning", _ALL, _ANY_SHAPE, "", ""),
)  # fmt: skip

_PARAMETER = re.compile(r"(<?)([a-z_-]+)>?:([a-z0-9]+)(\??)")


def _read_row(row: tuple[str, Layer, str, str, str, str]) -> Kind:
    name, layer, places, shapes, units, parameters = row
    read = [
        Parameter(match[2], _PARSERS[match[3]], bool(match[1]), not match[4])
        for match in _PARAMETER.finditer(parameters)
    ]
    return Kind(
        name, layer, frozenset(places.split()), frozenset((shapes or _ANY_SHAPE).split()), tuple(units.split()),
        tuple(read),
    )  # fmt: skip


#: All kinds by name.
KINDS: dict[str, Kind] = {row[0]: _read_row(row) for row in _TABLE}
