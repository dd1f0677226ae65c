"""How a chat request makes a model think: OpenAI's `reasoning_effort`, and DashScope's own switches.

Sources: OpenAI API reference, "Create chat completion", reasoning_effort; DashScope API reference, "Deep thinking".
"""

from __future__ import annotations

import typing

from protocol.dashscope.mapping.fields import (
    optional_choice,
    optional_flag,
    optional_integer,
    optional_object,
    refuse_field,
)
from protocol.dashscope.mapping.models import (
    ALWAYS_THINKING,
    NEVER_THINKING,
    THINKING_BY_DEFAULT,
    THINKING_ON_DEMAND,
    effort_scale_of,
    thinking_of,
    traits_of,
)
from protocol.wire.json_text import JsonObject

#: Members of a request that say how a model shall think; another one, `thinking_budget`, is DashScope's own.
THINKING_FIELDS = ("reasoning_effort", "thinking", "enable_thinking", "chat_template_kwargs")

_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_THINKING_BUDGETS = {"minimal": 1024, "low": 4096, "medium": 16384}
_EFFORT_SCALES = {
    "high-or-max": {"minimal": "high", "low": "high", "medium": "high", "high": "high", "xhigh": "max", "max": "max"},
    "low-to-xhigh": {
        "minimal": "low",
        "low": "low",
        "medium": "medium",
        "high": "xhigh",
        "xhigh": "xhigh",
        "max": "xhigh",
    },
}


def thinking_parameters(request: typing.Mapping[str, typing.Any], model: str) -> JsonObject:
    """Return DashScope's thinking switches. Where the request has them itself, they outrank `reasoning_effort`."""
    native: JsonObject = {}
    effort = optional_choice(request, "reasoning_effort", _EFFORTS)
    budget = _read_budget(request)
    if budget is not None:
        native["thinking_budget"] = budget
    # DashScope refuses an effort beside a budget. The budget is more exact, so it counts.
    elif effort is not None and request.get("thinking_budget") is None:
        native.update(_map_effort(effort, model))
    switch = _read_thinking_switch(request)
    if switch is not None:
        native["enable_thinking"] = switch
    if native.get("enable_thinking") is False:
        native.pop("reasoning_effort", None)
        native.pop("thinking_budget", None)
    return native


def _map_effort(effort: str, model: str) -> JsonObject:
    thinking = thinking_of(model)
    if thinking not in (THINKING_BY_DEFAULT, THINKING_ON_DEMAND):
        return {}
    if effort == "none":
        return {"enable_thinking": False}
    scale = effort_scale_of(model)
    if scale is not None:
        return {"reasoning_effort": _EFFORT_SCALES[scale][effort]}
    native: JsonObject = {"enable_thinking": True}
    if effort in _THINKING_BUDGETS:
        native["thinking_budget"] = _THINKING_BUDGETS[effort]
    return native


def _read_thinking_switch(request: typing.Mapping[str, typing.Any]) -> bool | None:
    """Return the switch: DashScope's own, else that of vLLM's `chat_template_kwargs`, else that of `thinking`."""
    switch = optional_flag(request, "enable_thinking")
    if switch is not None:
        return switch
    template = optional_object(request, "chat_template_kwargs") or {}
    if isinstance(template.get("enable_thinking"), bool):
        return template["enable_thinking"]
    thinking = optional_object(request, "thinking")
    if thinking is None:
        return None
    if thinking.get("type") not in ("enabled", "disabled", "auto", "adaptive"):
        raise refuse_field("thinking.type", "enabled, disabled, auto or adaptive", thinking.get("type"))
    return {"enabled": True, "disabled": False}.get(thinking["type"])


def _read_budget(request: typing.Mapping[str, typing.Any]) -> int | None:
    """Return the budget in `thinking`, where DashScope's own `thinking_budget` is not there to outrank it."""
    thinking = optional_object(request, "thinking")
    if thinking is None or request.get("thinking_budget") is not None:
        return None
    where = "thinking.budget_tokens"
    return optional_integer({where: thinking.get("budget_tokens")}, where, 1)


def is_thinking(model: str, parameters: JsonObject) -> bool:
    """Tell whether the model thinks, as far as it is known, when it is called with these parameters."""
    return thinks(traits_of(model).thinking, parameters)


def thinks(thinking: str, parameters: JsonObject) -> bool:
    """Tell whether a model that thinks in this way (`thinking_of`) does, when it is called with these parameters."""
    if thinking in (ALWAYS_THINKING, NEVER_THINKING):
        return thinking == ALWAYS_THINKING or parameters.get("enable_thinking") is True
    switch = parameters.get("enable_thinking")
    if isinstance(switch, bool):
        return switch
    return thinking == THINKING_BY_DEFAULT
