"""Chats of the usual form: a model, texts, and parameters that shape nothing. They are answered from prepared bytes.

Most load that a mock gets is of this form, and it is the first thing that people try. So it is answered fast, and with
no more of the mock loaded than that takes: whatever else a chat may ask for is chat.py's.
"""

from __future__ import annotations

import typing

from protocol.exchange import Answer, Paced, Request, Response, answer_in_turns
from protocol.mock.engine.named_faults import FAULT_NAMES, answer_sound_or_not
from protocol.mock.engine.time_and_chance import TimeAndChance
from protocol.mock.inference.chat_form import CountedForm, form_of
from protocol.mock.pace.moment import Moment
from protocol.on_demand import is_loaded, load
from protocol.openai.answers import COUNTED_AT_ONCE, EVENT_STREAM_FIELDS, JSON_FIELDS, count_words, split_words
from protocol.openai.completions import Choice, FixedChat
from protocol.wire.json_text import JsonObject

# What needs code of its own: calls of tools, and answers that are JSON.
_TOOL_PARAMETERS = frozenset(("tools", "functions", "response_format"))

_TOOL_CODE = ("mock tool calls", "mock JSON")

OtherChat = typing.Callable[[Request, JsonObject], Answer]

_FEW_MESSAGES = 1_000  # that are gone through at once
# Of so many usual chats that have another form, one is looked at for its own: to find that takes 5 µs.
_CHATS_A_LOOK = 8
_USUAL_ROLES = ("system", "user", "assistant", "developer")

# Parameters that shape nothing in the answer, and what the description of the API (ChatRequest) wants of them. A limit
# on tokens shapes nothing where it is not below those of the text.
_OF_ONE_TYPE = {"seed": int, "user": str}
_WITHIN_BOUNDS = {
    "temperature": ((float, int), 0, 2), "top_p": ((float, int), 0, 1), "n": ((int,), 1, 1),
    "presence_penalty": ((float, int), -2, 2), "frequency_penalty": ((float, int), -2, 2),
}  # fmt: skip
_LIMITS = ("max_tokens", "max_completion_tokens")


class SimpleChat:
    """Answers POST /chat/completions.

    `load_other` returns what answers a chat that is not of the usual form, given its body. It is called with the
    first such chat, and the first that asks for tools or JSON loads what these need. To compile that takes 200 ms, so
    it is done in turns with everybody else.
    """

    def __init__(self, time: TimeAndChance, load_other: typing.Callable[[], OtherChat]) -> None:
        self._time = time
        self._fixed = FixedAnswers(time, _PreparedChat)
        self._load_other = load_other
        self._other: OtherChat | None = None
        self._knows_tools = False
        self._form: CountedForm | None = None
        self._formless = 0  # usual chats that had another form

    def answer(self, request: Request) -> Answer:
        """Answer POST /v1/chat/completions."""
        if self._time.is_paced:
            _ask_usage(request)
        form, data = self._form, request.body
        words = 0 if form is None else form.words(data)
        if form is None or not words:
            body = request.json_object()
            words = usual_words(body, self._fixed.tokens, is_long=len(data) > COUNTED_AT_ONCE)
            if words:
                if not self._formless % _CHATS_A_LOOK:
                    self._form = form_of(data, body, words)
                self._formless += 1
        else:
            body = form.body
        if words:
            try:
                return self._fixed.answer(body, body["model"], words)
            except NamesFault:
                pass
        return self.answer_other(request)

    def answer_paced(self, request: Request) -> Answer:
        """Answer POST /v1/chat/completions at a pace that does not look at what stands in prompts."""
        _ask_usage(request)
        body, time = request.json_object(), self._time
        words = usual_words(body, self._fixed.tokens, is_long=len(request.body) > COUNTED_AT_ONCE)
        if not words or body["model"].startswith(FAULT_NAMES):
            return self.answer_other(request)
        moment = time.moment(time.key_of(request.body), tuple, words, request.came_at)
        if moment is None:
            return self.answer_other(request)
        return self._fixed.answer_at(moment, body, body["model"], words)

    def answer_other(self, request: Request) -> Answer:
        """Answer a chat of any form."""
        _ask_usage(request)
        body = request.json_object()
        return answer_sound_or_not(request, body, lambda: self._answer_other(request, body))

    def _answer_other(self, request: Request, body: JsonObject) -> Answer:
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


def _ask_usage(request: Request) -> None:
    """Let a stream tell its usage to who counts it: it will not be told beside it."""
    if request.charge is not None:
        request.charge.ask_usage(request)


class NamesFault(Exception):
    """A model's name may ask for a fault, so that its answers are not to be prepared."""


class _PreparedChat(FixedChat):
    """Looks at a model's name when its answers are prepared, once a second: those of all others cost nothing."""

    def make_known(self, created: int, model: str) -> None:
        """Make what the answers for a model share; NamesFault where its name may ask for a fault."""
        if model.startswith(FAULT_NAMES):
            raise NamesFault
        super().make_known(created, model)


class FixedAnswers:
    """Answers that say the configured text, once."""

    def __init__(self, time: TimeAndChance, prepared: type[FixedChat] = FixedChat) -> None:
        self._time = time
        self._chat = prepared(Choice(split_words(time.settings.text), "stop"))
        #: How many tokens the text has.
        self.tokens = self._chat.tokens

    def answer(self, asked: JsonObject, model: str, words: int) -> Answer:
        """Answer a chat whose prompt has so many words."""
        time, chat = self._time, self._chat
        id, created = time.new_id("chatcmpl-"), time.now()
        if "stream" not in asked or not asked["stream"]:
            usage = words, 0, self.tokens, 0
            response = Response(200, JSON_FIELDS, chat.completion(id, created, model, words), None, "", (), usage)
            return time.after_words(response, self.tokens) if time.is_paced else response
        with_usage = "stream_options" in asked and includes_usage(asked)
        if time.is_paced or with_usage:
            return time.stream(chat.frames(id, created, model, words, include_usage=with_usage))
        frames = [chat.stream(id, created, model)]
        body = Paced(frames, first_delay=0.0, delay=0.0)
        return Response(200, EVENT_STREAM_FIELDS, body, None, "", (), (words, 0, self.tokens, 0))

    def answer_at(self, moment: Moment, body: JsonObject, model: str, words: int) -> Answer:
        """Answer a chat whose prompt has so many words, at a pace."""
        time, chat = self._time, self._chat
        id, created = time.new_id("chatcmpl-"), time.now()
        if not body.get("stream"):
            response = Response(200, JSON_FIELDS, chat.completion(id, created, model, words))
            return time.after_words(response, self.tokens, moment)
        return time.stream(chat.frames(id, created, model, words, include_usage=includes_usage(body)), moment)


def usual_words(body: JsonObject, tokens: int, *, is_long: bool = False) -> int:
    """Count the words of a chat of the usual form: a model, texts in the usual roles, parameters that shape nothing.

    0 for any other. A chat of this form is good by the description of the API and by chat_rules.py, so it need not be
    checked, and its answer is the text, which has so many `tokens`: 2 µs instead of 13 (CPython 3.11). Words of a chat
    that `is_long` are counted in turns.
    """
    model = messages = limit = None
    is_plainest = True  # besides whether to stream
    for name, value in body.items():
        if name == "messages":
            messages = value
        elif name == "model":
            model = value
        elif name == "stream":
            if type(value) is not bool:
                return 0
        else:
            is_plainest = False
            if name in _WITHIN_BOUNDS:
                types, low, high = _WITHIN_BOUNDS[name]
                if type(value) not in types or not low <= value <= high:
                    return 0
            elif name in _LIMITS:
                if type(value) is not int or value < tokens or limit is not None:
                    return 0
                limit = value
            elif name == "stream_options":
                if body.get("stream") is not True or type(value) is not dict or len(value) != 1:
                    return 0
                if type(value.get("include_usage")) is not bool:
                    return 0
            elif name not in _OF_ONE_TYPE or type(value) is not _OF_ONE_TYPE[name]:
                return 0
    if not model or type(model) is not str or type(messages) is not list:
        return 0
    if is_long and len(messages) > _FEW_MESSAGES:
        return 0
    # Of models that reason there are rules about parameters.
    if not is_plainest and (model[0] == "o" or "gpt-5" in model):
        return 0
    words = 0
    try:
        for message in messages:
            if type(message) is not dict or len(message) != 2 or message["role"] not in _USUAL_ROLES:
                return 0
            content = message["content"]
            if type(content) is not str:
                return 0
            words += (count_words(content) if is_long else len(content.split())) or 1
    except KeyError:
        return 0
    return words


def includes_usage(body: JsonObject) -> bool:
    """Whether a stream is to end with its usage."""
    options = body.get("stream_options")
    return type(options) is dict and options.get("include_usage") is True
