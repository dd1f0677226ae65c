"""The tokens of a text, as the native mock counts them: its words. Source: Alibaba Cloud Model Studio, "Tokenizer"."""

from __future__ import annotations

import binascii

from protocol.exchange import Answer
from protocol.mock.dashscope.answers import output_response
from protocol.mock.dashscope.question import message_text
from protocol.mock.dashscope.refusals import bad_parameter
from protocol.mock.dashscope.service_call import ServiceCall
from protocol.mock.unchecked import objects_of
from protocol.openai.answers import words_of

_VOCABULARY = 151_643


def tokenize(call: ServiceCall) -> Answer:
    """Answer with the tokens of a prompt, or of all messages, and an id for each: the same for the same word."""
    prompt = call.input.get("prompt")
    messages = objects_of(call.input.get("messages"))
    texts = [prompt] if type(prompt) is str else [message_text(message) for message in messages]
    tokens, ids = [], []
    for text in texts:
        for word in words_of(text):
            tokens.append(word)
            ids.append(binascii.crc32(word.encode("utf-8", "backslashreplace")) % _VOCABULARY)
    if not tokens:
        raise bad_parameter("Field required: input.messages")
    return output_response(call.request.id, {"token_ids": ids, "tokens": tokens}, {"input_tokens": len(tokens)})
