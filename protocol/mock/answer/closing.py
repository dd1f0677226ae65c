"""The tools that end an agent's loop: final_answer, submit, attempt_completion, done.

Many agent libraries demand a call in each turn, and go on until one of these is called. Their names are those of
smolagents, Pydantic AI, Cline and Roo, OpenHands, SWE-agent, browser-use, trae-agent, OpenManus and LangGraph.
"""

from __future__ import annotations

import json
import re
import typing

from protocol.mock.answer.scalar import name_words

_MAX_NAME = 100  # characters that are read
_CLOSING_NAME = (
    r"(?:(?:submit|give|provide|return|report|send|output|set) )?(?:the |your )?final (?:answer|result|response|output)"
    r"(?: \w+)?|submit(?: (?:the |your )?(?:answer|result|response|solution|report|output|task|work))?"
    r"|attempt completion|finish|terminate|done|(?:task|work|job) (?:finish|finished|done|complete|completed)"
    r"|(?:finish|complete|end|mark|terminate) (?:the )?(?:task|work|job|run|loop|interaction)(?: complete| done)?"
    r"|exit loop|end"
)
_ENDING_MEMBERS = frozenset(["finish", "final answer", "final_answer", "__end__", "attempt_completion"])
# What such a tool is told: the first of its parameters with one of these words at its name's end.
_SAID = frozenset("answer result response text message summary output content report solution".split())
_SUCCESS = frozenset("success successful succeeded completed done".split())
# How an agent that answers in code is told to end, and what its code stands between (smolagents' CodeAgent).
_CODE_END = re.compile(r"\breturn a final answer using the `(\w{1,100})` (?:tool|function)\b")
_CODE_TAGS = re.compile(r"\bopened with '([^'\n]{1,40})', and closed with '([^'\n]{1,40})'")
_CODE_MEMBER = re.compile(r'"code"\s*:')

# A tool's result that comes as the user's turn: smolagents and ReAct prompts; Cline and Roo; templates of chats.
_RESULT = (
    r"\s*(?:Observation:|\[[\w.-]{1,64}(?: for [^\n]{0,200})?\] Result:|<tool_(?:response|result)"
    r"|Tool (?:result|output|response)\b|\[ERROR\]|Error:\n)"
)


def is_closing_tool(name: str) -> bool:
    """Tell whether a tool of that name ends an agent's loop. MCP clients put the server's name in front of it."""
    own = name[:_MAX_NAME].rpartition("__")[2]
    return re.fullmatch(_CLOSING_NAME, name_words(own)) is not None


def is_ending(member: object) -> bool:
    """Tell whether a member of an enum ends a loop: `next` of a supervisor may be "FINISH"."""
    return isinstance(member, str) and member[:_MAX_NAME].casefold() in _ENDING_MEMBERS


def is_told_to_call(text: str, name: str) -> bool:
    """Tell whether a text tells an agent to call that tool: it has the name, which a single word must be marked as."""
    rule = re.escape(name)
    if re.fullmatch(r"[^\W_]+", name):
        rule = rf"[`\"'<]{rule}[`\"'>]|\b(?:call|use|invoke) (?:the )?{rule}\b|\b{rule}(?:\(| tool\b| function\b)"
    return re.search(rule, text) is not None


def is_result(prompt: str) -> bool:
    """Tell whether a user's turn is a tool's result, as libraries write one that do not use the API's own messages."""
    return re.match(_RESULT, prompt) is not None


def closing_code(instructions: str, text: str, *, is_json: bool) -> str:
    """Return code that says a text with the function that ends a loop, "" where instructions ask for no code.

    As JSON it is the value of the member `code`; as text it stands between the tags that the instructions name.
    """
    end = _CODE_END.search(instructions)
    if end is None:
        return ""
    call = f"{end[1]}({json.dumps(text)})"
    if is_json:
        return call if _CODE_MEMBER.search(instructions) else ""
    tags = _CODE_TAGS.search(instructions)
    return f"{tags[1]}\n{call}\n{tags[2]}" if tags else ""


def closing_words(
    parameters: typing.Iterable[tuple[str, typing.Mapping[str, typing.Any]]], text: str
) -> dict[str, object]:
    """Return what a closing tool says by its parameters: the answer's text, and that all went well."""
    said: dict[str, object] = {}
    for name, schema in parameters:
        last = name_words(name).rpartition(" ")[2]
        kinds = schema.get("type", "string")
        if last in _SUCCESS and kinds == "boolean":
            said[name] = True
        elif last in _SAID and "enum" not in schema and text not in said.values():
            if kinds == "string" or (isinstance(kinds, list) and "string" in kinds):
                said[name] = text
    return said
