"""OpenAI's chat completion request as native calls: what is mapped, clamped, dropped and refused.

`plan_chat` makes a plan: one native call, or several where a model gives only one choice a call. A plan that DashScope
refuses for its path or for not being a stream is made anew, once, by `retry_plan`; everything else is the caller's.
Sources: OpenAI API reference, "Create chat completion"; DashScope API reference, "Text generation".
"""

from __future__ import annotations

import json
import typing

from protocol.dashscope.mapping.errors import DashScopeError
from protocol.dashscope.mapping.fields import (
    is_integer,
    optional_choice,
    optional_flag,
    optional_integer,
    optional_list,
    optional_number,
    optional_object,
    refuse_field,
    required_text,
)
from protocol.dashscope.mapping.messages import has_media_parts, mentions_json, native_messages
from protocol.dashscope.mapping.models import (
    ALWAYS_THINKING,
    ENDPOINT_PATHS,
    MULTIMODAL_ENDPOINT,
    NEVER_THINKING,
    TEXT_ENDPOINT,
    THINKING_BY_DEFAULT,
    THINKING_ON_DEMAND,
    effort_scale_of,
    endpoint_for,
    is_stream_only,
    is_wrong_endpoint,
    most_output_tokens,
    no_endpoint_error,
    refuse_impossible_model,
    takes_json_schema,
    takes_logit_bias,
    takes_max_completion_tokens,
    takes_several_choices,
    thinking_of,
)
from protocol.dashscope.mapping.native import NativeCall
from protocol.dashscope.mapping.tools import names_one_tool, tool_parameters
from protocol.errors import ApiError

# DashScope documents temperature as [0, 2) and top_p as (0, 1] or, for older models, (0, 1). Leaving a value out
# instead would silently mean the model's default.
_TEMPERATURE_BELOW_TWO = 1.99
_TOP_P_BELOW_ONE = 0.9999
_TOP_P_ABOVE_ZERO = 0.0001

_SEED_MODULUS = 2**31
_MOST_STOP_STRINGS = 4
_MOST_CHOICES = 4
_MOST_TOP_LOGPROBS = 5
_OPENAI_MOST_TOP_LOGPROBS = 20

_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_THINKING_BUDGETS = {"minimal": 1024, "low": 4096, "medium": 16384}
_EFFORT_SCALES = {
    "high-or-max": {"minimal": "high", "low": "high", "medium": "high", "high": "high", "xhigh": "max", "max": "max"},
    "low-to-xhigh": {
        "minimal": "low",
        "low": "low",
        "medium": "medium",
        "high": "xhigh",
        "xhigh": "xhigh",
        "max": "xhigh",
    },
}

# Not OpenAI's, but DashScope's own: passed on from the top level, where OpenAI's SDKs put `extra_body`.
_EXTENSIONS = (
    "thinking_budget",
    "preserve_thinking",
    "clear_thinking",
    "top_k",
    "repetition_penalty",
    "enable_search",
    "search_options",
    "translation_options",
    "ocr_options",
    "asr_options",
    "vl_high_resolution_images",
    "vl_enable_image_hw_output",
    "enable_code_interpreter",
    "skill",
    "tool_stream",
    "max_input_tokens",
    "min_pixels",
    "max_pixels",
)

_JSON_NOTE = "Respond in JSON."
_JSON_SCHEMA_NOTE = "Respond in JSON that is valid against this JSON schema, and with nothing else:\n"

# What DashScope says where a plain call had to be a stream.
_STREAM_ONLY_ERRORS = (
    "only support stream mode",
    "does not support http call",
    "enable_thinking must be set to false for non-streaming",
    "non-streaming mode does not support web search",
)


class ChatPlan:
    """What to call for one chat request, and how to read the answers.

    `calls` is one call, or one a choice. `stream` says whether the client wants a stream, `aggregate` whether it does
    not but the calls are streams all the same, `forced_tool` whether one function was named in `tool_choice`,
    `endpoint_forced` whether media parts leave no other endpoint to try, `endpoint_retried` whether this is the other.
    """

    __slots__ = (
        "aggregate",
        "calls",
        "endpoint",
        "endpoint_forced",
        "endpoint_retried",
        "forced_tool",
        "include_usage",
        "model",
        "stream",
    )

    def __init__(
        self,
        *,
        model: str,
        endpoint: str,
        endpoint_forced: bool,
        calls: typing.Sequence[NativeCall],
        stream: bool,
        aggregate: bool,
        include_usage: bool,
        forced_tool: bool,
        endpoint_retried: bool = False,
    ) -> None:
        self.model = model
        self.endpoint = endpoint
        self.endpoint_forced = endpoint_forced
        self.calls = tuple(calls)
        self.stream = stream
        self.aggregate = aggregate
        self.include_usage = include_usage
        self.forced_tool = forced_tool
        self.endpoint_retried = endpoint_retried


def plan_chat(
    request: typing.Mapping[str, typing.Any],
    *,
    routes: typing.Mapping[str, str] | None = None,
    remembered: str | None = None,
    endpoint: str | None = None,
    aggregate: bool = False,
) -> ChatPlan:
    """Return the plan for the JSON object of a chat completion request.

    `routes` and `remembered` are as in `endpoint_for`; `endpoint` overrules them, unless there are media parts.
    `aggregate` asks for native streams even if the model seems to take a plain call. Raises ApiError 400 with `param`
    for what neither side could take.
    """
    model = required_text(request, "model")
    refuse_impossible_model(model)
    messages = optional_list(request, "messages")
    if not messages:
        raise refuse_field("messages", "a non-empty list", messages)
    stream, include_usage = _read_stream(request)
    _refuse_audio_output(request)

    parameters, notes = _map_parameters(request, model, messages)
    thinking = _is_thinking(model, parameters)
    parameters.update(tool_parameters(request, thinking))
    parameters.update(_read_raw_parameters(request))
    thinking = _is_thinking(model, parameters)
    aggregate = not stream and (aggregate or _must_stream(model, parameters, thinking))

    has_media = has_media_parts(messages)
    if has_media or endpoint is None:
        endpoint = endpoint_for(model, has_media, routes, remembered)
    native = native_messages(messages, endpoint == MULTIMODAL_ENDPOINT, notes)
    return ChatPlan(
        model=model,
        endpoint=endpoint,
        endpoint_forced=has_media,
        calls=_make_calls(model, endpoint, native, parameters, stream or aggregate, thinking),
        stream=stream,
        aggregate=aggregate,
        include_usage=include_usage,
        forced_tool=names_one_tool(request),
    )


def retry_plan(request: typing.Mapping[str, typing.Any], plan: ChatPlan, error: ApiError) -> ChatPlan | None:
    """Return the plan to try once after `error`, or None if no other plan can help.

    A wrong path is tried on the other chat endpoint; a refusal of plain calls is tried as a stream; each once. The
    caller must not have sent anything to its client yet. The endpoint of a plan that worked is worth remembering.
    """
    if is_wrong_endpoint(error) and not plan.endpoint_forced and not plan.endpoint_retried:
        retry = plan_chat(request, endpoint=_other_chat_endpoint(plan.endpoint), aggregate=plan.aggregate)
        retry.endpoint_retried = True
        return retry
    if refuses_plain_call(error) and not plan.stream and not plan.aggregate:
        retry = plan_chat(request, endpoint=plan.endpoint, aggregate=True)
        retry.endpoint_retried = plan.endpoint_retried
        return retry
    return None


def final_chat_error(plan: ChatPlan, error: ApiError) -> ApiError:
    """Return the error for the client once no plan is left: a path refused on both endpoints means an unknown model."""
    if plan.endpoint_retried and isinstance(error, DashScopeError) and is_wrong_endpoint(error):
        return no_endpoint_error(error)
    return error


def refuses_plain_call(error: ApiError) -> bool:
    """Tell whether DashScope refused a plain call because the model, or its thinking, only comes as a stream."""
    if not isinstance(error, DashScopeError):
        return False
    message = error.native_message.lower()
    return any(text in message for text in _STREAM_ONLY_ERRORS)


def _other_chat_endpoint(endpoint: str) -> str:
    return TEXT_ENDPOINT if endpoint == MULTIMODAL_ENDPOINT else MULTIMODAL_ENDPOINT


def _read_stream(request: typing.Mapping[str, typing.Any]) -> tuple[bool, bool]:
    stream = bool(optional_flag(request, "stream"))
    options = optional_object(request, "stream_options")
    if options is None:
        return stream, False
    if not stream:
        raise refuse_field("stream_options", "stream: true beside it", options)
    include_usage = options.get("include_usage")
    if include_usage is not None and not isinstance(include_usage, bool):
        raise refuse_field("stream_options.include_usage", "true or false", include_usage)
    return stream, bool(include_usage)


def _refuse_audio_output(request: typing.Mapping[str, typing.Any]) -> None:
    modalities = optional_list(request, "modalities") or []
    if any(modality != "text" for modality in modalities):
        raise refuse_field("modalities", '["text"], the only output of DashScope\'s native chat', modalities)
    if request.get("audio") is not None:
        raise refuse_field("audio", "no such field, for DashScope's native chat has no spoken output", request["audio"])


def _map_parameters(
    request: typing.Mapping[str, typing.Any], model: str, messages: list[typing.Any]
) -> tuple[dict[str, typing.Any], list[str]]:
    """Return the native parameters without tools, and the notes that the system message must carry for them."""
    parameters: dict[str, typing.Any] = {"result_format": "message"}
    parameters.update(_map_sampling(request, model))
    parameters.update(_map_limits(request, model))
    parameters.update(_map_log_probabilities(request))
    parameters.update(_map_search(request))
    for name in _EXTENSIONS:
        if request.get(name) is not None:
            parameters[name] = request[name]
    parameters.update(_map_thinking(request, model))
    response_format, notes = _map_response_format(request, model, messages)
    parameters.update(response_format)
    return parameters, notes


def _read_raw_parameters(request: typing.Mapping[str, typing.Any]) -> dict[str, typing.Any]:
    """Return the extension `parameters`: native ones, unchecked but for those that decide how many calls are made."""
    raw = dict(optional_object(request, "parameters") or {})
    for name, low, high in (("n", 1, _MOST_CHOICES), ("seed", 0, _SEED_MODULUS - 1)):
        value = raw.get(name)
        if value is not None and not (is_integer(value) and low <= value <= high):
            raise refuse_field("parameters." + name, f"an integer from {low} to {high}", value)
    return {name: value for name, value in raw.items() if value is not None and name != "stream"}


def _map_sampling(request: typing.Mapping[str, typing.Any], model: str) -> dict[str, typing.Any]:
    native: dict[str, typing.Any] = {}
    temperature = optional_number(request, "temperature", 0, 2)
    if temperature is not None:
        native["temperature"] = _TEMPERATURE_BELOW_TWO if temperature >= 2 else temperature
    top_p = optional_number(request, "top_p", 0, 1)
    if top_p is not None:
        native["top_p"] = _TOP_P_BELOW_ONE if top_p >= 1 else top_p or _TOP_P_ABOVE_ZERO
    seed = optional_integer(request, "seed")
    if seed is not None:
        native["seed"] = seed % _SEED_MODULUS
    presence = optional_number(request, "presence_penalty", -2, 2)
    if presence is not None:
        native["presence_penalty"] = presence
    # Checked and dropped: DashScope has no twin, and repetition_penalty means something else.
    optional_number(request, "frequency_penalty", -2, 2)
    if takes_logit_bias(model) and request.get("logit_bias"):
        native["logit_bias"] = optional_object(request, "logit_bias")
    return native


def _map_limits(request: typing.Mapping[str, typing.Any], model: str) -> dict[str, typing.Any]:
    native: dict[str, typing.Any] = {}
    limit = optional_integer(request, "max_tokens", 1)
    completion_limit = optional_integer(request, "max_completion_tokens", 1)
    name = "max_tokens"
    if completion_limit is not None:
        limit = completion_limit
        name = "max_completion_tokens" if takes_max_completion_tokens(model) else name
    if limit is not None:
        native[name] = min(limit, most_output_tokens(model) or limit)
    stop = _map_stop(request.get("stop"))
    if stop:
        native["stop"] = stop
    choices = optional_integer(request, "n", 1, _MOST_CHOICES)
    if choices is not None and choices > 1:
        native["n"] = choices
    return native


def _map_stop(stop: object) -> object:
    """Return the stop strings; lists of token ids, which only DashScope has, pass."""
    if stop is None or isinstance(stop, str):
        return stop
    if not isinstance(stop, list):
        raise refuse_field("stop", "a string or a list of strings", stop)
    if stop and all(_is_token_ids(item) for item in stop):
        return stop
    if not all(isinstance(item, str) for item in stop) or len(stop) > _MOST_STOP_STRINGS:
        raise refuse_field("stop", f"at most {_MOST_STOP_STRINGS} strings", stop)
    return [item for item in stop if item]


def _is_token_ids(item: object) -> bool:
    if isinstance(item, list):
        return bool(item) and all(is_integer(token) for token in item)
    return is_integer(item)


def _map_log_probabilities(request: typing.Mapping[str, typing.Any]) -> dict[str, typing.Any]:
    logprobs = optional_flag(request, "logprobs")
    top = optional_integer(request, "top_logprobs", 0, _OPENAI_MOST_TOP_LOGPROBS)
    if top is not None and not logprobs:
        raise refuse_field("top_logprobs", "logprobs: true beside it", top)
    native: dict[str, typing.Any] = {}
    if logprobs:
        native["logprobs"] = True
    if top is not None:
        native["top_logprobs"] = min(top, _MOST_TOP_LOGPROBS)
    return native


def _map_search(request: typing.Mapping[str, typing.Any]) -> dict[str, typing.Any]:
    if optional_object(request, "web_search_options") is None:
        return {}
    # OpenAI's search models search for every request; left alone, DashScope lets the model decide.
    return {"enable_search": True, "search_options": {"forced_search": True}}


def _map_thinking(request: typing.Mapping[str, typing.Any], model: str) -> dict[str, typing.Any]:
    """Return the thinking switches. What is said in DashScope's words outranks `reasoning_effort`."""
    native: dict[str, typing.Any] = {}
    effort = optional_choice(request, "reasoning_effort", _EFFORTS)
    # The two exclude each other upstream, and a budget is the more exact word.
    if effort is not None and request.get("thinking_budget") is None:
        native.update(_map_effort(effort, model))
    switch = _read_thinking_switch(request)
    if switch is not None:
        native["enable_thinking"] = switch
    if native.get("enable_thinking") is False:
        native.pop("reasoning_effort", None)
        native.pop("thinking_budget", None)
    return native


def _map_effort(effort: str, model: str) -> dict[str, typing.Any]:
    thinking = thinking_of(model)
    if thinking not in (THINKING_BY_DEFAULT, THINKING_ON_DEMAND):
        return {}
    if effort == "none":
        return {"enable_thinking": False}
    scale = effort_scale_of(model)
    if scale is not None:
        return {"reasoning_effort": _EFFORT_SCALES[scale][effort]}
    native: dict[str, typing.Any] = {"enable_thinking": True}
    if effort in _THINKING_BUDGETS:
        native["thinking_budget"] = _THINKING_BUDGETS[effort]
    return native


def _read_thinking_switch(request: typing.Mapping[str, typing.Any]) -> bool | None:
    """Return the switch from any of its three spellings, DashScope's own first."""
    switch = optional_flag(request, "enable_thinking")
    if switch is not None:
        return switch
    template = optional_object(request, "chat_template_kwargs") or {}
    if isinstance(template.get("enable_thinking"), bool):
        return template["enable_thinking"]
    thinking = optional_object(request, "thinking")
    if thinking is None:
        return None
    if thinking.get("type") not in ("enabled", "disabled", "auto"):
        raise refuse_field("thinking.type", "enabled, disabled or auto", thinking.get("type"))
    return None if thinking["type"] == "auto" else thinking["type"] == "enabled"


def _map_response_format(
    request: typing.Mapping[str, typing.Any], model: str, messages: list[typing.Any]
) -> tuple[dict[str, typing.Any], list[str]]:
    response_format = optional_object(request, "response_format")
    if response_format is None or response_format.get("type") == "text":
        return {}, []
    if response_format.get("type") == "json_object":
        # DashScope refuses JSON mode unless the word is in the prompt.
        notes = [] if mentions_json(messages) else [_JSON_NOTE]
        return {"response_format": {"type": "json_object"}}, notes
    if response_format.get("type") != "json_schema":
        raise refuse_field("response_format.type", "text, json_object or json_schema", response_format.get("type"))
    described = response_format.get("json_schema")
    if not isinstance(described, dict):
        raise refuse_field("response_format.json_schema", "an object with name and schema", described)
    if takes_json_schema(model):
        return {"response_format": {"type": "json_schema", "json_schema": described}}, []
    schema = json.dumps(described.get("schema") or {}, ensure_ascii=False)
    return {"response_format": {"type": "json_object"}}, [_JSON_SCHEMA_NOTE + schema]


def _is_thinking(model: str, parameters: dict[str, typing.Any]) -> bool:
    """Tell whether the model will, or may, think."""
    thinking = thinking_of(model)
    if thinking in (ALWAYS_THINKING, NEVER_THINKING):
        return thinking == ALWAYS_THINKING or parameters.get("enable_thinking") is True
    switch = parameters.get("enable_thinking")
    if isinstance(switch, bool):
        return switch
    return thinking == THINKING_BY_DEFAULT


def _must_stream(model: str, parameters: dict[str, typing.Any], thinking: bool) -> bool:
    """Tell whether a plain call must be made as a stream and put together.

    Hybrid models refuse to think in a plain call, and what a plain call has not said within 300 s is lost.
    """
    return thinking or is_stream_only(model) or bool(parameters.get("enable_code_interpreter"))


def _make_calls(
    model: str,
    endpoint: str,
    messages: list[dict[str, typing.Any]],
    parameters: dict[str, typing.Any],
    stream: bool,
    thinking: bool,
) -> list[NativeCall]:
    """Return the native call, or one a choice where the model gives but one at a time."""
    parameters["result_format"] = "message"
    parameters.pop("incremental_output", None)
    if stream:
        parameters["incremental_output"] = True
    variants = [parameters]
    choices = parameters.get("n", 1)
    if choices != 1 and not (takes_several_choices(model) and not thinking and "tools" not in parameters):
        variants = _single_choices(parameters, choices)
    return [
        NativeCall(
            ENDPOINT_PATHS[endpoint],
            {"model": model, "input": {"messages": messages}, "parameters": variant},
            stream=stream,
        )
        for variant in variants
    ]


def _single_choices(parameters: dict[str, typing.Any], choices: int) -> list[dict[str, typing.Any]]:
    """Return the parameters once a choice; one seed would make the choices alike, so it counts up."""
    single = {name: value for name, value in parameters.items() if name != "n"}
    if "seed" not in single:
        return [single] * choices
    return [{**single, "seed": (single["seed"] + number) % _SEED_MODULUS} for number in range(choices)]
