"""The native mock's files, tokens, log probabilities and current models.

Sources: help.aliyun.com, "File management" (multipart `files`, `descriptions`; data.uploaded_files; page_no, page_size),
"Tokenizer" (output.token_ids, output.tokens, usage.input_tokens), "Text generation" (logprobs, top_logprobs 0 to 5).
"""

from __future__ import annotations

import hashlib
import json

import pytest
from native import form
from test_mock_native import MULTIMODAL, SEEN, TEXT, House

from protocol.dashscope.mapping.models import (
    MULTIMODAL_ENDPOINT,
    NEVER_THINKING,
    TEXT_ENDPOINT,
    dashscope_model_list,
    endpoint_for,
    thinking_of,
)

FILES = "/api/v1/files"


def upload(house: House, *names: str, **fields: str):
    body, kind = form(fields, *[("files", name, "text/plain", name.encode()) for name in names])
    return house.post(FILES, body, content_type=kind)


def test_files_are_taken_listed_shown_and_deleted() -> None:
    house = House()
    taken = upload(house, "a.txt", "b.txt", purpose="file-extract", descriptions="first")["data"]
    assert taken["failed_uploads"] == []
    assert [file["name"] for file in taken["uploaded_files"]] == ["a.txt", "b.txt"]
    first, second = (file["file_id"] for file in taken["uploaded_files"])
    page = house.get(f"{FILES}?page_no=1&page_size=1")["data"]
    assert (page["total"], page["page_no"], page["page_size"]) == (2, 1, 1)
    assert [file["file_id"] for file in page["files"]] == [second]
    shown = house.get(f"{FILES}/{first}")["data"]
    assert (shown["name"], shown["size"], shown["description"], shown["purpose"]) == (
        "a.txt",
        5,
        "first",
        "file-extract",
    )
    assert shown["md5"] == hashlib.md5(b"a.txt").hexdigest()
    assert shown["gmt_create"].startswith("2026-09-2")
    response, _ = house.ask("DELETE", f"{FILES}/{first}")
    assert response.status == 200
    assert list(json.loads(response.body)) == ["request_id"]
    assert house.get(f"{FILES}/{first}")["code"] == "NotFound"
    assert house.ask("DELETE", f"{FILES}/{first}")[0].status == 404


def test_a_thousand_files_are_remembered() -> None:
    house = House()
    for _ in range(3):
        upload(house, *(f"{number}.txt" for number in range(400)))
    assert house.get(FILES)["data"]["total"] == 1000


@pytest.mark.parametrize(
    ("fields", "files"), [({"purpose": "batch"}, ()), ({}, (("file", "a.txt", "text/plain", b"a"),))]
)
def test_an_upload_without_files_is_refused(fields: dict, files: tuple) -> None:
    body, kind = form(fields, *files)
    response, _ = House().ask("POST", FILES, body, content_type=kind)
    assert response.status == 400
    assert json.loads(response.body)["message"] == "Field required: files"
    assert House().ask("POST", FILES, b"{}", content_type="application/json")[0].status == 400


@pytest.mark.parametrize(
    "given", [{"prompt": "one two one"}, {"messages": [{"role": "user", "content": "one two one"}]}]
)
def test_a_text_has_tokens_and_an_id_for_each(given: dict) -> None:
    answer = House().post("/api/v1/tokenizer", {"model": "qwen-plus", "input": given, "parameters": {}})
    tokens, ids = answer["output"]["tokens"], answer["output"]["token_ids"]
    assert "".join(tokens) == "one two one"
    assert len(ids) == len(tokens) == answer["usage"]["input_tokens"] == 3
    assert all(type(id) is int and id >= 0 for id in ids)


def test_no_text_has_no_tokens() -> None:
    assert House().ask("POST", "/api/v1/tokenizer", {"model": "qwen-plus", "input": {}})[0].status == 400


def test_a_file_goes_into_the_temporary_store() -> None:
    house = House()
    asked = house.get("/api/v1/uploads?action=getPolicy&model=fun-asr")["data"]
    assert asked["upload_dir"].startswith("dashscope-instant/")
    names = {"oss_access_key_id", "signature", "policy", "x_oss_object_acl", "x_oss_forbid_overwrite"}
    assert names <= asked.keys()
    target = asked["upload_host"].partition("mock.invalid:8080")[2]
    body, kind = form({"key": asked["upload_dir"] + "/a.mp3"}, ("file", "a.mp3", "audio/mpeg", b"a"))
    assert house.ask("POST", target, body, key=None, content_type=kind)[0].status == 200
    assert house.ask("POST", target, b"a", key=None, content_type="text/plain")[0].status == 400
    assert house.ask("GET", "/api/v1/uploads")[0].status == 400


LOGPROBS = {"result_format": "message", "logprobs": True, "top_logprobs": 2}
HELLO = {"messages": [{"role": "user", "content": "hi there"}]}


def test_each_token_has_its_probability_and_the_likeliest_ones() -> None:
    body = {"model": "qwen-plus", "input": HELLO, "parameters": LOGPROBS}
    choice = House(text="one two three").post(TEXT, body)["output"]["choices"][0]
    entries = choice["logprobs"]["content"]
    assert "".join(entry["token"] for entry in entries) == choice["message"]["content"] == "one two three"
    for entry in entries:
        assert bytes(entry["bytes"]).decode() == entry["token"]
        assert entry["logprob"] < 0
        assert len(entry["top_logprobs"]) == 2
        assert entry["top_logprobs"][0]["token"] == entry["token"]


@pytest.mark.parametrize("incremental", [True, False])
def test_a_stream_tells_the_same_probabilities(incremental: bool) -> None:
    house = House(text="one two three")
    whole = house.post(TEXT, {"model": "qwen-plus", "input": HELLO, "parameters": {**LOGPROBS, "seed": 7}})
    parameters = {**LOGPROBS, "seed": 7, "incremental_output": incremental}
    events = house.events(TEXT, {"model": "qwen-plus", "input": HELLO, "parameters": parameters})
    choices = [event["output"]["choices"][0] for event in events]
    told = [choice["logprobs"]["content"] for choice in choices if choice.get("logprobs")]
    expected = whole["output"]["choices"][0]["logprobs"]["content"]
    assert (sum(told, []) if incremental else told[-1]) == expected


def test_who_does_not_ask_gets_no_probabilities_and_too_many_are_refused() -> None:
    house = House()
    plain = house.post(TEXT, {"model": "qwen-plus", "input": HELLO, "parameters": {"result_format": "message"}})
    assert "logprobs" not in plain["output"]["choices"][0]
    body = {"model": "qwen-plus", "input": HELLO, "parameters": {**LOGPROBS, "top_logprobs": 6}}
    assert house.ask("POST", TEXT, body)[0].status == 400


@pytest.mark.parametrize(
    ("model", "endpoint"),
    [
        ("kimi-k3", MULTIMODAL_ENDPOINT),
        ("glm-5.2", TEXT_ENDPOINT),
        ("deepseek-v4-pro", TEXT_ENDPOINT),
        ("deepseek-v4-flash", TEXT_ENDPOINT),
        ("qwen3.7-plus", MULTIMODAL_ENDPOINT),
        ("qwen3.7-max", TEXT_ENDPOINT),
        ("qwen3.8-max", MULTIMODAL_ENDPOINT),
        ("qwen3.8-flash", MULTIMODAL_ENDPOINT),
    ],
)
def test_current_models_are_listed_think_and_answer_where_they_belong(model: str, endpoint: str) -> None:
    assert model in [row["id"] for row in dashscope_model_list()["data"]]
    assert endpoint_for(model, False) == endpoint
    assert thinking_of(model) != NEVER_THINKING
    multimodal = endpoint == MULTIMODAL_ENDPOINT
    given = {"messages": SEEN if multimodal else HELLO["messages"]}
    answer = House().post(MULTIMODAL if multimodal else TEXT, {"model": model, "input": given})
    message = answer["output"]["choices"][0]["message"]
    assert message["reasoning_content"]
