"""Tool definitions and the choice among them, OpenAI's as DashScope's.

DashScope keeps the name "search" to itself, so another name stands for a function that is called so. It has no way to
say that some tool must be called: "required" is refused, or taken without being kept. Where there is but one tool it is
named; among several a note in the system message asks for a call. What becomes of a named one while a model thinks,
forcing.py says. Sources: OpenAI API reference, "Create chat completion": tools, tool_choice; Alibaba Cloud's pages
"Function calling" and "Error codes" (`tool_choice is one of the strings that should be ["none", "auto"]`).
"""

from __future__ import annotations

import re
import typing

from protocol.dashscope.mapping.fields import optional_flag, optional_list, refuse_field
from protocol.dashscope.mapping.parts import CACHE_MARK
from protocol.wire.json_text import JsonObject

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_RESERVED_NAME = "search"
_STAND_IN = "search_tool"
SOME_CALL_NOTE = "Do not answer in words: call one of the functions that you have."
_KEYS = ("name", "description", "parameters", "strict")


def tool_parameters(request: typing.Mapping[str, typing.Any]) -> JsonObject:
    """Return `tools`, `tool_choice` and `parallel_tool_calls` for a native call; nothing where there are no tools.

    Where the request has the older `functions` and `function_call` instead, those are read. Raises the 400 that names
    the tool at fault.
    """
    tools = _read_tools(request)
    param, choice = _read_tool_choice(request)
    if not tools:
        if choice not in (None, "auto", "none"):
            raise refuse_field(param, "tools in the same request", choice)
        return {}
    tools, choice = _allowed_tools(tools, choice, param)
    native: JsonObject = {"tools": tools}
    if choice is not None:
        native["tool_choice"] = _native_tool_choice(tools, choice, param)
    parallel = optional_flag(request, "parallel_tool_calls")
    # It is always sent, because DashScope's default is false and OpenAI's is true.
    native["parallel_tool_calls"] = True if parallel is None else parallel
    for stand_in, asked in stand_ins(request).items():
        for tool in [*tools, *([native["tool_choice"]] if isinstance(native.get("tool_choice"), dict) else [])]:
            if tool["function"]["name"] == asked:
                tool["function"] = {**tool["function"], "name": stand_in}
    return native


def stand_ins(request: typing.Mapping[str, typing.Any]) -> dict[str, str]:
    """Return the names that stand for those of functions which DashScope keeps to itself, by themselves: stand-in →
    asked. A stand-in is none of the other functions' names."""
    names = {tool["function"]["name"] for tool in _read_tools(request)}
    if _RESERVED_NAME not in names:
        return {}
    # One of these is free, because there are more of them than names.
    numbered = (f"{_STAND_IN}_{number}" for number in range(2, len(names) + 2))
    return {next(name for name in (_STAND_IN, *numbered) if name not in names): _RESERVED_NAME}


def rename_calls(messages: typing.Iterable[JsonObject], names: typing.Mapping[str, str]) -> None:
    """Put the stand-ins (stand-in → asked) into the calls of a history of native messages."""
    for stand_in, asked in names.items():
        for message in messages:
            for call in message.get("tool_calls") or ():
                if call["function"].get("name") == asked:
                    call["function"]["name"] = stand_in


def forced_function(native: JsonObject) -> str:
    """Return the name of the function that native tool parameters force, "" where the model may choose."""
    choice = native.get("tool_choice")
    name: str = choice["function"]["name"] if isinstance(choice, dict) else ""
    return name


def requires_some_call(request: typing.Mapping[str, typing.Any], native: JsonObject) -> bool:
    """Tell whether a request requires a call of some function, and native tool parameters cannot say so."""
    choice = _read_tool_choice(request)[1]
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        choice = choice["allowed_tools"].get("mode")
    return choice == "required" and native.get("tool_choice") == "auto"


def names_one_tool(request: typing.Mapping[str, typing.Any]) -> bool:
    """Tell whether the request forces one function: OpenAI's answer to it ends with "stop"."""
    choice = _read_tool_choice(request)[1]
    return isinstance(choice, dict) and choice.get("type") == "function"


def _read_tools(request: typing.Mapping[str, typing.Any]) -> list[JsonObject]:
    tools = optional_list(request, "tools")
    if tools:
        return [_read_tool(tool, f"tools[{number}]") for number, tool in enumerate(tools)]
    functions = optional_list(request, "functions") or []
    return [_read_function(function, f"functions[{number}]") for number, function in enumerate(functions)]


def _read_tool(tool: object, where: str) -> JsonObject:
    if not isinstance(tool, dict):
        raise refuse_field(where, "an object", tool)
    if tool.get("type") != "function":
        raise refuse_field(where + ".type", "function, the only type of tool that DashScope has", tool.get("type"))
    native = _read_function(tool.get("function"), where + ".function")
    mark = tool.get(CACHE_MARK) or tool["function"].get(CACHE_MARK)
    return {**native, CACHE_MARK: mark} if mark else native


def _read_function(function: object, where: str) -> JsonObject:
    if not isinstance(function, dict):
        raise refuse_field(where, "an object", function)
    name = function.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise refuse_field(where + ".name", "1 to 64 letters, digits, underscores or hyphens", name)
    native = {key: function[key] for key in _KEYS if function.get(key) is not None}
    native.setdefault("parameters", {"type": "object", "properties": {}})
    return {"type": "function", "function": native}


def _read_tool_choice(request: typing.Mapping[str, typing.Any]) -> tuple[str, typing.Any]:
    """Return the name of the field with the choice, and the choice; a `function_call` becomes a `tool_choice`."""
    if request.get("tool_choice") is not None:
        return "tool_choice", request["tool_choice"]
    choice = request.get("function_call")
    if isinstance(choice, dict):
        choice = {"type": "function", "function": {"name": choice.get("name")}}
    return "function_call", choice


def _allowed_tools(tools: list[JsonObject], choice: typing.Any, param: str) -> tuple[list[JsonObject], typing.Any]:
    """Apply a choice of type allowed_tools: return the tools that it allows, and its mode as the choice."""
    if not isinstance(choice, dict) or choice.get("type") != "allowed_tools":
        return tools, choice
    where = param + ".allowed_tools"
    allowed = choice.get("allowed_tools")
    if not isinstance(allowed, dict) or not isinstance(allowed.get("tools"), list):
        raise refuse_field(where, "an object with mode and tools", allowed)
    names = [_chosen_name(tool, f"{where}.tools[{number}]") for number, tool in enumerate(allowed["tools"])]
    kept = [tool for tool in tools if tool["function"]["name"] in names]
    if not kept:
        raise refuse_field(where + ".tools", "at least one of the tools in this request", names)
    return kept, allowed.get("mode", "auto")


def _native_tool_choice(tools: list[JsonObject], choice: typing.Any, param: str) -> str | JsonObject:
    if choice in ("auto", "none"):
        return choice
    if choice == "required":
        if len(tools) > 1:
            return "auto"
        return {"type": "function", "function": {"name": tools[0]["function"]["name"]}}
    if not isinstance(choice, dict) or choice.get("type") != "function":
        raise refuse_field(param, "auto, none, required, allowed_tools or a named function", choice)
    name = _chosen_name(choice, param)
    if all(tool["function"]["name"] != name for tool in tools):
        raise refuse_field(param, "the name of one of the tools in this request", name)
    return {"type": "function", "function": {"name": name}}


def _chosen_name(tool: object, where: str) -> str:
    function = tool.get("function") if isinstance(tool, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str):
        raise refuse_field(where, "an object that names a function", tool)
    return name
