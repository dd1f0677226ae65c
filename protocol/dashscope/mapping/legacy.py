"""OpenAI's legacy completions by way of chat: the prompt as one user message, the chat's answers in the older shape.

Source: OpenAI API reference, "Completions (legacy)".
"""

from __future__ import annotations

import typing

from protocol.dashscope.mapping.fields import refuse_field
from protocol.wire.json_text import JsonObject

# What no chat can do. The values listed ask for nothing.
_IMPOSSIBLE = {
    "best_of": (None, 1),
    "echo": (None, False),
    "logprobs": (None, 0),
    "suffix": (None, ""),
}


def chat_request_for_completion(request: typing.Mapping[str, typing.Any]) -> JsonObject:
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


def text_completion(chat: typing.Mapping[str, typing.Any]) -> JsonObject:
    """Return the legacy completion for a chat completion. It has no place for the reasoning of a model that thinks."""
    choices = [_choice(choice, choice["message"].get("content")) for choice in chat["choices"]]
    return _completion(chat, choices)


def text_completion_chunk(chunk: typing.Mapping[str, typing.Any]) -> JsonObject | None:
    """Return the legacy chunk for a chunk of a chat completion; None where it has neither text, reason nor usage."""
    choices = [
        _choice(choice, choice["delta"].get("content"))
        for choice in chunk["choices"]
        if choice["delta"].get("content") or choice["finish_reason"]
    ]
    return _completion(chunk, choices) if choices or chunk.get("usage") else None


def _choice(choice: JsonObject, text: str | None) -> JsonObject:
    reason = choice["finish_reason"]
    return {"index": choice["index"], "text": text or "", "logprobs": None, "finish_reason": reason}


def _completion(chat: typing.Mapping[str, typing.Any], choices: list[JsonObject]) -> JsonObject:
    legacy = {**chat, "object": "text_completion", "choices": choices}
    legacy["id"] = "cmpl-" + str(chat["id"]).partition("-")[2]
    return legacy
