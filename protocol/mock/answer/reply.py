"""Decide what an answer says: the configured text, JSON in the form asked for, or calls of tools.

Nothing here knows which API asks. A Question is what all of them have in common; the Reply is put into their shapes
elsewhere. One question gives one reply: there is no clock and no chance, and `seed` and `number` are the only turns.

The calls that a prompt asks for are a plan, made from the prompt alone. Each result since that prompt takes one call
off it, so that a loop of calls and results ends with a text, however the calls are spread over the turns.
"""

from __future__ import annotations

import hashlib
import json
import math
import typing

from protocol.errors import ApiError
from protocol.mock.answer.asked import AskedTool, OfferedTool, asked_tools
from protocol.mock.answer.assignment import HintTarget, hint_target, may_take, stand_in
from protocol.mock.answer.hints import MAX_HINT_TEXT, Hint, Hints, hint_text, read_hints, stem
from protocol.mock.answer.instance import instance
from protocol.mock.answer.sketch import read_sketch
from protocol.mock.json_schema.document import SchemaError
from protocol.wire.json_text import encode_json

MAX_REPLY_CALLS = 16  # of one answer
_MAX_PLANNED = 32  # tools that one prompt may ask for, over all turns
_HINTED_CHOICES = 4  # choices of one answer that may keep to the values of the prompt

# Of one place: "Oslo and Rome" are two places even where a tool takes a city and a country.
_PLACE_LEVELS = frozenset(stem(word) for word in ("city", "town", "state", "province", "region", "country"))
_NO_PARAMETERS: dict[str, typing.Any] = {"type": "object", "properties": {}}
_ALTERNATIVES = tuple(f" {word}" for word in "the a and to of in is it that for on with as by or an".split())
_ALTERNATIVES += (" be", " at", " this", " from", ".", ",", "\n", " not")


class ToolResult(typing.NamedTuple):
    """What a called tool gave back; `name` is the tool's, "" where nobody knows it."""

    name: str
    output: str


class Question(typing.NamedTuple):
    """What a request asks: `prompt` is the last user's turn as text.

    `choice` is "none", "auto" or "required"; `named` is the tool that must be called whatever the choice.
    `results` are those since the last user's turn. `format` is "text", "json_object" or "json_schema".
    `number` counts the choices of one answer from 0. `instructions`, the system's text, may name keys for json_object.
    """

    prompt: str
    tools: typing.Sequence[OfferedTool] = ()
    choice: str = "auto"
    named: str = ""
    parallel: bool = True
    results: typing.Sequence[ToolResult] = ()
    format: str = "text"
    schema: typing.Any = None
    schema_name: str = ""
    number: int = 0
    seed: int = 0
    instructions: str = ""


class ToolCall(typing.NamedTuple):
    """A call: `arguments` is JSON for a function, free text for a custom tool."""

    name: str
    arguments: str
    kind: str


class Reply(typing.NamedTuple):
    """What one choice says: text, or calls and no text."""

    text: str
    calls: typing.Sequence[ToolCall] = ()


def reply(question: Question, text: str) -> Reply:
    """Decide what an answer says where `text` is said unless the question asks for another form.

    ApiError 400 for a schema that nothing satisfies, and for a choice of a tool that is not offered.
    """
    calls = _calls(question)
    if calls:
        return Reply("", calls)
    if question.format == "json_schema":
        where = f"response_format '{question.schema_name}'" if question.schema_name else "response_format"
        return Reply(_json_text(question, {} if question.schema is None else question.schema, where))
    varied = f"{text} ({question.number + 1})" if question.number else text
    return Reply(_described_object(question, varied) if question.format == "json_object" else varied)


# ---- JSON


def _described_object(question: Question, text: str) -> str:
    """Return an object with the keys that the prompt or else the instructions name, or else with the text."""
    sketch = read_sketch(question.prompt)
    prompt = sketch.rest if sketch else question.prompt
    sketch = sketch or read_sketch(question.instructions)
    if sketch is None:
        return encode_json({"text": text}).decode()
    return _json_text(question._replace(prompt=prompt), sketch.schema, "response_format")


def _json_text(question: Question, schema: typing.Any, where: str) -> str:
    hints = _with_results(read_hints(question.prompt), question.results)
    made = _made(schema, where, "response_format", question, hints)
    earlier = [question._replace(number=number) for number in range(min(question.number, _HINTED_CHOICES))]
    if question.number >= _HINTED_CHOICES or made in [
        _made(schema, where, "response_format", other, hints) for other in earlier
    ]:
        # The prompt leaves too little open: without its words there are other values.
        made = _made(schema, where, "response_format", question, Hints())
    return made


def _with_results(hints: Hints, results: typing.Sequence[ToolResult]) -> Hints:
    """Add the members of results that are JSON objects, owned by the properties of the same name."""
    found: list[Hint] = []
    for result in results[-8:]:
        try:
            value = json.loads(result.output) if len(result.output) < MAX_HINT_TEXT else None
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            found += [
                Hint(part, "result", owner=name) for name, part in value.items() if isinstance(part, (str, int, float))
            ]
    return hints._replace(literals=(*found[:100], *hints.literals), text=hints.text or " ") if found else hints


def _made(schema: typing.Any, where: str, param: str, question: Question, hints: Hints) -> str:
    """Return JSON that satisfies a schema, with spaces after its separators: there a stream cuts it into words."""
    try:
        value = instance(schema, question.seed, hints, turn=question.number)
    except SchemaError as exc:
        raise ApiError(400, f"Invalid schema for {where}: {exc}", param=param, code="invalid_json_schema") from exc
    return json.dumps(value, ensure_ascii=False)


# ---- calls


def _calls(question: Question) -> list[ToolCall]:
    """Return the calls to make now, none where a text is due."""
    if question.named:
        return [_call(AskedTool(_named_tool(question), 0), question, read_hints(question.prompt))]
    if question.choice == "required":
        if not question.tools:
            raise ApiError(
                400, "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.",
                param="tool_choice", code="invalid_value",
            )  # fmt: skip
        planned = _due(question) or [(_next_tool(question), read_hints(question.prompt))]
    elif question.choice == "auto" and question.tools:
        planned = _due(question)
    else:
        return []
    return [_call(asked, question, hints) for asked, hints in planned[: MAX_REPLY_CALLS if question.parallel else 1]]


def _named_tool(question: Question) -> OfferedTool:
    for tool in question.tools:
        if tool.name == question.named:
            return tool
    if not question.tools:
        raise ApiError(
            400, "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.",
            param="tool_choice", code="invalid_value",
        )  # fmt: skip
    raise ApiError(
        400, f"Tool choice '{question.named}' not found in 'tools' parameter.",
        param="tool_choice", code="invalid_value",
    )  # fmt: skip


def _next_tool(question: Question) -> AskedTool:
    """Return the first tool that has no result yet, or else the first one: some call is required."""
    done = {result.name for result in question.results}
    return AskedTool(next((tool for tool in question.tools if tool.name not in done), question.tools[0]), 0)


_PlannedCall = typing.Tuple[AskedTool, Hints]


def _plan(question: Question) -> list[_PlannedCall]:
    """Return all calls that the prompt asks for, each with its own part of what the prompt suggests."""
    text = hint_text(question.prompt)
    asked = asked_tools(text, question.tools)[:_MAX_PLANNED]
    if not asked:
        return []
    whole = read_hints(text)
    planned: list[_PlannedCall] = []
    for at, one in enumerate(asked):
        hints = whole
        if len(asked) > 1:
            start = _part_start(text, one.position) if at else 0
            end = _part_start(text, asked[at + 1].position) if at + 1 < len(asked) else len(text)
            hints = _part(text[start:end], whole)
        planned += [(one, part) for part in _spread(hints, one.tool)]
    return planned


def _due(question: Question) -> list[_PlannedCall]:
    """Return what is left of the plan, as far as it need not wait for results."""
    left = _left(_plan(question), question.results)
    waiting = [at for at, (asked, _) in enumerate(left) if at and asked.waits and asked.tool != left[at - 1][0].tool]
    return left[: waiting[0]] if waiting else left


def _part_start(text: str, position: int) -> int:
    """Return where the part of a prompt begins that the word at `position` is in."""
    before = text[:position]
    marks = [mark for mark in (" and ", ", ", "，", ". ", "? ", "! ", "\n", "。", "？", "和") if mark in before]
    breaks = [before.rfind(mark) + len(mark) for mark in marks]
    return max(breaks, default=0)


def _part(text: str, whole: Hints) -> Hints:
    """Return the hints of a part of the prompt, then the others; those of the whole where the part has none."""
    here = read_hints(text)
    if not here.literals:
        return whole
    values = [hint.value for hint in here.literals]
    others = tuple(
        hint._replace(joined="")
        for hint in whole.literals
        if hint.value not in values and not any(stand_in(one, hint) for one in here.literals)
    )
    return here._replace(literals=here.literals + others, words=(*here.words, *whole.words))


def _spread(hints: Hints, tool: OfferedTool) -> list[Hints]:
    """Return the hints of each call of one tool: "weather in Oslo and Rome" are two calls where each takes a place."""
    parameters = tool.parameters if isinstance(tool.parameters, dict) else {}
    properties = parameters.get("properties")
    targets = [hint_target(name, part) for name, part in properties.items()] if isinstance(properties, dict) else []
    for members in _lists(hints.literals):
        takers = [target for target in targets if _takes_one(target, members[0][0])]
        are_levels = len(takers) > 1 and all(target.words[-1] in _PLACE_LEVELS for target in takers)
        if takers and (len(takers) <= len(members[0]) or are_levels) and not any(one.is_list for one in takers):
            return [hints._replace(literals=_without(hints.literals, members, kept)) for kept in members]
    return [hints]


def _takes_one(target: HintTarget, hint: Hint) -> bool:
    return target.kind in ("place", "person", "code", "query", "") and may_take(hint, target)


def _lists(literals: typing.Sequence[Hint]) -> typing.Iterator[list[list[Hint]]]:
    """Yield the members of each list that "and" joins: "A, B and C" has three, "A, B and C, D" two of two each."""
    group: list[Hint] = []
    for hint in (*literals, Hint(None, "")):
        if group and hint.joined and _listed_kind(hint) == _listed_kind(group[0]):
            group.append(hint)
            continue
        if any(one.joined == "and" for one in group) and isinstance(group[0].value, str):
            yield _members(group)
        group = [hint]


def _listed_kind(hint: Hint) -> str:
    """Return what a literal is in a list: a name may be short ("SF") or in small letters."""
    is_short_name = hint.kind == "code" and str(hint.value).isalpha()
    return "name" if hint.kind == "place" or is_short_name else hint.kind


def _members(group: typing.Sequence[Hint]) -> list[list[Hint]]:
    parts: list[list[Hint]] = []
    for hint in group:
        if not parts or hint.joined == "and":
            parts.append([])
        parts[-1].append(hint)
    are_alike = len(parts[0]) > 1 and all(len(part) == len(parts[0]) for part in parts)
    return parts if are_alike else [[hint] for hint in group]


def _without(
    literals: typing.Sequence[Hint], members: typing.Sequence[typing.Sequence[Hint]], kept: typing.Sequence[Hint]
) -> tuple[Hint, ...]:
    others = [hint for member in members if member is not kept for hint in member]
    alone = kept[0]._replace(before=members[0][0].before, joined="")
    return tuple(alone if hint is kept[0] else hint for hint in literals if not any(hint is other for other in others))


def _left(planned: typing.Sequence[_PlannedCall], results: typing.Sequence[ToolResult]) -> list[_PlannedCall]:
    """Take one call off the plan for each result: one of the same tool, or else, whatever it was, the first."""
    left = list(planned)
    strays = 0
    for result in results:
        same = next((at for at, (asked, _) in enumerate(left) if asked.tool.name == result.name), None)
        if same is None:
            strays += not result.name
        else:
            del left[same]
    return left[strays:]


def _call(asked: AskedTool, question: Question, hints: Hints) -> ToolCall:
    tool = asked.tool
    if tool.kind == "custom":
        return ToolCall(tool.name, _custom_input(hints, question), tool.kind)
    schema = tool.parameters or _NO_PARAMETERS
    hints = _with_results(hints, question.results)
    arguments = _made(schema, f"function '{tool.name}'", "tools", question, hints)
    return ToolCall(tool.name, arguments, tool.kind)


def _custom_input(hints: Hints, question: Question) -> str:
    """Return free text for a custom tool: what the prompt quotes or reckons, or else the prompt itself."""
    said = [str(hint.value) for kind in ("quoted", "sum") for hint in hints.literals if hint.kind == kind]
    return said[0] if said else question.prompt.strip() or "input"


# ---- tokens


def count_tokens(text: str) -> int:
    """Count the tokens of a prompt's text: its words, a stand-in that is plain to reckon with."""
    return len(text.split())


def token_logprobs(pieces: typing.Sequence[str], top: int, seed: int) -> list[dict[str, typing.Any]]:
    """Return the entries of `logprobs.content` for the pieces of an answer, each with `top` (0 to 20) alternatives.

    The token that was taken is the likeliest and comes first; the probabilities of a list add up to less than 1.
    """
    return [_token_entry(piece, position, top, seed) for position, piece in enumerate(pieces)]


def _token_entry(piece: str, position: int, top: int, seed: int) -> dict[str, typing.Any]:
    digest = hashlib.blake2b(f"{seed} {position} {piece}".encode("utf-8", "backslashreplace"), digest_size=8).digest()
    chosen = 0.7 + 0.29 * digest[0] / 256
    entry = _token(piece, chosen)
    # Each alternative has less than half of what is left, and so less than the one before.
    left, alternatives = 1 - chosen, []
    turn = int.from_bytes(digest[1:5], "big")
    spare = [other for other in _alternatives(turn) if other != piece]
    for step in range(top - 1):
        share = left * (0.3 + 0.19 * digest[5 + step % 3] / 256) if step else left * 0.49
        alternatives.append(_token(spare[step], share))
        left = min(left - share, share)
    return {**entry, "top_logprobs": [_token(piece, chosen), *alternatives] if top else []}


def _alternatives(turn: int) -> list[str]:
    start = turn % len(_ALTERNATIVES)
    return [*_ALTERNATIVES[start:], *_ALTERNATIVES[:start]]


def _token(text: str, probability: float) -> dict[str, typing.Any]:
    # A lone surrogate has no UTF-8: its bytes are those of its escape, as in the JSON around it.
    encoded = list(text.encode("utf-8", "backslashreplace"))
    return {"token": text, "logprob": round(math.log(probability), 8), "bytes": encoded}
