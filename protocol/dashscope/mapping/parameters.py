"""The parameters of a chat completion request as DashScope's: sampling, limits, log probabilities, format, extensions.

Sources: OpenAI API reference, "Create chat completion"; DashScope API reference, "Text generation", parameters.
"""

from __future__ import annotations

import json
import typing

from protocol.dashscope.mapping.fields import (
    is_integer,
    optional_flag,
    optional_integer,
    optional_number,
    optional_object,
    refuse_field,
)
from protocol.dashscope.mapping.messages import mentions_json
from protocol.dashscope.mapping.models import (
    takes_json_schema,
    takes_logit_bias,
    takes_max_completion_tokens,
    traits_of,
)
from protocol.dashscope.mapping.native import SEED_MODULUS
from protocol.dashscope.mapping.thinking import THINKING_FIELDS, thinking_parameters
from protocol.wire.json_text import JsonObject

# DashScope documents temperature as [0, 2) and top_p as (0, 1] or, for older models, (0, 1). A value on the border is
# moved inside: to leave it out would mean the model's default, without a word.
_TEMPERATURE_BELOW_TWO = 1.99
_TOP_P_BELOW_ONE = 0.9999
_TOP_P_ABOVE_ZERO = 0.0001

_MOST_STOP_STRINGS = 4
_MOST_CHOICES = 4
_MOST_TOP_LOGPROBS = 5
_OPENAI_MOST_TOP_LOGPROBS = 20

# DashScope's own parameters. A request has them at the top level, where OpenAI's SDKs put `extra_body`.
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
# Without JSON mode, what models like to put around it has to be ruled out, too.
_BARE_JSON_NOTE = "Respond with one JSON object and nothing else. Write no code fence around it."


def chat_parameters(request: typing.Mapping[str, typing.Any], model: str) -> JsonObject:
    """Return the native parameters without tools and without `response_format`.

    Only the members that are there are looked at, in their order. No reader's parameters depend on that order.
    """
    parameters: JsonObject = {"result_format": "message"}
    for name, value in request.items():
        if value is None:
            continue
        read = _READERS.get(name)
        if read is not None:
            read(request, name, model, parameters)
    return parameters


def raw_parameters(request: typing.Mapping[str, typing.Any]) -> JsonObject:
    """Return the extension `parameters`, native ones. Only `n` and `seed` are checked: the calls are made by them."""
    raw = optional_object(request, "parameters")
    if not raw:
        return {}
    for name, low, high in (("n", 1, _MOST_CHOICES), ("seed", 0, SEED_MODULUS - 1)):
        value = raw.get(name)
        if value is not None and not (is_integer(value) and low <= value <= high):
            raise refuse_field("parameters." + name, f"an integer from {low} to {high}", value)
    return {name: value for name, value in raw.items() if value is not None and name != "stream"}


# ---- readers: each puts what one member gives among the parameters --------------------------------------------------

_Request = typing.Mapping[str, typing.Any]


def _read_temperature(request: _Request, name: str, model: str, parameters: JsonObject) -> None:
    temperature = optional_number(request, name, 0, 2)
    if temperature is not None:
        parameters[name] = _TEMPERATURE_BELOW_TWO if temperature >= 2 else temperature


def _read_top_p(request: _Request, name: str, model: str, parameters: JsonObject) -> None:
    top_p = optional_number(request, name, 0, 1)
    if top_p is not None:
        parameters[name] = _TOP_P_BELOW_ONE if top_p >= 1 else top_p or _TOP_P_ABOVE_ZERO


def _read_seed(request: _Request, name: str, model: str, parameters: JsonObject) -> None:
    seed = optional_integer(request, name)
    if seed is not None:
        parameters[name] = seed % SEED_MODULUS


def _read_presence_penalty(request: _Request, name: str, model: str, parameters: JsonObject) -> None:
    parameters[name] = optional_number(request, name, -2, 2)


def _read_frequency_penalty(request: _Request, name: str, model: str, parameters: JsonObject) -> None:
    # Checked and dropped: DashScope has nothing like it, for its repetition_penalty means something else.
    optional_number(request, name, -2, 2)


def _read_logit_bias(request: _Request, name: str, model: str, parameters: JsonObject) -> None:
    if request[name] and takes_logit_bias(model):
        parameters[name] = optional_object(request, name)


def _read_limit(request: _Request, name: str, model: str, parameters: JsonObject) -> None:
    """Read `max_tokens` and `max_completion_tokens`, of which the second counts where both are there."""
    limit = optional_integer(request, "max_tokens", 1)
    completion_limit = optional_integer(request, "max_completion_tokens", 1)
    name = "max_tokens"
    if completion_limit is not None:
        limit = completion_limit
        name = "max_completion_tokens" if takes_max_completion_tokens(model) else name
    if limit is not None:
        parameters[name] = min(limit, traits_of(model).most_output_tokens or limit)


def _read_stop(request: _Request, name: str, model: str, parameters: JsonObject) -> None:
    stop = _map_stop(request[name])
    if stop:
        parameters[name] = stop


def _read_n(request: _Request, name: str, model: str, parameters: JsonObject) -> None:
    choices = optional_integer(request, name, 1, _MOST_CHOICES)
    if choices is not None and choices > 1:
        parameters[name] = choices


def _map_stop(stop: object) -> object:
    """Return the stop strings. Lists of token ids, which only DashScope takes, are passed on."""
    if isinstance(stop, str):
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


def _read_log_probabilities(request: _Request, name: str, model: str, parameters: JsonObject) -> None:
    logprobs = optional_flag(request, "logprobs")
    top = optional_integer(request, "top_logprobs", 0, _OPENAI_MOST_TOP_LOGPROBS)
    if top is not None and not logprobs:
        raise refuse_field("top_logprobs", "logprobs: true beside it", top)
    if logprobs:
        parameters["logprobs"] = True
    if top is not None:
        parameters["top_logprobs"] = min(top, _MOST_TOP_LOGPROBS)


def _read_web_search(request: _Request, name: str, model: str, parameters: JsonObject) -> None:
    optional_object(request, name)
    # OpenAI's search models search for every request. DashScope would let the model decide.
    parameters.setdefault("enable_search", True)
    parameters.setdefault("search_options", {"forced_search": True})


def _read_thinking(request: _Request, name: str, model: str, parameters: JsonObject) -> None:
    parameters.update(thinking_parameters(request, model))


def _pass_on(request: _Request, name: str, model: str, parameters: JsonObject) -> None:
    parameters[name] = request[name]


_READERS: dict[str, typing.Callable[[_Request, str, str, JsonObject], None]] = {
    "temperature": _read_temperature,
    "top_p": _read_top_p,
    "seed": _read_seed,
    "presence_penalty": _read_presence_penalty,
    "frequency_penalty": _read_frequency_penalty,
    "logit_bias": _read_logit_bias,
    "max_tokens": _read_limit,
    "max_completion_tokens": _read_limit,
    "stop": _read_stop,
    "n": _read_n,
    "logprobs": _read_log_probabilities,
    "top_logprobs": _read_log_probabilities,
    "web_search_options": _read_web_search,
    **dict.fromkeys(THINKING_FIELDS, _read_thinking),
    **dict.fromkeys(_EXTENSIONS, _pass_on),
}


def wants_json(request: typing.Mapping[str, typing.Any]) -> bool:
    """Tell whether the answer must be JSON; raises the 400 for a `response_format` that is no object."""
    response_format = optional_object(request, "response_format") or {}
    return response_format.get("type") in ("json_object", "json_schema")


def response_format_parameters(
    request: typing.Mapping[str, typing.Any], model: str, messages: list[typing.Any], *, in_words: bool
) -> tuple[JsonObject, list[str]]:
    """Return the native `response_format`, where there is one, and the notes that the system message must carry.

    `in_words` asks for JSON by a note alone, where the model does not take the parameter.
    """
    response_format = optional_object(request, "response_format")
    if response_format is None or response_format.get("type") == "text":
        return {}, []
    if response_format.get("type") == "json_object":
        if in_words:
            return {}, [_BARE_JSON_NOTE]
        # DashScope refuses JSON mode where the prompt has not the word "JSON".
        notes = [] if mentions_json(messages) else [_JSON_NOTE]
        return {"response_format": {"type": "json_object"}}, notes
    if response_format.get("type") != "json_schema":
        raise refuse_field("response_format.type", "text, json_object or json_schema", response_format.get("type"))
    described = response_format.get("json_schema")
    if not isinstance(described, dict):
        raise refuse_field("response_format.json_schema", "an object with name and schema", described)
    if takes_json_schema(model) and not in_words:
        return {"response_format": {"type": "json_schema", "json_schema": described}}, []
    schema = json.dumps(described.get("schema") or {}, ensure_ascii=False)
    if in_words:
        return {}, [_BARE_JSON_NOTE, _JSON_SCHEMA_NOTE + schema]
    return {"response_format": {"type": "json_object"}}, [_JSON_SCHEMA_NOTE + schema]
