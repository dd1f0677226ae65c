"""What the mock says on DashScope's generation endpoints: requests read as strictly as there, answers, streams.

A NativeQuestion is a request that was read; `native_speeches` decides what is said, and the rest puts that into one
answer or into the events of a stream. Two endpoints differ in shape alone: on the text endpoint a message's content is
a string, on the multimodal one a list of parts. Source: DashScope API reference, "Text generation", "Multimodal".
"""

from __future__ import annotations

import binascii
import json
import math
import re
import typing

from protocol.dashscope.mapping.errors import native_error_body
from protocol.dashscope.mapping.models import (
    ALWAYS_THINKING,
    MULTIMODAL_ENDPOINT,
    NEVER_THINKING,
    THINKING_BY_DEFAULT,
    UNKNOWN_THINKING,
    endpoint_for,
    is_stream_only,
    model_key,
    most_output_tokens,
    thinking_of,
)
from protocol.errors import ApiError
from protocol.mock.answer.hints import Hints, read_hints
from protocol.mock.answer.instance import instance
from protocol.mock.json_schema.document import SchemaError
from protocol.mock.media.recording import sound_seconds
from protocol.openai.answers import split_words
from protocol.wire.json_text import JsonObject, encode_json
from protocol.wire.sse import encode_native_event

_REASONING = "Whatever is asked, the answer stays the same."

_ROLES = ("system", "user", "assistant", "tool")
_PARTS = ("text", "image", "audio", "video", "image_hw")
_MAX_DATA_URI = 10_485_760
#: What a picture, a sound and a film count for; the true figures depend on their size.
_MEDIA_TOKENS = {"image": 256, "audio": 25, "video": 1024}

_ASR_MODEL = r".*-asr-.*"
# These answer in messages, and stream increments, when the request does not say.
_MESSAGE_MODEL = r"qwen3.*|qwq.*|qvq.*|qwen-long.*"
_INCREMENTAL_MODEL = r"qwen3.*|qwq.*|qvq.*"
# Of the models that think by default, these refuse to do so in a plain answer.
_STREAMED_THINKING_MODEL = r"qwen3-\d.*"

#: What DashScope says at a path that it does not have, or not for the model.
NATIVE_URL_ERROR = "url error, please check url！"

NativeGroups = typing.List[typing.List[JsonObject]]


def native_refusal(code: str, message: str) -> ApiError:
    """Return the error with which DashScope refuses a request, under the status that it uses for `code`."""
    return ApiError(native_error_body(code, message, "")[0], message, code=code)


def _bad_parameter(message: str) -> ApiError:
    return native_refusal("InvalidParameter", message)


# ---- the question -----------------------------------------------------------------------------------------------


class NativeQuestion(typing.NamedTuple):
    """A request for generation, read and found good."""

    model: str
    messages: typing.Sequence[JsonObject]
    parameters: JsonObject
    multimodal: bool
    stream: bool
    incremental: bool
    thinking: bool
    as_message: bool
    prompt_tokens: typing.Mapping[str, int]
    heard_seconds: int  # of the sound that is to be written down, 0 where that is not the task


def read_native_question(body: JsonObject, *, multimodal: bool, stream: bool) -> NativeQuestion:
    """Read a request body; ApiError with DashScope's own code and words for what DashScope refuses."""
    model = body["model"]
    key = model_key(model)
    _check_native_endpoint(model, multimodal)
    parameters = native_object(body, "parameters")
    messages = _messages(native_object(body, "input"))
    _check_messages(messages, multimodal)
    _check_ranges(parameters, model)
    thinking = _thinking(model, parameters, stream)
    _check_tools(parameters, thinking)
    _check_format(parameters, messages, thinking)
    by_default = thinking or re.fullmatch(_INCREMENTAL_MODEL, key) is not None
    incremental = parameters.get("incremental_output")
    if incremental and not stream:
        raise _bad_parameter("incremental_output only supports stream call")
    if incremental is False and stream and thinking:
        raise _bad_parameter('The incremental_output parameter must be "true" when enable_thinking is true')
    return NativeQuestion(
        model, messages, parameters, multimodal, stream,
        incremental=by_default if incremental is None else incremental, thinking=thinking,
        as_message=_as_message(parameters, key, multimodal or thinking),
        prompt_tokens=_prompt_tokens(messages),
        heard_seconds=_heard_seconds(messages) if re.fullmatch(_ASR_MODEL, key) else 0,
    )  # fmt: skip


def _check_native_endpoint(model: str, multimodal: bool) -> None:
    belongs_there = endpoint_for(model, False) == MULTIMODAL_ENDPOINT
    # A model that nobody knows may be of either kind.
    if belongs_there != multimodal and (belongs_there or thinking_of(model) != UNKNOWN_THINKING):
        raise _bad_parameter(NATIVE_URL_ERROR)


def native_object(body: JsonObject, name: str) -> JsonObject:
    """Return the object that is a body's member, empty for none; ApiError for anything else."""
    value = body.get(name)
    if value is not None and type(value) is not dict:
        raise _bad_parameter(f"Input should be a valid dictionary: {name}")
    return value or {}


def _messages(given: JsonObject) -> list[JsonObject]:
    messages = given.get("messages")
    if messages is None and type(given.get("prompt")) is str:
        return [{"role": "user", "content": given["prompt"]}]
    if messages is None:
        raise _bad_parameter("Field required: input.messages")
    if type(messages) is not list or not all(type(message) is dict for message in messages):
        raise _bad_parameter("Input should be a valid list: input.messages")
    if not messages:
        raise _bad_parameter("[] is too short - 'messages'")
    return messages


def _check_messages(messages: typing.Sequence[JsonObject], multimodal: bool) -> None:
    unanswered: set[str] = set()
    for message in messages:
        role = message.get("role")
        if role == "tool":
            if _call_id(message.get("tool_call_id")) not in unanswered:
                raise _bad_parameter(
                    'messages with role "tool" must be a response to a preceeding message with "tool_calls".'
                )
            unanswered.remove(_call_id(message.get("tool_call_id")))
        elif unanswered:
            break
        unanswered |= _call_ids(message)
        _check_content(message, role, multimodal)
    if unanswered:
        raise _bad_parameter(
            'An assistant message with "tool_calls" must be followed by tool messages responding to each '
            '"tool_call_id".'
        )
    if not any(message.get("role") == "user" for message in messages):
        raise _bad_parameter("At least one message with the role user is required")


def _call_ids(message: JsonObject) -> set[str]:
    calls = message.get("tool_calls") or []
    if type(calls) is not list or not all(type(call) is dict for call in calls):
        raise _bad_parameter("Input should be a valid list: input.messages.tool_calls")
    return {_call_id(call.get("id", "")) for call in calls}


def _call_id(value: typing.Any) -> str:
    if value is not None and type(value) is not str:
        raise _bad_parameter("Input should be a valid string: input.messages, id of a tool call")
    return value or ""


def _check_content(message: JsonObject, role: typing.Any, multimodal: bool) -> None:
    content = message.get("content")
    if role not in _ROLES or (role == "user" and not content):
        raise _bad_parameter("Role must be user or assistant and Content length must be greater than 0")
    if content is None or type(content) is str:
        return
    if type(content) is not list or not all(type(part) is dict for part in content):
        raise _bad_parameter("input content must be a string.")
    for part in content:
        if not multimodal and type(part.get("text")) is not str:
            raise _bad_parameter("input content must be a string.")
        if not any(name in part for name in _PARTS):
            raise _bad_parameter("The item of content should be a message of a certain modal.")
        for name in _MEDIA_TOKENS.keys() & part.keys():
            _check_media(part[name], name)


def _check_media(value: typing.Any, name: str) -> None:
    for url in value if type(value) is list and name == "video" else [value]:
        if type(url) is not str or not re.match("(?:https?|oss)://.|data:", url):
            raise native_refusal("InvalidParameter", f"Invalid url of {name}: expected http, https, oss or data")
        if url.startswith("data:") and len(url) > _MAX_DATA_URI:
            raise _bad_parameter(f"Exceeded limit on max bytes per data-uri item : {_MAX_DATA_URI}")


def _check_ranges(parameters: JsonObject, model: str) -> None:
    most = most_output_tokens(model) or 10**9
    ranges: tuple[tuple[str, type, typing.Callable[[typing.Any], bool], str], ...] = (
        ("temperature", float, lambda value: 0 <= value < 2, "Temperature should be in [0.0, 2.0)"),
        ("top_p", float, lambda value: 0 < value <= 1, "Range of top_p should be (0.0, 1.0]"),
        ("repetition_penalty", float, lambda value: value > 0, "Repetition_penalty should be greater than 0.0"),
        ("presence_penalty", float, lambda value: -2 <= value <= 2, "Presence_penalty should be in [-2.0, 2.0]"),
        ("max_tokens", int, lambda value: 1 <= value <= most, f"Range of max_tokens should be [1, {most}]"),
        ("max_completion_tokens", int, lambda value: value >= 1, "max_completion_tokens should be greater than 0"),
        ("thinking_budget", int, lambda value: value >= 1, "thinking_budget should be greater than 0"),
        ("n", int, lambda value: 1 <= value <= 4, "Range of n should be [1, 4]"),
        ("seed", int, lambda value: 0 <= value < 2**63, "Range of seed should be [0, 9223372036854775807]"),
    )
    for name, kind, fits, message in ranges:
        value = parameters.get(name)
        if value is None:
            continue
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise _bad_parameter(f"Input should be a valid {'integer' if kind is int else 'number'}: parameters.{name}")
        if not fits(value):
            raise _bad_parameter(message)


def _thinking(model: str, parameters: JsonObject, stream: bool) -> bool:
    asked, manner = parameters.get("enable_thinking"), thinking_of(model)
    if manner == ALWAYS_THINKING and asked is False:
        raise _bad_parameter("The value of the enable_thinking parameter is restricted to True.")
    if not stream and is_stream_only(model):
        raise _bad_parameter(
            "This model only support stream mode, please enable the stream parameter to access the model."
        )
    if manner == NEVER_THINKING:
        return False
    thinking = manner in (ALWAYS_THINKING, THINKING_BY_DEFAULT) if asked is None else bool(asked)
    if thinking and not stream and re.fullmatch(_STREAMED_THINKING_MODEL, model_key(model)):
        raise _bad_parameter("parameter.enable_thinking must be set to false for non-streaming calls")
    return thinking


def _check_tools(parameters: JsonObject, thinking: bool) -> None:
    tools = native_tools(parameters)
    if any(tool["name"] == "search" for tool in tools):
        raise _bad_parameter("Tool names are not allowed to be [search]")
    if tools and (parameters.get("n") or 1) > 1:
        raise _bad_parameter("n must be 1 when tools are given")
    choice = parameters.get("tool_choice")
    if choice in (None, "auto", "none"):
        return
    if thinking:
        raise _bad_parameter(
            "The tool_choice parameter does not support being set to required or object in thinking mode"
        )
    if type(choice) is not dict or type(choice.get("function")) is not dict:
        raise _bad_parameter("tool_choice is one of the strings that should be ['none', 'auto'], or an object")
    if not any(tool["name"] == choice["function"].get("name") for tool in tools):
        raise _bad_parameter("The function in tool_choice is not found in tools")


def native_tools(parameters: JsonObject) -> list[JsonObject]:
    """Return the functions among the tools."""
    tools = parameters.get("tools") or []
    functions = [tool.get("function") for tool in tools if type(tool) is dict] if type(tools) is list else [None]
    if not all(type(function) is dict and type(function.get("name")) is str for function in functions):
        raise _bad_parameter("Field required: parameters.tools.function.name")
    return functions


def _check_format(parameters: JsonObject, messages: typing.Sequence[JsonObject], thinking: bool) -> None:
    kind = native_object(parameters, "response_format").get("type", "text")
    if kind == "text":
        return
    if thinking:
        raise _bad_parameter("Json mode response is not supported when enable_thinking is true")
    if kind == "json_object" and not any("json" in _text(message).lower() for message in messages):
        raise _bad_parameter(
            "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
        )


def _as_message(parameters: JsonObject, key: str, always: bool) -> bool:
    wanted = parameters.get("result_format")
    if always or parameters.get("tools") or (parameters.get("n") or 1) > 1:
        return True
    return wanted == "message" if wanted else re.fullmatch(_MESSAGE_MODEL, key) is not None


def _text(message: JsonObject) -> str:
    """Return a message's text, whichever way it is written."""
    content = message.get("content") or ""
    if type(content) is str:
        return content
    return " ".join(part["text"] for part in content if type(part.get("text")) is str)


def _prompt_tokens(messages: typing.Sequence[JsonObject]) -> dict[str, int]:
    """Count a prompt's tokens by kind: a word is one, at least one a message."""
    tokens = {"text": sum(len(split_words(_text(message))) or 1 for message in messages)}
    for message in messages:
        for part in message["content"] if type(message.get("content")) is list else []:
            for kind, count in _MEDIA_TOKENS.items():
                if kind in part:
                    tokens[kind] = tokens.get(kind, 0) + count
    return tokens


def _heard_seconds(messages: typing.Sequence[JsonObject]) -> int:
    """Return how long the sounds of a request are, in whole seconds: one second for those that do not tell."""
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


# ---- what is said -----------------------------------------------------------------------------------------------


class NativeSaidCall(typing.NamedTuple):
    """A function call: its arguments as the pieces that a stream sends."""

    id: str
    name: str
    pieces: typing.Sequence[str]


class NativeSpeech(typing.NamedTuple):
    """What one choice says: reasoning, then text or calls, each in pieces that count for one token."""

    reasoning: typing.Sequence[str]
    pieces: typing.Sequence[str]
    calls: typing.Sequence[NativeSaidCall]
    finish_reason: str

    @property
    def steps(self) -> int:
        """How many pieces there are in all."""
        return len(self.reasoning) + len(self.pieces) + sum(len(call.pieces) for call in self.calls)


def native_speeches(
    question: NativeQuestion, text: str, random_bits: typing.Callable[[int], int]
) -> list[NativeSpeech]:
    """Decide what the choices of an answer say: `text`, JSON in the form asked for, or calls of functions."""
    parameters = question.parameters
    reasoning = split_words(_REASONING)[: parameters.get("thinking_budget")] if question.thinking else []
    calls, reason = _calls(question, random_bits)
    pieces = [] if calls else split_words(_cut_at_stop(_formatted(question, text), parameters.get("stop")))
    whole = NativeSpeech(reasoning, pieces, calls, reason)
    return [_cut(whole, parameters)] * (parameters.get("n") or 1)


def _calls(question: NativeQuestion, random_bits: typing.Callable[[int], int]) -> tuple[list[NativeSaidCall], str]:
    """Return the calls to make and the finish reason: a forced call, or those of functions that the user names.

    A call that the request forces ends with "stop", one that was left open with "tool_calls", as DashScope has it.
    """
    tools, choice = native_tools(question.parameters), question.parameters.get("tool_choice") or "auto"
    last = question.messages[-1]
    prompt = _text(last)
    if type(choice) is dict:
        chosen, reason = [tool for tool in tools if tool["name"] == choice["function"]["name"]][:1], "stop"
    elif choice == "auto" and last.get("role") == "user":
        chosen, reason = (
            [tool for tool in tools if re.search(rf"(?<!\w){re.escape(tool['name'])}(?!\w)", prompt)],
            "tool_calls",
        )
        chosen = chosen if question.parameters.get("parallel_tool_calls") else chosen[:1]
    else:
        chosen, reason = [], "stop"
    calls = [
        NativeSaidCall(f"call_{random_bits(96):024x}", tool["name"], split_words(_arguments(tool, prompt)))
        for tool in chosen
    ]
    return calls, reason if calls else "stop"


def _arguments(tool: JsonObject, prompt: str) -> str:
    schema = tool.get("parameters") or {"type": "object", "properties": {}}
    return _json(schema, read_hints(prompt), f"parameters.tools.function '{tool['name']}'")


def _formatted(question: NativeQuestion, text: str) -> str:
    wanted = native_object(question.parameters, "response_format")
    if wanted.get("type") == "json_object":
        return encode_json({"text": text}).decode()
    if wanted.get("type") == "json_schema":
        schema = native_object(wanted, "json_schema").get("schema") or {}
        return _json(schema, read_hints(_text(question.messages[-1])), "parameters.response_format")
    return text


def _json(schema: JsonObject, hints: Hints, where: str) -> str:
    """Return JSON that satisfies a schema, with spaces after its separators: there a stream cuts it into pieces."""
    try:
        return json.dumps(instance(schema, hints=hints), ensure_ascii=False)
    except SchemaError as exc:
        raise _bad_parameter(f"Invalid schema in {where}: {exc}") from exc


def _cut_at_stop(text: str, stop: typing.Any) -> str:
    """Cut a text before the first of the stop sequences; token ids among them mean nothing here."""
    sequences = [stop] if type(stop) is str else stop if type(stop) is list else []
    found = [text.find(sequence) for sequence in sequences if type(sequence) is str and sequence and sequence in text]
    return text[: min(found)] if found else text


def _cut(speech: NativeSpeech, parameters: JsonObject) -> NativeSpeech:
    """Cut a text to its limits: `max_completion_tokens` counts the reasoning too, `max_tokens` does not."""
    limits = []
    if parameters.get("max_completion_tokens") is not None:
        limits.append(parameters["max_completion_tokens"] - len(speech.reasoning))
    if parameters.get("max_tokens") is not None:
        limits.append(parameters["max_tokens"])
    if not limits or len(speech.pieces) <= min(limits):
        return speech
    most = min(limits)
    return NativeSpeech(
        speech.reasoning[: len(speech.reasoning) + min(0, most)], speech.pieces[: max(0, most)], [], "length"
    )


# ---- the answer -------------------------------------------------------------------------------------------------


def native_answer(question: NativeQuestion, speeches: typing.Sequence[NativeSpeech], request_id: str) -> JsonObject:
    """Return the whole answer of a plain request."""
    return _frame(question, list(enumerate(speeches)), [speech.steps for speech in speeches], speeches, request_id)


def native_events(question: NativeQuestion, speeches: typing.Sequence[NativeSpeech], request_id: str) -> NativeGroups:
    """Return a stream's events, in groups that go at one moment: a piece of each choice; the last ones end it.

    Incremental streams tell each piece once, the others repeat all that was said before.
    """
    groups: NativeGroups = []
    told = [0] * len(speeches)
    for step in range(max(speech.steps for speech in speeches)):
        groups.append([])
        for index, speech in enumerate(speeches):
            if step < speech.steps:
                told[index] += 1
                part = _piece(speech, step) if question.incremental else _so_far(speech, step + 1)
                groups[-1].append(_frame(question, [(index, part)], told, speeches, request_id))
    groups = groups or [[]]
    for index, speech in enumerate(speeches):
        last = NativeSpeech([], [], [], speech.finish_reason) if question.incremental else speech
        groups[-1].append(_frame(question, [(index, last)], told, speeches, request_id))
    return groups


def encode_native_events(groups: NativeGroups, error: tuple[int, JsonObject] | None = None) -> list[bytes]:
    """Return the frames of a stream; `error`, a status and a body, comes as its last event, under HTTP 200."""
    frames, number = [], 0
    for group in groups:
        frame = b""
        for event in group:
            number += 1
            frame += encode_native_event(number, b"result", b"HTTP_STATUS/200", encode_json(event))
        frames.append(frame)
    if error is not None:
        status, body = error
        frames.append(encode_native_event(number + 1, b"error", b"HTTP_STATUS/%d" % status, encode_json(body)))
    return frames


def _piece(speech: NativeSpeech, step: int) -> NativeSpeech:
    """Return piece number `step` alone; only the first piece of a call has its id and name."""
    if step < len(speech.reasoning):
        return NativeSpeech(speech.reasoning[step : step + 1], [], [], "null")
    step -= len(speech.reasoning)
    if step < len(speech.pieces):
        return NativeSpeech([], speech.pieces[step : step + 1], [], "null")
    step -= len(speech.pieces)
    calls = []
    for call in speech.calls:
        here = call.pieces[step : step + 1] if step >= 0 else []
        calls.append(NativeSaidCall("" if step else call.id, "" if step else call.name, here))
        step -= len(call.pieces)
    return NativeSpeech([], [], calls, "null")


def _so_far(speech: NativeSpeech, steps: int) -> NativeSpeech:
    """Return the first so many pieces together."""
    reasoning = speech.reasoning[:steps]
    steps -= len(reasoning)
    pieces = speech.pieces[:steps]
    steps -= len(pieces)
    calls = []
    for call in speech.calls:
        calls.append(NativeSaidCall(call.id, call.name, call.pieces[: max(0, steps)]))
        steps -= len(call.pieces)
    return NativeSpeech(reasoning, pieces, [call for call in calls if call.pieces], "null")


def _frame(
    question: NativeQuestion,
    parts: typing.Sequence[tuple[int, NativeSpeech]],
    told: typing.Sequence[int],
    speeches: typing.Sequence[NativeSpeech],
    request_id: str,
) -> JsonObject:
    """Return an answer, or one event: some choices' parts, and the usage after so many pieces of each choice."""
    output: JsonObject
    if question.as_message:
        output = {"choices": [_choice(question, index, part, len(speeches)) for index, part in parts]}
    else:
        output = {"finish_reason": parts[0][1].finish_reason, "text": "".join(parts[0][1].pieces)}
    return {"output": output, "usage": _usage(question, told, speeches), "request_id": request_id}


def _choice(question: NativeQuestion, index: int, part: NativeSpeech, choices: int) -> JsonObject:
    text = "".join(part.pieces)
    message: JsonObject = {"role": "assistant", "content": text}
    if question.multimodal:
        message["content"] = [{"text": text}] if text else []
    if question.heard_seconds:
        options = native_object(question.parameters, "asr_options")
        note = {"type": "audio_info", "language": options.get("language") or "en", "emotion": "neutral"}
        message["annotations"] = [note]
    if question.thinking:
        message["reasoning_content"] = "".join(part.reasoning)
    calls = [_call(number, call) for number, call in enumerate(part.calls) if call.pieces]
    if calls:
        message["tool_calls"] = calls
    choice: JsonObject = {"finish_reason": part.finish_reason, "message": message}
    if choices > 1:
        choice["index"] = index
    return choice


def _call(number: int, call: NativeSaidCall) -> JsonObject:
    function = {"arguments": "".join(call.pieces)}
    if call.name:
        function["name"] = call.name
    return {"index": number, "id": call.id, "type": "function", "function": function}


def _usage(question: NativeQuestion, told: typing.Sequence[int], speeches: typing.Sequence[NativeSpeech]) -> JsonObject:
    """Count what was said so far; what adds up is text and media to the input, reasoning and text to the output."""
    prompt, spent = question.prompt_tokens, sum(question.prompt_tokens.values())
    said = sum(told)
    thought = sum(min(steps, len(speech.reasoning)) for steps, speech in zip(told, speeches))
    if question.heard_seconds:
        return {
            "input_tokens_details": {"text_tokens": prompt["text"]},
            "output_tokens_details": {"text_tokens": said},
            "seconds": question.heard_seconds,
        }
    usage: JsonObject = {
        "input_tokens": spent,
        "output_tokens": said,
        "total_tokens": spent + said,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    if question.thinking:
        usage["output_tokens_details"] = {"reasoning_tokens": thought, "text_tokens": said - thought}
    if question.multimodal:
        usage["input_tokens_details"] = {f"{kind}_tokens": count for kind, count in prompt.items()}
        usage.update({f"{kind}_tokens": count for kind, count in prompt.items() if kind != "text"})
    return usage
