"""What is known of DashScope's models: which endpoint takes them, how they think, what they support.

A model that is not listed is not refused, because models come and go: the patterns tell what its family can do. They
are matched against the lower-case id without a `vendor/` prefix; dated snapshots and `-latest` behave as their family.

The patterns stay text, here and in the other modules of DashScope: `re` keeps what it has compiled, and a start on
which no such request comes is spared some 10 ms. Source: Alibaba Cloud Model Studio, "Models".
"""

from __future__ import annotations

import fnmatch
import functools
import re
import typing

from protocol.dashscope.mapping.errors import DashScopeError
from protocol.dashscope.mapping.native import MULTIMODAL_GENERATION_PATH, TEXT_GENERATION_PATH
from protocol.errors import ApiError
from protocol.wire.json_text import JsonObject

TEXT_ENDPOINT = "text"
MULTIMODAL_ENDPOINT = "multimodal"
ENDPOINT_PATHS = {TEXT_ENDPOINT: TEXT_GENERATION_PATH, MULTIMODAL_ENDPOINT: MULTIMODAL_GENERATION_PATH}

# How a model thinks when the request says nothing.
ALWAYS_THINKING = "always"
THINKING_BY_DEFAULT = "on"
THINKING_ON_DEMAND = "off"
NEVER_THINKING = "never"
UNKNOWN_THINKING = "unknown"

_URL_ERROR = "url error"

_CREATED = 1735689600  # 2025-01-01: DashScope tells no date, and the field is required
_OWNERS = (("deepseek", "deepseek"), ("glm", "zhipu"), ("kimi", "moonshot"), ("minimax", "minimax"))
_DEFAULT_OWNER = "alibaba"

# By model: its id, its context and its longest output in tokens; None where nothing reliable is published.
_KNOWN_CHAT_MODELS: tuple[tuple[str, int | None, int | None], ...] = (
    ("farui-plus", 12_000, 2_000),
    ("qwen-max", 131_072, 8_192),
    ("qwen3-max", 262_144, 65_536),
    ("qwen-plus", 1_000_000, 32_768),
    ("qwen-flash", 1_000_000, 32_768),
    ("qwen-turbo", 1_000_000, 16_384),
    ("qwen3.5-plus", 1_000_000, 65_536),
    ("qwen3.5-flash", 1_000_000, 65_536),
    ("qwen3.6-plus", 1_000_000, 65_536),
    ("qwen3.6-flash", 1_000_000, 65_536),
    ("qwen3.6-max-preview", 245_800, 65_536),
    ("qwen3.7-max", 1_000_000, 65_536),
    ("qwen3.7-plus", 1_000_000, 65_536),
    ("qwen3.8-max", None, None),
    ("qwen3.8-flash", None, None),
    ("qwen3.5-397b-a17b", 262_144, 65_536),
    ("qwen3.5-122b-a10b", 262_144, 65_536),
    ("qwen3.5-35b-a3b", 262_144, 65_536),
    ("qwen3.5-27b", 262_144, 65_536),
    ("qwen3-235b-a22b", 131_072, 16_384),
    ("qwen3-32b", 131_072, 16_384),
    ("qwen3-14b", 131_072, 8_192),
    ("qwen3-8b", 131_072, 8_192),
    ("qwen3-next-80b-a3b-instruct", 131_072, 32_768),
    ("qwen3-next-80b-a3b-thinking", 131_072, 32_768),
    ("qwen3-coder-plus", 1_048_576, 65_536),
    ("qwen3-coder-flash", 1_000_000, 65_536),
    ("qwen3-coder-480b-a35b-instruct", 262_144, 65_536),
    ("qwen3-coder-30b-a3b-instruct", 262_144, 65_536),
    ("qwen2.5-72b-instruct", 131_072, 8_192),
    ("qwen2.5-32b-instruct", 131_072, 8_192),
    ("qwen2.5-14b-instruct", 131_072, 8_192),
    ("qwen2.5-7b-instruct", 131_072, 8_192),
    ("qwen-long", 10_000_000, 8_192),
    ("qwen-doc-turbo", 131_072, 8_192),
    ("qwen-math-plus", 4_096, 3_072),
    ("qwen-math-turbo", 4_096, 3_072),
    ("qwen-mt-plus", 16_384, 8_192),
    ("qwen-mt-turbo", 16_384, 8_192),
    ("qwen-plus-character", 32_768, 4_096),
    ("tongyi-intent-detect-v3", 8_192, 1_024),
    ("qwq-plus", 131_072, 8_192),
    ("qwq-32b", 131_072, 8_192),
    ("qvq-max", 131_072, 8_192),
    ("qwen-vl-max", 131_072, 8_192),
    ("qwen-vl-plus", 131_072, 8_192),
    ("qwen3-vl-plus", 262_144, 32_768),
    ("qwen3-vl-flash", 262_144, 32_768),
    ("qwen3-vl-235b-a22b-instruct", 131_072, 32_768),
    ("qwen3-vl-235b-a22b-thinking", 131_072, 32_768),
    ("qwen3-vl-30b-a3b-instruct", 131_072, 32_768),
    ("qwen3-vl-30b-a3b-thinking", 131_072, 32_768),
    ("qwen-vl-ocr", 34_096, 4_096),
    ("qwen-audio-turbo", 8_000, 1_500),
    ("deepseek-r1", 131_072, 16_384),
    ("deepseek-r1-0528", 131_072, 16_384),
    ("deepseek-v3", 65_536, 8_192),
    ("deepseek-v3.1", 131_072, 65_536),
    ("deepseek-v3.2", 131_072, 65_536),
    ("deepseek-v3.2-exp", 131_072, 65_536),
    ("deepseek-v4-pro", None, None),
    ("deepseek-v4-flash", None, None),
    ("glm-5", 202_752, 16_384),
    ("glm-5.1", 202_752, 128_000),
    ("glm-5.2", None, None),
    ("kimi-k3", None, None),
    ("kimi-k2.5", 262_144, 32_768),
    ("kimi-k2.6", 262_144, 32_768),
    ("kimi-k2-thinking", 262_144, 16_384),
    ("MiniMax-M2.5", 204_800, 131_072),
)
_KNOWN_OTHER_MODELS: tuple[tuple[str, int | None, int | None], ...] = (
    ("text-embedding-v4", 8_192, None),
    ("text-embedding-v3", 8_192, None),
    ("text-embedding-v2", 2_048, None),
    ("text-embedding-v1", 2_048, None),
    ("qwen3-vl-embedding", None, None),
    ("qwen2.5-vl-embedding", None, None),
    ("tongyi-embedding-vision-plus", None, None),
    ("tongyi-embedding-vision-flash", None, None),
    ("multimodal-embedding-v1", None, None),
    ("qwen3-rerank", 4_000, None),
    ("gte-rerank-v2", 4_000, None),
    ("qwen3-vl-rerank", None, None),
    ("qwen-image", None, None),
    ("qwen-image-plus", None, None),
    ("qwen-image-edit", None, None),
    ("qwen-image-2.0", None, None),
    ("qwen-image-2.0-pro", None, None),
    ("wan2.7-image", None, None),
    ("wan2.7-image-pro", None, None),
    ("wan2.6-t2i", None, None),
    ("wan2.6-image", None, None),
    ("wan2.5-t2i-preview", None, None),
    ("wan2.5-i2i-preview", None, None),
    ("wan2.2-t2i-flash", None, None),
    ("wan2.2-t2i-plus", None, None),
    ("wanx2.1-t2i-turbo", None, None),
    ("wanx2.1-t2i-plus", None, None),
    ("z-image-turbo", None, None),
    ("wan2.7-t2v", None, None),
    ("wan2.7-i2v", None, None),
    ("wan2.6-t2v", None, None),
    ("wan2.6-i2v", None, None),
    ("qwen-tts", None, None),
    ("qwen3-tts-flash", None, None),
    ("qwen3-tts-instruct-flash", None, None),
    ("cosyvoice-v3-flash", None, None),
    ("cosyvoice-v3-plus", None, None),
    ("qwen3-asr-flash", 53_248, 4_096),
    ("qwen3-asr-flash-filetrans", None, None),
)

_IMPOSSIBLE_MODELS = (
    (r".*-realtime.*", "it is only offered over WebSocket, which is not translated"),
    (
        r"(?!.*captioner).*-omni.*",
        "Qwen-Omni is only offered on DashScope's compatible mode; send it to a relay backend whose base_url is "
        "https://dashscope.aliyuncs.com/compatible-mode/v1",
    ),
    (r"qwen-deep-research.*", "it speaks a research protocol of its own; use a chat model"),
)

# wan2.6 and what came after it paint from messages; the names of those that film have 2v or video in them.
_PAINTER_MODEL = r"qwen-image.*|z-image.*|wan(?:2\.[6-9]|[3-9])(?!.*(?:2v|video|vace|animate)).*"

_MULTIMODAL_MODEL = (
    r"qvq.*|.*-vl.*|.*vl-.*|.*-ocr.*|qwen2?-audio.*|.*captioner.*|.*-asr-flash(?!-filetrans).*|qwen3\.5-.*"
    r"|qwen3\.6-(?!.*max).*|qwen3\.7-(?:plus|flash).*|qwen3\.8-.*|kimi-k(?:2\.[56]|[3-9]).*|gui-.*|" + _PAINTER_MODEL
)

# First match wins.
_THINKING_MODELS = (
    (
        r"qwq.*|qvq.*|.*-thinking.*|deepseek-r1.*|qwen3\.7-max-(?:preview|2026-05-17)|qwen3\.8-(?:max-preview|2\.4t).*"
        r"|glm-5\.3.*",
        ALWAYS_THINKING,
    ),
    (
        (
            r".*-instruct.*|qwen-max.*|farui-plus.*|qwen-long.*|qwen-doc.*|qwen-mt.*|qwen-math.*|qwen3?-coder.*"
            r"|qwen2.*|qwen-vl.*|qwen-audio.*|qwen3-asr.*|.*captioner.*|qwen-plus-character.*|tongyi-.*|deepseek-v3(?:-.*)?"
        ),
        NEVER_THINKING,
    ),
    (
        r"qwen-(?:plus|flash|turbo).*|qwen3-max.*|qwen3-vl-(?:plus|flash).*|deepseek-v3\..*|kimi-k2\.5.*",
        THINKING_ON_DEMAND,
    ),
    (
        # No document says so of deepseek-v4, kimi-k2.6, MiniMax and older GLM. But they can think, and a plain call
        # may be made as a stream without harm.
        r"qwen3\.[5-9]-.*|qwen3-\d+(?:\.\d+)?b.*|glm-.*|deepseek-v4.*|kimi-k(?:2\.6|[3-9]).*|minimax-m2.*",
        THINKING_BY_DEFAULT,
    ),
)

_STREAM_ONLY_MODEL = r"qwq.*|qvq.*|qwen3-.*-thinking.*"
_CUMULATIVE_MODEL = r"qwen-mt-(?:plus|turbo).*"
_COMPLETION_LIMIT_MODEL = r"qwen3\.[5-9]-(?:plus|flash).*|qwen3\.[7-9]-max.*|deepseek-v[34].*"
_SEVERAL_CHOICES_MODEL = r"qwen-plus.*|qwen3-(?:\d+(?:\.\d+)?b|next|max).*"
_JSON_SCHEMA_MODEL = r"qwen3\.7-(?:plus|max|flash).*|qwen3\.[89]-.*"
# All others answer in JSON only while they do not think.
_JSON_WHILE_THINKING_MODEL = r"qwen3\.[78]-.*|deepseek-v4.*|glm-5\.1.*|glm-4\.5.*|kimi-k(?:2-thinking|3).*"
# These translate, and take one message of a user (translation.py).
_TRANSLATOR_MODEL = r"qwen-mt-.*"
# These take documents, and references to files, as further system messages.
_DOCUMENT_MODEL = r"qwen-(?:long|doc).*"
_LOGIT_BIAS_MODEL = r"qwen-plus-character.*"
_EFFORT_MODELS = (
    (r"deepseek-v4.*|glm-.*", "high-or-max"),
    (r"qwen3\.8-.*", "low-to-xhigh"),
)

_FARUI_MODEL = r"farui-plus.*"
_FARUI_MAX_TOKENS = 2000


class ModelTraits(typing.NamedTuple):
    """What a chat has to know of a model, whatever is asked: the functions below say what each of these means."""

    key: str
    impossible: str  # why no native HTTP endpoint serves it, "" where one does
    endpoint: str  # of its family
    thinking: str
    is_stream_only: bool
    streams_increments: bool
    takes_documents_as_system: bool
    takes_one_message: bool
    most_output_tokens: typing.Optional[int]


def traits_of(model: str) -> ModelTraits:
    """Return the traits of a model; those of the latest with names of usual length are remembered."""
    return _remembered_traits(model) if len(model) <= _REMEMBERED_CHARACTERS else _read_traits(model)


_REMEMBERED_MODELS = 256
_REMEMBERED_CHARACTERS = 128


@functools.lru_cache(maxsize=_REMEMBERED_MODELS)
def _remembered_traits(model: str) -> ModelTraits:
    return _read_traits(model)


def _read_traits(model: str) -> ModelTraits:
    key = model_key(model)
    return ModelTraits(
        key=key,
        impossible=next((reason for pattern, reason in _IMPOSSIBLE_MODELS if re.fullmatch(pattern, key)), ""),
        endpoint=MULTIMODAL_ENDPOINT if re.fullmatch(_MULTIMODAL_MODEL, key) else TEXT_ENDPOINT,
        thinking=thinking_of(model),
        is_stream_only=is_stream_only(model),
        streams_increments=streams_increments(model),
        takes_documents_as_system=re.fullmatch(_DOCUMENT_MODEL, key) is not None,
        takes_one_message=re.fullmatch(_TRANSLATOR_MODEL, key) is not None,
        most_output_tokens=most_output_tokens(model),
    )


def model_key(model: str) -> str:
    """Return the id as it is matched: lower case, without a `vendor/` prefix."""
    return model.strip().lower().rpartition("/")[2]


def possible_traits(model: str) -> ModelTraits:
    """Return the traits of a model, or raise the 400 for one that no native HTTP endpoint serves."""
    traits = traits_of(model)
    if traits.impossible:
        raise ApiError(
            400,
            f"The model '{model}' cannot be reached here: {traits.impossible}.",
            type="invalid_request_error",
            param="model",
            code="model_not_supported",
        )
    return traits


def endpoint_for(
    model: str, has_media: bool, routes: typing.Mapping[str, str] | None = None, remembered: str | None = None
) -> str:
    """Return TEXT_ENDPOINT or MULTIMODAL_ENDPOINT for a chat request.

    Where there are media parts, only one endpoint will do. Else the first of these decides: the operator's `routes`
    (glob → endpoint, first match), the endpoint that was found to work (`remembered`), the model's family.
    """
    if has_media:
        return MULTIMODAL_ENDPOINT
    traits = traits_of(model)
    if routes:
        for glob, endpoint in routes.items():
            if fnmatch.fnmatchcase(traits.key, glob.lower()):
                return endpoint
    return remembered or traits.endpoint


def paints_from_messages(model: str) -> bool:
    """Tell whether the model makes pictures from messages, at once. The older ones make tasks from a prompt."""
    return re.fullmatch(_PAINTER_MODEL, model_key(model)) is not None


def is_wrong_endpoint(error: ApiError) -> bool:
    """Tell whether DashScope refused the path for this model: `InvalidParameter`, "url error, please check url"."""
    return (
        isinstance(error, DashScopeError)
        and error.native_code.lower() == "invalidparameter"
        and _URL_ERROR in error.native_message.lower()
    )


def no_endpoint_error(error: DashScopeError) -> DashScopeError:
    """Return the 404 for a model that both chat endpoints refused, in DashScope's words."""
    return DashScopeError(
        404,
        error.native_message,
        "model_not_found",
        native_code=error.native_code,
        native_message=error.native_message,
        request_id=error.request_id,
        fields=error.fields,
    )


def thinking_of(model: str) -> str:
    """Return how the model thinks when a request says nothing: one of the *_THINKING constants."""
    key = model_key(model)
    for pattern, thinking in _THINKING_MODELS:
        if re.fullmatch(pattern, key):
            return thinking
    return UNKNOWN_THINKING


def is_stream_only(model: str) -> bool:
    """Tell whether DashScope answers this model as a stream only."""
    return re.fullmatch(_STREAM_ONLY_MODEL, model_key(model)) is not None


def streams_increments(model: str) -> bool:
    """Tell whether the events of the model's streams can say each word once. Those of others repeat all so far."""
    return re.fullmatch(_CUMULATIVE_MODEL, model_key(model)) is None


def takes_max_completion_tokens(model: str) -> bool:
    """Tell whether the model takes `max_completion_tokens`; the others take `max_tokens` only."""
    return re.fullmatch(_COMPLETION_LIMIT_MODEL, model_key(model)) is not None


def takes_several_choices(model: str) -> bool:
    """Tell whether the model takes `n` above 1, as long as it does not think and has no tools."""
    return re.fullmatch(_SEVERAL_CHOICES_MODEL, model_key(model)) is not None


def takes_json_schema(model: str) -> bool:
    """Tell whether the model takes `response_format` of type json_schema."""
    return re.fullmatch(_JSON_SCHEMA_MODEL, model_key(model)) is not None


def answers_json_while_thinking(model: str) -> bool:
    """Tell whether the model takes `response_format` also when it thinks."""
    return re.fullmatch(_JSON_WHILE_THINKING_MODEL, model_key(model)) is not None


def takes_logit_bias(model: str) -> bool:
    """Tell whether the model takes `logit_bias`."""
    return re.fullmatch(_LOGIT_BIAS_MODEL, model_key(model)) is not None


def effort_scale_of(model: str) -> str | None:
    """Return the native scale of `reasoning_effort` ("high-or-max", "low-to-xhigh"), None where it is not known."""
    key = model_key(model)
    for pattern, scale in _EFFORT_MODELS:
        if re.fullmatch(pattern, key):
            return scale
    return None


def most_output_tokens(model: str) -> int | None:
    """Return the most `max_tokens` that DashScope takes for the model, None where no limit is known."""
    return _FARUI_MAX_TOKENS if re.fullmatch(_FARUI_MODEL, model_key(model)) else None


def dashscope_model_list(renamed: typing.Mapping[str, str] | None = None) -> JsonObject:
    """Return the answer to `GET /v1/models`: the known models that can be reached, farui-plus first.

    Behind them come the names that stand for one of them in `renamed` (asked → sent).
    """
    models = {row[0]: _model_object(*row) for row in _KNOWN_CHAT_MODELS + _KNOWN_OTHER_MODELS}
    for asked, sent in (renamed or {}).items():
        if sent in models and not ("*" in asked or "?" in asked):
            models.setdefault(asked, {**models[sent], "id": asked})
    return {"object": "list", "data": list(models.values())}


def dashscope_model(model: str, sent: str | None = None) -> JsonObject:
    """Return the answer to `GET /v1/models/{id}`, or raise the 404; ids are compared without regard to case.

    `sent` is the known model that `model` stands for, where that is another one.
    """
    sent = sent or model
    for row in _KNOWN_CHAT_MODELS + _KNOWN_OTHER_MODELS:
        if row[0].lower() == sent.lower():
            return {**_model_object(*row), "id": row[0] if sent == model else model}
    raise ApiError(
        404,
        f"The model '{model}' does not exist or is not known here",
        type="invalid_request_error",
        param="model",
        code="model_not_found",
    )


def _model_object(model: str, context_tokens: int | None, output_tokens: int | None) -> JsonObject:
    known = {"id": model, "object": "model", "created": _CREATED, "owned_by": _owner(model)}
    if context_tokens:
        known["context_window"] = context_tokens
    if output_tokens:
        known["max_output_tokens"] = output_tokens
    return known


def _owner(model: str) -> str:
    for prefix, owner in _OWNERS:
        if model.lower().startswith(prefix):
            return owner
    return _DEFAULT_OWNER
