"""The questions of DashScope's generation endpoints: requests, read as strictly as there.

Two endpoints differ in form alone: on the text endpoint a message's content is a string, on the multimodal one it is a
list of parts. Source: DashScope API reference, "Text generation", "Multimodal generation".
"""

from __future__ import annotations

import binascii
import math
import re
import typing

from protocol.budget import spend_turn
from protocol.dashscope.mapping.models import (
    ALWAYS_THINKING,
    MULTIMODAL_ENDPOINT,
    NEVER_THINKING,
    THINKING_BY_DEFAULT,
    UNKNOWN_THINKING,
    answers_json_while_thinking,
    endpoint_for,
    is_stream_only,
    model_key,
    most_output_tokens,
    streams_increments,
    thinking_of,
)
from protocol.dashscope.mapping.parts import CACHE_MARK
from protocol.errors import ApiError
from protocol.mock.dashscope.refusals import URL_ERROR, bad_parameter, object_member
from protocol.mock.media.recording import sound_seconds
from protocol.mock.unchecked import objects_of
from protocol.openai.answers import words_of
from protocol.wire.json_text import JsonObject, parse_json

_ROLES = ("system", "user", "assistant", "tool")
_PARTS = ("text", "image", "audio", "video", "image_hw")
_MAX_DATA_URI = 10_485_760
_MESSAGE_STEPS = 4  # to check one (protocol/budget.py)
# How many tokens a picture, a sound and a film count for; the true figures depend on their size.
_MEDIA_TOKENS = {"image": 256, "audio": 25, "video": 1024}

_FEWEST_CACHED_TOKENS = 1024
# The longest chain of thought that any model has, in tokens; each has a limit of its own.
_MOST_THINKING = 262_144

_ASR_MODEL = r".*-asr-.*"
# These answer in messages, and stream increments, when the request does not say.
_MESSAGE_MODEL = r"qwen3.*|qwq.*|qvq.*|qwen-long.*"
_INCREMENTAL_MODEL = r"qwen3.*|qwq.*|qvq.*"
# These think by default, and refuse to do so unless the answer is streamed.
_STREAMED_THINKING_MODEL = r"qwen3-\d.*"


class Question(typing.NamedTuple):
    """A request for generation that was read and is good."""

    model: str
    messages: typing.Sequence[JsonObject]
    parameters: JsonObject
    multimodal: bool
    stream: bool
    incremental: bool
    thinking: bool
    as_message: bool
    prompt_tokens: typing.Mapping[str, int]
    #: How many tokens of the prompt the explicit cache keeps; 0 where it is not asked to, or has too few to do.
    cached_tokens: int
    #: How long the sound is that is to be written down; 0 where the model does not do that.
    heard_seconds: int


def read_question(body: JsonObject, *, multimodal: bool, stream: bool) -> Question:
    """Read a request body; ApiError with DashScope's code and words for what DashScope refuses."""
    model = body["model"]
    key = model_key(model)
    _check_endpoint(model, multimodal)
    parameters = object_member(body, "parameters")
    messages = _messages(object_member(body, "input"))
    _check_messages(messages, multimodal)
    _check_ranges(parameters, model)
    thinking = _thinking(model, parameters, stream)
    _check_tools(parameters, thinking)
    _check_format(parameters, messages, thinking and not answers_json_while_thinking(model))
    by_default = thinking or re.fullmatch(_INCREMENTAL_MODEL, key) is not None
    incremental = parameters.get("incremental_output")
    if incremental and not stream:
        raise bad_parameter("incremental_output only supports stream call")
    if incremental is False and stream and thinking:
        raise bad_parameter('The incremental_output parameter must be "true" when enable_thinking is true')
    if thinking and parameters.get("result_format") == "text":
        raise bad_parameter('The result_format parameter must be "message" when enable_thinking is true')
    return Question(
        model, messages, parameters, multimodal, stream,
        incremental=streams_increments(model) and (by_default if incremental is None else incremental),
        thinking=thinking,
        as_message=_as_message(parameters, key, multimodal or thinking),
        prompt_tokens=_prompt_tokens(messages),
        cached_tokens=_cached_tokens(messages),
        heard_seconds=_heard_seconds(messages) if re.fullmatch(_ASR_MODEL, key) else 0,
    )  # fmt: skip


def _check_endpoint(model: str, multimodal: bool) -> None:
    belongs_there = endpoint_for(model, False) == MULTIMODAL_ENDPOINT
    # A model that is not known may be of either kind.
    if belongs_there != multimodal and (belongs_there or thinking_of(model) != UNKNOWN_THINKING):
        raise bad_parameter(URL_ERROR)


def _messages(given: JsonObject) -> list[JsonObject]:
    messages = given.get("messages")
    if messages is None and type(given.get("prompt")) is str:
        return [{"role": "user", "content": given["prompt"]}]
    if messages is None:
        raise bad_parameter("Field required: input.messages")
    if type(messages) is not list or not all(type(message) is dict for message in messages):
        raise bad_parameter("Input should be a valid list: input.messages")
    if not messages:
        raise bad_parameter("[] is too short - 'messages'")
    return messages


def _check_messages(messages: typing.Sequence[JsonObject], multimodal: bool) -> None:
    unanswered: set[str] = set()
    for message in messages:
        role = message.get("role")
        if role == "tool":
            # Qwen-Agent, DashScope's own, puts it into `id`.
            answered = _call_id(message.get("tool_call_id", message.get("id")))
            if answered not in unanswered:
                raise bad_parameter(
                    'messages with role "tool" must be a response to a preceeding message with "tool_calls".'
                )
            unanswered.remove(answered)
        elif unanswered:
            break
        spend_turn(_MESSAGE_STEPS)
        unanswered |= _call_ids(message)
        _check_content(message, role, multimodal)
    if unanswered:
        raise bad_parameter(
            'An assistant message with "tool_calls" must be followed by tool messages responding to each '
            '"tool_call_id".'
        )
    if not any(message.get("role") == "user" for message in messages):
        raise bad_parameter("The input messages do not contain elements with the role of user.")


def _call_ids(message: JsonObject) -> set[str]:
    calls = message.get("tool_calls") or []
    if type(calls) is not list or not all(type(call) is dict for call in calls):
        raise bad_parameter("Input should be a valid list: input.messages.tool_calls")
    for call in calls:
        _check_arguments(object_member(call, "function").get("arguments"))
    return {_call_id(call.get("id", "")) for call in calls}


def _check_arguments(arguments: typing.Any) -> None:
    if type(arguments) is not str:
        return
    try:
        parse_json(arguments.encode("utf-8", "replace"))
    except ApiError as exc:
        raise bad_parameter('The "function.arguments" parameter of the code model must be in JSON format.') from exc


def _call_id(value: typing.Any) -> str:
    if value is not None and type(value) is not str:
        raise bad_parameter("Input should be a valid string: input.messages, id of a tool call")
    return value or ""


def _check_content(message: JsonObject, role: typing.Any, multimodal: bool) -> None:
    content = message.get("content")
    if role not in _ROLES or (role == "user" and not content):
        raise bad_parameter("Role must be user or assistant and Content length must be greater than 0")
    if content is None or type(content) is str:
        return
    if type(content) is not list or not all(type(part) is dict for part in content):
        raise bad_parameter("input content must be a string.")
    for part in content:
        if not multimodal and type(part.get("text")) is not str:
            raise bad_parameter("input content must be a string.")
        if not any(name in part for name in _PARTS):
            raise bad_parameter("The item of content should be a message of a certain modal.")
        for name in _MEDIA_TOKENS.keys() & part.keys():
            _check_media(part[name], name)


def _check_media(value: typing.Any, name: str) -> None:
    for url in value if type(value) is list and name == "video" else [value]:
        if type(url) is not str or not re.match("(?:https?|oss)://.|data:", url):
            raise bad_parameter(f"Invalid url of {name}: expected http, https, oss or data")
        if url.startswith("data:") and len(url) > _MAX_DATA_URI:
            raise bad_parameter(f"Exceeded limit on max bytes per data-uri item : {_MAX_DATA_URI}")


def _check_ranges(parameters: JsonObject, model: str) -> None:
    most = most_output_tokens(model) or 10**9
    ranges: tuple[tuple[str, type, typing.Callable[[typing.Any], bool], str], ...] = (
        ("temperature", float, lambda value: 0 <= value < 2, "Temperature should be in [0.0, 2.0)"),
        ("top_p", float, lambda value: 0 < value <= 1, "Range of top_p should be (0.0, 1.0]"),
        ("repetition_penalty", float, lambda value: value > 0, "Repetition_penalty should be greater than 0.0"),
        ("presence_penalty", float, lambda value: -2 <= value <= 2, "Presence_penalty should be in [-2.0, 2.0]"),
        ("max_tokens", int, lambda value: 1 <= value <= most, f"Range of max_tokens should be [1, {most}]"),
        ("max_completion_tokens", int, lambda value: value >= 1, "max_completion_tokens should be greater than 0"),
        ("top_logprobs", int, lambda value: 0 <= value <= 5, "Range of top_logprobs should be [0, 5]"),
        ("top_k", int, lambda value: value >= 0, "Parameter top_k be greater than or equal to 0"),
        (
            "thinking_budget",
            int,
            lambda value: 1 <= value <= _MOST_THINKING,
            f"The thinking_budget parameter must be a positive integer and not greater than {_MOST_THINKING}",
        ),
        ("n", int, lambda value: 1 <= value <= 4, "Range of n should be [1, 4]"),
        ("seed", int, lambda value: 0 <= value < 2**63, "Range of seed should be [0, 9223372036854775807]"),
    )
    for name, kind, fits, message in ranges:
        value = parameters.get(name)
        if value is None:
            continue
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise bad_parameter(f"Input should be a valid {'integer' if kind is int else 'number'}: parameters.{name}")
        if not fits(value):
            raise bad_parameter(message)
    _check_stop(parameters.get("stop"))


def _check_stop(stop: typing.Any) -> None:
    items = stop if type(stop) is list else [stop]
    kinds = {type(item) for item in items}
    of_tokens = kinds == {list} and all(type(token) is int for item in items for token in item)
    if stop is not None and not (kinds == {str} or of_tokens or (type(stop) is list and kinds <= {int})):
        raise bad_parameter(
            'The "stop" parameter must be of type "str", "list[str]", "list[int]", or "list[list[int]]", and all '
            "elements within the list must be of the same type."
        )


def _thinking(model: str, parameters: JsonObject, stream: bool) -> bool:
    asked, manner = parameters.get("enable_thinking"), thinking_of(model)
    if manner == ALWAYS_THINKING and asked is False:
        raise bad_parameter("The value of the enable_thinking parameter is restricted to True.")
    if not stream and is_stream_only(model):
        raise bad_parameter(
            "This model only support stream mode, please enable the stream parameter to access the model."
        )
    if manner == NEVER_THINKING:
        return False
    thinking = manner in (ALWAYS_THINKING, THINKING_BY_DEFAULT) if asked is None else bool(asked)
    if thinking and not stream and re.fullmatch(_STREAMED_THINKING_MODEL, model_key(model)):
        raise bad_parameter("parameter.enable_thinking must be set to false for non-streaming calls")
    return thinking


def _check_tools(parameters: JsonObject, thinking: bool) -> None:
    tools = offered_functions(parameters)
    if any(tool["name"] == "search" for tool in tools):
        raise bad_parameter("Tool names are not allowed to be [search]")
    if tools and (parameters.get("n") or 1) > 1:
        raise bad_parameter("n must be 1 when tools are given")
    choice = parameters.get("tool_choice")
    if choice in (None, "auto", "none"):
        return
    if thinking:
        raise bad_parameter(
            "The tool_choice parameter does not support being set to required or object in thinking mode"
        )
    if type(choice) is not dict or type(choice.get("function")) is not dict:
        raise bad_parameter('tool_choice is one of the strings that should be ["none", "auto"]')
    if not any(tool["name"] == choice["function"].get("name") for tool in tools):
        raise bad_parameter("The function in tool_choice is not found in tools")


def offered_functions(parameters: JsonObject) -> list[JsonObject]:
    """Return the functions among the tools; ApiError for one without a name."""
    tools = parameters.get("tools") or []
    functions = [tool.get("function") for tool in objects_of(tools)]
    named = [function for function in objects_of(functions) if type(function.get("name")) is str]
    if type(tools) is not list or len(named) < len(functions):
        raise bad_parameter("Field required: parameters.tools.function.name")
    return named


def _check_format(parameters: JsonObject, messages: typing.Sequence[JsonObject], refused: bool) -> None:
    kind = object_member(parameters, "response_format").get("type", "text")
    if kind == "text":
        return
    if kind not in ("json_object", "json_schema"):
        raise bad_parameter(
            "Unknown format of response_format, response_format should be a dict, includes 'type' and an optional key "
            f"'json_schema'. The response_format type from user is {str(kind)[:100]}."
        )
    if refused:
        raise bad_parameter("Json mode response is not supported when enable_thinking is true")
    if kind == "json_object" and not any("json" in message_text(message).lower() for message in messages):
        raise bad_parameter(
            "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
        )


def _as_message(parameters: JsonObject, key: str, always: bool) -> bool:
    wanted = parameters.get("result_format")
    if always or parameters.get("tools") or (parameters.get("n") or 1) > 1:
        return True
    return wanted == "message" if wanted else re.fullmatch(_MESSAGE_MODEL, key) is not None


def message_text(message: JsonObject) -> str:
    """Return the text of a message, whose content is a string or a list of parts."""
    content: typing.Any = message.get("content") or ""
    if type(content) is str:
        return content
    return " ".join(part["text"] for part in content if type(part.get("text")) is str)


def _prompt_tokens(messages: typing.Sequence[JsonObject]) -> dict[str, int]:
    """Count a prompt's tokens by kind. A word is one, and a message has at least one."""
    tokens = {"text": sum(sum(1 for _ in words_of(message_text(message))) or 1 for message in messages)}
    for message in messages:
        for part in message["content"] if type(message.get("content")) is list else []:
            for kind, count in _MEDIA_TOKENS.items():
                if kind in part:
                    tokens[kind] = tokens.get(kind, 0) + count
    return tokens


def _cached_tokens(messages: typing.Sequence[JsonObject]) -> int:
    marked = [number for number, message in enumerate(messages, 1) if _is_marked(message)]
    tokens = sum(_prompt_tokens(messages[: marked[-1]]).values()) if marked else 0
    return tokens if tokens >= _FEWEST_CACHED_TOKENS else 0


def _is_marked(message: JsonObject) -> bool:
    parts = message["content"] if type(message.get("content")) is list else []
    return CACHE_MARK in message or any(CACHE_MARK in part for part in parts)


def _heard_seconds(messages: typing.Sequence[JsonObject]) -> int:
    """Return how long the sounds of a request are in whole seconds. One whose length cannot be read counts for one."""
    parts = [part for message in messages if type(message.get("content")) is list for part in message["content"]]
    seconds = 0
    for part in parts:
        header, _, data = str(part.get("audio", "")).partition(";base64,")
        if header:
            seconds += max(1, math.ceil(_data_seconds(data) or 1))
    return seconds


def _data_seconds(data: str) -> float | None:
    try:
        return sound_seconds(binascii.a2b_base64(data))
    except ValueError:
        return None
