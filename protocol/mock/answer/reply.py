"""Decide what an answer says: the configured text, JSON in the form asked for, or calls of tools.

Nothing here knows which API asks. A Question has what all APIs have in common; each API puts the Reply into its own
shapes. Equal questions get equal replies: there is no clock and no chance, and only `seed` and `number` vary a reply.

Most questions want the text. What it takes to call tools (calls.py) and to make JSON (json_answer.py) is ten times as
much source, so it is loaded with the first question that needs it.
"""

from __future__ import annotations

import typing

from protocol.budget import Budget
from protocol.mock.answer.cost import answer_budget
from protocol.on_demand import load
from protocol.openai.answers import count_words
from protocol.openai.scripted_usage import ScriptedUsage


class OfferedTool(typing.NamedTuple):
    """A tool that a request offers; `parameters` is the JSON Schema of its arguments, None for none."""

    name: str
    description: str = ""
    parameters: typing.Any = None
    kind: str = "function"  # or "custom": its input is free text


class ToolResult(typing.NamedTuple):
    """What a called tool gave back; `name` is the tool's, "" where nobody knows it."""

    name: str
    output: str


class Question(typing.NamedTuple):
    """What a request asks. `prompt` is the text of the last user's turn.

    `choice` is "none", "auto" or "required"; the tool `named` must be called whatever the choice. `results` are those
    that came after the last user's turn. `format` is "text", "json_object" or "json_schema". `number` counts the
    choices of one answer from 0. `instructions` is the system's text: keys of a json_object are often named there.
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
    """A call: `arguments` is JSON for a function, free text for a custom tool. `id` is "" where any will do."""

    name: str
    arguments: str
    kind: str
    id: str = ""


class Told(typing.NamedTuple):
    """What a script tells besides text and calls; "" and None for what it leaves open.

    `parts` are the texts and the calls in the order in which they come. `finish` is as chats have it.
    """

    parts: typing.Sequence[str | ToolCall]
    reasoning: str = ""
    refusal: str = ""
    finish: str = ""
    usage: ScriptedUsage | None = None


class Reply(typing.NamedTuple):
    """What one choice says: text, or calls and no text. Only a script, whose reply is `told`, may have both or more."""

    text: str
    calls: typing.Sequence[ToolCall] = ()
    told: Told | None = None


def reply(question: Question, text: str, budget: Budget | None = None) -> Reply:
    """Decide what an answer says where `text` is said unless the question asks for another form.

    ApiError 400 for a schema that nothing satisfies, and for a choice of a tool that is not offered; BudgetSpent, one
    too, when the work costs more than is left of the budget.
    """
    budget = budget or answer_budget()
    if question.named or question.choice == "required" or (question.choice == "auto" and question.tools):
        (due_calls,) = load("mock tool calls")
        calls = due_calls(question, text, budget)
        if calls:
            return Reply("", calls)
    varied = f"{text} ({question.number + 1})" if question.number else text
    code = _closing_code(question, varied, budget)
    if question.format in ("json_schema", "json_object"):
        json_by_schema, json_by_description = load("mock JSON")
        if question.format == "json_schema":
            return Reply(json_by_schema(question, budget, code))
        return Reply(json_by_description(question, varied, budget))
    return Reply(code or varied)


def _closing_code(question: Question, text: str, budget: Budget) -> str:
    """Return the code with which an agent ends that answers in code, "" for other questions."""
    if "final answer using" not in question.instructions:
        return ""
    budget.spend(5 + len(question.instructions) // 50)
    (closing_code,) = load("mock closing code")
    code: str = closing_code(question.instructions, text, is_json=question.format != "text")
    return code


def count_tokens(text: str) -> int:
    """Count the tokens of a prompt's text: its words, so that anybody can check the count."""
    return count_words(text)
