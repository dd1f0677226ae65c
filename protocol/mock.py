"""The mock backend: answers by itself, always the same words, in OpenAI's exact shapes.

It keeps to what a request says about form: how many choices, where to stop, how long, which tool, which JSON Schema.
It knows no clock and no chance of its own; both are handed in.
"""

from __future__ import annotations

import dataclasses
import json
import typing

from protocol.completions import (
    Answered,
    PlainChat,
    Speech,
    chat_completion,
    chat_frames,
    text_completion,
    text_frames,
)
from protocol.config import option, parse_seconds, parse_text
from protocol.errors import ApiError
from protocol.exchange import Answer, Endpoint, Paced, Request, Response
from protocol.native_mock.api import NATIVE_ROOT, NativeMock
from protocol.openai import (
    EVENT_STREAM_FIELDS,
    JSON_FIELDS,
    JsonObject,
    api_path,
    encode_json,
    json_response,
    model_object,
    split_words,
)
from protocol.params import CHAT_PARAMETERS, COMPLETION_PARAMETERS
from protocol.schema.document import SchemaError
from protocol.schema.instance import Hints, instance, read_hints
from protocol.validate import check_body

# What the mock lists; it answers for any other model just as well.
_MOCK_MODELS = (
    ("gpt-4o", 1715367049),
    ("gpt-4o-mini", 1721172741),
    ("gpt-4.1", 1744316542),
    ("gpt-4.1-mini", 1744318173),
    ("gpt-5", 1754425777),
    ("gpt-5-mini", 1754425928),
    ("gpt-3.5-turbo", 1677610602),
    ("gpt-3.5-turbo-instruct", 1692901427),
    ("o3-mini", 1737146383),
)
_MOCK_OWNER = "openai"


@dataclasses.dataclass(frozen=True)
class MockSettings:
    """Section [mock]."""

    text: str = option("powered by openai", parse_text, "what every answer says")
    delay: float = option("0", parse_seconds, "seconds between words; a plain answer takes as long as its words would")
    first_delay: float = option("0", parse_seconds, "seconds before the first word")


class Mock:
    """The backend of kind mock.

    `clock` gives seconds since the epoch, `random_bits(n)` an integer of n random bits, `sleep` waits for seconds.
    """

    #: Paths below this are DashScope's own, which the mock answers besides OpenAI's.
    own_root = NATIVE_ROOT

    def __init__(
        self,
        name: str,
        settings: MockSettings,
        *,
        clock: typing.Callable[[], float],
        random_bits: typing.Callable[[int], int],
        sleep: typing.Callable[[float], typing.Awaitable[typing.Any]],
    ) -> None:
        self.name = name
        self._settings = settings
        self._clock = clock
        self._random_bits = random_bits
        self._sleep = sleep
        self._plain = PlainChat(Speech(split_words(settings.text), "stop"))
        self._waits = bool(settings.delay or settings.first_delay)
        self._native = NativeMock(
            text=settings.text, delay=settings.delay, first_delay=settings.first_delay,
            clock=clock, random_bits=random_bits, sleep=sleep,
        )  # fmt: skip
        self._endpoints = {
            "/chat/completions": {"POST": Endpoint(self._chat, "mock /chat/completions")},
            "/completions": {"POST": Endpoint(self._complete, "mock /completions")},
        }

    def endpoint(self, request: Request) -> Endpoint:
        """Return the endpoint for a path and method; ApiError 404 or 405, worded as OpenAI's."""
        path = api_path(request.path) or request.path
        methods = self._endpoints.get(path)
        if methods is None:
            if request.path.startswith(NATIVE_ROOT):
                return self._native.endpoint(request)
            raise ApiError(404, f"Invalid URL ({request.method} {request.path})", code="unknown_url")
        endpoint = methods.get(request.method)
        if endpoint is None:
            raise ApiError(
                405, f"Not allowed to {request.method} on {request.path}.", code="method_not_allowed",
                fields=[("allow", ", ".join([*methods, "OPTIONS"]))],
            )  # fmt: skip
        return endpoint

    def models(self, request: Request) -> list[JsonObject]:
        """Return the models the mock lists."""
        return [model_object(id, created, _MOCK_OWNER) for id, created in _MOCK_MODELS]

    async def close(self) -> None:
        """Give back nothing: the mock holds nothing."""

    # ---- chat completions ---------------------------------------------------------------------------------------

    def _chat(self, request: Request) -> Answer:
        """Answer POST /v1/chat/completions."""
        body = request.json_object()
        model = _check_model(body)
        check_body(CHAT_PARAMETERS, body)
        answered = self._answered("chatcmpl-", model, _prompt_words(body["messages"]))
        stream = body.get("stream")
        include_usage = bool(stream) and _includes_usage(body)
        if body.keys().isdisjoint(_SHAPING_PARAMETERS):
            if stream:
                return self._paced(self._plain.frames(answered, include_usage=include_usage))
            return self._after_its_words(
                Response(200, JSON_FIELDS, self._plain.completion(answered)), [self._plain.speech]
            )
        speeches = [self._speech(body)] * (body.get("n") or 1)
        if stream:
            return self._paced(chat_frames(answered, speeches, include_usage=include_usage))
        return self._after_its_words(json_response(chat_completion(answered, speeches)), speeches)

    def _speech(self, body: JsonObject) -> Speech:
        """Decide what a choice says: a forced call's arguments, JSON of the format asked for, or the text."""
        call = _forced_call(body)
        if call is not None:
            pieces, reason = _cut_to_length(split_words(call.arguments), body, call.finish_reason)
            call_id = f"call_{self._random_bits(96):024x}" if call.is_tool else ""
            return Speech(pieces, reason, call_name=call.name, call_id=call_id)
        text = self._formatted(body.get("response_format") or {}, body)
        return Speech(*_cut_to_length(split_words(_cut_at_stop(text, body.get("stop"))), body, "stop"))

    def _formatted(self, response_format: JsonObject, body: JsonObject) -> str:
        kind = response_format.get("type")
        if kind == "json_object":
            return encode_json({"text": self._settings.text}).decode()
        if kind != "json_schema":
            return self._settings.text
        schema = response_format["json_schema"]
        where = f"response_format '{schema['name']}'"
        return _json_for(schema.get("schema") or {}, where, "response_format", _prompt_hints(body))

    # ---- legacy completions -------------------------------------------------------------------------------------

    def _complete(self, request: Request) -> Answer:
        """Answer POST /v1/completions: for each prompt, `n` choices."""
        body = request.json_object()
        model = _check_model(body)
        check_body(COMPLETION_PARAMETERS, body)
        prompts = _prompts(body["prompt"])
        words = sum(len(prompt.split()) if isinstance(prompt, str) else len(prompt) for prompt in prompts)
        answered = self._answered("cmpl-", model, words)
        text = _cut_at_stop(self._settings.text, body.get("stop"))
        pieces, reason = _cut_to_length(split_words(text), body, "stop")
        speeches = []
        for prompt in prompts:
            echo = [prompt] if body.get("echo") and isinstance(prompt, str) and prompt else []
            speeches += [Speech([*echo, *pieces], reason)] * (body.get("n") or 1)
        if body.get("stream"):
            return self._paced(text_frames(answered, speeches, include_usage=_includes_usage(body)))
        return self._after_its_words(json_response(text_completion(answered, speeches)), speeches)

    # ---- what both share ----------------------------------------------------------------------------------------

    def _answered(self, id_prefix: str, model: str, prompt_tokens: int) -> Answered:
        return Answered(f"{id_prefix}{self._random_bits(112):028x}", int(self._clock()), model, prompt_tokens)

    def _paced(self, frames: list[bytes]) -> Response:
        settings = self._settings
        if not self._waits:
            frames = [b"".join(frames)]
        return Response(200, EVENT_STREAM_FIELDS, Paced(frames, first_delay=settings.first_delay, delay=settings.delay))

    def _after_its_words(self, response: Response, speeches: typing.Sequence[Speech]) -> Answer:
        """Return a plain answer, or one that waits as long as a stream of its words would take."""
        if not self._waits:
            return response
        settings = self._settings
        words = max(len(speech.pieces) for speech in speeches)
        return self._later(response, settings.first_delay + settings.delay * max(0, words - 1))

    async def _later(self, response: Response, seconds: float) -> Response:
        await self._sleep(seconds)
        return response


# What makes a chat's answer anything else than the plain text once.
_SHAPING_PARAMETERS = frozenset(
    ["n", "stop", "max_tokens", "max_completion_tokens", "tool_choice", "function_call", "response_format"]
)


class _ForcedCall(typing.NamedTuple):
    name: str
    arguments: str
    is_tool: bool
    finish_reason: str


def _check_model(body: JsonObject) -> str:
    model = body.get("model")
    if not model:
        raise ApiError(400, "you must provide a model parameter", param="model", code="missing_required_parameter")
    if type(model) is not str:
        raise ApiError(400, "Invalid type for 'model': expected a string.", param="model", code="invalid_type")
    return model


def _includes_usage(body: JsonObject) -> bool:
    return bool((body.get("stream_options") or {}).get("include_usage"))


def _prompt_words(messages: typing.Sequence[JsonObject]) -> int:
    """Count the words of a chat: a stand-in for tokens that is plain to reckon with, at least one a message."""
    words = 0
    for message in messages:
        content = message.get("content")
        if type(content) is str:
            words += len(content.split()) or 1
        else:
            words += sum(len(part.get("text", "").split()) or 1 for part in content or [{}])
    return words


def _prompts(prompt: typing.Any) -> list[typing.Any]:
    """Return the prompts: a string or an array of tokens is one, an array of either is several."""
    if isinstance(prompt, str) or isinstance(prompt[0], int):
        return [prompt]
    return list(prompt)


def _cut_at_stop(text: str, stop: str | list[str] | None) -> str:
    """Cut a text before the first of the stop sequences."""
    sequences = [stop] if isinstance(stop, str) else stop or []
    found = [text.find(sequence) for sequence in sequences if sequence and sequence in text]
    return text[: min(found)] if found else text


def _cut_to_length(pieces: list[str], body: JsonObject, finish_reason: str) -> tuple[list[str], str]:
    """Cut to the limit on tokens, of which each piece counts for one."""
    limit = body.get("max_completion_tokens")
    if limit is None:
        limit = body.get("max_tokens")
    if limit is None or len(pieces) <= limit:
        return pieces, finish_reason
    return pieces[:limit], "length"


def _forced_call(body: JsonObject) -> _ForcedCall | None:
    """Return the call that the request leaves no choice about, None where it does."""
    choice, legacy = body.get("tool_choice"), body.get("function_call")
    if choice == "required" or type(choice) is dict:
        tools = [tool["function"] for tool in body.get("tools") or [] if tool["type"] == "function"]
        return _forced_tool(choice, tools, _prompt_hints(body))
    if type(legacy) is dict:
        function = _named_function(legacy["name"], body.get("functions") or [], "function_call", "functions")
        return _ForcedCall(function["name"], _arguments_for(function, _prompt_hints(body)), False, "stop")
    return None


def _forced_tool(choice: typing.Any, tools: list[JsonObject], hints: Hints) -> _ForcedCall | None:
    if type(choice) is dict and choice["type"] == "allowed_tools":
        allowed = choice["allowed_tools"]
        if allowed.get("mode") != "required":
            return None
        names = [tool.get("function", {}).get("name") for tool in allowed.get("tools") or []]
        tools, choice = [tool for tool in tools if tool["name"] in names], "required"
    if not tools:
        raise ApiError(
            400, "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.",
            param="tool_choice", code="invalid_value",
        )  # fmt: skip
    if choice == "required":
        return _ForcedCall(tools[0]["name"], _arguments_for(tools[0], hints), True, "tool_calls")
    if choice["type"] != "function":
        raise ApiError(400, "The mock calls tools of type 'function' only.", param="tool_choice", code="invalid_value")
    function = _named_function(choice["function"]["name"], tools, "tool_choice", "tools")
    # A call that the request named ends with "stop": API reference, tool_choice.
    return _ForcedCall(function["name"], _arguments_for(function, hints), True, "stop")


def _named_function(name: str, functions: list[JsonObject], param: str, where: str) -> JsonObject:
    for function in functions:
        if function["name"] == name:
            return function
    raise ApiError(400, f"Tool choice '{name}' not found in '{where}' parameter.", param=param, code="invalid_value")


def _arguments_for(function: JsonObject, hints: Hints) -> str:
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    return _json_for(schema, f"function '{function['name']}'", "tools", hints)


def _json_for(schema: JsonObject, where: str, param: str, hints: Hints) -> str:
    """Return JSON that satisfies a schema, with spaces after its separators: there a stream cuts it into words."""
    try:
        return json.dumps(instance(schema, hints=hints), ensure_ascii=False)
    except SchemaError as exc:
        raise ApiError(400, f"Invalid schema for {where}: {exc}", param=param, code="invalid_json_schema") from exc


def _prompt_hints(body: JsonObject) -> Hints:
    """Find what the last user's message suggests as values."""
    texts = [message.get("content") for message in body["messages"] if message["role"] == "user"]
    content = texts[-1] if texts else ""
    if type(content) is list:
        content = " ".join(part.get("text", "") for part in content)
    return read_hints(content or "")
