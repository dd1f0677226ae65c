"""Usage as a tester tells it, in place of what was counted."""

from __future__ import annotations

import typing

from protocol.wire.json_text import JsonObject


class ScriptedUsage(typing.NamedTuple):
    """Tokens as they are to be reported; None for what is to be counted."""

    input: int | None = None
    output: int | None = None
    total: int | None = None
    cached: int | None = None
    reasoning: int | None = None


def with_scripted(usage: JsonObject, told: ScriptedUsage | None) -> JsonObject:
    """Return a usage with what is told of it, in the names that it has: chats say prompt, Responses say input."""
    if told is None:
        return usage
    read, said = ("prompt", "completion") if "prompt_tokens" in usage else ("input", "output")
    made = dict(usage)
    if told.input is not None:
        made[f"{read}_tokens"] = told.input
    if told.output is not None:
        made[f"{said}_tokens"] = told.output
    total = made.get(f"{read}_tokens", 0) + made.get(f"{said}_tokens", 0)
    made["total_tokens"] = total if told.total is None else told.total
    for side, member, count in ((read, "cached_tokens", told.cached), (said, "reasoning_tokens", told.reasoning)):
        if count is not None:
            # Realtime and DashScope have names of their own for the details.
            names = (f"{side}_tokens_details", f"{side}_token_details", "prompt_tokens_details")
            name = next((name for name in names if name in made), names[0])
            made[name] = {**made.get(name, {}), member: count}
    return made
