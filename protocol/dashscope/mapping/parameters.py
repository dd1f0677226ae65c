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
    most_output_tokens,
    takes_json_schema,
    takes_logit_bias,
    takes_max_completion_tokens,
)
from protocol.dashscope.mapping.native import SEED_MODULUS
from protocol.dashscope.mapping.thinking import thinking_parameters
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
    """Return the native parameters without tools and without `response_format`."""
    parameters: JsonObject = {"result_format": "message"}
    parameters.update(_map_sampling(request, model))
    parameters.update(_map_limits(request, model))
    parameters.update(_map_log_probabilities(request))
    parameters.update(_map_search(request))
    for name in _EXTENSIONS:
        if request.get(name) is not None:
            parameters[name] = request[name]
    parameters.update(thinking_parameters(request, model))
    return parameters


def raw_parameters(request: typing.Mapping[str, typing.Any]) -> JsonObject:
    """Return the extension `parameters`, native ones. Only `n` and `seed` are checked: the calls are made by them."""
    raw = dict(optional_object(request, "parameters") or {})
    for name, low, high in (("n", 1, _MOST_CHOICES), ("seed", 0, SEED_MODULUS - 1)):
        value = raw.get(name)
        if value is not None and not (is_integer(value) and low <= value <= high):
            raise refuse_field("parameters." + name, f"an integer from {low} to {high}", value)
    return {name: value for name, value in raw.items() if value is not None and name != "stream"}


def _map_sampling(request: typing.Mapping[str, typing.Any], model: str) -> JsonObject:
    native: JsonObject = {}
    temperature = optional_number(request, "temperature", 0, 2)
    if temperature is not None:
        native["temperature"] = _TEMPERATURE_BELOW_TWO if temperature >= 2 else temperature
    top_p = optional_number(request, "top_p", 0, 1)
    if top_p is not None:
        native["top_p"] = _TOP_P_BELOW_ONE if top_p >= 1 else top_p or _TOP_P_ABOVE_ZERO
    seed = optional_integer(request, "seed")
    if seed is not None:
        native["seed"] = seed % SEED_MODULUS
    presence = optional_number(request, "presence_penalty", -2, 2)
    if presence is not None:
        native["presence_penalty"] = presence
    # Checked and dropped: DashScope has nothing like it, for its repetition_penalty means something else.
    optional_number(request, "frequency_penalty", -2, 2)
    if takes_logit_bias(model) and request.get("logit_bias"):
        native["logit_bias"] = optional_object(request, "logit_bias")
    return native


def _map_limits(request: typing.Mapping[str, typing.Any], model: str) -> JsonObject:
    native: JsonObject = {}
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
    """Return the stop strings. Lists of token ids, which only DashScope takes, are passed on."""
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


def _map_log_probabilities(request: typing.Mapping[str, typing.Any]) -> JsonObject:
    logprobs = optional_flag(request, "logprobs")
    top = optional_integer(request, "top_logprobs", 0, _OPENAI_MOST_TOP_LOGPROBS)
    if top is not None and not logprobs:
        raise refuse_field("top_logprobs", "logprobs: true beside it", top)
    native: JsonObject = {}
    if logprobs:
        native["logprobs"] = True
    if top is not None:
        native["top_logprobs"] = min(top, _MOST_TOP_LOGPROBS)
    return native


def _map_search(request: typing.Mapping[str, typing.Any]) -> JsonObject:
    if optional_object(request, "web_search_options") is None:
        return {}
    # OpenAI's search models search for every request. DashScope would let the model decide.
    return {"enable_search": True, "search_options": {"forced_search": True}}


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
