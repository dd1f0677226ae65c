"""The mock's conversations: items of all types, pages, and responses that add to them."""

from __future__ import annotations

import pytest
from test_mock_responses import Server, said

USER = {"role": "user", "content": "I am Bob"}
CALL = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "1"}


def begun(server, *items, **members):
    return server.ask("POST", "/conversations", {"items": list(items), **members})


def listed(server, id, query="order=asc"):
    return server.ask("GET", f"/conversations/{id}/items?{query}")["data"]


def test_conversation_is_made_changed_and_deleted():
    server = Server()
    made = begun(server, metadata={"a": "b"})
    path = f"/conversations/{made['id']}"
    assert made == {"id": made["id"], "object": "conversation", "created_at": 1700000000, "metadata": {"a": "b"}}
    assert made["id"].startswith("conv_") and server.ask("GET", path) == made
    assert server.ask("POST", path, {"metadata": {"c": "d"}})["metadata"] == {"c": "d"}
    assert server.ask("DELETE", path) == {"id": made["id"], "object": "conversation.deleted", "deleted": True}
    for gone in (path, f"{path}/items"):
        assert server.refused("GET", gone)[:2] == (404, f"Conversation with id '{made['id']}' not found.")


def test_conversation_may_begin_without_a_body():
    assert Server().ask("POST", "/conversations")["metadata"] == {}


def test_items_are_added_listed_and_deleted():
    server = Server()
    id = begun(server, USER)["id"]
    added = server.ask("POST", f"/conversations/{id}/items", {"items": [CALL, OUTPUT]})
    assert [item["type"] for item in added["data"]] == ["function_call", "function_call_output"]
    assert added["first_id"] == added["data"][0]["id"] and not added["has_more"]
    path = f"/conversations/{id}/items/{added['last_id']}"
    assert server.ask("GET", path) == added["data"][1]
    assert server.ask("DELETE", path)["id"] == id
    assert server.refused("GET", path)[:2] == (404, f"Item with id '{added['last_id']}' not found.")
    assert [item["type"] for item in listed(server, id)] == ["message", "function_call"]


PREFIXES = [
    (USER, "msg_"),
    (CALL, "fc_"),
    (OUTPUT, "fco_"),
    ({"type": "custom_tool_call", "call_id": "c", "name": "n", "input": "x"}, "ctc_"),
    ({"type": "custom_tool_call_output", "call_id": "c", "output": "x"}, "ctco_"),
    ({"type": "compaction", "encrypted_content": "x"}, "cmp_"),
    ({"type": "mcp_approval_response", "approval_request_id": "x", "approve": True}, "mcpa_"),
]


@pytest.mark.parametrize("item, prefix", PREFIXES, ids=[prefix for _, prefix in PREFIXES])
def test_item_id_begins_as_its_type_says(item, prefix):
    server = Server()
    assert listed(server, begun(server, item)["id"])[0]["id"].startswith(prefix)


def test_message_of_a_text_gets_its_parts():
    server = Server()
    user, assistant = listed(server, begun(server, USER, {"role": "assistant", "content": "Hi"})["id"])
    assert (user["status"], user["content"]) == ("completed", [{"type": "input_text", "text": "I am Bob"}])
    assert assistant["content"][0]["type"] == "output_text"


def test_items_come_in_pages_the_newest_first():
    server = Server()
    id = begun(server, *({"role": "user", "content": str(number)} for number in range(5)))["id"]
    page = listed(server, id, "limit=2")
    assert [item["content"][0]["text"] for item in page] == ["4", "3"]
    assert [item["content"][0]["text"] for item in listed(server, id, f"limit=9&after={page[-1]['id']}")] == [
        "2",
        "1",
        "0",
    ]


def test_more_than_twenty_items_at_once_are_refused():
    body = {"items": [USER] * 21}
    assert Server().refused("POST", "/conversations", body) == (
        400,
        "Invalid 'items': array too long. Expected an array with maximum length 20, but got an array with length 21"
        " instead.",
        "items",
    )


def test_refused_item_is_told_by_its_place():
    status, message, param = Server().refused(
        "POST", "/conversations", {"items": [USER, {"role": "nobody", "content": "x"}]}
    )
    assert (status, param) == (400, "items[1].role") and message.startswith("Invalid value: 'nobody'.")


@pytest.mark.parametrize("named", [lambda id: id, lambda id: {"id": id}], ids=["by id", "by object"])
def test_response_reads_and_adds_to_its_conversation(named):
    server = Server()
    id = begun(server, USER)["id"]
    first = server.create("Who am I?", conversation=named(id))
    assert first["conversation"] == {"id": id} and first["usage"]["input_tokens"] == 3 + 3
    assert [item["role"] for item in listed(server, id)] == ["user", "user", "assistant"]
    second = server.create("Sure?", conversation=id)
    assert second["usage"]["input_tokens"] == 3 + 3 + 3 + 1
    assert len(listed(server, id)) == 5


def test_background_response_adds_when_it_is_done():
    server = Server()
    id = begun(server)["id"]
    response = server.create("Hello", conversation=id, background=True)
    assert listed(server, id) == []
    server.seconds += 4
    assert said(server.ask("GET", f"/responses/{response['id']}"))
    assert len(listed(server, id)) == 2


def test_unknown_conversation_and_item_are_made_up_on_demand():
    server = Server(unknown_ids="invent")
    item = server.ask("GET", "/conversations/conv_mine/items/msg_mine")
    assert (item["id"], item["type"]) == ("msg_mine", "message")
    assert server.ask("DELETE", "/conversations/conv_mine/items/msg_mine")["id"] == "conv_mine"


@pytest.mark.parametrize("items", [5, [5], [{"type": []}], [{}], "x"])
def test_malformed_items_are_let_pass_without_checks(items):
    assert Server(validate="off").ask("POST", "/conversations", {"items": items})["object"] == "conversation"
