"""The mock as DashScope: its native paths, streams, tasks, files and errors (the shapes are those of its own SDK)."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
import struct
import wave
import zlib

import pytest
from json_schemas import violations
from mocks import make_mock
from programs import ask

import oaiserve
from protocol.budget import BudgetSpent
from protocol.config import Route
from protocol.dashscope.mapping.events import NativeEventReader
from protocol.exchange import Request, Response
from protocol.mock.dashscope.newest import Newest
from protocol.mock.dashscope.tasks import MockTasks
from protocol.mock.media.sound import SpokenSound
from protocol.mock.text.vectors import lexical_words, relevance, unit_vector
from protocol.service.cors import CorsPolicy
from protocol.service.origins import Origins
from protocol.service.router import Router
from protocol.wire.http1.readers import RequestReader

TEXT = "/api/v1/services/aigc/text-generation/generation"
MULTIMODAL = "/api/v1/services/aigc/multimodal-generation/generation"
IMAGES = "/api/v1/services/aigc/text2image/image-synthesis"
IMAGE_TASKS = "/api/v1/services/aigc/image-generation/generation"
SPEECH = "/api/v1/services/audio/tts/SpeechSynthesizer"
TRANSCRIPTION = "/api/v1/services/audio/asr/transcription"
EMBEDDINGS = "/api/v1/services/embeddings/text-embedding/text-embedding"
MULTIMODAL_EMBEDDINGS = "/api/v1/services/embeddings/multimodal-embedding/multimodal-embedding"
RERANK = "/api/v1/services/rerank/text-rerank/text-rerank"

HELLO = [{"role": "user", "content": "hi there"}]
SEEN = [{"role": "user", "content": [{"image": "https://p.invalid/a.png"}, {"text": "what is it?"}]}]
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}, "days": {"type": "integer", "minimum": 1}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}},
    {"type": "function", "function": {"name": "clock"}},
]
FORCED = {"type": "function", "function": {"name": "get_weather"}}
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
STREAM = {"x-dashscope-sse": "enable", "accept": "text/event-stream"}
TASK = {"x-dashscope-async": "enable"}


class House:
    """A mock behind a router, with a clock that is set by hand."""

    def __init__(self, **settings):
        self.now = 1_790_000_000.25
        self.slept = []
        mock = make_mock(clock=lambda: self.now, sleep=self.sleep, **settings)
        self.router = Router([Route("*", ("mock",))], {"mock": mock}, CorsPolicy(Origins(("*",))))

    async def sleep(self, seconds):
        self.slept.append(seconds)

    def ask(self, method, target, body=None, *, key="Bearer sk-any", **fields):
        """Return (response, request) of one request; `_` stands for `-` in the names of fields."""
        head = f"{method} {target} HTTP/1.1\r\nhost: mock.invalid:8080\r\n"
        head += f"authorization: {key}\r\n" if key is not None else ""
        head += "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
        reader = RequestReader()
        reader.feed(head.encode() + b"\r\n")
        request = Request(reader.next_event(), "req_1", "127.0.0.1")
        request.body = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = self.router.route(request).answer(request)
        if not isinstance(answer, Response):
            answer = asyncio.run(answer)
        return answer, request

    def post(self, path, body, **fields):
        """Return the JSON of an answer under 200, whose request id is a UUID and the one of the header."""
        response, _ = self.ask("POST", path, body, **fields)
        answer = json.loads(response.body)
        assert response.status == 200, answer
        assert re.fullmatch(UUID, answer["request_id"]) and answer["request_id"] == response.request_id
        return answer

    def get(self, target, **fields):
        response, _ = self.ask("GET", target, **fields)
        return json.loads(response.body)

    def fetch(self, url):
        """Return a file that an answer named, as who has nothing but its URL."""
        assert url.startswith("http://mock.invalid:8080/api/v1/")
        response, _ = self.ask("GET", url[len("http://mock.invalid:8080") :], key=None)
        assert response.status == 200
        return response.body

    def frames(self, path, body):
        response, _ = self.ask("POST", path, body, **STREAM)
        assert b"text/event-stream;charset=UTF-8" in response.fields
        return response.body

    def events(self, path, body):
        """Return a stream's events, read in DashScope's strictest form."""
        *parts, nothing = b"".join(self.frames(path, body).frames).decode().split("\n\n")
        assert nothing == ""
        answers = []
        for number, part in enumerate(parts, 1):
            id, event, status, data = part.split("\n")
            assert (id, event, status) == (f"id:{number}", "event:result", ":HTTP_STATUS/200")
            answers.append(json.loads(data[len("data:") :]))
        return answers

    def refused(self, path, body, **fields):
        response, _ = self.ask("POST", path, body, **fields)
        answer = json.loads(response.body)
        assert set(answer) == {"code", "message", "request_id"} and answer["request_id"] == response.request_id
        return response.status, answer["code"], answer["message"]


def generation(model="qwen-plus", messages=HELLO, **parameters):
    return {"model": model, "input": {"messages": messages}, "parameters": {"result_format": "message", **parameters}}


def choice(answer):
    return answer["output"]["choices"][0]


# ---- generation


def test_answer_in_messages():
    answer = House().post(TEXT, generation())
    assert answer["output"] == {
        "choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": "powered by openai"}}]
    }
    assert answer["usage"] == {
        "input_tokens": 2, "output_tokens": 3, "total_tokens": 5, "prompt_tokens_details": {"cached_tokens": 0},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("model", "result_format", "is_text"),
    [
        ("qwen-plus", None, True),
        ("farui-plus", "text", True),
        ("qwen-plus", "message", False),
        ("qwen3-max", None, False),
        ("qwen-long", None, False),
    ],
)
def test_result_format_decides_the_shape_and_has_the_model_s_default(model, result_format, is_text):
    body = generation(model, result_format=result_format)
    output = House().post(TEXT, body)["output"]
    assert (output == {"finish_reason": "stop", "text": "powered by openai"}) is is_text
    assert ("choices" in output) is not is_text


def test_prompt_in_place_of_messages():
    answer = House().post(TEXT, {"model": "qwen-plus", "input": {"prompt": "one two three"}})
    assert (answer["output"]["text"], answer["usage"]["input_tokens"]) == ("powered by openai", 3)


@pytest.mark.parametrize(
    ("parameters", "content", "reason"),
    [
        ({"max_tokens": 2}, "powered by ", "length"),
        ({"max_tokens": 3}, "powered by openai", "stop"),
        ({"max_completion_tokens": 1, "max_tokens": 2}, "powered ", "length"),
        ({"stop": "by"}, "powered ", "stop"),
        ({"stop": ["xyz", "d by"]}, "powere", "stop"),
        ({"stop": [[1, 2], [3]]}, "powered by openai", "stop"),
    ],
)
def test_length_and_stop_cut_the_answer(parameters, content, reason):
    house = House()
    found = choice(house.post(TEXT, generation(**parameters)))
    assert (found["message"]["content"], found["finish_reason"]) == (content, reason)
    events = house.events(TEXT, generation(incremental_output=True, **parameters))
    assert "".join(choice(event)["message"]["content"] for event in events) == content
    assert choice(events[-1])["finish_reason"] == reason


def test_several_choices_are_told_apart_by_index_and_interleave_in_a_stream():
    house = House()
    answer = house.post(TEXT, generation(n=2))
    assert [found["index"] for found in answer["output"]["choices"]] == [0, 1]
    assert answer["usage"]["output_tokens"] == 6
    events = house.events(TEXT, generation(n=2, incremental_output=True))
    assert [choice(event)["index"] for event in events] == [0, 1] * 4
    assert events[-1]["usage"] == answer["usage"]


def test_incremental_stream_tells_each_word_once_and_usage_grows():
    events = House().events(TEXT, generation(incremental_output=True))
    assert [choice(event)["message"]["content"] for event in events] == ["powered ", "by ", "openai", ""]
    assert [choice(event)["finish_reason"] for event in events] == ["null", "null", "null", "stop"]
    assert [event["usage"]["output_tokens"] for event in events] == [1, 2, 3, 3]
    assert len({event["request_id"] for event in events}) == 1


@pytest.mark.parametrize("result_format", ["message", "text"])
def test_cumulative_stream_repeats_what_was_said(result_format):
    events = House().events(TEXT, generation(result_format=result_format))
    outputs = [event["output"] for event in events]
    said = [out["text"] if "text" in out else out["choices"][0]["message"]["content"] for out in outputs]
    assert said == ["powered ", "powered by ", "powered by openai", "powered by openai"]


@pytest.mark.parametrize(("model", "incremental"), [("qwen-plus", False), ("qwen3-max", True), ("qwq-plus", True)])
def test_increments_are_some_models_default(model, incremental):
    events = House().events(TEXT, generation(model))
    assert (choice(events[-1])["message"]["content"] == "") is incremental


def test_accept_alone_asks_for_a_stream_too():
    response, _ = House().ask("POST", TEXT, generation(), accept="text/event-stream")
    assert response.body.frames[0].startswith(b"id:1\nevent:result\n")


def test_delays_are_left_to_the_pacer_and_a_plain_answer_takes_as_long():
    house = House(delay=0.5, first_delay=2.0)
    paced = house.frames(TEXT, generation())
    assert (paced.first_delay, paced.delay, len(paced.frames)) == (2.0, 0.5, 3)
    assert paced.frames[-1].count(b"data:") == 2
    house.post(TEXT, generation())
    assert house.slept == [3.0]


def test_reasoning_comes_before_the_text_and_counts():
    house = House()
    answer = house.post(TEXT, generation(enable_thinking=True))
    message, usage = choice(answer)["message"], answer["usage"]
    assert message["reasoning_content"] and message["content"] == "powered by openai"
    assert usage["output_tokens"] == sum(usage["output_tokens_details"].values()) == usage["total_tokens"] - 2
    events = house.events(TEXT, generation(enable_thinking=True))
    told = [(choice(event)["message"]["reasoning_content"], choice(event)["message"]["content"]) for event in events]
    assert "".join(thought for thought, _ in told) == message["reasoning_content"]
    assert "".join(text for _, text in told) == message["content"]
    assert not any(thought and text for thought, text in told)
    short = house.post(TEXT, generation(enable_thinking=True, thinking_budget=2, max_completion_tokens=3))
    assert short["usage"]["output_tokens_details"] == {"reasoning_tokens": 2, "text_tokens": 1}


@pytest.mark.parametrize(
    ("model", "parameters", "thinks"),
    [
        ("qwen-plus", {}, False),
        ("qwen-max", {"enable_thinking": True}, False),
        ("glm-5", {}, True),
        ("glm-5", {"enable_thinking": False}, False),
        ("unheard-of", {"enable_thinking": True}, True),
    ],
)
def test_model_thinks_as_its_family_does(model, parameters, thinks):
    assert ("reasoning_content" in choice(House().post(TEXT, generation(model, **parameters)))["message"]) is thinks


def test_forced_tool_is_called_with_arguments_that_fit():
    found = choice(House().post(TEXT, generation(tools=TOOLS, tool_choice=FORCED)))
    (call,) = found["message"]["tool_calls"]
    assert (found["finish_reason"], found["message"]["content"]) == ("stop", "")
    assert (call["type"], call["function"]["name"], call["index"]) == ("function", "get_weather", 0)
    assert violations(json.loads(call["function"]["arguments"]), WEATHER) == []


def test_tools_that_the_user_names_are_called_and_streamed_in_fragments():
    house = House()
    messages = [{"role": "user", "content": "get_weather in Rome, and ask the clock"}]
    body = generation(messages=messages, tools=TOOLS, parallel_tool_calls=True)
    found = choice(house.post(TEXT, body))
    assert found["finish_reason"] == "tool_calls"
    calls = found["message"]["tool_calls"]
    assert [call["function"]["name"] for call in calls] == ["get_weather", "clock"]
    assert json.loads(calls[0]["function"]["arguments"])["city"] == "Rome"
    body["parameters"]["incremental_output"] = True
    joined = {}
    for event in house.events(TEXT, body):
        for part in choice(event)["message"].get("tool_calls", []):
            call = joined.setdefault(
                part["index"], {"id": part["id"], "name": part["function"].get("name"), "arguments": ""}
            )
            assert bool(part["id"]) == ("name" in part["function"]) == (call["arguments"] == "")
            call["arguments"] += part["function"]["arguments"]
    for index, call in enumerate(calls):
        assert joined[index]["name"] == call["function"]["name"]
        assert json.loads(joined[index]["arguments"]) == json.loads(call["function"]["arguments"])
    body["parameters"].update(parallel_tool_calls=False, incremental_output=False)
    assert len(choice(house.post(TEXT, body))["message"]["tool_calls"]) == 1


@pytest.mark.parametrize(
    ("parameters", "content"),
    [({"tools": TOOLS}, "what is the weather?"), ({"tools": TOOLS, "tool_choice": "none"}, "get_weather please")],
)
def test_no_tool_is_called_that_nobody_asks_for(parameters, content):
    found = choice(House().post(TEXT, generation(messages=[{"role": "user", "content": content}], **parameters)))
    assert found["message"] == {"role": "assistant", "content": "powered by openai"}


# Qwen's own template, as Qwen-Agent fills it in.
IN_WORDS = """# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "required": ["zone"], \
"properties": {"zone": {"type": "string"}}}}}
{"type": "function", "function": {"name": "alarm", "parameters": {"type": "object", "properties": {}}}}
</tools>

For each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call>"""


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("hi", "powered by openai"),
        ("ask the clock in Oslo", '<tool_call>\n{"name": "clock", "arguments": {"zone": "Oslo"}}\n</tool_call>'),
        ("<tool_response>\n12:00\n</tool_response>", "powered by openai"),
    ],
)
def test_functions_offered_in_qwen_s_template_are_called_in_the_text(prompt, said):
    messages = [{"role": "system", "content": IN_WORDS}, {"role": "user", "content": prompt}]
    assert choice(House().post(TEXT, generation(messages=messages)))["message"]["content"] == said


@pytest.mark.parametrize("told", ["<tools>\n" * 20_000 + "<tool_call>", "<tool_call><tools>\n[1]\n{}\nno\n</tools>"])
def test_a_template_that_offers_nothing_changes_nothing(told):
    messages = [{"role": "system", "content": told}, {"role": "user", "content": "hi"}]
    assert choice(House().post(TEXT, generation(messages=messages)))["message"]["content"] == "powered by openai"


@pytest.mark.parametrize("repeated", ["no name ", "tool7x "])
def test_many_tools_and_a_long_prompt_cost_no_more_than_they_may(repeated):
    tools = [{"type": "function", "function": {"name": f"tool{number}"}} for number in range(4_000)]
    body = generation(messages=[{"role": "user", "content": repeated * 200_000}], tools=tools)
    with pytest.raises(BudgetSpent):
        House().ask("POST", TEXT, body)


@pytest.mark.parametrize("field", ["tool_call_id", "id"])  # Qwen-Agent, its issue 917
def test_a_result_may_name_its_call_by_either_field(field):
    call = {"id": "c", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "ask the clock"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", field: "c", "content": "12"},
    ]
    assert choice(House().post(TEXT, generation(messages=messages)))["message"]["content"] == "powered by openai"


@pytest.mark.parametrize("stop", [None, "a", [], ["a", "b"], [1, 2], [[1], [2, 3]]], ids=str)
def test_takes_every_kind_of_stop(stop):
    assert choice(House().post(TEXT, generation(stop=stop, top_k=0, thinking_budget=1)))["finish_reason"] == "stop"


def test_tool_results_are_taken():
    calls = [{"id": "a", "type": "function", "function": {"name": "clock", "arguments": "{}"}}]
    messages = [
        {"role": "user", "content": "clock"},
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "a", "content": "clock says noon"},
    ]
    assert choice(House().post(TEXT, generation(messages=messages, tools=TOOLS)))["finish_reason"] == "stop"


def test_json_formats():
    house, asked = House(), [{"role": "user", "content": "JSON, please"}]
    body = generation(messages=asked, response_format={"type": "json_object"})
    assert json.loads(choice(house.post(TEXT, body))["message"]["content"]) == {"text": "powered by openai"}
    form = {"type": "json_schema", "json_schema": {"name": "weather", "schema": WEATHER}}
    said = choice(house.post(TEXT, generation(response_format=form)))["message"]["content"]
    assert violations(json.loads(said), WEATHER) == []


def test_multimodal_content_is_parts_and_media_count():
    house = House()
    answer = house.post(MULTIMODAL, generation("qwen-vl-plus", SEEN))
    assert choice(answer)["message"]["content"] == [{"text": "powered by openai"}]
    usage = answer["usage"]
    assert usage["input_tokens"] == sum(usage["input_tokens_details"].values()) > usage["image_tokens"] > 0
    events = house.events(MULTIMODAL, generation("qwen3-vl-plus", SEEN))
    assert [choice(event)["message"]["content"] for event in events][-2:] == [[{"text": "openai"}], []]


@pytest.mark.parametrize(
    ("path", "model"),
    [(TEXT, "qwen-vl-plus"), (TEXT, "qwen3.5-plus"), (MULTIMODAL, "qwen-max"), (MULTIMODAL, "farui-plus")],
)
def test_known_models_answer_on_their_own_endpoint_only(path, model):
    assert House().refused(path, generation(model)) == (400, "InvalidParameter", "url error, please check url！")


@pytest.mark.parametrize("path", [TEXT, MULTIMODAL])
def test_unknown_models_answer_on_both(path):
    assert House().post(path, generation("my-own"))["usage"]["output_tokens"] == 3


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (generation(temperature=2), "Temperature should be in [0.0, 2.0)"),
        (generation(top_p=0), "Range of top_p should be (0.0, 1.0]"),
        (generation(top_p=True), "Input should be a valid number: parameters.top_p"),
        (generation("farui-plus", max_tokens=2001), "Range of max_tokens should be [1, 2000]"),
        (generation(max_tokens=1.5), "Input should be a valid integer: parameters.max_tokens"),
        (generation(n=5), "Range of n should be [1, 4]"),
        (generation(repetition_penalty=0), "Repetition_penalty should be greater than 0.0"),
        (generation(presence_penalty=3), "Presence_penalty should be in [-2.0, 2.0]"),
        (generation(top_k=-1), "Parameter top_k be greater than or equal to 0"),
        (
            generation(thinking_budget=0),
            "The thinking_budget parameter must be a positive integer and not greater than",
        ),
        (generation(stop=["a", 1]), 'The "stop" parameter must be of type "str", "list[str]", "list[int]", or'),
        (generation(stop=1), "and all elements within the list must be of the same type."),
        (generation(stop=[[1], ["a"]]), 'The "stop" parameter must be of type'),
        (
            generation(response_format={"type": "xml"}),
            "Unknown format of response_format, response_format should be a dict, includes 'type' and an optional key",
        ),
        (
            generation(enable_thinking=True, result_format="text"),
            'The result_format parameter must be "message" when enable_thinking is true',
        ),
        (generation(n=2, tools=TOOLS), "n must be 1 when tools are given"),
        (
            generation(tools=[{"type": "function", "function": {"name": "search"}}]),
            "Tool names are not allowed to be [search]",
        ),
        (
            generation(tools=TOOLS, tool_choice="required"),
            'tool_choice is one of the strings that should be ["none", "auto"]',
        ),
        (generation(tools=TOOLS, tool_choice=FORCED, enable_thinking=True), "in thinking mode"),
        (generation(response_format={"type": "json_object"}), "'messages' must contain the word 'json' in some form"),
        (
            generation(response_format={"type": "json_object"}, enable_thinking=True),
            "Json mode response is not supported",
        ),
        (generation(incremental_output=True), "incremental_output only supports stream call"),
        (generation("qwq-plus"), "This model only support stream mode"),
        (generation("qwen3-8b"), "parameter.enable_thinking must be set to false for non-streaming calls"),
        (generation("deepseek-r1", enable_thinking=False), "restricted to True"),
        (generation(messages=[]), "[] is too short - 'messages'"),
        (generation(messages="hi"), "Input should be a valid list: input.messages"),
        (generation(messages=[{"role": "user", "content": ""}]), "Role must be user or assistant and Content length"),
        (generation(messages=[{"role": "bot", "content": "x"}]), "Role must be user or assistant and Content length"),
        (generation(messages=[{"role": "system", "content": "x"}]), "do not contain elements with the role of user"),
        (generation(messages=SEEN), "input content must be a string."),
        (
            generation(messages=[*HELLO, {"role": "tool", "tool_call_id": "a", "content": "x"}]),
            'messages with role "tool"',
        ),
        (
            generation(messages=[*HELLO, {"role": "assistant", "tool_calls": [{"id": "a"}]}]),
            "must be followed by tool messages",
        ),
        ({"model": "qwen-plus", "input": {}}, "Field required: input.messages"),
        ({"model": "qwen-plus", "input": []}, "Input should be a valid dictionary: input"),
        ({"input": {"prompt": "x"}}, "Field required: model"),
        ([], "Required body invalid, please check the request body format."),
        (b"{", "Required body invalid, please check the request body format."),
    ],
)
def test_refuses_in_dashscope_s_words(body, message):
    status, code, said = House().refused(TEXT, body)
    assert (status, code) == (400, "InvalidParameter") and message in said


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"picture": "x"}, "The item of content should be a message of a certain modal."),
        ({"image": "a.png"}, "Invalid url of image"),
        ({"audio": 1}, "Invalid url of audio"),
        (
            {"image": "data:image/png;base64," + "A" * 10_485_760},
            "Exceeded limit on max bytes per data-uri item : 10485760",
        ),
    ],
    ids=["no kind", "no URL", "no string", "too large"],
)
def test_refuses_media_that_dashscope_could_not_read(part, message):
    body = generation("qwen-vl-plus", [{"role": "user", "content": [part]}])
    assert message in House().refused(MULTIMODAL, body)[2]


# ---- errors on request


@pytest.mark.parametrize(
    ("model", "status", "code"),
    [
        ("error-429-Throttling.RateQuota", 429, "Throttling.RateQuota"),
        ("error-Arrearage", 400, "Arrearage"),
        ("error-InvalidApiKey", 401, "InvalidApiKey"),
        ("error-503-SomethingElse", 503, "SomethingElse"),
        ("error-late-500-InternalError.Algo", 500, "InternalError.Algo"),
        ("error-event-DataInspectionFailed", 400, "DataInspectionFailed"),
    ],
)
def test_model_s_name_asks_for_an_error(model, status, code):
    house = House()
    found = house.refused(TEXT, generation(model))
    assert found[:2] == (status, code) and found[2]
    assert house.refused(IMAGES, {"model": model, "input": {"prompt": "x"}})[:2] == (status, code)


@pytest.mark.parametrize("model", ["error", "error-", "error-200-Ok", "errors-Arrearage", "my-error-Arrearage"])
def test_other_names_ask_for_none(model):
    assert House().post(TEXT, generation(model))["usage"]["output_tokens"] == 3


def test_key_asks_for_an_error_everywhere():
    house, key = House(), "Bearer error-403-AccessDenied"
    assert house.refused(TEXT, generation(), key=key)[:2] == (403, "AccessDenied")
    assert house.get("/api/v1/tasks/x", key=key)["code"] == "AccessDenied"


def test_throttled_caller_is_told_when_to_come_back():
    response, _ = House().ask("POST", TEXT, generation("error-Throttling"))
    assert response.status == 429 and b"retry-after: 1\r\n" in response.fields


@pytest.mark.parametrize(
    ("model", "told"), [("error-event-400-InvalidParameter", 0), ("error-late-500-InternalError.Algo", 2)]
)
def test_error_within_a_stream_comes_under_200(model, told):
    body = b"".join(House().frames(TEXT, generation(model)).frames)
    assert b"\n:HTTP_STATUS/%d\ndata:" % (400 if told == 0 else 500) in body
    reader = NativeEventReader()
    events = reader.feed(body) + reader.close()
    assert [isinstance(event, dict) for event in events] == [True] * told + [False]
    assert events[-1].native_code == model.rpartition("-")[2]


@pytest.mark.parametrize("key", [None, "", "sk-any", "Basic abc", "Bearer", "Bearer a b", "Bearer ü"])
def test_missing_or_malformed_key_is_401(key):
    status, code, _ = House().refused(TEXT, generation(), key=key)
    assert (status, code) == (401, "InvalidApiKey")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", TEXT),
        ("POST", "/api/v1/services/aigc/nothing"),
        ("DELETE", "/api/v1/tasks/a"),
        ("GET", "/api/v1/tasks/a/b"),
    ],
)
def test_unknown_path_is_dashscope_s_own_error(method, path):
    response, _ = House().ask(method, path, {"model": "qwen-plus"})
    assert (response.status, json.loads(response.body)["message"]) == (400, "url error, please check url！")


def test_tasks_are_refused_where_the_service_answers_at_once():
    house = House()
    assert house.refused(TEXT, generation(), **TASK)[:2] == (403, "AccessDenied")
    assert "asynchronous" in house.refused(MULTIMODAL, generation("qwen-image", SEEN), **TASK)[2]
    body = {"model": "paraformer-v2", "input": {"file_urls": ["https://p.invalid/a.wav"]}}
    assert "does not support synchronous calls" in house.refused(TRANSCRIPTION, body)[2]


def test_paths_below_the_root_reach_a_mock_that_is_routed_for_anything():
    class Other:
        name = "other"
        own_root = ""
        holds_key = False
        keepalive = 0.0
        origin = ""

        def endpoint(self, request):
            raise AssertionError(request.path)

    house = House()
    mock = house.router.backends_for("")[0]
    routes = [Route("mock-*", ("mock",)), Route("*", ("other",))]
    house.router = Router(routes, {"mock": mock, "other": Other()}, CorsPolicy(Origins(("*",))))
    assert house.post(TEXT, generation())["usage"]["total_tokens"] == 5
    assert house.get("/api/v1/tasks/none")["output"]["task_status"] == "UNKNOWN"


# ---- tasks and pictures


def picture_size(data):
    """Check a PNG chunk by chunk and return its size."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, chunks = 8, {}
    while at < len(data):
        (length,), kind = struct.unpack(">I", data[at : at + 4]), data[at + 4 : at + 8]
        body = data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0] == zlib.crc32(kind + body)
        chunks[kind] = body
        at += 12 + length
    assert list(chunks) == [b"IHDR", b"PLTE", b"IDAT", b"IEND"] and len(chunks[b"PLTE"]) % 3 == 0
    width, height, depth, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    pixels = zlib.decompress(chunks[b"IDAT"])
    assert (depth, colour, len(pixels)) == (8, 3, height * (width + 1))
    assert set(pixels[:: width + 1]) <= {0, 2}  # the filters None and Up
    return width, height


def test_image_task_goes_through_its_states_and_ends_with_pictures():
    house = House()
    body = {"model": "wan2.2-t2i-flash", "input": {"prompt": "a cat"}, "parameters": {"size": "640*480", "n": 2}}
    begun = house.post(IMAGES, body, **TASK)
    task = begun["output"]["task_id"]
    assert begun["output"] == {"task_status": "PENDING", "task_id": task} and re.fullmatch(UUID, task)
    states = []
    for _ in range(4):
        report = house.get(f"/api/v1/tasks/{task}")
        states.append(report["output"]["task_status"])
        house.now += 0.5
    assert states == ["PENDING", "RUNNING", "RUNNING", "SUCCEEDED"]
    assert report["usage"]["image_count"] == 2
    assert report["output"]["task_metrics"] == {"TOTAL": 2, "SUCCEEDED": 2, "FAILED": 0}
    assert report["output"]["submit_time"] == "2026-09-21 22:13:20.250"
    urls = [result["url"] for result in report["output"]["results"]]
    assert len(set(urls)) == 2 and [picture_size(house.fetch(url)) for url in urls] == [(640, 480)] * 2


def test_same_seed_gives_the_same_picture():
    house = House()
    body = {"model": "wanx-v1", "input": {"prompt": "a"}, "parameters": {"size": "64*64", "seed": 5}}
    first, second = (house.post(IMAGES, body)["output"]["results"][0]["url"] for _ in range(2))
    assert house.fetch(first) == house.fetch(second)


@pytest.mark.parametrize(("path", "fields"), [(MULTIMODAL, {}), (IMAGE_TASKS, {}), (IMAGE_TASKS, TASK)])
def test_newer_image_models_answer_in_messages(path, fields):
    house = House()
    answer = house.post(path, {**generation("wan2.6-t2i", SEEN), "parameters": {"size": "128*64"}}, **fields)
    if fields:
        house.now += 10
        answer = house.get(f"/api/v1/tasks/{answer['output']['task_id']}")
    assert picture_size(house.fetch(choice(answer)["message"]["content"][0]["image"])) == (128, 64)


@pytest.mark.parametrize(
    "parameters", [{"size": "1024x1024"}, {"size": "63*64"}, {"size": "64*4097"}, {"size": "8K"}, {"n": 0}, {"n": "2"}]
)
def test_picture_of_no_possible_size_or_number_is_refused(parameters):
    body = {"model": "wanx-v1", "input": {"prompt": "a"}, "parameters": parameters}
    assert House().refused(IMAGES, body)[:2] == (400, "InvalidParameter")


def test_task_can_be_cancelled_only_while_it_is_pending():
    house = House()
    body = {"model": "wanx-v1", "input": {"prompt": "a"}}
    task = house.post(IMAGES, body, **TASK)["output"]["task_id"]
    response, _ = house.ask("POST", f"/api/v1/tasks/{task}/cancel")
    assert response.status == 200
    house.now += 10
    assert house.get(f"/api/v1/tasks/{task}")["output"]["task_status"] == "CANCELED"
    task = house.post(IMAGES, body, **TASK)["output"]["task_id"]
    house.now += 0.5
    for id in (task, "unknown"):
        assert house.refused(f"/api/v1/tasks/{id}/cancel", None)[:2] == (400, "UnsupportedOperation")


def test_task_that_is_to_fail_fails_at_its_end():
    house = House()
    body = {"model": "error-late-DataInspectionFailed", "input": {"prompt": "a"}}
    task = house.post(IMAGES, body, **TASK)["output"]["task_id"]
    assert house.get(f"/api/v1/tasks/{task}")["output"]["task_status"] == "PENDING"
    house.now += 1.5
    output = house.get(f"/api/v1/tasks/{task}")["output"]
    assert (output["task_status"], output["code"]) == ("FAILED", "DataInspectionFailed")
    assert output["task_metrics"]["FAILED"] == 1


def test_tasks_are_listed_in_pages_the_newest_first():
    house = House()
    ids = [
        house.post(IMAGES, {"model": f"wanx-{number}", "input": {"prompt": "a"}}, **TASK)["output"]["task_id"]
        for number in range(3)
    ]
    page = house.get("/api/v1/tasks?page_no=2&page_size=2")
    assert [row["task_id"] for row in page["data"]] == [ids[0]] and (page["total"], page["total_page"]) == (3, 2)
    assert [row["task_id"] for row in house.get("/api/v1/tasks?model_name=wanx-1")["data"]] == [ids[1]]


def test_only_so_many_tasks_are_remembered_and_only_for_a_day():
    now = [0.0]
    tasks = MockTasks(lambda: now[0], Newest(2))
    for id in "abc":
        tasks.create(id, "m", 1, {}, {})
    status = [tasks.report(id)["output"]["task_status"] for id in "abc"]
    assert status == ["UNKNOWN", "PENDING", "PENDING"]
    now[0] = 86401.0
    assert tasks.report("c")["output"]["task_status"] == "UNKNOWN"


# ---- sound


def test_speech_is_a_wav_whose_length_fits_and_the_stream_carries_the_same_samples():
    house = House()
    body = {"model": "qwen3-tts-flash", "input": {"text": "Hello wide world", "voice": "Cherry"}}
    answer = house.post(MULTIMODAL, body)
    assert answer["usage"] == {"characters": 16} and answer["output"]["audio"]["data"] == ""
    with wave.open(io.BytesIO(house.fetch(answer["output"]["audio"]["url"]))) as sound:
        assert (sound.getnchannels(), sound.getsampwidth(), sound.getframerate()) == (1, 2, 24000)
        assert sound.getnframes() == 3 * 4800
    events = house.events(MULTIMODAL, body)
    assert [event["output"]["finish_reason"] for event in events] == ["null"] * 3 + ["stop"]
    samples = b"".join(base64.b64decode(event["output"]["audio"]["data"]) for event in events)
    assert house.fetch(events[-1]["output"]["audio"]["url"])[44:] == samples


def test_cosyvoice_streams_the_file_itself():
    house = House()
    for audio_format, beginning in (("wav", b"RIFF"), ("mp3", b"\xff\xf3"), ("pcm", b"")):
        given = {"text": "one two", "voice": "longanyang", "format": audio_format}
        events = house.events(SPEECH, {"model": "cosyvoice-v3-flash", "input": given})
        sound = b"".join(base64.b64decode(event["output"]["audio"]["data"]) for event in events)
        file = house.fetch(events[-1]["output"]["audio"]["url"])
        assert sound.startswith(beginning) and events[0]["output"]["type"] == "sentence-synthesis"
        assert sound[44:] == file[44:] if audio_format == "wav" else sound == file
    given["format"] = "opus"
    assert "wav, pcm, mp3" in house.refused(SPEECH, {"model": "cosyvoice-v3-flash", "input": given})[2]


def test_too_long_a_text_is_refused():
    body = {"model": "qwen3-tts-flash", "input": {"text": "a" * 601}}
    assert House().refused(MULTIMODAL, body)[2] == "Range of input length should be [1, 600]"


@pytest.mark.parametrize(
    ("audio", "seconds"),
    [
        ("data:audio/wav;base64," + base64.b64encode(SpokenSound(12, "wav").file()).decode(), 3),
        ("data:audio/mp3;base64,//uQZAAA", 1),
        ("data:audio/wav;base64,not base64", 1),
        ("https://p.invalid/a.wav", 1),
    ],
    ids=["2.4 s", "mp3", "broken", "url"],
)
def test_transcription_says_the_text_and_a_wav_s_length(audio, seconds):
    body = generation(
        "qwen3-asr-flash", [{"role": "user", "content": [{"audio": audio}]}], asr_options={"language": "de"}
    )
    answer = House().post(MULTIMODAL, body)
    message = choice(answer)["message"]
    assert message["content"] == [{"text": "powered by openai"}]
    assert message["annotations"] == [{"type": "audio_info", "language": "de", "emotion": "neutral"}]
    assert answer["usage"]["seconds"] == seconds


@pytest.mark.parametrize("given", [{"file_urls": ["https://p.invalid/a.wav"]}, {"file_url": "https://p.invalid/a.wav"}])
def test_files_are_transcribed_as_a_task(given):
    house = House()
    task = house.post(TRANSCRIPTION, {"model": "paraformer-v2", "input": given}, **TASK)["output"]["task_id"]
    house.now += 10
    output = house.get(f"/api/v1/tasks/{task}")["output"]
    result = output["result"] if "file_url" in given else output["results"][0]
    transcript = json.loads(house.fetch(result["transcription_url"]))["transcripts"][0]
    assert transcript["text"] == "powered by openai" and transcript["sentences"][0]["end_time"] == 600


@pytest.mark.parametrize(
    "name",
    ["nothing", "4097x64-00000000.png", "0-0.wav", "2001-00000000.wav", "..3-00000000.wav", "64x64-0000000g.png"],
)
def test_other_files_do_not_exist(name):
    response, _ = House().ask("GET", f"/api/v1/mock-files/{name}", key=None)
    assert response.status == 404 and json.loads(response.body)["code"] == "NotFound"


# ---- embeddings, rerank, models


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b))


@pytest.mark.parametrize("dimension", [64, 512, 1024, 2048])
def test_embeddings_are_unit_vectors_near_each_other_for_texts_that_share_words(dimension):
    texts = ["The cat sat on the mat.", "the mat, a cat, SAT", "interest rates rose again"]
    body = {"model": "text-embedding-v4", "input": {"texts": texts}, "parameters": {"dimension": dimension}}
    answer = House().post(EMBEDDINGS, body)
    assert [item["text_index"] for item in answer["output"]["embeddings"]] == [0, 1, 2]
    a, b, c = (item["embedding"] for item in answer["output"]["embeddings"])
    assert {len(a), len(b), len(c)} == {dimension}
    assert [cosine(v, v) for v in (a, b, c)] == pytest.approx([1, 1, 1], abs=1e-5)
    assert cosine(a, b) > 0.5 and cosine(a, b) > cosine(a, c) + 0.25
    assert answer["usage"] == {"total_tokens": 15}


def test_sparse_embeddings_hold_words():
    body = {"model": "text-embedding-v4", "input": {"texts": "red red cat"}, "parameters": {"output_type": "sparse"}}
    (item,) = House().post(EMBEDDINGS, body)["output"]["embeddings"]
    assert "embedding" not in item
    assert {entry["token"]: entry["value"] for entry in item["sparse_embedding"]} == {"red": 2, "cat": 1}


@pytest.mark.parametrize(
    ("model", "texts", "parameters", "message"),
    [
        ("text-embedding-v4", ["a"] * 11, {}, "batch size is invalid, it should not be larger than 10."),
        ("text-embedding-v2", ["a"] * 26, {}, "should not be larger than 25."),
        ("text-embedding-v4", ["a"], {"dimension": 65}, "dimension is invalid"),
        ("text-embedding-v1", ["a"], {"dimension": 1024}, "dimension is invalid"),
        ("text-embedding-v4", ["a", ""], {}, "non-empty strings"),
        ("text-embedding-v4", [], {}, "non-empty strings"),
    ],
)
def test_embeddings_have_dashscope_s_limits(model, texts, parameters, message):
    body = {"model": model, "input": {"texts": texts}, "parameters": parameters}
    assert message in House().refused(EMBEDDINGS, body)[2]


def test_multimodal_embeddings_tell_kinds_apart_and_fuse():
    house = House()
    contents = [{"text": "a cat"}, {"image": "https://p.invalid/a.png"}, {"image": "https://p.invalid/a.png"}]
    body = {"model": "qwen3-vl-embedding", "input": {"contents": contents}, "parameters": {"dimension": 256}}
    text, image, same = house.post(MULTIMODAL_EMBEDDINGS, body)["output"]["embeddings"]
    assert [text["type"], image["type"], image["index"], len(image["embedding"])] == ["text", "image", 1, 256]
    assert image["embedding"] == same["embedding"] != text["embedding"]
    body["parameters"]["enable_fusion"] = True
    assert len(house.post(MULTIMODAL_EMBEDDINGS, body)["output"]["embeddings"]) == 1


def test_rerank_puts_the_document_first_that_has_the_words():
    documents = ["blue dog", "a cat", {"text": "The red cat."}]
    body = {"model": "qwen3-rerank", "input": {"query": "red cat", "documents": documents}}
    body["parameters"] = {"top_n": 2, "return_documents": True}
    results = House().post(RERANK, body)["output"]["results"]
    assert [result["index"] for result in results] == [2, 1]
    assert results[0]["document"] == {"text": "The red cat."} and 0 < results[1]["relevance_score"] < 1


@pytest.mark.parametrize(
    ("query", "document", "score"),
    [("a b", "b a", 1.0), ("a", "b", 0.0), ("", "a", 0.0), ("a", "", 0.0), ("你好", "你好吗", 0.966667)],
)
def test_relevance_is_the_share_of_words(query, document, score):
    assert relevance(lexical_words(query), lexical_words(document)) == score


@pytest.mark.parametrize("text", ["", "...", "a", "\ud800", "你好", "word " * 5000])
def test_any_text_has_a_unit_vector(text):
    vector = unit_vector(lexical_words(text), 64)
    assert cosine(vector, vector) == pytest.approx(1, abs=1e-5)


def test_models_are_listed_in_pages_and_found_by_name():
    house = House()
    page = house.get("/api/v1/models?page_no=2&page_size=5")["output"]
    assert (page["page_no"], page["page_size"], len(page["models"])) == (2, 5, 5) and page["total"] > 50
    assert [row["model"] for row in house.get("/api/v1/models?model=qwen-plus")["output"]["models"]] == ["qwen-plus"]


# ---- behind the translator


def test_translator_answers_openai_clients_from_the_mock():
    key = {"authorization": "Bearer sk-0123456789"}
    with oaiserve.start("mock") as mock:
        with oaiserve.start("dashscope", set={"dashscope.base_url": mock.url}) as gateway:

            def post(path, **body):
                status, _, answer = ask(gateway.port, "POST", path, body, **key)
                return status, answer

            status, answer = post("/v1/chat/completions", messages=HELLO)
            assert status == 200
            assert json.loads(answer)["choices"][0]["message"]["content"] == "powered by openai"
            status, answer = post("/v1/chat/completions", model="qwq-plus", messages=HELLO, stream=True)
            assert b'"reasoning_content":' in answer and answer.endswith(b"data: [DONE]\n\n")
            status, answer = post("/v1/embeddings", model="text-embedding-v4", input=[f"text {n}" for n in range(12)])
            assert [row["index"] for row in json.loads(answer)["data"]] == list(range(12))
            speech = {"input": "Hello there", "voice": "alloy", "response_format": "pcm"}
            status, answer = post("/v1/audio/speech", model="qwen3-tts-flash", **speech)
            assert (status, len(answer)) == (200, 2 * 9600)
            status, answer = post("/v1/chat/completions", model="error-Throttling.RateQuota", messages=HELLO)
            assert (status, json.loads(answer)["error"]["code"]) == (429, "rate_limit_exceeded")
    assert {request.path for request in mock.requests} == {TEXT, MULTIMODAL, EMBEDDINGS}


@pytest.mark.parametrize("path", ["video-generation", "image2video"])
def test_a_video_is_a_task_with_a_movie_of_the_asked_size(path):
    house = House()
    target = f"/api/v1/services/aigc/{path}/video-synthesis"
    body = {"model": "wan2.6-t2v", "input": {"prompt": "a cat"}, "parameters": {"size": "128*64", "duration": 3}}
    assert house.ask("POST", target, body)[0].status == 403
    made = house.post(target, body, **TASK)
    house.now += 10
    done = house.get(f"/api/v1/tasks/{made['output']['task_id']}")
    assert done["output"]["orig_prompt"] == "a cat"
    assert done["usage"] == {"duration": 3, "video_count": 1, "size": "128*64", "SR": 64}
    movie = house.fetch(done["output"]["video_url"])
    assert movie[4:12] == b"ftypisom"
    assert struct.pack(">HH", 128, 64) in movie
    assert house.ask("POST", target, {**body, "parameters": {"duration": 99}}, **TASK)[0].status == 400
