"""What a prompt asks for in words, as a model would understand it: JSON, a schema that it satisfies, a function's call.

Some models cannot be forced by parameters, so clients and our own translator put into the system message what they
want.
"""

from __future__ import annotations

import json
import re

from protocol.budget import Budget
from protocol.mock.dashscope.question import Question, message_text
from protocol.wire.json_text import JsonObject

# "… this JSON schema, and with nothing else:" and then, perhaps in a code fence, the object.
_SCHEMA_FOLLOWS = r"(?i)schema[^{}\n]{0,80}\s{0,9}(?:```(?:json)?\s{0,9})?(?=\{)"
_JSON_WANTED = r"(?i)\b(?:respond|answer|reply|return|output)\b[^.\n{]{0,80}\bjson\b"
_CALL_WANTED = r"(?i)\bcall the (?:function|tool) [`'\"]?([a-z0-9_-]{1,64})"

_MOST_SCHEMA_CHARACTERS = 65536
_MOST_MENTIONS = 16
_CHARACTERS_A_STEP = 200
_CHARACTERS_PARSED_A_STEP = 50


def system_text(question: Question) -> str:
    """Return what the system messages say."""
    return "\n".join(message_text(message) for message in question.messages if message.get("role") == "system")


def functions_to_call(text: str) -> list[str]:
    """Return the names of the functions that a text says to call."""
    return re.findall(_CALL_WANTED, text)


def wants_json(text: str) -> bool:
    """Tell whether a text asks for an answer in JSON."""
    return re.search(_JSON_WANTED, text) is not None


def schema_in(text: str, budget: Budget) -> JsonObject | None:
    """Return the object that follows the last mention of a schema, None where none does.

    It has at most 65,536 characters, and sixteen mentions are looked at. BudgetSpent where the search costs more than
    is left.
    """
    budget.spend(len(text) // _CHARACTERS_A_STEP)
    found: JsonObject | None = None
    position = 0
    for _ in range(_MOST_MENTIONS):
        mention = re.compile(_SCHEMA_FOLLOWS).search(text, position)
        if mention is None:
            break
        # What a schema says of schemas is no other one: on with what follows it.
        value, length = _object_at(text[mention.end() : mention.end() + _MOST_SCHEMA_CHARACTERS], budget)
        found = found if value is None else value
        position = mention.end() + length
    return found


def _object_at(text: str, budget: Budget) -> tuple[JsonObject | None, int]:
    """Return the object with which a text begins, and how many characters it has; None and 0 where there is none."""
    budget.spend(len(text) // _CHARACTERS_PARSED_A_STEP)
    try:
        value, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return None, 0
    return value, end
