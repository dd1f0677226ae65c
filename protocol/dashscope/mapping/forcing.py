"""How a model that thinks is brought to answer in JSON, or to call the one function that is forced.

While a model thinks, DashScope refuses `tool_choice` with a function, and for most models JSON mode. So there are three
manners, of which each later one can do what an earlier one was refused:

    PLAINLY            in DashScope's parameters, as for a model that does not think
    WITHOUT_THINKING   the same, and `enable_thinking: false`, where the caller did not ask for thinking
    IN_WORDS           in the system message, where thinking cannot be switched off, or was asked for

Sources: Alibaba Cloud Model Studio, "Structured output" (which models answer JSON while they think), "Error codes" (the
refusals); for the refusals of other hosts, public reports.
"""

from __future__ import annotations

import re
import typing

from protocol.dashscope.mapping.errors import DashScopeError
from protocol.dashscope.mapping.models import ALWAYS_THINKING, answers_json_while_thinking, thinking_of
from protocol.dashscope.mapping.thinking import is_thinking
from protocol.errors import ApiError
from protocol.wire.json_text import JsonObject

PLAINLY: typing.Final = "plainly"
WITHOUT_THINKING: typing.Final = "without thinking"
IN_WORDS: typing.Final = "in words"
Manner = typing.Literal["plainly", "without thinking", "in words"]

# "Json mode response is not supported when enable_thinking is true"; "The tool_choice parameter does not support being
# set to required or object in thinking mode"; "Thinking mode does not support this tool_choice"; "deepseek-reasoner
# does not support this tool_choice".
_REFUSED_WHILE_THINKING = (
    r"(?:json|response_format|structured output|tool[_ ]choice).{0,120}(?:thinking|reasoning)"
    r"|(?:thinking|reason(?:ing|er)).{0,80}(?:json|response_format|structured output|tool[_ ]choice)"
)
# "The value of the enable_thinking parameter is restricted to True."; "parameter.enable_thinking must be set to true";
# "The model xxx does not support enable_thinking."
_CANNOT_SWITCH_OFF = r"enable[_ ]thinking.{0,40}(?:(?:restricted|set) to|be) true|does not support enable[_ ]thinking"
_LONGEST_REFUSAL = 2000


def forced_kind(parameters: JsonObject, *, wants_json: bool, forced_function: str) -> str:
    """Return what a request forces as far as a model's answer to it may differ, "" where it forces nothing."""
    kinds = ["json"] if wants_json else []
    kinds += ["function"] if forced_function else []
    return " ".join([*kinds, "thinking"] if kinds and _asks_for_thinking(parameters) else kinds)


def manner_of_forcing(model: str, parameters: JsonObject, *, wants_json: bool, forced_function: str) -> Manner:
    """Return how to force what a request forces, by what is known of the model; `parameters` are native ones."""
    refused = forced_function or (wants_json and not answers_json_while_thinking(model))
    if not refused or not is_thinking(model, parameters):
        return PLAINLY
    if thinking_of(model) == ALWAYS_THINKING or _asks_for_thinking(parameters):
        return IN_WORDS
    return WITHOUT_THINKING


def other_manner(manner: Manner, parameters: JsonObject, error: ApiError) -> Manner | None:
    """Return the manner to try after `error` came to a call that forces something; None where none can help."""
    if not isinstance(error, DashScopeError) or error.status != 400:
        return None
    message = error.native_message[:_LONGEST_REFUSAL].lower()
    refused = re.search(_REFUSED_WHILE_THINKING, message, re.DOTALL) is not None
    if manner == PLAINLY and refused:
        return IN_WORDS if _asks_for_thinking(parameters) else WITHOUT_THINKING
    if manner == WITHOUT_THINKING and (refused or re.search(_CANNOT_SWITCH_OFF, message, re.DOTALL)):
        return IN_WORDS
    return None


def say_in_words(tools: JsonObject, function: str) -> tuple[JsonObject, str]:
    """Return the tool parameters with `function` alone, to be called or not, and the note that asks for the call."""
    offered = [tool for tool in tools["tools"] if tool["function"]["name"] == function]
    return {**tools, "tools": offered, "tool_choice": "auto"}, f"Call the function {function}."


def _asks_for_thinking(parameters: JsonObject) -> bool:
    """Tell whether the caller wants the model to think: parameters that say nothing of it leave that to the model."""
    wishes = ("thinking_budget", "reasoning_effort", "enable_code_interpreter")
    return parameters.get("enable_thinking") is True or any(parameters.get(name) for name in wishes)
