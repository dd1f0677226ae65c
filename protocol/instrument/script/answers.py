"""`answer`: what a rule says. A string is a text; an object says more."""

from __future__ import annotations

import binascii
import json
import re
import typing

from protocol.errors import ApiError
from protocol.exchange import Response
from protocol.instrument.faults.codes import error_of_code, status_of_code
from protocol.instrument.script.reading import (
    ScriptError,
    near,
    read_list,
    read_members,
    read_string,
    read_whole,
    shown,
)
from protocol.instrument.script.said import RoutedAnswer, Said, SaidCall, WholeAnswer
from protocol.instrument.script.templates import Filling, LookUps, Template, filled, read_filling, read_template
from protocol.openai.scripted_usage import ScriptedUsage

_MEMBERS = ("text", "tools", "json", "reasoning", "refusal", "error", "raw", "usage", "finish", "parts", "route")
# What says all that there is to say.
_ALONE = ("error", "raw", "route")
_FINISHES = ("stop", "length", "tool_calls", "content_filter", "function_call")
_USAGE = {
    "prompt_tokens": "input", "input_tokens": "input", "completion_tokens": "output", "output_tokens": "output",
    "total_tokens": "total", "cached_tokens": "cached", "reasoning_tokens": "reasoning",
}  # fmt: skip
_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2
_NO_FIELD_VALUE = re.compile(r"[^\t\x20-\x7e]")
# What the server writes itself.
_FRAMING = ("connection", "content-length", "transfer-encoding")

_Groups = typing.Optional[typing.Sequence[str]]


class Answer:
    """One answer of a rule. `says` names what it has, by the names that places.py knows.

    `route` is the backend that is to give it, "" for none.
    """

    __slots__ = ("_error", "_finish", "_parts", "_raw", "_reasoning", "_refusal", "_usage", "route", "says")

    def __init__(self) -> None:
        self.says: tuple[str, ...] = ()
        self._parts: list[Template | _Call | _Json] = []
        self._reasoning: Template | None = None
        self._refusal: Template | None = None
        self._error: _Error | None = None
        self._raw: _Raw | None = None
        self.route = ""
        self._usage: ScriptedUsage | None = None
        self._finish = ""

    def said(self, values: LookUps) -> Said:
        """Return what it says; ApiError where it is an error, a whole answer, or another backend's."""
        if self._error is not None:
            raise self._error.made(values)
        if self._raw is not None:
            raise WholeAnswer(self._raw.made(values))
        if self.route:
            raise RoutedAnswer(self.route)
        parts: list[str | SaidCall] = [
            part.filled(values) if isinstance(part, Template) else part.made(values) for part in self._parts
        ]
        return Said(
            parts,
            "" if self._reasoning is None else self._reasoning.filled(values),
            "" if self._refusal is None else self._refusal.filled(values),
            self._finish,
            self._usage,
        )


class _Call(typing.NamedTuple):
    name: Template
    arguments: Filling
    id: Template | None

    def made(self, values: LookUps) -> SaidCall:
        arguments = filled(self.arguments, values)
        text = arguments if isinstance(arguments, str) else _json_text(arguments)
        return SaidCall(self.name.filled(values), text, "" if self.id is None else self.id.filled(values))


class _Json(typing.NamedTuple):
    value: Filling

    def made(self, values: LookUps) -> str:
        return _json_text(filled(self.value, values))


class _Error(typing.NamedTuple):
    status: int
    code: str
    type: str
    message: Template | None
    param: str
    fields: typing.Sequence[tuple[str, str]]

    def made(self, values: LookUps) -> ApiError:
        message = "" if self.message is None else self.message.filled(values)
        error = error_of_code(self.status, self.code, self.type, message, self.param)
        error.fields = tuple(self.fields)
        return error


class _Raw(typing.NamedTuple):
    status: int
    fields: typing.Sequence[tuple[str, str]]
    body: Filling  # or bytes, as they are

    def made(self, values: LookUps) -> Response:
        if isinstance(self.body, bytes):
            return Response(self.status, self.fields, self.body)
        value = filled(self.body, values)
        text = value if isinstance(value, str) else _json_text(value)
        fields = self.fields
        if not any(name.lower() == "content-type" for name, _ in fields):
            fields = (("content-type", _kind_of(text)), *fields)
        return Response(self.status, fields, text.encode("utf-8", "backslashreplace"))


def _json_text(value: typing.Any) -> str:
    # With spaces behind its separators, where a stream cuts it into pieces.
    return json.dumps(value, ensure_ascii=False)


def _kind_of(text: str) -> str:
    """Return the media type that a body looks like."""
    if text.startswith(("data:", "event:", ":")):
        return "text/event-stream"
    return "application/json" if text.lstrip()[:1] in ("{", "[") else "text/plain; charset=utf-8"


# ---- reading --------------------------------------------------------------------------------------------------------


def read_answer(value: object, where: str, groups: _Groups) -> Answer:
    """Read an answer; ScriptError for what cannot be one. `groups` are those of the rule's expression."""
    answer = Answer()
    if isinstance(value, str):
        answer.says = ("text",)
        answer._parts = [read_template(value, where, groups)]
        return answer
    members = read_members(value, where, _MEMBERS, "an answer")
    if not members:
        raise ScriptError(where, f"expected a string, or an object with some of {', '.join(_MEMBERS)}")
    alone = [name for name in _ALONE if name in members]
    if alone and len(members) > 1:
        other = next(name for name in members if name != alone[0])
        raise ScriptError(where, f"{json.dumps(alone[0])} is all that there is to say: {json.dumps(other)} is too much")
    if "parts" in members and members.keys() & {"text", "json", "tools"}:
        raise ScriptError(where, '"parts" has texts and calls in order: expected no text, json or tools beside it')
    if "text" in members and "json" in members:
        raise ScriptError(where, "expected text or json, not both: json is told as the text")
    if "refusal" in members and members.keys() & {"text", "json", "tools", "parts"}:
        raise ScriptError(where, "who refuses says nothing else: expected no text, json, tools or parts with a refusal")
    says = {name: True for name in members if name != "parts"}
    for name, wanted in members.items():
        _read_member(answer, name, wanted, f"{where}.{name}", groups, says)
    # Text comes before calls, whatever order the members are in: `parts` is for another one.
    answer._parts.sort(key=lambda part: "parts" not in members and isinstance(part, _Call))
    answer.says = tuple(says)
    return answer


def _read_member(
    answer: Answer, name: str, value: typing.Any, where: str, groups: _Groups, says: dict[str, bool]
) -> None:
    if name == "text":
        answer._parts.append(read_template(read_string(value, where, may_be_empty=True), where, groups))
    elif name == "json":
        answer._parts.append(_Json(read_filling(value, where, groups)))
    elif name == "tools":
        calls = read_list(value, where, "calls")
        answer._parts += [_read_call(call, f"{where}.{at}", groups) for at, call in enumerate(calls)]
    elif name == "parts":
        for at, part in enumerate(read_list(value, where, "parts")):
            answer._parts.append(_read_part(part, f"{where}.{at}", groups, says))
    elif name == "reasoning":
        answer._reasoning = read_template(read_string(value, where), where, groups)
    elif name == "refusal":
        answer._refusal = read_template(read_string(value, where), where, groups)
    elif name == "error":
        answer._error = _read_error(value, where, groups)
    elif name == "raw":
        answer._raw = _read_raw(value, where, groups)
    elif name == "route":
        answer.route = read_string(value, where)
    elif name == "usage":
        answer._usage = _read_usage(value, where)
    else:
        answer._finish = read_string(value, where)
        if answer._finish not in _FINISHES:
            raise ScriptError(where, f"there is no {shown(value)}; {near(answer._finish, _FINISHES)}")


def _read_part(value: object, where: str, groups: _Groups, says: dict[str, bool]) -> Template | _Call | _Json:
    if isinstance(value, str):
        says["text"] = True
        return read_template(value, where, groups)
    if isinstance(value, dict) and "name" in value:
        says["tools"] = True
        return _read_call(value, where, groups)
    members = read_members(value, where, ("text", "json", "tool"), "a part")
    if len(members) != 1:
        raise ScriptError(where, 'expected a string, {"text": ...}, {"json": ...} or {"tool": {"name": ...}}')
    ((name, inner),) = members.items()
    if name == "tool":
        says["tools"] = True
        return _read_call(inner, f"{where}.tool", groups)
    says[name] = True
    if name == "json":
        return _Json(read_filling(inner, f"{where}.json", groups))
    return read_template(read_string(inner, f"{where}.text"), f"{where}.text", groups)


def _read_call(value: object, where: str, groups: _Groups) -> _Call:
    members = read_members(value, where, ("name", "arguments", "id"), "a call")
    if "name" not in members:
        raise ScriptError(where, f'expected {{"name": ..., "arguments": {{...}}}}, got {shown(value)}')
    id = members.get("id")
    return _Call(
        read_template(read_string(members["name"], f"{where}.name"), f"{where}.name", groups),
        read_filling(members.get("arguments", {}), f"{where}.arguments", groups),
        None if id is None else read_template(read_string(id, f"{where}.id"), f"{where}.id", groups),
    )


def _read_error(value: object, where: str, groups: _Groups) -> _Error:
    if isinstance(value, str):
        value = {"code": value}
    elif type(value) is int:
        value = {"status": value}
    members = read_members(value, where, ("status", "code", "type", "message", "param", "headers"), "an error")
    code, type_, param = (
        read_string(members[name], f"{where}.{name}") if members.get(name) is not None else ""
        for name in ("code", "type", "param")
    )
    status = members.get("status", status_of_code(code) if code else 500)
    status = read_whole(status, f"{where}.status", 400)
    if status > 599:
        raise ScriptError(f"{where}.status", f"expected a status from 400 to 599, got {status}")
    message = members.get("message")
    template = None if message is None else read_template(read_string(message, where), f"{where}.message", groups)
    return _Error(status, code, type_, template, param, _read_fields(members.get("headers", {}), f"{where}.headers"))


def _read_raw(value: object, where: str, groups: _Groups) -> _Raw:
    if isinstance(value, str):
        return _Raw(200, (), read_template(value, where, groups))
    members = read_members(value, where, ("status", "headers", "body", "b64"), "a whole answer")
    status = read_whole(members.get("status", 200), f"{where}.status", 200)
    if status > 599:
        raise ScriptError(f"{where}.status", f"expected a status from 200 to 599, got {status}")
    fields = _read_fields(members.get("headers", {}), f"{where}.headers")
    if "b64" not in members:
        return _Raw(status, fields, read_filling(members.get("body", ""), f"{where}.body", groups))
    try:
        return _Raw(status, fields, binascii.a2b_base64(read_string(members["b64"], f"{where}.b64")))
    except (binascii.Error, ValueError) as exc:
        raise ScriptError(f"{where}.b64", f"expected base64: {exc}") from exc


def _read_fields(value: object, where: str) -> typing.Sequence[tuple[str, str]]:
    if not isinstance(value, dict):
        raise ScriptError(where, f'expected an object such as {{"retry-after": "1"}}, got {shown(value)}')
    fields = []
    for name, text in value.items():
        text = str(text) if type(text) is int else read_string(text, f"{where}.{name}", may_be_empty=True)
        if not _FIELD_NAME.fullmatch(name) or name.lower() in _FRAMING or _NO_FIELD_VALUE.search(text):
            raise ScriptError(where, f"{shown(name)}: {shown(text)} is no field that can be set")
        fields.append((name, text))
    return fields


def _read_usage(value: object, where: str) -> ScriptedUsage:
    usage: dict[str, int] = {}
    for name, count in read_members(value, where, _USAGE, "usage").items():
        usage[_USAGE[name]] = read_whole(count, f"{where}.{name}", 0)
    return ScriptedUsage(**usage)
