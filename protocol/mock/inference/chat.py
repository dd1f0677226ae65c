"""Chat completions of any form: with tools, as JSON, spoken, several choices at once; and completions that are stored.

An answer says the mock's text, unless the request leaves no choice (a schema, a forced call), or its prompt asks for
one of its tools.
"""

from __future__ import annotations

import typing

from protocol.budget import Budget, BudgetSpent, is_in_turns, spend_turn
from protocol.errors import ApiError
from protocol.exchange import Answer, Request, Response
from protocol.instrument.script.asked import Line, talk_of
from protocol.mock.answer.cost import CHUNK_BYTES, LOGPROB_BYTES, answered, charge_answer
from protocol.mock.answer.logprobs import token_logprobs
from protocol.mock.answer.own_words import own_words
from protocol.mock.answer.reply import OfferedTool, Question, Reply, ToolCall, ToolResult, reply
from protocol.mock.answer.spoken import Speaker, caller_of, speaker_for
from protocol.mock.engine.resources import Handler, page_of, update_object, with_warning
from protocol.mock.engine.store import State
from protocol.mock.engine.world import Call, World
from protocol.mock.inference.chat_rules import chat_fault
from protocol.mock.inference.simple_chat import FixedAnswers, includes_usage
from protocol.mock.media.sound import WORD_SECONDS, SpokenSound, voice_seed
from protocol.openai.answers import COUNTED_AT_ONCE, count_words, json_response, split_words
from protocol.openai.api.checks import check_body
from protocol.openai.api.notation import NamedShape
from protocol.openai.audio import SPEECH_SAMPLE_RATE
from protocol.openai.completions import (
    Choice,
    ChoiceAudio,
    ChoiceCall,
    CompletionHead,
    Mixture,
    chat_completion,
    chat_frames,
)
from protocol.wire.json_text import JsonObject

STORED_CHATS = "/chat/completions"

# What makes a chat's answer anything else than the configured text once.
_SHAPING_PARAMETERS = frozenset(
    "n stop max_tokens max_completion_tokens ignore_eos min_tokens tools tool_choice functions function_call"
    " response_format logprobs store modalities".split()
)
# Of these, the parameters that change nothing when the text is short enough.
_LENGTH_PARAMETERS = ("max_tokens", "max_completion_tokens")
_FEW_MESSAGES = 100  # that are gone through at once
_CREATE_CHAT = "POST /chat/completions"
# Who answers where a request is not checked and names no model.
_UNNAMED_MODEL = "gpt-4o"
_MOST_CHOICES = 128
_MOST_CHOSEN_BYTES = 200_000  # of bodies read, one for each choice that differs: under 1 s; further choices repeat them
_SPOKEN_WORD_BYTES = int(WORD_SECONDS * SPEECH_SAMPLE_RATE * 2 * 4 / 3)  # 16 bits a sample, in base64
_SPOKEN_SECONDS = 3600  # how long a later request can refer to a spoken answer
_INSTRUCTING_ROLES = ("system", "developer")


class _StoredChat(State):
    """What a stored completion knows and does not show: the messages that it answers."""

    __slots__ = ("messages",)

    def __init__(self, messages: list[JsonObject]) -> None:
        self.messages = messages


class ChatCompletions:
    """Answers chats of any form, and keeps those that are to be stored."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._fixed = FixedAnswers(world.time)
        self._is_strict = world.settings.validate == "strict"
        shape = world.reference.operation(_CREATE_CHAT).body
        assert shape is not None
        self._shape = shape
        self._check = world.reference.conformity.kept_check(shape)

    def operations(self) -> dict[str, Handler]:
        """Return the handlers by operation."""
        return {
            "GET /chat/completions/{completion_id}/messages": self.messages,
            "POST /chat/completions/{completion_id}": update_object,
        }

    def answer(self, request: Request, body: JsonObject) -> Answer:
        """Answer POST /v1/chat/completions."""
        model = asked_model(body, is_strict=self._is_strict)
        if self._is_strict:
            check_body(self._check, body)
            fault = chat_fault(body)
            if fault is not None:
                raise fault
            warning, messages = "", body["messages"]
        else:
            warning = self._world.check(self._shape, body)
            if not warning and self._world.settings.validate == "warn":
                fault = chat_fault(body)
                warning = "" if fault is None else fault.message
            messages = self._sound_messages(body)
            body = {**self._world.conforming(_CREATE_CHAT, body), "model": model}
        time, speaker = self._world.time, speaker_for(caller_of(request), "chat", body)
        if not warning and speaker is None and time.is_plain and self._shapes_nothing(body):
            return self._fixed.answer(body, model, prompt_words(messages))

        key = b"" if time.is_plain else time.key_of(request.body)
        text = time.text(body, key)

        def work(budget: Budget) -> Response | typing.Awaitable[Response]:
            said = self._scripted(body, messages, speaker, budget) if speaker is not None else []
            said = said or self._said(body, messages, text, len(request.body), budget)
            told = said[0].reply.told
            words = prompt_words(messages)
            moment = time.moment(key, lambda: prompt_tokens(messages), words, request.came_at)
            cached = 0 if moment is None else moment.cached_tokens
            head = CompletionHead(
                self._world.new_id("chatcmpl-"), self._world.now(), model, words, cached,
                None if told is None else told.usage,
            )  # fmt: skip
            choices = self._choices(body, said)
            if body.get("store"):
                self._store(body, messages, chat_completion(head, choices))
            if body.get("stream"):
                frames = chat_frames(
                    head, choices, include_usage=includes_usage(body), is_continuous=is_usage_continuous(body)
                )
                return with_warning(self._world.stream(frames, moment), warning)
            response = with_warning(json_response(chat_completion(head, choices)), warning)
            return self._world.after_words(response, max(choice.tokens for choice in choices), moment)

        return answered(work)

    def _sound_messages(self, body: JsonObject) -> list[JsonObject]:
        """Return the messages that are as the API has them: a lenient `validate` lets others in."""
        sound = self._world.reference.conformity.conforms
        return [message for message in chat_messages(body) if sound(NamedShape("ChatMessage"), message)]

    def _shapes_nothing(self, body: JsonObject) -> bool:
        """Whether nothing in a body makes its answer anything else than the configured text once."""
        return not is_usage_continuous(body) and all(
            self._is_harmless(name, body[name]) for name in _SHAPING_PARAMETERS & body.keys()
        )

    def _is_harmless(self, name: str, value: typing.Any) -> bool:
        if value is None or value is False or (name == "min_tokens" and value == 0):
            return True
        if name in _LENGTH_PARAMETERS:
            return type(value) is int and value >= self._fixed.tokens
        return name == "n" and type(value) is int and value == 1

    # ---- what a choice says -------------------------------------------------------------------------------------

    def _said(
        self, body: JsonObject, messages: typing.Sequence[JsonObject], text: str, body_size: int, budget: Budget
    ) -> list[_Said]:
        """Decide what the choices say that differ. It changes nothing, and charges for all that the answer takes."""
        question = chat_question(body, messages)
        count = choice_count(body)
        said: list[_Said] = []
        for number in range(max(1, min(count, _MOST_CHOSEN_BYTES // max(1, body_size)))):
            try:
                made = reply(question._replace(number=number), text, budget)
            except BudgetSpent:
                if said and is_in_turns():
                    break  # all further choices repeat these
                raise
            said.append(_said_by(made, body, is_named=bool(question.named)))
            if not number:
                # Choices are about as long as one another: where they would be too long, no further one is made.
                charge_answer(budget, [said[0].extent()] * count, _word_bytes(body), is_made=False)
        texts = [one.extent() for one in said]
        charge_answer(budget, (texts[number % len(texts)] for number in range(count)), _word_bytes(body))
        return said

    def _scripted(
        self, body: JsonObject, messages: typing.Sequence[JsonObject], speaker: Speaker, budget: Budget
    ) -> list[_Said]:
        """Return what the script says, which all choices repeat; nothing where it says nothing."""
        question = chat_question(body, messages)
        made = speaker.reply(lambda: talk_of(chat_lines(messages)), question.tools, budget)
        if made is None:
            return []
        said = _told_by(made, body)
        if said.mixture is not None and asks_for_audio(body):
            speaker.note("the answer is more than a text, so it is not spoken")
        charge_answer(budget, [said.extent()] * choice_count(body), _word_bytes(body))
        return [said]

    def _choices(self, body: JsonObject, said: typing.Sequence[_Said]) -> list[Choice]:
        choices = [self._choice(body, one, number) for number, one in enumerate(said)]
        return [choices[number % len(choices)] for number in range(choice_count(body))]

    def _choice(self, body: JsonObject, said: _Said, number: int) -> Choice:
        calls = [self._called(body, call, pieces) for call, pieces in zip(said.reply.calls, said.calls)]
        if calls and calls[0].kind == "legacy":
            del calls[1:]  # a message has one `function_call` at most
        if calls and said.mixture is None:
            return Choice([], said.reason, calls=calls)
        logprobs: list[JsonObject] = []
        if body.get("logprobs") is True:
            seed = body.get("seed")
            logprobs = token_logprobs(said.pieces, body.get("top_logprobs") or 0, seed if type(seed) is int else 0)
        if said.mixture is not None:
            mixture = said.mixture.with_calls(calls)
            return Choice(said.pieces, said.reason, calls=calls, logprobs=logprobs, mixture=mixture)
        audio = self._audio(body, said.pieces, number) if asks_for_audio(body) else None
        return Choice(said.pieces, said.reason, logprobs=logprobs, audio=audio)

    def _audio(self, body: JsonObject, pieces: typing.Sequence[str], number: int) -> ChoiceAudio:
        """Return how an answer sounds; ApiError 400 in OpenAI's words for a stream in another format than pcm16."""
        audio = body.get("audio")
        asked = audio if type(audio) is dict else {}
        if not asked and self._is_strict:
            message = "Missing required parameter: 'audio'."
            raise ApiError(400, message, param="audio", code="missing_required_parameter")
        form = asked.get("format") or "pcm16"
        if body.get("stream") and form != "pcm16" and self._is_strict:
            message = f"Unsupported value: 'audio.format' does not support '{form}' when stream=true."
            message += " Supported values are: 'pcm16'."
            raise ApiError(400, message, param="audio.format", code="unsupported_value")
        sound = SpokenSound(len(pieces), str(form), seed=voice_seed(asked.get("voice")) + number)
        return ChoiceAudio(self._world.new_id("audio_"), self._world.now() + _SPOKEN_SECONDS, sound.pieces())

    def _called(self, body: JsonObject, call: ToolCall, pieces: typing.Sequence[str]) -> ChoiceCall:
        if not body.get("tools") and body.get("functions"):
            return ChoiceCall("legacy", "", call.name, pieces)
        return ChoiceCall(call.kind, call.id or self._world.new_id("call_"), call.name, pieces)

    # ---- stored completions -------------------------------------------------------------------------------------

    def _store(self, body: JsonObject, messages: typing.Sequence[JsonObject], completion: JsonObject) -> None:
        kept = {**completion, "metadata": body.get("metadata") or {}, "choices": _kept_choices(completion["choices"])}
        record = self._world.store.add(STORED_CHATS, completion["id"], kept)
        known = [
            {"id": f"{completion['id']}-{number}", "content": None, **message}
            for number, message in enumerate(messages)
        ]
        self._world.store.set_state(record, _StoredChat(known), known)

    def messages(self, call: Call) -> JsonObject:
        """Answer with the messages of a stored completion's request."""
        record = self._world.find(STORED_CHATS, call.names["completion_id"])
        stored = record.state_of(_StoredChat)
        messages = [_stored_message(message) for message in (stored.messages if stored is not None else [])]
        return page_of(messages, {"order": "asc", **call.query})


class _Mixed(typing.NamedTuple):
    """What a script says beside a text, in pieces. `parts` are pieces of texts, and numbers of calls, in order."""

    parts: typing.Sequence[list[str] | int]
    reasoning: list[str]
    refusal: list[str]

    def with_calls(self, calls: typing.Sequence[ChoiceCall]) -> Mixture:
        """Return it with the calls that a choice makes."""
        parts: list[list[str] | ChoiceCall] = []
        for part in self.parts:
            if not isinstance(part, int):
                parts.append(part)
            elif part < len(calls):
                parts.append(calls[part])
        return Mixture(parts, self.reasoning, self.refusal)


class _Said(typing.NamedTuple):
    """What a choice says, in pieces: its text, or the arguments of each of its calls; both and more if `mixture`."""

    reply: Reply
    pieces: list[str]
    calls: list[list[str]]
    reason: str
    mixture: _Mixed | None = None

    def extent(self) -> tuple[int, int]:
        """Return how many characters and pieces it has."""
        texts = [*self.calls, self.pieces]
        if self.mixture is not None:
            texts += [self.mixture.reasoning, self.mixture.refusal]
        return sum(sum(map(len, pieces)) for pieces in texts), sum(map(len, texts))


def _said_by(said: Reply, body: JsonObject, *, is_named: bool) -> _Said:
    if not said.calls:
        spend_turn(len(said.text) // 20)
        pieces, reason = cut_to_length(split_words(cut_at_stop(said.text, body.get("stop"))), body, "stop")
        return _Said(said, pieces, [], reason)
    # A call that the request named ends with "stop": API reference, tool_choice.
    reason = "stop" if is_named else _calls_reason(body)
    calls = []
    for call in said.calls:
        spend_turn(len(call.arguments) // 20)
        pieces, reason = cut_to_length(split_words(call.arguments), body, reason)
        calls.append(pieces)
    return _Said(said, [], calls, reason)


def _calls_reason(body: JsonObject) -> str:
    return "function_call" if body.get("functions") and not body.get("tools") else "tool_calls"


def _told_by(made: Reply, body: JsonObject) -> _Said:
    """Return what a script says: cut as any answer is, and ending as it is told to."""
    told = made.told
    assert told is not None, "a script's reply"
    if not (told.reasoning or told.refusal or (made.text and made.calls)):
        said = _said_by(made, body, is_named=False)
        return said._replace(reason=told.finish or said.reason)
    texts: list[str] = []
    calls: list[list[str]] = []
    parts: list[list[str] | int] = []
    reason = _calls_reason(body) if made.calls else "stop"
    for part in told.parts:
        spend_turn(len(part if isinstance(part, str) else part.arguments) // 20)
        said_here = sum(map(len, [texts, *calls]))
        whole = split_words(cut_at_stop(part, body.get("stop")) if isinstance(part, str) else part.arguments)
        pieces, reason = _cut_behind(said_here, whole, body, reason)
        if isinstance(part, str):
            texts += pieces
            parts.append(pieces)
        else:
            parts.append(len(calls))
            calls.append(pieces)
    mixture = _Mixed(parts, split_words(told.reasoning), split_words(told.refusal))
    return _Said(made, texts, calls, told.finish or reason, mixture)


def _cut_behind(said: int, pieces: list[str], body: JsonObject, reason: str) -> tuple[list[str], str]:
    """Cut pieces to the limit on tokens, of which so many are said already."""
    kept, reason = cut_to_length([""] * said + pieces, body, reason)
    return kept[said:], reason


def _word_bytes(body: JsonObject) -> int:
    """Return about how many bytes a word takes in an answer, besides its characters."""
    top = body.get("top_logprobs")
    logprobs = 1 + (top if type(top) is int else 0) if body.get("logprobs") is True else 0
    sound = _SPOKEN_WORD_BYTES if asks_for_audio(body) else 0
    return logprobs * LOGPROB_BYTES + sound + (CHUNK_BYTES if body.get("stream") else 0)


def _stored_message(message: JsonObject) -> JsonObject:
    """Return a message as the API lists stored ones: its text as `content`, its parts as `content_parts`."""
    content = message.get("content")
    if type(content) is not list:
        return message
    text = " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return {**message, "content": text, "content_parts": content}


def _kept_choices(choices: typing.Sequence[JsonObject]) -> list[JsonObject]:
    """Return choices as they are stored, without their sound, which would fill the store."""
    kept = []
    for choice in choices:
        audio = choice["message"].get("audio")
        if audio is not None:
            choice = {**choice, "message": {**choice["message"], "audio": {**audio, "data": ""}}}
        kept.append(choice)
    return kept


# ---- what requests say ------------------------------------------------------------------------------------------


def asked_model(body: JsonObject, *, is_strict: bool) -> str:
    """Return the model that a body names. Where it names none: ApiError 400 in OpenAI's own words; unchecked, one."""
    model = body.get("model")
    if not is_strict:
        return model if model and type(model) is str else _UNNAMED_MODEL
    if not model:
        raise ApiError(400, "you must provide a model parameter", param="model", code="missing_required_parameter")
    if type(model) is not str:
        raise ApiError(400, "Invalid type for 'model': expected a string.", param="model", code="invalid_type")
    return model


def chat_messages(body: JsonObject) -> list[JsonObject]:
    """Return the messages of a body, which may be unchecked."""
    messages = body.get("messages")
    if type(messages) is not list:
        return []
    return [message for message in messages if type(message) is dict]


def choice_count(body: JsonObject) -> int:
    """Return how many choices a body asks for."""
    count = body.get("n")
    return min(count, _MOST_CHOICES) if type(count) is int and count > 0 else 1


def is_usage_continuous(body: JsonObject) -> bool:
    """Whether each chunk of a stream tells the usage so far: vLLM's do beside the one that ends it, not without it."""
    return includes_usage(body) and body["stream_options"].get("continuous_usage_stats") is True


def asks_for_audio(body: JsonObject) -> bool:
    """Whether the answer is to be spoken."""
    modalities = body.get("modalities")
    return type(modalities) is list and "audio" in modalities


def content_text(content: typing.Any) -> str:
    """Return the text of a message's content: a string, or parts of which some are text."""
    if type(content) is list:
        return " ".join(part["text"] for part in content if type(part) is dict and type(part.get("text")) is str)
    return content if type(content) is str else ""


def prompt_words(messages: typing.Sequence[JsonObject]) -> int:
    """Count the words of a chat, at least one a message: they stand in for tokens, so that anybody can check them."""
    words = 0
    is_long = len(messages) > _FEW_MESSAGES
    for message in messages:
        if is_long:
            spend_turn(1)
        content = message.get("content")
        if type(content) is str:
            words += (len(content.split()) if len(content) <= COUNTED_AT_ONCE else count_words(content)) or 1
        else:
            words += count_words(content_text(content)) or 1
    return words


def prompt_tokens(messages: typing.Sequence[JsonObject]) -> list[str]:
    """Return the words of a chat in order, as many as `prompt_words` counts; the first of a message has its role."""
    tokens: list[str] = []
    for message in messages:
        text = content_text(message.get("content"))
        spend_turn(1 + len(text) // COUNTED_AT_ONCE)
        first, *further = text.split() or [""]
        tokens.append(f"{message.get('role')}: {first}")
        tokens += further
    return tokens


def cut_at_stop(text: str, stop: object) -> str:
    """Cut a text before the first of the stop sequences, a string or an array of strings."""
    sequences = [stop] if isinstance(stop, str) else stop if isinstance(stop, list) else []
    found = [
        text.find(sequence) for sequence in sequences if isinstance(sequence, str) and sequence and sequence in text
    ]
    return text[: min(found)] if found else text


def cut_to_length(pieces: list[str], body: JsonObject, finish_reason: str) -> tuple[list[str], str]:
    """Cut pieces to the limit on tokens, one a piece; return them and the finish reason."""
    limit = body.get("max_completion_tokens")
    if limit is None:
        limit = body.get("max_tokens")
    if type(limit) is not int or len(pieces) <= limit:
        return pieces, finish_reason
    return pieces[: max(0, limit)], "length"


def chat_lines(messages: typing.Sequence[JsonObject]) -> typing.Iterator[Line]:
    """Yield what a chat's messages say, as a script sees it; a tool's result has the tool's name."""
    names: dict[str, str] = {}
    for message in messages:
        spend_turn(1)
        role, text = message.get("role"), content_text(message.get("content"))
        if role in ("tool", "function"):
            yield Line("tool", text, names.get(str(message.get("tool_call_id")), "") or message.get("name") or "")
        elif role == "assistant":
            names.update(_call_names(message))
            yield Line("assistant", text)
        else:
            yield Line("user" if role == "user" else "system", text)


def _call_names(message: JsonObject) -> dict[str, str]:
    """Return the names of the tools that a message calls, by the ids of its calls."""
    return {
        str(call.get("id")): (call.get("function") or call.get("custom") or {}).get("name") or ""
        for call in message.get("tool_calls") or []
    }


def chat_question(body: JsonObject, messages: typing.Sequence[JsonObject], number: int = 0) -> Question:
    """Return what a chat asks: the last user's turn, the tools, and what they have answered since."""
    last, prompt = _last_turn(messages)
    choice, named, tools = _tool_choice(body)
    seed = body.get("seed")
    kind, schema, schema_name = _response_format(body.get("response_format"))
    return Question(
        prompt, tools, choice, named, body.get("parallel_tool_calls") is not False, _results(messages[last + 1 :]),
        kind, schema, schema_name, number, seed if type(seed) is int else 0, _instructions(messages),
    )  # fmt: skip


def _last_turn(messages: typing.Sequence[JsonObject]) -> tuple[int, str]:
    """Return where the last turn of a user stands, -1 for nowhere, and what he says there."""
    for at in range(len(messages) - 1, -1, -1):
        spend_turn(1)
        if messages[at].get("role") == "user":
            text = content_text(messages[at].get("content"))
            said = own_words(text)
            if said or not text:
                return at, said
    return -1, ""


def _instructions(messages: typing.Sequence[JsonObject]) -> str:
    """Return the system's text."""
    texts = [content_text(message.get("content")) for message in messages if message.get("role") in _INSTRUCTING_ROLES]
    return "\n".join(texts)


def _response_format(asked: typing.Any) -> tuple[str, typing.Any, str]:
    if type(asked) is not dict:
        return "text", None, ""
    json_schema = asked.get("json_schema")
    described = json_schema if type(json_schema) is dict else {}
    return asked.get("type") or "text", described.get("schema") or {}, described.get("name") or ""


def _tool_choice(body: JsonObject) -> tuple[str, str, list[OfferedTool]]:
    """Return the choice, the tool that it names, and the tools that it allows."""
    if not body.get("tools") and not body.get("functions"):
        return "auto", "", []  # whatever else a lenient `validate` lets pass
    tools = [tool for tool in map(_offered, body.get("tools") or []) if tool is not None]
    choice = body.get("tool_choice")
    if not body.get("tools") and body.get("functions"):
        tools = [_offered_function(function) for function in body["functions"] if type(function) is dict]
        choice = body.get("function_call")
        if type(choice) is dict:
            return "required", str(choice.get("name")), tools
    if type(choice) is not dict:
        return choice or "auto", "", tools
    if choice.get("type") == "allowed_tools":
        allowed = choice.get("allowed_tools") or {}
        names = [
            (tool.get("function") or tool.get("custom") or tool).get("name") for tool in allowed.get("tools") or []
        ]
        return allowed.get("mode") or "auto", "", [tool for tool in tools if tool.name in names]
    return "required", str((choice.get("function") or choice.get("custom") or {}).get("name")), tools


def _offered(tool: typing.Any) -> OfferedTool | None:
    if type(tool) is not dict:
        return None
    if tool.get("type") == "custom":
        custom = tool.get("custom") or {}
        return OfferedTool(custom.get("name") or "", custom.get("description") or "", None, "custom")
    function = tool.get("function")
    return _offered_function(function) if type(function) is dict else None


def _offered_function(function: JsonObject) -> OfferedTool:
    return OfferedTool(
        function.get("name") or "", function.get("description") or "", function.get("parameters"), "function"
    )


def _results(messages: typing.Sequence[JsonObject]) -> list[ToolResult]:
    """Return what tools have answered since the last user's turn, each with the tool's name."""
    names: dict[str, str] = {}
    results = []
    for message in messages:
        spend_turn(1)
        names.update(_call_names(message))
        if message.get("role") == "tool":
            name = names.get(str(message.get("tool_call_id")), "")
            results.append(ToolResult(name, content_text(message.get("content"))))
        elif message.get("role") == "function":
            results.append(ToolResult(message.get("name") or "", content_text(message.get("content"))))
    return results
