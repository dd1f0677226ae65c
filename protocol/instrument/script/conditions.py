"""`when`: the conditions of a rule, all of which must hold.

They are tried from the cheapest to the dearest, whatever order they are written in, and the first that fails is told.
"""

from __future__ import annotations

import typing

from protocol.errors import evidence
from protocol.instrument.script.asked import Asked
from protocol.instrument.script.paths import MISSING, is_same, look_up, split_path
from protocol.instrument.script.places import PLACES
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
from protocol.instrument.script.texts import Glob, TextTest, Work, read_text_test
from protocol.patterns.finding import Found

#: The conditions by name.
WHEN_CONDITIONS = (
    "endpoint", "model", "user", "system", "any", "tool", "after_tool", "header", "key", "stream", "json", "nth",
)  # fmt: skip

_JsonTest = typing.Tuple[str, typing.Tuple[str, ...], typing.Any]


class When:
    """The conditions of a rule; `nth` are the times at which it speaks among those at which the others hold."""

    __slots__ = (
        "after_tool", "any", "endpoint", "headers", "json", "key", "model", "nth", "stream", "system", "tests", "tool",
        "user",
    )  # fmt: skip

    def __init__(self) -> None:
        self.endpoint = ""
        self.model: Glob | None = None
        self.user: TextTest | None = None
        self.system: TextTest | None = None
        self.any: TextTest | None = None
        self.tool: Glob | None = None
        self.after_tool: Glob | None = None
        self.headers: dict[str, TextTest] = {}
        self.key: TextTest | None = None
        self.stream: bool | None = None
        self.json: list[_JsonTest] = []
        self.nth: frozenset[int] = frozenset()
        #: All that are held against texts and names, by their names.
        self.tests: dict[str, typing.Any] = {}

    def failures(self, asked: Asked, work: Work) -> typing.Iterator[str]:
        """Yield the conditions that fail, but for `nth`: each its name, what was expected, and what came."""
        talk = asked.talk
        if self.endpoint and asked.endpoint != self.endpoint:
            yield _failed("endpoint", evidence(self.endpoint), asked.endpoint)
        if self.stream is not None and asked.stream != self.stream:
            yield _failed("stream", shown(self.stream), shown(asked.stream))
        if self.model is not None and not self.model.fits(asked.model):
            yield _failed("model", evidence(self.model.text), asked.model)
        if self.key is not None and not self.key.holds(asked.key, work):
            yield f"key: expected {self.key}"  # what came is a secret, and stays one
        if self.tool is not None and not any(map(self.tool.fits, asked.tools)):
            yield _failed("tool", f"{evidence(self.tool.text)} among those that are offered", ", ".join(asked.tools))
        if self.after_tool is not None:
            names = [result.name for result in talk.results]
            if not any(map(self.after_tool.fits, names)):
                yield _failed("after_tool", f"a result of {evidence(self.after_tool.text)}", ", ".join(names))
        for name, test in self.headers.items():
            if not test.holds(asked.header(name), work):
                yield _failed(f"header.{name}", str(test), asked.header(name))
        for path, steps, wanted in self.json:
            yield from _json_failure(path, wanted, look_up(asked.body, steps), work)
        if self.user is not None and not self.user.holds(talk.user, work):
            yield _failed("user", str(self.user), talk.user)
        if self.system is not None and not self.system.holds(talk.system, work):
            yield _failed("system", str(self.system), talk.system)
        if self.any is not None and not self.any.holds_for_any(talk.texts, work):
            yield _failed("any", str(self.any), f"{len(talk.texts)} texts")

    def groups(self) -> typing.Sequence[str] | None:
        """Return the names of the groups that `{{match.N}}` can tell, "" for one without; None without expression."""
        told = self._expression()
        return None if told is None or told.finder is None else told.finder.groups

    def found(self, asked: Asked, work: Work) -> Found | None:
        """Return what the first expression has found in a request that fits; None where there is no expression."""
        told = self._expression()
        if told is None:
            return None
        texts: typing.Iterable[str] = asked.talk.texts
        if told is self.user:
            texts = (asked.talk.user,)
        elif told is self.system:
            texts = (asked.talk.system,)
        elif told is self.key:
            texts = (asked.key,)
        elif told is not self.any:
            texts = [asked.header(name) for name, test in self.headers.items() if test is told]
        return next((found for found in (told.found(text, work) for text in texts) if found is not None), None)

    def _expression(self) -> TextTest | None:
        tests = (self.user, self.system, self.any, self.key, *self.headers.values())
        return next((test for test in tests if test is not None and test.kind == "re" and not test.is_not), None)

    def follows_from(self, other: When) -> bool:
        """Tell whether all these conditions hold wherever the other's do, as far as that is seen."""
        if self.nth or self.endpoint not in ("", other.endpoint) or self.stream not in (None, other.stream):
            return False
        for name, mine in self.tests.items():
            theirs = other.tests.get(name)
            # Patterns are of the same kind where their names are the same.
            if theirs is None or not mine.follows_from(theirs):
                return False
        return all(any(_is_same_test(mine, theirs) for theirs in other.json) for mine in self.json)


def _failed(name: str, expected: str, came: str) -> str:
    return f"{name}: expected {expected}, came {evidence(came)}"


def _json_failure(path: str, wanted: typing.Any, came: typing.Any, work: Work) -> typing.Iterator[str]:
    if isinstance(wanted, TextTest):
        if not (isinstance(came, str) and wanted.holds(came, work)):
            yield f"json.{path}: expected {wanted}, came {'nothing' if came is MISSING else shown(came)}"
    elif came is MISSING or not is_same(came, wanted):
        yield f"json.{path}: expected {shown(wanted)}, came {'nothing' if came is MISSING else shown(came)}"


def _is_same_test(one: _JsonTest, other: _JsonTest) -> bool:
    if one[1] != other[1]:
        return False
    mine, theirs = one[2], other[2]
    if isinstance(mine, TextTest):
        theirs = TextTest("is", theirs) if isinstance(theirs, str) else theirs
        return isinstance(theirs, TextTest) and mine.follows_from(theirs)
    return not isinstance(theirs, TextTest) and is_same(mine, theirs)


# ---- reading --------------------------------------------------------------------------------------------------------


def read_when(value: object, where: str) -> When:
    """Read the conditions of a rule; ScriptError for what cannot be one."""
    when = When()
    for name, wanted in read_members(value, where, WHEN_CONDITIONS, "`when`").items():
        place = f"{where}.{name}"
        if name == "endpoint":
            when.endpoint = read_string(wanted, place)
            if when.endpoint not in PLACES:
                raise ScriptError(place, f"there is no {shown(wanted)}; {near(when.endpoint, PLACES)}")
        elif name in ("model", "tool", "after_tool"):
            setattr(when, name, Glob(read_string(wanted, place)))
        elif name in ("user", "system", "any", "key"):
            setattr(when, name, read_text_test(wanted, place))
        elif name == "header":
            if not isinstance(wanted, dict) or not wanted:
                raise ScriptError(place, f'expected an object such as {{"x-team": "red"}}, got {shown(wanted)}')
            when.headers = {field.lower(): read_text_test(text, f"{place}.{field}") for field, text in wanted.items()}
        elif name == "stream":
            when.stream = read_switch(wanted, place)
        elif name == "json":
            when.json = _read_json_tests(wanted, place)
        else:
            numbers = read_list(wanted, place, "numbers") if isinstance(wanted, list) else [wanted]
            when.nth = frozenset(read_whole(number, place, 1) for number in numbers)
    named = {name: getattr(when, name) for name in ("model", "tool", "after_tool", "user", "system", "any", "key")}
    headers = {f"header {name}": test for name, test in when.headers.items()}
    when.tests = {name: test for name, test in {**named, **headers}.items() if test is not None}
    return when


def _read_json_tests(value: object, where: str) -> list[_JsonTest]:
    if not isinstance(value, dict) or not value:
        raise ScriptError(where, f'expected an object such as {{"metadata.team": "red"}}, got {shown(value)}')
    tests: list[_JsonTest] = []
    for path, wanted in value.items():
        steps = split_path(path)
        if steps is None:
            raise ScriptError(where, f"expected a path such as messages.0.role, got {shown(path)}")
        is_test = isinstance(wanted, dict) and len(wanted) == 1 and next(iter(wanted)) in ("is", "re", "not")
        tests.append((path, steps, read_text_test(wanted, f"{where}.{path}") if is_test else wanted))
    return tests
