"""JSON and forced functions on models that think.

Which models answer JSON while they think is from the page "Structured output" of Alibaba Cloud Model Studio, which
thinks by default from its page "Deep thinking", and the refusals are from its "Error codes" and from public reports:
cloudwego/eino#994, agentscope-ai/agentscope#1608, presenton/presenton#184, musistudio/claude-code-router#948.
"""

from __future__ import annotations

import asyncio
import http.client
import json

import pytest
from json_schemas import violations
from native import MULTIMODAL, TEXT, Native, answer, events, refusal, translator
from test_mock_native import STREAM, generation
from test_mock_native import House as MockHouse

import oaiserve
from protocol.dashscope.mapping.chat import plan_chat
from protocol.dashscope.mapping.models import endpoint_for

USER = {"role": "user", "content": "Ann is 25. JSON, please."}
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 1}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
JSON_OBJECT = {"type": "json_object"}
JSON_SCHEMA = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA, "strict": True}}
TOOLS = [
    {"type": "function", "function": {"name": "Person", "parameters": SCHEMA}},
    {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}},
]
NAMED = {"type": "function", "function": {"name": "Person"}}
FORCED = {"tools": TOOLS, "tool_choice": NAMED}
BARE = "Respond with one JSON object and nothing else. Write no code fence around it."

# They think unless they are told not to, and answer JSON only then.
SWITCHED_OFF = (
    "qwen3.5-plus qwen3.5-plus-2026-02-15 qwen3.5-flash qwen3.6-plus qwen3.6-flash qwen3.6-max-preview "
    "qwen3.5-397b-a17b qwen3.5-27b qwen3.6-27b qwen3-8b qwen3-32b qwen3-235b-a22b glm-5 glm-4.7 glm-4.6 QWEN3.5-PLUS"
).split()
# They think unless they are told not to, and answer JSON all the same.
LEFT_ALONE = (
    "qwen3.7-plus qwen3.7-max qwen3.7-flash qwen3.8-max qwen3.8-flash deepseek-v4-pro deepseek-v4-flash glm-5.1".split()
)
# They always think.
IN_WORDS = "qwq-plus qwq-32b qvq-max deepseek-r1 deepseek-r1-0528 qwen3-235b-a22b-thinking-2507 glm-5.3".split()
# They do not think unless they are told to, or never.
PLAIN = "qwen-plus qwen-flash qwen-turbo qwen3-max deepseek-v3.2 qwen-max qwen-long qwen3-coder-plus farui-plus".split()


def made(model: str, **request: object) -> dict:
    calls = plan_chat({"model": model, "messages": [USER], **request}).calls
    assert len(calls) == 1
    return calls[0].body


def parameters(model: str, **request: object) -> dict:
    native = made(model, **request)["parameters"]
    assert isinstance(native, dict)
    return native


def system(body: dict) -> str:
    first = body["input"]["messages"][0]
    assert first["role"] == "system"
    content = first["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


# ---- what is sent at first


@pytest.mark.parametrize("wanted", [JSON_OBJECT, JSON_SCHEMA], ids=["object", "schema"])
@pytest.mark.parametrize("stream", [False, True])
def test_json_is_asked_for_without_thinking_where_it_can_be_switched_off(stream: bool, wanted: dict) -> None:
    for model in SWITCHED_OFF:
        native = parameters(model, response_format=wanted, stream=stream)
        assert (native["enable_thinking"], native["response_format"]) == (False, JSON_OBJECT), model


@pytest.mark.parametrize("model", LEFT_ALONE + PLAIN + ["kimi-k2-thinking", "never-heard-of"])
def test_models_that_answer_json_anyhow_are_left_alone(model: str) -> None:
    native = parameters(model, response_format=JSON_OBJECT)
    assert native["response_format"] == JSON_OBJECT
    assert "enable_thinking" not in native


@pytest.mark.parametrize("model", IN_WORDS)
def test_models_that_always_think_get_the_schema_in_the_prompt(model: str) -> None:
    body = made(model, response_format=JSON_SCHEMA)
    assert "response_format" not in body["parameters"] and "enable_thinking" not in body["parameters"]
    assert BARE in system(body) and system(body).endswith(json.dumps(SCHEMA))
    assert system(made(model, response_format=JSON_OBJECT)) == BARE


@pytest.mark.parametrize("choice", [NAMED, "required"], ids=["named", "required of one"])
@pytest.mark.parametrize("model", SWITCHED_OFF + LEFT_ALONE)
def test_a_function_is_forced_without_thinking_where_it_can_be_switched_off(model: str, choice: object) -> None:
    native = parameters(model, tools=TOOLS[:1] if choice == "required" else TOOLS, tool_choice=choice)
    assert (native["enable_thinking"], native["tool_choice"]) == (False, NAMED)


@pytest.mark.parametrize("model", PLAIN + ["never-heard-of"])
def test_a_model_that_does_not_think_is_just_told(model: str) -> None:
    native = parameters(model, **FORCED)
    assert native["tool_choice"] == NAMED and "enable_thinking" not in native


@pytest.mark.parametrize("model", [*IN_WORDS, "kimi-k2-thinking"])
def test_a_function_is_asked_for_in_words_where_a_model_always_thinks(model: str) -> None:
    body = made(model, **FORCED)
    assert (body["parameters"]["tool_choice"], body["parameters"]["tools"]) == ("auto", TOOLS[:1])
    assert system(body) == "Call the function Person."
    assert "enable_thinking" not in body["parameters"]


def test_kimi_takes_json_as_it_is_and_the_function_in_words() -> None:
    body = made("kimi-k2-thinking", response_format=JSON_OBJECT, **FORCED)
    assert body["parameters"]["response_format"] == JSON_OBJECT
    assert system(body) == "Call the function Person."


@pytest.mark.parametrize("choice", ["auto", "none", "required", None])
def test_nothing_is_switched_off_where_nothing_can_be_forced(choice: object) -> None:
    native = parameters("qwen3.5-plus", tools=TOOLS, tool_choice=choice)
    assert "enable_thinking" not in native
    assert native.get("tool_choice") == ("auto" if choice == "required" else choice)


ASKS = [
    {"enable_thinking": True},
    {"thinking": {"type": "enabled"}},
    {"thinking": {"type": "enabled", "budget_tokens": 100}},
    {"chat_template_kwargs": {"enable_thinking": True}},
    {"reasoning_effort": "low"},
    {"thinking_budget": 100},
    {"parameters": {"enable_thinking": True}},
    {"enable_code_interpreter": True},
]


@pytest.mark.parametrize("asks", ASKS, ids=str)
def test_who_asks_for_thinking_gets_it_and_json_in_words(asks: dict) -> None:
    body = made("qwen3.5-plus", response_format=JSON_SCHEMA, **FORCED, **asks)
    native = body["parameters"]
    assert native.get("enable_thinking", True) is True
    assert "response_format" not in native and native["tool_choice"] == "auto"
    assert json.dumps(SCHEMA) in system(body) and "Call the function Person." in system(body)


@pytest.mark.parametrize(
    "says", [{"enable_thinking": False}, {"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}]
)
def test_who_wants_no_thinking_gets_none(says: dict) -> None:
    native = parameters("qwen3.5-plus", response_format=JSON_OBJECT, **FORCED, **says)
    assert (native["enable_thinking"], native["response_format"], native["tool_choice"]) == (False, JSON_OBJECT, NAMED)


@pytest.mark.parametrize(
    "says", [{"thinking": {"type": "auto"}}, {"preserve_thinking": True}, {"enable_thinking": None}]
)
def test_who_leaves_it_to_the_model_says_nothing(says: dict) -> None:
    assert parameters("qwen3.5-plus", response_format=JSON_OBJECT, **says)["enable_thinking"] is False


def test_a_native_format_counts_as_well() -> None:
    native = parameters("qwen3.5-plus", parameters={"response_format": JSON_OBJECT})
    assert (native["enable_thinking"], native["response_format"]) == (False, JSON_OBJECT)


# ---- what a refusal teaches

JSON_REFUSED = "Json mode response is not supported when enable_thinking is true"
TOOL_REFUSED = "The tool_choice parameter does not support being set to required or object in thinking mode"
REFUSED = [
    JSON_REFUSED,
    TOOL_REFUSED,
    f"<400> InternalError.Algo.InvalidParameter: {JSON_REFUSED}",
    f"<400> InternalError.Algo.InvalidParameter: {TOOL_REFUSED}",
    "Json mode response is not supported when thinking is enabled",
    "response_format is not supported in thinking mode",
    "Thinking mode does not support this tool_choice",
    "deepseek-reasoner does not support this tool_choice",
    "required and named tool choices are not supported in thinking mode",
]
NO_WAY_OFF = [
    "The value of the enable_thinking parameter is restricted to True.",
    "<400> InternalError.Algo.InvalidParameter: The value of the enable_thinking parameter is restricted to True.",
    "parameter.enable_thinking must be set to true for this model",
    "The model my-model does not support enable_thinking.",
]
HELLO = {"output": {"choices": [{"message": {"role": "assistant", "content": "{}"}, "finish_reason": "stop"}]}}
GOOD = answer({**HELLO, "request_id": "r"})
GOOD_STREAM = events(b"data:" + json.dumps({**HELLO, "request_id": "r"}).encode() + b"\n\n")


def refusals(message: str, stream: bool) -> bytes:
    """Return a refusal with a status, or as the first event under HTTP 200."""
    if not stream:
        return refusal("InvalidParameter", message)
    error = json.dumps({"code": "InvalidParameter", "message": message, "request_id": "r"}).encode()
    return events(b"id:1\nevent:error\n:HTTP_STATUS/400\ndata:" + error + b"\n\n")


def asked(answers: list[bytes], model: str = "my-model", **request: object) -> tuple[int, list[dict], dict]:
    """Return the client's status, the parameters of the calls that were made, and the last call."""

    async def ask() -> tuple[int, list[dict], dict]:
        async with Native({TEXT: answers, MULTIMODAL: answers}) as native, translator(native) as house:
            answered = await house.chat(model, **request)
            return answered.status, [call["parameters"] for call in native.calls], native.calls[-1]

    return asyncio.run(ask())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("message", REFUSED)
def test_a_refusal_is_tried_once_more_without_thinking(message: str, stream: bool) -> None:
    good = GOOD_STREAM if stream else GOOD
    status, calls, _ = asked([refusals(message, stream), good], response_format=JSON_OBJECT, stream=stream, **FORCED)
    assert (status, [call.get("enable_thinking") for call in calls]) == (200, [None, False])
    assert calls[1]["response_format"] == JSON_OBJECT and calls[1]["tool_choice"] == NAMED


@pytest.mark.parametrize("message", NO_WAY_OFF)
def test_and_then_in_words(message: str) -> None:
    answers = [refusals(JSON_REFUSED, False), refusals(message, False), GOOD]
    status, calls, last = asked(answers, response_format=JSON_SCHEMA, **FORCED)
    assert (status, len(calls)) == (200, 3)
    assert "response_format" not in calls[2] and "enable_thinking" not in calls[2]
    assert calls[2]["tool_choice"] == "auto" and "Call the function Person." in system(last)


@pytest.mark.parametrize("message", NO_WAY_OFF)
def test_a_model_of_a_thinking_family_that_turns_out_to_always_think(message: str) -> None:
    status, calls, last = asked([refusals(message, False), GOOD_STREAM], "qwen3.5-new", response_format=JSON_OBJECT)
    assert (status, [call.get("enable_thinking") for call in calls]) == (200, [False, None])
    assert system(last) == BARE and "response_format" not in calls[1]


def test_no_refusal_is_answered_for_ever() -> None:
    for message in (JSON_REFUSED, TOOL_REFUSED):
        status, calls, _ = asked([refusals(message, False)], response_format=JSON_OBJECT, **FORCED)
        assert (status, len(calls)) == (400, 3)


def test_who_asked_for_thinking_keeps_it_on_the_second_try() -> None:
    # The page says that this family answers JSON while it thinks: here it turns out otherwise.
    answers = [refusals(JSON_REFUSED, True), GOOD_STREAM]
    status, calls, last = asked(answers, "qwen3.7-plus", response_format=JSON_OBJECT, enable_thinking=True)
    assert (status, [call["enable_thinking"] for call in calls]) == (200, [True, True])
    assert "response_format" not in calls[1] and system(last) == BARE


@pytest.mark.parametrize(
    ("message", "request_"),
    [
        (JSON_REFUSED, {}),
        (TOOL_REFUSED, {"tools": TOOLS}),
        (NO_WAY_OFF[0], {"enable_thinking": False}),
        (NO_WAY_OFF[0], {"response_format": JSON_OBJECT}),
        ("Range of top_p should be (0.0, 1.0]", {"response_format": JSON_OBJECT}),
        ("'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
         {"response_format": JSON_OBJECT}),
    ],
)  # fmt: skip
def test_other_refusals_are_the_clients(message: str, request_: dict) -> None:
    status, calls, _ = asked([refusals(message, False)], **request_)
    assert (status, len(calls)) == (400, 1)


@pytest.mark.parametrize(
    "message",
    [
        "parameter.enable_thinking must be set to false for non-streaming calls",
        "parameter.enable_thinking only support stream call",
        "This model only support stream mode, please enable the stream parameter to access the model.",
        "current user api does not support http call.",
        "Non-streaming mode does not support Web Search in thinking mode",
        "enable thinking can not be support when `stream=False`.",
    ],
)
def test_a_refused_plain_call_is_made_a_stream(message: str) -> None:
    status, calls, _ = asked([refusals(message, False), GOOD_STREAM])
    assert (status, [call.get("incremental_output") for call in calls]) == (200, [None, True])


def test_a_stream_and_no_thinking_may_both_be_learned() -> None:
    answers = [
        refusals("current user api does not support http call.", False),
        refusals(JSON_REFUSED, True),
        GOOD_STREAM,
    ]
    status, calls, _ = asked(answers, response_format=JSON_OBJECT)
    assert status == 200
    assert [(call.get("incremental_output"), call.get("enable_thinking")) for call in calls] == [
        (None, None), (True, None), (True, False),
    ]  # fmt: skip


# ---- what is remembered of it


def asked_in_turn(answers: list[bytes], *requests: dict) -> list[dict]:
    """Return the parameters of all calls that are made for requests to one translator, one after the other."""

    async def ask() -> list[dict]:
        async with Native({TEXT: answers, MULTIMODAL: answers}) as native, translator(native) as house:
            for request in requests:
                answered = await house.chat(**{"model": "my-model", **request})
                assert answered.status == 200, answered.body
            return [call["parameters"] for call in native.calls]

    return asyncio.run(ask())


JSON = {"response_format": JSON_OBJECT}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("message", REFUSED)
def test_a_refusal_is_paid_for_once(message: str, stream: bool) -> None:
    answers = [refusals(message, stream), GOOD_STREAM if stream else GOOD]
    request = {**JSON, **FORCED, "stream": stream}
    calls = asked_in_turn(answers, request, request, {**request, "model": "vendor/MY-model"})
    assert [call.get("enable_thinking") for call in calls] == [None, False, False, False]


def test_what_must_be_said_in_words_is_remembered_as_such() -> None:
    answers = [refusals(JSON_REFUSED, False), refusals(NO_WAY_OFF[0], False), GOOD]
    calls = asked_in_turn(answers, JSON, JSON)
    assert [call.get("enable_thinking") for call in calls] == [None, False, None, None]
    assert ["response_format" in call for call in calls] == [True, True, False, False]


def test_a_refusal_of_json_says_nothing_of_other_requests() -> None:
    answers = [refusals(JSON_REFUSED, False), GOOD]
    others = [{}, FORCED, {**JSON, "enable_thinking": True}, {**JSON, "model": "their-model"}]
    calls = asked_in_turn(answers, JSON, *others)
    assert [call.get("enable_thinking") for call in calls] == [None, False, None, None, True, None]


def test_nothing_is_remembered_that_did_not_help() -> None:
    refused = refusals(JSON_REFUSED, False)

    async def ask() -> list[int]:
        async with Native({TEXT: [refused, refused, refused, GOOD]}) as native, translator(native) as house:
            statuses = [(await house.chat("my-model", **JSON)).status for _ in range(2)]
            assert "enable_thinking" not in native.calls[3]["parameters"]
            return statuses

    assert asyncio.run(ask()) == [400, 200]


def test_a_model_that_only_streams_is_remembered() -> None:
    answers = [refusals("current user api does not support http call.", False), GOOD_STREAM]
    calls = asked_in_turn(answers, {}, {}, {"max_tokens": 5})
    assert [call.get("incremental_output") for call in calls] == [None, True, True, True]


# ---- some function, whichever
#
# "Function calling" of Alibaba Cloud Model Studio has auto, none and one named function; "Error codes" refuses all else
# as: tool_choice is one of the strings that should be ["none", "auto"]. So the system message says it.

SOME_CALL = "Do not answer in words: call one of the functions that you have."
ALLOWED = {
    "type": "allowed_tools",
    "allowed_tools": {"mode": "required", "tools": [NAMED, {"type": "function", "function": {"name": "clock"}}]},
}


@pytest.mark.parametrize("choice", ["required", ALLOWED], ids=["required", "allowed"])
@pytest.mark.parametrize("model", ["qwen-plus", "qwen3.5-plus", "qwq-plus", "deepseek-v4-pro", "never-heard-of"])
def test_some_call_is_asked_for_in_words(model: str, choice: object) -> None:
    body = made(model, tools=TOOLS, tool_choice=choice)
    assert (body["parameters"]["tool_choice"], body["parameters"]["tools"]) == ("auto", TOOLS)
    assert system(body) == SOME_CALL and "enable_thinking" not in body["parameters"]


def test_some_call_is_asked_for_behind_what_the_system_says() -> None:
    messages = [{"role": "system", "content": "Be kind."}, USER]
    body = (
        plan_chat({"model": "qwen-plus", "messages": messages, "tools": TOOLS, "tool_choice": "required"}).calls[0].body
    )
    assert system(body).startswith("Be kind.") and system(body).endswith(SOME_CALL)


@pytest.mark.parametrize("choice", ["auto", "none", NAMED, None], ids=str)
def test_nothing_is_said_where_nothing_is_required(choice: object) -> None:
    assert [m["role"] for m in made("qwen-plus", tools=TOOLS, tool_choice=choice)["input"]["messages"]] == ["user"]
    assert [m["role"] for m in made("qwen-plus", tools=TOOLS[:1], tool_choice="required")["input"]["messages"]] == [
        "user"
    ]


# ---- the mock


def refused(model: str, **given: object) -> str:
    multimodal = endpoint_for(model, has_media=False) == "multimodal"
    content = [{"text": "JSON, please"}] if multimodal else "JSON, please"
    body = generation(model, [{"role": "user", "content": content}], incremental_output=True, **given)
    response, _ = MockHouse().ask("POST", "/api/v1" + (MULTIMODAL if multimodal else TEXT), body, **STREAM)
    return "" if response.status == 200 else json.loads(response.body)["message"]


@pytest.mark.parametrize("model", LEFT_ALONE + PLAIN + ["kimi-k2-thinking"])
def test_the_mock_takes_json_where_dashscope_does(model: str) -> None:
    assert refused(model, response_format=JSON_OBJECT) == ""


@pytest.mark.parametrize("model", SWITCHED_OFF[:-1] + [model for model in IN_WORDS if model != "glm-5.3"])
def test_the_mock_refuses_json_where_dashscope_does(model: str) -> None:
    assert refused(model, response_format=JSON_OBJECT) == JSON_REFUSED


@pytest.mark.parametrize("model", SWITCHED_OFF + LEFT_ALONE)
def test_the_mock_refuses_nothing_of_both_without_thinking(model: str) -> None:
    assert refused(model, response_format=JSON_OBJECT, enable_thinking=False) == ""
    assert refused(model, tools=TOOLS, tool_choice=NAMED, enable_thinking=False) == ""
    assert refused(model, tools=TOOLS, tool_choice=NAMED) == TOOL_REFUSED


@pytest.mark.parametrize("model", IN_WORDS)
def test_the_mock_does_not_let_the_others_stop_thinking(model: str) -> None:
    assert refused(model, enable_thinking=False) == NO_WAY_OFF[0]


# ---- the translator before the mock: every chat model that is listed


@pytest.fixture(scope="module")
def url():
    with oaiserve.start("mock") as mock:
        given = {"dashscope.base_url": mock.url, "dashscope.api_key": "sk-any", "dashscope.proxy": ""}
        with oaiserve.start("dashscope", set=given, environ={}) as server:
            yield server.url


def post(url: str, body: dict) -> list[dict]:
    """Return the answer, or the chunks of it."""
    connection = http.client.HTTPConnection(url[len("http://") :], timeout=100)
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
    response = connection.getresponse()
    data = response.read()
    connection.close()
    assert response.status == 200, (body["model"], data)
    if not body.get("stream"):
        return [json.loads(data)]
    lines = [line[len("data: ") :] for line in data.decode().split("\n") if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


FAMILIES = [*SWITCHED_OFF, *LEFT_ALONE, *IN_WORDS, *PLAIN, "kimi-k2-thinking", "kimi-k2.5", "kimi-k2.6", "MiniMax-M2.5",
            "qwen3-vl-plus", "qwen3-vl-235b-a22b-thinking", "qwen3-next-80b-a3b-instruct", "qwen-vl-max"]  # fmt: skip


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", FAMILIES)
def test_structured_output_works_on_every_family(url: str, model: str, stream: bool) -> None:
    question = {"model": model, "messages": [{"role": "user", "content": "Ann is 25"}], "stream": stream}
    for wanted, schema in ((JSON_SCHEMA, SCHEMA), (JSON_OBJECT, {"type": "object"})):
        said = post(url, {**question, "response_format": wanted})
        parts = [choice.get("delta", choice.get("message")).get("content") for one in said for choice in one["choices"]]
        assert violations(schema, json.loads("".join(part or "" for part in parts))) == [], model
    said = post(url, {**question, **FORCED})
    parts = [choice.get("delta", choice.get("message")) for one in said for choice in one["choices"]]
    calls = [call["function"] for part in parts for call in part.get("tool_calls", ())]
    assert [call["name"] for call in calls if call.get("name")] == ["Person"]
    assert violations(SCHEMA, json.loads("".join(call["arguments"] for call in calls))) == []


@pytest.mark.parametrize(
    "told",
    [
        f"JSON schema:\n{json.dumps(SCHEMA)}\nYou MUST answer with a JSON object that matches the JSON schema above.",
        'As for the schema {"type": "string"}.\n\nHere is the output schema:\n```\n' + json.dumps(SCHEMA) + "\n```",
        "JSON schema:\n" + json.dumps({"$schema": "http://json-schema.org/draft-07/schema#", **SCHEMA}),
    ],
    ids=["Vercel", "LangChain", "of zod"],
)
def test_the_mock_follows_a_schema_that_a_client_tells_in_words(told: str) -> None:
    messages = [{"role": "system", "content": told}, {"role": "user", "content": "Ann is 25"}]
    said = MockHouse().post("/api/v1" + TEXT, generation(messages=messages))
    assert violations(SCHEMA, json.loads(said["output"]["choices"][0]["message"]["content"])) == []


@pytest.mark.parametrize(
    "told", ["Mind the schema: {none}", "schema {" * 2000, "schema: {" + '"a":{' * 5000, "A schema."]
)
def test_words_that_tell_no_schema_change_nothing(told: str) -> None:
    messages = [{"role": "system", "content": told}, {"role": "user", "content": "hi"}]
    said = MockHouse().post("/api/v1" + TEXT, generation(messages=messages))
    assert said["output"]["choices"][0]["message"]["content"] == "powered by openai"


@pytest.mark.parametrize("model", ["qwen-plus", "qwen3.5-plus", "qwq-plus"])
def test_some_function_of_several_is_called(url: str, model: str) -> None:
    question = {"model": model, "messages": [{"role": "user", "content": "Ann is 25"}], "tools": TOOLS}
    (said,) = post(url, {**question, "tool_choice": "required"})
    (call,) = said["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == "Person" and said["choices"][0]["finish_reason"] == "tool_calls"
    assert violations(SCHEMA, json.loads(call["function"]["arguments"])) == []
    history = [*question["messages"], said["choices"][0]["message"]]
    history.append({"role": "tool", "tool_call_id": call["id"], "content": "done"})
    (then,) = post(url, {**question, "messages": history, "tool_choice": "required"})
    assert [call["function"]["name"] for call in then["choices"][0]["message"]["tool_calls"]] == ["clock"]
    (last,) = post(url, {**question, "messages": history})
    assert last["choices"][0]["message"]["content"] == "powered by openai"
