"""What an owner and his clients meet around the models: names, hosts, lists, and the paths of other vendors.

Sources: help.aliyun.com, "Text ranking" (POST /compatible-api/v1/reranks); "Coding Plan" (coding.dashscope.aliyuncs.com
and coding-intl.dashscope.aliyuncs.com with /v1 and /apps/anthropic alone, token-plan.REGION.maas.aliyuncs.com);
alibabacloud.com, "Regions" ({WorkspaceId}.REGION.maas.aliyuncs.com); "Text embedding" (output_type, sparse_embedding);
"Error codes" ("Tool names are not allowed to be [search]"); "Qwen-TTS" (qwen3-tts-flash, qwen3-tts-instruct-flash).
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from native import COSY, EMBEDDINGS, MULTIMODAL, RERANK, TEXT, Native, answer, events, form, translator
from skipping import run

from protocol.dashscope.mapping.embed import merge_embeddings, plan_embeddings
from protocol.dashscope.mapping.speech import plan_speech
from protocol.dashscope.mapping.tools import stand_ins, tool_parameters
from protocol.dashscope.settings import DashScopeSettings, parse_dashscope_url
from protocol.errors import ApiError
from protocol.upstream.destination import parse_destination

CHINA = "https://dashscope.aliyuncs.com/api/v1"
RANKED = {"output": {"results": [{"index": 1, "relevance_score": 0.9}]}, "usage": {"total_tokens": 5}}
SAID = {"output": {"choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": "Hi."}}]}}


# ---- hosts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://dashscope.aliyuncs.com/api/v1/services/aigc/text-generation/generation", CHINA),
        ("https://dashscope.aliyuncs.com/api/v1/services/aigc/multimodal-generation/generation/", CHINA),
        ("https://dashscope.aliyuncs.com/compatible-mode/v1/chat/completions", CHINA),
        ("https://dashscope.aliyuncs.com/compatible-mode", CHINA),
        ("https://dashscope.aliyuncs.com/compatible-api/v1/reranks", CHINA),
        ("https://dashscope.aliyuncs.com/apps/anthropic", CHINA),
        ("https://dashscope.aliyuncs.com/v1", CHINA),
        ("https://llm-ab12.cn-beijing.maas.aliyuncs.com", "https://llm-ab12.cn-beijing.maas.aliyuncs.com/api/v1"),
        (
            "https://ws-1.ap-southeast-1.maas.aliyuncs.com/compatible-mode/v1",
            "https://ws-1.ap-southeast-1.maas.aliyuncs.com/api/v1",
        ),
        ("http://127.0.0.1:9000/api/v1/services/aigc/text-generation/generation", "http://127.0.0.1:9000/api/v1"),
        ("http://gateway.invalid/dash/api/v1/tasks", "http://gateway.invalid/dash/api/v1"),
        ("http://gateway.invalid/dash/compatible-mode/v1/models", "http://gateway.invalid/dash/api/v1"),
    ],
)
def test_an_endpoints_url_is_understood_as_its_host(text: str, url: str) -> None:
    assert parse_dashscope_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "https://coding.dashscope.aliyuncs.com/v1",
        "https://coding-intl.dashscope.aliyuncs.com/apps/anthropic",
        "https://coding.dashscope.aliyuncs.com",
        "https://token-plan.cn-beijing.maas.aliyuncs.com/compatible-mode/v1",
        "https://token-plan.ap-southeast-1.maas.aliyuncs.com",
    ],
)
def test_the_host_of_a_coding_plan_is_refused_and_the_relay_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"no native|only OpenAI's.*\[relay\] base_url"):
        parse_dashscope_url(text)


@pytest.mark.parametrize("path", ["/api/v2", "/services/aigc", "/api/v1x", "/compatible-modest/v1"])
def test_another_path_on_dashscopes_hosts_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="expected the host alone, or with /api/v1"):
        parse_dashscope_url("https://dashscope.aliyuncs.com" + path)


@pytest.mark.parametrize("region", ["cn-beijing", "ap-southeast-1", "eu-central-1", "cn-hongkong"])
def test_a_workspaces_host_is_dashscopes_own_and_gets_the_environments_key(region: str) -> None:
    assert DashScopeSettings.owns_key(parse_destination(f"https://llm-1.{region}.maas.aliyuncs.com/api/v1"), {})
    assert not DashScopeSettings.owns_key(parse_destination(f"https://llm-1.{region}.maas.aliyuncs.example/api/v1"), {})


# ---- names ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "instructions", "sent"),
    [
        ("tts-1", None, "qwen3-tts-flash"),
        ("tts-1-hd", None, "qwen3-tts-flash"),
        ("tts-1-1106", None, "qwen3-tts-flash"),
        ("gpt-4o-mini-tts", None, "qwen3-tts-flash"),
        ("gpt-4o-mini-tts", "Speak softly.", "qwen3-tts-instruct-flash"),
        ("gpt-4o-mini-tts-2025-12-15", None, "qwen3-tts-flash"),
        ("qwen-tts", None, "qwen-tts"),
        ("cosyvoice-v3-flash", None, "cosyvoice-v3-flash"),
    ],
)
def test_openais_voices_models_stand_for_qwens(asked: str, instructions: str | None, sent: str) -> None:
    request = {"model": asked, "input": "Hello", "voice": "alloy", "instructions": instructions}
    assert [call.body["model"] for call in plan_speech(request).calls] == [sent]


def test_models_are_renamed_wherever_a_request_names_one() -> None:
    async def main() -> None:
        sound = b'id:1\nevent:result\ndata:{"output":{"audio":{"data":"AAAA"}}}\n\n'
        picture = {"output": {"choices": [{"message": {"content": [{"image": "https://i.invalid/1.png"}]}}]}}
        answers: dict[str, Any] = {
            TEXT: answer(SAID), MULTIMODAL: answer(picture), RERANK: answer(RANKED), COSY: events(sound),
            EMBEDDINGS: answer({"output": {"embeddings": [{"text_index": 0, "embedding": [1.0]}]}}),
        }  # fmt: skip
        names = "gpt-4o = qwen-plus\nembed-* = text-embedding-v4\nrank = qwen3-rerank\ndraw = wan2.7-image\nvoice = cosyvoice-v3"
        async with Native(answers) as native, translator(native, models=names) as house:
            chatted = await house.chat("gpt-4o")
            await house.chat("qwen-max")
            await house.post("/v1/completions", {"model": "gpt-4o", "prompt": "hi"})
            await house.post("/v1/embeddings", {"model": "embed-small", "input": "a"})
            await house.post("/v1/rerank", {"model": "rank", "query": "q", "documents": ["a", "b"]})
            await house.post("/v1/images/generations", {"model": "draw", "prompt": "a cat"})
            body, kind = form({"model": "draw", "prompt": "a hat"}, ("image", "a.png", "image/png", b"\x89PNG"))
            await house.post("/v1/images/edits", body, content_type=kind)
            await house.post("/v1/audio/speech", {"model": "voice", "input": "a", "voice": "alloy"})
        assert [call["model"] for call in native.calls] == [
            "qwen-plus", "qwen-max", "qwen-plus", "text-embedding-v4", "qwen3-rerank", "wan2.7-image", "wan2.7-image",
            "cosyvoice-v3",
        ]  # fmt: skip
        assert chatted.json()["model"] == "qwen-plus"

    run(main)


def test_the_list_has_the_names_that_stand_for_known_models() -> None:
    async def main() -> None:
        async with (
            Native({}) as native,
            translator(native, models="gpt-4o = qwen-plus\nx-* = qwen-max\ny = unknown") as house,
        ):
            fields = {"authorization": "Bearer sk-caller-0123456789"}
            listed = {model["id"]: model for model in (await house.ask("GET", "/v1/models", fields)).json()["data"]}
            one = (await house.ask("GET", "/v1/models/gpt-4o", fields)).json()
        assert "qwen-plus" in listed
        assert listed["gpt-4o"] == one == {**listed["qwen-plus"], "id": "gpt-4o"}
        assert not {"x-*", "y"} & listed.keys()

    run(main)


# ---- a function called search -----------------------------------------------------------------------------------

SEARCH = {"type": "function", "function": {"name": "search", "description": "Look it up.", "parameters": {}}}


def other(name: str) -> dict:
    return {"type": "function", "function": {"name": name}}


def test_another_name_stands_for_search() -> None:
    request = {"tools": [SEARCH, other("clock")], "tool_choice": {"type": "function", "function": {"name": "search"}}}
    native = tool_parameters(request)
    assert [tool["function"]["name"] for tool in native["tools"]] == ["search_tool", "clock"]
    assert native["tools"][0]["function"]["description"] == "Look it up."
    assert native["tool_choice"] == {"type": "function", "function": {"name": "search_tool"}}
    assert SEARCH["function"]["name"] == "search"
    assert stand_ins({"tools": [other("clock")]}) == {}


@pytest.mark.parametrize(
    ("taken", "name"), [(["search_tool"], "search_tool_2"), (["search_tool", "search_tool_2"], "search_tool_3")]
)
def test_the_name_that_stands_for_it_is_no_other_functions(taken: list[str], name: str) -> None:
    assert stand_ins({"tools": [SEARCH, *map(other, taken)]}) == {name: "search"}


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_meets_its_own_name_in_the_answer(stream: bool) -> None:
    async def main() -> None:
        call = {"index": 0, "id": "c2", "type": "function", "function": {"name": "search_tool", "arguments": "{}"}}
        message = {"role": "assistant", "content": "", "tool_calls": [call]}
        said = {"output": {"choices": [{"finish_reason": "tool_calls", "message": message}]}, "request_id": "r"}
        streamed = b"id:1\nevent:result\ndata:" + json.dumps(said).encode() + b"\n\n"
        history = [
            {"role": "user", "content": "hi"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "search", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "found"},
        ]
        async with Native({TEXT: events(streamed) if stream else answer(said)}) as native, translator(native) as house:
            answered = await house.chat("qwen-plus", messages=history, tools=[SEARCH], stream=stream)
        sent = native.calls[0]
        assert [tool["function"]["name"] for tool in sent["parameters"]["tools"]] == ["search_tool"]
        assert sent["input"]["messages"][1]["tool_calls"][0]["function"]["name"] == "search_tool"
        if stream:
            deltas = [event["choices"][0]["delta"] for event in answered.events()[:-1]]
            calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
        else:
            calls = answered.json()["choices"][0]["message"]["tool_calls"]
        assert [call["function"]["name"] for call in calls if "name" in call["function"]] == ["search"]

    run(main)


# ---- rerank and sparse vectors ----------------------------------------------------------------------------------


def test_reranks_is_rerank() -> None:
    async def main() -> None:
        asked = {"model": "qwen3-rerank", "query": "q", "documents": ["a", "b"], "top_n": 1}
        async with Native({RERANK: answer(RANKED)}) as native, translator(native) as house:
            plural, singular = [await house.post(path, asked) for path in ("/v1/reranks", "/v1/rerank")]
        assert plural.status == 200
        assert plural.json() == singular.json()
        assert plural.json()["results"] == [{"index": 1, "relevance_score": 0.9}]

    run(main)


SPARSE = [{"index": 7149, "value": 0.829, "token": "wind"}]


@pytest.mark.parametrize("base64", [False, True])
@pytest.mark.parametrize("output_type", ["sparse", "dense&sparse"])
def test_sparse_vectors_are_reachable(output_type: str, base64: bool) -> None:
    request = {"model": "text-embedding-v4", "input": "wind", "output_type": output_type}
    plan = plan_embeddings({**request, "encoding_format": "base64"} if base64 else request)
    assert plan.calls[0].body["parameters"] == {"output_type": output_type}
    dense = {"embedding": [1.0]} if "dense" in output_type else {}
    embedding = {"text_index": 0, "sparse_embedding": SPARSE, **dense}
    (data,) = merge_embeddings(plan, [{"output": {"embeddings": [embedding]}}])["data"]
    assert data["sparse_embedding"] == SPARSE
    assert data["embedding"] == (([1.0] if not base64 else "AACAPw==") if dense else [])


def test_dense_vectors_have_no_sparse_ones_beside_them() -> None:
    plan = plan_embeddings({"model": "text-embedding-v4", "input": "wind"})
    (data,) = merge_embeddings(plan, [{"output": {"embeddings": [{"text_index": 0, "embedding": [1.0]}]}}])["data"]
    assert data == {"object": "embedding", "index": 0, "embedding": [1.0]}


@pytest.mark.parametrize(("model", "kind"), [("text-embedding-v4", "thin"), ("text-embedding-v2", "sparse")])
def test_a_type_of_vectors_that_the_model_has_not_is_refused(model: str, kind: str) -> None:
    with pytest.raises(ApiError) as caught:
        plan_embeddings({"model": model, "input": "a", "output_type": kind})
    assert (caught.value.status, caught.value.param) == (400, "output_type")
