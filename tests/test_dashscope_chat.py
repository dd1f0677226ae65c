from __future__ import annotations

import pytest

from protocol.dashscope.mapping.chat import ChatPlan, final_chat_error, plan_chat, refuses_plain_call, retry_plan
from protocol.dashscope.mapping.errors import DashScopeError, error_from_answer, upstream_timeout
from protocol.dashscope.mapping.learned import Learned
from protocol.dashscope.mapping.native import MULTIMODAL_GENERATION_PATH, TEXT_GENERATION_PATH
from protocol.errors import ApiError

PLAIN = "qwen-max"  # never thinks
HYBRID = "qwen-plus"  # thinks on demand
THINKER = "qwen3.6-plus"  # thinks by default
ALWAYS = "deepseek-r1"

MESSAGES = [{"role": "user", "content": "hi"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


def plan(model: str = PLAIN, **request: object) -> ChatPlan:
    return plan_chat({"model": model, "messages": MESSAGES, **request})


def parameters(model: str = PLAIN, **request: object) -> dict:
    """Return the native parameters without the one that is always there."""
    (call,) = plan(model, **request).calls
    native = dict(call.body["parameters"])
    assert native.pop("result_format") == "message"
    return native


def test_maps_the_request_of_the_first_sample() -> None:
    request = {
        "model": "farui-plus",
        "messages": [
            {"role": "system", "content": "You are a lawyer."},
            {"role": "user", "content": "What is a lease?"},
        ],
        "temperature": 0.7,
        "top_p": 1,
        "max_tokens": 512,
        "stream": True,
    }
    (call,) = plan_chat(request).calls
    assert call.path == TEXT_GENERATION_PATH
    assert call.stream
    assert call.body == {
        "model": "farui-plus",
        "input": {"messages": request["messages"]},
        "parameters": {
            "result_format": "message",
            "incremental_output": True,
            "temperature": 0.7,
            "top_p": 0.9999,
            "max_tokens": 512,
        },
    }


def test_maps_the_request_of_the_vision_sample() -> None:
    content = [
        {"type": "text", "text": "Where is it?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "high"}},
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
    ]
    made = plan_chat({"model": "qwen3-vl-plus", "messages": [{"role": "user", "content": content}]})
    (call,) = made.calls
    assert (call.path, call.stream, made.endpoint_forced) == (MULTIMODAL_GENERATION_PATH, False, True)
    assert call.body == {
        "model": "qwen3-vl-plus",
        "input": {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"text": "Where is it?"},
                        {"image": "data:image/png;base64,iVBORw0KGgo="},
                        {"audio": "data:audio/wav;base64,UklGRg=="},
                    ],
                }
            ]
        },
        "parameters": {"result_format": "message"},
    }


def test_maps_the_tool_round_trip_of_the_sample() -> None:
    call = {"id": "call_a1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
    messages = [
        *MESSAGES,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_a1", "content": "sunny, 21 C"},
    ]
    native = plan_chat({"model": PLAIN, "messages": messages}).calls[0].body["input"]["messages"]
    assert native[1:] == [
        {"role": "assistant", "content": "", "tool_calls": [{"index": 0, **call}]},
        {"role": "tool", "tool_call_id": "call_a1", "content": "sunny, 21 C"},
    ]


HIGH_SEED = 2**31 + 5

# what the client sends; what DashScope gets
ROWS = {
    "temperature": ({"temperature": 0.7}, {"temperature": 0.7}),
    "temperature 0": ({"temperature": 0}, {"temperature": 0}),
    "temperature 2": ({"temperature": 2}, {"temperature": 1.99}),
    "temperature null": ({"temperature": None}, {}),
    "top_p": ({"top_p": 0.5}, {"top_p": 0.5}),
    "top_p 1": ({"top_p": 1}, {"top_p": 0.9999}),
    "top_p 0": ({"top_p": 0}, {"top_p": 0.0001}),
    "top_p null": ({"top_p": None}, {}),
    "max_tokens": ({"max_tokens": 9}, {"max_tokens": 9}),
    "max_completion_tokens": ({"max_completion_tokens": 9}, {"max_tokens": 9}),
    "both limits": ({"max_tokens": 5, "max_completion_tokens": 9}, {"max_tokens": 9}),
    "stop": ({"stop": "X"}, {"stop": "X"}),
    "stop list": ({"stop": ["X", "", "Y"]}, {"stop": ["X", "Y"]}),
    "stop of four": ({"stop": list("abcd")}, {"stop": list("abcd")}),
    "stop null": ({"stop": None}, {}),
    "stop empty": ({"stop": []}, {}),
    "stop empty string": ({"stop": ""}, {}),
    "stop empty strings": ({"stop": [""]}, {}),
    "stop token ids": ({"stop": [1, 2, 3, 4, 5]}, {"stop": [1, 2, 3, 4, 5]}),
    "stop token id lists": ({"stop": [[1], [2, 3]]}, {"stop": [[1], [2, 3]]}),
    "n 1": ({"n": 1}, {}),
    "n null": ({"n": None}, {}),
    "seed": ({"seed": 7}, {"seed": 7}),
    "seed above the range": ({"seed": HIGH_SEED}, {"seed": 5}),
    "seed below the range": ({"seed": -1}, {"seed": 2**31 - 1}),
    "presence_penalty": ({"presence_penalty": -2}, {"presence_penalty": -2}),
    "frequency_penalty is dropped": ({"frequency_penalty": 1.5}, {}),
    "logit_bias is dropped": ({"logit_bias": {"1": 5}}, {}),
    "logprobs": ({"logprobs": True, "top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}),
    "top_logprobs 20": ({"logprobs": True, "top_logprobs": 20}, {"logprobs": True, "top_logprobs": 5}),
    "logprobs false": ({"logprobs": False}, {}),
    "format text": ({"response_format": {"type": "text"}}, {}),
    "format JSON": ({"response_format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}),
    "tools": ({"tools": [TOOL]}, {"tools": [TOOL], "parallel_tool_calls": True}),
    "tool_choice": (
        {"tools": [TOOL], "tool_choice": "none"},
        {"tools": [TOOL], "tool_choice": "none", "parallel_tool_calls": True},
    ),
    "web search": ({"web_search_options": {}}, {"enable_search": True, "search_options": {"forced_search": True}}),
    "web search with own options": (
        {"web_search_options": {}, "search_options": {"search_strategy": "max"}},
        {"enable_search": True, "search_options": {"search_strategy": "max"}},
    ),
    "modalities text": ({"modalities": ["text"]}, {}),
    "template switch": ({"chat_template_kwargs": {"enable_thinking": False}}, {"enable_thinking": False}),
    "thinking disabled": ({"thinking": {"type": "disabled"}}, {"enable_thinking": False}),
    "thinking auto": ({"thinking": {"type": "auto"}}, {}),
    "raw parameters come last": (
        {"temperature": 1, "parameters": {"temperature": 0.5, "new_one": [1], "gone": None}},
        {"temperature": 0.5, "new_one": [1]},
    ),
    "raw parameters cannot switch the format": (
        {"parameters": {"result_format": "text", "incremental_output": True, "stream": True}},
        {},
    ),
}
EXTENSIONS = {
    "enable_thinking": False,
    "preserve_thinking": True,
    "clear_thinking": True,
    "top_k": 20,
    "repetition_penalty": 1.05,
    "enable_search": True,
    "search_options": {"search_strategy": "turbo"},
    "translation_options": {"source_lang": "auto", "target_lang": "English"},
    "ocr_options": {"task": "text_recognition"},
    "asr_options": {"language": "en"},
    "vl_high_resolution_images": True,
    "skill": [{"type": "ppt"}],
    "tool_stream": True,
    "max_input_tokens": 100,
    "min_pixels": 3136,
    "max_pixels": 1003520,
    "thinking_budget": 100,
}
DROPPED = (
    "user metadata store service_tier prediction safety_identifier prompt_cache_key verbosity never_heard_of".split()
)


@pytest.mark.parametrize("name", ROWS)
def test_maps_each_row_of_the_request_table(name: str) -> None:
    request, expected = ROWS[name]
    assert parameters(**request) == expected


@pytest.mark.parametrize("name", EXTENSIONS)
def test_passes_extensions_from_the_top_level(name: str) -> None:
    assert parameters(**{name: EXTENSIONS[name]}) == {name: EXTENSIONS[name]}


@pytest.mark.parametrize("name", DROPPED)
def test_drops_what_has_no_native_twin(name: str) -> None:
    assert parameters(**{name: {"a": "b"}}) == {}


REFUSALS = {
    "no model": ({"model": None}, "model"),
    "empty model": ({"model": " "}, "model"),
    "model of another type": ({"model": 5}, "model"),
    "impossible model": ({"model": "qwen-omni-turbo"}, "model"),
    "no messages": ({"messages": None}, "messages"),
    "empty messages": ({"messages": []}, "messages"),
    "messages of another type": ({"messages": "hi"}, "messages"),
    "temperature above 2": ({"temperature": 2.1}, "temperature"),
    "temperature below 0": ({"temperature": -0.1}, "temperature"),
    "temperature a boolean": ({"temperature": True}, "temperature"),
    "temperature a string": ({"temperature": "1"}, "temperature"),
    "top_p above 1": ({"top_p": 1.1}, "top_p"),
    "max_tokens 0": ({"max_tokens": 0}, "max_tokens"),
    "max_tokens a fraction": ({"max_tokens": 1.5}, "max_tokens"),
    "max_completion_tokens 0": ({"max_completion_tokens": 0}, "max_completion_tokens"),
    "stream a string": ({"stream": "yes"}, "stream"),
    "stream options without stream": ({"stream_options": {"include_usage": True}}, "stream_options"),
    "usage a string": ({"stream": True, "stream_options": {"include_usage": "y"}}, "stream_options.include_usage"),
    "five stops": ({"stop": list("abcde")}, "stop"),
    "mixed stops": ({"stop": ["a", 1]}, "stop"),
    "stop a number": ({"stop": 1}, "stop"),
    "n 0": ({"n": 0}, "n"),
    "n 5": ({"n": 5}, "n"),
    "seed a fraction": ({"seed": 1.5}, "seed"),
    "presence_penalty": ({"presence_penalty": 2.5}, "presence_penalty"),
    "frequency_penalty": ({"frequency_penalty": -2.5}, "frequency_penalty"),
    "logprobs a number": ({"logprobs": 1}, "logprobs"),
    "top_logprobs alone": ({"top_logprobs": 1}, "top_logprobs"),
    "top_logprobs 21": ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    "format of another type": ({"response_format": "json"}, "response_format"),
    "unknown format": ({"response_format": {"type": "xml"}}, "response_format.type"),
    "format without schema": ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    "tool of another type": ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
    "unknown effort": ({"reasoning_effort": "huge"}, "reasoning_effort"),
    "thinking switch a string": ({"enable_thinking": "yes"}, "enable_thinking"),
    "unknown thinking": ({"thinking": {"type": "maybe"}}, "thinking.type"),
    "audio wanted": ({"modalities": ["text", "audio"]}, "modalities"),
    "audio options": ({"audio": {"voice": "alloy", "format": "wav"}}, "audio"),
    "raw parameters no object": ({"parameters": []}, "parameters"),
    "raw n": ({"parameters": {"n": "many"}}, "parameters.n"),
    "raw seed": ({"parameters": {"seed": -1}}, "parameters.seed"),
    "web search options": ({"web_search_options": True}, "web_search_options"),
    "empty user message": ({"messages": [{"role": "user", "content": ""}]}, "messages[0].content"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refuses_and_names_the_parameter(name: str) -> None:
    request, param = REFUSALS[name]
    with pytest.raises(ApiError) as caught:
        plan(**request)
    assert (caught.value.status, caught.value.type, caught.value.param) == (400, "invalid_request_error", param)


def test_model_is_forwarded_as_it_came() -> None:
    assert plan("Vendor/Qwen-Max").calls[0].body["model"] == "Vendor/Qwen-Max"


def test_usage_is_included_when_asked_for() -> None:
    assert plan(stream=True, stream_options={"include_usage": True, "include_obfuscation": False}).include_usage
    assert not plan(stream=True).include_usage


@pytest.mark.parametrize(
    ("model", "request_", "expected"),
    [
        ("farui-plus", {"max_tokens": 4000}, {"max_tokens": 2000}),
        ("farui-plus", {"max_completion_tokens": 4000}, {"max_tokens": 2000}),
        ("farui-plus", {"max_tokens": 1999}, {"max_tokens": 1999}),
        ("qwen3.7-max", {"max_completion_tokens": 9, "enable_thinking": False}, {"max_completion_tokens": 9}),
        ("qwen-plus-character", {"logit_bias": {"1": 5}}, {"logit_bias": {"1": 5}}),
    ],
)
def test_some_models_have_rules_of_their_own(model: str, request_: dict, expected: dict) -> None:
    native = parameters(model, **request_)
    native.pop("enable_thinking", None)
    assert native == expected


SCHEMA = {"name": "answer", "schema": {"type": "object"}, "strict": True}


def test_json_schema_passes_where_the_model_knows_it() -> None:
    native = parameters("qwen3.7-plus", stream=True, response_format={"type": "json_schema", "json_schema": SCHEMA})
    assert native["response_format"] == {"type": "json_schema", "json_schema": SCHEMA}


def test_json_schema_is_else_told_in_words() -> None:
    made = plan(response_format={"type": "json_schema", "json_schema": SCHEMA}).calls[0].body
    assert made["parameters"]["response_format"] == {"type": "json_object"}
    assert '{"type": "object"}' in made["input"]["messages"][0]["content"]


@pytest.mark.parametrize(("prompt", "count"), [("hi", 2), ("hi, in Json", 1)])
def test_json_mode_says_json_unless_the_prompt_does(prompt: str, count: int) -> None:
    messages = [{"role": "user", "content": prompt}]
    made = plan_chat({"model": PLAIN, "messages": messages, "response_format": {"type": "json_object"}})
    native = made.calls[0].body["input"]["messages"]
    assert len(native) == count
    assert count == 1 or native[0] == {"role": "system", "content": "Respond in JSON."}


EFFORTS = [
    (HYBRID, "none", {"enable_thinking": False}),
    (HYBRID, "minimal", {"enable_thinking": True, "thinking_budget": 1024}),
    (HYBRID, "low", {"enable_thinking": True, "thinking_budget": 4096}),
    (HYBRID, "medium", {"enable_thinking": True, "thinking_budget": 16384}),
    (HYBRID, "high", {"enable_thinking": True}),
    (THINKER, "low", {"enable_thinking": True, "thinking_budget": 4096}),
    ("deepseek-v4-pro", "none", {"enable_thinking": False}),
    ("deepseek-v4-pro", "low", {"reasoning_effort": "high"}),
    ("deepseek-v4-pro", "medium", {"reasoning_effort": "high"}),
    ("deepseek-v4-pro", "high", {"reasoning_effort": "high"}),
    ("deepseek-v4-pro", "xhigh", {"reasoning_effort": "max"}),
    ("glm-5", "max", {"reasoning_effort": "max"}),
    ("qwen3.8-max", "none", {"enable_thinking": False}),
    ("qwen3.8-max", "minimal", {"reasoning_effort": "low"}),
    ("qwen3.8-max", "medium", {"reasoning_effort": "medium"}),
    ("qwen3.8-max", "high", {"reasoning_effort": "xhigh"}),
    ("qwen3.8-max", "max", {"reasoning_effort": "xhigh"}),
    (PLAIN, "high", {}),
    (PLAIN, "none", {}),
    (ALWAYS, "none", {}),
    ("never-heard-of", "high", {}),
]


@pytest.mark.parametrize(("model", "effort", "expected"), EFFORTS)
def test_maps_reasoning_effort(model: str, effort: str, expected: dict) -> None:
    native = parameters(model, reasoning_effort=effort, stream=True)
    native.pop("incremental_output")
    assert native == expected


def test_what_is_said_in_dashscopes_words_outranks_the_effort() -> None:
    native = parameters(HYBRID, reasoning_effort="high", enable_thinking=False)
    assert native == {"enable_thinking": False}
    native = parameters("deepseek-v4-pro", reasoning_effort="high", thinking_budget=5, stream=True)
    assert (native["thinking_budget"], "reasoning_effort" in native) == (5, False)


def test_the_models_own_default_of_thinking_is_left_alone() -> None:
    assert "enable_thinking" not in parameters(THINKER, stream=True)


AGGREGATES = [
    (PLAIN, {}, False),
    (HYBRID, {}, False),
    (HYBRID, {"enable_thinking": True}, True),
    (HYBRID, {"reasoning_effort": "low"}, True),
    (HYBRID, {"parameters": {"enable_thinking": True}}, True),
    (HYBRID, {"enable_code_interpreter": True}, True),
    (THINKER, {}, True),
    (THINKER, {"enable_thinking": False}, False),
    (THINKER, {"thinking": {"type": "disabled"}}, False),
    ("qwen3-8b", {}, True),
    (ALWAYS, {}, True),
    (ALWAYS, {"enable_thinking": False}, True),
    ("qwq-plus", {}, True),
    ("qvq-max", {}, True),
    ("never-heard-of", {}, False),
    (THINKER, {"stream": True}, False),
]


@pytest.mark.parametrize(("model", "request_", "expected"), AGGREGATES)
def test_plain_calls_of_thinking_models_are_made_as_streams(model: str, request_: dict, expected: bool) -> None:
    made = plan(model, **request_)
    (call,) = made.calls
    assert made.aggregate is expected
    assert call.stream is (expected or made.stream)
    assert call.body["parameters"].get("incremental_output") is (True if call.stream else None)
    assert "stream" not in call.body


def test_a_named_tool_is_not_forced_on_a_thinking_model() -> None:
    choice = {"type": "function", "function": {"name": "f"}}
    assert parameters(PLAIN, tools=[TOOL], tool_choice=choice)["tool_choice"] == choice
    switched_off = parameters(THINKER, tools=[TOOL], tool_choice=choice)
    assert (switched_off["tool_choice"], switched_off["enable_thinking"]) == (choice, False)
    assert parameters(ALWAYS, tools=[TOOL], tool_choice=choice)["tool_choice"] == "auto"
    assert plan(PLAIN, tools=[TOOL], tool_choice=choice).forced_tool


def test_n_passes_where_the_model_takes_it() -> None:
    assert parameters(HYBRID, n=3) == {"n": 3}


@pytest.mark.parametrize(
    ("model", "request_"),
    [(PLAIN, {}), (HYBRID, {"enable_thinking": True}), (HYBRID, {"tools": [TOOL]}), ("farui-plus", {"stream": True})],
    ids=["model", "thinking", "tools", "farui"],
)
def test_n_is_fanned_out_where_not_with_seeds_that_count_up(model: str, request_: dict) -> None:
    calls = plan(model, n=3, seed=2**31 - 2, **request_).calls
    assert [call.body["parameters"]["seed"] for call in calls] == [2**31 - 2, 2**31 - 1, 0]
    assert all("n" not in call.body["parameters"] for call in calls)


def test_n_without_a_seed_is_fanned_out_too() -> None:
    assert len(plan(n=2).calls) == 2


def test_routes_and_memory_choose_the_endpoint() -> None:
    request = {"model": PLAIN, "messages": MESSAGES}
    assert plan_chat(request).calls[0].path == TEXT_GENERATION_PATH
    routed = plan_chat(request, routes={"qwen-*": "multimodal"}).calls[0]
    assert routed.path == MULTIMODAL_GENERATION_PATH
    assert routed.body["input"]["messages"] == [{"role": "user", "content": [{"text": "hi"}]}]
    assert plan_chat(request, learned=Learned(endpoint="multimodal")).calls[0].path == MULTIMODAL_GENERATION_PATH


def native_error(message: str, code: str = "InvalidParameter") -> DashScopeError:
    return error_from_answer({"code": code, "message": message, "request_id": "r-17"}, 400)


URL_ERROR = native_error("url error, please check url！")
STREAM_ERRORS = [
    "This model only support stream mode, please enable the stream parameter to access the model.",
    "current user api does not support http call.",
    "parameter.enable_thinking must be set to false for non-streaming calls",
    "Non-streaming mode does not support Web Search in thinking mode",
]


def test_a_wrong_path_is_tried_once_on_the_other() -> None:
    request = {"model": PLAIN, "messages": MESSAGES}
    first = plan_chat(request)
    second = retry_plan(request, first, URL_ERROR)
    assert second is not None and second.calls[0].path == MULTIMODAL_GENERATION_PATH
    assert second.calls[0].body["input"]["messages"][0]["content"] == [{"text": "hi"}]
    assert retry_plan(request, second, URL_ERROR) is None
    assert final_chat_error(second, URL_ERROR).code == "model_not_found"
    assert final_chat_error(first, URL_ERROR) is URL_ERROR


def test_media_leave_no_other_path() -> None:
    messages = [{"role": "user", "content": [{"type": "image_url", "image_url": "https://a.invalid/x"}]}]
    request = {"model": PLAIN, "messages": messages}
    assert retry_plan(request, plan_chat(request), URL_ERROR) is None


@pytest.mark.parametrize("message", STREAM_ERRORS)
def test_a_plain_call_that_is_refused_is_tried_once_as_a_stream(message: str) -> None:
    request = {"model": PLAIN, "messages": MESSAGES}
    error = native_error(message)
    second = retry_plan(request, plan_chat(request), error)
    assert second is not None and second.aggregate and second.calls[0].stream
    assert second.endpoint == "text"
    assert retry_plan(request, second, error) is None


def test_both_reasons_may_follow_one_another_but_none_twice() -> None:
    request = {"model": PLAIN, "messages": MESSAGES}
    second = retry_plan(request, plan_chat(request), URL_ERROR)
    assert second is not None
    third = retry_plan(request, second, native_error(STREAM_ERRORS[0]))
    assert third is not None and third.aggregate and third.endpoint == "multimodal"
    assert retry_plan(request, third, URL_ERROR) is None


def test_nothing_else_is_tried_again() -> None:
    request = {"model": PLAIN, "messages": MESSAGES}
    for error in (native_error("Range of top_p should be (0.0, 1.0]"), upstream_timeout(9), ApiError(400, "x")):
        assert retry_plan(request, plan_chat(request), error) is None
        assert not refuses_plain_call(error)


def test_a_client_that_streams_is_told_of_a_refusal() -> None:
    request = {"model": PLAIN, "messages": MESSAGES, "stream": True}
    assert retry_plan(request, plan_chat(request), native_error(STREAM_ERRORS[0])) is None
