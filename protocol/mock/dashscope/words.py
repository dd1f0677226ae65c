"""What a prompt asks for in words, as a model would understand it: JSON, a schema that it satisfies, a function's call.

Some models cannot be forced by parameters, so clients and our own translator put into the system message what they
want. Qwen's own template even offers functions there, between `<tools>` tags, for calls in the text, between
`<tool_call>` tags (Qwen documentation, "Function Calling").
"""

from __future__ import annotations

import json
import re

from protocol.budget import Budget
from protocol.mock.dashscope.question import Question, message_text
from protocol.mock.unchecked import objects_of
from protocol.wire.json_text import JsonObject

_JSON = "json"
_WANTED = r"\b(?:respond|answer|reply|return|output)\b[^.\n{]*$"
_CALL_WANTED = r"[Cc]all the (?:function|tool) [`'\"]?([A-Za-z0-9_-]{1,64})"
_SOME_CALL_WANTED = r"[Cc]all (?:at least )?one of the (?:functions|tools)"
_OFFER, _END_OF_OFFER = "<tools>\n", "\n</tools>"
_OF_A_CALL = r"\b(?:function|tool)[ _]calls?\b"
_SCHEMA = "schema"

# What is looked at: so much of the prompt, so many mentions, and so many objects, each near its mention.
_MOST_CHARACTERS = 200_000
_MOST_MENTIONS = 1_000
_MOST_OFFERED = 128
_MOST_OBJECTS = 16
_MOST_OBJECT_CHARACTERS = 65_536
_CHARACTERS_TO_OBJECT = 100
_CHARACTERS_TO_JSON = 80
_CHARACTERS_A_STEP = 100
_CHARACTERS_PARSED_A_STEP = 50


def system_text(question: Question) -> str:
    """Return what the system messages say, the first 200,000 characters."""
    texts = [message_text(message) for message in question.messages if message.get("role") == "system"]
    return "\n".join(texts)[:_MOST_CHARACTERS]


def functions_to_call(text: str) -> set[str]:
    """Return the names of the functions that a text says to call."""
    return set(re.findall(_CALL_WANTED, text))


def wants_some_call(text: str) -> bool:
    """Tell whether a text says that some function is to be called, whichever."""
    return re.search(_SOME_CALL_WANTED, text) is not None


def offered_in_words(text: str, budget: Budget) -> list[JsonObject]:
    """Return the functions that a text offers between `<tools>` tags, one a line; BudgetSpent where that costs much."""
    start = text.find(_OFFER) if "<tool_call>" in text else -1
    end = text.find(_END_OF_OFFER, start)
    if min(start, end) < 0:
        return []
    lines = text[start + len(_OFFER) : end].split("\n")[:_MOST_OFFERED]
    functions = [tool.get("function") for tool in objects_of([_object_at(line, budget)[0] for line in lines])]
    return [function for function in objects_of(functions) if type(function.get("name")) is str]


def wants_json(text: str) -> bool:
    """Tell whether a text asks for an answer in JSON. How calls are to be written is another matter."""
    lowered, position = text.lower(), 0
    for _ in range(_MOST_MENTIONS):
        mention = lowered.find(_JSON, position)
        if mention < 0:
            return False
        before = lowered[max(0, mention - _CHARACTERS_TO_JSON) : mention]
        if re.search(_WANTED, before) and not re.search(_OF_A_CALL, before):
            return True
        position = mention + len(_JSON)
    return False


def schema_in(text: str, budget: Budget) -> JsonObject | None:
    """Return the object that follows the last mention of a schema, None where none does.

    It begins within 100 characters and has at most 65,536. BudgetSpent where the search costs more than is left.
    """
    budget.spend(len(text) // _CHARACTERS_A_STEP)
    found: JsonObject | None = None
    lowered, position, objects = text.lower(), 0, 0
    for _ in range(_MOST_MENTIONS):
        mention = lowered.find(_SCHEMA, position)
        if mention < 0 or objects == _MOST_OBJECTS:
            break
        budget.spend()
        position = mention + len(_SCHEMA)
        start = text.find("{", position, position + _CHARACTERS_TO_OBJECT)
        if start < 0:
            continue
        objects += 1
        value, length = _object_at(text[start : start + _MOST_OBJECT_CHARACTERS], budget)
        if value is not None:
            # What a schema says of schemas is no other one: on with what follows it.
            found, position = value, start + length
    return found


def _object_at(text: str, budget: Budget) -> tuple[JsonObject | None, int]:
    """Return the object with which a text begins, and how many characters it has; None and 0 where there is none."""
    budget.spend(len(text) // _CHARACTERS_PARSED_A_STEP)
    try:
        value, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return None, 0
    return value, end
