"""OpenAI's chat completion request as native calls.

`plan_chat` makes a plan: one native call, or several where a model gives only one choice a call. DashScope's models
differ in ways that their names do not always tell, so a plan may be refused for its path, because a plain call had to
be a stream, or because the model thinks while it is forced to something. From each refusal something is learned, and
`retry_plan` makes another plan with it, once. Sources: OpenAI API reference, "Create chat
completion"; DashScope API reference, "Text generation".
"""

from __future__ import annotations

import re
import typing

from protocol.dashscope.mapping.errors import DashScopeError
from protocol.dashscope.mapping.fields import optional_flag, optional_list, optional_object, refuse_field, required_text
from protocol.dashscope.mapping.forcing import (
    IN_WORDS,
    PLAINLY,
    WITHOUT_THINKING,
    Manner,
    forced_kind,
    manner_of_forcing,
    other_manner,
    say_in_words,
)
from protocol.dashscope.mapping.learned import NOTHING_LEARNED, Learned
from protocol.dashscope.mapping.messages import native_messages
from protocol.dashscope.mapping.models import (
    ENDPOINT_PATHS,
    MULTIMODAL_ENDPOINT,
    TEXT_ENDPOINT,
    answers_json_while_thinking,
    endpoint_for,
    is_wrong_endpoint,
    no_endpoint_error,
    possible_traits,
    takes_several_choices,
    traits_of,
)
from protocol.dashscope.mapping.native import SEED_MODULUS, NativeCall
from protocol.dashscope.mapping.parameters import (
    chat_parameters,
    raw_parameters,
    response_format_parameters,
    wants_json,
)
from protocol.dashscope.mapping.parts import has_media_parts
from protocol.dashscope.mapping.thinking import thinks
from protocol.dashscope.mapping.tools import (
    SOME_CALL_NOTE,
    forced_function,
    names_one_tool,
    rename_calls,
    requires_some_call,
    stand_ins,
    tool_parameters,
)
from protocol.dashscope.mapping.translation import one_message
from protocol.errors import ApiError
from protocol.wire.json_text import JsonObject

# DashScope refuses a plain call that had to be a stream in one of these ways, ModelScope in the fifth.
_STREAM_ONLY_ERRORS = (
    r"only supports? stream(?:ing)? (?:mode|output)",
    r"does not support http call",
    r"enable_thinking must be set to false for non-streaming",
    r"enable_thinking only supports? stream",
    r"enable[_ ]thinking can ?not be support(?:ed)? when `?stream ?= ?false",
    r"non-streaming mode does not support web search",
)

# Without one of these there are no tools, and nothing that is said of them.
_TOOL_FIELDS = frozenset(("tools", "functions", "tool_choice", "function_call"))

# Where none of these is asked for, a call has nothing but the messages that depends on what they say.
_FIELDS_BESIDE_TEXTS = _TOOL_FIELDS | {"response_format", "parameters", "modalities", "audio"}


class ChatPlan:
    """What to call for one chat request, and how to read the answers.

    `calls` is one call, or one a choice. `stream`: the client wants a stream. `aggregate`: it does not, and the calls
    are streams all the same. `forced_tool`: one function was named in `tool_choice`. `endpoint_forced`: because of
    media parts no other endpoint can be tried. `cumulative`: each event of a stream repeats all that was said.
    `forced`: what the model is forced to, "" where it is not; `forcing`: how. `learned`: what refusals of earlier plans
    have taught. `stand_ins`: the names of functions that DashScope keeps to itself, by what is sent.
    """

    __slots__ = (
        "aggregate",
        "calls",
        "cumulative",
        "endpoint",
        "endpoint_forced",
        "forced",
        "forced_tool",
        "forcing",
        "include_usage",
        "learned",
        "model",
        "stand_ins",
        "stream",
    )

    def __init__(
        self,
        *,
        model: str,
        endpoint: str,
        endpoint_forced: bool,
        calls: typing.Sequence[NativeCall],
        cumulative: bool,
        stream: bool,
        aggregate: bool,
        include_usage: bool,
        forced_tool: bool,
        forced: str,
        forcing: Manner,
        learned: Learned,
        stand_ins: typing.Mapping[str, str],
    ) -> None:
        self.model = model
        self.endpoint = endpoint
        self.endpoint_forced = endpoint_forced
        self.calls = tuple(calls)
        self.cumulative = cumulative
        self.stream = stream
        self.aggregate = aggregate
        self.include_usage = include_usage
        self.forced_tool = forced_tool
        self.forced = forced
        self.forcing = forcing
        self.learned = learned
        self.stand_ins = stand_ins

    @property
    def endpoint_retried(self) -> bool:
        """Whether another endpoint has refused the model before."""
        return self.learned.endpoint_refused


def plan_chat(
    request: typing.Mapping[str, typing.Any],
    *,
    routes: typing.Mapping[str, str] | None = None,
    learned: Learned = NOTHING_LEARNED,
) -> ChatPlan:
    """Return the plan for the JSON object of a chat completion request.

    `routes` are as in `endpoint_for`. What was `learned` overrules all that is known of the model, but neither the
    routes nor what media parts need. Raises the ApiError 400 that names the field at fault.
    """
    model = required_text(request, "model")
    traits = possible_traits(model)
    messages = optional_list(request, "messages")
    if not messages:
        raise refuse_field("messages", "a non-empty list", messages)
    stream, include_usage = _read_stream(request)
    if "modalities" in request or "audio" in request:
        _refuse_audio_output(request)

    has_tools = not _TOOL_FIELDS.isdisjoint(request)
    parameters, notes, forced, forcing = _forced_parameters(request, model, messages, learned, has_tools=has_tools)
    if traits.takes_one_message:
        messages = one_message(messages, parameters)
    thinking = thinks(traits.thinking, parameters)
    # Hybrid models refuse to think in a plain call, and what a plain call has not said within 300 s is lost.
    must_stream = (
        thinking or traits.is_stream_only or learned.must_stream or bool(parameters.get("enable_code_interpreter"))
    )
    aggregate = must_stream and not stream

    has_media = has_media_parts(messages)
    endpoint = endpoint_for(model, has_media, routes, learned.endpoint)
    native = native_messages(
        messages, endpoint == MULTIMODAL_ENDPOINT, notes, one_system=not traits.takes_documents_as_system
    )
    names = stand_ins(request) if has_tools else {}
    if names:
        rename_calls(native, names)
    return ChatPlan(
        model=model,
        endpoint=endpoint,
        endpoint_forced=has_media,
        calls=_make_calls(
            model,
            endpoint,
            native,
            parameters,
            thinking=thinking,
            stream=stream or aggregate,
            incremental=traits.streams_increments,
        ),
        cumulative=not traits.streams_increments,
        stream=stream,
        aggregate=aggregate,
        include_usage=include_usage,
        forced_tool=has_tools and names_one_tool(request),
        forced=forced,
        forcing=forcing,
        learned=learned,
        stand_ins=names,
    )


def says_a_talk_as_it_is(request: typing.Mapping[str, typing.Any]) -> bool:
    """Tell whether calls for a chat have a `plain_talk` in it as it is, and nothing else in them depends on that."""
    traits = traits_of(request["model"])
    return (
        _FIELDS_BESIDE_TEXTS.isdisjoint(request)
        and not traits.takes_one_message
        and not traits.takes_documents_as_system
    )


def retry_plan(request: typing.Mapping[str, typing.Any], plan: ChatPlan, error: ApiError) -> ChatPlan | None:
    """Return the plan to try after `error`, or None where no other plan can help.

    After a wrong path that is the other chat endpoint, after a refusal of plain calls a stream, after one of JSON or of
    a forced function the next manner of forcing; each is tried once. The caller must not have sent anything to its
    client yet.
    """
    learned = plan.learned._replace(endpoint=plan.endpoint)
    if is_wrong_endpoint(error) and not plan.endpoint_forced and not plan.endpoint_retried:
        learned = learned._replace(endpoint=_other_endpoint(plan.endpoint), endpoint_refused=True)
    elif refuses_plain_call(error) and not plan.stream and not plan.aggregate:
        learned = learned._replace(must_stream=True)
    else:
        manner = other_manner(plan.forcing, plan.calls[0].body["parameters"], error) if plan.forced else None
        if manner is None:
            return None
        learned = learned._replace(forcing={**learned.forcing, plan.forced: manner})
    return plan_chat(request, learned=learned)


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
    return any(re.search(pattern, message) for pattern in _STREAM_ONLY_ERRORS)


def _forced_parameters(
    request: typing.Mapping[str, typing.Any],
    model: str,
    messages: list[typing.Any],
    learned: Learned,
    *,
    has_tools: bool,
) -> tuple[JsonObject, list[str], str, Manner]:
    """Return the native parameters, the notes for the system message, what is forced ("": nothing), and how."""
    parameters = chat_parameters(request, model)
    raw = raw_parameters(request) if "parameters" in request else {}
    if not has_tools and not raw and request.get("response_format") is None:
        return parameters, [], "", PLAINLY  # as nearly always: nothing can be forced
    tools = tool_parameters(request) if has_tools else {}
    function, json = forced_function(tools), wants_json(request) or wants_json(raw)
    known = {**parameters, **raw}
    forced = forced_kind(known, wants_json=json, forced_function=function)
    forcing = learned.forcing.get(forced) or manner_of_forcing(model, known, wants_json=json, forced_function=function)
    if forcing == WITHOUT_THINKING:
        parameters["enable_thinking"] = False
    in_words = forcing == IN_WORDS
    json_in_words = in_words and (forced in learned.forcing or not answers_json_while_thinking(model))
    response_format, notes = response_format_parameters(request, model, messages, in_words=json_in_words)
    parameters.update(response_format)
    if function and in_words:
        tools, note = say_in_words(tools, function)
        notes.append(note)
    elif requires_some_call(request, tools):
        notes.append(SOME_CALL_NOTE)
    parameters.update(tools)
    parameters.update(raw)
    return parameters, notes, forced, forcing


def _other_endpoint(endpoint: str) -> str:
    return TEXT_ENDPOINT if endpoint == MULTIMODAL_ENDPOINT else MULTIMODAL_ENDPOINT


def _read_stream(request: typing.Mapping[str, typing.Any]) -> tuple[bool, bool]:
    stream = bool(optional_flag(request, "stream"))
    options = optional_object(request, "stream_options") if "stream_options" in request else None
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


def _make_calls(
    model: str,
    endpoint: str,
    messages: list[JsonObject],
    parameters: JsonObject,
    *,
    thinking: bool,
    stream: bool,
    incremental: bool,
) -> list[NativeCall]:
    """Return the native call, or one a choice where the model gives one at a time.

    `incremental` says that the events of a stream can say each word once.
    """
    parameters["result_format"] = "message"
    parameters.pop("incremental_output", None)
    if stream and incremental:
        parameters["incremental_output"] = True
    variants = [parameters]
    if "n" in parameters:
        takes_several = takes_several_choices(model) and not thinking and "tools" not in parameters
        if parameters["n"] != 1 and not takes_several:
            variants = _single_choices(parameters, parameters["n"])
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
