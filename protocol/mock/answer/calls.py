"""Decide which tools an answer calls, and with which arguments.

Theory of operation. The calls that a prompt asks for are a plan, made from the prompt alone. Each tool's result since
then takes one call off the plan. When the plan is done, nothing more is called: a loop of calls and results ends with
a text, however the calls are spread over the turns. A request that demands a call gets one in any case: when nothing is
left to do, the tool that ends an agent's loop (closing.py).
"""

from __future__ import annotations

import typing

from protocol.budget import Budget
from protocol.errors import ApiError
from protocol.mock.answer.asked import AskedTool, asked_tools
from protocol.mock.answer.assignment import HintTarget, hint_targets, may_take, stand_in
from protocol.mock.answer.closing import closing_words, is_closing_tool, is_result, is_told_to_call
from protocol.mock.answer.hints import Hint, Hints, hint_text, read_hints, stem
from protocol.mock.answer.json_answer import made_arguments, with_results
from protocol.mock.answer.plain import parameters_of
from protocol.mock.answer.reply import OfferedTool, Question, ToolCall, ToolResult

MAX_REPLY_CALLS = 16  # of one answer
_MAX_PLANNED = 32  # tools that one prompt may ask for, over all turns

# Of one place: "Oslo and Rome" are two places even where a tool takes a city and a country.
_PLACE_LEVELS = frozenset(stem(word) for word in ("city", "town", "state", "province", "region", "country"))
_NO_PARAMETERS: dict[str, typing.Any] = {"type": "object", "properties": {}}


class _MadeCall(typing.NamedTuple):
    """A call, how many values of its arguments the prompt or a result gave, and whether a needed text was made up."""

    call: ToolCall
    told: int
    is_invented: bool = False


class _PlannedCall(typing.NamedTuple):
    """A call that a prompt asks for, with its own part of what the prompt suggests; made once that is needed."""

    asked: AskedTool
    hints: Hints
    made: _MadeCall | None = None


def due_calls(question: Question, text: str, budget: Budget) -> list[ToolCall]:
    """Return the calls to make now, none where a text is due; ApiError 400 for a tool that is not offered.

    `text` is what the mock says: a tool that ends an agent's loop is called with it.
    """
    if not question.named and question.choice == "required" and not question.tools:
        raise _no_tools()
    if question.named:
        planned = [_alone(_named_tool(question), question, budget)]
    else:
        planned = _due(question, text, budget)
    if not planned and question.choice == "required":
        planned = [_alone(_closing_tool(question) or _next_tool(question), question, budget)]
    elif not planned and question.choice == "auto":
        closing = _closing_tool(question)
        planned = [_alone(closing, question, budget)] if closing and _must_close(question, closing, budget) else []
    most = MAX_REPLY_CALLS if question.parallel else 1
    made = [one.made or _call(one.asked.tool, question, one.hints, text, budget) for one in planned[:most]]
    return [one.call for one in made]


def _alone(tool: OfferedTool, question: Question, budget: Budget) -> _PlannedCall:
    return _PlannedCall(AskedTool(tool, 0), read_hints(question.prompt, budget))


def _closing_tool(question: Question) -> OfferedTool | None:
    return next((tool for tool in question.tools if is_closing_tool(tool.name)), None)


def _must_close(question: Question, closing: OfferedTool, budget: Budget) -> bool:
    """Say whether an agent is told to end with its closing tool and has not done so; in other chats a text is due."""
    if any(result.name == closing.name for result in question.results):
        return False
    budget.spend(5 + (len(question.instructions) + len(question.prompt)) // 100)
    return any(is_told_to_call(said, closing.name) for said in (question.instructions, question.prompt))


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


def _next_tool(question: Question) -> OfferedTool:
    """Return the first tool that has no result yet, or else the first one: some call is required."""
    done = {result.name for result in question.results}
    return next((tool for tool in question.tools if tool.name not in done), question.tools[0])


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
        planned += [_PlannedCall(one, part) for part in _spread(hints, one.tool, budget)]
    return planned


def _due(question: Question, text: str, budget: Budget) -> list[_PlannedCall]:
    """Return what is left of the plan, as far as it need not wait for results."""
    if question.choice not in ("auto", "required") or is_result(question.prompt):
        return []
    planned = _plan(question, budget)
    left = _without_inventions(planned, _left(planned, question.results, budget), question, text, budget)
    is_last = [is_closing_tool(one.asked.tool.name) for one in left]
    # What ends the loop comes when all else is done.
    left = [one for one, last in zip(left, is_last) if not last] or left[:1]
    tools = [one.asked.tool for one in left]
    waiting = [at for at, one in enumerate(left) if at and one.asked.waits and tools[at] is not tools[at - 1]]
    return left[: waiting[0]] if waiting else left


def _without_inventions(
    planned: typing.Sequence[_PlannedCall],
    left: list[_PlannedCall],
    question: Question,
    text: str,
    budget: Budget,
) -> list[_PlannedCall]:
    """Leave out calls whose arguments would be made up, beside a call that the prompt says something for.

    Where only its description speaks for a tool, no needed text is made up for it, be it alone or not; nor where a part
    of its name does, unless the prompt says something for it: "How many files are there?" has no file for read_file.
    """

    def made(one: _PlannedCall, question: Question) -> _PlannedCall:
        return one._replace(made=_call(one.asked.tool, question, one.hints, text, budget))

    if len({one.asked.tool.name for one in planned}) < 2 and all(
        one.asked.is_named and one.asked.is_whole for one in planned
    ):
        return left
    left = [made(one, question) for one in left[:MAX_REPLY_CALLS]]
    left = [one for one in left if not _is_made_up(one)]
    if len({one.asked.tool.name for one in planned}) < 2:
        return left
    is_said = [_is_said(one) for one in left]
    if all(is_said):
        return left
    alone = question._replace(results=())
    if not any(is_said) and not any(_is_said(made(one, alone)) for one in planned[:MAX_REPLY_CALLS]):
        return left
    return [one for one, said in zip(left, is_said) if said]


def _is_made_up(one: _PlannedCall) -> bool:
    """Say whether a made call needs a text that nobody said, for a tool that the prompt may not mean."""
    if one.made is None or not one.made.is_invented:
        return False
    return not one.asked.is_named or not (one.asked.is_whole or one.made.told)


def _is_said(one: _PlannedCall) -> bool:
    """Say whether a made call is what somebody said: its name, a value, or nothing at all."""
    return one.asked.spelt or one.made is None or one.made.told > 0 or one.made.call.arguments == "{}"


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
    parameters = [one for one in parameters_of(tool.parameters, budget) if not one.is_in_list]
    targets = hint_targets({one.name: one.schema for one in parameters}, budget)
    for members in _lists(hints.literals):
        budget.spend(len(targets) + len(members) * len(hints.literals) // 5)
        takers = [target for target in targets if _takes_one(target, members[0][0])]
        are_levels = len(takers) > 1 and all(target.words[-1] in _PLACE_LEVELS for target in takers)
        if takers and (len(takers) <= len(members[0]) or are_levels) and not any(one.is_list for one in takers):
            return [hints._replace(literals=_without(hints.literals, members, kept)) for kept in members]
    return [hints]


def _takes_one(target: HintTarget, hint: Hint) -> bool:
    return target.kind in ("place", "person", "recipient", "code", "query", "") and may_take(hint, target)


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
        same = next((at for at, one in enumerate(left) if one.asked.tool.name == result.name), None)
        if same is None:
            strays += not result.name
        else:
            del left[same]
    return left[strays:]


def _call(tool: OfferedTool, question: Question, hints: Hints, text: str, budget: Budget) -> _MadeCall:
    if tool.kind == "custom":
        return _MadeCall(ToolCall(tool.name, _custom_input(hints, question), tool.kind), 1)
    schema = tool.parameters or _NO_PARAMETERS
    hints = with_results(hints, question.results)
    if is_closing_tool(tool.name):
        known = [(one.name, one.schema) for one in parameters_of(schema, budget)]
        said = [Hint(value, "label", owner=name) for name, value in closing_words(known, text).items()]
        hints = hints._replace(literals=(*said, *hints.literals), text=hints.text or " ")
    arguments = made_arguments(schema, tool.name, question, hints, budget)
    return _MadeCall(ToolCall(tool.name, arguments.text, tool.kind), arguments.told, arguments.is_invented)


def _custom_input(hints: Hints, question: Question) -> str:
    """Return free text for a custom tool: what the prompt quotes or reckons, or else the prompt itself."""
    said = [str(hint.value) for kind in ("quoted", "sum") for hint in hints.literals if hint.kind == kind]
    return said[0] if said else question.prompt.strip() or "input"
