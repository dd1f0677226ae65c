"""Chats of the simplest form: a model, texts, perhaps `stream`. They are answered from bytes that were made before.

Most load that a mock gets is of this form, and it is the first thing that people try. So it is answered fast, and with
no more of the mock loaded than that takes: whatever else a chat may ask for is chat.py's.
"""

from __future__ import annotations

import typing

from protocol.exchange import Answer, Request, Response, answer_in_turns
from protocol.mock.engine.time_and_chance import TimeAndChance
from protocol.on_demand import is_loaded, load
from protocol.openai.answers import COUNTED_AT_ONCE, JSON_FIELDS, count_words, split_words
from protocol.openai.completions import Choice, CompletionHead, FixedChat
from protocol.wire.json_text import JsonObject

# What needs code of its own: calls of tools, and answers that are JSON.
_TOOL_PARAMETERS = frozenset(("tools", "functions", "response_format"))

_TOOL_CODE = ("mock tool calls", "mock JSON")

OtherChat = typing.Callable[[Request, JsonObject], Answer]

_FEW_MESSAGES = 1_000  # that are gone through at once
_USUAL_ROLES = ("system", "user", "assistant", "developer")


class SimpleChat:
    """Answers POST /chat/completions.

    `load_other` returns what answers a chat that is not of the simplest form, given its body. It is called with the
    first such chat, and the first that asks for tools or JSON loads what these need. To compile that takes 200 ms, so
    it is done in turns with everybody else.
    """

    def __init__(self, time: TimeAndChance, load_other: typing.Callable[[], OtherChat]) -> None:
        self._fixed_answer = FixedAnswers(time).answer
        self._load_other = load_other
        self._other: OtherChat | None = None
        self._knows_tools = False

    def answer(self, request: Request) -> Answer:
        """Answer POST /v1/chat/completions."""
        body = request.json_object()
        words = simplest_words(body)
        if words:
            return self._fixed_answer(body, body["model"], words)
        return self.answer_other(request)

    def answer_other(self, request: Request) -> Answer:
        """Answer a chat of any form."""
        body = request.json_object()
        if self._other is None or not (self._knows_tools or body.keys().isdisjoint(_TOOL_PARAMETERS)):
            return self._answer_first(request, body)
        return self._other(request, body)

    def _answer_first(self, request: Request, body: JsonObject) -> Answer:
        needs_tools = not body.keys().isdisjoint(_TOOL_PARAMETERS)

        def answer() -> Answer:
            if needs_tools:
                load("mock tool calls")
                load("mock JSON")
                self._knows_tools = True
            other = self._other = self._load_other()
            return other(request, body)

        if is_loaded("mock api", "mock reference", "mock below /chat", *(_TOOL_CODE if needs_tools else ())):
            return answer()
        return answer_in_turns(answer)


class FixedAnswers:
    """Answers that say the configured text, once."""

    def __init__(self, time: TimeAndChance) -> None:
        self._time = time
        self._chat = FixedChat(Choice(split_words(time.settings.text), "stop"))

    @property
    def tokens(self) -> int:
        """How many tokens the text has."""
        return self._chat.tokens

    def answer(self, body: JsonObject, model: str, words: int) -> Answer:
        """Answer a chat whose prompt has so many words."""
        time, chat = self._time, self._chat
        head = CompletionHead(time.new_id("chatcmpl-"), time.now(), model, words)
        if not body.get("stream"):
            response = Response(200, JSON_FIELDS, chat.completion(head))
            return time.after_words(response, chat.tokens) if time.is_paced else response
        with_usage = includes_usage(body)
        if time.is_paced or with_usage:
            return time.stream(chat.frames(head, include_usage=with_usage))
        return time.stream([chat.stream(head)])


def simplest_words(body: JsonObject) -> int:
    """Count the words of a chat of the simplest form: a model, texts in the usual roles, perhaps whether to stream.

    0 for any other. A chat of this form is good by the description of the API, so it need not be checked, and nothing
    in it shapes the answer: 0.6 µs instead of 1.8 (CPython 3.11).
    """
    messages = body.get("messages")
    if len(body) - (type(body.get("stream")) is bool) != 2 or type(messages) is not list:
        return 0
    model = body.get("model")
    if not model or type(model) is not str:
        return 0
    if len(messages) > _FEW_MESSAGES:
        return 0
    words = 0
    for message in messages:
        if type(message) is not dict or len(message) != 2 or message.get("role") not in _USUAL_ROLES:
            return 0
        content = message.get("content")
        if type(content) is not str:
            return 0
        words += (len(content.split()) if len(content) <= COUNTED_AT_ONCE else count_words(content)) or 1
    return words


def includes_usage(body: JsonObject) -> bool:
    """Whether a stream is to end with its usage."""
    options = body.get("stream_options")
    return type(options) is dict and options.get("include_usage") is True
