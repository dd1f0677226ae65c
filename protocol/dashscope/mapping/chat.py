"""OpenAI's chat completion request as native calls.

`plan_chat` makes a plan: one native call, or several where a model gives only one choice a call. DashScope's models
differ in ways that their names do not always tell, so a plan may be refused for its path, or because a plain call had
to be a stream. For each of the two `retry_plan` makes another plan, once. Sources: OpenAI API reference, "Create chat
completion"; DashScope API reference, "Text generation".
"""

from __future__ import annotations

import typing

from protocol.dashscope.mapping.errors import DashScopeError
from protocol.dashscope.mapping.fields import optional_flag, optional_list, optional_object, refuse_field, required_text
from protocol.dashscope.mapping.messages import native_messages
from protocol.dashscope.mapping.models import (
    ENDPOINT_PATHS,
    MULTIMODAL_ENDPOINT,
    TEXT_ENDPOINT,
    endpoint_for,
    is_stream_only,
    is_wrong_endpoint,
    no_endpoint_error,
    refuse_impossible_model,
    streams_increments,
    takes_documents_as_system,
    takes_several_choices,
)
from protocol.dashscope.mapping.native import SEED_MODULUS, NativeCall
from protocol.dashscope.mapping.parameters import chat_parameters, raw_parameters
from protocol.dashscope.mapping.parts import has_media_parts
from protocol.dashscope.mapping.thinking import is_thinking
from protocol.dashscope.mapping.tools import names_one_tool, tool_parameters
from protocol.errors import ApiError
from protocol.wire.json_text import JsonObject

# DashScope refuses a plain call that had to be a stream with one of these in its message.
_STREAM_ONLY_ERRORS = (
    "only support stream mode",
    "does not support http call",
    "enable_thinking must be set to false for non-streaming",
    "non-streaming mode does not support web search",
)


class ChatPlan:
    """What to call for one chat request, and how to read the answers.

    `calls` is one call, or one a choice. `stream`: the client wants a stream. `aggregate`: it does not, and the calls
    are streams all the same. `forced_tool`: one function was named in `tool_choice`. `endpoint_forced`: because of
    media parts no other endpoint can be tried. `endpoint_retried`: another endpoint has refused the model before.
    `cumulative`: each event of a stream repeats all that was said.
    """

    __slots__ = (
        "aggregate",
        "calls",
        "cumulative",
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
        self.cumulative = not streams_increments(model)
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
    `aggregate` asks for native streams even if the model seems to take a plain call. Raises the ApiError 400 that names
    the field at fault.
    """
    model = required_text(request, "model")
    refuse_impossible_model(model)
    messages = optional_list(request, "messages")
    if not messages:
        raise refuse_field("messages", "a non-empty list", messages)
    stream, include_usage = _read_stream(request)
    _refuse_audio_output(request)

    parameters, notes = chat_parameters(request, model, messages)
    thinking = is_thinking(model, parameters)
    parameters.update(tool_parameters(request, thinking))
    parameters.update(raw_parameters(request))
    thinking = is_thinking(model, parameters)
    aggregate = not stream and (aggregate or _must_stream(model, parameters, thinking))

    has_media = has_media_parts(messages)
    if has_media or endpoint is None:
        endpoint = endpoint_for(model, has_media, routes, remembered)
    native = native_messages(
        messages, endpoint == MULTIMODAL_ENDPOINT, notes, one_system=not takes_documents_as_system(model)
    )
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
    """Return the plan to try after `error`, or None where no other plan can help.

    After a wrong path that is the other chat endpoint, after a refusal of plain calls it is a stream; each is tried
    once. The caller must not have sent anything to its client yet.
    """
    if is_wrong_endpoint(error) and not plan.endpoint_forced and not plan.endpoint_retried:
        retry = plan_chat(request, endpoint=_other_endpoint(plan.endpoint), aggregate=plan.aggregate)
        retry.endpoint_retried = True
        return retry
    if refuses_plain_call(error) and not plan.stream and not plan.aggregate:
        retry = plan_chat(request, endpoint=plan.endpoint, aggregate=True)
        retry.endpoint_retried = plan.endpoint_retried
        return retry
    return None


def final_chat_error(plan: ChatPlan, error: ApiError) -> ApiError:
    """Return the error for the client once no plan is left. A model that both endpoints refused is unknown: 404."""
    if plan.endpoint_retried and isinstance(error, DashScopeError) and is_wrong_endpoint(error):
        return no_endpoint_error(error)
    return error


def refuses_plain_call(error: ApiError) -> bool:
    """Tell whether DashScope refused a plain call because this model, or this model thinking, only streams."""
    if not isinstance(error, DashScopeError):
        return False
    message = error.native_message.lower()
    return any(text in message for text in _STREAM_ONLY_ERRORS)


def _other_endpoint(endpoint: str) -> str:
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


def _must_stream(model: str, parameters: JsonObject, thinking: bool) -> bool:
    """Tell whether to make a stream and put it together, where the client wants no stream.

    Hybrid models refuse to think in a plain call, and what a plain call has not said within 300 s is lost.
    """
    return thinking or is_stream_only(model) or bool(parameters.get("enable_code_interpreter"))


def _make_calls(
    model: str,
    endpoint: str,
    messages: list[JsonObject],
    parameters: JsonObject,
    stream: bool,
    thinking: bool,
) -> list[NativeCall]:
    """Return the native call, or one a choice where the model gives one at a time."""
    parameters["result_format"] = "message"
    parameters.pop("incremental_output", None)
    if stream and streams_increments(model):
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


def _single_choices(parameters: JsonObject, choices: int) -> list[JsonObject]:
    """Return the parameters for each choice. The seed counts up, because the same one would give the same choice."""
    single = {name: value for name, value in parameters.items() if name != "n"}
    if "seed" not in single:
        return [single] * choices
    return [{**single, "seed": (single["seed"] + number) % SEED_MODULUS} for number in range(choices)]
