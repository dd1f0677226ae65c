"""protocol/mock/responses/events.py: each kind of item grows from nothing to what it is, event by event."""

from __future__ import annotations

import pytest

from protocol.mock.responses.events import response_frames, started_response

PICTURE = {"id": "i", "type": "image_generation_call", "status": "completed", "result": "b64", "size": "1x1"}
CODE = {
    "id": "i", "type": "code_interpreter_call", "status": "completed", "code": "print( 1 )",
    "outputs": [{"type": "logs", "logs": "1"}],
}  # fmt: skip
CITATION = {"type": "url_citation", "url": "https://x.test"}
TEXT_PART = {"type": "output_text", "text": "one two", "annotations": [CITATION], "logprobs": [{"token": "one "}]}


def response_of(*output, **members):
    return {"id": "r", "status": "completed", "usage": {"total_tokens": 1}, "output": list(output), **members}


def told(*output, obfuscate=None, **members):
    """Return the events of an answer without those that begin and end it, which are checked here."""
    response = response_of(*output, **members)
    frames = response_frames(response, obfuscate)
    events = [event for frame in frames for event in frame]
    assert all(frames) and [event["sequence_number"] for event in events] == list(range(len(events)))
    first, second, *between, last = events
    assert [first["type"], second["type"]] == ["response.created", "response.in_progress"]
    assert first["response"] == started_response(response, "in_progress")
    assert last == {"type": "response.completed", "sequence_number": len(events) - 1, "response": response}
    return between


def kinds(events):
    return [event["type"].replace("response.", "") for event in events]


# (id, item, the events between those that add it and end it, what of it is blank when it is added)
ITEMS = [
    (
        "message",
        {"id": "i", "type": "message", "status": "completed", "content": [TEXT_PART]},
        ["content_part.added", "output_text.delta", "output_text.delta", "output_text.annotation.added",
         "output_text.done", "content_part.done"],
        {"content": []},
    ),
    (
        "reasoning",
        {"id": "i", "type": "reasoning", "summary": [{"type": "summary_text", "text": "one two"}]},
        ["reasoning_summary_part.added", "reasoning_summary_text.delta", "reasoning_summary_text.delta",
         "reasoning_summary_text.done", "reasoning_summary_part.done"],
        {"summary": []},
    ),
    (
        "function call",
        {"id": "i", "type": "function_call", "status": "completed", "arguments": '{"a": 1}'},
        ["function_call_arguments.delta", "function_call_arguments.delta", "function_call_arguments.done"],
        {"arguments": ""},
    ),
    (
        "custom call",
        {"id": "i", "type": "custom_tool_call", "input": "one two"},
        ["custom_tool_call_input.delta", "custom_tool_call_input.delta", "custom_tool_call_input.done"],
        {"input": ""},
    ),
    (
        "file search",
        {"id": "i", "type": "file_search_call", "status": "completed", "results": [{"text": "x"}]},
        ["file_search_call.in_progress", "file_search_call.searching", "file_search_call.completed"],
        {"results": None},
    ),
    (
        "web search",
        {"id": "i", "type": "web_search_call", "status": "completed", "action": {"type": "search"}},
        ["web_search_call.in_progress", "web_search_call.searching", "web_search_call.completed"],
        {},
    ),
    (
        "code",
        CODE,
        ["code_interpreter_call.in_progress", *["code_interpreter_call_code.delta"] * 3,
         "code_interpreter_call_code.done", "code_interpreter_call.interpreting", "code_interpreter_call.completed"],
        {"code": "", "outputs": None},
    ),
    (
        "list of tools",
        {"id": "i", "type": "mcp_list_tools", "tools": [{"name": "t"}]},
        ["mcp_list_tools.in_progress", "mcp_list_tools.completed"],
        {"tools": []},
    ),
    (
        "remote call",
        {"id": "i", "type": "mcp_call", "status": "completed", "arguments": "{}", "output": "x"},
        ["mcp_call.in_progress", "mcp_call_arguments.delta", "mcp_call_arguments.done", "mcp_call.completed"],
        {"arguments": "", "output": None},
    ),
    (
        "shell call",
        {"id": "i", "type": "shell_call", "action": {"commands": ["ls -l", "pwd"], "timeout_ms": 1}},
        ["shell_call_command.added", *["shell_call_command.delta"] * 2, "shell_call_command.done",
         "shell_call_command.added", "shell_call_command.delta", "shell_call_command.done"],
        {"action": {"commands": [], "timeout_ms": 1}},
    ),
    ("what comes in one piece", {"id": "i", "type": "shell_call_output", "output": "x"}, [], {}),
]  # fmt: skip


@pytest.mark.parametrize(("item", "between", "blank"), [row[1:] for row in ITEMS], ids=[row[0] for row in ITEMS])
def test_an_item_is_added_blank_grows_and_is_done(item, between, blank):
    added, *events, done = told(item)
    status = {"status": "in_progress"} if "status" in item else {}
    assert (added["type"], added["item"]) == ("response.output_item.added", {**item, **blank, **status})
    assert kinds(events) == between
    assert (done["type"], done["item"]) == ("response.output_item.done", item)
    assert {event["output_index"] for event in (added, *events, done)} == {0}
    deltas = [event["delta"] for event in events if event["type"].endswith(".delta")]
    whole = [event[name] for event in events for name in ("text", "arguments", "input", "code", "command")
             if event["type"].endswith(".done") and name in event]  # fmt: skip
    assert "".join(deltas) == "".join(whole)


def test_a_message_tells_where_each_word_and_annotation_belongs():
    events = told(
        {"id": "m", "type": "message", "status": "completed", "content": [TEXT_PART, {**TEXT_PART, "text": "x"}]}
    )
    inner = [event for event in events if "content_index" in event]
    assert {event["item_id"] for event in inner} == {"m"}
    assert [event["content_index"] for event in inner] == [0] * 6 + [1] * 5
    begun, first, second, annotated, done, ended = inner[:6]
    assert begun["part"] == {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    assert (first["logprobs"], second["logprobs"]) == ([{"token": "one "}], [])
    assert (annotated["annotation_index"], annotated["annotation"]) == (0, CITATION)
    assert (done["text"], ended["part"]) == ("one two", TEXT_PART)


def test_items_are_numbered_and_each_word_but_the_first_begins_a_frame():
    reasoning = {"id": "a", "type": "reasoning", "summary": [{"type": "summary_text", "text": "one two"}]}
    call = {"id": "b", "type": "custom_tool_call", "input": "three four"}
    frames = response_frames(response_of(reasoning, call))
    words = [[event["delta"] for event in frame if "delta" in event] for frame in frames]
    assert words == [["one "], ["two"], ["three "], ["four"]]
    assert [event["output_index"] for frame in frames for event in frame if "delta" in event] == [0, 0, 1, 1]


def test_padding_is_of_the_word_it_hides():
    (item,) = [row[1] for row in ITEMS if row[0] == "custom call"]
    deltas = [event for event in told(item, obfuscate=lambda word: "*" * len(word)) if "delta" in event]
    assert [(event["delta"], event["obfuscation"]) for event in deltas] == [("one ", "****"), ("two", "***")]
    assert not any("obfuscation" in event for event in told(item))


@pytest.mark.parametrize(
    ("tools", "count"),
    [
        (None, 0),
        ([], 0),
        ([{"type": "web_search"}], 0),
        ([{"type": "image_generation"}], 0),
        ([{"type": "web_search"}, {"type": "image_generation", "partial_images": 2}], 2),
        ([{"type": "image_generation", "partial_images": 9}], 3),
        ([{"type": "image_generation", "partial_images": -1}], 0),
        ([{"type": "image_generation", "partial_images": True}], 0),
        ([{"type": "image_generation", "partial_images": "2"}], 0),
    ],
)
def test_a_picture_shows_itself_as_often_as_was_asked(tools, count):
    added, *events, done = told({**PICTURE, "quality": "low"}, tools=tools)
    assert added["item"] == {"id": "i", "type": "image_generation_call", "status": "in_progress", "result": None}
    stages = ["in_progress", "generating", *["partial_image"] * count, "completed"]
    assert kinds(events) == [f"image_generation_call.{stage}" for stage in stages]
    partial = [event for event in events if event["type"].endswith("partial_image")]
    assert [event["partial_image_index"] for event in partial] == list(range(count))
    for event in partial:
        assert (event["partial_image_b64"], event["size"], event["quality"]) == ("b64", "1x1", "low")
        assert "background" not in event
    assert done["item"]["result"] == "b64"


@pytest.mark.parametrize("status", ["completed", "incomplete", "failed"])
def test_a_stream_ends_with_what_became_of_the_response(status):
    (events,) = response_frames(response_of(status=status))
    assert kinds(events) == ["created", "in_progress", status]
    assert events[-1]["response"]["status"] == status


def test_a_background_response_is_queued_first():
    (events,) = response_frames(response_of(background=True))
    assert [(event["type"], event["response"]["status"]) for event in events] == [
        ("response.created", "queued"),
        ("response.queued", "queued"),
        ("response.in_progress", "in_progress"),
        ("response.completed", "completed"),
    ]


def test_what_a_response_cannot_know_yet_is_blank_and_nothing_is_added():
    ended = {"id": "r", "status": "completed", "output": [1], "usage": {}, "error": {}, "model": "m"}
    started = {"id": "r", "status": "queued", "output": [], "usage": None, "error": None, "model": "m"}
    assert started_response(ended, "queued") == started
