"""A script: its rules in order, and which of them speaks."""

from __future__ import annotations

import math
import typing

from protocol.budget import Budget, BudgetSpent, spend_turn
from protocol.errors import ApiError
from protocol.instrument.faults.language import Fault, parse_fault
from protocol.instrument.limits import LimitRule, read_limits
from protocol.instrument.script.answers import Answer, read_answer
from protocol.instrument.script.asked import Asked
from protocol.instrument.script.conditions import When, read_when
from protocol.instrument.script.places import PLACES, unsayable
from protocol.instrument.script.reading import (
    ScriptError,
    near,
    read_list,
    read_members,
    read_string,
    read_switch,
    read_whole,
    shown,
)
from protocol.instrument.script.said import Said
from protocol.instrument.script.templates import LookUps
from protocol.instrument.script.texts import Work
from protocol.wire.json_text import JsonObject, encode_json, parse_json

#: How many rules a script has at most: each is held against each request, and against those before it when it is read.
MOST_RULES = 2_000

# Characters of the seed: they are hashed for each draw.
_MOST_SEED = 1_000

_MEMBERS = ("rules", "seed", "strict", "limits")
_RULE_MEMBERS = ("name", "when", "answer", "turns", "times", "fault", "pace")
_RULE_STEPS = 3


class Rule:
    """A rule. It has `answers`, from which `takes_turns` chooses by the talk, and else how often it has spoken.

    `times` is how often it speaks, None for ever. `pace` is handed on, "" for none.
    """

    __slots__ = ("answers", "fault", "name", "pace", "takes_turns", "times", "when")

    def __init__(self, name: str, when: When) -> None:
        self.name = name
        self.when = when
        self.answers: list[Answer] = []
        self.takes_turns = False
        self.times: int | None = None
        self.fault: Fault | None = None
        self.pace = ""

    def unsayable(self, asked: Asked) -> str:
        """Return what its answers have and cannot be said where a request is answered, "" where they can be said."""
        for answer in self.answers:
            what = unsayable(asked.endpoint, answer.says, is_socket=asked.is_socket)
            if what:
                return what
        return ""

    def failures(self, asked: Asked, work: Work) -> typing.Iterator[str]:
        """Yield why it does not fit a request, but for how often it has spoken."""
        what = self.unsayable(asked)
        if what:
            yield f"answer: its {what} cannot be said at {asked.endpoint}{' over a WebSocket' * asked.is_socket}"
        yield from self.when.failures(asked, work)

    def takes_all_of(self, other: Rule) -> bool:
        """Tell whether it speaks wherever the other would, if it can speak in that place at all."""
        return self.times is None and self.when.follows_from(other.when)

    def places(self) -> frozenset[str]:
        """Return the places where it can speak."""
        return frozenset(
            place
            for place in PLACES
            if self.when.endpoint in ("", place) and not any(unsayable(place, answer.says) for answer in self.answers)
        )


class _Count:
    """How often a rule's conditions have held, and how often it has spoken."""

    __slots__ = ("fitted", "used")

    def __init__(self) -> None:
        self.fitted = 0
        self.used = 0


class ScriptState:
    """What counts while a script is used; the session owns it. Rules that stay keep their counts."""

    def __init__(self) -> None:
        self._counts: dict[Rule, _Count] = {}

    def of(self, rule: Rule) -> _Count:
        """Return the counts of a rule."""
        count = self._counts.get(rule)
        if count is None:
            count = self._counts[rule] = _Count()
        return count

    def used(self, rule: Rule) -> int:
        """Return how often a rule has spoken."""
        count = self._counts.get(rule)
        return 0 if count is None else count.used


class Chosen(typing.NamedTuple):
    """The rule that speaks, for the `number`-th time, and what it says.

    `said` is None for a rule without an answer, where the default answer stands. `error` is what is to be told instead:
    an error, a WholeAnswer or a RoutedAnswer. `notes` are for the journal.
    """

    rule: Rule
    number: int
    said: Said | None
    error: ApiError | None
    notes: typing.Sequence[str]


class Missed(typing.NamedTuple):
    """No rule fits: `nearest` says which came nearest, and what stands against it; "" for a script without rules."""

    nearest: str


class Script:
    """Rules, and what a script says beside them. `warnings` are lines for whoever loads it.

    `seed` is "" for none. `limits` are None where it says nothing of them.
    """

    def __init__(
        self,
        rules: typing.Sequence[Rule],
        *,
        seed: str = "",
        is_strict: bool = False,
        limits: typing.Sequence[LimitRule] | None = None,
    ) -> None:
        self.rules = tuple(rules)
        self.seed = seed
        self.is_strict = is_strict
        self.limits = limits
        self.has_faults = any(rule.fault is not None for rule in self.rules)
        self.warnings = _shadows(self.rules)

    def choose(self, asked: Asked, state: ScriptState, budget: Budget) -> Chosen | Missed:
        """Let the first rule that fits speak, and tell which came nearest where none does.

        BudgetSpent before anything is counted, so that work that is too long may begin anew.
        """
        work = Work(budget)
        fitted: list[_Count] = []
        for rule in self.rules:
            budget.spend(_RULE_STEPS)
            count = state.of(rule)
            if rule.times is not None and count.used >= rule.times:
                continue
            if next(rule.failures(asked, work), ""):
                continue
            fitted.append(count)
            if not rule.when.nth or count.fitted + 1 in rule.when.nth:
                return self._spoken(rule, asked, count, fitted, work)
        missed = Missed(self._nearest(asked, state, work))
        _count_fits(fitted)
        return missed

    def _spoken(self, rule: Rule, asked: Asked, count: _Count, fitted: list[_Count], work: Work) -> Chosen:
        number = count.used + 1
        after = rule.when.after_tool
        values = LookUps(
            asked, work.budget, number=number, found=rule.when.found(asked, work),
            is_tool=None if after is None else after.fits,
        )  # fmt: skip
        said: Said | None = None
        failure: ApiError | None = None
        if rule.answers:
            wanted = asked.talk.turn if rule.takes_turns else count.used
            try:
                said = rule.answers[min(wanted, len(rule.answers) - 1)].said(values)
            except BudgetSpent:
                raise
            except ApiError as exc:
                failure = exc.anew()
        _count_fits(fitted)
        count.used += 1
        return Chosen(rule, number, said, failure, values.notes)

    def _nearest(self, asked: Asked, state: ScriptState, work: Work) -> str:
        """Return which rule fails the fewest conditions, and the first of these."""
        best, fewest = "", math.inf
        for rule in self.rules:
            failed = list(rule.failures(asked, work))
            if not failed:
                used = state.used(rule)
                failed = [f"nth: expected {sorted(rule.when.nth)}" if rule.when.nth else f"times: {used} are over"]
            if len(failed) < fewest:
                best, fewest = f"The nearest is '{rule.name}', but for {failed[0]}.", len(failed)
        return best


def _count_fits(fitted: typing.Iterable[_Count]) -> None:
    for count in fitted:
        count.fitted += 1


def no_rule_fits(missed: Missed) -> ApiError:
    """Return the error for a request that no rule of a strict script fits. SDKs do not try it again."""
    message = f"No rule of the script fits this request. {missed.nearest}".rstrip()
    return ApiError(404, message, code="no_rule_fits", fields=(("x-should-retry", "false"),))


# ---- reading --------------------------------------------------------------------------------------------------------

_Read = typing.TypeVar("_Read")


class ScriptReader:
    """Reads scripts.

    `check_pace` raises ValueError for what is no pace, `backends` are the names that a `route` may have.
    """

    def __init__(self, check_pace: typing.Callable[[str], object], backends: typing.Collection[str] = ()) -> None:
        self._backends = backends
        self._check_pace = check_pace

    def script(self, value: object) -> Script:
        """Read a script: JSON as bytes or text, or what such JSON means. ScriptError, one line, for what is none."""
        members = read_members(_plain(value), "", _MEMBERS, "a script")
        rules = self._rules(members.get("rules", []), "rules")
        seed = members.get("seed", "")
        if type(seed) is int:
            seed = str(seed)
        if isinstance(seed, str) and len(seed) > _MOST_SEED:
            raise ScriptError("seed", f"expected at most {_MOST_SEED} characters")
        strict = members.get("strict", False)
        limits = None
        if "limits" in members:
            try:
                limits = read_limits(members["limits"])
            except ValueError as exc:
                raise ScriptError("", str(exc)) from exc
        return Script(
            rules, seed=read_string(seed, "seed", may_be_empty=True), is_strict=read_switch(strict, "strict"),
            limits=limits,
        )  # fmt: skip

    def with_first(self, script: Script, value: object) -> Script:
        """Return a script with more rules in front: one, a list, or a script with nothing but rules."""
        plain = _plain(value)
        if isinstance(plain, dict) and "rules" in plain:
            plain = read_members(plain, "", ("rules",), "rules that are added")["rules"]
        rules = self._rules(plain if isinstance(plain, list) else [plain], "rules", script.rules)
        _check_count(len(rules) + len(script.rules))
        return Script([*rules, *script.rules], seed=script.seed, is_strict=script.is_strict, limits=script.limits)

    def _rules(self, value: object, where: str, others: typing.Sequence[Rule] = ()) -> list[Rule]:
        if not isinstance(value, list):
            raise ScriptError(where, f"expected a list of rules, got {shown(value)}")
        _check_count(len(value))
        rules: list[Rule] = []
        names = {rule.name for rule in others}
        number = 0
        for at, one in enumerate(value, 1):
            spend_turn(10)
            number += 1
            while f"rule {number}" in names:  # of those that are there already
                number += 1
            rule = self._rule(one, f"rule {at}", f"rule {number}")
            if rule.name in names:
                raise ScriptError(f"rule {at}", f"there is a rule of the name {shown(rule.name)} already")
            names.add(rule.name)
            rules.append(rule)
        return rules

    def _rule(self, value: object, where: str, usual_name: str) -> Rule:
        members = read_members(value, where, _RULE_MEMBERS, "a rule")
        name = usual_name
        if "name" in members:
            name = read_string(members["name"], f"{where}.name")
            where = f"{where} ({shown(name)})"
        rule = Rule(name, read_when(members.get("when", {}), f"{where}.when"))
        self._read_answers(rule, members, where)
        if "times" in members:
            rule.times = read_whole(members["times"], f"{where}.times", 1)
        rule.fault = _checked(parse_fault, members, "fault", where)
        if _checked(self._check_pace, members, "pace", where) is not None:
            rule.pace = members["pace"]
        if not rule.answers and rule.fault is None and not rule.pace:
            raise ScriptError(where, "expected an answer, turns, a fault or a pace")
        return rule

    def _read_answers(self, rule: Rule, members: JsonObject, where: str) -> None:
        if "answer" in members and "turns" in members:
            raise ScriptError(where, "expected an answer or turns, not both")
        groups = rule.when.groups()
        rule.takes_turns = "turns" in members
        if rule.takes_turns:
            answers, place = read_list(members["turns"], f"{where}.turns", "answers"), f"{where}.turns"
        elif "answer" in members:
            answers, place = members["answer"], f"{where}.answer"
            if not isinstance(answers, list):
                rule.answers = [read_answer(answers, place, groups)]
                answers = []
            else:
                read_list(answers, place, "answers")
        else:
            return
        rule.answers += [read_answer(answer, f"{place}.{at}", groups) for at, answer in enumerate(answers)]
        for answer in rule.answers:
            if answer.route and answer.route not in self._backends:
                raise ScriptError(
                    where, f"there is no backend {shown(answer.route)}; {near(answer.route, self._backends)}"
                )
        if not rule.places():
            raise ScriptError(where, _nowhere(rule))


def _checked(read: typing.Callable[[str], _Read], members: JsonObject, name: str, where: str) -> _Read | None:
    """Return what a member's text means, None where there is none."""
    if name not in members:
        return None
    text = read_string(members[name], f"{where}.{name}")
    try:
        return read(text)
    except ValueError as exc:
        raise ScriptError(f"{where}.{name}", str(exc)) from exc


def _plain(value: object) -> typing.Any:
    """Return what JSON means, or what a value would mean that is written as JSON; ScriptError for what is none."""
    try:
        data = value.encode() if isinstance(value, str) else value
        return parse_json(data if isinstance(data, bytes) else encode_json(data))
    except (TypeError, ValueError, RecursionError) as exc:
        raise ScriptError("", f"a script is JSON: {exc}") from exc
    except ApiError as exc:
        reason = exc.message.partition(": ")[2] or exc.message
        raise ScriptError("", f"a script is JSON, but {reason}") from exc


def _check_count(count: int) -> None:
    if count > MOST_RULES:
        raise ScriptError("rules", f"expected at most {MOST_RULES} rules, got {count}")


def _nowhere(rule: Rule) -> str:
    """Say why no place can say what a rule has."""
    endpoint = rule.when.endpoint
    if endpoint:
        what = next(filter(None, (unsayable(endpoint, answer.says) for answer in rule.answers)))
        return f"{shown(what)} cannot be said at {endpoint}, which can say {', '.join(sorted(PLACES[endpoint]))}"
    return "no endpoint can say all that its answers have"


def _shadows(rules: typing.Sequence[Rule]) -> tuple[str, ...]:
    """Return a line for each rule that can never speak, or not in a chat, because one before it always does."""
    lines = []
    places = [rule.places() for rule in rules]
    for later, rule in enumerate(rules):
        spend_turn(1 + later)
        takers = [at for at in range(later) if places[at] & places[later] and rules[at].takes_all_of(rule)]
        left = places[later].difference(*(places[at] for at in takers))
        if takers and not left:
            lines.append(f"{_told(rule, later)} can never match: {_told(rules[takers[0]], takers[0])} takes it")
        elif takers and "chat" in places[later] - left:
            at = next(at for at in takers if "chat" in places[at])
            where = ", ".join(sorted(left))
            lines.append(f"{_told(rule, later)} can match at {where} alone: {_told(rules[at], at)} takes it elsewhere")
    return tuple(lines)


def _told(rule: Rule, at: int) -> str:
    return f"rule {at + 1}" if rule.name == f"rule {at + 1}" else f"rule {at + 1} ({shown(rule.name)})"
