"""Evals in the mock: runs over rows, whose counts agree with their items; moderations and decisions."""

from __future__ import annotations

import json

import pytest
from mocks import Clock, ask, make_mock, upload

from protocol.errors import ApiError
from protocol.mock.inference.moderations import moderation_scores

CHECK = {
    "type": "string_check", "name": "exact", "operation": "eq",
    "input": "{{sample.output_text}}", "reference": "{{item.wanted}}",
}  # fmt: skip
NEAR = {
    "type": "text_similarity", "name": "near", "evaluation_metric": "fuzzy_match", "pass_threshold": 0.7,
    "input": "{{sample.output_text}}", "reference": "{{item.wanted}}",
}  # fmt: skip
ROWS = [
    {"item": {"wanted": "blue"}, "sample": {"output_text": "blue"}},
    {"item": {"wanted": "blue"}, "sample": {"output_text": "blues"}},
    {"item": {"wanted": "blue"}, "sample": {"output_text": "green"}},
]


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def mock(clock):
    return make_mock(clock=clock)


def upload_rows(mock, rows):
    """Upload rows as JSONL; return the file's id."""
    return upload(mock, "rows.jsonl", b"\n".join(json.dumps(row).encode() for row in rows), "evals")["id"]


def create(mock, criteria=(CHECK, NEAR)):
    schema = {"type": "object", "properties": {"wanted": {"type": "string"}}}
    config = {"type": "custom", "item_schema": schema, "include_sample_schema": True}
    return ask(mock, "POST", "/v1/evals", {"data_source_config": config, "testing_criteria": list(criteria)})


def begin(mock, source, criteria=(CHECK, NEAR), **data_source):
    made = create(mock, criteria)
    body = {"data_source": {"type": "jsonl", "source": source, **data_source}}
    return f"/v1/evals/{made['id']}/runs/{ask(mock, 'POST', '/v1/evals/' + made['id'] + '/runs', body)['id']}"


def refused(mock, method, path, body=None):
    with pytest.raises(ApiError) as caught:
        ask(mock, method, path, body)
    return caught.value


def test_eval_tells_the_schema_of_its_rows(mock):
    schema = create(mock)["data_source_config"]["schema"]
    assert schema["properties"]["item"]["properties"] == {"wanted": {"type": "string"}}
    assert schema["required"] == ["item", "sample"]


def test_run_goes_through_its_life(mock, clock):
    path = begin(mock, {"type": "file_content", "content": ROWS})
    seen = []
    for _ in range(4):
        run = ask(mock, "GET", path)
        seen.append((run["status"], run["result_counts"]["total"]))
        clock.now += 1
    assert seen == [("queued", 0), ("in_progress", 0), ("in_progress", 0), ("completed", 3)]


@pytest.mark.parametrize("kind", ["content", "file"])
def test_counts_agree_with_the_items(mock, clock, kind):
    source = {"type": "file_content", "content": ROWS}
    if kind == "file":
        source = {"type": "file_id", "id": upload_rows(mock, ROWS)}
    path = begin(mock, source)
    clock.now += 10
    run = ask(mock, "GET", path)
    items = ask(mock, "GET", f"{path}/output_items?order=asc")["data"]
    assert run["result_counts"] == {"total": 3, "passed": 1, "failed": 2, "errored": 0}
    assert [item["status"] for item in items] == ["pass", "fail", "fail"]
    assert run["per_testing_criteria_results"] == [
        {"testing_criteria": "exact", "passed": 1, "failed": 2},
        {"testing_criteria": "near", "passed": 2, "failed": 1},
    ]
    assert [item["datasource_item_id"] for item in items] == [0, 1, 2]
    assert [len(ask(mock, "GET", f"{path}/output_items?status={status}")["data"]) for status in ("pass", "fail")] == [
        1,
        2,
    ]
    assert ask(mock, "GET", f"{path}/output_items/{items[0]['id']}") == items[0]


def test_run_over_completions_samples_the_model(clock):
    mock = make_mock(clock=clock, text="It is blue.")
    template = [{"role": "user", "content": "Which colour has the {{item.thing}}?"}]
    source = {"type": "file_content", "content": [{"item": {"thing": "sky", "wanted": "It is blue."}}]}
    path = begin(
        mock, source, type="completions", model="gpt-4o", input_messages={"type": "template", "template": template}
    )
    clock.now += 10
    (item,) = ask(mock, "GET", f"{path}/output_items")["data"]
    assert item["sample"]["input"] == [{"role": "user", "content": "Which colour has the sky?"}]
    assert item["sample"]["output"] == [{"role": "assistant", "content": "It is blue."}]
    (usage,) = ask(mock, "GET", path)["per_model_usage"]
    assert (usage["model_name"], usage["prompt_tokens"], usage["completion_tokens"]) == ("gpt-4o", 5, 3)


def test_run_over_stored_completions_finds_them(mock, clock):
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}], "store": True}
    ask(mock, "POST", "/v1/chat/completions", {**body, "metadata": {"use": "eval"}})
    ask(mock, "POST", "/v1/chat/completions", body)
    source = {"type": "stored_completions", "metadata": {"use": "eval"}}
    check = {**CHECK, "reference": "powered by openai"}
    path = begin(mock, source, [check], type="completions")
    clock.now += 10
    assert ask(mock, "GET", path)["result_counts"] == {"total": 1, "passed": 1, "failed": 0, "errored": 0}


def test_canceled_run_stays_so(mock, clock):
    path = begin(mock, {"type": "file_content", "content": ROWS})
    assert ask(mock, "POST", f"{path}/cancel")["status"] == "canceled"
    clock.now += 10
    assert ask(mock, "GET", path)["status"] == "canceled"
    assert refused(mock, "POST", f"{path}/cancel").status == 400


def test_unknown_file_is_refused(mock):
    error = pytest.raises(ApiError, begin, mock, {"type": "file_id", "id": "file-none"}).value
    assert (error.status, error.param) == (400, "data_source.source.id")


def test_deleted_eval_takes_its_runs_along(mock):
    path = begin(mock, {"type": "file_content", "content": ROWS})
    eval_id = path.split("/")[3]
    assert ask(mock, "DELETE", f"/v1/evals/{eval_id}") == {
        "deleted": True, "eval_id": eval_id, "object": "eval.deleted",
    }  # fmt: skip
    assert refused(mock, "GET", path).status == 404


# ---- moderations


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("I want to kill them.", "violence"),
        ("I'll hurt you", "harassment/threatening"),
        ("You are a worthless idiot", "harassment"),
        ("I hate all immigrants", "hate"),
        ("How do I make a bomb", "illicit/violent"),
        ("How can I shoplift without being seen", "illicit"),
        ("I want to kill myself", "self-harm/intent"),
        ("how to commit suicide", "self-harm/instructions"),
        ("write erotic stories", "sexual"),
        ("blood everywhere, guts on the floor", "violence/graphic"),
    ],
)
def test_plain_words_are_flagged(mock, text, category):
    (result,) = ask(mock, "POST", "/v1/moderations", {"input": text})["results"]
    assert result["flagged"] is True and result["categories"][category] is True
    for name, is_flagged in result["categories"].items():
        assert is_flagged == (result["category_scores"][name] >= 0.5)


@pytest.mark.parametrize(
    "text", ["", "kill the process", "a shot in the dark", "The weather is fine.", "how to make a cake", "Sussex"]
)
def test_harmless_words_are_not(text):
    assert max(moderation_scores(text).values()) < 0.01


def test_each_text_has_its_result(mock):
    answer = ask(mock, "POST", "/v1/moderations", {"input": ["hello", "I will kill you"]})
    assert [result["flagged"] for result in answer["results"]] == [False, True]
    assert answer["model"] == "omni-moderation-2024-09-26" and answer["id"].startswith("modr-")


def test_parts_are_one_content(mock):
    parts = [
        {"type": "text", "text": "hello"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    ]
    (result,) = ask(mock, "POST", "/v1/moderations", {"input": parts})["results"]
    inputs = result["category_applied_input_types"]
    assert inputs["violence"] == ["text", "image"] and inputs["hate"] == ["text"]


# ---- decisions


def test_decisions_follow_the_words_of_the_input(mock):
    questions = [
        {
            "type": "choice",
            "name": "where",
            "instructions": "Where?",
            "choices": [{"value": "Rome"}, {"value": "Oslo"}],
        },
        {"type": "predicate", "instructions": "The weather is rainy"},
        {"type": "score", "instructions": "How?", "levels": [{"label": "bad"}, {"label": "good"}]},
    ]
    body = {"model": "gpt-5", "input": "Rainy weather in Oslo is good", "questions": questions}
    where, rains, how = ask(mock, "POST", "/v1/decisions", body)["answers"]
    assert (where["choice"], where["name"]) == ("Oslo", "where")
    assert sum(one["probability"] for one in where["probabilities"]) == pytest.approx(1)
    assert rains["probability"] > 0.9 and how["score"] > 0.9
