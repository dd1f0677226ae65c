"""Requests are described as requests: what only answers have is not asked for, and an id stands for a stored item.

What is taken here is what OpenAI's README, guides, SDKs and agents send. Sources: API reference, "Responses";
openai/openai-openapi#575 (an image by its id); openai/openai-agents-python#732 (the output of a local shell);
jeremychone/rust-genai#119 (what an assistant may say).
"""

from __future__ import annotations

import pytest
from mocks import ask, make_mock, respond, world_of

from protocol.errors import ApiError

MODEL = {"model": "gpt-5"}
HELLO = {"role": "user", "content": "Hello"}


def create(mock, *input, **more):
    return ask(mock, "POST", "/v1/responses", {**MODEL, "input": list(input), **more})


def listed(mock, response):
    return ask(mock, "GET", f"/v1/responses/{response['id']}/input_items?order=asc")["data"]


GIVEN = {
    "image without detail": {"role": "user", "content": [{"type": "input_image", "image_url": "https://x.test/a.png"}]},
    "answer as a text": {"role": "assistant", "content": "Hi"},
    "answer without type": {"role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]},
    "answer with a type": {
        "type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi", "annotations": []}],
    },
    "answer with a status": {
        "type": "message", "role": "assistant", "status": "completed",
        "content": [{"type": "output_text", "text": "Hi", "logprobs": []}],
    },
    "answer with an id": {
        "id": "msg_1", "role": "assistant", "phase": "final_answer", "content": [{"type": "output_text", "text": "Hi"}],
    },
    "refusal": {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
    "sealed thought without id": {"type": "reasoning", "summary": [], "encrypted_content": "gAAA"},
    "web search without id": {"type": "web_search_call", "status": "completed", "action": {"type": "search"}},
    "web search without action": {"type": "web_search_call", "id": "ws_1", "status": "completed"},
    "file search without id": {"type": "file_search_call", "queries": ["a"]},
    "code without id": {"type": "code_interpreter_call", "code": "1", "container_id": "cntr_1"},
    "picture with its bytes": {"type": "image_generation_call", "result": "iVBO"},
    "MCP list without id": {"type": "mcp_list_tools", "server_label": "s", "tools": []},
    "MCP call without id": {"type": "mcp_call", "server_label": "s", "name": "n", "arguments": "{}", "output": "x"},
    "agents' message": {
        "type": "agent_message", "author": "a", "recipient": "b", "content": [{"type": "input_text", "text": "x"}],
    },
    "agents' call": {"type": "multi_agent_call", "action": "spawn_agent", "arguments": "{}", "call_id": "c"},
    "agents' output": {
        "type": "multi_agent_call_output", "action": "spawn_agent", "call_id": "c",
        "output": [{"type": "output_text", "text": "x", "annotations": []}],
    },
}  # fmt: skip


@pytest.mark.parametrize("item", GIVEN.values(), ids=GIVEN.keys())
@pytest.mark.parametrize("path", ["/responses", "/responses/input_tokens", "/responses/compact", "/conversations"])
def test_what_only_answers_have_may_be_left_out(item, path):
    mock = make_mock()
    body = {"items": [HELLO, item]} if path == "/conversations" else {**MODEL, "input": [HELLO, item]}
    made = ask(mock, "POST", f"/v1{path}", body)
    if path == "/responses":
        shown = listed(mock, made)[1]
    elif path == "/conversations":
        shown = ask(mock, "GET", f"/v1/conversations/{made['id']}/items?order=asc")["data"][1]
    else:
        return
    # What answers have is there now.
    assert shown["id"] and shown["type"] == item.get("type", "message")
    shape = {"/responses": "ResponseItem", "/conversations": "ConversationItem"}[path]
    world = world_of(mock)
    world.reference.conformity.check(world.reference.shapes.named(shape))(shown)


CALLS = {
    "function": (
        {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": [{"type": "input_image", "file_id": "f"}]},
    ),
    "custom tool": (
        {"type": "custom_tool_call", "call_id": "call_1", "name": "f", "input": "x"},
        {"type": "custom_tool_call_output", "call_id": "call_1", "output": "y"},
    ),
    "local shell by call_id": (
        {"type": "local_shell_call", "call_id": "call_1", "action": {"type": "exec", "command": ["ls"], "env": None}},
        {"type": "local_shell_call_output", "call_id": "call_1", "output": "y"},
    ),
    "local shell by id": (
        {"type": "local_shell_call", "call_id": "call_1", "action": {"type": "exec", "command": ["ls"], "env": {}}},
        {"type": "local_shell_call_output", "id": "call_1", "output": "y"},
    ),
    "computer": (
        {"type": "computer_call", "call_id": "call_1", "action": {"type": "screenshot"}},
        {"type": "computer_call_output", "call_id": "call_1", "output": {"type": "input_image", "image_url": "data:,"}},
    ),
}


@pytest.mark.parametrize(("call", "output"), CALLS.values(), ids=CALLS.keys())
def test_an_output_is_known_by_its_call(call, output):
    mock = make_mock()
    made = create(mock, HELLO, call, output)
    assert made["status"] == "completed"
    shown = listed(mock, made)[2]
    assert shown["call_id"] == "call_1" and shown["id"]
    if output["type"] == "computer_call_output":
        assert shown["output"]["type"] == "computer_screenshot"
    if output["type"] == "function_call_output":
        assert shown["output"][0]["detail"] == "auto"
    other = {**output, **{name: "call_2" for name in ("call_id", "id") if name in output}}
    with pytest.raises(ApiError, match="No tool call found for .* with call_id call_2"):
        create(mock, HELLO, other)


def test_an_id_stands_for_the_picture_that_was_made():
    mock = make_mock()
    first = create(mock, {"role": "user", "content": "Draw a picture of a cat"}, tools=[{"type": "image_generation"}])
    picture = next(item for item in first["output"] if item["type"] == "image_generation_call")
    second = create(mock, HELLO, {"type": "image_generation_call", "id": picture["id"]})
    assert listed(mock, second)[1]["result"] == picture["result"]


@pytest.mark.parametrize("of", ["response", "conversation"])
def test_an_id_stands_for_any_stored_item(of):
    mock = make_mock()
    searched = {"type": "file_search_call", "id": "fs_1", "queries": ["a"], "status": "completed"}
    if of == "response":
        create(mock, HELLO, searched)
    else:
        ask(mock, "POST", "/v1/conversations", {"items": [searched]})
    for item in ({"type": "file_search_call", "id": "fs_1"}, {"type": "item_reference", "id": "fs_1"}, {"id": "fs_1"}):
        made = create(mock, HELLO, item)
        assert (listed(mock, made)[1]["queries"], listed(mock, made)[1]["id"]) == (["a"], "fs_1")
        added = ask(mock, "POST", "/v1/conversations", {"items": [item]})
        assert ask(mock, "GET", f"/v1/conversations/{added['id']}/items")["data"][0]["queries"] == ["a"]


def test_a_thought_is_known_by_its_id():
    mock = make_mock()
    thought = next(item for item in create(mock, HELLO)["output"] if item["type"] == "reasoning")
    made = create(mock, HELLO, {"type": "reasoning", "id": thought["id"]})
    assert listed(mock, made)[1]["id"] == thought["id"]


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/responses/input_tokens", "/v1/responses/compact"])
def test_an_id_that_is_not_stored_is_refused(path):
    body = {**MODEL, "input": [HELLO, {"type": "image_generation_call", "id": "ig_nobodys"}]}
    with pytest.raises(ApiError, match="Item with id 'ig_nobodys' not found. Items are not persisted") as caught:
        ask(make_mock(), "POST", path, body)
    assert (caught.value.status, caught.value.param) == (404, "input")
    assert ask(make_mock(unknown_ids="invent"), "POST", path, body)["object"].startswith("response")
    assert ask(make_mock(validate="warn"), "POST", path, body)["object"].startswith("response")


@pytest.mark.parametrize(
    ("item", "param"),
    [
        ({"type": "reasoning"}, "input[1].summary"),
        ({"type": "file_search_call"}, "input[1].queries"),
        ({"type": "image_generation_call", "status": "completed"}, "input[1].result"),
        ({"type": "code_interpreter_call"}, "input[1].code"),
    ],
)
def test_an_item_without_id_must_say_what_it_is(item, param):
    with pytest.raises(ApiError, match="Missing required parameter") as caught:
        create(make_mock(), HELLO, item)
    assert (caught.value.status, caught.value.param) == (400, param)
    with pytest.raises(ApiError) as caught:
        ask(make_mock(), "POST", "/v1/conversations", {"items": [HELLO, item]})
    assert caught.value.param == param.replace("input", "items")


def test_who_says_what_in_which_parts():
    """OpenAI's words, as jeremychone/rust-genai#119 has them."""
    mock = make_mock()
    for named in ({}, {"type": "message"}):
        with pytest.raises(ApiError) as caught:
            create(mock, {**named, "role": "assistant", "content": [{"type": "input_text", "text": "x"}]})
        assert caught.value.message == "Invalid value: 'input_text'. Supported values are: 'output_text' and 'refusal'."
        assert caught.value.param == "input[0].content[0].type"
        with pytest.raises(ApiError) as caught:
            create(mock, {**named, "role": "user", "content": [{"type": "output_text", "text": "x"}]})
        supported = "'input_text', 'input_image', and 'input_file'"
        assert caught.value.message == f"Invalid value: 'output_text'. Supported values are: {supported}."
        assert caught.value.param == "input[0].content[0].type"


def test_the_web_search_may_be_chosen_by_its_own_name():
    made = create(make_mock(), HELLO, tools=[{"type": "web_search"}], tool_choice={"type": "web_search"})
    assert made["output"][1]["type"] == "web_search_call"


def test_a_run_of_an_eval_takes_such_messages():
    mock = make_mock()
    grader = {"type": "string_check", "name": "g", "input": "a", "reference": "a", "operation": "eq"}
    made = ask(
        mock, "POST", "/v1/evals", {"data_source_config": {"type": "logs"}, "testing_criteria": [grader]}
    )  # fmt: skip
    template = [HELLO, {"role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]}]
    source = {
        "type": "completions", "model": "gpt-4o", "input_messages": {"type": "template", "template": template},
        "source": {"type": "file_content", "content": [{"item": {}}]},
    }  # fmt: skip
    run = respond(mock, "POST", f"/v1/evals/{made['id']}/runs", {"data_source": source})
    assert run.status == 200


# What a union refuses: a body's member beside the others, the param, and the whole sentence.
UNIONS = [
    ("responses", {"input": [{"role": "wizard", "content": "x"}]}, "input[0].role",
     "Invalid value: 'wizard'. Supported values are: 'user', 'system', 'developer', and 'assistant'."),
    ("responses", {"input": [{"type": "message", "role": "wizard", "content": "x"}]}, "input[0].role",
     "Invalid value: 'wizard'. Supported values are: 'user', 'system', 'developer', and 'assistant'."),
    ("responses", {"input": [{"role": "user", "content": 5}]}, "input[0].content",
     "Invalid type for 'input[0].content': expected one of a string or array of objects, but got an integer instead."),
    ("embeddings", {"input": 5}, "input",
     "Invalid type for 'input': expected one of a string, array of strings, array of integers or array of integer arrays,"
     " but got an integer instead."),
    ("embeddings", {"input": [5, "a"]}, "input[1]",
     "Invalid type for 'input[1]': expected an integer, but got a string instead."),
    ("embeddings", {"input": ["a", 5]}, "input[1]",
     "Invalid type for 'input[1]': expected a string, but got an integer instead."),
    ("embeddings", {"input": [[1, "a"]]}, "input[0][1]",
     "Invalid type for 'input[0][1]': expected an integer, but got a string instead."),
]  # fmt: skip


@pytest.mark.parametrize(("path", "members", "param", "sentence"), UNIONS)
def test_a_union_names_the_value_that_is_wrong(path, members, param, sentence):
    with pytest.raises(ApiError) as caught:
        ask(make_mock(), "POST", f"/v1/{path}", {"model": "m", **members})
    assert (caught.value.param, caught.value.message) == (param, sentence)
