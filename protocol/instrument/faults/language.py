"""The language of faults: `KIND [after=N(tok|ev|B)] [name=value ...] [WHEN]`, read from its text.

    stall after=3tok for=30s            in the third token's wake, half a minute of silence
    status 429 retry-after=1 first 2    the first two requests are told to come again
    reset after=100B p=0.1              one request in ten loses its connection after a hundred bytes of the body

`after` counts what has gone to the client of the body: tokens (events that bring a piece of what the model writes),
events, or bytes. Without it a fault of the wire comes before the first byte of the answer, and the backend is not
asked.

WHEN is one of

    first N            the first N times that the rule fits
    every N            each N-th time
    at 2,5             the second and the fifth time
    once               the same as first 1
    p=0.1              by chance; protocol/instrument/faults/draws.py says which
    between 10s and 20s    in this time since the session began

`first`, `every`, `at` and `once` count what a rule has been met with in a session. With `each` behind them they count
equal requests, each kind for itself, so that the order in which different ones come does not matter: `first 2 each`.
A value with spaces stands in double quotes: `message="Please try again."`.
"""

from __future__ import annotations

import difflib
import re
import typing

from protocol.errors import evidence
from protocol.instrument.faults.kinds import KINDS, Kind, Value, parse_count, parse_time

_MOST_CHARACTERS = 1000
_WORD = re.compile(r'(?:[^\s"]|"[^"]*")+')
_AFTER = re.compile(r"([0-9]{1,9})(tok|ev|B)")
_CHANCE = re.compile(r"0(?:\.[0-9]{1,9})?|1(?:\.0{1,9})?")
_WHEN_WORDS = ("first", "every", "at", "once", "between")


class After(typing.NamedTuple):
    """So many tokens, events or bytes of the body."""

    number: int
    unit: typing.Literal["tok", "ev", "B"]


class When(typing.NamedTuple):
    """When a fault happens. `word` is "" for always, else what it is written with; `is_each` counts equal requests."""

    word: str
    numbers: tuple[float, ...] = ()
    is_each: bool = False


class Fault(typing.NamedTuple):
    """A fault, read. `text` is how it is written in one form, by which it is known."""

    text: str
    kind: Kind
    values: typing.Mapping[str, Value]
    after: After | None
    when: When

    def number(self, name: str, default: float = 0) -> float:
        """Return a parameter that is a number."""
        value = self.values.get(name, default)
        return value if isinstance(value, (int, float)) else default

    def word(self, name: str, default: str = "") -> str:
        """Return a parameter that is a text."""
        value = self.values.get(name, default)
        return value if isinstance(value, str) else default


def parse_fault(text: str) -> Fault:
    """Read a fault; ValueError of one line that says what was expected, and which name is near."""
    if len(text) > _MOST_CHARACTERS:
        raise ValueError(f"a fault has at most {_MOST_CHARACTERS} characters")
    if text.count('"') % 2:
        raise ValueError(f"{evidence(text)}: a quotation mark is not closed")
    words = _WORD.findall(text)
    if not words:
        raise ValueError("expected a fault, such as: status 503 first 2")
    kind = KINDS.get(words[0])
    if kind is None:
        raise ValueError(f"there is no kind of fault {evidence(words[0])}{_nearest(words[0], KINDS)}")
    try:
        after, values, when = _read_rest(kind, words[1:])
    except ValueError as exc:
        raise ValueError(f"fault {evidence(text)}: {exc}") from exc
    return Fault(" ".join(words), kind, values, after, when)


def _read_rest(kind: Kind, words: list[str]) -> tuple[After | None, dict[str, Value], When]:
    after = None
    values: dict[str, Value] = {}
    bare = [parameter for parameter in kind.parameters if parameter.is_bare]
    named = {parameter.name: parameter for parameter in kind.parameters if not parameter.is_bare}
    at = 0
    while at < len(words) and words[at] not in _WHEN_WORDS and not words[at].startswith("p="):
        name, equals, text = words[at].partition("=")
        text = text.replace('"', "")
        at += 1
        if not equals:
            if not bare:
                known = (*named, *_WHEN_WORDS, *(["after"] if kind.units else []))
                raise ValueError(
                    f"{evidence(name)} is not understood{_nearest(name, known)}; it is written {kind.usage}"
                )
            parameter = bare.pop(0)
            values[parameter.name] = _value(parameter.parse, name, kind.name)
        elif name in values or (name == "after" and after is not None):
            raise ValueError(f"{name} stands twice")
        elif name == "after":
            after = _read_after(kind, text)
        elif name in named:
            values[name] = _value(named[name].parse, text, name)
        else:
            known = (*named, *(["after"] if kind.units else []), "p")
            raise ValueError(f"{kind.name} has no {evidence(name)}{_nearest(name, known)}; it is written {kind.usage}")
    missing = [parameter for parameter in kind.parameters if parameter.is_needed and parameter.name not in values]
    if missing:
        raise ValueError(f"{kind.name} is written {kind.usage}")
    return after, values, _read_when(words[at:])


def _value(parse: typing.Callable[[str], Value], text: str, name: str) -> Value:
    try:
        return parse(text)
    except ValueError as exc:
        raise ValueError(f"{name} expects {exc}, but {evidence(text)} came") from exc


def _read_after(kind: Kind, text: str) -> After:
    match = _AFTER.fullmatch(text)
    if not kind.units:
        raise ValueError(f"{kind.name} has no after")
    if match is None or match[2] not in kind.units:
        units = " or ".join(f"3{unit}" for unit in kind.units)
        raise ValueError(f"after expects {units}, but {evidence(text)} came")
    return After(int(match[1]), typing.cast(typing.Literal["tok", "ev", "B"], match[2]))


def _read_when(words: list[str]) -> When:
    if not words:
        return When("")
    word, rest = words[0], words[1:]
    if word.startswith("p="):
        if not _CHANCE.fullmatch(word[2:]):
            raise ValueError(f"p expects a chance from 0 to 1, such as 0.1, but {evidence(word[2:])} came")
        _refuse_more(rest)
        return When("p", (float(word[2:]),))
    if word == "between":
        if len(rest) < 3 or rest[1] != "and":
            raise ValueError("between is written: between 10s and 20s")
        begin, end = (float(_value(parse_time, text, "between")) for text in (rest[0], rest[2]))
        if end <= begin:
            raise ValueError(f"between {rest[0]} and {rest[2]} holds no time: the second must be later")
        _refuse_more(rest[3:])
        return When("between", (begin, end))
    numbers: tuple[float, ...] = (1,)
    if word != "once":
        if not rest:
            raise ValueError(f"{word} is written: {word} {'2,5' if word == 'at' else '2'}")
        texts = rest.pop(0).split(",") if word == "at" else [rest.pop(0)]
        numbers = tuple(int(_value(parse_count, text, word)) for text in texts)
    is_each = rest[:1] == ["each"]
    _refuse_more(rest[is_each:])
    return When("first" if word == "once" else word, numbers, is_each)


def _refuse_more(words: list[str]) -> None:
    if words:
        raise ValueError(f"when it happens stands at the end, but {evidence(words[0])} follows")


def _nearest(name: str, known: typing.Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), 1, 0.6)
    return f"; did you mean {near[0]}?" if near else ""


# ---- by the name of a model ---------------------------------------------------------------------------------------

# DashScope's codes begin with a capital. They are left to the mock's native side, also behind a translator.
_ASKED = re.compile(r"error-(?:(event|late)-)?(?:([45]\d\d)-)?([a-z][A-Za-z0-9_.]{0,99})")


def fault_named(model: str, status_of: typing.Callable[[str], int]) -> Fault | None:
    """Return the fault that the name of a model asks for, None where it asks for none.

    The names are those of the mock's native side: `error-429-insufficient_quota` is this status and code,
    `error-insufficient_quota` the status of the code (`status_of`), `error-event-…` an error as a stream's first event,
    `error-late-…` one behind its first token.
    """
    match = _ASKED.fullmatch(model)
    if match is None:
        return None
    when, status, code = match[1], match[2], match[3]
    if when:
        return parse_fault(f"error after={'0ev' if when == 'event' else '1tok'} code={code}")
    return parse_fault(f"status {status or status_of(code)} code={code}")
