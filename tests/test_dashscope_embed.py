from __future__ import annotations

import base64
import json
import struct

import pytest

from protocol.dashscope.mapping.embed import merge_embeddings, plan_embeddings, plan_rerank, rerank_answer
from protocol.dashscope.mapping.errors import DashScopeError
from protocol.dashscope.mapping.native import MULTIMODAL_EMBEDDING_PATH, TEXT_EMBEDDING_PATH, TEXT_RERANK_PATH
from protocol.errors import ApiError

ANSWER = json.loads(
    '{"output":{"embeddings":[{"embedding":[0.1,-0.2],"text_index":0},{"embedding":[0.3,0.4],"text_index":1}]}'
    ',"usage":{"total_tokens":4},"request_id":"r-20"}'
)
PICTURE = "https://a.invalid/x.png"


def request(given: object, model: str = "text-embedding-v4", **rest: object) -> dict:
    return {"model": model, "input": given, **rest}


def embedded(*vectors: list, tokens: int = 1) -> dict:
    items = [{"embedding": vector, "text_index": index} for index, vector in enumerate(vectors)]
    return {"output": {"embeddings": items}, "usage": {"total_tokens": tokens}}


def test_maps_the_request_of_the_sample() -> None:
    (call,) = plan_embeddings(request(["a", "b"], dimensions=64, text_type="query", user="u")).calls
    assert (call.path, call.stream, call.task) == (TEXT_EMBEDDING_PATH, False, False)
    assert call.body == {
        "model": "text-embedding-v4",
        "input": {"texts": ["a", "b"]},
        "parameters": {"dimension": 64, "text_type": "query", "output_type": "dense"},
    }


def test_maps_the_answer_of_the_sample() -> None:
    assert merge_embeddings(plan_embeddings(request(["a", "b"])), [ANSWER]) == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [0.1, -0.2]},
            {"object": "embedding", "index": 1, "embedding": [0.3, 0.4]},
        ],
        "model": "text-embedding-v4",
        "usage": {"prompt_tokens": 4, "total_tokens": 4},
    }


def test_the_least_dimension_is_one() -> None:
    assert plan_embeddings(request("a", dimensions=1)).calls[0].body["parameters"]["dimension"] == 1


def test_one_string_is_one_input() -> None:
    assert plan_embeddings(request("a")).calls[0].body["input"] == {"texts": ["a"]}


@pytest.mark.parametrize(
    ("model", "count", "sizes"),
    [
        ("text-embedding-v4", 10, [10]),
        ("text-embedding-v4", 11, [10, 1]),
        ("text-embedding-v3", 25, [10, 10, 5]),
        ("text-embedding-v2", 26, [25, 1]),
        ("text-embedding-v1", 25, [25]),
        ("never-heard-of", 11, [10, 1]),
        ("multimodal-embedding-v1", 21, [20, 1]),
        ("tongyi-embedding-vision-plus", 9, [8, 1]),
    ],
)
def test_splits_into_what_the_model_takes(model: str, count: int, sizes: list[int]) -> None:
    plan = plan_embeddings(request([f"t{number}" for number in range(count)], model))
    assert plan.sizes == sizes
    inputs = [next(iter(call.body["input"].values())) for call in plan.calls]
    assert [len(part) for part in inputs] == sizes
    texts = [item["text"] if isinstance(item, dict) else item for part in inputs for item in part]
    assert texts == [f"t{number}" for number in range(count)]


def test_merges_batches_in_order_and_sums_the_usage() -> None:
    plan = plan_embeddings(request(["x"] * 12))
    answers = [embedded(*([float(n)] for n in range(10)), tokens=10), embedded([10.0], [11.0], tokens=2)]
    merged = merge_embeddings(plan, answers)
    assert [(item["index"], item["embedding"]) for item in merged["data"]] == [(n, [float(n)]) for n in range(12)]
    assert merged["usage"]["total_tokens"] == 12


def test_sorts_by_the_index_of_the_text() -> None:
    items = [{"embedding": [2], "text_index": 1}, {"embedding": [1], "text_index": 0}]
    merged = merge_embeddings(plan_embeddings(request(["a", "b"])), [{"output": {"embeddings": items}}])
    assert [item["embedding"] for item in merged["data"]] == [[1], [2]]
    assert merged["usage"]["total_tokens"] == 0


def test_packs_little_endian_singles_as_base64() -> None:
    plan = plan_embeddings(request("a", encoding_format="base64"))
    (item,) = merge_embeddings(plan, [embedded([1.5, -2.0])])["data"]
    assert struct.unpack("<2f", base64.b64decode(item["embedding"])) == (1.5, -2.0)


@pytest.mark.parametrize("dimensions", [None, 1536])
def test_old_models_get_neither_dimension_nor_output_type(dimensions: int | None) -> None:
    (call,) = plan_embeddings(request("a", "text-embedding-v2", dimensions=dimensions, text_type="document")).calls
    assert call.body["parameters"] == {"text_type": "document"}


REFUSALS = {
    "no model": ({"input": "a"}, "model"),
    "async model": (request("a", "text-embedding-async-v2"), "model"),
    "no input": (request(None), "input"),
    "empty string": (request(""), "input[0]"),
    "empty list": (request([]), "input"),
    "an empty string inside": (request(["a", ""]), "input[1]"),
    "tokens": (request([1, 2]), "input"),
    "lists of tokens": (request([[1, 2]]), "input"),
    "a number inside": (request(["a", 1]), "input[1]"),
    "too many": (request(["a"] * 2049), "input"),
    "dimensions 0": (request("a", dimensions=0), "dimensions"),
    "dimensions of an old model": (request("a", "text-embedding-v1", dimensions=64), "dimensions"),
    "encoding": (request("a", encoding_format="int8"), "encoding_format"),
    "odd object": (request([{"smell": "x"}], "qwen3-vl-embedding"), "input[0]"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refuses_and_names_the_parameter(name: str) -> None:
    given, param = REFUSALS[name]
    with pytest.raises(ApiError) as caught:
        plan_embeddings(given)
    assert (caught.value.status, caught.value.param) == (400, param)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"output": None},
        embedded([1.0]),
        embedded([1.0], [2.0], [3.0]),
        embedded([1.0], []),
        {"output": {"embeddings": [{"embedding": [1], "text_index": 0}] * 2}},
    ],
    ids=["empty", "null", "too few", "too many", "no vector", "twice the same"],
)
def test_an_answer_that_does_not_fit_the_inputs_is_502(answer: dict) -> None:
    with pytest.raises(DashScopeError) as caught:
        merge_embeddings(plan_embeddings(request(["a", "b"])), [answer])
    assert (caught.value.status, caught.value.code) == (502, "upstream_bad_response")


@pytest.mark.parametrize("vector", [["x"], [1e300]])
def test_a_vector_that_cannot_be_packed_is_502(vector: list) -> None:
    with pytest.raises(DashScopeError):
        merge_embeddings(plan_embeddings(request("a", encoding_format="base64")), [embedded(vector)])


def test_objects_go_to_the_multimodal_service_and_strings_with_them() -> None:
    inputs = [
        "a",
        {"image": PICTURE},
        {"type": "image_url", "image_url": {"url": PICTURE}},
        {"multi_images": [PICTURE]},
    ]
    (call,) = plan_embeddings(request(inputs, dimensions=512, fps=0.5)).calls
    assert call.path == MULTIMODAL_EMBEDDING_PATH
    assert call.body["input"] == {
        "contents": [{"text": "a"}, {"image": PICTURE}, {"image": PICTURE}, {"multi_images": [PICTURE]}]
    }
    assert call.body["parameters"] == {"dimension": 512, "fps": 0.5}


def test_fused_inputs_are_one_call_with_one_vector() -> None:
    plan = plan_embeddings(request(["a"] * 25, "qwen3-vl-embedding", enable_fusion=True))
    assert (len(plan.calls), plan.sizes) == (1, [1])
    merged = merge_embeddings(plan, [{"output": {"embeddings": [{"index": 0, "embedding": [1.0]}]}}])
    assert len(merged["data"]) == 1


def test_reads_multimodal_answers_in_either_form() -> None:
    plan = plan_embeddings(request("a", "multimodal-embedding-v1"))
    listed = {
        "output": {"embeddings": [{"index": 0, "embedding": [1.0], "type": "text"}]},
        "usage": {"input_tokens": 3},
    }
    single = {"output": {"embedding": [1.0]}, "usage": {"input_tokens": 3}}
    assert merge_embeddings(plan, [listed]) == merge_embeddings(plan, [single])
    assert merge_embeddings(plan, [listed])["usage"] == {"prompt_tokens": 3, "total_tokens": 3}


def rerank(**rest: object) -> dict:
    return {"model": "qwen3-rerank", "query": "q", "documents": ["a", "b"], **rest}


def test_maps_the_rerank_request_of_the_sample() -> None:
    call = plan_rerank(rerank(top_n=1, return_documents=True))
    assert call.path == TEXT_RERANK_PATH
    assert call.body == {
        "model": "qwen3-rerank",
        "input": {"query": "q", "documents": ["a", "b"]},
        "parameters": {"top_n": 1, "return_documents": True},
    }


def test_maps_the_rerank_answer_of_the_sample() -> None:
    answer = json.loads(
        '{"output":{"results":[{"index":1,"relevance_score":0.91,"document":{"text":"b"}}]}'
        ',"usage":{"total_tokens":9},"request_id":"r-21"}'
    )
    assert rerank_answer(answer, "qwen3-rerank") == {
        "id": "r-21",
        "model": "qwen3-rerank",
        "results": [{"index": 1, "relevance_score": 0.91, "document": {"text": "b"}}],
        "usage": {"total_tokens": 9},
    }


def test_only_models_for_pictures_get_documents_as_objects() -> None:
    documents = [{"text": "a"}, "b"]
    assert plan_rerank(rerank(documents=documents)).body["input"]["documents"] == ["a", "b"]
    native = plan_rerank(rerank(model="qwen3-vl-rerank", documents=[*documents, {"image": PICTURE}]))
    assert native.body["input"]["documents"] == [{"text": "a"}, "b", {"image": PICTURE}]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": ""}, "model"),
        ({"query": ""}, "query"),
        ({"query": None}, "query"),
        ({"documents": []}, "documents"),
        ({"documents": "a"}, "documents"),
        ({"documents": ["a"] * 501}, "documents"),
        ({"documents": ["a", ""]}, "documents[1]"),
        ({"documents": [{"image": PICTURE}]}, "documents[0]"),
        ({"top_n": 0}, "top_n"),
        ({"return_documents": "yes"}, "return_documents"),
    ],
)
def test_refuses_a_bad_rerank(change: dict, param: str) -> None:
    with pytest.raises(ApiError) as caught:
        plan_rerank(rerank(**change))
    assert (caught.value.status, caught.value.param) == (400, param)


def test_accepts_five_hundred_documents() -> None:
    assert len(plan_rerank(rerank(documents=["a"] * 500)).body["input"]["documents"]) == 500


def test_a_rerank_result_without_a_score_is_502() -> None:
    with pytest.raises(DashScopeError):
        rerank_answer({"output": {"results": [{"index": 0}]}}, "m")
