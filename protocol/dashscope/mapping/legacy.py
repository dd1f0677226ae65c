"""OpenAI's legacy completions by way of chat: the prompt as one user message, and the chat's answers in their shape.

Source: OpenAI API reference, "Completions (legacy)".
"""

from __future__ import annotations

import typing

from protocol.dashscope.mapping.fields import refuse_field

# What a chat cannot do; the values listed ask for nothing.
_IMPOSSIBLE = {
    "best_of": (None, 1),
    "echo": (None, False),
    "logprobs": (None, 0),
    "suffix": (None, ""),
}


def chat_request_of_completion(request: typing.Mapping[str, typing.Any]) -> dict[str, typing.Any]:
    """Return the chat request for a legacy completion request, or raise the ApiError 400 that names the field."""
    prompt = request.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str) or not prompt:
        raise refuse_field(
            "prompt", "one non-empty string; token arrays and several prompts are not translated", prompt
        )
    for name, harmless in _IMPOSSIBLE.items():
        if request.get(name) not in harmless:
            raise refuse_field(name, "no such field: DashScope has chat models only", request[name])
    chat = {name: value for name, value in request.items() if name != "prompt" and name not in _IMPOSSIBLE}
    chat["messages"] = [{"role": "user", "content": prompt}]
    return chat


def completion_of_chat(chat: typing.Mapping[str, typing.Any]) -> dict[str, typing.Any] | None:
    """Return the legacy object for a chat completion or one of its chunks; None for a chunk that says nothing here.

    The reasoning of a model that thinks has no place in it.
    """
    choices = []
    for choice in chat["choices"]:
        said = choice.get("message") or choice.get("delta") or {}
        text, reason = said.get("content") or "", choice["finish_reason"]
        if text or reason:
            choices.append({"index": choice["index"], "text": text, "logprobs": None, "finish_reason": reason})
    if not choices and not chat.get("usage"):
        return None
    legacy = {**chat, "object": "text_completion", "choices": choices}
    legacy["id"] = "cmpl-" + str(chat["id"]).partition("-")[2]
    return legacy
