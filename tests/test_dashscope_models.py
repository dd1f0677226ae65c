from __future__ import annotations

import pytest

from protocol.dashscope.mapping.errors import DashScopeError, error_from_answer
from protocol.dashscope.mapping.forcing import WITHOUT_THINKING
from protocol.dashscope.mapping.learned import NOTHING_LEARNED, Learned, LearnedMemory
from protocol.dashscope.mapping.models import (
    ENDPOINT_PATHS,
    _read_traits,
    _remembered_traits,
    dashscope_model,
    dashscope_model_list,
    endpoint_for,
    is_stream_only,
    is_wrong_endpoint,
    most_output_tokens,
    no_endpoint_error,
    possible_traits,
    takes_json_schema,
    takes_max_completion_tokens,
    takes_several_choices,
    thinking_of,
    traits_of,
)
from protocol.dashscope.settings import parse_endpoints
from protocol.errors import ApiError

TEXT_MODELS = (
    "qwen-max qwen-plus qwen-flash qwen-turbo qwen-plus-2025-07-28 qwen-plus-latest qwen3-max qwen3-max-preview "
    "qwen3-235b-a22b qwen3-8b qwen3-next-80b-a3b-instruct qwen3-coder-plus qwen-coder-plus qwen3.7-max "
    "qwen3.6-max-preview qwen-long qwen-doc-turbo qwen-math-plus qwen-mt-turbo qwen-plus-character qwq-plus "
    "deepseek-r1 deepseek-v3.2 glm-5 MiniMax-M2.5 kimi-k2-thinking tongyi-intent-detect-v3 farui-plus "
    "llama3-70b-instruct baichuan2-7b-chat-v1 qwen3-asr-flash-filetrans never-heard-of"
).split()
MULTIMODAL_MODELS = (
    "qvq-max qwen-vl-max qwen-vl-plus-latest qwen2.5-vl-72b-instruct qwen3-vl-plus qwen-vl-ocr qwen-audio-turbo "
    "qwen2-audio-instruct qwen3-omni-30b-a3b-captioner qwen3-asr-flash qwen3.5-plus qwen3.5-397b-a17b qwen3.6-plus "
    "qwen3.6-flash qwen3.7-plus qwen3.7-flash qwen3.8-max kimi-k2.5 kimi-k2.6 gui-plus qwen-image-plus wan2.6-t2i "
    "z-image-turbo QWEN3.5-PLUS qwen/qwen3.5-plus"
).split()


@pytest.mark.parametrize("model", TEXT_MODELS)
def test_text_models_go_to_the_text_endpoint(model: str) -> None:
    assert endpoint_for(model, has_media=False) == "text"


@pytest.mark.parametrize("model", MULTIMODAL_MODELS)
def test_multimodal_models_go_to_theirs_even_with_text(model: str) -> None:
    assert endpoint_for(model, has_media=False) == "multimodal"


def test_media_parts_decide_alone() -> None:
    assert endpoint_for("qwen-max", True, {"*": "text"}, "text") == "multimodal"


def test_the_operators_routes_beat_memory_and_memory_beats_the_family() -> None:
    assert endpoint_for("qwen-max", False, {"QWEN-*": "multimodal", "*": "text"}, "text") == "multimodal"
    assert endpoint_for("qwen-max", False, {"glm-*": "text"}, "multimodal") == "multimodal"


def test_every_endpoint_of_chat_can_be_named_in_the_configuration() -> None:
    for endpoint in ENDPOINT_PATHS:
        assert parse_endpoints(f"qwen4-* = {endpoint}") == {"qwen4-*": endpoint}


def test_memory_forgets_the_model_not_asked_for_longest() -> None:
    memory = LearnedMemory(most_models=2)
    memory.remember("a", Learned(must_stream=True))
    memory.remember("vendor/B", Learned(forcing={"json": WITHOUT_THINKING}))
    assert memory.recall("A") == Learned(must_stream=True)
    memory.remember("c", Learned(must_stream=True))
    assert memory.recall("b") == NOTHING_LEARNED
    assert memory.recall("a") == memory.recall("c") == Learned(must_stream=True)


def test_an_endpoint_is_remembered_only_where_the_other_one_refused() -> None:
    memory = LearnedMemory()
    memory.remember("a", Learned(endpoint="multimodal", must_stream=True))
    assert memory.recall("a") == Learned(must_stream=True)
    memory.remember("a", Learned(endpoint="multimodal", endpoint_refused=True))
    assert memory.recall("a") == Learned(endpoint="multimodal")
    memory.remember("a", Learned(endpoint="text", must_stream=True))
    assert memory.recall("a") == Learned(endpoint="multimodal", must_stream=True)


def url_error(code: str = "InvalidParameter", message: str = "url error, please check url！") -> DashScopeError:
    return error_from_answer({"code": code, "message": message, "request_id": "r-17"}, 400)


def test_knows_the_refusal_of_a_path() -> None:
    assert is_wrong_endpoint(url_error())
    assert not is_wrong_endpoint(url_error(message="Range of top_p should be (0.0, 1.0]"))
    assert not is_wrong_endpoint(url_error(code="InternalError"))
    assert not is_wrong_endpoint(ApiError(400, "url error"))


def test_a_path_refused_everywhere_is_an_unknown_model() -> None:
    error = no_endpoint_error(url_error())
    assert (error.status, error.code, error.request_id) == (404, "model_not_found", "r-17")
    assert "url error" in error.message and error.message.count("DashScope API error") == 1


@pytest.mark.parametrize(
    "model",
    [
        "qwen-omni-turbo",
        "qwen3-omni-flash",
        "qwen-omni-turbo-realtime",
        "qwen3-tts-flash-realtime",
        "qwen-deep-research",
    ],
)
def test_refuses_models_that_no_native_endpoint_serves(model: str) -> None:
    with pytest.raises(ApiError) as caught:
        possible_traits(model)
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, "model", "model_not_supported")


@pytest.mark.parametrize("model", ["qwen3-omni-30b-a3b-captioner", "never-heard-of", "qwen-plus"])
def test_passes_any_other_model(model: str) -> None:
    possible_traits(model)


THINKING = {
    "always": "qwq-plus qvq-max qwen3-next-80b-a3b-thinking deepseek-r1 deepseek-r1-0528 qwen3.7-max-preview "
    "qwen3.7-max-2026-05-17 kimi-k2-thinking",
    "on": "qwen3.5-plus qwen3.6-flash qwen3.7-plus qwen3.7-max qwen3.8-max qwen3-8b qwen3-0.6b qwen3-235b-a22b glm-5 "
    "glm-5.1 deepseek-v4-pro",
    "off": "qwen-plus qwen-plus-latest qwen-flash qwen-turbo qwen3-max qwen3-max-preview deepseek-v3.1 deepseek-v3.2 "
    "kimi-k2.5",
    "never": "qwen3-next-80b-a3b-instruct qwen-max farui-plus qwen-long qwen-mt-plus qwen-math-plus qwen-coder-plus "
    "qwen3-coder-480b-a35b-instruct qwen2.5-72b-instruct deepseek-v3",
    "unknown": "never-heard-of",
}


@pytest.mark.parametrize(
    ("model", "thinking"), [(model, thinking) for thinking, models in THINKING.items() for model in models.split()]
)
def test_knows_how_models_think(model: str, thinking: str) -> None:
    assert thinking_of(model) == thinking


@pytest.mark.parametrize(
    ("ask", "yes", "no"),
    [
        (is_stream_only, "qwq-plus qvq-max qwen3-235b-a22b-thinking-2507", "qwen-max qwen3.6-plus deepseek-r1"),
        (takes_max_completion_tokens, "qwen3.5-plus qwen3.8-flash qwen3.7-max deepseek-v4-pro", "qwen-max farui-plus"),
        (takes_several_choices, "qwen-plus qwen3-8b qwen-plus-character", "farui-plus qwen-max qwen3-coder-plus"),
        (takes_json_schema, "qwen3.7-plus qwen3.7-max qwen3.8-flash", "qwen-plus qwen3.5-plus farui-plus"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_knows_what_models_take(ask: object, yes: str, no: str) -> None:
    assert callable(ask)
    assert [model for model in yes.split() if not ask(model)] == []
    assert [model for model in no.split() if ask(model)] == []


def test_traits_are_remembered_of_as_many_models_as_are_in_use_and_of_no_long_name() -> None:
    _remembered_traits.cache_clear()
    for number in range(1000):
        assert traits_of(f"qwen-mt-plus-{number}").takes_one_message
    assert _remembered_traits.cache_info().currsize == 256
    traits_of("qwen-mt-plus-999")
    assert _remembered_traits.cache_info().hits == 1
    assert traits_of("qwen-max-" + "x" * 200) == _read_traits("qwen-max-" + "x" * 200)
    assert _remembered_traits.cache_info().misses == 1000


def test_only_farui_has_its_output_cut() -> None:
    assert (most_output_tokens("farui-plus"), most_output_tokens("qwen-max")) == (2000, None)


def test_the_list_of_models_begins_with_farui_and_names_none_twice() -> None:
    listed = dashscope_model_list()
    ids = [model["id"] for model in listed["data"]]
    assert listed["object"] == "list"
    assert ids[0] == "farui-plus"
    assert len(ids) == len(set(ids)) > 60
    for model in listed["data"]:
        assert model["object"] == "model" and isinstance(model["created"], int) and model["owned_by"]


def test_every_listed_model_can_be_reached() -> None:
    for model in dashscope_model_list()["data"]:
        possible_traits(model["id"])


def test_one_model_is_told_with_its_limits() -> None:
    assert dashscope_model("minimax-m2.5") == {
        "id": "MiniMax-M2.5",
        "object": "model",
        "created": 1735689600,
        "owned_by": "minimax",
        "context_window": 204_800,
        "max_output_tokens": 131_072,
    }


def test_an_unlisted_model_is_404() -> None:
    with pytest.raises(ApiError) as caught:
        dashscope_model("gpt-4")
    assert (caught.value.status, caught.value.code) == (404, "model_not_found")
