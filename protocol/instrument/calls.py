"""Which calls of a journal are sought: conditions on what came, what went, and what the instrument did."""

from __future__ import annotations

import contextlib
import difflib
import functools
import json
import math
import re
import typing

from protocol.budget import Budget, spend_turn
from protocol.errors import ApiError, evidence
from protocol.instrument.journal import Entry
from protocol.instrument.script.asked import Asked
from protocol.instrument.script.bodies import talk_in, tools_in
from protocol.instrument.script.conditions import read_when
from protocol.instrument.script.texts import Work
from protocol.openai.asked_model import name_pattern
from protocol.wire.json_text import JsonObject, parse_json

#: How many of the calls are named that came nearest to what was sought.
MOST_NEAREST = 5

# Of a budget, for one condition on one call: the bodies that are kept are short.
_STEPS = 1_000_000
# What a body of more bytes says is read whenever it is asked for, and not kept.
_KEPT_FACTS = 4096

_STATUS = re.compile(r"([1-5])xx|[1-5][0-9]{2}")

# A test of one condition: what stands against it in an entry, "" where it holds.
_Test = typing.Callable[[Entry], str]


class Sought:
    """Conditions that a call must fulfil, all of them, in the order in which they were given."""

    def __init__(self, tests: typing.Sequence[tuple[str, _Test]]) -> None:
        self._tests = tests

    def among(self, entries: typing.Iterable[Entry]) -> list[Entry]:
        """Return the entries that fulfil all conditions."""
        found = []
        for entry in list(entries):
            spend_turn(1 + len(entry.request_body) // 500)
            if not any(test(entry) for _, test in self._tests):
                found.append(entry)
        return found

    def nearest(self, entries: typing.Sequence[Entry]) -> list[JsonObject]:
        """Return the calls that fail the fewest conditions, each with the first that fails and what it has instead."""
        failing: list[tuple[int, int, JsonObject]] = []
        for entry in entries:
            failed = [f"{name}: {came}" for name, test in self._tests for came in (test(entry),) if came]
            if failed:
                failing.append((len(failed), -entry.number, {"call": entry.number, "failed": failed[0]}))
        failing.sort(key=lambda one: one[:2])
        return [told for _, _, told in failing[:MOST_NEAREST]]


def read_sought(conditions: typing.Mapping[str, typing.Any]) -> Sought:
    """Return what conditions mean, by name; ApiError 400 for one that there is not, or that cannot be."""
    tests = []
    for name, value in conditions.items():
        make = _CONDITIONS.get(name)
        if make is None:
            near = difflib.get_close_matches(name, _CONDITIONS, 1)
            hint = f"did you mean {near[0]}?" if near else f"There are {', '.join(_CONDITIONS)}."
            raise ApiError(400, f"There is no condition {evidence(name)}: {hint}", param=name)
        try:
            tests.append((name, make(value)))
        except ValueError as exc:
            raise ApiError(400, f"{name}={evidence(str(value))}: {exc}.", param=name) from exc
    return Sought(tests)


# ---- the conditions -------------------------------------------------------------------------------------------------


def _matches(read: typing.Callable[[Entry], str]) -> typing.Callable[[typing.Any], _Test]:
    """Return a condition on a name, in which * stands for anything."""

    def make(value: typing.Any) -> _Test:
        if type(value) is not str:
            raise ValueError("expected a string, in which * stands for anything")
        pattern = name_pattern(value)
        return lambda entry: "" if pattern.fullmatch(read(entry)) else evidence(read(entry))

    return make


def _status(value: typing.Any) -> _Test:
    text = str(value)
    found = _STATUS.fullmatch(text)
    if not found:
        raise ValueError("expected a status such as 429, or 4xx")
    family = found[1]

    def test(entry: Entry) -> str:
        status = str(entry.status)
        return "" if status == text or status[0] == family else status if entry.status else "no answer yet"

    return test


def _since(value: typing.Any) -> _Test:
    try:
        since = float(value)
    except (TypeError, ValueError):
        since = math.nan
    if not math.isfinite(since):
        raise ValueError("expected seconds since the epoch")
    return lambda entry: "" if entry.came >= since else f"came at {entry.came:.6f}"


def _stream(value: typing.Any) -> _Test:
    if value not in (True, False, "true", "false"):
        raise ValueError("expected true or false")
    wanted = value in (True, "true")
    return lambda entry: "" if entry.stream == wanted else str(entry.stream).lower()


def _attempt(value: typing.Any) -> _Test:
    if not re.fullmatch(r"[1-9][0-9]{0,8}", str(value)):
        raise ValueError("expected a whole number from 1")
    return lambda entry: "" if entry.attempt == int(value) else str(entry.attempt)


def _as_in_script(name: str) -> typing.Callable[[typing.Any], _Test]:
    """Return a condition as the rules of a script have it, held against what a call's body says."""

    def make(value: typing.Any) -> _Test:
        if isinstance(value, str) and value.startswith("{"):
            with contextlib.suppress(ValueError):
                value = json.loads(value)  # in a query everything is text
        when = read_when({name: value}, "")

        def test(entry: Entry) -> str:
            failed = next(when.failures(_asked(entry), Work(Budget(_STEPS, "A condition"))), "")
            return failed.removeprefix(f"{name}: ")

        return test

    return make


def _asked(entry: Entry) -> Asked:
    """Return what a call asks, as far as its body tells; a body that is longer than what is kept tells nothing."""
    asked: Asked | None = entry.facts
    if asked is not None:
        return asked
    body: typing.Any = None
    with contextlib.suppress(ApiError):
        body = parse_json(entry.request_body)
    body = body if isinstance(body, dict) else {}
    fields = {name.lower(): value for name, value in entry.fields}
    header = functools.partial(_field, fields)
    asked = Asked("", entry.model, talk_in(body), tools_in(body), header, stream=entry.stream, body=body)
    if len(entry.request_body) <= _KEPT_FACTS:
        entry.facts = asked
    return asked


def _field(fields: typing.Mapping[str, str], name: str) -> str:
    return fields.get(name, "")


_CONDITIONS: dict[str, typing.Callable[[typing.Any], _Test]] = {
    **{name: _as_in_script(name) for name in ("user", "system", "any", "tool", "after_tool", "header", "json")},
    "status": _status,
    "since": _since,
    "model": _matches(lambda entry: entry.model),
    "stream": _stream,
    "path": _matches(lambda entry: entry.path),
    "rule": _matches(lambda entry: entry.rule),
    "fault": _matches(lambda entry: entry.fault),
    "ended": _matches(lambda entry: entry.ended),
    "attempt": _attempt,
}
