"""Chats with models that translate: what a client without their special form sends, as the one message that they take.

Qwen-MT takes one message of a user, and no system message. With `translation_options` that message is what is to be
translated; without them it is an instruction, which names the language and has the text in it ("custom prompt").
Clients that know nothing of this send the instruction as a system message, and perhaps earlier turns. Source: Alibaba
Cloud Model Studio, "Machine translation (Qwen-MT)".
"""

from __future__ import annotations

import typing

from protocol.dashscope.mapping.answer import joined_content
from protocol.wire.json_text import JsonObject

_OPTIONS = "translation_options"


def one_message(messages: list[typing.Any], parameters: JsonObject) -> list[typing.Any]:
    """Return the last user's message alone, with what the system messages say before it.

    Beside `translation_options` in the `parameters` that becomes their `domains`, unless they have some: there the
    style is described. Messages among which there is none of a user are returned as they are.
    """
    known = [message for message in messages if isinstance(message, dict)]
    asked = next((message for message in reversed(known) if message.get("role") == "user"), None)
    if asked is None or len(known) < len(messages):
        return messages
    told = [
        joined_content(message.get("content")) for message in known if message.get("role") in ("system", "developer")
    ]
    instruction = "\n\n".join(text for text in told if text.strip())
    options = parameters.get(_OPTIONS)
    if isinstance(options, dict):
        if instruction and not options.get("domains"):
            parameters[_OPTIONS] = {**options, "domains": instruction}
        return [asked]
    if not instruction:
        return [asked]
    return [{"role": "user", "content": f"{instruction}\n\n{joined_content(asked.get('content'))}"}]
