from __future__ import annotations

import pytest

from protocol.dashscope.mapping.forcing import say_in_words
from protocol.dashscope.mapping.tools import forced_function, names_one_tool, tool_parameters
from protocol.errors import ApiError

EMPTY = {"type": "object", "properties": {}}
F = {"type": "function", "function": {"name": "f", "description": "d", "parameters": EMPTY}}
G = {"type": "function", "function": {"name": "g", "parameters": EMPTY}}
NAMED = {"type": "function", "function": {"name": "f"}}


def allowed(mode: str, *names: str) -> dict:
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}


def tool(**function: object) -> dict:
    return {"type": "function", "function": function}


# request; native parameters when the model does not think; the choice when it does
ROWS = {
    "no tools": ({}, {}, None),
    "empty tools": ({"tools": [], "tool_choice": "auto", "parallel_tool_calls": True}, {}, None),
    "tools": ({"tools": [F, G]}, {"tools": [F, G], "parallel_tool_calls": True}, None),
    "parallel calls refused": (
        {"tools": [F], "parallel_tool_calls": False},
        {"tools": [F], "parallel_tool_calls": False},
        None,
    ),
    "default parameters": ({"tools": [tool(name="g")]}, {"tools": [G], "parallel_tool_calls": True}, None),
    "strict passes, the unknown does not": (
        {"tools": [tool(name="g", strict=True, parameters=EMPTY, colour="red")]},
        {"tools": [tool(name="g", strict=True, parameters=EMPTY)], "parallel_tool_calls": True},
        None,
    ),
    "auto": (
        {"tools": [F], "tool_choice": "auto"},
        {"tools": [F], "tool_choice": "auto", "parallel_tool_calls": True},
        "auto",
    ),
    "none": (
        {"tools": [F], "tool_choice": "none"},
        {"tools": [F], "tool_choice": "none", "parallel_tool_calls": True},
        "none",
    ),
    "required of one": (
        {"tools": [F], "tool_choice": "required"},
        {"tools": [F], "tool_choice": NAMED, "parallel_tool_calls": True},
        "auto",
    ),
    "required of several": (
        {"tools": [F, G], "tool_choice": "required"},
        {"tools": [F, G], "tool_choice": "auto", "parallel_tool_calls": True},
        "auto",
    ),
    "a named function": (
        {"tools": [F, G], "tool_choice": NAMED},
        {"tools": [F, G], "tool_choice": NAMED, "parallel_tool_calls": True},
        "auto",
    ),
    "allowed tools": (
        {"tools": [F, G], "tool_choice": allowed("auto", "g")},
        {"tools": [G], "tool_choice": "auto", "parallel_tool_calls": True},
        "auto",
    ),
    "one of the allowed tools required": (
        {"tools": [F, G], "tool_choice": allowed("required", "f")},
        {"tools": [F], "tool_choice": NAMED, "parallel_tool_calls": True},
        "auto",
    ),
    "functions": (
        {"functions": [F["function"]], "function_call": "auto"},
        {"tools": [F], "tool_choice": "auto", "parallel_tool_calls": True},
        "auto",
    ),
    "function_call": (
        {"functions": [F["function"], G["function"]], "function_call": {"name": "f"}},
        {"tools": [F, G], "tool_choice": NAMED, "parallel_tool_calls": True},
        "auto",
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_maps_tools(name: str) -> None:
    request, expected, _ = ROWS[name]
    assert tool_parameters(request) == expected


@pytest.mark.parametrize("name", ROWS)
def test_a_thinking_model_is_not_told_which_tool(name: str) -> None:
    request, _, choice = ROWS[name]
    native, note = tool_parameters(request), ""
    if forced_function(native):
        native, note = say_in_words(native, "f")
        assert (native["tools"], note) == ([F], "Call the function f.")
    assert native.get("tool_choice") == choice


REFUSALS = {
    "tools are no list": ({"tools": {}}, "tools"),
    "tool is no object": ({"tools": ["f"]}, "tools[0]"),
    "another type": ({"tools": [F, {"type": "web_search"}]}, "tools[1].type"),
    "custom": ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type"),
    "no function": ({"tools": [{"type": "function"}]}, "tools[0].function"),
    "no name": ({"tools": [tool()]}, "tools[0].function.name"),
    "bad name": ({"tools": [tool(name="get weather")]}, "tools[0].function.name"),
    "long name": ({"tools": [tool(name="f" * 65)]}, "tools[0].function.name"),
    "bad function": ({"functions": [{"name": "a.b"}]}, "functions[0].name"),
    "choice without tools": ({"tool_choice": "required"}, "tool_choice"),
    "named without tools": ({"tool_choice": NAMED}, "tool_choice"),
    "unknown word": ({"tools": [F], "tool_choice": "any"}, "tool_choice"),
    "unknown type": ({"tools": [F], "tool_choice": {"type": "custom"}}, "tool_choice"),
    "no such tool": ({"tools": [G], "tool_choice": NAMED}, "tool_choice"),
    "no such function": ({"functions": [G["function"]], "function_call": {"name": "f"}}, "function_call"),
    "none allowed": ({"tools": [F], "tool_choice": allowed("auto", "x")}, "tool_choice.allowed_tools.tools"),
    "allowed without tools": (
        {"tools": [F], "tool_choice": {"type": "allowed_tools", "allowed_tools": {}}},
        "tool_choice.allowed_tools",
    ),
    "parallel is no flag": ({"tools": [F], "parallel_tool_calls": "yes"}, "parallel_tool_calls"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refuses_tools_and_names_the_place(name: str) -> None:
    request, param = REFUSALS[name]
    with pytest.raises(ApiError) as caught:
        tool_parameters(request)
    assert (caught.value.status, caught.value.param) == (400, param)


def test_accepts_the_longest_name() -> None:
    assert tool_parameters({"tools": [tool(name="f" * 64)]})["tools"]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({"tool_choice": NAMED}, True),
        ({"function_call": {"name": "f"}}, True),
        ({"tool_choice": "required"}, False),
        ({"tool_choice": allowed("auto", "f")}, False),
        ({}, False),
    ],
)
def test_knows_when_one_function_is_forced(request_: dict, expected: bool) -> None:
    assert names_one_tool(request_) is expected
