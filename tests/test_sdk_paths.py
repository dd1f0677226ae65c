"""Paths in which OpenAI's SDKs differ: both languages' work. tests/test_mock_reference.py has those that they share."""

from __future__ import annotations

import pytest
from mocks import ask, make_mock

from protocol.errors import ApiError
from protocol.openai.api.operations import Reference
from protocol.openai.reference.whole import API_REFERENCE

# What the Node SDK (6.49.0) asks for and the Python SDK (3.52.0) does not.
NODE_ALONE = ["POST /evals/{eval_id}/runs/{run_id}"]


@pytest.mark.parametrize("key", NODE_ALONE)
def test_what_one_language_alone_asks_for_is_described(key):
    assert Reference(lambda: API_REFERENCE).has(key)


@pytest.mark.parametrize("path", ["", "/cancel"], ids=["as Node asks", "as Python asks"])
def test_a_run_of_an_eval_is_cancelled_in_either_way(path):
    mock = make_mock()
    check = {"type": "string_check", "name": "g", "input": "a", "reference": "a", "operation": "eq"}
    made = ask(mock, "POST", "/v1/evals", {"data_source_config": {"type": "logs"}, "testing_criteria": [check]})
    source = {"type": "jsonl", "source": {"type": "file_content", "content": [{"item": {}}]}}
    run = ask(mock, "POST", f"/v1/evals/{made['id']}/runs", {"data_source": source})
    run_path = f"/v1/evals/{made['id']}/runs/{run['id']}"
    assert ask(mock, "POST", f"{run_path}{path}")["status"] == "canceled"
    assert ask(mock, "GET", run_path)["status"] == "canceled"
    with pytest.raises(ApiError, match="cannot be canceled"):
        ask(mock, "POST", f"{run_path}{path}")
