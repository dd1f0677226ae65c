"""Types that a prompt declares: a TypeScript interface, a Pydantic class, a Zod object. They become JSON Schemas.

A value that is optional, or may be null, has the schema of the value alone: what is made up shows it.
"""

from __future__ import annotations

import re
import typing

from protocol.budget import Budget
from protocol.mock.answer.key_types import TYPES, object_of, typed_schema, usual_schema
from protocol.mock.answer.scalar import singular

_MAX_DECLARATIONS = 20
_MAX_MEMBERS = 50
_MAX_DEPTH = 8  # types within one another
_CHARACTERS_A_STEP = 5

_TYPESCRIPT = r"\b(?:interface|type)\s{1,3}(\w{1,64})(?:\s{1,3}extends\s{1,3}[\w, ]{1,100})?\s{0,3}=?\s{0,3}\{"
_ZOD = r"(?:\b(?:const|let)\s{1,3}(\w{1,64})\s{0,3}=\s{0,3})?\bz\s{0,3}\.(?:strictO|o)bject\(\s{0,3}\{"
_PYTHON = r"(?<!\w)class\s{1,3}(\w{1,64})(?:\(([^()\n]{0,100})\))?:[^\S\n]{0,3}(?:#[^\n]{0,200})?\n"
_DECLARATION = re.compile(f"(?:{_TYPESCRIPT})|(?:{_ZOD})|(?:{_PYTHON})")
_MEMBER = re.compile(r"(?:readonly\s)?[\"'`]?([^\W\d][\w-]{0,63})[\"'`]?\s{0,3}\??\s{0,3}:\s{0,3}(?=\S)")
_WRAPPED = re.compile(r"(?:\w{1,20}\.)?(\w{1,30})\s{0,3}[\[<]")
_ZOD_CALL = re.compile(r"z\s{0,3}\.(?:coerce\.)?(\w{1,20})\(")
_NOTHING = frozenset(["null", "none", "undefined", "z.null()", "z.undefined()"])
_LISTS = frozenset("list set frozenset sequence iterable tuple array readonlyarray".split())
_MAPS = frozenset("dict record map mapping object".split())
_CONSTRAINTS = {
    "ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum", "min_length": "minLength",
    "max_length": "maxLength", "gte": "minimum", "lte": "maximum",
}  # fmt: skip
_FORMATS = {
    "datetime": "date-time", "date": "date", "emailstr": "email", "email": "email", "httpurl": "uri", "url": "uri",
    "uuid": "uuid",
}  # fmt: skip
_CLOSED_BY = {"(": ")", "[": "]", "{": "}", "<": ">"}


class Declared(typing.NamedTuple):
    """A declared type as a schema, and the text without declarations and their names."""

    schema: dict[str, typing.Any]
    rest: str


class _Declaration(typing.NamedTuple):
    name: str
    language: str
    body: str
    start: int
    end: int
    bases: str = ""


def read_declared(text: str, budget: Budget) -> Declared | None:
    """Return the last type that a text declares and no other one uses; None where it declares none with members."""
    found: list[_Declaration] = []
    budget.spend(len(text) // _CHARACTERS_A_STEP)
    at = 0
    while len(found) < _MAX_DECLARATIONS:
        match = _DECLARATION.search(text, at)
        if match is None:
            break
        declaration = _declaration(match, text, budget)
        found.append(declaration)
        at = declaration.end
    reader = _Reader({one.name: one for one in found}, budget)
    for one in reversed(found):
        others = [other.body for other in found if other is not one]
        budget.spend(sum(map(len, others)) // _CHARACTERS_A_STEP)
        if one.name and any(re.search(rf"\b{one.name}\b", body) for body in others):
            continue
        schema = reader.declared(one, 0)
        if schema.get("properties"):
            return Declared(schema, _without(text, found, budget))
    return None


def _without(text: str, found: typing.Sequence[_Declaration], budget: Budget) -> str:
    for one in reversed(found):
        budget.spend(1 + len(text) // _CHARACTERS_A_STEP)
        text = f"{text[: one.start]} ; {text[one.end :]}"
    names = "|".join(one.name for one in found if one.name)
    return re.sub(rf"\b(?:{names})\b", "it", text) if names else text


def _declaration(match: re.Match[str], text: str, budget: Budget) -> _Declaration:
    name, zod, python, bases = match.groups()
    if python is None:
        end = _closing(text, match.end() - 1, budget)
        language = "zod" if match[0].rstrip("{ \n\t").endswith("(") else "typescript"
        return _Declaration(name or zod or "", language, text[match.end() : end], match.start(), end + 1)
    end = match.end()
    indent = len(text[: match.start()]) - len(text[: match.start()].rstrip(" \t"))
    while end < len(text):
        budget.spend(1)
        line_end = text.find("\n", end)
        line_end = len(text) if line_end < 0 else line_end + 1
        line = text[end:line_end]
        if line.strip() and len(line) - len(line.lstrip(" \t")) <= indent:
            break
        end = line_end
    return _Declaration(python, "python", text[match.end() : end], match.start(), end, bases or "")


def _closing(text: str, opening: int, budget: Budget) -> int:
    """Return where the bracket at a place closes, the end of the text where it does not."""
    depth = 0
    for at, char in _brackets(text, opening, budget):
        depth += 1 if char in "{[(" else -1
        if depth == 0:
            return at
    return len(text)


def _brackets(text: str, start: int, budget: Budget) -> typing.Iterator[tuple[int, str]]:
    for found in re.compile(r"\"[^\"\n]{0,500}\"|'[^'\n]{0,500}'|[{}()\[\]]").finditer(text, start):
        budget.spend(1)
        if len(found[0]) == 1:
            yield found.start(), found[0]


def _split(text: str, marks: str, budget: Budget) -> list[str]:
    """Return the parts of a text between marks that are in no brackets and no quotation."""
    budget.spend(1 + len(text) // _CHARACTERS_A_STEP)
    parts, depth, start = [], 0, 0
    for found in re.finditer(r"\"[^\"\n]{0,500}\"|'[^'\n]{0,500}'|=>|[{}()\[\]<>" + re.escape(marks) + "]", text):
        mark = found[0]
        if mark in _CLOSED_BY:
            depth += 1
        elif mark in ("}", ")", "]", ">"):
            depth -= 1
        elif depth <= 0 and mark in marks:
            parts.append(text[start : found.start()])
            start = found.end()
    return [part.strip() for part in (*parts, text[start:]) if part.strip()]


class _Reader:
    """Reads types; `known` are the declarations that a type may name."""

    def __init__(self, known: typing.Mapping[str, _Declaration], budget: Budget) -> None:
        self._known = known
        self._budget = budget

    def declared(self, one: _Declaration, depth: int) -> dict[str, typing.Any]:
        """Return the schema of a declaration."""
        self._budget.spend(10 + len(one.body) // _CHARACTERS_A_STEP)
        if one.language == "python" and "Enum" in one.bases:
            members = re.findall(r"(?m)^\s{1,40}\w{1,64}\s?=\s?[\"']([^\"'\n]{1,200})[\"']", one.body)
            return {"enum": members[:_MAX_MEMBERS]} if members else {"type": "string"}
        if one.language == "python":
            body = re.sub(r"(\"{3}|'{3}).*?(?:\1|\Z)", "", one.body, flags=re.DOTALL)
            return self._members(_split(re.sub(r"#[^\n]*", "", body), "\n", self._budget), depth)
        body = re.sub(r"//[^\n]*", "", re.sub(r"/\*.*?(?:\*/|\Z)", "", one.body, flags=re.DOTALL))
        marks = "," if one.language == "zod" else ";,\n"
        return self._members(_split(body, marks, self._budget), depth)

    def _members(self, parts: typing.Sequence[str], depth: int) -> dict[str, typing.Any]:
        properties = {}
        for part in parts[:_MAX_MEMBERS]:
            member = _MEMBER.match(part)
            if member is not None:
                properties[member[1]] = self.type(part[member.end() :], member[1], depth + 1)
        return object_of(properties)

    def type(self, text: str, name: str, depth: int) -> dict[str, typing.Any]:
        """Return the schema of a type as it is written, for a key of that name."""
        self._budget.spend(5 + len(text) // _CHARACTERS_A_STEP)
        said, *rest = _split(text.strip(" \t\n;,"), "=", self._budget) or [""]
        if depth > _MAX_DEPTH:
            return usual_schema(name)
        if said.startswith("z"):
            zod = _ZOD_CALL.match(said)
            if zod is not None:
                return self._zod(said, zod, name, depth)
        choices = [one for one in _split(said, "|", self._budget) if one.lower() not in _NOTHING]
        if len(choices) > 1 and all(_literal(one) is not None for one in choices):
            return {"enum": [_literal(one) for one in choices]}
        said = choices[0] if choices else ""
        schema = self._plain(said, name, depth)
        limits = {word: limit for one in rest for word, limit in _limits(one)}
        return {**schema, **limits} if schema.get("type") in ("integer", "number", "string") else schema

    def _plain(self, said: str, name: str, depth: int) -> dict[str, typing.Any]:
        literal = _literal(said)
        if literal is not None:
            return {"enum": [literal]}
        if said.startswith("{"):
            inside = said[1 : _closing(said, 0, self._budget)]
            return self._members(_split(inside, ";,\n", self._budget), depth)
        if said.endswith("[]"):
            return self._array(said[:-2].strip("() "), name, depth)
        wrapped = _WRAPPED.match(said)
        if wrapped is not None:
            return self._wrapped(wrapped[1], said[wrapped.end() : -1], name, depth)
        if said in self._known:
            return self.declared(self._known[said], depth + 1)
        word = said.rpartition(".")[2].lower()
        if word in _FORMATS:
            return {"type": "string", "format": _FORMATS[word]}
        if word in _LISTS:
            return typed_schema("array", name)
        if word in TYPES:
            return typed_schema(TYPES[word], name)
        return usual_schema(name)

    def _wrapped(self, outer: str, inner: str, name: str, depth: int) -> dict[str, typing.Any]:
        word = outer.lower()
        parts = _split(inner, ",", self._budget)
        if word == "literal":
            return {"enum": [part if _literal(part) is None else _literal(part) for part in parts] or [""]}
        if word in _LISTS:
            return self._array(parts[0] if parts else "", name, depth)
        if word in _MAPS:
            return {"type": "object"}
        if word == "union":
            return self.type(" | ".join(parts), name, depth + 1)
        return self.type(parts[0] if parts else "", name, depth + 1)  # Optional, Annotated, Required, Readonly

    def _array(self, item: str, name: str, depth: int) -> dict[str, typing.Any]:
        items = self.type(item, singular(name), depth + 1) if item else usual_schema(singular(name))
        return {"type": "array", "items": items, "minItems": 1}

    def _zod(self, said: str, call: re.Match[str], name: str, depth: int) -> dict[str, typing.Any]:
        end = _closing(said, call.end() - 1, self._budget)
        inside, tail, kind = said[call.end() : end], said[end:], call[1].lower()
        schema: dict[str, typing.Any]
        if kind in ("object", "strictobject"):
            schema = self._members(_split(inside.strip(" \n\t{}"), ",", self._budget), depth)
        elif kind in ("enum", "nativeenum", "literal"):
            members = [_literal(part) for part in _split(inside.strip(" \n\t[]"), ",", self._budget)]
            schema = {"enum": [member for member in members if member is not None] or [""]}
        elif kind in ("array", "set"):
            schema = self._array(inside, name, depth)
        elif kind in ("optional", "nullable", "nullish", "union"):
            schema = self.type((_split(inside.strip(" \n\t[]"), ",", self._budget) or [""])[0], name, depth + 1)
        elif kind in _FORMATS:
            schema = {"type": "string", "format": _FORMATS[kind]}
        elif kind in ("record", "map"):
            schema = {"type": "object"}
        else:
            schema = typed_schema(TYPES[kind], name) if kind in TYPES else usual_schema(name)
        return _with_zod_checks(schema, tail)


def _with_zod_checks(schema: dict[str, typing.Any], tail: str) -> dict[str, typing.Any]:
    if schema.get("type") == "number" and ".int(" in tail:
        schema = {**schema, "type": "integer"}
    if schema.get("type") == "string":
        formats = [form for word, form in _FORMATS.items() if f".{word}(" in tail]
        return {**schema, "format": formats[0]} if formats else schema
    if schema.get("type") in ("number", "integer"):
        limits = re.findall(r"\.(min|max|gte|lte|gt|lt)\((-?\d{1,9}(?:\.\d{1,6})?)\)", tail[:500])
        words = {**_CONSTRAINTS, "min": "minimum", "max": "maximum"}
        return {**schema, **{words[word]: float(limit) for word, limit in limits}}
    if schema.get("type") != "array" and ".array(" in tail:
        return {"type": "array", "items": schema, "minItems": 1}
    return schema


def _limits(text: str) -> list[tuple[str, float]]:
    """Return the limits in what follows the name of a Pydantic field: Field(ge=1, le=5)."""
    found = re.findall(r"\b(ge|gt|le|lt|min_length|max_length)\s?=\s?(-?\d{1,9}(?:\.\d{1,6})?)", text[:500])
    return [(_CONSTRAINTS[word], float(limit)) for word, limit in found]


def _literal(text: str) -> object:
    """Return the value of a string or a number that is written as a type, None for what is no literal."""
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'`":
        return text[1:-1]
    return int(text) if re.fullmatch(r"-?\d{1,9}", text) else None
