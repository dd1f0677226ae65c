"""JSON answers: by a schema, or with the keys that a prompt describes. Values of the prompt are used where they fit."""

from __future__ import annotations

import json
import typing

from protocol.budget import Budget
from protocol.errors import ApiError
from protocol.mock.answer.hints import MAX_HINT_TEXT, Hint, Hints, read_hints
from protocol.mock.answer.instance import TerseValue, instance, terse_instance
from protocol.mock.answer.reply import Question, ToolResult
from protocol.mock.answer.sketch import read_sketch
from protocol.mock.json_schema.document import SchemaError
from protocol.wire.json_text import encode_json
from protocol.wire.long_json import STRICT_JSON

_Made = typing.TypeVar("_Made")

_HINTED_CHOICES = 4  # choices of one answer that may keep to the values of the prompt
_READ_RESULTS = 8  # of tools: the last ones
_READ_MEMBERS = 100  # of all results together


def json_by_schema(question: Question, budget: Budget, code: str = "") -> str:
    """Return JSON that satisfies the question's schema, with `code` as the member of that name where there is any.

    ApiError 400 where nothing satisfies it.
    """
    where = f"response_format '{question.schema_name}'" if question.schema_name else "response_format"
    schema = {} if question.schema is None else question.schema
    members = schema.get("properties") if type(schema) is dict else None
    if code and type(members) is dict and "code" in members:
        schema = {**schema, "properties": {**members, "code": {"type": "string", "enum": [code]}}}
    return _json_text(question, schema, where, budget)


def json_by_description(question: Question, text: str, budget: Budget) -> str:
    """Return an object with the keys that the prompt describes, or else the instructions, or else with the text."""
    sketch = read_sketch(question.prompt, budget)
    prompt = sketch.rest if sketch else question.prompt
    sketch = sketch or read_sketch(question.instructions, budget)
    if sketch is None:
        return encode_json({"text": text}).decode()
    return _json_text(question._replace(prompt=prompt), sketch.schema, "response_format", budget)


def _json_text(question: Question, schema: typing.Any, where: str, budget: Budget) -> str:
    def made(question: Question, hints: Hints) -> str:
        return made_json(schema, where, "response_format", question, hints, budget)

    if question.number < _HINTED_CHOICES:
        hints = with_results(read_hints(question.prompt, budget), question.results)
        text = made(question, hints)
        if text not in [made(question._replace(number=number), hints) for number in range(question.number)]:
            return text
    # The prompt's words leave too little to choose, so this choice is made without them.
    return made(question, Hints())


def with_results(hints: Hints, results: typing.Sequence[ToolResult]) -> Hints:
    """Add the members of results that are JSON objects, each as the value of the property that has its name."""
    found: list[Hint] = []
    for result in results[-_READ_RESULTS:]:
        try:
            value = STRICT_JSON.decode(result.output) if len(result.output) < MAX_HINT_TEXT else None
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            found += [
                Hint(part, "result", owner=name) for name, part in value.items() if isinstance(part, (str, int, float))
            ]
    if not found:
        return hints
    return hints._replace(literals=(*found[:_READ_MEMBERS], *hints.literals), text=hints.text or " ")


class Arguments(typing.NamedTuple):
    """The arguments of a call as JSON, how many of their values the prompt gave, and whether a text was made up."""

    text: str
    told: int
    is_invented: bool


def made_arguments(schema: typing.Any, tool: str, question: Question, hints: Hints, budget: Budget) -> Arguments:
    """Return arguments that satisfy a tool's schema and say no more than the prompt; ApiError 400 as for made_json."""

    def made() -> TerseValue:
        return terse_instance(schema, question.seed, hints, turn=question.number, budget=budget)

    value, told, is_invented = _satisfied(made, f"function '{tool}'", "tools")
    return Arguments(json.dumps(value, ensure_ascii=False), told, is_invented)


def made_json(schema: typing.Any, where: str, param: str, question: Question, hints: Hints, budget: Budget) -> str:
    """Return JSON that satisfies a schema, with spaces after its separators: there a stream cuts it into words.

    Raises an ApiError 400 about `param` when nothing satisfies the schema of `where`.
    """

    def made() -> typing.Any:
        return instance(schema, question.seed, hints, turn=question.number, budget=budget)

    return json.dumps(_satisfied(made, where, param), ensure_ascii=False)


def _satisfied(made: typing.Callable[[], _Made], where: str, param: str) -> _Made:
    try:
        return made()
    except SchemaError as exc:
        raise ApiError(400, f"Invalid schema for {where}: {exc}", param=param, code="invalid_json_schema") from exc
