"""Decide which tools an answer calls, and with which arguments.

Theory of operation. The calls that a prompt asks for are a plan, made from the prompt alone. Each tool's result since
then takes one call off the plan. When the plan is done, nothing more is called: a loop of calls and results ends with
a text, however the calls are spread over the turns. A request that demands a call gets one in any case.
"""

from __future__ import annotations

import typing

from protocol.budget import Budget
from protocol.errors import ApiError
from protocol.mock.answer.asked import AskedTool, asked_tools
from protocol.mock.answer.assignment import HintTarget, hint_targets, may_take, stand_in
from protocol.mock.answer.hints import Hint, Hints, hint_text, read_hints, stem
from protocol.mock.answer.json_answer import made_arguments, with_results
from protocol.mock.answer.reply import OfferedTool, Question, ToolCall, ToolResult

MAX_REPLY_CALLS = 16  # of one answer
_MAX_PLANNED = 32  # tools that one prompt may ask for, over all turns

# Of one place: "Oslo and Rome" are two places even where a tool takes a city and a country.
_PLACE_LEVELS = frozenset(stem(word) for word in ("city", "town", "state", "province", "region", "country"))
_NO_PARAMETERS: dict[str, typing.Any] = {"type": "object", "properties": {}}


def due_calls(question: Question, budget: Budget) -> list[ToolCall]:
    """Return the calls to make now, none where a text is due; ApiError 400 for a tool that is not offered."""
    if question.named:
        return [_call(AskedTool(_named_tool(question), 0), question, read_hints(question.prompt, budget), budget)]
    if question.choice == "required":
        if not question.tools:
            raise _no_tools()
        planned = _due(question, budget) or [(_next_tool(question), read_hints(question.prompt, budget))]
    elif question.choice == "auto" and question.tools:
        planned = _due(question, budget)
    else:
        return []
    most = MAX_REPLY_CALLS if question.parallel else 1
    return [_call(asked, question, hints, budget) for asked, hints in planned[:most]]


def _named_tool(question: Question) -> OfferedTool:
    for tool in question.tools:
        if tool.name == question.named:
            return tool
    if not question.tools:
        raise _no_tools()
    message = f"Tool choice '{question.named}' not found in 'tools' parameter."
    raise ApiError(400, message, param="tool_choice", code="invalid_value")


def _no_tools() -> ApiError:
    message = "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified."
    return ApiError(400, message, param="tool_choice", code="invalid_value")


def _next_tool(question: Question) -> AskedTool:
    """Return the first tool that has no result yet, or else the first one: some call is required."""
    done = {result.name for result in question.results}
    return AskedTool(next((tool for tool in question.tools if tool.name not in done), question.tools[0]), 0)


_PlannedCall = typing.Tuple[AskedTool, Hints]


def _plan(question: Question, budget: Budget) -> list[_PlannedCall]:
    """Return all calls that the prompt asks for, each with its own part of what the prompt suggests."""
    text = hint_text(question.prompt)
    asked = asked_tools(text, question.tools, budget)[:_MAX_PLANNED]
    if not asked:
        return []
    whole = read_hints(text, budget)
    planned: list[_PlannedCall] = []
    for at, one in enumerate(asked):
        hints = whole
        if len(asked) > 1:
            start = _part_start(text, one.position) if at else 0
            end = _part_start(text, asked[at + 1].position) if at + 1 < len(asked) else len(text)
            hints = _part(text[start:end], whole, budget)
        planned += [(one, part) for part in _spread(hints, one.tool, budget)]
    return planned


def _due(question: Question, budget: Budget) -> list[_PlannedCall]:
    """Return what is left of the plan, as far as it need not wait for results."""
    left = _left(_plan(question, budget), question.results, budget)
    waiting = [at for at, (asked, _) in enumerate(left) if at and asked.waits and asked.tool != left[at - 1][0].tool]
    return left[: waiting[0]] if waiting else left


def _part_start(text: str, position: int) -> int:
    """Return where the part of a prompt begins that the word at `position` is in."""
    before = text[:position]
    marks = [mark for mark in (" and ", ", ", "，", ". ", "? ", "! ", "\n", "。", "？", "和") if mark in before]
    breaks = [before.rfind(mark) + len(mark) for mark in marks]
    return max(breaks, default=0)


def _part(text: str, whole: Hints, budget: Budget) -> Hints:
    """Return the hints of a part of the prompt, then the others; those of the whole where the part has none."""
    here = read_hints(text, budget)
    if not here.literals:
        return whole
    budget.spend(len(here.literals) * len(whole.literals))
    values = [hint.value for hint in here.literals]
    others = tuple(
        hint._replace(joined="")
        for hint in whole.literals
        if hint.value not in values and not any(stand_in(one, hint) for one in here.literals)
    )
    return here._replace(literals=here.literals + others, words=(*here.words, *whole.words))


def _spread(hints: Hints, tool: OfferedTool, budget: Budget) -> list[Hints]:
    """Return the hints of each call of one tool: "weather in Oslo and Rome" are two calls where each takes a place."""
    parameters = tool.parameters if isinstance(tool.parameters, dict) else {}
    properties = parameters.get("properties")
    targets = hint_targets(properties if isinstance(properties, dict) else {}, budget)
    for members in _lists(hints.literals):
        budget.spend(len(targets) + len(members) * len(hints.literals) // 5)
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
    others = {id(hint) for member in members if member is not kept for hint in member}
    alone = kept[0]._replace(before=members[0][0].before, joined="")
    return tuple(alone if hint is kept[0] else hint for hint in literals if id(hint) not in others)


def _left(
    planned: typing.Sequence[_PlannedCall], results: typing.Sequence[ToolResult], budget: Budget
) -> list[_PlannedCall]:
    """Take one call off the plan for each result: one of the same tool, or else, whatever it was, the first."""
    left = list(planned)
    strays = 0
    for result in results:
        budget.spend(1 + len(left) // 10)
        same = next((at for at, (asked, _) in enumerate(left) if asked.tool.name == result.name), None)
        if same is None:
            strays += not result.name
        else:
            del left[same]
    return left[strays:]


def _call(asked: AskedTool, question: Question, hints: Hints, budget: Budget) -> ToolCall:
    tool = asked.tool
    if tool.kind == "custom":
        return ToolCall(tool.name, _custom_input(hints, question), tool.kind)
    schema = tool.parameters or _NO_PARAMETERS
    hints = with_results(hints, question.results)
    arguments = made_arguments(schema, tool.name, question, hints, budget)
    return ToolCall(tool.name, arguments.text, tool.kind)


def _custom_input(hints: Hints, question: Question) -> str:
    """Return free text for a custom tool: what the prompt quotes or reckons, or else the prompt itself."""
    said = [str(hint.value) for kind in ("quoted", "sum") for hint in hints.literals if hint.kind == kind]
    return said[0] if said else question.prompt.strip() or "input"
