"""The mock as DashScope: what it refuses instead of failing, and a translator in front of it, over real sockets."""

from __future__ import annotations

import http.client
import json
import urllib.request

import pytest
from json_schemas import violations
from test_mock_native import (
    EMBEDDINGS,
    FORCED,
    HELLO,
    MULTIMODAL_EMBEDDINGS,
    TEXT,
    TOOLS,
    WEATHER,
    House,
    cosine,
    generation,
    picture_size,
)

import oaiserve

# ---- refusals


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        (TEXT, generation(messages=[*HELLO, {"role": "assistant", "tool_calls": 1}]), "a valid list"),
        (TEXT, generation(messages=[*HELLO, {"role": "assistant", "tool_calls": ["x"]}]), "a valid list"),
        (TEXT, generation(messages=[*HELLO, {"role": "assistant", "tool_calls": [{"id": []}]}]), "a valid string"),
        (TEXT, generation(messages=[*HELLO, {"role": "tool", "tool_call_id": {}, "content": "x"}]), "a valid string"),
        (EMBEDDINGS, {"model": "v", "input": {"texts": ["a"]}, "parameters": {"output_type": 1}}, "output_type"),
        (MULTIMODAL_EMBEDDINGS, {"model": "v", "input": {"contents": [{"text": "a"}] * 21}}, "not be larger than 20"),
    ],
    ids=["calls no list", "call no object", "call id no string", "answered id no string", "output type", "contents"],
)
def test_refuses_what_has_the_wrong_type_or_number(path, body, message):
    status, code, said = House().refused(path, body)
    assert (status, code) == (400, "InvalidParameter") and message in said


def test_refuses_a_query_of_too_many_fields():
    answer = House().get("/api/v1/tasks?" + "&".join(["a=1"] * 101))
    assert (answer["code"], answer["message"]) == ("InvalidParameter", "The query should have at most 100 fields.")


# ---- through the translator, over real sockets


@pytest.fixture(scope="module")
def translated():
    """Give the URL of a translator whose DashScope is a mock, and a function that names the mock's requests."""
    with oaiserve.start("mock") as mock:
        given = {"dashscope.base_url": mock.url, "dashscope.api_key": "sk-any", "dashscope.proxy": ""}
        with oaiserve.start("dashscope", set=given, environ={}) as server:
            yield server.url, lambda: [request.path for request in mock.requests]


def through(url, path, body, status=200):
    """Return the body of what the translator answers to an OpenAI client."""
    connection = http.client.HTTPConnection(url[len("http://") :], timeout=100)
    try:
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        response = connection.getresponse()
        data = response.read()
    finally:
        connection.close()
    assert response.status == status, data
    return data


def test_chat_through_the_translator(translated):
    url, paths = translated
    answer = json.loads(through(url, "/v1/chat/completions", {"model": "qwen-plus", "messages": HELLO}))
    assert answer["choices"][0]["message"]["content"] == "powered by openai"
    assert answer["choices"][0]["finish_reason"] == "stop"
    usage = answer["usage"]
    assert usage["prompt_tokens"] + usage["completion_tokens"] == usage["total_tokens"] == 5
    assert paths()[-1] == TEXT


def test_streamed_chat_through_the_translator(translated):
    body = {"model": "qwen-plus", "messages": HELLO, "stream": True, "stream_options": {"include_usage": True}}
    lines = through(translated[0], "/v1/chat/completions", body).decode().split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    chunks = [json.loads(line[len("data: ") :]) for line in lines[:-2]]
    told = [choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]]
    assert "".join(told) == "powered by openai" and sum(map(bool, told)) == 3
    assert [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]][-1] == "stop"
    assert chunks[-1]["usage"]["total_tokens"] == 5


def test_tool_call_through_the_translator(translated):
    body = {"model": "qwen-plus", "messages": HELLO, "tools": TOOLS, "tool_choice": FORCED}
    answer = json.loads(through(translated[0], "/v1/chat/completions", body))
    (call,) = answer["choices"][0]["message"]["tool_calls"]
    assert violations(json.loads(call["function"]["arguments"]), WEATHER) == []


def test_embeddings_through_the_translator(translated):
    body = {"model": "text-embedding-v4", "input": ["red cat", "a red cat"], "dimensions": 64}
    answer = json.loads(through(translated[0], "/v1/embeddings", body))
    first, second = (item["embedding"] for item in answer["data"])
    assert (len(first), len(second)) == (64, 64) and 0.5 < cosine(first, second) < 0.99


def test_image_through_the_translator_is_the_picture_of_its_task(translated):
    url, paths = translated
    body = {"model": "wanx2.1-t2i-turbo", "prompt": "a cat", "size": "512x768", "n": 1}
    answer = json.loads(through(url, "/v1/images/generations", body))
    picture = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(answer["data"][0]["url"], timeout=100)
    with picture:
        assert picture_size(picture.read()) == (512, 768)
    assert any(path.startswith("/api/v1/tasks/") for path in paths())


def test_rerank_through_the_translator(translated):
    body = {"model": "qwen3-rerank", "query": "red cat", "documents": ["blue dog", "a red cat"]}
    results = json.loads(through(translated[0], "/v1/rerank", body))["results"]
    assert [result["index"] for result in results] == [1, 0]


def test_error_through_the_translator(translated):
    body = {"model": "error-429-Throttling.RateQuota", "messages": HELLO}
    error = json.loads(through(translated[0], "/v1/chat/completions", body, 429))["error"]
    assert error["message"] and error["code"]


@pytest.mark.parametrize("audio_format", ["pcm", "wav"])
def test_speech_through_the_translator_is_as_long_as_its_words(translated, audio_format):
    body = {"model": "qwen3-tts-flash", "input": "Hello wide world", "voice": "alloy", "response_format": audio_format}
    sound = through(translated[0], "/v1/audio/speech", body)
    assert sound.startswith(b"RIFF") is (audio_format == "wav")
    header = 44 if audio_format == "wav" else 0
    # Three words of 0.2 s, 24,000 samples a second, two bytes each.
    assert len(sound) - header == 3 * 9600 and any(sound[header:])
