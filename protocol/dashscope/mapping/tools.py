"""Tool definitions and the choice among them, OpenAI's as DashScope's.

DashScope cannot be told that some tool must be called ("required"), nor, while a model thinks, which one; there the
nearest thing it takes is sent. Source: OpenAI API reference, "Create chat completion": tools, tool_choice.
"""

from __future__ import annotations

import re
import typing

from protocol.dashscope.mapping.fields import optional_flag, optional_list, refuse_field

_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TOOL_RESERVED_NAMES = ("search",)
_TOOL_KEYS = ("name", "description", "parameters", "strict")


def tool_parameters(request: typing.Mapping[str, typing.Any], thinking: bool) -> dict[str, typing.Any]:
    """Return `tools`, `tool_choice` and `parallel_tool_calls` for a native call; nothing where there are no tools.

    The older `functions` and `function_call` are read in their place. Raises the 400 that names the tool at fault.
    """
    tools = _read_tools(request)
    param, choice = _read_tool_choice(request)
    if not tools:
        if choice not in (None, "auto", "none"):
            raise refuse_field(param, "tools in the same request", choice)
        return {}
    tools, choice = _allowed_tools(tools, choice, param)
    native: dict[str, typing.Any] = {"tools": tools}
    if choice is not None:
        native["tool_choice"] = _native_tool_choice(tools, choice, param, thinking)
    parallel = optional_flag(request, "parallel_tool_calls")
    # DashScope's default is false and OpenAI's true, so it is always said.
    native["parallel_tool_calls"] = True if parallel is None else parallel
    return native


def names_one_tool(request: typing.Mapping[str, typing.Any]) -> bool:
    """Tell whether the request forces one function: its answer then ends with "stop", as OpenAI's does."""
    choice = _read_tool_choice(request)[1]
    return isinstance(choice, dict) and choice.get("type") == "function"


def _read_tools(request: typing.Mapping[str, typing.Any]) -> list[dict[str, typing.Any]]:
    tools = optional_list(request, "tools")
    if tools:
        return [_read_tool(tool, f"tools[{number}]") for number, tool in enumerate(tools)]
    functions = optional_list(request, "functions") or []
    return [_read_tool_function(function, f"functions[{number}]") for number, function in enumerate(functions)]


def _read_tool(tool: object, where: str) -> dict[str, typing.Any]:
    if not isinstance(tool, dict):
        raise refuse_field(where, "an object", tool)
    if tool.get("type") != "function":
        raise refuse_field(where + ".type", "function, the only type of tool that DashScope has", tool.get("type"))
    return _read_tool_function(tool.get("function"), where + ".function")


def _read_tool_function(function: object, where: str) -> dict[str, typing.Any]:
    if not isinstance(function, dict):
        raise refuse_field(where, "an object", function)
    name = function.get("name")
    if not isinstance(name, str) or not _TOOL_NAME.fullmatch(name):
        raise refuse_field(where + ".name", "1 to 64 letters, digits, underscores or hyphens", name)
    if name in _TOOL_RESERVED_NAMES:
        raise refuse_field(where + ".name", "another name, for DashScope keeps this one to itself", name)
    native = {key: function[key] for key in _TOOL_KEYS if function.get(key) is not None}
    native.setdefault("parameters", {"type": "object", "properties": {}})
    return {"type": "function", "function": native}


def _read_tool_choice(request: typing.Mapping[str, typing.Any]) -> tuple[str, typing.Any]:
    """Return the field that holds the choice, and the choice, the older `function_call` in today's form."""
    if request.get("tool_choice") is not None:
        return "tool_choice", request["tool_choice"]
    choice = request.get("function_call")
    if isinstance(choice, dict):
        choice = {"type": "function", "function": {"name": choice.get("name")}}
    return "function_call", choice


def _allowed_tools(
    tools: list[dict[str, typing.Any]], choice: typing.Any, param: str
) -> tuple[list[dict[str, typing.Any]], typing.Any]:
    """Apply a choice of type allowed_tools: only those tools are sent, and its mode is the choice."""
    if not isinstance(choice, dict) or choice.get("type") != "allowed_tools":
        return tools, choice
    where = param + ".allowed_tools"
    allowed = choice.get("allowed_tools")
    if not isinstance(allowed, dict) or not isinstance(allowed.get("tools"), list):
        raise refuse_field(where, "an object with mode and tools", allowed)
    names = [_chosen_tool_name(tool, f"{where}.tools[{number}]") for number, tool in enumerate(allowed["tools"])]
    kept = [tool for tool in tools if tool["function"]["name"] in names]
    if not kept:
        raise refuse_field(where + ".tools", "at least one of the tools in this request", names)
    return kept, allowed.get("mode", "auto")


def _native_tool_choice(
    tools: list[dict[str, typing.Any]], choice: typing.Any, param: str, thinking: bool
) -> str | dict[str, typing.Any]:
    if choice in ("auto", "none"):
        return choice
    if choice == "required":
        # Of a single tool it can be said by name, as long as the model does not think.
        if len(tools) > 1 or thinking:
            return "auto"
        return {"type": "function", "function": {"name": tools[0]["function"]["name"]}}
    if not isinstance(choice, dict) or choice.get("type") != "function":
        raise refuse_field(param, "auto, none, required, allowed_tools or a named function", choice)
    name = _chosen_tool_name(choice, param)
    if all(tool["function"]["name"] != name for tool in tools):
        raise refuse_field(param, "the name of one of the tools in this request", name)
    return "auto" if thinking else {"type": "function", "function": {"name": name}}


def _chosen_tool_name(tool: object, where: str) -> str:
    function = tool.get("function") if isinstance(tool, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str):
        raise refuse_field(where, "an object that names a function", tool)
    return name
