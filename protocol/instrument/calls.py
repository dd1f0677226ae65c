"""Which calls of a journal are sought: conditions on what came, what went, and what the instrument did."""

from __future__ import annotations

import bisect
import contextlib
import difflib
import functools
import json
import math
import re
import typing

from protocol.budget import Budget
from protocol.errors import ApiError, evidence
from protocol.instrument.journal import Entry, Journal
from protocol.instrument.script.asked import Asked
from protocol.instrument.script.bodies import talk_in, tools_in
from protocol.instrument.script.conditions import read_when
from protocol.instrument.script.texts import Work
from protocol.openai.asked_model import name_pattern
from protocol.wire.json_text import JsonObject, parse_json

#: How many of the calls are named that came nearest to what was sought.
MOST_NEAREST = 5

# Of a budget, for the conditions on one call (protocol/budget.py): the bodies that are kept are short. By itself a call
# costs so many, and as many bytes of its body are read in one.
_STEPS = 1_000_000
_CALL_STEPS = 10
_BYTES_A_STEP = 50
# What a body of more bytes says is read whenever it is asked for, and not kept.
_KEPT_FACTS = 4096

_STATUS = re.compile(r"([1-5])xx|[1-5][0-9]{2}")

# A test of one condition: what stands against it in an entry, "" where it holds.
_Test = typing.Callable[[Entry, "_Search"], str]


class _Search:
    """What it costs to look for calls in a journal, in turns with everybody else, and what is read on the way."""

    def __init__(self, journal: Journal) -> None:
        self.entries = list(journal.entries)
        self._journal = journal
        self._budget = Budget(_STEPS * (1 + len(self.entries)), "A search", pauses=True)
        self._asked: tuple[Entry, Asked] | None = None

    def begin(self) -> None:
        """Go on to another call."""
        self._budget.spend(_CALL_STEPS)
        self._asked = None

    def work(self) -> Work:
        """Return what a condition on a call may cost."""
        return Work(self._budget)

    def asked(self, entry: Entry) -> Asked:
        """Return what a call asks, as far as its body tells; one that is longer than what is kept tells nothing."""
        if entry.facts is not None:
            return typing.cast(Asked, entry.facts)
        if self._asked is None or self._asked[0] is not entry:
            self._budget.spend(len(entry.request_body) // _BYTES_A_STEP)
            asked = _asked(entry)
            self._asked = entry, asked
            if len(entry.request_body) <= _KEPT_FACTS:
                self._journal.keep_facts(entry, asked)
        return self._asked[1]


class Sought:
    """Conditions that a call must fulfil, all of them, in the order in which they were given."""

    def __init__(self, tests: typing.Sequence[tuple[str, _Test]]) -> None:
        self._tests = tests

    def among(self, journal: Journal) -> list[Entry]:
        """Return the entries that fulfil all conditions; in turns with everybody else, where it is called so."""
        search = _Search(journal)
        found = []
        for entry in search.entries:
            search.begin()
            if not any(test(entry, search) for _, test in self._tests):
                found.append(entry)
        return found

    def nearest(self, journal: Journal) -> list[JsonObject]:
        """Return the calls that fail the fewest conditions, each with the first that fails and what it has instead."""
        search = _Search(journal)
        nearest: list[tuple[int, int, str]] = []
        for entry in search.entries:
            search.begin()
            failed = [f"{name}: {came}" for name, test in self._tests for came in (test(entry, search),) if came]
            if failed:
                bisect.insort(nearest, (len(failed), -entry.number, failed[0]))
                del nearest[MOST_NEAREST:]
        return [{"call": -number, "failed": failed} for _, number, failed in nearest]


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
        return lambda entry, search: "" if pattern.fullmatch(read(entry)) else evidence(read(entry))

    return make


def _status(value: typing.Any) -> _Test:
    text = str(value)
    found = _STATUS.fullmatch(text)
    if not found:
        raise ValueError("expected a status such as 429, or 4xx")
    family = found[1]

    def test(entry: Entry, search: _Search) -> str:
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
    return lambda entry, search: "" if entry.came >= since else f"came at {entry.came:.6f}"


def _stream(value: typing.Any) -> _Test:
    if value not in (True, False, "true", "false"):
        raise ValueError("expected true or false")
    wanted = value in (True, "true")
    return lambda entry, search: "" if entry.stream == wanted else str(entry.stream).lower()


def _attempt(value: typing.Any) -> _Test:
    if not re.fullmatch(r"[1-9][0-9]{0,8}", str(value)):
        raise ValueError("expected a whole number from 1")
    return lambda entry, search: "" if entry.attempt == int(value) else str(entry.attempt)


def _as_in_script(name: str) -> typing.Callable[[typing.Any], _Test]:
    """Return a condition as the rules of a script have it, held against what a call's body says."""

    def make(value: typing.Any) -> _Test:
        if isinstance(value, str) and value.startswith("{"):
            with contextlib.suppress(ValueError):
                value = json.loads(value)  # in a query everything is text
        when = read_when({name: value}, "")

        def test(entry: Entry, search: _Search) -> str:
            failed = next(when.failures(search.asked(entry), search.work()), "")
            return failed.removeprefix(f"{name}: ")

        return test

    return make


def _asked(entry: Entry) -> Asked:
    body: typing.Any = None
    with contextlib.suppress(ApiError):
        body = parse_json(entry.request_body)
    body = body if isinstance(body, dict) else {}
    fields = {name.lower(): value for name, value in entry.fields}
    header = functools.partial(_field, fields)
    return Asked("", entry.model, talk_in(body), tools_in(body), header, stream=entry.stream, body=body)


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
