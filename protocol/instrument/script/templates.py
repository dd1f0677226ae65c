"""Templates: texts in which `{{name}}` stands for something of the request. They are look-ups and nothing more.

    {{user}} {{system}} {{model}} {{key}}    of the request: its texts, its model, its API key
    {{turn}} {{n}}                           how often the model has spoken in it, and the rule at all, from 1
    {{header.NAME}} {{json.PATH}}            a field of its head, a value of its body
    {{match.1}}                              a group of the rule's first `re`, by number or name
    {{tool.name}} {{tool.result}}            the tool that it goes on from, and what that gave back
    {{tool.result.PATH}}                     a value in that, where it is JSON

What leads nowhere is the empty string, and is noted. In a value that is not a text, such as the arguments of a call, a
string that is a look-up alone becomes the value itself: `{"id": "{{json.user_id}}"}` may be `{"id": 7}`. Two braces
that are no look-up are written with a backslash before them: `\\{{`.
"""

from __future__ import annotations

import re
import typing

from protocol.budget import Budget
from protocol.errors import ApiError, evidence
from protocol.instrument.script.asked import Asked, ToolOutput
from protocol.instrument.script.paths import MISSING, look_up, split_path
from protocol.instrument.script.reading import ScriptError, near
from protocol.patterns.finding import Found
from protocol.wire.json_text import parse_json, write_json

#: How many characters an answer's texts have at most.
MOST_FILLED = 16 * 1024 * 1024

_PLACE = re.compile(r"(\\?)\{\{([^{}]*)\}\}")
_PLAIN = ("user", "system", "model", "key", "turn", "n")
_WITH_PATH = ("header", "json", "match", "tool")
_CHARACTERS_A_STEP = 50


class LookUps:
    """What templates look up for one answer. `notes` tell of what led nowhere.

    `found` is what the rule's expression has found, `tool` the name of the tool whose result is meant, as a test for
    names; `number` counts the rule's answers from 1.
    """

    def __init__(
        self,
        asked: Asked,
        budget: Budget,
        *,
        number: int,
        found: Found | None = None,
        is_tool: typing.Callable[[str], bool] | None = None,
    ) -> None:
        self.notes: list[str] = []
        self._asked = asked
        self._budget = budget
        self._found = found
        self._number = number
        self._is_tool = is_tool
        self._result: typing.Any = MISSING
        self._characters = 0

    def value(self, steps: typing.Sequence[str]) -> typing.Any:
        """Return what a look-up leads to; the empty string, and a note, for nothing."""
        value = self._looked_up(steps)
        if value is MISSING or (value is None and steps[0] != "json"):
            self.notes.append(f"{{{{{'.'.join(steps)}}}}} leads nowhere")
            return ""
        return value

    def spend(self, text: str) -> None:
        """Charge for a text that is filled in; ApiError 400 where all of them get too long."""
        self._characters += len(text)
        if self._characters > MOST_FILLED:
            raise ApiError(
                400, f"The script's answer would have more than {MOST_FILLED} characters.", code="answer_too_large"
            )
        self._budget.spend(1 + len(text) // _CHARACTERS_A_STEP)

    def _looked_up(self, steps: typing.Sequence[str]) -> typing.Any:
        asked, (name, *rest) = self._asked, steps
        if name == "header":
            return asked.header(".".join(rest).lower()) or MISSING
        if name == "json":
            return look_up(asked.body, rest)
        if name == "match":
            return None if self._found is None else self._found.group(rest[0])
        if name == "tool":
            return self._of_tool(rest)
        return {
            "user": asked.talk.user, "system": asked.talk.system, "model": asked.model, "key": asked.key,
            "turn": asked.talk.turn, "n": self._number,
        }[name]  # fmt: skip

    def _of_tool(self, steps: typing.Sequence[str]) -> typing.Any:
        output = self._output()
        if output is None:
            return MISSING
        if steps == ["name"]:
            return output.name
        if steps == ["result"]:
            return output.text
        if self._result is MISSING:
            self._budget.spend(len(output.text) // _CHARACTERS_A_STEP)
            try:
                self._result = parse_json(output.text.encode("utf-8", "backslashreplace"))
            except ApiError:
                self._result = None
        return look_up(self._result, steps[1:])

    def _output(self) -> ToolOutput | None:
        """Return the result that is meant: that of the rule's `after_tool`, else the last one."""
        results = self._asked.talk.results
        meant = [result for result in results if self._is_tool is not None and self._is_tool(result.name)]
        return meant[-1] if meant else results[-1] if results else None


class Template:
    """A text with look-ups: texts and look-ups in turn, the first and the last of them texts."""

    __slots__ = ("look_ups", "texts")

    def __init__(self, texts: typing.Sequence[str], look_ups: typing.Sequence[typing.Sequence[str]]) -> None:
        self.texts = texts
        self.look_ups = look_ups

    def filled(self, values: LookUps) -> str:
        """Return the text with what the look-ups lead to."""
        parts = [self.texts[0]]
        for steps, text in zip(self.look_ups, self.texts[1:]):
            value = values.value(steps)
            parts.append(value if isinstance(value, str) else write_json(value))
            values.spend(parts[-1])
            parts.append(text)
        values.spend(self.texts[0])
        return "".join(parts)

    def value(self, values: LookUps) -> typing.Any:
        """Return the text with what the look-ups lead to; the value itself where one look-up is all of it."""
        if self.texts == ["", ""]:
            value = values.value(self.look_ups[0])
            values.spend(value if isinstance(value, str) else write_json(value))
            return value
        return self.filled(values)


def read_template(text: str, where: str, groups: typing.Sequence[str] | None) -> Template:
    """Read a text; ScriptError for a look-up that can lead nowhere. `groups` are the names of the expression's."""
    texts, look_ups, at = [""], [], 0
    for found in _PLACE.finditer(text):
        texts[-1] += text[at : found.start()]
        at = found.end()
        if found[1]:
            texts[-1] += found[0][1:]
            continue
        look_ups.append(_read_look_up(found[2].strip(), where, groups))
        texts.append("")
    texts[-1] += text[at:]
    return Template(texts, look_ups)


def _read_look_up(text: str, where: str, groups: typing.Sequence[str] | None) -> typing.Sequence[str]:
    steps = split_path(text) or (text,)
    name, *rest = steps
    told = evidence(f"{{{{{text}}}}}")
    if name not in (*_PLAIN, *_WITH_PATH):
        message = f"{told} is no look-up; {near(name, (*_PLAIN, *_WITH_PATH))}; two braces are written \\{{{{"
        raise ScriptError(where, message)
    if (name in _PLAIN) == bool(rest):
        raise ScriptError(where, f"{told}: expected {'{{' + name + ('}}' if name in _PLAIN else '.NAME}}')}")
    if name == "tool" and (rest[0] not in ("name", "result") or (rest[0] == "name" and rest[1:])):
        raise ScriptError(where, f"{told}: expected {{{{tool.name}}}}, {{{{tool.result}}}} or {{{{tool.result.PATH}}}}")
    if name == "match":
        _check_group(rest, told, where, groups)
    return steps


def _check_group(rest: typing.Sequence[str], told: str, where: str, groups: typing.Sequence[str] | None) -> None:
    if groups is None:
        raise ScriptError(where, f"{told}: the rule has no condition with 're'")
    is_there = rest[0] in groups if not rest[0].isdecimal() else int(rest[0]) <= len(groups)
    if not is_there or rest[1:]:
        raise ScriptError(where, f"{told}: the rule's 're' has {len(groups)} groups, which are counted from 1")


# ---- values with texts in them --------------------------------------------------------------------------------------

#: A JSON value in which each string is a Template.
Filling = typing.Any


def read_filling(value: typing.Any, where: str, groups: typing.Sequence[str] | None) -> Filling:
    """Read a JSON value whose strings may have look-ups."""
    if isinstance(value, str):
        return read_template(value, where, groups)
    if isinstance(value, list):
        return [read_filling(one, f"{where}.{number}", groups) for number, one in enumerate(value)]
    if isinstance(value, dict):
        return {name: read_filling(one, f"{where}.{name}", groups) for name, one in value.items()}
    return value


def filled(filling: Filling, values: LookUps) -> typing.Any:
    """Return the JSON value with what its look-ups lead to."""
    if isinstance(filling, Template):
        return filling.value(values)
    if isinstance(filling, list):
        return [filled(one, values) for one in filling]
    if isinstance(filling, dict):
        return {name: filled(one, values) for name, one in filling.items()}
    return filling
